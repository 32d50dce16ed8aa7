import type { Json } from '../shared/pure/json.ts';
import type { Gate } from '../model/finding.ts';
import type { Edge } from '../model/edge.ts';
import type { Inventory, Snapshot } from '../model/inventory.ts';
import type { KubeManifest, ObjectRef } from '../model/object.ts';
import type { PhaseName } from '../model/phase.ts';
import type { Rehearsal } from '../model/rehearsal.ts';
import type { Right } from '../model/rbac.ts';
import type { Config } from '../model/config.ts';
import type { Decision } from '../model/decision.ts';
import type { Evidence } from '../model/evidence.ts';
import type { Change, FieldChange } from '../plan/change.ts';
import type { KindIn } from '../plan/ground.ts';
import type { AccountMoved, Plan, Step } from '../plan/plan.ts';
import type { Resolved } from '../plan/rollback.ts';
import type { Denial, KnownEdge, Sighting, SoakMemory } from '../plan/soak.ts';

/** Milliseconds since the epoch; the only way time enters. */
export interface Clock {
  now(): number;
  /** Waits, or returns at once where time is simulated. Rejects with the signal's reason when aborted. */
  sleep(milliseconds: number, signal?: AbortSignal): Promise<void>;
}

/** All that a phase may know. Immutable. */
export interface View {
  readonly namespace: string;
  readonly snapshot: Snapshot;
  readonly inventory: Inventory;
  /**
   * Edges, observed and declared, with their review state after decisions: all on record, or all that an answer about the namespace rests on
   * (cli/scope.ts).
   */
  readonly edges: readonly Edge[];
  /** When the edges on record were first and last seen (ms); undefined where `edges` is all there is, or nothing is on record. */
  readonly span?: { readonly first: number; readonly last: number };
  readonly evidence: Evidence;
  readonly decisions: readonly Decision[];
  readonly config: Config;
  /** The moment for windows and schedules. */
  readonly now: number;
  /** Phase of each namespace under Sallyport; absent means none. */
  readonly phases: ReadonlyMap<string, PhaseName>;
  /** Steps on record that are still in force, oldest first. */
  readonly applied: readonly AppliedStep[];
  /** What people decided of fields of ours that others changed. */
  readonly resolved?: readonly Resolved[];
  /** What proxies counted of policies that are only rehearsed. */
  readonly rehearsals?: readonly Rehearsal[];
  /** What another snapshot amounts to, but for findings; `from` is the one that it was made from, where that is known. Pure. */
  readonly rebuild: (snapshot: Snapshot, from?: Snapshot) => Inventory;
  /**
   * The edges of another state: those observed, and what its configuration declares. A sidecar, say, moves the port that is scraped,
   * so what is declared is a matter of the state. Pure.
   */
  readonly edgesIn: (inventory: Inventory) => readonly Edge[];
}

/** A phase: pure functions of a view. The engine performs; a phase never does. */
export interface Phase {
  readonly name: PhaseName;
  /** Conditions for entering. */
  requires(view: View): readonly Gate[];
  /** The steps that take the namespace into this phase from the one before. */
  up(view: View): readonly Step[];
  /** Conditions that hold while in this phase: drift apart, which the engine compares itself. */
  verify(view: View): readonly Gate[];
  /** Steps needed before the recorded ones are undone (a peer to loosen first). The undo itself comes from the record. */
  down(view: View, applied: readonly AppliedStep[]): readonly Step[];
}

/** A step of the journal that is in force. */
export interface AppliedStep {
  /** Sequence number over all runs: newest is highest. */
  readonly seq: number;
  readonly run: string;
  readonly namespace: string;
  readonly phase: PhaseName;
  readonly step: Step;
  /** As written. Before-images are the ones read just before the write. */
  readonly change: Change;
  readonly uid?: string;
  /** When it was done. */
  readonly at: number;
}

export type ApplyOutcome = 'created' | 'configured' | 'unchanged' | 'deleted';

export interface Applied {
  readonly outcome: ApplyOutcome;
  /** The object after the write; undefined after a delete. */
  readonly live?: KubeManifest;
}

