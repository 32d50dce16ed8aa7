// Patterns on the command line: what is said of a cluster, a plan that writes nothing, a run, and the way back to the byte.
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { readTree } from '../support/folder.ts';
import { CLUSTER, CONFIG, EDGES, documentOf, makeHome, sallyport } from './shop.ts';
import type { Ended } from './shop.ts';

let home = '';
beforeAll(async () => {
  home = await makeHome({ ...CLUSTER, 'config.yaml': CONFIG, 'edges.jsonl': EDGES });
  await run('observe', 'edges', 'edges.jsonl');
});

const run = (...args: readonly string[]): Promise<Ended> =>
  sallyport(['--manifests', 'cluster', '--state', 'state.sqlite', '--config', 'config.yaml', ...args], { home });

async function write(files: Readonly<Record<string, string>>): Promise<void> {
  for (const [file, text] of Object.entries(files)) {
    await mkdir(dirname(join(home, file)), { recursive: true });
    await writeFile(join(home, file), text);
  }
}

interface Told {
  readonly error: { readonly code: string; readonly message: string; readonly hint: string };
}
interface Planned {
  readonly hash: string;
  readonly steps: readonly { readonly id: string; readonly object: string }[];
  readonly denied: readonly { readonly text: string }[];
  readonly gates: readonly { readonly id: string; readonly answer: string; readonly facts: readonly string[] }[];
  readonly before: readonly { readonly answer: string }[];
  readonly after: readonly { readonly answer: string }[];
}

const told = async (code: number, ...args: readonly string[]): Promise<Told['error']> => {
  const ended = await run(...args, '--json');
  expect(ended.code, ended.stderr + ended.stdout).toBe(code);
  return (documentOf(ended) as unknown as Told).error;
};
const document = async <T>(code: number, ...args: readonly string[]): Promise<T> => {
  const ended = await run(...args, '--json');
  expect(ended.code, ended.stderr + ended.stdout).toBe(code);
  return documentOf(ended) as unknown as T;
};

const APART = ['tenant-isolation', '-n', 'shop', '--set', 'tenants=shop=shop,desk=desk'];

describe('pattern list and show', () => {
  it('name what there is, with parameters and doc', async () => {
    const { patterns } = await document<{ patterns: readonly { name: string }[] }>(0, 'pattern', 'list');
    expect(patterns.map((one) => one.name)).toEqual([
      'ambient-tunnels',
      'control-and-data-plane',
      'controlled-egress',
      'model-serving',
      'pipeline-stages',
      'strict-mtls-tier',
      'tenant-isolation',
      'training-job',
    ]);
    const shown = await run('pattern', 'show', 'training-job');
    expect(shown.stdout).toContain('29500');
    expect(shown.stdout).toContain('ray.io/cluster');
    // Doc and objects in lines: none of them became one with marks for its ends.
    expect(shown.stdout).not.toContain('\ufffd');
    expect(shown.stdout).toMatch(/^ +kind: "?NetworkPolicy"?$/mu);
  });

  it('know no other, and say which is near', async () => {
    const { code, hint } = await told(2, 'pattern', 'show', 'tenant-isolatoin');
    expect(code).toBe('SP263');
    expect(hint).toContain('tenant-isolation');
  });
});

describe('pattern check', () => {
  it('shows each pair that breaks it with what lets it, exit 6', async () => {
    const ended = await run('pattern', 'check', ...APART);
    expect(ended.code).toBe(6);
    expect(ended.stdout).toContain('desk/Deployment/toolbox -> shop/Deployment/db every port');
    expect(ended.stdout).toContain('No NetworkPolicy isolates shop/Deployment/db for ingress');
    expect(ended.stdout).toContain('SP370');
  });

  it('of all patterns leaves out those that need to be told something', async () => {
    interface Checked {
      readonly patterns: readonly {
        readonly name: string;
        readonly answer: string;
        readonly missing: readonly string[];
      }[];
    }
    // Egress of the namespace is open, so that the whole does not hold.
    const { patterns } = await document<Checked>(6, 'pattern', 'check', '-n', 'desk');
    const tenants = patterns.find((one) => one.name === 'tenant-isolation');
    expect(tenants).toMatchObject({ answer: 'not-asked', missing: ['tenants'] });
  });
});

