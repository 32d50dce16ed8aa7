// What the watch notices of single events, and what it does not take for one.
import { beforeEach, describe, expect, it } from 'vitest';
import fc from '../support/fast-check.ts';
import { buildConnectionInventory } from '../../src/inventory/build.ts';
import { changedConnections, connectivity } from '../../src/model/connectivity.ts';
import { compileWorld } from '../../src/model/evaluate.ts';
import { replaceNetworkPolicies } from '../../src/model/world-change.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { Sighting } from '../../src/plan/soak.ts';
import type { Notice, PolicyChangedNotice } from '../../src/watch/notice.ts';
import { reduceWatch } from '../../src/watch/reduce.ts';
import type { WatchEvent, WatchState } from '../../src/watch/state.ts';
import {
  FORGET_MS,
  MOST_ATTEMPTS,
  MOST_INVENTED,
  MOST_OPEN,
  MOST_SUSPECTS,
  QUIET_MS,
  startWatch,
} from '../../src/watch/state.ts';
import { CONFIG } from '../support/rig.ts';
import { START, byKind, deploymentOf, edgeOf, generate, idOf, podOf, policyOf, sightingOf } from './world.ts';

const NP = 'networking.k8s.io/v1 NetworkPolicy';
let state: WatchState;
let now: number;

function send(event: WatchEvent): readonly Notice[] {
  const reduced = reduceWatch(state, event, now);
  state = reduced.state;
  return reduced.notices;
}
const inventoryOf = (from: WatchState) =>
  buildConnectionInventory(
    {
      source: 'cluster',
      objects: [...from.objects.values()].flatMap((own) => [...own.values()]),
      origins: new Map(),
      findings: [],
      unread: [],
    },
    { config: CONFIG },
  );
const put = (object: KubeManifest): readonly Notice[] =>
  send({ kind: 'put', of: `${object.apiVersion} ${object.kind}`, object });
const gone = (object: KubeManifest): readonly Notice[] =>
  send({ kind: 'gone', of: `${object.apiVersion} ${object.kind}`, object });
const told = (notices: readonly Notice[]): readonly string[] =>
  notices.map(({ state: is, kind, subject }) => `${is} ${kind} ${subject}`);
const changed = (object: KubeManifest, spec: object): KubeManifest => ({
  ...object,
  metadata: { ...object.metadata, resourceVersion: '99' },
  spec: { ...(object['spec'] as object), ...spec },
});

beforeEach(() => {
  state = startWatch(CONFIG);
  now = START;
  const { objects, record } = generate(3);
  const kinds = byKind(objects);
  send({ kind: 'expect', kinds: [...kinds.keys()] });
  send({ kind: 'record', record });
  for (const [of, list] of kinds) expect(send({ kind: 'listed', of, objects: list })).toEqual([]);
  expect(state.ready).toBe(true);
  expect(send({ kind: 'inventory', inventory: inventoryOf(state) })).toEqual([]);
});

