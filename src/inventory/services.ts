import type { JsonObject } from '../shared/pure/json.ts';
import { asArray, asNumber, asObject, asString, asStringMap, getPath } from '../shared/pure/json.ts';
import { groupBy, uniqueSorted } from '../shared/pure/order.ts';
import type { ContainerInfo, Labels, ServiceInfo, ServicePort } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { namespaceOf } from '../model/object.ts';
import { lastingLabels } from '../model/durable-labels.ts';
import { waypointNamed } from '../model/istio-parse.ts';
import { memoByObject } from './memo.ts';
import type { ObjectIndex } from './object-index.ts';
import { metaLabels, objectsOf } from './object-index.ts';
import { parseTime } from './owners.ts';
import { parseProtocol } from './pod-template.ts';
import type { PodSetDraft, WorkloadDraft } from './workloads.ts';

interface Member {
  readonly draft: WorkloadDraft;
  readonly set: PodSetDraft;
}

/** Finds PodSets by labels without looking at every one. */
export interface LabelIndex {
  /** PodSets of a namespace that carry all of these labels; every one of it for none. */
  readonly select: (namespace: string, labels: Labels) => readonly Member[];
  readonly all: (namespace: string) => readonly Member[];
}

export function buildLabelIndex(drafts: readonly WorkloadDraft[]): LabelIndex {
  const postings = new Map<string, Member[]>();
  const byNamespace = new Map<string, Member[]>();
  for (const draft of drafts) {
    for (const set of draft.podSets) {
      const member = { draft, set };
      push(byNamespace, draft.namespace, member);
      const pairs = new Set<string>();
      for (const labels of set.variants) {
        for (const [key, value] of Object.entries(labels)) pairs.add(`${draft.namespace}\n${key}\n${value}`);
      }
      for (const pair of pairs) push(postings, pair, member);
    }
  }
  const all = (namespace: string): readonly Member[] => byNamespace.get(namespace) ?? [];
  return {
    all,
    select: (namespace, labels) => {
      const pairs = Object.entries(labels);
      if (pairs.length === 0) return all(namespace);
      let rarest: readonly Member[] | undefined;
      for (const [key, value] of pairs) {
        const list = postings.get(`${namespace}\n${key}\n${value}`);
        if (list === undefined) return [];
        if (rarest === undefined || list.length < rarest.length) rarest = list;
      }
      return (rarest ?? []).filter(({ set }) => set.variants.some((variant) => carries(variant, pairs)));
    },
  };
}

export interface NamespaceLabels extends LabelIndex {
  /** The index in which these are the drafts of a namespace. */
  readonly replaced: (namespace: string, drafts: readonly WorkloadDraft[]) => NamespaceLabels;
}

/** The same, made for a namespace when it is first asked for. */
export function labelsByNamespace(drafts: readonly WorkloadDraft[]): NamespaceLabels {
  return labelsOver(
    new Map([...groupBy(drafts, (draft) => draft.namespace)].map(([name, own]) => [name, lazily(own)])),
  );
}

type Lazily = () => LabelIndex;

function lazily(drafts: readonly WorkloadDraft[]): Lazily {
  let made: LabelIndex | undefined;
  return () => (made ??= buildLabelIndex(drafts));
}

function labelsOver(byNamespace: ReadonlyMap<string, Lazily>): NamespaceLabels {
  return {
    all: (namespace) => byNamespace.get(namespace)?.().all(namespace) ?? [],
    select: (namespace, labels) => byNamespace.get(namespace)?.().select(namespace, labels) ?? [],
    replaced: (namespace, drafts) => labelsOver(new Map(byNamespace).set(namespace, lazily(drafts))),
  };
}

function push(map: Map<string, Member[]>, key: string, member: Member): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [member]);
  else list.push(member);
}

function carries(labels: Labels, pairs: readonly (readonly [string, string])[]): boolean {
  return pairs.every(([key, value]) => labels[key] === value);
}