it('pattern check of what nothing here is about says so, and not that it holds', async () => {
  const { patterns } = await document<{ patterns: readonly unknown[] }>(0, 'pattern', 'check', 'ambient-tunnels');
  expect(patterns).toMatchObject([{ answer: 'not-applicable', namespace: null, set: [], recorded: false }]);
  const ended = await run('pattern', 'check', 'ambient-tunnels');
  expect(ended.stdout).toContain('ambient-tunnels: not applicable');
  expect(ended.stdout).toContain('1 pattern: 0 hold, 0 do not, 0 cannot be told, 1 not applicable, 0 not asked');
});

describe('pattern apply', () => {
  it('by itself writes nothing, and shows what it would deny of the traffic on record', async () => {
    const before = await readTree(join(home, 'cluster'));
    const plan = await document<Planned>(0, 'pattern', 'apply', ...APART);
    expect(plan.steps.map((step) => step.object)).toEqual([
      'NetworkPolicy shop/sallyport-tenant-shop',
      'NetworkPolicy desk/sallyport-tenant-desk',
    ]);
    expect(plan.denied.map((one) => one.text)).toEqual(['desk/Deployment/toolbox -> shop/Deployment/db 5432/TCP']);
    expect(plan.before[0]?.answer).toBe('violated');
    expect(plan.after[0]?.answer).toBe('holds');
    expect(await readTree(join(home, 'cluster'))).toEqual(before);
  });

  it('is refused while an edge on record would be denied', async () => {
    const { code } = await told(3, 'pattern', 'apply', ...APART, '--no-dry-run', '--yes');
    expect(code).toBe('SP600');
  });

  it.each([
    ['overlapping tenants', ['--set', 'tenants=a=shop,b=shop'], /overlap/],
    ['an unknown parameter', ['--set', 'tenants=a=shop,b=desk', '--set', 'tenant=x'], /no parameter tenant/],
    ['a parameter twice', ['--set', 'tenants=a=shop,b=desk', '--set', 'tenants=a=shop,b=desk'], /set twice/],
    ['none of those that are needed', [], /tenants is needed/],
  ])('refuses %s, and applies nothing', async (_, set, message) => {
    const before = await readTree(join(home, 'cluster'));
    const ended = await told(2, 'pattern', 'apply', 'tenant-isolation', '-n', 'shop', '--no-dry-run', '--yes', ...set);
    expect(ended.code).toBe('SP264');
    expect(ended.message).toMatch(message);
    expect(await readTree(join(home, 'cluster'))).toEqual(before);
  });

  it('refuses a path that would match more than it says', async () => {
    const set = ['--set', 'servers=shop', '--set', 'callers=desk/toolbox', '--set', 'paths=/v1/models/*:predict'];
    const { code, message } = await told(2, 'pattern', 'apply', 'model-serving', '-n', 'shop', ...set);
    expect(code).toBe('SP264');
    expect(message).toContain('a star in the middle');
  });

  it.each([
    ['remove', ['pattern', 'remove', 'tenant-isolation', '-n', 'shop', '--no-dry-run', '--yes']],
    ['a rollback', ['rollback', 'shop', '--yes']],
  ] as const)('writes after the edge is accepted, holds, and is taken back to the byte by %s', async (_, back) => {
    await run('accept', 'src=desk/*', '--reason', 'a toolbox');
    const before = await readTree(join(home, 'cluster'));
    const { hash } = await document<Planned>(0, 'pattern', 'apply', ...APART);
    const done = await document<{ phase: string; done: string[] }>(
      0,
      'pattern',
      'apply',
      ...APART,
      '--no-dry-run',
      '--yes',
      '--plan-hash',
      hash.slice(0, 12),
    );
    expect(done).toMatchObject({
      phase: 'none',
      done: [expect.stringContaining('pattern/tenant-isolation/'), expect.anything()],
    });
    const { patterns } = await document<{ patterns: readonly { answer: string; inForce: string[] }[] }>(
      0,
      'pattern',
      'check',
      ...APART,
    );
    expect(patterns).toMatchObject([{ answer: 'holds', inForce: ['shop'], recorded: false }]);
    // Without parameters it is asked with those on record: of all patterns, of one, and of one namespace.
    for (const args of [[], ['-n', 'shop']]) {
      const { patterns: one } = await document<{ patterns: readonly unknown[] }>(
        0,
        'pattern',
        'check',
        'tenant-isolation',
        ...args,
      );
      expect(one).toMatchObject([
        { answer: 'holds', namespace: 'shop', set: ['tenants=shop=shop,desk=desk'], recorded: true },
      ]);
    }
    expect((await run('pattern', 'check', 'tenant-isolation')).stdout).toContain(
      'as applied for shop: tenants=shop=shop,desk=desk',
    );
    // Of a namespace that it is not applied for nothing is on record.
    expect((await told(2, 'pattern', 'check', 'tenant-isolation', '-n', 'desk')).code).toBe('SP264');
    expect(await document(0, 'pattern', 'apply', ...APART)).toMatchObject({ steps: [] });
    expect(await readTree(join(home, 'cluster'))).not.toEqual(before);
    const undone = await run(...back);
    expect(undone.code, undone.stdout + undone.stderr).toBe(0);
    expect(await readTree(join(home, 'cluster'))).toEqual(before);
    expect((await told(2, 'pattern', 'remove', 'tenant-isolation', '-n', 'shop')).code).toBe('SP629');
  });

  it('says of policies that add up what they would open, and waits for a person', async () => {
    const closed =
      'apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed, namespace: shop}\nspec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}\n';
    await write({ 'cluster/closed.yaml': closed });
    const plan = await document<Planned>(0, 'pattern', 'apply', ...APART);
    const opens = plan.gates.find((one) => one.id === 'pattern-opens');
    expect(opens?.answer).toBe('no');
    expect(opens?.facts.join()).toContain('shop/Deployment/db -> shop/Deployment/web');
    await run('waive', 'gate=pattern-opens,subject=shop/tenant-isolation', '--reason', 'one team');
    const again = await document<Planned>(0, 'pattern', 'apply', ...APART);
    expect(again.gates.find((one) => one.id === 'pattern-opens')?.answer).toBe('yes');
  });

  it('names ranges that are old', async () => {
    const set = ['--set', 'ranges=151.101.0.0/16', '--set', 'ranges-from=2026-01-01'];
    const { ageFindings } = await document<{ ageFindings: readonly { code: string; message: string }[] }>(
      0,
      'pattern',
      'apply',
      'controlled-egress',
      '-n',
      'shop',
      ...set,
    );
    expect(ageFindings).toMatchObject([{ code: 'SP372' }]);
  });
});

