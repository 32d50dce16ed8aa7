import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { EXIT, Failure, messageOf } from '../shared/pure/errors.ts';
import { safeText } from '../shared/pure/text.ts';
import type { FlowInput } from './flow-source.ts';

/** `-` is standard input; anything else is a file. */
export function openInput(name: string, stdin: () => AsyncIterable<Uint8Array>): FlowInput {
  return name === '-' ? { name, open: stdin } : { name, path: name, open: () => readFileBytes(name) };
}

const PIECE_BYTES = 1 << 20;

async function* readFileBytes(path: string): AsyncIterable<Uint8Array> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, 'r');
    // Two pieces of memory in turn: a new one for each would keep the collector busy.
    const memory = [Buffer.allocUnsafeSlow(PIECE_BYTES), Buffer.allocUnsafeSlow(PIECE_BYTES)] as const;
    for (let turn = 0; ; turn = 1 - turn) {
      const { bytesRead, buffer } = await handle.read(memory[turn === 0 ? 0 : 1], 0, PIECE_BYTES, null);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
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
  } finally {
    await handle?.close();
  }
}
