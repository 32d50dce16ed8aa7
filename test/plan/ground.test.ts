// Which steps may take a connection away, and what of a cluster counts as changed under them.
import { describe, expect, it } from 'vitest';
import type { KubeManifest } from '../../src/model/object.ts';
import { refOf } from '../../src/model/object.ts';
import type { Change } from '../../src/plan/change.ts';
import type { DoneStep, Ground, GroundList } from '../../src/plan/ground.ts';
import { groundPart } from '../../src/plan/ground-part.ts';
import { compareGround, listsFor, tightens } from '../../src/plan/ground.ts';
import type { Json, JsonObject } from '../../src/shared/pure/json.ts';
import { asObject, setPath } from '../../src/shared/pure/json.ts';

const object = (apiVersion: string, kind: string, name: string, more: JsonObject = {}): KubeManifest => {
  const { metadata, ...rest } = more;
  return { apiVersion, kind, metadata: { name, namespace: 'front', ...asObject(metadata) }, ...rest };
};
const policy = (spec: JsonObject): KubeManifest => object('networking.k8s.io/v1', 'NetworkPolicy', 'p', { spec });
const allow = (spec: JsonObject, annotations: JsonObject = {}): KubeManifest =>
  object('security.istio.io/v1', 'AuthorizationPolicy', 'a', { spec, metadata: { annotations } });
const peers = (spec: JsonObject): KubeManifest => object('security.istio.io/v1', 'PeerAuthentication', 'd', { spec });
const create = (made: KubeManifest): Change => ({ kind: 'create', object: made });
const edit = (
  of: KubeManifest,
  path: readonly string[],
  before: Json | undefined,
  after: Json | undefined,
): Change => ({
  kind: 'edit',
  ref: refOf(of),
  fields: [{ path, before, after }],
  owner: 'other',
});
const A = { from: [{ podSelector: { matchLabels: { app: 'a' } } }] };
const B = { from: [{ podSelector: { matchLabels: { app: 'b' } } }] };
const SPEC = { podSelector: {}, policyTypes: ['Ingress'], ingress: [A] };
const DEPLOYMENT = object('apps/v1', 'Deployment', 'web', {
  spec: {
    replicas: 2,
    template: {
      metadata: { labels: { app: 'web' } },
      spec: {
        serviceAccountName: 'web',
        containers: [{ name: 'web', image: 'web:1', ports: [{ containerPort: 80 }] }],
      },
    },
  },
});

