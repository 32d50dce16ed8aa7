import { isWaypoint } from '../candidates/waypoints.ts';
import type { View } from '../engine/contract.ts';
import { predictMembership } from '../inventory/mesh.ts';
import { endpointKey, formatEdge } from '../model/edge.ts';
import { edgesAt, edgesTouching } from '../model/edge-index.ts';
import { UNREDIRECTED_PORTS, mtlsModeOf, transportOf } from '../model/evaluate.ts';
import type { World } from '../model/evaluate.ts';
import type { Gate } from '../model/finding.ts';
import { followsTemplate } from '../model/inventory.ts';
import type { Labels, MeshFacts, Workload } from '../model/inventory.ts';
import { gate, keptEdges, plaintextSubject, waiverFor, workloadsOf } from './view.ts';

/** Protocols in which the server speaks first: detection by the first bytes of the client stalls them (Istio, protocol selection). */
const SERVER_FIRST_PORTS: ReadonlyMap<number, string> = new Map([
  [25, 'SMTP'],
  [3306, 'MySQL'],
]);

/** Can this workload take a sidecar through its pod template, now? */
export function canJoin(workload: Workload): boolean {
  return (
    followsTemplate(workload) &&
    workload.podSets.length > 0 &&
    workload.podSets.every((podSet) => !podSet.hostNetwork && podSet.templatePath !== undefined) &&
    !optedOut(workload)
  );
}

/**
 * Do some of its pods take a sidecar by the label of the namespace, and by nothing else? Pods of custom owners and of Jobs from their
 * next run on, those of ReplicaSets when they are replaced.
 */
export function joinsByNamespace(workload: Workload): boolean {
  return (
    !followsTemplate(workload) &&
    workload.kind !== 'Pod' &&
    workload.podSets.some(
      (podSet) =>
        !podSet.hostNetwork &&
        podSet.mesh !== 'sidecar' &&
        podSet.labels['sidecar.istio.io/inject'] !== 'false' &&
        podSet.annotations['sidecar.istio.io/inject'] !== 'false',
    )
  );
}

/** The revision to be named where no webhook serves the default one; undefined where it does, or where several could be meant. */
export function meshRevision(mesh: MeshFacts): string | undefined {
  if (mesh.revision !== undefined) return mesh.revision;
  const [only, ...others] = mesh.revisions ?? [];
  return only === 'default' || others.length > 0 ? undefined : only;
}

/**
 * The labels of its pod template by which this workload takes a sidecar: the one for injection, and the revision where that one
 * alone injects nothing.
 */
export function joinLabels(view: View, workload: Workload): Readonly<Record<string, string>> {
  const alone = { 'sidecar.istio.io/inject': 'true' };
  const revision = meshRevision(view.inventory.facts.mesh);
  if (revision === undefined || injects(view, workload, alone)) return alone;
  const named = { ...alone, 'istio.io/rev': revision };
  return injects(view, workload, named) ? named : alone;
}

function injects(view: View, workload: Workload, labels: Labels): boolean {
  const namespace = namespaceLabels(view);
  return workload.podSets.every(
    (podSet) =>
      predictMembership(
        namespace,
        { ...podSet.labels, ...labels },
        podSet.annotations,
        podSet.hostNetwork,
        view.namespace,
        view.inventory.facts.mesh,
      ) === 'sidecar',
  );
}

function namespaceLabels(view: View): Labels {
  return view.inventory.namespaces.find((one) => one.name === view.namespace)?.labels ?? {};
}

/** Its owner said no: the pod template carries `sidecar.istio.io/inject: "false"`. */
export function optedOut(workload: Workload): boolean {
  return workload.podSets.some(
    (podSet) =>
      podSet.labels['sidecar.istio.io/inject'] === 'false' || podSet.annotations['sidecar.istio.io/inject'] === 'false',
  );
}

export function inMesh(workload: Workload): boolean {
  return workload.podSets.length > 0 && workload.podSets.every((podSet) => podSet.mesh === 'sidecar');
}

/**
 * Those of the namespace whose pods run sidecars of their own. The proxy of a waypoint is none, though it stands in its pods alike: it follows
 * targetRefs alone, and a policy that selects its pods, or a default of the namespace on its account, would act on others or on nobody.
 */
export function withSidecars(view: View): readonly Workload[] {
  return workloadsOf(view).filter((workload) => inMesh(workload) && !isWaypoint(view.inventory, workload));
}

const DATAPLANE_MODE = 'istio.io/dataplane-mode';

