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
  /** Its beginning. */
  readonly from: Instant;
  /** Its end. */
  readonly to: Instant;
}

/** A number with where it comes from (P7). */
export interface Figure {
  /** Key under `summary.figures`, stable: `workloads`, `surface-now`. */
  readonly id: string;
  /** What is counted, in words. */
  readonly label: string;
  /** Null where it is not known; `unknownBecause` then says why. */
  readonly value: number | null;
  /** Empty for a plain number. */
  readonly unit: '' | 'percent' | 'ms' | 'hours' | 'days';
  /** How the number came about. */
  readonly basis: Basis;
  /** What it was taken from, in words: "manifests of the directory", "hubble, 200,000 records". */
  readonly source: string;
  /** The time it speaks of; null where it is a fact of the configuration as read. */
  readonly window: Window | null;
  /** What was not seen, in words; empty only where nothing is known to be missing. */
  readonly notSeen: readonly string[];
  /** JSON pointer to the datum in this document that it repeats: its value, or the length of the list there. */
  readonly pointer: string;
  /** Is the datum itself meant, or the length of the list there? */
  readonly measure: 'value' | 'length';
  /** Why there is no value; null where there is one. */
  readonly unknownBecause: string | null;
}

export type SentencePart =
  | {
      /** Words, or a number. */
      readonly kind: 'text';
      /** The words. */
      readonly text: string;
    }
  /** The figure of that id, with its text as it stands in the sentence ("64", "3.2%"). */
  | {
      /** Words, or a number. */
      readonly kind: 'figure';
      /** Id of the figure. */
      readonly figure: string;
      /** The words. */
      readonly text: string;
    };

/** A sentence for a manager, whose every number is a figure. */
export interface Sentence {
  /** Stable key of the sentence. */
  readonly id: string;
  /** How it is meant. */
  readonly tone: 'good' | 'bad' | 'neutral' | 'unknown';
  /** The parts put together. */
  readonly text: string;
  /** The same in pieces, so that each number leads to its figure. */
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
  readonly actions: readonly {
    /** What to do. */
    readonly text: string;
    /** Commands that can be pasted; of several, one or the other. None where it takes a person. */
    readonly commands: readonly string[];
    /** The section that says more. */
    readonly section: string;
  }[];
  /** Every number of the sentences, with where it comes from. */
  readonly figures: readonly Figure[];
}

export interface ClusterFactsView {
  /** A live cluster, or a directory of manifests. */
  readonly source: 'cluster' | 'directory';
  /** Id of the state: UID of kube-system, or a hash of the directory's path. */
  readonly id: string;
  /** What was read, in words. */
  readonly description: string;
  /** As the API server says; null in a directory that does not tell. */
  readonly kubernetesVersion: string | null;
  /** Who enforces network policies. */
  readonly cni: {
    /** The network plugin; `unknown` where nothing tells. */
    readonly name: string;
    /** Are network policies enforced here? */
    readonly enforces: Answer;
    /** How that is known. */
    readonly because: string;
  };
  /** The service mesh. */
  readonly mesh: {
    /** Which mesh there is. */
    readonly kind: 'istio' | 'none' | 'unknown';
    /** How workloads join it. */
    readonly mode: 'sidecar' | 'ambient' | 'unknown';
    /** Its version; null where nothing tells. */
    readonly version: string | null;
    /** First part of every identity in it. */
    readonly trustDomain: string;
    /** How that is known. */
    readonly because: string;
  };
  /** Objects read. */
  readonly objects: number;
  /** Namespaces read. */
  readonly namespaces: number;
  /** Workloads found. */
  readonly workloads: number;
  /** Services read. */
  readonly services: number;
  /** Nodes read. */
  readonly nodes: number;
  /** Kinds (`group/Kind`) that could not be read. */
  readonly unread: readonly string[];
}

// ---- evidence -------------------------------------------------------------------------------------------------------------------

export interface EvidenceSource {
  /** Name of the source, as `sallyport observe --help` lists it. */
  readonly source: string;
  /** Time of its oldest record. */
  readonly first: Instant;
  /** Time of its newest record. */
  readonly last: Instant;
  /** Records read from it. */
  readonly records: number;
  /** Records that it says it lost. */
  readonly lost: number;
  /** Records that could not be read, and were skipped by wish. */
  readonly bad: number;
  /** Records that speak of no connection. */
  readonly ignored: number;
  /** One record stands for so many; 1 where nothing was sampled. */
  readonly sampledOneIn: number;
}

export interface CoverageRow {
  /** Name of the namespace. */
  readonly namespace: string;
  /** Into it, or out of it. */
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
  /** Id of the scheduled workload. */
  readonly workload: string;
  /** Its schedule. */
  readonly cron: string;
  /** Did a run succeed inside the window? */
  readonly answer: Answer;
  /** What is known of its runs. */
  readonly facts: readonly string[];
  /** What to do where the answer is not yes. */
  readonly fix: string;
}

