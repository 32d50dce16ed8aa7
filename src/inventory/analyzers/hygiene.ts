import { plural } from '../../shared/pure/text.ts';
import { compareText, sortBy, uniqueSorted } from '../../shared/pure/order.ts';
import type { Labels, ServiceInfo } from '../../model/inventory.ts';
import type { Finding } from '../../model/finding.ts';
import { formatRef, namespaceOf, refOf } from '../../model/object.ts';
import { isDurableLabel } from '../../model/durable-labels.ts';
import { renderedByHelm } from '../manager.ts';
import { ownerKind } from '../owners.ts';
import { isBesidePolicy, isPolicyKind, policiesOf } from '../policies.ts';
import type { WorkloadDraft } from '../workloads.ts';
import type { AnalyzerContext } from './context.ts';
import { finding } from './context.ts';
import { placeOf } from './policies.ts';

/** What a person should know of workloads, Services, policies and unknown objects before a migration. */
export function analyzeHygiene(context: AnalyzerContext): readonly Finding[] {
  return [
    ...workloadFindings(context),
    ...accountFindings(context),
    ...labelFindings(context),
    ...context.services.flatMap((service) => serviceFindings(service)),
    ...namespaceFindings(context),
    ...unknownKinds(context),
    ...helmFindings(context),
  ];
}

function workloadFindings(context: AnalyzerContext): readonly Finding[] {
  const drafts = new Map(context.drafts.map((draft) => [draft.id, draft]));
  return context.workloads.flatMap((workload) => {
    const found: Finding[] = [];
    const draft = drafts.get(workload.id);
    if (workload.classification.component === 'unknown') {
      found.push(finding('SP305', 'info', workload.id, `${workload.id} is not recognised`));
    }
    if (workload.podSets.length === 0) {
      found.push(finding('SP324', 'info', workload.id, `the pods of ${workload.id} cannot be foreseen`));
    }
    if (workload.podSets.some((set) => set.hostNetwork)) {
      found.push(finding('SP312', 'warning', workload.id, `${workload.id} uses the host network`));
    }
    if (draft?.privileged === true) {
      found.push(finding('SP313', 'info', workload.id, `${workload.id} has a privileged container`));
    }
    return found;
  });
}

function accountFindings(context: AnalyzerContext): readonly Finding[] {
  const users = new Map<string, Set<string>>();
  const onDefault = new Map<string, string[]>();
  for (const workload of context.workloads) {
    const accounts = new Set(workload.podSets.map((set) => set.serviceAccount));
    for (const account of accounts) {
      if (account === 'default') {
        onDefault.set(workload.namespace, [...(onDefault.get(workload.namespace) ?? []), workload.id]);
        continue;
      }
      const key = `${workload.namespace}/${account}`;
      const list = users.get(key);
      if (list === undefined) users.set(key, new Set([workload.id]));
      else list.add(workload.id);
    }
  }
  return [
    ...[...onDefault.values()].flatMap((ids) =>
      ids.map((id) => finding('SP307', 'info', id, `${id} runs as the default service account`)),
    ),
    ...[...users].flatMap(([key, ids]) => {
      if (ids.size < 2) return [];
      const shown = uniqueSorted(ids);
      const text = `service account ${key} is shared by ${plural(shown.length, 'workload')}: ${listOf(shown)}`;
      return [finding('SP308', 'info', key, text)];
    }),
  ];
}

function listOf(names: readonly string[]): string {
  const shown = names.slice(0, 5).join(', ');
  return names.length > 5 ? `${shown} and ${names.length - 5} more` : shown;
}

/** PodSets whose lasting labels another workload carries too, or that have none. */
function labelFindings(context: AnalyzerContext): readonly Finding[] {
  return context.drafts.flatMap((draft) => {
    const sets = draft.podSets.filter(({ set }) => !set.hostNetwork);
    const shared = sets.flatMap(({ set }): readonly string[] => {
      const labels = onlyDurable(set.labels, draft);
      const role = set.role === '' ? '' : ` (${set.role})`;
      if (Object.keys(labels).length === 0) return [`${draft.id}${role} has no label that survives a run`];
      const other = context.labels.select(draft.namespace, labels).find((member) => member.draft.id !== draft.id);
      return other === undefined ? [] : [`${draft.id}${role} has no label that ${other.draft.id} lacks`];
    });
    const [first] = shared;
    return first === undefined ? [] : [finding('SP317', 'warning', draft.id, first)];
  });
}

function onlyDurable(labels: Labels, draft: WorkloadDraft): Labels {
  return Object.fromEntries(Object.entries(labels).filter(([key]) => isDurableLabel(key, draft.kind)));
}

function serviceFindings(service: ServiceInfo): readonly Finding[] {
  const subject = `${service.namespace}/Service/${service.name}`;
  const found: Finding[] = [];
  if (service.selector !== undefined && service.workloads.length === 0 && service.type !== 'ExternalName') {
    found.push(finding('SP310', 'warning', subject, `Service ${service.namespace}/${service.name} selects nothing`));
  }
  if (service.type === 'NodePort' || service.type === 'LoadBalancer') {
    const ports = service.ports.map((port) => port.nodePort ?? port.port).join(', ');
    const text = `Service ${service.namespace}/${service.name} is open to the outside as ${service.type} (${ports})`;
    found.push(finding('SP314', 'info', subject, text));
  }
  return found;
}

