import type { AddressRecord } from '../flows/address-history.ts';
import { createAddressBook, holdsOfSlices, seePod } from '../flows/address-history.ts';
import type { AddressHold, Watched } from '../model/address-hold.ts';
import { holdKey, mergeHold } from '../model/address-hold.ts';
import { isFailure } from '../shared/pure/errors.ts';
import { plural } from '../shared/pure/text.ts';
import type { Clock } from '../engine/contract.ts';
import type { Discovery, KubeApi } from '../sources/kube/index.ts';
import { listObjects, watchObjects } from '../sources/kube/index.ts';

/** How long what was seen is kept in memory before it is put on record. */
const FLUSH_MS = 30_000;
const SLICES = { apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice' } as const;
const PODS = { apiVersion: 'v1', kind: 'Pod' } as const;

export interface AddressWatch {
  readonly api: KubeApi;
  readonly discovery: Discovery;
  readonly clock: Clock;
  /** Ends the watch: what was seen by then is put on record. */
  readonly signal: AbortSignal;
  /** One list alone, and no watch. */
  readonly once: boolean;
  readonly note: (text: string) => void;
  /** Puts on record what was seen. False: not now; it is given again, with what came meanwhile. */
  readonly record: (seen: AddressRecord, last: boolean) => Promise<boolean>;
}

export interface AddressesSeen {
  /** Pods that held an address at the end. */
  readonly present: number;
  readonly gaps: readonly Watched[];
  /** From the first list to the last word; undefined where nothing was watched. */
  readonly watched?: Watched;
}

/**
 * Who holds which address, from pods as they come and go, and from EndpointSlices as second evidence at the beginning and after each gap. Puts
 * it on record every half minute and at the end. Errors: those of watchObjects; what was seen before is on record then.
 */
export async function watchAddresses(watch: AddressWatch): Promise<AddressesSeen> {
  const { api, discovery, clock, note } = watch;
  const over = new AbortController();
  const signal = AbortSignal.any([watch.signal, over.signal]);
  const book = createAddressBook();
  const kept = createKeeper();
  let first: number | undefined;
  let last = 0;
  let away: string | undefined;
  let slices: Promise<void> = Promise.resolve();

  const readSlices = async (at: number): Promise<void> => {
    try {
      kept.add({
        holds: holdsOfSlices(await listObjects({ api, discovery, ...SLICES, read: (one) => one, signal }), at),
        watched: [],
      });
    } catch (error) {
      // Second evidence: without it the pods' own word stands.
      if (!signal.aborted && isFailure(error)) note(`EndpointSlices were left out: ${error.detail.message}`);
      else if (!signal.aborted) throw error;
    }
  };
  if (watch.once) {
    const at = clock.now();
    book.listed(await listObjects({ api, discovery, ...PODS, read: seePod, signal }), at);
    note(`${plural(book.present, 'pod')} with an address of their own`);
    await readSlices(at);
    kept.add({ holds: book.drain().holds.map((hold) => ({ ...hold, by: ['snapshot'] })), watched: [] });
    await watch.record(kept.all(), true);
    return { present: book.present, gaps: [] };
  }
  const heard = (at: number): void => {
    last = Math.max(last, at);
    if (away !== undefined) note('the API server answers again: nothing was missed');
    away = undefined;
  };
  const flush = async (isLast: boolean): Promise<void> => {
    kept.add(book.drain());
    if (kept.size > 0 && (await watch.record(kept.all(), isLast))) kept.clear();
  };
  const stopped = (): boolean => signal.aborted;
  const flushing = (async () => {
    while (!stopped()) {
      try {
        await clock.sleep(FLUSH_MS, signal);
      } catch (error) {
        if (stopped()) return;
        throw error;
      }
      await flush(false);
    }
  })();
  // Whichever fails first ends both.
  const failing = flushing.catch((error: unknown) => {
    over.abort(error);
    throw error;
  });

  try {
    await Promise.race([
      failing.then(() => new Promise<never>(() => undefined)),
      watchObjects({
        api,
        discovery,
        ...PODS,
        read: seePod,
        clock,
        signal,
        sink: {
          listed(pods, at) {
            const isGap = first !== undefined;
            first ??= at;
            away = undefined;
            last = Math.max(last, at);
            book.listed(pods, at);
            const gap = book.gaps.at(-1);
            if (isGap && gap !== undefined)
              note(
                `a gap from ${new Date(gap.from).toISOString()} to ${new Date(gap.to).toISOString()}: the API server no longer knows what happened to pods; addresses that changed hands in it stay unattributed`,
              );
            else note(`${plural(pods.length, 'pod')}, ${book.present} of them with an address of their own`);
            slices = slices.then(() => readSlices(at));
          },
          changed(pod, at) {
            heard(at);
            book.changed(pod, at);
          },
          gone(pod, at) {
            heard(at);
            book.gone(pod, at);
          },
          alive(at) {
            heard(at);
            book.alive(at);
          },
          away(why, waitMs) {
            if (away !== why) note(`${why}; trying again, in ${Math.ceil(waitMs / 1000)} s at first`);
            away = why;
          },
        },
      }),
    ]);
  } finally {
    over.abort(new Error('over'));
    await slices;
    await flushing.catch(() => undefined);
    await flush(true);
  }
  return {
    present: book.present,
    gaps: book.gaps,
    ...(first === undefined ? {} : { watched: { from: first, to: last } }),
  };
}

/** What is not on record yet. */
function createKeeper(): {
  add(seen: AddressRecord): void;
  all(): AddressRecord;
  clear(): void;
  readonly size: number;
} {
  let holds = new Map<string, AddressHold>();
  let watched = new Map<number, Watched>();
  return {
    add(seen) {
      for (const hold of seen.holds) {
        const key = `${hold.ip}\n${holdKey(hold)}`;
        const known = holds.get(key);
        holds.set(key, known === undefined ? hold : mergeHold(known, hold));
      }
      for (const one of seen.watched) watched.set(one.from, one);
    },
    all: () => ({ holds: [...holds.values()], watched: [...watched.values()] }),
    clear() {
      holds = new Map();
      watched = new Map();
    },
    get size() {
      return holds.size + watched.size;
    },
  };
}
