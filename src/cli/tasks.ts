import { Listr, ListrLogger, ProcessOutput } from 'listr2';
import type { RunEvent } from '../engine/events.ts';
import type { Step } from '../plan/plan.ts';
import { plural, safeText } from '../shared/pure/text.ts';
import type { Output } from './output.ts';
import { wrap } from './output.ts';

export interface Tasks {
  readonly emit: (event: RunEvent) => void;
  /** Ends the list: afterwards the terminal is free for prompts again. */
  readonly close: () => Promise<void>;
}

/** With more steps than this, a phase is one line that says how far it is: the list must fit the screen. */
const MOST_LINES = 12;

/** Shows a run's steps on standard error: on a terminal as a live list, otherwise a line a step. It never asks. */
export function openTasks(output: Output, steps: readonly Step[], signal: AbortSignal, watched = false): Tasks {
  const shown =
    output.interactive && process.stderr.isTTY && steps.length > 0
      ? listTasks(steps, signal, watched)
      : lineTasks(output, signal);
  return {
    ...shown,
    emit: (event) => {
      if (!output.event(event.kind, eventBody(event))) shown.emit(event);
    },
  };
}

/** What a program is told of an event: a step by its id, and times in ISO 8601. */
function eventBody(event: RunEvent): object {
  return {
    ...event,
    // It has a name of its own on the line.
    kind: undefined,
    ...('step' in event ? { step: event.step.id, title: event.step.title } : {}),
    ...('until' in event ? { until: new Date(event.until).toISOString() } : {}),
  };
}

const STOPPING = 'stopping after this step; Ctrl-C again stops at once, and nothing is lost by it';

function lineTasks(output: Output, signal: AbortSignal): Tasks {
  const say = (text: string, first: number): void => output.note(wrap(safeText(text), output.width, 6, first));
  const stopping = (): void => say(STOPPING, 4);
  signal.addEventListener('abort', stopping);
  let soaked = { what: '', minute: -1 };
  return {
    emit: (event) => {
      switch (event.kind) {
        case 'step-started':
          say(`[${event.index + 1}/${event.total}] ${event.step.title}`, 0);
          break;
        case 'step-waiting':
          say(event.text, 4);
          break;
        case 'step-failed':
          say(`failed: ${event.error}`, 4);
          break;
        case 'step-undone':
          say(`taken back: ${event.step.title}`, 4);
          break;
        case 'phase-reached':
          say(`${event.namespace} is in phase ${event.phase}`, 0);
          break;
        case 'soak': {
          // Every second would fill a log: once when something was seen, and once a minute.
          const what = event.text.replace(/; [^;]*$/, '');
          const now = Math.floor((event.until - Date.now()) / 60_000);
          if (what === soaked.what && now === soaked.minute) break;
          soaked = { what, minute: now };
          say(`soak: ${event.text}`, 4);
          break;
        }
        case 'new-caller':
          say(`new caller: ${event.text}${event.denied ? ' is denied' : ''}`, 4);
          break;
        case 'pulling-back':
          say(`${event.text}: pulling back ${plural(event.steps, 'step')}`, 0);
          break;
        case 'step-done':
        case 'undo-not-kept':
          break;
      }
    },
    close: () => {
      signal.removeEventListener('abort', stopping);
      return Promise.resolve();
    },
  };
}

interface Line {
  /** Positions of its steps in the plan. */
  readonly first: number;
  readonly last: number;
  readonly title: (index: number) => string;
  /** Set while the list shows it as under way. */
  show?: (title: string, text: string) => void;
  pending?: readonly [string, string];
  readonly settle: PromiseWithResolvers<undefined>;
}

