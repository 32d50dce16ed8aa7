// What objects of the cluster count for rules, against a tenant who may write whatever he likes into his namespace.
import { describe, expect, it } from 'vitest';
import { readFired, readUnrecorded, strangersOf } from '../../src/cli/fired.ts';
import { DEFAULT_CONFIG } from '../../src/model/config.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { TriggerRule } from '../../src/model/trigger.ts';
import { DEFAULT_LIMITS } from '../../src/model/trigger.ts';
import type { DeniedNotice } from '../../src/watch/notice.ts';
import { reduceWatch } from '../../src/watch/reduce.ts';
import type { Reduced } from '../../src/watch/reduce.ts';
import { startWatch } from '../../src/watch/state.ts';
import type { WatchState } from '../../src/watch/state.ts';
import { decideTrigger } from '../../src/watch/triggers.ts';
import fc from '../support/fast-check.ts';

const EMPTY: Parameters<typeof readFired>[0] = {
  runs: () => [],
  run: () => undefined,
  applied: () => [],
  triggered: () => [],
};
const NOW = Date.parse('2026-11-23T12:00:00Z');

interface Made {
  readonly type: readonly [apiVersion: string, kind: string];
  readonly name: string;
  readonly namespace: string | undefined;
  readonly label: 'quarantine' | 'block';
  readonly id: string;
  readonly managed: boolean;
  readonly workload: string | undefined;
}

const object = ({ type, name, namespace, label, id, managed, workload }: Made): KubeManifest => ({
  apiVersion: type[0],
  kind: type[1],
  metadata: {
    name,
    ...(namespace === undefined ? {} : { namespace }),
    creationTimestamp: new Date(NOW - 60_000).toISOString(),
    labels: {
      [`sallyport.dev/${label}`]: id,
      ...(managed ? { 'app.kubernetes.io/managed-by': 'sallyport' } : {}),
    },
    ...(workload === undefined ? {} : { annotations: { 'sallyport.dev/workload': workload } }),
  },
});
const POLICY = ['networking.k8s.io/v1', 'NetworkPolicy'] as const;
const OURS: Made = {
  type: POLICY,
  name: 'q',
  namespace: 'shop',
  label: 'quarantine',
  id: 'inc-1',
  managed: true,
  workload: 'shop/Deployment/web',
};

describe('an object with the label of a quarantine or a block that no record has', () => {
  it('counts where it is what a playbook writes, for a workload of its own namespace', () => {
    expect(readFired(EMPTY, [object(OURS)])).toMatchObject([
      {
        does: 'quarantine',
        subject: 'shop/Deployment/web',
        namespace: 'shop',
        inForce: true,
        claim: { object: 'NetworkPolicy shop/q', ofCluster: false },
      },
    ]);
  });

  it.each<readonly [string, Partial<Made>]>([
    ['a ServiceAccount', { type: ['v1', 'ServiceAccount'] }],
    ['a Service', { type: ['v1', 'Service'] }],
    ['a Deployment', { type: ['apps/v1', 'Deployment'] }],
    ['the kind of another group', { type: ['example.com/v1', 'NetworkPolicy'] }],
    ['a block by a kind that cannot deny', { label: 'block' }],
    ['a policy without the label of ours', { managed: false }],
    ['a policy about a workload of another namespace', { workload: 'bank/Deployment/vault' }],
    ['a policy that names nobody', { workload: undefined }],
  ])('does not count, and is named, where it is %s', (_, more) => {
    const made = object({ ...OURS, ...more });
    expect(readFired(EMPTY, [made])).toEqual([]);
    expect(strangersOf(readUnrecorded(EMPTY, [made]))).toMatchObject([{ counts: 'nowhere' }]);
  });

  it('cannot stand in for the object of another namespace by bearing its id', () => {
    const copy = object({ ...OURS, namespace: 'tenant', workload: 'tenant/Deployment/x' });
    for (const objects of [
      [object(OURS), copy],
      [copy, object(OURS)],
    ])
      expect(readFired(EMPTY, objects).map(({ subject }) => subject)).toContain('shop/Deployment/web');
  });

  it('is told of once, until it is gone; what counts before what does not', () => {
    const fakes = Array.from({ length: 40 }, (_, n) =>
      object({ ...OURS, type: ['v1', 'Service'], name: `s${n}`, id: `x${n}` }),
    );
    const look = (state: WatchState, objects: readonly KubeManifest[]): Reduced =>
      reduceWatch(state, { kind: 'strangers', found: strangersOf(readUnrecorded(EMPTY, objects)) }, NOW);
    const first = look(startWatch(DEFAULT_CONFIG), [...fakes, object(OURS)]);
    expect(first.notices).toHaveLength(41);
    expect(first.notices[0]).toMatchObject({
      kind: 'unrecorded',
      state: 'raised',
      severity: 'warning',
      namespace: 'shop',
      object: 'NetworkPolicy shop/q',
      claims: 'quarantine',
      counts: 'in its namespace',
      text: 'NetworkPolicy shop/q says that a quarantine is in force, and no record here has it: rules ask a person in its namespace',
    });
    expect(first.notices[1]).toMatchObject({ severity: 'info', counts: 'nowhere' });
    expect(look(first.state, [...fakes, object(OURS)]).notices).toEqual([]);
    const gone = look(first.state, fakes);
    expect(gone.notices).toMatchObject([{ kind: 'unrecorded', state: 'cleared', object: 'NetworkPolicy shop/q' }]);
    expect(look(gone.state, [...fakes, object(OURS)]).notices).toMatchObject([{ state: 'raised' }]);
  });

  it('is told of up to a bound, whatever somebody makes; what counts is told of even so', () => {
    const many = Array.from({ length: 2000 }, (_, n) =>
      object({ ...OURS, type: ['v1', 'Service'], name: `s${n}`, id: `x${n}` }),
    );
    const found = strangersOf(readUnrecorded(EMPTY, [...many, object(OURS)]));
    const { notices } = reduceWatch(startWatch(DEFAULT_CONFIG), { kind: 'strangers', found }, NOW);
    expect(notices.filter(({ kind }) => kind === 'unrecorded')).toHaveLength(101);
    expect(notices.some(({ subject }) => subject === 'NetworkPolicy shop/q')).toBe(true);
    expect(notices.some(({ kind }) => kind === 'folded')).toBe(true);
  });

  it('cannot be hidden behind a heap that was there before, in whatever namespaces', () => {
    const heap = Array.from({ length: 2000 }, (_, n) =>
      object({ ...OURS, type: ['v1', 'Service'], name: `s${n}`, id: `x${n}`, namespace: `t${n % 10}` }),
    );
    const claims = Array.from({ length: 600 }, (_, n) =>
      object({ ...OURS, name: `q${n}`, id: `y${n}`, namespace: 't1', workload: `t1/Deployment/w${n}` }),
    );
    const look = (state: WatchState, objects: readonly KubeManifest[]): Reduced =>
      reduceWatch(state, { kind: 'strangers', found: strangersOf(readUnrecorded(EMPTY, objects)) }, NOW);
    const before = look(startWatch(DEFAULT_CONFIG), [...heap, ...claims]);
    const after = look(before.state, [...heap, ...claims, object(OURS)]);
    expect(after.notices.filter(({ kind }) => kind === 'unrecorded')).toMatchObject([
      { subject: 'NetworkPolicy shop/q' },
    ]);
  });
});

