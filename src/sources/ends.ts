import type { RawEnd } from '../model/flow.ts';
import type { Labels } from '../model/inventory.ts';

export const NO_LABELS: Labels = Object.freeze(Object.create(null) as Record<string, string>);
const NOTHING = { labels: NO_LABELS, reserved: [], names: [] } as const;
/** Ends are remembered by what they say; the memory starts afresh when it is full. */
const MAX_ENDS = 100_000;

/** One object for one end, so that whoever attributes it need not look twice. One per input. */
export type Ends = (parts: Partial<RawEnd>) => RawEnd;

export function createEnds(): Ends {
  const known = new Map<string, RawEnd>();
  return (parts) => {
    const { ip, pod, namespace, workload, service, labels, serviceAccount, reserved, names } = parts;
    let key = `${ip ?? ''}\n${namespace ?? ''}\n${pod ?? ''}\n${serviceAccount ?? ''}`;
    if (workload !== undefined) key += `\nw${workload.kind}/${workload.name}`;
    if (service !== undefined) key += `\ns${service.namespace}/${service.name}`;
    if (labels !== undefined) for (const name of Object.keys(labels)) key += `\nl${name}=${labels[name] ?? ''}`;
    if (reserved !== undefined) key += `\nr${reserved.join()}`;
    if (names !== undefined) key += `\nn${names.join()}`;
    const found = known.get(key);
    if (found !== undefined) return found;
    const made: RawEnd = { ...NOTHING, ...parts };
    if (known.size >= MAX_ENDS) known.clear();
    known.set(key, made);
    return made;
  };
}

/** `a=b` texts as labels; anything else among them is left out. */
export function labelsOf(texts: readonly unknown[]): Labels {
  const labels = Object.create(null) as Record<string, string>;
  for (const text of texts) {
    if (typeof text !== 'string') continue;
    const equals = text.indexOf('=');
    if (equals > 0) labels[text.slice(0, equals)] = text.slice(equals + 1);
  }
  return labels;
}

/** The texts among the values of a JSON object, as labels. */
export function labelsOfRecord(value: unknown): Labels | undefined {
  if (!isRaw(value)) return undefined;
  const labels = Object.create(null) as Record<string, string>;
  let any = false;
  for (const [key, one] of Object.entries(value))
    if (typeof one === 'string') {
      labels[key] = one;
      any = true;
    }
  return any ? labels : undefined;
}

/** Fields are unknown until looked at. */
export type Raw = Readonly<Record<string, unknown>>;

export function isRaw(value: unknown): value is Raw {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function textAt(value: Raw, key: string): string | undefined {
  const text = value[key];
  return typeof text === 'string' && text !== '' && text !== '-' ? text : undefined;
}

/** A value of a record as text. An object is none: whoever wrote the record chose what its own `toString` is. */
export function plainText(value: unknown): string {
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}

/** A value of a record as a number, NaN for what is neither a number nor a text of one. */
export function plainNumber(value: unknown): number {
  return typeof value === 'number' || typeof value === 'string' ? Number(value) : NaN;
}

/** A whole number from 0, given as a number or, as proto3 JSON has it, as a text. */
export function countAt(value: Raw, key: string): number | undefined {
  const given = value[key];
  const number = typeof given === 'string' && /^\d{1,16}$/.test(given) ? Number(given) : given;
  return typeof number === 'number' && Number.isSafeInteger(number) && number >= 0 ? number : undefined;
}

/** A port from 1 to 65535, given as a number or as a text. */
export function portAt(value: Raw, key: string): number | undefined {
  const port = countAt(value, key);
  return port !== undefined && port >= 1 && port <= 65_535 ? port : undefined;
}

export interface Address {
  readonly ip: string;
  /** 0 where there is none. */
  readonly port: number;
}

/** `10.0.0.1:80` or `[fd00::1]:80`; undefined for anything else. The address itself is not looked at. */
export function parseAddress(text: unknown): Address | undefined {
  if (typeof text !== 'string') return undefined;
  const colon = text.lastIndexOf(':');
  if (colon < 1) return undefined;
  const digits = text.slice(colon + 1);
  if (!/^\d{1,5}$/.test(digits)) return undefined;
  const port = Number(digits);
  if (port > 65_535) return undefined;
  const bracketed = text.charCodeAt(0) === 91;
  if (bracketed !== (text.charCodeAt(colon - 1) === 93)) return undefined;
  const ip = bracketed ? text.slice(1, colon - 1) : text.slice(0, colon);
  if (bracketed ? !/^[0-9a-fA-F:.]+(?:%\w+)?$/.test(ip) : !/^(?:\d{1,3}\.){3}\d{1,3}$/.test(ip)) return undefined;
  return { ip, port };
}

/** `spiffe://cluster.local/ns/shop/sa/web` -> its principal, as an AuthorizationPolicy names it, namespace and account. */
export function parsePrincipal(
  text: unknown,
): { readonly principal: string; readonly namespace: string; readonly serviceAccount: string } | undefined {
  if (typeof text !== 'string') return undefined;
  // A certificate may carry several names, joined by commas.
  for (const one of text.split(',')) {
    const match = /^(?:spiffe:\/\/)?([^/\s]+\/ns\/([a-z0-9-]+)\/sa\/([a-z0-9.-]+))$/.exec(one.trim());
    if (match?.[1] !== undefined && match[2] !== undefined && match[3] !== undefined)
      return { principal: match[1], namespace: match[2], serviceAccount: match[3] };
  }
  return undefined;
}

/** `name.namespace.svc.cluster.local` -> the Service; undefined for any other name. */
export function parseServiceName(host: string): { readonly namespace: string; readonly name: string } | undefined {
  const match = /^([a-z0-9-]+)\.([a-z0-9-]+)\.svc(?:\.[a-z0-9.-]+)?$/.exec(host.toLowerCase().replace(/\.$/, ''));
  return match?.[1] === undefined || match[2] === undefined ? undefined : { name: match[1], namespace: match[2] };
}

const PROTOCOL_NUMBERS: Readonly<Record<string, 'TCP' | 'UDP' | 'SCTP'>> = { 6: 'TCP', 17: 'UDP', 132: 'SCTP' };

/** IANA protocol numbers and names, in any case; undefined for protocols without ports. */
export function parseProtocol(value: unknown): 'TCP' | 'UDP' | 'SCTP' | undefined {
  const text = plainText(value).toUpperCase();
  if (text === 'TCP' || text === 'UDP' || text === 'SCTP') return text;
  return Object.hasOwn(PROTOCOL_NUMBERS, text) ? PROTOCOL_NUMBERS[text] : undefined;
}

/** `METHOD /path` without the query, which carries tokens and personal data; undefined for what is no plain request. */
export function operationOf(method: unknown, path: unknown): string | undefined {
  if (typeof method !== 'string' || !/^[A-Z]{1,20}$/.test(method) || typeof path !== 'string') return undefined;
  const url = path.startsWith('/') ? path : path.replace(/^[a-z]+:\/\/[^/]*/i, '');
  const end = url.search(/[?#;]/);
  const bare = end < 0 ? url : url.slice(0, end);
  if (bare === '') return `${method} /`;
  return bare.startsWith('/') && !/\s/.test(bare) ? `${method} ${bare}` : undefined;
}
