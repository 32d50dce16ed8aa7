import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import type { App } from '../context.ts';
import { explain } from '../file-error.ts';
import { cancelled, untilStopped } from '../interrupt.ts';
import type { Loaded } from '../load.ts';
import { loadAll } from '../load.ts';
import { parseMoment } from '../moment.ts';
import { addressesIn, forgetAddresses } from '../note-addresses.ts';
import { createOverlaps } from '../observe-overlaps.ts';
import { wrap } from '../output.ts';
import { createAggregator } from '../../flows/aggregate.ts';
import type { Contradictions } from '../../flows/attribute.ts';
import type { Edge } from '../../model/edge.ts';
import { endpointNamespace } from '../../model/edge.ts';
import type { Gap } from '../../model/evidence.ts';
import { KnownBeginning } from '../../sources/flow-source.ts';
import type { FlowInput, FlowSink, FlowSource } from '../../sources/flow-source.ts';
import type { InputReport } from '../../model/flow.ts';
import { openInput } from '../../sources/input.ts';
import { isGrpc } from '../../sources/grpc/feed.ts';
import { askRemote, isRemote } from '../../sources/remote.ts';
import { systemClock } from '../../shared/io/clock.ts';
import { FLOW_SOURCES, findSource } from '../../sources/registry.ts';
import { EXIT, Failure } from '../../shared/pure/errors.ts';
import { asArray, asObject, asString } from '../../shared/pure/json.ts';
import { compareText } from '../../shared/pure/order.ts';
import { plural, safeText } from '../../shared/pure/text.ts';

export interface ObserveOptions {
  /** `abort` or `skip`; what is not said is `abort` for an import and `skip` while following. */
  readonly badRecords?: string;
  readonly follow?: boolean;
  readonly for?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly serverName?: string;
  readonly since?: string;
  readonly until?: string;
  readonly query?: string;
  readonly tokenFile?: string;
  readonly ca?: string;
}

/** Imports flows of a source: all of the inputs, or, when one of them is bad, none. */
export async function observe(
  app: App,
  sourceName: string,
  inputs: readonly string[],
  options: ObserveOptions,
): Promise<number> {
  if (sourceName === 'addresses') {
    const { observeAddresses } = await import('./observe-addresses.ts');
    return observeAddresses(app, inputs, options);
  }
  const source = findSource(sourceName);
  if (source === undefined)
    throw new Failure({
      code: 'SP217',
      exit: EXIT.usage,
      message: `there is no source of flows called ${sourceName}`,
      where: 'SOURCE',
      hint: `one of: ${FLOW_SOURCES.map((one) => one.name).join(', ')} (sallyport observe --help)`,
    });
  const names = inputs.length === 0 ? ['-'] : inputs;
  const isFollow = options.follow === true;
  if (isFollow || names.some(isGrpc)) {
    const { observeFollowed } = await import('../observe-followed.ts');
    return observeFollowed(app, source, names, options);
  }
  if (options.for !== undefined)
    throw new Failure({
      code: 'SP293',
      exit: EXIT.usage,
      message: '--for says how long to follow, and nothing is followed',
      where: '--for',
      hint: `sallyport observe ${source.name} --follow --for ${options.for} INPUT`,
    });
  // The command table admits nothing else.
  const badRecords = options.badRecords === 'skip' ? 'skip' : 'abort';
  await checkInputs(names.filter((name) => !isRemote(name)));
  await refuseFollowed(app, source, names);
  if (source.name === 'edges' && options.query !== undefined && !names.some((name) => name === '-' || isRemote(name))) {
    const { archiveInput } = await import('../../sources/edges/archive.ts');
    const now = Date.now();
    const time = (flag: string, text: string | undefined): number | undefined =>
      text === undefined ? undefined : parseTimeOrAge(flag, text, now);
    const times = { from: time('--since', options.since), to: time('--until', options.until) };
    await importFlows(app, source, [archiveInput(names, options.query, times)], badRecords);
    return EXIT.done;
  }
  const opened: FlowInput[] = [];
  const gaps: Gap[] = [];
  for (const name of names)
    if (isRemote(name)) {
      const asked = await askFor(app, source, name, options);
      opened.push(...asked.inputs);
      gaps.push(...asked.gaps);
    } else opened.push(openInput(name, () => process.stdin));
  await importFlows(app, source, opened, badRecords, gaps);
  return EXIT.done;
}

