import type { Inventory, PodInfo, PodSet, Workload } from '../../src/model/inventory.ts';
import type { ConnectionQuery } from '../../src/model/verdict.ts';

/*
 * NetworkPolicy read aloud: every pod against every pod, port by port, rule by rule, from the raw manifests. It knows nothing
 * of classes, indexes or ranges, shares no code with the evaluator, and needs everything to be known: one IPv4 address and a
 * node for every pod, every namespace declared, every policy valid.
 */

export interface Place {
  readonly kind: 'pod' | 'host' | 'node' | 'api-server' | 'external';
  readonly namespace?: string;
  readonly podSet?: PodSet;
  readonly ip: string;
  readonly node?: string;
}

export type Raw = Record<string, unknown>;

export interface NaiveVerdict {
  readonly allowed: boolean;
  /** True where a node is the own node of some pods of the workload and not of others. */
  readonly mixesOwnNode: boolean;
}

export function naiveEvaluate(inventory: Inventory, query: ConnectionQuery): NaiveVerdict {
  const sources = places(inventory, query.src, undefined);
  const destinations = places(inventory, query.dst, query);
  let allowed = true;
  let own = 0;
  let foreign = 0;
  for (const src of sources) {
    for (const dst of destinations) {
      if (src.kind === 'pod' || dst.kind === 'pod') {
        if ([src, dst].some(({ kind }) => kind === 'host' || kind === 'node')) {
          if (src.node === dst.node) own += 1;
          else foreign += 1;
        }
      }
      for (let port = query.port; port <= (query.endPort ?? query.port); port += 1) {
        if (!pairAllowed(inventory, src, dst, query.protocol, port)) allowed = false;
      }
    }
  }
  return { allowed, mixesOwnNode: own > 0 && foreign > 0 };
}

export function places(
  inventory: Inventory,
  endpoint: ConnectionQuery['src'],
  asDestination: ConnectionQuery | undefined,
): Place[] {
  switch (endpoint.kind) {
    case 'workload': {
      const workload = inventory.workloads.find(({ id }) => id === endpoint.id);
      if (workload === undefined) throw new Error(`no workload ${endpoint.id}`);
      return listening(workload, asDestination).flatMap((podSet) =>
        podSet.pods.map((pod) => podPlace(workload.namespace, podSet, pod)),
      );
    }
    case 'node': {
      const node = inventory.nodes.find(({ name }) => name === endpoint.name);
      return [{ kind: 'node', ip: node?.addresses[0] ?? '', ...(node === undefined ? {} : { node: node.name }) }];
    }
    case 'api-server':
      return inventory.facts.apiServer.map((cidr) => ({ kind: 'api-server', ip: cidr.replace('/32', '') }));
    case 'external':
      return [{ kind: 'external', ip: endpoint.ip ?? '' }];
    case 'unknown':
      throw new Error('not for unknown endpoints');
  }
}

function podPlace(namespace: string, podSet: PodSet, pod: PodInfo): Place {
  const [ip = ''] = pod.ips;
  return {
    kind: podSet.hostNetwork ? 'host' : 'pod',
    namespace,
    podSet,
    ip,
    ...(pod.node === undefined ? {} : { node: pod.node }),
  };
}

function listening(workload: Workload, query: ConnectionQuery | undefined): readonly PodSet[] {
  if (query === undefined) return workload.podSets;
  const declares = (podSet: PodSet): boolean => {
    for (let port = query.port; port <= (query.endPort ?? query.port); port += 1) {
      for (const container of podSet.containers) {
        for (const one of container.ports) if (one.port === port && one.protocol === query.protocol) return true;
      }
    }
    return false;
  };
  const some = workload.podSets.filter(declares);
  return some.length > 0 ? some : workload.podSets;
}

function pairAllowed(inventory: Inventory, src: Place, dst: Place, protocol: string, port: number): boolean {
  if (src.kind === 'pod' && !sideAllows(inventory, 'egress', src, dst, dst, protocol, port)) return false;
  if (dst.kind === 'pod' && !sideAllows(inventory, 'ingress', dst, src, dst, protocol, port)) return false;
  return true;
}

