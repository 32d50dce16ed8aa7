import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString, isJsonObject } from '../shared/pure/json.ts';
import { parseAddressOrCidr } from './cidr-set.ts';
import { baseOf, checkFields, hasValue, parseLabels, parseTargets, parseTexts } from './istio-parse.ts';
import { templateProblem } from './istio-text.ts';
import type {
  AuthorizationPolicy,
  AuthorizationRule,
  Condition,
  ConditionField,
  OperationField,
  SourceField,
} from './istio-types.ts';
import type { KubeManifest } from './object.ts';
import { annotationsOf } from './object.ts';
import type { Problem } from './problem.ts';
import { refused } from './problem.ts';
import { EVERYTHING } from './selector.ts';

const ACTIONS = ['ALLOW', 'DENY', 'CUSTOM', 'AUDIT'] as const;

/** The texts that Go's strconv.ParseBool takes for true: what istiod reads the annotation with. */
const TRUE: ReadonlySet<string> = new Set(['1', 't', 'T', 'true', 'TRUE', 'True']);

/** Reads an AuthorizationPolicy. What istiod's webhook refuses, and what is not known here, is a problem: its effect is unknown. */
export function parseAuthorizationPolicy(manifest: KubeManifest): AuthorizationPolicy {
  const problems: Problem[] = [];
  const spec = asObject(manifest['spec']);
  checkFields(spec, 'spec', ['selector', 'targetRef', 'targetRefs', 'rules', 'action', 'provider'], problems);
  const stated = spec['action'] ?? 'ALLOW';
  const action = ACTIONS.find((one) => one === stated);
  if (action === undefined) {
    problems.push(refused('spec.action', `${JSON.stringify(stated)} is none of ALLOW, DENY, CUSTOM, AUDIT`));
  }
  const selector = parseLabels(spec['selector'], 'spec.selector', 'matchLabels', problems);
  const targets = parseTargets(spec);
  if (targets.length > 0 && selector !== undefined) {
    problems.push(refused('spec.targetRefs', 'stands beside a selector: only one of the two may'));
  }
  if (hasValue(spec['rules']) && !Array.isArray(spec['rules'])) problems.push(refused('spec.rules', 'is not a list'));
  return {
    ...baseOf(manifest, problems),
    kind: 'AuthorizationPolicy',
    selector: selector ?? EVERYTHING,
    targets,
    // One whose action cannot be read may deny: what CUSTOM may do as well.
    action: action ?? 'CUSTOM',
    dryRun: TRUE.has(annotationsOf(manifest)['istio.io/dry-run'] ?? ''),
    rules: asArray(spec['rules']).map((rule, index) => parseRule(rule, index, problems)),
  };
}

const SOURCES: readonly SourceField[] = [
  'principals',
  'namespaces',
  'serviceAccounts',
  'trustDomains',
  'ipBlocks',
  'requestPrincipals',
  'remoteIpBlocks',
];
const OPERATIONS: readonly OperationField[] = ['ports', 'methods', 'paths', 'hosts'];

function parseRule(value: Json, index: number, problems: Problem[]): AuthorizationRule {
  const at = `spec.rules[${index}]`;
  if (!isJsonObject(value)) problems.push(refused(at, 'is not an object'));
  const rule = asObject(value);
  checkFields(rule, at, ['from', 'to', 'when'], problems);
  const from = parseAlternatives(rule['from'], `${at}.from`, 'source', SOURCES, problems);
  from.forEach((conditions, nth) => {
    const has = (...fields: readonly ConditionField[]): boolean =>
      conditions.some(({ field }) => fields.includes(field));
    if (has('serviceAccounts') && has('principals', 'namespaces'))
      problems.push(refused(`${at}.from[${nth}].source.serviceAccounts`, 'stands beside principals or namespaces'));
  });
  return {
    index,
    from,
    to: parseAlternatives(rule['to'], `${at}.to`, 'operation', OPERATIONS, problems),
    when: asArray(rule['when']).flatMap((item, nth) => parseWhen(asObject(item), `${at}.when[${nth}]`, problems)),
  };
}

