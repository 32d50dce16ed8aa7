import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkStates, renderViolations } from './check.ts';
import type { CheckOptions, Edge, Violation } from './check.ts';
import { Unsupported } from './json.ts';
import { first, readStates, reorder, stepsBetween, swap, without } from './states.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'checker-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function write(path: string, content: string): void {
  const full = join(dir, path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, content);
}

/** `shop/Deployment/web -> node TCP/10-20 GET /path`; a plain name is a Deployment of namespace shop. */
function edge(line: string): Edge {
  const [, src = '', dst = '', protocol = '', low = '', high, l7] =
    /^(\S+) -> (\S+) (\w+)\/(\d+)(?:-(\d+))?(?: (.*))?$/.exec(line) ?? [];
  const id = (short: string): string => (/[/:]|^node$|^api-server$/.test(short) ? short : `shop/Deployment/${short}`);
  return {
    src: id(src),
    dst: id(dst),
    protocol,
    port: high === undefined ? Number(low) : { from: Number(low), to: Number(high) },
    ...(l7 === undefined ? {} : { l7 }),
  };
}

/** One step: nothing but `added` comes to `base`. */
function step(base: string, added: string, line: string, options: CheckOptions = {}): readonly Violation[] {
  write('states/000-start/base.yaml', base);
  write('states/001-step/base.yaml', base);
  write('states/001-step/added.yaml', added);
  return checkStates(join(dir, 'states'), [edge(line)], options);
}

const OK = undefined;
type Row = readonly [title: string, added: string, line: string, denying: string | undefined, options?: CheckOptions];

function table(base: string, rows: readonly Row[]): void {
  it.each(rows.map((row) => [row[0], row] as const))('%s', (_, [, added, line, denying, options]) => {
    const violations = step(base, added, line, options);
    if (denying === undefined) expect(renderViolations(violations)).toBe('');
    else expect(violations.map((one) => one.by[0])).toEqual([denying]);
  });
}

function workload(
  name: string,
  more: {
    ns?: string;
    kind?: string;
    labels?: string;
    annotations?: string;
    spec?: string;
    ports?: string;
    probe?: string;
  } = {},
): string {
  const { ns = 'shop', kind = 'Deployment', labels = '', annotations = '', spec = '', ports = '', probe = '' } = more;
  return `
---
apiVersion: apps/v1
kind: ${kind}
metadata: {name: ${name}, namespace: ${ns}}
spec:
  replicas: 2
  template:
    metadata: {labels: {app: ${name}${labels}}, annotations: {${annotations}}}
    spec: {serviceAccountName: ${name}, ${spec} containers: [{name: main, ports: [${ports}], ${probe}}]}
`;
}

function service(name: string, port: string, ns = 'shop'): string {
  return `
---
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: ${ns}}
spec: {selector: {app: ${name}}, ports: [${port}]}
`;
}

function namespace(name: string, labels = ''): string {
  return `
---
apiVersion: v1
kind: Namespace
metadata: {name: ${name}, labels: {${labels}}}
`;
}

const NODE = `
---
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.244.0.0/24]}
status: {addresses: [{type: InternalIP, address: 172.18.0.2}]}
`;

const BASE = [
  namespace('shop'),
  namespace('other', 'team: red'),
  NODE,
  workload('web'),
  workload('api', {
    ports: '{name: http, containerPort: 8080}, {name: metrics, containerPort: 9102}',
    probe: 'readinessProbe: {httpGet: {port: http}}',
  }),
  workload('db', { kind: 'StatefulSet', ports: '{name: pg, containerPort: 5432}' }),
  workload('client', { ns: 'other' }),
  workload('exporter', { ns: 'other', kind: 'DaemonSet', spec: 'hostNetwork: true,' }),
  workload('dns-cache', { ns: 'other', kind: 'DaemonSet', spec: 'hostNetwork: true, hostname: "169.254.20.10",' }),
].join('');

const CILIUM = workload('cilium', { ns: 'kube-system', kind: 'DaemonSet', spec: 'hostNetwork: true,' });

// --- NetworkPolicy -----------------------------------------------------------------------------------------------------

function policy(spec: string, name = 'p', ns = 'shop'): string {
  return `
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: ${name}, namespace: ${ns}}
spec: ${spec}
`;
}

const P = 'NetworkPolicy shop/p';
const api = (rules: string): string => policy(`{podSelector: {matchLabels: {app: api}}, ingress: ${rules}}`);
const webOut = (rules: string): string =>
  policy(`{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: ${rules}}`);

