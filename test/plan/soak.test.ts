import { describe, expect, it } from 'vitest';
import type { Edge } from '../../src/model/edge.ts';
import { edgeId } from '../../src/model/edge.ts';
import type { Change } from '../../src/plan/change.ts';
import type { Step } from '../../src/plan/plan.ts';
import type { KnownEdge, Sighting, SoakMemory, WatchedStep } from '../../src/plan/soak.ts';
import {
  NO_MEMORY,
  addSightings,
  bearsOnTraffic,
  edgesMeant,
  indexKnown,
  pullsBack,
  soakGates,
  touchesEdge,
  viewSoak,
} from '../../src/plan/soak.ts';
import { edgeOf } from '../support/rig.ts';
import { connection } from '../support/world.ts';

const BEGUN = 1_000;
const DONE = 2_000;

function policy(kind = 'NetworkPolicy', apiVersion = 'networking.k8s.io/v1', namespace = 'shop'): Change {
  return { kind: 'create', object: { apiVersion, kind, metadata: { name: 'p', namespace }, spec: {} } };
}

function step(more: Partial<Step> = {}): Step {
  return {
    id: 'allow-list/one',
    namespace: 'shop',
    phase: 'allow-list',
    operation: 'create',
    title: 'one',
    change: policy(),
    effects: [],
    risks: [],
    ...more,
  };
}

const DB_INGRESS = step({ id: 'allow-list/db-ingress', workload: 'shop/Deployment/db', direction: 'ingress' });
const steps = (...list: readonly Step[]): readonly WatchedStep[] => list.map((one) => ({ step: one, at: DONE }));

const CALL = 'shop/Deployment/web -> shop/Deployment/db 5432';

function seen(text: string, at: number, more: Partial<Sighting> = {}): Sighting {
  const key = connection(text);
  return {
    key,
    id: edgeId(key),
    at,
    verdict: 'allowed',
    view: 'unknown',
    opens: true,
    count: 1,
    mtls: 'unknown',
    source: 'edges',
    where: 'f (from byte 0)',
    ...more,
  };
}

const denied = (text: string, at: number): Sighting => seen(text, at, { verdict: 'denied' });
const knownOf = (...edges: readonly (string | Edge)[]): readonly KnownEdge[] =>
  edges.map((edge) => ({ edge: typeof edge === 'string' ? edgeOf(edge) : edge }));

function judge(
  sightings: readonly Sighting[],
  known: readonly KnownEdge[] = knownOf(CALL),
  list: readonly WatchedStep[] = steps(DB_INGRESS),
  memory: SoakMemory = NO_MEMORY,
  restart = 0,
) {
  const index = indexKnown(known);
  const after = addSightings(memory, sightings, index, list, BEGUN);
  return viewSoak(after, index, list, restart);
}

describe('a step', () => {
  const annotate: Change = {
    kind: 'edit',
    ref: { apiVersion: 'v1', kind: 'Namespace', name: 'shop' },
    fields: [{ path: ['metadata', 'annotations', 'a'], before: undefined, after: 'b' }],
    owner: 'other',
  };
  it.each([
    ['a policy', policy(), true],
    ['an account', policy('ServiceAccount', 'v1'), false],
    ['a role', policy('Role', 'rbac.authorization.k8s.io/v1'), false],
    ['an annotation of the namespace', annotate, false],
    [
      'a label of the namespace',
      {
        ...annotate,
        fields: [{ path: ['metadata', 'labels', 'istio-injection'], before: undefined, after: 'enabled' }],
      },
      true,
    ],
    ['an edit of nothing', { ...annotate, fields: [] }, false],
  ] as const)('that writes %s bears on connections: %#', (_, change, expected) => {
    expect(bearsOnTraffic(change)).toBe(expected);
  });

  it.each([
    ['ingress of db', DB_INGRESS, [true, false, false]],
    ['egress of web', step({ workload: 'shop/Deployment/web', direction: 'egress' }), [true, true, false]],
    ['both sides of db', step({ workload: 'shop/Deployment/db' }), [true, false, false]],
    ['the namespace', step(), [true, true, false]],
    [
      'a peer’s namespace',
      step({ change: policy('NetworkPolicy', 'networking.k8s.io/v1', 'far') }),
      [true, true, true],
    ],
    [
      'the whole cluster',
      step({
        change: { kind: 'create', object: { apiVersion: 'x/v1', kind: 'ClusterWide', metadata: { name: 'p' } } },
      }),
      [true, true, true],
    ],
  ] as const)('on %s touches its edges and no others', (_, one, [call, out, far]) => {
    expect(touchesEdge(one, connection(CALL))).toBe(call);
    expect(touchesEdge(one, connection('shop/Deployment/web -> external:192.0.2.1 443'))).toBe(out);
    expect(touchesEdge(one, connection('far/Deployment/a -> far/Deployment/b 80'))).toBe(far);
  });

  // No engine drops what the own node sends, and none tells of it: whoever waited for a probe would wait for ever.
  it.each([
    ['a NetworkPolicy and the own node', DB_INGRESS, { kind: 'node' }, false],
    ['a NetworkPolicy and another node', DB_INGRESS, { kind: 'node', name: 'remote' }, true],
    [
      'STRICT mTLS and the own node',
      step({
        workload: 'shop/Deployment/db',
        direction: 'ingress',
        change: policy('PeerAuthentication', 'security.istio.io/v1'),
      }),
      { kind: 'node' },
      true,
    ],
  ] as const)('of %s: is the edge of a probe touched?', (_, one, src, expected) => {
    expect(touchesEdge(one, { src, dst: { kind: 'workload', id: 'shop/Deployment/db' } })).toBe(expected);
  });
});

