// From a long-lived key to an identity of the cloud, on each cloud: in a directory to the byte, and on an API server.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { buildAccountTable } from '../../src/candidates/account-table.ts';
import { planCloud } from '../../src/candidates/cloud-plan.ts';
import type { CloudPlan } from '../../src/candidates/cloud-plan.ts';
import { parseCloudProof } from '../../src/candidates/cloud-proof.ts';
import type { Target, View } from '../../src/engine/contract.ts';
import { executePlan } from '../../src/engine/run.ts';
import { readCloud } from '../../src/model/cloud-identity.ts';
import type { BindingWay } from '../../src/model/cloud-identity.ts';
import { clusterNames } from '../../src/model/cloud-cluster.ts';
import type { ClusterNames } from '../../src/model/cloud-cluster.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { openGates } from '../../src/plan/assemble.ts';
import type { Plan } from '../../src/plan/plan.ts';
import { cloudRequestProblems, cloudStepsInForce, planCloudSteps } from '../../src/readiness/cloud-identity-plan.ts';
import type { CloudRequest, CloudSteps } from '../../src/readiness/cloud-identity-plan.ts';
import { planRollback } from '../../src/readiness/rollback.ts';
import { asObject } from '../../src/shared/pure/json.ts';
import type { Json } from '../../src/shared/pure/json.ts';
import { openClusterTarget } from '../../src/targets/cluster.ts';
import { openDirectoryTarget } from '../../src/targets/directory.ts';
import { simulatedClock } from '../support/fake-api/clock.ts';
import { startFakeApi } from '../support/fake-api/server.ts';
import { readTree } from '../support/folder.ts';
import { CONFIG, NOW, decisionsOf, edgesOf, openRig, plannerFor } from '../support/rig.ts';
import type { Rig } from '../support/rig.ts';
import { stoppedClock } from '../support/stopped-clock.ts';
import { objectsOf } from '../phases/worlds.ts';

const WORLD = (provider: string, nodeLabels: string): string => `apiVersion: v1
kind: Namespace
metadata: {name: ml, labels: {kubernetes.io/metadata.name: ml}}
---
apiVersion: v1
kind: Namespace
metadata: {name: kube-system, uid: 0000-kube, labels: {kubernetes.io/metadata.name: kube-system}}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: ${nodeLabels}}
spec: {providerID: "${provider}"}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: db, namespace: ml}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: db, namespace: ml}
spec:
  replicas: 1
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {serviceAccountName: db, containers: [{name: db, image: "db:1", ports: [{containerPort: 5432}]}]}
---
apiVersion: v1
kind: Secret
metadata: {name: cloud-key, namespace: ml}
stringData: {key: hunter2}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: pod-identity-webhook}
webhooks:
  - name: iam-for-pods.amazonaws.com
    rules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: azure-wi-webhook-mutating-webhook-configuration}
webhooks:
  - name: mutation.azure-workload-identity.io
    rules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods]}]
    objectSelector: {matchLabels: {azure.workload.identity/use: "true"}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: eks-pod-identity-agent, namespace: kube-system}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {hostNetwork: true, containers: [{name: agent, image: "agent:1"}]}
---
`;

const ETL = (spec: string): string => `# the loader
apiVersion: v1
kind: ServiceAccount
metadata:
  name: etl   # its own
  namespace: ml
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: etl, namespace: ml}
spec:
  replicas: 1
  selector: {matchLabels: {app: etl}}
  template:
    metadata:
      labels:
        app: etl
    spec:
      serviceAccountName: etl
${spec}`;

