// What goes wrong while traffic flows: crashes, restarts of the API server, an engine that does not do what the API says, and other people. What
// goes wrong in the mesh is in the play, which has everybody in it.
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { advanceTo, killAndConverge, killingOn, onceAt, openFaults, phaseOf, stepsOf } from './faults.ts';
import type { Faults } from './faults.ts';
import { renderPhases, writeFigures } from './figures.ts';
import { summarise } from './ledger.ts';
import { differences, readObjects } from './objects.ts';
import type { Objects } from './objects.ts';
import { PROGRAM, documentOf, explainEnd, openOperator } from './operator.ts';
import type { Ended } from './operator.ts';
import type { Play } from './play.ts';
import { CONFIG, LONG, decisions, openPlay, recordAndDecide } from './play.ts';
import { CLUSTER } from './scenario.ts';
import { startStage } from './stage/index.ts';
import type { Stage } from './stage/types.ts';
import { tellSurprises } from './story.ts';

/** While this is under way, the test itself keeps somebody from getting through. */
const CUT = 'another isolates a caller';
let stage: Stage;
let watched: string;
let play: Play;
let start: Objects;
let operator: Play['operator'];
let faults: Faults;

beforeAll(async () => {
  stage = await startStage({ manifests: CLUSTER });
  play = openPlay(stage, CONFIG, [CUT]);
  operator = play.operator;
  faults = openFaults(play);
  watched = play.watched;
  await delay(4000);
  await recordAndDecide(play, LONG ? 90 : 65);
  start = await readObjects(stage.client, play.scenario.namespaces);
  for (const namespace of play.scenario.namespaces) await operator.advance(namespace, 'monitor');
});

afterAll(async () => {
  await stage.down();
});

async function expectNoSurprise(): Promise<void> {
  await delay(1500);
  await play.collect();
  expect(play.stories.join('\n\n')).toBe('');
  expect(await stage.verdictDrops()).toBe(0);
}

const expectEnd = (ended: Ended, code: number): void => expect(ended.code, explainEnd(ended)).toBe(code);
async function expectVerified(namespace: string, code = 0): Promise<Ended> {
  const ended = await operator.run(['verify', namespace], { config: play.seeing });
  expectEnd(ended, code);
  return ended;
}

/** What was cut on purpose is a surprise like any other: its story names everything, and its fixture reproduces it without a cluster. */
async function expectStory(): Promise<void> {
  // Who is cut off writes it down when its patience of five seconds is over.
  await delay(6000);
  play.watch.collect();
  const surprises = play.ledger.surprises().filter((one) => one.mark.phase === CUT);
  const [first] = surprises;
  expect(surprises.length).toBeGreaterThan(0);
  const story = await tellSurprises(stage, operator, play.scenario.namespaces, surprises);
  expect(story).toContain(`During ${CUT}`);
  expect(story).toContain('training/Deployment/trainer');
  expect(story).toMatch(/should pass, and did not: \S/);
  expect(story).toMatch(
    /the simulator says of the state after it: denied\. NetworkPolicy training\/somebody-isolates-the-trainer/,
  );
  const folder = /fixture: (\S+)/.exec(story)?.[1] ?? '';
  const command = /again: sallyport (.*)$/m.exec(story)?.[1] ?? '';
  const again = spawnSync(process.execPath, [PROGRAM, ...command.split(' '), '--json'], {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], HOME: folder, XDG_STATE_HOME: folder },
  });
  expect(again.status, again.stderr).toBe(0);
  expect(again.stdout).toContain('somebody-isolates-the-trainer');
  expect(first?.src).toBe('training/Deployment/trainer');
  rmSync(folder, { recursive: true });
}

