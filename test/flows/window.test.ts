import { describe, expect, it } from 'vitest';
import { createAggregator } from '../../src/flows/aggregate.ts';
import { checkSchedules, findHiddenSchedules } from '../../src/flows/schedules.ts';
import { windowsOf } from '../../src/flows/window.ts';
import { mergeEvidence } from '../../src/model/edge-merge.ts';
import type { DaySeen, Evidence } from '../../src/model/evidence.ts';
import { NO_EVIDENCE } from '../../src/model/evidence.ts';
import { DAY, HOUR, MONDAY, days, emptyInventory, flow, stamped, workload } from './build.ts';

/** `source namespace`: on which days from Monday. */
function seenOn(text: string, ...numbers: readonly number[]): readonly DaySeen[] {
  const [source = '', namespace = ''] = text.split(' ');
  return numbers.map((number) => ({
    source,
    namespace,
    day: days(1, number)[0] ?? '',
    first: MONDAY + number * DAY + HOUR,
    last: MONDAY + number * DAY + 23 * HOUR,
  }));
}

function evidenceOf(...seen: readonly (readonly DaySeen[])[]): Evidence {
  return { ...NO_EVIDENCE, seen: seen.flat() };
}

const week = [0, 1, 2, 3, 4, 5, 6];
const hours = (namespace: string, evidence: Evidence): string =>
  windowsOf(namespace, evidence)
    .map((one) => `${one.source} ${Math.round(one.hours)}h -${one.gapDays}`)
    .join(', ');

describe('the window of a namespace', () => {
  it.each<[string, Evidence, string]>([
    [
      'is that of the source that saw it',
      evidenceOf(seenOn('hubble', ...week), seenOn('hubble shop', ...week)),
      'hubble 166h -0',
    ],
    ['is empty where only others were seen', evidenceOf(seenOn('hubble', ...week), seenOn('hubble data', ...week)), ''],
    [
      'is not lent by a source that saw others for longer',
      evidenceOf(seenOn('hubble', ...week), seenOn('hubble data', ...week), seenOn('gcp', 6), seenOn('gcp shop', 6)),
      'gcp 22h -0',
    ],
    [
      'begins with its own first record where it was silent for long before',
      evidenceOf(seenOn('hubble', ...week), seenOn('hubble shop', 4, 5, 6)),
      'hubble 70h -0',
    ],
    [
      'ends with its own last record where it was silent for long after',
      evidenceOf(seenOn('hubble', ...week), seenOn('hubble shop', 0, 1, 2)),
      'hubble 70h -0',
    ],
    [
      'holds silence at its ends as long as the silence in between',
      evidenceOf(seenOn('hubble', ...week), seenOn('hubble shop', 1, 5)),
      'hubble 166h -0',
    ],
    [
      'has a gap where the source recorded nobody',
      evidenceOf(seenOn('hubble', 0, 1, 4, 5), seenOn('hubble shop', 0, 1, 4, 5)),
      'hubble 142h -2',
    ],
    [
      'is one for each source, the one without gaps first',
      evidenceOf(
        seenOn('hubble', 0, 6),
        seenOn('hubble shop', 0, 6),
        seenOn('istio', 2, 3, 4),
        seenOn('istio shop', 2, 3, 4),
      ),
      'istio 70h -0, hubble 166h -5',
    ],
    [
      'is the window of all where nothing was kept by namespace',
      { ...NO_EVIDENCE, days: days(7), first: MONDAY, last: MONDAY + 7 * DAY - 1 },
      ' 168h -0',
    ],
  ])('%s', (_, evidence, expected) => {
    expect(hours('shop', evidence)).toBe(expected);
  });

  it('is folded from flows, whatever their verdict, and the same from two imports as from one', () => {
    const inventory = emptyInventory({ workloads: [workload('shop/Deployment/web'), workload('data/StatefulSet/db')] });
    const flows = [
      flow({ src: stamped('shop/Deployment/web'), dst: stamped('data/StatefulSet/db'), first: MONDAY, last: MONDAY }),
      flow({
        src: stamped('data/StatefulSet/db'),
        dst: stamped('data/StatefulSet/db'),
        first: MONDAY + DAY,
        last: MONDAY + DAY,
        verdict: 'denied',
      }),
    ];
    const fold = (list: readonly (typeof flows)[number][]): Evidence => {
      const aggregator = createAggregator(inventory);
      for (const one of list) aggregator.add(one);
      return aggregator.finish([]).evidence;
    };
    const { seen } = fold(flows);
    expect(seen?.map((one) => `${one.namespace} ${one.day}`)).toEqual([
      ' 2026-10-05',
      ' 2026-10-06',
      'data 2026-10-05',
      'data 2026-10-06',
      'shop 2026-10-05',
    ]);
    expect(mergeEvidence(fold(flows.slice(1)), fold(flows.slice(0, 1))).seen).toEqual(seen);
  });
});

describe('a schedule', () => {
  const monthly = workload('ml/CronJob/retrain-monthly', {
    schedule: {
      cron: '0 2 1 * *',
      suspended: false,
      by: 'CronJob',
      // 1 October, nineteen days before the end of the window.
      lastSuccess: Date.UTC(2026, 9, 1, 2, 30),
    },
  });
  const inventory = emptyInventory({ workloads: [monthly] });
  const to = Date.UTC(2026, 9, 20, 12);

  it('that did not run inside the window says when it did and when it will', () => {
    const [check] = checkSchedules('ml', inventory, NO_EVIDENCE, { from: to - 7 * DAY, to });
    expect(check?.answer).toBe('no');
    expect(check?.facts[0]).toContain('retrain-monthly last ran 19 days ago, next in 12 days');
  });

  it('that ran on a day of which nothing is on record was seen by nobody', () => {
    const window = { from: to - 30 * DAY, to };
    expect(checkSchedules('ml', inventory, NO_EVIDENCE, window)[0]?.answer).toBe('yes');
    const [check] = checkSchedules('ml', inventory, NO_EVIDENCE, { ...window, days: new Set(['2026-10-02']) });
    expect(check).toMatchObject({
      answer: 'no',
      facts: [expect.stringContaining('nothing is on record'), expect.anything(), expect.anything(), expect.anything()],
    });
    expect(checkSchedules('ml', inventory, NO_EVIDENCE, { ...window, days: new Set(['2026-10-01']) })[0]?.answer).toBe(
      'yes',
    );
  });

  it('that only Airflow knows is unknown until a person answers for it', () => {
    const component = (id: string, name: string, batch = false) => {
      const made = workload(id, { batch });
      return { ...made, classification: { ...made.classification, component: name } };
    };
    const platform = emptyInventory({
      workloads: [
        component('etl/Deployment/scheduler', 'airflow-scheduler'),
        component('etl/Deployment/api', 'airflow'),
        component('etl/Job/migrate', 'airflow', true),
        component('etl/Deployment/agent', 'prefect'),
        component('ml/Deployment/airflow', 'airflow'),
      ],
    });
    expect(findHiddenSchedules('etl', platform)).toEqual([
      { workload: 'etl/Deployment/agent', what: 'Prefect' },
      { workload: 'etl/Deployment/scheduler', what: 'Airflow' },
    ]);
    expect(findHiddenSchedules('ml', platform)).toEqual([{ workload: 'ml/Deployment/airflow', what: 'Airflow' }]);
  });
});
