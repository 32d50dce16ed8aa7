/**
 * Writes the traffic of the bundled fraud-detection cluster as Hubble NDJSON, one GetFlowsResponse a line: nine days from
 * Monday 2026-10-05T00:00:00Z, about 200,000 records, the same bytes for the same seed.
 *
 *     node examples/fraud-detection/generate.ts [--seed N] [--days N] [--out FILE|-] [--truth FILE]
 *
 * The module stands alone: it knows the cluster in `cluster/` by heart and shares no code with the program that reads
 * its output, so that neither can hide a mistake of the other.
 */
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

export interface FlowOptions {
  /** Whole number; decides pod name suffixes, times within the day and source ports. Never which edges occur. */
  readonly seed?: number;
  /** Days to write, 1 or more (9 unless told). The planted events need all nine. */
  readonly days?: number;
}

export type Cadence = 'continuous' | 'hourly' | 'six-hourly' | 'nightly' | 'weekly';
export type Protocol = 'TCP' | 'UDP';

export interface TruthEdge {
  readonly src: string;
  readonly dst: string;
  readonly protocol: Protocol;
  /** Port after NAT: the pod's, not the Service's. `ephemeral` is any port from 32768 up. */
  readonly port: number | 'ephemeral';
}
export interface LegitimateEdge extends TruthEdge {
  readonly cadence: Cadence;
  /** The source has no mesh identity and never will: a node, the API server, an outside address. */
  readonly plaintext?: true;
}
export interface ForbiddenEdge extends TruthEdge {
  readonly why: string;
}
export interface Truth {
  readonly legitimate: readonly LegitimateEdge[];
  readonly forbidden: readonly ForbiddenEdge[];
}

/** One workload as `cluster/` declares it, so that a test can hold the two against each other. */
export interface WorkloadFact {
  readonly id: string;
  readonly namespace: string;
  readonly kind: string;
  readonly name: string;
  readonly account: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly probes: readonly number[];
  readonly scrape: number | undefined;
}

export const BASE_TIME = '2026-10-05T00:00:00Z';
const BASE_MS = Date.parse(BASE_TIME);
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const CLUSTER = 'bank-ml';
const EPHEMERAL_FROM = 32_768;
const EPHEMERAL_COUNT = 28_232;

// ---------------------------------------------------------------------------------------------------------------------
// Chance

interface Dice {
  /** In [0, 1). */
  readonly roll: () => number;
  /** Whole, in [0, n). */
  readonly below: (n: number) => number;
}

function makeDice(seed: number): Dice {
  // A 32-bit xorshift; the first draws are thrown away because small seeds start out alike.
  let state = (Math.imul(seed | 0, 0x9e3779b1) ^ 0x5bd1e995) | 0;
  if (state === 0) state = 1;
  const roll = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 4_294_967_296;
  };
  for (let i = 0; i < 16; i += 1) roll();
  return { roll, below: (n) => Math.floor(roll() * n) };
}

const NAME_ALPHABET = 'bcdfghjklmnpqrstvwxz2456789';

function randomName(dice: Dice, length: number): string {
  let text = '';
  for (let i = 0; i < length; i += 1) text += NAME_ALPHABET.charAt(dice.below(NAME_ALPHABET.length));
  return text;
}

function pick<T>(list: readonly T[], index: number): T {
  const found = list[index % list.length];
  if (found === undefined) throw new Error('generate: picked from an empty list');
  return found;
}

// ---------------------------------------------------------------------------------------------------------------------
// Workloads, as cluster/ declares them

type Kind = 'Deployment' | 'StatefulSet' | 'CronJob' | 'PyTorchJob' | 'SparkApplication' | 'InferenceService' | 'Pod';

interface Workload extends WorkloadFact {
  readonly kind: Kind;
  readonly replicas: number;
  /** Connections a day to the API server. */
  readonly api: number;
  /** Port on which the API server calls in: webhooks and aggregated APIs. */
  readonly webhook: number | undefined;
  /** Host part of the URL its callers use. */
  readonly host: string;
  /** A third of the pods ask CoreDNS directly beside the node's cache. */
  readonly coredns: boolean;
  readonly index: number;
}

// namespace/name  Kind[*replicas]  account  labels  [probe=ports] [scrape=port] [api=n] [webhook=port] [host=name] [coredns]
// `name=x` in the labels stands for app.kubernetes.io/name=x, `component=x` for app.kubernetes.io/component=x.
const WORKLOADS = `
kube-system/coredns               Deployment*2     coredns                   k8s-app=kube-dns                                       probe=8080,8181 scrape=9153 api=12
kube-system/metrics-server        Deployment       metrics-server            k8s-app=metrics-server                                 probe=10250 api=12 webhook=10250
kube-system/hubble-relay          Deployment       hubble-relay              k8s-app=hubble-relay                                   probe=4222
istio-system/istiod               Deployment       istiod                    app=istiod,istio=pilot,istio.io/rev=default,istio.io/dataplane-mode=none,sidecar.istio.io/inject=false  probe=8080 scrape=15014 api=24 webhook=15017
ingress-nginx/controller          Deployment*2     ingress-nginx             name=ingress-nginx,component=controller                probe=10254 scrape=10254 api=24 webhook=8443
ingest/kafka                      StatefulSet*3    kafka                     name=kafka,component=broker                            probe=9092 scrape=9404
ingest/txn-gateway                Deployment*2     txn-gateway               name=txn-gateway                                       probe=8080 scrape=9102
ingest/txn-consumer               Deployment*2     txn-consumer              name=txn-consumer                                      probe=9102 scrape=9102
ingest/schema-registry            Deployment       schema-registry           name=schema-registry                                   probe=8081 host=schema-registry.ingest.svc:8081
ingest/threat-feed                CronJob          threat-feed               name=threat-feed
data-quality/ge-validator         Deployment*2     ge-validator              name=ge-validator                                      probe=8080
data-quality/validate-batch       CronJob          default                   -
spark/spark-operator-controller   Deployment       spark-operator-controller name=spark-operator,component=controller               probe=8081 scrape=8080 api=48
spark/spark-operator-webhook      Deployment       spark-operator-webhook    name=spark-operator,component=webhook                  probe=8081 api=12 webhook=9443
spark/txn-features                SparkApplication*4 txn-features            name=txn-features                                      api=24
spark/spark-history               Deployment       default                   name=spark-history                                     probe=18080
feast/feature-server              Deployment*2     feature-server            name=feast-feature-server                              probe=6566 scrape=8000 coredns
feast/offline-server              Deployment       offline-server            name=feast-offline-server                              probe=8815
feast/registry                    Deployment       registry                  name=feast-registry                                    probe=6570
feast/redis-online                StatefulSet*2    redis-online              name=redis,component=online-store
feast/materialize                 CronJob          feast-jobs                name=feast-materialize
feast/backfill-weekly             CronJob          feast-jobs                name=feast-backfill
training/fraud-gnn                PyTorchJob*4     trainer                   name=fraud-gnn
training/tensorboard              Deployment       trainer                   app=tensorboard                                        probe=6006
kubeflow/training-operator        Deployment       training-operator         control-plane=kubeflow-training-operator               probe=8081 api=48 webhook=9443
kserve/kserve-controller-manager  Deployment       kserve-controller-manager control-plane=kserve-controller-manager                probe=8081 api=48 webhook=9443
fraud-models/cards-scorer         InferenceService*2 cards-scorer            app.kubernetes.io/part-of=fraud-models                 host=cards-scorer-predictor.fraud-models.svc
fraud-models/payload-logger       Deployment       payload-logger            app=payload-logger                                     probe=8080
mlflow/mlflow                     Deployment       mlflow                    name=mlflow,component=tracking                         probe=5000 scrape=5000 coredns
mlflow/postgres                   StatefulSet      postgres                  name=postgresql                                        probe=5432
mlflow/minio                      StatefulSet*2    minio                     name=minio                                             probe=9000
mlflow/pg-backup                  CronJob          postgres                  name=pg-backup
airflow/scheduler                 Deployment       airflow-scheduler         tier=airflow,component!=scheduler                      api=48 coredns
airflow/webserver                 Deployment       airflow-webserver         tier=airflow,component!=webserver                      probe=8080
airflow/triggerer                 Deployment       airflow-triggerer         tier=airflow,component!=triggerer
airflow/worker                    StatefulSet*2    airflow-worker            tier=airflow,component!=worker                         api=48 coredns
airflow/statsd                    Deployment       default                   tier=airflow,component!=statsd                         probe=9102 scrape=9102
airflow/postgres                  StatefulSet      default                   tier=airflow,component!=postgres                       probe=5432
airflow/redis                     StatefulSet      default                   tier=airflow,component!=redis
fraud-serving/scoring-api         Deployment*2     scoring-api               name=scoring-api,app.kubernetes.io/part-of=fraud-serving probe=8080 scrape=9102 coredns
fraud-serving/triton              Deployment*2     default                   app=triton-inference-server                            probe=8000 scrape=8002 host=triton.fraud-serving.svc:8000
fraud-serving/explainer           Deployment       default                   name=explainer                                         probe=8085 scrape=9102
fraud-serving/score-cache         StatefulSet      default                   name=redis,component=cache                             probe=6379 scrape=9121
fraud-serving/score-logger        Deployment       score-logger              name=score-logger                                      probe=9102 scrape=9102
fraud-serving/retrain-nightly     CronJob          retrain                   name=retrain-nightly                                   coredns
fraud-serving/report-weekly       CronJob          report                    name=report-weekly
fraud-cards/card-authorizer       Deployment*2     card-authorizer           name=card-authorizer                                   probe=8080 scrape=9102
fraud-cards/case-api              Deployment       default                   name=case-api                                          probe=8080
fraud-cards/alert-dispatcher      Deployment       default                   name=alert-dispatcher                                  probe=8081
fraud-cards/case-db               StatefulSet      case-db                   name=postgresql,app.kubernetes.io/instance=case-db     probe=5432
fraud-payments/payments-api       Deployment*2     payments-api              name=payments-api                                      probe=8080 scrape=9102
fraud-payments/rules-engine       Deployment       rules-engine              name=rules-engine                                      probe=8090
fraud-payments/settlement-sync    Deployment       settlement-sync           name=settlement-sync
fraud-payments/legacy-scoring-client Deployment    legacy-scoring-client     app=legacy-scoring-client,sidecar.istio.io/inject=false
fraud-payments/debug-toolbox      Pod              default                   run=debug-toolbox
monitoring/prometheus             StatefulSet      prometheus                name=prometheus                                        probe=9090 api=48 coredns
monitoring/kube-state-metrics     Deployment       kube-state-metrics        name=kube-state-metrics                                probe=8081 scrape=8080 api=48
monitoring/alertmanager           StatefulSet      alertmanager              name=alertmanager                                      probe=9093
monitoring/drift-monitor          Deployment       drift-monitor             name=drift-monitor                                     probe=8000 scrape=8000
dashboards/grafana                Deployment       grafana                   name=grafana,app.kubernetes.io/instance=grafana        probe=3000
`;

