import { createCidrTest, isPrivateAddress, isUnroutable, neighbourhood, normaliseIp } from '../model/address.ts';
import type { AddressHistory, AddressHold } from '../model/address-hold.ts';
import { NO_HISTORY, isSure } from '../model/address-hold.ts';
import type { Endpoint, Protocol } from '../model/edge.ts';
import { REMOTE_NODE, endpointKey } from '../model/edge.ts';
import type { RawEnd } from '../model/flow.ts';
import type { Inventory, PodInfo, ServiceInfo, Workload } from '../model/inventory.ts';
import { isHostName, isWorkloadId } from '../model/names.ts';
import { metadataServerAt } from '../inventory/system-traffic.ts';
import { compareText, sortBy } from '../shared/pure/order.ts';
import { CLOCK_MARGIN_MS, lastHeld, wasWatched } from './address-history.ts';
import { createOwnerFinder } from './owner.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;
/** Names remembered for addresses outside; beyond it new addresses stay without a name. */
const MAX_NAMES = 1_000_000;

/** Names end up in commands and in rules: what no cluster and no DNS can have is not taken over. */
const NO_NAME = 'the record names it by what can be no name';

/** Addresses that mean the same on every cluster. */
export function wellKnownAddress(ip: string): Endpoint | undefined {
  switch (ip) {
    // NodeLocal DNSCache listens on every node (kubernetes.io/docs/tasks/administer-cluster/nodelocaldns).
    case '169.254.20.10':
      return { kind: 'node' };
    // The metadata servers of AWS, Azure, Google Cloud, OpenStack and others.
    case '169.254.169.254':
      return { kind: 'external', name: 'metadata-server', ip };
    default:
      // By their addresses: a rule for one is not a rule for the other.
      return metadataServerAt(ip) === undefined ? undefined : { kind: 'external', ip };
  }
}

/** One side of a flow on its way to an endpoint. Compared by identity: one party for one answer. */
export interface Party {
  /** Known at once; absent where later records may still tell. */
  readonly endpoint?: Endpoint;
  /** An address whose holder, or whose name, is settled once all records are in. */
  readonly ip?: string;
  /** The source says that the address is outside the cluster. */
  readonly world?: boolean;
}

export interface Attribution {
  readonly party: Party;
  /** The schedule run that the pod belonged to. */
  readonly run?: string;
  /** The port after NAT, where the record had a Service's address. */
  readonly port?: number;
  /** Not a party to anything: multicast, loopback. */
  readonly unroutable?: boolean;
}

export interface Attributor {
  /**
   * The party behind a raw end at `time` (ms), of a record that lasts until `last` (`time` where it is absent); `port` is the destination port
   * when the end is a destination.
   */
  attribute(end: RawEnd, time: number, protocol: Protocol, port?: number, last?: number): Attribution;
  /**
   * The node itself, where the record comes from an address that a node and the API server share, to a pod on that very node: there the
   * kubelet probes, and no policy stops it. Undefined where that is not so, or not known.
   */
  fromOwnNode(src: RawEnd, dst: RawEnd): Party | undefined;
  /** An end that was attributed before was there at `time` (ms) as well. */
  sightAgain(end: RawEnd, time: number): void;
  /** A DNS answer. */
  learnName(ip: string, name: string): void;
  /** The endpoint of a party that was seen between `first` and `last`. After all records. */
  settle(party: Party, first: number, last: number): Endpoint;
  /** Is the port a container's or Service target's of the workload? */
  declaresPort(id: string, protocol: Protocol, port: number): boolean;
  /** The pods that records named at an address, for whoever asks later. Sorted. */
  sighted(): readonly AddressHold[];
  readonly contradictions: Contradictions;
}

/** Where records and the pods' own history do not agree. */
export interface Contradictions {
  /** Records that name another pod than the one that held the address then. The record's name was taken. */
  readonly pods: number;
  /** For the first of them: `shop/a at 10.0.0.1, where shop/b was`. */
  readonly example?: string;
  /** By node: how far, in milliseconds at most, records lie outside the life of the pod that they name. Clocks differ by that. */
  readonly skew: ReadonlyMap<string, number>;
}

