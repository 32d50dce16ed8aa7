// All five phases and back on real packets, twice: phase by phase, and in the order of waves that the planner proposes.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { advanceTo, killAndConverge, killPoints, openFaults, phaseOf, stepsOf } from './faults.ts';
import type { Faults } from './faults.ts';
import { FIGURES, renderPhases, renderTable, writeFigures } from './figures.ts';
import { summarise } from './ledger.ts';
import { differences, readObjects } from './objects.ts';
import type { Objects } from './objects.ts';
import type { Ended, Gate, Operator } from './operator.ts';
import { documentOf, explainEnd, openOperator } from './operator.ts';
import type { Play, Timing } from './play.ts';
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
let faults: Faults;
const ends: Ended[] = [];
/** Pass, objects compared, fields that differ from the start after the way back. */
const differing: (readonly [string, number, number])[] = [];
/** The long play goes up phase by phase and back before it follows the waves; the short one follows them from the allow-list on. */
const ONE_BY_ONE = LONG ? PHASES : PHASES.slice(0, 2);

beforeAll(async () => {
  stage = await startStage({ manifests: CLUSTER });
  play = openPlay(stage);
  faults = openFaults(play);
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

async function expectStart(pass: string): Promise<void> {
  const found = differences(start, await readObjects(stage.client, play.scenario.namespaces));
  differing.push([pass, Object.keys(start).length, found.length]);
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
    // With them for as long as it is of use: twenty workloads, for the time that a way back takes.
    await stage.apply(wideManifests(20));
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
    // Under watch where the first denial may come, and in the long play everywhere: monitor touches no connection.
    const under = phase === 'allow-list' || (LONG && phase !== 'monitor') ? 'watch' : undefined;
    for (const namespace of ORDER) ends.push(await play.advance('up', namespace, phase, under));
    if (under !== undefined) {
      await play.endWatches(`up: ${phase}`);
      const [watch] = play.watches.slice(-1);
      expect(watch?.runs).toBe(ends.slice(-ORDER.length).filter((one) => one.steps.length > 0).length);
      expect(watch?.seenAnew).toBeGreaterThan(50);
    }
    play.mark(`up: in ${phase}`);
    // From here on they may try: until now they were let through, and a record of that would ask for a decision on each of them.
    if (phase === 'allow-list') play.forbid(true);
    await delay(LONG ? 60_000 : 5000);
    await play.observeVerdicts();
    if (phase === 'permissive-mtls') adoptJoined(play);
    await expectNoSurprise();
    await expectVerified();
  });

  it.runIf(LONG)('takes them all the way back, and every object is as it was', async () => {
    for (const namespace of ORDER) await play.rollback('down', namespace, 'none');
    play.mark('down: in none');
    await delay(3000);
    await expectNoSurprise();
    await expectStart('phase by phase');
  });

  it('takes twenty workloads back at once, where nothing is to be restarted', async () => {
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
    const names = waves
      .map((wave) => wave.namespaces.filter((one) => (ORDER as readonly string[]).includes(one)))
      .filter((wave) => wave.length > 0);
    if (LONG) for (const namespace of ORDER) ends.push(await play.advance('waves', namespace, 'allow-list'));
    for (const wave of names) {
      for (const namespace of wave) ends.push(await play.advance('waves', namespace, 'permissive-mtls'));
      await play.observeVerdicts();
      adoptJoined(play);
      for (const phase of ['strict-mtls', 'identity'] as const) {
        // What everybody calls comes last: its callers are in the mesh by then, and it is watched how they fare.
        const under = wave === names.at(-1) && (LONG || phase === 'strict-mtls') ? 'watch' : undefined;
        for (const namespace of wave) ends.push(await play.advance('waves', namespace, phase, under));
        if (under !== undefined) await play.endWatches(`waves: ${phase}`);
      }
    }
    expect(play.watches.at(-1)?.runs).toBeGreaterThan(1);
    expect(play.watches.at(-1)?.seenAnew).toBeGreaterThan(5);
    play.mark('waves: in identity');
    await delay(5000);
    await expectNoSurprise();
    await expectVerified();
  });
});

