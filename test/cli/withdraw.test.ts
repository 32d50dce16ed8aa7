// What was decided is taken back by a command of its own, and all of it stands on the trail.
import { beforeAll, expect, it } from 'vitest';
import { CLUSTER, CONFIG, documentOf, EDGES, makeHome, sallyport } from './shop.ts';

const TOOLBOX = 'src=desk/Deployment/toolbox';
let home = '';

const run = (...args: readonly string[]): ReturnType<typeof sallyport> =>
  sallyport([...args, '--json', '--manifests', 'cluster', '--state', 'state.sqlite', '--config', 'config.yaml'], {
    home,
  });

async function reviews(): Promise<readonly string[]> {
  const { edges } = documentOf(await run('flows')) as unknown as { edges: { src: string; review: string }[] };
  return edges.filter(({ src }) => src === 'desk/Deployment/toolbox').map(({ review }) => review);
}

beforeAll(async () => {
  home = await makeHome({ ...CLUSTER, 'config.yaml': CONFIG, 'edges.jsonl': EDGES });
  expect((await run('observe', 'edges', 'edges.jsonl')).code).toBe(0);
});

it('takes back what was decided of edges, and says which', async () => {
  expect((await run('accept', TOOLBOX, '--reason', 'forgotten')).code).toBe(0);
  expect(await reviews()).toEqual(['to-be-cut']);
  const ended = await run('withdraw', TOOLBOX, '--reason', 'somebody uses it');
  expect(ended.code, ended.stderr).toBe(0);
  expect(documentOf(ended)).toMatchObject({
    kind: 'Decision',
    decision: { action: 'withdraw', query: TOOLBOX, reason: 'somebody uses it', matched: [expect.any(String)] },
  });
  expect(await reviews()).toEqual(['unreviewed']);
  const { entries } = documentOf(await run('audit')) as unknown as { entries: { what: string; object: string }[] };
  expect(entries.map(({ what }) => what)).toEqual(['accept', 'withdraw']);
  expect(entries[1]?.object).toContain('desk/Deployment/toolbox -> shop/Deployment/db 5432/TCP');
});

it('takes back a waiver, which then waives nothing', async () => {
  expect((await run('waive', 'gate=window', '--reason', 'a slip')).code).toBe(0);
  const ended = await run('withdraw', 'gate=window', '--reason', 'it was one');
  expect(ended.code, ended.stderr).toBe(0);
  const again = await run('withdraw', 'gate=window', '--reason', 'once more');
  expect({ code: again.code, document: documentOf(again) }).toMatchObject({
    code: 2,
    document: { error: { code: 'SP221' } },
  });
});

it.each([
  ['edges that nobody decided about', ['withdraw', 'src=shop/*', '--reason', 'why'], 'SP221'],
  ['gates and edges at once', ['withdraw', 'gate=window,src=shop/*', '--reason', 'why'], 'SP220'],
  ['no reason', ['withdraw', TOOLBOX], 'SP220'],
])('refuses %s', async (_, args, code) => {
  const ended = await run(...args);
  expect({ exit: ended.code, document: documentOf(ended) }).toMatchObject({ exit: 2, document: { error: { code } } });
});
