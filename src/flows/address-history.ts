import { normaliseIp } from '../model/address.ts';
import type { AddressHold, Holder, HoldSource, Watched } from '../model/address-hold.ts';
import { isSure } from '../model/address-hold.ts';
import { parseTime } from '../inventory/owners.ts';
import { sandboxSince } from '../inventory/sandbox.ts';
import type { KubeManifest } from '../model/object.ts';
import { namespaceOf } from '../model/object.ts';
import type { JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString, asStringMap, getPath } from '../shared/pure/json.ts';
import { sortBy } from '../shared/pure/order.ts';

/** What a watch keeps of a pod: without addresses it is one of the host network, or has none yet. */
export interface PodSeen {
  readonly uid: string;
  readonly addresses?: PodAddresses;
}

/** A pod with its addresses, as its object says. Times are milliseconds since the epoch. */
export interface PodAddresses {
  readonly holder: Holder;
  readonly ips: readonly string[];
  /** Since when its sandbox has them; undefined where the object does not say. */
  readonly since?: number;
  /** When its last container ended; the sandbox, and with it the address, goes then. */
  readonly until?: number;
  /** When its containers had all ended, whatever the phase: what a deleted pod leaves behind. */
  readonly stopped?: number;
}

export function seePod(pod: KubeManifest): PodSeen {
  const addresses = readPodAddresses(pod);
  return { uid: asString(pod.metadata['uid']) ?? '', ...(addresses === undefined ? {} : { addresses }) };
}

/** Undefined for pods of the host network and for those without an address. */
export function readPodAddresses(pod: KubeManifest): PodAddresses | undefined {
  const spec = asObject(pod['spec']);
  const status = asObject(pod['status']);
  const uid = asString(pod.metadata['uid']);
  if (spec['hostNetwork'] === true || uid === undefined) return undefined;
  const ips = [
    ...asArray(status['podIPs']).flatMap((item) => asString(asObject(item)['ip']) ?? []),
    ...[asString(status['podIP'])].flatMap((ip) => ip ?? []),
  ].flatMap((ip) => normaliseIp(ip) ?? []);
  if (ips.length === 0) return undefined;
  const owner = asArray(pod.metadata['ownerReferences'])
    .map(asObject)
    .find((one) => one['controller'] === true);
  const kind = asString(owner?.['kind']);
  const name = asString(owner?.['name']);
  const node = asString(spec['nodeName']);
  const account = asString(spec['serviceAccountName']);
  const since = sandboxSince(status);
  const stopped = stoppedAt(status);
  const phase = asString(status['phase']);
  const finished = phase === 'Succeeded' || phase === 'Failed';
  return {
    holder: {
      namespace: namespaceOf(pod) ?? 'default',
      pod: pod.metadata.name,
      uid,
      ...(kind === undefined || name === undefined ? {} : { owner: { kind, name } }),
      labels: asStringMap(pod.metadata['labels']),
      ...(account === undefined ? {} : { serviceAccount: account }),
      ...(node === undefined ? {} : { node }),
    },
    ips: [...new Set(ips)],
    ...(since === undefined ? {} : { since }),
    ...(finished && stopped !== undefined ? { until: stopped } : {}),
    ...(stopped === undefined ? {} : { stopped }),
  };
}

function stoppedAt(status: JsonObject): number | undefined {
  const containers = asArray(status['containerStatuses']);
  const times = containers.map((one) => parseTime(getPath(one, ['state', 'terminated', 'finishedAt'])));
  return times.length > 0 && times.every((time) => time !== undefined) ? Math.max(...times) : undefined;
}

/** Pods as they stand at `at`: each has held its address since its sandbox began, and not before. */
export function holdsOfPods(pods: readonly KubeManifest[], at: number): readonly AddressHold[] {
  return pods.flatMap((pod) => {
    const read = readPodAddresses(pod);
    return read === undefined ? [] : holdsOf(read, at, 'snapshot');
  });
}

function holdsOf(pod: PodAddresses, at: number, by: HoldSource): readonly AddressHold[] {
  const to = pod.until ?? at;
  return pod.ips.map((ip) => ({
    ip,
    holder: pod.holder,
    from: Math.min(pod.since ?? to, to),
    to,
    ended: pod.until !== undefined,
    by: [by],
  }));
}

/** Pods that EndpointSlices (discovery.k8s.io/v1) name at `at`. A controller writes them after the fact: they are second evidence. */
export function holdsOfSlices(slices: readonly KubeManifest[], at: number): readonly AddressHold[] {
  const holds = new Map<string, AddressHold>();
  for (const slice of slices)
    for (const endpoint of asArray(slice['endpoints']).map(asObject)) {
      const target = asObject(endpoint['targetRef']);
      const [namespace, pod, uid] = ['namespace', 'name', 'uid'].map((key) => asString(target[key]));
      const terminating = getPath(endpoint, ['conditions', 'terminating']) === true;
      if (target['kind'] !== 'Pod' || namespace === undefined || pod === undefined || uid === undefined || terminating)
        continue;
      const node = asString(endpoint['nodeName']);
      for (const text of asArray(endpoint['addresses']).map(asString)) {
        const ip = text === undefined ? undefined : normaliseIp(text);
        if (ip === undefined) continue;
        const holder: Holder = { namespace, pod, uid, labels: {}, ...(node === undefined ? {} : { node }) };
        holds.set(`${ip}\n${uid}`, { ip, holder, from: at, to: at, ended: false, by: ['endpoints'] });
      }
    }
  return [...holds.values()];
}

