// What a plan rests on beside the objects that it writes: read again before each step that may take a connection away.
import type { AppliedStep, View } from '../engine/contract.ts';
import type { Edge } from '../model/edge.ts';
import { endpointKey, endpointNamespace } from '../model/edge.ts';
import { GRANT_LABEL } from '../model/grant.ts';
import type { KubeManifest, ObjectRef } from '../model/object.ts';
import { annotationsOf, formatRef, groupOf, labelsOf, namespaceOf, objectKey, refKey, refOf } from '../model/object.ts';
import { DRY_RUN_ANNOTATION } from '../objects/build.ts';
import type { FieldPath, Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, equalJson, getPath, isJsonObject } from '../shared/pure/json.ts';
import { sortBy, uniqueSorted } from '../shared/pure/order.ts';
import type { Change } from './change.ts';
import { changeRef, editObject } from './change.ts';
import { checkDrift } from './drift.ts';
import { groundPart, isNamespace, isReplaced, namedPart, podsToldBy, wordsOf } from './ground-part.ts';
import { firstDifference } from './meaning.ts';
import type { Step } from './plan.ts';
import type { Resolved } from './rollback.ts';
import { bearsOnTraffic } from './soak.ts';

/** Objects of one kind in some namespaces; a kind without namespaces is read whole. */
export interface KindIn {
  readonly group: string;
  readonly kind: string;
  readonly namespaces: readonly string[];
}

/** What a plan was made on, as far as its steps rest on it. */
export interface Ground {
  readonly lists: readonly GroundList[];
  /** For steps that act in every namespace, where the plan has one. */
  readonly wide?: readonly GroundList[];
  /** The mesh's root namespace, where there is a mesh: what stands there acts in every namespace. */
  readonly root?: string;
  /** The parts of objects that connections rest on (`groundPart`), in the state that the plan was made for. */
  readonly objects: readonly KubeManifest[];
}

export interface GroundList extends KindIn {
  /**
   * `network`: which packets pass. `mesh`: who may call, and how. `both`: where the two find pods and ports, and in ambient mode what sends packets
   * through a waypoint and who may come through an open tunnel port.
   */
  readonly layer: 'network' | 'mesh' | 'both';
  /** `all`: one more or one less matters too. `known`: those that are on record. `written`: those that the run's own steps write. */
  readonly counts: 'all' | 'known' | 'written';
}

/** The kinds that the simulation judges by (model/evaluate). */
const KINDS: readonly (readonly ['network' | 'mesh', string, readonly string[]])[] = [
  ['network', 'networking.k8s.io', ['NetworkPolicy']],
  ['network', 'policy.networking.k8s.io', ['AdminNetworkPolicy', 'BaselineAdminNetworkPolicy', 'ClusterNetworkPolicy']],
  [
    'network',
    'cilium.io',
    [
      'CiliumNetworkPolicy',
      'CiliumClusterwideNetworkPolicy',
      'CiliumCIDRGroup',
      'CiliumEgressGatewayPolicy',
      'CiliumLocalRedirectPolicy',
      'CiliumEnvoyConfig',
      'CiliumClusterwideEnvoyConfig',
    ],
  ],
  ...['projectcalico.org', 'crd.projectcalico.org'].map(
    (group) =>
      [
        'network',
        group,
        ['NetworkPolicy', 'GlobalNetworkPolicy', 'NetworkSet', 'GlobalNetworkSet', 'HostEndpoint', 'Tier'],
      ] as const,
  ),
  ['network', 'crd.antrea.io', ['ClusterNetworkPolicy', 'NetworkPolicy', 'Tier', 'ClusterGroup', 'Group']],
  ['network', 'k8s.ovn.org', ['EgressFirewall']],
  ['mesh', 'security.istio.io', ['AuthorizationPolicy', 'PeerAuthentication', 'RequestAuthentication']],
  ['mesh', 'networking.istio.io', ['DestinationRule', 'Sidecar', 'ServiceEntry', 'EnvoyFilter']],
  ['mesh', 'extensions.istio.io', ['WasmPlugin']],
  // Waypoints are Gateways.
  ['mesh', 'gateway.networking.k8s.io', ['Gateway']],
  [
    'mesh',
    'policy.linkerd.io',
    [
      'Server',
      'AuthorizationPolicy',
      'ServerAuthorization',
      'MeshTLSAuthentication',
      'NetworkAuthentication',
      'HTTPRoute',
    ],
  ],
];
const POLICY_KINDS: ReadonlyMap<string, 'network' | 'mesh'> = new Map(
  KINDS.flatMap(([layer, group, kinds]) => kinds.map((kind) => [`${group}/${kind}`, layer] as const)),
);
/**
 * What packets follow in ambient mode: a Gateway says whether they go through a waypoint (`istio.io/waypoint-for`), and a policy on callers guards
 * the tunnel port that a step opens.
 */
