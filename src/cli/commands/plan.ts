import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { App } from '../context.ts';
import type { Loaded } from '../load.ts';
import { loadAll, planWhole, requireNamespace, requireReadable } from '../load.ts';
import type { View } from '../../engine/contract.ts';
import { formatRef } from '../../model/object.ts';
import type { KubeManifest } from '../../model/object.ts';
import type { PhaseName } from '../../model/phase.ts';
import { PHASES, isPhaseName, phaseIndex } from '../../model/phase.ts';
import { draftUp, judgeUp } from '../../plan/assemble.ts';
import { changeRef, maskChange } from '../../plan/change.ts';
import type { Plan } from '../../plan/plan.ts';
import { stateAfter } from '../../plan/simulate.ts';
import { errorCodeOf } from '../../shared/io/files.ts';
import { EXIT, Failure } from '../../shared/pure/errors.ts';
import { maskManifest } from '../../shared/pure/mask.ts';
import { groupBy } from '../../shared/pure/order.ts';
import { explain } from '../file-error.ts';
import { requireDialect, requireServed } from '../dialect.ts';
import { renderPlan } from '../render-plan.ts';

/** The phase asked for, or the next one. Exit 2 for a phase that does not exist or does not lie ahead. */
export function targetPhase(
  namespace: string,
  text: string | undefined,
  now: PhaseName,
  direction: 'up' | 'down',
): PhaseName {
  const where = `namespace ${namespace}`;
  if (text === undefined) {
    const index = phaseIndex(now) + (direction === 'up' ? 1 : -1);
    const next = PHASES[index];
    if (next !== undefined) return next;
    throw new Failure({
      code: 'SP222',
      exit: EXIT.usage,
      message:
        direction === 'up'
          ? `it is in the last phase, ${now}, already`
          : 'it is in no phase, so there is nothing to take back',
      where,
      hint:
        direction === 'up'
          ? `sallyport verify ${namespace}, or sallyport rollback ${namespace} --to PHASE`
          : 'sallyport status',
    });
  }
  if (!isPhaseName(text))
    throw new Failure({
      code: 'SP223',
      exit: EXIT.usage,
      message: `there is no phase ${text}`,
      where: '--to',
      hint: `one of: ${PHASES.join(', ')}`,
    });
  const ahead = phaseIndex(text) - phaseIndex(now);
  // Up to the phase it is in: its policies are brought up to date with the record.
  if (direction === 'up' ? ahead > 0 || (ahead === 0 && text !== 'none') : ahead < 0) return text;
  throw new Failure({
    code: 'SP224',
    exit: EXIT.usage,
    message: `it is in phase ${now}, and ${text} does not lie ${direction === 'up' ? 'ahead' : 'behind'} of that`,
    where,
    hint:
      ahead === 0
        ? `sallyport verify ${namespace}`
        : direction === 'up'
          ? `sallyport rollback ${namespace} --to ${text} goes back`
          : `sallyport advance ${namespace} --to ${text} goes on`,
  });
}

export interface Planned {
  readonly loaded: Loaded;
  readonly view: View;
  readonly plan: Plan;
}

/** Reads everything and plans the way up. Writes nothing but the gates' answers, for `status`. */
export async function planUp(app: App, namespace: string, to: string | undefined): Promise<Planned> {
  const begun = await loadAll(app, { kind: 'planning', namespace });
  requireNamespace(begun, namespace);
  requireReadable(begun, await app.decisions());
  // Steps alone tell what the plan rests on: they are judged when all of that is there.
  const { loaded, made } = planWhole(begun, (read) => {
    const view = read.view(namespace);
    requireDialect(view);
    const now = view.phases.get(namespace) ?? 'none';
    return { view, plan: draftUp(view, targetPhase(namespace, to, now, 'up'), read.planner) };
  });
  await requireServed(
    app,
    made.plan.steps.map(({ change }) => changeRef(change)),
  );
  return { loaded, view: made.view, plan: judgeUp(made.view, made.plan, loaded.planner) };
}

