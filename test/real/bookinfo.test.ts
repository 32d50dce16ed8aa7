// Istio's sample application and the recorded traffic of it, from manifests, through every phase and back.
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkStates, renderViolations } from '../checker/check.ts';
import type { Edge } from '../checker/check.ts';
import { first, reorder, swap } from '../checker/states.ts';
import { readTree } from '../support/folder.ts';
import { sallyport } from '../support/sallyport.ts';
import type { Ended } from '../support/sallyport.ts';

const DATA = join(import.meta.dirname, '../../../shared/data');
const FIXTURE = join(import.meta.dirname, '../fixtures/bookinfo');
const FILES = ['bookinfo.yaml', 'bookinfo-gateway.yaml'];
const FLOWS = ['400-tcp', '10', '5-http', '330-dns'].map((name) =>
  join(DATA, 'flows/hubble', `basic-sample-${name}-flows.json`),
);
const PHASES = ['monitor', 'allow-list', 'permissive-mtls', 'strict-mtls', 'identity'];
const CONFIG = ['--config', join(FIXTURE, 'config.yaml')];
const DECIDED = [...CONFIG, '--decisions', join(FIXTURE, 'decisions.yaml')];

/** What the recordings show of the application itself, read off by eye. */
const LEGITIMATE: readonly Edge[] = (
  [
    ['productpage-v1', 'details-v1', 'GET /details/0'],
    ['productpage-v1', 'reviews-v1', 'GET /reviews/0'],
    ['productpage-v1', 'reviews-v2', 'GET /reviews/0'],
    ['productpage-v1', 'reviews-v3', 'GET /reviews/0'],
    ['reviews-v2', 'ratings-v1', 'GET /ratings/0'],
    ['reviews-v3', 'ratings-v1', 'GET /ratings/0'],
    ['ratings-v1', 'productpage-v1', 'GET /productpage'],
  ] as const
).map(([src, dst, l7]) => ({
  src: `bookinfo/Deployment/${src}`,
  dst: `bookinfo/Deployment/${dst}`,
  protocol: 'TCP',
  port: 9080,
  l7,
}));

interface Gate {
  readonly id: string;
  readonly answer: string;
  readonly subject: string;
  readonly facts: readonly string[];
  readonly fix: string;
}

let home = '';
let start: Readonly<Record<string, string>> = {};
const dir = (): string => join(home, 'manifests');
const run = (...args: readonly string[]): Promise<Ended> =>
  sallyport([...args, '--manifests', dir(), '--default-namespace', 'bookinfo', '--state', join(home, 'state.sqlite')], {
    home,
  });
const json = ({ stdout }: Ended): Record<string, unknown> => JSON.parse(stdout) as Record<string, unknown>;

async function must(...args: readonly string[]): Promise<Ended> {
  const ended = await run(...args);
  expect(ended.code, ended.stderr + ended.stdout).toBe(0);
  return ended;
}

beforeAll(async () => {
  if (!existsSync(DATA))
    throw new Error(`the real data are not at ${DATA}; these tests read them and have no substitute`);
  home = await mkdtemp(join(tmpdir(), 'sallyport-bookinfo-'));
  await mkdir(dir());
  for (const file of FILES) await cp(join(DATA, 'manifests/bookinfo', file), join(dir(), file));
  start = await readTree(dir());
  await must('observe', 'hubble', ...FLOWS);
});

afterAll(() => rm(home, { recursive: true, force: true }));

