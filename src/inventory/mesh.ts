import type { Labels, MeshFacts, MeshMembership } from '../model/inventory.ts';

/** Namespaces that Istio's injector leaves alone whatever their labels say (istio/istio pkg/kube/inject, IgnoredNamespaces). */
const NEVER_INJECTED: ReadonlySet<string> = new Set([
  'kube-system',
  'kube-public',
  'kube-node-lease',
  'local-path-storage',
]);

const YES: ReadonlySet<string> = new Set(['y', 'yes', 'true', 'on']);

/**
 * What a new pod will be in the mesh, by the selectors of Istio's injection webhooks and the injector's own rules
 * (istio/istio pkg/kube/inject). `mesh` is a fact or a declaration of the configuration; a revision that cannot be told to
 * be served makes the answer `unknown`.
 */
export function predictMembership(
  namespaceLabels: Labels,
  podLabels: Labels,
  podAnnotations: Labels,
  hostNetwork: boolean,
  namespaceName: string,
  mesh: MeshFacts,
): MeshMembership {
  if (mesh.kind === 'none' || hostNetwork) return 'none';
  const sidecar = willInject(namespaceLabels, podLabels, podAnnotations, namespaceName, mesh);
  const answer = sidecar === 'no' ? willCapture(namespaceLabels, podLabels, mesh) : sidecar;
  if (answer === 'no') return 'none';
  // Labels ask for a mesh of which no control plane and no webhook was seen.
  const unseen = mesh.kind === 'unknown' || (mesh.mode === 'unknown' && mesh.revisions === undefined);
  return unseen ? 'unknown' : answer;
}

function willInject(
  namespaceLabels: Labels,
  podLabels: Labels,
  podAnnotations: Labels,
  namespaceName: string,
  mesh: MeshFacts,
): 'sidecar' | 'unknown' | 'no' {
  if (NEVER_INJECTED.has(namespaceName)) return 'no';
  const podInject = podLabels['sidecar.istio.io/inject'];
  if (podInject === 'false') return 'no';
  const revision = selectedRevision(namespaceLabels, podLabels);
  if (revision === undefined) return 'no';
  // The label is asked first; the annotation of older releases only where there is no label.
  const asked = (podInject ?? podAnnotations['sidecar.istio.io/inject'] ?? '').toLowerCase();
  if (asked !== '' && !YES.has(asked)) return 'no';
  return serves(mesh, revision);
}

/** The revision whose webhook takes the pod; undefined where none does. `default` is the one without a name. */
function selectedRevision(namespaceLabels: Labels, podLabels: Labels): string | undefined {
  const injection = namespaceLabels['istio-injection'];
  // Any other value than enabled shuts out every webhook, those that go by pod labels too.
  if (injection !== undefined) return injection === 'enabled' ? 'default' : undefined;
  const namespaceRevision = namespaceLabels['istio.io/rev'];
  if (namespaceRevision !== undefined) return namespaceRevision;
  const podRevision = podLabels['istio.io/rev'];
  if (podRevision !== undefined) return podRevision;
  return podLabels['sidecar.istio.io/inject'] === 'true' ? 'default' : undefined;
}

function serves(mesh: MeshFacts, revision: string): 'sidecar' | 'unknown' | 'no' {
  if (mesh.revisions !== undefined && mesh.revisions.length > 0) {
    return mesh.revisions.includes(revision) ? 'sidecar' : 'no';
  }
  return revision === (mesh.revision ?? 'default') ? 'sidecar' : 'unknown';
}

function willCapture(namespaceLabels: Labels, podLabels: Labels, mesh: MeshFacts): 'ambient' | 'unknown' | 'no' {
  const mode = podLabels['istio.io/dataplane-mode'] ?? namespaceLabels['istio.io/dataplane-mode'];
  if (mode !== 'ambient') return 'no';
  if (mesh.mode === 'ambient') return 'ambient';
  return mesh.mode === 'unknown' ? 'unknown' : 'no';
}
