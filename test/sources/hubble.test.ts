import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import type { Flow } from '../../src/model/flow.ts';
import { hubbleSource } from '../../src/sources/hubble/index.ts';
import { openInput } from '../../src/sources/input.ts';
import { MAX_LINE_BYTES } from '../../src/sources/lines.ts';
import { createTimeParser, parseTime } from '../../src/sources/time.ts';
import { failureOf, input, readAll } from './flow-input.ts';

type Json = Readonly<Record<string, unknown>>;

const web: Json = {
  ID: 7,
  identity: 4001,
  namespace: 'shop',
  pod_name: 'web-6d4cf56db6-x2x9k',
  workloads: [{ name: 'web', kind: 'Deployment' }],
  labels: [
    'k8s:app=web',
    'k8s:io.cilium.k8s.policy.serviceaccount=web-account',
    'k8s:io.kubernetes.pod.namespace=shop',
  ],
};
const db: Json = { identity: 4002, namespace: 'data', pod_name: 'db-0', labels: ['k8s:app=db'] };
const world: Json = { identity: 2, labels: ['reserved:world'] };

function record(parts: Json = {}, flags: Json = { SYN: true }): Json {
  return {
    time: '2026-10-05T08:00:00.123456789Z',
    verdict: 'FORWARDED',
    IP: { source: '10.0.0.1', destination: '10.0.0.2', ipVersion: 'IPv4' },
    l4: { TCP: { source_port: 40000, destination_port: 5432, flags } },
    source: web,
    destination: db,
    Type: 'L3_L4',
    event_type: { type: 4, sub_type: 3 },
    traffic_direction: 'EGRESS',
    trace_observation_point: 'TO_STACK',
    is_reply: false,
    ...parts,
  };
}

function without(value: Json, ...keys: readonly string[]): Json {
  return Object.fromEntries(Object.entries(value).filter(([key]) => !keys.includes(key)));
}

async function readOne(value: Json): Promise<Flow> {
  const { flows } = await readAll(hubbleSource, input(JSON.stringify(value)));
  const [flow] = flows;
  if (flow === undefined || flows.length !== 1) throw new Error(`${flows.length} flows instead of one`);
  return flow;
}

async function ignoredBy(value: Json): Promise<readonly string[]> {
  const { flows, report } = await readAll(hubbleSource, input(JSON.stringify(value)));
  expect(flows).toEqual([]);
  expect(report.records).toBe(1);
  return Object.keys(report.ignored);
}

