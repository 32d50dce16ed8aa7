import type { Dialect } from '../model/config.ts';
import type { ClusterFacts, Labels } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { namespaceOf } from '../model/object.ts';
import {
  buildAdminGuardRail,
  buildCalicoPolicy,
  buildCiliumWhole,
  buildClusterGuardRail,
  WORKLOAD_ANNOTATION,
} from '../objects/build.ts';
import type { OwnMeta } from '../objects/build.ts';
import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString, isJsonObject } from '../shared/pure/json.ts';
import { groupBy, uniqueSorted } from '../shared/pure/order.ts';

/** What of a cluster decides which dialects it takes. */
export interface DialectFacts {
  readonly facts: Pick<ClusterFacts, 'cni'>;
  /** Names of CustomResourceDefinitions; undefined for a directory, which takes every kind. */
  readonly kinds: ReadonlySet<string> | undefined;
  /** Does an aggregated API serve projectcalico.org/v3? */
  readonly calicoApi: boolean;
}

/** CNIs that surely enforce the admin policies (docs/policy-semantics.md). */
const ADMIN_CNIS = ['calico', 'ovn-kubernetes'];

/** Why a cluster does not take a dialect; undefined where it does. */
export function dialectFault(dialect: Dialect, { facts, kinds, calicoApi }: DialectFacts): string | undefined {
  const cni = facts.cni.name;
  switch (dialect) {
    case 'kubernetes':
      return undefined;
    case 'cilium':
      if (cni !== 'cilium') return `the CNI is ${cni}, which does not enforce CiliumNetworkPolicy`;
      return kinds === undefined || kinds.has('ciliumnetworkpolicies.cilium.io')
        ? undefined
        : 'the cluster has no CustomResourceDefinition ciliumnetworkpolicies.cilium.io';
    case 'calico':
      if (cni !== 'calico') return `the CNI is ${cni}, which does not enforce policies of Calico`;
      return kinds === undefined || calicoApi
        ? undefined
        : "the cluster does not serve projectcalico.org/v3: Calico's API server is not installed, and its storage is not written past it";
    case 'admin':
      if (!ADMIN_CNIS.includes(cni))
        return `it is not known whether ${cni} enforces admin policies; ${ADMIN_CNIS.join(' and ')} surely do`;
      return kinds === undefined || guardRailKind(kinds) !== undefined
        ? undefined
        : 'the cluster has no CustomResourceDefinition of policy.networking.k8s.io';
  }
}

type GuardRailKind = 'AdminNetworkPolicy' | 'ClusterNetworkPolicy';

/** The newer kind where the cluster has it. A directory says nothing of versions: the kind that most CNIs have. */
function guardRailKind(kinds: ReadonlySet<string> | undefined): GuardRailKind | undefined {
  if (kinds === undefined) return 'AdminNetworkPolicy';
  if (kinds.has('clusternetworkpolicies.policy.networking.k8s.io')) return 'ClusterNetworkPolicy';
  return kinds.has('adminnetworkpolicies.policy.networking.k8s.io') ? 'AdminNetworkPolicy' : undefined;
}

/** A NetworkPolicy of ours taken apart: labels alone in selectors, as candidates have them. */
interface Plain {
  readonly meta: OwnMeta;
  readonly labels: Labels;
  readonly directions: readonly { readonly name: 'ingress' | 'egress'; readonly rules: readonly PlainRule[] }[];
}

interface PlainRule {
  /** Undefined: everybody. */
  readonly peers: readonly PlainPeer[] | undefined;
  readonly ports: readonly JsonObject[];
}

type PlainPeer =
  | { readonly kind: 'pods'; readonly namespace: string; readonly labels: Labels }
  | { readonly kind: 'block'; readonly cidr: string };

const NAMESPACE_NAME_LABEL = 'kubernetes.io/metadata.name';

/** Undefined where the policy says more than candidates do. */
function takeApart(policy: KubeManifest): Plain | undefined {
  if (policy.kind !== 'NetworkPolicy' || !policy.apiVersion.startsWith('networking.k8s.io/')) return undefined;
  const spec = asObject(policy['spec']);
  const namespace = namespaceOf(policy) ?? '';
  const own = asObject(policy.metadata['annotations'])[WORKLOAD_ANNOTATION];
  const workload = asString(own);
  const directions = asArray(spec['policyTypes']).map((type) => {
    const name = type === 'Ingress' ? ('ingress' as const) : ('egress' as const);
    const side = name === 'ingress' ? 'from' : 'to';
    const rules = asArray(spec[name]).map((item): PlainRule => {
      const rule = asObject(item);
      const peers = rule[side] === undefined ? undefined : asArray(rule[side]).map((one) => peerOf(one, namespace));
      return { peers, ports: asArray(rule['ports']).filter(isJsonObject) };
    });
    return { name, rules };
  });
  return {
    meta: { name: policy.metadata.name, namespace, ...(workload === undefined ? {} : { workload }) },
    labels: labelsAt(spec['podSelector']),
    directions,
  };
}

function labelsAt(selector: Json | undefined): Labels {
  return asObject(asObject(selector)['matchLabels']) as Labels;
}

