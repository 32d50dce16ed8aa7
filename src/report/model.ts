import type { MeshMembership } from '../model/inventory.ts';
import type { PhaseName } from '../model/phase.ts';

/*
 * The assessment report as data. Everything in it is plain JSON: no undefined, times are ISO 8601 in UTC, absent values are null. Names,
 * labels and annotations in it come from the cluster as they are and are hostile text to every renderer.
 *
 * Indexes: `node` is a position in `map.nodes`, `edge` one in the columns of `map.edges`, `candidate` one in `policies.candidates`.
 */

export const ASSESSMENT_API_VERSION = 'sallyport.dev/v1';

/** Yes, no, or not known: what can't be judged is said. */
export type Answer = 'yes' | 'no' | 'unknown';

/** ISO 8601 in UTC. */
export type Instant = string;

/** `counted` from the cluster or the record, `computed` by the simulator, `declared` by a person, `measured`, or an `estimate`. */
export type Basis = 'counted' | 'computed' | 'declared' | 'measured' | 'estimate';

export interface Window {
  readonly from: Instant;
  readonly to: Instant;
}

/** A number with where it comes from (P7). */
export interface Figure {
  /** Key under `summary.figures`, stable: `workloads`, `surface-now`. */
  readonly id: string;
  readonly label: string;
  /** Null where it is not known; `unknownBecause` then says why. */
  readonly value: number | null;
  readonly unit: '' | 'percent' | 'ms' | 'hours' | 'days';
  readonly basis: Basis;
  /** What it was taken from, in words: "manifests of the directory", "hubble, 200,000 records". */
  readonly source: string;
  /** The time it speaks of; null where it is a fact of the configuration as read. */
  readonly window: Window | null;
  /** What was not seen, in words; empty only where nothing is known to be missing. */
  readonly notSeen: readonly string[];
  /** JSON pointer to the datum in this document that it repeats: its value, or the length of the list there. */
  readonly pointer: string;
  readonly measure: 'value' | 'length';
  readonly unknownBecause: string | null;
}

export type SentencePart =
  | { readonly kind: 'text'; readonly text: string }
  /** The figure of that id, with its text as it stands in the sentence ("64", "3.2%"). */
  | { readonly kind: 'figure'; readonly figure: string; readonly text: string };

/** A sentence for a manager, whose every number is a figure. */
export interface Sentence {
  readonly id: string;
  readonly tone: 'good' | 'bad' | 'neutral' | 'unknown';
  /** The parts put together. */
  readonly text: string;
  readonly parts: readonly SentencePart[];
  /** The section of the report that shows more: a key of the report such as `risk`. */
  readonly section: string;
}

export interface Summary {
  /** One sentence: where things stand. */
  readonly headline: Sentence;
  /** Eight or so, read in a minute. */
  readonly sentences: readonly Sentence[];
  /** What to do first, most useful first, with the command where there is one. */
  readonly actions: readonly { readonly text: string; readonly command: string | null; readonly section: string }[];
  readonly figures: readonly Figure[];
}

export interface ClusterFactsView {
  readonly source: 'cluster' | 'directory';
  /** Id of the state: UID of kube-system, or a hash of the directory's path. */
  readonly id: string;
  readonly description: string;
  readonly kubernetesVersion: string | null;
  readonly cni: { readonly name: string; readonly enforces: Answer; readonly because: string };
  readonly mesh: {
    readonly kind: 'istio' | 'none' | 'unknown';
    readonly mode: 'sidecar' | 'ambient' | 'unknown';
    readonly version: string | null;
    readonly trustDomain: string;
    readonly because: string;
  };
  readonly objects: number;
  readonly namespaces: number;
  readonly workloads: number;
  readonly services: number;
  readonly nodes: number;
  /** Kinds (`group/Kind`) that could not be read. */
  readonly unread: readonly string[];
}

// ---- evidence -------------------------------------------------------------------------------------------------------------------

export interface EvidenceSource {
  readonly source: string;
  readonly first: Instant;
  readonly last: Instant;
  readonly records: number;
  readonly lost: number;
  readonly bad: number;
  readonly ignored: number;
  readonly sampledOneIn: number;
}

export interface CoverageRow {
  readonly namespace: string;
  readonly direction: 'ingress' | 'egress';
  /** Edges seen. */
  readonly observed: number;
  /** Upper bound of the edges not seen. */
  readonly unseenUpper: number;
  /** Upper bound of the unseen share, 0 to 1; null with too few days or runs. */
  readonly shareUpper: number | null;
  /** Workloads with fewer than three days or runs. */
  readonly tooFew: readonly string[];
}

