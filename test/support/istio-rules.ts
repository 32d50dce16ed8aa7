import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { buildInventory } from '../../src/inventory/build.ts';
import { mergeSignatures } from '../../src/inventory/signatures.ts';
import { DEFAULT_CONFIG } from '../../src/model/config.ts';
import type { Inventory, PodInfo, Workload } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { ConnectionQuery, ConnectionVerdict, RequestFacts } from '../../src/model/verdict.ts';
import { parseYamlDocuments, splitYaml } from '../../src/shared/io/yaml.ts';
import type { Json, JsonObject } from '../../src/shared/pure/json.ts';
import { asArray, asObject, asString, isJsonObject } from '../../src/shared/pure/json.ts';
import { readManifestDirectory } from '../../src/sources/manifests/index.ts';

/** The fixtures of Istio's rules: see their README. */
export const RULES_DIR = join(import.meta.dirname, '../fixtures/istio-rules');

export interface RuleRow {
  readonly from: string;
  readonly to: string;
  /** Of the pod. */
  readonly port: number;
  readonly method?: string;
  readonly path?: string;
  readonly host?: string;
  /** All that the client sends, names in lower case; absent where the row leaves them open. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly expect: ConnectionVerdict['answer'];
}

export interface RuleCase {
  readonly name: string;
  readonly title: string;
  /** In the order in which they are created. */
  readonly policies: readonly KubeManifest[];
  readonly rows: readonly RuleRow[];
}

/** Who plays: name in the rows -> workload id. */
export const CAST: Readonly<Record<string, string>> = {
  api: 'shop/Deployment/api',
  web: 'shop/Deployment/web',
  store: 'shop/Deployment/store',
  opted: 'shop/Deployment/opted',
  train: 'batch/Deployment/train',
  old: 'legacy/Deployment/old',
  host: 'legacy/Deployment/host',
};

function readYaml(file: string): readonly Json[] {
  const text = readFileSync(file, 'utf8');
  return splitYaml(text).flatMap((chunk) =>
    parseYamlDocuments(text.slice(chunk.start, chunk.end)).map(({ value, problem }) => {
      if (problem !== undefined || value === undefined) throw new Error(`${file}: ${problem?.message ?? 'no value'}`);
      return value;
    }),
  );
}

function rowOf(value: Json, file: string): RuleRow {
  const row = asObject(value);
  const text = (key: string): string | undefined => asString(row[key]);
  const [from = '', to = ''] = [text('from'), text('to')];
  const { port, headers } = row;
  const expected = (['allowed', 'denied', 'unknown'] as const).find((one) => one === row['expect']);
  const keys = ['from', 'to', 'port', 'method', 'path', 'host', 'headers', 'expect'];
  const known = Object.keys(row).every((key) => keys.includes(key));
  const ends = [from, to].every((end) => Object.hasOwn(CAST, end));
  if (!ends || typeof port !== 'number' || expected === undefined || !known)
    throw new Error(`${file}: ${JSON.stringify(row)} is not a row`);
  const [method, path, host] = [text('method'), text('path'), text('host')];
  const sent = Object.entries(asObject(headers)).map(([key, one]) => [key.toLowerCase(), asString(one) ?? ''] as const);
  return {
    from,
    to,
    port,
    expect: expected,
    ...(method === undefined ? {} : { method }),
    ...(path === undefined ? {} : { path }),
    ...(host === undefined ? {} : { host }),
    ...(isJsonObject(headers) ? { headers: Object.fromEntries(sent) } : {}),
  };
}

/** Every case, sorted by name. */
export function readRuleCases(): readonly RuleCase[] {
  return readdirSync(RULES_DIR, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && existsSync(join(RULES_DIR, entry.name, 'expected.yaml')))
    .map(({ name }) => {
      const dir = join(RULES_DIR, name);
      const [expected] = readYaml(join(dir, 'expected.yaml'));
      return {
        name,
        title: /^# (.+)$/mu.exec(readFileSync(join(dir, 'README.md'), 'utf8'))?.[1] ?? name,
        policies: readYaml(join(dir, 'policies.yaml')).filter(isJsonObject) as unknown as readonly KubeManifest[],
        rows: asArray(asObject(expected)['connections']).map((row) => rowOf(row, join(name, 'expected.yaml'))),
      };
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The manifests of the cast. */
export function readCast(): readonly JsonObject[] {
  return readYaml(join(RULES_DIR, 'cast/cast.yaml')).filter(isJsonObject);
}

/** The cast as the product reads it from a directory, each pod with an address as the lab gives them. */
export async function castInventory(): Promise<Inventory> {
  const snapshot = await readManifestDirectory(join(RULES_DIR, 'cast'));
  const config = { ...DEFAULT_CONFIG, cluster: { mesh: { kind: 'istio', mode: 'sidecar' } as const } };
  const inventory = buildInventory(snapshot, { config, signatures: mergeSignatures([]), now: 0 });
  return { ...inventory, workloads: inventory.workloads.map(withPod) };
}

function withPod(workload: Workload, index: number): Workload {
  return {
    ...workload,
    podSets: workload.podSets.map((podSet) => {
      const pod: PodInfo = {
        name: `${workload.name}-0`,
        ips: [podSet.hostNetwork ? '10.244.0.1' : `10.244.0.${index + 10}`],
        node: 'lab',
        hostNetwork: podSet.hostNetwork,
        phase: 'Running',
        ready: true,
        sidecar: podSet.mesh === 'sidecar',
      };
      return { ...podSet, pods: [pod] };
    }),
  };
}

/** The policies of a case, created one after the other. */
export function createdInOrder(policies: readonly KubeManifest[]): readonly KubeManifest[] {
  return policies.map((policy, index) => {
    const creationTimestamp = new Date(Date.UTC(2026, 0, 1, 0, 0, index)).toISOString();
    return { ...policy, metadata: { ...policy.metadata, creationTimestamp } };
  });
}

export function queryOf({ from, to, port, method, path, host, headers }: RuleRow): ConnectionQuery {
  const request: RequestFacts = {
    ...(host === undefined ? {} : { host }),
    ...(headers === undefined ? {} : { headers }),
  };
  return {
    src: { kind: 'workload', id: CAST[from] ?? '' },
    dst: { kind: 'workload', id: CAST[to] ?? '' },
    protocol: 'TCP',
    port,
    ...(method === undefined || path === undefined ? {} : { l7: `${method} ${path}` }),
    ...(Object.keys(request).length === 0 ? {} : { request }),
  };
}

/** For people: `web -> api 8080 GET /a {x-team: ml}`. */
export function formatRow({ from, to, port, method, path, host, headers }: RuleRow): string {
  const request = method === undefined ? '' : ` ${method} ${path ?? ''}`;
  const at = host === undefined ? '' : ` host=${host}`;
  return `${from} -> ${to} ${port}${request}${at}${headers === undefined ? '' : ` ${JSON.stringify(headers)}`}`;
}

/** The Service port by which a client calls a port of a server, as the cast has it; undefined where no Service leads there. */
export function servicePortOf(cast: readonly JsonObject[], to: string, port: number): number | undefined {
  const [namespace = ''] = (CAST[to] ?? '').split('/');
  const service = cast.find(
    (one) =>
      one['kind'] === 'Service' &&
      asString(asObject(one['metadata'])['name']) === to &&
      asString(asObject(one['metadata'])['namespace']) === namespace,
  );
  const ports = asArray(asObject(service?.['spec'])['ports']).map(asObject);
  const found = ports.find((one) => one['targetPort'] === port)?.['port'];
  return typeof found === 'number' ? found : undefined;
}
