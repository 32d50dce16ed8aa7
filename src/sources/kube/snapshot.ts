import { EXIT, Failure } from '../../shared/pure/errors.ts';
import type { Json, JsonObject } from '../../shared/pure/json.ts';
import { asArray, asObject } from '../../shared/pure/json.ts';
import { sortBy } from '../../shared/pure/order.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import type { Finding } from '../../model/finding.ts';
import type { Snapshot } from '../../model/inventory.ts';
import type { KubeManifest, ObjectRef } from '../../model/object.ts';
import { isKubeManifest, isObject, labelsOf, refKey, refOf } from '../../model/object.ts';
import type { KubeApi } from './connect.ts';
import type { Discovery } from './discovery.ts';
import { collectionPath, objectPath, resourceName } from './discovery.ts';
import type { GroupSpec } from './kinds.ts';
import { SNAPSHOT_CONFIG_MAPS, SNAPSHOT_GROUPS } from './kinds.ts';
import type { ApiProblem } from './problem.ts';
import { failureOf } from './problem.ts';
import type { ApiResource } from './schema.ts';
import { parseListItem, parseListPage } from './schema.ts';
import { trimManifest } from './trim.ts';

export interface ReadSnapshotOptions {
  readonly api: KubeApi;
  readonly discovery: Discovery;
  readonly onProgress?: (text: string) => void;
  /** Lists read at a time. Default 6; 1 makes the order of calls fixed. */
  readonly concurrency?: number;
}

const PAGE_SIZE = 500;
/** A list of metadata alone, as `Accept`. */
export const METADATA_LIST = 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1';

/**
 * Reads every kind of `SNAPSHOT_GROUPS` that is served, page by page. A required kind that cannot be listed is a Failure; an
 * optional one is named in `unread`, with a finding SP301. Secrets are never asked for. Objects are as `trimManifest` leaves
 * them. The lists are read one after another, so objects that change meanwhile may be seen at different moments.
 */
export async function readKubeSnapshot(options: ReadSnapshotOptions): Promise<Snapshot> {
  const { api, discovery } = options;
  const reading = emptyReading();
  const lists = await planLists(discovery, reading);
  let done = 0;
  await pool(lists, options.concurrency ?? 6, async (list) => {
    const items = await readList(api, list, reading);
    for (const item of items) keep(reading, item);
    done += 1;
    options.onProgress?.(`${list.resource.kind}: ${plural(items.length, 'object')} (${done} of ${lists.length} kinds)`);
  });
  await completeReplicaSets(options, reading);
  await readConfigMaps(options, reading);
  return {
    source: 'cluster',
    objects: sortBy(reading.objects.values(), (object) => refKey(refOf(object))),
    origins: new Map(),
    findings: sortBy(reading.findings, ({ subject, message }) => `${subject}\n${message}`),
    unread: [...reading.unread].sort(),
  };
}

/** A kind that a snapshot reads, for those who follow it. */
export interface SnapshotKind {
  readonly apiVersion: string;
  readonly kind: string;
  readonly required: boolean;
  readonly metadataOnly: boolean;
}

/** The kinds of `SNAPSHOT_GROUPS` that this API server serves and that can be watched. Errors as readKubeSnapshot. */
export async function snapshotKinds(discovery: Discovery): Promise<readonly SnapshotKind[]> {
  const reading = emptyReading();
  return (await planLists(discovery, reading))
    .filter(({ resource }) => resource.verbs.includes('watch'))
    .map(({ resource, spec }) => ({
      apiVersion: resource.apiVersion,
      kind: resource.kind,
      required: spec.need === 'required',
      metadataOnly: spec.metadataOnly === true,
    }));
}

/** As a snapshot keeps an object that came from a watch. */
export function snapshotObject(
  object: KubeManifest,
  { metadataOnly }: Pick<SnapshotKind, 'metadataOnly'>,
): KubeManifest {
  return trimManifest(metadataOnly ? withDefinedNames(object) : object);
}

/** The ConfigMaps that a snapshot holds beside the objects given, read one by one; and ReplicaSets that nothing owns, in full. */
export async function readBeside(
  options: ReadSnapshotOptions,
  objects: readonly KubeManifest[],
): Promise<{
  readonly objects: readonly KubeManifest[];
  readonly findings: readonly Finding[];
  readonly unread: readonly string[];
}> {
  const reading: Reading = {
    findings: [],
    unread: new Set(),
    objects: new Map(objects.map((object) => [refKey(refOf(object)), object])),
  };
  const before = new Set(reading.objects.values());
  await completeReplicaSets(options, reading);
  await readConfigMaps(options, reading);
  return {
    objects: [...reading.objects.values()].filter((object) => !before.has(object)),
    findings: reading.findings,
    unread: [...reading.unread],
  };
}

/** What was read so far. */
export interface Reading {
  readonly findings: Finding[];
  readonly unread: Set<string>;
  readonly objects: Map<string, KubeManifest>;
}

export function emptyReading(): Reading {
  return { findings: [], unread: new Set(), objects: new Map() };
}

