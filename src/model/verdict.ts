import type { JsonObject } from '../shared/pure/json.ts';
import type { Endpoint, Protocol } from './edge.ts';

/** What is known of a request beside its method and path. */
export interface RequestFacts {
  /** The Host header, or `:authority`. */
  readonly host?: string;
  /** All headers that the client sends, by name in lower case; absent where they are not known. */
  readonly headers?: Readonly<Record<string, string>>;
}

export interface ConnectionQuery {
  readonly src: Endpoint;
  readonly dst: Endpoint;
  readonly protocol: Protocol;
  /** Destination port after NAT. */
  readonly port: number;
  /** Last port of a range: the answer is `allowed` only if it is for every port. */
  readonly endPort?: number;
  /** `METHOD /path` */
  readonly l7?: string;
  readonly request?: RequestFacts;
}

export interface Reason {
  readonly layer: 'network-policy' | 'mtls' | 'authorization';
  readonly direction?: 'ingress' | 'egress';
  readonly decision: 'allows' | 'denies' | 'unknown';
  /** `NetworkPolicy shop/allow-web` */
  readonly object?: string;
  /** Position of the rule in its manifest, from 0. */
  readonly rule?: number;
  /** Its path in the manifest: `spec.ingress[0]`. */
  readonly field?: string;
  /** A full sentence for people. */
  readonly text: string;
  /** Of what the mesh denies: the least change that would let it through, as a sentence. */
  readonly remedy?: string;
  /** Where one rule more would do: the rule, for `spec.rules` of the object. */
  readonly admits?: JsonObject;
}

export interface ConnectionVerdict {
  readonly answer: 'allowed' | 'denied' | 'unknown';
  /** What denies first, then what is unknown, then what allows. */
  readonly reasons: readonly Reason[];
}
