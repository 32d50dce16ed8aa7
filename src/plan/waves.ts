import type { Edge } from '../model/edge.ts';
import { endpointNamespace, formatPort } from '../model/edge.ts';
import type { Inventory } from '../model/inventory.ts';
import type { PhaseName } from '../model/phase.ts';
import { phaseIndex } from '../model/phase.ts';
import { compareText, uniqueSorted } from '../shared/pure/order.ts';
import { plural } from '../shared/pure/text.ts';

/** Namespaces that are moved together: each joins the mesh, then each takes mTLS alone. */
export interface Wave {
  /** From 1. */
  readonly wave: number;
  readonly namespaces: readonly string[];
  /** One sentence a namespace, and one for each group of namespaces that call each other. */
  readonly why: readonly string[];
}

export interface WaveInput {
  /** Names to be put in order. */
  readonly namespaces: readonly string[];
  /** Edges that must keep working. */
  readonly edges: readonly Edge[];
  readonly inventory: Inventory;
  readonly phases: ReadonlyMap<string, PhaseName>;
  /** True of an edge that keeps its plaintext: its port is exempted from STRICT. */
  readonly exempt?: (edge: Edge) => boolean;
  /** Namespaces in a wave, at most; one that is a circle of callers may be larger. */
  readonly most?: number;
}

const MOST_IN_A_WAVE = 8;

/** How much a sort of data weighs when a namespace is valued: what an attacker would come for first. */
const VALUE: Readonly<Record<string, number>> = {
  'private-keys': 5,
  credentials: 4,
  'personal-data': 4,
  'training-data': 3,
  models: 3,
  'inference-data': 3,
  'code-execution': 3,
  features: 2,
  embeddings: 2,
  experiments: 1,
  metadata: 1,
  events: 1,
  telemetry: 1,
};

interface Group {
  readonly members: readonly string[];
  readonly callers: Set<number>;
}

/**
 * The order in which namespaces move. No namespace takes mTLS alone before those that call it are in the mesh: a caller stands in the
 * same wave or in an earlier one, unless it has joined already, the edge is exempted, or it is a system namespace, which goes last and
 * whose calls are then named. Namespaces that call each other in a circle share a wave. Of those that may go, the ones that hold most
 * and are coupled least go first; the mesh's root namespace goes last of all. Namespaces in the last phase already are left out.
 * The answer does not depend on the order of the input.
 */
