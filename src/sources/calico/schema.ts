import type { Verdict3 } from '../../model/edge.ts';
import type { Flow, RawEnd } from '../../model/flow.ts';
import type { Ends, Raw } from '../ends.ts';
import { countAt, isRaw, labelsOf, parseProtocol, portAt, textAt } from '../ends.ts';
import { flowOf } from '../flow.ts';
import { parseTime } from '../time.ts';

export type CalicoRecord =
  | { readonly kind: 'flow'; readonly flow: Flow }
  | { readonly kind: 'ignored'; readonly reason: string; readonly first: number; readonly last: number }
  | { readonly kind: 'bad'; readonly message: string };

/** goldmane/proto/api.proto: EndpointType, Action, Reporter, as Go's encoding/json writes them. */
const TYPES = ['', 'wep', 'hep', 'ns', 'net'];
const ACTIONS = ['', 'allow', 'deny', 'pass'];
const REPORTERS = ['', 'src', 'dst'];
/** The columns of the older flow log, which has no names in it. */
const COLUMNS = [
  'start_time',
  'end_time',
  'source_type',
  'source_namespace',
  'source_name',
  'source_labels',
  'dest_type',
  'dest_namespace',
  'dest_name',
  'dest_labels',
  'source_ip',
  'dest_ip',
  'proto',
  'source_port',
  'dest_port',
  'num_flows',
  'num_flows_started',
  'num_flows_completed',
  'reporter',
  'packets_in',
  'packets_out',
  'bytes_in',
  'bytes_out',
  'action',
];

/** A line of the older log under the names of the newer one; undefined for any other line. */
export function parseColumns(line: string): Raw | undefined {
  const words = line.trim().split(/\s+/);
  if (words.length !== COLUMNS.length || !/^\d{9,10}$/.test(words[0] ?? '')) return undefined;
  return Object.fromEntries(COLUMNS.map((column, index) => [column, words[index] ?? '-']));
}

/**
 * One flow of Calico, in any of its spellings: the flow log of Enterprise and Cloud, the older columns, Goldmane through grpcurl
 * (camel case, names of enums) or its emitter (snake case, numbers of enums), and Whisker. Destinations stand behind NAT, and
 * the opener is the source, by Calico's own connection tracking.
 */
export function parseCalicoFlow(value: unknown, ends: Ends): CalicoRecord {
  if (!isRaw(value)) return { kind: 'bad', message: 'not a JSON object' };
  const flow = flatten(value);
  const first = timeAt(flow, 'start_time');
  const last = timeAt(flow, 'end_time');
  if (first === undefined || last === undefined) return { kind: 'bad', message: 'no "start_time" and "end_time"' };
  if (last < first) return { kind: 'bad', message: '"end_time" is before "start_time"' };
  const ignored = (reason: string): CalicoRecord => ({ kind: 'ignored', reason, first, last });
  const given = flow['proto'] ?? flow['protocol'];
  if (typeof given !== 'string' && typeof given !== 'number') return { kind: 'bad', message: 'no "proto"' };
  const protocol = parseProtocol(given);
  if (protocol === undefined)
    return ignored(/^(?:icmp.*|1|58)$/i.test(String(given)) ? 'ICMP' : 'a protocol without ports');
  const action = wordAt(flow, 'action', ACTIONS);
  if (action !== 'allow' && action !== 'deny') return { kind: 'bad', message: '"action" is neither allow nor deny' };
  const port = portAt(flow, 'dest_port');
  if (port === undefined) return ignored('no port of the destination');
  const reporter = wordAt(flow, 'reporter', REPORTERS);
  const started =
    countAt(flow, 'num_flows_started') ?? countAt(flow, 'num_connections_started') ?? countAt(flow, 'num_flows');
  const srcPort = portAt(flow, 'source_port');
  const verdict: Verdict3 = action === 'deny' ? 'denied' : wouldDeny(flow['policies']) ? 'audit' : 'allowed';
  return {
    kind: 'flow',
    flow: flowOf({
      first,
      last,
      src: endOf(flow, 'source', ends),
      dst: endOf(flow, 'dest', ends),
      protocol,
      ...(srcPort === undefined ? {} : { srcPort }),
      port,
      verdict,
      view:
        reporter === 'src' || reporter === 'out'
          ? 'egress'
          : reporter === 'dst' || reporter === 'in'
            ? 'ingress'
            : 'unknown',
      stage: started === 0 && action === 'allow' ? 'ongoing' : 'open',
      count: Math.max(1, started ?? 1),
      source: 'calico',
    }),
  };
}

