// Files that grew since they were imported, that were put behind one another, and that come back under other names: nothing counts twice.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { CLUSTER, documentOf, makeHome, sallyport } from './shop.ts';
import type { Ended } from './shop.ts';

let home = '';
const record = (day: number, port: number): string =>
  `${JSON.stringify({
    first: `2026-10-0${day}T10:00:00Z`,
    last: `2026-10-0${day}T10:00:09Z`,
    src: { workload: 'shop/Deployment/web' },
    dst: { workload: 'shop/Deployment/db' },
    protocol: 'TCP',
    port,
    count: 1,
    verdict: 'allowed',
  })}\n`;
const A = record(1, 5432) + record(2, 5432);
const B = record(3, 5432) + record(4, 9000);

beforeAll(async () => {
  home = await makeHome(CLUSTER);
});

async function observe(
  state: string,
  files: Readonly<Record<string, string | Uint8Array>>,
  more: readonly string[] = [],
): Promise<Ended> {
  for (const [name, content] of Object.entries(files)) await writeFile(join(home, name), content);
  return sallyport(
    [
      'observe',
      'edges',
      ...Object.keys(files),
      '--json',
      ...more,
      '--manifests',
      'cluster',
      '--state',
      `${state}.sqlite`,
    ],
    { home },
  );
}

async function counts(state: string): Promise<Readonly<Record<number, number>>> {
  const ended = await sallyport(['flows', '--json', '--manifests', 'cluster', '--state', `${state}.sqlite`], { home });
  const { edges } = documentOf(ended) as unknown as { readonly edges: readonly { port: number; count: number }[] };
  return Object.fromEntries(edges.map(({ port, count }) => [port, count]));
}

describe('a file', () => {
  it.concurrent('that grew is read on from where it ended, compressed or not', async () => {
    expect((await observe('grown', { 'grown.jsonl': A })).code).toBe(0);
    const ended = await observe('grown', { 'grown.1.jsonl.gz': gzipSync(A + B) });
    expect(ended.stderr).toContain(`its first ${A.length} bytes are on record already`);
    expect(documentOf(ended)).toMatchObject({ records: 2, alreadyImported: [] });
    expect(await counts('grown')).toEqual({ 5432: 3, 9000: 1 });
    // And once more: everything is on record.
    expect(documentOf(await observe('grown', { 'grown.2.jsonl': A + B }))).toMatchObject({
      edges: { added: 0, updated: 0 },
      alreadyImported: ['grown.2.jsonl'],
    });
    expect(await counts('grown')).toEqual({ 5432: 3, 9000: 1 });
  });

  it.concurrent('of two that were imported, one behind the other, is on record', async () => {
    expect((await observe('both', { 'both-a.jsonl': A, 'both-b.jsonl': B })).code).toBe(0);
    const ended = await observe('both', { 'both.jsonl': B + A });
    expect(documentOf(ended)).toMatchObject({ edges: { added: 0, updated: 0 }, alreadyImported: ['both.jsonl'] });
    expect(await counts('both')).toEqual({ 5432: 3, 9000: 1 });
  });

  it.concurrent('that begins with another of the same import counts what is behind it', async () => {
    const ended = await observe('same', { 'same-a.jsonl': A, 'same-ab.jsonl': A + B });
    expect(ended.code, ended.stderr).toBe(0);
    expect(await counts('same')).toEqual({ 5432: 3, 9000: 1 });
  });

  it.concurrent('that only begins alike is read as a whole', async () => {
    expect((await observe('alike', { 'alike-a.jsonl': A })).code).toBe(0);
    const other = A.replace('"count":1', '"count":2');
    expect(documentOf(await observe('alike', { 'alike-b.jsonl': other + B }))).toMatchObject({ records: 4 });
    expect(await counts('alike')).toEqual({ 5432: 6, 9000: 1 });
  });

  it.concurrent('whose last line had no end then is read on from there, and half a line of it as a whole', async () => {
    expect((await observe('half', { 'half-a.jsonl': A.slice(0, -1) })).code).toBe(0);
    expect(documentOf(await observe('half', { 'half-b.jsonl': A + B }))).toMatchObject({ records: 2 });
    const torn = (A + B).slice(0, -30);
    expect((await observe('torn', { 'torn-a.jsonl': torn }, ['--bad-records', 'skip'])).code).toBe(0);
    expect(documentOf(await observe('torn', { 'torn-b.jsonl': A + B }))).toMatchObject({ records: 1 });
    expect(await counts('torn')).toEqual({ 5432: 3, 9000: 1 });
  });

  it.concurrent('that overlaps with others counts what is in none of them, whichever came first', async () => {
    const [a1 = '', a2 = '', b1 = '', b2 = ''] = (A + B).match(/.+\n/g) ?? [];
    expect((await observe('tails', { 'tails-2.jsonl': a2 + b1 + b2 })).code).toBe(0);
    const ended = await observe('tails', {
      'tails-1.jsonl': a1 + a2 + b1,
      'tails-0.jsonl.gz': gzipSync(b2 + record(5, 80)),
    });
    expect(ended.code, ended.stderr).toBe(0);
    expect(documentOf(ended)).toMatchObject({ records: 2, overlap: { repeated: 3, twice: 0, scattered: 0 } });
    expect(await counts('tails')).toEqual({ 80: 1, 5432: 3, 9000: 1 });
    // Each of them by itself is on record.
    expect(documentOf(await observe('tails', { 'tails-3.jsonl': a1 + a2 + b1 }))).toMatchObject({
      alreadyImported: ['tails-3.jsonl'],
    });
  });

  it.concurrent('that holds lines of others here and there is said to, with how many', async () => {
    const [a1 = '', a2 = '', b1 = '', b2 = ''] = (A + B).match(/.+\n/g) ?? [];
    expect((await observe('mixed', { 'mixed-a.jsonl': a1 + b1 + b2 })).code).toBe(0);
    const ended = await observe('mixed', { 'mixed-b.jsonl': record(6, 80) + a1 + a2 + b2 + record(7, 80) });
    expect(documentOf(ended)).toMatchObject({ records: 5, overlap: { repeated: 0, scattered: 2 } });
  });
});
