// What a plan rests on beside the objects that it writes: read again before each step that may take a connection away.
import type { AppliedStep, View } from '../engine/contract.ts';
import type { Edge } from '../model/edge.ts';
import { endpointKey, endpointNamespace } from '../model/edge.ts';
import { GRANT_LABEL } from '../model/grant.ts';
import type { KubeManifest, ObjectRef } from '../model/object.ts';
import { annotationsOf, formatRef, groupOf, labelsOf, namespaceOf, refKey, refOf } from '../model/object.ts';
import { DRY_RUN_ANNOTATION, isOwn } from '../objects/build.ts';
import type { FieldPath, Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, equalJson, getPath, isJsonObject, setPath } from '../shared/pure/json.ts';
import { sortBy, uniqueSorted } from '../shared/pure/order.ts';
import type { Change } from './change.ts';
import { changeRef, editObject } from './change.ts';
import { checkDrift } from './drift.ts';
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
  /** The parts of objects that connections rest on (`groundPart`), in the state that the plan was made for. */
  readonly objects: readonly KubeManifest[];
}

export interface GroundList extends KindIn {
  /** `network`: which packets pass. `mesh`: who may call, and how. `both`: where the two find pods and ports. */
  readonly layer: 'network' | 'mesh' | 'both';
  /** `all`: one more or one less matters too. `known`: those that are on record. `written`: those that the run's own steps write. */
  readonly counts: 'all' | 'known' | 'written';
}

/** The kinds that the simulation judges by (model/evaluate) and those in which it finds pods, ports and labels. */
const KINDS: readonly (readonly [GroundList['layer'], GroundList['counts'], string, readonly string[]])[] = [
  ['network', 'all', 'networking.k8s.io', ['NetworkPolicy']],
  [
    'network',
    'all',
    'policy.networking.k8s.io',
    ['AdminNetworkPolicy', 'BaselineAdminNetworkPolicy', 'ClusterNetworkPolicy'],
  ],
  [
    'network',
    'all',
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
        'all',
        group,
        ['NetworkPolicy', 'GlobalNetworkPolicy', 'NetworkSet', 'GlobalNetworkSet', 'HostEndpoint', 'Tier'],
      ] as const,
  ),
  ['network', 'all', 'crd.antrea.io', ['ClusterNetworkPolicy', 'NetworkPolicy', 'Tier', 'ClusterGroup', 'Group']],
  ['network', 'all', 'k8s.ovn.org', ['EgressFirewall']],
  ['mesh', 'all', 'security.istio.io', ['AuthorizationPolicy', 'PeerAuthentication', 'RequestAuthentication']],
  ['mesh', 'all', 'networking.istio.io', ['DestinationRule', 'Sidecar', 'ServiceEntry', 'EnvoyFilter']],
  ['mesh', 'all', 'extensions.istio.io', ['WasmPlugin']],
  // Waypoints are Gateways.
  ['mesh', 'all', 'gateway.networking.k8s.io', ['Gateway']],
  [
    'mesh',
    'all',
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
  ['both', 'known', '', ['Namespace', 'Service']],
  ['both', 'known', 'apps', ['Deployment', 'StatefulSet', 'DaemonSet']],
  ['both', 'known', 'batch', ['CronJob']],
];
const KNOWN_KINDS = new Map(
  KINDS.flatMap(([layer, counts, group, kinds]) => kinds.map((kind) => [`${group}/${kind}`, { layer, counts }])),
);
const NETWORK_GROUPS = new Set(KINDS.flatMap(([layer, , group]) => (layer === 'network' ? [group] : [])));

/**
 * What these steps rest on in the state that they were planned on. Policies on packets count in the namespaces that they write to; what the
 * mesh and pods' labels say also where their peers by the edges given are, and of the mesh in its root namespace. Objects without a
 * namespace count whole.
 */
