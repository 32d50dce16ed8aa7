// What goes wrong while traffic flows: crashes, restarts of the API server, a control plane that is gone, engines and proxies that do not do
// what the API says, and other people.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { killingAt, killingOn, onceAt, stepsOf } from './faults.ts';
import { renderPhases, writeFigures } from './figures.ts';
import { summarise } from './ledger.ts';
import { differences, readObjects } from './objects.ts';
import type { Objects } from './objects.ts';
import { documentOf, explainEnd, openOperator } from './operator.ts';
import type { Ended, Gate } from './operator.ts';
import type { Play } from './play.ts';
import { CONFIG, LONG, decisions, openPlay, recordAndDecide } from './play.ts';
import { CLUSTER } from './scenario.ts';
import { startStage } from './stage/index.ts';
import type { Stage } from './stage/types.ts';

/** While this is under way, the test itself keeps somebody from getting through. */
const CUT = 'another isolates a caller';
/** The lab's proxies drain for two seconds. */
const withSignals = (config: string): string => `${config}soak:
  minutes: 0.4
  drainSeconds: 3
  signals:
    - {source: edges, inputs: ['${stage.verdictLog}']}
    - {source: envoy, inputs: ['${stage.accessLogs}/*/*/access.jsonl']}
`;

let stage: Stage;
let watched: string;
let play: Play;
let start: Objects;
let operator: Play['operator'];

