import { writeFile } from 'node:fs/promises';
import type { BudgetRow } from '../../candidates/tuning/budget.ts';
import { measureControls } from '../../candidates/tuning/budget.ts';
import { proposeTuning } from '../../candidates/tuning/index.ts';
import { authorizersAsked } from '../../candidates/tuning/mesh-providers.ts';
import type { Proposal } from '../../candidates/tuning/proposal.ts';
import { parseQuantity } from '../../candidates/tuning/proxy-resources.ts';
import type { View } from '../../engine/contract.ts';
import type { Inventory } from '../../model/inventory.ts';
import type { TuningBudget, TuningMetrics, TunedControl } from '../../model/tuning.ts';
import { TUNED_CONTROLS } from '../../model/tuning.ts';
import type { TuningInForce } from '../../readiness/tuning-plan.ts';
import { planTuning, realise, tuningInForce, tuningInput } from '../../readiness/tuning-plan.ts';
import { systemClock } from '../../shared/io/clock.ts';
import { yamlValue } from '../../shared/io/yaml.ts';
import { EXIT, Failure } from '../../shared/pure/errors.ts';
import { uniqueSorted } from '../../shared/pure/order.ts';
import { shellWord } from '../../shared/pure/shell.ts';
import { safeText } from '../../shared/pure/text.ts';
import { readTuningFile, tuningDocument } from '../../sources/tuning-file.ts';
import type { TuningQuestion } from '../../sources/tuning-prometheus.ts';
import { askTuning } from '../../sources/tuning-prometheus.ts';
import { nearest } from '../check-command-line.ts';
import type { App } from '../context.ts';
import { explain } from '../file-error.ts';
import type { Loaded } from '../load.ts';
import { loadAll, requireNamespace, requireReadable } from '../load.ts';
import type { Prompts } from '../prompts.ts';
import { refuseUnserved } from '../refuse-unserved.ts';
import { renderPlan } from '../render-plan.ts';
import { renderTuning } from '../render-tune.ts';
import { soakWorld } from '../soak.ts';
import { planDocument, stalePlan } from './plan.ts';
import { carryOut, refuseOpenRun } from './run.ts';

export interface TuneOptions {
  readonly prometheus?: string;
  readonly metrics?: string;
  readonly window?: string;
  readonly save?: string;
  readonly budget?: readonly string[];
  readonly apply?: readonly string[];
  readonly tokenFile?: string;
  readonly ca?: string;
  /** True unless `--no-dry-run` is given. */
  readonly dryRun?: boolean;
  readonly detach?: boolean;
}

/** Everything that tune says of one namespace. */
export interface NamespaceTuning {
  readonly namespace: string;
  readonly controls: readonly BudgetRow[];
  readonly proposals: readonly Proposal[];
  readonly inForce: readonly TuningInForce[];
}

/** What the controls cost against the budget, what would make them cost less, and, with --apply, that as a run. */
export async function tune(
  app: App,
  namespaces: readonly string[],
  options: TuneOptions,
  prompts?: Prompts,
): Promise<number> {
  const given = parseBudget(options.budget);
  if (namespaces.length === 0) throw wrongSource('which namespace is not said');
  if ((options.prometheus === undefined) === (options.metrics === undefined))
    throw wrongSource(
      options.prometheus === undefined
        ? 'where the figures come from is not said'
        : 'the figures come from one place: --prometheus or --metrics',
    );
  const seconds = parseWindow(options.window ?? '24h');
  const dryRun = options.dryRun !== false;
  const asked = options.apply ?? [];
  if (asked.length === 0 && !dryRun)
    throw unknownProposal(
      'what to write is not said: --no-dry-run writes the proposals that --apply names',
      'the same command without --no-dry-run lists them; then add --apply PROPOSAL',
    );
  const [first = ''] = namespaces;
  if (asked.length > 0 && !dryRun) await refuseOpenRun(app, first);
  const loaded = await loadAll(app);
  for (const name of namespaces) requireNamespace(loaded, name);
  requireReadable(loaded, await app.decisions());
  const metrics =
    options.metrics === undefined
      ? await askTuning(options.prometheus ?? '', questionOf(app, loaded, namespaces, options, seconds))
      : await readTuningFile(options.metrics);
  if (options.save !== undefined) await save(options.save, metrics);
  const budget = mergeBudget(loaded.config.budget ?? {}, given);
  const all = uniqueSorted(namespaces).map((name) => tuningOf(loaded.view(name), metrics, budget));
  if (asked.length > 0) return apply(app, loaded, all, asked, options, prompts);
  app.output.document('Tuning', {
    window: iso(metrics.window),
    source: metrics.source,
    missing: metrics.missing,
    budget,
    namespaces: all.map((one) => documentOf(one, loaded)),
  });
  app.output.names(
    all.flatMap(({ proposals }) => proposals.filter(({ answer }) => answer === 'apply').map(({ id }) => id)),
  );
  app.output.line(renderTuning(all, metrics, app.output));
  return EXIT.done;
}

