import type { Tri } from './tri.ts';
import { and, not, or, triOf } from './tri.ts';

/** A selector of Calico (its reference, "Selectors"), read. */
export type CalicoSelector =
  | { readonly kind: 'all' }
  | { readonly kind: 'global' }
  | { readonly kind: 'has'; readonly key: string }
  | {
      readonly kind: 'compare';
      readonly key: string;
      readonly operator: '==' | '!=' | 'contains' | 'starts with' | 'ends with';
      readonly value: string;
    }
  | { readonly kind: 'in'; readonly key: string; readonly negated: boolean; readonly values: readonly string[] }
  | { readonly kind: 'not'; readonly of: CalicoSelector }
  | { readonly kind: 'and' | 'or'; readonly of: readonly CalicoSelector[] };

type Token =
  | { readonly kind: 'symbol'; readonly text: string }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'word'; readonly text: string };

const BLANK = /^\s+/u;
const SYMBOL = /^(?:==|!=|&&|\|\||[!(){},])/u;
const QUOTED = /^(?:"([^"]*)"|'([^']*)')/u;
const WORD = /^[A-Za-z0-9_][A-Za-z0-9_./-]*/u;
const DEPTH_MAX = 64;

function tokensOf(text: string): readonly Token[] | undefined {
  const tokens: Token[] = [];
  for (let rest = text; rest !== '';) {
    const blank = BLANK.exec(rest);
    if (blank !== null) {
      rest = rest.slice(blank[0].length);
      continue;
    }
    const quoted = QUOTED.exec(rest);
    const symbol = SYMBOL.exec(rest);
    const word = WORD.exec(rest);
    if (quoted !== null) tokens.push({ kind: 'text', text: quoted[1] ?? quoted[2] ?? '' });
    else if (symbol !== null) tokens.push({ kind: 'symbol', text: symbol[0] });
    else if (word !== null) tokens.push({ kind: 'word', text: word[0] });
    else return undefined;
    rest = rest.slice((quoted ?? symbol ?? word)?.[0].length ?? rest.length);
  }
  return tokens;
}

interface Cursor {
  readonly tokens: readonly Token[];
  at: number;
}

function take(cursor: Cursor, kind: Token['kind'], text?: string): string | undefined {
  const token = cursor.tokens[cursor.at];
  if (token?.kind !== kind || (text !== undefined && token.text !== text)) return undefined;
  cursor.at += 1;
  return token.text;
}

/**
 * Reads a selector of Calico: `all()`, `global()`, `has(k)`, `==`, `!=`, `in`, `not in`, `contains`, `starts with`, `ends with`, `!`,
 * `&&`, `||` and parentheses, `&&` binding tighter. Undefined for anything else. The empty text selects everything.
 */
export function readCalicoSelector(text: string): CalicoSelector | undefined {
  const tokens = tokensOf(text);
  if (tokens === undefined) return undefined;
  if (tokens.length === 0) return { kind: 'all' };
  const cursor: Cursor = { tokens, at: 0 };
  const selector = readJoined(cursor, 'or', 0);
  return cursor.at === tokens.length ? selector : undefined;
}

function readJoined(cursor: Cursor, kind: 'and' | 'or', depth: number): CalicoSelector | undefined {
  const parts: CalicoSelector[] = [];
  do {
    const part = kind === 'or' ? readJoined(cursor, 'and', depth) : readOne(cursor, depth);
    if (part === undefined) return undefined;
    parts.push(part);
  } while (take(cursor, 'symbol', kind === 'or' ? '||' : '&&') !== undefined);
  const [only] = parts;
  return parts.length === 1 ? only : { kind, of: parts };
}

function readOne(cursor: Cursor, depth: number): CalicoSelector | undefined {
  if (depth > DEPTH_MAX) return undefined;
  if (take(cursor, 'symbol', '!') !== undefined) {
    const of = readOne(cursor, depth + 1);
    return of === undefined ? undefined : { kind: 'not', of };
  }
  if (take(cursor, 'symbol', '(') !== undefined) {
    const of = readJoined(cursor, 'or', depth + 1);
    return of === undefined || take(cursor, 'symbol', ')') === undefined ? undefined : of;
  }
  const word = take(cursor, 'word');
  if (word === undefined) return undefined;
  if (take(cursor, 'symbol', '(') !== undefined) return readCall(cursor, word);
  return readComparison(cursor, word);
}

