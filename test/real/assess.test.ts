// `sallyport assess` on every real manifest set, as a process, in every form: it ends with 0, and its figures are those of its data.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { AssessmentReport } from '../../src/report/model.ts';
import { figureValue } from '../../src/report/summary.ts';
import { sallyport } from '../support/sallyport.ts';

const SETS = join(import.meta.dirname, '../../../shared/data/manifests');
if (!existsSync(SETS))
  throw new Error(`the real manifest sets are not at ${SETS}; these tests read them and have no substitute`);

let home = '';
const rows: string[] = [];

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'sallyport-assess-'));
});

afterAll(async () => {
  await rm(home, { recursive: true, force: true });
  process.stdout.write(
    `\nset                 workloads  edges  keys  candidates   html KB  md KB  json KB\n${rows.sort().join('\n')}\n`,
  );
});

it.each(readdirSync(SETS))('%s', async (set) => {
  const dir = join(SETS, set);
  const namespace = /default-namespace: (\S+)/.exec(readFileSync(join(dir, 'SOURCE.txt'), 'utf8'))?.[1] ?? '';
  const args = ['assess', '--manifests', dir, '--default-namespace', namespace];
  const json = await sallyport([...args, '--json'], { home });
  expect(json.code, json.stderr).toBe(0);
  const report = JSON.parse(json.stdout) as AssessmentReport;
  expect(report.cluster.workloads).toBeGreaterThan(0);
  for (const figure of report.summary.figures) expect(figureValue(report, figure), figure.id).toBe(figure.value);
  expect(report.waves.flatMap((wave) => wave.namespaces).sort()).toEqual(
    [...new Set(report.inventory.workloads.map((one) => one.id.slice(0, one.id.indexOf('/'))))].sort(),
  );
  const text = await sallyport(args, { home });
  expect(text.code, text.stderr).toBe(0);
  for (const line of text.stdout.split('\n'))
    expect(line.length <= 80 || !line.trim().includes(' ') || line.startsWith('    sallyport'), line).toBe(true);
  const sizes: string[] = [];
  for (const extension of ['html', 'md', 'json']) {
    const file = join(home, `${set}.${extension}`);
    const ended = await sallyport([...args, '-o', file], { home });
    expect(ended.code, ended.stderr).toBe(0);
    sizes.push(((await stat(file)).size / 1000).toFixed(0));
  }
  rows.push(
    [
      set.padEnd(20),
      String(report.cluster.workloads).padStart(9),
      String(report.map.totals.edges).padStart(6),
      String(report.identities.totals.keys).padStart(5),
      String(report.policies.candidates.length).padStart(11),
      ...sizes.map((size) => size.padStart(8)),
    ].join(' '),
  );
});
