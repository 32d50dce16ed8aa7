import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkStates } from '../checker/check.ts';
import type { CheckOptions, Edge } from '../checker/check.ts';
import { readTruth, requestsOf, withRequests } from '../support/example-traffic.ts';
import { ROOT } from '../support/imports.ts';

/**
 * The demo, measured against the truth about its traffic. Nothing of the product is imported: what it says is read from its documents, what
 * its plan does is judged by the checker.
 */
const TOUR = 'fraud-serving';
/** What config.yaml states and the manifests cannot tell. */
const FACTS: CheckOptions = { apiServer: ['172.18.0.2/32'], ipBlockMatches: [] };
const NODE_DNS = 'external:169.254.20.10';
const METADATA = 'external:169.254.169.254';

interface FlowEdge {
  readonly id: string;
  readonly src: string;
  readonly dst: string;
  readonly protocol: string;
  readonly port: number;
  readonly endPort?: number;
  readonly verdict: string;
  readonly review: string;
}
interface Gate {
  readonly id: string;
  readonly answer: string;
  readonly subject: string;
  readonly facts: readonly string[];
  readonly waived?: string;
}
interface Plan {
  readonly hash: string;
  readonly gates: readonly Gate[];
  readonly steps: readonly { readonly phase: string }[];
}
interface Demo {
  readonly kind: string;
  readonly records: number;
  readonly edges: number;
  readonly refusedBy: readonly { readonly id: string; readonly subject: string }[];
  readonly plan: { readonly hash: string; readonly steps: number; readonly denied: number; readonly unknown: number };
  readonly advance: { readonly outcome: string; readonly phase: string; readonly done: number };
  readonly edgesCut: {
    readonly cut: number;
    readonly denied: number;
    readonly kept: number;
    readonly broken: number;
  };
  readonly rollback: { readonly outcome: string; readonly phase: string; readonly done: number };
  readonly byteEqual: boolean;
}

/** The truth knows nodes; the product tells the pod's own one, whose kubelet probes, from another. */
const asNode = (end: string): string => (end === 'node:remote' ? 'node' : end);

/** The nodes' DNS cache is an address to the traffic, and a node to the product. */
function edgeOf({ src, dst, protocol, port, endPort }: FlowEdge): Edge {
  const isNodeDns = dst === 'node' && protocol === 'UDP' && port === 53;
  return {
    src: asNode(src),
    // The metadata server has a name in the product, whatever its address.
    dst: isNodeDns ? NODE_DNS : dst === 'external:metadata-server' ? METADATA : asNode(dst),
    protocol,
    port: endPort === undefined ? port : { from: port, to: endPort },
  };
}

const keyOf = ({ src, dst, protocol, port }: Edge): string =>
  `${src} -> ${dst} ${typeof port === 'number' ? port : `${port.from}-${port.to}`}/${protocol}`;
const namespaceOf = (id: string): string => (id.includes('/') ? (id.split('/')[0] ?? '') : '');
const touches = (edge: Edge, namespace: string): boolean =>
  namespaceOf(edge.src) === namespace || namespaceOf(edge.dst) === namespace;

interface Fate {
  readonly deniedIn: readonly string[];
  readonly by: readonly string[];
}

let dir = '';
let elapsedSec = 0;
let demo: Demo;
let documents: readonly string[] = [];
const legitimate = new Map<string, Edge>();
const forbidden = new Map<string, Edge>();
const onRecord = new Map<string, readonly FlowEdge[]>();
let undecided: Plan;
let decided: Plan;
/** By edge: of each request on it, or of the connection, the last state that denies it and what does. */
const fates = new Map<string, readonly Fate[]>();
let states: readonly string[] = [];

const program = join(ROOT, 'bin/sallyport.js');

