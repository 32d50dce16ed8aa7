// The play: a namespace after the other through the five phases and back while its traffic never stops, counted step by step.
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { percentile } from './ledger.ts';
import type { Ledger, Surprise } from './ledger.ts';
import { createLedger } from './ledger.ts';
import type { Decided, Ended, Operator, StepLine } from './operator.ts';
import { cutNew, documentOf, explainEnd, openOperator } from './operator.ts';
import type { Scenario } from './scenario.ts';
import { readScenario } from './scenario.ts';
import type { Stage } from './stage/types.ts';
import { tellSurprises } from './story.ts';
import type { Watch } from './watch.ts';
import { watchPods } from './watch.ts';

/** Longer recordings and pauses, for figures rather than for every commit: `LAB_LONG=1 npm run test:lab`. */
export const LONG = process.env['LAB_LONG'] === '1';
export const PHASES = ['monitor', 'allow-list', 'permissive-mtls', 'strict-mtls', 'identity'] as const;
export type LabPhase = (typeof PHASES)[number];

/**
 * What differs from the defaults, and why: the lab records minutes. A week without a gap (window) and three days or runs of everything
 * (coverage) cannot come of that; the lab knows by its manifests that nothing is missing. Runs without a watch (soak) are for the steps
 * whose effects are counted; those under watch take `watched`.
 */
export const CONFIG = `gates:
  window: 0
  coverage: off
  soak: off
cluster:
  cni: {name: lab-verdict, ipBlockMatches: [pods, nodes, api-server]}
`;

/**
 * The configuration with what there is to be watched: what the policy engine and the sidecars say of denied connections. A watch lasts
 * seconds where a bank would take days; the lab's proxies drain for five.
 */
function withSignals(stage: Pick<Stage, 'verdictLog' | 'accessLogs'>, config: string): string {
  return `${config}soak:
  minutes: 0.3
  drainSeconds: 6
  signals:
    - {source: edges, inputs: ['${stage.verdictLog}']}
    - {source: envoy, inputs: ['${stage.accessLogs}/*/*/access.jsonl']}
`;
}

/** What a person decides about this cluster, with the reasons that go on the audit trail. In this order: the newest counts. */
export function decisions(scenario: Scenario): readonly Decided[] {
  const own = scenario.namespaces.filter((one) => one !== 'debug');
  const scraped = scenario.workloads.filter((one) => one.labels['metrics'] === 'scraped').map((one) => one.namespace);
  return [
    ...own.map(
      (one) =>
        ['adopt', `src=${one}/*`, 'The pipeline as its teams know it; minutes are all there is to see.'] as const,
    ),
    ['accept', 'src=debug/*', 'A toolbox that an on-call engineer left behind. It scans; nobody depends on it.'],
    ['adopt', 'src=debug/*,dst=kube-system/*', 'Whoever it is may ask for names.'],
    // Of each namespace, not of everything: that somebody does not enforce must still be heard of.
    ...scenario.namespaces.map(
      (one) =>
        [
          'waive',
          `gate=enforcement,subject=${one}`,
          'The lab enforces by an engine that no product ships; its own tests prove it.',
        ] as const,
    ),
    [
      'waive',
      'gate=mesh,subject=validation/CronJob/validate-batch',
      'Sidecars are native ones here: a Job ends beside them.',
    ],
    [
      'waive',
      'gate=plaintext,subject=edge/Deployment/gateway:8080',
      'Core banking calls in plain text and has no sidecar.',
    ],
    ...[...new Set(scraped)].map(
      (one) =>
        ['waive', `gate=plaintext,subject=${one}/*:9102`, 'Scraped by pod address from outside the mesh.'] as const,
    ),
  ];
}

export interface Timing {
  readonly pass: string;
  readonly namespace: string;
  readonly to: string;
  readonly seconds: number;
  /** From the first step to the end: without reading, planning and starting. */
  readonly writingSeconds: number;
  readonly steps: number;
  readonly restarts: number;
}

/** Runs that were watched to their end, as `resume` said of them. */
export interface Watched {
  readonly pass: string;
  readonly runs: number;
  /** From the first resume to the one that ended the last of them. */
  readonly seconds: number;
  readonly resumes: number;
  /** Edges that the runs touched and that were seen anew after it. */
  readonly seenAnew: number;
}

