import { Unsupported, doc, docs, isDoc, list, only, text, texts } from './json.ts';
import type { Doc } from './json.ts';
import { mapKeys, selects } from './selector.ts';
import type { Labels } from './selector.ts';
import type { KubeObject } from './states.ts';
import { holds, inGroup } from './world.ts';
import type { Party, Pod, World } from './world.ts';

export interface Denial {
  /** The objects without which the edge would pass. */
  readonly by: readonly string[];
  readonly why: string;
}

type Direction = 'ingress' | 'egress';

interface Question {
  readonly world: World;
  readonly direction: Direction;
  /** The pod whose traffic is limited. */
  readonly subject: Pod;
  readonly peer: Party;
  /** The pod at the receiving end, for port names. */
  readonly server: Pod | undefined;
  readonly protocol: string;
  readonly port: number;
}

/** Does a NetworkPolicy or CiliumNetworkPolicy stop a connection? Both ends have to let it through. */
export function networkDenial(
  world: World,
  from: Party,
  to: Party,
  protocol: string,
  port: number,
): Denial | undefined {
  const server = to.kind === 'pod' ? to.pod : undefined;
  const ends: Question[] = [];
  if (from.kind === 'pod')
    ends.push({ world, direction: 'egress', subject: from.pod, peer: to, server, protocol, port });
  if (to.kind === 'pod')
    ends.push({ world, direction: 'ingress', subject: to.pod, peer: from, server, protocol, port });
  for (const end of ends) {
    const denial = denialAtEnd(end);
    if (denial !== undefined) return denial;
  }
  return undefined;
}

function denialAtEnd(question: Question): Denial | undefined {
  const { world, direction, subject, peer, port } = question;
  // "Traffic to and from the node where a Pod is running is always allowed": the kubelet that probes is on that node.
  if (direction === 'ingress' && peer.kind === 'node' && subject.probePorts.includes(port)) return undefined;
  const isolating: string[] = [];
  for (const policy of inGroup(world, 'networking.k8s.io', 'NetworkPolicy')) {
    if (policy.namespace !== subject.namespace || !isIsolatedBy(policy, question)) continue;
    if (networkPolicyAllows(policy, question)) return undefined;
    isolating.push(policy.ref);
  }
  for (const policy of inGroup(world, 'cilium.io', 'CiliumNetworkPolicy'))
    for (const rule of ciliumSpecs(policy)) {
      if (policy.namespace !== subject.namespace || !ciliumSelects(policy, rule, subject, world)) continue;
      if (ciliumAllows(policy, rule, question)) return undefined;
      if (ciliumIsolates(rule, direction)) isolating.push(policy.ref);
    }
  if (isolating.length === 0) return undefined;
  return {
    by: isolating,
    why: `${direction} of ${subject.workload} is isolated and no rule admits ${name(peer)} on ${question.protocol}/${port}`,
  };
}

export function name(party: Party): string {
  switch (party.kind) {
    case 'pod':
      return party.pod.workload;
    case 'outside':
      return party.name ?? party.ip ?? 'outside';
    case 'own-host':
      return party.ip;
    default:
      return party.kind;
  }
}

// --- networking.k8s.io/v1 ----------------------------------------------------------------------------------------------

/** Labels as policies see them: Cilium leaves labels of controllers out of a pod's identity. */
function visible(pod: Pod, world: World): Labels {
  if (!world.cilium) return pod.labels;
  const hidden =
    /^(?:kubernetes\.io|io\.kubernetes|k8s\.io|pod-template-hash|pod-template-generation|controller-revision-hash|controller-uid|batch\.kubernetes\.io\/|statefulset\.kubernetes\.io\/pod-name|apps\.kubernetes\.io\/pod-index)|beta\.kubernetes\.io/;
  return Object.fromEntries(Object.entries(pod.labels).filter(([key]) => !hidden.test(key)));
}

function isIsolatedBy(policy: KubeObject, { direction, subject, world }: Question): boolean {
  const spec = only(policy.spec, ['podSelector', 'policyTypes', 'ingress', 'egress'], policy.ref);
  if (!selects(doc(spec['podSelector']), visible(subject, world), policy.ref)) return false;
  const types = Array.isArray(spec['policyTypes'])
    ? texts(spec['policyTypes'])
    : ['Ingress', ...(list(spec['egress']).length > 0 ? ['Egress'] : [])];
  return types.includes(direction === 'ingress' ? 'Ingress' : 'Egress');
}

function networkPolicyAllows(policy: KubeObject, question: Question): boolean {
  const side = question.direction === 'ingress' ? 'from' : 'to';
  return docs(policy.spec[question.direction]).some((rule) => {
    only(rule, [side, 'ports'], policy.ref);
    const ports = docs(rule['ports']);
    const peers = docs(rule[side]);
    return (
      (ports.length === 0 || ports.some((port) => portMatches(port, question, policy.ref))) &&
      (peers.length === 0 || peers.some((peer) => peerMatches(peer, policy, question)))
    );
  });
}

