// A way back is not held up by what others write meanwhile. Once it is over, what is there is judged once more, so that nobody has to find out.
import type { Finding } from '../model/finding.ts';
import type { Step } from '../plan/plan.ts';
import { describeVerdict, judgeEdges } from '../plan/simulate.ts';
import { lastTouch } from '../plan/soak.ts';
import { keptEdges } from '../readiness/view.ts';
import { isFailure } from '../shared/pure/errors.ts';
import { openJournal } from '../../state/journal.ts';
import type { App } from './context.ts';
import { loadAll } from './load.ts';
import { few, wrap } from './output.ts';
import { plural, safeText } from '../shared/pure/text.ts';

/** Connections that a terminal shows; the document has all. */
const MOST_SHOWN = 6;

/**
 * Connections on record that the steps of a way back touched and that the cluster denies as it is now, whoever does: warnings (SP345), which
 * hold nothing up. Where the cluster cannot be read, one that says so.
 */
export async function judgeAfterWayBack(
  app: App,
  namespace: string,
  steps: readonly Step[],
): Promise<readonly Finding[]> {
  try {
    const read = await loadAll(app, { kind: 'planning', namespace });
    const { inventory, edges } = (read.beyond({ steps }) ?? read).view(namespace);
    const tracked = steps.map((step) => ({ step, at: 0 }));
    const touched = keptEdges(edges).filter((edge) => lastTouch(tracked, edge) !== undefined);
    const verdicts = judgeEdges(inventory, touched);
    return touched.flatMap((edge): readonly Finding[] => {
      const verdict = verdicts.get(edge.id);
      if (verdict?.answer !== 'denied') return [];
      const { text, reasons, evidence } = describeVerdict('now', edge, verdict);
      return [
        {
          code: 'SP345',
          severity: 'warning',
          subject: edge.id,
          message: `${text} is denied now that the way back is over: ${reasons.join('; ')} (${evidence})`,
          hint: `look at the policy that denies it, which the way back did not write; sallyport reach shows the rule; sallyport accept id=${edge.id} --reason "..." if it may be cut`,
        },
      ];
    });
  } catch (error) {
    if (!isFailure(error)) throw error;
    return [
      {
        code: 'SP345',
        severity: 'warning',
        subject: namespace,
        message: `whether what must work is allowed now that the way back is over is not known: ${error.message}`,
        hint: `sallyport verify ${namespace}, once the cluster answers`,
      },
    ];
  }
}

/** On the terminal and on the trail of the run. */
export async function tellAfterWayBack(
  app: App,
  run: string,
  namespace: string,
  found: readonly Finding[],
): Promise<void> {
  const [first] = found;
  if (first === undefined) return;
  const { output } = app;
  const say = (text: string, indent: number): void =>
    output.note(wrap(safeText(text), output.width, indent + 2, indent));
  say(`SP345: after the way back of ${namespace}, ${plural(found.length, 'warning')}:`, 0);
  const { shown, more } = few(
    found.map(({ message }) => message),
    MOST_SHOWN,
  );
  for (const line of shown) say(line, 2);
  if (more !== '') say(more, 2);
  say(`next: ${first.hint}`, 2);
  const state = await app.writableState();
  openJournal(state.writer).audit({
    at: Date.now(),
    who: app.by,
    what: 'found after the way back',
    object: `namespace ${namespace}`,
    reason: `${first.message}${found.length === 1 ? '' : `; and ${found.length - 1} more`}`,
    run,
  });
}
