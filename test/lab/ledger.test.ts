// The counting behind the lab's figures: it must not be able to hide a failure.
import { describe, expect, it } from 'vitest';
import type { Attempt } from './ledger.ts';
import { createLedger, parseAttempts, percentile, summarise } from './ledger.ts';
import { readScenario, workloadOfPod } from './scenario.ts';

const scenario = readScenario();
const T0 = Date.UTC(2026, 10, 23, 9);
const at = (second: number): string => new Date(T0 + second * 1000).toISOString();

const attempt = (second: number, more: Partial<Attempt> = {}): Attempt => ({
  t: at(second),
  client: 'a',
  kind: 'http',
  dst: 'feature-server.features',
  port: 6566,
  expect: 'pass',
  ok: true,
  latencyUs: 900,
  retransmits: 0,
  newConnection: true,
  ...more,
});
const ledger = (): ReturnType<typeof createLedger> => {
  const made = createLedger(scenario);
  made.mark({ at: T0, phase: 'recording', step: '' });
  made.mark({ at: T0 + 10_000, phase: 'allow-list', step: 'features [1/5]' });
  made.mark({ at: T0 + 20_000, phase: 'allow-list', step: 'features [2/5]' });
  return made;
};
const SERVING = ['serving', 'scoring-api-6d5f-x2'] as const;
const TOOLBOX = ['debug', 'toolbox-77-aa'] as const;

describe('legitimate connections', () => {
  it('belong to the step under way when they began', () => {
    const made = ledger();
    made.add(...SERVING, attempt(9.9));
    made.add(...SERVING, attempt(19.999, { ok: false, err: 'timeout', latencyUs: 5_000_000 }));
    made.add(...SERVING, attempt(25));
    expect(made.rows().map((row) => [row.step, row.legitimate.tried, row.legitimate.failed])).toEqual([
      ['', 1, 0],
      ['features [1/5]', 1, 1],
      ['features [2/5]', 1, 0],
    ]);
    expect(made.byPhase().map((row) => [row.phase, row.legitimate])).toEqual([
      ['recording', { tried: 1, failed: 0 }],
      ['allow-list', { tried: 2, failed: 1 }],
    ]);
    expect(made.surprises()).toMatchObject([
      {
        kind: 'legitimate-failed',
        src: 'serving/Deployment/scoring-api',
        dst: 'features/Deployment/feature-server',
        mark: { step: 'features [1/5]' },
      },
    ]);
  });

  it('to a single replica are counted apart, a failed name and a failed datagram are not', () => {
    const made = ledger();
    made.add(...SERVING, attempt(1, { dst: 'mlflow.registry', port: 5000, ok: false, err: 'refused' }));
    made.add(...SERVING, attempt(1, { ok: false, err: 'resolve' }));
    made.add(...SERVING, attempt(1, { client: 'dns', kind: 'dns', dst: 'x.y', port: 53, ok: false, err: 'timeout' }));
    const [row] = made.rows();
    expect(row).toMatchObject({ single: { tried: 1, failed: 1 }, legitimate: { tried: 2, failed: 2 } });
    expect(made.surprises()).toHaveLength(2);
    expect(made.singleFailures()).toHaveLength(1);
  });

  it('that pass at the second SYN, or after a second, are late', () => {
    const made = ledger();
    made.add(...SERVING, attempt(1, { retransmits: 1 }));
    made.add(...SERVING, attempt(1, { latencyUs: 1_020_000 }));
    made.add(...SERVING, attempt(1));
    expect(made.rows()[0]).toMatchObject({ late: 2, legitimate: { tried: 3, failed: 0 } });
  });

  it('from a pod or to an address that the scenario does not know still count', () => {
    const made = ledger();
    made.add('training', 'fraud-gnn-x1', attempt(1, { client: 'ring', dst: '10.244.0.9', port: 41_234, ok: false }));
    made.add('nowhere', 'what-1', attempt(1, { ok: false }));
    expect(made.rows()[0]?.legitimate).toEqual({ tried: 1, failed: 1 });
    // Of a workload that the scenario does not have nothing is known but that nobody restarts it.
    expect(made.rows()[0]?.single).toEqual({ tried: 1, failed: 1 });
    expect(made.surprises()).toHaveLength(2);
  });
});

