import { copyFileSync, cpSync } from 'node:fs';
import { join } from 'node:path';
import { generateFlows } from '../../examples/fraud-detection/generate.ts';
import { importFlows } from '../../src/cli/commands/observe.ts';
import { openApp } from '../../src/cli/context.ts';
import { openInterrupt } from '../../src/cli/interrupt.ts';
import { hubbleSource } from '../../src/sources/hubble/index.ts';
import { EXAMPLE } from './example-traffic.ts';

/** What `demo --keep DIR` leaves, without the tour. */
export async function prepareExample(dir: string): Promise<void> {
  cpSync(join(EXAMPLE, 'cluster'), join(dir, 'cluster'), { recursive: true });
  for (const file of ['config.yaml', 'decisions.yaml']) copyFileSync(join(EXAMPLE, file), join(dir, file));
  const flags = { manifests: join(dir, 'cluster'), state: join(dir, 'state.sqlite') };
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
}