const AMBIENT_KINDS = new Set(['gateway.networking.k8s.io/Gateway', 'security.istio.io/AuthorizationPolicy']);
const NETWORK_GROUPS = new Set(KINDS.flatMap(([layer, group]) => (layer === 'network' ? [group] : [])));

/** Where connections are found to lead, of every namespace near. */
const PLACES = new Set(['/Service', 'apps/Deployment', 'apps/StatefulSet', 'apps/DaemonSet', 'batch/CronJob']);

/**
 * What these steps rest on in the state that they were planned on. Policies on packets count in the namespaces that they write to; what the
 * mesh and pods' labels say also where their peers by the edges given are, and of the mesh in its root namespace. Objects without a
 * namespace count whole. A step whose object acts in every namespace rests on all of them.
 */
export function groundOf(view: View, steps: readonly Step[], edges: readonly Edge[]): Ground | undefined {
  const tightening = steps.filter((step) => tightens(step));
  if (tightening.length === 0) return undefined;
  const { facts, namespaces } = view.inventory;
  const root = facts.mesh.kind === 'none' ? undefined : facts.mesh.rootNamespace;
  const isAmbient = facts.mesh.kind !== 'none' && facts.mesh.mode !== 'sidecar';
  const reach = new Set(tightening.map(({ change }) => reachOf(change, root)));
  const near = new Set([view.namespace, ...steps.flatMap((step) => namespacesOf(step))]);
  const unread = new Set(view.snapshot.unread);
  const readable = (group: string, kind: string): boolean =>
    !unread.has(`${group}/${kind}`) && !unread.has(`${group}/*`);
  const everywhere = uniqueSorted([...namespaces.map(({ name }) => name), ...near]);
  const make = (wide: boolean): { lists: GroundList[]; places: readonly KubeManifest[] } => {
    const { peers, met } = metBy(view, near, edges, wide);
    const around = new Set([...near, ...peers]);
    const where = {
      network: wide && reach.has('network') ? everywhere : uniqueSorted(near),
      mesh: wide && reach.has('mesh') ? everywhere : uniqueSorted([...around, ...(root === undefined ? [] : [root])]),
    };
    const lists: GroundList[] = [];
    for (const [layer, group, kinds] of KINDS)
      for (const kind of kinds)
        if (readable(group, kind))
          lists.push({
            group,
            kind,
            layer: isAmbient && AMBIENT_KINDS.has(`${group}/${kind}`) ? 'both' : layer,
            counts: 'all',
            namespaces: where[layer],
          });
    const places = view.snapshot.objects.filter((object) => {
      if (POLICY_KINDS.has(groupKind(object))) return false;
      if (isNamespace(object)) return around.has(object.metadata.name);
      return met.has(objectKey(object)) || (PLACES.has(groupKind(object)) && near.has(namespaceOf(object) ?? ''));
    });
    return { lists: [...lists, ...placeLists(places, steps, readable)], places };
  };
  const close = make(false);
  const wide = reach.has('network') || reach.has('mesh') ? make(true) : undefined;
  const lists = [...close.lists, ...(wide?.lists ?? [])];
  const policyOn = placesOf(lists.filter(({ group, kind }) => POLICY_KINDS.has(`${group}/${kind}`)));
  const objects = [
    ...view.snapshot.objects.filter((object) => policyOn(object) !== undefined),
    ...new Set([...close.places, ...(wide?.places ?? [])]),
  ];
  return {
    lists: close.lists,
    ...(wide === undefined ? {} : { wide: wide.lists }),
    ...(root === undefined ? {} : { root }),
    objects: objects.map(groundPart),
  };
}

