// Compiles the sources into dist/ and checks that what the package ships at run time is there.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
rmSync(`${root}dist`, { recursive: true, force: true });
execFileSync(process.execPath, [`${root}node_modules/typescript/bin/tsc`, '-p', `${root}tsconfig.build.json`], {
  cwd: root,
  // Standard output belongs to the caller: `npm pack --json` prints its document there.
  stdio: ['ignore', 2, 2],
});
const { manualPage } = await import(`${root}dist/src/cli/program.js`);
const { version } = JSON.parse(readFileSync(`${root}package.json`, 'utf8'));
mkdirSync(`${root}dist/man`);
writeFileSync(`${root}dist/man/sallyport.1`, await manualPage(version));
for (const wanted of [
  'dist/src/main.js',
  'templates/signatures',
  'templates/report/page.html',
  'examples/fraud-detection/cluster',
]) {
  if (!existsSync(`${root}${wanted}`)) throw new Error(`the build lacks ${wanted}`);
}
for (const file of readdirSync(`${root}dist`, { recursive: true, encoding: 'utf8' })) {
  if (!file.endsWith('.js')) continue;
  // An import that kept its `.ts` would end the installed program: types are not stripped below node_modules.
  const left = /(?:from|import)\s*\(?\s*['"](\.[^'"]*\.ts)['"]/.exec(readFileSync(`${root}dist/${file}`, 'utf8'));
  if (left !== null) throw new Error(`dist/${file} still imports ${left[1]}`);
}