describe('in the mesh, what goes wrong', () => {
  const expectEnd = (ended: Ended, code: number): void => expect(ended.code, explainEnd(ended)).toBe(code);

  it('because istiod is gone costs no connection', async () => {
    const end = faults.begin('istiod gone', 'istiod is gone for 5 s');
    await stage.stopIstiod();
    await delay(5000);
    await stage.startIstiod();
    await delay(2000);
    end('proxies go on as they were');
    await expectNoSurprise();
  });

  it('because a proxy keeps its old configuration is seen by verify: STRICT in the API, plaintext on the wire', async () => {
    const { operator } = play;
    await operator.must(['rollback', 'features', '--to', 'permissive-mtls', '--yes']);
    const end = faults.begin('proxy keeps its configuration', 'a proxy rejects its configuration, STRICT is written');
    const [server] = await stage.readyPods('features', { app: 'feature-server' });
    const [caller] = await stage.readyPods('serving', { app: 'scoring-api' });
    if (server === undefined || caller === undefined) throw new Error('no pods');
    const { status } = (await stage.client.must('GET', `/api/v1/namespaces/features/pods/${server}`)).body as {
      readonly status: { readonly podIP: string };
    };
    const plaintext = {
      clients: [{ name: 'plaintext', to: status.podIP, port: 6566, path: '/features', everyMs: 100, count: 5 }],
      exit: true,
      startAfterMs: 0,
    };
    // As the proxy's own user, whose packets are not redirected: what leaves is plaintext.
    const send = (): ReturnType<Stage['exec']> =>
      stage.exec(
        { namespace: 'serving', name: caller },
        ['/usr/local/bin/labpod', '--config', JSON.stringify(plaintext)],
        { user: 1337 },
      );
    // The configuration that it is to keep is the one that takes plaintext: it has to be there first.
    await expect.poll(async () => (await send()).status, { timeout: 30_000 }).toBe(0);
    const heal = await stage.breakProxyConfig({ namespace: 'features', name: server });
    // What broke the proxy is itself a thing that the simulation cannot judge: the gate says so, until a person takes it on.
    const refused = await operator.run(advanceTo('features', 'strict-mtls'));
    expectEnd(refused, 3);
    const open = (documentOf(refused) as { readonly gates: readonly Gate[] }).gates.filter(
      (one) => one.answer !== 'yes',
    );
    expect([...new Set(open.map((one) => one.id))]).toEqual(['unknown']);
    expect(open.every((one) => one.facts.join().includes('EnvoyFilter'))).toBe(true);
    operator.decide(
      open.map((one) => ['waive', `gate=unknown,subject=${one.subject}`, 'A filter that we believe to be harmless.']),
    );
    await operator.must(advanceTo('features', 'strict-mtls'));
    // What is recorded before a step had its time to act (drainSeconds) is held against nobody.
    await delay(7000);
    const sent = await send();
    expect(sent.status, sent.stdout + sent.stderr).toBe(0);
    expect(sent.stdout).toContain('"ok":true');
    await delay(1500);
    const verified = await operator.run(['verify', 'features'], { config: play.seeing });
    expectEnd(verified, 6);
    expect(verified.stdout).toMatch(/plaintext passes/);
    await heal();
    await expectNoSurprise();
    await expect.poll(async () => (await send()).stdout, { timeout: 30_000 }).not.toContain('"ok":true');
    end('the gate unknown names the filter; waived, verify 6: plaintext passes');
  });

  it.each([['strict-mtls', 'permissive-mtls'] as const, ['identity', 'strict-mtls'] as const])(
    'because a run is killed on the way to %s converges, by resume and by rollback',
    async (to, from) => {
      const { operator } = play;
      const run = { namespace: 'features', from, to };
      if ((await phaseOf(operator, 'features')) !== from)
        await operator.must(['rollback', 'features', '--to', from, '--yes']);
      const total = await stepsOf(operator, 'features', to);
      expect(total).toBeGreaterThan(1);
      const phase = `killed on the way to ${to}`;
      const end = faults.begin(phase, `SIGKILL at ${LONG ? 'each' : 'some'} of ${total} steps to ${to}`);
      const ways = { resume: 0, rollback: 0 };
      let killed = 0;
      for (const [step, way] of killPoints(total, !LONG)) {
        play.mark(phase, `features, step ${step} of ${total}, then ${way}`);
        if (await killAndConverge(operator, run, step, way)) killed += 1;
        ways[way] += 1;
      }
      await operator.must(advanceTo('features', to));
      end(`converged: ${ways.resume} by resume, ${ways.rollback} by rollback; ${killed} killed in time`);
      await expectNoSurprise();
      await expectVerified();
    },
  );
});

