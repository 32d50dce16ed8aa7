// What the session knows, and keeps while pages change: the cluster and the record as they were read, and what was worked out from them.
import type { App } from '../context.ts';
import type { Loaded } from '../load.ts';
import { loadAll } from '../load.ts';
import { targetPhase } from '../commands/plan.ts';
import { renderFailure } from '../output.ts';
import { standingDecisions } from '../../flows/decide.ts';
import type { RunRecord, SoakRecord, View } from '../../engine/contract.ts';
import type { Doubtful } from '../../flows/review.ts';
import { findDoubtful } from '../../flows/review.ts';
import type { Decision } from '../../model/decision.ts';
import type { Edge } from '../../model/edge.ts';
import { formatEdge } from '../../model/edge.ts';
import type { Gate } from '../../model/finding.ts';
import type { NamespaceInfo } from '../../model/inventory.ts';
import { PHASES, phaseIndex } from '../../model/phase.ts';
import type { PhaseName } from '../../model/phase.ts';
import { assembleUp, openGates } from '../../plan/assemble.ts';
import type { Drift } from '../../plan/drift.ts';
import { checkDrift } from '../../plan/drift.ts';
import type { Plan } from '../../plan/plan.ts';
import { touches } from '../../readiness/view.ts';
import { EXIT, isFailure, messageOf } from '../../shared/pure/errors.ts';
import type { FailureDetail } from '../../shared/pure/errors.ts';
import { compareText } from '../../shared/pure/order.ts';
import type { Reader } from '../../../state/reader.ts';

export interface EdgeLine {
  readonly edge: Edge;
  /** `src -> dst port`. */
  readonly text: string;
  /** Why somebody should look at it; '' where nobody need. */
  readonly why: string;
}

export interface NamespaceFacts {
  readonly info: NamespaceInfo;
  readonly phase: PhaseName;
  readonly next: PhaseName | undefined;
  readonly workloads: number;
}

/** A run without an outcome, with its watch where it soaks. */
export interface OpenRun {
  readonly run: RunRecord;
  readonly soak: SoakRecord | undefined;
}

/** The cluster and the record as they were read; everything else follows from it and is worked out once. */
export interface Known {
  readonly loaded: Loaded;
  readonly view: View;
  readonly readAt: number;
  readonly namespaces: readonly NamespaceFacts[];
  readonly drift: readonly Drift[];
  /** Every edge, doubtful ones first. */
  edges(): readonly EdgeLine[];
  edgesOf(namespace: string): readonly EdgeLine[];
  doubtfulOf(namespace: string): number;
  standing(): ReadonlyMap<string, Decision>;
  plan(namespace: string, to: PhaseName | undefined): Planned;
  /** Only where it was worked out already. */
  planIfKnown(namespace: string): Planned | undefined;
}

export type Planned =
  | { readonly kind: 'plan'; readonly plan: Plan; readonly open: readonly Gate[] }
  | { readonly kind: 'none'; readonly message: string };

export interface World {
  readonly app: App;
  readonly description: string;
  readonly reader: Reader | undefined;
  readonly known: Known | undefined;
  /** Why the cluster could not be read the last time, in lines. */
  readonly lost: FailureDetail | undefined;
}

