import type { Inventory } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { ConnectionQuery } from '../../src/model/verdict.ts';
import type { Place, Raw } from './naive-evaluate.ts';
import { inCidr, labelsMatch, peerMatches, places, portMatches } from './naive-evaluate.ts';

/*
 * Policies that have an order, read aloud: every pod against every pod, port by port, rule by rule, from the raw manifests. It shares no
 * code with the evaluator, and needs everything to be known: one IPv4 address for every pod, every policy valid, no nodes.
 */

type Direction = 'ingress' | 'egress';

interface Flow {
  readonly direction: Direction;
  readonly self: Place;
  readonly other: Place;
  readonly dst: Place;
  readonly src: Place;
  readonly protocol: string;
  readonly port: number;
}

type Side = (inventory: Inventory, flow: Flow) => boolean;

/** A selector of Calico by its text, as the test that made it means it. */
export type CalicoMeaning = ReadonlyMap<string, (labels: Readonly<Record<string, string>>) => boolean>;

function everyPair(inventory: Inventory, query: ConnectionQuery, side: Side): boolean {
  const sources = places(inventory, query.src, undefined);
  const destinations = places(inventory, query.dst, query);
  for (const src of sources) {
    for (const dst of destinations) {
      for (let port = query.port; port <= (query.endPort ?? query.port); port += 1) {
        const base = { src, dst, protocol: query.protocol, port };
        if (src.kind === 'pod' && !side(inventory, { ...base, direction: 'egress', self: src, other: dst }))
          return false;
        if (dst.kind === 'pod' && !side(inventory, { ...base, direction: 'ingress', self: dst, other: src }))
          return false;
      }
    }
  }
  return true;
}

const specOf = (policy: KubeManifest): Raw => policy['spec'] as Raw;
const listOf = (value: unknown): Raw[] => (value as Raw[] | undefined) ?? [];
const labelsOf = (place: Place): Readonly<Record<string, string>> => place.podSet?.labels ?? {};

function namespaceLabels(inventory: Inventory, name: string | undefined): Readonly<Record<string, string>> {
  const found = inventory.namespaces.find((one) => one.name === name);
  return { ...found?.labels, 'kubernetes.io/metadata.name': name ?? '' };
}

const isKubernetes = (policy: KubeManifest): boolean => policy.apiVersion.startsWith('networking.k8s.io/');

/** What NetworkPolicies say: nothing where none isolates. */
function additive(inventory: Inventory, flow: Flow): 'open' | 'admits' | 'denies' {
  const { direction, self, other, dst, protocol, port } = flow;
  let verdict: 'open' | 'admits' | 'denies' = 'open';
  for (const policy of inventory.policies.filter(isKubernetes)) {
    const spec = specOf(policy);
    if (policy.metadata['namespace'] !== self.namespace) continue;
    const types = spec['policyTypes'] as string[];
    if (!types.includes(direction === 'ingress' ? 'Ingress' : 'Egress')) continue;
    if (!labelsMatch(spec['podSelector'] as Raw | undefined, labelsOf(self))) continue;
    if (verdict === 'open') verdict = 'denies';
    for (const rule of listOf(spec[direction])) {
      const ports = listOf(rule['ports']);
      const peers = listOf(rule[direction === 'ingress' ? 'from' : 'to']);
      const onPort = ports.length === 0 || ports.some((one) => portMatches(one, dst, protocol, port));
      const isPeer =
        peers.length === 0 || peers.some((one) => peerMatches(inventory, one, self.namespace ?? '', other));
      if (onPort && isPeer) verdict = 'admits';
    }
  }
  return verdict;
}

// ---- Admin policies

export function naiveAdmin(inventory: Inventory, query: ConnectionQuery): boolean {
  return everyPair(inventory, query, (all, flow) => {
    const ofTier = (admin: boolean): KubeManifest[] =>
      all.policies
        .filter((policy) =>
          policy.kind === 'ClusterNetworkPolicy'
            ? specOf(policy)['tier'] === (admin ? 'Admin' : 'Baseline')
            : policy.kind === (admin ? 'AdminNetworkPolicy' : 'BaselineAdminNetworkPolicy'),
        )
        .sort((a, b) => Number(specOf(a)['priority'] ?? 0) - Number(specOf(b)['priority'] ?? 0));
    const first = adminTier(all, ofTier(true), flow);
    if (first !== 'Pass') return first !== 'Deny';
    const second = additive(all, flow);
    if (second !== 'open') return second === 'admits';
    return adminTier(all, ofTier(false), flow) !== 'Deny';
  });
}

