// What the page's script works on, made as small as 50,000 edges ask for: columns instead of objects, and the rarely needed apart.
import type { AssessmentReport } from '../model.ts';
import { MAP_CODES } from '../model.ts';
import type { DataTable } from './table.ts';

/** Read at once: the map and the rows of tables. */
export function pageData(
  report: AssessmentReport,
  tables: readonly DataTable[],
  texts: Readonly<Record<string, string>>,
): unknown {
  const { map } = report;
  const groups = report.egress.groups;
  const groupOf = new Map(
    groups.flatMap((group, index) => group.destinations.map((one) => [one.node, index] as const)),
  );
  return {
    ui: Object.fromEntries(
      Object.entries(texts).flatMap(([key, text]) => (key.startsWith('ui.') ? [[key.slice(3), text]] : [])),
    ),
    codes: MAP_CODES,
    namespaces: map.namespaces,
    stages: map.stages,
    planes: map.planes,
    /** Stages in the order of a pipeline. */
    stageOrder: [...new Set([...report.inventory.byStage.map((one) => one.name), ...map.stages])],
    tenants: map.tenants,
    sensitivities: map.sensitivities,
    operations: map.operations,
    reasons: map.reasons,
    sourceSets: map.sourceSets,
    groups: groups.map((group) => group.title),
    nodes: {
      id: map.nodes.map((node) => node.id),
      label: map.nodes.map((node) => node.label),
      kind: map.nodes.map((node) => node.kind),
      namespace: map.nodes.map((node) => node.namespace),
      stage: map.nodes.map((node) => node.stage),
      plane: map.nodes.map((node) => node.plane),
      tenant: map.nodes.map((node) => node.tenant),
      sensitivity: map.nodes.map((node) => node.sensitivity),
      mesh: map.nodes.map((node) => node.mesh),
      group: map.nodes.map((_, index) => groupOf.get(index) ?? -1),
    },
    edges: map.edges,
    tables: tables.map(({ id, caption, columns, rows, opens }) => ({ id, caption, columns, rows, opens: opens ?? [] })),
  };
}

/** Read at the first press on something: the evidence behind a row. */
export function detailData(report: AssessmentReport): unknown {
  const becauses: string[] = [];
  const known = new Map<string, number>();
  const intern = (text: string): number => {
    const found = known.get(text);
    if (found !== undefined) return found;
    known.set(text, becauses.length);
    becauses.push(text);
    return becauses.length - 1;
  };
  return {
    workloads: report.inventory.workloads.map((row) => [
      row.component,
      row.confidence,
      row.why,
      row.alternatives,
      row.serviceAccounts,
      row.schedule,
      row.manager,
    ]),
    factors: report.risk.factors.map(({ id, title, weight }) => [id, title, weight]),
    risk: report.risk.rows.map((row) => [
      row.node,
      row.rank,
      row.score,
      row.values.map((value) => [value.factor, value.points, value.value === null ? 0 : 1, intern(value.because)]),
    ]),
    becauses,
    candidates: report.policies.candidates.map((row) => [
      row.name,
      row.purpose,
      row.operation,
      row.yaml,
      row.diff,
      row.rules.map((rule) => [rule.peer, rule.edges, rule.note]),
      row.workload,
    ]),
    readiness: report.readiness.namespaces,
    plaintext: report.plaintext.rows.map((row) => [row.edge, row.because, row.fixes]),
    egress: report.egress.groups.flatMap((group) =>
      group.destinations.map((one) => [one.node, group.title, one.because, one.boundary]),
    ),
  };
}
