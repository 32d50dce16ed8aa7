import type { Verdict3 } from '../model/edge.ts';
import type { Flow } from '../model/flow.ts';
import { addCounts } from '../shared/pure/count.ts';

/**
 * Connections of one edge within one day or run, kept apart by where they were observed. One connection is recorded by the
 * node of its opener and by the other's, at several points of each; counted point by point it is one connection whatever the
 * order of the records, in a few numbers and without remembering any of them.
 */
export interface Tally {
  /** Pairs of code and count; a code is view, point and verdict. */
  readonly cells: number[];
  flags: number;
}

const SEEN_AT_DESTINATION = 1;
const ANSWERED = 2;
const SEEN_AT_OPENER = 4;
const PROXIED = 8;
const DENIED_ONGOING = 16;
const UNKNOWN_ONGOING = 32;
const AUDIT_ONGOING = 64;

const VIEWS: readonly Flow['view'][] = ['egress', 'ingress', 'unknown'];
const VERDICTS: readonly Verdict3[] = ['allowed', 'denied', 'audit', 'unknown'];
/** Points of observation that are told apart; records of further points share the last one. */
const MAX_TAPS = 64;

/** Numbers for the points of observation. The policy verdict is 0: it alone knows of rehearsed denials. */
export function createTapNumbers(): (tap: string) => number {
  const numbers = new Map<string, number>([['verdict', 0]]);
  return (tap) => {
    const known = numbers.get(tap);
    if (known !== undefined) return known;
    const number = Math.min(numbers.size, MAX_TAPS - 1);
    if (numbers.size < MAX_TAPS) numbers.set(tap, number);
    return number;
  };
}

export function createTally(): Tally {
  return { cells: [], flags: 0 };
}

export function addToTally(tally: Tally, flow: Flow, tap: number): void {
  if (flow.proxied) tally.flags |= PROXIED;
  if (flow.stage === 'ongoing') {
    switch (flow.verdict) {
      case 'denied':
        tally.flags |= DENIED_ONGOING;
        return;
      case 'unknown':
        tally.flags |= UNKNOWN_ONGOING;
        return;
      case 'audit':
        tally.flags |= AUDIT_ONGOING;
        return;
      case 'allowed':
        tally.flags |= flow.view === 'ingress' ? SEEN_AT_DESTINATION : flow.reply ? ANSWERED : SEEN_AT_OPENER;
        return;
    }
  }
  const code = (VIEWS.indexOf(flow.view) * MAX_TAPS + tap) * VERDICTS.length + VERDICTS.indexOf(flow.verdict);
  addCell(tally, code, flow.count);
}

function addCell(tally: Tally, code: number, count: number): void {
  const { cells } = tally;
  for (let at = 0; at < cells.length; at += 2)
    if (cells[at] === code) {
      cells[at + 1] = addCounts(cells[at + 1] ?? 0, count);
      return;
    }
  cells.push(code, count);
}

export function mergeTally(into: Tally, from: Tally): void {
  into.flags |= from.flags;
  for (let at = 0; at < from.cells.length; at += 2) addCell(into, from.cells[at] ?? 0, from.cells[at + 1] ?? 0);
}

export type Counts = Readonly<Record<Verdict3, number>>;

/**
 * Connections by verdict. Within a view the largest count of any point is right: each point sees each connection at most
 * once. Across views the destination's word is final: what the opener's node let out may still have been denied there.
 */
export function countTally(tally: Tally): Counts {
  const views = VIEWS.map((_, view) => {
    const most = { allowed: 0, denied: 0, audit: 0, unknown: 0 };
    let judged = 0;
    const totals = new Map<number, number>();
    for (let at = 0; at < tally.cells.length; at += 2) {
      const code = tally.cells[at] ?? 0;
      const tap = Math.floor(code / VERDICTS.length);
      if (Math.floor(tap / MAX_TAPS) !== view) continue;
      const count = tally.cells[at + 1] ?? 0;
      const verdict = VERDICTS[code % VERDICTS.length] ?? 'unknown';
      if (verdict === 'allowed' && tap % MAX_TAPS === 0) judged = count;
      most[verdict] = Math.max(most[verdict], count);
      if (verdict === 'allowed' || verdict === 'unknown') totals.set(tap, addCounts(totals.get(tap) ?? 0, count));
    }
    // A rehearsed denial passes: its packet is recorded as forwarded at the other points.
    return {
      ...most,
      passed: Math.max(most.allowed, addCounts(judged, most.audit)),
      total: Math.max(0, ...totals.values()),
    };
  });
  const [egress, ingress, other] = views;
  if (egress === undefined || ingress === undefined || other === undefined) throw new Error('three views');

  const flags = tally.flags;
  // An answer from a proxy beside the opener says nothing about the destination.
  const answered = (flags & ANSWERED) !== 0 && (flags & PROXIED) === 0;
  const proven = (flags & SEEN_AT_DESTINATION) !== 0 || answered;
  const likely = (flags & (SEEN_AT_OPENER | ANSWERED)) !== 0 && ingress.denied === 0 && (flags & DENIED_ONGOING) === 0;
  const audit = Math.max(ingress.audit, egress.audit, other.audit, (flags & AUDIT_ONGOING) !== 0 ? 1 : 0);
  const total = Math.max(ingress.total, egress.total, other.total, (flags & UNKNOWN_ONGOING) !== 0 ? 1 : 0);
  const unjudged = Math.max(ingress.unknown, egress.unknown, other.unknown, (flags & UNKNOWN_ONGOING) !== 0 ? 1 : 0);
  const passed = Math.max(
    ingress.passed,
    egress.passed - ingress.denied,
    other.passed - ingress.denied,
    proven || likely ? 1 : 0,
  );
  return {
    allowed: Math.max(0, passed - audit),
    denied: Math.max(addCounts(egress.denied, ingress.denied), other.denied, (flags & DENIED_ONGOING) !== 0 ? 1 : 0),
    audit,
    // What one point does not judge, another may have: connections that some point let through are not unknown.
    unknown: Math.min(unjudged, Math.max(0, total - Math.max(0, passed))),
  };
}
