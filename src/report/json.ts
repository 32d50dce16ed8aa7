import { escapeJson } from '../shared/pure/text.ts';
import type { AssessmentReport } from './model.ts';
import { ASSESSMENT_API_VERSION } from './model.ts';

/**
 * The report as one JSON document. Sections and their fields stand on lines of their own, and so does each row of a list; what is inside
 * of a row, or a column of the map, is one line: 50,000 lines of one number help nobody.
 */
export function renderJson(report: AssessmentReport): string {
  return escapeJson(`${lines(report, '', 0)}\n`);
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

type Kind = 'string' | 'number' | 'null';

/** The lists that a comparison reads, and what it reads of each row; an empty name is the row itself. */
const READ: readonly (readonly [path: readonly string[], fields: Readonly<Record<string, readonly Kind[]>>])[] = [
  [['summary', 'figures'], { id: ['string'], value: ['number', 'null'] }],
  [['inventory', 'workloads'], { id: ['string'] }],
  [['map', 'nodes'], { id: ['string'] }],
  [['map', 'edges', 'id'], { '': ['string'] }],
  [['map', 'edges', 'src'], { '': ['number'] }],
  [['map', 'edges', 'dst'], { '': ['number'] }],
  [['map', 'edges', 'port'], { '': ['number'] }],
  [['map', 'edges', 'protocol'], { '': ['number'] }],
  [['readiness', 'namespaces'], { namespace: ['string'], phase: ['string'] }],
  [['risk', 'rows'], { workload: ['string'], score: ['number'] }],
  [['policies', 'candidates'], { name: ['string'] }],
  [['surface', 'states'], { state: ['string'], reachable: ['number'] }],
  [['progress', 'runs'], { run: ['string'] }],
];

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
  for (const [path, fields] of READ) {
    const at = path.reduce<unknown>(has, value);
    if (!Array.isArray(at)) return `${path.join('.')} is no list`;
    for (const [index, row] of (at as readonly unknown[]).entries())
      for (const [field, kinds] of Object.entries(fields)) {
        const found = field === '' ? row : has(row, field);
        if (!kinds.some((kind) => kind === (found === null ? 'null' : typeof found)))
          return `${path.join('.')}[${index}]${field === '' ? '' : `.${field}`} is no ${kinds.join(' or ')}`;
      }
  }
  const totals = has(has(value, 'progress'), 'totals');
  if (typeof totals !== 'object' || totals === null) return 'progress.totals is no object';
  if (Object.values(totals).some((one) => typeof one !== 'number')) return 'progress.totals holds more than numbers';
  for (const path of [['at'], ['version'], ['cluster', 'id'], ['cluster', 'description']])
    if (typeof path.reduce<unknown>(has, value) !== 'string') return `${path.join('.')} is no text`;
  return undefined;
}
