import { compareText } from '../shared/pure/order.ts';
import type { AssessmentReport, Comparison, ComparedFigure, ProgressSection } from './model.ts';
import { MAP_CODES } from './model.ts';

/** Figures that should fall, and those that should rise; of the others neither is better. */
const FALLS = new Set([
  'unrecognised',
  'unreviewed',
  'unseen',
  'surface-now',
  'surface-end',
  'unjudged',
  'plaintext',
  'plaintext-lasting',
  'keys',
  'literal-keys',
  'default-accounts',
  'shared-accounts',
  'egress-unknown',
  'leaks',
  'data-to-control',
  'drift',
  'top-risk',
]);
const RISES = new Set(['days', 'records', 'changes']);
const SHOWN = 50;

const TOTALS: readonly (keyof ProgressSection['totals'])[] = [
  'runs',
  'phasesDone',
  'changes',
  'acceptances',
  'waivers',
  'adoptions',
  'rollbacks',
  'drift',
  'refused',
  'undone',
  'violationsPrevented',
];

/** What changed between two reports. The earlier one is data from a file: it was checked for its form alone. */
export function compareReports(before: AssessmentReport, after: AssessmentReport): Comparison {
  const [old, now] = [edgeTexts(before), edgeTexts(after)];
  const addedEdges = [...now]
    .filter(([id]) => !old.has(id))
    .map(([, text]) => text)
    .sort(compareText);
  const removedEdges = [...old]
    .filter(([id]) => !now.has(id))
    .map(([, text]) => text)
    .sort(compareText);
  const phases = new Map(before.readiness.namespaces.map((one) => [one.namespace, one.phase]));
  const risks = new Map(before.risk.rows.map((row) => [row.workload, row.score]));
  const states = new Map(before.surface.states.map((one) => [one.state, one.reachable]));
  const known = new Set(before.progress.runs.map((run) => run.run));
  const sameCluster = before.cluster.id === after.cluster.id;
  return {
    before: { at: before.at, description: before.cluster.description, sameCluster },
    figures: figures(before, after),
    workloads: difference(
      before.inventory.workloads.map((one) => one.id),
      after.inventory.workloads.map((one) => one.id),
    ),
    edges: {
      added: addedEdges.length,
      removed: removedEdges.length,
      addedTexts: addedEdges.slice(0, SHOWN),
      removedTexts: removedEdges.slice(0, SHOWN),
    },
    phases: after.readiness.namespaces
      .map((one) => ({
        namespace: one.namespace,
        before: phases.get(one.namespace) ?? ('none' as const),
        after: one.phase,
      }))
      .filter((one) => one.before !== one.after),
    risk: after.risk.rows
      .flatMap((row) => {
        const was = risks.get(row.workload);
        return was === undefined || was === row.score
          ? []
          : [{ workload: row.workload, before: was, after: row.score }];
      })
      .sort(
        (a, b) => Math.abs(b.after - b.before) - Math.abs(a.after - a.before) || compareText(a.workload, b.workload),
      )
      .slice(0, SHOWN),
    candidates: difference(
      before.policies.candidates.map((one) => one.name),
      after.policies.candidates.map((one) => one.name),
    ),
    done: TOTALS.map((id) => ({ id, before: before.progress.totals[id], after: after.progress.totals[id] })),
    runs: after.progress.runs.filter((run) => !known.has(run.run)),
    surface: after.surface.states.map((one) => ({
      state: one.state,
      before: states.get(one.state) ?? null,
      after: one.reachable,
    })),
    notes: [
      ...(sameCluster
        ? []
        : [
            'The reports are of different clusters: what was added and removed says how they differ, not what happened.',
          ]),
      ...(before.at > after.at ? ['The report compared with is the younger one.'] : []),
      ...(before.version === after.version
        ? []
        : [
            `The earlier report was made by version ${before.version}, this one by ${after.version}: rules may differ.`,
          ]),
    ],
  };
}

function figures(before: AssessmentReport, after: AssessmentReport): readonly ComparedFigure[] {
  const old = new Map(before.summary.figures.map((one) => [one.id, one.value]));
  return after.summary.figures.map((figure): ComparedFigure => {
    const [was, is] = [old.get(figure.id) ?? null, figure.value];
    return { id: figure.id, label: figure.label, before: was, after: is, better: betterOf(figure.id, was, is) };
  });
}

function betterOf(id: string, was: number | null, is: number | null): ComparedFigure['better'] {
  if (was === null || is === null) return 'neither';
  if (was === is) return 'same';
  if (FALLS.has(id)) return is < was ? 'yes' : 'no';
  if (RISES.has(id)) return is > was ? 'yes' : 'no';
  return 'neither';
}

function difference(
  before: readonly string[],
  after: readonly string[],
): { readonly added: readonly string[]; readonly removed: readonly string[] } {
  const [old, now] = [new Set(before), new Set(after)];
  return {
    added: [...now].filter((one) => !old.has(one)).sort(compareText),
    removed: [...old].filter((one) => !now.has(one)).sort(compareText),
  };
}

function edgeTexts({ map }: AssessmentReport): ReadonlyMap<string, string> {
  const { id, src, dst, port, protocol } = map.edges;
  const name = (node: number | undefined): string => map.nodes[node ?? -1]?.id ?? '?';
  return new Map(
    id.map((one, index) => [
      one,
      `${name(src[index])} -> ${name(dst[index])} ${port[index] ?? 0}/${MAP_CODES.protocol[protocol[index] ?? 0] ?? 'TCP'}`,
    ]),
  );
}