/** What became known of addresses, and for which time all of it is known. */
export interface AddressRecord {
  readonly holds: readonly AddressHold[];
  readonly watched: readonly Watched[];
}

/** Follows pods as they come and go. Times are those of the API server's clock, milliseconds; they only rise. */
export interface AddressBook {
  /** Every pod there is at `at`. Not the first list: what came and went since the last word is not known. */
  listed(pods: readonly PodSeen[], at: number): void;
  changed(pod: PodSeen, at: number): void;
  gone(pod: PodSeen, at: number): void;
  /** Nothing else had happened by `at`. */
  alive(at: number): void;
  /** What has become known since it was last asked. A pod that goes on as it was is told once: `watched` says for how long. */
  drain(): AddressRecord;
  /** Pods that hold an address now, as far as is known. */
  readonly present: number;
  /** Lists after the first: each is a time in which an address may have changed hands unseen. */
  readonly gaps: readonly Watched[];
}

export function createAddressBook(): AddressBook {
  const present = new Map<string, Map<string, AddressHold>>();
  let news = new Map<string, AddressHold>();
  const windows: { from: number; to: number; told: boolean }[] = [];
  const gaps: Watched[] = [];

  const tell = (hold: AddressHold): void => {
    news.set(`${hold.ip}\n${hold.holder.uid ?? ''}`, hold);
  };
  const reach = (at: number): void => {
    const open = windows.at(-1);
    if (open === undefined || at <= open.to) return;
    open.to = at;
    open.told = false;
  };
  const put = ({ uid, addresses: pod }: PodSeen, at: number): void => {
    const before = present.get(uid);
    const now = new Map(pod === undefined ? [] : holdsOf(pod, at, 'watch').map((hold) => [hold.ip, hold]));
    for (const [ip, hold] of before ?? [])
      // Another sandbox has another address: the old one went when the new one came, at the latest.
      if (!now.has(ip)) tell({ ...hold, to: Math.max(hold.from, Math.min(at, pod?.since ?? at)), ended: true });
    const kept = new Map<string, AddressHold>();
    for (const [ip, hold] of now) {
      const known = before?.get(ip);
      const held = known === undefined ? hold : { ...hold, from: Math.min(known.from, hold.from) };
      if (!held.ended) kept.set(ip, held);
      if (known === undefined || held.ended || held.from < known.from) tell(held);
    }
    if (kept.size > 0) present.set(uid, kept);
    else present.delete(uid);
  };

  return {
    listed(pods, at) {
      const open = windows.at(-1);
      if (open !== undefined) {
        gaps.push({ from: open.to, to: at });
        const there = new Set(pods.map((pod) => pod.uid));
        for (const [uid, holds] of present)
          if (!there.has(uid)) {
            for (const hold of holds.values())
              tell({ ...hold, to: Math.max(hold.from, open.to), ended: false, lost: true });
            present.delete(uid);
          }
      }
      windows.push({ from: at, to: at, told: false });
      for (const pod of pods) {
        // Told anew: the time in between is in no window.
        for (const hold of present.get(pod.uid)?.values() ?? []) tell({ ...hold, to: at });
        put(pod, at);
      }
    },
    changed(pod, at) {
      reach(at);
      put(pod, at);
    },
    gone({ uid, addresses }, at) {
      reach(at);
      const stopped = addresses?.stopped;
      for (const hold of present.get(uid)?.values() ?? [])
        // A pod deleted by force may run on: the API server knows no more of it.
        tell({
          ...hold,
          to: Math.max(hold.from, stopped ?? at),
          ...(stopped === undefined ? { ended: false, lost: true } : { ended: true }),
        });
      present.delete(uid);
    },
    alive: reach,
    drain() {
      const holds = sortBy([...news.values()], (hold) => `${hold.ip}\n${hold.holder.uid ?? ''}`);
      news = new Map();
      const watched = windows.filter((one) => !one.told && one.to > one.from).map(({ from, to }) => ({ from, to }));
      for (const one of windows) one.told = true;
      windows.splice(0, Math.max(0, windows.length - 1));
      return { holds, watched };
    },
    get present() {
      return present.size;
    },
    gaps,
  };
}

/** Windows in order, those that touch or overlap made one. */
export function joinWatched(windows: Iterable<Watched>): readonly Watched[] {
  const joined: { from: number; to: number }[] = [];
  for (const { from, to } of [...windows].sort((a, b) => a.from - b.from)) {
    const last = joined.at(-1);
    if (last !== undefined && from <= last.to) last.to = Math.max(last.to, to);
    else joined.push({ from, to });
  }
  return joined;
}

/**
 * How long a hold lasted for all that is known: a pod that was there while pods were watched, and was not seen to go, was there until the
 * watch ended.
 */
export function lastHeld(hold: AddressHold, watched: readonly Watched[]): number {
  if (hold.ended || hold.lost === true || !isSure(hold)) return hold.to;
  let [low, high] = [0, watched.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((watched[middle]?.from ?? Infinity) <= hold.to) low = middle + 1;
    else high = middle;
  }
  const window = watched[low - 1];
  return window !== undefined && hold.to <= window.to ? window.to : hold.to;
}

/** Were pods watched all the time from `first` to `last`? */
export function wasWatched(first: number, last: number, watched: readonly Watched[]): boolean {
  return watched.some(({ from, to }) => from <= first && last <= to);
}

/**
 * Clocks of nodes differ by some milliseconds where they are kept by NTP, and the kubelet says some seconds late what it did: this close to
 * another holder it cannot be told whose an address was.
 */
export const CLOCK_MARGIN_MS = 2_000;
