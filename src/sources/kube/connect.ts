import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import type { ClientRequest, IncomingMessage, OutgoingHttpHeaders, RequestOptions } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { RequestOptions as HttpsOptions } from 'node:https';
import type { Duplex } from 'node:stream';
import type { KubeConfig } from '@kubernetes/client-node';
import { traced } from '../../shared/io/trace.ts';
import type { Attributes, Span } from '../../shared/io/trace.ts';
import { EXIT, Failure, messageOf } from '../../shared/pure/errors.ts';
import type { Json, JsonObject } from '../../shared/pure/json.ts';
import { asString, isJsonObject } from '../../shared/pure/json.ts';
import { safeText } from '../../shared/pure/text.ts';
import type { KubeAccess, KubeconfigOptions } from './kubeconfig.ts';
import { errorCode, readKubeAccess } from './kubeconfig.ts';
import type { ApiProblem, CallSubject, Connected } from './problem.ts';
import { failureOf, isBudget } from './problem.ts';
import { parseRetryAfter, parseStatus } from './schema.ts';

/** How time enters: for waits between attempts. */
export interface Waiter {
  sleep(milliseconds: number, signal?: AbortSignal): Promise<void>;
}

export interface ApiCall {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** From the server's root, segments encoded. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: Json;
  readonly contentType?: string;
  readonly accept?: string;
  /**
   * Takes the lines of an answer with success as they come, as a watch gives them; the answer itself is then empty. Such a call is sent
   * once: whoever reads on knows where.
   */
  readonly onLine?: (line: string) => void;
  /** For the connection to be made and between two pieces of the answer, where that is not the connection's own time-out. */
  readonly idleMs?: number;
  readonly subject: CallSubject;
  /** As the credentials' own user, whomever the connection impersonates. */
  readonly asSelf?: true;
  readonly signal?: AbortSignal;
  /**
   * Asked when the connection stands and the call is about to go out, each time anew. False: it is not sent, and the answer is no answer,
   * `fenced`. For writes that may only be made while something is held.
   */
  readonly maySend?: () => boolean;
}

export type ApiAnswer =
  | {
      readonly ok: true;
      readonly status: number;
      readonly body: JsonObject;
      /** The server's own clock at the answer, milliseconds since the epoch, to a second; undefined if it does not say. */
      readonly serverTime?: number;
    }
  | { readonly ok: false; readonly problem: ApiProblem; readonly serverTime?: number };

/** An API server that can be asked. */
export interface KubeApi extends Connected {
  /** Of the certificate authority; with context and server it tells which cluster this is before anything is asked. */
  readonly caSha256: string;
  /**
   * Sends one call. Reads and dry runs are tried again after a broken connection, a time-out or a 5xx, and every call after
   * 429, at most four times in all. A write is never repeated once it may have reached the server: its outcome is then
   * unknown and for the caller to find out. Throws only where credentials cannot be had (SP402) or the signal aborts.
   */
  send(call: ApiCall): Promise<ApiAnswer>;
  /** As send; everything but success is the Failure of `failureOf`. */
  must(call: ApiCall): Promise<JsonObject>;
  /**
   * A connection to a port of a pod's own loopback, through the API server and the kubelet (`pods/portforward`). Absent where calls go over
   * something else than a connection of the kubeconfig. Errors: SP402, those of `failureOf`, and the signal's.
   */
  readonly forward?: (to: PodPort, signal: AbortSignal) => Promise<Duplex>;
  close(): void;
}

export interface PodPort {
  readonly namespace: string;
  readonly pod: string;
  readonly port: number;
}

export interface KubeOptions extends KubeconfigOptions {
  readonly clock: Waiter;
  /** For the connection to be made and between two pieces of an answer. Default 30 s. */
  readonly timeoutMs?: number;
}

const DEFAULT_TIMEOUT_MS = 30_000;
const ATTEMPTS = 4;
const BACKOFF_MS = [500, 1000, 2000] as const;
/** A server that asks for more patience than this is answered with a failure that says how long. */
const LONGEST_RETRY_AFTER_SEC = 60;
/** The largest pages are well below; more is a fault that would exhaust memory. */
const LARGEST_ANSWER_BYTES = 512 * 1024 * 1024;

/** Reads the kubeconfig and prepares the connection; nothing is asked yet. Errors: those of `readKubeAccess`. */
export async function connectKube(options: KubeOptions): Promise<KubeApi> {
  return openKubeApi(await readKubeAccess(options), options);
}

