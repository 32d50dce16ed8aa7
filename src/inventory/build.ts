import { sortBy } from '../shared/pure/order.ts';
import type { Config } from '../model/config.ts';
import type { Finding } from '../model/finding.ts';
import type {
  Classification,
  ClusterFacts,
  Declared,
  Inventory,
  PodSet,
  ServiceInfo,
  Snapshot,
  Workload,
} from '../model/inventory.ts';
import { endpointKey } from '../model/edge.ts';
import type { KubeManifest } from '../model/object.ts';
import type { Analysis, AnalyzerContext } from './analyzers/context.ts';
import { finding } from './analyzers/context.ts';
import { analyzeCloud, declaredByClouds } from './analyzers/cloud.ts';
import { analyzeGateways } from './analyzers/gateways.ts';
import { analyzeHygiene, namespaceFindings } from './analyzers/hygiene.ts';
import { analyzeIngress } from './analyzers/ingress.ts';
import { analyzeMesh } from './analyzers/mesh.ts';
import { analyzePolicies } from './analyzers/policies.ts';
import { analyzeProbes } from './analyzers/probes.ts';
import { analyzeReferences } from './analyzers/references.ts';
import { analyzeScrapes } from './analyzers/scrapes.ts';
import { analyzeWebhooks } from './analyzers/webhooks.ts';
import { classifyWorkload, compileSignatures } from './classify.ts';
import type { CompiledSignatures } from './classify.ts';
import { buildFacts, buildNodes } from './facts.ts';
import { memoByObject, memoWithInputs } from './memo.ts';
import { buildNamespaces } from './namespaces.ts';
import type { ObjectIndex } from './object-index.ts';
import { buildIndex } from './object-index.ts';
import { policiesOf } from './policies.ts';
import type { NamespaceLabels } from './services.ts';
import { buildServices, labelsByNamespace } from './services.ts';
import type { Signatures } from './signatures.ts';
import { buildDrafts } from './workloads.ts';
import type { WorkloadDraft } from './workloads.ts';

