import type { Migration } from '../migrate.ts';

/** Ways to what is asked most often of a large record without reading all of it: the times it spans, the workloads it names. */
export const load: Migration = {
  version: 6,
  name: 'load',
  sql: `
    CREATE INDEX edges_by_first ON edges (first);
    DROP INDEX edges_by_src_ns;
    DROP INDEX edges_by_dst_ns;
    CREATE INDEX edges_by_src ON edges (src_ns, src) WHERE src_ns IS NOT NULL;
    CREATE INDEX edges_by_dst ON edges (dst_ns, dst) WHERE dst_ns IS NOT NULL;
  `,
};
