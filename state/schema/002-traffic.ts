import type { Migration } from '../migrate.ts';

/**
 * What sources recorded of each namespace on which day, and who held which address when. Files of version 1 have neither: what they
 * recorded is judged as a whole.
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

    -- How many bytes an import had: a file that begins with them is one that grew.
    CREATE TABLE import_sizes (
      source TEXT NOT NULL,
      bytes INTEGER NOT NULL,
      sha256 TEXT NOT NULL,
      PRIMARY KEY (source, bytes, sha256)
    ) STRICT, WITHOUT ROWID;

    -- holder: the pod by its UID, or by its name and day where no UID is known. ended: 1, it was seen to let
    -- the address go at last; 2, the API lost sight of it then.
    CREATE TABLE addresses (
      ip TEXT NOT NULL,
      holder TEXT NOT NULL,
      first INTEGER NOT NULL,
      last INTEGER NOT NULL,
      ended INTEGER NOT NULL,
      sources TEXT NOT NULL,
      data TEXT NOT NULL,
      PRIMARY KEY (ip, holder)
    ) STRICT, WITHOUT ROWID;

    -- Times during which no pod came or went unseen. Between two of them an address may have changed hands.
    CREATE TABLE address_watches (
      first INTEGER NOT NULL PRIMARY KEY,
      last INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
  `,
};
