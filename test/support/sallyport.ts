// The program as its users start it: a process of its own, without a terminal.
import { spawn } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('../../bin/sallyport.js', import.meta.url));

/** Where compiled sources are kept from one test to the next: half of a short command's time is reading them. */
export const CACHE_HOME = join(tmpdir(), 'sallyport-test-cache');

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** For the state and what is remembered of clusters: `XDG_STATE_HOME`. */
  readonly home: string;
  /** Called with what standard error gained; `kill` ends the process as a power cut would. */
  readonly onStderr?: (text: string, kill: () => void) => void;
}

/** Runs the program with closed standard input and waits for its end. Asynchronous, so that played controllers go on. */
export function sallyport(args: readonly string[], options: RunOptions): Promise<Ended> {
  const env = {
    PATH: process.env['PATH'],
    HOME: options.home,
    XDG_STATE_HOME: options.home,
    XDG_CACHE_HOME: CACHE_HOME,
    SALLYPORT_USER: 'test',
  };
  const child = spawn(process.execPath, [PROGRAM, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    options.onStderr?.(text, () => child.kill('SIGKILL'));
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject).once('close', (code) => resolve({ code, stdout, stderr }));
  });
}
