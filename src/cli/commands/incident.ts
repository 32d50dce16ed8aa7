import { randomBytes } from 'node:crypto';
import type { AppliedStep, AuditEntry, View } from '../../engine/contract.ts';
import { executePlan } from '../../engine/run.ts';
import type { RunResult } from '../../engine/run.ts';
import type { Workload } from '../../model/inventory.ts';
import type { TriggerRecord } from '../../model/trigger.ts';
import { changeRef } from '../../plan/change.ts';
import { planHash } from '../../plan/hash.ts';
import type { IncidentMark, Plan, PlaybookName } from '../../plan/plan.ts';
import { resolutionsOf } from '../../plan/rollback.ts';
import { planBlock, BLOCK_KINDS, formatSource, parseSource } from '../../readiness/block.ts';
import type { CutEdge, Playbook } from '../../readiness/incident-effect.ts';
import { planQuarantine, QUARANTINE_KINDS } from '../../readiness/quarantine.ts';
import { podsOf } from '../../readiness/pod-proxy.ts';
import type { HeldPods, ProxiedPod } from '../../readiness/pod-proxy.ts';
import { IRREVERSIBLE, planRotation } from '../../readiness/rotate.ts';
import { planRollback } from '../../readiness/rollback.ts';
import { EXIT, Failure, isFailure } from '../../shared/pure/errors.ts';
import { sortBy } from '../../shared/pure/order.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import type { PodConnections } from '../connections.ts';
import { awaitGone } from '../connections.ts';
import type { App } from '../context.ts';
import type { Answered } from '../fired.ts';
import { readAnswered, readOwed, stateOfRecord } from '../fired.ts';
import { nobodyThere, notAProposal, saidNo } from '../incident-failures.ts';
import { readStop } from '../kill-switch.ts';
import { loadAll } from '../load.ts';
import { errorDocument, few, paint, renderFailure, wrap } from '../output.ts';
import { assertMayDrain, assertMayWrite, oneWayRemark, readRefused, readUndrainable } from '../preflight.ts';
import type { Prompts } from '../prompts.ts';
import { renderChange } from '../render-plan.ts';
import { connectionsDocument, renderTimeline } from '../render-incident.ts';
import { foreignChange, refuseOpenRun, withEngine } from './run.ts';

export interface IncidentOptions {
  readonly with?: string;
  readonly connections?: string;
  readonly pastBudgets?: boolean;
  readonly namespace?: string;
  readonly reason?: string;
  readonly dryRun?: boolean;
  readonly irreversible?: boolean;
  readonly lastResort?: boolean;
  readonly cap?: string;
  readonly output?: string;
  /** Of a rule: its name, and the id under which it stands on record. Not flags. */
  readonly rule?: string;
  readonly id?: string;
}

/** Edges on record that one answer may cut without a word of its own. */
const DEFAULT_CAP = 50;
const MOST_SHOWN = 8;

/** Answers an incident, or shows and undoes what answered one. Nothing is written without --no-dry-run. */
export async function incident(
  app: App,
  action: string,
  subject: string | undefined,
  options: IncidentOptions,
  prompts?: Prompts,
): Promise<number> {
  if (subject !== undefined && (action === 'list' || action === 'stop' || action === 'start'))
    throw wrongUse(
      `incident ${action} takes no ${subject}`,
      action === 'list' ? 'sallyport incident show ID' : `sallyport incident ${action} --reason "..."`,
    );
  switch (action) {
    case 'list':
      return list(app);
    case 'show':
      return show(app, need(subject, 'show', 'ID'), options);
    case 'undo':
      return undo(app, need(subject, 'undo', 'ID'), options, prompts);
    case 'escalate':
      return (await import('./incident-escalate.ts')).escalate(app, subject, options);
    case 'run':
      return (await import('./incident-triggered.ts')).runProposal(
        app,
        need(subject, action, 'ID'),
        options,
        (record, given) => incident(app, record.does, proposed(record), given, prompts),
      );
    case 'confirm':
    case 'dismiss':
      return (await import('./incident-triggered.ts')).settleProposal(
        app,
        action,
        need(subject, action, 'ID'),
        options,
      );
    case 'stop':
    case 'start':
      return (await import('./incident-triggered.ts')).moveSwitch(app, action, options, prompts);
    case 'connections':
      return (await import('./incident-connections.ts')).connections(
        app,
        need(subject, action, 'an id or namespace/Kind/name'),
        options,
        prompts,
      );
    case 'quarantine':
      return answer(app, action, need(subject, action, 'namespace/Kind/name'), options, prompts);
    case 'block':
      return answer(
        app,
        action,
        need(subject, action, 'an address, namespace:NAME or account:NAMESPACE/NAME'),
        options,
        prompts,
      );
    default:
      return answer(app, 'rotate', need(subject, action, 'NAMESPACE/ACCOUNT'), options, prompts);
  }
}

