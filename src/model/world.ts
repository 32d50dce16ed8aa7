import { compareText, groupBy } from '../shared/pure/order.ts';
import type { AddressRange } from './cidr-set.ts';
import { ANY_V4, ANY_V6, parseAddress, parseAddressOrCidr } from './cidr-set.ts';
import { lastingLabels } from './durable-labels.ts';
import type { Endpoint } from './edge.ts';
import { REMOTE_NODE } from './edge.ts';
import type { ForeignPolicy, ForeignSubject } from './foreign-policy.ts';
import { parseForeignPolicy } from './foreign-policy.ts';
import { parseAdminPolicy } from './admin-policy.ts';
import { isCalicoObject, parseCalicoNetworkSet, parseCalicoPolicy, parseCalicoTiers } from './calico-policy.ts';
import type { CiliumPolicy } from './cilium-policy.ts';
import { parseCiliumPolicy } from './cilium-policy.ts';
import type { ContainerPort, Inventory, IpBlockTarget, Labels, PodSet, ServiceInfo, Workload } from './inventory.ts';
import { accountsOfPodSet } from './inventory.ts';
import type {
  AuthorizationPolicy,
  DestinationRule,
  IstioObject,
  PeerAuthentication,
  ProxyExtension,
  RequestAuthentication,
  ServiceEntry,
  SidecarResource,
  Waypoint,
} from './istio-objects.ts';
import { parseIstioObject } from './istio-objects.ts';
import type { NetworkPolicy, ParsedNetworkPolicy } from './network-policy.ts';
import { parseNetworkPolicy } from './network-policy.ts';
import type { KubeManifest } from './object.ts';
import { isObject } from './object.ts';
import type { CalicoNetworkSet, CalicoTier, OrderedPolicy } from './ordered-policy.ts';
import type { Selector } from './selector.ts';
import { ACCOUNT_KEY, matchSelector, matchSelectorPartly } from './selector.ts';
import type { Tri } from './tri.ts';
import { and, triOf } from './tri.ts';

/** A namespace as selectors see it. */
export interface NamespaceView {
  readonly name: string;
  /** With the `kubernetes.io/metadata.name` that the API server sets. */
  readonly labels: Labels;
  /** False where only the name is known. */
  readonly complete: boolean;
}

/** A Service port that leads to a pod's port. */
export interface Exposure {
  readonly namespace: string;
  readonly service: string;
  readonly servicePort: number;
  readonly targetPort: number;
  readonly portName?: string;
  readonly appProtocol?: string;
  /** True for a Service without an address of its own. */
  readonly headless?: boolean;
}

/** One PodSet as the evaluator sees it. */
export interface Pod {
  /** Index into caches. */
  readonly index: number;
  readonly workload: string;
  readonly kind: string;
  readonly role: string;
  readonly namespace: NamespaceView;
  /** Undefined for a workload whose pods are not known: its labels, ports and account are unknown. */
  readonly podSet?: PodSet;
  readonly labels: Labels;
  readonly hostNetwork: boolean;
  /** Ports declared by its containers that run along (init containers left out). */
  readonly ports: readonly ContainerPort[];
}

/** What is true whatever the policies: kept when only policies change. */
export interface Cluster {
  readonly namespaces: ReadonlyMap<string, NamespaceView>;
  readonly pods: readonly Pod[];
  readonly podsOfWorkload: ReadonlyMap<string, readonly Pod[]>;
  readonly podsOfNamespace: ReadonlyMap<string, readonly Pod[]>;
  readonly nodes: ReadonlyMap<string, readonly AddressRange[]>;
  readonly apiServer: readonly AddressRange[];
  /** Address families in use: the IP families of what has an address here, IPv4 where nothing says. */
  readonly anyAddress: readonly AddressRange[];
  readonly servicesOfWorkload: ReadonlyMap<string, readonly ServiceInfo[]>;
  /** Filled on demand. */
  readonly addresses: Map<Pod, readonly (readonly AddressRange[])[]>;
}

