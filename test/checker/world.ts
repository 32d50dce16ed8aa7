import ipaddr from 'ipaddr.js';
import { parse } from 'yaml';
import { Unsupported, doc, docs, text, texts } from './json.ts';
import { hasSidecar } from './injection.ts';
import { lifetimeOf, podShapes } from './pods.ts';
import type { PodShape } from './pods.ts';
import type { Labels } from './selector.ts';
import type { KubeObject, State } from './states.ts';

/** What the manifests cannot tell; each has a default. */
export interface Facts {
  /** Addresses (with or without a prefix length) of the API server. */
  readonly apiServer?: readonly string[];
  /** What of the cluster an ipBlock or CIDR matches. Default: nothing under Cilium, everything elsewhere. */
  readonly ipBlockMatches?: readonly ('pods' | 'nodes' | 'api-server')[];
  /** Known addresses of outside names; a name without any is admitted by the whole world alone. */
  readonly addresses?: Readonly<Record<string, readonly string[]>>;
  readonly trustDomain?: string;
  readonly rootNamespace?: string;
  readonly defaultNamespace?: string;
}

export interface Pod extends PodShape {
  readonly sidecar: boolean;
}

/** One end of a connection as the network sees it. */
export type Party =
  | { readonly kind: 'pod'; readonly pod: Pod }
  /** Any node, the pod's own or another. */
  | { readonly kind: 'node' }
  /** An address that the pod's own node answers on, such as the node's DNS cache. */
  | { readonly kind: 'own-host'; readonly ip: string }
  | { readonly kind: 'api-server' }
  | { readonly kind: 'outside'; readonly ip?: string; readonly name?: string };

export interface World {
  readonly objects: readonly KubeObject[];
  /** Labels of every namespace, with the one that the API server adds. */
  readonly namespaceLabels: ReadonlyMap<string, Labels>;
  /** Every pod that can be alive in the state, by workload. */
  readonly pods: ReadonlyMap<string, readonly Pod[]>;
  /** Pods that are still alive when the next step comes. */
  readonly standing: ReadonlyMap<string, Standing>;
  readonly cilium: boolean;
  readonly ipBlockMatches: ReadonlySet<string>;
  readonly apiServer: readonly string[];
  readonly nodeAddresses: readonly string[];
  readonly podCidrs: readonly string[];
  readonly addresses: Readonly<Record<string, readonly string[]>>;
  readonly trustDomain: string;
  readonly rootNamespace: string;
}

interface Standing {
  readonly shapes: string;
  readonly pods: readonly Pod[];
}

/** Kinds that could deny an edge and that nothing here evaluates. */
const NOT_MODELLED = new Set([
  'CiliumClusterwideNetworkPolicy',
  'AdminNetworkPolicy',
  'BaselineAdminNetworkPolicy',
  'ClusterNetworkPolicy',
  'GlobalNetworkPolicy',
  'Sidecar',
  'EnvoyFilter',
  'RequestAuthentication',
]);

const sorted = new WeakMap<World, ReadonlyMap<string, readonly KubeObject[]>>();

export function inGroup(world: World, group: string, kind: string): readonly KubeObject[] {
  const known = sorted.get(world) ?? Map.groupBy(world.objects, (object) => `${object.group}/${object.kind}`);
  sorted.set(world, known);
  return known.get(`${group}/${kind}`) ?? [];
}

/**
 * The cluster in one state. Pods outlive a step: a template that did not change leaves its pods as they were made (an injection label on
 * the namespace reaches them only when they are made anew, which may happen at any time), and while a changed one rolls out, or a run goes
 * on, the pods from before are alive too.
 */
