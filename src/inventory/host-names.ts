/** A name that may be a Service's, with a port where one stands beside it. */
export interface HostMention {
  readonly host: string;
  readonly port?: number;
  /** True for one bare word: it means a Service only when the namespace has one of that name. */
  readonly bare: boolean;
}

const SCHEME_PORTS: ReadonlyMap<string, number> = new Map(
  Object.entries({
    http: 80,
    https: 443,
    ws: 80,
    wss: 443,
    grpc: 443,
    postgres: 5432,
    postgresql: 5432,
    mysql: 3306,
    redis: 6379,
    rediss: 6379,
    amqp: 5672,
    mongodb: 27017,
    nats: 4222,
  }),
);

// Environment variables whose value is a host by itself.
const HOST_VARIABLE =
  /(?:^|_)(?:HOST|HOSTNAME|SERVER|ADDR|ADDRESS|ENDPOINT|URL|URI|BROKER|BROKERS|BOOTSTRAP_SERVERS)$/i;
const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';
const NAME = new RegExp(`^${LABEL}(?:\\.${LABEL}){0,6}\\.?$`);
const TEXT_LIMIT = 65_536;
const MENTION_LIMIT = 200;

/**
 * Names in a setting's text that could be Services of the cluster, with their ports. User names, passwords, paths and
 * everything else in the text are dropped here and are part of no result. `variable` is the name of the environment variable
 * and `sibling` looks up the value of another (`DB_HOST` goes with `DB_PORT`).
 */
export function findHosts(
  text: string,
  variable?: string,
  sibling?: (name: string) => string | undefined,
): readonly HostMention[] {
  if (text.length > TEXT_LIMIT) return [];
  const found: HostMention[] = [];
  // Separators of lists, flags, quotes and markup; none of them can be part of a host or its port.
  for (const token of text.split(/[\s,;"'`<>()[\]{}=|]+/)) {
    if (token === '' || token.length > 512) continue;
    const mention = readToken(token, variable !== undefined && HOST_VARIABLE.test(variable));
    if (mention === undefined) continue;
    const port = mention.port ?? siblingPort(variable, sibling);
    found.push(port === undefined ? mention : { ...mention, port });
    if (found.length >= MENTION_LIMIT) break;
  }
  return found;
}

function readToken(token: string, isHostVariable: boolean): HostMention | undefined {
  let rest = token;
  let scheme: string | undefined;
  const schemeEnd = rest.indexOf('://');
  if (schemeEnd > 0) {
    // `jdbc:postgresql://` and `mysql+pymysql://`: the part that tells the port.
    scheme = rest.slice(0, schemeEnd).toLowerCase().split(':').at(-1)?.split('+')[0];
    rest = rest.slice(schemeEnd + 3);
  }
  const authorityEnd = rest.search(/[/?#]/);
  const hasPath = authorityEnd >= 0;
  if (hasPath) rest = rest.slice(0, authorityEnd);
  rest = rest.slice(rest.lastIndexOf('@') + 1);
  const colon = rest.indexOf(':');
  const host = (colon < 0 ? rest : rest.slice(0, colon)).toLowerCase();
  const portText = colon < 0 ? '' : rest.slice(colon + 1);
  if (colon >= 0 && !/^\d{1,5}$/.test(portText)) return undefined;
  if (!NAME.test(host) || /^[\d.]+$/.test(host)) return undefined;
  const bare = !host.includes('.');
  const port = portText === '' ? (scheme === undefined ? undefined : SCHEME_PORTS.get(scheme)) : Number(portText);
  if (port !== undefined && (port < 1 || port > 65_535)) return undefined;
  // A lone word is a host only where something says so: a port, a scheme, or the variable's name.
  if (bare && port === undefined && scheme === undefined && !(isHostVariable && !hasPath)) return undefined;
  // Files and image names look like dotted hosts: without scheme or port only names under `svc` count.
  if (!bare && port === undefined && scheme === undefined && !isHostVariable && !/\.svc(?:\.|$)/.test(host)) {
    return undefined;
  }
  return { host: host.endsWith('.') ? host.slice(0, -1) : host, bare, ...(port === undefined ? {} : { port }) };
}

function siblingPort(
  variable: string | undefined,
  sibling: ((name: string) => string | undefined) | undefined,
): number | undefined {
  if (variable === undefined || sibling === undefined) return undefined;
  const match = /^(.*_)?(?:HOST|HOSTNAME|SERVER|ADDR|ADDRESS)$/i.exec(variable);
  if (match === null) return undefined;
  const prefix = match[1] ?? '';
  const value = sibling(`${prefix}PORT`) ?? sibling(`${prefix}PORT_NUMBER`);
  if (value === undefined || !/^\d{1,5}$/.test(value)) return undefined;
  const port = Number(value);
  return port >= 1 && port <= 65_535 ? port : undefined;
}

/** `svc`, `svc.ns`, `svc.ns.svc`, `svc.ns.svc.cluster.local`, `pod.svc.ns.svc...` -> the Service it would name. */
export function serviceOfHost(
  host: string,
  namespace: string,
  exists: (namespace: string, name: string) => boolean,
): { readonly namespace: string; readonly name: string } | undefined {
  const parts = host.split('.');
  const svc = parts.lastIndexOf('svc');
  // A pod of a headless Service has one more name in front.
  const named = svc >= 2 ? parts.slice(svc - 2, svc) : parts.length <= 2 ? parts : undefined;
  const [name, inNamespace = namespace] = named ?? [];
  if (name === undefined) return undefined;
  if (exists(inNamespace, name)) return { namespace: inNamespace, name };
  // `pod.service` inside the own namespace.
  if (svc < 0 && parts.length === 2 && exists(namespace, inNamespace)) return { namespace, name: inNamespace };
  return undefined;
}
