import { crossingOf } from '../candidates/waypoints.ts';
import type { View } from '../engine/contract.ts';
import { coverageOf } from '../flows/coverage.ts';
import { findDoubtful } from '../flows/review.ts';
import { checkSchedules, findHiddenSchedules } from '../flows/schedules.ts';
import type { SourceWindow } from '../flows/window.ts';
import { scheduleWindow, windowsOf } from '../flows/window.ts';
import { MAX_UNREVIEWED_TARGETS } from '../flows/corroborate.ts';
import { endpointKey, formatEdge } from '../model/edge.ts';
import type { Gap } from '../model/evidence.ts';
import type { Gate } from '../model/finding.ts';
import { groupBy } from '../shared/pure/order.ts';
import { shellWord } from '../shared/pure/shell.ts';
import { plural } from '../shared/pure/text.ts';
import { reviewFix, some } from './corroboration-gates.ts';
import { gate, keptEdges, touches, workloadsOf } from './view.ts';

/** A record of the whole week: the last record of a week-long capture falls a moment short of it. */
function holds(window: SourceWindow, wanted: number): boolean {
  return window.hours >= wanted - 1 / 60 && window.gapDays === 0;
}

/** For how long some one source recorded the namespace without a gap: what another recorded of other namespaces says nothing of it. */
function windowGate(view: View): Gate {
  const wanted = view.config.gates.window;
  const windows = windowsOf(view.namespace, view.evidence);
  const [best] = windows;
  if (best === undefined)
    return gate(
      'window',
      'no',
      view.namespace,
      [
        view.evidence.first === undefined
          ? 'no traffic is on record'
          : `no source recorded any traffic of ${view.namespace}`,
      ],
      'sallyport observe SOURCE INPUT',
    );
  const facts = windows.flatMap((one) => [
    `${one.hours.toFixed(1)} hours observed${one.overall ? '' : ` by ${one.source}`}, ${new Date(one.from).toISOString()} to ${new Date(one.to).toISOString()}`,
    ...(one.gapDays > 0 ? [`${plural(one.gapDays, 'day')} inside the window without any record`] : []),
    ...(one.overall ? ['recorded before windows were kept by namespace and source'] : []),
  ]);
  if (wanted === 'off') return gate('window', 'no', view.namespace, facts, 'observe longer');
  return gate(
    'window',
    holds(best, wanted) ? 'yes' : 'no',
    view.namespace,
    [...facts, `at least ${wanted} hours wanted`],
    best.gapDays > 0
      ? `observe ${wanted} hours without a gap: sallyport observe SOURCE INPUT`
      : `observe ${Math.max(0, wanted - best.hours).toFixed(0)} hours more: sallyport observe SOURCE INPUT`,
  );
}

export function coverageGates(view: View): readonly Gate[] {
  const wanted = view.config.gates.coverage;
  const gates: Gate[] = [];
  for (const direction of ['ingress', 'egress'] as const) {
    const coverage = coverageOf(view.namespace, direction, view.edges, view.evidence, view.inventory);
    const subject = `${view.namespace}/${direction}`;
    const share = coverage.shareUpper;
    const percent = (value: number): string => `${(value * 100).toFixed(1)}%`;
    gates.push(
      share === undefined
        ? gate(
            'coverage',
            'unknown',
            subject,
            ['too few days or runs on record to estimate from'],
            'observe on three days or three runs at least, or sallyport waive gate=coverage,subject=' + subject,
          )
        : gate(
            'coverage',
            wanted !== 'off' && share <= wanted ? 'yes' : 'no',
            subject,
            [
              coverage.observed === 0
                ? `its workloads that were seen on three days or runs show no edge in this direction, in ${coverage.units} days`
                : `at most ${percent(share)} of its edges unseen (Chao2, upper 95% bound; ${plural(coverage.observed, 'edge')} in ${coverage.units} days)`,
              ...(coverage.observed === 0 || coverage.freshUpper === undefined
                ? []
                : [
                    `one day more shows at most ${coverage.freshUpper.toFixed(1)} new edges (Good-Turing, upper 97.5% limit)`,
                  ]),
              ...(wanted === 'off' ? [] : [`at most ${percent(wanted)} wanted`]),
            ],
            'observe longer, so that rare edges recur',
          ),
    );
    for (const workload of coverage.workloads) {
      if (workload.answer !== 'too-few') continue;
      gates.push(
        gate(
          'coverage',
          'unknown',
          `${workload.id}/${direction}`,
          [`${plural(workload.units, workload.unit)} on record; three are needed for an estimate`],
          `observe on, or sallyport waive gate=coverage,subject=${workload.id}/${direction} --reason "..."`,
        ),
      );
    }
  }
  return gates;
}

