import type { Json, JsonObject } from '../../shared/pure/json.ts';
import { asArray, asObject, isJsonObject } from '../../shared/pure/json.ts';
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
    const kept = withFields ? pruneFields(asObject(fieldsV1), before) : {};
    seen.set(key, { manager, operation, ...(Object.keys(kept).length === 0 ? {} : { fieldsV1: kept }) });
  }
  return [...seen.values()];
}

const KEPT_MAPS = new Set(['f:labels', 'f:annotations']);
const KEPT_LEAVES = new Set(['f:serviceAccountName', 'f:serviceAccount', 'f:mode']);
const KEPT_WAYS = new Set(['f:metadata', 'f:spec', 'f:template', 'f:jobTemplate', 'f:mtls']);

/** Of a tree of owned fields what steps write: labels, annotations, accounts and modes of mTLS. The rest is large. */
function pruneFields(fields: JsonObject, before: JsonObject = {}): JsonObject {
  const out: Record<string, Json> = { ...before };
  for (const [key, value] of Object.entries(fields)) {
    if (KEPT_LEAVES.has(key)) out[key] = {};
    else if (KEPT_MAPS.has(key)) out[key] = { ...asObject(out[key]), ...without(asObject(value), ['.']) };
    else if (KEPT_WAYS.has(key)) {
      const inner = pruneFields(asObject(value), asObject(out[key]));
      if (Object.keys(inner).length > 0) out[key] = inner;
    }
  }
  return out;
}

/** Of the objects that say what Argo CD and Flux manage, that and how: values for charts, which may hold credentials, are left out. */
function trimDeployer(object: KubeManifest): KubeManifest {
  const group = object.apiVersion.split('/')[0];
  const kept =
    group === 'argoproj.io' && object.kind === 'Application'
      ? { spec: ['syncPolicy', 'ignoreDifferences', 'destination'], status: ['resources'] }
      : group === 'kustomize.toolkit.fluxcd.io' && object.kind === 'Kustomization'
        ? { spec: ['suspend', 'prune', 'force', 'interval'], status: ['inventory'] }
        : undefined;
  if (kept === undefined) return object;
  const only = (value: Json | undefined, keys: readonly string[]): JsonObject =>
    Object.fromEntries(Object.entries(asObject(value)).filter(([key]) => keys.includes(key)));
  return {
    apiVersion: object.apiVersion,
    kind: object.kind,
    // Annotations hold the object as it was applied last, values and all.
    metadata: without(object.metadata, ['annotations']) as KubeManifest['metadata'],
    spec: only(object['spec'], kept.spec),
    status: only(object['status'], kept.status),
  };
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