describe('an edge is seen anew', () => {
  it.each([
    ['by a new connection after the step', [seen(CALL, 2_001)], true],
    ['not by one before the step', [seen(CALL, 1_999)], false],
    ['not by one in the moment of the step', [seen(CALL, 2_000)], false],
    ['not by more packets of an old connection', [seen(CALL, 3_000, { opens: false })], false],
    ['not by a record without a verdict', [seen(CALL, 3_000, { verdict: 'unknown' })], false],
    ['by a rehearsed denial, which passes', [seen(CALL, 3_000, { verdict: 'audit' })], true],
    ['by what its opener let out, as nobody denied it', [seen(CALL, 3_000, { view: 'egress' })], true],
    ['by a request over it', [seen(`${CALL} GET /x`, 3_000)], true],
    ['not by another port', [seen('shop/Deployment/web -> shop/Deployment/db 5433', 3_000)], false],
  ])('%s', (_, sightings, expected) => {
    const view = judge(sightings);
    expect(view.seen.length).toBe(expected ? 1 : 0);
    expect(view.awaited.length).toBe(expected ? 0 : 1);
  });

  it('in a folded range by any of its ports', () => {
    const range = edgeOf('shop/Deployment/web -> shop/Deployment/db 30000-40000');
    expect(judge([seen('shop/Deployment/web -> shop/Deployment/db 31234', 3_000)], knownOf(range)).seen).toHaveLength(
      1,
    );
  });

  it('after a gap only by what followed it', () => {
    const again = (at: number): number => judge([seen(CALL, at)], undefined, undefined, NO_MEMORY, 5_000).seen.length;
    expect([again(4_000), again(6_000)]).toEqual([0, 1]);
  });

  it('of requests by their connection, unless a step judges requests', () => {
    const known = indexKnown(knownOf(`${CALL} POST /v1`));
    const meant = (text: string, judged: boolean): number => edgesMeant(known, seen(text, 3_000), judged).length;
    expect([
      meant(CALL, false),
      meant(CALL, true),
      meant(`${CALL} POST /v1`, true),
      meant(`${CALL} GET /`, false),
    ]).toEqual([1, 0, 1, 0]);
  });

  it('of a name outside by the address that the name had', () => {
    const edge: Edge = {
      ...edgeOf('shop/Deployment/db -> external:192.0.2.1 443'),
      dst: { kind: 'external', name: 'pypi.org', ip: '192.0.2.1' },
    };
    const both = step({ workload: 'shop/Deployment/db' });
    const view = judge([seen('shop/Deployment/db -> external:192.0.2.1 443', 3_000)], knownOf(edge), steps(both));
    expect(view.seen).toHaveLength(1);
  });
});

