// The session at work: which page is shown, what a choice does, and what is read again afterwards.
import type { App } from '../context.ts';
import { assess } from '../commands/assess.ts';
import { decide } from '../commands/decide.ts';
import { expireGrants, revokeGrant } from '../commands/grant-end.ts';
import { advance, resume, rollback } from '../commands/run.ts';
import { verify } from '../commands/verify.ts';
import { cancelled } from '../interrupt.ts';
import type { Output } from '../output.ts';
import { few, paint, renderFailure, wrap } from '../output.ts';
import { readGrants } from '../render-grant.ts';
import type { Front } from '../prompts.ts';
import { matchEdges, parseQuery } from '../../flows/query.ts';
import { PHASES, phaseIndex } from '../../model/phase.ts';
import type { PhaseName } from '../../model/phase.ts';
import type { Plan } from '../../plan/plan.ts';
import type { RecordedGrant } from '../../readiness/recorded-grants.ts';
import { EXIT, isFailure } from '../../shared/pure/errors.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import type { Act, Screen } from './act.ts';
import type { Verdict } from './decisions.ts';
import { commandsOf, describeLast, lastStanding, record, undoOf, verdictsOn } from './decisions.ts';
import { START } from './list.ts';
import type { ListState } from './list.ts';
import type { Page, Shown } from './page.ts';
import { rowsOf } from './page.ts';
import type { Named } from './queries.ts';
import { argument, quote } from './queries.ts';
import { dashboard, REPORT, wantedPlans } from './screens/dashboard.ts';
import { edgePage, edgesPage, isQuery } from './screens/edges.ts';
import { gatePage, waiverQuery } from './screens/gate.ts';
import { grantsPage } from './screens/grants.ts';
import { historyPage } from './screens/history.ts';
import { namespacePage, workloadPage } from './screens/namespace.ts';
import { driftPage, reportPage, searchPage } from './screens/other.ts';
import { changesAt, planPage, statesOf, stepPage } from './screens/plan.ts';
import { soakPage } from './screens/soak.ts';
import type { Known, World } from './world.ts';
import { lostLines, openRuns, readWorld, redecided } from './world.ts';

export interface Desk {
  /** Until somebody leaves: exit 0. Throws SP130 on Ctrl-C. */
  run(): Promise<number>;
  /** How to go on after the session was left. */
  goOn(): Promise<string>;
}

interface Place {
  readonly screen: Screen;
  readonly state: ListState;
}

const place = (screen: Screen): Place => ({
  screen,
  state:
    screen.kind === 'edges' && screen.filter !== undefined
      ? { ...START, filter: screen.filter }
      : screen.kind === 'search'
        ? { ...START, mode: 'filter' }
        : START,
});