/** A kind that is served and is to be read. */
export interface ListPlan {
  readonly resource: ApiResource;
  readonly spec: GroupSpec;
}

export function keep(reading: Reading, manifest: KubeManifest): void {
  reading.objects.set(refKey(refOf(manifest)), trimManifest(manifest));
}

/** The kinds of `SNAPSHOT_GROUPS` that are served, in the version most preferred. */
export async function planLists(discovery: Discovery, reading: Reading): Promise<readonly ListPlan[]> {
  const groups = await discovery.groups();
  const lists = new Map<string, ListPlan>();
  for (const spec of SNAPSHOT_GROUPS) {
    const versions = groups.get(spec.group) ?? [];
    if (spec.unless !== undefined && groups.has(spec.unless)) continue;
    const found = new Set<string>();
    for (const apiVersion of versions) {
      for (const resource of await resourcesOf(discovery, apiVersion, spec, reading)) {
        const wanted = spec.kinds === 'all' ? resource.verbs.includes('list') : spec.kinds.includes(resource.kind);
        // A kind is read once, in the most preferred version that serves it.
        if (!wanted || found.has(resource.kind) || (resource.group === '' && resource.kind === 'Secret')) continue;
        found.add(resource.kind);
        lists.set(`${resource.group}/${resource.kind}`, { resource, spec });
      }
    }
    if (spec.need === 'required' && spec.kinds !== 'all') requireKinds(spec, found);
  }
  return [...lists.values()];
}

async function resourcesOf(
  discovery: Discovery,
  apiVersion: string,
  spec: GroupSpec,
  reading: Reading,
): Promise<readonly ApiResource[]> {
  try {
    return await discovery.resources(apiVersion);
  } catch (error) {
    // An aggregated API whose server is down fails by itself; the rest of the cluster can be read.
    if (spec.need === 'required' || !(error instanceof Failure) || error.detail.code !== 'SP450') throw error;
    note(reading, spec.group, spec.kinds === 'all' ? ['*'] : spec.kinds, error.message);
    return [];
  }
}

function requireKinds(spec: GroupSpec, found: ReadonlySet<string>): void {
  const missing = (spec.kinds as readonly string[]).filter((kind) => !found.has(kind));
  if (missing.length === 0) return;
  throw new Failure({
    code: 'SP413',
    exit: EXIT.cluster,
    message: `the API server does not serve ${missing.join(', ')} of ${spec.group === '' ? 'the core group' : spec.group}`,
    hint: 'the cluster is too old or incomplete; see what is served with: kubectl api-resources',
  });
}

function note(reading: Reading, group: string, kinds: readonly string[], why: string, subject?: string): void {
  for (const kind of kinds) reading.unread.add(`${group}/${kind}`);
  reading.findings.push({
    code: 'SP301',
    severity: 'warning',
    subject: subject ?? kinds.map((kind) => `${group}/${kind}`).join(', '),
    message: `could not be read: ${why}`,
    hint: 'facts that depend on it are unknown; ask for the right to get and list it',
  });
}

/** All objects of a kind. An optional kind that the server refuses to list is noted and empty. */
async function readList(api: KubeApi, list: ListPlan, reading: Reading): Promise<readonly KubeManifest[]> {
  const { resource, spec } = list;
  const subject = { doing: `listing ${resource.kind} objects`, verb: 'list', resource: resourceName(resource) };
  const pages = await readPages(api, list, subject);
  if (Array.isArray(pages)) {
    return (pages as readonly JsonObject[]).flatMap((item) => {
      const manifest = parseListItem(item, resource.apiVersion, resource.kind);
      return manifest === undefined ? [] : [withPartialSpec(manifest, spec)];
    });
  }
  const problem = pages as ApiProblem;
  const optional = spec.need === 'optional' && problem.kind === 'refused' && problem.status !== 401;
  const failure = failureOf(problem, subject, api);
  if (!optional) throw failure;
  note(reading, resource.group, [resource.kind], failure.message);
  return [];
}

/** Items, or why they cannot be had. */
export async function readPages(
  api: KubeApi,
  { resource, spec }: ListPlan,
  subject: { readonly doing: string; readonly verb: string; readonly resource: string },
  namespace?: string,
): Promise<readonly JsonObject[] | ApiProblem> {
  const path = collectionPath(resource, namespace);
  const accept = spec.metadataOnly === true ? `${METADATA_LIST},application/json` : 'application/json';
  let items: JsonObject[] = [];
  let query: Readonly<Record<string, string>> = { limit: String(PAGE_SIZE) };
  let whole = false;
  for (;;) {
    const answer = await api.send({ method: 'GET', path, query, accept, subject });
    if (!answer.ok) {
      // The continue token is older than what the server keeps: pages cannot catch up, one whole list can.
      if (answer.problem.kind === 'refused' && answer.problem.status === 410 && !whole) {
        whole = true;
        items = [];
        query = {};
        continue;
      }
      return answer.problem;
    }
    const page = parseListPage(answer.body);
    if (page === undefined)
      return { kind: 'no-answer', why: 'garbled', mayHaveReached: true, detail: `${path} is not a list` };
    for (const item of page.items) items.push(item);
    if (page.next === '') return items;
    query = { limit: String(PAGE_SIZE), continue: page.next };
  }
}

