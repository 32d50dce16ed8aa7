import type { AllowedPorts, Connection, ConnectionChange, UnknownPorts } from '../model/connectivity.ts';
import { portsWithout } from '../model/connectivity.ts';
import { groupBy } from '../shared/pure/order.ts';
import { escapeJson, plural, safeText } from '../shared/pure/text.ts';
import { API_VERSION, few, wrap } from './output.ts';

/** One thing that decides, with its place. */
export interface Why {
  readonly decision: 'allows' | 'denies' | 'unknown';
  readonly object: string | null;
  /** Position of the rule in its manifest, from 0. */
  readonly rule: number | null;
  /** `file:line`, or the resourceVersion on a cluster. */
  readonly where: string | null;
  readonly text: string;
}

type Explained<Ports> = Ports & { readonly why?: readonly Why[] };

/** A connection, with what decides on each of its runs of ports where that was asked for. */
export interface ShownConnection extends Connection {
  readonly allowed: readonly Explained<AllowedPorts>[];
  readonly unknown: readonly Explained<UnknownPorts>[];
}

/** The smallest change found that turns the answer over. */
export interface Flip {
  readonly text: string;
  /** Absent where no policy has to change, or none can. */
  readonly changes: readonly {
    /** `insert-rule`: before the rule that `field` names. */
    readonly action: 'add-rule' | 'insert-rule' | 'remove-rule';
    readonly object: string;
    readonly where: string | null;
    readonly field: string;
    readonly rule: object | null;
  }[];
}

/** The answer to one question. */
export interface Query {
  readonly src: string;
  readonly dst: string;
  readonly protocol: string;
  readonly port: number;
  readonly answer: 'allowed' | 'denied' | 'unknown';
  readonly reasons?: readonly Why[];
  readonly flip?: Flip;
}

/** What a run of `reach` says beside its connections. */
export interface ReachHead {
  readonly scope: readonly string[];
  /** Kinds present that are not evaluated: where they may act, answers are unknown. */
  readonly notEvaluated: readonly string[];
  /** Kinds and files that could not be read: a policy there may decide otherwise. */
  readonly notRead: readonly string[];
  readonly query?: Query;
}

/** Pieces of output of about this many characters: neither one write a line nor all in memory. */
const CHUNK = 1 << 16;

/** Joins small pieces to chunks. */
export function* inChunks(pieces: Iterable<string>): Generator<string, void> {
  let chunk = '';
  for (const piece of pieces) {
    chunk += piece;
    if (chunk.length >= CHUNK) {
      yield chunk;
      chunk = '';
    }
  }
  if (chunk !== '') yield chunk;
}

// As output.ts has it for whole documents: data that a terminal would obey is written as an escape.
function json(value: unknown): string {
  return escapeJson(JSON.stringify(value));
}

function* jsonDocument(head: object, field: string, items: Iterable<string>): Generator<string, void> {
  const opening = Object.entries({ apiVersion: API_VERSION, kind: 'Reach', ...head });
  yield `{\n${opening.map(([key, value]) => `  ${json(key)}: ${json(value)},\n`).join('')}  ${json(field)}: [`;
  let first = true;
  for (const item of items) {
    yield `${first ? '' : ','}\n    ${item}`;
    first = false;
  }
  yield first ? ']\n}\n' : '\n  ]\n}\n';
}

export function renderReachJson(head: ReachHead, connections: Iterable<ShownConnection>): Iterable<string> {
  // Many pairs share their ports: each list is written out once.
  const texts = new WeakMap<object, string>();
  const listText = (list: readonly object[]): string => {
    const known = texts.get(list);
    if (known !== undefined) return known;
    const text = json(list);
    texts.set(list, text);
    return text;
  };
  function* items(): Generator<string, void> {
    for (const { src, dst, allowed, unknown } of connections)
      yield `{"src":${json(src)},"dst":${json(dst)},"allowed":${listText(allowed)},"unknown":${listText(unknown)}}`;
  }
  return jsonDocument(head, 'connections', items());
}

/** What a change adds to the allowed ports, what it removes, and what it leaves unknown that was known. */
export interface PortChange {
  readonly added: readonly AllowedPorts[];
  readonly removed: readonly AllowedPorts[];
  /** Ports neither allowed nor denied for sure afterwards, and not before. */
  readonly unknown: readonly UnknownPorts[];
}

