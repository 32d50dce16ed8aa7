import type { Endpoint } from './edge.ts';
import { namespaceOfWorkload } from './edge.ts';
import type { Inventory, ServiceInfo, Workload } from './inventory.ts';
import type { KubeManifest } from './object.ts';
import { groupOf, namespaceOf } from './object.ts';
import type { Selector } from './selector.ts';
import type { World } from './world.ts';
import {
  isNetworkPolicy,
  podsOfWorkload,
  readForeignPolicy,
  readIstioObject,
  readNetworkPolicy,
  selectsPod,
} from './world.ts';

/**
 * Of which connections the verdict can differ between two worlds. Those with an end that is not attributed may always: what is said of it rests on
 * policies anywhere.
 */
export type Touch =
  | { readonly kind: 'everything' }
  | {
      readonly kind: 'ends';
      /** Connections that begin or end in one of these. */
      readonly namespaces: ReadonlySet<string>;
      /** Connections that begin or end at one of these. */
      readonly workloads: ReadonlySet<string>;
      /** Connections that begin or end at pods of the namespace that the selector picks, or may pick, in either world. */
      readonly selected: readonly { readonly namespace: string; readonly selector: Selector }[];
    };

const EVERYTHING: Touch = { kind: 'everything' };

/**
 * What lies between two worlds, by what they are made of: parts that are the same objects are the same. Told apart are pods, labels of namespaces and
 * those kinds of policies that act on pods of their own namespace alone; whatever else differs touches everything. What a connection hangs on
 * beside its two ends, their namespaces and policies there: the other pods behind a headless Service of the server (automatic mTLS of clients),
 * waypoints, and the families of addresses in use.
 */
export function touchBetween(before: World, after: World): Touch {
  const [old, fresh] = [before.inventory, after.inventory];
  if (old.facts !== fresh.facts || old.nodes !== fresh.nodes) return EVERYTHING;
  if (hasWaypoints(before) || hasWaypoints(after)) return EVERYTHING;
  const namespaces = new Set<string>();
  const workloads = new Set<string>();
  const selected: { readonly namespace: string; readonly selector: Selector }[] = [];

  const labelled = differing(old.namespaces, fresh.namespaces, ({ name }) => name);
  const changed = differing(old.workloads, fresh.workloads, ({ id }) => id);
  const served = differing(old.services, fresh.services, ({ namespace, name }) => `${namespace}/${name}`);
  if (labelled === undefined || changed === undefined || served === undefined) return EVERYTHING;
  for (const [{ name }] of labelled) namespaces.add(name);
  if (changed.length > 0 && !sameFamilies(before, after)) return EVERYTHING;
  addWorkloads(workloads, [old, fresh], changed, served);

  for (const [one, other] of differingPolicies(old, fresh)) {
    const scopes = [one, other].flatMap((manifest) => (manifest === undefined ? [] : [scopeOf(manifest, fresh)]));
    for (const scope of scopes) {
      if (scope === undefined) return EVERYTHING;
      if (scope.selector === undefined) addNamespace(scope.namespace, namespaces, workloads, fresh);
      else selected.push({ namespace: scope.namespace, selector: scope.selector });
    }
  }
  return { kind: 'ends', namespaces, workloads, selected };
}

function hasWaypoints(world: World): boolean {
  for (const { waypoints } of world.istio.values()) if (waypoints.length > 0) return true;
  return false;
}

function sameFamilies(before: World, after: World): boolean {
  const families = ({ cluster }: World): string => cluster.anyAddress.map(({ family }) => family).join();
  return families(before) === families(after);
}

/** Items that are not the same object, in pairs; undefined where the lists are not of the same things in the same order. */
function differing<T>(
  old: readonly T[],
  fresh: readonly T[],
  key: (item: T) => string,
): readonly (readonly [T, T])[] | undefined {
  if (old === fresh) return [];
  if (old.length !== fresh.length) return undefined;
  const out: (readonly [T, T])[] = [];
  for (let at = 0; at < old.length; at += 1) {
    const [one, other] = [old[at] as T, fresh[at] as T];
    if (one === other) continue;
    if (key(one) !== key(other)) return undefined;
    out.push([one, other]);
  }
  return out;
}

/** Those that changed, and who stands behind a Service together with them. */
function addWorkloads(
  into: Set<string>,
  inventories: readonly Inventory[],
  changed: readonly (readonly [Workload, Workload])[],
  served: readonly (readonly [ServiceInfo, ServiceInfo])[],
): void {
  for (const [{ id }] of changed) into.add(id);
  for (const pair of served) for (const { workloads } of pair) for (const id of workloads) into.add(id);
  if (into.size === 0) return;
  const own = new Set(into);
  for (const { services } of inventories)
    for (const { workloads } of services)
      if (workloads.length > 1 && workloads.some((id) => own.has(id))) for (const id of workloads) into.add(id);
}

