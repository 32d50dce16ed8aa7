import type { Json, JsonObject } from '../shared/pure/json.ts';
import { isJsonObject } from '../shared/pure/json.ts';
import type { CiliumEntity } from './cilium-policy.ts';
import type { AddressBlock, AddressRange } from './cidr-set.ts';
import { coversAddresses, parseSloppyCidr } from './cidr-set.ts';
import type { Protocol } from './edge.ts';
import type { Finding } from './finding.ts';
import type { KubeManifest, ObjectRef } from './object.ts';
import { formatRef, namespaceOf, refOf } from './object.ts';
import type { PortRange } from './port-set.ts';
import { ALL_PORTS } from './port-set.ts';
import type { Problem } from './problem.ts';
import { refused } from './problem.ts';
import type { Selector } from './selector.ts';
import { isDnsSubdomain, isLabelKey, isLabelValue, parseSelector } from './selector.ts';

export type NetworkPort =
  | ({ readonly kind: 'range'; readonly protocol: Protocol } & PortRange)
  /** A name of the destination's container ports, told apart per pod. */
  | { readonly kind: 'named'; readonly protocol: Protocol; readonly name: string };

export type NetworkPeer =
  | {
      readonly kind: 'pods';
      /** `own`: the namespace of the policy. */
      readonly namespaces: 'own' | Selector;
      readonly pods: Selector;
    }
  | { readonly kind: 'ip-block'; readonly block: AddressBlock }
  /** Cilium only. */
  | { readonly kind: 'entity'; readonly entity: CiliumEntity }
  /** Cilium only: a DNS name, or a pattern with `*`. */
  | { readonly kind: 'name'; readonly pattern: string };

export interface NetworkRule {
  /** Position in the manifest, from 0. */
  readonly index: number;
  readonly ports: 'all' | readonly NetworkPort[];
  readonly peers: 'all' | readonly NetworkPeer[];
  /** Cilium only: why a rule that seems to admit only may. */
  readonly doubt?: string;
}

/** NetworkPolicy v1, read. */
export interface NetworkPolicy {
  readonly ref: ObjectRef;
  /** `NetworkPolicy shop/allow-web` */
  readonly name: string;
  readonly namespace: string;
  readonly selector: Selector;
  /** Rules of a direction that it isolates; undefined where it does not act on that direction. */
  readonly ingress?: readonly NetworkRule[];
  readonly egress?: readonly NetworkRule[];
  /** True where a problem leaves its effect unknown: nothing may be concluded from its rules. */
  readonly broken: boolean;
  /** True where even whom it selects is unknown. */
  readonly selectorBroken: boolean;
  /** Set for a CiliumNetworkPolicy that could be read: to Cilium the own node is a destination like any other. */
  readonly cilium?: true;
  /** Cilium only: the field of the spec where it is not `spec`. */
  readonly specField?: string;
  /** Set for a policy of the cluster, whose namespace is empty: the namespaces that it selects in. */
  readonly subjectNamespaces?: Selector;
  /** Cilium only: directions in which it admits without isolating. */
  readonly opens?: { readonly ingress: boolean; readonly egress: boolean };
}

export interface ParsedNetworkPolicy {
  readonly policy: NetworkPolicy;
  readonly findings: readonly Finding[];
}

const PROTOCOLS: readonly string[] = ['TCP', 'UDP', 'SCTP'];
const PORT_NAME = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/u;

/**
 * Reads a `networking.k8s.io/v1` NetworkPolicy (or its old form in `extensions`). What the API server would refuse
 * (pkg/apis/networking/validation) becomes a finding SP340, a field that is not in the schema SP341, both of which make the
 * policy's effect unknown; what newer API servers refuse and older ones take becomes SP342 and keeps its meaning.
 */
export function parseNetworkPolicy(manifest: KubeManifest): ParsedNetworkPolicy {
  const ref = refOf(manifest);
  const problems: Problem[] = [];
  checkMetadata(manifest.metadata, problems);
  const spec = objectAt(manifest['spec'], 'spec', problems);
  checkFields(spec, 'spec', ['podSelector', 'policyTypes', 'ingress', 'egress'], problems);
  const { selector, problems: selectorProblems } = parseSelector(spec['podSelector'], 'spec.podSelector');
  const ingress = parseRules(spec['ingress'], 'spec.ingress', 'from', problems);
  const egress = parseRules(spec['egress'], 'spec.egress', 'to', problems);
  const types = parseTypes(spec['policyTypes'], egress.length > 0, problems);
  problems.push(...selectorProblems);
  const policy: NetworkPolicy = {
    ref,
    name: formatRef(ref),
    namespace: namespaceOf(manifest) ?? 'default',
    selector,
    ...(types.includes('Ingress') ? { ingress } : {}),
    ...(types.includes('Egress') ? { egress } : {}),
    broken: problems.some(({ kind }) => kind !== 'doubtful'),
    selectorBroken: selectorProblems.length > 0,
  };
  return { policy, findings: problems.map((problem) => toFinding(policy.name, problem)) };
}

