import type { MtlsMode, PeerAuthentication } from './istio-types.ts';
import type { MeshQuery } from './istio-party.ts';
import { istioOf } from './istio-party.ts';
import type { Pod, World } from './world.ts';
import { cached, selectsPod } from './world.ts';

export interface ModeChoice {
  readonly mode: MtlsMode | 'unknown';
  /** The object that sets it, with the port where that decides, or words for the default. */
  readonly by: string;
  /** The object alone. */
  readonly object?: string;
}

/** The policies that may speak for a pod set, weakest first: of the mesh, of the namespace, of the workload. */
type Chain = readonly PeerAuthentication[];

const isGeneral = ({ selector }: PeerAuthentication): boolean => selector === undefined;

const DEFAULT: ModeChoice = { mode: 'PERMISSIVE', by: 'the default, as no PeerAuthentication says otherwise' };

/**
 * For each policy that may be the one of the workload, the policies that speak: of the mesh (root namespace, no selector), of the
 * namespace, of the workload. Of several at one level the oldest wins. A selector in the root namespace selects nothing.
 */
function chainsOf(world: World, pod: Pod): readonly Chain[] {
  return cached(world, 'peer-authentication', pod, () => {
    const root = world.inventory.facts.mesh.rootNamespace;
    const mesh = istioOf(world, root).peers.find(isGeneral);
    const own = pod.namespace.name === root ? undefined : istioOf(world, pod.namespace.name).peers;
    const base = [mesh, own?.find(isGeneral)].filter((policy) => policy !== undefined);
    const chains: Chain[] = [];
    for (const policy of own ?? []) {
      const selected = policy.selector === undefined ? 'no' : selectsPod(policy.selector, pod);
      if (selected === 'no') continue;
      chains.push([...base, policy]);
      if (selected === 'yes') return chains;
    }
    return [...chains, base];
  });
}

function modeOfChain(chain: Chain, port: number, ambient: boolean): ModeChoice {
  let choice = DEFAULT;
  for (const policy of chain) {
    if (policy.problems.length > 0) {
      choice = { mode: 'unknown', by: policy.name, object: policy.name };
      continue;
    }
    const inherited = choice;
    // UNSET inherits from the level above.
    if (policy.mode !== 'UNSET') choice = { mode: policy.mode, by: policy.name, object: policy.name };
    // Port settings count only where a selector names the workload.
    const onPort = policy.selector === undefined ? undefined : policy.ports.get(port);
    if (onPort === undefined || onPort === 'UNSET') continue;
    choice = { mode: onPort, by: `${policy.name}, port ${port}`, object: policy.name };
    // istiod takes DISABLE on a port for an exception from the policy's own STRICT, but from one above only beside a PERMISSIVE one.
    if (ambient && onPort === 'DISABLE' && policy.mode === 'UNSET' && inherited.mode === 'STRICT')
      choice = { ...choice, mode: 'unknown' };
  }
  if (!ambient || choice.mode !== 'DISABLE') return choice;
  return { ...choice, mode: 'PERMISSIVE', by: `${choice.by}, whose DISABLE ambient mode takes for PERMISSIVE` };
}

/** The modes that may hold for a port: more than one where it is not known which policy selects the pods. */
export function modesOf(world: World, pod: Pod, port: number, ambient = false): readonly ModeChoice[] {
  return chainsOf(world, pod).map((chain) => modeOfChain(chain, port, ambient));
}

/** What PeerAuthentication says of a namespace as a whole: the level that a client's proxy goes by for all its Services. */
export function namespaceMode(world: World, namespace: string): ModeChoice {
  const root = world.inventory.facts.mesh.rootNamespace;
  const mesh = istioOf(world, root).peers.find(isGeneral);
  const own = namespace === root ? undefined : istioOf(world, namespace).peers.find(isGeneral);
  return modeOfChain(
    [mesh, own].filter((policy) => policy !== undefined),
    0,
    false,
  );
}

/** Ports of a query that may have a mode of their own, and one that stands for the others. */
export function portsToAsk(world: World, pod: Pod, { first, last }: MeshQuery): readonly number[] {
  if (first === last) return [first];
  const special = new Set<number>();
  for (const chain of chainsOf(world, pod)) {
    for (const { ports } of chain)
      for (const port of ports.keys()) if (port >= first && port <= last) special.add(port);
  }
  for (let port = first; port <= last; port += 1) {
    if (!special.has(port)) {
      special.add(port);
      break;
    }
  }
  return [...special];
}