/** One side of a connection, resolved. */
export interface Party {
  readonly kind: 'pod' | 'node' | 'api-server' | 'external' | 'unknown';
  readonly endpoint: Endpoint;
  /** For kind pod, and for kind node where it is a host-network pod. */
  readonly pod?: Pod;
  /** Node names where they are known; empty where not, and for an API server that runs on no node of the cluster. */
  readonly nodes: readonly string[];
  /** True for the node that the other side runs on. */
  readonly ownNode: boolean;
  /** Each must be admitted; of the addresses of one entry any may be the one used. Empty for pods: see addressesOfPod. */
  readonly addresses: readonly (readonly AddressRange[])[];
}

/** Istio objects of one namespace, oldest first, then by name: the order in which Istio prefers them. */
export interface IstioNamespace {
  readonly peers: readonly PeerAuthentication[];
  readonly rules: readonly DestinationRule[];
  readonly authorization: readonly AuthorizationPolicy[];
  readonly requests: readonly RequestAuthentication[];
  readonly sidecars: readonly SidecarResource[];
  readonly entries: readonly ServiceEntry[];
  readonly extensions: readonly ProxyExtension[];
  readonly waypoints: readonly Waypoint[];
}

/** A compiled inventory. Opaque to callers: made by compileWorld, read by this folder. */
export interface World {
  readonly inventory: Inventory;
  readonly cluster: Cluster;
  readonly networkPolicies: ReadonlyMap<string, readonly NetworkPolicy[]>;
  /** Additive policies of the cluster: CiliumClusterwideNetworkPolicies. */
  readonly clusterPolicies: readonly NetworkPolicy[];
  /** Policies that allow, deny and pass in an order, of kinds that the CNI here may enforce. */
  readonly ordered: readonly OrderedPolicy[];
  /** What Calico's own policies refer to; undefined under another CNI. */
  readonly calico?: {
    readonly tiers: ReadonlyMap<string, CalicoTier>;
    readonly sets: readonly CalicoNetworkSet[];
    readonly hostEndpoints: boolean;
  };
  /** True where some policy isolates the direction, so that an unknown endpoint may be isolated. */
  readonly anyIsolation: { readonly ingress: boolean; readonly egress: boolean };
  readonly foreign: readonly ForeignPolicy[];
  /** By namespace. */
  readonly istio: ReadonlyMap<string, IstioNamespace>;
  readonly blockTargets: ReadonlySet<IpBlockTarget>;
  /** Per Pod index and use; filled on demand, never changed once there. */
  readonly caches: Map<string, unknown[]>;
  /** By workload id, and by object for every other endpoint. */
  readonly parties: {
    readonly workloads: Map<string, readonly Party[]>;
    readonly others: WeakMap<Endpoint, readonly Party[]>;
  };
}

const parsedNetworkPolicies = new WeakMap<KubeManifest, ParsedNetworkPolicy>();
const parsedCilium = new WeakMap<KubeManifest, { readonly policy: CiliumPolicy | undefined }>();
const parsedOrdered = new WeakMap<KubeManifest, { readonly policy: OrderedPolicy | undefined }>();
const parsedForeign = new WeakMap<KubeManifest, { readonly policy: ForeignPolicy | undefined }>();
const parsedIstio = new WeakMap<KubeManifest, { readonly object: IstioObject | undefined }>();
const clusters = new WeakMap<Inventory['workloads'], { readonly inventory: Inventory; readonly cluster: Cluster }>();

function remember<Value>(
  memo: WeakMap<KubeManifest, Value>,
  key: KubeManifest,
  compute: (key: KubeManifest) => Value,
): Value {
  const known = memo.get(key);
  if (known !== undefined) return known;
  const value = compute(key);
  memo.set(key, value);
  return value;
}

export function isNetworkPolicy(manifest: KubeManifest): boolean {
  return isObject(manifest, 'networking.k8s.io', 'NetworkPolicy') || isObject(manifest, 'extensions', 'NetworkPolicy');
}

/** Reads a NetworkPolicy; the same object is read once. */
export function readNetworkPolicy(manifest: KubeManifest): ParsedNetworkPolicy {
  return remember(parsedNetworkPolicies, manifest, parseNetworkPolicy);
}

/** Reads a policy of Cilium whose meaning is plain, where Cilium is the CNI; undefined for every other object. */
export function readCiliumPolicy(manifest: KubeManifest, cni: string): CiliumPolicy | undefined {
  if (cni !== 'cilium') return undefined;
  return remember(parsedCilium, manifest, (key) => ({ policy: parseCiliumPolicy(key) })).policy;
}

