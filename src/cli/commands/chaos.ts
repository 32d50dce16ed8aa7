import { executePlan } from '../../engine/run.ts';
import { matchText } from '../../model/glob.ts';
import { isObject } from '../../model/object.ts';
import { ALWAYS_PROTECTED } from '../../model/trigger.ts';
import { checkDrift } from '../../plan/drift.ts';
import { planHash } from '../../plan/hash.ts';
import type { Plan } from '../../plan/plan.ts';
import { allowsChaos, CHAOS_KEY, CHAOS_WAYS, planChaos } from '../../readiness/chaos.ts';
import type { ChaosWay, Experiment } from '../../readiness/chaos.ts';
import { EXIT, Failure, messageOf } from '../../shared/pure/errors.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import { endChaos } from '../chaos-end.ts';
import type { Lookout } from '../chaos-notice.ts';
import { lookByMetrics, lookByVerify, lookByWatch } from '../chaos-notice.ts';
import type { App } from '../context.ts';
import type { Loaded } from '../load.ts';
import { loadAll, requireNamespace } from '../load.ts';
import { parseDuration } from '../observe-followed.ts';
import { errorDocument, few, wrap } from '../output.ts';
import { endedText } from '../render-chaos.ts';
import { withEngine } from './run.ts';

export interface ChaosOptions {
  readonly object?: string;
  readonly how?: string;
  readonly within?: string;
  readonly watchUrl?: string;
}

const DEFAULT_WITHIN = '2m';
/** An experiment ends by itself: longer is no experiment. */
const LONGEST = { ms: 15 * 60_000, text: '15m' };
const MOST_SHOWN = 8;

function refused(code: 'SP662' | 'SP663' | 'SP664' | 'SP665', message: string, where: string, hint: string): Failure {
  return new Failure({ code, exit: EXIT.refused, message, where, hint });
}

/**
 * Takes one enforced object away, or loosens it, in a namespace that opted in, waits until a watch notices, and puts it back. Exit 0 where it was noticed, 6
 * where it was not in time. `look` is who looks, for tests. Errors: SP296 for a time that is none or too long; SP662 to SP666, exit 3; nothing was written then.
 */
export async function chaos(
  app: App,
  namespace: string,
  options: ChaosOptions,
  look: (app: App, object: string) => Promise<Lookout> = (one, object) => lookout(one, namespace, object, options),
): Promise<number> {
  const { output } = app;
  const withinMs = parseDuration(options.within ?? DEFAULT_WITHIN, '--within', LONGEST);
  for (const left of await endChaos(app)) output.note(`${endedText(left, app.clock().now())}, and is back.`);
  const loaded = await loadAll(app);
  requireNamespace(loaded, namespace);
  await refuse(app, loaded, namespace);
  const chosen = choose(loaded, namespace, options);
  const say = (text: string, indent = 2): void => output.line(wrap(safeText(text), output.width, indent + 2, indent));
  say(`${chosen.step.title}, ${plural(Math.ceil(withinMs / 60_000), 'minute')} at most`, 0);
  say(`opens ${plural(chosen.opens.length, 'pair')} meanwhile:`);
  const { shown, more } = few(chosen.opens, MOST_SHOWN);
  for (const pair of shown) say(pair, 4);
  if (more !== '') say(more, 4);
  say('denies nothing of what is on record, and closes no pair');
  if (app.options.yes !== true) {
    document(app, chosen, { outcome: 'dry-run' });
    output.line('\nNothing was written. To do it: the same command with --yes');
    return EXIT.done;
  }
  const eyes = await look(app, chosen.object);
  const over = new AbortController();
  const [taken] = await Promise.allSettled([takeAway(app, loaded, namespace, chosen, withinMs, eyes, over.signal)]);
  over.abort(new Error('over'));
  // Back first, whatever went wrong, and before anything that takes its time or may fail: closing comes last, after what is told.
  const [back] = await Promise.allSettled([endChaos(unstoppable(app))]);
  try {
    if (taken.status === 'rejected') {
      // The first failure is what is told; what forbids even the way back is left to resume.
      if (back.status === 'rejected' || back.value.some(({ result }) => result.failure !== undefined))
        output.note(`${safeText(chosen.object)} may still be away: sallyport resume puts it back.`);
      throw taken.reason;
    }
    if (back.status === 'rejected') throw back.reason;
    const { noticed, takenAt, run, stopped } = taken.value;
    const ended = back.value;
    const failed = ended.find(({ result }) => result.failure !== undefined)?.result.failure;
    const afterMs = noticed === undefined ? null : Math.max(0, noticed.at - takenAt);
    document(app, chosen, {
      outcome: failed !== undefined ? 'failed' : noticed === undefined ? 'not-noticed' : 'noticed',
      run,
      by: eyes.by,
      noticed: noticed === undefined ? null : { at: new Date(noticed.at).toISOString(), afterMs, as: noticed.as },
      putBack: ended.map(({ result }) => ({ run: result.run, outcome: result.outcome })),
      ...(failed === undefined ? {} : { error: errorDocument(failed) }),
    });
    if (failed !== undefined) throw failed;
    say(
      noticed === undefined
        ? `Not noticed by ${eyes.by} within ${options.within ?? DEFAULT_WITHIN}. ${chosen.object} is back.`
        : `Noticed by ${eyes.by} after ${((afterMs ?? 0) / 1000).toFixed(1)} s: ${noticed.as}. ${chosen.object} is back.`,
      0,
    );
    if (stopped !== EXIT.done) return stopped;
    return noticed === undefined ? EXIT.drift : EXIT.done;
  } finally {
    const [closed] = await Promise.allSettled([closing(eyes)]);
    if (closed.status === 'rejected')
      output.note(`${safeText(eyes.by)}, which looked, did not end cleanly: ${safeText(messageOf(closed.reason))}`);
  }
}

