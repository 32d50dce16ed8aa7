import type { BindingWay } from '../model/cloud-identity.ts';
import { AZURE_LABEL, GKE_METADATA_LABEL, cloudKeysIn } from '../model/cloud-identity.ts';
import type { Gate } from '../model/finding.ts';
import type { Workload } from '../model/inventory.ts';
import { podSpecsOf } from '../model/account-places.ts';
import type { KubeManifest } from '../model/object.ts';
import { formatRef, isObject, labelsOf, namespaceOf, refOf } from '../model/object.ts';
import { matchSelector, parseSelector } from '../model/selector.ts';
import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString, asStringMap, getPath } from '../shared/pure/json.ts';
import { uniqueSorted } from '../shared/pure/order.ts';
import { gate } from './view.ts';

/** Before a key goes: does the cluster show that the pods are given something in its place? */
export const TOKEN_GATE = 'cloud-token';

interface Seen {
  readonly answer: 'yes' | 'unknown';
  readonly fact: string;
}

/** The audience of the token, and the variable by which the libraries of the cloud find it, as each webhook writes them. */
const TOKENS: Readonly<Partial<Record<BindingWay, { readonly audience: string; readonly variable: string }>>> = {
  irsa: { audience: 'sts.amazonaws.com', variable: 'AWS_WEB_IDENTITY_TOKEN_FILE' },
  'eks-pod-identity': { audience: 'pods.eks.amazonaws.com', variable: 'AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE' },
  'azure-workload-identity': { audience: 'api://AzureADTokenExchange', variable: 'AZURE_FEDERATED_TOKEN_FILE' },
};

/** Names of the webhooks: aws/amazon-eks-pod-identity-webhook (in managed control planes too), Azure/azure-workload-identity. */
const WEBHOOKS: Readonly<Partial<Record<BindingWay, string>>> = {
  irsa: 'pod-identity-webhook',
  'azure-workload-identity': 'azure-wi-webhook-mutating-webhook-configuration',
};
const AGENT = 'eks-pod-identity-agent';

/**
 * Whether new pods of a workload are given a token of the cloud, by what was read: a token in the template, the webhook, the agent, or the
 * metadata server on each node. Never a no: what was not read may be there all the same, and a person may say so.
 *
 * @param owner As it stands before the key goes, with what is written beside it.
 */
export function tokenGate(
  workload: Workload,
  way: BindingWay,
  owner: KubeManifest | undefined,
  objects: readonly KubeManifest[],
): Gate {
  const { answer, fact } = tokenSeen(workload, way, owner, objects);
  return gate(
    TOKEN_GATE,
    answer,
    workload.id,
    [fact],
    `the key stays until this shows (--keep-key stops there); or say that new pods are given a token: sallyport waive gate=${TOKEN_GATE},subject=${workload.id} --reason "..."`,
  );
}

function tokenSeen(
  workload: Workload,
  way: BindingWay,
  owner: KubeManifest | undefined,
  objects: readonly KubeManifest[],
): Seen {
  const specs = owner === undefined ? [] : podSpecsOf(owner).map(({ spec }) => spec);
  const token = TOKENS[way];
  if (token !== undefined && specs.length > 0) {
    const given = specs.every((spec) => hasToken(spec, workload.namespace, token.audience, token.variable));
    if (given) return { answer: 'yes', fact: `its template has a token for ${token.audience} itself` };
  }
  switch (way) {
    case 'irsa':
    case 'azure-workload-identity':
      return byWebhook(WEBHOOKS[way] ?? '', workload, way, objects);
    case 'eks-pod-identity':
      return byAgent(objects);
    case 'gke-annotation':
    case 'gke-principal':
      return byMetadataServer(specs, objects);
    case 'kube2iam':
      return { answer: 'unknown', fact: 'whether kube2iam answers for its pods cannot be seen from here' };
  }
}

/** Each container that holds a key has the token mounted, and the variable that names it. */
function hasToken(spec: JsonObject, namespace: string, audience: string, variable: string): boolean {
  const volumes = new Set(
    asArray(spec['volumes'])
      .map(asObject)
      .filter((volume) =>
        asArray(getPath(volume, ['projected', 'sources'])).some(
          (source) => asString(getPath(asObject(source), ['serviceAccountToken', 'audience'])) === audience,
        ),
      )
      .map((volume) => asString(volume['name'])),
  );
  const containers = [...asArray(spec['containers']), ...asArray(spec['initContainers'])].map(asObject);
  const holders = containers.filter((one) =>
    cloudKeysIn({ ...spec, containers: [one], initContainers: [], ephemeralContainers: [] }, namespace).some(
      ({ cloud }) => cloud !== 'unknown',
    ),
  );
  return (
    holders.length > 0 &&
    holders.every(
      (one) =>
        asArray(one['volumeMounts']).some((mount) => volumes.has(asString(asObject(mount)['name']))) &&
        asArray(one['env']).some((item) => asObject(item)['name'] === variable),
    )
  );
}

