// A namespace of Kubeflow where one account runs everything: moved apart, one workload at a time, and back to the byte.
import { mkdtemp, rm, writeFile, mkdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Engine } from '../../src/engine/run.ts';
import { executePlan } from '../../src/engine/run.ts';
import type { Right } from '../../src/model/rbac.ts';
import type { Plan } from '../../src/plan/plan.ts';
import { EXIT } from '../../src/shared/pure/errors.ts';
import { openDirectoryTarget } from '../../src/targets/directory.ts';
import { stoppedClock } from '../support/stopped-clock.ts';
import { readTree } from '../support/folder.ts';
import { NOW, decisionsOf, edgesOf, openRig } from '../support/rig.ts';
import type { Rig } from '../support/rig.ts';

const WORKLOADS = `# who runs what
apiVersion: v1
kind: Namespace
metadata: {name: ml}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: default-editor   # runs everything
  namespace: ml
imagePullSecrets:
  - name: registry
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: runs, namespace: ml}
rules:
  - {apiGroups: [""], resources: [pods, pods/log], verbs: [get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: editors, namespace: ml}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: runs}
subjects:
  - {kind: ServiceAccount, name: default-editor, namespace: ml}
---
apiVersion: ray.io/v1
kind: RayCluster
metadata: {name: ray, namespace: ml}
spec:
  headGroupSpec:
    template:
      spec:
        serviceAccountName: default-editor # the head
        containers: [{name: ray-head, image: rayproject/ray:2.9.0}]
  workerGroupSpecs:
    # two groups, one of another account
    - groupName: cpu
      template:
        spec:
          serviceAccountName: default-editor
          containers: [{name: ray-worker, image: rayproject/ray:2.9.0}]
    - groupName: gpu
      template:
        spec: {serviceAccountName: gpu, containers: [{name: ray-worker, image: rayproject/ray:2.9.0}]}
---
apiVersion: kubeflow.org/v1
kind: PyTorchJob
metadata: {name: train, namespace: ml}
spec:
  pytorchReplicaSpecs:
    Master: {template: {spec: {serviceAccountName: default-editor, containers: [{name: pytorch, image: train:1}]}}}
    Worker: {template: {spec: {serviceAccountName: "default-editor", containers: [{name: pytorch, image: train:1}]}}}
---
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: fraud, namespace: ml}
spec:
  predictor:
    serviceAccountName: default-editor
    model: {modelFormat: {name: sklearn}, storageUri: "s3://m/f"}
---
apiVersion: sparkoperator.k8s.io/v1beta2
kind: SparkApplication
metadata: {name: features, namespace: ml}
spec:
  driver:
    serviceAccount: default-editor
  executor: {cores: 1}
---
apiVersion: argoproj.io/v1alpha1
kind: CronWorkflow
metadata: {name: nightly, namespace: ml}
spec:
  schedule: "0 1 * * *"
  workflowSpec:
    serviceAccountName: default-editor
    templates:
      - name: main
        container: {image: step:1}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: ml}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: default-editor
      containers: [{name: web, image: web:1}]
`;

const POLICIES = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: theirs, namespace: ml}
spec:
  action: DENY
  rules:
    - from:
        # never these
        - source: {principals: ["cluster.local/ns/ml/sa/default-editor"]}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: by-account, namespace: ml}
spec:
  endpointSelector: {}
  ingress:
    - fromEndpoints:
        - matchLabels: {"k8s:io.cilium.k8s.policy.serviceaccount": default-editor}
