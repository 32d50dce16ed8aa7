import type { Mtls, Verdict3 } from '../../model/edge.ts';
import type { Flow, RawEnd } from '../../model/flow.ts';
import type { Address, Ends, Raw } from '../ends.ts';
import { createEnds, isRaw, operationOf, parseAddress, parsePrincipal, parseServiceName, textAt } from '../ends.ts';
import { createTimeParser } from '../time.ts';
import type { Payload, Reporter } from '../unwrap.ts';
import { parseAccessLine } from './text.ts';

export type EnvoyRecord =
  | { readonly kind: 'flows'; readonly flows: readonly Flow[]; readonly time: number }
  | { readonly kind: 'ignored'; readonly reason: string; readonly time?: number }
  /** Of the proxy's or its agent's own messages in the same stream. */
  | { readonly kind: 'message' }
  | { readonly kind: 'bad'; readonly message: string };

/** Names under which the fields are met, beginning with Istio's own; those after it are of widespread custom formats. */
const NAMES = {
  time: ['start_time', 'timestamp', 'time'],
  method: ['method', 'request_method'],
  path: ['path', 'request_path', 'x_envoy_original_path'],
  code: ['response_code', 'status'],
  flags: ['response_flags'],
  details: ['response_code_details'],
  termination: ['connection_termination_details'],
  agent: ['user_agent'],
  host: ['upstream_host'],
  cluster: ['upstream_cluster', 'upstream_cluster_raw'],
  upstreamLocal: ['upstream_local_address'],
  local: ['downstream_local_address'],
  remote: ['downstream_direct_remote_address', 'downstream_remote_address'],
  serverName: ['requested_server_name'],
  route: ['route_name'],
  peer: ['downstream_peer_uri_san', 'downstream_peer_principal', 'peer_uri_san', 'source_principal'],
  tls: ['downstream_tls_version', 'downstream_tls_cipher'],
  upstreamPeer: ['upstream_peer_uri_san'],
  upstreamTls: ['upstream_tls_version', 'upstream_tls_cipher'],
  ownName: ['downstream_local_uri_san', 'upstream_local_uri_san'],
  pod: ['pod_name'],
  namespace: ['pod_namespace'],
  rbac: ['rbac', 'rbac_tcp', 'dynamic_metadata'],
} as const;
type Field = keyof typeof NAMES;

/** The upstream was not reached, or gave no answer: a connection that nobody can be said to rely on. */
const FAILED = new Set(['UF', 'UH', 'NR', 'NC', 'UO', 'UC', 'UR', 'URX', 'LH', 'LR', 'DF', 'OM']);
/** Clusters that belong to the proxy itself. */
const OWN_CLUSTER = /^(?:agent|prometheus_stats|sds-grpc|xds-grpc|zipkin|envoy_[a-z_]+|otel.*)$/;
const INBOUND_LISTENER = 15_006;
const OUTBOUND_LISTENER = 15_001;
const HBONE_PORT = 15_008;

/** A parser of access log records: one per input. */
export function createEnvoyParser(): (payload: Payload) => EnvoyRecord {
  const parseTime = createTimeParser();
  const ends = createEnds();
  return ({ text, value, reporter }) => {
    let raw = value;
    if (raw === undefined) {
      raw = parseAccessLine(text.trim());
      if (raw === undefined)
        return isProxyLog(text)
          ? { kind: 'message' }
          : { kind: 'bad', message: "neither JSON nor Istio's default text format" };
    }
    // Cloud Logging has the fields under jsonPayload.
    if (isRaw(raw) && isRaw(raw['jsonPayload'])) raw = raw['jsonPayload'];
    if (!isRaw(raw)) return { kind: 'bad', message: 'not a JSON object' };
    return parseRecord(raw, reporter, parseTime, ends);
  };
}

/** What pilot-agent and Envoy themselves write to the same stream: `2026-10-05T08:00:00.1Z\tinfo\t...`, or JSON with a level. */
function isProxyLog(text: string): boolean {
  return /^\d{4}-\d\d-\d\dT[\d:.]+Z\t(?:debug|info|warn|warning|error|critical|trace)\t(?!access\t)/.test(text);
}

function has(raw: Raw, field: Field): boolean {
  return NAMES[field].some((name) => name in raw);
}