export function knownFrom(loaded: Loaded, readAt: number): Known {
  const view = loaded.view('');
  const sizes = new Map<string, number>();
  for (const { namespace } of loaded.inventory.workloads) sizes.set(namespace, (sizes.get(namespace) ?? 0) + 1);
  const namespaces = loaded.inventory.namespaces
    .filter((one) => sizes.has(one.name) || view.phases.has(one.name))
    .map((info): NamespaceFacts => {
      const phase = view.phases.get(info.name) ?? 'none';
      return { info, phase, next: PHASES[phaseIndex(phase) + 1], workloads: sizes.get(info.name) ?? 0 };
    })
    .toSorted(
      (a, b) =>
        Number(a.info.system !== undefined) - Number(b.info.system !== undefined) ||
        phaseIndex(b.phase) - phaseIndex(a.phase) ||
        compareText(a.info.name, b.info.name),
    );
  const drift = checkDrift(view.applied, loaded.snapshot.objects, view.resolved);
  let doubtful: ReadonlyMap<string, Doubtful> | undefined;
  let lines: readonly EdgeLine[] | undefined;
  let standing: ReadonlyMap<string, Decision> | undefined;
  const ofNamespace = new Map<string, readonly EdgeLine[]>();
  const plans = new Map<string, Planned>();
  const doubts = (): ReadonlyMap<string, Doubtful> =>
    (doubtful ??= new Map(findDoubtful(view.edges, loaded.inventory).map((one) => [one.edge.id, one])));
  const known: Known = {
    loaded,
    view,
    readAt,
    namespaces,
    drift,
    edges: () => {
      if (lines !== undefined) return lines;
      const made = view.edges.map((edge): EdgeLine => ({
        edge,
        text: formatEdge(edge),
        why: doubts().get(edge.id)?.why ?? '',
      }));
      // Compared by code units: a collator would take longer than all the rest.
      made.sort((a, b) => (a.why === '' ? 1 : 0) - (b.why === '' ? 1 : 0) || (a.text < b.text ? -1 : 1));
      return (lines = made);
    },
    edgesOf: (namespace) => {
      const found = ofNamespace.get(namespace);
      if (found !== undefined) return found;
      const mine = known.edges().filter(({ edge }) => touches(edge, namespace));
      ofNamespace.set(namespace, mine);
      return mine;
    },
    doubtfulOf: (namespace) => [...doubts().values()].filter(({ edge }) => touches(edge, namespace)).length,
    standing: () => (standing ??= standingDecisions(view.decisions, view.edges)),
    plan: (namespace, to) => {
      const key = `${namespace}\n${to ?? ''}`;
      const found = plans.get(key);
      if (found !== undefined) return found;
      const made = planned(loaded, namespace, to);
      plans.set(key, made);
      return made;
    },
    planIfKnown: (namespace) => plans.get(`${namespace}\n`),
  };
  return known;
}

function planned(loaded: Loaded, namespace: string, to: PhaseName | undefined): Planned {
  const view = loaded.view(namespace);
  const now = view.phases.get(namespace) ?? 'none';
  try {
    const plan = assembleUp(view, targetPhase(namespace, to, now, 'up'), loaded.planner);
    return { kind: 'plan', plan, open: openGates(plan) };
  } catch (error) {
    if (!isFailure(error)) throw error;
    return { kind: 'none', message: messageOf(error) };
  }
}

/** Runs that are open, oldest first, from the state as it is now. */
export function openRuns(reader: Reader | undefined): readonly OpenRun[] {
  return reader?.openRuns().map((run) => ({ run, soak: reader.soakOf(run.id) })) ?? [];
}

/**
 * Reads the cluster and the record. A cluster that does not answer is no end of the session: what was known before stays, with what went
 * wrong beside it. Anything else that fails is thrown.
 */
export async function readWorld(app: App, before: World | undefined, now: () => number): Promise<World> {
  let reader = before?.reader;
  let description = before?.description ?? '';
  try {
    reader = (await app.state()).reader;
    description = (await app.target()).description;
    const loaded = await loadAll(app);
    return { app, description, reader, known: knownFrom(loaded, now()), lost: undefined };
  } catch (error) {
    if (!isFailure(error) || (error.detail.exit !== EXIT.cluster && error.detail.exit !== EXIT.usage)) throw error;
    // A wrong flag stays wrong: only what has been read once can fail for a while.
    if (error.detail.exit === EXIT.usage && before?.known === undefined) throw error;
    return { app, description, reader, known: before?.known, lost: error.detail };
  }
}

/** The same cluster under the decisions as they are now. */
export async function redecided(world: World): Promise<World> {
  const { known } = world;
  if (known === undefined) return world;
  const { reader } = await world.app.state();
  return { ...world, reader, known: knownFrom(await known.loaded.redecided(), known.readAt) };
}

export function lostLines(world: World, width: number): readonly string[] {
  if (world.lost === undefined) return [];
  return [...renderFailure(world.lost, width).trimEnd().split('\n'), 'r tries again; nothing is lost by it.'];
}
