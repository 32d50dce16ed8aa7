import type { Database } from 'better-sqlite3';
import { initial } from './schema/001-initial.ts';
import { traffic } from './schema/002-traffic.ts';
import { resolutions } from './schema/003-resolutions.ts';
import { approvals } from './schema/004-approvals.ts';
import { follow } from './schema/005-follow.ts';
import { load } from './schema/006-load.ts';
import { outside } from './schema/007-outside.ts';
import { lines } from './schema/008-lines.ts';
import { triggered } from './schema/009-triggered.ts';

/** One step of the schema, forward only. Frozen once released. */
export interface Migration {
  /** 1, 2, 3, ... without gaps; `user_version` of a file that has it. */
  readonly version: number;
  readonly name: string;
  readonly sql: string;
}

/** Every migration, in order. */
export const MIGRATIONS: readonly Migration[] = [
  initial,
  traffic,
  resolutions,
  approvals,
  follow,
  load,
  outside,
  lines,
  triggered,
];

/** The schema version that a list of migrations ends at. */
export function newestVersion(migrations: readonly Migration[]): number {
  return migrations.at(-1)?.version ?? 0;
}

export function schemaVersion(db: Database): number {
  return Number(db.pragma('user_version', { simple: true }));
}

/**
 * Brings the schema up to the newest version, each migration in a transaction of its own with its version number: a crash
 * leaves the file at a version that exists. Throws what SQLite throws.
 */
export function migrate(db: Database, migrations: readonly Migration[] = MIGRATIONS): void {
  migrations.forEach((migration, index) => {
    if (migration.version !== index + 1) throw new Error(`migration ${migration.version} stands at ${index + 1}`);
  });
  for (const migration of migrations) {
    db.transaction(() => {
      if (schemaVersion(db) >= migration.version) return;
      db.exec(migration.sql);
      db.pragma(`user_version = ${migration.version}`);
    }).immediate();
  }
}
