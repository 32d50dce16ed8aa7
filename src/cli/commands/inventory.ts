import type { App } from '../context.ts';
import { loadAll, requireNamespace } from '../load.ts';
import type { Finding } from '../../model/finding.ts';
import { FINDINGS } from '../../model/finding-catalogue.ts';
import type { Classification } from '../../model/inventory.ts';
import { groupBy } from '../../shared/pure/order.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import type { Output } from '../output.ts';
import { beside, few, paint, wrap } from '../output.ts';

export interface NamespaceOption {
  readonly namespace?: string;
}

/** What runs here: every workload with its component, stage, plane, sensitivity, and why. */
export async function inventory(app: App, options: NamespaceOption): Promise<void> {
  const loaded = await loadAll(app, { kind: 'none' });
  if (options.namespace !== undefined) requireNamespace(loaded, options.namespace);
  const mine = <T extends { readonly namespace: string }>(items: readonly T[]): readonly T[] =>
    items.filter((item) => options.namespace === undefined || item.namespace === options.namespace);
  const { inventory: found, snapshot } = loaded;
  const workloads = mine(found.workloads);
  const { output } = app;
  // The inventory's findings include those of the reading.
  const findings = found.findings;
  output.document('Inventory', {
    source: snapshot.source,
    facts: found.facts,
    namespaces: found.namespaces.filter((one) => options.namespace === undefined || one.name === options.namespace),
    workloads: workloads.map((workload) => ({
      id: workload.id,
      component: workload.classification.component,
      stage: workload.classification.stage,
      plane: workload.classification.plane,
      sensitivity: workload.classification.sensitivity,
      why: workload.classification.why,
      confidence: workload.classification.confidence,
      serviceAccounts: [...new Set(workload.podSets.map((podSet) => podSet.serviceAccount))],
      mesh: [...new Set(workload.podSets.map((podSet) => podSet.mesh))],
      schedule: workload.schedule ?? null,
      manager: workload.manager ?? null,
    })),
    services: mine(found.services),
    findings,
  });
  output.names(workloads.map((workload) => workload.id));
  output.line(
    `${plural(found.namespaces.length, 'namespace')}, ${plural(found.workloads.length, 'workload')}, ${plural(found.services.length, 'Service')}, ${plural(found.nodes.length, 'node')}`,
  );
  output.line(
    wrap(
      `CNI ${safeText(found.facts.cni.name)} (enforces policies: ${found.facts.cni.enforces}; ${safeText(found.facts.cni.because)}${found.facts.cni.name === 'unknown' ? '; cluster.cni in the configuration states it' : ''}). Mesh ${found.facts.mesh.kind}${found.facts.mesh.version === undefined ? '' : ` ${safeText(found.facts.mesh.version)}`} (${safeText(found.facts.mesh.because)}).`,
      output.width,
    ),
  );
  output.line();
  for (const [namespace, own] of groupBy(workloads, (workload) => workload.namespace)) {
    const system = found.namespaces.find((one) => one.name === namespace)?.system;
    output.line(
      paint(output, 'bold', safeText(namespace)) + (system === undefined ? '' : wrapBehind(system, namespace, output)),
    );
    for (const workload of own)
      for (const line of beside(
        `  ${safeText(`${workload.kind}/${workload.name}`)}`,
        safeText(describe(workload.classification)),
        GUTTER,
        output.width,
      ))
        output.line(line);
  }
  const unknown = workloads.filter((workload) => workload.classification.component === 'unknown').length;
  if (unknown > 0)
    output.line(`\n${plural(unknown, 'workload')} not recognised; "unknown" is all that is claimed of them.`);
  if (findings.length > 0) showFindings(findings, output);
}

/** Where the second column begins. */
export const GUTTER = 38;

function wrapBehind(system: string, namespace: string, output: Output): string {
  const text = `  (${safeText(system)})`;
  return namespace.length + text.length <= output.width ? text : '';
}

/** `triton; serving; data plane; sensitive: models, credentials`. */
export function describe({ component, stage, plane, sensitivity }: Classification): string {
  // Some components belong to either of two stages.
  const either = (text: string): string => text.replaceAll('|', ' or ');
  const holds = sensitivity.filter((one) => one !== 'unknown').join(', ');
  return [
    component,
    ...(stage === 'unknown' ? [] : [either(stage)]),
    ...(plane === 'unknown' ? [] : [`${either(plane)} plane`]),
    ...(holds === '' ? [] : [`sensitive: ${holds}`]),
  ].join('; ');
}

/** Findings by code, worst first; each with the first few it is about. */
function showFindings(findings: readonly Finding[], output: Output): void {
  output.line(`\n${plural(findings.length, 'finding')} (--json shows all):`);
  const rank = { error: 0, warning: 1, info: 2 } as const;
  const byCode = [...groupBy(findings, (finding) => finding.code)].sort(
    ([a, [one]], [b, [other]]) => rank[one?.severity ?? 'info'] - rank[other?.severity ?? 'info'] || (a < b ? -1 : 1),
  );
  for (const [code, same] of byCode) {
    const severity = same[0]?.severity ?? 'info';
    const title = titleOf(code) ?? same[0]?.message ?? '';
    const head = `${code} ${severity}${same.length === 1 ? '' : ` ${same.length}x`}: ${safeText(title)}`;
    output.line(wrap(head, output.width, 4, 2));
    const { shown, more } = few(same, severity === 'error' ? 10 : 3);
    for (const finding of shown)
      output.line(
        wrap(
          safeText(
            severity === 'info'
              ? finding.subject
              : finding.where === undefined && finding.message.startsWith(finding.subject)
                ? finding.message
                : `${finding.where ?? finding.subject}: ${finding.message}`,
          ),
          output.width,
          6,
          4,
        ),
      );
    if (more !== '') output.line(`    ${more}`);
  }
}

function titleOf(code: string): string | undefined {
  return Object.hasOwn(FINDINGS, code) ? FINDINGS[code as keyof typeof FINDINGS].title : undefined;
}
