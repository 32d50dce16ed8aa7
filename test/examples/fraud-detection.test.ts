import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import {
  assembleTruth,
  generateFlows,
  keyOf,
  renderTruth,
  workloadFacts,
  type TruthEdge,
} from '../../examples/fraud-detection/generate.ts';

const EXAMPLE = new URL('../../examples/fraud-detection/', import.meta.url);
const GENERATOR = new URL('generate.ts', EXAMPLE);
const truth = assembleTruth();

// --- The cluster -----------------------------------------------------------------------------------------------------

interface Container {
  readonly ports?: readonly { readonly name?: string; readonly containerPort: number }[];
}
interface PodTemplate {
  readonly metadata?: { readonly labels?: Record<string, string>; readonly annotations?: Record<string, string> };
  readonly spec: { readonly serviceAccountName?: string; readonly containers: readonly Container[] };
}
interface Manifest {
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Record<string, string>;
    readonly annotations?: Record<string, string>;
  };
  readonly items?: readonly Manifest[];
  // The test reads a few fields of many kinds; each place that does says which.
  readonly spec?: unknown;
  readonly status?: unknown;
}

function readCluster(): Manifest[] {
  const dir = new URL('cluster/', EXAMPLE);
  return readdirSync(dir).flatMap((file) =>
    parseAllDocuments(readFileSync(new URL(file, dir), 'utf8')).flatMap((document) => {
      expect(document.errors, file).toEqual([]);
      const manifest = document.toJS() as Manifest;
      return manifest.kind === 'List' ? (manifest.items ?? []) : [manifest];
    }),
  );
}

const manifests = readCluster();
const idOf = (m: Manifest): string => `${m.metadata.namespace ?? ''}/${m.kind}/${m.metadata.name}`;
const byId = new Map(manifests.map((m) => [idOf(m), m]));
const WORKLOAD_KINDS = new Set(
  'Deployment StatefulSet DaemonSet CronJob Job Pod PyTorchJob InferenceService SparkApplication'.split(' '),
);
const declared = manifests.filter((m) => WORKLOAD_KINDS.has(m.kind));

function templateOf(m: Manifest): PodTemplate | undefined {
  if (m.kind === 'Pod') return m as unknown as PodTemplate;
  const spec = m.spec as {
    template?: PodTemplate;
    jobTemplate?: { spec: { template: PodTemplate } };
    pytorchReplicaSpecs?: { Master: { template: PodTemplate } };
  };
  return spec.template ?? spec.jobTemplate?.spec.template ?? spec.pytorchReplicaSpecs?.Master.template;
}