export function computeWaves(input: WaveInput): readonly Wave[] {
  const { inventory, phases } = input;
  const system = new Map(
    inventory.namespaces.flatMap((one) => (one.system === undefined ? [] : [[one.name, one.system]])),
  );
  const root = inventory.facts.mesh.kind === 'istio' ? inventory.facts.mesh.rootNamespace : undefined;
  const open = uniqueSorted(input.namespaces).filter((name) => phases.get(name) !== 'identity');
  const isLast = (name: string): boolean => name === root || system.has(name);
  const names = open.filter((name) => !isLast(name));
  const calls = callsBetween(input);
  const values = valuesOf(inventory);

  const wanted = new Set(names);
  const joined = (name: string): boolean => phaseIndex(phases.get(name) ?? 'none') >= phaseIndex('permissive-mtls');
  /** Callers that a namespace waits for. */
  const waitsFor = (name: string): readonly string[] =>
    [...(calls.callers.get(name)?.keys() ?? [])]
      .filter((caller) => wanted.has(caller) && !joined(caller))
      .sort(compareText);

  const groups = groupCircles(names, waitsFor);
  const out: Wave[] = [];
  const waveOf = new Map<string, number>();
  const left = new Set(groups.keys());
  const score = (group: Group): number =>
    Math.max(
      ...group.members.map((name) => (values.get(name)?.points ?? 0) / (1 + (calls.coupled.get(name)?.size ?? 0))),
    );
  const most = Math.max(1, input.most ?? MOST_IN_A_WAVE);
  while (left.size > 0) {
    const wave: string[] = [];
    const why: string[] = [];
    const number = out.length + 1;
    const before = new Set(left);
    // Callers of this very wave join before anybody in it takes mTLS alone, but a wave that is read in one look keeps them apart.
    const free = [...left]
      .filter((index) => [...(groups[index]?.callers ?? [])].every((caller) => !before.has(caller)))
      .map((index) => groups[index])
      .filter((group) => group !== undefined)
      .sort((a, b) => score(b) - score(a) || compareText(a.members[0] ?? '', b.members[0] ?? ''));
    for (const group of free) {
      if (wave.length > 0 && wave.length + group.members.length > most) continue;
      left.delete(groups.indexOf(group));
      if (group.members.length > 1) why.push(circleText(group.members, calls));
      for (const name of group.members) {
        wave.push(name);
        waveOf.set(name, number);
        why.push(whyText(name, waitsFor(name), group.members));
      }
    }
    out.push({ wave: number, namespaces: wave, why });
  }
  const ends: readonly (readonly string[])[] = [
    open.filter((name) => isLast(name) && name !== root),
    open.filter((name) => name === root),
  ];
  for (const last of ends) {
    if (last.length === 0) continue;
    out.push({
      wave: out.length + 1,
      namespaces: last,
      why: last.map((name) =>
        name === root
          ? `${name} is the root of the mesh: what is set here holds everywhere, so it goes last of all`
          : `${name} goes last: ${system.get(name) ?? ''}`,
      ),
    });
  }
  return out;

  function whyText(name: string, waited: readonly string[], members: readonly string[]): string {
    const value = values.get(name);
    const coupled = calls.coupled.get(name)?.size ?? 0;
    const earlier = waited.filter((caller) => !members.includes(caller));
    const systemCallers = [...(calls.callers.get(name) ?? [])].filter(([caller]) => isLast(caller) && !joined(caller));
    return [
      `${name}: ${value === undefined || value.sorts.length === 0 ? 'holds nothing known to be sensitive' : `holds ${value.sorts.join(', ')}`}`,
      coupled === 0 ? 'coupled with no other namespace' : `coupled with ${plural(coupled, 'other namespace')}`,
      ...(earlier.length === 0
        ? []
        : [
            `called by ${earlier.map((caller) => `${caller} (wave ${waveOf.get(caller) ?? '?'})`).join(', ')}, in the mesh by then`,
          ]),
      ...systemCallers
        .sort(([a], [b]) => compareText(a, b))
        .map(
          ([caller, edge]) =>
            `called by ${caller}, which goes last: exempt port ${formatPort(edge)} before STRICT, or accept the edge`,
        ),
    ].join('; ');
  }
}

interface Calls {
  /** Callee -> caller -> one edge that shows it. */
  readonly callers: ReadonlyMap<string, ReadonlyMap<string, Edge>>;
  /** Namespaces with traffic between them, either way. */
  readonly coupled: ReadonlyMap<string, ReadonlySet<string>>;
}

function callsBetween({ edges, exempt }: WaveInput): Calls {
  const callers = new Map<string, Map<string, Edge>>();
  const coupled = new Map<string, Set<string>>();
  const couple = (a: string, b: string): void => {
    const set = coupled.get(a);
    if (set === undefined) coupled.set(a, new Set([b]));
    else set.add(b);
  };
  for (const edge of edges) {
    const [from, to] = [endpointNamespace(edge.src), endpointNamespace(edge.dst)];
    if (from === undefined || to === undefined || from === to) continue;
    couple(from, to);
    couple(to, from);
    // The mesh carries TCP alone.
    if (edge.protocol !== 'TCP' || edge.review === 'to-be-cut' || exempt?.(edge) === true) continue;
    const own = callers.get(to) ?? new Map<string, Edge>();
    const known = own.get(from);
    if (known === undefined || edge.id < known.id) own.set(from, edge);
    callers.set(to, own);
  }
  return { callers, coupled };
}

interface Value {
  readonly points: number;
  readonly sorts: readonly string[];
}

