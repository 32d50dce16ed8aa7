import type { App } from '../context.ts';
import type { Loaded } from '../load.ts';
import { loadAll, requireReadable } from '../load.ts';
import { assess } from '../commands/assess.ts';
import { advance, resume, rollback } from '../commands/run.ts';
import { decide } from '../commands/decide.ts';
import { audit } from '../commands/status.ts';
import { verify } from '../commands/verify.ts';
import { GUTTER, describe } from '../commands/inventory.ts';
import { cancelled } from '../interrupt.ts';
import { targetPhase } from '../commands/plan.ts';
import type { Choice, Prompts } from '../prompts.ts';
import { beside, few, paint, renderFailure, table, wrap } from '../output.ts';
import { renderGate, renderGates } from '../render-gates.ts';
import { renderPlan } from '../render-plan.ts';
import type { Doubtful } from '../../flows/review.ts';
import { findDoubtful } from '../../flows/review.ts';
import type { View } from '../../engine/contract.ts';
import { endpointKey, formatEdge, formatPort } from '../../model/edge.ts';
import type { PhaseName } from '../../model/phase.ts';
import { PHASES, phaseIndex } from '../../model/phase.ts';
import { assembleUp, openGates } from '../../plan/assemble.ts';
import { touches, workloadsOf } from '../../readiness/view.ts';
import { EXIT, Failure, isFailure } from '../../shared/pure/errors.ts';
import { compareText, groupBy } from '../../shared/pure/order.ts';
import { plural, safeText } from '../../shared/pure/text.ts';

/** The interactive session: where each namespace stands, what it needs, and the way forward and back. */
export async function session(app: App): Promise<number> {
  if (!app.output.interactive)
    throw new Failure({
      code: 'SP227',
      exit: EXIT.usage,
      message: 'the interactive session needs a terminal',
      hint: 'sallyport --help lists the commands; sallyport status shows where each namespace stands',
    });
  const { terminalPrompts } = await import('../prompts.ts');
  return runSession(app, terminalPrompts);
}

/** The session on any prompts; tests answer from a script. */
export async function runSession(app: App, prompts: Prompts): Promise<number> {
  const target = await app.target();
  app.output.line(wrap(`Sallyport on ${safeText(target.description)}`, app.output.width, 2));
  for (;;) {
    const loaded = await loadAll(app);
    // Runs are taken up one by one, in their order.
    const { reader } = await app.state();
    const [open] = reader.openRuns();
    const soaks = open !== undefined && reader.soakOf(open.id)?.left === true;
    app.output.line();
    const choice = await prompts.select<Entry>('Which namespace?', [
      ...(open === undefined
        ? []
        : [
            {
              name: safeText(
                soaks
                  ? `See how the watch of ${open.namespace} in ${open.to} stands, and end it`
                  : `Resume the ${open.kind} of ${open.namespace} to ${open.to} that was interrupted`,
              ),
              short: 'resume',
              value: { kind: 'resume' } as const,
            },
          ]),
      ...namespaceChoices(loaded),
      { name: `Write the assessment report to ${REPORT}`, short: 'report', value: { kind: 'report' } as const },
      { name: 'Leave', value: { kind: 'leave' } as const },
    ]);
    switch (choice.kind) {
      case 'leave':
        app.output.line('Nothing is lost: sallyport status shows where each namespace stands.');
        return EXIT.done;
      case 'resume':
        await guarded(app, () => resume(app), 'sallyport resume');
        break;
      case 'report':
        await guarded(app, () => assess(app, { output: REPORT }), `sallyport assess -o ${REPORT}`);
        break;
      case 'namespace':
        await namespacePage(app, prompts, choice.name);
        break;
    }
  }
}

/** In the folder that the session was started in. */
const REPORT = 'report.html';

type Entry =
  | { readonly kind: 'resume' }
  | { readonly kind: 'report' }
  | { readonly kind: 'leave' }
  | { readonly kind: 'namespace'; readonly name: string };

/** Those under way first, those of the system last: each with its phase and size. */
function namespaceChoices(loaded: Loaded): readonly Choice<Entry>[] {
  const { phases } = loaded.view('');
  const sizes = new Map<string, number>();
  for (const { namespace } of loaded.inventory.workloads) sizes.set(namespace, (sizes.get(namespace) ?? 0) + 1);
  const shown = loaded.inventory.namespaces
    .filter((one) => sizes.has(one.name))
    .toSorted(
      (a, b) =>
        Number(a.system !== undefined) - Number(b.system !== undefined) ||
        phaseIndex(phases.get(b.name) ?? 'none') - phaseIndex(phases.get(a.name) ?? 'none') ||
        compareText(a.name, b.name),
    );
  const lines = table(
    shown.map((one) => {
      const remark = one.system === undefined ? '' : `; ${one.system}`;
      return [one.name, phases.get(one.name) ?? 'none', `${plural(sizes.get(one.name) ?? 0, 'workload')}${remark}`];
    }),
  );
  return shown.map((one, index) => ({
    name: lines[index] ?? one.name,
    short: safeText(one.name),
    value: { kind: 'namespace', name: one.name },
  }));
}

