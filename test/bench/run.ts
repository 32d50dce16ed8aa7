// npm run bench -- NAME [ARGUMENTS]: one benchmark, as a whole process. Figures are for comparing on one quiet machine.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const BENCHMARKS = ['observe', 'reach', 'assess', 'ingest', 'start', 'state', 'watch'];
const [name = '', ...rest] = process.argv.slice(2);
if (BENCHMARKS.includes(name)) {
  const file = fileURLToPath(new URL(`./${name}.ts`, import.meta.url));
  process.exitCode = spawnSync(process.execPath, [file, ...rest], { stdio: 'inherit' }).status ?? 1;
} else {
  process.stderr.write(`bench: name one of ${BENCHMARKS.join(', ')}: npm run bench -- reach\n`);
  process.exitCode = 2;
}
