import { splitAccounts } from '../candidates/accounts.ts';
import { accountKindOf } from '../model/account-places.ts';
import { chooseSelector } from '../candidates/selector.ts';
import { policyName } from '../candidates/network.ts';
import type { View } from '../engine/contract.ts';
import type { Edge } from '../model/edge.ts';
import type { Inventory, Workload } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { isObject, namespaceOf, refKey, refOf } from '../model/object.ts';
import type { PhaseName } from '../model/phase.ts';
import { phaseIndex } from '../model/phase.ts';
import { UNREDIRECTED_PORTS, compileWorld, transportOf } from '../model/evaluate.ts';
import { buildAuthorizationPolicy, buildDefaultDeny, buildPeerAuthentication } from '../objects/build.ts';
import { applyToObjects } from '../plan/change.ts';
import type { Step } from '../plan/plan.ts';
import type { Draft } from '../plan/steps.ts';
import { draftSteps } from '../plan/steps.ts';
import { canJoin, exemptPorts, inMesh, joinLabels, joinsByNamespace, meshRevision } from '../readiness/mesh-gates.ts';
import { keptEdges } from '../readiness/view.ts';
import { asObject, getPath, isJsonObject } from '../shared/pure/json.ts';
import { groupBy } from '../shared/pure/order.ts';
import { edgesByNamespace } from './input.ts';
import type { DerivedSet } from './policies.ts';
import { deriveCandidates, narrower } from './policies.ts';

/**
 * The cluster as it would be when every namespace that is no system namespace has reached a phase. All of them at once and at the end:
 * what happens on the way is the plan's matter.
 */
export interface AssumedState {
  readonly phase: PhaseName;
  readonly view: View;
  /** Edges that must keep working in it, by namespace. */
  readonly kept: ReadonlyMap<string, readonly Edge[]>;
  /** The writes that lead here from the state before, by namespace. */
  readonly steps: ReadonlyMap<string, readonly Step[]>;
}

export interface AssumedStates {
  /** The state now, under the name `none`, then one for each phase that could be made. */
  readonly states: ReadonlyMap<PhaseName, AssumedState>;
  /** Candidates of today: NetworkPolicies as things are, principals as they will be in the mesh. */
  readonly candidates: DerivedSet;
  /** Why states of the mesh are missing; undefined where they are not. */
  readonly noMesh: string | undefined;
}

/** Assumes the phases one after another. */
export function assumeStates(view: View, namespaces: readonly string[]): AssumedStates {
  const states = new Map<PhaseName, AssumedState>();
  const now: AssumedState = { phase: 'none', view, kept: keptByNamespace(view.edges), steps: new Map() };
  states.set('none', now);
  const derived = deriveCandidates(view, namespaces, now.kept, 'network');
  states.set('monitor', { ...now, phase: 'monitor' });
  const allowed = allowList(now, namespaces, derived);
  states.set('allow-list', allowed);
  const noMesh = whyNoMesh(view.inventory);
  // Without a mesh nobody has a principal that a policy could name.
  if (noMesh !== undefined) return { states, candidates: derived, noMesh };
  const { state: joined, candidates } = join(allowed, namespaces);
  states.set('permissive-mtls', joined);
  const strict = harden(joined, namespaces);
  states.set('strict-mtls', strict.state);
  const identity = identify(strict.state, namespaces, strict.exempt);
  states.set('identity', identity.state);
  return {
    states,
    candidates: {
      all: [...derived.all, ...identity.candidates.all],
      problems: [
        ...derived.problems,
        ...candidates.problems.filter(
          (one) => !derived.problems.some((old) => old.subject === one.subject && old.text === one.text),
        ),
      ],
    },
    noMesh: undefined,
  };
}

function keptByNamespace(edges: readonly Edge[]): ReadonlyMap<string, readonly Edge[]> {
  return edgesByNamespace(keptEdges(edges));
}

function whyNoMesh({ facts }: Inventory): string | undefined {
  if (facts.mesh.kind === 'none') return `there is no mesh: ${facts.mesh.because}`;
  if (facts.mesh.kind === 'unknown') return `whether there is a mesh is not known: ${facts.mesh.because}`;
  if (facts.mesh.mode !== 'sidecar') return `the mesh runs in mode ${facts.mesh.mode}, which is not judged`;
  return undefined;
}

/** Namespaces that have this phase still before them. */
function ahead(view: View, namespaces: readonly string[], phase: PhaseName): readonly string[] {
  return namespaces.filter((name) => phaseIndex(view.phases.get(name) ?? 'none') < phaseIndex(phase));
}

