// `npm run lab`: brings the stage up with the scenario, says how to point sallyport at it, and takes it down at Ctrl-C.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { startStage } from './stage/index.ts';

const scenario = path.join(import.meta.dirname, 'cluster');
const mesh = !process.argv.includes('--no-mesh');
const bare = process.argv.includes('--bare') || !existsSync(scenario);

const stage = await startStage({ mesh, ...(bare ? {} : { manifests: scenario }) });
process.stdout.write(`
The lab is up (${stage.startSec.toFixed(0)} s). It ends with Ctrl-C, and leaves nothing.

  ${stage.dir}/sallyport status          sallyport, with a state of the lab's own
  export KUBECONFIG=${stage.kubeconfig}

  sallyport observe edges ${stage.verdictLog}
  sallyport observe envoy ${stage.accessLogs}/<namespace>/<pod>/access.jsonl
  sallyport observe conntrack ${stage.conntrackLog}
  ${stage.podLogs}/<namespace>/<pod>/<container>.log
`);
// A timer keeps the process; the signal ends it.
const alive = setInterval(() => undefined, 1 << 30);
await new Promise<void>((resolve) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve());
});
clearInterval(alive);
process.stderr.write('taking the lab down ...\n');
await stage.down();
