import type { AssessmentReport } from './model.ts';
import { ASSESSMENT_API_VERSION } from './model.ts';

// Legal in JSON text, and a terminal or an editor obeys them: as escapes they are only data.
const UNSAFE = /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu;

/** The report as one JSON document. Columns of the map stand on one line each: 50,000 lines of one number help nobody. */
export function renderJson(report: AssessmentReport): string {
  const sections = Object.entries(report).map(([key, value]) =>
    key === 'map'
      ? `  "map": {\n${Object.entries(value as AssessmentReport['map'])
          .map(([name, part]) =>
            name === 'edges'
              ? columns(part as AssessmentReport['map']['edges'])
              : `    ${JSON.stringify(name)}: ${JSON.stringify(part)}`,
          )
          .join(',\n')}\n  }`
      : `  ${JSON.stringify(key)}: ${JSON.stringify(value, undefined, 2).replaceAll('\n', '\n  ')}`,
  );
  return `{\n${sections.join(',\n')}\n}\n`.replace(
    UNSAFE,
    (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function columns(edges: AssessmentReport['map']['edges']): string {
  const lines = Object.entries(edges).map(
    ([name, column]) => `      ${JSON.stringify(name)}: ${JSON.stringify(column)}`,
  );
  return `    "edges": {\n${lines.join(',\n')}\n    }`;
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
  ];
  for (const path of lists) {
    const at = path.reduce<unknown>((found, key) => has(found, key), value);
    if (!Array.isArray(at)) return `${path.join('.')} is no list`;
  }
  if (typeof has(value, 'at') !== 'string') return 'at is no time';
  if (typeof has(has(value, 'cluster'), 'id') !== 'string') return 'cluster.id is no text';
  return undefined;
}
