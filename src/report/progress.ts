import type { Decision } from '../model/decision.ts';
import { PHASES, phaseIndex } from '../model/phase.ts';
import { checkDrift } from '../plan/drift.ts';
import { recordedGrants } from '../readiness/recorded-grants.ts';
import { appliedTuning } from '../readiness/tuning-in-force.ts';
import { maskText } from '../shared/pure/mask.ts';
import { compareText, groupBy } from '../shared/pure/order.ts';
import type { ReportInput, RunView } from './input.ts';
import { iso } from './input.ts';
import type { ProgressSection } from './model.ts';

const TRAIL = 500;

/** What has been done so far, from the audit trail and the record of runs. */
export function buildProgress(input: ReportInput, violationsPrevented: number): ProgressSection {
  const { view, runs, audit } = input;
  const changes = groupBy(view.applied, (step) => step.run);
  const drift = checkDrift(view.applied, view.snapshot.objects, view.resolved);
  const count = (action: Decision['action']): number => view.decisions.filter((one) => one.action === action).length;
  const done = (kind: RunView['kind']): readonly RunView[] => runs.filter((run) => run.kind === kind);
  return {
    started: runs.length > 0,
    phases: PHASES.filter((phase) => phase !== 'none').map((phase) => ({
      phase,
      namespaces: [...view.phases]
        .filter(([, at]) => at === phase)
        .map(([name]) => name)
        .sort(compareText),
    })),
    runs: runs.map((run) => ({
      run: run.id,
      kind: run.kind,
      namespace: run.namespace,
      from: run.from,
      to: run.to,
      startedAt: iso(run.startedAt),
      endedAt: run.endedAt === undefined ? null : iso(run.endedAt),
      outcome: run.outcome ?? 'open',
      by: run.by,
      changes: changes.get(run.id)?.length ?? 0,
    })),
    grants: recordedGrants(view.applied, () => undefined).map((one) => ({
      id: one.id,
      kind: one.kind,
      what: maskText(one.text),
      reason: maskText(one.reason),
      since: iso(one.since),
      until: iso(one.until),
      state: one.until <= view.now ? ('expired' as const) : ('open' as const),
    })),
    tuning: appliedTuning(view.applied).map(({ namespace, id, gain, since, run }) => ({
      namespace,
      proposal: id,
      since: iso(since),
      run,
      expected: gain ?? null,
    })),
    decisions: view.decisions.map((one) => ({
      at: iso(one.at),
      by: one.by,
      action: one.action,
      query: maskText(one.text),
      reason: maskText(one.reason),
      edges: one.matched.length,
    })),
    totals: {
      runs: runs.length,
      phasesDone: [...view.phases.values()].reduce((sum, phase) => sum + phaseIndex(phase), 0),
      changes: view.applied.length,
      acceptances: count('accept'),
      waivers: count('waive'),
      adoptions: count('adopt'),
      rollbacks: done('rollback').length,
      drift: drift.length,
      refused: [...input.gates.values()].filter((gates) => gates.some((gate) => gate.answer !== 'yes')).length,
      undone: runs.filter((run) => run.outcome === 'undone').length,
      violationsPrevented,
    },
    drift: drift.map(({ object, path, step }) => ({ object, path, step })),
    trail: audit.slice(-TRAIL).map((entry) => ({
      at: iso(entry.at),
      who: entry.who,
      what: entry.what,
      object: entry.object,
      reason: maskText(entry.reason),
      run: entry.run ?? null,
    })),
    trailLength: audit.length,
  };
}
