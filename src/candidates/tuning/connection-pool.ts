import { short } from '../../model/tuning.ts';
import { asObject } from '../../shared/pure/json.ts';
import type { KubeManifest } from '../../model/object.ts';
import { formatRef, refOf } from '../../model/object.ts';
import type { MeasuredPort, Proposal, TuningInput } from './proposal.ts';
import { evidenceOf, makeProposal, measuredPorts, percentRange } from './proposal.ts';
import { againstPool, isTuned, poolAt, ruleOf, sharedWith } from './rule.ts';

/** From one new connection in ten requests on, the price of connections shows in the mean. */
export const CHURN = 0.1;
/** Below this rate nothing is gained that anybody would notice. */
export const LEAST_RATE = 1;
/** Connections that may be open at once, over the most that was seen: gauges are read now and then, and miss what peaks in between. */
export const HEADROOM = 4;
export const LEAST_CONNECTIONS = 64;

/**
 * How many connections a calling proxy may hold: over everything that was observed, and over what rate and latency make of it (Little's law:
 * requests under way = rate x time), times HEADROOM. Never falls where any of the figures rises. Undefined where no concurrency was measured.
 */
export function connectionBound(figures: {
  readonly peakConnections?: number;
  readonly peakRequests?: number;
  readonly requestsPerSec?: number;
  readonly p99?: number;
}): number | undefined {
  const { peakConnections, peakRequests, requestsPerSec, p99 } = figures;
  if (peakConnections === undefined && peakRequests === undefined) return undefined;
  const little = requestsPerSec === undefined || p99 === undefined ? 0 : (requestsPerSec * p99) / 1000;
  const most = Math.max(peakConnections ?? 0, peakRequests ?? 0, little);
  return Math.max(LEAST_CONNECTIONS, Math.ceil(most * HEADROOM));
}

const SOURCES = [
  'istio.io/latest/docs/reference/config/networking/destination-rule (ConnectionPoolSettings)',
  'envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/connection_pooling',
];

/** Connections that are opened anew for many of the requests: the settings that close them are taken away, or connections are kept and bounded. */
export function proposeConnectionPool(input: TuningInput): readonly Proposal[] {
  return measuredPorts(input).flatMap((measured) => {
    const { figures, http } = measured;
    const { requestsPerSec, connectionsPerSec } = figures;
    if (http === false) return tcpPool(input, measured);
    if (requestsPerSec === undefined || connectionsPerSec === undefined) return [];
    const share = connectionsPerSec / requestsPerSec;
    if (requestsPerSec < LEAST_RATE || share < CHURN) return [];
    const limit = limitOf(input, measured);
    return [limit === undefined ? boundPool(input, measured, share) : liftLimit(input, measured, share, limit)];
  });
}

interface Limit {
  readonly rule: KubeManifest;
  readonly requests: number;
}

/** A rule that ends each connection after so many requests. */
function limitOf({ objects }: TuningInput, { service, port }: MeasuredPort): Limit | undefined {
  const rule = ruleOf(objects, service);
  if (rule.kind !== 'one') return undefined;
  const requests = asObject(poolAt(rule.object, port.port)['http'])['maxRequestsPerConnection'];
  return typeof requests === 'number' && requests > 0 ? { rule: rule.object, requests } : undefined;
}

function base(input: TuningInput, { figures, subject }: MeasuredPort, share: number) {
  return {
    kind: 'connection-pool' as const,
    namespace: input.namespace,
    subject,
    evidence: evidenceOf(
      ['new connections per request', share, ''],
      ['requests', figures.requestsPerSec, '/s'],
      ['new connections', figures.connectionsPerSec, '/s'],
      ['connection established, p99', figures.connect?.p99, 'ms'],
      ['connections open at once, busiest caller', figures.peakConnections, ''],
    ),
    sources: SOURCES,
  };
}

