import { request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Proxies } from '../engine/contract.ts';
import { EXIT, Failure, isFailure, messageOf } from '../shared/pure/errors.ts';
import { safeText } from '../shared/pure/text.ts';
import type { KubeApi } from '../sources/kube/index.ts';

/** Where Istio has Envoy's administration listen, on the pod's loopback (istio.io, "Ports used by Istio": 15000, Envoy admin port). */
const ADMIN_PORT = 15000;
/** One request with its answer: a proxy that hangs must not hold an answer to an incident up. */
const LIMIT_MS = 15_000;
/** An endpoint of a cluster takes over a kilobyte with its gauges: enough for some thousands. Whoever holds the pod writes the answer. */
const LARGEST_BYTES = 8 * 1024 * 1024;

/** Undefined where the API is not one that can carry a connection. */
export function openProxies(api: KubeApi): Proxies | undefined {
  const { forward } = api;
  if (forward === undefined) return undefined;
  return {
    ask: async (pod, method, path, signal) => {
      const limit = AbortSignal.any([AbortSignal.timeout(LIMIT_MS), ...(signal === undefined ? [] : [signal])]);
      const failed = (message: string, cause?: unknown): Failure =>
        new Failure({
          code: 'SP431',
          exit: EXIT.cluster,
          nature: 'passes',
          message: `the proxy of pod ${safeText(`${pod.namespace}/${pod.name}`)}: ${safeText(message).slice(0, 300)}`,
          where: `${method} ${path.split('?')[0] ?? ''} on 127.0.0.1:${ADMIN_PORT} of the pod`,
          hint: `kubectl -n ${safeText(pod.namespace)} port-forward pod/${safeText(pod.name)} ${ADMIN_PORT}`,
          ...(cause === undefined ? {} : { cause }),
        });
      try {
        const stream = await forward({ namespace: pod.namespace, pod: pod.name, port: ADMIN_PORT }, limit);
        try {
          const { status, text } = await exchange(stream, method, path);
          if (status !== 200) throw failed(`it answered ${status}: ${text}`);
          return text;
        } finally {
          stream.destroy();
        }
      } catch (error) {
        signal?.throwIfAborted();
        if (isFailure(error)) throw error;
        throw failed(limit.aborted ? `no answer within ${LIMIT_MS / 1000} s` : messageOf(error), error);
      }
    },
  };
}

/** HTTP over a stream that stands already. */
function exchange(
  stream: Duplex,
  method: 'GET' | 'POST',
  path: string,
): Promise<{ readonly status: number; readonly text: string }> {
  return new Promise((resolve, reject) => {
    // What ends the stream says why, and may have said it already.
    stream.once('error', reject);
    stream.once('close', () => reject(stream.errored ?? new Error('the connection ended before the answer')));
    if (stream.destroyed) {
      reject(stream.errored ?? new Error('the connection ended at once'));
      return;
    }
    const outgoing = request(
      {
        method,
        path,
        createConnection: () => stream,
        headers: { host: 'localhost', connection: 'close', 'content-length': '0' },
      },
      (incoming) => {
        collect(incoming).then((text) => resolve({ status: incoming.statusCode ?? 0, text }), reject);
      },
    );
    outgoing.on('error', reject);
    outgoing.end();
  });
}

async function collect(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > LARGEST_BYTES) throw new Error('its answer is larger than 8 MiB');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
