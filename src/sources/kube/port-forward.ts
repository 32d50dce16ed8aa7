import { Duplex, PassThrough, Writable } from 'node:stream';
import type { RequestOptions as HttpsOptions } from 'node:https';
import { PortForward } from '@kubernetes/client-node';
import type { KubeConfig } from '@kubernetes/client-node';
import { isFailure, messageOf } from '../../shared/pure/errors.ts';
import type { PodPort } from './connect.ts';
import type { ApiProblem, CallSubject, Connected } from './problem.ts';
import { failureOf } from './problem.ts';
import { parseStatus } from './schema.ts';

export interface PortForwardOptions {
  readonly config: KubeConfig;
  readonly connected: Connected;
  readonly to: PodPort;
  readonly subject: CallSubject;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Fills in credentials and who is impersonated. */
  readonly prepare: (options: HttpsOptions) => Promise<void>;
}

/** What is used of the socket that the client gives back. */
interface Socket {
  addEventListener(type: 'close' | 'error', listener: () => void): void;
  terminate(): void;
}

/**
 * A connection to a port of a pod's loopback over the client's WebSocket. It ends when either side ends it, and is destroyed with
 * an error where the kubelet could not reach the port. Errors: those of `failureOf`, and the signal's.
 */
export async function openPortForward(options: PortForwardOptions): Promise<Duplex> {
  const { config, connected, to, subject, timeoutMs, signal, prepare } = options;
  signal.throwIfAborted();
  // The client knows neither impersonation nor a bound on the handshake: both are put into the options that it asks its configuration for.
  const seen = Object.create(config) as KubeConfig;
  seen.applyToHTTPSOptions = async (given) => {
    await prepare(given as HttpsOptions);
    Object.assign(given, { handshakeTimeout: timeoutMs });
  };
  const outgoing = new PassThrough();
  const stream = new Duplex({
    read: () => undefined,
    write: (chunk: Buffer, _, done) => {
      outgoing.write(chunk);
      done();
    },
  });
  const incoming = new Writable({
    write: (chunk: Buffer, _, done) => {
      if (!stream.destroyed) stream.push(chunk);
      done();
    },
  });
  // It may end before anybody reads it: whoever does looks at `errored` first.
  stream.on('error', () => undefined);
  // What the kubelet says on the second channel is why it could not: the port refuses, or the pod is gone.
  const refusals = new Writable({
    write: (chunk: Buffer, _, done) => {
      // The client hands on what is left of the first message, the number of the port: nothing.
      if (chunk.length > 0) stream.destroy(new Error(chunk.toString('utf8').slice(0, 300)));
      done();
    },
  });
  let socket: Socket;
  try {
    const opened: unknown = await new PortForward(seen).portForward(
      encodeURIComponent(to.namespace),
      encodeURIComponent(to.pod),
      [to.port],
      incoming,
      refusals,
      outgoing,
    );
    socket = opened as Socket;
  } catch (cause) {
    stream.destroy();
    if (signal.aborted) throw signal.reason;
    if (isFailure(cause)) throw cause;
    throw failureOf(problemOf(cause), subject, connected);
  }
  const end = (): void => {
    if (!stream.destroyed) stream.push(null);
  };
  socket.addEventListener('close', end);
  socket.addEventListener('error', end);
  const abort = (): void => {
    stream.destroy(signal.reason instanceof Error ? signal.reason : new Error('stopped'));
  };
  if (signal.aborted) abort();
  else signal.addEventListener('abort', abort, { once: true });
  const over = (): void => {
    signal.removeEventListener('abort', abort);
    socket.terminate();
  };
  if (stream.closed) over();
  else stream.once('close', over);
  return stream;
}

/** A handshake that is refused has a status in its message alone (ws: "Unexpected server response: 403"). */
function problemOf(cause: unknown): ApiProblem {
  const message = messageOf(
    cause instanceof Error ? cause : ((cause as { message?: unknown } | null)?.message ?? cause),
  );
  const status = Number(/Unexpected server response: (\d{3})/u.exec(message)?.[1] ?? Number.NaN);
  if (Number.isNaN(status)) return { kind: 'no-answer', why: 'cut', mayHaveReached: true, detail: message, cause };
  return { kind: 'refused', status, body: parseStatus({ message: status === 404 ? 'the pod was not found' : '' }) };
}
