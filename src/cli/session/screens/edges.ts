import type { Act } from '../act.ts';
import type { Filtered, Page, Row, Rows } from '../page.ts';
import { containing, rowsOf } from '../page.ts';
import { argument } from '../queries.ts';
import type { EdgeLine, Known } from '../world.ts';
import { wrap } from '../../output.ts';
import { matchEdges, parseQuery } from '../../../flows/query.ts';
import type { Decision, Query } from '../../../model/decision.ts';
import type { Edge, Endpoint } from '../../../model/edge.ts';
import { endpointKey, formatEdge, formatPort } from '../../../model/edge.ts';
import { isFailure } from '../../../shared/pure/errors.ts';
import { plural, safeText } from '../../../shared/pure/text.ts';

const REVIEW: Readonly<Record<Edge['review'], string>> = {
  unreviewed: 'open ',
  legitimate: 'legit',
  'to-be-cut': 'cut  ',
};

/** Lines of edges, of which there may be 50,000: a row is made when it is looked at, and the text to search in when a filter is typed. */
export function edgesPage(
  known: Known,
  namespace: string | undefined,
  last: string | undefined,
  width: () => number,
): Page<Act> {
  const lines = namespace === undefined ? known.edges() : known.edgesOf(namespace);
  const about = namespace === undefined ? 'all namespaces' : safeText(namespace);
  const doubtful = lines.filter((line) => line.why !== '').length;
  const command = `sallyport flows${namespace === undefined ? '' : ` --namespace ${safeText(namespace)}`}`;
  const rows: Rows<Act> = { length: lines.length, at: (index) => edgeRow(lines[index], command, namespace, width()) };
  return {
    title: `Edges of ${about}: ${lines.length}, ${doubtful} doubtful`,
    above: [],
    rows,
    filter: edgeFilter(lines),
    marks: true,
    detail: true,
    keys: [
      {
        key: 'l',
        label: 'legitimate',
        value: { kind: 'decide', action: 'adopt' },
        command: 'sallyport adopt QUERY --reason TEXT',
      },
      {
        key: 'c',
        label: 'may be cut',
        value: { kind: 'decide', action: 'accept' },
        command: 'sallyport accept QUERY --reason TEXT',
      },
      {
        key: 't',
        label: 'take back',
        value: { kind: 'decide', action: 'withdraw' },
        command: 'sallyport withdraw QUERY --reason TEXT',
      },
      { key: 'd', label: 'doubtful', value: { kind: 'doubtful-only' } },
      { key: 'u', label: last === undefined ? 'undo' : `undo ${last}`, value: { kind: 'undo', about: 'edges' } },
    ],
    help: [
      'open: nobody decided; legit: adopted, must work; cut: accepted to be cut. ! marks an edge that somebody should look at.',
      'A filter is words that must all stand in the line, a query (src=shop/* , port=5432, verdict=denied, before=7d), or doubtful, open, legit, cut.',
    ],
    command,
  };
}

function edgeRow(line: EdgeLine | undefined, command: string, namespace: string | undefined, width: number): Row<Act> {
  if (line === undefined) return { text: '' };
  const lead = `${line.why === '' ? ' ' : '!'} ${REVIEW[line.edge.review]} `;
  return {
    text: safeText(lead + shortEdge(line.edge, width - AROUND - lead.length, namespace)),
    full: safeText(`${lead.trim()} ${line.text}`),
    ...(line.why === '' ? {} : { remark: safeText(line.why) }),
    pick: { kind: 'open', screen: { kind: 'edge', id: line.edge.id } },
    command,
  };
}

/** Cursor and mark before a row, and the column that stays free. */
const AROUND = 7;

/**
 * An edge in so many columns that both ends and the port stay legible: first the kinds go, then the namespace that the page is about, then
 * the longer names lose their middle.
 */
export function shortEdge(edge: Edge, width: number, namespace?: string): string {
  const whole = formatEdge(edge);
  if (whole.length <= width) return whole;
  const tail = ` ${formatPort(edge)}${edge.l7 === undefined ? '' : ` ${edge.l7}`}`;
  const [src, dst] = [shortEnd(edge.src, namespace), shortEnd(edge.dst, namespace)];
  const room = width - tail.length - 4;
  const [left, right] = [Math.max(8, Math.floor(room / 2)), Math.max(8, Math.ceil(room / 2))];
  const spare = { src: Math.max(0, right - dst.length), dst: Math.max(0, left - src.length) };
  return `${middle(src, left + spare.src)} -> ${middle(dst, right + spare.dst)}${tail}`;
}

function shortEnd(end: Endpoint, namespace: string | undefined): string {
  const key = endpointKey(end);
  if (end.kind !== 'workload') return key;
  const [ns = '', , name = ''] = key.split('/');
  return ns === namespace ? name : `${ns}/${name}`;
}

function middle(text: string, width: number): string {
  if (text.length <= width) return text;
  const head = Math.ceil((width - 1) / 2);
  return `${text.slice(0, head)}…${text.slice(text.length - (width - 1 - head))}`;
}

