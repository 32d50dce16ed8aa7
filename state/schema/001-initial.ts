import type { Migration } from '../migrate.ts';

/**
 * FROZEN: files of this version exist. A change is a new migration with the next number.
 *
 * What is on record is never deleted, and the trail is never altered: triggers refuse it, so that a mistake in the program is an
 * error and not a gap. `INSERT OR REPLACE` deletes without firing delete triggers, hence the triggers before insert.
 * Times are milliseconds since the epoch. Columns serve queries; lists and objects are JSON.
 */
export const initial: Migration = {
  version: 1,
  name: 'initial',
  sql: `
    CREATE TABLE meta (
      key TEXT NOT NULL PRIMARY KEY,
      value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- One row per input read. The same bytes of the same source are counted once.
    CREATE TABLE imports (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      sha256 TEXT NOT NULL,
      source TEXT NOT NULL,
      name TEXT NOT NULL,
      at INTEGER NOT NULL,
      first INTEGER,
      last INTEGER,
      records INTEGER NOT NULL,
      lost INTEGER NOT NULL,
      bad INTEGER NOT NULL,
      ignored INTEGER NOT NULL,
      sampled_one_in REAL NOT NULL,
      UNIQUE (sha256, source)
    ) STRICT;

    CREATE TABLE edges (
      id TEXT NOT NULL PRIMARY KEY,
      src TEXT NOT NULL,
      dst TEXT NOT NULL,
      src_ns TEXT,
      dst_ns TEXT,
      protocol TEXT NOT NULL,
      port INTEGER NOT NULL,
      end_port INTEGER,
      l7 TEXT,
      count INTEGER NOT NULL,
      first INTEGER NOT NULL,
      last INTEGER NOT NULL,
      mtls TEXT NOT NULL,
      last_plaintext INTEGER,
      guessed_direction INTEGER NOT NULL,
      data TEXT NOT NULL
    ) STRICT;
    CREATE INDEX edges_by_src_ns ON edges (src_ns) WHERE src_ns IS NOT NULL;
    CREATE INDEX edges_by_dst_ns ON edges (dst_ns) WHERE dst_ns IS NOT NULL;
    CREATE INDEX edges_by_last ON edges (last);

    CREATE TABLE evidence_days (day TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;
    CREATE TABLE unattributed (
      reason TEXT NOT NULL PRIMARY KEY,
      count INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE schedule_runs (
      workload TEXT NOT NULL,
      run TEXT NOT NULL,
      PRIMARY KEY (workload, run)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE decisions (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      digest TEXT NOT NULL UNIQUE,
      action TEXT NOT NULL,
      query TEXT NOT NULL,
      text TEXT NOT NULL,
      reason TEXT NOT NULL,
      decided_by TEXT NOT NULL,
      at INTEGER NOT NULL,
      matched TEXT NOT NULL
    ) STRICT;

    CREATE TABLE namespaces (
      name TEXT NOT NULL PRIMARY KEY,
      phase TEXT NOT NULL,
      since INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- The gates as the newest attempt to advance found them, for status, which reads the state alone.
    CREATE TABLE gates (
      namespace TEXT NOT NULL PRIMARY KEY,
      at INTEGER NOT NULL,
      gates TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- plan: without its steps, which are rows of their own. pulls_back: the run that this one takes back, and the denial that did it.
    CREATE TABLE runs (
      number INTEGER PRIMARY KEY AUTOINCREMENT,
      id TEXT NOT NULL UNIQUE,
      kind TEXT NOT NULL,
      namespace TEXT NOT NULL,
      from_phase TEXT NOT NULL,
      to_phase TEXT NOT NULL,
      plan_hash TEXT NOT NULL,
      started_at INTEGER NOT NULL,
      started_by TEXT NOT NULL,
      plan TEXT NOT NULL,
      pulls_back TEXT,
      outcome TEXT,
      ended_at INTEGER
    ) STRICT;
    CREATE INDEX runs_open ON runs (number) WHERE outcome IS NULL;

    -- seq: the order in which steps started, over all runs. Not the row's key, because a step that starts after steps of
    -- another run (a run taken up again after a crash) gets a later number than the one it was planned with.
    CREATE TABLE steps (
      run TEXT NOT NULL REFERENCES runs (id),
      position INTEGER NOT NULL,
      seq INTEGER NOT NULL UNIQUE,
      step TEXT NOT NULL,
      state TEXT NOT NULL,
      change TEXT,
      uid TEXT,
      error TEXT,
      started_at INTEGER,
      ended_at INTEGER,
      PRIMARY KEY (run, position)
    ) STRICT;
    CREATE INDEX steps_done ON steps (seq) WHERE state = 'done';

    -- How far the watch of a run has come; until is 0 while its steps are performed.
    CREATE TABLE soaks (
      run TEXT NOT NULL PRIMARY KEY REFERENCES runs (id),
      since INTEGER NOT NULL,
      until INTEGER NOT NULL,
      left_to_resume INTEGER NOT NULL,
      looked_at INTEGER NOT NULL,
      position TEXT NOT NULL,
      memory TEXT NOT NULL,
      awaited TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE audit (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      at INTEGER NOT NULL,
      who TEXT NOT NULL,
      what TEXT NOT NULL,
      object TEXT NOT NULL,
      reason TEXT NOT NULL,
      run TEXT
    ) STRICT;
    -- Namespaces a line concerns. A line without any concerns all.
    CREATE TABLE audit_namespaces (
      namespace TEXT NOT NULL,
      audit INTEGER NOT NULL REFERENCES audit (id),
      PRIMARY KEY (namespace, audit)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX audit_namespaces_by_line ON audit_namespaces (audit);

    CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
    CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
    CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)
      BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
    CREATE TRIGGER audit_namespaces_no_update BEFORE UPDATE ON audit_namespaces
      BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
    CREATE TRIGGER audit_namespaces_no_delete BEFORE DELETE ON audit_namespaces
      BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
    CREATE TRIGGER decisions_no_update BEFORE UPDATE ON decisions
      BEGIN SELECT RAISE(ABORT, 'decisions are append-only'); END;
    CREATE TRIGGER decisions_no_delete BEFORE DELETE ON decisions
      BEGIN SELECT RAISE(ABORT, 'decisions are append-only'); END;
    CREATE TRIGGER decisions_no_replace BEFORE INSERT ON decisions
      WHEN EXISTS (SELECT 1 FROM decisions WHERE id = NEW.id OR digest = NEW.digest)
      BEGIN SELECT RAISE(ABORT, 'decisions are append-only'); END;
    CREATE TRIGGER runs_no_delete BEFORE DELETE ON runs BEGIN SELECT RAISE(ABORT, 'runs are never deleted'); END;
    CREATE TRIGGER runs_no_replace BEFORE INSERT ON runs
      WHEN EXISTS (SELECT 1 FROM runs WHERE number = NEW.number OR id = NEW.id)
      BEGIN SELECT RAISE(ABORT, 'runs are never replaced'); END;
    CREATE TRIGGER runs_plan_kept BEFORE UPDATE OF id, kind, namespace, plan, pulls_back, plan_hash, started_at, started_by ON runs
      BEGIN SELECT RAISE(ABORT, 'a run on record keeps its plan'); END;
    CREATE TRIGGER steps_no_delete BEFORE DELETE ON steps BEGIN SELECT RAISE(ABORT, 'steps are never deleted'); END;
    CREATE TRIGGER steps_no_replace BEFORE INSERT ON steps
      WHEN EXISTS (SELECT 1 FROM steps WHERE (run = NEW.run AND position = NEW.position) OR seq = NEW.seq)
      BEGIN SELECT RAISE(ABORT, 'steps are never replaced'); END;
    CREATE TRIGGER steps_plan_kept BEFORE UPDATE OF run, position, step ON steps
      BEGIN SELECT RAISE(ABORT, 'a step on record keeps its plan'); END;
    -- A before-image on record is never overwritten: first the step is said not to have been written (state back to pending).
    CREATE TRIGGER steps_image_kept BEFORE UPDATE OF change ON steps WHEN OLD.change IS NOT NULL AND NEW.change IS NOT NULL
      BEGIN SELECT RAISE(ABORT, 'a before-image on record is never overwritten'); END;
    CREATE TRIGGER imports_no_update BEFORE UPDATE ON imports
      BEGIN SELECT RAISE(ABORT, 'imports are append-only'); END;
    CREATE TRIGGER imports_no_delete BEFORE DELETE ON imports
      BEGIN SELECT RAISE(ABORT, 'imports are append-only'); END;
  `,
};