/** What the playbook of a record is about: an escalation tells the notice. */
function proposed(record: TriggerRecord): string {
  return record.does === 'escalate' ? record.notice.text : record.subject;
}

function need(subject: string | undefined, action: string, what: string): string {
  if (subject !== undefined && subject !== '') return subject;
  throw wrongUse(`incident ${action} needs ${what}`, `sallyport incident --help`);
}

export function wrongUse(message: string, hint: string): Failure {
  return new Failure({ code: 'SP209', exit: EXIT.usage, message: safeText(message), where: 'incident', hint });
}

function oneOf<T extends string>(text: string | undefined, known: readonly T[], flag: string): T | undefined {
  if (text === undefined) return undefined;
  const found = known.find((one) => one === text);
  if (found !== undefined) return found;
  throw wrongUse(`${flag} ${text} is none of ${known.join(', ')}`, `${flag} ${known[0] ?? ''}`);
}

export function newIncidentId(): string {
  return `inc-${randomBytes(4).toString('hex')}`;
}

interface Prepared {
  readonly namespace: string;
  readonly subject: string;
  readonly playbook: Playbook;
  /** Of a quarantine: pods with a proxy, and what becomes of connections there. */
  readonly pods?: HeldPods;
  readonly connections?: 'report' | 'drain' | 'delete';
}

function prepare(view: View, action: PlaybookName, subject: string, options: IncidentOptions, id: string): Prepared {
  if (action === 'quarantine') {
    const workload = workloadOf(view.inventory, subject);
    const kind = oneOf(options.with, QUARANTINE_KINDS, '--with');
    const connections = oneOf(options.connections, ['report', 'drain', 'delete'] as const, '--connections') ?? 'report';
    const playbook = planQuarantine(view, {
      workload,
      connections,
      id,
      ...(options.pastBudgets === true ? { pastBudgets: true } : {}),
      ...(kind === undefined ? {} : { kind }),
    });
    return { namespace: workload.namespace, subject: workload.id, playbook, pods: podsOf(view, workload), connections };
  }
  if (action === 'block') {
    const source = parseSource(subject);
    const { namespace } = options;
    if (source === undefined)
      throw wrongUse(
        `${subject} is no address, namespace:NAME or account:NAMESPACE/NAME`,
        'sallyport incident block 203.0.113.9 -n shop',
      );
    if (namespace === undefined || !view.inventory.namespaces.some(({ name }) => name === namespace))
      throw wrongUse(
        namespace === undefined
          ? 'a block keeps a source out of a namespace: which'
          : `there is no namespace ${namespace}`,
        'name it with -n',
      );
    const kind = oneOf(options.with, BLOCK_KINDS, '--with');
    const playbook = planBlock(view, { source, namespace, id, ...(kind === undefined ? {} : { kind }) });
    return { namespace, subject: formatSource(source), playbook };
  }
  const [namespace = '', account = '', ...more] = subject.split('/');
  if (account === '' || more.length > 0) throw wrongUse(`${subject} is no account`, 'name it as NAMESPACE/ACCOUNT');
  return {
    namespace,
    subject: `ServiceAccount ${namespace}/${account}`,
    playbook: planRotation(view, { namespace, account, lastResort: options.lastResort === true }),
  };
}

