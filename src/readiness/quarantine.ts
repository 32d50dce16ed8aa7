import { chooseSelector } from '../candidates/selector.ts';
import type { View } from '../engine/contract.ts';
import type { Edge } from '../model/edge.ts';
import type { Finding } from '../model/finding.ts';
import type { Labels, Workload } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { formatRef, isObject, labelsOf, namespaceOf, refKey, refOf } from '../model/object.ts';
import { matchSelector, parseSelector } from '../model/selector.ts';
import { MANAGED_BY, MANAGED_BY_LABEL } from '../objects/build.ts';
import type { FieldChange } from '../plan/change.ts';
import type { Step } from '../plan/plan.ts';
import { asArray, asNumber, asObject, asString, isJsonObject } from '../shared/pure/json.ts';
import type { Json, JsonObject } from '../shared/pure/json.ts';
import { sha256 } from '../shared/pure/hash.ts';
import { plural } from '../shared/pure/text.ts';
import type { Playbook } from './incident-effect.ts';
import { NO_EFFECT, effectFindings, effectOf, isEndpoint, snapshotAfter } from './incident-effect.ts';
import { podsOf } from './pod-proxy.ts';
import type { ProxiedPod } from './pod-proxy.ts';

/** On pods and policies of a quarantine: which. */
export const QUARANTINE_LABEL = 'sallyport.dev/quarantine';

/** What processes of a pod that goes get after SIGTERM: whoever holds them ignores that, and would have as long as the pod's own spec says. */
export const POD_GRACE_SECONDS = 5;

/** Kinds that hold a quarantine. `admin`: an admin policy, which speaks of pods and, outgoing, of addresses. `labels`: plain NetworkPolicy, which cannot deny, and pods taken out of what selects them. */
export const QUARANTINE_KINDS = ['cilium', 'calico', 'admin', 'labels'] as const;
export type QuarantineKind = (typeof QUARANTINE_KINDS)[number];

/** Kinds of admin policies that a cluster may serve (network-policy-api.sigs.k8s.io). */
export type AdminKind = 'AdminNetworkPolicy' | 'ClusterNetworkPolicy';

export const ADMIN_TYPES: Readonly<Record<AdminKind, Pick<KubeManifest, 'apiVersion' | 'kind'>>> = {
  AdminNetworkPolicy: { apiVersion: 'policy.networking.k8s.io/v1alpha1', kind: 'AdminNetworkPolicy' },
  ClusterNetworkPolicy: { apiVersion: 'policy.networking.k8s.io/v1alpha2', kind: 'ClusterNetworkPolicy' },
};
export const NO_ADMIN = 'The cluster serves neither AdminNetworkPolicy nor ClusterNetworkPolicy.';

/** The newer kind that the cluster serves. A directory without definitions says nothing of it: then the kind that most CNIs have. */
export function adminKindOf({ objects }: Pick<View['snapshot'], 'objects'>): AdminKind | undefined {
  const defined = objects
    .filter((object) => isObject(object, 'apiextensions.k8s.io', 'CustomResourceDefinition'))
    .map(({ metadata }) => metadata.name);
  if (defined.includes('clusternetworkpolicies.policy.networking.k8s.io')) return 'ClusterNetworkPolicy';
  return defined.length === 0 || defined.includes('adminnetworkpolicies.policy.networking.k8s.io')
    ? 'AdminNetworkPolicy'
    : undefined;
}

export interface QuarantineOptions {
  readonly workload: Workload;
  /** The CNI's own where absent. */
  readonly kind?: QuarantineKind;
  /** What becomes of connections that are open: told, ended at the proxy, or ended with the pods. */
  readonly connections: 'report' | 'drain' | 'delete';
  /** Pods that go are deleted and not evicted, so that no PodDisruptionBudget is asked. */
  readonly pastBudgets?: boolean;
  readonly id: string;
}