export interface ScheduleRow {
  readonly workload: string;
  readonly cron: string;
  readonly answer: Answer;
  readonly facts: readonly string[];
  readonly fix: string;
}

export interface EvidenceSection {
  /** Null where there is no record of traffic at all. */
  readonly window: Window | null;
  readonly hours: number | null;
  readonly days: number;
  readonly sources: readonly EvidenceSource[];
  readonly records: number;
  readonly lost: number;
  /** Share of records lost, 0 to 1; null without records. */
  readonly lostShare: number | null;
  readonly unattributed: readonly { readonly reason: string; readonly count: number }[];
  readonly coverage: readonly CoverageRow[];
  readonly schedules: readonly ScheduleRow[];
  /** Workloads that no record of traffic names. */
  readonly unseenWorkloads: readonly string[];
  /** What this report can't know, in sentences. */
  readonly limits: readonly string[];
}

// ---- inventory ------------------------------------------------------------------------------------------------------------------

export interface WorkloadRow {
  readonly node: number;
  readonly id: string;
  readonly component: string;
  readonly stage: string;
  readonly plane: string;
  readonly sensitivity: readonly string[];
  readonly confidence: 'strong' | 'weak';
  readonly why: readonly string[];
  readonly alternatives: readonly string[];
  readonly mesh: MeshMembership;
  readonly serviceAccounts: readonly string[];
  /** Cron of a scheduled workload. */
  readonly schedule: string | null;
  /** Who else writes it: "argo-cd platform". */
  readonly manager: string | null;
}

export interface GroupCount {
  readonly name: string;
  readonly workloads: number;
  readonly namespaces: readonly string[];
}

export interface FindingGroup {
  readonly code: string;
  readonly severity: 'info' | 'warning' | 'error';
  readonly title: string;
  readonly count: number;
  /** The first few, with the place where known. */
  readonly examples: readonly { readonly subject: string; readonly message: string; readonly where: string | null }[];
}

export interface InventorySection {
  /** In the order of their ids; `workloads[i].node` is `i`. */
  readonly workloads: readonly WorkloadRow[];
  /** In the order of a pipeline. */
  readonly byStage: readonly GroupCount[];
  readonly byPlane: readonly GroupCount[];
  readonly bySensitivity: readonly GroupCount[];
  /** Workloads whose component is not recognised. */
  readonly unrecognised: number;
  readonly findings: readonly FindingGroup[];
}

// ---- the map --------------------------------------------------------------------------------------------------------------------

export type NodeKind = 'workload' | 'node' | 'api-server' | 'external' | 'unknown';

export interface MapNode {
  readonly id: string;
  readonly kind: NodeKind;
  /** What to write on it: the name without namespace and kind. */
  readonly label: string;
  /** Index in `map.namespaces`; -1 for what is in none. */
  readonly namespace: number;
  /** Indexes in the lists of the map. */
  readonly stage: number;
  readonly plane: number;
  /** -1 where no tenant is known. */
  readonly tenant: number;
  readonly sensitivity: readonly number[];
  readonly mesh: MeshMembership;
}

/** Codes of the columns `mtls`, `verdict`, `review`, `origin`, `protocol` are positions in these lists. */
export const MAP_CODES = {
  protocol: ['TCP', 'UDP', 'SCTP'],
  mtls: ['yes', 'no', 'mixed', 'unknown'],
  verdict: ['allowed', 'denied', 'unknown'],
  review: ['unreviewed', 'legitimate', 'to-be-cut'],
  origin: ['observed', 'declared-strong', 'declared-weak'],
} as const;

/**
 * Edges by column, every column as long as the others: 50,000 edges as objects would be five times as long. Row `i` of every column
 * is edge `i`. Sorted by source, destination, protocol, port, operation.
 */
