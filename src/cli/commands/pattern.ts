import { resolve as pathResolve } from 'node:path';
import { resolveParameters } from '../../candidates/patterns/parameters.ts';
import type { Resolved } from '../../candidates/patterns/parameters.ts';
import type { Pattern } from '../../candidates/patterns/pattern.ts';
import { judgeInvariants, nothingAsked } from '../../candidates/patterns/judge.ts';
import type { InvariantResult } from '../../candidates/patterns/judge.ts';
import type { AppliedPattern, PatternMark } from '../../model/applied-pattern.ts';
import type { Finding } from '../../model/finding.ts';
import {
  RANGES_MAY_BE_OLD,
  fillPattern,
  planPattern,
  rangesAge,
  stepsOfPattern,
  unwritable,
} from '../../readiness/pattern-plan.ts';
import type { FilledPattern } from '../../readiness/pattern-plan.ts';
import { appliedPatterns } from '../../readiness/patterns-in-force.ts';
import { planRollback } from '../../readiness/rollback.ts';
import { resolutionsOf } from '../../plan/rollback.ts';
import { EXIT, Failure, isFailure } from '../../shared/pure/errors.ts';
import { sortBy } from '../../shared/pure/order.ts';
import { shellWord } from '../../shared/pure/shell.ts';
import { safeText } from '../../shared/pure/text.ts';
import { nearest } from '../check-command-line.ts';
import type { App } from '../context.ts';
import { requireServed } from '../dialect.ts';
import type { Loaded } from '../load.ts';
import { loadAll, requireNamespace, requireReadable } from '../load.ts';
import { wrap } from '../output.ts';
import { readPatterns } from '../pattern-files.ts';
import type { Prompts } from '../prompts.ts';
import { renderChecked, renderInvariants, renderPatternList, renderPatternPage } from '../render-pattern.ts';
import type { CheckedPattern } from '../render-pattern.ts';
import { refuseUnserved } from '../refuse-unserved.ts';
import { renderPlan } from '../render-plan.ts';
import { soakWorld } from '../soak.ts';
import { planDocument, stalePlan } from './plan.ts';
import { carryOut, foreignChange, refuseOpenRun } from './run.ts';

export interface PatternOptions {
  readonly set?: readonly string[];
  readonly namespace?: string;
  readonly templates?: string;
  /** True unless `--no-dry-run` is given. */
  readonly dryRun?: boolean;
  readonly detach?: boolean;
}

/** Segmentation patterns: what there is, what one writes, whether one holds on this cluster, and its steps as a run. */
export async function pattern(
  app: App,
  action: string,
  name: string | undefined,
  options: PatternOptions,
  prompts?: Prompts,
): Promise<number> {
  const patterns = await readPatterns(options.templates);
  switch (action) {
    case 'list':
      return list(app, patterns, options);
    case 'show':
      return show(app, find(patterns, name));
    case 'check':
      return check(app, name === undefined ? patterns : [find(patterns, name)], name !== undefined, options);
    case 'apply':
      return apply(app, find(patterns, name), options, prompts);
    case 'remove':
      return remove(app, find(patterns, name), options, prompts);
    default:
      throw new Failure({
        code: 'SP263',
        exit: EXIT.usage,
        message: `pattern knows no ${safeText(action)}`,
        hint: 'one of: list, show, check, apply, remove',
      });
  }
}

function find(patterns: readonly Pattern[], name: string | undefined): Pattern {
  const found = patterns.find((one) => one.name === name);
  if (found !== undefined) return found;
  const names = patterns.map((one) => one.name);
  const near = name === undefined ? [] : nearest(name, names, 3);
  throw new Failure({
    code: 'SP263',
    exit: EXIT.usage,
    message: name === undefined ? 'which pattern is not said' : `there is no pattern ${safeText(name)}`,
    hint: `one of: ${(near.length > 0 ? near : names).join(', ')}`,
  });
}

function requireOne(options: PatternOptions, action: string): string {
  if (options.namespace !== undefined) return options.namespace;
  throw new Failure({
    code: 'SP263',
    exit: EXIT.usage,
    message: `pattern ${action} needs the namespace under which its steps are filed`,
    hint: 'add -n NAMESPACE: a rollback of that namespace takes them back',
  });
}

