import type { App } from '../context.ts';
import type { Loaded } from '../load.ts';
import { loadAll } from '../load.ts';
import { isObject, namespaceOf } from '../../model/object.ts';
import { expiredGrants, sessionLeft } from '../../model/grant.ts';
import type { Plan } from '../../plan/plan.ts';
import { planEnd } from '../../readiness/grant-end.ts';
import type { RecordedGrant } from '../../readiness/recorded-grants.ts';
import { overdue } from '../../readiness/recorded-grants.ts';
import { EXIT, Failure } from '../../shared/pure/errors.ts';
import { safeText } from '../../shared/pure/text.ts';
import { wrap } from '../output.ts';
import { coded, grantDocument, grantLines, readGrants } from '../render-grant.ts';
import { grantNow } from '../grant-request.ts';
import { renderResult, run, runFields } from './grant-run.ts';
import { refuseOpenRun } from './run.ts';

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
    .map((object) => coded('SP384', sessionLeft(`${namespaceOf(object) ?? ''}/${object.metadata.name}`)));
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
  for (const one of beside) {
    output.line(wrap(safeText(`${one.object}: ${one.outcome} (grant ${one.grant})`), output.width, 2));
    for (const text of one.leftOpen ?? []) output.note(wrap(safeText(text), output.width, 2));
  }
  const failed = beside.some(({ outcome }) => outcome.startsWith('failed'));
  return ended.find(({ exit }) => exit !== EXIT.done)?.exit ?? (failed ? EXIT.partial : EXIT.done);
}

interface Beside {
  readonly grant: string;
  readonly object: string;
  readonly outcome: string;
  /** What its end does not end; absent where that is nothing. */
  readonly leftOpen?: readonly string[];
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
        reason: [
          `grant ${one.grant} is over, and on no record here`,
          ...(one.sessions ?? []).map((pod) => coded('SP384', sessionLeft(pod))),
        ].join('; '),
        ...(one.namespace === undefined ? {} : { namespace: one.namespace }),
      });
  }
  return found.map(({ grant, object, outcome, sessions }) => ({
    grant,
    object,
    outcome,
    ...(sessions === undefined ? {} : { leftOpen: sessions.map((pod) => coded('SP384', sessionLeft(pod))) }),
  }));
}
