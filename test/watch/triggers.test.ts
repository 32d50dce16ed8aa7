// Rules over notices, against somebody who writes the traffic that notices are made of.
import { describe, expect, it } from 'vitest';
import type { DeniedNotice, Notice } from '../../src/watch/notice.ts';
import type { TriggerLimits, TriggerRule } from '../../src/model/trigger.ts';
import { DEFAULT_LIMITS } from '../../src/model/trigger.ts';
import type { Fired, TriggerWorld } from '../../src/watch/triggers.ts';
import { MOST_ESCALATIONS, MOST_PROPOSALS, decideTrigger } from '../../src/watch/triggers.ts';
import fc from '../support/fast-check.ts';

const HOUR = 3_600_000;
const denied = (source: string, more: Partial<DeniedNotice> = {}): DeniedNotice => ({
  kind: 'denied',
  key: `denied ${source}`,
  state: 'raised',
  severity: 'warning',
  at: 0,
  since: 0,
  subject: source,
  text: `${source} was denied`,
  class: 'attack-like',
  reasons: [],
  source,
  namespace: 'shop',
  ...(/^external:[0-9]/u.test(source) ? { address: source.slice('external:'.length) } : {}),
  targets: [],
  targetCount: 30,
  portCount: 30,
  count: 500,
  ...more,
});
const RULES: readonly TriggerRule[] = [
  { name: 'scan', notice: 'denied', class: 'attack-like', targets: 10, does: 'quarantine', how: 'run' },
  { name: 'outside', notice: 'denied', class: 'attack-like', does: 'block', how: 'run' },
  { name: 'drift', notice: 'drift', does: 'escalate', how: 'run' },
];
const WORLD: TriggerWorld = {
  now: 10 * HOUR,
  killed: undefined,
  workloads: new Map([
    ['shop', 20],
    ['kube-system', 20],
    ['one', 1],
  ]),
  isKnown: (workload) => !workload.startsWith('nowhere/'),
  isShared: (workload) => workload.endsWith('/shared'),
  isOnRecord: (address) => address === '203.0.113.1',
  isProtected: (namespace) => namespace === 'hooks',
};
const decide = (
  notice: Notice,
  fired: readonly Fired[] = [],
  world: Partial<TriggerWorld> = {},
  rules = RULES,
): ReturnType<typeof decideTrigger> => decideTrigger(rules, DEFAULT_LIMITS, fired, notice, { ...WORLD, ...world });

