import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { EXIT, Failure, messageOf } from '../shared/pure/errors.ts';
import { safeText } from '../shared/pure/text.ts';

export interface Served {
  /** Text why not; undefined where it lives. */
  readonly health: () => string | undefined;
  /** Text why not yet; undefined where it is. */
  readonly ready: () => string | undefined;
  readonly metrics: () => Promise<string>;
  readonly metricsType: string;
}

/** A watch cannot be run like this. */
export function wrongWatch(message: string, where: string, hint: string, cause?: unknown): Failure {
  return new Failure({
    code: 'SP249',
    exit: EXIT.usage,
    message,
    where,
    hint,
    ...(cause === undefined ? {} : { cause }),
  });
}

/** `:9464`, `127.0.0.1:9464`, `[::1]:9464`. Errors: SP249 for what is no address. */
export function parseListen(text: string): { readonly host: string | undefined; readonly port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*)):(\d{1,5})$/u.exec(text);
  const port = Number(match?.[3] ?? NaN);
  if (match === null || port > 65_535)
    throw wrongWatch(
      `--listen ${safeText(text)} is not an address`,
      'watch --listen',
      'give it as :9464 or 127.0.0.1:9464',
    );
  const host = match[1] ?? match[2];
  return { host: host === '' ? undefined : host, port };
}

/**
 * /healthz, /readyz and /metrics over HTTP, for the kubelet and for Prometheus: reading alone, no credentials in any answer. Resolves when it
 * listens. Errors: SP249 where the port cannot be had.
 */
export async function serveWatch(
  listen: string,
  served: Served,
): Promise<{ readonly port: number; close(): Promise<void> }> {
  const { host, port } = parseListen(listen);
  const server = createServer((request, response) => {
    const answer = (status: number, text: string, type = 'text/plain; charset=utf-8'): void => {
      response.writeHead(status, { 'content-type': type, 'x-content-type-options': 'nosniff' });
      response.end(request.method === 'HEAD' ? undefined : text);
    };
    const path = (request.url ?? '').split('?', 1)[0];
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      answer(405, 'reading alone\n');
      return;
    }
    const say = (why: string | undefined): void => answer(why === undefined ? 200 : 503, `${why ?? 'ok'}\n`);
    switch (path) {
      case '/healthz':
        say(served.health());
        return;
      case '/readyz':
        say(served.ready());
        return;
      case '/metrics':
        served.metrics().then(
          (text) => answer(200, text, served.metricsType),
          (error: unknown) => answer(500, `${safeText(messageOf(error))}\n`),
        );
        return;
      default:
        answer(404, 'there are /healthz, /readyz and /metrics\n');
    }
  });
  // A client that sends nothing keeps nothing.
  server.requestTimeout = 10_000;
  server.headersTimeout = 5_000;
  server.maxConnections = 64;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        wrongWatch(
          `cannot listen at ${safeText(listen)}: ${messageOf(cause)}`,
          'watch --listen',
          'choose another port with --listen',
          cause,
        ),
      ),
    );
    server.listen(port, host, () => resolve());
  });
  return { port: portOf(server, port), close: () => closeServer(server) };
}

function portOf(server: Server, asked: number): number {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : asked;
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
