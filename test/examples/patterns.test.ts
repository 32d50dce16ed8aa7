// Every pattern on the bundled example: what it says of a cluster without policies, what it would deny of the traffic on record, and back.
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readPatterns } from '../../src/cli/pattern-files.ts';
import { openDirectoryTarget } from '../../src/targets/directory.ts';
import { makeFolder, readTree } from '../support/folder.ts';
import { applyPattern, planOf, removePattern } from '../support/pattern-run.ts';
import { edgesOf, openRig } from '../support/rig.ts';
import { stoppedClock } from '../support/stopped-clock.ts';

const EXAMPLE = join(import.meta.dirname, '../../examples/fraud-detection/cluster');
const patterns = new Map((await readPatterns()).map((one) => [one.name, one]));

const CASES = [
  ['control-and-data-plane', 'mlflow', { control: 'mlflow', data: 'spark+training', ports: '5000' }, 'holds'],
  ['tenant-isolation', 'mlflow', { tenants: 'tracking=mlflow,etl=spark' }, 'holds'],
  ['pipeline-stages', 'spark', { stages: 'prepare=feast,train=training,serve=fraud-serving' }, 'holds'],
  ['controlled-egress', 'training', { ranges: '151.101.0.0/16', cluster: 'everything' }, 'holds'],
  ['training-job', 'training', {}, 'holds'],
] as const;

describe('the bundled example', () => {
  it.each(CASES)(
    '%s for %s: broken as it is, kept afterwards, and gone again to the byte',
    async (name, given, set, answer) => {
      const pattern = patterns.get(name);
      if (pattern === undefined) throw new Error(name);
      const copy = await makeFolder();
      await cp(EXAMPLE, join(copy, 'cluster'), { recursive: true });
      const before = await readTree(join(copy, 'cluster'));
      const target = await openDirectoryTarget({ dir: join(copy, 'cluster'), clock: stoppedClock(0) });
      const rig = openRig({ target, stateFile: join(copy, 'state.sqlite'), facts: { edges: [] } });
      try {
        const planned = planOf(await rig.view(given), pattern, set);
        if (!('plan' in planned)) throw new Error(planned.join('; '));
        expect(planned.before.some((one) => one.answer === 'violated')).toBe(true);
        expect([...new Set(planned.after.map((one) => one.answer))]).toEqual([answer]);
        for (const { violating } of planned.before)
          for (const { why } of violating) expect(why.length).toBeGreaterThan(0);
        expect((await applyPattern(rig, given, pattern, set)).run.outcome).toBe('done');
        expect((await removePattern(rig, given, pattern)).run.outcome).toBe('done');
        expect(await readTree(join(copy, 'cluster'))).toEqual(before);
      } finally {
        await rig.close();
      }
    },
  );

  it('is told what a pattern would deny of the traffic on record, by edge', async () => {
    const pattern = patterns.get('tenant-isolation');
    if (pattern === undefined) throw new Error('it is there');
    const copy = await makeFolder();
    await cp(EXAMPLE, join(copy, 'cluster'), { recursive: true });
    const target = await openDirectoryTarget({ dir: join(copy, 'cluster'), clock: stoppedClock(0) });
    const edges = edgesOf('airflow/StatefulSet/worker -> mlflow/Deployment/mlflow 5000');
    const rig = openRig({ target, stateFile: join(copy, 'state.sqlite'), facts: { edges } });
    try {
      const planned = planOf(await rig.view('mlflow'), pattern, { tenants: 'tracking=mlflow,etl=airflow' });
      if (!('plan' in planned)) throw new Error(planned.join('; '));
      expect(planned.plan.denied.map((one) => one.text)).toContain(
        'airflow/StatefulSet/worker -> mlflow/Deployment/mlflow 5000/TCP',
      );
      expect(planned.plan.gates.find((one) => one.id === 'denies-observed')?.answer).toBe('no');
    } finally {
      await rig.close();
    }
  });
});
