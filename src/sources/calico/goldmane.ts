import { createHash } from 'node:crypto';
import type { Grpc } from '../grpc/call.ts';
import type { GrpcAsk, GrpcFlows, GrpcRecord } from '../grpc/feed.ts';
import { decoded } from '../grpc/feed.ts';
import type { Message } from '../grpc/wire.ts';
import { decodeMessage, encodeField, readFields } from '../grpc/wire.ts';

/** Goldmane sums by fifteen seconds, and hands a sum over when it is reasonably sure to be whole. */
const INTERVAL_S = 15n;
const WHOLE_AFTER_S = 2n * INTERVAL_S;
const SECOND = 1_000_000_000n;

/* Numbers of the fields that the parser looks at: calico v3.30 goldmane/proto/api.proto. */
const HIT: Message = {
  fields: {
    1: ['kind', 'number'],
    2: ['namespace', 'string'],
    3: ['name', 'string'],
    4: ['tier', 'string'],
    5: ['action', 'number'],
    6: ['policy_index', 'number'],
    7: ['rule_index', 'number'],
  },
};
const KEY: Message = {
  fields: {
    1: ['source_name', 'string'],
    2: ['source_namespace', 'string'],
    3: ['source_type', 'number'],
    4: ['dest_name', 'string'],
    5: ['dest_namespace', 'string'],
    6: ['dest_type', 'number'],
    7: ['dest_port', 'number'],
    8: ['dest_service_name', 'string'],
    9: ['dest_service_namespace', 'string'],
    10: ['dest_service_port_name', 'string'],
    11: ['dest_service_port', 'number'],
    12: ['proto', 'string'],
    13: ['reporter', 'number'],
    14: ['action', 'number'],
    15: ['policies', { fields: { 1: ['enforced_policies', { list: HIT }], 2: ['pending_policies', { list: HIT }] } }],
  },
};
const FLOW: Message = {
  fields: {
    1: ['Key', KEY],
    2: ['start_time', 'number'],
    3: ['end_time', 'number'],
    4: ['source_labels', { list: 'string' }],
    5: ['dest_labels', { list: 'string' }],
    6: ['packets_in', 'number'],
    7: ['packets_out', 'number'],
    8: ['bytes_in', 'number'],
    9: ['bytes_out', 'number'],
    10: ['num_connections_started', 'number'],
    11: ['num_connections_completed', 'number'],
    12: ['num_connections_live', 'number'],
  },
};

/** FlowResult: an id that is worth nothing after a restart, and the flow. */
function* readResult(bytes: Uint8Array): Generator<GrpcRecord> {
  for (const [number, value] of readFields(bytes)) {
    if (number !== 2 || typeof value === 'bigint') continue;
    let key: Uint8Array = Buffer.alloc(0);
    for (const [field, one] of readFields(value)) if (field === 1 && typeof one !== 'bigint') key = one;
    const flow = decodeMessage(value, FLOW);
    const given = flow['start_time'];
    const start = typeof given === 'number' ? BigInt(given) : 0n;
    // Statistics of a sum may grow by what arrives late; what it is a sum of does not change.
    const id = createHash('sha1').update(key).update(String(start)).digest('base64').slice(0, 14);
    yield { kind: 'record', node: '', time: start * SECOND, id, line: JSON.stringify(flow) };
  }
}

async function* stream(grpc: Grpc, since: bigint): AsyncGenerator<GrpcRecord> {
  // FlowStreamRequest: start_time_gte, aggregation_interval.
  const request = Buffer.concat([encodeField(1, since), encodeField(3, INTERVAL_S)]);
  for await (const message of grpc.call('/goldmane.Flows/Stream', request)) yield* decoded(message, readResult);
}

/** FlowListResult. */
function* readResults(bytes: Uint8Array): Generator<GrpcRecord> {
  for (const [number, value] of readFields(bytes))
    if (number === 2 && typeof value !== 'bigint') yield* decoded(value, readResult);
}

/** Interval by interval, so that what is listed and what is streamed are the same sums. None of them is large enough for pages. */
async function* list(grpc: Grpc, since: bigint, until: bigint): AsyncGenerator<GrpcRecord> {
  for (let from = since; from + INTERVAL_S <= until; from += INTERVAL_S) {
    // FlowListRequest: start_time_gte, start_time_lt, aggregation_interval.
    const request = Buffer.concat([
      encodeField(1, from),
      encodeField(2, from + INTERVAL_S),
      encodeField(7, INTERVAL_S),
    ]);
    for await (const message of grpc.call('/goldmane.Flows/List', request)) yield* decoded(message, readResults);
  }
}

async function* read(grpc: Grpc, ask: GrpcAsk): AsyncGenerator<GrpcRecord> {
  // Up to the next interval: of the one before, a part may have been handed over and forgotten.
  const seconds = (ask.since + SECOND - 1n) / SECOND;
  const since = ((seconds + INTERVAL_S - 1n) / INTERVAL_S) * INTERVAL_S;
  if (ask.until === undefined) yield* stream(grpc, since);
  else yield* list(grpc, since, ask.until / SECOND - WHOLE_AFTER_S);
}

/** Goldmane, which keeps an hour. */
export const goldmane: GrpcFlows = {
  where: 'svc/goldmane in calico-system, port 7443',
  defaultPort: 7443,
  defaultSinceMs: 3_600_000,
  rememberNs: 2n * WHOLE_AFTER_S * SECOND,
  read,
};
