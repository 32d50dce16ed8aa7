import { plural } from '../shared/pure/text.ts';
import type { Edge, Endpoint } from '../model/edge.ts';
import { REMOTE_NODE, edgeId, endpointKey, formatEdge, namespaceOfWorkload } from '../model/edge.ts';
import { edgesAtAny } from '../model/edge-index.ts';
import type { Inventory, Labels, Workload } from '../model/inventory.ts';
import { workloadById, workloadsIn } from '../model/inventory-index.ts';
import type { KubeManifest } from '../model/object.ts';
import { PROBE_ADDRESS } from '../model/istio-ambient.ts';
import {
  buildAuthorizationPolicy,
  buildCiliumPolicy,
  buildNetworkPolicy,
  buildServicePolicy,
} from '../objects/build.ts';
import type { Direction } from '../objects/build.ts';
import type { JsonObject } from '../shared/pure/json.ts';
import { compareText, groupBy, sortBy } from '../shared/pure/order.ts';
import type { Dialect } from '../model/config.ts';
import { inDialect, portRules } from './dialect.ts';
import { beforePods, deriveTunnelRules, isInAmbient, servicesBehind, tunnelPort } from './tunnels.ts';
import type { FurtherPrincipals } from './tunnels.ts';
import { isWaypoint } from './waypoints.ts';
import { chooseSelector } from './selector.ts';
import type { SystemPeers } from './system.ts';

/** One rule of a candidate with what justifies it. */
export interface CandidateRule {
  /** The peer as an endpoint key, or the name of a system peer ("cluster DNS"). */
  readonly peer: string;
  readonly rule: JsonObject;
  readonly edges: readonly Edge[];
  /** Why the rule is as it is, where that is not the edges alone. */
  readonly note?: string;
}

/** Why a candidate cannot be exact or complete. Each becomes a gate that a person reads. */
export interface CandidateProblem {
  readonly gate: 'selector' | 'expressible';
  readonly subject: string;
  readonly text: string;
  readonly fix: string;
}

export interface Candidate {
  readonly workload: string;
  readonly direction: Direction;
  /** Absent where there is no evidence, or where no selector can be exact. */
  readonly object?: KubeManifest;
  readonly rules: readonly CandidateRule[];
  readonly problems: readonly CandidateProblem[];
}

export interface CandidateContext {
  readonly inventory: Inventory;
  /** Edges to keep: passed or adopted, and not accepted to be cut. */
  readonly edges: readonly Edge[];
  readonly system: SystemPeers;
  /** Has a person waived this gate for this subject? */
  readonly waived: (gate: string, subject: string) => boolean;
  /** Workloads that are, or are about to be, in the mesh: their proxies reach istiod. */
  readonly meshed: ReadonlySet<string>;
  /** Is plaintext to this port of a workload exempted by a person? Its callers have no identity to name. */
  readonly plaintextExempt: (workload: string, port: number) => boolean;
  /** In which words policies are written; NetworkPolicy where absent. */
  readonly dialect?: Dialect;
  /** Names of the cluster's CustomResourceDefinitions; undefined where every kind is taken (a directory). */
  readonly kinds?: ReadonlySet<string>;
}

/** Where sidecars reach istiod (Istio, "Ports used by Istio"). */
const XDS_PORT = 15012;

const NAMESPACE_NAME_LABEL = 'kubernetes.io/metadata.name';

/** `sallyport-<workload>-<direction>`, with the kind where two kinds share the name in the namespace. */
export function policyName(workload: Workload, inventory: Inventory, suffix: string): string {
  const twins = workloadsIn(inventory, workload.namespace).filter(
    (other) => other.name === workload.name && other.id !== workload.id,
  );
  const kind = twins.length === 0 ? '' : `-${workload.kind.toLowerCase()}`;
  return `sallyport-${workload.name}${kind}${suffix === '' ? '' : `-${suffix}`}`;
}

interface PortSpec {
  readonly protocol: string;
  readonly port: number;
  readonly endPort?: number;
}

