import type { Clock, LeaseHold } from '../engine/contract.ts';
import { EXIT, Failure, isFailure, messageOf } from '../shared/pure/errors.ts';
import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asNumber, asObject, asString } from '../shared/pure/json.ts';
import { uniqueSorted } from '../shared/pure/order.ts';
import { safeText } from '../shared/pure/text.ts';
import type { ApiAnswer, ApiCall, ApiProblem, KubeApi } from '../sources/kube/index.ts';
import { failureOf, isOutcomeUnknown, RUN_LEASES } from '../sources/kube/index.ts';
import { FIELD_MANAGER } from './own-fields.ts';

const DURATION_SEC = 60;
/** `Date` headers are cut to whole seconds and take a moment to arrive. */
const MARGIN_SEC = 5;
/** A write that comes later than this after the last look at the Leases looks again. */
const LOOK_AGAIN_MS = 10_000;
/** The role `operator` has these names, and no others. */
const [OWN_LEASE, CLUSTER_LEASE] = RUN_LEASES;

export interface LeaseName {
  readonly namespace: string;
  readonly name: string;
  /** `namespace shop`, `cluster-scoped objects`. */
  readonly scope: string;
}

interface Held {
  readonly lease: LeaseName;
  readonly uid: string;
  /** By the API server's clock. */
  readonly renewedAt: number;
  /** By the clock of this machine, as of just before the API server was asked. */
  readonly seenAt: number;
  /** By the clock of this machine: until then nobody else can have taken it. */
  readonly heldUntil: number;
}

/** Stands between a target and its writes while Leases are held. */
export interface Fence {
  /** Looks at the Leases again where time has passed since the last look. Throws when one was lost (SP653). */
  ensure(): Promise<void>;
  /** False when somebody else might hold one by now: asked in the last moment before a write goes out. */
  isOpen(): boolean;
}

export interface FencedHold extends LeaseHold, Fence {}

/** All holds of a target. One that was given back stands in nobody's way. */
export function openFence(): Fence & { add(hold: FencedHold): FencedHold } {
  const holds = new Set<FencedHold>();
  return {
    ensure: async () => {
      for (const hold of holds) await hold.ensure();
    },
    isOpen: () => [...holds].every((hold) => hold.isOpen()),
    add: (hold) => {
      holds.add(hold);
      return {
        ...hold,
        release: async () => {
          holds.delete(hold);
          await hold.release();
        },
      };
    },
  };
}

/**
 * Takes a Lease (coordination.k8s.io/v1) per namespace, in name order; `''` stands for cluster-scoped and mesh-root objects.
 * A namespace that is gone, or going, is passed over. Errors: SP652 (exit 3) held by another, those taken being given back;
 * exit 4 from the cluster.
 *
 * When a lease is over is judged by the API server's clock alone, which every holder reads from the `Date` of its answers and
 * writes into `renewTime`: clocks of operators' machines may differ by any amount. Every write carries the resourceVersion that
 * was read, so of two that find a lease over one succeeds. A holder that was asleep finds out at its next `assertHeld`, which reads
 * the lease each time; what it was about to write when it fell asleep is held back: how long a lease surely runs is known by this machine's
 * own clock too, from the moment before it was last read, and asked once more when the write goes out. That takes no agreement of clocks,
 * only that a minute is as long here as there.
 */
export async function acquireLeases(
  api: KubeApi,
  clock: Clock,
  namespaces: readonly string[],
  holder: string,
): Promise<FencedHold> {
  return acquireNamed(api, clock, uniqueSorted(namespaces).map(leaseName), holder);
}

