import { basename, dirname, extname, join } from 'node:path';
import { PHASES, isPhaseName, phaseIndex } from '../../model/phase.ts';
import type { PhaseName } from '../../model/phase.ts';
import { proposeWaves } from '../../readiness/waves.ts';
import type { FleetCluster } from '../../report/fleet.ts';
import { renderFleetHtml, renderFleetMarkdown } from '../../report/fleet.ts';
import { EXIT, Failure, isFailure } from '../../shared/pure/errors.ts';
import { sha256 } from '../../shared/pure/hash.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import { readFleet } from '../config.ts';
import type { App } from '../context.ts';
import { openApp } from '../context.ts';
import { cancelled, isOver } from '../interrupt.ts';
import { loadAll } from '../load.ts';
import { parseDuration } from '../observe-followed.ts';
import type { Output } from '../output.ts';
import { errorDocument, paint, wrap } from '../output.ts';
import type { AssessOptions } from './assess.ts';
import { buildAssessment, formatOf, renderReport, saveReport } from './assess.ts';
import { advance } from './run.ts';

export interface AllOptions {
  readonly all?: boolean;
  readonly to?: string;
  readonly pause?: string;
}

interface Moved {
  readonly wave: number;
  readonly namespace: string;
  readonly to: PhaseName;
  readonly outcome: string;
  readonly exit: number;
  readonly run: string | null;
  readonly error?: unknown;
}

/** An output whose document is kept: the command that is made of others has one of its own. */
function keeping(output: Output): { readonly output: Output; last(): Readonly<Record<string, unknown>> } {
  let last: Readonly<Record<string, unknown>> = {};
  return {
    output: {
      ...output,
      document: (_, body) => {
        last = body as Readonly<Record<string, unknown>>;
      },
    },
    last: () => last,
  };
}

/**
 * Advances every namespace to a phase, wave by wave: inside of a wave phase by phase, as its namespaces need each other. It stops at the first that a gate
 * refuses, that fails or that soaks on, so that no later wave stands on it; what was done stays. Exit code of that one, or 0.
 */
export async function advanceSome(app: App, namespace: string | undefined, options: AllOptions): Promise<number> {
  const { to, pause } = options;
  const wrong =
    options.all !== true
      ? 'which namespace is to advance is missing'
      : namespace !== undefined
        ? `--all is every namespace, and ${safeText(namespace)} is one`
        : app.options.planHash !== undefined
          ? '--plan-hash is of one plan, and --all makes many'
          : undefined;
  if (wrong !== undefined || to === undefined || !isPhaseName(to) || to === 'none')
    throw new Failure({
      code: 'SP279',
      exit: EXIT.usage,
      message: wrong ?? '--all needs the phase that all are to reach',
      where: 'advance --all',
      hint: 'sallyport advance NS, or sallyport advance --all --to allow-list; sallyport waves shows the order',
    });
  const pauseMs = pause === undefined ? 0 : parseDuration(pause, '--pause');
  const waves = proposeWaves((await loadAll(app, { kind: 'calls' })).view(''));
  const moved: Moved[] = [];
  const { output } = app;
  let stopped: number = EXIT.done;
  let first = true;
  for (const { wave, namespaces } of waves) {
    const begin = (await app.state()).reader.phases();
    const behind = namespaces.filter((namespace) => phaseIndex(begin.get(namespace) ?? 'none') < phaseIndex(to));
    if (behind.length === 0) continue;
    if (!first && pauseMs > 0) {
      output.progress(`the next wave begins in ${pause ?? ''}`);
      await app.clock().sleep(pauseMs, app.interrupt.signal);
    }
    first = false;
    output.line(paint(output, 'bold', `Wave ${wave}: ${plural(behind.length, 'namespace')}`));
    for (const phase of PHASES.slice(1, phaseIndex(to) + 1)) {
      for (const namespace of behind) {
        const now = (await app.state()).reader.phases().get(namespace) ?? 'none';
        if (phaseIndex(now) >= phaseIndex(phase)) continue;
        const one = await move(app, wave, namespace, phase);
        moved.push(one);
        output.line(wrap(safeText(`${namespace}: ${now} -> ${phase}: ${one.outcome}`), output.width, 4, 2));
        if (one.exit !== EXIT.done || one.outcome === 'soaking' || one.outcome === 'proposed') {
          stopped = one.exit === EXIT.done ? EXIT.refused : one.exit;
          break;
        }
      }
      if (stopped !== EXIT.done) break;
    }
    if (stopped !== EXIT.done) break;
  }
  const phasesNow = (await app.state()).reader.phases();
  const left = waves.flatMap(({ namespaces }) =>
    namespaces.filter((namespace) => phaseIndex(phasesNow.get(namespace) ?? 'none') < phaseIndex(to)),
  );
  output.document('Waves', { to, moved, left });
  const last = moved.at(-1);
  if (stopped !== EXIT.done && last !== undefined)
    output.line(
      wrap(
        safeText(
          `Stopped at ${last.namespace}; ${plural(left.length, 'namespace')} left. Next: sallyport plan ${last.namespace} --to ${last.to}`,
        ),
        output.width,
        2,
      ),
    );
  else output.line(`${plural(moved.length, 'step')} of namespaces done; ${left.length} left.`);
  return stopped;
}

async function move(app: App, wave: number, namespace: string, to: PhaseName): Promise<Moved> {
  const kept = keeping(app.output);
  const about = { wave, namespace, to };
  try {
    const exit = await advance({ ...app, output: kept.output }, namespace, { to });
    const { run, outcome, error } = kept.last();
    return {
      ...about,
      exit,
      outcome: typeof outcome === 'string' ? outcome : 'done',
      run: typeof run === 'string' ? run : null,
      ...(error === undefined ? {} : { error }),
    };
  } catch (error) {
    if (!isFailure(error)) throw error;
    return { ...about, exit: error.detail.exit, outcome: 'refused', run: null, error: errorDocument(error) };
  }
}

