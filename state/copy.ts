// The whole state as one file, and one such file in place of the state.
import { closeSync, copyFileSync, existsSync, fsyncSync, openSync, renameSync, rmSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import Database from 'better-sqlite3';
import { plural } from '../src/shared/pure/text.ts';
import { guarded, STATE_CODE, stateFailure } from './failure.ts';
import { createPrivate, takeWriterLock } from './lock.ts';
import type { StateTarget } from './open.ts';
import { openState } from './open.ts';
import type { Reader } from './reader.ts';

const SIDE_FILES = ['', '-wal', '-shm', '-journal', '.lock'] as const;

/**
 * Copies a state to a new file (0600), as it is at one moment, whatever a writer does meanwhile. The file appears under its name when it is
 * whole. Failures, exit 5: SP513, the file is there already; those of the disk.
 */
export function copyState(state: string, to: string): void {
  const file = resolve(to);
  guarded(file, 'exporting the state', () => {
    if (existsSync(file))
      throw stateFailure(
        STATE_CODE.exists,
        file,
        'there is a file of that name, and it may be the only copy of another state',
        'name a file that does not exist',
      );
    const fresh = `${file}.new`;
    removeAll(fresh);
    createPrivate(fresh);
    const db = new Database(state, { readonly: true, fileMustExist: true });
    try {
      db.prepare('VACUUM INTO ?').run(fresh);
    } finally {
      db.close();
    }
    flush(fresh);
    renameSync(fresh, file);
    flush(dirname(file));
  });
}

export interface Imported {
  /** The state as it was before, where there was one. */
  readonly kept: string | undefined;
  readonly runs: number;
}

/**
 * Puts an exported state in place of the one at `file`, which is kept beside it as `FILE.before-STAMP`. Nothing on record may be lost:
 * what is here must all be in the import. Failures, exit 5: those of openState of the import, SP512 where it lacks something, SP508 while
 * another process writes.
 */
export function importState(file: string, target: StateTarget, from: string, stamp: string): Imported {
  const lock = takeWriterLock(file);
  if (lock === undefined)
    throw stateFailure(
      STATE_CODE.locked,
      file,
      'another sallyport is writing to this state',
      'wait for it to end, then import again',
    );
  const fresh = `${file}.import`;
  try {
    return guarded(file, 'importing a state', () => {
      removeAll(fresh);
      createPrivate(fresh);
      copyFileSync(from, fresh);
      checkWhole(fresh, from);
      // Brings it up to date and checks whose it is.
      const taken = openState(fresh, { target, mode: 'write' });
      let runs: number;
      let kept: string | undefined;
      try {
        runs = taken.reader.runs().length;
        if (existsSync(file)) {
          const here = openState(file, { target, mode: 'read' });
          try {
            refuseLoss(here.reader, taken.reader, from);
          } finally {
            here.close();
          }
          kept = `${file}.before-${stamp}`;
          copyState(file, kept);
        }
      } finally {
        taken.close();
      }
      flush(fresh);
      for (const suffix of ['-wal', '-shm', '-journal']) rmSync(file + suffix, { force: true });
      renameSync(fresh, file);
      flush(dirname(file));
      return { kept, runs };
    });
  } finally {
    removeAll(fresh);
    lock.release();
  }
}

/** Every page, before anything of it is believed. */
function checkWhole(fresh: string, from: string): void {
  const db = new Database(fresh, { readonly: true, fileMustExist: true });
  try {
    const said = db.pragma('quick_check(1)', { simple: true });
    if (said !== 'ok')
      throw stateFailure(
        STATE_CODE.corrupt,
        from,
        `the file is damaged: ${String(said)}`,
        'export it again where the state is; nothing was changed here',
      );
  } finally {
    db.close();
  }
}

function refuseLoss(here: Reader, taken: Reader, from: string): void {
  const settled = (reader: Reader, run: string): number =>
    reader.stepsOf(run).filter((step) => step.state === 'done' || step.state === 'undone').length;
  const runs = here
    .runs()
    .filter(({ id }) => taken.headOf(id) === undefined || settled(taken, id) < settled(here, id)).length;
  const decided = new Set(taken.decisions().map((one) => JSON.stringify(one)));
  const decisions = here.decisions().filter((one) => !decided.has(JSON.stringify(one))).length;
  const imports = here.imports().filter(({ sha256, source }) => !taken.hasImport(sha256, source)).length;
  const approved = new Set(taken.approvals().map((one) => JSON.stringify(one)));
  const approvals = here.approvals().filter((one) => !approved.has(JSON.stringify(one))).length;
  const lacks = [
    ...(runs === 0 ? [] : [plural(runs, 'run')]),
    ...(decisions === 0 ? [] : [plural(decisions, 'decision')]),
    ...(approvals === 0 ? [] : [plural(approvals, 'approval')]),
    ...(imports === 0 ? [] : [`${plural(imports, 'input')} of traffic`]),
  ];
  if (lacks.length === 0) return;
  throw stateFailure(
    STATE_CODE.lacking,
    from,
    `the state here holds what the import lacks: ${lacks.join(', ')}; nothing was changed`,
    'import that one there instead; or move the state here away, if what it holds may go',
  );
}

function removeAll(file: string): void {
  for (const suffix of SIDE_FILES) rmSync(file + suffix, { force: true });
}

function flush(path: string): void {
  if (process.platform === 'win32') return;
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
