// Of an object what decides about connections, and of that what policies, Services and steps name.
import { lastingLabels } from '../model/durable-labels.ts';
import { GRANT_LABEL } from '../model/grant.ts';
import type { KubeManifest } from '../model/object.ts';
import { annotationsOf, groupOf, labelsOf } from '../model/object.ts';
import { isOwn } from '../objects/build.ts';
import type { FieldPath, Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString, getPath, isJsonObject, setPath } from '../shared/pure/json.ts';
import type { Change } from './change.ts';
import {
  MESH_LABEL,
  countingPorts,
  keysBy,
  meshAnnotations,
  namedOwnerText,
  ownerText,
  portsIn,
} from './owner-text.ts';

const POD_TEMPLATES: ReadonlyMap<string, FieldPath> = new Map([
  ['apps/Deployment', ['spec', 'template']],
  ['apps/StatefulSet', ['spec', 'template']],
  ['apps/DaemonSet', ['spec', 'template']],
  ['apps/ReplicaSet', ['spec', 'template']],
  ['/ReplicationController', ['spec', 'template']],
  ['batch/Job', ['spec', 'template']],
  ['batch/CronJob', ['spec', 'jobTemplate', 'spec', 'template']],
]);

/** Groups of operators whose objects own pods; what else is in them is compared in the same way where a run rests on it. */
const OWNER_GROUPS = new Set([
  'acid.zalan.do',
  'apps.kruise.io',
  'apps.openshift.io',
  'argoproj.io',
  'batch.volcano.sh',
  'core.strimzi.io',
  'elasticsearch.k8s.elastic.co',
  'feast.dev',
  'flink.apache.org',
  'jobset.x-k8s.io',
  'kafka.strimzi.io',
  'kubeflow.org',
  'kubernetes.dask.org',
  'leaderworkerset.x-k8s.io',
  'machinelearning.seldon.io',
  'milvus.io',
  'minio.min.io',
  'mlops.seldon.io',
  'monitoring.coreos.com',
  'opentelemetry.io',
  'postgresql.cnpg.io',
  'ray.io',
  'serving.knative.dev',
  'serving.kserve.io',
  'serving.yatai.ai',
  'sparkoperator.k8s.io',
  'tekton.dev',
  'tensorboard.kubeflow.org',
  'trainer.kubeflow.org',
]);

/** How the pods of an object are told: by a template, by a text of its operator's, by the pod itself, or not at all. */
export function podsToldBy(group: string, kind: string): 'template' | 'text' | 'pod' | undefined {
  if (POD_TEMPLATES.has(`${group}/${kind}`)) return 'template';
  if (group === '' && kind === 'Pod') return 'pod';
  return OWNER_GROUPS.has(group) ? 'text' : undefined;
}

function toldBy(object: KubeManifest): ReturnType<typeof podsToldBy> {
  return podsToldBy(groupOf(object.apiVersion), object.kind);
}

export function isNamespace(object: KubeManifest): boolean {
  return object.kind === 'Namespace' && groupOf(object.apiVersion) === '';
}

/** Kinds that policies of Calico and Cilium select by their labels. */
const SELECTED_KINDS = new Set(['HostEndpoint', 'NetworkSet', 'GlobalNetworkSet', 'CiliumCIDRGroup']);

/** Pod Security Admission and who keeps its labels (OpenShift's syncer follows role bindings): no policy selects by them. */
const ADMISSION_LABEL = /^(?:pod-security\.kubernetes\.io|security\.openshift\.io)\//u;

/**
 * Of an object what decides about connections, in the shape of the object: of a policy its spec and the mesh's annotations, of a namespace its
 * labels, of a Service how it finds pods and its waypoint, of a workload the labels, account and ports of its pods, of a pod what does not
 * change while it runs but by somebody's hand. Of its own part it makes the same again.
 */
