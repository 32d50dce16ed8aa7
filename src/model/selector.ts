import type { Json, JsonObject } from '../shared/pure/json.ts';
import { isJsonObject } from '../shared/pure/json.ts';
import type { Labels } from './inventory.ts';
import type { Problem } from './problem.ts';
import { refused } from './problem.ts';
import type { Tri } from './tri.ts';

export type SelectorOperator = 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';

export interface Requirement {
  readonly key: string;
  readonly operator: SelectorOperator;
  /** Empty for Exists and DoesNotExist. */
  readonly values: readonly string[];
}

/** A label selector; all requirements must hold, and one without any selects everything. */
export interface Selector {
  readonly requirements: readonly Requirement[];
}

export interface ParsedSelector {
  readonly selector: Selector;
  /** Not empty: the selector must not be relied on. */
  readonly problems: readonly Problem[];
}

/** What asks for the service account of a pod and not for a label of it: no label has such a key. */
export const ACCOUNT_KEY = 'serviceaccount:';

export const EVERYTHING: Selector = { requirements: [] };

const OPERATORS: ReadonlySet<string> = new Set(['In', 'NotIn', 'Exists', 'DoesNotExist']);
const NAME = /^[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?$/u;
const DNS_SUBDOMAIN = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/u;

/** A name of most objects: RFC 1123 labels with dots between them. */
export function isDnsSubdomain(text: string): boolean {
  return text.length <= 253 && DNS_SUBDOMAIN.test(text);
}

/** A label key as the API server validates it. */
export function isLabelKey(key: string): boolean {
  const slash = key.indexOf('/');
  const [prefix, name] = slash < 0 ? [undefined, key] : [key.slice(0, slash), key.slice(slash + 1)];
  if (prefix !== undefined && !isDnsSubdomain(prefix)) return false;
  return name.length <= 63 && NAME.test(name);
}

/** A label value as the API server validates it. */
export function isLabelValue(value: string): boolean {
  return value === '' || (value.length <= 63 && NAME.test(value));
}

/**
 * A `LabelSelector` (meta/v1) as the API server validates it. Absent and null mean the empty selector here; whether an absent
 * one selects everything or nothing is for the caller to say. `field` is its path, for problems.
 */
export function parseSelector(value: Json | undefined, field: string): ParsedSelector {
  if (value === undefined || value === null) return { selector: EVERYTHING, problems: [] };
  if (!isJsonObject(value)) return { selector: EVERYTHING, problems: [refused(field, 'is not an object')] };
  const problems: Problem[] = [];
  const requirements: Requirement[] = [];
  for (const key of Object.keys(value)) {
    if (key !== 'matchLabels' && key !== 'matchExpressions') {
      problems.push({ field: `${field}.${key}`, message: 'is not a field of a label selector', kind: 'unknown-field' });
    }
  }
  parseMatchLabels(value['matchLabels'], `${field}.matchLabels`, requirements, problems);
  const expressions = value['matchExpressions'];
  if (expressions !== undefined && expressions !== null) {
    if (!Array.isArray(expressions)) problems.push(refused(`${field}.matchExpressions`, 'is not a list'));
    else {
      (expressions as readonly Json[]).forEach((item, index) => {
        const at = `${field}.matchExpressions[${index}]`;
        if (isJsonObject(item)) parseExpression(item, at, requirements, problems);
        else problems.push(refused(at, 'is not an object'));
      });
    }
  }
  return { selector: { requirements }, problems };
}

/** The requirements of a map of labels, each of which must be equal. */
export function parseMatchLabels(
  value: Json | undefined,
  field: string,
  requirements: Requirement[],
  problems: Problem[],
): void {
  if (value === undefined || value === null) return;
  if (!isJsonObject(value)) {
    problems.push(refused(field, 'is not a map of labels'));
    return;
  }
  for (const [key, wanted] of Object.entries(value)) {
    if (!isLabelKey(key)) problems.push(refused(field, `${JSON.stringify(key)} is not a label key`));
    // A null value of a string map reads as the empty text.
    const text = wanted === null ? '' : wanted;
    if (typeof text !== 'string' || !isLabelValue(text)) {
      problems.push(refused(`${field}.${key}`, `${JSON.stringify(wanted)} is not a label value`));
    } else requirements.push({ key, operator: 'In', values: [text] });
  }
}

function parseExpression(item: JsonObject, field: string, requirements: Requirement[], problems: Problem[]): void {
  const { key, operator, values } = item;
  for (const name of Object.keys(item)) {
    if (name !== 'key' && name !== 'operator' && name !== 'values') {
      problems.push({ field: `${field}.${name}`, message: 'is not a field of an expression', kind: 'unknown-field' });
    }
  }
  if (typeof key !== 'string' || !isLabelKey(key)) {
    problems.push(refused(`${field}.key`, `${JSON.stringify(key ?? null)} is not a label key`));
    return;
  }
  if (typeof operator !== 'string' || !OPERATORS.has(operator)) {
    problems.push(
      refused(`${field}.operator`, `${JSON.stringify(operator ?? null)} is none of In, NotIn, Exists, DoesNotExist`),
    );
    return;
  }
  // A null item of a list of texts reads as the empty text.
  const list: readonly Json[] = Array.isArray(values) ? (values as readonly Json[]).map((one) => one ?? '') : [];
  const texts = list.filter((one): one is string => typeof one === 'string');
  if (values !== undefined && values !== null && !Array.isArray(values)) {
    problems.push(refused(`${field}.values`, 'is not a list'));
  } else if (texts.length !== list.length || !texts.every(isLabelValue)) {
    problems.push(refused(`${field}.values`, 'has an item that is not a label value'));
  } else if ((operator === 'In' || operator === 'NotIn') && texts.length === 0) {
    problems.push(refused(`${field}.values`, `must not be empty for ${operator}`));
  } else if ((operator === 'Exists' || operator === 'DoesNotExist') && texts.length > 0) {
    problems.push(refused(`${field}.values`, `must be empty for ${operator}`));
  }
  requirements.push({ key, operator: operator as SelectorOperator, values: texts });
}

function holds(requirement: Requirement, value: string | undefined): boolean {
  switch (requirement.operator) {
    case 'In':
      return value !== undefined && requirement.values.includes(value);
    case 'NotIn':
      return value === undefined || !requirement.values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
  }
}

// Keys are hostile text: `constructor` must not be found on a prototype.
function labelAt(labels: Labels, key: string): string | undefined {
  return Object.hasOwn(labels, key) ? labels[key] : undefined;
}

/** Does the selector pick an object with exactly these labels? */
export function matchSelector(selector: Selector, labels: Labels): boolean {
  for (const requirement of selector.requirements) {
    if (!holds(requirement, labelAt(labels, requirement.key))) return false;
  }
  return true;
}

/** The same where some labels are not known: `isKnown` says of an absent key whether it is surely absent. */
export function matchSelectorPartly(selector: Selector, labels: Labels, isKnown: (key: string) => boolean): Tri {
  let answer: Tri = 'yes';
  for (const requirement of selector.requirements) {
    const value = labelAt(labels, requirement.key);
    if (value === undefined && !isKnown(requirement.key)) answer = 'unknown';
    else if (!holds(requirement, value)) return 'no';
  }
  return answer;
}