export function portChange({ before, after }: ConnectionChange): PortChange {
  const notNew = [...before.unknown];
  return {
    added: portsWithout(after.allowed, before.allowed),
    removed: portsWithout(before.allowed, [...after.allowed, ...after.unknown]),
    unknown: after.unknown.flatMap((one) =>
      portsWithout([one], notNew).map((ports): UnknownPorts => ({ ...ports, reason: one.reason })),
    ),
  };
}

export function renderDiffJson(head: ReachHead, changes: Iterable<ConnectionChange>): Iterable<string> {
  function* items(): Generator<string, void> {
    for (const change of changes) {
      const { src, dst, before, after } = change;
      yield json({ src, dst, ...portChange(change), before, after });
    }
  }
  return jsonDocument(head, 'changes', items());
}

const PROTOCOLS = ['TCP', 'UDP', 'SCTP'] as const;

/** `8080,9000-9010/TCP 53/UDP`, `every port`. */
export function portsText(ports: readonly AllowedPorts[]): string {
  const isWhole = ({ from, to }: AllowedPorts): boolean => from === 1 && to === 65_535;
  if (ports.length === PROTOCOLS.length && ports.every(isWhole)) return 'every port';
  return PROTOCOLS.flatMap((protocol) => {
    const own = ports.filter((one) => one.protocol === protocol);
    if (own.length === 0) return [];
    if (own.some(isWhole)) return [`every ${protocol} port`];
    const list = own.map(({ from, to }) => (from === to ? String(from) : `${from}-${to}`));
    return [`${list.join(',')}/${protocol}`];
  }).join(' ');
}

function reasonsText(unknown: readonly UnknownPorts[]): string {
  return [...new Set(unknown.map(({ reason }) => reason))].join('; ');
}

/** Counts for the first lines of the text. */
export interface ReachSummary {
  readonly sources: number;
  readonly destinations: number;
  /** Ordered pairs of different workloads that were asked about. */
  readonly pairs: number;
  readonly connected: number;
  /** Of those connected, the pairs with ports that are not known. */
  readonly unknown: number;
}

function* headText(head: ReachHead, width: number): Generator<string, void> {
  const left = head.notEvaluated.length === 0 ? '' : ` Not evaluated: ${safeText(head.notEvaluated.join(', '))}.`;
  yield `${wrap(`Evaluated: ${head.scope.join(', ')}.${left}`, width, 2)}\n`;
  if (head.notRead.length === 0) return;
  const { shown, more } = few(head.notRead, MOST_NAMED);
  const names = [shown.join(', '), more].join(' ').trim();
  yield `${wrap(`Not read: ${safeText(names)}. A policy there may decide otherwise.`, width, 2)}\n`;
}

function* queryText({ query }: ReachHead, width: number): Generator<string, void> {
  if (query === undefined) return;
  const { src, dst, protocol, port, answer } = query;
  yield `${wrap(`${answer}: ${safeText(src)} -> ${safeText(dst)} on ${port}/${protocol}`, width, 2)}\n`;
  for (const why of query.reasons ?? []) yield whyText(why, width);
  if (query.flip === undefined) return;
  yield `${wrap(`To turn it over: ${safeText(query.flip.text)}`, width, 2)}\n`;
  for (const { action, object, where, field, rule } of query.flip.changes) {
    const place = where === null ? '' : ` (${where})`;
    const verb = { 'add-rule': 'add to', 'insert-rule': 'put before', 'remove-rule': 'remove' }[action];
    yield `${wrap(safeText(`${verb} ${field} of ${object}${place}${rule === null ? '' : ':'}`), width, 4, 2)}\n`;
    // One line, to be copied as it is: YAML reads JSON.
    if (rule !== null) yield `    - ${json(rule)}\n`;
  }
}

function whyText({ text, where }: Why, width: number, indent = 2): string {
  return `${wrap(safeText(`${text}${where === null ? '' : ` [${where}]`}`), width, indent + 2, indent)}\n`;
}

const MOST_NAMED = 12;

