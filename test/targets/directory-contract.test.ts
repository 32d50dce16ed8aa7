import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { KubeManifest } from '../../src/model/object.ts';
import { renderYaml } from '../../src/shared/io/yaml.ts';
import { readManifestDirectory } from '../../src/sources/manifests/index.ts';
import { directoryLockPath, openDirectoryTarget } from '../../src/targets/directory.ts';
import { renderLock } from '../../src/targets/locks.ts';
import { stoppedClock } from '../support/stopped-clock.ts';
import { describeTargetContract } from './target-contract.ts';

type Render = (objects: readonly KubeManifest[]) => Readonly<Record<string, string>>;

/** The ways in which people keep the same objects. */
const LAYOUTS: Readonly<Record<string, Render>> = {
  'one YAML file for each object': (objects) =>
    Object.fromEntries(objects.map((object, at) => [`${at}-${object.kind}.yaml`, renderYaml(object)])),
  'one file of many documents': (objects) => ({
    'all.yaml': objects.map((object) => renderYaml(object)).join('---\n'),
  }),
  'a YAML list': (objects) => ({ 'list.yml': renderYaml({ apiVersion: 'v1', kind: 'List', items: objects }) }),
  'a JSON list with tabs': (objects) => ({
    'deep/list.json': JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }, undefined, '\t'),
  }),
  'compact JSON, line breaks of Windows around it': (objects) =>
    Object.fromEntries(objects.map((object, at) => [`${at}.json`, `\r\n${JSON.stringify(object)}\r\n`])),
};

for (const [layout, render] of Object.entries(LAYOUTS)) {
  describeTargetContract(`directory, ${layout}`, async (objects) => {
    const root = await mkdtemp(join(tmpdir(), 'sallyport-contract-'));
    for (const [file, text] of Object.entries(render(objects))) {
      await mkdir(dirname(join(root, file)), { recursive: true });
      await writeFile(join(root, file), text);
    }
    const target = await openDirectoryTarget({ dir: root, clock: stoppedClock(0) });
    return {
      target,
      readAll: async () => (await readManifestDirectory(root)).objects,
      stealLease: (namespace, holder) =>
        writeFile(
          directoryLockPath(root, namespace),
          renderLock({ holder, host: 'elsewhere', pid: 1, since: 0, token: 'stolen' }),
        ),
      dispose: async () => {
        await target.close();
        await rm(root, { recursive: true });
      },
    };
  });
}
