// What a tool looks at to tell which CNI, mesh and DNS a cluster has.
import type { ApiClient } from './client.ts';
import { nameOf, pathOf, resources } from './objects.ts';
import type { Draft, Resource } from './objects.ts';
import { harnessGroup } from './server.ts';

/** The namespaces that seedPlatform writes to, and those that every cluster has. */
export const platformNamespaces = ['default', 'istio-system', 'kube-node-lease', 'kube-public', 'kube-system'] as const;

const webhooks: Resource = {
  root: '/apis/admissionregistration.k8s.io/v1',
  plural: 'mutatingwebhookconfigurations',
  apiVersion: 'admissionregistration.k8s.io/v1',
  kind: 'MutatingWebhookConfiguration',
};

/**
 * Creates, where lacking, an Istio 1.29 control plane (namespace, istiod, its Service, mesh configuration, injection
 * webhook), Cilium (DaemonSet and configuration with `enable-policy: default`) and CoreDNS with the kube-dns Service at
 * 10.96.0.10. The webhook is as Istio's, but exempts the harness' own requests, which inject by themselves: nobody answers it,
 * so a pod that anybody else creates in a namespace with injection is refused.
 */
export async function seedPlatform(client: ApiClient): Promise<void> {
  const objects: readonly (readonly [Resource, Draft])[] = [
    [resources.namespaces, { metadata: { name: 'istio-system' } }],
    [
      resources.configMaps,
      configMap('istio-system', 'istio', { mesh: 'rootNamespace: istio-system\ntrustDomain: cluster.local\n' }),
    ],
    [
      resources.deployments,
      deployment(
        'istio-system',
        'istiod',
        { app: 'istiod', istio: 'pilot' },
        {
          name: 'discovery',
          image: 'docker.io/istio/pilot:1.29.0',
          ports: [8080, 15010, 15012, 15014, 15017].map((containerPort) => ({ containerPort })),
        },
        { 'istio.io/rev': 'default', 'sidecar.istio.io/inject': 'false' },
      ),
    ],
    [
      resources.services,
      service('istio-system', 'istiod', { app: 'istiod', istio: 'pilot' }, [
        { name: 'grpc-xds', port: 15010 },
        { name: 'https-dns', port: 15012 },
        { name: 'https-webhook', port: 443, targetPort: 15017 },
        { name: 'http-monitoring', port: 15014 },
      ]),
    ],
    [webhooks, injectionWebhook()],
    [
      resources.configMaps,
      configMap('kube-system', 'cilium-config', {
        'enable-policy': 'default',
        'policy-audit-mode': 'false',
        'routing-mode': 'tunnel',
      }),
    ],
    [
      resources.daemonSets,
      {
        metadata: { name: 'cilium', namespace: 'kube-system', labels: { 'k8s-app': 'cilium' } },
        spec: {
          selector: { matchLabels: { 'k8s-app': 'cilium' } },
          template: {
            metadata: { labels: { 'k8s-app': 'cilium' } },
            spec: {
              hostNetwork: true,
              containers: [{ name: 'cilium-agent', image: 'quay.io/cilium/cilium:v1.18.2' }],
              tolerations: [{ operator: 'Exists' }],
            },
          },
        },
      },
    ],
    [
      resources.deployments,
      deployment(
        'kube-system',
        'coredns',
        { 'k8s-app': 'kube-dns' },
        {
          name: 'coredns',
          image: 'registry.k8s.io/coredns/coredns:v1.12.1',
          ports: [
            { name: 'dns', containerPort: 53, protocol: 'UDP' },
            { name: 'dns-tcp', containerPort: 53, protocol: 'TCP' },
            { name: 'metrics', containerPort: 9153, protocol: 'TCP' },
          ],
        },
      ),
    ],
    [
      resources.services,
      service(
        'kube-system',
        'kube-dns',
        { 'k8s-app': 'kube-dns' },
        [
          { name: 'dns', port: 53, protocol: 'UDP' },
          { name: 'dns-tcp', port: 53, protocol: 'TCP' },
          { name: 'metrics', port: 9153 },
        ],
        { clusterIP: '10.96.0.10' },
      ),
    ],
  ];
  for (const [resource, object] of objects) {
    const { apiVersion, kind } = resource;
    const response = await client.request('POST', pathOf(resource, object.metadata?.namespace), {
      apiVersion,
      kind,
      ...object,
    });
    if (response.status >= 400 && response.status !== 409) {
      throw new Error(`seeding ${kind} ${nameOf(object)}: ${response.status} ${response.text}`);
    }
  }
}

type LabelMap = Readonly<Record<string, string>>;

function configMap(namespace: string, name: string, data: LabelMap): Draft {
  return { metadata: { name, namespace }, data };
}

function deployment(
  namespace: string,
  name: string,
  selector: LabelMap,
  container: object,
  moreLabels: LabelMap = {},
): Draft {
  const labels = { ...selector, ...moreLabels };
  const spec = {
    replicas: 1,
    selector: { matchLabels: selector },
    template: { metadata: { labels }, spec: { containers: [container] } },
  };
  return { metadata: { name, namespace, labels }, spec };
}

function service(
  namespace: string,
  name: string,
  selector: LabelMap,
  ports: readonly object[],
  more: object = {},
): Draft {
  return { metadata: { name, namespace, labels: selector }, spec: { selector, ports, ...more } };
}

function injectionWebhook(): Draft {
  const inject = 'sidecar.istio.io/inject';
  const revision = 'istio.io/rev';
  const rule = (key: string, operator: string, ...values: readonly string[]): object => ({
    key,
    operator,
    ...(values.length > 0 ? { values } : {}),
  });
  const notRefused = rule(inject, 'NotIn', 'false');
  const selectors: readonly { name: string; namespace: readonly object[]; object: readonly object[] }[] = [
    {
      name: 'rev.namespace',
      namespace: [rule(revision, 'In', 'default'), rule('istio-injection', 'DoesNotExist')],
      object: [notRefused],
    },
    {
      name: 'rev.object',
      namespace: [rule(revision, 'DoesNotExist'), rule('istio-injection', 'DoesNotExist')],
      object: [notRefused, rule(revision, 'In', 'default')],
    },
    { name: 'namespace', namespace: [rule('istio-injection', 'In', 'enabled')], object: [notRefused] },
    {
      name: 'object',
      namespace: [rule('istio-injection', 'DoesNotExist'), rule(revision, 'DoesNotExist')],
      object: [rule(inject, 'In', 'true'), rule(revision, 'DoesNotExist')],
    },
  ];
  return {
    metadata: { name: 'istio-sidecar-injector', labels: { app: 'sidecar-injector', 'istio.io/rev': 'default' } },
    webhooks: selectors.map(({ name, namespace, object }) => ({
      name: `${name}.sidecar-injector.istio.io`,
      clientConfig: { service: { namespace: 'istio-system', name: 'istiod', path: '/inject', port: 443 } },
      namespaceSelector: { matchExpressions: namespace },
      objectSelector: { matchExpressions: object },
      rules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] }],
      matchConditions: [
        { name: 'not-the-test-harness', expression: `!('${harnessGroup}' in request.userInfo.groups)` },
      ],
      failurePolicy: 'Fail',
      reinvocationPolicy: 'Never',
      sideEffects: 'None',
      timeoutSeconds: 1,
      admissionReviewVersions: ['v1'],
    })),
  };
}
