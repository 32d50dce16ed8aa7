import { podSpecsOf } from '../../model/account-places.ts';
import type { BindingWay, CloudBinding, CloudKey } from '../../model/cloud-identity.ts';
import {
  AZURE_ANNOTATION,
  AZURE_LABEL,
  cloudBindings,
  cloudKeysIn,
  federationIn,
  isWide,
  metadataPaths,
  readCloud,
} from '../../model/cloud-identity.ts';
import type { Endpoint } from '../../model/edge.ts';
import type { Finding } from '../../model/finding.ts';
import type { ClusterFacts, Declared, PodSet, Workload } from '../../model/inventory.ts';
import type { KubeManifest } from '../../model/object.ts';
import { annotationsOf, namespaceOf } from '../../model/object.ts';
import { groupBy, uniqueSorted } from '../../shared/pure/order.ts';
import { memoByObject } from '../memo.ts';
import { objectsOf } from '../object-index.ts';
import type { Analysis, AnalyzerContext } from './context.ts';
import { NODE, finding, workloadEndpoint } from './context.ts';

/**
 * Identities of clouds: the metadata paths of workloads that need one (strong edges: configuration states them), keys that do not end, and
 * trusts that do not fit together.
 */
export function analyzeCloud(context: AnalyzerContext, facts: ClusterFacts): Analysis {
  const findings: Finding[] = [...trustFindings(context, bindingsIn(context))];
  const owners = ownersIn(context);
  for (const workload of context.workloads) {
    const { keys } = ownerOf(workload, owners);
    const [key] = keys;
    if (key !== undefined)
      findings.push(
        finding(
          'SP362',
          'warning',
          workload.id,
          `${workload.id} holds a long-lived key of ${key.cloud}: ${uniqueSorted(keys.map((one) => `${one.place}${one.reference === undefined ? '' : ` from ${one.reference}`}`)).join('; ')}`,
        ),
      );
    findings.push(...azureFindings(workload, context));
  }
  return { declared: declaredByClouds(context, facts), findings };
}

/** The metadata paths alone. */
export function declaredByClouds(context: AnalyzerContext, facts: ClusterFacts): readonly Declared[] {
  const bindings = groupBy(
    bindingsIn(context).filter((binding) => !isWide(binding)),
    (binding) => `${binding.namespace}/${binding.account ?? ''}`,
  );
  const { cloud } = readCloud(objectsOf(context.index, '', 'Node'));
  const owners = ownersIn(context);
  const declared: Declared[] = [];
  for (const workload of context.workloads)
    for (const { way, by } of waysOf(workload, ownerOf(workload, owners), bindings))
      for (const { ip, port, why } of metadataPaths(way, facts.cni.name, cloud === 'gcp'))
        declared.push({
          src: workloadEndpoint(workload.id),
          dst: ip === undefined ? NODE : metadataEndpoint(ip),
          protocol: 'TCP',
          port,
          strength: 'strong',
          by: `${by} (${why})`,
        });
  return declared;
}

function ownersIn(context: AnalyzerContext): ReadonlyMap<string, KubeManifest | undefined> {
  return new Map(context.drafts.map((draft) => [draft.id, draft.manifest]));
}

function ownerOf({ id }: Workload, owners: ReadonlyMap<string, KubeManifest | undefined>): OwnerFacts {
  const owner = owners.get(id);
  return owner === undefined ? NOTHING : readOwner(owner);
}

/** What one object states; kept, since simulated states share most objects. */
const bindingsOfObject = memoByObject((object: KubeManifest) => cloudBindings([object]));

function bindingsIn(context: AnalyzerContext): readonly CloudBinding[] {
  const objects = TRUST_KINDS.flatMap(([group, kind]) => objectsOf(context.index, group, kind));
  return cloudBindings(objects.filter((object) => bindingsOfObject(object).length > 0));
}

/** Does this object state no trust of a cloud? Of accounts nothing else is declared. */
export function trustsNobody(object: KubeManifest): boolean {
  return bindingsOfObject(object).length === 0;
}

/** Kinds by which a cluster states whom a cloud trusts. */
const TRUST_KINDS: readonly (readonly [string, string])[] = [
  ['', 'ServiceAccount'],
  ['eks.services.k8s.aws', 'PodIdentityAssociation'],
  ['iam.services.k8s.aws', 'Role'],
  ['iam.cnrm.cloud.google.com', 'IAMPolicyMember'],
  ['iam.cnrm.cloud.google.com', 'IAMPartialPolicy'],
  ['managedidentity.azure.com', 'FederatedIdentityCredential'],
];

interface OwnerFacts {
  /** How its pod specs come to an identity. */
  readonly ways: ReturnType<typeof federationIn>;
  readonly keys: readonly CloudKey[];
}

const NOTHING: OwnerFacts = { ways: [], keys: [] };

/** Pod specs of an owner and the keys in them; kept, since simulated states share most objects. */
const readOwner = memoByObject((owner: KubeManifest): OwnerFacts => {
  const specs = podSpecsOf(owner).map(({ spec }) => spec);
  const keys = specs.flatMap((spec) => cloudKeysIn(spec, namespaceOf(owner) ?? ''));
  return {
    ways: specs.flatMap((spec) => federationIn(spec, {}, {})),
    keys: keys.filter((key) => key.cloud !== 's3-compatible' && key.cloud !== 'unknown'),
  };
});

