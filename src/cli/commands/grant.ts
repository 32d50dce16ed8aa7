import type { App } from '../context.ts';
import type { Loaded } from '../load.ts';
import { loadAll, requireNamespace, requireReadable } from '../load.ts';
import { DEFAULT_GRANTS } from '../../model/config.ts';
import { isObject, labelsOf } from '../../model/object.ts';
import { endOfGrant, EXPIRER_LABEL } from '../../model/grant.ts';
import type { GrantMark } from '../../model/grant.ts';
import { openGates } from '../../plan/assemble.ts';
import { changeRef } from '../../plan/change.ts';
import type { Plan } from '../../plan/plan.ts';
import { planBreakGlass } from '../../readiness/break-glass.ts';
import { planConnection } from '../../readiness/grant-connection.ts';
import { formatPorts } from '../../readiness/grant-difference.ts';
import { suspension } from '../../readiness/grant-end.ts';
import { planPerson } from '../../readiness/grant-person.ts';
import type { Granted } from '../../readiness/grant-terms.ts';
import { EXIT, Failure } from '../../shared/pure/errors.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import { errorDocument, few, wrap } from '../output.ts';
import type { Prompts } from '../prompts.ts';
import { countGates, renderGates } from '../render-gates.ts';
import { coded, grantDocument } from '../render-grant.ts';
import type { GrantOptions } from '../grant-request.ts';
import { grantNow, readRequest, readTerms } from '../grant-request.ts';
import { takeApproval } from './approve.ts';
import { planDocument, stalePlan } from './plan.ts';
import { endOverdue } from './grant-end.ts';
import { renderResult, run, runFields } from './grant-run.ts';
import { nobodyConfirms, notConfirmed, recordApprovals, recordTicket, refuseOpenRun } from './run.ts';

/** Opens access that ends by itself: simulated, confirmed, journaled like a run. */
export async function openGrant(app: App, options: GrantOptions, prompts?: Prompts): Promise<number> {
  const config = await app.config();
  const { maxMinutes } = config.grants ?? DEFAULT_GRANTS;
  const terms = readTerms(options, maxMinutes, grantNow(app), app.by, 'sallyport grant');
  await endOverdue(app);
  const loaded = await loadAll(app);
  requireReadable(loaded, await app.decisions());
  const request = readRequest(options, loaded);
  const namespace = request.kind === 'connection' ? request.to.slice(0, request.to.indexOf('/')) : request.namespace;
  await refuseOpenRun(app, namespace);
  const view = loaded.view(namespace);
  const granted =
    request.kind === 'connection'
      ? planConnection(view, request, terms, loaded.planner)
      : planPerson(view, request, terms, loaded.planner);
  return carryOutGrant(app, granted, loaded, options, prompts);
}

/** Suspends what the phase of a namespace enforces, for a while. */
export async function breakGlass(
  app: App,
  namespace: string,
  options: Pick<GrantOptions, 'for' | 'until' | 'reason' | 'approve'>,
  prompts?: Prompts,
): Promise<number> {
  const config = await app.config();
  const { breakGlassMinutes } = config.grants ?? DEFAULT_GRANTS;
  const terms = readTerms(options, breakGlassMinutes, grantNow(app), app.by, `sallyport break-glass ${namespace}`);
  await endOverdue(app);
  await refuseOpenRun(app, namespace);
  const loaded = await loadAll(app);
  requireNamespace(loaded, namespace);
  const view = loaded.view(namespace);
  const standing = suspension(view.applied, namespace, terms.since);
  if (standing !== undefined) throw suspended(namespace, standing.id, standing.until);
  const granted = planBreakGlass(view, terms, loaded.planner);
  if (granted.kind === 'allowed')
    throw new Failure({
      code: 'SP635',
      exit: EXIT.refused,
      message: `there is nothing to suspend: ${granted.why.join('; ')}`,
      where: `namespace ${namespace}`,
      hint: 'sallyport reach --explain says what denies a connection',
    });
  return carryOutGrant(app, granted, loaded, options, prompts);
}

