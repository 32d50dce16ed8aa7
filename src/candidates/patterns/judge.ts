import { parseAddress, parseCidr } from '../../model/cidr-set.ts';
import type { AddressRange } from '../../model/cidr-set.ts';
import { connectivity, portsWithout } from '../../model/connectivity.ts';
import type { AllowedPorts, Connection } from '../../model/connectivity.ts';
import type { Endpoint, Protocol } from '../../model/edge.ts';
import { compileWorld, evaluateConnection, mtlsModeOf } from '../../model/evaluate.ts';
import type { ConnectionQuery, World } from '../../model/evaluate.ts';
import type { Inventory, PodSet, Workload } from '../../model/inventory.ts';
import { asArray, asObject, asString } from '../../shared/pure/json.ts';
import type { Json, JsonObject } from '../../shared/pure/json.ts';
import { groupBy } from '../../shared/pure/order.ts';
import { groupOf, isMember } from './parameters.ts';
import type { Group } from './parameters.ts';

/** Why a pair may connect, or why that is not known. */
export interface PatternReason {
  /** The object that lets it; absent where nothing isolates. */
  readonly object?: string;
  readonly text: string;
}

/** One pair that the invariant forbids, or of which it cannot be told. */
export interface PatternPair {
  readonly src: string;
  readonly dst: string;
  readonly ports: string;
  readonly why: readonly PatternReason[];
}

export interface InvariantResult {
  readonly id: string;
  readonly text: string;
  readonly answer: 'holds' | 'violated' | 'unknown';
  /** Pairs, or sets of pods, that were asked about. 0: there is nothing that it is about. */
  readonly asked: number;
  readonly violating: readonly PatternPair[];
  readonly unknown: readonly PatternPair[];
}

interface Found {
  readonly asked: number;
  readonly violating: readonly PatternPair[];
  readonly unknown: readonly PatternPair[];
}

/** What one set of pods is, by the id it has in the split world. */
interface Member {
  readonly workload: Workload;
  readonly podSet: PodSet;
}

interface Asking {
  readonly world: World;
  readonly members: ReadonlyMap<string, Member>;
}

/** An address that nobody has (TEST-NET-3, RFC 5737), for whoever is outside. */
const OUTSIDE: Endpoint = { kind: 'external', ip: '203.0.113.77' };
/** A name that no address has (RFC 2606): what is asked about is none of the names that a policy admits. */
const NOBODY = 'nobody.invalid';
/** NodeLocal DNSCache's own address: the node itself. */
const NODE_LOCAL_DNS = '169.254.20.10/32';

/**
 * A world in which each set of pods is asked about by itself: of a workload with several, the answer of the evaluator is that of the pair that
 * may least, and an invariant is broken by the one that may most.
 */
export function splitPodSets(inventory: Inventory): Inventory {
  const parts = new Map<string, readonly string[]>();
  const workloads = inventory.workloads.flatMap((workload) => {
    if (workload.podSets.length < 2) return [workload];
    const split = workload.podSets.map((podSet, index) => {
      const suffix = `[${podSet.role === '' ? index : podSet.role}]`;
      return { ...workload, id: `${workload.id}${suffix}`, name: `${workload.name}${suffix}`, podSets: [podSet] };
    });
    parts.set(
      workload.id,
      split.map((one) => one.id),
    );
    return split;
  });
  if (parts.size === 0) return inventory;
  const services = inventory.services.map((service) => ({
    ...service,
    workloads: service.workloads.flatMap((id) => parts.get(id) ?? [id]),
  }));
  return { ...inventory, workloads, services };
}

/**
 * Judges filled invariants on a cluster as it stands, by the evaluator: `violated` where some pair surely may connect that should not, `unknown`
 * where that cannot be told of some and of none surely, with the reason. Kinds:
 *
 * - `apart` {groups, chain?, ports?, one-way?}: no group reaches another; with `chain` the next one in the list is reached, on `ports`; with
 *   `one-way` a later group may reach an earlier one
 * - `only` {to, from, accounts?, ports?, outside?}: nobody reaches `to` (on `ports`) but `from`, `accounts` and its own pods; nodes, with the pods on
 *   their network, are asked about where the mesh has a say
 * - `egress` {from, cidrs}: no address outside is reached but those, and what has one of the names that policies admit
 * - `strict` {of}: every port that is declared takes mTLS alone
 * - `tunnels` {of}: behind an open tunnel port of the ambient mesh nothing is reached that policies of the network keep closed
 * - `works` {from, to, ports}: what must get through does
 */
