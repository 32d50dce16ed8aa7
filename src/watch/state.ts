import type { AppliedStep } from '../engine/contract.ts';
import type { Config } from '../model/config.ts';
import type { Edge } from '../model/edge.ts';
import type { Gate } from '../model/finding.ts';
import type { Inventory } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import type { PhaseName } from '../model/phase.ts';
import type { World } from '../model/world.ts';
import type { ExpectedField } from '../plan/drift.ts';
import type { Resolved } from '../plan/rollback.ts';
import type { KnownEdges, Sighting } from '../plan/soak.ts';
import { indexKnown } from '../plan/soak.ts';
import type { DeniedAttempt } from './denied.ts';
import type { Notice, NoticeKind, SoakNotice, UnrecordedNotice } from './notice.ts';

/** What of the state file the watch stands on: the record, as it was read last. */
export interface WatchRecord {
  readonly phases: ReadonlyMap<string, PhaseName>;
  readonly applied: readonly AppliedStep[];
  readonly resolved: readonly Resolved[];
  /** Every edge on record, observed and declared, with its review state. */
  readonly edges: readonly Edge[];
  /** Those of them that must keep working. */
  readonly kept: readonly Edge[];
}

/** A temporary permission, as far as the watch needs it. */
export interface WatchedGrant {
  readonly id: string;
  readonly namespace: string;
  readonly text: string;
  /** Milliseconds since the epoch. */
  readonly expires: number;
  /** Of a person: the pods, `namespace/name`, that sessions may be open in. */
  readonly pods?: readonly string[];
}

/** An object with the label of an answer to an incident that no record here has. */
export interface Stranger {
  readonly object: string;
  readonly namespace: string | undefined;
  readonly claims: UnrecordedNotice['claims'];
  readonly counts: UnrecordedNotice['counts'];
}

/** An experiment that is overdue: what it took away is not back. */
export interface OverdueExperiment {
  readonly run: string;
  readonly namespace: string;
  readonly object: string;
  readonly until: number | undefined;
  /** What is done about it, or why it could not be. */
  readonly text: string;
}

/** What may not be seen, or of `rights` done. */
export type Blind = 'objects' | 'flows' | 'record' | 'probes' | 'rights';

/** What happens. `kinds` name a kind of object as `apiVersion Kind`. */
export type WatchEvent =
  /** The kinds that will be listed: before all are, nothing is judged. */
  | { readonly kind: 'expect'; readonly kinds: readonly string[] }
  | { readonly kind: 'listed'; readonly of: string; readonly objects: readonly KubeManifest[] }
  | { readonly kind: 'put' | 'gone'; readonly of: string; readonly object: KubeManifest }
  | { readonly kind: 'record'; readonly record: WatchRecord }
  /** What all objects amount to, built anew. */
  | { readonly kind: 'inventory'; readonly inventory: Inventory }
  | { readonly kind: 'sightings'; readonly sightings: readonly Sighting[] }
  /** Gates of every namespace that is under way, as `verify` judges them. `record` are those that contradict the configuration. */
  | {
      readonly kind: 'judged';
      readonly namespaces: readonly { readonly namespace: string; readonly gates: readonly Gate[] }[];
    }
  /** What a file of probes came to. */
  | {
      readonly kind: 'probed';
      readonly namespaces: readonly { readonly namespace: string; readonly gates: readonly Gate[] }[];
    }
  /** All of them, those that count first. */
  | { readonly kind: 'strangers'; readonly found: readonly Stranger[] }
  /** All of them. */
  | { readonly kind: 'experiments'; readonly found: readonly OverdueExperiment[] }
  | { readonly kind: 'grants'; readonly grants: readonly WatchedGrant[] }
  | {
      readonly kind: 'soaked';
      readonly run: string;
      readonly namespace: string;
      readonly phase: PhaseName;
      readonly outcome: SoakNotice['outcome'];
      readonly text: string;
    }
  /** Something is not seen. */
  | { readonly kind: 'away'; readonly what: Blind; readonly of: string; readonly why: string }
  | { readonly kind: 'back'; readonly what: Blind; readonly of: string }
  | { readonly kind: 'tick' };

/** One source of denied connections. */
export interface Suspect {
  readonly key: string;
  readonly sourceKind: Edge['src']['kind'];
  /** Of one outside the cluster; undefined once a record gave it a name, which anybody may invent. */
  readonly address: string | undefined;
  readonly namespace: string | undefined;
  readonly first: number;
  readonly last: number;
  readonly count: number;
  readonly attempts: ReadonlyMap<string, DeniedAttempt>;
  /** Attempts beyond the bound. */
  readonly more: number;
}

export type Objects = ReadonlyMap<string, ReadonlyMap<string, KubeManifest>>;

/** All that the watch knows: plain data and what is compiled of it. Bounded by the cluster, the record and the limits below. */
export interface WatchState {
  readonly config: Config;
  readonly awaited: ReadonlySet<string>;
  /** Everything was listed once. */
  readonly ready: boolean;
  /** By namespace (`''` for objects without one) and `refKey`. */
  readonly objects: Objects;
  readonly world: World | undefined;
  /** The objects amount to something else than the world. */
  readonly stale: boolean;
  /** Kinds of policies other than NetworkPolicy that changed since the world was built: their objects. */
  readonly unjudged: readonly string[];
  /** Policies taken into the world one by one since it was built. */
  readonly patches: number;
  readonly record: WatchRecord;
  readonly expected: ReadonlyMap<string, readonly ExpectedField[]>;
  readonly known: KnownEdges;
  readonly edgeIds: ReadonlySet<string>;
  readonly keptByNamespace: ReadonlyMap<string, readonly Edge[]>;
  readonly suspects: ReadonlyMap<string, Suspect>;
  readonly grants: readonly WatchedGrant[];
  /** Matters that are open, by key. */
  readonly open: ReadonlyMap<string, Notice>;
  /** Notices beyond the bound, by kind. */
  readonly folded: ReadonlyMap<NoticeKind, number>;
}

