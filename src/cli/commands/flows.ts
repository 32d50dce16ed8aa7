import type { App } from '../context.ts';
import { newestPartOf } from '../../flows/corroborate.ts';
import { reviewEdges } from '../../flows/decide.ts';
import { endpointKey, formatPort } from '../../model/edge.ts';
import type { Edge } from '../../model/edge.ts';
import { groupBy, sortBy } from '../../shared/pure/order.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import { beside, wrap } from '../output.ts';
import type { NamespaceOption } from './inventory.ts';

/** The edges on record. */
export async function flows(app: App, options: NamespaceOption): Promise<void> {
  const { reader } = await app.state();
  const edges = reviewEdges(reader.edges(options), await app.decisions());
  const evidence = reader.evidenceSummary();
  const span = reader.span();
  const newSince = span === undefined ? undefined : newestPartOf(span);
  const isNew = (edge: Edge): boolean => newSince !== undefined && edge.count > 0 && edge.first >= newSince;
  const { output } = app;
  output.document('Flows', {
    edges: edges.map((edge) => ({ ...edgeDocument(edge), new: isNew(edge) })),
    window: { first: time(evidence.first), last: time(evidence.last) },
    losses: evidence.sources.map(({ source, records, lost, bad, ignored, sampledOneIn }) => ({
      source,
      records,
      lost,
      bad,
      ignored,
      sampledOneIn,
    })),
    gaps: (evidence.gaps ?? []).map(({ source, from, to, why }) => ({ source, from: time(from), to: time(to), why })),
    unattributed: evidence.unattributed,
  });
  output.names(edges.map((edge) => edge.id));
  if (edges.length === 0) {
    output.line('No traffic is on record. Next: sallyport observe SOURCE INPUT (sallyport observe --help)');
    return;
  }
  for (const [source, own] of [...groupBy(edges, (edge) => endpointKey(edge.src))].sort(([a], [b]) =>
    a < b ? -1 : 1,
  )) {
    output.line(wrap(`${safeText(source)} ->`, output.width, 2));
    for (const edge of sortBy(own, (one) => `${endpointKey(one.dst)} ${one.port}`))
      for (const line of beside(
        `  ${edge.id}`,
        safeText(`${describe(edge)}${isNew(edge) ? ', new' : ''}`),
        16,
        output.width,
      ))
        output.line(line);
  }
  for (const { source, from, to, why } of evidence.gaps ?? [])
    output.line(
      wrap(`a gap of ${source} from ${time(from) ?? '?'} to ${time(to) ?? '?'}: ${safeText(why)}`, output.width, 2),
    );
  output.line(`\n${plural(edges.length, 'edge')}, ${time(evidence.first) ?? '?'} to ${time(evidence.last) ?? '?'}`);
}

/** `ml/Deployment/a 8080/TCP POST /v1: 12x allowed, unreviewed`. */
function describe(edge: Edge): string {
  const request = edge.l7 === undefined ? '' : ` ${edge.l7}`;
  const verdict = verdictOf(edge);
  return `${endpointKey(edge.dst)} ${formatPort(edge)}${request}: ${edge.count}x${verdict === 'allowed' ? '' : ` ${verdict}`}, ${edge.review}`;
}

function time(milliseconds: number | undefined): string | null {
  return milliseconds === undefined ? null : new Date(milliseconds).toISOString();
}

export function edgeDocument(edge: Edge): object {
  return {
    id: edge.id,
    src: endpointKey(edge.src),
    dst: endpointKey(edge.dst),
    protocol: edge.protocol,
    port: edge.port,
    ...(edge.endPort === undefined ? {} : { endPort: edge.endPort }),
    l7: edge.l7 ?? null,
    count: edge.count,
    first: time(edge.first),
    last: time(edge.last),
    verdict: verdictOf(edge),
    mtls: edge.mtls,
    principal: edge.principals,
    sources: edge.sources,
    views: edge.views ?? [],
    directionGuessed: edge.guessedDirection === true,
    days: edge.days,
    review: edge.review,
  };
}

function verdictOf(edge: Edge): string {
  const seen = Object.entries(edge.verdicts)
    .filter(([, count]) => count > 0)
    .map(([verdict]) => verdict);
  return seen.length === 1 ? (seen[0] ?? 'unknown') : seen.length === 0 ? 'unknown' : 'mixed';
}
