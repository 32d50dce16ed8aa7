import { principalsOfWorkload } from '../candidates/authorization.ts';
import { chooseSelector } from '../candidates/selector.ts';
import type { AppliedStep, View } from '../engine/contract.ts';
import type { Protocol } from '../model/edge.ts';
import { formatEdge } from '../model/edge.ts';
import { changedConnections, portsWithout } from '../model/connectivity.ts';
import type { AllowedPorts, Connection } from '../model/connectivity.ts';
import { compileWorld, evaluateConnection } from '../model/evaluate.ts';
import type { ConnectionQuery, Reason, World } from '../model/evaluate.ts';
import type { Gate } from '../model/finding.ts';
import type { GrantMark } from '../model/grant.ts';
import { asGranted, GRANT_LABEL, lentAnnotations } from '../model/grant.ts';
import type { Inventory, Labels, Snapshot, Workload } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { isObject, namespaceOf } from '../model/object.ts';
import type { PhaseName } from '../model/phase.ts';
import { phaseIndex } from '../model/phase.ts';
import {
  buildAuthorizationPolicy,
  buildNetworkPolicy,
  buildNamedPodsRole,
  buildPersonBinding,
} from '../objects/build.ts';
import type { Planner } from '../plan/assemble.ts';
import { assembleGrant, driftGate } from '../plan/assemble.ts';
import type { Plan, Step } from '../plan/plan.ts';
import { deriveUndo } from '../plan/rollback.ts';
import type { Resolution } from '../plan/rollback.ts';
import { judgeEdges, stateAfter } from '../plan/simulate.ts';
import { draftSteps } from '../plan/steps.ts';
import type { RecordedGrant } from './recorded-grants.ts';
import { asArray, asObject, asString } from '../shared/pure/json.ts';
import { sha256 } from '../shared/pure/hash.ts';
import { uniqueSorted } from '../shared/pure/order.ts';

/** Who grants, why, and from when to when (ms since the epoch). */
export interface GrantTerms {
  readonly reason: string;
  readonly by: string;
  readonly since: number;
  readonly until: number;
}

/** What a grant may ask for. */
export type GrantRequest =
  | {
      readonly kind: 'connection';
      /** Workload ids. */
      readonly from: string;
      readonly to: string;
      readonly protocol: Protocol;
      readonly port: number;
    }
  | {
      readonly kind: 'person';
      readonly subject: { readonly kind: 'User' | 'Group'; readonly name: string };
      readonly namespace: string;
      /** Names of pods of that namespace. */
      readonly exec: readonly string[];
      readonly portForward: readonly string[];
    };

/** A pair of workloads whose connections a plan changes. */
export interface Opened {
  readonly src: string;
  readonly dst: string;
  readonly opened: readonly AllowedPorts[];
  readonly closed: readonly AllowedPorts[];
}

export type Granted =
  | {
      readonly kind: 'plan';
      readonly mark: GrantMark;
      readonly plan: Plan;
      /** Every pair of workloads whose connections differ afterwards, by the evaluator; of a person's grant none. */
      readonly opens: readonly Opened[];
      /** How many pairs were compared. */
      readonly compared: number;
      readonly notes: readonly string[];
    }
  | { readonly kind: 'allowed'; readonly why: readonly string[] }
  | { readonly kind: 'refused'; readonly why: readonly string[]; readonly fix: string };

/** Names a grant: 8 hex digits of what was asked for, why and until when, so that the same request has the same plan. */
export function grantId(request: object, { reason, until }: GrantTerms): string {
  return `g${sha256(JSON.stringify([request, reason, until])).slice(0, 8)}`;
}

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
    plan: assembleGrant(from_, 'up', steps, grantGates(from_, steps, planner)),
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

type Ports = Pick<Connection, 'allowed' | 'unknown'>;

function moreUnknown({ before, after }: { readonly before: Ports; readonly after: Ports }): readonly AllowedPorts[] {
  return portsWithout(after.unknown, before.unknown);
}

function difference(change: {
  readonly src: string;
  readonly dst: string;
  readonly before: Ports;
  readonly after: Ports;
}): Opened {
  return {
    src: change.src,
    dst: change.dst,
    opened: portsWithout(change.after.allowed, change.before.allowed),
    closed: portsWithout(change.before.allowed, change.after.allowed),
  };
}

export function formatPorts({ protocol, from, to }: AllowedPorts): string {
  return `${from}${from === to ? '' : `-${to}`}/${protocol}`;
}

/**
 * What may hold a grant up: somebody else's objects, Git, windows without changes, drift. The watch of a phase does not: a grant takes
 * nothing from anybody. Nor do approvals, which are of plans that move a namespace.
 */
