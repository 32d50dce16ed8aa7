import type { App } from '../context.ts';
import type { Loaded } from '../load.ts';
import { loadAll, requireNamespace } from '../load.ts';
import type { View } from '../../engine/contract.ts';
import { formatEdge } from '../../model/edge.ts';
import type { Gate } from '../../model/finding.ts';
import { checkDrift } from '../../plan/drift.ts';
import { deniedByOwn, judgeEdges } from '../../plan/simulate.ts';
import type { Sighting } from '../../plan/soak.ts';
import { recordGates } from '../../readiness/record-gates.ts';
import { keptEdges, settleGate, touches } from '../../readiness/view.ts';
import { EXIT } from '../../shared/pure/errors.ts';
import { looksLikeCredential, MASKED, showValue } from '../../shared/pure/mask.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import { phases } from '../../../phases/index.ts';
import { renderGates } from '../render-gates.ts';
import { wrap } from '../output.ts';

/** Edges that must work and that a policy of Sallyport's denies as things are. */
function cutGates(view: View): readonly Gate[] {
  const edges = keptEdges(view.edges).filter((edge) => touches(edge, view.namespace));
  const cut = deniedByOwn(view.inventory, edges, judgeEdges(view.inventory, edges));
  if (cut.length === 0) return [];
  return [
    {
      id: 'denies-observed',
      answer: 'no',
      subject: view.namespace,
      facts: cut.map(formatEdge),
      fix: `sallyport advance ${view.namespace} --to ${view.phases.get(view.namespace) ?? 'monitor'} brings its policies up to date; or sallyport accept QUERY --reason "..."`,
    },
  ];
}

/** What the signals hold since the watch over a namespace's newest run ended, or as far back as they are kept. */
async function readRecord(app: App, loaded: Loaded, namespace: string): Promise<readonly Sighting[]> {
  const { soak } = loaded.config;
  const target = await app.target();
  if (target.kind !== 'cluster' || soak.signals.length === 0) return [];
  const { reader } = await app.state();
  const watched = reader.runs().filter((run) => run.namespace === namespace && run.kind === 'advance');
  const kept = watched.map((run) => reader.soakOf(run.id)).findLast((one) => one !== undefined);
  const { openSignals } = await import('../signals.ts');
  const signals = await openSignals({
    configs: soak.signals,
    position: kept?.position,
    tail: true,
    inventory: loaded.inventory,
    // Read a moment ago.
    reread: () => Promise.resolve(loaded.inventory),
    clock: app.clock(),
    patient: false,
  });
  try {
    const sightings: Sighting[] = [];
    for (;;) {
      const look = await signals.look();
      sightings.push(...look.sightings.filter(({ key }) => touches(key, namespace)));
      for (const gap of look.gaps) app.output.note(`${gap}; what it held is not judged`);
      if (!look.more) return sightings;
    }
  } finally {
    await signals.close();
  }
}

/** Does the cluster still hold what Sallyport left there, and do the gates of the phase still hold? Exit 6 if not. */
export async function verify(app: App, namespace: string | undefined): Promise<number> {
  const loaded = await loadAll(app);
  if (namespace !== undefined) requireNamespace(loaded, namespace);
  const applied = loaded.view('').applied;
  const names =
    namespace === undefined
      ? [...loaded.view('').phases]
          .filter(([, phase]) => phase !== 'none')
          .map(([name]) => name)
          .sort()
      : [namespace];
  const drift = checkDrift(
    namespace === undefined ? applied : applied.filter((step) => step.namespace === namespace),
    loaded.snapshot.objects,
    loaded.view('').resolved,
  );
  const records = new Map<string, readonly Sighting[]>();
  for (const name of names) records.set(name, await readRecord(app, loaded, name));
  const gates: Gate[] = names.flatMap((name) => {
    const view = loaded.view(name);
    const now = view.phases.get(name) ?? 'none';
    const reached = phases.slice(0, phases.findIndex((phase) => phase.name === now) + 1);
    return [
      ...reached.flatMap((phase) => phase.verify(view)),
      ...cutGates(view),
      ...recordGates(view, records.get(name) ?? []),
    ].map((gate) => settleGate(view, gate));
  });
  const { output } = app;
  output.document('Verify', {
    drift: drift.map(({ field, ours, now, ...one }) => ({
      ...one,
      ours: looksLikeCredential(field, ours) ? MASKED : ours,
      now: looksLikeCredential(field, now) ? MASKED : now,
    })),
    gates,
  });
  if (names.length === 0) output.line('No namespace is under way: nothing to verify.');
  else if (drift.length === 0) output.line(`No drift: ${plural(names.length, 'namespace')} as Sallyport left it.`);
  for (const one of drift)
    output.line(
      wrap(
        safeText(
          `drift: ${one.object} ${one.path}: ours ${showValue(one.field, one.ours)}, now ${showValue(one.field, one.now)} (since step ${one.step})`,
        ),
        output.width,
        4,
      ),
    );
  if (gates.length > 0) output.line(renderGates(gates, output));
  return drift.length > 0 || gates.some((gate) => gate.answer !== 'yes') ? EXIT.drift : EXIT.done;
}