export interface MapEdges {
  /** The edge's id, as `sallyport flows` shows it. */
  readonly id: readonly string[];
  readonly src: readonly number[];
  readonly dst: readonly number[];
  readonly protocol: readonly number[];
  readonly port: readonly number[];
  /** Last port of a range; 0 where it is a single port. */
  readonly endPort: readonly number[];
  /** Index in `map.operations`; -1 where none is known. */
  readonly l7: readonly number[];
  /** As the sources saw it. */
  readonly mtls: readonly number[];
  /** What the policies of now say of it, by simulation. */
  readonly verdict: readonly number[];
  /** What decides that: index in `map.reasons`. */
  readonly decides: readonly number[];
  /** Connections on record. 0: declared by configuration alone. */
  readonly count: readonly number[];
  /** Connections on record that a source saw denied. */
  readonly deniedCount: readonly number[];
  /** UTC days on which one passed. */
  readonly days: readonly number[];
  /** Seconds since the epoch; 0 where never seen. */
  readonly first: readonly number[];
  readonly last: readonly number[];
  /** Index in `map.sourceSets`. */
  readonly sources: readonly number[];
  readonly review: readonly number[];
  readonly origin: readonly number[];
  /** Candidates that would allow it: of its destination (ingress), its source (egress), and on principals. -1: none. */
  readonly ingressCandidate: readonly number[];
  readonly egressCandidate: readonly number[];
  readonly authorizationCandidate: readonly number[];
}

export interface FlowMap {
  readonly namespaces: readonly string[];
  readonly stages: readonly string[];
  readonly planes: readonly string[];
  readonly tenants: readonly string[];
  readonly sensitivities: readonly string[];
  /** `METHOD /path`. */
  readonly operations: readonly string[];
  readonly reasons: readonly string[];
  /** Each is a list of sources joined by ", "; for a declared edge what declares it ("declared by Ingress shop/web"). */
  readonly sourceSets: readonly string[];
  /** Workloads first, in the order of `inventory.workloads`. */
  readonly nodes: readonly MapNode[];
  readonly edges: MapEdges;
  readonly totals: MapTotals;
}

export interface MapTotals {
  readonly edges: number;
  readonly observed: number;
  readonly declared: number;
  readonly connections: number;
  readonly unreviewed: number;
  readonly toBeCut: number;
  /** By what the sources saw. */
  readonly mtls: number;
  readonly plaintext: number;
  readonly mtlsUnknown: number;
  /** By what the policies of now say. */
  readonly allowed: number;
  readonly denied: number;
  readonly unknown: number;
  readonly toOutside: number;
  readonly fromOutside: number;
}

// ---- trust boundaries, planes, tenants, egress ----------------------------------------------------------------------------------

export type BoundaryKind =
  'cluster' | 'namespace' | 'stage' | 'plane' | 'tenant' | 'sensitivity' | 'vpc' | 'nat' | 'iam';

export interface Boundary {
  readonly id: string;
  readonly kind: BoundaryKind;
  readonly name: string;
  readonly basis: 'declared' | 'computed';
  readonly because: string;
  /** Workloads inside. */
  readonly workloads: number;
  /** CIDRs, addresses or stages, where declared. */
  readonly scope: readonly string[];
}

/** Traffic from one side of a kind of boundary to another. */
export interface Crossing {
  readonly kind: BoundaryKind;
  readonly from: string;
  readonly to: string;
  readonly edges: readonly number[];
  readonly connections: number;
  /** Edges of it seen with mTLS only. */
  readonly mtls: number;
  /** Edges of it that no policy decides: nothing isolates either end. */
  readonly open: number;
  /** Data of these sorts is handled on the side it leads to. */
  readonly sensitivity: readonly string[];
}

export interface BoundariesSection {
  readonly boundaries: readonly Boundary[];
  /** Most edges first. Crossings of namespaces are on the map. */
  readonly crossings: readonly Crossing[];
  /** Kinds a person may declare and has not: said, not guessed. */
  readonly undeclared: readonly string[];
}

export interface PlanesSection {
  /** One row a pair of planes that has edges. */
  readonly matrix: readonly {
    readonly from: string;
    readonly to: string;
    readonly edges: number;
    readonly connections: number;
  }[];
  /** From the data plane into the control plane, which is what an attacker in a model server would use. */
  readonly dataToControl: readonly number[];
  /** Callers of the API server, by workload. */
  readonly apiServerCallers: readonly {
    readonly workload: string;
    readonly plane: string;
    readonly edges: readonly number[];
  }[];
}

export interface Tenant {
  readonly name: string;
  readonly namespaces: readonly string[];
  readonly workloads: number;
  readonly basis: 'declared' | 'computed';
  readonly because: readonly string[];
}

