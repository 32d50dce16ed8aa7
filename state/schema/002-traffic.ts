import type { Migration } from '../migrate.ts';

/**
 * What sources recorded of each namespace on which day. Files of version 1 lack it: what they recorded is judged as a whole.
 */
export const traffic: Migration = {
  version: 2,
  name: 'traffic',
  sql: `
    -- namespace is empty for everything that the source recorded on the day.
    CREATE TABLE days_seen (
      source TEXT NOT NULL,
      namespace TEXT NOT NULL,
      day TEXT NOT NULL,
      first INTEGER NOT NULL,
      last INTEGER NOT NULL,
      PRIMARY KEY (source, namespace, day)
    ) STRICT, WITHOUT ROWID;
  `,
};