/** Held while a run writes. */
export interface LeaseHold {
  /** Renews when due and throws a Failure (exit 3) when the hold was lost. Called before every write. */
  assertHeld(): Promise<void>;
  release(): Promise<void>;
}

/** What is waited for: pods that run the present template, or, of an operator's, none that runs as the account before. */
export interface AwaitedWorkload {
  readonly id: string;
  readonly ref: ObjectRef;
  readonly accounts?: AccountMoved;
}

export interface RolloutResult {
  readonly workload: string;
  /** `unknown`: an operator's pods, of which nobody can tell from here whether they will be replaced. */
  readonly outcome: 'ready' | 'failed' | 'timed-out' | 'simulated' | 'unknown';
  readonly message: string;
}

/** Where changes go: a live cluster or a directory of manifests. Both pass the same contract tests. */
export interface Target {
  readonly kind: 'cluster' | 'directory';
  /** UID of kube-system, or the first 16 hex digits of sha256 of the directory's real path. */
  readonly id: string;
  /** For people: context and server, or the directory. */
  readonly description: string;
  /** Reads everything the inventory needs. `onProgress` gets a text now and then. */
  readSnapshot(onProgress?: (text: string) => void): Promise<Snapshot>;
  /** One object as it is now; undefined when it does not exist. */
  readObject(ref: ObjectRef): Promise<KubeManifest | undefined>;
  /**
   * The objects of some kinds as they are now, by a list for each kind and namespace; a kind that is not served has none, and one of very
   * many namespaces is read whole. As `readSnapshot` gives them.
   */
  readKinds(lists: readonly KindIn[]): Promise<readonly KubeManifest[]>;
  /** Validates without writing: server-side dry run, or a parse of the bytes that would be written. */
  rehearse(change: Change): Promise<void>;
  /**
   * Writes one change. Creates by POST; edits own objects by server-side apply and those of others by JSON Patch with `test`
   * on uid and old values; deletes with preconditions. A conflict is a Failure with exit 3 and writes nothing. `version`: the
   * resourceVersion of the object that was judged; where it has another by now, also in fields beside those of the change, nothing is written
   * either, and the Failure is of the nature `moved`.
   */
  apply(change: Change, version?: string): Promise<Applied>;
  /** Takes the Leases in name order, `''` standing for cluster-scoped and mesh-root objects. Exit 3 when held by another. */
  acquire(namespaces: readonly string[], holder: string): Promise<LeaseHold>;
  /** May an account do this? The authorizer is asked. A directory has none. */
  readonly mayAccount?: (namespace: string, account: string, right: Right) => Promise<boolean>;
  /** Which of these the caller may not do: the authorizer is asked, and what it gives no word on is not among them. A directory has none. */
  readonly refused?: (rights: readonly Right[]) => Promise<readonly Right[]>;
  /** The owner of the credentials as the API server names them; undefined where it does not say. A directory knows no callers. */
  readonly user?: () => Promise<string | undefined>;
  /** Where the cluster itself keeps ways back; a directory has no such place. */
  readonly undo?: UndoStore;
  /** The proxies in pods; a directory has none. */
  readonly proxies?: Proxies;
  /** Waits until the workload's pods run its present template. */
  awaitRollout(workload: AwaitedWorkload, signal: AbortSignal): Promise<RolloutResult>;
  close(): Promise<void>;
}

/** The administration of a sidecar's Envoy, which listens on its pod's loopback alone. */
export interface Proxies {
  /**
   * One request; the answer's text where it is a success. Whoever holds the pod can have it answer anything. Errors: exit 4, as of the API server, SP431 where
   * the pod's end does not answer, refuses, or answers more than 8 MiB.
   */
  ask(
    pod: { readonly namespace: string; readonly name: string },
    method: 'GET' | 'POST',
    path: string,
    signal?: AbortSignal,
  ): Promise<string>;
}

/** What is kept of one namespace outside the state. */
export interface KeptUndo {
  readonly namespace: string;
  /** The bundle as files: plain names without folders. */
  readonly files: readonly { readonly name: string; readonly text: string }[];
  /** The bundle as one script that needs no files. */
  readonly script: string;
  readonly record: NamespaceRecord;
}

