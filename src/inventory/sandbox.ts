import type { JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject } from '../shared/pure/json.ts';
import { parseTime } from './owners.ts';

/**
 * The condition `PodReadyToStartContainers` turns when the sandbox has its network, and again when it is made anew (a node that was
 * rebooted); the kubelet says so some seconds after the fact. Within this time of the start it is the first sandbox.
 */
const FIRST_SANDBOX_MS = 60_000;

/** Since when a pod's present sandbox has its addresses, by its status, in milliseconds since the epoch; undefined where it does not say. */
export function sandboxSince(status: JsonObject): number | undefined {
  const started = parseTime(status['startTime']);
  const ready = asArray(status['conditions'])
    .map(asObject)
    .find((one) => one['type'] === 'PodReadyToStartContainers' && one['status'] === 'True');
  const networked = parseTime(ready?.['lastTransitionTime']);
  if (started === undefined || networked === undefined) return started ?? networked;
  return networked - started > FIRST_SANDBOX_MS ? networked : started;
}