describe('a rule', () => {
  it('runs within its limits, on who sent', () => {
    expect(decide(denied('shop/Deployment/web'))).toMatchObject({
      kind: 'run',
      does: 'quarantine',
      subject: 'shop/Deployment/web',
    });
  });

  it.each<readonly [string, DeniedNotice, Partial<TriggerWorld>, readonly Fired[], string]>([
    [
      'the kill switch is thrown',
      denied('shop/Deployment/web'),
      { killed: 'the kill switch is thrown: why not' },
      [],
      'kill switch',
    ],
    ['the namespace is protected', denied('kube-system/Deployment/dns'), {}, [], 'protected'],
    ['it is all that a namespace has', denied('one/Deployment/web'), {}, [], 'more than'],
    ['it serves others', denied('shop/Deployment/shared'), {}, [], 'several namespaces'],
    ['the API server calls its namespace', denied('hooks/Deployment/web'), {}, [], 'protected'],
    ['it is not known', denied('nowhere/Deployment/web'), {}, [], 'not known'],
    [
      'too many ran in this hour',
      denied('shop/Deployment/web'),
      {},
      [1, 2].map((minute): Fired => ({
        at: 10 * HOUR - minute * 60_000,
        does: 'block',
        subject: `203.0.113.${minute}`,
        namespace: 'shop',
        how: 'run',
        inForce: false,
        confirmed: false,
      })),
      'an hour',
    ],
    [
      'three are in force that nobody confirmed',
      denied('shop/Deployment/web'),
      {},
      [5, 6, 7].map((n): Fired => ({
        at: n * 60_000,
        does: 'block',
        subject: `203.0.113.${n}`,
        namespace: 'shop',
        how: 'run',
        inForce: true,
        confirmed: false,
      })),
      'nobody confirmed',
    ],
    [
      'people cut off a tenth of the namespace already',
      denied('shop/Deployment/web'),
      {},
      [1, 2].map((n): Fired => ({
        at: n * 60_000,
        does: 'quarantine',
        subject: `shop/Deployment/w${n}`,
        namespace: 'shop',
        how: 'ask',
        inForce: true,
        confirmed: true,
      })),
      'more than',
    ],
  ])('asks a person where %s', (_, notice, world, fired, why) => {
    const found = decide(notice, fired, world);
    expect(found.kind).toBe('ask');
    expect(found.kind === 'ask' ? found.why.join() : '').toContain(why);
  });

  it.each(['unknown:10.1.2.3', 'node:n1', 'external:203.0.113.9', 'shop/web', ''])(
    'quarantines nothing for %s, which is no workload',
    (source) => {
      expect(decide(denied(source), [], {}, RULES.slice(0, 1)).kind).toBe('none');
    },
  );

  it('blocks single addresses alone', () => {
    expect(decide(denied('external:203.0.113.9'), [], {}, RULES.slice(1, 2))).toMatchObject({
      kind: 'run',
      subject: '203.0.113.9',
    });
    expect(decide(denied('external:0.0.0.0/0'), [], {}, RULES.slice(1, 2)).kind).toBe('ask');
    expect(decide(denied('external:evil.example'), [], {}, RULES.slice(1, 2)).kind).toBe('none');
    // A name that looks like somebody's address: whoever invents names would choose whom we block.
    const named = { ...denied('external:evil.example'), source: 'external:198.51.100.7' };
    expect(decide(named, [], {}, RULES.slice(1, 2)).kind).toBe('none');
  });

  it('blocks nobody that is on record: a sender may be spoofed', () => {
    expect(decide(denied('external:203.0.113.1'), [], {}, RULES.slice(1, 2))).toMatchObject({
      kind: 'ask',
      why: [expect.stringContaining('on record')],
    });
  });

  it('judges a matter again when it changes: a scan shows itself late', () => {
    expect(decide({ ...denied('shop/Deployment/web'), state: 'changed' }).kind).toBe('run');
    expect(decide({ ...denied('shop/Deployment/web'), state: 'cleared' }).kind).toBe('none');
  });

  it('tells nobody while the kill switch is thrown', () => {
    const drift = {
      ...denied('x'),
      kind: 'drift',
      object: 'o',
      path: '',
      step: 's',
      ours: '',
      now: '',
    } as unknown as Notice;
    expect(decide(drift).kind).toBe('run');
    expect(decide(drift, [], { killed: 'thrown' }).kind).toBe('ask');
  });

  it('is not repeated while it is in force or lately was', () => {
    const fired: Fired = {
      at: WORLD.now - 60_000,
      does: 'quarantine',
      subject: 'shop/Deployment/web',
      namespace: 'shop',
      how: 'run',
      inForce: false,
      confirmed: false,
    };
    expect(decide(denied('shop/Deployment/web'), [fired]).kind).toBe('none');
  });
});

describe('an object of the cluster that no record has', () => {
  const claim = (n: number, namespace: string, ofCluster = false): Fired => ({
    at: 10 * HOUR - n * 60_000,
    does: 'quarantine',
    subject: `${namespace}/Deployment/w${n}`,
    namespace,
    how: 'run',
    inForce: true,
    confirmed: false,
    claim: { object: `NetworkPolicy ${namespace}/q${n}`, ofCluster },
  });
  const asked = (found: ReturnType<typeof decide>): string => {
    expect(found.kind).toBe('ask');
    return found.kind === 'ask' ? found.why.join('; ') : '';
  };

  it('never silences a rule: a person is asked, and the object named', () => {
    expect(asked(decide(denied('shop/Deployment/w1'), [claim(1, 'shop')]))).toContain('NetworkPolicy shop/q1 says');
    expect(asked(decide(denied('shop/Deployment/w1'), [claim(1, 'shop', true)]))).toContain('q1 says');
  });

  it('uses up no limit of other namespaces', () => {
    const many = [1, 2, 3, 4, 5].map((n) => claim(n, 'tenant'));
    expect(decide(denied('shop/Deployment/web'), many).kind).toBe('run');
    const world = { workloads: new Map([['tenant', 100]]) };
    expect(asked(decide(denied('tenant/Deployment/web'), many, world))).toContain('NetworkPolicy tenant/q1');
  });

  it('counts everywhere where no tenant can have written it', () => {
    const many = [1, 2, 3].map((n) => claim(n, 'tenant', true));
    expect(asked(decide(denied('shop/Deployment/web'), many))).toContain('on no record here');
  });
});