/** Namespaces beside those near that are spoken with, and the workloads, pods and Services that are; `wide`: by anybody. */
function metBy(
  view: View,
  near: ReadonlySet<string>,
  edges: readonly Edge[],
  wide: boolean,
): { readonly peers: ReadonlySet<string>; readonly met: ReadonlySet<string> } {
  const { workloads, services } = view.inventory;
  const peers = new Set<string>();
  const ends = new Set<string>();
  for (const { src, dst } of edges)
    for (const [end, other] of [
      [src, dst],
      [dst, src],
    ] as const) {
      const [here, there] = [endpointNamespace(end), endpointNamespace(other)];
      if (there === undefined || (!wide && (here === undefined || !near.has(here)))) continue;
      if (!near.has(there)) peers.add(there);
      ends.add(endpointKey(other));
    }
  const met = new Set<string>();
  for (const { id, ref, namespace, podSets } of workloads) {
    // Of a peer's namespace only what is spoken with.
    if (!near.has(namespace) && !ends.has(id)) continue;
    met.add(refKey(ref));
    // What an operator makes of its object, and what an owner that was not read does, is seen at its pods alone.
    const told = podsToldBy(groupOf(ref.apiVersion), ref.kind) === 'template';
    if (told && podSets.every(({ templatePath }) => templatePath !== undefined)) continue;
    for (const { pods } of podSets) for (const { name } of pods) met.add(`/Pod/${namespace}/${name}`);
  }
  for (const { namespace, name, workloads: behind } of services)
    if (near.has(namespace) || behind.some((id) => ends.has(id))) met.add(`/Service/${namespace}/${name}`);
  return { peers, met };
}

/** The lists on which these objects, and those that the steps write beside policies, are found again. */
function placeLists(
  places: readonly KubeManifest[],
  steps: readonly Step[],
  readable: (group: string, kind: string) => boolean,
): readonly GroundList[] {
  const known = new Map<string, Set<string>>();
  const written = new Map<string, Set<string>>();
  const note = (on: Map<string, Set<string>>, key: string, namespace: string | undefined): void => {
    const namespaces = on.get(key) ?? new Set();
    on.set(key, namespaces);
    if (namespace !== undefined) namespaces.add(namespace);
  };
  for (const object of places)
    note(known, groupKind(object), isNamespace(object) ? object.metadata.name : namespaceOf(object));
  for (const { change } of steps) {
    const ref = changeRef(change);
    const key = `${groupOf(ref.apiVersion)}/${ref.kind}`;
    if (POLICY_KINDS.has(key) || !readable(groupOf(ref.apiVersion), ref.kind)) continue;
    if (key === '/Namespace') note(known, key, ref.name);
    else note(known.has(key) || PLACES.has(key) ? known : written, key, ref.namespace);
  }
  const listed = (on: ReadonlyMap<string, ReadonlySet<string>>, counts: GroundList['counts']): readonly GroundList[] =>
    uniqueSorted(on.keys()).map((key) => {
      const [group = '', kind = ''] = key.split('/');
      return { group, kind, layer: 'both', counts, namespaces: uniqueSorted(on.get(key) ?? []) };
    });
  return [...listed(known, 'known'), ...listed(written, 'written')];
}

function groupKind(object: KubeManifest): string {
  return `${groupOf(object.apiVersion)}/${object.kind}`;
}

/** Kinds of Istio that clients in every namespace follow unless they say otherwise (istio.io, `exportTo`). */
const EXPORTED_KINDS = new Set(['DestinationRule', 'ServiceEntry', 'VirtualService']);

