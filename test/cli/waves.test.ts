import { describe, expect, it } from 'vitest';
import { CLUSTER, CONFIG, EDGES, documentOf, makeHome, sallyport } from './shop.ts';

describe('waves', () => {
  it('are the order, with each phase and reason, and the next command', async () => {
    const home = await makeHome({ ...CLUSTER, 'config.yaml': CONFIG, 'edges.jsonl': EDGES });
    const run = async (...args: readonly string[]): ReturnType<typeof sallyport> => {
      const ended = await sallyport(
        ['--manifests', 'cluster', '--state', 's.sqlite', '--config', 'config.yaml', ...args],
        { home },
      );
      expect(ended.code, ended.stderr).toBe(0);
      return ended;
    };
    await run('observe', 'edges', 'edges.jsonl');
    // The desk calls the shop: it joins no later.
    expect((await run('waves', '-o', 'name')).stdout).toBe('desk\nshop\n');
    const before = await run('waves');
    expect(before.stdout).toMatch(/^Wave 1: 1 namespace\n {2}desk \(none\): holds nothing/);
    expect(before.stdout).toMatch(/Next: sallyport plan desk --to monitor\n$/);
    await run('advance', 'desk', '--to', 'monitor', '--yes');
    const { waves } = documentOf(await run('waves', '--json')) as unknown as {
      readonly waves: readonly { readonly namespaces: readonly object[] }[];
    };
    expect(waves.map(({ namespaces }) => namespaces)).toEqual([
      [{ namespace: 'desk', phase: 'monitor' }],
      [{ namespace: 'shop', phase: 'none' }],
    ]);
    expect((await run('waves')).stdout).toMatch(/Next: sallyport plan desk --to allow-list\n$/);
  });
});