function liftLimit(input: TuningInput, measured: MeasuredPort, share: number, { rule, requests }: Limit): Proposal {
  const { service, port } = measured;
  // Of connections that end at the limit, one in `requests` requests is owed to it.
  const owed = Math.min(1, 1 / requests / share);
  const shared = sharedWith(input, service, port.port);
  return makeProposal({
    ...base(input, measured, share),
    title: `connections to ${measured.subject} outlive ${requests} ${requests === 1 ? 'request' : 'requests'}`,
    gain: {
      metric: 'new connections per request',
      before: share,
      unit: '',
      ...percentRange(owed / 2, owed),
      derivation: `${formatRef(refOf(rule))} ends each connection after ${requests}: that accounts for 1/${requests} of ${short(share)} connections a request, ${short(owed * 100)} %; at least half of it where callers close connections as well`,
    },
    risks: [
      'load spreads over servers by connection where requests are few: a caller may stay with one server longer',
      ...(shared.length === 0
        ? []
        : [
            `the limit is the whole rule's: connections to ${shared.map((one) => one.port).join(', ')} lose it as well`,
          ]),
    ],
    refused: againstPool(input, service, port.port),
    writes: [
      {
        kind: 'pool',
        service: { namespace: service.namespace, name: service.name },
        port: port.port,
        http: { maxRequestsPerConnection: 0 },
      },
    ],
  });
}

function boundPool(input: TuningInput, measured: MeasuredPort, share: number): Proposal {
  const { service, port, figures, http } = measured;
  const { p99 } = figures.latency ?? {};
  const now = chosenIn(input, measured);
  const needed = connectionBound({ ...figures, ...(p99 === undefined ? {} : { p99 }) });
  // A bound of ours is never lowered: it lay over what was observed then.
  const bound = needed === undefined || !now.ours ? needed : Math.max(needed, now.maxConnections ?? 0);
  const kept = Math.max(0, 1 - 0.01 / share);
  return makeProposal({
    ...base(input, measured, share),
    title: `callers of ${measured.subject} keep their connections${bound === undefined ? '' : `, ${bound} at most each`}`,
    gain: {
      metric: 'new connections per request',
      before: share,
      unit: '',
      ...percentRange(0, kept),
      derivation: `at best one new connection in a hundred requests is left of ${short(share)} a request: 1 - 0.01/${short(share)}; nothing where callers or servers close them by themselves`,
    },
    risks: [
      'a caller with more requests under way than connections waits: the bound lies over everything observed, and is one for each calling proxy',
    ],
    refused: [
      ...(http === true
        ? []
        : [`${measured.subject} does not declare HTTP: name the port http-... or set its appProtocol`]),
      ...againstPool(input, service, port.port),
      ...againstBound(input, measured, now, bound),
    ],
    unknown:
      bound === undefined
        ? [
            'how many connections and requests are open at once was not measured, and a bound must lie over it (envoy_cluster_upstream_cx_active, envoy_cluster_upstream_rq_active)',
          ]
        : [],
    writes:
      bound === undefined
        ? []
        : [
            {
              kind: 'pool',
              service: { namespace: service.namespace, name: service.name },
              port: port.port,
              http: {
                ...(now.idleTimeout === undefined ? { idleTimeout: `${IDLE_SEC}s` } : {}),
                maxRequestsPerConnection: 0,
              },
              tcp: { maxConnections: bound, ...(now.keepalive ? {} : { tcpKeepalive: KEEPALIVE }) },
            },
          ],
  });
}

const IDLE_SEC = 3600;
const KEEPALIVE = { time: '300s', interval: '60s' };

/** What somebody chose for the pool of a port. */
interface Chosen {
  /** `DestinationRule shop/web`. */
  readonly rule: string;
  readonly ours: boolean;
  readonly maxConnections?: number;
  readonly idleTimeout?: string;
  readonly keepalive: boolean;
}