/**
 * Does what is written act in namespaces that the step does not name, and on which layer? A policy without a namespace does; of Istio what
 * stands in the root namespace, and what is exported to others.
 */
export function reachOf(change: Change, root: string | undefined): 'network' | 'mesh' | undefined {
  if (!bearsOnTraffic(change)) return undefined;
  const { apiVersion, kind, namespace } = changeRef(change);
  const group = groupOf(apiVersion);
  if (namespace === undefined)
    return POLICY_KINDS.get(`${group}/${kind}`) ?? (NETWORK_GROUPS.has(group) ? 'network' : undefined);
  if (!group.endsWith('.istio.io')) return undefined;
  if (namespace === root) return 'mesh';
  return group === 'networking.istio.io' && EXPORTED_KINDS.has(kind) && !isPrivate(change) ? 'mesh' : undefined;
}

/** Of an edit the rest of the object is not known. */
function isPrivate(change: Change): boolean {
  if (change.kind === 'edit') return false;
  const object = change.kind === 'create' ? change.object : change.before;
  return equalJson(asObject(object['spec'])['exportTo'], ['.']);
}

function namespacesOf({ namespace, change }: Step): readonly string[] {
  const ref = changeRef(change);
  return [namespace, ...(ref.namespace === undefined ? [] : [ref.namespace])];
}

/** Finds the list, other than of what is only written, that an object is on. */
function placesOf(lists: readonly GroundList[]): (object: KubeManifest) => GroundList | undefined {
  const byKind = new Map(
    lists
      .filter(({ counts }) => counts !== 'written')
      .map((list) => [`${list.group}/${list.kind}`, { list, namespaces: new Set(list.namespaces) }]),
  );
  return (object) => {
    const group = groupOf(object.apiVersion);
    const found = byKind.get(`${group}/${object.kind}`);
    if (found === undefined) return undefined;
    // Calico's API server shows the policies of Kubernetes once more under names of its own.
    if (group === 'projectcalico.org' && /^k(?:np|anp|banp|cnp)\./u.test(object.metadata.name)) return undefined;
    // One for each node: they come and go with the nodes.
    if (object.kind === 'HostEndpoint' && labelsOf(object)[CALICO_MAKER_LABEL] === 'calico-kube-controllers')
      return undefined;
    const namespace = isNamespace(object) ? object.metadata.name : namespaceOf(object);
    return namespace === undefined || found.namespaces.has(namespace) ? found.list : undefined;
  };
}

/** On the host endpoints that Calico makes by itself (`autoCreate` in its KubeControllersConfiguration). */
const CALICO_MAKER_LABEL = 'projectcalico.org/created-by';

/** Kinds of policy whose creation denies nothing, or that are written to be counted. */
const REHEARSED_KINDS = new Set(['StagedNetworkPolicy', 'StagedGlobalNetworkPolicy', 'StagedKubernetesNetworkPolicy']);

/**
 * May the step take a connection away, given that others change things meanwhile? Everything may that bears on traffic, but for what is
 * known to admit more alone: peers or rules that are added, mTLS that is made optional, and policies that are rehearsed.
 */
export function tightens({ change, effects }: Pick<Step, 'change' | 'effects'>): boolean {
  if (effects.some(({ kind }) => kind === 'rollout')) return true;
  if (!bearsOnTraffic(change)) return false;
  const { kind } = changeRef(change);
  if (REHEARSED_KINDS.has(kind)) return false;
  switch (change.kind) {
    case 'create':
      return !admitsOnly(change.object);
    // Taking a policy away opens what no other selects, and closes what another does.
    case 'delete':
      return true;
    case 'edit':
      return !change.fields.every(({ path, before, after }) => addsOnly(kind, path, before, after));
  }
}

function admitsOnly(object: KubeManifest): boolean {
  if (object.kind === 'PeerAuthentication') return isPermissive(object['spec']);
  return (
    object.kind === 'AuthorizationPolicy' &&
    (annotationsOf(object)[DRY_RUN_ANNOTATION] === 'true' || asObject(object['spec'])['action'] === 'AUDIT')
  );
}

