import { uniqueSorted } from '../shared/pure/order.ts';
import { endpointKey } from './edge.ts';
import type { Endpoint } from './edge.ts';
import { ambientTransport, isAmbient, judgeAmbient } from './istio-ambient.ts';
import { authorize } from './istio-authorization.ts';
import type { ClientChoice, ClientTls } from './istio-client.ts';
import { clientTls, registryOnly, sidecarsOf } from './istio-client.ts';
import type { MeshAnswer, MeshQuery } from './istio-party.ts';
import {
  annotationOf,
  FINE,
  INTERCEPTION_MODE,
  isLeftOut,
  istioOf,
  membershipOf,
  principalText,
  reasonOf,
  textOf,
  UNREDIRECTED_PORTS,
  unknownMtls,
  waysOf,
} from './istio-party.ts';
import type { ModeChoice } from './istio-peer-authentication.ts';
import { modesOf, portsToAsk } from './istio-peer-authentication.ts';
import type { MtlsMode } from './istio-types.ts';
import type { Tri } from './tri.ts';
import { agreed, and } from './tri.ts';
import type { Reason } from './verdict.ts';
import type { Party, Pod, World } from './world.ts';
import { cached, partiesOf, podsOfWorkload, selectsPod } from './world.ts';

export type { MeshAnswer, MeshQuery } from './istio-party.ts';
export { UNREDIRECTED_PORTS } from './istio-party.ts';

type Server = 'sidecar' | 'none';

function serversOf(world: World, party: Party): readonly Server[] {
  return waysOf(world, party).filter((way) => way !== 'ambient');
}

/**
 * The mTLS mode that PeerAuthentication sets for a port of a workload: mesh, namespace, workload, port; UNSET inherits; of
 * several at one level the oldest wins, then the first by name; PERMISSIVE where nothing says. Whether the workload has a
 * sidecar that acts on it is another question. `by` names the object. Rule: Istio's PeerAuthentication reference.
 */
export function mtlsModeOf(
  world: World,
  workloadId: string,
  port: number,
): { readonly mode: MtlsMode | 'unknown'; readonly by: string } {
  if (world.inventory.facts.mesh.kind === 'none') return { mode: 'DISABLE', by: 'there is no service mesh' };
  const choices = podsOfWorkload(world, workloadId).flatMap((pod) =>
    modesOf(world, pod, port, pod.podSet?.mesh === 'ambient'),
  );
  const [first] = choices;
  if (first !== undefined && choices.every(({ mode }) => mode === first.mode))
    return { mode: first.mode, by: first.by };
  return { mode: 'unknown', by: uniqueSorted(choices.map(({ mode, by }) => `${mode} by ${by}`)).join('; ') };
}

/**
 * How a connection travels: membership of the client, the DestinationRule in force for it, and automatic mTLS towards what
 * the server's PeerAuthentication takes. Automatic mTLS is taken to be on unless the mesh configuration switches it off.
 */
export function transportOf(
  world: World,
  src: Endpoint,
  dst: Endpoint,
  port: number,
): { readonly kind: 'mtls' | 'plaintext' | 'unknown'; readonly because: string } {
  if (world.inventory.facts.mesh.kind === 'none') return { kind: 'plaintext', because: 'There is no service mesh.' };
  const query: MeshQuery = { protocol: 'TCP', first: port, last: port };
  const kinds = new Set<'mtls' | 'plaintext' | 'unknown'>();
  const notes: string[] = [];
  for (const from of partiesOf(world, src)) {
    for (const to of partiesOf(world, dst)) {
      if (isAmbient(world, from, to)) {
        const { kind, because } = ambientTransport(world, from, to);
        kinds.add(kind);
        notes.push(because);
        continue;
      }
      const choice = clientTls(world, from, to, query);
      notes.push(choice.because);
      for (const kind of choice.kinds) kinds.add(transportWith(world, kind, to, port));
    }
  }
  const [only] = kinds;
  const kind = kinds.size === 1 && only !== undefined ? only : 'unknown';
  const toNone = partiesOf(world, dst).every((party) => membershipOf(party) === 'none');
  if (kind === 'plaintext' && toNone) notes.push(`${endpointKey(dst)} has no sidecar.`);
  return { kind, because: uniqueSorted(notes.filter((note) => note !== '')).join(' ') };
}

