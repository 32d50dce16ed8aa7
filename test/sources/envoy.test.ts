import { describe, expect, it } from 'vitest';
import type { Flow } from '../../src/model/flow.ts';
import { envoySource } from '../../src/sources/envoy/index.ts';
import { describeEdges, fold } from './cluster.ts';
import { failureOf, input, readAll } from './flow-input.ts';

type Json = Readonly<Record<string, unknown>>;

const inbound: Json = {
  start_time: '2026-10-05T08:00:00.123Z',
  method: 'GET',
  path: '/v1/items',
  protocol: 'HTTP/1.1',
  response_code: 200,
  response_flags: '-',
  response_code_details: 'via_upstream',
  connection_termination_details: null,
  upstream_host: '10.244.1.11:8080',
  upstream_cluster: 'inbound|8080||;',
  upstream_local_address: '127.0.0.6:41111',
  downstream_local_address: '10.244.1.11:8080',
  downstream_remote_address: '10.244.1.10:43210',
  requested_server_name: 'outbound_.80_._.api.shop.svc.cluster.local',
  user_agent: 'curl/8',
};
const outbound: Json = {
  ...inbound,
  upstream_cluster: 'outbound|80||api.shop.svc.cluster.local;',
  upstream_local_address: '10.244.1.10:43210',
  downstream_local_address: '10.96.0.11:80',
  downstream_remote_address: '10.244.1.10:51000',
  requested_server_name: null,
};
const peers: Json = { downstream_peer_uri_san: null, downstream_tls_version: null };
const web = 'spiffe://cluster.local/ns/shop/sa/web';

async function readOne(record: Json): Promise<Flow> {
  const { flows } = await readAll(envoySource, input(JSON.stringify(record)));
  const [flow] = flows;
  if (flow === undefined || flows.length !== 1) throw new Error(`${flows.length} flows instead of one`);
  return flow;
}

async function ignoredBy(record: Json): Promise<readonly string[]> {
  const { flows, report } = await readAll(envoySource, input(JSON.stringify(record)));
  expect(flows).toEqual([]);
  expect(report.records).toBe(1);
  return Object.keys(report.ignored);
}

