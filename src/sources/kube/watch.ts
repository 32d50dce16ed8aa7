import { EXIT, Failure } from '../../shared/pure/errors.ts';
import type { Json, JsonObject } from '../../shared/pure/json.ts';
import { asNumber, asObject, asString, isJsonObject } from '../../shared/pure/json.ts';
import { safeText } from '../../shared/pure/text.ts';
import type { KubeManifest } from '../../model/object.ts';
import type { ApiAnswer, KubeApi, Waiter } from './connect.ts';
import type { Discovery } from './discovery.ts';
import { collectionPath, resourceName } from './discovery.ts';
import type { ApiProblem } from './problem.ts';
import { failureOf } from './problem.ts';
import type { ApiResource } from './schema.ts';
import { parseListItem, parseListPage } from './schema.ts';
import { METADATA_LIST } from './snapshot.ts';

const PAGE_SIZE = 500;
/** The same of each event of a watch. */
const METADATA_WATCH = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1';
/** The API server ends a watch by itself after this long; it is then taken up where it was. */
const WATCH_SEC = 290;
/** Bookmarks come about once a minute: a connection silent for longer is dead. */
const SILENT_MS = 150_000;
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;
/** Credentials that a plugin renews are refused for a moment now and then. */
const REFUSALS = 3;
/** The Date of an answer says whole seconds: a smaller difference of the clocks is none. */
const CLOCKS_AGREE_MS = 2_000;

/** What a watch tells. Times are milliseconds since the epoch by the API server's clock. */
export interface WatchSink<T> {
  /** All there is. Not for the first time: what happened since the last word could not be had any more. */
  listed(objects: readonly T[], at: number): void;
  changed(object: T, at: number): void;
  gone(object: T, at: number): void;
  /** Everything that happened before has been told. */
  alive(at: number): void;
  /** The connection is away, and is tried again after so long. Nothing is lost by it yet. */
  away(why: string, waitMs: number): void;
}

export interface WatchOptions<T> {
  readonly api: KubeApi;
  readonly discovery: Discovery;
  readonly apiVersion: string;
  readonly kind: string;
  /** Only metadata is asked for: the rest is large and not used. */
  readonly metadataOnly?: boolean;
  /** What is kept of an object: the whole would fill the memory. */
  readonly read: (object: KubeManifest) => T;
  readonly sink: WatchSink<T>;
  readonly clock: Waiter & { now(): number };
  /** Ends the watch; nothing is thrown then. */
  readonly signal: AbortSignal;
}

/**
 * Lists a kind in all namespaces, and then hears of every change of it until the signal: with bookmarks, taking up a broken connection where
 * it was, with waits that grow to half a minute. Where the API server has forgotten the place (410), everything is listed anew. Errors, exit
 * 4: a first list that cannot be had, rights that end (SP403), credentials that stay refused (SP401).
 */
export async function watchObjects<T>(options: WatchOptions<T>): Promise<void> {
  const { api, sink, clock, signal } = options;
  const resource = await requireResource(options);
  let skewMs = 0;
  const heard = (answer: ApiAnswer): void => {
    const off = answer.serverTime === undefined ? 0 : answer.serverTime - clock.now();
    skewMs = Math.abs(off) < CLOCKS_AGREE_MS ? 0 : off;
  };
  const at = (): number => clock.now() + skewMs;
  const stopped = (): boolean => signal.aborted;

  let version: string | undefined;
  let first = true;
  let waitMs = FIRST_WAIT_MS;
  let refusals = 0;
  /** False where it is over. */
  const patience = async (problem: ApiProblem, verb: string): Promise<boolean> => {
    const refused = problem.kind === 'refused' ? problem.status : 0;
    refusals = refused === 401 ? refusals + 1 : 0;
    const subject = { doing: `watching ${resource.kind} objects`, verb, resource: resourceName(resource) };
    const failure = failureOf(problem, subject, api);
    if (first || refused === 403 || refused === 404 || refusals >= REFUSALS) throw failure;
    sink.away(failure.message, waitMs);
    try {
      await clock.sleep(waitMs, signal);
    } catch (error) {
      if (stopped()) return false;
      throw error;
    }
    waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
    return true;
  };

  while (!stopped()) {
    try {
      if (version === undefined) {
        const listed = await listWith(options, resource, heard);
        if (!('objects' in listed)) {
          if (!(await patience(listed, 'list'))) return;
          continue;
        }
        first = false;
        sink.listed(listed.objects, at());
        version = listed.version;
      }
      const round: { progress: boolean; expired: boolean; refused?: ApiProblem } = { progress: false, expired: false };
      const take = (line: string): void => {
        const event = parseEvent(line, resource);
        if (event.kind === 'error') {
          round.expired ||= event.code === 410;
          round.refused ??= event.problem;
          return;
        }
        round.progress = true;
        version = event.version;
        switch (event.kind) {
          case 'bookmark':
            sink.alive(at());
            break;
          case 'put':
            sink.changed(options.read(event.object), at());
            break;
          case 'gone':
            sink.gone(options.read(event.object), at());
            break;
        }
      };
      // What the taker throws is no fault of the connection.
      const faulty = new AbortController();
      const answer = await api.send({
        method: 'GET',
        path: collectionPath(resource),
        query: {
          watch: 'true',
          allowWatchBookmarks: 'true',
          resourceVersion: version,
          timeoutSeconds: String(WATCH_SEC),
        },
        ...(options.metadataOnly === true ? { accept: `${METADATA_WATCH},application/json` } : {}),
        subject: { doing: `watching ${resource.kind} objects`, verb: 'watch', resource: resourceName(resource) },
        signal: AbortSignal.any([signal, faulty.signal]),
        idleMs: SILENT_MS,
        onLine: (line) => {
          if (!faulty.signal.aborted)
            try {
              take(line);
            } catch (error) {
              faulty.abort(error);
            }
        },
      });
      if (faulty.signal.aborted) throw faulty.signal.reason;
      if (round.progress) {
        waitMs = FIRST_WAIT_MS;
        refusals = 0;
      }
      const problem = answer.ok ? round.refused : answer.problem;
      if (round.expired || (problem?.kind === 'refused' && problem.status === 410)) version = undefined;
      else if (problem !== undefined) {
        if (!(await patience(problem, 'watch'))) return;
      } else if (!round.progress) {
        // A server that ends it at once, time and again, is not asked without a pause.
        await clock.sleep(FIRST_WAIT_MS, signal);
      }
    } catch (error) {
      if (stopped()) return;
      throw error;
    }
  }
}

