// What the terminal's tests stand on: the bundled example with its traffic on record, and two namespaces under way.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prepareExample } from '../support/example-place.ts';
import { ROOT } from '../support/imports.ts';
import { sallyport } from '../support/sallyport.ts';

export const PROGRAM = join(ROOT, 'bin/sallyport.js');
/** From the folder of the place. */
export const FLAGS = '--manifests cluster --state state.sqlite --config config.yaml';

export interface Place {
  readonly folder: string;
  end(): void;
}

export async function makeExample(): Promise<Place> {
  const folder = mkdtempSync(join(tmpdir(), 'fraud-'));
  await prepareExample(folder);
  const at = [
    '--manifests',
    join(folder, 'cluster'),
    '--state',
    join(folder, 'state.sqlite'),
    '--config',
    join(folder, 'config.yaml'),
    '--yes',
  ];
  for (const namespace of ['feast', 'fraud-serving']) {
    const ended = await sallyport(['advance', namespace, '--to', 'monitor', ...at], { home: folder });
    if (ended.code !== 0) throw new Error(ended.stderr);
  }
  return { folder, end: () => rmSync(folder, { recursive: true, force: true }) };
}