export interface Play {
  readonly stage: Stage;
  readonly scenario: Scenario;
  readonly ledger: Ledger;
  readonly watch: Watch;
  readonly operator: Operator;
  /** A configuration under which `verify` reads what was denied and what passed, and no run is watched. */
  readonly seeing: string;
  /** A configuration under which runs are watched. */
  readonly watched: string;
  readonly timings: Timing[];
  readonly watches: Watched[];
  readonly stories: string[];
  /** Imports what the policy engine has decided since the last time. */
  observeVerdicts(): Promise<void>;
  /** Leaves that out of the record. */
  skipVerdicts(): void;
  mark(phase: string, step?: string): void;
  /** One namespace up to a phase; every step is a mark, and what surprised is told at once. */
  advance(pass: string, namespace: string, to: string, under?: 'watch'): Promise<Ended>;
  /** Asks `resume` until the watch over every run that soaks has ended well. Errors: one that ends otherwise, or not in time. */
  endWatches(pass: string): Promise<void>;
  rollback(pass: string, namespace: string, to: string): Promise<Ended>;
  /** Takes in the logs; tells surprises that are new. */
  collect(): Promise<void>;
  /** Lets the forbidden callers begin, or stops them. */
  forbid(armed: boolean): void;
}

function say(text: string, { begunAt, endedAt, steps }: Ended): void {
  process.stderr.write(`lab: ${text} (${steps.length} steps, ${((endedAt - begunAt) / 1000).toFixed(1)} s)\n`);
}

/** A play on a stage whose scenario is up. */
export function openPlay(
  stage: Stage,
  config: string = CONFIG,
  /** Phases in which the test itself cuts somebody off: what fails then is counted and told to nobody. */
  excused: readonly string[] = [],
): Play {
  const scenario = readScenario();
  const ledger = createLedger(scenario);
  const watch = watchPods(stage.podLogs, ledger, ['kube-system', 'istio-system']);
  const operator = openOperator(stage, 'play', config);
  const cut = cutNew(stage.verdictLog, join(operator.home, 'verdicts'));
  const seeing = join(operator.home, 'seeing.yaml');
  writeFileSync(seeing, withSignals(stage, config));
  const watched = join(operator.home, 'watched.yaml');
  writeFileSync(watched, withSignals(stage, config).replace('  soak: off\n', ''));
  const timings: Timing[] = [];
  const watches: Watched[] = [];
  const stories: string[] = [];
  let told = 0;
  let soaksTold = 0;

  const mark: Play['mark'] = (phase, step = '') => ledger.mark({ at: Date.now(), phase, step });
  const collect = async (): Promise<void> => {
    watch.collect();
    const all: readonly Surprise[] = ledger.surprises().filter((one) => !excused.includes(one.mark.phase));
    if (all.length === told || stories.length >= 3) return;
    const fresh = all.slice(told);
    told = all.length;
    stories.push(await tellSurprises(stage, operator, scenario.namespaces, fresh));
  };
  const marking = (phase: string, namespace: string): { readonly onStep: (step: StepLine) => void } => ({
    onStep: (step) =>
      ledger.mark({ at: step.at, phase, step: `${namespace} [${step.index}/${step.total}] ${step.title}` }),
  });
  const timed = (pass: string, namespace: string, to: string, ended: Ended): void => {
    const [first] = ended.steps;
    timings.push({
      pass,
      namespace,
      to,
      seconds: (ended.endedAt - ended.begunAt) / 1000,
      writingSeconds: first === undefined ? 0 : (ended.endedAt - first.at) / 1000,
      steps: ended.steps.length,
      restarts: ended.stderr.split('waiting for the pods of').length - 1,
    });
  };
  return {
    stage,
    scenario,
    ledger,
    watch,
    operator,
    seeing,
    watched,
    timings,
    watches,
    stories,
    mark,
    collect,
    observeVerdicts: async () => {
      const part = cut();
      if (part !== undefined) await operator.must(['observe', 'edges', part]);
    },
    skipVerdicts: () => {
      cut();
    },
    advance: async (pass, namespace, to, under) => {
      const options = {
        ...marking(`${pass}: ${to}`, namespace),
        ...(under === undefined ? {} : { config: watched, more: ['--detach'] }),
      };
      // Planned first, and carried out by its hash, where the namespace is cut off for the first time; elsewhere in one go.
      const ended =
        to === 'allow-list'
          ? await operator.advance(namespace, to, options)
          : await operator.must(['advance', namespace, '--to', to, '--yes', ...(options.more ?? [])], options);
      timed(pass, namespace, to, ended);
      say(`${pass}: ${namespace} is in ${to}`, ended);
      // The API server's watchers hear of a policy within milliseconds; an attempt that began before is not held to it.
      if (to !== 'monitor') ledger.hold(namespace, ended.endedAt + 500, true);
      await collect();
      return ended;
    },
    endWatches: async (pass) => {
      mark(`${pass}: watched`);
      const begun = Date.now();
      for (let resumes = 1; ; resumes += 1) {
        const ended = await operator.run(['resume'], { config: watched });
        const { error, run } = documentOf(ended) as {
          readonly error?: { readonly code: string };
          readonly run: unknown;
        };
        const seconds = (Date.now() - begun) / 1000;
        if (ended.code === 0 && run === null) {
          const passed = (await soaked(operator)).slice(soaksTold);
          soaksTold += passed.length;
          const seenAnew = passed.reduce((sum, count) => sum + count, 0);
          watches.push({ pass, runs: passed.length, seconds, resumes, seenAnew });
          process.stderr.write(
            `lab: ${pass}: ${passed.length} runs watched, ${seenAnew} edges seen anew (${seconds.toFixed(0)} s)\n`,
          );
          break;
        }
        if ((ended.code !== 0 && error?.code !== 'SP610') || seconds > WATCH_LIMIT_SECONDS)
          throw new Error(explainEnd(ended));
        if (ended.code !== 0) await delay(2000);
      }
      await collect();
    },
    rollback: async (pass, namespace, to) => {
      if (to === 'none' || to === 'monitor') ledger.hold(namespace, Date.now(), false);
      const ended = await operator.rollback(namespace, to, marking(`${pass}: back to ${to}`, namespace));
      timed(pass, namespace, to, ended);
      say(`${pass}: ${namespace} is back in ${to}`, ended);
      await collect();
      return ended;
    },
    forbid: (armed) => {
      const file = join(stage.dir, 'lab', 'forbidden');
      if (armed) writeFileSync(file, '');
      else rmSync(file, { force: true });
    },
  };
}