describe('somebody who can make rules fire at will', () => {
  const ran = (n: number, more: Partial<Fired>): Fired => ({
    at: 10 * HOUR - n * 60_000,
    does: 'block',
    subject: `198.51.100.${n}`,
    namespace: 'shop',
    how: 'run',
    inForce: true,
    confirmed: false,
    ...more,
  });
  const world = {
    workloads: new Map([
      ['shop', 40],
      ['prod', 40],
    ]),
  };

  it('from addresses uses up nothing that quarantines need', () => {
    const one = [ran(1, {})];
    expect(decide(denied('external:198.51.100.2', { namespace: 'prod' }), one)).toMatchObject({
      kind: 'ask',
      why: [expect.stringContaining('left to quarantines')],
    });
    expect(decide(denied('prod/Deployment/web', { namespace: 'prod' }), one, world).kind).toBe('run');
  });

  it('in one namespace uses up nothing that others need', () => {
    const one = [ran(1, { does: 'quarantine', subject: 'shop/Deployment/decoy' })];
    expect(decide(denied('shop/Deployment/web'), one, world)).toMatchObject({
      kind: 'ask',
      why: expect.arrayContaining([expect.stringContaining('left to other namespaces than shop')]) as unknown,
    });
    expect(decide(denied('prod/Deployment/web', { namespace: 'prod' }), one, world).kind).toBe('run');
    // Long ago, and still in force: of three that may be, one namespace has two.
    const long = [1, 2].map((n) => ran(n, { at: n * 60_000, does: 'quarantine', subject: `shop/Deployment/w${n}` }));
    expect(decide(denied('prod/Deployment/web', { namespace: 'prod' }), long, world).kind).toBe('run');
    expect(decide(denied('external:198.51.100.9'), long, world).kind).toBe('ask');
  });

  it('with invented names fills half of the proposals, and those of workloads are made', () => {
    const invented = Array.from({ length: MOST_PROPOSALS / 2 }, (_, n) =>
      ran(n, { does: 'quarantine', subject: `nowhere/Deployment/w${n}`, how: 'ask', inForce: false }),
    );
    expect(decide(denied('nowhere/Deployment/x'), invented).kind).toBe('dropped');
    expect(decide(denied('external:203.0.113.1', { namespace: 'prod' }), invented).kind).toBe('dropped');
    expect(decide(denied('shop/Deployment/shared'), invented).kind).toBe('ask');
  });

  it('with invented sources told to people fills half of the proposals, too', () => {
    const rules: readonly TriggerRule[] = [
      { name: 'tell', notice: 'drift', does: 'escalate', how: 'ask' },
      { name: 'scan', notice: 'denied', class: 'attack-like', does: 'quarantine', how: 'ask' },
      { name: 'any', notice: 'denied', does: 'escalate', how: 'ask' },
    ];
    const key = (n: number): string => `denied\nexternal:198.51.100.${n}`;
    const told = Array.from({ length: MOST_PROPOSALS / 2 }, (_, n) =>
      ran(n, { does: 'escalate', subject: key(n), rule: 'any', how: 'ask', inForce: false }),
    );
    const asked = (notice: Notice): string => decide(notice, told, {}, rules).kind;
    expect(asked(denied('external:198.51.100.99', { key: key(99) }))).toBe('dropped');
    expect(asked(denied('shop/Deployment/shared'))).toBe('ask');
    expect(asked({ ...denied('x', { key: 'drift\nx' }), kind: 'drift' } as unknown as Notice)).toBe('ask');
  });

  it('by one rule sends half of the messages, and other rules are heard', () => {
    const rules: readonly TriggerRule[] = [
      { name: 'denied', notice: 'denied', does: 'escalate', how: 'run' },
      { name: 'drift', notice: 'drift', does: 'escalate', how: 'run' },
    ];
    const flood = Array.from({ length: MOST_ESCALATIONS / 2 }, (_, n) =>
      ran(n, { does: 'escalate', subject: `denied ${n}`, rule: 'denied', inForce: false }),
    );
    const drift = { ...denied('x'), kind: 'drift' } as unknown as Notice;
    expect(decide(denied('external:198.51.100.9'), flood, {}, rules).kind).toBe('dropped');
    expect(decide(drift, flood, {}, rules).kind).toBe('run');
    // Alone, a rule has them all.
    expect(decide(denied('external:198.51.100.9'), flood, {}, rules.slice(0, 1)).kind).toBe('run');
  });
});

interface Hostile {
  readonly source: string;
  readonly namespace: string;
  readonly kind: 'denied' | 'new-caller' | 'drift';
  readonly state: 'raised' | 'changed' | 'cleared';
  readonly wait: number;
  readonly undo: boolean;
  readonly confirm: boolean;
  readonly killed: boolean;
}