/** A pod that the records show at an address. */
interface Sighting {
  readonly endpoint: Endpoint;
  /** A pod that ends soon: its address may go round within the day. */
  readonly brief: boolean;
  readonly raw: RawEnd;
  first: number;
  last: number;
  /** By UTC day, where the name is one that the next pod has as well: between two sightings it may have been another one. */
  readonly days?: Map<number, Span>;
}

interface Span {
  first: number;
  last: number;
}

interface Remembered {
  readonly attribution: Attribution;
  readonly sighting?: Sighting;
  /** Times that pods themselves give: of this very pod, and of others at its address. */
  readonly own?: Tenure;
  readonly others?: readonly Tenure[];
}

/** A pod at an address from `from` to `to`, and whose it is. */
interface Tenure {
  readonly pod: string;
  readonly uid?: string;
  readonly party: Party;
  readonly run?: string;
  readonly from: number;
  readonly to: number;
  readonly ended: boolean;
  /** The pods' own word. */
  readonly sure: boolean;
  readonly node?: string;
}

/** Names that a controller ends with five random characters are not given twice. */
const UNIQUE_NAME = /-[bcdfghjklmnpqrstvwxz2456789]{5}$/;
/** Beyond it the pod of that name was another one, or the record is wrong altogether. */
const MAX_SKEW_MS = 3_600_000;

/**
 * Resolves raw ends to endpoints at the time of the flow. Order: identities that the source reserves, what the record says of
 * the pod, labels and pod names against the inventory, then addresses: Services with one workload, pods in the time in which they
 * held it (by the inventory and by `history`), nodes, the API server, and who else was stamped with that address. An address is never
 * given to whoever holds it today for a flow of yesterday, and to nobody where two held it within CLOCK_MARGIN_MS of the flow.
 */
