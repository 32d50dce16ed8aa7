import { mergeSources } from '../model/edge-merge.ts';
import type { Evidence } from '../model/evidence.ts';
import type { InputReport } from '../model/flow.ts';

/** The evidence of one import: what its inputs reported, and what folding their flows showed. */
export function buildEvidence(
  reports: readonly InputReport[],
  folded: Pick<Evidence, 'days' | 'unattributed' | 'runs' | 'seen'>,
): Evidence {
  const first = Math.min(...reports.map((report) => report.first ?? Infinity));
  const last = Math.max(...reports.map((report) => report.last ?? -Infinity));
  // An input without a record has no times; its losses still count, within the window of the others.
  const window = first === Infinity ? { first: 0, last: 0 } : { first, last };
  return {
    sources: mergeSources(
      reports.map((report) => ({
        source: report.source,
        first: report.first ?? window.first,
        last: report.last ?? window.last,
        records: report.records,
        lost: report.lost,
        bad: report.bad,
        ignored: Object.values(report.ignored).reduce((sum, count) => sum + count, 0),
        sampledOneIn: report.sampledOneIn ?? 1,
      })),
    ),
    ...(first === Infinity ? {} : { first, last }),
    ...folded,
  };
}