function transportWith(world: World, kind: ClientTls, dst: Party, port: number): 'mtls' | 'plaintext' | 'unknown' {
  if (kind === 'plaintext') return 'plaintext';
  if (kind === 'mutual') return 'mtls';
  if (kind === 'simple' || kind === 'custom') return 'unknown';
  const servers = serversOf(world, dst);
  if (servers.length > 1) return 'unknown';
  if (servers[0] === 'none' || dst.pod === undefined) return 'plaintext';
  const modes = modesOf(world, dst.pod, port).map(({ mode }) => mode);
  if (modes.includes('unknown')) return 'unknown';
  if (modes.every((mode) => mode === 'DISABLE')) return 'plaintext';
  return modes.includes('DISABLE') ? 'unknown' : 'mtls';
}

/** Does a pair (client, server, mode) get a connection at all? */
function handshake(client: ClientTls, server: Server, mode: MtlsMode | 'unknown'): Tri {
  // A server outside the mesh cannot take mTLS; other TLS is between the client and the server itself.
  if (server === 'none') return client === 'mutual' ? 'no' : 'yes';
  if (client === 'auto') return 'yes';
  // A server that asks for the client's certificate refuses one that has none; elsewhere TLS goes on to the application.
  if (client === 'simple') return mode === 'STRICT' ? 'no' : 'unknown';
  if (client === 'custom' || mode === 'unknown') return 'unknown';
  if (mode === 'PERMISSIVE') return 'yes';
  return (client === 'mutual') === (mode === 'STRICT') ? 'yes' : 'no';
}

function hasIdentity(client: ClientTls, mode: MtlsMode | 'unknown'): readonly boolean[] {
  if (client === 'mutual') return [true];
  if (client === 'plaintext') return [false];
  if (client !== 'auto' || mode === 'unknown') return [true, false];
  return [mode !== 'DISABLE'];
}

/**
 * May this connection happen as far as Istio is concerned: mTLS between the two sides, then the AuthorizationPolicies where they are
 * enforced: at the server's sidecar, or in ambient mode at a waypoint and at ztunnel. Istio acts on TCP alone.
 */
export function judgeMesh(world: World, src: Party, dst: Party, query: MeshQuery): MeshAnswer {
  const { mesh } = world.inventory.facts;
  if (mesh.kind === 'none' || query.protocol !== 'TCP') return FINE;
  if (!isAmbient(world, src, dst)) return judgeSidecars(world, src, dst, query);
  return extensionOn(world, src, dst) ?? judgeAmbient(world, src, dst, query, judgeSidecars);
}

/** The same for two sides of which neither is in ambient mode. */
function judgeSidecars(world: World, src: Party, dst: Party, query: MeshQuery): MeshAnswer {
  const [srcMesh, dstMesh] = [membershipOf(src), membershipOf(dst)];
  if (srcMesh === 'none' && dstMesh === 'none') return FINE;
  if (dst.kind === 'unknown') return judgeUnknownServer(world, src);
  const extension = extensionOn(world, src, dst);
  if (extension !== undefined) return extension;
  const server = dst.pod;
  if (server !== undefined && dstMesh !== 'none') {
    const past = pastTheProxy(world, src, dst, server, query);
    if (past !== undefined) return past;
  }
  const outbound = registryOnly(world, src, dst, query);
  if (outbound !== undefined) return outbound;
  return judgeServer(world, src, dst, query);
}

