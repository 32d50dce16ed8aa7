import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asObject, asString, isJsonObject } from '../shared/pure/json.ts';
import type { KubeManifest } from './object.ts';

/** A pair that is tried by a real connection. */
export interface ProbePair {
  readonly must: 'pass' | 'fail';
  /** Workload id. */
  readonly from: string;
  /** Workload id, or a DNS name or an address. */
  readonly to: string;
  readonly port: number;
  readonly why?: string;
}

export const PROBE_API = 'sallyport.dev/v1';
/** On every pod of a probe: the id of the run that made it. By it such pods are found again, whatever became of the run. */
export const PROBE_LABEL = 'sallyport.dev/probe';
/** A condition that nothing ever sets: a pod that waits for it is never ready, and so no ready endpoint of any Service. */
export const NEVER_READY = 'sallyport.dev/never-ready';
/** After so long the kubelet ends the pod by itself, whatever became of who started it. */
export const PROBE_DEADLINE_SEC = 120;

const WORKLOAD = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?\/[A-Z][A-Za-z0-9]*\/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/u;
const HOST = /^(?:[a-z0-9](?:[-a-z0-9.]{0,250}[a-z0-9])?|[0-9a-f:.]{2,45})$/u;
const KEYS = new Set(['from', 'to', 'port', 'protocol', 'why']);
/** One file is one run; more pairs than this take hours, not minutes. */
const MOST_PAIRS = 2000;

export function isWorkloadId(text: string): boolean {
  return WORKLOAD.test(text);
}

/**
 * The file of probes: `mustPass` and `mustFail`, lists of `{from, to, port, why?}`. Strict: an unknown key, a pair given twice or a protocol
 * other than TCP is a problem. UDP is refused, as no answer says nothing there.
 */
export function parseProbes(value: Json): {
  readonly pairs: readonly ProbePair[];
  readonly problems: readonly string[];
} {
  const problems: string[] = [];
  if (!isJsonObject(value)) return { pairs: [], problems: ['the document is not a mapping'] };
  const { apiVersion, kind, mustPass, mustFail, ...rest } = value;
  if (apiVersion !== PROBE_API) problems.push(`apiVersion is not ${PROBE_API}`);
  if (kind !== 'Probes') problems.push('kind is not Probes');
  for (const key of Object.keys(rest)) problems.push(`${key} is no key of it`);
  const pairs = [
    ...parseList(mustPass, 'mustPass', 'pass', problems),
    ...parseList(mustFail, 'mustFail', 'fail', problems),
  ];
  if (pairs.length === 0 && problems.length === 0) problems.push('it names no pair');
  if (pairs.length > MOST_PAIRS) problems.push(`it names ${pairs.length} pairs, and one run takes ${MOST_PAIRS}`);
  const seen = new Map<string, string>();
  for (const { must, from, to, port } of pairs) {
    const key = `${from} -> ${to} ${port}`;
    const before = seen.get(key);
    if (before !== undefined)
      problems.push(before === must ? `${key} is given twice` : `${key} must both pass and fail`);
    seen.set(key, must);
  }
  return { pairs, problems };
}

function parseList(
  list: Json | undefined,
  where: string,
  must: ProbePair['must'],
  problems: string[],
): readonly ProbePair[] {
  if (list === undefined || list === null) return [];
  if (!Array.isArray(list)) {
    problems.push(`${where} is not a list`);
    return [];
  }
  return (list as readonly Json[]).flatMap((entry, index): readonly ProbePair[] => {
    const at = `${where}[${index}]`;
    const before = problems.length;
    if (!isJsonObject(entry)) {
      problems.push(`${at} is not a mapping`);
      return [];
    }
    const { from, to, port, protocol, why } = entry;
    for (const key of Object.keys(entry)) if (!KEYS.has(key)) problems.push(`${at}.${key} is no key of a pair`);
    if (typeof from !== 'string' || !WORKLOAD.test(from))
      problems.push(`${at}.from is no workload (namespace/Kind/name)`);
    if (typeof to !== 'string' || (!WORKLOAD.test(to) && !HOST.test(to)))
      problems.push(`${at}.to is no workload, name or address`);
    if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65_535)
      problems.push(`${at}.port is no port`);
    if (protocol !== undefined && protocol !== 'TCP')
      problems.push(`${at}.protocol: only TCP can be proven by a connection`);
    if (why !== undefined && typeof why !== 'string') problems.push(`${at}.why is no text`);
    if (problems.length > before) return [];
    return [
      {
        must,
        from: from as string,
        to: to as string,
        port: port as number,
        ...(typeof why === 'string' ? { why } : {}),
      },
    ];
  });
}

