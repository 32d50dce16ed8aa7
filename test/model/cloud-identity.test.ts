// What shows of clouds in a cluster: where it is, who is trusted, who holds a key, and which metadata path each needs.
import { describe, expect, it } from 'vitest';
import {
  cloudBindings,
  cloudKeysIn,
  federationIn,
  googleMember,
  isWide,
  metadataPaths,
  readCloud,
  subjectsOfTrust,
} from '../../src/model/cloud-identity.ts';
import { podSpecEdit } from '../../src/model/account-places.ts';
import { secretsNamedIn, withoutKeys } from '../../src/model/cloud-key-removal.ts';
import { hclText, planCloud } from '../../src/candidates/cloud-plan.ts';
import { buildAccountTable } from '../../src/candidates/account-table.ts';
import type { JsonObject } from '../../src/shared/pure/json.ts';
import { findingLines, inventoryOf } from '../inventory/snapshots.ts';
import { objectsOf, snapshotOf } from '../phases/worlds.ts';

const node = (provider: string, labels = '{}'): string =>
  `apiVersion: v1\nkind: Node\nmetadata: {name: n${provider.length}, labels: ${labels}}\nspec: {providerID: "${provider}"}\n---\n`;

describe('the cloud of the nodes', () => {
  it.each([
    ['gce://acme-ml/europe-west1-b/x', 'gcp', 'acme-ml'],
    ['aws:///eu-central-1a/i-0abc', 'aws', undefined],
    ['azure:///subscriptions/1111-22/resourceGroups/x', 'azure', undefined],
    ['kind://docker/kind/x', 'unknown', undefined],
  ])('%s is %s', (provider, cloud, project) => {
    expect(readCloud(objectsOf(node(provider)))).toMatchObject({
      cloud,
      ...(project === undefined ? {} : { project }),
    });
  });

  it('is not guessed where nodes are of several, or none was read', () => {
    expect(readCloud(objectsOf(node('gce://acme-ml/b/x') + node('aws:///a/i-0'))).because).toBe(
      'nodes of several clouds: aws, gcp',
    );
    expect(readCloud([])).toEqual({ cloud: 'unknown', because: 'no node was read' });
  });
});

describe('trusts', () => {
  it.each([
    ['serviceAccount:p.svc.id.goog[ml/etl]', { way: 'gke-annotation', namespace: 'ml', account: 'etl' }],
    [
      'principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p.svc.id.goog/subject/ns/ml/sa/etl',
      { way: 'gke-principal', namespace: 'ml', account: 'etl' },
    ],
    [
      'principalSet://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p.svc.id.goog/namespace/ml',
      { way: 'gke-principal', namespace: 'ml', account: undefined },
    ],
    ['user:somebody@example.com', undefined],
  ])('of a member of Google: %s', (member, subject) => {
    expect(googleMember(member)).toEqual(subject);
  });

  const trust = (condition: object): string =>
    JSON.stringify({ Statement: [{ Effect: 'Allow', Action: 'sts:AssumeRoleWithWebIdentity', Condition: condition }] });
  it.each([
    [
      'whole',
      trust({ StringEquals: { 'oidc/x:sub': 'system:serviceaccount:ml:etl' } }),
      [{ namespace: 'ml', account: 'etl' }],
      false,
    ],
    [
      'a pattern',
      trust({ StringLike: { 'oidc/x:sub': 'system:serviceaccount:ml:*' } }),
      [{ namespace: 'ml', account: '*' }],
      true,
    ],
    [
      'no condition on the subject',
      trust({ StringEquals: { 'oidc/x:aud': 'sts.amazonaws.com' } }),
      [{ namespace: '*', account: '*' }],
      true,
    ],
    ['damaged', '{', [], false],
    ['not of this kind', '{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole"}}', [], false],
  ])('of a role of AWS: %s', (_, document, subjects, wide) => {
    expect(subjectsOfTrust(document)).toEqual(subjects);
    expect(subjects.some(isWide)).toBe(wide);
  });

  it('stand on accounts and in the kinds by which clouds are configured from inside', () => {
    const text = `apiVersion: v1
kind: ServiceAccount
metadata: {name: etl, namespace: ml, annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::1:role/etl"}}
---
apiVersion: eks.services.k8s.aws/v1alpha1
kind: PodIdentityAssociation
metadata: {name: a, namespace: ack}
spec: {clusterName: c, namespace: ml, serviceAccount: train, roleARN: "arn:aws:iam::1:role/train"}
---
apiVersion: managedidentity.azure.com/v1api20230131
kind: FederatedIdentityCredential
metadata: {name: f, namespace: ml}
spec: {owner: {name: etl}, issuer: x, audiences: ["api://AzureADTokenExchange"], subject: "system:serviceaccount:ml:az"}
`;
    expect(cloudBindings(objectsOf(text)).map(({ way, account, identity }) => [way, account, identity])).toEqual([
      ['azure-workload-identity', 'az', 'etl'],
      ['irsa', 'etl', 'arn:aws:iam::1:role/etl'],
      ['eks-pod-identity', 'train', 'arn:aws:iam::1:role/train'],
    ]);
  });
});