export function groundOf(view: View, steps: readonly Step[], edges: readonly Edge[]): Ground | undefined {
  if (!steps.some((step) => tightens(step))) return undefined;
  const { workloads, services, facts } = view.inventory;
  const near = new Set([view.namespace, ...steps.flatMap((step) => namespacesOf(step))]);
  const peers = new Set<string>();
  const callers = new Set<string>();
  for (const { src, dst } of edges)
    for (const [end, other] of [
      [src, dst],
      [dst, src],
    ] as const) {
      const [here, there] = [endpointNamespace(end), endpointNamespace(other)];
      if (here === undefined || !near.has(here) || there === undefined || near.has(there)) continue;
      peers.add(there);
      callers.add(endpointKey(other));
    }
  const around = uniqueSorted([...near, ...peers]);
  const ofMesh = facts.mesh.kind === 'none' ? around : uniqueSorted([...around, facts.mesh.rootNamespace]);
  const where = { network: uniqueSorted(near), mesh: ofMesh, both: around };
  const unread = new Set(view.snapshot.unread);
  const readable = (group: string, kind: string): boolean =>
    !unread.has(`${group}/${kind}`) && !unread.has(`${group}/*`);
  const lists: GroundList[] = [];
  for (const [layer, counts, group, kinds] of KINDS)
    for (const kind of kinds)
      if (readable(group, kind)) lists.push({ group, kind, layer, counts, namespaces: where[layer] });
  const own = new Map<string, Set<string>>();
  for (const { change } of steps) {
    const { apiVersion, kind, namespace } = changeRef(change);
    const key = `${groupOf(apiVersion)}/${kind}`;
    if (KNOWN_KINDS.has(key) || !readable(groupOf(apiVersion), kind)) continue;
    const places = own.get(key) ?? new Set();
    own.set(key, places);
    if (namespace !== undefined) places.add(namespace);
  }
  for (const key of uniqueSorted(own.keys())) {
    const [group = '', kind = ''] = key.split('/');
    lists.push({ group, kind, layer: 'both', counts: 'written', namespaces: uniqueSorted(own.get(key) ?? []) });
  }
  // Of a peer's namespace only the workloads that are spoken with, and their Services.
  const met = new Set([
    ...workloads.filter(({ id }) => callers.has(id)).map(({ ref }) => refKey(ref)),
    ...services
      .filter((service) => service.workloads.some((id) => callers.has(id)))
      .map(({ namespace, name }) => `/Service/${namespace}/${name}`),
  ]);
  const placeOf = placesOf(lists);
  const objects = view.snapshot.objects.filter((object) => {
    const list = placeOf(object);
    if (list === undefined) return false;
    const namespace = namespaceOf(object);
    return list.counts !== 'known' || namespace === undefined || near.has(namespace) || met.has(refKey(refOf(object)));
  });
  return { lists, objects: objects.map(groundPart) };
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

function isNamespace(object: KubeManifest): boolean {
  return object.kind === 'Namespace' && groupOf(object.apiVersion) === '';
}

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

/** The lists to read again before a step: one that isolates packets does not rest on what the mesh allows. */
export function listsFor({ lists }: Ground, step: Pick<Step, 'change' | 'effects'>): readonly GroundList[] {
  const network =
    NETWORK_GROUPS.has(groupOf(changeRef(step.change).apiVersion)) &&
    !step.effects.some(({ kind }) => kind === 'rollout');
  return network ? lists.filter(({ layer, counts }) => layer !== 'mesh' && counts !== 'written') : lists;
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
  const partOf = (key: string, object: KubeManifest): KubeManifest => ({
    ...named(object, words, planned.get(key)),
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
    const path = firstDifference(groupOf(any.apiVersion), partOf(key, wanted), partOf(key, now));
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

const POD_TEMPLATES: ReadonlyMap<string, FieldPath> = new Map([
  ['apps/Deployment', ['spec', 'template']],
  ['apps/StatefulSet', ['spec', 'template']],
  ['apps/DaemonSet', ['spec', 'template']],
  ['batch/CronJob', ['spec', 'jobTemplate', 'spec', 'template']],
]);

/** Kinds that policies of Calico and Cilium select by their labels. */
const SELECTED_KINDS = new Set(['HostEndpoint', 'NetworkSet', 'GlobalNetworkSet', 'CiliumCIDRGroup']);

/** Pod Security Admission and who keeps its labels (OpenShift's syncer follows role bindings): no policy selects by them. */
const ADMISSION_LABEL = /^(?:pod-security\.kubernetes\.io|security\.openshift\.io)\//u;

/**
 * Of an object what decides about connections, in the shape of the object: of a policy its spec and the mesh's annotations, of a namespace its
 * labels, of a Service how it finds pods and its waypoint, of a workload the labels, account and ports of its pods. Of its own part it makes
 * the same again.
 */
export function groundPart(object: KubeManifest): KubeManifest {
  const { name, namespace, deletionTimestamp } = object.metadata;
  const labels = object.metadata['labels'];
  const kind = `${groupOf(object.apiVersion)}/${object.kind}`;
  const template = POD_TEMPLATES.get(kind);
  const isService = kind === '/Service';
  const annotations = meshAnnotations(annotationsOf(object));
  const grant = labelsOf(object)[GRANT_LABEL];
  const shown = isNamespace(object)
    ? keysBy(asObject(labels), (key) => !ADMISSION_LABEL.test(key))
    : {
        ...(SELECTED_KINDS.has(object.kind) ? asObject(labels) : {}),
        // `istio.io/use-waypoint` says which proxy judges the callers, `istio.io/waypoint-for` of a Gateway whose.
        ...(isService || kind === 'gateway.networking.k8s.io/Gateway'
          ? keysBy(asObject(labels), (key) => key.startsWith('istio.io/'))
          : {}),
        ...(isOwn(object) ? only(asObject(labels), ['app.kubernetes.io/managed-by']) : {}),
        ...(grant === undefined ? {} : { [GRANT_LABEL]: grant }),
      };
  const metadata = {
    name,
    ...(namespace === undefined ? {} : { namespace }),
    ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }),
    ...(Object.keys(shown).length === 0 ? {} : { labels: shown }),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  } as KubeManifest['metadata'];
  const head = { apiVersion: object.apiVersion, kind: object.kind, metadata };
  if (isNamespace(object)) return head;
  if (template !== undefined)
    return setPath(head, template, podPart(asObject(getPath(object, template)))) as KubeManifest;
  if (isService)
    return {
      ...head,
      spec: only(asObject(object['spec']), ['selector', 'ports', 'type', 'externalName', 'clusterIP']),
    };
  const rest = Object.entries(object).filter(([key]) => !['apiVersion', 'kind', 'metadata', 'status'].includes(key));
  return { ...head, ...Object.fromEntries(rest) };
}

function podPart(template: JsonObject): JsonObject {
  const metadata = asObject(template['metadata']);
  const spec = asObject(template['spec']);
  return {
    metadata: { labels: asObject(metadata['labels']), annotations: meshAnnotations(asObject(metadata['annotations'])) },
    spec: {
      ...only(spec, ['serviceAccountName', 'hostNetwork']),
      // As one container: which of them has a port is the same to whoever calls it.
      containers: [{ ports: portsIn(asArray(spec['containers'])) }],
    },
  };
}

function portsIn(containers: readonly Json[]): readonly JsonObject[] {
  const all = containers
    .flatMap((one) => asArray(asObject(one)['ports']))
    .map((one): JsonObject => ({ protocol: 'TCP', ...only(asObject(one), ['name', 'containerPort', 'protocol']) }));
  const byText = new Map(
    all.map((port) => [JSON.stringify([port['name'] ?? '', port['containerPort'] ?? 0, port['protocol'] ?? '']), port]),
  );
  return sortBy([...byText], ([text]) => text).map(([, port]) => port);
}

function meshAnnotations(annotations: Readonly<Record<string, Json>>): JsonObject {
  return keysBy(annotations, (key) => key.includes('istio.io/'));
}

function only(object: JsonObject, keys: readonly string[]): JsonObject {
  return keysBy(object, (key) => keys.includes(key));
}

function keysBy(object: Readonly<Record<string, Json | undefined>>, keep: (key: string) => boolean): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([key]) => keep(key))) as JsonObject;
}