export function workloadOf(inventory: View['inventory'], id: string): Workload {
  const found = inventory.workloads.find((workload) => workload.id === id);
  if (found !== undefined) return found;
  throw wrongUse(`there is no workload ${id}`, 'sallyport inventory -o name lists them');
}

async function answer(
  app: App,
  action: PlaybookName,
  text: string,
  options: IncidentOptions,
  prompts: Prompts | undefined,
): Promise<number> {
  const loaded = await loadAll(app);
  const { incidents } = loaded.config;
  const id = options.id ?? newIncidentId();
  const view = loaded.view(text.split('/')[0] ?? '');
  const { namespace, subject, playbook: prepared, pods: held, connections } = prepare(view, action, text, options, id);
  const now = view.phases.get(namespace) ?? 'none';
  const mark: IncidentMark = {
    id,
    playbook: action,
    subject,
    reason: options.reason?.trim() ?? '',
    at: Date.now(),
    ...(options.rule === undefined ? {} : { rule: options.rule }),
    ...(connections === 'drain' ? { connections } : {}),
    ...(held === undefined ? {} : { pods: held.all }),
  };
  const pods = held?.proxied;
  const drained = connections === 'drain' ? (pods ?? []) : [];
  const plan: Plan = {
    namespace,
    from: now,
    to: now,
    direction: 'up',
    steps: prepared.steps,
    gates: [],
    denied: [],
    unknown: [],
    findings: prepared.findings,
    simulated: { edges: view.edges.length, states: 1 },
    hash: planHash(namespace, now, now, prepared.steps, [], []),
    incident: mark,
  };
  const dry = options.dryRun !== false;
  const target = await app.target();
  const oneWay = action === 'rotate' ? undefined : await oneWayRemark(target, plan.steps);
  const missing = dry
    ? [
        ...(await readRefused(target, plan.steps)),
        ...(drained.length > 0 ? await readUndrainable(target, namespace) : []),
      ]
    : [];
  const playbook: Playbook = {
    ...prepared,
    remarks: [
      ...prepared.remarks,
      ...(missing.length === 0
        ? []
        : [`you may not ${missing.join(', ')}: it would be refused before the first write`]),
      ...(oneWay === undefined ? [] : [oneWay]),
    ],
  };
  const [error] = playbook.findings.filter(({ severity }) => severity === 'error');
  if (dry || error !== undefined) {
    render(app, mark, plan, playbook);
    if (error !== undefined)
      throw told(
        app,
        mark,
        plan,
        playbook,
        new Failure({
          code: 'SP494',
          exit: EXIT.refused,
          message: `${error.code}: ${error.message}`,
          where: subject,
          hint: error.hint ?? `sallyport explain ${error.code}`,
        }),
      );
    const open = await lookAtProxies(app, pods, options);
    await sayKeptPods(app, plan);
    document(app, mark, plan, playbook, undefined, undefined, open);
    app.output.line(`\nNothing was written. To do it: the same command with --no-dry-run`);
    return EXIT.done;
  }
  const cap = options.cap === undefined ? (incidents?.cap ?? DEFAULT_CAP) : Number(options.cap);
  if (!Number.isInteger(cap) || cap < 0)
    throw wrongUse(`--cap ${options.cap ?? ''} is no number of edges`, '--cap 100');
  if (playbook.effect.cut.length > cap)
    throw told(
      app,
      mark,
      plan,
      playbook,
      new Failure({
        code: 'SP495',
        exit: EXIT.refused,
        message: `it would cut ${playbook.effect.cut.length} edges on record, and at most ${cap} may be cut at once`,
        where: subject,
        hint: `look at it without --no-dry-run; --cap ${playbook.effect.cut.length} allows it`,
      }),
    );
  if (mark.reason === '') throw wrongUse('a reason is needed: it stands on the audit trail', '--reason "..."');
  await refuseOpenRun(app, namespace);
  await assertMayWrite(target, plan.steps, namespace, roleFor(plan, options));
  const { drainHeld, refuseNoProxies } = await import('./incident-connections.ts');
  if (connections === 'drain') await refuseNoProxies(app);
  if (drained.length > 0) await assertMayDrain(target, namespace);
  await refuseKeptPods(app, plan);
  render(app, mark, plan, playbook);
  // What cannot be taken back is asked about, whatever the policy says.
  const isFinal = connections === 'delete' || drained.length > 0;
  await confirm(app, action, plan, options, incidents?.[action] === 'run' && !isFinal, prompts, drained);
  const result = await withEngine(app, plan.steps, (engine) => executePlan(plan, 'advance', engine));
  await note(app, mark, result.run, `incident ${action}`);
  const isDone = result.exit === EXIT.done;
  // Last: those that are cut off already cannot come back meanwhile, and no pod is asked anything before it is cut off.
  const drain = connections === 'drain' && isDone ? await drainHeld(app, result.run) : undefined;
  const open = drain?.open ?? (connections === 'report' ? await lookAtProxies(app, pods, options) : undefined);
  // Of a directory nothing runs: what is deleted is gone.
  const alive =
    connections === 'delete' && isDone && target.kind === 'cluster'
      ? await app.interrupt.during(async () =>
          awaitGone({ target, clock: app.clock(), signal: app.interrupt.signal }, namespace, held?.all ?? []),
        )
      : [];
  const isOver = drain?.isOver !== false && alive.length === 0;
  const still = `${few(alive, MOST_SHOWN).shown.join(', ')} ${alive.length === 1 ? 'was' : 'were'} told to end and ${alive.length === 1 ? 'is' : 'are'} there still: what is open may be, in the quarantine`;
  const exit = ended(
    app,
    mark,
    plan,
    alive.length === 0 ? playbook : { ...playbook, remarks: [...playbook.remarks, still] },
    isDone && !isOver ? { ...result, outcome: 'partial', exit: EXIT.partial } : result,
    open,
  );
  if (alive.length > 0) app.output.note(wrap(safeText(still), app.output.width, 2));
  if (connections === 'drain' && !isDone)
    app.output.note(`No proxy was ended, since the quarantine is not done: sallyport incident connections ${mark.id}`);
  return exit;
}

