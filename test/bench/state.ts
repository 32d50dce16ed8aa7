/**
 * A state as large as they get: 200 namespaces, a million edges, five years of runs and audit. How long each command takes as a whole
 * process, and what readers meet while a run writes; `beside` measures the latter alone.
 *
 *     npm run bench -- state [EDGES] [DIR] [beside|fill]        DIR keeps the state and the cluster, and is used again when it holds them;
 *                                                               `fill` makes both and measures nothing
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { RunRecord } from '../../src/engine/contract.ts';
import type { Edge, Endpoint } from '../../src/model/edge.ts';
import { edgeId } from '../../src/model/edge.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { PHASES } from '../../src/model/phase.ts';
import type { Step } from '../../src/plan/plan.ts';
import { HANDLE } from '../../state/handle.ts';
import { openJournal } from '../../state/journal.ts';
import { openState } from '../../state/open.ts';
import type { Writer } from '../../state/writer.ts';
import { WORKLOADS_A_NAMESPACE, generateCluster } from './generate-cluster.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/sallyport.js', import.meta.url));
const SELF = fileURLToPath(import.meta.url);
const NAMESPACES = 200;
const YEARS = 5;
const DAY = 86_400_000;
const END = Date.UTC(2026, 9, 10);
const START = END - YEARS * 365 * DAY;
const DAYS = YEARS * 365;
/** A namespace is brought through five phases, is brought up to date four times a year, and goes back now and then. */
const RUNS_A_NAMESPACE = 5 + 4 * YEARS + 3;
const STEPS_A_RUN = 12;
const DECISIONS_A_NAMESPACE = 20;

const day = (index: number): string => new Date(START + index * DAY).toISOString().slice(0, 10);
const ns = (index: number): string => `ns-${index % NAMESPACES}`;
const workload = (index: number): string =>
  `${ns(Math.floor(index / WORKLOADS_A_NAMESPACE))}/Deployment/app-${index % WORKLOADS_A_NAMESPACE}`;

/** Whom one of a workload calls, and by which request: of twelve neighbours and eight workloads of namespaces nearby many requests are known. */
function callOf(from: number, nth: number): Pick<Edge, 'dst' | 'port' | 'l7'> & { readonly peer: number } {
  const own = Math.floor(from / WORKLOADS_A_NAMESPACE);
  const at = (namespace: number, index: number): Endpoint => ({
    kind: 'workload',
    id: workload(
      ((namespace + NAMESPACES) % NAMESPACES) * WORKLOADS_A_NAMESPACE +
        ((index + WORKLOADS_A_NAMESPACE) % WORKLOADS_A_NAMESPACE),
    ),
  });
  const request = (of: number): Pick<Edge, 'l7'> => (of === 0 ? {} : { l7: `GET /v1/items-${of}` });
  if (nth < 120) {
    const peer = Math.floor(nth / 10);
    return { dst: at(own, from + peer + 1), port: 8000 + peer, ...request(nth % 10), peer };
  }
  if (nth < 232) {
    const peer = Math.floor((nth - 120) / 14);
    const far = peer < 4 ? peer + 1 : 3 - peer;
    return { dst: at(own + far, from * 7 + peer), port: 8100 + peer, ...request((nth - 120) % 14), peer: 12 + peer };
  }
  // Two workloads of one namespace that all of them call, and what is outside.
  if (nth < 234) return { dst: at(0, nth), port: 8200, peer: nth };
  return { dst: { kind: 'external', name: `host-${(from * 3 + nth) % 5000}.example` }, port: 443, peer: nth };
}

/** One call in twenty is seen on 90 days, the others on one to ten. Of the same edges every time. */
function edge(index: number): Edge {
  const from = index % (NAMESPACES * WORKLOADS_A_NAMESPACE);
  const { peer, ...call } = callOf(from, Math.floor(index / (NAMESPACES * WORKLOADS_A_NAMESPACE)));
  const src: Endpoint = { kind: 'workload', id: workload(from) };
  const length = (peer + from) % 20 === 0 ? 90 : 1 + ((peer * 7 + from) % 10);
  const last = DAYS - 1 - ((index * 7919) % (DAYS - 100));
  const days = Array.from({ length }, (_, one) => day(last - length + 1 + one));
  return {
    ...call,
    id: edgeId({ src, protocol: 'TCP', ...call }),
    src,
    protocol: 'TCP',
    count: length * 12,
    first: START + (last - length + 1) * DAY,
    last: START + last * DAY + 3_600_000,
    verdicts: { allowed: length * 12 },
    days,
    runs: [],
    sources: ['hubble'],
    principals: [],
    mtls: 'unknown',
    origin: { kind: 'observed' },
    review: 'unreviewed',
  };
}

