import { authorizationOf, authorizeAs, appearance, settle } from './istio-authorization.ts';
import type { Enforcer } from './istio-authorization.ts';
import { clientTls } from './istio-client.ts';
import { protocolsOf } from './istio-protocol.ts';
import type { MeshAnswer, MeshQuery } from './istio-party.ts';
import {
  annotationOf,
  both,
  HBONE_PORT,
  labelOf,
  NOT_PROVEN,
  reasonOf,
  textOf,
  uniqueReasons,
  unknownMtls,
  waysOf,
} from './istio-party.ts';
import type { Way } from './istio-party.ts';
import { modesOf, portsToAsk } from './istio-peer-authentication.ts';
import { isWaypointOf, throughWaypoint, waypointsOf } from './istio-waypoint.ts';
import type { Tri } from './tri.ts';
import { agreed, and } from './tri.ts';
import type { Party, Pod, World } from './world.ts';
import { nodesOfPod } from './world.ts';

/*
 * Ambient mode: ztunnel on each node carries connections in tunnels (HBONE) and enforces at the server's side what layer 4 allows; a
 * waypoint in front of a Service or workload enforces the rest. Rules: Istio's documentation of ambient mode, and what istiod hands
 * ztunnel (istio/istio pilot/pkg/serviceregistry/ambient). None of it was proven on packets here, and every reason says so.
 */

/** Is one of the two in ambient mode, or may it be? */
export function isAmbient(world: World, ...parties: readonly Party[]): boolean {
  return parties.some((party) => waysOf(world, party).includes('ambient'));
}

type SidecarPair = (world: World, src: Party, dst: Party, query: MeshQuery) => MeshAnswer;

/** May a connection happen of which one side is, or may be, in ambient mode? `pair` judges two sides of which neither is. */
export function judgeAmbient(world: World, src: Party, dst: Party, query: MeshQuery, pair: SidecarPair): MeshAnswer {
  if (dst.kind === 'unknown')
    return marked(
      unknownMtls(`The destination of ${textOf(src)} is not known, and ${textOf(src)} is or may be in ambient mode.`),
    );
  const answers = clientWays(world, src).flatMap((from) =>
    waysOf(world, dst).map((to) => judgeWays(world, asWay(src, from), from, asWay(dst, to), to, query, pair)),
  );
  const answer = agreed(answers.map((one) => one.answer));
  if (answer !== 'unknown')
    return marked({ answer, reasons: uniqueReasons(answers.flatMap(({ reasons }) => reasons)) });
  const settled = settle(answer, answers, 'and how both sides are in the mesh');
  return marked(settled);
}

/** The ways in which a client sends: a waypoint tunnels as ztunnel does. */
export function clientWays(world: World, src: Party): readonly Way[] {
  return isWaypointOf(world, src) ? ['ambient'] : waysOf(world, src);
}

/** Says of every reason that it was not proven on packets. */
function marked({ answer, reasons }: MeshAnswer): MeshAnswer {
  const mark = ` (Ambient mode: ${NOT_PROVEN}.)`;
  return {
    answer,
    reasons: reasons.map((reason) =>
      reason.text.endsWith(mark) ? reason : { ...reason, text: `${reason.text}${mark}` },
    ),
  };
}

const asWays = new WeakMap<Party, Map<Way, Party>>();

/** The party as it is if its pods are in the mesh in this way. */
function asWay(party: Party, way: Way): Party {
  const { pod } = party;
  if (pod?.podSet === undefined || pod.podSet.mesh === way || pod.hostNetwork) return party;
  const known = asWays.get(party) ?? new Map<Way, Party>();
  asWays.set(party, known);
  const out = known.get(way) ?? { ...party, pod: { ...pod, podSet: { ...pod.podSet, mesh: way } } };
  known.set(way, out);
  return out;
}

function allowed(text: string): MeshAnswer {
  return { answer: 'yes', reasons: [reasonOf('allows', text, undefined, undefined, 'mtls')] };
}