/** PodSets that a map selector picks, labels of single pods (`statefulset.kubernetes.io/pod-name`) included. */
export function selectMembers(labels: LabelIndex, namespace: string, selector: Labels): readonly Member[] {
  const lasting = lastingLabels(selector);
  const found = labels.select(namespace, lasting);
  const passing = Object.entries(selector).filter(([key]) => !Object.hasOwn(lasting, key));
  if (passing.length === 0) return found;
  const pairs = Object.entries(selector);
  return found.filter(({ draft, set }) =>
    set.records.length > 0
      ? set.records.some((record) => carries(record.facts.labels, pairs))
      : // Pods that are yet to come: only a name can be told apart beforehand.
        passing.every(
          ([key, value]) =>
            key !== 'statefulset.kubernetes.io/pod-name' || /^-\d+$/.test(value.slice(draft.name.length)),
        ) && passing.every(([key, value]) => !key.endsWith('/pod-name') || value.startsWith(`${draft.name}-`)),
  );
}

/** A Service's own text, parsed once. */
export const parseService: (manifest: KubeManifest) => Omit<ServiceInfo, 'workloads'> = memoByObject((manifest) => {
  const spec = asObject(manifest['spec']);
  const selector = asStringMap(spec['selector']);
  const clusterIP = asString(spec['clusterIP']);
  const clusterIPs = asArray(spec['clusterIPs']).flatMap((item) => asString(item) ?? []);
  const addresses = clusterIPs.length > 0 ? clusterIPs : clusterIP === undefined ? [] : [clusterIP];
  const namespace = namespaceOf(manifest) ?? 'default';
  const useWaypoint = waypointNamed(metaLabels(manifest), namespace);
  const createdAt = parseTime(manifest.metadata['creationTimestamp']);
  const virtualIPs = [
    ...asArray(spec['externalIPs']).flatMap((item) => asString(item) ?? []),
    // One with the mode Proxy is reached from outside alone (Service API, status.loadBalancer.ingress[].ipMode).
    ...asArray(getPath(manifest, ['status', 'loadBalancer', 'ingress'])).flatMap((item) => {
      const ip = asString(asObject(item)['ip']);
      return ip === undefined || asObject(item)['ipMode'] === 'Proxy' ? [] : [ip];
    }),
  ];
  return {
    namespace,
    name: manifest.metadata.name,
    type: asString(spec['type']) ?? 'ClusterIP',
    headless: clusterIP === 'None' || clusterIPs.includes('None'),
    ...(Object.keys(selector).length === 0 ? {} : { selector }),
    ports: asArray(spec['ports']).flatMap((item) => parseServicePort(asObject(item))),
    clusterIPs: addresses.filter((address) => address !== 'None' && address !== ''),
    ...(virtualIPs.length === 0 ? {} : { virtualIPs }),
    ...(createdAt === undefined ? {} : { createdAt }),
    ...(useWaypoint === undefined ? {} : { useWaypoint }),
  };
});

function parseServicePort(port: JsonObject): readonly ServicePort[] {
  const number = asNumber(port['port']);
  if (number === undefined) return [];
  const name = asString(port['name']);
  const appProtocol = asString(port['appProtocol']);
  const nodePort = asNumber(port['nodePort']);
  const target = port['targetPort'];
  return [
    {
      ...(name === undefined ? {} : { name }),
      port: number,
      targetPort: typeof target === 'number' || (typeof target === 'string' && target !== '') ? target : number,
      protocol: parseProtocol(port['protocol']),
      ...(appProtocol === undefined ? {} : { appProtocol }),
      ...(nodePort === undefined ? {} : { nodePort }),
    },
  ];
}

/** The Services of a snapshot. */
export function servicesOf(index: ObjectIndex): readonly KubeManifest[] {
  return objectsOf(index, '', 'Service').filter((manifest) => namespaceOf(manifest) !== undefined);
}

