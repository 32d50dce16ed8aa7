import { clusterNames } from '../model/cloud-cluster.ts';
import type { JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString, asStringMap, getPath } from '../shared/pure/json.ts';
import { sortBy, uniqueSorted } from '../shared/pure/order.ts';
import type { Config } from '../model/config.ts';
import type { Finding } from '../model/finding.ts';
import type { ClusterFacts, CniFacts, IpBlockTarget, MeshFacts, NodeInfo } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { namespaceOf } from '../model/object.ts';
import { memoByObject } from './memo.ts';
import type { ObjectIndex } from './object-index.ts';
import { metaLabels, objectsOf, wasRead } from './object-index.ts';
import { expectedPods, parseTime } from './owners.ts';
import { parsePod } from './workloads.ts';

export function buildNodes(index: ObjectIndex): readonly NodeInfo[] {
  return objectsOf(index, '', 'Node').map((node) => ({
    name: node.metadata.name,
    ...nodeCreation(parseTime(node.metadata['creationTimestamp'])),
    addresses: asArray(getPath(node, ['status', 'addresses'])).flatMap((item) => {
      const type = asString(asObject(item)['type']);
      const address = asString(asObject(item)['address']);
      return address !== undefined && (type === 'InternalIP' || type === 'ExternalIP') ? [address] : [];
    }),
    podCIDRs: uniqueSorted([
      ...asArray(getPath(node, ['spec', 'podCIDRs'])).flatMap((item) => asString(item) ?? []),
      ...[asString(getPath(node, ['spec', 'podCIDR']))].flatMap((item) => item ?? []),
    ]),
  }));
}

function nodeCreation(createdAt: number | undefined): Pick<NodeInfo, 'createdAt'> {
  return createdAt === undefined ? {} : { createdAt };
}

/** What is true of the cluster as a whole. Observed facts win over the configuration; a conflict is a finding. */
export function buildFacts(
  index: ObjectIndex,
  config: Config,
): { readonly facts: ClusterFacts; readonly findings: readonly Finding[] } {
  const findings: Finding[] = [];
  const version = kubernetesVersion(index);
  const facts: ClusterFacts = {
    cni: cniFacts(index, config, findings),
    mesh: meshFacts(index, config, version, findings),
    apiServer: apiServer(index, config, findings),
    ...(version === undefined ? {} : { kubernetesVersion: version }),
  };
  cloudNames(index, config, findings);
  return { facts, findings };
}

/** What is stated of the names that a cloud has for this cluster, and is not so. The names themselves are asked for where they are used. */
function cloudNames(index: ObjectIndex, config: Config, findings: Finding[]): void {
  const seen = clusterNames([...objectsOf(index, '', 'Pod'), ...objectsOf(index, '', 'Node')]);
  for (const key of ['issuer', 'eksCluster'] as const) {
    const [stated, found] = [config.cloud?.[key], seen[key]];
    if (stated !== undefined && found !== undefined && stated !== found)
      findings.push(conflict(key, stated, found, 'cloud'));
  }
}

function conflict(field: string, stated: string, seen: string, section = 'cluster'): Finding {
  return {
    code: 'SP315',
    severity: 'warning',
    subject: `${section}.${field}`,
    message: `the configuration states ${stated}, the cluster shows ${seen}; the latter is used`,
    hint: `Correct ${section}.${field} in the configuration.`,
  };
}

// ---- Kubernetes

/** The oldest kubelet: what every node can do. */
function kubernetesVersion(index: ObjectIndex): string | undefined {
  const versions = objectsOf(index, '', 'Node').flatMap(
    (node) => asString(getPath(node, ['status', 'nodeInfo', 'kubeletVersion'])) ?? [],
  );
  const [oldest] = sortBy(versions, (text) => minorVersion(text)?.toString().padStart(8, '0') ?? '');
  return oldest;
}

/** `v1.29.3-gke.1` -> 1029; `1.27.0` -> 1027. */
function minorVersion(text: string | undefined): number | undefined {
  const match = text === undefined ? null : /^v?(\d{1,4})\.(\d{1,4})/.exec(text);
  return match === null ? undefined : Number(match[1]) * 1000 + Number(match[2]);
}