function chosenIn({ objects }: TuningInput, { service, port }: MeasuredPort): Chosen {
  const rule = ruleOf(objects, service);
  if (rule.kind !== 'one') return { rule: '', ours: true, keepalive: false };
  const { http, tcp } = poolAt(rule.object, port.port);
  const { maxConnections, tcpKeepalive } = asObject(tcp);
  const { idleTimeout } = asObject(http);
  return {
    rule: formatRef(refOf(rule.object)),
    ours: isTuned(rule.object, service.name),
    ...(typeof maxConnections === 'number' && maxConnections > 0 ? { maxConnections } : {}),
    ...(typeof idleTimeout === 'string' ? { idleTimeout } : {}),
    keepalive: tcpKeepalive !== undefined && tcpKeepalive !== null,
  };
}

/** A bound is made of one port's figures, and is nobody else's; and what somebody chose is not loosened or tightened behind their back. */
function againstBound(
  input: TuningInput,
  { service, port }: MeasuredPort,
  now: Chosen,
  bound: number | undefined,
): readonly string[] {
  const shared = sharedWith(input, service, port.port).map((one) => one.port);
  const { maxConnections, idleTimeout, rule } = now;
  const idle = idleTimeout === undefined ? undefined : secondsOf(idleTimeout);
  return [
    ...(shared.length === 0
      ? []
      : [
          `the pool of ${rule} holds for ${shared.join(', ')} as well, and the bound is made of the figures of ${port.port} alone: give ${port.port} portLevelSettings of its own, with all that is to hold for it`,
        ]),
    ...(now.ours || maxConnections === undefined || bound === undefined || maxConnections === bound
      ? []
      : [
          `${rule} says maxConnections: ${maxConnections}, which would be ${maxConnections > bound ? 'lowered' : 'raised'} to ${bound}: somebody chose it`,
        ]),
    ...(idleTimeout === undefined || (idle !== undefined && (idle === 0 || idle >= IDLE_SEC))
      ? []
      : [`${rule} says idleTimeout: ${idleTimeout}, which would be lengthened to ${IDLE_SEC}s: somebody chose it`]),
  ];
}

const SECONDS: Readonly<Record<string, number>> = { h: 3600, m: 60, s: 1, ms: 0.001, us: 1e-6, ns: 1e-9 };

/** A duration as Istio takes it (`1h`, `1m30s`, `0.5s`). Undefined for what is none. */
function secondsOf(text: string): number | undefined {
  const part = /(\d+(?:\.\d+)?)(h|ms|us|ns|m|s)/uy;
  let sum = 0;
  let end = 0;
  for (let found = part.exec(text); found !== null; found = part.exec(text)) {
    sum += Number(found[1]) * (SECONDS[found[2] ?? ''] ?? 0);
    end = part.lastIndex;
  }
  return end === text.length && end > 0 ? sum : undefined;
}

/** Behind a TCP port every connection of the application is one of the proxies: only the application can keep it. */
function tcpPool(input: TuningInput, measured: MeasuredPort): readonly Proposal[] {
  const { figures, subject } = measured;
  const { connectionsPerSec } = figures;
  if (connectionsPerSec === undefined || connectionsPerSec < LEAST_RATE) return [];
  return [
    makeProposal({
      kind: 'connection-pool',
      namespace: input.namespace,
      subject,
      title: `clients of ${subject} open ${short(connectionsPerSec)} connections a second`,
      evidence: evidenceOf(
        ['new connections', connectionsPerSec, '/s'],
        ['connection established, p99', figures.connect?.p99, 'ms'],
      ),
      gain: {
        metric: 'new connections',
        before: connectionsPerSec,
        unit: '/s',
        ...percentRange(0, 0.95),
        derivation:
          'a pool in the application opens connections at its start alone; how many of those measured are such starts is not known',
      },
      instruction: [
        `let the clients of ${subject} keep their connections in a pool of their own (a database pooler, SQLAlchemy's pool, a client that is made once): the proxies pass each connection of a TCP port on as it is`,
      ],
      sources: SOURCES,
    }),
  ];
}
