import type { App } from '../context.ts';
import type { Loaded } from '../load.ts';
import { loadAll, requireReadable } from '../load.ts';
import { advance, resume, rollback } from '../commands/run.ts';
import { decide } from '../commands/decide.ts';
import { audit } from '../commands/status.ts';
import { targetPhase } from '../commands/plan.ts';
import type { Choice, Prompts } from '../prompts.ts';
import { paint, renderFailure, table, wrap } from '../output.ts';
import { renderGates, renderPlan } from '../render-plan.ts';
import { findDoubtful } from '../../flows/review.ts';
import type { View } from '../../engine/contract.ts';
import { endpointKey, formatEdge } from '../../model/edge.ts';
import type { PhaseName } from '../../model/phase.ts';
import { PHASES, phaseIndex } from '../../model/phase.ts';
import { assembleUp, openGates } from '../../plan/assemble.ts';
import { touches, workloadsOf } from '../../readiness/view.ts';
import { EXIT, Failure, isFailure } from '../../shared/pure/errors.ts';
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
  app.output.line(paint(app.output, 'bold', 'Sallyport'));
  app.output.line(wrap(safeText(target.description), app.output.width, 2));
  for (;;) {
    const loaded = await loadAll(app);
    const open = (await app.state()).reader.openRuns();
    showNamespaces(app, loaded);
    const choices: Choice<string>[] = [
      ...open.map((run) => ({ name: `Resume run ${run.id} of ${run.namespace}`, value: 'resume' })),
      ...namespaceOrder(loaded).map((name) => ({ name: namespaceLine(loaded, name), value: `ns:${name}` })),
      { name: 'Leave', value: 'leave' },
    ];
    const choice = await prompts.select('Which namespace?', choices);
    if (choice === 'leave') {
      app.output.line('Nothing is lost: sallyport status shows where each namespace stands.');
      return EXIT.done;
    }
    if (choice === 'resume') await guarded(app, () => resume(app), 'sallyport resume');
    else await namespacePage(app, prompts, choice.slice('ns:'.length));
  }
}

function namespaceOrder(loaded: Loaded): readonly string[] {
  const phases = loaded.view('').phases;
  return loaded.inventory.namespaces
    .filter((one) => loaded.inventory.workloads.some((workload) => workload.namespace === one.name))
    .toSorted(
      (a, b) =>
        Number(a.system !== undefined) - Number(b.system !== undefined) ||
        phaseIndex(phases.get(b.name) ?? 'none') - phaseIndex(phases.get(a.name) ?? 'none') ||
        (a.name < b.name ? -1 : 1),
    )
    .map((one) => one.name);
}

function namespaceLine(loaded: Loaded, name: string): string {
  const phase = loaded.view('').phases.get(name) ?? 'none';
  const system = loaded.inventory.namespaces.find((one) => one.name === name)?.system;
  return safeText(`${name}  (${phase}${system === undefined ? '' : `; ${system}`})`);
}

function showNamespaces(app: App, loaded: Loaded): void {
  const phases = loaded.view('').phases;
  const rows = namespaceOrder(loaded).map((name) => {
    const phase = phases.get(name) ?? 'none';
    const count = loaded.inventory.workloads.filter((workload) => workload.namespace === name).length;
    return [name, phase, PHASES[phaseIndex(phase) + 1] ?? '-', plural(count, 'workload')];
  });
  app.output.line('');
  for (const line of table([['NAMESPACE', 'PHASE', 'NEXT', 'SIZE'], ...rows], app.output.width)) app.output.line(line);
}

type Page = 'readiness' | 'plan' | 'advance' | 'far' | 'back' | 'none' | 'review' | 'workloads' | 'history' | 'up';