/** Labels by which the meshes choose the pods and namespaces that they take in, and with which proxy. */
const MESH_LABEL = /^istio-injection$|(?<!service\.)istio\.io\/|linkerd\.io\//u;

/** What GitOps controllers and Rancher note on namespaces. */
const BOOKKEEPING_LABEL =
  /^(?:(?:kustomize|helm)\.toolkit\.fluxcd\.io|argocd\.argoproj\.io|(?:[a-z-]+\.)*cattle\.io)\//u;

/** Before the key of a namespace's or a pod's label in selectors of Cilium and Calico. */
const KEY_PREFIX = /^(?:(?:k8s|any)[.:])?(?:io\.cilium\.k8s\.namespace\.labels\.|pcns\.)?/u;

/**
 * Every word that can name a label or a port in the policies and Services that a run rests on, and in what its steps write. Rather one too
 * many: a word too few would let a difference pass.
 */
function wordsOf(objects: readonly KubeManifest[], changes: readonly Change[]): ReadonlySet<string> {
  const words = new Set<string>();
  const add = (text: string): void => {
    // Calico's selectors are expressions: `app == 'web' && has(tier)`.
    for (const word of text.split(/[^A-Za-z0-9._:/-]+/u)) {
      words.add(word);
      words.add(word.replace(KEY_PREFIX, ''));
    }
  };
  const walk = (value: Json | undefined): void => {
    if (typeof value === 'string') add(value);
    else if (Array.isArray(value)) for (const one of value as readonly Json[]) walk(one);
    else if (isJsonObject(value))
      for (const [key, one] of Object.entries(value)) {
        add(key);
        walk(one);
      }
  };
  const walkObject = (object: KubeManifest): void => {
    if (isNamespace(object) || POD_TEMPLATES.has(`${groupOf(object.apiVersion)}/${object.kind}`)) return;
    for (const [key, value] of Object.entries(object))
      if (!['apiVersion', 'kind', 'metadata', 'status'].includes(key)) walk(value);
  };
  for (const object of objects) walkObject(object);
  for (const change of changes)
    if (change.kind === 'create') walkObject(change.object);
    else if (change.kind === 'edit')
      for (const { path, before, after } of change.fields) {
        for (const key of path) add(key);
        walk(before);
        walk(after);
      }
  return words;
}

