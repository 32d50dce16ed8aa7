import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { cp, mkdtemp, mkdir, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { App, GlobalOptions } from '../context.ts';
import { openApp } from '../context.ts';
import { loadAll } from '../load.ts';
import type { Output } from '../output.ts';
import { paint, wrap } from '../output.ts';
import { renderGate } from '../render-gates.ts';
import { executePlan } from '../../engine/run.ts';
import type { RunResult } from '../../engine/run.ts';
import { evaluateConnection, compileWorld } from '../../model/evaluate.ts';
import type { Gate } from '../../model/finding.ts';
import { assembleUp, openGates } from '../../plan/assemble.ts';
import type { Plan } from '../../plan/plan.ts';
import { planRollback } from '../../readiness/rollback.ts';
import { assetPath } from '../../shared/io/assets.ts';
import { EXIT, Failure } from '../../shared/pure/errors.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import { hubbleSource } from '../../sources/hubble/index.ts';
import type { FlowInput } from '../../sources/flow-source.ts';
import { importFlows } from './observe.ts';
import { withEngine } from './run.ts';

const NAMESPACE = 'fraud-serving';
const STOPS = 7;

/** The whole way on the bundled example: forward through all five phases, and back to where it began. */
export async function demo(app: App, options: { readonly keep?: string }): Promise<number> {
  const { output } = app;
  const dir = options.keep ?? (await mkdtemp(join(tmpdir(), 'sallyport-demo-')));
  const cluster = join(dir, 'cluster');
  if (existsSync(cluster))
    throw new Failure({
      code: 'SP226',
      exit: EXIT.usage,
      message: 'there is a cluster directory already',
      where: cluster,
      hint: 'give --keep a new directory',
    });
  try {
    await mkdir(dir, { recursive: true });
    await cp(assetPath('examples', 'fraud-detection', 'cluster'), cluster, { recursive: true });
    if (options.keep !== undefined)
      // So that each command can be tried by hand.
      for (const file of ['config.yaml', 'decisions.yaml'])
        await cp(assetPath('examples', 'fraud-detection', file), join(dir, file));
    return await tour(app, dir, cluster);
  } finally {
    if (options.keep === undefined) await rm(dir, { recursive: true, force: true });
    else output.note(`kept: ${dir}`);
  }
}

async function tour(app: App, dir: string, cluster: string): Promise<number> {
  const { output } = app;
  const example = (name: string): string => assetPath('examples', 'fraud-detection', name);
  const flags: GlobalOptions = { manifests: cluster, state: join(dir, 'state.sqlite'), config: example('config.yaml') };
  const decided: GlobalOptions = { ...flags, decisions: example('decisions.yaml') };
  const shown = `--manifests ${cluster === '' ? '' : 'CLUSTER'}`;
  const start = await fingerprint(cluster);
  const stop = stopper(app);

  await stop(1, 'What runs here', `sallyport inventory ${shown}`);
  const { inventory } = await withApp(app, flags, (inner) => loadAll(inner));
  const known = inventory.workloads.filter((workload) => workload.classification.component !== 'unknown').length;
  output.line(
    wrap(
      `A bank's fraud-detection platform: ${plural(inventory.namespaces.length, 'namespace')}, ${plural(inventory.workloads.length, 'workload')}, ${known} of them recognised as components of an ML platform. CNI ${inventory.facts.cni.name}; Istio ${inventory.facts.mesh.version ?? ''}. Today everything may talk to everything.`,
      output.width,
    ),
  );

  await stop(2, 'What was seen', `sallyport observe hubble flows.jsonl ${shown}`);
  const imported = await withApp(app, flags, (inner) => importFlows(inner, hubbleSource, [exampleTraffic()], 'abort'));
  output.line(`Nine days of traffic: ${imported.records} records, folded into ${plural(imported.edges, 'edge')}.`);

  await stop(3, 'The gates refuse what nobody has looked at', `sallyport plan ${NAMESPACE} --to identity ${shown}`);
  const refused = await withApp(app, flags, async (inner) => {
    const loaded = await loadAll(inner);
    return assembleUp(loaded.view(NAMESPACE), 'identity', loaded.planner);
  });
  showRefusal(output, refused);

  await stop(4, 'People decide, with reasons', `sallyport accept|adopt|waive QUERY --reason "..."`);
  const { decisions, plan } = await withApp(app, decided, async (inner) => {
    const loaded = await loadAll(inner);
    return {
      decisions: await inner.decisions(),
      plan: assembleUp(loaded.view(NAMESPACE), 'identity', loaded.planner),
    };
  });
  for (const decision of decisions)
    output.line(
      wrap(`${decision.action} ${safeText(decision.text)}: ${safeText(decision.reason)}`, output.width, 4, 2),
    );

  await stop(5, 'The plan', `sallyport plan ${NAMESPACE} --to identity ${shown} --decisions decisions.yaml`);
  const byPhase = new Map<string, number>();
  for (const step of plan.steps) byPhase.set(step.phase, (byPhase.get(step.phase) ?? 0) + 1);
  for (const [phase, count] of byPhase) output.line(`  ${phase.padEnd(16)} ${plural(count, 'step')}`);
  output.line(
    wrap(
      `Simulated before anything is written: ${plural(plan.simulated.edges, 'legitimate edge')} in each of ${plural(plan.simulated.states, 'state')}; ${plan.denied.length} denied, ${plan.unknown.length} that cannot be judged. Plan hash ${plan.hash.slice(0, 12)}.`,
      output.width,
    ),
  );
  const open = openGates(plan);
  if (open.length > 0) {
    for (const gate of open) output.line(renderGate(gate, output));
    throw new Failure({
      code: 'SP600',
      exit: EXIT.refused,
      message: `the example does not pass its own gates: ${open.map((gate) => `${gate.id} ${gate.subject}`).join(', ')}`,
      hint: 'sallyport demo is meant to pass: please report this',
    });
  }

  await stop(6, 'Forward, one workload and one direction at a time', `sallyport advance ${NAMESPACE} --to identity`);
  const advanced = await withApp(app, decided, (inner) => carryOut(inner, plan, 'advance'));
  output.line(`${plural(advanced.done.length, 'step')} done; ${NAMESPACE} is in phase ${advanced.phase}.`);
  const fate = await withApp(app, decided, cutEdges);
  output.line(
    wrap(
      `Of ${plural(fate.cut, 'edge')} accepted to be cut, ${fate.denied} are now denied: the scan, and the caller in plain text. Of ${plural(fate.kept, 'legitimate edge')}, ${fate.broken} are denied.`,
      output.width,
    ),
  );

  await stop(7, 'And all the way back', `sallyport rollback ${NAMESPACE} --to none`);
  const back = await withApp(app, decided, async (inner) => {
    const loaded = await loadAll(inner);
    const made = planRollback(loaded.view(NAMESPACE), 'none', loaded.planner);
    return carryOut(inner, made.plan, 'rollback');
  });
  const equal = (await fingerprint(cluster)) === start;
  output.line(
    `${plural(back.done.length, 'step')} done; phase ${back.phase}. The directory is byte for byte what it was: ${equal ? paint(output, 'green', 'yes') : paint(output, 'red', 'NO')}.`,
  );
  const good = equal && fate.denied === fate.cut && fate.broken === 0 && advanced.exit === 0 && back.exit === 0;
  output.document('Demo', {
    records: imported.records,
    edges: imported.edges,
    refusedBy: openGates(refused).map(({ id, subject }) => ({ id, subject })),
    plan: { hash: plan.hash, steps: plan.steps.length, denied: plan.denied.length, unknown: plan.unknown.length },
    advance: { outcome: advanced.outcome, phase: advanced.phase, done: advanced.done.length },
    edgesCut: fate,
    rollback: { outcome: back.outcome, phase: back.phase, done: back.done.length },
    byteEqual: equal,
  });
  output.line('');
  output.line('On your own cluster: sallyport inventory, then sallyport observe --help.');
  return good ? EXIT.done : EXIT.partial;
}

/** Prints where the tour is; on a terminal it waits for a person. */
function stopper(app: App): (index: number, title: string, command: string) => Promise<void> {
  const { output } = app;
  return async (index, title, command) => {
    if (app.interrupt.signal.aborted)
      throw new Failure({ code: 'SP130', exit: EXIT.cancelled, message: 'the tour was left' });
    if (output.interactive && index > 1) {
      const { terminalPrompts } = await import('../prompts.ts');
      output.line();
      const on = await terminalPrompts.confirm('Go on?', true);
      if (!on) throw new Failure({ code: 'SP130', exit: EXIT.cancelled, message: 'the tour was left' });
    }
    output.line(`\n${paint(output, 'bold', `${index}/${STOPS} ${title}`)}`);
    output.line(paint(output, 'dim', wrap(command, output.width, 6, 4)));
  };
}

/** One stage on the example, with what it opened closed again. Its own prints are left out. */
async function withApp<T>(app: App, flags: GlobalOptions, work: (inner: App) => Promise<T>): Promise<T> {
  const quiet: Output = {
    ...app.output,
    line: () => undefined,
    document: () => undefined,
    note: (text) => {
      if (/^\[\d/.test(text)) app.output.note(text);
    },
  };
  const inner = openApp({ ...flags, yes: true }, quiet, app.env, app.interrupt);
  try {
    return await work(inner);
  } finally {
    await inner.close();
  }
}

function exampleTraffic(): FlowInput {
  return {
    name: 'the example traffic',
    open: async function* () {
      const { generateFlows } = await import('../../../examples/fraud-detection/generate.ts');
      let batch: string[] = [];
      for (const line of generateFlows({})) {
        batch.push(line);
        if (batch.length < 2000) continue;
        yield Buffer.from(`${batch.join('\n')}\n`);
        batch = [];
      }
      if (batch.length > 0) yield Buffer.from(`${batch.join('\n')}\n`);
    },
  };
}

function showRefusal(output: Output, plan: Plan): void {
  const open = openGates(plan);
  const groups = new Map<string, Gate[]>();
  for (const gate of open) groups.set(gate.id, [...(groups.get(gate.id) ?? []), gate]);
  output.line(`Refused: ${plural(open.length, 'gate')} not answered with yes.`);
  for (const [id, gates] of groups) {
    const [first] = gates;
    if (first === undefined) continue;
    output.line(renderGate(first, output));
    if (gates.length > 1) output.line(`          and ${gates.length - 1} more of "${id}"`);
  }
}

async function carryOut(app: App, plan: Plan, kind: 'advance' | 'rollback'): Promise<RunResult> {
  return withEngine(app, plan.steps, (engine) => executePlan(plan, kind, engine));
}

async function cutEdges(app: App): Promise<{ cut: number; denied: number; kept: number; broken: number }> {
  const loaded = await loadAll(app);
  const view = loaded.view(NAMESPACE);
  const world = compileWorld(view.inventory);
  const cut = view.edges.filter(
    (edge) => edge.review === 'to-be-cut' && edge.dst.kind === 'workload' && edge.dst.id.startsWith(`${NAMESPACE}/`),
  );
  const kept = loaded.planner.keep(view.edges);
  const denied = (edges: typeof cut): number =>
    edges.filter((edge) => evaluateConnection(world, edge).answer === 'denied').length;
  return { cut: cut.length, denied: denied(cut), kept: kept.length, broken: denied([...kept]) };
}

/** A hash over names and bytes of every file. */
async function fingerprint(dir: string): Promise<string> {
  const hash = createHash('sha256');
  const names = (await readdir(dir, { recursive: true, withFileTypes: true }))
    .map((entry) => ({ path: join(entry.parentPath, entry.name), file: entry.isFile() }))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
  for (const { path, file } of names) {
    hash.update(`${path.slice(dir.length)}\n`);
    if (file) hash.update(await readFile(path));
  }
  return hash.digest('hex');
}
