import type { Proxies } from '../../engine/contract.ts';
import type { RecordedPod } from '../../plan/plan.ts';
import { QUARANTINE_LABEL } from '../../readiness/quarantine.ts';
import type { ProxiedPod } from '../../readiness/pod-proxy.ts';
import { podsOf, podsOfQuarantine } from '../../readiness/pod-proxy.ts';
import { EXIT, Failure, isFailure } from '../../shared/pure/errors.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import type { ConnectionPorts, PodConnections } from '../connections.ts';
import { GRACE_MS, endConnections, readConnections, said } from '../connections.ts';
import type { App } from '../context.ts';
import type { Answered } from '../fired.ts';
import { DRAIN_OVER, readAnswered } from '../fired.ts';
import { nobodyThere, saidNo } from '../incident-failures.ts';
import { cancelled, isOver } from '../interrupt.ts';
import type { Loaded } from '../load.ts';
import { loadAll } from '../load.ts';
import { few, wrap } from '../output.ts';
import { assertMayDrain, readUndrainable } from '../preflight.ts';
import type { Prompts } from '../prompts.ts';
import { connectionsDocument } from '../render-incident.ts';
import type { Reader } from '../../../state/reader.ts';
import type { IncidentOptions } from './incident.ts';
import { workloadOf, wrongUse } from './incident.ts';

const MOST_SHOWN = 8;

/** What proxies of a workload, or of the pods of a quarantine, have open; with `--connections drain --no-dry-run` it is ended. */
export async function connections(
  app: App,
  subject: string,
  options: IncidentOptions,
  prompts: Prompts | undefined,
): Promise<number> {
  const asked = options.connections ?? 'report';
  if (asked !== 'report' && asked !== 'drain')
    throw wrongUse(
      `--connections ${asked} is neither report nor drain`,
      'incident quarantine --connections delete ends pods',
    );
  const drains = asked === 'drain';
  const loaded = await loadAll(app, { kind: 'none' });
  const { reader } = await app.state();
  const answered = readAnswered(reader).find(({ mark, run }) => mark.id === subject || run.id === subject);
  if (answered !== undefined && answered.mark.playbook !== 'quarantine')
    throw wrongUse(
      `${subject} is a ${answered.mark.playbook}: it is about no pods`,
      'name a quarantine, or a workload',
    );
  const { proxied, others, strangers } =
    answered === undefined
      ? { ...podsOf(loaded, workloadOf(loaded.inventory, subject)), strangers: [] }
      : heldPods(loaded, reader, answered);
  const about = answered?.mark.subject ?? subject;
  const { namespace = about.split('/')[0] ?? '' } = answered?.run ?? {};
  const { output } = app;
  const say = (text: string): void => output.line(wrap(safeText(text), output.width, 4, 2));
  for (const pod of others) say(`${pod}: it has no proxy, and what it has open nobody can be asked`);
  for (const pod of strangers)
    say(`${pod}: it bears the label of this quarantine and is not on its record: it is left alone`);
  if (proxied.length === 0 && others.length === 0) output.line(`No pod of ${safeText(about)} runs.`);
  const body = (found: readonly PodConnections[], outcome: string): void =>
    output.document('Connections', {
      subject: about,
      incident: answered?.mark.id ?? null,
      outcome,
      connections: found.map(connectionsDocument),
      withoutProxy: others,
      strangers,
    });
  if (!drains || options.dryRun !== false) {
    const found = await lookAt(app, proxied);
    body(found, 'dry-run');
    if (drains && proxied.length > 0) {
      const missing = await readUndrainable(await app.target(), namespace);
      if (missing.length > 0) say(`you may not ${missing.join(', ')}: it would be refused`);
    }
    if (drains) output.line('\nNothing was written. To do it: the same command with --no-dry-run');
    else if (found.length > 0) output.line(`Next: the same with --connections drain ends them`);
    return EXIT.done;
  }
  const reason = options.reason?.trim() ?? '';
  if (reason === '') throw wrongUse('a reason is needed: it stands on the audit trail', '--reason "..."');
  await refuseNoProxies(app);
  if (proxied.length === 0)
    throw new Failure({
      code: 'SP434',
      exit: EXIT.refused,
      message: safeText(`no pod of ${about} that runs has a proxy: nothing can be drained`),
      where: '--connections drain',
      hint: 'sallyport incident quarantine --connections delete ends pods',
    });
  await assertMayDrain(await app.target(), namespace);
  const what = `ends ${proxiesNamed(proxied)} of ${about} with whatever is open through them`;
  if (app.options.yes !== true) {
    if (prompts === undefined && !output.interactive)
      throw nobodyThere(`this ${what}, and nobody is there to confirm it`, 'incident connections', 'add --yes');
    const ask = prompts ?? (await import('../prompts.ts')).terminalPrompts;
    if (!(await ask.confirm(safeText(`This ${what}, which cannot be taken back. Go on?`)))) throw saidNo();
  }
  const found = await drainProxies(app, proxied, {
    reason,
    ...(answered === undefined ? {} : { id: answered.mark.id, run: answered.run.id }),
  });
  // What has no proxy may be as open as before.
  const isDone = areEnded(found) && others.length === 0;
  body(found, isDone ? 'done' : 'partial');
  return isDone ? EXIT.done : EXIT.partial;
}