function apiServer(index: ObjectIndex, config: Config, findings: Finding[]): readonly string[] {
  const seen = new Set<string>();
  for (const slice of objectsOf(index, 'discovery.k8s.io', 'EndpointSlice')) {
    if (namespaceOf(slice) !== 'default' || metaLabels(slice)['kubernetes.io/service-name'] !== 'kubernetes') continue;
    for (const endpoint of asArray(slice['endpoints'])) addAddresses(asArray(asObject(endpoint)['addresses']), seen);
  }
  for (const endpoints of objectsOf(index, '', 'Endpoints')) {
    if (namespaceOf(endpoints) !== 'default' || endpoints.metadata.name !== 'kubernetes') continue;
    for (const subset of asArray(endpoints['subsets'])) {
      const addresses = asArray(asObject(subset)['addresses']).map((item) => asObject(item)['ip'] ?? null);
      addAddresses(addresses, seen);
    }
  }
  const stated = config.cluster.apiServer;
  if (seen.size === 0) return stated ?? [];
  const observed = uniqueSorted(seen);
  if (stated !== undefined && uniqueSorted(stated).join() !== observed.join()) {
    findings.push(conflict('apiServer', stated.join(', '), observed.join(', ')));
  }
  return observed;
}

function addAddresses(addresses: readonly unknown[], into: Set<string>): void {
  for (const address of addresses) {
    if (typeof address === 'string') into.add(`${address}/${address.includes(':') ? 128 : 32}`);
  }
}

// ---- CNI

const EVERYTHING: readonly IpBlockTarget[] = ['pods', 'nodes', 'api-server'];

interface CniKind {
  readonly name: string;
  /** Names of the DaemonSet that runs on every node. */
  readonly daemonSets: readonly string[];
  /** A part of its image's repository. */
  readonly images: readonly string[];
  readonly enforces: CniFacts['enforces'];
  readonly ipBlockMatches: readonly IpBlockTarget[];
}

/**
 * What each network plugin does, enforcing ones first: where two run together (Calico over flannel) the first decides.
 * Cilium and its kin resolve a peer's identity before its address, so a CIDR matches no pod, node or API server by default
 * (docs.cilium.io, "CIDR based"); the others compare addresses.
 */
export const CNI_KINDS: readonly CniKind[] = [
  { name: 'gke-dataplane-v2', daemonSets: ['anetd'], images: [], enforces: 'yes', ipBlockMatches: [] },
  { name: 'cilium', daemonSets: ['cilium'], images: ['cilium/cilium'], enforces: 'yes', ipBlockMatches: [] },
  {
    name: 'calico',
    daemonSets: ['calico-node', 'canal'],
    images: ['calico/node'],
    enforces: 'yes',
    ipBlockMatches: EVERYTHING,
  },
  {
    name: 'antrea',
    daemonSets: ['antrea-agent'],
    images: ['antrea/antrea-agent'],
    enforces: 'yes',
    ipBlockMatches: EVERYTHING,
  },
  {
    name: 'ovn-kubernetes',
    daemonSets: ['ovnkube-node', 'ovnkube-db'],
    images: ['ovn-kubernetes'],
    enforces: 'yes',
    ipBlockMatches: EVERYTHING,
  },
  {
    name: 'kube-router',
    daemonSets: ['kube-router'],
    images: ['kube-router'],
    enforces: 'yes',
    ipBlockMatches: EVERYTHING,
  },
  { name: 'weave', daemonSets: ['weave-net'], images: ['weave-kube'], enforces: 'yes', ipBlockMatches: EVERYTHING },
  { name: 'azure-npm', daemonSets: ['azure-npm'], images: ['azure-npm'], enforces: 'yes', ipBlockMatches: EVERYTHING },
  {
    name: 'aws-vpc-cni',
    daemonSets: ['aws-node'],
    images: ['amazon-k8s-cni'],
    enforces: 'unknown',
    ipBlockMatches: EVERYTHING,
  },
  { name: 'kindnet', daemonSets: ['kindnet'], images: ['kindnetd'], enforces: 'unknown', ipBlockMatches: EVERYTHING },
  {
    name: 'flannel',
    daemonSets: ['kube-flannel-ds', 'kube-flannel'],
    images: ['flannel/flannel', 'flannel-io/flannel'],
    enforces: 'no',
    ipBlockMatches: [],
  },
];