export interface EvidenceSection {
  /** Null where there is no record of traffic at all. */
  readonly window: Window | null;
  /** Length of the window; null without a record. */
  readonly hours: number | null;
  /** UTC days with a record. */
  readonly days: number;
  /** Where records come from, one row a source. */
  readonly sources: readonly EvidenceSource[];
  /** Records read, of all sources. */
  readonly records: number;
  /** Records that the sources themselves say they lost. */
  readonly lost: number;
  /** Share of records lost, 0 to 1; null without records. */
  readonly lostShare: number | null;
  /** Records whose ends could not be told, by reason. */
  readonly unattributed: readonly {
    /** Why an end of a record could not be told. */
    readonly reason: string;
    /** Records of which that is so. */
    readonly count: number;
  }[];
  /** How much is likely to be unseen, by namespace and direction. */
  readonly coverage: readonly CoverageRow[];
  /** Every schedule, and whether a run of it succeeded inside the window. */
  readonly schedules: readonly ScheduleRow[];
  /** Workloads that no record of traffic names. */
  readonly unseenWorkloads: readonly string[];
  /** What this report can't know, in sentences. */
  readonly limits: readonly string[];
}

// ---- inventory ------------------------------------------------------------------------------------------------------------------

export interface WorkloadRow {
  /** Its node on the map. */
  readonly node: number;
  /** `namespace/Kind/name`. */
  readonly id: string;
  /** What it is: `mlflow`, `kafka`; `unknown` where it is not recognised. */
  readonly component: string;
  /** Stage of the pipeline. */
  readonly stage: string;
  /** Control, data, monitoring or platform. */
  readonly plane: string;
  /** What it handles. */
  readonly sensitivity: readonly string[];
  /** `strong` where one sign settles it, `weak` where it could be something else. */
  readonly confidence: 'strong' | 'weak';
  /** The signs that it was told by. */
  readonly why: readonly string[];
  /** What else it could be. */
  readonly alternatives: readonly string[];
  /** Is it in the mesh, and how? */
  readonly mesh: MeshMembership;
  /** Accounts that its pods run as. */
  readonly serviceAccounts: readonly string[];
  /** Cron of a scheduled workload. */
  readonly schedule: string | null;
  /** Who else writes it: "argo-cd platform". */
  readonly manager: string | null;
}

export interface GroupCount {
  /** Name of the group. */
  readonly name: string;
  /** Workloads in it. */
  readonly workloads: number;
  /** Namespaces that these live in. */
  readonly namespaces: readonly string[];
}

export interface FindingGroup {
  /** Code of the finding: `SP3xx`. */
  readonly code: string;
  /** How much it matters. */
  readonly severity: 'info' | 'warning' | 'error';
  /** What the code means. */
  readonly title: string;
  /** How many there are. */
  readonly count: number;
  /** The first few, with the place where known. */
  readonly examples: readonly {
    /** The object or workload. */
    readonly subject: string;
    /** What is true of it. */
    readonly message: string;
    /** File and line, or null. */
    readonly where: string | null;
  }[];
}

export interface InventorySection {
  /** In the order of their ids; `workloads[i].node` is `i`. */
  readonly workloads: readonly WorkloadRow[];
  /** In the order of a pipeline. */
  readonly byStage: readonly GroupCount[];
  /** Workloads by plane. */
  readonly byPlane: readonly GroupCount[];
  /** Workloads by what they handle; one may handle several sorts. */
  readonly bySensitivity: readonly GroupCount[];
  /** Workloads whose component is not recognised. */
  readonly unrecognised: number;
  /** What was found wrong or could not be read, by code. */
  readonly findings: readonly FindingGroup[];
}

// ---- the map --------------------------------------------------------------------------------------------------------------------

export type NodeKind = 'workload' | 'node' | 'api-server' | 'external' | 'unknown';

export interface MapNode {
  /** Id of the workload, name of the node, name or address outside. */
  readonly id: string;
  /** What stands at this end. */
  readonly kind: NodeKind;
  /** What to write on it: the name without namespace and kind. */
  readonly label: string;
  /** Index in `map.namespaces`; -1 for what is in none. */
  readonly namespace: number;
  /** Indexes in the lists of the map. */
  readonly stage: number;
  /** Index in `map.planes`; -1 for none. */
  readonly plane: number;
  /** -1 where no tenant is known. */
  readonly tenant: number;
  /** Indexes in `map.sensitivities`. */
  readonly sensitivity: readonly number[];
  /** Is it in the mesh, and how? */
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
  /** Node that opens the connection. */
  readonly src: readonly number[];
  /** Node that it leads to. */
  readonly dst: readonly number[];
  /** Position in TCP, UDP, SCTP. */
  readonly protocol: readonly number[];
  /** The pod's, after NAT. */
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
  /** Seconds since the epoch of the last connection on record; 0 where never seen. */
  readonly last: readonly number[];
  /** Index in `map.sourceSets`. */
  readonly sources: readonly number[];
  /** What people decided: 0 unreviewed, 1 legitimate, 2 to be cut. */
  readonly review: readonly number[];
  /** 0 observed, 1 declared beyond doubt, 2 declared and asked about. */
  readonly origin: readonly number[];
  /** Candidates that would allow it: of its destination (ingress), its source (egress), and on principals. -1: none. */
  readonly ingressCandidate: readonly number[];
  /** Candidate of its source that would allow it; -1 for none. */
  readonly egressCandidate: readonly number[];
  /** Candidate on principals that would allow it; -1 for none. */
  readonly authorizationCandidate: readonly number[];
}