describe('a pattern in force', () => {
  interface Verified {
    readonly gates: readonly { readonly id: string; readonly answer: string; readonly facts: readonly string[] }[];
  }
  const holds = async (code: number, ...args: readonly string[]): Promise<Verified['gates'][number] | undefined> =>
    (await document<Verified>(code, 'verify', ...args)).gates.find(({ id }) => id === 'pattern-holds');
  const hole =
    'apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: hole, namespace: shop}\nspec: {podSelector: {}, policyTypes: [Ingress], ingress: [{}]}\n';

  it('is judged again by verify with the parameters that it was applied with, and listed with them', async () => {
    const place = await makeHome({ ...CLUSTER, 'edges.jsonl': EDGES });
    const before = home;
    home = place;
    try {
      await write({ 'config.yaml': `${CONFIG}undo: {path: ${join(place, 'ways')}}\n` });
      await run('observe', 'edges', 'edges.jsonl');
      await run('accept', 'src=desk/*', '--reason', 'a toolbox');
      const tree = await readTree(join(home, 'cluster'));
      await document(0, 'pattern', 'apply', ...APART, '--no-dry-run', '--yes');
      expect(await holds(0)).toMatchObject({
        answer: 'yes',
        facts: ['applied with tenants=shop=shop,desk=desk', expect.stringContaining('holds')],
      });
      const { patterns } = await document<{ patterns: readonly { name: string; applied: unknown }[] }>(
        0,
        'pattern',
        'list',
      );
      expect(patterns.filter(({ applied }) => JSON.stringify(applied) !== '[]')).toMatchObject([
        { name: 'tenant-isolation', applied: [{ namespace: 'shop', set: ['tenants=shop=shop,desk=desk'] }] },
      ]);
      expect((await run('status')).stdout).toContain('tenant-isolation, applied for shop: tenants=shop=shop,desk=desk');
      // Somebody else's policy breaks the promise, and no field of ours.
      await write({ 'cluster/hole.yaml': hole });
      expect(await holds(6, 'shop')).toMatchObject({ answer: 'no' });
      expect((await run('verify', 'shop')).stdout).toContain('sallyport pattern check tenant-isolation -n shop');
      // Another state that takes over from the record knows it as well.
      const moved = await sallyport(
        ['--manifests', 'cluster', '--state', 'other.sqlite', '--config', 'config.yaml', 'state', 'rebuild', '--yes'],
        { home },
      );
      expect(moved.code, moved.stderr + moved.stdout).toBe(0);
      const elsewhere = await sallyport(
        ['--manifests', 'cluster', '--state', 'other.sqlite', '--config', 'config.yaml', 'verify', 'shop', '--json'],
        { home },
      );
      expect(elsewhere.stdout).toContain('applied with tenants=shop=shop,desk=desk');
      // What is taken back is asked about no more, and needs no parameters.
      await rm(join(home, 'cluster/hole.yaml'));
      await document(0, 'pattern', 'remove', 'tenant-isolation', '-n', 'shop', '--no-dry-run', '--yes');
      expect(await readTree(join(home, 'cluster'))).toEqual(tree);
      expect(await holds(0)).toBeUndefined();
    } finally {
      home = before;
    }
  });

  it('of a folder that is gone is unknown, and says so', async () => {
    const place = await makeHome({ ...CLUSTER, 'config.yaml': CONFIG });
    const before = home;
    home = place;
    try {
      const policy =
        "[{$each: '${whom.namespaces}', $as: ns, $do: {apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: sallyport-closed, namespace: '${ns}'}, spec: {podSelector: {}, policyTypes: [Ingress]}}}]";
      await write({
        'mine/nobody/pattern.yaml': `title: Nobody calls\nsummary: Nobody calls.\nphase: allow-list\nparameters:\n  whom: {type: group, default: '@namespace', help: a namespace}\nobjects: ${policy}\ninvariants:\n  - {id: closed, text: nobody calls them, kind: only, to: '\${whom}', from: []}\n`,
        'mine/nobody/README.md': 'Nobody calls.\n',
      });
      await document(0, 'pattern', 'apply', 'nobody', '-n', 'desk', '--templates', 'mine', '--no-dry-run', '--yes');
      expect(await holds(0)).toMatchObject({ answer: 'yes' });
      await rm(join(home, 'mine'), { recursive: true });
      expect(await holds(6)).toMatchObject({ answer: 'unknown' });
    } finally {
      home = before;
    }
  });
});

