import { parseCidr } from '../../model/cidr-set.ts';
import type { TenantFact } from '../../model/config.ts';
import type { Inventory, Labels, NamespaceInfo, PodSet, Workload } from '../../model/inventory.ts';
import { isDnsSubdomain, isLabelKey, isLabelValue } from '../../model/selector.ts';
import type { Json, JsonObject } from '../../shared/pure/json.ts';
import { asArray, asObject, asString, asStringMap } from '../../shared/pure/json.ts';
import { groupBy, sortBy, uniqueSorted } from '../../shared/pure/order.ts';
import { pathFault } from '../paths.ts';
import type { ParameterSpec, Pattern } from './pattern.ts';

const NAMESPACE_NAME = 'kubernetes.io/metadata.name';

/** What parameters are read against. */
export interface ParameterContext {
  readonly inventory: Inventory;
  /** Of -n. */
  readonly namespace?: string;
  readonly tenants: readonly TenantFact[];
}

export interface Resolved {
  readonly values: JsonObject;
  /** What is wrong with what was typed; nothing may be applied then. */
  readonly problems: readonly string[];
  /** Parameters without a value: `check` leaves the pattern out and says which. */
  readonly missing: readonly string[];
}

/**
 * The values of a pattern's parameters: what was typed, else the default. Grammar by type:
 *
 * - group: `ns+ns`, with pod labels `ns+ns/key=value`; `label:key=value` (namespaces that carry it); `plane:data`, `stage:training` (what the
 *   inventory takes workloads for; where objects are written, the namespaces that hold such workloads)
 * - groups: `name=GROUP,name=GROUP`; `label:key` (one for each value); `config` (the tenants of the configuration)
 * - ports: `8080,9000-9010,53/udp`, or `any`
 * - names: DNS names, `*.` in front for all below · cidrs · accounts: `namespace/account` · label: `key=value` · words, word, number, date
 * - paths: as AuthorizationPolicy takes them; one that would match more than asked is refused · methods
 */
export function resolveParameters(
  pattern: Pick<Pattern, 'parameters'>,
  given: ReadonlyMap<string, string>,
  context: ParameterContext,
): Resolved {
  const problems: string[] = [];
  const missing: string[] = [];
  const { mesh } = context.inventory.facts;
  const values: Record<string, Json> = {
    namespace: context.namespace ?? '',
    trustDomain: mesh.trustDomain,
    rootNamespace: mesh.rootNamespace,
    meshMode: mesh.kind === 'istio' ? mesh.mode : 'none',
  };
  for (const name of given.keys())
    if (!Object.hasOwn(pattern.parameters, name))
      problems.push(
        `there is no parameter ${name}: it is one of ${Object.keys(pattern.parameters).join(', ') || '(none)'}`,
      );
  for (const [name, spec] of Object.entries(pattern.parameters)) {
    const typed = given.get(name) ?? spec.default;
    if (typed === undefined || typed.trim() === '') {
      if (given.has(name) && spec.optional !== true) problems.push(`${name} is empty`);
      else if (spec.optional === true) values[name] = emptyOf(spec);
      else missing.push(name);
      continue;
    }
    const text = typed.trim() === '@namespaces' ? hereOrEverywhere(context) : typed.trim();
    if (text === '@namespace' && context.namespace === undefined) {
      missing.push(name);
      continue;
    }
    const read = parse(spec, text, context, values);
    if (typeof read === 'string') {
      // A default that finds nothing in this cluster is nobody's mistake.
      if (given.has(name)) problems.push(`${name}=${text}: ${read}`);
      else missing.push(name);
    } else values[name] = read.value;
  }
  return { values: { ...values, ...derived(values) }, problems, missing };
}

