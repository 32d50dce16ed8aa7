import { emptyPeers, fillTemplate } from '../candidates/patterns/fill.ts';
import { judgeInvariants, nothingAsked } from '../candidates/patterns/judge.ts';
import type { InvariantResult } from '../candidates/patterns/judge.ts';
import { inseparable, resolveParameters } from '../candidates/patterns/parameters.ts';
import { PATTERN_ANNOTATION } from '../candidates/patterns/pattern.ts';
import type { Pattern } from '../candidates/patterns/pattern.ts';
import type { AppliedStep, View } from '../engine/contract.ts';
import { changedConnections, portsWithout } from '../model/connectivity.ts';
import { compileWorld } from '../model/evaluate.ts';
import { parametersOf } from '../model/applied-pattern.ts';
import type { AppliedPattern, PatternMark } from '../model/applied-pattern.ts';
import type { TenantFact } from '../model/config.ts';
import type { Gate } from '../model/finding.ts';
import type { Inventory } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { formatRef, groupOf, isKubeManifest, refKey, refOf } from '../model/object.ts';
import { MANAGED_BY, MANAGED_BY_LABEL } from '../objects/build.ts';
import { assembleSteps } from '../plan/assemble.ts';
import type { Planner } from '../plan/assemble.ts';
import type { Plan, Step } from '../plan/plan.ts';
import { draftSteps } from '../plan/steps.ts';
import { asArray, asStringMap, isJsonObject } from '../shared/pure/json.ts';
import type { Json, JsonObject } from '../shared/pure/json.ts';
import { shellWord } from '../shared/pure/shell.ts';
import { plural } from '../shared/pure/text.ts';
import { gate, servedKinds } from './view.ts';

/** A pattern with its values in place. */
export interface FilledPattern {
  readonly objects: readonly KubeManifest[];
  readonly invariants: Json;
  /** What is wrong with the template or with the values; nothing may be applied then. */
  readonly problems: readonly string[];
}

/** Fills a pattern. What a template leaves without a peer is a problem: Kubernetes and Istio read an empty list as everybody. */
export function fillPattern(pattern: Pattern, values: JsonObject): FilledPattern {
  const filled = fillTemplate(pattern.objects, values);
  const invariants = fillTemplate(pattern.invariants, values);
  const problems = [...filled.problems, ...invariants.problems];
  const objects: KubeManifest[] = [];
  const keys = new Set<string>();
  for (const value of asArray(filled.value)) {
    if (!isJsonObject(value) || !isKubeManifest(value)) {
      problems.push('what it writes is no object of Kubernetes');
      continue;
    }
    const name = formatRef(refOf(value));
    const key = refKey(refOf(value));
    for (const place of emptyPeers(value['spec'] ?? null))
      problems.push(`${name} spec.${place} is empty, which would admit everybody`);
    if (keys.has(key)) problems.push(`${name} would be written twice`);
    keys.add(key);
    objects.push(isNamespace(value) ? value : marked(pattern, value));
  }
  return { objects, invariants: invariants.value, problems: [...new Set(problems)] };
}

/** A Namespace in a template stands for labels that it is to carry; it is never made. */
function isNamespace(object: KubeManifest): boolean {
  return object.apiVersion === 'v1' && object.kind === 'Namespace';
}

function marked(pattern: Pattern, object: KubeManifest): KubeManifest {
  return {
    ...object,
    metadata: {
      ...object.metadata,
      labels: { ...asStringMap(object.metadata['labels']), [MANAGED_BY_LABEL]: MANAGED_BY },
      annotations: { ...asStringMap(object.metadata['annotations']), [PATTERN_ANNOTATION]: pattern.name },
    },
  };
}

/** The ids of a pattern's steps begin with this, behind the phase; `remove` finds them by it. */
function stepPrefix(name: string): string {
  return `pattern/${name}/`;
}

/** The steps in force that a pattern wrote for a namespace, newest first: what `remove` takes back. */
export function stepsOfPattern(
  applied: readonly AppliedStep[],
  namespace: string,
  name: string,
): readonly AppliedStep[] {
  return applied
    .filter((one) => one.namespace === namespace && one.step.id.startsWith(`${one.phase}/${stepPrefix(name)}`))
    .toSorted((a, b) => b.seq - a.seq);
}

/** Of the cluster as it is now. */
export interface JudgedIn {
  readonly inventory: Inventory;
  readonly tenants: readonly TenantFact[];
}

/**
 * Does a pattern in force still hold, with the parameters that it was applied with? `pattern`: undefined where it is not there any more. What
 * cannot be asked is unknown.
 */