const CNI_ALIASES: ReadonlyMap<string, string> = new Map(
  Object.entries({
    'aws-node': 'aws-vpc-cni',
    'vpc-cni': 'aws-vpc-cni',
    canal: 'calico',
    ovn: 'ovn-kubernetes',
    'dataplane-v2': 'gke-dataplane-v2',
    anetd: 'gke-dataplane-v2',
  }),
);

function cniKind(name: string): CniKind | undefined {
  const lower = name.toLowerCase();
  return CNI_KINDS.find((kind) => kind.name === (CNI_ALIASES.get(lower) ?? lower));
}

/** The DaemonSet that is a network plugin's agent, with the plugin. */
export function cniAgents(
  index: ObjectIndex,
): readonly { readonly name: string; readonly manifest: KubeManifest; readonly kind: CniKind }[] {
  const found = objectsOf(index, 'apps', 'DaemonSet').flatMap((manifest) => {
    const images = (expectedPods(manifest)[0]?.facts.containers ?? []).map((container) => container.image);
    const kind = CNI_KINDS.find(
      (item) =>
        item.daemonSets.includes(manifest.metadata.name) ||
        item.images.some((part) => images.some((image) => image.includes(part))),
    );
    return kind === undefined ? [] : [{ name: kind.name, manifest, kind }];
  });
  return [...found].sort((a, b) => CNI_KINDS.indexOf(a.kind) - CNI_KINDS.indexOf(b.kind));
}

function cniFacts(index: ObjectIndex, config: Config, findings: Finding[]): CniFacts {
  const observed = observedCni(index, findings);
  const stated = config.cluster.cni;
  if (stated === undefined) {
    if (observed !== undefined) return observed;
    findings.push({
      code: 'SP321',
      severity: 'info',
      subject: 'cluster',
      message: 'no network plugin that is known was found',
      hint: 'State it in the configuration: cluster.cni with name and ipBlockMatches.',
    });
    return { name: 'unknown', enforces: 'unknown', ipBlockMatches: [], because: 'no agent of a known CNI was found' };
  }
  const kind = cniKind(stated.name);
  if (observed === undefined) {
    return {
      name: stated.name,
      enforces: kind?.enforces ?? 'unknown',
      ipBlockMatches: stated.ipBlockMatches,
      because: 'stated in the configuration',
    };
  }
  if (kind?.name !== observed.name) {
    findings.push(conflict('cni.name', stated.name, observed.name));
    return observed;
  }
  const sameTargets = uniqueSorted(stated.ipBlockMatches).join() === uniqueSorted(observed.ipBlockMatches).join();
  // What an ipBlock matches is read of Cilium alone; of every other it is the default of its kind, and a person may know better.
  if (!sameTargets && !isTargetsRead(observed)) {
    return {
      ...observed,
      ipBlockMatches: stated.ipBlockMatches,
      because: `${observed.because}; ipBlockMatches stated in the configuration`,
    };
  }
  if (!sameTargets) {
    const say = (targets: readonly string[]): string => (targets.length === 0 ? 'none' : targets.join(', '));
    findings.push(conflict('cni.ipBlockMatches', say(stated.ipBlockMatches), say(observed.ipBlockMatches)));
  }
  return observed;
}

const CILIUM_CONFIG = '; cilium-config ';

function isTargetsRead({ name, because }: CniFacts): boolean {
  return name === 'cilium' && because.includes(CILIUM_CONFIG);
}

function observedCni(index: ObjectIndex, findings: Finding[]): CniFacts | undefined {
  const agent = cniAgents(index)[0];
  if (agent === undefined) {
    return objectsOf(index, 'cilium.io', 'CiliumNode').length > 0
      ? ciliumFacts(index, 'objects of kind CiliumNode', findings)
      : undefined;
  }
  const because = `DaemonSet ${namespaceOf(agent.manifest) ?? ''}/${agent.manifest.metadata.name}`;
  if (agent.name === 'cilium') return ciliumFacts(index, because, findings);
  if (agent.name === 'aws-vpc-cni') return awsFacts(agent.manifest, agent.kind, because);
  const { name, enforces, ipBlockMatches } = agent.kind;
  if (enforces === 'no') findings.push(notEnforcing(name, because));
  return { name, enforces, ipBlockMatches, because };
}

