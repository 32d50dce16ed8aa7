import { sha256 } from '../shared/pure/hash.ts';

export type Protocol = 'TCP' | 'UDP' | 'SCTP';

/** One side of a connection. */
export type Endpoint =
  | { readonly kind: 'workload'; readonly id: string }
  /** A node or a host-network process on it. Without a name the pod's own node, with its kubelet; see REMOTE_NODE. */
  | { readonly kind: 'node'; readonly name?: string }
  | { readonly kind: 'api-server' }
  /** Outside the cluster. A DNS name where one was seen; the address otherwise. */
  | { readonly kind: 'external'; readonly name?: string; readonly ip?: string }
  /** Not attributable: why is said, and nothing is guessed. */
  | { readonly kind: 'unknown'; readonly ip?: string; readonly why: string };

/** The name of a node endpoint that is another node than the pod's own, whichever: traffic through a node port comes so. */
export const REMOTE_NODE = 'remote';

/** The text of an endpoint in JSON, queries and edge keys. */
export function endpointKey(endpoint: Endpoint): string {
  switch (endpoint.kind) {
    case 'workload':
      return endpoint.id;
    case 'node':
      return endpoint.name === undefined ? 'node' : `node:${endpoint.name}`;
    case 'api-server':
      return 'api-server';
    case 'external':
      return `external:${endpoint.name ?? endpoint.ip ?? 'unknown'}`;
    case 'unknown':
      return `unknown:${endpoint.ip ?? ''}`;
  }
}

/** The namespace of a workload endpoint; undefined for every other kind. */
export function endpointNamespace(endpoint: Endpoint): string | undefined {
  return endpoint.kind === 'workload' ? namespaceOfWorkload(endpoint.id) : undefined;
}

/** `namespace/Kind/name` -> namespace. */
export function namespaceOfWorkload(id: string): string {
  return id.slice(0, Math.max(0, id.indexOf('/')));
}

export type Review = 'unreviewed' | 'legitimate' | 'to-be-cut';
export type Mtls = 'yes' | 'no' | 'mixed' | 'unknown';

/** What an edge is, apart from how often it was seen. */
export interface EdgeKey {
  readonly src: Endpoint;
  readonly dst: Endpoint;
  readonly protocol: Protocol;
  /** Destination port after NAT; the first one where `endPort` is set. */
  readonly port: number;
  /** Last port of a folded range (ephemeral ports inside a job). */
  readonly endPort?: number;
  /** `METHOD /path` where a source saw the operation. */
  readonly l7?: string;
}

export type Verdict3 = 'allowed' | 'denied' | 'audit' | 'unknown';

/** Flows folded. Times are milliseconds since the epoch. */
export interface Edge extends EdgeKey {
  readonly id: string;
  readonly count: number;
  readonly first: number;
  readonly last: number;
  /** Connections by verdict of the recording source. `audit`: passed, and a policy being rehearsed would deny it. */
  readonly verdicts: Readonly<Partial<Record<Verdict3, number>>>;
  /** UTC days (`2026-10-05`) on which a connection passed: the incidences of the coverage estimate. Sorted. */
  readonly days: readonly string[];
  /** Names of the schedule runs (Jobs) in which it was seen; empty for workloads without a schedule. Sorted. */
  readonly runs: readonly string[];
  readonly sources: readonly string[];
  readonly principals: readonly string[];
  readonly mtls: Mtls;
  /** Last time seen in plaintext, where a source can tell. */
  readonly lastPlaintext?: number;
  /** True when the direction was guessed (no SYN, no reply flag). */
  readonly guessedDirection?: boolean;
  /** From which ends it was recorded: the opener's (egress), the other's (ingress). Absent where no source says. */
  readonly views?: readonly EdgeView[];
  /** `observed`, or declared by configuration: strong ones are adopted by themselves, weak ones ask. */
  readonly origin: EdgeOrigin;
  readonly review: Review;
}

export type EdgeView = 'egress' | 'ingress';

export type EdgeOrigin =
  | { readonly kind: 'observed' }
  | { readonly kind: 'declared'; readonly strength: 'strong' | 'weak'; readonly by: string };

/** A stable hash of the edge's key: 12 hex digits. */
export function edgeId(key: EdgeKey): string {
  return sha256(
    [endpointKey(key.src), endpointKey(key.dst), key.protocol, key.port, key.endPort ?? '', key.l7 ?? ''].join('\n'),
  ).slice(0, 12);
}

/** True when at least one connection passed: denied records are never evidence for an allow. */
export function hasPassed(edge: Pick<Edge, 'verdicts' | 'origin'>): boolean {
  if (edge.origin.kind === 'declared') return true;
  return (edge.verdicts.allowed ?? 0) + (edge.verdicts.audit ?? 0) + (edge.verdicts.unknown ?? 0) > 0;
}

/** `8080/TCP` or `32768-60999/TCP`. */
export function formatPort(key: Pick<EdgeKey, 'protocol' | 'port' | 'endPort'>): string {
  return `${key.port}${key.endPort === undefined ? '' : `-${key.endPort}`}/${key.protocol}`;
}

function formatEnd(end: Endpoint): string {
  return end.kind === 'unknown' && end.ip === undefined ? `unknown: (${end.why})` : endpointKey(end);
}

/** For people: `a/Deployment/x -> b/Deployment/y 8080/TCP POST /v1`. */
export function formatEdge(key: EdgeKey): string {
  return `${formatEnd(key.src)} -> ${formatEnd(key.dst)} ${formatPort(key)}${key.l7 === undefined ? '' : ` ${key.l7}`}`;
}