interface TakenAway {
  readonly noticed: Awaited<ReturnType<Lookout['noticed']>>;
  /** When the write was journaled, ms since the epoch. */
  readonly takenAt: number;
  readonly run: string;
  /** The exit code of the run that took it away. */
  readonly stopped: number;
}

/** Takes the object away and waits until it is noticed, until the time is over, or until Ctrl-C. Gives nothing back. */
async function takeAway(
  app: App,
  loaded: Loaded,
  namespace: string,
  chosen: Experiment,
  withinMs: number,
  eyes: Lookout,
  over: AbortSignal,
): Promise<TakenAway> {
  const phase = loaded.view(namespace).phases.get(namespace) ?? 'none';
  const plan = planOf(chosen, namespace, phase, app.clock().now() + withinMs);
  const seen = eyes.by === 'verify' ? undefined : eyes.noticed(over);
  // Raced below; what it says when the time is over does not count any more.
  seen?.catch(() => undefined);
  const { run, exit } = await withEngine(app, plan.steps, (engine) => executePlan(plan, 'advance', engine));
  const takenAt = (await app.state()).reader.applied().find((one) => one.run === run)?.at ?? Date.now();
  if (exit !== EXIT.done) return { noticed: undefined, takenAt, run, stopped: exit };
  const signal = AbortSignal.any([over, app.interrupt.signal]);
  const waited = app
    .clock()
    .sleep(withinMs, signal)
    .catch(() => undefined);
  // A directory is looked at once: its clock is simulated, and does not wait.
  const noticed =
    seen === undefined
      ? await eyes.noticed(signal)
      : await app.interrupt.during(() => Promise.race([seen, waited.then(() => undefined)]));
  return { noticed, takenAt, run, stopped: exit };
}

/** Closes, and fails as a promise even where closing throws at once. */
async function closing(eyes: Lookout): Promise<void> {
  await eyes.close();
}

/** Ctrl-C ends the waiting, and not the putting back. */
function unstoppable(app: App): App {
  return { ...app, interrupt: { ...app.interrupt, signal: new AbortController().signal } };
}

async function lookout(app: App, namespace: string, object: string, options: ChaosOptions): Promise<Lookout> {
  const target = await app.target();
  if (target.kind === 'directory')
    return lookByVerify(async () => {
      const { reader } = await app.state();
      const { objects } = await target.readSnapshot();
      const found = checkDrift(reader.applied(), objects, reader.resolutions()).find((one) => one.object === object);
      return found === undefined ? undefined : `drift of ${found.object} ${found.path}`;
    }, app.clock());
  return options.watchUrl === undefined
    ? lookByWatch(app, object)
    : lookByMetrics(options.watchUrl, namespace, app.clock());
}

async function refuse(app: App, loaded: Loaded, namespace: string): Promise<void> {
  const patterns = [...ALWAYS_PROTECTED, ...(loaded.config.triggers?.limits.protected ?? [])];
  if (patterns.some((pattern) => matchText(pattern, namespace)))
    throw refused('SP663', `${namespace} is protected`, namespace, 'try it where less depends on it');
  const object = loaded.snapshot.objects.find(
    (one) => isObject(one, '', 'Namespace') && one.metadata.name === namespace,
  );
  if (!allowsChaos(object))
    throw refused(
      'SP662',
      `${namespace} did not opt in`,
      namespace,
      `its owners do: kubectl annotate namespace ${namespace} ${CHAOS_KEY}=allowed`,
    );
  const [open] = (await app.state()).reader.openHeads();
  if (open !== undefined)
    throw refused(
      'SP664',
      `run ${open.id} of ${open.namespace} is open: what it awaits and what is taken away could not be told apart`,
      namespace,
      'sallyport resume, and then the same command',
    );
}

function choose(loaded: Loaded, namespace: string, options: ChaosOptions): Experiment {
  const how = CHAOS_WAYS.find((one) => one === options.how);
  const all = planChaos(loaded.view(namespace), how === undefined ? CHAOS_WAYS : ([how] satisfies readonly ChaosWay[]));
  const asked = options.object === undefined ? all : all.filter(({ object }) => object === options.object);
  const found = asked.find((one) => one.refused.length === 0);
  if (found !== undefined) return found;
  const [first] = asked;
  throw refused(
    'SP665',
    first === undefined
      ? `${options.object ?? namespace} has nothing that Sallyport enforces there and that could be taken away`
      : `${first.object} is not taken away: ${first.refused.slice(0, 3).join('; ')}${first.refused.length > 3 ? ` and ${first.refused.length - 3} more` : ''}`,
    namespace,
    'only what opens for a while may go: sallyport status, sallyport reach',
  );
}

function planOf({ step, object, how }: Experiment, namespace: string, phase: Plan['from'], until: number): Plan {
  return {
    namespace,
    from: phase,
    to: phase,
    direction: 'up',
    steps: [step],
    gates: [],
    denied: [],
    unknown: [],
    findings: [],
    simulated: { edges: 0, states: 1 },
    hash: planHash(namespace, phase, phase, [step], [], []),
    chaos: { object, how, until },
  };
}

function document(app: App, { object, how, opens }: Experiment, rest: object): void {
  app.output.document('Chaos', { object, how, opens, ...rest });
}
