import { describe, expect, it } from 'vitest';
import { findHosts, serviceOfHost } from '../../../src/inventory/host-names.ts';
import { edgeLine, findingLines, inventoryOf, readFixture, snapshotOf, withObjects } from '../snapshots.ts';

const platform = await readFixture('platform');
const inventory = inventoryOf(platform);

describe('declared edges', () => {
  it('are exactly those that the objects state', () => {
    expect(inventory.declared.map((edge) => `${edgeLine(edge)}: ${edge.by}`)).toEqual([
      'api-server -> guard/Deployment/guard 9443/TCP strong: ValidatingWebhookConfiguration guard',
      'api-server -> istio-system/Deployment/istiod 15017/TCP strong: MutatingWebhookConfiguration istio-sidecar-injector',
      'ingress/Deployment/nginx -> shop/Deployment/web 8080/TCP strong: Ingress shop/web',
      'istio-system/Deployment/ingressgateway -> istio-system/Deployment/istiod 15012/TCP strong: sidecar',
      'istio-system/Deployment/ingressgateway -> shop/Deployment/web 8080/TCP strong: VirtualService shop/web',
      'monitoring/StatefulSet/prometheus -> shop/Deployment/api 15020/TCP strong: ' +
        "annotation prometheus.io/scrape, merged by Istio's agent",
      'monitoring/StatefulSet/prometheus -> shop/Deployment/api 5000/TCP strong: ServiceMonitor monitoring/api',
      'monitoring/StatefulSet/prometheus -> shop/Deployment/api 9102/TCP strong: annotation prometheus.io/scrape',
      "node -> istio-system/Deployment/ingressgateway 15021/TCP strong: readiness probe of Istio's proxy",
      "node -> shop/Deployment/api 15021/TCP strong: readiness probe of Istio's proxy",
      "node -> shop/Deployment/web 15020/TCP strong: probe of the kubelet, answered by Istio's agent",
      "node -> shop/Deployment/web 15021/TCP strong: readiness probe of Istio's proxy",
      'node -> shop/Deployment/web 8080/TCP strong: probe of the kubelet',
      'shop/Deployment/api -> istio-system/Deployment/istiod 15012/TCP strong: sidecar',
      'shop/Deployment/api -> shop/Deployment/store 6379/TCP weak: argument',
      'shop/Deployment/web -> istio-system/Deployment/istiod 15012/TCP strong: sidecar',
      'shop/Deployment/web -> shop/Deployment/api 5000/TCP weak: env API_HOST',
    ]);
  });

  it('of a scrape annotation are weak where two Prometheus servers could be meant, and monitors are a finding', () => {
    const second = {
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      metadata: { name: 'prometheus-two', namespace: 'monitoring' },
      spec: {
        template: {
          metadata: { labels: { app: 'two' } },
          spec: { containers: [{ name: 'p', image: 'prom/prometheus:v3' }] },
        },
      },
    };
    const built = inventoryOf(withObjects(platform, second));
    const scrapes = built.declared.filter((edge) => edge.src.kind === 'workload' && edge.src.id.includes('prometheus'));
    expect(new Set(scrapes.map((edge) => edge.strength))).toEqual(new Set(['weak']));
    expect(findingLines(built, 'SP319')).toEqual(['1 monitors have no sure scraper: there are 2 Prometheus workloads']);
  });

  it('of an Ingress whose controller is not known come from somebody unknown, not from nobody', () => {
    const withoutClass = snapshotOf(platform.objects.filter((object) => object.kind !== 'IngressClass'));
    const built = inventoryOf(withoutClass);
    expect(built.declared.filter((edge) => edge.by === 'Ingress shop/web')).toMatchObject([
      {
        src: { kind: 'unknown' },
        dst: { kind: 'workload', id: 'shop/Deployment/web' },
        port: 8080,
        strength: 'strong',
      },
    ]);
    expect(findingLines(built, 'SP318')).toEqual([
      'who serves Ingress shop/web is not known: no class names a controller that is known',
    ]);
  });

  it('of environment take values from ConfigMaps too', () => {
    const map = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'settings', namespace: 'shop' },
      data: { STORE_ADDR: 'store:6379' },
    };
    const job = {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name: 'load', namespace: 'shop' },
      spec: {
        template: {
          metadata: { labels: { app: 'load' } },
          spec: { containers: [{ name: 'load', image: 'l', envFrom: [{ configMapRef: { name: 'settings' } }] }] },
        },
      },
    };
    const lines = inventoryOf(withObjects(platform, map, job)).declared.map(edgeLine);
    expect(lines).toContain('shop/Job/load -> shop/Deployment/store 6379/TCP weak');
  });
});

