import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import Database from 'better-sqlite3';
import { afterEach, describe, expect, it } from 'vitest';
import { openJournal } from '../../state/journal.ts';
import { MIGRATIONS, newestVersion } from '../../state/migrate.ts';
import { openState } from '../../state/open.ts';
import { failureOf, makeCreate, makeDirectory, makeEdge, makeInput, makeState, NO_MORE, TARGET } from './samples.ts';
import './clean-up.ts';

const CHILD = join(import.meta.dirname, 'child.ts');
const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

/** Starts a process that does `action` on the file, and waits until it says it has. */
async function startChild(action: string, file: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, [CHILD, action, file], { stdio: ['pipe', 'pipe', 'inherit'] });
  children.push(child);
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  expect(line).toBe('ready');
  return child;
}

function runChild(action: string, file: string): Record<string, unknown> {
  const ran = spawnSync(process.execPath, [CHILD, action, file], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (!ran.stdout.startsWith('{')) throw new Error(`no failure: ${ran.stdout}${ran.stderr}`);
  return JSON.parse(ran.stdout) as Record<string, unknown>;
}

/** A closed state with a thousand edges. */
function makeFilled(): string {
  const state = makeState();
  state.writer.importEdges({
    inputs: [makeInput('one')],
    edges: Array.from({ length: 1_000 }, (_, port) => makeEdge({ port })),
    evidence: NO_MORE,
  });
  state.close();
  return state.file;
}

function mode(path: string): string {
  return (statSync(path).mode & 0o777).toString(8);
}

const read = (file: string) => () => openState(file, { target: TARGET, mode: 'read' });

describe('a new state', () => {
  it('is private with all that lies beside it, whatever the umask', () => {
    const before = process.umask(0);
    try {
      const directory = join(makeDirectory(), 'a', 'b');
      const { file, close } = makeState(join(directory, 'state.sqlite'));
      expect([file, `${file}-wal`, `${file}-shm`, `${file}.lock`].map(mode)).toEqual(['600', '600', '600', '600']);
      expect([directory, join(directory, '..')].map(mode)).toEqual(['700', '700']);
      close();
    } finally {
      process.umask(before);
    }
  });

  it('says whose it is without asking the cluster', () => {
    const { file, close } = makeState();
    close();
    const state = openState(file, { target: undefined, mode: 'read' });
    expect(state.target).toEqual(TARGET);
    state.close();
  });

  it('is made anew over what a crash left of making one', () => {
    const file = join(makeDirectory(), 'state.sqlite');
    writeFileSync(`${file}.new`, 'half of a');
    makeState(file).close();
    expect(existsSync(`${file}.new`)).toBe(false);
    read(file)().close();
  });

  it('is not made by reading, nor unless asked for', () => {
    const file = join(makeDirectory(), 'state.sqlite');
    for (const options of [
      { target: TARGET, mode: 'read', create: true },
      { target: TARGET, mode: 'write' },
    ] as const)
      expect(failureOf(() => openState(file, options))).toMatchObject({ code: 'SP501', exit: 5, where: file });
    expect(existsSync(file)).toBe(false);
  });

  it('closes to others a file that was open to them', () => {
    const file = makeFilled();
    chmodSync(file, 0o644);
    makeState(file).close();
    expect(mode(file)).toBe('600');
  });
});

describe('a file that is not to be used', () => {
  const damage: readonly (readonly [string, string, RegExp, (file: string) => void])[] = [
    [
      'is of a newer version',
      'SP504',
      /of version 99; this sallyport knows versions up to/,
      (file) => withDatabase(file, (db) => db.pragma('user_version = 99')),
    ],
    ['is not SQLite', 'SP502', /not a state file/, (file) => writeFileSync(file, 'apiVersion: v1\n'.repeat(500))],
    [
      'is an SQLite file of something else',
      'SP502',
      /not a state file/,
      (file) => withDatabase(file, (db) => db.pragma('application_id = 7')),
    ],
    ['is empty', 'SP502', /empty/, (file) => truncateSync(file, 0)],
    [
      'is cut off',
      'SP503',
      /damaged or cut off/,
      (file) => truncateSync(file, Math.floor(statSync(file).size / 8192) * 4096),
    ],
    ['is cut off inside its header', 'SP502', /not a state file/, (file) => truncateSync(file, 60)],
  ];

  it.each(damage)('is refused when it %s, and left as it is', (_name, code, message, harm) => {
    const file = makeFilled();
    harm(file);
    const bytes = readFileSync(file);
    for (const mode of ['read', 'write'] as const) {
      const failure = failureOf(() => openState(file, { target: TARGET, mode }));
      expect(failure).toMatchObject({ code, exit: 5, where: file });
      expect(failure.message).toMatch(message);
      expect(failure.hint).toBeTruthy();
    }
    expect(readFileSync(file).equals(bytes)).toBe(true);
  });

  it('is refused when it belongs to another cluster: both are named, neither can write to the terminal', () => {
    const file = makeFilled();
    const other = { id: 'other-uid', kind: 'cluster', description: 'prod\u001b[2J at :443' } as const;
    for (const mode of ['read', 'write'] as const) {
      const failure = failureOf(() => openState(file, { target: other, mode }));
      expect(failure).toMatchObject({ code: 'SP505', exit: 5, where: file });
      expect(failure.message).toBe(
        'the state belongs to cluster kind-lab at :6443 (uid-of-kube-system), not to cluster prod\ufffd[2J at :443 (other-uid)',
      );
    }
    expect(read(file)().target).toEqual(TARGET);
  });

  it('is refused when it is a directory', () => {
    const directory = makeDirectory();
    expect(failureOf(read(directory))).toMatchObject({ code: 'SP502', exit: 5 });
  });

  it('is reported when the half that holds the rows is damaged, at the read that meets it', () => {
    const file = makeFilled();
    const bytes = readFileSync(file);
    bytes.fill(0x5a, bytes.length / 2);
    writeFileSync(file, bytes);
    const state = read(file)();
    expect(failureOf(() => state.reader.edges())).toMatchObject({ code: 'SP503', exit: 5, where: file });
    state.close();
  });
});

describe('rights and space', () => {
  it('says so when the file may not be read', () => {
    const file = makeFilled();
    expect(runChild('read-without-rights', file)).toMatchObject({ code: 'SP506', exit: 5 });
  });

  it('says so when the file may be read but not written', () => {
    const file = makeFilled();
    const directory = join(file, '..');
    chmodSync(directory, 0o755);
    chmodSync(file, 0o644);
    const failure = runChild('write-without-rights', file);
    expect(failure).toMatchObject({ code: 'SP506', exit: 5 });
    expect(failure['hint']).toMatch(/directory must belong to you and be writable/);
  });

  it('says so when its directory may not be made', () => {
    const base = makeDirectory();
    writeFileSync(join(base, 'file'), '');
    const file = join(base, 'file', 'state.sqlite');
    expect(failureOf(() => makeState(file))).toMatchObject({ code: 'SP506', exit: 5 });
  });

  it('records nothing of an import that the disk does not take, and keeps what was recorded', () => {
    const file = makeFilled();
    const ran = spawnSync(
      'sh',
      ['-c', `trap '' XFSZ; ulimit -f 3000; exec "$0" "$1" fill "$2"`, process.execPath, CHILD, file],
      { encoding: 'utf8' },
    );
    expect(JSON.parse(ran.stdout)).toMatchObject({ code: 'SP507', exit: 5, where: file });
    const { reader, close } = read(file)();
    const batches = reader.imports().length - 1;
    expect(batches).toBeGreaterThan(0);
    expect(reader.edges()).toHaveLength(1_000 + batches * 500);
    close();
  });

  it.each([
    ['deleted', (file: string) => renameSync(file, `${file}.away`)],
    [
      'replaced',
      (file: string) => {
        renameSync(file, `${file}.away`);
        copyFileSync(`${file}.away`, file);
      },
    ],
  ])('refuses to write into a file that was %s while it was open', (_name, harm) => {
    const { file, writer, close } = makeState();
    harm(file);
    expect(failureOf(() => openJournal(writer).setPhase('shop', 'monitor', 1))).toMatchObject({
      code: 'SP506',
      exit: 5,
      where: file,
    });
    close();
  });
});

describe('one pair of hands', () => {
  it('a second writer is refused and told who writes', async () => {
    const file = makeFilled();
    const child = await startChild('hold', file);
    const failure = failureOf(() => openState(file, { target: TARGET, mode: 'write' }));
    expect(failure).toMatchObject({ code: 'SP508', exit: 5, where: file });
    expect(failure.message).toContain(`pid ${child.pid} on `);
  });

  it('a second writer in the same process is refused as well', () => {
    const { file, close } = makeState();
    expect(failureOf(() => openState(file, { target: TARGET, mode: 'write' })).code).toBe('SP508');
    close();
  });

  it('a writer that comes by another name of the file is refused', () => {
    const { file, close } = makeState();
    const link = join(makeDirectory(), 'link.sqlite');
    symlinkSync(file, link);
    expect(failureOf(() => openState(link, { target: TARGET, mode: 'write' })).code).toBe('SP508');
    close();
  });

  it('refusing others does not loosen the hold', async () => {
    const { file, close } = makeState();
    for (let attempt = 0; attempt < 3; attempt += 1)
      expect(failureOf(() => openState(file, { target: TARGET, mode: 'write' })).code).toBe('SP508');
    const other = spawnSync(process.execPath, [CHILD, 'hold', file], { encoding: 'utf8', input: '' });
    expect(JSON.parse(other.stdout)).toMatchObject({ code: 'SP508' });
    close();
    await startChild('hold', file);
  });

  it('a writer that was killed leaves the file free', async () => {
    const file = makeFilled();
    const child = await startChild('hold', file);
    child.kill('SIGKILL');
    await once(child, 'exit');
    makeState(file).close();
  });

  it('a refusal to open leaves the file free', () => {
    const file = makeFilled();
    failureOf(() => openState(file, { target: { ...TARGET, id: 'other' }, mode: 'write' }));
    makeState(file).close();
  });

  it('readers see what is committed, while a writer writes and holds the file', () => {
    const { file, writer, close } = makeState();
    const { reader } = read(file)();
    writer.importEdges({ inputs: [makeInput('one')], edges: [makeEdge()], evidence: NO_MORE });
    expect(reader.edges()).toHaveLength(1);
    reader.consistently(() => {
      expect(reader.edges()).toHaveLength(1);
      writer.importEdges({ inputs: [makeInput('two')], edges: [makeEdge({ port: 1 })], evidence: NO_MORE });
      expect(reader.edges()).toHaveLength(1);
    });
    expect(reader.edges()).toHaveLength(2);
    close();
  });

  it('readers meet no error and no half of anything while a run of another process writes, however often they open the file', async () => {
    const file = makeFilled();
    const child = await startChild('perform', file);
    const stays = read(file)();
    const seen = { edges: 0, done: 0 };
    const filled = 1_000;
    const look = (state: ReturnType<ReturnType<typeof read>>): void =>
      state.reader.consistently(() => {
        const { reader } = state;
        const runs = reader.runs();
        const steps = runs.flatMap(({ id }) => reader.stepsOf(id));
        const done = steps.filter((step) => step.state === 'done').length;
        // A run is there with all of its steps, a step that is done with its line on the trail, an import with all of its edges.
        expect(steps).toHaveLength(runs.length * 5);
        expect(reader.audit()).toHaveLength(done);
        expect(reader.openRuns().length).toBeLessThan(2);
        const edges = reader.edges().length;
        expect(edges).toBe(filled + (reader.imports().length - 1) * 200);
        expect(edges).toBeGreaterThanOrEqual(seen.edges);
        expect(done).toBeGreaterThanOrEqual(seen.done);
        Object.assign(seen, { edges, done });
      });
    for (let round = 0; round < 400 && seen.done < 12; round += 1) {
      const state = read(file)();
      look(state);
      state.close();
      look(stays);
    }
    expect(seen.done).toBeGreaterThan(0);
    expect(child.exitCode).toBeNull();
    stays.close();
  });

  it('a reader has nothing to write with', () => {
    const file = makeFilled();
    const state = read(file)();
    expect(state).not.toHaveProperty('writer');
    expect(Object.getOwnPropertySymbols(state.reader)).toEqual([]);
    state.close();
  });
});

describe('after a crash', () => {
  it('a step that was started and not finished is on record as started, with its before-image', async () => {
    const file = makeFilled();
    const child = await startChild('start-a-step', file);
    child.kill('SIGKILL');
    await once(child, 'exit');
    const { reader, writer, close } = makeState(file);
    expect(reader.openRuns().map(({ id }) => id)).toEqual(['r1']);
    expect(reader.stepsOf('r1')).toMatchObject([
      { index: 0, state: 'started', change: makeCreate('a') },
      { index: 1, state: 'pending' },
    ]);
    expect(reader.applied()).toEqual([]);
    expect(openJournal(writer).openRuns()[0]?.plan.steps).toHaveLength(2);
    close();
  });
});

describe('a row that does not parse', () => {
  it.each([
    ['edges', "UPDATE edges SET data = '{' WHERE port = 7", /table edges, row [0-9a-f]{12}, data: not JSON/],
    [
      'edges',
      "UPDATE edges SET protocol = 'GRE' WHERE port = 7",
      /table edges, row [0-9a-f]{12}, protocol: one of TCP/,
    ],
    [
      'edges',
      `UPDATE edges SET data = json_set(data, '$.src.kind', 'pod') WHERE port = 7`,
      /table edges, row [0-9a-f]{12}, data\.src\.kind: one of workload, node/,
    ],
    [
      'edges',
      `UPDATE edges SET data = json_set(data, '$.later', 1) WHERE port = 7`,
      /table edges, row [0-9a-f]{12}, data\.later: unknown field/,
    ],
  ])('in %s is named: %s', (_table, sql, message) => {
    const file = makeFilled();
    withDatabase(file, (db) => db.exec(sql));
    const state = read(file)();
    const failure = failureOf(() => state.reader.edges());
    expect(failure).toMatchObject({ code: 'SP509', exit: 5, where: file });
    expect(failure.message).toMatch(message);
    state.close();
  });

  it('leaves the writer free to be closed after the failure', () => {
    const file = makeFilled();
    withDatabase(file, (db) => db.exec("UPDATE edges SET data = '[]' WHERE port = 7"));
    const state = makeState(file);
    const batch = {
      inputs: [makeInput('two')],
      edges: [makeEdge({ port: 1 }), makeEdge({ port: 7 })],
      evidence: NO_MORE,
    };
    expect(failureOf(() => state.writer.importEdges(batch)).code).toBe('SP509');
    expect(state.reader.imports()).toHaveLength(1);
    state.close();
    makeState(file).close();
  });
});

describe('the schema', () => {
  it('is the newest after opening, and the file says so', () => {
    const file = makeFilled();
    withDatabase(file, (db) => {
      expect(db.pragma('user_version', { simple: true })).toBe(newestVersion(MIGRATIONS));
      expect(db.pragma('application_id', { simple: true })).toBe(0x53414c59);
    });
  });

  it('lies in one directory of its own making', () => {
    const base = makeDirectory();
    mkdirSync(join(base, 'kept'), { mode: 0o755 });
    makeState(join(base, 'kept', 'state.sqlite')).close();
    expect(mode(join(base, 'kept'))).toBe('755');
  });
});

function withDatabase(file: string, work: (db: Database.Database) => unknown): void {
  const db = new Database(file);
  try {
    work(db);
  } finally {
    db.close();
  }
}
