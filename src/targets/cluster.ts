import type { Applied, ApplyOutcome, AwaitedWorkload, Clock, RolloutResult, Target } from '../engine/contract.ts';
import { EXIT, Failure, isFailure } from '../shared/pure/errors.ts';
import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asNumber, asString, getPath, setPath } from '../shared/pure/json.ts';
import { plural, safeText } from '../shared/pure/text.ts';
import type { KubeManifest, ObjectRef } from '../model/object.ts';
import { formatRef, groupOf, namespaceOf, refOf } from '../model/object.ts';
import type { Change } from '../plan/change.ts';
import { changeRef, checkChange } from '../plan/change.ts';
import type { AccountMoved } from '../plan/plan.ts';
import type {
  ApiCall,
  ApiProblem,
  ApiResource,
  ApiStatus,
  CallSubject,
  Discovery,
  KubeApi,
  KubeOptions,
} from '../sources/kube/index.ts';
import {
  asManifest,
  collectionPath,
  connectKube,
  BUDGET_REASON,
  failureOf,
  isBudget,
  isOutcomeUnknown,
  knownObjects,
  METADATA_LIST,
  objectPath,
  openDiscovery,
  readKubeKinds,
  readKubeSnapshot,
  readManifest,
  readUser,
  refusedRights,
  resourceName,
  trimManifest,
} from '../sources/kube/index.ts';
import { reviewAccount } from './account-review.ts';
import type { Fence } from './lease.ts';
import { acquireLeases, openFence } from './lease.ts';
import { deriveOwnership, FIELD_MANAGER, isManagedByUs } from './own-fields.ts';
import { openProxies } from './pod-proxy.ts';
import { buildEditPatch, describeValue, holds, isEdited, tookEdit, withoutServerFields } from './patch.ts';
import { openUndoCluster } from './undo-cluster.ts';
import { OPERATOR_LIMIT_MS, checkAccounts, operatorPods } from './owner-pods.ts';
import { checkRollout, countEnding, podSelector, timedOut } from './rollout.ts';

export interface ClusterTargetOptions extends KubeOptions {
  readonly clock: Clock;
  /** Lists read at a time. Default 6; 1 makes the order of calls fixed. */
  readonly concurrency?: number;
}

/**
 * Opens the cluster of a kubeconfig as a target. One call is made, for the UID of kube-system.
 * Errors: exit 2 for the kubeconfig (SP270 to SP276), exit 4 for the cluster (SP401 to SP459), exit 3 for conflicts:
 * SP650 not as recorded, SP651 a field that another manager owns, SP652 and SP653 Leases, SP655 not the version that was judged. SP456 (exit 4) is a write without an
 * answer that is not to be seen when read again, SP458 (exit 4) a rehearsal in which something else would be stored.
 */
export async function openClusterTarget(options: ClusterTargetOptions): Promise<Target> {
  const api = await connectKube(options);
  try {
    return await clusterTargetOf(api, options);
  } catch (error) {
    api.close();
    throw error;
  }
}

/** As openClusterTarget, on a connection that the caller has made. Closing the target closes it. */
export async function clusterTargetOf(
  api: KubeApi,
  options: Pick<ClusterTargetOptions, 'clock' | 'concurrency'>,
): Promise<Target> {
  const { clock } = options;
  const discovery = openDiscovery(api);
  const fence = openFence();
  const writer: Writer = { api, discovery, fence };
  const known = knownObjects();
  const proxies = openProxies(api);
  return {
    kind: 'cluster',
    id: await readClusterId(api),
    description: `context ${safeText(api.context)} (${safeText(api.server)})${api.impersonating === undefined ? '' : ` as ${safeText(api.impersonating)}`}`,
    readSnapshot: async (onProgress) => {
      const snapshot = await readKubeSnapshot({
        api,
        discovery,
        ...(onProgress === undefined ? {} : { onProgress }),
        ...(options.concurrency === undefined ? {} : { concurrency: options.concurrency }),
      });
      known.noteSnapshot(snapshot.objects);
      return snapshot;
    },
    readObject: async (ref) => {
      const live = await readManifest(api, discovery, ref);
      return live === undefined ? undefined : trimManifest(live);
    },
    readKinds: (lists) =>
      readKubeKinds(
        { api, discovery, ...(options.concurrency === undefined ? {} : { concurrency: options.concurrency }) },
        lists,
        known,
      ),
    rehearse: async (change) => {
      await performChange(writer, change, 'rehearse');
    },
    apply: async (change, version) => {
      const { outcome, live } = await performChange(writer, change, 'write', version);
      if (live === undefined) return { outcome };
      const trimmed = trimManifest(live);
      known.note(trimmed);
      return { outcome, live: trimmed };
    },
    mayAccount: (namespace, account, right) => reviewAccount(api, namespace, account, right),
    refused: (rights) => refusedRights(api, rights),
    user: () => readUser(api),
    undo: openUndoCluster(api, fence),
    ...(proxies === undefined ? {} : { proxies }),
    acquire: async (namespaces, holder) => fence.add(await acquireLeases(api, clock, namespaces, holder)),
    awaitRollout: (workload, signal) => awaitRollout(writer, clock, workload, signal),
    close: async () => {
      api.close();
      await Promise.resolve();
    },
  };
}

