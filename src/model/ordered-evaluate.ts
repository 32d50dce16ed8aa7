import { compareText } from '../shared/pure/order.ts';
import { CALICO_ADMIN_TIERS, KUBERNETES_ORDER } from './calico-policy.ts';
import type { LabelValue } from './calico-selector.ts';
import { matchCalicoSelector } from './calico-selector.ts';
import type { AddressRange } from './cidr-set.ts';
import { coversAddresses, overlapsAddresses } from './cidr-set.ts';
import { CILIUM_DENY_TIER } from './cilium-policy.ts';
import type { Protocol } from './edge.ts';
import type { NetworkPeer, NetworkPort } from './network-policy.ts';
import type { CalicoEntity, CalicoPort, OrderedMatch, OrderedPolicy, OrderedRule } from './ordered-policy.ts';
import type { PortRange } from './port-set.ts';
import type { Selector } from './selector.ts';
import type { Tri } from './tri.ts';
import { agreed, and, not, or, triOf } from './tri.ts';
import type { NamespaceView, Party, Pod, World } from './world.ts';
import { addressesOfPod, selectsNamespace, selectsPod } from './world.ts';

/** A policy that acts on a pod set in a direction, surely or perhaps. */
export interface Acting {
  readonly policy: OrderedPolicy;
  readonly selected: Tri;
  readonly rules: readonly OrderedRule[];
}

/** A connection as one policy sees it: one address of the other side, ports that no rule tells apart. */
export interface Asked {
  readonly direction: 'ingress' | 'egress';
  readonly self: Party;
  readonly other: Party;
  readonly address: AddressRange | undefined;
  readonly protocol: Protocol;
  readonly ports: PortRange;
}

/** What the additive policies (NetworkPolicy, Cilium's allow rules) say of it together. */
export interface Additive {
  /** Does some of them isolate the pod set? */
  readonly isolates: Tri;
  readonly admits: Tri;
  readonly name?: string;
  readonly rule?: PlainRule;
  readonly doubt?: string;
}

/** A rule by its place: the position in its manifest, from 0, and the path, `spec.ingress[0]`. */
export type PlainRule = Pick<OrderedRule, 'index' | 'field'>;

/** What the evaluator lends. */
export interface Tools {
  readonly additive: (asked: Asked) => Additive;
  readonly isPeer: (namespace: string, peers: readonly NetworkPeer[], asked: Asked) => Tri;
  readonly resolveName: (
    port: Extract<NetworkPort, { kind: 'named' }>,
    destination: Party,
    ports: PortRange,
  ) => readonly { readonly range: PortRange; readonly sure: boolean }[];
}

export interface Cause {
  /** The object; absent for what no object says. */
  readonly name?: string;
  readonly rule?: PlainRule;
  /** The tier that ends here, whose policies all left it open. */
  readonly tierEnd?: string;
}

export interface Walked {
  readonly answer: Tri;
  /** What decides; for unknown the first that is in doubt. */
  readonly cause: Cause;
  readonly doubt?: string;
}

// ---- Whom a policy acts on

const existence = new Map<string, Selector>();

function existsSelector(key: string): Selector {
  let selector = existence.get(key);
  if (selector === undefined) {
    selector = { requirements: [{ key, operator: 'Exists', values: [] }] };
    existence.set(key, selector);
  }
  return selector;
}

const UNKNOWN: LabelValue = { kind: 'unknown' };
const ABSENT: LabelValue = { kind: 'absent' };

/** A label of a namespace as Calico sees it. */
function labelOfNamespace(namespace: NamespaceView, key: string): LabelValue {
  if (key === 'projectcalico.org/name') return { kind: 'value', value: namespace.name };
  if (Object.hasOwn(namespace.labels, key)) return { kind: 'value', value: namespace.labels[key] ?? '' };
  return namespace.complete ? ABSENT : UNKNOWN;
}