describe('records of Envoy', () => {
  it('of the receiving proxy name the pod by the address that was dialled, and the port behind NAT', async () => {
    expect(await readOne(inbound)).toMatchObject({
      first: Date.UTC(2026, 9, 5, 8, 0, 0, 123),
      src: { ip: '10.244.1.10' },
      dst: { ip: '10.244.1.11' },
      port: 8080,
      view: 'ingress',
      verdict: 'allowed',
      l7: 'GET /v1/items',
      stage: 'open',
      count: 1,
    });
  });

  it('of the calling proxy name the pod that was reached, not the Service', async () => {
    expect(await readOne(outbound)).toMatchObject({
      src: { ip: '10.244.1.10' },
      dst: { ip: '10.244.1.11' },
      port: 8080,
      view: 'egress',
      mtls: 'unknown',
    });
  });

  it.each([
    ['15006, the listener of the proxy', { downstream_local_address: '10.244.1.11:15006' }, 8080],
    ['a cluster named by the port of the Service', { upstream_cluster: 'inbound|80||;' }, 8080],
    [
      'nothing else than the cluster',
      { downstream_local_address: null, upstream_host: null, upstream_cluster: 'inbound|9090||;' },
      9090,
    ],
  ])('take the real port with %s', async (_, parts, port) => {
    expect((await readOne({ ...inbound, pod_name: 'api-0', pod_namespace: 'shop', ...parts })).port).toBe(port);
  });

  it.each([
    [
      'the certificate of the peer',
      { ...peers, downstream_peer_uri_san: web, downstream_tls_version: 'TLSv1.3' },
      'yes',
    ],
    ['the server name that proxies send', {}, 'yes'],
    ['the lack of both', { ...peers, requested_server_name: null }, 'no'],
    ['the lack of a server name', { requested_server_name: null }, 'no'],
    ['the lack of one that was not logged', { requested_server_name: undefined }, 'unknown'],
    ['TLS of the application', { requested_server_name: 'db.example' }, 'unknown'],
    [
      'TLS without a certificate',
      { ...peers, requested_server_name: null, downstream_tls_version: 'TLSv1.3' },
      'unknown',
    ],
    [
      'the lack of both, whatever the transport complains of',
      { ...peers, requested_server_name: null, upstream_transport_failure_reason: 'TLS_error' },
      'no',
    ],
  ])('tell mTLS by %s', async (_, parts, mtls) => {
    expect((await readOne({ ...inbound, ...parts })).mtls).toBe(mtls);
  });

  it.each([
    ['spiffe://cluster.local/ns/shop/sa/web', 'cluster.local/ns/shop/sa/web'],
    ['spiffe://td/ns/a/sa/b,https://other', 'td/ns/a/sa/b'],
    ['https://not-a-spiffe-name', undefined],
    ['spiffe://td/ns/a b/sa/c', undefined],
  ])('take the principal out of %s', async (name, principal) => {
    expect((await readOne({ ...inbound, ...peers, downstream_peer_uri_san: name })).principal).toBe(principal);
  });

  it.each([
    ['allowed', {}],
    ['allowed', { response_code: 403, response_code_details: 'via_upstream' }],
    ['denied', { response_code: 403, response_code_details: 'rbac_access_denied_matched_policy[none]' }],
    ['denied', { response_code: 403, response_code_details: 'ext_authz_denied' }],
    [
      'denied',
      {
        method: null,
        path: null,
        response_code: 0,
        connection_termination_details: 'rbac_access_denied_matched_policy[ns[a]-policy[b]-rule[0]]',
      },
    ],
    ['audit', { rbac: { istio_dry_run_allow_shadow_engine_result: 'denied' } }],
    ['audit', { rbac_tcp: { istio_dry_run_deny_shadow_engine_result: 'denied' } }],
    ['allowed', { rbac: { istio_dry_run_allow_shadow_engine_result: 'allowed' } }],
    ['denied', { response_code_details: 'rbac_access_denied', rbac: { x_shadow_engine_result: 'denied' } }],
  ])('are %s: %j', async (verdict, parts) => {
    expect((await readOne({ ...inbound, ...parts })).verdict).toBe(verdict);
  });

  it.each([
    [{ response_code_details: 'filter_chain_not_found' }],
    [{ response_code_details: null }],
    [{ response_code_details: 'filter_chain_not_found', user_agent: 'kube-probe/1.34' }],
  ])('that STRICT refused are denied plaintext: %j', async (parts) => {
    expect(
      await readOne({
        ...inbound,
        method: null,
        path: null,
        protocol: null,
        response_code: 0,
        response_flags: 'NR',
        upstream_host: null,
        upstream_cluster: null,
        requested_server_name: null,
        ...parts,
      }),
    ).toMatchObject({ verdict: 'denied', mtls: 'no', view: 'ingress', port: 8080, src: { ip: '10.244.1.10' } });
  });

  it.each([
    ['/v1/x?token=1', 'GET /v1/x'],
    ['/v1/x#part', 'GET /v1/x'],
    ['/v1/x;jsessionid=1?y', 'GET /v1/x'],
    ['http://api/v1/x?y', 'GET /v1/x'],
    ['/v1/models/m:predict', 'GET /v1/models/m:predict'],
    ['*', undefined],
  ])('keep of the path %s no query', async (path, l7) => {
    const flow = await readOne({ ...inbound, path });
    expect(flow.l7).toBe(l7);
    expect(JSON.stringify(flow)).not.toMatch(/token|jsessionid/);
  });

  it('do not believe an address that a header claims', async () => {
    const forged = { ...inbound, x_forwarded_for: '10.244.2.20', downstream_remote_address: '10.244.2.20:0' };
    expect((await readOne(forged)).src).toMatchObject({ labels: {} });
    expect((await readOne(forged)).src.ip).toBeUndefined();
    expect(await readOne({ ...forged, ...peers, downstream_peer_uri_san: web })).toMatchObject({
      src: { namespace: 'shop', serviceAccount: 'web' },
    });
    const direct = { ...forged, downstream_direct_remote_address: '10.244.1.10:4000' };
    expect((await readOne(direct)).src.ip).toBe('10.244.1.10');
  });

  it.each([
    ['UF', 'the upstream was not reached or did not answer'],
    ['UH', 'the upstream was not reached or did not answer'],
    ['UC', 'the upstream was not reached or did not answer'],
    ['URX,UF', 'the upstream was not reached or did not answer'],
  ])('of a call that failed with %s are no evidence', async (flags, reason) => {
    expect(await ignoredBy({ ...outbound, response_code: 503, response_flags: flags })).toEqual([reason]);
  });

  it.each([
    ['whose caller gave up before an answer', { response_code: 0, response_flags: 'DC' }],
    ['that was about to be tried again', { response_code: 0, response_flags: '-', upstream_local_address: null }],
  ])('of a call %s are no evidence, though they name the host that was tried', async (_name, parts) => {
    expect(await ignoredBy({ ...outbound, ...parts })).toEqual(['the upstream was not reached or did not answer']);
  });

  it('of a call that was answered are evidence, though its caller left before the end', async () => {
    expect(await readOne({ ...outbound, response_code: 200, response_flags: 'DC' })).toMatchObject({
      verdict: 'allowed',
    });
  });

  it.each([
    ['a connection of the proxy itself', { upstream_cluster: 'prometheus_stats' }],
    ['a connection of the proxy itself', { upstream_cluster: 'agent' }],
    ['a probe of the kubelet', { user_agent: 'kube-probe/1.34', requested_server_name: null }],
    ['an answer of the proxy itself, without an upstream', { upstream_cluster: null, response_code: 404 }],
  ])('are left out: %s', async (reason, parts) => {
    expect(await ignoredBy({ ...inbound, ...parts })).toEqual([reason]);
  });

  it('of a caller who claims to be a kubelet and shows a certificate are kept', async () => {
    const named = { ...inbound, ...peers, user_agent: 'kube-probe/1.34', downstream_peer_uri_san: web };
    expect((await readOne(named)).principal).toBe('cluster.local/ns/shop/sa/web');
  });

  it('of a waypoint name the caller and the pod behind it', async () => {
    expect(
      await readOne({
        ...inbound,
        upstream_cluster: 'inbound-vip|80|http|api.shop.svc.cluster.local;',
        upstream_host: 'envoy://connect_originate/10.244.1.11:8080',
        requested_server_name: null,
      }),
    ).toMatchObject({
      dst: { service: { namespace: 'shop', name: 'api' } },
      port: 80,
      view: 'unknown',
      mtls: 'unknown',
    });
  });

  it('seen by both proxies count once; what the callee denied was not allowed', async () => {
    const denied = { response_code: 403, response_code_details: 'rbac_access_denied_matched_policy[none]' };
    const { edges } = await fold(envoySource, [
      input([outbound, outbound, { ...outbound, response_code: 403 }].map((one) => JSON.stringify(one)).join('\n')),
      input([inbound, inbound, { ...inbound, ...denied }].map((one) => JSON.stringify(one)).join('\n')),
    ]);
    expect(describeEdges(edges)).toBe(
      'shop/Deployment/web -> shop/Deployment/api 8080/TCP GET /v1/items | allowed 2, denied 1 | mtls yes\n',
    );
  });
});

