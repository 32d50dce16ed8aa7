// All five phases and back on real packets, twice: phase by phase, and in the order of waves that the planner proposes.
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { renderPhases, renderTable, writeFigures } from './figures.ts';
import { summarise } from './ledger.ts';
import { differences, readObjects } from './objects.ts';
import type { Objects } from './objects.ts';
import type { Ended } from './operator.ts';
import type { Play } from './play.ts';
import {
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
const advances: Ended[] = [];
const joins: Ended[] = [];

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

async function expectStart(): Promise<void> {
  const found = differences(start, await readObjects(stage.client, play.scenario.namespaces));
  expect(found, `${found.length} fields differ from the start`).toEqual([]);
}

describe('the play', () => {
  it('restarts the single replica as a bare rollout does, for comparison', async () => {
    play.mark('bare rollout of mlflow');
    const path = '/apis/apps/v1/namespaces/registry/deployments/mlflow';
    await stage.client.must('PATCH', path, {
      spec: { template: { metadata: { annotations: { 'lab/restarted': new Date().toISOString() } } } },
    });
    await stage.settle(60, ['registry']);
    await delay(2000);
    play.mark('between');
    await play.collect();
  });

  it('records the traffic and decides what the gates ask', async () => {
    await recordAndDecide(play, LONG ? 180 : 75);
    start = await readObjects(stage.client, play.scenario.namespaces);
    await expectNoSurprise();
    const recorded = play.ledger.byPhase().find((row) => row.phase === 'recording');
    expect(recorded?.legitimate.tried).toBeGreaterThan(1000);
  });

  it.each(PHASES.map((phase) => [phase] as const))('takes every namespace to %s', async (phase) => {
    if (phase === 'allow-list') play.forbid(true);
    for (const namespace of ORDER) {
      const ended = await play.advance('up', namespace, phase);
      if (phase === 'allow-list') advances.push(ended);
      if (phase === 'permissive-mtls') joins.push(ended);
    }
    play.mark(`up: in ${phase}`);
    await delay(LONG ? 60_000 : 5000);
    // The forbidden callers got through until the allow-list held: records of that time would ask for a decision on each of them.
    if (phase === 'allow-list') play.skipVerdicts();
    else await play.observeVerdicts();
    if (phase === 'permissive-mtls') adoptJoined(play);
    await expectNoSurprise();
    const verified = await play.operator.run(['verify']);
    expect(verified.code, verified.stdout).toBe(0);
  });

  it('takes them all the way back, and every object is as it was', async () => {
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

  it('goes once more, in the order of waves that the planner proposes', async () => {
    const waves = await readWaves(play);
    expect(waves.flatMap((wave) => wave.namespaces)).toEqual(expect.arrayContaining([...ORDER]));
    const names = waves.map((wave) => wave.namespaces.filter((one) => (ORDER as readonly string[]).includes(one)));
    for (const wave of names) {
      for (const namespace of wave) await play.advance('waves', namespace, 'permissive-mtls');
      for (const namespace of wave) await play.advance('waves', namespace, 'identity');
    }
    play.mark('waves: in identity');
    await delay(5000);
    await expectNoSurprise();
    for (const wave of names.toReversed())
      for (const namespace of wave.toReversed()) await play.rollback('waves down', namespace, 'none');
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
    const effects = spread(effectTimes(play, advances));
    const joined = spread(joinTimes(play, joins));
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
