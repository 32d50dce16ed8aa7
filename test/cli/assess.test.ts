// `sallyport assess` as its users start it.
import { cp, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AssessmentReport } from '../../src/report/model.ts';
import type { Ended } from '../support/sallyport.ts';
import { sallyport } from '../support/sallyport.ts';

const FIXTURE = join(import.meta.dirname, '../fixtures/two-teams');
let home = '';
let cluster = '';

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'sallyport-assess-'));
  cluster = join(home, 'cluster');
  await cp(join(FIXTURE, 'cluster'), cluster, { recursive: true });
  const days = [1, 2, 3, 4];
  const lines = days.map((day) =>
    JSON.stringify({
      first: `2026-03-0${day}T10:00:00Z`,
      last: `2026-03-0${day}T11:00:00Z`,
      src: { workload: 'front/Deployment/web' },
      dst: { workload: 'back/Deployment/api' },
      protocol: 'TCP',
      port: 8080,
      count: 5,
      verdict: 'allowed',
    }),
  );
  await writeFile(join(home, 'edges.jsonl'), `${lines.join('\n')}\n`);
  await writeFile(
    join(home, 'hostile.yaml'),
    `apiVersion: apps/v1
kind: Deployment
metadata: {name: evil, namespace: front, labels: {team: "x"}}
spec:
  selector: {matchLabels: {app: evil}}
  template:
    metadata: {labels: {app: evil}, annotations: {note: "\\u001b]0;owned\\u0007<script>alert(1)</script>"}}
    spec:
      containers: [{name: "\\u001b[2J\\u202e", image: "registry.example/\\u001b[31m<img src=x>|x"}]
`,
  );
  await cp(join(home, 'hostile.yaml'), join(cluster, 'hostile.yaml'));
  const ended = await run('observe', 'edges', join(home, 'edges.jsonl'));
  expect(ended.code, ended.stderr).toBe(0);
});

afterAll(() => rm(home, { recursive: true, force: true }));

function run(...args: readonly string[]): Promise<Ended> {
  return sallyport([...args, '--manifests', cluster, '--config', join(FIXTURE, 'config.yaml')], { home });
}

