import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import type { RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Gap } from '../model/evidence.ts';
import { EXIT, Failure, messageOf } from '../shared/pure/errors.ts';
import { compareText } from '../shared/pure/order.ts';
import { safeText } from '../shared/pure/text.ts';
import { isRaw } from './ends.ts';
import { neutralEdge } from './edges/rows.ts';
import type { FlowInput, FlowSource } from './flow-source.ts';
import { MAX_DOCUMENT_BYTES } from './lines.ts';
import { parseJson } from './unwrap.ts';

const HOUR_MS = 3_600_000;
const PAGE = 5000;
const ATTEMPTS = 4;
const BACKOFF_MS = [500, 2000, 5000] as const;
const TIMEOUT_MS = 60_000;
/** What is held until all of it is there: sums of connections, not records, where the engine can sum. */
const MAX_HELD_BYTES = 1024 * 1024 * 1024;

export interface RemoteOptions {
  /** Whole hours are asked for: from the one that `from` stands in to the last that ended by `to`. Milliseconds since the epoch. */
  readonly from: number;
  readonly to: number;
  /** In place of the source's own query. */
  readonly query?: string;
  /** Files with a bearer token or `user:password`, and with the certificates of authorities to trust. */
  readonly tokenFile?: string;
  readonly caFile?: string;
  readonly signal: AbortSignal;
  /** Waits between attempts. */
  readonly sleep: (milliseconds: number, signal?: AbortSignal) => Promise<void>;
  /** Is this answer on record already? */
  readonly known: (sha256: string) => boolean;
  /** Since when there are records of the source: an hour behind it of which the engine has nothing is a gap. */
  readonly recordedSince?: number;
}

export interface RemoteInputs {
  /** One for each hour and query with an answer that is not on record yet, in the order of time. */
  readonly inputs: readonly FlowInput[];
  readonly hours: number;
  /** Answers that are on record already. */
  readonly known: number;
  /** Hours of which the engine has nothing, behind one of which something is known, and long enough ago: `2026-10-05T08:00:00.000Z`. */
  readonly silent: readonly string[];
  /** The same as times. */
  readonly gaps: readonly Gap[];
}

/** What reaches an engine late is there by then: an hour that ended since is not called silent yet. */
const LATE_MS = 2 * HOUR_MS;

export function isRemote(name: string): boolean {
  return /^https?:\/\//.test(name);
}

/**
 * Asks an engine that holds a source's records for them, hour by hour: Prometheus (Thanos, Mimir and VictoriaMetrics alike) for sums,
 * ClickHouse for the rows of a query of the user's, Loki for lines, page by page. An hour is asked for whole or not at all, so that asking again gives the same, which is then passed
 * over. Failed attempts are repeated a few times; what then fails is a Failure SP258 (exit 2), and nothing was handed over.
 */