async function readClusterId(api: KubeApi): Promise<string> {
  const subject: CallSubject = {
    doing: 'reading Namespace kube-system, whose UID names the cluster',
    verb: 'get',
    resource: 'namespaces',
    name: 'kube-system',
  };
  const body = await api.must({ method: 'GET', path: '/api/v1/namespaces/kube-system', subject });
  const ref = { apiVersion: 'v1', kind: 'Namespace', name: 'kube-system' };
  const uid = asString(asManifest(body, ref).metadata['uid']);
  if (uid === undefined || uid === '')
    throw new Failure({
      code: 'SP457',
      exit: EXIT.cluster,
      message: 'Namespace kube-system has no UID, so the cluster cannot be told from others',
    });
  return uid;
}

interface Writer {
  readonly api: KubeApi;
  readonly discovery: Discovery;
  readonly fence: Fence;
}

type Mode = 'rehearse' | 'write';
type Outcome = { readonly outcome: ApplyOutcome; readonly live?: KubeManifest };
type Edit = Extract<Change, { kind: 'edit' }>;

/** What to try next: the answer, or another look at the object since it changed under the write. */
type Attempt = Outcome | 'again';

const ATTEMPTS = 4;
/** The server gives up before the client does, so that a write without an answer is not carried out later on. */
const SERVER_TIMEOUT_SHARE = 0.8;

async function performChange(writer: Writer, change: Change, mode: Mode, version?: string): Promise<Applied & Outcome> {
  const ref = changeRef(change);
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const live = await readManifest(writer.api, writer.discovery, ref);
    if (isInPlace(change, live)) return live === undefined ? { outcome: 'unchanged' } : { outcome: 'unchanged', live };
    refuseConflict(change, live);
    if (version !== undefined && live?.metadata['resourceVersion'] !== version) throw movedMeanwhile(ref);
    const done = await attemptChange(writer, change, live, mode, version !== undefined);
    if (done !== 'again') return done;
  }
  throw new Failure({
    code: 'SP650',
    exit: EXIT.refused,
    message: `${safeText(formatRef(ref))} changes all the time: ${ATTEMPTS} attempts each found another version`,
    hint: 'see who writes it: kubectl get --show-managed-fields -o yaml',
  });
}

function movedMeanwhile(ref: ObjectRef): Failure {
  return new Failure({
    code: 'SP655',
    exit: EXIT.refused,
    nature: 'moved',
    message: `${safeText(formatRef(ref))} changed between the last look at it and the write`,
    where: safeText(formatRef(ref)),
    hint: 'nothing was written; see who writes it: kubectl get --show-managed-fields -o yaml',
  });
}

function isInPlace(change: Change, live: KubeManifest | undefined): boolean {
  switch (change.kind) {
    case 'create':
      return isMade(live, withoutServerFields(change.object));
    case 'edit':
      return live !== undefined && sameObject(change, live) && isEdited(live, change.fields);
    case 'delete':
      return live === undefined || (sameObject(change, live) && isEnding(live, change.graceSeconds));
  }
}

/** The object is there as wanted and it was Sallyport that wrote it: an equal object of somebody else is not ours to undo. */
function isMade(live: KubeManifest | undefined, wanted: KubeManifest): boolean {
  return live !== undefined && isAlive(live) && isManagedByUs(live) && holds(live, wanted);
}

function isAlive(live: KubeManifest): boolean {
  return live.metadata['deletionTimestamp'] === undefined;
}