function judgeWays(
  world: World,
  src: Party,
  from: Way,
  dst: Party,
  to: Way,
  query: MeshQuery,
  pair: SidecarPair,
): MeshAnswer {
  if (from !== 'ambient' && to !== 'ambient') return pair(world, src, dst, query);
  if (to === 'none') return toOutside(world, src, dst, query);
  if (to === 'sidecar') return toSidecar(world, src, dst, query);
  return dst.pod === undefined ? allowed('') : toAmbient(world, src, from, dst, dst.pod, query);
}

/** To what is outside the mesh ztunnel passes everything through, unless a waypoint stands before the Service: it sends plaintext on from there. */
function toOutside(world: World, src: Party, dst: Party, query: MeshQuery): MeshAnswer {
  const passed = allowed(`ztunnel passes what ${textOf(src)} sends to ${textOf(dst)} through as it is.`);
  const ways = isWaypointOf(world, src) ? [] : waypointsOf(world, dst, query);
  if (ways.length === 0) return passed;
  const answers = ways.map((way): MeshAnswer => {
    switch (way.kind) {
      case 'direct':
        return passed;
      case 'unknown':
        return unknownMtls(way.why);
      case 'waypoint':
        return throughWaypoint(world, src, dst, way, query);
    }
  });
  return settle(agreed(answers.map((one) => one.answer)), answers, byWhat(src, dst));
}

/** What decides where the ways of a client to a server are judged unlike. */
function byWhat(src: Party, dst: Party): string {
  return `${textOf(src)} calls ${textOf(dst)} by a Service or by its address`;
}

const TUNNEL = 'networking.istio.io/tunnel';

/** Does the proxy of a sidecar take tunnels? Its pod carries a label where it does. */
export function takesTunnels({ pod }: Party): Tri {
  if (pod?.podSet === undefined) return 'unknown';
  if (labelOf(pod.labels, TUNNEL) === 'http') return 'yes';
  // The label is the injector's: a template does not show it, a running pod does.
  return pod.podSet.pods.some(({ sidecar }) => sidecar) && Object.hasOwn(pod.labels, 'security.istio.io/tlsMode')
    ? 'no'
    : 'unknown';
}

/** ztunnel tunnels to a sidecar that takes tunnels, and sends plaintext to one that does not. */
function toSidecar(world: World, src: Party, dst: Party, query: MeshQuery): MeshAnswer {
  if (dst.pod === undefined) return allowed('');
  if (waypointsOf(world, dst, query).length > 0)
    return unknownMtls(
      `A waypoint stands before ${textOf(dst)}, which has a sidecar as well: how the two go together is not evaluated.`,
    );
  const tunnels = takesTunnels(dst);
  const identities = tunnels === 'unknown' ? [true, false] : [tunnels === 'yes'];
  const enforcer: Enforcer = { ztunnel: false, rehearsals: 'no' };
  const acting = authorizationOf(world, dst.pod);
  const answers = identities.flatMap((identity) =>
    protocolsOf(world, dst.pod as Pod, query).map((http) =>
      both(
        acceptsPlaintext(world, src, dst, dst.pod as Pod, identity, query, false),
        authorizeAs(world, dst, acting, appearance(world, src, dst, dst.pod as Pod, query, identity, http), enforcer),
      ),
    ),
  );
  const answer = agreed(answers.map((one) => one.answer));
  return settle(answer, answers, `the sidecar of ${textOf(dst)} takes tunnels from ztunnel (label ${TUNNEL}: http)`);
}

