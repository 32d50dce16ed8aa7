import { createPrompt, useEffect, useKeypress, useRef, useState } from '@inquirer/core';
import inquirer from 'inquirer';
import { cancelled } from './interrupt.ts';
import { cut } from './output.ts';
import { editLine, emptyLine, drawLine } from './session/line.ts';
import { drawPage, oneLine, press, settle, bodyHeight, UNPAINTED } from './session/list.ts';
import type { ListState, Paint, Press, Size } from './session/list.ts';
import type { Page, Shown } from './session/page.ts';

export interface Choice<T> {
  readonly name: string;
  readonly value: T;
  /** What stands behind the question once it is answered; the name without it. */
  readonly short?: string;
}

/** How commands ask. Tests answer from a script. */
export interface Prompts {
  select<T>(message: string, choices: readonly Choice<T>[]): Promise<T>;
  confirm(message: string, initial?: boolean): Promise<boolean>;
  /** '' where nothing was given. */
  text(message: string): Promise<string>;
}

/** How the session asks: whole pages beside the questions of its commands. */
export interface Front extends Prompts {
  /** Shows the page until something is chosen. It is made anew on a resize, by its own clock, and when `idle` says that more is known. */
  show<A>(
    make: () => Page<A>,
    state: ListState,
    idle?: () => boolean,
  ): Promise<{ readonly shown: Shown<A>; readonly state: ListState }>;
  /** Work meanwhile: what is typed during it answers no later question. */
  busy<T>(work: () => Promise<T>): Promise<T>;
  /** Leaves what was printed in sight until somebody has read it. */
  pause(): Promise<void>;
  /** Columns, as they are now. */
  width(): number;
  /** Gives the terminal back as it was. */
  close(): void;
}

/** inquirer throws when Ctrl-C is pressed or the input ends: a cancellation, not a bug. */
async function orCancelled<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof Error && ['ExitPromptError', 'AbortPromptError', 'CancelPromptError'].includes(error.name))
      throw cancelled('cancelled; what was done before is on record, and nothing more was written');
    throw error;
  }
}

function sizeOf(): Size {
  return { columns: Math.max(20, process.stdout.columns || 80), rows: Math.max(8, process.stdout.rows || 24) };
}

/** A choice that wraps is redrawn in the wrong place when the cursor moves: it is cut. */
function fit(text: string): string {
  return cut(text, Math.max(40, sizeOf().columns) - 4);
}

const HIDE_CURSOR = '\u001b[?25l';
const SHOW_CURSOR = '\u001b[?25h';
const PASTE_ON = '\u001b[?2004h';
const PASTE_OFF = '\u001b[?2004l';
const CLEAR_LINE = '\r\u001b[2K';
/** Everything redrawn from the top: after a resize nobody knows where the old lines are. */
const CLEAR = '\u001b[H\u001b[2J';

const SGR: Readonly<Record<string, string>> = { head: '1', good: '32', bad: '31', doubt: '35', dim: '2', cursor: '7' };

/** Weight, reverse video and the terminal's own sixteen colours: they suit light and dark alike, and the words say the same. */
function painter(color: boolean): Paint {
  return color ? (tone, text) => `\u001b[${SGR[tone] ?? '0'}m${text}\u001b[0m` : UNPAINTED;
}

interface Key {
  readonly name?: string;
  readonly sequence?: string;
  readonly ctrl?: boolean;
  readonly meta?: boolean;
}

/** Keys as they come, a bracketed paste as one of them. */
function pasteReader(): (key: Key) => Press | undefined {
  let pasted: string | undefined;
  return (key) => {
    const text = key.sequence ?? '';
    if (key.name === 'paste-start') {
      pasted = '';
      return undefined;
    }
    if (key.name === 'paste-end') {
      const whole = pasted ?? '';
      pasted = undefined;
      return { name: 'paste', text: whole, paste: true };
    }
    if (pasted !== undefined) {
      pasted += text;
      return undefined;
    }
    const printable = key.ctrl !== true && key.meta !== true && oneLine(text) === text;
    return { name: key.name ?? '', text: printable ? text : '', ctrl: key.ctrl === true };
  };
}

/** The typed line that readline keeps is nobody's answer. */
function forget(rl: { clearLine(direction: number): void }): void {
  rl.clearLine(0);
}

