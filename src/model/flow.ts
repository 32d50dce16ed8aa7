import type { Mtls, Protocol, Verdict3 } from './edge.ts';
import type { Labels } from './inventory.ts';

/** Identities that Cilium reserves: what an address is when it is no pod. */
export type Reserved =
  'host' | 'remote-node' | 'health' | 'ingress' | 'kube-apiserver' | 'world' | 'unmanaged' | 'init';

/** One side of a record as its source stamped it. Nothing here has been looked up in the inventory. */
export interface RawEnd {
  readonly ip?: string;
  readonly pod?: string;
  readonly namespace?: string;
  /** What the source says owns the pod. An empty kind: the source gives the name alone. */
  readonly workload?: { readonly kind: string; readonly name: string };
  /** The Service that was called; the record's port is then the Service's. */
  readonly service?: { readonly namespace: string; readonly name: string };
  /** Pod labels, without the source's own prefixes; possibly a subset. */
  readonly labels: Labels;
  readonly serviceAccount?: string;
  readonly reserved: readonly Reserved[];
  /** DNS names that the source knew for the address. */
  readonly names: readonly string[];
}

/**
 * One record of a source of traffic, normalised: `src` is the side that opened the connection wherever the source says so.
 * Times are milliseconds since the epoch.
 */
export interface Flow {
  readonly first: number;
  readonly last: number;
  readonly src: RawEnd;
  readonly dst: RawEnd;
  readonly protocol: Protocol;
  readonly srcPort?: number;
  /** 0 where the source does not say it: then the Service's or the workload's only one is meant. */
  readonly port: number;
  readonly verdict: Verdict3;
  /** At whose policy hook it was recorded: the opener's (egress), the other's (ingress). */
  readonly view: 'egress' | 'ingress' | 'unknown';
  /** The point of observation. Records of one connection at two points are one connection. `verdict` is a policy verdict. */
  readonly tap: string;
  /** False when the record leaves open who opened the connection; the ports then decide, and the edge is marked. */
  readonly initiatorKnown: boolean;
  /** The record was a packet of the answering side, and has been turned round. */
  readonly reply: boolean;
  /** `open`: this record stands for `count` new connections or requests. `ongoing`: for one that was there already. */
  readonly stage: 'open' | 'ongoing';
  readonly count: number;
  /** Records that were folded into this one, all between `first` and `last`; one where absent. */
  readonly records?: number;
  /** A proxy beside the opener answers in the name of the destination, so an answer proves nothing about the other side. */
  readonly proxied: boolean;
  /** `METHOD /path`, never with a query string. */
  readonly l7?: string;
  readonly mtls: Mtls;
  readonly principal?: string;
  readonly source: string;
}

const EARLIEST = Date.UTC(2000, 0);
const LATEST = Date.UTC(2100, 0);

/** No clusters were recorded outside these hundred years: a time beyond them is an error or a lie, and would stretch every window. */
export function isPlausibleTime(time: number): boolean {
  return time >= EARLIEST && time < LATEST;
}

/** What a source says of one input after reading it to its end. */
export interface InputReport {
  readonly source: string;
  /** The file's name as given; `-` for standard input. */
  readonly input: string;
  /** SHA-256 of the input's bytes, after decompression: the same records are the same input, compressed or not. */
  readonly sha256: string;
  readonly bytes: number;
  readonly lines: number;
  /** Records that were read as such, ignored ones included. */
  readonly records: number;
  /** Records that the source says it lost. */
  readonly lost: number;
  /** The source took one of so many: packets, flows or requests. Absent when it took all, or does not say. */
  readonly sampledOneIn?: number;
  /** Malformed records skipped on request. */
  readonly bad: number;
  /** Records that carry no connection, by reason. */
  readonly ignored: Readonly<Record<string, number>>;
  /** Absent when no record was read. */
  readonly first?: number;
  readonly last?: number;
  /** Where the first malformed record was, and what was wrong with it. */
  readonly firstBad?: string;
}
