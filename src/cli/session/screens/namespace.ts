import type { Act } from '../act.ts';
import type { Page, Row } from '../page.ts';
import { rowsOf, textFilter } from '../page.ts';
import { argument } from '../queries.ts';
import type { Known, OpenRun } from '../world.ts';
import { describe } from '../../commands/inventory.ts';
import { wrap } from '../../output.ts';
import { coverageOf } from '../../../flows/coverage.ts';
import { windowsOf } from '../../../flows/window.ts';
import type { Workload } from '../../../model/inventory.ts';
import { PHASES, phaseIndex } from '../../../model/phase.ts';
import type { Gate } from '../../../model/finding.ts';
import { plural, safeText } from '../../../shared/pure/text.ts';

/** One namespace: what can be done, what stops it and how to mend that, what is known of its traffic, what runs in it. */
export function namespacePage(known: Known, namespace: string, open: readonly OpenRun[], width: number): Page<Act> {
  const name = safeText(namespace);
  const now = known.view.phases.get(namespace) ?? 'none';
  const next = PHASES[phaseIndex(now) + 1];
  const drift = known.drift.filter((one) =>
    known.view.applied.some((step) => step.namespace === namespace && step.step.id === one.step),
  );
  const mine = open.filter(({ run }) => run.namespace === namespace);
  const workloads = known.loaded.inventory.workloads.filter((one) => one.namespace === namespace);
  const rows: Row<Act>[] = [
    ...mine.map(({ run, soak }): Row<Act> =>
      soak?.left === true
        ? {
            text: `It soaks in ${run.to}: see what is awaited`,
            tone: 'doubt',
            pick: { kind: 'open', screen: { kind: 'soak' } },
            command: 'sallyport status',
          }
        : {
            text: `Resume the ${run.kind} to ${run.to} that was interrupted`,
            tone: 'bad',
            pick: { kind: 'resume' },
            command: 'sallyport resume',
          },
    ),
    ...ways(known, namespace),
    ...(drift.length === 0
      ? []
      : [
          {
            text: `${plural(drift.length, 'field')} drifted: see which`,
            tone: 'bad',
            pick: { kind: 'open', screen: { kind: 'drift' } },
            command: `sallyport verify ${name}`,
          } as const,
        ]),
    ...blockers(known, namespace, width),
    { text: 'Evidence', tone: 'head' },
    ...evidence(known, namespace).map((text) => ({ text: `  ${text}` })),
    { text: `Workloads (${workloads.length})`, tone: 'head' },
    ...workloads.map(workloadRow),
  ];
  const list = rowsOf(rows);
  return {
    title: `${name}: phase ${now}${next === undefined ? ', the last one' : `, next ${next}`}`,
    above: [],
    rows: list,
    filter: textFilter(list),
    keys: [
      {
        key: 'e',
        label: 'edges',
        value: { kind: 'open', screen: { kind: 'edges', namespace } },
        command: `sallyport flows --namespace ${name}`,
      },
      {
        key: 'h',
        label: 'history',
        value: { kind: 'open', screen: { kind: 'history', namespace } },
        command: `sallyport audit --namespace ${name}`,
      },
      ...(now === 'none'
        ? []
        : [
            {
              key: 'v',
              label: 'verify',
              value: { kind: 'verify', namespace },
              command: `sallyport verify ${name}`,
            } as const,
          ]),
    ],
    help: [
      `Above: what can be done with ${name}. Below: the gates on the way to ${next ?? 'the next phase'} that are not answered with yes, each with what would mend it; Enter shows all its facts and waives it. Then what is known of its traffic, and its workloads.`,
    ],
    command: `sallyport plan ${name}`,
  };
}