export interface FlowMap {
  /** Names of namespaces. */
  readonly namespaces: readonly string[];
  /** Stages of a pipeline. */
  readonly stages: readonly string[];
  /** Control, data, monitoring, platform. */
  readonly planes: readonly string[];
  /** Names of tenants. */
  readonly tenants: readonly string[];
  /** Sorts of what is handled: credentials, models, training data. */
  readonly sensitivities: readonly string[];
  /** `METHOD /path`. */
  readonly operations: readonly string[];
  /** What decides a verdict, in words. */
  readonly reasons: readonly string[];
  /** Each is a list of sources joined by ", "; for a declared edge what declares it ("declared by Ingress shop/web"). */
  readonly sourceSets: readonly string[];
  /** Workloads first, in the order of `inventory.workloads`. */
  readonly nodes: readonly MapNode[];
  /** The flows, by column. */
  readonly edges: MapEdges;
  /** Counts over all of them. */
  readonly totals: MapTotals;
}

export interface MapTotals {
  /** Edges of any origin. */
  readonly edges: number;
  /** Edges that a source saw. */
  readonly observed: number;
  /** Edges that configuration alone declares. */
  readonly declared: number;
  /** Connections on record over all of them. */
  readonly connections: number;
  /** Edges that nobody has decided about. */
  readonly unreviewed: number;
  /** Edges that are to be cut. */
  readonly toBeCut: number;
  /** By what the sources saw. */
  readonly mtls: number;
  /** Edges seen in plain text, always or at times. */
  readonly plaintext: number;
  /** Edges of which no source could tell. */
  readonly mtlsUnknown: number;
  /** By what the policies of now say. */
  readonly allowed: number;
  /** Edges that the policies of now deny. */
  readonly denied: number;
  /** Edges that can't be judged. */
  readonly unknown: number;
  /** Edges that leave the cluster. */
  readonly toOutside: number;
  /** Edges that enter it. */
  readonly fromOutside: number;
}

// ---- trust boundaries, planes, tenants, egress ----------------------------------------------------------------------------------

export type BoundaryKind =
  'cluster' | 'namespace' | 'stage' | 'plane' | 'tenant' | 'sensitivity' | 'vpc' | 'nat' | 'iam';

export interface Boundary {
  /** `kind:name`. */
  readonly id: string;
  /** What it separates. */
  readonly kind: BoundaryKind;
  /** Its name. */
  readonly name: string;
  /** Computed from the inventory, or declared by a person. */
  readonly basis: 'declared' | 'computed';
  /** How it is known. */
  readonly because: string;
  /** Workloads inside; null for a VPC or a NAT, where nothing tells. */
  readonly workloads: number | null;
  /** CIDRs, names, addresses or stages, where declared. */
  readonly scope: readonly string[];
}

/** Traffic from one side of a kind of boundary to another. */
export interface Crossing {
  /** Kind of the boundary that is crossed. */
  readonly kind: BoundaryKind;
  /** The side that opens the connection. */
  readonly from: string;
  /** The side that it leads to. */
  readonly to: string;
  /** The edges that cross it. */
  readonly edges: readonly number[];
  /** Connections on record over these. */
  readonly connections: number;
  /** Edges of it seen with mTLS only. */
  readonly mtls: number;
  /** Edges of it that no policy decides: nothing isolates either end. */
  readonly open: number;
  /** Data of these sorts is handled on the side it leads to. */
  readonly sensitivity: readonly string[];
}

export interface BoundariesSection {
  /** Those computed from the inventory, and those declared. */
  readonly boundaries: readonly Boundary[];
  /** Most edges first. Crossings of namespaces are on the map. */
  readonly crossings: readonly Crossing[];
  /** Kinds a person may declare and has not: said, not guessed. */
  readonly undeclared: readonly string[];
}

export interface PlanesSection {
  /** One row a pair of planes that has edges. */
  readonly matrix: readonly {
    /** Plane of the source. */
    readonly from: string;
    /** Plane of the destination. */
    readonly to: string;
    /** Edges between them. */
    readonly edges: number;
    /** Connections on record over those edges. */
    readonly connections: number;
  }[];
  /** From the data plane into the control plane, which is what an attacker in a model server would use. */
  readonly dataToControl: readonly number[];
  /** Callers of the API server, by workload. */
  readonly apiServerCallers: readonly {
    /** Id of the caller. */
    readonly workload: string;
    /** Plane of the caller. */
    readonly plane: string;
    /** Its edges to the API server. */
    readonly edges: readonly number[];
  }[];
}

export interface Tenant {
  /** Its name. */
  readonly name: string;
  /** Namespaces that are its own. */
  readonly namespaces: readonly string[];
  /** Workloads in these. */
  readonly workloads: number;
  /** Computed from labels and Profiles, or declared by a person. */
  readonly basis: 'declared' | 'computed';
  /** How it is known. */
  readonly because: readonly string[];
}

export interface TenantLeak {
  /** Tenant whose workloads call. */
  readonly from: string;
  /** Tenant whose workloads are called. */
  readonly to: string;
  /** Edges on record. */
  readonly edges: readonly number[];
  /** Pairs of workloads that could connect by NetworkPolicy and its kin, the mesh not asked; null in a cluster too large for that. */
  readonly reachablePairs: number | null;
  /** Pairs of their workloads there are. */
  readonly pairs: number;
}

