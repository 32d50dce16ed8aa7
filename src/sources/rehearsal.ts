import type { Rehearsal } from '../model/rehearsal.ts';
import { sortBy } from '../shared/pure/order.ts';
import type { FlowInput, ReadOptions } from './flow-source.ts';
import { readSeries, seenSeries } from './prometheus.ts';

/** Envoy's name of the counter has the listener in it: `envoy_http_inbound_0_0_0_0_8080_rbac`. */
const METRIC = /^envoy_http_inbound_.*_rbac$/u;

/** What to ask a Prometheus for. (istio.io, "Dry Run", which names the metric and its labels) */
export const REHEARSAL_QUERY = '{__name__=~"envoy_http_inbound_.*_rbac",authz_dry_run_action="allow"}';

/**
 * Reads what proxies counted of rehearsed ALLOW policies: answers of the Prometheus HTTP API, or scrapes of it (`/federate`), with the labels
 * `namespace` and `pod` of the scrape. Counters of a pod are added up over its listeners; of several samples of one counter the last counts.
 * A series without the two labels, or of rehearsed DENY policies, is passed over. Exit 2 with the place for what is no metric.
 */
export async function readRehearsals(
  inputs: readonly FlowInput[],
  options: ReadOptions,
): Promise<readonly Rehearsal[]> {
  const found = new Map<string, { allowed: number; denied: number; newest: number; namespace: string; pod: string }>();
  for (const input of inputs)
    await readSeries(
      'rehearsal',
      input,
      options,
      (name) => METRIC.test(name),
      (series, counter) => {
        const { labels, amounts } = series;
        const [namespace, pod] = [labels['namespace'] ?? '', labels['pod'] ?? labels['pod_name'] ?? ''];
        const result = labels['authz_dry_run_result'];
        if (
          namespace === '' ||
          pod === '' ||
          labels['authz_dry_run_action'] !== 'allow' ||
          (result !== 'allowed' && result !== 'denied')
        ) {
          counter.aside('another counter of the RBAC filter, or of no pod', series.name);
          return undefined;
        }
        const key = `${namespace}/${pod}`;
        const one = found.get(key) ?? { allowed: 0, denied: 0, newest: 0, namespace, pod };
        found.set(key, one);
        for (const { count, time } of amounts) {
          one[result] += count;
          one.newest = Math.max(one.newest, time);
        }
        seenSeries(series, counter);
        return undefined;
      },
    );
  return sortBy(found.values(), ({ namespace, pod }) => `${namespace}/${pod}`);
}