/** What there is, and where it is applied with what: the latter from the state alone, where there is one for what is asked about. */
async function list(app: App, patterns: readonly Pattern[], options: PatternOptions): Promise<number> {
  const { applied, why } = await appliedHere(app);
  const here = applied?.filter(({ namespace }) => options.namespace === undefined || namespace === options.namespace);
  app.output.document('Patterns', {
    patterns: patterns.map(({ name, title, summary, phase, parameters }) => ({
      name,
      title,
      summary,
      phase,
      parameters,
      applied:
        here
          ?.filter((one) => one.name === name)
          .map(({ namespace, mark }) => ({ namespace, set: mark?.set ?? null, templates: mark?.templates ?? null })) ??
        null,
    })),
  });
  app.output.names(patterns.map((one) => one.name));
  app.output.line(renderPatternList(patterns, app.output, here));
  if (why !== undefined)
    app.output.note(wrap(safeText(`Where they are applied is not known: ${why}`), app.output.width, 2));
  return EXIT.done;
}

/** Without a cluster or a state to ask there is still a list of patterns. */
async function appliedHere(app: App): Promise<{ readonly applied?: readonly AppliedPattern[]; readonly why?: string }> {
  try {
    return { applied: appliedPatterns((await app.state()).reader.applied()) };
  } catch (error) {
    if (!isFailure(error)) throw error;
    return { why: error.detail.message };
  }
}

function show(app: App, one: Pattern): number {
  const { name, title, summary, phase, parameters, notes, doc, objects, invariants } = one;
  app.output.document('Pattern', { name, title, summary, phase, parameters, objects, invariants, notes, doc });
  app.output.names([name]);
  app.output.line(renderPatternPage(one, app.output));
  return EXIT.done;
}

/** `key=value`, each key once. */
function parseSet(given: readonly string[] = []): ReadonlyMap<string, string> {
  const out = new Map<string, string>();
  const wrong: string[] = [];
  for (const text of given) {
    const at = text.indexOf('=');
    const key = text.slice(0, at);
    if (at < 1) wrong.push(`"${text}" is not key=value`);
    else if (out.has(key)) wrong.push(`${key} is set twice`);
    else out.set(key, text.slice(at + 1));
  }
  if (wrong.length > 0) throw refusedParameters('--set', wrong);
  return out;
}

function refusedParameters(where: string, problems: readonly string[]): Failure {
  return new Failure({
    code: 'SP264',
    exit: EXIT.usage,
    message: `nothing is done: ${problems.map(safeText).join('; ')}`,
    where,
    hint: 'sallyport pattern show NAME lists the parameters with their forms',
  });
}

function resolve(loaded: Loaded, one: Pattern, options: PatternOptions): Resolved {
  return resolveParameters(one, parseSet(options.set), {
    inventory: loaded.inventory,
    tenants: loaded.config.tenants ?? [],
    ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
  });
}

// ---------------------------------------------------------------- check

async function check(app: App, patterns: readonly Pattern[], named: boolean, options: PatternOptions): Promise<number> {
  if (!named && (options.set?.length ?? 0) > 0)
    throw refusedParameters('--set', ['parameters are of one pattern: name it']);
  parseSet(options.set);
  const loaded = await loadAll(app);
  if (options.namespace !== undefined) requireNamespace(loaded, options.namespace);
  requireReadable(loaded, await app.decisions());
  const { reader } = await app.state();
  const applied = appliedPatterns(reader.applied());
  const checked: CheckedPattern[] = [];
  for (const one of patterns)
    for (const asked of askedOf(one, applied, options)) {
      const { namespace, recorded, options: given } = asked;
      const resolved = resolve(loaded, one, given);
      const inForce = applied.filter(({ name }) => name === one.name).map((found) => found.namespace);
      const base = {
        name: one.name,
        title: one.title,
        inForce,
        namespace: namespace ?? null,
        set: given.set ?? [],
        recorded,
      };
      const wrong = [...resolved.problems, ...(named || recorded ? missingText(one, resolved.missing) : [])];
      if (wrong.length > 0 && !recorded) throw refusedParameters(`pattern ${one.name}`, wrong);
      if (wrong.length > 0) {
        checked.push({ ...base, answer: 'unknown', missing: [], invariants: [], findings: [staleFinding(one, wrong)] });
        continue;
      }
      if (resolved.missing.length > 0) {
        checked.push({ ...base, answer: 'not-asked', missing: resolved.missing, invariants: [], findings: [] });
        continue;
      }
      const filled = fillPattern(one, resolved.values);
      const invariants = judgeInvariants(filled.invariants, loaded.inventory);
      const findings = findingsOf(one, invariants, resolved, app.now(reader));
      checked.push({ ...base, answer: answerOf(invariants), missing: [], invariants, findings });
    }
  app.output.document('PatternCheck', { namespace: options.namespace ?? null, patterns: checked });
  app.output.names(
    checked.filter(({ answer }) => answer === 'violated' || answer === 'unknown').map(({ name }) => name),
  );
  app.output.line(renderChecked(checked, app.output));
  return checked.some(({ answer }) => answer === 'violated' || answer === 'unknown') ? EXIT.drift : EXIT.done;
}

