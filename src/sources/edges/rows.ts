/** Columns of an end, and what they are in a neutral edge. */
const END = /^(src|dst)_(workload|pod|ip|name|namespace)$/;
const PROTOCOLS: Readonly<Record<string, string>> = { '6': 'TCP', '17': 'UDP', '132': 'SCTP' };

/**
 * One row of a database, in which nothing can stand inside of another, as a neutral edge: `src_pod`, `src_namespace`, ... make its ends;
 * times may be seconds since the epoch or texts without a zone, which are UTC; a protocol may be its number; numbers may be texts, as
 * databases write large ones. Empty values are absent. Everything else is left for the reader to refuse.
 */
export function neutralEdge(row: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const out: Record<string, unknown> = {};
  for (const [column, value] of Object.entries(row)) {
    if (value === null || value === '') continue;
    const end = END.exec(column);
    if (end?.[1] !== undefined && end[2] !== undefined) {
      const side = (out[end[1]] ??= {}) as Record<string, unknown>;
      side[end[2]] = value;
    } else if (column === 'first' || column === 'last') out[column] = timeOf(value);
    else if (column === 'port' || column === 'count') out[column] = numberOf(value);
    else if (column === 'protocol') out[column] = protocolOf(value);
    else out[column] = value;
  }
  return out;
}

function numberOf(value: unknown): unknown {
  return typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value;
}

function protocolOf(value: unknown): unknown {
  if (typeof value !== 'string' && typeof value !== 'number') return value;
  return PROTOCOLS[String(value)] ?? String(value).toUpperCase();
}

function timeOf(value: unknown): unknown {
  const seconds = typeof value === 'string' && /^\d{1,11}(?:\.\d+)?$/.test(value) ? Number(value) : value;
  if (typeof seconds === 'number')
    return Math.abs(seconds) < 1e11 ? new Date(Math.floor(seconds * 1000)).toISOString() : value;
  if (typeof value !== 'string') return value;
  const bare = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:\.\d+)?)(Z|\+00(?::?00)?)?$/.exec(value);
  return bare === null ? value : `${bare[1] ?? ''}T${bare[2] ?? ''}Z`;
}
