import { uniqueSorted } from '../shared/pure/order.ts';
import type { AddressRange } from './cidr-set.ts';
import { matchBlock, parseAddressOrCidr } from './cidr-set.ts';
import { matchText } from './glob.ts';
import type { MeshQuery } from './istio-party.ts';
import { accountOf } from './istio-party.ts';
import { comparedPath, isTemplate, matchTemplate, matchValue } from './istio-text.ts';
import type { AuthorizationPolicy, AuthorizationRule, Condition, ConditionField } from './istio-types.ts';
import type { Tri } from './tri.ts';
import { agreed, and, not, or, triOf } from './tri.ts';
import type { Party, Pod, World } from './world.ts';
import { addressesOfPod } from './world.ts';

/** One way in which a connection may look to whoever enforces. */
export interface Appearance {
  readonly src: Party;
  readonly dst: Party;
  /** The client's certificate was checked. */
  readonly identity: boolean;
  /** Requests are seen, not bytes alone. */
  readonly http: boolean;
  /** ztunnel enforces: it compares fewer fields, and compares a namespace by itself. */
  readonly ztunnel: boolean;
  /** Could a request carry a token that was checked? */
  readonly token: 'none' | 'unknown';
  /** Undefined where it is not known; empty where the client names none. */
  readonly sni?: string;
  readonly method?: string;
  readonly path?: string;
  readonly query: MeshQuery;
}

/** Fields that mean nothing where no requests are seen: ALLOW never matches then, and the others go without the condition. */
const HTTP_FIELDS: ReadonlySet<ConditionField> = new Set([
  'requestPrincipals',
  'audiences',
  'presenter',
  'claims',
  'header',
  'methods',
  'paths',
  'hosts',
]);

/** What ztunnel takes. (istio/istio pilot/pkg/serviceregistry/ambient/authorization.go) */
const ZTUNNEL_FIELDS: ReadonlySet<ConditionField> = new Set([
  'principals',
  'namespaces',
  'serviceAccounts',
  'ipBlocks',
  'ports',
  'destinationIps',
]);

function isLost({ field, label }: Condition, seen: Appearance): boolean {
  // As a key of `when` the account is no attribute of layer 4 to istiod.
  if (seen.ztunnel) return !ZTUNNEL_FIELDS.has(field) || label === 'source.serviceAccount';
  return !seen.http && HTTP_FIELDS.has(field);
}

// ---------------------------------------------------------------- Identity

/** What stands for a value: a principal of the mesh's own trust domain is taken for all its names. */
function expandPrincipal(world: World, value: string): readonly string[] {
  const parts = value.split('/');
  const [domain = ''] = parts;
  // A pattern that is no whole principal is compared as it stands. (istio/istio pilot/pkg/security/trustdomain)
  if (parts.length !== 5 || domain === '*') return [value];
  const { trustDomain, trustDomainAliases = [] } = world.inventory.facts.mesh;
  const domains = [trustDomain, ...trustDomainAliases];
  if (domain !== 'cluster.local' && !domains.some((one) => matchValue(domain, one))) return [value];
  return domains.map((one) =>
    domain.startsWith('*') && one.endsWith(domain.slice(1)) ? value : [one, ...parts.slice(1)].join('/'),
  );
}

function matchPrincipal(world: World, pod: Pod, value: string): Tri {
  const { trustDomain } = world.inventory.facts.mesh;
  const account = accountOf(pod);
  const known = `${trustDomain}/ns/${pod.namespace.name}/sa/`;
  return expandPrincipal(world, value).reduce<Tri>((answer, pattern) => {
    if (account !== undefined) return or(answer, triOf(matchValue(pattern, `${known}${account}`)));
    // Only the account is missing.
    if (pattern === '*') return 'yes';
    if (pattern.startsWith('*')) return or(answer, 'unknown');
    const text = pattern.endsWith('*') ? pattern.slice(0, -1) : pattern;
    if (pattern.endsWith('*') && known.startsWith(text)) return 'yes';
    return or(answer, text.startsWith(known) ? 'unknown' : 'no');
  }, 'no');
}