export function areEnded(found: readonly PodConnections[]): boolean {
  return found.every(({ drained }) => drained?.outcome === 'ended');
}

/** `2 proxies (web-1, web-2)`: whose, for a question. */
export function proxiesNamed(pods: readonly ProxiedPod[]): string {
  const more = pods.length - MOST_SHOWN;
  const names = pods.slice(0, MOST_SHOWN).map(({ name }) => name);
  return `${plural(pods.length, 'proxy', 'proxies')} (${names.join(', ')}${more > 0 ? ` and ${more} more` : ''})`;
}

/**
 * The pods that a quarantine holds now: those on its record, and, where it is by a policy that denies, whatever pods its workload has. A quarantine by labels
 * holds the pods that were labelled and no others.
 */
function heldPods(
  { snapshot, inventory }: Pick<Loaded, 'snapshot' | 'inventory'>,
  reader: Pick<Reader, 'run'>,
  { mark, run }: Answered,
): ReturnType<typeof podsOfQuarantine> {
  const edited = (reader.run(run.id)?.plan.steps ?? []).flatMap(({ change }): readonly RecordedPod[] =>
    change.kind === 'edit' && change.ref.kind === 'Pod'
      ? [{ name: change.ref.name, ...(change.uid === undefined ? {} : { uid: change.uid }) }]
      : [],
  );
  const workload = inventory.workloads.find(({ id }) => id === mark.subject);
  return podsOfQuarantine(
    { snapshot },
    {
      namespace: run.namespace,
      recorded: edited.length > 0 ? edited : (mark.pods ?? []),
      label: { key: QUARANTINE_LABEL, value: mark.id },
      ...(workload === undefined || edited.length > 0 ? {} : { workload }),
    },
  );
}

/**
 * Ends what the proxies of a quarantine in force have open, of the pods as they are now and not as they were when it was planned. Asks nobody: that was
 * done before. `isOver` is false where something may still be open. Errors: as of reading the cluster; SP433.
 */
export async function drainHeld(
  app: App,
  run: string,
): Promise<{ readonly open: readonly PodConnections[]; readonly isOver: boolean }> {
  const { reader } = await app.state();
  const answered = readAnswered(reader).find((one) => one.run.id === run);
  if (answered === undefined) return { open: [], isOver: true };
  let loaded: Loaded;
  try {
    loaded = await loadAll(app, { kind: 'none' });
  } catch (error) {
    if (!isFailure(error) || isOver(app.interrupt.signal)) throw error;
    app.output.note(
      wrap(
        `No proxy was ended, since the pods could not be listed: ${error.detail.code} ${error.message}. Next: sallyport resume`,
        app.output.width,
        2,
      ),
    );
    return { open: [], isOver: false };
  }
  const { proxied, others } = heldPods(loaded, reader, answered);
  const open = await drainProxies(app, proxied, { id: answered.mark.id, run, reason: answered.mark.reason });
  if (others.length > 0 || proxied.length === 0)
    app.output.note(
      wrap(
        proxied.length === 0 && others.length === 0
          ? 'No pod of it runs: no proxy was ended.'
          : `${safeText(few(others, MOST_SHOWN).shown.join(', '))} ${others.length === 1 ? 'has' : 'have'} no proxy: what is open there lives on until the pod is deleted.`,
        app.output.width,
        2,
      ),
    );
  return { open, isOver: areEnded(open) && others.length === 0 };
}

