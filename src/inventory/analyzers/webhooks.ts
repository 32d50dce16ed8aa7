import { asNumber, asString, getPath } from '../../shared/pure/json.ts';
import type { Declared } from '../../model/inventory.ts';
import type { Finding } from '../../model/finding.ts';
import { webhookBackends } from '../namespaces.ts';
import { objectsOf } from '../object-index.ts';
import type { Analysis, AnalyzerContext } from './context.ts';
import { API_SERVER, backendsOf, finding, workloadEndpoint } from './context.ts';

/** The API server calls webhooks and aggregated APIs: strong edges to the workloads behind their Services. */
export function analyzeWebhooks(context: AnalyzerContext): Analysis {
  const declared: Declared[] = [];
  const findings: Finding[] = [];
  const missing = new Set<string>();
  const call = (namespace: string, name: string, port: number, by: string): void => {
    const service = context.serviceByName.get(`${namespace}/${name}`);
    const backends = service === undefined ? [] : backendsOf(context, service, port);
    for (const backend of backends) {
      declared.push({
        src: API_SERVER,
        dst: workloadEndpoint(backend.workload),
        protocol: backend.protocol,
        port: backend.port,
        strength: 'strong',
        by,
      });
    }
    const key = `${by}\n${namespace}/${name}`;
    if (backends.length > 0 || missing.has(key)) return;
    missing.add(key);
    const why = service === undefined ? 'which does not exist' : 'which leads to no workload on that port';
    findings.push(finding('SP320', 'warning', by, `${by} calls Service ${namespace}/${name}:${port}, ${why}`));
  };
  for (const { configuration, namespace, service, port } of webhookBackends(context.index)) {
    call(namespace, service, port, `${configuration.kind} ${configuration.metadata.name}`);
  }
  for (const api of objectsOf(context.index, 'apiregistration.k8s.io', 'APIService')) {
    const namespace = asString(getPath(api, ['spec', 'service', 'namespace']));
    const name = asString(getPath(api, ['spec', 'service', 'name']));
    if (namespace === undefined || name === undefined) continue;
    const port = asNumber(getPath(api, ['spec', 'service', 'port'])) ?? 443;
    call(namespace, name, port, `APIService ${api.metadata.name}`);
  }
  return { declared, findings };
}
