import type { AuditEntry } from '../src/engine/contract.ts';
import type { TriggerRecord } from '../src/model/trigger.ts';
import { TRIGGER_OUTCOMES, TRIGGERED } from '../src/model/trigger.ts';
import { maskText } from '../src/shared/pure/mask.ts';
import { appendAudit } from './audit.ts';
import { jsonColumn, list, number, object, oneOf, text } from './checks.ts';
import type { Handle } from './handle.ts';
import type { Row } from './rows.ts';

const record = jsonColumn(
  object<TriggerRecord>(
    {
      id: text,
      at: number,
      rule: text,
      does: oneOf(TRIGGERED),
      subject: text,
      namespace: text,
      how: oneOf(['ask', 'run']),
      outcome: oneOf(TRIGGER_OUTCOMES),
      why: list(text),
      limits: list(text),
      notice: object<TriggerRecord['notice']>({ kind: text, key: text, text, severity: text, at: number }, {}),
    },
    { confirmedBy: text },
  ),
);

/** One row. Errors: SP509 where it does not parse. */
export function parseTriggeredRow(row: Row, file: string): TriggerRecord {
  return record(row['record'], { file, table: 'triggered', row: String(row['id']) }, 'record');
}

/** Inside the caller's transaction: puts a record in place of the one with its id, with its line on the trail. */
export function saveTriggered(handle: Handle, one: TriggerRecord, audit: AuditEntry): void {
  const kept: TriggerRecord = {
    ...one,
    why: one.why.map(maskText),
    notice: { ...one.notice, text: maskText(one.notice.text) },
  };
  handle.db
    .prepare(
      'INSERT INTO triggered (id, at, record) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record',
    )
    .run(one.id, one.at, JSON.stringify(kept));
  appendAudit(handle, audit);
}
