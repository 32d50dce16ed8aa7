import { asArray, asNumber, asObject, asString, getPath } from '../shared/pure/json.ts';
import { canonicalJson } from '../shared/pure/json.ts';
import { compareText, sortBy, uniqueSorted } from '../shared/pure/order.ts';
import type { Labels, Manager, MeshFacts, MeshMembership, PodInfo, PodSet, Schedule } from '../model/inventory.ts';
import type { KubeManifest, ObjectRef } from '../model/object.ts';
import { groupOf, namespaceOf, refKey, refOf } from '../model/object.ts';
import { isDurableLabel, lastingLabels } from '../model/durable-labels.ts';
import { managerOf } from './manager.ts';
import { memoByObject, memoWithInputs } from './memo.ts';
import { predictMembership } from './mesh.ts';
import type { ObjectIndex } from './object-index.ts';
import { findObject, metaLabels, objectsOf, ownerRef, ownersOf } from './object-index.ts';
import type { ExpectedPods, OwnerKind } from './owners.ts';
import {
  expectedOwners,
  expectedPods,
  OWNER_KINDS,
  ownerKind,
  ownerKindOf,
  parseTime,
  runSucceededAt,
  scheduleOfOwner,
} from './owners.ts';
import type { ConfigMapUse, Mention, PodFacts } from './pod-template.ts';
import { ownContainers, parsePodFacts } from './pod-template.ts';
import { sandboxSince } from './sandbox.ts';

/** A pod as read, with what selectors of Services may ask of it. */
export interface PodRecord {
  readonly manifest: KubeManifest;
  readonly namespace: string;
  readonly info: PodInfo;
  readonly facts: PodFacts;
  readonly ambient: boolean;
  readonly finished: boolean;
  /** False for a Pod of a directory that nothing has started. */
  readonly observed: boolean;
  /** All of its owners, as a text; absent for a pod without any. */
  readonly ownerKey?: string;
}

/** A PodSet with what is needed while the inventory is built. */
export interface PodSetDraft {
  readonly set: PodSet;
  readonly records: readonly PodRecord[];
  /** Distinct lasting labels of its pods; those of the template where there are none. */
  readonly variants: readonly Labels[];
  readonly facts: PodFacts;
}

/** A workload before Services and classification. */
export interface WorkloadDraft {
  readonly id: string;
  readonly namespace: string;
  readonly kind: string;
  readonly group: string;
  readonly name: string;
  readonly ref: ObjectRef;
  readonly manifest?: KubeManifest;
  readonly custom: boolean;
  readonly batch: boolean;
  readonly podSets: readonly PodSetDraft[];
  readonly replicas?: number;
  readonly schedule?: Schedule;
  readonly manager?: Manager;
  /** Kinds from the pod's direct owner to the workload itself. */
  readonly ownerKinds: readonly { readonly group: string; readonly kind: string }[];
  readonly mentions: readonly Mention[];
  readonly configMaps: readonly ConfigMapUse[];
  readonly privileged: boolean;
}

export interface WorkloadDrafts {
  readonly drafts: readonly WorkloadDraft[];
  /** Direct owners of pods that were not in the snapshot: `namespace/Kind/name`, sorted. */
  readonly unreadOwners: readonly string[];
}

// ---- pods

const FINISHED: ReadonlySet<string> = new Set(['Succeeded', 'Failed']);