/** The kind by which this cluster can deny; plain NetworkPolicy only adds. */
export function quarantineKind(view: Pick<View, 'inventory'>): QuarantineKind {
  const { name } = view.inventory.facts.cni;
  return name === 'cilium' || name === 'calico' ? name : 'labels';
}

/**
 * Cuts a workload off in both directions and keeps its pods. On Cilium and Calico by a policy that denies, which holds for pods to come as
 * well; elsewhere each pod is taken out of every selector that allows it, and one policy of ours without rules selects it. The pods that take
 * their place are then not in quarantine.
 */
export function planQuarantine(view: View, options: QuarantineOptions): Playbook {
  const { workload } = options;
  const kind = options.kind ?? quarantineKind(view);
  const refuse = (message: string, hint?: string): Finding => ({
    code: 'SP390',
    severity: 'error',
    subject: workload.id,
    message,
    ...(hint === undefined ? {} : { hint }),
  });
  const none = (finding: Finding): Playbook => ({
    steps: [],
    findings: [finding],
    effect: NO_EFFECT,
    remarks: [],
    byHand: [],
  });
  if (workload.podSets.some(({ hostNetwork }) => hostNetwork))
    return none(
      refuse(
        'Its pods use the network of their node, which no policy of pods holds.',
        'Cordon the node, and stop the workload.',
      ),
    );
  const plan = kind === 'labels' ? byLabels(view, options, refuse) : byDenial(view, options, kind, refuse);
  if ('finding' in plan) return none(plan.finding);
  const after = view.rebuild(snapshotAfter(view.snapshot, plan.steps, plan.orphans));
  const pods = new Map(plan.pods.map((name) => [name, `${workload.namespace}/Pod/${name}`]));
  const moved = (edge: Edge): readonly Edge[] => {
    if (kind !== 'labels') return [edge];
    const [src, dst] = [isEndpoint(edge.src, workload.id), isEndpoint(edge.dst, workload.id)];
    if (!src && !dst) return [edge];
    // The owner's pods to come go on as before; what is judged is the pod that was taken out.
    return [...pods.values()].map((id) => ({
      ...edge,
      src: src ? { kind: 'workload', id } : edge.src,
      dst: dst ? { kind: 'workload', id } : edge.dst,
    }));
  };
  const ids = new Set(kind === 'labels' ? pods.values() : [workload.id]);
  const isAbout: Parameters<typeof effectOf>[2] = (src, dst) =>
    [src, dst].some((end) => end.kind === 'workload' && ids.has(end.id));
  const effect = effectOf(view, after, isAbout, moved);
  const findings: Finding[] = [...effectFindings(workload.id, effect)];
  // "Traffic to and from the node where a Pod is running is always allowed" (kubernetes.io, Network Policies): the kubelet's probes, mostly. No
  // kind that there is could deny it, and a pod that is to be kept for forensics must not be killed for want of its probes.
  const ofNodes = new Set(
    view.edges.filter(({ src, dst }) => src.kind === 'node' || dst.kind === 'node').map(({ id }) => id),
  );
  const nodes = effect.open.filter(({ edge }) => ofNodes.has(edge));
  const [open, ...others] = effect.open.filter(({ edge }) => !ofNodes.has(edge));
  if (open !== undefined)
    findings.push({
      code: 'SP391',
      severity: 'error',
      subject: workload.id,
      message: `It would not hold: ${open.text} is not denied afterwards${others.length > 0 ? `, nor are ${others.length} more` : ''}`,
      hint: 'Look at sallyport reach --explain for that pair; a policy of an earlier tier, or one for the whole namespace, lets it.',
    });
  const { proxied } = podsOf(view, workload);
  return {
    steps: [...plan.steps, ...(options.connections === 'delete' ? plan.deletes : [])],
    findings,
    effect,
    remarks: [
      ...plan.remarks,
      ...(nodes.length === 0
        ? []
        : [
            `${plural(nodes.length, 'edge')} on record ${nodes.length === 1 ? 'is' : 'are'} with nodes, and a pod and its own node always reach each other: ${nodes
              .slice(0, 3)
              .map(({ text }) => text)
              .join('; ')}; who holds the node is cordon's and drain's matter`,
          ]),
      ...connectionRemarks(options, plan.pods.length, proxied),
      ...(options.connections === 'delete' && options.pastBudgets !== true ? budgetRemarks(view, workload) : []),
    ],
    byHand: [],
  };
}