/**
 * Reads an admin policy, or a policy of Calico where Calico is the CNI and `tiers` has its tier; undefined for every other object and
 * where its meaning is not plain.
 */
export function readOrderedPolicy(
  manifest: KubeManifest,
  tiers: ReadonlyMap<string, CalicoTier> | undefined,
): OrderedPolicy | undefined {
  const { policy } = remember(parsedOrdered, manifest, (key) => ({
    policy: parseAdminPolicy(key) ?? parseCalicoPolicy(key),
  }));
  if (policy?.engine === 'calico') return tiers?.has(policy.tier) === true ? policy : undefined;
  return policy;
}

/** The tiers of Calico by name; undefined under another CNI. */
export function readCalicoTiers({
  policies,
  facts,
}: Pick<Inventory, 'policies' | 'facts'>): ReadonlyMap<string, CalicoTier> | undefined {
  if (facts.cni.name !== 'calico') return undefined;
  return parseCalicoTiers(policies.filter((one) => one.kind === 'Tier' && isCalicoObject(one)));
}

function calicoOf(inventory: Inventory): World['calico'] {
  const tiers = readCalicoTiers(inventory);
  if (tiers === undefined) return undefined;
  const own = inventory.policies.filter(isCalicoObject);
  const sets = own.filter(({ kind }) => kind === 'NetworkSet' || kind === 'GlobalNetworkSet');
  return {
    tiers,
    sets: sets.map(parseCalicoNetworkSet),
    hostEndpoints: own.some(({ kind }) => kind === 'HostEndpoint'),
  };
}

/** Reads a policy that is not evaluated; undefined where the object is none. */
export function readForeignPolicy(manifest: KubeManifest): ForeignPolicy | undefined {
  return remember(parsedForeign, manifest, (key) => ({ policy: parseForeignPolicy(key) })).policy;
}

/** Reads an Istio object; undefined for kinds that decide nothing here. */
export function readIstioObject(manifest: KubeManifest): IstioObject | undefined {
  return remember(parsedIstio, manifest, (key) => ({ object: parseIstioObject(key) })).object;
}

/**
 * Compiles an inventory for questions about connections. Linear in its size; where only `policies` changed since an earlier
 * call (the same `workloads`, `namespaces`, `services`, `nodes` and `facts`), only the policies that changed are read.
 */
export function compileWorld(inventory: Inventory): World {
  const networkPolicies = new Map<string, NetworkPolicy[]>();
  const clusterPolicies: NetworkPolicy[] = [];
  const ordered: OrderedPolicy[] = [];
  const calico = calicoOf(inventory);
  const foreign: ForeignPolicy[] = [];
  const istio: IstioObject[] = [];
  const anyIsolation = { ingress: false, egress: false };
  for (const manifest of inventory.policies) {
    if (isNetworkPolicy(manifest)) {
      const { policy } = readNetworkPolicy(manifest);
      const list = networkPolicies.get(policy.namespace);
      if (list === undefined) networkPolicies.set(policy.namespace, [policy]);
      else list.push(policy);
      anyIsolation.ingress ||= policy.ingress !== undefined;
      anyIsolation.egress ||= policy.egress !== undefined;
      continue;
    }
    const cilium = readCiliumPolicy(manifest, inventory.facts.cni.name);
    if (cilium !== undefined) {
      for (const policy of cilium.admits) {
        const list = policy.subjectNamespaces === undefined ? networkPolicies.get(policy.namespace) : clusterPolicies;
        if (list === undefined) networkPolicies.set(policy.namespace, [policy]);
        else list.push(policy);
        anyIsolation.ingress ||= policy.ingress !== undefined;
        anyIsolation.egress ||= policy.egress !== undefined;
      }
      ordered.push(...cilium.denies);
      continue;
    }
    const inOrder = readOrderedPolicy(manifest, calico?.tiers);
    if (inOrder !== undefined) {
      ordered.push(inOrder);
      anyIsolation.ingress ||= inOrder.ingress !== undefined;
      anyIsolation.egress ||= inOrder.egress !== undefined;
      continue;
    }
    const object = readIstioObject(manifest);
    if (object !== undefined) istio.push(object);
    const policy = readForeignPolicy(manifest);
    if (policy === undefined) continue;
    foreign.push(policy);
    anyIsolation.ingress ||= policy.subjects.some(({ ingress }) => ingress);
    anyIsolation.egress ||= policy.subjects.some(({ egress }) => egress);
  }
  return {
    inventory,
    cluster: clusterOf(inventory),
    networkPolicies,
    clusterPolicies,
    ordered,
    ...(calico === undefined ? {} : { calico }),
    anyIsolation,
    foreign,
    istio: groupIstio(istio),
    blockTargets: new Set(inventory.facts.cni.ipBlockMatches),
    caches: new Map(),
    parties: { workloads: new Map(), others: new WeakMap() },
  };
}

