import type { Declared, Inventory, ServiceInfo, Snapshot, Workload } from '../model/inventory.ts';
import { endpointKey } from '../model/edge.ts';
import type { KubeManifest } from '../model/object.ts';
import { groupOf, namespaceOf, objectKey } from '../model/object.ts';
import type { JsonObject } from '../shared/pure/json.ts';
import { equalJson } from '../shared/pure/json.ts';
import { trustsNobody } from './analyzers/cloud.ts';
import type { InventoryOptions, Survey } from './build.ts';
import { classifyDrafts, completeSurvey, declaredIn, namespaceNamed, surveySnapshot, surveyState } from './build.ts';
import { buildFacts, isIstiod } from './facts.ts';
import type { ObjectIndex } from './object-index.ts';
import { buildIndex, identityOf, metaAnnotations, metaLabels } from './object-index.ts';
import { expectedPods, ownerKind } from './owners.ts';
import { buildServices, parseService, servicesOf } from './services.ts';
import type { WorkloadDraft } from './workloads.ts';
import { buildDrafts, parsePod } from './workloads.ts';

/**
 * Inventories of the states that a plan passes through. A state is made from the one before it: what the changed objects bear on is made anew,
 * all else is the same object, so that what is kept by object (compiled policies, the cluster behind `compileWorld`) is kept. The answer is that of
 * `buildInventory`, without findings: nobody asks a state of a plan for them. Pure; made states are remembered by their list of objects.
 */
export interface InventoryStates {
  /** What was read, with its findings. */
  readonly start: (snapshot: Snapshot) => Inventory;
  /** What another snapshot amounts to. `from` is the snapshot that it was made from; without it, or where it is not known, all is made anew. */
  readonly rebuild: (snapshot: Snapshot, from?: Snapshot) => Inventory;
}

interface Built {
  readonly snapshot: Snapshot;
  readonly survey: Survey;
  /** Objects changed since the survey's index was made, of kinds that nothing but the list of policies rests on. */
  readonly since: readonly Changed[];
  readonly inventory: Inventory;
}

/** An object of one key: made, edited or deleted. */
interface Changed {
  readonly key: string;
  readonly kind: string;
  readonly before?: KubeManifest;
  readonly after?: KubeManifest;
}

/** More changes at once than this are no step: all is made anew. */
const MOST_CHANGES = 500;

export function inventoryStates(options: InventoryOptions): InventoryStates {
  const known = new WeakMap<readonly KubeManifest[], Built>();
  const keep = (built: Built): Inventory => {
    known.set(built.snapshot.objects, built);
    return built.inventory;
  };
  return {
    start: (snapshot) => keep({ snapshot, since: [], ...surveySnapshot(snapshot, options) }),
    rebuild: (snapshot, from) => {
      const base = from === undefined ? undefined : known.get(from.objects);
      const next = base === undefined ? undefined : advanceState(base, snapshot, options);
      return keep(next ?? { snapshot, since: [], ...surveyState(snapshot, options) });
    },
  };
}

/** Undefined where the change is of a kind whose bearing is not told here. */
function advanceState(base: Built, snapshot: Snapshot, options: InventoryOptions): Built | undefined {
  const { source, unread, origins, findings } = base.snapshot;
  if (snapshot.source !== source || snapshot.unread !== unread) return undefined;
  if (snapshot.origins !== origins || snapshot.findings !== findings) return undefined;
  const changes = changesBetween(base.snapshot.objects, snapshot.objects);
  if (changes === undefined || changes.length > MOST_CHANGES) return undefined;
  if (!changes.every((one) => isDistinct(base, one))) return undefined;
  const declared = new Set(base.inventory.namespaces.filter((one) => one.declared).map(({ name }) => name));
  const touched = new Set<string>();
  for (const change of changes) {
    const bearing = bearingOf(change, declared, base.survey);
    if (bearing === 'everything') return undefined;
    if (bearing.kind === 'namespace') touched.add(bearing.name);
  }
  const since = [...base.since, ...changes];
  const policies = withPolicies(base.inventory.policies, changes.filter(isOfPolicy));
  if (policies === undefined) return undefined;
  if (touched.size === 0) return { ...base, snapshot, since, inventory: { ...base.inventory, policies, findings: [] } };
  const survey = resurvey(base.survey, updatedIndex(base.survey.index, snapshot, since), touched, changes, options);
  if (survey === undefined) return undefined;
  const { namespaces, workloads, services } = survey;
  const inventory: Inventory = {
    ...base.inventory,
    namespaces,
    workloads,
    services,
    declared: sameWhereEqual(base.inventory.declared, declaredIn(survey), keyOfDeclared),
    policies,
    findings: [],
  };
  return { snapshot, survey, since: [], inventory };
}

