import type { AccountTable } from '../../candidates/account-table.ts';
import { buildAccountTable } from '../../candidates/account-table.ts';
import { TRUST_GATE } from '../../candidates/accounts.ts';
import type { AuditUse } from '../../sources/kube/audit-log.ts';
import { readAuditLog } from '../../sources/kube/audit-log.ts';
import { openInput } from '../../sources/input.ts';
import { waiverFor } from '../../readiness/view.ts';
import { maskText } from '../../shared/pure/mask.ts';
import { plural } from '../../shared/pure/text.ts';
import type { App } from '../context.ts';
import { loadAll, requireNamespace } from '../load.ts';
import type { Scope } from '../scope.ts';
import { renderAccounts } from '../render-accounts.ts';

export interface AccountsOptions {
  readonly namespace?: string;
  readonly auditLog?: readonly string[];
}

/**
 * Service accounts as they are, with the rights that they really have, and as the phase identity would leave them. Writes nothing. Secrets are
 * named, never read.
 */
export async function accounts(app: App, options: AccountsOptions): Promise<void> {
  // Asked of edges is only what the accounts' own workloads call.
  const scope: Scope =
    options.namespace === undefined ? { kind: 'all' } : { kind: 'touching', namespaces: [options.namespace] };
  const [loaded, use] = await Promise.all([loadAll(app, scope), readUse(options.auditLog)]);
  if (options.namespace !== undefined) requireNamespace(loaded, options.namespace);
  const view = loaded.view(options.namespace ?? '');
  const table = buildAccountTable({
    snapshot: loaded.snapshot,
    inventory: loaded.inventory,
    edges: view.edges,
    ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
    ...(use === undefined || use.cut ? {} : { used: use.byAccount }),
    trusted: (workload) =>
      waiverFor({ ...view, namespace: workload.slice(0, workload.indexOf('/')) }, TRUST_GATE, workload) !== undefined,
  });
  const { output } = app;
  output.document('Accounts', {
    namespace: options.namespace ?? null,
    audit: use === undefined ? null : auditFacts(use),
    before: table.before,
    after: table.after,
    accounts: table.accounts.map((account) => ({
      ...account,
      unused: account.unused ?? null,
      cloud: account.cloud.map((one) => ({
        ...one,
        identity: one.identity === undefined ? null : maskText(one.identity),
      })),
      keys: account.keys.map((key) => ({ ...key, reference: key.reference ?? null })),
    })),
    moves: table.moves,
  });
  output.names(table.accounts.map((account) => account.id));
  renderAccounts(output, table);
  if (use !== undefined) noteAudit(app, use, table);
}

async function readUse(files: readonly string[] | undefined): Promise<AuditUse | undefined> {
  if (files === undefined || files.length === 0) return undefined;
  return readAuditLog(files.map((name) => openInput(name, () => process.stdin)));
}

function auditFacts(use: AuditUse): object {
  return {
    events: use.events,
    bad: use.bad,
    firstBad: use.firstBad ?? null,
    first: iso(use.first),
    last: iso(use.last),
    complete: !use.cut,
  };
}

function iso(time: number | undefined): string | null {
  return time === undefined ? null : new Date(time).toISOString();
}

/** How far the log is to be relied on. */
function noteAudit(app: App, use: AuditUse, table: AccountTable): void {
  const { output } = app;
  output.note(
    `audit log: ${plural(use.events, 'event')} from ${iso(use.first) ?? '?'} to ${iso(use.last) ?? '?'}${use.bad === 0 ? '' : `; ${plural(use.bad, 'line')} could not be read, the first ${use.firstBad ?? ''}`}. What the audit policy leaves out looks unused.`,
  );
  if (use.cut) output.note('audit log: more different calls than are kept, so no right is called unused');
  else if (table.accounts.every((account) => account.unused?.length === account.direct.length))
    output.note('audit log: no call of these accounts is in it: is it of this cluster?');
}