/** Words to find edges by beside free text and queries. */
const WORDS: Readonly<Record<string, (line: EdgeLine) => boolean>> = {
  doubtful: (line) => line.why !== '',
  open: (line) => line.edge.review === 'unreviewed',
  legit: (line) => line.edge.review === 'legitimate',
  cut: (line) => line.edge.review === 'to-be-cut',
};

export function isQuery(text: string): boolean {
  return text.includes('=');
}

export function edgeFilter(lines: readonly EdgeLine[]): NonNullable<Page<Act>['filter']> {
  let texts: readonly string[] | undefined;
  let places: ReadonlyMap<string, number> | undefined;
  return (given, before): Filtered => {
    const text = given.trim();
    if (text === '') return { kind: 'rows', shown: undefined };
    const word = Object.hasOwn(WORDS, text) ? WORDS[text] : undefined;
    if (word !== undefined)
      return { kind: 'rows', shown: Int32Array.from(lines.flatMap((line, index) => (word(line) ? [index] : []))) };
    if (!isQuery(text)) {
      texts ??= lines.map((line) => line.text.toLowerCase());
      // What was found by a word or a query says nothing of where a text stands.
      const narrows = before !== undefined && !isQuery(before.text) && !Object.hasOwn(WORDS, before.text.trim());
      return { kind: 'rows', shown: containing(texts, text.toLowerCase(), narrows ? before : undefined) };
    }
    let query: Query;
    try {
      query = parseQuery(text, 'edges');
    } catch (error) {
      if (!isFailure(error)) throw error;
      return { kind: 'fault', message: error.message };
    }
    places ??= new Map(lines.map((line, index) => [line.edge.id, index]));
    const found = matchEdges(
      query,
      lines.map((line) => line.edge),
    );
    const shown = Int32Array.from(found, (edge) => places?.get(edge.id) ?? 0).sort();
    return { kind: 'rows', shown };
  };
}

/** One edge: everything on record about it, and what was decided. */
export function edgePage(known: Known, id: string, width: number): Page<Act> {
  const line = known.edges().find(({ edge }) => edge.id === id);
  if (line === undefined)
    return {
      title: `Edge ${safeText(id)}`,
      above: [],
      rows: rowsOf([{ text: 'It is not on record any more.' }]),
      keys: [],
      help: [],
      command: 'sallyport flows',
    };
  const { edge, text, why } = line;
  const decided = known.standing().get(id);
  const rows: Row<Act>[] = [
    { text: `review: ${edge.review}`, ...(edge.review === 'to-be-cut' ? { tone: 'doubt' as const } : {}) },
    ...(why === '' ? [] : lines(`! ${why}`, width).map((row) => ({ ...row, tone: 'doubt' as const }))),
    ...(decided === undefined ? [] : lines(said(decided), width)),
    ...choices(edge, decided).map((row) => row),
    { text: 'On record', tone: 'head' },
    { text: `  ${plural(edge.count, 'connection')}, ${verdicts(edge)}` },
    ...(edge.count === 0 ? [] : [{ text: `  first ${iso(edge.first)}, last ${iso(edge.last)}` }]),
    ...lines(
      `days: ${edge.days.join(', ') || 'none'}${edge.runs.length === 0 ? '' : `; runs: ${edge.runs.join(', ')}`}`,
      width,
    ),
    ...lines(`mTLS: ${edge.mtls}; principals: ${edge.principals.join(', ') || 'none seen'}`, width),
    ...lines(`sources: ${edge.sources.join(', ') || 'none'}; ${originOf(edge)}; id ${edge.id}`, width),
  ];
  return {
    title: safeText(text),
    above: [],
    rows: rowsOf(rows),
    keys: [],
    help: ['What is on record about one edge, and who decided what about it.'],
    command: `sallyport reach --from ${argument(endpointKey(edge.src))} --to ${argument(endpointKey(edge.dst))} --explain`,
  };
}

function lines(text: string, width: number): readonly Row<Act>[] {
  return wrap(safeText(text), width - 3, 4, 2)
    .split('\n')
    .map((line) => ({ text: line }));
}

function choices(edge: Edge, decided: Decision | undefined): readonly Row<Act>[] {
  const row = (text: string, action: 'accept' | 'adopt' | 'withdraw'): Row<Act> => ({
    text,
    pick: { kind: 'decide-edge', action, id: edge.id },
    command: `sallyport ${action} id=${edge.id} --reason TEXT`,
  });
  return [
    ...(edge.review === 'legitimate' ? [] : [row('It is legitimate: adopt', 'adopt')]),
    ...(edge.review === 'to-be-cut' ? [] : [row('It may be cut: accept that', 'accept')]),
    ...(decided === undefined ? [] : [row('Take the decision back', 'withdraw')]),
  ];
}

function said(decision: Decision): string {
  return `${decision.action} by ${decision.by} on ${iso(decision.at)} (${decision.text}): ${decision.reason}`;
}

const iso = (time: number): string => new Date(time).toISOString();

function verdicts(edge: Edge): string {
  const parts = Object.entries(edge.verdicts).map(([verdict, count]) => `${count} ${verdict}`);
  return parts.length === 0 ? 'no verdict' : parts.join(', ');
}

function originOf(edge: Edge): string {
  return edge.origin.kind === 'observed' ? 'observed' : `declared (${edge.origin.strength}) by ${edge.origin.by}`;
}
