import { PHASES, phaseIndex } from '../../model/phase.ts';
import type { PhaseName } from '../../model/phase.ts';
import type { Wave } from '../../plan/waves.ts';
import { proposeWaves } from '../../readiness/waves.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import type { App } from '../context.ts';
import { loadAll } from '../load.ts';
import { paint, wrap } from '../output.ts';

/** The order in which the namespaces move, with what decides it, and the next command. Writes nothing. */
export async function waves(app: App): Promise<void> {
  const loaded = await loadAll(app, { kind: 'calls' });
  const view = loaded.view('');
  const proposed = proposeWaves(view);
  const phaseOf = (namespace: string): PhaseName => view.phases.get(namespace) ?? 'none';
  const { output } = app;
  output.document('Waves', {
    waves: proposed.map(({ wave, namespaces, why }) => ({
      wave,
      namespaces: namespaces.map((namespace) => ({ namespace, phase: phaseOf(namespace) })),
      why,
    })),
  });
  output.names(proposed.flatMap(({ namespaces }) => namespaces));
  if (proposed.length === 0) {
    output.line('Every namespace is in the last phase.');
    return;
  }
  for (const { wave, namespaces, why } of proposed) {
    output.line(paint(output, 'bold', `Wave ${wave}: ${plural(namespaces.length, 'namespace')}`));
    // A reason begins with the namespace that it is about; one of a circle of callers stands alone.
    for (const text of why) {
      const namespace = namespaces.find((name) => text.startsWith(`${name}: `) || text.startsWith(`${name} goes last`));
      const shown =
        namespace === undefined ? text : `${namespace} (${phaseOf(namespace)})${text.slice(namespace.length)}`;
      output.line(wrap(safeText(shown), output.width, 4, 2));
    }
  }
  const next = nextOf(proposed, phaseOf);
  if (next !== undefined) output.line(`\nNext: sallyport plan ${safeText(next.namespace)} --to ${next.phase}`);
}

/** Of the first wave that is not through: the namespace that is furthest behind. A wave joins the mesh before one of it takes mTLS alone. */
function nextOf(
  proposed: readonly Wave[],
  phaseOf: (namespace: string) => PhaseName,
): { readonly namespace: string; readonly phase: PhaseName } | undefined {
  const behind = proposed[0]?.namespaces.toSorted((a, b) => phaseIndex(phaseOf(a)) - phaseIndex(phaseOf(b)))[0];
  if (behind === undefined) return undefined;
  const phase = PHASES[phaseIndex(phaseOf(behind)) + 1];
  return phase === undefined ? undefined : { namespace: behind, phase };
}
