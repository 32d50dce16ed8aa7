// The processes of a stage: every one dies with the process that started it, however that ends.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { ExecResult } from './types.ts';

export interface Process {
  readonly name: string;
  readonly pid: number;
  readonly child: ChildProcess;
  readonly logFile: string;
  readonly ended: Promise<void>;
  hasEnded(): boolean;
  kill(signal?: NodeJS.Signals): Promise<void>;
}

export interface Launcher {
  /**
   * Starts argv, in the network namespace if one is given, with its output in `<logs>/<name>.log`. `firstLine` waits for a whole
   * line on stdout and returns it; errors: the process ended before, or within a minute nothing came.
   */
  start(name: string, argv: readonly string[], options?: { readonly netns?: string | undefined }): Process;
  firstLine(process: Process): Promise<string>;
  readonly running: ReadonlySet<Process>;
}

export function launcher(logs: string): Launcher {
  const running = new Set<Process>();
  return {
    running,
    start: (name, argv, { netns } = {}) => {
      const logFile = path.join(logs, `${name}.log`);
      const log = openSync(logFile, 'a', 0o600);
      const inside = netns === undefined ? [] : ['nsenter', `--net=${netns}`];
      const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...inside, ...argv], {
        stdio: ['ignore', log, log],
        env: { PATH: process.env['PATH'], HOME: '/nonexistent' },
      });
      closeSync(log);
      const ended = new Promise<void>((resolve) => {
        child.once('exit', () => resolve()).once('error', () => resolve());
      });
      const hasEnded = (): boolean => child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
      const started: Process = {
        name,
        pid: child.pid ?? 0,
        child,
        logFile,
        ended,
        hasEnded,
        kill: async (signal = 'SIGKILL') => {
          if (!hasEnded()) child.kill(signal);
          await ended;
        },
      };
      running.add(started);
      void ended.then(() => running.delete(started));
      return started;
    },
    firstLine: async (of) => {
      const deadline = Date.now() + 60_000;
      for (;;) {
        const line = readFileSync(of.logFile, 'utf8')
          .split('\n')
          .slice(0, -1)
          .find((one) => /^(ready|\d+)$/.test(one));
        if (line !== undefined) return line;
        if (of.hasEnded() || Date.now() > deadline) throw new Error(`${of.name} did not start:\n${tailOf(of.logFile)}`);
        await delay(10);
      }
    },
  };
}

export function tailOf(file: string, lines = 40): string {
  try {
    return readFileSync(file, 'utf8').split('\n').slice(-lines).join('\n');
  } catch (error) {
    return String(error);
  }
}

/** Runs a program to its end, at most timeoutSec; a status of null means that it was ended. */
export function runToEnd(
  argv: readonly string[],
  options: { readonly timeoutSec?: number | undefined; readonly input?: string | undefined } = {},
): Promise<ExecResult> {
  const [program = '', ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
      timeout: (options.timeoutSec ?? 60) * 1000,
      killSignal: 'SIGKILL',
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
    child.stdin.on('error', () => undefined).end(options.input ?? '');
    child.once('error', reject).once('close', (status) => resolve({ status, stdout, stderr }));
  });
}
