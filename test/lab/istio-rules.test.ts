// Each rule of Istio's documentation, as test/fixtures/istio-rules has it, on real proxies under a real istiod: what is expected there,
// and so what the evaluator answers, is what the packets do.
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { KubeManifest } from '../../src/model/object.ts';
import { namespaceOf } from '../../src/model/object.ts';
import type { Json } from '../../src/shared/pure/json.ts';
import { asString, getPath } from '../../src/shared/pure/json.ts';
import { CAST, formatRow, readCast, readRuleCases, servicePortOf } from '../support/istio-rules.ts';
import type { RuleCase, RuleRow } from '../support/istio-rules.ts';
import type { Probe, Prober, ProbeResult } from './istio-probe.ts';
import { startProber } from './istio-probe.ts';
import { startStage } from './stage/index.ts';
import type { Stage } from './stage/index.ts';

const CASES = readRuleCases();

/** A proxy of a client would go on using a connection that was judged by the policies before: here each request needs its own. */
const ONE_REQUEST_A_CONNECTION = {
  apiVersion: 'networking.istio.io/v1alpha3',
  kind: 'EnvoyFilter',
  metadata: { name: 'one-request-a-connection', namespace: 'istio-system' },
  spec: {
    configPatches: [
      {
        applyTo: 'NETWORK_FILTER',
        match: {
          context: 'SIDECAR_INBOUND',
          listener: { filterChain: { filter: { name: 'envoy.filters.network.http_connection_manager' } } },
        },
        patch: {
          operation: 'MERGE',
          value: {
            typed_config: {
              '@type':
                'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
              common_http_protocol_options: { max_requests_per_connection: 1 },
            },
          },
        },
      },
    ],
  },
};

const PLURALS: Readonly<Record<string, string>> = {
  PeerAuthentication: 'peerauthentications',
  AuthorizationPolicy: 'authorizationpolicies',
  RequestAuthentication: 'requestauthentications',
  DestinationRule: 'destinationrules',
  Sidecar: 'sidecars',
};

function collectionOf(policy: KubeManifest): string {
  const { apiVersion, kind } = policy;
  return `/apis/${apiVersion}/namespaces/${namespaceOf(policy) ?? 'default'}/${PLURALS[kind] ?? kind}`;
}

function textAt(body: unknown, ...path: readonly string[]): string | undefined {
  return asString(getPath(body as Json, path));
}

let stage: Stage;
const probers = new Map<string, Prober>();
const addresses = new Map<string, string>();
const clusterIps = new Map<string, string>();
const cast = readCast();
const table: string[] = [];

beforeAll(async () => {
  stage = await startStage({ manifests: [...cast, ONE_REQUEST_A_CONNECTION] });
  for (const [name, id] of Object.entries(CAST)) {
    const [namespace = ''] = id.split('/');
    const [pod = ''] = await stage.readyPods(namespace, { app: name });
    probers.set(name, startProber(await stage.netnsOf({ namespace, name: pod })));
    const live = await stage.client.must('GET', `/api/v1/namespaces/${namespace}/pods/${pod}`);
    addresses.set(name, textAt(live.body, 'status', 'podIP') ?? '');
    const service = await stage.client.request('GET', `/api/v1/namespaces/${namespace}/services/${name}`);
    const ip = service.status === 200 ? textAt(service.body, 'spec', 'clusterIP') : undefined;
    if (ip !== undefined && ip !== 'None') clusterIps.set(name, ip);
  }
});

afterAll(async () => {
  for (const prober of probers.values()) await prober.close();
  await (stage as Stage | undefined)?.down();
  process.stdout.write(`${table.join('\n')}\n`);
});

/** What a client dials: the Service where one leads to the port, else the pod. */
function probeOf({ to, port, method, path, host, headers }: RuleRow): Probe {
  const service = servicePortOf(cast, to, port);
  const [namespace = ''] = (CAST[to] ?? '').split('/');
  const dialled = service ?? port;
  const pod = addresses.get(to) ?? '';
  const ip = service === undefined ? pod : (clusterIps.get(to) ?? pod);
  if (port === 5432) return { ip, port: dialled };
  const name = service === undefined ? `${pod}:${port}` : `${to}.${namespace}:${dialled}`;
  return {
    ip,
    port: dialled,
    http: { method: method ?? 'GET', path: path ?? '/', host: host ?? name, headers: headers ?? {} },
  };
}

