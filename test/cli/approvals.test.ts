// Two people for one plan: who may approve, what an approval is bound to, and how it travels.
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Gate } from '../../src/model/finding.ts';
import { CLUSTER, CONFIG, documentOf, EDGES, makeHome, sallyport } from './shop.ts';
import type { Ended } from './shop.ts';

const NOW = '2026-10-10T00:00:00Z';
let home = '';

const as =
  (user: string, state = 'state.sqlite') =>
  (...args: readonly string[]): Promise<Ended> =>
    sallyport(
      [...args, '--json', '--manifests', 'cluster', '--state', state, '--config', 'config.yaml', '--now', NOW],
      { home, env: { SALLYPORT_USER: user } },
    );
const alice = as('alice');
const bob = as('bob');
const carol = as('carol');
const gatesOf = (ended: Ended): readonly Gate[] => documentOf(ended)['gates'] as Gate[];
const approvalOf = (ended: Ended): Gate | undefined => gatesOf(ended).find(({ id }) => id === 'approval');
const hashOf = async (to: string): Promise<string> =>
  documentOf(await alice('plan', 'shop', '--to', to))['hash'] as string;
const trail = async (): Promise<
  readonly { readonly what: string; readonly object: string; readonly reason: string }[]
> => documentOf(await alice('audit'))['entries'] as never;

beforeAll(async () => {
  home = await makeHome({
    ...CLUSTER,
    'config.yaml': `${CONFIG}changes: {approvals: {required: 1}}\n`,
    'edges.jsonl': EDGES,
  });
  expect((await alice('observe', 'edges', 'edges.jsonl')).code).toBe(0);
});

describe('one state for several people', () => {
  it('lets nobody carry out a plan alone, and says who is asked for what', async () => {
    const ended = await alice('advance', 'shop', '--to', 'monitor', '--yes');
    expect(ended.code, ended.stderr).toBe(3);
    const asked = approvalOf(ended);
    expect(asked?.facts[0]).toMatch(/^0 of 1 approval of plan [0-9a-f]{12} by others than alice \(system\)$/);
    expect(asked?.fix).toMatch(/^somebody else: sallyport approve shop --to monitor --plan [0-9a-f]{12} /);
  });

  it('takes no approval without a reason or a plan, nor of a plan that is not this one', async () => {
    const empty = await bob('approve', 'shop');
    expect(empty.code).toBe(2);
    expect(empty.stdout).toContain('--plan');
    expect(empty.stdout).toContain('--reason');
    const other = await bob('approve', 'shop', '--to', 'monitor', '--plan', '0'.repeat(12), '--reason', 'x');
    expect(other.code).toBe(3);
    expect(other.stdout).toContain('SP605');
  });

  it('does not count the word of the one who carries it out, and counts that of another for one run', async () => {
    const hash = await hashOf('monitor');
    const own = await alice('approve', 'shop', '--to', 'monitor', '--plan', hash, '--reason', 'my own');
    expect(own.code, own.stderr).toBe(0);
    const alone = await alice('advance', 'shop', '--to', 'monitor', '--yes');
    expect(alone.code).toBe(3);
    expect(approvalOf(alone)?.facts.join()).toContain('is of the one who would carry the plan out');

    const yes = await bob('approve', 'shop', '--to', 'monitor', '--plan', hash.slice(0, 12), '--reason', 'seen');
    expect(documentOf(yes)).toMatchObject({
      kind: 'Approval',
      plan: hash,
      by: { kind: 'system', name: 'bob' },
      namespace: 'shop',
    });
    const done = await alice('advance', 'shop', '--to', 'monitor', '--yes');
    expect(done.code, done.stderr).toBe(0);
    const lines = await trail();
    expect(lines).toContainEqual(expect.objectContaining({ what: 'approve', reason: 'seen (bob (system))' }) as object);
    expect(lines.find(({ what }) => what === 'carry out approved plan')).toMatchObject({
      object: `namespace shop, plan ${hash}`,
      reason: 'approved by bob (system); carried out by alice (system)',
    });
  });

  it('keeps nobody from taking back, and asks again before the same plan runs again', async () => {
    const back = await alice('rollback', 'shop', '--to', 'none', '--yes');
    expect(back.code, back.stderr).toBe(0);
    const again = await alice('advance', 'shop', '--to', 'monitor', '--yes');
    expect(again.code).toBe(3);
    expect(approvalOf(again)?.facts.join()).toContain('was used by the run of');
  });

  it('no approval can be waived or switched off by the one who advances', async () => {
    const waived = await alice('waive', 'gate=approval,subject=shop', '--reason', 'in a hurry');
    expect(waived.code).toBe(2);
    await writeFile(join(home, 'off.yaml'), 'gates: {approval: off}\n');
    const off = await sallyport(
      ['plan', 'shop', '--json', '--manifests', 'cluster', '--state', 'state.sqlite', '--config', 'off.yaml'],
      { home },
    );
    expect(off.code).toBe(2);
  });
});

