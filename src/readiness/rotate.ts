import type { View } from '../engine/contract.ts';
import type { Finding } from '../model/finding.ts';
import type { KubeManifest } from '../model/object.ts';
import { annotationsOf, formatRef, isObject, namespaceOf, refOf } from '../model/object.ts';
import { isObjectName } from '../model/names.ts';
import type { Step } from '../plan/plan.ts';
import { asArray, asObject, asString } from '../shared/pure/json.ts';
import type { Playbook } from './incident-effect.ts';
import { NO_EFFECT } from './incident-effect.ts';
import { incidentStep } from './quarantine.ts';

export interface RotateOptions {
  readonly namespace: string;
  readonly account: string;
  /** Delete the account as well: every token of it ends, whatever it is bound to. */
  readonly lastResort: boolean;
}

/** Said before anything is done. */
export const IRREVERSIBLE =
  'This cannot be taken back: what is deleted is made anew by its controller, with other credentials, and the old ones are gone.';

/**
 * Ends the credentials of a service account by deleting what its tokens are bound to: pods (a projected token is bound to its pod, and is invalid
 * when that is gone), and Secrets of type service-account-token (the control plane has their tokens removed with them; kubernetes.io, Managing Service
 * Accounts). Any other Secret is only named. The ServiceAccount itself goes as a last resort: its uid is in every token.
 */
export function planRotation(view: View, { namespace, account, lastResort }: RotateOptions): Playbook {
  const subject = `ServiceAccount ${namespace}/${account}`;
  const { objects } = view.snapshot;
  const own = objects.filter((object) => namespaceOf(object) === namespace);
  const found = own.find((object) => isObject(object, '', 'ServiceAccount') && object.metadata.name === account);
  const pods = own.filter((object) => isObject(object, '', 'Pod') && accountOf(object) === account);
  const findings: Finding[] = [];
  if (found === undefined && pods.length === 0)
    findings.push({
      code: 'SP394',
      severity: 'error',
      subject,
      message: 'There is no such account, and no pod runs as it.',
      hint: 'Name it as NAMESPACE/NAME; kubectl get serviceaccounts -A lists them.',
    });
  const tokens = own.filter(
    (object) =>
      isObject(object, '', 'Secret') &&
      object['type'] === 'kubernetes.io/service-account-token' &&
      annotationsOf(object)['kubernetes.io/service-account.name'] === account,
  );
  const named = namedSecrets(pods, new Set(tokens.map(({ metadata }) => metadata.name)));
  for (const [secret, pod] of named)
    findings.push({
      code: 'SP394',
      severity: 'info',
      subject: `Secret ${namespace}/${secret}`,
      message: `Pod ${pod} uses it. It is not an account's token, so it is not touched: whoever was in the pod has read it.`,
      hint: 'Rotate it where it comes from.',
    });
  const bare = pods.filter((pod) => asArray(pod.metadata['ownerReferences']).length === 0);
  const steps: Step[] = [
    ...tokens.map((object) => remove(namespace, object, 'the control plane ends its token')),
    ...(lastResort && found !== undefined ? [remove(namespace, found, 'every token of it ends')] : []),
    ...pods.map((object) => remove(namespace, object, 'its token ends with it, and its controller makes another')),
  ];
  return {
    steps,
    findings,
    effect: NO_EFFECT,
    remarks: [
      IRREVERSIBLE,
      ...bare.map(({ metadata }) => `pod ${metadata.name} has no owner: nothing makes it anew`),
      ...(lastResort
        ? [
            'whoever deploys the account must apply it again: pods cannot start without it, and bindings find it by its name',
          ]
        : [
            'tokens that were made by hand for the account itself (kubectl create token) live until they expire: --last-resort ends them',
          ]),
      'tokens that were stolen are refused from the moment the object is gone; a server that does not ask the API server accepts them until they expire',
    ],
    byHand: [...unreadTokens(found, namespace, tokens), ...cloudSteps(found, namespace, account)],
  };
}

/**
 * Secrets that the account lists and that were not read: Sallyport never lists Secrets of a cluster, so their type is for a person to look at.
 */
