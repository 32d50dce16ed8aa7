import type { InputReport } from '../model/flow.ts';
import { isPlausibleTime } from '../model/flow.ts';
import { addCounts } from '../shared/pure/count.ts';
import { EXIT, Failure } from '../shared/pure/errors.ts';
import { plural, safeText } from '../shared/pure/text.ts';
import type { FlowInput, FlowSink, ReadOptions } from './flow-source.ts';
import { createJsonAssembler } from './documents.ts';
import type { Format } from './formats.ts';
import { identify } from './formats.ts';
import type { LinesRead } from './lines.ts';
import { MAX_DOCUMENT_BYTES, MAX_LINE_BYTES, readLines } from './lines.ts';
import type { Payload } from './unwrap.ts';
import { parseJson, unwrap } from './unwrap.ts';

/** What was wrong with one record. */
export interface BadRecord {
  readonly message: string;
  /** A stable code of its own where the fault has one. */
  readonly code?: string;
  readonly hint?: string;
}

export interface RecordCounter {
  /** A record was read; its times in milliseconds, where it has any. */
  seen(from: number | undefined, to?: number): void;
  ignored(reason: string, count?: number): void;
  /**
   * A record that is none of the source's, and may stand among its records: a message of the program in its log, another metric in
   * its scrape. An input of nothing else is refused where it is known whose it is.
   */
  aside(reason: string, text: string, time?: number): void;
  lost(count: number): void;
  /** The source says that it takes one of so many. */
  sampled(oneIn: number): void;
}

/** The reading of one input: what every source counts, refuses and reports alike. */
export interface Reading {
  readonly counter: RecordCounter;
  /** Where the record stands that is read next. */
  at(text: string, line: number): void;
  /** Counts records that were read elsewhere. */
  seenMany(count: number, from: number, to: number): void;
  /** Throws, or counts a malformed record, as the user chose. */
  bad(fault: BadRecord, text: string, line: number): void;
  finish(read: LinesRead): InputReport;
}

/** What is wrong with a time; undefined for one that a record can have. */
function untimely(time: number, { latest = Infinity }: ReadOptions): string | undefined {
  if (!isPlausibleTime(time)) return 'its time is before 2000 or after 2100';
  return time > latest ? `it lies in the future (${new Date(time).toISOString()})` : undefined;
}

/** The sink without records whose time cannot be: they are malformed, and counted as such by whoever reads them. */
export function timelySink(sink: FlowSink, options: ReadOptions): FlowSink {
  return {
    flow(flow) {
      if (untimely(flow.first, options) === undefined && untimely(flow.last, options) === undefined) sink.flow(flow);
    },
    name: (ip, name) => sink.name(ip, name),
  };
}