/** What templates need besides, made of the parameters themselves. */
function derived(values: JsonObject): JsonObject {
  const l7 = [...asArray(values['methods']), ...asArray(values['paths'])].length > 0;
  return {
    'callers-principals': asArray(values['callers']).map((one) => asObject(one)['principal'] ?? ''),
    'callers-namespaces': uniqueSorted(
      asArray(values['callers']).flatMap((one) => asString(asObject(one)['namespace']) ?? []),
    ),
    // Who enforces AuthorizationPolicy for pods: in ambient mode requests are seen by a waypoint alone.
    enforcer: values['meshMode'] !== 'ambient' ? 'sidecar' : l7 ? 'waypoint' : 'ztunnel',
    admitted: [...asArray(values['ranges']), ...asArray(values['internal'])],
  };
}

/** The namespace of -n, or all of them but those of the system. */
function hereOrEverywhere({ namespace, inventory }: ParameterContext): string {
  return namespace ?? inventory.namespaces.flatMap((one) => (one.system === undefined ? [one.name] : [])).join('+');
}

function emptyOf({ type }: ParameterSpec): Json {
  return type === 'word' || type === 'date' || type === 'number' ? '' : [];
}

type Read = { readonly value: Json } | string;

function parse(spec: ParameterSpec, text: string, context: ParameterContext, values: JsonObject): Read {
  switch (spec.type) {
    case 'group':
      return parseGroup('it', text === '@namespace' ? (context.namespace ?? '') : text, context);
    case 'groups':
      return parseGroups(text, context);
    case 'ports':
      return parsePorts(text);
    case 'label': {
      const label = parseLabel(text);
      return label === undefined ? 'a label is key=value' : { value: { key: label[0], value: label[1] } };
    }
    case 'choice':
      return spec.choices?.includes(text) === true ? { value: text } : `it is one of ${spec.choices?.join(', ') ?? ''}`;
    case 'cidrs':
      return parseEach(
        text,
        (one) => {
          const parsed = parseCidr(one);
          return parsed === undefined || parsed.hostBits || parsed.form === 'ambiguous' ? undefined : one;
        },
        'a range is written as 10.0.0.0/8, without bits beyond its prefix',
      );
    case 'names':
      return parseEach(text, parseName, 'a name is written as pypi.org, or *.example.org for all below');
    case 'accounts':
      return parseEach(text, (one) => parseAccount(one, context), 'an account is written as namespace/account');
    case 'words':
      return text === '@jobs'
        ? jobsOf(context, values)
        : parseEach(text, (one) => (isLabelValue(one) ? one : undefined), 'it must do as the value of a label');
    case 'word':
      return isLabelValue(text) ? { value: text } : 'it must do as the value of a label';
    case 'number':
      return /^\d{1,6}$/u.test(text) ? { value: Number(text) } : 'it is a whole number';
    case 'date':
      return /^\d{4}-\d{2}-\d{2}$/u.test(text) && !Number.isNaN(Date.parse(text))
        ? { value: text }
        : 'a day is written as 2026-11-23';
    case 'methods':
      return parseEach(
        text,
        (one) => (/^[A-Z]{3,10}$/u.test(one) ? one : undefined),
        'a method is written as GET or POST',
      );
    case 'paths': {
      const list = text.split(',').map((one) => one.trim());
      const { version } = context.inventory.facts.mesh;
      const faults = list.flatMap((one) => pathFault(one, version) ?? []);
      return faults.length > 0 ? faults.join('; ') : { value: list };
    }
  }
}

function parseEach(text: string, one: (item: string) => Json | undefined, form: string): Read {
  const items = text.split(',').map((item) => item.trim());
  const out: Json[] = [];
  for (const item of items) {
    const value = one(item);
    if (value === undefined) return `${item === '' ? 'an item is empty' : `"${item}" is none`}: ${form}`;
    out.push(value);
  }
  return { value: out };
}

function parseLabel(text: string): readonly [string, string] | undefined {
  const at = text.indexOf('=');
  const [key, value] = [text.slice(0, at), text.slice(at + 1)];
  return at > 0 && isLabelKey(key) && isLabelValue(value) && value !== '' ? [key, value] : undefined;
}