beforeAll(async () => {
  stage = await startStage({ manifests: CLUSTER });
  play = openPlay(stage, withSignals(CONFIG), [CUT]);
  operator = play.operator;
  watched = join(operator.home, 'watched.yaml');
  writeFileSync(watched, withSignals(CONFIG.replace('  soak: off\n', '')));
  await delay(4000);
  await recordAndDecide(play, LONG ? 90 : 70);
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

const phaseOf = async (namespace: string): Promise<string> => {
  const { namespaces } = documentOf(await operator.must(['status'])) as {
    readonly namespaces: readonly { readonly namespace: string; readonly phase: string }[];
  };
  return namespaces.find((one) => one.namespace === namespace)?.phase ?? 'none';
};
const advance = (namespace: string, to: string): readonly string[] => ['advance', namespace, '--to', to, '--yes'];
const expectEnd = (ended: Ended, code: number): void => expect(ended.code, explainEnd(ended)).toBe(code);
async function expectVerified(namespace: string, code = 0): Promise<Ended> {
  const ended = await operator.run(['verify', namespace]);
  expectEnd(ended, code);
  return ended;
}

describe('a process that is killed', () => {
  it.each([['resume'], ['rollback']] as const)('at each step of an allow-list converges by %s', async (way) => {
    const total = await stepsOf(operator, 'features', 'allow-list');
    expect(total).toBeGreaterThan(3);
    for (let step = 1; step <= total; step += 1) {
      play.mark(`killed, then ${way}`, `features, step ${step} of ${total}`);
      const point = { step, afterMs: [0, 12, 35][step % 3] ?? 0 };
      const killed = await operator.run(advance('features', 'allow-list'), killingAt(point));
      // It may have been faster than its end: then there is nothing to resume, and everything to take back.
      expect([null, 0], explainEnd(killed)).toContain(killed.code);
      if (way === 'resume') {
        expectEnd(await operator.run(['resume']), 0);
        expect(await phaseOf('features')).toBe('allow-list');
        await expectVerified('features');
      }
      const back = await operator.run(['rollback', 'features', '--to', 'monitor', '--yes']);
      // Killed before its first write it had left nothing that could be taken back, and says so.
      if (back.code === 2) expect(back.stdout).toContain('SP224');
      else expectEnd(back, 0);
      expect(await phaseOf('features')).toBe('monitor');
      await expectVerified('features');
    }
    await expectNoSurprise();
  });

  it('while pods join the mesh converges by resume, and another time by rollback', async () => {
    play.mark('killed in a join');
    await operator.must(advance('features', 'allow-list'));
    const killed = await operator.run(advance('features', 'permissive-mtls'), killingOn('waiting for the pods', 400));
    expectEnd(killed, null as unknown as number);
    expectEnd(await operator.run(['resume']), 0);
    await expectVerified('features');
    await operator.must(['rollback', 'features', '--to', 'allow-list', '--yes']);
    const again = await operator.run(advance('features', 'permissive-mtls'), killingOn('waiting for the pods', 400));
    expect(again.code).toBeNull();
    expectEnd(await operator.run(['rollback', 'features', '--to', 'none', '--yes']), 0);
    await stage.settle(120, ['features']);
    await expectNoSurprise();
    await operator.must(advance('features', 'monitor'));
  });
});

describe('an API server', () => {
  it('that restarts in the middle of a run costs no connection, and resume finishes', async () => {
    play.mark('API server restarted');
    const restart = onceAt(2, () => stage.restartApiServer(1));
    const ended = await operator.run(advance('serving', 'allow-list'), restart.options);
    await restart.done();
    expect([0, 4, 7], explainEnd(ended)).toContain(ended.code);
    if (ended.code !== 0) {
      expectEnd(await operator.run(['resume']), 0);
      if ((await phaseOf('serving')) !== 'allow-list') await operator.must(advance('serving', 'allow-list'));
    }
    expect(await phaseOf('serving')).toBe('allow-list');
    await expectVerified('serving');
    await expectNoSurprise();
  });
});

describe('other people', () => {
  const policy = '/apis/networking.k8s.io/v1/namespaces/serving/networkpolicies/sallyport-default-deny';

  it('who change an object are seen by verify and not overwritten by a rollback', async () => {
    play.mark('changed by another');
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
  });

  it('who run at the same time wait for the Lease, and only one writes', async () => {
    play.mark('two operators');
    const other = openOperator(stage, 'other', CONFIG);
    await other.must(['observe', 'edges', stage.verdictLog]);
    other.decide(decisions(play.scenario));
    const [one, two] = await Promise.all([
      operator.run(advance('ingest', 'allow-list')),
      other.run(advance('ingest', 'allow-list')),
    ]);
    const codes = [one.code, two.code].sort();
    // One after the other is as good: the second finds the first one's objects standing.
    expect([0, 3], explainEnd(one)).toContain(codes[0]);
    expect(codes, explainEnd(one) + explainEnd(two)).toContain(0);
    expect([3, 4, 7], explainEnd(one) + explainEnd(two)).toContain(codes.find((code) => code !== 0) ?? 3);
    if (one.code !== 0) await other.must(['rollback', 'ingest', '--to', 'none', '--yes']);
    await expectNoSurprise();
  });
});

describe('the watch after a phase', () => {
  const target = { kind: 'Deployment', name: 'notebook', namespace: 'training' };
  const path = `/apis/apps/v1/namespaces/${target.namespace}/deployments`;

  it('shows a new caller within seconds, and does not end well without a person', async () => {
    play.mark('a new caller in the watch');
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
    const ended = await operator.run(advance('features', 'allow-list'), {
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
    writeFigures('newCaller', {
      exit: ended.code,
      secondsToBeShown: shownAt === 0 ? null : (shownAt - appliedAt) / 1000,
    });
    expect(await phaseOf('features')).toBe('monitor');
    await expectNoSurprise();
  });

  it('pulls a run back, exit 8, when an edge on record is denied', async () => {
    play.mark(CUT);
    const isolation = {
      metadata: { name: 'somebody-isolates-the-trainer', namespace: 'training' },
      spec: { podSelector: { matchLabels: { app: 'trainer' } }, policyTypes: ['Egress'], egress: [] },
    };
    const policies = '/apis/networking.k8s.io/v1/namespaces/training/networkpolicies';
    let done = false;
    const ended = await operator.run(advance('features', 'allow-list'), {
      config: watched,
      onStderr: (text) => {
        if (done || !/is in phase allow-list|watch|soak/i.test(text)) return;
        done = true;
        void stage.client.must('POST', policies, isolation);
      },
    });
    await stage.client.must('DELETE', `${policies}/${isolation.metadata.name}`);
    expectEnd(ended, 8);
    expect(ended.stdout).toContain('training/Deployment/trainer');
    await delay(2500);
    play.mark('after the pull-back');
    expect(await phaseOf('features')).toBe('monitor');
    await expectVerified('features');
    await expectNoSurprise();
  });
});

describe('what does not do as the API says', () => {
  it('a policy engine that lags is seen once what it let through is on record', async () => {
    play.mark('engine lags');
    await stage.pauseVerdicts();
    try {
      await operator.must(advance('registry', 'allow-list'));
      play.forbid(true);
      await delay(8000);
      const ended = await operator.run(['verify', 'registry']);
      expectEnd(ended, 6);
      expect(ended.stdout).toContain('toolbox');
    } finally {
      await stage.resumeVerdicts();
      play.forbid(false);
    }
    await operator.must(['rollback', 'registry', '--to', 'monitor', '--yes']);
    await expectNoSurprise();
  });

  it('a control plane that is gone costs no connection', async () => {
    play.mark('istiod gone');
    await operator.must(advance('features', 'permissive-mtls'));
    await stage.stopIstiod();
    await delay(5000);
    await stage.startIstiod();
    await delay(2000);
    await expectNoSurprise();
  });

  it('a proxy that keeps its old configuration lets plaintext through under STRICT, and verify says so', async () => {
    play.mark('proxy keeps its configuration');
    for (const namespace of play.scenario.namespaces) {
      const now = await phaseOf(namespace);
      if (now === 'none' || now === 'monitor' || now === 'allow-list')
        await operator.must(advance(namespace, 'permissive-mtls'));
    }
    await expectNoSurprise();
    const [server] = await stage.readyPods('features', { app: 'feature-server' });
    const [caller] = await stage.readyPods('serving', { app: 'scoring-api' });
    if (server === undefined || caller === undefined) throw new Error('no pods');
    const heal = await stage.breakProxyConfig({ namespace: 'features', name: server });
    // What broke the proxy is itself a thing that the simulation cannot judge: the gate says so, until a person takes it on.
    const refused = await operator.run(advance('features', 'strict-mtls'));
    expectEnd(refused, 3);
    const open = (documentOf(refused) as { readonly gates: readonly Gate[] }).gates.filter(
      (one) => one.answer !== 'yes',
    );
    expect([...new Set(open.map((one) => one.id))]).toEqual(['unknown']);
    expect(open.every((one) => one.facts.join().includes('EnvoyFilter'))).toBe(true);
    operator.decide(
      open.map((one) => ['waive', `gate=unknown,subject=${one.subject}`, 'A filter that we believe to be harmless.']),
    );
    await operator.must(advance('features', 'strict-mtls'));
    const { status } = (await stage.client.must('GET', `/api/v1/namespaces/features/pods/${server}`)).body as {
      readonly status: { readonly podIP: string };
    };
    const plaintext = {
      clients: [{ name: 'plaintext', to: status.podIP, port: 6566, path: '/features', everyMs: 100, count: 5 }],
      exit: true,
      startAfterMs: 0,
    };
    // As the proxy's own user, whose packets are not redirected: what leaves is plaintext.
    const sent = await stage.exec(
      { namespace: 'serving', name: caller },
      ['/usr/local/bin/labpod', '--config', JSON.stringify(plaintext)],
      { user: 1337 },
    );
    expect(sent.status, sent.stdout + sent.stderr).toBe(0);
    await delay(1500);
    const ended = await operator.run(['verify', 'features']);
    expectEnd(ended, 6);
    expect(ended.stdout).toMatch(/plaintext passes/);
    await heal();
    await expectNoSurprise();
    const again = await stage.exec(
      { namespace: 'serving', name: caller },
      ['/usr/local/bin/labpod', '--config', JSON.stringify(plaintext)],
      { user: 1337 },
    );
    expect(again.stdout).not.toContain('"ok":true');
  });
});

describe('the way back from all that', () => {
  it('ends where it began', async () => {
    for (const namespace of play.scenario.namespaces) {
      if ((await phaseOf(namespace)) === 'none') continue;
      await play.rollback('faults', namespace, 'none');
    }
    await stage.settle(120);
    await expectNoSurprise();
    const found = differences(start, await readObjects(stage.client, play.scenario.namespaces));
    expect(found).toEqual([]);
    const rows = play.ledger.byPhase();
    process.stdout.write(`\n${renderPhases('Connections tried while things went wrong', rows)}\n`);
    writeFigures('faults', { phases: rows, single: summarise(play.ledger.singleFailures()) });
  });
});