/** Parses one Pod; the answer for an unchanged object is kept. */
export const parsePod: (manifest: KubeManifest) => PodRecord = memoByObject((manifest) => {
  const facts = parsePodFacts(manifest);
  const status = asObject(manifest['status']);
  const phase = asString(status['phase']);
  const ips = [
    ...asArray(status['podIPs']).flatMap((item) => asString(asObject(item)['ip']) ?? []),
    ...[asString(status['podIP'])].flatMap((ip) => ip ?? []),
  ];
  const sidecar = facts.hasProxy || Object.hasOwn(facts.annotations, 'sidecar.istio.io/status');
  const node = asString(asObject(manifest['spec'])['nodeName']);
  const uid = asString(manifest.metadata['uid']);
  const startedAt = parseTime(status['startTime']);
  const addressSince = sandboxSince(status);
  const finished = phase !== undefined && FINISHED.has(phase);
  const finishedAt = finished ? finishTime(status) : undefined;
  const namespace = namespaceOf(manifest) ?? 'default';
  const owners = ownersOf(manifest).map((owner) => Object.values(owner).join('/'));
  return {
    manifest,
    namespace,
    ...(owners.length === 0 ? {} : { ownerKey: `${namespace}/${owners.join(',')}` }),
    facts,
    finished,
    observed: phase !== undefined,
    ambient: facts.annotations['ambient.istio.io/redirection'] === 'enabled',
    info: {
      name: manifest.metadata.name,
      ...(uid === undefined ? {} : { uid }),
      ips: [...new Set(ips)],
      ...(node === undefined ? {} : { node }),
      hostNetwork: facts.hostNetwork,
      phase: phase ?? 'Unknown',
      ready: isReady(status),
      sidecar,
      ...(startedAt === undefined ? {} : { startedAt }),
      ...(addressSince === undefined || addressSince === startedAt ? {} : { addressSince }),
      ...(finishedAt === undefined ? {} : { finishedAt }),
    },
  };
});

function isReady(status: ReturnType<typeof asObject>): boolean {
  return asArray(status['conditions'])
    .map(asObject)
    .some((condition) => condition['type'] === 'Ready' && condition['status'] === 'True');
}

function finishTime(status: ReturnType<typeof asObject>): number | undefined {
  const times = [...asArray(status['containerStatuses']), ...asArray(status['initContainerStatuses'])].flatMap(
    (item) => parseTime(getPath(item, ['state', 'terminated', 'finishedAt'])) ?? [],
  );
  if (times.length > 0) return Math.max(...times);
  const ended = asArray(status['conditions'])
    .map(asObject)
    .filter((condition) => condition['type'] === 'Ready')
    .flatMap((condition) => parseTime(condition['lastTransitionTime']) ?? []);
  return ended[0];
}

// ---- owners

interface Link {
  readonly ref: ObjectRef;
  readonly group: string;
  readonly manifest: KubeManifest | undefined;
}

const CLIMBS_FREELY: ReadonlySet<string> = new Set(['/Pod', 'apps/ReplicaSet', '/ReplicationController', 'batch/Job']);
const MAX_DEPTH = 12;

function linkOf(manifest: KubeManifest): Link {
  return { ref: refOf(manifest), group: groupOf(manifest.apiVersion), manifest };
}

/** The owner one step up, or undefined at the top. */
function parentOf(link: Link, index: ObjectIndex): Link | undefined {
  const { manifest } = link;
  if (manifest === undefined) return undefined;
  const namespace = namespaceOf(manifest);
  if (namespace === undefined) return undefined;
  const owners = ownersOf(manifest);
  const controller = owners.find((owner) => owner.controller);
  const only = owners.length === 1 ? owners[0] : undefined;
  // Some operators do not set `controller`: one owner of a kind that is known to own pods is enough.
  const owner =
    controller ??
    (only !== undefined && ownerKind(groupOf(only.apiVersion), only.kind) !== undefined ? only : undefined);
  if (owner === undefined) return workflowTemplate(link, namespace, index);
  const group = groupOf(owner.apiVersion);
  if (group === '' && owner.kind === 'Node') return undefined;
  const known = ownerKind(group, owner.kind) !== undefined;
  const free = CLIMBS_FREELY.has(`${link.group}/${link.ref.kind}`) || ownerKindOf(manifest) === undefined;
  if (!known && !free) return undefined;
  const found = findObject(index, group, owner.kind, namespace, owner.name);
  if (found !== undefined) return linkOf(found);
  if (findObject(index, group, owner.kind, undefined, owner.name) !== undefined && link.ref.kind !== 'Pod') {
    return undefined;
  }
  if (group === 'apps' && owner.kind === 'ReplicaSet') {
    const deployment = deploymentOfHash(manifest, owner.name, namespace, index);
    if (deployment !== undefined) return deployment;
  }
  return { ref: ownerRef(owner, namespace), group, manifest: undefined };
}