/** Told to end, and within the time wanted: of two deletions the shorter one holds (kubernetes.io, "Pod Lifecycle": a grace period may be shortened). */
function isEnding(live: KubeManifest, graceSeconds: number | undefined): boolean {
  const grace = asNumber(live.metadata['deletionGracePeriodSeconds']);
  return !isAlive(live) && (graceSeconds === undefined || grace === undefined || grace <= graceSeconds);
}

function sameObject(change: { readonly uid?: string }, live: KubeManifest): boolean {
  return change.uid === undefined || change.uid === live.metadata['uid'];
}

function refuseConflict(change: Change, live: KubeManifest | undefined): void {
  const conflict = checkChange(change, live);
  if (conflict === undefined) return;
  const name = safeText(formatRef(conflict.ref));
  const { path } = conflict;
  const field = change.kind === 'edit' ? change.fields.find((one) => one.path === path) : undefined;
  const values =
    path === undefined || field === undefined
      ? ''
      : `: recorded ${describeValue(path, field.before)}, now ${describeValue(path, getPath(live, path))}, wanted ${describeValue(path, field.after)}`;
  throw new Failure({
    code: 'SP650',
    exit: EXIT.refused,
    message: `${safeText(conflict.message)}${safeText(values)}`,
    where: path === undefined ? name : `${name}, field ${safeText(path.join('.'))}`,
    hint: 'nothing was written; somebody else changed it: look at it, then plan again',
  });
}

async function attemptChange(
  writer: Writer,
  change: Change,
  live: KubeManifest | undefined,
  mode: Mode,
  exact: boolean,
): Promise<Attempt> {
  const ref = changeRef(change);
  const resource = await writer.discovery.find(ref.apiVersion, ref.kind);
  if (resource === undefined) throw kindMissing(ref);
  if (change.kind === 'create') return createObject(writer, resource, change.object, mode);
  // checkChange has refused edits and deletions of what is not there.
  if (live === undefined) return 'again';
  return change.kind === 'delete'
    ? deleteObject(writer, resource, live, mode, change)
    : editObject(writer, resource, change, live, mode, exact);
}

async function createObject(writer: Writer, resource: ApiResource, object: KubeManifest, mode: Mode): Promise<Attempt> {
  const ref = refOf(object);
  const body = withoutServerFields(object);
  // Refuses names that lead elsewhere before anything is sent.
  objectPath(resource, ref);
  const call = writeCall(writer, mode, {
    method: 'POST',
    path: collectionPath(resource, ref.namespace),
    query: { fieldManager: FIELD_MANAGER, fieldValidation: 'Strict' },
    body,
    subject: subjectOf('creating', 'create', resource, ref),
  });
  const sent = await sendWrite(writer, call, mode, ref, (live) => isMade(live, body));
  if (sent.kind === 'held-back') return 'again';
  if (sent.kind === 'refused') {
    // The object that exists already is looked at: it may be the very one.
    if (sent.problem.status === 409) return 'again';
    throw failureOf(sent.problem, call.subject, writer.api);
  }
  if (mode === 'rehearse' && sent.live !== undefined && !holds(sent.live, body)) throw storedOtherwise(ref);
  return { outcome: 'created', ...(sent.live === undefined ? {} : { live: sent.live }) };
}

