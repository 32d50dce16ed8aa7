import type { Migration } from '../migrate.ts';

/** What rules over notices set off: proposals, and what ran by itself. Limits are counted from here, so that a restart forgets nothing. */
export const triggered: Migration = {
  version: 9,
  name: 'triggered',
  sql: `
    CREATE TABLE triggered (
      id TEXT PRIMARY KEY,
      at INTEGER NOT NULL,
      record TEXT NOT NULL
    ) STRICT;
    CREATE INDEX triggered_by_time ON triggered (at);
    CREATE TRIGGER triggered_no_delete BEFORE DELETE ON triggered
      BEGIN SELECT RAISE(ABORT, 'what was set off stays on record'); END;
  `,
};
