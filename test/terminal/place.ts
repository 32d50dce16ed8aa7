// What the terminal's tests stand on: the bundled example with its traffic on record, and two namespaces under way.
import { copyFileSync, cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateFlows } from '../../examples/fraud-detection/generate.ts';
import { importFlows } from '../../src/cli/commands/observe.ts';
import { openApp } from '../../src/cli/context.ts';
import { openInterrupt } from '../../src/cli/interrupt.ts';
import { hubbleSource } from '../../src/sources/hubble/index.ts';
import { EXAMPLE } from '../support/example-traffic.ts';
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
  cpSync(join(EXAMPLE, 'cluster'), join(folder, 'cluster'), { recursive: true });
  for (const file of ['config.yaml', 'decisions.yaml']) copyFileSync(join(EXAMPLE, file), join(folder, file));
  const flags = { manifests: join(folder, 'cluster'), state: join(folder, 'state.sqlite') };
  const ignore = (): void => undefined;
  const silent = {
    json: true,
    width: 80,
    note: ignore,
    progress: ignore,
    line: ignore,
    document: ignore,
    event: ignore,
  };
  const app = openApp(flags, silent as never, process.env, openInterrupt());
  // From the generator: 280 MB of records need no file.
  const open = async function* () {
    let batch: string[] = [];
    for (const line of generateFlows()) {
      if (batch.push(line) < 2000) continue;
      yield Buffer.from(`${batch.join('\n')}\n`);
      batch = [];
      await Promise.resolve();
    }
    if (batch.length > 0) yield Buffer.from(`${batch.join('\n')}\n`);
  };
  await importFlows(app, hubbleSource, [{ name: 'nine-days.ndjson', open }], 'abort');
  await app.close();
  const at = ['--manifests', flags.manifests, '--state', flags.state, '--config', join(folder, 'config.yaml'), '--yes'];
  for (const namespace of ['feast', 'fraud-serving']) {
    const ended = await sallyport(['advance', namespace, '--to', 'monitor', ...at], { home: folder });
    if (ended.code !== 0) throw new Error(ended.stderr);
  }
  return { folder, end: () => rmSync(folder, { recursive: true, force: true }) };
}
