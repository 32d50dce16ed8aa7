import type { Act } from '../act.ts';
import type { Page, Row } from '../page.ts';
import { rowsOf, textFilter } from '../page.ts';
import type { Known, Planned } from '../world.ts';
import { renderChange } from '../../render-plan.ts';
import { wrap } from '../../output.ts';
import type { AllowedPorts, Connection, ConnectionChange } from '../../../model/connectivity.ts';
import { changedConnections } from '../../../model/connectivity.ts';
import { endpointNamespace } from '../../../model/edge.ts';
import { compileWorld } from '../../../model/evaluate.ts';
import { formatRef } from '../../../model/object.ts';
import type { PhaseName } from '../../../model/phase.ts';
import { changeRef } from '../../../plan/change.ts';
import type { Plan, Step } from '../../../plan/plan.ts';
import { stateAfter } from '../../../plan/simulate.ts';
import type { State } from '../../../plan/simulate.ts';
import { groupBy } from '../../../shared/pure/order.ts';
import { plural, safeText } from '../../../shared/pure/text.ts';

const target = (namespace: string, to: PhaseName | undefined): string =>
  `${safeText(namespace)}${to === undefined ? '' : ` --to ${to}`}`;

/** The steps of a plan, each to be opened, with what it comes to on top. */
export function planPage(planned: Planned, namespace: string, to: PhaseName | undefined, width: number): Page<Act> {
  const command = `sallyport plan ${target(namespace, to)}`;
  if (planned.kind === 'none')
    return {
      title: safeText(namespace),
      above: [],
      rows: rowsOf(lines(planned.message, width)),
      keys: [],
      help: [],
      command,
    };
  const { plan, open } = planned;
  const rows: Row<Act>[] = [
    ...plan.steps.map((step, index): Row<Act> => ({
      text: `${String(index + 1).padStart(3)}. ${step.confirm === undefined ? '' : "(others') "}${safeText(step.title)}`,
      pick: { kind: 'open', screen: { kind: 'step', namespace, to, index } },
      command,
    })),
    ...verdicts(plan, width),
    ...(open.length === 0 ? [] : [{ text: `Gates that stop it (${open.length})`, tone: 'head' } as const]),
    ...plan.gates.flatMap((gate, index): readonly Row<Act>[] =>
      gate.answer === 'yes'
        ? []
        : [
            {
              text: `  ${gate.answer === 'no' ? 'no     ' : 'unknown'} ${safeText(`${gate.id} ${gate.subject}: ${gate.facts[0] ?? ''}`)}`,
              tone: gate.answer === 'no' ? 'bad' : 'doubt',
              pick: { kind: 'open', screen: { kind: 'gate', namespace, to, index } },
              command,
            },
          ],
    ),
  ];
  const list = rowsOf(rows);
  return {
    title: `Plan for ${safeText(plan.namespace)}: ${plan.from} -> ${plan.to}, ${plural(plan.steps.length, 'step')}`,
    above: [
      ...wrap(
        `Simulated: ${plural(plan.simulated.edges, 'edge')} in ${plural(plan.simulated.states, 'state')}; ${plan.denied.length} denied, ${plan.unknown.length} that cannot be judged. ${open.length === 0 ? 'Ready.' : `Not ready: ${plural(open.length, 'gate')} to answer first.`}`,
        width - 1,
      ).split('\n'),
      `Plan hash ${plan.hash}`,
    ],
    rows: list,
    filter: textFilter(list),
    detail: true,
    keys: [
      { key: 't', label: 'to another phase', value: { kind: 'plan-to', namespace } },
      ...(open.length > 0
        ? []
        : ([
            {
              key: 'a',
              label: 'advance',
              value: { kind: 'advance', namespace, to: plan.to, planHash: plan.hash },
              command: `sallyport advance ${target(namespace, plan.to)} --plan-hash ${plan.hash.slice(0, 12)}`,
            },
          ] as const)),
    ],
    help: [
      "Each step is one write; (others') marks an edit to somebody else's object. Enter shows its diff, what it opens and closes, and what simulation cannot see.",
    ],
    command,
  };
}

