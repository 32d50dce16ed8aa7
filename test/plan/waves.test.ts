import fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import type { Edge } from '../../src/model/edge.ts';
import { namespaceOfWorkload } from '../../src/model/edge.ts';
import type { Inventory } from '../../src/model/inventory.ts';
import type { PhaseName } from '../../src/model/phase.ts';
import type { Wave, WaveInput } from '../../src/plan/waves.ts';
import { computeWaves } from '../../src/plan/waves.ts';
import { edgeOf } from '../support/rig.ts';

interface Place {
  readonly name: string;
  readonly holds?: readonly string[];
  readonly system?: string;
}

/** An inventory of one workload a namespace. */
function inventoryOf(places: readonly Place[]): Inventory {
  return {
    namespaces: places.map(({ name, system }) => ({
      name,
      labels: {},
      annotations: {},
      declared: true,
      ...(system === undefined ? {} : { system }),
    })),
    workloads: places.map(({ name, holds = [] }) => ({
      id: `${name}/Deployment/app`,
      namespace: name,
      kind: 'Deployment',
      name: 'app',
      ref: { apiVersion: 'apps/v1', kind: 'Deployment', namespace: name, name: 'app' },
      custom: false,
      podSets: [],
      batch: false,
      classification: {
        component: 'x',
        stage: 'serving',
        plane: 'data',
        sensitivity: holds,
        confidence: 'strong',
        why: [],
        alternatives: [],
      },
    })),
    services: [],
    nodes: [],
    declared: [],
    policies: [],
    findings: [],
    facts: {
      cni: { name: 'calico', enforces: 'yes', ipBlockMatches: [], because: '' },
      mesh: {
        kind: 'istio',
        mode: 'sidecar',
        rootNamespace: 'istio-system',
        trustDomain: 'cluster.local',
        nativeSidecars: 'yes',
        because: '',
      },
      apiServer: [],
    },
  };
}

const call = (from: string, to: string, more: Partial<Edge> = {}): Edge =>
  edgeOf(`${from}/Deployment/app -> ${to}/Deployment/app 8080`, more);

function wavesOf(places: readonly Place[], edges: readonly Edge[], more: Partial<WaveInput> = {}): readonly Wave[] {
  return computeWaves({
    namespaces: places.map((one) => one.name),
    edges,
    inventory: inventoryOf(places),
    phases: new Map(),
    ...more,
  });
}

const named = (...names: readonly string[]): readonly Place[] => names.map((name) => ({ name }));
const order = (waves: readonly Wave[]): readonly (readonly string[])[] => waves.map((wave) => wave.namespaces);

describe('the order of waves', () => {
  it('moves callers before those they call', () => {
    expect(order(wavesOf(named('a', 'b', 'c'), [call('c', 'b'), call('b', 'a')]))).toEqual([['c'], ['b'], ['a']]);
  });

  it('moves a circle of callers in one wave and shows the way round', () => {
    const waves = wavesOf(named('a', 'b', 'c', 'd'), [call('a', 'b'), call('b', 'c'), call('c', 'a'), call('c', 'd')]);
    expect(order(waves)).toEqual([['a', 'b', 'c'], ['d']]);
    expect(waves[0]?.why[0]).toBe(
      'a, b, c call each other (a -> b -> c -> a): they move together, and none takes mTLS alone before all of them are in the mesh',
    );
  });

  it('puts what holds most and is coupled least first', () => {
    const places = [
      { name: 'a', holds: ['telemetry'] },
      { name: 'b', holds: ['credentials'] },
      { name: 'c', holds: ['credentials', 'models'] },
    ];
    expect(order(wavesOf(places, []))).toEqual([['c', 'b', 'a']]);
    // Coupled with two others, c's seven points are worth less than b's four.
    const udp = { protocol: 'UDP' as const };
    const busy = [call('c', 'a', udp), call('a', 'c', udp), call('c', 'd', udp)];
    expect(order(wavesOf([...places, { name: 'd' }], busy))[0]?.[0]).toBe('b');
  });

  it('takes system namespaces last, the root of the mesh last of all, and names the ports to exempt', () => {
    const places = [...named('a', 'istio-system'), { name: 'kube-system', system: 'runs the CNI' }];
    const waves = wavesOf(places, [call('kube-system', 'a'), call('a', 'istio-system')]);
    expect(order(waves)).toEqual([['a'], ['kube-system'], ['istio-system']]);
    expect(waves[0]?.why.join()).toContain(
      'called by kube-system, which goes last: exempt port 8080/TCP before STRICT',
    );
  });

  it.each<[string, Partial<WaveInput>, Partial<Edge>]>([
    ['a caller that has joined the mesh', { phases: new Map<string, PhaseName>([['b', 'permissive-mtls']]) }, {}],
    ['an exempted edge', { exempt: () => true }, {}],
    ['an edge that is to be cut', {}, { review: 'to-be-cut' }],
    ['UDP, which the mesh does not carry', {}, { protocol: 'UDP' }],
  ])('does not wait for %s', (_, more, edge) => {
    expect(order(wavesOf(named('a', 'b'), [call('b', 'a', edge)], more))).toEqual([['a', 'b']]);
  });

  it('leaves out namespaces in the last phase', () => {
    expect(order(wavesOf(named('a', 'b'), [], { phases: new Map([['a', 'identity']]) }))).toEqual([['b']]);
  });

  it('keeps waves small, but for circles', () => {
    const names = Array.from({ length: 7 }, (_, index) => `n${index}`);
    expect(order(wavesOf(named(...names), [], { most: 3 })).map((one) => one.length)).toEqual([3, 3, 1]);
    const ring = names.map((name, index) => call(name, names[(index + 1) % names.length] ?? ''));
    expect(order(wavesOf(named(...names), ring, { most: 3 })).map((one) => one.length)).toEqual([7]);
  });
});

