import { describe, expect, it } from 'vitest';
import type { Config } from '../../src/model/config.ts';
import type { MeshFacts } from '../../src/model/inventory.ts';
import { predictMembership } from '../../src/inventory/mesh.ts';
import { findDns, findPrometheus } from '../../src/inventory/system-traffic.ts';
import { findingLines, inventoryOf, readFixture, snapshotOf, withObjects, workload } from './snapshots.ts';

const platform = await readFixture('platform');
const inventory = inventoryOf(platform);

function daemonSet(name: string, image: string, args: readonly string[] = []): unknown {
  return {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name, namespace: 'kube-system' },
    spec: {
      template: { spec: { containers: [{ name: name === 'aws-node' ? 'aws-eks-nodeagent' : name, image, args }] } },
    },
  };
}

function ciliumConfig(data: Readonly<Record<string, string>>): unknown {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'cilium-config', namespace: 'kube-system' }, data };
}

describe('cluster facts', () => {
  it('are read from nodes, EndpointSlices, DaemonSets and the control plane of the mesh', () => {
    expect(inventory.facts).toMatchObject({
      kubernetesVersion: 'v1.30.9',
      apiServer: ['192.168.0.1/32'],
      cni: { name: 'cilium', enforces: 'yes', ipBlockMatches: [] },
      mesh: {
        kind: 'istio',
        mode: 'sidecar',
        version: '1.29.2',
        rootNamespace: 'mesh-root',
        trustDomain: 'bank.example',
        revisions: ['default'],
        autoMtls: true,
        nativeSidecars: 'yes',
      },
    });
    expect(inventory.nodes[0]).toEqual({ name: 'n1', addresses: ['192.168.0.1'], podCIDRs: ['10.1.0.0/24'] });
  });

  it.each([
    [
      'trustDomainAliases:\n- old.example\n- "older.example"\nenableAutoMtls: false\n',
      ['old.example', 'older.example'],
      false,
    ],
    ["enableAutoMtls: true\ntrustDomainAliases: [old.example, 'x']\n", ['old.example', 'x'], true],
    ['trustDomainAliases: []\n', undefined, true],
    ['defaultConfig:\n  trustDomainAliases:\n  - no\n', undefined, true],
  ])('the mesh configuration %j names trust domains beside its own', (mesh, aliases, autoMtls) => {
    const istiod = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'istiod', namespace: 'istio-system', labels: { app: 'istiod' } },
      spec: {
        template: {
          metadata: { labels: { app: 'istiod' } },
          spec: { containers: [{ name: 'discovery', image: 'istio/pilot:1.29.2' }] },
        },
      },
    };
    const map = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'istio', namespace: 'istio-system' },
      data: { mesh },
    };
    const { facts } = inventoryOf(snapshotOf([istiod, map]));
    expect([facts.mesh.trustDomainAliases, facts.mesh.autoMtls]).toEqual([aliases, autoMtls]);
  });

  it('of waypoints are the Gateways, and what Services name', () => {
    const service = (name: string, labels: object): unknown => ({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace: 'shop', labels },
      spec: { ports: [{ port: 80 }] },
    });
    const gateway = {
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'Gateway',
      metadata: { name: 'waypoint', namespace: 'infra' },
      spec: { gatewayClassName: 'istio-waypoint' },
    };
    const found = inventoryOf(
      snapshotOf([
        service('a', { 'istio.io/use-waypoint': 'own' }),
        service('b', { 'istio.io/use-waypoint': 'waypoint', 'istio.io/use-waypoint-namespace': 'infra' }),
        service('c', { 'istio.io/use-waypoint': 'none' }),
        service('d', {}),
        gateway,
      ]),
    );
    expect(found.services.map(({ useWaypoint }) => useWaypoint)).toEqual([
      'shop/own',
      'infra/waypoint',
      'none',
      undefined,
    ]);
    expect(found.policies.map(({ kind }) => kind)).toEqual(['Gateway']);
  });

  it.each([
    ['calico-node', 'docker.io/calico/node:v3.30.0', [], 'calico', 'yes', ['pods', 'nodes', 'api-server']],
    ['kube-flannel-ds', 'flannel/flannel:v0.26', [], 'flannel', 'no', []],
    ['kindnet', 'kindest/kindnetd:v2', [], 'kindnet', 'unknown', ['pods', 'nodes', 'api-server']],
    ['aws-node', 'eks/aws', ['--enable-network-policy=true'], 'aws-vpc-cni', 'yes', ['pods', 'nodes', 'api-server']],
    ['aws-node', 'eks/aws', [], 'aws-vpc-cni', 'unknown', ['pods', 'nodes', 'api-server']],
    ['anetd', 'gke/anetd', [], 'gke-dataplane-v2', 'yes', []],
    ['something', 'example/something', [], 'unknown', 'unknown', []],
  ])('the CNI of DaemonSet %s with image %s %j is %s and enforces: %s', (name, image, args, cni, enforces, blocks) => {
    const { facts } = inventoryOf(snapshotOf([daemonSet(name, image, args)]));
    expect(facts.cni).toMatchObject({ name: cni, enforces, ipBlockMatches: blocks });
  });

  it.each([
    [{ 'enable-policy': 'always' }, 'yes', []],
    [{ 'enable-policy': 'never' }, 'no', []],
    [{ 'policy-audit-mode': 'true' }, 'no', []],
    [{ 'policy-cidr-match-mode': 'nodes' }, 'yes', ['nodes']],
  ])('Cilium with %j enforces: %s', (data, enforces, blocks) => {
    const { facts } = inventoryOf(snapshotOf([daemonSet('cilium', 'cilium/cilium:1'), ciliumConfig(data)]));
    expect(facts.cni).toMatchObject({ enforces, ipBlockMatches: blocks });
  });

  it('does not guess whether Cilium enforces when its configuration was not read', () => {
    expect(inventoryOf(snapshotOf([daemonSet('cilium', 'cilium/cilium:1')])).facts.cni.enforces).toBe('unknown');
  });

  const stated: Config['cluster'] = {
    cni: { name: 'calico', ipBlockMatches: ['pods'] },
    mesh: { kind: 'istio', mode: 'ambient', trustDomain: 'other.example' },
    apiServer: ['10.0.0.1/32'],
  };

  it('take from the configuration what nothing shows', () => {
    const { facts } = inventoryOf(snapshotOf([], 'directory'), { cluster: stated });
    expect(facts.cni).toMatchObject({ name: 'calico', enforces: 'yes', ipBlockMatches: ['pods'] });
    expect(facts.mesh).toMatchObject({ kind: 'istio', mode: 'ambient', trustDomain: 'other.example' });
    expect(facts.apiServer).toEqual(['10.0.0.1/32']);
  });

  it('leave what an ipBlock matches to the configuration, where it is not read', () => {
    const cluster = { ...stated, cni: { name: 'calico', ipBlockMatches: ['nodes'] } } as const;
    const { facts, findings } = inventoryOf(snapshotOf([daemonSet('calico-node', 'calico/node:1')]), { cluster });
    expect(facts.cni).toMatchObject({ name: 'calico', enforces: 'yes', ipBlockMatches: ['nodes'] });
    expect(findings.filter(({ code, subject }) => code === 'SP315' && subject.startsWith('cluster.cni'))).toEqual([]);
  });

  it('win over the configuration, and a conflict is a finding', () => {
    const both = inventoryOf(platform, { cluster: stated });
    expect(both.facts).toEqual(inventory.facts);
    expect(both.findings.filter((item) => item.code === 'SP315').map((item) => item.subject)).toEqual([
      'cluster.apiServer',
      'cluster.cni.name',
      'cluster.mesh.mode',
      'cluster.mesh.trustDomain',
    ]);
  });

  it('of the names that a cloud has for the cluster win too', () => {
    const labels = { 'alpha.eksctl.io/cluster-name': 'one' };
    const snapshot = snapshotOf([{ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n', labels } }]);
    const found = (eksCluster: string): readonly string[] =>
      inventoryOf(snapshot, { cloud: { eksCluster, issuer: 'https://a' } })
        .findings.filter(({ code }) => code === 'SP315')
        .map(({ subject, message }) => `${subject}: ${message}`);
    expect(found('one')).toEqual([]);
    expect(found('two')).toEqual([
      'cloud.eksCluster: the configuration states two, the cluster shows one; the latter is used',
    ]);
  });

  it('say none of a mesh only where the whole cluster could be read', () => {
    expect(inventoryOf(snapshotOf([])).facts.mesh.kind).toBe('none');
    expect(inventoryOf(snapshotOf([], 'directory')).facts.mesh.kind).toBe('unknown');
    expect(inventoryOf({ ...snapshotOf([]), unread: ['apps/Deployment'] }).facts.mesh.kind).toBe('unknown');
  });
});

describe('namespaces', () => {
  it.each([
    ['kube-system', 'belongs to Kubernetes'],
    ['istio-system', 'runs the control plane of the mesh'],
    ['guard', 'hosts the admission webhook guard'],
    ['shop', undefined],
    ['monitoring', undefined],
  ])('%s is system because it %s', (name, reason) => {
    expect(inventory.namespaces.find((item) => item.name === name)?.system).toBe(reason);
  });

  it('named like words of the language are namespaces like others', () => {
    const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'constructor', labels: {} } };
    const policy = {
      apiVersion: 'constructor/v1',
      kind: 'toString',
      metadata: { name: '__proto__', namespace: 'constructor' },
    };
    const built = inventoryOf(snapshotOf([namespace, policy]));
    expect(built.namespaces).toMatchObject([{ name: 'constructor', declared: true }]);
    expect(built.namespaces[0]).not.toHaveProperty('system');
    expect(built.policies).toEqual([]);
  });

  it('are implied by an object where there is no Namespace', () => {
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'p', namespace: 'alone' },
      spec: { containers: [] },
    };
    const built = inventoryOf(snapshotOf([pod], 'directory'));
    expect(built.namespaces).toEqual([{ name: 'alone', labels: {}, annotations: {}, declared: false }]);
    expect(findingLines(built, 'SP328')).toEqual(['namespace alone has no Namespace object']);
  });
});