/** `id` is fit for the name of an object. `*.example.org` is all names below, at any depth in Istio's and one label deep in Cilium's reading. */
function parseName(text: string): Json | undefined {
  const wildcard = text.startsWith('*.');
  const name = wildcard ? text.slice(2) : text;
  if (!isDnsSubdomain(name) || !name.includes('.')) return undefined;
  return {
    name: text,
    wildcard: wildcard ? 'yes' : 'no',
    id: `${wildcard ? 'all-' : ''}${name.replaceAll('.', '-')}`,
    fqdn: wildcard ? { matchPattern: text } : { matchName: text },
  };
}

function parseAccount(text: string, { inventory }: ParameterContext): Json | undefined {
  const [namespace = '', name = '', ...more] = text.split('/');
  if (more.length > 0 || !isDnsSubdomain(namespace) || !isDnsSubdomain(name)) return undefined;
  return { namespace, name, principal: `${inventory.facts.mesh.trustDomain}/ns/${namespace}/sa/${name}` };
}

function parsePorts(text: string): Read {
  if (text === 'any') return { value: { any: 'yes', network: [], cilium: [], numbers: [], text: 'any' } };
  const network: { readonly protocol: string; readonly port: number; readonly endPort?: number }[] = [];
  for (const item of text.split(',')) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/iu.exec(item.trim());
    const [first, last] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
    if (match === null || first < 1 || last > 65_535 || last < first)
      return `"${item}" is no port: it is a number from 1 to 65535 or a range, 9000-9010, with /udp where it is not TCP`;
    const protocol = (match[3] ?? 'tcp').toUpperCase();
    network.push({ protocol, port: first, ...(last > first ? { endPort: last } : {}) });
  }
  const cilium = [{ ports: network.map((one) => ({ ...one, port: String(one.port) })) }];
  // AuthorizationPolicy knows no ranges: a range is not among these.
  const numbers = network
    .filter((one) => one.endPort === undefined && one.protocol === 'TCP')
    .map((one) => String(one.port));
  return { value: { any: 'no', network, cilium, numbers, text } };
}

// ---------------------------------------------------------------- Groups

/** A set of pods as patterns speak of it, read back from the value of a group. */
export interface Group {
  readonly name: string;
  readonly namespaces: readonly string[];
  readonly podLabels: Labels;
  /** What the inventory takes its workloads for, where it is named so. */
  readonly classified?: { readonly by: 'plane' | 'stage'; readonly is: string };
}

/** Undefined for a value that is no group. */
export function groupOf(value: Json | undefined): Group | undefined {
  const object = asObject(value);
  const name = asString(object['name']);
  if (name === undefined || !Array.isArray(object['namespaces'])) return undefined;
  const classified = asObject(object['classified']);
  const [by, is] = [classified['by'], asString(classified['is'])];
  return {
    name,
    namespaces: asArray(object['namespaces']).filter((one) => typeof one === 'string'),
    podLabels: asStringMap(asObject(object['pods'])['matchLabels']),
    ...((by === 'plane' || by === 'stage') && is !== undefined ? { classified: { by, is } } : {}),
  };
}

/** Is a set of pods in the group? Classified groups go by what the workload is taken for, all others by namespace and labels. */
export function isMember(group: Group, workload: Workload, podSet: PodSet): boolean {
  const { classified, namespaces, podLabels } = group;
  if (classified !== undefined) return workload.classification[classified.by] === classified.is;
  return (
    namespaces.includes(workload.namespace) &&
    Object.entries(podLabels).every(([key, value]) => podSet.labels[key] === value)
  );
}

function parseGroups(text: string, context: ParameterContext): Read {
  const named =
    text === 'config'
      ? ofConfig(context)
      : text.startsWith('label:')
        ? byLabel(text.slice('label:'.length), context)
        : ofList(text, context);
  if (typeof named === 'string') return named;
  if (named.length < 2) return 'at least two are needed';
  const names = named.map((one) => asString(one['name']) ?? '');
  if (new Set(names).size < names.length) return 'two have one name';
  const overlap = overlapOf(named, context.inventory);
  if (overlap !== undefined) return overlap;
  return {
    value: named.map((one, index) => ({
      ...one,
      others: named.filter((other) => other !== one),
      previous: named.slice(Math.max(0, index - 1), index),
      next: named.slice(index + 1, index + 2),
    })),
  };
}