/** The action of the first rule that matches; Pass where none does. */
function adminTier(inventory: Inventory, policies: readonly KubeManifest[], flow: Flow): string {
  for (const policy of policies) {
    const spec = specOf(policy);
    if (!adminPods(inventory, spec['subject'] as Raw, flow.self)) continue;
    for (const rule of listOf(spec[flow.direction])) {
      const peers = listOf(rule[flow.direction === 'ingress' ? 'from' : 'to']);
      const isPeer = peers.some((peer) => {
        const networks = peer['networks'] as string[] | undefined;
        if (networks !== undefined) return networks.some((one) => inCidr(one, flow.other.ip));
        return flow.other.kind === 'pod' && adminPods(inventory, peer, flow.other);
      });
      const ports = rule['ports'] as Raw[] | undefined;
      const protocols = rule['protocols'] as Raw[] | undefined;
      const onPort =
        (ports === undefined && protocols === undefined) ||
        (ports ?? []).some((one) => adminPort(one, flow)) ||
        (protocols ?? []).some((one) => adminProtocol(one, flow));
      if (isPeer && onPort) return rule['action'] as string;
    }
  }
  return 'Pass';
}

function adminPods(inventory: Inventory, value: Raw, place: Place): boolean {
  const ofNamespace = namespaceLabels(inventory, place.namespace);
  if (value['namespaces'] !== undefined) return labelsMatch(value['namespaces'] as Raw, ofNamespace);
  const pods = value['pods'] as Raw;
  return (
    labelsMatch(pods['namespaceSelector'] as Raw, ofNamespace) &&
    labelsMatch(pods['podSelector'] as Raw, labelsOf(place))
  );
}

function hasNamed({ dst, protocol, port }: Flow, name: unknown): boolean {
  return (dst.podSet?.containers ?? []).some((container) =>
    container.ports.some((one) => one.name === name && one.protocol === protocol && one.port === port),
  );
}

function adminPort(entry: Raw, flow: Flow): boolean {
  const number = entry['portNumber'] as Raw | undefined;
  if (number !== undefined) return number['protocol'] === flow.protocol && number['port'] === flow.port;
  const range = entry['portRange'] as Raw | undefined;
  if (range !== undefined) {
    return (
      range['protocol'] === flow.protocol && flow.port >= Number(range['start']) && flow.port <= Number(range['end'])
    );
  }
  return hasNamed(flow, entry['namedPort']);
}

function adminProtocol(entry: Raw, flow: Flow): boolean {
  if (entry['destinationNamedPort'] !== undefined) return hasNamed(flow, entry['destinationNamedPort']);
  const own = entry[flow.protocol.toLowerCase()] as Raw | undefined;
  if (own === undefined) return false;
  const port = own['destinationPort'] as Raw | undefined;
  if (port === undefined) return true;
  const range = port['range'] as Raw | undefined;
  return range === undefined
    ? port['number'] === flow.port
    : flow.port >= Number(range['start']) && flow.port <= Number(range['end']);
}

// ---- Cilium

export function naiveCilium(inventory: Inventory, query: ConnectionQuery): boolean {
  return everyPair(inventory, query, (all, flow) => {
    const { direction, self } = flow;
    const specs = all.policies.flatMap((policy): { namespace: string; spec: Raw }[] => {
      const namespace = (policy.metadata['namespace'] as string | undefined) ?? '';
      if (isKubernetes(policy) || (namespace !== '' && namespace !== self.namespace)) return [];
      const list = [policy['spec'] as Raw | undefined, ...listOf(policy['specs'])];
      return list.flatMap((spec) => {
        const acts = spec !== undefined && ciliumEndpoint(all, spec['endpointSelector'] as Raw, '', self);
        return acts ? [{ namespace, spec }] : [];
      });
    });
    let isolated = additive(all, flow) !== 'open';
    let admitted = additive(all, flow) === 'admits';
    for (const { namespace, spec } of specs) {
      const [allow, deny] = [listOf(spec[direction]), listOf(spec[`${direction}Deny`])];
      if (deny.some((rule) => ciliumRule(all, rule, namespace, flow))) return false;
      if (allow.some((rule) => ciliumRule(all, rule, namespace, flow))) admitted = true;
      const stated = (spec['enableDefaultDeny'] as Raw | undefined)?.[direction];
      if (allow.length + deny.length > 0 && stated !== false) isolated = true;
    }
    return !isolated || admitted;
  });
}