function rows(table: string): string[][] {
  return table
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(/\s+/));
}

function parseLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  if (text === '-') return labels;
  for (const pair of text.split(',')) {
    const [key = '', value = ''] = pair.split('=');
    if (key === 'name' || key === 'component') labels[`app.kubernetes.io/${key}`] = value;
    else labels[key.replace(/!$/, '')] = value;
  }
  return labels;
}

function parseWorkloads(): Map<string, Workload> {
  const found = new Map<string, Workload>();
  for (const [path = '', shape = '', account = '', labels = '', ...extras] of rows(WORKLOADS)) {
    const [namespace = '', name = ''] = path.split('/');
    const [kind = '', replicas = '1'] = shape.split('*');
    const extra = new Map(extras.map((text) => [text.split('=')[0] ?? '', text.split('=')[1] ?? '']));
    const number = (key: string): number | undefined => (extra.has(key) ? Number(extra.get(key)) : undefined);
    found.set(path, {
      id: `${namespace}/${kind}/${name}`,
      namespace,
      name,
      kind: kind as Kind,
      account,
      labels: parseLabels(labels),
      replicas: Number(replicas),
      probes: (extra.get('probe') ?? '').split(',').filter(Boolean).map(Number),
      scrape: number('scrape'),
      api: number('api') ?? 0,
      webhook: number('webhook'),
      host: extra.get('host') ?? `${name}.${namespace}.svc`,
      coredns: extra.has('coredns'),
      index: found.size,
    });
  }
  return found;
}

const workloads = parseWorkloads();

export function workloadFacts(): readonly WorkloadFact[] {
  return [...workloads.values()].map(({ id, namespace, kind, name, account, labels, probes, scrape }) => ({
    id,
    namespace,
    kind,
    name,
    account,
    labels,
    probes,
    scrape,
  }));
}

/** Outside names and the addresses they resolve to, all from the ranges set aside for documentation. */
const OUTSIDE: Readonly<Record<string, readonly string[]>> = {
  'packages.example.com': ['198.51.100.20', '198.51.100.21'],
  'datasets.example.org': ['198.51.100.40'],
  'models.hub.example': ['198.51.100.50'],
  'feed.threat-intel.example': ['198.51.100.60'],
  'storage.cloud.example': ['198.51.100.70'],
  'filing.regulator.example': ['198.51.100.80'],
  'sms.gateway.example': ['198.51.100.90'],
  'hooks.pager.example': ['198.51.100.95'],
  'ledger.core-bank.example': ['203.0.113.40'],
  'git.bank.example': ['203.0.113.50'],
  '169.254.169.254': ['169.254.169.254'],
  '203.0.113.10': ['203.0.113.10'],
  '203.0.113.11': ['203.0.113.11'],
  '169.254.20.10': ['169.254.20.10'],
};

// ---------------------------------------------------------------------------------------------------------------------
// Edges. The number is connections a day, or a run for what runs on a schedule.
// source  destination  port[/udp]  number  [first|peer]  [METHOD /path ...]
// `first`: from the others to the workload's first pod; `peer`: between different pods of it. `@` is outside.

