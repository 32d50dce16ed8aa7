import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { EXIT, Failure, messageOf } from '../shared/pure/errors.ts';
import { safeText } from '../shared/pure/text.ts';
import type { FlowInput } from './flow-source.ts';

/** Longer lines are refused: no record is that long, and a file without line breaks must not fill the memory. */
export const MAX_LINE_BYTES = 16 * 1024 * 1024;

/** For answers of an API, which put a whole result on one line. */
export const MAX_DOCUMENT_BYTES = 256 * 1024 * 1024;

export interface LinesRead {
  readonly sha256: string;
  readonly bytes: number;
  readonly lines: number;
  /** Set when the compressed stream broke off or was damaged: everything before it has been handed over. */
  readonly broken?: Failure;
}

/**
 * Hands each line of an input to `onLine`, with its number from 1; a line break at the end is optional, empty lines are
 * passed over. Gzip is told by its first bytes. Damage to a compressed input is returned, not thrown, for the caller to
 * judge. Throws what `onLine` throws, and SP243 for a line beyond `maxLineBytes`.
 */
export async function readLines(
  input: FlowInput,
  onLine: (text: string, line: number) => void,
  maxLineBytes = MAX_LINE_BYTES,
): Promise<LinesRead> {
  const hash = createHash('sha256');
  let bytes = 0;
  let line = 0;
  let carried: Uint8Array[] = [];
  let carriedBytes = 0;

  const tooLong = (): Failure =>
    new Failure({
      code: 'SP243',
      exit: EXIT.usage,
      message: `${safeText(input.name)}: line ${line + 1} is longer than ${maxLineBytes >> 20} MiB`,
      where: `${input.name}:${line + 1}`,
      hint: 'the input must hold one JSON record a line: jq -c . FILE makes it so',
    });

  const handOver = (text: string): void => {
    let start = 0;
    if (line === 0 && text.charCodeAt(0) === 0xfeff) start = 1;
    while (start < text.length) {
      let end = text.indexOf('\n', start);
      if (end < 0) end = text.length;
      const stop = end > start && text.charCodeAt(end - 1) === 13 ? end - 1 : end;
      if (stop - start > maxLineBytes) throw tooLong();
      line += 1;
      if (stop > start) onLine(text.slice(start, stop), line);
      start = end + 1;
    }
  };

  const take = (chunk: Uint8Array): void => {
    bytes += chunk.byteLength;
    hash.update(chunk);
    const cut = chunk.lastIndexOf(10) + 1;
    if (cut === 0) {
      carried.push(chunk);
      carriedBytes += chunk.byteLength;
      if (carriedBytes > maxLineBytes) throw tooLong();
      return;
    }
    const whole = carriedBytes === 0 ? chunk.subarray(0, cut) : Buffer.concat([...carried, chunk.subarray(0, cut)]);
    carried = cut < chunk.byteLength ? [chunk.slice(cut)] : [];
    carriedBytes = chunk.byteLength - cut;
    handOver(Buffer.from(whole.buffer, whole.byteOffset, whole.byteLength).toString('utf8'));
  };

  let broken: Failure | undefined;
  const { gzip, source } = await sniff(input.open());
  if (gzip) {
    const raw = Readable.from(source);
    const gunzip = createGunzip();
    let readError: Error | undefined;
    raw.on('error', (error) => {
      readError = error;
      gunzip.destroy(error);
    });
    raw.pipe(gunzip);
    try {
      for await (const chunk of gunzip) take(chunk as Uint8Array);
    } catch (error) {
      raw.destroy();
      if (readError !== undefined) throw readError;
      const code = (error as NodeJS.ErrnoException).code;
      if (typeof code !== 'string' || !code.startsWith('Z_')) throw error;
      broken = new Failure({
        code: 'SP242',
        exit: EXIT.usage,
        message:
          code === 'Z_BUF_ERROR'
            ? `${safeText(input.name)}: the gzip data break off after line ${line}`
            : `${safeText(input.name)}: the gzip data are damaged after line ${line}: ${messageOf(error)}`,
        where: `${input.name}:${line + 1}`,
        hint: 'copy the file again, or take what is there with --bad-records skip',
        cause: error,
      });
    }
  } else {
    for await (const chunk of source) take(chunk);
  }
  // What follows the last line break of a broken stream is half a record, and no line.
  if (carriedBytes > 0 && broken === undefined) handOver(Buffer.concat(carried).toString('utf8'));
  return { sha256: hash.digest('hex'), bytes, lines: line, ...(broken === undefined ? {} : { broken }) };
}

async function sniff(
  source: AsyncIterable<Uint8Array>,
): Promise<{ readonly gzip: boolean; readonly source: AsyncIterable<Uint8Array> }> {
  const iterator = source[Symbol.asyncIterator]();
  const head: Uint8Array[] = [];
  let size = 0;
  while (size < 2) {
    const next = await iterator.next();
    if (next.done === true) break;
    head.push(next.value);
    size += next.value.byteLength;
  }
  const first = head.length === 1 ? head[0] : Buffer.concat(head);
  async function* whole(): AsyncIterable<Uint8Array> {
    try {
      if (first !== undefined && first.byteLength > 0) yield first;
      for (;;) {
        const next = await iterator.next();
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      await iterator.return?.();
    }
  }
  return { gzip: first?.[0] === 0x1f && first[1] === 0x8b, source: whole() };
}