async function namespacePage(app: App, prompts: Prompts, namespace: string): Promise<void> {
  const { output } = app;
  for (;;) {
    const loaded = await loadAll(app);
    const view = loaded.view(namespace);
    const now = view.phases.get(namespace) ?? 'none';
    const next = PHASES[phaseIndex(now) + 1];
    const doubtful = doubtfulOf(view, loaded);
    output.line('');
    output.line(paint(output, 'bold', `${safeText(namespace)}: phase ${now}`));
    const choices: Choice<Page>[] = [
      ...(next === undefined
        ? []
        : [
            { name: `Readiness for ${next}, with reasons`, value: 'readiness' as const },
            { name: `Plan to ${next}: steps, diffs, simulated effect`, value: 'plan' as const },
            { name: `Advance to ${next}`, value: 'advance' as const },
            { name: 'Advance further ...', value: 'far' as const },
          ]),
      ...(doubtful.length === 0
        ? []
        : [{ name: `Review ${plural(doubtful.length, 'doubtful edge')}`, value: 'review' as const }]),
      ...(now === 'none'
        ? []
        : [
            { name: 'Go back one phase', value: 'back' as const },
            { name: 'Go back to the start', value: 'none' as const },
          ]),
      { name: 'Workloads', value: 'workloads' as const },
      { name: 'History', value: 'history' as const },
      { name: 'Another namespace', value: 'up' as const },
    ];
    const page = await prompts.select('What now?', choices);
    switch (page) {
      case 'readiness':
        await guarded(app, () => showReadiness(app, loaded, view, now), `sallyport plan ${namespace}`);
        break;
      case 'plan':
        await guarded(app, () => showPlan(app, loaded, view, now), `sallyport plan ${namespace}`);
        break;
      case 'advance':
        await guarded(app, () => advance(app, namespace, {}), `sallyport advance ${namespace}`);
        break;
      case 'far': {
        const to = await prompts.select(
          'To which phase?',
          PHASES.slice(phaseIndex(now) + 1).map((phase) => ({ name: phase, value: phase })),
        );
        await guarded(app, () => advance(app, namespace, { to }), `sallyport advance ${namespace} --to ${to}`);
        break;
      }
      case 'back':
        await guarded(app, () => rollback(app, namespace, {}), `sallyport rollback ${namespace}`);
        break;
      case 'none':
        await guarded(app, () => rollback(app, namespace, { to: 'none' }), `sallyport rollback ${namespace} --to none`);
        break;
      case 'review':
        await review(app, prompts, doubtful);
        break;
      case 'workloads':
        showWorkloads(app, view);
        break;
      case 'history':
        await audit(app, { namespace });
        break;
      case 'up':
        return;
    }
  }
}

/** A failure inside the session is shown and the session goes on; a cancellation leaves it. */
async function guarded(app: App, work: () => Promise<unknown>, command: string): Promise<void> {
  app.output.line(paint(app.output, 'dim', `  $ ${safeText(command)}`));
  try {
    await work();
  } catch (error) {
    if (!isFailure(error)) throw error;
    if (error.detail.exit === EXIT.cancelled && app.interrupt.signal.aborted) throw error;
    app.output.note(renderFailure(error.detail, app.output.width).trimEnd());
  }
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

function doubtfulOf(view: View, loaded: Loaded): ReturnType<typeof findDoubtful> {
  return findDoubtful(view.edges, loaded.inventory).filter(
    ({ edge }) => touches(edge, view.namespace) && edge.review === 'unreviewed',
  );
}

/** Doubtful edges by source: what a person knows is the source. */
async function review(app: App, prompts: Prompts, doubtful: ReturnType<typeof findDoubtful>): Promise<void> {
  const { output } = app;
  const sources = [...new Set(doubtful.map(({ edge }) => endpointKey(edge.src)))];
  for (const source of sources) {
    const mine = doubtful.filter(({ edge }) => endpointKey(edge.src) === source);
    output.line('');
    for (const { edge, why } of mine.slice(0, 8))
      output.line(wrap(safeText(`${formatEdge(edge)}: ${why}`), output.width, 4, 2));
    if (mine.length > 8) output.line(`  and ${mine.length - 8} more`);
    const answer = await prompts.select(`What is ${safeText(source)} doing there?`, [
      { name: 'Leave it for now', value: 'leave' as const },
      { name: 'It is legitimate: adopt its edges', value: 'adopt' as const },
      { name: 'It may be cut: accept that', value: 'accept' as const },
    ]);
    if (answer === 'leave') continue;
    const reason = await prompts.text('Why? (stands on the audit trail)');
    const query = `src=${source}`;
    await guarded(
      app,
      () => decide(app, answer, query, { reason }),
      `sallyport ${answer} ${query} --reason "${reason}"`,
    );
  }
}

function showWorkloads(app: App, view: View): void {
  const rows = workloadsOf(view).map((workload) => [
    `${workload.kind}/${workload.name}`,
    workload.classification.component,
    workload.classification.stage,
    workload.classification.plane,
    [...new Set(workload.podSets.map((podSet) => (podSet.mesh === 'none' ? 'no sidecar' : podSet.mesh)))].join(','),
  ]);
  for (const line of table([['WORKLOAD', 'COMPONENT', 'STAGE', 'PLANE', 'MESH'], ...rows], app.output.width))
    app.output.line(line);
}
