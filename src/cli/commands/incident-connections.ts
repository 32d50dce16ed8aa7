import type { Proxies } from '../../engine/contract.ts';
import { QUARANTINE_LABEL } from '../../readiness/quarantine.ts';
import type { ProxiedPod } from '../../readiness/pod-proxy.ts';
import { podsOf } from '../../readiness/pod-proxy.ts';
import { EXIT, Failure } from '../../shared/pure/errors.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import type { ConnectionPorts, PodConnections } from '../connections.ts';
import { GRACE_MS, endConnections, readConnections, said } from '../connections.ts';
import type { App } from '../context.ts';
import { readAnswered } from '../fired.ts';
import { nobodyThere, saidNo } from '../incident-failures.ts';
import { cancelled, isOver } from '../interrupt.ts';
import { loadAll } from '../load.ts';
import { few, wrap } from '../output.ts';
import type { Prompts } from '../prompts.ts';
import { connectionsDocument } from '../render-incident.ts';
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
  const loaded = await loadAll(app);
  const answered = readAnswered((await app.state()).reader).find(
    ({ mark, run }) => mark.id === subject || run.id === subject,
  );
  if (answered !== undefined && answered.mark.playbook !== 'quarantine')
    throw wrongUse(
      `${subject} is a ${answered.mark.playbook}: it is about no pods`,
      'name a quarantine, or a workload',
    );
  const workload = workloadOf(loaded.inventory, answered?.mark.subject ?? subject);
  const { proxied, others } = podsOf(
    loaded.view(workload.namespace),
    workload,
    answered === undefined ? undefined : { label: QUARANTINE_LABEL, id: answered.mark.id },
  );
  const { output } = app;
  for (const pod of others)
    output.line(wrap(`  ${safeText(pod)}: it has no proxy, and what it has open nobody can be asked`, output.width, 4));
  if (proxied.length === 0 && others.length === 0) output.line(`No pod of ${safeText(workload.id)} runs.`);
  const body = (found: readonly PodConnections[], outcome: string): void =>
    output.document('Connections', {
      subject: workload.id,
      incident: answered?.mark.id ?? null,
      outcome,
      connections: found.map(connectionsDocument),
      withoutProxy: others,
    });
  if (!drains || options.dryRun !== false) {
    const found = await lookAt(app, proxied);
    body(found, 'dry-run');
    if (drains) output.line('\nNothing was written. To do it: the same command with --no-dry-run');
    else if (found.length > 0) output.line(`Next: the same with --connections drain ends them`);
    return EXIT.done;
  }
  const reason = options.reason?.trim() ?? '';
  if (reason === '') throw wrongUse('a reason is needed: it stands on the audit trail', '--reason "..."');
  await refuseNoProxies(app);
  const what = `ends ${plural(proxied.length, 'proxy', 'proxies')} of ${workload.id} with whatever is open through them`;
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
  const isDone = found.every(({ drained }) => drained?.outcome === 'ended');
  body(found, isDone ? 'done' : 'partial');
  return isDone ? EXIT.done : EXIT.partial;
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