/** Where ReplicaSets were not read: a ReplicaSet is named after its Deployment and the hash that its pods carry. */
function deploymentOfHash(
  pod: KubeManifest,
  replicaSet: string,
  namespace: string,
  index: ObjectIndex,
): Link | undefined {
  const hash = metaLabels(pod)['pod-template-hash'];
  if (hash === undefined || !replicaSet.endsWith(`-${hash}`)) return undefined;
  const name = replicaSet.slice(0, -hash.length - 1);
  const deployment = findObject(index, 'apps', 'Deployment', namespace, name);
  return deployment === undefined ? undefined : linkOf(deployment);
}

/** A run submitted from a template is a run of that template. */
function workflowTemplate(link: Link, namespace: string, index: ObjectIndex): Link | undefined {
  if (link.group !== 'argoproj.io' || link.ref.kind !== 'Workflow' || link.manifest === undefined) return undefined;
  const name =
    asString(getPath(link.manifest, ['spec', 'workflowTemplateRef', 'name'])) ??
    metaLabels(link.manifest)['workflows.argoproj.io/workflow-template'];
  if (name === undefined) return undefined;
  const template = findObject(index, 'argoproj.io', 'WorkflowTemplate', namespace, name);
  return template === undefined ? undefined : linkOf(template);
}

/** From the object itself to its top owner. */
type Chain = readonly [Link, ...Link[]];

function chainOf(manifest: KubeManifest, index: ObjectIndex, known: Map<KubeManifest, Chain>): Chain {
  const hit = known.get(manifest);
  if (hit !== undefined) return hit;
  const chain: [Link, ...Link[]] = [linkOf(manifest)];
  let current: Link | undefined = chain[0];
  while (chain.length < MAX_DEPTH) {
    current = parentOf(current, index);
    if (current === undefined) break;
    const { manifest: owner } = current;
    const rest: Chain | undefined = owner === undefined ? undefined : known.get(owner);
    if (rest !== undefined) {
      chain.push(...rest);
      break;
    }
    chain.push(current);
  }
  known.set(manifest, chain);
  return chain;
}

function topOf(chain: Chain): Link {
  return chain[chain.length - 1] ?? chain[0];
}

// ---- groups

interface Group {
  readonly top: Link;
  readonly name: string;
  readonly pods: PodRecord[];
  /** The run or direct owner of each of `pods`. */
  readonly runs: (string | undefined)[];
  /** Objects between pods and the top: Jobs of a CronJob, Deployments of an InferenceService. */
  readonly children: KubeManifest[];
  ownerKinds: readonly { readonly group: string; readonly kind: string }[];
  /** Airflow's task pods: bare, one for each try. */
  readonly task: boolean;
}

/** Airflow labels the bare pods of a task with its DAG and its id: a person would name these and not the pod. */
function airflowTask(pod: PodRecord): string | undefined {
  const { labels } = pod.facts;
  const dag = labels['dag_id'];
  const task = labels['task_id'];
  return dag === undefined || task === undefined ? undefined : `${dag}.${task}`;
}

function groupKey(link: Link, name: string): string {
  return refKey({ ...link.ref, name });
}

function kindsOf(chain: Chain): readonly { readonly group: string; readonly kind: string }[] {
  const links = chain.length > 1 ? chain.slice(1) : chain;
  return links.map((link) => ({ group: link.group, kind: link.ref.kind }));
}

