// The kubelet's end of `pods/portforward` over a WebSocket: two channels for the port, data and errors, each of which begins with the number of the
// port in two bytes (kubernetes/kubelet, pkg/cri/streaming/portforward/websocket.go).
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Server } from 'node:https';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { LoggedCall } from './server.ts';

/** A port of this machine, or a status that the handshake is refused with; undefined: nobody listens there. */
export type Reach = (
  pod: { readonly namespace: string; readonly name: string },
  port: number,
) => { readonly port: number } | { readonly status: number } | undefined;

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const PROTOCOL = 'v4.channel.k8s.io';

export function servePortForward(server: Server, reach: Reach, calls: LoggedCall[]): void {
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const url = new URL(`https://fake${request.url ?? ''}`);
    const call: LoggedCall = {
      point: calls.length + 1,
      method: request.method ?? '',
      path: url.pathname,
      query: Object.fromEntries(url.searchParams),
      headers: Object.fromEntries(Object.entries(request.headers).map(([key, value]) => [key, String(value)])),
      body: undefined,
      text: '',
      status: 101,
    };
    calls.push(call);
    const refuse = (status: number): void => {
      call.status = status;
      socket.end(`HTTP/1.1 ${status} No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
    };
    const asked = /^\/api\/v1\/namespaces\/([^/]+)\/pods\/([^/]+)\/portforward$/u.exec(url.pathname);
    const port = Number(url.searchParams.get('ports'));
    if (request.headers.authorization !== 'Bearer fake-token') {
      refuse(401);
      return;
    }
    if (asked === null || !Number.isInteger(port)) {
      refuse(404);
      return;
    }
    const there = reach({ namespace: asked[1] ?? '', name: asked[2] ?? '' }, port);
    if (there !== undefined && 'status' in there) {
      refuse(there.status);
      return;
    }
    const accept = createHash('sha1')
      .update(`${request.headers['sec-websocket-key'] ?? ''}${GUID}`)
      .digest('base64');
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${accept}\r\nsec-websocket-protocol: ${PROTOCOL}\r\n\r\n`,
    );
    const number = Buffer.alloc(2);
    number.writeUInt16LE(port);
    send(socket, 0, number);
    send(socket, 1, number);
    if (there === undefined) {
      send(socket, 1, Buffer.from(`error forwarding port ${port} to pod: connection refused`));
      // Nobody reads from here on: without this the end of the client's side would never be seen.
      socket.on('error', () => undefined);
      socket.resume();
      socket.end(Buffer.from([0x88, 0]));
      return;
    }
    carry(socket, head, connect(there.port, '127.0.0.1'));
  });
}

function carry(socket: Duplex, head: Buffer, inner: Socket): void {
  let waiting = head;
  const read = (chunk: Buffer): void => {
    waiting = Buffer.concat([waiting, chunk]);
    for (;;) {
      const frame = takeFrame(waiting);
      if (frame === undefined) return;
      waiting = waiting.subarray(frame.length);
      if (frame.opcode === 8) {
        inner.destroy();
        socket.end();
        return;
      }
      // The first byte is the channel.
      if (frame.opcode === 2 && frame.payload[0] === 0) inner.write(frame.payload.subarray(1));
    }
  };
  socket.on('data', read);
  inner.on('data', (chunk: Buffer) => send(socket, 0, chunk));
  inner.on('close', () => {
    socket.write(Buffer.from([0x88, 0]));
    socket.end();
  });
  inner.on('error', () => undefined);
  socket.on('error', () => inner.destroy());
  socket.on('close', () => inner.destroy());
  read(Buffer.alloc(0));
}

/** One frame from a client, which masks (RFC 6455, 5.2). Messages in several frames do not come from this client. */
function takeFrame(
  bytes: Buffer,
): { readonly opcode: number; readonly payload: Buffer; readonly length: number } | undefined {
  if (bytes.length < 6) return undefined;
  const opcode = (bytes[0] ?? 0) & 0x0f;
  const short = (bytes[1] ?? 0) & 0x7f;
  const extra = short === 126 ? 2 : short === 127 ? 8 : 0;
  if (bytes.length < 2 + extra + 4) return undefined;
  const size = extra === 0 ? short : extra === 2 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  const at = 2 + extra;
  if (bytes.length < at + 4 + size) return undefined;
  const mask = bytes.subarray(at, at + 4);
  const payload = Buffer.from(bytes.subarray(at + 4, at + 4 + size)).map(
    (byte, index) => byte ^ (mask[index % 4] ?? 0),
  );
  return { opcode, payload: Buffer.from(payload), length: at + 4 + size };
}

function send(socket: Duplex, channel: number, data: Buffer): void {
  const payload = Buffer.concat([Buffer.from([channel]), data]);
  const head =
    payload.length < 126 ? Buffer.from([0x82, payload.length]) : Buffer.alloc(payload.length < 65_536 ? 4 : 10);
  if (payload.length >= 126) {
    head[0] = 0x82;
    if (payload.length < 65_536) {
      head[1] = 126;
      head.writeUInt16BE(payload.length, 2);
    } else {
      head[1] = 127;
      head.writeBigUInt64BE(BigInt(payload.length), 2);
    }
  }
  if (!socket.destroyed) socket.write(Buffer.concat([head, payload]));
}
