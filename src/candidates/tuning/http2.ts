import { short } from '../../model/tuning.ts';
import { asObject } from '../../shared/pure/json.ts';
import { LEAST_RATE } from './connection-pool.ts';
import { parseIstioObject } from '../../model/istio-objects.ts';
import { formatRef, namespaceOf, refOf } from '../../model/object.ts';
import type { Proposal, TuningInput } from './proposal.ts';
import { evidenceOf, makeProposal, measuredPorts, pastProxy, percentRange, withoutSidecar } from './proposal.ts';
import { againstPool, otherTls, poolAt, ruleOf, sharedWith } from './rule.ts';

/** Below this share of HTTP/1.1 connections there is little to gain. */
export const LEAST_HTTP1 = 0.5;
/** A proxy has a pool for each of its worker threads; Istio's default is two (istio.io, ProxyConfig, concurrency). */
const WORKERS = 2;

/**
 * HTTP/1.1 between proxies as HTTP/2: requests share connections. The server's proxy must be there to turn it back, and the port must declare
 * HTTP/1.1: where the protocol is detected, the server's proxy would hand HTTP/2 to an application that may not speak it (istio/istio
 * pilot/pkg/networking/core, shouldH2Upgrade). A port that is TCP is never upgraded.
 */
export function proposeHttp2(input: TuningInput): readonly Proposal[] {
  return measuredPorts(input).flatMap((measured) => {
    const { figures, http, port, service, subject } = measured;
    const { http1Share, requestsPerSec, peakConnections } = figures;
    if (http === false || isHttp2(port.appProtocol ?? port.name ?? '')) return [];
    if (http1Share === undefined || http1Share < LEAST_HTTP1 || (requestsPerSec ?? 0) < LEAST_RATE) return [];
    const pods = input.inventory.workloads
      .filter(({ id }) => service.workloads.includes(id))
      .reduce(
        (sum, one) => sum + (one.replicas ?? one.podSets.reduce((all, { pods: some }) => all + some.length, 0)),
        0,
      );
    const needed = WORKERS * Math.max(1, pods);
    const left = peakConnections === undefined ? undefined : Math.min(1, needed / Math.max(1, peakConnections));
    if (left === 1 && peakConnections !== undefined) return [];
    const rule = ruleOf(input.objects, service);
    const now = rule.kind === 'one' ? asObject(poolAt(rule.object, port.port)['http'])['h2UpgradePolicy'] : undefined;
    if (now === 'UPGRADE') return [];
    const bare = withoutSidecar(input, service);
    // Settings that go into a rule's own pool hold for every port that follows it.
    const upgraded = [port, ...sharedWith(input, service, port.port)];
    const tls = rule.kind === 'one' ? otherTls(rule.object, port.port) : undefined;
    return [
      makeProposal({
        kind: 'http2',
        namespace: input.namespace,
        subject,
        title: `proxies speak HTTP/2 to ${subject}`,
        evidence: evidenceOf(
          ['connections in HTTP/1.1', http1Share * 100, '%'],
          ['requests', requestsPerSec, '/s'],
          ['connections open at once, busiest caller', peakConnections, ''],
        ),
        gain:
          left === undefined || peakConnections === undefined
            ? undefined
            : {
                metric: 'connections open at once, busiest caller',
                before: peakConnections,
                unit: '',
                ...percentRange((1 - left) / 2, 1 - left),
                derivation: `one connection for each of ${WORKERS} workers and ${Math.max(1, pods)} servers is enough: 1 - ${needed}/${short(peakConnections)}; half of it where streams run into limits`,
              },
        risks: [
          'one connection carries many requests: what stalls it stalls them all',
          'callers without a sidecar are not touched',
          'upgrades such as WebSocket travel in HTTP/2 as extended CONNECT: try them first',
        ],
        refused: [
          ...(http === true
            ? []
            : [
                `${subject} declares no protocol: where it is detected, the server's proxy would hand HTTP/2 to the application`,
              ]),
          ...(service.workloads.length === 0 ? [`no workload behind ${subject} is known`] : []),
          ...(bare.length === 0
            ? []
            : [`not every pod behind it has a sidecar: ${bare.join(', ')} would be spoken HTTP/2 to`]),
          ...upgraded.flatMap((one) => {
            const past = pastProxy(input, service, one);
            return past.length === 0
              ? []
              : [
                  `port ${one.targetPort} is left out of the proxy of ${past.join(', ')}, or may be: the application itself would be spoken HTTP/2 to`,
                ];
          }),
          ...(tls === undefined
            ? []
            : [
                `its rule sets client TLS ${tls}: what ends it is not, or may not be, the proxy that turns HTTP/2 back`,
              ]),
          ...listenersOf(input).map(
            (name) => `${name} gives proxies listeners of their own (ingress): which ports pass them is not judged`,
          ),
          ...(now === 'DO_NOT_UPGRADE' ? ['its rule says DO_NOT_UPGRADE: somebody decided against it'] : []),
          ...againstPool(input, service, port.port),
        ],
        writes: [
          {
            kind: 'pool',
            service: { namespace: service.namespace, name: service.name },
            port: port.port,
            http: { h2UpgradePolicy: 'UPGRADE' },
          },
        ],
        sources: [
          'istio.io/latest/docs/reference/config/networking/destination-rule (h2UpgradePolicy)',
          'github.com/istio/istio pilot/pkg/networking/core/cluster_traffic_policy.go (shouldH2Upgrade)',
          'envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/connection_pooling (HTTP/2)',
        ],
      }),
    ];
  });
}

/** Sidecars for the namespace's pods with `ingress`: ports that it does not name reach the application as they come. */
function listenersOf({ objects, namespace, inventory }: TuningInput): readonly string[] {
  const where = [namespace, inventory.facts.mesh.rootNamespace];
  return objects.flatMap((object) => {
    if (object.kind !== 'Sidecar' || !where.includes(namespaceOf(object) ?? 'default')) return [];
    const parsed = parseIstioObject(object);
    return parsed?.kind === 'Sidecar' && parsed.ingress ? [formatRef(refOf(object))] : [];
  });
}

function isHttp2(declared: string): boolean {
  return /^(?:http2|grpc|kubernetes\.io\/h2c)/iu.test(declared);
}