/** A place outside the state for ways back and records: one per namespace, replaced whole. */
export interface UndoStore {
  /** For people: the folder, or the objects of the cluster. */
  readonly place: string;
  /** Others than the operator may read it: values that look like credentials are left out. */
  readonly exposed: boolean;
  /** Brought up to date after every step, not at the start and the end of a run alone. */
  readonly stepwise: boolean;
  /** The record of a namespace as JSON; undefined where there is none. */
  read(namespace: string): Promise<Json | undefined>;
  /** Every record. */
  list(): Promise<readonly { readonly namespace: string; readonly record: Json }[]>;
  /** Durable when it resolves. */
  write(kept: KeptUndo): Promise<void>;
  remove(namespace: string): Promise<void>;
}

/** What a state must know to take a namespace over: the steps in force there, and the newest run that touches it. */
export interface NamespaceRecord {
  readonly apiVersion: 'sallyport.dev/v1';
  readonly kind: 'Record';
  /** Id of the cluster or directory. */
  readonly target: string;
  readonly namespace: string;
  readonly phase: PhaseName;
  readonly run: string;
  /** How many of its steps that are in this record are done, or were. */
  readonly settled: number;
  readonly by: string;
  readonly at: number;
  /** The runs of the steps, oldest first. */
  readonly runs: readonly RunHead[];
  /** Oldest first. */
  readonly steps: readonly RecordedStep[];
  /** Fields that hold what looks like a credential, and are not in the steps. */
  readonly leftOut: readonly string[];
}

/** A step on record elsewhere. */
export type RecordedStep = JournalStep;

/** `grant` opens access that ends by itself, `expire` ends it; neither moves a namespace. */
export type RunKind = 'advance' | 'rollback' | 'grant' | 'expire';
export type RunOutcome = 'done' | 'failed' | 'undone' | 'cancelled' | 'partial';

export interface RunRecord {
  readonly id: string;
  readonly kind: RunKind;
  readonly namespace: string;
  readonly from: PhaseName;
  readonly to: PhaseName;
  readonly planHash: string;
  readonly startedAt: number;
  readonly by: string;
  readonly plan: Plan;
  /** Set on the run that takes back another one: which, and the denial that did it. */
  readonly pullsBack?: PullBack;
}

/** A run as listings need it. */
export interface RunHead extends Omit<RunRecord, 'plan'> {
  /** Absent while the run is open: a crash left it behind, or it runs now. */
  readonly outcome?: RunOutcome;
  readonly endedAt?: number;
}

export interface PullBack {
  /** The run that is taken back. */
  readonly run: string;
  readonly denial: Denial;
}

/** A run under watch. While its steps are performed `until` is 0. */
export interface SoakRecord {
  readonly run: string;
  /** From when on the watch counts: the last step, or a gap in the signals after it. */
  readonly since: number;
  readonly until: number;
  /** True where nobody waits for the end: `resume` finds out. */
  readonly left: boolean;
  readonly lookedAt: number;
  /** How far the signals were read, as they said it. */
  readonly position: Json;
  readonly memory: SoakMemory;
  /** Edges not seen since, as of the last look: id, text, and when one is to be expected. */
  readonly awaited: readonly { readonly edge: string; readonly text: string; readonly due?: number }[];
}

/** Of one signal. */
export interface SignalReport {
  readonly source: string;
  readonly inputs: readonly string[];
  /** Files that are followed now. */
  readonly files: number;
  readonly records: number;
  /** Lines that were no record. */
  readonly bad: number;
  readonly firstBad?: string;
  /** Records that the source itself says it lost. */
  readonly lost: number;
  /** Time of the newest record, ms; absent before the first. */
  readonly newest?: number;
}

export interface SignalLook {
  /** More is there than was read at once: look again before waiting. */
  readonly more: boolean;
  readonly sightings: readonly Sighting[];
  /** What may have been missed since the look before, in words. */
  readonly gaps: readonly string[];
  /** All since the watch began, one a signal. */
  readonly signals: readonly SignalReport[];
}