function connectionRemarks(
  { connections, pastBudgets }: QuarantineOptions,
  pods: number,
  proxied: readonly ProxiedPod[],
): readonly string[] {
  switch (connections) {
    case 'report':
      return [
        'connections that are open may live on: whether a policy ends them is up to the CNI; --connections drain ends what goes through proxies, delete all with the pods',
      ];
    case 'drain':
      return [
        proxied.length === 0
          ? 'no pod of it has a proxy that could be drained: connections that are open live on until --connections delete ends the pods'
          : `${proxied.length} of ${pods} pods have a proxy, which is told to drain and then to end, and every connection through it, in and out, ends with it; that cannot be taken back, and what does not pass the proxy is not reached`,
        ...proxied.flatMap(({ name, returns }) =>
          returns
            ? []
            : [
                `the proxy of pod ${name} will not start again (restartPolicy): from then on the pod has no network through it, until it is deleted`,
              ],
        ),
      ];
    case 'delete':
      return [
        `${pods} pods are ${pastBudgets === true ? 'deleted, whatever a PodDisruptionBudget says' : 'evicted, as far as PodDisruptionBudgets let them (--past-budgets deletes them all the same)'}, and with them their memory and files: what is to be examined must be taken before`,
        'that cannot be taken back: incident undo lifts the quarantine, and makes no pod',
      ];
  }
}

/**
 * The API server is asked for each pod by itself, and a dry run uses nothing of a budget up: so here is what budgets allow together, as they stood when the
 * cluster was read. A pod that two of them select is not evicted at all (kubernetes.io, "API-initiated Eviction").
 */
function budgetRemarks(view: View, workload: Workload): readonly string[] {
  const pods = podObjects(view, workload);
  const budgets = view.snapshot.objects.flatMap((object) => {
    if (!isObject(object, 'policy', 'PodDisruptionBudget') || namespaceOf(object) !== workload.namespace) return [];
    const selector = asObject(object['spec'])['selector'];
    const held = isJsonObject(selector) ? pods.filter((pod) => selects(selector, labelsOf(pod))) : [];
    const allowed = asNumber(asObject(object['status'])['disruptionsAllowed']);
    return [{ name: object.metadata.name, held, allowed }];
  });
  const twice = pods.filter((pod) => budgets.filter(({ held }) => held.includes(pod)).length > 1);
  return [
    ...budgets.flatMap(({ name, held, allowed }) =>
      allowed === undefined || held.length <= allowed
        ? []
        : [
            `PodDisruptionBudget ${name} allows ${allowed} of the ${held.length} evictions now: they are asked for one by one, and where it says no the pod runs on in the quarantine`,
          ],
    ),
    ...(twice.length === 0
      ? []
      : [
          `${plural(twice.length, 'pod')} (${twice[0]?.metadata.name ?? ''}) ${twice.length === 1 ? 'is' : 'are'} selected by two PodDisruptionBudgets, and is not evicted: --past-budgets deletes it`,
        ]),
  ];
}

interface Planned {
  readonly steps: readonly Step[];
  readonly deletes: readonly Step[];
  readonly pods: readonly string[];
  readonly orphans: ReadonlySet<string>;
  readonly remarks: readonly string[];
}

type Refuse = (message: string, hint?: string) => Finding;

function podObjects(view: View, workload: Workload): readonly KubeManifest[] {
  const names = new Set(workload.podSets.flatMap(({ pods }) => pods.map(({ name }) => name)));
  return view.snapshot.objects.filter(
    (object) =>
      isObject(object, '', 'Pod') && namespaceOf(object) === workload.namespace && names.has(object.metadata.name),
  );
}

