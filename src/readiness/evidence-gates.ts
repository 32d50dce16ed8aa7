import type { View } from '../engine/contract.ts';
import { coverageOf } from '../flows/coverage.ts';
import { findDoubtful } from '../flows/review.ts';
import { checkSchedules } from '../flows/schedules.ts';
import { endpointKey, formatEdge, formatPort } from '../model/edge.ts';
import type { Gate } from '../model/finding.ts';
import { plural } from '../shared/pure/text.ts';
import { gate, keptEdges, touches, workloadsOf } from './view.ts';

const HOUR = 3_600_000;

/** Hours between the first and the last record of any source. */
function windowGate(view: View): Gate {
  const { first, last } = view.evidence;
  const wanted = view.config.gates.window;
  if (first === undefined || last === undefined)
    return gate('window', 'no', view.namespace, ['no traffic is on record'], 'sallyport observe SOURCE INPUT');
  const hours = (last - first) / HOUR;
  const days = view.evidence.days.length;
  const span = Math.floor(last / 86_400_000) - Math.floor(first / 86_400_000) + 1;
  const gaps = span - days;
  const facts = [
    `${hours.toFixed(1)} hours observed, ${new Date(first).toISOString()} to ${new Date(last).toISOString()}`,
    ...(gaps > 0 ? [`${plural(gaps, 'day')} inside the window without any record`] : []),
  ];
  if (wanted === 'off') return gate('window', 'no', view.namespace, facts, 'observe longer');
  // The last record of a week-long capture falls a moment short of the full week.
  const enough = hours >= wanted - 1 / 60 && gaps === 0;
  return gate(
    'window',
    enough ? 'yes' : 'no',
    view.namespace,
    [...facts, `at least ${wanted} hours wanted`],
    gaps > 0
      ? `observe ${wanted} hours without a gap: sallyport observe SOURCE INPUT`
      : `observe ${Math.max(0, wanted - hours).toFixed(0)} hours more: sallyport observe SOURCE INPUT`,
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
            [`${plural(coverage.observed, 'edge')}, too few days or runs to estimate from`],
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
  const first = view.evidence.first;
  // A longer record counts whole: what ran before the last week still ran while somebody watched.
  const from = Math.min(view.now - windowHours * HOUR, first ?? view.now);
  return checkSchedules(view.namespace, view.inventory, view.evidence, { from, to: view.now }).map((schedule) =>
    gate('schedules', schedule.answer, schedule.workload, schedule.facts, schedule.fix),
  );
}

function unseenGates(view: View): readonly Gate[] {
  const seen = new Set<string>();
  for (const edge of keptEdges(view.edges)) {
    if (edge.origin.kind === 'declared') continue;
    seen.add(endpointKey(edge.src));
    seen.add(endpointKey(edge.dst));
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
  return doubtful.map(({ edge, why }) =>
    gate(
      'review',
      'no',
      edge.id,
      [formatEdge(edge), why],
      `sallyport adopt|accept src=${endpointKey(edge.src)},dst=${endpointKey(edge.dst)},port=${formatPort(edge)} --reason "..."`,
    ),
  );
}

function lossGate(view: View): Gate {
  const wanted = view.config.gates.losses;
  let lost = 0;
  let records = 0;
  let bad = 0;
  let sampled = 1;
  for (const source of view.evidence.sources) {
    lost += source.lost;
    records += source.records;
    bad += source.bad;
    sampled = Math.max(sampled, source.sampledOneIn);
  }
  if (records === 0)
    return gate('losses', 'unknown', view.namespace, ['no traffic is on record'], 'sallyport observe SOURCE INPUT');
  const share = (lost + bad) / (records + lost + bad);
  const facts = [
    `${lost} of ${records + lost + bad} records lost by the source, ${bad} skipped as malformed: ${(share * 100).toFixed(2)}%`,
    ...(sampled > 1 ? [`sampled one in ${sampled}`] : []),
  ];
  const good = wanted !== 'off' && share <= wanted && sampled === 1;
  return gate(
    'losses',
    good ? 'yes' : 'no',
    view.namespace,
    facts,
    'record with larger buffers or without sampling, and observe again',
  );
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
      : 'state cluster.cni in the configuration if you know it',
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