export function createReading(source: string, input: FlowInput, options: ReadOptions): Reading {
  let records = 0;
  let lost = 0;
  let bad = 0;
  let sampledOneIn = 1;
  let aside = 0;
  let firstAside: string | undefined;
  let first = Infinity;
  let last = -Infinity;
  let firstBad: Failure | undefined;
  let place: { readonly text: string; readonly line: number } = { text: '', line: 0 };
  const ignored = new Map<string, number>();
  const refuse = (failure: Failure): void => {
    if (options.badRecords === 'abort') throw failure;
    bad += 1;
    firstBad ??= failure;
  };
  return {
    counter: {
      seen(from, to = from) {
        const wrong =
          from === undefined || to === undefined ? undefined : (untimely(from, options) ?? untimely(to, options));
        if (wrong !== undefined) {
          refuse(
            new Failure({
              code: 'SP248',
              exit: EXIT.usage,
              message: `${safeText(input.name)}:${place.line}: ${wrong}: ${excerpt(place.text)}`,
              where: `${input.name}:${place.line}`,
              hint: 'set the clock of whoever recorded it; --bad-records skip leaves such records out',
            }),
          );
          return;
        }
        records += 1;
        if (from === undefined || to === undefined) return;
        if (from < first) first = from;
        if (to > last) last = to;
      },
      ignored(reason, count = 1) {
        ignored.set(reason, addCounts(ignored.get(reason) ?? 0, count));
      },
      aside(reason, text, time) {
        const before = records;
        this.seen(time);
        if (records === before) return;
        aside += 1;
        firstAside ??= text;
        this.ignored(reason);
      },
      lost(count) {
        lost = addCounts(lost, count);
      },
      sampled(oneIn) {
        if (oneIn > sampledOneIn) sampledOneIn = oneIn;
      },
    },
    at(text, line) {
      place = { text, line };
    },
    seenMany(count, from, to) {
      records += count;
      if (from < first) first = from;
      if (to > last) last = to;
    },
    bad(fault, text, line) {
      const other = otherFormat(source, text);
      // Another source's record is named as such, whatever else is wrong with it; a source may have words of its own for it.
      const isOther = other !== undefined && (fault.code === undefined || other.source !== undefined);
      const message =
        !isOther || fault.message.startsWith('this is') ? fault.message : `this is ${other.name}, not ${source}`;
      refuse(
        new Failure({
          code: isOther ? 'SP241' : (fault.code ?? 'SP241'),
          exit: EXIT.usage,
          message: `${safeText(input.name)}:${line}: ${message}: ${excerpt(text)}`,
          where: `${input.name}:${line}`,
          hint:
            other?.source === undefined
              ? (fault.hint ?? 'mend the input, or leave such records out with --bad-records skip')
              : commandFor(other.source, input),
        }),
      );
    },
    finish(read) {
      if (read.broken !== undefined) refuse(read.broken);
      if (records === aside && firstBad !== undefined)
        throw new Failure({
          code: 'SP244',
          exit: EXIT.usage,
          message: `${safeText(input.name)}: none of its ${plural(read.lines, 'line')} is a record of ${source}; ${firstBad.message}`,
          where: input.name,
          hint:
            firstBad.detail.hint?.startsWith('sallyport observe') === true
              ? firstBad.detail.hint
              : 'name the source that wrote the file: sallyport observe --help lists them',
        });
      const other = records > 0 && records === aside ? otherFormat(source, firstAside ?? '') : undefined;
      if (other?.source !== undefined)
        throw new Failure({
          code: 'SP244',
          exit: EXIT.usage,
          message: `${safeText(input.name)}: none of its ${plural(read.lines, 'line')} is a record of ${source}; this is ${other.name}, not ${source}`,
          where: input.name,
          hint: commandFor(other.source, input),
        });
      return {
        source,
        input: input.name,
        sha256: read.sha256,
        bytes: read.bytes,
        lines: read.lines,
        records,
        lost,
        bad,
        ...(sampledOneIn === 1 ? {} : { sampledOneIn }),
        ignored: Object.fromEntries([...ignored].sort(([a], [b]) => (a < b ? -1 : 1))),
        ...(first === Infinity ? {} : { first, last }),
        ...(firstBad === undefined ? {} : { firstBad: firstBad.message }),
      };
    },
  };
}

function otherFormat(source: string, text: string): Format | undefined {
  const format = identify(text);
  return format?.source === source ? undefined : format;
}

function commandFor(source: string, input: FlowInput): string {
  return `sallyport observe ${source} ${safeText(input.name)}`;
}

/**
 * Reads one record a line. `onRecord` returns what is wrong with the line, or undefined. The counting, the abort with file
 * and line, and the refusal of an input in which not one line is a record are the same for every source.
 */
export async function readRecords(
  source: string,
  input: FlowInput,
  options: ReadOptions,
  onRecord: (text: string, counter: RecordCounter) => BadRecord | undefined,
): Promise<InputReport> {
  const reading = createReading(source, input, options);
  const read = await readLines(
    input,
    (text, line) => {
      if (isBlank(text)) return;
      reading.at(text, line);
      const fault = onRecord(text, reading.counter);
      if (fault !== undefined) reading.bad(fault, text, line);
    },
    MAX_LINE_BYTES,
    (fault, text, line) => reading.bad(fault, text, line),
  );
  return reading.finish(read);
}

/**
 * As readRecords, for sources whose records come wrapped by shippers of logs, or as JSON over several lines or in an array:
 * `onPayload` is handed each of them by itself. A JSON document that breaks off is a malformed record.
 */
