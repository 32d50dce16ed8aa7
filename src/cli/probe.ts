import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { App } from './context.ts';
import { kubeOptions } from './context.ts';
import type { Loaded } from './load.ts';
import { explain } from './file-error.ts';
import type { Clock } from '../engine/contract.ts';
import type { Config } from '../model/config.ts';
import { endpointKey, namespaceOfWorkload } from '../model/edge.ts';
import { compileWorld, evaluateConnection } from '../model/evaluate.ts';
import type { Gate } from '../model/finding.ts';
import { matchText } from '../model/glob.ts';
import type { Inventory, PodSet, Workload } from '../model/inventory.ts';
import { isObject } from '../model/object.ts';
import { phaseIndex } from '../model/phase.ts';
import type { ProbePair, ProbeResult, ProbeTarget } from '../model/probe.ts';
import {
  buildProbePod,
  isPinned,
  isWorkloadId,
  judgeProbe,
  parseProbeMessage,
  parseProbes,
  PROBE_DEADLINE_SEC,
  PROBE_LABEL,
  probeEnd,
} from '../model/probe.ts';
import { matchSelector, parseSelector } from '../model/selector.ts';
import { parseYaml, renderYaml } from '../shared/io/yaml.ts';
import { EXIT, Failure, isFailure } from '../shared/pure/errors.ts';
import type { JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString } from '../shared/pure/json.ts';
import { groupBy } from '../shared/pure/order.ts';
import { plural, safeText } from '../shared/pure/text.ts';
import type { KubeApi } from '../sources/kube/index.ts';
import { connectKube } from '../sources/kube/index.ts';

/** A pod tries so many targets at most: its answer must fit the termination message, and its time the deadline. */
const TARGETS_A_POD = 40;
/** Pods that run at a time. */
const MOST_PODS = 10;
const LOOK_MS = 500;
/** A pod that has not ended by then is given up: it may wait for an image or a node. */
const PATIENCE_MS = PROBE_DEADLINE_SEC * 1000;
/** Pods of a probe that are older were left behind: the kubelet ended what ran in them long ago. */
const LEFT_MS = 5 * 60_000;

export interface ProbePorts {
  readonly api: KubeApi;
  readonly clock: Clock;
  readonly image: string;
  readonly run: string;
  readonly signal: AbortSignal;
  readonly note: (text: string) => void;
  /** Takes down a pod that is about to be made. Durable when it returns. */
  readonly journal: (pod: string) => void;
}

export interface Probed {
  readonly namespace: string;
  readonly gates: readonly Gate[];
}

function wrongUse(message: string, hint: string): Failure {
  return new Failure({ code: 'SP207', exit: EXIT.usage, message, where: 'verify --probe', hint });
}

/** The file of pairs. Errors: SP206. */
export async function readProbes(file: string): Promise<readonly ProbePair[]> {
  const bad = (message: string, cause?: unknown): Failure =>
    new Failure({
      code: 'SP206',
      exit: EXIT.usage,
      message: `the file of probes cannot be used: ${message}`,
      where: safeText(file),
      hint: 'docs/probe.md has the form; sallyport verify --probe-suggest proposes a file',
      ...(cause === undefined ? {} : { cause }),
    });
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw bad(explain(error), error);
  }
  const parsed = parseYaml(text);
  if ('problem' in parsed) throw bad(`line ${parsed.problem.line}: ${safeText(parsed.problem.message)}`);
  const { pairs, problems } = parseProbes(parsed.value);
  if (problems.length > 0)
    throw bad(
      `${problems.slice(0, 10).map(safeText).join('; ')}${problems.length > 10 ? `; and ${problems.length - 10} more` : ''}`,
    );
  return pairs;
}

/** The pairs of a file, all of them from namespaces that may be probed from. Errors: SP206, SP207. */
export async function allowedPairs(file: string, config: NonNullable<Config['probe']>): Promise<readonly ProbePair[]> {
  const pairs = await readProbes(file);
  const [first] = pairs.filter(
    ({ from }) => !config.namespaces.some((one) => matchText(one, namespaceOfWorkload(from))),
  );
  if (first === undefined) return pairs;
  throw wrongUse(
    `${namespaceOfWorkload(first.from)} is not among the namespaces that may be probed from`,
    'add it to probe.namespaces, or leave its pairs out',
  );
}