describe('records of Hubble', () => {
  it('take ends, ports, time and account from a new connection', async () => {
    expect(await readOne({ flow: record(), node_name: 'n1', time: '2026-10-05T08:00:00Z' })).toMatchObject({
      first: Date.UTC(2026, 9, 5, 8, 0, 0, 123),
      src: {
        ip: '10.0.0.1',
        namespace: 'shop',
        pod: 'web-6d4cf56db6-x2x9k',
        workload: { kind: 'Deployment', name: 'web' },
        serviceAccount: 'web-account',
        labels: { app: 'web' },
      },
      dst: { namespace: 'data', pod: 'db-0' },
      protocol: 'TCP',
      srcPort: 40000,
      port: 5432,
      verdict: 'allowed',
      view: 'egress',
      stage: 'open',
      initiatorKnown: true,
      mtls: 'unknown',
    });
  });

  it('read the same bare and in their envelope', async () => {
    expect(await readOne(record())).toEqual(await readOne({ flow: record(), node_name: 'n1' }));
  });

  it('turn a reply round and keep its direction', async () => {
    const flow = await readOne(
      record({
        source: db,
        destination: web,
        is_reply: true,
        l4: { TCP: { source_port: 5432, destination_port: 40000, flags: { ACK: true } } },
      }),
    );
    expect(flow).toMatchObject({
      src: { pod: 'web-6d4cf56db6-x2x9k' },
      dst: { pod: 'db-0' },
      port: 5432,
      view: 'egress',
      reply: true,
      stage: 'ongoing',
    });
  });

  it('turn an old reply round, which says reply and not is_reply', async () => {
    const old = without(record({ source: db, destination: web, reply: true }, { ACK: true }), 'is_reply');
    expect(await readOne(old)).toMatchObject({ src: { namespace: 'shop' }, dst: { namespace: 'data' }, reply: true });
  });

  it('leave the opener open where neither flag nor SYN says it', async () => {
    const old = without(record({}, { ACK: true, PSH: true }), 'is_reply');
    expect(await readOne(old)).toMatchObject({ initiatorKnown: false, stage: 'ongoing' });
  });

  it.each([
    ['FORWARDED', 'allowed'],
    ['REDIRECTED', 'allowed'],
    ['TRACED', 'allowed'],
    ['AUDIT', 'audit'],
    [5, 'allowed'],
    [4, 'audit'],
    ['VERDICT_UNKNOWN', 'unknown'],
    [undefined, 'unknown'],
  ])('take the verdict %s for %s', async (verdict, expected) => {
    expect((await readOne(record({ verdict }))).verdict).toBe(expected);
  });

  it.each([
    [{ drop_reason_desc: 'POLICY_DENIED' }],
    [{ drop_reason_desc: 'POLICY_DENY' }],
    [{ drop_reason: 133 }],
    [{ drop_reason_desc: 181 }],
    [{ event_type: { type: 5 } }],
  ])('take a drop by policy for denied: %j', async (reason) => {
    expect((await readOne(record({ verdict: 'DROPPED', ...reason }))).verdict).toBe('denied');
  });

  it.each([
    ['socket translation', record({ Type: 'SOCK' })],
    ['socket translation', record({ verdict: 'TRANSLATED' })],
    ['ICMP', record({ l4: { ICMPv4: { type: 8 } } })],
    ['ICMP', record({ l4: { ICMPv6: { type: 133 } } })],
    ['a protocol without ports', record({ l4: { VRRP: {} } })],
    ['no ports', without(record(), 'l4')],
    ['no ports', record({ l4: { TCP: {} } })],
    ['dropped, but not by policy', record({ verdict: 'DROPPED', drop_reason_desc: 'AUTH_REQUIRED' })],
    ['dropped, but not by policy', record({ verdict: 'DROPPED', drop_reason_desc: 'CT_MAP_INSERTION_FAILED' })],
    ['dropped for no stated reason', record({ verdict: 'DROPPED' })],
    ['error of the datapath', record({ verdict: 'ERROR' })],
    ['debug or agent event', record({ event_type: { type: 2 } })],
    [
      'seen in transit between nodes',
      without(record({ trace_observation_point: 'TO_OVERLAY' }, { ACK: true }), 'traffic_direction', 'is_reply'),
    ],
  ])('count and leave out: %s', async (reason, value) => {
    expect(await ignoredBy(value)).toEqual([reason]);
  });

  it('use a record from between the nodes when it opens a connection', async () => {
    const flow = await readOne(
      without(record({ trace_observation_point: 'TO_OVERLAY' }), 'traffic_direction', 'is_reply'),
    );
    expect(flow).toMatchObject({ view: 'unknown', tap: 'TO_OVERLAY', stage: 'open' });
  });

  it('read an HTTP request as method and path, without the query', async () => {
    const http = {
      method: 'POST',
      url: 'http://scorer:8080/v1/models/fraud:predict?token=hush#x',
      protocol: 'HTTP/1.1',
    };
    const flow = await readOne(record({ Type: 'L7', event_type: { type: 129 }, l7: { type: 'REQUEST', http } }, {}));
    expect(flow).toMatchObject({ l7: 'POST /v1/models/fraud:predict', stage: 'open', mtls: 'no' });
    expect(JSON.stringify(flow)).not.toContain('hush');
  });

  it('take an HTTP denial by policy for denied', async () => {
    const l7 = { type: 'REQUEST', http: { method: 'GET', url: 'http://db/x' } };
    expect(await readOne(record({ verdict: 'DROPPED', event_type: { type: 129 }, l7 }))).toMatchObject({
      verdict: 'denied',
      l7: 'GET /x',
    });
  });

  it('learn names from DNS answers, and the connection to the DNS server from both', async () => {
    const dns = { query: 'Pypi.Example.ORG.', ips: ['203.0.113.7', '2001:db8::7'], ttl: 60, rcode: 0 };
    const answer = record({
      Type: 'L7',
      event_type: { type: 129 },
      l7: { type: 'RESPONSE', dns },
      source: db,
      destination: web,
      is_reply: true,
      l4: { UDP: { source_port: 53, destination_port: 40000 } },
    });
    const { flows, names } = await readAll(hubbleSource, input(JSON.stringify(answer)));
    expect(names).toEqual([
      ['203.0.113.7', 'pypi.example.org'],
      ['2001:db8::7', 'pypi.example.org'],
    ]);
    expect(flows).toMatchObject([{ src: { namespace: 'shop' }, protocol: 'UDP', port: 53 }]);
    expect(flows[0]).not.toHaveProperty('l7');
  });

  it('keep reserved identities, by label or by number where labels are masked away', async () => {
    expect((await readOne(record({ destination: world }))).dst.reserved).toEqual(['world']);
    expect((await readOne(record({ destination: { identity: 6 } }))).dst.reserved).toEqual(['remote-node']);
    expect(
      (await readOne(record({ destination: { labels: ['reserved:kube-apiserver', 'reserved:world-ipv4'] } }))).dst
        .reserved,
    ).toEqual(['kube-apiserver', 'world']);
  });

  it('tell two pods apart that carry one name one after the other', async () => {
    const again = { ...db, identity: 4003, labels: ['k8s:app=other'] };
    const lines = [record(), record({ destination: again })].map((one) => JSON.stringify(one)).join('\n');
    const { flows } = await readAll(hubbleSource, input(lines));
    expect(flows.map((flow) => ({ ...flow.dst.labels }))).toEqual([{ app: 'db' }, { app: 'other' }]);
  });

  it('count what the source says it lost', async () => {
    const lines = [
      { lost_events: { source: 'HUBBLE_RING_BUFFER', num_events_lost: '1200' }, node_name: 'n1' },
      { node_status: { state_change: 'NODE_CONNECTED' }, time: '2026-10-05T08:00:00Z' },
      { flow: record() },
    ];
    const { report } = await readAll(hubbleSource, input(lines.map((one) => JSON.stringify(one)).join('\n')));
    expect(report).toMatchObject({ lost: 1200, bad: 0 });
  });
});

