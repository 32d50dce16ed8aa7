// Pods of operators' objects, bare ones, and steps that act beyond the namespaces that they write to.
import { describe, expect, it } from 'vitest';
import { OWNER_KINDS } from '../../src/inventory/owners.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { formatRef, refOf } from '../../src/model/object.ts';
import type { Change } from '../../src/plan/change.ts';
import { groundPart, podsToldBy } from '../../src/plan/ground-part.ts';
import { compareGround, groundOf, listsFor, listsForAll, reachOf } from '../../src/plan/ground.ts';
import type { Ground } from '../../src/plan/ground.ts';
import type { Step } from '../../src/plan/plan.ts';
import type { Json, JsonObject } from '../../src/shared/pure/json.ts';
import { setPath } from '../../src/shared/pure/json.ts';
import { objectsOf, viewFor } from '../phases/worlds.ts';
import { edgeOf, twoTeamsEdges } from '../support/rig.ts';

const OWNERS = `
apiVersion: ray.io/v1
kind: RayCluster
metadata: {name: ray, namespace: front}
spec:
  headGroupSpec:
    template:
      metadata: {labels: {app: ray}}
      spec: {serviceAccountName: ray, containers: [{name: head, image: ray:1, ports: [{name: gcs, containerPort: 6379}]}]}
  workerGroupSpecs:
  - groupName: small
    replicas: 2
    template: {metadata: {labels: {app: ray}}, spec: {containers: [{name: w, image: ray:1}]}}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: canary, namespace: front}
spec: {template: {metadata: {labels: {app: canary}}, spec: {serviceAccountName: canary, containers: [{name: c, image: c:1}]}}}
---
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: model, namespace: front, labels: {app: model}}
spec: {predictor: {serviceAccountName: model, model: {modelFormat: {name: sklearn}}}}
---
apiVersion: kubeflow.org/v1
kind: PyTorchJob
metadata: {name: train, namespace: front}
spec: {pytorchReplicaSpecs: {Worker: {template: {metadata: {labels: {app: train}}, spec: {containers: [{name: p, image: p:1}]}}}}}
---
apiVersion: sparkoperator.k8s.io/v1beta2
kind: SparkApplication
metadata: {name: spark, namespace: front}
spec: {driver: {serviceAccount: spark, labels: {app: spark}}, executor: {labels: {app: spark}}}
---
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: flow, namespace: front}
spec:
  serviceAccountName: flow
  templates:
  - {name: main, metadata: {labels: {app: flow}}, container: {image: f:1}}
  - {name: env, metadata: {labels: {app: flow}}, container: {image: f:1}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once, namespace: front}
spec: {template: {metadata: {labels: {app: once}}, spec: {containers: [{name: o, image: o:1}]}}}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: bare-set, namespace: front}
spec: {selector: {matchLabels: {app: bare-set}}, template: {metadata: {labels: {app: bare-set}}, spec: {containers: [{name: b, image: b:1}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: bare, namespace: front, uid: '1', labels: {app: bare}}
spec: {serviceAccountName: bare, containers: [{name: b, image: b:1}]}
status: {phase: Running, podIP: 10.9.9.1}
---
apiVersion: v1
kind: Pod
metadata:
  {name: ray-head, namespace: front, uid: '2', labels: {app: ray, ray.io/cluster: ray, ray.io/group: headgroup, ray.io/node-type: head},
  ownerReferences: [{apiVersion: ray.io/v1, kind: RayCluster, name: ray, uid: r, controller: true}]}
spec: {serviceAccountName: ray, containers: [{name: head, image: ray:1}]}
status: {phase: Running, podIP: 10.9.9.2}
---
apiVersion: v1
kind: Pod
metadata:
  {name: web-1, namespace: front, uid: '3', labels: {app: web, pod-template-hash: a},
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-a, uid: w, controller: true}]}
spec: {containers: [{name: web, image: w:1}]}
status: {phase: Running, podIP: 10.9.9.3}
`;
const ADDED = objectsOf(OWNERS);
const named = (kind: string, name?: string): KubeManifest => {
  const found = ADDED.find((one) => one.kind === kind && (name === undefined || one.metadata.name === name));
  if (found === undefined) throw new Error(kind);
  return found;
};

const stepOf = (change: Change, effects: Step['effects'] = []): Step => ({
  id: 'allow-list/s',
  namespace: 'front',
  phase: 'allow-list',
  operation: change.kind,
  title: 's',
  change,
  effects,
  risks: [],
});
const made = (apiVersion: string, kind: string, namespace: string | undefined, spec: JsonObject): Change => ({
  kind: 'create',
  object: { apiVersion, kind, metadata: { name: 'n', ...(namespace === undefined ? {} : { namespace }) }, spec },
});
const DENY = made('networking.k8s.io/v1', 'NetworkPolicy', 'front', {
  podSelector: { matchLabels: { app: 'web' } },
  policyTypes: ['Ingress'],
});