export function openDesk(app: App, front: Front): Desk {
  let world: World = { app, description: '', reader: undefined, known: undefined, lost: undefined };
  let stack: readonly Place[] = [place({ kind: 'dashboard' })];
  const { output } = app;

  const reload = async (): Promise<void> => {
    output.progress('reading ...');
    world = await front.busy(() => readWorld(app, world, Date.now));
  };

  const here = (): Place => stack.at(-1) ?? place({ kind: 'dashboard' });
  const open = (screen: Screen): void => {
    stack = [...stack, place(screen)];
  };
  const replace = (one: Place): void => {
    stack = [...stack.slice(0, -1), one];
  };
  const back = (): void => {
    if (stack.length > 1) stack = stack.slice(0, -1);
  };

  /** Work that is left for when nobody types: one namespace's gates at a time. */
  const idleOf = (screen: Screen): (() => boolean) | undefined => {
    const wanted =
      screen.kind === 'dashboard' ? wantedPlans(world) : screen.kind === 'namespace' ? [screen.namespace] : undefined;
    if (wanted === undefined) return undefined;
    return () => {
      const { known } = world;
      const next = wanted.find((namespace) => known?.planIfKnown(namespace) === undefined);
      if (known === undefined || next === undefined) return false;
      known.plan(next, undefined);
      return true;
    };
  };

  /** The state as it is open now: a command that wrote has opened it anew. */
  const takeReader = async (): Promise<void> => {
    // A cluster that names its state and does not answer is asked by `r`, not by every key.
    if (world.lost !== undefined && world.reader === undefined) return;
    try {
      world = { ...world, reader: (await app.state()).reader };
    } catch (error) {
      if (!isFailure(error)) throw error;
      // Whose state it is may be the cluster's to say, and it does not answer.
      world = { ...world, reader: undefined };
    }
  };

  const goOn = async (): Promise<string> => {
    await takeReader();
    const [first] = openRuns(world.reader);
    return first === undefined
      ? 'sallyport opens the session again; sallyport status shows where each namespace stands'
      : `sallyport resume takes up the run of ${safeText(first.run.namespace)}; sallyport status shows where each namespace stands`;
  };

  /** The command that does the same, then the work, in the open: its steps and questions stay in sight. A failure is shown, and the session goes on. */
  const perform = async (command: string, work: (app: App) => Promise<unknown>): Promise<void> => {
    output.line(paint(output, 'dim', wrap(`$ ${safeText(command)}`, output.width, 4, 2, true)));
    try {
      await front.busy(() => app.interrupt.command((interrupt) => work({ ...app, interrupt })));
    } catch (error) {
      if (!isFailure(error) || error.detail.code === 'SP130') throw error;
      output.note(renderFailure(error.detail, output.width).trimEnd());
    }
    // Ctrl-C while it wrote has ended the run, which said how to go on, and not the session.
    if (app.interrupt.signal.aborted) throw cancelled();
    await front.pause();
    await reload();
    // What the page begins with now, such as a run to take up, is under the cursor, and not whatever has moved there.
    replace({ ...here(), state: { ...here().state, cursor: 0, top: 0 } });
  };

  /** What a command prints, as a page. */
  const read = async (title: string, command: string, work: (app: App) => Promise<unknown>): Promise<void> => {
    const lines: string[] = [];
    const keep = (text = ''): void => void lines.push(...text.split('\n'));
    const captured: Output = {
      ...output,
      json: false,
      color: false,
      width: Math.max(40, front.width() - 3),
      interactive: false,
      documented: false,
      line: keep,
      raw: keep,
      note: keep,
      document: () => undefined,
      progress: (text) => output.progress(text),
    };
    try {
      await front.busy(() => work({ ...app, output: captured }));
    } catch (error) {
      if (!isFailure(error) || error.detail.code === 'SP130') throw error;
      keep(renderFailure(error.detail, captured.width).trimEnd());
    }
    if (app.interrupt.signal.aborted) throw cancelled();
    open({ kind: 'report', title, lines, command });
  };

  /** Decisions about edges: asked why, written down, and seen at once without reading the cluster again. */
  const decideOn = async (verdicts: readonly Verdict[], what: string, question: string): Promise<void> => {
    if (verdicts.length === 0) {
      output.line(`${what}: there is nothing to decide.`);
      return;
    }
    output.line(wrap(safeText(`${what}. As ${verdicts.length === 1 ? 'a command' : 'commands'}:`), output.width, 2));
    for (const line of commandsOf(verdicts, 'TEXT')) output.line(safeText(`  $ ${line}`));
    const named = new Set(verdicts.flatMap(({ matched }) => matched));
    const { shown, more } = few(
      (world.known?.edges() ?? []).filter(({ edge }) => named.has(edge.id)),
      6,
    );
    for (const { text } of shown) output.line(wrap(safeText(text), output.width, 4, 2));
    if (more !== '') output.line(`  and ${named.size - shown.length} more`);
    const reason = await front.text(question);
    if (reason === '') {
      output.line('Nothing was decided: a reason is needed.');
      return;
    }
    try {
      await front.busy(async () => {
        await record(app, verdicts, reason);
        world = await redecided(world);
      });
      output.line(wrap(safeText(`Done: ${what}.`), output.width, 2));
    } catch (error) {
      if (!isFailure(error) || error.detail.code === 'SP130') throw error;
      output.note(renderFailure(error.detail, output.width).trimEnd());
      await front.pause();
    }
    replace({ ...here(), state: { ...here().state, marked: new Set() } });
  };

  const decideMarked = async (
    known: Known,
    action: 'accept' | 'adopt' | 'withdraw',
    shown: Extract<Shown<Act>, { kind: 'act' }>,
  ): Promise<void> => {
    const { screen } = here();
    const lines =
      screen.kind === 'edges' && screen.namespace !== undefined ? known.edgesOf(screen.namespace) : known.edges();
    const marked = shown.marked.flatMap((index) => lines[index]?.edge ?? []);
    const standing = action === 'withdraw' ? known.standing() : undefined;
    const edges = standing === undefined ? marked : marked.filter((edge) => standing.has(edge.id));
    const namespace = screen.kind === 'edges' ? screen.namespace : undefined;
    const given = isQuery(shown.filter) ? queryOf(known, shown.filter.trim(), namespace) : undefined;
    await decideOn(
      verdictsOn(action, edges, known.view.edges, given),
      `${WORDS[action]} ${plural(edges.length, 'edge')}`,
      'Why? (for the audit trail; empty decides nothing)',
    );
  };

  const undo = async (known: Known, about: 'edges' | 'any'): Promise<void> => {
    const last = lastStanding(about, known.view.decisions, known.view.edges);
    const [first] = last;
    if (first === undefined) {
      output.line('No decision stands: there is nothing to undo.');
      await front.pause();
      return;
    }
    output.line(
      wrap(
        safeText(
          `${describeLast(last) ?? ''} (${last
            .map((one) => one.text)
            .join('; ')
            .slice(0, 300)}) by ${first.by} on ${new Date(first.at).toISOString()}: ${first.reason}`,
        ),
        output.width,
        2,
      ),
    );
    await decideOn(
      undoOf(last, known.view.decisions, known.view.edges),
      `take back ${describeLast(last) ?? ''}`,
      'Why is it taken back? (for the audit trail; empty leaves it)',
    );
  };

  const act = async (value: Act, shown: Extract<Shown<Act>, { kind: 'act' }>): Promise<void> => {
    const { known } = world;
    switch (value.kind) {
      case 'open':
        // From step to step without piling them up.
        if (value.screen.kind === 'step' && here().screen.kind === 'step') replace(place(value.screen));
        else open(value.screen);
        return;
      case 'back':
        back();
        return;
      case 'advance': {
        const { namespace, to, detach, planHash } = value;
        const flags = [
          ...(to === undefined ? [] : [` --to ${to}`]),
          ...(detach === true ? [' --detach'] : []),
          ...(planHash === undefined ? [] : [` --plan-hash ${planHash.slice(0, 12)}`]),
        ];
        const bind = (own: App): App =>
          planHash === undefined ? own : { ...own, options: { ...own.options, planHash } };
        await perform(`sallyport advance ${namespace}${flags.join('')}`, (own) =>
          advance(bind(own), namespace, { ...(to === undefined ? {} : { to }), detach: detach === true }, front),
        );
        return;
      }
      case 'plan-to': {
        const now = known?.view.phases.get(value.namespace) ?? 'none';
        const to = await choosePhase('A plan to which phase?', PHASES.slice(phaseIndex(now) + 1));
        if (to !== undefined) replace(place({ kind: 'plan', namespace: value.namespace, to }));
        return;
      }
      case 'advance-far': {
        const { namespace, now } = value;
        const to = await choosePhase('To which phase?', PHASES.slice(phaseIndex(now) + 1));
        if (to === undefined) return;
        await perform(`sallyport advance ${namespace} --to ${to}`, (own) => advance(own, namespace, { to }, front));
        return;
      }
      case 'rollback-to':
      case 'rollback': {
        const { namespace } = value;
        const to =
          value.kind === 'rollback'
            ? value.to
            : await choosePhase('Back to which phase?', PHASES.slice(0, phaseIndex(value.now)).reverse());
        if (to === undefined) return;
        await perform(`sallyport rollback ${namespace} --to ${to}`, (own) => rollback(own, namespace, { to }, front));
        return;
      }
      case 'resume':
        await perform('sallyport resume', resume);
        return;
      case 'end-grant': {
        const { id } = value;
        if (!(await front.confirm(`End ${safeText(id)} now?`))) return;
        await perform(`sallyport grant revoke ${id}`, (own) => revokeGrant(own, id));
        return;
      }
      case 'expire-grants':
        await perform('sallyport grant expire', (own) => expireGrants(own, {}));
        return;
      case 'assess':
        await perform(`sallyport assess -o ${REPORT}`, (own) => assess(own, { output: REPORT }));
        return;
      case 'verify': {
        const { namespace } = value;
        const command = `sallyport verify${namespace === undefined ? '' : ` ${namespace}`}`;
        await read(namespace === undefined ? 'Verify' : `Verify ${safeText(namespace)}`, command, (quiet) =>
          verify(quiet, namespace),
        );
        return;
      }
      case 'waive': {
        const { gate, subject } = value;
        const reason = await front.text('Why may it be passed over? (for the trail; empty waives nothing)');
        if (reason === '') {
          output.line('Nothing was waived: a reason is needed.');
          return;
        }
        back();
        await perform(`sallyport waive ${waiverQuery({ id: gate, subject })} --reason ${quote(reason)}`, (own) =>
          decide(own, 'waive', `gate=${gate},subject=${subject}`, { reason }),
        );
        return;
      }
      case 'decide':
        if (known !== undefined) await decideMarked(known, value.action, shown);
        return;
      case 'decide-edge': {
        const line = known?.edges().find(({ edge }) => edge.id === value.id);
        if (line === undefined) return;
        await decideOn(
          [{ action: value.action, text: `id=${value.id}`, matched: [value.id] }],
          `${WORDS[value.action]} ${line.text}`,
          'Why? (for the audit trail; empty decides nothing)',
        );
        return;
      }
      case 'undo':
        if (known !== undefined) await undo(known, value.about);
        return;
      case 'doubtful-only': {
        const { screen, state } = here();
        const filter = state.filter === 'doubtful' ? '' : 'doubtful';
        replace({ screen, state: { ...START, marked: state.marked, filter } });
        return;
      }
    }
  };

  const choosePhase = async (message: string, phases: readonly PhaseName[]): Promise<PhaseName | undefined> =>
    front.select<PhaseName | undefined>(message, [
      ...phases.map((phase) => ({ name: phase, value: phase })),
      { name: 'leave it as it is', value: undefined },
    ]);

  const pageOf = makePages(() => world, front);

  /** Every page says that what it shows is older than it should be. */
  const warned = (make: () => Page<Act>): (() => Page<Act>) => {
    return () => {
      const page = make();
      const { lost } = world;
      if (lost === undefined || here().screen.kind === 'dashboard') return page;
      const text = `The cluster could not be read (${lost.code}): this is as it was before. r tries again.`;
      return { ...page, above: [...wrap(text, front.width() - 1, 2).split('\n'), ...page.above] };
    };
  };

  return {
    goOn,
    run: async () => {
      await reload();
      const flags = flagsOf(app);
      if (flags !== '')
        output.line(wrap(`Commands are shown without the flags of this session: ${flags}`, output.width, 2));
      for (;;) {
        await takeReader();
        const at = here();
        const make = warned(pageOf(at.screen));
        const { shown, state } = await front.show(make, at.state, idleOf(at.screen));
        replace({ screen: at.screen, state });
        switch (shown.kind) {
          case 'leave':
            output.line(wrap(`Nothing is lost: ${await goOn()}.`, output.width, 2));
            return EXIT.done;
          case 'back':
            if (stack.length === 1) output.line('This is the first page; q leaves.');
            else back();
            break;
          case 'search':
            if (at.screen.kind !== 'search') open({ kind: 'search' });
            break;
          case 'reload':
            await reload();
            break;
          case 'tick':
            break;
          case 'act':
            await act(shown.value, shown);
            break;
        }
      }
    },
  };
}