export async function askRemote(source: FlowSource, address: string, options: RemoteOptions): Promise<RemoteInputs> {
  const remote = source.remote;
  if (remote === undefined)
    throw wrongUse(
      `${source.name} is read from files and standard input, not from ${safeText(address)}`,
      `download the records and name the file: ${source.example}`,
    );
  const own = remote.kind === 'clickhouse' ? [] : remote.queries;
  const queries = options.query === undefined ? own : [options.query];
  if (remote.kind === 'clickhouse') checkSql(source, address, options.query);
  if (queries.length === 0)
    throw wrongUse(
      `which lines of Loki are records of ${source.name} is not known`,
      `name them: --query '{namespace="kube-system", container="..."}'`,
    );
  const first = Math.floor(options.from / HOUR_MS);
  const end = Math.floor(options.to / HOUR_MS);
  if (end <= first)
    throw wrongUse(
      'no whole hour lies between --since and --until',
      'the hour that runs now is imported when it is over',
    );
  const ask = createAsker(address, options);
  const inputs: FlowInput[] = [];
  const answered = new Set<number>();
  let known = 0;
  let held = 0;
  for (let hour = first; hour < end; hour += 1) {
    for (const query of queries) {
      options.signal.throwIfAborted();
      const bytes =
        remote.kind === 'prometheus'
          ? await askPrometheus(ask, query, hour)
          : remote.kind === 'clickhouse'
            ? await askClickHouse(ask, query, hour)
            : await askLoki(ask, query, hour, remote.lines);
      if (bytes === undefined) continue;
      answered.add(hour);
      if (options.known(createHash('sha256').update(bytes).digest('hex'))) {
        known += 1;
        continue;
      }
      held += bytes.length;
      if (held > MAX_HELD_BYTES)
        throw wrongUse(
          `the answers of ${safeText(address)} are larger than ${MAX_HELD_BYTES >> 30} GiB together`,
          'ask for less at a time, by --since and --until',
        );
      inputs.push({
        name: `${address} ${isoHour(hour)}${queries.length === 1 ? '' : ` (${queries.indexOf(query) + 1} of ${queries.length})`}`,
        // eslint-disable-next-line @typescript-eslint/require-await -- An input is read as a stream, and this one is there already.
        async *open() {
          yield bytes;
        },
      });
    }
  }
  const begun = Math.min(...answered, Math.floor((options.recordedSince ?? Infinity) / HOUR_MS));
  const gaps: Gap[] = [];
  for (let hour = Math.max(first, begun); hour < end; hour += 1) {
    if (answered.has(hour) || (hour + 1) * HOUR_MS > options.to - LATE_MS) continue;
    // Counters that were read in this hour and did not grow: nobody called, and that is known.
    if (options.query === undefined && remote.kind === 'prometheus' && remote.present !== undefined)
      if ((await askPrometheus(ask, remote.present, hour)) !== undefined) continue;
    gaps.push({ source: source.name, from: hour * HOUR_MS, to: (hour + 1) * HOUR_MS, why: SILENT });
  }
  const silent = gaps.map((gap) => isoHour(gap.from / HOUR_MS));
  return { inputs, hours: end - first, known, silent, gaps };
}

const SILENT = 'the engine that was asked has nothing of this hour';

/** Asks whether any series of a metric was there within the hour, whether it grew or not. */
export function presentInHour(...metrics: readonly string[]): string {
  return `count(last_over_time({__name__=~"${metrics.join('|')}"}[1h]))`;
}

function isoHour(hour: number): string {
  return new Date(hour * HOUR_MS).toISOString();
}

function wrongUse(message: string, hint: string): Failure {
  return new Failure({ code: 'SP259', exit: EXIT.usage, message, where: 'INPUT', hint });
}

/** Asks an engine for a path with parameters; what fails after its repetitions is SP258. */
export type Ask = (path: string, query: Readonly<Record<string, string>>) => Promise<Buffer>;

/** The last second of the hour, so that the sum is of that hour and of its day. Undefined where there is nothing. */
async function askPrometheus(ask: Ask, query: string, hour: number): Promise<Buffer | undefined> {
  const bytes = await ask('/api/v1/query', { query, time: String((hour + 1) * 3600 - 1) });
  const value = parseJson(bytes.toString('utf8'));
  const data = isRaw(value) ? value['data'] : undefined;
  return isRaw(data) && Array.isArray(data['result']) && data['result'].length === 0 ? undefined : bytes;
}

function checkSql(source: FlowSource, address: string, query: string | undefined): void {
  if (query === undefined)
    throw wrongUse(
      `which rows of ${safeText(address)} are edges is for a query to say`,
      `--query 'SELECT ... GROUP BY ...': docs/sources.md has queries to begin with (sallyport observe ${source.name})`,
    );
  if (!query.includes('{from}') || !query.includes('{to}'))
    throw wrongUse(
      'the query is asked for each hour by itself, and does not say where the hour goes',
      'write: WHERE Timestamp >= toDateTime({from}) AND Timestamp < toDateTime({to}), which are seconds since the epoch',
    );
  if (/\bFORMAT\s+\w+\s*;?\s*$/i.test(query)) throw wrongUse('the query names a format', 'leave FORMAT out');
}