function notEnforcing(name: string, why: string): Finding {
  return {
    code: 'SP322',
    severity: 'warning',
    subject: 'cluster',
    message: `${name} does not enforce NetworkPolicy here (${why})`,
    hint: 'Policies would stand without effect: enable enforcement first.',
  };
}

function ciliumFacts(index: ObjectIndex, because: string, findings: Finding[]): CniFacts {
  const config = objectsOf(index, '', 'ConfigMap').find((item) => item.metadata.name === 'cilium-config');
  if (config === undefined) {
    return {
      name: 'cilium',
      enforces: 'unknown',
      ipBlockMatches: [],
      because: `${because}; ConfigMap cilium-config was not read`,
    };
  }
  const data = asStringMap(config['data']);
  const mode = data['enable-policy'] ?? 'default';
  const targets: readonly IpBlockTarget[] = (data['policy-cidr-match-mode'] ?? '').includes('nodes') ? ['nodes'] : [];
  const audit = data['policy-audit-mode'] === 'true';
  const enforces = audit || mode === 'never' ? 'no' : mode === 'default' || mode === 'always' ? 'yes' : 'unknown';
  const why = audit ? 'policy-audit-mode: true' : `enable-policy: ${mode}`;
  if (enforces === 'no') findings.push(notEnforcing('cilium', why));
  return { name: 'cilium', enforces, ipBlockMatches: targets, because: `${because}${CILIUM_CONFIG}${why}` };
}

function awsFacts(manifest: KubeManifest, kind: CniKind, because: string): CniFacts {
  const agent = asArray(getPath(manifest, ['spec', 'template', 'spec', 'containers']))
    .map(asObject)
    .find((container) => container['name'] === 'aws-eks-nodeagent');
  const flag = asArray(agent?.['args'])
    .flatMap((item) => asString(item) ?? [])
    .find((item) => item.startsWith('--enable-network-policy='));
  const enforces = flag === '--enable-network-policy=true' ? 'yes' : flag === undefined ? 'unknown' : 'no';
  return {
    name: kind.name,
    enforces,
    ipBlockMatches: kind.ipBlockMatches,
    because: `${because}; network policy agent: ${flag ?? 'not found'}`,
  };
}

// ---- mesh

const DEFAULT_ROOT = 'istio-system';
const DEFAULT_TRUST_DOMAIN = 'cluster.local';

/** Deployments of Istio's control plane. */
export function istiodDeployments(index: ObjectIndex): readonly KubeManifest[] {
  return objectsOf(index, 'apps', 'Deployment').filter(isIstiod);
}

export const isIstiod: (owner: KubeManifest) => boolean = memoByObject((owner) => {
  const [pods] = expectedPods(owner);
  if (pods === undefined) return false;
  return (
    pods.facts.labels['app'] === 'istiod' ||
    pods.facts.containers.some((container) => /(?:^|\/)pilot(?:[:@]|$)/.test(container.image))
  );
});

function meshFacts(index: ObjectIndex, config: Config, kubernetes: string | undefined, findings: Finding[]): MeshFacts {
  const [istiod] = istiodDeployments(index);
  const stated = config.cluster.mesh;
  const revisions = servedRevisions(index);
  if (istiod === undefined) {
    if (stated !== undefined) {
      return {
        kind: 'istio',
        mode: stated.mode,
        ...(stated.version === undefined ? {} : { version: stated.version }),
        rootNamespace: stated.rootNamespace ?? DEFAULT_ROOT,
        trustDomain: stated.trustDomain ?? DEFAULT_TRUST_DOMAIN,
        ...(revisions.length === 0 ? {} : { revisions }),
        nativeSidecars: nativeSidecars(stated.version, kubernetes, undefined),
        because: 'stated in the configuration',
      };
    }
    return unseenMesh(index, revisions, findings);
  }
  const observed = observedMesh(index, istiod, revisions, kubernetes, findings);
  if (stated !== undefined) compareMesh(stated, observed, findings);
  return observed;
}

