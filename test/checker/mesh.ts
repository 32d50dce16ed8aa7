import { Unsupported, doc, docs, isDoc, only, text, texts } from './json.ts';
import type { Doc } from './json.ts';
import { selects } from './selector.ts';
import type { KubeObject } from './states.ts';
import { inGroup } from './world.ts';
import type { Party, Pod, World } from './world.ts';
import { name } from './network.ts';
import type { Denial } from './network.ts';

/** A request, where the edge names one: `GET /v1/score`. */
interface Request {
  readonly method: string;
  readonly path: string;
}

/** Would the sidecars at either end stop a connection? Sidecar mode; the mesh carries TCP alone. */
export function meshDenial(
  world: World,
  from: Party,
  to: Party,
  protocol: string,
  port: number,
  l7: string | undefined,
): Denial | undefined {
  if (to.kind !== 'pod' || protocol !== 'TCP') return undefined;
  const server = to.pod;
  const client = from.kind === 'pod' ? from.pod : undefined;
  const call = clientSide(world, client, server, port);
  const reached = server.sidecar && !bypassesInbound(server, port);
  // The kubelet's probes are rewritten at injection: the agent answers them on a port of its own.
  if (from.kind === 'node' && server.probePorts.includes(port)) return undefined;
  const mode = reached ? peerMode(world, server, port) : { mode: 'DISABLE', by: undefined };
  const tls = call.mode === 'auto' ? reached && mode.mode !== 'DISABLE' : call.mode === 'mtls';
  if (tls && mode.mode === 'DISABLE')
    return {
      by: [call.by ?? '', mode.by ?? ''].filter((one) => one !== ''),
      why: `${name(from)} insists on mTLS and ${server.workload} does not speak it on ${port}`,
    };
  if (!reached) return undefined;
  if (!tls && mode.mode === 'STRICT')
    return {
      by: [mode.by ?? '', call.by ?? ''].filter((one) => one !== ''),
      why: `${server.workload} takes mTLS alone on ${port} and ${name(from)} ${call.why}`,
    };
  const principal = tls && client !== undefined ? client : undefined;
  const request = l7 === undefined ? undefined : parseRequest(l7);
  return authorizationDenial(world, principal, from, server, port, request);
}

function parseRequest(l7: string): Request {
  const space = l7.indexOf(' ');
  return { method: l7.slice(0, space), path: l7.slice(space + 1) };
}

function portList(value: string | undefined): readonly string[] {
  return (value ?? '').split(',').map((one) => one.trim());
}

function bypassesInbound(server: Pod, port: number): boolean {
  const only = server.annotations['traffic.sidecar.istio.io/includeInboundPorts'];
  // 15020 and its neighbours belong to the agent and never meet the proxy's filters.
  if ([15020, 15021, 15090].includes(port)) return true;
  // A list of ports, be it empty, is all that is redirected; exclusions are from the star.
  if (only !== undefined && only.trim() !== '*') return !portList(only).includes(String(port));
  return portList(server.annotations['traffic.sidecar.istio.io/excludeInboundPorts']).includes(String(port));
}

// --- What the caller sends ---------------------------------------------------------------------------------------------

interface ClientSide {
  readonly mode: 'plain' | 'mtls' | 'auto';
  readonly why: string;
  readonly by?: string;
}

interface Route {
  readonly service: KubeObject;
  readonly port: Doc;
}

/** The Services, with their ports, that lead to a port of the pod. */
export function routesTo(world: World, server: Pod, port: number): readonly Route[] {
  return inGroup(world, '', 'Service')
    .filter((service) => service.namespace === server.namespace && isDoc(service.spec['selector']))
    .filter((service) => selects({ matchLabels: service.spec['selector'] }, server.labels, service.ref))
    .flatMap((service) =>
      docs(service.spec['ports'])
        .filter((one) => {
          const target = one['targetPort'] ?? one['port'];
          return typeof target === 'string'
            ? server.ports.some((named) => named.name === target && named.port === port)
            : target === port;
        })
        .map((one) => ({ service, port: one })),
    );
}

