import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkStates, renderViolations } from './check.ts';
import type { CheckOptions, Edge, Violation } from './check.ts';
import { first, reorder, swap, without } from './states.ts';
import type { StateStep } from './states.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const EXAMPLE = join(ROOT, 'examples/fraud-detection');
/** What config.yaml states and the manifests cannot tell. */
const FACTS: CheckOptions = { apiServer: ['172.18.0.2/32'], ipBlockMatches: [] };
/** Any port that a Linux pod picks for itself. */
const EPHEMERAL = { from: 32768, to: 60999 };

interface Truth {
  readonly legitimate: readonly (Omit<Edge, 'port'> & { readonly port: number | 'ephemeral' })[];
}

let dir = '';
let legitimate: readonly Edge[] = [];
const states = (): string => join(dir, 'states');

function node(...args: string[]): void {
  execFileSync(process.execPath, args, { cwd: ROOT, stdio: ['ignore', 'ignore', 'inherit'], timeout: 120_000 });
}

function sallyport(...args: string[]): void {
  const cluster = ['--manifests', join(dir, 'cluster'), '--config', join(EXAMPLE, 'config.yaml')];
  const decided = ['--decisions', join(EXAMPLE, 'decisions.yaml'), '--state', join(dir, 'state.sqlite')];
  node(join(ROOT, 'bin/sallyport.js'), ...args, ...cluster, ...decided);
}

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'checker-example-'));
  cpSync(join(EXAMPLE, 'cluster'), join(dir, 'cluster'), { recursive: true });
  node(join(EXAMPLE, 'generate.ts'), '--days', '9', '--out', join(dir, 'flows.ndjson'));
  sallyport('observe', 'hubble', join(dir, 'flows.ndjson'));
  sallyport('plan', 'fraud-serving', '--to', 'identity', '--states', states());
  const truth = JSON.parse(readFileSync(join(EXAMPLE, 'traffic.truth.json'), 'utf8')) as Truth;
  const requests = readRequests(join(dir, 'flows.ndjson'));
  legitimate = truth.legitimate.flatMap(({ src, dst, protocol, port }): readonly Edge[] => {
    const edge = { src, dst, protocol, port: port === 'ephemeral' ? EPHEMERAL : port };
    const asked = [...new Set(requests.filter((one) => isOn(one, edge)).map((one) => one.l7))];
    return asked.length === 0 ? [edge] : asked.map((l7) => ({ ...edge, l7 }));
  });
}, 300_000);

afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Request {
  /** namespace/name of a workload, of one of its Jobs, or of a pod; `node` where the record names none. */
  readonly src: string;
  readonly dst: string;
  readonly port: number;
  readonly l7: string;
}

interface FlowEnd {
  readonly namespace?: string;
  readonly pod_name?: string;
  readonly workloads?: readonly { readonly name: string }[];
}

interface HttpFlow {
  readonly source: FlowEnd;
  readonly destination: FlowEnd;
  readonly l4: { readonly TCP: { readonly destination_port: number } };
  readonly l7: { readonly type: string; readonly http: { readonly method: string; readonly url: string } };
}

/** The requests of the traffic itself: the truth file names connections alone. */
function readRequests(file: string): readonly Request[] {
  const nameOf = (end: FlowEnd): string =>
    end.namespace === undefined ? 'node' : `${end.namespace}/${end.workloads?.[0]?.name ?? end.pod_name ?? ''}`;
  const found = new Map<string, Request>();
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    if (!line.includes('"type":"REQUEST","http"')) continue;
    const { source, destination, l4, l7 } = (JSON.parse(line) as { readonly flow: HttpFlow }).flow;
    const request = {
      src: nameOf(source),
      dst: nameOf(destination),
      port: l4.TCP.destination_port,
      l7: `${l7.http.method} ${new URL(l7.http.url).pathname}`,
    };
    found.set(JSON.stringify(request), request);
  }
  return [...found.values()];
}

/** A request of a CronJob may be on record as one of its Jobs', `name-29862810`. */
function isOn(request: Request, edge: Edge): boolean {
  const plain = (id: string): string => id.replace(/\/[^/]+\//, '/');
  const job = request.src.replace(/-\d+$/, '');
  return (
    request.port === edge.port &&
    request.dst === plain(edge.dst) &&
    (request.src === plain(edge.src) || job === plain(edge.src))
  );
}

/** The plan's steps in another order, checked. */
function rearranged(
  name: string,
  arrange: (steps: readonly StateStep[]) => readonly StateStep[],
): readonly Violation[] {
  reorder(states(), join(dir, name), arrange);
  return checkStates(join(dir, name), legitimate, FACTS);
}

describe('the plan for the example’s fraud-serving namespace', () => {
  it('goes through at least 20 states, from the cluster as it is', () => {
    const names = readdirSync(states());
    expect(names.length).toBeGreaterThanOrEqual(20);
    expect(names.filter((name) => name.startsWith('000'))).toHaveLength(1);
    for (const phase of ['allow-list', 'permissive-mtls', 'strict-mtls', 'identity'])
      expect(
        names.some((name) => name.includes(phase)),
        phase,
      ).toBe(true);
  });

  it('denies no legitimate edge in any of them', () => {
    expect(legitimate.filter((edge) => edge.l7 !== undefined).length).toBeGreaterThan(10);
    expect(legitimate.length).toBeGreaterThan(200);
    expect(renderViolations(checkStates(states(), legitimate, FACTS))).toBe('');
  });

  it('stays clean when its own steps are replayed in their own order', () => {
    expect(renderViolations(rearranged('same', (steps) => steps))).toBe('');
  });

  it.each([
    ['the namespace is isolated before its workloads are open', first(/allow-list-default-deny/), /^001/],
    [
      'a workload is isolated for the mesh before its proxy may reach istiod',
      without(/permissive-mtls.*scoring-api-open/),
      /join/,
    ],
    [
      'STRICT comes before its callers joined',
      swap(/permissive-mtls.*scoring-api-join/, /strict-mtls.*triton/),
      /strict-mtls.*triton/,
    ],
    [
      'nobody may call before the callers are named',
      swap(/identity.*scoring-api-rehearse/, /identity-default-deny/),
      /identity-default-deny/,
    ],
  ] as const)('would be caught if %s', (name, arrange, state) => {
    const found = rearranged(name.replace(/\W+/g, '-'), arrange);
    expect(found.length).toBeGreaterThan(0);
    expect(
      found.map((one) => one.state).some((one) => state.test(one)),
      renderViolations(found),
    ).toBe(true);
  });
});