describe('sallyport assess', () => {
  it('prints a summary of eighty columns, with the figures of the report, and nothing that a terminal obeys', async () => {
    const [text, json] = await Promise.all([run('assess'), run('assess', '--json')]);
    expect(text.code, text.stderr).toBe(0);
    const report = JSON.parse(json.stdout) as AssessmentReport;
    for (const line of text.stdout.split('\n'))
      expect(line.length <= 80 || line.startsWith('    sallyport '), line).toBe(true);
    expect(text.stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/);
    const flat = text.stdout.replaceAll(/\s+/g, ' ');
    for (const one of report.summary.sentences) expect(flat).toContain(one.text.replaceAll(/\s+/g, ' '));
  });

  it('with --json gives one document of the contract, and the waves in it', async () => {
    const { code, stdout } = await run('assess', '--json');
    const report = JSON.parse(stdout) as AssessmentReport;
    expect([code, report.apiVersion, report.kind]).toEqual([0, 'sallyport.dev/v1', 'Assessment']);
    expect(report.waves[0]).toMatchObject({ wave: 1, namespaces: ['front'] });
    expect(stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/);
  });

  it.each(['html', 'md', 'json'])('writes .%s for its owner alone', async (extension) => {
    const file = join(home, `report.${extension}`);
    // A file of before that others may read.
    await writeFile(file, 'old', { mode: 0o644 });
    const ended = await run('assess', '-o', file);
    expect(ended.code, ended.stderr).toBe(0);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const text = await readFile(file, 'utf8');
    expect(text).toContain('front');
    expect(text).not.toContain('<script>alert(1)');
    expect(text).not.toMatch(/(?<!\\)<img src=x/);
  });

  it('compares with an earlier report', async () => {
    const file = join(home, 'before.json');
    await run('assess', '-o', file);
    const ended = await run('assess', '--json', '--compare', file);
    const { comparison } = JSON.parse(ended.stdout) as AssessmentReport;
    expect(comparison?.before.sameCluster).toBe(true);
    expect(comparison?.figures.every((one) => one.better === 'same')).toBe(true);
  });

  it('says that there is no evidence where there is none', async () => {
    const empty = join(home, 'other');
    await cp(join(FIXTURE, 'cluster'), empty, { recursive: true });
    const ended = await sallyport(['assess', '--manifests', empty], { home });
    expect(ended.code, ended.stderr).toBe(0);
    expect(ended.stdout).toContain('? No traffic is on record');
    expect(ended.stdout).toContain('sallyport observe --help');
  });

  it.each<[string, readonly string[], string]>([
    ['an extension that is no report', ['-o', 'report.pdf'], 'SP280'],
    ['a file without an extension', ['-o', 'report'], 'SP280'],
    ['a folder that does not exist', ['-o', '/nowhere/at/all/report.md'], 'SP281'],
    ['an earlier report that is not there', ['--compare', '/nowhere.json'], 'SP282'],
    ['an earlier report that is none', ['--compare', join(FIXTURE, 'config.yaml')], 'SP283'],
    ['templates without HTML', ['--templates', '.', '-o', 'x.md'], 'SP284'],
  ])('refuses %s with exit 2 and the next step', async (_, args, code) => {
    const ended = await run('assess', '--json', ...args);
    expect(ended.code).toBe(2);
    const { error } = JSON.parse(ended.stdout) as { readonly error: { readonly code: string; readonly hint: string } };
    expect(error.code).toBe(code);
    expect(error.hint).not.toBe('');
  });

  it.each([
    ['latency: missing.yaml', '', 'SP231'],
    ['latency: latency.yaml', '- {control: mesh-hop, unit: s, p50: 1}', 'SP212'],
  ])('refuses measurements that do not read: %s', async (assess, measurements, code) => {
    await writeFile(join(home, 'latency.yaml'), measurements);
    await writeFile(join(home, 'config.yaml'), `assess: {${assess}}\n`);
    const ended = await sallyport(['assess', '--json', '--manifests', cluster, '--config', join(home, 'config.yaml')], {
      home,
    });
    expect(ended.code).toBe(2);
    expect(ended.stdout).toContain(code);
  });

  it('takes measurements, tenants and boundaries from the configuration', async () => {
    await writeFile(
      join(home, 'latency.yaml'),
      '- {control: mesh-hop, unit: ms, p50: 0.4, p99: 1.1, n: 900, source: load test, measuredAt: 2026-03-01T00:00:00Z}\n',
    );
    await writeFile(
      join(home, 'config.yaml'),
      `tenants: [{name: shop, namespaces: [front]}]
boundaries:
  - {kind: vpc, name: prod, cidrs: [10.0.0.0/8]}
  - {kind: nat, name: out, addresses: [203.0.113.7], vpc: prod}
  - {kind: iam, name: trainers, stages: [training], identity: "role/trainer", allows: [read the data lake]}
assess: {latency: latency.yaml}
`,
    );
    const ended = await sallyport(['assess', '--json', '--manifests', cluster, '--config', join(home, 'config.yaml')], {
      home,
    });
    const report = JSON.parse(ended.stdout) as AssessmentReport;
    expect(report.tenants.tenants).toMatchObject([{ name: 'shop', namespaces: ['front'], basis: 'declared' }]);
    expect(report.boundaries.boundaries.filter((one) => one.basis === 'declared').map((one) => one.id)).toEqual([
      'vpc:prod',
      'nat:out',
      'iam:trainers',
    ]);
    expect(report.boundaries.undeclared).toEqual([]);
    expect(report.latency.controls.find((one) => one.control === 'mesh-hop')).toMatchObject({
      basis: 'measured',
      p50: 0.4,
    });
  });
});
