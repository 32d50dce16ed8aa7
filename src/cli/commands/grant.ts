import type { App } from '../context.ts';
import type { Loaded } from '../load.ts';
import { loadAll, requireNamespace, requireReadable } from '../load.ts';
import type { RunResult } from '../../engine/run.ts';
import { executePlan } from '../../engine/run.ts';
import { DEFAULT_GRANTS } from '../../model/config.ts';
import { isObject, labelsOf, namespaceOf } from '../../model/object.ts';
import { endOfGrant, EXPIRER_LABEL, expiredGrants } from '../../model/grant.ts';
import { openGates } from '../../plan/assemble.ts';
import { changeRef } from '../../plan/change.ts';
import type { Plan } from '../../plan/plan.ts';
import type { Granted } from '../../readiness/grants.ts';
import type { RecordedGrant } from '../../readiness/recorded-grants.ts';
import { overdue } from '../../readiness/recorded-grants.ts';
import {
  formatPorts,
  planBreakGlass,
  planConnection,
  planEnd,
  planPerson,
  suspension,
} from '../../readiness/grants.ts';
import { EXIT, Failure } from '../../shared/pure/errors.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import { errorDocument, few, renderFailure, wrap } from '../output.ts';
import type { Prompts } from '../prompts.ts';
import { countGates, renderGates } from '../render-gates.ts';
import { coded, grantDocument, grantLines, readGrants } from '../render-grant.ts';
import type { GrantOptions } from '../grant-request.ts';
import { grantNow, readRequest, readTerms } from '../grant-request.ts';
import { planDocument, stalePlan } from './plan.ts';
import { nobodyConfirms, notConfirmed, refuseOpenRun, withEngine } from './run.ts';

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
  return carryOutGrant(app, granted, loaded, prompts);
}

