import { createHash } from 'node:crypto';
import type { Grpc } from '../grpc/call.ts';
import type { GrpcAsk, GrpcFlows, GrpcRecord } from '../grpc/feed.ts';
import { decoded } from '../grpc/feed.ts';
import type { FieldType, Message } from '../grpc/wire.ts';
import { decodeMessage, encodeField, encodeTime, readFields, timeText, timestampOf } from '../grpc/wire.ts';

/*
 * Numbers of the fields that the parser looks at: cilium v1.20 api/v1/flow/flow.proto, api/v1/observer/observer.proto and
 * api/v1/relay/relay.proto, the same back to v1.15 where they exist there.
 */
const PORTS = { 1: ['source_port', 'number'], 2: ['destination_port', 'number'] } as const;
const ENDPOINT: Message = {
  fields: {
    1: ['ID', 'number'],
    2: ['identity', 'number'],
    3: ['namespace', 'string'],
    4: ['labels', { list: 'string' }],
    5: ['pod_name', 'string'],
    6: ['workloads', { list: { fields: { 1: ['name', 'string'], 2: ['kind', 'string'] } } }],
    7: ['cluster_name', 'string'],
  },
};
const SERVICE: Message = { fields: { 1: ['name', 'string'], 2: ['namespace', 'string'] } };
const ICMP: Message = { fields: { 1: ['type', 'number'], 2: ['code', 'number'] } };
const POINTS: FieldType = {
  names: {
    1: 'TO_PROXY',
    2: 'TO_HOST',
    3: 'TO_STACK',
    4: 'TO_OVERLAY',
    5: 'FROM_ENDPOINT',
    6: 'FROM_PROXY',
    7: 'FROM_HOST',
    8: 'FROM_STACK',
    9: 'FROM_OVERLAY',
    10: 'FROM_NETWORK',
    11: 'TO_NETWORK',
    12: 'FROM_CRYPTO',
    13: 'TO_CRYPTO',
    101: 'TO_ENDPOINT',
  },
};
const FLAGS: Message = {
  fields: { 1: ['FIN', 'bool'], 2: ['SYN', 'bool'], 3: ['RST', 'bool'], 4: ['PSH', 'bool'], 5: ['ACK', 'bool'] },
};
const FLOW: Message = {
  fields: {
    1: ['time', 'time'],
    2: ['verdict', 'number'],
    3: ['drop_reason', 'number'],
    5: [
      'IP',
      {
        fields: {
          1: ['source', 'string'],
          2: ['destination', 'string'],
          4: ['encrypted', 'bool'],
          5: ['source_xlated', 'string'],
        },
      },
    ],
    6: [
      'l4',
      {
        fields: {
          1: ['TCP', { fields: { ...PORTS, 3: ['flags', FLAGS] } }],
          2: ['UDP', { fields: PORTS }],
          3: ['ICMPv4', ICMP],
          4: ['ICMPv6', ICMP],
          5: ['SCTP', { fields: PORTS }],
        },
      },
    ],
    8: ['source', ENDPOINT],
    9: ['destination', ENDPOINT],
    10: ['Type', 'number'],
    11: ['node_name', 'string'],
    13: ['source_names', { list: 'string' }],
    14: ['destination_names', { list: 'string' }],
    15: [
      'l7',
      {
        fields: {
          1: ['type', 'number'],
          100: [
            'dns',
            {
              fields: {
                1: ['query', 'string'],
                2: ['ips', { list: 'string' }],
                4: ['cnames', { list: 'string' }],
                5: ['observation_source', 'string'],
                6: ['rcode', 'number'],
                7: ['qtypes', { list: 'string' }],
                8: ['rrtypes', { list: 'string' }],
              },
            },
          ],
          101: [
            'http',
            {
              fields: {
                1: ['code', 'number'],
                2: ['method', 'string'],
                3: ['url', 'string'],
                4: ['protocol', 'string'],
              },
            },
          ],
        },
      },
    ],
    16: ['reply', 'bool'],
    19: ['event_type', { fields: { 1: ['type', 'number'], 2: ['sub_type', 'number'] } }],
    20: ['source_service', SERVICE],
    21: ['destination_service', SERVICE],
    22: ['traffic_direction', 'number'],
    23: ['policy_match_type', 'number'],
    24: ['trace_observation_point', POINTS],
    25: ['drop_reason_desc', 'number'],
    26: ['is_reply', 'bool-value'],
    29: ['proxy_port', 'number'],
    31: ['sock_xlate_point', 'number'],
    34: ['uuid', 'string'],
    21007: [
      'aggregate',
      {
        fields: {
          1: ['ingress_flow_count', 'number'],
          2: ['egress_flow_count', 'number'],
          3: ['unknown_direction_flow_count', 'number'],
        },
      },
    ],
  },
};
const LOST: Message = {
  fields: { 1: ['source', 'number'], 2: ['num_events_lost', 'number'], 4: ['first', 'time'], 5: ['last', 'time'] },
};
const NODE_STATUS: Message = {
  fields: { 1: ['state_change', 'number'], 2: ['node_names', { list: 'string' }], 3: ['message', 'string'] },
};
const CONNECTED = 1;

