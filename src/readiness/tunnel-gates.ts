import { judgeInvariants } from '../candidates/patterns/judge.ts';
import type { View } from '../engine/contract.ts';
import type { Gate } from '../model/finding.ts';
import { gate } from './view.ts';

/** Pairs that the gate names. */
const MOST_PAIRS = 10;

/**
 * Of a namespace in an ambient mesh: whatever an open tunnel port (15008) takes from NetworkPolicy is given back by AuthorizationPolicy. Nothing
 * where no pod of it is in ambient mode. Not proven on packets, as every reason says.
 */
export function tunnelGates(view: View): readonly Gate[] {
  const ambient = view.inventory.workloads.some(
    ({ namespace, podSets }) => namespace === view.namespace && podSets.some(({ mesh }) => mesh === 'ambient'),
  );
  if (!ambient) return [];
  const of = { name: view.namespace, namespaces: [view.namespace], pods: {} };
  const [found] = judgeInvariants([{ id: 'tunnels', text: 'tunnels', kind: 'tunnels', of }], view.inventory);
  if (found === undefined) return [];
  const pairs = [...found.violating, ...found.unknown];
  const facts = pairs
    .slice(0, MOST_PAIRS)
    .map(({ src, dst, ports, why }) => `${src} -> ${dst} ${ports}: ${why[0]?.text ?? ''}`);
  const answer = found.answer === 'holds' ? 'yes' : found.answer === 'violated' ? 'no' : 'unknown';
  return [
    gate(
      'tunnels',
      answer,
      view.namespace,
      pairs.length === 0
        ? [`${found.asked} pairs asked: no tunnel carries what NetworkPolicy keeps closed`]
        : [...facts, ...(pairs.length > MOST_PAIRS ? [`and ${pairs.length - MOST_PAIRS} more`] : [])],
      `name accounts and ports in an AuthorizationPolicy at layer 4: sallyport pattern show ambient-tunnels; sallyport pattern check ambient-tunnels -n ${view.namespace} has every pair`,
    ),
  ];
}
