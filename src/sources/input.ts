import { createReadStream } from 'node:fs';
import { EXIT, Failure, messageOf } from '../shared/pure/errors.ts';
import { safeText } from '../shared/pure/text.ts';
import type { FlowInput } from './flow-source.ts';

/** `-` is standard input; anything else is a file. */
export function openInput(name: string, stdin: () => AsyncIterable<Uint8Array>): FlowInput {
  return name === '-' ? { name, open: stdin } : { name, open: () => readFileBytes(name) };
}

async function* readFileBytes(path: string): AsyncIterable<Uint8Array> {
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) yield chunk as Uint8Array;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === undefined) throw error;
    const reasons: Readonly<Record<string, string>> = {
      ENOENT: 'there is no such file',
      EISDIR: 'it is a directory',
      EACCES: 'you may not read it',
      EPERM: 'you may not read it',
    };
    throw new Failure({
      code: 'SP240',
      exit: EXIT.usage,
      message: `reading ${safeText(path)}: ${reasons[code] ?? messageOf(error)}`,
      where: path,
      hint:
        code === 'EISDIR'
          ? 'name the files in it: sallyport observe SOURCE DIR/*'
          : 'check the path and its permissions',
      cause: error,
    });
  }
}
