// The fake cluster without a wire: calls are answered in this process at once, so that thousands of histories fit into minutes. Patience,
// back-off and the last look before a write are the product's own; what stands in for the network is `sendOnce`.
import type { JsonObject } from '../../../src/shared/pure/json.ts';
import type { ApiAnswer, ApiCall, KubeApi } from '../../../src/sources/kube/index.ts';
import { apiOver } from '../../../src/sources/kube/index.ts';
import { parseStatus } from '../../../src/sources/kube/schema.ts';
import type { FakeCluster, LoggedCall } from './server.ts';
import { statusBody } from './server.ts';

/** What goes wrong with one attempt of a call. `done`: it was carried out all the same, only its answer is lost. */
export type WireFault =
  | { readonly kind: 'status'; readonly status: number; readonly retryAfterSec?: number; readonly done: boolean }
  | { readonly kind: 'silence'; readonly why: 'time-out' | 'cut' | 'refused'; readonly done: boolean };

export interface DirectOptions {
  readonly cluster: FakeCluster;
  /** What the server's `Date` says. */
  readonly serverNow: () => number;
  readonly clock: { sleep(milliseconds: number, signal?: AbortSignal): Promise<void> };
  /** Takes the time that a client waits for an answer that does not come. */
  readonly waitMs: (milliseconds: number) => void;
  /** Asked once for each call, and told its attempts: what goes wrong, and what to do around it. */
  readonly onCall?: (call: ApiCall) => WireGuard | undefined;
}

export interface WireGuard {
  /** Before an attempt, with nothing sent yet; may throw. */
  before?(): void | Promise<void>;
  fault?(attempt: number): WireFault | undefined;
  /** After the attempt took effect; may throw. */
  after?(call: LoggedCall): void;
}

const TIMEOUT_MS = 30_000;

export function directApi(options: DirectOptions): KubeApi {
  const guards = new WeakMap<ApiCall, { readonly guard: WireGuard | undefined; attempts: number }>();
  const sendOnce = async (call: ApiCall): Promise<ApiAnswer> => {
    let entry = guards.get(call);
    if (entry === undefined) guards.set(call, (entry = { guard: options.onCall?.(call), attempts: 0 }));
    entry.attempts += 1;
    const { guard } = entry;
    // As the real connection does: time passes while it is made, and only then is asked whether the call may go out.
    await guard?.before?.();
    if (call.maySend?.() === false)
      return {
        ok: false,
        problem: { kind: 'no-answer', why: 'fenced', mayHaveReached: false, detail: 'it was held back' },
      };
    const fault = guard?.fault?.(entry.attempts);
    const logged = logCall(call);
    let answer: { readonly status: number; readonly body: JsonObject } | undefined;
    if (fault === undefined || fault.done) {
      answer = options.cluster.answer(logged);
      guard?.after?.(logged);
    }
    const serverTime = Math.floor(options.serverNow() / 1000) * 1000;
    if (fault?.kind === 'silence') {
      if (fault.why === 'time-out') options.waitMs(TIMEOUT_MS);
      return {
        ok: false,
        problem: { kind: 'no-answer', why: fault.why, mayHaveReached: fault.why !== 'refused', detail: 'injected' },
      };
    }
    const { status, body } =
      fault === undefined
        ? (answer ?? { status: 500, body: {} })
        : { status: fault.status, body: statusBody(fault.status, '', 'injected') };
    if (status < 300) return { ok: true, status, body, serverTime };
    return {
      ok: false,
      problem: {
        kind: 'refused',
        status,
        body: parseStatus(body),
        ...(fault?.kind === 'status' && fault.retryAfterSec !== undefined
          ? { retryAfterSec: fault.retryAfterSec }
          : {}),
      },
      serverTime,
    };
  };
  return apiOver(
    { context: 'fake', server: 'https://fake', timeoutSec: TIMEOUT_MS / 1000, caSha256: 'none' },
    sendOnce,
    () => undefined,
    options.clock,
  );
}

function logCall(call: ApiCall): LoggedCall {
  const text =
    call.body === undefined
      ? ''
      : JSON.stringify(call.body).replace(
          /[<>&\u2028\u2029]/gu,
          (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
        );
  return {
    point: 0,
    method: call.method,
    path: decodeURI(call.path),
    query: call.query ?? {},
    headers: {
      authorization: 'Bearer fake-token',
      accept: call.accept ?? 'application/json',
      'content-type': call.contentType ?? 'application/json',
    },
    body: call.body,
    text,
    status: 0,
  };
}
