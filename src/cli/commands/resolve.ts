import type { App } from '../context.ts';
import { loadAll } from '../load.ts';
import type { AppliedStep, View } from '../../engine/contract.ts';
import type { KubeManifest } from '../../model/object.ts';
import { formatRef, groupOf, refKey, refOf } from '../../model/object.ts';
import { assembleDown } from '../../plan/assemble.ts';
import { applyToObjects, changeRef } from '../../plan/change.ts';
import type { Change, FieldChange } from '../../plan/change.ts';
import { checkDrift } from '../../plan/drift.ts';
import type { Drift } from '../../plan/drift.ts';
import type { Step } from '../../plan/plan.ts';
import { isExact } from '../../plan/meaning.ts';
import { deriveUndo, findResolved } from '../../plan/rollback.ts';
import type { Resolved } from '../../plan/rollback.ts';
import { EXIT, Failure, isFailure } from '../../shared/pure/errors.ts';
import { equalJson, getPath, isJsonObject } from '../../shared/pure/json.ts';
import type { FieldPath, Json } from '../../shared/pure/json.ts';
import { showValue } from '../../shared/pure/mask.ts';
import { uniqueSorted } from '../../shared/pure/order.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import { wrap } from '../output.ts';
import { carryOut, refuseOpenRun } from './run.ts';

/** A field of ours that somebody else changed. */
interface Disputed {
  readonly path: FieldPath;
  readonly before: Json | undefined;
  readonly ours: Json | undefined;
  readonly theirs: Json | undefined;
  /** What was decided of this value before. */
  readonly decided: Resolved['keep'] | undefined;
}

/** Shows the three versions of what somebody else changed in an object, and takes down which one stays; `ours` is written at once. */
export async function resolve(
  app: App,
  object: string,
  options: { readonly keep?: string; readonly reason?: string },
): Promise<number> {
  const { output } = app;
  const loaded = await loadAll(app);
  const { applied, snapshot, resolved = [] } = loaded.view('');
  const mine = applied.filter((step) => formatRef(changeRef(step.change)) === object);
  const newest = mine.at(-1);
  if (newest === undefined) throw notOurs(object, applied);
  const view = loaded.view(newest.namespace);
  const live = snapshot.objects.find((one) => refKey(refOf(one)) === refKey(changeRef(newest.change)));
  const drift = checkDrift(mine, snapshot.objects);
  const disputed = findDisputed(view, object, mine, drift, live, resolved);
  const versions = disputed.map(({ path, before, ours, theirs, decided }) => ({
    path: path.join('.'),
    before: showValue(path, before),
    ours: showValue(path, ours),
    now: showValue(path, theirs),
    decided: decided ?? null,
  }));
  if (disputed.length === 0) {
    output.document('Resolve', { object, keep: null, versions });
    output.line(`${safeText(object)} is as Sallyport left it: nothing to resolve.`);
    return EXIT.done;
  }
  for (const one of versions) {
    output.line(
      `${safeText(object)} ${safeText(one.path)}${one.decided === null ? '' : ` (decided: keep ${one.decided})`}`,
    );
    for (const key of ['before', 'ours', 'now'] as const)
      output.line(wrap(`  ${key.padEnd(7)} ${safeText(one[key])}`, output.width, 10));
  }
  if (options.keep === undefined) {
    output.document('Resolve', { object, keep: null, versions });
    output.line('Which one stays: --keep ours, theirs or before');
    return EXIT.drift;
  }
  const reason = (options.reason ?? '').trim();
  if (reason === '')
    throw reasonMissing(`sallyport resolve "${object}" --keep ${options.keep}`, 'sallyport resolve --help');
  if (options.keep === 'ours') {
    // A run that stands still because of this very change goes on afterwards; one that is being performed holds its Leases.
    await refuseOpenRun(app, newest.namespace).catch((error: unknown) => {
      if (!isFailure(error) || error.detail.code !== 'SP607') throw error;
    });
    const steps = repairSteps(object, newest, mine, drift, live);
    if (steps.length === 0) throw nothingToWrite(object);
    const phase = view.phases.get(view.namespace) ?? 'none';
    const plan = assembleDown(view, phase, steps, [], loaded.planner);
    const { writer } = await app.writableState();
    const exit = await carryOut(app, plan, loaded, view, 'rollback', undefined);
    writer.appendAudit({
      at: Date.now(),
      who: app.by,
      what: 'resolve: keep ours',
      object,
      reason: `${reason} (exit ${exit})`,
      namespace: newest.namespace,
    });
    return exit;
  }
  const keep = options.keep === 'before' ? 'before' : 'theirs';
  const at = Date.now();
  const { writer } = await app.writableState();
  writer.addResolutions(
    disputed.map(({ path, theirs }) => ({
      object,
      path,
      ...(theirs === undefined ? {} : { theirs }),
      keep,
      by: app.by,
      at,
    })),
    reason,
    newest.namespace,
  );
  output.document('Resolve', { object, keep, versions });
  output.line(
    wrap(
      keep === 'theirs'
        ? `${plural(disputed.length, 'field')} ${disputed.length === 1 ? 'stays as it is' : 'stay as they are'}, in rollbacks too. Another change asks again.`
        : `the next rollback puts back what was there before Sallyport: sallyport rollback ${safeText(newest.namespace)}`,
      output.width,
      2,
    ),
  );
  return EXIT.done;
}

