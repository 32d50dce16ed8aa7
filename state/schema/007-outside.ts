import type { Migration } from '../migrate.ts';

/** A way to the edges of one source that is no workload: those of workloads are found by their namespace. */
export const outside: Migration = {
  version: 7,
  name: 'outside',
  sql: `
    CREATE INDEX edges_by_outside ON edges (src) WHERE src_ns IS NULL;
  `,
};