const GCP_KEY = `      containers:
        - name: main
          image: etl:1
          env:
            - {name: MODE, value: fast}   # stays
            - name: GOOGLE_APPLICATION_CREDENTIALS
              value: /var/secrets/google/key.json
          volumeMounts:
            - {name: scratch, mountPath: /scratch}
            - {name: gcp-key, mountPath: /var/secrets/google}
      volumes:
        - {name: scratch, emptyDir: {}}
        - name: gcp-key
          secret: {secretName: cloud-key}
`;
const AWS_KEY = `      containers:
        - name: main
          image: etl:1
          env:
            - name: AWS_ACCESS_KEY_ID
              valueFrom: {secretKeyRef: {name: cloud-key, key: id}}
            - name: AWS_SECRET_ACCESS_KEY
              valueFrom: {secretKeyRef: {name: cloud-key, key: key}}
            - name: AWS_SESSION_TOKEN
              valueFrom: {secretKeyRef: {name: cloud-key, key: session}}
            - name: AWS_REGION
              value: eu-central-1
`;
const AZURE_KEY = `      containers:
        - name: main
          image: etl:1
          env:
            - {name: AZURE_CLIENT_ID, value: 11111111-2222-3333-4444-555555555555}
            - name: AZURE_CLIENT_SECRET
              valueFrom: {secretKeyRef: {name: cloud-key, key: key}}
`;

const EMAIL = 'etl@acme-ml.iam.gserviceaccount.com';
const ARN = 'arn:aws:iam::123456789012:role/etl';
const CLIENT = '0f1e2d3c-4b5a-4678-9abc-def012345678';
const OIDC = 'oidc.eks.eu-central-1.amazonaws.com/id/A';
const FEDERATED = { Federated: `arn:aws:iam::123456789012:oidc-provider/${OIDC}` };
const USER = 'system:serviceaccount:ml:etl';

interface Case {
  readonly name: string;
  readonly provider: string;
  readonly labels: string;
  readonly key: string;
  readonly identity?: string;
  readonly way?: BindingWay;
  /** What the cloud answers, and whose answer it is. */
  readonly proof: Json;
  readonly steps: readonly string[];
  /** In the text of the policies and of the account afterwards. */
  readonly path?: string;
  readonly account: string;
  readonly cluster?: ClusterNames;
}

const CASES: readonly Case[] = [
  {
    name: 'GKE',
    provider: 'gce://acme-ml/europe-west1-b/n1',
    labels: '{iam.gke.io/gke-metadata-server-enabled: "true"}',
    key: GCP_KEY,
    identity: EMAIL,
    proof: {
      bindings: [{ role: 'roles/iam.workloadIdentityUser', members: ['serviceAccount:acme-ml.svc.id.goog[ml/etl]'] }],
    },
    steps: ['open', 'annotate', 'migrate'],
    path: '169.254.169.252/32',
    account: `iam.gke.io/gcp-service-account: ${EMAIL}`,
  },
  {
    name: 'EKS with IRSA',
    provider: 'aws:///eu-central-1a/i-0abc',
    labels: '{}',
    key: AWS_KEY,
    identity: ARN,
    proof: {
      Role: {
        Arn: ARN,
        AssumeRolePolicyDocument: {
          Statement: [
            {
              Effect: 'Allow',
              Action: 'sts:AssumeRoleWithWebIdentity',
              Principal: FEDERATED,
              Condition: { StringEquals: { [`${OIDC}:sub`]: USER, [`${OIDC}:aud`]: 'sts.amazonaws.com' } },
            },
          ],
        },
      },
    },
    steps: ['annotate', 'migrate'],
    account: `eks.amazonaws.com/role-arn: ${ARN}`,
    cluster: { issuer: `https://${OIDC}` },
  },
  {
    name: 'EKS with Pod Identity',
    provider: 'aws:///eu-central-1a/i-0abc',
    labels: '{}',
    key: AWS_KEY,
    way: 'eks-pod-identity',
    proof: { associations: [{ namespace: 'ml', serviceAccount: 'etl', associationId: 'a-1', clusterName: 'one' }] },
    steps: ['open', 'annotate', 'migrate'],
    path: '169.254.170.23/32',
    account: 'sallyport.dev/cloud-identity: eks-pod-identity',
    cluster: { eksCluster: 'one' },
  },
  {
    name: 'AKS',
    provider: 'azure:///subscriptions/1111-22/resourceGroups/x',
    labels: '{}',
    key: AZURE_KEY,
    identity: CLIENT,
    proof: [{ subject: USER, audiences: ['api://AzureADTokenExchange'], issuer: 'https://aks/1' }],
    steps: ['annotate', 'label', 'migrate'],
    account: `azure.workload.identity/client-id: ${CLIENT}`,
    cluster: { issuer: 'https://aks/1' },
  },
];

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