interface Asked {
  readonly namespace: string | undefined;
  /** With what it was applied with, and not with what was typed now. */
  readonly recorded: boolean;
  readonly options: PatternOptions;
}

/** With what a pattern is asked about: what was typed; else, of each namespace that it is applied for, what stands on record; else its defaults. */
function askedOf(one: Pattern, applied: readonly AppliedPattern[], options: PatternOptions): readonly Asked[] {
  const { namespace } = options;
  const folder = options.templates === undefined ? undefined : pathResolve(options.templates);
  const recorded = applied.flatMap(({ name, mark, namespace: of }): readonly Asked[] =>
    name !== one.name || mark === undefined || mark.templates !== folder || (namespace ?? of) !== of
      ? []
      : [{ namespace: of, recorded: true, options: { ...options, namespace: of, set: mark.set } }],
  );
  return (options.set?.length ?? 0) > 0 || recorded.length === 0 ? [{ namespace, recorded: false, options }] : recorded;
}

function staleFinding(one: Pattern, wrong: readonly string[]): Finding {
  const message = `cannot be judged with what it was applied with: ${wrong.join('; ')}`;
  return { code: 'SP371', severity: 'warning', subject: `pattern ${one.name}`, message };
}

function missingText(one: Pattern, missing: readonly string[]): readonly string[] {
  return missing.map((name) => `${name} is needed: ${one.parameters[name]?.help ?? ''}`);
}

function answerOf(invariants: readonly InvariantResult[]): CheckedPattern['answer'] {
  if (invariants.some(({ answer }) => answer === 'violated')) return 'violated';
  if (invariants.some(({ answer }) => answer === 'unknown')) return 'unknown';
  return nothingAsked(invariants) ? 'not-applicable' : 'holds';
}

function findingsOf(
  one: Pattern,
  invariants: readonly InvariantResult[],
  { values }: Resolved,
  now: number,
): readonly Finding[] {
  const subject = `pattern ${one.name}`;
  const findings = invariants.flatMap(({ answer, text, violating, unknown }): readonly Finding[] => {
    if (answer === 'violated')
      return [
        { code: 'SP370', severity: 'warning', subject, message: `does not hold: ${text} (${violating.length} pairs)` },
      ];
    return answer === 'unknown'
      ? [
          {
            code: 'SP371',
            severity: 'warning',
            subject,
            message: `cannot be judged: ${text} (${unknown.length} pairs)`,
          },
        ]
      : [];
  });
  return [...findings, ...ageFindings(subject, values, now)];
}

function ageFindings(subject: string, values: Resolved['values'], now: number): readonly Finding[] {
  const age = rangesAge(values, now);
  if (age === undefined || (age.days !== undefined && age.days >= 0 && age.days <= RANGES_MAY_BE_OLD)) return [];
  const message =
    age.from === undefined
      ? 'of which day the ranges are is not said (ranges-from)'
      : `the ranges are of ${age.from}, ${age.days ?? 0} days ago: look them up again where the hub publishes them`;
  return [{ code: 'SP372', severity: 'warning', subject, message }];
}

// ---------------------------------------------------------------- apply and remove