/** Labels of the namespace that keep sidecars out, or leave it open who takes the traffic. */
function namespaceGates(view: View): readonly Gate[] {
  const labels = namespaceLabels(view);
  const injection = labels['istio-injection'];
  const gates: Gate[] = [];
  if (injection !== undefined && injection !== 'enabled')
    gates.push(
      gate(
        'mesh',
        'no',
        view.namespace,
        [`its label istio-injection: ${injection} keeps every sidecar out, whatever the pods say`],
        `remove the label: kubectl label namespace ${view.namespace} istio-injection-`,
      ),
    );
  if (labels[DATAPLANE_MODE] === 'ambient')
    gates.push(
      gate(
        'mesh',
        'unknown',
        view.namespace,
        [`it carries ${DATAPLANE_MODE}: ambient, which is judged from its documents, not proven on packets`],
        `remove the label: kubectl label namespace ${view.namespace} ${DATAPLANE_MODE}-`,
      ),
    );
  return gates;
}

/** Can the mesh take this namespace? */
export function meshGates(view: View): readonly Gate[] {
  const { mesh } = view.inventory.facts;
  if (mesh.kind === 'none')
    return [gate('mesh', 'no', view.namespace, [`no mesh: ${mesh.because}`], 'install Istio, then advance again')];
  if (mesh.kind === 'unknown')
    return [gate('mesh', 'unknown', view.namespace, [mesh.because], 'state cluster.mesh in the configuration')];
  if (mesh.mode !== 'sidecar')
    return [
      gate(
        'mesh',
        'unknown',
        view.namespace,
        [
          mesh.mode === 'ambient'
            ? 'mode ambient: judged from its documents, not proven on packets'
            : `mode ${mesh.mode}: whether sidecars or ztunnel carry the traffic is not known`,
          mesh.because,
        ],
        mesh.mode === 'ambient'
          ? 'reach --mesh and assess judge it; moving namespaces of an ambient mesh is not offered yet'
          : 'state cluster.mesh.mode in the configuration',
      ),
    ];
  const gates: Gate[] = [...namespaceGates(view)];
  if (gates.length === 0)
    gates.push(
      gate(
        'mesh',
        'yes',
        view.namespace,
        [`Istio ${mesh.version ?? '(version unknown)'}, sidecar mode: ${mesh.because}`],
        '',
      ),
    );
  for (const workload of workloadsOf(view)) {
    if (workload.podSets.some((podSet) => podSet.labels[DATAPLANE_MODE] === 'ambient'))
      gates.push(
        gate(
          'mesh',
          'unknown',
          workload.id,
          [`its pods carry ${DATAPLANE_MODE}: ambient, which is judged from its documents, not proven on packets`],
          `remove the label ${DATAPLANE_MODE} from its pod template`,
        ),
      );
    if (workload.batch && !optedOut(workload) && mesh.nativeSidecars !== 'yes' && !inMesh(workload))
      gates.push(
        gate(
          'mesh',
          mesh.nativeSidecars,
          workload.id,
          ['its pods end, and a sidecar that is no native one keeps them from completing'],
          `native sidecars (Kubernetes 1.29, Istio 1.27 or ENABLE_NATIVE_SIDECARS), or sallyport waive gate=mesh,subject=${workload.id} --reason "..."`,
        ),
      );
    for (const service of view.inventory.services.filter((one) => one.workloads.includes(workload.id)))
      for (const port of service.ports) {
        const target = typeof port.targetPort === 'number' ? port.targetPort : port.port;
        const protocol = SERVER_FIRST_PORTS.get(target);
        const named =
          port.appProtocol !== undefined ||
          (port.name ?? '').includes('-') ||
          ['tcp', 'mysql'].includes(port.name ?? '');
        if (protocol === undefined || named) continue;
        gates.push(
          gate(
            'mesh',
            'no',
            workload.id,
            [
              `Service ${service.name} port ${port.port} is ${protocol}, where the server speaks first, and does not say so`,
            ],
            `name the port tcp-${port.name ?? target} or set appProtocol: tcp on Service ${service.namespace}/${service.name}`,
          ),
        );
      }
  }
  return gates;
}