const EDGES = `
@203.0.113.10               ingress-nginx/controller    443   210
@203.0.113.11               ingress-nginx/controller    443   176
ingress-nginx/controller    fraud-serving/scoring-api   8080  176  POST /v1/models/fraud:predict
ingress-nginx/controller    ingest/txn-gateway          8080  268
ingress-nginx/controller    fraud-cards/card-authorizer 8080  160
ingress-nginx/controller    fraud-cards/case-api        8080  50
ingress-nginx/controller    fraud-payments/payments-api 8080  142
ingress-nginx/controller    airflow/webserver           8080  30
ingress-nginx/controller    mlflow/mlflow               5000  30   GET /
ingress-nginx/controller    dashboards/grafana          3000  38

ingest/txn-gateway          ingest/kafka                9092  176
ingest/txn-gateway          ingest/schema-registry      8081  26
ingest/txn-consumer         ingest/kafka                9092  160
ingest/txn-consumer         ingest/schema-registry      8081  26
ingest/txn-consumer         data-quality/ge-validator   8080  92
ingest/txn-consumer         mlflow/minio                9000  84
ingest/kafka                ingest/kafka                9093  50  peer
ingest/kafka                ingest/kafka                9094  68  peer
ingest/schema-registry      ingest/kafka                9092  26
ingest/threat-feed          @feed.threat-intel.example  443   3
ingest/threat-feed          ingest/kafka                9092  3

data-quality/ge-validator   mlflow/minio                9000  50
data-quality/validate-batch mlflow/minio                9000  8
data-quality/validate-batch data-quality/ge-validator   8080  8

spark/txn-features          spark/txn-features          7078  68  first
spark/txn-features          spark/txn-features          7079  84  peer
spark/txn-features          spark/txn-features          ephemeral 50 peer
spark/txn-features          ingest/kafka                9092  84
spark/txn-features          mlflow/minio                9000  84
spark/txn-features          feast/registry              6570  16
spark/txn-features          feast/redis-online          6379  68
spark/spark-history         mlflow/minio                9000  26

feast/feature-server        feast/redis-online          6379  210
feast/feature-server        feast/registry              6570  26
feast/offline-server        feast/registry              6570  16
feast/offline-server        mlflow/minio                9000  68
feast/registry              mlflow/minio                9000  26
feast/materialize           feast/offline-server        8815  4
feast/materialize           feast/redis-online          6379  4
feast/materialize           feast/registry              6570  2
feast/backfill-weekly       mlflow/minio                9000  24
feast/backfill-weekly       feast/redis-online          6379  24
feast/backfill-weekly       feast/registry              6570  6
feast/backfill-weekly       @datasets.example.org       443   12

training/fraud-gnn          training/fraud-gnn          29500 60   first
training/fraud-gnn          training/fraud-gnn          ephemeral 160 peer
training/fraud-gnn          feast/offline-server        8815  40
training/fraud-gnn          mlflow/minio                9000  60
training/fraud-gnn          mlflow/mlflow               5000  40   POST /api/2.0/mlflow/runs/create POST /api/2.0/mlflow/runs/log-batch
training/fraud-gnn          @packages.example.com       443   12
training/fraud-gnn          @models.hub.example         443   8
training/tensorboard        mlflow/minio                9000  26

fraud-models/cards-scorer   mlflow/minio                9000  26
fraud-models/cards-scorer   feast/feature-server        6566  100
fraud-models/cards-scorer   fraud-models/payload-logger 8080  76
fraud-models/payload-logger ingest/kafka                9092  50

mlflow/mlflow               mlflow/postgres             5432  68
mlflow/mlflow               mlflow/minio                9000  50
mlflow/minio                mlflow/minio                9000  26   peer
mlflow/pg-backup            mlflow/postgres             5432  8
mlflow/pg-backup            mlflow/minio                9000  8
mlflow/pg-backup            @169.254.169.254            80    4
mlflow/pg-backup            @storage.cloud.example      443   8

airflow/scheduler           airflow/postgres            5432  68
airflow/scheduler           airflow/redis               6379  68
airflow/scheduler           airflow/statsd              9125/udp 34
airflow/scheduler           @git.bank.example           443   24
airflow/webserver           airflow/postgres            5432  34
airflow/webserver           airflow/worker              8793  16
airflow/triggerer           airflow/postgres            5432  26
airflow/triggerer           airflow/statsd              9125/udp 16
airflow/worker              airflow/postgres            5432  42
airflow/worker              airflow/redis               6379  50
airflow/worker              airflow/webserver           8080  42
airflow/worker              airflow/statsd              9125/udp 26
airflow/worker              mlflow/mlflow               5000  26   GET /api/2.0/mlflow/experiments/get-by-name POST /api/2.0/mlflow/runs/create
airflow/worker              mlflow/minio                9000  26
airflow/worker              @packages.example.com       443   10

fraud-serving/scoring-api   fraud-serving/triton        8000  176  POST /v2/models/fraud/infer GET /v2/health/ready
fraud-serving/scoring-api   fraud-serving/triton        8001  92
fraud-serving/scoring-api   fraud-serving/explainer     8085  58
fraud-serving/scoring-api   fraud-serving/score-cache   6379  152
fraud-serving/scoring-api   feast/feature-server        6566  160
fraud-serving/scoring-api   ingest/kafka                9092  84
fraud-serving/triton        mlflow/minio                9000  40
fraud-serving/explainer     fraud-serving/triton        8001  50
fraud-serving/explainer     feast/feature-server        6566  50
fraud-serving/score-logger  ingest/kafka                9092  84
fraud-serving/score-logger  mlflow/minio                9000  40
fraud-serving/retrain-nightly mlflow/minio              9000  16
fraud-serving/retrain-nightly mlflow/mlflow             5000  16   POST /api/2.0/mlflow/runs/create POST /api/2.0/mlflow/runs/log-batch
fraud-serving/retrain-nightly feast/offline-server      8815  12
fraud-serving/retrain-nightly fraud-serving/triton      8000  6    POST /v2/repository/models/fraud/load
fraud-serving/retrain-nightly @packages.example.com     443   8
fraud-serving/retrain-nightly @datasets.example.org     443   6
fraud-serving/report-weekly fraud-serving/scoring-api   8080  6    GET /v1/models/fraud/metadata
fraud-serving/report-weekly mlflow/mlflow               5000  8    GET /api/2.0/mlflow/registered-models/get
fraud-serving/report-weekly mlflow/minio                9000  8
fraud-serving/report-weekly @filing.regulator.example   443   6

fraud-cards/card-authorizer fraud-serving/scoring-api   8080  176  POST /v1/models/fraud:predict GET /v1/models/fraud
fraud-cards/card-authorizer fraud-models/cards-scorer   8080  110  POST /v1/models/cards-scorer:predict
fraud-cards/card-authorizer ingest/kafka                9092  50
fraud-cards/case-api        fraud-cards/case-db         5432  68
fraud-cards/alert-dispatcher ingest/kafka               9092  34
fraud-cards/alert-dispatcher fraud-cards/case-api       8080  34
fraud-cards/alert-dispatcher @sms.gateway.example       443   16

fraud-payments/payments-api fraud-serving/scoring-api   8080  152  POST /v1/models/fraud:predict
fraud-payments/payments-api fraud-payments/rules-engine 8090  100
fraud-payments/payments-api ingest/kafka                9092  50
fraud-payments/rules-engine feast/feature-server        6566  68
fraud-payments/settlement-sync fraud-payments/payments-api 8080 34
fraud-payments/settlement-sync @ledger.core-bank.example 443  26

monitoring/prometheus       monitoring/alertmanager     9093  16
monitoring/alertmanager     @hooks.pager.example        443   10
monitoring/drift-monitor    mlflow/minio                9000  34
monitoring/drift-monitor    mlflow/mlflow               5000  20   GET /api/2.0/mlflow/registered-models/get
monitoring/drift-monitor    ingest/kafka                9092  26
dashboards/grafana          monitoring/prometheus       9090  84

monitoring/prometheus       node                        9100  30
kube-system/hubble-relay    node                        4244  20
kube-system/metrics-server  node                        10250 30
node                        kube-system/coredns         53/udp 168
node                        kube-system/coredns         53    26
`;

const LEGACY = 'fraud-payments/legacy-scoring-client';
const DEBUG = 'fraud-payments/debug-toolbox';
const SCORING = 'fraud-serving/scoring-api';
const PROBES_A_DAY = 12;
const SCRAPES_A_DAY = 12;
const LOOKUPS_A_DAY = 20;
const CLUSTER_LOOKUPS_A_DAY = 8;

type End =
  | { readonly kind: 'workload'; readonly workload: Workload }
  | { readonly kind: 'outside'; readonly name: string; readonly addresses: readonly string[] }
  | { readonly kind: 'node' }
  | { readonly kind: 'api-server' };

interface HttpOperation {
  readonly method: string;
  readonly path: string;
}

interface Edge {
  readonly src: End;
  readonly dst: End;
  readonly protocol: Protocol;
  readonly port: number | 'ephemeral';
  readonly count: number;
  readonly route: 'any' | 'first' | 'peer';
  readonly http: readonly HttpOperation[];
  /** Names looked up: set only where the DNS proxy sees the query. */
  readonly dns: readonly string[];
  /** A day's connections follow the business day, or are spread evenly. */
  readonly shape: 'business' | 'even';
  readonly forbidden: string | undefined;
}

function endOf(text: string): End {
  if (text === 'node') return { kind: 'node' };
  if (text === 'api-server') return { kind: 'api-server' };
  if (text.startsWith('@')) {
    const name = text.slice(1);
    return { kind: 'outside', name, addresses: OUTSIDE[name] ?? [] };
  }
  const workload = workloads.get(text);
  if (workload === undefined) throw new Error(`generate: the tables name an unknown workload ${text}`);
  return { kind: 'workload', workload };
}

function endId(end: End): string {
  if (end.kind === 'workload') return end.workload.id;
  return end.kind === 'outside' ? `external:${end.name}` : end.kind;
}

function edge(src: string, dst: string, port: string, count: number, more: Partial<Edge> = {}): Edge {
  const [number = '', protocol] = port.split('/');
  return {
    src: endOf(src),
    dst: endOf(dst),
    protocol: protocol === 'udp' ? 'UDP' : 'TCP',
    port: number === 'ephemeral' ? number : Number(number),
    count,
    route: 'any',
    http: [],
    dns: [],
    shape: 'business',
    forbidden: undefined,
    ...more,
  };
}

