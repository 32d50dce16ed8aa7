import type { Edge, Endpoint } from '../model/edge.ts';
import { endpointKey } from '../model/edge.ts';
import { UNREDIRECTED_PORTS } from '../model/evaluate.ts';
import { edgesAtAny } from '../model/edge-index.ts';
import type { Inventory, Workload } from '../model/inventory.ts';
import { accountsOfPodSet } from '../model/inventory.ts';
import { workloadById } from '../model/inventory-index.ts';
import { speaksHttp } from '../model/istio-protocol.ts';
import { comparedPath } from '../model/istio-text.ts';
import type { KubeManifest } from '../model/object.ts';
import { buildAuthorizationPolicy } from '../objects/build.ts';
import type { JsonObject } from '../shared/pure/json.ts';
import { groupBy, sortBy, uniqueSorted } from '../shared/pure/order.ts';
import type { CandidateContext, CandidateProblem } from './network.ts';
import { policyName } from './network.ts';
import { generalisePaths, readsTemplates } from './paths.ts';
import { chooseSelector } from './selector.ts';

export interface AuthorizationRule {
  readonly peer: string;
  readonly rule: JsonObject;
  readonly edges: readonly Edge[];
  readonly note?: string;
}

export interface AuthorizationCandidate {
  readonly workload: string;
  readonly object?: KubeManifest;
  readonly rules: readonly AuthorizationRule[];
  readonly problems: readonly CandidateProblem[];
}

/** `cluster.local/ns/shop/sa/web`, as AuthorizationPolicy writes a principal. */
export function principal(trustDomain: string, namespace: string, serviceAccount: string): string {
  return `${trustDomain}/ns/${namespace}/sa/${serviceAccount}`;
}

/** The principals of a workload's sidecars, those of runs under way too; empty where no pod of it has one. */
export function principalsOfWorkload(inventory: Inventory, id: string): readonly string[] {
  const workload = workloadById(inventory, id);
  if (workload === undefined) return [];
  return uniqueSorted(
    workload.podSets
      .filter((podSet) => podSet.mesh === 'sidecar')
      .flatMap(accountsOfPodSet)
      .map((account) => principal(inventory.facts.mesh.trustDomain, workload.namespace, account)),
  );
}

/** Is a pod port HTTP by declaration (Service port name or appProtocol)? HTTP rules match nothing on any other port. */
export function isDeclaredHttp(inventory: Inventory, workload: Workload, port: number): boolean {
  const ports = inventory.services
    .filter((service) => service.workloads.includes(workload.id))
    .flatMap((service) => service.ports)
    .filter((one) => {
      if (typeof one.targetPort === 'number') return one.targetPort === port;
      return workload.podSets.some((set) =>
        set.containers.some((container) =>
          container.ports.some((declared) => declared.name === one.targetPort && declared.port === port),
        ),
      );
    });
  return ports.length > 0 && ports.every((one) => speaksHttp(one.appProtocol, one.name, one.port) === true);
}

export interface Operation {
  readonly ports: readonly string[];
  readonly methods?: readonly string[];
  readonly paths?: readonly string[];
}

/** Operations of one caller, and what of them is not as it was seen. */
export interface Operations {
  readonly list: readonly Operation[];
  readonly notes: readonly string[];
}

/** More paths than this of one method are no list that a person reads, or a proxy walks for every request: the method alone is named. */
const MOST_PATHS = 200;

/** The least share of connections with a request on record for methods and paths to be named. */
const REQUEST_SHARE = 0.8;

function countOf(edges: readonly Edge[]): number {
  return edges.reduce((sum, edge) => sum + edge.count, 0);
}

/**
 * Operations for the edges of one caller. Methods and paths are named only where the port is declared HTTP, every day with a
 * connection has a request on record, and requests are as many as most of the connections: a partial view of requests must not become
 * a rule. Nor does a path with an asterisk or a brace, which AuthorizationPolicy would read as a pattern that admits more than was seen.
 * Paths are written as the proxy compares them, and ids and names of models in them as templates where the mesh reads those (paths.ts).
 */
export function operations(inventory: Inventory, workload: Workload, edges: readonly Edge[]): Operations {
  const notes: string[] = [];
  if (edges.some((edge) => edge.endPort !== undefined)) return { list: [], notes };
  const out: Operation[] = [];
  for (const [port, list] of sortBy(groupBy(edges, (edge) => String(edge.port)).entries(), ([key]) =>
    key.padStart(5, '0'),
  )) {
    const requests = list.filter((edge) => edge.l7 !== undefined);
    const plain = list.filter((edge) => edge.l7 === undefined);
    const seenDays = new Set(requests.flatMap((edge) => edge.days));
    const complete =
      requests.length > 0 &&
      requests.every((edge) => edge.l7 !== undefined && !/[*{}]/u.test(edge.l7)) &&
      plain.every((edge) => edge.origin.kind === 'observed' && edge.days.every((day) => seenDays.has(day))) &&
      countOf(requests) >= REQUEST_SHARE * countOf(plain);
    if (!complete || !isDeclaredHttp(inventory, workload, Number(port))) {
      out.push({ ports: [port] });
      continue;
    }
    const split = requests.map((edge) => {
      const text = edge.l7 ?? '';
      const space = text.indexOf(' ');
      return { method: text.slice(0, space), path: text.slice(space + 1) };
    });
    for (const [method, ones] of sortBy(groupBy(split, (one) => one.method).entries(), ([key]) => key)) {
      const templates = readsTemplates(inventory.facts.mesh.version);
      const paths = generalisePaths(
        ones.map((one) => comparedPath(one.path)),
        templates,
      );
      for (const { path, from } of paths)
        if (from.length > 1)
          notes.push(`${method} ${path} stands for ${from.length} paths on record, such as ${from[0] ?? ''}`);
      if (paths.length > MOST_PATHS) notes.push(`${method} on ${paths.length} paths: the method is named, and no path`);
      out.push({
        ports: [port],
        methods: [method],
        ...(paths.length > MOST_PATHS ? {} : { paths: paths.map(({ path }) => path) }),
      });
    }
  }
  return { list: out, notes };
}

