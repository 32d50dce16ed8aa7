// Edges row by row, as fast as they can be checked. A row that is surely as this version writes it is taken by checks of its own; every other
// goes to the one full parser, which reads it or says what is wrong with it (state/rows.ts). A test holds the two together.
import type { Edge, Endpoint } from '../src/model/edge.ts';
import type { Row } from './rows.ts';
import { parseEdgeRow } from './rows.ts';

/** In this order `edgeReader` wants them. */
const COLUMNS = [
  'id',
  'src',
  'dst',
  'src_ns',
  'dst_ns',
  'protocol',
  'port',
  'end_port',
  'l7',
  'count',
  'first',
  'last',
  'mtls',
  'last_plaintext',
  'guessed_direction',
  'data',
] as const;
export const EDGE_COLUMN_LIST = COLUMNS.join(', ');

type Values = readonly unknown[];

/** Reads rows of `SELECT EDGE_COLUMN_LIST`, given as arrays. What many edges share is one object. Throws a Failure (exit 5) for a damaged row. */
export function edgeReader(file: string): (values: Values) => Edge {
  const shared: Shared = { workloads: new Map(), lists: new Map() };
  return (values) => quickEdge(values, shared) ?? parseEdgeRow(rowOf(values), file);
}

function rowOf(values: Values): Row {
  return Object.fromEntries(COLUMNS.map((name, index) => [name, values[index]]));
}

interface Shared {
  readonly workloads: Map<string, Endpoint>;
  readonly lists: Map<string, readonly string[]>;
}

const NONE: readonly string[] = [];
const OBSERVED = { kind: 'observed' } as const;
const VERDICTS = new Set(['allowed', 'denied', 'audit', 'unknown']);
const DATA = new Set(['src', 'dst', 'verdicts', 'days', 'runs', 'sources', 'principals', 'origin', 'views']);

/** The edge of a row as most are; undefined where the row is of another make or damaged. */
function quickEdge(values: Values, shared: Shared): Edge | undefined {
  const [id, , , , , protocol, port, endPort, l7, count, first, last, mtls, lastPlaintext, guessed, json] = values;
  if (
    typeof id !== 'string' ||
    !isProtocol(protocol) ||
    !isNumber(port) ||
    !(endPort === null || isNumber(endPort)) ||
    !(l7 === null || typeof l7 === 'string') ||
    !isNumber(count) ||
    !isNumber(first) ||
    !isNumber(last) ||
    !isMtls(mtls) ||
    !(lastPlaintext === null || isNumber(lastPlaintext)) ||
    !isNumber(guessed) ||
    typeof json !== 'string'
  )
    return undefined;
  const data = parsed(json);
  if (data === undefined || !isObject(data)) return undefined;
  const [src, dst] = [endOf(data['src'], shared), endOf(data['dst'], shared)];
  const { verdicts, origin, views } = data;
  const [days, runs] = [textsOf(data['days'], undefined), textsOf(data['runs'], undefined)];
  const [sources, principals] = [textsOf(data['sources'], shared), textsOf(data['principals'], shared)];
  if (
    src === undefined ||
    dst === undefined ||
    days === undefined ||
    runs === undefined ||
    sources === undefined ||
    principals === undefined ||
    views !== undefined ||
    !isObservedOrigin(origin) ||
    !isVerdicts(verdicts) ||
    !holdsOnly(data, DATA)
  )
    return undefined;
  if (endPort === null && lastPlaintext === null && guessed !== 1) {
    const rest = { count, first, last, verdicts, days, runs, sources, principals, mtls };
    return l7 === null
      ? { id, src, dst, protocol, port, ...rest, origin: OBSERVED, review: 'unreviewed' }
      : { id, src, dst, protocol, port, l7, ...rest, origin: OBSERVED, review: 'unreviewed' };
  }
  return {
    id,
    src,
    dst,
    protocol,
    port,
    ...(endPort === null ? {} : { endPort }),
    ...(l7 === null ? {} : { l7 }),
    count,
    first,
    last,
    verdicts,
    days,
    runs,
    sources,
    principals,
    mtls,
    ...(lastPlaintext === null ? {} : { lastPlaintext }),
    ...(guessed === 1 ? { guessedDirection: true } : {}),
    origin: OBSERVED,
    review: 'unreviewed',
  };
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    // The full parser says what is wrong.
    return undefined;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function holdsOnly(value: object, names: ReadonlySet<string>): boolean {
  for (const key in value) if (!names.has(key)) return false;
  return true;
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

function isProtocol(value: unknown): value is Edge['protocol'] {
  return value === 'TCP' || value === 'UDP' || value === 'SCTP';
}

function isMtls(value: unknown): value is Edge['mtls'] {
  return value === 'unknown' || value === 'yes' || value === 'no' || value === 'mixed';
}

function isObservedOrigin(value: unknown): boolean {
  return isObject(value) && value['kind'] === 'observed' && keysOf(value) === 1;
}

function isVerdicts(value: unknown): value is Edge['verdicts'] {
  if (!isObject(value)) return false;
  for (const key in value) if (!VERDICTS.has(key) || !isNumber(value[key])) return false;
  return true;
}

function keysOf(value: object): number {
  return Object.keys(value).length;
}

/** Lists of one text are shared where `shared` is given, empty ones always. */
function textsOf(value: unknown, shared: Shared | undefined): readonly string[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const list = value as readonly unknown[];
  if (list.length === 0) return NONE;
  for (const one of list) if (typeof one !== 'string') return undefined;
  const texts = list as readonly string[];
  const [only = ''] = texts;
  if (shared === undefined || texts.length > 1) return texts;
  const known = shared.lists.get(only);
  if (known === undefined) shared.lists.set(only, texts);
  return known ?? texts;
}

function endOf(value: unknown, { workloads }: Shared): Endpoint | undefined {
  if (!isObject(value)) return undefined;
  switch (value['kind']) {
    case 'workload': {
      const id = value['id'];
      if (typeof id !== 'string' || keysOf(value) !== 2) return undefined;
      const known = workloads.get(id);
      if (known !== undefined) return known;
      const made: Endpoint = { kind: 'workload', id };
      workloads.set(id, made);
      return made;
    }
    case 'external': {
      const { name, ip } = value;
      const given = (name === undefined ? 0 : 1) + (ip === undefined ? 0 : 1);
      if (!isTextOrAbsent(name) || !isTextOrAbsent(ip) || keysOf(value) !== 1 + given) return undefined;
      return value as unknown as Endpoint;
    }
    default:
      return undefined;
  }
}

function isTextOrAbsent(value: unknown): boolean {
  return value === undefined || typeof value === 'string';
}