/** One list for the whole run: its lines are settled by the engine's events, and only watch. */
function listTasks(steps: readonly Step[], signal: AbortSignal, watched: boolean): Tasks {
  const lines = linesOf(steps);
  const end = steps.length;
  // The watch after the last step is a line of its own: those of the steps are settled by then.
  if (watched) lines.push({ first: end, last: end, title: () => 'soak', settle: Promise.withResolvers<undefined>() });
  let done = 0;
  // Nobody may be waiting yet when a line fails, nor ever for those behind it.
  for (const line of lines) line.settle.promise.catch(() => undefined);
  let current: Line | undefined;
  const list = new Listr<unknown, 'default', 'simple'>(
    lines.map((line) => ({
      title: line.title(line.first - 1),
      task: (_context, task) => {
        line.show = (title, what) => {
          task.title = title;
          task.output = what;
        };
        if (line.pending !== undefined) line.show(...line.pending);
        return line.settle.promise;
      },
    })),
    {
      renderer: 'default',
      // The program has its own answer to Ctrl-C: the run ends between two steps, and the exit code says so.
      registerSignalListeners: false,
      rendererOptions: {
        formatOutput: 'truncate',
        collapseErrors: false,
        logger: new ListrLogger({ useIcons: true, processOutput: new ProcessOutput(process.stderr, process.stderr) }),
      },
    },
  );
  // What was said of the reading stands on this line.
  process.stderr.write('\r\u001b[2K');
  const ended = list.run().then(
    () => undefined,
    () => undefined,
  );
  const show = (title: string, what: string): void => {
    if (current === undefined) return;
    current.pending = [title, what];
    current.show?.(title, what);
  };
  const stopping = (): void => {
    show(current?.pending?.[0] ?? '', STOPPING);
  };
  signal.addEventListener('abort', stopping);
  return {
    emit: (event) => {
      switch (event.kind) {
        case 'step-started': {
          for (const line of lines) if (line.last < event.index) line.settle.resolve(undefined);
          current = lines.find((line) => line.first <= event.index && event.index <= line.last);
          show(current?.title(event.index) ?? '', safeText(event.step.title));
          break;
        }
        case 'step-waiting':
          show(current?.pending?.[0] ?? '', safeText(event.text));
          break;
        case 'step-done':
          done = event.index + 1;
          if (event.index === current?.last) current.settle.resolve(undefined);
          break;
        case 'step-failed':
          current?.settle.reject(new Error(safeText(event.error)));
          break;
        case 'soak': {
          const watch = lines.find((line) => line.first === end);
          // A watch that is taken up again has no step before it.
          if (watch !== undefined && (done === end || current === undefined)) {
            for (const line of lines) if (line !== watch) line.settle.resolve(undefined);
            current = watch;
          }
          show(current?.title(end) ?? '', safeText(event.text));
          break;
        }
        case 'new-caller':
          show(current?.pending?.[0] ?? '', safeText(`new caller: ${event.text}${event.denied ? ' is denied' : ''}`));
          break;
        case 'pulling-back':
          show(current?.pending?.[0] ?? '', safeText(`${event.text}: pulling back ${plural(event.steps, 'step')}`));
          break;
        case 'step-undone':
        case 'phase-reached':
        case 'undo-not-kept':
          break;
      }
    },
    close: async () => {
      signal.removeEventListener('abort', stopping);
      const open = lines.filter((line) => line !== current && line.last > (current?.last ?? -1));
      if (signal.aborted) {
        current?.settle.reject(new Error('stopped here'));
        for (const line of open) line.settle.reject(new Error('not run'));
      } else for (const line of lines) line.settle.resolve(undefined);
      await ended;
    },
  };
}

function linesOf(steps: readonly Step[]): Line[] {
  if (steps.length <= MOST_LINES)
    return steps.map((step, index) => ({
      first: index,
      last: index,
      title: () => safeText(step.title),
      settle: Promise.withResolvers<undefined>(),
    }));
  const lines: Line[] = [];
  for (const [index, step] of steps.entries()) {
    const before = lines.at(-1);
    if (before !== undefined && steps[before.first]?.phase === step.phase)
      lines[lines.length - 1] = phaseLine(step.phase, before.first, index);
    else lines.push(phaseLine(step.phase, index, index));
  }
  return lines;
}

function phaseLine(phase: string, first: number, last: number): Line {
  const total = last - first + 1;
  return {
    first,
    last,
    title: (index) =>
      index < first ? `${phase}: ${plural(total, 'step')}` : `${phase}: step ${index - first + 1} of ${total}`,
    settle: Promise.withResolvers<undefined>(),
  };
}
