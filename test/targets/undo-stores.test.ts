// Where ways back are kept outside the state: a folder and ConfigMaps. The same tests for both, and what is of each alone.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { KeptUndo, Target, UndoStore } from '../../src/engine/contract.ts';
import type { Step } from '../../src/plan/plan.ts';
import { buildUndoBundle, buildUndoScript } from '../../src/plan/undo-bundle.ts';
import { isFailure } from '../../src/shared/pure/errors.ts';
import { sha256 } from '../../src/shared/pure/hash.ts';
import { asObject, asString } from '../../src/shared/pure/json.ts';
import { UNDO_CONFIG_MAPS } from '../../src/sources/kube/index.ts';
import { openClusterTarget } from '../../src/targets/cluster.ts';
import { openUndoFolder } from '../../src/targets/undo-folder.ts';
import { simulatedClock } from '../support/fake-api/clock.ts';
import type { FakeApi } from '../support/fake-api/server.ts';
import { startFakeApi } from '../support/fake-api/server.ts';
import { makeFolder } from '../support/folder.ts';
import { planFor } from '../phases/worlds.ts';

const open: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0)) await close();
});

function kept(namespace: string, run = 'r1', names: readonly string[] = ['0001-a.json']): KeptUndo {
  const files = [...names, 'undo.sh', 'README.md'].map((name) => ({ name, text: `${name} of ${run}\n` }));
  return {
    namespace,
    files,
    script: `# ${run}\n`,
    record: {
      apiVersion: 'sallyport.dev/v1',
      kind: 'Record',
      target: 't',
      namespace,
      phase: 'monitor',
      run,
      settled: 1,
      by: 'tester',
      at: 1,
      runs: [],
      steps: [],
      leftOut: [],
    },
  };
}

async function makeCluster(): Promise<{ readonly api: FakeApi; readonly store: UndoStore; readonly target: Target }> {
  const clock = simulatedClock(0);
  const api = await startFakeApi({ now: () => clock.now() });
  const target = await openClusterTarget({ kubeconfig: api.kubeconfig, clock, timeoutMs: 400 });
  open.push(async () => {
    await target.close();
    await api.close();
  });
  if (target.undo === undefined) throw new Error('a cluster keeps ways back');
  return { api, store: target.undo, target };
}

const STORES: readonly (readonly [string, () => Promise<UndoStore>])[] = [
  ['a folder', async () => openUndoFolder(join(await makeFolder(), 'kept'))],
  ['the cluster', async () => (await makeCluster()).store],
];

