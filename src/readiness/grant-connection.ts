import { principalsOfWorkload } from '../candidates/authorization.ts';
import { chooseSelector } from '../candidates/selector.ts';
import type { View } from '../engine/contract.ts';
import { formatEdge } from '../model/edge.ts';
import { changedConnections } from '../model/connectivity.ts';
import { compileWorld, evaluateConnection } from '../model/evaluate.ts';
import type { ConnectionQuery, Reason, World } from '../model/evaluate.ts';
import type { GrantMark } from '../model/grant.ts';
import { asGranted } from '../model/grant.ts';
import type { Inventory, Labels, Snapshot, Workload } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { namespaceOf } from '../model/object.ts';
import type { PhaseName } from '../model/phase.ts';
import { phaseIndex } from '../model/phase.ts';
import { buildAuthorizationPolicy, buildNetworkPolicy } from '../objects/build.ts';
import type { Planner } from '../plan/assemble.ts';
import type { Step } from '../plan/plan.ts';
import { judgeEdges, stateAfter } from '../plan/simulate.ts';
import { draftSteps } from '../plan/steps.ts';
import { difference, formatPorts, moreUnknown } from './grant-difference.ts';
import { grantPlan } from './grant-plan.ts';
import { grantId } from './grant-terms.ts';
import type { Granted, GrantRequest, GrantTerms, Opened } from './grant-terms.ts';

const lower = (a: PhaseName, b: PhaseName): PhaseName => (phaseIndex(a) <= phaseIndex(b) ? a : b);

/** Filed under the layer's phase, where the namespace is in it: the way back from there takes the grant along, before what it stands beside. */
function filedUnder(view: View, namespace: string, layer: PhaseName): PhaseName {
  return lower(view.phases.get(namespace) ?? 'none', layer);
}

interface State {
  readonly snapshot: Snapshot;
  readonly inventory: Inventory;
}

/**
 * Opens one connection and nothing else: a policy in each layer that denies it now, beside those that are there. The evaluator is asked
 * for every pair of workloads and every edge on record before and after; anything but that one port of that one pair, opened or closed or
 * become unknown, refuses. A layer that nothing beside can open (a denial of an administrator, mTLS that the caller does not speak)
 * refuses with the policy's name.
 */
export function planConnection(
  view: View,
  request: Extract<GrantRequest, { readonly kind: 'connection' }>,
  terms: GrantTerms,
  planner: Planner,
): Granted {
  const { from, to, protocol, port } = request;
  const [client, server] = [from, to].map((id) => view.inventory.workloads.find((one) => one.id === id));
  if (client === undefined || server === undefined) throw new Error('the caller has looked both workloads up');
  const query: ConnectionQuery = {
    src: { kind: 'workload', id: from },
    dst: { kind: 'workload', id: to },
    protocol,
    port,
  };
  const mark: GrantMark = {
    id: grantId(request, terms),
    kind: 'connection',
    text: formatEdge(query),
    reason: terms.reason,
    since: terms.since,
    until: terms.until,
    connection: { src: from, dst: to, protocol, port },
  };
  const start: State = { snapshot: view.snapshot, inventory: view.inventory };
  const world = compileWorld(view.inventory);
  const first = evaluateConnection(world, query);
  if (first.answer === 'allowed') return { kind: 'allowed', why: first.reasons.map(({ text }) => text) };

  const draft = draftSteps(view.snapshot.objects);
  const layers = new Set<string>();
  const states: State[] = [start];
  const refuse = (why: readonly string[], fix: string): Granted => ({ kind: 'refused', why, fix });
  for (;;) {
    const now = states.at(-1) ?? start;
    const verdict = evaluateConnection(compileWorld(now.inventory), query);
    if (verdict.answer === 'allowed') break;
    const unknown = verdict.reasons.filter(({ decision }) => decision === 'unknown');
    const denies = verdict.reasons.filter(({ decision }) => decision === 'denies');
    if (denies.length === 0)
      return refuse(
        unknown.map(({ text }) => text),
        'what is not known cannot be opened exactly; sallyport reach --explain says what is missing',
      );
    const next = denies.map(layerOf).find((layer) => layer !== undefined && !layers.has(layer));
    if (next === undefined || denies.some(({ layer }) => layer === 'mtls'))
      return refuse(
        [
          ...denies.map(({ text }) => text),
          ...(denies.some(({ layer }) => layer === 'mtls') ? [noSidecar(from, to)] : []),
        ],
        denies.some(({ layer }) => layer === 'mtls')
          ? `bring ${client.namespace} into the mesh (sallyport plan ${client.namespace} --to permissive-mtls), or exempt the port: sallyport waive gate=plaintext,subject=${to}:${port} --reason "..."`
          : 'nothing that stands beside these policies opens it: their owner has to',
      );
    layers.add(next);
    const made = policyFor(now, next, client, server, request, mark, terms.by);
    if ('refused' in made) return refuse([made.refused], made.fix);
    const namespace = namespaceOf(made.object) ?? '';
    const before = draft.steps.length;
    draft.ensure(made.object, {
      namespace,
      phase: filedUnder(view, namespace, next === 'authorization' ? 'identity' : 'allow-list'),
      id: `grant-${mark.id}-${next}`,
      title: `${mark.text} until ${new Date(mark.until).toISOString()}: ${next === 'authorization' ? `${server.id} admits the caller` : `${next} of ${next === 'egress' ? client.id : server.id} lets it through`}`,
      workload: next === 'egress' ? client.id : server.id,
      ...(next === 'authorization' ? {} : { direction: next }),
      risks: [
        'a connection that is open when the grant ends may stay open until it closes: what a CNI does with it is its own',
      ],
    });
    const step = draft.steps[before];
    if (step === undefined) throw new Error('a grant’s policy is there already');
    states.push(stateAfter(now, step, view.rebuild));
  }
  const end = states.at(-1) ?? start;
  const after = compileWorld(end.inventory);
  const proof = compare(view, world, after, end.inventory, request);
  if (proof.beside.length > 0)
    return refuse(
      proof.beside,
      'a grant opens one connection or none: give the workloads labels and accounts of their own (sallyport plan NS --to identity)',
    );
  const steps = draft.steps.map((step): Step => ({ ...step, grant: mark }));
  const from_ = { ...view, namespace: server.namespace };
  return {
    kind: 'plan',
    mark,
    plan: grantPlan(from_, steps, planner),
    opens: proof.opens,
    compared: view.inventory.workloads.length * Math.max(0, view.inventory.workloads.length - 1),
    notes: [],
  };
}