describe('NetworkPolicy', () => {
  table(BASE, [
    ['no policy denies nothing', '', 'web -> api TCP/8080', OK],
    ['an empty selector isolates every pod of the namespace', policy('{podSelector: {}}'), 'web -> api TCP/8080', P],
    [
      'a policy of another namespace isolates nobody here',
      policy('{podSelector: {}}', 'p', 'other'),
      'web -> api TCP/8080',
      OK,
    ],
    [
      'a selector that misses the pod isolates it not',
      policy('{podSelector: {matchLabels: {app: x}}}'),
      'web -> api TCP/8080',
      OK,
    ],
    [
      'without policyTypes egress stays open',
      policy('{podSelector: {matchLabels: {app: web}}}'),
      'web -> api TCP/8080',
      OK,
    ],
    [
      'without policyTypes egress rules isolate egress',
      policy('{podSelector: {matchLabels: {app: web}}, egress: [{ports: [{port: 1}]}]}'),
      'web -> api TCP/8080',
      P,
    ],
    [
      'policyTypes Egress leaves ingress open',
      policy('{podSelector: {matchLabels: {app: api}}, policyTypes: [Egress]}'),
      'web -> api TCP/8080',
      OK,
    ],
    [
      'policyTypes Egress without rules denies egress',
      policy('{podSelector: {}, policyTypes: [Egress]}'),
      'web -> external:192.0.2.1 TCP/443',
      P,
    ],
    ['an empty rule admits everybody', api('[{}]'), 'other/Deployment/client -> api TCP/8080', OK],
    [
      'a missing from admits everybody, on its ports',
      api('[{ports: [{port: 8080}]}]'),
      'external:192.0.2.1 -> api TCP/8080',
      OK,
    ],
    [
      'an empty from is a missing one',
      api('[{from: [], ports: [{port: 8080}]}]'),
      'external:192.0.2.1 -> api TCP/8080',
      OK,
    ],
    ['another port is denied', api('[{ports: [{port: 8080}]}]'), 'web -> api TCP/9102', P],
    ['the protocol defaults to TCP', api('[{ports: [{port: 8080}]}]'), 'web -> api UDP/8080', P],
    ['UDP is admitted by name', api('[{ports: [{port: 8080, protocol: UDP}]}]'), 'web -> api UDP/8080', OK],
    [
      'a port rule without a number admits all of its protocol',
      api('[{ports: [{protocol: UDP}]}]'),
      'web -> api UDP/99',
      OK,
    ],
    ['a port name is looked up at the server', api('[{ports: [{port: metrics}]}]'), 'web -> api TCP/9102', OK],
    [
      'a port name that means another number is no match',
      api('[{ports: [{port: metrics}]}]'),
      'web -> api TCP/8080',
      P,
    ],
    ['endPort admits the range', api('[{ports: [{port: 9000, endPort: 9200}]}]'), 'web -> api TCP/9102', OK],
    [
      'endPort admits no more than the range',
      api('[{ports: [{port: 9000, endPort: 9101}]}]'),
      'web -> api TCP/9102',
      P,
    ],
    [
      'a range edge needs all of its ports',
      api('[{ports: [{port: 3000, endPort: 3999}, {port: 4001, endPort: 5000}]}]'),
      'web -> api TCP/3000-5000',
      P,
    ],
    [
      'a range edge is content with two rules that meet',
      api('[{ports: [{port: 3000, endPort: 3999}, {port: 4000, endPort: 5000}]}]'),
      'web -> api TCP/3000-5000',
      OK,
    ],
    [
      'a podSelector means the own namespace',
      api('[{from: [{podSelector: {matchLabels: {app: client}}}]}]'),
      'other/Deployment/client -> api TCP/8080',
      P,
    ],
    [
      'a podSelector admits a neighbour',
      api('[{from: [{podSelector: {matchLabels: {app: web}}}]}]'),
      'web -> api TCP/8080',
      OK,
    ],
    ['an empty podSelector admits all neighbours', api('[{from: [{podSelector: {}}]}]'), 'web -> api TCP/8080', OK],
    ['an empty podSelector admits no node', api('[{from: [{podSelector: {}}]}]'), 'node -> api TCP/9102', P],
    [
      'a namespaceSelector admits the whole namespace',
      api('[{from: [{namespaceSelector: {matchLabels: {team: red}}}]}]'),
      'other/Deployment/client -> api TCP/8080',
      OK,
    ],
    [
      'a namespace has its name as a label',
      api('[{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: other}}}]}]'),
      'other/Deployment/client -> api TCP/8080',
      OK,
    ],
    [
      'an empty namespaceSelector admits all pods',
      api('[{from: [{namespaceSelector: {}}]}]'),
      'other/Deployment/client -> api TCP/8080',
      OK,
    ],
    [
      'both selectors in one peer must fit',
      api('[{from: [{namespaceSelector: {matchLabels: {team: red}}, podSelector: {matchLabels: {app: web}}}]}]'),
      'other/Deployment/client -> api TCP/8080',
      P,
    ],
    [
      'two peers are alternatives',
      api('[{from: [{namespaceSelector: {matchLabels: {team: red}}}, {podSelector: {matchLabels: {app: web}}}]}]'),
      'other/Deployment/client -> api TCP/8080',
      OK,
    ],
    [
      'matchExpressions In',
      api('[{from: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [web, x]}]}}]}]'),
      'web -> api TCP/8080',
      OK,
    ],
    [
      'matchExpressions NotIn',
      api('[{from: [{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}}]}]'),
      'web -> api TCP/8080',
      P,
    ],
    [
      'matchExpressions Exists',
      api('[{from: [{podSelector: {matchExpressions: [{key: tier, operator: Exists}]}}]}]'),
      'web -> api TCP/8080',
      P,
    ],
    [
      'matchExpressions DoesNotExist',
      api('[{from: [{podSelector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}}]}]'),
      'web -> api TCP/8080',
      OK,
    ],
    [
      'policies add up',
      api('[{ports: [{port: 8080}]}]') + policy('{podSelector: {}}', 'deny'),
      'web -> api TCP/8080',
      OK,
    ],
    [
      'both ends have to agree: egress',
      api('[{}]') + webOut('[{ports: [{port: 53}]}]').replace('name: p', 'name: out'),
      'web -> api TCP/8080',
      'NetworkPolicy shop/out',
    ],
    [
      'egress to a pod by selector',
      webOut('[{to: [{podSelector: {matchLabels: {app: api}}}], ports: [{port: http}]}]'),
      'web -> api TCP/8080',
      OK,
    ],
    [
      'egress to an address',
      webOut('[{to: [{ipBlock: {cidr: 192.0.2.0/24}}]}]'),
      'web -> external:192.0.2.7 TCP/443',
      OK,
    ],
    [
      'egress to another address',
      webOut('[{to: [{ipBlock: {cidr: 192.0.2.0/24}}]}]'),
      'web -> external:198.51.100.7 TCP/443',
      P,
    ],
    [
      'an exception of an ipBlock',
      webOut('[{to: [{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.7/32]}}]}]'),
      'web -> external:192.0.2.7 TCP/443',
      P,
    ],
    [
      'an IPv6 address',
      webOut('[{to: [{ipBlock: {cidr: "2001:db8::/32"}}]}]'),
      'web -> external:2001:db8::7 TCP/443',
      OK,
    ],
    [
      'an outside name needs the whole world',
      webOut('[{to: [{ipBlock: {cidr: 192.0.2.0/24}}]}]'),
      'web -> external:a.example TCP/443',
      P,
    ],
    [
      'the whole world holds every name',
      webOut('[{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]'),
      'web -> external:a.example TCP/443',
      OK,
    ],
    [
      'a name with known addresses needs all of them',
      webOut('[{to: [{ipBlock: {cidr: 192.0.2.1/32}}]}]'),
      'web -> external:a.example TCP/443',
      P,
      { addresses: { 'a.example': ['192.0.2.1', '192.0.2.2'] } },
    ],
    [
      'a name whose addresses are all admitted passes',
      webOut('[{to: [{ipBlock: {cidr: 192.0.2.0/24}}]}]'),
      'web -> external:a.example TCP/443',
      OK,
      { addresses: { 'a.example': ['192.0.2.1', '192.0.2.2'] } },
    ],
    ['a probe from the own node always passes', policy('{podSelector: {}}'), 'node -> api TCP/8080', OK],
    ['another call from a node does not', policy('{podSelector: {}}'), 'node -> api TCP/9102', P],
    [
      'a host-network pod calls as a node',
      api('[{from: [{podSelector: {}}, {namespaceSelector: {}}]}]'),
      'other/DaemonSet/exporter -> api TCP/9102',
      P,
    ],
    [
      'a host-network pod is not isolated',
      policy('{podSelector: {}, policyTypes: [Ingress, Egress]}', 'p', 'other'),
      'web -> other/DaemonSet/exporter TCP/9100',
      OK,
    ],
    [
      'egress to nodes by their address',
      webOut('[{to: [{ipBlock: {cidr: 172.18.0.0/16}}]}]'),
      'web -> node TCP/9100',
      OK,
    ],
    [
      'egress to nodes not by another one',
      webOut('[{to: [{ipBlock: {cidr: 172.19.0.0/16}}]}]'),
      'web -> node TCP/9100',
      P,
    ],
    [
      'egress to the API server by its address',
      webOut('[{to: [{ipBlock: {cidr: 10.0.0.1/32}}]}]'),
      'web -> api-server TCP/6443',
      OK,
      { apiServer: ['10.0.0.1/32'] },
    ],
    [
      'egress to the API server not by another one',
      webOut('[{to: [{ipBlock: {cidr: 10.0.0.2/32}}]}]'),
      'web -> api-server TCP/6443',
      P,
      { apiServer: ['10.0.0.1/32'] },
    ],
    [
      'an ipBlock of the pod range matches pods where the CNI does',
      webOut('[{to: [{ipBlock: {cidr: 10.244.0.0/16}}]}]'),
      'web -> api TCP/8080',
      OK,
    ],
    [
      'and does not where it does not',
      webOut('[{to: [{ipBlock: {cidr: 10.244.0.0/16}}]}]'),
      'web -> api TCP/8080',
      P,
      { ipBlockMatches: [] },
    ],
    [
      'the node’s DNS cache by its address',
      webOut('[{to: [{ipBlock: {cidr: 169.254.20.10/32}}]}]'),
      'web -> external:169.254.20.10 TCP/53',
      OK,
    ],
    ['the node’s DNS cache left out', webOut('[{to: [{podSelector: {}}]}]'), 'web -> external:169.254.20.10 TCP/53', P],
    [
      'a label of one replica is not the whole StatefulSet',
      policy(
        '{podSelector: {matchLabels: {app: api}}, ingress: [{from: [{podSelector: {matchLabels: {statefulset.kubernetes.io/pod-name: db-0}}}]}]}',
      ),
      'shop/StatefulSet/db -> api TCP/8080',
      P,
    ],
    [
      'a label that a controller makes up is present',
      policy('{podSelector: {matchExpressions: [{key: pod-template-hash, operator: Exists}]}}'),
      'web -> api TCP/8080',
      P,
    ],
  ]);
});

