// Somebody adds a policy while a way back goes on: the way back ends, and the connection that it denies is named at once.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { observe } from '../../src/cli/commands/observe.ts';
import { advance, rollback } from '../../src/cli/commands/run.ts';
import type { App, GlobalOptions } from '../../src/cli/context.ts';
import type { Prompts } from '../../src/cli/prompts.ts';
import type { Finding } from '../../src/model/finding.ts';
import type { Done } from '../support/command.ts';
import { runCommand } from '../support/command.ts';
import { CLUSTER, EDGES, makeHome } from './shop.ts';

const CONFIG = `gates: {window: off, coverage: off, review: off, unseen-workloads: off}
cluster: {cni: {name: cilium, ipBlockMatches: []}, apiServer: [10.0.0.1/32]}
`;
const THEIRS = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: theirs, namespace: shop}
spec: {podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}
`;
let home = '';

function run(work: (app: App) => Promise<number>, more: GlobalOptions = {}): Promise<Done> {
  return runCommand(work, {
    options: {
      manifests: join(home, 'cluster'),
      state: join(home, 'state.sqlite'),
      config: join(home, 'config.yaml'),
      yes: true,
      ...more,
    },
    env: { PATH: process.env['PATH'], HOME: home, XDG_STATE_HOME: join(home, 'xdg'), SALLYPORT_USER: 'ada' },
  });
}

/** Says yes, after somebody did something. */
const after = (act: () => Promise<unknown>): Prompts => {
  const never = (): Promise<never> => Promise.reject(new Error('nobody asked that'));
  return { confirm: async () => (await act(), true), select: never, text: never };
};
const back = (act: () => Promise<unknown>): Promise<Done> =>
  run((app) => rollback(app, 'shop', { to: 'monitor' }, after(act)), { yes: false });
const findingsOf = ({ document }: Done): readonly Finding[] => document['findings'] as readonly Finding[];

beforeAll(async () => {
  home = await makeHome({ ...CLUSTER, 'config.yaml': CONFIG, 'edges.jsonl': EDGES });
  expect(await run((app) => observe(app, 'edges', [join(home, 'edges.jsonl')], {}))).toMatchObject({ code: 0 });
});

it('a way back that leaves everything as it must be says nothing', async () => {
  const up = await run((app) => advance(app, 'shop', { to: 'allow-list' }));
  expect(up, up.said.join('\n')).toMatchObject({ code: 0, document: { phase: 'allow-list' } });
  const done = await back(() => Promise.resolve());
  expect(done, done.said.join('\n')).toMatchObject({ code: 0, document: { outcome: 'done', phase: 'monitor' } });
  expect(findingsOf(done)).toEqual([]);
  expect(done.said.join('\n')).not.toContain('SP345');
});

it('a policy that somebody added meanwhile does not hold it up, and is named when it is over', async () => {
  expect(await run((app) => advance(app, 'shop', { to: 'allow-list' }))).toMatchObject({ code: 0 });
  const done = await back(() => writeFile(join(home, 'cluster', 'theirs.yaml'), THEIRS));
  expect(done, done.said.join('\n')).toMatchObject({ code: 0, document: { outcome: 'done', phase: 'monitor' } });
  const findings = findingsOf(done);
  expect(findings.length).toBeGreaterThan(0);
  for (const one of findings) expect(one).toMatchObject({ code: 'SP345', severity: 'warning' });
  expect(findings.map(({ message }) => message).join('\n')).toMatch(/shop\/Deployment\/db.*is denied now.*theirs/su);
  expect(done.said.join('\n')).toContain('SP345');
});

it('says so where it cannot be looked at', async () => {
  await writeFile(join(home, 'cluster', 'theirs.yaml'), '');
  expect(await run((app) => advance(app, 'shop', { to: 'allow-list' }))).toMatchObject({ code: 0 });
  const done = await run(async (app) => {
    const target = await app.target();
    let reads = 0;
    const { Failure, EXIT } = await import('../../src/shared/pure/errors.ts');
    const failing = {
      ...target,
      readSnapshot: (...given: Parameters<typeof target.readSnapshot>) =>
        (reads += 1) === 1
          ? target.readSnapshot(...given)
          : Promise.reject(new Failure({ code: 'SP450', exit: EXIT.cluster, message: 'it is down' })),
    };
    return rollback({ ...app, target: () => Promise.resolve(failing) }, 'shop', { to: 'monitor' });
  });
  expect(done, done.said.join('\n')).toMatchObject({ code: 0, document: { outcome: 'done' } });
  const [found, ...others] = findingsOf(done);
  expect([found?.code, others]).toEqual(['SP345', []]);
  expect(found?.message).toContain('is not known: it is down');
});