function isPermissive(spec: Json | undefined): boolean {
  const { mtls, portLevelMtls } = asObject(spec);
  const modes = [asObject(mtls)['mode'], ...Object.values(asObject(portLevelMtls)).map((one) => asObject(one)['mode'])];
  return modes.every((mode) => mode === 'PERMISSIVE');
}

function addsOnly(kind: string, path: FieldPath, before: Json | undefined, after: Json | undefined): boolean {
  if (path[0] === 'metadata' && path[1] === 'annotations' && path[2]?.includes('istio.io/') === false) return true;
  if (path.join('.') !== 'spec' || !isJsonObject(before) || !isJsonObject(after)) return false;
  if (kind === 'PeerAuthentication')
    return equalJson(before['selector'], after['selector']) && isPermissive(after) && portsOf(after) === 0;
  const rules = kind === 'NetworkPolicy' ? ['ingress', 'egress'] : kind === 'AuthorizationPolicy' ? ['rules'] : [];
  if (rules.length === 0) return false;
  if (kind === 'AuthorizationPolicy' && (before['action'] ?? 'ALLOW') !== 'ALLOW') return false;
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].every((key) => {
    if (!rules.includes(key)) return equalJson(before[key], after[key]);
    const now = asArray(after[key]);
    return asArray(before[key]).every((rule) => now.some((one) => equalJson(one, rule)));
  });
}

function portsOf(spec: JsonObject): number {
  return Object.keys(asObject(spec['portLevelMtls'])).length;
}

/** The lists to read again before a step: one that isolates packets does not rest on what the mesh allows, but for what they follow in ambient mode. */
export function listsFor(
  { lists, wide, root }: Ground,
  { change, effects }: Pick<Step, 'change' | 'effects'>,
): readonly GroundList[] {
  const network =
    NETWORK_GROUPS.has(groupOf(changeRef(change).apiVersion)) && !effects.some(({ kind }) => kind === 'rollout');
  const all = wide !== undefined && reachOf(change, root) !== undefined ? wide : lists;
  return network ? all.filter(({ layer, counts }) => layer !== 'mesh' && counts !== 'written') : all;
}

/** The lists of several steps as one. */
export function listsForAll(ground: Ground, steps: readonly Pick<Step, 'change' | 'effects'>[]): readonly GroundList[] {
  const byKind = new Map<string, GroundList>();
  for (const step of steps)
    for (const list of listsFor(ground, step)) {
      const key = `${list.group}/${list.kind} ${list.counts}`;
      const namespaces = uniqueSorted([...(byKind.get(key)?.namespaces ?? []), ...list.namespaces]);
      byKind.set(key, { ...list, namespaces });
    }
  return [...byKind.values()];
}

/** A place where the cluster is not what the next step was judged on. Three versions: absent is undefined. */
export interface GroundDifference {
  readonly object: string;
  readonly ref: ObjectRef;
  readonly path: FieldPath;
  /** When the plan was made. */
  readonly planned: Json | undefined;
  /** As the steps so far leave it. */
  readonly expected: Json | undefined;
  readonly now: Json | undefined;
  /** Written by the run. */
  readonly ours: boolean;
}

/** A step of the run that is done, oldest first. */
export type DoneStep = AppliedStep;

/**
 * Compares what was read again with the state that the plan was made on, changed as the steps done so far change it. What others do beside
 * it (images, replicas, annotations of their own, new workloads, labels that nothing selects by) does not count, nor does access of a grant
 * that has ended meanwhile. `steps` are all of the run: what they name counts too.
 * An object that was made anew as it was has the same effect. What a person decided to keep of theirs is accepted where no connection rests on it
 * (accounts, bindings); what one does rest on is judged by a new plan alone.
 */
