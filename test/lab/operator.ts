// Somebody who uses the product as its users do: as a process, without a terminal, with the hash of the plan that was shown.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Stage } from './stage/types.ts';

export const PROGRAM = join(import.meta.dirname, '../../bin/sallyport.js');

/** A line of progress: the n-th of all steps of a run begins. */
export interface StepLine {
  /** Milliseconds since the epoch, when the line came. */
  readonly at: number;
  readonly index: number;
  readonly total: number;
  readonly title: string;
}

export interface Ended {
  readonly args: readonly string[];
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly begunAt: number;
  readonly endedAt: number;
  readonly steps: readonly StepLine[];
}

export interface RunOptions {
  /** Another configuration file than the operator's own. */
  readonly config?: string;
  /** Further options of the command. */
  readonly more?: readonly string[];
  /** Told each step as it begins. */
  readonly onStep?: (step: StepLine, child: ChildProcess) => void;
  readonly onStderr?: (text: string, child: ChildProcess) => void;
}

/** Verb, query and reason. */
export type Decided = readonly [string, string, string];

export interface Operator {
  readonly home: string;
  readonly state: string;
  readonly config: string;
  /** Runs a command with kubeconfig, state, configuration and `--json`; never fails, whatever the exit code. */
  run(args: readonly string[], options?: RunOptions): Promise<Ended>;
  /** As run, with an error that shows everything unless the exit code is 0. */
  must(args: readonly string[], options?: RunOptions): Promise<Ended>;
  /** Plans, then advances with the plan's hash; `more` goes to the advance alone. */
  advance(namespace: string, to: string, options?: RunOptions): Promise<Ended>;
  rollback(namespace: string, to: string, options?: RunOptions): Promise<Ended>;
  /** Takes decisions on what is on record by now: they stand in a file that every command is given, in the order they were taken. */
  decide(decisions: readonly Decided[]): void;
}

export function documentOf(ended: Pick<Ended, 'stdout' | 'stderr' | 'args'>): unknown {
  try {
    return JSON.parse(ended.stdout) as unknown;
  } catch {
    throw new Error(
      `sallyport ${ended.args.join(' ')} wrote no document: ${ended.stdout.slice(0, 300)} ${ended.stderr}`,
    );
  }
}

/** A gate, as every command answers it. */
export interface Gate {
  readonly id: string;
  readonly answer: string;
  readonly subject: string;
  readonly facts: readonly string[];
  readonly fix: string;
}

/** What a command answered that did not end well, for a message. */
export function explainEnd(ended: Ended): string {
  let gates: readonly Gate[] = [];
  let error = '';
  try {
    const document = documentOf(ended) as {
      gates?: readonly Gate[];
      error?: { code: string; message: string; where?: string };
    };
    gates = (document.gates ?? []).filter((gate) => gate.answer !== 'yes');
    error = document.error === undefined ? '' : JSON.stringify(document.error);
  } catch {
    error = ended.stdout.slice(0, 500);
  }
  const lines = gates.map(
    (gate) => `  ${gate.id} ${gate.answer} ${gate.subject}: ${gate.facts.join('; ')} | ${gate.fix}`,
  );
  return [
    `sallyport ${ended.args.join(' ')} ended with ${String(ended.code)}: ${error}`,
    ...lines.slice(0, 12),
    ended.stderr.slice(-1500),
  ].join('\n');
}

/** An operator with a state of its own, in a folder of the stage. */
export function openOperator(stage: Pick<Stage, 'kubeconfig' | 'dir'>, name: string, config: string): Operator {
  const home = join(stage.dir, 'operators', name);
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const configFile = join(home, 'config.yaml');
  writeFileSync(configFile, config);
  const state = join(home, 'state.sqlite');
  const decisionsFile = join(home, 'decisions.json');
  const decided: object[] = [];
  const run: Operator['run'] = (args, options = {}) =>
    new Promise((resolve, reject) => {
      const files = [
        '--config',
        options.config ?? configFile,
        ...(decided.length === 0 ? [] : ['--decisions', decisionsFile]),
      ];
      const all = [...args, '--kubeconfig', stage.kubeconfig, '--state', state, ...files, '--json'];
      const begunAt = Date.now();
      const child = spawn(process.execPath, [PROGRAM, ...all], {
        env: { PATH: process.env['PATH'], HOME: home, XDG_STATE_HOME: home, SALLYPORT_USER: name },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let [stdout, stderr, line] = ['', '', ''];
      const steps: StepLine[] = [];
      child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        stderr += text;
        const lines = (line + text).split('\n');
        line = lines.pop() ?? '';
        for (const one of lines) {
          const found = /^\[(\d+)\/(\d+)\] (.*)$/.exec(one);
          if (found === null) continue;
          const step = { at: Date.now(), index: Number(found[1]), total: Number(found[2]), title: found[3] ?? '' };
          steps.push(step);
          options.onStep?.(step, child);
        }
        options.onStderr?.(text, child);
      });
      child
        .once('error', reject)
        .once('close', (code) => resolve({ args, code, stdout, stderr, begunAt, endedAt: Date.now(), steps }));
    });
  const must: Operator['must'] = async (args, options) => {
    const ended = await run(args, options);
    if (ended.code !== 0) throw new Error(explainEnd(ended));
    return ended;
  };
  return {
    home,
    state,
    config: configFile,
    run,
    must,
    advance: async (namespace, to, options = {}) => {
      const same = options.config === undefined ? {} : { config: options.config };
      const { hash } = documentOf(await must(['plan', namespace, '--to', to], same)) as { readonly hash: string };
      return must(['advance', namespace, '--to', to, '--yes', '--plan-hash', hash, ...(options.more ?? [])], options);
    },
    rollback: (namespace, to, options) => must(['rollback', namespace, '--to', to, '--yes'], options),
    decide: (decisions) => {
      const now = Date.now();
      for (const [index, [action, query, reason]] of decisions.entries())
        decided.push({ action, query, reason, by: name, at: new Date(now + index).toISOString() });
      writeFileSync(decisionsFile, JSON.stringify({ decisions: decided }, undefined, 2));
    },
  };
}

/** The lines that a growing file has gained since the last call, whole ones, as a file of their own; undefined if there are none. */
export function cutNew(file: string, into: string): () => string | undefined {
  let offset = 0;
  let turn = 0;
  return () => {
    const size = statSync(file).size;
    if (size <= offset) return undefined;
    const text = readFileSync(file).subarray(offset, size);
    const end = text.lastIndexOf(10) + 1;
    if (end === 0) return undefined;
    offset += end;
    turn += 1;
    const part = `${into}.${turn}.jsonl`;
    writeFileSync(part, text.subarray(0, end));
    return part;
  };
}