function clientSide(world: World, client: Pod | undefined, server: Pod, port: number): ClientSide {
  if (client?.sidecar !== true) return { mode: 'plain', why: 'has no sidecar' };
  if (portList(client.annotations['traffic.sidecar.istio.io/excludeOutboundPorts']).includes(String(port)))
    return { mode: 'plain', why: 'keeps that port from its sidecar' };
  const routes = routesTo(world, server, port);
  // Automatic mTLS is for destinations the proxy knows. A bare pod address is passed through as it came.
  if (routes.length === 0)
    return {
      mode: 'plain',
      why: `can reach ${port} by pod address alone, which its sidecar passes through in plaintext`,
    };
  const modes = routes.map((route) => destinationMode(world, client, route));
  return (
    modes.find((one) => one.mode === 'plain') ?? modes.find((one) => one.mode === 'mtls') ?? { mode: 'auto', why: '' }
  );
}

/** The DestinationRule that decides for a Service: the caller's namespace, then the Service's, then the root namespace. */
function destinationMode(world: World, client: Pod, { service, port }: Route): ClientSide {
  const host = `${service.name}.${service.namespace}.svc.cluster.local`;
  for (const namespace of new Set([client.namespace, service.namespace, world.rootNamespace])) {
    const rules = inGroup(world, 'networking.istio.io', 'DestinationRule').filter((rule) => {
      if (rule.namespace !== namespace || !hostFits(text(rule.spec['host']) ?? '', host, rule.namespace)) return false;
      const exported = texts(rule.spec['exportTo']);
      const seen = exported.length === 0 || exported.includes('*') || exported.includes(client.namespace);
      if (!seen && !(exported.includes('.') && rule.namespace === client.namespace)) return false;
      const selector = rule.spec['workloadSelector'];
      return (
        selector === undefined ||
        (rule.namespace === client.namespace && selects(doc(selector), client.labels, rule.ref))
      );
    });
    for (const rule of rules) {
      if (JSON.stringify(rule.spec['subsets'] ?? []).includes('"tls"'))
        throw new Unsupported(`${rule.ref}: TLS of subsets`);
      const policy = doc(rule.spec['trafficPolicy']);
      const own = docs(policy['portLevelSettings']).find((one) => doc(one['port'])['number'] === port['port']);
      // Settings of a port replace those of the host whole.
      const mode = text(doc((own ?? policy)['tls'])['mode']);
      if (mode === undefined) return { mode: 'auto', why: '' };
      if (mode === 'ISTIO_MUTUAL') return { mode: 'mtls', why: '', by: rule.ref };
      return {
        mode: 'plain',
        why: `is told by a DestinationRule to use ${mode}, which is not the mesh's mTLS`,
        by: rule.ref,
      };
    }
  }
  return { mode: 'auto', why: '' };
}

/** A name without a dot is short for a Service of the rule's own namespace; with one it is taken as it stands. */
function hostFits(pattern: string, host: string, namespace: string): boolean {
  if (pattern.startsWith('*')) return host.endsWith(pattern.slice(1));
  return (pattern.includes('.') ? pattern : `${pattern}.${namespace}.svc.cluster.local`) === host;
}

// --- What the server takes ---------------------------------------------------------------------------------------------

interface PeerMode {
  readonly mode: string;
  readonly by: string | undefined;
}