/** The inventory with these policies in the place of those of the same name. */
function withPolicies(
  inventory: Inventory,
  added: readonly KubeManifest[],
  gone: (policy: KubeManifest) => boolean,
): Inventory {
  const keys = new Set(added.map((policy) => refKey(refOf(policy))));
  return {
    ...inventory,
    policies: [...inventory.policies.filter((policy) => !keys.has(refKey(refOf(policy))) && !gone(policy)), ...added],
  };
}

const NONE = (): boolean => false;

function finish(
  before: AssumedState,
  phase: PhaseName,
  inventory: Inventory,
  draft: Draft,
  edges: readonly Edge[],
  objects: readonly KubeManifest[],
): AssumedState {
  const phases = new Map(before.view.phases);
  const moved = groupBy(draft.steps, (step) => step.namespace);
  for (const name of moved.keys())
    if (phaseIndex(phases.get(name) ?? 'none') < phaseIndex(phase)) phases.set(name, phase);
  return {
    phase,
    view: { ...before.view, inventory, edges, snapshot: { ...before.view.snapshot, objects }, phases },
    kept: edges === before.view.edges ? before.kept : keptByNamespace(edges),
    steps: moved,
  };
}

function allObjects(view: View, steps: readonly Step[]): readonly KubeManifest[] {
  // One pass where the order of objects does not matter; applyToObjects keeps them sorted, at a price for each change.
  if (steps.length < 50)
    return steps.reduce((objects, step) => applyToObjects(objects, step.change), view.snapshot.objects);
  const draft = draftSteps(view.snapshot.objects);
  const out = new Map(view.snapshot.objects.map((object) => [refKey(refOf(object)), object]));
  for (const { change } of steps) {
    if (change.kind === 'create') out.set(refKey(refOf(change.object)), change.object);
    if (change.kind === 'edit') {
      const key = refKey(change.ref);
      const live = out.get(key) ?? draft.byKey(key);
      if (live !== undefined) for (const one of applyToObjects([live], change)) out.set(key, one);
    }
    if (change.kind === 'delete') out.delete(refKey(change.ref));
  }
  return [...out.values()].sort((a, b) => (refKey(refOf(a)) < refKey(refOf(b)) ? -1 : 1));
}

function allowList(before: AssumedState, namespaces: readonly string[], derived: DerivedSet): AssumedState {
  const { view } = before;
  const draft = draftSteps(view.snapshot.objects);
  const made: KubeManifest[] = [];
  const moving = new Set(ahead(view, namespaces, 'allow-list'));
  for (const { workload, purpose, object } of derived.all) {
    if (purpose === 'principals' || !moving.has(workload.namespace)) continue;
    made.push(object);
    draft.ensure(object, {
      namespace: workload.namespace,
      phase: 'allow-list',
      id: `${workload.kind.toLowerCase()}-${workload.name}-${purpose}`,
      title: '',
      workload: workload.id,
      direction: purpose,
    });
  }
  for (const namespace of moving) {
    const object = buildDefaultDeny({ name: 'sallyport-default-deny', namespace });
    made.push(object);
    draft.ensure(object, { namespace, phase: 'allow-list', id: `${namespace}-default-deny`, title: '' });
  }
  const inventory = withPolicies(view.inventory, made, NONE);
  return finish(before, 'allow-list', inventory, draft, view.edges, allObjects(view, draft.steps));
}

/** Every workload that can takes a sidecar; pods from before are gone. The allow-list follows. */
function join(
  before: AssumedState,
  namespaces: readonly string[],
): { readonly state: AssumedState; readonly candidates: DerivedSet } {
  const { view } = before;
  const draft = draftSteps(view.snapshot.objects);
  const moving = new Set(ahead(view, namespaces, 'permissive-mtls'));
  const replaced = new Set<string>();
  const byNamespace = groupBy(view.inventory.workloads, (workload) => workload.namespace);
  const permissive: KubeManifest[] = [];
  const narrow = narrower(view.inventory);
  for (const namespace of moving) {
    const mine = byNamespace.get(namespace) ?? [];
    const own = { ...view, namespace, inventory: narrow(new Set([namespace])) };
    const object = buildPeerAuthentication({ name: 'sallyport-default', namespace }, 'PERMISSIVE');
    if (!namespaceWideOf(view.inventory, namespace)) {
      permissive.push(object);
      draft.ensure(object, { namespace, phase: 'permissive-mtls', id: `${namespace}-permissive`, title: '' });
    }
    for (const workload of mine) {
      if (inMesh(workload)) continue;
      if (canJoin(workload)) joinByLabel(own, draft, workload);
      else if (!joinsByNamespace(workload)) continue;
      for (const podSet of workload.podSets) for (const pod of podSet.pods) replaced.add(`${namespace}/${pod.name}`);
    }
    labelNamespace(own, draft, namespace);
  }
  const objects = allObjects(view, draft.steps).filter(
    (object) => !(isObject(object, '', 'Pod') && replaced.has(`${namespaceOf(object) ?? ''}/${object.metadata.name}`)),
  );
  const rebuilt = view.rebuild({ ...view.snapshot, objects });
  const edges = view.edgesIn(rebuilt);
  const candidates = deriveCandidates({ ...view, inventory: rebuilt }, namespaces, keptByNamespace(edges), 'network');
  const policies = candidates.all.map((one) => one.object);
  const inventory = withPolicies(rebuilt, policies, NONE);
  return { state: finish(before, 'permissive-mtls', inventory, draft, edges, objects), candidates };
}

