import { isDurableLabel } from '../model/durable-labels.ts';
import type { Inventory, Labels, Workload } from '../model/inventory.ts';
import { workloadsIn } from '../model/inventory-index.ts';
import { compareText } from '../shared/pure/order.ts';

/** Keys that name what a pod is, best first. A policy on them reads well and lasts. */
const PREFERRED = [
  'app.kubernetes.io/name',
  'app.kubernetes.io/instance',
  'app.kubernetes.io/component',
  'app',
  'k8s-app',
  'component',
  'tier',
  'role',
  'name',
];

/** Keys that change with a release: used only where nothing else tells two workloads apart. */
const LAST_RESORT = new Set(['version', 'app.kubernetes.io/version', 'helm.sh/chart', 'app.kubernetes.io/managed-by']);

export type SelectorChoice =
  | { readonly kind: 'exact'; readonly labels: Labels }
  /** Labels that last, but that other workloads of the namespace carry too. */
  | { readonly kind: 'shared'; readonly labels: Labels; readonly also: readonly string[] }
  /** No label that outlives a rollout. */
  | { readonly kind: 'none' };

function commonDurableLabels(workload: Workload): Labels {
  const [first, ...others] = workload.podSets;
  const out: Record<string, string> = {};
  if (first === undefined) return out;
  for (const [key, value] of Object.entries(first.labels)) {
    if (isDurableLabel(key, workload.kind) && others.every((podSet) => podSet.labels[key] === value)) out[key] = value;
  }
  return out;
}

function rank(key: string): number {
  const preferred = PREFERRED.indexOf(key);
  if (preferred >= 0) return preferred;
  return LAST_RESORT.has(key) ? 1000 : 100;
}

function carries(podLabels: Labels, selector: Labels): boolean {
  return Object.entries(selector).every(([key, value]) => podLabels[key] === value);
}

/**
 * Labels that select the pods of `workload` and of no other workload of its namespace: the fewest keys, the most telling
 * first. A selector never rests on labels of one rollout or run.
 */
export function chooseSelector(workload: Workload, inventory: Inventory): SelectorChoice {
  const labels = commonDurableLabels(workload);
  const keys = Object.keys(labels).sort((a, b) => rank(a) - rank(b) || compareText(a, b));
  if (keys.length === 0) return { kind: 'none' };
  const neighbours = workloadsIn(inventory, workload.namespace).filter((other) => other.id !== workload.id);
  const pick = (chosen: readonly string[]): Labels =>
    Object.fromEntries(chosen.map((key) => [key, labels[key] as string]));
  const alsoSelected = (selector: Labels): readonly string[] =>
    neighbours
      .filter((other) => other.podSets.some((podSet) => carries(podSet.labels, selector)))
      .map((other) => other.id);

  const durable = keys.filter((key) => !LAST_RESORT.has(key));
  const pairs = keys.flatMap((a, i) => keys.slice(i + 1).map((b) => [a, b]));
  for (const chosen of [...durable.map((key) => [key]), ...pairs, durable, keys]) {
    if (chosen.length === 0) continue;
    const selector = pick(chosen);
    if (alsoSelected(selector).length === 0) return { kind: 'exact', labels: selector };
  }
  const all = pick(keys);
  return { kind: 'shared', labels: all, also: alsoSelected(all) };
}
