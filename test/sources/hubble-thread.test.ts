import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Aggregate } from '../../src/flows/aggregate.ts';
import { createAggregator } from '../../src/flows/aggregate.ts';
import type { InputReport } from '../../src/model/flow.ts';
import { EXIT, isFailure } from '../../src/shared/pure/errors.ts';
import type { FlowInput, ReadOptions } from '../../src/sources/flow-source.ts';
import { KnownBeginning } from '../../src/sources/flow-source.ts';
import { hubbleSource } from '../../src/sources/hubble/index.ts';
import { openInput } from '../../src/sources/input.ts';
import type { LineMarks } from '../../src/sources/line-marks.ts';
import { createLineMarker } from '../../src/sources/line-marks.ts';
import { cancelled, untilStopped } from '../../src/cli/interrupt.ts';
import { writeHubbleFile } from '../bench/hubble-file.ts';
import { cluster } from './cluster.ts';

const machine = vi.hoisted(() => ({ cores: 2 }));
vi.mock(import('node:os'), async (original) => ({ ...(await original()), availableParallelism: () => machine.cores }));

const folder = mkdtempSync(join(tmpdir(), 'sallyport-thread-'));
const path = join(folder, 'flows.json');
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let whole: Buffer;
let lines: readonly string[];
beforeAll(() => {
  writeHubbleFile(path, 9000);
  whole = readFileSync(path);
  lines = whole.toString('utf8').split('\n').slice(0, -1);
});

interface Outcome {
  readonly report?: InputReport;
  readonly aggregate?: Aggregate;
  readonly marks?: LineMarks;
  readonly failure?: object;
  readonly known?: number;
}

async function readOf(input: FlowInput, badRecords: ReadOptions['badRecords']): Promise<Outcome> {
  const aggregator = createAggregator(cluster);
  const marker = createLineMarker();
  try {
    const report = await hubbleSource.read(
      { ...input, marker },
      { flow: (flow) => aggregator.add(flow), name: (ip, name) => aggregator.addName(ip, name) },
      { badRecords, fold: true },
    );
    return { report, aggregate: aggregator.finish([report]), marks: marker.finish() };
  } catch (error) {
    if (error instanceof KnownBeginning) return { known: error.bytes };
    if (!isFailure(error)) throw error;
    const { cause, ...detail } = error.detail;
    return { failure: { ...detail, isCaused: cause !== undefined } };
  }
}

/**
 * The same bytes three times: from the path, by a thread, scanned in this one as on two cores and in further ones as on four, and piece by
 * piece, without a thread that reads.
 */
async function expectSame(
  bytes: Uint8Array,
  badRecords: ReadOptions['badRecords'],
  more: Partial<FlowInput> = {},
): Promise<Outcome> {
  writeFileSync(path, bytes);
  const file = openInput(path, () => process.stdin);
  const stream: FlowInput = { name: path, open: () => file.open() };
  const expected = await readOf({ ...stream, ...more }, badRecords);
  for (const cores of [2, 4]) {
    machine.cores = cores;
    const threaded = await readOf({ ...file, open: () => expect.fail('the thread opens it'), ...more }, badRecords);
    expect(threaded).toEqual(expected);
  }
  return expected;
}

const joined = (all: readonly string[]): Buffer => Buffer.from(all.map((line) => `${line}\n`).join(''));
const longLine = (size: number): Buffer => Buffer.alloc(size, 'a');

describe('a file that a thread reads gives what its bytes give piece by piece', () => {
  const changed: Readonly<Record<string, () => Uint8Array>> = {
    'as it is': () => whole,
    'without its last line break': () => whole.subarray(0, -1),
    'with half a record at its end': () => whole.subarray(0, -700),
    'with a byte order mark': () => Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), whole]),
    'with line breaks of Windows': () => Buffer.from(whole.toString('utf8').replaceAll('\n', '\r\n')),
    'with a line of six million bytes': () => Buffer.concat([longLine(6_000_000), Buffer.from('\n'), whole]),
    'with a line of 40 million bytes, and a record half as long as may be': () =>
      Buffer.concat([whole, longLine(40_000_000), Buffer.from('\n'), longLine(8_000_000), Buffer.from('\n'), whole]),
    'with two lines that are long in turn': () =>
      Buffer.concat([longLine(2_500_000), Buffer.from('\n'), longLine(3_300_000), Buffer.from('\n'), whole]),
    'with bytes that are no UTF-8': () => Buffer.concat([whole, Buffer.from([0x7b, 0xff, 0x0a]), whole]),
  };
  it.each(Object.keys(changed))('%s', async (name) => {
    const { report, aggregate } = await expectSame(changed[name]?.() ?? whole, 'skip');
    expect(report?.records).toBeGreaterThan(8900);
    expect(aggregate?.edges.length).toBeGreaterThan(1000);
  });

  it('compressed', async () => {
    // What does not compress keeps it above the size from which a thread is worth its start.
    const noise = (number: number): string =>
      Array.from({ length: 40 }, (_, part) => createHash('sha512').update(`${number}.${part}`).digest('base64')).join(
        '',
      );
    const bytes = joined([...lines, ...Array.from({ length: 4000 }, (_, number) => `{"note":"${noise(number)}"}`)]);
    const packed = gzipSync(bytes, { level: 1 });
    expect(packed.byteLength).toBeGreaterThan(9_000_000);
    const { report } = await expectSame(packed, 'skip');
    expect(report?.sha256).toBe(createHash('sha256').update(bytes).digest('hex'));
    const cutOff = await expectSame(packed.subarray(0, -2_000_000), 'abort');
    expect(cutOff.failure).toBeDefined();
    const damaged = Uint8Array.from(packed);
    damaged.fill(0xff, 5_000_000, 5_000_100);
    await expectSame(damaged, 'skip');
  });
});

describe('a file that a thread reads', () => {
  it('names the line of a malformed record', async () => {
    const broken = [...lines];
    broken[8000] = '{"flow":{"time":"2026-10-05T00:00:00Z","l4":';
    expect(await expectSame(joined(broken), 'abort')).toMatchObject({ failure: { where: `${path}:8001` } });
  });

  it('tells a beginning that is on record, and reads on behind it', async () => {
    const size = joined(lines.slice(0, 6000)).byteLength;
    const sha256 = createHash('sha256').update(whole.subarray(0, size)).digest('hex');
    const known = new Map([[size, new Set([sha256])]]);
    expect(await expectSame(whole, 'abort', { known })).toEqual({ known: size });
    const { report } = await expectSame(whole, 'abort', { known: new Map([[size, new Set(['other'])]]), skip: size });
    expect(report?.lines).toBe(3000);
  });

  it('passes over lines that are on record', async () => {
    const { report } = await expectSame(whole, 'abort', {
      cut: [
        { from: 10, to: 4000 },
        { from: 4100, to: 8999 },
      ],
    });
    expect(report?.lines).toBe(9000);
    expect(report?.records).toBeLessThanOrEqual(111);
  });

  it('is given up when the user stops', async () => {
    writeFileSync(path, whole);
    const stop = new AbortController();
    const file = openInput(path, () => process.stdin);
    let flows = 0;
    const reading = hubbleSource.read(
      { ...file, untilStopped: (all) => untilStopped(all, stop.signal, cancelled().message) },
      {
        flow: () => {
          flows += 1;
          stop.abort();
        },
        name: () => undefined,
      },
      { badRecords: 'abort', fold: true },
    );
    stop.abort();
    await expect(reading).rejects.toMatchObject({ detail: { exit: EXIT.cancelled } });
    expect(flows).toBe(0);
  });
});