`;

let dir = '';
let cluster = '';
const opened: Rig[] = [];
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'sallyport-accounts-'));
  cluster = join(dir, 'cluster');
  await mkdir(cluster);
  await writeFile(join(cluster, 'workloads.yaml'), WORKLOADS);
  await writeFile(join(cluster, 'policies.yaml'), POLICIES);
});
afterEach(async () => {
  for (const rig of opened.splice(0)) await rig.close();
  await rm(dir, { recursive: true, force: true });
});

async function open(wrap?: (engine: Engine) => Engine): Promise<Rig> {
  const target = await openDirectoryTarget({ dir: cluster, clock: stoppedClock(NOW) });
  const rig = openRig({
    target,
    stateFile: join(dir, 's.sqlite'),
    facts: {
      edges: edgesOf('ml/Deployment/web -> ml/InferenceService/fraud 8080'),
      decisions: decisionsOf('waive gate=service-account,subject=ml/*'),
    },
    ...(wrap === undefined ? {} : { wrap }),
  });
  opened.push(rig);
  rig.journal.setPhase('ml', 'strict-mtls', NOW);
  return rig;
}

const plan = (rig: Rig): Promise<Plan> => rig.planUp('ml', 'identity');

describe('the account of everything', () => {
  it('becomes one for each workload, in the text of the owner, and back to the byte', async () => {
    const before = await readTree(cluster);
    const rig = await open();
    const planned = await plan(rig);
    const migrated = planned.steps.filter((step) => step.id.endsWith('-migrate'));
    expect(migrated.map(({ workload }) => workload).sort()).toEqual([
      'ml/CronWorkflow/nightly',
      'ml/Deployment/web',
      'ml/InferenceService/fraud',
      'ml/PyTorchJob/train',
      'ml/RayCluster/ray',
      'ml/SparkApplication/features',
    ]);
    // Each is the owner's own text, and a person confirms it.
    for (const step of migrated) {
      expect(step.change).toMatchObject({ kind: 'edit', owner: 'other' });
      expect(step.confirm).toBeDefined();
      expect(step.rights).toMatchObject({ namespace: 'ml', rights: { length: 4 } });
    }
    expect((await executePlan(planned, 'advance', rig.engine)).outcome).toBe('done');
    const text = await readFile(join(cluster, 'workloads.yaml'), 'utf8');
    expect(text).not.toMatch(/serviceAccount(Name)?: "?default-editor/);
    expect(text).toContain('serviceAccount: features');
    // The other group keeps its own account.
    expect(text).toMatch(/serviceAccountName: "?gpu/);
    const back = await rig.planDown('ml', 'strict-mtls');
    expect(back.divergences).toEqual([]);
    expect((await executePlan(back.plan, 'rollback', rig.engine)).outcome).toBe('done');
    expect(await readTree(cluster)).toEqual(before);
  });

  it('is named beside the new ones before anything moves, and forgotten when nobody runs as it any more', async () => {
    const rig = await open();
    const { steps } = await plan(rig);
    const at = (id: string): number => steps.findIndex((step) => step.id === `identity/${id}`);
    for (const policy of ['authorizationpolicy-theirs', 'ciliumnetworkpolicy-by-account']) {
      expect(at(`raycluster-ray-expand-${policy}`)).toBeGreaterThanOrEqual(0);
      expect(at(`raycluster-ray-expand-${policy}`)).toBeLessThan(at('raycluster-ray-migrate'));
    }
    await executePlan(await plan(rig), 'advance', rig.engine);
    const text = await readFile(join(cluster, 'policies.yaml'), 'utf8');
    expect(text).not.toContain('default-editor');
    // Refused before, refused after, by every new name.
    for (const name of ['ray', 'train', 'fraud', 'features', 'nightly', 'web']) {
      expect(text).toMatch(new RegExp(`cluster.local/ns/ml/sa/${name}\\b`));
    }
  });

  it('is not planned again when it has been taken apart', async () => {
    const rig = await open();
    await executePlan(await plan(rig), 'advance', rig.engine);
    const again = (await plan(rig)).steps.filter((step) => step.id.includes('serviceaccount'));
    expect(again).toEqual([]);
  });
});

describe('the rehearsal of rights', () => {
  const asking =
    (answer: (account: string, right: Right) => boolean) =>
    (engine: Engine): Engine => ({
      ...engine,
      target: { ...engine.target, mayAccount: (_, account, right) => Promise.resolve(answer(account, right)) },
    });

  it('asks for every right of the old account, under the new name, before a workload moves', async () => {
    const asked = new Set<string>();
    const rig = await open(
      asking((account, right) => {
        asked.add(`${account} ${right.verb} ${right.resource}`);
        return true;
      }),
    );
    expect((await executePlan(await plan(rig), 'advance', rig.engine)).outcome).toBe('done');
    for (const account of ['web', 'ray', 'train'])
      for (const right of ['get pods', 'list pods', 'get pods/log', 'list pods/log'])
        expect(asked).toContain(`${account} ${right}`);
  });

  it('stops where the new account may not, with nothing moved, and can be taken back', async () => {
    const before = await readTree(cluster);
    const rig = await open(asking((_, right) => right.resource !== 'pods/log'));
    const result = await executePlan(await plan(rig), 'advance', rig.engine);
    expect(result).toMatchObject({ outcome: 'partial', exit: EXIT.refused });
    expect(result.failure?.detail).toMatchObject({ code: 'SP625' });
    expect(result.failure?.message).toContain('get pods/log in ml');
    expect(await readFile(join(cluster, 'workloads.yaml'), 'utf8')).toBe(WORKLOADS);
    const { plan: back } = await rig.planDown('ml', 'strict-mtls');
    expect((await executePlan(back, 'rollback', rig.engine)).outcome).toBe('done');
    expect(await readTree(cluster)).toEqual(before);
  });
});
