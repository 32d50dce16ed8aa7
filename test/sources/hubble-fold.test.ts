import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from '../support/fast-check.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Aggregate } from '../../src/flows/aggregate.ts';
import { createAggregator } from '../../src/flows/aggregate.ts';
import type { InputReport } from '../../src/model/flow.ts';
import { isFailure } from '../../src/shared/pure/errors.ts';
import type { FlowInput, ReadOptions } from '../../src/sources/flow-source.ts';
import { hubbleSource } from '../../src/sources/hubble/index.ts';
import { writeHubbleFile } from '../bench/hubble-file.ts';
import { cluster } from './cluster.ts';

const folder = mkdtempSync(join(tmpdir(), 'sallyport-fold-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let large: Buffer;
beforeAll(() => {
  const path = join(folder, 'large.jsonl');
  writeHubbleFile(path, 9000);
  large = readFileSync(path);
});

function inputOf(bytes: Uint8Array, piece = 1 << 20): FlowInput {
  return {
    name: 'flows.json',
    async *open() {
      for (let at = 0; at < bytes.length; at += piece) {
        await Promise.resolve();
        yield bytes.subarray(at, at + piece);
      }
    },
  };
}

type Outcome = { readonly report: InputReport; readonly aggregate: Aggregate } | { readonly failure: object };

async function read(bytes: Uint8Array, options: ReadOptions, piece?: number): Promise<Outcome> {
  const aggregator = createAggregator(cluster);
  try {
    const report = await hubbleSource.read(
      inputOf(bytes, piece),
      { flow: (flow) => aggregator.add(flow), name: (ip, name) => aggregator.addName(ip, name) },
      options,
    );
    return { report, aggregate: aggregator.finish([report]) };
  } catch (error) {
    if (!isFailure(error)) throw error;
    return { failure: error.detail };
  }
}

async function expectSame(bytes: Uint8Array, badRecords: ReadOptions['badRecords'], piece?: number): Promise<Outcome> {
  const folded = await read(bytes, { badRecords, fold: true }, piece);
  expect(folded).toEqual(await read(bytes, { badRecords }));
  return folded;
}

/** For objects to match. */
const containing = (text: string): unknown => expect.stringContaining(text);

const FIXTURES = join(import.meta.dirname, '../fixtures/sources/hubble');

describe('folding where the bytes are', () => {
  it.each(readdirSync(FIXTURES).filter((name) => !name.endsWith('.md') && !name.endsWith('.txt')))(
    'gives what reading record by record gives: %s',
    async (name) => {
      await expectSame(readFileSync(join(FIXTURES, name)), 'skip');
    },
  );

  it('gives the same of a file that keeps several threads busy, however it comes in pieces', async () => {
    const outcome = await expectSame(large, 'abort', 70_001);
    expect('report' in outcome && outcome.report.records).toBeGreaterThan(8900);
    await expectSame(large, 'abort', 5 << 20);
  });

  it('names the line of a malformed record, in whichever thread it was, and skips it where that is asked for', async () => {
    const lines = large.toString('utf8').split('\n');
    lines[8000] = '{"flow":{"time":"2026-10-05T00:00:00Z","l4":';
    const broken = Buffer.from(lines.join('\n'));
    const refused = await expectSame(broken, 'abort');
    expect('failure' in refused && refused.failure).toMatchObject({ where: 'flows.json:8001' });
    const skipped = await expectSame(broken, 'skip');
    expect('report' in skipped && skipped.report).toMatchObject({
      bad: 1,
      firstBad: containing(':8001:'),
    });
  });

  it('is not misled by any change of a byte, a piece or the order of fields', async () => {
    const lines = large.toString('latin1').split('\n').slice(0, 100);
    const mutate = fc.record({
      line: fc.nat(99),
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      length: fc.nat(40),
      put: fc.oneof(
        fc.constantFrom(
          '',
          '"',
          '}',
          '{',
          ',',
          ' ',
          '\\',
          '\\u0041',
          '\t',
          '\r',
          'null',
          '0',
          '-1',
          '1.5',
          '01',
          ',"verdict":"DROPPED"',
        ),
        fc.constantFrom(
          '"is_reply":true,',
          '"source":{},',
          '"l7":{},',
          '"time":1,',
          '[]',
          '\xff',
          '\xc3\xa9',
          '{"a":[1,2,{}]}',
        ),
      ),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(mutate, { minLength: 1, maxLength: 12 }), async (mutations) => {
        const changed = [...lines];
        for (const { line, at, length, put } of mutations) {
          const text = changed[line] ?? '';
          const from = Math.floor(at * text.length);
          changed[line] = text.slice(0, from) + put + text.slice(from + length);
        }
        // Behind whole lines, from which their shapes are known.
        await expectSame(Buffer.from([...lines, ...changed].join('\n'), 'latin1'), 'skip');
      }),
      { numRuns: 60 },
    );
  });

  it('is not misled by a field given twice or in another order', async () => {
    const lines = large.toString('utf8').split('\n').slice(0, 60);
    const shuffled = lines.map((line, index) => {
      if (!line.startsWith('{"flow"')) return line;
      const { flow, ...outer } = JSON.parse(line) as { flow: object };
      const fields = Object.entries(flow);
      const turned = Object.fromEntries([
        ...fields.slice(index % fields.length),
        ...fields.slice(0, index % fields.length),
      ]);
      return JSON.stringify(index % 2 === 0 ? { flow: turned, ...outer } : { ...outer, flow: turned });
    });
    await expectSame(Buffer.from(shuffled.join('\n')), 'abort');
    const twice = lines.map((line) =>
      line.replace('"Type"', '"verdict":"DROPPED","Type"').replace(/\}$/, ',"flow":{}}'),
    );
    await expectSame(Buffer.from(twice.join('\n')), 'skip');
  });

  it('takes requests that a proxy saw for what reading them one by one makes of them', async () => {
    const line =
      large
        .toString('utf8')
        .split('\n')
        .find((one) => one.includes('"l7":'))
        ?.replace(/page=\d+/, 'page=1') ?? '';
    const l7 = /"l7":(\{.*?\}),"event_type"/.exec(line)?.[1] ?? '';
    const http = (url: string, rest = ''): string => `{"type":"REQUEST","http":{"method":"GET","url":"${url}"${rest}}}`;
    const others = [
      http('/plain'),
      http('https://service/secure#part'),
      http('service'),
      http('/a?token=x\\"y'),
      http('/a?b=1\\u0026c=2'),
      http('/\\u0061'),
      http('/é'),
      http('/a', ',"url":"/b"'),
      http('/a', ',"code":-1'),
      http('/a', ',"code":2.5'),
      http('/a').replace('REQUEST', 'RESPONSE'),
      http('/a').replace('"REQUEST"', '2'),
      http('/a').replace('"GET"', '7'),
      http('/a').replaceAll(':', ': '),
      '{"http":{"url":"/turned","method":"PUT"},"type":"REQUEST"}',
      '{"type":"REQUEST","http":[]}',
      '{"type":"REQUEST","kafka":{"topic":"t"}}',
      '{"type":"RESPONSE","dns":{"query":"db.shop.example.","ips":["192.0.2.1"]}}',
      '{"__proto__":{"http":{"method":"GET","url":"/p"}}}',
      '{}',
      '[]',
      'null',
      'true',
      '"text"',
      '{"type":"REQUEST"',
      '{"type":"REQUEST"}}',
    ];
    const inPlace = others.map((other) => line.replace(l7, other));
    const changed = [
      line.replace('"is_reply":false', '"is_reply":true'),
      line.replace('"is_reply":false,', ''),
      line.replace('"verdict":"FORWARDED"', '"verdict":"DROPPED"'),
      line.replace('"Type":"L7"', `"l7":${l7},"Type":"L7"`),
      line.replace(`"l7":${l7},`, '').replace('{"flow":{', `{"flow":{"l7":${l7},`),
      line.replace(/"TCP"/, '"UDP"'),
    ];
    expect(new Set([line, ...inPlace, ...changed]).size).toBe(1 + others.length + changed.length);
    const all = [line, line, ...inPlace, ...changed];
    // Each behind a line of its shape, and each by itself.
    for (const text of all) await expectSame(Buffer.from(`${line}\n${line}\n${text}\n${line}\n`), 'skip');
    await expectSame(Buffer.from([...all, ...all].join('\n')), 'skip');
  });

  it('gives the same of more kinds of requests than are remembered', async () => {
    const line =
      large
        .toString('utf8')
        .split('\n')
        .find((one) => one.includes('"l7":')) ?? '';
    const short = line.replaceAll(/"labels":\[.*?\],/g, '');
    const lines = Array.from({ length: 9000 }, (_, number) => short.replace(/items\?page=\d+/, `items/${number}`));
    const outcome = await expectSame(Buffer.from(lines.join('\n')), 'abort');
    expect('report' in outcome && outcome.report.records).toBe(9000);
  });

  it('reads addresses of version 6, strange ones, and ends of which nothing is said', async () => {
    const line = large.toString('utf8').split('\n')[0] ?? '';
    const variants = ['fd00::1', '010.1.1.1', '1.2.3', '300.1.1.1', '', '10.0.0.1 '].map((ip) =>
      line.replace(/"IP":\{"source":"[^"]*"/, `"IP":{"source":"${ip}"`),
    );
    variants.push(
      line.replace(/"IP":\{[^}]*\},/, ''),
      line.replace(/"source":\{"ID".*?"destination":\{"ID"/, '"destination":{"ID"'),
    );
    await expectSame(Buffer.from(variants.join('\n')), 'skip');
  });
});

describe('a line of a hundred million bytes', () => {
  const long = (): Buffer => {
    const lines = large.toString('utf8').split('\n').slice(0, 3);
    return Buffer.concat([
      Buffer.from(`${lines[0] ?? ''}\n`),
      Buffer.alloc(100_000_000, 'a'),
      Buffer.from(`\n${lines[1] ?? ''}\n${lines[2] ?? ''}\n`),
    ]);
  };

  it.each([true, false])('is refused with its line, or counted and passed over (folding: %s)', async (fold) => {
    const bytes = long();
    expect(await read(bytes, { badRecords: 'abort', fold })).toMatchObject({
      failure: { code: 'SP243', exit: 2, where: 'flows.json:2' },
    });
    expect(await read(bytes, { badRecords: 'skip', fold })).toMatchObject({
      report: { lines: 4, records: 3, bad: 1, firstBad: containing('flows.json:2: longer than 16 MiB') },
    });
  });
});

describe('bytes that are no UTF-8', () => {
  it.each([true, false])('are refused with their line, or counted (folding: %s)', async (fold) => {
    const [first = '', second = ''] = large.toString('utf8').split('\n');
    const bytes = Buffer.concat([
      Buffer.from(`${first}\n`),
      Buffer.from(second.replace('service-', 'servi\xffce-'), 'latin1'),
      Buffer.from(`\n${first.replace('service-', 'servicé-')}\n`),
    ]);
    expect(await read(bytes, { badRecords: 'abort', fold })).toMatchObject({
      failure: { exit: 2, where: 'flows.json:2', message: containing('not UTF-8') },
    });
    expect(await read(bytes, { badRecords: 'skip', fold })).toMatchObject({ report: { records: 2, bad: 1 } });
  });
});