/** A label of a pod as Calico sees it, its own ones among them. */
function labelOfPod(pod: Pod, key: string): LabelValue {
  if (key === 'projectcalico.org/namespace') return { kind: 'value', value: pod.namespace.name };
  if (key === 'projectcalico.org/orchestrator') return { kind: 'value', value: 'k8s' };
  if (key === 'projectcalico.org/serviceaccount') {
    return pod.podSet === undefined ? UNKNOWN : { kind: 'value', value: pod.podSet.serviceAccount };
  }
  if (key.startsWith('pcns.')) return labelOfNamespace(pod.namespace, key.slice(5));
  if (key.startsWith('pcsa.')) return UNKNOWN;
  if (Object.hasOwn(pod.labels, key)) return { kind: 'value', value: pod.labels[key] ?? '' };
  return selectsPod(existsSelector(key), pod) === 'unknown' ? UNKNOWN : ABSENT;
}

/** Does the policy select these pods? */
export function orderedSelects({ subject }: OrderedPolicy, pod: Pod): Tri {
  const { namespace, namespaces, pods, calico, doubt } = subject;
  if (namespace !== undefined && namespace !== pod.namespace.name) return 'no';
  let answer: Tri = namespaces === undefined ? 'yes' : selectsNamespace(namespaces, pod.namespace);
  if (pods !== undefined && answer !== 'no') answer = and(answer, selectsPod(pods, pod));
  if (calico?.namespaces !== undefined) {
    answer = and(
      answer,
      matchCalicoSelector(calico.namespaces, (key) => labelOfNamespace(pod.namespace, key)),
    );
  }
  if (calico?.pods !== undefined) {
    answer = and(
      answer,
      matchCalicoSelector(calico.pods, (key) => labelOfPod(pod, key)),
    );
  }
  return doubt === undefined ? answer : and(answer, 'unknown');
}

/** True where some rule speaks of addresses, so that each address of the other side is to be asked about. */
export function speaksOfAddresses({ match }: OrderedRule): boolean {
  if (match.kind === 'peers') return match.peers !== 'all' && match.peers.some(({ kind }) => kind === 'ip-block');
  // A selector of Calico may pick a set of networks.
  return Object.keys(match.source).length + Object.keys(match.destination).length > 0;
}

// ---- One rule

function matchRule(world: World, policy: OrderedPolicy, rule: OrderedRule, asked: Asked, tools: Tools): Tri {
  const { match } = rule;
  const answer =
    match.kind === 'peers' ? matchPeersOf(policy, match, asked, tools) : matchCalico(world, match, asked, tools);
  return rule.doubt === undefined ? answer : and(answer, 'unknown');
}

function matchPeersOf(
  policy: OrderedPolicy,
  { peers, ports }: Extract<OrderedMatch, { kind: 'peers' }>,
  asked: Asked,
  tools: Tools,
): Tri {
  const onPort = matchPorts(ports, asked, tools);
  if (onPort === 'no' || peers === 'all') return onPort;
  let answer: Tri = 'no';
  const others: NetworkPeer[] = [];
  for (const peer of peers) {
    if (peer.kind === 'nodes') answer = or(answer, matchNodes(peer.nodes, asked.other));
    else others.push(peer);
  }
  if (others.length > 0) answer = or(answer, tools.isPeer(policy.namespace, others, asked));
  return and(onPort, answer);
}

function matchNodes(nodes: Selector, other: Party): Tri {
  if (other.kind === 'unknown') return 'unknown';
  const onNode = other.kind === 'node' || (other.kind === 'api-server' && other.nodes.length > 0);
  if (!onNode) return 'no';
  return nodes.requirements.length === 0 ? 'yes' : 'unknown';
}

function within(range: PortRange, ports: PortRange, sure: boolean): Tri {
  if (range.last < ports.first || range.first > ports.last) return 'no';
  return sure && range.first <= ports.first && ports.last <= range.last ? 'yes' : 'unknown';
}

function destinationOf({ direction, self, other }: Asked): Party {
  return direction === 'ingress' ? self : other;
}