/** Rows of an hour as neutral edges, sorted: a database gives them in any order. A GET may read and nothing else. */
async function askClickHouse(ask: Ask, query: string, hour: number): Promise<Buffer | undefined> {
  const sql = query
    .trim()
    .replace(/;$/, '')
    .replaceAll('{from}', String(hour * 3600))
    .replaceAll('{to}', String((hour + 1) * 3600));
  const text = (await ask('/', { query: `${sql} FORMAT JSONEachRow` })).toString('utf8');
  const lines: string[] = [];
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue;
    const row = parseJson(line);
    // What goes wrong after the first row stands at the end of an answer that began well.
    if (!isRaw(row))
      throw new Failure({
        code: 'SP258',
        exit: EXIT.usage,
        message: `the answer is not rows of JSON: ${safeText(line.slice(0, 200))}`,
        where: isoHour(hour),
        hint: 'see what it says of the query',
      });
    lines.push(`${JSON.stringify(neutralEdge(row))}\n`);
  }
  return lines.length === 0 ? undefined : Buffer.from(lines.sort(compareText).join(''));
}

interface Stream {
  readonly stream: Readonly<Record<string, unknown>>;
  readonly values: (readonly [string, string])[];
}

/** All lines of an hour, in an order that does not depend on the pages. */
async function askLoki(ask: Ask, query: string, hour: number, asLines: boolean): Promise<Buffer | undefined> {
  const streams = new Map<string, Stream>();
  const end = `${(hour + 1) * 3600}000000000`;
  let start = `${hour * 3600}000000000`;
  for (;;) {
    const bytes = await ask('/loki/api/v1/query_range', {
      query,
      start,
      end,
      limit: String(PAGE),
      direction: 'forward',
    });
    const value = parseJson(bytes.toString('utf8'));
    const data = isRaw(value) ? value['data'] : undefined;
    if (!isRaw(data) || data['resultType'] !== 'streams' || !Array.isArray(data['result'])) return bytes;
    let count = 0;
    let last = start;
    for (const one of data['result'] as readonly unknown[]) {
      if (!isRaw(one) || !isRaw(one['stream']) || !Array.isArray(one['values'])) return bytes;
      const key = JSON.stringify(Object.entries(one['stream']).sort(([a], [b]) => compareText(a, b)));
      const known = streams.get(key) ?? { stream: one['stream'], values: [] };
      streams.set(key, known);
      const before = known.values.length;
      for (const entry of one['values'] as readonly unknown[]) {
        if (!Array.isArray(entry) || typeof entry[0] !== 'string' || typeof entry[1] !== 'string') return bytes;
        count += 1;
        const [time, line] = [entry[0], entry[1]];
        // An engine that gives other times than were asked for would lead from page to page without end.
        if (!/^\d{1,19}$/.test(time) || BigInt(time) < BigInt(start) || BigInt(time) > BigInt(end))
          throw new Failure({
            code: 'SP258',
            exit: EXIT.usage,
            message: `Loki answered with a line of another time than was asked for: ${safeText(time.slice(0, 40))}`,
            where: isoHour(hour),
            hint: 'look whether the address is Loki itself, and ask again',
          });
        if (BigInt(time) > BigInt(last)) last = time;
        // The page before ended within this nanosecond.
        if (time === start && known.values.slice(0, before).some((had) => had[0] === time && had[1] === line)) continue;
        known.values.push([time, line]);
      }
    }
    if (count < PAGE) break;
    if (last === start)
      throw new Failure({
        code: 'SP258',
        exit: EXIT.usage,
        message: `Loki holds more than ${PAGE} lines of one nanosecond, and gives no way past them`,
        where: isoHour(hour),
        hint: 'narrow the query by labels: --query',
      });
    start = last;
  }
  const sorted = [...streams].sort(([a], [b]) => compareText(a, b)).map(([, one]) => one);
  if (sorted.length === 0) return undefined;
  if (asLines) return Buffer.from(sorted.flatMap(({ values }) => values.map(([, line]) => `${line}\n`)).join(''));
  return Buffer.from(JSON.stringify({ status: 'success', data: { resultType: 'streams', result: sorted } }));
}

