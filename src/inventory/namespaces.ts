import type { Json } from '../shared/pure/json.ts';
import { asArray, asObject, asString, getPath } from '../shared/pure/json.ts';
import type { MeshFacts, NamespaceInfo } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { namespaceOf } from '../model/object.ts';
import { cniAgents, istiodDeployments } from './facts.ts';
import type { ObjectIndex } from './object-index.ts';
import { metaAnnotations, metaLabels, namesOfNamespaces, objectsOf } from './object-index.ts';
import type { WorkloadDraft } from './workloads.ts';

const KUBERNETES: ReadonlySet<string> = new Set(['kube-system', 'kube-public', 'kube-node-lease']);

// Repository parts of what a cluster cannot do without, and what it is.
const PLATFORM_IMAGES: readonly (readonly [string, string])[] = [
  ['kyverno/kyverno', 'runs the policy engine Kyverno'],
  ['openpolicyagent/gatekeeper', 'runs the policy engine Gatekeeper'],
  ['jetstack/cert-manager-controller', 'runs cert-manager'],
  ['tigera/operator', 'runs the operator of the CNI'],
  ['istio/ztunnel', 'runs the mesh'],
  ['istio/install-cni', 'runs the mesh'],
];

/** Namespaces, declared or implied by an object, with the reason to leave one alone unless it is named. */
export function buildNamespaces(
  index: ObjectIndex,
  drafts: readonly WorkloadDraft[],
  mesh: MeshFacts,
): readonly NamespaceInfo[] {
  const reasons = systemReasons(index, drafts, mesh);
  return namesOfNamespaces(index).map((name) => {
    const manifest = index.byKey.get(`/Namespace//${name}`);
    const system = KUBERNETES.has(name) ? 'belongs to Kubernetes' : reasons.get(name);
    return {
      name,
      labels: manifest === undefined ? {} : metaLabels(manifest),
      annotations: manifest === undefined ? {} : metaAnnotations(manifest),
      ...(system === undefined ? {} : { system }),
      declared: manifest !== undefined,
    };
  });
}

function systemReasons(index: ObjectIndex, drafts: readonly WorkloadDraft[], mesh: MeshFacts): Map<string, string> {
  const reasons = new Map<string, string>();
  const say = (namespace: string | undefined, reason: string): void => {
    if (namespace !== undefined && !reasons.has(namespace)) reasons.set(namespace, reason);
  };
  for (const agent of cniAgents(index)) say(namespaceOf(agent.manifest), `runs the CNI (${agent.name})`);
  for (const istiod of istiodDeployments(index)) say(namespaceOf(istiod), 'runs the control plane of the mesh');
  if (mesh.kind === 'istio') say(mesh.rootNamespace, 'is the root namespace of the mesh');
  for (const draft of drafts) {
    for (const { set } of draft.podSets) {
      for (const { image } of set.containers) {
        const hit = PLATFORM_IMAGES.find(([part]) => image.includes(part));
        if (hit !== undefined) say(draft.namespace, hit[1]);
      }
    }
  }
  for (const { configuration, namespace } of webhookBackends(index)) {
    say(namespace, `hosts the admission webhook ${configuration.metadata.name}`);
  }
  for (const service of objectsOf(index, 'apiregistration.k8s.io', 'APIService')) {
    const namespace = asString(getPath(service, ['spec', 'service', 'namespace']));
    say(namespace, `hosts the API ${service.metadata.name}`);
  }
  return reasons;
}

export interface WebhookBackend {
  readonly configuration: KubeManifest;
  readonly webhook: string;
  readonly namespace: string;
  readonly service: string;
  readonly port: number;
}

/** Services that the API server calls for admission and conversion. */
export function webhookBackends(index: ObjectIndex): readonly WebhookBackend[] {
  const backends: WebhookBackend[] = [];
  const add = (configuration: KubeManifest, webhook: string, clientConfig: Json | undefined): void => {
    const service = asObject(asObject(clientConfig)['service']);
    const namespace = asString(service['namespace']);
    const name = asString(service['name']);
    if (namespace === undefined || name === undefined) return;
    const port = typeof service['port'] === 'number' ? service['port'] : 443;
    backends.push({ configuration, webhook, namespace, service: name, port });
  };
  for (const kind of ['ValidatingWebhookConfiguration', 'MutatingWebhookConfiguration']) {
    for (const configuration of objectsOf(index, 'admissionregistration.k8s.io', kind)) {
      for (const webhook of asArray(configuration['webhooks']).map(asObject)) {
        add(configuration, asString(webhook['name']) ?? '', webhook['clientConfig']);
      }
    }
  }
  for (const crd of objectsOf(index, 'apiextensions.k8s.io', 'CustomResourceDefinition')) {
    const conversion = getPath(crd, ['spec', 'conversion', 'webhook', 'clientConfig']);
    if (conversion !== undefined) add(crd, 'conversion', conversion);
  }
  return backends;
}