function matchIdentity(world: World, policy: AuthorizationPolicy, condition: Condition, seen: Appearance): Tri {
  // Without mTLS there is no principal, so no namespace and no account either.
  if (!seen.identity) return 'no';
  const { pod } = seen.src;
  if (pod === undefined) return condition.values.includes('*') ? 'yes' : 'unknown';
  const { trustDomain, trustDomainAliases = [] } = world.inventory.facts.mesh;
  return condition.values.reduce<Tri>((answer, value) => {
    switch (condition.field) {
      case 'namespaces': {
        const { name } = pod.namespace;
        // A proxy looks for `/ns/NAME/` anywhere in the identity, a star for any text; ztunnel compares the name.
        const matches = seen.ztunnel ? matchValue(value, name) : matchText(`*/ns/${value}/*`, `//x/ns/${name}/sa/x`);
        return or(answer, triOf(matches));
      }
      case 'serviceAccounts': {
        const slash = value.indexOf('/');
        const [namespace, account] =
          slash < 0 ? [policy.namespace, value] : [value.slice(0, slash), value.slice(slash + 1)];
        if (namespace !== pod.namespace.name) return answer;
        const own = accountOf(pod);
        return or(answer, own === undefined ? 'unknown' : triOf(own === account));
      }
      case 'trustDomains': {
        const domains = value === trustDomain || trustDomainAliases.includes(value) ? [trustDomain] : [];
        return or(answer, triOf(domains.length > 0 || matchValue(value, trustDomain)));
      }
      default:
        return or(answer, matchPrincipal(world, pod, value));
    }
  }, 'no');
}

// ---------------------------------------------------------------- Addresses and ports

const ranges = new WeakMap<Condition, readonly (AddressRange | undefined)[]>();

function rangesOf(condition: Condition): readonly (AddressRange | undefined)[] {
  const known = ranges.get(condition);
  if (known !== undefined) return known;
  const parsed = condition.values.map(parseAddressOrCidr);
  ranges.set(condition, parsed);
  return parsed;
}

function matchAddresses(world: World, condition: Condition, party: Party): Tri {
  if (party.kind === 'unknown' || party.ownNode) return 'unknown';
  const addresses =
    party.kind === 'pod' && party.pod !== undefined ? addressesOfPod(world, party.pod) : party.addresses;
  return agreed(
    addresses
      .flat()
      .map((address) =>
        rangesOf(condition).reduce<Tri>(
          (answer, range) => or(answer, range === undefined ? 'unknown' : matchBlock({ range, except: [] }, address)),
          'no',
        ),
      ),
  );
}

function matchPorts({ values }: Condition, { first, last }: MeshQuery): Tri {
  const named = new Set(values.map(Number).filter((port) => port >= first && port <= last)).size;
  if (named === 0) return 'no';
  return named === last - first + 1 ? 'yes' : 'unknown';
}

// ---------------------------------------------------------------- Requests

function matchTexts(values: readonly string[], text: string | undefined): Tri {
  // Every request has a method, a path and a host.
  if (text === undefined) return values.includes('*') ? 'yes' : 'unknown';
  return triOf(values.some((value) => matchValue(value, text)));
}

function matchPath(values: readonly string[], path: string | undefined): Tri {
  // A folded path stands for several.
  if (path === undefined || path.includes('*') || path.includes('{')) return values.includes('*') ? 'yes' : 'unknown';
  const compared = comparedPath(path);
  return triOf(
    values.some((value) => (isTemplate(value) ? matchTemplate(value, compared) : matchValue(value, compared))),
  );
}

function matchHeader({ header, values }: Condition, seen: Appearance): Tri {
  const { request } = seen.query;
  if (header === ':method') return matchTexts(values, seen.method);
  if (header === ':authority' || header === 'host') return matchTexts(values, request?.host);
  if (header === ':path') return matchPath(values, seen.path);
  const headers = request?.headers;
  if (headers === undefined || header === undefined) return 'unknown';
  const text = Object.hasOwn(headers, header) ? headers[header] : undefined;
  // Some are written by proxies on the way.
  if (text === undefined && /^(?:x-envoy-|x-forwarded-|x-request-id$|x-b3-|traceparent$|baggage$|:)/u.test(header))
    return 'unknown';
  return text === undefined ? 'no' : matchTexts(values, text);
}

function matchRemote(world: World, condition: Condition, seen: Appearance): Tri {
  const headers = seen.query.request?.headers;
  // Behind a proxy that states it, the address of a request is what X-Forwarded-For says; else that of the connection.
  const stated = seen.http && (headers === undefined || Object.hasOwn(headers, 'x-forwarded-for'));
  return stated ? 'unknown' : matchAddresses(world, condition, seen.src);
}

