import type { Migration } from '../migrate.ts';

/** Which lines were imported, so that files that overlap are counted once (files of before know nothing of theirs); and who held an address longest ago. */
export const lines: Migration = {
  version: 8,
  name: 'lines',
  sql: `
    -- marks: four bytes for each of the newest lines of an import, little end first; dropped: how many lines came before those.
    -- first and last: SHA-256 of these lines.
    CREATE TABLE line_marks (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      source TEXT NOT NULL,
      sha256 TEXT NOT NULL,
      dropped INTEGER NOT NULL,
      first TEXT NOT NULL,
      last TEXT NOT NULL,
      lines INTEGER NOT NULL,
      marks BLOB NOT NULL
    ) STRICT;
    CREATE INDEX line_marks_by_source ON line_marks (source, sha256);

    -- The oldest go.
    CREATE INDEX addresses_by_last ON addresses (last);
  `,
};