function groundFor(steps: readonly Step[], more: Parameters<typeof viewFor>[0] = {}): Ground {
  const view = viewFor({ with: OWNERS, ...more });
  const ground = groundOf(view, steps, view.edges);
  if (ground === undefined) throw new Error('no ground');
  return ground;
}

describe('pods that no Deployment, StatefulSet, DaemonSet or CronJob describes', () => {
  const step = stepOf(DENY);
  const ground = groundFor([step]);
  const lists = listsFor(ground, step);
  const view = viewFor({ with: OWNERS });
  const changed = (of: KubeManifest, path: readonly string[], value: Json | undefined): readonly KubeManifest[] =>
    view.snapshot.objects.map((one) =>
      one === of || same(one, of) ? (setPath(one, path, value) as KubeManifest) : one,
    );
  const same = (a: KubeManifest, b: KubeManifest): boolean => formatRef(refOf(a)) === formatRef(refOf(b));
  const found = (live: readonly KubeManifest[]): readonly string[] =>
    compareGround(ground, lists, [], live, [], [step]).map(({ object }) => object);

  it('are read where they are, by their owners', () => {
    expect(found(view.snapshot.objects)).toEqual([]);
    const kinds = lists
      .filter(({ counts }) => counts === 'known')
      .map(({ kind, namespaces }) => `${kind} ${namespaces.join()}`);
    for (const { kind } of ADDED) expect(kinds.some((one) => one.startsWith(`${kind} front`))).toBe(true);
    // Nothing of a kind that nobody has, and nothing in namespaces of peers but what is spoken with.
    expect(kinds.filter((one) => /^(?:DaemonSet|TFJob|RayService)/u.test(one))).toEqual([]);
  });

  const template = ['spec', 'template'];
  it.each<readonly [string, KubeManifest, readonly string[], Json | undefined]>([
    [
      'the head of a RayCluster gets another label',
      named('RayCluster'),
      ['spec', 'headGroupSpec', 'template', 'metadata', 'labels', 'app'],
      'x',
    ],
    [
      'its workers get an account',
      named('RayCluster'),
      ['spec', 'workerGroupSpecs'],
      [{ groupName: 'small', template: { metadata: { labels: { app: 'ray' } }, spec: { serviceAccountName: 'x' } } }],
    ],
    ['a Rollout runs as another account', named('Rollout'), [...template, 'spec', 'serviceAccountName'], 'x'],
    [
      'a Rollout is kept out of the mesh',
      named('Rollout'),
      [...template, 'metadata', 'annotations'],
      { 'sidecar.istio.io/inject': 'false' },
    ],
    ['an InferenceService hands on another label', named('InferenceService'), ['metadata', 'labels', 'app'], 'x'],
    [
      'its predictor runs as another account',
      named('InferenceService'),
      ['spec', 'predictor', 'serviceAccountName'],
      'x',
    ],
    [
      'a PyTorchJob has other labels',
      named('PyTorchJob'),
      ['spec', 'pytorchReplicaSpecs', 'Worker', 'template', 'metadata', 'labels'],
      { app: 'x' },
    ],
    ['a driver of Spark runs as another account', named('SparkApplication'), ['spec', 'driver', 'serviceAccount'], 'x'],
    ['executors lose their label', named('SparkApplication'), ['spec', 'executor', 'labels'], undefined],
    ['a Workflow runs as another account', named('Workflow'), ['spec', 'serviceAccountName'], 'x'],
    ['a template of it has a patch of its own', named('Workflow'), ['spec', 'podSpecPatch'], '{}'],
    ['a Job is made anew with other labels', named('Job'), [...template, 'metadata', 'labels', 'app'], 'x'],
    ['a bare ReplicaSet has other labels', named('ReplicaSet'), [...template, 'metadata', 'labels', 'app'], 'x'],
    ['a bare pod is labelled', named('Pod', 'bare'), ['metadata', 'labels', 'app'], 'x'],
    ['a bare pod is made anew as another account', { ...named('Pod', 'bare') }, ['spec', 'serviceAccountName'], 'x'],
    ['a pod of an operator is labelled while it runs', named('Pod', 'ray-head'), ['metadata', 'labels', 'app'], 'x'],
  ])('stop the step where %s', (_, of, path, value) => {
    expect(found(changed(of, path, value))).toEqual([formatRef(refOf(of))]);
  });

  it.each<readonly [string, KubeManifest, readonly string[], Json | undefined]>([
    [
      'replicas of a RayCluster',
      named('RayCluster'),
      ['spec', 'workerGroupSpecs'],
      [
        {
          groupName: 'small',
          replicas: 9,
          template: { metadata: { labels: { app: 'ray' } }, spec: { containers: [{ name: 'w', image: 'ray:2' }] } },
        },
      ],
    ],
    [
      'workers of a new group, and the old ones gone',
      named('RayCluster'),
      ['spec', 'workerGroupSpecs'],
      [{ groupName: 'large', template: { metadata: { labels: { app: 'x' } } } }],
    ],
    [
      'the image of a Rollout, and its chart',
      named('Rollout'),
      template,
      {
        metadata: { labels: { app: 'canary', 'helm.sh/chart': 'c-2' } },
        spec: { serviceAccountName: 'canary', containers: [{ name: 'c', image: 'c:2', env: [{ name: 'A' }] }] },
      },
    ],
    ['another model', named('InferenceService'), ['spec', 'predictor', 'model'], { modelFormat: { name: 'xgboost' } }],
    ['a label of a bare pod that nothing names', named('Pod', 'bare'), ['metadata', 'labels', 'note'], 'x'],
    ['the status of a pod', named('Pod', 'bare'), ['status', 'phase'], 'Succeeded'],
    ['a pod that is told to end', named('Pod', 'bare'), ['metadata', 'deletionTimestamp'], '2026-01-01T00:00:00Z'],
    ['a pod of a Deployment, which its template tells of', named('Pod', 'web-1'), ['metadata', 'labels', 'note'], 'x'],
  ])('do not stop it for %s', (_, of, path, value) => {
    expect(found(changed(of, path, value))).toEqual([]);
  });

  it('that a controller replaces under the same name are its text’s to tell of', () => {
    const head = named('Pod', 'ray-head');
    const other = (of: KubeManifest): KubeManifest =>
      setPath(setPath(of, ['metadata', 'uid'], '9'), ['spec', 'serviceAccountName'], 'new') as KubeManifest;
    expect(found(view.snapshot.objects.map((one) => (same(one, head) ? other(one) : one)))).toEqual([]);
    const bare = named('Pod', 'bare');
    expect(found(view.snapshot.objects.map((one) => (same(one, bare) ? other(one) : one)))).toEqual(['Pod front/bare']);
  });

  it('are compared as the steps done leave them', () => {
    const ray = named('RayCluster');
    const after = [
      {
        groupName: 'small',
        template: {
          metadata: { labels: { app: 'ray' } },
          spec: { serviceAccountName: 'own', containers: [{ name: 'w', image: 'ray:1' }] },
        },
      },
    ];
    const path = ['spec', 'workerGroupSpecs'];
    const change: Change = { kind: 'edit', ref: refOf(ray), fields: [{ path, before: null, after }], owner: 'other' };
    const done = [
      { seq: 1, run: 'r', namespace: 'front', phase: 'identity' as const, step: stepOf(change), change, at: 0 },
    ];
    expect(compareGround(ground, lists, done, changed(ray, path, after), [], [step])).toEqual([]);
    expect(compareGround(ground, lists, done, view.snapshot.objects, [], [step])).toMatchObject([
      { object: 'RayCluster front/ray' },
    ]);
  });

  it('make the same of their own part, and every kind that owns pods has one', () => {
    for (const one of ADDED) expect(groundPart(groundPart(one))).toEqual(groundPart(one));
    expect(OWNER_KINDS.filter(({ group, kind }) => podsToldBy(group, kind) === undefined)).toEqual([]);
  });
});

