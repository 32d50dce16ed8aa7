import type {
  AssessmentReport,
  CandidateRow,
  Figure,
  MapEdges,
  MapNode,
  NamespaceRow,
  PhaseReadiness,
  Sentence,
  WorkloadRow,
} from '../../src/report/model.ts';
import { ASSESSMENT_API_VERSION, EGRESS_GROUPS } from '../../src/report/model.ts';

const AT = '2026-10-14T00:00:00.000Z';
const WINDOW = { from: '2026-10-05T00:00:00.000Z', to: AT };
const FIRST = Date.parse(WINDOW.from) / 1000;
const DAY = 86_400;

interface SampleWorkload {
  readonly id: string;
  readonly component: string;
  readonly stage: string;
  readonly plane: string;
  readonly tenant: string;
  readonly sensitivity: readonly string[];
}

interface SampleEdge {
  readonly src: string;
  readonly dst: string;
  readonly port: number;
  readonly count: number;
  readonly mtls?: number;
  readonly verdict?: number;
  readonly review?: number;
  readonly days?: number;
  readonly l7?: string;
}

const WORKLOADS: readonly SampleWorkload[] = [
  w('bank-serving/Deployment/scoring-api', 'fastapi', 'serving', 'data', 'cards', ['inference-data']),
  w('bank-serving/Deployment/triton', 'triton', 'serving', 'data', 'cards', ['models']),
  w('bank-serving/StatefulSet/score-cache', 'redis', 'storage', 'data', 'cards', ['inference-data', 'personal-data']),
  w('mlflow/Deployment/tracking', 'mlflow', 'registry', 'control', '', ['experiments', 'credentials']),
  w('mlflow/StatefulSet/minio', 'minio', 'storage', 'data', '', ['models', 'training-data']),
  w('training/PyTorchJob/fraud-gnn', 'pytorch', 'training', 'data', 'payments', ['training-data']),
  w('training/CronJob/retrain', 'unknown', 'unknown', 'unknown', 'payments', []),
  w('monitoring/StatefulSet/prometheus', 'prometheus', 'monitoring', 'monitoring', '', ['telemetry']),
];

const EDGES: readonly SampleEdge[] = [
  { src: 'external:203.0.113.7', dst: 'bank-serving/Deployment/scoring-api', port: 8080, count: 12_000, days: 9 },
  {
    src: 'bank-serving/Deployment/scoring-api',
    dst: 'bank-serving/Deployment/triton',
    port: 8001,
    count: 11_500,
    mtls: 0,
    days: 9,
    l7: 'POST /v2/models/fraud/infer',
  },
  {
    src: 'bank-serving/Deployment/scoring-api',
    dst: 'bank-serving/StatefulSet/score-cache',
    port: 6379,
    count: 9_000,
    days: 9,
    review: 1,
  },
  { src: 'bank-serving/Deployment/triton', dst: 'mlflow/StatefulSet/minio', port: 9000, count: 40, days: 3 },
  { src: 'training/CronJob/retrain', dst: 'mlflow/Deployment/tracking', port: 5000, count: 9, days: 9, mtls: 3 },
  { src: 'training/PyTorchJob/fraud-gnn', dst: 'mlflow/StatefulSet/minio', port: 9000, count: 700, days: 8, mtls: 2 },
  { src: 'training/PyTorchJob/fraud-gnn', dst: 'external:pypi.org', port: 443, count: 18, days: 2 },
  { src: 'training/PyTorchJob/fraud-gnn', dst: 'external:198.51.100.20', port: 443, count: 2, days: 1, review: 2 },
  { src: 'monitoring/StatefulSet/prometheus', dst: 'bank-serving/Deployment/triton', port: 8002, count: 0 },
  {
    src: 'training/CronJob/retrain',
    dst: 'bank-serving/StatefulSet/score-cache',
    port: 6379,
    count: 3,
    days: 1,
    verdict: 2,
  },
  { src: 'mlflow/Deployment/tracking', dst: 'api-server', port: 6443, count: 5, days: 2, verdict: 1 },
];

function w(
  id: string,
  component: string,
  stage: string,
  plane: string,
  tenant: string,
  sensitivity: readonly string[],
): SampleWorkload {
  return { id, component, stage, plane, tenant, sensitivity };
}

/** A small report, written by hand: something in every section. Not a report of any cluster. */
export function sampleReport(): AssessmentReport {
  return assemble(WORKLOADS, EDGES);
}

