// Files that overlap as pieces of one record do: whatever the pieces and their order, each line counts once.
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createOverlaps } from '../../src/cli/observe-overlaps.ts';
import { createAggregator } from '../../src/flows/aggregate.ts';
import type { InputReport } from '../../src/model/flow.ts';
import type { Edge } from '../../src/model/edge.ts';
import type { FlowInput } from '../../src/sources/flow-source.ts';
import { hubbleSource } from '../../src/sources/hubble/index.ts';
import type { LineMarks } from '../../src/sources/line-marks.ts';
import { createLineCutter, createLineMarker, findRepeats } from '../../src/sources/line-marks.ts';
import type { LineMarksRecord } from '../../state/line-marks.ts';
import fc from '../support/fast-check.ts';
import { cluster } from './cluster.ts';

/** A record at each second: web calls api, from another port each time. */
const LINES = Array.from({ length: 60 }, (_, second) => {
  const time = `2026-10-05T08:00:${String(second).padStart(2, '0')}.000000001Z`;
  return JSON.stringify({
    flow: {
      time,
      verdict: second % 7 === 0 ? 'DROPPED' : 'FORWARDED',
      IP: { source: '10.0.0.1', destination: '10.0.0.2', ipVersion: 'IPv4' },
      l4: { TCP: { source_port: 40_000 + second, destination_port: 8000 + (second % 5), flags: { SYN: true } } },
      source: { namespace: 'shop', pod_name: 'web-6d4b75cb6d-x2x4x' },
      destination: { namespace: 'shop', pod_name: 'api-6d4b75cb6d-x2x5x' },
      Type: 'L3_L4',
      event_type: { type: 5 },
      traffic_direction: 'EGRESS',
      is_reply: false,
    },
    time,
  });
});

interface Piece {
  readonly from: number;
  readonly to: number;
}

const bytesOf = ({ from, to }: Piece): Buffer => Buffer.from(`${LINES.slice(from, to).join('\n')}\n`);

/** As the command does: the pieces of each call in one import, the calls one after the other on one record. */
async function importAll(
  calls: readonly (readonly Piece[])[],
): Promise<{ readonly edges: readonly Edge[]; readonly records: number }> {
  const marks: LineMarksRecord[] = [];
  const shas = new Set<string>();
  const aggregator = createAggregator(cluster);
  const all: InputReport[] = [];
  for (const pieces of calls) {
    const opened = pieces.map((piece, index): FlowInput => ({
      name: `piece-${index}`,
      // eslint-disable-next-line @typescript-eslint/require-await -- An input is read as a stream, and this one is there already.
      async *open() {
        const bytes = bytesOf(piece);
        for (let at = 0; at < bytes.length; at += 700) yield bytes.subarray(at, at + 700);
      },
    }));
    const overlaps = createOverlaps(
      hubbleSource,
      { lineMarks: () => marks, hasImport: (sha256) => shas.has(sha256), forgottenInputs: () => 0 },
      opened,
      { note: () => undefined, line: () => undefined },
    );
    for (let again = true; again;) {
      again = false;
      overlaps.begin();
      const reports: InputReport[] = [];
      const flows: Parameters<typeof aggregator.add>[0][] = [];
      for (const input of opened) {
        const own: typeof flows = [];
        const report = await hubbleSource.read(
          { ...input, ...overlaps.of(input) },
          { flow: (flow) => own.push(flow), name: () => undefined },
          { badRecords: 'abort', fold: true },
        );
        if (overlaps.isNew(input, report)) {
          again = true;
          break;
        }
        // The state knows an input that it has by its bytes.
        if (shas.has(report.sha256) || reports.some((one) => one.sha256 === report.sha256)) continue;
        flows.push(...own);
        reports.push(report);
      }
      if (again) continue;
      for (const flow of flows) aggregator.add(flow);
      for (const report of reports) shas.add(report.sha256);
      all.push(...reports);
      marks.push(...overlaps.marks());
    }
  }
  return { edges: aggregator.finish(all).edges, records: all.reduce((sum, { records }) => sum + records, 0) };
}

const MARKS = [0, 1225648402, -280740805, -1082514164, -965060036, 1129203122, 1120691920, 1900592309, -384675851];

describe('marks of lines', () => {
  it('are the same however the lines come: one by one, or two at once', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.oneof(fc.nat(300), fc.integer({ min: 250, max: 2000 })), fc.nat(255)), { maxLength: 30 }),
        (sizes) => {
          const lines = sizes.map(([length, seed]) =>
            Uint8Array.from({ length: length + 1 }, (_, at) => (at === length ? 10 : 32 + ((at * 7 + seed * at) % 90))),
          );
          const all = createLineMarker();
          all.push(Buffer.concat(lines));
          const single = createLineMarker();
          for (const line of lines) single.push(line);
          expect(all.finish()).toEqual(single.finish());
        },
      ),
    );
  });

  it('are what they were: those on record are compared with those of later versions', () => {
    const marker = createLineMarker();
    const text = Array.from({ length: 700 }, (_, at) => String.fromCharCode(97 + ((at * 5) % 26))).join('');
    marker.push(
      Buffer.from([0, 3, 255, 256, 257, 300, 511, 512, 699].map((length) => `${text.slice(0, length)}\n`).join('')),
    );
    expect([...marker.finish().marks]).toEqual(MARKS);
  });
});

