import { Counter, Gauge, Registry, collectDefaultMetrics } from 'prom-client';
import type { Clock } from '../engine/contract.ts';
import { endpointKey, formatPort } from '../model/edge.ts';
import type { Gate } from '../model/finding.ts';
import { PHASES } from '../model/phase.ts';
import type { TriggerRecord } from '../model/trigger.ts';
import type { Sighting } from '../plan/soak.ts';
import type { LatencyMeasurement } from '../report/input.ts';
import { safeText } from '../shared/pure/text.ts';
import { enforcedNamespaces } from '../watch/judge.ts';
import type { Notice } from '../watch/notice.ts';
import { NOTICE_KINDS } from '../watch/notice.ts';
import type { WatchState } from '../watch/state.ts';
import type { WatcherHealth } from './watcher.ts';

/** Series of one metric with labels from traffic or the cluster. Everything beyond it is one series, `other`. */
export const MOST_SERIES = 1000;
/** The longest ids of workloads are below; what is longer is nobody's name. */
const LONGEST_LABEL = 300;
/** A pair that was seen to connect so recently counts as a session. */
const SESSION_MS = 5 * 60_000;
const OTHER = 'other';

/** What a scrape looks at. */
export interface TelemetrySource {
  readonly state: () => WatchState;
  readonly health: () => WatcherHealth;
  readonly gates: () => readonly { readonly namespace: string; readonly gates: readonly Gate[] }[];
  readonly latency: readonly LatencyMeasurement[];
  readonly clock: Pick<Clock, 'now'>;
  /** The metrics of this process itself: processor, memory, event loop. */
  readonly process: boolean;
}

export interface Telemetry {
  sighted(sightings: readonly Sighting[]): void;
  told(notice: Notice): void;
  leads(isLeader: boolean): void;
  /** What a rule set off. */
  triggered(record: TriggerRecord): void;
  /** Is the kill switch thrown? */
  stopped(isStopped: boolean): void;
  /** What the file of probes came to, and when. */
  readonly probed: (namespaces: readonly { readonly gates: readonly Gate[] }[], at: number) => void;
  /** From when on there is something to look at. */
  attach(source: TelemetrySource): void;
  /** In the text format of Prometheus, version 0.0.4. */
  render(): Promise<string>;
  readonly contentType: string;
}

/** A label's value: no control characters or half characters, and not longer than any real name. prom-client escapes the rest. */
function labelOf(text: string): string {
  return safeText(text.length > LONGEST_LABEL ? `${text.slice(0, LONGEST_LABEL)}…` : text);
}

/**
 * The metrics of a watch. Labels that come from traffic or from the cluster are bounded: the first MOST_SERIES of a metric have a series each,
 * the rest share one with `other` in every label, and `sallyport_series_folded_total` counts what went there. Whoever can invent names can
 * fill the bound, and nothing more.
 */