/** A connection of the access given. */
export async function openKubeApi(
  access: KubeAccess,
  options: Pick<KubeOptions, 'clock' | 'timeoutMs'>,
): Promise<KubeApi> {
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const connected: Connected & { readonly caSha256: string } = {
    context: access.context,
    server: access.cluster.server,
    caSha256: access.caSha256,
    timeoutSec: timeoutMs / 1000,
    ...(access.impersonate === undefined ? {} : { impersonating: access.impersonate.user }),
  };
  const config = await openConfig(access);
  const credentials = openCredentials(access, connected, config);

  const api = apiOver(
    connected,
    async (call) => sendOnce(call, access, await credentials.current(call), timeoutMs),
    () => credentials.close(),
    options.clock,
  );
  return {
    ...api,
    forward: async (to, signal) => {
      const { openPortForward } = await import('./port-forward.ts');
      const about = forwardSubject(to);
      return openPortForward({
        config,
        connected,
        to,
        subject: about,
        timeoutMs,
        signal,
        prepare: async (given) => {
          const prepared: HttpsOptions = given;
          try {
            await config.applyToHTTPSOptions(prepared);
          } catch (cause) {
            throw credentialFailure(access, connected, about, cause);
          }
          prepared.rejectUnauthorized ??= true;
          prepared.headers = { ...(prepared.headers as OutgoingHttpHeaders), ...impersonationHeaders(access) };
        },
      });
    },
  };
}

function forwardSubject({ namespace, pod, port }: PodPort): CallSubject {
  return {
    doing: `reaching port ${port} of pod ${namespace}/${pod}`,
    verb: 'create',
    resource: 'pods/portforward',
    namespace,
    name: pod,
  };
}

/** An API over anything that sends a call once: patience is the same whatever carries it. */
export function apiOver(
  connected: Connected & { readonly caSha256: string },
  sendOnce: (call: ApiCall) => Promise<ApiAnswer>,
  close: () => void,
  clock: Waiter,
): KubeApi {
  const sendPatiently = async (call: ApiCall, attempted: (attempt: number) => void): Promise<ApiAnswer> => {
    for (let attempt = 1; ; attempt += 1) {
      call.signal?.throwIfAborted();
      attempted(attempt);
      const answer = await sendOnce(call);
      if (answer.ok || attempt === ATTEMPTS || call.onLine !== undefined) return answer;
      const waitMs = waitBeforeRetry(call, answer.problem, attempt);
      if (waitMs === undefined) return answer;
      await clock.sleep(waitMs, call.signal);
    }
  };
  const send = (call: ApiCall): Promise<ApiAnswer> => {
    // A stream says nothing by how long it is open.
    if (call.onLine !== undefined) return sendPatiently(call, () => undefined);
    return traced(
      spanName(call),
      () => spanAttributes(call, connected),
      async (span) => {
        const answer = await sendPatiently(call, (attempt) => {
          if (attempt > 1) span.set({ 'http.request.resend_count': attempt - 1 });
        });
        tellAnswer(span, call, answer);
        return answer;
      },
    );
  };
  return {
    ...connected,
    send,
    must: async (call) => {
      const answer = await send(call);
      if (answer.ok) return answer.body;
      throw failureOf(answer.problem, call.subject, connected);
    },
    close,
  };
}

/** One name for all calls of a kind: names of objects are in the path. */
function spanName({ method, subject, path }: ApiCall): string {
  return `${method} ${subject.resource === '' ? path : subject.resource}`;
}

/** As OpenTelemetry names them for clients of HTTP. The query is left out: selectors hold values of labels. */
function spanAttributes({ method, path, query, subject }: ApiCall, { server }: Connected): Attributes {
  const { hostname, port } = new URL(server);
  return {
    'http.request.method': method,
    'url.path': path,
    'server.address': hostname,
    ...(port === '' ? {} : { 'server.port': Number(port) }),
    'sallyport.verb': subject.verb,
    'sallyport.namespace': subject.namespace,
    'sallyport.dry_run': query?.['dryRun'] === 'All' ? true : undefined,
  };
}

function tellAnswer(span: Span, call: ApiCall, answer: ApiAnswer): void {
  if (answer.ok) span.set({ 'http.response.status_code': answer.status });
  else if (answer.problem.kind === 'no-answer') span.fail(answer.problem.why);
  else {
    const { status } = answer.problem;
    span.set({ 'http.response.status_code': status });
    // That an object is not there is an answer.
    if (status !== 404 || call.method !== 'GET') span.fail(String(status));
  }
}