function matchPorts(ports: 'all' | readonly NetworkPort[], asked: Asked, tools: Tools): Tri {
  if (ports === 'all') return 'yes';
  let answer: Tri = 'no';
  for (const port of ports) {
    if (port.protocol !== asked.protocol) continue;
    if (port.kind === 'range') answer = or(answer, within(port, asked.ports, true));
    else {
      for (const { range, sure } of tools.resolveName(port, destinationOf(asked), asked.ports)) {
        answer = or(answer, within(range, asked.ports, sure));
      }
    }
  }
  return answer;
}

function matchCalico(
  world: World,
  { protocol, notProtocol, source, destination }: Extract<OrderedMatch, { kind: 'calico' }>,
  asked: Asked,
  tools: Tools,
): Tri {
  if (protocol !== 'any' && protocol !== asked.protocol) return 'no';
  if (notProtocol === asked.protocol) return 'no';
  const [ofSelf, ofOther] = asked.direction === 'ingress' ? [destination, source] : [source, destination];
  let answer = matchPortsOf(destination, asked, tools);
  // Which port a connection comes from is not asked about.
  if (source.ports !== undefined || source.notPorts !== undefined) answer = and(answer, 'unknown');
  if (answer === 'no') return 'no';
  answer = and(answer, matchParty(world, ofOther, asked.other, asked.address));
  if (answer === 'no' || Object.keys(ofSelf).length === 0) return answer;
  return and(answer, matchSelf(world, ofSelf, asked.self));
}

function matchSelf(world: World, entity: CalicoEntity, self: Party): Tri {
  const addresses = self.pod === undefined ? [] : addressesOfPod(world, self.pod).flat();
  return agreed(addresses.map((address) => matchParty(world, entity, self, address)));
}

function matchPortsOf({ ports, notPorts }: CalicoEntity, asked: Asked, tools: Tools): Tri {
  let answer: Tri = 'yes';
  if (ports !== undefined) answer = and(answer, matchCalicoPorts(ports, asked, tools));
  if (notPorts !== undefined) answer = and(answer, not(matchCalicoPorts(notPorts, asked, tools)));
  return answer;
}

function matchCalicoPorts(ports: readonly CalicoPort[], asked: Asked, tools: Tools): Tri {
  const { protocol } = asked;
  return matchPorts(
    ports.map((port): NetworkPort => ({ ...port, protocol })),
    asked,
    tools,
  );
}

function matchNets(nets: readonly AddressRange[], address: AddressRange | undefined): Tri {
  if (address === undefined) return nets.length === 0 ? 'no' : 'unknown';
  if (nets.some((net) => coversAddresses(net, address))) return 'yes';
  return nets.some((net) => overlapsAddresses(net, address)) ? 'unknown' : 'no';
}

function matchParty(world: World, entity: CalicoEntity, party: Party, address: AddressRange | undefined): Tri {
  let answer: Tri = 'yes';
  if (entity.nets !== undefined) answer = and(answer, matchNets(entity.nets, address));
  if (entity.notNets !== undefined) answer = and(answer, not(matchNets(entity.notNets, address)));
  if (answer === 'no') return answer;
  const { selector, notSelector, namespaces, accounts, ownNamespace } = entity;
  // In a policy of a namespace a notSelector keeps to that namespace like every other selector.
  const keeps = notSelector !== undefined && ownNamespace !== undefined;
  if (selector !== undefined || namespaces !== undefined || accounts !== undefined || keeps) {
    answer = and(answer, isSelected(world, entity, party, address));
  }
  if (notSelector !== undefined) {
    answer = and(answer, not(isSelected(world, { selector: notSelector }, party, address)));
  }
  return answer;
}

