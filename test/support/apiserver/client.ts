// A small HTTP client for an API server: what the test harness needs, without the client library of the product.
import { Agent, request as httpsRequest } from 'node:https';
import type { IncomingHttpHeaders } from 'node:http';

export interface ApiResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The parsed body; undefined if it is not JSON. */
  readonly body: unknown;
}

export interface ApiClient {
  readonly url: string;
  readonly token: string;
  /** The certificates that the client trusts. */
  readonly caPem: string;
  /**
   * Sends one request and returns the answer whatever its status. A string is sent as it is, anything else as JSON; the
   * default content type is JSON, for PATCH a merge patch. Fails only if no answer comes (20 s).
   */
  request(method: string, path: string, body?: unknown, contentType?: string): Promise<ApiResponse>;
  /** As request, but an answer of 400 or above is an error that says what was asked and answered. */
  must(method: string, path: string, body?: unknown, contentType?: string): Promise<ApiResponse>;
  /** The same server, asked with another token. */
  as(token: string): ApiClient;
  close(): void;
}

export class ApiError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
  }
}

/** Where an API server is and how to get in; plain data that fits into any message. */
export interface Login {
  readonly url: string;
  readonly caPem: string;
  readonly token: string;
}

/** A client of the API server at url that trusts the given PEM certificates only. */
export function connect(target: Login): ApiClient {
  const agent = new Agent({ keepAlive: true, maxSockets: 16, ca: target.caPem });
  return clientOf(target, agent);
}

function clientOf(login: Login, agent: Agent): ApiClient {
  const { url, caPem, token } = login;
  const request: ApiClient['request'] = (method, path, body, contentType) =>
    sendOnce(agent, url + path, method, token, body, contentType);
  return {
    url,
    token,
    caPem,
    request,
    must: async (method, path, body, contentType) => {
      const response = await request(method, path, body, contentType);
      if (response.status < 400) return response;
      throw new ApiError(response.status, `${method} ${path}: ${response.status} ${messageOf(response)}`);
    },
    as: (other) => clientOf({ ...login, token: other }, agent),
    close: () => agent.destroy(),
  };
}

function messageOf(response: ApiResponse): string {
  const { body } = response;
  if (typeof body === 'object' && body !== null && 'message' in body && typeof body.message === 'string')
    return body.message;
  return response.text.slice(0, 500);
}

function sendOnce(
  agent: Agent,
  url: string,
  method: string,
  token: string,
  body: unknown,
  contentType: string | undefined,
): Promise<ApiResponse> {
  const payload = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
  const headers: Record<string, string> = { authorization: `Bearer ${token}`, accept: 'application/json' };
  if (payload !== undefined) {
    headers['content-type'] = contentType ?? (method === 'PATCH' ? 'application/merge-patch+json' : 'application/json');
    headers['content-length'] = String(Buffer.byteLength(payload));
  }
  return new Promise((resolve, reject) => {
    const outgoing = httpsRequest(url, { method, agent, headers, timeout: 20_000 }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('error', reject);
      incoming.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, text, body: parseJson(text) });
      });
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error(`${method} ${url}: no answer within 20 s`)));
    outgoing.on('error', (error) => {
      // An idle connection that the server closed in the meantime: the request never reached it.
      if (outgoing.reusedSocket && 'code' in error && error.code === 'ECONNRESET') {
        sendOnce(agent, url, method, token, body, contentType).then(resolve, reject);
      } else reject(error);
    });
    outgoing.end(payload);
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
