// What the documents tell people to type, and to follow.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './imports.ts';

/** Markdown that users read, relative to the root. */
export const PAGES: readonly string[] = [
  'README.md',
  ...['docs', 'phases', 'examples'].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.md'))
      .map((file) => join(folder, file))
      .sort(),
  ),
];

export const readPage = (page: string): string => readFileSync(join(ROOT, page), 'utf8');

export interface Block {
  readonly page: string;
  /** Of its first line, counted from 1. */
  readonly line: number;
  /** `sh`, `text`, `yaml`, ... */
  readonly language: string;
  readonly text: string;
  /** What `<!-- not run: REASON -->` above it says. */
  readonly notRun: string | undefined;
}

/** Fenced blocks of a page, in order. */
export function blocksOf(page: string): readonly Block[] {
  const found: Block[] = [];
  const lines = readPage(page).split('\n');
  let above = '';
  for (let index = 0; index < lines.length; index += 1) {
    const open = /^\s*```(\w*)/.exec(lines[index] ?? '');
    if (open === null) {
      if ((lines[index] ?? '').trim() !== '') above = lines[index] ?? '';
      continue;
    }
    const end = lines.findIndex((line, at) => at > index && line.trim() === '```');
    if (end < 0) throw new Error(`${page}:${index + 1}: a block without an end`);
    found.push({
      page,
      line: index + 2,
      language: open[1] ?? '',
      text: lines.slice(index + 1, end).join('\n'),
      notRun: /^<!-- not run: (.+) -->$/.exec(above.trim())?.[1],
    });
    above = '';
    index = end;
  }
  return found;
}

/** One program with its arguments, as a shell would start it. */
export interface Command {
  readonly line: number;
  readonly words: readonly string[];
  /** Something is piped into it. */
  readonly piped: boolean;
}

/**
 * The programs that a block of shell starts. Enough of the language for documents: quotes, backslash at the end of a line, comments, pipes,
 * lists, redirections (left out), variables set by a line of their own. `variables` is read and added to.
 */
export function commandsOf(block: Block, variables: Map<string, string>): readonly Command[] {
  const commands: Command[] = [];
  const lines = block.text.split('\n');
  for (let index = 0; index < lines.length; index += 1) {
    const line = block.line + index;
    let text = lines[index] ?? '';
    while (text.endsWith('\\')) text = `${text.slice(0, -1)} ${lines[(index += 1)] ?? ''}`;
    const set = /^([A-Z]+)="([^"]*)"$/.exec(text.trim());
    if (set !== null) {
      variables.set(set[1] ?? '', expand(set[2] ?? '', variables));
      continue;
    }
    let words: string[] = [];
    let piped = false;
    const end = (pipe: boolean): void => {
      if (words.length > 0) commands.push({ line, words, piped });
      words = [];
      piped = pipe;
    };
    let skip = false;
    for (const token of tokensOf(expand(text, variables))) {
      if (token.kind === 'operator') {
        if (/[<>]/.test(token.text)) skip = true;
        else end(token.text === '|');
      } else if (skip) skip = false;
      else words.push(token.text);
    }
    end(false);
  }
  return commands;
}

function expand(text: string, variables: ReadonlyMap<string, string>): string {
  return text.replaceAll(/\$([A-Z]+)\b/g, (whole, name: string) => variables.get(name) ?? whole);
}

type Token = { readonly kind: 'word' | 'operator'; readonly text: string };

function tokensOf(text: string): readonly Token[] {
  const tokens: Token[] = [];
  const pattern = /\s+|(#.*$)|(\|\||&&|2>&1|[|&;]|2?>>?|<)|((?:"(?:\\.|[^"])*"|'[^']*'|\\.|[^\s"'|&;<>\\])+)/gy;
  for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
    if (match[1] !== undefined) break;
    if (match[2] === '2>&1') continue;
    if (match[2] !== undefined) tokens.push({ kind: 'operator', text: match[2] });
    else if (match[3] !== undefined)
      tokens.push({
        kind: 'word',
        text: match[3].replaceAll(
          /"((?:\\.|[^"])*)"|'([^']*)'|\\(.)/g,
          (_, double?: string, single?: string, one?: string) =>
            double !== undefined ? double.replaceAll(/\\(["\\$`])/g, '$1') : (single ?? one ?? ''),
        ),
      });
  }
  return tokens;
}