describe('a step may take a connection away', () => {
  it.each<readonly [string, Change, boolean]>([
    ['a NetworkPolicy that isolates', create(policy(SPEC)), true],
    [
      'a NetworkPolicy that gets one rule more',
      edit(policy(SPEC), ['spec'], SPEC, { ...SPEC, ingress: [A, B] }),
      false,
    ],
    ['a NetworkPolicy that loses a rule', edit(policy(SPEC), ['spec'], { ...SPEC, ingress: [A, B] }, SPEC), true],
    ['one whose rule is another', edit(policy(SPEC), ['spec'], SPEC, { ...SPEC, ingress: [B] }), true],
    [
      'one that isolates one direction more',
      edit(policy(SPEC), ['spec'], SPEC, { ...SPEC, policyTypes: ['Ingress', 'Egress'] }),
      true,
    ],
    [
      'one that selects other pods',
      edit(policy(SPEC), ['spec'], SPEC, { ...SPEC, podSelector: { matchLabels: { app: 'a' } } }),
      true,
    ],
    [
      'one that is taken away: another may select its pods',
      {
        kind: 'delete',
        ref: { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', name: 'p' },
        before: policy(SPEC),
      },
      true,
    ],
    ['optional mTLS', create(peers({ mtls: { mode: 'PERMISSIVE' } })), false],
    ['strict mTLS', create(peers({ mtls: { mode: 'STRICT' } })), true],
    [
      'strict mTLS on a port of an optional one',
      create(peers({ mtls: { mode: 'PERMISSIVE' }, portLevelMtls: { '80': { mode: 'STRICT' } } })),
      true,
    ],
    ['a rule on callers', create(allow({ action: 'ALLOW', rules: [{}] })), true],
    ['one that is rehearsed', create(allow({ action: 'ALLOW', rules: [{}] }, { 'istio.io/dry-run': 'true' })), false],
    [
      'one whose rehearsal ends',
      edit(allow({}), ['metadata', 'annotations', 'istio.io/dry-run'], 'true', undefined),
      true,
    ],
    [
      'one rule more of a DENY',
      edit(allow({}), ['spec'], { action: 'DENY', rules: [A] }, { action: 'DENY', rules: [A, B] }),
      true,
    ],
    [
      'a rule where there was none, and so everybody',
      edit(allow({}), ['spec'], { action: 'ALLOW' }, { action: 'ALLOW', rules: [A] }),
      false,
    ],
    ['an account', create(object('v1', 'ServiceAccount', 'web')), false],
    [
      'an annotation of a namespace',
      edit(object('v1', 'Namespace', 'front'), ['metadata', 'annotations', 'x'], undefined, 'y'),
      false,
    ],
    [
      'a label of a namespace',
      edit(object('v1', 'Namespace', 'front'), ['metadata', 'labels', 'x'], undefined, 'y'),
      true,
    ],
  ])('%s', (_, change, expected) => {
    expect(tightens({ change, effects: [] })).toBe(expected);
  });

  it('where pods are replaced, whatever is written', () => {
    expect(
      tightens({
        change: edit(DEPLOYMENT, ['metadata', 'annotations', 'x'], undefined, 'y'),
        effects: [{ kind: 'rollout', workload: 'front/Deployment/web' }],
      }),
    ).toBe(true);
  });
});

const LISTS: readonly GroundList[] = [
  { group: 'networking.k8s.io', kind: 'NetworkPolicy', layer: 'network', counts: 'all', namespaces: ['front'] },
  { group: 'security.istio.io', kind: 'AuthorizationPolicy', layer: 'mesh', counts: 'all', namespaces: ['front'] },
  { group: 'apps', kind: 'Deployment', layer: 'both', counts: 'known', namespaces: ['front'] },
  { group: '', kind: 'Namespace', layer: 'both', counts: 'known', namespaces: ['front'] },
  { group: '', kind: 'ServiceAccount', layer: 'both', counts: 'written', namespaces: ['front'] },
];
const THEIRS = object('networking.k8s.io/v1', 'NetworkPolicy', 'theirs', { spec: SPEC, metadata: { uid: '1' } });
const HOME = {
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name: 'front', labels: { team: 'a' } },
} as KubeManifest;
const GROUND: Ground = { lists: LISTS, objects: [THEIRS, DEPLOYMENT, HOME].map(groundPart) };
const POD_LABELS = ['spec', 'template', 'metadata', 'labels'];
const CONTAINERS = ['spec', 'template', 'spec', 'containers'];
const WEB: readonly JsonObject[] = [{ name: 'web', image: 'web:1', ports: [{ containerPort: 80 }] }];
const step = (change: Change, uid?: string): DoneStep => ({
  seq: 1,
  run: 'r',
  namespace: 'front',
  phase: 'allow-list',
  step: {
    id: 's',
    namespace: 'front',
    phase: 'allow-list',
    operation: change.kind,
    title: 's',
    change,
    effects: [],
    risks: [],
  },
  change,
  ...(uid === undefined ? {} : { uid }),
  at: 0,
});
const own = (name: string, spec: JsonObject): KubeManifest =>
  object('networking.k8s.io/v1', 'NetworkPolicy', name, {
    spec,
    metadata: { labels: { 'app.kubernetes.io/managed-by': 'sallyport' } },
  });
const OURS = own('ours', { podSelector: {}, policyTypes: ['Egress'], egress: [{ to: [], ports: [{ port: 53 }] }] });
const DONE = [step(create(OURS), '7')];
const LIVE = setPath(OURS, ['metadata', 'uid'], '7') as KubeManifest;
const all = [THEIRS, DEPLOYMENT, HOME, LIVE];
const at = (of: KubeManifest, path: readonly string[], value: Json | undefined): readonly KubeManifest[] =>
  all.map((one) => (one === of ? (setPath(one, path, value) as KubeManifest) : one));
const found = (live: readonly KubeManifest[]): readonly string[] =>
  compareGround(GROUND, LISTS, DONE, live).map(({ object: name, path }) => [name, ...path].join(' '));