function grantGates(view: View, steps: readonly Step[], planner: Planner): readonly Gate[] {
  return [...driftGate(view, steps), ...planner.common(view, steps).filter(({ id }) => id !== 'soak')].map((gate) =>
    planner.settle(view, gate),
  );
}

/**
 * Lets a person open a shell in, or forward ports of, pods that are named: a Role with their names and a binding to it. The verbs are
 * `create` (SPDY, and from Kubernetes 1.35 on every way) and `get` (WebSockets), and `get` on the pods themselves, which kubectl asks for
 * first.
 */
export function planPerson(
  view: View,
  request: Extract<GrantRequest, { readonly kind: 'person' }>,
  terms: GrantTerms,
  planner: Planner,
): Granted {
  const { subject, namespace } = request;
  const pods = uniqueSorted([...request.exec, ...request.portForward]);
  const rights = [
    { verb: 'exec', subresource: 'pods/exec', pods: request.exec },
    { verb: 'port-forward', subresource: 'pods/portforward', pods: request.portForward },
  ].filter((one) => one.pods.length > 0);
  const mark: GrantMark = {
    id: grantId(request, terms),
    kind: 'person',
    text: `${subject.kind} ${subject.name} may ${rights.map((one) => `${one.verb} in ${one.pods.map((pod) => `${namespace}/${pod}`).join(', ')}`).join(' and ')}`,
    reason: terms.reason,
    since: terms.since,
    until: terms.until,
    pods: pods.map((pod) => `${namespace}/${pod}`),
  };
  const own = { name: `sallyport-grant-${mark.id}`, namespace };
  const role = asGranted(buildNamedPodsRole(own, pods, rights), mark, terms.by);
  const binding = asGranted(buildPersonBinding(own, subject), mark, terms.by);
  const draft = draftSteps(view.snapshot.objects);
  const step = { namespace, phase: 'none' as const };
  const until = new Date(mark.until).toISOString();
  draft.ensure(role, {
    ...step,
    id: `grant-${mark.id}-role`,
    title: `the right itself, on ${pods.length === 1 ? 'this pod' : 'these pods'} alone: ${mark.text}`,
  });
  draft.ensure(binding, {
    ...step,
    id: `grant-${mark.id}-binding`,
    title: `${mark.text}, until ${until}`,
    risks: [
      'a session that is open when the grant ends goes on: the API server asks for the right once, when it begins',
    ],
  });
  const steps = draft.steps.map((one): Step => ({ ...one, grant: mark }));
  const notes = pods
    .filter((pod) => ownedByStatefulSet(view.snapshot, namespace, pod))
    .map(
      (pod) =>
        `${namespace}/${pod} is of a StatefulSet: the pod that takes its place has the same name, and the right holds for it too`,
    );
  return {
    kind: 'plan',
    mark,
    plan: assembleGrant({ ...view, namespace }, 'up', steps, grantGates({ ...view, namespace }, steps, planner)),
    opens: [],
    compared: 0,
    notes,
  };
}

function ownedByStatefulSet(snapshot: Snapshot, namespace: string, pod: string): boolean {
  return snapshot.objects.some(
    (object) =>
      isObject(object, '', 'Pod') &&
      namespaceOf(object) === namespace &&
      object.metadata.name === pod &&
      asArray(object.metadata['ownerReferences']).some((owner) => asObject(owner)['kind'] === 'StatefulSet'),
  );
}

/**
 * Suspends what the namespace's phase enforces, without taking it away: a NetworkPolicy that allows all beside those that are there, an
 * AuthorizationPolicy that admits all, and PeerAuthentications that take plaintext again. The phase stays on record. What others enforce
 * (peers' own policies, administrators' denials, Istio's DENY) stands as it is.
 */
