// What each control costs a request: pairs of clients that differ in that control alone, at the same time on the same machine.
import { spawnSync } from 'node:child_process';
import { generateKeyPairSync, createSign } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Attempt } from './ledger.ts';
import { percentile } from './ledger.ts';

const PLAIN = 'cost-plain';
const MESH = 'cost-mesh';
/** One request in so many ms for each client: little enough that clients do not wait for each other. */
const EVERY_MS = 60;

type Json = Readonly<Record<string, unknown>>;

function namespace(name: string): Json {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name } };
}

function service(space: string, name: string, port = 8080): Json {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: space },
    spec: { selector: { app: name }, ports: [{ name: 'http', port, targetPort: port }] },
  };
}

interface PodOptions {
  readonly sidecar?: boolean;
  readonly port?: number;
}

function deployment(
  space: string,
  name: string,
  container: Json,
  options: PodOptions = {},
  volumes: readonly Json[] = [],
): Json {
  const labels = { app: name, ...(options.sidecar === true ? { 'sidecar.istio.io/inject': 'true' } : {}) };
  const probe =
    options.port === undefined ? {} : { readinessProbe: { tcpSocket: { port: options.port }, periodSeconds: 1 } };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace: space },
    spec: {
      replicas: 1,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels },
        spec: { terminationGracePeriodSeconds: 2, containers: [{ name, ...probe, ...container }], volumes },
      },
    },
  };
}

function labPod(play: Json): Json {
  return { image: 'lab/pod:1', env: [{ name: 'LABPOD', value: JSON.stringify(play) }] };
}

interface Caller {
  readonly name: string;
  readonly to: string;
  readonly port?: number;
  readonly pooled?: boolean;
  readonly headers?: Readonly<Record<string, string>>;
}

function clients(callers: readonly Caller[]): Json {
  return { clients: callers.map((one) => ({ port: 8080, everyMs: EVERY_MS, path: '/v1/score', ...one })), drainMs: 0 };
}

const server = (space: string, name: string, options: PodOptions = {}): readonly Json[] => [
  service(space, name),
  deployment(space, name, labPod({ servers: [{ kind: 'http', port: 8080 }], drainMs: 0 }), { port: 8080, ...options }),
];

/** A chain of three services: what a scoring request passes. */
function chain(space: string, prefix: string, options: PodOptions): readonly Json[] {
  const hop = (name: string, next?: string): readonly Json[] => [
    service(space, name),
    deployment(
      space,
      name,
      labPod({
        servers: [
          {
            kind: 'http',
            port: 8080,
            ...(next === undefined
              ? {}
              : { forward: [{ name: 'next', to: `${next}.${space}`, port: 8080, pooled: true, path: '/v1/score' }] }),
          },
        ],
        drainMs: 0,
      }),
      { port: 8080, ...options },
    ),
  ];
  return [
    ...hop(`${prefix}-entry`, `${prefix}-scoring`),
    ...hop(`${prefix}-scoring`, `${prefix}-features`),
    ...hop(`${prefix}-features`),
  ];
}

function networkPolicy(space: string, name: string): Json {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace: space },
    spec: {
      podSelector: { matchLabels: { app: name } },
      policyTypes: ['Ingress', 'Egress'],
      ingress: [
        { from: [{ podSelector: { matchLabels: { app: 'client' } } }], ports: [{ protocol: 'TCP', port: 8080 }] },
      ],
      egress: [],
    },
  };
}

function authorization(name: string, from: string): Json {
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name, namespace: MESH },
    spec: {
      selector: { matchLabels: { app: name } },
      action: 'ALLOW',
      rules: [
        {
          from: [{ source: { principals: [`cluster.local/ns/${MESH}/sa/${from}`] } }],
          to: [{ operation: { ports: ['8080'], methods: ['GET'], paths: ['/v1/score', '/healthz'] } }],
        },
      ],
    },
  };
}

/** A key pair for this run, the gateway's JWKS, and a token that it takes for an hour. */
function makeToken(): { readonly jwks: string; readonly token: string } {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const jwk = { ...publicKey.export({ format: 'jwk' }), kid: 'lab', use: 'sig', alg: 'RS256' };
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  const head = `${part({ alg: 'RS256', kid: 'lab', typ: 'JWT' })}.${part({ iss: 'lab', sub: 'client', iat: now, exp: now + 3600 })}`;
  const signature = createSign('RSA-SHA256').update(head).sign(privateKey, 'base64url');
  return { jwks: JSON.stringify({ keys: [jwk] }), token: `${head}.${signature}` };
}