export interface TenantsSection {
  /** Every tenant known. */
  readonly tenants: readonly Tenant[];
  /** What leads from one tenant to another, by pair of tenants. */
  readonly leaks: readonly TenantLeak[];
  /** Namespaces of no known tenant, shared platform apart. */
  readonly unassigned: readonly string[];
  /** Namespaces of the platform, which serve all tenants. */
  readonly shared: readonly string[];
  /** What tells the tenants here, in words. */
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
  /** Its node on the map. */
  readonly node: number;
  /** The name, or the address where no name is known. */
  readonly name: string;
  /** Why it is in this group. */
  readonly because: string;
  /** The declared VPC or range it lies in. */
  readonly boundary: string | null;
  /** Ids of those who call it. */
  readonly workloads: readonly string[];
  /** Ports and protocols of these calls. */
  readonly ports: readonly string[];
  /** The edges that lead there. */
  readonly edges: readonly number[];
  /** Connections on record over these. */
  readonly connections: number;
}

export interface EgressSection {
  /** All groups, in the order of EGRESS_GROUPS, empty ones too. */
  readonly groups: readonly {
    /** Name of the group. */
    readonly group: EgressGroupName;
    /** Its title. */
    readonly title: string;
    /** Where traffic of the group goes, most connections first. */
    readonly destinations: readonly EgressDestination[];
    /** Connections on record to all of them. */
    readonly connections: number;
  }[];
  /** Destinations of all groups. */
  readonly destinations: number;
  /** Workloads that may open any connection to the outside as the policies now stand; null where not computed. */
  readonly unrestricted: number | null;
  /** Registries that pod specs name, most images first. Nodes pull from there, so that no policy on pods sees it. */
  readonly registries: readonly {
    /** Host of the registry; `docker.io` where an image names none. */
    readonly name: string;
    /** The declared VPC that its name is declared to lie in. */
    readonly boundary: string | null;
    /** Different images from it. */
    readonly images: number;
    /** Ids of the workloads that run them. */
    readonly workloads: readonly string[];
  }[];
}

// ---- identities -----------------------------------------------------------------------------------------------------------------

export interface AccountRow {
  /** Its namespace. */
  readonly namespace: string;
  /** Its name. */
  readonly name: string;
  /** Ids of the workloads that run as it. */
  readonly workloads: readonly string[];
  /** Is it the `default` account of its namespace? */
  readonly isDefault: boolean;
  /** Does more than one workload run as it? */
  readonly shared: boolean;
  /** Does a token go into the pods? */
  readonly automount: Answer;
  /** Roles bound to it: `ClusterRole/cluster-admin`. */
  readonly roles: readonly string[];
  /** Bound to a role that can do anything, read every Secret, or make pods everywhere. */
  readonly powerful: readonly string[];
  /** `eks.amazonaws.com/role-arn` and its kin: which cloud, by which annotation; the identity named there. */
  readonly cloud: readonly {
    /** Which cloud. */
    readonly provider: 'aws' | 'gcp' | 'azure';
    /** The annotation that binds it. */
    readonly annotation: string;
    /** The identity named there. */
    readonly identity: string;
  }[];
}

/** A credential in use, by reference. Values are never read. */
export interface KeyReference {
  /** Id of the workload that uses it. */
  readonly workload: string;
  /** How it gets in: an environment variable from a Secret, one with a literal value (masked, never kept), a mounted Secret. */
  readonly how:
    'env-from-secret' | 'env-literal' | 'env-all-of-secret' | 'mounted-secret' | 'account-token-secret' | 'image-pull';
  /** Name of the variable or path of the mount. */
  readonly at: string;
  /** `Secret ns/name key`; null for a literal. */
  readonly reference: string | null;
  /** What it opens, as far as names tell. */
  readonly sort: 'cloud-key' | 'database' | 'object-store' | 'token' | 'password' | 'tls' | 'other';
  /** What told that. */
  readonly because: string;
  /** What to use instead. */
  readonly fix: string;
}

export type AuthenticationKind =
  'jwt' | 'oauth2-proxy' | 'oidc' | 'client-certificate' | 'basic' | 'external' | 'none-found' | 'unknown';

/** A way in from outside the cluster and how callers prove who they are. */
export interface Entrance {
  /** `Kind namespace/name`. */
  readonly id: string;
  /** Kind of the object that lets callers in. */
  readonly kind: 'Ingress' | 'Gateway' | 'VirtualService' | 'HTTPRoute' | 'Service' | 'Route';
  /** Host names it answers to. */
  readonly hosts: readonly string[];
  /** Is the way to it encrypted? */
  readonly tls: Answer;
  /** Ids of the workloads behind it. */
  readonly leadsTo: readonly string[];
  /** How callers prove who they are. */
  readonly authentication: AuthenticationKind;
  /** What told that. */
  readonly because: readonly string[];
}

export interface OauthClient {
  /** The workload or object that is configured as one. */
  readonly subject: string;
  /** What makes it a client. */
  readonly kind: string;
  /** Where client id and secret are taken from, by reference. */
  readonly references: readonly string[];
  /** Who issues its tokens; null where it does not say. */
  readonly issuer: string | null;
}