const compiled = new WeakMap<Inventory, World>();

/** The compiled world of an inventory that is asked about in several places: made once, and kept as long as the inventory is. */
export function worldOf(inventory: Inventory): World {
  let world = compiled.get(inventory);
  if (world === undefined) compiled.set(inventory, (world = compileWorld(inventory)));
  return world;
}

function groupIstio(objects: readonly IstioObject[]): ReadonlyMap<string, IstioNamespace> {
  const sorted = objects.toSorted((a, b) =>
    a.created === b.created ? compareText(a.name, b.name) : a.created - b.created,
  );
  const of = <Kind extends IstioObject['kind']>(
    list: readonly IstioObject[],
    kind: Kind,
  ): readonly Extract<IstioObject, { kind: Kind }>[] =>
    list.filter((object): object is Extract<IstioObject, { kind: Kind }> => object.kind === kind);
  const out = new Map<string, IstioNamespace>();
  for (const [namespace, list] of groupBy(sorted, (object) => object.namespace)) {
    out.set(namespace, {
      peers: of(list, 'PeerAuthentication'),
      rules: of(list, 'DestinationRule'),
      authorization: of(list, 'AuthorizationPolicy'),
      requests: of(list, 'RequestAuthentication'),
      sidecars: of(list, 'Sidecar'),
      entries: of(list, 'ServiceEntry'),
      extensions: of(list, 'extension'),
      waypoints: of(list, 'waypoint'),
    });
  }
  return out;
}

function clusterOf(inventory: Inventory): Cluster {
  const known = clusters.get(inventory.workloads);
  if (known !== undefined) {
    const { namespaces, services, nodes, facts } = known.inventory;
    const same = namespaces === inventory.namespaces && services === inventory.services && nodes === inventory.nodes;
    if (same && facts === inventory.facts) return known.cluster;
  }
  const cluster = buildCluster(inventory);
  clusters.set(inventory.workloads, { inventory, cluster });
  return cluster;
}

function namespaceView(name: string, labels: Labels, complete: boolean): NamespaceView {
  return { name, labels: { ...labels, 'kubernetes.io/metadata.name': name }, complete };
}

function buildCluster(inventory: Inventory): Cluster {
  const namespaces = new Map<string, NamespaceView>();
  for (const { name, labels, declared } of inventory.namespaces) {
    namespaces.set(name, namespaceView(name, declared ? labels : {}, declared));
  }
  const pods: Pod[] = [];
  const podsOfWorkload = new Map<string, readonly Pod[]>();
  const podsOfNamespace = new Map<string, Pod[]>();
  for (const workload of inventory.workloads) {
    let namespace = namespaces.get(workload.namespace);
    if (namespace === undefined) {
      namespace = namespaceView(workload.namespace, {}, false);
      namespaces.set(workload.namespace, namespace);
    }
    const own = podsOf(workload, namespace, pods.length);
    pods.push(...own);
    podsOfWorkload.set(workload.id, own);
    const list = podsOfNamespace.get(workload.namespace);
    if (list === undefined) podsOfNamespace.set(workload.namespace, [...own]);
    else list.push(...own);
  }
  const servicesOfWorkload = new Map<string, ServiceInfo[]>();
  for (const service of inventory.services) {
    for (const id of service.workloads) {
      const list = servicesOfWorkload.get(id);
      if (list === undefined) servicesOfWorkload.set(id, [service]);
      else list.push(service);
    }
  }
  const nodes = new Map<string, readonly AddressRange[]>();
  for (const node of inventory.nodes)
    nodes.set(
      node.name,
      node.addresses.flatMap((text) => parseAddress(text) ?? []),
    );
  const apiServer = inventory.facts.apiServer.flatMap((text) => parseAddressOrCidr(text) ?? []);
  return {
    namespaces,
    pods,
    podsOfWorkload,
    podsOfNamespace,
    nodes,
    apiServer,
    anyAddress: familiesInUse(inventory, nodes, apiServer),
    servicesOfWorkload,
    addresses: new Map(),
  };
}