/** Do the selectors of an entity pick it: as a pod, by an address in a set of networks, or perhaps as a host endpoint? */
function isSelected(world: World, entity: CalicoEntity, party: Party, address: AddressRange | undefined): Tri {
  const { kind, pod } = party;
  if (kind === 'unknown') return 'unknown';
  let answer: Tri = kind === 'pod' && pod !== undefined ? selectsAsPod(entity, pod) : 'no';
  if (answer === 'yes') return answer;
  if (kind !== 'pod' && world.calico?.hostEndpoints === true) answer = 'unknown';
  for (const set of world.calico?.sets ?? []) {
    if (entity.accounts !== undefined) continue;
    const inNamespace = isSetInScope(world, entity, set.namespace);
    if (inNamespace === 'no') continue;
    const labelled =
      entity.selector === undefined
        ? 'yes'
        : matchCalicoSelector(entity.selector, (key) => {
            if (key === 'projectcalico.org/namespace' && set.namespace !== undefined) {
              return { kind: 'value', value: set.namespace };
            }
            if (key.startsWith('pcns.')) return UNKNOWN;
            return Object.hasOwn(set.labels, key) ? { kind: 'value', value: set.labels[key] ?? '' } : ABSENT;
          });
    const inside = set.nets === undefined ? 'unknown' : matchNets(set.nets, address);
    answer = or(answer, and(inNamespace, and(labelled, inside)));
  }
  return answer;
}

function isSetInScope(world: World, { namespaces, ownNamespace }: CalicoEntity, namespace: string | undefined): Tri {
  if (namespaces === 'global') return triOf(namespace === undefined);
  if (namespaces !== undefined) {
    const view = namespace === undefined ? undefined : world.cluster.namespaces.get(namespace);
    if (namespace === undefined) {
      // It has no labels of a namespace; `all()` asks for being in one, other selectors may do with none.
      return namespaces.kind === 'all'
        ? 'no'
        : and(
            matchCalicoSelector(namespaces, () => ABSENT),
            'unknown',
          );
    }
    return view === undefined ? 'unknown' : matchCalicoSelector(namespaces, (key) => labelOfNamespace(view, key));
  }
  return triOf(ownNamespace === undefined || ownNamespace === namespace);
}

function selectsAsPod({ selector, namespaces, ownNamespace, accounts }: CalicoEntity, pod: Pod): Tri {
  if (namespaces === 'global') return 'no';
  let answer: Tri = 'yes';
  if (namespaces !== undefined) {
    answer = matchCalicoSelector(namespaces, (key) => labelOfNamespace(pod.namespace, key));
  } else if (ownNamespace !== undefined) answer = triOf(pod.namespace.name === ownNamespace);
  if (selector !== undefined)
    answer = and(
      answer,
      matchCalicoSelector(selector, (key) => labelOfPod(pod, key)),
    );
  if (accounts !== undefined) {
    const known = pod.podSet === undefined ? 'unknown' : triOf(accounts.includes(pod.podSet.serviceAccount));
    answer = and(answer, known);
  }
  return answer;
}

/** Ports at which some of these rules begin to say something else: the first of each run of ports that none tells apart. */
export function portCuts(
  rules: readonly OrderedRule[],
  destination: Party,
  wanted: PortRange,
  protocol: Protocol,
  tools: Pick<Tools, 'resolveName'>,
): readonly number[] {
  const cuts: number[] = [];
  const add = ({ first, last }: PortRange): void => {
    cuts.push(first, last + 1);
  };
  for (const { match } of rules) {
    const ports =
      match.kind === 'peers'
        ? match.ports === 'all'
          ? []
          : match.ports
        : [...(match.destination.ports ?? []), ...(match.destination.notPorts ?? [])].map((port): NetworkPort => ({
            ...port,
            protocol,
          }));
    for (const port of ports) {
      if (port.protocol !== protocol) continue;
      if (port.kind === 'range') add(port);
      else for (const { range } of tools.resolveName(port, destination, wanted)) add(range);
    }
  }
  return cuts;
}

// ---- The walk

type Outcome = 'allow' | 'deny' | 'pass' | 'none';

interface Doubt {
  readonly cause: Cause;
  readonly why: string;
}

/** What may become of a connection at one place: every outcome that is possible, with what leads to it. */
interface Reached {
  readonly outcomes: ReadonlyMap<Outcome, Cause>;
  readonly doubt?: Doubt;
  /** Does it act on the pods at all? A tier in which something does may end in a denial. */
  readonly applies: Tri;
}

