// One state on two machines, and a state that is gone: exported, imported, rebuilt from what is kept outside it.
import { cp, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { readTree } from '../support/folder.ts';
import { CLUSTER, CONFIG, documentOf, EDGES, makeHome, sallyport } from './shop.ts';
import type { Ended } from './shop.ts';

const ADOPT = ['adopt', 'src=desk/Deployment/toolbox', '--reason', 'the desk looks things up'] as const;
const REASON = ['--reason', 'a test'] as const;
let home: string;
let start: unknown;

/** On a machine of its own: a state folder, and the one directory of manifests. */
const on = (machine: string, ...args: readonly string[]): Promise<Ended> =>
  sallyport(
    [
      ...args,
      '--json',
      '--manifests',
      join(home, 'cluster'),
      '--state',
      join(home, machine, 'state.sqlite'),
      '--config',
      join(home, 'config.yaml'),
    ],
    { home },
  );

async function must(machine: string, ...args: readonly string[]): Promise<Readonly<Record<string, unknown>>> {
  const ended = await on(machine, ...args);
  expect(ended.code, `${args.join(' ')}: ${ended.stderr}`).toBe(0);
  return documentOf(ended);
}

async function refused(
  machine: string,
  ...args: readonly string[]
): Promise<{ code: string; message: string; hint: string }> {
  const ended = await on(machine, ...args);
  expect(ended.code, ended.stdout).not.toBe(0);
  return documentOf(ended)['error'] as never;
}

const phases = async (machine: string): Promise<unknown> =>
  ((await must(machine, 'status'))['namespaces'] as { namespace: string; phase: string }[])
    .filter(({ phase }) => phase !== 'none')
    .map(({ namespace, phase }) => [namespace, phase]);

beforeAll(async () => {
  home = await makeHome({ ...CLUSTER, 'edges.jsonl': EDGES, 'config.yaml': `${CONFIG}undo: {path: ./kept}\n` });
  await mkdir(join(home, 'a'));
  await mkdir(join(home, 'b'));
  start = await readTree(join(home, 'cluster'));
  await must('a', 'observe', 'edges', join(home, 'edges.jsonl'));
  await must('a', ...ADOPT);
  await must('a', 'advance', 'shop', '--to', 'allow-list', '--yes');
});

describe('what is kept outside the state', () => {
  it('is there for the operator alone, in the folder that the configuration names', async () => {
    const [id = ''] = await readdir(join(home, 'kept'));
    const folder = join(home, 'kept', id, 'shop');
    const names = await readdir(folder);
    expect(names).toEqual(expect.arrayContaining(['README.md', 'undo.sh', 'record.json']));
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
    for (const name of names) expect((await stat(join(folder, name))).mode & 0o777, name).toBe(0o600);
    expect(await readFile(join(folder, 'README.md'), 'utf8')).toContain('sh undo.sh');
  });
});

describe('another machine', () => {
  it('may not write without the newest run, and hears what to do', async () => {
    await must('b', 'observe', 'edges', join(home, 'edges.jsonl'));
    const before = await readTree(join(home, 'cluster'));
    const error = await refused('b', 'advance', 'shop', '--to', 'monitor', '--yes');
    expect(error).toMatchObject({ code: 'SP620' });
    expect(error.message).toContain('lacks the newest run of shop');
    expect(error.hint).toMatch(/state import FILE.*state rebuild/);
    expect(await readTree(join(home, 'cluster'))).toEqual(before);
  });

  it('rebuilds runs, steps and phases from the record, and takes all of it back', async () => {
    const rebuilt = await must('b', 'state', 'rebuild');
    expect(rebuilt).toMatchObject({ namespaces: [{ namespace: 'shop', phase: 'allow-list' }], openRuns: [] });
    expect(await phases('b')).toEqual([['shop', 'allow-list']]);
    expect(await must('b', 'verify', 'shop')).toMatchObject({ drift: [] });
    // Once more changes nothing.
    expect(await must('b', 'state', 'rebuild')).toMatchObject({ namespaces: [], known: ['shop'] });
    const audit = (await must('b', 'audit'))['entries'] as { what: string }[];
    expect(audit.map(({ what }) => what)).toContain('record taken over');
    await must('b', 'rollback', 'shop', '--to', 'monitor', '--yes');
    // Now the first one is behind.
    expect(await refused('a', 'rollback', 'shop', '--to', 'none', '--yes')).toMatchObject({ code: 'SP620' });
  });

  it('is told apart from the first one by nothing but its record: rebuilt there, the first goes on', async () => {
    await must('a', 'state', 'rebuild');
    expect(await phases('a')).toEqual([['shop', 'monitor']]);
    expect(await must('a', 'verify', 'shop')).toMatchObject({ drift: [] });
    await must('a', 'rollback', 'shop', '--to', 'none', '--yes');
    expect(await readTree(join(home, 'cluster'))).toEqual(start);
    const [id = ''] = await readdir(join(home, 'kept'));
    expect(await readdir(join(home, 'kept', id))).toEqual([]);
  });
});

describe('an interrupted run of a state that is gone', () => {
  it.each(['resume', 'rollback'])('is found by its objects: %s', async (next) => {
    await must('a', 'advance', 'shop', '--to', 'monitor', '--yes');
    let seen = false;
    const killed = await sallyport(
      [
        'advance',
        'shop',
        '--to',
        'allow-list',
        '--yes',
        '--json',
        '--manifests',
        join(home, 'cluster'),
        '--state',
        join(home, 'a', 'state.sqlite'),
        '--config',
        join(home, 'config.yaml'),
      ],
      {
        home,
        onStderr: (all, child) => {
          if (seen || !all.includes('[3/')) return;
          seen = true;
          child.kill('SIGKILL');
        },
      },
    );
    expect(killed.signal).toBe('SIGKILL');
    await rm(join(home, 'b'), { recursive: true });
    await mkdir(join(home, 'b'));
    await must('b', 'observe', 'edges', join(home, 'edges.jsonl'));
    await must('b', ...ADOPT);
    const rebuilt = await must('b', 'state', 'rebuild');
    expect(rebuilt['openRuns']).toHaveLength(1);
    if (next === 'resume') {
      expect(await must('b', 'resume')).toMatchObject({ outcome: 'done', phase: 'allow-list', failed: [], notRun: [] });
      expect(await must('b', 'verify', 'shop')).toMatchObject({ drift: [] });
    }
    await must('b', 'rollback', 'shop', '--to', 'none', '--yes');
    expect(await readTree(join(home, 'cluster'))).toEqual(start);
    await rm(join(home, 'a'), { recursive: true });
    await cp(join(home, 'b'), join(home, 'a'), { recursive: true });
  });
});

describe('export and import', () => {
  it('carry everything to a machine that has nothing', async () => {
    const file = join(home, 'export');
    await must('a', 'state', 'export', file);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await refused('a', 'state', 'export', file)).toMatchObject({ code: 'SP513' });
    await must('c', 'state', 'import', file);
    for (const command of [['status'], ['flows'], ['audit']])
      expect(await must('c', ...command)).toEqual(await must('a', ...command));
    await must('c', ...ADOPT.slice(0, 3), 'and another word');
    // What the import lacks is never lost.
    const error = await refused('c', 'state', 'import', file);
    expect(error).toMatchObject({ code: 'SP512' });
    expect(error.message).toContain('1 decision');
  });

  it('keep the state that was there, and refuse what is no state or a damaged one', async () => {
    const file = join(home, 'export');
    const done = await must('a', 'state', 'import', file);
    expect(await stat(String(done['kept']))).toBeDefined();
    await writeFile(join(home, 'text'), 'not a state');
    expect(await refused('a', 'state', 'import', join(home, 'text'))).toMatchObject({ code: 'SP502' });
    const bytes = await readFile(file);
    await writeFile(join(home, 'cut'), bytes.subarray(0, bytes.length - 8192));
    expect(['SP503', 'SP502']).toContain((await refused('a', 'state', 'import', join(home, 'cut'))).code);
    expect(await refused('a', 'state', 'import', join(home, 'absent'))).toMatchObject({ code: 'SP235' });
    expect(await phases('a')).toEqual([]);
  });

  it('are refused in words where they are called wrongly', async () => {
    expect(await refused('a', 'state', 'export')).toMatchObject({ code: 'SP236' });
    expect(await refused('a', 'state', 'burn')).toMatchObject({ code: 'SP236' });
    expect(await refused('a', 'state', 'export', '-')).toMatchObject({ code: 'SP234' });
  });
});