export function judgeInvariants(invariants: Json, inventory: Inventory): readonly InvariantResult[] {
  const split = splitPodSets(inventory);
  const members = new Map<string, Member>();
  for (const workload of split.workloads) {
    const [podSet] = workload.podSets;
    if (podSet !== undefined) members.set(workload.id, { workload, podSet });
  }
  const asking: Asking = { world: compileWorld(split), members };
  return asArray(invariants).map((one) => {
    const spec = asObject(one);
    const { asked, violating, unknown } = judge(spec, asking);
    return {
      id: asString(spec['id']) ?? '',
      text: asString(spec['text']) ?? '',
      answer:
        violating.length > 0 ? ('violated' as const) : unknown.length > 0 ? ('unknown' as const) : ('holds' as const),
      asked,
      violating,
      unknown,
    };
  });
}

/** Is there nothing here that the promises are about? They hold then by having nothing to hold for, which tells nobody anything. */
export function nothingAsked(results: readonly InvariantResult[]): boolean {
  return results.length > 0 && results.every(({ asked }) => asked === 0);
}

function judge(spec: JsonObject, asking: Asking): Found {
  switch (spec['kind']) {
    case 'apart':
      return judgeApart(spec, asking);
    case 'only':
      return judgeOnly(spec, asking);
    case 'egress':
      return judgeEgress(spec, asking);
    case 'strict':
      return judgeStrict(spec, asking);
    case 'tunnels':
      return judgeTunnels(spec, asking);
    case 'works':
      return judgeWorks(spec, asking);
    default:
      throw new Error(`no invariant is of the kind ${JSON.stringify(spec['kind'])}`);
  }
}

/** The kinds of invariants, for the schema. */
export const INVARIANT_KINDS = ['apart', 'only', 'egress', 'strict', 'tunnels', 'works'] as const;

function groupsIn(value: Json | undefined): readonly Group[] {
  return (Array.isArray(value) ? asArray(value) : [value ?? null]).flatMap((one) => groupOf(one) ?? []);
}

function idsIn({ members }: Asking, groups: readonly Group[]): ReadonlySet<string> {
  const out = new Set<string>();
  for (const [id, { workload, podSet }] of members)
    if (groups.some((group) => isMember(group, workload, podSet))) out.add(id);
  return out;
}

function portsIn(value: Json | undefined): readonly AllowedPorts[] | 'any' {
  const ports = asObject(value);
  if (value === undefined || ports['any'] === 'yes') return 'any';
  return asArray(ports['network']).map((one) => {
    const { protocol, port, endPort } = asObject(one);
    const from = typeof port === 'number' ? port : 0;
    return {
      protocol: (asString(protocol) ?? 'TCP') as Protocol,
      from,
      to: typeof endPort === 'number' ? endPort : from,
    };
  });
}

function usesMesh(spec: JsonObject): boolean {
  return spec['mesh'] === 'yes';
}

// ---------------------------------------------------------------- Pairs

function judgeApart(spec: JsonObject, asking: Asking): Found {
  const groups = groupsIn(spec['groups']);
  const of = groups.map((group) => idsIn(asking, [group]));
  const chain = spec['chain'] === 'yes';
  const oneWay = spec['one-way'] === 'yes';
  const ports = portsIn(spec['ports']);
  const everyone = new Set(of.flatMap((ids) => [...ids]));
  const places = new Map(
    [...everyone].map((id) => [id, of.flatMap((ids, index) => (ids.has(id) ? [index] : []))] as const),
  );
  const between = (from: readonly number[], to: readonly number[]): readonly AllowedPorts[] | 'any' => {
    if (from.some((one) => to.includes(one))) return 'any';
    if (oneWay && from.some((one) => to.some((other) => other < one))) return 'any';
    return chain && from.some((one) => to.includes(one + 1)) ? ports : [];
  };
  const admitted = (src: string, dst: string): readonly AllowedPorts[] | 'any' =>
    between(places.get(src) ?? [], places.get(dst) ?? []);
  // Who is in the same groups is counted together: there may be thousands.
  const alike = [...groupBy(places.values(), (one) => one.join()).values()];
  let asked = 0;
  for (const from of alike)
    for (const to of alike) if (between(from[0] ?? [], to[0] ?? []) !== 'any') asked += from.length * to.length;
  return judgePairs(asking, everyone, everyone, admitted, usesMesh(spec), asked);
}