function unseenMesh(index: ObjectIndex, revisions: readonly string[], findings: Finding[]): MeshFacts {
  const base = { rootNamespace: DEFAULT_ROOT, trustDomain: DEFAULT_TRUST_DOMAIN, nativeSidecars: 'unknown' } as const;
  const injected = objectsOf(index, '', 'Pod').some((pod) => parsePod(pod).info.sidecar);
  if (revisions.length > 0 || injected) {
    findings.push({
      code: 'SP323',
      severity: 'warning',
      subject: 'cluster',
      message: 'there are sidecars or injection webhooks of Istio, and no control plane that could be read',
      hint: 'State it in the configuration: cluster.mesh.',
    });
    return {
      ...base,
      kind: 'istio',
      mode: 'unknown',
      ...(revisions.length === 0 ? {} : { revisions }),
      because: revisions.length > 0 ? 'injection webhooks of Istio' : 'pods with the sidecar of Istio',
    };
  }
  return wasRead(index, 'apps', 'Deployment')
    ? { ...base, kind: 'none', mode: 'unknown', because: 'no Deployment of istiod' }
    : { ...base, kind: 'unknown', mode: 'unknown', because: 'no Deployment of istiod among what was read' };
}

function observedMesh(
  index: ObjectIndex,
  istiod: KubeManifest,
  revisions: readonly string[],
  kubernetes: string | undefined,
  findings: Finding[],
): MeshFacts {
  const namespace = namespaceOf(istiod) ?? DEFAULT_ROOT;
  const facts = expectedPods(istiod)[0]?.facts;
  const image =
    facts?.containers.find((container) => container.name === 'discovery')?.image ?? facts?.containers[0]?.image;
  const version = imageVersion(image);
  const revision = metaLabels(istiod)['istio.io/rev'] ?? facts?.labels['istio.io/rev'];
  const named = revision !== undefined && revision !== 'default' ? revision : undefined;
  const mesh = meshConfig(index, namespace, named);
  const ztunnel = objectsOf(index, 'apps', 'DaemonSet').some((item) => item.metadata.name.startsWith('ztunnel'));
  const captured = objectsOf(index, '', 'Namespace').some(
    (item) => metaLabels(item)['istio.io/dataplane-mode'] === 'ambient',
  );
  if (version === undefined) {
    findings.push({
      code: 'SP323',
      severity: 'warning',
      subject: `${namespace}/Deployment/${istiod.metadata.name}`,
      message: 'the image of istiod tells no version',
      hint: 'State it in the configuration: cluster.mesh.version.',
    });
  }
  return {
    kind: 'istio',
    mode: ztunnel && captured ? 'ambient' : 'sidecar',
    ...(version === undefined ? {} : { version }),
    rootNamespace: mesh.rootNamespace ?? namespace,
    trustDomain: mesh.trustDomain ?? DEFAULT_TRUST_DOMAIN,
    ...(named === undefined ? {} : { revision: named }),
    ...(revisions.length === 0 ? {} : { revisions }),
    ...(mesh.trustDomainAliases === undefined ? {} : { trustDomainAliases: mesh.trustDomainAliases }),
    ...(mesh.autoMtls === undefined ? {} : { autoMtls: mesh.autoMtls }),
    nativeSidecars: nativeSidecars(version, kubernetes, nativeSwitch(istiod)),
    because: `Deployment ${namespace}/${istiod.metadata.name}`,
  };
}

/** `docker.io/istio/pilot:1.27.3-distroless` -> `1.27.3`. */
function imageVersion(image: string | undefined): string | undefined {
  return image === undefined ? undefined : /:v?(\d{1,4}\.\d{1,4}(?:\.\d{1,4})?)/.exec(image)?.[1];
}

/** Revisions and tags whose webhooks inject, from the namespace selectors of those webhooks. */
function servedRevisions(index: ObjectIndex): readonly string[] {
  const found = new Set<string>();
  for (const configuration of objectsOf(index, 'admissionregistration.k8s.io', 'MutatingWebhookConfiguration')) {
    for (const item of asArray(configuration['webhooks'])) {
      const webhook = asObject(item);
      if (asString(webhook['name'])?.includes('sidecar-injector.istio.io') !== true) continue;
      for (const expression of asArray(getPath(webhook, ['namespaceSelector', 'matchExpressions'])).map(asObject)) {
        if (expression['operator'] !== 'In') continue;
        const values = asArray(expression['values']).flatMap((value) => asString(value) ?? []);
        if (expression['key'] === 'istio.io/rev') for (const value of values) found.add(value);
        if (expression['key'] === 'istio-injection' && values.includes('enabled')) found.add('default');
      }
      addMatchLabels(asObject(getPath(webhook, ['namespaceSelector', 'matchLabels'])), found);
    }
  }
  return uniqueSorted(found);
}

