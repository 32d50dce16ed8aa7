import { shellWord } from '../shared/pure/shell.ts';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { phases } from '../../phases/index.ts';
import type { Target, View } from '../engine/contract.ts';
import { decisionId, declaredEdges, reviewEdges } from '../flows/decide.ts';
import { withoutGoneSidecars } from '../flows/sidecar.ts';
import { inventoryStates } from '../inventory/states.ts';
import { mergeSignatures, parseSignatures } from '../inventory/signatures.ts';
import type { Signatures } from '../inventory/signatures.ts';
import type { Config } from '../model/config.ts';
import type { Decision } from '../model/decision.ts';
import { isAboutGates } from '../model/decision.ts';
import type { Edge } from '../model/edge.ts';
import { endpointKey } from '../model/edge.ts';
import { edgesAt } from '../model/edge-index.ts';
import type { PastGrant } from '../model/grant.ts';
import { withoutGranted } from '../model/grant.ts';
import type { Inventory, Snapshot } from '../model/inventory.ts';
import type { Rehearsal } from '../model/rehearsal.ts';
import type { Gate } from '../model/finding.ts';
import type { Planner } from '../plan/assemble.ts';
import type { Plan, Step } from '../plan/plan.ts';
import { managedGates } from '../readiness/ownership-gates.ts';
import { approvalGates } from '../readiness/approval-gate.ts';
import type { ApprovalFacts } from '../readiness/approval-gate.ts';
import { changeGates } from '../readiness/change-gates.ts';
import { gitopsGates } from '../readiness/gitops-gate.ts';
import { readDeployers } from '../readiness/gitops.ts';
import type { Deployer } from '../readiness/gitops.ts';
import { soakGate } from '../readiness/soak-gate.ts';
import { joinTimes } from '../readiness/joined.ts';
import { withWaypoints } from '../candidates/waypoints.ts';
import { gate, keptEdges, settleGate } from '../readiness/view.ts';
import { assetPath } from '../shared/io/assets.ts';
import { EXIT, Failure } from '../shared/pure/errors.ts';
import type { Reader } from '../../state/reader.ts';
import type { App } from './context.ts';
import { cancelled } from './interrupt.ts';
import { noteAddresses } from './note-addresses.ts';
import { readPart } from './scope.ts';
import type { EdgePart, Scope } from './scope.ts';

export async function loadSignatures(): Promise<Signatures> {
  const folder = assetPath('templates', 'signatures');
  const files = (await readdir(folder)).filter((name) => name.endsWith('.json')).sort();
  const parts = await Promise.all(
    files.map(async (name) => parseSignatures(JSON.parse(await readFile(join(folder, name), 'utf8')), name)),
  );
  return mergeSignatures(parts);
}

/** Beyond so many edges reading them takes over a second. */
const LARGE = 150_000;

/** Everything known, as of now: cluster or directory, state, decisions. */
export interface Loaded {
  readonly snapshot: Snapshot;
  readonly inventory: Inventory;
  readonly config: Config;
  readonly planner: Planner;
  /** Where the configuration asks for approvals. */
  readonly approvals?: ApprovalFacts;
  readonly rebuild: View['rebuild'];
  view(namespace: string): View;
  /** The same with what of the record this plan rests on as well; undefined where what was read is enough. */
  beyond(plan: Pick<Plan, 'steps'>): Loaded | undefined;
  /** The same cluster and record under the decisions as they are now; nothing else is read again. */
  redecided(): Promise<Loaded>;
}

