import type { View } from '../engine/contract.ts';
import { MAX_UNREVIEWED_TARGETS, findUncorroborated } from '../flows/corroborate.ts';
import { endpointKey, formatEdge, formatPort } from '../model/edge.ts';
import type { Edge } from '../model/edge.ts';
import type { Gate } from '../model/finding.ts';
import { plural } from '../shared/pure/text.ts';
import { shellWord } from '../shared/pure/shell.ts';
import { gate, touches } from './view.ts';

/** Edges of a source named one by one in a gate; the others are counted. */
const NAMED = 5;
/** Where the configuration switches the gate off, what it would ask for is still shown. */
const USUAL_DAYS = 3;

/**
 * No rule into or out of what is worth stealing on the word of one pod alone, and no number of rules for one source that nobody has looked
 * at: what whoever holds a pod can write into the record himself waits for a longer record, for configuration or for a person.
 */
export function corroborationGates(view: View): readonly Gate[] {
  const wanted = view.config.gates.corroboration;
  const days = wanted === 'off' ? USUAL_DAYS : wanted;
  const { waiting, fanOuts } = findUncorroborated(view.edges, view.inventory, days, view.span);
  const gates: Gate[] = [];
  for (const { source, targets, edges } of fanOuts) {
    const here = edges.filter((edge) => touches(edge, view.namespace));
    if (here.length === 0) continue;
    gates.push(
      gate(
        'corroboration',
        'no',
        source,
        [
          `${source} reached ${targets} destinations and ports that nobody has looked at, ${plural(here.length, 'edge')} of it here; ${MAX_UNREVIEWED_TARGETS} at most become rules without a person`,
          ...some(here),
        ],
        `sallyport flows lists them; sallyport adopt|accept src=${shellWord(source)} --reason "..." or narrower, with dst= and port=`,
      ),
    );
  }
  for (const { edge, why } of waiting)
    if (touches(edge, view.namespace))
      gates.push(gate('corroboration', 'no', edge.id, [formatEdge(edge), why], reviewFix(edge)));
  if (gates.length > 0) return gates;
  return [
    gate(
      'corroboration',
      'yes',
      view.namespace,
      ['every rule into or out of what is sensitive rests on more than the word of one pod'],
      '',
    ),
  ];
}

/** The commands with which a person decides on one edge. */
export function reviewFix(edge: Edge): string {
  const query = `src=${endpointKey(edge.src)},dst=${endpointKey(edge.dst)},port=${formatPort(edge)}`;
  return `sallyport adopt|accept ${shellWord(query)} --reason "..."`;
}

/** The first few edges in words, and how many more. */
export function some(edges: readonly Edge[]): readonly string[] {
  const more = edges.length - NAMED;
  return [...edges.slice(0, NAMED).map(formatEdge), ...(more > 0 ? [`and ${plural(more, 'more edge')}`] : [])];
}
