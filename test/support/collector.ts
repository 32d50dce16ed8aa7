// A collector of OpenTelemetry on loopback that takes traces as OTLP/HTTP in JSON, and nothing that the protocol does not have.
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { z } from 'zod';

const count = z.number().int().min(0);
const hex = (length: number) => z.string().regex(new RegExp(`^[0-9a-f]{${length}}$`));
const nanos = z.string().regex(/^\d{19}$/);
const value = z.union([
  z.strictObject({ stringValue: z.string() }),
  z.strictObject({ boolValue: z.boolean() }),
  z.strictObject({ intValue: z.union([z.number().int(), z.string().regex(/^-?\d+$/)]) }),
  z.strictObject({ doubleValue: z.number() }),
]);
const attributes = z.array(z.strictObject({ key: z.string().min(1), value }));
const link = z.strictObject({
  traceId: hex(32),
  spanId: hex(16),
  traceState: z.string().optional(),
  attributes: attributes.optional(),
  droppedAttributesCount: count.optional(),
  flags: count.optional(),
});
const span = z.strictObject({
  traceId: hex(32),
  spanId: hex(16),
  parentSpanId: hex(16).optional(),
  traceState: z.string().optional(),
  name: z.string().min(1),
  kind: z.number().int().min(1).max(5),
  startTimeUnixNano: nanos,
  endTimeUnixNano: nanos,
  attributes,
  droppedAttributesCount: z.literal(0),
  events: z.array(z.never()),
  droppedEventsCount: z.literal(0),
  links: z.array(link),
  droppedLinksCount: z.literal(0),
  status: z.strictObject({ code: z.number().int().min(0).max(2) }),
  flags: count.optional(),
});
const request = z.strictObject({
  resourceSpans: z.array(
    z.strictObject({
      resource: z.strictObject({ attributes, droppedAttributesCount: count }),
      scopeSpans: z.array(
        z.strictObject({
          scope: z.strictObject({ name: z.string(), version: z.string(), attributes: attributes.optional() }),
          spans: z.array(span),
          schemaUrl: z.string().optional(),
        }),
      ),
      schemaUrl: z.string().optional(),
    }),
  ),
});

export interface TakenSpan extends Omit<z.infer<typeof span>, 'attributes'> {
  readonly is: Readonly<Record<string, string | number | boolean>>;
}

export interface Collector {
  /** The endpoint that all signals share. */
  readonly url: string;
  readonly spans: readonly TakenSpan[];
  readonly resource: Readonly<Record<string, string | number | boolean>>;
  readonly headers: readonly NodeJS.Dict<string | string[]>[];
  /** Everything that came, as it came. */
  readonly text: string;
  /** What the protocol does not have; empty where all was well. */
  readonly wrong: readonly string[];
  close(): Promise<void>;
}

const plain = (list: z.infer<typeof attributes>): Record<string, string | number | boolean> =>
  Object.fromEntries(
    list.map(({ key, value: one }) => [
      key,
      'stringValue' in one
        ? one.stringValue
        : 'boolValue' in one
          ? one.boolValue
          : Number('intValue' in one ? one.intValue : one.doubleValue),
    ]),
  );

/** `answer`: what it says to each request; `never` keeps the connection and says nothing. */
export async function startCollector(answer: number | 'never' = 200): Promise<Collector> {
  const spans: TakenSpan[] = [];
  const wrong: string[] = [];
  const headers: NodeJS.Dict<string | string[]>[] = [];
  let resource = {};
  let text = '';
  const server: Server = createServer((incoming, outgoing) => {
    const pieces: Buffer[] = [];
    incoming.on('data', (piece: Buffer) => pieces.push(piece));
    incoming.on('end', () => {
      if (answer === 'never') return;
      headers.push(incoming.headers);
      const body = Buffer.concat(pieces).toString('utf8');
      text += body;
      if (incoming.method !== 'POST' || incoming.url !== '/v1/traces')
        wrong.push(`${incoming.method ?? ''} ${incoming.url ?? ''}`);
      if (incoming.headers['content-type'] !== 'application/json')
        wrong.push(`content-type ${incoming.headers['content-type'] ?? ''}`);
      const read = request.safeParse(JSON.parse(body));
      if (!read.success) wrong.push(read.error.message);
      else
        for (const one of read.data.resourceSpans) {
          resource = plain(one.resource.attributes);
          for (const { spans: own } of one.scopeSpans)
            for (const { attributes: list, ...rest } of own) spans.push({ ...rest, is: plain(list) });
        }
      outgoing.writeHead(answer, { 'content-type': 'application/json' }).end('{"partialSuccess":{}}');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    get resource() {
      return resource;
    },
    headers,
    get text() {
      return text;
    },
    wrong,
    close: async () => {
      server.closeAllConnections();
      await new Promise<unknown>((resolve) => server.close(resolve));
    },
  };
}