it('whatever notices come, no more runs by itself than the limits say, at any time, and never where it may not', () => {
  const namespaces = ['shop', 'kube-system', 'one', 'istio-system', 'hooks', 'cilium-test', ''];
  const source = fc.oneof(
    fc
      .tuple(fc.constantFrom(...namespaces), fc.integer({ min: 0, max: 40 }))
      .map(([ns, n]) => `${ns}/Deployment/w${n}`),
    fc.integer({ min: 0, max: 40 }).map((n) => `shop/Deployment/w${n}`),
    fc.integer({ min: 1, max: 60 }).map((n) => `external:203.0.113.${n}`),
    // Invented names, ranges, and what only looks like a workload.
    fc.constantFrom('external:0.0.0.0/0', 'shop/Deployment/shared', 'unknown:x', 'node:n', 'nowhere/Deployment/x'),
    fc.string({ maxLength: 12 }).map((name) => `external:${name}`),
    fc.string({ maxLength: 12 }).map((name) => `shop/Deployment/${name}`),
  );
  const step: fc.Arbitrary<Hostile> = fc.record({
    source,
    namespace: fc.constantFrom(...namespaces),
    kind: fc.constantFrom(
      'denied' as const,
      'denied' as const,
      'denied' as const,
      'new-caller' as const,
      'drift' as const,
    ),
    state: fc.constantFrom('raised' as const, 'changed' as const, 'cleared' as const),
    wait: fc.integer({ min: -HOUR / 2, max: 2 * HOUR }),
    undo: fc.boolean(),
    confirm: fc.boolean(),
    killed: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
  });
  const world: TriggerWorld = {
    ...WORLD,
    isKnown: (id) => /^(?:shop|kube-system|one|istio-system|hooks|cilium-test)\/Deployment\/(?:w\d+|shared)$/u.test(id),
  };
  const rules: readonly TriggerRule[] = [
    ...RULES,
    { name: 'new', notice: 'new-caller', does: 'quarantine', how: 'run' },
  ];
  let ran = 0;
  fc.assert(
    fc.property(fc.array(step, { maxLength: 150 }), fc.constantFrom(0, 60_000, HOUR), (steps, cooldownMs) => {
      const limits: TriggerLimits = { ...DEFAULT_LIMITS, cooldownMs };
      let now = 10 * HOUR;
      let fired: readonly Fired[] = [];
      for (const one of steps) {
        now += one.wait;
        if (one.undo)
          fired = fired.map((other, at, all) =>
            at === all.findIndex(({ inForce }) => inForce) ? { ...other, inForce: false } : other,
          );
        if (one.confirm) fired = fired.map((other, at) => (at === 1 ? { ...other, confirmed: true } : other));
        const notice = {
          ...denied(one.source, { namespace: one.namespace, state: one.state }),
          kind: one.kind,
        } as Notice;
        const killed = one.killed ? 'thrown' : undefined;
        const found = decideTrigger(rules, limits, fired, notice, { ...world, now, killed });
        if (found.kind !== 'run' && found.kind !== 'ask') continue;
        if (one.killed) expect(found.kind).toBe('ask');
        if (found.kind === 'run' && found.does !== 'escalate') ran += 1;
        const { does, subject, namespace, kind: how } = found;
        fired = [
          ...fired,
          { at: now, does, subject, namespace, how, inForce: how === 'run' && does !== 'escalate', confirmed: false },
        ];
        const asked = fired.filter((other) => other.how === 'ask' && now - other.at < HOUR);
        expect(asked.length).toBeLessThanOrEqual(MOST_PROPOSALS);
        const mine = fired.filter((other) => other.how === 'run' && other.does !== 'escalate');
        // In whatever hour, as the clock stood then; a clock that is set back opens no new one.
        expect(mine.filter((other) => now - other.at < HOUR).length).toBeLessThanOrEqual(limits.perHour);
        const held = mine.filter(({ inForce }) => inForce);
        expect(held.filter(({ confirmed }) => !confirmed).length).toBeLessThanOrEqual(limits.most);
        expect(
          held.filter(
            (other) =>
              ['kube-system', 'istio-system', 'hooks', 'cilium-test', ''].includes(other.namespace) ||
              /^(?:kube-system|istio-system|hooks|cilium-test|one|nowhere)\//u.test(other.subject) ||
              other.subject.endsWith('/shared') ||
              other.subject === '203.0.113.1',
          ),
        ).toEqual([]);
        expect(
          held.every((other) =>
            other.does === 'block' ? /^[0-9.]+$/u.test(other.subject) : world.isKnown(other.subject),
          ),
        ).toBe(true);
        const cut = new Set(held.filter((other) => other.does === 'quarantine').map((other) => other.subject));
        expect(cut.size).toBeLessThanOrEqual(Math.max(1, Math.floor(20 * limits.share)));
      }
    }),
  );
  expect(ran).toBeGreaterThan(20);
});