describe('wrappers of Hubble records', () => {
  const line = JSON.stringify({ flow: record() });

  it.each([
    ['a CRI prefix', `2026-10-05T08:00:00.5Z stdout F ${line}`],
    ['docker', JSON.stringify({ log: `${line}\n`, stream: 'stdout', time: '2026-10-05T08:00:00Z' })],
    [
      'a CRI line in parts',
      `2026-10-05T08:00:00Z stdout P ${line.slice(0, 90)}\n2026-10-05T08:00:00Z stdout F ${line.slice(90)}`,
    ],
    ['a byte order mark, CRLF and empty lines', `\ufeff${line}\r\n\r\n   \n`],
  ])('are taken off: %s', async (_, text) => {
    expect((await readAll(hubbleSource, input(text))).flows).toHaveLength(1);
  });

  it('are taken off a few times, and not for ever', async () => {
    const wrap = (times: number): string => `${'{"log":'.repeat(times)}${line}${'}'.repeat(times)}`;
    expect((await readAll(hubbleSource, input(wrap(2)))).flows).toHaveLength(1);
    expect(await failureOf(readAll(hubbleSource, input(wrap(50_000))))).toMatchObject({ code: 'SP241', exit: 2 });
  });

  it('pass over what else an agent logs', async () => {
    const { flows, report } = await readAll(
      hubbleSource,
      input(`2026-10-05T08:00:00Z stderr F level=info msg="ready"\n2026-10-05T08:00:00Z stdout F ${line}`),
    );
    expect(flows).toHaveLength(1);
    expect(report.ignored).toEqual({ 'a log message': 1 });
  });

  it('do not change the records, wherever the bytes are cut, nor the name of the input its hash', async () => {
    const text = Array.from({ length: 5 }, (_, index) =>
      JSON.stringify({ flow: record({ node_name: `nœud-${index}-✓` }) }),
    ).join('\n');
    const whole = await readAll(hubbleSource, input(text, 'a', 1 << 20));
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 700 }), fc.boolean(), async (size, zipped) => {
        const read = await readAll(hubbleSource, input(zipped ? gzipSync(text) : text, 'b', size));
        expect(read.flows).toEqual(whole.flows);
        expect(read.report.sha256).toBe(whole.report.sha256);
      }),
      { numRuns: 60 },
    );
  });

  it('read gzip made of several members', async () => {
    const zipped = Buffer.concat([gzipSync(`${line}\n`), gzipSync(line)]);
    expect((await readAll(hubbleSource, input(zipped))).flows).toHaveLength(2);
  });
});