/** PeerAuthentication: without an identity a connection is plaintext, which STRICT refuses. */
function acceptsPlaintext(
  world: World,
  src: Party,
  dst: Party,
  pod: Pod,
  identity: boolean,
  query: MeshQuery,
  ambient: boolean,
): MeshAnswer {
  const choices = portsToAsk(world, pod, query).flatMap((port) => modesOf(world, pod, port, ambient));
  const answer = identity
    ? 'yes'
    : agreed(choices.map(({ mode }): Tri => (mode === 'unknown' ? 'unknown' : mode === 'STRICT' ? 'no' : 'yes')));
  const decides = choices.find(({ mode }) => mode === 'STRICT') ?? choices[0];
  const takes = decides === undefined ? '' : `${textOf(dst)} is ${decides.mode} (${decides.by}). `;
  const object = decides?.object;
  const base = { layer: 'mtls', ...(object === undefined ? {} : { object }) } as const;
  if (answer === 'yes') {
    const how = identity
      ? `${textOf(src)} reaches it through the mesh, by its identity.`
      : `${textOf(src)} sends plaintext.`;
    return { answer, reasons: [{ ...base, decision: 'allows', text: `${takes}${how}` }] };
  }
  if (answer === 'unknown')
    return unknownMtls(`${takes}Whether plaintext from ${textOf(src)} is taken cannot be told.`, object);
  const remedy = `Let ${textOf(src)} join the mesh, or set PERMISSIVE for the port in a PeerAuthentication that selects ${textOf(dst)}.`;
  const text = `${takes}${textOf(src)} sends plaintext. The connection fails.`;
  return { answer, reasons: [{ ...base, decision: 'denies', text, remedy }] };
}

/** Does ztunnel enforce a policy that is rehearsed? Before 1.29 it did where it was handed one. */
function rehearsalsOf(world: World): Tri {
  const [, major, minor] = /^(\d+)\.(\d+)/u.exec(world.inventory.facts.mesh.version ?? '') ?? [];
  if (major === undefined || minor === undefined) return 'unknown';
  return Number(major) > 1 || Number(minor) >= 29 ? 'no' : 'unknown';
}

function toAmbient(world: World, src: Party, from: Way, dst: Party, pod: Pod, query: MeshQuery): MeshAnswer {
  const bypass = annotationOf(pod, 'ambient.istio.io/bypass-inbound-capture');
  if (bypass !== undefined && bypass !== 'false')
    return unknownMtls(`${textOf(dst)} takes what comes in past ztunnel (ambient.istio.io/bypass-inbound-capture).`);
  if (query.first === HBONE_PORT && query.last === HBONE_PORT)
    return allowed(
      `Port ${HBONE_PORT} of ${textOf(dst)} is the tunnel itself: policies of the mesh act on what it carries.`,
    );
  if (src.kind === 'node') return fromNode(world, src, dst, pod, query);
  if (from === 'none') return atZtunnel(world, src, dst, pod, query, [false]);
  if (from === 'sidecar') return fromSidecar(world, src, dst, pod, query);
  return fromMesh(world, src, dst, pod, query);
}

/** Through each waypoint that stands before the destination, and directly where some way leads past them. */
function fromMesh(world: World, src: Party, dst: Party, pod: Pod, query: MeshQuery): MeshAnswer {
  // What a waypoint sends goes through no other.
  const ways = isWaypointOf(world, src) ? [] : waypointsOf(world, dst, query);
  if (ways.length === 0) return atZtunnel(world, src, dst, pod, query, [true]);
  const answers = ways.map((way): MeshAnswer => {
    switch (way.kind) {
      case 'direct':
        return atZtunnel(world, src, dst, pod, query, [true]);
      case 'unknown':
        return unknownMtls(way.why);
      case 'waypoint':
        return both(throughWaypoint(world, src, dst, way, query), atZtunnel(world, way.party, dst, pod, query, [true]));
    }
  });
  const answer = agreed(answers.map((one) => one.answer));
  return settle(answer, answers, byWhat(src, dst));
}

/** A sidecar tunnels to a server in ambient mode; of client TLS that a DestinationRule sets on top the server must know. */
function fromSidecar(world: World, src: Party, dst: Party, pod: Pod, query: MeshQuery): MeshAnswer {
  const { kinds, because } = clientTls(world, src, dst, query);
  if (kinds.has('simple') || kinds.has('custom'))
    return unknownMtls(`${because} Whether ${textOf(dst)} understands that TLS inside the tunnel cannot be told.`);
  const direct = atZtunnel(world, src, dst, pod, query, [true]);
  const ways = waypointsOf(world, dst, query).filter((way) => way.kind !== 'direct');
  if (ways.length === 0) return direct;
  // Sidecars go past waypoints by the documentation of today, and are announced to go through them.
  const through = fromMesh(world, src, dst, pod, query);
  const answer = agreed([direct.answer, through.answer]);
  return settle(answer, [direct, through], `the sidecar of ${textOf(src)} goes through the waypoint of ${textOf(dst)}`);
}