describe('the play goes back', () => {
  it('with mTLS on record where the scenario is in the mesh, by the access logs of the proxies', async () => {
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
    await expectStart('in the order of waves');
  });

  it('has tried enough to say so, and prints its figures', async () => {
    play.forbid(false);
    await play.collect();
    const rows = play.ledger.byPhase();
    const steps = play.ledger.rows();
    const sum = (pick: (row: (typeof rows)[number]) => number): number => rows.reduce((all, row) => all + pick(row), 0);
    const legitimate = sum((row) => row.legitimate.tried);
    const failed = sum((row) => row.legitimate.failed);
    const held = sum((row) => row.held.tried);
    const passed = sum((row) => row.held.tried - row.held.failed);
    const effects = spread(effectTimes(play, ends));
    const joined = spread(joinTimes(play, ends));
    const back = play.timings.filter((one) => ['none', 'monitor'].includes(one.to) && one.steps > 1);
    const seconds = (some: readonly Timing[]): readonly [number, number, number, number] =>
      spread(some.map((one) => one.seconds * 1000));
    const tables = [
      renderPhases('Connections tried, by phase', rows),
      renderTable(
        'In short',
        ['what', 'tried', 'should be 0', 'goal'],
        [
          ['legitimate connections that failed, two or more replicas', legitimate, failed, '0 of 100 000'],
          ['of them later than 900 ms, or at a second SYN', legitimate, sum((row) => row.late), ''],
          ['forbidden connections that passed where an allow-list holds', held, passed, '0 of 1 000'],
          [
            'intermediate steps during which a legitimate one failed',
            steps.filter((one) => one.step !== '').length,
            steps.filter((one) => one.step !== '' && one.legitimate.failed > 0).length,
            '',
          ],
          ...differing.map(
            ([pass, objects, fields]) =>
              [`fields that differ after the way back (${pass}), of so many objects`, objects, fields, '0'] as const,
          ),
        ],
      ),
      renderTable(
        'Time',
        ['what', 'n', 'p50 ms', 'p99 ms', 'max ms'],
        [
          ['from a step that isolates to the first denial', ...effects],
          ['from a step that joins to the first mTLS connection', ...joined],
          [
            'way back of 20 workloads, command to end (goal: under 5 s)',
            ...seconds(back.filter((one) => one.namespace === 'archive')),
          ],
          [
            'way back of a namespace, nothing restarted',
            ...seconds(back.filter((one) => one.namespace !== 'archive' && one.restarts === 0)),
          ],
          ['way back of a namespace with restarts', ...seconds(back.filter((one) => one.restarts > 0))],
        ],
      ),
      renderTable(
        'Watched to the end (soak), started with --detach, ended by resume',
        ['phase', 'runs', 'edges seen anew', 'resumes', 'seconds'],
        play.watches.map((one) => [one.pass, one.runs, one.seenAnew, one.resumes, one.seconds]),
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
      faults.render('Faults in the mesh'),
      `Each step with its counts: ${FIGURES}\n`,
    ];
    process.stdout.write(`\n${tables.join('\n')}\n`);
    writeFigures('play', {
      legitimate,
      failed,
      forbiddenHeld: held,
      forbiddenPassed: passed,
      phases: rows,
      steps,
      effects,
      joined,
      runs: play.timings,
      watches: play.watches,
      differing,
      faults: faults.told,
      singleReplica: summarise(play.ledger.singleFailures()),
    });
    expect(faults.told).toHaveLength(4);
    expect(held).toBeGreaterThanOrEqual(1000);
    expect(passed).toBe(0);
    expect(failed).toBe(0);
    expect(legitimate).toBeGreaterThanOrEqual(100_000);
  });
});
