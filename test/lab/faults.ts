// What goes wrong while a run is on, made to happen.
import type { ChildProcess } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { renderTable } from './figures.ts';
import type { Ended, Operator, RunOptions, StepLine } from './operator.ts';
import { documentOf, explainEnd } from './operator.ts';
import type { Play } from './play.ts';

/** A fault that ended as it should. */
export interface Told {
  /** In the ledger: what was tried meanwhile is counted under it. */
  readonly phase: string;
  readonly fault: string;
  readonly ended: string;
  readonly seconds: number;
}

export interface Faults {
  readonly told: readonly Told[];
  /** Begins a fault. Returns how to say that it ended as it should. */
  begin(phase: string, fault: string): (ended: string) => void;
  /** The faults told of, with the connections that were tried meanwhile. */
  render(title: string): string;
}

export function openFaults(play: Play): Faults {
  const told: Told[] = [];
  return {
    told,
    begin: (phase, fault) => {
      const begun = Date.now();
      play.mark(phase);
      return (ended) => told.push({ phase, fault, ended, seconds: (Date.now() - begun) / 1000 });
    },
    render: (title) => {
      const rows = play.ledger.byPhase();
      return renderTable(
        title,
        ['fault', 'ended', 'seconds', 'legitimate', 'failed'],
        told.map(({ phase, fault, ended, seconds }) => {
          const during = rows.find((row) => row.phase === phase)?.legitimate;
          return [fault, ended, seconds, during?.tried ?? 0, during?.failed ?? 0];
        }),
      );
    },
  };
}

/** Where a run of so many steps is killed, and how it goes on: at each step in both ways; `few` at the first, in the middle and at the last, in turn. */
export function killPoints(total: number, few: boolean): readonly (readonly [number, 'resume' | 'rollback'])[] {
  if (few)
    return [...new Set([1, Math.ceil((total + 1) / 2), total])].map((step, index) => [
      step,
      index % 2 === 0 ? 'resume' : 'rollback',
    ]);
  return Array.from({ length: total }, (_, index) => index + 1).flatMap((step) => [
    [step, 'resume'] as const,
    [step, 'rollback'] as const,
  ]);
}

/** The phase of a namespace, as `status` has it. */
export async function phaseOf(operator: Operator, namespace: string): Promise<string> {
  const { namespaces } = documentOf(await operator.must(['status'])) as {
    readonly namespaces: readonly { readonly namespace: string; readonly phase: string }[];
  };
  return namespaces.find((one) => one.namespace === namespace)?.phase ?? 'none';
}

export const advanceTo = (namespace: string, to: string): readonly string[] => [
  'advance',
  namespace,
  '--to',
  to,
  '--yes',
];

/**
 * Kills a run at one of its steps, finishes it by `resume` or not, and takes it back; throws where the namespace is not where it should be
 * or `verify` finds anything. Returns whether the run was killed: it may have been faster than its end.
 */
export async function killAndConverge(
  operator: Operator,
  run: { readonly namespace: string; readonly from: string; readonly to: string },
  step: number,
  way: 'resume' | 'rollback',
): Promise<boolean> {
  const { namespace, from, to } = run;
  const standsAt = async (phase: string): Promise<void> => {
    const now = await phaseOf(operator, namespace);
    if (now !== phase) throw new Error(`${namespace} is in ${now}, and should be in ${phase} (step ${step}, ${way})`);
    await operator.must(['verify', namespace]);
  };
  const killed = await operator.run(advanceTo(namespace, to), killingAt({ step, afterMs: [0, 12, 35][step % 3] ?? 0 }));
  if (killed.code !== null && killed.code !== 0) throw new Error(explainEnd(killed));
  if (way === 'resume') {
    await operator.must(['resume']);
    await standsAt(to);
  }
  const back = await operator.run(['rollback', namespace, '--to', from, '--yes']);
  // Killed before its first write it had left nothing that could be taken back, and says so.
  if (back.code !== 0 && !(back.code === 2 && back.stdout.includes('SP224'))) throw new Error(explainEnd(back));
  await standsAt(from);
  return killed.code === null;
}

export interface KillPoint {
  /** The step at whose begin the process is killed, from 1. */
  readonly step: number;
  /** So many milliseconds after its line: before the write, in the middle of it, or after. */
  readonly afterMs: number;
}

/** Kills the process as a power cut would. */
export function killingAt(point: KillPoint): RunOptions {
  return {
    onStep: (step: StepLine, child: ChildProcess) => {
      if (step.index !== point.step) return;
      if (point.afterMs === 0) child.kill('SIGKILL');
      else void delay(point.afterMs).then(() => child.kill('SIGKILL'));
    },
  };
}

/** Kills the process once its standard error has this text. */
export function killingOn(text: string, afterMs: number): RunOptions {
  let fired = false;
  return {
    onStderr: (gained, child) => {
      if (fired || !gained.includes(text)) return;
      fired = true;
      void delay(afterMs).then(() => child.kill('SIGKILL'));
    },
  };
}

/** Does something once, when a step begins. */
export function onceAt(
  step: number,
  action: () => Promise<void>,
): { readonly options: RunOptions; done(): Promise<void> } {
  let doing: Promise<void> | undefined;
  return {
    options: {
      onStep: (line) => {
        if (line.index === step) doing ??= action();
      },
    },
    done: async () => {
      if (doing === undefined) throw new Error(`step ${step} never began`);
      await doing;
    },
  };
}

/** How long the run's plan is: the numbers of its steps. */
export async function stepsOf(operator: Operator, namespace: string, to: string): Promise<number> {
  const ended: Ended = await operator.must(['plan', namespace, '--to', to]);
  return (JSON.parse(ended.stdout) as { readonly steps: readonly unknown[] }).steps.length;
}