function judgeServer(world: World, src: Party, dst: Party, query: MeshQuery): MeshAnswer {
  const choice = clientTls(world, src, dst, query);
  const servers = serversOf(world, dst);
  const ports = dst.pod === undefined ? [query.first] : portsToAsk(world, dst.pod, query);
  let mtls: Tri = 'yes';
  const modes: ModeChoice[] = [];
  const identities = new Set<boolean>();
  for (const port of ports) {
    const here: readonly ModeChoice[] =
      dst.pod === undefined || !servers.includes('sidecar')
        ? [{ mode: 'PERMISSIVE', by: '' }]
        : modesOf(world, dst.pod, port);
    const answers: Tri[] = [];
    for (const client of choice.kinds) {
      for (const server of servers) {
        for (const { mode } of here) {
          const answer = handshake(client, server, mode);
          answers.push(answer);
          if (server === 'sidecar' && answer !== 'no') for (const one of hasIdentity(client, mode)) identities.add(one);
        }
      }
    }
    mtls = and(mtls, agreed(answers));
    modes.push(...here);
  }
  const reasons = [mtlsReason(mtls, src, dst, servers, modes, choice, query)].filter((reason) => reason !== undefined);
  if (mtls === 'no' || dst.pod === undefined || !servers.includes('sidecar')) return { answer: mtls, reasons };
  const authorized = authorize(world, src, dst, dst.pod, query, [...identities], servers.includes('none'));
  return { answer: and(mtls, authorized.answer), reasons: [...reasons, ...authorized.reasons] };
}

function mtlsReason(
  mtls: Tri,
  src: Party,
  dst: Party,
  servers: readonly Server[],
  modes: readonly ModeChoice[],
  { because, kinds, blame }: ClientChoice,
  query: MeshQuery,
): Reason | undefined {
  const strictest = modes.find(({ mode }) => mode === 'STRICT') ?? modes[0];
  const by = strictest === undefined || strictest.by === '' ? undefined : strictest;
  const takes = by === undefined ? '' : `${textOf(dst)} is ${by.mode} (${by.by}). `;
  const object = by?.object ?? blame?.object;
  const base = { layer: 'mtls', ...(object === undefined ? {} : { object }) } as const;
  const out = servers.includes('sidecar') ? '' : `${textOf(dst)} has no sidecar. `;
  switch (mtls) {
    case 'no':
      return {
        ...base,
        decision: 'denies',
        text: `${takes}${out}${because} The connection fails.`,
        remedy: mtlsRemedy(src, dst, servers, kinds, blame?.remedy, query),
      };
    case 'unknown': {
      const doubt = servers.length > 1 ? `Whether all pods of ${textOf(dst)} have a sidecar is not known. ` : '';
      return {
        ...base,
        decision: 'unknown',
        text: `${takes}${doubt}${because} Whether they can connect cannot be told.`,
      };
    }
    case 'yes':
      return by === undefined ? undefined : { ...base, decision: 'allows', text: `${takes}${because}` };
  }
}

/** The least that lets the two speak. */
function mtlsRemedy(
  src: Party,
  dst: Party,
  servers: readonly Server[],
  kinds: ReadonlySet<ClientTls>,
  automatic: string | undefined,
  { first, last }: MeshQuery,
): string {
  const [from, to] = [textOf(src), textOf(dst)];
  const leave = automatic ?? 'Leave client TLS to automatic mTLS';
  if (!servers.includes('sidecar')) return `${leave}, or let ${to} join the mesh.`;
  if (kinds.has('mutual')) return `${leave}, or let ${to} take mTLS (PERMISSIVE).`;
  const ports = first === last ? `portLevelMtls ${first}: PERMISSIVE` : 'mode PERMISSIVE';
  const open = `et ${ports} in a PeerAuthentication that selects ${to}`;
  if (automatic !== undefined) return `${leave}, or s${open}.`;
  if (src.pod === undefined || src.pod.hostNetwork) return `S${open}: ${from} takes no sidecar.`;
  if (!kinds.has('plaintext') || src.pod.podSet?.mesh !== 'sidecar') return `Let ${from} join the mesh, or s${open}.`;
  return `Give the port a Service by whose name ${from} calls it, or s${open}.`;
}

