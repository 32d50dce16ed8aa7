import { expect, it } from 'vitest';
import type { Edge, Endpoint } from '../../src/model/edge.ts';
import { edgeId, endpointNamespace } from '../../src/model/edge.ts';
import { edgesTouching } from '../../src/model/edge-index.ts';
import fc from '../support/fast-check.ts';
import { edgeOf } from '../support/rig.ts';

const anyEnd: fc.Arbitrary<Endpoint> = fc.oneof(
  fc.constantFrom('ant/Deployment/a', 'ant/Deployment/b', 'bee/Deployment/a').map((id) => ({
    kind: 'workload' as const,
    id,
  })),
  fc.constantFrom<Endpoint>({ kind: 'node' }, { kind: 'external', name: 'ant' }, { kind: 'unknown', why: 'ant' }),
);
const anyEdges = fc.array(fc.record({ src: anyEnd, dst: anyEnd, port: fc.nat(3) }), { maxLength: 20 }).map((keys) =>
  keys.map(({ src, dst, port }): Edge => {
    const key = { src, dst, protocol: 'TCP' as const, port };
    return { ...edgeOf('a/Deployment/x -> a/Deployment/y 80'), ...key, id: edgeId(key) };
  }),
);

it('the edges that touch a namespace are found in the order of the list, each once', () => {
  fc.assert(
    fc.property(anyEdges, (edges) => {
      for (const name of ['ant', 'bee', 'cat', ''])
        expect(edgesTouching(edges, name)).toEqual(
          edges.filter(({ src, dst }) => [src, dst].some((end) => endpointNamespace(end) === name)),
        );
    }),
  );
});