export async function readPayloads(
  source: string,
  input: FlowInput,
  options: ReadOptions,
  onPayload: (payload: Payload, counter: RecordCounter) => BadRecord | undefined,
): Promise<InputReport> {
  const reading = createReading(source, input, options);
  const documents = createJsonAssembler();
  let part = '';
  const take = (text: string, value: unknown, line: number): void => {
    for (const payload of unwrap(text, value)) {
      if (payload.partial === true) {
        part += payload.text;
        if (part.length <= MAX_LINE_BYTES) continue;
        part = '';
        reading.bad({ message: 'a line put together from its parts is too long' }, text, line);
        continue;
      }
      let whole = payload;
      if (part !== '') {
        const joined = part + payload.text;
        part = '';
        const parsed = parseJson(joined);
        whole = { text: joined, ...(parsed === undefined ? {} : { value: parsed }) };
      }
      if (whole.value === undefined && isBlank(`${whole.text} `)) continue;
      reading.at(whole.text === '' ? text : whole.text, line);
      const fault = onPayload(whole, reading.counter);
      if (fault !== undefined) reading.bad(fault, whole.text === '' ? text : whole.text, line);
    }
  };
  /** Ends what is open. The lines behind its beginning may be records of their own, and are read again: a torn one costs itself alone. */
  const broken = (): void => {
    for (let again = 0; documents.open; again += 1) {
      const open = documents.abandon();
      if (open === undefined) return;
      reading.bad({ message: 'the JSON record breaks off', hint: BROKEN_HINT }, open.text, open.line);
      for (const piece of open.lines)
        if (again < MAX_AGAIN) onLine(piece.text, piece.line);
        else {
          // Torn again and again: line by line, so that the work is bounded.
          const value = parseJson(piece.text);
          if (value !== undefined || !/^\s*[[{]/.test(piece.text)) take(piece.text, value, piece.line);
          else reading.bad({ message: 'the JSON record breaks off', hint: BROKEN_HINT }, piece.text, piece.line);
        }
    }
  };
  const onLine = (text: string, line: number): void => {
    if (!documents.open) {
      const value = parseJson(text);
      if (value !== undefined && !Array.isArray(value)) {
        take(text, value, line);
        return;
      }
      const first = text.trimStart().charCodeAt(0);
      if ((first !== 123 && first !== 91) || isStamp(text)) {
        if (!isBlank(text)) take(text, undefined, line);
        return;
      }
    } else if (text.charCodeAt(0) === 123 && documents.halfway) {
      // A whole record at the beginning of a line, in the middle of another one: that other one broke off.
      const value = parseJson(text);
      if (value !== undefined) {
        broken();
        take(text, value, line);
        return;
      }
    }
    for (const piece of documents.push(text, line)) {
      const value = parseJson(piece.text);
      if (value === undefined) reading.bad({ message: 'not a JSON record' }, piece.text, piece.line);
      else take(piece.text, value, piece.line);
    }
  };
  const read = await readLines(input, onLine, MAX_DOCUMENT_BYTES, (fault, text, line) =>
    reading.bad(fault, text, line),
  );
  broken();
  return reading.finish(read);
}

/** How often lines are read again as parts of documents of several lines. */
const MAX_AGAIN = 8;

const BROKEN_HINT = 'copy the file again, or take what is there with --bad-records skip';

/** `[1728123456.5]`, `[NEW]`, `[2026-10-05T...`: text that begins with a bracket and is no JSON. */
function isStamp(text: string): boolean {
  return /^\s*\[\s*(?:\d[\d.:TZ-]*\s*\]|[A-Z]{2,}\])/.test(text);
}

/** Records without times, and no `--now` to say when they were taken. */
export function missingTime(input: FlowInput, what: string, hint: string): Failure {
  return new Failure({
    code: 'SP257',
    exit: EXIT.usage,
    message: `${safeText(input.name)}: ${what}`,
    where: input.name,
    hint,
  });
}

export function isBlank(text: string): boolean {
  return text.charCodeAt(0) <= 32 && text.trim() === '';
}

/** The beginning of a line, safe to print. */
export function excerpt(text: string): string {
  const short = text.length > 60 ? `${text.slice(0, 60)}...` : text;
  return JSON.stringify(safeText(short));
}

/** A format that people mistake for another, by its first characters; undefined when it is none that is known. */
export function nameForeignFormat(text: string): string | undefined {
  if (/^\s*\[\s*\{/.test(text)) return 'a JSON array (jq -c ".[]" makes one line of each record)';
  return identify(text)?.name;
}