function portMatches(rule: Doc, { protocol, port, server }: Question, where: string): boolean {
  only(rule, ['protocol', 'port', 'endPort'], where);
  if ((text(rule['protocol']) ?? 'TCP') !== protocol) return false;
  const wanted = rule['port'];
  if (wanted === undefined) return true;
  if (typeof wanted === 'string')
    return (server?.ports ?? []).some((one) => one.name === wanted && one.port === port && one.protocol === protocol);
  return port >= Number(wanted) && port <= Number(rule['endPort'] ?? wanted);
}

function peerMatches(peer: Doc, policy: KubeObject, { peer: party, world }: Question): boolean {
  only(peer, ['podSelector', 'namespaceSelector', 'ipBlock'], policy.ref);
  if (peer['ipBlock'] !== undefined) {
    const block = only(doc(peer['ipBlock']), ['cidr', 'except'], policy.ref);
    return cidrMatches(text(block['cidr']) ?? '', texts(block['except']), party, world);
  }
  if (party.kind !== 'pod') return false;
  const { pod } = party;
  const namespaceFits =
    peer['namespaceSelector'] === undefined
      ? pod.namespace === policy.namespace
      : selects(doc(peer['namespaceSelector']), world.namespaceLabels.get(pod.namespace) ?? {}, policy.ref);
  return namespaceFits && selects(doc(peer['podSelector']), visible(pod, world), policy.ref);
}

/** Where many addresses stand behind a party, all of them have to be in the block. */
function cidrMatches(cidr: string, except: readonly string[], party: Party, world: World): boolean {
  const holdsAll = (addresses: readonly string[]): boolean =>
    addresses.length > 0 &&
    addresses.some((one) => sameFamily(cidr, one)) &&
    addresses.filter((one) => sameFamily(cidr, one)).every((one) => holds(cidr, except, one));
  const whole = (cidr === '0.0.0.0/0' || cidr === '::/0') && except.length === 0;
  switch (party.kind) {
    case 'pod':
      return world.ipBlockMatches.has('pods') && (whole || holdsAll(world.podCidrs));
    case 'node':
      return world.ipBlockMatches.has('nodes') && (whole || holdsAll(world.nodeAddresses));
    case 'own-host':
      return world.ipBlockMatches.has('nodes') && holdsAll([party.ip]);
    case 'api-server':
      return world.ipBlockMatches.has('api-server') && (whole || holdsAll(world.apiServer));
    case 'outside':
      if (party.ip !== undefined) return holdsAll([party.ip]);
      return whole || holdsAll(world.addresses[party.name ?? ''] ?? []);
  }
}

function sameFamily(cidr: string, other: string): boolean {
  return cidr.includes(':') === other.includes(':');
}

// --- cilium.io/v2 ------------------------------------------------------------------------------------------------------

function ciliumSpecs(policy: KubeObject): readonly Doc[] {
  return [...(isDoc(policy.raw['spec']) ? [policy.spec] : []), ...docs(policy.raw['specs'])];
}

/** A pod's labels in Cilium, its namespace among them. */
function ciliumLabels(pod: Pod, world: World): Labels {
  const namespace = Object.entries(world.namespaceLabels.get(pod.namespace) ?? {}).map(([key, value]) => [
    `io.cilium.k8s.namespace.labels.${key}`,
    value,
  ]);
  return {
    ...visible(pod, world),
    ...(Object.fromEntries(namespace) as Labels),
    'io.kubernetes.pod.namespace': pod.namespace,
    'io.cilium.k8s.policy.serviceaccount': pod.serviceAccount,
  };
}

function ciliumMatches(selector: Doc, policy: KubeObject, pod: Pod, world: World): boolean {
  const plain = mapKeys(selector, (key) => {
    if (key.startsWith('reserved:')) throw new Unsupported(`${policy.ref}: selector on ${key}`);
    return key.replace(/^(?:k8s|any)[:.]/, '');
  });
  // A selector that names no namespace means the policy's own.
  const namesNamespace = JSON.stringify(plain).match(
    /"io\.(?:kubernetes\.pod\.namespace|cilium\.k8s\.namespace\.labels)/,
  );
  if (namesNamespace === null && pod.namespace !== policy.namespace) return false;
  return selects(plain, ciliumLabels(pod, world), policy.ref);
}

function ciliumSelects(policy: KubeObject, rule: Doc, pod: Pod, world: World): boolean {
  only(rule, ['endpointSelector', 'ingress', 'egress', 'description', 'labels', 'enableDefaultDeny'], policy.ref);
  return ciliumMatches(doc(rule['endpointSelector']), policy, pod, world);
}

/** A section with rules in it puts the pod into default deny, unless the policy says otherwise. */
function ciliumIsolates(rule: Doc, direction: Direction): boolean {
  const wish = doc(rule['enableDefaultDeny'])[direction];
  return typeof wish === 'boolean' ? wish : list(rule[direction]).length > 0;
}