describe('NetworkPolicy under Cilium', () => {
  table(BASE + CILIUM, [
    [
      'an ipBlock does not match the API server',
      webOut('[{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]'),
      'web -> api-server TCP/6443',
      P,
      { apiServer: ['172.18.0.2'] },
    ],
    [
      'it does where cidr matching of it is stated',
      webOut('[{to: [{ipBlock: {cidr: 172.18.0.2/32}}]}]'),
      'web -> api-server TCP/6443',
      OK,
      { apiServer: ['172.18.0.2'], ipBlockMatches: ['api-server'] },
    ],
    [
      'an ipBlock does not match nodes',
      webOut('[{to: [{ipBlock: {cidr: 172.18.0.0/16}}]}]'),
      'web -> node TCP/9100',
      P,
    ],
    [
      'an ipBlock does not match the node’s DNS cache',
      webOut('[{to: [{ipBlock: {cidr: 169.254.20.10/32}}]}]'),
      'web -> external:169.254.20.10 UDP/53',
      P,
    ],
    [
      'an ipBlock matches the outside',
      webOut('[{to: [{ipBlock: {cidr: 192.0.2.1/32}}]}]'),
      'web -> external:192.0.2.1 UDP/53',
      OK,
    ],
    [
      'labels of controllers are not part of an identity',
      policy('{podSelector: {matchExpressions: [{key: pod-template-hash, operator: Exists}]}}'),
      'web -> api TCP/8080',
      OK,
    ],
  ]);
});

// --- CiliumNetworkPolicy -----------------------------------------------------------------------------------------------

function cilium(egress: string, more = ''): string {
  return `
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: c, namespace: shop}
spec: {endpointSelector: {matchLabels: {app: web}}, egress: ${egress}${more}}
`;
}

const C = 'CiliumNetworkPolicy shop/c';
const TO_API = '{toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": shop, app: api}}]';
const DNS =
  '{toEntities: [host], toPorts: [{ports: [{port: "53", protocol: UDP}], rules: {dns: [{matchPattern: "*"}]}}]}';

