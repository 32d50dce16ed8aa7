import { appendFile, mkdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Follow, FollowPosition } from '../../src/sources/follow.ts';
import { expand, openFollow } from '../../src/sources/follow.ts';
import { makeFolder } from '../support/folder.ts';

let dir: string;
let log: string;
const opened: Follow[] = [];
beforeEach(async () => {
  dir = await makeFolder({ 'a.log': 'old 1\nold 2\n' });
  log = join(dir, 'a.log');
});
afterEach(async () => {
  for (const follow of opened.splice(0)) await follow.close();
});

async function follow(patterns: readonly string[], from: 'end' | 'tail' | FollowPosition = 'end'): Promise<Follow> {
  const made = await openFollow(patterns, from);
  opened.push(made);
  return made;
}

interface Looked {
  readonly lines: readonly string[];
  readonly gaps: readonly string[];
  readonly files: number;
}

/** Everything that came, until there is no more. */
async function look(from: Follow): Promise<Looked> {
  const lines: string[] = [];
  const gaps: string[] = [];
  for (;;) {
    const looked = await from.look(async ({ bytes }) => {
      const text = Buffer.from(bytes).toString();
      expect(text.endsWith('\n')).toBe(true);
      lines.push(...text.slice(0, -1).split('\n'));
      await Promise.resolve();
    });
    gaps.push(...looked.gaps);
    if (!looked.more) return { lines, gaps, files: looked.files };
  }
}

describe('a growing file', () => {
  it('is followed from its end: what was there is passed over', async () => {
    const following = await follow([log]);
    expect((await look(following)).lines).toEqual([]);
    await appendFile(log, 'new 1\nnew 2\n');
    expect(await look(following)).toEqual({ lines: ['new 1', 'new 2'], gaps: [], files: 1 });
    expect((await look(following)).lines).toEqual([]);
  });

  it('gives whole lines alone: a half-written one waits for its end', async () => {
    const following = await follow([log]);
    await appendFile(log, 'one\ntw');
    expect((await look(following)).lines).toEqual(['one']);
    await appendFile(log, 'o\nthree');
    expect((await look(following)).lines).toEqual(['two']);
    await appendFile(log, '\n');
    expect((await look(following)).lines).toEqual(['three']);
  });

  it('that ends in the middle of a line at the start gives no half of it', async () => {
    await appendFile(log, 'half of ');
    const following = await follow([log]);
    await appendFile(log, 'a line\nwhole\n');
    expect((await look(following)).lines).toEqual(['whole']);
  });

  it('keeps the parts of a container’s longer line together', async () => {
    const following = await follow([log]);
    const at = '2026-10-05T00:00:00.0Z stdout';
    await appendFile(log, `${at} F whole\n${at} P first\n${at} P second\n`);
    expect((await look(following)).lines).toEqual([`${at} F whole`]);
    await appendFile(log, `${at} F third\n`);
    expect((await look(following)).lines).toEqual([`${at} P first`, `${at} P second`, `${at} F third`]);
  });

  it('may grow by more than is read at once', async () => {
    const following = await follow([log]);
    const many = Array.from({ length: 100_000 }, (_, index) => `${index} ${'x'.repeat(90)}`);
    await appendFile(log, `${many.join('\n')}\n`);
    expect((await look(following)).lines).toEqual(many);
  });

  it('may hold a line longer than any record, which is passed over', async () => {
    const following = await follow([log]);
    await appendFile(log, `${'x'.repeat(40 * 1024 * 1024)}\nnext\n`);
    expect((await look(following)).lines.filter((line) => line.length < 100)).toEqual(['next']);
  });

  it('is read with its tail where that is asked for', async () => {
    expect((await look(await follow([log], 'tail'))).lines).toEqual(['old 1', 'old 2']);
  });
});

