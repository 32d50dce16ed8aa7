import type { InputReport } from '../model/flow.ts';
import type { FlowInput, FlowSource } from '../sources/flow-source.ts';
import type { LineMarker, LineMarks, LineRange } from '../sources/line-marks.ts';
import { countScattered, createLineMarker, findRepeats, joinRanges } from '../sources/line-marks.ts';
import { plural, safeText } from '../shared/pure/text.ts';
import type { LineMarksRecord } from '../../state/line-marks.ts';
import type { Writer } from '../../state/writer.ts';
import type { Output } from './output.ts';

/** Inputs of one import that hold lines of each other, or of inputs before: each line is counted once. */
export interface Overlaps {
  /** All inputs are read anew. */
  begin(): void;
  /** What the reading of an input is to know of it. */
  of(input: FlowInput): Pick<FlowInput, 'marker' | 'cut'>;
  /** After it was read: were there lines in it that are on record, and were not known to be? Then all inputs have to be read anew. */
  isNew(input: FlowInput, report: InputReport): boolean;
  /** More of its beginning is passed over than before: what was found in it stands elsewhere now. */
  moved(input: FlowInput): void;
  /** What is to be remembered of the inputs' lines. */
  marks(): readonly LineMarksRecord[];
  /** What was passed over, and what may count twice. */
  document(): { readonly overlap?: Readonly<Record<string, number>> };
  say(): void;
}

/** Of sources of one record a line, without lines that name columns: of others a line means nothing by itself. */
export function createOverlaps(
  source: FlowSource,
  writer: Pick<Writer, 'lineMarks' | 'hasImport' | 'forgottenInputs'>,
  opened: readonly FlowInput[],
  output: Pick<Output, 'note' | 'line'>,
): Overlaps {
  const isMarked = source.grows === true && source.isColumns === undefined;
  // What is read once cannot be read anew.
  const once = opened.some((input) => input.name === '-');
  const cuts = new Map<FlowInput, readonly LineRange[]>();
  const markers = new Map<FlowInput, LineMarker>();
  let before: LineMarksRecord[] = [];
  let twice = 0;
  let scattered = 0;
  let forgotten = 0;
  const lengthOf = (ranges: readonly LineRange[]): number => ranges.reduce((sum, { from, to }) => sum + to - from, 0);
  function* others(): Generator<LineMarks> {
    yield* before;
    yield* writer.lineMarks(source.name);
  }

  return {
    begin() {
      before = [];
      twice = 0;
      scattered = 0;
      forgotten = 0;
    },
    of(input) {
      if (!isMarked) return {};
      const marker = createLineMarker();
      markers.set(input, marker);
      const cut = cuts.get(input);
      return { marker, ...(cut === undefined ? {} : { cut }) };
    },
    isNew(input, report) {
      const own = markers.get(input)?.finish();
      markers.delete(input);
      if (own === undefined || own.marks.length === 0) return false;
      const { sha256 } = report;
      // The same bytes are told by their hash.
      if (before.some((one) => one.sha256 === sha256) || writer.hasImport(sha256, source.name)) return false;
      const known = cuts.get(input) ?? [];
      const ranges = joinRanges([...known, ...findRepeats(own, others())]);
      const more = lengthOf(ranges) - lengthOf(known);
      if (more > 0 && !once) {
        cuts.set(input, ranges);
        output.note(
          `${safeText(input.name)}: ${plural(more, 'line')} of it are on record already or stand in an input before; what is left is read`,
        );
        return true;
      }
      twice += more;
      scattered += countScattered(own, ranges, others());
      if (report.first !== undefined && report.last !== undefined)
        forgotten = Math.max(forgotten, writer.forgottenInputs(source.name, report.first, report.last));
      before.push({ ...own, source: source.name, sha256 });
      return false;
    },
    moved(input) {
      cuts.delete(input);
    },
    marks: () => before,
    document() {
      const repeated = [...cuts.values()].reduce((sum, ranges) => sum + lengthOf(ranges), 0);
      const figures = { repeated, twice, scattered, forgotten };
      return Object.values(figures).some((figure) => figure > 0) ? { overlap: figures } : {};
    },
    say() {
      for (const [input, ranges] of cuts)
        output.line(
          `in other inputs too, and counted once: ${plural(lengthOf(ranges), 'line')} of ${safeText(input.name)}`,
        );
      if (twice > 0)
        output.line(
          `${plural(twice, 'line')} of standard input are on record already and count twice: what is piped in cannot be read again; import it as a file instead`,
        );
      if (scattered > 0)
        output.line(
          `about ${plural(scattered, 'line')} stand in other inputs too, here and there: where they are the same records, they count twice (edges and days are the same)`,
        );
      if (forgotten > 0)
        output.line(
          `${plural(forgotten, 'input')} of ${source.name} on record ${forgotten === 1 ? 'is' : 'are'} of the same time and not remembered line by line: records that are in them too count twice`,
        );
    },
  };
}
