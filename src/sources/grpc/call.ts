// gRPC over HTTP/2, the client's side of unary calls and of streams from the server (github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md).
import { constants, connect } from 'node:http2';
import { connect as connectTcp, isIP } from 'node:net';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders } from 'node:http2';
import { messageOf } from '../../shared/pure/errors.ts';
import { safeText } from '../../shared/pure/text.ts';

const CONNECT_MS = 10_000;
/** Of one message; the largest of those that are asked for is a page of flows. */
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
const WINDOW_BYTES = 1 << 20;
/** Idle connections are probed by TCP, */
const KEEP_ALIVE_MS = 30_000;
/** and asked for a sign of life. Servers of Go's gRPC close one that asks more than each five minutes. */
const PING_MS = 330_000;
/** Codes after which asking again may help: what is missing is the server, not a right or a method. */
const TRANSIENT: ReadonlySet<number> = new Set([1, 2, 4, 8, 10, 13, 14]);
const CODES = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
];

export interface GrpcAddress {
  readonly tls: boolean;
  readonly host: string;
  readonly port: number;
}

export interface GrpcOptions {
  /** Certificates and key as PEM. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  /** The name that the server's certificate has to carry, where it is not the host. */
  readonly serverName?: string;
  readonly token?: string;
  readonly signal: AbortSignal;
}

export interface Grpc {
  /** Messages of the answer as they come. Nothing more is taken from the network than is asked for. Throws a GrpcFault. */
  call(path: string, request: Uint8Array): AsyncGenerator<Buffer>;
  close(): void;
}

/** Why a call failed. */
export interface GrpcFault extends Error {
  readonly grpc: { readonly again: boolean };
}

export function isGrpcFault(error: unknown): error is GrpcFault {
  return error instanceof Error && 'grpc' in error;
}

function fault(message: string, again: boolean): GrpcFault {
  return Object.assign(new Error(message), { grpc: { again } });
}

/** One connection. Throws a GrpcFault where there is none to be had. */
export async function openGrpc(address: GrpcAddress, options: GrpcOptions): Promise<Grpc> {
  const { signal } = options;
  signal.throwIfAborted();
  const to = { host: address.host, port: address.port, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS };
  // The socket is made here because its errors are heard here alone: a server that refuses our certificate tells it late.
  const socket: Socket = address.tls
    ? connectTls({
        ...to,
        ALPNProtocols: ['h2'],
        minVersion: 'TLSv1.2',
        // Stated, so that no environment variable can switch verification off.
        rejectUnauthorized: true,
        ...(options.ca === undefined ? {} : { ca: options.ca }),
        ...(options.cert === undefined ? {} : { cert: options.cert }),
        ...(options.key === undefined ? {} : { key: options.key }),
        ...serverNameOf(address.host, options.serverName),
      })
    : connectTcp(to);
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  const session = connect(`${address.tls ? 'https' : 'http'}://${host}:${address.port}`, {
    createConnection: () => socket,
    settings: { initialWindowSize: WINDOW_BYTES },
  });
  // Without listeners a connection that breaks between two calls would end the process.
  session.on('error', () => undefined);
  socket.on('error', () => session.destroy());
  const onAbort = (): void => session.destroy();
  signal.addEventListener('abort', onAbort, { once: true });
  let unanswered = false;
  const pinging = setInterval(() => {
    if (unanswered) session.destroy(fault('no sign of life', true));
    else {
      unanswered = true;
      session.ping(() => (unanswered = false));
    }
  }, PING_MS);
  pinging.unref();
  const close = (): void => {
    clearInterval(pinging);
    signal.removeEventListener('abort', onAbort);
    session.destroy();
  };
  try {
    await connected(session, socket, signal);
  } catch (error) {
    close();
    throw error;
  }
  const headers = {
    [constants.HTTP2_HEADER_METHOD]: 'POST',
    'content-type': 'application/grpc',
    te: 'trailers',
    'grpc-accept-encoding': 'identity',
    'user-agent': 'sallyport',
    ...(options.serverName === undefined ? {} : { [constants.HTTP2_HEADER_AUTHORITY]: options.serverName }),
    ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
  };
  return {
    call: (path, request) => readAnswer(session, { ...headers, [constants.HTTP2_HEADER_PATH]: path }, request),
    close,
  };
}

