// Paths on record as rules: what is folded, what is not, and that a template matches no more than the shape of what it came from.
import { describe, expect, it } from 'vitest';
import { deriveAuthorization } from '../../src/candidates/authorization.ts';
import type { CandidateContext } from '../../src/candidates/network.ts';
import { generalisePaths, idFormOf, isGrpc, pathFault, readsTemplates } from '../../src/candidates/paths.ts';
import { compileWorld, evaluateConnection } from '../../src/model/evaluate.ts';
import { isTemplate, matchTemplate, templateProblem } from '../../src/model/istio-text.ts';
import { asArray, asObject } from '../../src/shared/pure/json.ts';
import fc from '../support/fast-check.ts';
import { edgesOf } from '../support/rig.ts';
import { connection, inventoryOf } from '../support/world.ts';

const models = (...names: readonly string[]): readonly string[] => names.map((name) => `/v2/models/${name}/infer`);
const pathsOf = (paths: readonly string[], templates = true): readonly string[] =>
  generalisePaths(paths, templates).map((one) => one.path);

describe('paths on record', () => {
  it.each([
    ['five names of models', models('a', 'b', 'c', 'd', 'e'), ['/v2/models/{*}/infer']],
    ['four names of models', models('a', 'b', 'c', 'd'), models('a', 'b', 'c', 'd')],
    ['three numbers', ['/runs/1/log', '/runs/2/log', '/runs/33/log'], ['/runs/{*}/log']],
    ['two numbers', ['/runs/1/log', '/runs/2/log'], ['/runs/1/log', '/runs/2/log']],
    [
      'UUIDs at the end',
      ['0', '1', '2'].map((digit) => `/jobs/123e4567-e89b-12d3-a456-42661417400${digit}`),
      ['/jobs/{*}'],
    ],
    ['words that are no collection', ['/api/users', '/api/admin', '/api/keys', '/api/x', '/api/y', '/api/z'], 'same'],
    ['a first segment', ['/1/x', '/2/x', '/3/x', '/4/x', '/5/x'], 'same'],
    ['verbs behind a colon', ['a', 'b', 'c', 'd', 'e'].map((name) => `/v1/models/${name}:predict`), 'same'],
    ['methods of gRPC', ['A', 'B', 'C', 'D', 'E', 'F'].map((name) => `/inference.models/${name}`), 'same'],
    ['numbers under two parents', ['/a/x/1', '/a/x/2', '/a/y/1', '/a/y/2'], 'same'],
    [
      'a version below a model',
      ['a', 'b', 'c', 'd', 'e'].flatMap((name) => ['1', '2', '3'].map((n) => `/v2/models/${name}/versions/${n}/infer`)),
      ['/v2/models/{*}/versions/{*}/infer'],
    ],
  ])('fold %s', (_, paths, wanted) => {
    expect(pathsOf(paths)).toEqual(wanted === 'same' ? [...paths].sort() : wanted);
  });

  it('stay as they are where the mesh reads no templates', () => {
    const paths = models('a', 'b', 'c', 'd', 'e', 'f');
    expect(pathsOf(paths, false)).toEqual(paths);
    expect([undefined, '1.21.5', '1.22.0', 'v1.29', '2.0', 'unknown'].map(readsTemplates)).toEqual([
      false,
      false,
      true,
      true,
      true,
      false,
    ]);
  });

  it('tell ids from words', () => {
    expect(['42', 'deadbeef0123', '2026-11-23', 'iris', 'facade', 'v2'].map(idFormOf)).toEqual([
      'a number',
      'a hash',
      'a day',
      undefined,
      undefined,
      undefined,
    ]);
    expect(
      ['/grpc.health.v1.Health/Check', '/v2/models', '/inference.GRPCInferenceService/ModelInfer'].map(isGrpc),
    ).toEqual([true, false, true]);
  });

  const segment = fc.oneof(
    fc.constantFrom(
      'v1',
      'v2',
      'models',
      'versions',
      'infer',
      'ready',
      'users',
      'iris',
      'a.b',
      'x:predict',
      '%2F',
      'ä',
      'p.S',
    ),
    fc.integer({ min: 0, max: 30 }).map(String),
    fc.stringMatching(/^[a-z]{1,3}$/u),
  );
  const path = fc.array(segment, { minLength: 1, maxLength: 6 }).map((parts) => `/${parts.join('/')}`);

  it('are all matched by what stands for them, and each template only by the shape of paths that were there', () => {
    fc.assert(
      fc.property(
        fc.array(path, { minLength: 1, maxLength: 60 }),
        fc.array(path, { maxLength: 60 }),
        (seen, others) => {
          const rules = generalisePaths(seen, true);
          expect(rules.flatMap((rule) => rule.from).toSorted()).toEqual([...new Set(seen)].toSorted());
          for (const { path: rule, from } of rules) {
            if (!isTemplate(rule)) {
              expect(from).toEqual([rule]);
              continue;
            }
            expect(rule).not.toContain('{**}');
            expect(templateProblem(rule)).toBeUndefined();
            expect(pathFault(rule, '1.29')).toBeUndefined();
            for (const one of from) expect(matchTemplate(rule, one), `${rule} ${one}`).toBe(true);
            // Whatever it matches has the very segments of a path on record, but for those that are folded.
            const folded = rule.split('/').map((one) => one === '{*}');
            for (const other of others)
              if (matchTemplate(rule, other)) {
                const parts = other.split('/');
                expect(parts.length).toBe(folded.length);
                expect(parts.every((part, at) => folded[at] === true || part === rule.split('/')[at])).toBe(true);
              }
          }
        },
      ),
    );
  });
});