/** Reads the cluster or the directory, and of the record what the scope asks for: without one, all of it. */
export async function loadAll(app: App, scope: Scope = { kind: 'all' }): Promise<Loaded> {
  const [target, config, signatures] = await Promise.all([app.target(), app.config(), app.signatures()]);
  const { reader } = await app.state();
  const now = app.now(reader);
  const files =
    target.kind === 'directory' || config.soak.signals.length === 0
      ? []
      : await import('./signals.ts').then(({ findSignalFiles }) => findSignalFiles(config.soak.signals));
  const snapshot = await target.readSnapshot((text) => {
    // A directory is read in no time.
    if (target.kind === 'cluster') app.output.progress(text);
  });
  leaveIfStopped(app);
  // What a plan is made for has read all pods: the history of addresses has it for nothing.
  if (scope.kind === 'planning') await noteAddresses(app, snapshot);
  const { start, rebuild } = inventoryStates({ config, signatures, now });
  const inventory = start(snapshot);
  const taken = await app.decisions();
  const granted = pastGrants(reader);
  const read = (await rulesOnWhole(app, taken)) ? { kind: 'all' as const } : scope;
  const many = read.kind === 'all' ? reader.edgeCount() : 0;
  if (many > LARGE) app.output.progress(`reading ${many} edges on record`);
  const part = readPart(reader, { inventory, snapshot, decisions: taken, granted }, read);
  const span = reader.span();
  const applied = reader.applied();
  const approvals =
    config.changes?.approvals === undefined
      ? undefined
      : await import('./approvals.ts').then((m) => m.readApprovals(app));
  const joinedAt = joinTimes(applied);
  const evidence = reader.evidence(evidenceOf(scope));
  const phasesNow = reader.phases();
  const resolved = reader.resolutions();
  const rehearsals = await rehearsalsOf(config, now);
  const inGit = await treeOf(app);
  const planner = makePlanner(
    target.kind,
    files,
    app.options.ticket,
    approvals,
    readDeployers(snapshot.objects),
    inGit,
  );
  const decided = (decisions: readonly Decision[], { observed, holds, note, beyond }: EdgePart): Loaded => {
    const reviewed = withoutGranted(reviewEdges(observed, decisions), granted);
    const edgesIn = edgesOfStates(
      (state) => {
        // Whether it was seen is told by what reaches the same destination.
        const ends = new Set(state.declared.map(({ dst }) => endpointKey(dst)));
        const seen = [...ends].flatMap((key) => edgesAt(observed, 'dst', key));
        const declared = declaredEdges(state, seen).filter(holds);
        note(declared);
        return reviewEdges(declared, decisions);
      },
      (state) => withoutGoneSidecars(reviewed, state, joinedAt),
    );
    const edges = edgesIn(inventory);
    const base = {
      snapshot,
      inventory,
      edges,
      ...(span === undefined ? {} : { span }),
      edgesIn,
      rebuild,
      evidence,
      decisions,
      config,
      now,
      phases: phasesNow,
      applied,
      resolved,
      rehearsals,
    };
    return {
      snapshot,
      inventory,
      config,
      rebuild,
      planner,
      ...(approvals === undefined ? {} : { approvals }),
      view: (namespace) => ({ ...base, namespace }),
      beyond: (plan) => {
        const more = beyond(plan);
        return more === undefined ? undefined : decided(decisions, more);
      },
      redecided: async () => decided(await app.decisions(), { observed, holds, note, beyond }),
    };
  };
  const loaded = decided(taken, part);
  if (scope.kind !== 'none') await app.noteUnmatched(loaded.view('').edges);
  return loaded;
}

/**
 * The edges of states: those observed, and what is declared. Most states of a plan declare what the one before did and hold the same workloads, and
 * are given the same list, so that what is derived of it is kept.
 */
function edgesOfStates(
  declaredIn: (state: Inventory) => readonly Edge[],
  observedIn: (state: Inventory) => readonly Edge[],
): (state: Inventory) => readonly Edge[] {
  let last:
    { readonly state: Inventory; readonly observed: readonly Edge[]; readonly declared: readonly Edge[] } | undefined;
  let list: readonly Edge[] = [];
  return (state) => {
    const of = last?.state;
    const same = of?.workloads === state.workloads && of.services === state.services;
    const observed =
      last === undefined ? observedIn(state) : same ? last.observed : sameList(last.observed, observedIn(state));
    const stated = last !== undefined && of?.declared === state.declared ? last.declared : declaredIn(state);
    const declared = last === undefined ? stated : sameEdges(last.declared, stated);
    if (observed !== last?.observed || declared !== last.declared) list = [...observed, ...declared];
    last = { state, observed, declared };
    return list;
  };
}

function sameList<T>(old: readonly T[], fresh: readonly T[]): readonly T[] {
  return old === fresh || (old.length === fresh.length && fresh.every((item, at) => item === old[at])) ? old : fresh;
}

/** The new list, with the edges of the old one that say the same; the old one where all do. */
function sameEdges(old: readonly Edge[], fresh: readonly Edge[]): readonly Edge[] {
  if (old === fresh) return old;
  const known = new Map(old.map((edge) => [edge.id, edge]));
  const out = fresh.map((edge) => {
    const before = known.get(edge.id);
    return before !== undefined && isDeepStrictEqual(before, edge) ? before : edge;
  });
  return sameList(old, out);
}

/** Every grant that was ever opened by this record. */
function pastGrants(reader: Pick<Reader, 'runs' | 'run'>): readonly PastGrant[] {
  return reader.runs().flatMap(({ id, kind }): readonly PastGrant[] => {
    const mark = kind === 'grant' ? reader.run(id)?.plan.steps[0]?.grant : undefined;
    return mark === undefined ? [] : [{ mark, ended: mark.until }];
  });
}

/** Plans with what was read, and again with what the plan turns out to rest on, until nothing is missing. */
export function planWhole<T extends { readonly plan: Pick<Plan, 'steps'> }>(
  loaded: Loaded,
  make: (loaded: Loaded) => T,
): { readonly loaded: Loaded; readonly made: T } {
  for (let now = loaded; ;) {
    const made = make(now);
    const more = now.beyond(made.plan);
    if (more === undefined) return { loaded: now, made };
    now = more;
  }
}