/** Evictions are asked about before anything is written: where a budget keeps a pod, a person decides first. Errors: SP432. */
async function refuseKeptPods(app: App, plan: Plan): Promise<void> {
  const target = await app.target();
  for (const { change } of plan.steps)
    if (change.kind === 'delete' && change.evicts === true) await target.rehearse(change);
}

/** The same for a look: what would refuse is said, and nothing is refused yet. */
async function sayKeptPods(app: App, plan: Plan): Promise<void> {
  try {
    await refuseKeptPods(app, plan);
  } catch (error) {
    if (!isFailure(error)) throw error;
    app.output.note(wrap(`It would be refused: ${error.detail.code} ${error.message}`, app.output.width, 2));
  }
}

/** What proxies have open, where a person asks: a rule's answer needs no right to look into pods. */
async function lookAtProxies(
  app: App,
  pods: readonly ProxiedPod[] | undefined,
  options: IncidentOptions,
): Promise<readonly PodConnections[] | undefined> {
  if (pods === undefined || pods.length === 0 || options.rule !== undefined) return undefined;
  return (await import('./incident-connections.ts')).lookAt(app, pods);
}

/** Asks, unless the policy says that this playbook runs. What cannot be taken back is asked each time, whatever the policy says. */
async function confirm(
  app: App,
  action: PlaybookName | 'undo',
  plan: Plan,
  options: IncidentOptions,
  mayRun: boolean,
  prompts: Prompts | undefined,
  proxies: readonly ProxiedPod[] = [],
): Promise<void> {
  const final = action === 'rotate';
  const said = app.options.yes === true && (!final || options.irreversible === true);
  if (said || (mayRun && !final)) return;
  if (prompts === undefined && !app.output.interactive)
    throw nobodyThere(
      final ? `${IRREVERSIBLE} Nobody is there to confirm it` : 'this writes, and nobody is there to confirm it',
      `incident ${action}`,
      final ? 'add --yes --irreversible' : 'add --yes',
    );
  const ask = prompts ?? (await import('../prompts.ts')).terminalPrompts;
  const text = final
    ? `${IRREVERSIBLE} Delete ${plural(plan.steps.length, 'object')}?`
    : `Carry out ${plural(plan.steps.length, 'step')} in ${safeText(plan.namespace)}${proxies.length === 0 ? '' : `, and end ${safeText((await import('./incident-connections.ts')).proxiesNamed(proxies))} and what else its pods have by then, which cannot be taken back`}?`;
  if (!(await ask.confirm(text))) throw saidNo();
}