function ways(known: Known, namespace: string): readonly Row<Act>[] {
  const name = safeText(namespace);
  const now = known.view.phases.get(namespace) ?? 'none';
  const next = PHASES[phaseIndex(now) + 1];
  const doubtful = known.doubtfulOf(namespace);
  const before = PHASES[phaseIndex(now) - 1] ?? 'none';
  return [
    ...(next === undefined
      ? []
      : ([
          {
            text: `Plan to ${next}: steps, diffs, simulated effect`,
            pick: { kind: 'open', screen: { kind: 'plan', namespace, to: undefined } },
            command: `sallyport plan ${name}`,
          },
          {
            text: `Advance to ${next}`,
            pick: { kind: 'advance', namespace, to: undefined },
            command: `sallyport advance ${name}`,
          },
          ...(known.loaded.snapshot.source === 'directory' || known.loaded.config.soak.signals.length === 0
            ? []
            : ([
                {
                  text: `Advance to ${next}, and leave the watch after it to resume`,
                  pick: { kind: 'advance', namespace, to: undefined, detach: true },
                  command: `sallyport advance ${name} --detach`,
                },
              ] as const)),
          ...(PHASES[phaseIndex(next) + 1] === undefined
            ? []
            : ([
                {
                  text: 'Advance further ...',
                  pick: { kind: 'advance-far', namespace, now },
                  command: `sallyport advance ${name} --to PHASE`,
                },
              ] as const)),
        ] as const)),
    ...(doubtful === 0
      ? []
      : ([
          {
            text: `Review ${plural(doubtful, 'doubtful edge')}`,
            pick: { kind: 'open', screen: { kind: 'edges', namespace, filter: 'doubtful' } },
            command: `sallyport flows --namespace ${name}`,
          },
        ] as const)),
    ...(now === 'none'
      ? []
      : ([
          {
            text: `Go back to ${before}`,
            pick: { kind: 'rollback', namespace, to: before },
            command: `sallyport rollback ${name} --to ${before}`,
          },
          ...(phaseIndex(now) === 1
            ? []
            : ([
                {
                  text: 'Go back further ...',
                  pick: { kind: 'rollback-to', namespace, now },
                  command: `sallyport rollback ${name} --to PHASE`,
                },
              ] as const)),
        ] as const)),
  ];
}

function blockers(known: Known, namespace: string, width: number): readonly Row<Act>[] {
  const planned = known.plan(namespace, undefined);
  if (planned.kind === 'none') return [{ text: planned.message, tone: 'head' }];
  const { plan, open } = planned;
  if (open.length === 0) return [{ text: `No gate stops the way to ${plan.to}: ready.`, tone: 'good' }];
  return [
    { text: `Blockers on the way to ${plan.to} (${open.length})`, tone: 'head' },
    ...plan.gates.flatMap((gate, index) => (gate.answer === 'yes' ? [] : blocker(gate, index, namespace, width))),
  ];
}

function blocker(gate: Gate, index: number, namespace: string, width: number): readonly Row<Act>[] {
  const fix = gate.fix === '' ? [] : wrap(`fix: ${safeText(gate.fix)}`, width - 3, 11, 6, true).split('\n');
  return [
    {
      text: `  ${gate.answer === 'no' ? 'no     ' : 'unknown'} ${safeText(`${gate.id} ${gate.subject}: ${gate.facts[0] ?? ''}`)}`,
      tone: gate.answer === 'no' ? 'bad' : 'doubt',
      pick: { kind: 'open', screen: { kind: 'gate', namespace, to: undefined, index } },
      command: `sallyport plan ${safeText(namespace)}`,
    },
    ...fix.map((text) => ({ text })),
  ];
}