describe('policies', () => {
  const ours = policyOf('ns-0', 1, 'ingress');

  it('that somebody opens are drift, with what that opened; put back, it is over', () => {
    const way = policyOf('ns-0', 5, 'egress');
    expect(told(put(changed(ours, { ingress: [{}] })))).toEqual([
      // What a second lock holds is not opened by the first: the egress of every other workload still names its next one alone.
      'raised drift NetworkPolicy ns-0/sallyport-app-1-ingress',
    ]);
    const notices = put(changed(way, { egress: [{}] }));
    expect(told(notices)).toEqual([
      'raised drift NetworkPolicy ns-0/sallyport-app-5-egress',
      'raised policy-changed NetworkPolicy ns-0/sallyport-app-5-egress',
    ]);
    expect(notices[1]).toMatchObject({ opened: 1, closed: 0, denies: [] });
    expect((notices[1] as PolicyChangedNotice).examples).toEqual([
      'ns-0/Deployment/app-5 -> ns-0/Deployment/app-1 1-65535/TCP, ...',
    ]);
    expect(told(put(way))).toEqual([
      'cleared drift NetworkPolicy ns-0/sallyport-app-5-egress',
      'raised policy-changed NetworkPolicy ns-0/sallyport-app-5-egress',
    ]);
  });

  it('that deny an edge on record are told with it', () => {
    const [drift, policy] = put(changed(ours, { ingress: [] }));
    expect(drift).toMatchObject({ kind: 'drift', severity: 'error', path: 'spec' });
    expect(policy).toMatchObject({
      kind: 'policy-changed',
      severity: 'error',
      opened: 0,
      closed: 1,
      denies: ['ns-0/Deployment/app-0 -> ns-0/Deployment/app-1 8080/TCP'],
    });
  });

  it('that are deleted leave a workload open', () => {
    expect(told(gone(ours))).toEqual([
      'raised drift NetworkPolicy ns-0/sallyport-app-1-ingress',
      'raised unprotected ns-0/Deployment/app-1',
    ]);
    expect(told(put(ours))).toContain('cleared unprotected ns-0/Deployment/app-1');
  });

  it('whose text alone changes are no news', () => {
    expect(put({ ...ours, metadata: { ...ours.metadata, resourceVersion: '2', generation: 2 } })).toEqual([]);
  });

  it('that came in a gap are found by the list after it', () => {
    const list = [...state.objects.values()]
      .flatMap((own) => [...own.values()])
      .filter(({ kind }) => kind === 'NetworkPolicy');
    expect(
      told(
        send({
          kind: 'listed',
          of: NP,
          objects: list
            .filter((one) => one.metadata.name !== 'sallyport-app-2-egress')
            .map((one) =>
              one.metadata['namespace'] === 'ns-0' && one.metadata.name === ours.metadata.name
                ? changed(one, { ingress: [{}] })
                : one,
            ),
        }),
      ).filter((text) => text.startsWith('raised drift')),
    ).toEqual([
      'raised drift NetworkPolicy ns-0/sallyport-app-2-egress',
      'raised drift NetworkPolicy ns-1/sallyport-app-2-egress',
      'raised drift NetworkPolicy ns-2/sallyport-app-2-egress',
      'raised drift NetworkPolicy ns-0/sallyport-app-1-ingress',
    ]);
  });

  it('taken in one by one amount to what all of them amount to', () => {
    const text = (world: ReturnType<typeof compileWorld>): readonly string[] =>
      [...connectivity(world)].map((one) => JSON.stringify(one));
    const pairs = (world: ReturnType<typeof compileWorld>): ReadonlyMap<string, string> =>
      new Map([...connectivity(world)].map(({ src, dst, ...ports }) => [`${src} ${dst}`, JSON.stringify(ports)]));
    const change = fc.record({
      at: fc.nat(2),
      index: fc.nat(9),
      how: fc.constantFrom('open', 'close', 'delete', 'restore', 'foreign'),
    });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 8 }), (changes) => {
        const all = inventoryOf(state);
        let world = compileWorld(all);
        let policies = all.policies;
        for (const { at, index, how } of changes) {
          const namespace = `ns-${at}`;
          const own = policyOf(namespace, index, 'ingress');
          const others = policies.filter(
            (one) => one.metadata['namespace'] !== namespace || one.metadata.name !== own.metadata.name,
          );
          const wanted =
            how === 'delete'
              ? []
              : [
                  how === 'open'
                    ? changed(own, { ingress: [{}] })
                    : how === 'close'
                      ? changed(own, { ingress: [] })
                      : how === 'foreign'
                        ? changed(own, { podSelector: {}, ingress: [{ from: [{ namespaceSelector: {} }] }] })
                        : own,
                ];
          policies = [...others, ...wanted];
          const next = replaceNetworkPolicies(
            world,
            namespace,
            policies.filter((one) => one.kind === 'NetworkPolicy' && one.metadata['namespace'] === namespace),
          );
          // What a change in a row of changes is said to open and close is what it opens and closes.
          const [had, has] = [pairs(world), pairs(next)];
          const differing = [...new Set([...had.keys(), ...has.keys()])].filter((key) => had.get(key) !== has.get(key));
          expect([...changedConnections(world, next)].map(({ src, dst }) => `${src} ${dst}`).sort()).toEqual(
            differing.sort(),
          );
          world = next;
        }
        expect(text(world)).toEqual(text(compileWorld({ ...all, policies })));
      }),
      { numRuns: 30 },
    );
  });
});

describe('workloads', () => {
  it('without a policy in an enforced namespace are told, until one selects them', () => {
    expect(told(put(deploymentOf('ns-1', 'new')))).toEqual(['raised unprotected ns-1/Deployment/new']);
    expect(state.stale).toBe(true);
    expect(told(gone(deploymentOf('ns-1', 'new')))).toEqual(['cleared unprotected ns-1/Deployment/new']);
  });

  it('of a namespace that nothing is enforced in are nobody’s business', () => {
    expect(put(deploymentOf('elsewhere', 'new'))).toEqual([]);
  });

  it('that are bare pods are told as well, and pods of the host network are not', () => {
    const bare: KubeManifest = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'debug', namespace: 'ns-1', labels: { run: 'debug' } },
      spec: { containers: [{ name: 'sh' }] },
      status: { phase: 'Running' },
    };
    expect(told(put(bare))).toEqual(['raised unprotected ns-1/Pod/debug']);
    expect(told(gone(bare))).toEqual(['cleared unprotected ns-1/Pod/debug']);
    expect(put({ ...bare, spec: { ...(bare['spec'] as object), hostNetwork: true } })).toEqual([]);
  });

  it('a pod like the others changes nothing that has to be built anew', () => {
    expect(put(podOf('ns-1', 'app-3', 1, '10.1.1.77'))).toEqual([]);
    expect(gone(podOf('ns-1', 'app-3', 0, '10.1.1.60'))).toEqual([]);
    expect(state.stale).toBe(false);
  });
});

