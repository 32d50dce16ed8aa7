import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asBoolean, asNumber, asObject, asString, asStringMap } from '../shared/pure/json.ts';
import type { ContainerInfo, ContainerPort, Labels } from '../model/inventory.ts';
import { findHosts } from './host-names.ts';
import type { HostMention } from './host-names.ts';

/** A host and perhaps a port that a container's settings name. Values themselves are not kept. */
export interface Mention extends HostMention {
  /** `env MLFLOW_URL`, `argument`, `ConfigMap app/config key url`. */
  readonly by: string;
}

/** A ConfigMap from which a container takes settings: all keys, or one. */
export interface ConfigMapUse {
  readonly name: string;
  readonly key?: string;
  /** The variable that takes the key; absent for all keys and for files. */
  readonly env?: string;
}

/** What is read of a pod template, or of a pod, whose shape is the same. */
export interface PodFacts {
  readonly labels: Labels;
  readonly annotations: Labels;
  readonly serviceAccount: string;
  readonly hostNetwork: boolean;
  readonly privileged: boolean;
  /** The container of an Istio proxy is there. */
  readonly hasProxy: boolean;
  /** All, init and proxy containers too. */
  readonly containers: readonly ContainerInfo[];
  readonly mentions: readonly Mention[];
  readonly configMaps: readonly ConfigMapUse[];
}

const PROXY_CONTAINERS: ReadonlySet<string> = new Set(['istio-proxy', 'istio-init', 'istio-validation']);

/** Containers that the mesh added; what is left is what the workload itself states. */
export function ownContainers(containers: readonly ContainerInfo[]): readonly ContainerInfo[] {
  const own = containers.filter((container) => !PROXY_CONTAINERS.has(container.name));
  // A gateway is a proxy and nothing else.
  return own.some((container) => !container.init) ? own : containers;
}

/** Parses `{metadata, spec}` of a pod template or a pod. Environment values are looked through for host names only. */
export function parsePodFacts(template: JsonObject): PodFacts {
  const metadata = asObject(template['metadata']);
  return parsePodSpec(
    asObject(template['spec']),
    asStringMap(metadata['labels']),
    asStringMap(metadata['annotations']),
  );
}

/** The same for a bare pod spec whose labels and annotations stand elsewhere. */
export function parsePodSpec(spec: JsonObject, labels: Labels, annotations: Labels): PodFacts {
  const main = asArray(spec['containers']).map(asObject);
  const init = asArray(spec['initContainers']).map(asObject);
  const containers = [
    ...main.map((container) => parseContainer(container, false)),
    ...init.map((container) => parseContainer(container, true)),
  ];
  const mentions: Mention[] = [];
  const configMaps: ConfigMapUse[] = [];
  for (const container of [...main, ...init]) {
    collectMentions(container, mentions);
    collectConfigMaps(container, configMaps);
  }
  for (const volume of asArray(spec['volumes'])) {
    const name = asString(asObject(asObject(volume)['configMap'])['name']);
    if (name !== undefined) configMaps.push({ name });
  }
  return {
    labels,
    annotations,
    serviceAccount: asString(spec['serviceAccountName']) ?? asString(spec['serviceAccount']) ?? 'default',
    hostNetwork: asBoolean(spec['hostNetwork']) === true,
    privileged: [...main, ...init].some(
      (container) => asBoolean(asObject(container['securityContext'])['privileged']) === true,
    ),
    hasProxy: containers.some((container) => container.name === 'istio-proxy'),
    containers,
    mentions,
    configMaps,
  };
}

function parseContainer(container: JsonObject, init: boolean): ContainerInfo {
  const ports = asArray(container['ports']).flatMap((item) => parsePort(asObject(item)));
  return {
    name: asString(container['name']) ?? '',
    image: asString(container['image']) ?? '',
    init,
    ports,
    probePorts: probePorts(container, ports),
    envNames: asArray(container['env']).flatMap((item) => asString(asObject(item)['name']) ?? []),
  };
}

function parsePort(port: JsonObject): readonly ContainerPort[] {
  const number = asNumber(port['containerPort']);
  if (number === undefined) return [];
  const name = asString(port['name']);
  return [{ ...(name === undefined ? {} : { name }), port: number, protocol: parseProtocol(port['protocol']) }];
}

/** Kubernetes' default is TCP. */
export function parseProtocol(value: Json | undefined): 'TCP' | 'UDP' | 'SCTP' {
  return value === 'UDP' || value === 'SCTP' ? value : 'TCP';
}

function probePorts(container: JsonObject, ports: readonly ContainerPort[]): readonly number[] {
  const found = new Set<number>();
  for (const field of ['startupProbe', 'readinessProbe', 'livenessProbe']) {
    const probe = asObject(container[field]);
    for (const action of ['httpGet', 'tcpSocket', 'grpc']) {
      // A probe of another host does not reach this pod.
      const handler = asObject(probe[action]);
      const host = asString(handler['host']);
      if (host !== undefined && host !== '') continue;
      const port = handler['port'];
      const number =
        typeof port === 'string' && !/^\d+$/.test(port)
          ? ports.find((item) => item.name === port)?.port
          : port === undefined
            ? undefined
            : Number(port);
      if (number !== undefined && Number.isInteger(number) && number > 0) found.add(number);
    }
  }
  return [...found].sort((a, b) => a - b);
}

function collectMentions(container: JsonObject, into: Mention[]): void {
  const values = new Map<string, string>();
  for (const item of asArray(container['env'])) {
    const entry = asObject(item);
    const name = asString(entry['name']);
    const value = asString(entry['value']);
    if (name !== undefined && value !== undefined) values.set(name, value);
  }
  for (const [name, value] of values) {
    for (const host of findHosts(value, name, (other) => values.get(other))) into.push({ ...host, by: `env ${name}` });
  }
  for (const field of ['command', 'args']) {
    for (const item of asArray(container[field])) {
      const text = asString(item);
      if (text === undefined) continue;
      for (const host of findHosts(text)) into.push({ ...host, by: 'argument' });
    }
  }
}

function collectConfigMaps(container: JsonObject, into: ConfigMapUse[]): void {
  for (const item of asArray(container['envFrom'])) {
    const name = asString(asObject(asObject(item)['configMapRef'])['name']);
    if (name !== undefined) into.push({ name });
  }
  for (const item of asArray(container['env'])) {
    const reference = asObject(asObject(asObject(item)['valueFrom'])['configMapKeyRef']);
    const name = asString(reference['name']);
    const key = asString(reference['key']);
    const env = asString(asObject(item)['name']);
    if (name !== undefined && key !== undefined && env !== undefined) into.push({ name, key, env });
  }
}