describe('a process that is killed', () => {
  it('at each step of an allow-list converges, by resume and by rollback', async () => {
    const run = { namespace: 'features', from: 'monitor', to: 'allow-list' };
    const total = await stepsOf(operator, run.namespace, run.to);
    expect(total).toBeGreaterThan(3);
    const end = faults.begin('killed in an allow-list', `SIGKILL at each of ${total} steps of an allow-list`);
    const ways = { resume: 0, rollback: 0 };
    let killed = 0;
    for (let step = 1; step <= total; step += 1)
      // The short lab takes the two ways in turn.
      for (const way of LONG
        ? (['resume', 'rollback'] as const)
        : ([step % 2 === 1 ? 'resume' : 'rollback'] as const)) {
        play.mark('killed in an allow-list', `features, step ${step} of ${total}, then ${way}`);
        if (await killAndConverge(operator, run, step, way)) killed += 1;
        ways[way] += 1;
      }
    expect(killed).toBeGreaterThan(total / 2);
    end(`converged: ${ways.resume} by resume, ${ways.rollback} by rollback; ${killed} killed in time`);
    await expectNoSurprise();
  });

  it('while pods join the mesh converges by resume, and another time by rollback', async () => {
    const end = faults.begin('killed in a join', 'SIGKILL while pods join the mesh');
    await operator.must(advanceTo('edge', 'allow-list'));
    const kill = (): Promise<Ended> =>
      operator.run(advanceTo('edge', 'permissive-mtls'), killingOn('waiting for the pods', 400));
    expect((await kill()).code).toBeNull();
    expectEnd(await operator.run(['resume']), 0);
    await expectVerified('edge');
    await operator.must(['rollback', 'edge', '--to', 'allow-list', '--yes']);
    expect((await kill()).code).toBeNull();
    expectEnd(await operator.run(['rollback', 'edge', '--to', 'none', '--yes']), 0);
    await stage.settle(120, ['edge']);
    end('converged: by resume, and by rollback to none');
    await expectNoSurprise();
    await operator.must(advanceTo('edge', 'monitor'));
  });

  it('in the watch goes on watching by resume', async () => {
    const end = faults.begin('killed in the watch', 'SIGKILL in the watch after an allow-list, then resume');
    // Of whom the CronJob wants nothing: what connects once a minute would have to be waited for.
    const killed = await operator.run(advanceTo('registry', 'allow-list'), {
      config: watched,
      ...killingOn('watching', 1000),
    });
    expectEnd(killed, null as unknown as number);
    const resumed = await operator.run(['resume'], { config: watched });
    expectEnd(resumed, 0);
    const { soak } = documentOf(resumed) as { readonly soak: { readonly seen: readonly object[] } };
    expect(soak.seen.length).toBeGreaterThan(3);
    await operator.must(['rollback', 'registry', '--to', 'monitor', '--yes']);
    end(`watched to its end, ${soak.seen.length} edges seen anew`);
    await expectNoSurprise();
  });
});

describe('an API server', () => {
  it('that restarts in the middle of a run costs no connection, and resume finishes', async () => {
    const end = faults.begin('API server restarted', 'API server restarted in the middle of a run');
    const restart = onceAt(2, () => stage.restartApiServer(1));
    const ended = await operator.run(advanceTo('serving', 'allow-list'), restart.options);
    await restart.done();
    expect([0, 4, 7], explainEnd(ended)).toContain(ended.code);
    if (ended.code !== 0) {
      expectEnd(await operator.run(['resume']), 0);
      if ((await phaseOf(operator, 'serving')) !== 'allow-list')
        await operator.must(advanceTo('serving', 'allow-list'));
    }
    expect(await phaseOf(operator, 'serving')).toBe('allow-list');
    await expectVerified('serving');
    end(`the run ended with ${String(ended.code)}${ended.code === 0 ? '' : ', resume finished it'}`);
    await expectNoSurprise();
  });
});