function suspended(namespace: string, id: string, until: number): Failure {
  return new Failure({
    code: 'SP636',
    exit: EXIT.refused,
    message: `${namespace} is suspended until ${new Date(until).toISOString()} by break-glass ${id}, and moves no further meanwhile`,
    where: `namespace ${namespace}`,
    hint: `sallyport grant revoke ${id} ends it now`,
  });
}

/** A namespace whose phase is suspended does not go on. */
export async function refuseSuspended(app: App, namespace: string): Promise<void> {
  const standing = suspension((await app.state()).reader.applied(), namespace, grantNow(app));
  if (standing !== undefined) throw suspended(namespace, standing.id, standing.until);
}

async function carryOutGrant(
  app: App,
  granted: Granted,
  loaded: Loaded,
  options: Pick<GrantOptions, 'approve' | 'until'>,
  prompts: Prompts | undefined,
): Promise<number> {
  const { output } = app;
  if (granted.kind === 'allowed')
    throw new Failure({
      code: 'SP632',
      exit: EXIT.refused,
      message: 'nothing needs to be granted: this connection is let through already',
      where: granted.why.slice(0, 3).join(' '),
      hint: 'sallyport reach --from W --to W --port P --mesh --explain',
    });
  if (granted.kind === 'refused')
    throw new Failure({
      code: 'SP633',
      exit: EXIT.refused,
      message: `this cannot be opened exactly, so nothing was written: ${few(granted.why, 5).shown.join('; ')}`,
      hint: granted.fix,
    });
  const { plan, mark } = granted;
  if (options.approve === true) return approveGrant(app, plan, mark, options, loaded);
  const notes = [...granted.notes, ...(await expirerNote(app, loaded))];
  const document = (outcome: string, more: object): void =>
    output.document('Grant', {
      grant: grantDocument(
        { ...mark, by: app.by, objects: plan.steps.map(({ change }) => objectName(change)) },
        grantNow(app),
      ),
      outcome,
      plan: planDocument(plan),
      opens: granted.opens,
      compared: granted.compared,
      notes,
      ...more,
    });
  const refuse = (failure: Failure, outcome = 'refused'): Failure => {
    document(outcome, { run: null, error: errorDocument(failure) });
    return failure;
  };
  const say = (text: string, first = 0): void => output.line(wrap(safeText(text), output.width, first + 2, first));
  say(`Grant ${mark.id}: ${mark.text}`);
  say(`until ${new Date(mark.until).toISOString()}, because: ${mark.reason}`, 2);
  for (const step of plan.steps) say(`${step.operation} ${objectName(step.change)}: ${step.title}`, 2);
  if (mark.kind !== 'person') {
    const { shown, more } = few(granted.opens, 12);
    say(
      granted.opens.length === 0
        ? `of ${granted.compared} pairs of workloads none is judged otherwise: what holds them back stands elsewhere`
        : `of ${granted.compared} pairs of workloads ${granted.opens.length === 1 ? 'one is' : `${granted.opens.length} are`} judged otherwise afterwards:`,
      2,
    );
    for (const one of shown) say(`${one.src} -> ${one.dst}: opens ${one.opened.map(formatPorts).join(', ')}`, 4);
    if (more !== '') say(more, 4);
  }
  const open = openGates(plan);
  if (open.length > 0) {
    output.line(renderGates(plan.gates, output));
    throw refuse(
      new Failure({
        code: 'SP600',
        exit: EXIT.refused,
        message: `the grant is held up: ${plural(open.length, 'gate')} ${open.length === 1 ? 'is' : 'are'} not answered with yes: ${countGates(open)}`,
        where: `namespace ${plan.namespace}`,
        hint: open[0]?.fix ?? '',
      }),
    );
  }
  const stale = stalePlan(app.options.planHash, plan);
  if (stale !== undefined) throw refuse(stale);
  if (app.options.yes !== true) {
    if (prompts === undefined && !output.interactive)
      throw refuse(
        nobodyConfirms(
          `grant ${mark.id}`,
          `look at what it opens, then add --yes; with --until in place of --for also --plan-hash ${plan.hash.slice(0, 12)}`,
        ),
      );
    const ask = prompts ?? (await import('../prompts.ts')).terminalPrompts;
    if (
      !(await ask.confirm(
        `Write ${plural(plan.steps.length, 'object')} to ${safeText((await app.target()).description)}?`,
      ))
    )
      throw refuse(notConfirmed(), 'cancelled');
  }
  const { writer } = await app.writableState();
  recordTicket(app, plan.namespace, writer);
  recordApprovals(loaded, loaded.view(plan.namespace), writer, app.by, plan);
  const result = await run(app, plan, 'grant', `${mark.kind} ${mark.id}`, mark.reason);
  notes.push(...(await skewNote(app, plan)));
  document(result.outcome === 'done' ? 'opened' : result.outcome, runFields(result));
  for (const note of notes) output.note(wrap(safeText(note), output.width, 2));
  renderResult(
    app,
    result,
    `Opened. It ends at ${new Date(mark.until).toISOString()}; sallyport grant revoke ${mark.id} ends it now.`,
  );
  return result.exit;
}