interface PageConfig {
  readonly make: () => Page<unknown>;
  readonly state: ListState;
  readonly idle: (() => boolean) | undefined;
  readonly paint: Paint;
}

const IDLE_MS = 150;

/** The one prompt of inquirer's core that carries a list of any length with marks, a filter and keys. */
const askPage = createPrompt<{ shown: Shown<unknown>; state: ListState }, PageConfig>((config, done) => {
  const [, redraw] = useState(0);
  const page = useRef<Page<unknown> | undefined>(undefined);
  const state = useRef<ListState>(config.state);
  const read = useRef(pasteReader());
  const over = useRef(false);
  const queued = useRef(false);
  const lastKey = useRef(0);
  const remake = (): Page<unknown> => {
    const made = config.make();
    state.current = settle(made, state.current, bodyHeight(made, state.current, sizeOf()));
    page.current = made;
    return made;
  };
  const now = page.current ?? remake();
  // Keys that come in one go are drawn once.
  const draw = (): void => {
    if (queued.current) return;
    queued.current = true;
    setImmediate(() => {
      queued.current = false;
      if (!over.current) redraw((count) => count + 1);
    });
  };
  useKeypress((event, rl) => {
    forget(rl);
    const key = read.current(event);
    if (key === undefined || over.current) return;
    lastKey.current = performance.now();
    const result = press(page.current ?? now, state.current, key, sizeOf());
    state.current = result.state;
    if (result.kind === 'done') {
      over.current = true;
      done({ shown: result.shown, state: result.state });
    } else draw();
  });
  useEffect(() => {
    const onResize = (): void => {
      process.stdout.write(CLEAR);
      remake();
      draw();
    };
    process.stdout.on('resize', onResize);
    const every = now.everyMs;
    const clock =
      every === undefined
        ? undefined
        : setInterval(() => {
            remake();
            draw();
          }, every);
    let idle: NodeJS.Timeout | undefined;
    let rest = IDLE_MS;
    const work = (): void => {
      if (over.current) return;
      // Not in the way of somebody who types.
      const since = performance.now();
      if (since - lastKey.current < rest) idle = setTimeout(work, rest);
      else if (config.idle?.() === true) {
        // The longer a piece takes, the longer the keyboard has to itself before the next one.
        rest = Math.max(IDLE_MS, 3 * (performance.now() - since));
        remake();
        draw();
        idle = setTimeout(work, 10);
      }
    };
    if (config.idle !== undefined) idle = setTimeout(work, IDLE_MS);
    return () => {
      over.current = true;
      process.stdout.removeListener('resize', onResize);
      clearInterval(clock);
      clearTimeout(idle);
    };
  }, []);
  return `${drawPage(now, state.current, sizeOf(), config.paint).join('\n')}${HIDE_CURSOR}`;
});

/** Keys that were on their way before the question could be read do not answer it. */
const SETTLE_MS = 250;

/** yes or no, by a key and Enter; pasted text answers nothing. */
const askSure = createPrompt<boolean, { readonly message: string; readonly initial: boolean }>((config, done) => {
  const [answer, setAnswer] = useState<boolean | undefined>(undefined);
  const [remark, setRemark] = useState('');
  const read = useRef(pasteReader());
  const since = useRef(performance.now());
  useKeypress((event, rl) => {
    forget(rl);
    const key = read.current(event);
    if (key === undefined || performance.now() - since.current < SETTLE_MS) return;
    if (key.paste === true) setRemark('pasted text is no answer');
    else if (key.name === 'return' || key.name === 'enter') done(answer ?? config.initial);
    else if (key.text === 'y' || key.text === 'Y') setAnswer(true);
    else if (key.text === 'n' || key.text === 'N') setAnswer(false);
    else if (key.name === 'escape') done(false);
    else if (key.name === 'backspace') setAnswer(undefined);
  });
  const choice = config.initial ? '(Y/n)' : '(y/N)';
  const given = answer === undefined ? '' : answer ? 'yes' : 'no';
  return [`? ${config.message} ${choice} ${given}`, remark];
});

