import { doc, docs, text } from './json.ts';
import type { PodShape } from './pods.ts';
import { selects } from './selector.ts';
import type { Labels } from './selector.ts';
import type { KubeObject } from './states.ts';

/** Namespaces that the injector leaves alone whatever they say. */
const IGNORED = new Set(['kube-system', 'kube-public', 'kube-node-lease', 'local-path-storage']);

interface Webhook {
  readonly namespaceSelector: unknown;
  readonly objectSelector: unknown;
}

const absent = (key: string): unknown => ({ key, operator: 'DoesNotExist' });
const anyOf = (key: string, ...values: string[]): unknown => ({ key, operator: 'In', values });
const noneOf = (key: string, ...values: string[]): unknown => ({ key, operator: 'NotIn', values });
const all = (...matchExpressions: unknown[]): unknown => ({ matchExpressions });

/** Where the cluster's injector is not among the manifests: the four doors that Istio documents, for revision "default". */
const DEFAULT_WEBHOOKS: readonly Webhook[] = [
  {
    namespaceSelector: all(anyOf('istio-injection', 'enabled')),
    objectSelector: all(noneOf('sidecar.istio.io/inject', 'false')),
  },
  {
    namespaceSelector: all(absent('istio-injection'), absent('istio.io/rev')),
    objectSelector: all(anyOf('sidecar.istio.io/inject', 'true'), absent('istio.io/rev')),
  },
  {
    namespaceSelector: all(absent('istio-injection'), absent('istio.io/rev')),
    objectSelector: all(noneOf('sidecar.istio.io/inject', 'false'), anyOf('istio.io/rev', 'default')),
  },
  {
    namespaceSelector: all(absent('istio-injection'), anyOf('istio.io/rev', 'default')),
    objectSelector: all(noneOf('sidecar.istio.io/inject', 'false')),
  },
];

function webhooksOf(objects: readonly KubeObject[]): readonly Webhook[] {
  const found = objects
    .filter((one) => one.kind === 'MutatingWebhookConfiguration' && one.labels['app'] === 'sidecar-injector')
    .flatMap((one) => docs(one.raw['webhooks']))
    .map((one) => ({ namespaceSelector: one['namespaceSelector'], objectSelector: one['objectSelector'] }));
  return found.length > 0 ? found : DEFAULT_WEBHOOKS;
}

/** Would a pod made now get a sidecar? First the API server asks the webhook or does not, then the injector has its own say. */
export function hasSidecar(pod: PodShape, namespaceLabels: Labels, objects: readonly KubeObject[]): boolean {
  if (pod.hostNetwork || IGNORED.has(pod.namespace)) return false;
  const asked = webhooksOf(objects).some(
    (webhook) =>
      selects(doc(webhook.namespaceSelector), namespaceLabels, 'webhook') &&
      selects(doc(webhook.objectSelector), pod.labels, 'webhook'),
  );
  if (!asked) return false;
  const wish = text(pod.labels['sidecar.istio.io/inject']) ?? pod.annotations['sidecar.istio.io/inject'];
  return wish !== 'false';
}