function sideAllows(
  inventory: Inventory,
  direction: 'ingress' | 'egress',
  self: Place,
  other: Place,
  dst: Place,
  protocol: string,
  port: number,
): boolean {
  const selecting = inventory.policies.filter((policy) => {
    if (policy.metadata['namespace'] !== self.namespace) return false;
    const spec = policy['spec'] as Raw;
    const types = (spec['policyTypes'] as string[] | undefined) ?? [];
    const egress = (spec['egress'] as unknown[] | undefined) ?? [];
    const acts =
      types.length > 0
        ? types.includes(direction === 'ingress' ? 'Ingress' : 'Egress')
        : direction === 'ingress' || egress.length > 0;
    return acts && labelsMatch(spec['podSelector'] as Raw | undefined, self.podSet?.labels ?? {});
  });
  if (selecting.length === 0) return true;
  if ((other.kind === 'host' || other.kind === 'node') && other.node === self.node) return true;
  for (const policy of selecting) {
    const rules = ((policy['spec'] as Raw)[direction] as Raw[] | undefined) ?? [];
    for (const rule of rules) {
      const ports = (rule['ports'] as Raw[] | undefined) ?? [];
      const peers = (rule[direction === 'ingress' ? 'from' : 'to'] as Raw[] | undefined) ?? [];
      const portFits = ports.length === 0 || ports.some((one) => portMatches(one, dst, protocol, port));
      const peerFits =
        peers.length === 0 || peers.some((one) => peerMatches(inventory, one, self.namespace ?? '', other));
      if (portFits && peerFits) return true;
    }
  }
  return false;
}

export function portMatches(entry: Raw, dst: Place, protocol: string, port: number): boolean {
  if (((entry['protocol'] as string | undefined) ?? 'TCP') !== protocol) return false;
  const wanted = entry['port'] as number | string | undefined;
  if (wanted === undefined) return true;
  if (typeof wanted === 'number') return port >= wanted && port <= ((entry['endPort'] as number | undefined) ?? wanted);
  if (dst.podSet === undefined) return false;
  for (const container of dst.podSet.containers) {
    for (const one of container.ports) {
      if (one.name === wanted && one.protocol === protocol && one.port === port) return true;
    }
  }
  return false;
}

export function peerMatches(inventory: Inventory, peer: Raw, policyNamespace: string, other: Place): boolean {
  const block = peer['ipBlock'] as { cidr: string; except?: string[] } | undefined;
  if (block !== undefined) {
    const options: readonly string[] = inventory.facts.cni.ipBlockMatches;
    if (other.kind === 'pod' && !options.includes('pods')) return false;
    if ((other.kind === 'node' || other.kind === 'host') && !options.includes('nodes')) return false;
    if (other.kind === 'api-server' && !options.includes('api-server')) return false;
    return inCidr(block.cidr, other.ip) && !(block.except ?? []).some((except) => inCidr(except, other.ip));
  }
  if (other.kind !== 'pod' || other.namespace === undefined) return false;
  const namespaceSelector = peer['namespaceSelector'] as Raw | undefined;
  if (namespaceSelector === undefined) {
    if (other.namespace !== policyNamespace) return false;
  } else {
    const found = inventory.namespaces.find(({ name }) => name === other.namespace);
    const labels = { ...found?.labels, 'kubernetes.io/metadata.name': other.namespace };
    if (!labelsMatch(namespaceSelector, labels)) return false;
  }
  return labelsMatch(peer['podSelector'] as Raw | undefined, other.podSet?.labels ?? {});
}

export function labelsMatch(selector: Raw | undefined, labels: Readonly<Record<string, string>>): boolean {
  for (const [key, value] of Object.entries((selector?.['matchLabels'] as Record<string, string> | undefined) ?? {})) {
    if (labels[key] !== value) return false;
  }
  const expressions = (selector?.['matchExpressions'] as Raw[] | undefined) ?? [];
  for (const expression of expressions) {
    const value = labels[expression['key'] as string];
    const values = (expression['values'] as string[] | undefined) ?? [];
    const isIn = value !== undefined && values.includes(value);
    if (expression['operator'] === 'In' && !isIn) return false;
    if (expression['operator'] === 'NotIn' && isIn) return false;
    if (expression['operator'] === 'Exists' && value === undefined) return false;
    if (expression['operator'] === 'DoesNotExist' && value !== undefined) return false;
  }
  return true;
}

function toBits(ip: string): string {
  return ip
    .split('.')
    .map((part) => Number(part).toString(2).padStart(8, '0'))
    .join('');
}

export function inCidr(cidr: string, ip: string): boolean {
  const [base = '', length = '32'] = cidr.split('/');
  return toBits(base).slice(0, Number(length)) === toBits(ip).slice(0, Number(length));
}
