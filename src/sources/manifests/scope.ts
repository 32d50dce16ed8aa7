import type { KubeManifest } from '../../model/object.ts';
import { groupOf } from '../../model/object.ts';
import { asObject, asString } from '../../shared/pure/json.ts';

// Scope is a property of the API, not of the object: built-in kinds as `kubectl api-resources --namespaced=false` lists them,
// and cluster-scoped kinds of projects whose CRDs are seldom kept beside the manifests.
const CLUSTER_SCOPED: Readonly<Record<string, readonly string[]>> = {
  '': ['Namespace', 'Node', 'PersistentVolume', 'ComponentStatus'],
  'admissionregistration.k8s.io': [
    'MutatingWebhookConfiguration',
    'ValidatingWebhookConfiguration',
    'ValidatingAdmissionPolicy',
    'ValidatingAdmissionPolicyBinding',
    'MutatingAdmissionPolicy',
    'MutatingAdmissionPolicyBinding',
  ],
  'apiextensions.k8s.io': ['CustomResourceDefinition'],
  'apiregistration.k8s.io': ['APIService'],
  'authentication.k8s.io': ['TokenReview', 'SelfSubjectReview'],
  'authorization.k8s.io': ['SelfSubjectAccessReview', 'SelfSubjectRulesReview', 'SubjectAccessReview'],
  'certificates.k8s.io': ['CertificateSigningRequest', 'ClusterTrustBundle'],
  'flowcontrol.apiserver.k8s.io': ['FlowSchema', 'PriorityLevelConfiguration'],
  'networking.k8s.io': ['IngressClass', 'IPAddress', 'ServiceCIDR'],
  'node.k8s.io': ['RuntimeClass'],
  policy: ['PodSecurityPolicy'],
  'rbac.authorization.k8s.io': ['ClusterRole', 'ClusterRoleBinding'],
  'resource.k8s.io': ['DeviceClass', 'ResourceSlice'],
  'scheduling.k8s.io': ['PriorityClass'],
  'storage.k8s.io': ['CSIDriver', 'CSINode', 'StorageClass', 'VolumeAttachment', 'VolumeAttributesClass'],
  'policy.networking.k8s.io': ['AdminNetworkPolicy', 'BaselineAdminNetworkPolicy', 'ClusterNetworkPolicy'],
  'gateway.networking.k8s.io': ['GatewayClass'],
  'cilium.io': ['CiliumClusterwideNetworkPolicy', 'CiliumIdentity', 'CiliumNode', 'CiliumLoadBalancerIPPool'],
  'crd.projectcalico.org': ['GlobalNetworkPolicy', 'GlobalNetworkSet', 'IPPool', 'FelixConfiguration', 'Tier'],
  'projectcalico.org': ['GlobalNetworkPolicy', 'GlobalNetworkSet', 'IPPool', 'FelixConfiguration', 'Tier'],
  'operator.tigera.io': ['Installation', 'APIServer'],
  'argoproj.io': ['ClusterWorkflowTemplate'],
  'cert-manager.io': ['ClusterIssuer'],
  'karpenter.sh': ['NodePool', 'NodeClaim'],
  'kubeflow.org': ['Profile'],
  'kueue.x-k8s.io': ['AdmissionCheck', 'ClusterQueue', 'Cohort', 'ResourceFlavor', 'Topology', 'WorkloadPriorityClass'],
  'kyverno.io': ['ClusterPolicy', 'ClusterCleanupPolicy'],
  'scheduling.volcano.sh': ['Queue'],
  'serving.kserve.io': ['ClusterServingRuntime', 'ClusterStorageContainer', 'LocalModelCache', 'LocalModelNodeGroup'],
  'trainer.kubeflow.org': ['ClusterTrainingRuntime'],
  'external-secrets.io': ['ClusterSecretStore', 'ClusterExternalSecret'],
};

export type Scope = 'Namespaced' | 'Cluster';
export type ScopeOf = (apiVersion: string, kind: string) => Scope;

/** Tells the scope of a kind: CRDs among the objects first, then what is known, else namespaced. */
export function buildScopes(objects: Iterable<KubeManifest>): ScopeOf {
  const declared = new Map<string, Scope>();
  for (const object of objects) {
    if (object.kind !== 'CustomResourceDefinition') continue;
    const spec = asObject(object['spec']);
    const kind = asString(asObject(spec['names'])['kind']);
    const group = asString(spec['group']);
    const scope = spec['scope'];
    if (kind !== undefined && group !== undefined && (scope === 'Cluster' || scope === 'Namespaced'))
      declared.set(`${group}/${kind}`, scope);
  }
  return (apiVersion, kind) => {
    const group = groupOf(apiVersion);
    const known = Object.hasOwn(CLUSTER_SCOPED, group) && CLUSTER_SCOPED[group]?.includes(kind) === true;
    return declared.get(`${group}/${kind}`) ?? (known ? 'Cluster' : 'Namespaced');
  };
}