/** The first of the field's names that is set; null and `-` are not. */
function at(raw: Raw, field: Field): string | undefined {
  for (const name of NAMES[field]) {
    const text = textAt(raw, name);
    if (text !== undefined) return text;
  }
  return undefined;
}

/** The code of the answer; JSON has it as a number. */
function codeOf(raw: Raw): string {
  const code = NAMES.code.map((name) => raw[name]).find((one) => typeof one === 'number' || typeof one === 'string');
  return String(code ?? 0);
}

function parseRecord(
  raw: Raw,
  reporter: Reporter | undefined,
  parseTime: (text: string) => number | undefined,
  ends: Ends,
): EnvoyRecord {
  if (!has(raw, 'remote') && !has(raw, 'cluster')) {
    if ('level' in raw && ('msg' in raw || 'message' in raw)) return { kind: 'message' };
    return {
      kind: 'bad',
      message:
        'no "downstream_remote_address" and no "upstream_cluster", so not an access log of Envoy that names its peers',
    };
  }
  const started = at(raw, 'time');
  const time = started === undefined ? undefined : parseTime(started);
  if (time === undefined) return { kind: 'bad', message: 'no "start_time" that reads as RFC 3339' };
  const ignored = (reason: string): EnvoyRecord => ({ kind: 'ignored', reason, time });

  // Newer versions end the name with a semicolon.
  const cluster = (at(raw, 'cluster') ?? '').replace(/;$/, '');
  if (OWN_CLUSTER.test(cluster)) return ignored('a connection of the proxy itself');
  const remote = peerAddress(raw);
  const local = parseAddress(at(raw, 'local'));
  const flags = (at(raw, 'flags') ?? '').split(',');
  const details = `${at(raw, 'details') ?? ''} ${at(raw, 'termination') ?? ''}`;
  const operation = operationOf(raw['method'] ?? at(raw, 'method'), raw['path'] ?? at(raw, 'path'));
  const request = at(raw, 'method') !== undefined;
  const peer = parsePrincipal(at(raw, 'peer'));
  const reporterEnd = reportedBy(raw, reporter);
  const base = {
    first: time,
    last: time,
    protocol: 'TCP',
    initiatorKnown: true,
    reply: false,
    stage: 'open',
    count: 1,
    proxied: false,
    source: 'envoy',
    ...(operation === undefined ? {} : { l7: operation }),
  } as const;

  const refused = details.includes('filter_chain_not_found') || (cluster === '' && !request && flags.includes('NR'));
  if (/^inbound-vip\|/.test(cluster)) return waypoint(raw, cluster, remote, peer, base, ends, ignored);
  if (refused || /^(?:inbound\||Inbound)/.test(cluster)) {
    if (isProbe(raw) && peer === undefined && !refused) return ignored('a probe of the kubelet');
    const to = local !== undefined && !isLoopback(local.ip) ? local : parseAddress(at(raw, 'host'));
    const port = [local?.port, parseAddress(at(raw, 'host'))?.port, clusterPort(cluster)].find(
      (one) => one !== undefined && one !== 0 && one !== INBOUND_LISTENER && one !== HBONE_PORT,
    );
    if (port === undefined) return { kind: 'bad', message: 'no port of the destination' };
    const verdict: Verdict3 = refused || isDenied(details) ? 'denied' : isRehearsedDenial(raw) ? 'audit' : 'allowed';
    const mtls = refused ? 'no' : inboundMtls(raw, peer !== undefined);
    return {
      kind: 'flows',
      time,
      flows: [
        {
          ...base,
          src: callerEnd(remote, peer, ends),
          dst: ends({ ...reporterEnd, ...(to === undefined ? {} : { ip: to.ip }) }),
          ...(remote === undefined ? {} : { srcPort: remote.port }),
          port,
          verdict,
          view: 'ingress',
          tap: 'envoy',
          mtls,
          ...(peer === undefined ? {} : { principal: peer.principal }),
        },
      ],
    };
  }

  const outbound = /^outbound\|(\d+)\|[^|]*\|(.+)$/.exec(cluster);
  const blocked = cluster === 'BlackHoleCluster' || at(raw, 'route') === 'block_all';
  if (outbound === null && cluster !== 'PassthroughCluster' && !blocked) {
    if (cluster === '') return ignored('an answer of the proxy itself, without an upstream');
    if (parseAddress(at(raw, 'host')) === undefined) return ignored('a cluster that names no destination');
  }
  const flows: Flow[] = [];
  const upstreamLocal = parseAddress(at(raw, 'upstreamLocal'));
  const sender = upstreamLocal !== undefined && !isLoopback(upstreamLocal.ip) ? upstreamLocal : undefined;
  // A gateway has a client of its own; a sidecar's client is the pod it stands in.
  const isGateway = sender !== undefined && remote !== undefined && sender.ip !== remote.ip && local?.ip === sender.ip;
  const own = sender ?? remote;
  const src = ends({
    ...reporterEnd,
    ...(own === undefined ? {} : { ip: own.ip }),
  });
  if (isGateway && local.port !== OUTBOUND_LISTENER)
    flows.push({
      ...base,
      src: callerEnd(remote, peer, ends),
      dst: src,
      srcPort: remote.port,
      port: local.port,
      verdict: isDenied(details) ? 'denied' : 'allowed',
      view: 'ingress',
      tap: 'envoy',
      // One who ends TLS here without a certificate is no plaintext caller, and no mTLS one either.
      mtls: peer !== undefined ? 'yes' : at(raw, 'tls') !== undefined ? 'unknown' : has(raw, 'tls') ? 'no' : 'unknown',
      ...(peer === undefined ? {} : { principal: peer.principal }),
    });
  // The caller gave up before there was an answer; and where a retry follows on a connection that failed, the host of the failed one is named.
  const givenUp = flags.includes('DC') && codeOf(raw) === '0' && request;
  const unconnected = has(raw, 'upstreamLocal') && at(raw, 'upstreamLocal') === undefined;
  const failed = flags.some((flag) => FAILED.has(flag)) || givenUp || unconnected;
  const host = outbound?.[2] ?? '';
  const service = parseServiceName(host);
  const upstream = parseAddress(at(raw, 'host'));
  if (blocked) {
    if (local !== undefined)
      flows.push({ ...base, src, dst: ends({ ip: local.ip }), port: local.port, verdict: 'denied', ...EGRESS });
  } else if (failed || (upstream === undefined && !/^\S+$/.test(at(raw, 'host') ?? ''))) {
    return flows.length > 0
      ? { kind: 'flows', flows, time }
      : ignored('the upstream was not reached or did not answer');
  } else if (upstream !== undefined && upstream.port !== HBONE_PORT) {
    const isOutside = service === undefined && host.includes('.');
    flows.push({
      ...base,
      src,
      dst: ends({ ip: upstream.ip, ...(isOutside ? { names: [host.toLowerCase()] } : {}) }),
      ...(sender === undefined ? {} : { srcPort: sender.port }),
      port: upstream.port,
      verdict: 'allowed',
      ...EGRESS,
      mtls: outboundMtls(raw),
      ...ownPrincipal(raw),
    });
  } else if (outbound !== null) {
    // The real port is inside the tunnel; the Service knows it.
    flows.push({
      ...base,
      src,
      dst: ends(service === undefined ? { reserved: ['world'], names: [host.toLowerCase()] } : { service }),
      port: Number(outbound[1]),
      verdict: 'allowed',
      ...EGRESS,
      mtls: outboundMtls(raw),
      ...ownPrincipal(raw),
    });
  }
  return flows.length === 0 ? ignored('no destination') : { kind: 'flows', flows, time };
}

