import type { Migration } from '../migrate.ts';

/**
 * Of sources that are followed: how far each was read, and the times that nobody recorded. The position is written together with the edges
 * that were read up to it, so that a crash between the two is not possible.
 */
export const follow: Migration = {
  version: 5,
  name: 'follow',
  sql: `
    -- key: the source and what was followed of it.
    CREATE TABLE follows (
      key TEXT NOT NULL PRIMARY KEY,
      source TEXT NOT NULL,
      at INTEGER NOT NULL,
      position TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE gaps (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      source TEXT NOT NULL,
      first INTEGER NOT NULL,
      last INTEGER NOT NULL,
      why TEXT NOT NULL,
      at INTEGER NOT NULL
    ) STRICT;
    CREATE TRIGGER gaps_no_update BEFORE UPDATE ON gaps BEGIN SELECT RAISE(ABORT, 'gaps are append-only'); END;
    CREATE TRIGGER gaps_no_delete BEFORE DELETE ON gaps BEGIN SELECT RAISE(ABORT, 'gaps are append-only'); END;
  `,
};