/**
 * One assessment over every cluster of an inventory, each read by its own context into its own state. A cluster that does not answer is in the
 * summary with its error, and the exit code is 7. With `output` the joint report is written there, and each cluster's own beside it, in the
 * same format: `fleet.html` and `fleet.NAME.html`.
 */
export async function assessFleet(app: App, file: string, options: AssessOptions = {}): Promise<number> {
  const { output } = app;
  const format = options.output === undefined ? undefined : formatOf(options.output);
  if (options.compare !== undefined || options.templates !== undefined)
    throw new Failure({
      code: 'SP140',
      exit: EXIT.usage,
      message: `${options.compare === undefined ? '--templates' : '--compare'} is for the report of one cluster`,
      where: 'assess --fleet',
      hint: 'leave it out, or assess that cluster by itself: sallyport assess --context NAME',
    });
  const clusters = await readFleet(file);
  const all: (FleetCluster & { readonly error?: unknown })[] = [];
  const beside = new Set<string>();
  const ownFile = (name: string): string | undefined => {
    if (options.output === undefined) return undefined;
    const ext = extname(options.output);
    const plain = name.replaceAll(/[^A-Za-z0-9._-]/gu, '_').slice(0, 100);
    const slug = plain === name && !beside.has(plain) ? plain : `${plain}-${sha256(name).slice(0, 8)}`;
    beside.add(slug);
    return `${basename(options.output, ext)}.${slug}${ext}`;
  };
  const left = (): Failure =>
    cancelled(
      `cancelled; ${all.length} of ${plural(clusters.length, 'cluster')} ${all.length === 1 ? 'was' : 'were'} read, and no joint report was written`,
    );
  for (const { name, ...flags } of clusters) {
    if (isOver(app.interrupt.signal)) throw left();
    output.progress(`${name}: reading`);
    const inner = openApp({ ...app.options, ...flags }, output, app.env, app.interrupt);
    try {
      const report = await buildAssessment(inner);
      const phasesNow = (await inner.state()).reader.phases();
      const names = report.readiness.namespaces.map(({ namespace }) => namespace);
      const phases: Partial<Record<PhaseName, number>> = {};
      for (const namespace of names) {
        const phase = phasesNow.get(namespace) ?? 'none';
        phases[phase] = (phases[phase] ?? 0) + 1;
      }
      const own = ownFile(name);
      if (own !== undefined && format !== undefined && options.output !== undefined)
        await saveReport(join(dirname(options.output), own), renderReport(report, format, undefined));
      all.push({
        name,
        outcome: 'read',
        ...(own === undefined ? {} : { file: own }),
        namespaces: names.length,
        workloads: report.cluster.workloads,
        phases,
        headline: report.summary.headline.text,
      });
    } catch (error) {
      // A cluster that was left is none that does not answer.
      if (isOver(app.interrupt.signal)) throw left();
      if (!isFailure(error)) throw error;
      all.push({
        name,
        outcome: 'failed',
        namespaces: 0,
        workloads: 0,
        phases: {},
        headline: '',
        problem: `${error.detail.message} (${error.detail.code})`,
        error: errorDocument(error),
      });
    } finally {
      await inner.close();
    }
  }
  if (isOver(app.interrupt.signal)) throw left();
  const sum = (of: (one: FleetCluster) => number): number => all.reduce((total, one) => total + of(one), 0);
  const phases = Object.fromEntries(PHASES.map((phase) => [phase, sum((one) => one.phases[phase] ?? 0)])) as Record<
    PhaseName,
    number
  >;
  const failed = all.filter(({ outcome }) => outcome === 'failed');
  const totals = {
    clusters: all.length,
    failed: failed.length,
    namespaces: sum((one) => one.namespaces),
    workloads: sum((one) => one.workloads),
    phases,
  };
  const joint = { clusters: all, totals };
  if (options.output !== undefined && format !== undefined) {
    await saveReport(
      options.output,
      format === '.md'
        ? renderFleetMarkdown(joint)
        : format === '.html'
          ? renderFleetHtml(joint)
          : `${JSON.stringify({ apiVersion: 'sallyport.dev/v1', kind: 'Fleet', ...joint }, undefined, 2)}\n`,
    );
    output.note(`written: ${safeText(options.output)} and ${plural(beside.size, 'report')} beside it`);
  }
  output.document('Fleet', joint);
  const say = (text: string, indent = 2): void => output.line(wrap(safeText(text), output.width, indent + 2, indent));
  for (const one of all) {
    output.line(paint(output, 'bold', safeText(one.name)));
    if (one.outcome === 'failed') say(`not read: ${one.problem ?? ''}`);
    else {
      say(
        `${plural(one.workloads, 'workload')} in ${plural(one.namespaces, 'namespace')}; ${formatPhases(one.phases)}`,
      );
      if (one.headline !== '') say(one.headline);
    }
  }
  output.line(
    wrap(
      `${plural(all.length, 'cluster')}, ${failed.length} not read: ${plural(
        sum((one) => one.workloads),
        'workload',
      )} in ${plural(
        sum((one) => one.namespaces),
        'namespace',
      )}; ${formatPhases(phases)}`,
      output.width,
      2,
    ),
  );
  return failed.length === 0 ? EXIT.done : EXIT.partial;
}

function formatPhases(phases: Readonly<Partial<Record<PhaseName, number>>>): string {
  const named = PHASES.flatMap((phase) => ((phases[phase] ?? 0) === 0 ? [] : [`${phase} ${phases[phase] ?? 0}`]));
  return named.length === 0 ? 'no namespace' : named.join(', ');
}
