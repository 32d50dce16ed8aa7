import type { TriggerRecord } from '../../model/trigger.ts';
import { EXIT, isFailure } from '../../shared/pure/errors.ts';
import { safeText } from '../../shared/pure/text.ts';
import type { App } from '../context.ts';
import { readAnswered } from '../fired.ts';
import { nobodyThere, notAProposal, saidNo } from '../incident-failures.ts';
import { readStop, releaseStop, throwStop } from '../kill-switch.ts';
import { wrap } from '../output.ts';
import type { Prompts } from '../prompts.ts';
import type { IncidentOptions } from './incident.ts';
import { wrongUse } from './incident.ts';

/** What a rule set off, by its id. Errors: SP209. */
export async function findTriggered(app: App, id: string): Promise<TriggerRecord> {
  const found = (await app.state()).reader.triggered().find((one) => one.id === id);
  if (found !== undefined) return found;
  throw wrongUse(`there is no proposal ${id}`, 'sallyport incident list');
}

/** Carries out what a rule proposed, as the playbook of that name does: dry by default, and by a person. Errors: SP661 where it was carried out. */
export async function runProposal(
  app: App,
  id: string,
  options: IncidentOptions,
  answer: (record: TriggerRecord, options: IncidentOptions) => Promise<number>,
): Promise<number> {
  const record = await findTriggered(app, id);
  const { reader } = await app.state();
  if (
    readAnswered(reader).some(({ mark }) => mark.id === id) ||
    record.outcome === 'dismissed' ||
    record.outcome === 'done'
  )
    throw notAProposal(
      `${id} is no proposal any more: ${record.outcome === 'dismissed' ? 'somebody dismissed it' : 'it was carried out'}`,
      record.subject,
      `sallyport incident show ${id}`,
    );
  const code = await answer(record, {
    ...options,
    id,
    rule: record.rule,
    reason: options.reason ?? record.notice.text,
    ...(record.does === 'block' ? { namespace: options.namespace ?? record.namespace } : {}),
  });
  if (options.dryRun === false)
    (await app.writableState()).writer.saveTriggered(
      { ...record, outcome: code === EXIT.done ? 'done' : 'refused', confirmedBy: app.by },
      audit(app, record, 'incident run', options.reason ?? ''),
    );
  return code;
}

function audit(app: App, record: TriggerRecord, what: string, reason: string) {
  return {
    at: Date.now(),
    who: app.by,
    what,
    object: record.subject,
    reason: `${record.id} (rule ${record.rule})${reason === '' ? '' : `: ${reason}`}`,
    ...(record.namespace === '' ? {} : { namespace: record.namespace }),
  };
}

/** A person stands behind what ran by itself (`confirm`), or lets a proposal go (`dismiss`). Both take a reason. */
export async function settleProposal(
  app: App,
  action: 'confirm' | 'dismiss',
  id: string,
  options: IncidentOptions,
): Promise<number> {
  const record = await findTriggered(app, id);
  const reason = (options.reason ?? '').trim();
  if (reason === '') throw wrongUse('a reason is needed: it stands on the audit trail', '--reason "..."');
  const isAnswered = readAnswered((await app.state()).reader).some(({ mark }) => mark.id === id);
  if (isAnswered !== (action === 'confirm') || record.outcome === 'dismissed')
    throw action === 'confirm'
      ? notAProposal(
          `${id} was not carried out, so there is nothing to stand behind`,
          record.subject,
          `sallyport incident run ${id} carries it out`,
        )
      : notAProposal(
          `${id} is no proposal any more`,
          record.subject,
          `sallyport incident show ${id}; sallyport incident undo ${id} takes back what was carried out`,
        );
  const settled: TriggerRecord =
    action === 'confirm' ? { ...record, confirmedBy: app.by } : { ...record, outcome: 'dismissed' };
  (await app.writableState()).writer.saveTriggered(settled, audit(app, record, `incident ${action}`, reason));
  app.output.document('Trigger', { trigger: settled });
  app.output.line(`${id}: ${action === 'confirm' ? 'confirmed' : 'dismissed'}.`);
  return EXIT.done;
}

/** The kill switch: from `stop` until `start` nothing is begun by itself. Works while another process holds the state. */
export async function moveSwitch(
  app: App,
  action: 'stop' | 'start',
  options: IncidentOptions,
  prompts: Prompts | undefined,
): Promise<number> {
  const { file } = await app.state();
  const reason = (options.reason ?? '').trim();
  const { output } = app;
  if (reason === '') throw wrongUse('a reason is needed: it stands on the audit trail', '--reason "..."');
  const before = readStop(file);
  // To stop is never asked about: whoever reaches for it has no time.
  if (action === 'stop') throwStop(file, reason, app.by, Date.now());
  else if (before !== undefined) {
    if (app.options.yes !== true) {
      if (prompts === undefined && !output.interactive)
        throw nobodyThere(
          'rules would run by themselves again, and nobody is there to confirm it',
          'incident start',
          'add --yes',
        );
      const ask = prompts ?? (await import('../prompts.ts')).terminalPrompts;
      if (!(await ask.confirm(`Let rules run by themselves again? ${safeText(before)}`))) throw saidNo();
    }
    releaseStop(file);
  }
  let onTrail = true;
  try {
    (await app.writableState()).writer.appendAudit({
      at: Date.now(),
      who: app.by,
      what: `incident ${action}`,
      object: 'the kill switch',
      reason,
    });
  } catch (error) {
    if (!isFailure(error)) throw error;
    onTrail = false;
    output.note(wrap(`It holds, and is not on the audit trail: ${safeText(error.message)}`, output.width, 2));
  }
  const now = readStop(file);
  output.document('KillSwitch', { thrown: now !== undefined, reason: now ?? null, onTrail });
  output.line(now === undefined ? 'Rules may run by themselves again.' : 'Nothing is begun by itself from now on.');
  output.line(
    wrap(
      `For a watch with another state: kubectl annotate namespace kube-system ${action === 'stop' ? "sallyport.dev/stop='REASON'" : 'sallyport.dev/stop-'}`,
      output.width,
      2,
    ),
  );
  return EXIT.done;
}
