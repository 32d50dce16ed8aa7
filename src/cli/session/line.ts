// A line of text that is being typed. Pure.
import { oneLine } from './list.ts';
import type { Press } from './list.ts';

export interface Line {
  readonly text: string;
  readonly at: number;
}

export function emptyLine(): Line {
  return { text: '', at: 0 };
}

export function editLine(line: Line, key: Press): Line {
  const { text, at } = line;
  const insert = (more: string): Line => ({ text: text.slice(0, at) + more + text.slice(at), at: at + more.length });
  if (key.paste === true) return insert(oneLine(key.text));
  if (key.ctrl === true)
    switch (key.name) {
      case 'a':
        return { text, at: 0 };
      case 'e':
        return { text, at: text.length };
      case 'u':
        return { text: text.slice(at), at: 0 };
      case 'k':
        return { text: text.slice(0, at), at };
      case 'w': {
        const kept = text.slice(0, at).replace(/\S*\s*$/, '');
        return { text: kept + text.slice(at), at: kept.length };
      }
      default:
        return line;
    }
  switch (key.name) {
    case 'left':
      return { text, at: Math.max(0, at - 1) };
    case 'right':
      return { text, at: Math.min(text.length, at + 1) };
    case 'home':
      return { text, at: 0 };
    case 'end':
      return { text, at: text.length };
    case 'backspace':
      return at === 0 ? line : { text: text.slice(0, at - 1) + text.slice(at), at: at - 1 };
    case 'delete':
      return { text: text.slice(0, at) + text.slice(at + 1), at };
    default:
      return key.text === '' ? line : insert(oneLine(key.text));
  }
}

/** The part of it around the cursor that fits; `|` is the cursor. */
export function drawLine(line: Line, width: number): string {
  const shown = `${line.text.slice(0, line.at)}|${line.text.slice(line.at)}`;
  const from = Math.max(0, Math.min(line.at - width + 2, shown.length - width));
  return `> ${shown.slice(from, from + width)}`;
}
