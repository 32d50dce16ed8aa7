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
import type { ClusterFacts, Declared, Workload } from '../../model/inventory.ts';
import type { KubeManifest } from '../../model/object.ts';
import { annotationsOf, namespaceOf } from '../../model/object.ts';
import type { JsonObject } from '../../shared/pure/json.ts';
import { uniqueSorted } from '../../shared/pure/order.ts';
import { memoByObject } from '../memo.ts';
import { objectsOf } from '../object-index.ts';
import type { Analysis, AnalyzerContext } from './context.ts';
import { NODE, finding, workloadEndpoint } from './context.ts';

/**
 * Identities of clouds: the metadata paths of workloads that need one (strong edges: configuration states them), keys that do not end, and
 * trusts that do not fit together.
 */
export function analyzeCloud(context: AnalyzerContext, facts: ClusterFacts): Analysis {
  const objects = TRUST_KINDS.flatMap(([group, kind]) => objectsOf(context.index, group, kind));
  const bindings = cloudBindings(objects);
  const cloud = readCloud(objectsOf(context.index, '', 'Node'));
  const owners = new Map(context.drafts.map((draft) => [draft.id, draft.manifest]));
  const declared: Declared[] = [];
  const findings: Finding[] = [...trustFindings(context, bindings)];
  for (const workload of context.workloads) {
    const owner = owners.get(workload.id);
    const { specs, keys } = owner === undefined ? NOTHING : readOwner(owner);
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
    const ways = waysOf(workload, specs, bindings);
    for (const { way, by } of ways)
      for (const { ip, port, why } of metadataPaths(way, facts.cni.name, cloud.cloud === 'gcp'))
        declared.push({
          src: workloadEndpoint(workload.id),
          dst: ip === undefined ? NODE : metadataEndpoint(ip),
          protocol: 'TCP',
          port,
          strength: 'strong',
          by: `${by} (${why})`,
        });
    findings.push(...azureFindings(workload, context));
  }
  return { declared, findings };
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
  readonly specs: readonly JsonObject[];
  readonly keys: readonly CloudKey[];
}

const NOTHING: OwnerFacts = { specs: [], keys: [] };

/** Pod specs of an owner and the keys in them; kept, since simulated states share most objects. */
const readOwner = memoByObject((owner: KubeManifest): OwnerFacts => {
  const specs = podSpecsOf(owner).map(({ spec }) => spec);
  const keys = specs.flatMap((spec) => cloudKeysIn(spec, namespaceOf(owner) ?? ''));
  return { specs, keys: keys.filter((key) => key.cloud !== 's3-compatible') };
});

/** As attribution names it, so that what is seen and what is stated are one edge. */
function metadataEndpoint(ip: string): Endpoint {
  return ip === '169.254.169.254' ? { kind: 'external', name: 'metadata-server', ip } : { kind: 'external', ip };
}

interface Way {
  readonly way: BindingWay;
  readonly by: string;
}

/** How the pods of a workload come to an identity of a cloud, as configuration has it: one of each way. Trusts by pattern name nobody. */
function waysOf(workload: Workload, specs: readonly JsonObject[], bindings: readonly CloudBinding[]): readonly Way[] {
  const found = new Map<BindingWay, string>();
  for (const podSet of workload.podSets) {
    for (const binding of bindings)
      if (binding.namespace === workload.namespace && binding.account === podSet.serviceAccount && !isWide(binding))
        found.set(binding.way, found.get(binding.way) ?? binding.by);
    for (const { way, because } of federationIn({}, podSet.labels, podSet.annotations))
      found.set(way, found.get(way) ?? because);
  }
  for (const spec of specs)
    for (const { way, because } of federationIn(spec, {}, {})) found.set(way, found.get(way) ?? because);
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