describe('what a step rests on', () => {
  it('is unchanged by what the API server fills in, and by edits that no connection rests on', () => {
    expect(found(all)).toEqual([]);
    expect(found(at(LIVE, ['spec', 'egress'], [{ ports: [{ port: 53, protocol: 'TCP' }] }]))).toEqual([]);
    expect(found(at(THEIRS, ['metadata', 'resourceVersion'], '9'))).toEqual([]);
    expect(found(at(THEIRS, ['metadata', 'annotations'], { note: 'x' }))).toEqual([]);
    expect(found(at(THEIRS, ['metadata', 'uid'], '2'))).toEqual([]);
    expect(found(at(LIVE, ['metadata', 'uid'], '8'))).toEqual([]);
    expect(found(at(DEPLOYMENT, ['spec', 'replicas'], 9))).toEqual([]);
    expect(found([...all, object('apps/v1', 'Deployment', 'new')])).toEqual([]);
    expect(found(all.filter((one) => one !== DEPLOYMENT))).toEqual([]);
    expect(found([...all, setPath(THEIRS, ['metadata', 'namespace'], 'elsewhere') as KubeManifest])).toEqual([]);
  });

  it.each<readonly [string, readonly KubeManifest[], readonly string[]]>([
    ['a policy of theirs is gone', all.filter((one) => one !== THEIRS), ['NetworkPolicy front/theirs']],
    ['one of ours is gone', all.filter((one) => one !== LIVE), ['NetworkPolicy front/ours']],
    [
      'ours is being deleted',
      at(LIVE, ['metadata', 'deletionTimestamp'], 'now'),
      ['NetworkPolicy front/ours metadata deletionTimestamp'],
    ],
    ['a new policy stands there', [...all, policy(SPEC)], ['NetworkPolicy front/p']],
    [
      'a rule of ours was narrowed by a field beside it',
      at(LIVE, ['spec', 'egress'], [{ ports: [{ port: 53, protocol: 'UDP' }] }]),
      ['NetworkPolicy front/ours spec egress'],
    ],
    [
      'all pods became some',
      at(LIVE, ['spec', 'podSelector'], { matchLabels: { app: 'web' } }),
      ['NetworkPolicy front/ours spec podSelector'],
    ],
    [
      'a policy of theirs isolates more',
      at(THEIRS, ['spec', 'policyTypes'], ['Ingress', 'Egress']),
      ['NetworkPolicy front/theirs spec policyTypes'],
    ],
    [
      'pods get other labels',
      at(DEPLOYMENT, ['spec', 'template', 'metadata', 'labels', 'app'], 'other'),
      ['Deployment front/web spec template metadata labels app'],
    ],
    [
      'pods run as another account',
      at(DEPLOYMENT, ['spec', 'template', 'spec', 'serviceAccountName'], 'other'),
      ['Deployment front/web spec template spec serviceAccountName'],
    ],
    [
      'pods are kept out of the mesh',
      at(DEPLOYMENT, ['spec', 'template', 'metadata', 'annotations'], { 'sidecar.istio.io/inject': 'false' }),
      ['Deployment front/web spec template metadata annotations'],
    ],
    [
      'the namespace has another label',
      at(HOME, ['metadata', 'labels', 'team'], 'b'),
      ['Namespace front metadata labels team'],
    ],
  ])('is changed where %s', (_, live, expected) => {
    expect(found(live)).toEqual(expected);
  });

  it.each<readonly [string, KubeManifest, readonly string[], Json]>([
    ['a chart that is upgraded', DEPLOYMENT, [...POD_LABELS, 'helm.sh/chart'], 'web-2'],
    ['a version', DEPLOYMENT, [...POD_LABELS, 'app.kubernetes.io/version'], '2'],
    ['a label that nothing selects by', DEPLOYMENT, [...POD_LABELS, 'owner'], 'b'],
    [
      'a container beside it, and a port that nobody names',
      DEPLOYMENT,
      CONTAINERS,
      [{ name: 'agent', ports: [{ name: 'metrics', containerPort: 9 }] }, ...WEB],
    ],
    ['a container by another name', DEPLOYMENT, CONTAINERS, [{ ...WEB[0], name: 'other' }]],
    ['Flux, on a namespace', HOME, ['metadata', 'labels', 'kustomize.toolkit.fluxcd.io/name'], 'x'],
    ['Helm by Flux, on a namespace', HOME, ['metadata', 'labels', 'helm.toolkit.fluxcd.io/name'], 'x'],
    ['Argo CD, on a namespace', HOME, ['metadata', 'labels', 'argocd.argoproj.io/instance'], 'x'],
    ['Rancher, on a namespace', HOME, ['metadata', 'labels', 'field.cattle.io/projectId'], 'p-1'],
  ])('is unchanged by %s', (_, of, path, value) => {
    expect(found(at(of, path, value))).toEqual([]);
  });

  it.each<readonly [string, JsonObject, KubeManifest, readonly string[], Json]>([
    [
      'a label that an expression names',
      { podSelector: { matchExpressions: [{ key: 'owner', operator: 'DoesNotExist' }] } },
      DEPLOYMENT,
      [...POD_LABELS, 'owner'],
      'b',
    ],
    [
      'a version that a rule names',
      { selector: 'has(version) && x == "y"' },
      DEPLOYMENT,
      [...POD_LABELS, 'version'],
      '2',
    ],
    [
      'a label in the words of Cilium',
      { endpointSelector: { matchLabels: { 'k8s:owner': 'a' } } },
      DEPLOYMENT,
      [...POD_LABELS, 'owner'],
      'b',
    ],
    [
      'a project of Rancher that a namespaceSelector names',
      { namespaceSelector: { matchLabels: { 'field.cattle.io/projectId': 'p-1' } } },
      HOME,
      ['metadata', 'labels', 'field.cattle.io/projectId'],
      'p-1',
    ],
    [
      'the same in the words of Cilium',
      { endpointSelector: { matchLabels: { 'k8s:io.cilium.k8s.namespace.labels.field.cattle.io/projectId': 'p' } } },
      HOME,
      ['metadata', 'labels', 'field.cattle.io/projectId'],
      'p-1',
    ],
    [
      'a port that a rule names',
      { ingress: [{ ports: [{ port: 'metrics' }] }] },
      DEPLOYMENT,
      CONTAINERS,
      [{ name: 'agent', ports: [{ name: 'metrics', containerPort: 9 }] }, ...WEB],
    ],
    ['a switch of the mesh, which nothing names', {}, DEPLOYMENT, [...POD_LABELS, 'istio.io/dataplane-mode'], 'none'],
  ])('is changed by %s', (_, spec, of, path, value) => {
    const rule = object('networking.k8s.io/v1', 'NetworkPolicy', 'rule', { spec });
    const live = [...at(of, path, value), rule];
    const inGround = { ...GROUND, objects: [...GROUND.objects, groundPart(rule)] };
    expect(compareGround(inGround, LISTS, DONE, live)).toMatchObject([{ ref: { name: of.metadata.name } }]);
    // A step that is to come names it as well as what stands.
    const named = compareGround(GROUND, LISTS, DONE, at(of, path, value), [], [{ change: create(rule) }]);
    expect(named).toMatchObject([{ ref: { name: of.metadata.name } }]);
  });

  it('is changed where a port is gone, or its name leads elsewhere', () => {
    expect(found(at(DEPLOYMENT, CONTAINERS, [{ name: 'web' }]))).toHaveLength(1);
    const name = (containerPort: number): Json => [{ name: 'web', ports: [{ name: 'http', containerPort }] }];
    const ground = { ...GROUND, objects: at(DEPLOYMENT, CONTAINERS, name(80)).map(groundPart) };
    expect(compareGround(ground, LISTS, [], at(DEPLOYMENT, CONTAINERS, name(80)))).toEqual([]);
    expect(compareGround(ground, LISTS, [], at(DEPLOYMENT, CONTAINERS, name(81)))).toHaveLength(1);
  });

  it('keeps what chooses the proxy of a Service, and what policies select sets by', () => {
    const service = object('v1', 'Service', 's', {
      metadata: { labels: { 'istio.io/use-waypoint': 'w', 'istio.io/use-waypoint-namespace': 'n', note: 'x' } },
    });
    expect(groundPart(service).metadata['labels']).toEqual({
      'istio.io/use-waypoint': 'w',
      'istio.io/use-waypoint-namespace': 'n',
    });
    const waypoint = object('gateway.networking.k8s.io/v1', 'Gateway', 'w', {
      metadata: { labels: { 'istio.io/waypoint-for': 'service', note: 'x' } },
      status: {},
    });
    expect(groundPart(waypoint)).toEqual({
      ...waypoint,
      status: undefined,
      metadata: { name: 'w', namespace: 'front', labels: { 'istio.io/waypoint-for': 'service' } },
    });
    const set = object('projectcalico.org/v3', 'NetworkSet', 's', { metadata: { labels: { role: 'db' } }, spec: {} });
    expect(groundPart(set).metadata['labels']).toEqual({ role: 'db' });
  });

  it('makes the same of its own part', () => {
    for (const one of all) expect(groundPart(groundPart(one))).toEqual(groundPart(one));
  });

  it('leaves out the host endpoints that Calico makes for each node', () => {
    const lists: readonly GroundList[] = [
      { group: 'projectcalico.org', kind: 'HostEndpoint', layer: 'network', counts: 'all', namespaces: [] },
    ];
    const host = (labels: JsonObject): KubeManifest => ({
      apiVersion: 'projectcalico.org/v3',
      kind: 'HostEndpoint',
      metadata: { name: 'n-1', labels },
      spec: { node: 'n-1' },
    });
    const none = { lists, objects: [] };
    const auto = host({ 'projectcalico.org/created-by': 'calico-kube-controllers' });
    expect(compareGround(none, lists, [], [auto])).toEqual([]);
    expect(compareGround(none, lists, [], [host({})])).toMatchObject([{ object: 'HostEndpoint n-1' }]);
  });

  it('shows the three versions: as planned, as the steps leave it, and now', () => {
    const done = [...DONE, step(edit(HOME, ['metadata', 'labels', 'team'], 'a', 'ours'))];
    const live = at(HOME, ['metadata', 'labels', 'team'], 'theirs');
    expect(compareGround(GROUND, LISTS, done, live)).toMatchObject([
      { object: 'Namespace front', planned: 'a', expected: 'ours', now: 'theirs', ours: true },
    ]);
  });

  it('has access of a grant end by itself', () => {
    const granted = object('networking.k8s.io/v1', 'NetworkPolicy', 'granted', {
      spec: SPEC,
      metadata: { labels: { 'sallyport.dev/grant': 'g' } },
    });
    const ground = { ...GROUND, objects: [...GROUND.objects, groundPart(granted)] };
    expect(compareGround(ground, LISTS, DONE, all)).toEqual([]);
  });

  it('counts accounts that the run made, and what a person kept of them no more', () => {
    const account = object('v1', 'ServiceAccount', 'web', {
      metadata: { labels: { 'app.kubernetes.io/managed-by': 'sallyport' } },
    });
    const done = [...DONE, step(create(account))];
    const label = ['metadata', 'labels', 'app.kubernetes.io/managed-by'];
    expect(compareGround(GROUND, LISTS, done, [...all, account])).toEqual([]);
    expect(compareGround(GROUND, LISTS, done, all)).toMatchObject([{ object: 'ServiceAccount front/web' }]);
    const theirs = setPath(account, label, 'people') as KubeManifest;
    const [one] = compareGround(GROUND, LISTS, done, [...all, theirs]);
    expect(one).toMatchObject({ object: 'ServiceAccount front/web' });
    const kept = {
      object: 'ServiceAccount front/web',
      path: one?.path ?? [],
      theirs: one?.now ?? null,
      keep: 'theirs',
      by: 't',
      at: 0,
    } as const;
    expect(compareGround(GROUND, LISTS, done, [...all, theirs], [kept])).toEqual([]);
  });

  it('is read less before a step on packets than before one on callers', () => {
    const kinds = (change: Change): readonly string[] =>
      listsFor(GROUND, { change, effects: [] }).map(({ kind }) => kind);
    expect(kinds(create(policy(SPEC)))).toEqual(['NetworkPolicy', 'Deployment', 'Namespace']);
    expect(kinds(create(allow({})))).toEqual(LISTS.map(({ kind }) => kind));
  });
});
