// What an organisation asks of a change: a ticket, and windows in which nothing is changed.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import type { Gate } from '../../src/model/finding.ts';
import { CLUSTER, CONFIG, documentOf, EDGES, makeHome, sallyport } from './shop.ts';

const RULES = `changes:
  ticket: required
  freeze: [{from: "2026-12-20T00:00:00Z", to: "2027-01-04T00:00:00Z", reason: end of year}]
`;
const FROZEN = '2026-12-24T18:00:00Z';
const AFTER = '2027-01-05T09:00:00Z';
let home = '';

const run = (now: string, ...args: readonly string[]): ReturnType<typeof sallyport> =>
  sallyport(
    [...args, '--json', '--manifests', 'cluster', '--state', 'state.sqlite', '--config', 'config.yaml', '--now', now],
    { home },
  );
const advance = ['advance', 'shop', '--to', 'monitor', '--yes'] as const;

beforeAll(async () => {
  home = await makeHome({ ...CLUSTER, 'config.yaml': `${CONFIG}${RULES}`, 'edges.jsonl': EDGES });
  expect((await run(FROZEN, 'observe', 'edges', 'edges.jsonl')).code).toBe(0);
});

it('changes nothing in a freeze window or without a ticket, says both at once, and puts both on the trail', async () => {
  const ended = await run(FROZEN, ...advance);
  expect(ended.code, ended.stderr).toBe(3);
  const open = (documentOf(ended)['gates'] as Gate[]).filter(({ answer }) => answer !== 'yes');
  expect(open.map(({ id }) => id)).toEqual(['freeze', 'ticket']);
  expect(open[0]?.facts.join()).toContain('until 2027-01-04T00:00:00.000Z: end of year');
  expect((await run(AFTER, ...advance)).code).toBe(3);

  const waived = await run(FROZEN, 'waive', 'gate=freeze,subject=shop', '--reason', 'the board said so');
  expect(waived.code, waived.stderr).toBe(0);
  const done = await run(FROZEN, ...advance, '--ticket', 'CHG-4711');
  expect(done.code, done.stderr).toBe(0);
  const { entries } = documentOf(await run(FROZEN, 'audit')) as unknown as {
    entries: { what: string; reason: string }[];
  };
  expect(entries).toContainEqual(expect.objectContaining({ what: 'ticket', reason: 'CHG-4711' }));
  expect(entries).toContainEqual(
    expect.objectContaining({ what: 'gate waived', reason: expect.stringContaining('the board said so') as string }),
  );
});

it('never keeps anybody from taking back', async () => {
  const back = await run(FROZEN, 'rollback', 'shop', '--to', 'none', '--yes');
  expect(back.code, back.stderr).toBe(0);
});

it('takes no window that ends before it begins', async () => {
  const turned = RULES.replace('2027-01-04', '2026-01-04');
  await writeFile(join(home, 'config.yaml'), `${CONFIG}${turned}`);
  const ended = await run(AFTER, 'plan', 'shop');
  expect(ended.code).toBe(2);
  expect(ended.stderr.replaceAll(/\s+/g, ' ')).toContain('a window ends after it begins');
});