export function createAttributor(inventory: Inventory, history: AddressHistory = NO_HISTORY): Attributor {
  const findOwner = createOwnerFinder(inventory);
  const workloads = new Map(inventory.workloads.map((workload) => [workload.id, workload]));
  const services = new Map<string, ServiceInfo>();
  const servicesByName = new Map<string, ServiceInfo>();
  for (const service of inventory.services) {
    servicesByName.set(`${service.namespace}/${service.name}`, service);
    for (const text of service.clusterIPs) {
      const ip = normaliseIp(text);
      if (ip !== undefined) services.set(ip, service);
    }
    // kube-proxy and its likes answer for these on every node: the packet goes to a pod and never leaves.
    for (const text of service.virtualIPs ?? []) {
      const ip = normaliseIp(text);
      if (ip !== undefined && !services.has(ip)) services.set(ip, service);
    }
  }
  /** Addresses of nodes, and since when there is a node with it, where that is known. */
  const nodes = new Map(
    inventory.nodes.flatMap((node) =>
      node.addresses.map((text) => [normaliseIp(text) ?? text, node.createdAt] as const),
    ),
  );
  const nodeNames = new Map(
    inventory.nodes.flatMap((node) => node.addresses.map((text) => [normaliseIp(text) ?? text, node.name] as const)),
  );
  const nodePorts = new Map<string, { readonly service: ServiceInfo; readonly port: number }>();
  for (const service of inventory.services)
    for (const port of service.ports)
      if (port.nodePort !== undefined) nodePorts.set(`${port.nodePort}/${port.protocol}`, { service, port: port.port });
  const podRanges = inventory.nodes.flatMap((node) => node.podCIDRs);
  const inPodRange = createCidrTest(podRanges);
  const isApiServer = createCidrTest(inventory.facts.apiServer);
  const podsByIp = new Map<string, { readonly workload: Workload; readonly pod: PodInfo }[]>();
  const podNeighbourhoods = new Set<string>();
  for (const workload of inventory.workloads)
    for (const set of workload.podSets)
      for (const pod of set.pods) {
        if (pod.hostNetwork || set.hostNetwork) continue;
        for (const text of pod.ips) {
          const ip = normaliseIp(text);
          if (ip === undefined) continue;
          const held = podsByIp.get(ip);
          if (held === undefined) podsByIp.set(ip, [{ workload, pod }]);
          else held.push({ workload, pod });
          podNeighbourhoods.add(neighbourhood(ip));
        }
      }

  const parties = new Map<string, Party>();
  const remembered = new WeakMap<RawEnd, Remembered>();
  const sightings = new Map<string, Map<string, Sighting>>();
  const sightedNeighbourhoods = new Set<string>();
  // An empty name: several names were seen, so none is sure.
  const names = new Map<string, string>();
  const declared = new Map<string, ReadonlySet<string>>();

  const partyOf = (endpoint: Endpoint): Party => {
    const key = endpointKey(endpoint);
    const known = parties.get(key);
    if (known !== undefined) return known;
    const party: Party = { endpoint };
    parties.set(key, party);
    return party;
  };
  const NODE = partyOf({ kind: 'node' });
  const REMOTE = partyOf({ kind: 'node', name: REMOTE_NODE });
  // The kubelet probes from the pod's own node; what comes from another one came through a node port or the host network there.
  const nodeOf = (reserved: RawEnd['reserved']): Party => (reserved.includes('remote-node') ? REMOTE : NODE);
  const API_SERVER = partyOf({ kind: 'api-server' });
  const unknownParty = (why: string, ip?: string): Party => {
    const key = `?${ip ?? ''}\n${why}`;
    const known = parties.get(key);
    if (known !== undefined) return known;
    const party: Party = { endpoint: { kind: 'unknown', ...(ip === undefined ? {} : { ip }), why } };
    parties.set(key, party);
    return party;
  };
  const laterParty = (ip: string, time: number, world: boolean): Party => {
    // Split by the hour, so that an address that changes hands does not make one party of two holders.
    const key = `@${ip}\n${world ? 'w' : ''}${Math.floor(time / HOUR_MS)}`;
    const known = parties.get(key);
    if (known !== undefined) return known;
    const party: Party = { ip, world };
    parties.set(key, party);
    return party;
  };
  const outsideParty = (ip: string): Party => {
    const key = `>${ip}`;
    const known = parties.get(key);
    if (known !== undefined) return known;
    const party: Party = { ip, world: true };
    parties.set(key, party);
    return party;
  };

  const workloadParty = (id: string): Party => {
    const workload = workloads.get(id);
    if (workload === undefined && !isWorkloadId(id)) return unknownParty(NO_NAME);
    const host =
      workload !== undefined && workload.podSets.length > 0 && workload.podSets.every((set) => set.hostNetwork);
    return host ? NODE : partyOf({ kind: 'workload', id });
  };

  /** The pods' port behind a Service's; undefined where neither the port nor the Service's only one tells. */
  const behindService = (
    service: ServiceInfo,
    workload: string,
    protocol: Protocol,
    port: number,
  ): number | undefined => {
    const ports = service.ports.filter((one) => one.protocol === protocol);
    const [entry, ...others] = port === 0 ? ports : ports.filter((one) => one.port === port);
    if (entry === undefined) return port === 0 ? undefined : port;
    if (others.length > 0) return undefined;
    return service.headless && port !== 0 ? port : targetPort(entry.targetPort, workloads.get(workload), protocol);
  };

  /** The only port that the workload declares. */
  const onlyPort = (id: string, protocol: Protocol): number | undefined => {
    const numbers = [...declaredPorts(workloads.get(id), inventory.services)]
      .filter((one) => one.endsWith(`/${protocol}`))
      .map((one) => Number(one.slice(0, -protocol.length - 1)));
    return numbers.length === 1 ? numbers[0] : undefined;
  };

  /** Destinations named as a workload, with the port of the Service they were called by, or with none (0). */
  const withPort = (found: Attribution, end: RawEnd, protocol: Protocol, port: number | undefined): Attribution => {
    const { endpoint } = found.party;
    if (port === undefined || endpoint?.kind !== 'workload' || (end.service === undefined && port !== 0)) return found;
    const named = end.service;
    const service = named === undefined ? undefined : servicesByName.get(`${named.namespace}/${named.name}`);
    const behind =
      service === undefined
        ? port === 0
          ? onlyPort(endpoint.id, protocol)
          : port
        : (behindService(service, endpoint.id, protocol, port) ??
          (port === 0 ? onlyPort(endpoint.id, protocol) : undefined));
    return { ...found, port: behind ?? 0 };
  };

  const throughService = (
    service: ServiceInfo,
    protocol: Protocol,
    port: number | undefined,
    ip?: string,
    time?: number,
  ): Attribution => {
    const label = `Service ${service.namespace}/${service.name}`;
    if (service.namespace === 'default' && service.name === 'kubernetes') return { party: API_SERVER };
    if (time !== undefined && service.createdAt !== undefined && time < service.createdAt)
      return { party: unknownParty(`${label} was made later than the record`, ip) };
    const [only, ...others] = service.workloads;
    if (only === undefined) return { party: unknownParty(`${label} selects no workload of the inventory`, ip) };
    if (others.length > 0) return { party: unknownParty(`${label} stands for several workloads`, ip) };
    if (port === undefined) return { party: workloadParty(only) };
    if (port === 0)
      return {
        party: workloadParty(only),
        port: behindService(service, only, protocol, 0) ?? onlyPort(only, protocol) ?? 0,
      };
    const entry = service.ports.find((one) => one.port === port && one.protocol === protocol);
    // A headless Service translates no ports.
    if (service.headless) return { party: workloadParty(only), port };
    if (entry === undefined) return { party: unknownParty(`${label} has no port ${port}/${protocol}`, ip) };
    const target = targetPort(entry.targetPort, workloads.get(only), protocol);
    if (target === undefined)
      return { party: unknownParty(`${label} sends port ${port} to one that no container names`, ip) };
    return { party: workloadParty(only), port: target };
  };

  const spelling = new Map<string, string | undefined>();
  const spell = (text: string): string | undefined => {
    if (spelling.has(text)) return spelling.get(text);
    if (spelling.size > MAX_NAMES) spelling.clear();
    const ip = normaliseIp(text);
    spelling.set(text, ip);
    return ip;
  };

  const learnName = (text: string, name: string): void => {
    const ip = spell(text);
    if (ip === undefined || !isHostName(name)) return;
    const known = names.get(ip);
    if (known === undefined) {
      if (names.size < MAX_NAMES) names.set(ip, name);
    } else if (known !== name) names.set(ip, '');
  };

  const tenures = new Map<string, readonly Tenure[]>();
  /** Every pod known at an address, of the inventory and on record. */
  const tenuresOf = (ip: string): readonly Tenure[] => {
    const known = tenures.get(ip);
    if (known !== undefined) return known;
    const found = new Map<string, Tenure>();
    const add = (tenure: Tenure): void => {
      const key = tenure.uid ?? `${tenure.pod}@${tenure.from}`;
      const before = found.get(key);
      found.set(key, before === undefined ? tenure : joinTenure(before, tenure));
    };
    for (const { workload, pod } of podsByIp.get(ip) ?? []) {
      const tenure = tenureOf(workload, pod, workloadParty(workload.id));
      if (tenure !== undefined) add(tenure);
    }
    for (const hold of history.holdsOf(ip)) {
      const { holder } = hold;
      const owner = findOwner(rawOf(holder));
      add({
        pod: `${holder.namespace}/${holder.pod}`,
        ...(holder.uid === undefined ? {} : { uid: holder.uid }),
        ...(holder.node === undefined ? {} : { node: holder.node }),
        party:
          typeof owner === 'object' ? workloadParty(owner.id) : unknownParty(owner ?? 'its pod names no workload', ip),
        ...(typeof owner !== 'object' || owner.run === undefined ? {} : { run: owner.run }),
        from: hold.from,
        to: lastHeld(hold, history.watched),
        ended: hold.ended,
        sure: isSure(hold),
      });
    }
    const all = [...found.values()];
    // Addresses outside are many, and nobody of ours ever held one.
    if (all.length > 0 || tenures.size < MAX_NAMES) tenures.set(ip, all);
    return all;
  };

  /** Who held the address at `first`, and nobody else until `last`, by the pods' own word. A text: why that cannot be told. */
  const heldBy = (ip: string, first: number, last: number): Tenure | string | undefined => {
    const sure = tenuresOf(ip).filter((one) => one.sure);
    // A pod may end inside of what was recorded over some minutes.
    const at = sure.filter((one) => one.from <= first && first <= one.to);
    const near = sure.filter((one) => one.from - CLOCK_MARGIN_MS <= last && first <= one.to + CLOCK_MARGIN_MS);
    const [only] = at;
    if (only === undefined) return undefined;
    if (near.some((one) => one.party !== only.party)) return CHANGED_HANDS;
    if (near.length === 1) return only;
    // Two pods of one workload: whose run it was is not known.
    const { run, ...rest } = only;
    return near.every((one) => one.run === run) ? only : rest;
  };

  /** What an address means at any time and for any port; undefined where either matters. */
  const fixedAddress = (ip: string, world: boolean, ownNames: readonly string[]): Attribution | undefined => {
    if (isUnroutable(ip)) return { party: unknownParty('an address of nobody in particular', ip), unroutable: true };
    const special = wellKnownAddress(ip);
    if (special !== undefined) return { party: partyOf(special) };
    if (services.has(ip)) return undefined;
    if (isApiServer(ip)) return { party: API_SERVER };
    if (nodes.has(ip) || podsByIp.has(ip) || tenuresOf(ip).length > 0 || inPodRange(ip)) return undefined;
    for (const name of ownNames) learnName(ip, name);
    const [ownName, ...otherNames] = ownNames;
    if (world && ownName !== undefined && otherNames.length === 0 && isHostName(ownName))
      return { party: partyOf({ kind: 'external', name: ownName }) };
    if (!podNeighbourhoods.has(neighbourhood(ip)) && (world || !isPrivateAddress(ip)))
      return { party: outsideParty(ip) };
    return undefined;
  };

  const byAddress = (
    end: RawEnd,
    time: number,
    last: number,
    protocol: Protocol,
    port: number | undefined,
  ): Attribution => {
    const ip = spell(end.ip ?? '');
    if (ip === undefined) return { party: unknownParty('its address does not read as one') };
    const service = services.get(ip);
    if (service !== undefined) return throughService(service, protocol, port, ip, time);
    const held = heldBy(ip, time, last);
    if (typeof held === 'string') return { party: unknownParty(held, ip) };
    if (held !== undefined) return { party: held.party, ...(held.run === undefined ? {} : { run: held.run }) };
    if (nodes.has(ip)) {
      // The address may have been another's before there was such a node.
      const since = nodes.get(ip);
      if (since === undefined || time >= since) {
        const behind = port === undefined ? undefined : nodePorts.get(`${port}/${protocol}`);
        return behind === undefined ? { party: NODE } : throughService(behind.service, protocol, behind.port, ip, time);
      }
    }
    return { party: laterParty(ip, time, end.reserved.includes('world')) };
  };

  const isTimeless = (end: RawEnd): Remembered | undefined => {
    const { reserved } = end;
    if (reserved.includes('kube-apiserver')) return { attribution: { party: API_SERVER } };
    if (reserved.includes('ingress'))
      return { attribution: { party: unknownParty("Cilium's own ingress proxy, for whom is not said") } };
    if (reserved.some((one) => one === 'host' || one === 'remote-node' || one === 'health')) {
      const special = end.ip === undefined ? undefined : wellKnownAddress(end.ip);
      return { attribution: { party: special === undefined ? nodeOf(reserved) : partyOf(special) } };
    }
    const owner = findOwner(end);
    // A pod for sure, whose address may be that of a proxy by now: to go by the address would blame somebody else.
    if (typeof owner === 'string')
      return { attribution: { party: unknownParty(owner, end.ip === undefined ? undefined : spell(end.ip)) } };
    if (owner !== undefined) {
      const party = workloadParty(owner.id);
      const attribution: Attribution = { party, ...(owner.run === undefined ? {} : { run: owner.run }) };
      const ip = end.ip === undefined || end.pod === undefined ? undefined : normaliseIp(end.ip);
      if (ip === undefined || party.endpoint === undefined || party.endpoint.kind !== 'workload')
        return { attribution };
      const name = `${end.namespace ?? ''}/${end.pod ?? ''}`;
      const sure = tenuresOf(ip).filter((one) => one.sure);
      const others = sure.filter((one) => one.pod !== name);
      const [own, ...again] = sure.filter((one) => one.pod === name);
      return {
        attribution,
        sighting: sight(ip, name, party.endpoint, owner.run, end),
        ...(own === undefined || again.length > 0 || !UNIQUE_NAME.test(name) ? {} : { own }),
        ...(others.length === 0 ? {} : { others }),
      };
    }
    if (end.ip === undefined && end.service === undefined) {
      const [name] = [...end.names].sort(compareText);
      if (name !== undefined && !isHostName(name)) return { attribution: { party: unknownParty(NO_NAME) } };
      if (name !== undefined) return { attribution: { party: partyOf({ kind: 'external', name }) } };
      if (reserved.includes('world')) return { attribution: { party: partyOf({ kind: 'external' }) } };
      return { attribution: { party: unknownParty('the record names neither a pod nor an address') } };
    }
    const ip = end.ip === undefined ? undefined : spell(end.ip);
    const fixed = ip === undefined ? undefined : fixedAddress(ip, reserved.includes('world'), end.names);
    return fixed === undefined ? undefined : { attribution: fixed };
  };

  const sight = (ip: string, pod: string, endpoint: Endpoint, run: string | undefined, raw: RawEnd): Sighting => {
    let holders = sightings.get(ip);
    if (holders === undefined) {
      holders = new Map();
      sightings.set(ip, holders);
      sightedNeighbourhoods.add(neighbourhood(ip));
    }
    const known = holders.get(pod);
    if (known !== undefined) return known;
    const batch = endpoint.kind === 'workload' && workloads.get(endpoint.id)?.batch === true;
    const made: Sighting = {
      endpoint,
      brief: batch || run !== undefined,
      raw,
      first: Infinity,
      last: -Infinity,
      ...(UNIQUE_NAME.test(pod) ? {} : { days: new Map<number, Span>() }),
    };
    holders.set(pod, made);
    return made;
  };

  let contradicted = 0;
  let example: string | undefined;
  const skew = new Map<string, number>();

  const noteTime = (known: Remembered, sighting: Sighting, time: number): void => {
    stretch(sighting, time);
    const { own, others } = known;
    if (own !== undefined) {
      const off = Math.max(own.from - time, own.ended ? time - own.to : 0);
      if (off > CLOCK_MARGIN_MS && off <= MAX_SKEW_MS) {
        const node = own.node ?? 'unknown';
        skew.set(node, Math.max(skew.get(node) ?? 0, off));
      }
    }
    const other = others?.find((one) => one.from + CLOCK_MARGIN_MS <= time && time <= one.to - CLOCK_MARGIN_MS);
    if (other === undefined) return;
    contradicted += 1;
    const { raw } = sighting;
    example ??= `${raw.namespace ?? ''}/${raw.pod ?? ''} at ${raw.ip ?? ''}, where ${other.pod} was`;
  };

  const settleAddress = (ip: string, world: boolean, first: number, last: number): Endpoint => {
    const recorded = tenuresOf(ip);
    const holders = [
      ...[...(sightings.get(ip)?.values() ?? [])].flatMap(({ endpoint, brief, ...sighting }) =>
        spansOf(sighting).map((span) => ({ endpoint, brief, ...span })),
      ),
      ...recorded.flatMap(({ sure, party, from, to }) =>
        sure || party.endpoint === undefined ? [] : [{ endpoint: party.endpoint, brief: true, first: from, last: to }],
      ),
    ];
    const sure = recorded.filter((one) => one.sure);
    const near = sure.filter((one) => one.from - CLOCK_MARGIN_MS <= last && first <= one.to + CLOCK_MARGIN_MS);
    const at = holders.filter((one) => one.first <= first && last <= one.last);
    const during = holders.filter((one) => one.first <= last && first <= one.last);
    const named = new Set(during.map((one) => endpointKey(one.endpoint)));
    const disputed = near.some(({ party }) => party.endpoint === undefined || !named.has(endpointKey(party.endpoint)));
    if (at[0] !== undefined && named.size === 1 && !disputed) return at[0].endpoint;
    // Who was there that day is a guess, and none is needed where pods were watched.
    if (during.length === 0 && near.length === 0 && !wasWatched(first, last, history.watched)) {
      // Before the first or after the last sighting, but on a day on which nobody else was seen there.
      const day = (time: number): number => Math.floor(time / DAY_MS);
      const sameDay = holders.filter((one) => day(one.first) <= day(last) && day(first) <= day(one.last));
      const only = sameDay.length === 1 ? sameDay[0] : undefined;
      if (only !== undefined && !only.brief && day(only.first) <= day(first) && day(last) <= day(only.last)) {
        if (!sure.some((one) => day(one.from) <= day(last) && day(first) <= day(one.to))) return only.endpoint;
      }
    }
    if (new Set(holders.map((one) => endpointKey(one.endpoint))).size > 1 || during.length > 0 || near.length > 0)
      return { kind: 'unknown', ip, why: CHANGED_HANDS };
    if (sure.some((one) => !one.ended && one.to < first))
      return { kind: 'unknown', ip, why: 'address may have changed hands while nobody watched the pods' };
    if (
      holders.length === 1 ||
      sure.length > 0 ||
      nodes.has(ip) ||
      podsByIp.has(ip) ||
      inPodRange(ip) ||
      sightedNeighbourhoods.has(neighbourhood(ip)) ||
      podNeighbourhoods.has(neighbourhood(ip))
    )
      return { kind: 'unknown', ip, why: 'address was held by nobody known at that time' };
    if (!world && podRanges.length === 0 && isPrivateAddress(ip))
      return { kind: 'unknown', ip, why: "a private address, and the pods' address ranges are not known" };
    return outside(ip);
  };

  const outside = (ip: string): Endpoint => {
    const name = names.get(ip);
    return name === undefined || name === '' ? { kind: 'external', ip } : { kind: 'external', name };
  };

  return {
    fromOwnNode(src, dst) {
      if (src.reserved.length > 0 || src.ip === undefined || dst.ip === undefined) return undefined;
      const node = nodeNames.get(spell(src.ip) ?? '');
      if (node === undefined) return undefined;
      const pods = podsByIp.get(spell(dst.ip) ?? '') ?? [];
      return pods.length > 0 && pods.every(({ pod }) => pod.node === node) ? NODE : undefined;
    },
    attribute(end, time, protocol, port, last = time) {
      let known = remembered.get(end);
      if (known === undefined) {
        known = isTimeless(end);
        if (known !== undefined) remembered.set(end, known);
      }
      if (known !== undefined) {
        if (known.sighting !== undefined) noteTime(known, known.sighting, time);
        return withPort(known.attribution, end, protocol, port);
      }
      if (end.service !== undefined) {
        const service = servicesByName.get(`${end.service.namespace}/${end.service.name}`);
        return service === undefined
          ? { party: unknownParty(`no Service ${end.service.namespace}/${end.service.name} in the inventory`) }
          : throughService(service, protocol, port, undefined, time);
      }
      return byAddress(end, time, last, protocol, port);
    },
    sightAgain(end, time) {
      const sighting = remembered.get(end)?.sighting;
      if (sighting !== undefined) stretch(sighting, time);
    },
    learnName,
    settle(party, first, last) {
      if (party.endpoint !== undefined) return party.endpoint;
      if (party.ip === undefined) return { kind: 'unknown', why: 'the record names neither a pod nor an address' };
      return settleAddress(party.ip, party.world === true, first, last);
    },
    declaresPort(id, protocol, port) {
      let ports = declared.get(id);
      if (ports === undefined) {
        ports = declaredPorts(workloads.get(id), inventory.services);
        declared.set(id, ports);
      }
      return ports.has(`${port}/${protocol}`);
    },
    sighted() {
      const holds: AddressHold[] = [];
      for (const [ip, holders] of sightings)
        for (const { raw, ...sighting } of holders.values())
          for (const { first, last } of spansOf(sighting))
            if (raw.namespace !== undefined && raw.pod !== undefined)
              holds.push({
                ip,
                holder: {
                  namespace: raw.namespace,
                  pod: raw.pod,
                  ...(raw.workload === undefined ? {} : { owner: raw.workload }),
                  labels: raw.labels,
                  ...(raw.serviceAccount === undefined ? {} : { serviceAccount: raw.serviceAccount }),
                },
                from: first,
                to: last,
                ended: false,
                by: ['records'],
              });
      return sortBy(holds, (one) => `${one.ip}\n${one.holder.namespace}/${one.holder.pod}\n${one.from}`);
    },
    get contradictions() {
      return { pods: contradicted, ...(example === undefined ? {} : { example }), skew };
    },
  };
}

