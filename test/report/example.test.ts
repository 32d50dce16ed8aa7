// The reports of the bundled example before, during and after a phase: as a user makes them, and as their documentation says.
import {
  cpSync,
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { generateFlows } from '../../examples/fraud-detection/generate.ts';
import type { AssessmentReport } from '../../src/report/model.ts';
import { EXAMPLE } from '../support/example-traffic.ts';
import { ROOT } from '../support/imports.ts';
import { sallyport } from '../support/sallyport.ts';

const TOUR = 'fraud-serving';
const home = mkdtempSync(join(tmpdir(), 'sallyport-example-report-'));
const cluster = join(home, 'cluster');
const at = (name: string): string => join(home, name);
const read = (name: string): string => readFileSync(at(name), 'utf8');
const report = (name: string): AssessmentReport => JSON.parse(read(name)) as AssessmentReport;

async function run(...args: readonly string[]): Promise<void> {
  const { code, stderr } = await sallyport(
    [
      ...args,
      ...['--manifests', cluster, '--state', at('state.sqlite')],
      ...['--config', join(EXAMPLE, 'config.yaml'), '--decisions', join(EXAMPLE, 'decisions.yaml')],
    ],
    { home },
  );
  expect(code, `${args.join(' ')}: ${stderr}`).toBe(0);
}

function writeTraffic(file: string): void {
  const out = openSync(file, 'w');
  let lines: string[] = [];
  for (const line of generateFlows({})) {
    lines.push(line);
    if (lines.length < 5000) continue;
    writeSync(out, `${lines.join('\n')}\n`);
    lines = [];
  }
  if (lines.length > 0) writeSync(out, `${lines.join('\n')}\n`);
  closeSync(out);
}

beforeAll(async () => {
  cpSync(join(EXAMPLE, 'cluster'), cluster, { recursive: true });
  writeTraffic(at('flows.ndjson'));
  await run('observe', 'hubble', at('flows.ndjson'));
  rmSync(at('flows.ndjson'));
  await run('assess', '-o', at('before.json'));

  await run('advance', TOUR, '--to', 'allow-list', '--yes');
  // Somebody tries the door that has just been shut, and somebody else edits a policy by hand.
  writeFileSync(
    at('denied.jsonl'),
    `${JSON.stringify({
      first: '2026-10-14T09:00:00Z',
      last: '2026-10-14T09:30:00Z',
      src: { workload: 'fraud-payments/Pod/debug-toolbox' },
      dst: { workload: `${TOUR}/Deployment/triton` },
      protocol: 'TCP',
      port: 8001,
      count: 17,
      verdict: 'denied',
    })}\n`,
  );
  await run('observe', 'edges', at('denied.jsonl'));
  const policy = join(cluster, 'sallyport', TOUR, 'networkpolicy-sallyport-triton-ingress.yaml');
  const ours = readFileSync(policy, 'utf8');
  writeFileSync(policy, ours.replace(/port: \d+/, 'port: 9999'));
  for (const extension of ['json', 'md', 'html'])
    await run('assess', '-o', at(`during.${extension}`), '--compare', at('before.json'));
  writeFileSync(policy, ours);
  await run('rollback', TOUR, '--to', 'monitor', '--yes');
  await run('assess', '-o', at('after.json'), '--compare', at('during.json'));
}, 600_000);

afterAll(() => rmSync(home, { recursive: true, force: true }));

const changed = (name: string): Readonly<Record<string, readonly [number, number]>> =>
  Object.fromEntries(
    (report(name).comparison?.done ?? [])
      .filter((one) => one.before !== one.after)
      .map((one) => [one.id, [one.before, one.after]]),
  );

describe('the example, phase by phase', () => {
  it('says what has been done since the report before the first phase', () => {
    const { comparison, progress } = report('during.json');
    expect(comparison?.phases).toEqual([{ namespace: TOUR, before: 'none', after: 'allow-list' }]);
    expect(changed('during.json')).toEqual({
      runs: [0, 1],
      phasesDone: [0, 2],
      changes: [0, comparison?.runs[0]?.changes],
      drift: [0, 1],
      violationsPrevented: [0, 17],
    });
    expect(comparison?.runs.map((one) => [one.namespace, one.kind, one.to, one.outcome])).toEqual([
      [TOUR, 'advance', 'allow-list', 'done'],
    ]);
    expect(progress.drift.map((one) => one.object)).toEqual([`NetworkPolicy ${TOUR}/sallyport-triton-ingress`]);
    expect(progress.trail.filter((one) => one.run !== null).length).toBeGreaterThan(10);
    const now = comparison?.surface.find((one) => one.state === 'now');
    expect(now?.after).toBeLessThan(now?.before ?? 0);
  });

  it('says that it was taken back, and whose decisions stand', () => {
    const { comparison, progress } = report('after.json');
    expect(comparison?.phases).toEqual([{ namespace: TOUR, before: 'allow-list', after: 'monitor' }]);
    expect(changed('after.json')).toMatchObject({ runs: [1, 2], phasesDone: [2, 1], rollbacks: [0, 1], drift: [1, 0] });
    expect(comparison?.runs.map((one) => one.kind)).toEqual(['rollback']);
    expect(progress.totals).toMatchObject({ acceptances: 2, waivers: 4, adoptions: 2 });
  });

  it.each([
    ['md', ['phases done', 'decisions that edges are legitimate', '| connections prevented | 0 | 17 |']],
    ['html', ['phases done', 'flows adopted: decisions', 'connections prevented']],
  ])('says the same as .%s', (extension, words) => {
    const text = read(`during.${extension}`);
    for (const word of [...words, 'sallyport-triton-ingress', 'platform-security', 'Runs since', TOUR])
      expect(text).toContain(word);
  });
});

describe('the example’s report', () => {
  const schema = z.fromJSONSchema(
    JSON.parse(readFileSync(join(ROOT, 'docs/report.schema.json'), 'utf8')) as Parameters<typeof z.fromJSONSchema>[0],
  );
  it.each(['before.json', 'during.json', 'after.json'])('%s keeps the published schema', (name) => {
    const found = schema.safeParse(JSON.parse(read(name)));
    expect(found.success ? [] : found.error.issues.slice(0, 5)).toEqual([]);
  });

  it('has every group of destinations but images, which nodes pull, and says why each is in it', () => {
    const { egress } = report('before.json');
    expect(egress.groups.filter((one) => one.destinations.length === 0).map((one) => one.group)).toEqual([
      'container-images',
    ]);
    expect(egress.groups.find((one) => one.group === 'unknown')?.destinations.map((one) => one.name)).toEqual([
      'feed.threat-intel.example',
      'filing.regulator.example',
    ]);
    expect(egress.registries[0]?.name).toBe('registry.bank.example');
  });

  it('shows the VPCs, the NAT and the cloud identities that a person declared, and traffic across each', () => {
    const { boundaries } = report('before.json');
    const declared = boundaries.boundaries.filter((one) => one.basis === 'declared').map((one) => one.kind);
    expect(declared).toEqual(['vpc', 'vpc', 'nat', 'iam', 'iam', 'iam']);
    for (const kind of declared)
      expect(
        boundaries.crossings.some((one) => one.kind === kind),
        kind,
      ).toBe(true);
    expect(boundaries.undeclared).toEqual([]);
  });

  it('stays small enough to be sent to somebody', () => {
    expect(statSync(at('during.html')).size).toBeLessThan(4_000_000);
  });
});
