// Makes the single-file executable: Node itself with the program inside, for the platform that this runs on, or for another one whose Node
// is given. Prints the file. `node scripts/executable.js [--platform linux-arm64 --node PATH-OF-ITS-NODE] [--out FOLDER]`
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values } = parseArgs({
  options: {
    platform: { type: 'string' },
    node: { type: 'string' },
    out: { type: 'string', default: join(root, 'dist/executable') },
  },
});
const here = `${process.platform}-${process.arch}`;
const platform = values.platform ?? here;
if (platform !== here && values.node === undefined)
  throw new Error(`for ${platform} the Node of that platform is needed: --node PATH`);

const work = mkdtempSync(join(tmpdir(), 'sallyport-executable-'));
/** Standard output is the name of the file alone. */
const run = (command, args, cwd) =>
  execFileSync(command, args, { cwd, stdio: ['ignore', 'pipe', 2], encoding: 'utf8' });

/** What the program never reads: types, sources of natives, other platforms. */
const LEFT_OUT = /\.(?:d\.[cm]?ts|map|md|markdown)$|^better-sqlite3\/(?:deps|src)\//i;
const OTHER_PLATFORM = /\/prebuilds\/(.*)\.node$/;

function filesOf(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();
}

try {
  // From the packed package, so that it holds what a user who installs it gets.
  run('npm', ['run', 'build'], root);
  const [{ filename }] = JSON.parse(
    run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', work], root),
  );
  run('tar', ['-xzf', join(work, filename), '-C', work]);
  const package_ = join(work, 'package');
  // What the lock file names: a version that nobody has tested is not for an executable.
  for (const file of ['package.json', 'package-lock.json']) copyFileSync(join(root, file), join(work, file));
  run('npm', ['ci', '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund'], work);
  const modules = join(work, 'node_modules');
  const own = filesOf(package_).map((path) => ({ path, from: join(package_, path) }));
  const theirs = filesOf(modules)
    .filter((path) => !path.startsWith('.'))
    .filter((path) => !LEFT_OUT.test(path))
    .filter((path) => (OTHER_PLATFORM.exec(path)?.[1] ?? platform) === platform)
    .map((path) => ({ path: join('node_modules', path), from: join(modules, path) }));
  const files = [...own, ...theirs].map(({ path, from }) => ({ path, bytes: readFileSync(from) }));
  const index = Buffer.from(JSON.stringify(files.map(({ path, bytes }) => ({ path, size: bytes.length }))));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(index.length);
  const archive = gzipSync(Buffer.concat([length, index, ...files.map(({ bytes }) => bytes)]), { level: 9 });
  writeFileSync(join(work, 'program'), archive);
  writeFileSync(join(work, 'digest'), createHash('sha256').update(archive).digest('hex').slice(0, 16));
  writeFileSync(
    join(work, 'sea.json'),
    JSON.stringify({
      main: join(root, 'scripts/executable/main.cjs'),
      output: join(work, 'blob'),
      disableExperimentalSEAWarning: true,
      assets: { program: join(work, 'program'), digest: join(work, 'digest') },
    }),
  );
  run(process.execPath, ['--experimental-sea-config', join(work, 'sea.json')], work);
  mkdirSync(values.out, { recursive: true });
  const name = `sallyport-${platform}${platform.startsWith('win32') ? '.exe' : ''}`;
  const made = join(values.out, name);
  rmSync(made, { force: true });
  copyFileSync(values.node ?? process.execPath, made);
  chmodSync(made, 0o755);
  run(process.execPath, [
    join(root, 'node_modules/postject/dist/cli.js'),
    made,
    'NODE_SEA_BLOB',
    join(work, 'blob'),
    '--sentinel-fuse',
    'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2',
    ...(platform.startsWith('darwin') ? ['--macho-segment-name', 'NODE_SEA'] : []),
  ]);
  const sums = readdirSync(values.out)
    .filter((file) => file.startsWith('sallyport-'))
    .sort()
    .map(
      (file) =>
        `${createHash('sha256')
          .update(readFileSync(join(values.out, file)))
          .digest('hex')}  ${file}\n`,
    );
  writeFileSync(join(values.out, 'SHA256SUMS'), sums.join(''));
  console.log(made);
} finally {
  rmSync(work, { recursive: true, force: true });
}