function judgeOnly(spec: JsonObject, asking: Asking): Found {
  const to = idsIn(asking, groupsIn(spec['to']));
  const from = new Set(idsIn(asking, groupsIn(spec['from'])));
  const accounts = asArray(spec['accounts']).map(asObject);
  for (const [id, { workload, podSet }] of asking.members)
    if (accounts.some((one) => one['namespace'] === workload.namespace && one['name'] === podSet.serviceAccount))
      from.add(id);
  const guarded = portsIn(spec['ports']);
  const rest = guarded === 'any' ? [] : complement(guarded);
  // Pods on the host network are their node to NetworkPolicy, and a pod's own node is always let through: no policy could keep that promise.
  const isNode = (id: string): boolean => !usesMesh(spec) && asking.members.get(id)?.podSet.hostNetwork === true;
  const others = new Set([...asking.members.keys()].filter((id) => !from.has(id) && !to.has(id) && !isNode(id)));
  const pairs = judgePairs(asking, others, to, () => rest, usesMesh(spec), others.size * to.size);
  if (spec['outside'] !== 'yes') return pairs;
  const outside = judgeOutside(asking, to, guarded, usesMesh(spec));
  return {
    asked: pairs.asked + outside.asked,
    violating: [...pairs.violating, ...outside.violating],
    unknown: [...pairs.unknown, ...outside.unknown],
  };
}

function complement(ports: readonly AllowedPorts[]): readonly AllowedPorts[] {
  const all = (['TCP', 'UDP', 'SCTP'] as const).map((protocol) => ({ protocol, from: 1, to: 65_535 }));
  return portsWithout(all, ports);
}

function judgePairs(
  asking: Asking,
  sources: ReadonlySet<string>,
  destinations: ReadonlySet<string>,
  admitted: (src: string, dst: string) => readonly AllowedPorts[] | 'any',
  mesh: boolean,
  asked: number,
): Found {
  const violating: PatternPair[] = [];
  const unknown: PatternPair[] = [];
  const found = connectivity(asking.world, {
    from: (id) => sources.has(id),
    to: (id) => destinations.has(id),
    mesh,
  });
  for (const connection of found) {
    const may = admitted(connection.src, connection.dst);
    if (may === 'any') continue;
    const open = portsWithout(connection.allowed, may);
    if (open.length > 0) violating.push(pairOf(asking, connection, open, 'allows', mesh));
    const doubtful = portsWithout(connection.unknown, may);
    if (doubtful.length > 0) unknown.push(pairOf(asking, connection, doubtful, 'unknown', mesh));
  }
  return { asked, violating, unknown };
}

function pairOf(
  { world }: Asking,
  { src, dst }: Pick<Connection, 'src' | 'dst'>,
  ports: readonly AllowedPorts[],
  decision: 'allows' | 'unknown',
  mesh: boolean,
): PatternPair {
  const [first] = ports;
  return {
    src,
    dst,
    ports: isEverything(ports) ? 'every port' : ports.map(formatPorts).join(', '),
    why:
      first === undefined
        ? []
        : whyOf(world, { ...endsOf(src, dst), protocol: first.protocol, port: first.from }, decision, mesh),
  };
}

function endsOf(src: string, dst: string): Pick<ConnectionQuery, 'src' | 'dst'> {
  return { src: { kind: 'workload', id: src }, dst: { kind: 'workload', id: dst } };
}

/** All ports of TCP, UDP and SCTP. */
function isEverything(ports: readonly AllowedPorts[]): boolean {
  return ports.length === 3 && ports.every(({ from, to }) => from === 1 && to === 65_535);
}

function formatPorts({ protocol, from, to }: AllowedPorts): string {
  if (from === 1 && to === 65_535) return `every ${protocol} port`;
  return `${from}${to === from ? '' : `-${to}`}/${protocol}`;
}

