// A day of a cluster in seconds: pods come and go, flows come in, and now and then something happens that a watch has to notice. The clock is
// the test's own; everything else is the watcher of the program.
import { judgeNamespaces } from '../../src/cli/commands/verify.ts';
import type { Loaded } from '../../src/cli/load.ts';
import type { SoakEnd, WatchLoad, Watcher } from '../../src/cli/watcher.ts';
import { openWatcher } from '../../src/cli/watcher.ts';
import type { SignalLook } from '../../src/engine/contract.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { PhaseName } from '../../src/model/phase.ts';
import type { Sighting } from '../../src/plan/soak.ts';
import { endpointNamespace } from '../../src/model/edge.ts';
import type { Notice } from '../../src/watch/notice.ts';
import type { WatchRecord, WatchState, WatchedGrant } from '../../src/watch/state.ts';
import { CONFIG, viewOf } from '../support/rig.ts';
import {
  A_NAMESPACE,
  START,
  byKind,
  deploymentOf,
  edgeOf,
  generate,
  idOf,
  ipOf,
  nameOf,
  namespaceOf,
  podOf,
  policyOf,
  sightingOf,
} from './world.ts';

const NP = 'networking.k8s.io/v1 NetworkPolicy';
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** Something that happens, and what has to be told of it, and not later than `within`. */
export interface Injected {
  readonly name: string;
  readonly at: number;
  readonly within: number;
  readonly expects: (notice: Notice) => boolean;
  /** Told as well, and right. */
  readonly beside?: (notice: Notice) => boolean;
}

export interface Told {
  readonly name: string;
  readonly at: number;
  /** Milliseconds until it was told; undefined: never. */
  readonly afterMs: number | undefined;
  readonly within: number;
  readonly text: string;
}

export interface DayReport {
  readonly workloads: number;
  readonly events: number;
  readonly sightings: number;
  readonly loads: number;
  readonly told: readonly Told[];
  /** Raised, and nothing that happened accounts for it. */
  readonly wrong: readonly Notice[];
  /** Open at the end. */
  readonly open: readonly Notice[];
  /** MiB of heap after a collection, at the end of each sixth of the time; empty where nothing collects. */
  readonly heapMiB: readonly number[];
  /** The longest that taking one event took, and the mean, milliseconds. */
  readonly longestMs: number;
  readonly meanMs: number;
}

export interface DayOptions {
  readonly namespaces: number;
  readonly days: number;
  /** Seconds between two turns. */
  readonly stepSec: number;
  /** Attacks on the answers themselves, with rules that act (test/watch/siege.ts). */
  readonly siege?: (stage: Stage) => Siege;
  readonly collect?: () => void;
  readonly onHour?: (hour: number, heapMiB: number) => void;
}

/** What a siege plays on. */
export interface Stage {
  readonly now: () => number;
  readonly namespaces: number;
  readonly happen: (
    name: string,
    at: number,
    within: number,
    run: () => void,
    expects: Injected['expects'],
    beside?: Injected['beside'],
  ) => void;
  readonly later: (at: number, run: () => void) => void;
  /** Denied connections, as flows bring them at the next look. */
  readonly push: (sightings: readonly Sighting[]) => void;
  readonly setRecord: (change: (record: WatchRecord) => WatchRecord) => void;
  readonly open: () => readonly Notice[];
  readonly watcher: () => Watcher;
}

export interface Siege {
  readonly notice: (notice: Notice) => void;
  readonly turn: (state: WatchState) => Promise<void>;
  /** What flows brought, as the watch hands it on. */
  readonly sighted?: (sightings: readonly Sighting[]) => void;
}

interface Script {
  readonly at: number;
  readonly run: () => void;
}

/** Numbers as good as by chance, the same each time. */
function makeRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