type Page =
  | 'readiness'
  | 'plan'
  | 'advance'
  | 'far'
  | 'review'
  | 'waive'
  | 'back'
  | 'none'
  | 'verify'
  | 'workloads'
  | 'history'
  | 'up';

function pagesOf(now: PhaseName, doubtful: number): readonly Choice<Page>[] {
  const next = PHASES[phaseIndex(now) + 1];
  return [
    ...(next === undefined
      ? []
      : ([
          { name: `Readiness for ${next}, with reasons`, value: 'readiness' },
          { name: `Plan to ${next}: steps, diffs, simulated effect`, value: 'plan' },
          { name: `Advance to ${next}`, value: 'advance' },
          ...(PHASES[phaseIndex(next) + 1] === undefined
            ? []
            : [{ name: 'Advance further ...', value: 'far' } as const]),
        ] as const)),
    ...(doubtful === 0 ? [] : [{ name: `Review ${plural(doubtful, 'doubtful edge')}`, value: 'review' } as const]),
    ...(next === undefined ? [] : [{ name: 'Waive a gate ...', value: 'waive' } as const]),
    ...(now === 'none'
      ? []
      : ([
          { name: 'Verify: drift and gates, as it is now', value: 'verify' },
          { name: `Go back to ${PHASES[phaseIndex(now) - 1] ?? 'none'}`, value: 'back' },
          ...(phaseIndex(now) === 1 ? [] : [{ name: 'Go back to the start (none)', value: 'none' } as const]),
        ] as const)),
    { name: 'Workloads', value: 'workloads' },
    { name: 'History', value: 'history' },
    { name: 'Another namespace', value: 'up' },
  ];
}

async function namespacePage(app: App, prompts: Prompts, namespace: string): Promise<void> {
  const { output } = app;
  for (;;) {
    const loaded = await loadAll(app);
    const view = loaded.view(namespace);
    const now = view.phases.get(namespace) ?? 'none';
    const doubtful = doubtfulOf(view, loaded);
    output.line();
    const page = await prompts.select(
      `${safeText(namespace)} is in phase ${now}. What now?`,
      pagesOf(now, doubtful.length),
    );
    switch (page) {
      case 'readiness':
        await guarded(app, () => showReadiness(app, loaded, view, now), `sallyport plan ${namespace}`);
        break;
      case 'plan':
        await guarded(app, () => showPlan(app, loaded, view, now), `sallyport plan ${namespace}`);
        break;
      case 'advance':
        await guarded(app, () => advance(app, namespace, {}, prompts), `sallyport advance ${namespace}`);
        break;
      case 'far': {
        const to = await prompts.select(
          'To which phase?',
          PHASES.slice(phaseIndex(now) + 1).map((phase) => ({ name: phase, value: phase })),
        );
        await guarded(app, () => advance(app, namespace, { to }, prompts), `sallyport advance ${namespace} --to ${to}`);
        break;
      }
      case 'back':
        await guarded(app, () => rollback(app, namespace, {}, prompts), `sallyport rollback ${namespace}`);
        break;
      case 'none':
        await guarded(
          app,
          () => rollback(app, namespace, { to: 'none' }, prompts),
          `sallyport rollback ${namespace} --to none`,
        );
        break;
      case 'review':
        await review(app, prompts, view, doubtful);
        break;
      case 'waive':
        await waive(app, prompts, loaded, view, now);
        break;
      case 'verify':
        await guarded(app, () => verify(app, namespace), `sallyport verify ${namespace}`);
        break;
      case 'workloads':
        showWorkloads(app, view);
        break;
      case 'history':
        await guarded(app, () => audit(app, { namespace }), `sallyport audit --namespace ${namespace}`);
        break;
      case 'up':
        return;
    }
  }
}

/** The command that does the same; a failure is shown and the session goes on. Ctrl-C leaves it. */
async function guarded(app: App, work: () => Promise<unknown>, command: string): Promise<void> {
  app.output.line(paint(app.output, 'dim', wrap(`$ ${safeText(command)}`, app.output.width, 4, 2, true)));
  try {
    await work();
  } catch (error) {
    if (!isFailure(error) || error.detail.code === 'SP130') throw error;
    app.output.note(renderFailure(error.detail, app.output.width).trimEnd());
  }
  if (app.interrupt.signal.aborted)
    throw cancelled(
      'the session was left; what was done is on record, and sallyport resume takes up a run that was stopped',
    );
}