function input(name: string, at: number, records: number): Parameters<Writer['importEdges']>[0]['inputs'][number] {
  const sha256 = createHash('sha256').update(name).digest('hex');
  return {
    sha256,
    source: 'hubble',
    name,
    at,
    first: at - 3_600_000,
    last: at,
    records,
    lost: 0,
    bad: 0,
    ignored: 0,
    sampledOneIn: 1,
  };
}

function fillEdges(writer: Writer, count: number): void {
  const batch = 20_000;
  for (let from = 0; from < count; from += batch)
    writer.importEdges({
      inputs: [input(`edges-${from}`, END, batch)],
      edges: Array.from({ length: Math.min(batch, count - from) }, (_, index) => edge(from + index)),
      evidence: { days: [], unattributed: {}, runs: {} },
    });
  // What each day of each namespace was seen, an input an hour, and a nightly job in every second namespace.
  for (let index = 0; index < DAYS; index += 1) {
    const at = START + index * DAY;
    const seen = ['', ...Array.from({ length: NAMESPACES }, (_, one) => ns(one))].map((namespace) => ({
      source: 'hubble',
      namespace,
      day: day(index),
      first: at,
      last: at + DAY - 1,
    }));
    const runs = Object.fromEntries(
      Array.from({ length: NAMESPACES / 2 }, (_, one) => [`${ns(one * 2)}/CronJob/nightly`, [`nightly-${index}`]]),
    );
    writer.importEdges({
      inputs: Array.from({ length: 24 }, (_, hour) =>
        input(`hour-${index}-${hour}`, at + (hour + 1) * 3_600_000, 40_000),
      ),
      edges: [],
      evidence: { days: [day(index)], unattributed: {}, runs, seen },
    });
  }
}

function objectOf(namespace: string, index: number): KubeManifest {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: {
      name: `sallyport-app-${index}-ingress`,
      namespace,
      labels: { 'app.kubernetes.io/managed-by': 'sallyport' },
    },
    spec: {
      podSelector: { matchLabels: { app: `app-${index}` } },
      policyTypes: ['Ingress'],
      ingress: Array.from({ length: 8 }, (_, one) => ({
        from: [{ podSelector: { matchLabels: { app: `app-${one}` } } }],
        ports: [{ protocol: 'TCP', port: 8000 + one }],
      })),
    },
  };
}

function step(namespace: string, index: number): Step {
  return {
    id: `allow-list/app-${index}-ingress`,
    namespace,
    phase: 'allow-list',
    operation: 'create',
    title: `let the callers of app-${index} in`,
    change: { kind: 'create', object: objectOf(namespace, index) },
    effects: [],
    risks: [],
  };
}

function fillRuns(writer: Writer): void {
  const journal = openJournal(writer);
  const total = NAMESPACES * RUNS_A_NAMESPACE;
  for (let index = 0; index < total; index += 1) {
    const namespace = ns(index);
    const round = Math.floor(index / NAMESPACES);
    const at = START + Math.floor(((END - START) / total) * index);
    const to = PHASES[Math.min(1 + round, PHASES.length - 1)] ?? 'identity';
    const from = PHASES[Math.min(round, PHASES.length - 1)] ?? 'identity';
    const steps = Array.from({ length: STEPS_A_RUN }, (_, one) => step(namespace, one));
    const id = `run-${index}`;
    const run: RunRecord = {
      id,
      kind: 'advance',
      namespace,
      from,
      to,
      planHash: createHash('sha256').update(id).digest('hex'),
      startedAt: at,
      by: 'ops@bastion',
      plan: {
        namespace,
        from,
        to,
        direction: 'up',
        steps,
        gates: [],
        denied: [],
        unknown: [],
        findings: [],
        simulated: { edges: 5000, states: STEPS_A_RUN },
        hash: id,
      },
    };
    journal.openRun(run);
    journal.audit({
      at,
      who: run.by,
      what: 'ticket',
      object: `namespace ${namespace}`,
      namespace,
      reason: `CHG-${index}`,
    });
    steps.forEach((one, position) => {
      journal.stepStarted(id, position, one.change, at);
      const audit = {
        at,
        who: run.by,
        what: 'created',
        object: `NetworkPolicy ${namespace}/sallyport-app-${position}-ingress`,
        reason: one.title,
        run: id,
      };
      // The newest run of each namespace is in force, the ones before were taken over by it.
      if (round === RUNS_A_NAMESPACE - 1) journal.stepDone(id, position, { at, audit });
      else {
        journal.stepSkipped(id, position, 'as it was', at);
        journal.audit(audit);
      }
    });
    journal.closeRun(id, 'done', to, at);
  }
  const gates = Array.from({ length: 25 }, (_, one) => ({
    id: one < 20 ? 'coverage' : 'window',
    answer: 'yes' as const,
    subject: `x/Deployment/app-${one}/egress`,
    facts: ['5 of 5 edges seen', 'an upper bound of 0.03'],
    fix: '',
  }));
  for (let index = 0; index < NAMESPACES; index += 1) {
    writer.saveGates(ns(index), gates, END);
    for (let one = 0; one < DECISIONS_A_NAMESPACE; one += 1)
      writer.addDecision({
        action: 'adopt',
        query: { src: `${ns(index)}/*`, port: String(8000 + one) },
        text: `src=${ns(index)}/*,port=${8000 + one}`,
        reason: 'known to the team',
        by: 'ops@bastion',
        at: END,
        matched: Array.from({ length: 10 }, (_, nth) => edge(index * WORKLOADS_A_NAMESPACE + one + nth * 4000).id),
      });
  }
}