export function compareGround(
  ground: Ground,
  lists: readonly GroundList[],
  done: readonly DoneStep[],
  live: readonly KubeManifest[],
  resolved: readonly Resolved[] = [],
  steps: readonly Pick<Step, 'change'>[] = [],
): readonly GroundDifference[] {
  const placeOf = placesOf(lists);
  const words = wordsOf(
    ground.objects,
    [...done, ...steps].map(({ change }) => change),
  );
  const written = new Set(done.map((step) => refKey(changeRef(step.change))));
  const planned = byKey(ground.objects.filter((object) => placeOf(object) !== undefined));
  const expected = afterSteps(planned, done, placeOf);
  const found = byKey(live.filter((object) => placeOf(object) !== undefined).map(groundPart));
  const partOf = (key: string, object: KubeManifest, beside: KubeManifest): KubeManifest => ({
    ...namedPart(object, words, planned.get(key), beside),
    apiVersion: '',
  });
  const differences: GroundDifference[] = [];
  for (const key of uniqueSorted([...expected.keys(), ...found.keys()])) {
    const [was, wanted, now] = [planned.get(key), expected.get(key), found.get(key)];
    const any = now ?? wanted;
    if (any === undefined) continue;
    const counts = placeOf(any)?.counts;
    const mine = written.has(key);
    const add = (path: FieldPath, of: (object: KubeManifest | undefined) => Json | undefined): void => {
      differences.push({
        object: formatRef(refOf(any)),
        ref: refOf(any),
        path,
        planned: of(was),
        expected: of(wanted),
        now: of(now),
        ours: mine,
      });
    };
    if (wanted === undefined || now === undefined) {
      // A new workload is not on record yet, and one that is gone calls nobody.
      if (counts === 'known' && !written.has(key)) continue;
      if (now === undefined && labelsOf(any)[GRANT_LABEL] !== undefined) continue;
      // Told to go by a step, and about to be gone.
      if (wanted === undefined && written.has(key) && any.metadata['deletionTimestamp'] !== undefined) continue;
      add([], (object) => object?.['spec'] ?? object);
      continue;
    }
    if (isReplaced(wanted, now)) continue;
    const path = firstDifference(groupOf(any.apiVersion), partOf(key, wanted, now), partOf(key, now, wanted));
    if (path !== undefined) add(path, (object) => getPath(object, path));
  }
  const others = done.filter(({ change }) => {
    const { apiVersion, kind } = changeRef(change);
    return lists.some((one) => one.counts === 'written' && one.group === groupOf(apiVersion) && one.kind === kind);
  });
  for (const one of checkDrift(others, live, resolved)) {
    const step = others.findLast(({ change }) => formatRef(changeRef(change)) === one.object);
    if (step === undefined) continue;
    const before =
      step.change.kind === 'edit'
        ? step.change.fields.find(({ path }) => equalJson([...path], [...one.field]))
        : undefined;
    differences.push({
      object: one.object,
      ref: changeRef(step.change),
      path: one.field,
      planned: before?.before,
      expected: one.ours,
      now: one.now ?? undefined,
      ours: true,
    });
  }
  return sortBy(differences, ({ object, path }) => `${object}\n${path.join('\n')}`);
}

function byKey(objects: readonly KubeManifest[]): Map<string, KubeManifest> {
  return new Map(objects.map((object) => [refKey(refOf(object)), object]));
}

function afterSteps(
  planned: ReadonlyMap<string, KubeManifest>,
  done: readonly DoneStep[],
  placeOf: (object: KubeManifest) => GroundList | undefined,
): ReadonlyMap<string, KubeManifest> {
  const now = new Map(planned);
  for (const { change } of done) {
    const key = refKey(changeRef(change));
    const live = now.get(key);
    switch (change.kind) {
      case 'create':
        if (placeOf(change.object) !== undefined) now.set(key, groundPart(change.object));
        break;
      case 'delete':
        now.delete(key);
        break;
      case 'edit':
        if (live !== undefined) now.set(key, groundPart(editObject(live, change.fields)));
        break;
    }
  }
  return now;
}