describe('keys', () => {
  const pod = (text: string): JsonObject =>
    objectsOf(`apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: ${text}`)[0]?.['spec'] as JsonObject;
  it.each([
    [
      'a file of a Secret',
      '{containers: [{name: m, env: [{name: GOOGLE_APPLICATION_CREDENTIALS, value: /k/key.json}], volumeMounts: [{name: v, mountPath: /k}]}], volumes: [{name: v, secret: {secretName: s}}]}',
      ['gcp Secret ml/s'],
    ],
    [
      'a configuration for federation is none',
      '{containers: [{name: m, env: [{name: GOOGLE_APPLICATION_CREDENTIALS, value: /k/config.json}], volumeMounts: [{name: v, mountPath: /k}]}], volumes: [{name: v, configMap: {name: c}}]}',
      [],
    ],
    [
      'a variable from a Secret',
      '{containers: [{name: m, env: [{name: AWS_SECRET_ACCESS_KEY, valueFrom: {secretKeyRef: {name: s, key: k}}}]}]}',
      ['aws Secret ml/s key k'],
    ],
    ['a literal', '{containers: [{name: m, env: [{name: AZURE_CLIENT_SECRET, value: hunter2}]}]}', ['azure ']],
    [
      'a key of a store in the cluster is no cloud’s',
      '{containers: [{name: m, env: [{name: AWS_ENDPOINT_URL, value: "http://minio:9000"}, {name: AWS_ACCESS_KEY_ID, valueFrom: {secretKeyRef: {name: s, key: k}}}]}]}',
      ['s3-compatible Secret ml/s key k'],
    ],
    [
      'a mounted key without a variable',
      '{containers: [{name: m, volumeMounts: [{name: v, mountPath: /etc/gcp}]}], volumes: [{name: v, secret: {secretName: gcp-sa-key}}]}',
      ['gcp Secret ml/gcp-sa-key'],
    ],
    [
      'of an init container',
      '{containers: [{name: m}], initContainers: [{name: i, env: [{name: AWS_ACCESS_KEY_ID, value: x}]}]}',
      ['aws '],
    ],
    [
      'of an ephemeral container',
      '{containers: [{name: m}], ephemeralContainers: [{name: e, env: [{name: AZURE_CLIENT_SECRET, value: x}]}]}',
      ['azure '],
    ],
    [
      'a Secret taken whole: its variables are not known',
      '{containers: [{name: m, envFrom: [{secretRef: {name: aws-creds}}, {configMapRef: {name: c}}]}]}',
      ['unknown Secret ml/aws-creds'],
    ],
    [
      'a database’s password is none',
      '{containers: [{name: m, env: [{name: DB_PASSWORD, valueFrom: {secretKeyRef: {name: s, key: k}}}]}]}',
      [],
    ],
  ])('%s', (_, text, wanted) => {
    const found = cloudKeysIn(pod(text), 'ml');
    expect([...new Set(found.map(({ cloud, reference }) => `${cloud} ${reference ?? ''}`))]).toEqual(wanted);
    expect(JSON.stringify(found)).not.toContain('hunter2');
  });
});

describe('metadata paths', () => {
  it.each([
    ['gke-annotation', 'calico', true, ['169.254.169.252:988']],
    ['gke-annotation', 'cilium', true, ['169.254.169.254:80']],
    ['gke-principal', 'unknown', false, ['169.254.169.252:988', '169.254.169.254:80']],
    ['eks-pod-identity', 'aws-vpc-cni', false, ['169.254.170.23:80']],
    // To Cilium the agent is the node itself, which no CIDR selects.
    ['eks-pod-identity', 'cilium', false, ['node:80']],
    ['kube2iam', 'calico', false, ['node:8181']],
    ['irsa', 'calico', false, []],
    ['azure-workload-identity', 'azure', false, []],
  ] as const)('%s under %s', (way, cni, gke, wanted) => {
    expect(metadataPaths(way, cni, gke).map(({ ip, port }) => `${ip ?? 'node'}:${port}`)).toEqual(wanted);
  });

  it('show in pods by the audience of the token that a webhook put there', () => {
    const spec = {
      volumes: [
        { name: 't', projected: { sources: [{ serviceAccountToken: { audience: 'pods.eks.amazonaws.com' } }] } },
      ],
    };
    expect(federationIn(spec, {}, {}).map(({ way }) => way)).toEqual(['eks-pod-identity']);
  });
});