export function appliedPatternGate(
  { namespace, name, mark }: AppliedPattern,
  pattern: Pattern | undefined,
  { inventory, tenants }: JudgedIn,
): Gate {
  const subject = `${namespace}/${name}`;
  const unknown = (facts: readonly string[], fix: string): Gate =>
    gate('pattern-holds', 'unknown', subject, facts, fix);
  const anew = `sallyport pattern remove ${name} -n ${namespace}, then apply it with the parameters that you mean`;
  if (mark === undefined) return unknown(['it was applied before its parameters were on record'], anew);
  const words = mark.set.length === 0 ? 'applied with the defaults' : `applied with ${mark.set.join(' ')}`;
  if (pattern === undefined)
    return unknown(
      [words, `there is no pattern ${name}${mark.templates === undefined ? '' : ` in ${mark.templates}`} any more`],
      'put the pattern back where it was',
    );
  const { values, problems, missing } = resolveParameters(pattern, parametersOf(mark), {
    inventory,
    tenants,
    namespace,
  });
  const wrong = [...problems, ...missing.map((one) => `${one} has no value any more`)];
  if (wrong.length > 0) return unknown([words, ...wrong], anew);
  const filled = fillPattern(pattern, values);
  const fix = `sallyport pattern check ${[name, `-n ${namespace}`, ...(mark.templates === undefined ? [] : [`--templates ${shellWord(mark.templates)}`])].join(' ')} names each pair with the policy that lets it; change that, or sallyport waive gate=pattern-holds,subject=${subject} --reason "..."`;
  const results = judgeInvariants(filled.invariants, inventory);
  if (nothingAsked(results))
    return unknown(
      [words, 'nothing here is what it is about any more, so that there was nothing to judge'],
      `see whom it means now: sallyport pattern check ${name} -n ${namespace}; if that is meant: sallyport pattern remove ${name} -n ${namespace}`,
    );
  const judged = invariantGate(subject, results, fix);
  return { ...judged, facts: [words, ...judged.facts] };
}

function stepsFor(
  view: View,
  pattern: Pattern,
  objects: readonly KubeManifest[],
  mark: PatternMark | undefined,
): readonly Step[] {
  const draft = draftSteps(view.snapshot.objects);
  for (const object of objects) {
    const { namespace, kind, name } = refOf(object);
    const step = {
      namespace: view.namespace,
      phase: pattern.phase,
      id: `${stepPrefix(pattern.name)}${kind.toLowerCase()}${namespace === undefined ? '' : `-${namespace}`}-${name}`,
      title: `${pattern.title}: ${formatRef(refOf(object))}`,
      ...(mark === undefined ? {} : { pattern: mark }),
    };
    if (isNamespace(object)) {
      const live = draft.get(object);
      const fields = Object.entries(asStringMap(object.metadata['labels'])).map(([key, after]) => ({
        path: ['metadata', 'labels', key],
        after,
      }));
      if (live !== undefined) draft.edit(live, fields, step);
    } else draft.ensure(object, step);
  }
  return draft.steps;
}

export interface PatternPlan {
  readonly plan: Plan;
  /** What the invariant says of the cluster now, and of the state that the plan leaves. */
  readonly before: readonly InvariantResult[];
  readonly after: readonly InvariantResult[];
}

/** Kinds that templates use and that this cluster does not serve, as `CustomResourceDefinition` names them. */
export function unservedKinds(view: View, objects: readonly KubeManifest[]): readonly string[] {
  const served = servedKinds(view);
  // Where not even one was read, that is said elsewhere (the kind is unread).
  if (served === undefined || served.size === 0) return [];
  return objects
    .filter(({ apiVersion }) => !BUILT_IN.has(groupOf(apiVersion)))
    .filter(({ apiVersion, kind }) => {
      // Calico's API server serves what is stored under another group (projectcalico/calico, apiserver).
      const group = groupOf(apiVersion).replace(/^projectcalico\.org$/u, 'crd.projectcalico.org');
      return !served.has(`${pluralOf(kind)}.${group}`);
    })
    .map(({ apiVersion, kind }) => `${kind} of ${apiVersion}`);
}

const BUILT_IN: ReadonlySet<string> = new Set(['', 'networking.k8s.io', 'rbac.authorization.k8s.io']);

function pluralOf(kind: string): string {
  const text = kind.toLowerCase();
  return text.endsWith('y') && !/[aeiou]y$/u.test(text) ? `${text.slice(0, -1)}ies` : `${text}s`;
}

/**
 * The plan of a pattern: an ordinary run of steps, simulated against every edge on record, with the invariant judged on what it leaves. `mark`
 * goes on record with the steps.
 */
