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

async function read(handle: FileHandle, memory: Buffer): Promise<Buffer> {
  const { bytesRead } = await handle.read(memory, 0, PIECE_BYTES, null);
  return memory.subarray(0, bytesRead);
}

async function* readFileBytes(path: string): AsyncIterable<Uint8Array> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, 'r');
    // Two pieces of memory in turn: a new one for each would keep the collector busy.
    const memory = [Buffer.allocUnsafeSlow(PIECE_BYTES), Buffer.allocUnsafeSlow(PIECE_BYTES)] as const;
    const file = handle;
    const readInto = (turn: 0 | 1): ReturnType<typeof read> => {
      const reading = read(file, memory[turn]);
      // Whoever asks for it hears of its failure; nobody may ask.
      reading.catch(() => undefined);
      return reading;
    };
    // While one piece is worked on, the next is read.
    let ahead = readInto(0);
    for (let turn: 0 | 1 = 0; ; turn = turn === 0 ? 1 : 0) {
      const piece = await ahead;
      if (piece.byteLength === 0) return;
      ahead = readInto(turn === 0 ? 1 : 0);
      yield piece;
    }
  } catch (error) {
    throw unreadable(path, error);
  } finally {
    await handle?.close();
  }
}

/** What is thrown where a file cannot be read; what is no fault of the file is thrown as it is. */
export function unreadable(path: string, error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === undefined) return error;
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: 'there is no such file',
    EISDIR: 'it is a directory',
    EACCES: 'you may not read it',
    EPERM: 'you may not read it',
  };
  return new Failure({
    code: 'SP240',
    exit: EXIT.usage,
    message: `reading ${safeText(path)}: ${reasons[code] ?? messageOf(error)}`,
    where: path,
    hint:
      code === 'EISDIR' ? 'name the files in it: sallyport observe SOURCE DIR/*' : 'check the path and its permissions',
    cause: error,
  });
}