describe('pieces of one record that overlap', () => {
  it('give its edges, cut anywhere, in any order, at once or one after the other, doubled or not', async () => {
    const whole = await importAll([[{ from: 0, to: LINES.length }]]);
    expect(whole.records).toBe(LINES.length);
    const piece = fc
      .tuple(fc.nat(LINES.length - 2), fc.integer({ min: 2, max: LINES.length }))
      .map(([from, length]): Piece => ({ from, to: Math.min(LINES.length, from + length) }));
    await fc.assert(
      fc.asyncProperty(
        fc.array(piece, { maxLength: 5 }),
        fc.array(fc.nat(LINES.length), { maxLength: 4 }),
        fc.array(fc.integer(), { minLength: 12, maxLength: 12 }),
        fc.boolean(),
        async (extra, cuts, order, isOne) => {
          // Pieces that cover everything, each a line or more into its neighbour, and some more.
          const ends = [0, ...cuts.toSorted((a, b) => a - b), LINES.length];
          const cover = ends
            .slice(1)
            .map((end, index): Piece => ({ from: ends[index] ?? 0, to: Math.min(LINES.length, end + 2) }))
            .filter(({ from, to }) => to - from > 1);
          const pieces = [...cover, ...extra]
            .map((one, index) => ({ one, key: order[index] ?? 0 }))
            .toSorted((a, b) => a.key - b.key)
            .map(({ one }) => one);
          expect(await importAll(isOne ? [pieces] : pieces.map((one) => [one]))).toEqual(whole);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('of which one holds the others of before, one behind the other, are read without them', async () => {
    const calls = [[{ from: 20, to: 30 }], [{ from: 40, to: 45 }], [{ from: 0, to: 60 }]];
    expect((await importAll(calls)).records).toBe(60);
  });
});

function marksOf(text: string, piece = 1 << 20, limit?: number): LineMarks {
  const marker = createLineMarker(limit);
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += piece) marker.push(bytes.subarray(at, at + piece));
  return marker.finish();
}

describe('marks', () => {
  it('are the same however the bytes come, of lines of any length', () => {
    const line = fc.oneof(
      fc.string({ maxLength: 20 }),
      fc.integer({ min: 0, max: 2000 }).map((length) => 'x'.repeat(length)),
    );
    fc.assert(
      fc.property(
        fc.array(line, { maxLength: 12 }),
        fc.boolean(),
        fc.integer({ min: 1, max: 300 }),
        (lines, ends, piece) => {
          const text = lines.map((one) => one.replaceAll('\n', ' ')).join('\n') + (ends ? '\n' : '');
          expect(marksOf(text, piece)).toEqual(marksOf(text));
          expect(marksOf(text).marks).toHaveLength((text === '' ? [] : text.replace(/\n$/, '').split('\n')).length);
        },
      ),
    );
  });

  it('tell a long line by a change of its beginning or its end', () => {
    const long = (time: string): string => `{"time":"${time}",${'"a":1,'.repeat(300)}"end":"${time}"}`;
    const marks = new Set(Array.from({ length: 1000 }, (_, index) => marksOf(long(String(index))).marks[0]));
    expect(marks.size).toBe(1000);
  });

  it('are kept of the newest lines, and an input longer than that is not taken for one that begins where they do', () => {
    const lines = Array.from({ length: 20 }, (_, index) => `line ${index}\n`);
    const short = marksOf(lines.join(''), 7, 8);
    expect(short.dropped).toBe(12);
    expect(short.marks).toEqual(marksOf(lines.slice(12).join('')).marks);
    // Its end is known; where it begins is not.
    expect(findRepeats(marksOf(lines.slice(15).join('') + 'more\n'), [short])).toEqual([{ from: 0, to: 5 }]);
    expect(findRepeats(marksOf(lines.slice(10).join('')), [short])).toEqual([]);
  });

  it('do not take what is alike in the middle for an overlap, nor a single line that only looks the same', () => {
    expect(findRepeats(marksOf('a\nx\ny\nb\n'), [marksOf('c\nx\ny\nd\n')])).toEqual([]);
    expect(findRepeats(marksOf('x\nb\n'), [marksOf('c\nx\n')])).toEqual([{ from: 0, to: 1 }]);
    const other = marksOf('c\nx\n');
    expect(
      findRepeats(marksOf('x\nb\n'), [{ ...other, last: createHash('sha256').update('X').digest('hex') }]),
    ).toEqual([]);
  });
});

describe('lines that are cut out', () => {
  it('leave the others with their numbers, however the bytes come', () => {
    fc.assert(
      fc.property(
        fc.array(fc.stringMatching(/^[a-z]{0,9}$/), { minLength: 1, maxLength: 20 }),
        fc.array(fc.tuple(fc.nat(20), fc.nat(4)), { maxLength: 4 }),
        fc.integer({ min: 1, max: 40 }),
        (lines, wanted, piece) => {
          const ranges: { from: number; to: number }[] = [];
          let at = 0;
          for (const [gap, length] of wanted) {
            ranges.push({ from: at + gap + 1, to: at + gap + 1 + length + 1 });
            at += gap + length + 3;
          }
          const cut = createLineCutter(ranges);
          const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''));
          const parts: Uint8Array[] = [];
          for (let from = 0; from < bytes.length; from += piece)
            parts.push(Buffer.from(cut(bytes.subarray(from, from + piece))));
          const left = lines.map((line, index) =>
            ranges.some(({ from, to }) => from <= index && index < to) ? '' : line,
          );
          expect(Buffer.concat(parts).toString()).toBe(left.map((line) => `${line}\n`).join(''));
        },
      ),
    );
  });
});