async function deleteObject(
  writer: Writer,
  resource: ApiResource,
  live: KubeManifest,
  mode: Mode,
  change: Extract<Change, { kind: 'delete' }>,
): Promise<Attempt> {
  const { graceSeconds } = change;
  const evicts = change.evicts === true;
  const ref = refOf(live);
  const { uid, resourceVersion } = live.metadata;
  const options = {
    apiVersion: 'v1',
    kind: 'DeleteOptions',
    propagationPolicy: 'Background',
    ...(graceSeconds === undefined ? {} : { gracePeriodSeconds: graceSeconds }),
    // Where there is a body the API server takes no delete option from the query.
    ...(mode === 'rehearse' ? { dryRun: ['All'] } : {}),
    preconditions: {
      ...(uid === undefined ? {} : { uid }),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
    },
  };
  const call = writeCall(
    writer,
    mode,
    evicts
      ? {
          method: 'POST',
          path: `${objectPath(resource, ref)}/eviction`,
          body: {
            apiVersion: 'policy/v1',
            kind: 'Eviction',
            metadata: { name: ref.name, namespace: ref.namespace ?? '' },
            deleteOptions: options,
          },
          subject: {
            ...subjectOf('evicting', 'create', resource, ref),
            resource: `${resourceName(resource)}/eviction`,
          },
        }
      : {
          method: 'DELETE',
          path: objectPath(resource, ref),
          body: options,
          subject: subjectOf('deleting', 'delete', resource, ref),
        },
  );
  const isGone = (now: KubeManifest | undefined): boolean =>
    now === undefined || now.metadata['uid'] !== uid || isEnding(now, graceSeconds);
  const sent = await sendWrite(writer, call, mode, ref, isGone, 'status').catch((error: unknown) => {
    if (evicts && isFailure(error) && TWO_BUDGETS.test(error.message)) throw keptByTwo(ref);
    throw error;
  });
  if (sent.kind === 'held-back') return 'again';
  if (sent.kind !== 'refused') return { outcome: 'deleted' };
  if (sent.problem.status === 409 || sent.problem.status === 404) return 'again';
  if (evicts && isBudget(sent.problem)) throw keptByBudget(ref, sent.problem.body);
  throw failureOf(sent.problem, call.subject, writer.api);
}

/** What the API server says with 500 (kubernetes/kubernetes, pkg/registry/core/pod/storage/eviction.go). */
const TWO_BUDGETS = /more than one PodDisruptionBudget/u;

function keptByTwo(ref: ObjectRef): Failure {
  return new Failure({
    code: 'SP432',
    exit: EXIT.refused,
    message: `evicting ${safeText(formatRef(ref))}: more than one PodDisruptionBudget selects it, and the API server evicts no such pod (500)`,
    where: safeText(formatRef(ref)),
    hint: '--past-budgets deletes it whatever a budget says; kubectl get poddisruptionbudgets shows which',
  });
}

function keptByBudget(ref: ObjectRef, { causes, message }: ApiStatus): Failure {
  const said = causes.find(({ reason }) => reason === BUDGET_REASON)?.message ?? '';
  return new Failure({
    code: 'SP432',
    exit: EXIT.refused,
    message: `evicting ${safeText(formatRef(ref))}: a PodDisruptionBudget keeps it (429): ${safeText(said === '' ? message : said).slice(0, 300)}`,
    where: safeText(formatRef(ref)),
    hint: '--past-budgets deletes it whatever a budget says; kubectl get poddisruptionbudgets shows which',
  });
}

async function editObject(
  writer: Writer,
  resource: ApiResource,
  change: Edit,
  live: KubeManifest,
  mode: Mode,
  exact: boolean,
): Promise<Attempt> {
  if (change.owner === 'sallyport') {
    const applied = await editByApply(writer, resource, change, live, mode);
    if (applied !== 'unsuitable') return applied;
  }
  return editByPatch(writer, resource, change, live, mode, exact);
}

async function editByPatch(
  writer: Writer,
  resource: ApiResource,
  change: Edit,
  live: KubeManifest,
  mode: Mode,
  exact: boolean,
): Promise<Attempt> {
  const call = writeCall(writer, mode, {
    method: 'PATCH',
    path: objectPath(resource, change.ref),
    query: { fieldManager: FIELD_MANAGER },
    contentType: 'application/json-patch+json',
    body: buildEditPatch(live, change.fields, exact),
    subject: subjectOf('editing', 'patch', resource, change.ref),
  });
  const sent = await sendWrite(writer, call, mode, change.ref, (now) => tookChange(change, live, now));
  if (sent.kind === 'held-back') return 'again';
  if (sent.kind !== 'refused') return edited(change, sent.live, mode);
  // A test that fails is answered with 422, and so is an invalid value: the object tells which, since only the former moved.
  const moved = sent.problem.status === 409 || sent.problem.status === 404;
  if (moved || (sent.problem.status === 422 && (await hasMoved(writer, change.ref, live)))) return 'again';
  throw failureOf(sent.problem, call.subject, writer.api);
}

function tookChange(change: Edit, live: KubeManifest, now: KubeManifest | undefined): boolean {
  return now !== undefined && now.metadata['uid'] === live.metadata['uid'] && tookEdit(now, change.fields);
}

