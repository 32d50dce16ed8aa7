import { chooseSelector } from '../candidates/selector.ts';
import type { Connection } from '../model/connectivity.ts';
import type { Protocol } from '../model/edge.ts';
import { compileWorld, evaluateConnection, isolationOf } from '../model/evaluate.ts';
import type { ConnectionQuery, ConnectionVerdict, Direction, Reason, World } from '../model/evaluate.ts';
import type { Origin, Workload } from '../model/inventory.ts';
import type { NetworkPolicy } from '../model/network-policy.ts';
import type { KubeManifest } from '../model/object.ts';
import { formatRef, refKey, refOf } from '../model/object.ts';
import { isNetworkPolicy, podsOfWorkload, selectsPod } from '../model/world.ts';
import type { Pod } from '../model/world.ts';
import { asArray, asObject } from '../shared/pure/json.ts';
import type { Json } from '../shared/pure/json.ts';
import { safeText } from '../shared/pure/text.ts';
import type { Flip, Query, ShownConnection, Why } from './render-reach.ts';

/** Where an object stands: its file and line, or its resourceVersion. By its name for people. */
export type Places = ReadonlyMap<string, string>;

/** `inDirectory` is put before the file names of a directory other than the cluster's own. */
export function placesOf(
  objects: readonly KubeManifest[],
  origins: ReadonlyMap<string, Origin>,
  inDirectory?: string,
): Places {
  const places = new Map<string, string>();
  for (const object of objects) {
    const ref = refOf(object);
    const origin = origins.get(refKey(ref));
    const version = object.metadata['resourceVersion'];
    const before = inDirectory === undefined ? '' : `${inDirectory.replace(/\/+$/u, '')}/`;
    if (origin !== undefined) places.set(formatRef(ref), safeText(`${before}${origin.file}:${origin.line}`));
    else if (typeof version === 'string') places.set(formatRef(ref), safeText(`resourceVersion ${version}`));
  }
  return places;
}

function whyOf({ decision, object, rule, text }: Reason, places: Places): Why {
  return {
    decision,
    object: object ?? null,
    rule: rule ?? null,
    where: object === undefined ? null : (places.get(object) ?? null),
    text,
  };
}

function reasonsOf({ answer, reasons }: ConnectionVerdict, places: Places): readonly Why[] {
  const deciding = { allowed: 'allows', denied: 'denies', unknown: 'unknown' } as const;
  // All that allow are needed; of what denies or is unknown each suffices, and the rest is beside the point.
  const own = reasons.filter(({ decision }) => decision === deciding[answer]);
  return own.map((reason) => whyOf(reason, places));
}

/** A connection with what decides on each of its runs of ports. */
export function explainConnection(
  world: World,
  connection: Connection,
  mesh: boolean,
  places: Places,
): ShownConnection {
  const ends = {
    src: { kind: 'workload', id: connection.src },
    dst: { kind: 'workload', id: connection.dst },
  } as const;
  const why = (protocol: Protocol, from: number, to: number, answer: ConnectionVerdict['answer']): readonly Why[] => {
    const whole = { ...ends, protocol, port: from, ...(to === from ? {} : { endPort: to }) };
    const verdict = evaluateConnection(world, whole, { mesh });
    // Rules that admit a run of ports only together, and pod sets that listen on one of them: the first port then.
    const sure =
      verdict.answer === answer ? verdict : evaluateConnection(world, { ...ends, protocol, port: from }, { mesh });
    return reasonsOf(sure, places);
  };
  return {
    ...connection,
    allowed: connection.allowed.map((one) => ({ ...one, why: why(one.protocol, one.from, one.to, 'allowed') })),
    unknown: connection.unknown.map((one) => ({ ...one, why: why(one.protocol, one.from, one.to, 'unknown') })),
  };
}

export interface Asked {
  readonly src: Workload;
  readonly dst: Workload;
  readonly protocol: Protocol;
  readonly port: number;
}

/** The answer to one question; with `explain` what decides, and the smallest change found that would turn it over. */
export function answerQuery(world: World, asked: Asked, mesh: boolean, explain: boolean, places: Places): Query {
  const query: ConnectionQuery = {
    src: { kind: 'workload', id: asked.src.id },
    dst: { kind: 'workload', id: asked.dst.id },
    protocol: asked.protocol,
    port: asked.port,
  };
  const verdict = evaluateConnection(world, query, { mesh });
  const base = { src: asked.src.id, dst: asked.dst.id, protocol: asked.protocol, port: asked.port };
  if (!explain) return { ...base, answer: verdict.answer };
  return {
    ...base,
    answer: verdict.answer,
    reasons: reasonsOf(verdict, places),
    flip: flipOf(world, asked, query, verdict, mesh, places),
  };
}

function flipOf(
  world: World,
  asked: Asked,
  query: ConnectionQuery,
  verdict: ConnectionVerdict,
  mesh: boolean,
  places: Places,
): Flip {
  if (verdict.answer === 'unknown')
    return { text: 'what is not known has to be settled first: see the reasons.', changes: [] };
  return verdict.answer === 'allowed'
    ? closing(world, query, verdict, mesh, places)
    : opening(world, asked, query, verdict, mesh, places);
}

type Change = Flip['changes'][number];

