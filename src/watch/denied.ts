import type { Endpoint, Protocol } from '../model/edge.ts';
import { plural } from '../shared/pure/text.ts';
import type { DeniedClass } from './notice.ts';

/** What one source was denied at one port of one target, and what is known of that pair. Times are milliseconds since the epoch. */
export interface DeniedAttempt {
  /** Endpoint key of the target. */
  readonly target: string;
  readonly targetKind: Endpoint['kind'];
  readonly protocol: Protocol;
  /** 0 where the record does not say it. */
  readonly port: number;
  readonly count: number;
  readonly first: number;
  readonly last: number;
  /** An edge that must work is on record for it. */
  readonly onRecord: boolean;
  /** Does a container or a Service of the target declare the port? */
  readonly declared: 'yes' | 'no' | 'unknown';
  /** The source is on record at another port of this target. */
  readonly otherPortOnRecord: boolean;
  /** The source is on record at this port of so many other targets. */
  readonly samePortElsewhere: number;
}

export interface DeniedSource {
  readonly kind: Endpoint['kind'];
  readonly attempts: readonly DeniedAttempt[];
  /** Attempts beyond those that are kept one by one. */
  readonly more: number;
}

export interface Judged {
  readonly class: DeniedClass;
  readonly reasons: readonly string[];
}

/** So many targets, or ports of one target, that a source has no business with on record make it look like a scan. */
export const SCAN_TARGETS = 10;
export const SCAN_PORTS = 10;
/** Common ports are met everywhere: at so many other targets the same port is what the source is there for, as a scraper's is. */
const FANS_OUT = 3;
/** A caller that asks for more places than this at once is no new dependency of one program. */
const NEW_TARGETS = 3;
/** Asked so often, over so long: not a single try. */
const STEADY_COUNT = 3;
const STEADY_MS = 60_000;

/**
 * Tells denied traffic of one source apart. The shape decides before anything that a name could claim: a source that tries many strange
 * targets or ports looks like a scan even where some of what it tries is on record. Rules of our own, stated in docs/telemetry.md; what none
 * decides is `unclear`. Nothing is allowed by it.
 */
export function classifyDenied(source: DeniedSource): Judged {
  const { attempts, more } = source;
  const strange = attempts.filter((one) => !one.onRecord && one.samePortElsewhere < FANS_OUT);
  const targets = new Set(strange.map(({ target }) => target));
  const portsOf = new Map<string, Set<string>>();
  for (const { target, port, protocol } of strange)
    portsOf.set(target, (portsOf.get(target) ?? new Set()).add(`${port}/${protocol}`));
  const mostPorts = Math.max(0, ...[...portsOf.values()].map((ports) => ports.size));
  const scan = [
    ...(targets.size >= SCAN_TARGETS
      ? [`it tried ${plural(targets.size, 'target')} that it has no business with on record`]
      : []),
    ...(mostPorts >= SCAN_PORTS ? [`it tried ${mostPorts} ports of one target`] : []),
  ];
  if (scan.length > 0)
    return {
      class: 'attack-like',
      reasons: [
        ...scan,
        ...(more > 0 ? [`and ${more} attempts more, which are not kept one by one`] : []),
        ...(source.kind === 'workload' ? [] : [`the source is no workload of the cluster (${source.kind})`]),
      ],
    };
  const onRecord = attempts.filter((one) => one.onRecord);
  if (onRecord.length > 0)
    return {
      class: 'misconfigured',
      reasons: [
        `${onRecord.length} of ${plural(attempts.length, 'attempt')} ${onRecord.length === 1 ? 'is an edge' : 'are edges'} on record that must work: a policy denies what it should allow`,
      ],
    };
  const elsewhere = attempts.filter((one) => one.samePortElsewhere >= FANS_OUT);
  if (elsewhere.length > 0 && strange.length === 0) {
    const most = Math.max(...elsewhere.map((one) => one.samePortElsewhere));
    return {
      class: 'misconfigured',
      reasons: [
        `it reaches the same port of ${plural(most, 'other target')} on record: a policy here lacks what the others have`,
      ],
    };
  }
  const wrongPort = strange.filter((one) => one.otherPortOnRecord && one.declared === 'no');
  if (wrongPort.length > 0 && wrongPort.length === strange.length)
    return {
      class: 'misconfigured',
      reasons: ['it is on record at another port of the target, and nothing declares the port that it tries'],
    };
  const isSteady = strange.every((one) => one.count >= STEADY_COUNT && one.last - one.first >= STEADY_MS);
  const isService = strange.every((one) => one.targetKind === 'workload' && one.declared === 'yes');
  if (
    source.kind === 'workload' &&
    strange.length > 0 &&
    targets.size <= NEW_TARGETS &&
    isService &&
    isSteady &&
    more === 0
  )
    return {
      class: 'new-legitimate',
      reasons: [
        `a workload calls ${plural(targets.size, 'workload')} at ${targets.size === 1 ? 'a port' : 'ports'} that ${targets.size === 1 ? 'it declares' : 'they declare'}, again and again: it looks like a new dependency, and a person decides`,
      ],
    };
  return {
    class: 'unclear',
    reasons: [
      ...(source.kind === 'workload' ? [] : [`the source is no workload of the cluster (${source.kind})`]),
      ...(isService ? [] : ['a target is no workload, or does not declare the port']),
      ...(isSteady ? [] : ['too few attempts to tell']),
    ],
  };
}