const EGRESS = { view: 'egress', tap: 'envoy', mtls: 'unknown' } as const;

/** A waypoint stands between: it sees the caller's address and the pod it forwards to. */
function waypoint(
  raw: Raw,
  cluster: string,
  remote: Address | undefined,
  peer: ReturnType<typeof parsePrincipal>,
  base: Omit<Flow, 'src' | 'dst' | 'port' | 'verdict' | 'view' | 'tap' | 'mtls'>,
  ends: Ends,
  ignored: (reason: string) => EnvoyRecord,
): EnvoyRecord {
  const [, port = '', , host = ''] = cluster.split('|');
  const upstream = parseAddress(at(raw, 'host'));
  const service = parseServiceName(host);
  const direct = upstream !== undefined && upstream.port !== HBONE_PORT ? upstream : undefined;
  if (direct === undefined && service === undefined) return ignored('no destination');
  const details = `${at(raw, 'details') ?? ''} ${at(raw, 'termination') ?? ''}`;
  return {
    kind: 'flows',
    time: base.first,
    flows: [
      {
        ...base,
        src: callerEnd(remote, peer, ends),
        dst: direct === undefined ? ends(service === undefined ? {} : { service }) : ends({ ip: direct.ip }),
        port: direct?.port ?? Number(port),
        verdict: isDenied(details) ? 'denied' : isRehearsedDenial(raw) ? 'audit' : 'allowed',
        view: 'unknown',
        tap: 'waypoint',
        mtls: peer === undefined ? 'unknown' : 'yes',
        ...(peer === undefined ? {} : { principal: peer.principal }),
      },
    ],
  };
}