function verdicts(plan: Plan, width: number): readonly Row<Act>[] {
  return [
    ['Would be denied', plan.denied, 'bad'] as const,
    ['Cannot be judged', plan.unknown, 'doubt'] as const,
  ].flatMap(([head, found, tone]): readonly Row<Act>[] =>
    found.length === 0
      ? []
      : [
          { text: `${head} (${found.length})`, tone: 'head' },
          ...found.flatMap((one): readonly Row<Act>[] => [
            {
              text: `  ${safeText(one.text)}`,
              tone,
              pick: { kind: 'open', screen: { kind: 'edge', id: one.edge } },
              command: `sallyport accept id=${safeText(one.edge)} --reason TEXT`,
            },
            ...one.reasons.flatMap((reason) => lines(reason, width, 6)),
          ]),
        ],
  );
}

function lines(text: string, width: number, indent = 2): readonly Row<Act>[] {
  return wrap(safeText(text), width - 3, indent + 2, indent)
    .split('\n')
    .map((line) => ({ text: line }));
}

/** One step: diff, pairs of workloads that it opens and closes, what follows from it. */
export function stepPage(
  plan: Plan,
  index: number,
  namespace: string,
  to: PhaseName | undefined,
  changes: readonly ConnectionChange[],
  width: number,
): Page<Act> {
  const step = plan.steps[index];
  const command = `sallyport plan ${target(namespace, to)}`;
  const other = (at: number, key: string, label: string) =>
    at < 0 || at >= plan.steps.length
      ? []
      : [{ key, label, value: { kind: 'open', screen: { kind: 'step', namespace, to, index: at } } as const }];
  const rows: Row<Act>[] =
    step === undefined
      ? []
      : [
          { text: `${step.operation} ${safeText(formatRef(changeRef(step.change)))}` },
          ...(step.confirm === undefined ? [] : lines(`confirm: ${step.confirm}`, width).map(doubt)),
          ...step.effects.map((effect) => ({
            text:
              effect.kind === 'rollout'
                ? `replaces the pods of ${safeText(effect.workload)}`
                : `takes effect on the next run of ${safeText(effect.workload)}`,
          })),
          ...step.risks.flatMap((risk) => lines(`not simulated: ${risk}`, width, 0)),
          { text: 'Diff', tone: 'head' },
          ...renderChange(step.change).map((line): Row<Act> => ({
            text: `  ${safeText(line)}`,
            ...(line.startsWith('+') ? { tone: 'good' } : line.startsWith('-') ? { tone: 'bad' } : {}),
          })),
          ...connectivityRows(changes),
        ];
  const list = rowsOf(rows);
  return {
    title: `Step ${index + 1} of ${plan.steps.length}: ${safeText(step?.title ?? 'not in the plan')}`,
    above: wrap(summary(changes), width - 1).split('\n'),
    rows: list,
    filter: textFilter(list),
    keys: [...other(index + 1, '>', 'next step'), ...other(index - 1, '<', 'step before')],
    help: [
      'What the step writes (+ after, - before), and which pairs of workloads it opens, narrows or closes under the policies alone, or with the mesh from permissive-mtls on.',
    ],
    command,
  };
}

const doubt = (row: Row<Act>): Row<Act> => ({ ...row, tone: 'doubt' });

/** How many pairs a step opens, closes and changes. */
function summary(changes: readonly ConnectionChange[]): string {
  if (changes.length === 0) return 'Connectivity: no pair of workloads changes';
  const counts = (['opens', 'closes', 'changes'] as const).flatMap((what) => {
    const count = changes.filter((one) => whatOf(one) === what).length;
    return count === 0 ? [] : [`${what} ${plural(count, 'pair')}`];
  });
  return `Connectivity: ${counts.join(', ')} (below the diff)`;
}