function requestFor(one: Case, more: Partial<CloudRequest> = {}): CloudRequest {
  return {
    namespace: 'ml',
    workloads: [],
    identities: new Map(one.identity === undefined ? [] : [['ml/Deployment/etl', one.identity]]),
    ways: new Set(one.way === undefined ? [] : [one.way]),
    projectToken: false,
    keepKey: false,
    proofs: [],
    ...(one.cluster === undefined ? {} : { cluster: one.cluster }),
    ...more,
  };
}

function proven(one: Case): Pick<CloudRequest, 'proofs'> {
  const parsed = parseCloudProof(one.proof, 'trust.json', one.identity);
  if (parsed.kind !== 'proof') throw new Error(parsed.why);
  return { proofs: [parsed.proof] };
}

function cloudOf(view: View): CloudPlan {
  const table = buildAccountTable({
    snapshot: view.snapshot,
    inventory: view.inventory,
    edges: view.edges,
    namespace: 'ml',
  });
  return planCloud(table, readCloud(view.snapshot.objects), view.inventory.facts.cni.name);
}

async function planned(rig: Rig, request: CloudRequest): Promise<CloudSteps> {
  const view = await rig.view('ml');
  const cloud = cloudOf(view);
  expect(cloudRequestProblems(view, cloud, request)).toEqual([]);
  return planCloudSteps(view, cloud, request, plannerFor(rig.target.kind));
}

async function removal(rig: Rig): Promise<Plan> {
  const view = await rig.view('ml');
  const undo = cloudStepsInForce(view.applied, 'ml');
  const { plan, divergences } = planRollback(view, 'allow-list', plannerFor(rig.target.kind), undefined, undo);
  expect(divergences).toEqual([]);
  return plan;
}

const shortIds = (plan: Plan): readonly string[] =>
  plan.steps.map(({ id }) => id.replace('identity/cloud/deployment-etl-', ''));

async function openAt(target: Target, dir: string): Promise<Rig> {
  const rig = openRig({
    target,
    stateFile: join(dir, 's.sqlite'),
    facts: {
      edges: edgesOf('ml/Deployment/etl -> ml/Deployment/db 5432'),
      config: { ...CONFIG, gates: { ...CONFIG.gates, soak: 'off' } },
      decisions: decisionsOf('waive gate=unknown,subject=*'),
    },
  });
  closing.push(() => rig.close());
  // Isolated, so that a path that is not opened is a path that is closed.
  await executePlan(await rig.planUp('ml', 'allow-list'), 'advance', rig.engine);
  return rig;
}