function sallyport(...args: string[]): unknown {
  const cluster = ['--manifests', join(dir, 'kept/cluster'), '--state', join(dir, 'kept/state.sqlite')];
  const out = execFileSync(
    process.execPath,
    [program, ...args, ...cluster, '--config', join(dir, 'kept/config.yaml'), '--json'],
    { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8', maxBuffer: 1 << 28 },
  );
  return JSON.parse(out);
}

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'demo-truth-'));
  const started = performance.now();
  const run = spawnSync(process.execPath, [program, 'demo', '--json', '--keep', join(dir, 'kept')], {
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  elapsedSec = (performance.now() - started) / 1000;
  if (run.status !== 0) throw new Error(`the demo ended with ${run.status ?? run.signal ?? '?'}:\n${run.stderr}`);
  documents = run.stdout.split(/^(?=\{)/m);
  demo = JSON.parse(run.stdout) as Demo;

  const truth = readTruth();
  for (const edge of truth.legitimate) legitimate.set(keyOf(edge), edge);
  for (const edge of truth.forbidden) forbidden.set(keyOf(edge), edge);

  const decisions = ['--decisions', join(dir, 'kept/decisions.yaml')];
  const { edges } = sallyport('flows', ...decisions) as { readonly edges: readonly FlowEdge[] };
  for (const edge of edges) {
    const key = keyOf(edgeOf(edge));
    onRecord.set(key, [...(onRecord.get(key) ?? []), edge]);
  }
  undecided = sallyport('plan', TOUR, '--to', 'identity') as Plan;
  decided = sallyport('plan', TOUR, '--to', 'identity', '--states', join(dir, 'states'), ...decisions) as Plan;
  states = readdirSync(join(dir, 'states')).sort();

  const known = [...onRecord].flatMap(([key, [edge]]) => (edge === undefined ? [] : [[key, edgeOf(edge)] as const]));
  // An address that nobody held at the time has no place in a state.
  const judged = new Map([...legitimate, ...forbidden, ...known.filter(([key]) => !key.includes('unknown:'))]);
  const requests = requestsOf();
  const asked = new Map([...judged].map(([key, edge]) => [key, withRequests(edge, requests)]));
  const violations = checkStates(join(dir, 'states'), [...asked.values()].flat(), FACTS);
  for (const [key, edges] of asked)
    fates.set(
      key,
      edges.map((edge) => {
        const found = violations.filter((one) => one.edge === edge);
        return { deniedIn: found.map((one) => one.state), by: found.at(-1)?.by ?? [] };
      }),
    );
}, 300_000);

afterAll(() => rmSync(dir, { recursive: true, force: true }));

const last = (): string => states.at(-1) ?? '';
const isCutAtTheEnd = (key: string): boolean =>
  fates.get(key)?.every((fate) => fate.deniedIn.includes(last())) ?? false;
const isEverDenied = (key: string): boolean => fates.get(key)?.some((fate) => fate.deniedIn.length > 0) ?? true;
const cutBy = (key: string): string => [...new Set(fates.get(key)?.flatMap((fate) => fate.by))].join(' ');
const openGates = (plan: Plan): readonly Gate[] => plan.gates.filter((gate) => gate.answer !== 'yes');

/** Gates that speak of an edge, by its id or in their facts. */
function gatesOn(plan: Plan, key: string): readonly string[] {
  const ids = new Set((onRecord.get(key) ?? []).map((edge) => edge.id));
  const gates = openGates(plan).filter((gate) => ids.has(gate.subject) || gate.facts.some((fact) => says(fact, key)));
  return [...new Set(gates.map((gate) => gate.id))].sort();
}

const says = (fact: string, key: string): boolean => fact === key || fact.startsWith(`${key}:`);

function print(title: string, rows: readonly (readonly string[])[]): void {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  process.stdout.write(`\n${title}\n${lines.map((line) => `  ${line}\n`).join('')}`);
}

describe('the demo without a terminal', () => {
  it('goes all the way and back, and says so in one document', () => {
    print('The demo', [
      ['seconds', elapsedSec.toFixed(1)],
      ['records', String(demo.records)],
      ['edges', String(demo.edges)],
      ['steps', String(demo.plan.steps)],
    ]);
    expect(documents).toHaveLength(1);
    expect(demo).toMatchObject({
      kind: 'Demo',
      plan: { denied: 0, unknown: 0 },
      advance: { outcome: 'done', phase: 'identity', done: demo.plan.steps },
      edgesCut: { broken: 0, denied: demo.edgesCut.cut },
      rollback: { outcome: 'done', phase: 'none', done: demo.plan.steps },
      byteEqual: true,
    });
    expect(new Set(decided.steps.map((step) => step.phase))).toEqual(
      new Set(['monitor', 'allow-list', 'permissive-mtls', 'strict-mtls', 'identity']),
    );
  });

  it('carries out the plan that its kept state gives again', () => {
    expect(decided.hash).toBe(demo.plan.hash);
    expect(openGates(decided)).toEqual([]);
  });

  it('takes about 200,000 records in', () => {
    expect(demo.records).toBeGreaterThan(190_000);
    expect(demo.edges).toBe([...onRecord.values()].flat().length);
  });
});

describe('against the truth', () => {
  const share = (part: number, whole: number): number => part / whole;

  it.each([
    ['the tour’s namespace', TOUR],
    ['the whole cluster', undefined],
  ])('every legitimate edge of %s is on record and never denied (recall 1)', (_, namespace) => {
    const wanted = [...legitimate].filter(([, edge]) => namespace === undefined || touches(edge, namespace));
    const seen = wanted.filter(([key]) => onRecord.has(key));
    const kept = seen.filter(([key]) => !isEverDenied(key));
    print(`Recall, ${namespace ?? 'whole cluster'}`, [
      ['legitimate', String(wanted.length)],
      ['on record', String(seen.length)],
      ['kept in every state', String(kept.length)],
      ['recall', share(kept.length, wanted.length).toFixed(3)],
    ]);
    expect(wanted.length).toBeGreaterThan(namespace === undefined ? 250 : 40);
    const keptKeys = new Set(kept.map(([key]) => key));
    expect(wanted.map(([key]) => key).filter((key) => !keptKeys.has(key))).toEqual([]);
  });

  it('every edge of the tour’s namespace that the last state admits is legitimate (precision 1)', () => {
    const observed = [...onRecord].filter(([, [edge]]) => edge !== undefined && touches(edgeOf(edge), TOUR));
    const kept = observed.filter(([, edges]) => edges.some((edge) => edge.review !== 'to-be-cut'));
    const admitted = observed.filter(([key]) => !isCutAtTheEnd(key));
    const right = admitted.filter(([key]) => legitimate.has(key));
    print(`Precision, ${TOUR}`, [
      ['observed', String(observed.length)],
      ['kept by people', String(kept.length)],
      ['admitted at the end', String(admitted.length)],
      ['of these legitimate', String(right.length)],
      ['precision', share(right.length, admitted.length).toFixed(3)],
    ]);
    expect(admitted.map(([key]) => key).filter((key) => !legitimate.has(key))).toEqual([]);
    expect(admitted.map(([key]) => key)).toEqual(kept.map(([key]) => key));
  });

  it('no more edges are on record than the traffic holds, but for an address that nobody held', () => {
    const extra = [...onRecord.keys()].filter((key) => !legitimate.has(key) && !forbidden.has(key));
    expect(extra).toEqual(['unknown:10.244.1.39 -> mlflow/Deployment/mlflow 5000/TCP']);
  });
});

describe('the forbidden edges', () => {
  const ofTour = (): readonly string[] => [...forbidden].filter(([, edge]) => touches(edge, TOUR)).map(([key]) => key);
  const scan = 'fraud-payments/Pod/debug-toolbox';
  const legacy = 'fraud-payments/Deployment/legacy-scoring-client';

  it('of the tour’s namespace are refused by the default gates while nobody has decided', () => {
    const rows = ofTour().map((key) => [key, gatesOn(undecided, key).join(' ')] as const);
    for (const [key, gates] of rows) {
      if (key.startsWith(scan)) expect(gates, key).toContain('review');
      expect(gates, key).toContain('plaintext');
    }
    expect(rows.filter(([key]) => key.startsWith(scan))).toHaveLength(19);
    expect(rows.filter(([key]) => key.startsWith(legacy))).toHaveLength(1);
    expect(new Set(demo.refusedBy.map((gate) => gate.id))).toEqual(
      new Set(['coverage', 'review', 'plaintext', 'denies-observed']),
    );
  });

  it('of the tour’s namespace are each denied at the end, by an object of the plan', () => {
    for (const key of ofTour()) {
      expect(isCutAtTheEnd(key), key).toBe(true);
      expect(cutBy(key), key).toMatch(/ fraud-serving\/sallyport-/);
      expect(new Set(onRecord.get(key)?.map((edge) => edge.review)), key).toEqual(new Set(['to-be-cut']));
    }
  });

  it('elsewhere are refused by the gates of their own namespaces, or were denied already', () => {
    const rows = [['forbidden edge', 'refused by', 'decided', 'cut by']];
    const elsewhere = new Map<string, Plan>();
    for (const [key, edge] of forbidden) {
      const records = onRecord.get(key) ?? [];
      const namespace = namespaceOf(edge.dst);
      const denied = records.length > 0 && records.every((one) => one.verdict === 'denied');
      if (namespace !== TOUR && !elsewhere.has(namespace))
        elsewhere.set(namespace, sallyport('plan', namespace, '--to', 'allow-list') as Plan);
      const plan = namespace === TOUR ? undecided : elsewhere.get(namespace);
      const gates = plan === undefined ? [] : gatesOn(plan, key);
      const cut = isCutAtTheEnd(key) ? cutBy(key) : 'its namespace is not on the tour';
      rows.push([
        key,
        gates.join(' ') || (denied ? 'no evidence: denied records' : 'NOT REFUSED'),
        [...new Set(records.map((one) => one.review))].join(' ') || 'not on record',
        denied ? 'a policy that was there before' : cut,
      ]);
      if (!denied) expect(gates, key).toContain(key.startsWith(legacy) ? 'plaintext' : 'review');
    }
    print('The fate of each forbidden edge', rows);
    expect(rows).toHaveLength(forbidden.size + 1);
  });
});
