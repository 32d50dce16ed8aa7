import { isUtf8 } from 'node:buffer';
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { EXIT, Failure, messageOf } from '../shared/pure/errors.ts';
import { safeText } from '../shared/pure/text.ts';
import type { FlowInput } from './flow-source.ts';
import { KnownBeginning } from './flow-source.ts';
import { createLineCutter } from './line-marks.ts';

/** Longer lines are refused: no record is that long, and a file without line breaks must not fill the memory. */
export const MAX_LINE_BYTES = 16 * 1024 * 1024;

/** For answers of an API, which put a whole result on one line. */
export const MAX_DOCUMENT_BYTES = 256 * 1024 * 1024;

export interface BytesRead {
  readonly sha256: string;
  readonly bytes: number;
  /** Set when the compressed stream broke off or was damaged: everything before it has been handed over. */
  readonly damage?: Damage;
}

/** What happened to compressed data. */
export interface Damage {
  readonly cutOff: boolean;
  readonly cause: unknown;
}

export interface LinesRead {
  readonly sha256: string;
  readonly bytes: number;
  readonly lines: number;
  /** Set when the compressed stream broke off or was damaged: everything before it has been handed over. */
  readonly broken?: Failure;
}

/** What is wrong with a line as bytes, before anybody looks at what it says. */
export interface BadLine {
  readonly message: string;
  readonly code: 'SP247' | 'SP243';
  readonly hint: string;
}

/**
 * Hands each line of an input to `onLine`, with its number from 1; a line break at the end is optional, empty lines are
 * passed over. Gzip is told by its first bytes. Damage to a compressed input is returned, not thrown, for the caller to
 * judge. A line beyond `maxLineBytes` or of bytes that are no UTF-8 goes to `onBad`, the former by its beginning alone, and is
 * no part of what is read; without `onBad` it is thrown. Throws what the two throw.
 */
export async function readLines(
  input: FlowInput,
  onLine: (text: string, line: number) => void,
  maxLineBytes = MAX_LINE_BYTES,
  onBad?: (bad: BadLine, text: string, line: number) => void,
): Promise<LinesRead> {
  let line = 0;
  let carried: Uint8Array[] = [];
  let carriedBytes = 0;
  /** Inside of a line that is too long. */
  let passing = false;

  const bad = (fault: BadLine, text: string): void => {
    if (onBad !== undefined) {
      onBad(fault, text, line);
      return;
    }
    throw new Failure({
      code: fault.code,
      exit: EXIT.usage,
      message: `${safeText(input.name)}: line ${line} is ${fault.message}`,
      where: `${input.name}:${line}`,
      hint: fault.hint,
    });
  };
  const tooLong = (text: string): void => {
    line += 1;
    bad(longLine(maxLineBytes), text);
  };
  const one = (text: string): void => {
    if (text.length > maxLineBytes) {
      tooLong(text.slice(0, 200));
      return;
    }
    line += 1;
    if (text !== '') onLine(text, line);
  };

  const handOver = (bytes: Buffer): void => {
    if (!isUtf8(bytes)) {
      for (let start = 0; start < bytes.length;) {
        let end = bytes.indexOf(10, start);
        if (end < 0) end = bytes.length;
        const part = bytes.subarray(start, end > start && bytes[end - 1] === 13 ? end - 1 : end);
        if (isUtf8(part)) one(part.toString('utf8'));
        else {
          line += 1;
          bad(NOT_UTF8, part.toString('utf8', 0, 200));
        }
        start = end + 1;
      }
      return;
    }
    const text = bytes.toString('utf8');
    let start = 0;
    if (line === 0 && text.charCodeAt(0) === 0xfeff) start = 1;
    while (start < text.length) {
      let end = text.indexOf('\n', start);
      if (end < 0) end = text.length;
      const stop = end > start && text.charCodeAt(end - 1) === 13 ? end - 1 : end;
      one(text.slice(start, stop));
      start = end + 1;
    }
  };

  const read = await readChunks(
    input,
    (given) => {
      let chunk = given;
      if (passing) {
        const end = chunk.indexOf(10);
        if (end < 0) return;
        passing = false;
        chunk = chunk.subarray(end + 1);
      }
      const cut = chunk.lastIndexOf(10) + 1;
      if (cut === 0) {
        carried.push(copyOf(chunk));
        carriedBytes += chunk.byteLength;
        if (carriedBytes <= maxLineBytes) return;
        const head = Buffer.concat(carried.slice(0, 1)).toString('utf8', 0, 200);
        carried = [];
        carriedBytes = 0;
        passing = true;
        tooLong(head);
        return;
      }
      const whole = carriedBytes === 0 ? chunk.subarray(0, cut) : Buffer.concat([...carried, chunk.subarray(0, cut)]);
      carried = cut < chunk.byteLength ? [copyOf(chunk.subarray(cut))] : [];
      carriedBytes = chunk.byteLength - cut;
      handOver(Buffer.from(whole.buffer, whole.byteOffset, whole.byteLength));
    },
    () => line,
  );
  // What follows the last line break of a broken stream is half a record, and no line.
  if (carriedBytes > 0 && read.broken === undefined) handOver(Buffer.concat(carried));
  return { ...read, lines: line };
}