function edited(change: Edit, live: KubeManifest | undefined, mode: Mode): Outcome {
  if (mode === 'rehearse' && live !== undefined && !tookEdit(live, change.fields)) throw storedOtherwise(change.ref);
  return { outcome: 'configured', ...(live === undefined ? {} : { live }) };
}

async function hasMoved(writer: Writer, ref: ObjectRef, live: KubeManifest): Promise<boolean> {
  const now = await readManifest(writer.api, writer.discovery, ref);
  return now?.metadata['resourceVersion'] !== live.metadata['resourceVersion'];
}

/**
 * Edits an own object by server-side apply, never forced. Unsuitable where the edit takes something away (an apply takes away only
 * what nobody else owns as well, so such an edit is a patch with tests), or where the rehearsed apply would not give the values wanted.
 */
async function editByApply(
  writer: Writer,
  resource: ApiResource,
  change: Edit,
  live: KubeManifest,
  mode: Mode,
): Promise<Attempt | 'unsuitable'> {
  const ownership = deriveOwnership(live);
  if (ownership === undefined || change.fields.some(({ after }) => after === undefined)) return 'unsuitable';
  if (ownership.migrated !== undefined) {
    // A dry run stores no ownership, so an apply after it would conflict with our own create. The patch rehearses the same object.
    if (mode === 'rehearse') return 'unsuitable';
    return migrateOwnership(writer, resource, change.ref, live, ownership.migrated);
  }
  const body = buildApplyBody(live, ownership.applied, change);
  const callFor = (how: Mode): ApiCall =>
    writeCall(writer, how, {
      method: 'PATCH',
      path: objectPath(resource, change.ref),
      query: { fieldManager: FIELD_MANAGER, fieldValidation: 'Strict' },
      contentType: 'application/apply-patch+yaml',
      body,
      subject: subjectOf('applying', 'patch', resource, change.ref),
    });
  for (const how of mode === 'write' ? (['rehearse', 'write'] as const) : (['rehearse'] as const)) {
    const call = callFor(how);
    const sent = await sendWrite(writer, call, how, change.ref, (now) => tookChange(change, live, now));
    if (sent.kind === 'held-back') return 'again';
    if (sent.kind === 'refused') {
      if (sent.problem.status === 404) return 'again';
      if (sent.problem.status !== 409) throw failureOf(sent.problem, call.subject, writer.api);
      const owned = sent.problem.body.causes.filter(({ reason }) => reason === 'FieldManagerConflict');
      if (owned.length > 0) throw ownedByOthers(change.ref, owned);
      return 'again';
    }
    if (sent.live !== undefined && !tookEdit(sent.live, change.fields)) return 'unsuitable';
    if (how === mode) return { outcome: 'configured', ...(sent.live === undefined ? {} : { live: sent.live }) };
  }
  return 'again';
}

/** All that we own, with the edit; the uid and version make it apply to the object that was read and no other. */
function buildApplyBody(live: KubeManifest, applied: JsonObject, change: Edit): JsonObject {
  let body: JsonObject = applied;
  for (const { path, after } of change.fields) body = setPath(body, path, after);
  const { name, namespace, uid, resourceVersion } = live.metadata;
  const metadata = {
    ...(body['metadata'] as JsonObject | undefined),
    name,
    ...(namespace === undefined ? {} : { namespace }),
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
  };
  return { ...body, apiVersion: live.apiVersion, kind: live.kind, metadata };
}

/** Makes what we own by create or patch what we own by apply. Nothing but ownership is written. */
async function migrateOwnership(
  writer: Writer,
  resource: ApiResource,
  ref: ObjectRef,
  live: KubeManifest,
  managedFields: readonly Json[],
): Promise<'again'> {
  const call = writeCall(writer, 'write', {
    method: 'PATCH',
    path: objectPath(resource, ref),
    query: { fieldManager: FIELD_MANAGER },
    contentType: 'application/json-patch+json',
    body: [
      { op: 'test', path: '/metadata/resourceVersion', value: live.metadata['resourceVersion'] ?? null },
      { op: 'replace', path: '/metadata/managedFields', value: managedFields },
    ],
    subject: subjectOf('taking over the own fields of', 'patch', resource, ref),
  });
  const isMigrated = (now: KubeManifest | undefined): boolean =>
    now !== undefined && deriveOwnership(now)?.migrated === undefined;
  const sent = await sendWrite(writer, call, 'write', ref, isMigrated);
  if (sent.kind !== 'refused') return 'again';
  const moved = sent.problem.status === 409 || sent.problem.status === 404;
  if (moved || (sent.problem.status === 422 && (await hasMoved(writer, ref, live)))) return 'again';
  throw failureOf(sent.problem, call.subject, writer.api);
}