function addMatchLabels(labels: JsonObject, into: Set<string>): void {
  const revision = asString(labels['istio.io/rev']);
  if (revision !== undefined) into.add(revision);
  if (labels['istio-injection'] === 'enabled') into.add('default');
}

interface MeshConfig {
  readonly rootNamespace?: string;
  readonly trustDomain?: string;
  readonly trustDomainAliases?: readonly string[];
  readonly autoMtls?: boolean;
}

/** Top-level scalars of the mesh configuration: they stand at the start of a line, whatever else the text holds. */
function meshConfig(index: ObjectIndex, namespace: string, revision: string | undefined): MeshConfig {
  const name = revision === undefined ? 'istio' : `istio-${revision}`;
  const map = index.byKey.get(`/ConfigMap/${namespace}/${name}`) ?? index.byKey.get(`/ConfigMap/${namespace}/istio`);
  const text = map === undefined ? undefined : asString(asObject(map['data'])['mesh']);
  if (text === undefined) return {};
  const scalar = (key: string): string | undefined => {
    const value = new RegExp(`^${key}:[ \\t]*["']?([^\\s"'#]+)`, 'm').exec(text)?.[1];
    return value === '' ? undefined : value;
  };
  const rootNamespace = scalar('rootNamespace');
  const trustDomain = scalar('trustDomain');
  const aliases = listOf(text, 'trustDomainAliases');
  return {
    ...(rootNamespace === undefined ? {} : { rootNamespace }),
    ...(trustDomain === undefined ? {} : { trustDomain }),
    ...(aliases.length === 0 ? {} : { trustDomainAliases: aliases }),
    autoMtls: scalar('enableAutoMtls') !== 'false',
  };
}

/** A list of names in the same text, as a block or in brackets. */
function listOf(text: string, key: string): readonly string[] {
  const flow = new RegExp(`^${key}:[ \\t]*\\[([^\\]]*)\\]`, 'm').exec(text)?.[1]?.split(',');
  const block = new RegExp(`^${key}:[ \\t]*\\n((?:[ \\t]*-[^\\n]*(?:\\n|$))+)`, 'm').exec(text)?.[1]?.split('\n');
  return (flow ?? block ?? []).map((one) => /^[\s-]*["']?([^"'\s]*)/.exec(one)?.[1] ?? '').filter((one) => one !== '');
}

function nativeSwitch(istiod: KubeManifest): string | undefined {
  for (const container of asArray(getPath(istiod, ['spec', 'template', 'spec', 'containers'])).map(asObject)) {
    for (const item of asArray(container['env']).map(asObject)) {
      if (item['name'] === 'ENABLE_NATIVE_SIDECARS') return asString(item['value']);
    }
  }
  return undefined;
}

/** Kubernetes runs sidecars as init containers from 1.29 on; Istio uses them by itself from 1.27 on. */
function nativeSidecars(
  istio: string | undefined,
  kubernetes: string | undefined,
  switched: string | undefined,
): MeshFacts['nativeSidecars'] {
  if (switched === 'false') return 'no';
  const cluster = minorVersion(kubernetes);
  if (cluster !== undefined && cluster < 1029) return 'no';
  const mesh = minorVersion(istio);
  if (switched !== 'true' && mesh !== undefined && mesh < 1027) return 'no';
  if (cluster === undefined) return 'unknown';
  return switched === 'true' || mesh !== undefined ? 'yes' : 'unknown';
}

function compareMesh(stated: NonNullable<Config['cluster']['mesh']>, seen: MeshFacts, findings: Finding[]): void {
  if (stated.mode !== seen.mode) findings.push(conflict('mesh.mode', stated.mode, seen.mode));
  const { version, rootNamespace, trustDomain } = stated;
  if (version !== undefined && seen.version !== undefined && minorVersion(version) !== minorVersion(seen.version)) {
    findings.push(conflict('mesh.version', version, seen.version));
  }
  if (rootNamespace !== undefined && rootNamespace !== seen.rootNamespace) {
    findings.push(conflict('mesh.rootNamespace', rootNamespace, seen.rootNamespace));
  }
  if (trustDomain !== undefined && trustDomain !== seen.trustDomain) {
    findings.push(conflict('mesh.trustDomain', trustDomain, seen.trustDomain));
  }
}
