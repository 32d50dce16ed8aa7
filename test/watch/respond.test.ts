// What carries rules out, against floods, restarts, a state that cannot be written, and a kill switch: what the record says is all it goes by.
import { describe, expect, it } from 'vitest';
import type { RespondPorts, Responder } from '../../src/cli/watch-respond.ts';
import { openResponder } from '../../src/cli/watch-respond.ts';
import type { TriggerRecord } from '../../src/model/trigger.ts';
import { DEFAULT_LIMITS } from '../../src/model/trigger.ts';
import { EXIT, Failure } from '../../src/shared/pure/errors.ts';
import type { Notice } from '../../src/watch/notice.ts';
import { reduceWatch } from '../../src/watch/reduce.ts';
import { startWatch } from '../../src/watch/state.ts';
import type { WatchState } from '../../src/watch/state.ts';
import type { Fired } from '../../src/watch/triggers.ts';
import fc from '../support/fast-check.ts';
import { CONFIG, viewOf } from '../support/rig.ts';
import { START, byKind, generate, idOf } from './world.ts';

const HOUR = 3_600_000;
const away = (message: string): Failure => new Failure({ code: 'SP508', exit: EXIT.state, message, hint: 'wait' });

/** A watch that knows two namespaces of twelve workloads each. */
function known(): WatchState {
  const { objects, record } = generate(2);
  let state = startWatch(CONFIG);
  const send = (event: Parameters<typeof reduceWatch>[1]): void => {
    ({ state } = reduceWatch(state, event, START));
  };
  const kinds = byKind(objects);
  send({ kind: 'expect', kinds: [...kinds.keys()] });
  send({ kind: 'record', record: { ...record, edges: [], kept: [] } });
  for (const [of, list] of kinds) send({ kind: 'listed', of, objects: list });
  const snapshot = { source: 'cluster' as const, objects, origins: new Map(), findings: [], unread: [] };
  send({ kind: 'inventory', inventory: viewOf(snapshot, '', { edges: [] }, record).inventory });
  return state;
}
const STATE = known();

const scan = (source: string, more: Partial<Notice> = {}): Notice =>
  ({
    kind: 'denied',
    key: `denied\n${source}`,
    state: 'raised',
    severity: 'error',
    at: START,
    since: START,
    namespace: source.startsWith('external:') ? 'ns-0' : (source.split('/')[0] ?? ''),
    subject: source,
    text: `${source} scans`,
    class: 'attack-like',
    reasons: [],
    source,
    ...(source.startsWith('external:') ? { address: source.slice(9) } : {}),
    targets: [],
    targetCount: 20,
    portCount: 1,
    count: 20,
    ...more,
  }) as Notice;

/** What outlives a restart: the record, the cluster, and the clock. */
interface Lasting {
  now: number;
  readonly records: Map<string, TriggerRecord>;
  /** Ids of what was written and not undone. */
  readonly inForce: Set<string>;
  stop: string | undefined;
  readOnly: boolean;
  readonly did: TriggerRecord[];
  /** The process dies at the next deed: before it, after it. */
  dies: 'before' | 'after' | undefined;
  leads: boolean;
}

class Killed extends Error {}

function lasting(): Lasting {
  return {
    now: START,
    records: new Map(),
    inForce: new Set(),
    stop: undefined,
    readOnly: false,
    did: [],
    dies: undefined,
    leads: true,
  };
}

const firedOf = (world: Lasting): readonly Fired[] =>
  [...world.records.values()].map((one) => ({
    ...one,
    inForce: world.inForce.has(one.id),
    confirmed: one.confirmedBy !== undefined,
  }));

function open(world: Lasting, more: Partial<RespondPorts> = {}): Responder & { readonly said: TriggerRecord[] } {
  const said: TriggerRecord[] = [];
  const responder = openResponder({
    config: {
      act: true,
      rules: [{ name: 'inside', notice: 'denied', class: 'attack-like', does: 'quarantine', how: 'run' }],
      limits: DEFAULT_LIMITS,
    },
    now: () => world.now,
    acts: true,
    own: 'sallyport',
    fired: () => Promise.resolve(firedOf(world)),
    killed: () => Promise.resolve(world.stop),
    leads: () => world.leads,
    newId: () => `inc-${world.records.size}`,
    save: (record) => {
      if (world.readOnly) return Promise.reject(away('the state is held by another process'));
      world.records.set(record.id, record);
      return Promise.resolve();
    },
    carryOut: (record) => {
      if (world.dies === 'before') throw new Killed();
      world.did.push(record);
      world.inForce.add(record.id);
      if (world.dies === 'after') throw new Killed();
      return Promise.resolve({ outcome: 'done', why: [] });
    },
    tell: (record) => said.push(record),
    note: () => undefined,
    ...more,
  });
  return { ...responder, said };
}