function valuesOf(inventory: Inventory): ReadonlyMap<string, Value> {
  const sorts = new Map<string, Set<string>>();
  for (const workload of inventory.workloads) {
    const own = sorts.get(workload.namespace) ?? new Set<string>();
    for (const sort of workload.classification.sensitivity) if (sort !== 'unknown') own.add(sort);
    sorts.set(workload.namespace, own);
  }
  return new Map(
    [...sorts].map(([name, own]) => [
      name,
      { points: [...own].reduce((sum, sort) => sum + (VALUE[sort] ?? 1), 0), sorts: uniqueSorted(own) },
    ]),
  );
}

/** Circles of callers as one group each (Tarjan's strongly connected components, without recursion); groups know whom they wait for. */
function groupCircles(names: readonly string[], waitsFor: (name: string) => readonly string[]): readonly Group[] {
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const onStack = new Set<string>();
  const stack: string[] = [];
  const circles: string[][] = [];
  for (const start of names) {
    if (index.has(start)) continue;
    const work: { readonly name: string; readonly next: Iterator<string> }[] = [];
    const enter = (name: string): void => {
      index.set(name, index.size);
      low.set(name, index.get(name) ?? 0);
      stack.push(name);
      onStack.add(name);
      work.push({ name, next: waitsFor(name)[Symbol.iterator]() });
    };
    enter(start);
    for (let top = work.at(-1); top !== undefined; top = work.at(-1)) {
      const { name } = top;
      const step = top.next.next();
      if (step.done !== true) {
        if (!index.has(step.value)) enter(step.value);
        else if (onStack.has(step.value)) low.set(name, Math.min(low.get(name) ?? 0, index.get(step.value) ?? 0));
        continue;
      }
      work.pop();
      const above = work.at(-1);
      if (above !== undefined) low.set(above.name, Math.min(low.get(above.name) ?? 0, low.get(name) ?? 0));
      if (low.get(name) !== index.get(name)) continue;
      const members: string[] = [];
      for (let one = stack.pop(); one !== undefined; one = stack.pop()) {
        onStack.delete(one);
        members.push(one);
        if (one === name) break;
      }
      circles.push(members.sort(compareText));
    }
  }
  circles.sort((a, b) => compareText(a[0] ?? '', b[0] ?? ''));
  const groupOf = new Map(circles.flatMap((members, at) => members.map((name) => [name, at] as const)));
  return circles.map((members, at) => {
    const callers = new Set<number>();
    for (const name of members)
      for (const caller of waitsFor(name)) {
        const other = groupOf.get(caller);
        if (other !== undefined && other !== at) callers.add(other);
      }
    return { members, callers };
  });
}

/** A shortest way round, so that a person sees which calls would have to go. */
function circleText(members: readonly string[], calls: Calls): string {
  const inside = new Set(members);
  const [start = ''] = members;
  const from = new Map<string, string>();
  const queue = [start];
  let end: string | undefined;
  for (let at = 0; at < queue.length && end === undefined; at += 1) {
    const name = queue[at] ?? '';
    for (const caller of [...(calls.callers.get(name)?.keys() ?? [])]
      .filter((one) => inside.has(one))
      .sort(compareText)) {
      if (caller === start) {
        end = name;
        break;
      }
      if (from.has(caller)) continue;
      from.set(caller, name);
      queue.push(caller);
    }
  }
  // Walked from callee to caller: read in the direction of the calls.
  const way: string[] = [start];
  for (let at = end; at !== undefined && at !== start; at = from.get(at)) way.push(at);
  way.push(start);
  return `${fewNames(members, ', ')} call each other (${fewNames(way, ' -> ')}): they move together, and none takes mTLS alone before all of them are in the mesh`;
}

const MOST_NAMES = 12;

function fewNames(names: readonly string[], glue: string): string {
  if (names.length <= MOST_NAMES) return names.join(glue);
  const left = names.length - MOST_NAMES;
  return `${names.slice(0, MOST_NAMES - 1).join(glue)}${glue}(${left} more)${glue}${names.at(-1) ?? ''}`;
}