export interface TenantLeak {
  readonly from: string;
  readonly to: string;
  /** Edges on record. */
  readonly edges: readonly number[];
  /** Pairs of workloads that could connect by NetworkPolicy and its kin, the mesh not asked; null in a cluster too large for that. */
  readonly reachablePairs: number | null;
  readonly pairs: number;
}

export interface TenantsSection {
  readonly tenants: readonly Tenant[];
  readonly leaks: readonly TenantLeak[];
  /** Namespaces of no known tenant, shared platform apart. */
  readonly unassigned: readonly string[];
  readonly shared: readonly string[];
  readonly because: string;
}

export const EGRESS_GROUPS = [
  'packages',
  'container-images',
  'model-hubs',
  'datasets',
  'cloud-apis',
  'metadata-server',
  'code',
  'saas',
  'internal',
  'unknown',
] as const;
export type EgressGroupName = (typeof EGRESS_GROUPS)[number];

export interface EgressDestination {
  readonly node: number;
  /** The name, or the address where no name is known. */
  readonly name: string;
  readonly because: string;
  /** The declared VPC or range it lies in. */
  readonly boundary: string | null;
  readonly workloads: readonly string[];
  readonly ports: readonly string[];
  readonly edges: readonly number[];
  readonly connections: number;
}

export interface EgressSection {
  /** All groups, in the order of EGRESS_GROUPS, empty ones too. */
  readonly groups: readonly {
    readonly group: EgressGroupName;
    readonly title: string;
    readonly destinations: readonly EgressDestination[];
    readonly connections: number;
  }[];
  readonly destinations: number;
  /** Workloads that may open any connection to the outside as the policies now stand; null where not computed. */
  readonly unrestricted: number | null;
}

// ---- identities -----------------------------------------------------------------------------------------------------------------

export interface AccountRow {
  readonly namespace: string;
  readonly name: string;
  readonly workloads: readonly string[];
  readonly isDefault: boolean;
  readonly shared: boolean;
  /** Does a token go into the pods? */
  readonly automount: Answer;
  /** Roles bound to it: `ClusterRole/cluster-admin`. */
  readonly roles: readonly string[];
  /** Bound to a role that can do anything, read every Secret, or make pods everywhere. */
  readonly powerful: readonly string[];
  /** `eks.amazonaws.com/role-arn` and its kin: which cloud, by which annotation; the identity named there. */
  readonly cloud: readonly {
    readonly provider: 'aws' | 'gcp' | 'azure';
    readonly annotation: string;
    readonly identity: string;
  }[];
}

/** A credential in use, by reference. Values are never read. */
export interface KeyReference {
  readonly workload: string;
  /** How it gets in: an environment variable from a Secret, one with a literal value (masked, never kept), a mounted Secret. */
  readonly how:
    'env-from-secret' | 'env-literal' | 'env-all-of-secret' | 'mounted-secret' | 'account-token-secret' | 'image-pull';
  /** Name of the variable or path of the mount. */
  readonly at: string;
  /** `Secret ns/name key`; null for a literal. */
  readonly reference: string | null;
  readonly sort: 'cloud-key' | 'database' | 'object-store' | 'token' | 'password' | 'tls' | 'other';
  readonly because: string;
  readonly fix: string;
}

export type AuthenticationKind =
  'jwt' | 'oauth2-proxy' | 'oidc' | 'client-certificate' | 'basic' | 'external' | 'none-found' | 'unknown';

/** A way in from outside the cluster and how callers prove who they are. */
export interface Entrance {
  readonly id: string;
  readonly kind: 'Ingress' | 'Gateway' | 'VirtualService' | 'HTTPRoute' | 'Service' | 'Route';
  readonly hosts: readonly string[];
  readonly tls: Answer;
  readonly leadsTo: readonly string[];
  readonly authentication: AuthenticationKind;
  readonly because: readonly string[];
}

export interface OauthClient {
  /** The workload or object that is configured as one. */
  readonly subject: string;
  readonly kind: string;
  /** Where client id and secret are taken from, by reference. */
  readonly references: readonly string[];
  readonly issuer: string | null;
}

export interface IdentitiesSection {
  readonly accounts: readonly AccountRow[];
  readonly totals: {
    readonly accounts: number;
    readonly defaultAccounts: number;
    readonly workloadsOnDefault: number;
    readonly sharedAccounts: number;
    readonly workloadsOnShared: number;
    readonly cloudBound: number;
    readonly powerful: number;
    readonly keys: number;
    readonly literalKeys: number;
  };
  readonly keys: readonly KeyReference[];
  readonly entrances: readonly Entrance[];
  readonly oauthClients: readonly OauthClient[];
  /** RequestAuthentication objects: which issuer, on what. */
  readonly jwt: readonly {
    readonly object: string;
    readonly issuers: readonly string[];
    readonly selects: readonly string[];
    readonly required: Answer;
  }[];
  readonly limits: readonly string[];
}