describe('CiliumNetworkPolicy', () => {
  table(BASE + CILIUM, [
    ['an egress section isolates egress', cilium(`[${TO_API}}]`), 'web -> shop/StatefulSet/db TCP/5432', C],
    ['and not ingress', cilium(`[${TO_API}}]`), 'other/Deployment/client -> web TCP/80', OK],
    ['and nobody who is not selected', cilium(`[${TO_API}}]`), 'api -> shop/StatefulSet/db TCP/5432', OK],
    ['an empty rule locks egress', cilium('[{}]'), 'web -> api TCP/8080', C],
    ['an empty section is none', cilium('[]'), 'web -> api TCP/8080', OK],
    [
      'enableDefaultDeny can say no',
      cilium(`[${DNS}]`, ', enableDefaultDeny: {egress: false}'),
      'web -> api TCP/8080',
      OK,
    ],
    ['an endpoint by labels', cilium(`[${TO_API}}]`), 'web -> api TCP/8080', OK],
    [
      'an endpoint on its port',
      cilium(`[${TO_API}, toPorts: [{ports: [{port: "8080", protocol: TCP}]}]}]`),
      'web -> api TCP/8080',
      OK,
    ],
    [
      'an endpoint on another port',
      cilium(`[${TO_API}, toPorts: [{ports: [{port: "8080", protocol: TCP}]}]}]`),
      'web -> api TCP/9102',
      C,
    ],
    [
      'another protocol',
      cilium(`[${TO_API}, toPorts: [{ports: [{port: "8080", protocol: TCP}]}]}]`),
      'web -> api UDP/8080',
      C,
    ],
    [
      'protocol ANY',
      cilium(`[${TO_API}, toPorts: [{ports: [{port: "8080", protocol: ANY}]}]}]`),
      'web -> api UDP/8080',
      OK,
    ],
    [
      'endPort',
      cilium(`[${TO_API}, toPorts: [{ports: [{port: "9000", endPort: 9200, protocol: TCP}]}]}]`),
      'web -> api TCP/9102',
      OK,
    ],
    [
      'beyond endPort',
      cilium(`[${TO_API}, toPorts: [{ports: [{port: "9000", endPort: 9101, protocol: TCP}]}]}]`),
      'web -> api TCP/9102',
      C,
    ],
    [
      'ports alone admit everybody on them',
      cilium('[{toPorts: [{ports: [{port: "443", protocol: TCP}]}]}]'),
      'web -> external:192.0.2.1 TCP/443',
      OK,
    ],
    [
      'a selector without a namespace means the own one',
      cilium('[{toEndpoints: [{matchLabels: {app: client}}]}]'),
      'web -> other/Deployment/client TCP/80',
      C,
    ],
    [
      'a selector with another namespace',
      cilium('[{toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": other, "k8s:app": client}}]}]'),
      'web -> other/Deployment/client TCP/80',
      OK,
    ],
    [
      'a selector on labels of the namespace',
      cilium('[{toEndpoints: [{matchLabels: {"k8s:io.cilium.k8s.namespace.labels.team": red}}]}]'),
      'web -> other/Deployment/client TCP/80',
      OK,
    ],
    ['a selector without labels', cilium('[{toEndpoints: [{}]}]'), 'web -> api TCP/8080', OK],
    ['no selector at all', cilium('[{toEndpoints: []}]'), 'web -> api TCP/8080', C],
    ['entity kube-apiserver', cilium('[{toEntities: [kube-apiserver]}]'), 'web -> api-server TCP/6443', OK],
    ['entity world is not the API server', cilium('[{toEntities: [world]}]'), 'web -> api-server TCP/6443', C],
    [
      'every node holds an API server that is on one',
      cilium('[{toEntities: [host, remote-node]}]'),
      'web -> api-server TCP/6443',
      OK,
      { apiServer: ['172.18.0.2'] },
    ],
    ['entity host is not every node', cilium('[{toEntities: [host]}]'), 'web -> node TCP/9100', C],
    ['host and remote-node are every node', cilium('[{toEntities: [host, remote-node]}]'), 'web -> node TCP/9100', OK],
    [
      'a host-network pod is a node',
      cilium('[{toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": other}}]}]'),
      'web -> other/DaemonSet/exporter TCP/9100',
      C,
    ],
    ['entity host is the node’s DNS cache', cilium(`[${DNS}]`), 'web -> external:169.254.20.10 UDP/53', OK],
    ['remote-node is not', cilium('[{toEntities: [remote-node]}]'), 'web -> external:169.254.20.10 UDP/53', C],
    ['entity cluster holds pods', cilium('[{toEntities: [cluster]}]'), 'web -> other/Deployment/client TCP/80', OK],
    ['entity cluster is not the world', cilium('[{toEntities: [cluster]}]'), 'web -> external:192.0.2.1 TCP/80', C],
    ['entity world', cilium('[{toEntities: [world]}]'), 'web -> external:a.example TCP/80', OK],
    ['entity world is no pod', cilium('[{toEntities: [world]}]'), 'web -> api TCP/8080', C],
    ['entity all', cilium('[{toEntities: [all]}]'), 'web -> api TCP/8080', OK],
    ['a CIDR', cilium('[{toCIDR: [192.0.2.0/24]}]'), 'web -> external:192.0.2.1 TCP/80', OK],
    ['another CIDR', cilium('[{toCIDR: [198.51.100.0/24]}]'), 'web -> external:192.0.2.1 TCP/80', C],
    ['a CIDR is no pod', cilium('[{toCIDR: [0.0.0.0/0]}]'), 'web -> api TCP/8080', C],
    [
      'an exception of a CIDR set',
      cilium('[{toCIDRSet: [{cidr: 192.0.2.0/24, except: [192.0.2.1/32]}]}]'),
      'web -> external:192.0.2.1 TCP/80',
      C,
    ],
    [
      'a name, with DNS seen',
      cilium(`[{toFQDNs: [{matchName: a.example}]}, ${DNS}]`),
      'web -> external:a.example TCP/443',
      OK,
    ],
    [
      'a name whose DNS nobody sees',
      cilium('[{toFQDNs: [{matchName: a.example}]}, {toEntities: [host]}]'),
      'web -> external:a.example TCP/443',
      C,
    ],
    ['another name', cilium(`[{toFQDNs: [{matchName: b.example}]}, ${DNS}]`), 'web -> external:a.example TCP/443', C],
    [
      'a pattern of one label',
      cilium(`[{toFQDNs: [{matchPattern: "*.example"}]}, ${DNS}]`),
      'web -> external:a.example TCP/443',
      OK,
    ],
    [
      'a star is no dot',
      cilium(`[{toFQDNs: [{matchPattern: "*.example"}]}, ${DNS}]`),
      'web -> external:a.b.example TCP/443',
      C,
    ],
    [
      'a name on another port',
      cilium(`[{toFQDNs: [{matchName: a.example}], toPorts: [{ports: [{port: "443", protocol: TCP}]}]}, ${DNS}]`),
      'web -> external:a.example TCP/80',
      C,
    ],
    [
      'both kinds add up',
      cilium(`[${TO_API}}]`) + policy('{podSelector: {}, policyTypes: [Egress]}'),
      'web -> api TCP/8080',
      OK,
    ],
  ]);

  it.each([
    ['an HTTP rule', '[{toPorts: [{ports: [{port: "80"}], rules: {http: [{}]}}]}]', ''],
    ['a deny section', '[]', ', egressDeny: [{toEntities: [world]}]'],
    ['two kinds of peers in one rule', '[{toCIDR: [192.0.2.1/32], toEntities: [host]}]', ''],
    ['an unknown entity', '[{toEntities: [ingress]}]', ''],
  ])('stops at %s', (_, egress, more) => {
    expect(() => step(BASE + CILIUM, cilium(egress, more), 'web -> api TCP/80')).toThrow(Unsupported);
  });
});

// --- The mesh ----------------------------------------------------------------------------------------------------------

const INJECT = ', sidecar.istio.io/inject: "true"';
const MESH = [
  namespace('shop'),
  namespace('other'),
  namespace('istio-system'),
  workload('istiod', { ns: 'istio-system', labels: ', istio: pilot' }),
  workload('web', { labels: INJECT }),
  workload('api', {
    labels: INJECT,
    ports: '{name: http, containerPort: 8080}, {name: metrics, containerPort: 9102}, {name: raw, containerPort: 6379}',
    probe: 'readinessProbe: {tcpSocket: {port: 9102}}',
  }),
  workload('plain'),
  workload('client', { ns: 'other' }),
  service('api', '{name: http, port: 80, targetPort: http}, {name: tcp-raw, port: 6379}'),
  service('plain', '{name: http, port: 80, targetPort: 8080}'),
].join('');

function peers(spec: string, name = 'pa', ns = 'shop', created = ''): string {
  return `
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: ${name}, namespace: ${ns}${created === '' ? '' : `, creationTimestamp: "${created}"`}}
spec: ${spec}
`;
}

function destination(spec: string, ns = 'shop'): string {
  return `
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: dr, namespace: ${ns}}
spec: ${spec}
`;
}

const PA = 'PeerAuthentication shop/pa';
const STRICT = '{mtls: {mode: STRICT}}';
const own = (mtls: string): string => `{selector: {matchLabels: {app: api}}, ${mtls}}`;