describe('bad input of Envoy', () => {
  const good = JSON.stringify(inbound);

  it.each([
    ['no "start_time"', JSON.stringify({ ...inbound, start_time: 'yesterday' })],
    ['no "downstream_remote_address"', '{"start_time":"2026-10-05T08:00:00Z"}'],
    [
      'no port of the destination',
      JSON.stringify({
        ...inbound,
        downstream_local_address: 'x',
        upstream_host: null,
        upstream_cluster: 'inbound|0||',
      }),
    ],
    ['neither JSON nor', 'GET /x 200'],
    ['neither JSON nor', good.slice(1)],
    ['the JSON record breaks off', good.slice(0, 200)],
  ])('aborts with file and line, or is skipped and counted: %s', async (message, text) => {
    const failure = await failureOf(readAll(envoySource, input(`${good}\n${text}\n${good}\n`, 'access.jsonl')));
    expect(failure).toMatchObject({ code: 'SP241', exit: 2, where: 'access.jsonl:2' });
    expect(failure.message).toContain(message);
    const { flows, report } = await readAll(envoySource, input(`${good}\n${text}\n${good}\n`), 'skip');
    expect(report).toMatchObject({ records: 2, bad: 1 });
    expect(flows).toHaveLength(2);
  });

  it('a record that breaks off at the end is counted', async () => {
    const { report } = await readAll(envoySource, input(`${good}\n${good.slice(0, 99)}`), 'skip');
    expect(report).toMatchObject({ records: 1, bad: 1 });
  });

  it('an array that breaks off is counted, and what was whole in it is kept', async () => {
    const { report } = await readAll(envoySource, input(`[\n${good},\n${good}\n`), 'skip');
    expect(report).toMatchObject({ records: 2, bad: 1 });
    expect((await readAll(envoySource, input(`[\n${good},\n${good}\n]\n`))).report).toMatchObject({
      records: 2,
      bad: 0,
    });
  });

  it('shows hostile text without its control characters', async () => {
    const { message } = await failureOf(readAll(envoySource, input('\u001b]0;owned\u0007\u202e GET')));
    expect(message).not.toMatch(/[\u0000-\u001f\u202e]/);
  });

  it('takes keys of the prototype for what they are: keys', async () => {
    const hostile = `${good.slice(0, -1)},"__proto__":{"method":"DELETE"},"constructor":1}`;
    expect((await readAll(envoySource, input(hostile))).flows[0]?.l7).toBe('GET /v1/items');
  });
});