function ownName(workload: Workload, id: string): string {
  return `sallyport-quarantine-${workload.name.slice(0, 30)}-${sha256(`${workload.id}\n${id}`).slice(0, 8)}`;
}

function metadataOf(workload: Workload, id: string): KubeManifest['metadata'] {
  return {
    name: ownName(workload, id),
    namespace: workload.namespace,
    labels: { [MANAGED_BY_LABEL]: MANAGED_BY, [QUARANTINE_LABEL]: id },
    annotations: { 'sallyport.dev/workload': workload.id },
  };
}

export function incidentStep(
  namespace: string,
  id: string,
  title: string,
  change: Step['change'],
  risks: readonly string[] = [],
): Step {
  // Of no phase: a rollback of phases leaves an incident in force, and its own undo ends it.
  return { id, namespace, phase: 'none', operation: change.kind, title, change, effects: [], risks };
}

function deletesOf({ workload, pastBudgets }: QuarantineOptions, objects: readonly KubeManifest[]): readonly Step[] {
  return objects.map((object) =>
    incidentStep(
      workload.namespace,
      `incident/delete-${object.metadata.name}`,
      `${pastBudgets === true ? 'delete' : 'evict'} pod ${object.metadata.name}: it is told to end, within ${POD_GRACE_SECONDS} s`,
      {
        kind: 'delete',
        ref: refOf(object),
        ...(typeof object.metadata['uid'] === 'string' ? { uid: object.metadata['uid'] } : {}),
        before: object,
        graceSeconds: POD_GRACE_SECONDS,
        ...(pastBudgets === true ? {} : { evicts: true }),
      },
    ),
  );
}

/**
 * A policy that denies. Admin policies go before every NetworkPolicy, and Deny is final; their ingress rules name pods alone, so that what comes
 * from outside is not denied, and of their egress rules `networks` is in the experimental channel before ClusterNetworkPolicy
 * (network-policy-api.sigs.k8s.io, API reference). What that leaves open the simulation says. Cilium: deny rules take precedence over every allow (docs.cilium.io, Policy language, Deny policies); the entity `all`
 * is whatever there is; the node's own probes pass all the same. Calico: the lowest order goes first in its tier and Deny is final
 * (docs.tigera.io, NetworkPolicy, order and action); a policy of an earlier tier goes before it.
 */
function byDenial(
  view: View,
  options: QuarantineOptions,
  kind: 'cilium' | 'calico' | 'admin',
  refuse: Refuse,
): Planned | { readonly finding: Finding } {
  const { workload, id } = options;
  const choice = chooseSelector(workload, view.inventory);
  if (choice.kind !== 'exact')
    return {
      finding: refuse(
        choice.kind === 'shared'
          ? `No labels select it alone: ${choice.also.slice(0, 3).join(', ')} would be cut off as well.`
          : 'It has no label that outlives a rollout.',
        '--with labels takes the pods that run now out one by one.',
      ),
    };
  const metadata = metadataOf(workload, id);
  const admin = kind === 'admin' ? adminKindOf(view.snapshot) : undefined;
  if (kind === 'admin' && admin === undefined) return { finding: refuse(NO_ADMIN, 'Name another kind with --with.') };
  const object: KubeManifest =
    admin !== undefined
      ? adminDenial(admin, metadata, workload.namespace, choice.labels)
      : kind === 'cilium'
        ? {
            apiVersion: 'cilium.io/v2',
            kind: 'CiliumNetworkPolicy',
            metadata,
            spec: {
              endpointSelector: { matchLabels: choice.labels },
              ingressDeny: [{ fromEntities: ['all'] }],
              egressDeny: [{ toEntities: ['all'] }],
            },
          }
        : {
            apiVersion: 'projectcalico.org/v3',
            kind: 'NetworkPolicy',
            metadata,
            spec: {
              order: -1_000_000,
              selector: calicoSelector(choice.labels),
              types: ['Ingress', 'Egress'],
              ingress: [{ action: 'Deny' }],
              egress: [{ action: 'Deny' }],
            },
          };
  const objects = podObjects(view, workload);
  return {
    steps: [
      incidentStep(
        workload.namespace,
        `incident/${metadata.name}`,
        `deny ${workload.id} everything, both ways`,
        { kind: 'create', object },
        ['connections that are open already'],
      ),
    ],
    deletes: deletesOf(options, objects),
    pods: workload.podSets.flatMap(({ pods }) => pods.map(({ name }) => name)),
    orphans: new Set(),
    remarks: [
      'pods that are made from now on are cut off as well',
      ...(kind === 'cilium' ? ['probes of the own node pass'] : []),
      ...(kind === 'admin'
        ? [
            'an admin policy denies pods and, outgoing, addresses: what comes from nodes or from outside the cluster is not denied by it',
            'of two admin policies of priority 0 that contradict each other it is not defined which one holds',
          ]
        : []),
    ],
  };
}