/** `verify --probe`: asks first, then tries every pair, and gives back a gate for each, by the namespace that calls. */
export async function probeAll(app: App, loaded: Loaded, file: string | undefined): Promise<readonly Probed[]> {
  if (app.options.manifests !== undefined)
    throw wrongUse('nothing runs in a directory of manifests', 'probe a cluster: leave --manifests out');
  if (file === undefined)
    throw wrongUse(
      'which pairs are to be tried is not said',
      'name them with --probe-file FILE; sallyport verify --probe-suggest proposes a file',
    );
  const config = loaded.config.probe;
  if (config === undefined)
    throw wrongUse('the configuration names no image to probe with', 'set probe.image: docs/probe.md');
  if (!isPinned(config.image))
    throw wrongUse(
      `probe.image ${safeText(config.image)} is not pinned`,
      'name it by its digest: REPOSITORY@sha256:...',
    );
  const pairs = await allowedPairs(file, config);
  if (app.options.yes !== true) {
    const question = `Start probe pods for ${plural(pairs.length, 'pair')} in ${safeText((await app.target()).description)}?`;
    if (!app.output.interactive || !(await (await import('./prompts.ts')).terminalPrompts.confirm(question)))
      throw wrongUse('this starts pods, and nobody confirmed it', 'add --yes');
  }
  const state = await app.writableState();
  const clock = app.clock();
  const api = await connectKube({ ...kubeOptions(app.options, app.env), clock });
  const run = `p${randomBytes(4).toString('hex')}`;
  try {
    return await app.interrupt.during(() =>
      runProbes(pairs, loaded.inventory, publishing(loaded), {
        api,
        clock,
        image: config.image,
        run,
        signal: app.interrupt.signal,
        note: (text) => app.output.note(text),
        journal: (pod) =>
          state.writer.appendAudit({
            at: Date.now(),
            who: app.by,
            what: 'probe',
            object: `Pod ${pod}`,
            namespace: pod.split('/')[0] ?? '',
            reason: `verify --probe, run ${run}`,
          }),
      }),
    );
  } finally {
    api.close();
  }
}

/** Does a Service show pods that are not ready, and select these labels? Its name where one does. */
export type Publishes = (namespace: string, labels: Readonly<Record<string, string>>) => string | undefined;

export function publishing(loaded: Pick<Loaded, 'snapshot'>): Publishes {
  const services = loaded.snapshot.objects.filter(
    (object) => isObject(object, '', 'Service') && asObject(object['spec'])['publishNotReadyAddresses'] === true,
  );
  return (namespace, labels) =>
    services.find((service) => {
      const selector = asObject(service['spec'])['selector'];
      if (service.metadata['namespace'] !== namespace || selector === undefined) return false;
      return matchSelector(parseSelector({ matchLabels: selector }, 'selector').selector, labels);
    })?.metadata.name;
}

interface Job {
  readonly pair: ProbePair;
  readonly target: ProbeTarget;
}

/**
 * Tries every pair by pods that are gone afterwards, whatever happens; and takes away what an earlier run left. A pair that cannot be tried is
 * unknown, with the reason.
 */