/** Undefined when the call must not or need not be tried again. */
function waitBeforeRetry(call: ApiCall, problem: ApiProblem, attempt: number): number | undefined {
  const backoff = BACKOFF_MS[attempt - 1] ?? 2000;
  if (isBudget(problem)) return undefined;
  if (problem.kind === 'refused' && problem.status === 429) {
    // 429 is given before anything is processed: writes may be repeated too.
    if (problem.retryAfterSec === undefined) return backoff;
    return problem.retryAfterSec > LONGEST_RETRY_AFTER_SEC ? undefined : problem.retryAfterSec * 1000;
  }
  const harmless = call.method === 'GET' || call.query?.['dryRun'] === 'All';
  if (!harmless) return undefined;
  if (problem.kind === 'no-answer') return problem.why === 'time-out' || problem.why === 'cut' ? backoff : undefined;
  if (![500, 502, 503, 504].includes(problem.status)) return undefined;
  const asked = problem.retryAfterSec;
  return asked === undefined || asked > LONGEST_RETRY_AFTER_SEC ? backoff : asked * 1000;
}

interface Prepared {
  readonly headers: OutgoingHttpHeaders;
  readonly options: RequestOptions;
}

interface Credentials {
  current(call: ApiCall): Promise<Prepared>;
  close(): void;
}

async function openConfig(access: KubeAccess): Promise<KubeConfig> {
  const { KubeConfig: Config } = await import('@kubernetes/client-node');
  const config = new Config();
  config.loadFromOptions({
    clusters: [access.cluster],
    users: [access.user],
    contexts: [{ name: access.context, cluster: access.cluster.name, user: access.user.name }],
    currentContext: access.context,
  });
  return config;
}

function openCredentials(access: KubeAccess, connected: Connected, config: KubeConfig): Credentials {
  let kept: { readonly key: string; readonly agent: HttpAgent; readonly streams: HttpAgent } | undefined;
  return {
    current: async (call) => {
      // Asked anew each time: plugins renew tokens and certificates as they expire.
      const options: HttpsOptions = { headers: {} };
      try {
        await config.applyToHTTPSOptions(options);
      } catch (cause) {
        throw credentialFailure(access, connected, call.subject, cause);
      }
      const { headers, auth, agent, ca, cert, key, passphrase, pfx, servername, rejectUnauthorized } = options;
      const tls = {
        ...defined({ ca, cert, key, passphrase, pfx, servername }),
        // Stated, so that no environment variable can switch verification off.
        rejectUnauthorized: rejectUnauthorized ?? true,
      };
      const common = {
        headers: {
          ...(headers as OutgoingHttpHeaders),
          ...(auth === undefined || auth === null
            ? {}
            : { authorization: `Basic ${Buffer.from(auth).toString('base64')}` }),
          ...impersonationHeaders(access),
        },
      };
      if (access.cluster.proxyUrl !== undefined) return { ...common, options: { ...tls, agent } };
      // A connection kept open may be gone by the time it is used again. A read is simply repeated; for a write that would
      // leave the outcome unknown, so each write has a connection of its own.
      if (call.method !== 'GET') return { ...common, options: { ...tls, agent: false } };
      const identity = JSON.stringify([ca, cert, key, servername, tls.rejectUnauthorized].map(partText));
      if (kept?.key !== identity) {
        kept?.agent.destroy();
        kept?.streams.destroy();
        const Agent = access.cluster.server.startsWith('https:') ? HttpsAgent : HttpAgent;
        kept = {
          key: identity,
          agent: new Agent({ keepAlive: true, maxSockets: 16, ...tls }),
          streams: new Agent({ keepAlive: false, ...tls }),
        };
      }
      // A watch keeps its connection: among the others a few of them would leave none for anything else.
      return { ...common, options: { agent: call.onLine === undefined ? kept.agent : kept.streams } };
    },
    close: () => {
      kept?.agent.destroy();
      kept?.streams.destroy();
    },
  };
}

/** Certificates and keys come as text, as bytes or as lists of either. */
function partText(part: unknown): string {
  return Buffer.isBuffer(part) ? part.toString('base64') : JSON.stringify(part ?? null);
}

function defined<T extends object>(values: T): Partial<T> {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== undefined && value !== null),
  ) as Partial<T>;
}

function withoutImpersonation(headers: OutgoingHttpHeaders): OutgoingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !/^impersonate-/iu.test(name)));
}

