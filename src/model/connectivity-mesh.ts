import type { Json } from '../shared/pure/json.ts';
import type { Side, SideTable } from './connectivity-side.ts';
import { answerAt } from './connectivity-side.ts';
import { evaluateConnection, mainReason, UNREDIRECTED_PORTS } from './evaluate.ts';
import type { MeshMembership } from './inventory.ts';
import type { KubeManifest } from './object.ts';
import { groupOf } from './object.ts';
import type { PortRange } from './port-set.ts';
import { ALL_PORTS, portSet } from './port-set.ts';
import type { UnknownRange } from './connectivity-side.ts';
import type { Pod, World } from './world.ts';
import { exposuresOf, podsOfWorkload } from './world.ts';

/** Ports that the proxies of a mesh keep for themselves. */
const OWN_PORTS = [15_000, 15_001, 15_004, 15_006, 15_008, 15_009, 15_053];

const portsOfObject = new WeakMap<KubeManifest, readonly number[]>();
const portsOfWorld = new WeakMap<World, readonly number[]>();

/** Every number from 1 to 65535 in a value: a port may be one, and a number more does no harm. */
function collectPorts(value: Json | undefined, out: Set<number>): void {
  if (typeof value === 'number') {
    if (Number.isInteger(value) && value >= ALL_PORTS.first && value <= ALL_PORTS.last) out.add(value);
  } else if (typeof value === 'string') {
    for (const match of value.matchAll(/\d{1,5}/gu)) collectPorts(Number(match[0]), out);
  } else if (typeof value === 'object' && value !== null) {
    for (const item of Object.values(value)) collectPorts(item, out);
  }
}

function objectPorts(manifest: KubeManifest): readonly number[] {
  const known = portsOfObject.get(manifest);
  if (known !== undefined) return known;
  const found = new Set<number>();
  collectPorts(manifest['spec'], found);
  const ports = [...found];
  portsOfObject.set(manifest, ports);
  return ports;
}

function worldPorts(world: World): readonly number[] {
  const known = portsOfWorld.get(world);
  if (known !== undefined) return known;
  const found = new Set<number>([...UNREDIRECTED_PORTS, ...OWN_PORTS]);
  for (const manifest of world.inventory.policies) {
    if (groupOf(manifest.apiVersion).endsWith('.istio.io')) for (const port of objectPorts(manifest)) found.add(port);
  }
  const ports = [...found];
  portsOfWorld.set(world, ports);
  return ports;
}

function podPorts(world: World, pod: Pod, out: Set<number>): void {
  for (const { port } of pod.ports) out.add(port);
  for (const { targetPort, servicePort } of exposuresOf(world, pod)) {
    out.add(targetPort);
    out.add(servicePort);
  }
  for (const [key, value] of Object.entries(pod.podSet?.annotations ?? {})) {
    if (key.includes('istio.io/')) collectPorts(value, out);
  }
}

/** Every port between two that the mesh may treat apart is judged by the first of them. */
function segmentsOf(ports: ReadonlySet<number>): readonly PortRange[] {
  const starts = new Set<number>([ALL_PORTS.first]);
  for (const port of ports) {
    starts.add(port);
    if (port < ALL_PORTS.last) starts.add(port + 1);
  }
  const sorted = [...starts].sort((a, b) => a - b);
  return sorted.map((first, index) => ({ first, last: (sorted[index + 1] ?? ALL_PORTS.last + 1) - 1 }));
}

/**
 * What is left of a side when the mesh has its say, for one pair of workloads. The mesh is asked once for each run of ports between
 * those that a pod, a Service or an Istio object names, and only where NetworkPolicy does not deny.
 */
export function meshSide(world: World, sides: SideTable, src: string, dst: string, side: Side): Side {
  const pods = [...podsOfWorkload(world, src), ...podsOfWorkload(world, dst)];
  const outside = (pod: Pod): boolean => pod.hostNetwork || pod.podSet?.mesh === 'none';
  if (world.inventory.facts.mesh.kind === 'none' || pods.every(outside)) return side;
  // A tunnel needs a port as well: where none is open, neither is its own.
  if (side.yes[0].length === 0 && side.unknown[0].length === 0) return side;
  const tunnels = pods.some(
    ({ podSet }) =>
      podSet?.mesh === 'ambient' || (mayBeAny(podSet?.mesh) && world.inventory.facts.mesh.mode !== 'sidecar'),
  );
  const ports = new Set(worldPorts(world));
  for (const pod of pods) podPorts(world, pod, ports);
  for (const { first, last } of [...side.yes[0], ...side.unknown[0]]) {
    ports.add(first);
    if (last < ALL_PORTS.last) ports.add(last + 1);
  }
  const yes: PortRange[] = [];
  const unknown: UnknownRange[] = [];
  const query = { src: { kind: 'workload', id: src }, dst: { kind: 'workload', id: dst }, protocol: 'TCP' } as const;
  for (const { first, last } of segmentsOf(ports)) {
    // What travels in tunnels NetworkPolicy sees as such, so that what it says of the port itself is beside the point.
    const before = tunnels ? 'yes' : answerAt(side, 'TCP', first);
    if (before === 'no') continue;
    const verdict = evaluateConnection(world, { ...query, port: first }, { networkPolicy: tunnels });
    if (verdict.answer === 'denied') continue;
    const known = tunnels ? undefined : side.unknown[0].find((range) => range.first <= first && first <= range.last);
    if (known !== undefined) unknown.push({ first, last, reason: known.reason });
    else if (verdict.answer === 'unknown') unknown.push({ first, last, reason: `mesh: ${mainReason(verdict)}` });
    else yes.push({ first, last });
  }
  return sides.of([portSet(yes), side.yes[1], side.yes[2]], [joined(unknown), side.unknown[1], side.unknown[2]]);
}

function mayBeAny(mesh: MeshMembership | undefined): boolean {
  return mesh === undefined || mesh === 'mixed' || mesh === 'unknown';
}

function joined(ranges: readonly UnknownRange[]): readonly UnknownRange[] {
  const out: UnknownRange[] = [];
  for (const range of ranges) {
    const previous = out.at(-1);
    if (previous?.reason === range.reason && previous.last + 1 === range.first)
      out[out.length - 1] = { ...previous, last: range.last };
    else out.push(range);
  }
  return out;
}