function tuningOf(view: View, metrics: TuningMetrics, budget: TuningBudget): NamespaceTuning {
  const input = tuningInput(view, metrics, yamlValue);
  return {
    namespace: view.namespace,
    controls: measureControls(view.namespace, metrics, budget),
    proposals: proposeTuning(input),
    inForce: tuningInForce(view.applied, input),
  };
}

function documentOf({ proposals, ...rest }: NamespaceTuning, { snapshot }: Loaded): object {
  return {
    ...rest,
    inForce: rest.inForce.map((one) => ({
      ...one,
      since: new Date(one.since).toISOString(),
      gain: one.gain ?? null,
      now: one.now ?? null,
      measuredPercent: one.measuredPercent ?? null,
    })),
    controls: rest.controls.map((one) => ({ ...one, measured: one.measured ?? null, budget: one.budget ?? null })),
    proposals: proposals.map(({ writes, gain, ...proposal }) => ({
      ...proposal,
      gain: gain ?? null,
      writes: writes.flatMap((write) => {
        const real = realise(snapshot.objects, write);
        return real === undefined
          ? []
          : [
              real.fields === undefined
                ? { object: real.object }
                : { object: `${real.object.kind} ${real.object.metadata.name}`, fields: real.fields },
            ];
      }),
    })),
  };
}

function iso({ from, to }: TuningMetrics['window']): object {
  return { from: new Date(from).toISOString(), to: new Date(to).toISOString() };
}

// ---------------------------------------------------------------- apply

async function apply(
  app: App,
  loaded: Loaded,
  all: readonly NamespaceTuning[],
  asked: readonly string[],
  options: TuneOptions,
  prompts: Prompts | undefined,
): Promise<number> {
  const dryRun = options.dryRun !== false;
  const known = all.flatMap(({ proposals }) => proposals);
  const chosen = [...new Set(asked)].map((id) => {
    const found = known.find((one) => one.id === id);
    if (found !== undefined) return found;
    const near = nearest(
      id,
      known.map((one) => one.id),
      3,
    );
    throw unknownProposal(
      `there is no proposal ${safeText(id)}`,
      near.length > 0
        ? `one of: ${near.join(', ')}`
        : 'sallyport tune NAMESPACE -o name lists those that may be applied',
    );
  });
  const namespaces = uniqueSorted(chosen.map(({ namespace }) => namespace));
  const [namespace = ''] = namespaces;
  if (namespaces.length > 1)
    throw unknownProposal(
      `the proposals are of several namespaces: ${namespaces.join(', ')}`,
      'apply those of one namespace at a time',
    );
  const held = chosen.filter(({ answer }) => answer !== 'apply');
  if (held.length > 0)
    throw new Failure({
      code: 'SP670',
      exit: EXIT.refused,
      message: `nothing is applied: ${held.map(({ id, answer, because }) => safeText(`${id}: ${answer === 'instruct' ? 'it is no object that is written here' : because.join('; ')}`)).join('. ')}`,
      where: held.map(({ id }) => id).join(', '),
      hint: `sallyport tune ${namespace} shows what to do`,
    });
  const view = loaded.view(namespace);
  const objects = chosen.flatMap(({ writes }) =>
    writes.flatMap((write) => realise(loaded.snapshot.objects, write)?.object ?? []),
  );
  refuseUnserved(
    view,
    objects.filter(({ apiVersion }) => apiVersion.includes('istio.io')),
    `tune ${namespace}`,
    false,
  );
  const plan = planTuning(view, chosen, loaded.planner);
  const source =
    options.metrics === undefined
      ? `--prometheus ${shellWord(options.prometheus ?? '')}`
      : `--metrics ${shellWord(options.metrics)}`;
  const words = `sallyport tune ${namespace} ${source} ${chosen.map(({ id }) => `--apply ${shellWord(id)}`).join(' ')}`;
  if (dryRun || plan.steps.length === 0) {
    const stale = stalePlan(app.options.planHash, plan);
    if (stale !== undefined) throw stale;
    app.output.document('TuningPlan', { proposals: chosen.map(({ id }) => id), ...planDocument(plan) });
    app.output.line(
      plan.steps.length === 0
        ? 'Nothing to write: what is proposed is there.'
        : renderPlan(plan, app.output, true, `${words} --no-dry-run`),
    );
    return EXIT.done;
  }
  const soak = await soakWorld(app, loaded, namespace, options.detach === true);
  return carryOut(app, plan, loaded, view, 'advance', prompts, soak, words);
}

function unknownProposal(message: string, hint: string): Failure {
  return new Failure({ code: 'SP110', exit: EXIT.usage, message, where: '--apply', hint });
}

// ---------------------------------------------------------------- what is given

function wrongSource(message: string): Failure {
  return new Failure({
    code: 'SP114',
    exit: EXIT.usage,
    message,
    where: 'sallyport tune',
    hint: 'sallyport tune NAMESPACE --prometheus URL [--window 24h], or --metrics FILE',
  });
}

const UNIT_SEC: Readonly<Record<string, number>> = { m: 60, h: 3600, d: 86_400 };