describe('the cluster of the example', () => {
  it('is a platform of at least nine namespaces and 44 workloads', () => {
    expect(new Set(declared.map((m) => m.metadata.namespace)).size).toBeGreaterThanOrEqual(9);
    expect(declared.length).toBeGreaterThanOrEqual(44);
    const namespaces = new Set(manifests.filter((m) => m.kind === 'Namespace').map((m) => m.metadata.name));
    expect(declared.map((m) => m.metadata.namespace).filter((ns) => !namespaces.has(ns ?? ''))).toEqual([]);
  });

  it('names every object once', () => {
    expect(byId.size).toBe(manifests.length);
  });

  it('holds no Secret', () => {
    expect(manifests.filter((m) => m.kind === 'Secret')).toEqual([]);
  });

  it('gives each workload the labels, account, probes and scrape port that its traffic shows', () => {
    for (const fact of workloadFacts()) {
      const manifest = byId.get(fact.id);
      expect(manifest, fact.id).toBeDefined();
      if (manifest === undefined) continue;
      const template = templateOf(manifest);
      // An operator writes the pods of these two.
      if (template === undefined) continue;
      expect(template.metadata?.labels ?? {}, fact.id).toEqual(fact.labels);
      expect(template.spec.serviceAccountName ?? 'default', fact.id).toBe(fact.account);
      const probed = [
        ...JSON.stringify(template.spec).matchAll(/"(?:httpGet|tcpSocket|grpc)":\{[^}]*"port":("?[\w-]+)/g),
      ];
      const named = new Map(
        template.spec.containers.flatMap((c) => c.ports ?? []).map((p) => [p.name, p.containerPort]),
      );
      const numbers = probed.map(([, port = '']) => (port.startsWith('"') ? named.get(port.slice(1)) : Number(port)));
      expect([...new Set(numbers)].sort(), fact.id).toEqual([...fact.probes]);
      const annotation = template.metadata?.annotations?.['prometheus.io/port'];
      if (annotation !== undefined) expect(Number(annotation), fact.id).toBe(fact.scrape);
    }
  });

  it('has an account for every workload that names one', () => {
    const missing = declared
      .map((m) => ({ m, account: templateOf(m)?.spec.serviceAccountName ?? 'default' }))
      .filter(
        ({ m, account }) =>
          account !== 'default' && !byId.has(`${m.metadata.namespace ?? ''}/ServiceAccount/${account}`),
      )
      .map(({ m }) => idOf(m));
    expect(missing).toEqual([]);
  });

  it('points every Service at a port of pods that exist', () => {
    let translated = 0;
    for (const service of manifests.filter((m) => m.kind === 'Service')) {
      const { selector, ports } = service.spec as {
        selector: Record<string, string>;
        ports: readonly { port: number; targetPort?: number | string }[];
      };
      const backends = declared.filter((m) => {
        const labels = templateOf(m)?.metadata?.labels ?? {};
        return (
          m.metadata.namespace === service.metadata.namespace &&
          Object.entries(selector).every(([k, v]) => labels[k] === v)
        );
      });
      expect(backends.map(idOf), idOf(service)).toHaveLength(1);
      const open = backends.flatMap((m) => templateOf(m)?.spec.containers ?? []).flatMap((c) => c.ports ?? []);
      for (const { port, targetPort = port } of ports) {
        const hit = open.find((p) =>
          typeof targetPort === 'string' ? p.name === targetPort : p.containerPort === targetPort,
        );
        expect(hit, `${idOf(service)} ${port}`).toBeDefined();
        if (hit !== undefined && hit.containerPort !== port) translated += 1;
      }
    }
    expect(translated).toBeGreaterThan(5);
  });

  it('keeps the namespace of the tour free of Helm, Argo and custom owners, and shares one account in it', () => {
    const tour = manifests.filter((m) => m.metadata.namespace === 'fraud-serving');
    expect(JSON.stringify(tour)).not.toMatch(/helm|argo|managed-by/i);
    const workloads = tour.filter((m) => WORKLOAD_KINDS.has(m.kind));
    expect(new Set(workloads.map((m) => m.kind))).toEqual(new Set(['Deployment', 'StatefulSet', 'CronJob']));
    expect(workloads.filter((m) => templateOf(m)?.spec.serviceAccountName === undefined)).toHaveLength(3);
  });
});

// --- The traffic -----------------------------------------------------------------------------------------------------

interface EndpointRecord {
  readonly namespace?: string;
  readonly labels?: readonly string[];
  readonly pod_name?: string;
  readonly workloads?: readonly { readonly name: string; readonly kind: string }[];
}
interface FlowRecord {
  readonly time: string;
  readonly verdict: string;
  readonly IP: { readonly source: string; readonly destination: string };
  readonly l4: Record<string, { readonly source_port: number; readonly destination_port: number }>;
  readonly source: EndpointRecord;
  readonly destination: EndpointRecord;
  readonly source_names?: readonly string[];
  readonly destination_names?: readonly string[];
  readonly is_reply?: boolean;
  readonly event_type: { readonly type: number };
}
interface Envelope {
  readonly flow?: FlowRecord;
  readonly lost_events?: { readonly num_events_lost: string };
}

function labelOf(end: EndpointRecord, key: string): string | undefined {
  return end.labels?.find((label) => label.startsWith(`k8s:${key}=`))?.slice(key.length + 5);
}

/** The reading of a person with the record in hand: no help from the program under test. */
function nameOf(end: EndpointRecord, ip: string, names: readonly string[] | undefined): string {
  if (end.labels?.includes('reserved:kube-apiserver') === true) return 'api-server';
  if (end.labels?.some((l) => l === 'reserved:host' || l === 'reserved:remote-node') === true) return 'node';
  if (end.labels?.includes('reserved:world') === true) return `external:${names?.[0] ?? ip}`;
  const ns = end.namespace;
  if (ns === undefined) return `unknown:${ip}`;
  const served = labelOf(end, 'serving.kserve.io/inferenceservice');
  if (served !== undefined) return `${ns}/InferenceService/${served}`;
  const spark = labelOf(end, 'sparkoperator.k8s.io/app-name');
  if (spark !== undefined) return `${ns}/SparkApplication/${spark}`;
  const owner = end.workloads?.[0];
  if (owner === undefined) return `${ns}/Pod/${end.pod_name ?? ''}`;
  if (owner.kind === 'Job') return `${ns}/CronJob/${owner.name.replace(/-\d+$/, '')}`;
  return `${ns}/${owner.kind}/${owner.name}`;
}

interface Seen {
  readonly days: Set<string>;
  allowed: number;
  denied: number;
}

interface Reading {
  records: number;
  lost: number;
  first: string;
  last: string;
  readonly edges: Map<string, Seen>;
  readonly pods: Map<string, Map<string, { first: string; last: string }>>;
  readonly nameless: { readonly ip: string; readonly time: string; readonly dst: string }[];
  readonly jobRuns: Map<string, number>;
}

function readStream(lines: Iterable<string>): Reading {
  const reading: Reading = {
    records: 0,
    lost: 0,
    first: '9',
    last: '0',
    edges: new Map(),
    pods: new Map(),
    nameless: [],
    jobRuns: new Map(),
  };
  for (const line of lines) {
    reading.records += 1;
    const envelope = JSON.parse(line) as Envelope;
    reading.lost += Number(envelope.lost_events?.num_events_lost ?? 0);
    const flow = envelope.flow;
    if (flow === undefined) continue;
    if (flow.time < reading.first) reading.first = flow.time;
    if (flow.time > reading.last) reading.last = flow.time;
    // Overlay packets carry no direction and say nothing new.
    if (flow.is_reply === undefined) continue;
    const [protocol = '', ports] = Object.entries(flow.l4)[0] ?? [];
    if (ports === undefined) continue;
    const turn = flow.is_reply;
    const src = { end: turn ? flow.destination : flow.source, ip: turn ? flow.IP.destination : flow.IP.source };
    const dst = { end: turn ? flow.source : flow.destination, ip: turn ? flow.IP.source : flow.IP.destination };
    const dstNames = turn ? flow.source_names : flow.destination_names;
    const port = turn ? ports.source_port : ports.destination_port;
    for (const { end, ip } of [src, dst]) {
      if (end.pod_name === undefined) continue;
      const lives = reading.pods.get(ip) ?? new Map<string, { first: string; last: string }>();
      reading.pods.set(ip, lives);
      const life = lives.get(end.pod_name);
      if (life === undefined) lives.set(end.pod_name, { first: flow.time, last: flow.time });
      else if (flow.time > life.last) life.last = flow.time;
      const run = /^(.+)-(\d{8})-[a-z0-9]{5}$/.exec(end.pod_name);
      if (run !== null) {
        const job = `${end.namespace ?? ''}/CronJob/${run[1] ?? ''}`;
        reading.jobRuns.set(job, Math.max(reading.jobRuns.get(job) ?? 0, Number(run[2])));
      }
    }
    const source = nameOf(src.end, src.ip, undefined);
    const target = nameOf(dst.end, dst.ip, dstNames);
    if (source.startsWith('unknown:') || source.startsWith('external:10.')) {
      reading.nameless.push({ ip: src.ip, time: flow.time, dst: target });
      continue;
    }
    const key = `${source} ${target} ${protocol} ${port >= 32_768 ? 'ephemeral' : port}`;
    const seen = reading.edges.get(key) ?? { days: new Set<string>(), allowed: 0, denied: 0 };
    reading.edges.set(key, seen);
    seen.days.add(flow.time.slice(0, 10));
    if (flow.verdict === 'DROPPED') seen.denied += 1;
    else seen.allowed += 1;
  }
  return reading;
}

function digest(lines: Iterable<string>): string {
  const hash = createHash('sha256');
  for (const line of lines) hash.update(line).update('\n');
  return hash.digest('hex');
}

describe('the traffic of the example', () => {
  let stream: Reading;
  beforeAll(() => {
    stream = readStream(generateFlows());
  });
  const seen = (edge: TruthEdge): Seen | undefined => stream.edges.get(keyOf(edge));

  it('is the same to the byte for the same seed, and another for another', () => {
    expect(digest(generateFlows({ seed: 7, days: 2 }))).toBe(digest(generateFlows({ seed: 7, days: 2 })));
    expect(digest(generateFlows({ seed: 7, days: 2 }))).not.toBe(digest(generateFlows({ seed: 8, days: 2 })));
  });

  it('is about 200,000 records over nine days from Monday 5 October 2026', () => {
    expect(stream.records).toBeGreaterThan(180_000);
    expect(stream.records).toBeLessThan(220_000);
    expect(stream.first.slice(0, 13)).toBe('2026-10-05T00');
    expect(stream.last.slice(0, 13)).toBe('2026-10-13T23');
  });

  it('loses some records, fewer than one in a hundred', () => {
    expect(stream.lost).toBeGreaterThan(0);
    expect(stream.lost / stream.records).toBeLessThan(0.01);
  });

  it('shows every legitimate edge on every day, but for the weekly ones', () => {
    const days = truth.legitimate.map((e) => ({ edge: keyOf(e), cadence: e.cadence, days: seen(e)?.days.size ?? 0 }));
    expect(days.filter((d) => d.cadence !== 'weekly' && d.days !== 9)).toEqual([]);
    const weekly = days.filter((d) => d.cadence === 'weekly');
    expect(weekly.length).toBeGreaterThan(0);
    expect(weekly.filter((d) => d.days !== (d.edge.startsWith('feast/') ? 1 : 2))).toEqual([]);
  });

  it('shows every forbidden edge, the denied ones only denied at the database', () => {
    const hidden = truth.forbidden.filter((e) => seen(e) === undefined);
    expect(hidden).toEqual([]);
    const denied = truth.forbidden.filter((e) => e.why.startsWith('denied'));
    expect(denied.map((e) => e.src)).toEqual(['airflow/StatefulSet/worker', 'fraud-payments/Pod/debug-toolbox']);
    expect(denied.map((e) => (seen(e)?.denied ?? 0) > 0)).toEqual([true, true]);
    // The toolbox's own node saw its packets leave; the worker's saw nothing.
    expect(denied.map((e) => (seen(e)?.allowed ?? 0) > 0)).toEqual([false, true]);
  });

  it('shows nothing that the truth does not list', () => {
    const known = new Set([...truth.legitimate, ...truth.forbidden].map(keyOf));
    expect([...stream.edges.keys()].filter((key) => !known.has(key))).toEqual([]);
  });

  it('scans from the debug pod on one day only, and hears from the legacy client on all', () => {
    const scan = truth.forbidden.filter((e) => e.src === 'fraud-payments/Pod/debug-toolbox');
    expect(scan.length).toBeGreaterThan(35);
    expect(new Set(scan.flatMap((e) => [...(seen(e)?.days ?? [])]))).toEqual(new Set(['2026-10-10']));
    const legacy = truth.forbidden.filter((e) => e.src.endsWith('/legacy-scoring-client'));
    expect(legacy.map((e) => seen(e)?.days.size)).toEqual([9]);
  });

  it('gives an address from a finished Job to another workload, with nameless records inside one life', () => {
    const lives = [...(stream.pods.get('10.244.2.177') ?? [])].map(([pod, life]) => ({ pod, ...life }));
    expect(lives.map(({ pod }) => pod.replace(/-[^-]+-[^-]+$/, ''))).toEqual(['retrain-nightly', 'payments-api']);
    const [job, api] = lives;
    expect((job?.last ?? '9') < (api?.first ?? '0')).toBe(true);
    const nameless = stream.nameless.filter((n) => n.ip === '10.244.2.177');
    expect(nameless).toHaveLength(12);
    expect(nameless.every((n) => n.time > (api?.first ?? '9') && n.time < (api?.last ?? '0'))).toBe(true);
  });

  it('leaves three nameless records in a gap where nobody held the address', () => {
    const undecided = stream.nameless.filter((n) => n.time.startsWith('2026-10-09'));
    expect(undecided).toHaveLength(3);
    for (const { ip, time } of undecided) {
      const lives = [...(stream.pods.get(ip)?.values() ?? [])];
      expect(lives.length).toBeGreaterThanOrEqual(2);
      expect(lives.filter((life) => life.first <= time && time <= life.last)).toEqual([]);
    }
  });

  it('ends with the run that each CronJob names as its last', () => {
    const cronJobs = declared.filter((m) => m.kind === 'CronJob');
    for (const m of cronJobs) {
      const status = m.status as { lastScheduleTime: string; lastSuccessfulTime: string };
      expect(stream.jobRuns.get(idOf(m)), idOf(m)).toBe(Date.parse(status.lastScheduleTime) / 60_000);
      expect(status.lastSuccessfulTime > status.lastScheduleTime).toBe(true);
      expect(status.lastSuccessfulTime < '2026-10-14T00:00:00Z').toBe(true);
    }
  });

  it('has the same edges whatever the seed', () => {
    const other = readStream(generateFlows({ seed: 20_261 }));
    expect([...other.edges.keys()].sort()).toEqual([...stream.edges.keys()].sort());
  });
});

describe('the generator of the example', () => {
  it('imports nothing but what Node brings', () => {
    const imports = [...readFileSync(GENERATOR, 'utf8').matchAll(/\bfrom '([^']+)'|\bimport\('([^']+)'\)/g)];
    expect(imports.length).toBeGreaterThan(0);
    expect(
      imports.map((m) => m[1] ?? m[2] ?? '').filter((name) => !name.startsWith('node:') || !isBuiltin(name)),
    ).toEqual([]);
  });

  it('wrote the truth that is committed', () => {
    expect(readFileSync(new URL('traffic.truth.json', EXAMPLE), 'utf8')).toBe(renderTruth(truth));
  });

  it('prints on standard output what it yields', () => {
    const printed = execFileSync(process.execPath, [GENERATOR.pathname, '--days', '1', '--seed', '3'], {
      maxBuffer: 256 * 1024 * 1024,
    });
    expect(createHash('sha256').update(printed).digest('hex')).toBe(digest(generateFlows({ seed: 3, days: 1 })));
  });

  it('refuses a seed that is not a number', () => {
    expect(() => execFileSync(process.execPath, [GENERATOR.pathname, '--seed', 'x'], { stdio: 'pipe' })).toThrow(
      /seed must be a whole number/,
    );
  });
});
