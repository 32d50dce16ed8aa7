// Rules over notices, against somebody who writes the traffic that notices are made of.
import { describe, expect, it } from 'vitest';
import type { DeniedNotice, Notice } from '../../src/watch/notice.ts';
import type { Fired, TriggerLimits, TriggerRule, TriggerWorld } from '../../src/watch/triggers.ts';
import { DEFAULT_LIMITS, decideTrigger } from '../../src/watch/triggers.ts';
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
  isShared: (workload) => workload.endsWith('/shared'),
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
    ['the kill switch is thrown', denied('shop/Deployment/web'), { killed: 'the file is there' }, [], 'kill switch'],
    ['the namespace is protected', denied('kube-system/Deployment/dns'), {}, [], 'protected'],
    ['it is all that a namespace has', denied('one/Deployment/web'), {}, [], 'more than'],
    ['it serves others', denied('shop/Deployment/shared'), {}, [], 'several namespaces'],
    ['its namespace is not known', denied('nowhere/Deployment/web'), {}, [], 'not known'],
    [
      'too many ran in this hour',
      denied('shop/Deployment/web'),
      {},
      [1, 2].map((minute): Fired => ({
        at: 10 * HOUR - minute * 60_000,
        rule: 'outside',
        does: 'block',
        subject: `203.0.113.${minute}`,
        how: 'run',
        inForce: false,
      })),
      'an hour',
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
    expect(decide(denied('external:evil.example'), [], {}, RULES.slice(1, 2)).kind).toBe('ask');
  });

  it('is not repeated while it is in force or lately was', () => {
    const fired: Fired = {
      at: WORLD.now - 60_000,
      rule: 'scan',
      does: 'quarantine',
      subject: 'shop/Deployment/web',
      how: 'run',
      inForce: false,
    };
    expect(decide(denied('shop/Deployment/web'), [fired]).kind).toBe('none');
  });
});

it('whatever notices come, no more runs by itself than the limits say, and never where it may not', () => {
  const source = fc.oneof(
    fc
      .tuple(fc.constantFrom('shop', 'kube-system', 'one', 'istio-system'), fc.integer({ min: 0, max: 30 }))
      .map(([ns, n]) => `${ns}/Deployment/w${n}`),
    fc.constantFrom('external:203.0.113.9', 'external:0.0.0.0/0', 'shop/Deployment/shared', 'unknown:x'),
  );
  const step = fc.record({ source, wait: fc.integer({ min: -HOUR, max: 2 * HOUR }), undo: fc.boolean() });
  const limits: TriggerLimits = { ...DEFAULT_LIMITS, cooldownMs: 0 };
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      let now = 10 * HOUR;
      let fired: readonly Fired[] = [];
      for (const { source: from, wait, undo } of steps) {
        now += wait;
        if (undo) fired = fired.map((one, at) => (at === 0 ? { ...one, inForce: false } : one));
        const found = decideTrigger(RULES, limits, fired, denied(from), { ...WORLD, now });
        if (found.kind !== 'run') continue;
        fired = [
          ...fired,
          { at: now, rule: found.rule, does: found.does, subject: found.subject, how: 'run', inForce: true },
        ];
        expect(fired.filter(({ at }) => now - at < HOUR).length).toBeLessThanOrEqual(limits.perHour);
        const held = fired.filter(({ inForce }) => inForce);
        expect(held.length).toBeLessThanOrEqual(limits.most);
        expect(
          held.filter(
            ({ subject }) => /^(?:kube-system|istio-system|one)\//u.test(subject) || subject.endsWith('/shared'),
          ),
        ).toEqual([]);
        expect(held.filter(({ subject }) => subject.startsWith('shop/')).length).toBeLessThanOrEqual(
          Math.max(1, 20 * limits.share),
        );
      }
    }),
  );
});
