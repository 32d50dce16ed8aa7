// Every manifest of the data that is kept beside the project.
import { cp, readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Change } from '../../src/plan/change.ts';
import { fieldChange, invertChange } from '../../src/plan/change.ts';
import { refOf } from '../../src/model/object.ts';
import { readManifestDirectory } from '../../src/sources/manifests/index.ts';
import { openDirectoryTarget } from '../../src/targets/directory.ts';
import { makeFolder, readTree } from '../support/folder.ts';
import { stoppedClock } from '../support/stopped-clock.ts';

const DATA = join(import.meta.dirname, '../../../shared/data/manifests');

async function manifestSets(): Promise<readonly string[]> {
  const there = await stat(DATA).catch(() => undefined);
  if (there?.isDirectory() !== true) throw new Error(`the real manifests are missing: ${DATA} is no directory`);
  return (await readdir(DATA)).sort();
}

const sets = await manifestSets();

describe.each(sets)('%s', (set) => {
  let dir = '';
  beforeAll(() => {
    dir = join(DATA, set);
  });

  it('is read without a crash, and every document is an object or a finding', async () => {
    const snapshot = await readManifestDirectory(dir, { defaultNamespace: 'real' });
    expect(snapshot.objects.length + snapshot.findings.length).toBeGreaterThan(0);
    const told = new Set([
      ...[...snapshot.origins.values()].map(({ file }) => file),
      ...snapshot.findings.map(({ subject, where }) => where?.split(':')[0] ?? subject),
    ]);
    for (const file of (await readdir(dir, { recursive: true })).filter((name) => /\.(?:ya?ml|json)$/.test(name)))
      expect(told, `${file} is neither read nor named in a finding`).toContain(file);
  });

  it('takes a label on the template of every Deployment, and back, to the byte', async () => {
    const copy = await makeFolder();
    await cp(dir, join(copy, basename(dir)), { recursive: true });
    const before = await readTree(copy);
    const target = await openDirectoryTarget({ dir: copy, defaultNamespace: 'real', clock: stoppedClock(0) });
    const { objects, origins, findings } = await target.readSnapshot();
    const broken = new Set(findings.filter(({ code }) => code === 'SP302').map(({ subject }) => subject));
    const done: Change[] = [];
    for (const object of objects.filter(({ kind }) => kind === 'Deployment')) {
      const ref = refOf(object);
      const path = ['spec', 'template', 'metadata', 'labels', 'sidecar.istio.io/inject'];
      const field = fieldChange(object, path, 'true');
      const file = [...origins].find(([key]) => key.endsWith(`/Deployment/${ref.namespace ?? ''}/${ref.name}`))?.[1]
        .file;
      if (field === undefined || broken.has(file ?? '')) continue;
      const change: Change = { kind: 'edit', ref, owner: 'other', fields: [field] };
      expect((await target.apply(change)).outcome).toBe('configured');
      done.push(change);
    }
    const edited = await readTree(copy);
    for (const [file, text] of Object.entries(edited))
      if (before[file] !== undefined)
        expect(
          linesAdded(before[file], text).filter((line) => !/sidecar\.istio\.io\/inject|^\s*labels:$/.test(line)),
        ).toEqual([]);
    for (const change of done.reverse()) await target.apply(invertChange(change));
    expect(await readTree(copy)).toEqual(before);
  });
});

function linesAdded(before: string, after: string): readonly string[] {
  const known = new Set(before.split('\n'));
  return after.split('\n').filter((line) => !known.has(line));
}

it('has Deployments to try this on', async () => {
  const snapshot = await readManifestDirectory(DATA, { defaultNamespace: 'real' });
  expect(snapshot.objects.filter(({ kind }) => kind === 'Deployment').length).toBeGreaterThan(30);
  expect(await readFile(join(DATA, 'bookinfo/bookinfo.yaml'), 'utf8')).toContain('productpage');
});