export interface IdentitiesSection {
  /** Every account that a workload runs as. */
  readonly accounts: readonly AccountRow[];
  /** Counts over the lists of this section. */
  readonly totals: {
    /** Accounts in use. */
    readonly accounts: number;
    /** Of these, the `default` account of a namespace. */
    readonly defaultAccounts: number;
    /** Workloads that run as one of those. */
    readonly workloadsOnDefault: number;
    /** Accounts that more than one workload runs as. */
    readonly sharedAccounts: number;
    /** Workloads that run as one of those. */
    readonly workloadsOnShared: number;
    /** Accounts bound to an identity of a cloud. */
    readonly cloudBound: number;
    /** Accounts bound to a role that can do anything, read every Secret, or make pods everywhere. */
    readonly powerful: number;
    /** Credentials in use, by reference. */
    readonly keys: number;
    /** Of these, written into a manifest as they are. */
    readonly literalKeys: number;
  };
  /** Long-lived credentials in use, by reference. */
  readonly keys: readonly KeyReference[];
  /** Ways in from outside, and who is asked there. */
  readonly entrances: readonly Entrance[];
  /** Workloads and objects that are configured as clients of OAuth 2. */
  readonly oauthClients: readonly OauthClient[];
  /** RequestAuthentication objects: which issuer, on what. */
  readonly jwt: readonly {
    /** The object, as `RequestAuthentication namespace/name`. */
    readonly object: string;
    /** Whose tokens it checks. */
    readonly issuers: readonly string[];
    /** Ids of the workloads on which it acts. */
    readonly selects: readonly string[];
    /** Is a request without a token refused? */
    readonly required: Answer;
  }[];
  /** What could not be told about identities, in sentences. */
  readonly limits: readonly string[];
}

// ---- risk -----------------------------------------------------------------------------------------------------------------------

export interface RiskFactor {
  /** Key of the factor. */
  readonly id: string;
  /** Points at value 1. The weights add up to 100. */
  readonly weight: number;
  /** What it asks. */
  readonly title: string;
  /** How the value between 0 and 1 comes about. */
  readonly rule: string;
}

export interface RiskValue {
  /** Id of the factor. */
  readonly factor: string;
  /** 0 to 1, rounded to 3 digits; null where it is not known, and then `points` are those of 0.5. */
  readonly value: number | null;
  /** Value times weight. */
  readonly points: number;
  /** What it was told by. */
  readonly because: string;
}

export interface RiskRow {
  /** From 1, the highest score first. */
  readonly rank: number;
  /** Its node on the map. */
  readonly node: number;
  /** Its id. */
  readonly workload: string;
  /** Sum of the points, 0 to 100, one digit. */
  readonly score: number;
  /** The value of each factor, in the order of `risk.factors`. */
  readonly values: readonly RiskValue[];
}

export interface RiskSection {
  /** How the score comes about, in words. */
  readonly formula: string;
  /** What counts, and how much. */
  readonly factors: readonly RiskFactor[];
  /** Highest first; ties by id. Every workload. */
  readonly rows: readonly RiskRow[];
}

// ---- readiness, plaintext, policies, waves ------------------------------------------------------------------------------------

export interface GateView {
  /** Name of the gate. */
  readonly id: string;
  /** Is it met? */
  readonly answer: Answer;
  /** What it was asked about. */
  readonly subject: string;
  /** What the answer rests on. */
  readonly facts: readonly string[];
  /** A command or an action; empty when the answer is yes. */
  readonly fix: string;
  /** Reason of the waiver that lets it pass; null where there is none. */
  readonly waived: string | null;
}

export type ReadinessState = 'reached' | 'ready' | 'blocked' | 'unknown' | 'not-judged';

export interface PhaseReadiness {
  /** The phase. */
  readonly phase: PhaseName;
  /** `unknown`: no gate says no, and some can't be answered. `not-judged`: see `because`. */
  readonly state: ReadinessState;
  /** What the state says, in words. */
  readonly because: string;
  /** Gates that are met. */
  readonly met: number;
  /** Gates that are not met, no before unknown. Those met are counted alone. */
  readonly open: readonly GateView[];
  /** Steps that the plan to this phase has; 0 where none was made. */
  readonly steps: number;
  /** Legitimate edges that the state after this phase would deny. */
  readonly denied: readonly {
    /** The edge. */
    readonly edge: number;
    /** The edge, in words. */
    readonly text: string;
    /** What denies it. */
    readonly reason: string;
  }[];
  /** Legitimate edges that can't be judged in that state. */
  readonly unknown: readonly {
    /** The edge. */
    readonly edge: number;
    /** The edge, in words. */
    readonly text: string;
    /** Why it can't be judged. */
    readonly reason: string;
  }[];
}

export interface NamespaceRow {
  /** Its name. */
  readonly namespace: string;
  /** The phase it is in. */
  readonly phase: PhaseName;
  /** Why it goes last; null for one that is no system namespace. */
  readonly system: string | null;
  /** Whose it is; null where that is not known. */
  readonly tenant: string | null;
  /** Workloads in it. */
  readonly workloads: number;
  /** Edges with an end in it. */
  readonly edges: number;
  /** Workloads of it that are in the mesh. */
  readonly inMesh: number;
  /** Workloads isolated by a policy now, in each direction. */
  readonly isolatedIngress: number;
  /** The same for what they open. */
  readonly isolatedEgress: number;
  /** Its wave; null where it has none. */
  readonly wave: number | null;
  /** The phase after the present one; null after the last. */
  readonly next: PhaseName | null;
  /** The five phases in order. */
  readonly phases: readonly PhaseReadiness[];
  /** What to run next; null after the last phase. */
  readonly command: string | null;
}

export interface ReadinessSection {
  /** One row a namespace, by name. */
  readonly namespaces: readonly NamespaceRow[];
  /** How it was judged, and what was left out for size. */
  readonly method: readonly string[];
}

