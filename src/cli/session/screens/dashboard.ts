import type { Act } from '../act.ts';
import type { Page, Row } from '../page.ts';
import { rowsOf, textFilter } from '../page.ts';
import type { NamespaceFacts, OpenRun, World } from '../world.ts';
import { lostLines } from '../world.ts';
import { grantsLine } from './grants.ts';
import { soakLine } from './soak.ts';
import { countGates } from '../../render-gates.ts';
import { wrap } from '../../output.ts';
import { PHASES } from '../../../model/phase.ts';
import type { RecordedGrant } from '../../../readiness/recorded-grants.ts';
import { groupBy } from '../../../shared/pure/order.ts';
import { plural, safeText } from '../../../shared/pure/text.ts';

/** What the dashboard looks at beside the world: the state as it is at this moment. */
export interface DashboardFacts {
  readonly open: readonly OpenRun[];
  readonly now: number;
  readonly width: number;
  /** Namespaces whose gates are still being worked out. */
  readonly pending: boolean;
  /** In force by the record. */
  readonly grants: readonly RecordedGrant[];
}

/** Where every namespace stands: by phase, with its open gates, what soaks, what was interrupted and what drifted. */
export function dashboard(world: World, facts: DashboardFacts): Page<Act> {
  const { known } = world;
  const rows: Row<Act>[] = [...openRows(facts)];
  const granted = grantsLine(facts.grants, facts.now);
  if (granted !== undefined) rows.push(granted);
  const drift = known?.drift.length ?? 0;
  if (drift > 0)
    rows.push({
      text: `${plural(drift, 'field')} drifted: the cluster is not as Sallyport left it`,
      tone: 'bad',
      pick: { kind: 'open', screen: { kind: 'drift' } },
      command: 'sallyport verify',
    });
  for (const [system, mine] of groupBy(known?.namespaces ?? [], (one) => String(one.info.system !== undefined)))
    for (const phase of [...PHASES].reverse()) {
      const inside = mine.filter((one) => one.phase === phase);
      if (inside.length === 0) continue;
      const what = system === 'true' ? ', of the system' : '';
      rows.push({ text: `${phase === 'none' ? 'not begun' : phase}${what} (${inside.length})`, tone: 'head' });
      rows.push(...inside.map((one) => namespaceRow(world, one)));
    }
  if (known === undefined)
    for (const [name, phase] of world.reader?.phases() ?? [])
      rows.push({ text: `  ${safeText(name)}  ${phase}, as of the state; its gates need the cluster` });
  const list = rowsOf(rows);
  return {
    title: `Sallyport on ${world.description === '' ? 'a cluster that did not answer yet' : safeText(world.description)}`,
    above: [...summary(world, facts), ...lostLines(world, facts.width - 1)],
    rows: list,
    filter: textFilter(list),
    keys: [
      {
        key: 'e',
        label: 'edges',
        value: { kind: 'open', screen: { kind: 'edges', namespace: undefined } },
        command: 'sallyport flows',
      },
      {
        key: 'h',
        label: 'history',
        value: { kind: 'open', screen: { kind: 'history', namespace: undefined } },
        command: 'sallyport audit',
      },
      { key: 'v', label: 'verify', value: { kind: 'verify', namespace: undefined }, command: 'sallyport verify' },
      { key: 'w', label: 'write report', value: { kind: 'assess' }, command: `sallyport assess -o ${REPORT}` },
    ],
    help: [
      'Every namespace with its phase and the gates that are open on the way to the next one. Gates are worked out from the cluster as it was read, one namespace after another.',
    ],
    command: 'sallyport status',
    ...(facts.open.length > 0 ? { everyMs: 2000 } : {}),
  };
}

/** In the folder that the session was started in. */
export const REPORT = 'report.html';

function summary(world: World, { open, width, pending }: DashboardFacts): readonly string[] {
  const { known } = world;
  if (known === undefined) return [];
  const begun = known.namespaces.filter((one) => one.phase !== 'none').length;
  const soaking = open.filter(({ soak }) => soak?.left === true).length;
  const at = new Date(known.readAt).toISOString().slice(11, 19);
  const text = [
    `${plural(known.namespaces.length, 'namespace')}, ${begun} under way`,
    ...(open.length - soaking > 0 ? [plural(open.length - soaking, 'open run')] : []),
    ...(soaking > 0 ? [`${soaking} soaking`] : []),
    `${plural(known.view.edges.length, 'edge')} on record`,
    `read ${at} UTC`,
  ].join('; ');
  return wrap(pending ? `${text}; counting gates ...` : text, width - 1, 2).split('\n');
}

function openRows({ open, now }: DashboardFacts): readonly Row<Act>[] {
  return open.map(({ run, soak }): Row<Act> =>
    soak?.left === true
      ? {
          text: `soaks: ${safeText(run.namespace)} in ${run.to}; ${soakLine(soak, now)}`,
          tone: 'doubt',
          pick: { kind: 'open', screen: { kind: 'soak' } },
          command: 'sallyport status',
        }
      : {
          text: `Resume the ${run.kind} of ${safeText(run.namespace)} to ${run.to} that was interrupted`,
          tone: 'bad',
          pick: { kind: 'resume' },
          command: 'sallyport resume',
        },
  );
}

function namespaceRow(world: World, one: NamespaceFacts): Row<Act> {
  const name = safeText(one.info.name);
  const next = one.next === undefined ? 'the last phase' : `next ${one.next}`;
  return {
    text: `  ${name.padEnd(20)} ${next.padEnd(21)} ${gatesOf(world, one)}; ${plural(one.workloads, 'workload')}`,
    pick: { kind: 'open', screen: { kind: 'namespace', namespace: one.info.name } },
    command: `sallyport plan ${name}`,
  };
}

function gatesOf(world: World, { info, next }: NamespaceFacts): string {
  if (info.system !== undefined && next !== undefined) return safeText(info.system);
  if (next === undefined) return '';
  const planned = world.known?.planIfKnown(info.name);
  if (planned === undefined) return '...';
  if (planned.kind === 'none') return safeText(planned.message);
  if (planned.open.length === 0) return 'ready';
  return `${planned.open.length} open: ${safeText(countGates(planned.open))}`;
}

/** Namespaces whose gates the dashboard shows, those on the way first. */
export function wantedPlans(world: World): readonly string[] {
  return (world.known?.namespaces ?? [])
    .filter((one) => one.info.system === undefined && one.next !== undefined)
    .map((one) => one.info.name);
}