/** Suspends what the phase of a namespace enforces, for a while. */
export async function breakGlass(
  app: App,
  namespace: string,
  options: Pick<GrantOptions, 'for' | 'until' | 'reason'>,
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
  const granted = planBreakGlass(view, terms);
  if (granted.kind === 'allowed')
    throw new Failure({
      code: 'SP635',
      exit: EXIT.refused,
      message: `there is nothing to suspend: ${granted.why.join('; ')}`,
      where: `namespace ${namespace}`,
      hint: 'sallyport reach --explain says what denies a connection',
    });
  return carryOutGrant(app, granted, loaded, prompts);
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

function runFields(result: RunResult): object {
  const { run: id, done, failed, notRun } = result;
  return {
    run: id,
    done,
    failed,
    notRun,
    ...(result.failure === undefined ? {} : { error: errorDocument(result.failure) }),
  };
}

function renderResult(app: App, result: RunResult, text: string): void {
  const { output } = app;
  if (result.outcome === 'done') output.line(wrap(safeText(text), output.width, 2));
  else
    output.line(
      `Run ${safeText(result.run)}: ${result.outcome}; ${plural(result.done.length, 'step')} done, ${result.notRun.length} not run. Next: sallyport resume`,
    );
  for (const { step, error } of result.failed) output.line(wrap(safeText(`${step}: ${error}`), output.width, 4, 2));
  if (result.failure !== undefined) output.note(renderFailure(result.failure.detail, output.width).trimEnd());
}

async function run(app: App, plan: Plan, kind: 'grant' | 'expire', object: string, reason: string): Promise<RunResult> {
  const { writer } = await app.writableState();
  writer.appendAudit({
    at: Date.now(),
    who: app.by,
    what: kind === 'grant' ? 'access granted for a while' : 'access ended',
    object,
    namespace: plan.namespace,
    reason,
  });
  return withEngine(app, plan.steps, (engine) => executePlan(plan, kind, engine));
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

/** What stands, from the record alone. */
export async function listGrants(app: App): Promise<number> {
  const { output } = app;
  const now = grantNow(app);
  const grants = readGrants((await app.state()).reader);
  output.document('Grants', { grants: grants.map((one) => grantDocument(one, now)) });
  output.names(grants.map(({ id }) => id));
  if (grants.length === 0) output.line('No access that ends by itself is open.');
  for (const one of grants) for (const line of grantLines(one, now)) output.line(wrap(line, output.width, 4));
  return EXIT.done;
}

/** Ends one now. */
export async function revokeGrant(app: App, id: string | undefined): Promise<number> {
  const grants = readGrants((await app.state()).reader);
  const found = grants.find((one) => one.id === id);
  if (found === undefined)
    throw new Failure({
      code: 'SP634',
      exit: EXIT.usage,
      message:
        id === undefined ? 'which grant is not said' : `there is no grant ${safeText(id)} in force on this record`,
      where: 'sallyport grant revoke',
      hint: grants.length === 0 ? 'none is in force' : `one of: ${grants.map((one) => one.id).join(', ')}`,
    });
  await refuseOpenRun(app, found.namespace);
  const [ended] = await endGrants(app, [found]);
  const { output } = app;
  output.document('GrantsEnded', { ended: ended === undefined ? [] : [ended.document], beside: [] });
  return ended?.exit ?? EXIT.done;
}

interface Ended {
  readonly document: object;
  readonly exit: number;
}

/** Each as a run of its own: one that fails holds no other up. */
async function endGrants(app: App, grants: readonly RecordedGrant[]): Promise<readonly Ended[]> {
  const ended: Ended[] = [];
  const { output } = app;
  for (const grant of grants) {
    const loaded = await loadAll(app);
    const plan = planEnd(loaded.view(grant.namespace), grant);
    const result = await run(
      app,
      plan,
      'expire',
      `${grant.kind} ${grant.id}`,
      grant.until <= grantNow(app) ? 'its time is over' : `revoked; it was given because: ${grant.reason}`,
    );
    const left = leftOpen(grant, loaded);
    ended.push({
      document: { ...grantDocument(grant, grantNow(app)), ...runFields(result), leftOpen: left },
      exit: result.exit,
    });
    renderResult(app, result, `Ended ${grant.id}: ${grant.text}.`);
    for (const text of left) output.note(wrap(safeText(text), output.width, 2));
  }
  return ended;
}

/**
 * What the end of a right does not end. Kubernetes has no list of open sessions, so the pods are named; a CNI may let a connection that is
 * open live on.
 */
function leftOpen(grant: RecordedGrant, { snapshot }: Loaded): readonly string[] {
  if (grant.kind === 'connection')
    return ['a connection that was opened under the grant may stay open until one of its ends closes it'];
  const pods = new Set(grant.pods ?? []);
  return snapshot.objects
    .filter((object) => isObject(object, '', 'Pod') && pods.has(`${namespaceOf(object) ?? ''}/${object.metadata.name}`))
    .map((object) => {
      const namespace = namespaceOf(object) ?? '';
      return coded(
        'SP384',
        `a session in ${namespace}/${object.metadata.name} that is open goes on until its client leaves: kubectl delete pod -n ${namespace} ${object.metadata.name} ends it`,
      );
    });
}

/** Is the time of a grant over, by its steps? */
export function isOver(app: App, steps: Plan['steps']): boolean {
  return steps.some(({ grant }) => grant !== undefined && grant.until <= grantNow(app));
}

/** Ends what is over by the record, before anything else is done. */
export async function endOverdue(app: App): Promise<readonly Ended[]> {
  const { reader } = await app.state();
  const late = overdue(readGrants(reader), grantNow(app));
  if (late.length === 0) return [];
  const open = new Set(reader.openHeads().map(({ namespace }) => namespace));
  return endGrants(
    app,
    late.filter(({ namespace }) => !open.has(namespace)),
  );
}

/**
 * Ends everything that is over: by the record, each as a run; and what is on no record here, by what the objects say of themselves. With
 * `inCluster` by the objects alone and without a state: what the CronJob in templates/grants runs.
 */
export async function expireGrants(app: App, options: { readonly inCluster?: boolean }): Promise<number> {
  const { output } = app;
  const ended = options.inCluster === true ? [] : await endOverdue(app);
  const beside = await endUnrecorded(app, options.inCluster === true);
  output.document('GrantsEnded', { ended: ended.map(({ document }) => document), beside });
  if (ended.length + beside.length === 0) output.line('Nothing is over.');
  for (const one of beside)
    output.line(wrap(safeText(`${one.object}: ${one.outcome} (grant ${one.grant})`), output.width, 2));
  const failed = beside.some(({ outcome }) => outcome.startsWith('failed'));
  return ended.find(({ exit }) => exit !== EXIT.done)?.exit ?? (failed ? EXIT.partial : EXIT.done);
}

interface Beside {
  readonly grant: string;
  readonly object: string;
  readonly outcome: string;
}

async function endUnrecorded(app: App, alone: boolean): Promise<readonly Beside[]> {
  if (app.options.manifests !== undefined) {
    // A directory has no other hands: what is marked and over there is on another record, and is named.
    const target = await app.target();
    const { objects } = await target.readSnapshot();
    return expiredGrants(objects, grantNow(app)).map(({ id, ref }) => ({
      grant: id,
      object: `${ref.kind} ${ref.namespace ?? ''}/${ref.name}`,
      outcome: `left: ${coded('SP381', 'it is over, and on another record')}`,
    }));
  }
  const { endInCluster } = await import('../../targets/grants.ts');
  const { kubeOptions } = await import('../context.ts');
  const { systemClock } = await import('../../shared/io/clock.ts');
  const found = await endInCluster({
    ...kubeOptions(app.options, app.env),
    clock: systemClock,
    signal: app.interrupt.signal,
    ...(app.options.now === undefined ? {} : { now: grantNow(app) }),
  });
  if (!alone && found.length > 0) {
    const { writer } = await app.writableState();
    for (const one of found)
      writer.appendAudit({
        at: Date.now(),
        who: app.by,
        what: `access ended: ${one.outcome}`,
        object: one.object,
        reason: `grant ${one.grant} is over, and on no record here`,
        ...(one.namespace === undefined ? {} : { namespace: one.namespace }),
      });
  }
  return found.map(({ grant, object, outcome }) => ({ grant, object, outcome }));
}