export async function runProbes(
  pairs: readonly ProbePair[],
  inventory: Inventory,
  publishes: Publishes,
  ports: ProbePorts,
): Promise<readonly Probed[]> {
  await removeLeft(ports);
  const gates = new Map<ProbePair, Gate>();
  const jobs = new Map<string, Job[]>();
  const workloads = new Map(inventory.workloads.map((workload) => [workload.id, workload]));
  for (const pair of pairs) {
    const found = planPair(pair, workloads, publishes);
    if (typeof found === 'string') gates.set(pair, gateOf(pair, 'unknown', found));
    else {
      const list = jobs.get(pair.from);
      if (list === undefined) jobs.set(pair.from, [{ pair, target: found }]);
      else list.push({ pair, target: found });
    }
  }
  const pods = [...jobs].flatMap(([from, list]) =>
    Array.from({ length: Math.ceil(list.length / TARGETS_A_POD) }, (_, at) => ({
      from,
      list: list.slice(at * TARGETS_A_POD, (at + 1) * TARGETS_A_POD),
    })),
  );
  const queue = pods.entries();
  const worker = async (): Promise<void> => {
    for (const [at, { from, list }] of queue) {
      if (ports.signal.aborted) return;
      const workload = workloads.get(from);
      const set = workload === undefined ? undefined : sourceSet(workload);
      if (workload === undefined || set === undefined) continue;
      const answer = await runPod(workload, set, `sallyport-${ports.run}-${at}`, list, ports);
      for (const [index, { pair }] of list.entries()) {
        const result = typeof answer === 'string' ? undefined : answer.results[index];
        if (result === undefined || typeof answer === 'string') {
          gates.set(pair, gateOf(pair, 'unknown', typeof answer === 'string' ? answer : 'the probe gave no answer'));
          continue;
        }
        const judged = judgeProbe(pair.must, result.outcome, answer.throughProxy);
        gates.set(pair, gateOf(pair, judged.answer, judged.because));
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(MOST_PODS, pods.length) }, worker));
  const answers = new Set(
    pairs
      .filter((pair) => pair.must === 'pass' && gates.get(pair)?.answer === 'yes')
      .map(({ to, port }) => `${to} ${port}`),
  );
  const all = pairs.map((pair) => {
    const gate = gates.get(pair) ?? gateOf(pair, 'unknown', 'it was not tried: the run was ended');
    // Silence proves a policy only where somebody is there to be heard.
    if (pair.must === 'pass' || gate.answer !== 'yes' || answers.has(`${pair.to} ${pair.port}`)) return { pair, gate };
    return { pair, gate: { ...gate, facts: [...gate.facts, 'no other pair shows that anybody answers there'] } };
  });
  return [...groupBy(all, ({ pair }) => namespaceOfWorkload(pair.from))].map(([namespace, own]) => ({
    namespace,
    gates: own.map(({ gate }) => gate),
  }));
}

function gateOf(pair: ProbePair, answer: Gate['answer'], because: string): Gate {
  const subject = `${pair.from} -> ${pair.to} ${pair.port}/TCP`;
  return {
    id: 'probe',
    answer,
    subject,
    facts: [`must ${pair.must}: ${because}`, ...(pair.why === undefined ? [] : [pair.why])],
    fix:
      answer === 'yes'
        ? ''
        : pair.must === 'pass'
          ? `sallyport reach --from ${pair.from} --to ${pair.to} --port ${pair.port} --explain says what should decide`
          : `the policies of ${pair.to} do not act as written: sallyport reach --to ${pair.to} --port ${pair.port} --explain, then the policy engine's agent on that node`,
  };
}

/** The pods of a workload that open connections as it does: the first set outside the host network. */
function sourceSet(workload: Workload): PodSet | undefined {
  return workload.podSets.find(({ hostNetwork }) => !hostNetwork);
}

/** Where the pair is tried, or why it cannot be. */
function planPair(
  pair: ProbePair,
  workloads: ReadonlyMap<string, Workload>,
  publishes: Publishes,
): ProbeTarget | string {
  const from = workloads.get(pair.from);
  if (from === undefined) return `there is no workload ${pair.from}`;
  const set = sourceSet(from);
  if (set === undefined) return `${pair.from} runs in the network of its nodes: no policy is about it`;
  const service = publishes(from.namespace, set.labels);
  if (service !== undefined)
    return `Service ${from.namespace}/${service} shows pods that are not ready (publishNotReadyAddresses): a probe with these labels would be sent requests`;
  if (!isWorkloadId(pair.to)) return { host: pair.to, port: pair.port };
  const to = workloads.get(pair.to);
  if (to === undefined) return `there is no workload ${pair.to}`;
  const pod = to.podSets
    .flatMap(({ pods }) => pods)
    .find(({ phase, ready, ips }) => phase === 'Running' && ready && ips.length > 0);
  const [host] = pod?.ips ?? [];
  return host === undefined ? `no pod of ${pair.to} is ready` : { host, port: pair.port };
}