function scheduleGates(view: View): readonly Gate[] {
  const windowHours = view.config.gates.window === 'off' ? 168 : view.config.gates.window;
  const window = scheduleWindow(view.namespace, view.evidence, windowHours, view.now);
  return [
    ...checkSchedules(view.namespace, view.inventory, view.evidence, window).map((schedule) =>
      gate('schedules', schedule.answer, schedule.workload, schedule.facts, schedule.fix),
    ),
    ...findHiddenSchedules(view.namespace, view.inventory).map(({ workload, what }) =>
      gate(
        'schedules',
        'unknown',
        workload,
        [`${what} keeps its schedules to itself: which of them ran inside the window is not known`],
        `trigger every schedule that it has and observe it, then sallyport waive gate=schedules,subject=${workload} --reason "..."`,
      ),
    ),
  ];
}

function unseenGates(view: View): readonly Gate[] {
  const seen = new Set<string>();
  for (const edge of keptEdges(view.edges)) {
    if (edge.origin.kind === 'declared') continue;
    seen.add(endpointKey(edge.src));
    seen.add(endpointKey(edge.dst));
    // What passes through a waypoint is its traffic, whatever ends a source gave it.
    for (const { workload } of crossingOf(view.inventory, edge).hops) seen.add(workload);
  }
  const silent = workloadsOf(view).filter((workload) => !seen.has(workload.id));
  if (silent.length === 0)
    return [
      gate(
        'unseen-workloads',
        'yes',
        view.namespace,
        [`all ${workloadsOf(view).length} workloads have traffic on record`],
        '',
      ),
    ];
  return silent.map((workload) =>
    gate(
      'unseen-workloads',
      'no',
      workload.id,
      ['no connection of it is on record; the namespace default would isolate it'],
      `let it run, or sallyport waive gate=unseen-workloads,subject=${workload.id} --reason "..."`,
    ),
  );
}

/** No doubtful edge may become a rule unseen, in whichever phase rules are written. */
export function reviewGates(view: View): readonly Gate[] {
  const doubtful = findDoubtful(view.edges, view.inventory).filter(
    ({ edge }) => touches(edge, view.namespace) && edge.review === 'unreviewed',
  );
  if (doubtful.length === 0)
    return [gate('review', 'yes', view.namespace, ['no doubtful edge waits for a person'], '')];
  // A source with very many is one question: a flood of them would hide the others.
  return [...groupBy(doubtful, ({ edge }) => endpointKey(edge.src))].flatMap(([source, own]) => {
    const [first] = own;
    if (first === undefined || own.length <= MAX_UNREVIEWED_TARGETS)
      return own.map(({ edge, why }) => gate('review', 'no', edge.id, [formatEdge(edge), why], reviewFix(edge)));
    return gate(
      'review',
      'no',
      source,
      [`${plural(own.length, 'doubtful edge')} of ${source}`, first.why, ...some(own.map(({ edge }) => edge))],
      `sallyport adopt|accept src=${shellWord(source)} --reason "..."`,
    );
  });
}

/**
 * What the sources lost that recorded this namespace, each by itself: a source without loss does not hide one with. Where some held the
 * whole window, one of them within bounds is enough: what another one lost, it has.
 */
