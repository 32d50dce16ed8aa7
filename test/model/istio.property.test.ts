import fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { compileWorld, evaluateConnection } from '../../src/model/evaluate.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { ConnectionQuery } from '../../src/model/verdict.ts';
import { naiveAllows } from '../support/naive-istio.ts';
import type { NaiveCall, NaivePeer, NaivePolicy, NaiveRequest } from '../support/naive-istio.ts';
import { inventoryOf } from '../support/world.ts';

const API = 'shop/Deployment/api';
const CLIENTS = {
  web: { id: 'shop/Deployment/web', ip: '10.0.0.1', client: { namespace: 'shop', account: 'web' } },
  train: { id: 'batch/Deployment/train', ip: '10.0.1.1', client: { namespace: 'batch', account: 'train' } },
  old: { id: 'legacy/Deployment/old', ip: '10.0.2.1', client: undefined },
} as const;

const CAST = inventoryOf({
  mesh: { kind: 'istio', mode: 'sidecar' },
  workloads: {
    [API]: {
      labels: { app: 'api', tier: 'back' },
      mesh: 'sidecar',
      account: 'api',
      ports: [8080, 5432],
      pods: ['10.0.0.9@n1'],
    },
    [CLIENTS.web.id]: { labels: { app: 'web' }, mesh: 'sidecar', account: 'web', pods: ['10.0.0.1@n1'] },
    [CLIENTS.train.id]: { labels: { app: 'train' }, mesh: 'sidecar', account: 'train', pods: ['10.0.1.1@n1'] },
    [CLIENTS.old.id]: { labels: { app: 'old' }, pods: ['10.0.2.1@n1'] },
  },
  services: [{ name: 'shop/api', selects: [API], ports: ['http:8080', 'tcp-sql:5432'] }],
});

// ---------------------------------------------------------------- Policies and requests

const pick = <Value>(...values: readonly Value[]): fc.Arbitrary<Value> => fc.constantFrom(...values);
const some = (...values: readonly string[]): fc.Arbitrary<readonly string[]> =>
  fc.uniqueArray(pick(...values), { minLength: 1, maxLength: 2 });

const PRINCIPALS = [
  '*',
  'cluster.local/ns/shop/sa/web',
  'cluster.local/ns/shop/*',
  '*/sa/train',
  '*/ns/batch/sa/train',
  'x/*/y',
  'other/ns/shop/sa/web',
];
const NAMESPACES = ['shop', 'batch', 'sh*', '*op', 's*p', '*', 'b*', '*sa', 'legacy'];
const ACCOUNTS = ['web', 'train', 'batch/train', 'shop/web', 'shop/train'];
const BLOCKS = ['10.0.0.0/24', '10.0.1.1', '10.0.0.0/16', '192.168.0.0/16', '10.0.0.9', '10.0.0.8/31'];
const PORTS = ['8080', '5432', '80'];
const METHODS = ['GET', 'POST', 'P*', '*', '*T', 'get'];
const PATHS = ['/', '/a', '/a/*', '*', '*/b', '/a/{*}', '/{*}/b', '/a/{**}', '/{**}', '/A', '/a/{*}/c'];
const HOSTS = ['api.shop', 'API.shop', '*.local', 'api.*', '*', '*:8080', 'x.example'];
const HEADERS = ['ml', 'm*', '*l', '*', 'x'];
const TOKENS = ['*', 'issuer/sub'];

const optional = (
  fields: Readonly<Record<string, fc.Arbitrary<readonly string[]>>>,
): fc.Arbitrary<Readonly<Record<string, readonly string[]>>> =>
  fc
    .uniqueArray(pick(...Object.keys(fields)), { minLength: 1, maxLength: 3 })
    .chain((keys) => fc.record(Object.fromEntries(keys.map((key) => [key, fields[key] ?? fc.constant([])]))));