// ---- risk -----------------------------------------------------------------------------------------------------------------------

export interface RiskFactor {
  readonly id: string;
  /** Points at value 1. The weights add up to 100. */
  readonly weight: number;
  readonly title: string;
  /** How the value between 0 and 1 comes about. */
  readonly rule: string;
}

export interface RiskValue {
  readonly factor: string;
  /** 0 to 1, rounded to 3 digits; null where it is not known, and then `points` are those of 0.5. */
  readonly value: number | null;
  readonly points: number;
  readonly because: string;
}

export interface RiskRow {
  readonly rank: number;
  readonly node: number;
  readonly workload: string;
  /** Sum of the points, 0 to 100, one digit. */
  readonly score: number;
  readonly values: readonly RiskValue[];
}

export interface RiskSection {
  readonly formula: string;
  readonly factors: readonly RiskFactor[];
  /** Highest first; ties by id. Every workload. */
  readonly rows: readonly RiskRow[];
}

// ---- readiness, plaintext, policies, waves ------------------------------------------------------------------------------------

export interface GateView {
  readonly id: string;
  readonly answer: Answer;
  readonly subject: string;
  readonly facts: readonly string[];
  /** A command or an action; empty when the answer is yes. */
  readonly fix: string;
  readonly waived: string | null;
}

export type ReadinessState = 'reached' | 'ready' | 'blocked' | 'unknown' | 'not-judged';

export interface PhaseReadiness {
  readonly phase: PhaseName;
  /** `unknown`: no gate says no, and some can't be answered. `not-judged`: see `because`. */
  readonly state: ReadinessState;
  readonly because: string;
  readonly met: number;
  /** Gates that are not met, no before unknown. Those met are counted alone. */
  readonly open: readonly GateView[];
  readonly steps: number;
  /** Legitimate edges that the state after this phase would deny, or that can't be judged in it. */
  readonly denied: readonly { readonly edge: number; readonly text: string; readonly reason: string }[];
  readonly unknown: readonly { readonly edge: number; readonly text: string; readonly reason: string }[];
}

export interface NamespaceRow {
  readonly namespace: string;
  readonly phase: PhaseName;
  /** Why it goes last; null for one that is no system namespace. */
  readonly system: string | null;
  readonly tenant: string | null;
  readonly workloads: number;
  readonly edges: number;
  readonly inMesh: number;
  /** Workloads isolated by a policy now, in each direction. */
  readonly isolatedIngress: number;
  readonly isolatedEgress: number;
  readonly wave: number | null;
  readonly next: PhaseName | null;
  /** The five phases in order. */
  readonly phases: readonly PhaseReadiness[];
  readonly command: string | null;
}

export interface ReadinessSection {
  readonly namespaces: readonly NamespaceRow[];
  /** How it was judged, and what was left out for size. */
  readonly method: readonly string[];
}

export interface PlaintextRow {
  readonly edge: number;
  readonly src: string;
  readonly dst: string;
  readonly port: number;
  /** Can the caller speak mTLS now, and once everybody who can has joined? */
  readonly now: Answer;
  readonly afterJoin: Answer;
  /** True where the destination will have a sidecar and STRICT would refuse this caller even after everybody who can has joined. */
  readonly blocksStrict: boolean;
  readonly because: string;
  /** What to do about it, first the best. */
  readonly fixes: readonly string[];
}

export interface PlaintextSection {
  /** Callers, each counted once a workload and port, that are not surely protected by mTLS now. */
  readonly total: number;
  /** Those that joining the mesh does not help, or of which that is not known. */
  readonly rows: readonly PlaintextRow[];
  /** Those that are solved by `sallyport advance NS --to permissive-mtls` at both ends: edges. */
  readonly solved: readonly number[];
  readonly solvedByJoining: number;
  /** Rows that keep STRICT from their destination: joining does not help, or whether it does is not known. */
  readonly lasting: number;
  /** Rows that lead to workloads that stay outside of the mesh. */
  readonly outsideMesh: number;
  /** Where there is no mesh to join: all of them, as edges; no row is made of them. */
  readonly waiting: readonly number[];
  /** Why there is no mesh to join; null where there is one. */
  readonly noMesh: string | null;
}

