/**
 * The assessment of a generated cluster: time and size of each form, with 10 edges a workload over nine days and a mesh that nobody has
 * joined.
 *
 *     node test/bench/assess.ts [WORKLOADS] [DIR]
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WORKLOADS_A_NAMESPACE, generateCluster } from './generate-cluster.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/sallyport.js', import.meta.url));
const EDGES_A_WORKLOAD = 10;
const DAYS = 9;
const START = Date.UTC(2026, 9, 5);
const DAY = 86_400_000;

/** Ten peers each: most in the same namespace, the others in the next two, one in a hundred outside. */
function edgesOf(workloads: number): string {
  const namespaces = Math.ceil(workloads / WORKLOADS_A_NAMESPACE);
  const id = (index: number): string => {
    const namespace = Math.floor(index / WORKLOADS_A_NAMESPACE) % namespaces;
    return `ns-${namespace}/Deployment/app-${index % WORKLOADS_A_NAMESPACE}`;
  };
  const lines: string[] = [];
  for (let src = 0; src < workloads; src += 1)
    for (let one = 0; one < EDGES_A_WORKLOAD; one += 1) {
      const near = one < 6;
      const inside = Math.floor(src / WORKLOADS_A_NAMESPACE) * WORKLOADS_A_NAMESPACE;
      const dst = near
        ? inside + ((src + one * 3 + 1) % WORKLOADS_A_NAMESPACE)
        : (inside + WORKLOADS_A_NAMESPACE * (one - 5) + ((src * 7 + one) % WORKLOADS_A_NAMESPACE)) % workloads;
      const outside = (src * EDGES_A_WORKLOAD + one) % 100 === 0;
      for (const day of [0, 4, DAYS - 1])
        lines.push(
          JSON.stringify({
            first: new Date(START + day * DAY).toISOString(),
            last: new Date(START + day * DAY + 3_600_000).toISOString(),
            src: { workload: id(src) },
            dst: outside ? { name: `host-${src % 40}.example` } : { workload: id(dst) },
            protocol: 'TCP',
            port: outside ? 443 : one % 3 === 0 ? 9090 : 8080,
            count: 10 + one,
            verdict: 'allowed',
          }),
        );
    }
  return `${lines.join('\n')}\n`;
}

function services(namespace: string): readonly string[] {
  return Array.from(
    { length: WORKLOADS_A_NAMESPACE },
    (_, index) => `apiVersion: v1
kind: Service
metadata:
  name: app-${index}
  namespace: ${namespace}
spec:
  selector:
    app: app-${index}
  ports:
    - name: http
      port: 80
      targetPort: http
    - name: http-metrics
      port: 9090
      targetPort: metrics
`,
  );
}

const workloads = Number(process.argv[2] ?? 5000);
const dir = process.argv[3] ?? mkdtempSync(join(tmpdir(), 'sallyport-assess-'));
const cluster = join(dir, 'cluster');
mkdirSync(cluster, { recursive: true });
generateCluster(workloads, cluster);
// One namespace in ten has its policies still: most clusters that are assessed have few. Every Deployment gets a Service.
for (const [at, file] of readdirSync(cluster).sort().entries()) {
  const documents = readFileSync(join(cluster, file), 'utf8').split(/^---$/m);
  const kept = at % 10 === 0 ? documents : documents.filter((text) => !text.includes('kind: NetworkPolicy'));
  const namespace = file.replace('.yaml', '');
  writeFileSync(join(cluster, file), [...kept, ...services(namespace)].join('---\n').replaceAll('\n\n', '\n'));
}
writeFileSync(join(dir, 'edges.jsonl'), edgesOf(workloads));
writeFileSync(
  join(dir, 'config.yaml'),
  'cluster:\n  cni: {name: calico}\n  mesh: {kind: istio, mode: sidecar, version: "1.29"}\n',
);

function run(...args: readonly string[]): void {
  const begin = performance.now();
  const { status, stderr } = spawnSync(
    process.execPath,
    [
      PROGRAM,
      ...args,
      '--manifests',
      cluster,
      '--config',
      join(dir, 'config.yaml'),
      '--state',
      join(dir, 'state.sqlite'),
    ],
    { encoding: 'utf8', maxBuffer: 1 << 30 },
  );
  const seconds = ((performance.now() - begin) / 1000).toFixed(1);
  if (status !== 0) throw new Error(`${args.join(' ')}: exit ${status}\n${stderr}`);
  const file = args[args.indexOf('-o') + 1];
  const size = args.includes('-o') && file !== undefined ? `, ${(statSync(file).size / 1e6).toFixed(1)} MB` : '';
  process.stdout.write(
    `${args.slice(0, 2).join(' ')}${size === '' ? '' : ` ${file?.slice(file.lastIndexOf('.')) ?? ''}`}: ${seconds} s${size}\n`,
  );
}

run('observe', 'edges', join(dir, 'edges.jsonl'));
run('assess');
for (const extension of ['json', 'md', 'html']) run('assess', '-o', join(dir, `report.${extension}`));
process.stdout.write(`${dir}\n`);
