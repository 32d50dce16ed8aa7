// All five phases and back on real packets, twice: phase by phase, and in the order of waves that the planner proposes.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { renderPhases, renderTable, writeFigures } from './figures.ts';
import { summarise } from './ledger.ts';
import { differences, readObjects } from './objects.ts';
import type { Objects } from './objects.ts';
import type { Ended, Operator } from './operator.ts';
import { documentOf, openOperator } from './operator.ts';
import type { Play } from './play.ts';
import {
  CONFIG,
  LONG,
  PHASES,
  adoptJoined,
  effectTimes,
  joinTimes,
  openPlay,
  readWaves,
  recordAndDecide,
  spread,
  wideManifests,
} from './play.ts';
import type { LabEdge } from './scenario.ts';
import { CLUSTER } from './scenario.ts';
import { startStage } from './stage/index.ts';
import type { Stage } from './stage/types.ts';

/** Whoever is called by others later in this list joins before them; nothing depends on it but the length of the way. */
const ORDER = [
  'legacy',
  'debug',
  'monitoring',
  'edge',
  'training',
  'ingest',
  'validation',
  'serving',
  'registry',
  'features',
] as const;

let stage: Stage;
let play: Play;
let start: Objects;
const ends: Ended[] = [];
/** The long play goes up phase by phase and back before it follows the waves; the short one follows them from the allow-list on. */
const ONE_BY_ONE = LONG ? PHASES : PHASES.slice(0, 2);

beforeAll(async () => {
  stage = await startStage({ manifests: CLUSTER });
  play = openPlay(stage);
  // Pods that start together meet servers that have not: what counts begins when everybody is there.
  await delay(4000);
});

afterAll(async () => {
  await stage.down();
});

/** No surprise so far, or the story of those that were. */
async function expectNoSurprise(): Promise<void> {
  await play.collect();
  expect(play.stories.join('\n\n'), summarise(play.ledger.surprises()).join('\n')).toBe('');
  expect(await stage.verdictDrops()).toBe(0);
}

async function expectVerified(): Promise<void> {
  const verified = await play.operator.run(['verify']);
  expect(verified.code, verified.stdout).toBe(0);
}

async function expectStart(): Promise<void> {
  const found = differences(start, await readObjects(stage.client, play.scenario.namespaces));
  expect(found, `${found.length} fields differ from the start`).toEqual([]);
}

function accessLogsOf(namespace: string): readonly string[] {
  const folder = join(stage.accessLogs, namespace);
  return (existsSync(folder) ? readdirSync(folder) : [])
    .map((pod) => join(folder, pod, 'access.jsonl'))
    .filter((file) => existsSync(file));
}

/** Two bare rollouts of the single replica, there and back: what a restart costs without Sallyport. */
async function restartBare(phase: string): Promise<void> {
  play.mark(phase);
  for (const stamp of [new Date().toISOString(), null]) {
    await stage.client.must('PATCH', '/apis/apps/v1/namespaces/registry/deployments/mlflow', {
      spec: { template: { metadata: { annotations: { 'lab/restarted': stamp } } } },
    });
    await stage.settle(60, ['registry']);
  }
  await delay(2000);
  play.mark('between');
  await play.collect();
}

/** The edges between workloads that a record holds, as `src dst protocol port`. */
async function recorded(operator: Operator): Promise<ReadonlySet<string>> {
  interface Recorded {
    readonly edges: readonly {
      readonly src: string;
      readonly dst: string;
      readonly protocol: string;
      readonly port: number;
    }[];
  }
  const { edges } = documentOf(await operator.must(['flows'])) as Recorded;
  return new Set(edges.map((edge) => `${edge.src} ${edge.dst} ${edge.protocol} ${edge.port}`));
}

/** What the scenario says should be on record, and is not. Ports that the kernel chose are one range from 32768. */
function missing(found: ReadonlySet<string>, test: (edge: LabEdge) => boolean = () => true): readonly string[] {
  return play.scenario.edges
    .filter((edge) => edge.expect === 'pass' && test(edge))
    .map((edge) => `${edge.src} ${edge.dst} ${edge.protocol} ${edge.port === 0 ? 32_768 : edge.port}`)
    .filter((key) => !found.has(key));
}

