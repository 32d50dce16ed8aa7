import type { Json, JsonObject } from '../../shared/pure/json.ts';
import { asArray, asObject, isJsonObject } from '../../shared/pure/json.ts';
import { keepFields } from '../../model/managed-fields.ts';
import type { KubeManifest } from '../../model/object.ts';
import { isObject } from '../../model/object.ts';

/**
 * The object as the rest of the program sees it, in a snapshot and read by itself alike, so that the two compare:
 * `metadata.managedFields` is cut down to who manages, which names Argo CD, Flux and Helm. Pods, which nobody edits and of which
 * there are most, also lose what no inventory asks for.
 */
export function trimManifest(manifest: KubeManifest): KubeManifest {
  const managed = asArray(manifest.metadata['managedFields']);
  const fields = EDITED_KINDS.has(manifest.kind);
  const metadata =
    managed.length === 0
      ? manifest.metadata
      : { ...manifest.metadata, managedFields: compactManagers(managed, fields) };
  const trimmed: KubeManifest = { ...manifest, metadata };
  if (isObject(trimmed, '', 'Pod')) return trimPod(trimmed);
  return trimDeployer(trimmed);
}

/** Kinds of others that steps edit: of these it matters who owns which field. */
const EDITED_KINDS = new Set(['Namespace', 'Deployment', 'StatefulSet', 'DaemonSet', 'CronJob', 'PeerAuthentication']);

function compactManagers(managed: readonly Json[], withFields: boolean): readonly Json[] {
  const seen = new Map<string, { manager: string; operation: string; fieldsV1?: JsonObject }>();
  for (const entry of managed) {
    const { manager, operation, fieldsV1 } = asObject(entry);
    if (typeof manager !== 'string' || typeof operation !== 'string') continue;
    const key = `${manager}\n${operation}`;
    const before = seen.get(key)?.fieldsV1;
    const kept = withFields ? keepFields(asObject(fieldsV1), before) : {};
    seen.set(key, { manager, operation, ...(Object.keys(kept).length === 0 ? {} : { fieldsV1: kept }) });
  }
  return [...seen.values()];
}

/**
 * Of the objects of Argo CD and Flux: what they manage and how, where in Git it comes from, and what they say of the commit that they have
 * applied (readiness/gitops, readiness/gitops-applied). Values for charts, which may hold credentials, are left out, as is what an address
 * holds of a user.
 */
function trimDeployer(object: KubeManifest): KubeManifest {
  const keep = DEPLOYERS.get(`${object.apiVersion.split('/')[0] ?? ''}/${object.kind}`);
  if (keep === undefined) return object;
  const { spec, status } = keep(asObject(object['spec']), asObject(object['status']));
  return {
    apiVersion: object.apiVersion,
    kind: object.kind,
    // Annotations hold the object as it was applied last, values and all.
    metadata: without(object.metadata, ['annotations']) as KubeManifest['metadata'],
    spec,
    status,
  };
}

interface Kept {
  readonly spec: JsonObject;
  readonly status: JsonObject;
}

const FLUX_STATUS = ['inventory', 'lastAppliedRevision', 'lastAttemptedRevision', 'observedGeneration', 'conditions'];