/** The same of Leases by their names, in the order given: for who leads among several processes. */
export async function acquireNamed(
  api: KubeApi,
  clock: Clock,
  leases: readonly LeaseName[],
  holder: string,
): Promise<FencedHold> {
  const held = new Map<string, Held>();
  const client: LeaseClient = { api, clock, holder };
  const release = async (): Promise<void> => {
    let first: Error | undefined;
    for (const [key, one] of [...held].reverse()) {
      try {
        await releaseLease(client, one);
        held.delete(key);
      } catch (error) {
        first ??= error instanceof Error ? error : new Error(messageOf(error));
      }
    }
    // The rest is free within a minute by itself, but that it is not free yet must be known.
    if (first !== undefined) throw first;
  };
  try {
    for (const lease of leases) {
      const taken = await takeLease(client, lease);
      if (taken !== undefined) held.set(`${lease.namespace}/${lease.name}`, taken);
    }
  } catch (error) {
    await release().catch(() => undefined);
    throw error;
  }
  // Once lost a hold stays so: whoever had it meanwhile may have moved everything.
  let lostBy: Failure | undefined;
  const assertHeld = async (): Promise<void> => {
    if (lostBy !== undefined) throw lostBy;
    for (const [key, one] of held) {
      try {
        const next = await assertLease(client, one);
        if (next === undefined) held.delete(key);
        else held.set(key, next);
      } catch (error) {
        if (isFailure(error) && error.detail.nature === 'hold-lost') lostBy = error;
        throw error;
      }
    }
  };
  return {
    assertHeld,
    release,
    ensure: async () => {
      const now = clock.now();
      // A clock that was set back says nothing of how long ago that was.
      if (lostBy !== undefined || [...held.values()].some(({ seenAt }) => now < seenAt || now - seenAt > LOOK_AGAIN_MS))
        await assertHeld();
    },
    isOpen: () => {
      const now = clock.now();
      return (
        lostBy === undefined && [...held.values()].every(({ seenAt, heldUntil }) => seenAt <= now && now < heldUntil)
      );
    },
  };
}

interface LeaseClient {
  readonly api: KubeApi;
  readonly clock: Clock;
  readonly holder: string;
}

export function leaseName(namespace: string): LeaseName {
  return namespace === ''
    ? { namespace: 'kube-system', name: CLUSTER_LEASE, scope: 'cluster-scoped objects' }
    : { namespace, name: OWN_LEASE, scope: `namespace ${namespace}` };
}

async function takeLease(client: LeaseClient, lease: LeaseName): Promise<Held | undefined> {
  for (let attempt = 1; ; attempt += 1) {
    const seenAt = client.clock.now();
    const { found, now } = await readLease(client, lease);
    const spec = asObject(found?.['spec']);
    const other = asString(spec['holderIdentity']) ?? '';
    if (found !== undefined && other !== '' && other !== client.holder && now <= endOf(spec))
      throw heldBy(lease, spec, now);
    const answer = await client.api.send(
      found === undefined ? createCall(client, lease, now) : updateCall(client, lease, found, now, other),
    );
    if (answer.ok) return heldOf(lease, answer.body, now, now, seenAt);
    const { problem } = answer;
    const isGone = isNamespaceGone(problem, lease);
    if (isGone) return undefined;
    // Somebody was faster, or it is not known whether we were: what is there now decides. A repeated take by the same holder
    // is a renewal, so nothing is taken twice.
    const undecided = isConflict(problem) || isOutcomeUnknown(problem) || isMissing(problem);
    if (!undecided || attempt === 3) throw failureOf(problem, subjectOf(lease, 'update'), client.api);
  }
}

/** The hold after a check, renewed when a third of its time has passed; undefined when its namespace is gone. */
async function assertLease(client: LeaseClient, held: Held): Promise<Held | undefined> {
  const { lease } = held;
  for (let attempt = 1; ; attempt += 1) {
    const seenAt = client.clock.now();
    const { found, now } = await readLease(client, lease);
    if (found === undefined) {
      if (await namespaceIsGone(client, lease)) return undefined;
      throw lost(lease, 'the Lease was deleted');
    }
    const spec = asObject(found['spec']);
    const holder = asString(spec['holderIdentity']) ?? '';
    if (holder !== client.holder || asString(asObject(found['metadata'])['uid']) !== held.uid)
      throw lost(lease, holder === '' ? 'nobody holds it now' : `${safeText(holder)} holds it now`);
    const current = heldOf(lease, found, timeOf(spec['renewTime']) ?? held.renewedAt, now, seenAt);
    if (now - current.renewedAt < (DURATION_SEC * 1000) / 3) return current;
    const answer = await client.api.send(updateCall(client, lease, found, now, holder));
    if (answer.ok) return heldOf(lease, answer.body, now, now, seenAt);
    const undecided = isConflict(answer.problem) || isOutcomeUnknown(answer.problem) || isMissing(answer.problem);
    if (!undecided || attempt === 3) throw failureOf(answer.problem, subjectOf(lease, 'update'), client.api);
  }
}

