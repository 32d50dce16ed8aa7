// Accounts of one workload each: what is carried along, what is not widened, and what is left alone with its reason.
import { describe, expect, it } from 'vitest';
import { isNamedAlready, mentionsOf } from '../../src/candidates/account-mentions.ts';
import type { AccountSplit } from '../../src/candidates/accounts.ts';
import { givesTheSame, splitAccounts } from '../../src/candidates/accounts.ts';
import type { Edge } from '../../src/model/edge.ts';
import { isOwn } from '../../src/objects/build.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { inventoryOf } from '../inventory/snapshots.ts';
import { objectsOf, snapshotOf } from '../phases/worlds.ts';
import { edgeOf } from '../support/rig.ts';

const TRUST = 'cluster.local';
const NAMESPACE = '\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: ml}\n---\n';

function deployment(name: string, pod = '', account = 'team'): string {
  return `apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}, namespace: ml}
spec:
  selector: {matchLabels: {app: ${name}}}
  template:
    metadata: {labels: {app: ${name}}}
    spec: {serviceAccountName: ${account}, ${pod}containers: [{name: main, image: example/${name}}]}
---
`;
}

const account = (more = ''): string =>
  `apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: team, namespace: ml${more}}\n---\n`;

function splitsIn(text: string, edges: readonly Edge[] = []): readonly AccountSplit[] {
  const snapshot = snapshotOf(objectsOf(NAMESPACE + text));
  const inventory = inventoryOf(snapshot);
  return inventory.workloads.flatMap((workload) => splitAccounts(workload, inventory, snapshot.objects, { edges }));
}

function splitOf(id: string, text: string, edges: readonly Edge[] = []): AccountSplit | undefined {
  return splitsIn(text, edges).find((split) => split.workload.id === id);
}

const TWO = deployment('web') + deployment('worker');
const made = (split: AccountSplit | undefined, kind: string): readonly KubeManifest[] =>
  split?.objects.filter((object) => object.kind === kind) ?? [];

describe('rights of the new account', () => {
  const RBAC = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: ml}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: direct, namespace: ml}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: team}, {kind: ServiceAccount, name: other}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: by-user-name}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: User, name: "system:serviceaccount:ml:team"}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: everybody, namespace: ml}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{kind: Group, name: "system:serviceaccounts:ml"}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: elsewhere, namespace: other}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{kind: ServiceAccount, name: team}]
---
`;
  const text = account() + TWO + RBAC;
  const split = splitOf('ml/Deployment/web', text);

  it('are copies of the bindings that name the old one, a User of its name too; of groups and other namespaces none', () => {
    expect(split?.objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`)).toEqual([
      'ServiceAccount web',
      'RoleBinding sallyport-direct-web',
      'ClusterRoleBinding sallyport-by-user-name-ml-web',
    ]);
    for (const binding of split?.objects.slice(1) ?? [])
      expect(binding['subjects']).toEqual([{ kind: 'ServiceAccount', name: 'web', namespace: 'ml' }]);
  });

  it('are the same as before, and no more', () => {
    expect(split === undefined ? false : givesTheSame(split, objectsOf(text))).toBe(true);
  });

  it('do not come from a name that a binding or a policy uses already', () => {
    const waiting = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: leftover}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: web, namespace: ml}]
---
`;
    const policy = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: pattern, namespace: ml}
spec: {rules: [{from: [{source: {principals: ["${TRUST}/ns/ml/sa/work*"]}}]}]}
---
`;
    expect(splitOf('ml/Deployment/web', text + waiting)?.to).toBe('web-deployment');
    expect(splitOf('ml/Deployment/worker', text + policy)?.to).toBe('sallyport-worker');
    expect(splitOf('ml/Deployment/web', text + policy)?.to).toBe('web');
  });
});