describe('a step acts in every namespace', () => {
  const STRICT = { mtls: { mode: 'STRICT' } };
  it.each<readonly [string, Change, string | undefined]>([
    [
      'with a policy of the cluster',
      made('policy.networking.k8s.io/v1alpha1', 'AdminNetworkPolicy', undefined, {}),
      'network',
    ],
    ['with one of Calico', made('projectcalico.org/v3', 'GlobalNetworkPolicy', undefined, {}), 'network'],
    ['with one of Cilium', made('cilium.io/v2', 'CiliumClusterwideNetworkPolicy', undefined, {}), 'network'],
    [
      'in the mesh’s root namespace',
      made('security.istio.io/v1', 'PeerAuthentication', 'istio-system', STRICT),
      'mesh',
    ],
    [
      'with a rule there on callers',
      made('security.istio.io/v1', 'AuthorizationPolicy', 'istio-system', { selector: { matchLabels: { app: 'x' } } }),
      'mesh',
    ],
    [
      'with a destination that others are told of',
      made('networking.istio.io/v1', 'ServiceEntry', 'front', { hosts: ['x.org'] }),
      'mesh',
    ],
    [
      'but not with one that is kept',
      made('networking.istio.io/v1', 'ServiceEntry', 'front', { exportTo: ['.'] }),
      undefined,
    ],
    ['nor with mTLS of its own', made('security.istio.io/v1', 'PeerAuthentication', 'front', STRICT), undefined],
    ['nor with a policy of its own', DENY, undefined],
    [
      'nor with a policy on packets beside istiod',
      made('networking.k8s.io/v1', 'NetworkPolicy', 'istio-system', {}),
      undefined,
    ],
    ['nor with a role', made('rbac.authorization.k8s.io/v1', 'ClusterRoleBinding', undefined, {}), undefined],
  ])('%s', (_, change, reach) => {
    expect(reachOf(change, 'istio-system')).toBe(reach);
  });

  const THEIRS = `
apiVersion: v1
kind: Namespace
metadata: {name: far}
---
apiVersion: v1
kind: Namespace
metadata: {name: farther}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: a, namespace: far}
spec: {selector: {matchLabels: {app: a}}, template: {metadata: {labels: {app: a}}, spec: {containers: [{name: a, image: a:1}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: silent, namespace: far}
spec: {selector: {matchLabels: {app: s}}, template: {metadata: {labels: {app: s}}, spec: {containers: [{name: a, image: a:1}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: b, namespace: farther}
spec: {selector: {matchLabels: {app: b}}, template: {metadata: {labels: {app: b}}, spec: {containers: [{name: b, image: b:1}]}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: theirs, namespace: farther}
spec: {mtls: {mode: PERMISSIVE}}
`;
  const edges = [...twoTeamsEdges(), edgeOf('far/Deployment/a -> farther/Deployment/b 80/TCP')];
  const far = { with: THEIRS, edges };
  const root = stepOf(made('security.istio.io/v1', 'PeerAuthentication', 'istio-system', STRICT));
  const home = stepOf(made('security.istio.io/v1', 'PeerAuthentication', 'front', STRICT));
  const admin = stepOf(
    made('policy.networking.k8s.io/v1alpha1', 'AdminNetworkPolicy', undefined, { subject: { namespaces: {} } }),
  );
  const live = viewFor(far).snapshot.objects;
  const edited = (name: string, path: readonly string[], value: Json): readonly KubeManifest[] =>
    live.map((one) => (one.metadata.name === name ? (setPath(one, path, value) as KubeManifest) : one));
  const found = (step: Step, now: readonly KubeManifest[]): readonly string[] => {
    const ground = groundFor([root, home, admin], far);
    return compareGround(ground, listsFor(ground, step), [], now, [], [step]).map(({ object }) => object);
  };

  it('and rests on what stands in all of them', () => {
    const strict = edited('theirs', ['spec', 'mtls', 'mode'], 'STRICT');
    expect(found(root, live)).toEqual([]);
    expect(found(admin, live)).toEqual([]);
    expect(found(root, strict)).toEqual(['PeerAuthentication farther/theirs']);
    const policy = {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'p', namespace: 'far' },
      spec: {},
    };
    expect(found(admin, [...live, policy])).toEqual(['NetworkPolicy far/p']);
    const moved = edited('b', ['spec', 'template', 'metadata', 'labels', 'istio.io/dataplane-mode'], 'none');
    for (const step of [root, admin]) expect(found(step, moved)).toEqual(['Deployment farther/b']);
    // What nobody is known to speak with cannot be cut off.
    expect(
      found(root, edited('silent', ['spec', 'template', 'metadata', 'labels', 'istio.io/dataplane-mode'], 'x')),
    ).toEqual([]);
  });

  it('while the steps beside it rest on what is near alone', () => {
    const ground = groundFor([root, home, admin], far);
    const at = (step: Step): ReadonlySet<string> =>
      new Set(listsFor(ground, step).flatMap(({ namespaces }) => namespaces));
    expect(found(home, edited('theirs', ['spec', 'mtls', 'mode'], 'STRICT'))).toEqual([]);
    expect(at(home).has('farther')).toBe(false);
    expect(at(root).has('farther')).toBe(true);
    expect(groundFor([home], far).wide).toBeUndefined();
    // Taken together they are read once.
    const kinds = listsForAll(ground, [home, root, home]).map(
      ({ group, kind, counts }) => `${group}/${kind} ${counts}`,
    );
    expect(new Set(kinds).size).toBe(kinds.length);
    expect(listsForAll(ground, [home, root]).find(({ kind }) => kind === 'PeerAuthentication')?.namespaces).toContain(
      'farther',
    );
  });
});
