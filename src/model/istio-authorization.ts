import type { JsonObject } from '../shared/pure/json.ts';
import type { Appearance, PolicyMatch } from './istio-conditions.ts';
import { matchPolicy } from './istio-conditions.ts';
import { targetsOf } from './istio-client.ts';
import { protocolsOf, requestOf } from './istio-protocol.ts';
import type { MeshAnswer, MeshQuery } from './istio-party.ts';
import { FINE, formatPorts, istioOf, labelOf, principalText, reasonOf, textOf, uniqueReasons } from './istio-party.ts';
import { comparedPath } from './istio-text.ts';
import type { AuthorizationPolicy, RequestAuthentication, TargetRef } from './istio-types.ts';
import type { Tri } from './tri.ts';
import { agreed, and, or } from './tri.ts';
import type { Reason } from './verdict.ts';
import type { Party, Pod, World } from './world.ts';
import { cached, selectsPod } from './world.ts';

export interface Acting {
  readonly policy: AuthorizationPolicy;
  readonly selected: Tri;
}

const GATEWAY_NAME = 'gateway.networking.k8s.io/gateway-name';
const GATEWAY_API = 'gateway.networking.k8s.io';

/** Is a pod a proxy of the Gateway API that targetRefs name? */
export function isTarget({ group, kind, name, namespace }: TargetRef, pod: Pod, policyNamespace: string): boolean {
  return (
    group === GATEWAY_API &&
    kind === 'Gateway' &&
    policyNamespace === pod.namespace.name &&
    (namespace === undefined || namespace === policyNamespace) &&
    name === labelOf(pod.labels, GATEWAY_NAME)
  );
}

/** Does a policy act on the proxy of a pod? One with targetRefs acts on gateways and waypoints, never on a sidecar. */
function attaches(policy: AuthorizationPolicy | RequestAuthentication, pod: Pod): Tri {
  const selected = selectsPod(policy.selector, pod);
  if (policy.targets.length === 0 || selected === 'no') return selected;
  // A selector beside targetRefs is refused, and what it would mean is not known.
  if (pod.podSet === undefined || policy.selector.requirements.length > 0) return 'unknown';
  return policy.targets.some((ref) => isTarget(ref, pod, policy.namespace)) ? 'yes' : 'no';
}

/** The policies that act, or may act, on a pod set: of its namespace and of the root namespace. */
export function authorizationOf(world: World, pod: Pod): readonly Acting[] {
  return cached(world, 'authorization', pod, () => {
    const root = world.inventory.facts.mesh.rootNamespace;
    const own = istioOf(world, pod.namespace.name).authorization;
    const all = pod.namespace.name === root ? own : [...own, ...istioOf(world, root).authorization];
    return all.flatMap((policy) => {
      const selected = attaches(policy, pod);
      return selected === 'no' ? [] : [{ policy, selected }];
    });
  });
}

/** Could a request to these pods carry a token that was checked? Only where a RequestAuthentication asks for that. */
function tokenOf(world: World, pod: Pod, query: MeshQuery): Appearance['token'] {
  const root = world.inventory.facts.mesh.rootNamespace;
  const checks = [...new Set([pod.namespace.name, root])].flatMap((namespace) =>
    istioOf(world, namespace).requests.filter((request) => attaches(request, pod) !== 'no'),
  );
  if (checks.length === 0) return 'none';
  const headers = query.request?.headers;
  const bare = headers !== undefined && !Object.hasOwn(headers, 'authorization');
  return bare && checks.every(({ elsewhere }) => !elsewhere) ? 'none' : 'unknown';
}

/** The server name that a client's proxy sends; empty in plaintext. Undefined where the application may send one of its own. */
function sniOf(world: World, dst: Party, query: MeshQuery, identity: boolean, http: boolean): string | undefined {
  if (!identity) return http ? '' : undefined;
  const names = targetsOf(world, dst, query).map(({ port, host }) => `outbound_.${port}_._.${host}`);
  return names.length === 1 && query.first === query.last ? names[0] : undefined;
}

// ---------------------------------------------------------------- The decision

/** How a policy counts where it is enforced. */
export interface Enforcer {
  readonly ztunnel: boolean;
  /** Does a rehearsal count as the policy itself? */
  readonly rehearsals: Tri;
}

