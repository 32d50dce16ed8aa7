import { hostname } from 'node:os';
import { statSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import type { App } from '../context.ts';
import { kubeOptions, openApp } from '../context.ts';
import { isOver } from '../interrupt.ts';
import { loadAll } from '../load.ts';
import { followRequest, parseDuration } from '../observe-followed.ts';
import { followFlows } from '../observe-follow.ts';
import type { Output } from '../output.ts';
import { openSignals } from '../signals.ts';
import type { Telemetry } from '../telemetry.ts';
import { openTelemetry } from '../telemetry.ts';
import { followCluster } from '../watch-cluster.ts';
import { noticeLine, renderPage, triggerLine, triggerText, watchLine } from '../watch-page.ts';
import { readFired, readUnrecorded, strangersOf } from '../fired.ts';
import { readStop } from '../kill-switch.ts';
import type { Probed } from '../probe.ts';
import { allowedPairs, publishing, runProbes } from '../probe.ts';
import { probeOnSchedule, probeSchedule } from '../watch-probes.ts';
import type { Carried, Responder } from '../watch-respond.ts';
import { openResponder } from '../watch-respond.ts';
import { serveWatch, wrongWatch } from '../watch-serve.ts';
import { openRightsCheck } from '../watch-rights.ts';
import { openPutBack, overdueExperiments } from '../watch-chaos.ts';
import { endSoak, quietOutput } from '../watch-soak.ts';
import { openWatcher } from '../watcher.ts';
import type { Watcher, WatchLoad } from '../watcher.ts';
import { incident, newIncidentId } from './incident.ts';
import { readAppliedPatterns } from '../applied-patterns.ts';
import { judgeNamespaces, namespacesUnderWay } from './verify.ts';
import type { Clock, Signals, Target } from '../../engine/contract.ts';
import type { Flow } from '../../model/flow.ts';
import { grantObjects, podsOfRole } from '../../model/grant.ts';
import type { Inventory, Snapshot } from '../../model/inventory.ts';
import type { TriggerRecord } from '../../model/trigger.ts';
import type { KubeManifest } from '../../model/object.ts';
import { refKey, refOf } from '../../model/object.ts';
import { endpointNamespace } from '../../model/edge.ts';
import type { Sighting } from '../../plan/soak.ts';
import { keptEdges } from '../../readiness/view.ts';
import { systemClock } from '../../shared/io/clock.ts';
import { EXIT, isFailure } from '../../shared/pure/errors.ts';
import { groupBy, sortBy } from '../../shared/pure/order.ts';
import { safeText } from '../../shared/pure/text.ts';
import { connectKube, openDiscovery, readBeside } from '../../sources/kube/index.ts';
import type { Discovery, KubeApi } from '../../sources/kube/index.ts';
import { findSource, FLOW_SOURCES } from '../../sources/registry.ts';
import { acquireNamed } from '../../targets/lease.ts';
import type { Notice } from '../../watch/notice.ts';
import { findObject } from '../../watch/objects.ts';
import { stopOf } from '../../watch/trigger-world.ts';
import { openState } from '../../../state/open.ts';
import type { WatchedGrant, WatchState } from '../../watch/state.ts';

export interface WatchOptions {
  readonly output?: string;
  readonly listen?: string;
  /** The namespace of the Lease by which one of several leads. */
  readonly lead?: string;
  readonly for?: string;
  /** Carry out what rules of the configuration say, within their limits. */
  readonly act?: boolean;
  /** Commander's `--no-soak`: runs that soak are left alone. */
  readonly soak?: boolean;
}

const TURN_MS = 1_000;
/** A page is drawn again so often where nothing is told. */
const DRAW_MS = 2_000;
/** A loop that did nothing for so long hangs. */
const HUNG_MS = 10 * 60_000;
const RENEW_MS = 15_000;
const STANDBY_MS = 2_000;
/** A source of flows that ended by a failure is opened again after so long. */
const REOPEN_MS = 30_000;
/** Records between two looks: beyond it the oldest are not looked at, and it is said. */
const MOST_INBOX = 100_000;
const MOST_LATEST = 100;
/** Lines of what rules set off that a page shows. */
const MOST_NEWS = 5;

/**
 * Follows cluster and flows until Ctrl-C, SIGTERM or `--for`, and tells what is noticed: lines of JSON, or on a terminal a page. It writes edges
 * of followed flows to the state, ends runs that soak, and takes experiments back that are overdue; nothing else. Exit 0 at the end, 3 where another took the lead.
 */
export async function watch(
  app: App,
  source: string | undefined,
  inputs: readonly string[],
  options: WatchOptions,
): Promise<number> {
  const { output } = app;
  if (app.options.manifests !== undefined)
    throw wrongWatch(
      'nothing in a directory changes by itself',
      'watch --manifests',
      'watch a cluster: leave --manifests out',
    );
  if (output.json)
    throw wrongWatch(
      'a document is printed once, and a watch never ends',
      'watch --json',
      'sallyport watch -o jsonl prints a line of JSON for each notice',
    );
  return app.interrupt.during(() => run(app, source, inputs, options));
}

async function run(
  app: App,
  source: string | undefined,
  inputs: readonly string[],
  options: WatchOptions,
): Promise<number> {
  const clock = systemClock;
  const stop = new AbortController();
  const onInterrupt = (): void => stop.abort(new Error('stopped'));
  if (app.interrupt.signal.aborted) onInterrupt();
  else app.interrupt.signal.addEventListener('abort', onInterrupt, { once: true });
  const forMs = options.for === undefined ? undefined : parseDuration(options.for);
  if (forMs !== undefined) clock.sleep(forMs, stop.signal).then(onInterrupt, () => undefined);

  const config = await app.config();
  const acts = options.act === true || config.triggers?.act === true;
  if (acts && options.lead === undefined)
    throw wrongWatch(
      'a watch that acts leads by a Lease: two that act would each have the limits',
      'watch --act',
      'add --lead NAMESPACE',
    );
  const schedule = probeSchedule(config, clock.now());

  const telemetry = openTelemetry();
  const speaker = openSpeaker(app, options);
  let watcher: Watcher | undefined;
  let standby = options.lead !== undefined;
  const health = (): string | undefined => {
    const last = watcher?.health().lastTurn;
    return last !== undefined && clock.now() - last > HUNG_MS
      ? `nothing was done since ${new Date(last).toISOString()}`
      : undefined;
  };
  const server =
    options.listen === undefined
      ? undefined
      : await serveWatch(options.listen, {
          health,
          ready: () => {
            if (stop.signal.aborted) return 'ending';
            // One that waits for the lead is ready to take it.
            if (standby) return undefined;
            return watcher?.health().ready === true ? undefined : 'reading the cluster';
          },
          metrics: () => telemetry.render(),
          metricsType: telemetry.contentType,
        });
  const api = await connectKube({ ...kubeOptions(app.options, app.env), clock });
  let lead: Lead | undefined;
  let responder: Responder | undefined;
  try {
    if (options.lead !== undefined) {
      lead = await takeLead(app, api, clock, options.lead, stop);
      if (lead === undefined) return EXIT.done;
      standby = false;
    }
    telemetry.leads(true);
    const latency = await readLatencies(app);
    const world: World = { app, api, discovery: openDiscovery(api), clock, stop };
    const flows = await openFlows(world, source, inputs, () => watcher, speaker);
    const opened = await openWorld(
      world,
      flows.signals,
      (notice) => {
        telemetry.told(notice);
        speaker.tell(notice);
        responder?.notice(notice);
      },
      (sightings) => telemetry.sighted(sightings),
      options.soak !== false,
    );
    watcher = opened;
    responder = await openResponses(world, opened, { acts, own: options.lead, lead, telemetry, speaker });
    telemetry.attach({
      state: opened.state,
      health: opened.health,
      gates: opened.gates,
      latency,
      clock,
      process: true,
    });
    speaker.begin(opened, (await app.target()).description);
    let failure: unknown;
    const failed = (error: unknown): void => {
      if (stop.signal.aborted && !isFailure(error)) return;
      failure ??= error;
      stop.abort(error);
    };
    const following = followCluster({
      api,
      clock,
      signal: stop.signal,
      emit: (event) => opened.take(event),
      note: (text) => speaker.note(text),
    }).catch(failed);
    const reading = flows.run().catch(failed);
    const probing =
      schedule === undefined
        ? Promise.resolve()
        : probeOnSchedule({
            schedule,
            clock,
            signal: stop.signal,
            isReady: () => opened.health().ready,
            probe: () => probeOnce(world, opened.state(), schedule.file, (text) => speaker.note(text)),
            take: opened.take,
            probed: telemetry.probed,
            note: (text) => speaker.note(text),
          }).catch(failed);
    while (!stop.signal.aborted) {
      try {
        await opened.turn();
        await responder?.turn(opened.state());
      } catch (error) {
        failed(error);
        break;
      }
      speaker.draw();
      await clock.sleep(TURN_MS, stop.signal).catch(() => undefined);
    }
    await Promise.all([following, reading, probing]);
    await flows.close();
    if (failure !== undefined) throw failure as Error;
    speaker.end();
    return EXIT.done;
  } finally {
    app.interrupt.signal.removeEventListener('abort', onInterrupt);
    if (!stop.signal.aborted) stop.abort(new Error('over'));
    await lead?.release();
    await server?.close();
    api.close();
  }
}

export interface World {
  readonly app: App;
  readonly api: KubeApi;
  readonly discovery: Discovery;
  readonly clock: Clock;
  readonly stop: AbortController;
}

async function readLatencies(app: App) {
  const { assess } = await app.config();
  if (assess?.latency === undefined) return [];
  const { readLatency } = await import('../config.ts');
  return readLatency(assess.latency);
}

/** What all objects of the watch amount to as a snapshot. */
async function snapshotOf(state: WatchState, { api, discovery }: Pick<World, 'api' | 'discovery'>): Promise<Snapshot> {
  const objects: KubeManifest[] = [];
  for (const own of state.objects.values()) for (const object of own.values()) objects.push(object);
  const beside = await readBeside({ api, discovery }, objects);
  const fresh = new Map(beside.objects.map((object) => [refKey(refOf(object)), object]));
  return {
    source: 'cluster',
    objects: sortBy([...objects.filter((object) => !fresh.has(refKey(refOf(object)))), ...fresh.values()], (object) =>
      refKey(refOf(object)),
    ),
    origins: new Map(),
    findings: beside.findings,
    unread: [...beside.unread],
  };
}

/** An app that answers for the cluster from what the watch knows, and says nothing by itself. */
function appOver(app: App, snapshot: () => Promise<Snapshot>, note: (text: string) => void): App {
  const target = async (): Promise<Target> => ({ ...(await app.target()), readSnapshot: snapshot });
  return { ...app, target, output: quietOutput(app.output, note) };
}

/** A watch of the cluster without its surroundings. */
export async function openWorld(
  world: World,
  signals: Signals | undefined,
  tell: (notice: Notice) => void,
  sighted: (sightings: readonly Sighting[]) => void,
  endsSoaks: boolean,
): Promise<Watcher> {
  const { app, clock } = world;
  const { path } = await app.stateFile();
  return openWatcher({
    config: await app.config(),
    clock,
    recordVersion: () => [path, `${path}-wal`, app.options.decisions ?? ''].map(stampOf).join(' '),
    load: (state) => loadWatch(world, state),
    ...(signals === undefined ? {} : { signals }),
    soaking: async () => {
      if (!endsSoaks) return [];
      const { reader } = await app.state();
      return reader
        .openHeads()
        .filter((run) => reader.soakOf(run.id)?.left === true)
        .map((run) => ({ run: run.id, namespace: run.namespace }));
    },
    endSoak: async (run) => {
      // An app of its own: it holds the state for writing for that long, and not longer.
      const own = openApp(
        app.options,
        quietOutput(app.output, () => undefined),
        app.env,
        app.interrupt,
      );
      try {
        return await endSoak(own, run);
      } finally {
        await own.close();
      }
    },
    overdue: async () => overdueExperiments((await app.state()).reader, clock.now()),
    ...(endsSoaks
      ? {
          putBack: openPutBack(
            () =>
              openApp(
                app.options,
                quietOutput(app.output, () => undefined),
                app.env,
                app.interrupt,
              ),
            () => clock.now(),
          ),
        }
      : {}),
    tell,
    sighted,
  });
}

function stampOf(file: string): string {
  if (file === '') return '';
  try {
    const { mtimeMs, size, ino } = statSync(file);
    return `${ino}:${size}:${mtimeMs}`;
  } catch {
    // Not there: that it comes is a change.
    return '-';
  }
}

async function loadWatch(world: World, state: WatchState): Promise<WatchLoad> {
  const loaded = await loadAll(
    appOver(
      world.app,
      () => snapshotOf(state, world),
      () => undefined,
    ),
  );
  const view = loaded.view('');
  const patterns = await readAppliedPatterns(view.applied);
  return {
    inventory: loaded.inventory,
    record: {
      phases: view.phases,
      applied: view.applied,
      resolved: view.resolved ?? [],
      edges: view.edges,
      kept: keptEdges(view.edges),
    },
    grants: grantsOf(loaded.snapshot.objects),
    judge: (records) => {
      const byNamespace = new Map<string, Sighting[]>();
      for (const record of records)
        for (const namespace of new Set([record.key.src, record.key.dst].map(endpointNamespace))) {
          if (namespace === undefined) continue;
          const list = byNamespace.get(namespace);
          if (list === undefined) byNamespace.set(namespace, [record]);
          else list.push(record);
        }
      return judgeNamespaces(loaded, namespacesUnderWay(loaded), byNamespace, patterns);
    },
  };
}

/** Temporary permissions by their objects: one whose end cannot be read is over. */
function grantsOf(objects: readonly KubeManifest[]): readonly WatchedGrant[] {
  return [...groupBy(grantObjects(objects), ({ id }) => id)].map(([id, own]) => {
    const pods = own.flatMap(({ object }) => podsOfRole(object));
    return {
      id,
      namespace: own[0]?.ref.namespace ?? '',
      text: own[0]?.text === undefined || own[0].text === '' ? `grant ${id}` : own[0].text,
      expires: Math.min(...own.map(({ end }) => end ?? 0)),
      ...(pods.length === 0 ? {} : { pods }),
    };
  });
}

interface Flows {
  readonly signals: Signals | undefined;
  /** Follows what the command line named, until the end. */
  run(): Promise<void>;
  close(): Promise<void>;
}

/** The signals of the configuration, and what the command line names: that one is put on record as well, as `observe --follow` does. */
async function openFlows(
  world: World,
  source: string | undefined,
  inputs: readonly string[],
  watcher: () => Watcher | undefined,
  speaker: Speaker,
): Promise<Flows> {
  const { app, clock, stop } = world;
  const { soak } = await app.config();
  if (source === undefined && soak.signals.length === 0)
    return { signals: undefined, run: () => Promise.resolve(), close: () => Promise.resolve() };
  const inbox: { readonly flow: Flow; readonly where: string }[] = [];
  let dropped = 0;
  const snapshot = async (): Promise<Snapshot> => {
    const state = watcher()?.state();
    return state?.ready === true ? snapshotOf(state, world) : (await app.target()).readSnapshot();
  };
  const quiet = appOver(app, snapshot, (text) => speaker.note(text));
  const loaded = await loadAll(quiet);
  const signals = await openSignals({
    configs: soak.signals,
    position: undefined,
    inventory: loaded.inventory,
    reread: async (): Promise<Inventory> => loaded.rebuild(await snapshot()),
    clock,
    inbox: () => {
      if (dropped > 0)
        speaker.note(`${dropped} records came faster than they could be looked at, and are on record alone`);
      dropped = 0;
      return inbox.splice(0);
    },
  });
  const run = async (): Promise<void> => {
    if (source === undefined) return;
    const found = findSource(source);
    if (found === undefined)
      throw wrongWatch(
        `there is no source of flows called ${safeText(source)}`,
        'watch',
        `one of: ${FLOW_SOURCES.map((one) => one.name).join(', ')}`,
      );
    if (inputs.length === 0)
      throw wrongWatch(`what of ${found.name} is to be followed is not said`, 'watch', `for example: ${found.example}`);
    const request = await followRequest(app, found, inputs, { follow: true });
    const of = `${found.name} ${inputs.join(' ')}`;
    while (!stop.signal.aborted) {
      let why = 'it ended';
      try {
        const following = followFlows(
          { ...quiet, interrupt: { ...app.interrupt, signal: stop.signal, during: (work) => work() } },
          {
            ...request,
            onFlow: (flow, where) => {
              if (inbox.length < MOST_INBOX) inbox.push({ flow, where });
              else dropped += 1;
            },
          },
        );
        watcher()?.take({ kind: 'back', what: 'flows', of });
        await following;
      } catch (error) {
        if (!isFailure(error) || error.detail.exit === EXIT.usage) throw error;
        why = error.message;
      }
      if (isOver(stop.signal)) return;
      watcher()?.take({ kind: 'away', what: 'flows', of, why });
      await clock.sleep(REOPEN_MS, stop.signal).catch(() => undefined);
    }
  };
  return { signals, run, close: () => signals.close() };
}

interface Lead {
  /** Surely, by this machine's own clock. */
  isOpen(): boolean;
  release(): Promise<void>;
}

/** Waits for the lead, and keeps it until the stop. Undefined where the stop came first. A lead that is lost stops the watch with SP653. */
async function takeLead(
  app: App,
  api: KubeApi,
  clock: Clock,
  namespace: string,
  stop: AbortController,
): Promise<Lead | undefined> {
  // A pod's name is its host name; two processes on one machine differ by the rest.
  const holder = `${app.env['POD_NAME'] ?? hostname()}-${randomBytes(3).toString('hex')}`;
  const lease = { namespace, name: 'sallyport-watch', scope: 'the lead among watches' };
  let told = false;
  while (!stop.signal.aborted) {
    try {
      const hold = await acquireNamed(api, clock, [lease], holder);
      const renewing = (async () => {
        while (!stop.signal.aborted) {
          await clock.sleep(RENEW_MS, stop.signal).catch(() => undefined);
          if (isOver(stop.signal)) return;
          try {
            await hold.assertHeld();
          } catch (error) {
            // While it surely still runs, what passes is waited out.
            if (isFailure(error) && error.detail.nature !== 'hold-lost' && hold.isOpen()) continue;
            stop.abort(error);
          }
        }
      })();
      return {
        isOpen: () => hold.isOpen(),
        release: async () => {
          await renewing;
          await hold.release().catch(() => undefined);
          if (isFailure(stop.signal.reason) && stop.signal.reason.detail.code === 'SP653') throw stop.signal.reason;
        },
      };
    } catch (error) {
      if (!isFailure(error) || (error.detail.code !== 'SP652' && error.detail.nature !== 'passes')) throw error;
      if (!told) app.output.note(`waiting for the lead: ${error.message}`);
      told = true;
      await clock.sleep(STANDBY_MS, stop.signal).catch(() => undefined);
    }
  }
  return undefined;
}

interface Responses {
  readonly acts: boolean;
  readonly own: string | undefined;
  readonly lead: Lead | undefined;
  readonly telemetry: Telemetry;
  readonly speaker: Speaker;
}

/** What carries the rules of the configuration out; undefined where it has none. */
async function openResponses(
  world: World,
  watcher: Watcher,
  { acts, own, lead, telemetry, speaker }: Responses,
): Promise<Responder | undefined> {
  const { app, clock, stop } = world;
  const config = (await app.config()).triggers;
  if (config === undefined || config.rules.length === 0) return undefined;
  const { path, target } = await app.stateFile();
  const known = (): Iterable<KubeManifest> =>
    [...watcher.state().objects.values()].flatMap((list) => [...list.values()]);
  const responder = openResponder({
    config,
    now: () => clock.now(),
    acts,
    own,
    fired: async () => readFired((await app.state()).reader, known()),
    killed: async () => {
      const here = readStop(path);
      if (here !== undefined) return here;
      // Read anew: what is followed may be a moment behind.
      return stopOf(
        await (await app.target()).readObject({ apiVersion: 'v1', kind: 'Namespace', name: 'kube-system' }),
      );
    },
    leads: () => !stop.signal.aborted && (lead === undefined ? !acts : lead.isOpen()),
    newId: newIncidentId,
    save: (record, what) => {
      const state = openState(path, { target, mode: 'write', create: true });
      try {
        state.writer.saveTriggered(record, {
          at: clock.now(),
          who: app.by,
          what,
          object: record.subject,
          reason: `${record.id} (rule ${record.rule}): ${record.does}; ${[...record.why, ...record.limits, record.notice.text].join('; ')}`,
          ...(record.namespace === '' ? {} : { namespace: record.namespace }),
        });
      } finally {
        state.close();
      }
      return Promise.resolve();
    },
    carryOut: (record) => carryOutRecord(app, record, config.limits.cut),
    tell: (record) => {
      telemetry.triggered(record);
      speaker.triggered(record);
    },
    note: (text) => speaker.note(text),
  });
  const checkRights = openRightsCheck({
    config,
    own,
    clock,
    inventory: async () =>
      (
        await loadAll(
          appOver(
            app,
            () => snapshotOf(watcher.state(), world),
            () => undefined,
          ),
          { kind: 'none' },
        )
      ).inventory,
    target: () => app.target(),
    take: (event) => watcher.take(event),
  });
  let lookedAt: number | undefined;
  /** Objects that no record has are told before a rule meets them. What cannot be read now is looked at again. */
  const lookForStrangers = async (state: WatchState): Promise<void> => {
    if (!state.ready || (lookedAt !== undefined && clock.now() - lookedAt < STRANGERS_MS)) return;
    lookedAt = clock.now();
    try {
      const found = readUnrecorded((await app.state()).reader, known());
      watcher.take({ kind: 'strangers', found: strangersOf(found) });
    } catch (error) {
      if (!isFailure(error)) throw error;
    }
  };
  return {
    ...responder,
    turn: async (state) => {
      await lookForStrangers(state);
      if (acts && state.ready) await checkRights();
      const inCluster = stopOf(findObject(state.objects, KUBE_SYSTEM));
      telemetry.stopped((config.stop ?? readStop(path) ?? inCluster) !== undefined);
      await responder.turn(state);
    },
  };
}

/** A look over all objects: milliseconds where there are a hundred thousand. */
const STRANGERS_MS = 60_000;

const KUBE_SYSTEM: KubeManifest = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'kube-system' } };