function parseAlternatives(
  value: Json | undefined,
  field: string,
  wrapper: string,
  fields: readonly ConditionField[],
  problems: Problem[],
): readonly (readonly Condition[])[] {
  if (hasValue(value) && asArray(value).length === 0) problems.push(refused(field, 'is empty'));
  return asArray(value).map((item, index) => {
    const at = `${field}[${index}].${wrapper}`;
    const conditions: Condition[] = [];
    for (const [key, list] of Object.entries(asObject(asObject(item)[wrapper]))) {
      const known = fields.find((one) => one === key || negation(one) === key);
      if (known === undefined) {
        if (list !== null)
          problems.push({ field: `${at}.${key}`, message: 'is not a field that is known', kind: 'unknown-field' });
        continue;
      }
      const values = parseTexts(list, `${at}.${key}`, problems);
      checkValues(known, values, `${at}.${key}`, problems);
      // An empty list counts as absent.
      if (values.length > 0) conditions.push({ field: known, label: key, negated: known !== key, values });
    }
    if (conditions.length === 0) problems.push(refused(at, 'has no condition'));
    return conditions;
  });
}

// `ports` -> `notPorts`
function negation(field: string): string {
  return `not${field.slice(0, 1).toUpperCase()}${field.slice(1)}`;
}

/** Values that istiod's webhook refuses. (istio/istio pkg/config/security) */
function checkValues(field: ConditionField, values: readonly string[], at: string, problems: Problem[]): void {
  for (const value of values) {
    const problem = valueProblem(field, value);
    if (problem !== undefined) problems.push(refused(at, `${JSON.stringify(value)} ${problem}`));
  }
}

function valueProblem(field: ConditionField, value: string): string | undefined {
  switch (field) {
    case 'ipBlocks':
    case 'remoteIpBlocks':
    case 'destinationIps':
      return parseAddressOrCidr(value) === undefined ? 'is neither an address nor a CIDR' : undefined;
    case 'ports':
      return /^\d{1,5}$/u.test(value) && Number(value) <= 65_535 ? undefined : 'is not a port number';
    case 'paths':
      return templateProblem(value);
    case 'serviceAccounts':
      return /^[^*/]+(?:\/[^*/]+)?$/u.test(value) ? undefined : 'is neither an account nor namespace/account';
    case 'trustDomains':
      return /^\*?[^*/]*\*?$/u.test(value) && (value === '*' || value.split('*').length < 3)
        ? undefined
        : 'is not a trust domain';
    default:
      return undefined;
  }
}

/** Keys of `when` that mean what a field of a source or an operation does. */
const SAME_AS: Readonly<Record<string, ConditionField>> = {
  'source.ip': 'ipBlocks',
  'remote.ip': 'remoteIpBlocks',
  'source.namespace': 'namespaces',
  'source.principal': 'principals',
  'source.serviceAccount': 'serviceAccounts',
  'source.trustDomain': 'trustDomains',
  'request.auth.principal': 'requestPrincipals',
  'request.auth.audiences': 'audiences',
  'request.auth.presenter': 'presenter',
  'destination.ip': 'destinationIps',
  'destination.port': 'ports',
  'connection.sni': 'sni',
};

function parseKey(key: string): { readonly field: ConditionField; readonly header?: string } | undefined {
  const known = Object.hasOwn(SAME_AS, key) ? SAME_AS[key] : undefined;
  if (known !== undefined) return { field: known };
  const header = /^request\.headers\[([^\]]+)\]$/u.exec(key)?.[1];
  if (header !== undefined) return { field: 'header', header: header.toLowerCase() };
  if (/^request\.auth\.claims(?:\[[^\]]+\])+$/u.test(key)) return { field: 'claims' };
  return /^experimental\.envoy\.filters\.[^[]*\[.+\]$/u.test(key) ? { field: 'experimental' } : undefined;
}

function parseWhen(item: JsonObject, at: string, problems: Problem[]): readonly Condition[] {
  checkFields(item, at, ['key', 'values', 'notValues'], problems);
  const key = asString(item['key']) ?? '';
  const known = parseKey(key);
  if (known === undefined) {
    problems.push(refused(`${at}.key`, `${JSON.stringify(key)} is not an attribute that is known`));
    return [];
  }
  const conditions = [false, true].flatMap((negated): readonly Condition[] => {
    const name = negated ? 'notValues' : 'values';
    const values = parseTexts(item[name], `${at}.${name}`, problems);
    checkValues(known.field, values, `${at}.${name}`, problems);
    return values.length === 0 ? [] : [{ ...known, label: key, negated, values }];
  });
  if (conditions.length === 0) problems.push(refused(at, 'has neither values nor notValues'));
  return conditions;
}