export function createAsker(
  address: string,
  options: Pick<RemoteOptions, 'tokenFile' | 'caFile' | 'signal' | 'sleep'>,
): Ask {
  const base = new URL(address);
  const headers: Record<string, string> = { accept: 'application/json', 'user-agent': 'sallyport' };
  if (options.tokenFile !== undefined) {
    const token = readOwn(options.tokenFile).trim();
    const user = /^([^\s:]+):(\S*)$/.exec(token);
    headers['authorization'] =
      user === null ? `Bearer ${token}` : `Basic ${Buffer.from(token, 'utf8').toString('base64')}`;
  }
  if (base.username !== '' || base.password !== '')
    throw wrongUse(
      'the address of an engine names a user, and would stand in messages and on record',
      'give a token: --token-file FILE',
    );
  const ca = options.caFile === undefined ? {} : { ca: readOwn(options.caFile) };
  return async (path, query) => {
    const search = new URLSearchParams(query).toString();
    for (let attempt = 1; ; attempt += 1) {
      const answer = await askOnce(
        base,
        `${base.pathname.replace(/\/+$/, '')}${path}?${search}`,
        headers,
        ca,
        options.signal,
      );
      if (answer.kind === 'body') return answer.bytes;
      const wait = BACKOFF_MS[attempt - 1];
      if (!answer.again || attempt === ATTEMPTS || wait === undefined)
        throw new Failure({
          code: 'SP258',
          exit: EXIT.usage,
          message: `asking ${safeText(base.origin)}: ${safeText(answer.why)}`,
          where: safeText(base.origin),
          hint: answer.hint,
        });
      await options.sleep(wait, options.signal);
    }
  };
}

function readOwn(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw wrongUse(`${safeText(path)} cannot be read: ${messageOf(error)}`, 'check the path and its permissions');
  }
}

type Answer =
  | { readonly kind: 'body'; readonly bytes: Buffer }
  | { readonly kind: 'none'; readonly why: string; readonly again: boolean; readonly hint: string };

function askOnce(
  base: URL,
  path: string,
  headers: Readonly<Record<string, string>>,
  tls: { readonly ca?: string },
  signal: AbortSignal,
): Promise<Answer> {
  const send = base.protocol === 'https:' ? httpsRequest : httpRequest;
  const REACH = 'check the address; inside a cluster: kubectl port-forward';
  return new Promise((resolve) => {
    const none = (error: unknown): void =>
      resolve({ kind: 'none', why: messageOf(error), again: !signal.aborted, hint: REACH });
    const outgoing = send(
      {
        protocol: base.protocol,
        hostname: base.hostname.replace(/^\[|\]$/g, ''),
        port: base.port === '' ? undefined : base.port,
        path,
        headers,
        timeout: TIMEOUT_MS,
        signal,
        // Stated, so that no environment variable can switch verification off.
        rejectUnauthorized: true,
        ...tls,
      } as RequestOptions,
      (incoming) => {
        const chunks: Buffer[] = [];
        let size = 0;
        incoming.on('data', (chunk: Buffer) => {
          size += chunk.length;
          if (size > MAX_DOCUMENT_BYTES)
            incoming.destroy(new Error(`one answer is larger than ${MAX_DOCUMENT_BYTES >> 20} MiB`));
          else chunks.push(chunk);
        });
        incoming.on('error', none);
        incoming.on('end', () => {
          const bytes = Buffer.concat(chunks);
          const status = incoming.statusCode ?? 0;
          if (status >= 200 && status < 300) {
            resolve({ kind: 'body', bytes });
            return;
          }
          const value = parseJson(bytes.toString('utf8'));
          const said =
            isRaw(value) && typeof value['error'] === 'string' ? value['error'] : bytes.toString('utf8', 0, 200);
          resolve({
            kind: 'none',
            why: `it answered ${status}: ${said}`,
            again: status === 429 || status >= 500,
            hint:
              status === 401 || status === 403
                ? 'give a token that may read: --token-file FILE'
                : status === 404
                  ? 'name the address up to the path of its API, and the source that it belongs to'
                  : 'see what it says of the query; --query names another one',
          });
        });
      },
    );
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)));
    outgoing.on('error', none);
    outgoing.end();
  });
}

/**
 * What a counter grew by within an hour, summed by labels by the engine itself. A series that was not there in the hour before began within
 * it: what it has is what it grew by, which `increase` alone would miss. Anywhere in the hour before: a scrape that failed just where the
 * hours meet makes no series a new one.
 */
export function grownByHour(metric: string, labels: readonly string[]): string {
  const before = `last_over_time(${metric}[1h] offset 1h)`;
  return `sum by (${labels.join(', ')}) ((increase(${metric}[1h]) and ${before}) or (last_over_time(${metric}[1h]) unless ${before})) > 0`;
}
