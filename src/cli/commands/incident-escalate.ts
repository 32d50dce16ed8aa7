import { EXIT } from '../../shared/pure/errors.ts';
import { safeText } from '../../shared/pure/text.ts';
import type { App } from '../context.ts';
import { sendEscalation } from '../escalations.ts';
import type { Sent } from '../escalations.ts';
import { wrap } from '../output.ts';
import type { IncidentOptions } from './incident.ts';
import { wrongUse } from './incident.ts';

/** Tells people through every receiver of the configuration. Dry by default, like every playbook. Exit 7 where one was not reached. */
export async function escalate(app: App, text: string | undefined, options: IncidentOptions): Promise<number> {
  const { incidents } = await app.config();
  const receivers = incidents?.escalate ?? [];
  const summary = (options.reason ?? text ?? '').trim();
  if (receivers.length === 0 || summary === '')
    throw receivers.length === 0
      ? wrongUse('the configuration names nobody to tell', 'incidents.escalate: docs/incidents.md')
      : wrongUse('what is to be told is missing', 'sallyport incident escalate "..."');
  const message = {
    key: `sallyport/${text ?? 'incident'}`,
    summary,
    severity: 'error' as const,
    at: Date.now(),
    subject: text ?? 'incident',
    ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
  };
  const { output } = app;
  if (options.dryRun !== false) {
    output.document('Escalation', {
      outcome: 'dry-run',
      to: receivers.map(({ kind, name }) => ({ kind, name: name ?? null })),
      message,
    });
    output.line(
      wrap(
        safeText(`Would tell ${receivers.map(({ kind, name }) => name ?? kind).join(', ')}: ${summary}`),
        output.width,
        4,
      ),
    );
    output.line('\nNothing was sent. To do it: the same command with --no-dry-run');
    return EXIT.done;
  }
  const sent: Sent[] = [];
  for (const receiver of receivers)
    sent.push(
      await sendEscalation(receiver, message, { fetch, sleep: (ms) => app.clock().sleep(ms, app.interrupt.signal) }),
    );
  (await app.writableState()).writer.appendAudit({
    at: Date.now(),
    who: app.by,
    what: 'incident escalate',
    object: message.subject,
    reason: `${summary}: ${sent.map(({ to, outcome }) => `${to} ${outcome}`).join(', ')}`,
  });
  const failed = sent.filter(({ outcome }) => outcome === 'failed');
  output.document('Escalation', { outcome: failed.length === 0 ? 'sent' : 'failed', sent, message });
  for (const one of sent)
    output.line(
      `${safeText(one.to)}: ${one.outcome} after ${one.attempts}${one.message === undefined ? '' : `, ${one.message}`}`,
    );
  return failed.length === 0 ? EXIT.done : EXIT.partial;
}