/**
 * The part of an object without what no policy, Service or step names: labels of pods that only tell a version (`helm.sh/chart`), what others
 * keep on a namespace for themselves, and ports that were not there when the plan was made.
 */
function named(part: KubeManifest, words: ReadonlySet<string>, planned: KubeManifest | undefined): KubeManifest {
  if (isNamespace(part)) {
    const labels = part.metadata['labels'];
    if (labels === undefined) return part;
    const kept = keysBy(asObject(labels), (key) => !BOOKKEEPING_LABEL.test(key) || words.has(key));
    return setPath(part, ['metadata', 'labels'], Object.keys(kept).length === 0 ? undefined : kept) as KubeManifest;
  }
  const template = POD_TEMPLATES.get(`${groupOf(part.apiVersion)}/${part.kind}`);
  if (template === undefined) return part;
  const labelPath = [...template, 'metadata', 'labels'];
  const labels = keysBy(asObject(getPath(part, labelPath)), (key) => MESH_LABEL.test(key) || words.has(key));
  const portsAt = (of: KubeManifest | undefined): readonly JsonObject[] =>
    portsIn(asArray(getPath(of ?? {}, [...template, 'spec', 'containers'])));
  const before = portsAt(planned);
  const counts = (port: JsonObject): boolean =>
    before.some((one) => equalJson(one, port) || (one['name'] !== undefined && one['name'] === port['name'])) ||
    (typeof port['name'] === 'string' && words.has(port['name']));
  const containers = [{ ports: portsAt(part).filter(counts) }];
  return setPath(setPath(part, labelPath, labels), [...template, 'spec', 'containers'], containers) as KubeManifest;
}