export function planBreakGlass(view: View, terms: GrantTerms): Granted {
  const { namespace } = view;
  const phase = view.phases.get(namespace) ?? 'none';
  if (phaseIndex(phase) < phaseIndex('allow-list'))
    return { kind: 'allowed', why: [`${namespace} is in phase ${phase}, which refuses nobody`] };
  const mark: GrantMark = {
    id: grantId({ breakGlass: namespace }, terms),
    kind: 'break-glass',
    text: `namespace ${namespace}: what phase ${phase} enforces is suspended`,
    reason: terms.reason,
    since: terms.since,
    until: terms.until,
  };
  const draft = draftSteps(view.snapshot.objects);
  const until = new Date(mark.until).toISOString();
  const name = `sallyport-grant-${mark.id}`;
  // Loosened before anything else: a caller may need both.
  if (phaseIndex(phase) >= phaseIndex('strict-mtls'))
    for (const object of view.snapshot.objects) {
      if (!isObject(object, 'security.istio.io', 'PeerAuthentication') || namespaceOf(object) !== namespace) continue;
      const mode = asString(asObject(asObject(object['spec'])['mtls'])['mode']);
      if (mode !== 'STRICT') continue;
      const annotations = lentAnnotations(mark, terms.by, mode);
      const annotate =
        object.metadata['annotations'] === undefined
          ? [{ path: ['metadata', 'annotations'], after: annotations }]
          : Object.entries(annotations).map(([key, after]) => ({ path: ['metadata', 'annotations', key], after }));
      draft.edit(
        object,
        [
          { path: ['metadata', 'labels', GRANT_LABEL], after: mark.id },
          ...annotate,
          { path: ['spec', 'mtls', 'mode'], after: 'PERMISSIVE' },
        ],
        {
          namespace,
          phase: 'strict-mtls',
          id: `grant-${mark.id}-mtls-${object.metadata.name}`,
          title: `PeerAuthentication ${object.metadata.name} takes plaintext again until ${until}`,
        },
      );
    }
  if (phaseIndex(phase) >= phaseIndex('identity'))
    draft.ensure(asGranted(buildAuthorizationPolicy({ name, namespace }, undefined, [{}]), mark, terms.by), {
      namespace,
      phase: 'identity',
      id: `grant-${mark.id}-authorization`,
      title: `every caller is admitted in ${namespace} until ${until}`,
    });
  const open: KubeManifest = {
    ...buildNetworkPolicy({ name, namespace }, {}, 'ingress', [{}]),
    spec: { podSelector: {}, policyTypes: ['Ingress', 'Egress'], ingress: [{}], egress: [{}] },
  };
  draft.ensure(asGranted(open, mark, terms.by), {
    namespace,
    phase: 'allow-list',
    id: `grant-${mark.id}-network`,
    title: `every connection from and to pods of ${namespace} is let through until ${until}`,
    risks: ['what passes meanwhile is seen like any other traffic: look at it before it is taken as evidence'],
  });
  const steps = draft.steps.map(({ confirm, ...step }): Step => ({
    ...step,
    ...(confirm === undefined ? {} : { confirm }),
    grant: mark,
  }));
  let end: State = { snapshot: view.snapshot, inventory: view.inventory };
  for (const step of steps) end = stateAfter(end, step, view.rebuild);
  const changed = changedConnections(compileWorld(view.inventory), compileWorld(end.inventory), { mesh: true });
  const opens = [...changed].map(difference);
  const closing = opens.filter(({ closed }) => closed.length > 0);
  if (closing.length > 0)
    return {
      kind: 'refused',
      why: closing.map(
        ({ src, dst, closed }) => `it would close ${src} -> ${dst} ${closed.map(formatPorts).join(', ')}`,
      ),
      fix: `sallyport rollback ${namespace} takes the phase back`,
    };
  return {
    kind: 'plan',
    mark,
    plan: assembleGrant(view, 'up', steps, []),
    opens,
    compared: view.inventory.workloads.length * Math.max(0, view.inventory.workloads.length - 1),
    notes: [
      'policies of other namespaces, of administrators and DENY policies of the mesh stand as they are: a caller whose own namespace holds it back is held back still',
    ],
  };
}

/**
 * The end of a grant: its objects go, what it lent is given back, newest first, whatever somebody made of them meanwhile. Nothing holds it
 * up. What is gone already is taken down as ended.
 */
export function planEnd(view: View, grant: RecordedGrant): Plan {
  const undo = grant.steps.toSorted((a, b) => b.seq - a.seq);
  const resolutions = new Map<string, Resolution>(grant.objects.map((object) => [object, 'before']));
  const { steps } = deriveUndo(undo, view.applied, view.snapshot.objects, resolutions);
  const { namespace } = grant;
  const [mark] = grant.steps.flatMap(({ step }) => step.grant ?? []);
  return assembleGrant(
    { ...view, namespace },
    'down',
    steps.map((step): Step => (mark === undefined ? step : { ...step, grant: mark })),
    [],
  );
}

/** The newest break-glass of a namespace that is not over. */
export function suspension(applied: readonly AppliedStep[], namespace: string, now: number): GrantMark | undefined {
  return applied.findLast(
    ({ namespace: of, step }) => of === namespace && step.grant?.kind === 'break-glass' && step.grant.until > now,
  )?.step.grant;
}