describe('PeerAuthentication', () => {
  table(MESH, [
    ['STRICT refuses a caller without a sidecar', peers(STRICT), 'plain -> api TCP/8080', PA],
    ['STRICT takes a caller with one', peers(STRICT), 'web -> api TCP/8080', OK],
    ['PERMISSIVE takes both', peers('{mtls: {mode: PERMISSIVE}}'), 'plain -> api TCP/8080', OK],
    ['nothing said takes both', '', 'plain -> api TCP/8080', OK],
    ['STRICT does nothing for a server without a sidecar', peers(STRICT), 'web -> plain TCP/8080', OK],
    ['STRICT does nothing for UDP', peers(STRICT), 'plain -> api UDP/8080', OK],
    ['a kubelet probe is rewritten', peers(STRICT), 'node -> api TCP/9102', OK],
    ['another call from a node is plaintext', peers(STRICT), 'node -> api TCP/8080', PA],
    ['the API server speaks no mTLS', peers(STRICT), 'api-server -> api TCP/8080', PA],
    ['nor does the outside', peers(STRICT), 'external:192.0.2.1 -> api TCP/8080', PA],
    ['another namespace’s STRICT is its own affair', peers(STRICT, 'pa', 'other'), 'plain -> api TCP/8080', OK],
    [
      'the root namespace’s STRICT is everybody’s',
      peers(STRICT, 'pa', 'istio-system'),
      'plain -> api TCP/8080',
      'PeerAuthentication istio-system/pa',
    ],
    [
      'the namespace’s word goes before the root’s',
      peers(STRICT, 'root', 'istio-system') + peers('{mtls: {mode: PERMISSIVE}}'),
      'plain -> api TCP/8080',
      OK,
    ],
    [
      'the workload’s word goes before the namespace’s',
      peers(STRICT) + peers(own('mtls: {mode: PERMISSIVE}'), 'own'),
      'plain -> api TCP/8080',
      OK,
    ],
    [
      'and the other way round',
      peers('{mtls: {mode: PERMISSIVE}}') + peers(own('mtls: {mode: STRICT}'), 'own'),
      'plain -> api TCP/8080',
      'PeerAuthentication shop/own',
    ],
    ['UNSET asks the next one', peers(STRICT) + peers(own('mtls: {mode: UNSET}'), 'own'), 'plain -> api TCP/8080', PA],
    [
      'a port can be let off',
      peers(own('mtls: {mode: STRICT}, portLevelMtls: {"8080": {mode: PERMISSIVE}}')),
      'plain -> api TCP/8080',
      OK,
    ],
    [
      'that port alone',
      peers(own('mtls: {mode: STRICT}, portLevelMtls: {"8080": {mode: PERMISSIVE}}')),
      'plain -> api TCP/6379',
      PA,
    ],
    ['a port can be STRICT alone', peers(own('portLevelMtls: {"8080": {mode: STRICT}}')), 'plain -> api TCP/8080', PA],
    [
      'the oldest of two decides',
      peers(STRICT, 'b', 'shop', '2026-01-01T00:00:00Z') +
        peers('{mtls: {mode: PERMISSIVE}}', 'a', 'shop', '2026-02-01T00:00:00Z'),
      'plain -> api TCP/8080',
      'PeerAuthentication shop/b',
    ],
    ['a call by pod address is passed through in plaintext', peers(STRICT), 'web -> api TCP/9102', PA],
  ]);

  it('heeds ports of a workload’s policy and not of a namespace’s', () => {
    const wide = peers('{mtls: {mode: PERMISSIVE}, portLevelMtls: {"8080": {mode: STRICT}}}', 'a');
    expect(step(MESH, wide, 'plain -> api TCP/8080')).toEqual([]);
    expect(step(MESH, wide + peers(own('mtls: {mode: STRICT}'), 'b'), 'plain -> api TCP/8080')).toHaveLength(1);
  });

  it('leaves a port alone that is kept from the server’s sidecar', () => {
    const excluded =
      MESH + workload('open', { labels: INJECT, annotations: 'traffic.sidecar.istio.io/excludeInboundPorts: "8080"' });
    expect(step(excluded, peers(STRICT), 'plain -> open TCP/8080')).toEqual([]);
    expect(step(excluded, peers(STRICT), 'plain -> open TCP/8081')).toHaveLength(1);
  });
});

describe('DestinationRule', () => {
  const DR = 'DestinationRule shop/dr';
  const host = (mode: string, name = 'api'): string => `{host: ${name}, trafficPolicy: {tls: {mode: ${mode}}}}`;
  table(MESH, [
    [
      'DISABLE sends plaintext, which STRICT refuses',
      peers(STRICT) + destination(host('DISABLE')),
      'web -> api TCP/8080',
      PA,
    ],
    ['DISABLE alone does no harm', destination(host('DISABLE')), 'web -> api TCP/8080', OK],
    [
      'a rule for another host does not matter',
      peers(STRICT) + destination(host('DISABLE', 'plain')),
      'web -> api TCP/8080',
      OK,
    ],
    [
      'a full host name',
      peers(STRICT) + destination(host('DISABLE', 'api.shop.svc.cluster.local')),
      'web -> api TCP/8080',
      PA,
    ],
    [
      'a wildcard host',
      peers(STRICT) + destination(host('DISABLE', '"*.shop.svc.cluster.local"')),
      'web -> api TCP/8080',
      PA,
    ],
    [
      'a short name means the rule’s own namespace',
      peers(STRICT) + destination(host('DISABLE'), 'istio-system'),
      'web -> api TCP/8080',
      OK,
    ],
    [
      'a rule for a port',
      peers(STRICT) +
        destination('{host: api, trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: DISABLE}}]}}'),
      'web -> api TCP/8080',
      PA,
    ],
    [
      'a rule for another port',
      peers(STRICT) +
        destination('{host: api, trafficPolicy: {portLevelSettings: [{port: {number: 6379}, tls: {mode: DISABLE}}]}}'),
      'web -> api TCP/8080',
      OK,
    ],
    ['ISTIO_MUTUAL is the mesh’s own', peers(STRICT) + destination(host('ISTIO_MUTUAL')), 'web -> api TCP/8080', OK],
    [
      'ISTIO_MUTUAL to a server without a sidecar fails',
      destination(host('ISTIO_MUTUAL', 'plain')),
      'web -> plain TCP/8080',
      DR,
    ],
    [
      'a rule without TLS leaves it automatic',
      peers(STRICT) + destination('{host: api, trafficPolicy: {loadBalancer: {simple: RANDOM}}}'),
      'web -> api TCP/8080',
      OK,
    ],
  ]);
});

function allow(spec: string, name = 'az', ns = 'shop', annotations = ''): string {
  return `
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}, namespace: ${ns}, annotations: {${annotations}}}
spec: ${spec}
`;
}