export function planDocument(plan: Plan): object {
  return {
    namespace: plan.namespace,
    from: plan.from,
    to: plan.to,
    hash: plan.hash,
    steps: plan.steps.map((step) => ({
      id: step.id,
      phase: step.phase,
      operation: step.operation,
      title: step.title,
      object: formatRef(changeRef(step.change)),
      diff: diffOf(plan, step.id),
      effects: step.effects,
      risks: step.risks,
      confirm: step.confirm ?? null,
    })),
    gates: plan.gates,
    denied: plan.denied,
    unknown: plan.unknown,
    simulated: plan.simulated,
    findings: plan.findings,
  };
}

function diffOf(plan: Plan, id: string): readonly object[] {
  const found = plan.steps.find((step) => step.id === id)?.change;
  const change = found === undefined ? undefined : maskChange(found);
  switch (change?.kind) {
    case 'create':
      return [{ path: '', before: null, after: change.object }];
    case 'delete':
      return [{ path: '', before: change.before, after: null }];
    case 'edit':
      return change.fields.map((field) => ({
        path: field.path.join('.'),
        before: field.before ?? null,
        after: field.after ?? null,
      }));
    case undefined:
      return [];
  }
}

/** Prints the plan; with --states also writes the manifests of the cluster as each step leaves them. */
export async function plan(
  app: App,
  namespace: string,
  options: { readonly to?: string; readonly states?: string },
): Promise<void> {
  const planned = await planUp(app, namespace, options.to);
  const stale = stalePlan(app.options.planHash, planned.plan);
  if (stale !== undefined) throw stale;
  if (options.states !== undefined) await saveStates(planned, options.states);
  app.output.document('Plan', planDocument(planned.plan));
  app.output.line(renderPlan(planned.plan, app.output));
}

/** Why this plan is not the one of the hash `wanted`, or of its first 12 digits or more; undefined where it is, or none is named. */
export function stalePlan(wanted: string | undefined, made: Plan): Failure | undefined {
  if (wanted === undefined || made.hash === wanted || (wanted.length >= 12 && made.hash.startsWith(wanted)))
    return undefined;
  return new Failure({
    code: 'SP605',
    exit: EXIT.refused,
    message: `the plan is not ${wanted} but ${made.hash.slice(0, 12)}: the cluster, the record or a decision changed since, or it was planned to another phase`,
    where: `namespace ${made.namespace}, ${made.from} -> ${made.to}`,
    hint: `sallyport plan ${made.namespace} --to ${made.to}`,
  });
}

async function saveStates(planned: Planned, dir: string): Promise<void> {
  try {
    await writeStates(planned, dir);
  } catch (error) {
    if (errorCodeOf(error) === undefined) throw error;
    throw new Failure({
      code: 'SP228',
      exit: EXIT.usage,
      message: `the states cannot be written: ${explain(error)}`,
      where: dir,
      hint: 'give --states a directory that you may write to',
      cause: error,
    });
  }
}

async function writeStates({ loaded, view, plan: made }: Planned, dir: string): Promise<void> {
  let state = { snapshot: view.snapshot, inventory: view.inventory };
  await writeState(join(dir, '000-start'), state.snapshot.objects);
  for (const [index, step] of made.steps.entries()) {
    state = stateAfter(state, step, loaded.rebuild);
    const name = step.id.replaceAll(/[^a-z0-9.-]+/gi, '-').slice(0, 100);
    await writeState(join(dir, `${String(index + 1).padStart(3, '0')}-${name}`), state.snapshot.objects);
  }
}

/** One List a namespace; JSON, which every reader of manifests takes. Credentials are masked: the files are made to be passed on. */
async function writeState(dir: string, objects: readonly KubeManifest[]): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const groups = groupBy(objects, (object) => {
    const namespace = object.metadata['namespace'];
    return typeof namespace === 'string' && namespace !== '' ? namespace : '_cluster';
  });
  for (const [namespace, items] of groups) {
    const file = join(dir, `${namespace.replaceAll(/[^a-z0-9_-]/gi, '-')}.json`);
    const list = { apiVersion: 'v1', kind: 'List', items: items.map((item) => maskManifest(item)) };
    const opened = await open(file, 'w', 0o600);
    try {
      // A file of an earlier plan keeps its mode when it is opened.
      await opened.chmod(0o600);
      await opened.writeFile(`${JSON.stringify(list, undefined, 1)}\n`);
    } finally {
      await opened.close();
    }
  }
}