/** Window, sources and coverage of a namespace, each in a line. */
export function evidence(known: Known, namespace: string): readonly string[] {
  const { view, loaded } = known;
  const windows = windowsOf(namespace, view.evidence);
  const wanted = loaded.config.gates.window;
  const lines = windows.map((one) =>
    safeText(
      `window: ${one.hours.toFixed(1)} hours by ${one.source}${wanted === 'off' ? '' : ` (${wanted} wanted)`}, ${plural(one.days.size, 'day')} with records${one.gapDays > 0 ? `, ${plural(one.gapDays, 'day')} without` : ''}`,
    ),
  );
  if (lines.length === 0) lines.push(`no traffic on record: sallyport observe SOURCE INPUT`);
  const limit = loaded.config.gates.coverage;
  // Edges of others say nothing of it, and there may be very many.
  const mine = known.edgesOf(namespace).map(({ edge }) => edge);
  for (const direction of ['ingress', 'egress'] as const) {
    const coverage = coverageOf(namespace, direction, mine, view.evidence, loaded.inventory);
    const share =
      coverage.shareUpper === undefined
        ? 'too few days or runs to estimate the unseen share'
        : `at most ${(coverage.shareUpper * 100).toFixed(1)}% unseen${limit === 'off' ? '' : ` (${(limit * 100).toFixed(1)}% allowed)`}`;
    // Of what was seen on too few days nothing is counted: to say "0 edges" of it would be wrong.
    const counted = coverage.observed === 0 ? '' : `${plural(coverage.observed, 'edge')} seen; `;
    lines.push(`${direction}: ${counted}${share}`);
  }
  for (const source of view.evidence.sources)
    if (source.lost > 0 || source.bad > 0)
      lines.push(
        safeText(`${source.source}: ${source.lost} records lost, ${source.bad} unreadable, of ${source.records}`),
      );
  return lines;
}

function workloadRow(workload: Workload): Row<Act> {
  const mesh = [...new Set(workload.podSets.map(({ mesh: one }) => (one === 'none' ? 'no mesh' : one)))].join(', ');
  return {
    text: `  ${safeText(`${workload.kind}/${workload.name}`).padEnd(30)} ${safeText(describe(workload.classification))}; ${mesh}`,
    pick: { kind: 'open', screen: { kind: 'workload', id: workload.id } },
    command: `sallyport reach --to ${argument(workload.id)}`,
  };
}

/** One workload: what it is and why that is thought, and its edges. */
export function workloadPage(known: Known, id: string): Page<Act> {
  const workload = known.loaded.inventory.workloads.find((one) => one.id === id);
  const rows: Row<Act>[] = [];
  if (workload === undefined) rows.push({ text: 'It is not in the cluster any more.' });
  else {
    const { classification: what } = workload;
    rows.push(
      {
        text: `component ${safeText(what.component)}; stage ${what.stage}; plane ${what.plane}; sensitivity ${what.sensitivity.join(', ')}`,
      },
      ...what.why.map((why) => ({ text: `  because ${safeText(why)}` })),
      {
        text: `accounts: ${safeText([...new Set(workload.podSets.map((one) => one.serviceAccount))].join(', '))}; mesh: ${[...new Set(workload.podSets.map((one) => one.mesh))].join(', ')}`,
      },
    );
    if (workload.manager !== undefined) rows.push({ text: safeText(`managed by ${JSON.stringify(workload.manager)}`) });
  }
  const mine = known.edgesOf(id.slice(0, Math.max(0, id.indexOf('/'))));
  for (const [head, end] of [
    ['Callers', 'dst'],
    ['Calls', 'src'],
  ] as const) {
    const edges = mine.filter(({ edge }) => edge[end].kind === 'workload' && edge[end].id === id);
    rows.push({ text: `${head} (${edges.length})`, tone: 'head' });
    for (const { edge, text } of edges)
      rows.push({
        text: `  ${edge.review === 'unreviewed' ? 'unreviewed' : edge.review}  ${safeText(text)}`,
        pick: { kind: 'open', screen: { kind: 'edge', id: edge.id } },
        command: `sallyport flows --namespace ${safeText(workload?.namespace ?? '')}`,
      });
  }
  const list = rowsOf(rows);
  return {
    title: safeText(id),
    above: [],
    rows: list,
    filter: textFilter(list),
    keys: [],
    help: ['What the workload is, and why that is thought; who calls it and whom it calls, as on record.'],
    command: `sallyport reach --to ${argument(id)}`,
  };
}
