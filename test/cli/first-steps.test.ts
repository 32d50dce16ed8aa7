// What a newcomer is told to do next, at the places where the walks of docs/walks.md came to a halt.
import { beforeAll, describe, expect, it } from 'vitest';
import { CLUSTER, EDGES, documentOf, makeHome, sallyport } from './shop.ts';

let home = '';
const at = ['--manifests', 'cluster', '--state', 'steps.sqlite'];
beforeAll(async () => {
  home = await makeHome({
    ...CLUSTER,
    'edges.jsonl': EDGES,
    'stated.yaml': 'cluster:\n  cni: {name: home-made, ipBlockMatches: []}\n',
  });
});

describe('what comes next', () => {
  it('is to observe while nothing is on record, and then the order of the namespaces', async () => {
    const before = await sallyport(['status', ...at], { home });
    expect(before.stdout.replaceAll(/\s+/g, ' ')).toContain('no traffic is on record. Next: sallyport observe --help');
    expect((await sallyport(['observe', 'edges', 'edges.jsonl', ...at], { home })).code).toBe(0);
    const after = await sallyport(['status', ...at], { home });
    expect(after.stdout).toContain('Next: sallyport waves');
    expect(after.stdout).not.toContain('observe');
  });

  it('is the configuration, where no network plugin was recognised', async () => {
    const { stdout } = await sallyport(['inventory', ...at], { home });
    expect(stdout.replaceAll(/\s+/g, ' ')).toContain('cluster.cni in the configuration states it');
  });

  it.each([
    ['nothing is stated', [], /^state cluster\.cni in the configuration/],
    [
      'a plugin is stated that nobody knows',
      ['--config', 'stated.yaml'],
      /^see a policy refuse .* sallyport waive gate=enforcement,subject=shop --reason/,
    ],
  ] as const)('is for the gate enforcement what has not been done yet: %s', async (_, flags, fix) => {
    const ended = await sallyport(['plan', 'shop', '--to', 'allow-list', '--json', ...at, ...flags], { home });
    const gates = documentOf(ended)['gates'] as readonly { readonly id: string; readonly fix: string }[];
    expect(gates.find((gate) => gate.id === 'enforcement')?.fix).toMatch(fix);
  });
});