function keyOfDeclared({ src, dst, protocol, port }: Declared): string {
  return `${endpointKey(src)}\n${endpointKey(dst)}\n${protocol}\n${port}`;
}

/** Objects that differ, by key; undefined where others changed their order. */
function changesBetween(
  before: readonly KubeManifest[],
  after: readonly KubeManifest[],
): readonly Changed[] | undefined {
  // Nearly all is the same: only the part between the first and the last difference is looked into.
  let from = 0;
  let [oldEnd, freshEnd] = [before.length, after.length];
  while (from < oldEnd && from < freshEnd && before[from] === after[from]) from += 1;
  while (oldEnd > from && freshEnd > from && before[oldEnd - 1] === after[freshEnd - 1]) {
    oldEnd -= 1;
    freshEnd -= 1;
  }
  const [olds, news] = [before.slice(from, oldEnd), after.slice(from, freshEnd)];
  const [old, fresh] = [new Set(olds), new Set(news)];
  const changes = new Map<string, Changed>();
  let at = 0;
  for (const object of olds) {
    if (fresh.has(object)) {
      while (at < news.length && !old.has(news[at] as KubeManifest)) at += 1;
      if (news[at] !== object) return undefined;
      at += 1;
      continue;
    }
    const { key, kind } = identityOf(object);
    if (changes.has(key)) return undefined;
    changes.set(key, { key, kind, before: object });
  }
  for (const object of news) {
    if (old.has(object)) continue;
    const { key, kind } = identityOf(object);
    const change = changes.get(key);
    if (change?.after !== undefined) return undefined;
    changes.set(key, { ...(change ?? { key, kind }), after: object });
  }
  return [...changes.values()];
}

/** Is the changed object the only one of its key? Of two in a directory the last counts. */
function isDistinct({ survey, since }: Built, { key, before }: Changed): boolean {
  const newest = since.findLast((one) => one.key === key);
  return (newest === undefined ? survey.index.byKey.get(key) : newest.after) === before;
}

/** Kinds of policies that nothing of an inventory but its list of policies rests on. */
const PLAIN_POLICIES: ReadonlySet<string> = new Set([
  'networking.k8s.io/NetworkPolicy',
  'policy.networking.k8s.io/AdminNetworkPolicy',
  'policy.networking.k8s.io/BaselineAdminNetworkPolicy',
  'policy.networking.k8s.io/ClusterNetworkPolicy',
  'cilium.io/CiliumNetworkPolicy',
  'cilium.io/CiliumClusterwideNetworkPolicy',
  'crd.projectcalico.org/NetworkPolicy',
  'crd.projectcalico.org/GlobalNetworkPolicy',
  'crd.projectcalico.org/StagedNetworkPolicy',
  'crd.projectcalico.org/StagedGlobalNetworkPolicy',
  'crd.projectcalico.org/StagedKubernetesNetworkPolicy',
  'projectcalico.org/NetworkPolicy',
  'projectcalico.org/GlobalNetworkPolicy',
  'projectcalico.org/StagedNetworkPolicy',
  'projectcalico.org/StagedGlobalNetworkPolicy',
  'projectcalico.org/StagedKubernetesNetworkPolicy',
  'security.istio.io/PeerAuthentication',
  'security.istio.io/AuthorizationPolicy',
  'security.istio.io/RequestAuthentication',
  'networking.istio.io/DestinationRule',
  'networking.istio.io/Sidecar',
  'networking.istio.io/ServiceEntry',
]);

/** Kinds of which no inventory says anything; of accounts only what clouds trust. */
const SILENT: ReadonlySet<string> = new Set([
  'rbac.authorization.k8s.io/Role',
  'rbac.authorization.k8s.io/RoleBinding',
  'rbac.authorization.k8s.io/ClusterRole',
  'rbac.authorization.k8s.io/ClusterRoleBinding',
]);