const ML = 'apiVersion: v1\nkind: Namespace\nmetadata: {name: ml}\n---\n';
const workload = (name: string, account: string, more = '', labels = ''): string =>
  `apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: ${name}, namespace: ml}\nspec: {selector: {matchLabels: {app: ${name}}}, template: {metadata: {labels: {app: ${name}${labels}}}, spec: {serviceAccountName: ${account}, containers: [{name: main, image: x${more}}]}}}\n---\n`;
const account = (name: string, annotation: string): string =>
  `apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: ${name}, namespace: ml, annotations: {${annotation}}}\n---\n`;

describe('what the inventory says', () => {
  const inventory = (text: string) => inventoryOf(snapshotOf(objectsOf(ML + text)));
  it.each([
    [
      'SP362',
      workload('a', 'a', ', env: [{name: AZURE_CLIENT_SECRET, value: x}]'),
      /ml\/Deployment\/a holds a long-lived key of azure/,
    ],
    [
      'SP363',
      workload('a', 'etl') +
        workload('b', 'etl') +
        account('etl', 'iam.gke.io/gcp-service-account: x@p.iam.gserviceaccount.com'),
      /share an account/,
    ],
    [
      'SP364',
      'apiVersion: eks.services.k8s.aws/v1alpha1\nkind: PodIdentityAssociation\nmetadata: {name: a, namespace: ml}\nspec: {namespace: ml, serviceAccount: gone, roleARN: r}\n---\n',
      /ml\/gone, which does not exist/,
    ],
    [
      'SP365',
      `apiVersion: iam.services.k8s.aws/v1alpha1\nkind: Role\nmetadata: {name: a, namespace: ml}\nspec: {name: r, assumeRolePolicyDocument: '${JSON.stringify({ Statement: [{ Effect: 'Allow', Action: 'sts:AssumeRoleWithWebIdentity', Condition: { StringLike: { 'x:sub': 'system:serviceaccount:*:*' } } }] })}'}\n---\n`,
      /every account that fits \*\/\*/,
    ],
    [
      'SP366',
      account('etl', 'eks.amazonaws.com/role-arn: r') +
        account('etl', 'eks.amazonaws.com/role-arn: r').replace('namespace: ml', 'namespace: other'),
      /several namespaces: ml, other/,
    ],
    [
      'SP367',
      workload('a', 'az') + account('az', 'azure.workload.identity/client-id: x'),
      /lack the label azure\.workload\.identity\/use/,
    ],
  ])('%s', (code, text, message) => {
    expect(findingLines(inventory(text), code).join('\n')).toMatch(message);
    expect(findingLines(inventory(workload('a', 'a')), code)).toEqual([]);
  });

  it('opens a metadata path for those who need one, and for nobody else', () => {
    const { declared } = inventory(
      node('gce://acme-ml/b/x') +
        workload('a', 'etl') +
        workload('b', 'b') +
        account('etl', 'iam.gke.io/gcp-service-account: x@p.iam.gserviceaccount.com'),
    );
    const paths = declared.filter(({ dst }) => dst.kind === 'external');
    expect(paths.map(({ src, dst, port, strength }) => [src, dst, port, strength])).toEqual([
      [{ kind: 'workload', id: 'ml/Deployment/a' }, { kind: 'external', ip: '169.254.169.252' }, 988, 'strong'],
    ]);
  });
});