/** PeerAuthentication: the workload's, then the namespace's, then the root namespace's; PERMISSIVE where nobody says. */
function peerMode(world: World, server: Pod, port: number): PeerMode {
  const all = inGroup(world, 'security.istio.io', 'PeerAuthentication');
  const isWide = (one: KubeObject): boolean => Object.keys(labelsOf(one)).length === 0;
  const own = oldest(
    all.filter(
      (one) =>
        one.namespace === server.namespace &&
        !isWide(one) &&
        selects(doc(one.spec['selector']), server.labels, one.ref),
    ),
  );
  const wide = oldest(all.filter((one) => one.namespace === server.namespace && isWide(one)));
  const root = oldest(all.filter((one) => one.namespace === world.rootNamespace && isWide(one)));
  const atPort = text(doc(doc(own?.spec['portLevelMtls'])[String(port)])['mode']);
  const says = (one: KubeObject | undefined): string | undefined => {
    if (one !== undefined) only(one.spec, ['selector', 'mtls', 'portLevelMtls'], one.ref);
    return text(doc(one?.spec['mtls'])['mode']);
  };
  for (const [mode, by] of [
    [atPort, own],
    [says(own), own],
    [says(wide), wide],
    [says(root), root],
  ] as const)
    if (mode !== undefined && mode !== 'UNSET') return { mode, by: by?.ref };
  return { mode: 'PERMISSIVE', by: undefined };
}

function labelsOf(one: KubeObject): Doc {
  return doc(doc(one.spec['selector'])['matchLabels']);
}

function oldest(objects: readonly KubeObject[]): KubeObject | undefined {
  const age = (one: KubeObject): string => text(doc(one.raw['metadata'])['creationTimestamp']) ?? '~';
  return [...objects].sort((a, b) => (age(a) < age(b) ? -1 : age(a) > age(b) ? 1 : a.name < b.name ? -1 : 1))[0];
}

// --- AuthorizationPolicy -----------------------------------------------------------------------------------------------

function authorizationDenial(
  world: World,
  client: Pod | undefined,
  from: Party,
  server: Pod,
  port: number,
  request: Request | undefined,
): Denial | undefined {
  const policies = inGroup(world, 'security.istio.io', 'AuthorizationPolicy').filter((policy) => {
    if (policy.annotations['istio.io/dry-run'] === 'true') return false;
    only(policy.spec, ['selector', 'action', 'rules'], policy.ref);
    if (policy.namespace !== server.namespace && policy.namespace !== world.rootNamespace) return false;
    return selects(doc(policy.spec['selector']), server.labels, policy.ref);
  });
  const actionOf = (policy: KubeObject): string => text(policy.spec['action']) ?? 'ALLOW';
  for (const policy of policies)
    if (!['ALLOW', 'DENY', 'AUDIT'].includes(actionOf(policy)))
      throw new Unsupported(`${policy.ref}: action ${actionOf(policy)}`);
  const matches = (policy: KubeObject): boolean =>
    docs(policy.spec['rules']).some((rule) =>
      ruleMatches(rule, {
        world,
        client,
        from,
        server,
        port,
        request,
        deny: actionOf(policy) === 'DENY',
        where: policy.ref,
      }),
    );
  const denying = policies.find((policy) => actionOf(policy) === 'DENY' && matches(policy));
  if (denying !== undefined)
    return { by: [denying.ref], why: `a DENY rule of ${server.workload} meets ${name(from)} on ${port}` };
  const allowing = policies.filter((policy) => actionOf(policy) === 'ALLOW');
  if (allowing.length === 0 || allowing.some(matches)) return undefined;
  return {
    by: allowing.map((policy) => policy.ref),
    why: `${server.workload} has ALLOW policies and none admits ${client === undefined ? `${name(from)}, who has no identity there,` : principalOf(world, client)} on ${port}`,
  };
}

interface Call {
  readonly world: World;
  /** The caller whose certificate the server has seen. */
  readonly client: Pod | undefined;
  readonly from: Party;
  readonly server: Pod;
  readonly port: number;
  readonly request: Request | undefined;
  readonly deny: boolean;
  readonly where: string;
}

function principalOf(world: World, client: Pod): string {
  return `${world.trustDomain}/ns/${client.namespace}/sa/${client.serviceAccount}`;
}