/** The rule without which it would be denied; what no policy isolates has none. */
function closing(
  world: World,
  query: ConnectionQuery,
  { reasons }: ConnectionVerdict,
  mesh: boolean,
  places: Places,
): Flip {
  for (const { direction, object, rule, layer } of reasons) {
    if (layer !== 'network-policy' || direction === undefined || object === undefined || rule === undefined) continue;
    const without = withRules(world, object, direction, (rules) => rules.filter((_, index) => index !== rule));
    if (without === undefined || evaluateConnection(without, query, { mesh }).answer !== 'denied') continue;
    const field = `spec.${direction}[${rule}]`;
    const change: Change = { action: 'remove-rule', object, where: places.get(object) ?? null, field, rule: null };
    return { text: 'without this one rule it is denied (simulated).', changes: [change] };
  }
  const isolated = reasons.some(({ layer, object }) => layer === 'network-policy' && object !== undefined);
  return isolated
    ? { text: 'more than one rule admits it: none of them decides alone.', changes: [] }
    : {
        text: 'no policy isolates either side: one that selects it and does not name the other denies it.',
        changes: [],
      };
}

function opening(
  world: World,
  asked: Asked,
  query: ConnectionQuery,
  { reasons }: ConnectionVerdict,
  mesh: boolean,
  places: Places,
): Flip {
  const denying = reasons.filter(({ decision }) => decision === 'denies');
  const changes: Change[] = [];
  let opened = world;
  for (const direction of ['egress', 'ingress'] as const) {
    if (!denying.some((one) => one.layer === 'network-policy' && one.direction === direction)) continue;
    const [self, other] = direction === 'egress' ? [asked.src, asked.dst] : [asked.dst, asked.src];
    const found = ruleFor(opened, direction, self, other, asked);
    if ('why' in found) return { text: found.why, changes: [] };
    const { policy, rule } = found;
    const next = withRules(opened, policy.name, direction, (rules) => [...rules, rule]);
    if (next === undefined) return { text: `${policy.name} is not an object that can be changed here.`, changes: [] };
    opened = next;
    const where = places.get(policy.name) ?? null;
    changes.push({ action: 'add-rule', object: policy.name, where, field: `spec.${direction}`, rule });
  }
  const { answer, reasons: left } = evaluateConnection(opened, query, { mesh });
  if (answer === 'allowed')
    return {
      text:
        changes.length === 1
          ? 'one rule more allows it (simulated).'
          : 'a rule more on each side allows it (simulated).',
      changes,
    };
  const still = left.find(({ decision }) => decision !== 'allows')?.text ?? '';
  const needed = changes.length === 0 ? '' : 'these rules are needed, and do not suffice: ';
  return { text: `${needed}${still}`, changes };
}

type Found =
  { readonly policy: NetworkPolicy; readonly rule: { readonly [key: string]: Json } } | { readonly why: string };

/** A rule that names the other workload and the port, in the policy that selects the fewest pods beside this workload's. */
function ruleFor(world: World, direction: Direction, self: Workload, other: Workload, asked: Asked): Found {
  if (other.podSets.some(({ hostNetwork }) => hostNetwork))
    return { why: `${other.id} uses the host network: a rule can name it by its nodes' addresses alone (ipBlock).` };
  const choice = chooseSelector(other, world.inventory);
  if (choice.kind === 'none') return { why: `${other.id} has no lasting label by which a rule could name it.` };
  const pods = podsOfWorkload(world, self.id).filter(({ hostNetwork }) => !hostNetwork);
  const neighbours = world.cluster.podsOfNamespace.get(self.namespace) ?? [];
  const selected = (policy: NetworkPolicy): number =>
    neighbours.filter((pod) => selectsPod(policy.selector, pod) !== 'no').length;
  const candidates = commonPolicies(world, direction, pods)
    .map((policy) => ({ policy, selected: selected(policy) }))
    .sort((a, b) => a.selected - b.selected);
  const [best] = candidates;
  if (best === undefined)
    return {
      why: `no one policy selects every pod of ${self.id} for ${direction}: each of its pod sets needs a rule.`,
    };
  const peer = {
    ...(other.namespace === self.namespace
      ? {}
      : { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': other.namespace } } }),
    podSelector: { matchLabels: { ...choice.labels } },
  };
  const { protocol, port } = asked;
  return {
    policy: best.policy,
    rule: { [direction === 'ingress' ? 'from' : 'to']: [peer], ports: [{ protocol, port }] },
  };
}

function commonPolicies(world: World, direction: Direction, pods: readonly Pod[]): readonly NetworkPolicy[] {
  const lists = pods.map((pod) =>
    isolationOf(world, pod, direction).policies.flatMap(({ policy, selected }) =>
      selected === 'yes' && !policy.broken && policy.cilium !== true ? [policy] : [],
    ),
  );
  const [first = [], ...others] = lists;
  return first.filter((policy) => others.every((list) => list.includes(policy)));
}

/** The world with the rules of one policy changed; undefined where it has no such policy of kind NetworkPolicy. */
function withRules(
  world: World,
  object: string,
  direction: Direction,
  edit: (rules: readonly Json[]) => readonly Json[],
): World | undefined {
  const isMeant = (manifest: KubeManifest): boolean =>
    isNetworkPolicy(manifest) && formatRef(refOf(manifest)) === object;
  if (!world.inventory.policies.some(isMeant)) return undefined;
  const policies = world.inventory.policies.map((manifest): KubeManifest => {
    if (!isMeant(manifest)) return manifest;
    const spec = asObject(manifest['spec']);
    const types = asArray(spec['policyTypes']);
    // With the types left out, the presence of egress rules decides what is isolated: that must stay as it is.
    const kept = types.length > 0 ? types : asArray(spec['egress']).length > 0 ? ['Ingress', 'Egress'] : ['Ingress'];
    return { ...manifest, spec: { ...spec, policyTypes: kept, [direction]: [...edit(asArray(spec[direction]))] } };
  });
  return compileWorld({ ...world.inventory, policies });
}
