import type { Fixture } from './cluster.ts';

/** A fixture taken apart into records that may stand in any order, and how to make a file of some of them. */
export interface Parts {
  readonly records: readonly string[];
  readonly join: (records: readonly string[]) => string;
}

type Json = Readonly<Record<string, unknown>>;

export function takeApart(one: Fixture): Parts {
  const { text } = one;
  const documents = text.split(/\n(?=\{\n)/);
  if (documents.length > 1) return { records: documents, join: (chosen) => chosen.join('\n') };
  if (/^[[{]\s*\n/.test(text) || (text.startsWith('{') && text.trim().indexOf('\n') < 0)) {
    const value = JSON.parse(text) as unknown;
    const path = Array.isArray(value)
      ? []
      : (ARRAYS.find((keys) => Array.isArray(at(value as Json, keys))) ?? undefined);
    if (path === undefined) return { records: [text.trim()], join: (records) => records.join('\n') };
    const records = (at(value as Json, path) as readonly unknown[]).map((record) => JSON.stringify(record));
    return {
      records,
      join: (chosen) =>
        JSON.stringify(
          put(
            value,
            path,
            chosen.map((record) => JSON.parse(record) as unknown),
          ),
        ),
    };
  }
  const lines = text.split('\n').filter((line) => line !== '');
  const isHead = HEADS[one.source];
  const head = isHead === undefined ? [] : lines.filter((line) => isHead.test(line));
  // Parts of one line stay together.
  const records = lines
    .filter((line) => !head.includes(line))
    .reduce<string[]>((all, line) => {
      const previous = all.at(-1);
      if (previous !== undefined && /^\S+ stdout P /.test(previous) && !previous.includes('\n'))
        return [...all.slice(0, -1), `${previous}\n${line}`];
      return [...all, line];
    }, []);
  return { records, join: (chosen) => [...head, ...chosen, ''].join('\n') };
}

const ARRAYS = [['data', 'result'], ['records'], ['items'], ['events']];
const HEADS: Readonly<Record<string, RegExp>> = { zeek: /^#/, 'aws-vpc': /srcaddr/, linkerd: /^#/ };

function at(value: Json, keys: readonly string[]): unknown {
  return keys.reduce<unknown>((inner, key) => (inner as Json | undefined)?.[key], value);
}

function put(value: unknown, keys: readonly string[], to: unknown): unknown {
  const [key, ...rest] = keys;
  if (key === undefined) return to;
  return { ...(value as Json), [key]: put((value as Json)[key], rest, to) };
}
