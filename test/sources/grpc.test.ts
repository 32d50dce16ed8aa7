import { createServer } from 'node:http2';
import type { Http2Server, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { Json } from '../../src/shared/pure/json.ts';
import type { FeedEvent } from '../../src/sources/feed.ts';
import { goldmane } from '../../src/sources/calico/goldmane.ts';
import { hubbleRelay } from '../../src/sources/hubble/relay.ts';
import type { GrpcFlows } from '../../src/sources/grpc/feed.ts';
import { followGrpc, parseGrpcAddress } from '../../src/sources/grpc/feed.ts';
import {
  decodeMessage,
  encodeField,
  encodeTime,
  readFields,
  timeText,
  timestampOf,
} from '../../src/sources/grpc/wire.ts';
import { findSource } from '../../src/sources/registry.ts';
import type { FlowSource } from '../../src/sources/flow-source.ts';
import { isFailure } from '../../src/shared/pure/errors.ts';
import { HOUR, MONDAY } from '../flows/build.ts';
import fc from '../support/fast-check.ts';
import { describeEdges, fold } from './cluster.ts';
import { input } from './flow-input.ts';

// An encoder of this test's own: numbers as seven bits at a time, the rest with its length.
function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  while (rest > 127n) {
    bytes.push(Number(rest % 128n) + 128);
    rest /= 128n;
  }
  return Buffer.from([...bytes, Number(rest)]);
}
const num = (field: number, value: number | bigint): Buffer =>
  Buffer.concat([varint(BigInt(field * 8)), varint(BigInt(value))]);
const len = (field: number, ...parts: readonly (Buffer | string)[]): Buffer => {
  const body = Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)));
  return Buffer.concat([varint(BigInt(field * 8 + 2)), varint(BigInt(body.length)), body]);
};
const frame = (message: Buffer): Buffer => {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
};

let server: Http2Server | undefined;
const sessions = new Set<ServerHttp2Session>();
afterEach(async () => {
  for (const session of sessions) session.destroy();
  sessions.clear();
  await new Promise<void>((resolve) => (server === undefined ? resolve() : server.close(() => resolve())));
  server = undefined;
});

type Handler = (stream: ServerHttp2Stream, request: Buffer, call: number, path: string) => void;

async function serve(handler: Handler): Promise<string> {
  let calls = 0;
  const made = createServer();
  made.on('session', (session) => sessions.add(session));
  made.on('stream', (stream, headers) => {
    const parts: Buffer[] = [];
    stream.on('error', () => undefined);
    stream.on('data', (part: Buffer) => parts.push(part));
    stream.on('end', () => {
      expect(headers['content-type']).toBe('application/grpc');
      expect(headers['te']).toBe('trailers');
      calls += 1;
      handler(stream, Buffer.concat(parts).subarray(5), calls, String(headers[':path']));
    });
  });
  await new Promise<void>((resolve) => made.listen(0, '127.0.0.1', resolve));
  server = made;
  return `grpc://127.0.0.1:${(made.address() as AddressInfo).port}`;
}

/** The answer in so many bytes at a time, then the status. */
function answer(stream: ServerHttp2Stream, messages: readonly Buffer[], size = 7, status = '0', message = ''): void {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': status, 'grpc-message': message }));
  const all = Buffer.concat(messages.map(frame));
  for (let at = 0; at < all.length; at += size) stream.write(all.subarray(at, at + size));
  stream.end();
}

function source(name: string): FlowSource {
  const found = findSource(name);
  if (found === undefined) throw new Error(`no source ${name}`);
  return found;
}

interface Followed {
  readonly events: readonly FeedEvent[];
  readonly text: string;
  readonly position: Json | undefined;
}

interface Ask {
  readonly follow?: boolean;
  readonly position?: Json | undefined;
  /** Ends after so many lines of text, or so many events. */
  readonly until?: (events: readonly FeedEvent[], text: string) => boolean;
  readonly end?: bigint;
}