/** A run that writes: journal entries one after the other and an import of 20,000 edges every hundred, until told to stop. */
function writeOn(file: string, seconds: number): void {
  const state = openState(file, { target: undefined, mode: 'write' });
  const until = Date.now() + seconds * 1000;
  let writes = 0;
  for (; Date.now() < until; writes += 1) {
    state.writer.appendAudit({
      at: Date.now(),
      who: 'bench',
      what: 'write',
      object: `namespace ${ns(writes)}`,
      namespace: ns(writes),
      reason: 'one of many',
    });
    if (writes % 100 === 50)
      state.writer.importEdges({
        inputs: [input(`live-${Date.now()}`, Date.now(), 20_000)],
        edges: Array.from({ length: 20_000 }, (_, index) => edge(index * 31)),
        evidence: { days: [], unattributed: {}, runs: {} },
      });
  }
  state.close();
  process.stdout.write(`${writes}\n`);
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
const span = (ms: number): string => (ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`);

/** The process itself says how large it was. */
const TELL_SIZE = [
  '--import',
  'data:text/javascript,process.on("exit",()=>process._rawDebug("resident "+process.resourceUsage().maxRSS))',
];

interface Timed {
  readonly ms: number;
  readonly cpu: number;
  /** Resident at most, MiB. */
  readonly rss: number;
  readonly bytes: number;
  readonly code: number | null;
}

/** `0m1.616s 0m0.983s`, of children: user and system. */
function cpuMs(line: string): number {
  return [...line.matchAll(/(\d+)m([\d.]+)s/g)].reduce(
    (sum, [, minutes, seconds]) => sum + Number(minutes) * 60_000 + Number(seconds) * 1000,
    0,
  );
}
const write = (line: string): void => void process.stdout.write(`${line}\n`);

async function measure(count: number, dir: string, only: string | undefined): Promise<void> {
  const cluster = join(dir, 'cluster');
  const file = join(dir, 'state.sqlite');
  mkdirSync(dir, { recursive: true });
  if (!existsSync(cluster)) {
    generateCluster(NAMESPACES * WORKLOADS_A_NAMESPACE, cluster);
    // What the runs on record left there.
    for (let index = 0; index < NAMESPACES; index += 1) {
      const items = Array.from({ length: STEPS_A_RUN }, (_, one) => objectOf(ns(index), one));
      const list = { apiVersion: 'v1', kind: 'List', items };
      writeFileSync(join(cluster, `sallyport-${ns(index)}.json`), JSON.stringify(list));
    }
  }
  if (!existsSync(file)) {
    const id = createHash('sha256').update(realpathSync(cluster)).digest('hex').slice(0, 16);
    const state = openState(file, {
      target: { id, kind: 'directory', description: cluster },
      mode: 'write',
      create: true,
    });
    const from = performance.now();
    // A state that is only measured need not outlast a loss of power.
    const { db } = state.writer[HANDLE];
    db.pragma('synchronous = OFF');
    fillEdges(state.writer, count);
    write(`filled the edges in ${((performance.now() - from) / 1000).toFixed(0)} s`);
    db.transaction(() => fillRuns(state.writer))();
    write(`and the rest after ${((performance.now() - from) / 1000).toFixed(0)} s`);
    state.close();
  }
  write(
    `state ${(statSync(file).size / 1e6).toFixed(0)} MB: ${NAMESPACES} namespaces, ${count} edges, ${NAMESPACES * RUNS_A_NAMESPACE} runs of ${STEPS_A_RUN} steps, ${NAMESPACES * DECISIONS_A_NAMESPACE} decisions`,
  );
  if (only === 'fill') return;
  const env = { ...process.env, XDG_STATE_HOME: join(dir, 'home'), NO_COLOR: '1' };
  const args = ['--manifests', cluster, '--state', file];
  const timed = (command: readonly string[], rounds: number): Timed => {
    const times: number[] = [];
    const busy: number[] = [];
    let bytes = 0;
    let rss = 0;
    let code: number | null = null;
    for (let round = 0; round < rounds; round += 1) {
      const from = performance.now();
      // The shell tells what its child has used of the processor: on a busy machine that is the figure that can be compared.
      const done = spawnSync(
        'sh',
        [
          '-c',
          '"$@"; code=$?; times >&2; exit $code',
          '-',
          process.execPath,
          ...TELL_SIZE,
          PROGRAM,
          ...command,
          ...args,
        ],
        {
          env,
          maxBuffer: 1 << 30,
        },
      );
      times.push(performance.now() - from);
      bytes = done.stdout.length;
      code = done.status;
      const said = done.stderr.toString('utf8').trimEnd().split('\n');
      busy.push(cpuMs(said.at(-1) ?? ''));
      rss = Math.max(rss, ...said.map((line) => Number(/^resident (\d+)$/u.exec(line)?.[1] ?? 0) / 1024));
      if (code !== 0 && code !== 6 && code !== 3) write(said.slice(0, -2).join('\n').slice(0, 400));
    }
    return { ms: median(times), cpu: median(busy), rss, bytes, code };
  };
  const proposal = join(dir, 'proposal');
  mkdirSync(proposal, { recursive: true });
  writeFileSync(join(proposal, 'one.json'), JSON.stringify(objectOf('ns-7', 3)));
  write('\n| command | time, median | processor | memory | output |\n|---|---|---|---|---|');
  const rows: readonly (readonly [string, number])[] = [
    ['--version', 5],
    ['status', 5],
    ['status --namespace ns-7', 5],
    ['status --json', 5],
    ['flows --namespace ns-7', 5],
    ['flows --namespace ns-7 --json', 5],
    ['audit --namespace ns-7', 5],
    ['audit', 3],
    ['audit --json', 3],
    ['flows --json', 1],
    // What reading the directory of 4,000 workloads takes by itself.
    ['inventory --namespace ns-7', 3],
    ['reach --from ns-7/Deployment/app-3', 1],
    ['grant list', 3],
    ['pattern list', 1],
    ['incident list', 1],
    ['suggest ns-7', 3],
    ['verify ns-7', 3],
    ['accounts -n ns-7', 1],
    ['rehearse ns-7', 1],
    ['waves', 1],
    ['plan ns-7', 1],
    ['plan ns-7 --to identity', 1],
    ['verify', 1],
    ['check PROPOSAL', 1],
    ['accounts', 1],
    ['assess', 1],
  ];
  for (const [command, rounds] of only === 'beside' ? [] : rows) {
    const { ms, cpu, rss, bytes, code } = timed(
      command.split(' ').map((word) => (word === 'PROPOSAL' ? proposal : word)),
      rounds,
    );
    write(
      `| \`${command}\` | ${span(ms)} | ${span(cpu)} | ${rss.toFixed(0)} MiB | ${bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(0)} MB`}${code === 0 ? '' : `, exit ${code ?? '?'}`} |`,
    );
  }
  await readersBesideWriter(file, timed);
}

/** Readers in this process and as processes of their own, while another process writes. */
async function readersBesideWriter(
  file: string,
  timed: (command: readonly string[], rounds: number) => Timed,
): Promise<void> {
  const child = spawn(process.execPath, [SELF, '--write', file, '20'], { stdio: ['ignore', 'pipe', 'inherit'] });
  let writes = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (writes += text));
  const ended = new Promise((resolve) => child.once('close', resolve));
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const latencies: number[] = [];
  const failures: string[] = [];
  const until = Date.now() + 8000;
  while (Date.now() < until) {
    const from = performance.now();
    try {
      const state = openState(file, { target: undefined, mode: 'read' });
      state.reader.phases();
      state.reader.edges({ namespace: ns(latencies.length) });
      state.reader.gates('ns-7');
      state.close();
    } catch (error) {
      failures.push(String(error));
    }
    latencies.push(performance.now() - from);
  }
  const status = timed(['status', '--json'], 5);
  await ended;
  const sorted = latencies.toSorted((a, b) => a - b);
  const at = (share: number): string =>
    (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0).toFixed(0);
  write(
    `\nwhile another process makes ${writes.trim()} writes: ${latencies.length} reads of a namespace, median ${at(0.5)} ms, 99 % ${at(0.99)} ms, longest ${at(1)} ms, ${failures.length} failed; \`status --json\` ${status.ms.toFixed(0)} ms, exit ${status.code ?? '?'}`,
  );
  for (const one of failures.slice(0, 3)) write(one);
}

const [first = '1000000', second, third] = process.argv.slice(2);
if (first === '--write') writeOn(second ?? '', Number(third));
else {
  const dir = second ?? mkdtempSync(join(tmpdir(), 'sallyport-state-'));
  try {
    await measure(Number(first), dir, third);
  } finally {
    if (second === undefined) rmSync(dir, { recursive: true, force: true });
  }
}