function ruleMatches(rule: Doc, call: Call): boolean {
  only(rule, ['from', 'to'], call.where);
  const from = rule['from'] === undefined ? undefined : docs(rule['from']);
  const to = rule['to'] === undefined ? undefined : docs(rule['to']);
  return (
    (from === undefined || from.some((one) => sourceMatches(doc(only(one, ['source'], call.where)['source']), call))) &&
    (to === undefined ||
      to.some((one) => operationMatches(doc(only(one, ['operation'], call.where)['operation']), call)))
  );
}

/** `*` any value that is there, `x*` a prefix, `*x` a suffix, else the very text. */
function textFits(pattern: string, value: string): boolean {
  if (pattern === '*') return value !== '';
  if (pattern.endsWith('*')) return value.startsWith(pattern.slice(0, -1));
  if (pattern.startsWith('*')) return value.endsWith(pattern.slice(1));
  return pattern === value;
}

function fits(patterns: unknown, value: string): boolean {
  return texts(patterns).some((pattern) => textFits(pattern, value));
}

function sourceMatches(source: Doc, { world, client, where }: Call): boolean {
  only(source, ['principals', 'notPrincipals', 'namespaces', 'notNamespaces'], where);
  const principal = client === undefined ? '' : principalOf(world, client);
  const namespace = client?.namespace ?? '';
  // "cluster.local" in a policy means the mesh's own trust domain, whatever it is called.
  const own = (patterns: unknown): readonly string[] =>
    texts(patterns).map((one) => one.replace(/^cluster\.local\//, `${world.trustDomain}/`));
  return (
    (source['principals'] === undefined || fits(own(source['principals']), principal)) &&
    (source['notPrincipals'] === undefined || !fits(own(source['notPrincipals']), principal)) &&
    (source['namespaces'] === undefined || fits(source['namespaces'], namespace)) &&
    (source['notNamespaces'] === undefined || !fits(source['notNamespaces'], namespace))
  );
}

const HTTP_FIELDS = ['methods', 'notMethods', 'paths', 'notPaths'];

function operationMatches(operation: Doc, call: Call): boolean {
  only(operation, ['ports', 'notPorts', ...HTTP_FIELDS], call.where);
  const port = String(call.port);
  if (operation['ports'] !== undefined && !texts(operation['ports']).includes(port)) return false;
  if (operation['notPorts'] !== undefined && texts(operation['notPorts']).includes(port)) return false;
  if (HTTP_FIELDS.every((field) => operation[field] === undefined)) return true;
  // On a port that is not HTTP, an ALLOW rule with HTTP fields never matches and a DENY rule forgets them.
  if (isPlainTcp(call)) return call.deny;
  // A connection whose requests nobody named may carry any: an ALLOW rule must take them all, a DENY rule may meet one.
  if (call.request === undefined) {
    const takesAll = ['methods', 'paths'].every(
      (field) => operation[field] === undefined || texts(operation[field]).includes('*'),
    );
    return call.deny || (takesAll && operation['notMethods'] === undefined && operation['notPaths'] === undefined);
  }
  const { method, path } = call.request;
  const plain = path.replace(/[?#].*$/, '');
  for (const pattern of [...texts(operation['paths']), ...texts(operation['notPaths'])])
    if (pattern.includes('{')) throw new Unsupported(`${call.where}: path template ${pattern}`);
  return (
    (operation['methods'] === undefined || fits(operation['methods'], method)) &&
    (operation['notMethods'] === undefined || !fits(operation['notMethods'], method)) &&
    (operation['paths'] === undefined || fits(operation['paths'], plain)) &&
    (operation['notPaths'] === undefined || !fits(operation['notPaths'], plain))
  );
}

/** Declared by the Service's port to be something else than HTTP. */
function isPlainTcp({ world, server, port }: Call): boolean {
  return routesTo(world, server, port).some(({ port: one }) =>
    /^(?:tcp|tls|https|mongo|mysql|redis|udp)(?:-|$)/.test(text(one['appProtocol']) ?? text(one['name']) ?? ''),
  );
}