async function apply(app: App, one: Pattern, options: PatternOptions, prompts: Prompts | undefined): Promise<number> {
  const namespace = requireOne(options, 'apply');
  const dryRun = options.dryRun !== false;
  parseSet(options.set);
  if (!dryRun) await refuseOpenRun(app, namespace);
  const loaded = await loadAll(app);
  requireNamespace(loaded, namespace);
  requireReadable(loaded, await app.decisions());
  const { values, filled } = fillOrFail(loaded, one, options);
  const view = loaded.view(namespace);
  refuseUnserved(view, filled.objects, `pattern ${one.name}`, Object.hasOwn(one.parameters, 'dialect'));
  // By name they are there; the version that the template writes may not be.
  await requireServed(app, filled.objects);
  const { plan, before, after } = planPattern(view, one, filled, loaded.planner, markOf(one, options));
  const { reader } = await app.state();
  const findings = ageFindings(`pattern ${one.name}`, values, app.now(reader));
  for (const finding of findings)
    app.output.note(wrap(safeText(`${finding.code} ${finding.subject}: ${finding.message}`), app.output.width, 4));
  const words = [
    'sallyport pattern apply',
    one.name,
    `-n ${namespace}`,
    ...(options.set ?? []).map((text) => `--set ${shellWord(text)}`),
    ...(options.templates === undefined ? [] : [`--templates ${shellWord(options.templates)}`]),
  ].join(' ');
  if (dryRun || plan.steps.length === 0) {
    const stale = stalePlan(app.options.planHash, plan);
    if (stale !== undefined) throw stale;
    app.output.document('PatternPlan', {
      pattern: one.name,
      ...planDocument(plan),
      before,
      after,
      ageFindings: findings,
    });
    if (plan.steps.length === 0) app.output.line(`Nothing to write: pattern ${one.name} is there as asked.`);
    else app.output.line(renderPlan(plan, app.output, true, `${words} --no-dry-run`));
    app.output.line();
    app.output.line(renderInvariants(before, after, app.output));
    return EXIT.done;
  }
  const soak = await soakWorld(app, loaded, namespace, options.detach === true);
  return carryOut(app, plan, loaded, view, 'advance', prompts, soak, words);
}

/** What goes on record with the steps: the promise is judged by it from then on. */
function markOf({ name }: Pattern, { set, templates }: PatternOptions): PatternMark {
  const typed = sortBy(parseSet(set), ([key]) => key).map(([key, value]) => `${key}=${value}`);
  return { name, set: typed, ...(templates === undefined ? {} : { templates: pathResolve(templates) }) };
}

function fillOrFail(
  loaded: Loaded,
  one: Pattern,
  options: PatternOptions,
): { readonly values: Resolved['values']; readonly filled: FilledPattern } {
  const { values, problems, missing } = resolve(loaded, one, options);
  const filled = problems.length + missing.length > 0 ? undefined : fillPattern(one, values);
  const all = [...problems, ...missingText(one, missing), ...unwritable(values), ...(filled?.problems ?? [])];
  if (filled === undefined || all.length > 0) throw refusedParameters(`pattern ${one.name}`, all);
  return { values, filled };
}

/** Takes back what one pattern wrote for a namespace, from the record, and leaves the rest. */
async function remove(app: App, one: Pattern, options: PatternOptions, prompts: Prompts | undefined): Promise<number> {
  const namespace = requireOne(options, 'remove');
  const dryRun = options.dryRun !== false;
  if (!dryRun) await refuseOpenRun(app, namespace);
  const loaded = await loadAll(app);
  const view = loaded.view(namespace);
  const undo = stepsOfPattern(view.applied, namespace, one.name);
  if (undo.length === 0)
    throw new Failure({
      code: 'SP629',
      exit: EXIT.usage,
      message: `pattern ${one.name} has no steps in force for ${safeText(namespace)}`,
      hint: 'sallyport pattern check shows under which namespace a pattern is in force',
    });
  const now = view.phases.get(namespace) ?? 'none';
  const first = planRollback(view, now, loaded.planner, undefined, undo);
  const decided = resolutionsOf(first.divergences, view.resolved ?? []);
  const { plan, divergences } = decided.size === 0 ? first : planRollback(view, now, loaded.planner, decided, undo);
  if (divergences.length > 0) throw foreignChange(divergences);
  const words = `sallyport pattern remove ${one.name} -n ${namespace}`;
  if (!dryRun) return carryOut(app, plan, loaded, view, 'rollback', prompts, undefined, words);
  app.output.document('PatternPlan', { pattern: one.name, ...planDocument(plan) });
  app.output.line(renderPlan(plan, app.output, true, `${words} --no-dry-run`));
  return EXIT.done;
}