function parseWindow(text: string): number {
  const match = /^(\d{1,5})([mhd])$/u.exec(text);
  const seconds = Number(match?.[1]) * (UNIT_SEC[match?.[2] ?? ''] ?? Number.NaN);
  if (seconds >= 60 && seconds <= 90 * 86_400) return seconds;
  throw wrongSource(`--window ${safeText(text)} is not a time between 1m and 90d`);
}

/** `mtls=3`, `mtls=3ms`, `cpu=0.5`, `memory=128Mi`. All mistakes at once. */
export function parseBudget(given: readonly string[] = []): TuningBudget {
  const latency: Partial<Record<TunedControl, number>> = {};
  const out: { cpuPer1000Rps?: number; memoryPerProxy?: number } = {};
  const wrong: string[] = [];
  for (const text of given) {
    const at = text.indexOf('=');
    const [key, value] = [text.slice(0, Math.max(0, at)), text.slice(at + 1)];
    const control = TUNED_CONTROLS.find((one) => one === key);
    const number = control === undefined ? parseQuantity(value) : Number(/^(\d+(?:\.\d+)?)(?:ms)?$/u.exec(value)?.[1]);
    if (number === undefined || !(number > 0)) wrong.push(`"${text}" is no control and amount`);
    else if (control !== undefined) latency[control] = number;
    else if (key === 'cpu') out.cpuPer1000Rps = number;
    else if (key === 'memory') out.memoryPerProxy = number;
    else wrong.push(`"${text}": there is no ${key}`);
  }
  if (wrong.length > 0)
    throw new Failure({
      code: 'SP111',
      exit: EXIT.usage,
      message: wrong.map(safeText).join('; '),
      where: '--budget',
      hint: `one of ${TUNED_CONTROLS.join(', ')} with milliseconds, cpu with cores for 1000 requests a second, memory with bytes: --budget mtls=3 --budget memory=128Mi`,
    });
  return Object.keys(latency).length === 0 ? out : { ...out, latency };
}

function mergeBudget(config: TuningBudget, given: TuningBudget): TuningBudget {
  const latency = { ...config.latency, ...given.latency };
  return { ...config, ...given, ...(Object.keys(latency).length === 0 ? {} : { latency }) };
}

function questionOf(
  app: App,
  loaded: Loaded,
  namespaces: readonly string[],
  options: TuneOptions,
  seconds: number,
): TuningQuestion {
  // Prometheus has the present, whatever the record's newest moment is.
  const to = Math.floor(systemClock.now() / 1000) * 1000;
  const { snapshot, inventory } = loaded;
  return {
    namespaces,
    from: to - seconds * 1000,
    to,
    authorizers: namespaces.flatMap((namespace) =>
      authorizersAsked({ objects: snapshot.objects, namespace, inventory, parseText: yamlValue }),
    ),
    ...namesOf(inventory),
    asked: (count, of) => {
      // A line each is for nobody's log.
      if (app.output.interactive || count === 0)
        app.output.progress(`asking ${safeText(originOf(options.prometheus))}: ${count} of ${of} questions answered`);
    },
    signal: app.interrupt.signal,
    sleep: (milliseconds, signal) => systemClock.sleep(milliseconds, signal),
    ...(options.tokenFile === undefined ? {} : { tokenFile: options.tokenFile }),
    ...(options.ca === undefined ? {} : { caFile: options.ca }),
  };
}

/** Without what an address may hold besides. */
function originOf(address: string | undefined): string {
  return URL.canParse(address ?? '') ? new URL(address ?? '').origin : (address ?? '');
}

function namesOf({ workloads }: Inventory): Pick<TuningQuestion, 'workloadOf' | 'workloadNamed'> {
  const byPod = new Map<string, string>();
  const byName = new Map<string, string>();
  for (const one of workloads) {
    byName.set(`${one.namespace}/${one.name}`, one.id);
    for (const { pods } of one.podSets) for (const pod of pods) byPod.set(`${one.namespace}/${pod.name}`, one.id);
  }
  return {
    // A pod that has gone since: by the name that its owner gave it, the longest that fits.
    workloadOf: (namespace, pod) => {
      const known = byPod.get(`${namespace}/${pod}`);
      if (known !== undefined) return known;
      for (let end = pod.lastIndexOf('-'); end > 0; end = pod.lastIndexOf('-', end - 1)) {
        const found = byName.get(`${namespace}/${pod.slice(0, end)}`);
        if (found !== undefined) return found;
      }
      return undefined;
    },
    workloadNamed: (namespace, name) => byName.get(`${namespace}/${name}`),
  };
}

async function save(file: string, metrics: TuningMetrics): Promise<void> {
  try {
    await writeFile(file, `${JSON.stringify(tuningDocument(metrics), undefined, 2)}\n`, { mode: 0o600 });
  } catch (error) {
    throw new Failure({
      code: 'SP115',
      exit: EXIT.usage,
      message: `the measurements cannot be written: ${explain(error)}`,
      where: file,
      hint: 'name a file in a folder that is there: --save FILE',
      cause: error,
    });
  }
}