describe('the token', () => {
  const seen = [edgeOf('ml/Deployment/web -> ml/Deployment/worker 8080')];
  it.each([
    ['stays where nothing is on record', '', [], undefined],
    ['goes where connections are on record and none is to the API server', '', seen, false],
    ['stays where one is', '', [...seen, edgeOf('ml/Deployment/web -> api-server 6443')], undefined],
    ['stays where the pod asks for it', 'automountServiceAccountToken: true, ', seen, undefined],
  ] as const)('%s', (_, pod, edges, automount) => {
    const split = splitOf('ml/Deployment/web', account() + deployment('web', pod) + deployment('worker'), edges);
    expect(made(split, 'ServiceAccount')[0]?.['automountServiceAccountToken']).toBe(automount);
  });

  it('is never put where the old account kept it out', () => {
    const off = `apiVersion: v1\nkind: ServiceAccount\nautomountServiceAccountToken: false\nmetadata: {name: team, namespace: ml}\n---\n`;
    expect(made(splitOf('ml/Deployment/web', off + TWO), 'ServiceAccount')[0]).toMatchObject({
      automountServiceAccountToken: false,
    });
  });

  it('stays with an account that has rights, whatever is on record', () => {
    const binding = `apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: direct, namespace: ml}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: team}]
---
`;
    expect(splitOf('ml/Deployment/web', account() + TWO + binding, seen)?.token.answer).toBe('used');
  });
});

describe('trust from outside', () => {
  it.each([
    ['iam.gke.io/gcp-service-account: etl@proj.iam.gserviceaccount.com', '[ml/web]'],
    ['eks.amazonaws.com/role-arn: "arn:aws:iam::123456789012:role/etl"', 'system:serviceaccount:ml:web'],
    ['azure.workload.identity/client-id: 11111111-2222-3333-4444-555555555555', 'system:serviceaccount:ml:web'],
  ])('of a cloud stops the move until a person has extended it: %s', (annotation, named) => {
    const split = splitOf('ml/Deployment/web', account(`, annotations: {${annotation}}`) + TWO);
    expect(split?.obstacles.join()).toContain('carries the cloud annotation');
    expect(split?.outside.join()).toContain(named);
    // When it does move, it takes the annotation along.
    expect(Object.keys(made(split, 'ServiceAccount')[0]?.metadata['annotations'] ?? {})).toContain(
      annotation.slice(0, annotation.indexOf(':')),
    );
  });

  it('of Vault, by the role that the pods name', () => {
    const vault = deployment('web').replace(
      'metadata: {labels: {app: web}}',
      'metadata: {labels: {app: web}, annotations: {vault.hashicorp.com/agent-inject: "true", vault.hashicorp.com/role: etl}}',
    );
    const split = splitOf('ml/Deployment/web', account() + vault + deployment('worker'));
    expect(split?.obstacles.join()).toContain('Vault');
    expect(split?.outside.join()).toContain('auth/kubernetes/role/etl');
  });

  it('by pull Secrets goes along, but for those that the cluster makes itself', () => {
    const pulls = `apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: team, namespace: ml}\nimagePullSecrets: [{name: registry}, {name: team-dockercfg-x1y2z}]\nsecrets: [{name: team-dockercfg-x1y2z}]\n---\n`;
    const split = splitOf('ml/Deployment/web', pulls + TWO);
    expect(split?.obstacles).toEqual([]);
    expect(made(split, 'ServiceAccount')[0]?.['imagePullSecrets']).toEqual([{ name: 'registry' }]);
  });
});