function impersonationHeaders({ impersonate }: KubeAccess): OutgoingHttpHeaders {
  if (impersonate === undefined) return {};
  // Header values go out as Latin-1: these are the bytes of the name in UTF-8, as the API server reads them.
  const bytes = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');
  return {
    'Impersonate-User': bytes(impersonate.user),
    ...(impersonate.uid === undefined ? {} : { 'Impersonate-Uid': bytes(impersonate.uid) }),
    ...(impersonate.groups.length === 0 ? {} : { 'Impersonate-Group': impersonate.groups.map(bytes) }),
  };
}

function credentialFailure(access: KubeAccess, connected: Connected, subject: CallSubject, cause: unknown): Failure {
  const exec: unknown = access.user.exec;
  const command = isJsonObject(exec as Json) ? asString((exec as JsonObject)['command']) : undefined;
  const what =
    command === undefined
      ? `the credentials of user "${safeText(access.user.name)}" cannot be read`
      : `the credential plugin ${safeText(command)} failed`;
  const lines = messageOf(cause)
    .split('\n')
    .filter((line) => line.trim() !== '');
  return new Failure({
    code: 'SP402',
    exit: EXIT.cluster,
    nature: 'passes',
    message: `${safeText(subject.doing)}: ${what}: ${safeText(lines.at(-1) ?? 'it said nothing').slice(0, 300)}`,
    where: `context ${safeText(connected.context)}, ${safeText(connected.server)}`,
    hint:
      command !== undefined && errorCode(cause) === 'ENOENT'
        ? 'install the plugin, or put it on the PATH'
        : `log in again, then try: kubectl auth whoami --context ${safeText(connected.context)}`,
    cause,
  });
}

function sendOnce(call: ApiCall, access: KubeAccess, prepared: Prepared, timeoutMs: number): Promise<ApiAnswer> {
  const base = new URL(access.cluster.server);
  const query = Object.entries(call.query ?? {})
    .map(([key, value]) => `${encodeURIComponent(key)}=${encodeURIComponent(value)}`)
    .join('&');
  const payload = call.body === undefined ? undefined : Buffer.from(renderBody(call.body), 'utf8');
  const send = base.protocol === 'https:' ? httpsRequest : httpRequest;
  const headers: OutgoingHttpHeaders = {
    ...(call.asSelf === true ? withoutImpersonation(prepared.headers) : prepared.headers),
    'user-agent': 'sallyport',
    accept: call.accept ?? 'application/json',
    ...(payload === undefined
      ? {}
      : { 'content-type': call.contentType ?? 'application/json', 'content-length': payload.length }),
  };
  return new Promise((resolve, reject) => {
    let reached = false;
    let timedOut = false;
    let fenced = false;
    let outgoing: ClientRequest;
    const silence = (error: unknown): void => {
      if (call.signal?.aborted === true) {
        reject(call.signal.reason as Error);
        return;
      }
      const why = fenced ? 'fenced' : timedOut ? 'time-out' : classify(error);
      const mayHaveReached = !['fenced', 'refused', 'host', 'tls'].includes(why) && reached;
      resolve({
        ok: false,
        problem: { kind: 'no-answer', why, mayHaveReached, detail: detailOf(error), cause: error },
      });
    };
    try {
      outgoing = send(
        {
          ...prepared.options,
          method: call.method,
          protocol: base.protocol,
          // Brackets of an IPv6 address belong to the URL, not to the name.
          hostname: base.hostname.replace(/^\[|\]$/gu, ''),
          port: base.port === '' ? undefined : base.port,
          path: `${base.pathname.replace(/\/+$/u, '')}${call.path}${query === '' ? '' : `?${query}`}`,
          headers,
          timeout: call.idleMs ?? timeoutMs,
          ...(call.signal === undefined ? {} : { signal: call.signal }),
        } as RequestOptions,
        (incoming) => {
          if (call.onLine !== undefined && incoming.statusCode === 200)
            handLines(incoming, call.onLine).then(() => resolve(readAnswer(incoming, '{}')), silence);
          else collect(incoming).then((text) => resolve(readAnswer(incoming, text)), silence);
        },
      );
    } catch (error) {
      // Node refuses header values and paths that no HTTP message can hold, before anything is sent.
      silence(error);
      return;
    }
    // Nothing of a request leaves before its end is given, so this is the last moment at which it can be held back. A server drops a
    // connection on which no request comes (kube-apiserver after 32 s), so one that falls asleep right here is not heard afterwards.
    const finish = (): void => {
      if (call.maySend?.() === false) {
        fenced = true;
        outgoing.destroy(new Error('it was held back'));
      } else outgoing.end(payload);
    };
    outgoing.on('socket', (socket) => {
      // Behind a proxy it cannot be told how far a request got.
      const standing = outgoing.reusedSocket || access.cluster.proxyUrl !== undefined;
      const connected = (): void => {
        reached = true;
        if (call.maySend !== undefined) finish();
      };
      if (standing) connected();
      else socket.once(base.protocol === 'https:' ? 'secureConnect' : 'connect', connected);
    });
    outgoing.on('timeout', () => {
      timedOut = true;
      outgoing.destroy(new Error(`no answer within ${call.idleMs ?? timeoutMs} ms`));
    });
    outgoing.on('error', silence);
    if (call.maySend === undefined) finish();
  });
}