type Item = { readonly kind: 'ordered'; readonly acting: Acting } | { readonly kind: 'additive' };

interface Tier {
  readonly name: string;
  readonly order: number;
  readonly end: 'deny' | 'pass';
  /** In order; the items of one group have no order among themselves. */
  readonly groups: readonly (readonly Item[])[];
}

const ADDITIVE_TIER = 'default';
const NOT_KNOWN = 'labels, names, ports or addresses that it asks for are not known';

/** The tiers that a connection of this pod set walks through, first to last. */
export function tiersOf(world: World, acting: readonly Acting[]): readonly Tier[] {
  const byTier = new Map<string, Acting[]>();
  for (const one of acting) {
    const list = byTier.get(one.policy.tier);
    if (list === undefined) byTier.set(one.policy.tier, [one]);
    else list.push(one);
  }
  const tiers: Tier[] = [];
  for (const [name, list] of byTier) {
    if (name === ADDITIVE_TIER) continue;
    const place = placeOf(world, name);
    tiers.push({ ...place, groups: groupItems(list) });
  }
  const shared = byTier.get(ADDITIVE_TIER) ?? [];
  const place = placeOf(world, ADDITIVE_TIER);
  tiers.push({ ...place, groups: groupItems(shared, true) });
  return tiers.sort((a, b) => (a.order === b.order ? compareText(a.name, b.name) : a.order - b.order));
}

function placeOf(world: World, name: string): Omit<Tier, 'groups'> {
  if (name === 'Admin' || name === 'Baseline') return { ...CALICO_ADMIN_TIERS[name], end: 'pass' };
  if (name === CILIUM_DENY_TIER) return { name, order: 2000, end: 'pass' };
  return world.calico?.tiers.get(name) ?? { name, order: 1_000_000, end: 'deny' };
}

function groupItems(list: readonly Acting[], withAdditive = false): readonly (readonly Item[])[] {
  const byOrder = new Map<number, Acting[]>();
  for (const one of list) {
    const same = byOrder.get(one.policy.order);
    if (same === undefined) byOrder.set(one.policy.order, [one]);
    else same.push(one);
  }
  if (withAdditive && !byOrder.has(KUBERNETES_ORDER)) byOrder.set(KUBERNETES_ORDER, []);
  const groups: (readonly Item[])[] = [];
  for (const [order, same] of [...byOrder].sort(([a], [b]) => a - b)) {
    const items = same.map((acting): Item => ({ kind: 'ordered', acting }));
    const scopes = new Set(same.map(({ policy }) => policy.tieBreak?.split('/')[0]));
    const additive = withAdditive && order === KUBERNETES_ORDER;
    if (additive) groups.push([...items, { kind: 'additive' }]);
    else if (scopes.size === 1 && !scopes.has(undefined)) {
      const sorted = same.toSorted((a, b) => compareText(a.policy.tieBreak ?? '', b.policy.tieBreak ?? ''));
      for (const acting of sorted) groups.push([{ kind: 'ordered', acting }]);
    } else groups.push(items);
  }
  return groups;
}

function reachPolicy(world: World, { policy, selected, rules }: Acting, asked: Asked, tools: Tools): Reached {
  const outcomes = new Map<Outcome, Cause>();
  let doubt: Doubt | undefined;
  if (selected !== 'yes') {
    outcomes.set('none', { name: policy.name });
    doubt = { cause: { name: policy.name }, why: policy.subject.doubt ?? 'whether it selects the pods is not known' };
  }
  for (const rule of rules) {
    const matched = matchRule(world, policy, rule, asked, tools);
    if (matched === 'no') continue;
    const cause = { name: policy.name, rule };
    if (!outcomes.has(rule.action)) outcomes.set(rule.action, cause);
    // Whoever is selected does not come past this rule: what is left open is what it does not select.
    if (matched === 'yes') return { outcomes, applies: 'no', ...(doubt === undefined ? {} : { doubt }) };
    doubt ??= { cause, why: rule.doubt ?? NOT_KNOWN };
  }
  outcomes.set('none', { name: policy.name });
  return { outcomes, applies: selected, ...(doubt === undefined ? {} : { doubt }) };
}