describe('what cannot be moved', () => {
  it.each([
    [
      'a Job',
      'ml/Job/once',
      `apiVersion: batch/v1\nkind: Job\nmetadata: {name: once, namespace: ml}\nspec: {template: {spec: {serviceAccountName: team, restartPolicy: Never, containers: [{name: a, image: b}]}}}\n---\n`,
      /must be created anew/,
    ],
    [
      'a run that has begun',
      'ml/PyTorchJob/train',
      `apiVersion: kubeflow.org/v1\nkind: PyTorchJob\nmetadata: {name: train, namespace: ml}\nspec: {pytorchReplicaSpecs: {Master: {template: {spec: {serviceAccountName: team, containers: [{name: pytorch, image: b}]}}}}}\nstatus: {conditions: [{type: Running, status: "True"}]}\n---\n`,
      /has begun and is not changed: name train in spec\.pytorchReplicaSpecs\.ROLE\.template\.spec/,
    ],
    [
      'a task of Airflow, whose template is text',
      'ml/Pod/etl.load',
      `apiVersion: v1\nkind: Pod\nmetadata: {name: etl-load-1, namespace: ml, labels: {dag_id: etl, task_id: load}}\nspec: {serviceAccountName: team, containers: [{name: base, image: apache/airflow}]}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: airflow-config, namespace: ml}\ndata:\n  pod_template_file.yaml: |\n    apiVersion: v1\n    kind: Pod\n    spec:\n      serviceAccountName: team\n---\n`,
      /ConfigMap ml\/airflow-config key pod_template_file\.yaml, line 4/,
    ],
    [
      'a revision of Knative that has a name',
      'ml/Service/infer',
      `apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: infer, namespace: ml}\nspec: {template: {metadata: {name: infer-1}, spec: {serviceAccountName: team, containers: [{image: b}]}}}\n---\n`,
      /spec\.template\.metadata\.name/,
    ],
    [
      'a kind whose place is not known',
      'ml/BentoDeployment/fit',
      `apiVersion: serving.yatai.ai/v2alpha1\nkind: BentoDeployment\nmetadata: {name: fit, namespace: ml}\nspec: {}\n---\n`,
      /where a BentoDeployment names the account/,
    ],
  ])('%s is said plainly', (_, id, text, reason) => {
    const world = account() + deployment('web') + deployment('helper', '', 'default') + text;
    const split = splitOf(id, world);
    expect(split?.obstacles.join()).toMatch(reason);
    expect(split?.fields).toEqual([]);
  });
});