function collectGroups(index: ObjectIndex): { groups: Map<string, Group>; unreadOwners: string[] } {
  const chains = new Map<KubeManifest, Chain>();
  const groups = new Map<string, Group>();
  const unread = new Set<string>();
  const groupOfLink = (top: Link, name: string, task: boolean): Group => {
    const key = groupKey(top, name);
    const hit = groups.get(key);
    if (hit !== undefined) return hit;
    const made: Group = {
      top,
      name,
      pods: [],
      runs: [],
      children: [],
      ownerKinds: expectedOwners(top.group, top.ref.kind),
      task,
    };
    groups.set(key, made);
    return made;
  };
  for (const owner of OWNER_KINDS) {
    if (owner.kind === 'Pod' && owner.group === '') continue;
    for (const manifest of objectsOf(index, owner.group, owner.kind)) {
      if (namespaceOf(manifest) === undefined) continue;
      const chain = chainOf(manifest, index, chains);
      const top = topOf(chain);
      const group = groupOfLink(top, top.ref.name, false);
      if (chain.length > 1) group.children.push(manifest);
    }
  }
  // Pods of one owner share all above it.
  const byOwner = new Map<string, { readonly group: Group; readonly run: string | undefined }>();
  for (const manifest of objectsOf(index, '', 'Pod')) {
    const record = parsePod(manifest);
    const known = record.ownerKey === undefined ? undefined : byOwner.get(record.ownerKey);
    if (known !== undefined) {
      known.group.pods.push(record);
      known.group.runs.push(known.run);
      continue;
    }
    const chain = chainOf(manifest, index, chains);
    const top = topOf(chain);
    const task = chain.length === 1 ? airflowTask(record) : undefined;
    const group = groupOfLink(top, task ?? top.ref.name, task !== undefined);
    const run = runName(chain, group.top);
    group.pods.push(record);
    group.runs.push(run);
    // The longest chain says most: a submitter's Job is not what its RayJob is about.
    if (group.ownerKinds.length < chain.length - 1) group.ownerKinds = kindsOf(chain);
    if (chain.length === 1) continue;
    if (record.ownerKey !== undefined) byOwner.set(record.ownerKey, { group, run });
    if (top.manifest === undefined) unread.add(`${record.namespace}/${top.ref.kind}/${top.ref.name}`);
  }
  return { groups, unreadOwners: [...unread].sort(compareText) };
}

/** The run of a schedule that a pod belongs to, or its direct owner. */
function runName(chain: Chain, top: Link): string | undefined {
  if (chain.length < 2) return undefined;
  const scheduled = top.manifest !== undefined && scheduleOfOwner(top.manifest) !== undefined;
  const below = chain[chain.length - 2];
  const direct = chain[1];
  return scheduled && below !== undefined && below !== chain[0] ? below.ref.name : direct?.ref.name;
}

// ---- drafts

const draftOf = memoWithInputs<WorkloadDraft>();

/**
 * Workloads by their top owner, with their pods; before Services and classification. `namespaceLabels` answers for
 * namespaces with an object, `mesh` decides what pods without a running instance will be.
 */
export function buildDrafts(
  index: ObjectIndex,
  namespaceOfName: (name: string) => KubeManifest | undefined,
  mesh: MeshFacts,
): WorkloadDrafts {
  const { groups, unreadOwners } = collectGroups(index);
  const meshKey = canonicalJson(JSON.parse(JSON.stringify(mesh)) as ReturnType<typeof asObject>);
  const taken = new Set<string>();
  const drafts: WorkloadDraft[] = [];
  for (const group of groups.values()) {
    const namespace = group.top.ref.namespace ?? group.pods[0]?.namespace ?? 'default';
    const plainId = `${namespace}/${group.top.ref.kind}/${group.name}`;
    // Two kinds of one name from different groups (batch and Volcano Jobs): the second says its group.
    const kind = taken.has(plainId) ? `${group.top.ref.kind}.${group.top.group}` : group.top.ref.kind;
    taken.add(`${namespace}/${kind}/${group.name}`);
    const namespaceManifest = namespaceOfName(namespace);
    const compute = (): WorkloadDraft => buildDraft(group, namespace, kind, namespaceManifest, mesh);
    const key = group.top.manifest ?? group.pods[0]?.manifest;
    if (key === undefined) continue;
    const inputs = [kind, group.name, meshKey, namespaceManifest, ...group.children, ...group.pods, ...group.runs];
    drafts.push(draftOf(key, inputs, compute));
  }
  return { drafts: sortBy(drafts, (draft) => draft.id), unreadOwners };
}