const CHANGED_HANDS = 'address changed hands';

function rawOf({ namespace, pod, owner, labels, serviceAccount }: AddressHold['holder']): RawEnd {
  return {
    namespace,
    pod,
    ...(owner === undefined ? {} : { workload: owner }),
    labels,
    ...(serviceAccount === undefined ? {} : { serviceAccount }),
    reserved: [],
    names: [],
  };
}

/** The inventory's word on a pod. One whose start is not known never answers for the past. */
function tenureOf(workload: Workload, pod: PodInfo, party: Party): Tenure | undefined {
  const from = pod.addressSince ?? pod.startedAt;
  const ended = pod.finishedAt !== undefined;
  if (from === undefined || (!ended && (pod.phase === 'Succeeded' || pod.phase === 'Failed'))) return undefined;
  const run = workload.schedule !== undefined && pod.owner !== workload.name ? pod.owner : undefined;
  return {
    pod: `${workload.namespace}/${pod.name}`,
    ...(pod.uid === undefined ? {} : { uid: pod.uid }),
    ...(pod.node === undefined ? {} : { node: pod.node }),
    party,
    ...(run === undefined ? {} : { run }),
    from,
    to: pod.finishedAt ?? Infinity,
    ended,
    sure: true,
  };
}

/** Two accounts of one pod at one address; the inventory's comes first. An end that was seen is one. */
function joinTenure(a: Tenure, b: Tenure): Tenure {
  const ended = a.ended || b.ended;
  const ends = [a, b].filter((one) => one.ended).map((one) => one.to);
  return {
    ...b,
    ...a,
    from: Math.min(a.from, b.from),
    to: ended ? Math.max(...ends) : Math.max(a.to, b.to),
    ended,
    sure: a.sure || b.sure,
  };
}