export function openTelemetry(most = MOST_SERIES): Telemetry {
  const registry = new Registry();
  const registers = [registry];
  const folded = new Counter({
    name: 'sallyport_series_folded_total',
    help: 'Samples that went to the series "other" because the metric had as many series as it may have',
    labelNames: ['metric'],
    registers,
  });
  const bounded = <Name extends string>(metric: string, names: readonly Name[]) => {
    const known = new Set<string>();
    return {
      of: (labels: Readonly<Record<Name, string>>): Record<Name, string> => {
        const safe = Object.fromEntries(names.map((name) => [name, labelOf(labels[name])])) as Record<Name, string>;
        const key = JSON.stringify(names.map((name) => safe[name]));
        if (known.has(key)) return safe;
        if (known.size < most) {
          known.add(key);
          return safe;
        }
        folded.inc({ metric });
        return Object.fromEntries(names.map((name) => [name, OTHER])) as Record<Name, string>;
      },
      clear: () => known.clear(),
    };
  };

  const FAILURES = ['service', 'reason'] as const;
  const failures = new Counter({
    name: 'ml_auth_failures_total',
    help: 'Requests and connections that a proxy refused, by the service that was called and why',
    labelNames: FAILURES,
    registers,
  });
  const failureLabels = bounded('ml_auth_failures_total', FAILURES);
  const VIOLATIONS = ['source', 'destination', 'port'] as const;
  const violations = new Counter({
    name: 'ml_network_violations_total',
    help: 'Connections that a network policy denied',
    labelNames: VIOLATIONS,
    registers,
  });
  const violationLabels = bounded('ml_network_violations_total', VIOLATIONS);
  const latency = new Gauge({
    name: 'ml_auth_latency_seconds',
    help: 'What a control adds, as measured by whoever wrote the file that the configuration names (assess.latency)',
    labelNames: ['control', 'percentile'],
    registers,
  });
  const sessions = new Gauge({
    name: 'ml_active_sessions',
    help: 'Callers that were seen to connect to the service within five minutes',
    labelNames: ['service'],
    registers,
  });
  const sessionLabels = bounded('ml_active_sessions', ['service']);
  const own = (name: string, help: string, labelNames: readonly string[] = []): Gauge =>
    new Gauge({ name: `sallyport_${name}`, help, labelNames, registers });
  const notices = new Counter({
    name: 'sallyport_notices_total',
    help: 'Notices, by kind, severity and state (raised, changed, cleared)',
    labelNames: ['kind', 'severity', 'state'],
    registers,
  });
  // A series that begins at 1 never rose for rate() and increase(): the first notice of a kind would be on no chart.
  for (const kind of NOTICE_KINDS)
    for (const severity of ['info', 'warning', 'error'] as const) notices.inc({ kind, severity, state: 'raised' }, 0);
  const soaks = new Counter({
    name: 'sallyport_soaks_total',
    help: 'Watches after a run that ended, by outcome',
    labelNames: ['outcome'],
    registers,
  });
  const triggers = new Counter({
    name: 'sallyport_triggers_total',
    help: 'What rules over notices set off, by what they do and what came of it',
    labelNames: ['does', 'outcome'],
    registers,
  });
  const stop = own('kill_switch', '1 where nothing may run by itself');
  const probes = own('probes', 'Pairs of the file of probes when they were tried last, by answer', ['answer']);
  const lastProbe = own('probe_last_timestamp_seconds', 'When the file of probes was tried last');
  const open = own('open_notices', 'Matters that are open, by kind and severity', ['kind', 'severity']);
  const phase = own('phase', 'The phase that a namespace is in: 1 monitor to 5 identity', ['namespace', 'phase']);
  const phaseLabels = bounded('sallyport_phase', ['namespace', 'phase']);
  const gates = own('gates', 'Gates of the reached phases, by answer', ['namespace', 'answer']);
  const gateLabels = bounded('sallyport_gates', ['namespace', 'answer']);
  const coverage = own('isolated_ratio', 'Share of the workloads of an enforced namespace that policies isolate', [
    'namespace',
  ]);
  const coverageLabels = bounded('sallyport_isolated_ratio', ['namespace']);
  const edges = own('edges', 'Edges on record, by review', ['review']);
  const drift = own('drift', 'Fields that are not as Sallyport left them', ['namespace']);
  const driftLabels = bounded('sallyport_drift', ['namespace']);
  const denied = own('denied_sources', 'Sources of denied connections that are not quiet, by what they look like', [
    'class',
  ]);
  const grants = own('grants', 'Temporary permissions: open, expiring within a day, expired and still there', [
    'state',
  ]);
  const blind = own('blind', 'What is not seen, or may not be done, just now', ['what']);
  const leader = own('leader', '1 where this process leads');
  const ready = own('ready', '1 where everything was listed and judged once');
  const objects = own('objects', 'Objects of the cluster that are known');
  const events = own('events', 'Events taken since the start');
  const loadSeconds = own('load_seconds', 'How long building everything anew took last');
  const lastTurn = own('last_turn_timestamp_seconds', 'When the watch last did what was due');

  const seen = new Map<string, { readonly service: string; at: number }>();
  let source: TelemetrySource | undefined;

  const collect = (from: TelemetrySource): void => {
    const state = from.state();
    const health = from.health();
    const now = from.clock.now();
    for (const gauge of [open, phase, gates, coverage, edges, drift, denied, grants, blind, sessions, latency])
      gauge.reset();
    for (const one of [phaseLabels, gateLabels, coverageLabels, driftLabels, sessionLabels]) one.clear();
    for (const [namespace, name] of state.record.phases)
      phase.set(phaseLabels.of({ namespace, phase: name }), PHASES.indexOf(name));
    for (const { namespace, gates: own } of from.gates())
      for (const answer of ['yes', 'no', 'unknown'] as const)
        gates.inc(gateLabels.of({ namespace, answer }), own.filter((gate) => gate.answer === answer).length);
    for (const review of ['unreviewed', 'legitimate', 'to-be-cut'] as const) edges.set({ review }, 0);
    for (const { review } of state.record.edges) edges.inc({ review });
    const workloads = new Map<string, number>();
    for (const { namespace } of state.world?.inventory.workloads ?? [])
      workloads.set(namespace, (workloads.get(namespace) ?? 0) + 1);
    const bare = new Map<string, number>();
    for (const kind of ['attack-like', 'misconfigured', 'new-legitimate', 'unclear'] as const)
      denied.set({ class: kind }, 0);
    for (const kind of ['expiring', 'expired'] as const) grants.set({ state: kind }, 0);
    for (const what of ['objects', 'flows', 'record', 'probes', 'rights'] as const) blind.set({ what }, 0);
    for (const kind of NOTICE_KINDS) open.set({ kind, severity: 'error' }, 0);
    for (const namespace of state.record.phases.keys()) drift.set(driftLabels.of({ namespace }), 0);
    for (const notice of state.open.values()) {
      open.inc({ kind: notice.kind, severity: notice.severity });
      switch (notice.kind) {
        case 'drift':
          drift.inc(driftLabels.of({ namespace: notice.namespace ?? '' }));
          break;
        case 'unprotected':
          bare.set(notice.namespace ?? '', (bare.get(notice.namespace ?? '') ?? 0) + 1);
          break;
        case 'denied':
          denied.inc({ class: notice.class });
          break;
        case 'grant':
          grants.inc({ state: notice.what });
          break;
        case 'blind':
          blind.inc({ what: notice.what });
          break;
        default:
      }
    }
    grants.set({ state: 'open' }, state.grants.filter(({ expires }) => expires > now).length);
    for (const namespace of enforcedNamespaces(state)) {
      const all = workloads.get(namespace) ?? 0;
      if (all > 0) coverage.set(coverageLabels.of({ namespace }), Math.max(0, all - (bare.get(namespace) ?? 0)) / all);
    }
    for (const { control, p50, p99 } of from.latency) {
      latency.set({ control: labelOf(control), percentile: '50' }, p50 / 1000);
      latency.set({ control: labelOf(control), percentile: '99' }, p99 / 1000);
    }
    forgetSessions(now);
    for (const { service } of seen.values()) sessions.inc(sessionLabels.of({ service }));
    let count = 0;
    for (const mine of state.objects.values()) count += mine.size;
    objects.set(count);
    ready.set(health.ready ? 1 : 0);
    events.set(health.events);
    loadSeconds.set(health.loadMs / 1000);
    lastTurn.set(health.lastTurn / 1000);
  };
  const forgetSessions = (now: number): void => {
    for (const [key, { at }] of seen) if (now - at > SESSION_MS) seen.delete(key);
  };

  return {
    sighted(sightings) {
      for (const sighting of sightings) {
        const { key, verdict, count } = sighting;
        const service = endpointKey(key.dst);
        if (verdict === 'denied') {
          // Whether a request carried an identity that was refused is for a proxy to say; a packet that was dropped never came so far.
          const byProxy = key.l7 !== undefined || sighting.mtls !== 'unknown';
          if (byProxy)
            failures.inc(
              failureLabels.of({ service, reason: sighting.mtls === 'no' ? 'plaintext' : 'authorization' }),
              count,
            );
          else
            violations.inc(
              violationLabels.of({ source: endpointKey(key.src), destination: service, port: formatPort(key) }),
              count,
            );
          continue;
        }
        if (verdict === 'unknown') continue;
        const pair = `${endpointKey(key.src)}\n${service}`;
        const known = seen.get(pair);
        if (known !== undefined) known.at = Math.max(known.at, sighting.at);
        else {
          if (seen.size >= most * 20) forgetSessions(sighting.at);
          if (seen.size < most * 20) seen.set(pair, { service, at: sighting.at });
        }
      }
    },
    told(notice) {
      notices.inc({ kind: notice.kind, severity: notice.severity, state: notice.state });
      if (notice.kind === 'soak') soaks.inc({ outcome: notice.outcome });
    },
    triggered: ({ does, outcome }) => triggers.inc({ does, outcome }),
    stopped: (isStopped) => stop.set(isStopped ? 1 : 0),
    probed(namespaces, at) {
      const all = namespaces.flatMap((one) => one.gates);
      for (const answer of ['yes', 'no', 'unknown'] as const)
        probes.set({ answer }, all.filter((gate) => gate.answer === answer).length);
      lastProbe.set(at / 1000);
    },
    leads: (isLeader) => leader.set(isLeader ? 1 : 0),
    attach(from) {
      source = from;
      if (from.process) collectDefaultMetrics({ register: registry });
    },
    async render() {
      if (source !== undefined) collect(source);
      return registry.metrics();
    },
    contentType: registry.contentType,
  };
}