async function follow(flows: GrpcFlows, name: string, address: string, ask: Ask = {}): Promise<Followed> {
  const parsed = parseGrpcAddress(address, flows.defaultPort);
  if (parsed === undefined) throw new Error(address);
  const stop = new AbortController();
  const events: FeedEvent[] = [];
  let text = '';
  let position = ask.position;
  const isFollow = ask.follow ?? false;
  const feed = followGrpc({
    source: source(name),
    position: ask.position,
    signal: stop.signal,
    // Pieces go on at once, and nothing is waited for.
    sleep: () => new Promise((resolve) => setTimeout(resolve, 1)),
    flows,
    address: parsed,
    name: address,
    grpc: {},
    since: BigInt(MONDAY) * 1_000_000n,
    until: isFollow ? undefined : (ask.end ?? BigInt(MONDAY + HOUR) * 1_000_000n),
    follow: isFollow,
  });
  for await (const event of feed) {
    events.push(event);
    if (event.kind === 'lines') {
      text += Buffer.from(event.bytes).toString('utf8');
      position = event.position;
    }
    if (ask.until?.(events, text) === true) break;
  }
  stop.abort(new Error('over'));
  return { events, text, position };
}

const at = (second: number): Buffer => Buffer.concat([num(1, MONDAY / 1000 + second), num(2, 5)]);

/** A policy verdict: web calls api on its node, so many seconds after Monday. */
function flow(second: number, node = 'n1', port = 8080): Buffer {
  const end = (name: string, pod: string): Buffer =>
    Buffer.concat([
      num(1, 7),
      num(2, 4711),
      len(3, 'shop'),
      len(4, `k8s:app=${name}`),
      len(5, pod),
      len(6, len(1, name), len(2, 'Deployment')),
    ]);
  const body = len(
    1,
    len(1, at(second)),
    num(2, 1),
    len(5, len(1, '10.244.1.10'), len(2, '10.244.1.11'), num(3, 1)),
    len(6, len(1, num(1, 40_000), num(2, port), len(3, num(2, 1)))),
    len(8, end('web', 'web-6d4cf56db6-x2x90')),
    len(9, end('api', 'api-6d4cf56db6-x2x90')),
    num(10, 1),
    len(19, num(1, 5)),
    num(22, 2),
    // A BoolValue that is there and false has no bytes.
    len(26),
    len(34, `uuid-${node}-${second}-${port}`),
    len(100_000, 'a summary that nobody reads'),
  );
  return Buffer.concat([body, len(1000, node), len(1001, at(second))]);
}

const lost = (second: number, count: number, node = 'n1'): Buffer =>
  Buffer.concat([len(3, num(1, 3), num(2, count)), len(1000, node), len(1001, at(second))]);
const status = (second: number, state: number, ...nodes: readonly string[]): Buffer =>
  Buffer.concat([
    len(2, num(1, state), ...nodes.map((node) => len(2, node)), len(3, 'no route')),
    len(1001, at(second)),
  ]);

