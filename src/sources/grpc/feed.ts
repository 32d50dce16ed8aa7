import { EXIT, Failure, messageOf } from '../../shared/pure/errors.ts';
import type { Json } from '../../shared/pure/json.ts';
import { asArray, asObject, asString } from '../../shared/pure/json.ts';
import { safeText } from '../../shared/pure/text.ts';
import type { Feed, FeedEvent, FeedOptions } from '../feed.ts';
import { CONNECTION_LOST, channel } from '../feed.ts';
import type { Grpc, GrpcAddress, GrpcOptions } from './call.ts';
import { isGrpcFault, openGrpc } from './call.ts';

/** Waits between attempts to connect; the last one goes on. */
const BACKOFF_MS = [500, 1_000, 2_000, 5_000, 10_000, 30_000] as const;
/** Attempts before the first connection: after that a server that is gone may come back, and is waited for. */
const FIRST_ATTEMPTS = 3;
/** Records go on in pieces: of so many characters, or after so long. */
const PIECE_CHARACTERS = 256 * 1024;
const PIECE_MS = 200;
/** Records that are remembered at least, so that what comes again after a broken connection is told. */
const REMEMBERED = 4096;

/** What a server hands over. Times are nanoseconds since the epoch. */
export type GrpcRecord =
  /** `line` is the record in the source's own JSON, `id` the same for the same record however often it is sent. */
  | {
      readonly kind: 'record';
      readonly node: string;
      readonly time: bigint;
      readonly id: string;
      readonly line: string;
    }
  /** A message that does not decode: counted as a malformed record. */
  | { readonly kind: 'bad'; readonly line: string }
  /** A node of the cluster that the server can or cannot hear. */
  | { readonly kind: 'node'; readonly node: string; readonly up: boolean; readonly time: bigint; readonly why: string };

export interface GrpcAsk {
  readonly since: bigint;
  /** Undefined while following. */
  readonly until: bigint | undefined;
}

/** How a source is asked for its records over gRPC. */
export interface GrpcFlows {
  /** `svc/hubble-relay in kube-system, port 80`: for messages. */
  readonly where: string;
  readonly defaultPort: number;
  /** How far back is asked at first, in milliseconds, where nobody says. */
  readonly defaultSinceMs: number;
  /** Records as new as this are remembered however many they are, in nanoseconds. */
  readonly rememberNs: bigint;
  read(grpc: Grpc, ask: GrpcAsk): AsyncGenerator<GrpcRecord>;
}

export interface GrpcFeedOptions extends FeedOptions {
  readonly flows: GrpcFlows;
  readonly address: GrpcAddress;
  /** As the user gave it. */
  readonly name: string;
  readonly grpc: Omit<GrpcOptions, 'signal'>;
  readonly since: bigint;
  readonly until: bigint | undefined;
  readonly follow: boolean;
}