export function planPattern(
  view: View,
  pattern: Pattern,
  filled: FilledPattern,
  planner: Planner,
  mark?: PatternMark,
): PatternPlan {
  const steps = stepsFor(view, pattern, filled.objects, mark);
  let after: readonly InvariantResult[] = [];
  const plan = assembleSteps(
    view,
    steps,
    ({ inventory }) => {
      after = judgeInvariants(filled.invariants, inventory);
      return [
        ...enforcement(view, pattern),
        holdsGate(view, pattern, after),
        opensGate(view, pattern, view.inventory, inventory),
      ];
    },
    planner,
  );
  return { plan, before: judgeInvariants(filled.invariants, view.inventory), after };
}

/** Parameters that a policy cannot keep apart, for objects that go by namespace. */
export function unwritable(values: JsonObject): readonly string[] {
  return inseparable(values);
}

function enforcement(view: View, pattern: Pattern): readonly Gate[] {
  if (pattern.phase !== 'allow-list') return [];
  const { cni } = view.inventory.facts;
  return [
    gate(
      'enforcement',
      cni.enforces,
      view.namespace,
      [`CNI ${cni.name}: ${cni.because}`],
      cni.enforces === 'no'
        ? 'switch enforcement on in the CNI; policies would have no effect'
        : 'state cluster.cni in the configuration if you know it',
    ),
  ];
}

/** Pairs that a gate names. */
const MOST_PAIRS = 10;

function holdsGate(view: View, pattern: Pattern, after: readonly InvariantResult[]): Gate {
  const subject = `${view.namespace}/${pattern.name}`;
  return invariantGate(
    subject,
    after,
    `what is applied would not bring about what the pattern promises: change the policies named, or sallyport waive gate=pattern-holds,subject=${subject} --reason "..."`,
  );
}

function invariantGate(subject: string, after: readonly InvariantResult[], fix: string): Gate {
  const facts = after.map(({ text, answer, asked, violating, unknown }) => {
    const pairs = [...violating, ...unknown];
    const shown = pairs
      .slice(0, MOST_PAIRS)
      .map(
        ({ src, dst, ports, why }) =>
          `${src} -> ${dst} ${ports}${why[0] === undefined ? '' : ` (${why[0].object ?? why[0].text})`}`,
      );
    const more = pairs.length > MOST_PAIRS ? [`and ${pairs.length - MOST_PAIRS} more`] : [];
    return `${text}: ${answer}, ${plural(asked, 'pair')} asked${pairs.length === 0 ? '' : `: ${[...shown, ...more].join('; ')}`}`;
  });
  const answer = after.some((one) => one.answer === 'violated')
    ? 'no'
    : after.some((one) => one.answer === 'unknown')
      ? 'unknown'
      : 'yes';
  return gate('pattern-holds', answer, subject, facts, fix);
}

/** Policies add up: one that admits its own tenant may open what others keep closed now. */
function opensGate(view: View, pattern: Pattern, before: Inventory, end: Inventory): Gate {
  const subject = `${view.namespace}/${pattern.name}`;
  // The same workloads and facts, so that only policies differ.
  const after = { ...before, policies: end.policies };
  const opened: string[] = [];
  let count = 0;
  for (const change of changedConnections(compileWorld(before), compileWorld(after))) {
    const known = [...change.before.allowed, ...change.before.unknown];
    const more = portsWithout(change.after.allowed, known);
    if (more.length === 0) continue;
    count += 1;
    if (opened.length < MOST_PAIRS)
      opened.push(
        `${change.src} -> ${change.dst} ${more.map(({ protocol, from, to }) => `${from}${from === to ? '' : `-${to}`}/${protocol}`).join(', ')}`,
      );
  }
  return gate(
    'pattern-opens',
    count === 0 ? 'yes' : 'no',
    subject,
    count === 0
      ? ['no connection between workloads is opened that is denied now']
      : [`${plural(count, 'pair')} that cannot connect now would be able to`, ...opened],
    `policies add up, and these are opened: choose a dialect that denies, name fewer peers, or sallyport waive gate=pattern-opens,subject=${subject} --reason "..."`,
  );
}

/** The day that ranges are from, and how old that makes them; undefined where no ranges are given. */
export function rangesAge(
  values: JsonObject,
  now: number,
): { readonly from: string | undefined; readonly days: number | undefined } | undefined {
  if (asArray(values['ranges']).length === 0) return undefined;
  const from = values['ranges-from'];
  if (typeof from !== 'string' || from === '') return { from: undefined, days: undefined };
  return { from, days: Math.floor((now - Date.parse(from)) / 86_400_000) };
}

/** After so many days ranges of a hub are looked up again. */
export const RANGES_MAY_BE_OLD = 30;