/** By an app of its own, as the command does it and nobody is asked: the limits answered for the person. */
async function carryOutRecord(app: App, record: TriggerRecord, cut: number): Promise<Carried> {
  const own = openApp(
    { ...app.options, yes: true },
    quietOutput(app.output, () => undefined),
    app.env,
    app.interrupt,
  );
  try {
    const code = await incident(own, record.does, record.does === 'escalate' ? record.notice.text : record.subject, {
      dryRun: false,
      reason: `${record.rule}: ${record.notice.text}`,
      rule: record.rule,
      id: record.id,
      cap: String(cut),
      ...(record.namespace === '' ? {} : { namespace: record.namespace }),
    });
    return code === EXIT.done
      ? { outcome: 'done', why: [] }
      : { outcome: 'refused', why: [`it ended with exit ${code}: sallyport audit`] };
  } catch (error) {
    if (!isFailure(error)) throw error;
    return { outcome: 'refused', why: [`${error.detail.code} ${error.message}`] };
  } finally {
    await own.close();
  }
}

/** The pairs of the file, tried by pods that are gone afterwards. The configuration is the consent: it names image, namespaces and times. */
async function probeOnce(
  world: World,
  state: WatchState,
  file: string,
  note: (text: string) => void,
): Promise<readonly Probed[]> {
  const { app, api, clock, stop } = world;
  const config = (await app.config()).probe;
  if (config === undefined) return [];
  const pairs = await allowedPairs(file, config);
  const snapshot = await snapshotOf(state, world);
  const loaded = await loadAll(
    appOver(app, () => Promise.resolve(snapshot), note),
    { kind: 'none' },
  );
  const { path, target } = await app.stateFile();
  const run = `p${randomBytes(4).toString('hex')}`;
  return runProbes(pairs, loaded.inventory, publishing(loaded), {
    api,
    clock,
    image: config.image,
    run,
    signal: stop.signal,
    note,
    journal: (pod) => {
      const own = openState(path, { target, mode: 'write', create: true });
      try {
        own.writer.appendAudit({
          at: clock.now(),
          who: app.by,
          what: 'probe',
          object: `Pod ${pod}`,
          namespace: pod.split('/')[0] ?? '',
          reason: `watch, on schedule, run ${run}`,
        });
      } finally {
        own.close();
      }
    },
  });
}