/** `grpc://HOST[:PORT]`, `grpcs://HOST[:PORT]`; undefined for anything else. */
export function parseGrpcAddress(text: string, defaultPort: number): GrpcAddress | undefined {
  const match = /^(grpcs?):\/\/(\[[0-9a-fA-F:.]+\]|[^\s:/@?#[\]]+)(?::(\d{1,5}))?\/?$/.exec(text);
  if (match === null) return undefined;
  const port = match[3] === undefined ? defaultPort : Number(match[3]);
  if (port < 1 || port > 65_535) return undefined;
  return { tls: match[1] === 'grpcs', host: (match[2] ?? '').replace(/^\[|\]$/g, ''), port };
}

export function isGrpc(name: string): boolean {
  return /^grpcs?:\/\//.test(name);
}

/**
 * Records of a server that streams them, in the source's own JSON. A connection that breaks is made anew, with growing waits, from the
 * oldest record still remembered: what was handed over already is passed over. A node of which nothing comes again had its buffer written
 * over meanwhile: that is a gap. Throws a Failure SP294 (exit 2) where there is no connection to begin with.
 */
export function followGrpc(options: GrpcFeedOptions): Feed {
  return channel((emit) => run(options, emit));
}

async function run(options: GrpcFeedOptions, emit: (event: FeedEvent) => Promise<void>): Promise<void> {
  const { flows, signal, name } = options;
  const memory = createMemory(options.position, flows.rememberNs);
  const isStopped = (): boolean => signal.aborted;
  let attempts = 0;
  let wasConnected = false;
  let piece: string[] = [];
  let size = 0;
  let again = 0;

  const flush = async (): Promise<void> => {
    if (again > 0) await emit({ kind: 'again', count: again });
    again = 0;
    if (piece.length === 0) return;
    const bytes = Buffer.from(piece.join(''));
    piece = [];
    size = 0;
    await emit({ kind: 'lines', name, bytes, position: memory.position() });
  };

  const take = async (record: GrpcRecord): Promise<void> => {
    if (record.kind === 'node') {
      const since = memory.turn(record.node, record.up, record.time);
      if (!record.up) {
        await emit({ kind: 'note', text: `node ${record.node} cannot be heard: ${record.why}` });
        return;
      }
      if (since !== undefined && since < record.time)
        await emit({
          kind: 'gap',
          why: `node ${record.node} could not be heard`,
          from: milliseconds(since),
          to: milliseconds(record.time),
        });
      return;
    }
    if (record.kind === 'bad') {
      piece.push(record.line, '\n');
      return;
    }
    const missed = memory.take(record);
    if (missed === 'again') {
      again += 1;
      return;
    }
    if (missed !== undefined)
      await emit({
        kind: 'gap',
        why: `nobody listened${record.node === '' ? '' : ` to node ${record.node}`}, and its buffer no longer held what came meanwhile`,
        from: milliseconds(missed),
        to: milliseconds(record.time),
      });
    piece.push(record.line, '\n');
    size += record.line.length + 1;
    if (size >= PIECE_CHARACTERS) await flush();
  };

  for (;;) {
    let grpc: Grpc | undefined;
    try {
      grpc = await openGrpc(options.address, { ...options.grpc, signal });
      if (wasConnected) await emit({ kind: 'note', text: `connected to ${name} again` });
      wasConnected = true;
      memory.connect();
      const since = memory.since() ?? options.since;
      const iterator = flows
        .read(grpc, { since, until: options.follow ? undefined : options.until })
        [Symbol.asyncIterator]();
      let pending = iterator.next();
      for (;;) {
        const next = piece.length === 0 ? await pending : await soon(pending, options);
        if (next === 'later') {
          await flush();
          continue;
        }
        if (next.done === true) break;
        attempts = 0;
        await take(next.value);
        pending = iterator.next();
      }
      await flush();
      if (!options.follow) return;
      throw Object.assign(new Error('the server ended the stream'), { grpc: { again: true } });
    } catch (error) {
      if (isStopped()) return;
      if (!isGrpcFault(error)) throw error;
      await flush();
      const wait = BACKOFF_MS[Math.min(attempts, BACKOFF_MS.length - 1)] ?? 0;
      attempts += 1;
      // Who was heard once may be away for a while; a server that refuses goes on refusing.
      const isOver = !error.grpc.again || (attempts >= FIRST_ATTEMPTS && (!wasConnected || !options.follow));
      if (isOver) throw lost(options, error);
      await emit({ kind: 'note', text: `${name}: ${messageOf(error)}; trying again in ${wait / 1000} s` });
      await options.sleep(wait, signal).catch(() => undefined);
      if (isStopped()) return;
    } finally {
      grpc?.close();
    }
  }
}

/** What comes, or `later` where nothing has come for a while. */
async function soon<T>(pending: Promise<T>, options: GrpcFeedOptions): Promise<T | 'later'> {
  const timer = new AbortController();
  try {
    return await Promise.race([
      pending,
      options.sleep(PIECE_MS, timer.signal).then(
        () => 'later' as const,
        () => 'later' as const,
      ),
    ]);
  } finally {
    timer.abort(new Error('in time'));
  }
}

function lost(options: GrpcFeedOptions, error: Error): Failure {
  const { name, flows, address } = options;
  const isTls = /certificate|CERT|SSL|TLS|altname|self-signed|issuer/i.test(error.message);
  return new Failure({
    code: CONNECTION_LOST,
    exit: EXIT.usage,
    message: `asking ${safeText(name)}: ${safeText(error.message)}`,
    where: safeText(name),
    hint: isTls
      ? 'give the authority by --ca, your own certificate by --cert and --key, and the name in the server’s certificate by --server-name'
      : address.tls
        ? `check the address (${flows.where}; from outside: kubectl port-forward), and --cert and --key where the server asks for them`
        : `check the address (${flows.where}; from outside: kubectl port-forward), and write grpcs:// where the server speaks TLS`,
    cause: error,
  });
}

function milliseconds(nanoseconds: bigint): number {
  return Number(nanoseconds / 1_000_000n);
}

/** What `read` makes of a message; one that does not decode is a malformed record among others. */
export function* decoded(bytes: Uint8Array, read: (bytes: Uint8Array) => Iterable<GrpcRecord>): Generator<GrpcRecord> {
  let records: readonly GrpcRecord[];
  try {
    records = [...read(bytes)];
  } catch (error) {
    records = [
      { kind: 'bad', line: `a message of ${bytes.byteLength} bytes that does not decode: ${messageOf(error)}` },
    ];
  }
  yield* records;
}

interface Memory {
  /** What was not heard before this record (since when), `again` for one that was handed over, undefined for the usual case. */
  take(record: Extract<GrpcRecord, { kind: 'record' }>): bigint | 'again' | undefined;
  /** A node came or went: since when it had been away. */
  turn(node: string, up: boolean, time: bigint): bigint | undefined;
  /** A new connection: every node has yet to show that nothing is missing. */
  connect(): void;
  /** From when on to ask: nothing as new as that has been forgotten. */
  since(): bigint | undefined;
  position(): Json;
}

interface Node {
  last: bigint;
  /** Something that was handed over has come again since the connection was made, or nothing had been. */
  joined: boolean;
  /** Records of it that are remembered. */
  kept: number;
  down: bigint | undefined;
}

interface Entry {
  readonly id: string;
  readonly node: string;
  readonly time: bigint;
}

function createMemory(position: Json | undefined, rememberNs: bigint): Memory {
  const stored = asObject(position);
  const nodes = new Map<string, Node>();
  const nodeOf = (name: string): Node => {
    let node = nodes.get(name);
    if (node === undefined) nodes.set(name, (node = { last: 0n, joined: true, kept: 0, down: undefined }));
    return node;
  };
  const known = new Set<string>();
  let entries: Entry[] = [];
  /** Entries before this one are forgotten. */
  let begin = 0;
  let newest = 0n;
  let forgotten: bigint | undefined;
  const remember = (entry: Entry): void => {
    known.add(entry.id);
    entries.push(entry);
    const node = nodeOf(entry.node);
    node.kept += 1;
    if (entry.time > node.last) node.last = entry.time;
    if (entry.time > newest) newest = entry.time;
  };
  for (const [name, value] of Object.entries(asObject(stored['nodes']))) {
    const node = nodeOf(name);
    node.last = bigintOf(asString(asObject(value)['last'])) ?? 0n;
    node.down = bigintOf(asString(asObject(value)['down']));
  }
  forgotten = bigintOf(asString(stored['forgotten']));
  for (const one of asArray(stored['records'])) {
    const [id = '', time = '', ...node] = (asString(one) ?? '').split(' ');
    remember({ id, node: node.join(' '), time: bigintOf(time) ?? 0n });
  }
  return {
    take({ id, node: name, time }) {
      const node = nodeOf(name);
      if (known.has(id)) {
        node.joined = true;
        return 'again';
      }
      const missed = node.joined || node.last >= time ? undefined : node.last;
      node.joined = true;
      remember({ id, node: name, time });
      while (entries.length - begin > REMEMBERED) {
        const oldest = entries[begin];
        if (oldest === undefined || oldest.time > newest - rememberNs) break;
        begin += 1;
        known.delete(oldest.id);
        nodeOf(oldest.node).kept -= 1;
        if (forgotten === undefined || oldest.time > forgotten) forgotten = oldest.time;
      }
      if (begin > REMEMBERED) {
        entries = entries.slice(begin);
        begin = 0;
      }
      return missed;
    },
    turn(name, up, time) {
      const node = nodeOf(name);
      if (up) {
        const since = node.down;
        node.down = undefined;
        return since;
      }
      node.down ??= node.last > 0n ? node.last : time;
      return undefined;
    },
    connect() {
      // A node none of whose records is remembered cannot show it: its last one is older than what is asked for.
      for (const node of nodes.values()) node.joined = node.kept === 0;
    },
    since() {
      if (forgotten !== undefined) return forgotten + 1n;
      let least: bigint | undefined;
      for (const { time } of entries.slice(begin)) if (least === undefined || time < least) least = time;
      return least;
    },
    position: () => ({
      nodes: Object.fromEntries(
        [...nodes].map(([name, { last, down }]) => [
          name,
          { last: String(last), ...(down === undefined ? {} : { down: String(down) }) },
        ]),
      ),
      forgotten: forgotten === undefined ? null : String(forgotten),
      records: entries.slice(begin).map(({ id, node, time }) => `${id} ${time} ${node}`),
    }),
  };
}

function bigintOf(text: string | undefined): bigint | undefined {
  return text !== undefined && /^-?\d{1,20}$/.test(text) ? BigInt(text) : undefined;
}