function unreadTokens(
  account: KubeManifest | undefined,
  namespace: string,
  tokens: readonly KubeManifest[],
): readonly string[] {
  const known = new Set(tokens.map(({ metadata }) => metadata.name));
  return asArray(account?.['secrets']).flatMap((one) => {
    const name = asString(asObject(one)['name']);
    return name === undefined || known.has(name) || !isObjectName(name)
      ? []
      : [
          `kubectl -n ${namespace} get secret ${name} -o jsonpath={.type}   # kubernetes.io/service-account-token? then: kubectl -n ${namespace} delete secret ${name}`,
        ];
  });
}

function accountOf(pod: KubeManifest): string {
  const spec = asObject(pod['spec']);
  return asString(spec['serviceAccountName']) ?? 'default';
}

function remove(namespace: string, object: KubeManifest, why: string): Step {
  const { uid } = object.metadata;
  return incidentStep(
    namespace,
    `incident/rotate-${object.kind.toLowerCase()}-${object.metadata.name}`,
    `delete ${formatRef(refOf(object))}: ${why}`,
    {
      kind: 'delete',
      ref: refOf(object),
      ...(typeof uid === 'string' ? { uid } : {}),
      before: object,
    },
  );
}

/** Names of Secrets that pods take values or files from; no value is read. */
function namedSecrets(pods: readonly KubeManifest[], tokens: ReadonlySet<string>): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const pod of pods) {
    const spec = asObject(pod['spec']);
    const add = (name: string | undefined): void => {
      if (name !== undefined && !tokens.has(name) && !found.has(name)) found.set(name, pod.metadata.name);
    };
    for (const volume of asArray(spec['volumes'])) {
      add(asString(asObject(asObject(volume)['secret'])['secretName']));
      for (const source of asArray(asObject(asObject(volume)['projected'])['sources']))
        add(asString(asObject(asObject(source)['secret'])['name']));
    }
    for (const container of [...asArray(spec['containers']), ...asArray(spec['initContainers'])].map((one) =>
      asObject(one),
    )) {
      for (const from of asArray(container['envFrom'])) add(asString(asObject(asObject(from)['secretRef'])['name']));
      for (const variable of asArray(container['env']))
        add(asString(asObject(asObject(asObject(variable)['valueFrom'])['secretKeyRef'])['name']));
    }
    for (const pull of asArray(spec['imagePullSecrets'])) add(asString(asObject(pull)['name']));
  }
  return found;
}

/** What ends the cloud's own credentials, where the account is bound to an identity there: deleting a pod does not. */
function cloudSteps(account: KubeManifest | undefined, namespace: string, name: string): readonly string[] {
  if (account === undefined) return [];
  const marks = annotationsOf(account);
  const steps: string[] = [];
  const role = marks['eks.amazonaws.com/role-arn'];
  if (role !== undefined && /^arn:[\w:/+=,.@-]+$/u.test(role)) {
    const short = role.split('/').at(-1) ?? '';
    steps.push(
      `aws iam put-role-policy --role-name ${short} --policy-name revoke-older-sessions --policy-document '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:TokenIssueTime":"NOW"}}}]}'`,
      `aws iam list-access-keys --user-name USER   # of each key that was mounted: aws iam update-access-key --status Inactive`,
    );
  }
  const google = marks['iam.gke.io/gcp-service-account'];
  if (google !== undefined && /^[\w.@-]+$/u.test(google))
    steps.push(
      `gcloud iam service-accounts remove-iam-policy-binding ${google} --role roles/iam.workloadIdentityUser --member "serviceAccount:PROJECT.svc.id.goog[${namespace}/${name}]"`,
      `gcloud iam service-accounts keys list --iam-account ${google}`,
    );
  const azure = marks['azure.workload.identity/client-id'];
  if (azure !== undefined && /^[\w-]+$/u.test(azure))
    steps.push(`az identity federated-credential list --identity-name NAME --resource-group GROUP   # client ${azure}`);
  return steps;
}