/** The role that brings what the steps write: a watch holds others than a person. */
function roleFor({ steps }: Plan, { rule }: IncidentOptions): string {
  if (rule === undefined) return 'responder';
  return steps.some(({ change }) => changeRef(change).kind === 'Pod') ? 'actor-pods' : 'actor';
}

async function note(app: App, mark: IncidentMark, run: string, what: string): Promise<void> {
  (await app.writableState()).writer.appendAudit({
    at: Date.now(),
    who: app.by,
    what,
    object: mark.subject,
    reason: `${mark.id}: ${mark.reason}${mark.rule === undefined ? '' : ` (rule ${mark.rule})`}`,
    run,
  });
}

function told(app: App, mark: IncidentMark, plan: Plan, playbook: Playbook, failure: Failure): Failure {
  document(app, mark, plan, playbook, undefined, failure);
  return failure;
}

function document(
  app: App,
  mark: IncidentMark,
  plan: Plan,
  { effect, remarks, byHand }: Playbook,
  result: RunResult | undefined,
  failure: Failure | undefined = result?.failure,
  connections?: readonly PodConnections[],
): void {
  app.output.document('Incident', {
    incident: mark,
    namespace: plan.namespace,
    hash: plan.hash,
    run: result?.run ?? null,
    outcome: result?.outcome ?? (failure === undefined ? 'dry-run' : 'refused'),
    reversible: mark.playbook !== 'rotate',
    steps: plan.steps.map(({ id, title, operation }) => ({ id, title, operation })),
    effect,
    findings: plan.findings,
    remarks,
    byHand,
    ...(connections === undefined ? {} : { connections: connections.map(connectionsDocument) }),
    ...(failure === undefined ? {} : { error: errorDocument(failure) }),
  });
}

function ended(
  app: App,
  mark: IncidentMark,
  plan: Plan,
  playbook: Playbook,
  result: RunResult,
  connections?: readonly PodConnections[],
): number {
  document(app, mark, plan, playbook, result, result.failure, connections);
  const { output } = app;
  output.line(
    `${mark.id}: run ${result.run} ${result.outcome}; ${result.done.length} of ${plan.steps.length} steps done.`,
  );
  if (result.failure !== undefined) output.note(renderFailure(result.failure.detail, output.width).trimEnd());
  else if (mark.playbook !== 'rotate' && mark.undoes === undefined)
    output.line(`Next: sallyport incident undo ${mark.id}, when it is over`);
  return result.exit;
}