function portsOf(edges: readonly Edge[]): readonly PortSpec[] {
  const seen = new Map<string, PortSpec>();
  for (const edge of edges) {
    const key = `${edge.protocol}/${edge.port}/${edge.endPort ?? ''}`;
    seen.set(key, {
      protocol: edge.protocol,
      port: edge.port,
      ...(edge.endPort === undefined ? {} : { endPort: edge.endPort }),
    });
  }
  return [...seen.values()].sort((a, b) => compareText(a.protocol, b.protocol) || a.port - b.port);
}

/** The ports as the network sees them: of what travels in tunnels to a server in ambient mode that of the tunnel too. */
function portsOn({ inventory }: CandidateContext, edges: readonly Edge[]): readonly PortSpec[] {
  return [...portsOf(edges), ...tunnelPort(inventory, edges)];
}

function networkPorts(ports: readonly PortSpec[]): readonly JsonObject[] {
  return ports.map(({ protocol, port, endPort }) => ({
    protocol,
    port,
    ...(endPort === undefined ? {} : { endPort }),
  }));
}

function ciliumPorts(ports: readonly PortSpec[]): readonly JsonObject[] {
  return portRules(
    ports.map(({ protocol, port, endPort }) => ({
      port: String(port),
      ...(endPort === undefined ? {} : { endPort }),
      protocol,
    })),
  );
}

function podPeer(namespace: string, labels: Labels, from: string): JsonObject {
  return {
    ...(namespace === from ? {} : { namespaceSelector: { matchLabels: { [NAMESPACE_NAME_LABEL]: namespace } } }),
    ...(Object.keys(labels).length === 0 && namespace !== from ? {} : { podSelector: { matchLabels: labels } }),
  };
}

/** Where no name server was read (a directory of one application): DNS by its ports, 5353 being the pods' on OpenShift. */
const DNS_PORTS = [53, 5353].flatMap((port) => [
  { protocol: 'UDP', port },
  { protocol: 'TCP', port },
]);
const DNS_UNREAD = "the cluster's name servers are not among what was read: their ports are named, and no address";

/** Every address. */
const OUTSIDE = ['0.0.0.0/0', '::/0'];

function hostCidr(ip: string): string {
  return `${ip}/${ip.includes(':') ? 128 : 32}`;
}

/** Named by its address: no name is known, or the name is only our word for a well-known address (the cloud's metadata server). */
function byAddress(end: Extract<Endpoint, { kind: 'external' }>): end is typeof end & { readonly ip: string } {
  return end.ip !== undefined && (end.name === undefined || end.name === 'metadata-server');
}

/** Edges of a workload in one direction, by peer, peers in text order. */
function byPeer(
  edges: readonly Edge[],
  workloads: readonly string[],
  direction: Direction,
): readonly (readonly [string, readonly Edge[]])[] {
  const mine = edgesAtAny(edges, direction === 'ingress' ? 'dst' : 'src', workloads);
  const groups = groupBy(mine, (edge) => endpointKey(direction === 'ingress' ? edge.src : edge.dst));
  return sortBy(groups.entries(), ([key]) => key);
}

interface PeerLabels {
  readonly labels: Labels;
  /** Other workloads that the labels select too, by a person's waiver. */
  readonly also: readonly string[];
}

/** The selector of a workload, and the problem where it is not exact. */
function selectorFor(context: CandidateContext, id: string): PeerLabels | CandidateProblem {
  const workload = workloadById(context.inventory, id);
  const label = `sallyport.dev/workload: ${id.slice(id.lastIndexOf('/') + 1)}`;
  if (workload === undefined) {
    return {
      gate: 'selector',
      subject: id,
      text: `${id} has traffic on record but is not in the cluster, so no selector can name it`,
      fix: `sallyport accept src=${id} --reason "it is gone" (and dst=${id}), or bring it back`,
    };
  }
  const choice = chooseSelector(workload, context.inventory);
  if (choice.kind === 'exact') return { labels: choice.labels, also: [] };
  if (choice.kind === 'shared' && context.waived('selector', id)) return { labels: choice.labels, also: choice.also };
  const text =
    choice.kind === 'none'
      ? `the pods of ${id} carry no label that outlives a run`
      : `every lasting label of ${id} is also on ${choice.also.join(', ')}`;
  return {
    gate: 'selector',
    subject: id,
    text,
    fix:
      `add the label "${label}" to its pod template` +
      (choice.kind === 'shared'
        ? `, or sallyport waive gate=selector,subject=${id} --reason "..." to select them together`
        : ''),
  };
}