/**
 * Who may call the workload, as an ALLOW policy on principals. Callers without an identity (outside the mesh, the API server) get a
 * rule that names the port alone, and it says so. UDP is not the mesh's. Extra principals admit an account that is being moved.
 */
export function deriveAuthorization(
  context: CandidateContext,
  workload: Workload,
  extraPrincipals: ReadonlyMap<string, readonly string[]> = new Map(),
): AuthorizationCandidate {
  const { inventory } = context;
  const edgesTo = (ids: readonly string[]): readonly Edge[] =>
    edgesAtAny(context.edges, 'dst', ids).filter((edge) => edge.protocol === 'TCP');
  const own = edgesTo([workload.id]);
  if (own.length === 0) return { workload: workload.id, rules: [], problems: [] };
  const choice = chooseSelector(workload, inventory);
  if (choice.kind === 'none' || (choice.kind === 'shared' && !context.waived('selector', workload.id)))
    return {
      workload: workload.id,
      rules: [],
      problems: [
        {
          gate: 'selector',
          subject: workload.id,
          text: `no lasting label selects ${workload.id} alone`,
          fix: `add the label "sallyport.dev/workload: ${workload.name}" to its pod template`,
        },
      ],
    };
  // Selected together, by a person's waiver: the policy admits the callers of each, by port, since their requests differ.
  const edges = choice.kind === 'shared' ? edgesTo([workload.id, ...choice.also]).map(withoutRequest) : own;
  const rules: AuthorizationRule[] = [];
  for (const [peer, all] of sortBy(groupBy(edges, (edge) => endpointKey(edge.src)).entries(), ([key]) => key)) {
    const src = all[0]?.src;
    if (src === undefined) continue;
    const list = all.filter((edge) => !UNREDIRECTED_PORTS.has(edge.port));
    if (list.length === 0) continue;
    const probes = isProbe(src, list, workload);
    if (probes) continue;
    const known = src.kind === 'workload' ? principalsOfWorkload(inventory, src.id) : [];
    // Whoever has no identity of its own, or not in all of its pods, is admitted by port: an account beside it would shut the others out.
    const principals =
      known.length > 0 ? uniqueSorted([...known, ...(extraPrincipals.get(endpointKey(src)) ?? [])]) : [];
    const exempt = list.filter((edge) => context.plaintextExempt(endpointKey(edge.dst), edge.port));
    const named = list.filter((edge) => !exempt.includes(edge));
    for (const [part, who] of [
      [named, principals],
      [exempt, []],
    ] as const) {
      if (part.length === 0) continue;
      const { list: operated, notes } = operations(inventory, workload, part);
      const to = operated.map((operation) => ({ operation: { ...operation } }));
      rules.push({
        peer,
        rule: {
          ...(who.length === 0 ? {} : { from: [{ source: { principals: who } }] }),
          ...(to.length === 0 ? {} : { to }),
        },
        edges: part,
        ...(who.length === 0
          ? { note: 'a caller without a mesh identity: the port is named, not the caller' }
          : to.length === 0
            ? { note: 'ephemeral ports: AuthorizationPolicy knows no ranges, so every port for this caller' }
            : notes.length > 0
              ? { note: notes.join('; ') }
              : {}),
      });
    }
  }
  const written = rules.map((rule) => rule.rule).filter((rule) => Object.keys(rule).length > 0);
  if (written.length === 0) return { workload: workload.id, rules, problems: [] };
  return {
    workload: workload.id,
    rules,
    problems: [],
    object: buildAuthorizationPolicy(
      { name: policyName(workload, inventory, ''), namespace: workload.namespace, workload: workload.id },
      choice.labels,
      written,
    ),
  };
}

function withoutRequest(edge: Edge): Edge {
  const { l7, ...bare } = edge;
  return l7 === undefined ? edge : bare;
}

/** Kubelet probes are rewritten to the agent's port in an injected pod and never meet the workload's policy. */
function isProbe(src: Endpoint, edges: readonly Edge[], workload: Workload): boolean {
  if (src.kind !== 'node') return false;
  const ports = new Set(workload.podSets.flatMap((set) => set.containers.flatMap((one) => one.probePorts)));
  return edges.every((edge) => ports.has(edge.port));
}