/** The pairs by the workload that most of them share, those that still can connect first. */
function connectivityRows(changes: readonly ConnectionChange[]): readonly Row<Act>[] {
  const [to, from] = [groupBy(changes, (one) => one.dst), groupBy(changes, (one) => one.src)];
  const [groups, shared, other] =
    to.size <= from.size ? ([to, 'to', 'src'] as const) : ([from, 'from', 'dst'] as const);
  return [...groups].flatMap(([id, mine]): readonly Row<Act>[] => [
    { text: `Connectivity ${shared} ${safeText(id)}`, tone: 'head' },
    ...mine
      .toSorted((a, b) => ORDER.indexOf(whatOf(a)) - ORDER.indexOf(whatOf(b)))
      .map((one): Row<Act> => {
        const what = whatOf(one);
        return {
          text: `  ${what.padEnd(7)} ${safeText(one[other])}: ${ports(one.before)} => ${ports(one.after)}`,
          ...(what === 'opens' ? { tone: 'doubt' } : {}),
        };
      }),
  ]);
}

const ORDER = ['opens', 'changes', 'closes'] as const;

function whatOf({ before, after }: ConnectionChange): 'opens' | 'closes' | 'changes' {
  const open = (side: Pick<Connection, 'allowed' | 'unknown'>): boolean =>
    side.allowed.length + side.unknown.length > 0;
  if (!open(before) && open(after)) return 'opens';
  if (open(before) && !open(after)) return 'closes';
  return 'changes';
}

function ports({ allowed, unknown }: Pick<Connection, 'allowed' | 'unknown'>): string {
  const parts = [...texts(allowed), ...texts(unknown).map((text) => `${text} unknown`)];
  if (parts.length === 0) return 'none';
  return parts.length > 3 ? `${parts.slice(0, 3).join(' ')} and ${parts.length - 3} more` : parts.join(' ');
}

function texts(allowed: readonly AllowedPorts[]): readonly string[] {
  if (allowed.length >= 3 && allowed.every(({ from, to }) => from === 1 && to === 65535)) return ['every port'];
  return allowed.map(({ protocol, from, to }) =>
    from === 1 && to === 65535 ? `all ${protocol}` : `${from === to ? from : `${from}-${to}`}/${protocol}`,
  );
}

/** Phases whose objects act through the mesh. */
const MESH: readonly PhaseName[] = ['permissive-mtls', 'strict-mtls', 'identity'];

/** The states that a plan passes through, made as they are asked for: the one before the first step is the first. */
export function statesOf(known: Known, plan: Plan): (index: number) => State {
  const states: State[] = [{ snapshot: known.view.snapshot, inventory: known.view.inventory }];
  return (index) => {
    let state = states.at(-1);
    while (state !== undefined && states.length <= index) {
      const step = plan.steps[states.length - 1];
      if (step === undefined) break;
      state = stateAfter(state, step, known.loaded.rebuild);
      states.push(state);
    }
    const found = states[Math.min(index, states.length - 1)];
    if (found === undefined) throw new Error('a plan has a state before its first step');
    return found;
  };
}

/** Pairs that a step changes, of those that touch the namespaces it is about. */
export function changesAt(state: (index: number) => State, step: Step, index: number): readonly ConnectionChange[] {
  const near = new Set([step.namespace, changeRef(step.change).namespace ?? step.namespace]);
  const isNear = (id: string): boolean => near.has(endpointNamespace({ kind: 'workload', id }) ?? '');
  const before = compileWorld(state(index).inventory);
  const after = compileWorld(state(index + 1).inventory);
  const mesh = MESH.includes(step.phase);
  const out = [...changedConnections(before, after, { to: isNear, mesh })];
  for (const one of changedConnections(before, after, { from: isNear, mesh })) if (!isNear(one.dst)) out.push(one);
  return out;
}
