import type { RolloutState } from './rollout.ts';
import { podSelector } from './rollout.ts';
import type { KubeManifest } from '../model/object.ts';
import { groupOf, namespaceOf } from '../model/object.ts';
import type { JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString, asStringMap } from '../shared/pure/json.ts';
import { plural } from '../shared/pure/text.ts';

/** How long an operator is given to replace pods: beyond that nobody can tell from here whether it ever will. */
export const OPERATOR_LIMIT_MS = 10 * 60_000;

/** Labels that operators put on the pods of an object, by `group/Kind`, each where it is written down. */
const LABELS: Readonly<Record<string, (name: string, namespace: string) => Readonly<Record<string, string>>>> = {
  // kserve/kserve pkg/constants InferenceServicePodLabelKey, InferenceGraphLabel
  'serving.kserve.io/InferenceService': (name) => ({ 'serving.kserve.io/inferenceservice': name }),
  'serving.kserve.io/InferenceGraph': (name) => ({ 'serving.kserve.io/inferencegraph': name }),
  // knative/serving pkg/apis/serving ServiceLabelKey
  'serving.knative.dev/Service': (name) => ({ 'serving.knative.dev/service': name }),
  // ray-project/kuberay ray-operator/controllers/ray/utils RayOriginatedFromCRNameLabelKey
  'ray.io/RayService': (name) => ({
    'ray.io/originated-from-cr-name': name,
    'ray.io/originated-from-crd': 'RayService',
  }),
  // SeldonIO/seldon-core operator machinelearning.seldon.io/v1 Label_seldon_id
  'machinelearning.seldon.io/SeldonDeployment': (name) => ({ 'seldon-deployment-id': name }),
  // kubernetes-sigs/lws api/leaderworkerset/v1 SetNameLabelKey
  'leaderworkerset.x-k8s.io/LeaderWorkerSet': (name) => ({ 'leaderworkerset.sigs.k8s.io/name': name }),
  // kubeflow/kubeflow components/notebook-controller
  'kubeflow.org/Notebook': (name) => ({ 'notebook-name': name }),
  // prometheus-operator pkg/prometheus labels of pods
  'monitoring.coreos.com/Prometheus': (name) => ({ 'operator.prometheus.io/name': name }),
  // open-telemetry/opentelemetry-operator internal/manifests/manifestutils SelectorLabels
  'opentelemetry.io/OpenTelemetryCollector': (name, namespace) => ({
    'app.kubernetes.io/managed-by': 'opentelemetry-operator',
    'app.kubernetes.io/instance': `${namespace}.${name}`,
  }),
  // openshift apps/v1 DeploymentConfigLabel
  'apps.openshift.io/DeploymentConfig': (name) => ({ deploymentconfig: name }),
};

/** The pods of a custom owner as a query's `labelSelector`; undefined where its operator's labels are not known. */
export function operatorPods(owner: KubeManifest): string | undefined {
  const group = groupOf(owner.apiVersion);
  // argoproj/argo-rollouts: as a Deployment.
  if (group === 'argoproj.io' && owner.kind === 'Rollout') return podSelector(owner);
  const labels = LABELS[`${group}/${owner.kind}`]?.(owner.metadata.name, namespaceOf(owner) ?? '');
  return labels === undefined
    ? undefined
    : Object.entries(labels)
        .map(([key, value]) => `${key}=${value}`)
        .join(',');
}

/**
 * Has the operator replaced the pods that ran as the first account by pods of the second that are ready? Pods that have finished, and those of
 * other accounts, are not asked about. None at all is an owner that is scaled to nothing: the next pod has the account.
 */
export function checkAccounts(pods: JsonObject, from: string, to: string): RolloutState {
  const standing = asArray(pods['items'])
    .map(asObject)
    .filter((pod) => !['Succeeded', 'Failed'].includes(asString(asObject(pod['status'])['phase']) ?? ''));
  const runsAs = (pod: JsonObject): string => asString(asObject(pod['spec'])['serviceAccountName']) ?? 'default';
  const old = standing.filter((pod) => runsAs(pod) === from);
  const fresh = standing.filter((pod) => runsAs(pod) === to);
  if (old.length > 0)
    return { state: 'waiting', message: `${plural(old.length, 'pod')} still run as ${from}, ${fresh.length} as ${to}` };
  const ready = fresh.filter(isReady);
  if (ready.length < fresh.length)
    return { state: 'waiting', message: `${ready.length} of ${plural(fresh.length, 'pod')} as ${to} are ready` };
  return {
    state: 'ready',
    message:
      fresh.length === 0
        ? `no pod of it runs now; the next ones run as ${to}`
        : `${plural(fresh.length, 'pod')} run as ${to}`,
  };
}

function isReady(pod: JsonObject): boolean {
  return asArray(asObject(pod['status'])['conditions']).some((item) => {
    const { type, status } = asStringMap(item);
    return type === 'Ready' && status === 'True';
  });
}
