import type { AuditEntry } from '../src/engine/contract.ts';
import { maskText } from '../src/shared/pure/mask.ts';
import type { Handle } from './handle.ts';
import type { Row } from './rows.ts';
import { parseAuditRow } from './rows.ts';

/**
 * Appends one line inside the caller's transaction. It is filed under its own namespace, that of its run, and those given; a
 * line filed under none concerns all. What looks like a credential in the reason is masked: nothing of the trail can be taken back.
 */
export function appendAudit(handle: Handle, entry: AuditEntry, namespaces: Iterable<string> = []): void {
  const { db } = handle;
  const added = db
    .prepare('INSERT INTO audit (at, who, what, object, reason, run) VALUES (?, ?, ?, ?, ?, ?)')
    .run(entry.at, entry.who, entry.what, entry.object, maskText(entry.reason), entry.run ?? null);
  const filed = new Set(namespaces);
  if (entry.namespace !== undefined) filed.add(entry.namespace);
  if (entry.run !== undefined) {
    const found = db.prepare('SELECT namespace FROM runs WHERE id = ?').pluck().get(entry.run);
    if (typeof found === 'string') filed.add(found);
  }
  const file = db.prepare('INSERT INTO audit_namespaces (namespace, audit) VALUES (?, ?)');
  for (const namespace of filed) file.run(namespace, added.lastInsertRowid);
}

/** The trail, oldest first; with a namespace, the lines that concern it. */
export function readAudit(handle: Handle, namespace: string | undefined): readonly AuditEntry[] {
  const rows =
    namespace === undefined
      ? handle.db.prepare<[], Row>('SELECT * FROM audit ORDER BY id').all()
      : handle.db
          .prepare<[string], Row>(
            `SELECT * FROM audit WHERE id IN (SELECT audit FROM audit_namespaces WHERE namespace = ?)
               OR NOT EXISTS (SELECT 1 FROM audit_namespaces WHERE audit_namespaces.audit = audit.id) ORDER BY id`,
          )
          .all(namespace);
  return rows.map((row) => parseAuditRow(row, handle.file));
}