const podsPath = (namespace: string): string => `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods`;

async function runPod(
  workload: Workload,
  set: PodSet,
  name: string,
  list: readonly Job[],
  ports: ProbePorts,
): Promise<{ readonly results: readonly ProbeResult[]; readonly throughProxy: boolean } | string> {
  const { api, clock, signal } = ports;
  const { namespace } = workload;
  const subject = { doing: `probing from ${workload.id}`, verb: 'create', resource: 'pods', namespace, name };
  try {
    const owner = await api.must({
      method: 'GET',
      path: `/api/v1/namespaces/${encodeURIComponent(namespace)}`,
      subject: { ...subject, verb: 'get', resource: 'namespaces' },
    });
    const pod = buildProbePod({
      run: ports.run,
      name,
      namespace,
      namespaceUid: asString(asObject(owner['metadata'])['uid']) ?? '',
      labels: set.labels,
      serviceAccount: set.serviceAccount,
      image: ports.image,
      targets: list.map(({ target }) => target),
    });
    // On record before it is there: whoever looks after a crash knows what to look for.
    ports.journal(`${namespace}/${name}`);
    await api.must({ method: 'POST', path: podsPath(namespace), body: pod, subject });
    const until = clock.now() + PATIENCE_MS;
    for (;;) {
      const live = await api.must({
        method: 'GET',
        path: `${podsPath(namespace)}/${name}`,
        subject: { ...subject, verb: 'get' },
      });
      const end = probeEnd(live);
      if (end !== undefined) {
        if ('failed' in end) return end.failed;
        const results = parseProbeMessage(end.message, list.length);
        return results === undefined
          ? 'the probe answered with something else than its answers'
          : { results, throughProxy: hasProxy(live) };
      }
      if (signal.aborted) return 'it was not finished: the run was ended';
      if (clock.now() >= until) return `the pod did not end within ${PATIENCE_MS / 1000} s: ${waitingFor(live)}`;
      await clock.sleep(LOOK_MS, signal).catch(() => undefined);
    }
  } catch (error) {
    if (!isFailure(error)) throw error;
    // One namespace that refuses says nothing of the others.
    return error.message;
  } finally {
    await removePod(namespace, name, ports);
  }
}

/** A mesh put a proxy beside the probe. */
function hasProxy(pod: JsonObject): boolean {
  const spec = asObject(pod['spec']);
  const names = [...asArray(spec['containers']), ...asArray(spec['initContainers'])].map((one) =>
    asString(asObject(one)['name']),
  );
  return names.some(
    (name) => name !== 'probe' && name !== 'istio-init' && name !== 'istio-validation' && name !== 'linkerd-init',
  );
}

function waitingFor(pod: JsonObject): string {
  const status = asObject(pod['status']);
  const reasons = asArray(status['conditions'])
    .map(asObject)
    .filter((one) => one['status'] === 'False' && one['type'] === 'PodScheduled')
    .map((one) => asString(one['message']) ?? '');
  return safeText(reasons[0] ?? asString(status['phase']) ?? 'nothing is said of it').slice(0, 200);
}

async function removePod(
  namespace: string,
  name: string,
  { api, note }: Pick<ProbePorts, 'api' | 'note'>,
): Promise<void> {
  const answer = await api
    .send({
      method: 'DELETE',
      path: `${podsPath(namespace)}/${name}`,
      body: { apiVersion: 'v1', kind: 'DeleteOptions', gracePeriodSeconds: 0 },
      subject: { doing: `removing the probe ${namespace}/${name}`, verb: 'delete', resource: 'pods', namespace, name },
    })
    .catch((error: unknown) => {
      if (!isFailure(error)) throw error;
      return { ok: false as const, problem: { kind: 'no-answer' as const } };
    });
  if (answer.ok || (answer.problem.kind === 'refused' && answer.problem.status === 404)) return;
  note(
    `Pod ${namespace}/${name} could not be removed; it ends by itself within ${PROBE_DEADLINE_SEC} s, and the next probe takes it away`,
  );
}

