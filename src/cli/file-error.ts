import { errorCodeOf } from '../shared/io/files.ts';
import { messageOf } from '../shared/pure/errors.ts';

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'it does not exist',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EISDIR: 'it is a directory',
  ENOTDIR: 'a part of the path is not a directory',
  EEXIST: 'it exists already',
  ENOSPC: 'no space left on the disk',
  EROFS: 'the file system is read-only',
  ELOOP: 'it is a circle of links',
  ENAMETOOLONG: 'the name is too long',
};

/** What a system call met, in words. */
export function explain(error: unknown): string {
  return REASONS[errorCodeOf(error) ?? ''] ?? messageOf(error);
}
