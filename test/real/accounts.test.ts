// `sallyport accounts` and `cloud-identity` on real manifest sets, as processes: accounts before and after, and what cannot be moved with its reason.
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { sallyport } from '../support/sallyport.ts';

const SETS = join(import.meta.dirname, '../../../shared/data/manifests');
if (!existsSync(SETS))
  throw new Error(`the real manifest sets are not at ${SETS}; these tests read them and have no substitute`);

interface Totals {
  readonly accounts: number;
  readonly shared: number;
  readonly sharing: number;
  readonly onDefault: number;
  readonly withToken: number;
  readonly rights: number;
  readonly longLivedKeys: number;
  readonly unknownKeys: number;
}
interface Table {
  readonly before: Totals;
  readonly after: Totals;
  readonly moves: readonly {
    readonly workload: string;
    readonly from: string;
    readonly to: string;
    readonly places: readonly string[];
    readonly obstacles: readonly string[];
  }[];
  readonly accounts: readonly {
    readonly id: string;
    readonly exists: boolean;
    readonly workloads: readonly string[];
    readonly direct: readonly unknown[];
    readonly powerful: readonly unknown[];
  }[];
}

/** Accounts in use, those that are shared, workloads that share, workloads on a default account: before and after. */
const WANTED: Readonly<Record<string, readonly [before: readonly number[], after: readonly number[], stay: number]>> = {
  kserve: [[8, 1, 21, 22], [28, 0, 0, 1], 0],
  kuberay: [[3, 1, 12, 12], [13, 0, 0, 0], 0],
  'spark-operator': [[4, 1, 6, 1], [9, 0, 0, 1], 0],
  'argo-workflows': [[3, 0, 0, 1], [3, 0, 0, 1], 0],
  // A TrainJob's account is that of its runtime, but for overrides.
  'training-jobs': [[3, 1, 11, 11], [9, 1, 5, 5], 5],
};

interface Held {
  /** Rights by name, summed over workloads: of the accounts as they are, and of those that the phase would leave. */
  readonly rights: readonly [number, number];
  /** Accounts with strong rights (Secrets, tokens, shells, impersonation, binding). */
  readonly strong: number;
  /** Workloads into whose pods the API server's token is put: without traffic on record nobody can tell that nothing uses it. */
  readonly tokens: readonly [number, number];
  readonly keys: number;
  /** Secrets taken whole by `envFrom`: whether a key is among them is not known. */
  readonly unknownKeys: number;
  /** Principals as AuthorizationPolicy names them, and the most workloads behind one of them. */
  readonly principals: readonly [number, number];
  readonly most: readonly [number, number];
}

const HELD: Readonly<Record<string, Held>> = {
  'bundled example': held([28, 28], 1, [64, 64], 0, 7, [56, 64], [3, 1]),
  kserve: held([0, 0], 0, [28, 28], 0, 0, [8, 28], [21, 1]),
  kuberay: held([0, 0], 0, [13, 13], 0, 0, [3, 13], [12, 1]),
  'spark-operator': held([0, 0], 0, [8, 8], 0, 0, [4, 9], [6, 1]),
  'argo-workflows': held([0, 0], 0, [3, 3], 0, 0, [3, 3], [1, 1]),
  'training-jobs': held([0, 0], 0, [13, 13], 0, 0, [3, 9], [11, 5]),
};

function held(
  rights: Held['rights'],
  strong: number,
  tokens: Held['tokens'],
  keys: number,
  unknownKeys: number,
  principals: Held['principals'],
  most: Held['most'],
): Held {
  return { rights, strong, tokens, keys, unknownKeys, principals, most };
}

/** What the document says, counted here from its lists and not taken from its sums. */
function heldIn({ accounts, moves, before, after }: Table): Held {
  const users = (which: 'from' | 'to'): readonly number[] => {
    const found = new Map<string, Set<string>>();
    for (const move of moves) {
      const id = `cluster.local/ns/${move.workload.slice(0, move.workload.indexOf('/'))}/sa/${move[which]}`;
      found.set(id, (found.get(id) ?? new Set()).add(move.workload));
    }
    return [...found.values()].map(({ size }) => size);
  };
  const [then, now] = [users('from'), users('to')];
  return {
    rights: [accounts.reduce((sum, one) => sum + one.direct.length * one.workloads.length, 0), after.rights],
    strong: accounts.filter(({ powerful }) => powerful.length > 0).length,
    tokens: [before.withToken, after.withToken],
    keys: before.longLivedKeys,
    unknownKeys: before.unknownKeys,
    principals: [then.length, now.length],
    most: [Math.max(...then), Math.max(...now)],
  };
}