/** GetFlowsResponse: flow, node_status, lost_events; node_name; time. */
function* readResponse(bytes: Uint8Array): Generator<GrpcRecord> {
  let node = '';
  let time: bigint | undefined;
  let inner: readonly [number, Uint8Array] | undefined;
  for (const [number, value] of readFields(bytes)) {
    if (typeof value === 'bigint') continue;
    if (number === 1000) node = Buffer.from(value).toString('utf8');
    else if (number === 1001) time = timestampOf(value);
    else if (number <= 3) inner = [number, value];
  }
  if (inner === undefined) return;
  const [kind, value] = inner;
  if (kind === 2) {
    const status = decodeMessage(value, NODE_STATUS);
    const names = (status['node_names'] ?? []) as readonly string[];
    const why = typeof status['message'] === 'string' ? status['message'] : 'the relay has no connection to it';
    // What the message leaves open begins with what was heard last.
    for (const name of names)
      yield { kind: 'node', node: name, up: status['state_change'] === CONNECTED, time: time ?? 0n, why };
    return;
  }
  const body = kind === 1 ? { flow: decodeMessage(value, FLOW) } : { lost_events: decodeMessage(value, LOST) };
  if (time === undefined && kind === 1)
    for (const [number, one] of readFields(value)) if (number === 1 && typeof one !== 'bigint') time = timestampOf(one);
  const at = time ?? 0n;
  // Of the whole record: its uuid alone is no proof, since not everything that speaks this protocol makes one.
  const id = createHash('sha1').update(`${node}\n${at}\n`).update(value).digest('base64').slice(0, 14);
  const line = JSON.stringify({ ...body, node_name: node, ...(time === undefined ? {} : { time: timeText(time) }) });
  yield { kind: 'record', node, time: at, id, line };
}

async function* read(grpc: Grpc, ask: GrpcAsk): AsyncGenerator<GrpcRecord> {
  // GetFlowsRequest: follow, since, until.
  const request = Buffer.concat([
    ...(ask.until === undefined ? [encodeField(3, 1n)] : []),
    encodeField(7, encodeTime(ask.since)),
    ...(ask.until === undefined ? [] : [encodeField(8, encodeTime(ask.until))]),
  ]);
  for await (const message of grpc.call('/observer.Observer/GetFlows', request)) yield* decoded(message, readResponse);
}

/** Hubble Relay, or a single agent's own server. */
export const hubbleRelay: GrpcFlows = {
  where: 'svc/hubble-relay in kube-system, port 80',
  defaultPort: 80,
  defaultSinceMs: 86_400_000,
  rememberNs: 0n,
  read,
};
