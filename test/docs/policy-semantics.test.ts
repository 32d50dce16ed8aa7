import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CNI_KINDS } from '../../src/inventory/facts.ts';
import { unknownReasons } from '../support/unknown-reasons.ts';

const ROOT = join(import.meta.dirname, '../..');
const SEMANTICS = readFileSync(join(ROOT, 'docs/policy-semantics.md'), 'utf8');

/** Why an answer is unknown, by the words that say so; the first that fits. What settles it is for the reader. */
const GROUPS: readonly { readonly title: string; readonly when: string; readonly fits: RegExp }[] = [
  {
    title: 'An object that the API server would not take, or reads otherwise than others',
    when: 'Correct it: `sallyport inventory` names file, line and field.',
    fits: /not a valid|not valid|read differently|Problem|…: what depends on it is unknown/u,
  },
  {
    title: 'A version or option of the mesh, the proxy or the engine that differs',
    when: 'State the version in the configuration, or write the object so that versions do not differ.',
    fits: /version|enforces …/u,
  },
  {
    title: 'A kind, field or tier that is not evaluated',
    when: 'Write it in the plain form, or check it by hand and waive it by subject.',
    fits: /not evaluated|not plain|its tier|in a way that|what … does here|Ambient/iu,
  },
  {
    title: 'Policies without an order among themselves that do not agree',
    when: 'Give them different priorities or orders.',
    fits: /do not agree/u,
  },
  {
    title: 'What an ipBlock matches under this CNI',
    when: 'State `cluster.cni.ipBlockMatches` in the configuration.',
    fits: /ipBlock/u,
  },
  {
    title: 'Which node a pod runs on, or a connection comes from',
    when: 'Read the live cluster with its Pods and Nodes, or name the node.',
    fits: /own node|same node|may be its own/u,
  },
  {
    title: 'Labels, addresses, port names or accounts that are not known',
    when: 'Add the Namespace, the Pods or the pod template; read the live cluster.',
    fits: /labels|address|port|selects|only some|what it selects|the other end|What … is, is not known|what … is, is not known|admits it is not known|That is not sure|cannot be told: …|account of its pods|the name is not known/u,
  },
  {
    title: 'The mesh: sidecars, hosts and settings that are not known',
    when: 'Read the live cluster; state `cluster.mesh`; add the Services and the mesh configuration.',
    fits: /./u,
  },
];

describe('what the documents say of answers that are unknown', () => {
  it('names every reason that the sources give, with what settles it', async () => {
    const reasons = unknownReasons();
    const lines = GROUPS.flatMap(({ title, when }, index) => {
      const own = reasons.filter(({ text }) => GROUPS.findIndex(({ fits }) => fits.test(text)) === index);
      return [`## ${title}`, '', when, '', ...own.map(({ file, text }) => `- ${code(text)} (${file})`), ''];
    });
    await expect(
      [
        '# Everything that answers "unknown" today, and why',
        '',
        'Made from the sources of the evaluator (`src/model`) by `test/docs/policy-semantics.test.ts`, which fails where a reason is',
        'missing here; `npx vitest run --project unit test/docs -u` writes it again. `…` stands for what is filled in: an object, a workload, a field. How',
        'policies are evaluated, and where implementations differ, is in [policy-semantics.md](policy-semantics.md).',
        '',
        ...lines,
      ].join('\n'),
    ).toMatchFileSnapshot(join(ROOT, 'docs/unknown-answers.md'));
  });

  it('leaves few to the last group: those of the mesh', () => {
    const last = unknownReasons().filter(
      ({ text }) => GROUPS.findIndex(({ fits }) => fits.test(text)) === GROUPS.length - 1,
    );
    expect([...new Set(last.map(({ file }) => file))].filter((file) => !file.startsWith('istio'))).toEqual([]);
  });
});

describe('what the documents say of implementations that disagree', () => {
  it('names every disagreement that is kept as a fixture', () => {
    const kept = readdirSync(join(ROOT, 'test/engines/disagreements')).map((file) => file.replace('.json', ''));
    expect(kept.filter((name) => !SEMANTICS.includes(`\`${name}\``))).toEqual([]);
  });

  it('gives the default of every CNI as the inventory has it', () => {
    const rows = CNI_KINDS.map(
      ({ name, enforces, ipBlockMatches }) =>
        `| ${name} | ${enforces} | ${ipBlockMatches.length === 0 ? 'none' : ipBlockMatches.join(', ')} |`,
    );
    expect(rows.filter((row) => !SEMANTICS.includes(row))).toEqual([]);
  });
});

function code(text: string): string {
  return `\`${text.replaceAll('`', "'").replaceAll(/\s+/gu, ' ')}\``;
}
