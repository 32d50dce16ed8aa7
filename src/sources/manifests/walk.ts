import type { Dirent } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { errorCodeOf, isTemporaryFile } from '../../shared/io/files.ts';
import { EXIT, Failure, messageOf } from '../../shared/pure/errors.ts';
import { compareText, sortBy } from '../../shared/pure/order.ts';
import { safeText } from '../../shared/pure/text.ts';

export interface ManifestFile {
  /** Relative to the directory, with `/`. */
  readonly file: string;
  /** The file itself, links resolved. */
  readonly path: string;
}

export interface ManifestFiles {
  /** Sorted by name; no file twice. */
  readonly files: readonly ManifestFile[];
  readonly skipped: readonly { readonly file: string; readonly message: string }[];
  /** What interrupted writes left behind, absolute. */
  readonly leftovers: readonly string[];
}

const MAX_FOLDER_DEPTH = 32;
const MAX_FILES = 50_000;
const MAX_FILE_BYTES = 32 * 1024 * 1024;
const EXTENSION = /\.(?:ya?ml|json)$/iu;

/** Finds the manifest files under `root`, a real path. Names that start with a dot are left out; links are followed inside. */
export async function readManifestFiles(root: string): Promise<ManifestFiles> {
  const files: ManifestFile[] = [];
  const skipped: { file: string; message: string }[] = [];
  const leftovers: string[] = [];
  const seen = new Set<string>();

  const visitFolder = async (path: string, name: string, depth: number): Promise<void> => {
    if (seen.has(path)) return;
    seen.add(path);
    if (depth > MAX_FOLDER_DEPTH) {
      skipped.push({ file: name, message: `folders are nested more than ${MAX_FOLDER_DEPTH} deep` });
      return;
    }
    let entries: readonly Dirent[];
    try {
      entries = await readdir(path, { withFileTypes: true });
    } catch (error) {
      skipped.push({ file: name, message: `it cannot be read: ${errorCodeOf(error) ?? messageOf(error)}` });
      return;
    }
    for (const entry of sortBy(entries, (one) => one.name)) {
      const child = name === '' ? entry.name : `${name}/${entry.name}`;
      if (isTemporaryFile(entry.name)) leftovers.push(join(path, entry.name));
      if (!entry.name.startsWith('.')) await visit(entry, join(path, entry.name), child, depth + 1);
    }
  };

  const visit = async (entry: Dirent, path: string, name: string, depth: number): Promise<void> => {
    if (entry.isDirectory()) return visitFolder(path, name, depth);
    if (entry.isFile()) return visitFile(path, name);
    if (!entry.isSymbolicLink()) return;
    let target: string;
    try {
      target = await realpath(path);
    } catch (error) {
      if (EXTENSION.test(name)) skipped.push({ file: name, message: `a link to nothing: ${errorCodeOf(error) ?? ''}` });
      return;
    }
    if (target !== root && !target.startsWith(root.endsWith(sep) ? root : root + sep)) {
      skipped.push({ file: name, message: 'a link that leaves the directory is not followed' });
      return;
    }
    const kind = await stat(target);
    if (kind.isDirectory()) return visitFolder(target, name, depth);
    if (kind.isFile()) return visitFile(target, name);
  };

  const visitFile = async (path: string, name: string): Promise<void> => {
    if (!EXTENSION.test(name) || seen.has(path)) return;
    seen.add(path);
    const { size } = await stat(path);
    if (size > MAX_FILE_BYTES) skipped.push({ file: name, message: `${size} bytes are more than ${MAX_FILE_BYTES}` });
    else if (files.length >= MAX_FILES) skipped.push({ file: name, message: `more than ${MAX_FILES} files` });
    else files.push({ file: name, path });
  };

  await visitFolder(root, '', 0);
  files.sort((a, b) => compareText(a.file, b.file));
  return { files, skipped, leftovers };
}

/** The real path of a directory of manifests; a Failure (exit 2) when it is not one. */
export async function resolveManifestRoot(dir: string): Promise<string> {
  const refuse = (message: string, cause?: unknown) =>
    new Failure({
      code: 'SP210',
      exit: EXIT.usage,
      message: `the directory of manifests ${safeText(dir)}: ${message}`,
      where: dir,
      hint: 'name a directory of Kubernetes manifests, by its path from here or in full',
      cause,
    });
  let root: string;
  try {
    root = await realpath(dir);
    if ((await stat(root)).isDirectory()) return root;
  } catch (error) {
    const code = errorCodeOf(error);
    throw refuse(code === 'ENOENT' ? 'there is no such directory' : `it cannot be read: ${messageOf(error)}`, error);
  }
  throw refuse('it is not a directory');
}