/** How one connection came out. `closed`: it was made, and ended by the other side at once. */
export type ProbeOutcome = 'open' | 'closed' | 'refused' | 'timeout' | 'unreachable' | 'name' | 'error';

export interface ProbeResult {
  readonly outcome: ProbeOutcome;
  readonly detail: string;
}

/** What is asked of one pod: its place in the list is its place in the answer. */
export interface ProbeTarget {
  readonly host: string;
  readonly port: number;
}

/** An image by its digest: what runs is what was looked at. */
export function isPinned(image: string): boolean {
  return /^[a-z0-9][-a-z0-9._/:]*@sha256:[0-9a-f]{64}$/u.test(image);
}

/**
 * What runs in the pod: connects to each target of its argument, four at a time, and writes one letter a target to the termination message, which
 * holds 4096 bytes. Nothing of what a target says is kept.
 */
export const PROBE_SCRIPT = `
const net=require('node:net'),fs=require('node:fs');
const list=JSON.parse(process.argv[1]),out=Array(list.length).fill('e');let next=0;
const one=(at)=>new Promise((done)=>{const [host,port]=list[at];let end=(c)=>{end=()=>{};out[at]=c;s.destroy();done()};
const s=net.connect({host,port});s.setTimeout(5000,()=>end('t'));
s.on('connect',()=>{s.setTimeout(0);setTimeout(()=>end('o'),700)});s.on('close',()=>end('c'));
s.on('error',(e)=>end({ECONNREFUSED:'r',ETIMEDOUT:'t',EHOSTUNREACH:'u',ENETUNREACH:'u',ENOTFOUND:'n',EAI_AGAIN:'n',ECONNRESET:'c'}[e.code]||'e'))});
const work=async()=>{while(next<list.length)await one(next++)};
Promise.all([0,1,2,3].map(work)).then(()=>{fs.writeFileSync('/dev/termination-log',out.join(''));process.exit(0)});
`.trim();

const LETTERS: Readonly<Record<string, ProbeOutcome>> = {
  o: 'open',
  c: 'closed',
  r: 'refused',
  t: 'timeout',
  u: 'unreachable',
  n: 'name',
};

const DETAILS: Readonly<Record<ProbeOutcome, string>> = {
  open: 'the connection stands',
  closed: 'the connection was made, and ended by the other side at once',
  refused: 'refused: nobody listens there, or something on the way rejects',
  timeout: 'no answer within 5 s',
  unreachable: 'no way leads there',
  name: 'the name is not known',
  error: 'it could not be tried',
};

/** The answers of a pod from its termination message; undefined where it is not one for so many targets. */
export function parseProbeMessage(message: string, targets: number): readonly ProbeResult[] | undefined {
  const letters = Array.from(message.trim());
  if (letters.length !== targets) return undefined;
  return letters.map((letter) => {
    const outcome = LETTERS[letter] ?? 'error';
    return { outcome, detail: DETAILS[outcome] };
  });
}

export type ProbeAnswer = 'yes' | 'no' | 'unknown';

/**
 * Does the outcome fit? A refusal proves neither: nobody may listen, or a policy may reject. Through a sidecar a connection stands before its
 * destination was asked, so that it proves nothing; that it fails does.
 */
export function judgeProbe(
  must: ProbePair['must'],
  outcome: ProbeOutcome,
  throughProxy: boolean,
): { readonly answer: ProbeAnswer; readonly because: string } {
  switch (outcome) {
    case 'open':
      if (throughProxy)
        return { answer: 'unknown', because: 'the sidecar beside the probe answers before the destination was asked' };
      return { answer: must === 'pass' ? 'yes' : 'no', because: DETAILS.open };
    case 'closed':
      // Whoever ends it, a server or a proxy on behalf of one: which of the two cannot be told.
      return { answer: 'unknown', because: DETAILS.closed };
    case 'timeout':
    case 'unreachable':
      return { answer: must === 'fail' ? 'yes' : 'no', because: DETAILS[outcome] };
    case 'refused':
    case 'name':
    case 'error':
      return { answer: 'unknown', because: DETAILS[outcome] };
  }
}