describe('nobody waits for an edge', () => {
  it.each([
    ['that no step touches', knownOf('far/Deployment/a -> far/Deployment/b 80')],
    ['accepted to be cut', knownOf(edgeOf(CALL, { review: 'to-be-cut' }))],
    ['never seen to pass', knownOf(edgeOf(CALL, { verdicts: { denied: 2 } }))],
    [
      'that is declared and was never seen',
      knownOf(edgeOf(CALL, { origin: { kind: 'declared', strength: 'strong', by: 'x' } })),
    ],
  ])('%s', (_, known) => {
    expect(judge([], known).awaited).toEqual([]);
  });

  it('whose connection is made once and kept; a denied one counts all the same', () => {
    const known = knownOf(CALL).map((one) => ({ ...one, kept: true }));
    expect(judge([], known).awaited).toEqual([]);
    expect(judge([seen(CALL, 3_000)], known).seen).toHaveLength(1);
    expect(pullsBack(judge([denied(CALL, 3_000)], known))).toBeDefined();
  });

  it('says when one is to be expected where its rhythm is known', () => {
    const [one] = knownOf(CALL);
    if (one === undefined) throw new Error('no edge');
    expect(judge([], [{ ...one, cadenceMs: 60_000 }]).awaited).toMatchObject([{ due: 62_000 }]);
    expect(judge([], [{ ...one, cadenceMs: 1, due: (after) => after + 7 }]).awaited).toMatchObject([{ due: 2_007 }]);
  });
});

describe('a denial', () => {
  it.each([
    ['of an unreviewed edge that passed before', knownOf(CALL), undefined],
    [
      'of an adopted edge, even one never seen to pass',
      knownOf(edgeOf(CALL, { review: 'legitimate', verdicts: { denied: 1 } })),
      undefined,
    ],
    [
      'of a strongly declared edge',
      knownOf(edgeOf(CALL, { origin: { kind: 'declared', strength: 'strong', by: 'x' } })),
      undefined,
    ],
    ['of an edge to be cut', knownOf(edgeOf(CALL, { review: 'to-be-cut' })), 'accepted to be cut'],
    ['of an edge never seen to pass', knownOf(edgeOf(CALL, { verdicts: { denied: 3 } })), 'never seen to pass'],
  ])('%s pulls back, or says why not', (_, known, spared) => {
    const view = judge([denied(CALL, 3_000)], known);
    expect(view.denied).toMatchObject([{ step: 'allow-list/db-ingress', ...(spared === undefined ? {} : { spared }) }]);
    expect(pullsBack(view)?.edge).toBe(spared === undefined ? known[0]?.edge.id : undefined);
  });

  it('while its step is still being written counts already', () => {
    expect(pullsBack(judge([denied(CALL, 1_500)]))).toBeDefined();
  });

  it('from before the run, or of an edge denied before it, does not count', () => {
    expect(pullsBack(judge([denied(CALL, 999)]))).toBeUndefined();
    const before: SoakMemory = { ...NO_MEMORY, deniedBefore: [edgeOf(CALL).id] };
    const view = judge([denied(CALL, 3_000)], undefined, undefined, before);
    expect(view.denied).toMatchObject([{ spared: 'denied before this run already' }]);
    expect(view.awaited).toEqual([]);
  });

  it('of an edge that no step touches yet is spared, and counts once one does', () => {
    const other = knownOf(CALL);
    const index = indexKnown(other);
    const early = addSightings(NO_MEMORY, [denied(CALL, 1_200)], index, [], BEGUN);
    expect(pullsBack(viewSoak(early, index, [], 0))).toBeUndefined();
    const later = addSightings(early, [denied(CALL, 2_500)], index, steps(DB_INGRESS), BEGUN);
    expect(pullsBack(viewSoak(later, index, steps(DB_INGRESS), 0))).toMatchObject({ at: 2_500 });
  });

  it('that a person accepts afterwards pulls nothing back any more', () => {
    const index = indexKnown(knownOf(CALL));
    const memory = addSightings(NO_MEMORY, [denied(CALL, 3_000)], index, steps(DB_INGRESS), BEGUN);
    const accepted = indexKnown(knownOf(edgeOf(CALL, { review: 'to-be-cut' })));
    expect(pullsBack(viewSoak(memory, accepted, steps(DB_INGRESS), 0))).toBeUndefined();
  });

  it('of a request is about that request; of an unknown request of a pair with requests about a new caller', () => {
    const known = knownOf(CALL, `${CALL} POST /v1`);
    expect(pullsBack(judge([denied(`${CALL} POST /v1`, 3_000)], known))?.text).toContain('POST /v1');
    const strange = judge([denied(`${CALL} GET /admin`, 3_000)], known);
    expect(pullsBack(strange)).toBeUndefined();
    expect(strange.callers).toMatchObject([{ state: 'denied' }]);
    // Where no request is on record the connection is all that is known, and it is what was denied.
    expect(pullsBack(judge([denied(`${CALL} GET /admin`, 3_000)], knownOf(CALL)))).toBeDefined();
  });

  it('without a port is about the only one of the pair; of several, nobody can tell', () => {
    const portless = denied('shop/Deployment/web -> shop/Deployment/db 0', 3_000);
    expect(pullsBack(judge([portless]))?.text).toContain('5432');
    const two = judge([portless], knownOf(CALL, 'shop/Deployment/web -> shop/Deployment/db 5433'));
    expect([pullsBack(two), two.unattributed, two.callers]).toEqual([undefined, 1, []]);
  });

  it('of a connection is about every request over it', () => {
    const view = judge([denied(CALL, 3_000)], knownOf(`${CALL} POST /v1`));
    expect(pullsBack(view)?.text).toContain('POST /v1');
  });

  it('at the far end outweighs what the opener let out', () => {
    const edge = knownOf(edgeOf(CALL, { review: 'legitimate' }));
    const view = judge([seen(CALL, 3_000, { view: 'egress' }), denied(CALL, 3_000)], edge);
    expect(view.seen).toEqual([]);
  });

  it('is told with the first record of it that counts', () => {
    for (const list of [
      [denied(CALL, 2_500), denied(CALL, 3_500)],
      [denied(CALL, 2_500), seen(CALL, 2_600), denied(CALL, 2_700)],
    ])
      expect(pullsBack(judge(list))?.at).toBe(2_500);
  });
});