async function probeAll(rows: readonly RuleRow[]): Promise<readonly ProbeResult[]> {
  const out = new Map<RuleRow, ProbeResult>();
  const clients = new Set(rows.map(({ from }) => from));
  await Promise.all(
    [...clients].map(async (from) => {
      const own = rows.filter((row) => row.from === from);
      const results = (await probers.get(from)?.probe(own.map(probeOf))) ?? [];
      own.forEach((row, index) => out.set(row, results[index] ?? { reached: false, text: 'no result' }));
    }),
  );
  return rows.map((row) => out.get(row) ?? { reached: false, text: 'not asked' });
}

const seen = ({ reached }: ProbeResult): 'allowed' | 'denied' => (reached ? 'allowed' : 'denied');
const disagrees = (row: RuleRow, result: ProbeResult): boolean =>
  row.expect !== 'unknown' && row.expect !== seen(result);

/** Asks until what is expected has come twice in a row, or for so long that it would have come by now. */
async function settled(rows: readonly RuleRow[], limitMs: number): Promise<readonly ProbeResult[]> {
  const until = Date.now() + limitMs;
  let good = 0;
  for (;;) {
    const results = await probeAll(rows);
    good = rows.some((row, index) => disagrees(row, results[index] ?? { reached: false, text: '' })) ? 0 : good + 1;
    if (good >= 2 || Date.now() > until) return results;
    await delay(100);
  }
}

/** Two of a kind in a namespace: which of them is older may decide, and creation times are whole seconds. */
function isAgeTold(policies: readonly KubeManifest[]): boolean {
  const keys = policies.map((policy) => `${policy.kind} ${namespaceOf(policy) ?? ''}`);
  return new Set(keys).size < keys.length && !policies.every(({ kind }) => kind === 'AuthorizationPolicy');
}

async function create(policies: readonly KubeManifest[]): Promise<void> {
  for (const [index, policy] of policies.entries()) {
    if (index > 0 && isAgeTold(policies)) await delay(1100);
    await stage.client.must('POST', collectionOf(policy), policy);
  }
}

async function remove(policies: readonly KubeManifest[]): Promise<void> {
  for (const policy of policies)
    await stage.client.request('DELETE', `${collectionOf(policy)}/${policy.metadata.name}`);
}

/** Without policies everybody reaches everybody: what is asked before each case is that the last one is over. */
function baseline(rows: readonly RuleRow[]): readonly RuleRow[] {
  return rows.map((row) => ({ ...row, expect: 'allowed' }));
}

async function replay({ policies, rows }: RuleCase): Promise<readonly string[]> {
  const before = await settled(baseline(rows), 20_000);
  const closed = rows.flatMap((row, index) => (before[index]?.reached === true ? [] : [formatRow(row)]));
  if (closed.length > 0) return closed.map((row) => `${row}: closed before any policy stood`);
  try {
    await create(policies);
    // What must stay as it was could be asked before the proxies have heard of anything.
    await delay(300);
    const results = await settled(rows, 8000);
    return rows.flatMap((row, index) => {
      const result = results[index] ?? { reached: false, text: '' };
      table.push(`${row.expect.padEnd(8)}${seen(result).padEnd(8)}${formatRow(row)}: ${result.text.slice(0, 60)}`);
      return disagrees(row, result) ? [`${formatRow(row)}: expected ${row.expect}, but ${result.text}`] : [];
    });
  } finally {
    await remove(policies);
  }
}

describe('the rules of Istio on real proxies', () => {
  it.each(CASES.map((one) => [one.name, one] as const))('%s', async (name, one) => {
    table.push(`--- ${name}`);
    expect(await replay(one)).toEqual([]);
  });

  it('are so on a network that lost no packet', async () => {
    expect(await stage.verdictDrops()).toBe(0);
  });
});