/** Every Service, or these, with the workloads behind it, by selector or, where it has none, by EndpointSlices that name pods. */
export function buildServices(
  index: ObjectIndex,
  labels: LabelIndex,
  drafts: readonly WorkloadDraft[],
  services: readonly KubeManifest[] = servicesOf(index),
): readonly ServiceInfo[] {
  const targets = endpointTargets(index, services);
  const pods =
    targets.size > 0 ? podOwners(drafts) : { byName: new Map<string, string>(), byIp: new Map<string, string>() };
  return services.map((manifest) => {
    const service = parseService(manifest);
    if (service.type === 'ExternalName') return { ...service, workloads: [] };
    if (service.selector !== undefined) {
      const members = selectMembers(labels, service.namespace, service.selector);
      return { ...service, workloads: uniqueSorted(members.map(({ draft }) => draft.id)) };
    }
    const named = (targets.get(`${service.namespace}/${service.name}`) ?? []).flatMap(
      (target) =>
        (target.pod === undefined ? undefined : pods.byName.get(target.pod)) ?? pods.byIp.get(target.ip) ?? [],
    );
    return { ...service, workloads: uniqueSorted(named) };
  });
}

interface Target {
  readonly ip: string;
  readonly pod?: string;
}

/** Whom the Services without a selector lead to, by `namespace/name`. */
function endpointTargets(index: ObjectIndex, services: readonly KubeManifest[]): Map<string, Target[]> {
  const targets = new Map<string, Target[]>();
  const wanted = new Set<string>();
  for (const manifest of services) {
    const { namespace, name, selector } = parseService(manifest);
    if (selector === undefined) wanted.add(`${namespace}/${name}`);
  }
  if (wanted.size === 0) return targets;
  for (const slice of objectsOf(index, 'discovery.k8s.io', 'EndpointSlice')) {
    const service = metaLabels(slice)['kubernetes.io/service-name'];
    const namespace = namespaceOf(slice);
    if (service === undefined || namespace === undefined) continue;
    const key = `${namespace}/${service}`;
    if (!wanted.has(key)) continue;
    const list = targets.get(key) ?? [];
    for (const endpoint of asArray(slice['endpoints'])) list.push(...targetsOf(asObject(endpoint), namespace));
    targets.set(key, list);
  }
  return targets;
}

function targetsOf(endpoint: JsonObject, namespace: string): readonly Target[] {
  const isPod = getPath(endpoint, ['targetRef', 'kind']) === 'Pod';
  const name = asString(getPath(endpoint, ['targetRef', 'name']));
  const inNamespace = asString(getPath(endpoint, ['targetRef', 'namespace'])) ?? namespace;
  return asArray(endpoint['addresses']).flatMap((item) => {
    const ip = asString(item);
    if (ip === undefined) return [];
    return [{ ip, ...(isPod && name !== undefined ? { pod: `${inNamespace}/${name}` } : {}) }];
  });
}

function podOwners(drafts: readonly WorkloadDraft[]): { byName: Map<string, string>; byIp: Map<string, string> } {
  const byName = new Map<string, string>();
  const byIp = new Map<string, string>();
  for (const draft of drafts) {
    for (const { records } of draft.podSets) {
      for (const { info, finished, namespace } of records) {
        byName.set(`${namespace}/${info.name}`, draft.id);
        if (!finished && !info.hostNetwork) for (const ip of info.ips) byIp.set(ip, draft.id);
      }
    }
  }
  return { byName, byIp };
}

/** A container port by name, as Services and probes resolve it: the first container that has one of this name. */
export function namedPort(
  containers: readonly ContainerInfo[],
  name: string,
): ContainerInfo['ports'][number] | undefined {
  for (const container of containers) {
    const port = container.ports.find((item) => item.name === name);
    if (port !== undefined) return port;
  }
  return undefined;
}
