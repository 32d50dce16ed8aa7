import type { View } from '../engine/contract.ts';
import type { Endpoint } from '../model/edge.ts';
import type { Finding } from '../model/finding.ts';
import type { KubeManifest } from '../model/object.ts';
import { formatRef, isObject, namespaceOf, refOf } from '../model/object.ts';
import { coversAddresses, overlapsAddresses, parseAddress, parseAddressOrCidr } from '../model/cidr-set.ts';
import { MANAGED_BY, MANAGED_BY_LABEL } from '../objects/build.ts';
import type { Step } from '../plan/plan.ts';
import { asArray, asObject, asString, equalJson } from '../shared/pure/json.ts';
import type { Json, JsonObject } from '../shared/pure/json.ts';
import { sha256 } from '../shared/pure/hash.ts';
import type { Playbook } from './incident-effect.ts';
import { NO_EFFECT, effectFindings, effectOf, snapshotAfter } from './incident-effect.ts';
import type { AdminKind } from './quarantine.ts';
import { ADMIN_TYPES, NO_ADMIN, adminKindOf, incidentStep } from './quarantine.ts';

/** Who is kept out. */
export type BlockSource =
  | { readonly kind: 'address'; readonly cidr: string }
  | { readonly kind: 'namespace'; readonly name: string }
  /** By its service account: what it proves of itself, not where it is. */
  | { readonly kind: 'account'; readonly namespace: string; readonly name: string };

export const BLOCK_KINDS = ['cilium', 'calico', 'admin', 'istio', 'exclude'] as const;
export type BlockKind = (typeof BLOCK_KINDS)[number];

export interface BlockOptions {
  readonly source: BlockSource;
  /** Kept out of this namespace. */
  readonly namespace: string;
  /** The cluster's own where absent. */
  readonly kind?: BlockKind;
  readonly id: string;
}

export function formatSource(source: BlockSource): string {
  switch (source.kind) {
    case 'address':
      return source.cidr;
    case 'namespace':
      return `namespace ${source.name}`;
    case 'account':
      return `account ${source.namespace}/${source.name}`;
  }
}

