import { chooseSelector } from '../candidates/selector.ts';
import type { Protocol } from '../model/edge.ts';
import { compileWorld, evaluateConnection, isolationOf } from '../model/evaluate.ts';
import type { ConnectionQuery, ConnectionVerdict, Direction, Reason, World } from '../model/evaluate.ts';
import type { Labels, Workload } from '../model/inventory.ts';
import type { NetworkPolicy } from '../model/network-policy.ts';
import type { KubeManifest } from '../model/object.ts';
import { formatRef, refOf } from '../model/object.ts';
import { isNetworkPolicy, podsOfWorkload, selectsPod } from '../model/world.ts';
import type { Pod } from '../model/world.ts';
import { asArray, asObject, isJsonObject } from '../shared/pure/json.ts';
import type { Json, JsonObject } from '../shared/pure/json.ts';
import type { Asked, Places } from './explain-reach.ts';
import type { Flip } from './render-reach.ts';

type Change = Flip['changes'][number];

/** The smallest change found that turns an answer over. Each is simulated before it is proposed. */
export function flipOf(
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
    : opening(world, asked, query, mesh, places);
}

/** The rule without which it would be denied; what no policy isolates has none. */
function closing(
  world: World,
  query: ConnectionQuery,
  { reasons }: ConnectionVerdict,
  mesh: boolean,
  places: Places,
): Flip {
  for (const { object, field } of reasons) {
    if (object === undefined || field === undefined) continue;
    const change: Change = { action: 'remove-rule', object, where: places.get(object) ?? null, field, rule: null };
    const without = applied(world, change);
    if (without === undefined || evaluateConnection(without, query, { mesh }).answer !== 'denied') continue;
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

/** Both sides, and on each of them what is before NetworkPolicy, it, and what is behind it. */
const MOST_CHANGES = 6;

function opening(world: World, asked: Asked, query: ConnectionQuery, mesh: boolean, places: Places): Flip {
  const changes: Change[] = [];
  let opened = world;
  let verdict = evaluateConnection(opened, query, { mesh });
  while (verdict.answer === 'denied' && changes.length < MOST_CHANGES) {
    const denials = verdict.reasons.filter(
      ({ decision, layer, admits }) => decision === 'denies' && (layer === 'network-policy' || admits !== undefined),
    );
    const denial = denials.find(({ direction }) => direction === 'egress') ?? denials[0];
    if (denial === undefined) break;
    const found = changeOf(opened, denial, asked, places);
    if (found === undefined) break;
    if ('why' in found) return { text: found.why, changes: [] };
    const next = applied(opened, found);
    if (next === undefined) return { text: `${found.object} is not an object that can be changed here.`, changes: [] };
    changes.push(found);
    opened = next;
    const before = denials.length;
    verdict = evaluateConnection(opened, query, { mesh });
    const same = verdict.reasons.filter(({ text }) => denials.some((one) => one.text === text));
    // A change that takes nothing away would be proposed for ever.
    if (verdict.answer === 'denied' && same.length >= before) break;
  }
  if (verdict.answer === 'allowed') return { text: `${countOf(changes)} (simulated).`, changes };
  const left = verdict.reasons.find(({ decision }) => decision !== 'allows');
  const needed = changes.length === 0 ? '' : 'these changes are needed, and do not suffice: ';
  const remedy = left?.remedy === undefined ? '' : ` ${left.remedy}`;
  return { text: `${needed}${left?.text ?? ''}${remedy}`, changes };
}

/** Undefined where no object of the network or the mesh is one to change. */
function changeOf(world: World, denial: Reason, asked: Asked, places: Places): Found | undefined {
  const { admits, object, direction } = denial;
  if (direction !== undefined) return changeFor(world, denial, direction, asked, places);
  if (admits === undefined || object === undefined) return undefined;
  return { action: 'add-rule', object, where: places.get(object) ?? null, field: 'spec.rules', rule: admits };
}

function countOf(changes: readonly Change[]): string {
  if (changes.every(({ action }) => action === 'add-rule')) {
    if (changes.length === 1) return 'one rule more allows it';
    if (changes.length === 2) return 'a rule more on each side allows it';
  }
  return changes.length === 1 ? 'one change allows it' : `${changes.length} changes allow it`;
}

type Found = Change | { readonly why: string };

function changeFor(world: World, denial: Reason, direction: Direction, asked: Asked, places: Places): Found {
  const [self, other] = direction === 'egress' ? [asked.src, asked.dst] : [asked.dst, asked.src];
  const { object, field } = denial;
  const place = (name: string): string | null => places.get(name) ?? null;
  const ordered = world.ordered.find(({ name }) => name === object);
  if (object !== undefined && field !== undefined && ordered?.engine === 'cilium') {
    // Nothing stands above a deny rule of Cilium.
    return { action: 'remove-rule', object, where: place(object), field, rule: null };
  }
  const labels = labelsFor(world, other);
  if ('why' in labels) return labels;
  const peer: Peer = { ...asked, direction, namespace: other.namespace, labels: labels.labels };
  if (object !== undefined && ordered !== undefined && ordered.engine !== 'cilium') {
    const rule = ordered.engine === 'admin' ? adminRule(ordered.ref.kind, peer) : calicoRule(ordered.namespace, peer);
    return field === undefined
      ? { action: 'add-rule', object, where: place(object), field: `spec.${direction}`, rule }
      : { action: 'insert-rule', object, where: place(object), field, rule };
  }
  const policy = bestPolicy(world, direction, self);
  if (policy === undefined)
    return {
      why: `no one policy selects every pod of ${self.id} for ${direction}: each of its pod sets needs a rule.`,
    };
  const rule = policy.cilium === true ? ciliumRule(policy.namespace, peer) : networkRule(policy.namespace, peer);
  const list = `${policy.specField ?? 'spec'}.${direction}`;
  return { action: 'add-rule', object: policy.name, where: place(policy.name), field: list, rule };
}

function labelsFor(world: World, other: Workload): { readonly labels: Labels } | { readonly why: string } {
  if (other.podSets.some(({ hostNetwork }) => hostNetwork))
    return { why: `${other.id} uses the host network: a rule can name it by its nodes' addresses alone (ipBlock).` };
  const choice = chooseSelector(other, world.inventory);
  return choice.kind === 'none'
    ? { why: `${other.id} has no lasting label by which a rule could name it.` }
    : { labels: choice.labels };
}

/** The policy, of those that select every pod of the workload, that selects the fewest others. */
function bestPolicy(world: World, direction: Direction, self: Workload): NetworkPolicy | undefined {
  const pods = podsOfWorkload(world, self.id).filter(({ hostNetwork }) => !hostNetwork);
  const neighbours = world.cluster.podsOfNamespace.get(self.namespace) ?? [];
  const selected = (policy: NetworkPolicy): number =>
    neighbours.filter((pod) => selectsPod(policy.selector, pod) !== 'no').length;
  const [best] = commonPolicies(world, direction, pods)
    .map((policy) => ({ policy, selected: selected(policy) }))
    .sort((a, b) => a.selected - b.selected);
  return best?.policy;
}

function commonPolicies(world: World, direction: Direction, pods: readonly Pod[]): readonly NetworkPolicy[] {
  const lists = pods.map((pod) =>
    isolationOf(world, pod, direction).policies.flatMap(({ policy, selected }) =>
      selected === 'yes' && !policy.broken ? [policy] : [],
    ),
  );
  const [first = [], ...others] = lists;
  return first.filter((policy) => others.every((list) => list.includes(policy)));
}

// ---- One rule in the words of each kind

interface Peer {
  readonly direction: Direction;
  readonly namespace: string;
  readonly labels: Labels;
  readonly protocol: Protocol;
  readonly port: number;
}

const NAME_LABEL = 'kubernetes.io/metadata.name';

function networkRule(ownNamespace: string, { direction, namespace, labels, protocol, port }: Peer): JsonObject {
  const peer = {
    ...(namespace === ownNamespace ? {} : { namespaceSelector: { matchLabels: { [NAME_LABEL]: namespace } } }),
    podSelector: { matchLabels: { ...labels } },
  };
  return { [direction === 'ingress' ? 'from' : 'to']: [peer], ports: [{ protocol, port }] };
}

function adminRule(kind: string, { direction, namespace, labels, protocol, port }: Peer): JsonObject {
  const pods = {
    namespaceSelector: { matchLabels: { [NAME_LABEL]: namespace } },
    podSelector: { matchLabels: { ...labels } },
  };
  const peers = { [direction === 'ingress' ? 'from' : 'to']: [{ pods }] };
  return kind === 'ClusterNetworkPolicy'
    ? { action: 'Accept', ...peers, protocols: [{ [protocol.toLowerCase()]: { destinationPort: { number: port } } }] }
    : { action: 'Allow', ...peers, ports: [{ portNumber: { protocol, port } }] };
}

function calicoRule(ownNamespace: string, { direction, namespace, labels, protocol, port }: Peer): JsonObject {
  const peer = {
    selector: Object.entries(labels)
      .map(([key, value]) => `${key} == '${value}'`)
      .join(' && '),
    ...(namespace === ownNamespace ? {} : { namespaceSelector: `projectcalico.org/name == '${namespace}'` }),
  };
  const base = { action: 'Allow', protocol };
  return direction === 'ingress'
    ? { ...base, source: peer, destination: { ports: [port] } }
    : { ...base, destination: { ...peer, ports: [port] } };
}

function ciliumRule(ownNamespace: string, { direction, namespace, labels, protocol, port }: Peer): JsonObject {
  const where = namespace === ownNamespace ? {} : { 'k8s:io.kubernetes.pod.namespace': namespace };
  return {
    [direction === 'ingress' ? 'fromEndpoints' : 'toEndpoints']: [{ matchLabels: { ...labels, ...where } }],
    toPorts: [{ ports: [{ port: String(port), protocol }] }],
  };
}

// ---- Making the change

/** The world with the change made; undefined where it has no such object. */
function applied(world: World, { action, object, field, rule }: Change): World | undefined {
  const isMeant = (manifest: KubeManifest): boolean => formatRef(refOf(manifest)) === object;
  if (!world.inventory.policies.some(isMeant)) return undefined;
  const path = [...field.matchAll(/[^.[\]]+/gu)].map(([part]) => part);
  const at = action === 'add-rule' ? undefined : Number(path.pop());
  const policies = world.inventory.policies.map((manifest): KubeManifest => {
    if (!isMeant(manifest)) return manifest;
    const edited = edit(withTypes(manifest), path, (value) => {
      const list = asArray(value);
      const start = at ?? list.length;
      const put = rule === null ? [] : [rule as JsonObject];
      return [...list.slice(0, start), ...put, ...list.slice(action === 'remove-rule' ? start + 1 : start)];
    });
    return edited as KubeManifest;
  });
  return compileWorld({ ...world.inventory, policies });
}

// With the types left out, the presence of rules decides what is isolated: that must stay as it is.
function withTypes(manifest: KubeManifest): KubeManifest {
  const spec = asObject(manifest['spec']);
  if (isNetworkPolicy(manifest) && asArray(spec['policyTypes']).length === 0) {
    const policyTypes = asArray(spec['egress']).length > 0 ? ['Ingress', 'Egress'] : ['Ingress'];
    return { ...manifest, spec: { ...spec, policyTypes } };
  }
  return manifest;
}

function edit(
  value: Json | undefined,
  [key, ...rest]: readonly string[],
  change: (value: Json | undefined) => Json,
): Json {
  if (key === undefined) return change(value);
  if (Array.isArray(value)) {
    return (value as readonly Json[]).map((item, index) => (index === Number(key) ? edit(item, rest, change) : item));
  }
  const object = isJsonObject(value) ? value : {};
  return { ...object, [key]: edit(object[key], rest, change) };
}