export function groundPart(object: KubeManifest): KubeManifest {
  const { name, namespace, deletionTimestamp } = object.metadata;
  const labels = asObject(object.metadata['labels']);
  const kind = `${groupOf(object.apiVersion)}/${object.kind}`;
  const told = toldBy(object);
  if (told === 'pod') return podItself(object);
  const isService = kind === '/Service';
  const annotations = meshAnnotations(annotationsOf(object));
  const grant = labelsOf(object)[GRANT_LABEL];
  const shown = isNamespace(object)
    ? keysBy(labels, (key) => !ADMISSION_LABEL.test(key))
    : {
        // Operators hand labels of their objects on to pods (KServe, notebooks).
        ...(SELECTED_KINDS.has(object.kind) || told === 'text' ? labels : {}),
        // `istio.io/use-waypoint` says which proxy judges the callers, `istio.io/waypoint-for` of a Gateway whose.
        ...(isService || kind === 'gateway.networking.k8s.io/Gateway'
          ? keysBy(labels, (key) => key.startsWith('istio.io/'))
          : {}),
        ...(isOwn(object) ? only(labels, ['app.kubernetes.io/managed-by']) : {}),
        ...(grant === undefined ? {} : { [GRANT_LABEL]: grant }),
      };
  const metadata = {
    name,
    ...(namespace === undefined ? {} : { namespace }),
    ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }),
    ...(Object.keys(shown).length === 0 ? {} : { labels: shown }),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  } as KubeManifest['metadata'];
  const head = { apiVersion: object.apiVersion, kind: object.kind, metadata };
  if (isNamespace(object)) return head;
  const template = POD_TEMPLATES.get(kind);
  if (template !== undefined)
    return setPath(head, template, podPart(asObject(getPath(object, template)))) as KubeManifest;
  if (told === 'text') return { ...head, spec: ownerText(asObject(object['spec'])) };
  if (isService)
    return {
      ...head,
      spec: only(asObject(object['spec']), ['selector', 'ports', 'type', 'externalName', 'clusterIP']),
    };
  const rest = Object.entries(object).filter(([key]) => !['apiVersion', 'kind', 'metadata', 'status'].includes(key));
  return { ...head, ...Object.fromEntries(rest) };
}

/** Which pod it is stays in its part: a controller's is replaced by one of the same name (a StatefulSet's), which its owner's text speaks of. */
function podItself(object: KubeManifest): KubeManifest {
  const { name, namespace, uid } = object.metadata;
  const controlled = controllerOf(object);
  return {
    apiVersion: object.apiVersion,
    kind: object.kind,
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      ...(uid === undefined ? {} : { uid }),
      ...(controlled === undefined ? {} : { ownerReferences: [{ controller: true }] }),
      labels: lastingLabels(labelsOf(object), 'Pod'),
    },
    spec: {
      serviceAccountName: asString(asObject(object['spec'])['serviceAccountName']) ?? 'default',
      ...only(asObject(object['spec']), ['hostNetwork']),
    },
  };
}

function controllerOf(object: KubeManifest): Json | undefined {
  return asArray(object.metadata['ownerReferences']).find((owner) => asObject(owner)['controller'] === true);
}

/** Is this another pod by now, which whoever made both answers for? */
export function isReplaced(before: KubeManifest, now: KubeManifest): boolean {
  return (
    toldBy(before) === 'pod' && controllerOf(before) !== undefined && before.metadata['uid'] !== now.metadata['uid']
  );
}

function podPart(template: JsonObject): JsonObject {
  const metadata = asObject(template['metadata']);
  const spec = asObject(template['spec']);
  return {
    metadata: { labels: asObject(metadata['labels']), annotations: meshAnnotations(asObject(metadata['annotations'])) },
    spec: {
      ...only(spec, ['serviceAccountName', 'hostNetwork']),
      containers: [{ ports: portsIn(asArray(spec['containers'])) }],
    },
  };
}

function only(object: JsonObject, keys: readonly string[]): JsonObject {
  return keysBy(object, (key) => keys.includes(key));
}

/** What GitOps controllers and Rancher note on namespaces. */
const BOOKKEEPING_LABEL =
  /^(?:(?:kustomize|helm)\.toolkit\.fluxcd\.io|argocd\.argoproj\.io|(?:[a-z-]+\.)*cattle\.io)\//u;

/** Of the switches of the meshes the one that also moves pods that run: ambient's node agent follows it. */
const RUNNING_SWITCH = 'istio.io/dataplane-mode';

