import type { MeshQuery } from './istio-party.ts';
import type { Pod, World } from './world.ts';
import { exposuresOf } from './world.ts';

const L7 = /^([A-Z]+) (\/\S*)$/u;

/** Method and path of `METHOD /path`. */
export function requestOf(l7: string | undefined): { readonly method?: string; readonly path?: string } {
  const match = l7 === undefined ? null : L7.exec(l7);
  const [, method, path] = match ?? [];
  return { ...(method === undefined ? {} : { method }), ...(path === undefined ? {} : { path }) };
}

const HTTP_NAMES: ReadonlySet<string> = new Set([
  'http',
  'http2',
  'http_proxy',
  'grpc',
  'grpc-web',
  'kubernetes.io/h2c',
  'kubernetes.io/ws',
]);
const TCP_NAMES: ReadonlySet<string> = new Set([
  'tcp',
  'tls',
  'https',
  'mongo',
  'mysql',
  'redis',
  'udp',
  'kubernetes.io/wss',
]);
/** Ports of a Service that are TCP where it says nothing else: SMTP, DNS, MySQL, MongoDB. (istio/istio pkg/config/kube) */
const TCP_PORTS: ReadonlySet<number> = new Set([25, 53, 3306, 27_017]);

/** What the Services declare of a port: appProtocol first, then the name up to its first dash. */
export function protocolsOf(world: World, pod: Pod, query: MeshQuery): readonly boolean[] {
  const declared = exposuresOf(world, pod)
    .filter(({ targetPort }) => targetPort >= query.first && targetPort <= query.last)
    .map(({ portName, appProtocol, servicePort }) => speaksHttp(appProtocol, portName, servicePort));
  const [first] = declared;
  if (first !== undefined && declared.every((one) => one === first)) return [first];
  // Detected from the bytes; an operation on record shows what was detected.
  return requestOf(query.l7).method === undefined && query.request === undefined ? [true, false] : [true];
}

/** Does a port of a Service declare HTTP? Undefined where it declares nothing, so that the proxy detects it. (istio/istio pkg/config/kube) */
export function speaksHttp(
  appProtocol: string | undefined,
  portName: string | undefined,
  port: number,
): boolean | undefined {
  const stated = (appProtocol ?? portName ?? '').toLowerCase();
  const name = stated.startsWith('grpc-web')
    ? 'grpc-web'
    : stated.startsWith('kubernetes.io/')
      ? stated
      : (stated.split('-')[0] ?? '');
  if (HTTP_NAMES.has(name)) return true;
  return TCP_NAMES.has(name) || TCP_PORTS.has(port) ? false : undefined;
}