describe('flows', () => {
  it('on no record are told once, and are over when a person has judged them', () => {
    const caller = sightingOf(idOf(0, 1), idOf(1, 1), 8080, now);
    expect(told(send({ kind: 'sightings', sightings: [caller, caller] }))).toEqual([`raised new-caller ${caller.id}`]);
    expect(send({ kind: 'sightings', sightings: [caller] })).toEqual([]);
    const edge = edgeOf(idOf(0, 1), idOf(1, 1));
    const record = (review: 'unreviewed' | 'legitimate') => ({
      ...state.record,
      edges: [...state.record.edges, { ...edge, review }],
    });
    expect(send({ kind: 'record', record: record('unreviewed') })).toEqual([]);
    expect(told(send({ kind: 'record', record: record('legitimate') }))).toEqual([`cleared new-caller ${caller.id}`]);
  });

  it('that are on record, were there before or cannot be told are no news', () => {
    const known = sightingOf(idOf(0, 1), idOf(0, 2), 8080, now);
    const sightings = [
      known,
      { ...known, key: { ...known.key, l7: 'GET /x' }, id: 'other' },
      sightingOf(idOf(0, 1), idOf(1, 1), 8080, now, { opens: false }),
      sightingOf(idOf(0, 1), idOf(1, 1), 8080, now, { verdict: 'unknown' }),
      { ...known, id: 'x', key: { ...known.key, src: { kind: 'unknown', why: 'no pod' } } as const },
    ];
    expect(send({ kind: 'sightings', sightings })).toEqual([]);
  });

  it('of a scan are one matter that grows, and end when it is quiet', () => {
    const scan = (from: number, to: number): readonly Notice[] =>
      send({
        kind: 'sightings',
        sightings: Array.from({ length: to - from }, (_, index) =>
          sightingOf(idOf(0, 3), idOf(2, (from + index) % 10), 9000 + Math.floor((from + index) / 10), now, {
            verdict: 'denied',
          }),
        ),
      });
    expect(scan(0, 3)).toMatchObject([{ kind: 'denied', state: 'raised', class: 'unclear', targetCount: 3 }]);
    expect(scan(3, 10)).toMatchObject([{ state: 'changed', class: 'attack-like', severity: 'error', targetCount: 10 }]);
    expect(scan(10, 15).length).toBeLessThanOrEqual(1);
    now += QUIET_MS + 1;
    expect(send({ kind: 'tick' })).toMatchObject([{ kind: 'denied', state: 'cleared' }]);
    expect(state.suspects.size).toBe(1);
    now += FORGET_MS;
    send({ kind: 'tick' });
    expect(state.suspects.size).toBe(0);
  });

  it('cannot fill the memory, whoever invents them', () => {
    const flood = Array.from({ length: 3 * MOST_OPEN }, (_, index) =>
      sightingOf(`ns-0/Deployment/x${index}`, idOf(0, 0), 8080, now),
    );
    const notices = send({ kind: 'sightings', sightings: flood });
    expect(notices.filter(({ kind }) => kind === 'new-caller')).toHaveLength(MOST_INVENTED);
    expect(notices.filter(({ kind }) => kind === 'folded').length).toBeLessThan(12);
    expect(state.folded.get('new-caller')).toBe(3 * MOST_OPEN - MOST_INVENTED);
    send({
      kind: 'sightings',
      sightings: Array.from({ length: 2 * MOST_SUSPECTS }, (_, index) =>
        sightingOf(`ns-0/Deployment/y${index}`, idOf(0, 0), 1, now, { verdict: 'denied' }),
      ),
    });
    expect(state.suspects.size).toBe(MOST_SUSPECTS);
    send({
      kind: 'sightings',
      sightings: Array.from({ length: 2 * MOST_ATTEMPTS }, (_, index) =>
        sightingOf(idOf(0, 3), idOf(1, 0), index + 1, now, { verdict: 'denied' }),
      ),
    });
    expect(state.suspects.get(idOf(0, 3))).toMatchObject({ more: MOST_ATTEMPTS });
    expect(state.suspects.get(idOf(0, 3))?.attempts.size).toBe(MOST_ATTEMPTS);
  });
});

const fromOutside = (ip: string, dst: string): Sighting => {
  const one = sightingOf(idOf(0, 0), dst, 9000, now, { verdict: 'denied' });
  return { ...one, key: { ...one.key, src: { kind: 'external', ip } } };
};