function matchPlain(world: World, policy: AuthorizationPolicy, condition: Condition, seen: Appearance): Tri {
  switch (condition.field) {
    case 'principals':
    case 'namespaces':
    case 'serviceAccounts':
    case 'trustDomains':
      return matchIdentity(world, policy, condition, seen);
    case 'ipBlocks':
      return matchAddresses(world, condition, seen.src);
    case 'remoteIpBlocks':
      return matchRemote(world, condition, seen);
    case 'destinationIps':
      return matchAddresses(world, condition, seen.dst);
    case 'ports':
      return matchPorts(condition, seen.query);
    case 'methods':
      return matchTexts(condition.values, seen.method);
    case 'paths':
      return matchPath(condition.values, seen.path);
    case 'hosts':
      return matchTexts(
        condition.values.map((value) => value.toLowerCase()),
        seen.query.request?.host?.toLowerCase(),
      );
    case 'header':
      return matchHeader(condition, seen);
    case 'requestPrincipals':
    case 'audiences':
    case 'presenter':
    case 'claims':
      return seen.token === 'none' ? 'no' : 'unknown';
    case 'sni':
      return seen.sni === undefined
        ? 'unknown'
        : triOf(condition.values.some((value) => matchValue(value, seen.sni ?? '')));
    case 'experimental':
      return 'unknown';
  }
}

// ---------------------------------------------------------------- Rules

export interface RuleMatch {
  readonly match: Tri;
  /** For an unknown match: the conditions that leave it open, as the manifest names them. */
  readonly open: readonly string[];
}

const YES: RuleMatch = { match: 'yes', open: [] };
const NO: RuleMatch = { match: 'no', open: [] };

function matchAll(
  world: World,
  policy: AuthorizationPolicy,
  conditions: readonly Condition[],
  seen: Appearance,
): RuleMatch {
  let match: Tri = 'yes';
  const open: string[] = [];
  for (const condition of conditions) {
    // A DENY rule loses what cannot be seen; an ALLOW rule never gets here.
    if (isLost(condition, seen)) continue;
    const plain = matchPlain(world, policy, condition, seen);
    if (plain === 'unknown') open.push(condition.label);
    match = and(match, condition.negated ? not(plain) : plain);
    if (match === 'no') return NO;
  }
  return match === 'yes' ? YES : { match, open };
}

function matchSome(
  world: World,
  policy: AuthorizationPolicy,
  alternatives: readonly (readonly Condition[])[],
  seen: Appearance,
): RuleMatch {
  if (alternatives.length === 0) return YES;
  const open: string[] = [];
  for (const conditions of alternatives) {
    const one = matchAll(world, policy, conditions, seen);
    if (one.match === 'yes') return YES;
    open.push(...one.open);
  }
  return open.length === 0 ? NO : { match: 'unknown', open };
}

/** Does a rule match: some source, some operation, and every condition. A rule without any of them matches all. */
export function matchRule(
  world: World,
  policy: AuthorizationPolicy,
  rule: AuthorizationRule,
  seen: Appearance,
): RuleMatch {
  const conditions = [...rule.from.flat(), ...rule.to.flat(), ...rule.when];
  // One condition that cannot be seen takes an ALLOW rule away whole, alternatives that could be seen with it.
  if (policy.action === 'ALLOW' && conditions.some((condition) => isLost(condition, seen))) {
    // istiod hands ztunnel nothing of a trust domain, and does not drop the rule either.
    if (seen.ztunnel && conditions.some(({ field }) => field === 'trustDomains'))
      return { match: 'unknown', open: ['trustDomains'] };
    return NO;
  }
  const parts = [
    matchSome(world, policy, rule.from, seen),
    matchSome(world, policy, rule.to, seen),
    matchAll(world, policy, rule.when, seen),
  ];
  if (parts.some(({ match }) => match === 'no')) return NO;
  const open = parts.flatMap((part) => part.open);
  return open.length === 0 ? YES : { match: 'unknown', open: uniqueSorted(open) };
}

export interface PolicyMatch {
  readonly match: Tri;
  /** The rule that decides; undefined where none does. */
  readonly rule?: number;
  /** For an unknown match: why. */
  readonly why?: string;
}

/** The first rule that surely matches; else one that may. */
export function matchPolicy(world: World, policy: AuthorizationPolicy, seen: Appearance): PolicyMatch {
  const [problem] = policy.problems;
  if (problem !== undefined) return { match: 'unknown', why: `its ${problem.field} ${problem.message}` };
  let possible: PolicyMatch | undefined;
  for (const rule of policy.rules) {
    const { match, open } = matchRule(world, policy, rule, seen);
    if (match === 'yes') return { match, rule: rule.index };
    if (match === 'unknown')
      possible ??= {
        match,
        rule: rule.index,
        why: `its rule looks at ${open.join(', ')}, which is not all known of this connection`,
      };
  }
  return possible ?? { match: 'no' };
}