async function requireResource({
  discovery,
  apiVersion,
  kind,
}: Pick<WatchOptions<unknown>, 'discovery' | 'apiVersion' | 'kind'>): Promise<ApiResource> {
  const resource = await discovery.find(apiVersion, kind);
  if (resource !== undefined) return resource;
  throw new Failure({
    code: 'SP413',
    exit: EXIT.cluster,
    message: `the API server does not serve ${safeText(kind)} of ${safeText(apiVersion)}`,
    hint: 'see what it serves with: kubectl api-resources',
  });
}

/** Everything of a kind in all namespaces, as `read` leaves it. Errors: exit 4 as in `failureOf`. */
export async function listObjects<T>(options: Omit<WatchOptions<T>, 'sink' | 'clock'>): Promise<readonly T[]> {
  const resource = await requireResource(options);
  const listed = await listWith(options, resource, () => undefined);
  if ('objects' in listed) return listed.objects;
  const subject = { doing: `listing ${resource.kind} objects`, verb: 'list', resource: resourceName(resource) };
  throw failureOf(listed, subject, options.api);
}

/** Everything of a kind as `read` leaves it, and where a watch goes on from there; or why it cannot be had. */
async function listWith<T>(
  { api, read, signal, metadataOnly }: Pick<WatchOptions<T>, 'api' | 'read' | 'signal' | 'metadataOnly'>,
  resource: ApiResource,
  heard: (answer: ApiAnswer) => void,
): Promise<{ readonly objects: readonly T[]; readonly version: string } | ApiProblem> {
  const path = collectionPath(resource);
  const subject = { doing: `listing ${resource.kind} objects`, verb: 'list', resource: resourceName(resource) };
  let objects: T[] = [];
  let query: Readonly<Record<string, string>> = { limit: String(PAGE_SIZE) };
  for (let whole = false; ;) {
    const accept = metadataOnly === true ? { accept: `${METADATA_LIST},application/json` } : {};
    const answer = await api.send({ method: 'GET', path, query, subject, signal, ...accept });
    heard(answer);
    if (!answer.ok) {
      // The continue token is too old: pages cannot catch up, one whole list can.
      if (whole || answer.problem.kind !== 'refused' || answer.problem.status !== 410) return answer.problem;
      whole = true;
      objects = [];
      query = {};
      continue;
    }
    const page = parseListPage(answer.body);
    const version = asString(asObject(answer.body['metadata'])['resourceVersion']);
    if (page === undefined || version === undefined)
      return { kind: 'no-answer', why: 'garbled', mayHaveReached: true, detail: `${path} is not a list` };
    for (const item of page.items) {
      const object = parseListItem(item, resource.apiVersion, resource.kind);
      if (object !== undefined) objects.push(read(object));
    }
    if (page.next === '') return { objects, version };
    query = { limit: String(PAGE_SIZE), continue: page.next };
  }
}

type WatchEvent =
  | { readonly kind: 'put' | 'gone'; readonly object: KubeManifest; readonly version: string }
  | { readonly kind: 'bookmark'; readonly version: string }
  | { readonly kind: 'error'; readonly code: number; readonly problem: ApiProblem };

/** One line of a watch (k8s.io/apimachinery, meta/v1 WatchEvent). */
function parseEvent(line: string, resource: ApiResource): WatchEvent {
  const garbled = (detail: string): WatchEvent => ({
    kind: 'error',
    code: 0,
    problem: { kind: 'no-answer', why: 'garbled', mayHaveReached: true, detail },
  });
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return garbled('a line of the watch is not JSON');
  }
  const event = asObject(value as Json);
  const body: JsonObject = isJsonObject(event['object']) ? event['object'] : {};
  const version = asString(asObject(body['metadata'])['resourceVersion']);
  switch (event['type']) {
    case 'ERROR': {
      const code = asNumber(body['code']) ?? 500;
      return {
        kind: 'error',
        code,
        problem: {
          kind: 'refused',
          status: code,
          body: {
            reason: asString(body['reason']) ?? '',
            message: asString(body['message']) ?? '',
            causes: [],
            kind: '',
            name: '',
          },
        },
      };
    }
    case 'BOOKMARK':
      return version === undefined ? garbled('a bookmark without a version') : { kind: 'bookmark', version };
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED': {
      const object = parseListItem(body, resource.apiVersion, resource.kind);
      if (object === undefined || version === undefined) return garbled('an event of the watch names no object');
      return { kind: event['type'] === 'DELETED' ? 'gone' : 'put', object, version };
    }
    default:
      return garbled('the watch speaks of an event of no known type');
  }
}