function buildDraft(
  group: Group,
  namespace: string,
  kind: string,
  namespaceManifest: KubeManifest | undefined,
  mesh: MeshFacts,
): WorkloadDraft {
  const { top } = group;
  const owner = ownerKind(top.group, top.ref.kind);
  const isPod = top.group === '' && top.ref.kind === 'Pod';
  const named = group.pods.map((record, at) => {
    const run = group.runs[at];
    return run === undefined ? record : { ...record, info: { ...record.info, owner: run } };
  });
  const pods = sortBy(named, (record) => record.info.name);
  const podSets = membership(
    assemblePodSets(group, owner, isPod, pods),
    namespace,
    namespaceManifest === undefined ? {} : metaLabels(namespaceManifest),
    mesh,
  );
  const manifest = isPod && group.task ? undefined : top.manifest;
  const schedule = scheduleOfGroup(group);
  const manager = manifest === undefined ? undefined : managerOf(manifest);
  const replicas = manifest === undefined ? undefined : asNumber(getPath(manifest, ['spec', 'replicas']));
  return {
    id: `${namespace}/${kind}/${group.name}`,
    namespace,
    kind,
    group: top.group,
    name: group.name,
    ref: top.ref,
    ...(manifest === undefined ? {} : { manifest }),
    custom: owner?.custom ?? true,
    batch: owner !== undefined && !isPod ? owner.batch : podsEnd(pods),
    podSets,
    ...(replicas === undefined ? {} : { replicas }),
    ...(schedule === undefined ? {} : { schedule }),
    ...(manager === undefined ? {} : { manager }),
    ownerKinds: group.ownerKinds,
    mentions: podSets.flatMap((draft) => draft.facts.mentions),
    configMaps: podSets.flatMap((draft) => draft.facts.configMaps),
    privileged: podSets.some((draft) => draft.facts.privileged),
  };
}

/** Bare pods and those of unknown owners: their restart policy tells whether they are meant to end. */
function podsEnd(pods: readonly PodRecord[]): boolean {
  if (pods.length === 0) return false;
  return pods.every(({ manifest }) => {
    const policy = getPath(manifest, ['spec', 'restartPolicy']);
    return policy === 'Never' || policy === 'OnFailure';
  });
}

function scheduleOfGroup(group: Group): Schedule | undefined {
  const { manifest } = group.top;
  const schedule = manifest === undefined ? undefined : scheduleOfOwner(manifest);
  if (schedule === undefined) return undefined;
  const successes = group.children.flatMap((child) => runSucceededAt(child) ?? []);
  const last = Math.max(schedule.lastSuccess ?? Number.NEGATIVE_INFINITY, ...successes);
  return Number.isFinite(last) ? { ...schedule, lastSuccess: last } : schedule;
}

interface PodSetParts {
  readonly role: string;
  readonly facts: PodFacts;
  readonly labels: Labels;
  readonly templatePath?: readonly string[];
  readonly records: readonly PodRecord[];
  readonly variants: readonly Labels[];
  /** The account that the owner names, where the rest is that of the pods. */
  readonly namedAccount?: string;
}