describe('bookinfo from two files and four recordings', () => {
  it('attributes every record to a workload, a node, a pod or an address outside', async () => {
    const flows = json(await must('flows', '--json')) as {
      edges: { src: string; dst: string; port: number; protocol: string; l7: string | null }[];
      losses: { records: number; bad: number; lost: number }[];
      unattributed: object;
    };
    expect(flows.unattributed).toEqual({});
    expect(flows.losses).toMatchObject([{ records: 745, bad: 0, lost: 0 }]);
    const own = flows.edges.filter((edge) => edge.src.startsWith('bookinfo/') && edge.dst.startsWith('bookinfo/'));
    const pairs = new Set(own.map((edge) => `${edge.src} ${edge.dst} ${edge.port}/${edge.protocol}`));
    expect([...pairs].sort()).toEqual(LEGITIMATE.map((edge) => `${edge.src} ${edge.dst} 9080/TCP`).sort());
    // Queries and identifiers of sessions are never kept.
    expect(own.filter((edge) => edge.l7?.includes('?') === true)).toEqual([]);
  });

  it('is refused without decisions, and every gate says what is wrong and what to do', async () => {
    const ended = await run('advance', 'bookinfo', '--to', 'identity', '--json', '--yes');
    expect(ended.code).toBe(3);
    const { gates, error, run: id } = json(ended) as { gates: Gate[]; error: { message: string }; run: null };
    expect(id).toBeNull();
    const red = gates.filter((gate) => gate.answer !== 'yes');
    const names = [...new Set(red.map((gate) => gate.id))];
    expect(names.sort()).toEqual(
      [
        'coverage',
        'denies-observed',
        'enforcement',
        'mesh',
        'plaintext',
        'review',
        'selector',
        'unknown',
        'window',
      ].filter((name) => names.includes(name)),
    );
    expect(names).toEqual(expect.arrayContaining(['window', 'coverage', 'review', 'enforcement', 'mesh']));
    for (const name of names) {
      expect(error.message).toContain(name);
      expect(ended.stderr).toContain(name);
    }
    for (const gate of red) {
      expect(gate.fix, JSON.stringify(gate)).not.toBe('');
      expect(gate.facts.join(), JSON.stringify(gate)).not.toBe('');
    }
    // Four seconds of one day say nothing of what recurs, in either direction.
    const coverage = red.filter((gate) => gate.id === 'coverage').map((gate) => gate.subject);
    for (const workload of ['details-v1', 'productpage-v1', 'ratings-v1', 'reviews-v2', 'reviews-v3'])
      expect(coverage).toEqual(
        expect.arrayContaining([`bookinfo/Deployment/${workload}/ingress`, `bookinfo/Deployment/${workload}/egress`]),
      );
    expect(await readTree(dir())).toEqual(start);
  });

  it('is refused with the cluster stated, by what only a person can settle', async () => {
    const ended = await run('advance', 'bookinfo', '--to', 'identity', '--json', '--yes', ...CONFIG);
    expect(ended.code).toBe(3);
    const { gates } = json(ended) as { gates: Gate[] };
    const red = gates.filter((gate) => gate.answer !== 'yes');
    expect([...new Set(red.map((gate) => gate.id))].sort()).toEqual([
      'denies-observed',
      'plaintext',
      'review',
      'selector',
      'unknown',
    ]);
    // Whoever comes in through the gateway, which the two files leave to the mesh's installation, is not forgotten.
    expect(red.find((gate) => gate.id === 'unknown')?.facts.join()).toContain(
      'no workload serves Gateway bookinfo/bookinfo-gateway',
    );
  });

  it('denies no legitimate edge in any state of its plan, which a plan in another order would', async () => {
    const states = join(home, 'states');
    await must('plan', 'bookinfo', '--to', 'identity', '--states', states, ...DECIDED);
    const facts = { defaultNamespace: 'bookinfo', apiServer: ['172.19.0.3/32'], ipBlockMatches: [] };
    expect(renderViolations(checkStates(states, LEGITIMATE, facts))).toBe('');
    for (const [name, arrange] of [
      ['early', first(/allow-list-default-deny/)],
      ['unnamed', swap(/productpage-v1-rehearse/, /identity-default-deny/)],
    ] as const) {
      reorder(states, join(home, name), arrange);
      expect(checkStates(join(home, name), LEGITIMATE, facts).length, name).toBeGreaterThan(0);
    }
  });

  it('keeps names resolvable and the control plane reachable, though neither was read', async () => {
    const { items } = json(await must('suggest', 'bookinfo', '--json', ...DECIDED)) as {
      items: { kind: string; metadata: { name: string }; spec?: { egress?: { to?: object; ports: object[] }[] } }[];
    };
    const egress = items.filter((item) => item.spec?.egress !== undefined);
    expect(egress.length).toBeGreaterThan(3);
    for (const policy of egress)
      expect(policy.spec?.egress, policy.metadata.name).toContainEqual(
        expect.objectContaining({ ports: expect.arrayContaining([{ protocol: 'UDP', port: 53 }]) as unknown }),
      );
  });

  it('goes through the five phases one at a time, and verifies in each', async () => {
    for (const phase of PHASES) {
      const ended = json(await must('advance', 'bookinfo', '--json', '--yes', ...DECIDED));
      expect(ended).toMatchObject({ outcome: 'done', phase, failed: [], notRun: [] });
      expect(json(await must('verify', '--json', ...DECIDED))).toMatchObject({ drift: [] });
      const { namespaces } = json(await must('status', '--json')) as { namespaces: object[] };
      expect(namespaces).toMatchObject([{ namespace: 'bookinfo', phase }]);
    }
    const tree = await readTree(dir());
    for (const file of ['authorizationpolicy-sallyport-default-deny', 'peerauthentication-sallyport-ratings-v1'])
      expect(Object.keys(tree)).toContain(`sallyport/bookinfo/${file}.yaml`);
    expect(tree['bookinfo.yaml']).toContain('sidecar.istio.io/inject: "true"');
  });

  it('goes back phase by phase, and is byte for byte what it was', async () => {
    for (const phase of [...PHASES.slice(0, -1).reverse(), 'none']) {
      const ended = json(await must('rollback', 'bookinfo', '--to', phase, '--json', '--yes', ...DECIDED));
      expect(ended).toMatchObject({ outcome: 'done', phase, failed: [], notRun: [] });
      expect(json(await must('verify', '--json', ...DECIDED))).toMatchObject({ drift: [] });
    }
    expect(await readTree(dir())).toEqual(start);
  });

  it('goes up and back in one go, with the reasons on the audit trail', async () => {
    const up = json(await must('advance', 'bookinfo', '--to', 'identity', '--json', '--yes', ...DECIDED));
    expect(up).toMatchObject({ outcome: 'done', phase: 'identity', failed: [], notRun: [] });
    expect((up['done'] as string[]).length).toBeGreaterThan(40);
    await must('verify', '--json', ...DECIDED);
    const { entries } = json(await must('audit', '--json')) as { entries: { what: string; object: string }[] };
    for (const gate of ['window', 'coverage'])
      expect(entries).toContainEqual(expect.objectContaining({ what: 'gate switched off', object: gate }));
    await must('rollback', 'bookinfo', '--to', 'none', '--json', '--yes', ...DECIDED);
    expect(await readTree(dir())).toEqual(start);
  });
});
