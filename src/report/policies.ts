import { deriveAuthorization } from '../candidates/authorization.ts';
import type { CandidateContext } from '../candidates/network.ts';
import { deriveNetworkCandidate } from '../candidates/network.ts';
import type { View } from '../engine/contract.ts';
import type { Edge } from '../model/edge.ts';
import { endpointNamespace } from '../model/edge.ts';
import { checkPolicies } from '../model/evaluate.ts';
import type { Inventory, Workload } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { formatRef, groupOf, namespaceOf, refKey, refOf } from '../model/object.ts';
import { candidateContext } from '../readiness/view.ts';
import type { Json } from '../shared/pure/json.ts';
import { equalJson } from '../shared/pure/json.ts';
import { compareText, groupBy, sortBy } from '../shared/pure/order.ts';
import type { CandidatesOfEdge } from './map.ts';
import type { AssessmentReport, CandidateRow, PoliciesSection } from './model.ts';
import { humanTimes } from './words.ts';
import { diffLines, yamlText } from './yaml-text.ts';

/** A candidate and what it is for. */
export interface Derived {
  readonly workload: Workload;
  readonly purpose: CandidateRow['purpose'];
  readonly object: KubeManifest;
  readonly rules: readonly { readonly peer: string; readonly edges: readonly Edge[]; readonly note?: string }[];
}

export interface DerivedSet {
  readonly all: readonly Derived[];
  readonly problems: PoliciesSection['problems'];
}

/** The parts of an inventory that bear on some namespaces. Everything without a namespace stays. */
export type Narrow = (namespaces: ReadonlySet<string>) => Inventory;

/** Sorts an inventory by namespaces once, so that its parts cost what they hold. */
export function narrower(inventory: Inventory): Narrow {
  const workloads = groupBy(inventory.workloads, (workload) => workload.namespace);
  const services = groupBy(inventory.services, (service) => service.namespace);
  const policies = groupBy(inventory.policies, (policy) => namespaceOf(policy) ?? '');
  const { rootNamespace } = inventory.facts.mesh;
  return (namespaces) => {
    const names = [...namespaces].sort(compareText);
    const of = <T>(groups: ReadonlyMap<string, readonly T[]>, from: readonly string[]): readonly T[] =>
      from.flatMap((name) => groups.get(name) ?? []);
    return {
      ...inventory,
      workloads: of(workloads, names),
      services: of(services, names),
      policies: of(policies, [...new Set(['', rootNamespace, ...names])]),
    };
  };
}

/** A namespace, those that it exchanges edges with, and those that nearly every pod needs. */
export function neighbourhoodOf(
  namespace: string,
  edges: readonly Edge[],
  system: readonly string[],
): ReadonlySet<string> {
  const out = new Set([namespace, ...system]);
  for (const edge of edges)
    for (const end of [edge.src, edge.dst]) {
      const one = endpointNamespace(end);
      if (one !== undefined) out.add(one);
    }
  return out;
}

/** The namespaces of the name servers and of the mesh's control plane. */
export function systemNamespaces({ system }: Pick<CandidateContext, 'system'>): readonly string[] {
  return [system.dns?.namespace, system.istiod?.namespace].filter((one) => one !== undefined);
}

/**
 * The candidates of every workload of these namespaces, of the network or of principals, in one state. `kept` are the edges by namespace. Each namespace is looked at
 * with its neighbours alone: nothing of a candidate depends on the others. `exempt` are ports that keep their plaintext.
 */
export function deriveCandidates(
  view: View,
  namespaces: readonly string[],
  kept: ReadonlyMap<string, readonly Edge[]>,
  wanted: 'network' | 'principals',
  exempt: (workload: string, port: number) => boolean = () => false,
): DerivedSet {
  const base = candidateContext({ ...view, edges: [] });
  const system = systemNamespaces(base);
  const byNamespace = groupBy(view.inventory.workloads, (workload) => workload.namespace);
  const narrow = narrower(view.inventory);
  const all: Derived[] = [];
  const problems = new Map<string, PoliciesSection['problems'][number]>();
  for (const namespace of namespaces) {
    const edges = kept.get(namespace) ?? [];
    const inventory = narrow(neighbourhoodOf(namespace, edges, system));
    const context: CandidateContext = {
      ...base,
      inventory,
      edges,
      plaintextExempt: (workload, port) => exempt(workload, port) || base.plaintextExempt(workload, port),
    };
    for (const workload of sortBy(byNamespace.get(namespace) ?? [], (one) => one.id)) {
      if (workload.podSets.length > 0 && workload.podSets.every((podSet) => podSet.hostNetwork)) continue;
      for (const direction of wanted === 'network' ? (['ingress', 'egress'] as const) : []) {
        const candidate = deriveNetworkCandidate(context, workload, direction);
        for (const { subject, text, fix } of candidate.problems)
          problems.set(`${subject}\n${text}`, { subject, text, fix });
        if (candidate.object !== undefined)
          all.push({ workload, purpose: direction, object: candidate.object, rules: candidate.rules });
      }
      if (wanted === 'network') continue;
      const authorization = deriveAuthorization(context, workload);
      for (const { subject, text, fix } of authorization.problems)
        problems.set(`${subject}\n${text}`, { subject, text, fix });
      if (authorization.object !== undefined)
        all.push({ workload, purpose: 'principals', object: authorization.object, rules: authorization.rules });
    }
  }
  return { all, problems: sortBy(problems.values(), (one) => `${one.subject}\n${one.text}`) };
}

