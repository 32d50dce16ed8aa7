import { createHash } from 'node:crypto';
import { createReadStream, readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { systemClock } from '../shared/io/clock.ts';
import { EXIT, Failure, messageOf } from '../shared/pure/errors.ts';
import { safeText } from '../shared/pure/text.ts';
import { followFiles, followPipe } from '../sources/feed.ts';
import type { FlowSource } from '../sources/flow-source.ts';
import { HEAD_BYTES } from '../sources/follow.ts';
import type { FilePosition } from '../sources/follow.ts';
import { followGrpc, isGrpc, parseGrpcAddress } from '../sources/grpc/feed.ts';
import { openInput } from '../sources/input.ts';
import { isRemote } from '../sources/remote.ts';
import type { Reader } from '../../state/reader.ts';
import type { ObserveOptions } from './commands/observe.ts';
import { checkInputs, parseTimeOrAge } from './commands/observe.ts';
import type { App } from './context.ts';
import type { FollowRequest } from './observe-follow.ts';
import { followFlows } from './observe-follow.ts';

/** `observe --follow`, and every `observe` of a server that streams. Returns the exit code. */
export async function observeFollowed(
  app: App,
  source: FlowSource,
  names: readonly string[],
  options: ObserveOptions,
): Promise<number> {
  const request = await followRequest(app, source, names, options);
  try {
    return await followFlows(app, request);
  } finally {
    // A pipe that nobody ends would keep the process.
    if (names.includes('-')) process.stdin.destroy();
  }
}

/** What is followed of a source: growing files, a pipe, a server. Errors (exit 2): SP293, SP296. */
export async function followRequest(
  app: App,
  source: FlowSource,
  names: readonly string[],
  options: ObserveOptions,
): Promise<FollowRequest> {
  const forMs = options.for === undefined ? undefined : parseDuration(options.for);
  const common = {
    source,
    badRecords: options.badRecords === 'abort' ? ('abort' as const) : ('skip' as const),
    clock: systemClock,
    ...(forMs === undefined ? {} : { forMs }),
  };
  const [first = '-'] = names;
  if (names.some(isGrpc)) {
    if (names.length > 1) throw wrongUse('one server is followed at a time', 'name one address');
    return { ...common, ...grpcRequest(source, first, options) };
  }
  if (names.some(isRemote))
    throw wrongUse(
      `${safeText(first)} is asked by whole hours, which are over when they are asked for`,
      `ask again every hour, by a timer: what is on record is passed over (sallyport observe ${source.name} ${safeText(first)})`,
    );
  if (source.grows !== true)
    throw wrongUse(
      `an input of ${source.name} is read as a whole, and cannot be followed`,
      `import what there is, as often as you like: sallyport observe ${source.name} INPUT`,
    );
  const sleep = (milliseconds: number, signal?: AbortSignal): Promise<void> => systemClock.sleep(milliseconds, signal);
  if (names.includes('-')) {
    if (names.length > 1) throw wrongUse('standard input is followed by itself', 'name files, or nothing');
    return {
      ...common,
      key: `${source.name} -`,
      open: (position, signal) =>
        followPipe(
          openInput('-', () => process.stdin),
          { source, position, signal, sleep },
        ),
    };
  }
  const paths = names.map((name) => resolve(name));
  await checkInputs(paths.filter((path) => !path.includes('*')));
  const { reader } = await app.state();
  return {
    ...common,
    key: `${source.name} ${paths.join(' ')}`,
    open: (position, signal) =>
      followFiles(paths, (path) => findImported(path, source, reader), { source, position, signal, sleep }),
  };
}

function wrongUse(message: string, hint: string): Failure {
  return new Failure({ code: 'SP293', exit: EXIT.usage, message, where: 'observe --follow', hint });
}

const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** The longest time that is taken, in milliseconds and as it is typed. */
interface Most {
  readonly ms: number;
  readonly text: string;
}

/** What a timer of this runtime holds. */
const TIMER: Most = { ms: 2 ** 31 - 1, text: '24d' };

/** `30s`, `30m`, `12h`, `7d`, in milliseconds; at most `most`. `where`: the flag. Errors (exit 2): SP296. */
export function parseDuration(text: string, where = '--for', most: Most = TIMER): number {
  const match = /^(\d{1,7})([smhd])$/.exec(text);
  const value = Number(match?.[1]) * (UNITS[match?.[2] ?? ''] ?? NaN);
  if (value > 0 && value <= most.ms) return value;
  throw new Failure({
    code: 'SP296',
    exit: EXIT.usage,
    message:
      value > 0 ? `${where} ${text} is more than ${most.text}` : `${where} ${safeText(text)} is not a length of time`,
    where,
    hint: `give it as ${most === TIMER ? '30m, 12h or 7d' : '30s or 2m'}, and at most ${most.text}`,
  });
}

function grpcRequest(source: FlowSource, name: string, options: ObserveOptions): Pick<FollowRequest, 'key' | 'open'> {
  const flows = source.grpc;
  if (flows === undefined)
    throw wrongUse(`${source.name} has no server that streams over gRPC`, `name a file: ${source.example}`);
  const address = parseGrpcAddress(name, flows.defaultPort);
  if (address === undefined)
    throw wrongUse(`${safeText(name)} is not an address`, 'give it as grpc://HOST:PORT, or grpcs://HOST:PORT for TLS');
  if ((options.cert === undefined) !== (options.key === undefined))
    throw wrongUse('a certificate and its key go together', 'give both --cert and --key');
  if (options.query !== undefined) throw wrongUse('a server is asked for all of its flows', 'leave --query out');
  const now = systemClock.now();
  const since =
    options.since === undefined ? now - flows.defaultSinceMs : parseTimeOrAge('--since', options.since, now);
  const until = options.until === undefined ? now : parseTimeOrAge('--until', options.until, now);
  if (options.follow === true && options.until !== undefined)
    throw wrongUse('--until is for what is asked once', 'end a following by --for');
  const files = {
    ...(options.ca === undefined ? {} : { ca: readOwn(options.ca) }),
    ...(options.cert === undefined ? {} : { cert: readOwn(options.cert) }),
    ...(options.key === undefined ? {} : { key: readOwn(options.key) }),
    ...(options.tokenFile === undefined ? {} : { token: readOwn(options.tokenFile).trim() }),
    ...(options.serverName === undefined ? {} : { serverName: options.serverName }),
  };
  if (!address.tls && Object.keys(files).length > 0)
    throw wrongUse(
      `${safeText(name)} is not encrypted, and certificates and tokens are for what is`,
      `write grpcs://, or leave ${options.tokenFile === undefined ? '--ca, --cert, --key and --server-name' : '--token-file'} out`,
    );
  const follow = options.follow === true;
  return {
    key: `${source.name} ${name}`,
    open: (position, signal) =>
      followGrpc({
        source,
        position,
        signal,
        sleep: (milliseconds, until) => systemClock.sleep(milliseconds, until),
        flows,
        address,
        name,
        grpc: files,
        since: BigInt(since) * 1_000_000n,
        until: follow ? undefined : BigInt(until) * 1_000_000n,
        follow,
      }),
  };
}

function readOwn(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw wrongUse(`${safeText(path)} cannot be read: ${messageOf(error)}`, 'check the path and its permissions');
  }
}

/** How much of a file was imported as a whole, when it was shorter: its first bytes are then those of an input on record. */
async function findImported(path: string, source: FlowSource, reader: Reader): Promise<FilePosition | undefined> {
  if (!reader.imports().some((one) => one.source === source.name)) return undefined;
  const hash = createHash('sha256');
  let offset = 0;
  let found = 0;
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    for (let start = 0; start < chunk.length;) {
      const end = chunk.indexOf(10, start) + 1 || chunk.length;
      hash.update(chunk.subarray(start, end));
      offset += end - start;
      start = end;
      if (reader.hasImport(hash.copy().digest('hex'), source.name)) found = offset;
    }
  }
  if (found === 0) return undefined;
  const handle = await open(path, 'r');
  try {
    const { dev, ino } = await handle.stat();
    const headBytes = Math.min(found, HEAD_BYTES);
    const { buffer } = await handle.read(Buffer.alloc(headBytes), 0, headBytes, 0);
    const head = createHash('sha256').update(buffer).digest('hex').slice(0, 16);
    return { path, file: `${dev}:${ino}`, offset: found, head, headBytes };
  } finally {
    await handle.close();
  }
}
