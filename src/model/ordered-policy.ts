import type { AddressRange } from './cidr-set.ts';
import type { CalicoSelector } from './calico-selector.ts';
import type { Protocol } from './edge.ts';
import type { NetworkPeer, NetworkPort } from './network-policy.ts';
import type { ObjectRef } from './object.ts';
import type { Selector } from './selector.ts';
import type { PortRange } from './port-set.ts';

/*
 * What policies that allow, deny and pass in an order have in common: AdminNetworkPolicy and its kin, Calico's own kinds, and the
 * deny rules of Cilium. They are read into this form and walked by ordered-evaluate.ts.
 */

export type RuleAction = 'allow' | 'deny' | 'pass';

/** Whom a policy acts on. A part left out asks for nothing. */
export interface OrderedSubject {
  /** The one namespace that it may select in. */
  readonly namespace?: string;
  readonly namespaces?: Selector;
  readonly pods?: Selector;
  readonly calico?: { readonly pods?: CalicoSelector; readonly namespaces?: CalicoSelector };
  /** Why nothing more than "perhaps" can be said of what the rest selects. */
  readonly doubt?: string;
}

/** One end of a connection as a Calico rule asks for it. What is left out asks for nothing; the rest must all hold. */
export interface CalicoEntity {
  readonly selector?: CalicoSelector;
  readonly notSelector?: CalicoSelector;
  readonly namespaces?: CalicoSelector | 'global';
  /** The namespace that selectors without a namespaceSelector keep to. */
  readonly ownNamespace?: string;
  readonly accounts?: readonly string[];
  readonly nets?: readonly AddressRange[];
  readonly notNets?: readonly AddressRange[];
  readonly ports?: readonly CalicoPort[];
  readonly notPorts?: readonly CalicoPort[];
}

export type CalicoPort = ({ readonly kind: 'range' } & PortRange) | { readonly kind: 'named'; readonly name: string };

export type OrderedMatch =
  | {
      readonly kind: 'peers';
      readonly peers: 'all' | readonly (NetworkPeer | NodePeer)[];
      readonly ports: 'all' | readonly NetworkPort[];
    }
  | {
      readonly kind: 'calico';
      /** `none` for a protocol that no connection here has, ICMP among them. */
      readonly protocol: Protocol | 'any' | 'none';
      readonly notProtocol?: Protocol;
      readonly source: CalicoEntity;
      readonly destination: CalicoEntity;
    };

/** Nodes by label; labels of nodes are not known here. */
export interface NodePeer {
  readonly kind: 'nodes';
  readonly nodes: Selector;
}

export interface OrderedRule {
  /** Position in the manifest, from 0. */
  readonly index: number;
  /** `spec.ingress[0]` */
  readonly field: string;
  readonly action: RuleAction;
  readonly match: OrderedMatch;
  /** Why a rule that seems to match only may. */
  readonly doubt?: string;
}

export interface OrderedPolicy {
  readonly engine: 'admin' | 'calico' | 'cilium';
  readonly ref: ObjectRef;
  /** `AdminNetworkPolicy p` */
  readonly name: string;
  /** The namespace it stands in; empty for the cluster. */
  readonly namespace: string;
  readonly tier: string;
  /** Lower comes first. */
  readonly order: number;
  /** Among policies of one order the one whose name comes first, where the engine says so; else the order is not known. */
  readonly tieBreak?: string;
  readonly subject: OrderedSubject;
  /** Rules of a direction that it acts on; undefined where it does not. */
  readonly ingress?: readonly OrderedRule[];
  readonly egress?: readonly OrderedRule[];
}

export interface CalicoTier {
  readonly name: string;
  readonly order: number;
  readonly end: 'deny' | 'pass';
}

/** A NetworkSet or GlobalNetworkSet: addresses with labels. */
export interface CalicoNetworkSet {
  readonly name: string;
  readonly namespace?: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Undefined where it cannot be read. */
  readonly nets?: readonly AddressRange[];
}