describe('forbidden connections', () => {
  const scan = (second: number, more: Partial<Attempt> = {}): Attempt =>
    attempt(second, { expect: 'blocked', ...more });

  it('surprise where an allow-list holds on either side, for as long as it holds', () => {
    const made = ledger();
    made.hold('features', T0 + 12_000, true);
    made.add(...TOOLBOX, scan(11));
    made.add(...TOOLBOX, scan(13, { ok: false, err: 'timeout' }));
    made.add(...TOOLBOX, scan(14));
    made.hold('features', T0 + 21_000, false);
    made.add(...TOOLBOX, scan(22));
    expect(made.byPhase()[1]).toMatchObject({ forbidden: { tried: 4, failed: 1 }, held: { tried: 2, failed: 1 } });
    expect(made.surprises().map((one) => [one.kind, one.attempt.t])).toEqual([['forbidden-passed', at(14)]]);
  });

  it('that were never sent, for want of a name, prove nothing', () => {
    const made = ledger();
    made.hold('features', T0, true);
    made.add(...TOOLBOX, scan(1, { ok: false, err: 'resolve' }));
    expect(made.rows()[0]?.held.tried).toBe(0);
  });

  it('that are under way while the hold begins or ends prove nothing', () => {
    const made = ledger();
    made.hold('features', T0 + 1_000, true);
    made.hold('features', T0 + 2_000, false);
    made.add(...TOOLBOX, scan(1.5, { ok: false, latencyUs: 800_000 }));
    expect(made.rows()[0]).toMatchObject({ forbidden: { tried: 1 }, held: { tried: 0 } });
  });
});

describe('the log of a container', () => {
  it('may end in the middle of a line, and hold what others wrote', () => {
    const text = `${JSON.stringify(attempt(1))}\nlabpod: serving: gone\n${JSON.stringify(attempt(2)).slice(0, 40)}`;
    expect([...parseAttempts(text)]).toHaveLength(1);
  });
});

describe('the truth of the scenario', () => {
  it('knows who serves a Service, by the port of the pod', () => {
    expect(scenario.resolve('mlflow.registry', 5000)).toEqual([{ workload: 'registry/Deployment/mlflow', port: 5000 }]);
    expect(scenario.resolve('metrics.serving', 9102).map((one) => one.workload)).toEqual([
      'serving/Deployment/scoring-api',
      'serving/Deployment/triton',
      'serving/Deployment/score-cache',
    ]);
    expect(() => scenario.resolve('mlflow.registry', 5001)).toThrow(/no Service port/);
  });

  it('has no pair that must pass and must not', () => {
    const pass = new Set(
      scenario.edges.filter((edge) => edge.expect === 'pass').map((edge) => `${edge.src} ${edge.dst} ${edge.port}`),
    );
    const both = scenario.edges.filter(
      (edge) => edge.expect === 'blocked' && pass.has(`${edge.src} ${edge.dst} ${edge.port}`),
    );
    expect(both).toEqual([]);
    expect(scenario.edges.filter((edge) => edge.expect === 'blocked').length).toBeGreaterThan(20);
  });

  it('has two replicas of everything that serves, but for MLflow', () => {
    const servers = scenario.workloads.filter((one) => (one.play.servers ?? []).some((server) => server.port !== 9102));
    expect(servers.filter((one) => one.replicas < 2).map((one) => one.id)).toEqual(['registry/Deployment/mlflow']);
    for (const one of scenario.workloads) expect(one.labels['app']).toBe(one.name);
  });

  it.each([
    ['serving', 'score-cache-5f-a', 'serving/Deployment/score-cache'],
    ['validation', 'validate-batch-29401234-abcde', 'validation/CronJob/validate-batch'],
    ['training', 'fraud-gnn-xk2p9', 'training/Job/fraud-gnn'],
    ['training', 'other-1', undefined],
  ])('tells whose pod %s/%s is', (namespace, pod, id) => {
    expect(workloadOfPod(scenario, namespace, pod)?.id).toBe(id);
  });
});

describe('summaries', () => {
  it('group what surprised by pair and error, with the first time and the steps', () => {
    const made = ledger();
    for (const second of [11, 12, 21]) made.add(...SERVING, attempt(second, { ok: false, err: 'refused' }));
    const [line, ...more] = summarise(made.surprises());
    expect(more).toEqual([]);
    expect(line).toContain('3 x serving/Deployment/scoring-api -> features/Deployment/feature-server:6566');
    expect(line).toContain('allow-list: features [1/5] | allow-list: features [2/5]');
  });

  it('percentiles are of the sorted values', () => {
    expect(percentile([5, 1, 4, 2, 3], 50)).toBe(3);
    expect(percentile([5, 1, 4, 2, 3], 99)).toBe(5);
    expect(percentile([], 50)).toBeNaN();
  });
});
