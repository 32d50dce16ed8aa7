import { chmod, mkdir, readdir, rm } from 'node:fs/promises';
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { makeFolder } from '../support/folder.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/sallyport.js', import.meta.url));

async function version(cacheHome: string): Promise<number | null> {
  const env = { PATH: process.env['PATH'], HOME: cacheHome, XDG_CACHE_HOME: cacheHome };
  const child = spawn(process.execPath, [PROGRAM, '--version'], { env, stdio: 'ignore' });
  return await new Promise((resolve, reject) => child.once('error', reject).once('close', resolve));
}

describe('compiled sources', () => {
  it('are kept in a folder of the user alone', async () => {
    const home = await makeFolder({ 'cache/a': '' });
    expect(await version(`${home}/cache`)).toBe(0);
    expect((await readdir(`${home}/cache/sallyport/compiled`)).length).toBeGreaterThan(0);
  });

  it('are neither written to nor run from a folder that others may write to', async () => {
    const home = await makeFolder({ 'cache/a': '' });
    const folder = `${home}/cache/sallyport/compiled`;
    await mkdir(folder, { recursive: true });
    await chmod(folder, 0o777);
    expect(await version(`${home}/cache`)).toBe(0);
    expect(await readdir(folder)).toEqual([]);
  });

  it('are done without where there is no place for them', async () => {
    const home = await makeFolder({ 'cache/sallyport': 'a file' });
    expect(await version(`${home}/cache`)).toBe(0);
    await rm(home, { recursive: true });
  });
});