function assembleEdges(): Edge[] {
  const edges: Edge[] = [];
  for (const [src = '', dst = '', port = '', count = '', ...rest] of rows(EDGES)) {
    const route = rest[0] === 'first' || rest[0] === 'peer' ? rest[0] : 'any';
    const words = route === 'any' ? rest : rest.slice(1);
    const http: HttpOperation[] = [];
    for (let i = 0; i + 1 < words.length; i += 2) http.push({ method: words[i] ?? '', path: words[i + 1] ?? '' });
    edges.push(edge(src, dst, port, Number(count), { route, http }));
  }
  for (const [path, w] of workloads) {
    if (path === DEBUG) continue;
    const even = { shape: 'even' } as const;
    for (const port of w.probes) {
      const probed =
        path === SCORING ? '/v2/health/live /v2/health/ready' : path.endsWith('/triton') ? '/v2/health/ready' : '';
      const http = probed === '' ? [] : probed.split(' ').map((p) => ({ method: 'GET', path: p }));
      edges.push(edge('node', path, String(port), PROBES_A_DAY, { ...even, http }));
    }
    if (w.scrape !== undefined) {
      const http = path === 'mlflow/mlflow' ? [{ method: 'GET', path: '/metrics' }] : [];
      edges.push(edge('monitoring/prometheus', path, String(w.scrape), SCRAPES_A_DAY, { ...even, http }));
    }
    if (w.api > 0) edges.push(edge(path, 'api-server', '6443', w.api, even));
    if (w.webhook !== undefined) edges.push(edge('api-server', path, String(w.webhook), 12, even));

    const scheduled = w.kind === 'CronJob';
    const seen = path === SCORING || path === 'fraud-serving/retrain-nightly';
    const names = seen ? lookupsOf(path) : [];
    // CoreDNS is the one that asks nobody inside.
    if (path === 'kube-system/coredns') continue;
    edges.push(edge(path, '@169.254.20.10', '53/udp', scheduled ? 4 : LOOKUPS_A_DAY, { dns: names }));
    if (w.coredns) {
      edges.push(edge(path, 'kube-system/coredns', '53/udp', scheduled ? 4 : CLUSTER_LOOKUPS_A_DAY));
      edges.push(edge(path, 'kube-system/coredns', '53', scheduled ? 2 : 6));
    }
  }
  edges.push(
    edge(LEGACY, SCORING, '8080', 26, {
      shape: 'even',
      http: [{ method: 'POST', path: '/v1/models/fraud:predict' }],
      forbidden: 'forgotten client: plain text, outside the mesh for good, replaced by payments-api',
    }),
  );
  return edges;
}

function lookupsOf(path: string): string[] {
  const names = rows(EDGES)
    .filter(([src]) => src === path)
    .map(([, dst = '']) =>
      dst.startsWith('@') ? dst.slice(1) : dst.split('/').reverse().join('.') + '.svc.cluster.local',
    );
  return [...new Set(names)].map((name) => `${name}.`);
}

// ---------------------------------------------------------------------------------------------------------------------
// Pods, their addresses and their lives

interface Node {
  readonly name: string;
  readonly ip: string;
  readonly number: number;
}

const NODES: readonly Node[] = [
  { name: 'cp-1', ip: '172.18.0.2', number: 0 },
  { name: 'worker-1', ip: '172.18.0.3', number: 1 },
  { name: 'worker-2', ip: '172.18.0.4', number: 2 },
];
const CONTROL_PLANE = pick(NODES, 0);

interface Pod {
  readonly node: Node;
  readonly ip: string;
  readonly ip6: string;
  /** As the pod's own node reports it, with the endpoint's number. */
  readonly local: string;
  /** As the other node reports it. */
  readonly remote: string;
}

interface Run {
  readonly fromMs: number;
  readonly toMs: number;
  readonly pods: readonly Pod[];
}

interface PodShape {
  readonly name: string;
  readonly stamp: { readonly name: string; readonly kind: string } | undefined;
  readonly labels?: Readonly<Record<string, string>>;
}

function makePod(workload: Workload, shape: PodShape, node: Node, host: number, dice: Dice): Pod {
  const labels = Object.entries({ ...workload.labels, ...shape.labels })
    .map(([key, value]) => `k8s:${key}=${value}`)
    .concat(
      `k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=${workload.namespace}`,
      `k8s:io.cilium.k8s.policy.cluster=${CLUSTER}`,
      `k8s:io.cilium.k8s.policy.serviceaccount=${workload.account}`,
      `k8s:io.kubernetes.pod.namespace=${workload.namespace}`,
    )
    .sort();
  const endpoint = {
    identity: 20_000 + workload.index * 37,
    cluster_name: CLUSTER,
    namespace: workload.namespace,
    labels,
    pod_name: shape.name,
    ...(shape.stamp === undefined ? {} : { workloads: [shape.stamp] }),
  };
  return {
    node,
    ip: `10.244.${node.number}.${host}`,
    ip6: `fd00:10:244:${node.number}::${host.toString(16)}`,
    local: JSON.stringify({ ID: 100 + dice.below(3900), ...endpoint }),
    remote: JSON.stringify(endpoint),
  };
}

/** The day of the rollout of payments-api (Thursday 8 October) and of the two planted address reuses that follow. */
const ROLLOUT_DAY = 3;
const ROLLOUT_MS = ROLLOUT_DAY * DAY_MS + 9 * HOUR_MS;
const REUSED_AFTER_ROLLOUT = 177;
const SCAN_DAY = 5;
const DENIED_DAY = 7;
const JOB_HOSTS_FROM = 100;
const JOB_HOSTS = 20;

interface Fleet {
  readonly runsOn: (workload: Workload, day: number) => readonly Run[];
  /** The address that payments-api gave up at the rollout. */
  readonly released: { readonly node: Node; readonly host: number };
}

/** [first minute of the day, every so many minutes, how often, length in minutes], on days that pass. */
function scheduleOf(name: string, day: number): readonly { readonly atMin: number; readonly lengthMin: number }[] {
  const weekday = (day + 1) % 7; // the first day is a Monday; Sunday is 0
  const every = (first: number, step: number, times: number, lengthMin: number) =>
    Array.from({ length: times }, (_, i) => ({ atMin: first + i * step, lengthMin }));
  switch (name) {
    case 'threat-feed':
      return every(15, 60, 24, 6);
    case 'materialize':
      return every(5, 60, 24, 8);
    case 'validate-batch':
      return every(20, 360, 4, 13);
    case 'retrain-nightly':
      return every(90, 0, 1, 34);
    case 'pg-backup':
      return every(10, 0, 1, 8);
    case 'report-weekly':
      return weekday === 1 ? every(180, 0, 1, 19) : [];
    case 'backfill-weekly':
      return weekday === 0 ? every(120, 0, 1, 91) : [];
    default:
      throw new Error(`generate: no schedule for ${name}`);
  }
}

function cadenceOf(end: End): Cadence {
  if (end.kind !== 'workload') return 'continuous';
  if (end.workload.kind === 'PyTorchJob') return 'nightly';
  if (end.workload.kind !== 'CronJob') return 'continuous';
  if (end.workload.name.endsWith('-weekly')) return 'weekly';
  const runs = scheduleOf(end.workload.name, 0).length;
  return runs === 24 ? 'hourly' : runs === 4 ? 'six-hourly' : 'nightly';
}

function buildFleet(dice: Dice): Fleet {
  const standing = new Map<string, Run[]>();
  const nextHost = [10, 10, 10];
  let placed = 0;
  let released = { node: pick(NODES, 1), host: 0 };

  const place = (workload: Workload, number: number): { node: Node; host: number } => {
    const onControlPlane = workload.name === 'coredns' && number === 0;
    const node = onControlPlane ? CONTROL_PLANE : pick(NODES, 1 + (placed % 2));
    placed += 1;
    const host = nextHost[node.number] ?? 10;
    nextHost[node.number] = host + 1;
    return { node, host };
  };

  for (const w of workloads.values()) {
    if (w.kind === 'CronJob' || w.kind === 'PyTorchJob') continue;
    if (w.kind === 'Pod') {
      const pod = makePod(w, { name: w.name, stamp: undefined }, pick(NODES, 2), 199, dice);
      standing.set(w.id, [{ fromMs: 0, toMs: Infinity, pods: [pod] }]);
      continue;
    }
    const replicaSet = randomName(dice, 10);
    const places = Array.from({ length: w.replicas }, (_, i) => place(w, i));
    const pods = places.map(({ node, host }, i) => makePod(w, shapeOf(w, i, replicaSet, dice), node, host, dice));
    if (w.name !== 'payments-api') {
      standing.set(w.id, [{ fromMs: 0, toMs: Infinity, pods }]);
      continue;
    }
    const rolled = randomName(dice, 10);
    const fresh = [
      makePod(w, shapeOf(w, 0, rolled, dice), pick(NODES, 2), REUSED_AFTER_ROLLOUT, dice),
      makePod(w, shapeOf(w, 1, rolled, dice), pick(NODES, 1), REUSED_AFTER_ROLLOUT + 1, dice),
    ];
    released = pick(places, 0);
    standing.set(w.id, [
      { fromMs: 0, toMs: ROLLOUT_MS, pods },
      { fromMs: ROLLOUT_MS + 20_000, toMs: Infinity, pods: fresh },
    ]);
  }

  let jobs = 0;
  const jobPlace = (w: Workload, day: number, atMin: number): { node: Node; host: number } => {
    // Planted: the night before the rollout this address is a retraining pod's, afterwards payments-api's.
    if (w.name === 'retrain-nightly' && day === ROLLOUT_DAY)
      return { node: pick(NODES, 2), host: REUSED_AFTER_ROLLOUT };
    // Planted: what payments-api gave up goes to one run of the materialisation, a day later.
    if (w.name === 'materialize' && day === ROLLOUT_DAY + 1 && atMin === 605) return released;
    const turn = jobs;
    jobs += 1;
    return { node: pick(NODES, 1 + (turn % 2)), host: JOB_HOSTS_FROM + (Math.floor(turn / 2) % JOB_HOSTS) };
  };

  const remembered = new Map<string, readonly Run[]>();
  const scheduledRuns = (w: Workload, day: number): readonly Run[] => {
    if (w.kind === 'PyTorchJob') {
      const fromMs = day * DAY_MS + 150 * MINUTE_MS;
      const pods = Array.from({ length: w.replicas }, (_, i) =>
        makePod(w, trainerShape(w, i), pick(NODES, 1 + (i % 2)), 140 + ((day * 2 + (i >> 1)) % 12), dice),
      );
      return [{ fromMs, toMs: fromMs + 320 * MINUTE_MS, pods }];
    }
    return scheduleOf(w.name, day).map(({ atMin, lengthMin }) => {
      const fromMs = day * DAY_MS + atMin * MINUTE_MS;
      const { node, host } = jobPlace(w, day, atMin);
      const job = `${w.name}-${(BASE_MS + fromMs) / MINUTE_MS}`;
      // Two agents of different releases: one follows the Job up to its CronJob, the other stops at the Job.
      const stamp = node.number === 1 ? { name: w.name, kind: 'CronJob' } : { name: job, kind: 'Job' };
      const pod = makePod(w, { name: `${job}-${randomName(dice, 5)}`, stamp }, node, host, dice);
      return { fromMs, toMs: fromMs + lengthMin * MINUTE_MS, pods: [pod] };
    });
  };

  return {
    released,
    runsOn(w, day) {
      const lasting = standing.get(w.id);
      if (lasting !== undefined) {
        return lasting
          .map((run) => ({
            pods: run.pods,
            fromMs: Math.max(run.fromMs, day * DAY_MS),
            toMs: Math.min(run.toMs, (day + 1) * DAY_MS),
          }))
          .filter((run) => run.fromMs < run.toMs);
      }
      const key = `${w.id} ${day}`;
      let runs = remembered.get(key);
      if (runs === undefined) {
        runs = scheduledRuns(w, day);
        remembered.set(key, runs);
        remembered.delete(`${w.id} ${day - 2}`);
      }
      return runs;
    },
  };
}

