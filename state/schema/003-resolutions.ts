import type { Migration } from '../migrate.ts';

/** What a person decided of a field of ours that somebody else changed: about that value of theirs, and no other. */
export const resolutions: Migration = {
  version: 3,
  name: 'resolutions',
  sql: `
    CREATE TABLE resolutions (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      at INTEGER NOT NULL,
      decided_by TEXT NOT NULL,
      object TEXT NOT NULL,
      path TEXT NOT NULL,
      theirs TEXT,
      keep TEXT NOT NULL
    ) STRICT;
    CREATE TRIGGER resolutions_no_update BEFORE UPDATE ON resolutions
      BEGIN SELECT RAISE(ABORT, 'resolutions are append-only'); END;
    CREATE TRIGGER resolutions_no_delete BEFORE DELETE ON resolutions
      BEGIN SELECT RAISE(ABORT, 'resolutions are append-only'); END;
  `,
};