type StateBearing =
  { readonly kind: 'policies' } | { readonly kind: 'namespace'; readonly name: string } | 'everything';

function isOfPolicy({ kind }: Changed): boolean {
  return PLAIN_POLICIES.has(kind);
}

function bearingOf(change: Changed, declared: ReadonlySet<string>, { facts }: Survey): StateBearing {
  const { kind, before, after } = change;
  const object = after ?? before;
  if (object === undefined) return 'everything';
  const namespace = namespaceOf(object);
  if (kind === '/Namespace')
    return before !== undefined && after !== undefined && namespace === undefined
      ? { kind: 'namespace', name: object.metadata.name }
      : 'everything';
  // A namespace may come and go with what stands in it.
  const stays = (before !== undefined && after !== undefined) || namespace === undefined || declared.has(namespace);
  if (!stays) return 'everything';
  if (isOfPolicy(change) || SILENT.has(kind)) return { kind: 'policies' };
  if (kind === '/ServiceAccount')
    return [before, after].every((one) => one === undefined || trustsNobody(one)) ? { kind: 'policies' } : 'everything';
  const ofPods = ownerKind(groupOf(object.apiVersion), object.kind) !== undefined;
  if (!ofPods || namespace === undefined) return 'everything';
  // What tells of the cluster as a whole: its control planes and agents, and sidecars where no control plane is known.
  if (kind === '/Pod')
    return facts.mesh.mode === 'unknown' &&
      [before, after].some((one) => one !== undefined && parsePod(one).info.sidecar)
      ? 'everything'
      : { kind: 'namespace', name: namespace };
  if (before === undefined || after === undefined || isIstiod(before) || isIstiod(after)) return 'everything';
  return kind === 'apps/DaemonSet' && imagesOf(before) !== imagesOf(after)
    ? 'everything'
    : { kind: 'namespace', name: namespace };
}

function imagesOf(owner: KubeManifest): string {
  return expectedPods(owner)
    .flatMap(({ facts }) => facts.containers.map(({ image }) => image))
    .join('\n');
}

/** The list of policies, in the order of their keys, after these changes; undefined where one of them is not in its place. */
function withPolicies(
  policies: readonly KubeManifest[],
  changes: readonly Changed[],
): readonly KubeManifest[] | undefined {
  if (changes.length === 0) return policies;
  const out = [...policies];
  for (const { key, before, after } of changes) {
    let [low, high] = [0, out.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (objectKey(out[middle] as KubeManifest) < key) low = middle + 1;
      else high = middle;
    }
    const there = out[low];
    const found = there !== undefined && objectKey(there) === key ? there : undefined;
    if (found !== before) return undefined;
    out.splice(low, before === undefined ? 0 : 1, ...(after === undefined ? [] : [after]));
  }
  return out;
}

function updatedIndex(index: ObjectIndex, snapshot: Snapshot, changes: readonly Changed[]): ObjectIndex {
  const byKey = new Map(index.byKey);
  for (const { key, after } of changes)
    if (after === undefined) byKey.delete(key);
    else byKey.set(key, after);
  const kinds = new Map<string, KubeManifest[]>(changes.map(({ kind }) => [kind, []]));
  for (const object of snapshot.objects) kinds.get(identityOf(object).kind)?.push(object);
  const byKind = new Map(index.byKind);
  for (const [kind, objects] of kinds)
    if (objects.length === 0) byKind.delete(kind);
    else byKind.set(kind, objects);
  return { snapshot, byKey, byKind };
}