describe("a state of one's own for each", () => {
  const file = 'approval.json';
  beforeAll(async () => {
    await copyFile(join(home, 'state.sqlite'), join(home, 'carol.sqlite'));
  });
  const carolAtHome = as('carol', 'carol.sqlite');
  const change = async (with_: Readonly<Record<string, unknown>>): Promise<string> => {
    const one = { ...(JSON.parse(await readFile(join(home, file), 'utf8')) as object), ...with_ };
    await writeFile(join(home, 'changed.json'), JSON.stringify(one));
    return 'changed.json';
  };

  it('is bridged by a file, which counts for its own plan, its own cluster and a day', async () => {
    const hash = await hashOf('monitor');
    const made = await carolAtHome('approve', 'shop', '--to', 'monitor', '--plan', hash, '--reason', 'fine by me');
    expect(made.code, made.stderr).toBe(0);
    await writeFile(join(home, file), made.stdout);
    for (const [with_, why] of [
      [{ plan: 'f'.repeat(64) }, 'and the plan is now another'],
      [{ target: '0123456789abcdef' }, 'is for another cluster or directory'],
      [{ at: new Date(Date.now() - 25 * 3_600_000).toISOString() }, 'ended at'],
      [{ at: '2999-01-01T00:00:00Z' }, 'lies ahead'],
      [{ by: { kind: 'kubernetes', name: 'carol' } }, 'names its author another way'],
      [{ by: { kind: 'system', name: 'alice' } }, 'is of the one who would carry the plan out'],
    ] as const) {
      const ended = await alice('plan', 'shop', '--to', 'monitor', '--approval', await change(with_));
      expect(approvalOf(ended)?.answer, why).toBe('no');
      expect(approvalOf(ended)?.facts.join()).toContain(why);
    }
    const done = await alice('advance', 'shop', '--to', 'monitor', '--yes', '--approval', file);
    expect(done.code, done.stderr).toBe(0);
    expect((await trail()).filter(({ what }) => what === 'approve').at(-1)?.reason).toMatch(
      /^fine by me \(carol \(system\), .*, from approval\.json\)$/,
    );
  });

  it('an approval ends when the plan changes', async () => {
    const hash = await hashOf('allow-list');
    expect((await bob('approve', 'shop', '--to', 'allow-list', '--plan', hash, '--reason', 'ok')).code).toBe(0);
    const cut = await alice('accept', 'src=desk/Deployment/toolbox', '--reason', 'a forgotten toolbox');
    expect(cut.code, cut.stderr).toBe(0);
    const ended = await alice('plan', 'shop', '--to', 'allow-list');
    expect(documentOf(ended)['hash']).not.toBe(hash);
    expect(approvalOf(ended)?.facts.join()).toContain(`is of plan ${hash.slice(0, 12)}, and the plan is now another`);
  });

  it.each([
    ['{', 'it is not JSON'],
    ['{"apiVersion":"sallyport.dev/v1","kind":"Plan"}', 'kind:'],
    ['x'.repeat(70_000), 'has 70000 bytes'],
  ])('a file that is none is refused: %#', async (text, why) => {
    await writeFile(join(home, 'bad.json'), text);
    const ended = await alice('plan', 'shop', '--approval', 'bad.json');
    expect(ended.code).toBe(2);
    expect(ended.stdout).toContain('SP291');
    expect(ended.stdout).toContain(why);
  });
});

it('asks where the configuration says: so many people, these namespaces, phases and approvers', async () => {
  const rule = '{required: 2, phases: [allow-list], namespaces: [sh*], approvers: [bob, carol, d*]}';
  await writeFile(join(home, 'config.yaml'), `${CONFIG}changes: {approvals: ${rule}}\n`);
  expect(approvalOf(await alice('plan', 'desk', '--to', 'allow-list'))).toBeUndefined();
  expect(approvalOf(await alice('plan', 'desk', '--to', 'monitor'))).toBeUndefined();
  const hash = await hashOf('allow-list');
  const approve = (who: typeof alice): Promise<Ended> =>
    who('approve', 'shop', '--to', 'allow-list', '--plan', hash, '--reason', 'ok');
  await approve(as('mallory'));
  await approve(bob);
  await approve(bob);
  const one = approvalOf(await alice('plan', 'shop', '--to', 'allow-list'));
  expect(one?.facts[0]).toContain('1 of 2 approvals');
  expect(one?.facts.join()).toContain('mallory (system) does not count: it is of somebody whom the configuration');
  await approve(carol);
  expect(approvalOf(await alice('plan', 'shop', '--to', 'allow-list'))?.answer).toBe('yes');
});