describe('other people', () => {
  const policy = '/apis/networking.k8s.io/v1/namespaces/serving/networkpolicies/sallyport-default-deny';

  it('who change an object are seen by verify and not overwritten by a rollback', async () => {
    const end = faults.begin('changed by another', 'another changes an object that Sallyport wrote');
    const types = async (value: readonly string[]): Promise<void> => {
      await stage.client.must('PATCH', `${policy}?fieldManager=somebody`, { spec: { policyTypes: value } });
    };
    await types(['Ingress']);
    const seen = await expectVerified('serving', 6);
    expect(seen.stdout).toContain('policyTypes');
    const refused = await operator.run(['rollback', 'serving', '--to', 'monitor', '--yes']);
    expectEnd(refused, 3);
    expect(JSON.stringify(documentOf(refused))).toMatch(/SP606/);
    await types(['Ingress', 'Egress']);
    await expectVerified('serving');
    end('verify 6 names the field, rollback 3 (SP606) overwrites nothing');
  });

  it('who run at the same time wait for the Lease, and only one writes', async () => {
    const end = faults.begin('two operators', 'two operators advance one namespace at once');
    const other = openOperator(stage, 'other', CONFIG);
    // Both know of every run so far; otherwise the one who does not is refused for that (SP620).
    const taken = `${other.home}/taken.backup`;
    await operator.must(['state', 'export', taken]);
    await other.must(['state', 'import', taken]);
    other.decide(decisions(play.scenario));
    const [one, two] = await Promise.all([
      operator.run(advanceTo('ingest', 'allow-list')),
      other.run(advanceTo('ingest', 'allow-list')),
    ]);
    const codes = [one.code, two.code].sort();
    // One after the other is as good: the second finds the first one's objects standing.
    expect([0, 3], explainEnd(one)).toContain(codes[0]);
    expect(codes, explainEnd(one) + explainEnd(two)).toContain(0);
    expect([3, 4, 5, 7], explainEnd(one) + explainEnd(two)).toContain(codes.find((code) => code !== 0) ?? 3);
    end(`exit ${codes.join(' and ')}`);
    if (one.code !== 0) {
      await other.must(['rollback', 'ingest', '--to', 'monitor', '--yes']);
      await other.must(['state', 'export', `${other.home}/back.backup`]);
      await operator.must(['state', 'import', `${other.home}/back.backup`]);
    }
    await expectNoSurprise();
  });
});

