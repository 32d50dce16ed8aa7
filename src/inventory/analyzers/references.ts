import { asStringMap } from '../../shared/pure/json.ts';
import type { Declared } from '../../model/inventory.ts';
import type { KubeManifest } from '../../model/object.ts';
import { findHosts, serviceOfHost } from '../host-names.ts';
import { memoByObject } from '../memo.ts';
import { findObject } from '../object-index.ts';
import type { Mention } from '../pod-template.ts';
import type { WorkloadDraft } from '../workloads.ts';
import type { Analysis, AnalyzerContext } from './context.ts';
import { backendsOf, workloadEndpoint } from './context.ts';

/** Names of Services in environment, arguments and ConfigMaps: weak edges, which ask to be adopted or waived. */
export function analyzeReferences(context: AnalyzerContext): Analysis {
  const declared: Declared[] = [];
  for (const draft of context.drafts) {
    const known = new Set<string>();
    for (const mention of mentionsOf(context, draft)) {
      for (const edge of edgesOf(context, draft, mention)) {
        const key = `${edge.dst.kind === 'workload' ? edge.dst.id : ''}:${edge.port}/${edge.protocol}`;
        if (known.has(key)) continue;
        known.add(key);
        declared.push(edge);
      }
    }
  }
  return { declared, findings: [] };
}

function edgesOf(context: AnalyzerContext, draft: WorkloadDraft, mention: Mention): readonly Declared[] {
  const exists = (namespace: string, name: string): boolean => context.serviceByName.has(`${namespace}/${name}`);
  const found = serviceOfHost(mention.host, draft.namespace, exists);
  if (found === undefined) return [];
  const service = context.serviceByName.get(`${found.namespace}/${found.name}`);
  if (service === undefined) return [];
  return backendsOf(context, service, mention.port)
    .filter((backend) => backend.workload !== draft.id)
    .map((backend) => ({
      src: workloadEndpoint(draft.id),
      dst: workloadEndpoint(backend.workload),
      protocol: backend.protocol,
      port: backend.port,
      strength: 'weak',
      by: mention.by,
    }));
}

function mentionsOf(context: AnalyzerContext, draft: WorkloadDraft): readonly Mention[] {
  if (draft.configMaps.length === 0) return draft.mentions;
  const configured = draft.configMaps.flatMap((use): readonly Mention[] => {
    const map = findObject(context.index, '', 'ConfigMap', draft.namespace, use.name);
    if (map === undefined) return [];
    const mentions = configMapMentions(map);
    return use.key === undefined ? [...mentions.values()].flat() : (mentions.get(use.key) ?? []);
  });
  return [...draft.mentions, ...configured];
}

/** Hosts that each key of a ConfigMap names. A key that is written like a variable is read like one. */
const configMapMentions: (map: KubeManifest) => ReadonlyMap<string, readonly Mention[]> = memoByObject((map) => {
  const data = asStringMap(map['data']);
  return new Map(
    Object.entries(data).map(([key, text]) => [
      key,
      findHosts(text, key, (other) => data[other]).map((host) => ({
        ...host,
        by: `ConfigMap ${map.metadata.name} key ${key}`,
      })),
    ]),
  );
});