function joinByLabel(view: View, draft: Draft, workload: Workload): void {
  const live = draft.byKey(refKey(workload.ref));
  const template = workload.podSets[0]?.templatePath;
  if (live === undefined || template === undefined) return;
  const path = [...template, 'metadata', 'labels'];
  const labels = joinLabels(view, workload);
  draft.edit(
    live,
    isJsonObject(getPath(live, path))
      ? Object.entries(labels).map(([key, after]) => ({ path: [...path, key], after }))
      : [{ path, after: labels }],
    {
      namespace: workload.namespace,
      phase: 'permissive-mtls',
      id: `${workload.namespace}-${workload.kind.toLowerCase()}-${workload.name}-join`,
      title: '',
      workload: workload.id,
    },
  );
}

function labelNamespace(view: View, draft: Draft, namespace: string): void {
  const live = draft.byKey(`/Namespace//${namespace}`);
  if (live === undefined) return;
  const labels = asObject(live.metadata['labels']);
  if (labels['istio-injection'] !== undefined || labels['istio.io/rev'] !== undefined) return;
  const revision = meshRevision(view.inventory.facts.mesh);
  const key = revision === undefined ? 'istio-injection' : 'istio.io/rev';
  draft.edit(live, [{ path: ['metadata', 'labels', key], after: revision ?? 'enabled' }], {
    namespace,
    phase: 'permissive-mtls',
    id: `${namespace}-label`,
    title: '',
  });
}

function isNamespaceWide(policy: KubeManifest, namespace: string): boolean {
  return (
    isObject(policy, 'security.istio.io', 'PeerAuthentication') &&
    namespaceOf(policy) === namespace &&
    getPath(policy, ['spec', 'selector']) === undefined
  );
}

function namespaceWideOf(inventory: Inventory, namespace: string): boolean {
  return inventory.policies.some((policy) => isNamespaceWide(policy, namespace));
}

/** `workload:port` of every port whose callers on record can't all speak mTLS in this state. */
function plaintextPorts(
  { view, kept }: AssumedState,
  moving: ReadonlySet<string>,
): ReadonlyMap<string, ReadonlySet<number>> {
  const world = compileWorld(view.inventory);
  const meshed = new Map(view.inventory.workloads.filter(inMesh).map((workload) => [workload.id, workload]));
  const out = new Map<string, Set<number>>();
  for (const namespace of moving)
    for (const edge of kept.get(namespace) ?? []) {
      if (edge.dst.kind !== 'workload' || edge.protocol !== 'TCP' || UNREDIRECTED_PORTS.has(edge.port)) continue;
      const dst = meshed.get(edge.dst.id);
      if (dst === undefined || out.get(dst.id)?.has(edge.port) === true) continue;
      const probed = dst.podSets.some((set) => set.containers.some((one) => one.probePorts.includes(edge.port)));
      if (edge.src.kind === 'node' && probed) continue;
      if (transportOf(world, edge.src, edge.dst, edge.port).kind === 'mtls') continue;
      const ports = out.get(dst.id);
      if (ports === undefined) out.set(dst.id, new Set([edge.port]));
      else ports.add(edge.port);
    }
  return out;
}

/**
 * mTLS alone, but for the ports that a person exempted and those whose callers on record cannot speak it: as long as nobody has decided
 * about them, STRICT is refused there.
 */