function stretch(sighting: Sighting, time: number): void {
  if (time < sighting.first) sighting.first = time;
  if (time > sighting.last) sighting.last = time;
  if (sighting.days === undefined) return;
  const day = Math.floor(time / DAY_MS);
  const span = sighting.days.get(day);
  if (span === undefined) sighting.days.set(day, { first: time, last: time });
  else {
    if (time < span.first) span.first = time;
    if (time > span.last) span.last = time;
  }
}

/** When a pod was seen without a break of a day; all of the time between for a name that one pod alone can have had. */
function spansOf({ days, first, last }: Pick<Sighting, 'days' | 'first' | 'last'>): readonly Span[] {
  if (days === undefined) return [{ first, last }];
  const spans: Span[] = [];
  for (const [, span] of [...days].sort(([a], [b]) => a - b)) {
    const before = spans.at(-1);
    if (before !== undefined && span.first - before.last < DAY_MS) before.last = span.last;
    else spans.push({ ...span });
  }
  return spans;
}

function targetPort(target: number | string, workload: Workload | undefined, protocol: Protocol): number | undefined {
  if (typeof target === 'number') return target;
  const numbers = new Set(
    (workload?.podSets ?? [])
      .flatMap((set) => set.containers)
      .flatMap((container) => container.ports)
      .filter((port) => port.name === target && port.protocol === protocol)
      .map((port) => port.port),
  );
  const [only, ...others] = numbers;
  return others.length === 0 ? only : undefined;
}

/** `port/protocol` of every container port and Service target of a workload. */
export function declaredPorts(workload: Workload | undefined, services: readonly ServiceInfo[]): ReadonlySet<string> {
  const ports = new Set<string>();
  if (workload === undefined) return ports;
  for (const set of workload.podSets)
    for (const container of set.containers) {
      for (const port of container.ports) ports.add(`${port.port}/${port.protocol}`);
      for (const port of container.probePorts) ports.add(`${port}/TCP`);
    }
  for (const service of services) {
    if (!service.workloads.includes(workload.id)) continue;
    for (const port of service.ports) {
      const target = targetPort(port.targetPort, workload, port.protocol);
      if (target !== undefined) ports.add(`${target}/${port.protocol}`);
    }
  }
  return ports;
}
