import { describe, expect, it } from 'vitest';
import { conntrackSource } from '../../src/sources/conntrack/index.ts';
import { NOW, describeEdges, fold } from './cluster.ts';
import { failureOf, input, readAll } from './flow-input.ts';

const STAMP = '[1791187201.001200]\t';
const NAT =
  'src=10.244.1.10 dst=10.96.0.11 sport=40001 dport=80 src=10.244.1.11 dst=10.244.1.10 sport=8080 dport=40001';
const SILENT =
  'src=10.244.1.10 dst=10.96.0.11 sport=40001 dport=80 [UNREPLIED] src=10.244.1.11 dst=10.244.1.10 sport=8080 dport=40001';

async function readOne(line: string, now?: number) {
  const flows: unknown[] = [];
  const report = await conntrackSource.read(
    input(line),
    { flow: (flow) => flows.push(flow), name: () => undefined },
    { badRecords: 'abort', ...(now === undefined ? {} : { now }) },
  );
  return { flow: flows[0] as Readonly<Record<string, unknown>> | undefined, report };
}

describe('lines of conntrack', () => {
  it('join the opener with the server and port behind NAT', async () => {
    const { flow } = await readOne(`${STAMP} [UPDATE] ipv4     2 tcp      6 60 SYN_RECV ${NAT}`);
    expect(flow).toMatchObject({
      first: 1_791_187_201_001,
      src: { ip: '10.244.1.10' },
      dst: { ip: '10.244.1.11' },
      srcPort: 40001,
      port: 8080,
      verdict: 'allowed',
      stage: 'open',
      initiatorKnown: true,
    });
  });

  it.each([
    [`${STAMP} [UPDATE] tcp 6 60 SYN_RECV ${NAT}`, 'allowed', 'open'],
    [`${STAMP} [UPDATE] tcp 6 432000 ESTABLISHED ${NAT} [ASSURED]`, 'allowed', 'ongoing'],
    [`${STAMP} [UPDATE] tcp 6 120 TIME_WAIT ${NAT} [ASSURED]`, 'allowed', 'ongoing'],
    [`${STAMP}[DESTROY] tcp 6 ${NAT} [ASSURED]`, 'allowed', 'open'],
    [`${STAMP}[DESTROY] tcp 6 TIME_WAIT ${NAT} [ASSURED] delta-time=120 id=99`, 'allowed', 'open'],
    [`${STAMP} [UPDATE] udp 17 30 ${NAT}`, 'allowed', 'open'],
    [`${STAMP} [UPDATE] udp 17 120 ${NAT} [ASSURED]`, 'allowed', 'ongoing'],
    [`${STAMP}[DESTROY] udp 17 ${NAT}`, 'allowed', 'open'],
    [`${STAMP}[DESTROY] udp 17 ${SILENT}`, 'unknown', 'open'],
    [`${STAMP}    [NEW] tcp 6 300 ESTABLISHED ${SILENT}`, 'unknown', 'ongoing'],
  ])('%s: %s, %s', async (line, verdict, stage) => {
    expect((await readOne(line)).flow).toMatchObject({ verdict, stage });
  });

  it.each([
    [`${STAMP}    [NEW] tcp 6 120 SYN_SENT ${SILENT}`, 'a first packet, whose answer another event tells of'],
    [`${STAMP}    [NEW] udp 17 30 ${SILENT}`, 'a first packet, whose answer another event tells of'],
    [`${STAMP} [UPDATE] tcp 6 120 SYN_SENT ${SILENT}`, 'a packet sent again'],
    [`${STAMP} [UPDATE] tcp 6 10 CLOSE ${NAT}`, 'an attempt that nobody answered, or that was refused'],
    [`${STAMP}[DESTROY] tcp 6 ${NAT}`, 'an attempt that nobody answered, or that was refused'],
    [`${STAMP}[DESTROY] tcp 6 ${SILENT}`, 'an attempt that nobody answered, or that was refused'],
    [
      `${STAMP}[DESTROY] icmp 1 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=1 src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=1`,
      'ICMP',
    ],
    [
      `${STAMP}[DESTROY] icmpv6 58 src=fd00::1 dst=fd00::2 type=128 code=0 id=1 src=fd00::2 dst=fd00::1 type=129 code=0 id=1`,
      'ICMP',
    ],
    [`${STAMP}[DESTROY] gre 47 src=10.0.0.1 dst=10.0.0.2 src=10.0.0.2 dst=10.0.0.1`, 'a protocol without ports'],
  ])('%s proves nothing: %s', async (line, reason) => {
    const { flow, report } = await readOne(line);
    expect(flow).toBeUndefined();
    expect(report.ignored).toEqual({ [reason]: 1 });
    expect(report.records).toBe(1);
  });

  it('count a connection once, whichever of its events were recorded', async () => {
    const life = [
      `${STAMP}    [NEW] tcp 6 120 SYN_SENT ${SILENT}`,
      `${STAMP} [UPDATE] tcp 6 60 SYN_RECV ${NAT}`,
      `${STAMP} [UPDATE] tcp 6 432000 ESTABLISHED ${NAT} [ASSURED]`,
      `${STAMP} [UPDATE] tcp 6 120 FIN_WAIT ${NAT} [ASSURED]`,
      `${STAMP}[DESTROY] tcp 6 ${NAT} [ASSURED]`,
    ];
    const once = 'shop/Deployment/web -> shop/Deployment/api 8080/TCP | allowed 1\n';
    for (const chosen of [life, life.slice(2), life.slice(4), life.slice(0, 2), life.slice(2, 3)])
      expect(describeEdges((await fold(conntrackSource, [input(chosen.join('\n'))])).edges)).toBe(once);
    const second = life.map((line) => line.replaceAll('40001', '40002'));
    expect(describeEdges((await fold(conntrackSource, [input([...life, ...second].join('\n'))])).edges)).toContain(
      'allowed 2',
    );
  });

  it('count a connection once that has entries in several zones', async () => {
    const zones = ['', ' zone=9', ' zone=11'].map((zone) => `${STAMP} [UPDATE] tcp 6 60 SYN_RECV ${NAT} mark=2${zone}`);
    expect(describeEdges((await fold(conntrackSource, [input(zones.join('\n'))])).edges)).toBe(
      'shop/Deployment/web -> shop/Deployment/api 8080/TCP | allowed 1\n',
    );
  });

  it('without a time take that of --now, and are refused without it', async () => {
    const line = `ipv4     2 tcp      6 86390 ESTABLISHED ${NAT} [ASSURED] mark=0 zone=0 use=2`;
    expect((await readOne(line, NOW)).flow).toMatchObject({ first: NOW, last: NOW, stage: 'open' });
    const failure = await failureOf(readOne(line));
    expect(failure).toMatchObject({ code: 'SP257', exit: 2 });
    expect(failure.hint).toContain('--now');
    await expect(failureOf(readAll(conntrackSource, input(line), 'skip'))).resolves.toMatchObject({ code: 'SP257' });
  });

  it('count what the program says it lost', async () => {
    const text = `WARNING: We have hit ENOBUFS! We are losing events.\n${STAMP} [UPDATE] tcp 6 60 SYN_RECV ${NAT}`;
    expect((await readAll(conntrackSource, input(text))).report).toMatchObject({ lost: 1, records: 1, bad: 0 });
  });

  it.each([
    ['not a line of conntrack', 'hello'],
    [
      '1 addresses of a source instead of two',
      `${STAMP} [UPDATE] tcp 6 60 SYN_RECV src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2`,
    ],
    ['src, dst, sport or dport', `${STAMP} [UPDATE] tcp 6 60 SYN_RECV ${NAT.replace('sport=8080', 'sport=99999')}`],
    [
      'src, dst, sport or dport',
      `${STAMP} [UPDATE] tcp 6 60 SYN_RECV ${NAT.replace('dst=10.96.0.11', 'dst=\u001b[2J')}`,
    ],
    ['src, dst, sport or dport', `${STAMP} [UPDATE] tcp 6 60 SYN_RECV ${NAT.replace('sport=40001 ', '')}`],
    ["this is conntrack's XML", '<?xml version="1.0" encoding="utf-8"?><conntrack><flow type="new"/></conntrack>'],
  ])('are refused with file and line: %s', async (message, line) => {
    const good = `${STAMP} [UPDATE] tcp 6 60 SYN_RECV ${NAT}`;
    const failure = await failureOf(readAll(conntrackSource, input(`${good}\n${line}`, 'ct.log')));
    expect(failure).toMatchObject({ code: 'SP241', exit: 2, where: 'ct.log:2' });
    expect(failure.message).toContain(message);
    expect((await readAll(conntrackSource, input(`${good}\n${line}`), 'skip')).report).toMatchObject({
      records: 1,
      bad: 1,
    });
  });
});
