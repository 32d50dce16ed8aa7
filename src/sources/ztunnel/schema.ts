import type { Flow, RawEnd } from '../../model/flow.ts';
import type { Ends, Raw } from '../ends.ts';
import { isRaw, parseAddress, parsePrincipal, parseServiceName, plainNumber, textAt } from '../ends.ts';
import { flowOf } from '../flow.ts';
import { parseTime } from '../time.ts';

export type ZtunnelRecord =
  | { readonly kind: 'flow'; readonly flow: Flow }
  | { readonly kind: 'ignored'; readonly reason: string; readonly time?: number }
  | { readonly kind: 'message'; readonly time: number }
  | { readonly kind: 'bad'; readonly message: string };

const HBONE_PORT = 15_008;
/** `key=value`, the value quoted or not. */
const PAIR = /(?<![a-z_.])([a-z_.]{1,64})=(?:"((?:[^"\\]|\\.){0,8192})"|(\S+))/g;

/** A line of ztunnel's text log as an object; undefined for any other line, `other` for its own messages. */
export function parseTextLine(line: string): Raw | 'other' | undefined {
  const match = /^(\d{4}-\d\d-\d\dT\S+)\s+(trace|debug|info|warn|error)\s+(\S+)\s+(.*)$/s.exec(line);
  if (match === null) return undefined;
  const [, time, , scope, rest = ''] = match;
  if (scope !== 'access') return 'other';
  const start = /(?:^|\s)[a-z_.]+=/.exec(rest)?.index ?? rest.length;
  const fields: Record<string, unknown> = { time, scope, message: rest.slice(0, start).trim() };
  for (const [, key, quoted, bare] of rest.matchAll(PAIR)) if (key !== undefined) fields[key] = quoted ?? bare;
  return fields;
}

/** One connection of ztunnel's access log (istio/ztunnel src/proxy/metrics.rs), in text or JSON. */
export function parseConnection(value: unknown, ends: Ends): ZtunnelRecord {
  if (!isRaw(value)) return { kind: 'bad', message: 'not a JSON object' };
  const stamp = textAt(value, 'time') ?? textAt(value, 'timestamp');
  const time = stamp === undefined ? undefined : parseTime(stamp);
  if (time === undefined) return { kind: 'bad', message: 'no time that reads as RFC 3339' };
  if (!('src.addr' in value) && !('scope' in value)) return { kind: 'bad', message: 'neither "src.addr" nor "scope"' };
  if (!('src.addr' in value))
    return value['scope'] === 'access' ? { kind: 'bad', message: 'no "src.addr"' } : { kind: 'message', time };
  const ignored = (reason: string): ZtunnelRecord => ({ kind: 'ignored', reason, time });
  const message = textAt(value, 'message') ?? '';
  if (message === 'connection opened') return ignored('the opening of a connection, whose end is logged as well');
  const from = parseAddress(textAt(value, 'src.addr'));
  const to = parseAddress(textAt(value, 'dst.addr'));
  if (from === undefined || to === undefined)
    return { kind: 'bad', message: '"src.addr" or "dst.addr" is no address with a port' };
  const direction = textAt(value, 'direction');
  if (direction !== 'inbound' && direction !== 'outbound')
    return { kind: 'bad', message: '"direction" is neither inbound nor outbound' };

  const error = textAt(value, 'error');
  const denied = error !== undefined && /policy|rbac|denied/i.test(error);
  const carried = plainNumber(textAt(value, 'bytes_recv') ?? value['bytes_recv'] ?? 0) > 0;
  if (error !== undefined && !denied && !carried) return ignored('a connection that failed');

  const hbone = parseAddress(textAt(value, 'dst.hbone_addr'));
  const target = hbone ?? to;
  if (target.port === HBONE_PORT)
    return ignored('its port is inside the tunnel: the line of the receiving side has it');
  const src = parsePrincipal(textAt(value, 'src.identity'));
  const dst = parsePrincipal(textAt(value, 'dst.identity'));
  const service = parseServiceName(textAt(value, 'dst.service') ?? '');
  const viaWaypoint = hbone !== undefined && hbone.ip !== to.ip;
  return {
    kind: 'flow',
    flow: flowOf({
      first: time,
      src: podEnd(value, 'src', from.ip, src, undefined, ends),
      // To a waypoint the tunnel names the address of the Service.
      dst: viaWaypoint ? ends({ ip: hbone.ip }) : podEnd(value, 'dst', to.ip, dst, service?.namespace, ends),
      srcPort: from.port,
      port: target.port,
      verdict: denied ? 'denied' : 'allowed',
      view: direction === 'inbound' ? 'ingress' : 'egress',
      mtls:
        src !== undefined && (dst !== undefined || direction === 'inbound')
          ? 'yes'
          : direction === 'inbound'
            ? 'no'
            : 'unknown',
      ...(src === undefined ? {} : { principal: src.principal }),
      source: 'ztunnel',
    }),
  };
}

function podEnd(
  value: Raw,
  side: 'src' | 'dst',
  ip: string,
  identity: ReturnType<typeof parsePrincipal>,
  serviceNamespace: string | undefined,
  ends: Ends,
): RawEnd {
  const pod = textAt(value, `${side}.workload`);
  // Early versions wrote the Service's name for the namespace of the destination.
  const namespace = identity?.namespace ?? serviceNamespace ?? textAt(value, `${side}.namespace`);
  if (pod === undefined || namespace === undefined) return ends({ ip });
  return ends({
    ip,
    pod,
    namespace,
    ...(identity === undefined ? {} : { serviceAccount: identity.serviceAccount }),
  });
}
