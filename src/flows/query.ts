import type { Query, QueryKey } from '../model/decision.ts';
import type { Edge, Verdict3 } from '../model/edge.ts';
import { endpointKey, endpointNamespace, formatPort, hasPassed } from '../model/edge.ts';
import { matchText } from '../model/glob.ts';
import { EXIT, Failure } from '../shared/pure/errors.ts';
import { safeText } from '../shared/pure/text.ts';

const EDGE_KEYS: readonly QueryKey[] = ['ns', 'src', 'dst', 'port', 'verdict', 'before', 'id'];
const GATE_KEYS: readonly QueryKey[] = ['gate', 'ns', 'subject'];
const VERDICTS: readonly string[] = ['allowed', 'denied', 'audit', 'unknown'] satisfies Verdict3[];
const AGE = /^(\d+)([mhdw])$/;
const AGE_MS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

const ANY_KEYS: readonly QueryKey[] = [...EDGE_KEYS, 'gate', 'subject'];

/** What a query is for: edges (accept, adopt, flows), gates (waive), or either (withdraw, a line of a decisions file). */
export type QuerySubject = 'edges' | 'gates' | 'any';

/**
 * Comma-joined `key=value`; all must hold, `*` matches within a value. Throws a Failure (exit 2) for a key that the subject does
 * not have, a key given twice, an empty query or value, and a verdict, port or age that cannot be one.
 */
export function parseQuery(text: string, subject: QuerySubject = 'any'): Query {
  const keys = { edges: EDGE_KEYS, gates: GATE_KEYS, any: ANY_KEYS }[subject];
  const query: Partial<Record<QueryKey, string>> = {};
  if (text.trim() === '') throw refuse('the query is empty, and would match everything', text, keys);
  for (const part of text.split(',')) {
    const equals = part.indexOf('=');
    const name = part.slice(0, Math.max(0, equals)).trim();
    const value = part.slice(equals + 1).trim();
    if (equals < 0) throw refuse(`"${safeText(part)}" is not key=value`, text, keys);
    const key = keys.find((one) => one === name);
    if (key === undefined) throw refuse(`unknown key "${safeText(name)}"`, text, keys);
    if (query[key] !== undefined) throw refuse(`the key "${key}" is given twice`, text, keys);
    if (value === '') throw refuse(`the key "${key}" has no value`, text, keys);
    const fault = valueFault(key, value);
    if (fault !== undefined) throw refuse(fault, text, keys);
    query[key] = value;
  }
  return query;
}

function refuse(message: string, text: string, keys: readonly QueryKey[]): Failure {
  return new Failure({
    code: 'SP120',
    exit: EXIT.usage,
    message: `${cut(message)}: ${JSON.stringify(cut(safeText(text)))}`,
    where: 'QUERY',
    hint: `join key=value by commas; keys: ${keys.join(' ')}; * matches within a value`,
  });
}

/** A query of any length has a message of a few lines. */
function cut(text: string): string {
  return text.length > 400 ? `${text.slice(0, 400)}...` : text;
}

function valueFault(key: QueryKey, value: string): string | undefined {
  switch (key) {
    case 'verdict':
      return VERDICTS.some((verdict) => matchText(value, verdict))
        ? undefined
        : `"${safeText(value)}" is none of ${VERDICTS.join(', ')}`;
    case 'port':
      return /^[0-9*-]+(?:\/(?:TCP|UDP|SCTP|\*))?$/.test(value)
        ? undefined
        : `"${safeText(value)}" is not a port, as in 8080 or 8080/TCP`;
    case 'id':
      return /^[0-9a-f*+]+$/.test(value) ? undefined : `"${safeText(value)}" is not an edge id, or several joined by +`;
    case 'before':
      return AGE.test(value) || parseMoment(value) !== undefined
        ? undefined
        : `"${safeText(value)}" is neither an age, as in 7d, nor a time, as in 2026-10-05 or 2026-10-05T12:00:00Z`;
    default:
      return undefined;
  }
}

function parseMoment(text: string): number | undefined {
  if (!/^\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d))?$/.test(text)) return undefined;
  const time = Date.parse(text);
  return Number.isNaN(time) ? undefined : time;
}

/** One word for an edge: what passed outweighs what was denied, so that no query for denied edges takes one that works. */
export function edgeVerdict(edge: Edge): Verdict3 {
  if (!hasPassed(edge)) return 'denied';
  if ((edge.verdicts.allowed ?? 0) > 0 || edge.count === 0) return 'allowed';
  return (edge.verdicts.audit ?? 0) > 0 ? 'audit' : 'unknown';
}

/**
 * The edges that a query selects. `ns` is the namespace of either end; `src` and `dst` are endpoints as `flows` prints them;
 * `verdict` is edgeVerdict; `id` is one id or several joined by `+`; `before` keeps edges last seen before a time, or longer ago than an age reckoned from `now`
 * (milliseconds since the epoch; by default the last time any of the edges was seen). Keys of gates select nothing.
 */
export function matchEdges(query: Query, edges: readonly Edge[], now?: number): readonly Edge[] {
  const { ns, src, dst, port, verdict, before, id, gate, subject } = query;
  if (gate !== undefined || subject !== undefined) return [];
  if (EDGE_KEYS.every((key) => query[key] === undefined)) return [];
  const limit =
    before === undefined
      ? undefined
      : limitOf(before, now ?? edges.reduce((last, edge) => Math.max(last, edge.last), 0));
  const ids = id?.split('+');
  const whole = new Set(ids?.filter((one) => !one.includes('*')));
  const patterns = ids?.filter((one) => one.includes('*')) ?? [];
  return edges.filter(
    (edge) =>
      (ids === undefined || whole.has(edge.id) || patterns.some((one) => matchText(one, edge.id))) &&
      (ns === undefined || [edge.src, edge.dst].some((end) => matchText(ns, endpointNamespace(end) ?? ''))) &&
      (src === undefined || matchText(src, endpointKey(edge.src))) &&
      (dst === undefined || matchText(dst, endpointKey(edge.dst))) &&
      (port === undefined || matchPort(port, edge)) &&
      (verdict === undefined || matchText(verdict, edgeVerdict(edge))) &&
      (limit === undefined || (edge.count > 0 && edge.last < limit)),
  );
}

function limitOf(before: string, now: number): number {
  const age = AGE.exec(before);
  if (age !== null) return now - Number(age[1]) * (AGE_MS[age[2] ?? ''] ?? 0);
  return parseMoment(before) ?? -Infinity;
}

/** `8080`, `8080/TCP`, `80*`; a folded range by its text `32768-60999` or its first port, never by a port inside it. */
function matchPort(pattern: string, edge: Edge): boolean {
  const [numbers = '', protocol] = pattern.split('/');
  if (protocol !== undefined && !matchText(protocol, edge.protocol)) return false;
  return matchText(numbers, String(edge.port)) || matchText(numbers, formatPort(edge).split('/')[0] ?? '');
}
