/** Which kinds a snapshot reads: data, one line per group. Versions are whatever the server prefers. */
export interface GroupSpec {
  readonly group: string;
  /** Kinds of the group, or all that can be listed. */
  readonly kinds: readonly string[] | 'all';
  /**
   * `required`: without them there is no inventory, so not being allowed to list them is a failure. `optional`: the facts
   * that depend on them become unknown.
   */
  readonly need: 'required' | 'optional';
  /** Only metadata is fetched: the rest is large and not used. */
  readonly metadataOnly?: boolean;
  /** Groups that serve the same objects; this one is read only where none of those is served. */
  readonly unless?: string;
}

/** Secrets are on no line, and no line can name them: see `readKubeSnapshot`. */
export const SNAPSHOT_GROUPS: readonly GroupSpec[] = [
  { group: '', kinds: ['Namespace', 'Pod', 'Service', 'ServiceAccount'], need: 'required' },
  { group: '', kinds: ['Node'], need: 'optional' },
  { group: 'discovery.k8s.io', kinds: ['EndpointSlice'], need: 'required' },
  { group: 'apps', kinds: ['Deployment', 'StatefulSet', 'DaemonSet'], need: 'required' },
  // Links in owner chains; one without an owner is read in full afterwards.
  { group: 'apps', kinds: ['ReplicaSet'], need: 'required', metadataOnly: true },
  { group: 'batch', kinds: ['Job', 'CronJob'], need: 'required' },
  { group: 'networking.k8s.io', kinds: ['NetworkPolicy'], need: 'required' },
  { group: 'networking.k8s.io', kinds: ['Ingress'], need: 'optional' },
  {
    group: 'rbac.authorization.k8s.io',
    kinds: ['Role', 'RoleBinding', 'ClusterRole', 'ClusterRoleBinding'],
    need: 'optional',
  },
  // What trusts a service account by its name, beside RBAC.
  { group: 'security.openshift.io', kinds: ['SecurityContextConstraints'], need: 'optional' },
  { group: 'secrets.hashicorp.com', kinds: ['VaultAuth'], need: 'optional' },
  { group: 'external-secrets.io', kinds: ['SecretStore', 'ClusterSecretStore'], need: 'optional' },
  { group: 'eks.services.k8s.aws', kinds: ['PodIdentityAssociation'], need: 'optional' },
  { group: 'iam.services.k8s.aws', kinds: ['Role'], need: 'optional' },
  { group: 'iam.cnrm.cloud.google.com', kinds: ['IAMPolicyMember', 'IAMPartialPolicy'], need: 'optional' },
  { group: 'managedidentity.azure.com', kinds: ['FederatedIdentityCredential'], need: 'optional' },
  { group: 'policy', kinds: ['PodDisruptionBudget'], need: 'optional' },
  {
    group: 'admissionregistration.k8s.io',
    kinds: ['MutatingWebhookConfiguration', 'ValidatingWebhookConfiguration'],
    need: 'optional',
  },
  { group: 'apiregistration.k8s.io', kinds: ['APIService'], need: 'optional' },
  { group: 'apiextensions.k8s.io', kinds: ['CustomResourceDefinition'], need: 'optional', metadataOnly: true },

  // Policies and what acts on connections.
  { group: 'policy.networking.k8s.io', kinds: 'all', need: 'optional' },
  { group: 'security.istio.io', kinds: 'all', need: 'optional' },
  { group: 'networking.istio.io', kinds: 'all', need: 'optional' },
  { group: 'extensions.istio.io', kinds: ['WasmPlugin'], need: 'optional' },
  { group: 'gateway.networking.k8s.io', kinds: 'all', need: 'optional' },
  {
    group: 'cilium.io',
    // Not its endpoints and identities, of which there is one per pod.
    kinds: [
      'CiliumNetworkPolicy',
      'CiliumClusterwideNetworkPolicy',
      'CiliumCIDRGroup',
      'CiliumEgressGatewayPolicy',
      'CiliumLocalRedirectPolicy',
      'CiliumEnvoyConfig',
      'CiliumClusterwideEnvoyConfig',
    ],
    need: 'optional',
  },
  { group: 'projectcalico.org', kinds: calicoKinds(), need: 'optional' },
  { group: 'crd.projectcalico.org', kinds: calicoKinds(), need: 'optional', unless: 'projectcalico.org' },
  { group: 'operator.tigera.io', kinds: ['Installation'], need: 'optional' },
  {
    group: 'crd.antrea.io',
    kinds: ['ClusterNetworkPolicy', 'NetworkPolicy', 'Tier', 'ClusterGroup', 'Group'],
    need: 'optional',
  },
  { group: 'k8s.ovn.org', kinds: ['EgressFirewall', 'AdminPolicyBasedExternalRoute'], need: 'optional' },
  { group: 'policy.linkerd.io', kinds: 'all', need: 'optional' },
  // What speaks of an account by its name.
  { group: 'kyverno.io', kinds: ['ClusterPolicy', 'Policy'], need: 'optional' },
  { group: 'config.openshift.io', kinds: ['Network'], need: 'optional' },
  { group: 'route.openshift.io', kinds: ['Route'], need: 'optional' },

  // Owners of pods and pieces of ML pipelines.
  { group: 'kubeflow.org', kinds: 'all', need: 'optional' },
  { group: 'trainer.kubeflow.org', kinds: 'all', need: 'optional' },
  { group: 'ray.io', kinds: 'all', need: 'optional' },
  { group: 'serving.kserve.io', kinds: 'all', need: 'optional' },
  { group: 'serving.knative.dev', kinds: ['Service'], need: 'optional' },
  { group: 'sparkoperator.k8s.io', kinds: 'all', need: 'optional' },
  {
    group: 'argoproj.io',
    kinds: ['Workflow', 'CronWorkflow', 'WorkflowTemplate', 'ClusterWorkflowTemplate', 'Rollout'],
    need: 'optional',
  },
  // What Argo CD and Flux manage: who would take an edit back, or prune.
  { group: 'argoproj.io', kinds: ['Application'], need: 'optional' },
  { group: 'kustomize.toolkit.fluxcd.io', kinds: ['Kustomization'], need: 'optional' },
  // Which repository they apply, and whether they have: what a commit waits for.
  { group: 'helm.toolkit.fluxcd.io', kinds: ['HelmRelease'], need: 'optional' },
  { group: 'source.toolkit.fluxcd.io', kinds: ['GitRepository'], need: 'optional' },
  { group: 'batch.volcano.sh', kinds: ['Job'], need: 'optional' },
  { group: 'jobset.x-k8s.io', kinds: ['JobSet'], need: 'optional' },
  { group: 'leaderworkerset.x-k8s.io', kinds: ['LeaderWorkerSet'], need: 'optional' },
  { group: 'monitoring.coreos.com', kinds: ['ServiceMonitor', 'PodMonitor', 'Probe', 'Prometheus'], need: 'optional' },
  { group: 'feast.dev', kinds: 'all', need: 'optional' },
  { group: 'machinelearning.seldon.io', kinds: 'all', need: 'optional' },
  { group: 'mlops.seldon.io', kinds: 'all', need: 'optional' },
  {
    group: 'kafka.strimzi.io',
    kinds: ['Kafka', 'KafkaNodePool', 'KafkaConnect', 'KafkaMirrorMaker2', 'KafkaBridge', 'StrimziPodSet'],
    need: 'optional',
  },
  // The rest of Strimzi's groups: its pod sets own the brokers' pods.
  { group: 'core.strimzi.io', kinds: ['StrimziPodSet'], need: 'optional' },
  {
    group: 'apps.kruise.io',
    kinds: ['CloneSet', 'StatefulSet', 'DaemonSet', 'AdvancedCronJob', 'BroadcastJob'],
    need: 'optional',
  },
  { group: 'flink.apache.org', kinds: ['FlinkDeployment', 'FlinkSessionJob'], need: 'optional' },
  { group: 'minio.min.io', kinds: ['Tenant'], need: 'optional' },
  { group: 'postgresql.cnpg.io', kinds: ['Cluster'], need: 'optional' },
];