describe('the play', () => {
  it('restarts the single replica as a bare rollout does, for comparison', async () => {
    await restartBare('bare rollout of mlflow');
  });

  it('records the traffic and decides what the gates ask', async () => {
    await recordAndDecide(play, LONG ? 180 : 75);
    start = await readObjects(stage.client, play.scenario.namespaces);
    await expectNoSurprise();
    const row = play.ledger.byPhase().find((one) => one.phase === 'recording');
    expect(row?.legitimate.tried).toBeGreaterThan(1000);
  });

  it('has the truth on record, by the verdicts of the policy engine and by conntrack alike', async () => {
    expect(missing(await recorded(play.operator))).toEqual([]);
    const conntrack = openOperator(stage, 'conntrack', CONFIG);
    await conntrack.must(['observe', 'conntrack', stage.conntrackLog]);
    expect(missing(await recorded(conntrack))).toEqual([]);
  });

  it.each(ONE_BY_ONE.map((phase) => [phase] as const))('takes every namespace to %s', async (phase) => {
    if (phase === 'allow-list') play.forbid(true);
    for (const namespace of ORDER) ends.push(await play.advance('up', namespace, phase));
    play.mark(`up: in ${phase}`);
    await delay(LONG ? 60_000 : 5000);
    // The forbidden callers got through until the allow-list held: records of that time would ask for a decision on each of them.
    if (phase === 'allow-list') play.skipVerdicts();
    else await play.observeVerdicts();
    if (phase === 'permissive-mtls') adoptJoined(play);
    await expectNoSurprise();
    await expectVerified();
  });

  it.runIf(LONG)('takes them all the way back, and every object is as it was', async () => {
    for (const namespace of ORDER) await play.rollback('down', namespace, 'none');
    play.mark('down: in none');
    await delay(3000);
    await expectNoSurprise();
    await expectStart();
  });

  it('takes twenty workloads back at once, where nothing is to be restarted', async () => {
    play.mark('archive: recording');
    await stage.apply(wideManifests(20));
    await stage.settle(90, ['archive']);
    await delay(22_000);
    await play.observeVerdicts();
    play.operator.decide([
      ['adopt', 'src=archive/*', 'The librarian reads every shelf.'],
      ['waive', 'gate=enforcement,subject=archive', 'As everywhere in the lab.'],
    ]);
    await play.advance('archive', 'archive', 'allow-list');
    await delay(3000);
    const ended = await play.rollback('archive', 'archive', 'monitor');
    expect(ended.steps.length).toBeGreaterThan(20);
    await play.rollback('archive', 'archive', 'none');
    play.mark('archive: gone');
    await expectNoSurprise();
    await stage.client.must('DELETE', '/api/v1/namespaces/archive');
  });

  it('goes on in the order of waves that the planner proposes', async () => {
    const waves = await readWaves(play);
    expect(waves.flatMap((wave) => wave.namespaces)).toEqual(expect.arrayContaining([...ORDER]));
    // The namespaces of Kubernetes and of the mesh go last of all, and nobody has named them.
    const names = waves.map((wave) => wave.namespaces.filter((one) => (ORDER as readonly string[]).includes(one)));
    if (LONG) for (const namespace of ORDER) ends.push(await play.advance('waves', namespace, 'allow-list'));
    for (const wave of names) {
      for (const namespace of wave) ends.push(await play.advance('waves', namespace, 'permissive-mtls'));
      await play.observeVerdicts();
      adoptJoined(play);
      for (const phase of ['strict-mtls', 'identity'])
        for (const namespace of wave) ends.push(await play.advance('waves', namespace, phase));
    }
    play.mark('waves: in identity');
    await delay(5000);
    await expectNoSurprise();
    await expectVerified();
  });

  it('has mTLS on record where the scenario is in the mesh, by the access logs of the proxies', async () => {
    const envoy = openOperator(stage, 'envoy', CONFIG);
    const logs = play.scenario.namespaces.flatMap((namespace) => accessLogsOf(namespace));
    await envoy.must(['observe', 'envoy', ...logs]);
    const { edges } = documentOf(await envoy.must(['flows'])) as {
      readonly edges: readonly {
        readonly src: string;
        readonly dst: string;
        readonly port: number;
        readonly mtls: string;
      }[];
    };
    const joined = new Set(play.scenario.workloads.filter((one) => !one.optedOut).map((one) => one.id));
    const encrypted = new Set(
      edges
        .filter((edge) => edge.mtls === 'yes' || edge.mtls === 'mixed')
        .map((edge) => `${edge.src} ${edge.dst} ${edge.port}`),
    );
    const wanted = play.scenario.edges.filter(
      (edge) => edge.expect === 'pass' && edge.protocol === 'TCP' && joined.has(edge.src) && joined.has(edge.dst),
    );
    expect(wanted.length).toBeGreaterThan(10);
    expect(wanted.map((edge) => `${edge.src} ${edge.dst} ${edge.port}`).filter((key) => !encrypted.has(key))).toEqual(
      [],
    );
  });

  it('restarts the single replica barely once more, inside the mesh', async () => {
    await restartBare('bare rollout of mlflow, in the mesh');
  });

  it('takes them all the way back, the last wave first, and every object is as it was', async () => {
    for (const namespace of ORDER.toReversed()) await play.rollback('waves down', namespace, 'none');
    play.mark('waves down: in none');
    await delay(3000);
    await expectNoSurprise();
    await expectStart();
  });

  it('has tried enough to say so, and prints its figures', async () => {
    play.forbid(false);
    await play.collect();
    const rows = play.ledger.byPhase();
    const sum = (pick: (row: (typeof rows)[number]) => number): number => rows.reduce((all, row) => all + pick(row), 0);
    const legitimate = sum((row) => row.legitimate.tried);
    const held = sum((row) => row.held.tried);
    const effects = spread(effectTimes(play, ends));
    const joined = spread(joinTimes(play, ends));
    const tables = [
      renderPhases('Connections tried, by phase', rows),
      renderTable(
        'Time',
        ['what', 'n', 'p50 ms', 'p99 ms', 'max ms'],
        [
          ['from a step that isolates to the first denial', ...effects],
          ['from a step that joins to the first mTLS connection', ...joined],
        ],
      ),
      renderTable(
        'Runs',
        ['pass', 'namespace', 'to', 'steps', 'restarts', 'seconds', 'of them writing'],
        play.timings.map((one) => [
          one.pass,
          one.namespace,
          one.to,
          one.steps,
          one.restarts,
          one.seconds,
          one.writingSeconds,
        ]),
      ),
    ];
    process.stdout.write(`\n${tables.join('\n')}\n`);
    writeFigures('play', {
      legitimate,
      forbiddenHeld: held,
      phases: rows,
      steps: play.ledger.rows(),
      effects,
      joined,
      runs: play.timings,
      singleReplica: summarise(play.ledger.singleFailures()),
    });
    expect(held).toBeGreaterThanOrEqual(1000);
    expect(sum((row) => row.held.tried - row.held.failed)).toBe(0);
    expect(sum((row) => row.legitimate.failed)).toBe(0);
    expect(legitimate).toBeGreaterThan(LONG ? 100_000 : 20_000);
  });
});