/** The survey with what pods and labels of these namespaces bear on; undefined where more than that changed. */
function resurvey(
  base: Survey,
  index: ObjectIndex,
  touched: ReadonlySet<string>,
  changes: readonly Changed[],
  options: InventoryOptions,
): Survey | undefined {
  const relabelled = changes.some(({ kind }) => kind === '/Namespace');
  // Whether ambient mode is in use is told by labels of namespaces.
  if (relabelled && !equalJson(asJson(buildFacts(index, options.config).facts), asJson(base.facts))) return undefined;
  let { drafts, labels, services, workloads } = base;
  for (const namespace of touched) {
    const old = drafts.filter((draft) => draft.namespace === namespace);
    const fresh = draftsIn(namespace, index, base);
    // Who runs what tells which namespaces are left alone.
    if (old.length !== fresh.length || !fresh.every((draft, at) => isAlike(draft, old[at]))) return undefined;
    const [first] = old;
    if (first === undefined || fresh.every((draft, at) => draft === old[at])) continue;
    drafts = drafts.toSpliced(drafts.indexOf(first), old.length, ...fresh);
    labels = labels.replaced(namespace, fresh);
  }
  const changedDrafts = drafts !== base.drafts;
  if (changedDrafts) {
    services = servicesAfter(base, index, { labels, drafts }, touched);
    workloads = workloadsAfter(base, { drafts, services }, touched, options);
  }
  const namespaces = relabelled
    ? base.namespaces.map((one) => {
        const manifest = namespaceNamed(index)(one.name);
        return manifest === undefined || !touched.has(one.name)
          ? one
          : { ...one, labels: metaLabels(manifest), annotations: metaAnnotations(manifest) };
      })
    : base.namespaces;
  return completeSurvey({ index, facts: base.facts, drafts, labels, services, namespaces, workloads });
}

/** Drafts of one namespace: no chain of owners leaves its namespace. */
function draftsIn(namespace: string, index: ObjectIndex, base: Survey): readonly WorkloadDraft[] {
  const near = index.snapshot.objects.filter((object) => {
    const own = namespaceOf(object);
    return own === undefined || own === namespace;
  });
  const part = buildIndex({ ...index.snapshot, objects: near });
  const { drafts } = buildDrafts(part, namespaceNamed(index), base.facts.mesh);
  return drafts.filter((draft) => draft.namespace === namespace);
}

function isAlike(fresh: WorkloadDraft, old: WorkloadDraft | undefined): boolean {
  if (fresh === old) return true;
  const images = ({ podSets }: WorkloadDraft): string =>
    podSets.flatMap(({ set }) => set.containers.map(({ image }) => image)).join('\n');
  return fresh.id === old?.id && images(fresh) === images(old);
}

function servicesAfter(
  base: Survey,
  index: ObjectIndex,
  now: Pick<Survey, 'labels' | 'drafts'>,
  touched: ReadonlySet<string>,
): readonly ServiceInfo[] {
  // Those without a selector find pods by name and address, wherever these are.
  const asked = servicesOf(index).filter(
    (manifest) => touched.has(namespaceOf(manifest) ?? '') || parseService(manifest).selector === undefined,
  );
  if (asked.length === 0) return base.services;
  const nameOf = (one: ServiceInfo): string => `${one.namespace}/${one.name}`;
  const fresh = new Map(buildServices(index, now.labels, now.drafts, asked).map((one) => [nameOf(one), one]));
  return sameWhereEqual(
    base.services,
    base.services.map((one) => fresh.get(nameOf(one)) ?? one),
    nameOf,
  );
}

function workloadsAfter(
  base: Survey,
  { drafts, services }: Pick<Survey, 'drafts' | 'services'>,
  touched: ReadonlySet<string>,
  { signatures }: InventoryOptions,
): readonly Workload[] {
  // Names of Services tell what a workload is.
  const renamed = new Set<string>();
  for (const [at, service] of services.entries())
    if (service !== base.services[at])
      for (const id of [...service.workloads, ...(base.services[at]?.workloads ?? [])]) renamed.add(id);
  const asked = drafts.filter((draft) => touched.has(draft.namespace) || renamed.has(draft.id));
  const fresh = new Map(classifyDrafts(asked, services, signatures).map((one) => [one.id, one]));
  return base.workloads.map((one) => fresh.get(one.id) ?? one);
}

/** The new list with the items of the old one that say the same; the old one where all do. */
function sameWhereEqual<T extends object>(
  old: readonly T[],
  fresh: readonly T[],
  key: (item: T) => string,
): readonly T[] {
  const known = new Map(old.map((item) => [key(item), item]));
  const out = fresh.map((item) => {
    const before = known.get(key(item));
    return before !== undefined && (before === item || equalJson(asJson(before), asJson(item))) ? before : item;
  });
  return out.length === old.length && out.every((item, at) => item === old[at]) ? old : out;
}

/** Typed data of our own as what it is: plain values. */
function asJson(value: object): JsonObject {
  return value as JsonObject;
}