/** CUSTOM, then DENY, then ALLOW, for one appearance of the connection. AUDIT decides nothing. */
export function authorizeAs(
  world: World,
  dst: Party,
  acting: readonly Acting[],
  seen: Appearance,
  enforcer: Enforcer,
): MeshAnswer {
  const unknown: Reason[] = [];
  const [from, to] = [textOf(seen.src), textOf(dst)];
  const sees = seen.identity ? '' : ' (which has no identity here, as it sends plaintext)';
  let allow: Tri = 'no';
  let selectedByAllow = false;
  let admittedBy: Reason | undefined;
  const doubtful: { readonly policy: AuthorizationPolicy; readonly match: PolicyMatch; readonly selected: Tri }[] = [];
  for (const { policy, selected: picked } of acting) {
    if (policy.action === 'AUDIT') continue;
    // ztunnel knows no external authorizers: istiod hands it no CUSTOM policy.
    if (policy.action === 'CUSTOM' && enforcer.ztunnel && policy.problems.length === 0) continue;
    // An external authorizer is asked for rehearsals too.
    const counts = policy.dryRun && policy.action !== 'CUSTOM' ? enforcer.rehearsals : 'yes';
    const selected = and(picked, counts);
    if (selected === 'no') continue;
    const found = matchPolicy(world, policy, seen);
    const { match, rule } = found;
    const act = and(selected, match);
    const at = rule === undefined ? policy.name : `spec.rules[${rule}] of ${policy.name}`;
    if (policy.action === 'CUSTOM') {
      if (match === 'no') continue;
      const [problem] = policy.problems;
      const text =
        problem === undefined
          ? `${policy.name} hands the decision on ${to} to an external authorizer.`
          : `What ${policy.name} does to ${to} cannot be told: its ${problem.field} ${problem.message}.`;
      unknown.push(reasonOf('unknown', text, policy, rule));
    } else if (policy.action === 'DENY') {
      if (act === 'yes') {
        const text = `${at} denies ${from}${sees} to ${to} on ${formatPorts(seen.query)}.`;
        const remedy = `Take ${from} out of ${at}: name it in notPrincipals or notNamespaces of each source, or drop the rule.`;
        return { answer: 'no', reasons: [{ ...reasonOf('denies', text, policy, rule), remedy }] };
      }
      if (act === 'unknown') {
        const text = `Whether ${at} denies ${from} to ${to} cannot be told: ${whyUnknown(policy, found, selected, counts)}.`;
        unknown.push(reasonOf('unknown', text, policy, rule));
      }
    } else {
      if (selected === 'yes') selectedByAllow = true;
      if (selected !== 'yes' || match === 'unknown') doubtful.push({ policy, match: found, selected });
      if (act === 'yes') admittedBy ??= reasonOf('allows', `${at} admits ${from} to ${to}.`, policy, rule);
      allow = or(allow, act);
    }
  }
  if (!selectedByAllow) {
    if (doubtful.every(({ match }) => match.match === 'yes')) {
      if (unknown.length > 0) return { answer: 'unknown', reasons: unknown };
      const text =
        doubtful.length > 0 ? 'only policies that admit it may select' : 'no ALLOW AuthorizationPolicy selects';
      return { answer: 'yes', reasons: [reasonOf('allows', `Nothing denies ${from}: ${text} ${to}.`)] };
    }
    allow = 'unknown';
  }
  if (allow === 'no') return deniedByNone(world, acting, seen, from, to, sees, enforcer);
  if (allow === 'unknown') {
    for (const { policy, match, selected } of doubtful) {
      const counts = policy.dryRun ? enforcer.rehearsals : 'yes';
      const text = `Whether ${policy.name} admits ${from} to ${to} cannot be told: ${whyUnknown(policy, match, selected, counts)}.`;
      unknown.push(reasonOf('unknown', text, policy, match.rule));
    }
  }
  if (unknown.length > 0) return { answer: 'unknown', reasons: unknown };
  return { answer: 'yes', reasons: admittedBy === undefined ? [] : [admittedBy] };
}

function deniedByNone(
  world: World,
  acting: readonly Acting[],
  seen: Appearance,
  from: string,
  to: string,
  sees: string,
  enforcer: Enforcer,
): MeshAnswer {
  const policies = acting.filter(
    ({ policy, selected }) =>
      policy.action === 'ALLOW' && selected === 'yes' && (!policy.dryRun || enforcer.rehearsals === 'yes'),
  );
  const names = policies.map(({ policy }) => policy.name).join(', ');
  const { query } = seen;
  const what = `${formatPorts(query)}${query.l7 === undefined ? '' : ` ${query.l7}`}`;
  const lost = !seen.http && policies.some(({ policy }) => policy.rules.length > 0);
  const text = `${names} ${policies.length === 1 ? 'selects' : 'select'} ${to}, and no rule admits ${from}${sees} on ${what}.`;
  const [first] = policies;
  const base = reasonOf('denies', text, first?.policy);
  return {
    answer: 'no',
    reasons: [first === undefined ? base : { ...base, ...remedyOf(world, first.policy, seen, from, lost) }],
  };
}