describe('who may call, by method and path', () => {
  const inventory = (version: string) =>
    inventoryOf({
      mesh: { kind: 'istio', mode: 'sidecar', version },
      workloads: {
        'shop/Deployment/web': { labels: { app: 'web' }, mesh: 'sidecar', account: 'web' },
        'serve/Deployment/model': { labels: { app: 'model' }, ports: [8080], mesh: 'sidecar', account: 'model' },
      },
      services: [
        {
          name: 'serve/model',
          selects: ['serve/Deployment/model'],
          selector: { app: 'model' },
          ports: ['http:80->8080'],
        },
      ],
    });
  const seen = (l7: string): string => `shop/Deployment/web -> serve/Deployment/model 8080 ${l7}`;
  const derive = (version: string, l7s: readonly string[]) => {
    const known = inventory(version);
    const edges = edgesOf([...l7s.map(seen), 'shop/Deployment/web -> serve/Deployment/model 8080'].join('\n'));
    const context: CandidateContext = {
      inventory: known,
      edges,
      system: {},
      waived: () => false,
      meshed: new Set(),
      plaintextExempt: () => false,
    };
    const server = known.workloads.find((one) => one.name === 'model');
    if (server === undefined) throw new Error('the server is there');
    return { known, ...deriveAuthorization(context, server) };
  };
  const operations = (object: unknown): readonly unknown[] =>
    asArray(asObject(asObject(object as never)['spec'])['rules']).flatMap((rule) =>
      asArray(asObject(rule)['to']).map((to) => asObject(to)['operation']),
    );
  const l7s = [...models('a', 'b', 'c', 'd', 'e').map((path) => `POST ${path}`), 'GET /v2/health/ready'];

  it('is a template for many models, with the paths that it stands for in the note, and admits that and nothing else', () => {
    const { known, object, rules } = derive('1.29', l7s);
    expect(operations(object)).toEqual([
      { ports: ['8080'], methods: ['GET'], paths: ['/v2/health/ready'] },
      { ports: ['8080'], methods: ['POST'], paths: ['/v2/models/{*}/infer'] },
    ]);
    expect(rules[0]?.note).toBe('POST /v2/models/{*}/infer stands for 5 paths on record, such as /v2/models/a/infer');
    const world = compileWorld({ ...known, policies: object === undefined ? [] : [object] });
    const ask = (l7: string): string =>
      evaluateConnection(world, connection(seen(l7)), { networkPolicy: false }).answer;
    for (const one of l7s) expect(ask(one), one).toBe('allowed');
    for (const one of [
      'GET /v2/models/a/infer',
      'POST /v2/models/a/unload',
      'POST /v2/models/a/b/infer',
      'POST /v2/repository/index',
    ])
      expect(ask(one), one).toBe('denied');
  });

  it('is a list where the mesh is too old, and the port alone where a path would be read as a pattern', () => {
    expect(operations(derive('1.21', l7s).object)[1]).toMatchObject({ paths: models('a', 'b', 'c', 'd', 'e') });
    expect(operations(derive('1.29', ['POST /x/{*}/y']).object)).toEqual([{ ports: ['8080'] }]);
  });

  it('is the path as the proxy compares it', () => {
    expect(operations(derive('1.29', ['GET /a/./b/../%63']).object)).toEqual([
      { ports: ['8080'], methods: ['GET'], paths: ['/a/c'] },
    ]);
  });
});