export interface PlaintextRow {
  /** The edge. */
  readonly edge: number;
  /** Id of the caller. */
  readonly src: string;
  /** Id of whom it calls. */
  readonly dst: string;
  /** Port of that. */
  readonly port: number;
  /** Can the caller speak mTLS now, and once everybody who can has joined? */
  readonly now: Answer;
  /** The same once everybody who can has joined. */
  readonly afterJoin: Answer;
  /** True where the destination will have a sidecar and STRICT would refuse this caller even after everybody who can has joined. */
  readonly blocksStrict: boolean;
  /** Why it can't, or why that is not known. */
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
  /** Callers that joining the mesh solves. */
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
  /** Kind of the object. */
  readonly kind: string;
  /** Its namespace. */
  readonly namespace: string;
  /** Id of the workload that it is for. */
  readonly workload: string;
  /** What it governs: calls to the workload, its own calls, or who may call. */
  readonly purpose: 'ingress' | 'egress' | 'principals';
  /** What putting it in place would do. */
  readonly operation: 'create' | 'change' | 'unchanged';
  /** The object, as `kubectl apply -f` takes it. Empty in a report that leaves texts out for size. */
  readonly yaml: string;
  /** Lines of a diff against the object as it stands ("+ ...", "- ...", "  ..."); empty for one that is new. */
  readonly diff: readonly string[];
  /** Its rules, each with its evidence. */
  readonly rules: readonly {
    /** Who is let through, in words. */
    readonly peer: string;
    /** The edges that justify it. */
    readonly edges: readonly number[];
    /** What to mind about it; null for nothing. */
    readonly note: string | null;
  }[];
}

export interface PoliciesSection {
  /** Policies that the evidence asks for. */
  readonly candidates: readonly CandidateRow[];
  /** Why some workload gets none, or not an exact one. */
  readonly problems: readonly {
    /** The workload. */
    readonly subject: string;
    /** What is wrong. */
    readonly text: string;
    /** What to do about it. */
    readonly fix: string;
  }[];
  /** True where the texts of the candidates are left out of this document for its size. */
  readonly textsLeftOut: boolean;
  /** Policies that are there today, by kind. */
  readonly present: readonly {
    /** Kind of policy. */
    readonly kind: string;
    /** How many there are. */
    readonly count: number;
    /** Can the simulator read all of them? */
    readonly judged: Answer;
  }[];
}

export interface Wave {
  /** From 1. */
  readonly wave: number;
  /** Names of the namespaces that move in it. */
  readonly namespaces: readonly string[];
  /** Why these, and why now. */
  readonly why: readonly string[];
}

// ---- attack surface, residual, latency ------------------------------------------------------------------------------------------

export interface SurfaceState {
  /** Now, or the state after that phase. */
  readonly state: 'now' | PhaseName;
  /** Null where it can't be computed; `because` says why. */
  readonly reachable: number | null;
  /** Pairs of which some port can't be judged, and none is surely open. */
  readonly unknown: number | null;
  /** Share of all pairs that is reachable, 0 to 1. */
  readonly share: number | null;
  /** How it was computed, or why it was not. */
  readonly because: string;
}