function peerOf(value: Json, namespace: string): PlainPeer {
  const peer = asObject(value);
  const cidr = asString(asObject(peer['ipBlock'])['cidr']);
  if (cidr !== undefined) return { kind: 'block', cidr };
  const named = labelsAt(peer['namespaceSelector'])[NAMESPACE_NAME_LABEL];
  return { kind: 'pods', namespace: named ?? namespace, labels: labelsAt(peer['podSelector']) };
}

/** Has Calico this kind here, by the definitions of its storage? Undefined of a directory, which says nothing of kinds. */
export function servesCalico(kinds: ReadonlySet<string> | undefined, plural: string): boolean | undefined {
  return kinds === undefined
    ? undefined
    : kinds.has(`${plural}.crd.projectcalico.org`) || kinds.has(`${plural}.projectcalico.org`);
}

/**
 * A candidate in another dialect; the same object where that dialect has nothing for it. Each translation says the same of every pair of
 * pods (test/candidates/dialect.property.test.ts); where it does not, docs/dialects.md says so. `kinds`: as `DialectFacts` has them.
 */
export function inDialect(policy: KubeManifest, dialect: Dialect, kinds?: ReadonlySet<string>): KubeManifest {
  const plain = dialect === 'cilium' || dialect === 'calico' ? takeApart(policy) : undefined;
  if (plain === undefined) return policy;
  return dialect === 'cilium' ? ciliumOf(plain) : calicoOf(plain, servesCalico(kinds, 'tiers') === true);
}

/**
 * A policy of Calico as one that is only rehearsed (Calico's reference, "Staged network policy"); any other object as it is. Cilium's audit
 * mode is of an endpoint or of the agent, not of a policy.
 */
export function stagedOf(policy: KubeManifest): KubeManifest {
  if (policy.kind !== 'NetworkPolicy' || !policy.apiVersion.startsWith('projectcalico.org/')) return policy;
  return { ...policy, kind: 'StagedNetworkPolicy', spec: { stagedAction: 'Set', ...asObject(policy['spec']) } };
}

/** Pods of another namespace by the label that Cilium gives every endpoint; CIDRs never match what Cilium manages, as with NetworkPolicy there. */
function ciliumOf({ meta, labels, directions }: Plain): KubeManifest {
  const spec: Record<string, Json> = {
    endpointSelector: Object.keys(labels).length === 0 ? {} : { matchLabels: labels },
  };
  for (const { name, rules } of directions) {
    const [endpoints, cidrs, entities] =
      name === 'ingress'
        ? (['fromEndpoints', 'fromCIDR', 'fromEntities'] as const)
        : (['toEndpoints', 'toCIDR', 'toEntities'] as const);
    const out = rules.flatMap(({ peers, ports }): readonly JsonObject[] => {
      const toPorts = ports.length === 0 ? {} : { toPorts: portRules(ports.map(ciliumPort)) };
      if (peers === undefined) return [{ [entities]: ['all'], ...toPorts }];
      const pods = peers.flatMap((peer) =>
        peer.kind === 'pods'
          ? [{ matchLabels: { 'k8s:io.kubernetes.pod.namespace': peer.namespace, ...peer.labels } }]
          : [],
      );
      const blocks = peers.flatMap((peer) => (peer.kind === 'block' ? [peer.cidr] : []));
      // One kind of peer a rule: in one rule they would have to hold together.
      return [
        ...(pods.length === 0 ? [] : [{ [endpoints]: pods, ...toPorts }]),
        ...(blocks.length === 0 ? [] : [{ [cidrs]: blocks, ...toPorts }]),
      ];
    });
    // A direction without rules would not be isolated at all; an empty rule isolates it and admits nobody.
    spec[name] = out.length === 0 ? [{}] : out;
  }
  return buildCiliumWhole(meta, spec);
}

/** Entries of one `toPorts` list hold at most so many ports (cilium, CustomResourceDefinition, PortRule.ports maxItems); entries add up. */
const MOST_PORTS = 40;

/** Ports of a CiliumNetworkPolicy's rule as its `toPorts`, in as many entries as it takes. */
export function portRules(ports: readonly JsonObject[]): readonly JsonObject[] {
  return Array.from({ length: Math.ceil(ports.length / MOST_PORTS) }, (_, index) => ({
    ports: ports.slice(index * MOST_PORTS, (index + 1) * MOST_PORTS),
  }));
}

function ciliumPort(port: JsonObject): JsonObject {
  const { endPort } = port;
  return {
    port: textOf(port['port']),
    ...(endPort === undefined ? {} : { endPort }),
    protocol: port['protocol'] ?? 'TCP',
  };
}

/** Ports are numbers here, or names. */
function textOf(port: Json | undefined): string {
  return typeof port === 'number' ? String(port) : (asString(port) ?? '');
}

const quoted = (text: string): string => `'${text}'`;

function calicoSelector(labels: Labels): string | undefined {
  const terms = Object.entries(labels).map(([key, value]) => `${key} == ${quoted(value)}`);
  return terms.length === 0 ? undefined : terms.join(' && ');
}