/** The row of the table in docs/identity.md. */
function documented(set: string, { rights, strong, tokens, keys, unknownKeys, principals, most }: Held): string {
  const pair = ([was, is]: readonly [number, number]): string => `${was} → ${is}`;
  return `| ${NAMES[set] ?? set} | ${pair(rights)} | ${strong} | ${pair(tokens)} | ${keys} | ${unknownKeys} | ${pair(principals)} | ${pair(most)} |`;
}

const NAMES: Readonly<Record<string, string>> = {
  kserve: 'KServe',
  kuberay: 'KubeRay',
  'spark-operator': 'Spark operator',
  'argo-workflows': 'Argo Workflows',
  'training-jobs': 'training jobs',
};
const DOCS = readFileSync(join(import.meta.dirname, '../../docs/identity.md'), 'utf8');

function checkHeld(set: string, table: Table): void {
  const found = heldIn(table);
  expect(found).toEqual(HELD[set]);
  expect(DOCS).toContain(documented(set, found));
}

let home = '';
const rows: string[] = [];

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'sallyport-accounts-'));
});

afterAll(async () => {
  await rm(home, { recursive: true, force: true });
  process.stdout.write(
    `\nset              accounts  shared  workloads sharing  on default  stay\n${rows.sort().join('\n')}\n`,
  );
});

const figures = ({ accounts, shared, sharing, onDefault }: Totals): readonly number[] => [
  accounts,
  shared,
  sharing,
  onDefault,
];

async function tableOf(set: string): Promise<Table> {
  const dir = join(SETS, set);
  const namespace = /default-namespace: (\S+)/.exec(readFileSync(join(dir, 'SOURCE.txt'), 'utf8'))?.[1] ?? '';
  const given = ['--manifests', dir, '--default-namespace', namespace, '--json'];
  const ended = await sallyport(['accounts', ...given], { home });
  expect(ended.code, ended.stderr).toBe(0);
  const cloud = await sallyport(['cloud-identity', ...given], { home });
  expect(cloud.code, cloud.stderr).toBe(0);
  expect(JSON.parse(cloud.stdout)).toMatchObject({ kind: 'CloudIdentity', cloud: { cloud: 'unknown' } });
  return JSON.parse(ended.stdout) as Table;
}

it.each(Object.entries(WANTED))('%s', async (set, [before, after, stay]) => {
  const table = await tableOf(set);
  const stuck = table.moves.filter(({ obstacles }) => obstacles.length > 0);
  expect({ before: figures(table.before), after: figures(table.after), stay: stuck.length }).toEqual({
    before,
    after,
    stay,
  });
  checkHeld(set, table);
  // Whoever moves is written in its own text, at a place that is named; whoever does not is told why.
  for (const move of table.moves) {
    if (move.to === move.from) expect(move.places).toEqual([]);
    else expect(move.places.length, move.workload).toBeGreaterThan(0);
  }
  const cell = (was: number | undefined, is: number | undefined, width: number): string =>
    `${was ?? 0} > ${is ?? 0}`.padStart(width);
  rows.push(
    `${set.padEnd(15)}${cell(before[0], after[0], 10)}${cell(before[1], after[1], 8)}${cell(before[2], after[2], 19)}${cell(before[3], after[3], 12)}${String(stay).padStart(6)}`,
  );
});

it('the bundled example: every account that is shared can be taken apart', async () => {
  const dir = join(import.meta.dirname, '../../examples/fraud-detection/cluster');
  const ended = await sallyport(['accounts', '--manifests', dir, '--json'], { home });
  const table = JSON.parse(ended.stdout) as Table;
  expect([figures(table.before), figures(table.after)]).toEqual([
    [56, 6, 14, 11],
    [64, 0, 0, 3],
  ]);
  checkHeld('bundled example', table);
  // Copied, never widened: each workload has the rights that it had.
  expect(table.after.rights).toBe(table.before.rights);
});
