import { meshDenial } from './mesh.ts';
import { networkDenial } from './network.ts';
import type { Denial } from './network.ts';
import { readState, readStates } from './states.ts';
import { buildWorld, partiesOf } from './world.ts';
import type { Facts, Pod, World } from './world.ts';

/** A connection that has to work in every state. Ids: namespace/Kind/name, external:<name or address>, node, api-server. */
export interface Edge {
  readonly src: string;
  readonly dst: string;
  readonly protocol: string;
  /** The port of the pod, after any Service; or every port of a range. */
  readonly port: number | { readonly from: number; readonly to: number };
  /** A request on it, as `GET /v1/score`. */
  readonly l7?: string;
}

export interface Violation {
  readonly state: string;
  readonly edge: Edge;
  /** The objects that deny it; empty where a workload is gone. */
  readonly by: readonly string[];
  readonly why: string;
}

export interface CheckOptions extends Facts {
  /** The cluster before the first step, where the states have no 000-... */
  readonly startDir?: string;
}

/**
 * Which legitimate edges would be denied in which of the states of a plan (`000-...` is the start), and by what. An edge that the
 * start denies is nobody's fault and left out. A sidecar that cannot reach istiod keeps its pod from starting, so that edge is asked for too.
 * Throws `Unsupported` where a state holds what the checker does not model.
 */
export function checkStates(
  statesDir: string,
  legitimate: readonly Edge[],
  options: CheckOptions = {},
): readonly Violation[] {
  const states = [...readStates(statesDir, options.defaultNamespace)];
  if (states.length === 0) throw new Error(`${statesDir} holds no states`);
  if (options.startDir !== undefined)
    states.unshift(readState(options.startDir, '000-start', options.defaultNamespace));
  const violations: Violation[] = [];
  const deniedBefore = new Set<string>();
  let before: World | undefined;
  for (const state of states) {
    const world = buildWorld(state, before, options);
    const isStart = before === undefined && state.name.startsWith('000');
    for (const edge of [...legitimate, ...controlPlaneEdges(world, legitimate)]) {
      const denial = edgeDenial(world, edge);
      if (denial === undefined) continue;
      if (isStart) {
        if (denial === 'no such workload') throw new Error(`${edge.src} or ${edge.dst} is not a workload of the start`);
        deniedBefore.add(JSON.stringify(edge));
      } else if (!deniedBefore.has(JSON.stringify(edge)))
        violations.push({
          state: state.name,
          edge,
          ...(denial === 'no such workload' ? { by: [], why: `${edge.src} or ${edge.dst} is gone` } : denial),
        });
    }
    before = world;
  }
  return violations;
}

function edgeDenial(world: World, edge: Edge): Denial | 'no such workload' | undefined {
  const sources = partiesOf(world, edge.src);
  const targets = partiesOf(world, edge.dst);
  if (sources === undefined || targets === undefined) return 'no such workload';
  for (const from of sources)
    for (const to of targets)
      for (const port of portsToTry(world, edge.port)) {
        const denial =
          networkDenial(world, from, to, edge.protocol, port) ??
          (isProxyItself(edge) ? undefined : meshDenial(world, from, to, edge.protocol, port, edge.l7));
        if (denial !== undefined) return denial;
      }
  return undefined;
}

/** Of a range: both ends, and every number a policy mentions with its neighbours. Between those no rule begins or ends. */
function portsToTry(world: World, port: Edge['port']): readonly number[] {
  if (typeof port === 'number') return [port];
  const policies = world.objects.filter(
    (one) => one.kind.endsWith('NetworkPolicy') || one.group === 'security.istio.io',
  );
  const mentioned = [...JSON.stringify(policies.map((one) => one.raw)).matchAll(/\b\d{1,5}\b/g)].map(Number);
  const near = mentioned.flatMap((one) => [one - 1, one, one + 1]);
  return [...new Set([port.from, port.to, ...near.filter((one) => one > port.from && one < port.to)])];
}

const ISTIOD_PORT = 15012;

/** Every sidecar among the edges' workloads gets certificate and configuration from istiod. */
function controlPlaneEdges(world: World, legitimate: readonly Edge[]): readonly Edge[] {
  const istiod = [...world.pods.values()]
    .flat()
    .find((pod) => pod.namespace === world.rootNamespace && pod.labels['istio'] === 'pilot');
  if (istiod === undefined) return [];
  const workloads = new Set(legitimate.flatMap((edge) => [edge.src, edge.dst]));
  const isMeshed = (pods: readonly Pod[] | undefined): boolean => (pods ?? []).some((pod) => pod.sidecar);
  return [...workloads]
    .filter((workload) => isMeshed(world.pods.get(workload)))
    .map((src) => ({ src, dst: istiod.workload, protocol: 'TCP', port: ISTIOD_PORT }));
}

/** The agent beside the proxy talks TLS with istiod by itself. */
function isProxyItself(edge: Edge): boolean {
  return edge.port === ISTIOD_PORT;
}

/** For a failed test's message: one line each. */
export function renderViolations(violations: readonly Violation[]): string {
  return violations
    .map(
      ({ state, edge, by, why }) =>
        `${state}: ${edge.src} -> ${edge.dst} ${edge.protocol}/${JSON.stringify(edge.port)}: ${why} [${by.join(', ')}]`,
    )
    .join('\n');
}