describe('the plan', () => {
  const plan = (text: string) => {
    const snapshot = snapshotOf(objectsOf(ML + text));
    const inventory = inventoryOf(snapshot);
    return planCloud(buildAccountTable({ snapshot, inventory, edges: [] }), readCloud(snapshot.objects), 'calico');
  };
  const KEY = ', env: [{name: GOOGLE_APPLICATION_CREDENTIALS, valueFrom: {secretKeyRef: {name: s, key: k}}}]';

  it('names the account that the workload would have, and that one alone', () => {
    const { moves } = plan(node('gce://acme-ml/b/x') + workload('a', 'team', KEY) + workload('b', 'team'));
    expect(moves).toMatchObject([{ workload: 'ml/Deployment/a', account: 'a', shared: false, state: 'key' }]);
    expect(moves[0]?.commands.at(-1)).toContain("--member 'serviceAccount:acme-ml.svc.id.goog[ml/a]'");
    expect(moves[0]?.terraform).toContain('"serviceAccount:acme-ml.svc.id.goog[ml/a]"');
  });

  it('does not trust the account that every pod without one has', () => {
    expect(plan(workload('a', 'default', KEY)).moves).toMatchObject([{ account: 'default', shared: true }]);
  });

  it('lists apart what may hold a key, and plans nothing for it', () => {
    const { moves, unknownKeys } = plan(workload('a', 'a', ', envFrom: [{secretRef: {name: creds}}]'));
    expect(moves).toEqual([]);
    expect(unknownKeys).toEqual([
      {
        workload: 'ml/Deployment/a',
        key: { cloud: 'unknown', place: 'envFrom creds of container main', reference: 'Secret ml/creds' },
      },
    ]);
  });

  it('sees keys in containers that the pods alone have', () => {
    const pod = (name: string, containers: string): string =>
      `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}, namespace: ml, labels: {app: a}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: a-1, controller: true}]}\nspec: {serviceAccountName: a, ${containers}}\nstatus: {phase: Running}\n---\n`;
    const set =
      'apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: a-1, namespace: ml, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: a, controller: true}]}\nspec: {selector: {matchLabels: {app: a}}, template: {metadata: {labels: {app: a}}, spec: {containers: [{name: a}]}}}\n---\n';
    const snapshot = snapshotOf(
      objectsOf(
        ML +
          workload('a', 'a') +
          set +
          pod(
            'a-1-x',
            'containers: [{name: a}, {name: backup, env: [{name: AWS_ACCESS_KEY_ID, value: x}]}], ephemeralContainers: [{name: debug, envFrom: [{secretRef: {name: all}}]}]',
          ),
      ),
    );
    const table = buildAccountTable({ snapshot, inventory: inventoryOf(snapshot), edges: [] });
    expect(table.accounts.flatMap(({ keys }) => keys.map(({ cloud, place }) => `${cloud} ${place}`))).toEqual([
      'aws env AWS_ACCESS_KEY_ID of container backup, which its pods have and its own text has not',
      'unknown envFrom all of container debug, which its pods have and its own text has not',
    ]);
    expect(table.before).toMatchObject({ longLivedKeys: 1, unknownKeys: 1 });
  });

  it('compares the subject of a trust whole', () => {
    const { moves } = plan(workload('a', 'a', ', env: [{name: AWS_ACCESS_KEY_ID, value: x}]'));
    expect(moves[0]?.commands[0]).toContain(
      '"StringEquals":{"OIDC_PROVIDER:aud":"sts.amazonaws.com","OIDC_PROVIDER:sub":["system:serviceaccount:ml:a"]}',
    );
    expect(moves[0]?.commands.join('\n')).not.toContain('StringLike');
  });

  it('quotes what stands in the cluster, for the shell and for Terraform', () => {
    const evil = "x';touch /tmp/owned;'@p.iam.gserviceaccount.com";
    const { moves } = plan(
      workload('a', 'a', KEY) + account('a', `iam.gke.io/gcp-service-account: ${JSON.stringify(evil)}`),
    );
    expect(moves[0]?.terraform).toContain(hclText(`projects/p/serviceAccounts/${evil}`));
    expect(hclText('a"${b}%{c}\\')).toBe('"a\\"$${b}%%{c}\\\\"');
  });
});

