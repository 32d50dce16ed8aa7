import { createHash } from 'node:crypto';
import { open, readdir, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { basename, dirname, join, parse, sep } from 'node:path';
import { matchText } from '../model/glob.ts';
import { EXIT, Failure, isFailure, messageOf } from '../shared/pure/errors.ts';
import type { Json } from '../shared/pure/json.ts';
import { asArray, asNumber, asObject, asString, isJsonObject } from '../shared/pure/json.ts';
import { compareText } from '../shared/pure/order.ts';
import { safeText } from '../shared/pure/text.ts';
import { MAX_LINE_BYTES } from './lines.ts';

/** Bytes read of one file at a time: what grew while nobody looked comes in pieces. */
const PIECE_BYTES = 4 * 1024 * 1024;
/** What is read of a file of which nothing is known. */
const TAIL_BYTES = 64 * 1024 * 1024;
/** Bytes at the head of a file that tell it from another one in its place. */
export const HEAD_BYTES = 256;
/** A container runtime's part of a longer line: `<time> stdout P ...`. It is held back until the rest has come. */
const CRI_PART = /^\S+ (?:stdout|stderr) P/;

/** How far one file was read. */
export interface FilePosition {
  readonly path: string;
  /** Device and inode. */
  readonly file: string;
  /** Everything before was handed over. */
  readonly offset: number;
  /** Digest of the first bytes, and how many. */
  readonly head: string;
  readonly headBytes: number;
}

/** How far a set of growing files was read: JSON, to go on from in another process. */
export interface FollowPosition {
  readonly files: readonly FilePosition[];
}

/** Whole lines that came since the last look, of one file. */
export interface FollowedLines {
  readonly path: string;
  /** Device and inode. */
  readonly file: string;
  /** Of the first byte. */
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** The beginning of the file, where the names of columns stand. */
  head(): Promise<Uint8Array>;
}

export interface FollowLook {
  /** True where more is there than was read at once: look again before waiting. */
  readonly more: boolean;
  /** What may have been missed, in words: a file cut short or gone before it was read to its end. */
  readonly gaps: readonly string[];
  /** Files that are followed now. */
  readonly files: number;
}

export interface Follow {
  /** Hands over what came since the last look, file by file. */
  look(onLines: (lines: FollowedLines) => Promise<void>): Promise<FollowLook>;
  position(): FollowPosition;
  close(): Promise<void>;
}

/** A position as it was kept in JSON; files of it that do not read as such begin anew, as a gap would. */
export function parseFollowPosition(value: Json | undefined): FollowPosition {
  return {
    files: asArray(asObject(value)['files']).flatMap((file) => {
      if (!isJsonObject(file)) return [];
      return [
        {
          path: asString(file['path']) ?? '',
          file: asString(file['file']) ?? '',
          offset: asNumber(file['offset']) ?? 0,
          head: asString(file['head']) ?? '',
          headBytes: asNumber(file['headBytes']) ?? 0,
        },
      ];
    }),
  };
}

interface Followed {
  path: string;
  readonly file: string;
  readonly handle: FileHandle;
  offset: number;
  head: string;
  headBytes: number;
  /** The beginning of the line that `offset` stands in belongs to before: passed over. */
  skipping: boolean;
}

/**
 * Follows files that grow, as `tail -F` does: `patterns` are paths in which `*` matches within a segment, so files may appear later. From
 * `end`: what is in them already is passed over; a file that appears afterwards is read from its beginning. From a position: where another
 * process stopped. From `tail`: the last 64 MiB of each as well. A rotated file is read to its end, then its successor from the start; one that was cut short or has gone is a gap. Only
 * whole lines are handed over. Compressed files are archives of what was read, and left out. Throws SP246 for a file that may not be read
 * when the following begins; later that is a gap.
 */
export async function openFollow(patterns: readonly string[], from: 'end' | 'tail' | FollowPosition): Promise<Follow> {
  const files = new Map<string, Followed>();
  const opening: string[] = [];
  const archives = new Set<string>();
  const unreadable = new Set<string>();

  const take = async (path: string, start: (size: number, file: string) => number): Promise<Followed | undefined> => {
    const handle = await openFile(path);
    if (handle === undefined) return undefined;
    const stats = await handle.stat();
    const file = `${stats.dev}:${stats.ino}`;
    if (!stats.isFile() || files.has(file)) {
      await handle.close();
      return undefined;
    }
    const followed: Followed = { path, file, handle, offset: 0, head: '', headBytes: 0, skipping: false };
    if (await takeHead(followed)) {
      archives.add(file);
      await handle.close();
      return undefined;
    }
    followed.offset = Math.min(start(stats.size, file), stats.size);
    // Starting in the middle of a line that is being written, its end is no record.
    if (followed.offset > 0) {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(1), 0, 1, followed.offset - 1);
      followed.skipping = bytesRead === 1 && buffer[0] !== 10;
    }
    files.set(file, followed);
    return followed;
  };

  if (from === 'end' || from === 'tail') {
    const kept = from === 'end' ? 0 : TAIL_BYTES;
    for (const path of await expand(patterns)) await take(path, (size) => Math.max(0, size - kept));
  } else {
    for (const known of from.files) {
      const path = await findFile(known);
      if (path === undefined) {
        opening.push(`${safeText(known.path)} was rotated away or removed before it was read to its end`);
        continue;
      }
      const followed = await take(path, () => known.offset);
      if (followed === undefined) {
        opening.push(`${safeText(known.path)} was rotated away or removed before it was read to its end`);
        continue;
      }
      followed.skipping = false;
      const { size } = await followed.handle.stat();
      if (size >= known.offset && (await headOf(followed.handle, known.headBytes)) === known.head) continue;
      opening.push(`${safeText(known.path)} was cut short or written anew while nobody read it`);
      followed.offset = 0;
      if (path === known.path) continue;
      // Some other file that was given the number of one that has gone.
      await followed.handle.close();
      files.delete(followed.file);
    }
  }

  const lookAt = async (followed: Followed, onLines: (lines: FollowedLines) => Promise<void>): Promise<FollowState> => {
    const { handle } = followed;
    const { size } = await handle.stat();
    if (size === followed.offset) return { gap: false, more: false };
    let gap = false;
    if (size < followed.offset || (await headOf(handle, followed.headBytes)) !== followed.head) {
      gap = true;
      followed.offset = 0;
      followed.skipping = false;
      await takeHead(followed);
    }
    if (size <= followed.offset) return { gap, more: false };
    if (followed.headBytes < HEAD_BYTES) await takeHead(followed);
    let wanted = PIECE_BYTES;
    for (;;) {
      const length = Math.min(wanted, size - followed.offset);
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(length), 0, length, followed.offset);
      const bytes = buffer.subarray(0, bytesRead);
      const cut = wholeLines(bytes);
      if (cut === 0) {
        if (bytesRead < wanted || wanted > MAX_LINE_BYTES) {
          // No record is that long: it is passed over up to its end.
          if (wanted > MAX_LINE_BYTES) {
            followed.offset += bytesRead;
            followed.skipping = true;
          }
          return { gap, more: wanted > MAX_LINE_BYTES };
        }
        wanted *= 2;
        continue;
      }
      const begin = followed.skipping ? bytes.indexOf(10) + 1 : 0;
      const offset = followed.offset + begin;
      followed.skipping = false;
      if (cut > begin)
        await onLines({
          path: followed.path,
          file: followed.file,
          offset,
          bytes: bytes.subarray(begin, cut),
          head: () => readHead(handle),
        });
      followed.offset += cut;
      return { gap, more: bytesRead === wanted };
    }
  };

  return {
    async look(onLines) {
      const gaps = opening.splice(0);
      const paths = await expand(patterns);
      const present = new Map<string, string>();
      for (const path of paths) {
        const stats = await stat(path).catch(() => undefined);
        if (stats?.isFile() === true) present.set(`${stats.dev}:${stats.ino}`, path);
      }
      let more = false;
      for (const followed of [...files.values()]) {
        const { path } = followed;
        followed.path = present.get(followed.file) ?? path;
        const state = await lookAt(followed, onLines);
        if (state.gap)
          gaps.push(`${safeText(path)} was cut short or written anew, and what it held between two looks is not known`);
        more ||= state.more;
        if (present.has(followed.file) || state.more) continue;
        const { nlink } = await followed.handle.stat();
        if (nlink > 0) continue;
        // Deleted, and read to its end.
        await followed.handle.close();
        files.delete(followed.file);
      }
      for (const [file, path] of present) {
        if (files.has(file) || archives.has(file) || unreadable.has(path)) continue;
        let followed: Followed | undefined;
        try {
          followed = await take(path, () => 0);
        } catch (error) {
          if (!isFailure(error)) throw error;
          // The run is under way: what can't be read from now on is told, and ends nothing.
          unreadable.add(path);
          gaps.push(error.message);
        }
        if (followed !== undefined) more = (await lookAt(followed, onLines)).more || more;
      }
      return { more, gaps, files: files.size };
    },
    position: () => ({
      files: [...files.values()]
        .map(({ path, file, offset, head, headBytes }) => ({ path, file, offset, head, headBytes }))
        .sort((a, b) => compareText(a.path, b.path)),
    }),
    async close() {
      for (const { handle } of files.values()) await handle.close();
      files.clear();
    },
  };
}

