import { describe, expect, it } from 'vitest';
import type { AppliedStep } from '../../src/engine/contract.ts';
import { joinTimes } from '../../src/readiness/joined.ts';

const applied = (seq: number, run: string, at: number, workload?: string, effects = true): AppliedStep =>
  ({
    seq,
    run,
    namespace: 'a',
    phase: 'permissive-mtls',
    at,
    change: { kind: 'create', object: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'x' } } },
    step: {
      workload,
      effects: workload !== undefined && effects ? [{ kind: 'rollout', workload }] : [],
    },
  }) as unknown as AppliedStep;

describe('the moment a workload joined', () => {
  it('is when its step began: at the end of the one before it in the run', () => {
    const steps = [
      applied(3, 'r', 900, 'a/Deployment/x'),
      applied(1, 'r', 100),
      applied(2, 'r', 200, 'a/Deployment/x', false),
    ];
    expect([...joinTimes(steps)]).toEqual([['a/Deployment/x', 200]]);
  });

  it('is the newest, and its own end where it is the first of its run', () => {
    const steps = [applied(1, 'r', 100, 'a/Deployment/x'), applied(2, 's', 700, 'a/Deployment/x')];
    expect([...joinTimes(steps)]).toEqual([['a/Deployment/x', 700]]);
  });
});
