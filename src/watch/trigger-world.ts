import { coversAddresses, parseAddressOrCidr } from '../model/cidr-set.ts';
import type { Edge } from '../model/edge.ts';
import { namespaceOfWorkload } from '../model/edge.ts';
import { annotationsOf, isObject } from '../model/object.ts';
import type { KubeManifest } from '../model/object.ts';
import { asArray, asObject, asString } from '../shared/pure/json.ts';
import type { WatchState } from './state.ts';
import type { TriggerWorld } from './triggers.ts';

/**
 * On the namespace kube-system: nothing runs by itself in this cluster, whatever state a watch has. Its value is the reason. There, since every watch follows
 * namespaces already and needs no further right for it, it outlives every watch, and nobody but those who run the cluster may write it.
 */
export const STOP_ANNOTATION = 'sallyport.dev/stop';

/** Why nothing may run by itself, as the cluster says it; undefined where it says nothing. */
export function stopOf(namespace: KubeManifest | undefined): string | undefined {
  if (namespace === undefined) return undefined;
  const value = annotationsOf(namespace)[STOP_ANNOTATION];
  return value === undefined ? undefined : `the kill switch is thrown on Namespace kube-system: ${value}`;
}

/** What a watch knows, as decisions on triggers need it. `own`: the namespace that the watch runs in. Pure. */
export function triggerWorld(
  state: WatchState,
  now: number,
  killed: string | undefined,
  own: string | undefined,
): TriggerWorld {
  const inventory = state.world?.inventory;
  const ids = new Set<string>();
  const workloads = new Map<string, number>();
  for (const { id, namespace } of inventory?.workloads ?? []) {
    ids.add(id);
    workloads.set(namespace, (workloads.get(namespace) ?? 0) + 1);
  }
  const depended = dependedOn(state.objects.get('') ?? new Map());
  const addresses = new Set(
    [
      ...(inventory?.nodes ?? []).flatMap(({ addresses: own }) => own),
      ...(inventory?.workloads ?? []).flatMap(({ podSets }) =>
        podSets.flatMap(({ pods }) => pods.flatMap(({ ips }) => ips)),
      ),
    ].map((ip) => ip.toLowerCase()),
  );
  return {
    now,
    killed,
    workloads,
    isKnown: (workload) => ids.has(workload),
    isShared: (workload) => callersOf(state.record.edges, workload).size > 1,
    isOnRecord: (address) =>
      addresses.has(address.toLowerCase()) ||
      (inventory?.facts.apiServer ?? []).some((cidr) => contains(cidr, address)) ||
      state.record.kept.some(({ src }) => src.kind === 'external' && src.ip === address),
    isProtected: (namespace) => namespace === own || depended.has(namespace),
  };
}

/** Who calls a workload, by namespace; everything outside the cluster is one. What was only denied is no caller. */
function callersOf(edges: readonly Edge[], workload: string): ReadonlySet<string> {
  const found = new Set<string>();
  for (const { src, dst, review, verdicts } of edges) {
    if (dst.kind !== 'workload' || dst.id !== workload || review === 'to-be-cut') continue;
    if ((verdicts.allowed ?? 0) === 0 && (verdicts.denied ?? 0) > 0) continue;
    found.add(src.kind === 'workload' ? namespaceOfWorkload(src.id) : `(${src.kind})`);
  }
  return found;
}

function contains(cidr: string, address: string): boolean {
  const [all, one] = [parseAddressOrCidr(cidr), parseAddressOrCidr(address)];
  return all !== undefined && one !== undefined && coversAddresses(all, one);
}

/** Namespaces that the API server calls: of webhooks, aggregated API services and conversions. Without them it refuses what others write. */
function dependedOn(objects: ReadonlyMap<string, KubeManifest>): ReadonlySet<string> {
  const found = new Set<string>();
  const add = (service: unknown): void => {
    const name = asString(asObject(service as never)['namespace']);
    if (name !== undefined) found.add(name);
  };
  for (const object of objects.values()) {
    if (object.kind === 'ValidatingWebhookConfiguration' || object.kind === 'MutatingWebhookConfiguration')
      for (const hook of asArray(object['webhooks'])) add(asObject(asObject(hook)['clientConfig'])['service']);
    if (isObject(object, 'apiregistration.k8s.io', 'APIService')) add(asObject(object['spec'])['service']);
    if (object.kind === 'CustomResourceDefinition')
      add(asObject(asObject(asObject(asObject(object['spec'])['conversion'])['webhook'])['clientConfig'])['service']);
  }
  return found;
}
