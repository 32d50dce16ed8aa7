import { EXIT, Failure } from '../shared/pure/errors.ts';
import { MAX_DOCUMENT_BYTES } from './lines.ts';

export interface Piece {
  readonly text: string;
  /** The line on which it begins. */
  readonly line: number;
}

/** Puts JSON values together that spread over lines, and takes arrays at the top apart. */
export interface JsonAssembler {
  /** Inside of a value or of an array. */
  readonly open: boolean;
  /** Inside of a value. */
  readonly halfway: boolean;
  /** The next line; what became whole with it. */
  push(text: string, line: number): readonly Piece[];
  /** What was begun and not ended; afterwards nothing is open. `lines`: those behind its first one, which it had taken for its own. */
  abandon(): (Piece & { readonly lines: readonly Piece[] }) | undefined;
}

export function createJsonAssembler(): JsonAssembler {
  let parts: string[] = [];
  let numbers: number[] = [];
  let size = 0;
  let begun = 0;
  let depth = 0;
  let inString = false;
  let escaped = false;
  let inArray = false;
  let arrayBegun = 0;

  const reset = (): void => {
    parts = [];
    numbers = [];
    size = 0;
    depth = 0;
    inString = false;
    escaped = false;
  };

  return {
    get open() {
      return depth > 0 || inArray;
    },
    get halfway() {
      return depth > 0;
    },
    push(text, line) {
      const found: Piece[] = [];
      let start = 0;
      for (let at = 0; at < text.length; at += 1) {
        const code = text.charCodeAt(at);
        if (inString) {
          if (escaped) escaped = false;
          else if (code === 92) escaped = true;
          else if (code === 34) inString = false;
          continue;
        }
        if (depth === 0) {
          if (code <= 32 || code === 44) continue;
          if (code === 91 && !inArray) {
            inArray = true;
            arrayBegun = line;
            continue;
          }
          if (code === 93 && inArray) {
            inArray = false;
            continue;
          }
          if (code === 123) {
            start = at;
            begun = line;
            depth = 1;
            continue;
          }
          // Neither a record nor what stands between records: the rest of the line is no JSON.
          found.push({ text: text.slice(at), line });
          inArray = false;
          return found;
        }
        if (code === 34) inString = true;
        else if (code === 123 || code === 91) depth += 1;
        else if (code === 125 || code === 93) {
          depth -= 1;
          if (depth > 0) continue;
          parts.push(text.slice(start, at + 1));
          found.push({ text: parts.join('\n'), line: begun });
          reset();
        }
      }
      if (depth > 0) {
        parts.push(text.slice(start));
        numbers.push(line);
        size += text.length;
        // A line break within a string is no JSON; the value ends up as malformed, and the next one is found again.
        inString = false;
        escaped = false;
        if (size > MAX_DOCUMENT_BYTES)
          throw new Failure({
            code: 'SP256',
            exit: EXIT.usage,
            message: `the JSON document that begins on line ${begun} is longer than ${MAX_DOCUMENT_BYTES >> 20} MiB`,
            hint: 'import it in parts, or write its records one a line: jq -c ".[]"',
          });
      }
      return found;
    },
    abandon() {
      if (depth === 0 && !inArray) return undefined;
      const piece =
        depth === 0
          ? { text: '[', line: arrayBegun, lines: [] }
          : {
              text: parts.join('\n'),
              line: begun,
              lines: parts.slice(1).map((text, index) => ({ text, line: numbers[index + 1] ?? begun })),
            };
      inArray = false;
      reset();
      return piece;
    },
  };
}
