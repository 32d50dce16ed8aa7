import { CONTAINER_FIELDS } from '../model/cloud-identity.ts';
import type { Edge } from '../model/edge.ts';
import { edgesAt } from '../model/edge-index.ts';
import type { Workload } from '../model/inventory.ts';
import type { JsonObject } from '../shared/pure/json.ts';
import { asArray, asBoolean, asObject, asString } from '../shared/pure/json.ts';

/** Does anything in the pods use the token that Kubernetes puts there by itself? */
export interface TokenUse {
  readonly answer: 'used' | 'unused' | 'unknown';
  readonly why: readonly string[];
}

const TOKEN_PATH = '/var/run/secrets/kubernetes.io/serviceaccount';

/** Components that call the API server, or hand the token on, whatever is on record (signatures of the inventory). */
const API_CLIENTS =
  /operator|controller|airflow|argo|kubeflow|katib|spark|ray|dask|prometheus|kube-state|metrics-server|ingress|istiod|gateway|cert-manager|vault|external-secrets|coredns|cilium|calico|knative|kserve|seldon|tekton|jupyter|notebook|flink|kueue|volcano|dashboard|descheduler|autoscaler|fluent|vector|promtail|otel/i;

/** Sidecars and agents that take the token of the pod. */
const TOKEN_ANNOTATIONS = [
  'vault.hashicorp.com/agent-inject',
  'bank.io/vault-addr',
  'vault.security.banzaicloud.io/vault-addr',
];

/** Containers that a webhook or a person put beside the program, and that log in with the token of the pod (hashicorp/vault-k8s, agent-inject). */
const TOKEN_AGENTS = /^vault-agent(?:-init)?$/;

/**
 * `unused` needs evidence: connections of the workload are on record and none of them goes to the API server, no volume and no setting names
 * the token, no component is known to use it, and no binding gives the account a right. Anything else is `used` or `unknown`, and the token
 * stays. Projected tokens with an audience of their own are not what `automountServiceAccountToken` is about.
 */
export function tokenUse(
  workload: Workload,
  specs: readonly JsonObject[],
  edges: readonly Edge[] | undefined,
  hasRights: boolean | undefined,
): TokenUse {
  const used: string[] = [];
  const unknown: string[] = [];
  if (hasRights === true) used.push('a binding gives its account rights');
  if (hasRights === undefined) unknown.push('bindings could not be read');
  const component = workload.classification.component;
  if (API_CLIENTS.test(component) || API_CLIENTS.test(workload.kind))
    used.push(`${component} is known to call the API server`);
  for (const podSet of workload.podSets) {
    const annotation = TOKEN_ANNOTATIONS.find((key) => podSet.annotations[key] !== undefined);
    if (annotation !== undefined) used.push(`the annotation ${annotation} hands the token to Vault`);
    const agent = podSet.containers.find(({ name }) => TOKEN_AGENTS.test(name));
    if (agent !== undefined) used.push(`its container ${agent.name} logs in with the token`);
  }
  if (specs.length === 0) unknown.push('its pod template was not read');
  for (const spec of specs) {
    if (asBoolean(spec['automountServiceAccountToken']) === true) used.push('its pod template asks for the token');
    for (const source of defaultTokenVolumes(spec)) used.push(`volume ${source} projects a token for the API server`);
    if (mentionsTokenPath(spec)) used.push(`a container names ${TOKEN_PATH}`);
  }
  const mine =
    edges === undefined ? [] : edgesAt(edges, 'src', workload.id).filter((edge) => edge.origin.kind === 'observed');
  if (mine.some((edge) => edge.dst.kind === 'api-server')) used.push('connections to the API server are on record');
  else if (mine.length === 0) unknown.push('no connection of it is on record');
  if (used.length > 0) return { answer: 'used', why: used };
  if (unknown.length > 0) return { answer: 'unknown', why: unknown };
  return {
    answer: 'unused',
    why: ['its connections are on record and none goes to the API server, and nothing in its pods names the token'],
  };
}

export interface ProjectedToken {
  readonly volume: string;
  /** Absent: the API server's own. */
  readonly audience?: string;
  /** Seconds; an hour where nothing is said (core/v1 ServiceAccountTokenProjection). */
  readonly lifetimeSec: number;
}

/** Tokens that the pod template projects by itself. */
export function projectedTokens(spec: JsonObject): readonly ProjectedToken[] {
  return asArray(spec['volumes']).flatMap((item) => {
    const volume = asObject(item);
    return asArray(asObject(volume['projected'])['sources']).flatMap((source): readonly ProjectedToken[] => {
      const token = asObject(source)['serviceAccountToken'];
      if (token === undefined || token === null) return [];
      const { audience, expirationSeconds } = asObject(token);
      return [
        {
          volume: asString(volume['name']) ?? '',
          ...(typeof audience === 'string' && audience !== '' ? { audience } : {}),
          lifetimeSec: typeof expirationSeconds === 'number' ? expirationSeconds : 3600,
        },
      ];
    });
  });
}

function defaultTokenVolumes(spec: JsonObject): readonly string[] {
  return projectedTokens(spec)
    .filter((token) => token.audience === undefined && !token.volume.startsWith('kube-api-access-'))
    .map((token) => token.volume);
}

function mentionsTokenPath(spec: JsonObject): boolean {
  return CONTAINER_FIELDS.flatMap((field) => asArray(spec[field]).map(asObject)).some((container) => {
    const texts = [
      ...asArray(container['args']),
      ...asArray(container['command']),
      ...asArray(container['env']).map((item) => asObject(item)['value'] ?? ''),
    ];
    return texts.some((text) => typeof text === 'string' && text.includes(TOKEN_PATH));
  });
}