export async function runDay(options: DayOptions): Promise<DayReport> {
  const { namespaces, days, stepSec } = options;
  const { objects, record: first } = generate(namespaces);
  const random = makeRandom(7);
  let now = START;
  let record: WatchRecord = first;
  let version = 1;
  let grants: readonly WatchedGrant[] = [];
  let soaking: readonly { run: string; namespace: string }[] = [];
  let ends: ReadonlyMap<string, SoakEnd> = new Map();
  let inbox: Sighting[] = [];
  let gaps: string[] = [];
  const live = new Map(objects.map((object) => [keyOf(object), object]));
  const notices: Notice[] = [];
  let events = 0;
  let spentMs = 0;
  let longestMs = 0;
  let sightings = 0;
  let isAway = false;

  const load = (state: WatchState): Promise<WatchLoad> => {
    const all = [...state.objects.values()].flatMap((own) => [...own.values()]);
    const snapshot = { source: 'cluster' as const, objects: all, origins: new Map(), findings: [], unread: [] };
    const view = viewOf(snapshot, '', { edges: record.edges }, record);
    const { inventory } = view;
    const loaded = {
      view: (namespace: string) => ({ ...view, namespace, now }),
      config: CONFIG,
      inventory,
      snapshot,
    } as unknown as Loaded;
    return Promise.resolve({
      inventory: view.inventory,
      record,
      grants,
      judge: (records) => {
        const by = new Map<string, Sighting[]>();
        for (const one of records)
          for (const namespace of new Set([one.key.src, one.key.dst].map(endpointNamespace)))
            if (namespace !== undefined) by.set(namespace, [...(by.get(namespace) ?? []), one]);
        // A namespace without records says the same as before: the gates of a few stand for all.
        return judgeNamespaces(loaded, [namespaceOf(0), namespaceOf(1)], by).map(({ namespace, gates }) => ({
          namespace,
          gates: gates.filter(({ id }) => ['enforcement', 'plaintext', 'denies-observed'].includes(id)),
        }));
      },
    });
  };
  const sieges: Siege[] = [];
  const watcher: Watcher = openWatcher({
    config: CONFIG,
    clock: { now: () => now, sleep: () => Promise.resolve() },
    recordVersion: () => String(version),
    load,
    signals: {
      look: (): Promise<SignalLook> => {
        const look = { more: false, sightings: inbox, gaps, signals: [] };
        inbox = [];
        gaps = [];
        return Promise.resolve(look);
      },
    },
    soaking: () => Promise.resolve(soaking),
    endSoak: (run) => {
      const end = ends.get(run) ?? { outcome: 'soaking' as const, phase: 'none' as PhaseName, text: '' };
      if (end.outcome !== 'soaking') soaking = soaking.filter((one) => one.run !== run);
      return Promise.resolve(end);
    },
    tell: (notice) => {
      notices.push(notice);
      for (const siege of sieges) siege.notice(notice);
    },
    sighted: (list) => {
      sightings += list.length;
      for (const siege of sieges) siege.sighted?.(list);
    },
  });
  const take = (event: Parameters<Watcher['take']>[0]): void => {
    events += 1;
    const begun = performance.now();
    watcher.take(event);
    const took = performance.now() - begun;
    spentMs += took;
    longestMs = Math.max(longestMs, took);
  };
  let revision = 1;
  const put = (object: KubeManifest): void => {
    revision += 1;
    const fresh = { ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } };
    live.set(keyOf(object), fresh);
    // While a watch is away nobody hears of it.
    if (!(isAway && object.kind === 'NetworkPolicy'))
      take({ kind: 'put', of: `${object.apiVersion} ${object.kind}`, object: fresh });
  };
  const remove = (object: KubeManifest): void => {
    live.delete(keyOf(object));
    if (!(isAway && object.kind === 'NetworkPolicy'))
      take({ kind: 'gone', of: `${object.apiVersion} ${object.kind}`, object });
  };

  const kinds = byKind(objects);
  take({ kind: 'expect', kinds: [...kinds.keys()] });
  for (const [of, list] of kinds) watcher.take({ kind: 'listed', of, objects: list });
  await watcher.turn();

  const injected: Injected[] = [];
  const script: Script[] = [];
  const happen = (
    name: string,
    at: number,
    within: number,
    run: () => void,
    expects: Injected['expects'],
    beside?: Injected['beside'],
  ): void => {
    injected.push({ name, at: START + at, within, expects, ...(beside === undefined ? {} : { beside }) });
    script.push({ at: START + at, run });
  };
  const later = (at: number, run: () => void): void => void script.push({ at: START + at, run });
  const changed = (object: KubeManifest, spec: object): KubeManifest => ({
    ...object,
    spec: { ...(object['spec'] as object), ...spec },
  });
  const isOf =
    (kind: Notice['kind'], subject: string) =>
    (notice: Notice): boolean =>
      notice.kind === kind && notice.subject.includes(subject);
  const any =
    (...tests: readonly Injected['expects'][]) =>
    (notice: Notice): boolean =>
      tests.some((test) => test(notice));

  for (let day = 0; day < days; day += 1) {
    const base = day * 24 * HOUR;
    const at = (day * 3) % Math.max(1, namespaces - 4);
    const ns = (offset: number): string => namespaceOf((at + offset) % namespaces);
    const id = (offset: number, index: number): string => idOf((at + offset) % namespaces, index);
    const turn = stepSec * 1000;

    const opened = policyOf(ns(0), 1, 'ingress');
    happen(
      'a policy of ours is opened by hand',
      base + HOUR,
      turn,
      () => put(changed(opened, { ingress: [{}] })),
      isOf('drift', opened.metadata.name),
      isOf('policy-changed', opened.metadata.name),
    );
    later(base + HOUR + 10 * MINUTE, () => put(opened));

    const cut = policyOf(ns(0), 2, 'ingress');
    happen(
      'a policy of ours is changed and denies an edge on record',
      base + 2 * HOUR,
      turn,
      () => put(changed(cut, { ingress: [] })),
      (notice) => notice.kind === 'policy-changed' && notice.denies.length === 1,
      any(isOf('drift', cut.metadata.name), isOf('gate', ns(0))),
    );
    later(base + 2 * HOUR + 10 * MINUTE, () => put(cut));

    const dropped = policyOf(ns(0), 3, 'ingress');
    happen(
      'a policy of ours is deleted',
      base + 3 * HOUR,
      turn,
      () => remove(dropped),
      isOf('unprotected', id(0, 3)),
      any(isOf('drift', dropped.metadata.name), isOf('policy-changed', dropped.metadata.name)),
    );
    later(base + 3 * HOUR + 10 * MINUTE, () => put(dropped));

    happen(
      'a workload comes without a policy',
      base + 4 * HOUR,
      turn,
      () => put(deploymentOf(ns(1), 'new')),
      isOf('unprotected', `${ns(1)}/Deployment/new`),
    );
    later(base + 4 * HOUR + 30 * MINUTE, () => remove(deploymentOf(ns(1), 'new')));

    const bare: KubeManifest = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'debug', namespace: ns(1), labels: { run: 'debug' } },
      spec: { containers: [{ name: 'sh' }] },
      status: { phase: 'Running' },
    };
    happen(
      'somebody starts a bare pod',
      base + 5 * HOUR,
      turn,
      () => put(bare),
      isOf('unprotected', `${ns(1)}/Pod/debug`),
    );
    later(base + 5 * HOUR + 5 * MINUTE, () => remove(bare));

    const caller = sightingOf(id(0, 6), id(1, 6), 8080, 0);
    happen(
      'a caller that is on no record',
      base + 6 * HOUR,
      turn,
      () => inbox.push({ ...caller, at: now }),
      isOf('new-caller', caller.id),
      // The policies of the generated cluster do not let it through: that it passes is one more matter.
      isOf('proxy', caller.id),
    );
    later(base + 6 * HOUR + 30 * MINUTE, () => {
      record = { ...record, edges: [...record.edges, { ...edgeOf(id(0, 6), id(1, 6)), review: 'to-be-cut' }] };
      version += 1;
    });

    happen(
      'a scan: one pod, many targets',
      base + 7 * HOUR,
      2 * MINUTE,
      () => {
        for (let index = 0; index < 12; index += 1)
          script.push({
            at: START + base + 7 * HOUR + index * 10_000,
            run: () =>
              inbox.push(
                sightingOf(id(0, 7), id(index % 2, index % A_NAMESPACE), 3000 + index, now, { verdict: 'denied' }),
              ),
          });
        script.sort((a, b) => a.at - b.at);
      },
      (notice) => notice.kind === 'denied' && notice.class === 'attack-like' && notice.subject === id(0, 7),
      isOf('denied', id(0, 7)),
    );

    happen(
      'a policy engine denies an edge on record',
      base + 9 * HOUR,
      turn,
      () => inbox.push(sightingOf(id(0, 4), id(0, 5), 8080, now, { verdict: 'denied' })),
      (notice) => notice.kind === 'denied' && notice.class === 'misconfigured',
      isOf('gate', ''),
    );

    happen(
      'a new dependency is denied, again and again',
      base + 10 * HOUR,
      5 * MINUTE,
      () => {
        for (let index = 0; index < 4; index += 1)
          script.push({
            at: START + base + 10 * HOUR + index * MINUTE,
            run: () => inbox.push(sightingOf(id(1, 8), id(2, 8), 8080, now, { verdict: 'denied' })),
          });
        script.sort((a, b) => a.at - b.at);
      },
      (notice) => notice.kind === 'denied' && notice.class === 'new-legitimate',
      isOf('denied', id(1, 8)),
    );

    happen(
      'the API server is away',
      base + 12 * HOUR,
      turn,
      () => {
        isAway = true;
        take({ kind: 'away', what: 'objects', of: NP, why: 'connection refused' });
      },
      isOf('blind', NP),
    );
    const missed = policyOf(ns(2), 4, 'egress');
    later(base + 12 * HOUR + 5 * MINUTE, () => put(changed(missed, { egress: [{}] })));
    happen(
      'it is back: what changed meanwhile',
      base + 12 * HOUR + 20 * MINUTE,
      turn,
      () => {
        isAway = false;
        take({
          kind: 'listed',
          of: NP,
          objects: [...live.values()].filter(({ kind }) => kind === 'NetworkPolicy'),
        });
        take({ kind: 'back', what: 'objects', of: NP });
      },
      isOf('drift', missed.metadata.name),
      any(isOf('policy-changed', missed.metadata.name)),
    );
    later(base + 12 * HOUR + 40 * MINUTE, () => put(missed));

    happen(
      'flows are missing for a while',
      base + 14 * HOUR,
      turn,
      () => gaps.push('hubble said nothing'),
      isOf('blind', 'flows'),
    );

    happen(
      'a grant runs out tomorrow',
      base + 15 * HOUR,
      2 * MINUTE,
      () => {
        grants = [...grants, { id: `g${day}`, namespace: ns(0), text: 'a grant', expires: now + 3 * HOUR }];
        version += 1;
      },
      (notice) => notice.kind === 'grant' && notice.what === 'expiring',
    );
    happen(
      'it is over, and still there',
      base + 18 * HOUR,
      MINUTE,
      () => undefined,
      (notice) => notice.kind === 'grant' && notice.what === 'expired',
    );
    later(base + 19 * HOUR, () => {
      grants = [];
      version += 1;
    });

    for (const [hour, outcome] of [
      [20, 'held'],
      [21, 'pulled-back'],
    ] as const)
      happen(
        `a run that soaks ends: ${outcome}`,
        base + hour * HOUR,
        MINUTE,
        () => {
          const run = `run-${day}-${outcome}`;
          soaking = [{ run, namespace: ns(0) }];
          ends = new Map([[run, { outcome, phase: 'allow-list', text: `${run} ${outcome}` }]]);
        },
        (notice) => notice.kind === 'soak' && notice.outcome === outcome,
      );

    // Seen in namespace 0, whose gates are judged.
    if (day === 0)
      happen(
        'a connection passes that the policies deny',
        base + 22 * HOUR,
        30_000,
        () => {
          inbox.push(sightingOf(idOf(0, 9), idOf(0, 3), 8080, now), sightingOf(idOf(0, 9), idOf(0, 3), 8080, now));
          // A denied record makes the gates due at once.
          inbox.push(sightingOf(idOf(0, 9), idOf(0, 3), 81, now, { verdict: 'denied' }));
        },
        isOf('proxy', sightingOf(idOf(0, 9), idOf(0, 3), 8080, 0).id),
        any(isOf('new-caller', sightingOf(idOf(0, 9), idOf(0, 3), 8080, 0).id), isOf('denied', idOf(0, 9))),
      );
  }

  const stage: Stage = {
    now: () => now,
    namespaces,
    happen,
    later,
    push: (list) => inbox.push(...list),
    setRecord: (change) => {
      record = change(record);
      version += 1;
    },
    open: () => [...watcher.state().open.values()],
    watcher: () => watcher,
  };
  if (options.siege !== undefined) sieges.push(options.siege(stage));
  script.sort((a, b) => a.at - b.at);
  const heapMiB: number[] = [];
  const end = START + days * 24 * HOUR;
  const sixth = Math.max(1, Math.floor((days * 24) / 6)) * HOUR;
  let lookAt = START + sixth;
  for (now = START; now < end; now += stepSec * 1000) {
    while (script[0] !== undefined && script[0].at <= now) script.shift()?.run();
    // Somewhere a pod is replaced.
    const at = Math.floor(random() * namespaces);
    const index = Math.floor(random() * A_NAMESPACE);
    const [namespace, name] = [namespaceOf(at), nameOf(index)];
    const old = [...(watcher.state().objects.get(namespace)?.values() ?? [])].find(
      (one) => one.kind === 'Pod' && one.metadata.name.startsWith(`${name}-7d9f-`),
    );
    put(podOf(namespace, name, revision, ipOf(at, index, revision)));
    if (old !== undefined) remove(old);
    for (let count = 0; count < 5; count += 1) {
      const edge = record.edges[Math.floor(random() * first.edges.length)];
      if (edge?.src.kind === 'workload' && edge.dst.kind === 'workload')
        inbox.push(sightingOf(edge.src.id, edge.dst.id, edge.port, now));
    }
    await watcher.turn();
    for (const siege of sieges) await siege.turn(watcher.state());
    if (now >= lookAt && options.collect !== undefined) {
      options.collect();
      const used = process.memoryUsage().heapUsed / 1024 / 1024;
      heapMiB.push(Math.round(used * 10) / 10);
      options.onHour?.((lookAt - START) / HOUR, used);
      lookAt += sixth;
    }
  }

  const raised = notices.filter(({ state }) => state !== 'cleared');
  const told = injected.map((one): Told => {
    const found = raised.find((notice) => notice.at >= one.at && one.expects(notice));
    return {
      name: one.name,
      at: one.at,
      afterMs: found === undefined ? undefined : found.at - one.at,
      within: one.within,
      text: found?.text ?? '',
    };
  });
  const wrong = raised.filter(
    (notice) => !injected.some((one) => notice.at >= one.at && (one.expects(notice) || one.beside?.(notice) === true)),
  );
  return {
    workloads: namespaces * A_NAMESPACE,
    events,
    sightings,
    loads: watcher.health().loads,
    told,
    wrong: wrong.filter((notice) => !(notice.kind === 'policy-changed' && notice.severity === 'info')),
    open: [...watcher.state().open.values()],
    heapMiB,
    longestMs,
    meanMs: events === 0 ? 0 : spentMs / events,
  };
}

const keyOf = (object: KubeManifest): string =>
  `${object.kind}/${JSON.stringify(object.metadata['namespace'] ?? null)}/${object.metadata.name}`;
