import type { Evidence, SourceRecord } from '../model/evidence.ts';
import type { InputReport } from '../model/flow.ts';
import { compareText, sortBy, uniqueSorted } from '../shared/pure/order.ts';

export interface FoldedEvidence {
  readonly days: readonly string[];
  readonly unattributed: Readonly<Record<string, number>>;
  readonly runs: Readonly<Record<string, readonly string[]>>;
}

/** The evidence of one import: what its inputs reported, and what folding their flows showed. */
export function buildEvidence(reports: readonly InputReport[], folded: FoldedEvidence): Evidence {
  return reports
    .map((report): Evidence => {
      const { first, last } = report;
      const times = first === undefined || last === undefined ? undefined : { first, last };
      return {
        sources: times === undefined && report.lost + report.bad === 0 ? [] : [sourceRecordOf(report)],
        days: [],
        ...times,
        unattributed: {},
        runs: {},
      };
    })
    .reduce(mergeEvidence, { sources: [], ...folded });
}

function sourceRecordOf(report: InputReport): SourceRecord {
  return {
    source: report.source,
    first: report.first ?? 0,
    last: report.last ?? 0,
    records: report.records,
    lost: report.lost,
    bad: report.bad,
    ignored: Object.values(report.ignored).reduce((sum, count) => sum + count, 0),
    sampledOneIn: 1,
  };
}

/** Two imports' evidence as one, a source's records added up. The caller must not merge one input twice. */
export function mergeEvidence(a: Evidence, b: Evidence): Evidence {
  const sources = new Map<string, SourceRecord>();
  for (const record of [...a.sources, ...b.sources]) {
    const known = sources.get(record.source);
    sources.set(record.source, known === undefined ? record : mergeSource(known, record));
  }
  const first = Math.min(a.first ?? Infinity, b.first ?? Infinity);
  const last = Math.max(a.last ?? -Infinity, b.last ?? -Infinity);
  const unattributed = new Map<string, number>();
  for (const [why, count] of [...Object.entries(a.unattributed), ...Object.entries(b.unattributed)])
    unattributed.set(why, (unattributed.get(why) ?? 0) + count);
  const runs = new Map<string, readonly string[]>();
  for (const [id, names] of [...Object.entries(a.runs), ...Object.entries(b.runs)])
    runs.set(id, uniqueSorted([...(runs.get(id) ?? []), ...names]));
  return {
    sources: sortBy(sources.values(), (record) => record.source),
    days: uniqueSorted([...a.days, ...b.days]),
    ...(first === Infinity ? {} : { first, last }),
    unattributed: Object.fromEntries([...unattributed].sort(([x], [y]) => compareText(x, y))),
    runs: Object.fromEntries([...runs].sort(([x], [y]) => compareText(x, y))),
  };
}

function mergeSource(a: SourceRecord, b: SourceRecord): SourceRecord {
  return {
    source: a.source,
    // An input that reported nothing but losses has no times of its own.
    first: a.records === 0 ? b.first : b.records === 0 ? a.first : Math.min(a.first, b.first),
    last: Math.max(a.last, b.last),
    records: a.records + b.records,
    lost: a.lost + b.lost,
    bad: a.bad + b.bad,
    ignored: a.ignored + b.ignored,
    sampledOneIn: Math.max(a.sampledOneIn, b.sampledOneIn),
  };
}