/** A file that was followed is on record already, in pieces that its bytes as a whole do not tell. */
async function refuseFollowed(app: App, source: FlowSource, names: readonly string[]): Promise<void> {
  const { reader } = await app.state();
  const followed = new Set(
    reader
      .follows(source.name)
      .flatMap(({ position }) => asArray(asObject(asObject(position)['feed'])['files']))
      .map((one) => asString(asObject(one)['file'])),
  );
  if (followed.size === 0) return;
  for (const name of names) {
    if (name === '-' || isRemote(name)) continue;
    const { dev, ino } = await stat(name);
    if (followed.has(`${dev}:${ino}`))
      throw new Failure({
        code: 'SP295',
        exit: EXIT.usage,
        message: `${safeText(name)} was followed: its records are on record up to where that ended, and would be counted twice`,
        where: name,
        hint: `go on from there: sallyport observe ${source.name} --follow --for 10s ${safeText(name)}`,
      });
  }
}

const DEFAULT_SINCE = '7d';
/** Clocks of recorders may be ahead of this one by so much. */
export const CLOCK_OFF_MS = 600_000;

/** What an engine holds of the hours between --since and --until and is not on record yet. */
async function askFor(
  app: App,
  source: FlowSource,
  address: string,
  options: ObserveOptions,
): Promise<{ readonly inputs: readonly FlowInput[]; readonly gaps: readonly Gap[] }> {
  const clock = systemClock;
  const to = options.until === undefined ? clock.now() : parseTimeOrAge('--until', options.until, clock.now());
  const from = parseTimeOrAge('--since', options.since ?? DEFAULT_SINCE, clock.now());
  const { reader } = await app.state();
  const recordedSince = reader.evidenceSummary().sources.find((one) => one.source === source.name)?.first;
  const { signal } = app.interrupt;
  app.output.note(`asking ${safeText(address)} for ${source.name}, hour by hour`);
  const asked = await askRemote(source, address, {
    from,
    to,
    signal,
    sleep: (milliseconds, until) => clock.sleep(milliseconds, until),
    known: (sha256) => reader.hasImport(sha256, source.name),
    ...(recordedSince === undefined ? {} : { recordedSince }),
    ...(options.query === undefined ? {} : { query: options.query }),
    ...(options.tokenFile === undefined ? {} : { tokenFile: options.tokenFile }),
    ...(options.ca === undefined ? {} : { caFile: options.ca }),
  });
  const known = asked.known === 0 ? '' : `, ${plural(asked.known, 'answer')} on record already`;
  app.output.note(`${plural(asked.hours, 'hour')} asked for, ${plural(asked.inputs.length, 'answer')} new${known}`);
  if (asked.silent.length > 0)
    app.output.note(
      `a gap: it has nothing of ${plural(asked.silent.length, 'hour')} behind others, from ${asked.silent[0] ?? ''}; on record, and counted by the gate losses`,
    );
  return asked;
}

/** `7d`, `36h`: that long before now; or a time. Milliseconds since the epoch. */
export function parseTimeOrAge(flag: string, text: string, now: number): number {
  const age = /^(\d{1,5})([hd])$/.exec(text);
  return age === null ? parseMoment(text, flag) : now - Number(age[1]) * (age[2] === 'd' ? 86_400_000 : 3_600_000);
}

/** Nothing is read where an input is missing: all that are wrong are named at once. */
export async function checkInputs(names: readonly string[]): Promise<void> {
  const problems: { readonly name: string; readonly why: string }[] = [];
  for (const name of names) {
    if (name === '-') continue;
    try {
      await access(name, constants.R_OK);
      if ((await stat(name)).isDirectory()) problems.push({ name, why: 'it is a directory' });
    } catch (error) {
      problems.push({ name, why: explain(error) });
    }
  }
  if (problems.length === 0) return;
  throw new Failure({
    code: 'SP219',
    exit: EXIT.usage,
    message: `nothing was imported: ${problems.map(({ name, why }) => `${name} cannot be read: ${why}`).join('; ')}`,
    where: problems.map(({ name }) => name).join(', '),
    hint: 'give the path of a file, or - for standard input',
  });
}

/** Where records and the pods' own history do not agree: the records' word was taken, and that is said. */
export function sayContradictions({ output }: App, { pods, example, skew }: Contradictions): void {
  if (pods > 0)
    output.line(
      `${plural(pods, 'record')} ${pods === 1 ? 'names' : 'name'} another pod than held the address then, and ${pods === 1 ? 'was' : 'were'} believed: ${safeText(example ?? '')}`,
    );
  for (const [node, ms] of skew)
    output.line(
      `clocks differ: records of pods on node ${safeText(node)} lie up to ${plural(Math.round(ms / 1000), 'second')} outside the pods' own lives`,
    );
}