/** The CronJob connects once a minute; a watch over it takes that long, and a little for its pod to come up. */
const WATCH_LIMIT_SECONDS = 180;

/** How many edges each watch that ended well has seen anew, oldest first: it stands on the audit trail. */
async function soaked(operator: Operator): Promise<readonly number[]> {
  const { entries } = documentOf(await operator.must(['audit'])) as {
    readonly entries: readonly { readonly what: string; readonly reason: string }[];
  };
  return entries.filter((one) => one.what === 'soak passed').map((one) => Number.parseInt(one.reason, 10));
}

/** Records the traffic for so many seconds and takes the decisions. */
export async function recordAndDecide(play: Play, seconds: number): Promise<void> {
  play.mark('recording');
  await delay(seconds * 1000);
  await play.observeVerdicts();
  play.operator.decide(decisions(play.scenario));
  await play.collect();
}

/** After the join the sidecars ask for names too, where a pod never had: a new edge each, which a person vouches for. */
export function adoptJoined(play: Play): void {
  play.operator.decide([['adopt', 'dst=kube-system/*,port=53', 'Sidecars ask for names, as everybody may.']]);
}

export interface Wave {
  readonly wave: number;
  readonly namespaces: readonly string[];
}

/** The order that the planner proposes. */
export async function readWaves(play: Play): Promise<readonly Wave[]> {
  const ended = await play.operator.must(['assess']);
  const found = findWaves(documentOf(ended));
  if (found === undefined) throw new Error(`assess --json proposes no waves: ${ended.stdout.slice(0, 500)}`);
  return found;
}

