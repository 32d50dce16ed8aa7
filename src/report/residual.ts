import type { Inventory } from '../model/inventory.ts';
import { checkPolicies } from '../model/evaluate.ts';
import { canJoin, inMesh, joinsByNamespace } from '../readiness/mesh-gates.ts';
import type { JsonObject } from '../shared/pure/json.ts';
import { asBoolean, asObject, getPath } from '../shared/pure/json.ts';
import { uniqueSorted } from '../shared/pure/order.ts';
import type { SpecOf } from './input.ts';
import { containersOf } from './input.ts';
import type { PoliciesSection, ResidualRow } from './model.ts';
import { isPrivileged } from './risk.ts';

const RDMA =
  /^(?:rdma\/|openshift\.io\/.*(?:rdma|mlnx)|nvidia\.com\/(?:.*(?:rdma|roce|ib|hca).*)|vpc\.amazonaws\.com\/efa|intel\.com\/(?:.*sriov.*|rdma.*)|mellanox\.com\/)/i;
const SECONDARY = 'k8s.v1.cni.cncf.io/networks';

/** What no phase protects, said outright. The rows that hold for every cluster are there for every cluster. */
export function buildResidual(
  inventory: Inventory,
  specs: readonly SpecOf[],
  problems: PoliciesSection['problems'],
): readonly ResidualRow[] {
  const where = (test: (spec: JsonObject) => boolean): readonly string[] =>
    uniqueSorted(specs.filter(({ spec }) => test(spec)).map(({ workload }) => workload.id));
  const flag = (field: string): readonly string[] => where((spec) => asBoolean(spec[field]) === true);
  const { cni, mesh } = inventory.facts;
  const hostNetwork = uniqueSorted(
    inventory.workloads.filter((one) => one.podSets.some((podSet) => podSet.hostNetwork)).map((one) => one.id),
  );
  const secondary = uniqueSorted(
    inventory.workloads
      .filter((one) => one.podSets.some((podSet) => Object.hasOwn(podSet.annotations, SECONDARY)))
      .map((one) => one.id),
  );
  const rows: ResidualRow[] = [
    {
      kind: 'host-network',
      title: 'Pods in the network of their node',
      text: 'NetworkPolicy does not act on them, they take no sidecar, and their traffic looks like that of the node. Whoever holds one reaches what the node reaches.',
      subjects: hostNetwork,
      mitigation: 'take hostNetwork away where it is not needed; else a host firewall, or the host policies of the CNI',
    },
    {
      kind: 'rdma',
      title: 'RDMA, InfiniBand, RoCE, EFA',
      text: 'Memory-to-memory traffic between GPUs goes past the kernel, and so past the CNI, every NetworkPolicy and the mesh. It is neither encrypted nor denied by anything here.',
      subjects: where(usesRdma),
      mitigation: 'partitions of the fabric (P_Keys, VLANs), one fabric a tenant, and nodes of their own',
    },
    {
      kind: 'secondary-network',
      title: 'A second network interface',
      text: 'Policies act on the first interface of a pod. What goes through the others is seen and denied by nobody here.',
      subjects: secondary,
      mitigation: 'policies of the second network (MultiNetworkPolicy), or partitions of that network',
    },
    {
      kind: 'host-ipc',
      title: 'Shared memory of the node',
      text: 'With hostIPC pods on one node read and write the same shared memory. That is no connection, and no policy sees it.',
      subjects: flag('hostIPC'),
      mitigation: 'an emptyDir with medium Memory at /dev/shm in place of hostIPC',
    },
    {
      kind: 'host-pid',
      title: 'Processes of the node',
      text: 'With hostPID a pod sees the processes of its node, their environment and through it their secrets.',
      subjects: flag('hostPID'),
      mitigation: 'take hostPID away where it is not needed; nodes of their own for those that need it',
    },
    {
      kind: 'privileged',
      title: 'Privileged containers',
      text: 'A privileged container owns its node: it can change the rules by which every policy there is enforced.',
      subjects: where(isPrivileged),
      mitigation: 'Pod Security level baseline for every namespace that can; nodes of their own for the others',
    },
    {
      kind: 'own-node',
      title: "A pod's own node",
      text: 'By the specification of NetworkPolicy traffic between a pod and the node it runs on is always let through: a process on the node reaches every pod there.',
      subjects: [],
      mitigation:
        'mTLS with identities (phases strict-mtls and identity), since a process on the node has no certificate; few people with access to nodes',
    },
    {
      kind: 'open-connections',
      title: 'Connections that are open already',
      text: 'A policy meets new connections. What a CNI or a proxy does with those that are open is its own affair; a training run of days may keep what it had at its start.',
      subjects: [],
      mitigation: 'restart what holds old connections once a policy is in force, or wait for the run to end',
    },
    {
      kind: 'start-up',
      title: 'The first moments of a pod',
      text: 'Between the start of a pod and the moment its CNI has the rules in place, packets may pass or be lost; how long that lasts depends on the CNI.',
      subjects: [],
      mitigation:
        'a CNI or mode that holds the pod back until its rules stand (strict mode), and native sidecars for the mesh',
    },
  ];
  if (cni.enforces !== 'yes')
    rows.push({
      kind: 'cni',
      title: cni.enforces === 'no' ? 'The CNI enforces no policy' : 'Whether the CNI enforces policies is not known',
      text:
        cni.enforces === 'no'
          ? `CNI ${cni.name}: ${cni.because}. Every NetworkPolicy, those of this report too, is text without effect until that changes.`
          : `CNI ${cni.name}: ${cni.because}. If it does not enforce, every NetworkPolicy is text without effect.`,
      subjects: [],
      mitigation:
        cni.enforces === 'no'
          ? 'switch enforcement on, or change the CNI'
          : 'state cluster.cni in the configuration, or test one denied connection',
    });
  if (mesh.kind === 'istio') {
    const system = new Set(inventory.namespaces.filter((one) => one.system !== undefined).map((one) => one.name));
    const outside = uniqueSorted(
      inventory.workloads
        .filter((one) => !system.has(one.namespace) && !inMesh(one) && !canJoin(one) && !joinsByNamespace(one))
        .map((one) => one.id),
    );
    rows.push({
      kind: 'outside-mesh',
      title: 'Workloads that cannot join the mesh',
      text: 'They take no sidecar (opted out, host network, bare pods, owners whose pods are not known). Nobody proves who they are, and what they send is not encrypted by the mesh.',
      subjects: outside,
      mitigation: 'NetworkPolicy stays their only fence: keep it tight, and give their own protocols TLS',
    });
  }
  const unselected = uniqueSorted(problems.filter((one) => one.text.includes('label')).map((one) => one.subject));
  rows.push({
    kind: 'no-selector',
    title: 'Workloads that no policy can name',
    text: 'Their pods carry no label that lasts and is theirs alone, so no policy can be exact about them until they do.',
    subjects: unselected,
    mitigation: 'add the label that the list of candidates names',
  });
  const foreign = uniqueSorted(
    checkPolicies(inventory)
      .filter((one) => one.code === 'SP344')
      .map((one) => one.subject),
  );
  rows.push({
    kind: 'unjudged-policy',
    title: 'Policies that are not evaluated',
    text: 'Objects of kinds that the simulator does not model. What they act on is called unknown in this report, never allowed or denied.',
    subjects: foreign,
    mitigation: 'read them by hand, and waive the unknowns that are understood',
  });
  // Rows about nobody are left out, but for what holds in every cluster.
  const always = new Set(['own-node', 'open-connections', 'start-up', 'cni']);
  return rows.filter((row) => row.subjects.length > 0 || always.has(row.kind));
}

function usesRdma(spec: JsonObject): boolean {
  return containersOf(spec).some((container) =>
    ['limits', 'requests'].some((field) =>
      Object.keys(asObject(getPath(container, ['resources', field]))).some((name) => RDMA.test(name)),
    ),
  );
}