const source = fc
  .oneof(
    optional({
      principals: some(...PRINCIPALS),
      notPrincipals: some(...PRINCIPALS),
      namespaces: some(...NAMESPACES),
      notNamespaces: some(...NAMESPACES),
      ipBlocks: some(...BLOCKS),
      notIpBlocks: some(...BLOCKS),
      requestPrincipals: some(...TOKENS),
      notRequestPrincipals: some(...TOKENS),
    }),
    optional({ serviceAccounts: some(...ACCOUNTS), notServiceAccounts: some(...ACCOUNTS), ipBlocks: some(...BLOCKS) }),
  )
  .map((fields) => ({ source: fields }));
const operation = optional({
  ports: some(...PORTS),
  notPorts: some(...PORTS),
  methods: some(...METHODS),
  notMethods: some(...METHODS),
  paths: some(...PATHS),
  notPaths: some(...PATHS),
  hosts: some(...HOSTS),
  notHosts: some(...HOSTS),
}).map((fields) => ({ operation: fields }));

const KEYS: Readonly<Record<string, readonly string[]>> = {
  'source.ip': BLOCKS,
  'source.namespace': NAMESPACES,
  'source.principal': PRINCIPALS,
  'source.serviceAccount': ACCOUNTS,
  'destination.ip': BLOCKS,
  'destination.port': PORTS,
  'request.headers[X-Team]': HEADERS,
  'request.auth.principal': TOKENS,
};
const condition = pick(...Object.keys(KEYS)).chain((key) => {
  const values = some(...(KEYS[key] ?? []));
  return fc.oneof(
    values.map((list) => ({ key, values: list })),
    values.map((list) => ({ key, notValues: list })),
    fc.tuple(values, values).map(([list, others]) => ({ key, values: list, notValues: others })),
  );
});

const list = <Value>(one: fc.Arbitrary<Value>): fc.Arbitrary<readonly Value[]> =>
  fc.array(one, { minLength: 1, maxLength: 2 });
const rule = fc.record({ from: list(source), to: list(operation), when: list(condition) }, { requiredKeys: [] });
const metadata = (namespaces: readonly string[]): fc.Arbitrary<NaivePeer['metadata']> =>
  fc.record(
    {
      name: fc.string({ unit: pick('a', 'b', 'c', 'd'), minLength: 3, maxLength: 5 }),
      namespace: pick(...namespaces),
      annotations: pick({ 'istio.io/dry-run': 'true' }, { 'istio.io/dry-run': 'false' }, {}),
      creationTimestamp: pick('2026-01-01T00:00:00Z', '2026-01-01T00:00:01Z', '2026-01-01T00:00:02Z'),
    },
    { requiredKeys: ['name', 'namespace', 'creationTimestamp'] },
  );
const selector = pick(
  { matchLabels: { app: 'api' } },
  { matchLabels: { tier: 'back' } },
  { matchLabels: { app: 'web' } },
);

const policy: fc.Arbitrary<NaivePolicy> = fc.record({
  kind: fc.constant('AuthorizationPolicy' as const),
  metadata: metadata(['shop', 'shop', 'shop', 'istio-system', 'batch']),
  spec: fc.record(
    { selector, action: pick('ALLOW', 'DENY', 'AUDIT'), rules: fc.array(rule, { maxLength: 2 }) },
    { requiredKeys: [] },
  ),
});
const mode = pick('STRICT', 'PERMISSIVE', 'DISABLE', 'UNSET').map((value) => ({ mode: value }));
const peer: fc.Arbitrary<NaivePeer> = fc.record({
  kind: fc.constant('PeerAuthentication' as const),
  metadata: metadata(['shop', 'shop', 'istio-system', 'batch']),
  spec: fc.record(
    { selector, mtls: mode, portLevelMtls: fc.dictionary(pick('8080', '5432', '80'), mode, { maxKeys: 2 }) },
    { requiredKeys: [] },
  ),
});

const request: fc.Arbitrary<NaiveRequest> = fc.record({
  method: pick('GET', 'POST', 'PUT'),
  path: pick('/', '/a', '/a/b', '/x/b', '/a/b/c', '/a/', '/a?b', '/A'),
  // Names of the Service: any other Host would take the request past the client's proxy.
  host: pick('api.shop', 'Api.Shop', 'api.shop.svc.cluster.local', 'api.shop:8080'),
  headers: pick<Readonly<Record<string, string>>>({}, { 'x-team': 'ml' }, { 'x-team': 'ops' }),
});
const call = fc.record({ who: pick('web' as const, 'train' as const, 'old' as const), http: fc.boolean(), request });
type Call = typeof call extends fc.Arbitrary<infer Value> ? Value : never;