/** Goldmane's key beside the rest of the flow, and snake case throughout. */
function flatten(value: Raw): Raw {
  const flow = isRaw(value['flow']) ? value['flow'] : value;
  const key = flow['Key'];
  const all = isRaw(key) ? { ...flow, ...key } : flow;
  return Object.fromEntries(
    Object.entries(all).map(([name, one]) => [name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), one]),
  );
}

function timeAt(flow: Raw, key: string): number | undefined {
  const seconds = countAt(flow, key);
  if (seconds !== undefined) return seconds * 1000;
  const text = flow[key];
  return typeof text === 'string' ? parseTime(text) : undefined;
}

/** An enum by its number or its name, in lower case. */
function wordAt(flow: Raw, key: string, names: readonly string[]): string | undefined {
  const value = flow[key];
  if (typeof value === 'number') return names[value];
  return typeof value === 'string' ? value.toLowerCase() : undefined;
}

const END_TYPES: Readonly<Record<string, string>> = {
  workloadendpoint: 'wep',
  hostendpoint: 'hep',
  networkset: 'ns',
  network: 'net',
};

function endOf(flow: Raw, side: 'source' | 'dest', ends: Ends): RawEnd {
  const stated = wordAt(flow, `${side}_type`, TYPES) ?? '';
  const namespace = textAt(flow, `${side}_namespace`);
  const type = END_TYPES[stated] ?? (stated === '' ? (namespace === undefined ? 'net' : 'wep') : stated);
  const ip = textAt(flow, `${side}_ip`);
  const at = ip === undefined ? {} : { ip };
  if (type === 'hep') return ends({ ...at, reserved: ['host'] });
  const name = textAt(flow, `${side}_name`) ?? textAt(flow, `${side}_name_aggr`);
  if (type === 'net' || type === 'ns') {
    const domains = side === 'dest' ? flow['dest_domains'] : undefined;
    const names = Array.isArray(domains)
      ? domains.filter((one): one is string => typeof one === 'string' && one !== '')
      : [];
    // `pvt` is a private address, or a pod that Calico did not know yet.
    return ends({
      ...at,
      ...(name === 'pub' || type === 'ns' ? { reserved: ['world'] } : {}),
      names: names.map(lower),
    });
  }
  const labels = labelsAt(flow[`${side}_labels`]);
  const common = {
    ...at,
    ...(namespace === undefined ? {} : { namespace }),
    ...(labels === undefined ? {} : { labels }),
  };
  if (name === undefined) return ends(common);
  const prefix = [name, textAt(flow, `${side}_name_aggr`) ?? ''].find((one) => one.endsWith('*'));
  const owner = prefix === undefined ? undefined : ownerOf(prefix.replace(/-?\*$/, ''));
  return ends({
    ...common,
    ...(name.endsWith('*') ? {} : { pod: name }),
    ...(owner === undefined ? {} : { workload: owner }),
  });
}

function lower(name: string): string {
  return name.replace(/\.$/, '').toLowerCase();
}

/** Names are cut to what their controller generates pods from: the ReplicaSet's name, the Job's, or that of anything else. */
function ownerOf(name: string): RawEnd['workload'] {
  if (/-(?:\d{8}|\d{10})$/.test(name)) return { kind: 'Job', name };
  if (/-[bcdfghjklmnpqrstvwxz2456789]{5,10}$/.test(name)) return { kind: 'ReplicaSet', name };
  return { kind: '', name };
}

/** A list of `k=v`, `{labels: [...]}`, or Whisker's one text. */
function labelsAt(value: unknown): RawEnd['labels'] | undefined {
  const list = isRaw(value) ? value['labels'] : typeof value === 'string' && value !== '-' ? value.split(' | ') : value;
  return Array.isArray(list) && list.length > 0 ? labelsOf(list) : undefined;
}

/** Would the staged policies, if they were enforced, deny it? The last hit decides (policies are listed in no order). */
function wouldDeny(policies: unknown): boolean {
  if (!isRaw(policies)) return false;
  const pending = policies['pending_policies'] ?? policies['pendingPolicies'] ?? policies['pending'];
  if (!Array.isArray(pending)) return false;
  const hits = pending.flatMap((hit: unknown): readonly (readonly [number, string])[] => {
    if (typeof hit === 'string') {
      const parts = hit.split('|');
      return [[Number(parts[0] ?? 0), (parts[3] ?? '').toLowerCase()]];
    }
    if (!isRaw(hit)) return [];
    const at = countAt(hit, 'policy_index') ?? countAt(hit, 'policyIndex') ?? 0;
    return [[at, wordAt(hit, 'action', ACTIONS) ?? '']];
  });
  return hits.sort(([a], [b]) => a - b).at(-1)?.[1] === 'deny';
}
