import type { Flow, InputReport } from '../model/flow.ts';
import type { GrpcFlows } from './grpc/feed.ts';
import type { LineMarker, LineRange } from './line-marks.ts';

/** Bytes with a name. `open` is called once. What it yields holds until the next is asked for: its memory may be used again. */
export interface FlowInput {
  /** As the user gave it; stands in messages. */
  readonly name: string;
  /** Of a file: for formats that are read from several places at once. */
  readonly path?: string;
  open(): AsyncIterable<Uint8Array>;
  /** Ends what a reader draws from `path` by itself when the user stops the reading; `open` sees to it for its own bytes. */
  readonly untilStopped?: <T>(source: AsyncIterable<T>) => AsyncIterable<T>;
  /** Bytes, out of their compression, that are passed over: they are on record. */
  readonly skip?: number;
  /** What may stand at the beginning, behind `skip`, and is on record: SHA-256 by length. Where it does, reading it throws KnownBeginning. */
  readonly known?: ReadonlyMap<number, ReadonlySet<string>>;
  /** Is told every byte behind `skip`, out of its compression. */
  readonly marker?: LineMarker;
  /** Lines behind `skip` that are on record: they are hashed and marked like the others, and read as empty ones. */
  readonly cut?: readonly LineRange[];
}

/** Thrown by a reading of an input that begins with what is on record, and goes on behind it. Whoever opened it reads on from there. */
export class KnownBeginning extends Error {
  readonly input: FlowInput;
  readonly bytes: number;
  constructor(input: FlowInput, bytes: number) {
    super(`the first ${bytes} bytes of ${input.name} are on record`);
    this.name = 'KnownBeginning';
    this.input = input;
    this.bytes = bytes;
  }
}

/** Takes what a source reads, record by record. What it throws ends the reading. */
export interface FlowSink {
  flow(flow: Flow): void;
  /** A DNS answer: `ip` was given for `name`. */
  name(ip: string, name: string): void;
}

export interface ReadOptions {
  /** `abort`: the first malformed record is a Failure. `skip`: they are counted. */
  readonly badRecords: 'abort' | 'skip';
  /** The moment that `--now` names, in milliseconds: when records were taken that carry no time of their own. */
  readonly now?: number;
  /** Records later than this, in milliseconds, lie in the future: malformed, as those of before 2000 and after 2100 are. */
  readonly latest?: number;
  /** Records of the same ends, port and meaning may be handed over as one, a day at most between its first and its last. */
  readonly fold?: boolean;
}

/**
 * A source of traffic: turns bytes into flows. `read` throws a Failure (exit 2) with file and line for input that it cannot
 * use; nothing read before that may then be kept, which is for the caller's transaction to see to.
 */
export interface FlowSource {
  readonly name: string;
  /** One line for `observe --help`. */
  readonly summary: string;
  /** One command, as a user would type it. */
  readonly example: string;
  /** How an engine that holds its records is asked for them, where INPUT is the address of one. */
  readonly remote?:
    /** `present` tells an hour in which nobody called from one that nobody recorded. */
    | { readonly kind: 'prometheus'; readonly queries: readonly string[]; readonly present?: string }
    /** `lines`: the source wants the lines alone, without the labels of their streams. */
    /** The rows of a query of the user's are neutral edges. */
    | { readonly kind: 'clickhouse' }
    | { readonly kind: 'loki'; readonly queries: readonly string[]; readonly lines: boolean };
  /** How a server is asked for its records, where INPUT is `grpc://` or `grpcs://`. */
  readonly grpc?: GrpcFlows;
  /** True for sources of one record a line, which may be read as they grow. */
  readonly grows?: boolean;
  /** Whether a line names the columns of those below it: it is then read again before lines that came later. */
  isColumns?(line: string): boolean;
  read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport>;
}