/** As attribution names it, so that what is seen and what is stated are one edge. */
function metadataEndpoint(ip: string): Endpoint {
  return ip === '169.254.169.254' ? { kind: 'external', name: 'metadata-server', ip } : { kind: 'external', ip };
}

interface Way {
  readonly way: BindingWay;
  readonly by: string;
}

const waysOfPods = memoByObject((podSet: PodSet) => federationIn({}, podSet.labels, podSet.annotations));

/** How the pods of a workload come to an identity of a cloud, as configuration has it: one of each way. Trusts by pattern name nobody. */
function waysOf(
  workload: Workload,
  owner: OwnerFacts,
  bindings: ReadonlyMap<string, readonly CloudBinding[]>,
): readonly Way[] {
  const found = new Map<BindingWay, string>();
  const add = (way: BindingWay, by: string): void => void found.set(way, found.get(way) ?? by);
  for (const podSet of workload.podSets) {
    for (const { way, by } of bindings.get(`${workload.namespace}/${podSet.serviceAccount}`) ?? []) add(way, by);
    for (const { way, because } of waysOfPods(podSet)) add(way, because);
  }
  for (const { way, because } of owner.ways) add(way, because);
  return [...found].map(([way, by]) => ({ way, by }));
}

/** Azure's webhook acts on labelled pods alone (Azure/azure-workload-identity, v1.0 on). */
function azureFindings(workload: Workload, context: AnalyzerContext): readonly Finding[] {
  return workload.podSets.flatMap((podSet) => {
    const account = context.index.byKey.get(`/ServiceAccount/${workload.namespace}/${podSet.serviceAccount}`);
    const annotated = account !== undefined && annotationsOf(account)[AZURE_ANNOTATION] !== undefined;
    const labelled = podSet.labels[AZURE_LABEL] === 'true';
    if (annotated === labelled) return [];
    const role = podSet.role === '' ? '' : ` (${podSet.role})`;
    return [
      finding(
        'SP367',
        'warning',
        workload.id,
        annotated
          ? `${workload.id}${role} runs as ${podSet.serviceAccount}, which carries ${AZURE_ANNOTATION}, but its pods lack the label ${AZURE_LABEL}: they are given no token`
          : `the pods of ${workload.id}${role} carry ${AZURE_LABEL}, but account ${podSet.serviceAccount} names no client: they are given a token for nobody`,
      ),
    ];
  });
}

function trustFindings(context: AnalyzerContext, bindings: readonly CloudBinding[]): readonly Finding[] {
  const accounts = new Set(
    objectsOf(context.index, '', 'ServiceAccount').map(
      (object) => `${namespaceOf(object) ?? ''}/${object.metadata.name}`,
    ),
  );
  const out: Finding[] = [];
  for (const binding of bindings) {
    const { namespace, account, by, cloud } = binding;
    const who = `${namespace}/${account ?? '*'}`;
    const identity = binding.identity ?? 'an identity';
    if (isWide(binding))
      out.push(finding('SP365', 'warning', by, `${by} lets every account that fits ${who} be ${identity} of ${cloud}`));
    else if (!accounts.has(who) && context.namespaces.some((one) => one.declared || one.name === namespace))
      out.push(
        finding(
          'SP364',
          'warning',
          by,
          `${by} trusts account ${who}, which does not exist: whoever makes it is ${identity}`,
        ),
      );
  }
  const users = new Map<string, string[]>();
  for (const workload of context.workloads)
    for (const account of uniqueSorted(workload.podSets.map((podSet) => podSet.serviceAccount))) {
      const key = `${workload.namespace}/${account}`;
      users.set(key, [...(users.get(key) ?? []), workload.id]);
    }
  for (const [identity, list] of byIdentity(bindings)) {
    const namespaces = uniqueSorted(list.map(({ namespace }) => namespace));
    if (namespaces.length > 1)
      out.push(
        finding(
          'SP366',
          'warning',
          identity,
          `${identity} is the identity of accounts in several namespaces: ${namespaces.join(', ')}`,
        ),
      );
    const shared = uniqueSorted(list.map((one) => `${one.namespace}/${one.account ?? ''}`)).flatMap((key) => {
      const ids = users.get(key) ?? [];
      return ids.length > 1 ? [`${key} (${ids.join(', ')})`] : [];
    });
    if (shared.length > 0)
      out.push(
        finding(
          'SP363',
          'warning',
          identity,
          `workloads that share an account are all ${identity}: ${shared.join('; ')}`,
        ),
      );
  }
  return out;
}

function byIdentity(bindings: readonly CloudBinding[]): ReadonlyMap<string, readonly CloudBinding[]> {
  const found = new Map<string, CloudBinding[]>();
  for (const binding of bindings)
    if (binding.identity !== undefined && !isWide(binding))
      found.set(binding.identity, [...(found.get(binding.identity) ?? []), binding]);
  return found;
}