describe('what carries rules out', () => {
  it('puts down that it begins before it does anything, and what came of it', async () => {
    const world = lasting();
    const seen: string[] = [];
    const one = open(world, {
      carryOut: (record) => {
        seen.push(world.records.get(record.id)?.outcome ?? 'nothing');
        return Promise.resolve({ outcome: 'done', why: [] });
      },
    });
    one.notice(scan(idOf(0, 1)));
    await one.turn(STATE);
    expect(seen).toEqual(['begun']);
    expect([...world.records.values()]).toMatchObject([
      {
        outcome: 'done',
        how: 'run',
        rule: 'inside',
        subject: idOf(0, 1),
        limits: ['0 of 2 in this hour', '0 of 3 in force', expect.stringContaining('ns-0')],
      },
    ]);
  });

  it('without being told to act leaves proposals alone', async () => {
    const world = lasting();
    const one = open(world, { acts: false });
    one.notice(scan(idOf(0, 1)));
    await one.turn(STATE);
    expect(world.did).toEqual([]);
    expect(one.said).toMatchObject([
      { outcome: 'proposed', how: 'ask', why: ['the watch was not told to act (--act)'] },
    ]);
  });

  it('does nothing while the state cannot be written, and goes on when it can', async () => {
    const world = lasting();
    world.readOnly = true;
    const one = open(world);
    one.notice(scan(idOf(0, 1)));
    await one.turn(STATE);
    await one.turn(STATE);
    expect([world.did.length, one.waiting()]).toEqual([0, 1]);
    world.readOnly = false;
    await one.turn(STATE);
    expect([world.did.length, one.waiting()]).toEqual([1, 0]);
  });

  it('lets go what it could not put down for a quarter of an hour', async () => {
    const world = lasting();
    world.readOnly = true;
    const one = open(world);
    one.notice(scan(idOf(0, 1)));
    world.now += HOUR;
    await one.turn(STATE);
    expect([world.did.length, one.waiting()]).toEqual([0, 0]);
  });

  it('looks at the switch and at the lead once more between the decision and the deed', async () => {
    for (const late of ['stop', 'lead'] as const) {
      const world = lasting();
      const one = open(world, {
        save: (record) => {
          world.records.set(record.id, record);
          if (late === 'stop') world.stop = 'thrown meanwhile';
          else world.leads = false;
          return Promise.resolve();
        },
      });
      one.notice(scan(idOf(0, 1)));
      await one.turn(STATE);
      expect(world.did).toEqual([]);
      expect([...world.records.values()]).toMatchObject([{ outcome: 'refused' }]);
    }
  });

  it('does nothing where whether it is stopped cannot be asked', async () => {
    const world = lasting();
    let asked = 0;
    const one = open(world, {
      killed: () => {
        asked += 1;
        return asked === 1 ? Promise.resolve(undefined) : Promise.reject(away('the API server is away'));
      },
    });
    one.notice(scan(idOf(0, 1)));
    await one.turn(STATE);
    expect(world.did).toEqual([]);
    expect([...world.records.values()]).toMatchObject([{ outcome: 'refused' }]);
  });

  it('of two on one record only the one that leads acts', async () => {
    const world = lasting();
    const [first, second] = [open(world), open(world, { leads: () => false })];
    for (const one of [first, second]) one.notice(scan(idOf(0, 1)));
    await Promise.all([first.turn(STATE), second.turn(STATE)]);
    expect(world.did).toHaveLength(1);
    expect(second.waiting()).toBe(1);
  });
});

it('whatever comes, however often it is killed and started, what was done stays within the limits', async () => {
  const move = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: 11 })).map(([ns, n]) => ({
        kind: 'notice' as const,
        source: ns === 2 ? `kube-system/Deployment/app-${n}` : idOf(ns, n),
      })),
    },
    {
      weight: 2,
      arbitrary: fc
        .integer({ min: 0, max: 99 })
        .map((n) => ({ kind: 'notice' as const, source: `ns-0/Deployment/invented-${n}` })),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        { kind: 'restart' as const },
        { kind: 'stop' as const },
        { kind: 'start' as const },
        { kind: 'read-only' as const },
        { kind: 'dies-before' as const },
        { kind: 'dies-after' as const },
        { kind: 'undo' as const },
      ),
    },
    { weight: 2, arbitrary: fc.integer({ min: 0, max: 90 * 60_000 }).map((ms) => ({ kind: 'wait' as const, ms })) },
  );
  let ran = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(move, { maxLength: 60 }), async (moves) => {
      const world = lasting();
      let one = open(world);
      for (const step of moves) {
        const before = world.did.length;
        switch (step.kind) {
          case 'notice':
            one.notice(scan(step.source));
            break;
          case 'restart':
            one = open(world);
            break;
          case 'stop':
            world.stop = 'thrown';
            break;
          case 'start':
            world.stop = undefined;
            world.readOnly = false;
            break;
          case 'read-only':
            world.readOnly = true;
            break;
          case 'dies-before':
          case 'dies-after':
            world.dies = step.kind === 'dies-before' ? 'before' : 'after';
            break;
          case 'undo':
            for (const id of [...world.inForce].slice(0, 1)) world.inForce.delete(id);
            break;
          case 'wait':
            world.now += step.ms;
        }
        const stopped = world.stop !== undefined;
        try {
          await one.turn(STATE);
        } catch (error) {
          if (!(error instanceof Killed)) throw error;
          world.dies = undefined;
          one = open(world);
        }
        ran += world.did.length - before;
        if (stopped) expect(world.did.length).toBe(before);
        expect(world.did.filter(({ at }) => world.now - at < HOUR).length).toBeLessThanOrEqual(DEFAULT_LIMITS.perHour);
        expect(world.inForce.size).toBeLessThanOrEqual(DEFAULT_LIMITS.most);
        for (const ns of ['ns-0', 'ns-1'])
          expect(
            world.did.filter((done) => world.inForce.has(done.id) && done.namespace === ns).length,
          ).toBeLessThanOrEqual(1);
        expect(world.did.filter(({ subject }) => !/^ns-[01]\/Deployment\/app-\d+$/u.test(subject))).toEqual([]);
      }
    }),
  );
  expect(ran).toBeGreaterThan(50);
});
