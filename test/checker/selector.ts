import { Unsupported, doc, docs, labelMap, only, text, texts } from './json.ts';
import type { Doc } from './json.ts';

export type Labels = Readonly<Record<string, string>>;

/** A label selector as the API reference defines it: all matchLabels and all matchExpressions; an empty one selects everything. */
export function selects(selector: Doc, labels: Labels, where: string): boolean {
  only(selector, ['matchLabels', 'matchExpressions'], where);
  for (const [key, value] of Object.entries(labelMap(selector['matchLabels']))) if (labels[key] !== value) return false;
  for (const expression of docs(selector['matchExpressions'])) {
    const key = text(expression['key']) ?? '';
    const values = texts(expression['values']);
    const value = labels[key];
    switch (expression['operator']) {
      case 'In':
        if (value === undefined || !values.includes(value)) return false;
        break;
      case 'NotIn':
        if (value !== undefined && values.includes(value)) return false;
        break;
      case 'Exists':
        if (value === undefined) return false;
        break;
      case 'DoesNotExist':
        if (value !== undefined) return false;
        break;
      default:
        throw new Unsupported(`${where}: operator ${String(expression['operator'])}`);
    }
  }
  return true;
}

/** The same, with every key of the selector rewritten first. */
export function mapKeys(selector: Doc, rename: (key: string) => string): Doc {
  const matchLabels = Object.fromEntries(
    Object.entries(doc(selector['matchLabels'])).map(([key, value]) => [rename(key), value]),
  );
  const matchExpressions = docs(selector['matchExpressions']).map((one) => ({
    ...one,
    key: rename(text(one['key']) ?? ''),
  }));
  return { ...selector, matchLabels, matchExpressions };
}
