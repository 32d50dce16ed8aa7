// A strict API server in this process: TLS on loopback, objects in memory. It knows what the product is meant to send; anything
// else is recorded and fails the test when the server is closed.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { KubeManifest } from '../../../src/model/object.ts';
import { isKubeManifest, refKey, refOf } from '../../../src/model/object.ts';
import type { Json, JsonObject } from '../../../src/shared/pure/json.ts';
import { asArray, asNumber, asObject, asString, equalJson, isJsonObject } from '../../../src/shared/pure/json.ts';
import { compareText } from '../../../src/shared/pure/order.ts';
import { makeCertificate } from './certificate.ts';
import { applyFields, ownChanged, parseManagers, renderManagers } from './fields.ts';
import { applyJsonPatch, applyMergePatch } from './json-patch.ts';
import { BUILT_IN_KINDS } from './kinds.ts';
import type { FakeKind } from './kinds.ts';
import { servePortForward } from './port-forward.ts';
import type { Reach } from './port-forward.ts';
import { isAllowed } from './rbac.ts';

/** One call as it came in. `point` counts from 1: the same program makes the same calls at the same points. */
export interface LoggedCall {
  readonly point: number;
  readonly method: string;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Json | undefined;
  /** The body as it was sent. */
  readonly text: string;
  /** Zero when no answer was given. */
  status: number;
}

/** What goes wrong with a call, and whether its effect takes place. */
export interface Fault {
  /** Which calls: all conditions that are stated must hold. */
  readonly point?: number;
  readonly method?: string;
  /** Part of the path, or a pattern. */
  readonly path?: string | RegExp;
  readonly fault:
    | {
        readonly kind: 'status';
        readonly status: number;
        readonly body?: JsonObject;
        readonly headers?: Record<string, string>;
      }
    /** No answer at all. */
    | { readonly kind: 'timeout' }
    /** The connection is closed in the middle of the answer. */
    | { readonly kind: 'cut' }
    | {
        readonly kind: 'text';
        readonly status: number;
        readonly text: string;
        readonly headers?: Record<string, string>;
      };
  /** `before`: nothing is done. `after`: the call is carried out, only its answer is lost. Default before. */
  readonly when?: 'before' | 'after';
  /** How many calls. Default 1. */
  readonly times?: number;
}

export interface FakeApiOptions {
  /** Kinds besides the built-in ones. */
  readonly kinds?: readonly FakeKind[];
  readonly objects?: readonly KubeManifest[];
  /** Roles and bindings that its authorizer knows beside the objects: `tester` is who asks. Requests themselves are never refused by it. */
  readonly grants?: readonly KubeManifest[];
  /** The time of the server, in its `Date` headers and stamps. Default: stands at 2026-01-01. */
  readonly now?: () => number;
  /** Who answers on a port of a pod: a port of this machine's loopback, or a status that the handshake is refused with. */
  readonly reach?: Reach;
}

export interface FakeApi {
  readonly url: string;
  readonly caPem: string;
  /** A kubeconfig with the context `fake`; removed with the server. */
  readonly kubeconfig: string;
  readonly calls: readonly LoggedCall[];
  /** Requests that the product must never make; `close` throws when there are any. */
  readonly unexpected: readonly string[];
  failNext(fault: Fault): void;
  /** Every continue token given so far is too old from now on. */
  expireContinueTokens(): void;
  /** Called after each call was carried out and before it is answered; for worlds that move by themselves. */
  afterCall(observer: (call: LoggedCall) => void): void;
  /** Behind the product's back, as another manager: create or replace, with status; undefined deletes. */
  put(object: KubeManifest, manager?: string): KubeManifest;
  remove(object: KubeManifest): void;
  get(object: KubeManifest): KubeManifest | undefined;
  objects(): readonly KubeManifest[];
  readonly watches: FakeWatches;
  close(): Promise<void>;
}

/** What happens to watches. A watch is answered with every change since the version asked for, and then with each as it comes. */
export interface FakeWatches {
  /** How many are open. */
  readonly open: number;
  /** Waits until so many are open. */
  opened(count: number): Promise<void>;
  /** Breaks the connections of those that are open. */
  cut(): void;
  /** Ends them as the server does when their time is over. */
  end(): void;
  /** Sends bookmarks. */
  bookmark(): void;
  /** Forgets every change so far: a watch from an older version is answered with 410. */
  compact(): void;
}

/** The server without its wire: objects in memory, and what is answered to a call. */
export interface FakeCluster {
  answer(call: LoggedCall): { readonly status: number; readonly body: JsonObject };
  readonly unexpected: readonly string[];
  put(object: KubeManifest, manager?: string): KubeManifest;
  remove(object: KubeManifest): void;
  get(object: KubeManifest): KubeManifest | undefined;
  objects(): readonly KubeManifest[];
  /** All objects and numbers, to be put in place again; cheap, as objects are never changed in place. */
  save(): SavedCluster;
  restore(saved: SavedCluster): void;
  /** Counts writes of anything. */
  version(): number;
}