/** All of a namespace, and whoever its Services lead to. */
function addNamespace(name: string, namespaces: Set<string>, workloads: Set<string>, { services }: Inventory): void {
  if (namespaces.has(name)) return;
  namespaces.add(name);
  for (const service of services) if (service.namespace === name) for (const id of service.workloads) workloads.add(id);
}

/** Policies that are in one list alone; those of one name beside each other or apart. */
function differingPolicies(
  old: Inventory,
  fresh: Inventory,
): readonly (readonly [KubeManifest | undefined, KubeManifest | undefined])[] {
  if (old.policies === fresh.policies) return [];
  // Both lists are sorted, and nearly all of them is the same.
  let from = 0;
  let [oldEnd, freshEnd] = [old.policies.length, fresh.policies.length];
  while (from < oldEnd && from < freshEnd && old.policies[from] === fresh.policies[from]) from += 1;
  while (oldEnd > from && freshEnd > from && old.policies[oldEnd - 1] === fresh.policies[freshEnd - 1]) {
    oldEnd -= 1;
    freshEnd -= 1;
  }
  const [gone, come] = [new Set(old.policies.slice(from, oldEnd)), new Set(fresh.policies.slice(from, freshEnd))];
  return [
    ...[...gone].filter((one) => !come.has(one)).map((one) => [one, undefined] as const),
    ...[...come].filter((one) => !gone.has(one)).map((one) => [undefined, one] as const),
  ];
}

/** Where a policy acts: pods of one namespace, or those of them that a selector picks; undefined where it may act elsewhere. */
function scopeOf(
  manifest: KubeManifest,
  { facts }: Inventory,
): { readonly namespace: string; readonly selector?: Selector } | undefined {
  const namespace = namespaceOf(manifest);
  if (namespace === undefined) return undefined;
  if (isNetworkPolicy(manifest)) {
    const { policy } = readNetworkPolicy(manifest);
    return policy.selectorBroken ? { namespace } : { namespace, selector: policy.selector };
  }
  // A policy of Cilium with a namespace selects in that one (cilium.io, "Endpoint selector").
  if (groupOf(manifest.apiVersion) === 'cilium.io')
    return manifest.kind === 'CiliumNetworkPolicy' && !actsOnNodes(manifest) ? { namespace } : undefined;
  if (groupOf(manifest.apiVersion) !== 'security.istio.io' || namespace === facts.mesh.rootNamespace) return undefined;
  const object = readIstioObject(manifest);
  if (object?.kind === 'PeerAuthentication')
    // Without one it is the default of the namespace, by which clients of all its Services go.
    return object.selector === undefined ? { namespace } : { namespace, selector: object.selector };
  if (object?.kind === 'AuthorizationPolicy' && object.targets.length === 0)
    return object.problems.length > 0 ? { namespace } : { namespace, selector: object.selector };
  return undefined;
}

function actsOnNodes(manifest: KubeManifest): boolean {
  return readForeignPolicy(manifest)?.nodes === true;
}

/** The connections of a list that are touched. */
export function touchedConnections<T extends { readonly src: Endpoint; readonly dst: Endpoint }>(
  before: World,
  after: World,
  connections: readonly T[],
): readonly T[] {
  const touch = touchBetween(before, after);
  if (touch.kind === 'everything') return connections;
  const known = new Map<string, boolean>();
  const isTouched = (end: Endpoint): boolean => {
    if (end.kind !== 'workload') return end.kind === 'unknown';
    const found = known.get(end.id) ?? touchesWorkload(touch, end.id, namespaceOfWorkload(end.id), [before, after]);
    known.set(end.id, found);
    return found;
  };
  return connections.filter(({ src, dst }) => isTouched(src) || isTouched(dst));
}

/** Is the workload one whose connections are touched? */
export function touchesWorkload(touch: Touch, id: string, namespace: string, worlds: readonly World[]): boolean {
  if (touch.kind === 'everything' || touch.workloads.has(id) || touch.namespaces.has(namespace)) return true;
  return touch.selected.some(
    (one) =>
      one.namespace === namespace &&
      worlds.some((world) => podsOfWorkload(world, id).some((pod) => selectsPod(one.selector, pod) !== 'no')),
  );
}