/** One line of text; what is pasted into it is text, breaks and all. Esc gives ''. */
const askLine = createPrompt<string, { readonly message: string }>((config, done) => {
  const [line, setLine] = useState(emptyLine());
  const read = useRef(pasteReader());
  useKeypress((event, rl) => {
    forget(rl);
    const key = read.current(event);
    if (key === undefined) return;
    if (key.paste !== true && (key.name === 'return' || key.name === 'enter')) done(line.text.trim());
    else if (key.name === 'escape') done('');
    else setLine(editLine(line, key));
  });
  return [`? ${config.message}`, `${drawLine(line, sizeOf().columns - 3)}${HIDE_CURSOR}`].join('\n');
});

const askEnter = createPrompt<undefined, object>((_, done) => {
  const since = useRef(performance.now());
  const read = useRef(pasteReader());
  useKeypress((event, rl) => {
    forget(rl);
    const key = read.current(event);
    if (key === undefined || key.paste === true || performance.now() - since.current < SETTLE_MS) return;
    if (['return', 'enter', 'space', 'escape'].includes(key.name)) done(undefined);
  });
  return `Enter goes on${HIDE_CURSOR}`;
});

export const terminalPrompts: Prompts = {
  select: async (message, choices) =>
    orCancelled(async () => {
      const { answer } = await inquirer.prompt<{ answer: unknown }>([
        {
          type: 'select',
          name: 'answer',
          message: fit(message),
          pageSize: Math.max(5, Math.min(15, (process.stdout.rows || 24) - 6)),
          loop: false,
          // Without it the cursor would begin on a choice whose value is undefined, wherever it stands.
          default: choices[0]?.value,
          choices: choices.map((choice) => ({
            name: fit(choice.name),
            value: choice.value,
            short: choice.short ?? choice.name,
          })),
        },
      ]);
      return answer as (typeof choices)[number]['value'];
    }),
  confirm: async (message, initial = false) => orCancelled(() => askSure({ message, initial })),
  text: async (message) => orCancelled(() => askLine({ message })),
};

/**
 * Reads the keyboard and drops what is typed, but for Ctrl-C. Between two questions a terminal would echo keys into the picture, and keep
 * them for the next question.
 */
function holdKeys(): { release(): Promise<void> } {
  const { stdin } = process;
  const onData = (chunk: Buffer): void => {
    if (chunk.includes(3)) process.kill(process.pid, 'SIGINT');
  };
  stdin.setRawMode(true);
  stdin.on('data', onData);
  stdin.resume();
  return {
    release: async () => {
      // What is waiting is read, and dropped, in the next turns of the loop.
      for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      stdin.removeListener('data', onData);
      stdin.pause();
      stdin.setRawMode(false);
    },
  };
}

/** The session on a terminal that can move its cursor. */
export function terminalFront(color: boolean): Front {
  const paint = painter(color);
  const restore = (): void => {
    process.stdout.write(`${PASTE_OFF}${SHOW_CURSOR}`);
  };
  process.stdout.write(PASTE_ON);
  process.on('exit', restore);
  let held: ReturnType<typeof holdKeys> | undefined;
  /** The keyboard belongs to the question while one is asked. */
  const asking = async <T>(ask: () => Promise<T>): Promise<T> => {
    const wasHeld = held !== undefined;
    await held?.release();
    held = undefined;
    try {
      return await orCancelled(ask);
    } finally {
      if (wasHeld) held = holdKeys();
    }
  };
  return {
    select: (message, choices) => asking(() => terminalPrompts.select(message, choices)),
    confirm: (message, initial) => asking(() => terminalPrompts.confirm(message, initial)),
    text: (message) => asking(() => terminalPrompts.text(message)),
    show: async <A>(make: () => Page<A>, state: ListState, idle?: () => boolean) => {
      // What was said of progress stands on this line.
      process.stdout.write(CLEAR_LINE);
      const answer = await asking(() => askPage({ make, state, idle, paint }, { clearPromptOnDone: true }));
      return answer as { shown: Shown<A>; state: ListState };
    },
    busy: async (work) => {
      if (held !== undefined) return work();
      held = holdKeys();
      try {
        return await work();
      } finally {
        // A question inside has put another hold in its place.
        await (held as ReturnType<typeof holdKeys> | undefined)?.release();
        held = undefined;
      }
    },
    pause: async () => {
      await asking(() => askEnter({}, { clearPromptOnDone: true }));
    },
    width: () => sizeOf().columns,
    close: () => {
      process.removeListener('exit', restore);
      restore();
    },
  };
}