function isProblem(value: PeerLabels | CandidateProblem): value is CandidateProblem {
  return 'gate' in value;
}

/**
 * The policy for one workload and direction: one self-sufficient object, with DNS and the mesh's own ports in it, that allows
 * what the edges show and nothing else. No edges, no object: an empty rule list would be a denial nobody asked for.
 *
 * Rules written: the pod's own node is always let through by the NetworkPolicy specification ("traffic to and from the node
 * where a Pod is running is always allowed"), so probes need none. Ports are those after NAT (the pod's), as the specification leaves
 * Service addresses undefined. API server sources cannot be selected: their rule names the port alone unless the CNI matches them by
 * address.
 */
export function deriveNetworkCandidate(context: CandidateContext, workload: Workload, direction: Direction): Candidate {
  const alone = byPeer(context.edges, [workload.id], direction);
  if (alone.length === 0) return { workload: workload.id, direction, rules: [], problems: [] };
  const own = selectorFor(context, workload.id);
  if (isProblem(own)) return { workload: workload.id, direction, rules: [], problems: [own] };
  // Whatever the object selects it isolates, so it admits what every one of them needs.
  const selected = [workload.id, ...own.also];
  const groups = own.also.length === 0 ? alone : byPeer(context.edges, selected, direction);
  const needsMesh =
    direction === 'egress' &&
    context.system.istiod !== undefined &&
    (selected.some((id) => context.meshed.has(id)) ||
      isWaypoint(context.inventory, workload) ||
      meshEdges(context.system, groups).length > 0);
  const name = policyName(workload, context.inventory, direction);
  const meta = { name, namespace: workload.namespace, workload: workload.id };
  const cilium = direction === 'egress' && wantsCilium(context, groups);
  const built = cilium
    ? ciliumRules(context, workload, groups, needsMesh)
    : networkRules(context, workload, direction, groups, needsMesh);
  if (built.rules.length === 0 && built.problems.length > 0) return { workload: workload.id, direction, ...built };
  const rules = built.rules.map((rule) => rule.rule).filter((rule) => Object.keys(rule).length > 0);
  if (rules.length === 0) return { workload: workload.id, direction, ...built };
  return {
    workload: workload.id,
    direction,
    ...built,
    object: cilium
      ? buildCiliumPolicy(meta, own.labels, rules)
      : inDialect(
          buildNetworkPolicy(meta, own.labels, direction, rules),
          context.dialect ?? 'kubernetes',
          context.kinds,
        ),
  };
}

/**
 * Opens tunnels to a workload in ambient mode to whom its allow-list admits, and to nobody else; no object where nothing is tunnelled to it. A Service
 * with a waypoint may lead to what is outside the mesh: of that there is no tunnel, and `atWaypoints` all the same.
 */
export interface TunnelAccess {
  readonly object?: KubeManifest;
  /** Of its Services before which a waypoint stands: who may come through that. They go first. */
  readonly atWaypoints: readonly KubeManifest[];
  readonly problems: readonly CandidateProblem[];
}

/**
 * The AuthorizationPolicy at layer 4 that goes with an open port 15008 of the workload's allow-list (tunnels.ts). Where accounts or ranges would
 * make it wider than the allow-list, a person is asked first. Not proven on packets.
 */
