import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateFlows } from '../../examples/fraud-detection/generate.ts';
import type { Edge } from '../checker/check.ts';
import { ROOT } from './imports.ts';

/** The bundled example as the tests know it, and the program does not. */
export const EXAMPLE = join(ROOT, 'examples/fraud-detection');

/** Any port that a Linux pod picks for itself. */
export const EPHEMERAL = { from: 32768, to: 60999 };

interface TruthEdge {
  readonly src: string;
  readonly dst: string;
  readonly protocol: string;
  readonly port: number | 'ephemeral';
}

export interface Truth {
  readonly legitimate: readonly Edge[];
  readonly forbidden: readonly Edge[];
}

/** What is rightly there and what is not: connections, without requests. */
export function readTruth(): Truth {
  const truth = JSON.parse(readFileSync(join(EXAMPLE, 'traffic.truth.json'), 'utf8')) as {
    readonly [K in keyof Truth]: readonly TruthEdge[];
  };
  const edgeOf = ({ src, dst, protocol, port }: TruthEdge): Edge => {
    return { src, dst, protocol, port: port === 'ephemeral' ? EPHEMERAL : port };
  };
  return { legitimate: truth.legitimate.map(edgeOf), forbidden: truth.forbidden.map(edgeOf) };
}

export interface Request {
  /** namespace/name of a workload, of one of its Jobs, or of a pod; `node` where the record names none. */
  readonly src: string;
  readonly dst: string;
  readonly port: number;
  readonly l7: string;
}

interface FlowEnd {
  readonly namespace?: string;
  readonly pod_name?: string;
  readonly workloads?: readonly { readonly name: string }[];
}

interface HttpFlow {
  readonly source: FlowEnd;
  readonly destination: FlowEnd;
  readonly l4: { readonly TCP: { readonly destination_port: number } };
  readonly l7: { readonly type: string; readonly http: { readonly method: string; readonly url: string } };
}

/** The requests of the traffic itself: the truth file names connections alone. */
export function requestsOf(lines: Iterable<string> = generateFlows({})): readonly Request[] {
  const nameOf = (end: FlowEnd): string =>
    end.namespace === undefined ? 'node' : `${end.namespace}/${end.workloads?.[0]?.name ?? end.pod_name ?? ''}`;
  const found = new Map<string, Request>();
  for (const line of lines) {
    if (!line.includes('"type":"REQUEST","http"')) continue;
    const { source, destination, l4, l7 } = (JSON.parse(line) as { readonly flow: HttpFlow }).flow;
    const request = {
      src: nameOf(source),
      dst: nameOf(destination),
      port: l4.TCP.destination_port,
      l7: `${l7.http.method} ${new URL(l7.http.url).pathname}`,
    };
    found.set(JSON.stringify(request), request);
  }
  return [...found.values()];
}

/** A connection as what was asked over it: one edge a request, or the connection itself where nothing was. */
export function withRequests(edge: Edge, requests: readonly Request[]): readonly Edge[] {
  const asked = [...new Set(requests.filter((one) => isOn(one, edge)).map((one) => one.l7))];
  return asked.length === 0 ? [edge] : asked.map((l7) => ({ ...edge, l7 }));
}

/** A request of a CronJob may be on record as one of its Jobs', `name-29862810`. */
function isOn(request: Request, edge: Edge): boolean {
  const plain = (id: string): string => id.replace(/\/[^/]+\//, '/');
  const job = request.src.replace(/-\d+$/, '');
  return (
    request.port === edge.port &&
    request.dst === plain(edge.dst) &&
    (request.src === plain(edge.src) || job === plain(edge.src))
  );
}