type Refused = { readonly kind: 'refused'; readonly problem: Extract<ApiProblem, { kind: 'refused' }> };
/** Not sent, since too much time had passed since the Leases were looked at: look at the object and at them again. */
type HeldBack = { readonly kind: 'held-back' };
type Sent = { readonly kind: 'done'; readonly live?: KubeManifest } | Refused | HeldBack;

/**
 * Sends a write once. Without a clear answer it is not repeated: the object is read, and `took` says whether the write is to be
 * seen there. If not, SP456.
 */
async function sendWrite(
  writer: Writer,
  call: ApiCall,
  mode: Mode,
  ref: ObjectRef,
  took: (live: KubeManifest | undefined) => boolean,
  answers: 'object' | 'status' = 'object',
): Promise<Sent> {
  const { api, discovery, fence } = writer;
  if (mode === 'write') await fence.ensure();
  const answer = await api.send(mode === 'write' ? { ...call, maySend: () => fence.isOpen() } : call);
  if (answer.ok) return answers === 'status' ? { kind: 'done' } : { kind: 'done', live: asManifest(answer.body, ref) };
  const { problem } = answer;
  if (problem.kind === 'no-answer' && problem.why === 'fenced') return { kind: 'held-back' };
  if (mode === 'rehearse' || !isOutcomeUnknown(problem)) {
    if (problem.kind === 'refused' && problem.status < 500) return { kind: 'refused', problem };
    throw failureOf(problem, call.subject, api);
  }
  const failure = failureOf(problem, call.subject, api);
  let live: KubeManifest | undefined;
  try {
    live = await readManifest(api, discovery, ref);
  } catch (cause) {
    throw unknownOutcome(failure, 'whether it was written is not known, since the object cannot be read either', cause);
  }
  if (took(live)) return live === undefined ? { kind: 'done' } : { kind: 'done', live };
  throw unknownOutcome(failure, 'read again, the object is without the change', undefined);
}

function unknownOutcome(failure: Failure, seen: string, cause: unknown): Failure {
  const { where } = failure.detail;
  return new Failure({
    code: 'SP456',
    exit: EXIT.cluster,
    nature: 'passes',
    message: `${failure.message}; ${seen}${isFailure(cause) ? ` (${cause.message})` : ''}`,
    ...(where === undefined ? {} : { where }),
    hint: 'when the cluster is well again: sallyport resume',
    cause: cause ?? failure,
  });
}

function writeCall({ api }: Writer, mode: Mode, call: ApiCall): ApiCall {
  const timeout = `${Math.max(1, Math.floor(api.timeoutSec * SERVER_TIMEOUT_SHARE))}s`;
  return { ...call, query: { ...call.query, timeout, ...(mode === 'rehearse' ? { dryRun: 'All' } : {}) } };
}

function subjectOf(doing: string, verb: string, resource: ApiResource, ref: ObjectRef): CallSubject {
  return {
    doing: `${doing} ${formatRef(ref)}`,
    verb,
    resource: resourceName(resource),
    ...(ref.namespace === undefined ? {} : { namespace: ref.namespace }),
    name: ref.name,
  };
}

function kindMissing(ref: ObjectRef): Failure {
  const group = groupOf(ref.apiVersion);
  return new Failure({
    code: 'SP413',
    exit: EXIT.cluster,
    message: `${safeText(formatRef(ref))}: the cluster has no kind ${safeText(ref.kind)} of ${safeText(ref.apiVersion)}`,
    hint:
      group === ''
        ? 'see what it serves with: kubectl api-resources'
        : `install what brings it, or see: kubectl api-resources --api-group=${safeText(group)}`,
  });
}

function storedOtherwise(ref: ObjectRef): Failure {
  return new Failure({
    code: 'SP458',
    exit: EXIT.cluster,
    message: `${safeText(formatRef(ref))}: the API server would store something else than what is asked for`,
    hint: 'a mutating webhook or policy changes it; see: kubectl get mutatingwebhookconfigurations',
  });
}