/** What decides, without repetition; where nothing isolates, that is the reason. */
function whyOf(
  world: World,
  query: ConnectionQuery,
  decision: 'allows' | 'unknown',
  mesh: boolean,
): readonly PatternReason[] {
  const { reasons } = evaluateConnection(world, query, { mesh });
  const own = reasons.filter((one) => one.decision === decision);
  return own.map(({ object, text }) => ({ ...(object === undefined ? {} : { object }), text }));
}

// ---------------------------------------------------------------- The outside

/** Ports of a set of pods: those declared, of TCP where none is. */
function declaredPorts({ podSet }: Member): readonly AllowedPorts[] {
  const ports = podSet.containers.flatMap((one) => one.ports);
  const list = ports.length > 0 ? ports : [{ protocol: 'TCP' as const, port: 8080 }];
  return list.map(({ protocol, port }) => ({ protocol, from: port, to: port }));
}

function judgeOutside(
  asking: Asking,
  to: ReadonlySet<string>,
  guarded: readonly AllowedPorts[] | 'any',
  mesh: boolean,
): Found {
  const violating: PatternPair[] = [];
  const unknown: PatternPair[] = [];
  let asked = 0;
  for (const id of to) {
    const member = asking.members.get(id);
    if (member === undefined) continue;
    const ports = declaredPorts(member).filter((one) => guarded === 'any' || portsWithout([one], guarded).length === 0);
    for (const port of ports) {
      asked += 1;
      collect(asking, OUTSIDE, { kind: 'workload', id }, port, mesh, violating, unknown);
    }
  }
  return { asked, violating, unknown };
}

function collect(
  { world }: Asking,
  src: Endpoint,
  dst: Endpoint,
  port: AllowedPorts,
  mesh: boolean,
  violating: PatternPair[],
  unknown: PatternPair[],
): void {
  const query: ConnectionQuery = { src, dst, protocol: port.protocol, port: port.from };
  const { answer } = evaluateConnection(world, query, { mesh });
  if (answer === 'denied') return;
  const pair: PatternPair = {
    src: textOf(src),
    dst: textOf(dst),
    ports: formatPorts(port),
    why: whyOf(world, query, answer === 'allowed' ? 'allows' : 'unknown', mesh),
  };
  (answer === 'allowed' ? violating : unknown).push(pair);
}

function textOf(end: Endpoint): string {
  if (end.kind === 'workload') return end.id;
  if (end === OUTSIDE) return 'anywhere outside';
  return end.kind === 'external' ? (end.ip ?? end.name ?? 'outside') : end.kind;
}

/** Ports that are asked about towards the outside: those on which data leave. */
const EGRESS_PORTS: readonly AllowedPorts[] = [22, 25, 53, 80, 443, 8080, 8443].map((port) => ({
  protocol: 'TCP',
  from: port,
  to: port,
}));

/**
 * Addresses asked about: one that nobody has, the cloud's metadata server, well-known ones, and those on either side of each range admitted. Not a
 * proof over all addresses: a further policy with a range of its own is met where that range is in a policy here (its first address is asked).
 */
function judgeEgress(spec: JsonObject, asking: Asking): Found {
  const from = idsIn(asking, groupsIn(spec['from']));
  const cidrs = asArray(spec['cidrs']).filter((one) => typeof one === 'string');
  const inside = [...cidrs, NODE_LOCAL_DNS].flatMap((one) => rangeOf(one) ?? []);
  const blocks = blocksIn(asking.world.inventory.policies);
  const probes = new Set(['203.0.113.77', '169.254.169.254', '8.8.8.8', '1.1.1.1', '140.82.112.3']);
  for (const block of [...cidrs, ...blocks]) {
    const range = rangeOf(block);
    if (range === undefined || range.family !== 4) continue;
    for (const value of [range.first - 1n, range.first, range.first + 1n, range.last + 1n])
      if (value > 0n && value < 0xffff_ffffn) probes.add(ipOf(value));
  }
  const cluster = new Set([
    ...asking.world.inventory.nodes.flatMap((node) => node.addresses),
    ...asking.world.inventory.workloads.flatMap((one) =>
      one.podSets.flatMap((set) => set.pods.flatMap((pod) => pod.ips)),
    ),
    ...asking.world.inventory.services.flatMap((one) => one.clusterIPs),
  ]);
  const outside = [...probes].filter((ip) => {
    const at = parseAddress(ip);
    const first = at?.first;
    return (
      first !== undefined &&
      !cluster.has(ip) &&
      !isPrivate(first) &&
      !inside.some((range) => range.family === 4 && range.first <= first && first <= range.last)
    );
  });
  const violating: PatternPair[] = [];
  const unknown: PatternPair[] = [];
  let asked = 0;
  for (const id of from)
    for (const ip of outside)
      for (const port of EGRESS_PORTS) {
        asked += 1;
        const to: Endpoint = { kind: 'external', ip, name: NOBODY };
        collect(asking, { kind: 'workload', id }, to, port, usesMesh(spec), violating, unknown);
      }
  return { asked, violating: folded(violating), unknown: folded(unknown) };
}