export function buildWorld(state: State, before: World | undefined, facts: Facts): World {
  const objects = [...state.objects.values()];
  const strange = objects.find((object) => NOT_MODELLED.has(object.kind));
  if (strange !== undefined)
    throw new Unsupported(`${state.name}: ${strange.ref} is of a kind the checker does not model`);
  if (
    objects.some(
      ({ group, kind }) =>
        group === 'projectcalico.org' || (group === 'crd.projectcalico.org' && kind === 'NetworkPolicy'),
    )
  )
    throw new Unsupported(`${state.name}: Calico's own policies are not modelled`);

  const namespaceLabels = new Map<string, Labels>();
  for (const object of objects) {
    const name = object.kind === 'Namespace' ? object.name : object.namespace;
    if (name === '') continue;
    const labels = object.kind === 'Namespace' ? object.labels : (namespaceLabels.get(name) ?? {});
    namespaceLabels.set(name, { ...labels, 'kubernetes.io/metadata.name': name });
  }

  const mesh = doc(
    parse(
      text(
        doc(
          objects.find(
            (one) =>
              one.kind === 'ConfigMap' &&
              one.name === 'istio' &&
              one.namespace === (facts.rootNamespace ?? 'istio-system'),
          )?.raw['data'],
        )['mesh'],
      ) ?? '',
    ) as unknown,
  );
  if (doc(mesh['outboundTrafficPolicy'])['mode'] === 'REGISTRY_ONLY')
    throw new Unsupported(`${state.name}: outboundTrafficPolicy REGISTRY_ONLY is not modelled`);
  const cilium = objects.some((one) => one.kind === 'DaemonSet' && one.name === 'cilium');
  const nodes = objects.filter((one) => one.kind === 'Node');

  const pods = new Map<string, readonly Pod[]>();
  const standing = new Map<string, Standing>();
  for (const object of objects) {
    const shapes = podShapes(object);
    const [shape] = shapes;
    if (shape === undefined) continue;
    const { workload } = shape;
    const old = before?.standing.get(workload);
    const lifetime = lifetimeOf(object.kind);
    const made = shapes.map((one): Pod => {
      const injected = hasSidecar(one, namespaceLabels.get(one.namespace) ?? {}, objects);
      // A pod is injected when it is made; relabelling a bare one changes its labels and nothing else.
      return { ...one, sidecar: lifetime === 'bare' ? (old?.pods[0]?.sidecar ?? injected) : injected };
    });
    const text = JSON.stringify(shapes);
    const survivors = lifetime === 'bare' ? [] : (old?.pods ?? []);
    const alive = distinct([...made, ...survivors]);
    pods.set(workload, alive);
    standing.set(workload, { shapes: text, pods: lifetime === 'rolled' && old?.shapes === text ? alive : made });
  }

  return {
    objects,
    namespaceLabels,
    pods,
    standing,
    cilium,
    ipBlockMatches: new Set(facts.ipBlockMatches ?? (cilium ? [] : ['pods', 'nodes', 'api-server'])),
    apiServer: (facts.apiServer ?? []).map((one) => one.replace(/\/.*$/, '')),
    nodeAddresses: nodes
      .flatMap((node) => docs(doc(node.raw['status'])['addresses']))
      .filter((one) => one['type'] === 'InternalIP')
      .map((one) => String(one['address'])),
    podCidrs: nodes.flatMap((node) => texts(node.spec['podCIDRs'])),
    addresses: facts.addresses ?? {},
    trustDomain: facts.trustDomain ?? text(mesh['trustDomain']) ?? 'cluster.local',
    rootNamespace: facts.rootNamespace ?? text(mesh['rootNamespace']) ?? 'istio-system',
  };
}

function distinct(pods: readonly Pod[]): readonly Pod[] {
  return [...new Map(pods.map((pod) => [JSON.stringify(pod), pod])).values()];
}

/** What an id of an edge stands for; undefined where it names a workload that is not there. */
export function partiesOf(world: World, id: string): readonly Party[] | undefined {
  // A node other than the pod's own stands for every node as well: the checker never counts on a node being the own one.
  if (id === 'node' || id.startsWith('node:')) return [{ kind: 'node' }];
  if (id === 'api-server') return [{ kind: 'api-server' }];
  if (id.startsWith('external:')) {
    const name = id.slice('external:'.length);
    if (!ipaddr.isValid(name)) return [{ kind: 'outside', name }];
    if (world.apiServer.includes(name)) return [{ kind: 'api-server' }];
    if (world.nodeAddresses.includes(name)) return [{ kind: 'node' }];
    return [isOwnHost(world, name) ? { kind: 'own-host', ip: name } : { kind: 'outside', ip: name }];
  }
  return world.pods.get(id)?.map((pod) => (pod.hostNetwork ? { kind: 'node' } : { kind: 'pod', pod }));
}

/** A link-local address that a host-network DaemonSet listens on is on every node. */
function isOwnHost(world: World, ip: string): boolean {
  return (
    ipaddr.process(ip).range() === 'linkLocal' &&
    world.objects.some(
      (one) =>
        one.kind === 'DaemonSet' &&
        doc(doc(one.spec['template'])['spec'])['hostNetwork'] === true &&
        JSON.stringify(one.raw).includes(ip),
    )
  );
}

/** Does `cidr`, less its exceptions, hold all of `inner` (an address or a CIDR)? */
export function holds(cidr: string, except: readonly string[], inner: string): boolean {
  return contains(cidr, inner) && except.every((one) => !contains(one, inner) && !contains(inner, one));
}

function contains(outer: string, inner: string): boolean {
  const [base, length] = ipaddr.parseCIDR(outer);
  const plain = inner.includes('/') ? inner : `${inner}/${ipaddr.parse(inner).kind() === 'ipv6' ? 128 : 32}`;
  const [address, innerLength] = ipaddr.parseCIDR(plain);
  return base.kind() === address.kind() && innerLength >= length && address.match(base, length);
}
