// What the controls cost: figures are printed, never asserted on time; asserted is that every request of the measurement got through.
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COSTS, COST_NAMESPACES, OPTIMISATIONS, costManifests, latencies } from './costs.ts';
import { FIGURES, renderTable, writeFigures } from './figures.ts';
import type { Attempt } from './ledger.ts';
import { parseAttempts } from './ledger.ts';
import { LONG } from './play.ts';
import { startStage } from './stage/index.ts';
import type { Stage } from './stage/types.ts';

let stage: Stage;

beforeAll(async () => {
  stage = await startStage({ manifests: costManifests() });
});
afterAll(async () => {
  await stage.down();
});

function attempts(): readonly Attempt[] {
  return COST_NAMESPACES.flatMap((namespace) => {
    const folder = join(stage.podLogs, namespace);
    return (existsSync(folder) ? readdirSync(folder) : [])
      .filter((pod) => pod.startsWith('client-'))
      .flatMap((pod) => [...parseAttempts(readFileSync(join(folder, pod, 'client.log'), 'utf8'))]);
  });
}

describe('the costs', () => {
  it('are measured in pairs, at the same time', async () => {
    // Connections open and proxies warm up first.
    await delay(5000);
    const from = Date.now();
    await delay(LONG ? 120_000 : 30_000);
    const found = latencies(attempts(), from);
    const names = new Set([
      ...COSTS.flatMap((cost) => [cost.before, cost.after]),
      ...OPTIMISATIONS.map(([, name]) => name),
    ]);
    for (const name of names) {
      const latency = found.get(name);
      expect(latency?.n, name).toBeGreaterThan(100);
      expect(latency?.failed, name).toBe(0);
    }
    const of = (name: string): { n: number; p50: number; p99: number } => found.get(name) ?? { n: 0, p50: 0, p99: 0 };
    const measuredAt = new Date().toISOString();
    const measurements = COSTS.map((cost) => ({
      control: cost.control,
      unit: 'ms',
      p50: round(of(cost.after).p50 - of(cost.before).p50),
      p99: round(of(cost.after).p99 - of(cost.before).p99),
      n: of(cost.after).n,
      source: `the lab: "${cost.after}" against "${cost.before}"`,
      measuredAt,
    }));
    const file = join(dirname(FIGURES), 'latency.json');
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${JSON.stringify(measurements, undefined, 2)}\n`);
    const tables = [
      renderTable(
        'What a control adds to a request (measured on this machine, whatever else it did meanwhile)',
        ['control', 'n', 'before p50', 'after p50', 'adds p50 ms', 'adds p99 ms', 'adds %', 'rule of thumb'],
        COSTS.map((cost) => {
          const [before, after] = [of(cost.before), of(cost.after)];
          return [
            cost.title,
            after.n,
            before.p50,
            after.p50,
            after.p50 - before.p50,
            after.p99 - before.p99,
            (after.p50 / before.p50 - 1) * 100,
            cost.ruleOfThumb,
          ];
        }),
      ),
      `A pass that computes for 25 ms becomes ${(((of('pipeline mesh').p50 - of('pipeline plain').p50) / 25) * 100).toFixed(0)} % slower by that.\n`,
      renderTable(
        'What using connections otherwise gives (two proxies, mutual TLS between them)',
        ['way', 'n', 'p50 ms', 'p99 ms', 'of the first, %'],
        OPTIMISATIONS.map(([title, name]) => [
          title,
          of(name).n,
          of(name).p50,
          of(name).p99,
          (of(name).p50 / of(OPTIMISATIONS[0]?.[1] ?? '').p50) * 100,
        ]),
      ),
    ];
    process.stdout.write(`\n${tables.join('\n')}\n`);
    writeFigures('costs', { measurements, latencies: Object.fromEntries(found) });
  });

  it('of the mesh come with a caller whom the proxy has authenticated', () => {
    const principals = new Set(
      attempts()
        .filter((one) => ['mesh', 'authorized', 'handshake'].includes(one.client) && one.ok)
        .map((one) => one.principal),
    );
    expect([...principals]).toEqual(['spiffe://cluster.local/ns/cost-mesh/sa/default']);
  });
});

function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