export interface SavedCluster {
  readonly objects: ReadonlyMap<string, KubeManifest>;
  readonly version: number;
  readonly uids: number;
}

export function makeFakeCluster(options: FakeApiOptions = {}): FakeCluster {
  const store = new Store([...BUILT_IN_KINDS, ...(options.kinds ?? [])], options.now ?? (() => START));
  const unexpected: string[] = [];
  store.put(KUBE_SYSTEM, 'seed');
  for (const object of options.objects ?? []) store.put(object, 'seed');
  return {
    answer: (call) =>
      answerCall(store, call, (what) => unexpected.push(`${call.method} ${call.path}: ${what}`), options.grants),
    unexpected,
    put: (object, manager = 'somebody') => store.put(object, manager),
    remove: (object) => store.remove(object),
    get: (object) => store.get(refKey(refOf(object))),
    objects: () => store.all(),
    save: () => store.save(),
    restore: (saved) => store.restore(saved),
    version: () => store.save().version,
  };
}

const START = Date.UTC(2026, 0, 1);
const KUBE_SYSTEM: KubeManifest = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'kube-system' } };

export async function startFakeApi(options: FakeApiOptions = {}): Promise<FakeApi> {
  const certificate = makeCertificate();
  const now = options.now ?? (() => START);
  const kinds = [...BUILT_IN_KINDS, ...(options.kinds ?? [])];
  const store = new Store(kinds, now);
  store.put(KUBE_SYSTEM, 'seed');
  for (const object of options.objects ?? []) store.put(object, 'seed');
  const calls: LoggedCall[] = [];
  const unexpected: string[] = [];
  const faults: { readonly fault: Fault; left: number }[] = [];
  const observers: ((call: LoggedCall) => void)[] = [];

  const watching = new Set<{ readonly kind: FakeKind; readonly response: ServerResponse; waiting?: () => void }>();
  let onOpen: (() => void)[] = [];
  const send = (response: ServerResponse, type: string, object: JsonObject): void => {
    response.write(`${JSON.stringify({ type, object })}\n`);
  };
  store.onEvent((event) => {
    for (const { kind, response } of watching) if (isOf(event.object, kind)) send(response, event.type, event.object);
  });
  /** False: it is no watch. */
  const watch = (call: LoggedCall, response: ServerResponse): boolean => {
    const target = call.query['watch'] === 'true' && call.method === 'GET' ? locate(store, call.path) : undefined;
    if (target === undefined || target.name !== undefined) return false;
    const { kind } = target;
    call.status = 200;
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    const from = Number(call.query['resourceVersion'] ?? 0);
    if (from < store.compacted()) {
      send(response, 'ERROR', statusBody(410, 'Expired', `too old resource version: ${from} (${store.compacted()})`));
      response.end();
      return true;
    }
    for (const event of store.since(from)) if (isOf(event.object, kind)) send(response, event.type, event.object);
    const entry = { kind, response };
    watching.add(entry);
    response.on('close', () => watching.delete(entry));
    for (const opened of onOpen) opened();
    return true;
  };

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const text = await readBody(request);
    const url = new URL(`https://fake${request.url ?? ''}`);
    const call: LoggedCall = {
      point: calls.length + 1,
      method: request.method ?? '',
      path: url.pathname,
      query: Object.fromEntries(url.searchParams),
      headers: Object.fromEntries(Object.entries(request.headers).map(([key, value]) => [key, String(value)])),
      body: text === '' ? undefined : (JSON.parse(text) as Json),
      text,
      status: 0,
    };
    calls.push(call);
    const injected = faults.find(({ fault, left }) => left > 0 && matches(fault, call));
    if (injected !== undefined) injected.left -= 1;
    const fault = injected?.fault;
    if (fault === undefined && call.headers['authorization'] === 'Bearer fake-token') {
      response.setHeader('date', new Date(now()).toUTCString());
      if (watch(call, response)) return;
    }
    const answer =
      fault !== undefined && fault.when !== 'after'
        ? undefined
        : answerCall(
            store,
            call,
            (what) => unexpected.push(`${call.method} ${request.url ?? ''}: ${what}`),
            options.grants,
          );
    for (const observer of observers) observer(call);
    if (fault?.fault.kind === 'timeout') return;
    response.setHeader('date', new Date(now()).toUTCString());
    if (fault?.fault.kind === 'cut') {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '1000' });
      response.write('{"kind":');
      setImmediate(() => response.destroy());
      return;
    }
    if (fault?.fault.kind === 'text') {
      response.writeHead(fault.fault.status, { 'content-type': 'text/html', ...fault.fault.headers });
      response.end(fault.fault.text);
      return;
    }
    const { status, body } =
      fault?.fault.kind === 'status'
        ? { status: fault.fault.status, body: fault.fault.body ?? statusBody(fault.fault.status, '', 'injected') }
        : (answer ?? { status: 500, body: {} });
    call.status = status;
    response.writeHead(status, {
      'content-type': 'application/json',
      ...(fault?.fault.kind === 'status' ? fault.fault.headers : {}),
    });
    response.end(JSON.stringify(body));
  };
  const server = createServer({ cert: certificate.certPem, key: certificate.keyPem }, (request, response) => {
    handle(request, response).catch((error: unknown) => {
      unexpected.push(`${request.method ?? ''} ${request.url ?? ''}: ${String(error)}`);
      response.destroy();
    });
  });
  if (options.reach !== undefined) servePortForward(server, options.reach, calls);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const url = `https://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
  const dir = mkdtempSync(path.join(tmpdir(), 'sallyport-fake-api-'));
  const kubeconfig = path.join(dir, 'kubeconfig');
  writeFileSync(kubeconfig, renderKubeconfig(url, certificate.certPem), { mode: 0o600 });

  return {
    url,
    caPem: certificate.certPem,
    kubeconfig,
    calls,
    unexpected,
    failNext: (fault) => {
      faults.push({ fault, left: fault.times ?? 1 });
    },
    expireContinueTokens: () => store.expireTokens(),
    afterCall: (observer) => {
      observers.push(observer);
    },
    put: (object, manager = 'somebody') => store.put(object, manager),
    remove: (object) => store.remove(object),
    get: (object) => store.get(refKey(refOf(object))),
    objects: () => store.all(),
    watches: {
      get open() {
        return watching.size;
      },
      opened: (count) =>
        new Promise((resolve) => {
          const check = (): void => {
            if (watching.size < count) return;
            onOpen = onOpen.filter((one) => one !== check);
            resolve();
          };
          onOpen.push(check);
          check();
        }),
      cut: () => {
        for (const { response } of watching) response.destroy();
        watching.clear();
      },
      end: () => {
        for (const { response } of watching) response.end();
        watching.clear();
      },
      bookmark: () => {
        for (const { kind, response } of watching)
          send(response, 'BOOKMARK', {
            kind: kind.kind,
            apiVersion: kind.apiVersion,
            metadata: { resourceVersion: store.current() },
          });
      },
      compact: () => store.compact(),
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      rmSync(dir, { recursive: true, force: true });
      if (unexpected.length > 0) throw new Error(`unexpected requests:\n${unexpected.join('\n')}`);
    },
  };
}

/** JSON is YAML. */
function renderKubeconfig(server: string, caPem: string): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      { name: 'fake', cluster: { server, 'certificate-authority-data': Buffer.from(caPem).toString('base64') } },
    ],
    users: [{ name: 'tester', user: { token: 'fake-token' } }],
    contexts: [{ name: 'fake', context: { cluster: 'fake', user: 'tester' } }],
    'current-context': 'fake',
  });
}

function matches(fault: Fault, call: LoggedCall): boolean {
  if (fault.point !== undefined && fault.point !== call.point) return false;
  if (fault.method !== undefined && fault.method !== call.method) return false;
  if (fault.path === undefined) return true;
  return typeof fault.path === 'string' ? call.path.includes(fault.path) : fault.path.test(call.path);
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

interface Answer {
  readonly status: number;
  readonly body: JsonObject;
}

/** The kind `Status`, as an API server words it. */
export function statusBody(code: number, reason: string, message: string, details: JsonObject = {}): JsonObject {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, details, code };
}

const ALLOWED_QUERY: Readonly<Record<string, readonly string[]>> = {
  GET: ['limit', 'continue', 'labelSelector', 'watch', 'allowWatchBookmarks', 'resourceVersion', 'timeoutSeconds'],
  POST: ['fieldManager', 'fieldValidation', 'dryRun', 'timeout'],
  PUT: ['fieldManager', 'fieldValidation', 'dryRun', 'timeout'],
  PATCH: ['fieldManager', 'fieldValidation', 'dryRun', 'timeout', 'force'],
  DELETE: ['dryRun', 'timeout'],
};
const PARTIAL_LIST = 'as=PartialObjectMetadataList;g=meta.k8s.io;v=v1';

function answerCall(
  store: Store,
  call: LoggedCall,
  complain: (what: string) => void,
  grants: readonly KubeManifest[] = [],
): Answer {
  const refuse = (what: string): Answer => {
    complain(what);
    return { status: 400, body: statusBody(400, 'BadRequest', what) };
  };
  for (const key of Object.keys(call.query))
    if (ALLOWED_QUERY[call.method]?.includes(key) !== true) return refuse(`query parameter ${key}`);
  if (call.headers['authorization'] !== 'Bearer fake-token')
    return { status: 401, body: statusBody(401, 'Unauthorized', 'Unauthorized') };
  if (call.query['force'] !== undefined) return refuse('a forced apply');
  if (/\/secrets(?:\/|$)/u.test(call.path)) return refuse('Secrets are never read or written');
  if (call.method === 'GET') {
    const found = discover(store, call.path);
    if (found !== undefined) return found;
  }
  if (call.method === 'POST' && call.path === '/apis/authorization.k8s.io/v1/subjectaccessreviews') {
    const review = asObject(call.body);
    return { status: 201, body: { ...review, status: { allowed: isAllowed(store.all(), review['spec']) } } };
  }
  if (call.method === 'GET' && call.path === '/version')
    return { status: 200, body: { major: '1', minor: '34', gitVersion: 'v1.34.0' } };
  // Whoever asks is `tester`, whose rights are what the bindings among the objects give.
  if (call.method === 'POST' && call.path === '/apis/authentication.k8s.io/v1/selfsubjectreviews')
    return { status: 201, body: { status: { userInfo: { username: 'tester', groups: ['system:authenticated'] } } } };
  if (call.method === 'POST' && call.path === '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews') {
    const review = asObject(call.body);
    const spec = { ...asObject(review['spec']), user: 'tester', groups: ['system:authenticated'] };
    return { status: 201, body: { ...review, status: { allowed: isAllowed([...store.all(), ...grants], spec) } } };
  }
  const evicted = /^(\/api\/v1\/namespaces\/[^/]+\/pods\/[^/]+)\/eviction$/u.exec(call.path)?.[1];
  if (evicted !== undefined && call.method === 'POST') return evict(store, evicted, call, refuse);
  const target = locate(store, call.path);
  if (target === undefined)
    return { status: 404, body: statusBody(404, 'NotFound', 'the server could not find the requested resource') };
  const { kind, namespace, name } = target;
  switch (call.method) {
    case 'GET':
      return name === undefined ? list(store, target, call) : store.answerGet(kind, namespace, name);
    case 'POST':
      return name === undefined ? store.create(kind, namespace, call) : refuse('POST to an object');
    case 'PUT':
      return name === undefined ? refuse('PUT to a collection') : store.replace(kind, namespace, name, call);
    case 'PATCH':
      return name === undefined ? refuse('PATCH of a collection') : store.patch(kind, namespace, name, call, refuse);
    case 'DELETE':
      return name === undefined ? refuse('DELETE of a collection') : store.delete(kind, namespace, name, call);
    default:
      return refuse('method');
  }
}

/** As the eviction API does it: a budget that allows none refuses with 429 and its cause, also a dry run. */
function evict(store: Store, path: string, call: LoggedCall, refuse: (what: string) => Answer): Answer {
  const { apiVersion, kind: evictionKind, deleteOptions } = asObject(call.body);
  if (apiVersion !== 'policy/v1' || evictionKind !== 'Eviction') return refuse('not an Eviction of policy/v1');
  const target = locate(store, path);
  if (target?.name === undefined) return refuse('an eviction of nothing');
  const { kind, namespace, name } = target;
  const labels = asObject(store.answerGet(kind, namespace, name).body['metadata'])['labels'];
  const budget = store
    .all()
    .find(
      (object) =>
        object.kind === 'PodDisruptionBudget' &&
        object.metadata['namespace'] === namespace &&
        Object.entries(asObject(asObject(asObject(object['spec'])['selector'])['matchLabels'])).every(
          ([key, value]) => asObject(labels)[key] === value,
        ),
    );
  if (budget !== undefined && asNumber(asObject(budget['status'])['disruptionsAllowed']) === 0)
    return {
      status: 429,
      body: statusBody(429, 'TooManyRequests', "Cannot evict pod as it would violate the pod's disruption budget.", {
        causes: [
          {
            reason: 'DisruptionBudget',
            message: `The disruption budget ${budget.metadata.name} needs 2 healthy pods and has 2 currently`,
          },
        ],
      }),
    };
  const answer = store.delete(kind, namespace ?? '', name, { ...call, body: asObject(deleteOptions) });
  return answer.status === 200 ? { ...answer, status: 201 } : answer;
}

function discover(store: Store, at: string): Answer | undefined {
  if (at === '/apis') {
    const groups = new Map<string, string[]>();
    for (const { apiVersion } of store.kinds) {
      const [group, version] = apiVersion.split('/');
      if (group === undefined || version === undefined) continue;
      groups.set(group, [...new Set([...(groups.get(group) ?? []), apiVersion])]);
    }
    const entries = [...groups].map(([name, versions]) => ({
      name,
      versions: versions.map((groupVersion) => ({ groupVersion, version: groupVersion.split('/')[1] ?? '' })),
      preferredVersion: { groupVersion: versions[0] ?? '', version: versions[0]?.split('/')[1] ?? '' },
    }));
    return { status: 200, body: { kind: 'APIGroupList', apiVersion: 'v1', groups: entries } };
  }
  const match = /^\/(?:api|apis)\/(v1|[^/]+\/[^/]+)$/u.exec(at);
  const served = store.kinds.filter(({ apiVersion }) => apiVersion === match?.[1]);
  if (match === null || served.length === 0) return undefined;
  const verbs = ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch'];
  const resources = served.flatMap(({ plural, kind, namespaced }) => [
    { name: plural, singularName: '', namespaced, kind, verbs },
    { name: `${plural}/status`, singularName: '', namespaced, kind, verbs: ['get'] },
  ]);
  return { status: 200, body: { kind: 'APIResourceList', groupVersion: match[1] ?? '', resources } };
}

interface Located {
  readonly kind: FakeKind;
  readonly namespace?: string;
  readonly name?: string;
}

function locate(store: Store, at: string): Located | undefined {
  const match = /^\/(?:api\/(v1)|apis\/([^/]+\/[^/]+))\/(.+)$/u.exec(at);
  const apiVersion = match?.[1] ?? match?.[2];
  const parts = (match?.[3] ?? '').split('/').map(decodeURIComponent);
  const within = parts[0] === 'namespaces' && parts.length > 2;
  const namespace = within ? parts[1] : undefined;
  const [plural, name, ...rest] = within ? parts.slice(2) : parts;
  const kind = store.kinds.find((one) => one.apiVersion === apiVersion && one.plural === plural);
  if (kind === undefined || rest.length > 0 || (within && !kind.namespaced)) return undefined;
  if (name !== undefined && kind.namespaced && namespace === undefined) return undefined;
  return { kind, ...(namespace === undefined ? {} : { namespace }), ...(name === undefined ? {} : { name }) };
}

/** Equality alone: `a=b,c=d`. */
function selectedBy(selector: string | undefined): (object: KubeManifest) => boolean {
  const wanted = (selector ?? '').split(',').filter((part) => part !== '');
  return (object) => {
    const labels = Object.entries(asObject(object.metadata['labels'])).map(
      ([key, value]) => `${key}=${asString(value) ?? ''}`,
    );
    // `key=value`, or a key that is there.
    return wanted.every((part) =>
      labels.some((one) => one === part || (!part.includes('=') && one.startsWith(`${part}=`))),
    );
  };
}

function list(store: Store, { kind, namespace }: Located, call: LoggedCall): Answer {
  const partial = call.headers['accept']?.includes(PARTIAL_LIST) === true;
  const token = call.query['continue'];
  const limit = Number(call.query['limit'] ?? 0);
  const page = store.page(kind, namespace, limit, token);
  if (page === undefined)
    return {
      status: 410,
      body: statusBody(
        410,
        'Expired',
        'The provided continue parameter is too old to display a consistent list result.',
      ),
    };
  return {
    status: 200,
    body: {
      kind: partial ? 'PartialObjectMetadataList' : `${kind.kind}List`,
      apiVersion: partial ? 'meta.k8s.io/v1' : kind.apiVersion,
      metadata: { resourceVersion: page.version, ...(page.next === undefined ? {} : { continue: page.next }) },
      items: page.items
        .filter(selectedBy(call.query['labelSelector']))
        .map((item) =>
          partial
            ? { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: item.metadata }
            : Object.fromEntries(Object.entries(item).filter(([key]) => key !== 'apiVersion' && key !== 'kind')),
        ),
    },
  };
}

interface StoreEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly version: number;
  readonly object: KubeManifest;
}

function isOf(object: KubeManifest, kind: FakeKind): boolean {
  return object.kind === kind.kind && object.apiVersion === kind.apiVersion;
}

interface Page {
  readonly items: readonly KubeManifest[];
  readonly version: string;
  readonly next?: string;
}

class Store {
  readonly kinds: readonly FakeKind[];
  readonly #now: () => number;
  readonly #objects = new Map<string, KubeManifest>();
  readonly #tokens = new Map<string, { readonly rest: readonly KubeManifest[]; readonly version: string }>();
  readonly #listeners: ((event: StoreEvent) => void)[] = [];
  #log: StoreEvent[] = [];
  #compacted = 0;
  #version = 100;
  #uids = 0;
  #tokenCount = 0;

  constructor(kinds: readonly FakeKind[], now: () => number) {
    this.kinds = kinds;
    this.#now = now;
  }

  all(): readonly KubeManifest[] {
    return [...this.#objects].sort(([a], [b]) => compareText(a, b)).map(([, object]) => object);
  }

  get(key: string): KubeManifest | undefined {
    return this.#objects.get(key);
  }

  put(object: KubeManifest, manager: string): KubeManifest {
    const old = this.get(refKey(refOf(object)));
    const stored = this.#stored(object, old, manager);
    this.#save(stored);
    return stored;
  }

  remove(object: KubeManifest): void {
    this.#erase(object);
  }

  onEvent(listener: (event: StoreEvent) => void): void {
    this.#listeners.push(listener);
  }

  since(version: number): readonly StoreEvent[] {
    return this.#log.filter((event) => event.version > version);
  }

  current(): string {
    return String(this.#version);
  }

  compacted(): number {
    return this.#compacted;
  }

  compact(): void {
    this.#compacted = this.#version;
    this.#log = [];
  }

  #tell(type: StoreEvent['type'], object: KubeManifest): void {
    const event: StoreEvent = {
      type,
      version: this.#version,
      object: { ...object, metadata: { ...object.metadata, resourceVersion: String(this.#version) } },
    };
    this.#log.push(event);
    // As the real one, it remembers the latest alone.
    if (this.#log.length > 4000) this.#compacted = this.#log.splice(0, 2000).at(-1)?.version ?? this.#compacted;
    for (const listener of this.#listeners) listener(event);
  }

  expireTokens(): void {
    this.#tokens.clear();
  }

  save(): SavedCluster {
    return { objects: new Map(this.#objects), version: this.#version, uids: this.#uids };
  }

  restore(saved: SavedCluster): void {
    this.#objects.clear();
    for (const [key, object] of saved.objects) this.#objects.set(key, object);
    this.#version = saved.version;
    this.#uids = saved.uids;
    this.#tokens.clear();
  }

  page(kind: FakeKind, namespace: string | undefined, limit: number, token: string | undefined): Page | undefined {
    const start =
      token === undefined
        ? { rest: this.#list(kind, namespace), version: String(this.#version) }
        : this.#tokens.get(token);
    if (start === undefined) return undefined;
    if (limit === 0 || start.rest.length <= limit) return { items: start.rest, version: start.version };
    this.#tokenCount += 1;
    const next = `token-${this.#tokenCount}`;
    this.#tokens.set(next, { rest: start.rest.slice(limit), version: start.version });
    return { items: start.rest.slice(0, limit), version: start.version, next };
  }

  answerGet(kind: FakeKind, namespace: string | undefined, name: string): Answer {
    const live = this.#find(kind, namespace, name);
    return live === undefined ? notFound(kind, name) : { status: 200, body: { ...live, apiVersion: kind.apiVersion } };
  }

  create(kind: FakeKind, namespace: string | undefined, call: LoggedCall): Answer {
    const object = readObject(call.body, kind, namespace);
    if (typeof object === 'string') return { status: 400, body: statusBody(400, 'BadRequest', object) };
    const { name } = object.metadata;
    if (object.metadata['resourceVersion'] !== undefined)
      return {
        status: 400,
        body: statusBody(400, 'BadRequest', 'resourceVersion should not be set on objects to be created'),
      };
    const home = namespace === undefined ? undefined : this.get(`/Namespace//${namespace}`);
    if (namespace !== undefined && home === undefined)
      return notFound({ apiVersion: 'v1', kind: 'Namespace', plural: 'namespaces', namespaced: false }, namespace);
    if (home?.metadata['deletionTimestamp'] !== undefined)
      return {
        status: 403,
        body: statusBody(
          403,
          'Forbidden',
          `unable to create new content in namespace ${namespace ?? ''} because it is being terminated`,
          {
            causes: [
              {
                reason: 'NamespaceTerminating',
                message: `namespace ${namespace ?? ''} is being terminated`,
                field: 'metadata.namespace',
              },
            ],
          },
        ),
      };
    if (!/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/u.test(name))
      return {
        status: 422,
        body: statusBody(422, 'Invalid', `${kind.kind} "${name}" is invalid: metadata.name: Invalid value`, {
          kind: kind.kind,
          name,
          causes: [
            {
              reason: 'FieldValueInvalid',
              field: 'metadata.name',
              message: 'a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters',
            },
          ],
        }),
      };
    if (this.#find(kind, namespace, name) !== undefined)
      return {
        status: 409,
        body: statusBody(409, 'AlreadyExists', `${kind.plural} "${name}" already exists`, { name, kind: kind.plural }),
      };
    const stored = this.#stored(object, undefined, call.query['fieldManager'] ?? 'unknown');
    if (call.query['dryRun'] !== 'All') this.#save(stored);
    return { status: 201, body: stored };
  }

  replace(kind: FakeKind, namespace: string | undefined, name: string, call: LoggedCall): Answer {
    const live = this.#find(kind, namespace, name);
    if (live === undefined) return notFound(kind, name);
    const object = readObject(call.body, kind, namespace);
    if (typeof object === 'string') return { status: 400, body: statusBody(400, 'BadRequest', object) };
    return this.#write(kind, live, object, call);
  }

  patch(
    kind: FakeKind,
    namespace: string | undefined,
    name: string,
    call: LoggedCall,
    refuse: (what: string) => Answer,
  ): Answer {
    const live = this.#find(kind, namespace, name);
    const type = call.headers['content-type'];
    if (type === 'application/apply-patch+yaml') {
      if (live === undefined) return refuse('an apply of an object that does not exist');
      return this.#apply(kind, live, asObject(call.body), call);
    }
    if (live === undefined) return notFound(kind, name);
    if (type === 'application/json-patch+json') {
      // A real API server compares bytes with what Go's encoder writes, which escapes these.
      const patched = /[<>&\u2028\u2029]/u.test(call.text)
        ? 'testing value failed: not escaped as the API server does'
        : applyJsonPatch(live, call.body ?? null);
      if (typeof patched === 'string')
        return {
          status: 422,
          body: statusBody(422, 'Invalid', 'the server rejected our request due to an error in our request', {
            causes: [{ reason: 'UnexpectedServerResponse', message: patched }],
          }),
        };
      return this.#write(kind, live, patched, call);
    }
    if (type === 'application/merge-patch+json')
      return this.#write(kind, live, asObject(applyMergePatch(live, call.body ?? null)), call);
    return refuse(`content type ${type ?? ''}`);
  }

  delete(kind: FakeKind, namespace: string | undefined, name: string, call: LoggedCall): Answer {
    const live = this.#find(kind, namespace, name);
    if (live === undefined) return notFound(kind, name);
    // As in a real API server: with a body, no option is taken from the query.
    const body = asObject(call.body);
    const dryRun = call.body === undefined ? call.query['dryRun'] === 'All' : asArray(body['dryRun']).includes('All');
    for (const [field, expected] of Object.entries(asObject(body['preconditions'])))
      if (live.metadata[field] !== expected)
        return conflict(
          kind,
          name,
          `Precondition failed: ${field} in precondition: ${JSON.stringify(expected)}, ${field} in object meta: ${JSON.stringify(live.metadata[field])}`,
        );
    if (dryRun) return { status: 200, body: { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success' } };
    if (asArray(live.metadata['finalizers']).length > 0) {
      this.#save({ ...live, metadata: { ...live.metadata, deletionTimestamp: this.#time() } });
      return { status: 200, body: live };
    }
    this.#erase(live);
    return { status: 200, body: { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success' } };
  }

  #apply(kind: FakeKind, live: KubeManifest, applied: JsonObject, call: LoggedCall): Answer {
    const manager = call.query['fieldManager'];
    if (manager === undefined) return { status: 400, body: statusBody(400, 'BadRequest', 'fieldManager is required') };
    const { resourceVersion, uid, managedFields } = asObject(applied['metadata']);
    if (managedFields !== undefined)
      return { status: 400, body: statusBody(400, 'BadRequest', 'metadata.managedFields must be nil') };
    if (
      (resourceVersion !== undefined && resourceVersion !== live.metadata['resourceVersion']) ||
      (uid !== undefined && uid !== live.metadata['uid'])
    )
      return conflict(
        kind,
        live.metadata.name,
        'the object has been modified; please apply your changes to the latest version and try again',
      );
    const result = applyFields(live, applied, parseManagers(live.metadata['managedFields']), manager);
    if ('conflicts' in result) {
      const causes = result.conflicts.map(({ manager: other, path: at }) => ({
        reason: 'FieldManagerConflict',
        message: `conflict with "${other}"`,
        field: `.${at.join('.')}`,
      }));
      const message = `Apply failed with ${causes.length} conflict: ${causes.map((cause) => `${cause.message}: ${cause.field}`).join(', ')}`;
      return { status: 409, body: statusBody(409, 'Conflict', message, { causes }) };
    }
    return this.#finish(live, result.object, renderManagers(result.entries, this.#time()), call);
  }

  #write(kind: FakeKind, live: KubeManifest, next: JsonObject, call: LoggedCall): Answer {
    const meta = asObject(next['metadata']);
    for (const field of ['uid', 'resourceVersion'])
      if (meta[field] !== undefined && meta[field] !== live.metadata[field])
        return conflict(
          kind,
          live.metadata.name,
          'the object has been modified; please apply your changes to the latest version and try again',
        );
    const stated = meta['managedFields'];
    const managed =
      stated !== undefined && !equalJson(stated, live.metadata['managedFields'])
        ? asArray(stated)
        : renderManagers(
            ownChanged(
              parseManagers(live.metadata['managedFields']),
              live,
              next,
              call.query['fieldManager'] ?? 'unknown',
            ),
            this.#time(),
          );
    return this.#finish(live, next, managed, call);
  }

  #finish(live: KubeManifest, next: JsonObject, managedFields: readonly Json[], call: LoggedCall): Answer {
    const meta = asObject(next['metadata']);
    const { uid, creationTimestamp, generation, resourceVersion } = live.metadata;
    const merged: Record<string, Json> = {
      ...meta,
      uid: uid ?? '',
      creationTimestamp: creationTimestamp ?? '',
      resourceVersion: resourceVersion ?? '',
      generation: generation ?? 1,
      managedFields,
    };
    const status = live['status'];
    const candidate = { ...next, ...(status === undefined ? {} : { status }), metadata: dropEmptyMaps(merged) };
    if (!isKubeManifest(candidate)) return { status: 422, body: statusBody(422, 'Invalid', 'not an object') };
    // A write that changes nothing but ownership stamps is no write.
    if (equalJson(essenceOf(candidate), essenceOf(live)) && sameOwners(candidate, live))
      return { status: 200, body: live };
    const specChanged = !equalJson(candidate['spec'], live['spec']);
    const stored: KubeManifest = {
      ...candidate,
      metadata: {
        ...candidate.metadata,
        resourceVersion: String(this.#version + 1),
        generation: (asNumber(generation) ?? 1) + (specChanged ? 1 : 0),
      },
    };
    if (call.query['dryRun'] === 'All') return { status: 200, body: stored };
    this.#save(stored);
    return { status: 200, body: this.get(refKey(refOf(stored))) ?? stored };
  }

  #stored(object: KubeManifest, old: KubeManifest | undefined, manager: string): KubeManifest {
    const specChanged = old !== undefined && !equalJson(old['spec'], object['spec']);
    if (old === undefined) this.#uids += 1;
    const managedFields = renderManagers(
      ownChanged(parseManagers(old?.metadata['managedFields']), old ?? {}, object, manager),
      this.#time(),
    );
    return {
      ...object,
      metadata: {
        ...dropEmptyMaps(object.metadata),
        name: object.metadata.name,
        uid: old?.metadata['uid'] ?? `00000000-0000-4000-8000-${String(this.#uids).padStart(12, '0')}`,
        creationTimestamp: old?.metadata['creationTimestamp'] ?? this.#time(),
        resourceVersion: String(this.#version + 1),
        generation: (asNumber(old?.metadata['generation']) ?? (old === undefined ? 1 : 0)) + (specChanged ? 1 : 0),
        managedFields,
      },
    };
  }

  #save(object: KubeManifest): void {
    this.#version += 1;
    const key = refKey(refOf(object));
    const type = this.#objects.has(key) ? 'MODIFIED' : 'ADDED';
    const saved = { ...object, metadata: { ...object.metadata, resourceVersion: String(this.#version) } };
    this.#objects.set(key, saved);
    this.#tell(type, saved);
  }

  #erase(object: KubeManifest): void {
    this.#version += 1;
    this.#tell('DELETED', this.#objects.get(refKey(refOf(object))) ?? object);
    this.#objects.delete(refKey(refOf(object)));
    if (object.kind !== 'Namespace') return;
    for (const [key, inner] of [...this.#objects])
      if (inner.metadata['namespace'] === object.metadata.name) this.#objects.delete(key);
  }

  #find(kind: FakeKind, namespace: string | undefined, name: string): KubeManifest | undefined {
    return this.get(
      refKey({ apiVersion: kind.apiVersion, kind: kind.kind, ...(namespace === undefined ? {} : { namespace }), name }),
    );
  }

  #list(kind: FakeKind, namespace: string | undefined): readonly KubeManifest[] {
    const group = kind.apiVersion.includes('/') ? (kind.apiVersion.split('/')[0] ?? '') : '';
    const prefix = `${group}/${kind.kind}/${namespace === undefined ? '' : `${namespace}/`}`;
    return [...this.#objects]
      .filter(([key]) => key.startsWith(prefix))
      .sort(([a], [b]) => compareText(a, b))
      .map(([, object]) => object);
  }

  #time(): string {
    return new Date(this.#now()).toISOString().replace(/\.\d+Z$/u, 'Z');
  }
}

function essenceOf(object: KubeManifest): JsonObject {
  return { ...object, metadata: without(object.metadata, ['managedFields', 'resourceVersion']) };
}

function without(object: JsonObject, keys: readonly string[]): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([key]) => !keys.includes(key)));
}

function sameOwners(a: KubeManifest, b: KubeManifest): boolean {
  const owners = (object: KubeManifest): Json =>
    asArray(object.metadata['managedFields']).map((entry) => without(asObject(entry), ['time']));
  return equalJson(owners(a), owners(b));
}

/** Labels and annotations that are empty are left out, as Go's omitempty does. */
function dropEmptyMaps(metadata: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(metadata).filter(
      ([key, value]) =>
        !['labels', 'annotations'].includes(key) || (isJsonObject(value) && Object.keys(value).length > 0),
    ),
  );
}

function readObject(body: Json | undefined, kind: FakeKind, namespace: string | undefined): KubeManifest | string {
  if (!isKubeManifest(body)) return 'the body is not an object';
  if (body.kind !== kind.kind || body.apiVersion !== kind.apiVersion)
    return `${body.apiVersion} ${body.kind} in the path of ${kind.apiVersion} ${kind.kind}`;
  const stated = asString(body.metadata['namespace']);
  if (stated !== undefined && stated !== namespace)
    return `the namespace of the provided object does not match the namespace sent on the request`;
  return namespace === undefined ? body : { ...body, metadata: { ...body.metadata, namespace } };
}

function notFound(kind: FakeKind, name: string): Answer {
  return {
    status: 404,
    body: statusBody(404, 'NotFound', `${kind.plural} "${name}" not found`, { name, kind: kind.plural }),
  };
}

function conflict(kind: FakeKind, name: string, why: string): Answer {
  return {
    status: 409,
    body: statusBody(409, 'Conflict', `Operation cannot be fulfilled on ${kind.plural} "${name}": ${why}`, {
      name,
      kind: kind.plural,
    }),
  };
}
