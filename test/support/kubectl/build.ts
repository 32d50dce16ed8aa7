// kubectl itself, built from its module once: tests of what must work without the product.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

const MODULE = join(import.meta.dirname, 'gomod');
const BUILD_LIMIT_MS = 15 * 60_000;

/** The folder that holds `kubectl`. Takes minutes the first time. Errors: no `go` on the PATH, a failed build. */
export function findOrBuildKubectl(): string {
  const sources = ['go.mod', 'go.sum', 'main.go'].map((name) => readFileSync(join(MODULE, name)));
  const hash = createHash('sha256').update(Buffer.concat(sources)).digest('hex').slice(0, 16);
  const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  const folder = join(cache, 'sallyport-test', `kubectl-${hash}`);
  const program = join(folder, 'kubectl');
  if (existsSync(program)) return folder;
  mkdirSync(folder, { recursive: true });
  const fresh = `${program}.${process.pid}`;
  const built = spawnSync('go', ['build', '-mod=readonly', '-trimpath', '-ldflags', '-s -w', '-o', fresh, '.'], {
    cwd: MODULE,
    encoding: 'utf8',
    timeout: BUILD_LIMIT_MS,
  });
  if (built.error !== undefined || built.status !== 0)
    throw new Error(`kubectl cannot be built: ${built.error?.message ?? built.stderr}`);
  renameSync(fresh, program);
  return folder;
}