function readCall(cursor: Cursor, name: string): CalicoSelector | undefined {
  const key = name === 'has' ? take(cursor, 'word') : '';
  if (key === undefined || take(cursor, 'symbol', ')') === undefined) return undefined;
  if (name === 'has') return { kind: 'has', key };
  return name === 'all' || name === 'global' ? { kind: name } : undefined;
}

function readComparison(cursor: Cursor, key: string): CalicoSelector | undefined {
  const symbol = take(cursor, 'symbol');
  if (symbol === '==' || symbol === '!=') {
    const value = take(cursor, 'text');
    return value === undefined ? undefined : { kind: 'compare', key, operator: symbol, value };
  }
  if (symbol !== undefined) return undefined;
  const word = take(cursor, 'word');
  switch (word) {
    case 'in':
      return readSet(cursor, key, false);
    case 'not':
      return take(cursor, 'word', 'in') === undefined ? undefined : readSet(cursor, key, true);
    case 'contains': {
      const value = take(cursor, 'text');
      return value === undefined ? undefined : { kind: 'compare', key, operator: 'contains', value };
    }
    case 'starts':
    case 'ends': {
      const value = take(cursor, 'word', 'with') === undefined ? undefined : take(cursor, 'text');
      return value === undefined ? undefined : { kind: 'compare', key, operator: `${word} with`, value };
    }
    case undefined:
    default:
      return undefined;
  }
}

function readSet(cursor: Cursor, key: string, negated: boolean): CalicoSelector | undefined {
  if (take(cursor, 'symbol', '{') === undefined) return undefined;
  const values: string[] = [];
  if (take(cursor, 'symbol', '}') !== undefined) return { kind: 'in', key, negated, values };
  do {
    const value = take(cursor, 'text');
    if (value === undefined) return undefined;
    values.push(value);
  } while (take(cursor, 'symbol', ',') !== undefined);
  return take(cursor, 'symbol', '}') === undefined ? undefined : { kind: 'in', key, negated, values };
}

/** The value of a label, `absent`, or `unknown`. */
export type LabelValue =
  { readonly kind: 'value'; readonly value: string } | { readonly kind: 'absent' } | { readonly kind: 'unknown' };

/** Does the selector hold of something with these labels? `global()` holds of everything: where it may stand is for the caller. */
export function matchCalicoSelector(selector: CalicoSelector, labelOf: (key: string) => LabelValue): Tri {
  switch (selector.kind) {
    case 'all':
    case 'global':
      return 'yes';
    case 'has': {
      const label = labelOf(selector.key);
      return label.kind === 'unknown' ? 'unknown' : triOf(label.kind === 'value');
    }
    case 'compare':
      return matchComparison(selector, labelOf(selector.key));
    case 'in': {
      const label = labelOf(selector.key);
      if (label.kind === 'unknown') return 'unknown';
      const found = label.kind === 'value' && selector.values.includes(label.value);
      return triOf(found !== selector.negated);
    }
    case 'not':
      return not(matchCalicoSelector(selector.of, labelOf));
    case 'and':
      return selector.of.reduce<Tri>((answer, one) => and(answer, matchCalicoSelector(one, labelOf)), 'yes');
    case 'or':
      return selector.of.reduce<Tri>((answer, one) => or(answer, matchCalicoSelector(one, labelOf)), 'no');
  }
}

function matchComparison({ operator, value }: Extract<CalicoSelector, { kind: 'compare' }>, label: LabelValue): Tri {
  if (label.kind === 'unknown') return 'unknown';
  if (label.kind === 'absent') return triOf(operator === '!=');
  switch (operator) {
    case '==':
      return triOf(label.value === value);
    case '!=':
      return triOf(label.value !== value);
    case 'contains':
      return triOf(label.value.includes(value));
    case 'starts with':
      return triOf(label.value.startsWith(value));
    case 'ends with':
      return triOf(label.value.endsWith(value));
  }
}