function ownedByOthers(
  ref: ObjectRef,
  causes: readonly { readonly field: string; readonly message: string }[],
): Failure {
  const fields = causes.slice(0, 10).map(({ field, message }) => safeText(`${field}: ${message}`).slice(0, 300));
  return new Failure({
    code: 'SP651',
    exit: EXIT.refused,
    message: `${safeText(formatRef(ref))}: another manager owns what would be changed\n  ${fields.join('\n  ')}`,
    where: safeText(formatRef(ref)),
    hint: 'nothing was written and nothing is forced; agree with that manager, then plan again',
  });
}

/** Between two looks at a rollout: small ones end within a second, large ones need no haste. */
const POLL_MS = { first: 250, most: 4000 };

async function awaitRollout(
  { api, discovery }: Writer,
  clock: Clock,
  workload: AwaitedWorkload,
  signal: AbortSignal,
): Promise<RolloutResult> {
  if (workload.accounts !== undefined) return awaitAccounts(api, discovery, clock, workload, workload.accounts, signal);
  let last = 'not looked at yet';
  try {
    for (let pauseMs = POLL_MS.first; ; pauseMs = Math.min(POLL_MS.most, pauseMs * 2)) {
      signal.throwIfAborted();
      const live = await readManifest(api, discovery, workload.ref, signal);
      if (live === undefined) return { workload: workload.id, outcome: 'failed', message: 'it is gone' };
      const { state, message } = checkRollout(live);
      // What comes next is judged by the new pods alone: the old ones must be gone, not just be out of the Services.
      const ending = state === 'ready' ? await readEnding(api, live, signal) : 0;
      if (state !== 'waiting' && ending === 0) return { workload: workload.id, outcome: state, message };
      last = ending === 0 ? message : `${message}; ${plural(ending, 'old pod')} still ending`;
      await clock.sleep(pauseMs, signal);
    }
  } catch (error) {
    if (signal.aborted) return timedOut(workload.id, last);
    throw error;
  }
}

/** Until no pod of an operator's owner runs as the account before; `unknown` after a while, or where its pods cannot be told. */
async function awaitAccounts(
  api: KubeApi,
  discovery: Discovery,
  clock: Clock,
  { id, ref }: AwaitedWorkload,
  { from, to }: AccountMoved,
  signal: AbortSignal,
): Promise<RolloutResult> {
  const unknown = (why: string): RolloutResult => ({
    workload: id,
    outcome: 'unknown',
    message: `whether the pods of ${id} run as ${to} is not known: ${why}`,
  });
  const until = clock.now() + OPERATOR_LIMIT_MS;
  let last = 'not looked at yet';
  try {
    for (let pauseMs = POLL_MS.first; ; pauseMs = Math.min(POLL_MS.most, pauseMs * 2)) {
      signal.throwIfAborted();
      const live = await readManifest(api, discovery, ref, signal);
      if (live === undefined) return { workload: id, outcome: 'failed', message: 'it is gone' };
      const labelSelector = operatorPods(live);
      const namespace = namespaceOf(live);
      if (labelSelector === undefined || namespace === undefined)
        return unknown(`how its operator labels the pods of a ${ref.kind} is not known`);
      const pods = await api.must({
        method: 'GET',
        path: `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods`,
        query: { labelSelector },
        subject: { doing: `listing the pods of ${formatRef(ref)}`, verb: 'list', resource: 'pods', namespace },
        signal,
      });
      const { state, message } = checkAccounts(pods, from, to);
      if (state === 'ready') return { workload: id, outcome: 'ready', message };
      last = message;
      if (clock.now() >= until) return unknown(last);
      await clock.sleep(pauseMs, signal);
    }
  } catch (error) {
    if (signal.aborted) return timedOut(id, last);
    throw error;
  }
}

/** Pods of a workload that were told to end and have not yet. */
async function readEnding(api: KubeApi, workload: KubeManifest, signal: AbortSignal): Promise<number> {
  const namespace = namespaceOf(workload);
  const labelSelector = podSelector(workload);
  if (namespace === undefined || labelSelector === undefined) return 0;
  const pods = await api.must({
    method: 'GET',
    path: `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods`,
    query: { labelSelector },
    accept: METADATA_LIST,
    subject: { doing: `listing the pods of ${formatRef(refOf(workload))}`, verb: 'list', resource: 'pods', namespace },
    signal,
  });
  return countEnding(pods);
}