function adminDenial(
  kind: AdminKind,
  whole: KubeManifest['metadata'],
  namespace: string,
  labels: Labels,
): KubeManifest {
  const own = { matchLabels: { 'kubernetes.io/metadata.name': namespace } };
  // It is of the cluster.
  const metadata = Object.fromEntries(Object.entries(whole).filter(([key]) => key !== 'namespace'));
  return {
    ...ADMIN_TYPES[kind],
    metadata: metadata as KubeManifest['metadata'],
    spec: {
      ...(kind === 'ClusterNetworkPolicy' ? { tier: 'Admin' } : {}),
      priority: 0,
      subject: { pods: { namespaceSelector: own, podSelector: { matchLabels: labels } } },
      ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }],
      egress: [{ action: 'Deny', to: [{ namespaces: {} }, { networks: ['0.0.0.0/0', '::/0'] }] }],
    },
  };
}

function calicoSelector(labels: Labels): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key} == '${value}'`)
    .join(' && ');
}

/** Label keys that a selector asks for. */
function keysOf(selector: Json | undefined): readonly string[] {
  const { matchLabels, matchExpressions } = asObject(selector);
  return [
    ...Object.keys(asObject(matchLabels)),
    ...asArray(matchExpressions).flatMap((one) => asString(asObject(one)['key']) ?? []),
  ];
}

function selects(selector: Json | undefined, labels: Labels): boolean {
  return matchSelector(parseSelector(selector ?? {}, 'podSelector').selector, labels);
}

/** Labels of a pod without those that any policy, Service or owner selects it by. */
function strippedLabels(view: View, pod: KubeManifest): { readonly labels: Labels; readonly still: readonly string[] } {
  const namespace = namespaceOf(pod);
  const near = view.snapshot.objects.filter((object) => namespaceOf(object) === namespace);
  const now = labelsOf(pod);
  const keys = new Set<string>();
  for (const object of near) {
    const spec = asObject(object['spec']);
    if (isObject(object, 'networking.k8s.io', 'NetworkPolicy') && selects(spec['podSelector'], now))
      for (const key of keysOf(spec['podSelector'])) keys.add(key);
    if (isObject(object, '', 'Service') && isJsonObject(spec['selector']) && contains(now, spec['selector']))
      for (const key of Object.keys(spec['selector'])) keys.add(key);
    const owner = spec['selector'];
    if (isJsonObject(owner) && isJsonObject(owner['matchLabels']) && selects(owner, now))
      for (const key of keysOf(owner)) keys.add(key);
  }
  // What tells pods of one rollout apart is what their ReplicaSet selects them by.
  keys.add('pod-template-hash');
  keys.add('controller-revision-hash');
  const labels = Object.fromEntries(Object.entries(now).filter(([key]) => !keys.has(key)));
  const still = near
    .filter(
      (object) =>
        isObject(object, 'networking.k8s.io', 'NetworkPolicy') &&
        allows(asObject(object['spec'])) &&
        selects(asObject(object['spec'])['podSelector'], { ...labels, [QUARANTINE_LABEL]: 'x' }),
    )
    .map((object) => formatRef(refOf(object)));
  return { labels, still };
}

function contains(labels: Labels, selector: JsonObject): boolean {
  const entries = Object.entries(selector);
  return entries.length > 0 && entries.every(([key, value]) => labels[key] === value);
}

/** Has it a rule at all? One without only isolates. */
function allows(spec: JsonObject): boolean {
  return asArray(spec['ingress']).length > 0 || asArray(spec['egress']).length > 0;
}

function byLabels(view: View, options: QuarantineOptions, refuse: Refuse): Planned | { readonly finding: Finding } {
  const { workload, id } = options;
  const pods = podObjects(view, workload);
  if (pods.length === 0)
    return { finding: refuse('No pod of it runs, so there is none to cut off.', 'Scale it to zero, or delete it.') };
  if (view.inventory.facts.cni.enforces !== 'yes')
    return {
      finding: refuse(
        `Whether NetworkPolicies are enforced here is ${view.inventory.facts.cni.enforces === 'no' ? 'no question: they are not' : 'not known'}.`,
        'State the CNI in the configuration (cluster.cni), or stop the workload.',
      ),
    };
  const policy: KubeManifest = {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: metadataOf(workload, id),
    spec: { podSelector: { matchLabels: { [QUARANTINE_LABEL]: id } }, policyTypes: ['Ingress', 'Egress'] },
  };
  const steps: Step[] = [
    incidentStep(
      workload.namespace,
      `incident/${policy.metadata.name}`,
      'a policy without rules for pods in quarantine',
      { kind: 'create', object: policy },
    ),
  ];
  for (const pod of pods) {
    const { labels, still } = strippedLabels(view, pod);
    if (still.length > 0)
      return {
        finding: refuse(
          `${still.join(', ')} ${still.length === 1 ? 'allows' : 'allow'} connections and would still select pod ${pod.metadata.name}: NetworkPolicies only add, and none can take that back.`,
          'Delete the pod and scale the workload to zero, or give that policy a selector that leaves out sallyport.dev/quarantine.',
        ),
      };
    const before = pod.metadata['labels'];
    const field: FieldChange = { path: ['metadata', 'labels'], before, after: { ...labels, [QUARANTINE_LABEL]: id } };
    const gone = Object.keys(labelsOf(pod)).filter((key) => !(key in labels));
    steps.push(
      incidentStep(
        workload.namespace,
        `incident/pod-${pod.metadata.name}`,
        `take pod ${pod.metadata.name} out of every selector: without ${gone.join(', ')}`,
        {
          kind: 'edit',
          ref: refOf(pod),
          ...(typeof pod.metadata['uid'] === 'string' ? { uid: pod.metadata['uid'] } : {}),
          fields: [field],
          owner: 'other',
        },
        [ownerRisk(workload, pod)],
      ),
    );
  }
  return {
    steps,
    deletes: deletesOf(options, pods),
    pods: pods.map(({ metadata }) => metadata.name),
    orphans: new Set(pods.map((pod) => refKey(refOf(pod)))),
    remarks: [
      'pods that take their place carry the labels of the workload, and are not in quarantine: scale it to zero, or roll out a clean image',
      'when it is undone, the owner takes a pod with its old labels back, and may end it as one too many',
    ],
  };
}

function ownerRisk(workload: Workload, pod: KubeManifest): string {
  const [owner] = asArray(pod.metadata['ownerReferences']).map((one) => asObject(one));
  const name = owner === undefined ? 'nobody' : `${asString(owner['kind']) ?? ''} ${asString(owner['name']) ?? ''}`;
  if (owner === undefined) return `${pod.metadata.name} has no owner: nothing takes its place`;
  return workload.kind === 'StatefulSet'
    ? `${name} lets go of ${pod.metadata.name}, and cannot make another as long as it has that name`
    : `${name} lets go of ${pod.metadata.name}, and makes another in its place`;
}