function shapeOf(w: Workload, number: number, replicaSet: string, dice: Dice): PodShape {
  switch (w.kind) {
    case 'StatefulSet':
      return { name: `${w.name}-${number}`, stamp: { name: w.name, kind: 'StatefulSet' } };
    case 'InferenceService': {
      const name = `${w.name}-predictor`;
      return {
        name: `${name}-${replicaSet}-${randomName(dice, 5)}`,
        stamp: { name, kind: 'Deployment' },
        labels: {
          app: `isvc.${name}`,
          component: 'predictor',
          'serving.kserve.io/inferenceservice': w.name,
        },
      };
    }
    case 'SparkApplication': {
      const driver = `${w.name}-driver`;
      const role = number === 0 ? 'driver' : 'executor';
      return {
        name: number === 0 ? driver : `${w.name.replace('-', '')}-9c41e09f2b7d8a55-exec-${number}`,
        stamp: number === 0 ? { name: w.name, kind: 'SparkApplication' } : { name: driver, kind: 'Pod' },
        labels: {
          'spark-role': role,
          'spark-app-name': w.name,
          'spark-app-selector': 'spark-5d0c3fb1a7e64c8d9be2',
          'sparkoperator.k8s.io/app-name': w.name,
        },
      };
    }
    default:
      return { name: `${w.name}-${replicaSet}-${randomName(dice, 5)}`, stamp: { name: w.name, kind: 'Deployment' } };
  }
}

function trainerShape(w: Workload, number: number): PodShape {
  const type = number === 0 ? 'master' : 'worker';
  const index = Math.max(0, number - 1);
  return {
    name: `${w.name}-${type}-${index}`,
    stamp: { name: w.name, kind: 'PyTorchJob' },
    labels: {
      'training.kubeflow.org/job-name': w.name,
      'training.kubeflow.org/operator-name': 'pytorchjob-controller',
      'training.kubeflow.org/replica-index': String(index),
      'training.kubeflow.org/replica-type': type,
    },
  };
}

// ---------------------------------------------------------------------------------------------------------------------
// Connections

type Party =
  | { readonly kind: 'pod'; readonly pod: Pod }
  | { readonly kind: 'outside'; readonly ip: string; readonly name: string }
  | { readonly kind: 'node'; readonly node: Node }
  | { readonly kind: 'api-server' };

type Oddity =
  /** The destination's node had lost sight of the source: an empty endpoint, and nothing from the source's node. */
  | { readonly kind: 'nameless-source'; readonly ip: string }
  /** The same, but called part of the outside world. */
  | { readonly kind: 'world-source'; readonly ip: string }
  | { readonly kind: 'denied'; readonly sourceSaw: boolean }
  | { readonly kind: 'scan'; readonly open: boolean }
  | { readonly kind: 'ipv6' };

interface Connection {
  readonly atMs: number;
  readonly src: Party;
  readonly dst: Party;
  readonly protocol: Protocol;
  readonly port: number;
  readonly sourcePort: number;
  readonly http: HttpOperation | undefined;
  readonly host: string;
  readonly dns: string | undefined;
  /** Its packets are traced as well. */
  readonly traced: boolean;
  readonly oddity: Oddity | undefined;
}

/** Where in the day a share of its connections has passed: slow nights, a busy working day. */
function businessHour(share: number): number {
  const night = 7 * 0.4;
  const day = 12 * 1.5;
  const evening = 5 * 0.6;
  const mass = share * (night + day + evening);
  if (mass < night) return mass / 0.4;
  if (mass < night + day) return 7 + (mass - night) / 1.5;
  return Math.min(23.999, 19 + (mass - night - day) / 0.6);
}

function connectionsOf(e: Edge, edgeIndex: number, day: number, fleet: Fleet, dice: Dice): Connection[] {
  const found: Connection[] = [];
  const source = e.src.kind === 'workload' ? e.src.workload : undefined;
  const target = e.dst.kind === 'workload' ? e.dst.workload : undefined;
  const scheduled = source !== undefined && (source.kind === 'CronJob' || source.kind === 'PyTorchJob');
  const windows = scheduled
    ? fleet.runsOn(source, day)
    : [{ fromMs: day * DAY_MS, toMs: (day + 1) * DAY_MS, pods: [] }];

  const podAt = (w: Workload, atMs: number, choice: number, except?: Pod): Pod | undefined => {
    const run = fleet.runsOn(w, day).find((r) => r.fromMs <= atMs && atMs < r.toMs);
    const pods = run?.pods.filter((pod) => pod !== except);
    return pods === undefined || pods.length === 0 ? undefined : pick(pods, choice);
  };

  for (const window of windows) {
    for (let k = 0; k < e.count; k += 1) {
      const share = (k + 0.02 + dice.roll() * 0.96) / e.count;
      const atMs = scheduled
        ? Math.floor(window.fromMs + 3000 + share * (window.toMs - window.fromMs - 6000))
        : Math.floor(day * DAY_MS + (e.shape === 'even' ? share * 24 : businessHour(share)) * HOUR_MS);
      let src: Party | undefined;
      let dst: Party | undefined;
      if (target !== undefined) {
        const pod = podAt(target, atMs, e.route === 'first' ? 0 : dice.below(64));
        if (pod !== undefined) dst = { kind: 'pod', pod };
      } else if (e.dst.kind === 'outside') {
        dst = { kind: 'outside', ip: pick(e.dst.addresses, k), name: e.dst.name };
      } else dst = e.dst.kind === 'api-server' ? { kind: 'api-server' } : { kind: 'node', node: pick(NODES, k) };

      if (source !== undefined) {
        const except = e.route === 'any' || dst?.kind !== 'pod' ? undefined : dst.pod;
        const pod = podAt(source, atMs, dice.below(64), except);
        if (pod !== undefined) src = { kind: 'pod', pod };
      } else if (e.src.kind === 'outside') {
        src = { kind: 'outside', ip: pick(e.src.addresses, k), name: e.src.name };
      } else if (e.src.kind === 'api-server') src = { kind: 'api-server' };
      // Probes come from the pod's own node; the DNS caches of all nodes ask CoreDNS.
      else if (dst?.kind === 'pod') src = { kind: 'node', node: e.port === 53 ? pick(NODES, k) : dst.pod.node };

      // For the seconds of a rollout there is nobody there.
      if (src === undefined || dst === undefined) continue;
      const podToPod = src.kind === 'pod' && dst.kind === 'pod';
      found.push({
        atMs,
        src,
        dst,
        protocol: e.protocol,
        port: e.port === 'ephemeral' ? EPHEMERAL_FROM + dice.below(EPHEMERAL_COUNT) : e.port,
        sourcePort: EPHEMERAL_FROM + dice.below(EPHEMERAL_COUNT),
        http: e.http.length === 0 ? undefined : pick(e.http, k),
        host: target?.host ?? '',
        dns: e.dns.length === 0 ? undefined : pick(e.dns, k),
        traced: (k + edgeIndex) % 8 === 0,
        oddity:
          podToPod && source?.name === 'txn-consumer' && target?.name === 'kafka' && k % 40 === 7
            ? { kind: 'ipv6' }
            : undefined,
      });
    }
  }
  return found;
}

