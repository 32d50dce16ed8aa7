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

    -- holder: the pod by its UID, or by its name where no UID is known. last: when it was known to hold the address for the last time.
    CREATE TABLE addresses (
      ip TEXT NOT NULL,
      holder TEXT NOT NULL,
      first INTEGER NOT NULL,
      last INTEGER NOT NULL,
      data TEXT NOT NULL,
      PRIMARY KEY (ip, holder)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX addresses_by_last ON addresses (last);
  `,
};