function findWaves(value: unknown): readonly Wave[] | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  for (const [key, inner] of Object.entries(value)) {
    if (key === 'waves' && Array.isArray(inner)) return inner as readonly Wave[];
    const found = Array.isArray(inner) ? undefined : findWaves(inner);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** A namespace of so many servers and one that reads them all: for the time that a way back takes. */
export function wideManifests(servers: number): readonly object[] {
  const namespace = 'archive';
  const pod = (name: string, play: object, port?: number): object => ({
    metadata: { labels: { app: name } },
    spec: {
      containers: [
        {
          name,
          image: 'lab/pod:1',
          env: [{ name: 'LABPOD', value: JSON.stringify(play) }],
          ...(port === undefined ? {} : { readinessProbe: { tcpSocket: { port }, periodSeconds: 1 } }),
        },
      ],
    },
  });
  const deployment = (name: string, template: object): object => ({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace },
    spec: { replicas: 1, selector: { matchLabels: { app: name } }, template },
  });
  const names = Array.from({ length: servers }, (_, index) => `shelf-${String(index + 1).padStart(2, '0')}`);
  return [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
    ...names.flatMap((name) => [
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name, namespace },
        spec: { selector: { app: name }, ports: [{ name: 'http', port: 8080, targetPort: 8080 }] },
      },
      deployment(name, pod(name, { servers: [{ kind: 'http', port: 8080 }] }, 8080)),
    ]),
    deployment(
      'librarian',
      pod('librarian', {
        clients: [{ name: 'read', targets: names.map((name) => `${name}.${namespace}:8080`), everyMs: 100 }],
        startAfterMs: 15_000,
      }),
    ),
  ];
}

interface VerdictLine {
  readonly first: string;
  readonly src: { readonly pod?: string; readonly namespace?: string };
  readonly dst: { readonly pod?: string; readonly namespace?: string };
  readonly verdict: string;
}

/** Milliseconds between the begin of a step that isolates a workload's ingress and the first denial at that workload. */
export function effectTimes(play: Play, ended: readonly Ended[]): readonly number[] {
  const denials = readFileSync(play.stage.verdictLog, 'utf8')
    .split('\n')
    .filter((line) => line.includes('"denied"'))
    .map((line) => JSON.parse(line) as VerdictLine);
  return ended.flatMap(({ steps }) =>
    steps.flatMap((step) => {
      const found = /^isolate ingress of ([^/]+)\/[^/]+\/([^:]+):/.exec(step.title);
      if (found === null) return [];
      const [, namespace, name = ''] = found;
      const first = denials.find(
        (one) =>
          Date.parse(one.first) >= step.at &&
          one.dst.namespace === namespace &&
          one.dst.pod?.startsWith(`${name}-`) === true,
      );
      // The toolbox comes round every few seconds: what it meets much later says nothing of the engine.
      const after = first === undefined ? undefined : Date.parse(first.first) - step.at;
      return after === undefined || after > 10_000 ? [] : [after];
    }),
  );
}

/** Milliseconds between the begin of a step by which a workload joins and its first connection that came by mTLS. */
export function joinTimes(play: Play, ended: readonly Ended[]): readonly number[] {
  return ended.flatMap(({ steps }) =>
    steps.flatMap((step) => {
      const found = /^([^/]+)\/Deployment\/(\S+) joins the mesh/.exec(step.title);
      if (found === null) return [];
      const [, namespace = '', name = ''] = found;
      const folder = join(play.stage.accessLogs, namespace);
      const pods = existsSync(folder) ? readdirSync(folder).filter((pod) => pod.startsWith(`${name}-`)) : [];
      const times = pods.flatMap((pod) =>
        readLines(join(folder, pod, 'access.jsonl'))
          .filter(
            (line) =>
              line['downstream_tls_version'] !== null && String(line['upstream_cluster']).startsWith('inbound|'),
          )
          .map((line) => Date.parse(String(line['start_time'])))
          .filter((at) => at >= step.at),
      );
      return times.length === 0 ? [] : [Math.min(...times) - step.at];
    }),
  );
}

function readLines(file: string): readonly Readonly<Record<string, unknown>>[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8')
    .split('\n')
    .flatMap((line) => {
      try {
        return [JSON.parse(line) as Readonly<Record<string, unknown>>];
      } catch {
        return [];
      }
    });
}

/** `n=12 p50=3 p99=9` of times in ms; for a table. */
export function spread(times: readonly number[]): readonly [number, number, number, number] {
  return [
    times.length,
    percentile(times, 50),
    percentile(times, 99),
    times.length === 0 ? Number.NaN : Math.max(...times),
  ];
}