/** Namespaces without an object, and policies in those that nothing else is in. */
export function namespaceFindings(
  context: Pick<AnalyzerContext, 'index' | 'namespaces' | 'drafts'>,
): readonly Finding[] {
  const undeclared = new Set(context.namespaces.filter((item) => !item.declared).map((item) => item.name));
  // In a live cluster a namespace without an object is a namespace that may not be read: SP301 says so.
  const directory = context.index.snapshot.source === 'directory';
  if (undeclared.size === 0 || !directory) return [];
  const inhabited = new Set(context.drafts.map((draft) => draft.namespace));
  const found = [...undeclared]
    .sort(compareText)
    .flatMap((name) =>
      inhabited.has(name) ? [finding('SP328', 'info', name, `namespace ${name} has no Namespace object`)] : [],
    );
  for (const manifest of policiesOf(context.index)) {
    const namespace = namespaceOf(manifest);
    if (namespace === undefined || !undeclared.has(namespace) || inhabited.has(namespace)) continue;
    const by = formatRef(refOf(manifest));
    const where = placeOf(manifest, context.index.snapshot.origins);
    found.push({
      ...finding('SP309', 'warning', by, `${by} stands in a namespace that does not exist: the API server refuses it`),
      ...(where === undefined ? {} : { where }),
    });
  }
  return found;
}

/** Groups whose kinds are all accounted for, whatever they are. */
const KNOWN_GROUPS: ReadonlySet<string> = new Set([
  '',
  'apps',
  'batch',
  'autoscaling',
  'policy',
  'networking.k8s.io',
  'rbac.authorization.k8s.io',
  'storage.k8s.io',
  'scheduling.k8s.io',
  'coordination.k8s.io',
  'discovery.k8s.io',
  'node.k8s.io',
  'certificates.k8s.io',
  'events.k8s.io',
  'apiextensions.k8s.io',
  'apiregistration.k8s.io',
  'admissionregistration.k8s.io',
  'flowcontrol.apiserver.k8s.io',
  'metrics.k8s.io',
  'resource.k8s.io',
  'snapshot.storage.k8s.io',
  'gateway.networking.k8s.io',
  'networking.istio.io',
  'security.istio.io',
  'telemetry.istio.io',
  'monitoring.coreos.com',
  'cert-manager.io',
  'acme.cert-manager.io',
  'external-secrets.io',
  'kueue.x-k8s.io',
  'scheduling.volcano.sh',
  'traefik.io',
  'traefik.containo.us',
]);

/** Single kinds that make no pods and decide nothing about connections. */
const KNOWN_KINDS: ReadonlySet<string> = new Set([
  'serving.kserve.io/ServingRuntime',
  'serving.kserve.io/ClusterServingRuntime',
  'serving.kserve.io/ClusterStorageContainer',
  'serving.kserve.io/TrainedModel',
  'serving.kserve.io/LocalModelCache',
  'trainer.kubeflow.org/TrainingRuntime',
  'trainer.kubeflow.org/ClusterTrainingRuntime',
  'serving.knative.dev/Route',
  'argoproj.io/ClusterWorkflowTemplate',
  'argoproj.io/WorkflowTaskResult',
  'argoproj.io/Application',
  'argoproj.io/ApplicationSet',
  'argoproj.io/AppProject',
  'kafka.strimzi.io/KafkaTopic',
  'kafka.strimzi.io/KafkaUser',
  'kafka.strimzi.io/KafkaNodePool',
  'kafka.strimzi.io/KafkaConnector',
]);

function isModelled(group: string, kind: string): boolean {
  return (
    KNOWN_GROUPS.has(group) ||
    ownerKind(group, kind) !== undefined ||
    KNOWN_KINDS.has(`${group}/${kind}`) ||
    isBesidePolicy(group, kind) ||
    isPolicyKind(group, kind)
  );
}

function unknownKinds(context: AnalyzerContext): readonly Finding[] {
  const found = [...context.index.byKind].flatMap(([key, objects]) => {
    const slash = key.indexOf('/');
    const [group, kind] = [key.slice(0, slash), key.slice(slash + 1)];
    const [first] = objects;
    if (first === undefined || isModelled(group, kind)) return [];
    const text = `${plural(objects.length, 'object')} of kind ${kind}.${group}, such as ${formatRef(refOf(first))}`;
    return [finding('SP311', 'info', `${kind}.${group}`, text)];
  });
  return sortBy(found, (item) => item.subject);
}

function helmFindings(context: AnalyzerContext): readonly Finding[] {
  const releases = new Map<string, { count: number; example: string }>();
  for (const manifest of context.index.snapshot.objects) {
    const release = renderedByHelm(manifest);
    if (release === undefined) continue;
    const key = `${namespaceOf(manifest) ?? ''}/${release}`;
    const entry = releases.get(key);
    if (entry === undefined) releases.set(key, { count: 1, example: formatRef(refOf(manifest)) });
    else entry.count += 1;
  }
  return [...releases]
    .sort(([a], [b]) => compareText(a, b))
    .map(([key, { count, example }]) =>
      finding(
        'SP316',
        'info',
        key,
        `${plural(count, 'object')} of ${key} ${count === 1 ? 'was' : 'were'} rendered by Helm, such as ${example}`,
      ),
    );
}