/** As verify compares them, and as a rollback would: an object of ours that others filled further is a matter of the rollback alone. */
function findDisputed(
  view: View,
  object: string,
  mine: readonly AppliedStep[],
  drift: readonly Drift[],
  live: KubeManifest | undefined,
  resolved: readonly Resolved[],
): readonly Disputed[] {
  const undo = deriveUndo(
    mine.toSorted((a, b) => b.seq - a.seq),
    view.applied,
    view.snapshot.objects,
  );
  const found = new Map<string, Disputed>();
  const add = (path: FieldPath, one: Omit<Disputed, 'path' | 'decided'>): void => {
    const decided = findResolved(resolved, object, path, one.theirs)?.keep;
    found.set(path.join('\n'), { ...one, path, decided });
  };
  for (const { path, before, ours, theirs } of undo.divergences) add(path, { before, ours, theirs });
  for (const { field } of drift) {
    const writes = mine
      .flatMap(({ change }) => (change.kind === 'edit' ? change.fields : []))
      .filter((one) => equalJson([...one.path], [...field]));
    add(field, {
      before: writes[0]?.before,
      ours: drift.find((one) => one.field === field)?.ours ?? undefined,
      theirs: live === undefined ? undefined : getPath(live, field),
    });
  }
  return [...found.values()];
}

/** Puts back what Sallyport wrote. Not a step in force itself: what it restores is on record already. */
export function repairSteps(
  object: string,
  newest: AppliedStep,
  mine: readonly AppliedStep[],
  drift: readonly Drift[],
  live: KubeManifest | undefined,
): readonly Step[] {
  const change = live === undefined ? recreate(mine) : repair(drift, live);
  if (change === undefined) return [];
  return [
    {
      id: `resolve/${newest.step.id}`,
      namespace: newest.namespace,
      phase: newest.phase,
      operation: change.kind,
      title: `${object} is again as Sallyport left it`,
      ...(newest.step.workload === undefined ? {} : { workload: newest.step.workload }),
      change,
      effects: newest.step.effects,
      risks: [],
      undoes: [],
    },
  ];
}

function repair(drift: readonly Drift[], live: KubeManifest): Change | undefined {
  const exact = isExact(groupOf(live.apiVersion), live.kind);
  const fields = drift.flatMap(({ field, ours }): readonly FieldChange[] => {
    const now = getPath(live, field);
    // What they put beside ours in the spec of a policy is what turned it.
    if (exact && field.join('.') === 'spec') return [{ path: field, before: now, after: ours }];
    return leaves(field, ours ?? undefined, now);
  });
  if (fields.length === 0) return undefined;
  const uid = live.metadata['uid'];
  return {
    kind: 'edit',
    ref: refOf(live),
    ...(typeof uid === 'string' ? { uid } : {}),
    fields,
    // Whoever changed it owns the field now, also in an object of ours: an apply would conflict, and none is forced. A person has decided.
    owner: 'other',
  };
}

/** What is ours and differs; what others have put beside it stays. */
function leaves(path: FieldPath, ours: Json | undefined, now: Json | undefined): readonly FieldChange[] {
  if (equalJson(ours, now)) return [];
  if (isJsonObject(ours) && isJsonObject(now))
    return Object.entries(ours).flatMap(([key, value]) =>
      leaves([...path, key], value, Object.hasOwn(now, key) ? now[key] : undefined),
    );
  return [{ path, before: now, after: ours }];
}

/** The object as our steps made it; undefined where it was somebody else's, whose content nobody here knows. */
function recreate(mine: readonly AppliedStep[]): Change | undefined {
  const made = mine.findLastIndex(({ change }) => change.kind === 'create');
  if (made < 0) return undefined;
  const objects = mine
    .slice(made)
    .reduce<readonly KubeManifest[]>((all, { change }) => applyToObjects(all, change), []);
  const [object] = objects;
  return object === undefined ? undefined : { kind: 'create', object };
}

function notOurs(object: string, applied: readonly AppliedStep[]): Failure {
  const known = uniqueSorted(applied.map(({ change }) => formatRef(changeRef(change))));
  return new Failure({
    code: 'SP238',
    exit: EXIT.usage,
    message: `Sallyport has nothing in force in ${safeText(object)}`,
    where: 'OBJECT',
    hint:
      known.length === 0
        ? 'nothing is in force at all'
        : `"Kind namespace/name" as sallyport verify names it, one of: ${known.slice(0, 10).join(', ')}${known.length > 10 ? ', ...' : ''}`,
  });
}

function nothingToWrite(object: string): Failure {
  return new Failure({
    code: 'SP239',
    exit: EXIT.refused,
    message: `what Sallyport wrote in ${safeText(object)} cannot be put back: the object is gone and was not its own, or others have only added to it`,
    where: safeText(object),
    hint: '--keep theirs leaves it as it is; --keep before has the next rollback put back what was there',
  });
}

/** Everything that stands on the trail has a reason. */
export function reasonMissing(where: string, hint: string): Failure {
  return new Failure({
    code: 'SP237',
    exit: EXIT.usage,
    message: '--reason is missing: it stands on the audit trail',
    where,
    hint,
  });
}