export interface InventoryOptions {
  readonly config: Config;
  readonly signatures: Signatures;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

const compiledOf: (signatures: Signatures) => CompiledSignatures = memoByObject(compileSignatures);
const workloadOf = memoWithInputs<Workload>();

/** What is known half-way: the context of the analyzers, and what they do not need. */
export interface Survey extends AnalyzerContext {
  readonly facts: ClusterFacts;
  readonly labels: NamespaceLabels;
}

/**
 * What the cluster is, from everything read at one moment. Pure; objects of the snapshot must not change afterwards, because
 * what is parsed of them is kept for the next snapshot that has the same object.
 */
export function buildInventory(snapshot: Snapshot, options: InventoryOptions): Inventory {
  return surveySnapshot(snapshot, options).inventory;
}

/** The same, with what it was made from. */
export function surveySnapshot(
  snapshot: Snapshot,
  options: InventoryOptions,
): { readonly survey: Survey; readonly inventory: Inventory } {
  const index = buildIndex(snapshot);
  const { facts, findings: factFindings } = buildFacts(index, options.config);
  const { drafts, unreadOwners } = buildDrafts(index, namespaceNamed(index), facts.mesh);
  const survey = surveyOf(index, facts, drafts, options.signatures);
  const analyses = [...analyze(survey), analyzeCloud(survey, facts)];
  const policies = policiesOf(index);
  const inventory: Inventory = {
    namespaces: survey.namespaces,
    workloads: survey.workloads,
    services: survey.services,
    nodes: buildNodes(index),
    facts,
    declared: distinctDeclared(analyses.flatMap((analysis) => analysis.declared)),
    policies,
    findings: orderFindings([
      ...snapshot.findings,
      ...factFindings,
      ...unreadOwners.map((owner) => finding('SP306', 'info', owner, `${owner} owns pods and was not read`)),
      ...analyses.flatMap((analysis) => analysis.findings),
      ...analyzeHygiene(survey),
      ...analyzePolicies(policies, facts, snapshot),
    ]),
  };
  return { survey, inventory };
}

/** As `surveySnapshot`, without a single finding: what states of a plan are judged by. */
export function surveyState(
  snapshot: Snapshot,
  options: InventoryOptions,
): { readonly survey: Survey; readonly inventory: Inventory } {
  const index = buildIndex(snapshot);
  const { facts } = buildFacts(index, options.config);
  const { drafts } = buildDrafts(index, namespaceNamed(index), facts.mesh);
  const survey = surveyOf(index, facts, drafts, options.signatures);
  const inventory: Inventory = {
    namespaces: survey.namespaces,
    workloads: survey.workloads,
    services: survey.services,
    nodes: buildNodes(index),
    facts,
    declared: declaredIn(survey),
    policies: policiesOf(index),
    findings: [],
  };
  return { survey, inventory };
}

export function namespaceNamed(index: ObjectIndex): (name: string) => KubeManifest | undefined {
  return (name) => index.byKey.get(`/Namespace//${name}`);
}

function surveyOf(
  index: ObjectIndex,
  facts: ClusterFacts,
  drafts: readonly WorkloadDraft[],
  signatures: Signatures,
): Survey {
  const labels = labelsByNamespace(drafts);
  const services = buildServices(index, labels, drafts);
  return completeSurvey({
    index,
    facts,
    drafts,
    labels,
    services,
    namespaces: buildNamespaces(index, drafts, facts.mesh),
    workloads: classifyDrafts(drafts, services, signatures),
  });
}

/** The survey with its tables. */
export function completeSurvey(parts: Omit<Survey, 'byId' | 'serviceByName'>): Survey {
  return {
    ...parts,
    byId: new Map(parts.workloads.map((workload) => [workload.id, workload])),
    serviceByName: new Map(parts.services.map((service) => [`${service.namespace}/${service.name}`, service])),
  };
}

function analyze(context: AnalyzerContext): readonly Analysis[] {
  return [
    analyzeWebhooks(context),
    analyzeProbes(context),
    analyzeIngress(context),
    analyzeGateways(context),
    analyzeScrapes(context),
    analyzeReferences(context),
    analyzeMesh(context),
  ];
}

/** What configuration states of connections. */
export function declaredIn(survey: Survey): readonly Declared[] {
  const all = analyze(survey).flatMap((analysis) => analysis.declared);
  return distinctDeclared([...all, ...declaredByClouds(survey, survey.facts)]);
}

/** Workloads from drafts and the Services that lead to them. */
export function classifyDrafts(
  drafts: readonly WorkloadDraft[],
  services: readonly ServiceInfo[],
  signatures: Signatures,
): readonly Workload[] {
  return buildWorkloads(drafts, services, compiledOf(signatures));
}

const UNCLASSIFIED: Classification = {
  component: 'unknown',
  stage: 'unknown',
  plane: 'unknown',
  sensitivity: ['unknown'],
  confidence: 'weak',
  why: ['it was not looked at'],
  alternatives: [],
};

/**
 * What is needed to say who can connect to whom: as `buildInventory`, but no workload is classified, nothing declared is looked for, and
 * of the findings only those of reading, of facts and of namespaces are there; policies are not checked.
 */
export function buildConnectionInventory(snapshot: Snapshot, { config }: Pick<InventoryOptions, 'config'>): Inventory {
  const index = buildIndex(snapshot);
  const { facts, findings } = buildFacts(index, config);
  const { drafts } = buildDrafts(index, namespaceNamed(index), facts.mesh);
  const services = buildServices(index, labelsByNamespace(drafts), drafts);
  const namespaces = buildNamespaces(index, drafts, facts.mesh);
  return {
    namespaces,
    workloads: drafts.map((draft) =>
      workloadFrom(
        draft,
        draft.podSets.map(({ set }) => set),
        UNCLASSIFIED,
      ),
    ),
    services,
    nodes: buildNodes(index),
    facts,
    declared: [],
    policies: policiesOf(index),
    findings: orderFindings([...snapshot.findings, ...findings, ...namespaceFindings({ index, namespaces, drafts })]),
  };
}

function buildWorkloads(
  drafts: readonly WorkloadDraft[],
  services: readonly ServiceInfo[],
  compiled: CompiledSignatures,
): readonly Workload[] {
  const names = new Map<string, string[]>();
  for (const service of services) {
    for (const id of service.workloads) {
      const list = names.get(id);
      if (list === undefined) names.set(id, [service.name]);
      else list.push(service.name);
    }
  }
  return drafts.map((draft) => {
    const serviceNames = names.get(draft.id) ?? [];
    return workloadOf(draft, [compiled, serviceNames.join(',')], () => buildWorkload(draft, serviceNames, compiled));
  });
}

function buildWorkload(draft: WorkloadDraft, serviceNames: readonly string[], compiled: CompiledSignatures): Workload {
  const podSets = draft.podSets.map(({ set }) => set);
  // What hands a job in is not what the job is.
  const telling = podSets.filter((set) => set.role !== 'submitter');
  const speaking = telling.length > 0 ? telling : podSets;
  const containers = speaking.flatMap((set) => [...set.containers].sort((a, b) => Number(a.init) - Number(b.init)));
  const classification = classifyWorkload(
    {
      namespace: draft.namespace,
      name: draft.name,
      kind: draft.kind,
      group: draft.group,
      ownerKinds: draft.ownerKinds,
      labels: sharedLabels(speaking.map((set) => set.labels)),
      images: containers.map((container) => container.image),
      containerNames: containers.map((container) => container.name),
      envNames: containers.flatMap((container) => container.envNames),
      serviceAccount: speaking[0]?.serviceAccount ?? 'default',
      serviceNames,
      ports: containers.flatMap((container) =>
        container.ports.map(({ port, name }) => (name === undefined ? { port } : { port, name })),
      ),
    },
    compiled,
  );
  return workloadFrom(draft, podSets, classification);
}

function workloadFrom(draft: WorkloadDraft, podSets: readonly PodSet[], classification: Classification): Workload {
  return {
    id: draft.id,
    namespace: draft.namespace,
    kind: draft.kind,
    name: draft.name,
    ref: draft.ref,
    custom: draft.custom,
    podSets,
    ...(draft.replicas === undefined ? {} : { replicas: draft.replicas }),
    batch: draft.batch,
    ...(draft.schedule === undefined ? {} : { schedule: draft.schedule }),
    ...(draft.manager === undefined ? {} : { manager: draft.manager }),
    classification,
  };
}

function sharedLabels(all: readonly Readonly<Record<string, string>>[]): Readonly<Record<string, string>> {
  const [first, ...others] = all;
  if (first === undefined || others.length === 0) return first ?? {};
  return Object.fromEntries(
    Object.entries(first).filter(([key, value]) => others.every((labels) => labels[key] === value)),
  );
}

/** One of each connection; where two sources state it, the strong one is kept. Sorted. */
function distinctDeclared(all: readonly Declared[]): readonly Declared[] {
  const known = new Map<string, Declared>();
  for (const item of all) {
    const key = `${endpointKey(item.src)}\n${endpointKey(item.dst)}\n${item.protocol}\n${item.port}`;
    const earlier = known.get(key);
    if (earlier === undefined || (earlier.strength === 'weak' && item.strength === 'strong')) known.set(key, item);
  }
  return sortBy(known, ([key]) => key).map(([, item]) => item);
}

function orderFindings(findings: readonly Finding[]): readonly Finding[] {
  return sortBy(findings, (item) => `${item.code}\n${item.subject}\n${item.message}`);
}