describe('a folder of patterns of one’s own', () => {
  const own = (objects: string): string => `title: Nobody calls
summary: Nobody calls the pods of a namespace.
phase: allow-list
parameters:
  whom: {type: group, default: '@namespace', help: a namespace}
objects: ${objects}
invariants:
  - {id: closed, text: nobody calls them, kind: only, to: '\${whom}', from: []}
`;
  const policy =
    "[{$each: '${whom.namespaces}', $as: ns, $do: {apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: sallyport-closed, namespace: '${ns}'}, spec: {podSelector: {}, policyTypes: [Ingress]}}}]";

  it('stands beside ours, and takes the place of one by its name', async () => {
    await write({ 'mine/nobody/pattern.yaml': own(policy), 'mine/nobody/README.md': 'Nobody calls.\n' });
    const plan = await document<Planned>(0, 'pattern', 'apply', 'nobody', '-n', 'desk', '--templates', 'mine');
    expect(plan.steps.map((step) => step.object)).toEqual(['NetworkPolicy desk/sallyport-closed']);
    expect(plan.after).toMatchObject([{ answer: 'holds' }]);
    const { patterns } = await document<{ patterns: readonly unknown[] }>(0, 'pattern', 'list', '--templates', 'mine');
    expect(patterns.length).toBe(9);
  });

  it('is unknown, exit 6, where a policy may act of which not all is evaluated', async () => {
    const odd =
      'apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: odd, namespace: shop}\nspec: {endpointSelector: {}, ingress: [{fromGroups: [{}]}]}\n';
    await write({ 'cluster/odd.yaml': odd });
    const ended = await run('pattern', 'check', 'nobody', '-n', 'shop', '--templates', 'mine');
    expect(ended.code).toBe(6);
    expect(ended.stdout).toContain('nobody: cannot be told');
    expect(ended.stdout).toContain('SP371');
    expect(ended.stdout).toContain('CiliumNetworkPolicy shop/odd');
  });

  it.each([
    [
      'a field that there is not',
      { 'mine2/x/pattern.yaml': `${own('[{}]')}script: x\n`, 'mine2/x/README.md': 'x\n' },
      /script/,
    ],
    ['no doc', { 'mine3/x/pattern.yaml': own('[{}]') }, /README\.md|there is no/],
    ['a file beside the folders', { 'mine4/x.yaml': own('[{}]') }, /holds folders alone/],
  ])('is refused with %s', async (_, files, message) => {
    await write(files);
    const folder = Object.keys(files)[0]?.split('/')[0] ?? '';
    const ended = await run('pattern', 'list', '--templates', folder, '--json');
    expect(ended.code).toBe(2);
    expect(ended.stdout).toContain('SP265');
    expect(ended.stdout).toMatch(message);
  });
});