/** What shows denied and new connections, followed while a run goes. */
export interface Signals {
  /** Reads what came since the last look, a bounded piece of it, and never waits. */
  look(): Promise<SignalLook>;
  /** How far was read: JSON to open them with again. */
  position(): Json;
  /** Pods were replaced: addresses are to be looked up anew. */
  refresh(): void;
  close(): Promise<void>;
}

/** What a watch needs of the world. All of it comes from outside the engine. */
export interface SoakWorld {
  readonly minutes: number;
  readonly drainSeconds: number;
  /** Leave the watch after the last step to `resume`. */
  readonly detach: boolean;
  /** From their ends, or from where an earlier watch stopped. */
  open(position: Json | undefined): Promise<Signals>;
  /** Edges on record that steps of the plan touch, with the decisions as they are now. */
  known(plan: Plan): Promise<readonly KnownEdge[]>;
  /** Those of them that must work and that the cluster denies as it is: asked before the first write. */
  deniedBefore(plan: Plan): Promise<readonly string[]>;
  /** Gates with configuration and waivers taken into account. */
  settle(gate: Gate): Gate;
  /** The way back of one run, newest step first. Throws a Failure (exit 3) where somebody else's change or a denial forbids it. */
  planBack(run: string): Promise<Plan>;
}

export type StepState = 'pending' | 'started' | 'done' | 'failed' | 'undone' | 'skipped';

export interface JournalStep {
  readonly seq: number;
  readonly run: string;
  readonly index: number;
  readonly step: Step;
  readonly state: StepState;
  /** The change with before-images read just before the write; undefined while pending. */
  readonly change?: Change;
  readonly uid?: string;
  readonly error?: string;
  /** When it was done, also of one that was undone since. */
  readonly at?: number;
}

export interface AuditEntry {
  readonly at: number;
  readonly who: string;
  readonly what: string;
  readonly object: string;
  readonly reason: string;
  readonly run?: string;
  /**
   * Files the entry under a namespace; not given back. An entry with a run is filed under the run's namespace by itself, one
   * without either shows for every namespace.
   */
  readonly namespace?: string;
}

/** The durable record of runs. Every call is one transaction, on disk when it returns. */
export interface Journal {
  openRun(run: RunRecord): void;
  stepStarted(run: string, index: number, change: Change, at: number): void;
  /** Records the outcome and its audit line together. `undoes` marks older steps as no longer in force. */
  stepDone(
    run: string,
    index: number,
    result: { readonly uid?: string; readonly at: number; readonly audit: AuditEntry },
  ): void;
  stepFailed(run: string, index: number, error: string, at: number): void;
  stepSkipped(run: string, index: number, reason: string, at: number): void;
  /** Back to pending: nothing of it was written. */
  stepReset(run: string, index: number): void;
  /** Closes the run and sets the namespace's phase with it. */
  closeRun(run: string, outcome: RunOutcome, phase: PhaseName, at: number): void;
  /** Keeps how far a watch has come, in place of what was kept before. */
  saveSoak(soak: SoakRecord): void;
  soakOf(run: string): SoakRecord | undefined;
  /**
   * Closes a run as undone, its pending steps passed over, and opens in the same transaction the run that takes it back (`pullsBack`
   * names the first). The audit line goes with them.
   */
  pullBack(run: RunRecord, audit: AuditEntry): void;
  /** The phase reached inside a run that passes several. */
  setPhase(namespace: string, phase: PhaseName, at: number): void;
  openRuns(): readonly RunRecord[];
  /** Undefined for a run that is not on record. */
  headOf(run: string): RunHead | undefined;
  stepsOf(run: string): readonly JournalStep[];
  applied(): readonly AppliedStep[];
  phases(): ReadonlyMap<string, PhaseName>;
  /** What people decided of fields that others changed, oldest first. */
  resolutions(): readonly Resolved[];
  audit(entry: AuditEntry): void;
}

/** A field of ours whose live value is neither what we wrote nor what it was before. */
export interface ForeignChange {
  readonly ref: ObjectRef;
  readonly field: FieldChange;
  readonly live: Json | undefined;
}