async function folder(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'sallyport-cloud-'));
  closing.push(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

async function directoryRig(one: Case, etl = ETL(one.key)): Promise<{ readonly rig: Rig; readonly cluster: string }> {
  const dir = await folder();
  const cluster = join(dir, 'cluster');
  await mkdir(cluster);
  await writeFile(join(cluster, '00.yaml'), WORLD(one.provider, one.labels));
  await writeFile(join(cluster, 'etl.yaml'), etl);
  const target = await openDirectoryTarget({ dir: cluster, clock: stoppedClock(NOW) });
  return { rig: await openAt(target, dir), cluster };
}

describe.each(CASES)('$name', (one) => {
  it('opens the path, annotates, and takes the key away; back to the byte', async () => {
    const { rig, cluster } = await directoryRig(one);
    const before = await readTree(cluster);
    const { plan, left } = await planned(rig, requestFor(one, proven(one)));
    expect(shortIds(plan)).toEqual(one.steps);
    expect(openGates(plan)).toEqual([]);
    expect(plan.denied).toEqual([]);
    expect((await executePlan(plan, 'advance', rig.engine)).outcome).toBe('done');
    const text = await readFile(join(cluster, 'etl.yaml'), 'utf8');
    expect(text.replaceAll('"', '')).toContain(one.account);
    expect(text).not.toMatch(/cloud-key|AWS_SESSION_TOKEN|AZURE_CLIENT_ID/);
    if (one.name === 'GKE') expect(text).toMatch(/MODE[\s\S]*scratch/);
    if (one.name === 'AKS') expect(text).toContain('azure.workload.identity/use: "true"');
    const policies = Object.values(await readTree(cluster)).join('\n');
    if (one.path === undefined) expect(policies).not.toContain('169.254.');
    else expect(policies).toContain(one.path);
    // The Secret is there as it was, and nothing refers to it.
    expect(await readFile(join(cluster, '00.yaml'), 'utf8')).toContain('hunter2');
    expect(left).toEqual([{ secret: 'ml/cloud-key', stillNamedBy: [] }]);
    // Nothing more to do; and what the record calls for stays in the allow-list when it is brought up to date.
    expect((await rig.planUp('ml', 'allow-list')).steps).toEqual([]);
    const back = await removal(rig);
    expect((await executePlan(back, 'rollback', rig.engine)).outcome).toBe('done');
    expect(await readTree(cluster)).toEqual(before);
  });

  it('waits for the cloud: nothing in the cluster shows what it trusts', async () => {
    const { rig } = await directoryRig(one);
    const { plan } = await planned(rig, requestFor(one));
    expect(openGates(plan)).toMatchObject([{ id: 'cloud-side', answer: 'unknown', subject: 'ml/Deployment/etl' }]);
    const expanded = await planned(rig, requestFor(one, { keepKey: true }));
    expect(openGates(expanded.plan)).toEqual([]);
    expect(shortIds(expanded.plan)).toEqual(one.steps.filter((step) => step !== 'migrate'));
    // Later, with the identity there already, only the key goes.
    await executePlan(expanded.plan, 'advance', rig.engine);
    const later = await planned(
      rig,
      requestFor({ ...one, ...{ identity: undefined } } as unknown as Case, proven(one)),
    );
    expect(shortIds(later.plan)).toEqual(['migrate']);
    expect(openGates(later.plan)).toEqual([]);
  });

  it('is written to an API server step by step, and taken back', async () => {
    const dir = await folder();
    const fake = await startFakeApi({
      objects: objectsOf(`${WORLD(one.provider, one.labels)}${ETL(one.key)}`).filter(({ kind }) => kind !== 'Secret'),
    });
    closing.push(() => fake.close());
    const settle = (object: KubeManifest): KubeManifest => ({
      ...object,
      status: {
        replicas: 1,
        updatedReplicas: 1,
        availableReplicas: 1,
        readyReplicas: 1,
        observedGeneration: object.metadata['generation'] ?? 1,
      },
    });
    fake.afterCall(({ method, path, query }) => {
      if (method !== 'PATCH' || !path.includes('/deployments/') || query['dryRun'] !== undefined) return;
      for (const object of fake.objects()) if (object.kind === 'Deployment') fake.put(settle(object), 'controller');
    });
    const target = await openClusterTarget({ kubeconfig: fake.kubeconfig, clock: simulatedClock() });
    closing.push(() => target.close());
    const rig = await openAt(target, dir);
    const texts = (): readonly unknown[] =>
      fake
        .objects()
        .filter(({ kind }) => ['Deployment', 'ServiceAccount', 'NetworkPolicy'].includes(kind))
        .map(({ kind, metadata, spec }) => ({
          kind,
          name: metadata.name,
          labels: metadata['labels'] ?? null,
          annotations: asObject(metadata['annotations']),
          spec: spec ?? null,
        }));
    const before = texts();
    const { plan } = await planned(rig, requestFor(one, proven(one)));
    expect(openGates(plan)).toEqual([]);
    const ran = await executePlan(plan, 'advance', rig.engine);
    expect(ran, JSON.stringify(ran.failed)).toMatchObject({ outcome: 'done' });
    expect(JSON.stringify(texts())).not.toContain('cloud-key');
    if (one.path !== undefined) expect(JSON.stringify(texts())).toContain(one.path);
    const undone = await executePlan(await removal(rig), 'rollback', rig.engine);
    expect(undone, JSON.stringify(undone.failed)).toMatchObject({ outcome: 'done' });
    expect(texts()).toEqual(before);
    // Not once was a Secret asked for.
    expect(fake.calls.filter(({ path }) => path.includes('/secrets'))).toEqual([]);
  });
});

describe('a plan that would be wrong', () => {
  const [gke, irsa] = CASES as readonly [Case, Case, ...Case[]];

  it('is refused where others run as the account', async () => {
    const other = `---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: ml}\nspec:\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec: {serviceAccountName: etl, containers: [{name: web, image: "web:1"}]}\n`;
    const { rig } = await directoryRig(irsa, `${ETL(irsa.key)}${other}`);
    const { plan } = await planned(rig, requestFor(irsa, proven(irsa)));
    expect(openGates(plan)).toMatchObject([{ id: 'cloud-account', answer: 'no', subject: 'ml/Deployment/etl' }]);
  });

  it('is refused on nodes of another cloud, and on GKE without the metadata server', async () => {
    const elsewhere = { ...irsa, provider: gke.provider, labels: gke.labels };
    const { rig } = await directoryRig(elsewhere);
    expect(openGates((await planned(rig, requestFor(irsa, proven(irsa)))).plan)).toMatchObject([
      { id: 'cloud-nodes', answer: 'no', subject: 'ml/aws' },
    ]);
    const bare = await directoryRig({ ...gke, labels: '{}' });
    expect(openGates((await planned(bare.rig, requestFor(gke, proven(gke)))).plan)).toMatchObject([
      { id: 'cloud-nodes', answer: 'no', subject: 'ml/gcp' },
      { id: 'cloud-token', answer: 'unknown', subject: 'ml/Deployment/etl' },
    ]);
  });

  it('names what is asked for and cannot be', async () => {
    const { rig } = await directoryRig(irsa);
    const view = await rig.view('ml');
    const wrong = (more: Partial<CloudRequest>): readonly string[] =>
      cloudRequestProblems(view, cloudOf(view), requestFor(irsa, more));
    expect(wrong({ identities: new Map() })).toEqual([expect.stringContaining('--identity ml/Deployment/etl=')]);
    expect(wrong({ identities: new Map([['ml/Deployment/etl', EMAIL]]) })).toEqual([
      `${EMAIL} for ml/Deployment/etl is not the ARN of an IAM role`,
    ]);
    expect(wrong({ workloads: ['ml/Deployment/db'] })).toContain(
      'ml/Deployment/db holds no long-lived key of a cloud in ml',
    );
  });

  it('does not put one identity in the place of another', async () => {
    const { rig } = await directoryRig(
      irsa,
      ETL(irsa.key).replace(
        '  namespace: ml\n---',
        `  namespace: ml\n  annotations: {eks.amazonaws.com/role-arn: "${ARN}-old"}\n---`,
      ),
    );
    const view = await rig.view('ml');
    expect(cloudRequestProblems(view, cloudOf(view), requestFor(irsa))).toEqual([
      expect.stringContaining(`has the identity ${ARN}-old already`),
    ]);
    // With the one that it has, only the key goes.
    const { plan } = await planned(rig, requestFor(irsa, { identities: new Map(), keepKey: false }));
    expect(shortIds(plan)).toEqual(['migrate']);
  });

  it('does not open more than the path where the allow-list is behind the record', async () => {
    const { rig, cluster } = await directoryRig(gke);
    await writeFile(
      join(cluster, 'db.yaml'),
      `apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: other, namespace: ml}\nspec:\n  selector: {matchLabels: {app: other}}\n  template:\n    metadata: {labels: {app: other}}\n    spec: {serviceAccountName: other, containers: [{name: o, image: "o:1"}]}\n`,
    );
    const view = await rig.view('ml');
    const more: View = {
      ...view,
      edges: [...view.edges, ...edgesOf('ml/Deployment/etl -> ml/Deployment/other 80')],
      edgesIn: (state) => [...view.edgesIn(state), ...edgesOf('ml/Deployment/etl -> ml/Deployment/other 80')],
    };
    const { plan } = planCloudSteps(more, cloudOf(more), requestFor(gke, proven(gke)), plannerFor('directory'));
    expect(plan.gates.find(({ id }) => id === 'metadata-path')).toMatchObject({ answer: 'no' });
    expect(shortIds(plan)).not.toContain('open');
  });

  it('leaves a volume that may hold more than the key, and says so', async () => {
    const { rig, cluster } = await directoryRig(
      gke,
      ETL(
        GCP_KEY.replaceAll('gcp-key', 'conf')
          .replaceAll('cloud-key', 'app')
          .replaceAll('/var/secrets/google', '/etc/app'),
      ),
    );
    const { plan, left } = await planned(rig, requestFor(gke, proven(gke)));
    expect(plan.steps.at(-1)?.risks.join()).toContain('Secret ml/app stays mounted of container main');
    await executePlan(plan, 'advance', rig.engine);
    const text = await readFile(join(cluster, 'etl.yaml'), 'utf8');
    expect(text).not.toContain('GOOGLE_APPLICATION_CREDENTIALS');
    expect(text).toContain('/etc/app');
    expect(left).toEqual([{ secret: 'ml/app', stillNamedBy: ['Deployment ml/etl'] }]);
  });

  it('puts in the token itself where it is asked to', async () => {
    const { rig, cluster } = await directoryRig(irsa);
    const { plan } = await planned(rig, requestFor(irsa, { ...proven(irsa), projectToken: true }));
    expect(shortIds(plan)).toEqual(['annotate', 'token', 'migrate']);
    await executePlan(plan, 'advance', rig.engine);
    const text = await readFile(join(cluster, 'etl.yaml'), 'utf8');
    expect(text).toContain('sts.amazonaws.com');
    expect(text).toContain('AWS_WEB_IDENTITY_TOKEN_FILE');
    expect(text).not.toContain('AWS_SECRET_ACCESS_KEY');
  });
});

describe('answers of clouds', () => {
  const irsa = CASES[1] as Case;
  it.each([
    ['a pattern', { 'x:sub': 'system:serviceaccount:ml:*' }, 'StringLike', 'no', /pattern/],
    ['another account', { 'x:sub': 'system:serviceaccount:ml:web' }, 'StringEquals', 'no', /does not name/],
  ] as const)('%s does not do', async (_, condition, operator, answer, fact) => {
    const statement = {
      Effect: 'Allow',
      Action: 'sts:AssumeRoleWithWebIdentity',
      Condition: { [operator]: condition },
    };
    const proof = { Role: { Arn: ARN, AssumeRolePolicyDocument: { Statement: [statement] } } };
    const { rig } = await directoryRig(irsa);
    const { plan } = await planned(rig, requestFor(irsa, proven({ ...irsa, proof })));
    const [gate] = openGates(plan);
    expect(gate).toMatchObject({ id: 'cloud-side', answer });
    expect(gate?.facts.join()).toMatch(fact);
  });

  it('of a pool of another project, or under a condition, does not do', async () => {
    const gke = CASES[0] as Case;
    const { rig } = await directoryRig(gke);
    for (const binding of [
      { role: 'roles/iam.workloadIdentityUser', members: ['serviceAccount:other.svc.id.goog[ml/etl]'] },
      { role: 'roles/viewer', members: ['serviceAccount:acme-ml.svc.id.goog[ml/etl]'] },
    ]) {
      const { plan } = await planned(rig, requestFor(gke, proven({ ...gke, proof: { bindings: [binding] } })));
      expect(openGates(plan)).toMatchObject([{ id: 'cloud-side', answer: 'no' }]);
    }
  });

  const side = async (one: Case, more: Partial<CloudRequest> = {}) => {
    const { rig } = await directoryRig(one);
    return (await planned(rig, requestFor(one, { ...proven(one), ...more }))).plan.gates.find(
      ({ id }) => id === 'cloud-side',
    );
  };

  it.each(CASES.slice(1))(
    'about another cluster is no, and unknown where this one is not named: $name',
    async (one) => {
      expect(await side(one)).toMatchObject({ answer: 'yes' });
      const other = one.cluster?.issuer === undefined ? { eksCluster: 'two' } : { issuer: `${one.cluster.issuer}2` };
      expect(await side(one, { cluster: other })).toMatchObject({ answer: 'no' });
      expect(await side(one, { cluster: {} })).toMatchObject({ answer: 'unknown' });
    },
  );

  const role = (statement: object, ...others: readonly object[]): Case => ({
    ...irsa,
    proof: {
      Role: {
        Arn: ARN,
        AssumeRolePolicyDocument: {
          Statement: [
            { Effect: 'Allow', Action: 'sts:AssumeRoleWithWebIdentity', Principal: FEDERATED, ...statement },
            ...others,
          ],
        },
      },
    } as unknown as Json,
  });
  const equals = (more: object): object => ({ Condition: { StringEquals: { [`${OIDC}:sub`]: USER, ...more } } });
  it.each([
    ['no audience', role(equals({})), 'yes'],
    ['another audience', role(equals({ [`${OIDC}:aud`]: 'vault' })), 'no'],
    ['a condition that is not judged', role(equals({ 'aws:SourceIp': '10.0.0.0/8' })), 'unknown'],
    ['another provider as its principal', role({ ...equals({}), Principal: { Federated: 'arn:x' } }), 'unknown'],
    ['a denial beside it', role(equals({}), { Effect: 'Deny', Action: '*' }), 'unknown'],
  ] as const)('of a role with %s', async (_, one, answer) => {
    expect(await side(one)).toMatchObject({ answer });
  });

  it('shows no direct access of a principal: the role lets it be an account', async () => {
    const principal = (pool: string, end: string): string =>
      `${end === 'subject/ns/ml/sa/etl' ? 'principal' : 'principalSet'}://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/${pool}.svc.id.goog/${end}`;
    const gke = CASES[0] as Case;
    const by = (member: string): Case => ({
      ...gke,
      proof: { bindings: [{ role: 'roles/iam.workloadIdentityUser', members: [member] }] },
    });
    const mine = by(principal('acme-ml', 'subject/ns/ml/sa/etl'));
    const direct = await side({ ...mine, way: 'gke-principal' });
    expect(direct).toMatchObject({ answer: 'unknown' });
    expect(direct?.facts.join()).toContain('gives it nothing of its own');
    expect(await side(mine)).toMatchObject({ answer: 'unknown' });
    expect(await side(by(principal('other', 'subject/ns/ml/sa/etl')))).toMatchObject({ answer: 'no' });
    expect(await side(by(principal('acme-ml', 'namespace/ml')))).toMatchObject({ answer: 'no' });
  });

  it('is held against the issuer that the API servers are started with', () => {
    const server = (name: string, issuer: string): string =>
      `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}, namespace: kube-system, labels: {component: kube-apiserver}}\nspec: {containers: [{name: a, command: [kube-apiserver, "--service-account-issuer=${issuer}", "--service-account-issuer=https://old"]}]}\n---\n`;
    expect(clusterNames(objectsOf(server('a', 'https://x')))).toEqual({ issuer: 'https://x' });
    expect(clusterNames(objectsOf(server('a', 'https://x') + server('b', 'https://y')))).toEqual({});
    expect(clusterNames(objectsOf(server('a', 'https://x').replace('kube-system', 'ml')))).toEqual({});
  });

  it('that is none of those known is refused', () => {
    expect(parseCloudProof({ hello: 1 }, 'x.json')).toMatchObject({ kind: 'unreadable' });
    expect(parseCloudProof([], 'x.json')).toMatchObject({ kind: 'proof', proof: { trusts: [] } });
  });
});

describe('a key does not go before pods are shown to be given a token', () => {
  const [gke, irsa, podIdentity, aks] = CASES as readonly [Case, Case, Case, Case];
  const tokenOf = async (one: Case, change: (world: string) => string, etl = ETL(one.key), more = {}) => {
    const { rig, cluster } = await directoryRig(one, etl);
    await writeFile(join(cluster, '00.yaml'), change(WORLD(one.provider, one.labels)));
    const { plan } = await planned(rig, requestFor(one, { ...proven(one), ...more }));
    return plan.gates.find(({ id }) => id === 'cloud-token');
  };
  const renamed =
    (name: string) =>
    (world: string): string =>
      world.replace(`name: ${name}`, 'name: something-else');
  const anotherNode = (world: string): string =>
    `${world}apiVersion: v1\nkind: Node\nmetadata: {name: n2, labels: {pool: old}}\nspec: {providerID: "gce://acme-ml/europe-west1-b/n2"}\n---\n`;

  it.each([
    ['no webhook of EKS', irsa, renamed('pod-identity-webhook'), 'unknown'],
    ['no agent of EKS', podIdentity, renamed('eks-pod-identity-agent'), 'unknown'],
    ['no webhook of Azure', aks, renamed('azure-wi-webhook-mutating-webhook-configuration'), 'unknown'],
    [
      'a webhook that does not select the namespace',
      irsa,
      (world: string) =>
        world.replace('amazonaws.com\n', 'amazonaws.com\n    namespaceSelector: {matchLabels: {irsa: "on"}}\n'),
      'unknown',
    ],
    ['a node without the metadata server', gke, anotherNode, 'unknown'],
    ['the metadata server on every node', gke, (world: string) => world, 'yes'],
  ] as const)('%s', async (_, one, change, answer) => {
    expect(await tokenOf(one, change)).toMatchObject({ answer, subject: 'ml/Deployment/etl' });
  });

  it('nor on nodes that its nodeSelector leaves, and those alone', async () => {
    const etl = (selector: string): string =>
      ETL(gke.key).replace('      containers:', `      nodeSelector: ${selector}\n      containers:`);
    const good = '{iam.gke.io/gke-metadata-server-enabled: "true"}';
    expect(await tokenOf(gke, anotherNode, etl(good))).toMatchObject({ answer: 'yes' });
    expect(await tokenOf(gke, anotherNode, etl('{pool: old}'))).toMatchObject({ answer: 'unknown' });
    expect(await tokenOf(gke, anotherNode, etl('{pool: none}'))).toMatchObject({ answer: 'unknown' });
  });

  it('and a token in the template will do', async () => {
    const gone = renamed('pod-identity-webhook');
    expect(await tokenOf(irsa, gone, ETL(irsa.key), { projectToken: true })).toMatchObject({ answer: 'yes' });
  });
});