describe('bad input of Hubble', () => {
  const good = JSON.stringify({ flow: record() });

  it.each([
    ['not a JSON record', '{"flow":{"time":'],
    ['not a JSON object', '[1]'],
    ['not a JSON object', '42'],
    ['"flow" is not an object', '{"flow":7}'],
    ['neither "flow" nor a field of one', '{"msg":"hello"}'],
    ['no "time"', JSON.stringify({ flow: without(record(), 'time') })],
    ['no "time"', JSON.stringify({ flow: record({ time: 'yesterday' }) })],
    ['a port is not a number', JSON.stringify({ flow: record({ l4: { TCP: { destination_port: 70000 } } }) })],
    ['a port is not a number', JSON.stringify({ flow: record({ l4: { TCP: { destination_port: '80' } } }) })],
    ['"l4.TCP" is not an object', JSON.stringify({ flow: record({ l4: { TCP: 80 } }) })],
    ['num_events_lost', '{"lost_events":{"num_events_lost":"many"}}'],
  ])('aborts with file and line: %s', async (message, line) => {
    const failure = await failureOf(readAll(hubbleSource, input(`${good}\n${line}\n${good}`)));
    expect(failure).toMatchObject({ code: 'SP241', exit: 2, where: 'flows.jsonl:2' });
    expect(failure.message).toContain(message);
    expect(failure.hint).toContain('--bad-records skip');
    const { flows, report } = await readAll(hubbleSource, input(`${good}\n${line}\n${good}`), 'skip');
    expect(flows).toHaveLength(2);
    expect(report).toMatchObject({ bad: 1, records: 2 });
    expect(report.firstBad).toContain('flows.jsonl:2');
  });

  it.each([
    ['YAML', 'apiVersion: v1\nkind: Pod'],
    ['HTML or XML', '<!DOCTYPE html><title>Sign in</title>'],
    ['a JSON array', '[{"flow":{}}]'],
    ['JSON spread over several lines', '{\n  "flow": {}\n}'],
    ['an Envoy access log', '[2026-10-05T08:00:00.000Z] "GET /x HTTP/1.1" 200 -'],
    ['CSV', 'time,src,dst,port,verdict\n1,2,3,4,5'],
    ['an AWS VPC flow log', '2 123456789012 eni-0a1b2c3d 10.0.0.1 10.0.0.2 443 49153 6 10 840 1 2 ACCEPT OK'],
    [
      'hubble observe in its compact form',
      'Oct  5 08:00:00.123: shop/web:40000 (ID:1) -> data/db:5432 (ID:2) FORWARDED (TCP)',
    ],
  ])('names the format that it is: %s', async (format, text) => {
    expect((await failureOf(readAll(hubbleSource, input(text)))).message).toContain(`this is ${format}`);
    expect(await failureOf(readAll(hubbleSource, input(text), 'skip'))).toMatchObject({ code: 'SP244', exit: 2 });
  });

  it('shows hostile text without its control characters', async () => {
    const { message } = await failureOf(readAll(hubbleSource, input('\u001b]0;owned\u0007\u202e{"x"')));

    expect(message).not.toMatch(/[\u0000-\u001f\u202e]/);
  });

  it('aborts on gzip that breaks off, and keeps what came before when told to skip', async () => {
    const lines = Array.from({ length: 400 }, (_, index) =>
      JSON.stringify({ flow: record({ uuid: `${index * 7919}` }) }),
    );
    const zipped = gzipSync(lines.join('\n'));
    const cut = zipped.subarray(0, zipped.byteLength - 20);
    expect(await failureOf(readAll(hubbleSource, input(cut, 'flows.gz')))).toMatchObject({ code: 'SP242', exit: 2 });
    const { flows, report } = await readAll(hubbleSource, input(cut, 'flows.gz', 4096), 'skip');
    expect(report.bad).toBe(1);
    expect(flows.length).toBeGreaterThan(0);
    expect(flows.length).toBeLessThan(400);
  });

  it('refuses a line that never ends', async () => {
    const spaces = Buffer.alloc(1 << 20, 32);
    const endless = {
      name: 'endless',
      async *open() {
        for (let megabyte = 0; megabyte < 64; megabyte += 1) yield await Promise.resolve(spaces);
        throw new Error(`read beyond ${MAX_LINE_BYTES} bytes`);
      },
    };
    expect(await failureOf(readAll(hubbleSource, endless))).toMatchObject({
      code: 'SP243',
      where: 'endless:1',
    });
  });

  it('takes an empty input for no records', async () => {
    expect((await readAll(hubbleSource, input(''))).report).toMatchObject({ records: 0, bad: 0 });
  });

  it('never throws anything but a Failure, whatever the line', async () => {
    const keys = [
      'flow', 'time', 'verdict', 'IP', 'l4', 'source', 'destination', 'labels', 'workloads', 'l7', 'TCP', 'flags', 'dns',
      'http', 'event_type', 'lost_events', 'log', 'ips', '__proto__',
    ]; // prettier-ignore
    const leaf = fc.jsonValue({ maxDepth: 1 });
    const inner = fc.dictionary(fc.constantFrom(...keys), leaf, { maxKeys: 4 });
    const value = fc.dictionary(fc.constantFrom(...keys), fc.oneof(leaf, inner), { maxKeys: 6 });
    await fc.assert(
      fc.asyncProperty(value, async (one) => {
        const time = { time: '2026-10-05T08:00:00Z' };
        const line = JSON.stringify({ flow: { ...record(), ...one, ...time } });
        const { report } = await readAll(hubbleSource, input(`${good}\n${line}\n${JSON.stringify(one)}`), 'skip');
        expect(report.records + report.bad).toBeGreaterThan(0);
      }),
      { numRuns: 300 },
    );
  });
});