function assemblePodSets(
  group: Group,
  owner: OwnerKind | undefined,
  isPod: boolean,
  pods: readonly PodRecord[],
): readonly PodSetParts[] {
  const { kind } = group.top.ref;
  const expected = group.top.manifest === undefined || isPod ? [] : expectedPods(group.top.manifest);
  const [first] = expected;
  if (owner !== undefined && !owner.custom && first !== undefined) {
    return [fromTemplate(first, pods)];
  }
  const keys = owner?.roleKeys ?? [];
  const assigned = new Map<ExpectedPods, PodRecord[]>();
  const extra = new Map<string, PodRecord[]>();
  for (const pod of pods) {
    const match = matchExpected(pod, expected, keys);
    if (match !== undefined) push(assigned, match, pod);
    else push(extra, fingerprint(pod, kind, keys), pod);
  }
  const sets = expected.map((item) => {
    const records = assigned.get(item);
    if (records === undefined) return fromTemplate(item, []);
    return {
      ...fromPods(item.role, records, kind, item.templatePath),
      // Where an owner names none, which one its operator takes is the operator's: the pods say it.
      ...(item.facts.serviceAccount === 'default' ? {} : { namedAccount: item.facts.serviceAccount }),
    };
  });
  for (const records of extra.values()) sets.push(fromPods(roleOf(records[0], keys), records, kind, undefined));
  if (sets.length === 0) sets.push(...fromChildren(group, keys));
  return uniqueRoles(sets);
}

function push<Key, Value>(map: Map<Key, Value[]>, key: Key, value: Value): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

function fromTemplate(expected: ExpectedPods, records: readonly PodRecord[]): PodSetParts {
  return {
    role: expected.role,
    facts: expected.facts,
    labels: expected.facts.labels,
    ...(expected.templatePath === undefined ? {} : { templatePath: expected.templatePath }),
    records,
    variants: [expected.facts.labels],
  };
}

function fromPods(
  role: string,
  records: readonly PodRecord[],
  kind: string,
  templatePath: readonly string[] | undefined,
): PodSetParts {
  const live = records.filter((record) => !record.finished);
  const speaking = live.length > 0 ? live : records;
  const variants = distinctLabels(speaking.map((record) => lastingLabels(record.facts.labels, kind)));
  const newest = speaking.reduce((a, b) => ((b.info.startedAt ?? 0) > (a.info.startedAt ?? 0) ? b : a));
  return {
    role,
    facts: { ...newest.facts, containers: ownContainers(newest.facts.containers) },
    labels: commonLabels(variants),
    ...(templatePath === undefined ? {} : { templatePath }),
    records,
    variants,
  };
}

/** Deployments and the like below a custom owner whose pods are scaled to none. */
function fromChildren(group: Group, keys: readonly string[]): readonly PodSetParts[] {
  return group.children.flatMap((child) => {
    const owner = ownerKindOf(child);
    // One run of a Job is no template for the next.
    if (owner === undefined || owner.custom || owner.batch || owner.kind === 'ReplicaSet') return [];
    return expectedPods(child).map((item) => {
      const key = keys.find((name) => item.facts.labels[name] !== undefined);
      const labels = lastingLabels(item.facts.labels, group.top.ref.kind);
      const role = key === undefined ? child.metadata.name : (item.facts.labels[key] ?? '');
      return { role, facts: item.facts, labels, records: [], variants: [labels] };
    });
  });
}

function distinctLabels(all: readonly Labels[]): readonly Labels[] {
  const known = new Map<string, Labels>();
  for (const labels of all) known.set(labelText(labels), labels);
  return [...known.values()];
}

function labelText(labels: Labels): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .sort(compareText)
    .join(',');
}

function commonLabels(variants: readonly Labels[]): Labels {
  const [first, ...others] = variants;
  if (first === undefined || others.length === 0) return first ?? {};
  return Object.fromEntries(
    Object.entries(first).filter(([key, value]) => others.every((labels) => labels[key] === value)),
  );
}

function matchExpected(
  pod: PodRecord,
  expected: readonly ExpectedPods[],
  keys: readonly string[],
): ExpectedPods | undefined {
  if (expected.length === 0) return undefined;
  const { labels } = pod.facts;
  let best: ExpectedPods | undefined;
  let bestCount = 0;
  for (const item of expected) {
    const asked = Object.entries(item.facts.labels).filter(([key]) => isDurableLabel(key));
    if (asked.length <= bestCount || !asked.every(([key, value]) => labels[key] === value)) continue;
    best = item;
    bestCount = asked.length;
  }
  if (best !== undefined) return best;
  // The operator of another release labels a little differently: the role alone decides.
  const key = keys.find((name) => labels[name] !== undefined);
  if (key === undefined) return undefined;
  return expected.find((item) => item.facts.labels[key] === labels[key]);
}