/** Pods from before the join: they speak plaintext still. */
export function joinedGates(view: View): readonly Gate[] {
  return workloadsOf(view)
    .filter((workload) => workload.podSets.some((podSet) => podSet.mesh === 'mixed' || podSet.mesh === 'unknown'))
    .map((workload) =>
      gate(
        'mesh',
        workload.podSets.some((podSet) => podSet.mesh === 'unknown') ? 'unknown' : 'no',
        workload.id,
        ['some of its pods started before it joined the mesh'],
        `wait until they end, restart them, or sallyport waive gate=mesh,subject=${workload.id} --reason "..."`,
      ),
    );
}

export function exemptPorts(view: View, workload: Workload): readonly number[] {
  const ports = new Set<number>();
  for (const edge of edgesAt(keptEdges(view.edges), 'dst', workload.id))
    if (edge.protocol === 'TCP' && waiverFor(view, 'plaintext', plaintextSubject(workload.id, edge.port)) !== undefined)
      ports.add(edge.port);
  return [...ports].sort((a, b) => a - b);
}

/**
 * Who still speaks plaintext to a workload of the namespace that has a sidecar. Judged by what the caller can do in the simulated
 * state, and by plaintext seen after it joined; records from before the join do not count.
 */
export function plaintextGates(view: View, world: World): readonly Gate[] {
  const gates: Gate[] = [];
  const mine = new Map(workloadsOf(view).map((workload) => [workload.id, workload]));
  const listed = new Set<string>();
  for (const edge of edgesTouching(keptEdges(view.edges), view.namespace)) {
    const dst = edge.dst.kind === 'workload' ? mine.get(edge.dst.id) : undefined;
    if (dst === undefined || edge.protocol !== 'TCP' || !dst.podSets.some((podSet) => podSet.mesh === 'sidecar'))
      continue;
    const key = `${endpointKey(edge.src)} ${dst.id} ${edge.port}`;
    if (listed.has(key)) continue;
    const transport = transportOf(world, edge.src, edge.dst, edge.port);
    const joinedAt = joinTime(view, edge.src.kind === 'workload' ? edge.src.id : undefined);
    const seenAfter = edge.lastPlaintext !== undefined && joinedAt !== undefined && edge.lastPlaintext > joinedAt;
    if (transport.kind === 'mtls' && !seenAfter) continue;
    // The proxy's own ports and rewritten probes never meet the mesh's policies.
    if (UNREDIRECTED_PORTS.has(edge.port)) continue;
    if (edge.src.kind === 'node' && isProbed(dst, edge.port)) continue;
    listed.add(key);
    gates.push(
      gate(
        'plaintext',
        transport.kind === 'unknown' && !seenAfter ? 'unknown' : 'no',
        plaintextSubject(dst.id, edge.port),
        [
          formatEdge(edge),
          seenAfter ? 'seen in plaintext after its source joined the mesh' : transport.because,
          `mode now ${mtlsModeOf(world, dst.id, edge.port).mode}`,
        ],
        fixFor(view, edge.src.kind === 'workload' ? edge.src.id : undefined, endpointKey(edge.src), dst.id, edge.port),
      ),
    );
  }
  return gates.length > 0
    ? gates
    : [gate('plaintext', 'yes', view.namespace, ['every caller of its meshed workloads can speak mTLS'], '')];
}

function isProbed(workload: Workload, port: number): boolean {
  return workload.podSets.some((set) => set.containers.some((container) => container.probePorts.includes(port)));
}

function fixFor(view: View, srcId: string | undefined, src: string, dst: string, port: number): string {
  const exempt = `sallyport waive gate=plaintext,subject=${plaintextSubject(dst, port)} --reason "..." keeps this port PERMISSIVE`;
  const cut = `sallyport accept src=${src},dst=${dst},port=${port} --reason "..." cuts it`;
  const workload = view.inventory.workloads.find((one) => one.id === srcId);
  if (workload === undefined) return `${exempt}; ${cut}`;
  if (optedOut(workload)) return `remove sidecar.istio.io/inject "false" from ${src}; ${exempt}; ${cut}`;
  if (workload.podSets.some((podSet) => podSet.hostNetwork))
    return `${exempt} (host-network pods take no sidecar); ${cut}`;
  if (inMesh(workload)) return `give the port a Service through which ${src} can reach it; ${exempt}; ${cut}`;
  return `sallyport advance ${workload.namespace} --to permissive-mtls first; ${exempt}; ${cut}`;
}

function joinTime(view: View, workload: string | undefined): number | undefined {
  if (workload === undefined) return undefined;
  return view.applied.findLast(
    (applied) =>
      applied.phase === 'permissive-mtls' && applied.step.workload === workload && applied.step.effects.length > 0,
  )?.at;
}