export interface CandidateRow {
  /** `NetworkPolicy shop/sallyport-web-ingress`. */
  readonly name: string;
  readonly kind: string;
  readonly namespace: string;
  readonly workload: string;
  readonly purpose: 'ingress' | 'egress' | 'principals';
  readonly operation: 'create' | 'change' | 'unchanged';
  /** The object, as `kubectl apply -f` takes it. Empty in a report that leaves texts out for size. */
  readonly yaml: string;
  /** Lines of a diff against the object as it stands ("+ ...", "- ...", "  ..."); empty for one that is new. */
  readonly diff: readonly string[];
  readonly rules: readonly { readonly peer: string; readonly edges: readonly number[]; readonly note: string | null }[];
}

export interface PoliciesSection {
  readonly candidates: readonly CandidateRow[];
  /** Why some workload gets none, or not an exact one. */
  readonly problems: readonly { readonly subject: string; readonly text: string; readonly fix: string }[];
  /** True where the texts of the candidates are left out of this document for its size. */
  readonly textsLeftOut: boolean;
  /** Policies that are there today, by kind. */
  readonly present: readonly { readonly kind: string; readonly count: number; readonly judged: Answer }[];
}

export interface Wave {
  /** From 1. */
  readonly wave: number;
  readonly namespaces: readonly string[];
  readonly why: readonly string[];
}

// ---- attack surface, residual, latency ------------------------------------------------------------------------------------------

export interface SurfaceState {
  readonly state: 'now' | PhaseName;
  /** Null where it can't be computed; `because` says why. */
  readonly reachable: number | null;
  /** Pairs of which some port can't be judged, and none is surely open. */
  readonly unknown: number | null;
  /** Share of all pairs that is reachable, 0 to 1. */
  readonly share: number | null;
  readonly because: string;
}

export interface SurfaceSection {
  /** Ordered pairs of different workloads. */
  readonly pairs: number;
  readonly method: string;
  /** Now, then after each phase. */
  readonly states: readonly SurfaceState[];
  /** Workloads that most others can reach now, first the most. */
  readonly mostExposed: readonly {
    readonly workload: string;
    readonly from: number;
    readonly fromNamespaces: number;
  }[];
}

export type ResidualKind =
  | 'host-network'
  | 'rdma'
  | 'secondary-network'
  | 'host-ipc'
  | 'host-pid'
  | 'privileged'
  | 'own-node'
  | 'open-connections'
  | 'cni'
  | 'outside-mesh'
  | 'no-selector'
  | 'unjudged-policy'
  | 'start-up';

export interface ResidualRow {
  readonly kind: ResidualKind;
  readonly title: string;
  /** Said outright, in a sentence or two. */
  readonly text: string;
  readonly subjects: readonly string[];
  readonly mitigation: string;
}

export interface LatencyRow {
  readonly control: string;
  readonly title: string;
  readonly basis: 'measured' | 'estimate';
  readonly unit: 'ms' | 'percent';
  /** What is added. An estimate may be a range. */
  readonly p50: number | null;
  readonly p99: number | null;
  readonly low: number | null;
  readonly high: number | null;
  readonly n: number | null;
  readonly source: string;
  readonly measuredAt: Instant | null;
  readonly perConnection: boolean;
}

export interface LatencyPath {
  readonly name: string;
  readonly hops: readonly string[];
  /** Added by each phase over the whole path, milliseconds, on an open connection. */
  readonly added: readonly {
    readonly phase: PhaseName;
    readonly ms: number;
    readonly basis: 'measured' | 'estimate';
  }[];
  /** Once, when the connections of the path are opened. */
  readonly handshakeMs: { readonly low: number; readonly high: number; readonly basis: 'measured' | 'estimate' };
}

export interface LatencySection {
  readonly controls: readonly LatencyRow[];
  /** Request paths from an entrance through the serving stage. */
  readonly paths: readonly LatencyPath[];
  readonly notes: readonly string[];
}

// ---- standards, progress, comparison --------------------------------------------------------------------------------------------

export interface StandardRow {
  /** `3.1 tenet 4`, `5.3.2`. */
  readonly id: string;
  /** In our own words. */
  readonly title: string;
  readonly state: 'met' | 'partly' | 'not-met' | 'unknown' | 'outside';
  /** What in this report backs the answer. */
  readonly because: readonly string[];
  /** What Sallyport's phases do about it. */
  readonly answeredBy: string;
  readonly section: string;
}