describe('system traffic', () => {
  it('finds the name servers with their ports after NAT, and the cache on the nodes', () => {
    expect(findDns(inventory)).toEqual({
      workloadIds: ['kube-system/Deployment/coredns'],
      ports: [
        { port: 53, protocol: 'UDP' },
        { port: 53, protocol: 'TCP' },
      ],
      nodeLocal: true,
      nodeAddresses: ['10.96.0.10', '169.254.20.10'],
      namespace: 'kube-system',
      selector: { 'k8s-app': 'kube-dns' },
    });
  });

  it('finds port 5353 behind the DNS Service of OpenShift', () => {
    const openshift = snapshotOf([
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'dns-default', namespace: 'openshift-dns' },
        spec: {
          selector: { 'dns.operator.openshift.io/daemonset-dns': 'default' },
          ports: [{ name: 'dns', port: 53, targetPort: 'dns', protocol: 'UDP' }],
        },
      },
    ]);
    expect(findDns(inventoryOf(openshift))).toMatchObject({
      ports: [{ port: 5353, protocol: 'UDP' }],
      nodeLocal: false,
    });
  });

  it('is silent about name servers that nobody read', () => {
    expect(findDns(inventoryOf(snapshotOf([], 'directory')))).toBeUndefined();
  });

  it('finds Prometheus and not its operator', () => {
    expect(findPrometheus(inventory.workloads)).toEqual(['monitoring/StatefulSet/prometheus']);
  });
});