/** What comes from the pod's own node goes past ztunnel, as probes do; of other nodes it is plaintext. */
function fromNode(world: World, src: Party, dst: Party, pod: Pod, query: MeshQuery): MeshAnswer {
  const probes = `${PROBE_ADDRESS} stands for the node of ${textOf(dst)} there: ztunnel lets it through.`;
  const isProbed = pod.podSet?.containers.some(({ probePorts }) => probePorts.includes(query.first)) === true;
  if (src.pod === undefined && (src.ownNode || isProbed)) return allowed(probes);
  const plaintext = atZtunnel(world, src, dst, pod, query, [false]);
  if (plaintext.answer === 'yes') return plaintext;
  const [here, there] = [nodesOfPod(pod), src.nodes];
  const apart =
    here.length > 0 && there.length > 0 && !there.includes('remote') && !there.some((node) => here.includes(node));
  if (apart || there.includes('remote')) return plaintext;
  return settle('unknown', [allowed(probes), plaintext], `${textOf(src)} runs on the node of ${textOf(dst)}`);
}

/** The address that probes come from in ambient mode. */
export const PROBE_ADDRESS = '169.254.7.127';

/** PeerAuthentication and the AuthorizationPolicies with a selector, as ztunnel before the server has them. */
function atZtunnel(
  world: World,
  src: Party,
  dst: Party,
  pod: Pod,
  query: MeshQuery,
  identities: readonly boolean[],
): MeshAnswer {
  const enforcer: Enforcer = { ztunnel: true, rehearsals: rehearsalsOf(world) };
  const acting = authorizationOf(world, pod).filter(({ policy }) => policy.targets.length === 0);
  const answers = identities.map((identity): MeshAnswer => {
    const plain = acceptsPlaintext(world, src, dst, pod, identity, query, true);
    if (plain.answer === 'no' || acting.length === 0) return plain;
    const seen = { ...appearance(world, src, dst, pod, query, identity, false), ztunnel: true };
    const authorized = authorizeAs(world, dst, acting, seen, enforcer);
    return { answer: and(plain.answer, authorized.answer), reasons: [...plain.reasons, ...authorized.reasons] };
  });
  const answer = agreed(answers.map((one) => one.answer));
  return settle(answer, answers, 'the client presents an identity');
}

/** How what a client sends travels to a server of which one side is or may be in ambient mode. */
export function ambientTransport(
  world: World,
  src: Party,
  dst: Party,
): { readonly kind: 'mtls' | 'plaintext' | 'unknown'; readonly because: string } {
  const kinds = new Set(
    clientWays(world, src).flatMap((from) => waysOf(world, dst).map((to) => transportOfWays(from, to, dst))),
  );
  const [only] = kinds;
  const kind = kinds.size === 1 && only !== undefined ? only : 'unknown';
  const [a, b] = [textOf(src), textOf(dst)];
  const because = {
    mtls: `${a} reaches ${b} through a tunnel of the mesh.`,
    plaintext: `${a} or ${b} is outside the mesh.`,
    unknown: `Whether a tunnel of the mesh leads from ${a} to ${b} is not known.`,
  };
  return { kind, because: `${because[kind]} (Ambient mode: ${NOT_PROVEN}.)` };
}

function transportOfWays(from: Way, to: Way, dst: Party): 'mtls' | 'plaintext' | 'unknown' {
  if (from === 'none' || to === 'none') return 'plaintext';
  if (to === 'ambient') return 'mtls';
  if (from === 'sidecar') return 'unknown';
  const tunnels = takesTunnels(dst);
  return tunnels === 'unknown' ? 'unknown' : tunnels === 'yes' ? 'mtls' : 'plaintext';
}
