import type { Act } from '../act.ts';
import type { Page, Row } from '../page.ts';
import { rowsOf } from '../page.ts';
import { quote } from '../queries.ts';
import { wrap } from '../../output.ts';
import { waiverFault } from '../../../flows/decide.ts';
import type { Gate } from '../../../model/finding.ts';
import { safeText } from '../../../shared/pure/text.ts';

/** One gate with all its facts, and what a person can do about it. */
export function gatePage(gate: Gate | undefined, namespace: string, width: number): Page<Act> {
  if (gate === undefined)
    return {
      title: safeText(namespace),
      above: [],
      rows: rowsOf([{ text: 'This gate is not asked any more.' }]),
      keys: [],
      help: [],
      command: `sallyport plan ${safeText(namespace)}`,
    };
  const query = waiverQuery(gate);
  const fault = waiverFault({ gate: gate.id, subject: gate.subject });
  const rows: Row<Act>[] = [
    ...(gate.answer === 'yes' || fault !== undefined
      ? []
      : ([
          {
            text: 'Waive it, with a reason ...',
            pick: { kind: 'waive', gate: gate.id, subject: gate.subject },
            command: `sallyport waive ${query} --reason TEXT`,
          },
        ] as const)),
    ...(gate.id === 'review' || gate.id === 'denies-observed'
      ? ([
          {
            text: 'Look at the edges it is about',
            pick: {
              kind: 'open',
              screen: { kind: 'edges', namespace, ...(gate.id === 'review' ? { filter: 'doubtful' } : {}) },
            },
            command: `sallyport flows --namespace ${safeText(namespace)}`,
          },
        ] as const)
      : []),
    ...(gate.facts.length === 0 ? [] : ([{ text: 'Facts', tone: 'head' }] as const)),
    ...gate.facts.flatMap((fact) => lines(fact, width)),
    ...(gate.waived === undefined ? [] : [{ text: 'Waived', tone: 'head' } as const, ...lines(gate.waived, width)]),
    ...(gate.fix === ''
      ? []
      : ([{ text: 'What would turn it to yes', tone: 'head' }, ...lines(gate.fix, width, true)] as const)),
    ...(fault === undefined || gate.answer === 'yes' ? [] : lines(`It cannot be waived: ${fault}`, width)),
  ];
  return {
    title: safeText(`${gate.id} ${gate.subject}: ${gate.answer}`),
    above: [],
    rows: rowsOf(rows),
    keys: [],
    help: [
      'A gate is a condition answered yes, no or unknown. Unknown stops as no does, until a person waives it with a reason.',
    ],
    command: `sallyport plan ${safeText(namespace)}`,
  };
}

function lines(text: string, width: number, whole = false): readonly Row<Act>[] {
  return wrap(safeText(text), width - 3, 4, 2, whole)
    .split('\n')
    .map((line) => ({ text: line }));
}

/** A subject that a shell would take apart is quoted. */
export function waiverQuery({ id, subject }: Pick<Gate, 'id' | 'subject'>): string {
  const query = safeText(`gate=${id},subject=${subject}`);
  return /\s/.test(query) ? quote(query) : query;
}