/** The filter as a query of all edges: on one namespace's page it holds with that namespace. */
function queryOf(known: Known, filter: string, namespace: string | undefined): Named | undefined {
  if (namespace !== undefined && /(?:^|,)\s*ns\s*=/.test(filter)) return undefined;
  const query = namespace === undefined ? filter : `${filter},ns=${namespace}`;
  try {
    return { query, edges: matchEdges(parseQuery(query, 'edges'), known.view.edges) };
  } catch (error) {
    if (!isFailure(error)) throw error;
    return undefined;
  }
}

const WORDS = { accept: 'may be cut:', adopt: 'legitimate:', withdraw: 'taken back:' } as const;

/** The page of a place, to be made as often as it is looked at. What costs time is worked out once a visit. */
function makePages(world: () => World, front: Front): (screen: Screen) => () => Page<Act> {
  const missing = (): Page<Act> => ({
    title: 'The cluster was not read',
    above: lostLines(world(), front.width()),
    rows: rowsOf([]),
    keys: [],
    help: [],
    command: 'sallyport doctor',
  });
  const fromKnown = (make: (known: Known) => Page<Act>): (() => Page<Act>) => {
    return () => {
      const { known } = world();
      return known === undefined ? missing() : make(known);
    };
  };
  const states = new WeakMap<Plan, ReturnType<typeof statesOf>>();
  return (screen) => {
    switch (screen.kind) {
      case 'dashboard':
        return () => {
          const now = world();
          const pending = wantedPlans(now).some((name) => now.known?.planIfKnown(name) === undefined);
          return dashboard(now, {
            open: openRuns(now.reader),
            now: Date.now(),
            width: front.width(),
            pending,
            grants: grantsOf(now),
          });
        };
      case 'namespace':
        return fromKnown((known) => namespacePage(known, screen.namespace, openRuns(world().reader), front.width()));
      case 'workload':
        return fromKnown((known) => workloadPage(known, screen.id));
      case 'gate':
        return fromKnown((known) => {
          const planned = known.plan(screen.namespace, screen.to);
          const gate = planned.kind === 'plan' ? planned.plan.gates[screen.index] : undefined;
          return gatePage(gate, screen.namespace, front.width());
        });
      case 'edges': {
        let made: { readonly known: Known; readonly page: Page<Act> } | undefined;
        // The filter's index of texts is kept for as long as the edges are the same.
        return fromKnown((known) => {
          if (made?.known !== known) {
            const last = describeLast(lastStanding('edges', known.view.decisions, known.view.edges));
            made = { known, page: edgesPage(known, screen.namespace, last, () => front.width()) };
          }
          return made.page;
        });
      }
      case 'edge':
        return fromKnown((known) => edgePage(known, screen.id, front.width()));
      case 'plan':
        return fromKnown((known) =>
          planPage(known.plan(screen.namespace, screen.to), screen.namespace, screen.to, front.width()),
        );
      case 'step': {
        let made: { readonly known: Known; readonly page: Page<Act>; readonly width: number } | undefined;
        return fromKnown((known) => {
          const planned = known.plan(screen.namespace, screen.to);
          if (planned.kind === 'none') return planPage(planned, screen.namespace, screen.to, front.width());
          if (made?.known !== known || made.width !== front.width()) {
            const { plan } = planned;
            const step = plan.steps[screen.index];
            const passed = states.get(plan) ?? statesOf(known, plan);
            states.set(plan, passed);
            const changes = step === undefined ? [] : changesAt(passed, step, screen.index);
            const page = stepPage(plan, screen.index, screen.namespace, screen.to, changes, front.width());
            made = { known, page, width: front.width() };
          }
          return made.page;
        });
      }
      case 'soak':
        return () => soakPage(openRuns(world().reader), Date.now());
      case 'grants':
        return () => grantsPage(grantsOf(world()), Date.now(), front.width());
      case 'drift':
        return fromKnown(driftPage);
      case 'history':
        return () => {
          const { known, reader } = world();
          const { namespace } = screen;
          const phase = namespace === undefined ? 'none' : (reader?.phases().get(namespace) ?? 'none');
          const last =
            known === undefined ? undefined : describeLast(lastStanding('any', known.view.decisions, known.view.edges));
          const trail = reader?.audit(namespace === undefined ? {} : { namespace }) ?? [];
          return historyPage(namespace, phase, reader?.runs() ?? [], trail, last, front.width());
        };
      case 'search': {
        let made: { readonly known: Known; readonly page: Page<Act> } | undefined;
        return fromKnown((known) => {
          if (made?.known !== known) made = { known, page: searchPage(known, () => front.width()) };
          return made.page;
        });
      }
      case 'report':
        return () => reportPage(screen);
    }
  };
}

/** In force, as the state has it at this moment. */
function grantsOf({ reader }: World): readonly RecordedGrant[] {
  return reader === undefined ? [] : readGrants(reader);
}

/** Flags that every command line of this session would carry. */
function flagsOf({ options }: App): string {
  const flags = [
    ['--manifests', options.manifests],
    ['--state', options.state],
    ['--kubeconfig', options.kubeconfig],
    ['--context', options.context],
    ['--as', options.as],
    ['--config', options.config],
    ['--decisions', options.decisions],
  ] as const;
  return flags.flatMap(([flag, value]) => (value === undefined ? [] : `${flag} ${argument(value)}`)).join(' ');
}
