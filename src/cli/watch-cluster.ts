import type { Clock } from '../engine/contract.ts';
import type { KubeManifest } from '../model/object.ts';
import { isOver } from './interrupt.ts';
import { isFailure } from '../shared/pure/errors.ts';
import type { Discovery, KubeApi, SnapshotKind } from '../sources/kube/index.ts';
import { openDiscovery, snapshotKinds, snapshotObject, watchObjects } from '../sources/kube/index.ts';
import type { WatchEvent } from '../watch/state.ts';

/** A kind that may not be followed is asked for again so often: rights and servers come back. */
const AGAIN_MS = 60_000;
/** A connection that is back at once was never away. */
const AWAY_MS = 2_000;
/** Kinds that an operator brings are looked for so long after its definition came. */
const NEW_KINDS_MS = 10_000;

export interface ClusterFollow {
  readonly api: KubeApi;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly emit: (event: WatchEvent) => void;
  readonly note: (text: string) => void;
}

const nameOf = ({ apiVersion, kind }: Pick<SnapshotKind, 'apiVersion' | 'kind'>): string => `${apiVersion} ${kind}`;

/**
 * Follows every kind of a snapshot, each by a watch of its own, until the signal. What may not be read, or not any more, is said (`away`) and
 * asked for again each minute. Errors (exit 4): a kind that nothing can do without and that cannot be listed at the start.
 */
export async function followCluster(follow: ClusterFollow): Promise<void> {
  const { api, clock, signal } = follow;
  const over = new AbortController();
  const until = AbortSignal.any([signal, over.signal]);
  const running = new Map<string, Promise<void>>();
  let failure: unknown;
  let isPlanned = true;
  let newKindsAt = Infinity;

  const emit = (event: WatchEvent): void => {
    if (
      (event.kind === 'put' || event.kind === 'gone') &&
      event.object.kind === 'CustomResourceDefinition' &&
      newKindsAt === Infinity
    )
      newKindsAt = clock.now() + NEW_KINDS_MS;
    follow.emit(event);
  };
  const start = (kind: SnapshotKind, discovery: Discovery, isFirst: boolean): void => {
    running.set(
      nameOf(kind),
      followKind({ ...follow, emit, signal: until }, kind, discovery, isFirst).catch((error: unknown) => {
        failure ??= error;
        over.abort(error);
      }),
    );
  };
  const first = openDiscovery(api);
  const kinds = await snapshotKinds(first);
  follow.emit({ kind: 'expect', kinds: kinds.map(nameOf) });
  for (const kind of kinds) start(kind, first, true);
  while (!until.aborted) {
    await clock.sleep(1_000, until).catch(() => undefined);
    if (isOver(until) || clock.now() < newKindsAt) continue;
    newKindsAt = Infinity;
    // What was found before is kept by a discovery: a new one sees what was installed since.
    const discovery = openDiscovery(api);
    try {
      for (const kind of await snapshotKinds(discovery)) if (!running.has(nameOf(kind))) start(kind, discovery, false);
      isPlanned = true;
    } catch (error) {
      if (!isFailure(error)) throw error;
      if (isPlanned) follow.note(`what the API server serves could not be asked: ${error.message}`);
      isPlanned = false;
      newKindsAt = clock.now() + AGAIN_MS;
    }
  }
  await Promise.all(running.values());
  if (failure !== undefined) throw failure as Error;
}

async function followKind(
  { api, clock, signal, emit }: ClusterFollow,
  kind: SnapshotKind,
  discovery: Discovery,
  isFirst: boolean,
): Promise<void> {
  const of = nameOf(kind);
  let isAway = false;
  let listed = false;
  const away = (why: string): void => {
    isAway = true;
    emit({ kind: 'away', what: 'objects', of, why });
  };
  const back = (): void => {
    if (isAway) emit({ kind: 'back', what: 'objects', of });
    isAway = false;
  };
  while (!signal.aborted) {
    try {
      await watchObjects<KubeManifest>({
        api,
        discovery,
        apiVersion: kind.apiVersion,
        kind: kind.kind,
        ...(kind.metadataOnly ? { metadataOnly: true } : {}),
        read: (object) => snapshotObject(object, kind),
        clock,
        signal,
        sink: {
          listed: (objects) => {
            listed = true;
            emit({ kind: 'listed', of, objects });
            back();
          },
          changed: (object) => {
            emit({ kind: 'put', of, object });
            back();
          },
          gone: (object) => {
            emit({ kind: 'gone', of, object });
            back();
          },
          alive: back,
          away: (why, waitMs) => {
            if (waitMs >= AWAY_MS) away(why);
          },
        },
      });
      return;
    } catch (error) {
      if (isOver(signal)) return;
      if (!isFailure(error) || (isFirst && !listed && kind.required)) throw error;
      // The others are judged without it, and it is said.
      if (!listed) emit({ kind: 'listed', of, objects: [] });
      listed = true;
      away(error.message);
      await clock.sleep(AGAIN_MS, signal).catch(() => undefined);
    }
  }
}
