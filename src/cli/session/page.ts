// What a screen is: lines and actions as data. How it is drawn, and how keys or typed answers act on it, is the matter of list.ts, plain.ts and
// prompts.ts.

export type Tone = 'head' | 'good' | 'bad' | 'doubt' | 'dim';

export interface Row<A> {
  /** One line, safe for a terminal; cut where it is too long. */
  readonly text: string;
  readonly tone?: Tone;
  /** All of it, where the text is an abridgement. */
  readonly full?: string;
  /** Said beside it where one row is looked at, and not read out for each of a list. */
  readonly remark?: string;
  /** What Enter on the row does; a row without it is only read. */
  readonly pick?: A;
  /** The command line that does the same, or shows the same. */
  readonly command?: string;
}

/** Rows that are made when they are looked at: there may be very many. */
export interface Rows<A> {
  readonly length: number;
  at(index: number): Row<A>;
}

/** A key that does something with the page, or with the rows that are marked. */
export interface PageKey<A> {
  readonly key: string;
  readonly label: string;
  readonly value: A;
  readonly command?: string;
}

export type Filtered =
  | { readonly kind: 'rows'; readonly shown: Int32Array | undefined }
  | { readonly kind: 'fault'; readonly message: string };

export interface Page<A> {
  readonly title: string;
  /** Shown above the rows, already wrapped. */
  readonly above: readonly string[];
  readonly rows: Rows<A>;
  readonly keys: readonly PageKey<A>[];
  /** What `?` shows beside the keys. */
  readonly help: readonly string[];
  /** The command line that shows the same. */
  readonly command: string;
  /**
   * The rows that a text selects, in their order; all of them for ''. A text that narrows `before` may be looked for among those rows alone.
   */
  readonly filter?: (text: string, before?: { readonly text: string; readonly shown: Int32Array }) => Filtered;
  /** Rows can be marked, and keys act on those that are; on the row under the cursor where none is. */
  readonly marks?: boolean;
  /** Rows are often longer than a line: the one under the cursor stands in full below the list. */
  readonly detail?: boolean;
  /** Milliseconds after which the page is to be made anew by itself. */
  readonly everyMs?: number;
}

export function rowsOf<A>(rows: readonly Row<A>[]): Rows<A> {
  const none: Row<A> = { text: '' };
  return { length: rows.length, at: (index) => rows[index] ?? none };
}

/** A filter by the text of the rows; for pages whose rows are all there. */
export function textFilter<A>(rows: Rows<A>): NonNullable<Page<A>['filter']> {
  const texts: string[] = [];
  return (text, before) => {
    const needle = text.trim().toLowerCase();
    if (needle === '') return { kind: 'rows', shown: undefined };
    if (texts.length === 0) for (let at = 0; at < rows.length; at += 1) texts.push(rows.at(at).text.toLowerCase());
    return { kind: 'rows', shown: containing(texts, needle, before) };
  };
}

/** Positions of the texts that contain every word of `needle`, all in lower case. */
export function containing(
  texts: readonly string[],
  needle: string,
  before?: { readonly text: string; readonly shown: Int32Array },
): Int32Array {
  const words = needle.split(/\s+/).filter((word) => word !== '');
  const narrows = before !== undefined && before.text !== '' && needle.startsWith(before.text.trim().toLowerCase());
  const among = narrows ? before.shown : undefined;
  const out = new Int32Array(among?.length ?? texts.length);
  let count = 0;
  for (let at = 0; at < out.length; at += 1) {
    const index = among === undefined ? at : (among[at] ?? 0);
    const text = texts[index] ?? '';
    if (words.every((word) => text.includes(word))) out[count++] = index;
  }
  return out.subarray(0, count);
}

/** What became of a page. `marked` are positions of rows: those that are marked, or the one under the cursor. */
export type Shown<A> =
  | { readonly kind: 'act'; readonly value: A; readonly marked: readonly number[]; readonly filter: string }
  | { readonly kind: 'back' }
  | { readonly kind: 'search' }
  | { readonly kind: 'reload' }
  | { readonly kind: 'tick' }
  | { readonly kind: 'leave' };