const graph = fc.record({
  places: fc.uniqueArray(fc.integer({ min: 0, max: 30 }), { minLength: 1, maxLength: 14 }).chain((ids) =>
    fc.tuple(
      ...ids.map((id) =>
        fc.record({
          name: fc.constant(`n${id}`),
          holds: fc.subarray(['credentials', 'models', 'telemetry']),
          isSystem: fc.nat(9).map((value) => value === 0),
        }),
      ),
    ),
  ),
  pairs: fc.array(fc.tuple(fc.nat(13), fc.nat(13)), { maxLength: 40 }),
  joined: fc.array(fc.nat(13), { maxLength: 3 }),
  most: fc.integer({ min: 1, max: 5 }),
});

interface Drawn {
  readonly places: readonly Place[];
  readonly edges: readonly Edge[];
  readonly more: Partial<WaveInput>;
}

const drawn = graph.map(({ places, pairs, joined, most }): Drawn => {
  const at = (index: number): string => places[index % places.length]?.name ?? '';
  return {
    places: places.map(({ name, holds, isSystem }) => ({ name, holds, ...(isSystem ? { system: 'because' } : {}) })),
    edges: pairs.filter(([a, b]) => at(a) !== at(b)).map(([a, b]) => call(at(a), at(b))),
    more: { most, phases: new Map(joined.map((index) => [at(index), 'permissive-mtls'] as const)) },
  };
});

describe('the order of waves of any graph', () => {
  it('has every namespace once, and numbers the waves from 1', () => {
    fc.assert(
      fc.property(drawn, ({ places, edges, more }) => {
        const waves = wavesOf(places, edges, more);
        expect(waves.flatMap((wave) => wave.namespaces).sort()).toEqual(places.map((one) => one.name).sort());
        expect(waves.map((wave) => wave.wave)).toEqual(waves.map((_, index) => index + 1));
        expect(waves.every((wave) => wave.namespaces.length > 0)).toBe(true);
      }),
    );
  });

  it('moves no namespace before a caller that has not joined, unless that one goes last', () => {
    fc.assert(
      fc.property(drawn, ({ places, edges, more }) => {
        const waves = wavesOf(places, edges, more);
        const waveOf = new Map(waves.flatMap((wave) => wave.namespaces.map((name) => [name, wave.wave] as const)));
        const system = new Set(places.filter((one) => one.system !== undefined).map((one) => one.name));
        for (const edge of edges) {
          const [from, to] = [edge.src, edge.dst].map((end) =>
            end.kind === 'workload' ? namespaceOfWorkload(end.id) : '',
          );
          if (from === undefined || to === undefined || more.phases?.has(from) === true) continue;
          if (system.has(from)) {
            if (system.has(to)) continue;
            const why = waves.find((wave) => wave.namespaces.includes(to))?.why.join('\n') ?? '';
            expect(why).toContain(`called by ${from}, which goes last`);
            continue;
          }
          expect(waveOf.get(from) ?? 0).toBeLessThanOrEqual(waveOf.get(to) ?? 0);
        }
      }),
    );
  });

  it('puts two namespaces that are no circle into waves of their own order, and only circles exceed the size', () => {
    fc.assert(
      fc.property(drawn, ({ places, edges, more }) => {
        const system = new Set(places.filter((one) => one.system !== undefined).map((one) => one.name));
        for (const wave of wavesOf(places, edges, more)) {
          if (wave.namespaces.some((name) => system.has(name)) || wave.namespaces.length <= (more.most ?? 8)) continue;
          expect(wave.why.some((text) => text.includes('call each other'))).toBe(true);
        }
      }),
    );
  });

  it('does not depend on the order of what is given', () => {
    fc.assert(
      fc.property(drawn, fc.infiniteStream(fc.nat()), ({ places, edges, more }, stream) => {
        const shuffled = <T>(list: readonly T[]): readonly T[] =>
          list
            .map((item) => ({ item, key: stream.next().value as number }))
            .sort((a, b) => a.key - b.key)
            .map(({ item }) => item);
        expect(wavesOf(shuffled(places), shuffled(edges), more)).toEqual(wavesOf(places, edges, more));
      }),
    );
  });
});
