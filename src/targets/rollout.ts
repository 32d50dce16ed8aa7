import type { RolloutResult } from '../engine/contract.ts';
import type { JsonObject } from '../shared/pure/json.ts';
import { asArray, asNumber, asObject, asString } from '../shared/pure/json.ts';
import { safeText } from '../shared/pure/text.ts';
import type { KubeManifest } from '../model/object.ts';
import { groupOf } from '../model/object.ts';

export type RolloutState = {
  readonly state: 'ready' | 'failed' | 'waiting';
  readonly message: string;
};

/**
 * Do the pods of a Deployment, StatefulSet or DaemonSet run its present template? Judged by what its controller reports of the
 * present generation, as `kubectl rollout status` does. Other kinds cannot be judged and count as failed.
 */
export function checkRollout(object: KubeManifest): RolloutState {
  if (object.metadata['deletionTimestamp'] !== undefined) return { state: 'failed', message: 'it is being deleted' };
  const kind = groupOf(object.apiVersion) === 'apps' ? object.kind : '';
  const spec = asObject(object['spec']);
  const status = asObject(object['status']);
  if (!['Deployment', 'StatefulSet', 'DaemonSet'].includes(kind))
    return { state: 'failed', message: `a ${safeText(object.kind)} does not say whether its pods run its template` };
  const generation = asNumber(object.metadata['generation']) ?? 0;
  if ((asNumber(status['observedGeneration']) ?? 0) < generation)
    return { state: 'waiting', message: 'its controller has not seen the change yet' };
  switch (kind) {
    case 'Deployment':
      return checkDeployment(spec, status);
    case 'StatefulSet':
      return checkStatefulSet(spec, status);
    default:
      return checkDaemonSet(spec, status);
  }
}

function checkDeployment(spec: JsonObject, status: JsonObject): RolloutState {
  const progressing = asArray(status['conditions'])
    .map(asObject)
    .find((condition) => condition['type'] === 'Progressing');
  if (progressing?.['reason'] === 'ProgressDeadlineExceeded')
    return {
      state: 'failed',
      message: safeText(asString(progressing['message']) ?? 'its progress deadline is exceeded').slice(0, 300),
    };
  const [wanted, total, updated, available] = [
    asNumber(spec['replicas']) ?? 1,
    asNumber(status['replicas']) ?? 0,
    asNumber(status['updatedReplicas']) ?? 0,
    asNumber(status['availableReplicas']) ?? 0,
  ];
  if (updated >= wanted && total <= updated && available >= updated) return ready(updated);
  if (spec['paused'] === true) return { state: 'failed', message: 'it is paused: nothing is rolled out' };
  const old = total > updated ? `, ${total - updated} old` : '';
  return { state: 'waiting', message: `${updated} of ${wanted} pods updated, ${available} available${old}` };
}

function checkStatefulSet(spec: JsonObject, status: JsonObject): RolloutState {
  const strategy = asObject(spec['updateStrategy']);
  const wanted = asNumber(spec['replicas']) ?? 1;
  const partition = asNumber(asObject(strategy['rollingUpdate'])['partition']) ?? 0;
  const updated =
    status['currentRevision'] === status['updateRevision'] && status['updateRevision'] !== undefined
      ? wanted
      : (asNumber(status['updatedReplicas']) ?? 0);
  const readyPods = asNumber(status['readyReplicas']) ?? 0;
  if (updated < wanted && strategy['type'] === 'OnDelete') return onDelete(updated, wanted);
  if (updated < wanted && partition > 0 && updated >= wanted - partition)
    return {
      state: 'failed',
      message: `its partition of ${partition} holds ${wanted - updated} of ${wanted} pods back`,
    };
  if (updated >= wanted && readyPods >= wanted) return ready(wanted);
  return { state: 'waiting', message: `${updated} of ${wanted} pods updated, ${readyPods} ready` };
}

function checkDaemonSet(spec: JsonObject, status: JsonObject): RolloutState {
  const wanted = asNumber(status['desiredNumberScheduled']) ?? 0;
  const updated = asNumber(status['updatedNumberScheduled']) ?? 0;
  const available = asNumber(status['numberAvailable']) ?? 0;
  if (updated < wanted && asObject(spec['updateStrategy'])['type'] === 'OnDelete') return onDelete(updated, wanted);
  if (updated >= wanted && available >= wanted) return ready(wanted);
  return { state: 'waiting', message: `${updated} of ${wanted} pods updated, ${available} available` };
}

function ready(count: number): RolloutState {
  return { state: 'ready', message: `${count} of ${count} pods run the present template` };
}

function onDelete(updated: number, wanted: number): RolloutState {
  return {
    state: 'failed',
    message: `its update strategy is OnDelete: ${wanted - updated} of ${wanted} pods keep the old template until somebody deletes them`,
  };
}

/**
 * The pods of a workload as a query's `labelSelector`; undefined where it has no selector, or an expression that is none of Kubernetes'
 * four.
 */
export function podSelector(object: KubeManifest): string | undefined {
  const selector = asObject(asObject(object['spec'])['selector']);
  const labels = Object.entries(asObject(selector['matchLabels'])).map(
    ([key, value]) => `${key}=${asString(value) ?? ''}`,
  );
  const expressions = asArray(selector['matchExpressions']).map((item) => {
    const { key, operator, values } = asObject(item);
    const name = asString(key) ?? '';
    const list = `(${asArray(values)
      .flatMap((value) => asString(value) ?? [])
      .join(',')})`;
    switch (operator) {
      case 'In':
        return `${name} in ${list}`;
      case 'NotIn':
        return `${name} notin ${list}`;
      case 'Exists':
        return name;
      case 'DoesNotExist':
        return `!${name}`;
      default:
        return undefined;
    }
  });
  const parts = [...labels, ...expressions];
  return parts.length === 0 || parts.includes(undefined) ? undefined : parts.join(',');
}

/** How many of the pods listed are on their way out: until they are gone they go on serving and calling as they were. */
export function countEnding(pods: JsonObject): number {
  return asArray(pods['items']).filter((pod) => asObject(asObject(pod)['metadata'])['deletionTimestamp'] !== undefined)
    .length;
}

export function timedOut(workload: string, last: string): RolloutResult {
  return { workload, outcome: 'timed-out', message: `not ready in time: ${last}` };
}