async function showReadiness(app: App, loaded: Loaded, view: View, now: PhaseName): Promise<void> {
  requireReadable(loaded, await app.decisions());
  const plan = assembleUp(view, targetPhase(view.namespace, undefined, now, 'up'), loaded.planner);
  app.output.line(renderGates(plan.gates, app.output));
  const open = openGates(plan).length;
  app.output.line(open === 0 ? 'Ready.' : `Not ready: ${plural(open, 'gate')} to answer first.`);
}

async function showPlan(app: App, loaded: Loaded, view: View, now: PhaseName): Promise<void> {
  requireReadable(loaded, await app.decisions());
  app.output.line(
    renderPlan(assembleUp(view, targetPhase(view.namespace, undefined, now, 'up'), loaded.planner), app.output),
  );
}

function doubtfulOf(view: View, loaded: Loaded): readonly Doubtful[] {
  return findDoubtful(view.edges, loaded.inventory).filter(
    ({ edge }) => touches(edge, view.namespace) && edge.review === 'unreviewed',
  );
}

/** What one answer decides: all that a source does here, or one of its peers. */
interface Question {
  readonly query: string;
  readonly about: string;
  readonly edges: readonly Doubtful[];
}

/**
 * Doubtful edges by source: what a person knows is the source. A source that also does what nobody doubts is asked about peer by peer,
 * so that one answer never reaches beyond what was shown.
 */
function questionsOf(view: View, doubtful: readonly Doubtful[]): readonly Question[] {
  return [...groupBy(doubtful, ({ edge }) => endpointKey(edge.src))].flatMap(([source, mine]): readonly Question[] => {
    const all = view.edges.filter((edge) => endpointKey(edge.src) === source && touches(edge, view.namespace));
    if (all.length === mine.length)
      return [{ query: `src=${source},ns=${view.namespace}`, about: source, edges: mine }];
    const peer = ({ edge }: Doubtful): string => `dst=${endpointKey(edge.dst)},port=${formatPort(edge)}`;
    return [...groupBy(mine, peer)].map(([key, edges]) => ({ query: `src=${source},${key}`, about: source, edges }));
  });
}

async function review(app: App, prompts: Prompts, view: View, doubtful: readonly Doubtful[]): Promise<void> {
  const { output } = app;
  for (const { query, about, edges } of questionsOf(view, doubtful)) {
    output.line();
    const { shown, more } = few(edges, 6);
    for (const { edge } of shown) output.line(wrap(safeText(formatEdge(edge)), output.width, 4, 2));
    if (more !== '') output.line(`  ${more}`);
    for (const why of new Set(edges.map((one) => one.why))) output.line(wrap(safeText(why), output.width, 2));
    const answer = await prompts.select(`What is ${safeText(about)} doing there?`, [
      { name: 'Leave it for now', value: 'leave' as const, short: 'left for now' },
      { name: 'It is legitimate: adopt', value: 'adopt' as const, short: 'adopt' },
      { name: 'It may be cut: accept that', value: 'accept' as const, short: 'accept' },
    ]);
    if (answer === 'leave') continue;
    const reason = await prompts.text('Why? (stands on the audit trail)');
    await guarded(
      app,
      () => decide(app, answer, query, { reason }),
      `sallyport ${answer} ${query} --reason ${quote(reason)}`,
    );
  }
}

/** As a shell takes it, whatever is in it. */
function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A gate that a person answers for. Denials are not among them: their edges are accepted in the review. */
async function waive(app: App, prompts: Prompts, loaded: Loaded, view: View, now: PhaseName): Promise<void> {
  const plan = assembleUp(view, targetPhase(view.namespace, undefined, now, 'up'), loaded.planner);
  const open = openGates(plan).filter((gate) => gate.id !== 'denies-observed');
  if (open.length === 0) {
    app.output.line('No gate of the next phase waits for a waiver.');
    return;
  }
  const gate = await prompts.select('Which gate?', [
    ...open.map((one) => ({ name: safeText(`${one.id} ${one.subject}: ${one.facts[0] ?? one.answer}`), value: one })),
    { name: 'None of them', value: undefined },
  ]);
  if (gate === undefined) return;
  app.output.line(renderGate(gate, app.output));
  const reason = await prompts.text('Why may it be passed over? (stands on the audit trail)');
  const query = `gate=${gate.id},subject=${gate.subject}`;
  await guarded(
    app,
    () => decide(app, 'waive', query, { reason }),
    `sallyport waive ${query} --reason ${quote(reason)}`,
  );
}

function showWorkloads(app: App, view: View): void {
  for (const workload of workloadsOf(view)) {
    const mesh = [...new Set(workload.podSets.map((podSet) => (podSet.mesh === 'none' ? 'no sidecar' : podSet.mesh)))];
    const text = `${describe(workload.classification)}; mesh: ${mesh.join(', ')}`;
    for (const line of beside(
      `  ${safeText(`${workload.kind}/${workload.name}`)}`,
      safeText(text),
      GUTTER,
      app.output.width,
    ))
      app.output.line(line);
  }
}