describe('the wire', () => {
  it('gives back what an encoder of another kind wrote, and passes over what is not asked for', () => {
    const message = {
      fields: { 1: ['text', 'string'], 2: ['count', 'number'], 3: ['on', 'bool'], 4: ['list', { list: 'string' }] },
    } as const;
    fc.assert(
      fc.property(
        fc.string(),
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        fc.boolean(),
        fc.array(fc.string(), { maxLength: 5 }),
        fc.uint8Array({ maxLength: 20 }),
        (text, count, on, list, other) => {
          const bytes = Buffer.concat([
            len(900, Buffer.from(other)),
            len(1, text),
            num(2, count),
            num(3, on ? 1 : 0),
            ...list.map((one) => len(4, one)),
            varint(BigInt(77 * 8 + 5)),
            Buffer.alloc(4),
            varint(BigInt(78 * 8 + 1)),
            Buffer.alloc(8),
          ]);
          expect(decodeMessage(bytes, message)).toEqual({
            text: Buffer.from(text).toString('utf8'),
            count: Number.isSafeInteger(Number(count)) ? Number(count) : String(count),
            on,
            ...(list.length === 0 ? {} : { list: list.map((one) => Buffer.from(one).toString('utf8')) }),
          });
        },
      ),
    );
  });

  it('takes any bytes for a message or an error, and never for a hang or a crash', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          expect([...readFields(bytes)].length).toBeLessThanOrEqual(64);
        } catch (error) {
          expect((error as Error).message).toMatch(/breaks off|ten bytes|wire type/);
        }
      }),
    );
  });

  it('knows times to the nanosecond, and fields of a request as others write them', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 4_000_000_000n * 1_000_000_000n }), (time) => {
        expect(timestampOf(encodeTime(time))).toBe(time);
      }),
    );
    expect(timeText(1_700_000_000_000_000_001n)).toBe('2023-11-14T22:13:20.000000001Z');
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 200_000 }),
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        (field, value) => {
          expect(encodeField(field, value)).toEqual(num(field, value));
        },
      ),
    );
    expect(encodeField(5, 'abc')).toEqual(len(5, 'abc'));
  });

  it.each([
    ['grpc://relay', { tls: false, host: 'relay', port: 80 }],
    ['grpcs://relay.kube-system:4245', { tls: true, host: 'relay.kube-system', port: 4245 }],
    ['grpcs://[::1]:443/', { tls: true, host: '::1', port: 443 }],
    ['grpc://maria:secret@relay', undefined],
    ['grpc://relay:99999', undefined],
    ['grpc://relay/path', undefined],
  ])('addresses: %s', (text, address) => {
    expect(parseGrpcAddress(text, 80)).toEqual(address);
  });
});