const TYPES = 'type.googleapis.com/envoy.extensions';

function manager(prefix: string, cluster: string, filters: readonly Json[] = []): Json {
  return {
    name: 'envoy.filters.network.http_connection_manager',
    typed_config: {
      '@type': `${TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
      stat_prefix: prefix,
      route_config: {
        virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster } }] }],
      },
      http_filters: [
        ...filters,
        { name: 'envoy.filters.http.router', typed_config: { '@type': `${TYPES}.filters.http.router.v3.Router` } },
      ],
    },
  };
}

function listener(
  port: number,
  cluster: string,
  more: { readonly filters?: readonly Json[]; readonly tls?: Json } = {},
): Json {
  return {
    name: `port-${port}`,
    address: { socket_address: { address: '0.0.0.0', port_value: port } },
    filter_chains: [
      {
        filters: [manager(`port-${port}`, cluster, more.filters)],
        ...(more.tls === undefined ? {} : { transport_socket: more.tls }),
      },
    ],
  };
}

interface ClusterOptions {
  readonly tls?: Json;
  readonly http2?: boolean;
  /** Requests on one connection; absent: any number. */
  readonly most?: number;
}

function cluster(name: string, host: string, port: number, options: ClusterOptions = {}): Json {
  const common =
    options.most === undefined ? {} : { common_http_protocol_options: { max_requests_per_connection: options.most } };
  return {
    name,
    type: 'STRICT_DNS',
    dns_lookup_family: 'V4_ONLY',
    connect_timeout: '2s',
    load_assignment: {
      cluster_name: name,
      endpoints: [
        { lb_endpoints: [{ endpoint: { address: { socket_address: { address: host, port_value: port } } } }] },
      ],
    },
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        '@type': `${TYPES}.upstreams.http.v3.HttpProtocolOptions`,
        ...common,
        explicit_http_config: options.http2 === true ? { http2_protocol_options: {} } : { http_protocol_options: {} },
      },
    },
    ...(options.tls === undefined ? {} : { transport_socket: options.tls }),
  };
}

function envoy(
  space: string,
  name: string,
  ports: readonly number[],
  config: Json,
  files: Readonly<Record<string, string>> = {},
): readonly Json[] {
  const [first = 8080] = ports;
  return [
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name, namespace: space },
      data: { 'envoy.json': JSON.stringify(config), ...files },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace: space },
      spec: { selector: { app: name }, ports: ports.map((port) => ({ name: `http-${port}`, port, targetPort: port })) },
    },
    deployment(
      space,
      name,
      {
        image: 'lab/envoy',
        args: ['-c', '/etc/lab-envoy/envoy.json', '--concurrency', '1', '--log-level', 'warn', '--disable-hot-restart'],
        volumeMounts: [{ name: 'config', mountPath: '/etc/lab-envoy' }],
      },
      { port: first },
      [{ name: 'config', configMap: { name } }],
    ),
  ];
}

function gateway(jwks: string): readonly Json[] {
  const filters = [
    {
      name: 'envoy.filters.http.jwt_authn',
      typed_config: {
        '@type': `${TYPES}.filters.http.jwt_authn.v3.JwtAuthentication`,
        providers: { lab: { issuer: 'lab', local_jwks: { inline_string: jwks } } },
        rules: [{ match: { prefix: '/' }, requires: { provider_name: 'lab' } }],
      },
    },
    {
      name: 'envoy.filters.http.local_ratelimit',
      typed_config: {
        '@type': `${TYPES}.filters.http.local_ratelimit.v3.LocalRateLimit`,
        stat_prefix: 'limit',
        token_bucket: { max_tokens: 10_000, tokens_per_fill: 10_000, fill_interval: '1s' },
        filter_enabled: { default_value: { numerator: 100 } },
        filter_enforced: { default_value: { numerator: 100 } },
      },
    },
  ];
  return envoy(PLAIN, 'gateway', [8080], {
    static_resources: {
      listeners: [listener(8080, 'server', { filters })],
      clusters: [cluster('server', `server.${PLAIN}.svc.cluster.local`, 8080)],
    },
  });
}

/** A certificate for this run; from the machine's openssl, since Node makes keys and no certificates. */
function makeCertificate(): { readonly cert: string; readonly key: string } {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-cert-'));
  try {
    const [key, cert] = [join(dir, 'key.pem'), join(dir, 'cert.pem')];
    const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1'];
    const made = spawnSync('openssl', [...args, '-subj', '/CN=lab', '-keyout', key, '-out', cert], {
      encoding: 'utf8',
    });
    if (made.status !== 0) throw new Error(`openssl made no certificate: ${made.stderr}`);
    return { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Two proxies, mutual TLS between them: the same path four times, with connections used in four ways. */
function optimised(): readonly Json[] {
  const { cert, key } = makeCertificate();
  const certificates = [
    { certificate_chain: { filename: '/etc/lab-envoy/cert.pem' }, private_key: { filename: '/etc/lab-envoy/key.pem' } },
  ];
  const trusted = { trusted_ca: { filename: '/etc/lab-envoy/cert.pem' } };
  const common = { tls_certificates: certificates, validation_context: trusted };
  const upstream = (sessions: number): Json => ({
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      '@type': `${TYPES}.transport_sockets.tls.v3.UpstreamTlsContext`,
      max_session_keys: sessions,
      common_tls_context: common,
    },
  });
  const downstream = (alpn: string): Json => ({
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      '@type': `${TYPES}.transport_sockets.tls.v3.DownstreamTlsContext`,
      require_client_certificate: true,
      common_tls_context: { ...common, alpn_protocols: [alpn] },
    },
  });
  const back = `tls-back.${PLAIN}.svc.cluster.local`;
  const files = { 'cert.pem': cert, 'key.pem': key };
  return [
    ...envoy(
      PLAIN,
      'tls-front',
      [8081, 8082, 8083, 8084],
      {
        static_resources: {
          listeners: [8081, 8082, 8083, 8084].map((port) => listener(port, `way-${port}`)),
          clusters: [
            cluster('way-8081', back, 8443, { tls: upstream(0) }),
            cluster('way-8082', back, 8443, { tls: upstream(0), most: 1 }),
            cluster('way-8083', back, 8443, { tls: upstream(1), most: 1 }),
            cluster('way-8084', back, 8444, { tls: upstream(0), http2: true }),
          ],
        },
      },
      files,
    ),
    ...envoy(
      PLAIN,
      'tls-back',
      [8443, 8444],
      {
        static_resources: {
          listeners: [
            listener(8443, 'server', { tls: downstream('http/1.1') }),
            listener(8444, 'server', { tls: downstream('h2') }),
          ],
          clusters: [cluster('server', `server.${PLAIN}.svc.cluster.local`, 8080)],
        },
      },
      files,
    ),
  ];
}

/** Everything the measurement needs, for `apply`. */
export function costManifests(): readonly Json[] {
  const { jwks, token } = makeToken();
  const headers = { authorization: `Bearer ${token}` };
  const account = (name: string): Json => ({
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name, namespace: MESH },
  });
  return [
    namespace(PLAIN),
    namespace(MESH),
    account('default'),
    // One server each: nobody waits for the others' callers.
    ...server(PLAIN, 'server'),
    ...server(PLAIN, 'open'),
    ...server(PLAIN, 'guarded'),
    networkPolicy(PLAIN, 'guarded'),
    ...gateway(jwks),
    ...optimised(),
    ...chain(PLAIN, 'plain', {}),
    deployment(
      PLAIN,
      'client',
      labPod(
        clients([
          { name: 'plain new', to: `open.${PLAIN}` },
          { name: 'policy new', to: `guarded.${PLAIN}` },
          { name: 'plain', to: `open.${PLAIN}`, pooled: true },
          { name: 'policy', to: `guarded.${PLAIN}`, pooled: true },
          { name: 'gateway', to: `gateway.${PLAIN}`, pooled: true, headers },
          { name: 'pipeline plain', to: `plain-entry.${PLAIN}`, pooled: true },
          { name: 'tls pooled', to: `tls-front.${PLAIN}`, port: 8081, pooled: true },
          { name: 'tls new', to: `tls-front.${PLAIN}`, port: 8082, pooled: true },
          { name: 'tls resumed', to: `tls-front.${PLAIN}`, port: 8083, pooled: true },
          { name: 'tls http2', to: `tls-front.${PLAIN}`, port: 8084, pooled: true },
        ]),
      ),
    ),
    ...server(MESH, 'server', { sidecar: true }),
    ...server(MESH, 'authorized', { sidecar: true }),
    authorization('authorized', 'default'),
    ...server(MESH, 'fresh', { sidecar: true }),
    {
      apiVersion: 'networking.istio.io/v1',
      kind: 'DestinationRule',
      metadata: { name: 'fresh', namespace: MESH },
      spec: {
        host: `fresh.${MESH}.svc.cluster.local`,
        trafficPolicy: { connectionPool: { http: { maxRequestsPerConnection: 1 } } },
      },
    },
    ...chain(MESH, 'mesh', { sidecar: true }),
    ...['mesh-entry', 'mesh-scoring', 'mesh-features'].map((name) => authorization(name, 'default')),
    deployment(
      MESH,
      'client',
      labPod(
        clients([
          { name: 'mesh', to: `server.${MESH}`, pooled: true },
          { name: 'authorized', to: `authorized.${MESH}`, pooled: true },
          { name: 'handshake', to: `fresh.${MESH}`, pooled: true },
          { name: 'pipeline mesh', to: `mesh-entry.${MESH}`, pooled: true },
        ]),
      ),
      { sidecar: true },
    ),
  ];
}

export const COST_NAMESPACES = [PLAIN, MESH] as const;

export interface Latency {
  readonly n: number;
  readonly failed: number;
  readonly p50: number;
  readonly p99: number;
}

/** Milliseconds by the name of the client, of requests that began in a window (ms since the epoch). */
export function latencies(attempts: Iterable<Attempt>, from: number): ReadonlyMap<string, Latency> {
  const values = new Map<string, { readonly ms: number[]; failed: number }>();
  for (const attempt of attempts) {
    if (attempt.client === 'dns' || attempt.client === 'next' || Date.parse(attempt.t) < from) continue;
    const into = values.get(attempt.client) ?? { ms: [], failed: 0 };
    values.set(attempt.client, into);
    if (attempt.ok) into.ms.push(attempt.latencyUs / 1000);
    else into.failed += 1;
  }
  return new Map(
    [...values].map(([name, { ms, failed }]) => [
      name,
      { n: ms.length, failed, p50: percentile(ms, 50), p99: percentile(ms, 99) },
    ]),
  );
}

export interface Cost {
  readonly control: string;
  readonly title: string;
  readonly before: string;
  readonly after: string;
  readonly ruleOfThumb: string;
}

/** Each control as a pair of clients; what it costs is the difference. */
export const COSTS: readonly Cost[] = [
  {
    control: 'network-policy',
    title: 'NetworkPolicy, a new connection',
    before: 'plain new',
    after: 'policy new',
    ruleOfThumb: '+0.1 ms',
  },
  {
    control: 'network-policy-open',
    title: 'NetworkPolicy, an open connection',
    before: 'plain',
    after: 'policy',
    ruleOfThumb: '',
  },
  {
    control: 'mtls-handshake',
    title: 'first mTLS handshake',
    before: 'mesh',
    after: 'handshake',
    ruleOfThumb: '2-5 ms once',
  },
  { control: 'mesh-hop', title: 'mesh hop, two sidecars', before: 'plain', after: 'mesh', ruleOfThumb: '+0.8 ms' },
  {
    control: 'authorization',
    title: 'AuthorizationPolicy check',
    before: 'mesh',
    after: 'authorized',
    ruleOfThumb: '',
  },
  {
    control: 'api-gateway',
    title: 'API gateway: JWT and rate limit',
    before: 'plain',
    after: 'gateway',
    ruleOfThumb: '+1.5 ms',
  },
  {
    control: 'pipeline',
    title: 'whole pipeline pass, three hops, no work done',
    before: 'pipeline plain',
    after: 'pipeline mesh',
    ruleOfThumb: '+13 %',
  },
];

/** What using connections otherwise gives, against a new connection with a full handshake for each call. */
export const OPTIMISATIONS: readonly (readonly [string, string])[] = [
  ['new connection, full handshake', 'tls new'],
  ['new connection, session resumed', 'tls resumed'],
  ['pooled, HTTP/1.1', 'tls pooled'],
  ['pooled, HTTP/2', 'tls http2'],
];