describe('inputs', () => {
  it('say what is wrong with a path', async () => {
    const stdin = (): AsyncIterable<Uint8Array> => input('').open();
    const missing = await failureOf(readAll(hubbleSource, openInput('/nonexistent/flows.jsonl', stdin)));
    expect(missing).toMatchObject({ code: 'SP240', exit: 2, where: '/nonexistent/flows.jsonl' });
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-'));
    try {
      expect((await failureOf(readAll(hubbleSource, openInput(folder, stdin)))).message).toContain('directory');
      const path = join(folder, 'no-suffix');
      await writeFile(path, gzipSync(JSON.stringify(record())));
      expect((await readAll(hubbleSource, openInput(path, stdin))).flows).toHaveLength(1);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('read standard input under its name', async () => {
    const { report } = await readAll(
      hubbleSource,
      openInput('-', () => input(JSON.stringify(record())).open()),
    );
    expect(report).toMatchObject({ input: '-', records: 1 });
  });
});

describe('times', () => {
  it.each([
    ['2026-10-05T08:00:00Z', Date.UTC(2026, 9, 5, 8)],
    ['2026-10-05T08:00:00.5Z', Date.UTC(2026, 9, 5, 8, 0, 0, 500)],
    ['2026-10-05T08:00:00.123456789Z', Date.UTC(2026, 9, 5, 8, 0, 0, 123)],
    ['2026-10-05T10:00:00+02:00', Date.UTC(2026, 9, 5, 8)],
    ['2026-10-05T03:30:00.25-04:30', Date.UTC(2026, 9, 5, 8, 0, 0, 250)],
    ['2026-02-31T08:00:00Z', undefined],
    ['2026-10-05T25:00:00Z', undefined],
    ['2026-10-05T08:00:99Z', undefined],
    ['2026-10-05T08:00:00', undefined],
    ['2026-10-05T08:00:00.Z', undefined],
    ['2026-10-05T08:00:00.1x3Z', undefined],
    ['2026-10-05', undefined],
    ['', undefined],
  ])('%s', (text, time) => {
    expect(parseTime(text)).toBe(time);
    expect(createTimeParser()(text)).toBe(time);
  });

  it('read the same with and without the memory of the last one', () => {
    const parse = createTimeParser();
    fc.assert(
      fc.property(
        fc.date({ min: new Date('2020-01-01'), max: new Date('2030-01-01'), noInvalidDate: true }),
        (date) => {
          expect(parse(date.toISOString())).toBe(date.getTime());
        },
      ),
    );
  });
});