function reachAdditive(asked: Asked, tools: Tools): Reached {
  const { isolates, admits, name, rule, doubt } = tools.additive(asked);
  if (isolates === 'no') return { applies: isolates, outcomes: new Map([['none', {}]]) };
  const cause: Cause = {
    ...(name === undefined ? {} : { name }),
    ...(rule === undefined ? {} : { rule }),
  };
  const outcomes = new Map<Outcome, Cause>();
  if (admits !== 'no') outcomes.set('allow', cause);
  if (admits !== 'yes' || isolates !== 'yes') outcomes.set('none', {});
  const unsure = admits === 'unknown' || isolates === 'unknown';
  // Whichever of them isolates admits it too: what they leave open they do not isolate.
  const left = admits === 'yes' ? 'no' : isolates;
  return { applies: left, outcomes, ...(unsure ? { doubt: { cause, why: doubt ?? NOT_KNOWN } } : {}) };
}

/** Policies without an order among them: any of those that decide may be the one that is applied. */
function together(list: readonly Reached[]): Omit<Reached, 'applies'> {
  const [only] = list;
  if (list.length === 1 && only !== undefined) return only;
  const outcomes = new Map<Outcome, Cause>();
  let doubt: Doubt | undefined;
  let someDecides = false;
  for (const reached of list) {
    doubt ??= reached.doubt;
    if (!reached.outcomes.has('none')) someDecides = true;
    for (const [outcome, cause] of reached.outcomes) {
      if (outcome !== 'none' && !outcomes.has(outcome)) outcomes.set(outcome, cause);
    }
  }
  if (outcomes.size > 1) {
    const names = [...new Set([...outcomes.values()].flatMap(({ name }) => name ?? []))];
    const [cause = {}] = outcomes.values();
    if (names.length > 1) {
      doubt ??= { cause, why: `${names.join(' and ')} have the same place in the order and do not agree` };
    }
  }
  if (!someDecides) outcomes.set('none', {});
  return { outcomes, ...(doubt === undefined ? {} : { doubt }) };
}

/**
 * What the tiers say of a connection, one after the other: the first rule that matches decides, passes it on to the next tier, or
 * leaves it open; a tier whose policies select the pods and leave it open denies, or passes it on, as the tier says; what is left open
 * to the end is allowed. A rule that only may match makes both ways possible: the answer is sure only where all ways end alike.
 */
export function walkTiers(world: World, tiers: readonly Tier[], asked: Asked, tools: Tools): Walked {
  let allow: Cause | undefined;
  let deny: Cause | undefined;
  let doubt: Doubt | undefined;
  let goesOn = true;
  for (const { name, end, groups } of tiers) {
    let applies: Tri = 'no';
    let next = false;
    let open = true;
    for (const group of groups) {
      const reached: Reached[] = [];
      for (const item of group) {
        const one =
          item.kind === 'ordered' ? reachPolicy(world, item.acting, asked, tools) : reachAdditive(asked, tools);
        applies = or(applies, one.applies);
        reached.push(one);
      }
      const { outcomes, doubt: here } = together(reached);
      doubt ??= here;
      allow ??= outcomes.get('allow');
      deny ??= outcomes.get('deny');
      if (outcomes.has('pass')) next = true;
      if (!outcomes.has('none')) {
        open = false;
        break;
      }
    }
    if (open) {
      if (end === 'deny' && applies !== 'no') deny ??= { tierEnd: name };
      if (end === 'pass' || applies !== 'yes') next = true;
    }
    goesOn = next;
    if (!goesOn) break;
  }
  if (goesOn) allow ??= {};
  if (allow === undefined || deny === undefined) {
    return { answer: triOf(deny === undefined), cause: deny ?? allow ?? {} };
  }
  return { answer: 'unknown', cause: doubt?.cause ?? deny, doubt: doubt?.why ?? NOT_KNOWN };
}