/** Traffic that reaches a pod without its proxy's decision. */
function pastTheProxy(world: World, src: Party, dst: Party, pod: Pod, query: MeshQuery): MeshAnswer | undefined {
  if (query.first !== query.last) return undefined;
  const port = query.first;
  if (UNREDIRECTED_PORTS.has(port)) {
    const text = `Port ${port} is served by the proxy or its agent and is not subject to the mesh's policies.`;
    return { answer: 'yes', reasons: [reasonOf('allows', text, undefined, undefined, 'mtls')] };
  }
  const isKubelet = src.kind === 'node' && src.pod === undefined;
  const rewritten = annotationOf(pod, 'sidecar.istio.io/rewriteAppHTTPProbers') !== 'false';
  const probes = pod.podSet?.containers.some(({ probePorts }) => probePorts.includes(port)) === true;
  if (isKubelet && probes && rewritten) {
    // A named node is the kubelet of some pods here, or forwards other traffic: the probe itself is answered.
    const text = `Probes of ${textOf(dst)} from a node are answered by the agent beside the proxy.`;
    return { answer: 'yes', reasons: [reasonOf('allows', text, undefined, undefined, 'mtls')] };
  }
  if (annotationOf(pod, INTERCEPTION_MODE)?.trim() === 'NONE')
    return unknownMtls(
      `Nothing is redirected into the proxy of ${textOf(dst)} (interceptionMode NONE): whether it or the application answers on port ${port} is not evaluated.`,
    );
  if (!isLeftOut(pod.podSet?.annotations ?? {}, port)) return undefined;
  const { kinds, because } = clientTls(world, src, dst, query);
  const what = `Port ${port} of ${textOf(dst)} is left out of its proxy.`;
  if (kinds.size === 1 && kinds.has('plaintext')) {
    return { answer: 'yes', reasons: [reasonOf('allows', `${what} ${because}`, undefined, undefined, 'mtls')] };
  }
  return unknownMtls(`${what} ${because} A client that sends mTLS there is not understood.`);
}

/** EnvoyFilter and WasmPlugin may do anything; so may listeners of a Sidecar's own. */
export function extensionOn(world: World, src: Party, dst: Party): MeshAnswer | undefined {
  for (const [party, inbound] of [
    [src, false],
    [dst, true],
  ] as const) {
    const { pod } = party;
    if (pod === undefined || !waysOf(world, party).includes('sidecar')) continue;
    const name = cached(world, inbound ? 'extension-inbound' : 'extension-outbound', pod, () =>
      extensionOf(world, pod, inbound),
    );
    if (name === undefined) continue;
    const text = `${name} changes the proxy of ${textOf(party)} in a way that is not evaluated.`;
    return { answer: 'unknown', reasons: [{ layer: 'authorization', decision: 'unknown', object: name, text }] };
  }
  return undefined;
}

function extensionOf(world: World, pod: Pod, inbound: boolean): string | undefined {
  const root = world.inventory.facts.mesh.rootNamespace;
  const namespaces = pod.namespace.name === root ? [root] : [pod.namespace.name, root];
  for (const namespace of namespaces) {
    for (const extension of istioOf(world, namespace).extensions) {
      if (extension.targeted || selectsPod(extension.selector, pod) !== 'no') return extension.name;
    }
  }
  return inbound ? sidecarsOf(world, pod).find((resource) => resource?.ingress === true)?.name : undefined;
}

/** Where the server is not known, nothing is, unless no policy of the mesh could be in the way. */
function judgeUnknownServer(world: World, src: Party): MeshAnswer {
  for (const { peers, authorization } of world.istio.values()) {
    const object =
      peers.find(({ mode, ports }) => mode !== 'PERMISSIVE' || ports.size > 0) ??
      authorization.find(({ action, dryRun }) => action !== 'AUDIT' && (!dryRun || action === 'CUSTOM'));
    if (object === undefined) continue;
    return unknownMtls(
      `The destination of ${textOf(src)} is not known, and ${object.name} may apply to it.`,
      object.name,
    );
  }
  return FINE;
}

/**
 * The principals of an endpoint in the mesh, one for each pod set: `cluster.local/ns/NAMESPACE/sa/ACCOUNT` with the mesh's
 * trust domain. Empty for what is not in the mesh.
 */
export function principalOf(world: World, src: Endpoint): readonly string[] {
  const { trustDomain } = world.inventory.facts.mesh;
  return uniqueSorted(
    partiesOf(world, src).flatMap((party) => {
      const outside = ['none', 'unknown'].includes(membershipOf(party));
      return party.pod === undefined || outside ? [] : (principalText(trustDomain, party.pod) ?? []);
    }),
  );
}