/** The name that is asked for and that the certificate must carry. */
function serverNameOf(host: string, given: string | undefined): { readonly servername?: string } {
  if (given !== undefined) return { servername: given };
  return isIP(host) === 0 ? { servername: host } : {};
}

function connected(session: ClientHttp2Session, socket: Socket, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(fault(`no connection within ${CONNECT_MS / 1000} s`, true)), CONNECT_MS);
    const end = (then: () => void): void => {
      clearTimeout(timer);
      session.removeListener('error', onError);
      session.removeListener('close', onClose);
      socket.removeListener('error', onError);
      socket.removeListener('close', onClose);
      then();
    };
    const onError = (error: Error): void => {
      const code = (error as NodeJS.ErrnoException).code ?? '';
      // A certificate that does not hold will not hold the next time.
      const again = !/CERT|SELF_SIGNED|UNABLE_TO|ALTNAME|ERR_SSL|ERR_TLS/.test(code);
      // OpenSSL's own words stand between its library and its source file.
      const said = /SSL routines:[^:]*:([^:]+):/.exec(error.message)?.[1] ?? messageOf(error);
      end(() => reject(fault(safeText(said), again)));
    };
    const onClose = (): void =>
      end(() => reject(fault(signal.aborted ? 'stopped' : 'the other side closed the connection', true)));
    session.once('error', onError);
    session.once('close', onClose);
    socket.once('error', onError);
    socket.once('close', onClose);
    // The first settings of the server show that it speaks HTTP/2, and that it took our certificate.
    session.once('remoteSettings', () => end(resolve));
  });
}

async function* readAnswer(
  session: ClientHttp2Session,
  headers: Readonly<Record<string, string>>,
  request: Uint8Array,
): AsyncGenerator<Buffer> {
  if (session.destroyed || session.closed) throw fault('the connection is closed', true);
  const stream: ClientHttp2Stream = session.request(headers);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(request.byteLength, 1);
  stream.end(Buffer.concat([head, request]));
  let status: IncomingHttpHeaders = {};
  let refused: GrpcFault | undefined;
  stream.on('response', (response) => {
    if (response['grpc-status'] !== undefined) status = response;
    else if (response[':status'] !== 200 || response['content-type']?.startsWith('application/grpc') !== true)
      refused = fault(
        `it answered ${String(response[':status'])} with ${safeText(response['content-type'] ?? 'nothing')}: not a gRPC server`,
        (response[':status'] ?? 0) >= 500,
      );
  });
  stream.on('trailers', (trailers: IncomingHttpHeaders) => {
    status = trailers;
  });
  let parts: Buffer[] = [];
  let held = 0;
  /** Bytes to have before it is worth looking. */
  let wanted = 5;
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      if (refused !== undefined) throw refused;
      parts.push(chunk);
      held += chunk.length;
      if (held < wanted) continue;
      let bytes = parts.length === 1 ? chunk : Buffer.concat(parts);
      wanted = 5;
      while (bytes.length >= 5) {
        const length = bytes.readUInt32BE(1);
        if (bytes[0] !== 0) throw fault('a compressed message, which was not asked for', false);
        if (length > MAX_MESSAGE_BYTES) throw fault(`a message of ${Math.floor(length / 2 ** 20)} MiB`, false);
        wanted = 5 + length;
        if (bytes.length < wanted) break;
        const message = bytes.subarray(5, wanted);
        bytes = bytes.subarray(wanted);
        wanted = 5;
        yield message;
      }
      parts = bytes.length === 0 ? [] : [bytes];
      held = bytes.length;
    }
  } catch (error) {
    if (isGrpcFault(error)) throw error;
    throw fault(safeText(messageOf(error)), true);
  } finally {
    if (!stream.closed) stream.close(constants.NGHTTP2_CANCEL);
  }
  if (refused !== undefined) throw refused;
  const code = Number(status['grpc-status'] ?? NaN);
  if (Number.isNaN(code)) throw fault('the connection broke', true);
  if (code !== 0)
    throw fault(
      `it answered ${CODES[code] ?? code}: ${safeText(unescapeMessage(String(status['grpc-message'] ?? '')))}`,
      TRANSIENT.has(code),
    );
  if (held > 0) throw fault('the answer breaks off', true);
}

/** Percent-encoded UTF-8. */
function unescapeMessage(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
