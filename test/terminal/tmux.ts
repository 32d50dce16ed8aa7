// A real terminal: tmux draws what the program writes, and its keys come through a pseudo terminal. One server a terminal, with a socket of its own.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as later } from 'node:timers/promises';

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

export interface Screen {
  /** What is to be read, without trailing space. */
  readonly text: string;
  /** The same with its SGR sequences. */
  readonly coloured: string;
}

export interface Terminal {
  /** Keys by tmux's names: `Enter`, `Escape`, `C-c`, `Down`; anything else is typed. */
  keys(...keys: readonly string[]): void;
  type(text: string): void;
  /** As a terminal pastes: bracketed where the program has asked for that. */
  paste(text: string): void;
  resize(size: Size): void;
  screen(): Screen;
  /** Waits for a screen that matches and has stopped moving; where it never stops, `moving` takes the first that matches. */
  until(pattern: RegExp, what?: string, moving?: boolean): Promise<string>;
  /** Does something, again while nothing moves, until a screen matches. */
  answer(act: () => void, pattern: RegExp): Promise<string>;
  /** Of the terminal as the program left it. */
  isCursorShown(): boolean;
  end(): void;
}

/** A busy machine takes its time; a screen that never comes is an error with the last one in it. */
const PATIENCE_MS = 60_000;

/** A shell without a profile, in `folder`, with nothing but `env`. Its prompt is `READY `. */
export function openTerminal(folder: string, size: Size, env: Readonly<Record<string, string>>): Terminal {
  const home = mkdtempSync(join(tmpdir(), 'sp-tmux-'));
  const socket = join(home, 's');
  const tmux = (...args: readonly string[]): string =>
    execFileSync('tmux', ['-S', socket, '-f', '/dev/null', ...args], {
      encoding: 'utf8',
      env: { PATH: process.env['PATH'], HOME: home, LANG: 'C.UTF-8' },
    });
  const settings = Object.entries({ PS1: 'READY ', LANG: 'C.UTF-8', ...env }).map(
    ([name, value]) => `${name}=${value}`,
  );
  tmux(
    ...['new-session', '-d', '-s', 'main', '-c', folder],
    ...['-x', String(size.columns), '-y', String(size.rows)],
    ...['env', '-i', 'TERM=screen-256color', `PATH=${process.env['PATH'] ?? ''}`, `HOME=${home}`, ...settings],
    ...['sh', '-i'],
  );
  tmux('set-option', '-g', 'window-size', 'manual');
  tmux('set-option', '-g', 'history-limit', '2000');
  const screen = (): Screen => {
    const coloured = tmux('capture-pane', '-p', '-e', '-t', 'main');
    const bare = coloured.replaceAll(/\u001b\[[0-9;]*m/g, '').replaceAll(/[\u000e\u000f]/g, '');
    const text = bare
      .split('\n')
      .map((line) => line.trimEnd())
      .join('\n')
      .trimEnd();
    return { text, coloured };
  };
  return {
    keys: (...keys) => void tmux('send-keys', '-t', 'main', ...keys),
    type: (text) => void tmux('send-keys', '-t', 'main', '-l', text),
    paste: (text) => {
      tmux('set-buffer', text);
      // -r: line breaks as they are.
      tmux('paste-buffer', '-p', '-r', '-t', 'main');
    },
    resize: ({ columns, rows }) => void tmux('resize-window', '-t', 'main', '-x', String(columns), '-y', String(rows)),
    screen,
    until: async (pattern, what = String(pattern), moving = false) => {
      const end = performance.now() + PATIENCE_MS;
      let before = '';
      while (performance.now() < end) {
        const { text } = screen();
        if (pattern.test(text) && (moving || text === before)) return text;
        before = text;
        await later(100);
      }
      throw new Error(`there was no ${what}; the screen is:\n${before}`);
    },
    answer: async (act, pattern) => {
      const end = performance.now() + PATIENCE_MS;
      let asked = screen().text;
      act();
      let acted = performance.now();
      while (performance.now() < end) {
        const { text } = screen();
        if (pattern.test(text)) return text;
        // A question is drawn a moment before it listens, and what comes between questions is dropped: nothing moved, so it is said again.
        if (text === asked && performance.now() > acted + 2000) {
          act();
          acted = performance.now();
        } else if (text !== asked) asked = '';
        await later(100);
      }
      throw new Error(`there was no ${String(pattern)}; the screen is:\n${screen().text}`);
    },
    isCursorShown: () => tmux('display-message', '-p', '-t', 'main', '#{cursor_flag}').trim() === '1',
    end: () => {
      tmux('kill-server');
      rmSync(home, { recursive: true, force: true });
    },
  };
}
