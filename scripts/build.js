// Compiles the sources into dist/ and checks that what the package ships at run time is there.
import { execFileSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
rmSync(`${root}dist`, { recursive: true, force: true });
execFileSync(process.execPath, [`${root}node_modules/typescript/bin/tsc`, '-p', `${root}tsconfig.build.json`], {
  cwd: root,
  stdio: 'inherit',
});
for (const wanted of ['dist/src/main.js', 'templates', 'examples/fraud-detection/cluster']) {
  if (!existsSync(`${root}${wanted}`)) throw new Error(`the build lacks ${wanted}`);
}