interface FollowState {
  readonly gap: boolean;
  readonly more: boolean;
}

/** Bytes up to the end of the last line that is whole, parts of a container's longer line left for later. */
function wholeLines(bytes: Buffer): number {
  let end = bytes.lastIndexOf(10) + 1;
  while (end > 0) {
    const start = end < 2 ? 0 : bytes.lastIndexOf(10, end - 2) + 1;
    if (!CRI_PART.test(bytes.toString('latin1', start, Math.min(end, start + 64)))) return end;
    end = start;
  }
  return 0;
}

async function openFile(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    // It may come later, or have gone between two looks.
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    if (code === undefined) throw error;
    throw new Failure({
      code: 'SP246',
      exit: EXIT.usage,
      message: `${safeText(path)} cannot be followed: ${code === 'EACCES' || code === 'EPERM' ? 'you may not read it' : messageOf(error)}`,
      where: path,
      hint: 'mend its permissions, or name other inputs (those of a watch: soak.signals in the configuration)',
      cause: error,
    });
  }
}

/** Bytes at the head of a file in which the names of columns may stand. */
const COLUMNS_BYTES = 64 * 1024;

async function readHead(handle: FileHandle): Promise<Uint8Array> {
  const { bytesRead, buffer } = await handle.read(Buffer.alloc(COLUMNS_BYTES), 0, COLUMNS_BYTES, 0);
  return buffer.subarray(0, bytesRead);
}

