import { EXPIRER_LABEL } from '../model/grant.ts';
import type { KubeManifest } from '../model/object.ts';
import type { Json, JsonObject } from '../shared/pure/json.ts';

export const EXPIRER_NAMESPACE = 'sallyport-system';
const NAME = 'sallyport-expirer';
const LABELS = { 'app.kubernetes.io/part-of': 'sallyport', [EXPIRER_LABEL]: 'true' };

/** How the CronJob ends grants: with an image of Sallyport, or with kubectl and a shell. */
export type ExpirerRun =
  | { readonly kind: 'sallyport'; readonly image: string }
  | { readonly kind: 'kubectl'; readonly image: string; readonly script: string };

/**
 * What ends grants when the operator's machine is off: a namespace, an account, the least rights, and a CronJob of every minute. `rules` are
 * those of the table of rights (sources/kube/rights.ts).
 */
export function buildExpirer(run: ExpirerRun, rules: readonly JsonObject[]): readonly KubeManifest[] {
  const inPlace = { name: NAME, namespace: EXPIRER_NAMESPACE, labels: LABELS };
  const subject = { kind: 'ServiceAccount', name: NAME, namespace: EXPIRER_NAMESPACE };
  const rbac = 'rbac.authorization.k8s.io';
  return [
    {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: EXPIRER_NAMESPACE, labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
    },
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: inPlace, automountServiceAccountToken: false },
    { apiVersion: `${rbac}/v1`, kind: 'ClusterRole', metadata: { name: NAME, labels: LABELS }, rules: [...rules] },
    {
      apiVersion: `${rbac}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name: NAME, labels: LABELS },
      roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: NAME },
      subjects: [subject],
    },
    {
      apiVersion: 'batch/v1',
      kind: 'CronJob',
      metadata: inPlace,
      spec: {
        schedule: '* * * * *',
        concurrencyPolicy: 'Forbid',
        startingDeadlineSeconds: 300,
        successfulJobsHistoryLimit: 1,
        failedJobsHistoryLimit: 3,
        jobTemplate: {
          spec: {
            backoffLimit: 1,
            activeDeadlineSeconds: 120,
            template: { metadata: { labels: LABELS }, spec: podSpec(run) },
          },
        },
      },
    },
  ];
}

function podSpec(run: ExpirerRun): JsonObject {
  const container: JsonObject =
    run.kind === 'sallyport'
      ? { args: ['grant', 'expire', '--in-cluster', '--json'] }
      : { command: ['/bin/sh', '-c', run.script] };
  return {
    serviceAccountName: NAME,
    automountServiceAccountToken: true,
    restartPolicy: 'Never',
    securityContext: {
      runAsNonRoot: true,
      runAsUser: 10001,
      runAsGroup: 10001,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    containers: [
      {
        name: 'expire',
        image: run.image,
        ...container,
        securityContext: {
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        },
        resources: { requests: { cpu: '20m', memory: '96Mi' }, limits: { memory: '256Mi' } },
        env: [{ name: 'HOME', value: '/tmp' }],
        volumeMounts: [{ name: 'tmp', mountPath: '/tmp' }],
      },
    ],
    volumes: [{ name: 'tmp', emptyDir: { sizeLimit: '16Mi' } as Json }],
  };
}

/**
 * The same with kubectl and a POSIX shell. It compares deadlines as text, which ISO 8601 in UTC allows, and takes what has no readable one
 * for over. The creation by the API server's clock, which `sallyport grant expire` counts as well, it leaves out.
 */
export const EXPIRE_SCRIPT = `set -u
now=$(date -u +%Y-%m-%dT%H:%M:%S.000Z)
failed=0
# Is the deadline over, or unreadable?
over() {
  case $1 in
    [0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9]Z) ;;
    *) return 0 ;;
  esac
  [ "$(printf '%s\\n%s\\n' "$1" "$now" | sort | head -n 1)" = "$1" ]
}
list() {
  kubectl get "$1" --all-namespaces -l "$2" -o 'jsonpath={range .items[*]}{.metadata.namespace}{" "}{.metadata.name}{" "}{.metadata.annotations.sallyport\\.dev/expires-at}{"\\n"}{end}' 2>/tmp/error && return 0
  grep -q "the server doesn't have a resource type" /tmp/error && return 0
  cat /tmp/error >&2
  return 1
}
for kind in networkpolicies.networking.k8s.io authorizationpolicies.security.istio.io rolebindings.rbac.authorization.k8s.io roles.rbac.authorization.k8s.io; do
  list "$kind" sallyport.dev/grant,app.kubernetes.io/managed-by=sallyport >/tmp/found || failed=1
  while read -r namespace name end; do
    over "\${end:-}" || continue
    kubectl delete "$kind" -n "$namespace" "$name" --ignore-not-found --wait=false || failed=1
  done </tmp/found
done
list peerauthentications.security.istio.io sallyport.dev/grant >/tmp/found || failed=1
while read -r namespace name end; do
  over "\${end:-}" || continue
  kubectl patch peerauthentications.security.istio.io -n "$namespace" "$name" --type=merge -p '{"metadata":{"labels":{"sallyport.dev/grant":null},"annotations":{"sallyport.dev/expires-at":null,"sallyport.dev/grant-text":null,"sallyport.dev/grant-reason":null,"sallyport.dev/grant-by":null,"sallyport.dev/grant-restores-mtls":null}},"spec":{"mtls":{"mode":"STRICT"}}}' || failed=1
done </tmp/found
exit $failed
`;