function objectName(change: Plan['steps'][number]['change']): string {
  const { kind, namespace, name } = changeRef(change);
  return `${kind} ${namespace === undefined ? '' : `${namespace}/`}${name}`;
}

/** How far the clocks of this machine and of the API server may differ before it is said. */
const CLOCKS_AGREE_MS = 60_000;

/** What is granted counts by the earlier of two clocks; where they differ much, it ends before it was meant to. */
async function skewNote(app: App, plan: Plan): Promise<readonly string[]> {
  const target = await app.target();
  if (target.kind !== 'cluster') return [];
  const made = plan.steps.find(({ change }) => change.kind === 'create');
  if (made === undefined) return [];
  const live = await target.readObject(changeRef(made.change));
  const end = live === undefined ? undefined : endOfGrant(live);
  const until = made.grant?.until ?? 0;
  if (end === undefined || Math.abs(until - end) < CLOCKS_AGREE_MS) return [];
  return [
    coded(
      'SP382',
      `the clock here is ahead of the cluster's by about ${Math.round((until - end) / 60_000)} min: the grant ends at ${new Date(end).toISOString()} by the cluster's`,
    ),
  ];
}

/** Whether anything in the cluster ends grants when this machine is off. */
async function expirerNote(app: App, { snapshot }: Loaded): Promise<readonly string[]> {
  const target = await app.target();
  if (target.kind !== 'cluster') return [];
  const found = snapshot.objects.some(
    (object) => isObject(object, 'batch', 'CronJob') && labelsOf(object)[EXPIRER_LABEL] !== undefined,
  );
  return found
    ? []
    : [
        coded(
          'SP383',
          'no CronJob in the cluster ends grants: until sallyport grant expire runs here or in sallyport watch, they stay; kubectl apply -f templates/grants/expirer.yaml',
        ),
      ];
}

/**
 * Somebody's yes to what another is about to open. The hash leaves out who asks and the second of asking, so the end must be a time, and not
 * a while.
 */
async function approveGrant(
  app: App,
  plan: Plan,
  mark: GrantMark,
  { until }: Pick<GrantOptions, 'until'>,
  loaded: Loaded,
): Promise<number> {
  if (until === undefined)
    throw new Failure({
      code: 'SP134',
      exit: EXIT.usage,
      message: 'an approval is of one grant with one end: give --until TIME in place of --for',
      where: '--approve',
      hint: 'both who approves and who opens name the same --until and --reason',
    });
  const stale = stalePlan(app.options.planHash, plan);
  if (stale !== undefined) throw stale;
  await takeApproval(
    app,
    plan,
    mark.reason,
    loaded,
    `${mark.kind} ${mark.id}: ${mark.text}, until ${new Date(mark.until).toISOString()}`,
  );
  return EXIT.done;
}
