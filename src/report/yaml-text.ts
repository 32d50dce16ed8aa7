import { escapeJson } from '../shared/pure/text.ts';
import type { Json } from '../shared/pure/json.ts';
import { isJsonObject } from '../shared/pure/json.ts';

// Words that YAML 1.1 or 1.2 reads as something else than text, and texts that look like numbers, dates or syntax.
const PLAIN = /^[A-Za-z/][A-Za-z0-9_./@-]*(?:[ :][A-Za-z0-9_./@-]+)*$/;
const WORDS = /^(?:true|false|yes|no|on|off|null|y|n|~)$/i;

function scalar(value: string | number | boolean | null): string {
  if (typeof value !== 'string') return JSON.stringify(value);
  // JSON text is YAML text, and keeps every control character escaped.
  return PLAIN.test(value) && !WORDS.test(value) && !value.includes(': ') && !value.includes(' #')
    ? value
    : escapeJson(JSON.stringify(value));
}

function lines(value: Json, indent: string): readonly string[] {
  if (Array.isArray(value)) {
    const items = value as readonly Json[];
    if (items.length === 0) return [`${indent}[]`];
    return items.flatMap((item) => {
      const inner = lines(item, `${indent}  `);
      const [first = '', ...rest] = inner;
      return [`${indent}- ${first.slice(indent.length + 2)}`, ...rest];
    });
  }
  if (isJsonObject(value)) {
    const entries = Object.entries(value);
    if (entries.length === 0) return [`${indent}{}`];
    return entries.flatMap(([key, item]) => {
      const name = scalar(key);
      const empty =
        (Array.isArray(item) && item.length === 0) || (isJsonObject(item) && Object.keys(item).length === 0);
      if (typeof item !== 'object' || item === null || empty) return [`${indent}${name}: ${lines(item, '')[0] ?? ''}`];
      return [`${indent}${name}:`, ...lines(item, Array.isArray(item) ? indent : `${indent}  `)];
    });
  }
  return [`${indent}${scalar(value as string | number | boolean | null)}`];
}

/** A JSON value as block YAML that every reader takes. Ends with a line break. */
export function yamlText(value: Json): string {
  return `${lines(value, '').join('\n')}\n`;
}

/** The lines of two texts as a diff: `  ` common, `- ` before, `+ ` after. Empty where they are equal. */
export function diffLines(before: string, after: string): readonly string[] {
  if (before === after) return [];
  const [a, b] = [before.trimEnd().split('\n'), after.trimEnd().split('\n')];
  const width = b.length + 1;
  // Longest common subsequence: policies are short.
  const table = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1)
    for (let j = b.length - 1; j >= 0; j -= 1)
      table[i * width + j] =
        a[i] === b[j]
          ? (table[(i + 1) * width + j + 1] ?? 0) + 1
          : Math.max(table[(i + 1) * width + j] ?? 0, table[i * width + j + 1] ?? 0);
  const out: string[] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      out.push(`  ${a[i] ?? ''}`);
      i += 1;
      j += 1;
    } else if (
      j >= b.length ||
      (i < a.length && (table[(i + 1) * width + j] ?? 0) >= (table[i * width + j + 1] ?? 0))
    ) {
      out.push(`- ${a[i] ?? ''}`);
      i += 1;
    } else {
      out.push(`+ ${b[j] ?? ''}`);
      j += 1;
    }
  }
  return out;
}