export function deriveTunnelAccess(
  context: CandidateContext,
  workload: Workload,
  further?: FurtherPrincipals,
): TunnelAccess {
  const none = { atWaypoints: [], problems: [] };
  const own = selectorFor(context, workload.id);
  // That it cannot be selected is said of its NetworkPolicy already; what stands at the waypoint of a Service selects no pods.
  if (isProblem(own) && isInAmbient(workload)) return none;
  const edges = edgesAtAny(context.edges, 'dst', [workload.id, ...(isProblem(own) ? [] : own.also)]);
  const direct = isInAmbient(workload)
    ? deriveTunnelRules(context.inventory, edges, further)
    : { rules: [], wider: beforePods(context.inventory, edges) };
  const { rules } = direct;
  const behind = servicesBehind(context.inventory, context.edges, workload, further);
  if (rules.length === 0 && behind.length === 0 && direct.wider.length === 0) return none;
  const wider = [...direct.wider, ...behind.flatMap((one) => one.wider)];
  if (wider.length > 0 && !context.waived('expressible', workload.id))
    return {
      atWaypoints: [],
      problems: wider.map((text) => ({
        gate: 'expressible',
        subject: workload.id,
        text: `behind the tunnel port of ${workload.id} more would be admitted than is on record: ${text}`,
        fix: `give each caller an account of its own, or sallyport waive gate=expressible,subject=${workload.id} --reason "..." admits the account on all of those ports`,
      })),
    };
  const meta = { name: policyName(workload, context.inventory, 'tunnels'), namespace: workload.namespace };
  const atWaypoints = behind.map((one) =>
    buildServicePolicy(
      { name: waypointPolicyName(one.service), namespace: one.namespace, workload: workload.id },
      one.service,
      one.rules,
    ),
  );
  if (isProblem(own) || rules.length === 0) return { atWaypoints, problems: [] };
  const object = buildAuthorizationPolicy({ ...meta, workload: workload.id }, own.labels, rules);
  return { object, atWaypoints, problems: [] };
}

/** Of the policy that says who may come through a waypoint to a Service. */
export function waypointPolicyName(service: string): string {
  return `sallyport-${service}-waypoint`;
}

/** Egress to istiod and DNS alone, for a workload without egress on record that takes a sidecar inside an isolated namespace. */
export function deriveMeshEgress(context: CandidateContext, workload: Workload): KubeManifest | undefined {
  const own = selectorFor(context, workload.id);
  if (isProblem(own)) return undefined;
  const cilium = wantsCilium(context, []);
  const built = cilium ? ciliumRules(context, workload, [], true) : networkRules(context, workload, 'egress', [], true);
  const rules = built.rules.map((rule) => rule.rule);
  if (rules.length === 0) return undefined;
  const meta = {
    name: policyName(workload, context.inventory, 'egress'),
    namespace: workload.namespace,
    workload: workload.id,
  };
  return cilium
    ? buildCiliumPolicy(meta, own.labels, rules)
    : inDialect(buildNetworkPolicy(meta, own.labels, 'egress', rules), context.dialect ?? 'kubernetes', context.kinds);
}

/** Cilium does not match the API server, host names or its own host by ipBlock: such egress needs its own kind. */
function wantsCilium(context: CandidateContext, groups: readonly (readonly [string, readonly Edge[]])[]): boolean {
  if (context.inventory.facts.cni.name !== 'cilium') return false;
  if (context.kinds !== undefined && !context.kinds.has('ciliumnetworkpolicies.cilium.io')) return false;
  // Its own words for names, the API server and nodes, wherever it is asked for.
  if (context.dialect === 'cilium') return true;
  if (context.system.dns?.nodeLocal === true) return true;
  return groups.some(([, edges]) => {
    const dst = edges[0]?.dst;
    return (
      (dst?.kind === 'api-server' && !context.inventory.facts.cni.ipBlockMatches.includes('api-server')) ||
      dst?.kind === 'node' ||
      (dst?.kind === 'external' && !byAddress(dst))
    );
  });
}

/** Does the rule for the cluster's DNS let this edge through? A name server has other ports too, such as its metrics. */
function isDns({ dns }: SystemPeers, edge: Edge): boolean {
  return (
    dns?.workloads.includes(endpointKey(edge.dst)) === true &&
    edge.endPort === undefined &&
    dns.ports.some(({ port, protocol }) => port === edge.port && protocol === edge.protocol)
  );
}

/** Does the rule for the mesh's control plane let this edge through? */
function isMesh({ istiod }: SystemPeers, edge: Edge): boolean {
  return (
    istiod?.workload !== undefined &&
    endpointKey(edge.dst) === istiod.workload &&
    edge.protocol === 'TCP' &&
    edge.port === XDS_PORT &&
    edge.endPort === undefined
  );
}

