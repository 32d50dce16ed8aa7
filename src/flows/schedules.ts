import { CronExpressionParser } from 'cron-parser';
import type { Evidence } from '../model/evidence.ts';
import type { GateAnswer } from '../model/finding.ts';
import type { Inventory, Schedule } from '../model/inventory.ts';
import { plural } from '../shared/pure/text.ts';
import { sortBy } from '../shared/pure/order.ts';

/** Due times looked at for the cadence: a week of an hourly schedule's unevenness is in it. */
const CADENCE_SAMPLES = 60;

export interface ScheduleCheck {
  readonly workload: string;
  readonly cron: string;
  /** The longest time between two due runs, in milliseconds; undefined when the schedule does not read. */
  readonly cadenceMs: number | undefined;
  /** Due times around the end of the window, in milliseconds since the epoch. */
  readonly previousDue?: number;
  readonly nextDue?: number;
  readonly answer: GateAnswer;
  readonly facts: readonly string[];
  readonly fix: string;
}

/** Milliseconds since the epoch. */
interface Window {
  readonly from: number;
  readonly to: number;
  /** UTC days on which anything was recorded, where that is known: a run of another day was seen by nobody. */
  readonly days?: ReadonlySet<string>;
}

/**
 * Did every schedule of a namespace succeed inside the window (ms since the epoch)? Success is what the schedule's own status
 * says; a run that the flows show has run, which is not to say that it succeeded.
 */
export function checkSchedules(
  namespace: string,
  inventory: Inventory,
  evidence: Evidence,
  window: Window,
): readonly ScheduleCheck[] {
  const checks: ScheduleCheck[] = [];
  for (const workload of sortBy(inventory.workloads, (one) => one.id)) {
    const { schedule } = workload;
    if (workload.namespace !== namespace || schedule === undefined) continue;
    const due = dueTimes(schedule, window.to);
    const runs = evidence.runs[workload.id]?.length ?? 0;
    const facts = [
      `${schedule.by} "${schedule.cron}"${schedule.timeZone === undefined ? '' : ` (${schedule.timeZone})`}`,
      ...(due === undefined ? ['its schedule does not read'] : [`due ${iso(due.previous)}, next ${iso(due.next)}`]),
      `${plural(runs, 'run')} seen in the flows`,
    ];
    const { answer, fact } = judge(workload.name, schedule, runs, window, due);
    checks.push({
      workload: workload.id,
      cron: schedule.cron,
      cadenceMs: due?.cadenceMs,
      ...(due === undefined ? {} : { previousDue: due.previous, nextDue: due.next }),
      answer,
      facts: [fact, ...facts],
      fix: answer === 'yes' ? '' : fixFor(workload.id, namespace, workload.name, schedule, answer, due?.next, window),
    });
  }
  return checks;
}

/** Programs with schedules that no object of the cluster shows. */
const HIDDEN: Readonly<Record<string, string>> = {
  airflow: 'Airflow',
  'airflow-scheduler': 'Airflow',
  dagster: 'Dagster',
  prefect: 'Prefect',
};

/** Workloads of a namespace that run others by schedules of their own making. */
export function findHiddenSchedules(
  namespace: string,
  inventory: Inventory,
): readonly { readonly workload: string; readonly what: string }[] {
  const own = inventory.workloads.filter((one) => one.namespace === namespace);
  const found = own.flatMap((one) => {
    const { component } = one.classification;
    const what = Object.hasOwn(HIDDEN, component) ? HIDDEN[component] : undefined;
    return what === undefined || one.batch ? [] : [{ workload: one.id, what, component }];
  });
  // Where the scheduler is known as such, the rest of the installation schedules nothing.
  const scheduler = found.some((one) => one.component === 'airflow-scheduler');
  return sortBy(
    found.filter((one) => !(scheduler && one.component === 'airflow')),
    (one) => one.workload,
  ).map(({ workload, what }) => ({ workload, what }));
}