/** The caller's own address. One inferred from x-forwarded-for has no port, and anybody can claim it. */
function peerAddress(raw: Raw): Address | undefined {
  const address = parseAddress(at(raw, 'remote'));
  return address === undefined || address.port === 0 || isLoopback(address.ip) ? undefined : address;
}

/** By its address; where that is lost, by the certificate it showed. */
function callerEnd(remote: Address | undefined, peer: ReturnType<typeof parsePrincipal>, ends: Ends): RawEnd {
  if (remote !== undefined) return ends({ ip: remote.ip });
  if (peer !== undefined) return ends({ namespace: peer.namespace, serviceAccount: peer.serviceAccount });
  return ends({});
}

function reportedBy(raw: Raw, reporter: Reporter | undefined): Partial<RawEnd> {
  const pod = at(raw, 'pod');
  const namespace = at(raw, 'namespace');
  if (pod !== undefined && namespace !== undefined) return { pod, namespace };
  if (reporter?.pod === undefined || reporter.namespace === undefined) return {};
  return {
    pod: reporter.pod,
    namespace: reporter.namespace,
    ...(reporter.labels === undefined ? {} : { labels: reporter.labels }),
  };
}

/**
 * mTLS between Istio's proxies is told by the certificate of the peer, else by the server name that they alone send. Without
 * either the caller spoke plaintext, or TLS that is not the mesh's. The failure reason of the transport is of no use: under
 * PERMISSIVE it shows TLS errors for plaintext that passed.
 */
function inboundMtls(raw: Raw, hasPeer: boolean): Mtls {
  if (hasPeer) return 'yes';
  const serverName = at(raw, 'serverName');
  if (serverName?.startsWith('outbound_') === true) return 'yes';
  if (at(raw, 'peer') !== undefined) return 'unknown';
  if (has(raw, 'peer') && has(raw, 'tls')) return at(raw, 'tls') === undefined ? 'no' : 'unknown';
  return has(raw, 'serverName') && serverName === undefined ? 'no' : 'unknown';
}

function outboundMtls(raw: Raw): Mtls {
  if (parsePrincipal(at(raw, 'upstreamPeer')) !== undefined) return 'yes';
  return has(raw, 'upstreamPeer') && has(raw, 'upstreamTls') && at(raw, 'upstreamTls') === undefined ? 'no' : 'unknown';
}

/** The caller's principal on its own side of the connection, where it showed one. */
function ownPrincipal(raw: Raw): { readonly principal?: string } {
  const own = textAt(raw, 'upstream_local_uri_san');
  const parsed = outboundMtls(raw) === 'yes' ? parsePrincipal(own) : undefined;
  return parsed === undefined ? {} : { principal: parsed.principal };
}

function isDenied(details: string): boolean {
  return /\brbac_access_denied|\bext_authz_denied|\brbac_denied/.test(details);
}

/** What a dry-run AuthorizationPolicy would have denied (Istio's shadow results in the metadata of the RBAC filter). */
function isRehearsedDenial(raw: Raw): boolean {
  const denies = (value: unknown, depth: number): boolean =>
    isRaw(value) &&
    Object.entries(value).some(([key, one]) =>
      typeof one === 'string'
        ? /_shadow_engine_result$/.test(key) && one === 'denied'
        : depth < 3 && denies(one, depth + 1),
    );
  return NAMES.rbac.some((name) => denies(raw[name], 0));
}

function isProbe(raw: Raw): boolean {
  return at(raw, 'agent')?.startsWith('kube-probe/') === true;
}

function clusterPort(cluster: string): number | undefined {
  const port = Number(/^inbound\|(\d+)\|/.exec(cluster)?.[1] ?? 0);
  return port >= 1 && port <= 65_535 ? port : undefined;
}

function isLoopback(ip: string): boolean {
  return ip.startsWith('127.') || ip === '::1';
}