function ciliumRule(inventory: Inventory, rule: Raw, namespace: string, flow: Flow): boolean {
  const at = flow.direction === 'ingress' ? 'from' : 'to';
  const { other } = flow;
  const ports = listOf(rule['toPorts']).flatMap((one) => listOf(one['ports']));
  const onPort = ports.length === 0 || ports.some((one) => ciliumPort(one, flow));
  const endpoints = rule[`${at}Endpoints`] as Raw[] | undefined;
  const entities = rule[`${at}Entities`] as string[] | undefined;
  const blocks = rule[`${at}CIDRSet`] as { cidr: string; except?: string[] }[] | undefined;
  if (!onPort) return false;
  if (endpoints !== undefined) {
    return other.kind === 'pod' && endpoints.some((one) => ciliumEndpoint(inventory, one, namespace, other));
  }
  if (entities !== undefined) {
    return entities.some(
      (one) =>
        one === 'all' || (one === 'cluster' && other.kind === 'pod') || (one === 'world' && other.kind === 'external'),
    );
  }
  if (blocks !== undefined) {
    return (
      other.kind === 'external' &&
      blocks.some(({ cidr, except }) => inCidr(cidr, other.ip) && !(except ?? []).some((one) => inCidr(one, other.ip)))
    );
  }
  return ports.length > 0;
}

function ciliumPort(entry: Raw, flow: Flow): boolean {
  const protocol = (entry['protocol'] as string | undefined) ?? 'ANY';
  if (protocol !== 'ANY' && protocol !== flow.protocol) return false;
  const text = entry['port'] as string;
  const first = Number(text);
  if (Number.isNaN(first)) return hasNamed(flow, text);
  return flow.port >= first && flow.port <= Number(entry['endPort'] ?? first);
}

/** A selector over the labels of a pod and of its namespace; kept to a namespace where it names none. */
function ciliumEndpoint(inventory: Inventory, selector: Raw, namespace: string, place: Place): boolean {
  const labels: Record<string, string> = {
    ...labelsOf(place),
    'k8s:io.kubernetes.pod.namespace': place.namespace ?? '',
  };
  for (const [key, value] of Object.entries(namespaceLabels(inventory, place.namespace))) {
    labels[`k8s:io.cilium.k8s.namespace.labels.${key}`] = value;
  }
  const named = JSON.stringify(selector).includes('k8s:io.');
  if (!named && namespace !== '' && place.namespace !== namespace) return false;
  return labelsMatch(selector, labels);
}

// ---- Calico

export function naiveCalico(inventory: Inventory, query: ConnectionQuery, meaning: CalicoMeaning): boolean {
  return everyPair(inventory, query, (all, flow) => {
    const own = all.policies.filter(
      ({ kind, apiVersion }) => apiVersion === 'projectcalico.org/v3' && kind.endsWith('NetworkPolicy'),
    );
    const tiers = [
      { name: 'default', order: 1_000_000, end: 'Deny' },
      ...all.policies
        .filter(({ kind }) => kind === 'Tier')
        .map((tier) => ({
          name: tier.metadata.name,
          order: Number(specOf(tier)['order'] ?? Number.POSITIVE_INFINITY),
          end: (specOf(tier)['defaultAction'] as string | undefined) ?? 'Deny',
        })),
    ].sort((a, b) => a.order - b.order);
    for (const tier of tiers) {
      const verdict = calicoTier(all, own, tier, flow, meaning);
      if (verdict === 'Allow') return true;
      if (verdict === 'Deny') return false;
    }
    return true;
  });
}