describe('objects that name an account', () => {
  const names = (name: string) => ({ namespace: 'ml', name, trustDomain: TRUST });
  const both = (text: string) => mentionsOf(objectsOf(text), names('team'), names('web'), isOwn);
  const after = (text: string): unknown => both(text).edits[0]?.after;

  it.each([
    ['ALLOW', 'principals', [`${TRUST}/ns/ml/sa/team`], [`${TRUST}/ns/ml/sa/team`, `${TRUST}/ns/ml/sa/web`]],
    // Whoever is refused stays refused under the new name.
    ['DENY', 'principals', ['*/ns/ml/sa/team'], ['*/ns/ml/sa/team', `${TRUST}/ns/ml/sa/web`]],
    ['ALLOW', 'notPrincipals', [`${TRUST}/ns/ml/sa/team`], [`${TRUST}/ns/ml/sa/team`, `${TRUST}/ns/ml/sa/web`]],
    ['ALLOW', 'serviceAccounts', ['ml/team'], ['ml/team', 'ml/web']],
    ['ALLOW', 'serviceAccounts', ['team'], ['team', 'web']],
  ])('an AuthorizationPolicy (%s, %s) names both', (action, field, list, wanted) => {
    const text = `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: ml}\nspec: {action: ${action}, rules: [{from: [{source: {${field}: ${JSON.stringify(list)}}}]}]}`;
    expect(after(text)).toMatchObject({ action, rules: [{ from: [{ source: { [field]: wanted } }] }] });
  });

  it.each([['*'], [`${TRUST}/ns/ml/*`], [`${TRUST}/ns/ml/sa/*`]])(
    'a pattern that takes both in is left as it is: %s',
    (one) => {
      const text = `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: ml}\nspec: {rules: [{from: [{source: {principals: ["${one}"]}}]}]}`;
      expect(both(text)).toEqual({ edits: [], manual: [] });
    },
  );

  it('a Cilium selector takes either', () => {
    const text = `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: ml}
spec:
  endpointSelector: {matchLabels: {app: db}}
  ingress: [{fromEndpoints: [{matchLabels: {"k8s:io.cilium.k8s.policy.serviceaccount": team, tier: a}}]}]`;
    expect(after(text)).toEqual({
      endpointSelector: { matchLabels: { app: 'db' } },
      ingress: [
        {
          fromEndpoints: [
            {
              matchLabels: { tier: 'a' },
              matchExpressions: [
                { key: 'k8s:io.cilium.k8s.policy.serviceaccount', operator: 'In', values: ['team', 'web'] },
              ],
            },
          ],
        },
      ],
    });
  });

  it('a Calico rule names both; an expression is for its owner', () => {
    const rule = (source: string): string =>
      `apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: p, namespace: ml}\nspec: {selector: all(), ingress: [{action: Allow, source: ${source}}]}`;
    expect(after(rule('{serviceAccounts: {names: [team]}}'))).toMatchObject({
      ingress: [{ source: { serviceAccounts: { names: ['team', 'web'] } } }],
    });
    expect(both(rule(`{selector: "projectcalico.org/serviceaccount == 'team'"}`)).manual).toMatchObject([
      { place: 'spec.ingress[0].source.selector' },
    ]);
  });

  it('security context constraints list both users', () => {
    const text = `apiVersion: security.openshift.io/v1\nkind: SecurityContextConstraints\nmetadata: {name: anyuid}\nusers: ["system:serviceaccount:ml:team", "system:admin"]`;
    expect(both(text).edits[0]).toMatchObject({
      field: 'users',
      after: ['system:serviceaccount:ml:team', 'system:serviceaccount:ml:web', 'system:admin'],
    });
  });

  it('what logs in to Vault is for a person', () => {
    const text = `apiVersion: secrets.hashicorp.com/v1beta1\nkind: VaultAuth\nmetadata: {name: v, namespace: ml}\nspec: {mount: k8s, kubernetes: {role: etl, serviceAccount: team}}`;
    expect(both(text).manual[0]?.what).toContain('auth/k8s/role/etl');
  });

  const linkerd = (kind: string, spec: string): string =>
    `apiVersion: policy.linkerd.io/v1alpha1\nkind: ${kind}\nmetadata: {name: p, namespace: ml}\nspec: ${spec}`;
  const ID = 'ml.serviceaccount.identity.linkerd.cluster.local';

  it.each([
    [
      'ServerAuthorization',
      `{client: {meshTLS: {identities: [team.${ID}]}}}`,
      { client: { meshTLS: { identities: [`team.${ID}`, `web.${ID}`] } } },
    ],
    [
      'ServerAuthorization',
      '{client: {meshTLS: {serviceAccounts: [{name: team}]}}}',
      { client: { meshTLS: { serviceAccounts: [{ name: 'team' }, { name: 'web' }] } } },
    ],
    // Another trust domain is taken over as it stands there.
    [
      'MeshTLSAuthentication',
      '{identities: [team.ml.serviceaccount.identity.l5d.corp.example]}',
      {
        identities: [
          'team.ml.serviceaccount.identity.l5d.corp.example',
          'web.ml.serviceaccount.identity.l5d.corp.example',
        ],
      },
    ],
    [
      'MeshTLSAuthentication',
      '{identityRefs: [{kind: ServiceAccount, name: team, namespace: ml}]}',
      {
        identityRefs: [
          { kind: 'ServiceAccount', name: 'team', namespace: 'ml' },
          { kind: 'ServiceAccount', name: 'web', namespace: 'ml' },
        ],
      },
    ],
  ])('a %s of Linkerd names both: %s', (kind, spec, wanted) => {
    expect(after(linkerd(kind, spec))).toEqual(wanted);
    // And forgets the old one when it is told to.
    const both2 = objectsOf(linkerd(kind, JSON.stringify(wanted)));
    const { edits } = mentionsOf(both2, names('team'), names('web'), isOwn, 'forget');
    expect(JSON.stringify(edits[0]?.after)).not.toContain('team');
  });

  it.each([
    [`{identities: ["*.${ID}"]}`],
    ['{identities: ["*"]}'],
    [`{identities: [team.${ID.replace('ml.', 'other.')}]}`],
    [`{identities: [my-team.${ID}]}`],
    ['{identityRefs: [{kind: Namespace, name: team}]}'],
    ['{identityRefs: [{kind: ServiceAccount, name: team, namespace: other}]}'],
  ])('other identities of Linkerd are left as they are: %s', (spec) => {
    expect(both(linkerd('MeshTLSAuthentication', spec))).toEqual({ edits: [], manual: [] });
  });

  it('an AuthorizationPolicy of Linkerd takes one identity, and is for its owner', () => {
    const text = linkerd(
      'AuthorizationPolicy',
      '{requiredAuthenticationRefs: [{group: policy.linkerd.io, kind: NetworkAuthentication, name: team}, {kind: ServiceAccount, name: team}]}',
    );
    expect(both(text)).toMatchObject({ edits: [], manual: [{ place: 'spec.requiredAuthenticationRefs[1]' }] });
  });

  const kyverno = (rule: string, kind = 'ClusterPolicy', namespace = ''): string =>
    `apiVersion: kyverno.io/v1\nkind: ${kind}\nmetadata: {name: p${namespace}}\nspec: {rules: [{name: r, ${rule}}]}`;

  it.each([
    [
      'match: {any: [{subjects: [{kind: ServiceAccount, name: team, namespace: ml}]}]}',
      'spec.rules[0].match.any[0].subjects[0]',
    ],
    [
      'exclude: {any: [{subjects: [{kind: ServiceAccount, name: "tea*", namespace: ml}]}]}',
      'spec.rules[0].exclude.any[0].subjects[0]',
    ],
    [
      'preconditions: {all: [{key: "{{request.userInfo.username}}", operator: Equals, value: "system:serviceaccount:ml:team"}]}',
      'spec.rules[0].preconditions.all[0].value',
    ],
    [
      'validate: {deny: {conditions: {any: [{key: "{{request.object.spec.serviceAccountName}}", operator: AnyIn, value: [a, team]}]}}}',
      'spec.rules[0].validate.deny.conditions.any[0]',
    ],
    [
      'validate: {pattern: {spec: {=(serviceAccountName): "!default & team | b"}}}',
      'spec.rules[0].validate.pattern.spec.=(serviceAccountName)',
    ],
  ])('a policy of Kyverno is named with the place, and not rewritten: %s', (rule, place) => {
    expect(both(kyverno(rule))).toMatchObject({ edits: [], manual: [{ place }] });
  });

  it.each([
    ['match: {any: [{subjects: [{kind: ServiceAccount, name: "*", namespace: ml}]}]}'],
    ['match: {any: [{subjects: [{kind: ServiceAccount, name: team, namespace: other}]}]}'],
    ['match: {any: [{subjects: [{kind: User, name: team}]}]}'],
    ['validate: {message: "system:serviceaccount:ml:team-b may not"}'],
  ])('a policy of Kyverno that takes both in, or speaks of others, is not: %s', (rule) => {
    expect(both(kyverno(rule))).toEqual({ edits: [], manual: [] });
  });

  it('a name that Linkerd or Kyverno wait for is not taken', () => {
    for (const text of [
      linkerd('MeshTLSAuthentication', `{identities: [web.${ID}]}`),
      kyverno('match: {any: [{subjects: [{kind: ServiceAccount, name: web, namespace: ml}]}]}'),
    ]) {
      expect(isNamedAlready(objectsOf(text), names('web'))).toBe(true);
      expect(isNamedAlready(objectsOf(text), names('free'))).toBe(false);
    }
  });

  it('forget the old one only where the new one stands beside it', () => {
    const text = `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: ml}\nspec: {rules: [{from: [{source: {principals: ["${TRUST}/ns/ml/sa/team", "${TRUST}/ns/ml/sa/web"]}}]}, {from: [{source: {principals: ["${TRUST}/ns/ml/sa/team"]}}]}]}`;
    const { edits } = mentionsOf(objectsOf(text), names('team'), names('web'), isOwn, 'forget');
    expect(edits[0]?.after).toEqual({
      rules: [
        { from: [{ source: { principals: [`${TRUST}/ns/ml/sa/web`] } }] },
        { from: [{ source: { principals: [`${TRUST}/ns/ml/sa/team`] } }] },
      ],
    });
  });
});
