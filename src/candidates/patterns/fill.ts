import type { Json, JsonObject } from '../../shared/pure/json.ts';
import { asObject, getPath, isJsonObject } from '../../shared/pure/json.ts';

/** A template with its values in place, and what is wrong with it: an unknown placeholder, a list where a text belongs. */
export interface Filled {
  readonly value: Json;
  readonly problems: readonly string[];
}

const WHOLE = /^\$\{([A-Za-z][\w.-]*)\}$/u;
const PART = /\$\{([A-Za-z][\w.-]*)\}/gu;
const OMIT = Symbol('left out');
type Out = Json | typeof OMIT;

/**
 * Puts values in the place of `${name}` in a template: a text that is one placeholder becomes the value as it is, of any type; inside a
 * longer text, and in keys, values must be texts or numbers. A mapping with `$each: ${list}`, `$as: name` and `$do` in a list stands for one
 * item each; one with `$when: {name: value or list of values}` and `$do` is there only where the parameter has one of the values. That is
 * all: templates are data.
 */
export function fillTemplate(template: Json, values: JsonObject): Filled {
  const problems: string[] = [];
  const value = fill(template, values, problems);
  return { value: value === OMIT ? null : value, problems };
}

function fill(node: Json, values: JsonObject, problems: string[]): Out {
  if (typeof node === 'string') return fillText(node, values, problems);
  if (Array.isArray(node)) return (node as readonly Json[]).flatMap((item) => fillItem(item, values, problems));
  if (!isJsonObject(node)) return node;
  if ('$when' in node && !holds(asObject(node['$when']), values, problems)) return OMIT;
  if ('$when' in node) return fill(node['$do'] ?? null, values, problems);
  const entries = Object.entries(node).flatMap(([key, item]): readonly (readonly [string, Json])[] => {
    const name = fillText(key, values, problems);
    const value = fill(item, values, problems);
    return value === OMIT ? [] : [[typeof name === 'string' ? name : key, value]];
  });
  // Own fields, whatever they are called.
  return Object.fromEntries(entries);
}

function fillItem(item: Json, values: JsonObject, problems: string[]): readonly Json[] {
  if (!isJsonObject(item)) {
    const value = fill(item, values, problems);
    return value === OMIT ? [] : [value];
  }
  if ('$when' in item) {
    if (!holds(asObject(item['$when']), values, problems)) return [];
    const inner = item['$do'] ?? null;
    return Array.isArray(inner)
      ? (inner as readonly Json[]).flatMap((one) => fillItem(one, values, problems))
      : fillItem(inner, values, problems);
  }
  if (!('$each' in item)) {
    const value = fill(item, values, problems);
    return value === OMIT ? [] : [value];
  }
  const list = fill(item['$each'] ?? null, values, problems);
  const name = item['$as'];
  if (!Array.isArray(list) || typeof name !== 'string') {
    problems.push('$each needs a list, and $as a name');
    return [];
  }
  return (list as readonly Json[]).flatMap((one) =>
    fillItem({ $when: {}, $do: item['$do'] ?? null }, { ...values, [name]: one }, problems),
  );
}

function holds(when: JsonObject, values: JsonObject, problems: string[]): boolean {
  return Object.entries(when).every(([name, wanted]) => {
    const value = lookUp(name, values);
    if (value === undefined) {
      problems.push(`$when names ${name}, which no parameter is`);
      return false;
    }
    // `true` and `false` ask whether a list has anything in it.
    if (typeof wanted === 'boolean') return (Array.isArray(value) ? value.length > 0 : value !== '') === wanted;
    return Array.isArray(wanted) ? (wanted as readonly Json[]).includes(value) : wanted === value;
  });
}

function lookUp(name: string, values: JsonObject): Json | undefined {
  return getPath(values, name.split('.'));
}

function fillText(text: string, values: JsonObject, problems: string[]): Json {
  const whole = WHOLE.exec(text)?.[1];
  if (whole !== undefined) {
    const value = lookUp(whole, values);
    if (value === undefined) problems.push(`nothing fills \${${whole}}`);
    return value ?? '';
  }
  return text.replaceAll(PART, (_, name: string) => {
    const value = lookUp(name, values);
    if (typeof value === 'string' || typeof value === 'number') return String(value);
    problems.push(value === undefined ? `nothing fills \${${name}}` : `\${${name}} is no text, and stands inside one`);
    return '';
  });
}

/**
 * Places where a rule has an empty list of peers, which Kubernetes and Istio read as everybody: a template that comes to that is refused,
 * since it would admit more than was asked for.
 */
export function emptyPeers(value: Json, path = ''): readonly string[] {
  if (Array.isArray(value))
    return (value as readonly Json[]).flatMap((item, index) => emptyPeers(item, `${path}[${index}]`));
  if (!isJsonObject(value)) return [];
  return Object.entries(value).flatMap(([key, item]) => {
    const at = path === '' ? key : `${path}.${key}`;
    const isPeers = PEER_LISTS.has(key) && Array.isArray(item) && item.length === 0;
    return [...(isPeers ? [at] : []), ...emptyPeers(item, at)];
  });
}

const PEER_LISTS: ReadonlySet<string> = new Set([
  'from',
  'to',
  'fromEndpoints',
  'toEndpoints',
  'toCIDR',
  'toFQDNs',
  'principals',
  'serviceAccounts',
  'namespaces',
  'paths',
  'methods',
  'values',
]);