const AZ = 'AuthorizationPolicy shop/az';
const from = (...principals: string[]): string => `from: [{source: {principals: ${JSON.stringify(principals)}}}]`;
const WEB = 'cluster.local/ns/shop/sa/web';
const apiRule = (rule: string, action = 'ALLOW'): string =>
  allow(`{selector: {matchLabels: {app: api}}, action: ${action}, rules: [{${rule}}]}`);
const to = (operation: string): string => `to: [{operation: {${operation}}}]`;

describe('AuthorizationPolicy', () => {
  table(MESH, [
    ['an empty spec admits nobody', allow('{}'), 'web -> api TCP/8080', AZ],
    ['but only at a sidecar', allow('{}'), 'web -> plain TCP/8080', OK],
    ['and only TCP', allow('{}'), 'web -> api UDP/8080', OK],
    ['an empty rule admits everybody', allow('{rules: [{}]}'), 'plain -> api TCP/8080', OK],
    ['a principal', apiRule(from(WEB)), 'web -> api TCP/8080', OK],
    ['another principal', apiRule(from('cluster.local/ns/shop/sa/x')), 'web -> api TCP/8080', AZ],
    [
      'a caller without a sidecar has no principal',
      apiRule(from('cluster.local/ns/shop/sa/plain')),
      'plain -> api TCP/8080',
      AZ,
    ],
    ['a star is anybody with a principal', apiRule(from('*')), 'web -> api TCP/8080', OK],
    ['and nobody without one', apiRule(from('*')), 'plain -> api TCP/8080', AZ],
    ['a prefix', apiRule(from('cluster.local/ns/shop/*')), 'web -> api TCP/8080', OK],
    ['a suffix', apiRule(from('*/sa/web')), 'web -> api TCP/8080', OK],
    ['a suffix that does not fit', apiRule(from('*/sa/we')), 'web -> api TCP/8080', AZ],
    ['another trust domain', apiRule(from(WEB)), 'web -> api TCP/8080', OK, { trustDomain: 'bank.example' }],
    ['that trust domain by name', apiRule(from('bank.example/ns/shop/sa/web')), 'web -> api TCP/8080', AZ],
    ['namespaces', apiRule('from: [{source: {namespaces: [shop]}}]'), 'web -> api TCP/8080', OK],
    ['namespaces without identity', apiRule('from: [{source: {namespaces: [shop]}}]'), 'plain -> api TCP/8080', AZ],
    ['notPrincipals', apiRule(`from: [{source: {notPrincipals: [${WEB}]}}]`), 'web -> api TCP/8080', AZ],
    ['a rule without from admits anybody', apiRule(to('ports: ["8080"]')), 'plain -> api TCP/8080', OK],
    ['on its ports', apiRule(to('ports: ["8080"]')), 'plain -> api TCP/6379', AZ],
    ['notPorts', apiRule(to('notPorts: ["8080"]')), 'web -> api TCP/8080', AZ],
    ['principal and port must both fit', apiRule(`${from(WEB)}, ${to('ports: ["6379"]')}`), 'web -> api TCP/8080', AZ],
    ['a kubelet probe never meets it', allow('{}'), 'node -> api TCP/9102', OK],
    ['a method', apiRule(to('methods: [GET]')), 'web -> api TCP/8080 GET /a', OK],
    ['another method', apiRule(to('methods: [GET]')), 'web -> api TCP/8080 POST /a', AZ],
    ['a path', apiRule(to('paths: [/a]')), 'web -> api TCP/8080 GET /a', OK],
    ['the query is no part of a path', apiRule(to('paths: [/a]')), 'web -> api TCP/8080 GET /a?b=c', OK],
    ['another path', apiRule(to('paths: [/a]')), 'web -> api TCP/8080 GET /a/b', AZ],
    ['a path prefix', apiRule(to('paths: ["/a/*"]')), 'web -> api TCP/8080 GET /a/b', OK],
    ['a path suffix', apiRule(to('paths: ["*/b"]')), 'web -> api TCP/8080 GET /a/b', OK],
    ['notPaths', apiRule(to('notPaths: ["/a*"]')), 'web -> api TCP/8080 GET /a/b', AZ],
    ['requests that nobody named need all methods', apiRule(to('methods: [GET]')), 'web -> api TCP/8080', AZ],
    ['a star is all methods', apiRule(to('methods: ["*"]')), 'web -> api TCP/8080', OK],
    ['HTTP fields admit nothing on a TCP port', apiRule(to('methods: ["*"]')), 'web -> api TCP/6379', AZ],
    [
      'DENY goes before ALLOW',
      apiRule(from(WEB)) + allow('{action: DENY, rules: [{from: [{source: {namespaces: [shop]}}]}]}', 'deny'),
      'web -> api TCP/8080',
      'AuthorizationPolicy shop/deny',
    ],
    ['DENY that meets nobody', apiRule(from('x'), 'DENY'), 'web -> api TCP/8080', OK],
    ['DENY alone leaves the rest open', apiRule(to('ports: ["6379"]'), 'DENY'), 'web -> api TCP/8080', OK],
    [
      'DENY forgets HTTP fields on a TCP port',
      apiRule(to('methods: [GET], ports: ["6379"]'), 'DENY'),
      'web -> api TCP/6379',
      AZ,
    ],
    ['DENY without rules denies nothing', allow('{action: DENY}'), 'web -> api TCP/8080', OK],
    ['AUDIT denies nothing', apiRule(from('x'), 'AUDIT'), 'web -> api TCP/8080', OK],
    ['policies add up', allow('{}', 'none') + apiRule(from(WEB)), 'web -> api TCP/8080', OK],
    ['a selector of another workload', allow('{selector: {matchLabels: {app: web}}}'), 'web -> api TCP/8080', OK],
    [
      'the root namespace’s policy is everybody’s',
      allow('{}', 'az', 'istio-system'),
      'web -> api TCP/8080',
      'AuthorizationPolicy istio-system/az',
    ],
    ['another namespace’s policy is its own', allow('{}', 'az', 'other'), 'web -> api TCP/8080', OK],
    ['a dry run has no effect', allow('{}', 'az', 'shop', 'istio.io/dry-run: "true"'), 'web -> api TCP/8080', OK],
    ['a dry run that is off has', allow('{}', 'az', 'shop', 'istio.io/dry-run: "false"'), 'web -> api TCP/8080', AZ],
    [
      'plaintext by rule of DestinationRule has no principal',
      apiRule(from(WEB)) + destination('{host: api, trafficPolicy: {tls: {mode: DISABLE}}}'),
      'web -> api TCP/8080',
      AZ,
    ],
  ]);

  it.each([
    ['conditions', 'when: [{key: source.ip, values: [10.0.0.1]}]'],
    ['request principals', 'from: [{source: {requestPrincipals: ["*"]}}]'],
    ['hosts', to('hosts: [a.example]')],
  ])('stops at %s', (_, rule) => {
    expect(() => step(MESH, apiRule(rule), 'web -> api TCP/8080')).toThrow(Unsupported);
  });
});