function podsOf(workload: Workload, namespace: NamespaceView, from: number): readonly Pod[] {
  const base = { workload: workload.id, kind: workload.kind, namespace };
  if (workload.podSets.length === 0) {
    return [{ ...base, index: from, role: '', labels: {}, hostNetwork: false, ports: [] }];
  }
  // While pods of one set run as several accounts, what a policy says of each must hold: they are as many parties.
  const sets = workload.podSets.flatMap((podSet) =>
    podSet.otherAccounts === undefined
      ? [podSet]
      : accountsOfPodSet(podSet).map((serviceAccount) => ({ ...podSet, serviceAccount })),
  );
  return sets.map((podSet, offset) => ({
    ...base,
    index: from + offset,
    role: podSet.role,
    podSet,
    labels: podSet.labels,
    hostNetwork: podSet.hostNetwork,
    ports: podSet.containers.flatMap((container) => (container.init ? [] : container.ports)),
  }));
}

// A connection to an address that is not known may use any family that this cluster has.
function familiesInUse(
  inventory: Inventory,
  nodes: ReadonlyMap<string, readonly AddressRange[]>,
  apiServer: readonly AddressRange[],
): readonly AddressRange[] {
  const families = new Set<4 | 6>();
  for (const addresses of nodes.values()) for (const { family } of addresses) families.add(family);
  for (const { family } of apiServer) families.add(family);
  for (const service of inventory.services) {
    for (const text of service.clusterIPs) families.add(text.includes(':') ? 6 : 4);
  }
  for (const workload of inventory.workloads) {
    for (const podSet of workload.podSets) {
      for (const text of podSet.pods[0]?.ips ?? []) families.add(text.includes(':') ? 6 : 4);
    }
  }
  if (families.size === 2) return [ANY_V4, ANY_V6];
  return families.has(6) ? [ANY_V6] : [ANY_V4];
}

/** The value for a pod in one of the world's caches. */
export function cached<Value>(world: World, use: string, pod: Pod, compute: () => Value): Value {
  let cache = world.caches.get(use);
  if (cache === undefined) {
    cache = [];
    world.caches.set(use, cache);
  }
  // A pod made for a workload that is not in the inventory has no place in the cache.
  if (pod.index < 0) return compute();
  const known = cache[pod.index] as { readonly value: Value } | undefined;
  if (known !== undefined) return known.value;
  const value = compute();
  cache[pod.index] = { value };
  return value;
}

const RUNNING_OUT = new Set(['Succeeded', 'Failed']);

/**
 * Addresses of a pod set: one entry for each running pod with those it may use. Where none is known, any address of each
 * family in use.
 */
export function addressesOfPod(world: World, pod: Pod): readonly (readonly AddressRange[])[] {
  const known = world.cluster.addresses.get(pod);
  if (known !== undefined) return known;
  const out: (readonly AddressRange[])[] = [];
  for (const { ips, phase } of pod.podSet?.pods ?? []) {
    if (RUNNING_OUT.has(phase)) continue;
    const ranges = ips.flatMap((text) => parseAddress(text) ?? []);
    // A pod without an address yet may get any.
    if (ranges.length > 0) out.push(ranges);
    else out.push(...world.cluster.anyAddress.map((any) => [any]));
  }
  const value = out.length > 0 ? out : world.cluster.anyAddress.map((any) => [any]);
  world.cluster.addresses.set(pod, value);
  return value;
}

/** Names of the nodes that a pod set runs on; empty where that is not known of every running pod. */
export function nodesOfPod(pod: Pod): readonly string[] {
  const names = new Set<string>();
  for (const { node, phase } of pod.podSet?.pods ?? []) {
    if (RUNNING_OUT.has(phase)) continue;
    if (node === undefined) return [];
    names.add(node);
  }
  return [...names];
}