describe('Hubble Relay', () => {
  it('is asked for what it keeps, and gives the edges that its JSON gives', async () => {
    const messages = [flow(1), lost(2, 17), flow(3, 'n2'), flow(4, 'n1', 9090)];
    const asked: Buffer[] = [];
    const address = await serve((stream, request, _, path) => {
      expect(path).toBe('/observer.Observer/GetFlows');
      asked.push(request);
      answer(stream, messages);
    });
    const { text } = await follow(hubbleRelay, 'hubble', address);
    expect(asked).toEqual([
      Buffer.concat([len(7, num(1, MONDAY / 1000), num(2, 0)), len(8, num(1, (MONDAY + HOUR) / 1000), num(2, 0))]),
    ]);
    expect(text.split('\n')[0]).toContain('"time":"2026-10-05T00:00:01.000000005Z"');
    const { edges, reports } = await fold(source('hubble'), [input(text)]);
    expect(describeEdges(edges).trimEnd().split('\n')).toEqual([
      'shop/Deployment/web -> shop/Deployment/api 8080/TCP | allowed 2',
      'shop/Deployment/web -> shop/Deployment/api 9090/TCP | allowed 1',
    ]);
    expect(reports).toMatchObject([{ records: 3, lost: 17, bad: 0 }]);
  });

  it('that breaks off is asked again from what is remembered, and nothing is taken twice or missed', async () => {
    const all = Array.from({ length: 30 }, (_, second) => flow(second + 1, second % 2 === 0 ? 'n1' : 'n2'));
    const address = await serve((stream, request, call) => {
      const since = [...readFields(request)].find(([field]) => field === 7)?.[1];
      const from = Number(timestampOf(since as Uint8Array) / 1_000_000_000n) - MONDAY / 1000;
      const kept = all.slice(Math.max(0, from - 1));
      if (call === 4) answer(stream, kept, 1000);
      // In the middle of a message.
      else {
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
        stream.write(Buffer.concat(kept.slice(0, call * 8).map(frame)).subarray(0, -20), () =>
          stream.session?.destroy(),
        );
      }
    });
    const { text, events } = await follow(hubbleRelay, 'hubble', address, {
      follow: true,
      until: (_, lines) => lines.split('\n').length > 30,
    });
    expect(text.trimEnd().split('\n')).toHaveLength(30);
    expect(new Set(text.trimEnd().split('\n')).size).toBe(30);
    expect(events.filter((event) => event.kind === 'gap')).toEqual([]);
    expect(events.filter((event) => event.kind === 'note').length).toBeGreaterThan(3);
  });

  it('whose buffer was written over meanwhile leaves a gap for the node it was, and a later run finds it too', async () => {
    const address = await serve((stream, _, call) => {
      answer(
        stream,
        call === 1 ? [flow(1, 'n1'), flow(2, 'n2')] : [flow(2, 'n2'), flow(90, 'n1'), flow(91, 'n2')],
        1000,
      );
    });
    const first = await follow(hubbleRelay, 'hubble', address);
    const second = await follow(hubbleRelay, 'hubble', address, { position: first.position });
    expect(second.events.filter((event) => event.kind === 'gap')).toEqual([
      {
        kind: 'gap',
        why: 'nobody listened to node n1, and its buffer no longer held what came meanwhile',
        from: MONDAY + 1000,
        to: MONDAY + 90_000,
      },
    ]);
    expect(second.events.filter((event) => event.kind === 'again')).toEqual([{ kind: 'again', count: 1 }]);
    expect(second.text.trimEnd().split('\n')).toHaveLength(2);
  });

  it('that cannot hear a node says so: a gap until it hears it again', async () => {
    const address = await serve((stream) =>
      answer(stream, [
        flow(1, 'n1'),
        flow(2, 'n2'),
        status(10, 2, 'n2'),
        flow(11, 'n1'),
        status(70, 1, 'n2'),
        flow(71, 'n2'),
      ]),
    );
    const { events, text } = await follow(hubbleRelay, 'hubble', address);
    expect(events.filter((event) => event.kind !== 'lines')).toEqual([
      { kind: 'note', text: 'node n2 cannot be heard: no route' },
      { kind: 'gap', why: 'node n2 could not be heard', from: MONDAY + 2000, to: MONDAY + 70_000 },
    ]);
    expect(text.trimEnd().split('\n')).toHaveLength(4);
  });

  it.each([
    ['a right that is missing', '7', 'no%20token', 'PERMISSION_DENIED: no token', 1],
    ['a method that is not there', '12', '', 'UNIMPLEMENTED', 1],
    ['a server that is not ready', '14', 'later', 'UNAVAILABLE: later', 3],
  ])('%s is said, and asked for again only where that helps', async (_, code, text, said, times) => {
    let calls = 0;
    const address = await serve((stream) => {
      calls += 1;
      stream.respond(
        { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': code, 'grpc-message': text },
        { endStream: true },
      );
    });
    const failed = await follow(hubbleRelay, 'hubble', address).catch((error: unknown) => error);
    expect(isFailure(failed) ? failed.detail : failed).toMatchObject({
      code: 'SP294',
      message: expect.stringContaining(said) as unknown,
    });
    expect(calls).toBe(times);
  });

  it('that is something else is told from it', async () => {
    const address = await serve((stream) => {
      stream.respond({ ':status': 200, 'content-type': 'text/html' });
      stream.end('<html>');
    });
    await expect(follow(hubbleRelay, 'hubble', address)).rejects.toThrow(/not a gRPC server/);
    const squeezed = await serve((stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
      stream.end(Buffer.from([1, 0, 0, 0, 1, 0]));
    });
    await expect(follow(hubbleRelay, 'hubble', squeezed)).rejects.toThrow(/compressed/);
    const huge = await serve((stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
      stream.write(Buffer.from([0, 255, 255, 255, 255]));
    });
    await expect(follow(hubbleRelay, 'hubble', huge)).rejects.toThrow(/4095 MiB/);
    await expect(follow(hubbleRelay, 'hubble', 'grpc://127.0.0.1:1')).rejects.toThrow(/ECONNREFUSED/);
  });

  it('whose message does not decode is taken on from, and the message counted', async () => {
    const address = await serve((stream) => answer(stream, [flow(1), Buffer.from([7, 7, 7]), flow(2)]));
    const { text } = await follow(hubbleRelay, 'hubble', address);
    const report = await source('hubble').read(
      input(text),
      { flow: () => undefined, name: () => undefined },
      { badRecords: 'skip' },
    );
    expect(report).toMatchObject({
      records: 2,
      bad: 1,
      firstBad: expect.stringContaining('does not decode') as unknown,
    });
  });

  it('is not read faster than its records are taken', async () => {
    let written = 0;
    const big = Buffer.concat([flow(1), len(50_000, Buffer.alloc(200_000))]);
    const address = await serve((stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
      const write = (): void => {
        while (written < 400) {
          written += 1;
          const numbered = Buffer.concat([flow(written), big.subarray(flow(1).length)]);
          if (!stream.write(frame(numbered))) {
            stream.once('drain', write);
            return;
          }
        }
      };
      write();
    });
    const parsed = parseGrpcAddress(address, 80);
    if (parsed === undefined) throw new Error(address);
    const stop = new AbortController();
    const feed = followGrpc({
      source: source('hubble'),
      position: undefined,
      signal: stop.signal,
      sleep: () => Promise.resolve(),
      flows: hubbleRelay,
      address: parsed,
      name: address,
      grpc: {},
      since: 0n,
      until: undefined,
      follow: true,
    })[Symbol.asyncIterator]();
    await feed.next();
    // Nobody takes the next piece: what is under way is bounded by the windows of HTTP/2.
    for (let turn = 0; turn < 200; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    expect(written).toBeLessThan(100);
    stop.abort(new Error('over'));
    await feed.return?.();
  });
});

describe('Goldmane', () => {
  /** Web calls api fifteen seconds long, beginning so many seconds after Monday. */
  function sums(second: number, port = 8080, started = 3): Buffer {
    const key = Buffer.concat([
      len(1, 'web-6d4cf56db6-*'),
      len(2, 'shop'),
      num(3, 1),
      len(4, 'api-6d4cf56db6-*'),
      len(5, 'shop'),
      num(6, 1),
      num(7, port),
      len(12, 'tcp'),
      num(13, 2),
      num(14, 1),
      len(15, len(2, num(1, 5), num(5, 2), num(6, 1))),
    ]);
    const body = Buffer.concat([
      len(1, key),
      num(2, MONDAY / 1000 + second),
      num(3, MONDAY / 1000 + second + 15),
      len(4, 'app=web'),
      len(5, 'app=api'),
      num(6, 10),
      num(10, started),
    ]);
    return Buffer.concat([num(1, 99), len(2, body)]);
  }

  it('is listed interval by interval, and its staged denials are rehearsed ones', async () => {
    const asked: (readonly [number, bigint | Uint8Array])[][] = [];
    const address = await serve((stream, request, call, path) => {
      expect(path).toBe('/goldmane.Flows/List');
      asked.push([...readFields(request)]);
      answer(stream, [
        Buffer.concat([len(1, num(1, 1)), ...(call === 2 ? [len(2, sums(15)), len(2, sums(15, 9090))] : [])]),
      ]);
    });
    const { text } = await follow(goldmane, 'calico', address, { end: BigInt(MONDAY + 90_000) * 1_000_000n });
    const base = BigInt(MONDAY / 1000);
    // What is younger than thirty seconds may not be whole yet.
    expect(asked).toEqual(
      [0n, 15n, 30n, 45n].map((from) => [
        [1, base + from],
        [2, base + from + 15n],
        [7, 15n],
      ]),
    );
    const { edges, reports } = await fold(source('calico'), [input(text)]);
    expect(describeEdges(edges).trimEnd().split('\n')).toEqual([
      'shop/Deployment/web -> shop/Deployment/api 8080/TCP | audit 3',
      'shop/Deployment/web -> shop/Deployment/api 9090/TCP | audit 3',
    ]);
    expect(reports).toMatchObject([{ records: 2, bad: 0 }]);
  });

  it('streams on, and sums that come again, grown by what was late, are the same sums', async () => {
    const address = await serve((stream, request, call, path) => {
      expect(path).toBe('/goldmane.Flows/Stream');
      expect([...readFields(request)].map(([field]) => field)).toEqual([1, 3]);
      answer(stream, call === 1 ? [sums(0), sums(15)] : [sums(15, 8080, 4), sums(30)], 1000);
    });
    const { text, events } = await follow(goldmane, 'calico', address, {
      follow: true,
      until: (_, lines) => lines.split('\n').length > 3,
    });
    expect(text.trimEnd().split('\n')).toHaveLength(3);
    expect(events.filter((event) => event.kind === 'gap')).toEqual([]);
  });
});