function noSidecar(from: string, to: string): string {
  return `${to} takes mTLS alone, and ${from} has no sidecar to speak it: no policy gives it an identity, so nothing was opened`;
}

type Layer = 'egress' | 'ingress' | 'authorization';

function layerOf({ layer, direction }: Reason): Layer | undefined {
  if (layer === 'authorization') return 'authorization';
  return layer === 'network-policy' ? direction : undefined;
}

/** The policy that opens one layer: on exact labels at both ends, or not at all. */
function policyFor(
  { inventory }: State,
  layer: Layer,
  client: Workload,
  server: Workload,
  { protocol, port }: Extract<GrantRequest, { readonly kind: 'connection' }>,
  mark: GrantMark,
  by: string,
): { readonly object: KubeManifest } | { readonly refused: string; readonly fix: string } {
  const selectors: Labels[] = [];
  for (const workload of [client, server]) {
    const choice = chooseSelector(workload, inventory);
    if (choice.kind !== 'exact')
      return {
        refused:
          choice.kind === 'none'
            ? `the pods of ${workload.id} carry no label that outlives a run, so no policy can name them alone`
            : `every lasting label of ${workload.id} is also on ${choice.also.join(', ')}: a policy would open both`,
        fix: `add the label "sallyport.dev/workload: ${workload.name}" to its pod template`,
      };
    selectors.push(choice.labels);
  }
  const [of, at] = selectors as [Labels, Labels];
  const name = `sallyport-grant-${mark.id}-${layer}`;
  if (layer === 'authorization') {
    const principals = principalsOfWorkload(inventory, client.id);
    if (principals.length === 0)
      return {
        refused: `${server.id} admits callers by identity, and ${client.id} has no sidecar, so it has none: nothing was opened`,
        fix: `bring ${client.namespace} into the mesh first: sallyport plan ${client.namespace} --to permissive-mtls`,
      };
    const rule = { from: [{ source: { principals } }], to: [{ operation: { ports: [String(port)] } }] };
    return {
      object: asGranted(buildAuthorizationPolicy({ name, namespace: server.namespace }, at, [rule]), mark, by),
    };
  }
  const [own, peer, peerLabels] = layer === 'egress' ? [client, server, at] : [server, client, of];
  const selector = {
    ...(own.namespace === peer.namespace
      ? {}
      : { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': peer.namespace } } }),
    podSelector: { matchLabels: peerLabels },
  };
  const rule = { [layer === 'egress' ? 'to' : 'from']: [selector], ports: [{ protocol, port }] };
  return {
    object: asGranted(
      buildNetworkPolicy({ name, namespace: own.namespace }, layer === 'egress' ? of : at, layer, [rule]),
      mark,
      by,
    ),
  };
}

/** Everything that differs between two worlds, and what of it was not asked for. */
function compare(
  view: View,
  before: World,
  after: World,
  inventory: Inventory,
  asked: Extract<GrantRequest, { readonly kind: 'connection' }>,
): { readonly opens: readonly Opened[]; readonly beside: readonly string[] } {
  const opens: Opened[] = [];
  const beside: string[] = [];
  for (const change of changedConnections(before, after, { mesh: true })) {
    const one = difference(change);
    opens.push(one);
    const exact =
      change.src === asked.from &&
      change.dst === asked.to &&
      one.closed.length === 0 &&
      one.opened.length === 1 &&
      one.opened.every(
        ({ protocol, from, to }) => protocol === asked.protocol && from === asked.port && to === asked.port,
      ) &&
      moreUnknown(change).length === 0;
    if (!exact)
      beside.push(
        `it would also change ${change.src} -> ${change.dst}: ${[
          ...one.opened.map((ports) => `opens ${formatPorts(ports)}`),
          ...one.closed.map((ports) => `closes ${formatPorts(ports)}`),
          ...(one.opened.length + one.closed.length === 0 ? ['what is known of it'] : []),
        ].join(', ')}`,
      );
  }
  const had = judgeEdges(view.inventory, view.edges);
  const has = judgeEdges(inventory, view.edges);
  for (const edge of view.edges) {
    if (had.get(edge.id)?.answer === has.get(edge.id)?.answer) continue;
    if (edge.src.kind === 'workload' && edge.dst.kind === 'workload') continue;
    beside.push(
      `it would also change ${formatEdge(edge)}: ${had.get(edge.id)?.answer ?? ''} to ${has.get(edge.id)?.answer ?? ''}`,
    );
  }
  return { opens, beside };
}
