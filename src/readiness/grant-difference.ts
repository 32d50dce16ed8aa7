import { portsWithout } from '../model/connectivity.ts';
import type { AllowedPorts, Connection } from '../model/connectivity.ts';
import type { Opened } from './grant-terms.ts';

export type Ports = Pick<Connection, 'allowed' | 'unknown'>;

export function moreUnknown({
  before,
  after,
}: {
  readonly before: Ports;
  readonly after: Ports;
}): readonly AllowedPorts[] {
  return portsWithout(after.unknown, before.unknown);
}

/** What a pair may do afterwards and could not before, and the other way round. */
export function difference(change: {
  readonly src: string;
  readonly dst: string;
  readonly before: Ports;
  readonly after: Ports;
}): Opened {
  return {
    src: change.src,
    dst: change.dst,
    opened: portsWithout(change.after.allowed, change.before.allowed),
    closed: portsWithout(change.before.allowed, change.after.allowed),
  };
}

export function formatPorts({ protocol, from, to }: AllowedPorts): string {
  return `${from}${from === to ? '' : `-${to}`}/${protocol}`;
}
