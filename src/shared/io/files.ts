import { open, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

const TEMPORARY_END = '.sallyport-tmp';

/** True of a file that a write was interrupted in: never part of the input, safe to remove. */
export function isTemporaryFile(name: string): boolean {
  return name.startsWith('.') && name.endsWith(TEMPORARY_END);
}

/** The code of a system error such as `ENOENT`; undefined for other errors. */
export function errorCodeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/**
 * Replaces a file's content in one step: readers see the old bytes or the new ones, also after a crash. The bytes and the
 * folder's entry are on disk when it resolves. `mode` is the file's permission bits.
 */
export async function writeFileAtomic(path: string, text: string, mode: number): Promise<void> {
  // A fixed name, so that what a crash leaves behind is found and overwritten; exclusive, so that a link is not followed.
  const temporary = join(dirname(path), `.${basename(path)}${TEMPORARY_END}`);
  await rm(temporary, { force: true });
  const handle = await open(temporary, 'wx', mode);
  try {
    await handle.chmod(mode);
    await handle.writeFile(text, 'utf8');
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, path);
  await syncFolder(dirname(path));
}

/** Puts the entries of a folder on disk, where the system can do that. */
export async function syncFolder(path: string): Promise<void> {
  try {
    const handle = await open(path, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    // Windows and some network mounts cannot sync a folder.
    if (!['EISDIR', 'EPERM', 'EINVAL', 'EACCES', 'ENOTSUP'].includes(errorCodeOf(error) ?? '')) throw error;
  }
}

/** Removes a folder and then its parents while they are empty, up to and including `top`. */
export async function removeEmptyFolders(path: string, top: string): Promise<void> {
  for (let folder = path; folder === top || folder.startsWith(join(top, '/')); folder = dirname(folder)) {
    try {
      if ((await readdir(folder)).length > 0) return;
      await rmdir(folder);
    } catch (error) {
      const code = errorCodeOf(error) ?? '';
      if (['ENOTEMPTY', 'EEXIST', 'EBUSY'].includes(code)) return;
      // Not there, or below a file: there may be one further up.
      if (!['ENOENT', 'ENOTDIR'].includes(code)) throw error;
    }
  }
}