/** `10.1.2.3`, `10.1.0.0/16`, `2001:db8::/32`, `namespace:desk`, `account:desk/toolbox`. Undefined for anything else. */
export function parseSource(text: string): BlockSource | undefined {
  const name = /^namespace:([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)$/u.exec(text)?.[1];
  if (name !== undefined) return { kind: 'namespace', name };
  const account = /^account:([a-z0-9][-a-z0-9]{0,62})\/([a-z0-9][-.a-z0-9]{0,252})$/u.exec(text);
  if (account !== null) return { kind: 'account', namespace: account[1] ?? '', name: account[2] ?? '' };
  const [address = '', bits, ...more] = text.split('/');
  if (more.length > 0 || parseAddress(address) === undefined) return undefined;
  const most = address.includes(':') ? 128 : 32;
  if (bits !== undefined && (!/^\d{1,3}$/u.test(bits) || Number(bits) > most)) return undefined;
  return { kind: 'address', cidr: `${address}/${bits ?? String(most)}` };
}

export function blockKind(view: Pick<View, 'inventory'>): BlockKind {
  const { cni } = view.inventory.facts;
  return cni.name === 'cilium' || cni.name === 'calico' ? cni.name : 'exclude';
}

/**
 * Keeps a source out of a namespace, by a kind that denies. With plain NetworkPolicy alone it is refused, unless every rule that lets the source
 * in is an ipBlock from which it can be excepted.
 */
export function planBlock(view: View, options: BlockOptions): Playbook {
  const { source, namespace, id } = options;
  const kind = options.kind ?? blockKind(view);
  const subject = formatSource(source);
  const none = (message: string, hint: string): Playbook => ({
    steps: [],
    findings: [{ code: 'SP393', severity: 'error', subject, message, hint }],
    effect: NO_EFFECT,
    remarks: [],
    byHand: [],
  });
  const name = `sallyport-block-${sha256(`${subject}\n${namespace}\n${id}`).slice(0, 8)}`;
  const labels = { [MANAGED_BY_LABEL]: MANAGED_BY, 'sallyport.dev/block': id };
  let steps: readonly Step[];
  if (kind === 'exclude') {
    const excluded = exclude(view, source, namespace);
    if ('problem' in excluded)
      return none(
        excluded.problem,
        'On Cilium, Calico, admin policies or Istio name the kind with --with; else change the rule by hand.',
      );
    steps = excluded.steps;
  } else {
    const object = denial(kind, source, { name, namespace, labels }, adminKindOf(view.snapshot));
    if (typeof object === 'string') return none(object, 'Name another kind with --with.');
    steps = [
      incidentStep(namespace, `incident/${name}`, `keep ${subject} out of ${namespace}`, { kind: 'create', object }, [
        'connections that are open already',
        ...(kind === 'istio' ? ['pods without a proxy, which no rule of the mesh holds'] : []),
      ]),
    ];
  }
  const after = view.rebuild(snapshotAfter(view.snapshot, steps));
  const isAbout = (src: Endpoint, dst: Endpoint): boolean =>
    dst.kind === 'workload' && dst.id.startsWith(`${namespace}/`) && isSource(view, source, src);
  const effect = effectOf(view, after, isAbout);
  const findings: Finding[] = [...effectFindings(subject, effect)];
  const [open] = effect.open;
  if (open !== undefined)
    findings.push({
      code: 'SP391',
      severity: 'error',
      subject,
      message: `It would not hold: ${open.text} is not denied afterwards${effect.open.length > 1 ? `, nor are ${effect.open.length - 1} more` : ''}`,
      hint: 'Name another kind with --with; sallyport reach --explain shows what lets it.',
    });
  return {
    steps,
    findings,
    effect,
    remarks: [
      ...(source.kind === 'address'
        ? ['an address is what the packet says when it arrives: behind a load balancer or NAT it may be another']
        : []),
      ...(effect.cut.length === 0 ? ['nothing on record comes from there: the record may not have seen it'] : []),
      'connections that are open may live on: sallyport incident quarantine ends those of one workload',
    ],
    byHand: [],
  };
}

function isSource(view: View, source: BlockSource, end: Endpoint): boolean {
  switch (source.kind) {
    case 'address':
      return end.kind === 'external' && end.ip !== undefined && covers(source.cidr, end.ip);
    case 'namespace':
      return end.kind === 'workload' && end.id.startsWith(`${source.name}/`);
    case 'account':
      return (
        end.kind === 'workload' &&
        view.inventory.workloads.some(
          ({ id, namespace, podSets }) =>
            id === end.id &&
            namespace === source.namespace &&
            podSets.every(({ serviceAccount }) => serviceAccount === source.name),
        )
      );
  }
}

/** Of a label's value (meta/v1). */
const MOST_LABEL = 63;

interface Meta {
  readonly name: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

/**
 * One object that denies, or why there is none. None of them may isolate what was open to all: Cilium's `enableDefaultDeny` is set to false for that
 * (docs.cilium.io, Policy language, from 1.16); admin policies and DENY rules of Istio isolate nothing by themselves
 * (network-policy-api.sigs.k8s.io; istio.io, AuthorizationPolicy). A policy of Calico ends in the default of its tier, so what it does to
 * others is left to the simulation, which refuses it where they are cut.
 */
function denial(
  kind: Exclude<BlockKind, 'exclude'>,
  source: BlockSource,
  meta: Meta,
  adminKind: AdminKind | undefined,
): KubeManifest | string {
  switch (kind) {
    case 'cilium':
      if (source.kind === 'account' && source.name.length > MOST_LABEL)
        return `Cilium names accounts by a label, and the value of one holds ${MOST_LABEL} characters.`;
      return {
        apiVersion: 'cilium.io/v2',
        kind: 'CiliumNetworkPolicy',
        metadata: { ...meta },
        spec: {
          endpointSelector: {},
          enableDefaultDeny: { ingress: false, egress: false },
          ingressDeny: [ciliumPeer(source)],
        },
      };
    case 'calico':
      return {
        apiVersion: 'projectcalico.org/v3',
        kind: 'NetworkPolicy',
        metadata: { ...meta },
        spec: {
          order: -1_000_000,
          selector: 'all()',
          types: ['Ingress'],
          ingress: [{ action: 'Deny', source: calicoPeer(source) }],
        },
      };
    case 'admin': {
      if (source.kind !== 'namespace')
        return 'An admin policy denies namespaces and pods by label alone, no address and no account.';
      if (adminKind === undefined) return NO_ADMIN;
      const { namespace, ...cluster } = meta;
      return {
        ...ADMIN_TYPES[adminKind],
        metadata: cluster,
        spec: {
          ...(adminKind === 'ClusterNetworkPolicy' ? { tier: 'Admin' } : {}),
          priority: 0,
          subject: { namespaces: { matchLabels: { 'kubernetes.io/metadata.name': namespace } } },
          ingress: [
            { action: 'Deny', from: [{ namespaces: { matchLabels: { 'kubernetes.io/metadata.name': source.name } } }] },
          ],
        },
      };
    }
    case 'istio':
      return {
        apiVersion: 'security.istio.io/v1',
        kind: 'AuthorizationPolicy',
        metadata: { ...meta },
        spec: { action: 'DENY', rules: [{ from: [{ source: istioPeer(source) }] }] },
      };
  }
}

function ciliumPeer(source: BlockSource): JsonObject {
  switch (source.kind) {
    case 'address':
      return { fromCIDR: [source.cidr] };
    case 'namespace':
      return { fromEndpoints: [{ matchLabels: { 'k8s:io.kubernetes.pod.namespace': source.name } }] };
    case 'account':
      return {
        fromEndpoints: [
          {
            matchLabels: {
              'k8s:io.kubernetes.pod.namespace': source.namespace,
              'k8s:io.cilium.k8s.policy.serviceaccount': source.name,
            },
          },
        ],
      };
  }
}

function calicoPeer(source: BlockSource): JsonObject {
  switch (source.kind) {
    case 'address':
      return { nets: [source.cidr] };
    case 'namespace':
      return { namespaceSelector: `projectcalico.org/name == '${source.name}'` };
    case 'account':
      return {
        namespaceSelector: `projectcalico.org/name == '${source.namespace}'`,
        serviceAccounts: { names: [source.name] },
      };
  }
}

/** Namespaces and principals are known of callers with mTLS alone. */
function istioPeer(source: BlockSource): JsonObject {
  switch (source.kind) {
    case 'address':
      return { ipBlocks: [source.cidr] };
    case 'namespace':
      return { namespaces: [source.name] };
    case 'account':
      return { principals: [`*/ns/${source.namespace}/sa/${source.name}`] };
  }
}

/** The source excepted from every rule that lets it in; why not, where one cannot. */
function exclude(
  view: View,
  source: BlockSource,
  namespace: string,
): { readonly steps: readonly Step[] } | { readonly problem: string } {
  if (source.kind !== 'address')
    return {
      problem:
        'NetworkPolicies only add: none denies a namespace or an account, and a rule that names them by label excepts nobody.',
    };
  const policies = view.snapshot.objects.filter(
    (object) => isObject(object, 'networking.k8s.io', 'NetworkPolicy') && namespaceOf(object) === namespace,
  );
  const steps: Step[] = [];
  for (const policy of policies) {
    const spec = asObject(policy['spec']);
    const rules = asArray(spec['ingress']).map((rule) => asObject(rule));
    const next: Json[] = [];
    for (const rule of rules) {
      const peers = rule['from'] === undefined ? [] : asArray(rule['from']);
      if (peers.length === 0)
        return { problem: `${formatRef(refOf(policy))} lets everybody in, which excepts nobody.` };
      const from = peers.map((one): Json => {
        const peer = asObject(one);
        const block = asObject(peer['ipBlock']);
        const cidr = asString(block['cidr']);
        if (cidr === undefined || !covers(cidr, source.cidr)) return one;
        const except = asArray(block['except']).flatMap((each) => asString(each) ?? []);
        if (except.some((each) => covers(each, source.cidr))) return one;
        return { ...peer, ipBlock: { ...block, except: [...except, source.cidr] } };
      });
      if (from.some((one) => overlapsOnly(asObject(asObject(one)['ipBlock']), source.cidr)))
        return {
          problem: `${formatRef(refOf(policy))} names a part of ${source.cidr}, which cannot be excepted from itself.`,
        };
      next.push({ ...rule, from });
    }
    if (!equalJson(next, rules))
      steps.push(
        incidentStep(
          namespace,
          `incident/except-${policy.metadata.name}`,
          `except ${source.cidr} in ${formatRef(refOf(policy))}`,
          {
            kind: 'edit',
            ref: refOf(policy),
            ...(typeof policy.metadata['uid'] === 'string' ? { uid: policy.metadata['uid'] } : {}),
            fields: [{ path: ['spec', 'ingress'], before: spec['ingress'], after: next }],
            owner: 'other',
          },
          ['connections that are open already'],
        ),
      );
  }
  const open = view.inventory.workloads.find(
    (workload) =>
      workload.namespace === namespace &&
      !policies.some(
        (policy) =>
          isolates(policy) &&
          selectsAll(
            policy,
            workload.podSets.map(({ labels }) => labels),
          ),
      ),
  );
  if (open !== undefined)
    return {
      problem: `No policy isolates ${open.id}, so everybody reaches it, and NetworkPolicies cannot deny one alone.`,
    };
  if (steps.length === 0)
    return { problem: 'No rule names an address that holds it: what lets it in, if anything does, is no ipBlock.' };
  return { steps };
}

function isolates(policy: KubeManifest): boolean {
  const types = asArray(asObject(policy['spec'])['policyTypes']);
  return types.length === 0 || types.includes('Ingress');
}

function selectsAll(policy: KubeManifest, sets: readonly Readonly<Record<string, string>>[]): boolean {
  const { matchLabels, matchExpressions } = asObject(asObject(policy['spec'])['podSelector']);
  // An expression is not counted on: it could leave a pod out.
  if (asArray(matchExpressions).length > 0) return false;
  const wanted = Object.entries(asObject(matchLabels));
  return sets.every((labels) => wanted.every(([key, value]) => labels[key] === value));
}

function covers(outer: string, inner: string): boolean {
  const [a, b] = [parseAddressOrCidr(outer), parseAddressOrCidr(inner)];
  return a !== undefined && b !== undefined && coversAddresses(a, b);
}

/** Does the block hold a part of what is to be kept out, and not all of it? */
function overlapsOnly(block: JsonObject, cidr: string): boolean {
  const own = asString(block['cidr']);
  const [a, b] = [parseAddressOrCidr(own ?? ''), parseAddressOrCidr(cidr)];
  return own !== undefined && a !== undefined && b !== undefined && overlapsAddresses(a, b) && !covers(own, cidr);
}
