import type { SoakWorld } from '../engine/contract.ts';
import type { SoakReport } from '../engine/soak.ts';
import { madeBySidecars } from '../flows/sidecar.ts';
import { rhythmOf } from '../flows/sight.ts';
import { openGates } from '../plan/assemble.ts';
import type { Plan } from '../plan/plan.ts';
import { judgeEdges } from '../plan/simulate.ts';
import { resolutionsOf } from '../plan/rollback.ts';
import { lastTouch } from '../plan/soak.ts';
import type { KnownEdge, NewCaller } from '../plan/soak.ts';
import { joinTimes } from '../readiness/joined.ts';
import { planRollback } from '../readiness/rollback.ts';
import { keptEdges, settleGate } from '../readiness/view.ts';
import { EXIT, Failure } from '../shared/pure/errors.ts';
import { sha256 } from '../shared/pure/hash.ts';
import { safeText } from '../shared/pure/text.ts';
import type { EdgeImport } from '../../state/writer.ts';
import type { App } from './context.ts';
import type { Loaded } from './load.ts';
import { loadAll, planWhole } from './load.ts';
import { openSignals } from './signals.ts';

/**
 * The watch over a run of a live cluster; undefined where there is none: offline, where the simulation answers, without a signal, or
 * switched off.
 */
export async function soakWorld(
  app: App,
  loaded: Loaded,
  namespace: string,
  detach: boolean,
): Promise<SoakWorld | undefined> {
  const { config } = loaded;
  const target = await app.target();
  if (target.kind !== 'cluster' || config.gates.soak === 'off' || config.soak.signals.length === 0) return undefined;
  const view = loaded.view(namespace);
  const isSidecars = madeBySidecars(loaded.inventory, joinTimes(view.applied));
  const touched = (plan: Plan): KnownEdge[] => {
    const steps = plan.steps.map((step) => ({ step, at: 0 }));
    return view.edges
      .filter((edge) => lastTouch(steps, edge) !== undefined)
      .map((edge) => ({ edge, kept: isSidecars(edge), ...rhythmOf(edge, loaded.inventory) }));
  };
  return {
    minutes: config.soak.minutes,
    drainSeconds: config.soak.drainSeconds,
    detach,
    open: (position) =>
      openSignals({
        configs: config.soak.signals,
        position,
        inventory: loaded.inventory,
        reread: async () => loaded.rebuild(await target.readSnapshot()),
        clock: app.clock(),
      }),
    known: (plan) => Promise.resolve(touched(plan)),
    deniedBefore: (plan) => {
      const edges = keptEdges(touched(plan).map(({ edge }) => edge));
      const verdicts = judgeEdges(loaded.inventory, edges);
      return Promise.resolve(edges.filter(({ id }) => verdicts.get(id)?.answer === 'denied').map(({ id }) => id));
    },
    settle: (gate) => settleGate(view, gate),
    planBack: async (run) => {
      const { reader } = await app.state();
      const { from } = reader.run(run) ?? { from: 'none' as const };
      const { made } = planWhole(await loadAll(app, { kind: 'planning', namespace }), (now) => {
        const back = now.view(namespace);
        const undo = back.applied.filter((applied) => applied.run === run).toSorted((a, b) => b.seq - a.seq);
        const first = planRollback(back, from, now.planner, new Map(), undo);
        // What a person decided of somebody else's change holds here as in any rollback.
        const decided = resolutionsOf(first.divergences, back.resolved ?? []);
        return decided.size === 0 ? first : planRollback(back, from, now.planner, decided, undo);
      });
      const { plan, divergences } = made;
      const [foreign] = divergences;
      if (foreign !== undefined)
        throw new Failure({
          code: 'SP613',
          exit: EXIT.refused,
          message: `${safeText(foreign.object)} ${foreign.path.join('.')} was changed by somebody else since`,
          where: `run ${run}`,
          hint: `sallyport resolve "${foreign.object}" --keep theirs or before decides it, then: sallyport rollback ${namespace}`,
        });
      const open = openGates(plan);
      if (open.length > 0)
        throw new Failure({
          code: 'SP614',
          exit: EXIT.refused,
          message: `the way back would deny ${open.flatMap((gate) => gate.facts).join('; ')}`,
          where: `run ${run}`,
          hint: `look at sallyport verify ${namespace}, then: sallyport rollback ${namespace}`,
        });
      return plan;
    },
  };
}

/**
 * A new caller as an import of its own, once a run. It has no times of its own: a glimpse during a watch must not lengthen the window that
 * was observed.
 */
export function importOfCaller(run: string, caller: NewCaller, at: number): EdgeImport {
  const passed = caller.count - caller.deniedCount;
  return {
    inputs: [
      {
        sha256: sha256(`soak\n${run}\n${caller.id}`),
        source: caller.source,
        name: `the watch of run ${run}`,
        at,
        records: 0,
        lost: 0,
        bad: 0,
        ignored: 0,
        sampledOneIn: 1,
      },
    ],
    edges: [
      {
        ...caller.key,
        id: caller.id,
        count: caller.count,
        first: caller.first,
        last: caller.last,
        verdicts: {
          ...(passed > 0 ? { allowed: passed } : {}),
          ...(caller.deniedCount > 0 ? { denied: caller.deniedCount } : {}),
        },
        days: passed > 0 ? [new Date(caller.last).toISOString().slice(0, 10)] : [],
        runs: [],
        sources: [caller.source],
        principals: [],
        mtls: 'unknown',
        origin: { kind: 'observed' },
        review: 'unreviewed',
      },
    ],
    evidence: { days: [], unattributed: {}, runs: {} },
  };
}

const iso = (time: number): string => new Date(time).toISOString();

/** The watch as the `Run` document has it. */
export function soakDocument(report: SoakReport): object {
  const { view } = report;
  return {
    since: iso(report.since),
    until: report.until === undefined ? null : iso(report.until),
    left: report.left,
    seen: view.seen.map(({ edge, text, at }) => ({ edge, text, at: iso(at) })),
    awaited: view.awaited.map(({ edge, text, since, due }) => ({
      edge,
      text,
      since: iso(since),
      due: due === undefined ? null : iso(due),
    })),
    denied: view.denied.map(({ edge, text, at, source, where, step, spared }) => ({
      edge,
      text,
      at: iso(at),
      source,
      where,
      step: step ?? null,
      spared: spared ?? null,
    })),
    newCallers: view.callers.map(({ id, text, first, count, state, where }) => ({
      edge: id,
      text,
      first: iso(first),
      count,
      state,
      where,
    })),
    unattributed: view.unattributed,
    signals: report.signals.map((signal) => ({
      source: signal.source,
      inputs: signal.inputs,
      files: signal.files,
      records: signal.records,
      bad: signal.bad,
      firstBad: signal.firstBad ?? null,
      lost: signal.lost,
      newest: signal.newest === undefined ? null : iso(signal.newest),
    })),
    gaps: report.gaps,
  };
}