function besidesSystem(system: SystemPeers, edges: readonly Edge[]): readonly Edge[] {
  return edges.filter((edge) => !isDns(system, edge) && !isMesh(system, edge));
}

function meshEdges(system: SystemPeers, groups: readonly (readonly [string, readonly Edge[]])[]): readonly Edge[] {
  return groups.flatMap(([, edges]) => edges.filter((edge) => isMesh(system, edge)));
}

function dnsEdges(system: SystemPeers, groups: readonly (readonly [string, readonly Edge[]])[]): readonly Edge[] {
  return groups.flatMap(([, edges]) => edges.filter((edge) => isDns(system, edge)));
}

type Built = Pick<Candidate, 'rules' | 'problems'>;

function networkRules(
  context: CandidateContext,
  workload: Workload,
  direction: Direction,
  groups: readonly (readonly [string, readonly Edge[]])[],
  needsMesh: boolean,
): Built {
  const side = direction === 'ingress' ? 'from' : 'to';
  const rules: CandidateRule[] = [];
  const problems: CandidateProblem[] = [];
  const { cni, apiServer } = context.inventory.facts;
  const exposed = context.inventory.services.some(
    (service) => ['LoadBalancer', 'NodePort'].includes(service.type) && service.workloads.includes(workload.id),
  );
  const outside: Edge[] = [];
  const add = (peer: string, peers: readonly JsonObject[] | undefined, edges: readonly Edge[], note?: string): void => {
    rules.push({
      peer,
      rule: { ...(peers === undefined ? {} : { [side]: peers }), ports: networkPorts(portsOn(context, edges)) },
      edges,
      ...(note === undefined ? {} : { note }),
    });
  };
  /** Another node than the pod's own is a peer like any other: by its address where the CNI matches nodes, and not at all elsewhere. */
  const addRemoteNode = (peer: string, edges: readonly Edge[]): void => {
    const addresses = context.inventory.nodes.flatMap((node) => node.addresses);
    if (cni.ipBlockMatches.includes('nodes') && addresses.length > 0)
      add(
        peer,
        addresses.map((ip) => ({ ipBlock: { cidr: hostCidr(ip) } })),
        edges,
        'other nodes, by their addresses',
      );
    else if (context.waived('expressible', workload.id))
      add(
        peer,
        undefined,
        edges,
        `other nodes cannot be named under ${cni.name}: the port alone, by a person's waiver`,
      );
    else
      problems.push({
        gate: 'expressible',
        subject: workload.id,
        text: `${direction} ${direction === 'ingress' ? 'from' : 'to'} other nodes (a node port, a load balancer, the host network there) cannot be named in a NetworkPolicy under ${cni.name}`,
        fix: `sallyport waive gate=expressible,subject=${workload.id} --reason "..." names the ports alone`,
      });
  };
  for (const [peer, edges] of groups) {
    const end = direction === 'ingress' ? edges[0]?.src : edges[0]?.dst;
    if (end === undefined) continue;
    switch (end.kind) {
      case 'workload': {
        const rest = direction === 'egress' ? besidesSystem(context.system, edges) : edges;
        if (rest.length === 0) break;
        const host = context.inventory.workloads
          .find((one) => one.id === end.id)
          ?.podSets.every((set) => set.hostNetwork);
        if (host === true) {
          rules.push({
            peer,
            rule: {},
            edges: rest,
            note: 'a host-network peer: only its node address could be named',
          });
          break;
        }
        const chosen = selectorFor(context, end.id);
        if (isProblem(chosen)) problems.push(chosen);
        else add(peer, [podPeer(namespaceOfWorkload(end.id), chosen.labels, workload.namespace)], rest);
        break;
      }
      case 'node':
        if (end.name === REMOTE_NODE) addRemoteNode(peer, edges);
        else if (direction === 'ingress' && isInAmbient(workload))
          add(
            peer,
            [{ ipBlock: { cidr: hostCidr(PROBE_ADDRESS) } }],
            edges,
            `in ambient mode the node's own traffic comes from ${PROBE_ADDRESS}, which is not let through by itself`,
          );
        else rules.push({ peer, rule: {}, edges, note: 'the own node is always let through: no rule needed' });
        break;
      case 'api-server':
        if (apiServer.length > 0 && cni.ipBlockMatches.includes('api-server'))
          add(
            peer,
            apiServer.map((cidr) => ({ ipBlock: { cidr } })),
            edges,
          );
        else if (direction === 'ingress')
          add(peer, undefined, edges, 'the API server calls a webhook and cannot be selected: the port alone is named');
        else
          problems.push({
            gate: 'expressible',
            subject: workload.id,
            text: `egress to the API server cannot be named in a NetworkPolicy under ${cni.name}`,
            fix:
              apiServer.length === 0
                ? 'state cluster.apiServer (CIDRs) and cluster.cni.ipBlockMatches in the configuration'
                : `install the CNI's own policy kind, or state that its ipBlock matches the API server`,
          });
        break;
      case 'external':
        if (direction === 'ingress' && exposed) {
          outside.push(...edges);
        } else if (byAddress(end)) {
          add(peer, [{ ipBlock: { cidr: hostCidr(end.ip) } }], edges);
        } else if (context.waived('expressible', workload.id)) {
          add(
            peer,
            [{ ipBlock: { cidr: '0.0.0.0/0' } }],
            edges,
            `${end.name ?? peer} is a name and NetworkPolicy knows addresses alone: every address, on this port, by a person's waiver`,
          );
        } else {
          problems.push({
            gate: 'expressible',
            subject: workload.id,
            text: `${direction} ${direction === 'egress' ? 'to' : 'from'} ${end.name ?? peer} is by name; NetworkPolicy knows addresses alone and ${cni.name} offers no kind for it here`,
            fix: `sallyport waive gate=expressible,subject=${workload.id} --reason "..." allows every address on these ports`,
          });
        }
        break;
      case 'unknown':
        break;
    }
  }
  if (outside.length > 0)
    add(
      'clients outside',
      OUTSIDE.filter(
        (cidr) =>
          !cidr.includes(':') || context.inventory.nodes.some((node) => node.addresses.some((ip) => ip.includes(':'))),
      ).map((cidr) => ({ ipBlock: { cidr } })),
      outside,
      'a Service of type LoadBalancer or NodePort offers it to the outside: any address, on the ports seen',
    );
  if (direction === 'egress') {
    const { dns, istiod } = context.system;
    if (dns !== undefined) {
      const edges = dnsEdges(context.system, groups);
      const peers: JsonObject[] = [podPeer(dns.namespace, dns.labels, workload.namespace)];
      for (const address of dns.nodeAddresses) peers.push({ ipBlock: { cidr: hostCidr(address) } });
      rules.push({
        peer: 'cluster DNS',
        rule: {
          to: peers,
          ports: dns.ports.map(({ port, protocol }) => ({ protocol, port })),
        },
        edges,
        note: `names are resolved through ${dns.namespace}${dns.nodeLocal ? ' and NodeLocal DNSCache' : ''}`,
      });
    } else rules.push({ peer: 'cluster DNS', rule: { ports: DNS_PORTS }, edges: [], note: DNS_UNREAD });
    if (needsMesh && istiod !== undefined)
      rules.push({
        peer: 'mesh control plane',
        rule: {
          to: [podPeer(istiod.namespace, istiod.labels, workload.namespace)],
          ports: [{ protocol: 'TCP', port: XDS_PORT }],
        },
        edges: meshEdges(context.system, groups),
        note: 'the sidecar gets certificates and configuration from istiod on 15012',
      });
  }
  return { rules, problems };
}