function byWebhook(name: string, workload: Workload, way: BindingWay, objects: readonly KubeManifest[]): Seen {
  const found = objects.find(
    (object) =>
      isObject(object, 'admissionregistration.k8s.io', 'MutatingWebhookConfiguration') && object.metadata.name === name,
  );
  if (found === undefined)
    return {
      answer: 'unknown',
      fact: `MutatingWebhookConfiguration ${name} was not read, and the template has no token: nothing shows that new pods are given one`,
    };
  const namespace = objects.find(
    (object) => isObject(object, '', 'Namespace') && object.metadata.name === workload.namespace,
  );
  const ours = namespace === undefined ? {} : labelsOf(namespace);
  // The label is written in the same plan, before the key goes.
  const pods = workload.podSets.map(({ labels }) =>
    way === 'azure-workload-identity' ? { ...labels, [AZURE_LABEL]: 'true' } : labels,
  );
  const acts = asArray(found['webhooks'])
    .map(asObject)
    .some(
      (webhook) =>
        asArray(webhook['matchConditions']).length === 0 &&
        asArray(webhook['rules']).map(asObject).some(createsPods) &&
        selects(webhook['namespaceSelector'], ours) &&
        pods.every((labels) => selects(webhook['objectSelector'], labels)),
    );
  return acts
    ? { answer: 'yes', fact: `${formatRef(refOf(found))} gives new pods a token` }
    : { answer: 'unknown', fact: `${formatRef(refOf(found))} does not show that it acts on pods of ${workload.id}` };
}

function createsPods(rule: JsonObject): boolean {
  const has = (field: string, ...wanted: readonly string[]): boolean =>
    asArray(rule[field]).some((value) => wanted.includes(asString(value) ?? ''));
  return has('operations', 'CREATE', '*') && has('resources', 'pods', '*', '*/*') && has('apiGroups', '', '*');
}

function selects(value: Json | undefined, labels: Readonly<Record<string, string>>): boolean {
  const { selector, problems } = parseSelector(value, 'selector');
  return problems.length === 0 && matchSelector(selector, labels);
}

/** docs.aws.amazon.com/eks/latest/userguide/pod-id-agent-setup: the agent is a DaemonSet of kube-system. */
function byAgent(objects: readonly KubeManifest[]): Seen {
  const agent = objects.find(
    (object) =>
      isObject(object, 'apps', 'DaemonSet') && namespaceOf(object) === 'kube-system' && object.metadata.name === AGENT,
  );
  if (agent === undefined)
    return { answer: 'unknown', fact: `DaemonSet kube-system/${AGENT} was not read: nothing shows that it answers` };
  const ready = getPath(agent, ['status', 'numberReady']);
  const wanted = getPath(agent, ['status', 'desiredNumberScheduled']);
  if (typeof wanted === 'number' && (typeof ready !== 'number' || ready < wanted))
    return { answer: 'unknown', fact: `${formatRef(refOf(agent))} is not ready on each of its nodes` };
  return { answer: 'yes', fact: `${formatRef(refOf(agent))} answers on the nodes` };
}

/** Pools of GKE have the metadata server each by itself: all nodes that a `nodeSelector` leaves must have it. Other rules of scheduling are not used. */
function byMetadataServer(specs: readonly JsonObject[], objects: readonly KubeManifest[]): Seen {
  if (specs.length === 0) return { answer: 'unknown', fact: 'on which nodes its pods run is not known' };
  // cloud.google.com, "About Workload Identity Federation for GKE": pods in the network of their node reach the server of Compute Engine.
  if (specs.some((spec) => spec['hostNetwork'] === true))
    return {
      answer: 'unknown',
      fact: 'its pods are in the network of their node, where the GKE metadata server is not',
    };
  const nodes = objects.filter((object) => isObject(object, '', 'Node'));
  const may = nodes.filter((node) =>
    specs.some((spec) =>
      Object.entries(asStringMap(asObject(spec['nodeSelector']))).every(
        ([key, value]) => labelsOf(node)[key] === value,
      ),
    ),
  );
  if (may.length === 0) return { answer: 'unknown', fact: 'no node was read that its pods may run on' };
  const without = uniqueSorted(
    may.filter((node) => labelsOf(node)[GKE_METADATA_LABEL] !== 'true').map((node) => node.metadata.name),
  );
  if (without.length === 0)
    return {
      answer: 'yes',
      fact: `the GKE metadata server runs on each node that its pods may run on (${may.length})`,
    };
  const more = without.length > 3 ? ` and ${without.length - 3} more` : '';
  return {
    answer: 'unknown',
    fact: `its pods may run on nodes without the GKE metadata server: ${without.slice(0, 3).join(', ')}${more}`,
  };
}