function calicoKinds(): readonly string[] {
  return [
    'NetworkPolicy',
    'GlobalNetworkPolicy',
    'StagedNetworkPolicy',
    'StagedGlobalNetworkPolicy',
    'StagedKubernetesNetworkPolicy',
    'NetworkSet',
    'GlobalNetworkSet',
    'HostEndpoint',
    'Tier',
    'FelixConfiguration',
  ];
}

/** ConfigMaps read by name, for what they say of the network, the mesh and the cluster. None of them holds credentials. */
export const SNAPSHOT_CONFIG_MAPS: readonly { readonly namespace: string; readonly name: string }[] = [
  { namespace: 'kube-system', name: 'cilium-config' },
  { namespace: 'kube-system', name: 'calico-config' },
  { namespace: 'kube-system', name: 'canal-config' },
  { namespace: 'kube-system', name: 'kubeadm-config' },
  { namespace: 'kube-system', name: 'antrea-config' },
  { namespace: 'kube-system', name: 'amazon-vpc-cni' },
  { namespace: 'kube-flannel', name: 'kube-flannel-cfg' },
  { namespace: 'istio-system', name: 'istio' },
];

/** Where ways back are kept in the cluster, by names that a role can list. */
export const UNDO_NAMESPACE = 'kube-system';
export const UNDO_CONFIG_MAPS: readonly string[] = Array.from(
  { length: 16 },
  (_, digit) => `sallyport-undo-${digit.toString(16)}`,
);