describe('injection', () => {
  const caller = (nsLabels: string, podLabels: string, annotations = '', spec = '', ns = 'team'): string =>
    MESH + namespace(ns, nsLabels) + workload('caller', { ns, labels: podLabels, annotations, spec });
  const ENABLED = 'istio-injection: enabled';
  const NO = ', sidecar.istio.io/inject: "false"';
  it.each([
    ['no label', '', '', '', '', false],
    ['the namespace says enabled', ENABLED, '', '', '', true],
    ['the pod says no in such a namespace', ENABLED, NO, '', '', false],
    ['the pod’s annotation says no in such a namespace', ENABLED, '', 'sidecar.istio.io/inject: "false"', '', false],
    ['the pod’s label goes before its annotation', ENABLED, INJECT, 'sidecar.istio.io/inject: "false"', '', true],
    ['the annotation alone does not ask', '', '', 'sidecar.istio.io/inject: "true"', '', false],
    ['the pod asks by label', '', INJECT, '', '', true],
    ['the namespace says disabled', 'istio-injection: disabled', INJECT, '', '', false],
    ['the namespace names the revision', 'istio.io/rev: default', '', '', '', true],
    ['the namespace names a revision that is not there', 'istio.io/rev: canary', '', '', '', false],
    ['the pod names the revision', '', ', istio.io/rev: default', '', '', true],
    ['the host network', ENABLED, INJECT, '', 'hostNetwork: true,', false],
  ])('%s', (_, nsLabels, podLabels, annotations, spec, joined) => {
    const violations = step(
      caller(nsLabels, podLabels, annotations, spec),
      peers(STRICT),
      'team/Deployment/caller -> api TCP/8080',
    );
    expect(violations).toHaveLength(joined ? 0 : 1);
  });

  it('leaves kube-system out', () => {
    const base = caller(ENABLED, INJECT, '', '', 'kube-system');
    expect(step(base, peers(STRICT), 'kube-system/Deployment/caller -> api TCP/8080')).toHaveLength(1);
  });

  it('asks the webhooks that the cluster has', () => {
    const webhook = `
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: injector-canary, labels: {app: sidecar-injector}}
webhooks:
- namespaceSelector: {matchLabels: {mesh: "on"}}
  objectSelector: {}
`;
    const line = 'team/Deployment/caller -> api TCP/8080';
    const labelled = MESH.replace('name: shop, labels: {}', 'name: shop, labels: {mesh: "on"}') + webhook;
    const team = (label: string): string => labelled + namespace('team', label) + workload('caller', { ns: 'team' });
    expect(step(team('mesh: "on"'), peers(STRICT), line)).toEqual([]);
    expect(step(team(ENABLED), peers(STRICT), line)).toHaveLength(1);
  });
});

// --- Workloads ---------------------------------------------------------------------------------------------------------

const CUSTOM = `
---
apiVersion: kubeflow.org/v1
kind: PyTorchJob
metadata: {name: gnn, namespace: shop}
spec:
  pytorchReplicaSpecs:
    Master: {template: {metadata: {labels: {app: gnn}}, spec: {containers: [{name: t}]}}}
    Worker: {template: {metadata: {labels: {app: gnn}}, spec: {containers: [{name: t}]}}}
---
apiVersion: sparkoperator.k8s.io/v1beta2
kind: SparkApplication
metadata: {name: features, namespace: shop}
spec: {driver: {labels: {app: features}, serviceAccount: spark}, executor: {labels: {app: features}}}
---
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: scorer, namespace: shop}
spec: {predictor: {serviceAccountName: s, model: {ports: [{name: h, containerPort: 8080}]}}}
---
apiVersion: ray.io/v1
kind: RayCluster
metadata: {name: ray, namespace: shop}
spec: {workerGroupSpecs: [{template: {metadata: {labels: {app: ray}}, spec: {containers: [{name: r}]}}}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: shop}
spec: {jobTemplate: {spec: {template: {metadata: {labels: {app: nightly}}, spec: {containers: [{name: c}]}}}}}
---
{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "toolbox", "namespace": "shop", "labels": {"app": "toolbox"}}, "spec": {"containers": []}}]}
`;

describe('workloads of every kind', () => {
  const admits = (labels: string): string => api(`[{from: [{podSelector: {matchLabels: {${labels}}}}]}]`);
  table(BASE + CUSTOM, [
    [
      'a PyTorchJob by its operator’s label',
      admits('training.kubeflow.org/job-name: gnn'),
      'shop/PyTorchJob/gnn -> api TCP/8080',
      OK,
    ],
    [
      'a PyTorchJob is all of its roles',
      admits('training.kubeflow.org/replica-type: worker'),
      'shop/PyTorchJob/gnn -> api TCP/8080',
      P,
    ],
    [
      'a SparkApplication by its own label',
      admits('app: features'),
      'shop/SparkApplication/features -> api TCP/8080',
      OK,
    ],
    [
      'a SparkApplication is driver and executors',
      admits('spark-role: driver'),
      'shop/SparkApplication/features -> api TCP/8080',
      P,
    ],
    [
      'an InferenceService by its operator’s label',
      admits('serving.kserve.io/inferenceservice: scorer'),
      'shop/InferenceService/scorer -> api TCP/8080',
      OK,
    ],
    [
      'the name of an InferenceService’s port',
      policy('{podSelector: {matchLabels: {app: isvc.scorer-predictor}}, ingress: [{ports: [{port: h}]}]}'),
      'web -> shop/InferenceService/scorer TCP/8080',
      OK,
    ],
    [
      'another port of it',
      policy('{podSelector: {matchLabels: {app: isvc.scorer-predictor}}, ingress: [{ports: [{port: h}]}]}'),
      'web -> shop/InferenceService/scorer TCP/8081',
      P,
    ],
    ['an unknown owner by its template', admits('app: ray'), 'shop/RayCluster/ray -> api TCP/8080', OK],
    ['a CronJob by its template', admits('app: nightly'), 'shop/CronJob/nightly -> api TCP/8080', OK],
    ['a CronJob not by the name of one run', admits('job-name: nightly-1'), 'shop/CronJob/nightly -> api TCP/8080', P],
    ['a bare Pod in a List', admits('app: toolbox'), 'shop/Pod/toolbox -> api TCP/8080', OK],
  ]);
});