interface Speaker {
  begin(watcher: Watcher, description: string): void;
  tell(notice: Notice): void;
  note(text: string): void;
  triggered(record: TriggerRecord): void;
  draw(): void;
  end(): void;
}

const HOME_AND_CLEAR = '\u001b[H\u001b[2J';

/** Lines of JSON for programs; a page that draws over itself for people. */
function openSpeaker(app: App, options: WatchOptions): Speaker {
  const { output } = app;
  const isPage = options.output === undefined && output.interactive && app.env['TERM'] !== 'dumb';
  return isPage ? pageSpeaker(output) : lineSpeaker(output);
}

function lineSpeaker(output: Output): Speaker {
  return {
    begin: (_, description) => output.raw(`${watchLine(Date.now(), 'watching', { target: description })}\n`),
    tell: (notice) => output.raw(`${noticeLine(notice)}\n`),
    note: (text) => output.raw(`${watchLine(Date.now(), 'note', { text })}\n`),
    triggered: (record) => output.raw(`${triggerLine(record)}\n`),
    draw: () => undefined,
    end: () => output.raw(`${watchLine(Date.now(), 'ended', {})}\n`),
  };
}

function pageSpeaker(output: Output): Speaker {
  let watcher: Watcher | undefined;
  let description = '';
  let drawnAt = 0;
  let isNews = true;
  const latest: Notice[] = [];
  const news: string[] = [];
  return {
    begin: (opened, of) => {
      watcher = opened;
      description = of;
    },
    tell: (notice) => {
      latest.push(notice);
      if (latest.length > MOST_LATEST) latest.shift();
      isNews = true;
    },
    note: () => undefined,
    triggered: (record) => {
      news.push(triggerText(record));
      if (news.length > MOST_NEWS) news.shift();
      isNews = true;
    },
    draw: () => {
      const now = Date.now();
      if (watcher === undefined || (!isNews && now - drawnAt < DRAW_MS)) return;
      drawnAt = now;
      isNews = false;
      const rows = process.stdout.rows || 24;
      const lines = renderPage(output, {
        state: watcher.state(),
        health: watcher.health(),
        latest,
        triggered: news,
        now,
        rows,
        description,
      });
      output.raw(`${HOME_AND_CLEAR}${lines.slice(0, rows - 1).join('\n')}\n`);
    },
    end: () => undefined,
  };
}