/** Pods of a workload; one of unknown make where the inventory does not have it. */
export function podsOfWorkload(world: World, id: string): readonly Pod[] {
  const known = world.cluster.podsOfWorkload.get(id);
  if (known !== undefined) return known;
  const [namespace = '', kind = ''] = id.split('/');
  const view = world.cluster.namespaces.get(namespace) ?? namespaceView(namespace, {}, false);
  return [{ index: -1, workload: id, kind, role: '', namespace: view, labels: {}, hostNetwork: false, ports: [] }];
}

/** The sides that an endpoint stands for: each must be admitted. */
export function partiesOf(world: World, endpoint: Endpoint): readonly Party[] {
  const { workloads, others } = world.parties;
  const known = endpoint.kind === 'workload' ? workloads.get(endpoint.id) : others.get(endpoint);
  if (known !== undefined) return known;
  const parties = resolveParties(world, endpoint);
  if (endpoint.kind === 'workload') workloads.set(endpoint.id, parties);
  else others.set(endpoint, parties);
  return parties;
}

function resolveParties(world: World, endpoint: Endpoint): readonly Party[] {
  const { cluster } = world;
  const base = { endpoint, nodes: [], ownNode: false, addresses: [] };
  const any = cluster.anyAddress.map((range) => [range]);
  switch (endpoint.kind) {
    case 'workload':
      return podsOfWorkload(world, endpoint.id).map((pod) =>
        pod.hostNetwork ? hostParty(world, endpoint, pod) : { ...base, kind: 'pod', pod },
      );
    case 'node': {
      if (endpoint.name === undefined) return [{ ...base, kind: 'node', ownNode: true, addresses: any }];
      if (endpoint.name === REMOTE_NODE) {
        const each = [...cluster.nodes.values()].filter((addresses) => addresses.length > 0);
        return [{ ...base, kind: 'node', nodes: [REMOTE_NODE], addresses: each.length > 0 ? each : any }];
      }
      const addresses = cluster.nodes.get(endpoint.name) ?? [];
      const only = addresses.length > 0 ? [addresses] : any;
      return [{ ...base, kind: 'node', nodes: [endpoint.name], addresses: only }];
    }
    case 'api-server': {
      const addresses = cluster.apiServer.map((range) => [range]);
      // A control plane that runs on nodes of the cluster is the own node of the pods there.
      const nodes = [...cluster.nodes].filter(([, own]) =>
        own.some((one) => cluster.apiServer.some((range) => isSame(range, one))),
      );
      const names = nodes.map(([name]) => name);
      return [{ ...base, kind: 'api-server', nodes: names, addresses: addresses.length > 0 ? addresses : any }];
    }
    case 'external': {
      const range = endpoint.ip === undefined ? undefined : parseAddress(endpoint.ip);
      return [{ ...base, kind: 'external', addresses: range === undefined ? any : [[range]] }];
    }
    case 'unknown':
      return [{ ...base, kind: 'unknown', addresses: any }];
  }
}

function isSame(a: AddressRange, b: AddressRange): boolean {
  return a.family === b.family && a.first === b.first && a.last === b.last;
}

function hostParty(world: World, endpoint: Endpoint, pod: Pod): Party {
  const { cluster } = world;
  const nodes = nodesOfPod(pod);
  const ofNodes = nodes.map((node) => cluster.nodes.get(node) ?? []);
  const everyNode = [...cluster.nodes.values()];
  const addresses =
    nodes.length === 0 && everyNode.length > 0 && everyNode.every((list) => list.length > 0)
      ? everyNode
      : ofNodes.length > 0 && ofNodes.every((list) => list.length > 0)
        ? ofNodes
        : addressesOfPod(world, pod);
  return { kind: 'node', endpoint, pod, nodes, ownNode: false, addresses };
}

/** Labels that the injector may add to the pods of a template that does not carry them. */
const INJECTED = new Set(['istio.io/rev', 'service.istio.io/canonical-name']);

const openKeys = new WeakMap<Selector, Map<string, ReadonlySet<string>>>();

/** The keys of a selector that a pod set of this kind of owner leaves out though its pods may carry them. */
function openKeysOf(selector: Selector, kind: string): ReadonlySet<string> {
  let byKind = openKeys.get(selector);
  if (byKind === undefined) {
    byKind = new Map();
    openKeys.set(selector, byKind);
  }
  const known = byKind.get(kind);
  if (known !== undefined) return known;
  const keys = selector.requirements.map(({ key }) => key);
  const open = new Set(
    keys.filter((key) => INJECTED.has(key) || !Object.hasOwn(lastingLabels({ [key]: '' }, kind), key)),
  );
  byKind.set(kind, open);
  return open;
}

