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
  const metadata =
    managed.length === 0 ? manifest.metadata : { ...manifest.metadata, managedFields: compactManagers(managed) };
  const trimmed: KubeManifest = { ...manifest, metadata };
  return isObject(trimmed, '', 'Pod') ? trimPod(trimmed) : trimmed;
}

function compactManagers(managed: readonly Json[]): readonly Json[] {
  const seen = new Map<string, Json>();
  for (const entry of managed) {
    const { manager, operation } = asObject(entry);
    if (typeof manager === 'string' && typeof operation === 'string')
      seen.set(`${manager}\n${operation}`, { manager, operation });
  }
  return [...seen.values()];
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