/** A decision from a file whose list is not frozen yet is about all edges that match it, wherever they are. */
async function rulesOnWhole(app: App, decisions: readonly Decision[]): Promise<boolean> {
  if (app.options.decisions === undefined) return false;
  const stored = new Set((await app.state()).reader.decisions().map(decisionId));
  return decisions.some((decision) => !isAboutGates(decision.query) && !stored.has(decisionId(decision)));
}

/** Of the record of days and runs, what is said of the namespaces that are spoken of. */
function evidenceOf(scope: Scope): { readonly namespaces: readonly string[] } | undefined {
  switch (scope.kind) {
    case 'all':
      return undefined;
    case 'none':
    case 'calls':
      return { namespaces: [] };
    case 'touching':
      return { namespaces: scope.namespaces };
    case 'planning':
      return { namespaces: [scope.namespace] };
  }
}

/** The gates of a tree that changes are written into, where one is named. */
async function treeOf(app: App): Promise<((view: View, steps: readonly Step[]) => readonly Gate[]) | undefined> {
  const dir = app.options.git ?? (await app.config()).git?.dir;
  if (dir === undefined) return undefined;
  const { openGitPlace, readTreeOf, treeGates } = await import('./git-tree.ts');
  const { dir: real, layout } = await openGitPlace(app, dir);
  const tree = await readTreeOf(app, real);
  return (view, steps) => treeGates(view, steps, tree, layout);
}

/** What proxies counted of rehearsed policies, where the configuration names files of it. */
async function rehearsalsOf({ identity }: Config, now: number): Promise<readonly Rehearsal[]> {
  if (identity === undefined || identity.metrics.length === 0) return [];
  const [{ readRehearsals }, { openInput }] = await Promise.all([
    import('../sources/rehearsal.ts'),
    import('../sources/input.ts'),
  ]);
  const inputs = identity.metrics.map((file) => openInput(file, () => process.stdin));
  return readRehearsals(inputs, { badRecords: 'abort', now });
}

/** Between two readings Ctrl-C is answered without waiting for the rest. */
function leaveIfStopped(app: App): void {
  if (app.interrupt.signal.aborted) throw cancelled();
}

function makePlanner(
  kind: Target['kind'],
  files: readonly (readonly string[])[],
  ticket: string | undefined,
  approvals: ApprovalFacts | undefined,
  lists: ReadonlyMap<string, Deployer>,
  inGit: ((view: View, steps: readonly Step[]) => readonly Gate[]) | undefined,
): Planner {
  return {
    phases,
    keep: keptEdges,
    withHops: withWaypoints,
    settle: settleGate,
    common: (view, steps, plan) => [
      ...(inGit === undefined
        ? [...managedGates(view, steps, lists), ...gitopsGates(view, steps, lists)]
        : inGit(view, steps)),
      ...changeGates(view, ticket),
      ...(approvals === undefined || plan === undefined ? [] : approvalGates(view, plan, approvals)),
      kind === 'directory'
        ? gate('soak', 'yes', view.namespace, ['offline: answered by the simulation of every state'], '')
        : soakGate(view, steps, files),
    ],
  };
}

/** The namespace, known to the cluster or to the record; exit 2 with the names there are otherwise. */
export function requireNamespace(loaded: Loaded, namespace: string): void {
  if (loaded.inventory.namespaces.some((one) => one.name === namespace)) return;
  const names = loaded.inventory.namespaces.map((one) => one.name);
  throw new Failure({
    code: 'SP215',
    exit: EXIT.usage,
    message: `there is no namespace ${namespace}`,
    where: loaded.snapshot.source === 'directory' ? 'the directory of manifests' : 'the cluster',
    hint: `one of: ${names.slice(0, 20).join(', ')}${names.length > 20 ? ', ...' : ''}`,
  });
}

/** Files that do not parse block every plan until a person waives them by name. */
export function requireReadable(loaded: Loaded, decisions: readonly Decision[]): void {
  const waived = new Set(
    decisions
      .filter((decision) => decision.action === 'waive' && decision.query.subject !== undefined)
      .map((decision) => decision.query.subject),
  );
  const broken = loaded.snapshot.findings.filter((finding) => finding.code === 'SP302' && !waived.has(finding.subject));
  const [first] = broken;
  if (first === undefined) return;
  throw new Failure({
    code: 'SP216',
    exit: EXIT.usage,
    message: `${broken.length} of the files cannot be read, so nothing is planned: ${first.message}`,
    where: broken.map((finding) => finding.where ?? finding.subject).join(', '),
    hint: `mend it, or: sallyport waive ${shellWord(`subject=${first.subject}`)} --reason "..." (it is then never edited)`,
  });
}