describe.each(STORES)('%s', (_, make) => {
  it('gives back what was kept last, of each namespace by itself, and nothing once it is removed', async () => {
    const store = await make();
    expect(await store.read('shop')).toBeUndefined();
    expect(await store.list()).toEqual([]);
    await store.remove('shop');
    await store.write(kept('shop', 'r1'));
    await store.write(kept('shop', 'r2'));
    for (const namespace of ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']) await store.write(kept(namespace));
    expect(await store.read('shop')).toEqual(kept('shop', 'r2').record);
    expect((await store.list()).map(({ namespace }) => namespace).sort()).toEqual([
      'a',
      'b',
      'c',
      'd',
      'e',
      'f',
      'g',
      'h',
      'shop',
    ]);
    await store.remove('shop');
    expect(await store.read('shop')).toBeUndefined();
    expect((await store.list()).map(({ namespace }) => namespace).sort()).toEqual([
      'a',
      'b',
      'c',
      'd',
      'e',
      'f',
      'g',
      'h',
    ]);
  });
});

describe('the folder', () => {
  it.each(['../../etc', '..', '/etc/cron.d', 'a/b', 'a\u0000b', 'A', '', 'x'.repeat(300)])(
    'keeps a namespace called %j inside itself',
    async (namespace) => {
      const root = await makeFolder();
      const store = openUndoFolder(join(root, 'in', 'kept'));
      await store.write(kept(namespace));
      expect(await readdir(root)).toEqual(['in']);
      expect(await readdir(join(root, 'in'))).toEqual(['kept']);
      expect(await readdir(join(root, 'in', 'kept'))).toEqual([expect.stringMatching(/^other-[0-9a-f]{24}$/)]);
      expect((await store.list()).map((one) => one.namespace)).toEqual([namespace]);
      await store.remove(namespace);
      expect(await readdir(join(root, 'in', 'kept'))).toEqual([]);
    },
  );

  it('is the operator’s own: 0700, files 0600, files that are no longer named gone, those of others left', async () => {
    const folder = join(await makeFolder(), 'kept');
    const store = openUndoFolder(folder);
    await store.write(kept('shop', 'r1', ['0001-a.json', '0002-b.json']));
    await writeFile(join(folder, 'shop', 'note.txt'), 'mine');
    await chmod(join(folder, 'shop'), 0o755);
    await store.write(kept('shop', 'r1', ['0002-b.json']));
    expect((await stat(join(folder, 'shop'))).mode & 0o777).toBe(0o700);
    const names = (await readdir(join(folder, 'shop'))).sort();
    expect(names).toEqual(['0002-b.json', 'README.md', 'note.txt', 'record.json', 'undo.sh']);
    for (const name of names.filter((one) => one !== 'note.txt'))
      expect((await stat(join(folder, 'shop', name))).mode & 0o777, name).toBe(0o600);
  });

  it('says in words what it cannot write or read', async () => {
    const root = await makeFolder({ file: 'not a folder' });
    const broken = await makeFolder({ 'shop/record.json': '{"half' });
    const codeOf = async (work: Promise<unknown>): Promise<unknown> =>
      work.then(
        () => 'none',
        (error: unknown) => (isFailure(error) ? error.detail.code : error),
      );
    expect(await codeOf(openUndoFolder(join(root, 'file')).write(kept('shop')))).toBe('SP622');
    expect(await codeOf(openUndoFolder(broken).read('shop'))).toBe('SP623');
  });
});

describe('the cluster', () => {
  it('takes names that a role can list, of kube-system alone, and marks what it makes', async () => {
    const { api, store } = await makeCluster();
    for (const namespace of ['shop', 'front', 'back', 'ml']) await store.write(kept(namespace));
    const made = api.objects().filter(({ kind }) => kind === 'ConfigMap');
    expect(made.length).toBeGreaterThan(1);
    for (const { metadata } of made) {
      expect(metadata['namespace']).toBe('kube-system');
      expect(UNDO_CONFIG_MAPS).toContain(metadata.name);
      expect(metadata['labels']).toEqual({ 'app.kubernetes.io/managed-by': 'sallyport' });
    }
  });

  it('leaves no ConfigMap behind that holds nothing', async () => {
    const { api, store } = await makeCluster();
    await store.write(kept('shop'));
    await store.remove('shop');
    expect(api.objects().filter(({ kind }) => kind === 'ConfigMap')).toEqual([]);
    await store.write(kept('shop', 'r2'));
    expect(await store.read('shop')).toEqual(kept('shop', 'r2').record);
  });

  it('loses nothing when another operator writes to the same ConfigMap in between', async () => {
    const { api, store } = await makeCluster();
    await store.write(kept('shop', 'r1'));
    const [map] = api.objects().filter(({ kind }) => kind === 'ConfigMap');
    if (map === undefined) throw new Error('there is one');
    api.put({ ...map, data: { ...(map['data'] as object), 'theirs.sh': '# theirs\n' } }, 'sallyport');
    await store.write(kept('shop', 'r2'));
    const now = api.get(map)?.['data'];
    expect(now).toMatchObject({
      'theirs.sh': '# theirs\n',
      'shop.md': expect.stringContaining('README.md of r2') as string,
    });
    expect(await store.read('shop')).toEqual(kept('shop', 'r2').record);
  });

  it('is taken out by the words of its own page, in a shell', async () => {
    const { api, store } = await makeCluster();
    await store.write({ ...kept('shop'), script: '# à la main\necho done\n' });
    const [map] = api.objects().filter(({ kind }) => kind === 'ConfigMap');
    const page = asString(asObject(map?.['data'])['shop.md']) ?? '';
    const line = /<!-- The script of this page: (.*) -->/.exec(page)?.[1] ?? '';
    const [, get = '', rest = ''] = /^(kubectl .*?) \| (.*)$/.exec(line) ?? [];
    expect(get).toBe(
      `kubectl get configmap ${map?.metadata.name ?? ''} -n kube-system -o go-template='{{index .binaryData "shop.sh.gz"}}'`,
    );
    // What kubectl prints for that template is the value as it is in JSON.
    const dir = await makeFolder();
    const input = asString(asObject(map?.['binaryData'])['shop.sh.gz']) ?? '';
    execFileSync('sh', ['-c', rest], { cwd: dir, input });
    expect(await readFile(join(dir, 'undo.sh'), 'utf8')).toBe('# à la main\necho done\n');
  });

  it('reads what an older version kept, and puts its own in its place', async () => {
    const { api, store } = await makeCluster();
    await store.write(kept('shop', 'r1'));
    const [map] = api.objects().filter(({ kind }) => kind === 'ConfigMap');
    if (map === undefined) throw new Error('there is one');
    const { 'shop.sh.gz': script, ...record } = asObject(map['binaryData']);
    expect(script).toBeDefined();
    const old = { ...map, data: { 'shop.sh': '# r1\n', 'shop.md': 'the old page' }, binaryData: record };
    api.put(old, 'sallyport');
    expect(await store.read('shop')).toEqual(kept('shop', 'r1').record);
    expect(await store.list()).toEqual([{ namespace: 'shop', record: kept('shop', 'r1').record }]);
    await store.write(kept('shop', 'r2'));
    const now = api.get(map);
    expect(Object.keys({ ...asObject(now?.['data']), ...asObject(now?.['binaryData']) }).sort()).toEqual([
      'shop.json.gz',
      'shop.md',
      'shop.sh.gz',
    ]);
    api.put(
      { ...old, metadata: { ...map.metadata, resourceVersion: now?.metadata['resourceVersion'] ?? '' } },
      'sallyport',
    );
    await store.remove('shop');
    expect(api.objects().filter(({ kind }) => kind === 'ConfigMap')).toEqual([]);
  });

  it('holds the ways back of 200 namespaces with 40 steps each', async () => {
    const { api, store } = await makeCluster();
    const { steps } = planFor({}, 'identity');
    const forty = Array.from({ length: 40 }, (_, index) => {
      const step = steps[index % steps.length];
      if (step === undefined) throw new Error('a plan has steps');
      return step;
    });
    for (let one = 0; one < 200; one += 1) {
      const namespace = `team-${one}-${sha256(String(one)).slice(0, 8)}`;
      // Names of their own, as real ones have: what is alike in all of them packs too well.
      const own = forty.map((step, index) => {
        const text = JSON.stringify(step)
          .replaceAll('front', namespace)
          .replaceAll('web', `web-${sha256(`${one} ${index}`).slice(0, 10)}`);
        return { step: JSON.parse(text) as Step, number: index + 1 };
      });
      const of = {
        run: `r${one}`,
        namespace,
        phase: 'identity',
        by: 'tester',
        target: 'test',
        at: '2026-01-01T00:00:00.000Z',
        steps: own,
        exposed: true,
      } as const;
      const { record } = kept(namespace);
      await store.write({
        namespace,
        files: buildUndoBundle(of),
        script: buildUndoScript(of),
        record: {
          ...record,
          steps: own.map(({ step, number }) => ({
            run: of.run,
            index: number - 1,
            seq: number,
            step,
            state: 'done',
            change: step.change,
          })),
        },
      });
    }
    const maps = api.objects().filter(({ kind }) => kind === 'ConfigMap');
    const sizes = maps.map((map) => Buffer.byteLength(JSON.stringify(map)));
    // An object of the API may have a mebibyte; half of it is left for longer plans.
    expect(Math.max(...sizes)).toBeLessThan(512 * 1024);
    expect((await store.list()).length).toBe(200);
  });

  it('refuses what does not fit, and names the way out', async () => {
    const { store } = await makeCluster();
    const large = { ...kept('shop'), script: randomBytes(800_000).toString('base64') };
    await expect(store.write(large)).rejects.toMatchObject({
      detail: { code: 'SP460', exit: 4, hint: expect.stringContaining('undo: {path: DIR, cluster: off}') as string },
    });
  });
});