export interface StandardsSection {
  readonly nist: readonly StandardRow[];
  readonly cis: readonly StandardRow[];
  readonly note: string;
}

export interface ProgressRun {
  readonly run: string;
  readonly kind: 'advance' | 'rollback';
  readonly namespace: string;
  readonly from: PhaseName;
  readonly to: PhaseName;
  readonly startedAt: Instant;
  readonly endedAt: Instant | null;
  readonly outcome: string;
  readonly by: string;
  readonly changes: number;
}

export interface ProgressSection {
  readonly started: boolean;
  /** Namespaces by the phase they are in. */
  readonly phases: readonly { readonly phase: PhaseName; readonly namespaces: readonly string[] }[];
  readonly runs: readonly ProgressRun[];
  readonly decisions: readonly {
    readonly at: Instant;
    readonly by: string;
    readonly action: 'accept' | 'waive' | 'adopt';
    readonly query: string;
    readonly reason: string;
    readonly edges: number;
  }[];
  readonly totals: {
    readonly runs: number;
    readonly phasesDone: number;
    readonly changes: number;
    readonly acceptances: number;
    readonly waivers: number;
    readonly adoptions: number;
    readonly rollbacks: number;
    /** Fields that are no longer as Sallyport left them. */
    readonly drift: number;
    /** Namespaces whose last attempt to advance found a gate that was not met. */
    readonly refused: number;
    /** Runs that were undone. */
    readonly undone: number;
    /** Connections that a source saw denied, of edges that a policy of Sallyport's denies now. */
    readonly violationsPrevented: number;
  };
  readonly drift: readonly { readonly object: string; readonly path: string; readonly step: string }[];
  /** The audit trail, oldest first; the newest 500 where it is longer. */
  readonly trail: readonly {
    readonly at: Instant;
    readonly who: string;
    readonly what: string;
    readonly object: string;
    readonly reason: string;
    readonly run: string | null;
  }[];
  readonly trailLength: number;
}

export interface ComparedFigure {
  readonly id: string;
  readonly label: string;
  readonly before: number | null;
  readonly after: number | null;
  readonly better: 'yes' | 'no' | 'same' | 'neither';
}

export interface Comparison {
  readonly before: { readonly at: Instant; readonly description: string; readonly sameCluster: boolean };
  readonly figures: readonly ComparedFigure[];
  readonly workloads: { readonly added: readonly string[]; readonly removed: readonly string[] };
  readonly edges: {
    readonly added: number;
    readonly removed: number;
    readonly addedTexts: readonly string[];
    readonly removedTexts: readonly string[];
  };
  readonly phases: readonly { readonly namespace: string; readonly before: PhaseName; readonly after: PhaseName }[];
  readonly risk: readonly { readonly workload: string; readonly before: number; readonly after: number }[];
  readonly candidates: { readonly added: readonly string[]; readonly removed: readonly string[] };
  readonly surface: readonly {
    readonly state: 'now' | PhaseName;
    readonly before: number | null;
    readonly after: number | null;
  }[];
  readonly notes: readonly string[];
}

/** The report. Documented in docs/report.md. */
export interface AssessmentReport {
  readonly apiVersion: typeof ASSESSMENT_API_VERSION;
  readonly kind: 'Assessment';
  readonly version: string;
  /** The moment it speaks of: now, or offline that of the newest record. */
  readonly at: Instant;
  readonly cluster: ClusterFactsView;
  readonly summary: Summary;
  readonly evidence: EvidenceSection;
  readonly inventory: InventorySection;
  readonly map: FlowMap;
  readonly boundaries: BoundariesSection;
  readonly planes: PlanesSection;
  readonly tenants: TenantsSection;
  readonly egress: EgressSection;
  readonly identities: IdentitiesSection;
  readonly risk: RiskSection;
  readonly readiness: ReadinessSection;
  readonly plaintext: PlaintextSection;
  readonly policies: PoliciesSection;
  readonly waves: readonly Wave[];
  readonly surface: SurfaceSection;
  readonly residual: readonly ResidualRow[];
  readonly latency: LatencySection;
  readonly standards: StandardsSection;
  readonly progress: ProgressSection;
  readonly comparison: Comparison | null;
}