function ciliumAllows(policy: KubeObject, rule: Doc, question: Question): boolean {
  const side = question.direction === 'ingress' ? 'from' : 'to';
  const peerKeys = [
    `${side}Endpoints`,
    `${side}Entities`,
    `${side}CIDR`,
    `${side}CIDRSet`,
    ...(side === 'to' ? ['toFQDNs'] : []),
  ];
  return docs(rule[question.direction]).some((one) => {
    only(one, [...peerKeys, 'toPorts'], policy.ref);
    const named = peerKeys.filter((key) => one[key] !== undefined);
    if (named.length > 1) throw new Unsupported(`${policy.ref}: ${named.join(' with ')} in one rule`);
    const [key] = named;
    // A rule that says nothing at all admits nobody; one with ports alone admits everybody on them.
    const toPorts = docs(one['toPorts']);
    if (key === undefined && toPorts.length === 0) return false;
    if (toPorts.length > 0 && !ciliumPorts(toPorts, question, policy.ref)) return false;
    return key === undefined || ciliumPeer(key, one[key], policy, question);
  });
}

function ciliumPorts(toPorts: readonly Doc[], { protocol, port, server }: Question, where: string): boolean {
  return toPorts.some((one) => {
    only(one, ['ports', 'rules'], where);
    only(doc(one['rules']), ['dns'], where);
    const ports = docs(one['ports']);
    return (
      ports.length === 0 ||
      ports.some((rule) => {
        only(rule, ['port', 'endPort', 'protocol'], where);
        const wantedProtocol = text(rule['protocol']) ?? 'ANY';
        if (wantedProtocol !== 'ANY' && wantedProtocol !== '' && wantedProtocol !== protocol) return false;
        const wanted = text(rule['port']) ?? '0';
        if (!/^\d+$/.test(wanted))
          return (server?.ports ?? []).some((named) => named.name === wanted && named.port === port);
        const low = Number(wanted);
        const high = Number(rule['endPort'] ?? 0);
        return low === 0 || (port >= low && port <= (high === 0 ? low : high));
      })
    );
  });
}

function ciliumPeer(key: string, value: unknown, policy: KubeObject, question: Question): boolean {
  const { peer, world, subject } = question;
  if (key.endsWith('Endpoints'))
    return peer.kind === 'pod' && docs(value).some((selector) => ciliumMatches(selector, policy, peer.pod, world));
  if (key.endsWith('Entities')) return entitiesHold(texts(value), peer, world);
  if (key.endsWith('CIDRSet'))
    return docs(value).some((one) => {
      only(one, ['cidr', 'except'], policy.ref);
      return cidrMatches(text(one['cidr']) ?? '', texts(one['except']), peer, world);
    });
  if (key.endsWith('CIDR'))
    return texts(value).some((cidr) =>
      cidrMatches(cidr.includes('/') ? cidr : `${cidr}/${cidr.includes(':') ? 128 : 32}`, [], peer, world),
    );
  const outside = peer.kind === 'outside' ? peer.name : undefined;
  // Cilium learns what a name stands for from the answers its DNS proxy sees, so a query for it has to be let through there.
  return (
    outside !== undefined && docs(value).some((one) => matchesName(one, outside)) && isLearned(outside, subject, world)
  );
}

function entitiesHold(entities: readonly string[], peer: Party, world: World): boolean {
  for (const entity of entities)
    if (!['all', 'world', 'cluster', 'host', 'remote-node', 'kube-apiserver'].includes(entity))
      throw new Unsupported(`entity ${entity}`);
  const has = (...wanted: string[]): boolean => wanted.some((one) => entities.includes(one));
  // A pod's node is "host" to it and every other one "remote-node": whoever means any node needs both.
  const everyNode = has('all', 'cluster') || (has('host') && has('remote-node'));
  switch (peer.kind) {
    case 'pod':
      return has('all', 'cluster');
    case 'node':
      return everyNode;
    case 'own-host':
      return has('all', 'cluster', 'host');
    case 'api-server':
      return (
        has('all', 'kube-apiserver') || (everyNode && world.apiServer.some((ip) => world.nodeAddresses.includes(ip)))
      );
    case 'outside':
      return has('all', 'world');
  }
}

function matchesName(rule: Doc, wanted: string): boolean {
  only(rule, ['matchName', 'matchPattern'], 'name rule');
  const plain = wanted.toLowerCase().replace(/\.$/, '');
  const exact = text(rule['matchName'])?.toLowerCase().replace(/\.$/, '');
  if (exact !== undefined) return exact === plain;
  const pattern = (text(rule['matchPattern']) ?? '').toLowerCase().replace(/\.$/, '');
  if (pattern === '*') return true;
  // A star stands for characters of one label.
  const expression = pattern.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replace(/\*/g, '[-a-z0-9_]*');
  return new RegExp(`^${expression}$`).test(plain);
}

function isLearned(wanted: string, subject: Pod, world: World): boolean {
  return inGroup(world, 'cilium.io', 'CiliumNetworkPolicy')
    .filter((policy) => policy.namespace === subject.namespace)
    .flatMap((policy) => ciliumSpecs(policy).filter((rule) => ciliumSelects(policy, rule, subject, world)))
    .flatMap((rule) => docs(rule['egress']))
    .flatMap((rule) => docs(rule['toPorts']))
    .flatMap((ports) => docs(doc(ports['rules'])['dns']))
    .some((rule) => matchesName(rule, wanted));
}
