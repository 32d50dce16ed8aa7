import ipaddr from 'ipaddr.js';
import type { Tri } from './tri.ts';

/** Addresses from the first to the last. An IPv4 address mapped into IPv6 is IPv4. */
export interface AddressRange {
  readonly family: 4 | 6;
  readonly first: bigint;
  readonly last: bigint;
}

export interface ParsedCidr {
  readonly range: AddressRange;
  /** True where the text has bits set beyond its prefix: `10.0.0.1/8`. */
  readonly hostBits: boolean;
  /**
   * What else keeps the text from its canonical form. `spelling`: an IPv6 address in capitals or not shortened. `ambiguous`: leading
   * zeros, or IPv4 mapped into IPv6, which readers take differently.
   */
  readonly form?: 'spelling' | 'ambiguous';
}

/** An ipBlock: the range without the exceptions. */
export interface AddressBlock {
  readonly range: AddressRange;
  readonly except: readonly AddressRange[];
}

export const ANY_V4: AddressRange = { family: 4, first: 0n, last: (1n << 32n) - 1n };
export const ANY_V6: AddressRange = { family: 6, first: 0n, last: (1n << 128n) - 1n };

function toBytes(text: string): readonly number[] | undefined {
  // Octal, hexadecimal and shortened forms mean different things to different readers: only the plain form is taken.
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return ipaddr.IPv4.parse(text).toByteArray();
  if (text.includes('%') || !ipaddr.IPv6.isValid(text)) return undefined;
  // The library takes `::1.2.3.4` for an IPv4 address mapped into IPv6, which only `::ffff:1.2.3.4` is.
  return ipaddr.IPv6.parse(/^::\d+\./u.test(text) ? `0${text}` : text).toByteArray();
}

function toNumber(bytes: readonly number[]): bigint {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value;
}

function isMapped(bytes: readonly number[]): boolean {
  return bytes.length === 16 && bytes.every((byte, index) => index > 11 || byte === (index > 9 ? 0xff : 0));
}

/** One address; undefined for anything else, names and addresses with a zone included. */
export function parseAddress(text: string): AddressRange | undefined {
  const bytes = toBytes(text);
  if (bytes === undefined) return undefined;
  const plain = isMapped(bytes) ? bytes.slice(12) : bytes;
  const value = toNumber(plain);
  return { family: plain.length === 4 ? 4 : 6, first: value, last: value };
}

/** `10.0.0.0/8`, `fd00::/8`; undefined for anything else. */
export function parseCidr(text: string): ParsedCidr | undefined {
  const slash = text.indexOf('/');
  const prefixText = text.slice(slash + 1);
  const bytes = slash < 0 || !/^(?:0|[1-9]\d{0,2})$/u.test(prefixText) ? undefined : toBytes(text.slice(0, slash));
  if (bytes === undefined) return undefined;
  const mapped = isMapped(bytes);
  const prefix = Number(prefixText) - (mapped ? 96 : 0);
  const plain = mapped ? bytes.slice(12) : bytes;
  const free = plain.length * 8 - prefix;
  if (prefix < 0 || free < 0) return undefined;
  const size = 1n << BigInt(free);
  const value = toNumber(plain);
  const first = value - (value % size);
  const isSpelt = plain.length === 4 || text.slice(0, slash) === ipaddr.fromByteArray([...plain]).toString();
  return {
    range: { family: plain.length === 4 ? 4 : 6, first, last: first + size - 1n },
    hostBits: first !== value,
    ...(mapped ? { form: 'ambiguous' } : isSpelt ? {} : { form: 'spelling' }),
  };
}

/**
 * A CIDR as API servers take it, or took it: as `parseCidr`, and with leading zeros, which are read as decimal. Undefined for anything
 * else.
 */
export function parseSloppyCidr(text: string): ParsedCidr | undefined {
  const plain = parseCidr(text);
  if (plain !== undefined || !/^(?:\d{1,10}\.){3}\d{1,10}\/\d{1,10}$|^[^:]*:.*\/0\d{1,9}$/u.test(text)) return plain;
  const parsed = parseCidr(text.replaceAll(/(?<=^|[./])0+(?=\d)/gu, ''));
  return parsed === undefined ? undefined : { ...parsed, form: 'ambiguous' };
}

/** An address or a CIDR. */
export function parseAddressOrCidr(text: string): AddressRange | undefined {
  return text.includes('/') ? parseCidr(text)?.range : parseAddress(text);
}

/** True when all of `inner` lies in `outer`. */
export function coversAddresses(outer: AddressRange, inner: AddressRange): boolean {
  return outer.family === inner.family && outer.first <= inner.first && inner.last <= outer.last;
}

export function overlapsAddresses(a: AddressRange, b: AddressRange): boolean {
  return a.family === b.family && a.first <= b.last && b.first <= a.last;
}

/** Is an address somewhere in `range` in the block: surely, surely not, or does it depend on which one? */
export function matchBlock(block: AddressBlock, range: AddressRange): Tri {
  if (!overlapsAddresses(block.range, range)) return 'no';
  if (block.except.some((except) => coversAddresses(except, range))) return 'no';
  if (!coversAddresses(block.range, range)) return 'unknown';
  return block.except.some((except) => overlapsAddresses(except, range)) ? 'unknown' : 'yes';
}