async function headOf(handle: FileHandle, length: number): Promise<string> {
  if (length === 0) return '';
  const { bytesRead, buffer } = await handle.read(Buffer.alloc(length), 0, length, 0);
  return createHash('sha256').update(buffer.subarray(0, bytesRead)).digest('hex').slice(0, 16);
}

/** Remembers the first bytes; true where they are those of a compressed file. */
async function takeHead(followed: Followed): Promise<boolean> {
  const { bytesRead, buffer } = await followed.handle.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
  followed.headBytes = bytesRead;
  followed.head =
    bytesRead === 0 ? '' : createHash('sha256').update(buffer.subarray(0, bytesRead)).digest('hex').slice(0, 16);
  return bytesRead > 1 && buffer[0] === 0x1f && buffer[1] === 0x8b;
}

/** Where a file is now: at its path, or renamed beside it. */
async function findFile(known: FilePosition): Promise<string | undefined> {
  const isIt = async (path: string): Promise<boolean> => {
    const stats = await stat(path).catch(() => undefined);
    return stats !== undefined && `${stats.dev}:${stats.ino}` === known.file;
  };
  if (await isIt(known.path)) return known.path;
  const folder = dirname(known.path);
  const names = await readdir(folder).catch(() => []);
  const stem = basename(known.path);
  // Its neighbours by name first: a folder of logs may be large.
  for (const name of names.toSorted((a, b) => Number(b.startsWith(stem)) - Number(a.startsWith(stem))))
    if (await isIt(join(folder, name))) return join(folder, name);
  return undefined;
}

/** Paths that patterns stand for now, sorted; `*` matches within a segment and never a leading dot. */
export async function expand(patterns: readonly string[]): Promise<readonly string[]> {
  const found = new Set<string>();
  for (const pattern of patterns) {
    const { root } = parse(pattern);
    let places = [root];
    for (const segment of pattern.slice(root.length).split(sep)) {
      if (segment === '') continue;
      if (!segment.includes('*')) {
        places = places.map((place) => join(place, segment));
        continue;
      }
      const next: string[] = [];
      for (const place of places)
        for (const name of await readdir(place === '' ? '.' : place).catch(() => []))
          if ((segment.startsWith('.') || !name.startsWith('.')) && matchText(segment, name))
            next.push(join(place, name));
      places = next;
    }
    for (const place of places) if ((await stat(place).catch(() => undefined))?.isFile() === true) found.add(place);
  }
  return [...found].sort(compareText);
}