function render(app: App, mark: IncidentMark, plan: Plan, { effect, findings, remarks, byHand }: Playbook): void {
  const { output } = app;
  const say = (text: string, indent = 2): void => output.line(wrap(safeText(text), output.width, indent + 2, indent));
  output.line(
    paint(output, 'bold', safeText(`${mark.undoes === undefined ? '' : 'undo '}${mark.playbook} ${mark.subject}`)),
  );
  for (const [index, step] of plan.steps.entries()) {
    say(`${index + 1}. ${step.title}`);
    for (const risk of step.risks) say(`not simulated: ${risk}`, 5);
    if (step.operation !== 'delete')
      for (const line of renderChange(step.change)) output.line(`       ${safeText(line)}`);
  }
  const edges = (title: string, list: readonly CutEdge[]): void => {
    if (list.length === 0) return;
    say(`${title} (${list.length}):`);
    const { shown, more } = few(
      list.map(({ text, count, last }) =>
        // What configuration declares may never have been seen.
        count === 0 ? `${text}, declared and not seen` : `${text}, ${count}x, last ${new Date(last).toISOString()}`,
      ),
      MOST_SHOWN,
    );
    for (const line of shown) say(line, 4);
    if (more !== '') say(more, 4);
  };
  edges('who loses what, of the record', effect.cut);
  edges('would still connect', effect.open);
  edges('others that would be cut', effect.beyond);
  for (const { code, severity, subject, message } of findings) say(`${code} ${severity} ${subject}: ${message}`);
  for (const remark of remarks) say(remark);
  if (byHand.length > 0) say('by hand:');
  for (const line of byHand) output.line(`    ${safeText(line)}`);
}

/** An incident as it is listed: a run, what a rule set off, or both. */
interface Listed {
  readonly answered?: Answered;
  readonly trigger?: TriggerRecord;
}

async function listed(app: App): Promise<readonly Listed[]> {
  const { reader } = await app.state();
  const answered = readAnswered(reader);
  const records = new Map(reader.triggered().map((one) => [one.id, one]));
  const runs = answered.map((one): Listed => {
    const trigger = records.get(one.mark.id);
    return { answered: one, ...(trigger === undefined ? {} : { trigger }) };
  });
  const known = new Set(answered.map(({ mark }) => mark.id));
  const others = [...records.values()].filter(({ id }) => !known.has(id)).map((trigger): Listed => ({ trigger }));
  return sortBy([...runs, ...others], (one) => new Date(aboutOf(one).at).toISOString());
}

function aboutOf({ answered, trigger }: Listed): Omit<IncidentMark, 'playbook'> & {
  readonly playbook: string;
  readonly run: string | null;
  readonly namespace: string;
  readonly state: string;
} {
  if (answered !== undefined) {
    const { mark, run, state } = answered;
    return { ...mark, run: run.id, namespace: run.namespace, state };
  }
  if (trigger === undefined) throw new Error('an incident is a run or a record');
  return {
    id: trigger.id,
    playbook: trigger.does,
    subject: trigger.subject,
    reason: trigger.notice.text,
    at: trigger.at,
    rule: trigger.rule,
    run: null,
    namespace: trigger.namespace,
    state: stateOfRecord(trigger, undefined),
  };
}

/** What a rule knew and was held to, for documents. */
function triggerDocument(trigger: TriggerRecord | undefined): object {
  if (trigger === undefined) return {};
  const { rule, how, outcome, why, limits, notice, confirmedBy } = trigger;
  return {
    trigger: {
      rule,
      how,
      outcome,
      why,
      limits,
      notice: { ...notice, at: new Date(notice.at).toISOString() },
      confirmedBy: confirmedBy ?? null,
    },
  };
}

