import { Listr, SimpleRenderer } from 'listr2';
import type { ListrTaskWrapper } from 'listr2';
import type { RunEvent } from '../engine/events.ts';
import { safeText } from '../shared/pure/text.ts';
import type { Output } from './output.ts';

export interface Tasks {
  readonly emit: (event: RunEvent) => void;
  readonly close: () => void;
}

/** Shows a run's steps. On a terminal as a task list; otherwise a line a step, on standard error. It never asks. */
export function openTasks(output: Output): Tasks {
  return output.interactive ? listTasks() : lineTasks(output);
}

function lineTasks(output: Output): Tasks {
  return {
    emit: (event) => {
      switch (event.kind) {
        case 'step-started':
          output.note(`[${event.index + 1}/${event.total}] ${safeText(event.step.title)}`);
          break;
        case 'step-waiting':
          output.note(`    ${safeText(event.text)}`);
          break;
        case 'step-failed':
          output.note(`    failed: ${safeText(event.error)}`);
          break;
        case 'step-undone':
          output.note(`    taken back: ${safeText(event.step.title)}`);
          break;
        case 'phase-reached':
          output.note(`${safeText(event.namespace)} is in phase ${event.phase}`);
          break;
        case 'step-done':
          break;
      }
    },
    close: () => undefined,
  };
}

type Settle = { readonly resolve: () => void; readonly reject: (error: Error) => void };

/**
 * A task for each step, settled by the engine's events: the list only watches. Its default renderer redraws what is on the screen, so
 * the simple one is used, which prints a line when a task begins and ends.
 */
function listTasks(): Tasks {
  let open:
    | {
        readonly settle: Settle;
        readonly task: ListrTaskWrapper<unknown, typeof SimpleRenderer, typeof SimpleRenderer>;
      }
    | undefined;
  const start = (title: string): void => {
    const list = new Listr<unknown, 'simple', 'simple'>(
      [
        {
          title,
          task: (_context, task) =>
            new Promise<void>((resolve, reject) => {
              open = { settle: { resolve, reject }, task: task as never };
            }),
        },
      ],
      { renderer: 'simple', exitOnError: false },
    );
    list.run().catch(() => undefined);
  };
  return {
    emit: (event) => {
      switch (event.kind) {
        case 'step-started':
          start(`[${event.index + 1}/${event.total}] ${safeText(event.step.title)}`);
          break;
        case 'step-waiting':
          if (open !== undefined) open.task.output = safeText(event.text);
          break;
        case 'step-done':
          open?.settle.resolve();
          break;
        case 'step-failed':
          open?.settle.reject(new Error(safeText(event.error)));
          break;
        case 'step-undone':
        case 'phase-reached':
          break;
      }
    },
    close: () => open?.settle.resolve(),
  };
}