export interface GenerateOptions {
  readonly workloads: number;
  readonly edges: number;
  readonly namespaces: number;
  readonly seed: number;
}

const STAGES = [
  'data-ingestion',
  'data-processing',
  'feature-store',
  'training',
  'registry',
  'serving',
  'monitoring',
  'platform',
  'unknown',
];
const PLANES = ['control', 'data', 'monitoring', 'platform', 'unknown'];
const SENSITIVITIES = ['training-data', 'models', 'credentials', 'inference-data', 'features'];

/** A report of any size, the same for the same options. */
export function generateReport(options: GenerateOptions): AssessmentReport {
  const next = randomFrom(options.seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T;
  const workloads = Array.from({ length: options.workloads }, (_, index): SampleWorkload => {
    const namespace = `team-${String(index % options.namespaces).padStart(3, '0')}`;
    return w(
      `${namespace}/Deployment/app-${String(Math.floor(index / options.namespaces)).padStart(4, '0')}`,
      `component-${index % 40}`,
      pick(STAGES),
      pick(PLANES),
      `tenant-${(index % options.namespaces) % 12}`,
      next() < 0.3 ? [pick(SENSITIVITIES)] : [],
    );
  }).sort((a, b) => (a.id < b.id ? -1 : 1));
  const outside = Array.from({ length: 50 }, (_, index) => `external:host-${index}.example`);
  const edges = Array.from({ length: options.edges }, (): SampleEdge => {
    const dst = next() < 0.02 ? pick(outside) : pick(workloads).id;
    return {
      src: pick(workloads).id,
      dst,
      port: pick([80, 443, 5432, 6379, 8080, 8443, 9000, 9090]),
      count: Math.floor(next() * 10_000),
      mtls: Math.floor(next() * 4),
      verdict: next() < 0.9 ? 0 : Math.floor(next() * 3),
      review: next() < 0.7 ? 0 : Math.floor(next() * 3),
      days: 1 + Math.floor(next() * 9),
    };
  });
  return assemble(workloads, edges);
}

/** Mulberry32. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

function intern(): { readonly list: string[]; readonly of: (text: string) => number } {
  const list: string[] = [];
  const known = new Map<string, number>();
  return {
    list,
    of: (text) => {
      const found = known.get(text);
      if (found !== undefined) return found;
      known.set(text, list.length);
      list.push(text);
      return list.length - 1;
    },
  };
}

const namespaceOf = (id: string): string => id.slice(0, Math.max(0, id.indexOf('/')));
const nameOf = (id: string): string => id.slice(id.lastIndexOf('/') + 1);

function assemble(workloads: readonly SampleWorkload[], given: readonly SampleEdge[]): AssessmentReport {
  const [namespaces, stages, planes, tenants, sensitivities] = [intern(), intern(), intern(), intern(), intern()];
  const [operations, reasons, sourceSets] = [intern(), intern(), intern()];
  const nodes: MapNode[] = workloads.map((one) => ({
    id: one.id,
    kind: 'workload',
    label: nameOf(one.id),
    namespace: namespaces.of(namespaceOf(one.id)),
    stage: stages.of(one.stage),
    plane: planes.of(one.plane),
    tenant: one.tenant === '' ? -1 : tenants.of(one.tenant),
    sensitivity: one.sensitivity.map(sensitivities.of),
    mesh: nodes0(one),
  }));
  const ranks = new Map(nodes.map((node, index) => [node.id, index]));
  const rank = (id: string): number => {
    const known = ranks.get(id);
    if (known !== undefined) return known;
    nodes.push({
      id,
      kind: id === 'api-server' ? 'api-server' : 'external',
      label: id.replace('external:', ''),
      namespace: -1,
      stage: stages.of('unknown'),
      plane: planes.of('unknown'),
      tenant: -1,
      sensitivity: [],
      mesh: 'none',
    });
    ranks.set(id, nodes.length - 1);
    return nodes.length - 1;
  };
  const rows = given
    .map((edge) => ({ ...edge, from: rank(edge.src), to: rank(edge.dst) }))
    .sort((a, b) => a.from - b.from || a.to - b.to || a.port - b.port);
  const candidates: CandidateRow[] = [];
  const candidateOf = new Map<number, number>();
  for (const [index, row] of rows.entries()) {
    const dst = nodes[row.to];
    if (dst?.kind !== 'workload') continue;
    const known = candidateOf.get(row.to);
    if (known !== undefined) {
      (candidates[known]?.rules as CandidateRow['rules'][number][]).push({ peer: row.src, edges: [index], note: null });
      continue;
    }
    candidateOf.set(row.to, candidates.length);
    candidates.push({
      name: `NetworkPolicy ${namespaceOf(dst.id)}/sallyport-${dst.label}-ingress`,
      kind: 'NetworkPolicy',
      namespace: namespaceOf(dst.id),
      workload: dst.id,
      purpose: 'ingress',
      operation: candidates.length === 1 ? 'change' : 'create',
      yaml: `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: sallyport-${dst.label}-ingress\n  namespace: ${namespaceOf(dst.id)}\nspec:\n  podSelector:\n    matchLabels:\n      app: ${dst.label}\n  policyTypes:\n    - Ingress\n  ingress:\n    - ports:\n        - protocol: TCP\n          port: ${row.port}\n`,
      diff: candidates.length === 1 ? ['  ports:', '- - port: 80', `+ - port: ${row.port}`] : [],
      rules: [{ peer: row.src, edges: [index], note: null }],
    });
  }
  const edges: MapEdges = {
    id: rows.map((_, index) => index.toString(16).padStart(12, '0')),
    src: rows.map((row) => row.from),
    dst: rows.map((row) => row.to),
    protocol: rows.map(() => 0),
    port: rows.map((row) => row.port),
    endPort: rows.map(() => 0),
    l7: rows.map((row) => (row.l7 === undefined ? -1 : operations.of(row.l7))),
    mtls: rows.map((row) => row.mtls ?? 1),
    verdict: rows.map((row) => row.verdict ?? 0),
    decides: rows.map((row) =>
      reasons.of(
        row.verdict === 1
          ? 'NetworkPolicy mlflow/db-only denies it: no rule names this port'
          : row.verdict === 2
            ? 'a kind of policy that is not modelled may act on it'
            : 'no policy selects either end, so everything is let through',
      ),
    ),
    count: rows.map((row) => row.count),
    deniedCount: rows.map((row) => (row.verdict === 1 ? row.count : 0)),
    days: rows.map((row) => (row.count === 0 ? 0 : (row.days ?? 1))),
    first: rows.map((row) => (row.count === 0 ? 0 : FIRST + 3600)),
    last: rows.map((row) => (row.count === 0 ? 0 : FIRST + (row.days ?? 1) * DAY)),
    sources: rows.map((row) =>
      sourceSets.of(row.count === 0 ? 'declared by ServiceMonitor monitoring/triton' : 'hubble'),
    ),
    review: rows.map((row) => row.review ?? 0),
    origin: rows.map((row) => (row.count === 0 ? 1 : 0)),
    ingressCandidate: rows.map((row) => candidateOf.get(row.to) ?? -1),
    egressCandidate: rows.map(() => -1),
    authorizationCandidate: rows.map(() => -1),
  };
  const all = rows.map((_, index) => index);
  const where = (test: (index: number) => boolean): readonly number[] => all.filter(test);
  const kindOf = (index: number | undefined): string => nodes[index ?? -1]?.kind ?? '';
  const outward = where((index) => kindOf(edges.dst[index]) === 'external');
  const pairs = workloads.length * (workloads.length - 1);
  const surface = [
    { state: 'now' as const, reachable: pairs, unknown: 0, share: 1, because: 'as the policies now stand' },
    { state: 'monitor' as const, reachable: pairs, unknown: 0, share: 1, because: 'nothing is blocked in this phase' },
    ...(['allow-list', 'permissive-mtls', 'strict-mtls', 'identity'] as const).map((state, index) => ({
      state,
      reachable: Math.max(1, Math.round(rows.length * (1 - index / 40))),
      unknown: 0,
      share: rows.length / pairs,
      because: 'with the candidates of every namespace that is no system namespace',
    })),
  ];
  const bare = where((index) => edges.mtls[index] === 1);
  const lasting = bare.filter((_, at) => at % 20 < 3);
  const solved = bare.filter((_, at) => at % 20 >= 3);
  const inventoryRows: readonly WorkloadRow[] = workloads.map((one, index) => ({
    node: index,
    id: one.id,
    component: one.component,
    stage: one.stage,
    plane: one.plane,
    sensitivity: one.sensitivity,
    confidence: one.component === 'unknown' ? 'weak' : 'strong',
    why: one.component === 'unknown' ? [] : [`image registry.example/${one.component}`],
    alternatives: [],
    mesh: 'none',
    serviceAccounts: ['default'],
    schedule: one.id.includes('/CronJob/') ? '0 2 * * *' : null,
    manager: index === 1 ? 'helm triton' : null,
  }));
  const group = (names: readonly string[], of: (one: SampleWorkload) => readonly string[]) =>
    names.map((name) => {
      const mine = workloads.filter((one) => of(one).includes(name));
      return { name, workloads: mine.length, namespaces: [...new Set(mine.map((one) => namespaceOf(one.id)))].sort() };
    });
  const figures: readonly Figure[] = [
    figure('workloads', 'workloads', workloads.length, '/inventory/workloads', 'length', 'counted'),
    figure('namespaces', 'namespaces', namespaces.list.length, '/cluster/namespaces', 'value', 'counted'),
    figure('edges', 'connections on the map', rows.length, '/map/totals/edges', 'value', 'counted'),
    figure('surface-now', 'pairs that can connect now', pairs, '/surface/states/0/reachable', 'value', 'computed'),
    figure(
      'surface-identity',
      'pairs that can connect after the last phase',
      surface[5]?.reachable ?? 0,
      '/surface/states/5/reachable',
      'value',
      'computed',
    ),
    figure('keys', 'long-lived credentials in use', 2, '/identities/totals/keys', 'value', 'counted'),
    {
      ...figure('mtls', 'edges seen with mTLS', 1, '/map/totals/mtls', 'value', 'counted'),
      notSeen: ['hubble does not say of every record whether it was encrypted'],
    },
  ];
  const sentences: readonly Sentence[] = [
    sentence('surface', 'bad', 'surface', [
      'Today ',
      ['surface-now', String(pairs)],
      ' pairs of workloads can connect; after the last phase ',
      ['surface-identity', String(surface[5]?.reachable)],
      ' could.',
    ]),
    sentence('identities', 'bad', 'identities', [['keys', '2'], ' long-lived credentials are in use.']),
    sentence('mtls', 'unknown', 'plaintext', [
      ['mtls', '1'],
      ' of ',
      ['edges', String(rows.length)],
      ' edges were seen with mTLS.',
    ]),
  ];
  return {
    apiVersion: ASSESSMENT_API_VERSION,
    kind: 'Assessment',
    version: '0.0.0',
    at: AT,
    cluster: {
      source: 'directory',
      id: '0123456789abcdef',
      description: 'a sample, no cluster',
      kubernetesVersion: null,
      cni: { name: 'cilium', enforces: 'yes', because: 'stated in the configuration' },
      mesh: {
        kind: 'istio',
        mode: 'sidecar',
        version: '1.29',
        trustDomain: 'cluster.local',
        because: 'Deployment istio-system/istiod',
      },
      objects: workloads.length * 3,
      namespaces: namespaces.list.length,
      workloads: workloads.length,
      services: workloads.length,
      nodes: 3,
      unread: ['metrics.k8s.io/PodMetrics'],
    },
    summary: {
      headline: sentence('headline', 'bad', 'readiness', [
        ['namespaces', String(namespaces.list.length)],
        ' namespaces with ',
        ['workloads', String(workloads.length)],
        ' workloads; none is protected yet.',
      ]),
      sentences,
      actions: [
        {
          text: 'Start the record of evidence.',
          commands: ['sallyport advance mlflow --to monitor'],
          section: 'readiness',
        },
        { text: 'Replace the keys of the trainer by a cloud identity.', commands: [], section: 'identities' },
      ],
      figures,
    },
    evidence: {
      window: WINDOW,
      hours: 216,
      days: 9,
      sources: [
        {
          source: 'hubble',
          first: WINDOW.from,
          last: WINDOW.to,
          records: 200_000,
          lost: 120,
          bad: 0,
          ignored: 310,
          sampledOneIn: 1,
        },
      ],
      records: 200_000,
      lost: 120,
      lostShare: 0.0006,
      unattributed: [{ reason: 'no pod had this address then', count: 44 }],
      coverage: namespaces.list.flatMap((namespace) =>
        (['ingress', 'egress'] as const).map((direction) => ({
          namespace,
          direction,
          observed: 4,
          unseenUpper: 0.4,
          shareUpper: direction === 'ingress' ? 0.04 : null,
          tooFew: [],
        })),
      ),
      schedules: [
        {
          workload: 'training/CronJob/retrain',
          cron: '0 2 * * *',
          answer: 'no',
          facts: ['scheduled and never succeeded'],
          fix: 'kubectl create job --from=cronjob/retrain retrain-manual -n training',
        },
      ],
      unseenWorkloads: ['monitoring/StatefulSet/prometheus'],
      limits: [
        'Nine days were seen: what happens once a month was not.',
        'Host-network traffic is named by its node alone.',
      ],
    },
    inventory: {
      workloads: inventoryRows,
      byStage: group(stages.list, (one) => [one.stage]),
      byPlane: group(planes.list, (one) => [one.plane]),
      bySensitivity: group(sensitivities.list, (one) => one.sensitivity),
      unrecognised: workloads.filter((one) => one.component === 'unknown').length,
      findings: [
        {
          code: 'SP310',
          severity: 'warning',
          title: 'a Service without endpoints',
          count: 1,
          examples: [{ subject: 'Service mlflow/old', message: 'selects no pod', where: 'mlflow.yaml:12' }],
        },
      ],
    },
    map: {
      namespaces: namespaces.list,
      stages: stages.list,
      planes: planes.list,
      tenants: tenants.list,
      sensitivities: sensitivities.list,
      operations: operations.list,
      reasons: reasons.list,
      sourceSets: sourceSets.list,
      nodes,
      edges,
      totals: {
        edges: rows.length,
        observed: where((index) => edges.origin[index] === 0).length,
        declared: where((index) => edges.origin[index] !== 0).length,
        connections: edges.count.reduce((sum, count) => sum + count, 0),
        unreviewed: where((index) => edges.review[index] === 0).length,
        toBeCut: where((index) => edges.review[index] === 2).length,
        mtls: where((index) => edges.mtls[index] === 0).length,
        plaintext: where((index) => edges.mtls[index] === 1 || edges.mtls[index] === 2).length,
        mtlsUnknown: where((index) => edges.mtls[index] === 3).length,
        allowed: where((index) => edges.verdict[index] === 0).length,
        denied: where((index) => edges.verdict[index] === 1).length,
        unknown: where((index) => edges.verdict[index] === 2).length,
        toOutside: outward.length,
        fromOutside: where((index) => kindOf(edges.src[index]) === 'external').length,
      },
    },
    boundaries: {
      boundaries: [
        {
          id: 'cluster',
          kind: 'cluster',
          name: 'the cluster',
          basis: 'computed',
          because: 'what was read',
          workloads: workloads.length,
          scope: [],
        },
        {
          id: 'vpc:production',
          kind: 'vpc',
          name: 'production',
          basis: 'declared',
          because: 'stated in the configuration',
          workloads: 0,
          scope: ['10.0.0.0/8'],
        },
      ],
      crossings: [
        {
          kind: 'cluster',
          from: 'the cluster',
          to: 'outside',
          edges: outward,
          connections: 20,
          mtls: 0,
          open: outward.length,
          sensitivity: [],
        },
        {
          kind: 'stage',
          from: 'training',
          to: 'registry',
          edges: where((index) => index % 9 === 0),
          connections: 700,
          mtls: 0,
          open: 1,
          sensitivity: ['models'],
        },
      ],
      undeclared: ['NAT gateways: none is declared, so addresses that the outside sees are not known'],
    },
    planes: {
      matrix: [{ from: 'data', to: 'control', edges: 2, connections: 9 }],
      dataToControl: where((index) => index % 7 === 0).slice(0, 50),
      apiServerCallers: [
        {
          workload: 'mlflow/Deployment/tracking',
          plane: 'control',
          edges: where((index) => kindOf(edges.dst[index]) === 'api-server'),
        },
      ],
    },
    tenants: {
      tenants: tenants.list.map((name) => ({
        name,
        namespaces: [...new Set(workloads.filter((one) => one.tenant === name).map((one) => namespaceOf(one.id)))],
        workloads: workloads.filter((one) => one.tenant === name).length,
        basis: 'computed',
        because: ['label team of the namespace'],
      })),
      leaks:
        tenants.list.length < 2
          ? []
          : [
              {
                from: tenants.list[1] ?? '',
                to: tenants.list[0] ?? '',
                edges: where((index) => index % 11 === 9),
                reachablePairs: 6,
                pairs: 6,
              },
            ],
      unassigned: ['mlflow'],
      shared: ['monitoring'],
      because: 'the label team of namespaces',
    },
    egress: {
      groups: EGRESS_GROUPS.map((name) => {
        const destinations = [...new Set(outward.map((index) => edges.dst[index] ?? 0))]
          .filter((node, index) =>
            nodes[node]?.id === 'external:pypi.org'
              ? name === 'packages'
              : EGRESS_GROUPS[index % EGRESS_GROUPS.length] === name,
          )
          .map((node) => ({
            node,
            name: nodes[node]?.label ?? '',
            because: name === 'unknown' ? 'no name is known for this address' : `its name belongs to ${name}`,
            boundary: null,
            workloads: [
              ...new Set(
                outward
                  .filter((index) => edges.dst[index] === node)
                  .map((index) => nodes[edges.src[index] ?? 0]?.id ?? ''),
              ),
            ],
            ports: ['443/TCP'],
            edges: outward.filter((index) => edges.dst[index] === node),
            connections: 18,
          }));
        return { group: name, title: name.replaceAll('-', ' '), destinations, connections: destinations.length * 18 };
      }),
      destinations: new Set(outward.map((index) => edges.dst[index])).size,
      unrestricted: workloads.length,
      registries: [
        { name: 'docker.io', boundary: null, images: 2, workloads: nodes.slice(0, 2).map((node) => node.id) },
      ],
    },
    identities: {
      accounts: [
        {
          namespace: 'training',
          name: 'default',
          workloads: ['training/CronJob/retrain', 'training/PyTorchJob/fraud-gnn'],
          isDefault: true,
          shared: true,
          automount: 'yes',
          roles: ['ClusterRole/cluster-admin'],
          powerful: ['ClusterRole/cluster-admin: can do anything'],
          cloud: [],
        },
        {
          namespace: 'mlflow',
          name: 'tracking',
          workloads: ['mlflow/Deployment/tracking'],
          isDefault: false,
          shared: false,
          automount: 'unknown',
          roles: [],
          powerful: [],
          cloud: [
            {
              provider: 'aws',
              annotation: 'eks.amazonaws.com/role-arn',
              identity: 'arn:aws:iam::111122223333:role/mlflow',
            },
          ],
        },
      ],
      totals: {
        accounts: 2,
        defaultAccounts: 1,
        workloadsOnDefault: 2,
        sharedAccounts: 1,
        workloadsOnShared: 2,
        cloudBound: 1,
        powerful: 1,
        keys: 2,
        literalKeys: 1,
      },
      keys: [
        {
          workload: 'training/PyTorchJob/fraud-gnn',
          how: 'env-from-secret',
          at: 'AWS_SECRET_ACCESS_KEY',
          reference: 'Secret training/s3 key secret',
          sort: 'cloud-key',
          because: 'the variable is how AWS clients take a long-lived key',
          fix: 'bind the account to a role (IRSA) and drop the variable',
        },
        {
          workload: 'mlflow/Deployment/tracking',
          how: 'env-literal',
          at: 'DB_PASSWORD',
          reference: null,
          sort: 'password',
          because: 'a literal in the manifest',
          fix: 'move it to a Secret, then rotate it',
        },
      ],
      entrances: [
        {
          id: 'Ingress bank-serving/scoring',
          kind: 'Ingress',
          hosts: ['score.example'],
          tls: 'yes',
          leadsTo: ['bank-serving/Deployment/scoring-api'],
          authentication: 'none-found',
          because: ['no annotation for authentication', 'no RequestAuthentication selects scoring-api'],
        },
      ],
      oauthClients: [
        {
          subject: 'mlflow/Deployment/tracking',
          kind: 'oauth2-proxy',
          references: ['Secret mlflow/oauth key client-secret'],
          issuer: 'https://login.example',
        },
      ],
      jwt: [
        {
          object: 'RequestAuthentication istio-system/login',
          issuers: ['https://login.example'],
          selects: ['istio-system/Deployment/ingress'],
          required: 'no',
        },
      ],
      limits: ['Authentication inside an application is not seen.'],
    },
    risk: {
      formula: 'score = sum over factors of weight x value',
      factors: [
        { id: 'sensitivity', weight: 60, title: 'what it holds', rule: '1 for credentials' },
        { id: 'exposure', weight: 40, title: 'who can reach it', rule: 'share of the workloads that can' },
      ],
      rows: workloads.map((one, index) => ({
        rank: index + 1,
        node: index,
        workload: one.id,
        score: Math.round((100 - (index * 60) / workloads.length) * 10) / 10,
        values: [
          { factor: 'sensitivity', value: 1, points: 60, because: 'credentials' },
          { factor: 'exposure', value: null, points: 20, because: 'not known' },
        ],
      })),
    },
    readiness: {
      namespaces: namespaces.list.map(namespaceRow),
      method: ['Gates of each phase, in the state that the phase before would leave.'],
    },
    plaintext: {
      total: bare.length,
      rows: lasting.map((edge, at) => ({
        edge,
        src: nodes[edges.src[edge] ?? 0]?.id ?? '',
        dst: nodes[edges.dst[edge] ?? 0]?.id ?? '',
        port: edges.port[edge] ?? 0,
        now: 'no',
        afterJoin: at % 2 === 0 ? 'no' : 'unknown',
        blocksStrict: at % 3 !== 2,
        because: 'the caller has no sidecar',
        fixes: ['sallyport accept src=training/CronJob/retrain --reason "..." cuts it'],
      })),
      solved,
      solvedByJoining: solved.length,
      lasting: lasting.filter((_, at) => at % 3 !== 2).length,
      outsideMesh: lasting.filter((_, at) => at % 3 === 2).length,
      waiting: [],
      noMesh: null,
    },
    policies: {
      candidates,
      problems: [
        {
          subject: 'training/CronJob/retrain',
          text: 'its pods carry no label that outlives a run',
          fix: 'add the label "sallyport.dev/workload: retrain"',
        },
      ],
      textsLeftOut: false,
      present: [{ kind: 'NetworkPolicy', count: 1, judged: 'yes' }],
    },
    waves: [
      {
        wave: 1,
        namespaces: namespaces.list.slice(0, Math.ceil(namespaces.list.length / 2)),
        why: ['its callers are in the mesh with it, and it holds models'],
      },
      { wave: 2, namespaces: namespaces.list.slice(Math.ceil(namespaces.list.length / 2)), why: ['called by wave 1'] },
    ].filter((wave) => wave.namespaces.length > 0),
    surface: {
      pairs,
      method: 'ordered pairs of different workloads of which some port is open by the policies',
      states: surface,
      mostExposed: workloads
        .slice(0, 10)
        .map((one) => ({ workload: one.id, from: workloads.length - 1, fromNamespaces: namespaces.list.length })),
    },
    residual: [
      {
        kind: 'host-network',
        title: 'Pods in the host network',
        text: 'No NetworkPolicy acts on them.',
        subjects: ['kube-system/DaemonSet/agent'],
        mitigation: 'a host firewall',
      },
      {
        kind: 'own-node',
        title: "A pod's own node",
        text: 'Traffic from the node of a pod is always let through.',
        subjects: [],
        mitigation: '',
      },
    ],
    latency: {
      controls: [
        {
          control: 'network-policy',
          title: 'NetworkPolicy',
          basis: 'estimate',
          unit: 'ms',
          p50: 0.1,
          p99: null,
          low: null,
          high: null,
          n: null,
          source: 'rule of thumb',
          measuredAt: null,
          perConnection: false,
        },
        {
          control: 'mtls-handshake',
          title: 'mTLS handshake',
          basis: 'estimate',
          unit: 'ms',
          p50: null,
          p99: null,
          low: 2,
          high: 5,
          n: null,
          source: 'rule of thumb',
          measuredAt: null,
          perConnection: true,
        },
        {
          control: 'mesh-hop',
          title: 'A hop through the mesh',
          basis: 'measured',
          unit: 'ms',
          p50: 0.7,
          p99: 2.1,
          low: null,
          high: null,
          n: 10_000,
          source: 'load test of staging',
          measuredAt: AT,
          perConnection: false,
        },
      ],
      paths: [
        {
          name: 'score.example',
          hops: ['external:203.0.113.7', 'bank-serving/Deployment/scoring-api', 'bank-serving/Deployment/triton'],
          added: [{ phase: 'allow-list', ms: 0.2, basis: 'estimate' }],
          handshakeMs: { low: 4, high: 10, basis: 'estimate' },
        },
      ],
      notes: ['Rules of thumb, not promises: measure your own.'],
    },
    standards: {
      nist: [
        {
          id: 'tenet 2',
          title: 'Traffic is protected wherever it comes from',
          state: 'partly',
          because: ['1 edge was seen with mTLS'],
          answeredBy: 'strict-mtls',
          section: 'plaintext',
        },
      ],
      cis: [
        {
          id: '5.3.2',
          title: 'Every namespace has policies',
          state: 'not-met',
          because: ['no namespace isolates its pods'],
          answeredBy: 'allow-list',
          section: 'readiness',
        },
      ],
      note: 'Own words; the numbers are those of the documents.',
    },
    progress: {
      started: true,
      phases: [{ phase: 'monitor', namespaces: ['mlflow'] }],
      runs: [
        {
          run: 'r-1',
          kind: 'advance',
          namespace: 'mlflow',
          from: 'none',
          to: 'monitor',
          startedAt: WINDOW.from,
          endedAt: WINDOW.from,
          outcome: 'done',
          by: 'ops@host',
          changes: 1,
        },
      ],
      grants: [
        {
          id: 'g3f2a90c1',
          kind: 'connection',
          what: 'desk/Deployment/toolbox -> shop/Deployment/db 5432/TCP',
          reason: 'incident 17',
          since: WINDOW.from,
          until: WINDOW.from,
          state: 'expired',
        },
      ],
      tuning: [
        {
          namespace: 'mlflow',
          proposal: 'connection-pool:mlflow/server:5000',
          since: WINDOW.from,
          run: 'r-1',
          expected: {
            metric: 'new connections per request',
            before: 0.3,
            unit: '',
            lowPercent: 48,
            highPercent: 97,
          },
        },
      ],
      decisions: [
        {
          at: WINDOW.from,
          by: 'ops@host',
          action: 'accept',
          query: 'dst=external:198.51.100.20',
          reason: 'nobody knows it',
          edges: 1,
        },
      ],
      totals: {
        runs: 1,
        phasesDone: 1,
        changes: 1,
        acceptances: 1,
        waivers: 0,
        adoptions: 0,
        rollbacks: 0,
        drift: 0,
        refused: 0,
        undone: 0,
        violationsPrevented: 0,
      },
      drift: [],
      trail: [
        {
          at: WINDOW.from,
          who: 'ops@host',
          what: 'advance',
          object: 'Namespace mlflow',
          reason: 'phase monitor',
          run: 'r-1',
        },
      ],
      trailLength: 1,
    },
    comparison: null,
  };
}

function nodes0(one: SampleWorkload): MapNode['mesh'] {
  return one.stage === 'serving' ? 'sidecar' : 'none';
}

function figure(
  id: string,
  label: string,
  value: number,
  pointer: string,
  measure: Figure['measure'],
  basis: Figure['basis'],
): Figure {
  return {
    id,
    label,
    value,
    unit: '',
    basis,
    source: 'a sample',
    window: basis === 'counted' ? WINDOW : null,
    notSeen: [],
    pointer,
    measure,
    unknownBecause: null,
  };
}

function sentence(
  id: string,
  tone: Sentence['tone'],
  section: string,
  given: readonly (string | readonly [string, string])[],
): Sentence {
  const parts = given.map((part) =>
    typeof part === 'string'
      ? ({ kind: 'text', text: part } as const)
      : ({ kind: 'figure', figure: part[0], text: part[1] } as const),
  );
  return { id, tone, text: parts.map((part) => part.text).join(''), parts, section };
}

function namespaceRow(namespace: string, index: number): NamespaceRow {
  const phases: readonly PhaseReadiness[] = (
    ['monitor', 'allow-list', 'permissive-mtls', 'strict-mtls', 'identity'] as const
  ).map((phase, at) => ({
    phase,
    state:
      at === 0 ? (index % 2 === 0 ? 'reached' : 'ready') : at === 1 ? 'blocked' : at === 2 ? 'unknown' : 'not-judged',
    because: at > 2 ? 'left out for size' : '',
    met: 4,
    open:
      at === 1
        ? [
            {
              id: 'coverage',
              answer: 'no',
              subject: `${namespace}/egress`,
              facts: ['an upper bound of 12% of the edges was not seen'],
              fix: 'observe longer',
              waived: null,
            },
          ]
        : [],
    steps: 3,
    denied: [],
    unknown: [],
  }));
  return {
    namespace,
    phase: index % 2 === 0 ? 'monitor' : 'none',
    system: null,
    tenant: null,
    workloads: 2,
    edges: 5,
    inMesh: 0,
    isolatedIngress: 0,
    isolatedEgress: 0,
    wave: 1,
    next: index % 2 === 0 ? 'allow-list' : 'monitor',
    phases,
    command: `sallyport plan ${namespace}`,
  };
}