async function releaseLease(client: LeaseClient, held: Held): Promise<void> {
  const { lease } = held;
  const { found } = await readLease(client, lease);
  const metadata = asObject(found?.['metadata']);
  if (
    found === undefined ||
    asObject(found['spec'])['holderIdentity'] !== client.holder ||
    metadata['uid'] !== held.uid
  )
    return;
  const subject = subjectOf(lease, 'delete');
  const answer = await client.api.send({
    method: 'DELETE',
    path: pathOf(lease),
    body: {
      apiVersion: 'v1',
      kind: 'DeleteOptions',
      preconditions: { uid: held.uid, ...resourceVersionOf(metadata) },
    },
    subject,
  });
  if (answer.ok || isMissing(answer.problem)) return;
  // Taken by another between the two calls, or not answered: gone or not ours is all that is wanted.
  const again = await readLease(client, lease);
  if (again.found === undefined || asObject(again.found['spec'])['holderIdentity'] !== client.holder) return;
  throw failureOf(answer.problem, subject, client.api);
}

async function readLease(
  client: LeaseClient,
  lease: LeaseName,
): Promise<{ readonly found: JsonObject | undefined; readonly now: number }> {
  const subject = subjectOf(lease, 'get');
  const answer = await client.api.send({ method: 'GET', path: pathOf(lease), subject });
  const now = serverNow(answer, client.clock);
  if (answer.ok) return { found: answer.body, now };
  if (isMissing(answer.problem)) return { found: undefined, now };
  throw failureOf(answer.problem, subject, client.api);
}

function serverNow(answer: ApiAnswer, clock: Clock): number {
  return answer.serverTime ?? clock.now();
}

function createCall(client: LeaseClient, lease: LeaseName, now: number): ApiCall {
  return {
    method: 'POST',
    path: `/apis/coordination.k8s.io/v1/namespaces/${encodeURIComponent(lease.namespace)}/leases`,
    query: { fieldManager: FIELD_MANAGER },
    body: {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: {
        name: lease.name,
        namespace: lease.namespace,
        labels: { 'app.kubernetes.io/managed-by': 'sallyport' },
      },
      spec: specOf(client, now, microTime(now), 0),
    },
    subject: subjectOf(lease, 'create'),
  };
}

function updateCall(client: LeaseClient, lease: LeaseName, found: JsonObject, now: number, holder: string): ApiCall {
  const old = asObject(found['spec']);
  const same = holder === client.holder;
  const transitions = asNumber(old['leaseTransitions']) ?? 0;
  const acquired = same ? (asString(old['acquireTime']) ?? microTime(now)) : microTime(now);
  return {
    method: 'PUT',
    path: pathOf(lease),
    query: { fieldManager: FIELD_MANAGER },
    // The resourceVersion that was read goes along: of two writers one is refused.
    body: { ...found, spec: { ...old, ...specOf(client, now, acquired, same ? transitions : transitions + 1) } },
    subject: subjectOf(lease, 'update'),
  };
}

function specOf(client: LeaseClient, now: number, acquireTime: string, leaseTransitions: number): JsonObject {
  return {
    holderIdentity: client.holder,
    leaseDurationSeconds: DURATION_SEC,
    acquireTime,
    renewTime: microTime(now),
    leaseTransitions,
  };
}

/** `now` is what the API server said when it was asked at `seenAt` of this machine. */
function heldOf(lease: LeaseName, body: JsonObject, renewedAt: number, now: number, seenAt: number): Held {
  const metadata = asObject(body['metadata']);
  return {
    lease,
    uid: asString(metadata['uid']) ?? '',
    renewedAt,
    seenAt,
    // Others wait for the margin on top of this, which is more than the second that the server's clock is cut by.
    heldUntil: seenAt + DURATION_SEC * 1000 - Math.max(0, now - renewedAt),
  };
}