/** Who reads a file fills its memory again: what is kept beyond a piece is copied, which a Buffer's own slice does not do. */
function copyOf(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}

export function longLine(maxLineBytes: number): BadLine {
  return {
    message: `longer than ${maxLineBytes >> 20} MiB`,
    code: 'SP243',
    hint: 'the input must hold one JSON record a line: jq -c . FILE makes it so; --bad-records skip passes over this one',
  };
}

export const NOT_UTF8: BadLine = {
  message: 'not UTF-8',
  code: 'SP247',
  hint: 'mend the input, or leave such lines out with --bad-records skip',
};

/** Hands the bytes of an input over, as readBytes does; `line` says how many lines were read, for messages. */
export async function readChunks(
  input: FlowInput,
  onChunk: (chunk: Uint8Array) => Promise<void> | void,
  line: () => number,
): Promise<Omit<LinesRead, 'lines'>> {
  const { damage, ...read } = await readBytes(input, onChunk);
  return { ...read, ...(damage === undefined ? {} : { broken: brokenOff(input, damage, line()) }) };
}

/** What is said of compressed data that were damaged behind line `line`. */
export function brokenOff({ name }: FlowInput, { cutOff, cause }: Damage, line: number): Failure {
  return new Failure({
    code: 'SP242',
    exit: EXIT.usage,
    message: cutOff
      ? `${safeText(name)}: the gzip data break off after line ${line}`
      : `${safeText(name)}: the gzip data are damaged after line ${line}: ${messageOf(cause)}`,
    where: `${name}:${line + 1}`,
    hint: 'copy the file again, or take what is there with --bad-records skip',
    cause,
  });
}

/** Hands the bytes of an input over, out of their compression. A promise that `onChunk` gives is waited for before more is read. */
export async function readBytes(
  input: FlowInput,
  onChunk: (chunk: Uint8Array) => Promise<void> | void,
): Promise<BytesRead> {
  const hash = createHash('sha256');
  let bytes = 0;
  let skipping = input.skip ?? 0;
  // Where a file may end that was imported before, when it was shorter.
  const ends = [...(input.known?.keys() ?? [])].sort((a, b) => b - a);
  let endsLine = false;
  const cutter = input.cut === undefined ? undefined : createLineCutter(input.cut);
  const take = (given: Uint8Array): Promise<void> | void => {
    let chunk = given;
    if (skipping > 0) {
      const passed = Math.min(skipping, chunk.byteLength);
      skipping -= passed;
      chunk = chunk.subarray(passed);
    }
    if (chunk.byteLength === 0) return;
    for (let end = ends.at(-1); end !== undefined && end < bytes + chunk.byteLength; end = ends.at(-1)) {
      ends.pop();
      // Its last line may have been half a line then.
      const last = end > bytes ? chunk[end - bytes - 1] === 10 : endsLine;
      const head = last ? hash.copy().update(chunk.subarray(0, end - bytes)) : undefined;
      if (head !== undefined && input.known?.get(end)?.has(head.digest('hex')) === true)
        throw new KnownBeginning(input, end);
    }
    bytes += chunk.byteLength;
    endsLine = chunk[chunk.byteLength - 1] === 10;
    hash.update(chunk);
    input.marker?.push(chunk);
    if (cutter === undefined) return onChunk(chunk);
    const left = cutter(chunk);
    return left.byteLength === 0 ? undefined : onChunk(left);
  };
  let damage: Damage | undefined;
  const { gzip, source } = await sniff(input.open());
  if (gzip) {
    const raw = Readable.from(copies(source));
    const gunzip = createGunzip({ chunkSize: 1 << 18 });
    let readError: Error | undefined;
    raw.on('error', (error) => {
      readError = error;
      gunzip.destroy(error);
    });
    raw.pipe(gunzip);
    let fault: unknown;
    try {
      for await (const chunk of gunzip) {
        try {
          await take(chunk as Uint8Array);
        } catch (error) {
          fault = error;
          throw error;
        }
      }
    } catch (error) {
      raw.destroy();
      if (fault !== undefined) throw error;
      if (readError !== undefined) throw readError;
      const code = (error as NodeJS.ErrnoException).code;
      if (typeof code !== 'string' || !code.startsWith('Z_')) throw error;
      damage = { cutOff: code === 'Z_BUF_ERROR', cause: error };
    }
  } else {
    for await (const chunk of source) {
      const waiting = take(chunk);
      if (waiting !== undefined) await waiting;
    }
  }
  return { sha256: hash.digest('hex'), bytes, ...(damage === undefined ? {} : { damage }) };
}

/** The decompression keeps what it is given for longer than it holds. */
async function* copies(source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  for await (const chunk of source) yield Buffer.from(chunk);
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
    head.push(Buffer.from(next.value));
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
  return { gzip: first !== undefined && isGzip(first), source: whole() };
}

/** By its first two bytes (RFC 1952, section 2.3.1). */
export function isGzip(head: Uint8Array): boolean {
  return head[0] === 0x1f && head[1] === 0x8b;
}

/** The beginning of an input without the byte order mark that some tools put there. */
export function withoutMark(chunk: Uint8Array): Uint8Array {
  return chunk[0] === 0xef && chunk[1] === 0xbb && chunk[2] === 0xbf ? chunk.subarray(3) : chunk;
}