/** The rule that admits it, for the first policy in the way. */
function remedyOf(
  world: World,
  policy: AuthorizationPolicy,
  seen: Appearance,
  from: string,
  lost: boolean,
): { readonly remedy: string; readonly admits: JsonObject } {
  const { first, last, l7 } = seen.query;
  const principal =
    seen.src.pod === undefined ? undefined : principalText(world.inventory.facts.mesh.trustDomain, seen.src.pod);
  const { method, path } = seen.http && !seen.ztunnel ? requestOf(l7) : {};
  const operation = {
    ...(first === last ? { ports: [String(first)] } : {}),
    ...(method === undefined ? {} : { methods: [method] }),
    ...(path === undefined ? {} : { paths: [comparedPath(path)] }),
  };
  const to = Object.keys(operation).length === 0 ? {} : { to: [{ operation }] };
  const note = lost ? ' Where no requests are seen, rules with HTTP fields never admit anybody.' : '';
  if (seen.identity && principal !== undefined) {
    const admits = { from: [{ source: { principals: [principal] } }], ...to };
    return { remedy: `Add this rule to spec.rules of ${policy.name}: ${JSON.stringify(admits)}.${note}`, admits };
  }
  const remedy = `Let ${from} join the mesh and name its principal, or, as it has no identity, add this rule to spec.rules of ${policy.name}: ${JSON.stringify(to)}.${note}`;
  return { remedy, admits: to };
}

function whyUnknown(policy: AuthorizationPolicy, { why }: PolicyMatch, selected: Tri, rehearses: Tri): string {
  if (why !== undefined) return why;
  if (rehearses === 'unknown') return 'whether this version of ztunnel enforces rehearsals is not known';
  if (selected === 'unknown') return 'the labels of the pods that it selects are not all known';
  return `the rules of ${policy.name} are not decided`;
}

/** The AuthorizationPolicies of a server's sidecar, for every way in which the connection may look to it. */
export function authorize(
  world: World,
  src: Party,
  dst: Party,
  pod: Pod,
  query: MeshQuery,
  identities: readonly boolean[],
  maybeNoSidecar: boolean,
): MeshAnswer {
  const acting = authorizationOf(world, pod);
  if (acting.length === 0) return FINE;
  const enforcer: Enforcer = { ztunnel: false, rehearsals: 'no' };
  const looks = identities.length === 0 ? [false] : identities;
  const answers = looks.flatMap((identity) =>
    protocolsOf(world, pod, query).map((http) =>
      authorizeAs(world, dst, acting, appearance(world, src, dst, pod, query, identity, http), enforcer),
    ),
  );
  const answer = agreed(answers.map((one) => one.answer));
  if (maybeNoSidecar && answer !== 'yes') {
    const text = `Whether all pods of ${textOf(dst)} have a sidecar that applies its AuthorizationPolicies is not known.`;
    return { answer: 'unknown', reasons: [reasonOf('unknown', text, acting[0]?.policy)] };
  }
  return settle(answer, answers, looks.length > 1 ? 'the client presents an identity' : 'the port speaks HTTP');
}

export function appearance(
  world: World,
  src: Party,
  dst: Party,
  pod: Pod,
  query: MeshQuery,
  identity: boolean,
  http: boolean,
): Appearance {
  const sni = sniOf(world, dst, query, identity, http);
  return {
    src,
    dst,
    identity,
    http,
    ztunnel: false,
    token: tokenOf(world, pod, query),
    query,
    ...(sni === undefined ? {} : { sni }),
    ...requestOf(query.l7),
  };
}

/** One answer out of those for each appearance: what they agree on, else unknown, with what it depends on. */
export function settle(answer: Tri, answers: readonly MeshAnswer[], depends: string): MeshAnswer {
  if (answer !== 'unknown') return { answer, reasons: answers[0]?.reasons ?? [] };
  const unsure = answers.filter((one) => one.answer === 'unknown').flatMap(({ reasons }) => reasons);
  if (unsure.length > 0) return { answer, reasons: uniqueReasons(unsure) };
  const denied = answers.find((one) => one.answer === 'no')?.reasons[0];
  const text = `It depends on whether ${depends}, which is not known: ${denied?.text ?? ''}`;
  return {
    answer,
    reasons: [
      {
        layer: 'authorization',
        decision: 'unknown',
        ...(denied?.object === undefined ? {} : { object: denied.object }),
        text,
      },
    ],
  };
}