/** The connections of each source, destinations with the same ports together, after a summary. */
export function* renderReachText(
  head: ReachHead,
  summary: ReachSummary,
  connections: Iterable<ShownConnection>,
  width: number,
): Generator<string, void> {
  if (head.query !== undefined) {
    yield* queryText(head, width);
    yield* headText(head, width);
    return;
  }
  const { pairs, connected, unknown } = summary;
  const doubt = unknown === 0 ? '' : `; of ${unknown} some ports are not known`;
  yield `${wrap(`${plural(summary.sources, 'source')}, ${plural(summary.destinations, 'destination')}: ${connected} of ${plural(pairs, 'pair')} may connect${doubt}.`, width)}\n`;
  yield* headText(head, width);
  for (const [src, own] of bySource(connections)) {
    yield `\n${safeText(src)}\n`;
    const groups = groupBy(own, ({ allowed, unknown: open }) =>
      JSON.stringify([portsText(allowed), open.length === 0 ? '' : portsText(open), reasonsText(open)]),
    );
    for (const group of groups.values()) yield* groupText(group, summary, width);
  }
}

function* groupText(group: readonly ShownConnection[], summary: ReachSummary, width: number): Generator<string, void> {
  const [first] = group;
  if (first === undefined) return;
  const names = group.map(({ dst }) => safeText(dst));
  const isEvery = names.length > 1 && names.length === summary.destinations - 1;
  const { shown, more } = few(names, MOST_NAMED);
  const whom = isEvery
    ? `every other workload (${names.length})`
    : [...shown, ...(more === '' ? [] : [more])].join(', ');
  if (first.allowed.length > 0) yield `${wrap(`${portsText(first.allowed)} -> ${whom}`, width, 6, 2)}\n`;
  if (first.unknown.length > 0) {
    yield `${wrap(`${portsText(first.unknown)} unknown -> ${first.allowed.length > 0 ? 'the same' : whom}`, width, 6, 2)}\n`;
    yield `${wrap(`(${safeText(reasonsText(first.unknown))})`, width, 6, 6)}\n`;
  }
  const seen = new Set<string>();
  for (const { allowed, unknown } of group) {
    for (const { why = [] } of [...allowed, ...unknown]) {
      for (const one of why) {
        if (seen.has(one.text)) continue;
        seen.add(one.text);
        yield whyText(one, width, 6);
      }
    }
  }
}

function* bySource(
  connections: Iterable<ShownConnection>,
): Generator<readonly [string, readonly ShownConnection[]], void> {
  let own: ShownConnection[] = [];
  for (const connection of connections) {
    const [first] = own;
    if (first !== undefined && first.src !== connection.src) {
      yield [first.src, own];
      own = [];
    }
    own.push(connection);
  }
  const [first] = own;
  if (first !== undefined) yield [first.src, own];
}

/** `+` what opens, `-` what closes, `?` what becomes unknown. */
export function* renderDiffText(
  head: ReachHead,
  counts: { readonly gain: number; readonly lose: number; readonly doubt: number; readonly pairs: number },
  changes: Iterable<ConnectionChange>,
  width: number,
): Generator<string, void> {
  const { pairs, gain, lose, doubt } = counts;
  yield pairs === 0
    ? 'Nothing changes.\n'
    : `${wrap(`${plural(pairs, 'pair')} ${pairs === 1 ? 'changes' : 'change'}: ${gain} with ports added, ${lose} with ports removed, ${doubt} with ports that become unknown.`, width)}\n`;
  yield* headText(head, width);
  let last = '';
  for (const change of changes) {
    const { added, removed, unknown } = portChange(change);
    if (change.src !== last) yield `\n${safeText(change.src)}\n`;
    last = change.src;
    const dst = safeText(change.dst);
    if (added.length > 0) yield `${wrap(`+ ${portsText(added)} -> ${dst}`, width, 6, 2)}\n`;
    if (removed.length > 0) yield `${wrap(`- ${portsText(removed)} -> ${dst}`, width, 6, 2)}\n`;
    if (unknown.length > 0)
      yield `${wrap(`? ${portsText(unknown)} -> ${dst} (${safeText(reasonsText(unknown))})`, width, 6, 2)}\n`;
    if (added.length + removed.length + unknown.length === 0)
      yield `${wrap(`~ ${dst}: what was unknown is denied`, width, 6, 2)}\n`;
  }
}