/** One line for each source and address. */
function folded(pairs: readonly PatternPair[]): readonly PatternPair[] {
  const out = new Map<string, PatternPair>();
  for (const pair of pairs) {
    const key = `${pair.src}\n${pair.dst}`;
    const known = out.get(key);
    out.set(key, known === undefined ? pair : { ...known, ports: `${known.ports}, ${pair.ports}` });
  }
  return [...out.values()];
}

/** Ranges of the inside (RFC 1918, RFC 6598): whether they are outside the cluster is not known, so they are not asked about. */
function isPrivate(address: bigint): boolean {
  return PRIVATE.some((range) => range.first <= address && address <= range.last);
}
const PRIVATE = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10'].flatMap((one) => rangeOf(one) ?? []);

function rangeOf(cidr: string): AddressRange | undefined {
  return parseCidr(cidr)?.range;
}

function ipOf(value: bigint): string {
  return [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 255n)).join('.');
}

/** Every range that some policy names. */
function blocksIn(value: Json): readonly string[] {
  if (typeof value === 'string') return /^\d{1,3}(?:\.\d{1,3}){3}\/\d{1,2}$/u.test(value) ? [value] : [];
  if (Array.isArray(value)) return (value as readonly Json[]).flatMap(blocksIn);
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(blocksIn) : [];
}

// ---------------------------------------------------------------- The mesh, and what must work

function judgeStrict(spec: JsonObject, asking: Asking): Found {
  const violating: PatternPair[] = [];
  const unknown: PatternPair[] = [];
  const of = idsIn(asking, groupsIn(spec['of']));
  let asked = 0;
  for (const id of of) {
    const member = asking.members.get(id);
    if (member === undefined) continue;
    const { mesh } = member.podSet;
    const ports = declaredPorts(member).filter(({ protocol }) => protocol === 'TCP');
    for (const port of ports) {
      asked += 1;
      const pair = (text: string): PatternPair => ({
        src: 'plaintext',
        dst: id,
        ports: formatPorts(port),
        why: [{ text }],
      });
      if (mesh === 'none') {
        violating.push(pair(`${id} is not in the mesh, so that it takes plaintext.`));
        continue;
      }
      const { mode, by } = mtlsModeOf(asking.world, id, port.from);
      if (mode === 'unknown' || mesh === 'unknown' || mesh === 'mixed')
        unknown.push(
          pair(
            mesh === 'mixed'
              ? `Some pods of ${id} are in the mesh and some are not.`
              : `What ${id} takes is not known: ${by}`,
          ),
        );
      else if (mode !== 'STRICT') violating.push(pair(`It takes mTLS as ${mode} (${by}).`));
    }
  }
  return { asked, violating, unknown };
}

/**
 * Where the destination is or may be in ambient mode: ports that the network keeps closed when each is asked about by itself, and that are reached
 * once tunnels and AuthorizationPolicy are counted in. Port 15008 itself is the tunnel's.
 */