export interface ProbePodOptions {
  readonly run: string;
  readonly name: string;
  readonly namespace: string;
  /** UID of the namespace's object. */
  readonly namespaceUid: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  readonly image: string;
  readonly targets: readonly ProbeTarget[];
}

/** Labels that a controller gives to its own revisions and pods: with them a probe could be taken for one of its pods. */
const REVISION_LABELS: ReadonlySet<string> = new Set([
  'pod-template-hash',
  'controller-revision-hash',
  'controller-uid',
  'batch.kubernetes.io/controller-uid',
  'job-name',
  'batch.kubernetes.io/job-name',
  'statefulset.kubernetes.io/pod-name',
  'apps.kubernetes.io/pod-index',
  'pod-template-generation',
]);

/**
 * A pod that policies take for the workload's and no Service does. It has the labels and the account of the workload, so that every selector of
 * policies picks it. Its readiness gate is set by nobody, so its addresses are never ready in an EndpointSlice (a Service with
 * publishNotReadyAddresses shows them all the same: such workloads are not probed). Its controller is named, the namespace itself, so that no
 * ReplicaSet or DaemonSet whose selector matches adopts it. It fits the Pod Security level "restricted", and no token is mounted.
 */
export function buildProbePod(options: ProbePodOptions): KubeManifest {
  const labels = Object.fromEntries(Object.entries(options.labels).filter(([key]) => !REVISION_LABELS.has(key)));
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: options.name,
      namespace: options.namespace,
      labels: { ...labels, [PROBE_LABEL]: options.run },
      ownerReferences: [
        {
          apiVersion: 'v1',
          kind: 'Namespace',
          name: options.namespace,
          uid: options.namespaceUid,
          controller: true,
          blockOwnerDeletion: false,
        },
      ],
    },
    spec: {
      restartPolicy: 'Never',
      activeDeadlineSeconds: PROBE_DEADLINE_SEC,
      terminationGracePeriodSeconds: 0,
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      serviceAccountName: options.serviceAccount,
      readinessGates: [{ conditionType: NEVER_READY }],
      securityContext: {
        runAsNonRoot: true,
        runAsUser: 65_532,
        runAsGroup: 65_532,
        seccompProfile: { type: 'RuntimeDefault' },
      },
      containers: [
        {
          name: 'probe',
          image: options.image,
          imagePullPolicy: 'IfNotPresent',
          command: ['node', '-e', PROBE_SCRIPT, JSON.stringify(options.targets.map(({ host, port }) => [host, port]))],
          terminationMessagePolicy: 'File',
          resources: {
            requests: { cpu: '10m', memory: '48Mi' },
            limits: { memory: '128Mi' },
          },
          securityContext: {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          },
        },
      ],
    },
  };
}

/** The termination message of the probe's own container; undefined while it runs. `failed` where it ended without one. */
export function probeEnd(pod: JsonObject): { readonly message: string } | { readonly failed: string } | undefined {
  const status = asObject(pod['status']);
  const statuses = Array.isArray(status['containerStatuses']) ? (status['containerStatuses'] as readonly Json[]) : [];
  const own = statuses.map(asObject).find((one) => one['name'] === 'probe');
  const terminated = asObject(asObject(own?.['state'])['terminated']);
  if (Object.keys(terminated).length > 0) {
    const message = terminated['message'];
    return typeof message === 'string' && terminated['exitCode'] === 0
      ? { message }
      : {
          failed: `the probe ended with ${JSON.stringify(terminated['exitCode'] ?? null)} (${asString(terminated['reason']) ?? '?'})`,
        };
  }
  if (status['phase'] === 'Failed')
    return { failed: `the pod failed: ${asString(status['reason']) ?? asString(status['message']) ?? '?'}` };
  const waiting = asObject(asObject(own?.['state'])['waiting'])['reason'];
  if (waiting === 'ErrImageNeverPull' || waiting === 'InvalidImageName' || waiting === 'CreateContainerConfigError')
    return { failed: `the container cannot be started: ${waiting}` };
  return undefined;
}
