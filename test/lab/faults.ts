// What goes wrong while a run is on, made to happen.
import type { ChildProcess } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import type { Ended, Operator, RunOptions, StepLine } from './operator.ts';

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