interface SelectorParts {
  /** What it asks of the service account; absent: nothing. */
  readonly accounts?: Selector;
  readonly labels: Selector;
}

const selectorParts = new WeakMap<Selector, SelectorParts>();

function partsOf(selector: Selector): SelectorParts {
  let parts = selectorParts.get(selector);
  if (parts === undefined) {
    const accounts = selector.requirements.filter(({ key }) => key === ACCOUNT_KEY);
    parts =
      accounts.length === 0
        ? { labels: selector }
        : {
            accounts: { requirements: accounts },
            labels: { requirements: selector.requirements.filter(({ key }) => key !== ACCOUNT_KEY) },
          };
    selectorParts.set(selector, parts);
  }
  return parts;
}

/**
 * Does a selector pick these pods? Unknown where their labels are, and where it asks for a label of one pod, run or revision,
 * which a pod set does not carry.
 */
export function selectsPod(selector: Selector, pod: Pod): Tri {
  if (selector.requirements.length === 0) return 'yes';
  if (pod.podSet === undefined) return 'unknown';
  const { accounts, labels } = partsOf(selector);
  if (accounts !== undefined) {
    if (!matchSelector(accounts, { [ACCOUNT_KEY]: pod.podSet.serviceAccount })) return 'no';
    return selectsPod(labels, pod);
  }
  const open = openKeysOf(selector, pod.kind);
  if (open.size === 0) return triOf(matchSelector(selector, pod.labels));
  return matchSelectorPartly(selector, pod.labels, (key) => !open.has(key));
}

/** Does a selector pick this namespace? Unknown where its labels are. */
export function selectsNamespace(selector: Selector, namespace: NamespaceView): Tri {
  if (namespace.complete) return triOf(matchSelector(selector, namespace.labels));
  return matchSelectorPartly(selector, namespace.labels, (key) => key === 'kubernetes.io/metadata.name');
}

/** Does a section of a policy that is not evaluated act on these pods? */
export function subjectSelects(subject: ForeignSubject, pod: Pod): Tri {
  const inNamespace = subjectNamespace(subject, pod.namespace);
  if (inNamespace === 'no') return 'no';
  return and(inNamespace, subject.pods.kind === 'unreadable' ? 'unknown' : selectsPod(subject.pods.selector, pod));
}

function subjectNamespace({ namespaces }: ForeignSubject, view: NamespaceView): Tri {
  switch (namespaces.kind) {
    case 'one':
      return triOf(namespaces.name === view.name);
    case 'all':
      return 'yes';
    case 'labels':
      return selectsNamespace(namespaces.selector, view);
    case 'unreadable':
      return 'unknown';
  }
}

/** Service ports that lead to a TCP port of these pods, from Services that may select them. */
export function exposuresOf(world: World, pod: Pod): readonly Exposure[] {
  return cached(world, 'exposures', pod, () => {
    const out: Exposure[] = [];
    for (const service of world.cluster.servicesOfWorkload.get(pod.workload) ?? []) {
      if (service.selector !== undefined && matchMap(service.selector, pod) === 'no') continue;
      for (const port of service.ports) {
        if (port.protocol !== 'TCP') continue;
        const base = {
          namespace: service.namespace,
          service: service.name,
          servicePort: port.port,
          ...(port.name === undefined ? {} : { portName: port.name }),
          ...(port.appProtocol === undefined ? {} : { appProtocol: port.appProtocol }),
          ...(service.headless ? { headless: true } : {}),
        };
        for (const targetPort of targetPorts(port.targetPort, pod)) out.push({ ...base, targetPort });
      }
    }
    return out;
  });
}

function matchMap(labels: Labels, pod: Pod): Tri {
  const requirements = Object.entries(labels).map(([key, value]) => ({
    key,
    operator: 'In' as const,
    values: [value],
  }));
  return selectsPod({ requirements }, pod);
}

function targetPorts(target: number | string, pod: Pod): readonly number[] {
  if (typeof target === 'number') return [target];
  return pod.ports.filter(({ name, protocol }) => name === target && protocol === 'TCP').map(({ port }) => port);
}