describe('the watch after a phase', () => {
  const target = { kind: 'Deployment', name: 'notebook', namespace: 'training' };
  const path = `/apis/apps/v1/namespaces/${target.namespace}/deployments`;

  it('shows a new caller within seconds, and does not end well without a person', async () => {
    const end = faults.begin('a new caller in the watch', 'a new caller appears in the watch');
    const labels = { app: target.name };
    const call = { name: 'explore', to: 'feature-server.features', port: 6566, everyMs: 500, expect: 'blocked' };
    const notebook = {
      metadata: { name: target.name },
      spec: {
        replicas: 1,
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            containers: [
              {
                name: 'app',
                image: 'lab/pod:1',
                env: [{ name: 'LABPOD', value: JSON.stringify({ clients: [call] }) }],
              },
            ],
          },
        },
      },
    };
    let appliedAt = 0;
    let shownAt = 0;
    const ended = await operator.run(advanceTo('features', 'allow-list'), {
      config: watched,
      onStderr: (text) => {
        if (appliedAt === 0 && /is in phase allow-list|watch|soak/i.test(text)) {
          appliedAt = Date.now();
          void stage.client.must('POST', path, notebook);
        }
        if (shownAt === 0 && text.includes(target.name)) shownAt = Date.now();
      },
    });
    await stage.client.must('DELETE', `${path}/${target.name}`);
    if (ended.code === 3) await operator.must(['rollback', 'features', '--to', 'monitor', '--yes']);
    expect([3, 8], explainEnd(ended)).toContain(ended.code);
    expect(ended.stdout).toContain('training/Deployment/notebook');
    expect(shownAt, ended.stderr).toBeGreaterThan(appliedAt);
    // From the Deployment's creation: its pod starts, waits a second and a half and calls.
    end(`shown after ${((shownAt - appliedAt) / 1000).toFixed(1)} s, exit ${String(ended.code)}`);
    expect(await phaseOf(operator, 'features')).toBe('monitor');
    await expectNoSurprise();
  });

  it('pulls a run back, exit 8, when an edge on record is denied', async () => {
    const end = faults.begin(CUT, 'an edge on record is cut in the watch (on purpose)');
    const isolation = {
      metadata: { name: 'somebody-isolates-the-trainer', namespace: 'training' },
      spec: {
        podSelector: { matchLabels: { app: 'trainer' } },
        policyTypes: ['Egress'],
        // Names are to be had: without them it would not even try, and there would be nothing to be denied.
        egress: [{ ports: [{ protocol: 'UDP', port: 53 }] }],
      },
    };
    const policies = '/apis/networking.k8s.io/v1/namespaces/training/networkpolicies';
    let cutAt = 0;
    let backAt = 0;
    const ended = await operator.run(advanceTo('features', 'allow-list'), {
      config: watched,
      onStderr: (text) => {
        if (cutAt !== 0 && backAt === 0 && /is denied|pull/i.test(text)) backAt = Date.now();
        if (cutAt !== 0 || !/is in phase allow-list|watch|soak/i.test(text)) return;
        cutAt = Date.now();
        void stage.client.must('POST', policies, isolation);
      },
    });
    expectEnd(ended, 8);
    expect(ended.stdout).toContain('training/Deployment/trainer');
    await expectStory();
    await stage.client.must('DELETE', `${policies}/${isolation.metadata.name}`);
    expect(backAt, ended.stderr).toBeGreaterThan(cutAt);
    end(`exit 8: pulled back, told ${((backAt - cutAt) / 1000).toFixed(1)} s after the cut`);
    await delay(2500);
    play.mark('after the pull-back');
    expect(await phaseOf(operator, 'features')).toBe('monitor');
    await expectVerified('features');
    await expectNoSurprise();
  });
});

describe('what does not do as the API says', () => {
  it('a policy engine that lags is seen once what it let through is on record', async () => {
    const end = faults.begin('engine lags', 'the policy engine does not hear of the policies');
    await stage.pauseVerdicts();
    try {
      await operator.must(advanceTo('registry', 'allow-list'));
      play.forbid(true);
      await delay(8000);
      const ended = await operator.run(['verify', 'registry'], { config: play.seeing });
      expectEnd(ended, 6);
      expect(ended.stdout).toContain('toolbox');
    } finally {
      await stage.resumeVerdicts();
      play.forbid(false);
    }
    end('verify 6 names who got through');
    await operator.must(['rollback', 'registry', '--to', 'monitor', '--yes']);
    await expectNoSurprise();
  });
});

describe('the way back from all that', () => {
  it('ends where it began', async () => {
    play.mark('back to none');
    for (const namespace of play.scenario.namespaces) {
      if ((await phaseOf(operator, namespace)) === 'none') continue;
      await play.rollback('faults', namespace, 'none');
    }
    await stage.settle(120);
    await expectNoSurprise();
    const found = differences(start, await readObjects(stage.client, play.scenario.namespaces));
    expect(found).toEqual([]);
    const rows = play.ledger.byPhase();
    const tables = [
      renderPhases('Connections tried while things went wrong', rows),
      faults.render('Faults outside the mesh'),
      `${found.length} of the fields of ${Object.keys(start).length} objects differ after the way back.\n`,
    ];
    process.stdout.write(`\n${tables.join('\n')}\n`);
    writeFigures('faults', { faults: faults.told, phases: rows, single: summarise(play.ledger.singleFailures()) });
    // Each of them was told of by its test, or that test has failed above.
    expect(faults.told).toHaveLength(9);
  });
});