describe('a new caller', () => {
  const STRANGER = 'far/Job/import -> shop/Deployment/db 5432';

  it.each([
    ['denied', [denied(STRANGER, 3_000)], 'denied', 'unknown'],
    ['passing', [seen(STRANGER, 3_000)], 'passes', 'yes'],
    ['passing before the step alone', [seen(STRANGER, 1_500)], 'passed-before', 'unknown'],
    ['passing, then denied', [seen(STRANGER, 1_500), denied(STRANGER, 3_000)], 'denied', 'unknown'],
  ] as const)('%s is shown, and keeps the gate unknown unless it passes', (_, sightings, state, answer) => {
    const view = judge([seen(CALL, 3_000), ...sightings]);
    expect(view.callers).toMatchObject([{ text: `${STRANGER}/TCP`, state }]);
    expect(pullsBack(view)).toBeUndefined();
    expect(soakGates('shop', view)[0]?.answer).toBe(answer);
  });

  it('is none where the run touches nothing of it, or where anybody outside may come', () => {
    expect(judge([denied('far/Job/a -> far/Deployment/b 80', 3_000)]).callers).toEqual([]);
    const open = knownOf(edgeOf('external:192.0.2.1 -> shop/Deployment/db 5432'));
    expect(judge([seen('external:192.0.2.9 -> shop/Deployment/db 5432', 3_000)], open).callers).toEqual([]);
    expect(judge([denied('external:192.0.2.9 -> shop/Deployment/db 5432', 3_000)], open).callers).toHaveLength(1);
  });

  it('with an end that cannot be told is counted, and the gate is unknown', () => {
    const view = judge([seen(CALL, 3_000), denied('unknown -> shop/Deployment/db 5432', 3_000)]);
    expect(view.unattributed).toBe(1);
    expect(soakGates('shop', view)).toMatchObject([{ answer: 'unknown', subject: 'shop/unattributed' }]);
  });

  it('of a scan fills no memory', () => {
    const scan = Array.from({ length: 1_000 }, (_, port) =>
      denied(`far/Job/import -> shop/Deployment/db ${port + 1}`, 3_000),
    );
    expect(judge(scan).callers.length).toBeLessThanOrEqual(200);
  });
});
