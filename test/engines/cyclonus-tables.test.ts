import { beforeAll, describe, expect, it } from 'vitest';
import type { ConnectionQuery } from '../../src/model/verdict.ts';
import { compileWorld, evaluateConnection, judgeDirection } from '../../src/model/evaluate.ts';
import type { Protocol } from '../../src/model/edge.ts';
import type { IpBlockTarget } from '../../src/model/inventory.ts';
import { partiesOf } from '../../src/model/world.ts';
import type { Step } from './cyclonus.ts';
import { buildCyclonus, idOf, inventoryOfOther, readCases } from './cyclonus.ts';

interface Judged {
  readonly rows: number;
  /** Rows of a pod with itself, which the expected tables hold to policies and networks do not. */
  readonly self: number;
  readonly differ: readonly string[];
}

const OTHERS = { yes: 'allowed', no: 'blocked', unknown: 'unknown' } as const;
const COMBINED = { allowed: 'allowed', denied: 'blocked', unknown: 'unknown' } as const;

function judge(step: Step, ipBlockMatches: readonly IpBlockTarget[]): Judged {
  const world = compileWorld(inventoryOfOther(step, ipBlockMatches));
  const differ: string[] = [];
  let self = 0;
  for (const row of step.rows) {
    const [from, to, protocol, port, ...expected] = row.split(' ');
    if (from === to) {
      self += 1;
      continue;
    }
    const [src, dst] = [step.pods[Number(from)], step.pods[Number(to)]];
    if (src === undefined || dst === undefined) throw new Error(`${step.case}: no pods for ${row}`);
    const query: ConnectionQuery = {
      src: { kind: 'workload', id: idOf(src) },
      dst: { kind: 'workload', id: idOf(dst) },
      protocol: protocol as Protocol,
      port: Number(port),
    };
    const [one, other] = [partiesOf(world, query.src)[0], partiesOf(world, query.dst)[0]];
    if (one === undefined || other === undefined) throw new Error('every endpoint has a side');
    const ours = [
      OTHERS[judgeDirection(world, 'ingress', other, one, query).answer],
      OTHERS[judgeDirection(world, 'egress', one, other, query).answer],
      COMBINED[evaluateConnection(world, query).answer],
    ];
    if (ours.join(' ') !== expected.join(' '))
      differ.push(`${step.case}, step ${step.step}: ${row}, ours ${ours.join(' ')}`);
  }
  return { rows: step.rows.length, self, differ };
}

const speaksOfBlocks = (step: Step): boolean => JSON.stringify(step.policies).includes('"ipBlock"');

describe('the test cases that cyclonus generates, with the tables that it expects', () => {
  let steps: readonly Step[] = [];
  beforeAll(() => {
    steps = readCases(buildCyclonus());
  });

  it('are whole: 256 steps, 123,669 rows', () => {
    expect(steps).toHaveLength(256);
    expect(steps.reduce((sum, { rows }) => sum + rows.length, 0)).toBe(123_669);
  });

  it('are answered alike in both directions, row by row, where ipBlock matches pods', () => {
    const judged = steps.map((step) => judge(step, ['pods']));
    const rows = judged.reduce((sum, one) => sum + one.rows - one.self, 0);
    const differ = judged.flatMap((one) => one.differ);
    process.stderr.write(`cyclonus tables: ${steps.length} steps, ${rows} rows judged, ${differ.length} differ\n`);
    expect(differ).toEqual([]);
    expect(rows).toBe(109_956);
  });

  it('are answered alike, but for blocks of pod addresses, where ipBlock does not match pods', () => {
    const others = steps.filter((step) => !speaksOfBlocks(step));
    expect(others.flatMap((step) => judge(step, []).differ)).toEqual([]);
    const blocks = steps.filter(speaksOfBlocks);
    const differ = blocks.flatMap((step) => judge(step, []).differ);
    process.stderr.write(`cyclonus tables: ${differ.length} rows in ${blocks.length} steps hang on that option\n`);
    // All one way: a block that does not match pods admits fewer of them.
    expect(differ.length).toBeGreaterThan(0);
    expect(differ.filter((text) => !/allowed.*, ours .*blocked/u.test(text))).toEqual([]);
  });
});
