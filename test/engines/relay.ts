// A Hubble server of Cilium's own messages on Go's own gRPC, from their modules, as a program beside the tests: built once into the cache.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';

const MODULE = path.join(import.meta.dirname, 'gomod-relay');
const BUILD = ['build', '-mod=readonly', '-trimpath', '-buildvcs=false', '-ldflags', '-s -w'];

/** Path of the program. It is built where its sources or the version of Go have changed: one to two minutes from nothing. */
export function buildRelay(): string {
  const version = spawnSync('go', ['version'], { encoding: 'utf8', cwd: MODULE });
  if (version.error !== undefined || version.status !== 0)
    throw new Error(
      `put Go 1.24 or newer on the PATH: the Hubble server is built from its modules (${version.error?.message ?? version.stderr.trim()})`,
    );
  const hash = createHash('sha256').update(version.stdout.trim()).update(BUILD.join('\0'));
  const sources = readdirSync(MODULE, { recursive: true, encoding: 'utf8' }).filter((file) =>
    /\.(?:go|mod|sum)$/u.test(file),
  );
  for (const file of sources.sort()) hash.update(`\0${file}\0`).update(readFileSync(path.join(MODULE, file)));
  const cacheHome = process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache');
  const dir = path.join(cacheHome, 'sallyport-test', `relay-${hash.digest('hex').slice(0, 16)}`);
  const program = path.join(dir, 'relay');
  if (existsSync(program)) return program;
  mkdirSync(dir, { recursive: true });
  process.stderr.write('building a Hubble server for the tests beside it (once; one to two minutes) ...\n');
  // Whoever else builds at the same time makes the same file: the rename decides nothing.
  const unfinished = `${program}.${process.pid}`;
  const built = spawnSync('go', [...BUILD, '-o', unfinished, './relay'], {
    cwd: MODULE,
    env: { ...process.env, CGO_ENABLED: '0' },
    encoding: 'utf8',
  });
  if (built.status !== 0) {
    rmSync(unfinished, { force: true });
    throw new Error(`building the Hubble server failed (go build: ${built.status}):\n${built.stderr.slice(-4000)}`);
  }
  renameSync(unfinished, program);
  return program;
}

export interface Relay {
  readonly port: number;
  /** One GetFlowsResponse as JSON: kept and streamed. Rejects where Cilium's own types do not take it. */
  event(line: string): Promise<void>;
  /** What is kept is gone. */
  forget(): Promise<void>;
  /** Streams under way break. */
  drop(): Promise<void>;
  stop(): Promise<void>;
}

export async function startRelay(tls?: {
  readonly cert: string;
  readonly key: string;
  readonly clientCa: string;
}): Promise<Relay> {
  const flags = tls === undefined ? [] : ['--cert', tls.cert, '--key', tls.key, '--client-ca', tls.clientCa];
  const child = spawn(buildRelay(), flags, { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const line = await lines.next();
    if (line.done === true) throw new Error('the Hubble server ended');
    return line.value;
  };
  const tell = async (command: string): Promise<void> => {
    child.stdin.write(`${command}\n`);
    const said = await next();
    if (said !== 'ok') throw new Error(said);
  };
  return {
    port: Number(await next()),
    event: (line) => tell(`event ${line}`),
    forget: () => tell('forget'),
    drop: () => tell('drop'),
    async stop() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}