function judgeTunnels(spec: JsonObject, asking: Asking): Found {
  const to = new Set<string>();
  for (const id of idsIn(asking, groupsIn(spec['of'])))
    if (AMBIENT_OR_NOT_KNOWN.has(asking.members.get(id)?.podSet.mesh ?? 'none')) to.add(id);
  const none: Found = { asked: 0, violating: [], unknown: [] };
  if (to.size === 0 || asking.world.inventory.facts.mesh.mode === 'sidecar') return none;
  const plain = new Map<string, readonly AllowedPorts[]>();
  const key = (src: string, dst: string): string => `${src}\n${dst}`;
  const isTo = (id: string): boolean => to.has(id);
  for (const { src, dst, allowed, unknown } of connectivity(asking.world, { to: isTo }))
    plain.set(key(src, dst), [...allowed, ...unknown]);
  const violating: PatternPair[] = [];
  const unknown: PatternPair[] = [];
  for (const connection of connectivity(asking.world, { to: isTo, mesh: true })) {
    const { src, dst } = connection;
    const closed = [...(plain.get(key(src, dst)) ?? []), TUNNEL_PORT];
    const taken = portsWithout(connection.allowed, closed);
    if (taken.length > 0) violating.push(pairOf(asking, connection, taken, 'allows', true));
    const doubtful = portsWithout(connection.unknown, closed);
    if (doubtful.length > 0) unknown.push(pairOf(asking, connection, doubtful, 'unknown', true));
  }
  throughWaypoints(asking, to, plain, violating, unknown);
  return { asked: to.size * Math.max(0, asking.members.size - 1), violating, unknown };
}

/**
 * Pairs that the network keeps apart altogether and a waypoint brings together: the table of pairs leaves them out, so that each is asked about by
 * itself, on the ports that the server declares.
 */
function throughWaypoints(
  asking: Asking,
  to: ReadonlySet<string>,
  plain: ReadonlyMap<string, readonly AllowedPorts[]>,
  violating: PatternPair[],
  unknown: PatternPair[],
): void {
  if (![...asking.world.istio.values()].some(({ waypoints }) => waypoints.length > 0)) return;
  for (const dst of to) {
    const member = asking.members.get(dst);
    const ports = member === undefined ? [] : declaredPorts(member).filter(({ protocol }) => protocol === 'TCP');
    for (const src of asking.members.keys()) {
      if (src === dst || plain.has(`${src}\n${dst}`)) continue;
      for (const port of ports) {
        const query: ConnectionQuery = { ...endsOf(src, dst), protocol: 'TCP', port: port.from };
        const { answer } = evaluateConnection(asking.world, query, { mesh: true });
        if (answer === 'denied') continue;
        const decision = answer === 'allowed' ? 'allows' : 'unknown';
        const why = whyOf(asking.world, query, decision, true);
        (answer === 'allowed' ? violating : unknown).push({ src, dst, ports: formatPorts(port), why });
      }
    }
  }
}

const TUNNEL_PORT: AllowedPorts = { protocol: 'TCP', from: 15_008, to: 15_008 };
const AMBIENT_OR_NOT_KNOWN: ReadonlySet<string> = new Set(['ambient', 'mixed', 'unknown']);

function judgeWorks(spec: JsonObject, asking: Asking): Found {
  const [from, to] = [idsIn(asking, groupsIn(spec['from'])), idsIn(asking, groupsIn(spec['to']))];
  const ports = portsIn(spec['ports']);
  const list = ports === 'any' ? [{ protocol: 'TCP' as const, from: 8080, to: 8080 }] : ports;
  const violating: PatternPair[] = [];
  const unknown: PatternPair[] = [];
  let asked = 0;
  for (const src of from)
    for (const dst of to)
      for (const port of list) {
        // A pod's connection to itself does not leave it; to another pod of its set it is asked about like any other.
        asked += 1;
        const query: ConnectionQuery = {
          ...endsOf(src, dst),
          protocol: port.protocol,
          port: port.from,
          ...(port.to === port.from ? {} : { endPort: port.to }),
        };
        const verdict = evaluateConnection(asking.world, query, { mesh: usesMesh(spec) });
        if (verdict.answer === 'allowed') continue;
        const wanted = verdict.answer === 'denied' ? 'denies' : 'unknown';
        const pair = {
          src,
          dst,
          ports: formatPorts(port),
          why: verdict.reasons
            .filter((one) => one.decision === wanted)
            .map(({ object, text }) => ({ ...(object === undefined ? {} : { object }), text })),
        };
        (verdict.answer === 'denied' ? violating : unknown).push(pair);
      }
  return { asked, violating, unknown };
}