function ciliumRules(
  context: CandidateContext,
  workload: Workload,
  groups: readonly (readonly [string, readonly Edge[]])[],
  needsMesh: boolean,
): Built {
  const rules: CandidateRule[] = [];
  const problems: CandidateProblem[] = [];
  const endpoints = (namespace: string, labels: Labels): readonly JsonObject[] => [
    { matchLabels: { 'k8s:io.kubernetes.pod.namespace': namespace, ...labels } },
  ];
  const add = (peer: string, target: JsonObject, edges: readonly Edge[], note?: string): void => {
    rules.push({
      peer,
      rule: { ...target, toPorts: ciliumPorts(portsOn(context, edges)) },
      edges,
      ...(note === undefined ? {} : { note }),
    });
  };
  const { dns, istiod } = context.system;
  for (const [peer, edges] of groups) {
    const end = edges[0]?.dst;
    if (end === undefined) continue;
    switch (end.kind) {
      case 'workload': {
        const rest = besidesSystem(context.system, edges);
        if (rest.length === 0) break;
        const host = context.inventory.workloads
          .find((one) => one.id === end.id)
          ?.podSets.every((set) => set.hostNetwork);
        if (host === true) {
          add(peer, { toEntities: ['host', 'remote-node'] }, rest, 'a host-network peer');
          break;
        }
        const chosen = selectorFor(context, end.id);
        if (isProblem(chosen)) problems.push(chosen);
        else add(peer, { toEndpoints: endpoints(namespaceOfWorkload(end.id), chosen.labels) }, rest);
        break;
      }
      case 'node': {
        const others = edges.filter((edge) => !(dns?.nodeLocal === true && edge.port === 53));
        if (others.length > 0) add(peer, { toEntities: ['host', 'remote-node'] }, others);
        break;
      }
      case 'api-server':
        add(peer, { toEntities: ['kube-apiserver'] }, edges);
        break;
      case 'external':
        if (byAddress(end)) add(peer, { toCIDR: [hostCidr(end.ip)] }, edges);
        else if (end.name !== undefined) add(peer, { toFQDNs: [{ matchName: end.name }] }, edges);
        break;
      case 'unknown':
        break;
    }
  }
  if (dns !== undefined) {
    const edges = dnsEdges(context.system, groups);
    const toPorts = [
      {
        ports: dns.ports.map(({ port, protocol }) => ({ port: String(port), protocol })),
        rules: { dns: [{ matchPattern: '*' }] },
      },
    ];
    rules.push({
      peer: 'cluster DNS',
      rule: { toEndpoints: endpoints(dns.namespace, dns.labels), toPorts },
      edges,
      note: 'seen by the DNS proxy, so that names can be matched',
    });
    if (dns.nodeLocal)
      rules.push({
        peer: 'NodeLocal DNSCache',
        rule: { toEntities: ['host'], toPorts },
        edges: groups
          .filter(([peer]) => peer === 'node')
          .flatMap(([, list]) => list.filter((edge) => edge.port === 53)),
        note: '169.254.20.10 is the host to Cilium, which an ipBlock does not match',
      });
  } else {
    const toPorts = [
      {
        ports: DNS_PORTS.map(({ port, protocol }) => ({ port: String(port), protocol })),
        rules: { dns: [{ matchPattern: '*' }] },
      },
    ];
    rules.push({ peer: 'cluster DNS', rule: { toEntities: ['all'], toPorts }, edges: [], note: DNS_UNREAD });
  }
  if (needsMesh && istiod !== undefined)
    rules.push({
      peer: 'mesh control plane',
      rule: {
        toEndpoints: endpoints(istiod.namespace, istiod.labels),
        toPorts: [{ ports: [{ port: String(XDS_PORT), protocol: 'TCP' }] }],
      },
      edges: meshEdges(context.system, groups),
      note: 'the sidecar gets certificates and configuration from istiod on 15012',
    });
  return { rules, problems };
}

/** `2026-10-05 to 2026-10-13`, or the one day. */
function spanText({ first, last }: Edge): string {
  const [from, to] = [first, last].map((time) => new Date(time).toISOString().slice(0, 10));
  return from === to ? (from ?? '') : `${from} to ${to}`;
}

/** One line of evidence for a rule: how often, between when, by what source. */
export function evidenceLine(edge: Edge): string {
  const what =
    edge.origin.kind === 'declared'
      ? `declared by ${edge.origin.by}`
      : `seen ${edge.count}x on ${plural(edge.days.length, 'day')}, ${spanText(edge)}, by ${edge.sources.join(', ')}`;
  return `${edgeId(edge)} ${formatEdge(edge)}: ${what}; ${edge.review}`;
}