describe('rotation', () => {
  it('by renaming: the old file is read to its end, then the new one from its start', async () => {
    const following = await follow([log]);
    await appendFile(log, 'last of the old\n');
    await rename(log, `${log}.1`);
    await appendFile(`${log}.1`, 'written after the renaming\n');
    await writeFile(log, 'first of the new\n');
    expect(await look(following)).toEqual({
      lines: ['last of the old', 'written after the renaming', 'first of the new'],
      gaps: [],
      files: 2,
    });
    await appendFile(`${log}.1`, 'late\n');
    expect((await look(following)).lines).toEqual(['late']);
  });

  it('by renaming within the pattern does not read the old file again', async () => {
    const following = await follow([join(dir, 'a*')]);
    await appendFile(log, 'one\n');
    await look(following);
    await rename(log, `${log}.1`);
    await writeFile(log, 'two\n');
    expect((await look(following)).lines).toEqual(['two']);
  });

  it('with archives beside it leaves those out', async () => {
    const following = await follow([join(dir, 'a*')]);
    await writeFile(`${log}.2.gz`, gzipSync('archived\n'));
    await appendFile(log, 'one\n');
    expect(await look(following)).toEqual({ lines: ['one'], gaps: [], files: 1 });
    expect(await look(following)).toEqual({ lines: [], gaps: [], files: 1 });
  });

  it('by cutting short is a gap, and what follows is read', async () => {
    const following = await follow([log]);
    await appendFile(log, 'one\n');
    await look(following);
    await truncate(log);
    await appendFile(log, 'new\n');
    const looked = await look(following);
    expect(looked.lines).toEqual(['new']);
    expect(looked.gaps).toEqual([expect.stringContaining('a.log was cut short')]);
  });

  it('by cutting short is noticed even where the file has grown beyond where it was', async () => {
    const following = await follow([log]);
    await truncate(log);
    await appendFile(log, 'a much longer text than what was there before\n');
    const looked = await look(following);
    expect(looked.gaps).toHaveLength(1);
    expect(looked.lines).toEqual(['a much longer text than what was there before']);
  });

  it('by deleting: what was written until then is read, and a new file is found', async () => {
    const following = await follow([log]);
    await appendFile(log, 'one\n');
    await rm(log);
    expect((await look(following)).lines).toEqual(['one']);
    await writeFile(log, 'two\n');
    expect(await look(following)).toEqual({ lines: ['two'], gaps: [], files: 1 });
  });
});

describe('files that appear later', () => {
  it('are read from their start, by name or by pattern', async () => {
    const following = await follow([join(dir, 'pods/*/access.log'), join(dir, 'later.log')]);
    expect(await look(following)).toEqual({ lines: [], gaps: [], files: 0 });
    await mkdir(join(dir, 'pods/web'), { recursive: true });
    await writeFile(join(dir, 'pods/web/access.log'), 'from a pod\n');
    await writeFile(join(dir, 'later.log'), 'later\n');
    expect(await look(following)).toEqual({ lines: ['later', 'from a pod'], gaps: [], files: 2 });
  });

  it('are those that a pattern stands for, without hidden ones', async () => {
    await mkdir(join(dir, 'x'));
    for (const name of ['x/b.log', 'x/a.log', 'x/.c.log', 'x/a.txt']) await writeFile(join(dir, name), '');
    expect(await expand([join(dir, 'x', '*.log')])).toEqual([join(dir, 'x/a.log'), join(dir, 'x/b.log')]);
    expect(await expand([join(dir, 'none', '*.log')])).toEqual([]);
  });
});

describe('another process', () => {
  const kept = async (following: Follow): Promise<FollowPosition> => {
    await look(following);
    const position = JSON.parse(JSON.stringify(following.position())) as FollowPosition;
    await following.close();
    opened.length = 0;
    return position;
  };

  it('goes on where the first stopped, half a line included', async () => {
    const following = await follow([log]);
    await appendFile(log, 'one\ntw');
    const position = await kept(following);
    await appendFile(log, 'o\nthree\n');
    expect(await look(await follow([log], position))).toEqual({ lines: ['two', 'three'], gaps: [], files: 1 });
  });

  it('finds a file that was renamed meanwhile, and its successor', async () => {
    const position = await kept(await follow([log]));
    await appendFile(log, 'one\n');
    await rename(log, `${log}.1`);
    await writeFile(log, 'two\n');
    expect(await look(await follow([log], position))).toEqual({ lines: ['one', 'two'], gaps: [], files: 2 });
  });

  it('is told of a file that has gone', async () => {
    const position = await kept(await follow([log]));
    await rm(log);
    await writeFile(`${log}.1.gz`, gzipSync('archived\n'));
    const looked = await look(await follow([log], position));
    expect(looked.gaps).toEqual([expect.stringContaining('rotated away or removed')]);
  });

  it('is told of a file that was written anew', async () => {
    const position = await kept(await follow([log]));
    const text = await readFile(log, 'utf8');
    await truncate(log);
    await appendFile(log, text.replace('old 1', 'new 1'));
    await appendFile(log, 'more\n');
    const looked = await look(await follow([log], position));
    expect(looked.gaps).toHaveLength(1);
    expect(looked.lines).toEqual(['new 1', 'old 2', 'more']);
  });

  it('reads what appeared meanwhile from its start', async () => {
    const position = await kept(await follow([join(dir, '*.log')]));
    await writeFile(join(dir, 'b.log'), 'new\n');
    expect(await look(await follow([join(dir, '*.log')], position))).toMatchObject({ lines: ['new'], gaps: [] });
  });
});