describe('policies', () => {
  it('are all objects that may act on connections and no others', () => {
    expect(inventory.policies.map((policy) => policy.kind)).toEqual([
      'CiliumNetworkPolicy',
      'NetworkPolicy',
      'PeerAuthentication',
    ]);
  });

  it('include unknown kinds of a policy group', () => {
    const novel = {
      apiVersion: 'security.istio.io/v2',
      kind: 'NovelPolicy',
      metadata: { name: 'n', namespace: 'shop' },
    };
    expect(inventoryOf(snapshotOf([novel])).policies).toHaveLength(1);
  });
});

describe('mesh membership', () => {
  const mesh: MeshFacts = {
    kind: 'istio',
    mode: 'sidecar',
    rootNamespace: 'istio-system',
    trustDomain: 'cluster.local',
    nativeSidecars: 'yes',
    because: '',
  };
  const enabled = { 'istio-injection': 'enabled' };
  const disabled = { 'istio-injection': 'disabled' };
  const inject = { 'sidecar.istio.io/inject': 'true' };
  const out = { 'sidecar.istio.io/inject': 'false' };
  const ambient: MeshFacts = { ...mesh, mode: 'ambient' };
  const captured = { 'istio.io/dataplane-mode': 'ambient' };

  it.each([
    ['namespace enabled', enabled, {}, {}, false, 'shop', mesh, 'sidecar'],
    ['namespace enabled, pod label false', enabled, out, {}, false, 'shop', mesh, 'none'],
    ['namespace enabled, old annotation false', enabled, {}, out, false, 'shop', mesh, 'none'],
    ['label true beats annotation false', enabled, inject, out, false, 'shop', mesh, 'sidecar'],
    ['namespace disabled beats pod label true', disabled, inject, {}, false, 'shop', mesh, 'none'],
    ['no namespace label, pod label true', {}, inject, {}, false, 'shop', mesh, 'sidecar'],
    ['no namespace label, annotation alone', {}, {}, inject, false, 'shop', mesh, 'none'],
    ['nothing said', {}, {}, {}, false, 'shop', mesh, 'none'],
    ['host network', enabled, inject, {}, true, 'shop', mesh, 'none'],
    ['kube-system', enabled, inject, {}, false, 'kube-system', mesh, 'none'],
    [
      'namespace revision served',
      { 'istio.io/rev': 'r2' },
      {},
      {},
      false,
      'shop',
      { ...mesh, revision: 'r2' },
      'sidecar',
    ],
    ['namespace revision not known', { 'istio.io/rev': 'tag' }, {}, {}, false, 'shop', mesh, 'unknown'],
    [
      'namespace revision not served',
      { 'istio.io/rev': 'r1' },
      {},
      {},
      false,
      'shop',
      { ...mesh, revisions: ['r2'] },
      'none',
    ],
    [
      'istio-injection beats the revision label',
      { ...disabled, 'istio.io/rev': 'default' },
      {},
      {},
      false,
      'shop',
      mesh,
      'none',
    ],
    ['ambient namespace', captured, {}, {}, false, 'shop', ambient, 'ambient'],
    [
      'ambient namespace, pod opted out',
      captured,
      { 'istio.io/dataplane-mode': 'none' },
      {},
      false,
      'shop',
      ambient,
      'none',
    ],
    ['ambient label, no ambient mesh', captured, {}, {}, false, 'shop', mesh, 'none'],
    ['sidecar wins over ambient', { ...enabled, ...captured }, {}, {}, false, 'shop', ambient, 'sidecar'],
    ['no mesh', enabled, inject, {}, false, 'shop', { ...mesh, kind: 'none' }, 'none'],
    ['mesh not known', enabled, {}, {}, false, 'shop', { ...mesh, kind: 'unknown' }, 'unknown'],
  ] as const)('%s', (_name, namespaceLabels, labels, annotations, hostNetwork, namespace, facts, expected) => {
    expect(predictMembership(namespaceLabels, labels, annotations, hostNetwork, namespace, facts)).toBe(expected);
  });

  it('of workloads follows the labels of namespace and template', () => {
    const seen = ['shop/Deployment/web', 'shop/Deployment/store', 'istio-system/Deployment/ingressgateway'];
    expect(seen.map((id) => workload(inventory, id).podSets[0]?.mesh)).toEqual(['sidecar', 'none', 'sidecar']);
    const unlabelled = withObjects(platform, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } });
    expect(workload(inventoryOf(unlabelled), 'shop/Deployment/web').podSets[0]?.mesh).toBe('none');
  });
});
