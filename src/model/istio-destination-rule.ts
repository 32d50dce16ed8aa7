import type { ClientTlsMode, ClientTlsPolicy, DestinationRule } from './istio-types.ts';
import type { Target } from './istio-party.ts';
import { istioOf } from './istio-party.ts';
import type { Tri } from './tri.ts';
import type { Pod, World } from './world.ts';
import { selectsPod } from './world.ts';

/*
 * Which DestinationRule a client's proxy follows towards a Service. Rule: Istio's DestinationRule reference; order and merging as in
 * istio/istio pilot/pkg/model (push_context.go, destination_rule.go, sidecar.go).
 */

/** How exactly a host of a rule fits: its length, plus one where it has no wildcard; undefined where it does not fit. */
export function hostFit(pattern: string, host: string): number | undefined {
  if (pattern === host) return host.length + 1;
  if (!pattern.startsWith('*')) return undefined;
  return host.endsWith(pattern.slice(1)) ? pattern.length - 1 : undefined;
}

/** What a client follows: a policy, none, or one that cannot be told. */
export type Followed =
  | { readonly kind: 'none' }
  | { readonly kind: 'unknown'; readonly name: string; readonly why: string }
  | { readonly kind: 'rule'; readonly name: string; readonly policy: ClientTlsPolicy };

const NONE: Followed = { kind: 'none' };

/** Rules of one namespace for one host, merged as istiod does. */
interface Merged {
  readonly first: DestinationRule;
  readonly exportTo: ReadonlySet<string>;
  readonly rules: DestinationRule[];
}

function isPrivate({ exportTo, namespace }: DestinationRule): boolean {
  return exportTo?.size === 1 && (exportTo.has('.') || exportTo.has(namespace));
}

function isLocal({ exportTo, namespace }: DestinationRule): boolean {
  return exportTo === undefined || exportTo.size === 0 || ['.', '*', namespace].some((name) => exportTo.has(name));
}

function isShownTo(exportTo: ReadonlySet<string>, client: string): boolean {
  return exportTo.size === 0 || exportTo.has('*') || exportTo.has(client);
}

/** The rules with the host that fits best; those for some pods first, then the oldest. */
function bestRules(rules: readonly DestinationRule[], host: string): readonly DestinationRule[] {
  let best: DestinationRule[] = [];
  let bestFit = -1;
  for (const rule of rules) {
    const fit = hostFit(rule.host, host);
    if (fit === undefined || fit < bestFit) continue;
    if (fit > bestFit) [best, bestFit] = [[], fit];
    best.push(rule);
  }
  const forSome = best.filter(({ selector }) => selector !== undefined);
  return forSome.length === 0 ? best : [...forSome, ...best.filter(({ selector }) => selector === undefined)];
}

function isSubset(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return [...a].every((one) => b.has(one));
}

function isSameSet(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return a.size === b.size && isSubset(a, b);
}

function selectorText({ selector }: DestinationRule): string | undefined {
  if (selector === undefined) return undefined;
  return JSON.stringify(selector.requirements.map(({ key, values }) => [key, ...values]).sort());
}

/** Rules for one host: those with the same exportTo become one, in which the first traffic policy stands. */
function merge(rules: readonly DestinationRule[]): readonly Merged[] {
  const out: Merged[] = [];
  for (const rule of rules) {
    const exportTo = rule.exportTo ?? new Set<string>();
    let alone = true;
    for (const merged of out) {
      if (isSameSet(exportTo, merged.exportTo)) alone = false;
      else {
        alone = true;
        if (merged.exportTo.size === 0 || !isSubset(merged.exportTo, exportTo)) continue;
      }
      const [own, first] = [selectorText(rule), selectorText(merged.first)];
      if (own !== undefined && first !== undefined && own !== first) {
        alone = true;
        continue;
      }
      if (own === first) alone = false;
      merged.rules.push(rule);
    }
    if (alone) out.push({ first: rule, exportTo, rules: [rule] });
  }
  return out;
}

function followedOf({ rules }: Merged): Followed {
  const broken = rules.find(({ problems }) => problems.length > 0);
  const decides = rules.find(({ policy }) => policy !== undefined) ?? rules[0];
  const doubtful = broken ?? rules.find(({ subsetTls }) => subsetTls);
  if (doubtful !== undefined) {
    const why =
      broken === undefined
        ? 'a subset has client TLS of its own'
        : `its ${broken.problems[0]?.field ?? ''} cannot be judged`;
    return { kind: 'unknown', name: doubtful.name, why };
  }
  if (decides === undefined) return NONE;
  return { kind: 'rule', name: decides.name, policy: decides.policy ?? { ports: new Map() } };
}

/** Of the rules of one namespace for the host, the one that this client follows; undefined where there are none for it. */
function choose(rules: readonly DestinationRule[], client: Pod, target: Target, own: boolean): Followed | undefined {
  const best = bestRules(rules, target.host);
  const unread = best.find(({ exportTo }) => exportTo === undefined);
  if (unread !== undefined) return { kind: 'unknown', name: unread.name, why: 'whom it is shown to cannot be told' };
  const here = client.namespace.name;
  const merged = merge(best).filter(({ exportTo }) => own || isShownTo(exportTo, here));
  if (merged.length === 0) return undefined;
  const general = merged.findLast(({ first }) => first.selector === undefined);
  const forSome = merged.filter(({ first }) => first.selector !== undefined && first.namespace === here);
  const [mixed] = best.filter(({ selector, exportTo }) => selector === undefined && exportTo?.has('.') === true);
  if (forSome.length > 0 && mixed !== undefined)
    return { kind: 'unknown', name: mixed.name, why: 'how it is merged with one for some workloads cannot be told' };
  for (const one of forSome) {
    const selected: Tri = one.first.selector === undefined ? 'no' : selectsPod(one.first.selector, client);
    if (selected === 'yes') return followedOf(one);
    if (selected === 'unknown')
      return { kind: 'unknown', name: one.first.name, why: 'whether it selects the client cannot be told' };
  }
  // A rule for other pods of the namespace hides those of other namespaces, though none of it is followed.
  return general === undefined ? NONE : followedOf(general);
}

/** Istio's order: the client's namespace, the Service's, the root namespace; the first with a rule for the host decides. */
export function followedBy(world: World, client: Pod, target: Target): Followed {
  const root = world.inventory.facts.mesh.rootNamespace;
  const local = istioOf(world, client.namespace.name).rules;
  // In the root namespace only rules meant for it alone come first.
  const first = client.namespace.name === root ? local.filter(isPrivate) : local.filter(isLocal);
  const exported = (namespace: string): readonly DestinationRule[] =>
    istioOf(world, namespace).rules.filter((rule) => !isPrivate(rule));
  return (
    choose(first, client, target, true) ??
    choose(exported(target.namespace), client, target, false) ??
    choose(exported(root), client, target, false) ??
    NONE
  );
}

/** What the proxy is told for a port of the Service, and what for its endpoints where that differs. */
export function tlsAt(policy: ClientTlsPolicy, port: number): ClientTlsMode | 'auto' {
  const own = policy.ports.get(port);
  if (own !== undefined) return own;
  if (!policy.ports.has(port)) return policy.tls ?? 'auto';
  // Settings of a port replace the others whole, so client TLS is automatic; but each endpoint is still marked by the others' TLS.
  if (policy.tls === undefined || policy.tls === 'unknown') return policy.tls ?? 'auto';
  return policy.tls === 'ISTIO_MUTUAL' ? 'ISTIO_MUTUAL' : 'DISABLE';
}
