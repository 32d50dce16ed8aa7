import type { Edge } from '../model/edge.ts';
import type { World } from '../model/evaluate.ts';
import { transportOf } from '../model/evaluate.ts';
import type { Workload } from '../model/inventory.ts';
import type { JsonObject } from '../shared/pure/json.ts';
import { asBoolean, asObject } from '../shared/pure/json.ts';
import { compareText, groupBy } from '../shared/pure/order.ts';
import type { SpecOf } from './input.ts';
import { containersOf, round } from './input.ts';
import { counted } from './words.ts';
import type { IdentitiesSection, RiskFactor, RiskRow, RiskSection, RiskValue } from './model.ts';
import type { NotCounted, Reach } from './surface.ts';

/** What a sort of data is worth to somebody who should not have it, 0 to 1. */
export const SENSITIVITY_VALUE: Readonly<Record<string, number>> = {
  'private-keys': 1,
  credentials: 1,
  'personal-data': 0.9,
  'code-execution': 0.8,
  'training-data': 0.7,
  models: 0.7,
  'inference-data': 0.7,
  features: 0.5,
  embeddings: 0.5,
  experiments: 0.2,
  metadata: 0.2,
  events: 0.2,
  telemetry: 0.2,
};

export const RISK_FACTORS: readonly RiskFactor[] = [
  {
    id: 'sensitivity',
    weight: 30,
    title: 'What it handles',
    rule: 'the highest value among what it handles (private keys and credentials 1, personal data 0.9, running code of others 0.8, training data, models and inference data 0.7, features and embeddings 0.5, the rest 0.2), plus 0.05 for each further sort, at most 1; not known where the workload is not recognised',
  },
  {
    id: 'exposure',
    weight: 20,
    title: 'Who can reach it now',
    rule: 'the share of the other workloads that can open a connection to it on some port, as the policies now stand',
  },
  {
    id: 'outside',
    weight: 15,
    title: 'Reached from outside',
    rule: '1 where something outside the cluster reaches it or an entrance leads to it and nothing there was found to ask who is calling, 0.5 where something asks, else 0',
  },
  {
    id: 'identity',
    weight: 15,
    title: 'Identities and keys',
    rule: '0.4 for a literal credential, 0.3 for other long-lived credentials that its pods can read, 0.3 for a shared or default account, 0.5 for an account with great rights; added, at most 1',
  },
  {
    id: 'plaintext',
    weight: 10,
    title: 'Plaintext',
    rule: 'the share of its TCP edges on record that do not travel by mTLS as things are; not known without a TCP edge on record',
  },
  {
    id: 'host',
    weight: 10,
    title: 'Near the node',
    rule: '1 for a privileged container, hostPID or hostIPC, 0.7 for the host network, else 0; not known where its pods cannot be foreseen',
  },
];

export const RISK_FORMULA =
  'score = sum over the factors of weight x value. Each value lies between 0 and 1, the weights add up to 100, and a value that is not known counts 0.5 and is said.';

export interface RiskInput {
  readonly workloads: readonly Workload[];
  readonly node: ReadonlyMap<string, number>;
  readonly edges: readonly Edge[];
  readonly world: World;
  readonly reach: Reach | NotCounted;
  readonly identities: IdentitiesSection;
  readonly specs: readonly SpecOf[];
}

/** The workloads in the order of what an attacker gains by them, with every figure of the formula. */
export function buildRisk(input: RiskInput): RiskSection {
  const facts = gather(input);
  const rows = input.workloads
    .map((workload) => {
      const values = RISK_FACTORS.map((factor): RiskValue => {
        const { value, because } = facts(factor.id, workload);
        const rounded = value === null ? null : round(value, 3);
        return { factor: factor.id, value: rounded, points: round(factor.weight * (rounded ?? 0.5), 2), because };
      });
      const score = round(
        values.reduce((sum, one) => sum + one.points, 0),
        1,
      );
      return { workload: workload.id, node: input.node.get(workload.id) ?? -1, score, values };
    })
    .sort((a, b) => b.score - a.score || compareText(a.workload, b.workload))
    .map((row, index): RiskRow => ({ rank: index + 1, ...row }));
  return { formula: RISK_FORMULA, factors: RISK_FACTORS, rows };
}

interface Valued {
  readonly value: number | null;
  readonly because: string;
}