/** RFC 4180. A cell that a spreadsheet would take for a formula gets an apostrophe. */
function cell(text: string | number): string {
  const safe = safeText(String(text));
  const tame = /^[=+\-@]/u.test(safe) ? `'${safe}` : safe;
  return /[",]/u.test(tame) ? `"${tame.replaceAll('"', '""')}"` : tame;
}

function row(...cells: readonly (string | number)[]): string {
  return `${cells.map(cell).join(',')}\r\n`;
}

export function* renderReachCsv(connections: Iterable<ShownConnection>): Generator<string, void> {
  yield row('src', 'dst', 'answer', 'protocol', 'from', 'to', 'reason');
  for (const { src, dst, allowed, unknown } of connections) {
    for (const { protocol, from, to, why } of allowed) yield row(src, dst, 'allowed', protocol, from, to, whyCell(why));
    for (const { protocol, from, to, reason, why } of unknown)
      yield row(src, dst, 'unknown', protocol, from, to, why === undefined ? reason : whyCell(why));
  }
}

function whyCell(why: readonly Why[] | undefined): string {
  return (why ?? []).map(({ text, where }) => `${text}${where === null ? '' : ` [${where}]`}`).join(' ');
}

export function* renderDiffCsv(changes: Iterable<ConnectionChange>): Generator<string, void> {
  yield row('src', 'dst', 'change', 'protocol', 'from', 'to', 'reason');
  for (const change of changes) {
    const { src, dst } = change;
    const { added, removed, unknown } = portChange(change);
    for (const { protocol, from, to } of added) yield row(src, dst, 'added', protocol, from, to, '');
    for (const { protocol, from, to } of removed) yield row(src, dst, 'removed', protocol, from, to, '');
    for (const { protocol, from, to, reason } of unknown) yield row(src, dst, 'unknown', protocol, from, to, reason);
  }
}

/** A line of a graph: who, to whom, on which ports, and how it is drawn. */
interface Line {
  readonly src: string;
  readonly dst: string;
  readonly label: string;
  readonly style: 'allowed' | 'unknown' | 'added' | 'removed';
}

export function* linesOfReach(connections: Iterable<ShownConnection>): Generator<Line, void> {
  for (const { src, dst, allowed, unknown } of connections) {
    if (allowed.length > 0) yield { src, dst, label: portsText(allowed), style: 'allowed' };
    if (unknown.length > 0) yield { src, dst, label: `${portsText(unknown)}?`, style: 'unknown' };
  }
}

export function* linesOfDiff(changes: Iterable<ConnectionChange>): Generator<Line, void> {
  for (const change of changes) {
    const { src, dst } = change;
    const { added, removed, unknown } = portChange(change);
    if (added.length > 0) yield { src, dst, label: `+ ${portsText(added)}`, style: 'added' };
    if (removed.length > 0) yield { src, dst, label: `- ${portsText(removed)}`, style: 'removed' };
    if (unknown.length > 0) yield { src, dst, label: `${portsText(unknown)}?`, style: 'unknown' };
  }
}

function quoted(text: string): string {
  return `"${safeText(text).replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

const DOT_STYLE = {
  allowed: '',
  unknown: ', style=dashed',
  added: ', color=darkgreen',
  removed: ', color=red, style=dotted',
} as const satisfies Record<Line['style'], string>;

/** Graphviz. */
export function* renderDot(lines: Iterable<Line>): Generator<string, void> {
  yield 'digraph reach {\n  rankdir=LR;\n  node [shape=box];\n';
  for (const { src, dst, label, style } of lines)
    yield `  ${quoted(src)} -> ${quoted(dst)} [label=${quoted(label)}${DOT_STYLE[style]}];\n`;
  yield '}\n';
}

// Mermaid reads entities written with `#`; everything that could end a label or start markup becomes one.
function mermaidText(text: string): string {
  return safeText(text).replace(/[#"<>&`|;\\{}[\]()]/gu, (mark) => `#${mark.charCodeAt(0)};`);
}

const ARROW = {
  allowed: '-->',
  unknown: '-.->',
  added: '==>',
  removed: '--x',
} as const satisfies Record<Line['style'], string>;

/** A Mermaid flow chart. */
export function* renderMermaid(lines: Iterable<Line>): Generator<string, void> {
  const nodes = new Map<string, string>();
  function* declare(id: string): Generator<string, string> {
    const known = nodes.get(id);
    if (known !== undefined) return known;
    const name = `n${nodes.size}`;
    nodes.set(id, name);
    yield `  ${name}["${mermaidText(id)}"]\n`;
    return name;
  }
  yield 'flowchart LR\n';
  for (const { src, dst, label, style } of lines) {
    const from = yield* declare(src);
    const to = yield* declare(dst);
    yield `  ${from} ${ARROW[style]}|"${mermaidText(label)}"| ${to}\n`;
  }
}