describe('a field of ours that somebody else changed', () => {
  const object = 'NetworkPolicy shop/sallyport-db-ingress';
  const file = (): string => join(home, 'cluster/sallyport/shop/networkpolicy-sallyport-db-ingress.yaml');
  const edit = async (): Promise<void> => {
    const text = await readFile(file(), 'utf8');
    expect(text).toContain('5432');
    await writeFile(file(), text.replaceAll('5432', '5433'));
  };

  it('is shown in three versions, and put back where ours is to stay', async () => {
    await must('a', 'advance', 'shop', '--to', 'allow-list', '--yes');
    const written = await readFile(file(), 'utf8');
    await edit();
    const shown = await on('a', 'resolve', object);
    expect(shown.code).toBe(6);
    const [version] = documentOf(shown)['versions'] as { path: string; ours: string; now: string; before: string }[];
    expect(version).toMatchObject({ path: 'spec', before: '(absent)' });
    expect(version?.ours).toContain('5432');
    expect(version?.now).toContain('5433');
    expect(await refused('a', 'resolve', object, '--keep', 'ours', '--yes')).toMatchObject({ code: 'SP237' });
    await must('a', 'resolve', object, '--keep', 'ours', '--yes', ...REASON);
    expect(await readFile(file(), 'utf8')).toBe(written);
    expect(await must('a', 'verify', 'shop')).toMatchObject({ drift: [] });
    expect(await must('a', 'resolve', object)).toMatchObject({ versions: [] });
  });

  it('stays as theirs where a person says so, in the forward direction and in a rollback, until it changes again', async () => {
    await edit();
    const plan = async (): Promise<readonly string[]> =>
      ((await must('a', 'plan', 'shop', '--to', 'permissive-mtls'))['gates'] as { id: string }[]).map(({ id }) => id);
    expect(await plan()).toContain('drift');
    await must('a', 'resolve', object, '--keep', 'theirs', ...REASON);
    expect(await plan()).not.toContain('drift');
    expect((await must('a', 'audit'))['entries']).toContainEqual(
      expect.objectContaining({ what: 'resolve: keep theirs', reason: 'a test' }),
    );
    const theirs = await readFile(file(), 'utf8');
    await writeFile(file(), theirs.replaceAll('5433', '5434'));
    expect(await refused('a', 'rollback', 'shop', '--to', 'none', '--yes')).toMatchObject({ code: 'SP606' });
    await writeFile(file(), theirs);
    await must('a', 'rollback', 'shop', '--to', 'none', '--yes');
    expect(await readFile(file(), 'utf8')).toBe(theirs);
    await rm(join(home, 'cluster/sallyport'), { recursive: true });
    expect(await readTree(join(home, 'cluster'))).toEqual(start);
  });

  it('gives way to what was there before where a person says so', async () => {
    await must('a', 'advance', 'shop', '--to', 'allow-list', '--yes');
    await edit();
    await must('a', 'resolve', object, '--keep', 'before', ...REASON);
    await must('a', 'rollback', 'shop', '--to', 'none', '--yes');
    expect(await readTree(join(home, 'cluster'))).toEqual(start);
  });

  it('is named in words where it is not ours', async () => {
    expect(await refused('a', 'resolve', 'Deployment shop/web', '--keep', 'ours', ...REASON)).toMatchObject({
      code: 'SP238',
    });
  });
});
