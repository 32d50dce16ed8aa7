import type { AssessmentReport } from './model.ts';
import { ASSESSMENT_API_VERSION } from './model.ts';

// Legal in JSON text, and a terminal or an editor obeys them: as escapes they are only data.
const UNSAFE = /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu;

/**
 * The report as one JSON document. Sections and their fields stand on lines of their own, and so does each row of a list; what is inside
 * of a row, or a column of the map, is one line: 50,000 lines of one number help nobody.
 */
export function renderJson(report: AssessmentReport): string {
  return `${lines(report, '', 0)}\n`.replace(
    UNSAFE,
    (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

const DEPTH = 4;

function lines(value: unknown, indent: string, depth: number): string {
  if (typeof value !== 'object' || value === null || depth >= DEPTH) return JSON.stringify(value);
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    const items: readonly unknown[] = value;
    if (items.every((item) => typeof item !== 'object' || item === null)) return JSON.stringify(items);
    return `[\n${items.map((item) => inner + JSON.stringify(item)).join(',\n')}\n${indent}]`;
  }
  const entries = Object.entries(value);
  if (entries.length === 0) return '{}';
  return `{\n${entries.map(([key, item]) => `${inner}${JSON.stringify(key)}: ${lines(item, inner, depth + 1)}`).join(',\n')}\n${indent}}`;
}

/** What is wrong with a document that should be a report of ours; undefined where it is one. Only what a comparison reads is looked at. */
export function reportFault(value: unknown): string | undefined {
  const has = (at: unknown, key: string): unknown =>
    typeof at === 'object' && at !== null && Object.hasOwn(at, key)
      ? (at as Readonly<Record<string, unknown>>)[key]
      : undefined;
  if (has(value, 'kind') !== 'Assessment') return 'it is no Assessment';
  const version = has(value, 'apiVersion');
  if (version !== ASSESSMENT_API_VERSION)
    return `its apiVersion is ${JSON.stringify(version)}, and ${ASSESSMENT_API_VERSION} is understood`;
  const lists: readonly (readonly string[])[] = [
    ['summary', 'figures'],
    ['inventory', 'workloads'],
    ['map', 'nodes'],
    ['map', 'edges', 'id'],
    ['map', 'edges', 'src'],
    ['map', 'edges', 'dst'],
    ['map', 'edges', 'port'],
    ['map', 'edges', 'protocol'],
    ['readiness', 'namespaces'],
    ['risk', 'rows'],
    ['policies', 'candidates'],
    ['surface', 'states'],
    ['progress', 'runs'],
  ];
  for (const path of lists) {
    const at = path.reduce<unknown>((found, key) => has(found, key), value);
    if (!Array.isArray(at)) return `${path.join('.')} is no list`;
  }
  const totals = has(has(value, 'progress'), 'totals');
  if (typeof totals !== 'object' || totals === null) return 'progress.totals is no object';
  if (typeof has(value, 'at') !== 'string') return 'at is no time';
  if (typeof has(has(value, 'cluster'), 'id') !== 'string') return 'cluster.id is no text';
  return undefined;
}