describe('a flood of sources that cost nothing to invent', () => {
  const flood = (from: number, count: number): readonly Notice[] =>
    send({
      kind: 'sightings',
      sightings: Array.from({ length: count }, (_, index) =>
        fromOutside(`198.18.${Math.floor((from + index) / 250) % 250}.${(from + index) % 250}`, idOf(0, 0)),
      ),
    });
  const attempt = (index: number): readonly Notice[] =>
    send({
      kind: 'sightings',
      sightings: [sightingOf(idOf(1, 3), idOf(2, index), 9000, now, { verdict: 'denied' })],
    });

  it('does not have a slow scan of a workload forgotten', () => {
    const notices: Notice[] = [];
    for (let index = 0; index < 10; index += 1) {
      now += 10_000;
      notices.push(...attempt(index));
      flood(index * 2 * MOST_SUSPECTS, 2 * MOST_SUSPECTS);
    }
    expect(notices.at(-1)).toMatchObject({ kind: 'denied', source: idOf(1, 3), class: 'attack-like', targetCount: 10 });
    expect(state.suspects.size).toBe(MOST_SUSPECTS);
  });

  it('does not fill what a scan of a workload is told in', () => {
    flood(0, 3 * MOST_OPEN);
    expect(told(attempt(0))).toEqual([`raised denied ${idOf(1, 3)}`]);
    expect([...state.open.values()].filter(({ kind }) => kind === 'denied')).toHaveLength(MOST_INVENTED + 1);
  });
});

it('a source of no namespace is answered where it tried most, not where its last packet went', () => {
  const tried = (namespace: number, index: number): readonly Notice[] =>
    send({ kind: 'sightings', sightings: [fromOutside('198.51.100.7', idOf(namespace, index))] });
  for (let index = 0; index < 9; index += 1) tried(0, index);
  expect(tried(2, 0)).toMatchObject([{ kind: 'denied', class: 'attack-like', namespace: 'ns-0' }]);
});

describe('what others judge', () => {
  const gate = { id: 'denies-observed', answer: 'no' as const, subject: 'ns-0', facts: ['a -> b'], fix: 'look' };

  it('gates are told when they stop holding, and when they hold again', () => {
    const judged = (gates: readonly (typeof gate)[]) =>
      send({ kind: 'judged', namespaces: [{ namespace: 'ns-0', gates }] });
    expect(judged([gate])).toMatchObject([
      { kind: 'gate', state: 'raised', gate: 'denies-observed', severity: 'error' },
    ]);
    expect(judged([gate])).toEqual([]);
    expect(judged([])).toMatchObject([{ kind: 'gate', state: 'cleared' }]);
  });

  it('a record that contradicts the configuration is the proxy’s matter', () => {
    const notices = send({
      kind: 'judged',
      namespaces: [{ namespace: 'ns-0', gates: [{ ...gate, id: 'plaintext', subject: 'abcdef012345' }] }],
    });
    expect(notices).toMatchObject([{ kind: 'proxy', what: 'plaintext', edge: 'abcdef012345' }]);
  });

  it('grants are told a day before their end, and when they are over', () => {
    const grants = [{ id: 'g', namespace: 'ns-0', text: 'a -> b', expires: now + 48 * 3_600_000 }];
    expect(send({ kind: 'grants', grants })).toEqual([]);
    now += 30 * 3_600_000;
    expect(send({ kind: 'tick' })).toMatchObject([{ kind: 'grant', what: 'expiring', severity: 'warning' }]);
    now += 30 * 3_600_000;
    expect(send({ kind: 'tick' })).toMatchObject([
      { kind: 'grant', what: 'expired', state: 'changed', severity: 'error' },
    ]);
    expect(send({ kind: 'grants', grants: [] })).toMatchObject([{ kind: 'grant', state: 'cleared' }]);
  });

  it('a grant to a person that was taken back says where a session may go on, and how it ends', () => {
    const grants = [{ id: 'g', namespace: 'ns-0', text: 'User jane may exec', expires: now + 1, pods: ['ns-0/web-0'] }];
    send({ kind: 'grants', grants });
    const [ended] = send({ kind: 'grants', grants: [] });
    expect(ended).toMatchObject({ kind: 'grant', state: 'cleared' });
    expect(ended?.text).toContain('kubectl delete pod -n ns-0 web-0 ends it');
  });

  it('what is not seen is said, once, and when it is seen again', () => {
    const away = { kind: 'away', what: 'objects', of: NP, why: 'no answer' } as const;
    expect(send(away)).toMatchObject([{ kind: 'blind', state: 'raised' }]);
    expect(send(away)).toEqual([]);
    expect(send({ kind: 'back', what: 'objects', of: NP })).toMatchObject([{ kind: 'blind', state: 'cleared' }]);
  });
});