describe('host names in settings', () => {
  it.each([
    ['http://mlflow.ml.svc.cluster.local:5000/x', [{ host: 'mlflow.ml.svc.cluster.local', port: 5000, bare: false }]],
    ['postgresql://u:p%40ss@db.shop/app', [{ host: 'db.shop', port: 5432, bare: false }]],
    ['jdbc:postgresql://db:5433/app', [{ host: 'db', port: 5433, bare: true }]],
    [
      'kafka-0.kafka.ns.svc:9092,kafka-1.kafka.ns.svc:9092',
      [
        { host: 'kafka-0.kafka.ns.svc', port: 9092, bare: false },
        { host: 'kafka-1.kafka.ns.svc', port: 9092, bare: false },
      ],
    ],
    ['--store=redis:6379', [{ host: 'redis', port: 6379, bare: true }]],
    ['10.0.0.1:80', []],
    ['just some words', []],
    ['/etc/config/app.yaml', []],
    ['registry.example/team/app:1.2', []],
    ['12:34:56', []],
    ['redis:99999', []],
  ])('%s', (text, expected) => {
    expect(findHosts(text)).toEqual(expected);
  });

  it('count as a bare host by the name of their variable, with the port of its neighbour', () => {
    const values: Readonly<Record<string, string>> = { DB_PORT: '5432' };
    expect(findHosts('db', 'DB_HOST', (name) => values[name])).toEqual([{ host: 'db', port: 5432, bare: true }]);
    expect(findHosts('db', 'FLAVOUR')).toEqual([]);
  });

  it.each([
    ['db', { namespace: 'shop', name: 'db' }],
    ['db.other', { namespace: 'other', name: 'db' }],
    ['db.other.svc', { namespace: 'other', name: 'db' }],
    ['db.other.svc.cluster.local', { namespace: 'other', name: 'db' }],
    ['db-0.db.other.svc.cluster.local', { namespace: 'other', name: 'db' }],
    ['db-0.db', { namespace: 'shop', name: 'db' }],
    ['db.other.example.com', undefined],
    ['gone', undefined],
  ])('%s names %j', (host, expected) => {
    const known = new Set(['shop/db', 'other/db']);
    expect(serviceOfHost(host, 'shop', (namespace, name) => known.has(`${namespace}/${name}`))).toEqual(expected);
  });

  it('of a scheme that is a word of the language have no port', () => {
    expect(findHosts('constructor://db')).toEqual([{ host: 'db', bare: true }]);
  });

  it('are found in time that grows with the text, whatever it holds', () => {
    const hostile = `${'a-'.repeat(30_000)}:1`;
    expect(findHosts(hostile)).toEqual([]);
    expect(findHosts('a.'.repeat(200))).toEqual([]);
  });
});

describe('findings', () => {
  it.each([
    [
      'SP312',
      [
        'kube-system/DaemonSet/cilium uses the host network',
        'kube-system/DaemonSet/node-local-dns uses the host network',
      ],
    ],
    ['SP313', ['guard/Deployment/guard has a privileged container']],
    ['SP314', ['Service shop/web is open to the outside as NodePort (30080)']],
    ['SP316', ['1 object of shop/store was rendered by Helm, such as Deployment shop/store']],
    ['SP320', ['ValidatingWebhookConfiguration guard calls Service guard/lost:443, which does not exist']],
    ['SP311', ['1 object of kind Gizmo.example.dev, such as Gizmo shop/g']],
  ])('%s', (code, messages) => {
    expect(findingLines(inventory, code)).toEqual(messages);
  });

  it('name workloads that no lasting label tells apart', () => {
    const pod = (name: string, labels: Readonly<Record<string, string>>): unknown => ({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name, namespace: 'shop' },
      spec: { template: { metadata: { labels }, spec: { containers: [{ name: 'c', image: 'c' }] } } },
    });
    const built = inventoryOf(snapshotOf([pod('a', { app: 'x' }), pod('b', { app: 'x', part: 'b' }), pod('c', {})]));
    expect(findingLines(built, 'SP317')).toEqual([
      'shop/Deployment/a has no label that shop/Deployment/b lacks',
      'shop/Deployment/c has no label that survives a run',
    ]);
  });

  it('name accounts that are shared and workloads on the default account', () => {
    const names = findingLines(inventory, 'SP307');
    expect(names).toContain('shop/Deployment/web runs as the default service account');
    expect(names).not.toContain('guard/Deployment/guard runs as the default service account');
    const twin = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'twin', namespace: 'guard' },
      spec: {
        template: { metadata: { labels: { app: 'twin' } }, spec: { serviceAccountName: 'guard', containers: [] } },
      },
    };
    expect(findingLines(inventoryOf(withObjects(platform, twin)), 'SP308')).toEqual([
      'service account guard/guard is shared by 2 workloads: guard/Deployment/guard, guard/Deployment/twin',
    ]);
  });

  it('name policies in a namespace that does not exist', () => {
    const policy = {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'p', namespace: 'nowhere' },
      spec: { podSelector: {} },
    };
    expect(findingLines(inventoryOf(snapshotOf([policy], 'directory')), 'SP309')).toEqual([
      'NetworkPolicy nowhere/p stands in a namespace that does not exist: the API server refuses it',
    ]);
  });
});