/** A definition's metadata says what it defines: its name is `plural.group`. */
export function withPartialSpec(manifest: KubeManifest, spec: GroupSpec): KubeManifest {
  return spec.metadataOnly === true ? withDefinedNames(manifest) : manifest;
}

function withDefinedNames(manifest: KubeManifest): KubeManifest {
  if (manifest.kind !== 'CustomResourceDefinition') return manifest;
  const dot = manifest.metadata.name.indexOf('.');
  if (dot < 0) return manifest;
  return {
    ...manifest,
    spec: { group: manifest.metadata.name.slice(dot + 1), names: { plural: manifest.metadata.name.slice(0, dot) } },
  };
}

/** ReplicaSets that nothing owns are workloads themselves, so their templates are needed. */
async function completeReplicaSets(
  { api, discovery, concurrency }: ReadSnapshotOptions,
  reading: Reading,
): Promise<void> {
  const alone = [...reading.objects.values()].filter(
    (object) =>
      isObject(object, 'apps', 'ReplicaSet') &&
      !asArray(object.metadata['ownerReferences']).some((owner) => asObject(owner)['controller'] === true),
  );
  await pool(alone, concurrency ?? 6, async (partial) => {
    const whole = await readManifest(api, discovery, refOf(partial));
    if (whole === undefined) reading.objects.delete(refKey(refOf(partial)));
    else keep(reading, whole);
  });
}

async function readConfigMaps({ api, discovery, concurrency }: ReadSnapshotOptions, reading: Reading): Promise<void> {
  const wanted = new Map<string, ObjectRef>();
  const want = (namespace: string, name: string): void => {
    const ref = { apiVersion: 'v1', kind: 'ConfigMap', namespace, name };
    wanted.set(refKey(ref), ref);
  };
  for (const { namespace, name } of SNAPSHOT_CONFIG_MAPS) want(namespace, name);
  // The mesh's configuration stands beside istiod, under a name that ends in its revision.
  for (const object of reading.objects.values()) {
    const labels = labelsOf(object);
    const namespace = object.metadata['namespace'];
    if (!isObject(object, 'apps', 'Deployment') || labels['app'] !== 'istiod' || typeof namespace !== 'string')
      continue;
    const revision = labels['istio.io/rev'] ?? 'default';
    want(namespace, revision === 'default' ? 'istio' : `istio-${revision}`);
  }
  const present = [...wanted.values()].filter(({ namespace }) => reading.objects.has(`/Namespace//${namespace ?? ''}`));
  await pool(present, concurrency ?? 6, async (ref) => {
    try {
      const found = await readManifest(api, discovery, ref);
      if (found !== undefined) keep(reading, found);
    } catch (error) {
      if (!(error instanceof Failure) || error.detail.code !== 'SP403') throw error;
      note(reading, '', ['ConfigMap'], error.message, `ConfigMap ${ref.namespace ?? ''}/${ref.name}`);
    }
  });
}

/**
 * One object in full, managedFields included; undefined when it does not exist or its kind is not installed.
 * Errors: exit 4 as in `failureOf`.
 */
export async function readManifest(
  api: KubeApi,
  discovery: Discovery,
  ref: ObjectRef,
  signal?: AbortSignal,
): Promise<KubeManifest | undefined> {
  const resource = await discovery.find(ref.apiVersion, ref.kind);
  if (resource === undefined) return undefined;
  const subject = {
    doing: `reading ${ref.kind} ${ref.namespace === undefined ? '' : `${ref.namespace}/`}${ref.name}`,
    verb: 'get',
    resource: resourceName(resource),
    ...(ref.namespace === undefined ? {} : { namespace: ref.namespace }),
    name: ref.name,
  };
  const answer = await api.send({
    method: 'GET',
    path: objectPath(resource, ref),
    subject,
    ...(signal === undefined ? {} : { signal }),
  });
  if (answer.ok) return asManifest(answer.body, ref);
  if (answer.problem.kind === 'refused' && answer.problem.status === 404) return undefined;
  throw failureOf(answer.problem, subject, api);
}

/** An answer that must be the object asked for. */
export function asManifest(body: Json, ref: ObjectRef): KubeManifest {
  if (isKubeManifest(body) && body.kind === ref.kind && body.metadata.name === ref.name) return body;
  throw new Failure({
    code: 'SP457',
    exit: EXIT.cluster,
    message: `the API server answered with something else than ${safeText(ref.kind)} ${safeText(ref.name)}`,
    hint: "check the context's server address and proxy-url",
  });
}

/** Runs the work on each item, so many at a time; the first error stops the rest. */
export async function pool<T>(items: readonly T[], size: number, work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  let failed = false;
  const worker = async (): Promise<void> => {
    for (const item of queue) {
      if (failed) return;
      try {
        await work(item);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const results = await Promise.allSettled(Array.from({ length: Math.min(size, items.length) }, worker));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}
