import type { View } from '../engine/contract.ts';
import type { Gate } from '../model/finding.ts';
import { groupOf } from '../model/object.ts';
import { changeRef } from '../plan/change.ts';
import type { Step } from '../plan/plan.ts';
import { bearsOnTraffic } from '../plan/soak.ts';
import { plural } from '../shared/pure/text.ts';
import { gate } from './view.ts';

type Denier = 'network' | 'mesh';
/**
 * Whose denials the records of a source show, line by line as they happen. What is not listed shows none of the two: connections that were
 * tracked passed, flow logs of a cloud tell of its own filters, and metrics are answers of a moment. Neutral edges are made by somebody who
 * knows what they took them from.
 */
const SHOWS: Readonly<Record<string, readonly Denier[]>> = {
  hubble: ['network'],
  calico: ['network'],
  antrea: ['network'],
  ovn: ['network'],
  netobserv: ['network'],
  gcp: ['network'],
  'aws-network-policy': ['network'],
  envoy: ['mesh'],
  ztunnel: ['mesh'],
  edges: ['network', 'mesh'],
};

/** Who may deny somebody after these steps. */
function deniersOf(steps: readonly Step[]): readonly Denier[] {
  const deniers = new Set<Denier>();
  for (const { change } of steps) {
    const { kind, apiVersion } = changeRef(change);
    if (kind === 'AuthorizationPolicy') deniers.add('mesh');
    if (kind === 'PeerAuthentication' && JSON.stringify(change).includes('"STRICT"')) deniers.add('mesh');
    if (kind.endsWith('NetworkPolicy') || kind.endsWith('NetworkPolicies') || groupOf(apiVersion) === 'cilium.io')
      deniers.add('network');
  }
  return [...deniers].sort();
}

const NAMES = {
  network: 'network policies (hubble, calico, antrea, ovn, ..., or neutral edges)',
  mesh: 'proxies (envoy, ztunnel, or neutral edges)',
} as const satisfies Record<Denier, string>;

/**
 * Can a run on a live cluster be watched? It takes a declared signal of denials, with a file to read. `files` are those that each signal of
 * the configuration stands for now, in its order. Steps that bear on no connection need no watch.
 */
export function soakGate(view: View, steps: readonly Step[], files: readonly (readonly string[])[]): Gate {
  if (!steps.some((step) => bearsOnTraffic(step.change)))
    return gate('soak', 'yes', view.namespace, ['no step bears on a connection: there is nothing to watch'], '');
  const { minutes, drainSeconds, signals } = view.config.soak;
  if (signals.length === 0)
    return gate(
      'soak',
      'unknown',
      view.namespace,
      ['no signal of denied connections is declared, so nobody would see what a step cuts'],
      'name one in the configuration: soak: {signals: [{source: hubble, inputs: [/var/run/cilium/hubble/*.log]}]}; or switch it off: gates: {soak: off}',
    );
  const facts = signals.map(
    ({ source, inputs }, index) => `${source}: ${inputs.join(', ')} (${plural(files[index]?.length ?? 0, 'file')})`,
  );
  if (files.every((found) => found.length === 0))
    return gate(
      'soak',
      'unknown',
      view.namespace,
      [...facts, 'no file of a signal is there to be read'],
      'start what writes them, or mend the paths under soak.signals in the configuration',
    );
  const shown = new Set(signals.flatMap(({ source }) => SHOWS[source] ?? []));
  const blind = deniersOf(steps).filter((denier) => !shown.has(denier));
  if (blind.length > 0)
    return gate(
      'soak',
      'unknown',
      view.namespace,
      [...facts, ...blind.map((denier) => `no signal shows the denials of ${NAMES[denier]}`)],
      'declare one that does under soak.signals in the configuration; or watch the workloads yourself and waive gate=soak',
    );
  return gate(
    'soak',
    'yes',
    view.namespace,
    [
      ...facts,
      `the last step of each phase is watched for ${minutes} min, and longer than the ${drainSeconds} s in which proxies drain`,
    ],
    '',
  );
}
