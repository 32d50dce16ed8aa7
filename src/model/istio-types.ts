import type { Problem } from './problem.ts';
import type { Selector } from './selector.ts';

export interface IstioBase {
  readonly name: string;
  readonly namespace: string;
  /** Milliseconds since the epoch; infinite where it has not been created yet. */
  readonly created: number;
  /** What keeps its effect from being known. */
  readonly problems: readonly Problem[];
}

export type MtlsMode = 'STRICT' | 'PERMISSIVE' | 'DISABLE';

export interface PeerAuthentication extends IstioBase {
  readonly kind: 'PeerAuthentication';
  /** Undefined without a selector, or with an empty one: it speaks for its namespace. */
  readonly selector?: Selector;
  readonly mode: MtlsMode | 'UNSET' | 'unknown';
  readonly ports: ReadonlyMap<number, MtlsMode | 'UNSET' | 'unknown'>;
}

export type ClientTlsMode = 'DISABLE' | 'SIMPLE' | 'MUTUAL' | 'ISTIO_MUTUAL' | 'unknown';

/** What a rule says of client TLS; undefined where it leaves it to auto mTLS. */
export interface ClientTlsPolicy {
  readonly tls?: ClientTlsMode;
  /** By port of the Service. An undefined mode: the port has settings, and none for TLS. */
  readonly ports: ReadonlyMap<number, ClientTlsMode | undefined>;
}

export interface DestinationRule extends IstioBase {
  readonly kind: 'DestinationRule';
  /** As a fully qualified name, or a wildcard. */
  readonly host: string;
  /** Namespaces, `.` and `*` as they stand; empty: everywhere. Undefined where it cannot be read. */
  readonly exportTo: ReadonlySet<string> | undefined;
  /** The pods of its own namespace that follow it; undefined: all who see it. */
  readonly selector?: Selector;
  /** Undefined without a trafficPolicy. */
  readonly policy?: ClientTlsPolicy;
  /** True where a subset has client TLS of its own. */
  readonly subsetTls: boolean;
}

export type SourceField =
  | 'principals'
  | 'namespaces'
  | 'serviceAccounts'
  | 'trustDomains'
  | 'ipBlocks'
  | 'requestPrincipals'
  | 'remoteIpBlocks';
export type OperationField = 'ports' | 'methods' | 'paths' | 'hosts';
/** Fields that only `when` has. `experimental` is metadata of a filter. */
export type WhenField = 'audiences' | 'presenter' | 'claims' | 'header' | 'destinationIps' | 'sni' | 'experimental';
export type ConditionField = SourceField | OperationField | WhenField;

/** One condition: some value must match, or, negated, none may. */
export interface Condition {
  readonly field: ConditionField;
  /** As the manifest has it: `notPaths`, `request.headers[x-user]`. */
  readonly label: string;
  /** Of a header, in lower case. */
  readonly header?: string;
  readonly negated: boolean;
  readonly values: readonly string[];
}

export interface AuthorizationRule {
  readonly index: number;
  /** Alternatives, each of conditions that must all hold. Empty means any. */
  readonly from: readonly (readonly Condition[])[];
  readonly to: readonly (readonly Condition[])[];
  /** All must hold. */
  readonly when: readonly Condition[];
}

/** An object that a policy names as what it is for. */
export interface TargetRef {
  readonly group: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string;
}

export interface AuthorizationPolicy extends IstioBase {
  readonly kind: 'AuthorizationPolicy';
  /** Without requirements it speaks for its namespace, or in the root namespace for the mesh. */
  readonly selector: Selector;
  readonly targets: readonly TargetRef[];
  readonly action: 'ALLOW' | 'DENY' | 'CUSTOM' | 'AUDIT';
  /** `istio.io/dry-run`: it is rehearsed, not enforced. */
  readonly dryRun: boolean;
  readonly rules: readonly AuthorizationRule[];
}

/** RequestAuthentication: without one no token is ever checked, so no request has a principal. */
export interface RequestAuthentication extends IstioBase {
  readonly kind: 'RequestAuthentication';
  readonly selector: Selector;
  readonly targets: readonly TargetRef[];
  /** True where a token may stand elsewhere than in the Authorization header. */
  readonly elsewhere: boolean;
}

export interface SidecarResource extends IstioBase {
  readonly kind: 'Sidecar';
  readonly selector?: Selector;
  /** `namespace/host`; undefined where it leaves the defaults. */
  readonly egressHosts?: readonly string[];
  readonly ingress: boolean;
  readonly registryOnly: boolean;
}

/** A name outside the cluster that the mesh knows. */
export interface ServiceEntry extends IstioBase {
  readonly kind: 'ServiceEntry';
  readonly hosts: readonly string[];
  readonly ports: readonly number[];
  readonly exportTo: ReadonlySet<string> | undefined;
}

/** EnvoyFilter, WasmPlugin: may do anything to the proxies that they select. */
export interface ProxyExtension extends IstioBase {
  readonly kind: 'extension';
  readonly selector: Selector;
  readonly targeted: boolean;
}

/** A Gateway of class istio-waypoint. */
export interface Waypoint extends IstioBase {
  readonly kind: 'waypoint';
  /** Its name. */
  readonly gateway: string;
  /** What it stands before (`istio.io/waypoint-for`). */
  readonly takes: 'service' | 'workload' | 'all' | 'none';
}

export type IstioObject =
  | PeerAuthentication
  | DestinationRule
  | AuthorizationPolicy
  | RequestAuthentication
  | SidecarResource
  | ServiceEntry
  | ProxyExtension
  | Waypoint;