function judge(
  name: string,
  schedule: Schedule,
  runs: number,
  window: Window,
  due: Due | undefined,
): { readonly answer: GateAnswer; readonly fact: string } {
  const { lastSuccess, lastSchedule } = schedule;
  if (lastSuccess !== undefined && lastSuccess >= window.from && lastSuccess <= window.to) {
    if (window.days !== undefined && !window.days.has(iso(lastSuccess).slice(0, 10)))
      return {
        answer: 'no',
        fact: `succeeded at ${iso(lastSuccess)}, on a day of which nothing is on record`,
      };
    return { answer: 'yes', fact: `succeeded at ${iso(lastSuccess)}, inside the window` };
  }
  if (lastSuccess !== undefined && lastSuccess > window.to)
    return {
      answer: 'unknown',
      fact: `succeeded at ${iso(lastSuccess)}, after the window; inside it nothing is known`,
    };
  if (schedule.suspended)
    return { answer: 'no', fact: 'suspended: it does not run, and what it connects to was not seen' };
  if (lastSuccess !== undefined)
    return {
      answer: 'no',
      fact: `${name} last ran ${ago(window.to - lastSuccess)} ago${due === undefined ? '' : `, next in ${ago(due.next - window.to)}`}: it succeeded at ${iso(lastSuccess)}, before the window`,
    };
  if (lastSchedule !== undefined)
    return { answer: 'no', fact: `scheduled at ${iso(lastSchedule)} and never succeeded` };
  return {
    answer: 'unknown',
    fact: runs > 0 ? 'it ran, and whether it succeeded is not known' : 'whether it ever succeeded is not known',
  };
}

function fixFor(
  id: string,
  namespace: string,
  name: string,
  schedule: Schedule,
  answer: GateAnswer,
  next: number | undefined,
  window: Window,
): string {
  const waive = `sallyport waive gate=schedules,subject=${id} --reason "..."`;
  if (schedule.suspended) return `resume it and let it succeed once, or ${waive}`;
  const wait =
    next !== undefined && next - window.to <= window.to - window.from
      ? `let the run of ${iso(next)} succeed and observe it`
      : undefined;
  const trigger =
    schedule.by === 'CronJob'
      ? `kubectl create job --from=cronjob/${name} ${name}-manual -n ${namespace} and observe it`
      : 'trigger a run and observe it';
  return [...(answer === 'unknown' ? [] : [wait ?? trigger]), ...(answer === 'unknown' ? [trigger] : []), waive].join(
    ', or ',
  );
}

/** `19 days`, or in hours or minutes where it is less than two of the greater. */
function ago(ms: number): string {
  for (const [unit, size] of UNITS) if (ms >= 2 * size) return plural(Math.round(ms / size), unit);
  return plural(Math.max(1, Math.round(ms / 60_000)), 'minute');
}

const UNITS = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
] as const;

function iso(time: number): string {
  return new Date(time).toISOString();
}

interface Due {
  readonly previous: number;
  readonly next: number;
  readonly cadenceMs: number;
}

/** Due times before and after `at`, and the longest gap of the coming ones; undefined when the schedule does not read. */
export function dueTimes(schedule: Pick<Schedule, 'cron' | 'timeZone'>, at: number): Due | undefined {
  const every = /^@every\s+((?:\d+(?:\.\d+)?(?:h|m|s))+)$/.exec(schedule.cron.trim())?.[1];
  if (every !== undefined) {
    const units: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1_000 };
    const cadenceMs = [...every.matchAll(/(\d+(?:\.\d+)?)([hms])/gy)].reduce(
      (sum, [, number, unit]) => sum + Number(number) * (units[unit ?? ''] ?? 0),
      0,
    );
    return cadenceMs > 0 ? { previous: at - cadenceMs, next: at + cadenceMs, cadenceMs } : undefined;
  }
  const zone = /^(?:CRON_)?TZ=(\S+)\s+(.*)$/s.exec(schedule.cron.trim());
  const cron = zone?.[2] ?? schedule.cron.trim();
  // The parser fills missing fields with stars; Kubernetes wants five, some operators six.
  if (!cron.startsWith('@') && ![5, 6].includes(cron.split(/\s+/).length)) return undefined;
  // H means a random moment to the parser, and no moment to Kubernetes.
  if (/\bH\b/.test(cron)) return undefined;
  try {
    const tz = schedule.timeZone ?? zone?.[1] ?? 'UTC';
    // A run due at this very second is the previous one.
    const second = Math.floor(at / 1000) * 1000;
    const previous = CronExpressionParser.parse(cron, { currentDate: new Date(second + 1000), tz })
      .prev()
      .getTime();
    const coming = CronExpressionParser.parse(cron, { currentDate: new Date(second), tz }).take(CADENCE_SAMPLES);
    let last = previous;
    let cadenceMs = 0;
    for (const date of coming) {
      cadenceMs = Math.max(cadenceMs, date.getTime() - last);
      last = date.getTime();
    }
    const next = coming[0]?.getTime();
    return next === undefined ? undefined : { previous, next, cadenceMs };
  } catch {
    // The parser throws for what it cannot read, and for dates that never come: both are "does not read" to the gate.
    return undefined;
  }
}