function harden(
  before: AssumedState,
  namespaces: readonly string[],
): { readonly state: AssumedState; readonly exempt: ReadonlyMap<string, ReadonlySet<number>> } {
  const { view } = before;
  const draft = draftSteps(view.snapshot.objects);
  const moving = new Set(ahead(view, namespaces, 'strict-mtls'));
  const byNamespace = groupBy(view.inventory.workloads, (workload) => workload.namespace);
  const exempt = plaintextPorts(before, moving);
  const narrow = narrower(view.inventory);
  const made: KubeManifest[] = [];
  for (const namespace of moving) {
    const own = { ...view, namespace, edges: before.kept.get(namespace) ?? [] };
    const inventory = narrow(new Set([namespace]));
    for (const workload of (byNamespace.get(namespace) ?? []).filter(inMesh)) {
      const ports = new Set([...(exempt.get(workload.id) ?? []), ...exemptPorts(own, workload)]);
      if (ports.size === 0) continue;
      const choice = chooseSelector(workload, inventory);
      if (choice.kind !== 'exact') continue;
      made.push(
        buildPeerAuthentication(
          { name: policyName(workload, inventory, ''), namespace, workload: workload.id },
          'STRICT',
          choice.labels,
          [...ports],
        ),
      );
    }
    made.push(buildPeerAuthentication({ name: 'sallyport-default', namespace }, 'STRICT'));
  }
  for (const object of made)
    draft.ensure(object, {
      namespace: namespaceOf(object) ?? '',
      phase: 'strict-mtls',
      id: `${namespaceOf(object) ?? ''}-${object.metadata.name}`,
      title: '',
    });
  // Where somebody else's object decides, it is that one that is edited.
  const inventory = withPolicies(view.inventory, made, (policy) => {
    const namespace = namespaceOf(policy);
    return namespace !== undefined && moving.has(namespace) && isNamespaceWide(policy, namespace);
  });
  return { state: finish(before, 'strict-mtls', inventory, draft, view.edges, view.snapshot.objects), exempt };
}

/** An account for every workload where that can be done by itself, and policies on principals. */
function identify(
  before: AssumedState,
  namespaces: readonly string[],
  exempt: ReadonlyMap<string, ReadonlySet<number>>,
): { readonly state: AssumedState; readonly candidates: DerivedSet } {
  const { view } = before;
  const moving = new Set(ahead(view, namespaces, 'identity'));
  const accounts = new Map<string, string>();
  const narrow = narrower(view.inventory);
  const rbac = groupBy(
    view.snapshot.objects.filter(
      (object) =>
        isObject(object, '', 'ServiceAccount') ||
        object.kind.endsWith('RoleBinding') ||
        (accountKindOf(object) !== undefined && !isObject(object, '', 'Pod')),
    ),
    (object) => namespaceOf(object) ?? '',
  );
  for (const [namespace, mine] of groupBy(view.inventory.workloads, (workload) => workload.namespace)) {
    if (!moving.has(namespace)) continue;
    const own = narrow(new Set([namespace]));
    const objects = [...(rbac.get(namespace) ?? []), ...(rbac.get('') ?? [])];
    const splits = mine.flatMap((workload) => splitAccounts(workload, own, objects));
    // The last sharer of an account keeps it.
    for (const [, sharers] of groupBy(splits, (split) => split.from)) {
      const able = sharers.filter((split) => split.obstacles.length === 0);
      const going = able.length === sharers.length ? able.slice(0, -1) : able;
      for (const split of going) accounts.set(`${split.workload.id}\n${split.from}`, split.to);
    }
  }
  const moved: Inventory = {
    ...view.inventory,
    workloads: view.inventory.workloads.map((workload) => {
      const moves = workload.podSets.some((podSet) => accounts.has(`${workload.id}\n${podSet.serviceAccount}`));
      if (!moves) return workload;
      const podSets = workload.podSets.map((podSet) => ({
        ...podSet,
        serviceAccount: accounts.get(`${workload.id}\n${podSet.serviceAccount}`) ?? podSet.serviceAccount,
      }));
      return { ...workload, podSets };
    }),
  };
  const draft = draftSteps(view.snapshot.objects);
  const candidates = deriveCandidates(
    { ...view, inventory: moved },
    namespaces,
    before.kept,
    'principals',
    (workload, port) => exempt.get(workload)?.has(port) === true,
  );
  const made: KubeManifest[] = [];
  const meshed = new Set(moved.workloads.filter(inMesh).map((workload) => workload.id));
  for (const { workload, purpose, object } of candidates.all) {
    if (purpose !== 'principals' || !moving.has(workload.namespace) || !meshed.has(workload.id)) continue;
    made.push(object);
    draft.ensure(object, {
      namespace: workload.namespace,
      phase: 'identity',
      id: `${workload.namespace}-${workload.kind.toLowerCase()}-${workload.name}`,
      title: '',
      workload: workload.id,
    });
  }
  for (const namespace of moving) {
    if (!moved.workloads.some((workload) => workload.namespace === namespace && meshed.has(workload.id))) continue;
    const object = buildAuthorizationPolicy({ name: 'sallyport-default-deny', namespace }, undefined, []);
    made.push(object);
    draft.ensure(object, { namespace, phase: 'identity', id: `${namespace}-default-deny`, title: '' });
  }
  return {
    state: finish(before, 'identity', withPolicies(moved, made, NONE), draft, view.edges, view.snapshot.objects),
    candidates,
  };
}