it('whatever one may make in one namespace, rules do the same for the others, and are silent nowhere', () => {
  const types = [
    POLICY,
    ['cilium.io/v2', 'CiliumNetworkPolicy'],
    ['projectcalico.org/v3', 'NetworkPolicy'],
    ['security.istio.io/v1', 'AuthorizationPolicy'],
    ['v1', 'ServiceAccount'],
    ['apps/v1', 'Deployment'],
    // Served with a namespace by somebody who may define kinds.
    ['policy.networking.k8s.io/v1alpha1', 'AdminNetworkPolicy'],
  ] as const;
  const made: fc.Arbitrary<Made> = fc.record({
    type: fc.constantFrom(...types),
    name: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    namespace: fc.constant('tenant'),
    label: fc.constantFrom('quarantine' as const, 'block' as const),
    id: fc.constantFrom('inc-1', 'inc-2', 'inc-3', 'inc-4', ''),
    managed: fc.boolean(),
    workload: fc.constantFrom(
      undefined,
      '',
      '/',
      'tenant/Deployment/w1',
      'tenant/Deployment/w2',
      'shop/Deployment/w1',
      'tenant/../shop/Deployment/w1',
      ' shop/Deployment/w1',
      '203.0.113.9',
    ),
  });
  const rules: readonly TriggerRule[] = [
    { name: 'inside', notice: 'denied', does: 'quarantine', how: 'run' },
    { name: 'outside', notice: 'denied', does: 'block', how: 'run' },
  ];
  const notice = (source: string, namespace: string): DeniedNotice => ({
    kind: 'denied',
    key: source,
    state: 'raised',
    severity: 'error',
    at: NOW,
    since: NOW,
    subject: source,
    text: '',
    class: 'attack-like',
    reasons: [],
    source,
    namespace,
    ...(source.startsWith('external:') ? { address: source.slice('external:'.length) } : {}),
    targets: [],
    targetCount: 30,
    portCount: 1,
    count: 30,
  });
  const world = {
    now: NOW,
    killed: undefined,
    workloads: new Map([
      ['shop', 20],
      ['tenant', 20],
    ]),
    isKnown: () => true,
    isShared: () => false,
    isOnRecord: () => false,
    isProtected: () => false,
  };
  const others = object({ ...OURS, workload: 'shop/Deployment/w9', id: 'inc-4' });
  let asked = 0;
  fc.assert(
    fc.property(fc.array(made, { maxLength: 12 }), (all) => {
      const decide = (objects: readonly KubeManifest[], source: string, namespace: string) =>
        decideTrigger(rules, DEFAULT_LIMITS, readFired(EMPTY, objects), notice(source, namespace), world);
      const his = all.map(object);
      for (const source of ['shop/Deployment/w1', 'shop/Deployment/w9', 'external:203.0.113.9'])
        for (const objects of [[], [others]])
          for (const joined of [
            [...his, ...objects],
            [...objects, ...his],
          ])
            expect(decide(joined, source, 'shop')).toEqual(decide(objects, source, 'shop'));
      for (const source of ['tenant/Deployment/w1', 'external:203.0.113.9']) {
        const found = decide(his, source, 'tenant');
        expect(['run', 'ask']).toContain(found.kind);
        if (found.kind === 'ask') {
          asked += 1;
          expect(found.why.length).toBeGreaterThan(0);
        }
      }
    }),
  );
  expect(asked).toBeGreaterThan(0);
});