describe('accounts', () => {
  it('lets executors run as their driver’s account', () => {
    const meshed = MESH + CUSTOM.replaceAll('app: features', `app: features${INJECT}`);
    const line = 'shop/SparkApplication/features -> api TCP/8080';
    expect(step(meshed, apiRule(from('*/sa/spark')), line)).toEqual([]);
    expect(step(meshed, apiRule(from('*/sa/default')), line)).toHaveLength(1);
  });

  it('takes the namespace’s default account where none is named', () => {
    const meshed = MESH + CUSTOM.replaceAll('app: nightly', `app: nightly${INJECT}`);
    expect(step(meshed, apiRule(from('*/ns/shop/sa/default')), 'shop/CronJob/nightly -> api TCP/8080')).toEqual([]);
  });
});

// --- States ------------------------------------------------------------------------------------------------------------

describe('states', () => {
  const states = (): string => join(dir, 'states');
  const WEB_API = edge('web -> api TCP/8080');

  it('leaves out what the start denies already', () => {
    write('states/000-start/a.yaml', BASE + policy('{podSelector: {}}'));
    write('states/001-more/a.yaml', BASE + policy('{podSelector: {}}'));
    expect(checkStates(states(), [WEB_API])).toEqual([]);
  });

  it('takes the start from elsewhere', () => {
    write('cluster/deep/a.yaml', BASE + policy('{podSelector: {}}'));
    write('states/001-more/a.yaml', BASE + policy('{podSelector: {}}'));
    expect(checkStates(states(), [WEB_API], { startDir: join(dir, 'cluster') })).toEqual([]);
    expect(checkStates(states(), [WEB_API])).toHaveLength(1);
  });

  it('reads states by number and names the one that denies', () => {
    write('states/000-start/a.yaml', BASE);
    write('states/2-deny/nested/a.yml', BASE + policy('{podSelector: {}}'));
    write(
      'states/010-open/a.yaml',
      BASE + policy('{podSelector: {}}') + policy('{podSelector: {}, ingress: [{}]}', 'open'),
    );
    expect(checkStates(states(), [WEB_API])).toMatchObject([
      {
        state: '2-deny',
        edge: WEB_API,
        by: [P],
        why: expect.stringContaining('ingress of shop/Deployment/api') as unknown,
      },
    ]);
  });

  it('says when a workload is gone', () => {
    write('states/000-start/a.yaml', BASE);
    write('states/001-gone/a.yaml', BASE.replace('name: api, namespace: shop', 'name: api2, namespace: shop'));
    expect(checkStates(states(), [WEB_API])).toMatchObject([
      { by: [], why: expect.stringContaining('gone') as unknown },
    ]);
  });

  it('refuses an edge of a workload that never was', () => {
    write('states/000-start/a.yaml', BASE);
    expect(() => checkStates(states(), [edge('nobody -> api TCP/80')])).toThrow('nobody');
  });

  it('refuses one object twice, and what it does not model', () => {
    write('states/000-start/a.yaml', BASE + BASE);
    expect(() => checkStates(states(), [])).toThrow('twice');
    write(
      'states/000-start/a.yaml',
      BASE + '---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s, namespace: shop}\n',
    );
    expect(() => checkStates(states(), [])).toThrow(Unsupported);
  });

  it('asks that every sidecar reaches istiod', () => {
    const isolated = policy(
      '{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{ports: [{port: 8080}]}]}',
    );
    const violations = step(MESH, isolated, 'web -> api TCP/8080');
    expect(violations).toMatchObject([{ edge: { dst: 'istio-system/Deployment/istiod', port: 15012 }, by: [P] }]);
    expect(step(MESH, isolated.replace('8080', '8080}, {port: 15012'), 'web -> api TCP/8080')).toEqual([]);
  });

  it('keeps the pods of before alive while a template rolls out', () => {
    const joins = MESH.replace(
      'name: plain, namespace: shop}\nspec:\n  replicas: 2\n  template:\n    metadata: {labels: {app: plain',
      `$&${INJECT}`,
    );
    expect(joins).not.toBe(MESH);
    const line = edge('plain -> api TCP/8080');
    write('states/000-start/a.yaml', MESH);
    write('states/001-join-and-strict/a.yaml', joins + peers(STRICT));
    expect(checkStates(states(), [line])).toHaveLength(1);
    write('states/001-join-and-strict/a.yaml', joins);
    write('states/002-strict/a.yaml', joins + peers(STRICT));
    expect(checkStates(states(), [line])).toEqual([]);
  });

  it('does not take a namespace label for a restart', () => {
    const labelled = MESH.replace('name: shop, labels: {}', 'name: shop, labels: {istio-injection: enabled}');
    write('states/000-start/a.yaml', MESH);
    write('states/001-label/a.yaml', labelled);
    write('states/002-wait/a.yaml', labelled);
    write('states/003-strict/a.yaml', labelled + peers(STRICT));
    expect(checkStates(states(), [edge('plain -> api TCP/8080')]).map((one) => one.state)).toEqual(['003-strict']);
  });
});

describe('reordering', () => {
  const OPEN = policy('{podSelector: {matchLabels: {app: api}}, ingress: [{ports: [{port: 8080}]}]}', 'open');
  const DENY = policy('{podSelector: {}, policyTypes: [Ingress]}', 'deny');
  const run = (arrange: Parameters<typeof reorder>[2]): readonly Violation[] => {
    write('states/000-start/a.yaml', BASE);
    write('states/001-open/a.yaml', BASE + OPEN);
    write('states/002-deny/a.yaml', BASE + OPEN + DENY);
    reorder(join(dir, 'states'), join(dir, 'other'), arrange);
    return checkStates(join(dir, 'other'), [edge('web -> api TCP/8080')]);
  };

  it('finds nothing where the order is kept', () => expect(run((steps) => steps)).toEqual([]));
  it('finds a step that comes too early', () =>
    expect(run(first(/deny/))).toMatchObject([{ state: '001-deny', by: ['NetworkPolicy shop/deny'] }]));
  it('finds two steps that changed places', () => expect(run(swap(/open/, /deny/))).toHaveLength(1));
  it('finds a step left out', () => expect(run(without(/open/))).toHaveLength(1));
  it('refuses a pattern that no step has', () => expect(() => run(first(/nowhere/))).toThrow('nowhere'));

  it('tells created, changed and deleted objects from the same ones', () => {
    write('states/000-start/a.yaml', BASE + OPEN);
    write('states/001-swap/a.yaml', BASE.replace('team: red', 'team: blue') + DENY);
    const [only] = stepsBetween(readStates(join(dir, 'states')));
    expect([...(only?.changes ?? [])].map(([key, object]) => [key, object !== undefined])).toEqual([
      ['networking.k8s.io/NetworkPolicy/shop/open', false],
      ['/Namespace//other', true],
      ['networking.k8s.io/NetworkPolicy/shop/deny', true],
    ]);
  });
});