describe('a pod spec without its keys', () => {
  const spec = (text: string): JsonObject => {
    const [object] = objectsOf(`apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: ${text}`);
    return object?.['spec'] as JsonObject;
  };

  it.each([
    [
      'aws',
      'the variables, and what belongs to them',
      '{containers: [{name: a, env: [{name: AWS_ACCESS_KEY_ID, value: x}, {name: AWS_SESSION_TOKEN, value: y}, {name: AWS_REGION, value: z}]}]}',
      '{containers: [{name: a, env: [{name: AWS_REGION, value: z}]}]}',
    ],
    [
      'aws',
      'in every container, and the list with its last item',
      '{initContainers: [{name: i, env: [{name: AWS_SECRET_ACCESS_KEY, value: x}]}], containers: [{name: a}]}',
      '{initContainers: [{name: i}], containers: [{name: a}]}',
    ],
    [
      'aws',
      'and not those of a store in the cluster',
      '{containers: [{name: a, env: [{name: AWS_ACCESS_KEY_ID, value: x}, {name: S3_ENDPOINT, value: "http://minio"}]}]}',
      '{containers: [{name: a, env: [{name: AWS_ACCESS_KEY_ID, value: x}, {name: S3_ENDPOINT, value: "http://minio"}]}]}',
    ],
    [
      'gcp',
      'the volume when nothing mounts it any more',
      '{containers: [{name: a, volumeMounts: [{name: gcp-key, mountPath: /k}]}, {name: b, volumeMounts: [{name: t, mountPath: /t}]}], volumes: [{name: gcp-key, secret: {secretName: gcp-key}}, {name: t, emptyDir: {}}]}',
      '{containers: [{name: a}, {name: b, volumeMounts: [{name: t, mountPath: /t}]}], volumes: [{name: t, emptyDir: {}}]}',
    ],
    [
      'azure',
      'the client of a secret, which the webhook would leave as it is',
      '{containers: [{name: a, env: [{name: AZURE_CLIENT_ID, value: x}, {name: AZURE_TENANT_ID, value: t}, {name: AZURE_CLIENT_SECRET, value: y}]}]}',
      '{containers: [{name: a}]}',
    ],
    [
      'azure',
      'and keeps the client where only a key of storage goes',
      '{containers: [{name: a, env: [{name: AZURE_CLIENT_ID, value: x}, {name: AZURE_STORAGE_KEY, value: y}]}]}',
      '{containers: [{name: a, env: [{name: AZURE_CLIENT_ID, value: x}]}]}',
    ],
    [
      'gcp',
      'and nothing of another cloud',
      '{containers: [{name: a, env: [{name: AWS_ACCESS_KEY_ID, value: x}]}]}',
      '{containers: [{name: a, env: [{name: AWS_ACCESS_KEY_ID, value: x}]}]}',
    ],
  ] as const)('%s: loses %s', (cloud, _, before, after) => {
    const removal = withoutKeys(spec(before), 'ml', cloud);
    expect(removal.spec).toEqual(spec(after));
    expect(cloudKeysIn(removal.spec, 'ml').filter((key) => key.cloud === cloud)).toEqual([]);
  });

  it('says of a Secret taken whole beside it that a key may still be among its variables', () => {
    const text =
      '{containers: [{name: a, env: [{name: AWS_ACCESS_KEY_ID, value: x}], envFrom: [{secretRef: {name: all}}]}]}';
    const removal = withoutKeys(spec(text), 'ml', 'aws');
    expect(removal.left.join()).toContain('envFrom all stays of container a');
    expect(removal.spec).toEqual(spec('{containers: [{name: a, envFrom: [{secretRef: {name: all}}]}]}'));
  });

  it('names the Secrets that it refers to, in whatever way', () => {
    const names = secretsNamedIn(
      spec(
        '{containers: [{name: a, env: [{name: X, valueFrom: {secretKeyRef: {name: s1, key: k}}}], envFrom: [{secretRef: {name: s2}}]}], volumes: [{name: v, secret: {secretName: s3}}, {name: w, projected: {sources: [{secret: {name: s4}}]}}]}',
      ),
    );
    expect([...names].sort()).toEqual(['s1', 's2', 's3', 's4']);
  });

  it('is found in every role and worker group of an owner; lists are written whole', () => {
    const [ray] = objectsOf(`apiVersion: ray.io/v1
kind: RayCluster
metadata: {name: r, namespace: ml}
spec:
  headGroupSpec: {template: {spec: {containers: [{name: h, env: [{name: AWS_ACCESS_KEY_ID, value: x}]}]}}}
  workerGroupSpecs: [{groupName: g, template: {spec: {containers: [{name: w, env: [{name: AWS_ACCESS_KEY_ID, value: x}]}]}}}]`);
    if (ray === undefined) throw new Error('no object');
    const edits = podSpecEdit(ray, (one) => withoutKeys(one, 'ml', 'aws').spec);
    expect(edits.map(({ path }) => path.join('.'))).toEqual([
      'spec.headGroupSpec.template.spec.containers',
      'spec.workerGroupSpecs',
    ]);
    expect(JSON.stringify(edits)).not.toContain('AWS_ACCESS_KEY_ID');
  });
});