/** Pods of probes that were left behind by a crash, in every namespace that may be listed. */
async function removeLeft(ports: ProbePorts): Promise<void> {
  const { api, clock } = ports;
  const subject = { doing: 'looking for probes that were left behind', verb: 'list', resource: 'pods' };
  const answer = await api.send({
    method: 'GET',
    path: '/api/v1/pods',
    query: { labelSelector: PROBE_LABEL },
    subject,
  });
  if (!answer.ok) {
    ports.note(
      'probes that an earlier run left behind could not be looked for: pods may not be listed in all namespaces',
    );
    return;
  }
  const now = answer.serverTime ?? clock.now();
  for (const item of asArray(answer.body['items'])) {
    const metadata = asObject(asObject(item)['metadata']);
    const made = Date.parse(asString(metadata['creationTimestamp']) ?? '');
    const [namespace, name] = [asString(metadata['namespace']), asString(metadata['name'])];
    const isOurs = asObject(metadata['labels'])[PROBE_LABEL] !== undefined;
    // Somebody else's that runs just now is left alone.
    if (
      !isOurs ||
      namespace === undefined ||
      name === undefined ||
      !name.startsWith('sallyport-p') ||
      now - made < LEFT_MS
    )
      continue;
    ports.note(`Pod ${namespace}/${name} was left behind by an earlier probe, and is removed`);
    await removePod(namespace, name, ports);
  }
}

/** Pairs that are proposed of one kind. */
const MOST_PROPOSED = 50;

/**
 * A file to begin with: edges that people accepted must pass; and for each of their targets one workload that is on no record there and that
 * the policies deny must not.
 */
export function suggestProbes(loaded: Loaded): string {
  const view = loaded.view('');
  const enforced = (namespace: string): boolean =>
    phaseIndex(view.phases.get(namespace) ?? 'none') >= phaseIndex('allow-list');
  const world = compileWorld(loaded.inventory);
  const pass = view.edges
    .filter(
      (edge) =>
        edge.review === 'legitimate' &&
        edge.protocol === 'TCP' &&
        edge.endPort === undefined &&
        edge.src.kind === 'workload' &&
        edge.dst.kind === 'workload' &&
        (enforced(namespaceOfWorkload(edge.src.id)) || enforced(namespaceOfWorkload(edge.dst.id))),
    )
    .map((edge) => ({ from: endpointKey(edge.src), to: endpointKey(edge.dst), port: edge.port }));
  const mustPass = [...new Map(pass.map((one) => [JSON.stringify(one), one])).values()].slice(0, MOST_PROPOSED);
  const onRecord = new Set(view.edges.map((edge) => `${endpointKey(edge.src)} ${endpointKey(edge.dst)}`));
  const sources = loaded.inventory.workloads.filter((one) => !one.batch && sourceSet(one) !== undefined);
  const targets = [...new Map(mustPass.map(({ to, port }) => [`${to} ${port}`, { to, port }])).values()];
  const mustFail = targets.flatMap(({ to, port }, index) => {
    const candidates = sources.filter((one) => one.id !== to && !onRecord.has(`${one.id} ${to}`));
    // Another namespace first, and not the same one for every target.
    const sorted = [...candidates].sort(
      (a, b) => Number(a.namespace === namespaceOfWorkload(to)) - Number(b.namespace === namespaceOfWorkload(to)),
    );
    const turned = [
      ...sorted.slice(index % Math.max(1, sorted.length)),
      ...sorted.slice(0, index % Math.max(1, sorted.length)),
    ];
    const found = turned.find(
      (one) =>
        evaluateConnection(world, {
          src: { kind: 'workload', id: one.id },
          dst: { kind: 'workload', id: to },
          protocol: 'TCP',
          port,
        }).answer === 'denied',
    );
    return found === undefined ? [] : [{ from: found.id, to, port, why: 'on no record, and denied by the policies' }];
  });
  return renderYaml({ apiVersion: 'sallyport.dev/v1', kind: 'Probes', mustPass, mustFail });
}