async function list(app: App): Promise<number> {
  const all = await listed(app);
  const stop = readStop((await app.state()).file);
  app.output.document('Incidents', {
    incidents: all.map((one) => ({ ...aboutOf(one), ...triggerDocument(one.trigger) })),
    stopped: stop ?? null,
  });
  app.output.names(all.map((one) => aboutOf(one).id));
  if (stop !== undefined) app.output.line(wrap(safeText(stop), app.output.width, 4));
  if (all.length === 0) app.output.line('No incident is on record.');
  for (const one of all) {
    const { id, at, playbook, subject, state, namespace, reason } = aboutOf(one);
    const by = one.trigger === undefined ? '' : `, rule ${one.trigger.rule}`;
    app.output.line(
      wrap(
        safeText(
          `${id}  ${new Date(at).toISOString()}  ${playbook} ${subject} (${state}, ${namespace}${by}): ${reason}`,
        ),
        app.output.width,
        4,
      ),
    );
  }
  const waiting = all.find((one) => aboutOf(one).state === 'proposed');
  if (waiting !== undefined)
    app.output.line(`Next: sallyport incident run ${aboutOf(waiting).id}, or incident dismiss`);
  return EXIT.done;
}

async function findListed(app: App, id: string): Promise<Listed> {
  const all = await listed(app);
  const found = all.find((one) => aboutOf(one).id === id || one.answered?.run.id === id);
  if (found !== undefined) return found;
  throw wrongUse(`there is no incident ${id}`, all.length === 0 ? 'none is on record' : 'sallyport incident list');
}

/** One that was carried out. Errors: SP661 for a proposal. */
async function find(app: App, id: string): Promise<Answered> {
  const { answered } = await findListed(app, id);
  if (answered !== undefined) return answered;
  throw notAProposal(
    `${id} was not carried out: there is nothing to take back`,
    id,
    `sallyport incident dismiss ${id} lets the proposal go`,
  );
}

/** What happened, in order, as Markdown for the post-mortem. */
async function show(app: App, id: string, options: IncidentOptions): Promise<number> {
  const found = await findListed(app, id);
  const about = aboutOf(found);
  const { reader } = await app.state();
  const run = found.answered?.run.id;
  const runs =
    run === undefined
      ? []
      : reader.runs().filter((one) => one.id === run || reader.run(one.id)?.plan.incident?.undoes === run);
  const ids = new Set(runs.map((one) => one.id));
  const entries = reader
    .audit()
    .filter(
      (entry) =>
        (entry.run !== undefined && ids.has(entry.run)) ||
        (found.trigger !== undefined && entry.run === undefined && entry.reason.startsWith(`${about.id} `)),
    );
  const steps = runs.flatMap((one) => reader.stepsOf(one.id));
  const isOwed = readOwed(reader).some(({ mark }) => mark.id === about.id);
  const isMarkdown = options.output === 'md';
  const text = renderTimeline(about, about.state, runs, entries, steps, found.trigger, !isMarkdown);
  if (isMarkdown) app.output.raw(text);
  else {
    app.output.document('IncidentTimeline', {
      incident: { ...about, ...triggerDocument(found.trigger) },
      drainOwed: isOwed,
      entries: entries.map(({ at, who, what, object, reason, run: of }) => ({
        at: new Date(at).toISOString(),
        who,
        what,
        object,
        reason,
        run: of ?? null,
      })),
    });
    app.output.line(safeTextLines(text));
  }
  if (isOwed)
    app.output.note(
      `Connections were to be ended, and not all proxies were told: sallyport resume, or incident connections ${about.id}`,
    );
  return EXIT.done;
}

function safeTextLines(text: string): string {
  return text.split('\n').map(safeText).join('\n').trimEnd();
}