function checkMetadata({ name, labels, annotations }: KubeManifest['metadata'], problems: Problem[]): void {
  if (!isDnsSubdomain(name)) {
    problems.push(refused('metadata.name', `${JSON.stringify(name)} is not a name of lower case, digits, - and .`));
  }
  for (const [key, value] of entriesAt(labels, 'metadata.labels', problems)) {
    if (!isLabelKey(key)) problems.push(refused('metadata.labels', `${JSON.stringify(key)} is not a label key`));
    if (typeof value !== 'string' || !isLabelValue(value)) {
      problems.push(refused(`metadata.labels.${key}`, `${JSON.stringify(value)} is not a label value`));
    }
  }
  for (const [key, value] of entriesAt(annotations, 'metadata.annotations', problems)) {
    if (!isLabelKey(key.toLowerCase())) {
      problems.push(refused('metadata.annotations', `${JSON.stringify(key)} is not an annotation key`));
    }
    // Its value may be a secret: the kind of it is all that is said.
    if (typeof value !== 'string') problems.push(refused(`metadata.annotations.${key}`, 'is not a text'));
  }
}

// A null value of a string map reads as the empty text.
function entriesAt(value: Json | undefined, field: string, problems: Problem[]): readonly (readonly [string, Json])[] {
  return Object.entries(objectAt(value, field, problems)).map(([key, item]) => [key, item ?? '']);
}

function toFinding(subject: string, problem: Problem): Finding {
  const message = `${problem.field} ${problem.message}`;
  switch (problem.kind) {
    case 'refused':
      return {
        code: 'SP340',
        severity: 'error',
        subject,
        message: `${message}: the API server refuses this policy`,
        where: problem.field,
        hint: 'Correct the field. Until then every answer about pods that it may select is unknown.',
      };
    case 'unknown-field':
      return {
        code: 'SP341',
        severity: 'error',
        subject,
        message,
        where: problem.field,
        hint: 'Correct the spelling. Until then every answer about pods that it may select is unknown.',
      };
    case 'ambiguous':
    case 'doubtful':
      return { code: 'SP342', severity: 'warning', subject, message, where: problem.field };
  }
}

function objectAt(value: Json | undefined, field: string, problems: Problem[]): JsonObject {
  if (value === undefined || value === null) return {};
  if (isJsonObject(value)) return value;
  problems.push(refused(field, 'is not an object'));
  return {};
}

function listAt(value: Json | undefined, field: string, problems: Problem[]): readonly Json[] {
  if (value === undefined || value === null) return [];
  if (Array.isArray(value)) return value as readonly Json[];
  problems.push(refused(field, 'is not a list'));
  return [];
}

function checkFields(object: JsonObject, field: string, known: readonly string[], problems: Problem[]): void {
  for (const key of Object.keys(object)) {
    if (!known.includes(key)) {
      const message =
        'is not a field of NetworkPolicy v1: kubectl refuses it, and an API server that takes it leaves it out';
      problems.push({ field: `${field}.${key}`, message, kind: 'unknown-field' });
    }
  }
}

function parseTypes(value: Json | undefined, hasEgress: boolean, problems: Problem[]): readonly string[] {
  const types = listAt(value, 'spec.policyTypes', problems);
  if (types.length > 2) problems.push(refused('spec.policyTypes', 'has more than two items'));
  const known = types.filter((type) => type === 'Ingress' || type === 'Egress');
  types.forEach((type, index) => {
    if (type !== 'Ingress' && type !== 'Egress') {
      problems.push(refused(`spec.policyTypes[${index}]`, `${JSON.stringify(type)} is neither Ingress nor Egress`));
    }
  });
  if (known.length < types.length) return ['Ingress', 'Egress'];
  // Left out, the API server fills it in: ingress always, egress where there are egress rules.
  if (types.length === 0) return hasEgress ? ['Ingress', 'Egress'] : ['Ingress'];
  return known;
}

function parseRules(
  value: Json | undefined,
  field: string,
  peerField: 'from' | 'to',
  problems: Problem[],
): readonly NetworkRule[] {
  return listAt(value, field, problems).map((item, index) => {
    const at = `${field}[${index}]`;
    const rule = objectAt(item, at, problems);
    checkFields(rule, at, ['ports', peerField], problems);
    const ports = listAt(rule['ports'], `${at}.ports`, problems);
    const peers = listAt(rule[peerField], `${at}.${peerField}`, problems);
    return {
      index,
      ports: ports.length === 0 ? 'all' : ports.flatMap((port, n) => parsePort(port, `${at}.ports[${n}]`, problems)),
      peers:
        peers.length === 0 ? 'all' : peers.flatMap((peer, n) => parsePeer(peer, `${at}.${peerField}[${n}]`, problems)),
    };
  });
}

function isPortNumber(value: Json | undefined): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65_535;
}