function ofList(text: string, context: ParameterContext): readonly JsonObject[] | string {
  const out: JsonObject[] = [];
  for (const item of text.split(',')) {
    const at = item.indexOf('=');
    const name = item.slice(0, at).trim();
    if (at < 1 || !isDnsSubdomain(name)) return `"${item.trim()}" is none: it is written as name=namespace+namespace`;
    const group = parseGroup(name, item.slice(at + 1).trim(), context);
    if (typeof group === 'string') return `${name}: ${group}`;
    out.push(group.value as JsonObject);
  }
  return out;
}

function byLabel(key: string, { inventory }: ParameterContext): readonly JsonObject[] | string {
  if (!isLabelKey(key)) return `"${key}" is not the key of a label`;
  const labelled = inventory.namespaces.filter(({ labels }) => (labels[key] ?? '') !== '');
  if (labelled.length === 0) return `no namespace carries the label ${key}`;
  const byValue = groupBy(labelled, ({ labels }) => labels[key] ?? '');
  return sortBy(byValue, ([value]) => value).map(([value, list]) => labelGroup(nameFrom(value), key, value, list));
}

function nameFrom(value: string): string {
  return (
    value
      .toLowerCase()
      .replaceAll(/[^a-z0-9-]+/gu, '-')
      .replaceAll(/^-+|-+$/gu, '') || 'x'
  );
}

function ofConfig({ tenants, inventory }: ParameterContext): readonly JsonObject[] | string {
  if (tenants.length === 0) return 'the configuration names no tenants';
  return tenants.map(({ name, namespaces, labels }) =>
    namespacesGroup(
      nameFrom(name),
      inventory.namespaces
        .filter(
          (one) =>
            namespaces?.includes(one.name) === true ||
            (labels !== undefined && Object.entries(labels).every(([key, value]) => one.labels[key] === value)),
        )
        .map((one) => one.name),
      {},
    ),
  );
}

function parseGroup(name: string, text: string, { inventory }: ParameterContext): { readonly value: Json } | string {
  const classified = /^(plane|stage):(.+)$/u.exec(text);
  if (classified !== null) {
    const [by, is] = [classified[1] as 'plane' | 'stage', classified[2] ?? ''];
    const found = inventory.workloads.filter((one) => one.classification[by] === is);
    if (found.length === 0) return `no workload is taken to be of the ${by} ${is}`;
    const group = namespacesGroup(name === 'it' ? is : name, uniqueSorted(found.map((one) => one.namespace)), {});
    return { value: { ...group, classified: { by, is } } };
  }
  if (text.startsWith('label:')) {
    const label = parseLabel(text.slice('label:'.length));
    if (label === undefined) return 'a label is key=value';
    const list = inventory.namespaces.filter(({ labels }) => labels[label[0]] === label[1]);
    if (list.length === 0) return `no namespace carries the label ${label.join('=')}`;
    return { value: labelGroup(name === 'it' ? nameFrom(label[1]) : name, label[0], label[1], list) };
  }
  const slash = text.indexOf('/');
  const label = slash < 0 ? undefined : parseLabel(text.slice(slash + 1));
  if (slash >= 0 && label === undefined) return 'behind the / stands a label of pods, key=value';
  const names = (slash < 0 ? text : text.slice(0, slash)).split('+').map((one) => one.trim());
  const known = new Set(inventory.namespaces.map((one) => one.name));
  const strange = names.filter((one) => !known.has(one));
  if (strange.length > 0) return `there is no namespace ${strange.join(', ')}`;
  return {
    value: namespacesGroup(
      name === 'it' ? (names[0] ?? '') : name,
      uniqueSorted(names),
      label === undefined ? {} : { [label[0]]: label[1] },
    ),
  };
}