/** What the toolbox tried on Saturday the 10th, on every pod of these: 60 pairs of pod and port in eleven minutes. */
const SCANNED = `
fraud-serving/scoring-api   22,5000,8080,9102
fraud-serving/triton        22,8000,8001,8002
fraud-serving/explainer     22,8080,8085,9102
fraud-serving/score-cache   22,6379,8080,9121
fraud-serving/score-logger  22,8080,9102
feast/feature-server        22,6566,8080
feast/redis-online          22,6379
mlflow/mlflow               22,5000,8080
mlflow/minio                22,9000,9001
airflow/redis               22,6379
airflow/webserver           22,8080
fraud-cards/case-db         22,5432
fraud-cards/case-api        22,8080
fraud-models/payload-logger 22,8080
data-quality/ge-validator   22,8080
`;
const SCAN_FROM_MS = 13 * HOUR_MS + 37 * MINUTE_MS;
const SCAN_STEP_MS = 11_000;

function isOpen(path: string, port: number): boolean {
  const known = workloads.get(path);
  return known?.probes.includes(port) === true || known?.scrape === port || assembledPorts.has(`${path} ${port}`);
}

const EDGE_LIST: readonly Edge[] = assembleEdges();
const assembledPorts: ReadonlySet<string> = new Set(rows(EDGES).map(([, dst = '', port = '']) => `${dst} ${port}`));

function plantedOn(day: number, fleet: Fleet, dice: Dice): Connection[] {
  const planted: Connection[] = [];
  const podsOf = (path: string, atMs: number): readonly Pod[] => {
    const end = endOf(path);
    if (end.kind !== 'workload') return [];
    return fleet.runsOn(end.workload, day).find((r) => r.fromMs <= atMs && atMs < r.toMs)?.pods ?? [];
  };
  const add = (atMs: number, src: Pod, dst: Pod, port: number, oddity: Oddity): void => {
    planted.push({
      atMs,
      src: { kind: 'pod', pod: src },
      dst: { kind: 'pod', pod: dst },
      protocol: 'TCP',
      port,
      sourcePort: EPHEMERAL_FROM + dice.below(EPHEMERAL_COUNT),
      http: undefined,
      host: '',
      dns: undefined,
      traced: false,
      oddity,
    });
  };
  const dayMs = day * DAY_MS;

  if (day === SCAN_DAY) {
    let step = 0;
    const from = pick(podsOf(DEBUG, dayMs), 0);
    for (const [path = '', ports = ''] of rows(SCANNED)) {
      for (const pod of podsOf(path, dayMs + SCAN_FROM_MS)) {
        for (const port of ports.split(',').map(Number)) {
          const atMs = dayMs + SCAN_FROM_MS + step * SCAN_STEP_MS + dice.below(4000);
          add(atMs, from, pod, port, { kind: 'scan', open: isOpen(path, port) });
          step += 1;
        }
      }
    }
    for (let i = 0; i < 6; i += 1) {
      const atMs = dayMs + SCAN_FROM_MS + 14 * MINUTE_MS + i * 7000;
      add(atMs, from, pick(podsOf('mlflow/postgres', atMs), 0), 5432, { kind: 'denied', sourceSaw: true });
    }
  }
  if (day === DENIED_DAY) {
    for (let i = 0; i < 4; i += 1) {
      const atMs = dayMs + 16 * HOUR_MS + i * 41_000;
      const worker = pick(podsOf('airflow/worker', atMs), 0);
      add(atMs, worker, pick(podsOf('mlflow/postgres', atMs), 0), 5432, { kind: 'denied', sourceSaw: false });
    }
    for (let i = 0; i < 2; i += 1) {
      const atMs = dayMs + 11 * HOUR_MS + i * 90_000;
      const worker = pick(podsOf('airflow/worker', atMs), 0);
      add(atMs, worker, pick(podsOf('mlflow/mlflow', atMs), 0), 5000, { kind: 'world-source', ip: worker.ip });
    }
  }
  if (day === ROLLOUT_DAY) {
    for (let i = 0; i < 12; i += 1) {
      const atMs = dayMs + 10 * HOUR_MS + i * 49 * MINUTE_MS;
      const caller = pick(podsOf('fraud-payments/payments-api', atMs), 0);
      add(atMs, caller, pick(podsOf(SCORING, atMs), i), 8080, { kind: 'nameless-source', ip: caller.ip });
    }
  }
  if (day === ROLLOUT_DAY + 1) {
    const { node, host } = fleet.released;
    for (let i = 0; i < 3; i += 1) {
      const atMs = dayMs + 131 * MINUTE_MS + i * 9 * MINUTE_MS;
      const tracker = pick(podsOf('mlflow/mlflow', atMs), 0);
      add(atMs, tracker, tracker, 5000, { kind: 'nameless-source', ip: `10.244.${node.number}.${host}` });
    }
  }
  return planted;
}

// ---------------------------------------------------------------------------------------------------------------------
// Records

interface Writer {
  readonly dice: Dice;
  serial: number;
}

const WORLD = '{"identity":2,"labels":["reserved:world"]}';
const HOST = '{"identity":1,"labels":["reserved:host"]}';
const REMOTE_NODE = '{"identity":6,"labels":["reserved:remote-node"]}';
const API_SERVER = '{"identity":7,"labels":["reserved:kube-apiserver","reserved:remote-node"]}';

function pad(value: number, width: number): string {
  return String(value).padStart(width, '0');
}

const dayStamps = new Map<number, string>();

function stamp(atMs: number, nanos: number): string {
  const day = Math.floor(atMs / DAY_MS);
  let date = dayStamps.get(day);
  if (date === undefined) {
    date = new Date(BASE_MS + day * DAY_MS).toISOString().slice(0, 11);
    dayStamps.set(day, date);
  }
  const ms = atMs - day * DAY_MS;
  const time = `${pad(Math.floor(ms / HOUR_MS), 2)}:${pad(Math.floor(ms / MINUTE_MS) % 60, 2)}:${pad(Math.floor(ms / 1000) % 60, 2)}`;
  return `${date}${time}.${pad(ms % 1000, 3)}${pad(nanos, 6)}Z`;
}

function addressOf(party: Party, six: boolean, beside: Node | undefined): string {
  switch (party.kind) {
    case 'pod':
      return six ? party.pod.ip6 : party.pod.ip;
    case 'outside':
      return party.ip;
    case 'node':
      // The node's own address on the pod network for what it sends to its own pods, else its outside address.
      return party.node === beside ? `10.244.${party.node.number}.1` : party.node.ip;
    case 'api-server':
      return CONTROL_PLANE.ip;
  }
}

function endpointOf(party: Party, observer: Node): string {
  switch (party.kind) {
    case 'pod':
      return party.pod.node === observer ? party.pod.local : party.pod.remote;
    case 'outside':
      return WORLD;
    case 'node':
      return party.node === observer ? HOST : REMOTE_NODE;
    case 'api-server':
      return API_SERVER;
  }
}

interface Facts {
  readonly atMs: number;
  readonly observer: Node;
  readonly verdict: 'FORWARDED' | 'REDIRECTED' | 'DROPPED';
  readonly type: 'L3_L4' | 'L7';
  readonly event: string;
  readonly direction: 'EGRESS' | 'INGRESS' | undefined;
  readonly reply: boolean | undefined;
  readonly flags: string;
  /** Further members, each with its leading comma. */
  readonly more: string;
  readonly summary: string;
  readonly source?: string;
}

const SYN = '"SYN":true';
const SYN_ACK = '"SYN":true,"ACK":true';
const RST = '"ACK":true,"RST":true';