function parsePort(value: Json, field: string, problems: Problem[]): readonly NetworkPort[] {
  const entry = objectAt(value, field, problems);
  checkFields(entry, field, ['protocol', 'port', 'endPort'], problems);
  const protocol = entry['protocol'] ?? 'TCP';
  if (typeof protocol !== 'string' || !PROTOCOLS.includes(protocol)) {
    problems.push(refused(`${field}.protocol`, `${JSON.stringify(protocol)} is none of TCP, UDP, SCTP`));
    return [];
  }
  const known = protocol as Protocol;
  const port = entry['port'] ?? undefined;
  const endPort = entry['endPort'] ?? undefined;
  if (port === undefined) {
    if (endPort !== undefined) problems.push(refused(`${field}.endPort`, 'needs a port'));
    return [{ kind: 'range', protocol: known, ...ALL_PORTS }];
  }
  if (typeof port === 'string') {
    if (endPort !== undefined) problems.push(refused(`${field}.endPort`, 'needs a port that is a number'));
    if (port.length > 15 || !PORT_NAME.test(port) || !/[a-z]/u.test(port) || port.includes('--')) {
      problems.push(refused(`${field}.port`, `${JSON.stringify(port)} is not a port name of at most 15 characters`));
    }
    return [{ kind: 'named', protocol: known, name: port }];
  }
  if (!isPortNumber(port)) {
    problems.push(refused(`${field}.port`, `${JSON.stringify(port)} is not a port from 1 to 65535`));
    return [];
  }
  if (endPort === undefined) return [{ kind: 'range', protocol: known, first: port, last: port }];
  if (!isPortNumber(endPort) || endPort < port) {
    problems.push(refused(`${field}.endPort`, `${JSON.stringify(endPort)} is not a port from ${port} to 65535`));
    return [];
  }
  return [{ kind: 'range', protocol: known, first: port, last: endPort }];
}

function parsePeer(value: Json, field: string, problems: Problem[]): readonly NetworkPeer[] {
  const peer = objectAt(value, field, problems);
  checkFields(peer, field, ['podSelector', 'namespaceSelector', 'ipBlock'], problems);
  // An explicit null is the same as an absent field; an empty object is not.
  const podSelector = peer['podSelector'] ?? undefined;
  const namespaceSelector = peer['namespaceSelector'] ?? undefined;
  const ipBlock = peer['ipBlock'] ?? undefined;
  if (ipBlock !== undefined) {
    if (podSelector !== undefined || namespaceSelector !== undefined) {
      problems.push(refused(field, 'has ipBlock beside another peer'));
    }
    const block = parseBlock(ipBlock, `${field}.ipBlock`, problems);
    return block === undefined ? [] : [{ kind: 'ip-block', block }];
  }
  if (podSelector === undefined && namespaceSelector === undefined) {
    problems.push(refused(field, 'names no peer'));
    return [];
  }
  const pods = parseSelector(podSelector, `${field}.podSelector`);
  const namespaces = parseSelector(namespaceSelector, `${field}.namespaceSelector`);
  problems.push(...pods.problems, ...namespaces.problems);
  return [
    {
      kind: 'pods',
      namespaces: namespaceSelector === undefined ? 'own' : namespaces.selector,
      pods: pods.selector,
    },
  ];
}

function parseBlock(value: Json, field: string, problems: Problem[]): AddressBlock | undefined {
  const block = objectAt(value, field, problems);
  checkFields(block, field, ['cidr', 'except'], problems);
  const range = parseRange(block['cidr'], `${field}.cidr`, problems);
  const except: AddressRange[] = [];
  listAt(block['except'], `${field}.except`, problems).forEach((item, index) => {
    const at = `${field}.except[${index}]`;
    const inner = parseRange(item, at, problems);
    if (inner === undefined) return;
    const size = inner.last - inner.first;
    if (range !== undefined && (!coversAddresses(range, inner) || size >= range.last - range.first)) {
      problems.push(refused(at, `${JSON.stringify(item)} is not a strict subset of ${JSON.stringify(block['cidr'])}`));
    }
    except.push(inner);
  });
  return range === undefined ? undefined : { range, except };
}

function parseRange(value: Json | undefined, field: string, problems: Problem[]): AddressRange | undefined {
  const parsed = typeof value === 'string' ? parseSloppyCidr(value) : undefined;
  if (parsed === undefined) {
    problems.push(refused(field, `${JSON.stringify(value ?? null)} is not a CIDR such as 10.0.0.0/8`));
    return undefined;
  }
  const text = JSON.stringify(value);
  if (parsed.form === 'ambiguous') {
    const message = `${text} is read differently by those who enforce it, so its effect is not known, and newer API servers refuse it`;
    problems.push({ field, message, kind: 'ambiguous' });
  } else if (parsed.hostBits) {
    const message = `${text} has bits set beyond its prefix: the whole block is meant, and newer API servers refuse it`;
    problems.push({ field, message, kind: 'doubtful' });
  } else if (parsed.form === 'spelling') {
    const message = `${text} is not in its short form, which newer API servers ask for`;
    problems.push({ field, message, kind: 'doubtful' });
  }
  return parsed.range;
}
