// Every pattern on every real manifest set: checked, applied where it finds what it is about, and taken back to the byte.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readPatterns } from '../../src/cli/pattern-files.ts';
import { openDirectoryTarget } from '../../src/targets/directory.ts';
import { applyPattern, planOf, removePattern } from '../support/pattern-run.ts';
import { makeFolder, readTree } from '../support/folder.ts';
import { openRig } from '../support/rig.ts';
import { stoppedClock } from '../support/stopped-clock.ts';

const SETS = join(import.meta.dirname, '../../../shared/data/manifests');
if (!existsSync(SETS)) throw new Error(`the real manifest sets are not at ${SETS}`);
const patterns = await readPatterns();
const rows: string[] = [];
/** How often each pattern found what it is about, over all sets. */
const applied = new Map<string, number>();

afterAll(() => {
  process.stdout.write(`\nset / pattern: steps, before -> after\n${rows.join('\n')}\n`);
  // Tenants, stages, callers are nobody's to find: named below for sets with two namespaces or with predictors.
  for (const { name } of patterns.filter(({ name }) => !['ambient-tunnels'].includes(name)))
    expect(applied.get(name) ?? 0, name).toBeGreaterThan(0);
});

describe.each(readdirSync(SETS).sort())('%s', (set) => {
  it('takes every pattern that it can take, and gives it back to the byte', async () => {
    const source = join(SETS, set);
    const given = /default-namespace: (\S+)/.exec(readFileSync(join(source, 'SOURCE.txt'), 'utf8'))?.[1] ?? 'real';
    const copy = await makeFolder();
    await cp(source, join(copy, 'set'), { recursive: true });
    const target = await openDirectoryTarget({
      dir: join(copy, 'set'),
      defaultNamespace: given,
      clock: stoppedClock(0),
    });
    const rig = openRig({ target, stateFile: join(copy, 'state.sqlite'), facts: { edges: [] } });
    try {
      const before = await readTree(join(copy, 'set'));
      const { inventory } = await rig.view(given);
      const namespaces = [...new Set(inventory.workloads.map((one) => one.namespace))].sort();
      const names = inventory.namespaces.map((one) => one.name);
      const [first = given, second] = namespaces;
      const home = names.includes(given) ? given : first;
      const classes = new Set(inventory.workloads.map((one) => one.classification.plane));
      const params: Readonly<Record<string, Readonly<Record<string, string>>>> = {
        'tenant-isolation': second === undefined ? {} : { tenants: `a=${first},b=${second}` },
        'pipeline-stages': second === undefined ? {} : { stages: `a=${first},b=${second}` },
        'control-and-data-plane':
          second === undefined && classes.size > 1 ? {} : { control: first, data: second ?? first },
        'model-serving': { servers: home, callers: `${home}/default` },
        'strict-mtls-tier': {},
        'controlled-egress': { ranges: '151.101.0.0/16', cluster: 'everything' },
        'training-job': {},
      };
      for (const pattern of patterns) {
        const planned = planOf(await rig.view(home), pattern, params[pattern.name] ?? {});
        if (!('plan' in planned)) {
          expect(planned.join('; ')).not.toMatch(/nothing fills|is no text|no object of Kubernetes|written twice/);
          continue;
        }
        const text = (list: typeof planned.before): string => list.map((one) => one.answer).join(',');
        rows.push(
          `${set.padEnd(20)} ${pattern.name.padEnd(24)} ${String(planned.plan.steps.length).padStart(3)}  ${text(planned.before)} -> ${text(planned.after)}`,
        );
        // What a pattern writes never breaks its own promise where nobody else lets anything through.
        const isNetwork = ['tenant-isolation', 'pipeline-stages', 'controlled-egress', 'training-job'].includes(
          pattern.name,
        );
        if (isNetwork)
          for (const one of planned.after)
            for (const pair of one.violating)
              expect(
                pair.why.some(({ object, text: why }) => object !== undefined || /host network|node/.test(why)),
                `${pattern.name}: ${JSON.stringify(pair)}`,
              ).toBe(true);
        if (planned.plan.steps.length === 0) continue;
        const { run } = await applyPattern(rig, home, pattern, params[pattern.name] ?? {});
        expect(run.failed).toEqual([]);
        expect(run.outcome).toBe('done');
        applied.set(pattern.name, (applied.get(pattern.name) ?? 0) + 1);
        const again = planOf(await rig.view(home), pattern, params[pattern.name] ?? {});
        expect('plan' in again ? again.plan.steps : again).toEqual([]);
        const back = await removePattern(rig, home, pattern);
        expect(back.run.outcome).toBe('done');
        expect(await readTree(join(copy, 'set'))).toEqual(before);
      }
    } finally {
      await rig.close();
    }
  });
});