/** Open matters of one kind that are told one by one. */
export const MOST_OPEN = 500;
/**
 * Of these so many are left to workloads of the cluster: addresses and names cost whoever invents them nothing, and must not fill what those who can be told
 * apart are told in.
 */
export const MOST_INVENTED = 400;
/** Objects on no record that are told of one by one, of one namespace: whoever may write there makes as many as he likes. */
export const MOST_OF_NAMESPACE = 100;
/** Sources of denied connections that are remembered; of the oldest nothing is known after that. */
export const MOST_SUSPECTS = 1000;
/** Attempts of one source that are kept one by one. */
export const MOST_ATTEMPTS = 128;
/** A source that was denied nothing for so long is quiet, and its matter is over. */
export const QUIET_MS = 30 * 60_000;
/** A slow scan is seen as one as long as no two of its attempts are further apart. */
export const FORGET_MS = 24 * 3_600_000;
/** How long before its end a grant is told of. */
export const SOON_MS = 24 * 3_600_000;

const NO_RECORD: WatchRecord = { phases: new Map(), applied: [], resolved: [], edges: [], kept: [] };

/** Before anything was heard. */
export function startWatch(config: Config): WatchState {
  return {
    config,
    awaited: new Set(),
    ready: false,
    objects: new Map(),
    world: undefined,
    stale: true,
    unjudged: [],
    patches: 0,
    record: NO_RECORD,
    expected: new Map(),
    known: indexKnown([]),
    edgeIds: new Set(),
    keptByNamespace: new Map(),
    suspects: new Map(),
    grants: [],
    open: new Map(),
    folded: new Map(),
  };
}

/** A notice before it is known whether it is news. */
export type Draft = DraftOf<Notice>;
type DraftOf<One> = One extends Notice ? Omit<One, 'state' | 'at'> : never;

/** The state under change, and what is to be told of it. */
export interface Change {
  state: WatchState;
  readonly notices: Notice[];
  readonly now: number;
}

/**
 * Raises what is not open, and says `changed` where the text or the severity of what is open differs. `most`: beyond so many of the kind what is new is
 * counted alone.
 */
export function raise(change: Change, draft: Draft, most = MOST_OPEN): void {
  const { state, now } = change;
  const before = state.open.get(draft.key);
  if (before !== undefined && before.text === draft.text && before.severity === draft.severity) return;
  if (before === undefined && countOpen(state, draft.kind, most) >= most) {
    fold(change, draft.kind);
    return;
  }
  const notice = {
    ...draft,
    state: before === undefined ? 'raised' : 'changed',
    at: now,
    since: before?.since ?? draft.since,
  } as Notice;
  change.state = { ...state, open: new Map(state.open).set(draft.key, notice) };
  change.notices.push(notice);
}

/** Says that an open matter is over. Nothing where it is not open. */
export function clear(change: Change, key: string, why: string): void {
  const { state, now } = change;
  const before = state.open.get(key);
  if (before === undefined) return;
  const open = new Map(state.open);
  open.delete(key);
  change.state = { ...state, open };
  change.notices.push({ ...before, state: 'cleared', severity: 'info', at: now, text: `${why}: ${before.text}` });
  unfold(change, before.kind);
}

/** Tells of something that is over as it is told: it is never open. */
export function tell(change: Change, draft: Draft): void {
  change.notices.push({ ...draft, state: 'raised', at: change.now });
}

/** Open matters of which the key begins so. */
export function openUnder(state: WatchState, prefix: string): readonly Notice[] {
  return [...state.open.values()].filter(({ key }) => key.startsWith(prefix));
}

function countOpen(state: WatchState, kind: NoticeKind, most: number): number {
  // Below the bound there is nothing to count.
  if (state.open.size < most) return 0;
  let count = 0;
  for (const notice of state.open.values()) if (notice.kind === kind) count += 1;
  return count;
}

function fold(change: Change, of: NoticeKind): void {
  const count = (change.state.folded.get(of) ?? 0) + 1;
  change.state = { ...change.state, folded: new Map(change.state.folded).set(of, count) };
  // Told at 1, 2, 4, 8 ...
  if ((count & (count - 1)) !== 0) return;
  raise(change, {
    kind: 'folded',
    key: `folded\n${of}`,
    severity: 'warning',
    since: change.now,
    subject: of,
    text: `${count} more of kind ${of} are not told one by one: as many are open as are`,
    of,
    count,
  });
}

function unfold(change: Change, of: NoticeKind): void {
  if (of === 'folded' || !change.state.folded.has(of)) return;
  if (countOpen(change.state, of, MOST_OPEN / 2) >= MOST_OPEN / 2) return;
  const folded = new Map(change.state.folded);
  folded.delete(of);
  change.state = { ...change.state, folded };
  clear(change, `folded\n${of}`, 'told one by one again');
}