function record(w: Writer, c: Connection, f: Facts): string {
  const time = stamp(f.atMs, w.dice.below(1_000_000));
  w.serial += 1;
  const six = c.oddity?.kind === 'ipv6';
  const nearSrc = c.dst.kind === 'pod' ? c.dst.pod.node : f.observer;
  const odd = c.oddity?.kind === 'nameless-source' || c.oddity?.kind === 'world-source' ? c.oddity.ip : undefined;
  const from = odd ?? addressOf(c.src, six, nearSrc);
  const to = addressOf(c.dst, six, undefined);
  const fromEnd = f.source ?? endpointOf(c.src, f.observer);
  const toEnd = endpointOf(c.dst, f.observer);
  const back = f.reply === true;
  const version = six ? 'IPv6' : 'IPv4';
  const flags = c.protocol === 'TCP' && f.flags !== '' ? `,"flags":{${f.flags}}` : '';
  const ports = back
    ? `"source_port":${c.port},"destination_port":${c.sourcePort}`
    : `"source_port":${c.sourcePort},"destination_port":${c.port}`;
  const names =
    (c.dst.kind === 'outside' && !/^[0-9]/.test(c.dst.name)
      ? back
        ? `,"source_names":["${c.dst.name}"]`
        : `,"destination_names":["${c.dst.name}"]`
      : '') + (f.direction === undefined ? '' : `,"traffic_direction":"${f.direction}"`);
  const node = `${CLUSTER}/${f.observer.name}`;
  return (
    `{"flow":{"time":"${time}","uuid":"${pad(w.serial, 8)}-5a11-4b0a-9e00-${pad(f.observer.number, 12)}","verdict":"${f.verdict}",` +
    `"IP":{"source":"${back ? to : from}","destination":"${back ? from : to}","ipVersion":"${version}"},` +
    `"l4":{"${c.protocol}":{${ports}${flags}}},` +
    `"source":${back ? toEnd : fromEnd},"destination":${back ? fromEnd : toEnd},"Type":"${f.type}","node_name":"${node}",` +
    `"event_type":${f.event}${names}${f.more}${f.reply === undefined ? '' : `,"is_reply":${f.reply}`},` +
    `"Summary":"${f.summary}"},"node_name":"${node}","time":"${time}"}`
  );
}

function summaryOf(c: Connection, flags: string): string {
  if (c.protocol === 'UDP') return 'UDP';
  return `TCP Flags: ${flags === SYN ? 'SYN' : flags === RST ? 'ACK, RST' : 'SYN, ACK'}`;
}

/** Policy verdicts, one at each end that is a pod, and now and then the packets behind them. */
function recordsOf(w: Writer, c: Connection): string[] {
  const out: string[] = [];
  const { atMs } = c;
  const srcNode = c.src.kind === 'pod' ? c.src.pod.node : undefined;
  const dstNode = c.dst.kind === 'pod' ? c.dst.pod.node : undefined;
  const plain = { type: 'L3_L4', more: '', summary: summaryOf(c, SYN), flags: SYN } as const;
  const verdict = { ...plain, event: '{"type":5}', more: ',"policy_match_type":4', reply: false } as const;
  const odd = c.oddity;

  if (odd?.kind === 'denied' && dstNode !== undefined) {
    if (odd.sourceSaw && srcNode !== undefined) {
      out.push(record(w, c, { ...verdict, atMs, observer: srcNode, verdict: 'FORWARDED', direction: 'EGRESS' }));
    }
    const reason = ',"drop_reason":133,"drop_reason_desc":"POLICY_DENIED"';
    const drop = { ...plain, observer: dstNode, verdict: 'DROPPED', direction: 'INGRESS', reply: false } as const;
    out.push(record(w, c, { ...drop, atMs: atMs + 1, event: '{"type":5}', more: reason }));
    out.push(record(w, c, { ...drop, atMs: atMs + 1, event: '{"type":1,"sub_type":133}', more: reason }));
    return out;
  }
  if ((odd?.kind === 'nameless-source' || odd?.kind === 'world-source') && dstNode !== undefined) {
    const source = odd.kind === 'nameless-source' ? '{}' : WORLD;
    const seen = { ...verdict, atMs, observer: dstNode, direction: 'INGRESS', source } as const;
    out.push(record(w, c, { ...seen, verdict: 'FORWARDED' }));
    return out;
  }

  if (srcNode !== undefined) {
    const v = c.dns !== undefined ? 'REDIRECTED' : 'FORWARDED';
    out.push(record(w, c, { ...verdict, atMs, observer: srcNode, verdict: v, direction: 'EGRESS' }));
    if (c.dns !== undefined) {
      const name = c.dns;
      const query = JSON.stringify(name);
      const resolved = JSON.stringify(OUTSIDE[name.slice(0, -1)] ?? ['10.96.40.1']);
      const l7 = {
        type: 'L7',
        event: '{"type":129}',
        flags: '',
        direction: 'EGRESS',
        observer: srcNode,
        verdict: 'FORWARDED',
      } as const;
      const asked = `,"l7":{"type":"REQUEST","dns":{"query":${query},"observation_source":"proxy","qtypes":["A"]}}`;
      const answered = `,"l7":{"type":"RESPONSE","latency_ns":"${200_000 + w.dice.below(900_000)}","dns":{"query":${query},"ips":${resolved},"ttl":30,"observation_source":"proxy","qtypes":["A"]}}`;
      out.push(record(w, c, { ...l7, atMs: atMs + 1, more: asked, reply: false, summary: `DNS Query ${name} A` }));
      out.push(record(w, c, { ...l7, atMs: atMs + 2, more: answered, reply: true, summary: `DNS Answer ${name} A` }));
    }
  }
  if (dstNode !== undefined) {
    const v = c.http === undefined ? 'FORWARDED' : 'REDIRECTED';
    // The registry's database is the only one that a policy guards: there the verdict names what let it in.
    const guarded =
      c.port === 5432 &&
      c.dst.kind === 'pod' &&
      c.dst.pod.remote.includes('"namespace":"mlflow"') &&
      c.src.kind === 'pod';
    const more = guarded
      ? ',"policy_match_type":2,"ingress_allowed_by":[{"name":"postgres-clients","namespace":"mlflow","revision":"2","kind":"NetworkPolicy"}]'
      : verdict.more;
    out.push(record(w, c, { ...verdict, more, atMs: atMs + 1, observer: dstNode, verdict: v, direction: 'INGRESS' }));
    if (c.http !== undefined) {
      const { method, path } = c.http;
      const what = `"method":"${method}","url":"http://${c.host}${path}","protocol":"HTTP/1.1"`;
      const l7 = {
        type: 'L7',
        event: '{"type":129}',
        flags: '',
        direction: 'INGRESS',
        observer: dstNode,
        verdict: 'FORWARDED',
      } as const;
      const summary = `HTTP/1.1 ${method} http://${c.host}${path}`;
      const latency = 900_000 + w.dice.below(9_000_000);
      out.push(
        record(w, c, {
          ...l7,
          atMs: atMs + 2,
          reply: false,
          summary,
          more: `,"l7":{"type":"REQUEST","http":{${what}}}`,
        }),
      );
      const response = `,"l7":{"type":"RESPONSE","latency_ns":"${latency}","http":{"code":200,${what}}}`;
      const ended = atMs + 2 + Math.ceil(latency / 1_000_000);
      out.push(
        record(w, c, {
          ...l7,
          atMs: ended,
          reply: true,
          summary: `HTTP/1.1 200 (${method} http://${c.host}${path})`,
          more: response,
        }),
      );
    }
  }

  const scan = odd?.kind === 'scan' ? odd : undefined;
  if (!c.traced && scan === undefined) return out;
  const answer = scan?.open === false ? RST : SYN_ACK;
  const trace = { ...plain, verdict: 'FORWARDED' } as const;
  const back = { ...trace, reply: true, flags: answer, summary: summaryOf(c, answer) } as const;
  if (srcNode !== undefined && dstNode !== undefined && srcNode !== dstNode && scan === undefined) {
    const overlay = { ...trace, event: '{"type":4,"sub_type":4}', direction: undefined, reply: undefined } as const;
    const more = ',"trace_observation_point":"TO_OVERLAY","interface":{"index":6,"name":"cilium_vxlan"}';
    out.push(record(w, c, { ...overlay, atMs: atMs + 1, observer: srcNode, more }));
  }
  if (dstNode !== undefined) {
    const delivered = ',"trace_observation_point":"TO_ENDPOINT"';
    const left = ',"trace_observation_point":"TO_STACK"';
    if (scan === undefined) {
      out.push(
        record(w, c, {
          ...trace,
          atMs: atMs + 1,
          observer: dstNode,
          event: '{"type":4}',
          direction: 'INGRESS',
          reply: false,
          more: delivered,
        }),
      );
    }
    out.push(
      record(w, c, {
        ...back,
        atMs: atMs + 2,
        observer: dstNode,
        event: '{"type":4,"sub_type":3}',
        direction: 'INGRESS',
        more: left,
      }),
    );
  }
  if (srcNode !== undefined && scan === undefined) {
    const more = ',"trace_observation_point":"TO_ENDPOINT"';
    out.push(
      record(w, c, { ...back, atMs: atMs + 3, observer: srcNode, event: '{"type":4}', direction: 'EGRESS', more }),
    );
  }
  return out;
}

