import type { Migration } from '../migrate.ts';

/** Who approved which plan. */
export const approvals: Migration = {
  version: 4,
  name: 'approvals',
  sql: `
    CREATE TABLE approvals (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      digest TEXT NOT NULL UNIQUE,
      target TEXT NOT NULL,
      namespace TEXT NOT NULL,
      from_phase TEXT NOT NULL,
      to_phase TEXT NOT NULL,
      plan TEXT NOT NULL,
      actor_kind TEXT NOT NULL,
      actor TEXT NOT NULL,
      at INTEGER NOT NULL,
      reason TEXT NOT NULL
    ) STRICT;
    CREATE TRIGGER approvals_no_update BEFORE UPDATE ON approvals
      BEGIN SELECT RAISE(ABORT, 'approvals are append-only'); END;
    CREATE TRIGGER approvals_no_delete BEFORE DELETE ON approvals
      BEGIN SELECT RAISE(ABORT, 'approvals are append-only'); END;
    CREATE TRIGGER approvals_no_replace BEFORE INSERT ON approvals
      WHEN EXISTS (SELECT 1 FROM approvals WHERE id = NEW.id OR digest = NEW.digest)
      BEGIN SELECT RAISE(ABORT, 'approvals are append-only'); END;
  `,
};