function roleOf(pod: PodRecord | undefined, keys: readonly string[]): string {
  const key = keys.find((name) => pod?.facts.labels[name] !== undefined);
  return key === undefined ? '' : (pod?.facts.labels[key] ?? '');
}

function fingerprint(pod: PodRecord, kind: string, keys: readonly string[]): string {
  return [
    roleOf(pod, keys),
    pod.facts.serviceAccount,
    pod.facts.hostNetwork,
    labelText(lastingLabels(pod.facts.labels, kind)),
  ].join('|');
}

/** A role names one PodSet of its workload. */
function uniqueRoles(sets: readonly PodSetParts[]): readonly PodSetParts[] {
  const seen = new Map<string, number>();
  return sets.map((set) => {
    const count = (seen.get(set.role) ?? 0) + 1;
    seen.set(set.role, count);
    return count === 1 ? set : { ...set, role: `${set.role === '' ? 'pods' : set.role}-${count}` };
  });
}

function membership(
  sets: readonly PodSetParts[],
  namespace: string,
  namespaceLabels: Labels,
  mesh: MeshFacts,
): readonly PodSetDraft[] {
  return sets.map((parts) => ({
    set: {
      role: parts.role,
      labels: parts.labels,
      annotations: parts.facts.annotations,
      serviceAccount: parts.facts.serviceAccount,
      ...otherAccounts(parts),
      hostNetwork: parts.facts.hostNetwork,
      containers: ownContainers(parts.facts.containers),
      mesh: actualMembership(parts.records) ?? expectedMembership(parts, namespace, namespaceLabels, mesh),
      ...(parts.templatePath === undefined ? {} : { templatePath: parts.templatePath }),
      pods: parts.records.map((record) => record.info),
    },
    records: parts.records,
    variants: parts.variants,
    facts: parts.facts,
  }));
}

/** A run that is under way keeps the account it was made with, whatever its owner names by now. */
function otherAccounts({ facts, records, namedAccount }: PodSetParts): Pick<PodSet, 'otherAccounts'> {
  // The API server writes the account into every pod; a manifest of one that names none says nothing of it.
  const live = records.flatMap(({ finished, info, manifest }) =>
    finished || info.phase === 'Unknown' ? [] : (asString(getPath(manifest, ['spec', 'serviceAccountName'])) ?? []),
  );
  const others = uniqueSorted([...live, ...(namedAccount === undefined ? [] : [namedAccount])]).filter(
    (account) => account !== facts.serviceAccount,
  );
  return others.length === 0 ? {} : { otherAccounts: others };
}

/** What the running pods are; undefined where none runs. Finished pods do not count. */
function actualMembership(records: readonly PodRecord[]): MeshMembership | undefined {
  const running = records.filter((record) => record.observed && !record.finished);
  if (running.length === 0) return undefined;
  const kinds = new Set(
    running.map((record) => (record.info.sidecar ? 'sidecar' : record.ambient ? 'ambient' : 'none')),
  );
  const [only] = kinds;
  return kinds.size === 1 && only !== undefined ? only : 'mixed';
}

function expectedMembership(
  parts: PodSetParts,
  namespace: string,
  namespaceLabels: Labels,
  mesh: MeshFacts,
): MeshMembership {
  // A gateway carries its proxy in the template.
  if (parts.facts.hasProxy) return 'sidecar';
  const { labels, annotations, hostNetwork } = parts.facts;
  return predictMembership(namespaceLabels, { ...labels, ...parts.labels }, annotations, hostNetwork, namespace, mesh);
}
