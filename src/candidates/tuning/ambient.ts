import type { KubeManifest } from '../../model/object.ts';
import { groupOf, namespaceOf } from '../../model/object.ts';
import { short } from '../../model/tuning.ts';
import { asArray, asObject } from '../../shared/pure/json.ts';
import type { Proposal, TuningInput } from './proposal.ts';
import { evidenceOf, makeProposal, percentRange, workloadsIn } from './proposal.ts';

const MB = 1024 * 1024;
/** At 1000 requests a second (istio.io, "Performance and Scalability", 1.24): a sidecar, a waypoint, a ztunnel. Memory in bytes. */
export const PUBLISHED = {
  sidecar: { cores: 0.2, bytes: 60 * MB },
  waypoint: { cores: 0.25, bytes: 60 * MB },
  ztunnel: { cores: 0.06, bytes: 12 * MB },
} as const;
const LEAST_PROXIES = 10;

/** The sidecars of a namespace against ztunnel and waypoints: what each takes, and what would change. A plan to read, not to apply. */
export function proposeAmbient(input: TuningInput): readonly Proposal[] {
  const { namespace, inventory, objects, metrics } = input;
  const { mesh } = inventory.facts;
  if (mesh.kind !== 'istio' || mesh.mode !== 'sidecar') return [];
  const mine = workloadsIn(input).filter((one) => one.podSets.some((set) => set.mesh === 'sidecar'));
  const figures = metrics.proxies.filter((one) => mine.some(({ id }) => id === one.workload));
  const proxies = figures.reduce((sum, one) => sum + (one.proxies ?? 0), 0);
  const bytes = figures.reduce((sum, one) => sum + (one.proxies ?? 0) * (one.memoryBytes ?? 0), 0);
  if (proxies < LEAST_PROXIES || bytes === 0) return [];
  const l7 = objects.filter(
    (one) =>
      namespaceOf(one) === namespace &&
      (asksRequests(one) || one.kind === 'VirtualService' || one.kind === 'RequestAuthentication'),
  );
  const nodes = Math.max(1, inventory.nodes.length);
  const waypoints = l7.length === 0 ? 0 : 2;
  const left = (times: number): number =>
    ((nodes * PUBLISHED.ztunnel.bytes + waypoints * PUBLISHED.waypoint.bytes) * times) / bytes;
  const open = l7.map((one) => `${one.kind} ${one.metadata.name}`);
  return [
    makeProposal({
      kind: 'ambient',
      namespace,
      subject: namespace,
      title: `${namespace} without sidecars: ztunnel on ${inventory.nodes.length === 0 ? 'each node' : `${nodes} nodes`}${waypoints === 0 ? '' : ' and a waypoint'}`,
      evidence: evidenceOf(
        ['sidecars', proxies, ''],
        ['memory of all of them', bytes, 'bytes'],
        ['CPU of all of them', figures.reduce((sum, one) => sum + (one.cpuCores ?? 0), 0), 'cores'],
        ['objects that look at requests', l7.length, ''],
      ),
      gain: {
        metric: 'memory of all of them',
        before: bytes,
        unit: 'bytes',
        ...percentRange(1 - left(3), 1 - left(1)),
        derivation: `1 - (${nodes} ztunnels x 12 MB + ${waypoints} waypoints x 60 MB)/${short(bytes / MB)} MB, as Istio publishes them for 1000 requests a second; three times as much at worst. ztunnels are shared with other namespaces, and counted whole here`,
      },
      risks: [
        'in ambient NetworkPolicy sees the tunnel to port 15008 in place of the ports: docs/platforms/istio.md',
        'what is said of ambient here is not proven on packets',
      ],
      instruction: [
        'install the profile ambient beside the sidecars (istio-cni, ztunnel), and see that the CNI lets 15008 and 169.254.7.127 through',
        ...(l7.length === 0
          ? [`nothing in ${namespace} looks at requests: no waypoint is needed`]
          : [
              `a waypoint first, for ${open.slice(0, 5).join(', ')}${open.length > 5 ? ` and ${open.length - 5} more` : ''}: istioctl waypoint apply -n ${namespace} --enroll-namespace; policies then name it by targetRefs`,
            ]),
        `what would change: label istio.io/dataplane-mode=ambient on Namespace ${namespace}, istio-injection taken away, ${mine.length} workloads restarted; Sidecar and EnvoyFilter resources end; PeerAuthentication DISABLE is not followed`,
        `see each step judged first: sallyport plan ${namespace} --states ./states, with cluster.mesh.mode: ambient in the configuration`,
      ],
      sources: [
        'istio.io/latest/docs/ops/deployment/performance-and-scalability',
        'istio.io/latest/docs/ambient/usage/waypoint',
        'istio.io/latest/docs/ambient/usage/networkpolicy',
      ],
    }),
  ];
}

/** Does a policy ask for what only a proxy that reads requests can see? */
function asksRequests(object: KubeManifest): boolean {
  if (object.kind !== 'AuthorizationPolicy' || groupOf(object.apiVersion) !== 'security.istio.io') return false;
  const spec = asObject(object['spec']);
  if (spec['action'] === 'CUSTOM') return true;
  return asArray(spec['rules']).some((rule) =>
    asArray(asObject(rule)['to']).some((one) => {
      const operation = asObject(asObject(one)['operation']);
      return ['methods', 'notMethods', 'paths', 'notPaths', 'hosts', 'notHosts'].some(
        (key) => operation[key] !== undefined,
      );
    }),
  );
}
