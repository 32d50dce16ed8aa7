import type { Act, Screen } from '../act.ts';
import type { Page, Row } from '../page.ts';
import { containing, rowsOf, textFilter } from '../page.ts';
import type { Known } from '../world.ts';
import { shortEdge } from './edges.ts';
import { showValue } from '../../../shared/pure/mask.ts';
import { plural, safeText } from '../../../shared/pure/text.ts';

/** Fields that are not as Sallyport left them, each with the ways to settle it. */
export function driftPage(known: Known): Page<Act> {
  const rows = known.drift.flatMap((one): readonly Row<Act>[] => {
    const resolve = `sallyport resolve "${safeText(one.object)}" --keep ours|theirs|before`;
    return [
      { text: safeText(`${one.object} ${one.path}`), tone: 'head' },
      { text: safeText(`  ours: ${showValue(one.field, one.ours)}`) },
      { text: safeText(`  now:  ${showValue(one.field, one.now)} (since step ${one.step})`) },
      { text: `  $ ${resolve}`, command: resolve },
    ];
  });
  return {
    title: `Drift: ${plural(known.drift.length, 'field')}`,
    above: [],
    rows: rowsOf(rows),
    keys: [{ key: 'v', label: 'verify', value: { kind: 'verify', namespace: undefined }, command: 'sallyport verify' }],
    help: [
      'Fields that Sallyport wrote and that somebody else changed since. No rollback overwrites them: resolve says which version stays.',
    ],
    command: 'sallyport verify',
  };
}

/** What a command printed, to be read in peace. */
export function reportPage(screen: Extract<Screen, { kind: 'report' }>): Page<Act> {
  const list = rowsOf<Act>(screen.lines.map((text) => ({ text })));
  return {
    title: screen.title,
    above: [],
    rows: list,
    filter: textFilter(list),
    keys: [],
    help: ['What the command printed.'],
    command: screen.command,
  };
}

/** Everything that has a page: namespaces, workloads, open gates that were worked out, edges. */
export function searchPage(known: Known, width: () => number): Page<Act> {
  interface Found {
    readonly text: string;
    readonly screen: Screen;
    readonly command: string;
  }
  const few: Found[] = [
    ...known.namespaces.map(({ info }) => ({
      text: `namespace  ${safeText(info.name)}`,
      screen: { kind: 'namespace', namespace: info.name } as const,
      command: `sallyport plan ${safeText(info.name)}`,
    })),
    ...known.loaded.inventory.workloads.map((workload) => ({
      text: `workload   ${safeText(`${workload.id} ${workload.classification.component}`)}`,
      screen: { kind: 'workload', id: workload.id } as const,
      command: `sallyport inventory --namespace ${safeText(workload.namespace)}`,
    })),
    ...known.namespaces.flatMap(({ info }) => {
      const planned = known.planIfKnown(info.name);
      if (planned?.kind !== 'plan') return [];
      return planned.plan.gates.flatMap((gate, index) =>
        gate.answer === 'yes'
          ? []
          : [
              {
                text: safeText(`gate       ${gate.id} ${gate.subject}: ${gate.facts[0] ?? gate.answer}`),
                screen: { kind: 'gate', namespace: info.name, to: undefined, index } as const,
                command: `sallyport plan ${safeText(info.name)}`,
              },
            ],
      );
    }),
  ];
  const edges = known.edges();
  const at = (index: number): Row<Act> => {
    const found = few[index];
    if (found !== undefined)
      return { text: found.text, pick: { kind: 'open', screen: found.screen }, command: found.command };
    const line = edges[index - few.length];
    if (line === undefined) return { text: '' };
    return {
      text: `edge       ${safeText(shortEdge(line.edge, width() - 14))}`,
      full: safeText(line.text),
      pick: { kind: 'open', screen: { kind: 'edge', id: line.edge.id } },
      command: 'sallyport flows',
    };
  };
  let texts: readonly string[] | undefined;
  return {
    title: 'Search: namespaces, workloads, open gates, edges',
    above: [],
    rows: { length: few.length + edges.length, at },
    detail: true,
    filter: (text, before) => {
      const needle = text.trim().toLowerCase();
      if (needle === '') return { kind: 'rows', shown: undefined };
      texts ??= [
        ...few.map((one) => one.text.toLowerCase()),
        ...edges.map((line) => `edge ${line.text} ${line.edge.id}`.toLowerCase()),
      ];
      return { kind: 'rows', shown: containing(texts, needle, before) };
    },
    keys: [],
    help: ['Type / and words: what holds all of them is shown. Enter opens it.'],
    command: 'sallyport inventory',
  };
}
