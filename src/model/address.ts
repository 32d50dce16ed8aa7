import ipaddr from 'ipaddr.js';

type Address = ipaddr.IPv4 | ipaddr.IPv6;

function parse(text: string): Address | undefined {
  const zone = text.indexOf('%');
  const bare = zone < 0 ? text : text.slice(0, zone);
  if (bare.includes(':')) return ipaddr.IPv6.isValid(bare) ? ipaddr.process(bare) : undefined;
  // Four decimal parts only: the shorter and octal forms that the library also takes are never meant.
  return ipaddr.IPv4.isValidFourPartDecimal(bare) ? ipaddr.IPv4.parse(bare) : undefined;
}

/**
 * One spelling for each address: IPv6 compressed and in lower case without zone, IPv4-mapped IPv6 as IPv4. Undefined for
 * anything that is no address.
 */
export function normaliseIp(text: string): string | undefined {
  return parse(text)?.toString();
}

/** A test for membership of any of the ranges; ranges that do not read are left out. */
export function createCidrTest(cidrs: readonly string[]): (ip: string) => boolean {
  const ranges: [Address, number][] = [];
  for (const cidr of cidrs) {
    const [text = '', bits] = cidr.split('/');
    const address = parse(text);
    const length = Number(bits ?? (address?.kind() === 'ipv6' ? 128 : 32));
    const most = address?.kind() === 'ipv6' ? 128 : 32;
    if (address === undefined || !Number.isInteger(length) || length < 0 || length > most) continue;
    ranges.push([address, length]);
  }
  if (ranges.length === 0) return () => false;
  return (ip) => {
    const address = parse(ip);
    return (
      address !== undefined &&
      ranges.some(([range, length]) =>
        address instanceof ipaddr.IPv4
          ? range instanceof ipaddr.IPv4 && address.match(range, length)
          : range instanceof ipaddr.IPv6 && address.match(range, length),
      )
    );
  };
}

/** RFC 1918, carrier-grade NAT, IPv6 unique local and link-local: addresses that may be anybody's inside. */
export function isPrivateAddress(ip: string): boolean {
  const range = parse(ip)?.range();
  return range === 'private' || range === 'carrierGradeNat' || range === 'uniqueLocal' || range === 'linkLocal';
}

/** Nobody in particular: multicast, broadcast, unspecified and loopback addresses make no edge. */
export function isUnroutable(ip: string): boolean {
  const range = parse(ip)?.range();
  return range === 'multicast' || range === 'broadcast' || range === 'unspecified' || range === 'loopback';
}

/** The neighbourhood from which an address plan hands out pods to one node: /24 in IPv4, /64 in IPv6. */
export function neighbourhood(ip: string): string {
  const address = parse(ip);
  if (address === undefined) return ip;
  const bytes = address.toByteArray();
  return bytes.slice(0, address.kind() === 'ipv4' ? 3 : 8).join('.');
}