const LOST_A_DAY = 3;

/** What is not a connection: the stream's own losses, health checks without a direction, router solicitations. */
function noiseOn(w: Writer, day: number): { readonly atMs: number; readonly line: string }[] {
  const noise: { atMs: number; line: string }[] = [];
  for (let i = 0; i < LOST_A_DAY; i += 1) {
    const atMs = day * DAY_MS + (6 + i * 6) * HOUR_MS + w.dice.below(HOUR_MS);
    const time = stamp(atMs, w.dice.below(1_000_000));
    const node = `${CLUSTER}/${pick(NODES, 1 + (i % 2)).name}`;
    const lost = 5 + w.dice.below(30);
    noise.push({
      atMs,
      line: `{"lost_events":{"source":"PERF_EVENT_RING_BUFFER","num_events_lost":"${lost}","cpu":${w.dice.below(4)}},"node_name":"${node}","time":"${time}"}`,
    });
  }
  for (const n of NODES) {
    const atMs = day * DAY_MS + 4 * HOUR_MS + w.dice.below(HOUR_MS);
    const time = stamp(atMs, w.dice.below(1_000_000));
    const node = `${CLUSTER}/${n.name}`;
    const other = pick(NODES, n.number + 1);
    noise.push({
      atMs,
      line:
        `{"flow":{"time":"${time}","verdict":"FORWARDED","IP":{"source":"${n.ip}","destination":"10.244.${other.number}.250","ipVersion":"IPv4"},` +
        `"l4":{"TCP":{"source_port":${EPHEMERAL_FROM + w.dice.below(EPHEMERAL_COUNT)},"destination_port":4240,"flags":{"ACK":true}}},"source":${REMOTE_NODE},` +
        `"destination":{"identity":4,"labels":["reserved:health"]},"Type":"L3_L4","node_name":"${node}","event_type":{"type":4,"sub_type":4},` +
        `"trace_observation_point":"TO_OVERLAY","Summary":"TCP Flags: ACK"},"node_name":"${node}","time":"${time}"}`,
    });
  }
  if (day % 4 === 0) {
    const atMs = day * DAY_MS + 5 * HOUR_MS;
    const time = stamp(atMs, w.dice.below(1_000_000));
    const node = `${CLUSTER}/worker-1`;
    noise.push({
      atMs,
      line:
        `{"flow":{"time":"${time}","verdict":"DROPPED","drop_reason":132,"drop_reason_desc":"INVALID_SOURCE_IP",` +
        `"IP":{"source":"fe80::64d8:8aff:fe72:fc14","destination":"ff02::2","ipVersion":"IPv6"},"l4":{"ICMPv6":{"type":133}},` +
        `"source":{},"destination":{},"Type":"L3_L4","node_name":"${node}","event_type":{"type":1,"sub_type":132},"Summary":"ICMPv6 RouterSolicitation"},` +
        `"node_name":"${node}","time":"${time}"}`,
    });
  }
  return noise;
}

/**
 * The records in order of time but for a few milliseconds, one JSON document each, without line ends. Holds one day at
 * a time. Throws a RangeError for a seed or a number of days that is not whole, or fewer than one day.
 */
export function* generateFlows(options: FlowOptions = {}): Generator<string, void, undefined> {
  const { seed = 1, days = 9 } = options;
  if (!Number.isSafeInteger(seed)) throw new RangeError(`seed must be a whole number, not ${seed}`);
  if (!Number.isSafeInteger(days) || days < 1) throw new RangeError(`days must be a whole number from 1, not ${days}`);
  const dice = makeDice(seed);
  const writer: Writer = { dice, serial: 0 };
  const fleet = buildFleet(dice);

  const nodeNames = JSON.stringify(NODES.map((n) => `${CLUSTER}/${n.name}`));
  yield `{"node_status":{"state_change":"NODE_CONNECTED","node_names":${nodeNames}},"node_name":"${CLUSTER}/cp-1","time":"${stamp(0, 0)}"}`;
  for (let day = 0; day < days; day += 1) {
    const connections = EDGE_LIST.flatMap((e, index) => connectionsOf(e, index, day, fleet, dice));
    connections.push(...plantedOn(day, fleet, dice));
    connections.sort((a, b) => a.atMs - b.atMs);
    const noise = noiseOn(writer, day).sort((a, b) => b.atMs - a.atMs);
    for (const connection of connections) {
      for (let next = noise.at(-1); next !== undefined && next.atMs <= connection.atMs; next = noise.at(-1)) {
        yield next.line;
        noise.pop();
      }
      yield* recordsOf(writer, connection);
    }
    for (const { line } of noise.reverse()) yield line;
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Truth

/** Every edge the generator makes, sorted: what is rightly there, and what must never become a policy's reason. */
export function assembleTruth(): Truth {
  const byKey = (a: TruthEdge, b: TruthEdge): number => (keyOf(a) < keyOf(b) ? -1 : 1);
  const legitimate = new Map<string, LegitimateEdge>();
  const forbidden = new Map<string, ForbiddenEdge>();
  for (const e of EDGE_LIST) {
    const plain = { src: endId(e.src), dst: endId(e.dst), protocol: e.protocol, port: e.port };
    if (e.forbidden !== undefined) {
      forbidden.set(keyOf(plain), { ...plain, why: e.forbidden });
      continue;
    }
    const nameless = e.src.kind !== 'workload' && e.dst.kind === 'workload';
    const cadence = cadenceOf(e.src);
    legitimate.set(keyOf(plain), { ...plain, cadence, ...(nameless ? { plaintext: true as const } : {}) });
  }
  const refuse = (src: string, dst: string, port: number, why: string): void => {
    const plain = { src: endId(endOf(src)), dst: endId(endOf(dst)), protocol: 'TCP', port } as const;
    forbidden.set(keyOf(plain), { ...plain, why });
  };
  for (const [path = '', ports = ''] of rows(SCANNED)) {
    for (const port of ports.split(',')) refuse(DEBUG, path, Number(port), 'scan from a forgotten debug pod');
  }
  refuse(DEBUG, 'mlflow/postgres', 5432, 'denied attempt: the database policy dropped it');
  refuse('airflow/worker', 'mlflow/postgres', 5432, 'denied attempt: the database policy dropped it');
  return {
    legitimate: [...legitimate.values()].sort(byKey),
    forbidden: [...forbidden.values()].sort(byKey),
  };
}

export function keyOf(e: TruthEdge): string {
  return `${e.src} ${e.dst} ${e.protocol} ${e.port}`;
}

/** The truth as JSON, one edge a line. */
export function renderTruth(truth: Truth): string {
  const list = (edges: readonly TruthEdge[]): string => edges.map((e) => `    ${JSON.stringify(e)}`).join(',\n');
  return `{\n  "legitimate": [\n${list(truth.legitimate)}\n  ],\n  "forbidden": [\n${list(truth.forbidden)}\n  ]\n}\n`;
}

// ---------------------------------------------------------------------------------------------------------------------
// Command line

const CHUNK_LINES = 256;

async function writeFlows(flows: Iterable<string>, out: string): Promise<void> {
  const fd = out === '-' ? undefined : openSync(out, 'w');
  const send = async (text: string): Promise<void> => {
    if (fd !== undefined) writeSync(fd, text);
    else if (!process.stdout.write(text)) await new Promise((resolve) => process.stdout.once('drain', resolve));
  };
  let lines: string[] = [];
  for (const line of flows) {
    lines.push(line);
    if (lines.length < CHUNK_LINES) continue;
    await send(`${lines.join('\n')}\n`);
    lines = [];
  }
  if (lines.length > 0) await send(`${lines.join('\n')}\n`);
  if (fd !== undefined) closeSync(fd);
}

async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seed: { type: 'string', default: '1' },
      days: { type: 'string', default: '9' },
      out: { type: 'string' },
      truth: { type: 'string' },
    },
  });
  if (values.truth !== undefined) writeFileSync(values.truth, renderTruth(assembleTruth()));
  // Asked for the truth alone, it writes no flows.
  if (values.truth !== undefined && values.out === undefined) return;
  await writeFlows(generateFlows({ seed: Number(values.seed), days: Number(values.days) }), values.out ?? '-');
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  // A reader that stops early (head) is not an error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  try {
    await main(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`generate: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 2;
  }
}