/** Before the key of a namespace's or a pod's label in selectors of Cilium and Calico. */
const KEY_PREFIX = /^(?:(?:k8s|any)[.:])?(?:io\.cilium\.k8s\.namespace\.labels\.|pcns\.)?/u;

/**
 * Every word that can name a label or a port in the policies and Services that a run rests on, and in what its steps write. Rather one too
 * many: a word too few would let a difference pass.
 */
export function wordsOf(objects: readonly KubeManifest[], changes: readonly Change[]): ReadonlySet<string> {
  const words = new Set<string>();
  const add = (text: string): void => {
    // Calico's selectors are expressions: `app == 'web' && has(tier)`.
    for (const word of text.split(/[^A-Za-z0-9._:/-]+/u)) {
      words.add(word);
      words.add(word.replace(KEY_PREFIX, ''));
    }
  };
  const walk = (value: Json | undefined): void => {
    if (typeof value === 'string') add(value);
    else if (Array.isArray(value)) for (const one of value as readonly Json[]) walk(one);
    else if (isJsonObject(value))
      for (const [key, one] of Object.entries(value)) {
        add(key);
        walk(one);
      }
  };
  const walkObject = (object: KubeManifest): void => {
    if (isNamespace(object) || toldBy(object) !== undefined) return;
    for (const [key, value] of Object.entries(object))
      if (!['apiVersion', 'kind', 'metadata', 'status'].includes(key)) walk(value);
  };
  for (const object of objects) walkObject(object);
  for (const change of changes)
    if (change.kind === 'create') walkObject(change.object);
    else if (change.kind === 'edit')
      for (const { path, before, after } of change.fields) {
        for (const key of path) add(key);
        walk(before);
        walk(after);
      }
  return words;
}

/**
 * The part of an object without what no policy, Service or step names: labels of pods that only tell a version (`helm.sh/chart`), what others
 * keep on a namespace for themselves, and ports that were not there when the plan was made. `beside` is what the part is compared with.
 */
export function namedPart(
  part: KubeManifest,
  words: ReadonlySet<string>,
  planned: KubeManifest | undefined,
  beside: KubeManifest,
): KubeManifest {
  const pruned = (path: FieldPath, keep: (key: string) => boolean): KubeManifest => {
    const labels = getPath(part, path);
    if (labels === undefined) return part;
    const kept = keysBy(asObject(labels), keep);
    return setPath(part, path, Object.keys(kept).length === 0 ? undefined : kept) as KubeManifest;
  };
  const top = ['metadata', 'labels'];
  if (isNamespace(part)) return pruned(top, (key) => !BOOKKEEPING_LABEL.test(key) || words.has(key));
  switch (toldBy(part)) {
    case undefined:
      return part;
    case 'pod': {
      const { name, namespace, labels } = pruned(top, (key) => key === RUNNING_SWITCH || words.has(key)).metadata;
      const metadata = {
        name,
        ...(namespace === undefined ? {} : { namespace }),
        ...(labels === undefined ? {} : { labels }),
      };
      return { ...part, metadata };
    }
    case 'text':
      return {
        ...pruned(top, (key) => MESH_LABEL.test(key) || words.has(key)),
        spec: namedOwnerText(asObject(part['spec']), asObject(planned?.['spec']), asObject(beside['spec']), words),
      };
    case 'template':
      return namedTemplate(part, words, planned);
  }
}

function namedTemplate(
  part: KubeManifest,
  words: ReadonlySet<string>,
  planned: KubeManifest | undefined,
): KubeManifest {
  const template = POD_TEMPLATES.get(`${groupOf(part.apiVersion)}/${part.kind}`) ?? [];
  const labelPath = [...template, 'metadata', 'labels'];
  const labels = keysBy(asObject(getPath(part, labelPath)), (key) => MESH_LABEL.test(key) || words.has(key));
  const portsAt = (of: KubeManifest | undefined): readonly JsonObject[] =>
    portsIn(asArray(getPath(of ?? {}, [...template, 'spec', 'containers'])));
  const containers = [{ ports: countingPorts(portsAt(part), portsAt(planned), words) }];
  return setPath(setPath(part, labelPath, labels), [...template, 'spec', 'containers'], containers) as KubeManifest;
}