function labelGroup(name: string, key: string, value: string, list: readonly NamespaceInfo[]): JsonObject {
  return {
    name,
    namespaces: uniqueSorted(list.map((one) => one.name)),
    selector: { matchLabels: { [key]: value } },
    pods: {},
    podLabels: {},
    labelled: 'no',
    calicoPods: 'all()',
    peer: { namespaceSelector: { matchLabels: { [key]: value } } },
    cilium: { matchLabels: { [`k8s:io.cilium.k8s.namespace.labels.${key}`]: value } },
    calico: `${key} == '${value}'`,
  };
}

function namespacesGroup(name: string, namespaces: readonly string[], pods: Labels): JsonObject {
  const selector = { matchExpressions: [{ key: NAMESPACE_NAME, operator: 'In', values: namespaces }] };
  const hasPods = Object.keys(pods).length > 0;
  return {
    name,
    namespaces,
    selector,
    pods: hasPods ? { matchLabels: pods } : {},
    podLabels: pods,
    labelled: hasPods ? 'yes' : 'no',
    calicoPods: hasPods
      ? Object.entries(pods)
          .map(([key, value]) => `${key} == '${value}'`)
          .join(' && ')
      : 'all()',
    peer: { namespaceSelector: selector, ...(hasPods ? { podSelector: { matchLabels: pods } } : {}) },
    cilium: {
      ...(hasPods
        ? { matchLabels: Object.fromEntries(Object.entries(pods).map(([key, value]) => [`k8s:${key}`, value])) }
        : {}),
      matchExpressions: [{ key: 'k8s:io.kubernetes.pod.namespace', operator: 'In', values: namespaces }],
    },
    calico: `${NAMESPACE_NAME} in { ${namespaces.map((one) => `'${one}'`).join(', ')} }`,
  };
}

/** What is in two groups: a namespace that both take whole, or a set of pods that both select. A policy that keeps them apart would not hold. */
export function overlapOf(groups: readonly JsonObject[], inventory: Inventory): string | undefined {
  const read = groups.flatMap((one) => groupOf(one) ?? []);
  for (const [index, a] of read.entries())
    for (const b of read.slice(index + 1)) {
      const shared = a.namespaces.filter((one) => b.namespaces.includes(one));
      const whole = [a, b].some((one) => Object.keys(one.podLabels).length === 0);
      const classified = a.classified !== undefined && b.classified !== undefined;
      if (shared.length > 0 && whole && !classified)
        return `${a.name} and ${b.name} overlap: both have the namespace ${shared.join(', ')}`;
      if (classified) continue;
      const both = inventory.workloads.find((workload) =>
        workload.podSets.some((podSet) => isMember(a, workload, podSet) && isMember(b, workload, podSet)),
      );
      if (both !== undefined) return `${a.name} and ${b.name} overlap: ${both.id} is in both`;
    }
  return undefined;
}

/** Classified groups that share a namespace: what the inventory tells apart, a policy by namespace cannot. */
export function inseparable(value: Json): readonly string[] {
  const all: Group[] = [];
  const visit = (node: Json): void => {
    const group = groupOf(node);
    if (group?.classified !== undefined && !all.some((one) => one.name === group.name)) all.push(group);
    if (Array.isArray(node)) (node as readonly Json[]).forEach(visit);
  };
  for (const node of Object.values(asObject(value))) visit(node);
  return all.flatMap((a, index) =>
    all.slice(index + 1).flatMap((b) => {
      const shared = a.namespaces.filter((one) => b.namespaces.includes(one));
      return shared.length === 0
        ? []
        : [
            `${a.name} and ${b.name} overlap: both have workloads in ${shared.join(', ')}; name each by labels of its pods`,
          ];
    }),
  );
}

function jobsOf({ inventory, namespace }: ParameterContext, values: JsonObject): Read {
  const key = asString(values['job-label']);
  if (key === undefined) return 'the label of jobs is not known';
  const found = inventory.workloads
    .filter((one) => namespace === undefined || one.namespace === namespace)
    .flatMap((one) => one.podSets.map((podSet) => podSet.labels[key]))
    .filter((value) => value !== undefined && value !== '');
  const jobs = uniqueSorted(found.filter((value) => value !== undefined));
  return jobs.length === 0 ? `no pod carries the label ${key}` : { value: jobs };
}
