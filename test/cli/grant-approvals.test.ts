// Access that ends by itself where the configuration asks for other people's word and for a ticket.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Gate } from '../../src/model/finding.ts';
import { readTree } from '../support/folder.ts';
import { CLUSTER, CONFIG, documentOf, EDGES, makeHome, sallyport } from './shop.ts';
import type { Ended } from './shop.ts';

const NOW = '2026-10-20T12:00:00Z';
const UNTIL = '2026-10-20T12:30:00Z';
let home = '';

const as =
  (user: string) =>
  (...args: readonly string[]): Promise<Ended> =>
    sallyport(
      [...args, '--json', '--manifests', 'cluster', '--state', 'state.sqlite', '--config', 'config.yaml', '--now', NOW],
      { home, env: { SALLYPORT_USER: user } },
    );
const alice = as('alice');
const bob = as('bob');
const GRANT = [
  'grant',
  '--from',
  'desk/Deployment/toolbox',
  '--to',
  'shop/Deployment/db',
  '--port',
  '5432',
  '--until',
  UNTIL,
  '--reason',
  'incident 17',
] as const;
const GLASS = ['break-glass', 'shop', '--until', UNTIL, '--reason', 'incident 17'] as const;
const gateOf = (ended: Ended, id: string): Gate | undefined =>
  (documentOf(ended)['plan'] as { gates: Gate[] }).gates.find((one) => one.id === id);

beforeAll(async () => {
  home = await makeHome({ ...CLUSTER, 'edges.jsonl': EDGES, 'config.yaml': CONFIG });
  for (const args of [
    ['observe', 'edges', 'edges.jsonl'],
    ['accept', 'src=desk/Deployment/toolbox', '--reason', 'a forgotten toolbox'],
    ['advance', 'shop', '--to', 'allow-list', '--yes'],
  ]) {
    const ended = await alice(...args);
    expect(ended.code, ended.stderr + ended.stdout).toBe(0);
  }
  await writeFile(join(home, 'config.yaml'), `${CONFIG}changes: {approvals: {required: 1}, ticket: required}\n`);
});

describe.each([
  ['a grant', GRANT],
  ['break-glass', GLASS],
] as const)('%s', (_, what) => {
  it('waits for somebody else and for a ticket, and takes both down', async () => {
    const before = await readTree(join(home, 'cluster'));
    const alone = await alice(...what, '--yes');
    expect(alone.code, alone.stderr + alone.stdout).toBe(3);
    expect(gateOf(alone, 'ticket')?.answer).toBe('no');
    const asked = gateOf(alone, 'approval');
    expect(asked?.fix).toContain('--approve --plan-hash');
    const hash = (documentOf(alone)['plan'] as { hash: string }).hash;
    expect(await readTree(join(home, 'cluster'))).toEqual(before);
    // One's own word does not count.
    expect((await alice(...what, '--approve', '--plan-hash', hash.slice(0, 12))).code).toBe(0);
    expect((await alice(...what, '--ticket', 'CHG-1', '--yes')).code).toBe(3);
    // Another person at another second comes to the same plan; one for another end is another.
    const other = what.map((word) => (word === UNTIL ? '2026-10-20T12:31:00Z' : word));
    expect(documentOf(await bob(...other, '--approve', '--plan-hash', hash.slice(0, 12)))).toMatchObject({
      error: { code: 'SP605' },
    });
    const yes = await bob(...what, '--approve', '--plan-hash', hash.slice(0, 12));
    expect(yes.code, yes.stderr + yes.stdout).toBe(0);
    expect(documentOf(yes)).toMatchObject({ kind: 'Approval', namespace: 'shop', plan: hash });
    expect(await readTree(join(home, 'cluster'))).toEqual(before);
    const opened = await alice(...what, '--ticket', 'CHG-1', '--yes');
    expect(opened.code, opened.stderr + opened.stdout).toBe(0);
    const { id } = documentOf(opened)['grant'] as { id: string };
    const trail = documentOf(await alice('audit'))['entries'] as readonly { what: string; reason: string }[];
    expect(trail.some(({ what: did, reason }) => did === 'ticket' && reason === 'CHG-1')).toBe(true);
    expect(
      trail.some(({ what: did, reason }) => did === 'carry out approved plan' && reason.includes('approved by bob')),
    ).toBe(true);
    // Its end asks nobody.
    expect((await alice('grant', 'revoke', id)).code).toBe(0);
    expect(await readTree(join(home, 'cluster'))).toEqual(before);
    // The word was used.
    const again = await alice(...what, '--ticket', 'CHG-1', '--yes');
    expect(again.code).toBe(3);
    expect(gateOf(again, 'approval')?.facts.join()).toContain('was used by the run');
  });

  it('is approved with its end, and not for a while', async () => {
    const relative = what.map((word) => (word === '--until' ? '--for' : word === UNTIL ? '30m' : word));
    expect(documentOf(await bob(...relative, '--approve'))).toMatchObject({ error: { code: 'SP134' } });
  });
});
