// `sallyport inventory` on every real manifest set, as a process: no crash, and what is not recognised is listed.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { sallyport } from '../support/sallyport.ts';

const SETS = join(import.meta.dirname, '../../../shared/data/manifests');
if (!existsSync(SETS))
  throw new Error(`the real manifest sets are not at ${SETS}; these tests read them and have no substitute`);

interface Listed {
  readonly workloads: readonly { readonly id: string; readonly component: string }[];
  readonly findings: readonly { readonly code: string; readonly subject: string }[];
}

let home = '';
const rows: string[] = [];

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'sallyport-inventory-'));
});

afterAll(async () => {
  await rm(home, { recursive: true, force: true });
  process.stdout.write(`\nset                 workloads  unread files  not recognised\n${rows.sort().join('\n')}\n`);
});

it.each(readdirSync(SETS))('%s', async (set) => {
  const dir = join(SETS, set);
  const namespace = /default-namespace: (\S+)/.exec(readFileSync(join(dir, 'SOURCE.txt'), 'utf8'))?.[1] ?? '';
  expect(namespace).not.toBe('');
  const args = ['inventory', '--json', '--manifests', dir, '--default-namespace', namespace];
  const ended = await sallyport(args, { home });
  expect(ended.code, ended.stderr).toBe(0);
  const { workloads, findings } = JSON.parse(ended.stdout) as Listed;
  expect(workloads.length).toBeGreaterThan(0);
  const subjectsOf = (code: string): readonly string[] =>
    findings.filter((finding) => finding.code === code).map((finding) => finding.subject);
  const unknown = workloads.filter((workload) => workload.component === 'unknown').map((workload) => workload.id);
  expect(subjectsOf('SP305')).toEqual(unknown);
  const unread = subjectsOf('SP302');
  rows.push(
    `${set.padEnd(20)}${String(workloads.length).padStart(9)}  ${String(unread.length).padStart(12)}  ${unknown.join(' ') || '-'}`,
  );
});
