import type { Clock, LeaseHold, Target } from '../engine/contract.ts';
import type { KubeManifest } from '../model/object.ts';
import { formatRef, refKey } from '../model/object.ts';
import type { Change } from '../plan/change.ts';
import { applyToObjects, changeRef, invertChange } from '../plan/change.ts';
import { EXIT, Failure } from '../shared/pure/errors.ts';

/** Where the commit of a change is on its way. */
export type Arrival =
  | { readonly kind: 'arrived' }
  | { readonly kind: 'waiting'; readonly facts: readonly string[] }
  | { readonly kind: 'failed'; readonly message: string }
  /** It is applied, and what was applied is not healthy yet. */
  | { readonly kind: 'unhealthy'; readonly message: string }
  /** Nobody says: the object itself must answer. */
  | { readonly kind: 'unknown'; readonly facts: readonly string[] };

export interface FollowOptions {
  readonly target: Target;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Steps of which nothing is begun: their objects are seen as they were before the commit until they are applied. */
  readonly pending: readonly Change[];
  /** How long to wait in all, ms; 0 looks once. */
  readonly waitMs: number;
  readonly arrived: () => Promise<Arrival>;
  /** Whether the object is as a change leaves it, others' additions aside. */
  readonly shows: (change: Change, live: KubeManifest | undefined) => boolean;
  /** For a change that no commit holds: the way back of a watch. Undefined where that cannot be. */
  readonly commit?: (change: Change) => Promise<void>;
  readonly onWait?: (text: string) => void;
}

const POLL_MS = 5_000;
/** After a deployer says that it has applied the commit, an object may still be on its way through caches. */
const GRACE_MS = 30_000;

/**
 * Waits until a commit is applied and every change shows. Throws a Failure: SP644 where it is not in force in time (exit 3) or was not applied
 * (exit 4), SP692 (exit 4) where it is applied and not healthy in time, SP645 (exit 6) where it is applied and an object is not as it says.
 */
export async function awaitCommit(
  options: Omit<FollowOptions, 'pending' | 'commit'>,
  changes: readonly Change[],
  since?: number,
): Promise<{ readonly live: readonly (KubeManifest | undefined)[]; readonly arrivedAt: number | undefined }> {
  const { target, clock, signal } = options;
  const until = clock.now() + options.waitMs;
  let arrivedAt = since;
  for (;;) {
    const arrival: Arrival = arrivedAt === undefined ? await options.arrived() : { kind: 'arrived' };
    if (arrival.kind === 'failed')
      throw new Failure({
        code: 'SP644',
        exit: EXIT.cluster,
        message: `the commit was not applied: ${arrival.message}`,
        hint: 'mend it in Git, or take the commit back: sallyport rollback with the same --git',
        nature: 'passes',
      });
    if (arrival.kind === 'arrived') arrivedAt ??= clock.now();
    if (arrival.kind === 'unhealthy' && clock.now() >= until)
      throw new Failure({
        code: 'SP692',
        exit: EXIT.cluster,
        message: `the commit is applied, and what applied it says that it is not healthy: ${arrival.message}`,
        hint: 'look at what is not healthy; sallyport resume --wait TIME waits for it, sallyport rollback with the same --git takes the commit back, and git.health: ignore in the configuration goes by the objects alone',
        nature: 'passes',
      });
    const live: (KubeManifest | undefined)[] = [];
    for (const change of changes) live.push(await target.readObject(changeRef(change)));
    const missing = changes.find((change, at) => !options.shows(change, live[at]));
    if (missing === undefined && arrival.kind !== 'waiting' && arrival.kind !== 'unhealthy') return { live, arrivedAt };
    const what = missing === undefined ? '' : formatRef(changeRef(missing));
    if (missing !== undefined && arrivedAt !== undefined && clock.now() >= Math.min(arrivedAt + GRACE_MS, until))
      throw new Failure({
        code: 'SP645',
        exit: EXIT.drift,
        message: `the commit is applied, and ${what} is not as it says`,
        where: what,
        hint: 'look at the object: an overlay, another controller or a hook of the repository changed it on the way; then sallyport resume, or rollback',
        nature: 'passes',
      });
    const facts =
      arrival.kind === 'arrived'
        ? [`${what} is not there yet`]
        : arrival.kind === 'unhealthy'
          ? [`not healthy yet: ${arrival.message}`]
          : arrival.facts;
    if (clock.now() >= until)
      throw new Failure({
        code: 'SP644',
        exit: EXIT.refused,
        message: `the commit is not in force yet: ${facts.join('; ')}`,
        ...(what === '' ? {} : { where: what }),
        hint: 'push and merge it; then sallyport resume looks again (--wait TIME waits), and sallyport rollback takes it back',
        nature: 'passes',
      });
    options.onWait?.(facts.join('; '));
    await clock.sleep(POLL_MS, signal);
  }
}

/**
 * A target that others write to: what was committed to Git is waited for, change by change, and found in the cluster. Reading is the inner
 * target's. Nothing is written to the cluster, so no Lease is taken: the tree's own history is what two runs meet in.
 */
export function followTarget(options: FollowOptions): Target {
  const { target, clock } = options;
  const pending = new Map(options.pending.map((change) => [refKey(changeRef(change)), change]));
  const until = clock.now() + options.waitMs;
  let arrivedAt: number | undefined;

  const wait = async (change: Change): Promise<KubeManifest | undefined> => {
    const found = await awaitCommit({ ...options, waitMs: Math.max(0, until - clock.now()) }, [change], arrivedAt);
    arrivedAt = found.arrivedAt;
    return found.live[0];
  };

  const hold: LeaseHold = { assertHeld: () => Promise.resolve(), release: () => Promise.resolve() };
  return {
    kind: target.kind,
    id: target.id,
    description: target.description,
    ...(target.user === undefined ? {} : { user: target.user }),
    readSnapshot: (onProgress) => target.readSnapshot(onProgress),
    readKinds: (kinds) => target.readKinds(kinds),
    awaitRollout: (workload, signal) => target.awaitRollout(workload, signal),
    close: () => target.close(),
    readObject: async (ref) => {
      const live = await target.readObject(ref);
      const change = pending.get(refKey(ref));
      // The engine asks whether a change may be made; others have made it already.
      if (change === undefined || !options.shows(change, live)) return live;
      return applyToObjects(live === undefined ? [] : [live], invertChange(change))[0];
    },
    rehearse: () => Promise.resolve(),
    apply: async (change) => {
      const key = refKey(changeRef(change));
      const committed = pending.has(key);
      pending.delete(key);
      if (!committed) {
        if (options.commit === undefined)
          throw new Failure({
            code: 'SP647',
            exit: EXIT.refused,
            message: `${formatRef(changeRef(change))} is declared in Git, so it is not written past it`,
            hint: 'take the commit back: sallyport rollback with the same --git',
          });
        await options.commit(change);
        arrivedAt = undefined;
      }
      const live = await wait(change);
      return {
        outcome: change.kind === 'create' ? 'created' : change.kind === 'edit' ? 'configured' : 'deleted',
        ...(live === undefined ? {} : { live }),
      };
    },
    acquire: () => Promise.resolve(hold),
  };
}