/** Where Calico puts NetworkPolicies of Kubernetes in its default tier (Calico's reference, "Tier"): ours stand beside them. */
const CALICO_ORDER = 1000;

function calicoOf({ meta, labels, directions }: Plain, tiers: boolean): KubeManifest {
  const spec: Record<string, Json> = {
    // Calico before 3.29 has no such field and refuses it; where it has, it fills it in, which would look like a difference.
    ...(tiers ? { tier: 'default' } : {}),
    order: CALICO_ORDER,
    selector: calicoSelector(labels) ?? 'all()',
    types: directions.map(({ name }) => (name === 'ingress' ? 'Ingress' : 'Egress')),
  };
  for (const { name, rules } of directions) {
    const out = rules.flatMap(({ peers, ports }) => {
      const entities: readonly JsonObject[] =
        peers === undefined
          ? [{}]
          : peers.map((peer): JsonObject => {
              if (peer.kind === 'block') return { nets: [peer.cidr] };
              const selector = calicoSelector(peer.labels);
              return {
                ...(selector === undefined ? {} : { selector }),
                ...(peer.namespace === meta.namespace && selector !== undefined
                  ? {}
                  : { namespaceSelector: `${NAMESPACE_NAME_LABEL} == ${quoted(peer.namespace)}` }),
              };
            });
      const byProtocol =
        ports.length === 0
          ? [undefined]
          : [...groupBy(ports, (port) => asString(port['protocol']) ?? 'TCP')].map(([protocol, list]) => ({
              protocol,
              ports: list.map(calicoPort),
            }));
      return entities.flatMap((entity) =>
        byProtocol.map((of): JsonObject => {
          const there = of === undefined ? {} : { ports: of.ports };
          const [source, destination] = name === 'ingress' ? [entity, there] : [{}, { ...entity, ...there }];
          return {
            action: 'Allow',
            ...(of === undefined ? {} : { protocol: of.protocol }),
            ...(Object.keys(source).length === 0 ? {} : { source }),
            ...(Object.keys(destination).length === 0 ? {} : { destination }),
          };
        }),
      );
    });
    if (out.length > 0) spec[name] = out;
  }
  return buildCalicoPolicy(meta, spec);
}

function calicoPort({ port, endPort }: JsonObject): Json {
  return endPort === undefined ? (port ?? null) : `${textOf(port)}:${textOf(endPort)}`;
}

/**
 * The guard rail of a namespace in the dialect `admin`: pods of the namespaces that its policies name are passed on to those policies, and
 * pods of every other namespace are denied, which no NetworkPolicy of a team overrides. A direction in which a policy admits everybody on a
 * port is left without one, so that nothing is denied that the policies allow. Undefined where nothing is left to deny.
 */
export function guardRail(
  namespace: string,
  policies: readonly KubeManifest[],
  kinds: ReadonlySet<string> | undefined,
): KubeManifest | undefined {
  const kind = guardRailKind(kinds);
  const plain = policies.map(takeApart).filter((one) => one !== undefined);
  if (kind === undefined) return undefined;
  const named: { ingress?: readonly string[]; egress?: readonly string[] } = {};
  for (const direction of ['ingress', 'egress'] as const) {
    const rules = plain.flatMap(({ directions }) =>
      directions.filter(({ name }) => name === direction).flatMap((one) => one.rules),
    );
    // An address may be a pod's, and a rule without peers is for everybody.
    if (rules.some(({ peers }) => peers === undefined || peers.some((peer) => peer.kind === 'block'))) continue;
    named[direction] = uniqueSorted([
      namespace,
      ...rules.flatMap(({ peers }) => (peers ?? []).flatMap((peer) => (peer.kind === 'pods' ? [peer.namespace] : []))),
    ]);
  }
  if (named.ingress === undefined && named.egress === undefined) return undefined;
  const meta: OwnMeta = { name: railName(namespace) };
  return kind === 'AdminNetworkPolicy'
    ? buildAdminGuardRail(meta, namespace, named)
    : buildClusterGuardRail(meta, namespace, named);
}

/** The name of a namespace's guard rail, whatever its kind. */
export function railName(namespace: string): string {
  return `sallyport-${namespace}`;
}

/**
 * What a dialect writes of its own, beside NetworkPolicy: alternatives in one list, the one that is preferred first.
 */
export const DIALECT_KINDS: Readonly<
  Record<Dialect, readonly (readonly { readonly apiVersion: string; readonly kind: string }[])[]>
> = {
  kubernetes: [],
  cilium: [[{ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy' }]],
  calico: [[{ apiVersion: 'projectcalico.org/v3', kind: 'NetworkPolicy' }]],
  admin: [
    [
      { apiVersion: 'policy.networking.k8s.io/v1alpha2', kind: 'ClusterNetworkPolicy' },
      { apiVersion: 'policy.networking.k8s.io/v1alpha1', kind: 'AdminNetworkPolicy' },
    ],
  ],
};

/** What `monitor` rehearses with in the dialect `calico`, where Calico has it (3.30 and newer; before, the commercial editions alone). */
export const REHEARSED_KIND = { apiVersion: 'projectcalico.org/v3', kind: 'StagedNetworkPolicy' } as const;