/** Which candidate has a rule for an edge. */
export function candidatesOfEdges({ all }: DerivedSet): CandidatesOfEdge {
  const out = {
    ingress: new Map<string, number>(),
    egress: new Map<string, number>(),
    principals: new Map<string, number>(),
  };
  all.forEach(({ purpose, rules }, index) => {
    for (const rule of rules) for (const edge of rule.edges) out[purpose].set(edge.id, index);
  });
  return out;
}

/** The candidates for the report, each against what stands in the cluster. */
export function candidateRows(
  { all }: DerivedSet,
  byKey: ReadonlyMap<string, KubeManifest>,
  rank: ReadonlyMap<string, number>,
): readonly CandidateRow[] {
  return all.map(({ workload, purpose, object, rules }): CandidateRow => {
    const live = byKey.get(refKey(refOf(object)));
    const yaml = yamlText(object);
    const same = live !== undefined && equalJson(live['spec'], object['spec']);
    return {
      name: formatRef(refOf(object)),
      kind: object.kind,
      namespace: workload.namespace,
      workload: workload.id,
      purpose,
      operation: live === undefined ? 'create' : same ? 'unchanged' : 'change',
      yaml,
      diff: live === undefined || same ? [] : diffLines(specText(live['spec']), specText(object['spec'])),
      rules: rules.map((rule) => ({
        peer: rule.peer,
        edges: rule.edges.flatMap((edge) => rank.get(edge.id) ?? []),
        note: rule.note ?? null,
      })),
    };
  });
}

function specText(spec: Json | undefined): string {
  return yamlText({ spec: spec ?? {} });
}

/** Policies that stand today, by kind, and whether the simulator reads them. */
export function presentPolicies(inventory: Inventory): PoliciesSection['present'] {
  const left = new Set(
    checkPolicies(inventory).flatMap(({ code, subject }) => (code === 'SP344' ? [subject.split(' ')[0] ?? ''] : [])),
  );
  return [...groupBy(inventory.policies, (policy) => `${policy.kind}\n${groupOf(policy.apiVersion)}`)]
    .map(([key, own]) => {
      const [kind = '', group = ''] = key.split('\n');
      return {
        kind: group === '' ? kind : `${kind}.${group}`,
        count: own.length,
        judged: left.has(kind) ? ('no' as const) : ('yes' as const),
      };
    })
    .sort((a, b) => compareText(a.kind, b.kind));
}

/** Characters of candidates' texts that a page can bear. */
const MOST_TEXT = 6_000_000;

/** The report as a page shows it: in a large cluster the texts of candidates are left to `sallyport suggest`. */
export function fitForPage(report: AssessmentReport): AssessmentReport {
  const { policies, readiness, evidence } = report;
  const human = (facts: readonly string[]): readonly string[] => facts.map(humanTimes);
  const read: AssessmentReport = {
    ...report,
    evidence: { ...evidence, schedules: evidence.schedules.map((one) => ({ ...one, facts: human(one.facts) })) },
    readiness: {
      ...readiness,
      namespaces: readiness.namespaces.map((one) => ({
        ...one,
        phases: one.phases.map((phase) => ({
          ...phase,
          open: phase.open.map((gate) => ({ ...gate, facts: human(gate.facts) })),
        })),
      })),
    },
  };
  const size = policies.candidates.reduce((sum, one) => sum + one.yaml.length, 0);
  if (size <= MOST_TEXT) return read;
  const candidates = policies.candidates.map((one) => ({ ...one, yaml: '', diff: [] }));
  return { ...read, policies: { ...policies, candidates, textsLeftOut: true } };
}
