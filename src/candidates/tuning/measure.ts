import type { Proposal, TuningInput } from './proposal.ts';
import { measuredPorts, proxyOf, workloadsIn } from './proposal.ts';

/**
 * The figure of a proposal that was applied, as it is now; undefined where it is not measured. The names of metrics are those of the proposals'
 * gains: a test holds the two together.
 */
export function measureAgain(
  input: TuningInput,
  { subject }: Pick<Proposal, 'subject'>,
  metric: string,
): number | undefined {
  const port = measuredPorts(input).find((one) => one.subject === subject)?.figures;
  const proxy = proxyOf(input, subject);
  switch (metric) {
    case 'new connections per request':
      return quotient(port?.connectionsPerSec, port?.requestsPerSec);
    case 'new connections':
      return port?.connectionsPerSec;
    case 'connections open at once, busiest caller':
      return port?.peakConnections;
    case 'full TLS handshakes':
      return port?.handshakesPerSec === undefined ? undefined : port.handshakesPerSec - (port.resumedPerSec ?? 0);
    case 'requests':
      return port?.requestsPerSec;
    case 'calls to the authorizer':
      return input.metrics.authorizers.find((one) => one.workload === subject)?.checksPerSec;
    case 'periods in which a proxy was held back':
      return proxy?.throttledShare === undefined ? undefined : proxy.throttledShare * 100;
    case 'memory of the limit in use': {
      const share = quotient(proxy?.memoryBytes, proxy?.memoryLimit);
      return share === undefined ? undefined : share * 100;
    }
    case 'cores requested for each proxy':
      return proxy?.cpuRequest;
    case 'memory requested for each proxy':
      return proxy?.memoryRequest;
    case 'clusters in the largest configuration':
      return largest(input);
    default:
      return undefined;
  }
}

function quotient(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined || b === 0 ? undefined : a / b;
}

function largest(input: TuningInput): number | undefined {
  const known = workloadsIn(input).flatMap(({ id }) => proxyOf(input, id)?.clusters ?? []);
  return known.length === 0 ? undefined : Math.max(...known);
}