function lossGate(view: View): Gate {
  const wanted = view.config.gates.losses;
  const { sources } = view.evidence;
  if (sources.every((one) => one.records === 0))
    return gate('losses', 'unknown', view.namespace, ['no traffic is on record'], 'sallyport observe SOURCE INPUT');
  const windows = windowsOf(view.namespace, view.evidence);
  const hours = view.config.gates.window;
  const named = new Set(windows.map((one) => one.source));
  // Neutral edges may name the source that they came from; what was lost is said by the import.
  const relevant = sources.filter(
    (one) =>
      named.size === 0 || windows.some((window) => window.overall) || named.has(one.source) || one.source === 'edges',
  );
  const judged = (relevant.length === 0 ? sources : relevant).map((one) => {
    const share = (one.lost + one.bad) / Math.max(1, one.records + one.lost + one.bad);
    const missed = missedTime(one.source, windows, view.evidence.gaps ?? []);
    return {
      source: one.source,
      good: wanted !== 'off' && share <= wanted && missed.share <= wanted && one.sampledOneIn === 1,
      whole: hours !== 'off' && windows.some((window) => window.source === one.source && holds(window, hours)),
      facts: [
        `${one.source}: ${one.lost} of ${one.records + one.lost + one.bad} records lost by the source, ${one.bad} skipped as malformed: ${(share * 100).toFixed(2)}%`,
        ...(one.sampledOneIn > 1 ? [`${one.source}: sampled one in ${one.sampledOneIn}`] : []),
        ...missed.facts,
      ],
    };
  });
  const whole = judged.filter((one) => one.whole);
  const good = whole.length > 0 ? whole.some((one) => one.good) : judged.every((one) => one.good);
  return gate(
    'losses',
    good ? 'yes' : 'no',
    view.namespace,
    judged.flatMap((one) => one.facts),
    'record with larger buffers or without sampling, and observe again',
  );
}

/** Gaps named in a gate; more of them are counted. */
const GAPS_NAMED = 3;

/** How much of the window of a source, the longest where it has several, nobody recorded. */
function missedTime(
  source: string,
  windows: readonly SourceWindow[],
  gaps: readonly Gap[],
): { readonly share: number; readonly facts: readonly string[] } {
  const own = gaps.filter((gap) => gap.source === source);
  const window = windows.find((one) => one.overall || one.source === source);
  if (own.length === 0 || window === undefined) return { share: 0, facts: [] };
  let missed = 0;
  let reached = window.from;
  for (const gap of own.toSorted((a, b) => a.from - b.from)) {
    const [from, to] = [Math.max(gap.from, reached), Math.min(gap.to, window.to)];
    if (to <= from) continue;
    missed += to - from;
    reached = to;
  }
  const share = missed / Math.max(1, window.to - window.from);
  const time = (at: number): string => new Date(at).toISOString();
  return {
    share,
    facts: [
      `${source}: not recorded for ${(missed / 3_600_000).toFixed(1)} of ${window.hours.toFixed(1)} hours: ${(share * 100).toFixed(2)}%`,
      ...own
        .slice(0, GAPS_NAMED)
        .map((gap) => `${source}: a gap from ${time(gap.from)} to ${time(gap.to)}: ${gap.why}`),
      ...(own.length > GAPS_NAMED ? [`${source}: ${own.length - GAPS_NAMED} more gaps`] : []),
    ],
  };
}

function enforcementGate(view: View): Gate {
  const { cni } = view.inventory.facts;
  return gate(
    'enforcement',
    cni.enforces,
    view.namespace,
    [`CNI ${cni.name}: ${cni.because}`],
    cni.enforces === 'no'
      ? 'switch enforcement on in the CNI; policies would have no effect'
      : cni.name === 'unknown'
        ? 'state cluster.cni in the configuration if you know it'
        : `see a policy refuse a connection here, then sallyport waive gate=enforcement,subject=${view.namespace} --reason "..."`,
  );
}

/** The exit of monitor and the entry of allow-list: is the record good enough to enforce what it shows? */
export function evidenceGates(view: View): readonly Gate[] {
  return [
    windowGate(view),
    ...coverageGates(view),
    ...scheduleGates(view),
    ...unseenGates(view),
    ...reviewGates(view),
    lossGate(view),
    enforcementGate(view),
  ];
}