const DEPLOYERS: ReadonlyMap<string, (spec: JsonObject, status: JsonObject) => Kept> = new Map([
  [
    'argoproj.io/Application',
    (spec, status): Kept => ({
      spec: {
        ...only(spec, ['syncPolicy', 'ignoreDifferences', 'destination']),
        ...(isJsonObject(spec['source']) ? { source: sourceOf(spec['source']) } : {}),
        ...(Array.isArray(spec['sources'])
          ? { sources: asArray(spec['sources']).map((one) => sourceOf(asObject(one))) }
          : {}),
      },
      status: {
        ...only(status, ['resources', 'health']),
        ...inside(status, 'sync', ['status', 'revision', 'revisions']),
        ...(isJsonObject(status['operationState'])
          ? {
              operationState: {
                ...only(status['operationState'], ['phase', 'message']),
                ...inside(status['operationState'], 'syncResult', ['revision', 'revisions']),
              },
            }
          : {}),
      },
    }),
  ],
  [
    'kustomize.toolkit.fluxcd.io/Kustomization',
    (spec, status): Kept => ({
      spec: only(spec, ['suspend', 'prune', 'force', 'interval', 'path', 'sourceRef']),
      status: only(status, FLUX_STATUS),
    }),
  ],
  [
    'helm.toolkit.fluxcd.io/HelmRelease',
    (spec, status): Kept => ({
      spec: {
        ...only(spec, ['suspend', 'interval']),
        ...(isJsonObject(spec['chart'])
          ? { chart: inside(spec['chart'], 'spec', ['chart', 'sourceRef', 'reconcileStrategy']) }
          : {}),
      },
      status: {
        ...only(status, FLUX_STATUS),
        ...(Array.isArray(status['history'])
          ? { history: asArray(status['history']).map((one) => only(asObject(one), ['status', 'chartVersion'])) }
          : {}),
      },
    }),
  ],
  [
    'source.toolkit.fluxcd.io/GitRepository',
    (spec): Kept => ({
      spec: {
        ...only(spec, ['suspend', 'interval']),
        ...(typeof spec['url'] === 'string' ? { url: withoutUser(spec['url']) } : {}),
      },
      status: {},
    }),
  ],
]);

function only(value: JsonObject, keys: readonly string[]): JsonObject {
  return Object.fromEntries(Object.entries(value).filter(([key]) => keys.includes(key)));
}

function inside(value: JsonObject, key: string, keys: readonly string[]): JsonObject {
  const inner = value[key];
  return isJsonObject(inner) ? { [key]: only(inner, keys) } : {};
}

function sourceOf(source: JsonObject): JsonObject {
  const { repoURL } = source;
  return {
    ...only(source, ['path', 'targetRevision', 'ref']),
    ...(typeof repoURL === 'string' ? { repoURL: withoutUser(repoURL) } : {}),
  };
}

/** `https://user:token@host/org/repo` without the user; `git@host:org/repo` names no person and stays. */
function withoutUser(url: string): string {
  return url.replace(/^([a-z+]+:\/\/)[^@/]*@/u, '$1');
}

const POD_SPEC_NOISE = ['tolerations', 'affinity', 'topologySpreadConstraints', 'schedulingGates', 'readinessGates'];
const CONTAINER_NOISE = [
  'volumeMounts',
  'volumeDevices',
  'terminationMessagePath',
  'terminationMessagePolicy',
  'imagePullPolicy',
  'securityContext',
  'resizePolicy',
];
const CONTAINER_STATUS_NOISE = [
  'imageID',
  'containerID',
  'lastState',
  'volumeMounts',
  'allocatedResources',
  'resources',
  'user',
];

function trimPod(pod: KubeManifest): KubeManifest {
  const spec = asObject(pod['spec']);
  const status = asObject(pod['status']);
  return {
    ...pod,
    spec: {
      ...without(spec, POD_SPEC_NOISE),
      ...eachOf(spec, ['containers', 'initContainers'], CONTAINER_NOISE),
    },
    status: {
      ...status,
      ...eachOf(
        status,
        ['containerStatuses', 'initContainerStatuses', 'ephemeralContainerStatuses'],
        CONTAINER_STATUS_NOISE,
      ),
    },
  };
}

function eachOf(object: JsonObject, keys: readonly string[], noise: readonly string[]): JsonObject {
  return Object.fromEntries(
    keys.flatMap((key) => {
      const list = object[key];
      return Array.isArray(list)
        ? [[key, asArray(list).map((item) => (isJsonObject(item) ? without(item, noise) : item))]]
        : [];
    }),
  );
}

function without(object: JsonObject, keys: readonly string[]): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([key]) => !keys.includes(key)));
}