export interface SurfaceSection {
  /** Ordered pairs of different workloads. */
  readonly pairs: number;
  /** How pairs were counted, in words. */
  readonly method: string;
  /** Now, then after each phase. */
  readonly states: readonly SurfaceState[];
  /** Workloads that most others can reach now, first the most. */
  readonly mostExposed: readonly {
    /** Id of the workload. */
    readonly workload: string;
    /** Workloads that can connect to it. */
    readonly from: number;
    /** Namespaces that these live in. */
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
  /** What sort of gap it is. */
  readonly kind: ResidualKind;
  /** Its title. */
  readonly title: string;
  /** Said outright, in a sentence or two. */
  readonly text: string;
  /** Whom it concerns; empty where it concerns everybody. */
  readonly subjects: readonly string[];
  /** What helps all the same. */
  readonly mitigation: string;
}

export interface LatencyRow {
  /** Key of the control. */
  readonly control: string;
  /** Its title. */
  readonly title: string;
  /** Measured, or the field's rule of thumb. */
  readonly basis: 'measured' | 'estimate';
  /** Milliseconds, or percent of a whole pipeline. */
  readonly unit: 'ms' | 'percent';
  /** What is added, typically; null for an estimate that is a range. */
  readonly p50: number | null;
  /** What is added in the worst of a hundred; null for an estimate. */
  readonly p99: number | null;
  /** Lower end of an estimate that is a range; else null. */
  readonly low: number | null;
  /** Upper end of it; else null. */
  readonly high: number | null;
  /** Samples behind a measurement; null for an estimate. */
  readonly n: number | null;
  /** Who measured it, and with what; or that it is a rule of thumb. */
  readonly source: string;
  /** When; null for an estimate. */
  readonly measuredAt: Instant | null;
  /** Is it paid once a connection, not once a request? */
  readonly perConnection: boolean;
}

export interface LatencyPath {
  /** Where the path begins. */
  readonly name: string;
  /** Ids of the workloads on it, in order. */
  readonly hops: readonly string[];
  /** Added by each phase over the whole path, milliseconds, on an open connection. */
  readonly added: readonly {
    /** The phase. */
    readonly phase: PhaseName;
    /** Milliseconds that it adds in all. */
    readonly ms: number;
    /** Measured only where everything in the sum is. */
    readonly basis: 'measured' | 'estimate';
  }[];
  /** Once, when the connections of the path are opened. */
  readonly handshakeMs: {
    /** Lower end, milliseconds. */
    readonly low: number;
    /** Upper end, milliseconds. */
    readonly high: number;
    /** Measured, or the field's rule of thumb. */
    readonly basis: 'measured' | 'estimate';
  };
}

export interface LatencySection {
  /** One row a control. */
  readonly controls: readonly LatencyRow[];
  /** Request paths from an entrance through the serving stage. */
  readonly paths: readonly LatencyPath[];
  /** How to read the figures, in sentences. */
  readonly notes: readonly string[];
}

// ---- standards, progress, comparison --------------------------------------------------------------------------------------------

export interface StandardRow {
  /** `3.1 tenet 4`, `5.3.2`. */
  readonly id: string;
  /** In our own words. */
  readonly title: string;
  /** How far it is met; `outside`: nothing that Sallyport can see or change. */
  readonly state: 'met' | 'partly' | 'not-met' | 'unknown' | 'outside';
  /** What in this report backs the answer. */
  readonly because: readonly string[];
  /** What Sallyport's phases do about it. */
  readonly answeredBy: string;
  /** The section of this report that shows it. */
  readonly section: string;
}

export interface StandardsSection {
  /** The tenets of NIST SP 800-207. */
  readonly nist: readonly StandardRow[];
  /** Sections of the CIS Kubernetes Benchmark. */
  readonly cis: readonly StandardRow[];
  /** What this mapping is, and what it is not. */
  readonly note: string;
}

export interface ProgressRun {
  /** Id of the run. */
  readonly run: string;
  /** Up, or back; or access that ends by itself, opened or ended. */
  readonly kind: 'advance' | 'rollback' | 'grant' | 'expire';
  /** Namespace that it moved. */
  readonly namespace: string;
  /** Phase before it. */
  readonly from: PhaseName;
  /** Phase that was wanted. */
  readonly to: PhaseName;
  /** When it began. */
  readonly startedAt: Instant;
  /** When it ended; null while it is open. */
  readonly endedAt: Instant | null;
  /** How it ended: `done`, `failed`, `undone`, ...; `open` while it has not. */
  readonly outcome: string;
  /** Who ran it. */
  readonly by: string;
  /** Changes of it that stand now. */
  readonly changes: number;
}

export interface ProgressSection {
  /** Has anything been done yet? */
  readonly started: boolean;
  /** Namespaces by the phase they are in. */
  readonly phases: readonly {
    /** The phase. */
    readonly phase: PhaseName;
    /** Namespaces that are in it now. */
    readonly namespaces: readonly string[];
  }[];
  /** Every run, oldest first. */
  readonly runs: readonly ProgressRun[];
  /** Access that ends by itself and has not ended, oldest first. */
  readonly grants: readonly {
    /** Id of the grant. */
    readonly id: string;
    /** A connection, a person, or a suspended namespace. */
    readonly kind: 'connection' | 'person' | 'break-glass';
    /** What it opens. */
    readonly what: string;
    /** Why it was given. */
    readonly reason: string;
    /** When it was given. */
    readonly since: Instant;
    /** When it is over. */
    readonly until: Instant;
    /** `expired`: it is over, and was not taken away yet. */
    readonly state: 'open' | 'expired';
  }[];
  /** Tuning in force, oldest first. */
  readonly tuning: readonly {
    /** Namespace that was tuned. */
    readonly namespace: string;
    /** Id of the proposal. */
    readonly proposal: string;
    /** When its newest step was written. */
    readonly since: Instant;
    /** The run that wrote it. */
    readonly run: string;
    /** What was expected of it when it was applied; null where no figure was. */
    readonly expected: {
      /** What was measured. */
      readonly metric: string;
      /** The figure before. */
      readonly before: number;
      /** Its unit; empty for a plain number. */
      readonly unit: string;
      /** Percent less, at least. */
      readonly lowPercent: number;
      /** Percent less, at most. */
      readonly highPercent: number;
    } | null;
  }[];
  /** What people decided, in order. */
  readonly decisions: readonly {
    /** When it was taken. */
    readonly at: Instant;
    /** Who took it. */
    readonly by: string;
    /** To be cut, waived, taken as legitimate, or taken back. */
    readonly action: 'accept' | 'waive' | 'adopt' | 'withdraw';
    /** What it was taken about. */
    readonly query: string;
    /** Why, in that person's words; credential-like values are masked. */
    readonly reason: string;
    /** Edges that it matched when it was taken. */
    readonly edges: number;
  }[];
  /** Counts over the lists of this section. */
  readonly totals: {
    /** Runs so far. */
    readonly runs: number;
    /** Phases that stand now, added up over namespaces. */
    readonly phasesDone: number;
    /** Changes applied that stand now. */
    readonly changes: number;
    /** Decisions to cut edges. */
    readonly acceptances: number;
    /** Decisions to go on without a gate. */
    readonly waivers: number;
    /** Decisions that edges are legitimate. */
    readonly adoptions: number;
    /** Runs back. */
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
  /** What is no longer as Sallyport left it. */
  readonly drift: readonly {
    /** The object that differs. */
    readonly object: string;
    /** Where in it. */
    readonly path: string;
    /** The step that left it otherwise. */
    readonly step: string;
  }[];
  /** The audit trail, oldest first; the newest 500 where it is longer. */
  readonly trail: readonly {
    /** When. */
    readonly at: Instant;
    /** Who. */
    readonly who: string;
    /** What was done. */
    readonly what: string;
    /** To what; empty where it concerns no object. */
    readonly object: string;
    /** Why; credential-like values are masked. */
    readonly reason: string;
    /** The run that it was part of; null for none. */
    readonly run: string | null;
  }[];
  /** Entries that the whole trail has. */
  readonly trailLength: number;
}

export interface ComparedFigure {
  /** Id of the figure. */
  readonly id: string;
  /** What is counted, in words. */
  readonly label: string;
  /** Its value then; null where it was not known. */
  readonly before: number | null;
  /** Its value now; null where it is not known. */
  readonly after: number | null;
  /** Has it become better? `neither` where neither direction is. */
  readonly better: 'yes' | 'no' | 'same' | 'neither';
}

export interface Comparison {
  /** The report compared with. */
  readonly before: {
    /** The moment that the earlier report speaks of. */
    readonly at: Instant;
    /** What it had read, in words. */
    readonly description: string;
    /** Is it a report of the same cluster? */
    readonly sameCluster: boolean;
  };
  /** Every figure of the summary, before and now. */
  readonly figures: readonly ComparedFigure[];
  /** Workloads that came and went. */
  readonly workloads: {
    /** Ids of workloads that were not there. */
    readonly added: readonly string[];
    /** Ids of workloads that are gone. */
    readonly removed: readonly string[];
  };
  /** Edges that came and went. */
  readonly edges: {
    /** Edges that were not on record. */
    readonly added: number;
    /** Edges that no longer are. */
    readonly removed: number;
    /** The first 50 of those added, in words. */
    readonly addedTexts: readonly string[];
    /** The first 50 of those removed, in words. */
    readonly removedTexts: readonly string[];
  };
  /** Namespaces whose phase has changed. */
  readonly phases: readonly {
    /** Name of the namespace. */
    readonly namespace: string;
    /** The phase it was in. */
    readonly before: PhaseName;
    /** The phase it is in now. */
    readonly after: PhaseName;
  }[];
  /** The 50 scores that changed most. */
  readonly risk: readonly {
    /** Id of the workload. */
    readonly workload: string;
    /** Its score then. */
    readonly before: number;
    /** Its score now. */
    readonly after: number;
  }[];
  /** Candidates that came and went. */
  readonly candidates: {
    /** Names of candidates that were not there. */
    readonly added: readonly string[];
    /** Names of candidates that are gone. */
    readonly removed: readonly string[];
  };
  /** What has been done, counted then and now, in the order of `progress.totals`. */
  readonly done: readonly {
    /** Key of `progress.totals`. */
    readonly id: keyof ProgressSection['totals'];
    /** What it was then. */
    readonly before: number;
    /** What it is now. */
    readonly after: number;
  }[];
  /** Runs that the earlier report does not have, oldest first. */
  readonly runs: readonly ProgressRun[];
  /** The attack surface of each state, before and now. */
  readonly surface: readonly {
    /** Now, or the state after that phase. */
    readonly state: 'now' | PhaseName;
    /** Pairs that could connect, as the earlier report has it; null where it does not say. */
    readonly before: number | null;
    /** Pairs that can connect, as this one has it; null where it does not say. */
    readonly after: number | null;
  }[];
  /** What to mind when reading it, in sentences. */
  readonly notes: readonly string[];
}

/** The report. Documented in docs/report.md. */
export interface AssessmentReport {
  /** Version of this form; a field may be added under the same one, none changes its meaning. */
  readonly apiVersion: typeof ASSESSMENT_API_VERSION;
  /** Tells it from other documents of Sallyport's. */
  readonly kind: 'Assessment';
  /** The version of Sallyport that made it. */
  readonly version: string;
  /** The moment it speaks of: now, or offline that of the newest record. */
  readonly at: Instant;
  /** What was read, and the facts of it that the rest depends on. */
  readonly cluster: ClusterFactsView;
  /** What is read in a minute, and every figure in it. */
  readonly summary: Summary;
  /** The record of traffic, and what it can't show. */
  readonly evidence: EvidenceSection;
  /** What runs, and what it was taken for. */
  readonly inventory: InventorySection;
  /** Who calls whom. */
  readonly map: FlowMap;
  /** Trust boundaries and the traffic across each. */
  readonly boundaries: BoundariesSection;
  /** Control plane against data plane. */
  readonly planes: PlanesSection;
  /** Whose each namespace is, and what leads from one tenant to another. */
  readonly tenants: TenantsSection;
  /** Where workloads go outside of the cluster. */
  readonly egress: EgressSection;
  /** Accounts, keys by reference, ways in and who is asked for a proof there. */
  readonly identities: IdentitiesSection;
  /** Every workload by risk, with the formula. */
  readonly risk: RiskSection;
  /** What stands between each namespace and each phase. */
  readonly readiness: ReadinessSection;
  /** Callers that are not surely protected by mTLS, and what to do about each. */
  readonly plaintext: PlaintextSection;
  /** The candidates, with the evidence of each rule, and the policies of today. */
  readonly policies: PoliciesSection;
  /** The order across namespaces; a wave is moved together. */
  readonly waves: readonly Wave[];
  /** Pairs of workloads that can connect, now and after each phase. */
  readonly surface: SurfaceSection;
  /** What stays unprotected whatever is done. */
  readonly residual: readonly ResidualRow[];
  /** What each control adds. */
  readonly latency: LatencySection;
  /** Tenets of NIST SP 800-207 and sections of the CIS Kubernetes Benchmark. */
  readonly standards: StandardsSection;
  /** What has been done so far. */
  readonly progress: ProgressSection;
  /** What changed since an earlier report; null where none was given. */
  readonly comparison: Comparison | null;
}
