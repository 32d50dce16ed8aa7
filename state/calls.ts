import type { Edge } from '../src/model/edge.ts';
import { EDGE_COLUMN_LIST, edgeReader } from './edge-rows.ts';
import type { Handle } from './handle.ts';
import { read } from './handle.ts';

/** Which edges between namespaces are wanted one by one. */
export interface CallsApart {
  readonly ids: readonly string[];
  /** Workloads (ids): all edges that end there. */
  readonly to: readonly string[];
  /** Keys of two ends: all edges from the first to the second. */
  readonly pairs: readonly (readonly [string, string])[];
  /** Ports of workloads on which the kernel chooses numbers: bare edges to these are folded later. */
  readonly ephemeral: readonly [number, number];
  /** Each destination and port by itself. */
  readonly byPort: boolean;
}

const PASSED = ['allowed', 'audit', 'unknown'].map((one) => `ifnull(data ->> '$.verdicts.${one}', 0)`).join(' + ');

/** The rows that pass through the table by themselves; the others stand for their pair of namespaces. */
const APART = `(
  end_port IS NOT NULL
  OR (l7 IS NULL AND port BETWEEN @first AND @last)
  OR data ->> '$.origin.kind' <> 'observed'
  OR id IN (SELECT value FROM json_each(@ids))
  OR dst IN (SELECT value FROM json_each(@to))
  OR src || char(10) || dst IN (SELECT value FROM json_each(@pairs))
)`;

/**
 * Of the edges between workloads of two namespaces: those that are wanted one by one, and of all others that passed the one with the least id
 * for each pair of namespaces and protocol, and with `byPort` for each destination and port. By id. One pass over the table.
 */
export function readCalls(handle: Handle, { ids, to, pairs, ephemeral, byPort }: CallsApart): readonly Edge[] {
  const [first, last] = ephemeral;
  return read(handle, 'reading which namespaces call which', () => {
    const parse = edgeReader(handle.file);
    return handle.db
      .prepare<[Readonly<Record<string, string | number>>], readonly unknown[]>(
        `SELECT ${EDGE_COLUMN_LIST} FROM edges WHERE id IN (
          SELECT min(id) FROM edges
          WHERE src_ns IS NOT NULL AND dst_ns IS NOT NULL AND src_ns <> dst_ns AND (${PASSED} > 0 OR ${APART})
          GROUP BY src_ns, dst_ns, protocol, CASE WHEN ${APART} THEN id END${byPort ? ', dst, port' : ''}
        ) ORDER BY id`,
      )
      .raw(true)
      .all({
        ids: JSON.stringify(ids),
        to: JSON.stringify(to),
        pairs: JSON.stringify(pairs.map(([src, dst]) => `${src}\n${dst}`)),
        first,
        last,
      })
      .map(parse);
  });
}