/** What no undo gives back: said where one undoes the rest. */
function lostForGood(audit: readonly AuditEntry[], run: string, mine: readonly AppliedStep[]): readonly string[] {
  const pods = mine.flatMap(({ change }) =>
    change.kind === 'delete' && change.ref.kind === 'Pod' ? [change.ref.name] : [],
  );
  const of = (what: string): readonly string[] => [
    ...new Set(audit.filter((entry) => entry.run === run && entry.what === what).map(({ object }) => object)),
  ];
  const proxies = of('incident drain: ended');
  const begun = [...of('incident drain begins'), ...of('incident drain: unknown')];
  const failed = new Set(of('incident drain: failed'));
  // Told, or under way when the process was killed.
  const unsure = [...new Set(begun)].filter((one) => !proxies.includes(one) && !failed.has(one));
  const named = (list: readonly string[]): string =>
    `${few(list, 3).shown.join(', ')}${list.length > 3 ? ` and ${list.length - 3} more` : ''}`;
  return [
    ...(pods.length === 0
      ? []
      : [`${named(pods)} ${pods.length === 1 ? 'is' : 'are'} gone for good: pods come from their controller`]),
    ...(proxies.length === 0
      ? []
      : [
          `connections through the proxies of ${named(proxies)} were ended, and stay so; a proxy that did not start again takes its pod's deletion`,
        ]),
    ...(unsure.length === 0 ? [] : [`connections through the proxies of ${named(unsure)} may have been ended`]),
  ];
}

/** Takes an answer back, newest step first, simulated like any way back. */
async function undo(app: App, id: string, options: IncidentOptions, prompts: Prompts | undefined): Promise<number> {
  const { run, mark, state } = await find(app, id);
  if (mark.playbook === 'rotate')
    throw new Failure({
      code: 'SP498',
      exit: EXIT.usage,
      message: `${mark.id} rotated credentials, and there is no way back: the old ones are gone`,
      where: mark.subject,
      hint: 'if pods do not start, look at kubectl get events',
    });
  if (state === 'interrupted')
    throw new Failure({
      code: 'SP499',
      exit: EXIT.refused,
      message: `run ${run.id} of ${mark.id} was interrupted and is not finished`,
      hint: 'sallyport resume finishes it; then undo it',
    });
  const loaded = await loadAll(app);
  const { reader } = await app.state();
  const view = loaded.view(run.namespace);
  const mine: readonly AppliedStep[] = view.applied
    .filter((step) => step.run === run.id)
    .toSorted((a, b) => b.seq - a.seq);
  const now = view.phases.get(run.namespace) ?? 'none';
  // Pods that have ended meanwhile have nothing to get back.
  const first = planRollback(view, now, loaded.planner, new Map(), mine);
  const decided = resolutionsOf(first.divergences, view.resolved ?? []);
  const { plan: made, divergences } =
    decided.size === 0 ? first : planRollback(view, now, loaded.planner, decided, mine);
  if (divergences.length > 0) throw foreignChange(divergences);
  const back: IncidentMark = {
    id: mark.id,
    playbook: mark.playbook,
    subject: mark.subject,
    ...(mark.rule === undefined ? {} : { rule: mark.rule }),
    at: Date.now(),
    undoes: run.id,
    reason: options.reason?.trim() ?? 'no reason given',
  };
  const plan: Plan = { ...made, gates: [], findings: [], incident: back };
  const playbook: Playbook = {
    steps: plan.steps,
    findings: [],
    effect: { cut: [], beyond: [], open: [], pairsBeyond: [], pairsOpened: [] },
    remarks: [
      ...(plan.steps.length === 0 ? ['nothing of it is in force any more'] : []),
      ...lostForGood(reader.audit(), run.id, mine),
    ],
    byHand: [],
  };
  render(app, back, plan, playbook);
  if (plan.steps.length === 0) {
    // Undone before: a run of nothing would only lengthen the timeline.
    document(app, back, plan, playbook, undefined);
    return EXIT.done;
  }
  if (options.dryRun !== false) {
    document(app, back, plan, playbook, undefined);
    app.output.line('\nNothing was written. To do it: the same command with --no-dry-run');
    return EXIT.done;
  }
  await refuseOpenRun(app, run.namespace);
  await assertMayWrite(await app.target(), plan.steps, run.namespace, 'responder');
  await confirm(app, 'undo', plan, options, false, prompts);
  const result = await withEngine(app, plan.steps, (engine) => executePlan(plan, 'rollback', engine));
  await note(app, back, result.run, `incident undo`);
  return ended(app, back, plan, playbook, result);
}
