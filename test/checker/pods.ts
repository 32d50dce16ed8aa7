import { doc, docs, isDoc, labelMap, list, text } from './json.ts';
import type { Doc } from './json.ts';
import type { Labels } from './selector.ts';
import type { KubeObject } from './states.ts';

/** A pod that the workload's template makes, as its controller labels it. */
export interface PodShape {
  /** namespace/Kind/name of the workload. */
  readonly workload: string;
  readonly namespace: string;
  readonly labels: Labels;
  readonly annotations: Labels;
  readonly serviceAccount: string;
  readonly hostNetwork: boolean;
  readonly ports: readonly { readonly name: string; readonly port: number; readonly protocol: string }[];
  /** Ports that the kubelet probes over the network. */
  readonly probePorts: readonly number[];
}

const LONG_LIVED = new Set(['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'ReplicationController']);

export type Lifetime = 'bare' | 'runs' | 'rolled';

export function lifetimeOf(kind: string): Lifetime {
  if (kind === 'Pod') return 'bare';
  return LONG_LIVED.has(kind) ? 'rolled' : 'runs';
}

/** A value that a controller makes up: present, but no policy can name it. Not a legal label value, so nothing can equal it. */
const MADE_UP = '(made up by the controller)';
const STATEFUL_PODS = 3;

interface Role {
  readonly template: Doc;
  readonly added: Labels;
}

function rolesOf({ kind, group, name, spec, raw }: KubeObject): readonly Role[] {
  switch (kind) {
    case 'Pod':
      return [{ template: raw, added: {} }];
    case 'Deployment':
    case 'ReplicaSet':
      return [{ template: doc(spec['template']), added: { 'pod-template-hash': MADE_UP } }];
    case 'ReplicationController':
      return [{ template: doc(spec['template']), added: {} }];
    case 'DaemonSet':
      return [
        {
          template: doc(spec['template']),
          added: { 'controller-revision-hash': MADE_UP, 'pod-template-generation': MADE_UP },
        },
      ];
    case 'StatefulSet': {
      const count = Math.min(Number(spec['replicas'] ?? 1), STATEFUL_PODS);
      return Array.from({ length: count }, (_, index) => ({
        template: doc(spec['template']),
        added: {
          'controller-revision-hash': MADE_UP,
          'statefulset.kubernetes.io/pod-name': `${name}-${index}`,
          'apps.kubernetes.io/pod-index': String(index),
        },
      }));
    }
    case 'Job':
      return [{ template: doc(spec['template']), added: jobLabels(name) }];
    case 'CronJob':
      return [{ template: doc(doc(doc(spec['jobTemplate'])['spec'])['template']), added: jobLabels(MADE_UP) }];
    case 'PyTorchJob':
      return Object.entries(doc(spec['pytorchReplicaSpecs'])).map(([role, replica]) => ({
        template: doc(doc(replica)['template']),
        added: {
          'training.kubeflow.org/job-name': name,
          'training.kubeflow.org/operator-name': 'pytorchjob-controller',
          'training.kubeflow.org/replica-type': role.toLowerCase(),
          'training.kubeflow.org/replica-index': MADE_UP,
          ...(role === 'Master' ? { 'training.kubeflow.org/job-role': 'master' } : {}),
        },
      }));
    case 'SparkApplication':
      return ['driver', 'executor'].map((role) => {
        const one = doc(spec[role]);
        // An executor has no account of its own in the API's early versions: it then runs as the driver's.
        const account = text(one['serviceAccount']) ?? text(doc(spec['driver'])['serviceAccount']);
        return {
          template: {
            metadata: { labels: one['labels'], annotations: one['annotations'] },
            spec: { serviceAccountName: account, hostNetwork: one['hostNetwork'], containers: [] },
          },
          added: {
            'spark-role': role,
            'spark-app-selector': MADE_UP,
            'sparkoperator.k8s.io/app-name': name,
            'sparkoperator.k8s.io/launched-by-spark-operator': 'true',
            'sparkoperator.k8s.io/submission-id': MADE_UP,
          },
        };
      });
    case 'InferenceService':
      return ['predictor', 'transformer', 'explainer']
        .filter((component) => isDoc(spec[component]))
        .map((component) => {
          const one = doc(spec[component]);
          const metadata = doc(raw['metadata']);
          return {
            template: {
              metadata: {
                labels: { ...labelMap(metadata['labels']), ...labelMap(one['labels']) },
                annotations: { ...labelMap(metadata['annotations']), ...labelMap(one['annotations']) },
              },
              spec: { ...one, containers: [doc(one['model']), ...docs(one['containers'])] },
            },
            added: {
              app: `isvc.${name}-${component}`,
              component,
              'serving.kserve.io/inferenceservice': name,
            },
          };
        });
    default:
      // Core and platform kinds make no pods; of other owners the templates are found wherever they stand.
      return group === '' || group.endsWith('k8s.io')
        ? []
        : templatesIn(spec).map((template) => ({ template, added: {} }));
  }
}

function jobLabels(name: string): Labels {
  return {
    'job-name': name,
    'batch.kubernetes.io/job-name': name,
    'controller-uid': MADE_UP,
    'batch.kubernetes.io/controller-uid': MADE_UP,
  };
}

function templatesIn(value: unknown): readonly Doc[] {
  if (Array.isArray(value)) return value.flatMap(templatesIn);
  if (!isDoc(value)) return [];
  return Object.entries(value).flatMap(([key, child]) =>
    key === 'template' && Array.isArray(doc(doc(child)['spec'])['containers']) ? [doc(child)] : templatesIn(child),
  );
}

/** The pods an object makes; none for what is no workload or belongs to one. */
export function podShapes(object: KubeObject): readonly PodShape[] {
  const owners = docs(doc(object.raw['metadata'])['ownerReferences']);
  if (owners.some((owner) => owner['controller'] === true)) return [];
  return rolesOf(object).map(({ template, added }) => {
    const metadata = doc(template['metadata']);
    const spec = doc(template['spec']);
    const containers = [...docs(spec['initContainers']), ...docs(spec['containers'])];
    const ports = containers
      .flatMap((container) => docs(container['ports']))
      .map((one) => ({
        name: text(one['name']) ?? '',
        port: Number(one['containerPort']),
        protocol: text(one['protocol']) ?? 'TCP',
      }));
    const probes = containers
      .flatMap((one) => [one['readinessProbe'], one['livenessProbe'], one['startupProbe']])
      .flatMap((probe) => [doc(probe)['httpGet'], doc(probe)['tcpSocket'], doc(probe)['grpc']])
      .map((target) => doc(target)['port'])
      .filter((port) => port !== undefined);
    return {
      workload: `${object.namespace}/${object.kind}/${object.name}`,
      namespace: object.namespace,
      labels: { ...labelMap(metadata['labels']), ...added },
      annotations: labelMap(metadata['annotations']),
      serviceAccount: text(spec['serviceAccountName']) ?? text(spec['serviceAccount']) ?? 'default',
      hostNetwork: spec['hostNetwork'] === true,
      ports,
      probePorts: list(probes).map((port) =>
        typeof port === 'number' ? port : (ports.find((one) => one.name === port)?.port ?? Number(port)),
      ),
    };
  });
}
