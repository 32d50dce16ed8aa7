import type { App } from '../context.ts';
import { PHASES, phaseIndex } from '../../model/phase.ts';
import { safeText } from '../../shared/pure/text.ts';
import { table, wrap } from '../output.ts';
import type { NamespaceOption } from './inventory.ts';

/** Where each namespace stands, from the state alone. */
export async function status(app: App, options: NamespaceOption): Promise<void> {
  const { reader } = await app.state();
  const phases = reader.phases();
  const open = reader.runs().filter((run) => run.outcome === undefined);
  const names = [...new Set([...phases.keys(), ...open.map((run) => run.namespace)])]
    .filter((name) => options.namespace === undefined || name === options.namespace)
    .sort();
  const namespaces = names.map((namespace) => {
    const phase = phases.get(namespace) ?? 'none';
    const run = open.find((one) => one.namespace === namespace);
    return {
      namespace,
      phase,
      next: PHASES[phaseIndex(phase) + 1] ?? null,
      gates: reader.gates(namespace),
      ...(run === undefined ? {} : { openRun: { run: run.id, kind: run.kind, to: run.to } }),
    };
  });
  const { output } = app;
  output.document('Status', { namespaces });
  if (namespaces.length === 0) {
    output.line('No namespace is under way. Next: sallyport plan NAMESPACE');
    return;
  }
  const rows = namespaces.map((one) => {
    const red = one.gates.filter((gate) => gate.answer !== 'yes').length;
    return [
      one.namespace,
      one.phase,
      one.next ?? '-',
      one.openRun === undefined
        ? red === 0
          ? ''
          : `${red} of ${one.gates.length} gates open when last planned`
        : `run ${one.openRun.run} was interrupted: sallyport resume`,
    ];
  });
  for (const line of table([['NAMESPACE', 'PHASE', 'NEXT', 'REMARK'], ...rows], output.width)) output.line(line);
}

/** Who did what, when and why. */
export async function audit(app: App, options: NamespaceOption): Promise<void> {
  const { reader } = await app.state();
  const entries = reader.audit(options.namespace === undefined ? {} : { namespace: options.namespace });
  const { output } = app;
  output.document('Audit', {
    entries: entries.map((entry) => ({ ...entry, at: new Date(entry.at).toISOString() })),
  });
  if (entries.length === 0) output.line('Nothing is on the audit trail yet.');
  for (const entry of entries)
    output.line(
      wrap(
        safeText(
          `${new Date(entry.at).toISOString()} ${entry.who} ${entry.what} ${entry.object}: ${entry.reason}${entry.run === undefined ? '' : ` (run ${entry.run})`}`,
        ),
        output.width,
        4,
      ),
    );
}