/**
 * JSON with the escapes that Go's encoder writes. The API server compares the `test` of a JSON Patch byte by byte with its own
 * encoding, so a text with `&` would never be equal otherwise.
 */
function renderBody(body: Json): string {
  return JSON.stringify(body).replace(
    /[<>&\u2028\u2029]/gu,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** A line that does not end is a fault that would exhaust memory; the largest objects are well below. */
const LONGEST_LINE = 64 * 1024 * 1024;

async function handLines(incoming: IncomingMessage, onLine: (line: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  let open = '';
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    const lines = (open + decoder.decode(chunk, { stream: true })).split('\n');
    open = lines.pop() ?? '';
    if (open.length > LONGEST_LINE) throw new Error('a line of the answer is longer than 64 MiB');
    for (const line of lines) if (line !== '') onLine(line);
  }
  // Half a line is an answer that broke off.
  if (open.trim() !== '') throw new Error('the answer ends in the middle of a line');
}

async function collect(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > LARGEST_ANSWER_BYTES) throw new Error('the answer is larger than 512 MiB');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function readAnswer(incoming: IncomingMessage, text: string): ApiAnswer {
  const status = incoming.statusCode ?? 0;
  const date = Date.parse(incoming.headers.date ?? '');
  const time = Number.isNaN(date) ? {} : { serverTime: date };
  const body = parseJson(text);
  if (status >= 200 && status < 300) {
    if (isJsonObject(body)) return { ok: true, status, body, ...time };
    return { ok: false, problem: garbled(`status ${status}, ${describeBody(incoming)}`), ...time };
  }
  // A redirect is not followed: it would carry the credentials to another address.
  if (status < 400) return { ok: false, problem: garbled(`status ${status}, a redirect`), ...time };
  const isStatus = isJsonObject(body) && body['kind'] === 'Status';
  const retryAfterSec = parseRetryAfter(incoming.headers['retry-after'], time.serverTime);
  return {
    ok: false,
    problem: {
      kind: 'refused',
      status,
      // Proxies and some handlers answer with plain text.
      body: parseStatus(isStatus ? body : { message: isJsonObject(body) ? '' : text.slice(0, 1000) }),
      ...(retryAfterSec === undefined ? {} : { retryAfterSec }),
    },
    ...time,
  };
}

function garbled(detail: string): ApiProblem {
  return { kind: 'no-answer', why: 'garbled', mayHaveReached: true, detail };
}

function describeBody(incoming: IncomingMessage): string {
  return `a body of type ${incoming.headers['content-type'] ?? 'unknown'} that is not a JSON object`;
}

function parseJson(text: string): Json | undefined {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}

const HOST_CODES = new Set(['ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'EADDRNOTAVAIL', 'EHOSTDOWN']);
const TLS_CODES =
  /^(?:ERR_TLS_|ERR_SSL_|CERT_|CRL_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|INVALID_CA|PATH_LENGTH|EPROTO$|HOSTNAME_MISMATCH)/u;

function classify(error: unknown): 'refused' | 'host' | 'tls' | 'cut' {
  const code = errorCode(error);
  if (code === 'ECONNREFUSED') return 'refused';
  if (HOST_CODES.has(code)) return 'host';
  return TLS_CODES.test(code) ? 'tls' : 'cut';
}

function detailOf(error: unknown): string {
  // Several addresses of one name fail together, each with its own error.
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
  const message = messageOf(first).replace(/^write EPROTO [0-9A-F]+:error:/u, '');
  return message === '' ? errorCode(first) : message;
}
