import type { App } from '../context.ts';
import { loadAll, requireNamespace } from '../load.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import { table, wrap } from '../output.ts';

export interface NamespaceOption {
  readonly namespace?: string;
}

/** What runs here: every workload with its component, stage, plane, sensitivity, and why. */
export async function inventory(app: App, options: NamespaceOption): Promise<void> {
  const loaded = await loadAll(app);
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
  output.line(
    `${plural(found.namespaces.length, 'namespace')}, ${plural(found.workloads.length, 'workload')}, ${plural(found.services.length, 'Service')}, ${plural(found.nodes.length, 'node')}`,
  );
  output.line(
    wrap(
      `CNI ${safeText(found.facts.cni.name)} (enforces policies: ${found.facts.cni.enforces}; ${safeText(found.facts.cni.because)}). Mesh ${found.facts.mesh.kind} ${found.facts.mesh.version ?? ''} (${safeText(found.facts.mesh.because)}).`,
      output.width,
    ),
  );
  output.line();
  const rows = workloads.map((workload) => [
    workload.id,
    workload.classification.component,
    workload.classification.stage,
    workload.classification.plane,
    workload.classification.sensitivity.join(', '),
  ]);
  for (const line of table([['WORKLOAD', 'COMPONENT', 'STAGE', 'PLANE', 'SENSITIVITY'], ...rows], output.width))
    output.line(line);
  const unknown = workloads.filter((workload) => workload.classification.component === 'unknown').length;
  if (unknown > 0)
    output.line(`\n${plural(unknown, 'workload')} not recognised; "unknown" is all that is claimed of them.`);
  if (findings.length > 0) {
    output.line(`\n${plural(findings.length, 'finding')}:`);
    for (const finding of findings)
      output.line(
        wrap(
          `${finding.code} ${finding.severity} ${safeText(finding.subject)}: ${safeText(finding.message)}${finding.where === undefined ? '' : ` (${safeText(finding.where)})`}`,
          output.width,
          4,
          2,
        ),
      );
  }
}