/** Errors: SP433 where the target reaches into no pods. */
export async function refuseNoProxies(app: App): Promise<Proxies> {
  const { proxies } = await app.target();
  if (proxies !== undefined) return proxies;
  throw new Failure({
    code: 'SP433',
    exit: EXIT.refused,
    message: 'a directory of manifests has no proxies that run: nothing can be drained there',
    where: '--connections drain',
    hint: 'leave --manifests out, or --connections report',
  });
}

/** Reads, and says what was read. Nothing is written; where nobody can be asked the answer is unknown. */
export async function lookAt(app: App, pods: readonly ProxiedPod[]): Promise<readonly PodConnections[]> {
  const { proxies } = await app.target();
  const found =
    proxies === undefined
      ? pods.map(({ name }): PodConnections => ({
          pod: name,
          read: { kind: 'unknown', why: 'a directory has no proxies that run' },
        }))
      : await readConnections({ proxies, signal: app.interrupt.signal }, pods);
  tell(app, found);
  return found;
}

/** Ends them, on the audit trail before and after, and says what came of it. */
export async function drainProxies(
  app: App,
  pods: readonly ProxiedPod[],
  of: { readonly id?: string; readonly run?: string; readonly reason: string },
): Promise<readonly PodConnections[]> {
  const target = await app.target();
  const { writer } = await app.writableState();
  const ports: ConnectionPorts = {
    proxies: await refuseNoProxies(app),
    target,
    clock: app.clock(),
    signal: app.interrupt.signal,
    note: (pod, what, reason) => {
      writer.appendAudit({
        at: Date.now(),
        who: app.by,
        what,
        object: `Pod ${pod.namespace}/${pod.name}`,
        reason: [...(of.id === undefined ? [] : [of.id]), of.reason, reason].join(': '),
        ...(of.run === undefined ? { namespace: pod.namespace } : { run: of.run }),
      });
      return Promise.resolve();
    },
  };
  if (pods.length > 0)
    app.output.note(
      `ending ${plural(pods.length, 'proxy', 'proxies')}: requests under way get ${GRACE_MS / 1000} s, then it ends`,
    );
  const found = await app.interrupt
    .during(() => endConnections(ports, pods))
    .catch((error: unknown) => {
      if (!isOver(app.interrupt.signal)) throw error;
      throw cancelled(
        `cancelled; no further proxy was told to end, and what came of those that were is on the audit trail${of.id === undefined ? '' : `: sallyport incident show ${of.id}`}`,
      );
    });
  if (of.id !== undefined && of.run !== undefined)
    writer.appendAudit({
      at: Date.now(),
      who: app.by,
      what: DRAIN_OVER,
      object: plural(pods.length, 'proxy', 'proxies'),
      reason: `${of.id}: ${of.reason}: ${found.filter(({ drained }) => drained?.outcome === 'ended').length} of ${pods.length} ended`,
      run: of.run,
    });
  tell(app, found);
  return found;
}

function tell({ output }: App, found: readonly PodConnections[]): void {
  if (found.length === 0) return;
  const say = (text: string, indent: number): void =>
    output.line(wrap(safeText(text), output.width, indent + 2, indent));
  say('open, as the proxies say (whoever holds a pod can have its proxy say anything):', 2);
  for (const { pod, read, drained } of found) {
    say(`${pod}: ${said(read)}`, 4);
    if (read.kind === 'known') {
      const { shown, more } = few(
        read.open.map(
          ({ way, address, cluster, count }) =>
            `${way === 'in' ? 'in to' : 'out to'} ${address}: ${count} (${cluster})`,
        ),
        MOST_SHOWN,
      );
      for (const line of shown) say(line, 6);
      if (more !== '') say(more, 6);
    }
    if (drained !== undefined) say(`${drained.outcome}: ${drained.text}`, 6);
  }
}