const world = fc.uniqueArray(fc.oneof({ weight: 3, arbitrary: policy }, { weight: 1, arbitrary: peer }), {
  maxLength: 5,
  selector: ({ kind, metadata: { namespace, name } }) => `${kind} ${namespace} ${name}`,
});
type Objects = typeof world extends fc.Arbitrary<infer Value> ? Value : never;

function naiveOf({ who, http, request: asked }: Call): NaiveCall {
  const { client, ip } = CLIENTS[who];
  return {
    client,
    clientIp: ip,
    server: { namespace: 'shop', labels: { app: 'api', tier: 'back' }, ip: '10.0.0.9' },
    port: http ? 8080 : 5432,
    request: http ? asked : undefined,
  };
}

function queryOf({ who, http, request: asked }: Call): ConnectionQuery {
  const ends = { src: { kind: 'workload', id: CLIENTS[who].id }, dst: { kind: 'workload', id: API } } as const;
  const base = { ...ends, protocol: 'TCP', port: http ? 8080 : 5432 } as const;
  const { method, path, host, headers } = asked;
  return http ? { ...base, l7: `${method} ${path}`, request: { host, headers } } : base;
}

function answer(objects: Objects, query: ConnectionQuery): string {
  const policies = objects.map((one) => ({ ...one, apiVersion: 'security.istio.io/v1' })) as unknown as KubeManifest[];
  return evaluateConnection(compileWorld({ ...CAST, policies }), query).answer;
}

describe('the evaluator and its naive twin', () => {
  it('agree on every request of which everything is known', () => {
    const seen = new Map<string, number>();
    fc.assert(
      fc.property(world, call, (objects, one) => {
        const naive = naiveAllows(objects, naiveOf(one)) ? 'allowed' : 'denied';
        seen.set(naive, (seen.get(naive) ?? 0) + 1);
        expect(answer(objects, queryOf(one))).toBe(naive);
      }),
      { numRuns: 4000 },
    );
    for (const one of ['allowed', 'denied']) expect(seen.get(one) ?? 0, one).toBeGreaterThan(400);
  });

  it('agree where less is known and the evaluator is sure', () => {
    let sure = 0;
    let unsure = 0;
    fc.assert(
      fc.property(world, call, fc.array(request, { minLength: 6, maxLength: 6 }), (objects, one, others) => {
        const { src, dst, protocol, port } = queryOf({ ...one, http: true });
        const query = { src, dst, protocol, port };
        const said = answer(objects, query);
        if (said === 'unknown') {
          unsure += 1;
          return;
        }
        sure += 1;
        for (const other of others) {
          const naive = naiveAllows(objects, naiveOf({ ...one, http: true, request: other })) ? 'allowed' : 'denied';
          expect(naive).toBe(said);
        }
      }),
      { numRuns: 2000 },
    );
    expect(sure).toBeGreaterThan(400);
    expect(unsure).toBeGreaterThan(40);
  });

  it('agree that one more DENY never lets anybody in, and one more ALLOW beside others never keeps anybody out', () => {
    fc.assert(
      fc.property(world, policy, call, (objects, more, one) => {
        const key = ({ kind, metadata: { namespace, name } }: NaivePolicy | NaivePeer): string =>
          `${kind} ${namespace} ${name}`;
        fc.pre(!objects.some((object) => key(object) === key(more)));
        const query = queryOf(one);
        const before = answer(objects, query);
        if (before === 'denied') {
          const after = answer([...objects, { ...more, spec: { ...more.spec, action: 'DENY' } }], query);
          expect(after).toBe('denied');
        }
        const everybody: NaivePolicy = {
          kind: 'AuthorizationPolicy',
          metadata: { name: 'everybody', namespace: 'shop' },
          spec: { rules: [{}] },
        };
        if (before === 'allowed') expect(answer([...objects, everybody], query)).toBe('allowed');
      }),
      { numRuns: 1000 },
    );
  });
});