/** When another holder's lease is surely over. One that does not say when it was renewed is not over by itself. */
function endOf(spec: JsonObject): number {
  const renewed = timeOf(spec['renewTime']);
  if (renewed === undefined) return Number.POSITIVE_INFINITY;
  return renewed + ((asNumber(spec['leaseDurationSeconds']) ?? DURATION_SEC) + MARGIN_SEC) * 1000;
}

function timeOf(value: Json | undefined): number | undefined {
  const time = Date.parse(asString(value) ?? '');
  return Number.isNaN(time) ? undefined : time;
}

/** The API wants six digits. */
function microTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString().replace('Z', '000Z');
}

function resourceVersionOf(metadata: JsonObject): JsonObject {
  const resourceVersion = asString(metadata['resourceVersion']);
  return resourceVersion === undefined ? {} : { resourceVersion };
}

function pathOf(lease: LeaseName): string {
  return `/apis/coordination.k8s.io/v1/namespaces/${encodeURIComponent(lease.namespace)}/leases/${lease.name}`;
}

function subjectOf(lease: LeaseName, verb: string) {
  const words = { get: 'reading', create: 'taking', update: 'taking', delete: 'giving back' }[verb] ?? verb;
  return {
    doing: `${words} the Lease ${lease.namespace}/${lease.name}`,
    verb,
    resource: 'leases.coordination.k8s.io',
    namespace: lease.namespace,
    name: lease.name,
  };
}

function isMissing(problem: ApiProblem): boolean {
  return problem.kind === 'refused' && problem.status === 404;
}

function isConflict(problem: ApiProblem): boolean {
  return problem.kind === 'refused' && problem.status === 409;
}

/** Creating in a namespace that is not there, or being deleted. */
function isNamespaceGone(problem: ApiProblem, lease: LeaseName): boolean {
  if (problem.kind !== 'refused') return false;
  if (problem.body.causes.some(({ reason }) => reason === 'NamespaceTerminating')) return true;
  return problem.status === 404 && problem.body.kind === 'namespaces' && problem.body.name === lease.namespace;
}

async function namespaceIsGone(client: LeaseClient, lease: LeaseName): Promise<boolean> {
  const subject = {
    doing: `reading Namespace ${lease.namespace}`,
    verb: 'get',
    resource: 'namespaces',
    name: lease.namespace,
  };
  const path = `/api/v1/namespaces/${encodeURIComponent(lease.namespace)}`;
  const answer = await client.api.send({ method: 'GET', path, subject });
  if (answer.ok) return asObject(answer.body['metadata'])['deletionTimestamp'] !== undefined;
  if (isMissing(answer.problem)) return true;
  throw failureOf(answer.problem, subject, client.api);
}

function heldBy(lease: LeaseName, spec: JsonObject, now: number): Failure {
  const holder = safeText(asString(spec['holderIdentity']) ?? '').slice(0, 200);
  const since = timeOf(spec['acquireTime']);
  const renewed = timeOf(spec['renewTime']);
  const end = endOf(spec);
  return new Failure({
    code: 'SP652',
    exit: EXIT.refused,
    message:
      `${safeText(lease.scope)}: held by ${holder}` +
      (since === undefined ? '' : ` since ${new Date(since).toISOString()}`) +
      (renewed === undefined ? '' : `, last renewed ${Math.max(0, Math.round((now - renewed) / 1000))} s ago`),
    where: `Lease ${lease.namespace}/${lease.name}`,
    hint: Number.isFinite(end)
      ? `wait for that run to end; if it was killed, the hold is over in ${Math.max(1, Math.ceil((end - now) / 1000))} s`
      : 'wait for that run to end; if it was killed, delete the Lease',
  });
}

function lost(lease: LeaseName, why: string): Failure {
  return new Failure({
    code: 'SP653',
    exit: EXIT.refused,
    nature: 'hold-lost',
    message: `${safeText(lease.scope)}: the hold was lost: ${why}; nothing more is written`,
    where: `Lease ${lease.namespace}/${lease.name}`,
    hint: 'when the other run has ended: sallyport resume',
  });
}
