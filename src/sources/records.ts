import type { InputReport } from '../model/flow.ts';
import { EXIT, Failure } from '../shared/pure/errors.ts';
import { plural, safeText } from '../shared/pure/text.ts';
import type { FlowInput, ReadOptions } from './flow-source.ts';
import { readLines } from './lines.ts';

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
  ignored(reason: string): void;
  lost(count: number): void;
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
  let records = 0;
  let lost = 0;
  let bad = 0;
  let first = Infinity;
  let last = -Infinity;
  let firstBad: Failure | undefined;
  const ignored = new Map<string, number>();
  const counter: RecordCounter = {
    seen(from, to = from) {
      records += 1;
      if (from === undefined || to === undefined) return;
      if (from < first) first = from;
      if (to > last) last = to;
    },
    ignored(reason) {
      ignored.set(reason, (ignored.get(reason) ?? 0) + 1);
    },
    lost(count) {
      lost += count;
    },
  };
  const read = await readLines(input, (text, line) => {
    if (isBlank(text)) return;
    const fault = onRecord(text, counter);
    if (fault === undefined) return;
    const failure = new Failure({
      code: fault.code ?? 'SP241',
      exit: EXIT.usage,
      message: `${safeText(input.name)}:${line}: ${fault.message}: ${excerpt(text)}`,
      where: `${input.name}:${line}`,
      hint: fault.hint ?? 'mend the input, or leave such records out with --bad-records skip',
    });
    if (options.badRecords === 'abort') throw failure;
    bad += 1;
    firstBad ??= failure;
  });
  if (read.broken !== undefined) {
    if (options.badRecords === 'abort') throw read.broken;
    bad += 1;
    firstBad ??= read.broken;
  }
  if (records === 0 && firstBad !== undefined)
    throw new Failure({
      code: 'SP244',
      exit: EXIT.usage,
      message: `${safeText(input.name)}: none of its ${plural(read.lines, 'line')} is a record of ${source}; ${firstBad.message}`,
      where: input.name,
      hint: 'name the source that wrote the file: sallyport observe --help lists them',
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
    ignored: Object.fromEntries([...ignored].sort(([a], [b]) => (a < b ? -1 : 1))),
    ...(first === Infinity ? {} : { first, last }),
    ...(firstBad === undefined ? {} : { firstBad: firstBad.message }),
  };
}

function isBlank(text: string): boolean {
  return text.charCodeAt(0) <= 32 && text.trim() === '';
}

/** The beginning of a line, safe to print. */
export function excerpt(text: string): string {
  const short = text.length > 60 ? `${text.slice(0, 60)}...` : text;
  return JSON.stringify(safeText(short));
}

/** A format that people mistake for JSON Lines, by its first characters; undefined when it is none that is known. */
export function nameForeignFormat(text: string): string | undefined {
  const line = text.trimStart();
  if (line.startsWith('<')) return 'HTML or XML';
  if (/^(?:apiVersion|kind|metadata|items|---)\b|^---/.test(line)) return 'YAML';
  if (/^[[{]\s*$/.test(line)) return 'JSON spread over several lines (jq -c . makes one line of each record)';
  if (/^\[\s*\{/.test(line)) return 'a JSON array (jq -c ".[]" makes one line of each record)';
  if (/^\[\d{4}-\d\d-\d\dT[\d:.]+Z\] "/.test(line)) return 'an Envoy access log';
  if (/^#(?:separator|fields)\b/.test(line)) return 'a Zeek log';
  if (/^version account-id|^\d \d{12} eni-/.test(line)) return 'an AWS VPC flow log';
  if (/^(?:\[(?:NEW|UPDATE|DESTROY)\]\s+)?(?:tcp|udp|sctp|icmp)\s+\d+ .*\bsrc=/.test(line)) return 'conntrack output';
  if (/^[A-Z][a-z]{2} +\d+ [\d:.]+: ?.* -> .* (?:FORWARDED|DROPPED|REDIRECTED|AUDIT)/.test(line))
    return 'hubble observe in its compact form (add -o json)';
  if (/^# (?:HELP|TYPE) |^[a-z_]+\{[a-z_]+="/.test(line)) return 'Prometheus text';
  if (/^[\w. "/-]+(?:,[\w. ":/-]*){3,}$/.test(line)) return 'CSV';
  if (line.startsWith('\u0000') || line.includes('\ufffd')) return 'binary data or text that is not UTF-8';
  return undefined;
}