const NOTHING_READ = {
  records: 0,
  lost: 0,
  bad: 0,
  edges: { added: 0, updated: 0 },
  alreadyImported: [],
  unattributed: {},
};

/** Folds the inputs into edges and records them in one transaction, with `gaps`: hours of which an engine that was asked has nothing. */
export async function importFlows(
  app: App,
  source: FlowSource,
  opened: readonly FlowInput[],
  badRecords: 'abort' | 'skip',
  gaps: readonly Gap[] = [],
): Promise<{ readonly records: number; readonly edges: number }> {
  // An engine that was asked before may have nothing new.
  if (opened.length === 0) {
    if (gaps.length > 0) {
      const { writer } = await app.writableState();
      writer.importEdges({
        inputs: [],
        edges: [],
        evidence: { days: [], unattributed: {}, runs: {}, gaps },
        at: Date.now(),
      });
    }
    app.output.document('Observation', { source: source.name, inputs: [], ...NOTHING_READ });
    app.output.line(`nothing new of ${source.name}`);
    return { records: 0, edges: 0 };
  }
  const loaded = await loadAll(app, { kind: 'none' });
  const { writer } = await app.writableState();
  const now = app.options.now === undefined ? {} : { now: parseMoment(app.options.now) };
  // A directory of manifests has a clock of its own: its records may be of any time.
  const latest =
    loaded.snapshot.source === 'cluster' ? { latest: Math.max(Date.now(), now.now ?? 0) + CLOCK_OFF_MS } : {};
  const known = source.grows === true && source.isColumns === undefined ? writer.importSizes(source.name) : undefined;
  const skips = new Map<FlowInput, number>();
  const overlaps = createOverlaps(source, writer, opened, app.output);
  let aggregator = createAggregator(loaded.inventory, writer.addresses());
  let reports: InputReport[] = [];
  for (let again = true; again;) {
    again = false;
    aggregator = createAggregator(loaded.inventory, writer.addresses());
    const sink: FlowSink = {
      flow: (flow) => aggregator.add(flow),
      name: (ip, name) => aggregator.addName(ip, name),
    };
    reports = [];
    overlaps.begin();
    // Of inputs before in the same call, too.
    const sizes = new Map([...(known ?? [])].map(([bytes, all]) => [bytes, new Set(all)]));
    for (const input of opened) {
      if (!skips.has(input)) app.output.note(`reading ${input.name === '-' ? 'standard input' : safeText(input.name)}`);
      const { signal } = app.interrupt;
      const skip = skips.get(input) ?? 0;
      const untilNow = <T>(all: AsyncIterable<T>): AsyncIterable<T> =>
        untilStopped(all, signal, 'cancelled; nothing was imported');
      const stoppable: FlowInput = {
        ...input,
        open: () => untilNow(input.open()),
        untilStopped: untilNow,
        ...(skip === 0 ? {} : { skip }),
        ...overlaps.of(input),
        // What is read once cannot be read anew.
        ...(known === undefined || opened.some((one) => one.name === '-') ? {} : { known: sizes }),
      };
      try {
        reports.push(await source.read(stoppable, sink, { badRecords, fold: true, ...now, ...latest }));
      } catch (error) {
        if (!(error instanceof KnownBeginning)) throw error;
        // What was folded of it cannot be told apart any more: all is read anew, without it.
        skips.set(input, skip + error.bytes);
        overlaps.moved(input);
        app.output.note(
          `${safeText(input.name)}: its first ${skip + error.bytes} bytes are on record already; what follows is read, and its lines count from there`,
        );
        again = true;
        break;
      }
      const report = reports.at(-1);
      if (report === undefined) continue;
      if (overlaps.isNew(input, report)) {
        again = true;
        break;
      }
      if (report.bytes > 0) sizes.set(report.bytes, (sizes.get(report.bytes) ?? new Set<string>()).add(report.sha256));
    }
  }
  if (app.interrupt.signal.aborted) throw cancelled('cancelled; nothing was imported');
  const folded = aggregator.finish(reports);
  const at = Date.now();
  const result = writer.importEdges({
    inputs: reports.map((report) => ({
      source: report.source,
      sha256: report.sha256,
      name: report.input,
      at,
      bytes: report.bytes,
      ...(report.first === undefined ? {} : { first: report.first }),
      ...(report.last === undefined ? {} : { last: report.last }),
      records: report.records,
      lost: report.lost,
      bad: report.bad,
      ignored: Object.values(report.ignored).reduce((sum, count) => sum + count, 0),
      sampledOneIn: report.sampledOneIn ?? 1,
    })),
    edges: folded.edges,
    evidence: { ...folded.evidence, ...(gaps.length === 0 ? {} : { gaps }) },
    addresses: [...folded.addresses, ...addressesIn(loaded.snapshot, at)],
    lines: overlaps.marks(),
  });
  await forgetAddresses(app, writer);
  const { output } = app;
  const records = reports.reduce((sum, report) => sum + report.records, 0);
  const lost = reports.reduce((sum, report) => sum + report.lost, 0);
  const bad = reports.reduce((sum, report) => sum + report.bad, 0);
  output.document('Observation', {
    source: source.name,
    inputs: reports,
    records,
    lost,
    bad,
    edges: { added: result.added, updated: result.updated },
    alreadyImported: result.skippedInputs.map((input) => input.name),
    unattributed: folded.evidence.unattributed,
    ...overlaps.document(),
    contradicted: folded.contradictions.pods,
    clockSkew: Object.fromEntries([...folded.contradictions.skew].map(([node, ms]) => [node, Math.round(ms / 1000)])),
  });
  output.line(
    `${plural(records, 'record')} of ${source.name} folded into ${plural(folded.edges.length, 'edge')}: ${result.added} new, ${result.updated} seen again`,
  );
  for (const input of result.skippedInputs)
    output.line(`already imported, so not counted again: ${safeText(input.name)}`);
  overlaps.say();
  const ignored = new Map<string, number>();
  for (const report of reports)
    for (const [why, count] of Object.entries(report.ignored)) ignored.set(why, (ignored.get(why) ?? 0) + count);
  for (const [why, count] of ignored) output.line(`not a connection: ${plural(count, 'record')}, ${safeText(why)}`);
  if (lost > 0) output.line(`${lost} records lost by the source itself`);
  if (bad > 0)
    output.line(
      `${plural(bad, 'malformed record')} skipped; the first: ${safeText(reports.find((report) => report.firstBad !== undefined)?.firstBad ?? '?')}`,
    );
  for (const [why, count] of Object.entries(folded.evidence.unattributed))
    output.line(`unattributed: ${plural(count, 'record')}, ${safeText(why)}`);
  sayContradictions(app, folded.contradictions);
  sayElsewhere(app, loaded, folded.edges);
  return { records, edges: folded.edges.length };
}