function gather(input: RiskInput): (factor: string, workload: Workload) => Valued {
  const inbound = new Map(
    input.reach.kind === 'counted' ? input.reach.exposed.map((one) => [one.workload, one.from]) : [],
  );
  const others = Math.max(1, input.workloads.length - 1);
  const fromOutside = new Set(
    input.edges.flatMap((edge) => (edge.src.kind === 'external' && edge.dst.kind === 'workload' ? [edge.dst.id] : [])),
  );
  const entrances = new Map<string, 'asked' | 'open'>();
  for (const one of input.identities.entrances)
    for (const id of one.leadsTo)
      if (entrances.get(id) !== 'open') entrances.set(id, one.authentication === 'none-found' ? 'open' : 'asked');
  const keys = groupBy(input.identities.keys, (one) => one.workload);
  const accounts = new Map<
    string,
    { readonly shared: boolean; readonly isDefault: boolean; powerful: readonly string[] }[]
  >();
  for (const account of input.identities.accounts)
    for (const id of account.workloads) {
      const list = accounts.get(id);
      if (list === undefined) accounts.set(id, [account]);
      else list.push(account);
    }
  const specs = groupBy(input.specs, ({ workload }) => workload.id);
  const tcp = new Map<string, { edges: number; bare: number }>();
  for (const edge of input.edges) {
    if (edge.protocol !== 'TCP') continue;
    const bare = transportOf(input.world, edge.src, edge.dst, edge.port).kind !== 'mtls';
    for (const end of [edge.src, edge.dst]) {
      if (end.kind !== 'workload') continue;
      const row = tcp.get(end.id) ?? { edges: 0, bare: 0 };
      row.edges += 1;
      if (bare) row.bare += 1;
      tcp.set(end.id, row);
    }
  }
  return (factor, workload) => {
    switch (factor) {
      case 'sensitivity':
        return sensitivityOf(workload);
      case 'exposure':
        return input.reach.kind === 'counted'
          ? {
              value: (inbound.get(workload.id) ?? 0) / others,
              because: `${inbound.get(workload.id) ?? 0} of ${counted(others, 'other workload')} can reach it`,
            }
          : { value: null, because: input.reach.because };
      case 'outside':
        return outsideOf(entrances.get(workload.id), fromOutside.has(workload.id));
      case 'identity':
        return identityOf(keys.get(workload.id) ?? [], accounts.get(workload.id) ?? []);
      case 'plaintext': {
        const row = tcp.get(workload.id);
        return row === undefined
          ? { value: null, because: 'no TCP edge of it is on record' }
          : { value: row.bare / row.edges, because: `${row.bare} of ${counted(row.edges, 'TCP edge')} without mTLS` };
      }
      default:
        return hostOf(
          workload,
          (specs.get(workload.id) ?? []).map(({ spec }) => spec),
        );
    }
  };
}

function sensitivityOf({ classification }: Workload): Valued {
  if (classification.component === 'unknown' || classification.sensitivity.includes('unknown'))
    return { value: null, because: 'what it handles is not known' };
  const values = classification.sensitivity.map((sort) => SENSITIVITY_VALUE[sort] ?? 0.2);
  if (values.length === 0) return { value: 0, because: 'nothing sensitive is known of its component' };
  return {
    value: Math.min(1, Math.max(...values) + 0.05 * (values.length - 1)),
    because: classification.sensitivity.join(', '),
  };
}

function outsideOf(entrance: 'asked' | 'open' | undefined, seen: boolean): Valued {
  if (entrance === 'asked')
    return { value: 0.5, because: 'an entrance leads to it, and something there asks who is calling' };
  if (entrance === 'open')
    return { value: 1, because: 'an entrance leads to it, and nothing was found that asks who is calling' };
  if (seen) return { value: 1, because: 'connections from outside are on record' };
  return { value: 0, because: 'no entrance leads to it and nothing from outside is on record' };
}

function identityOf(
  keys: IdentitiesSection['keys'],
  accounts: readonly { readonly shared: boolean; readonly isDefault: boolean; readonly powerful: readonly string[] }[],
): Valued {
  const literal = keys.some((one) => one.how === 'env-literal');
  // The kubelet's own, which no pod can read.
  const other = keys.some((one) => one.how !== 'env-literal' && one.how !== 'image-pull');
  const shared = accounts.some((one) => one.shared || one.isDefault);
  const powerful = accounts.some((one) => one.powerful.length > 0);
  const because = [
    ...(literal ? ['a literal credential'] : []),
    ...(other ? ['long-lived credentials'] : []),
    ...(shared ? ['a shared or default account'] : []),
    ...(powerful ? ['an account with great rights'] : []),
  ];
  const value = (literal ? 0.4 : 0) + (other ? 0.3 : 0) + (shared ? 0.3 : 0) + (powerful ? 0.5 : 0);
  return {
    value: Math.min(1, value),
    because: because.length === 0 ? 'an account of its own, no keys found' : because.join(', '),
  };
}

export function isPrivileged(spec: JsonObject): boolean {
  return containersOf(spec).some((one) => asBoolean(asObject(one['securityContext'])['privileged']) === true);
}

function hostOf(workload: Workload, specs: readonly JsonObject[]): Valued {
  const has = (field: string): boolean => specs.some((spec) => asBoolean(spec[field]) === true);
  const near = [
    ...(specs.some(isPrivileged) ? ['a privileged container'] : []),
    ...(has('hostPID') ? ['hostPID'] : []),
    ...(has('hostIPC') ? ['hostIPC'] : []),
  ];
  if (near.length > 0) return { value: 1, because: near.join(', ') };
  if (workload.podSets.some((podSet) => podSet.hostNetwork)) return { value: 0.7, because: 'the host network' };
  if (workload.podSets.length === 0) return { value: null, because: 'its pods cannot be foreseen' };
  return { value: 0, because: 'nothing of the node' };
}
