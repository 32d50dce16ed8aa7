import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Json } from '../../src/shared/pure/json.ts';
import type { FeedEvent } from '../../src/sources/feed.ts';
import { followGrpc } from '../../src/sources/grpc/feed.ts';
import type { GrpcOptions } from '../../src/sources/grpc/call.ts';
import { hubbleRelay } from '../../src/sources/hubble/relay.ts';
import { hubbleSource } from '../../src/sources/hubble/index.ts';
import { FIXTURES, describeEdges, fold } from '../sources/cluster.ts';
import { input } from '../sources/flow-input.ts';
import { makeCertificate } from '../support/fake-api/certificate.ts';
import { writeHubbleFile } from '../bench/hubble-file.ts';
import { buildRelay, startRelay } from './relay.ts';
import type { Relay } from './relay.ts';

let relay: Relay | undefined;
let folder = '';
beforeAll(async () => {
  buildRelay();
  folder = await mkdtemp(join(tmpdir(), 'sallyport-relay-'));
});
afterEach(async () => {
  await relay?.stop();
  relay = undefined;
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Ask {
  readonly port: number;
  readonly tls?: boolean;
  readonly grpc?: Omit<GrpcOptions, 'signal'>;
  readonly position?: Json | undefined;
  readonly follow?: boolean;
  readonly onEvent?: (event: FeedEvent, lines: number) => Promise<'stop' | undefined>;
}

async function ask(
  options: Ask,
): Promise<{ readonly text: string; readonly events: readonly FeedEvent[]; readonly position: Json | undefined }> {
  const stop = new AbortController();
  const events: FeedEvent[] = [];
  let text = '';
  let { position } = options;
  const follow = options.follow ?? false;
  const feed = followGrpc({
    source: hubbleSource,
    position,
    signal: stop.signal,
    sleep: (milliseconds) => new Promise((resolve) => setTimeout(resolve, Math.min(milliseconds, 50))),
    flows: hubbleRelay,
    address: { tls: options.tls ?? false, host: '127.0.0.1', port: options.port },
    name: 'grpc://relay',
    grpc: options.grpc ?? {},
    since: 0n,
    until: follow ? undefined : 4_000_000_000n * 1_000_000_000n,
    follow,
  });
  for await (const event of feed) {
    events.push(event);
    if (event.kind === 'lines') {
      text += Buffer.from(event.bytes).toString('utf8');
      position = event.position;
    }
    if ((await options.onEvent?.(event, text.split('\n').length - 1)) === 'stop') break;
  }
  stop.abort(new Error('over'));
  return { text, events, position };
}

const event = (second: number, node: string): string =>
  JSON.stringify({
    flow: {
      time: new Date(Date.UTC(2026, 9, 5, 0, 0, second)).toISOString(),
      uuid: `${node}-${second}`,
      verdict: 'FORWARDED',
      IP: { source: '10.244.1.10', destination: '10.244.1.11', ipVersion: 'IPv4' },
      l4: { TCP: { source_port: 40_000, destination_port: 8080, flags: { SYN: true } } },
      traffic_direction: 'EGRESS',
      is_reply: false,
      event_type: { type: 4 },
    },
    node_name: node,
    time: new Date(Date.UTC(2026, 9, 5, 0, 0, second)).toISOString(),
  });

describe('a server of Cilium’s own types', () => {
  it('gives every record of the fixtures the meaning that its JSON has', async () => {
    relay = await startRelay();
    const taken: string[] = [];
    const generated = join(folder, 'generated.jsonl');
    writeHubbleFile(generated, 400);
    for (const file of [join(FIXTURES, 'hubble', 'observe.jsonl'), generated])
      for (const line of readFileSync(file, 'utf8').split('\n')) {
        if (!line.startsWith('{"flow"') && !line.startsWith('{"lost_events"')) continue;
        try {
          await relay.event(line);
          taken.push(line);
        } catch {
          // Fields of another version of Cilium, or a record that is there to be refused.
        }
      }
    expect(taken.length).toBeGreaterThan(300);
    const { text } = await ask({ port: relay.port });
    const [over, as] = [
      await fold(hubbleSource, [input(text)]),
      await fold(hubbleSource, [input(`${taken.join('\n')}\n`)]),
    ];
    expect(describeEdges(over.edges)).toBe(describeEdges(as.edges));
    expect(over.edges).toEqual(as.edges);
    expect(over.reports.map(({ records, lost, ignored }) => ({ records, lost, ignored }))).toEqual(
      as.reports.map(({ records, lost, ignored }) => ({ records, lost, ignored })),
    );
  });

  it('is followed over a broken stream without a gap, and with one where its buffer was written over', async () => {
    const one = (relay = await startRelay());
    for (const second of [1, 2, 3]) await one.event(event(second, 'n1'));
    let step = 0;
    const { text, events, position } = await ask({
      port: one.port,
      follow: true,
      async onEvent(_, lines) {
        if (step === 0 && lines === 3) {
          step = 1;
          await one.drop();
          await one.event(event(4, 'n1'));
        } else if (step === 1 && lines === 4) {
          step = 2;
          await one.drop();
          await one.forget();
          await one.event(event(50, 'n1'));
        } else if (lines === 5) return 'stop';
        return undefined;
      },
    });
    expect(new Set(text.trimEnd().split('\n')).size).toBe(5);
    const at = (second: number): number => Date.UTC(2026, 9, 5, 0, 0, second);
    expect(events.filter(({ kind }) => kind === 'gap')).toMatchObject([{ from: at(4), to: at(50) }]);
    // Another process goes on from there.
    await one.event(event(51, 'n1'));
    const later = await ask({ port: one.port, position });
    expect(later.text).toContain('n1');
    expect(later.text.trimEnd().split('\n')).toHaveLength(1);
    expect(later.events.filter(({ kind }) => kind === 'gap')).toEqual([]);
  });

  it('that asks for a certificate is given one, and refuses who has none or another', async () => {
    const [server, client, stranger] = [makeCertificate(), makeCertificate(), makeCertificate()];
    const file = async (name: string, pem: string): Promise<string> => {
      await writeFile(join(folder, name), pem, { mode: 0o600 });
      return join(folder, name);
    };
    relay = await startRelay({
      cert: await file('server.pem', server.certPem),
      key: await file('server.key', server.keyPem),
      clientCa: await file('client-ca.pem', client.certPem),
    });
    await relay.event(event(1, 'n1'));
    const { port } = relay;
    const own = { cert: client.certPem, key: client.keyPem };
    const { text } = await ask({ port, tls: true, grpc: { ca: server.certPem, ...own } });
    expect(text).toContain('n1');
    await ask({ port, tls: true, grpc: { ca: server.certPem, serverName: 'localhost', ...own } });
    const failing = (grpc: Omit<GrpcOptions, 'signal'>): Promise<unknown> =>
      ask({ port, tls: true, grpc }).then(
        () => 'it answered',
        (error: unknown) => (error as { readonly detail?: { readonly code: string } }).detail?.code ?? error,
      );
    expect(await failing({ ca: server.certPem })).toBe('SP294');
    expect(await failing({ ca: server.certPem, cert: stranger.certPem, key: stranger.keyPem })).toBe('SP294');
    expect(await failing({ ca: stranger.certPem, ...own })).toBe('SP294');
    expect(await failing({ ca: server.certPem, serverName: 'goldmane', ...own })).toBe('SP294');
    await expect(ask({ port })).rejects.toMatchObject({ detail: { code: 'SP294' } });
  });
});