/** Where most of what was recorded is of namespaces that were not read: manifests without a namespace, or another cluster's. */
function sayElsewhere({ output, options }: App, { inventory, snapshot }: Loaded, edges: readonly Edge[]): void {
  const read = new Set(inventory.workloads.map(({ namespace }) => namespace));
  const counts = new Map<string, number>();
  for (const edge of edges)
    for (const namespace of new Set([edge.src, edge.dst].map(endpointNamespace)))
      if (namespace !== undefined) counts.set(namespace, (counts.get(namespace) ?? 0) + 1);
  const elsewhere = [...counts]
    .filter(([namespace]) => !read.has(namespace))
    .sort(([a, most], [b, less]) => less - most || compareText(a, b));
  const here = [...counts].reduce((sum, [namespace, count]) => sum + (read.has(namespace) ? count : 0), 0);
  const [first] = elsewhere;
  if (first === undefined || here >= first[1]) return;
  const where = snapshot.source === 'directory' ? 'the manifests' : 'the cluster';
  const named = elsewhere.slice(0, 3).map(([namespace, count]) => `${namespace} (${plural(count, 'edge')})`);
  const unnamed = snapshot.findings.some(({ code }) => code === 'SP304') && options.defaultNamespace === undefined;
  output.note(
    wrap(
      safeText(
        `most of it is of namespaces without a workload in ${where}: ${named.join(', ')}${elsewhere.length > 3 ? ', ...' : ''}. ${
          unnamed
            ? `Objects that name no namespace were read as of "default"; if they belong there: --default-namespace ${first[0]}`
            : `Was it recorded in another cluster?`
        }`,
      ),
      output.width,
    ),
  );
}
