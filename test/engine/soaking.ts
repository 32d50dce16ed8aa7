// A cluster that talks while it is watched: every edge connects twice a second of the played time, and what the world denies is recorded
// as denied. The signal is a function of time and of what is on record, so another process that goes on from a position reads the same.
import type { Signals, SoakWorld } from '../../src/engine/contract.ts';
import type { Engine } from '../../src/engine/run.ts';
import type { Edge, EdgeKey } from '../../src/model/edge.ts';
import { edgeId, formatEdge } from '../../src/model/edge.ts';
import type { Sighting } from '../../src/plan/soak.ts';
import { lastTouch } from '../../src/plan/soak.ts';
import { planRollback } from '../../src/readiness/rollback.ts';
import { asNumber } from '../../src/shared/pure/json.ts';
import type { Rig } from '../support/rig.ts';
import { plannerFor } from '../support/rig.ts';
import { connection } from '../support/world.ts';

const TICK_MS = 500;

export interface Talk {
  /** What becomes of an edge at a moment, by what is done by then (ids of steps in force). Default: allowed. */
  readonly verdict?: (edge: EdgeKey, done: ReadonlySet<string>, at: number) => Sighting['verdict'] | 'silent';
  /** Connections of edges that are not on record. */
  readonly strangers?: readonly string[];
  /** Said once, at the first look after this moment. */
  readonly gap?: (at: number) => boolean;
}

export interface Soaking extends Talk {
  readonly minutes?: number;
  readonly detach?: boolean;
}

export function sightingOf(key: EdgeKey, at: number, verdict: Sighting['verdict'] = 'allowed'): Sighting {
  return {
    key,
    id: edgeId(key),
    at,
    verdict,
    view: 'unknown',
    opens: true,
    count: 1,
    mtls: 'unknown',
    source: 'played',
    where: `tick ${at}`,
  };
}

/** The watch over an engine's runs on a rig. `edges` are those on record, with their review. */
export function soaking(rig: Rig, edges: readonly Edge[], options: Soaking = {}): (engine: Engine) => Engine {
  return (engine) => ({ ...engine, soak: world(rig, edges, engine, options) });
}

function world(rig: Rig, edges: readonly Edge[], engine: Engine, options: Soaking): SoakWorld {
  const { clock, journal } = engine;
  const spoken: readonly EdgeKey[] = [
    ...edges.filter((edge) => edge.review !== 'to-be-cut' || options.verdict !== undefined),
    ...(options.strangers ?? []).map((text) => connection(text)),
  ];
  const open = (from: number): Signals => {
    let readTo = from;
    let newest: number | undefined;
    return {
      look: () => {
        const now = clock.now();
        const done = new Set(journal.applied().map(({ step }) => step.id));
        const sightings: Sighting[] = [];
        for (let at = readTo + TICK_MS - (readTo % TICK_MS); at <= now; at += TICK_MS) {
          newest = at;
          for (const key of spoken) {
            const verdict = options.verdict?.(key, done, at) ?? 'allowed';
            if (verdict !== 'silent') sightings.push(sightingOf(key, at, verdict));
          }
        }
        const gap = options.gap !== undefined && options.gap(now) && !options.gap(readTo);
        readTo = now;
        return Promise.resolve({
          more: false,
          sightings,
          gaps: gap ? ['the file was cut short'] : [],
          signals: [
            {
              source: 'played',
              inputs: ['-'],
              files: 1,
              records: 0,
              bad: 0,
              lost: 0,
              ...(newest === undefined ? {} : { newest }),
            },
          ],
        });
      },
      position: () => readTo,
      refresh: () => undefined,
      close: () => Promise.resolve(),
    };
  };
  return {
    minutes: options.minutes ?? 1,
    drainSeconds: 5,
    detach: options.detach === true,
    open: (position) => Promise.resolve(open(asNumber(position) ?? clock.now())),
    known: (plan) => {
      const steps = plan.steps.map((step) => ({ step, at: 0 }));
      return Promise.resolve(edges.filter((edge) => lastTouch(steps, edge) !== undefined).map((edge) => ({ edge })));
    },
    deniedBefore: () => Promise.resolve([]),
    settle: (gate) => gate,
    planBack: async (run) => {
      const view = await rig.view(journal.openRuns().find(({ id }) => id === run)?.namespace ?? '');
      const from = journal.openRuns().find(({ id }) => id === run)?.from ?? 'none';
      const undo = view.applied.filter((applied) => applied.run === run).toSorted((a, b) => b.seq - a.seq);
      const { plan, divergences } = planRollback(view, from, plannerFor('directory'), new Map(), undo);
      if (divergences.length > 0) throw new Error(JSON.stringify(divergences));
      return plan;
    },
  };
}

export const is = (key: EdgeKey, text: string): boolean => formatEdge(key) === `${text}/TCP`;

/** Denied as soon as a step of this name is in force. */
export const deniedBy =
  (text: string, step: string) =>
  (key: EdgeKey, done: ReadonlySet<string>): 'allowed' | 'denied' =>
    is(key, text) && [...done].some((id) => id.includes(step)) ? 'denied' : 'allowed';