function calicoTier(
  inventory: Inventory,
  policies: readonly KubeManifest[],
  tier: { readonly name: string; readonly end: string },
  flow: Flow,
  meaning: CalicoMeaning,
): string {
  const acting = policies
    .filter((policy) => {
      const spec = specOf(policy);
      const types = spec['types'] as string[];
      return (
        ((spec['tier'] as string | undefined) ?? 'default') === tier.name &&
        types.includes(flow.direction === 'ingress' ? 'Ingress' : 'Egress') &&
        (policy.kind === 'GlobalNetworkPolicy' || policy.metadata['namespace'] === flow.self.namespace) &&
        holds(meaning, spec['selector'], labelsOf(flow.self)) &&
        holds(meaning, spec['namespaceSelector'], namespaceLabels(inventory, flow.self.namespace))
      );
    })
    .map((policy) => ({ policy, order: Number(specOf(policy)['order']) }))
    .sort((a, b) => a.order - b.order);
  const kubernetes = tier.name === 'default' ? additive(inventory, flow) : 'open';
  for (const { policy } of acting.filter(({ order }) => order < 1000)) {
    const action = calicoPolicy(inventory, policy, flow, meaning);
    if (action !== undefined) return action;
  }
  if (kubernetes === 'admits') return 'Allow';
  for (const { policy } of acting.filter(({ order }) => order > 1000)) {
    const action = calicoPolicy(inventory, policy, flow, meaning);
    if (action !== undefined) return action;
  }
  return acting.length > 0 || kubernetes === 'denies' ? tier.end : 'Pass';
}

function holds(meaning: CalicoMeaning, text: unknown, labels: Readonly<Record<string, string>>): boolean {
  if (text === undefined) return true;
  const means = meaning.get(text as string);
  if (means === undefined) throw new Error(`no meaning of ${JSON.stringify(text)}`);
  return means(labels);
}

function calicoPolicy(
  inventory: Inventory,
  policy: KubeManifest,
  flow: Flow,
  meaning: CalicoMeaning,
): string | undefined {
  const namespace = policy.metadata['namespace'] as string | undefined;
  for (const rule of listOf(specOf(policy)[flow.direction])) {
    if (rule['action'] === 'Log') continue;
    if (rule['protocol'] !== undefined && rule['protocol'] !== flow.protocol) continue;
    if (rule['notProtocol'] === flow.protocol) continue;
    const source = (rule['source'] as Raw | undefined) ?? {};
    const destination = (rule['destination'] as Raw | undefined) ?? {};
    if (!calicoEntity(inventory, source, flow.src, namespace, meaning)) continue;
    if (!calicoEntity(inventory, destination, flow.dst, namespace, meaning)) continue;
    const ports = destination['ports'] as (number | string)[] | undefined;
    const notPorts = destination['notPorts'] as (number | string)[] | undefined;
    if (ports !== undefined && !ports.some((one) => calicoPort(one, flow))) continue;
    if (notPorts?.some((one) => calicoPort(one, flow)) === true) continue;
    return rule['action'] as string;
  }
  return undefined;
}

function calicoPort(port: number | string, flow: Flow): boolean {
  if (typeof port === 'number') return port === flow.port;
  const [first, last] = port.split(':').map(Number);
  if (first === undefined || Number.isNaN(first)) return hasNamed(flow, port);
  return flow.port >= first && flow.port <= (last ?? first);
}

function calicoEntity(
  inventory: Inventory,
  entity: Raw,
  place: Place,
  namespace: string | undefined,
  meaning: CalicoMeaning,
): boolean {
  const { selector, notSelector, namespaceSelector } = entity;
  const isPod = place.kind === 'pod';
  if (selector !== undefined || namespaceSelector !== undefined) {
    if (!isPod || !holds(meaning, selector, labelsOf(place))) return false;
    if (namespaceSelector !== undefined) {
      if (!holds(meaning, namespaceSelector, namespaceLabels(inventory, place.namespace))) return false;
    } else if (namespace !== undefined && namespace !== place.namespace) return false;
  }
  if (notSelector !== undefined && namespace !== undefined && namespaceSelector === undefined) {
    if (!isPod || namespace !== place.namespace) return false;
  }
  if (notSelector !== undefined && isPod && holds(meaning, notSelector, labelsOf(place))) return false;
  const nets = entity['nets'] as string[] | undefined;
  const notNets = entity['notNets'] as string[] | undefined;
  if (nets !== undefined && !nets.some((one) => inCidr(one, place.ip))) return false;
  return !(notNets ?? []).some((one) => inCidr(one, place.ip));
}
