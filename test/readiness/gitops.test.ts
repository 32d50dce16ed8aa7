// What Argo CD, Flux and their kin would take back or prune, from objects as their documentation has them.
import { describe, expect, it } from 'vitest';
import type { View } from '../../src/engine/contract.ts';
import { managerOf } from '../../src/inventory/manager.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { Change } from '../../src/plan/change.ts';
import type { Step } from '../../src/plan/plan.ts';
import { gitopsGates } from '../../src/readiness/gitops-gate.ts';
import { ownerOfField, readDeployers } from '../../src/readiness/gitops.ts';
import { managedGates } from '../../src/readiness/ownership-gates.ts';
import type { JsonObject } from '../../src/shared/pure/json.ts';
import { trimManifest } from '../../src/sources/kube/index.ts';

const LABEL = ['spec', 'template', 'metadata', 'labels', 'sidecar.istio.io/inject'];
const ACCOUNT = ['spec', 'template', 'spec', 'serviceAccountName'];

function object(kind: string, name: string, metadata: JsonObject = {}, rest: JsonObject = {}): KubeManifest {
  const apiVersion =
    {
      NetworkPolicy: 'networking.k8s.io/v1',
      Namespace: 'v1',
      Application: 'argoproj.io/v1alpha1',
      Kustomization: 'kustomize.toolkit.fluxcd.io/v1',
    }[kind] ?? 'apps/v1';
  return {
    apiVersion,
    kind,
    ...rest,
    metadata: { name, ...(kind === 'Namespace' ? {} : { namespace: 'shop' }), ...metadata },
  };
}

const refOf = ({
  apiVersion,
  kind,
  metadata,
}: KubeManifest): { apiVersion: string; kind: string; name: string; namespace: string } => ({
  apiVersion,
  kind,
  name: metadata.name,
  namespace: 'shop',
});
const edit = (of: KubeManifest, paths: readonly string[][], owner: 'sallyport' | 'other' = 'other'): Change => ({
  kind: 'edit',
  ref: refOf(of),
  owner,
  fields: paths.map((path) => ({ path, before: undefined, after: 'true' })),
});
const step = (change: Change): Step => ({
  id: 'x/y',
  namespace: 'shop',
  phase: 'allow-list',
  operation: change.kind === 'create' ? 'create' : 'edit',
  title: '',
  change,
  effects: [],
  risks: [],
});
const view = (objects: readonly KubeManifest[], unread: readonly string[] = []): View =>
  ({ namespace: 'shop', snapshot: { objects, unread } }) as unknown as View;

const application = (syncPolicy: JsonObject, ...resources: readonly JsonObject[]): KubeManifest =>
  object('Application', 'shop', { namespace: 'argocd' }, { spec: { syncPolicy }, status: { resources } });
const kustomization = (spec: JsonObject, ...ids: readonly string[]): KubeManifest =>
  object(
    'Kustomization',
    'apps',
    { namespace: 'flux-system' },
    { spec, status: { inventory: { entries: ids.map((id) => ({ id, v: 'v1' })) } } },
  );

describe('marks', () => {
  it.each<readonly [string, JsonObject]>([
    ['argo-cd shop', { annotations: { 'argocd.argoproj.io/tracking-id': 'shop:apps/Deployment:shop/web' } }],
    ['argo-cd shop', { labels: { 'argocd.argoproj.io/instance': 'shop' } }],
    [
      'flux apps',
      {
        labels: { 'kustomize.toolkit.fluxcd.io/name': 'apps', 'kustomize.toolkit.fluxcd.io/namespace': 'flux-system' },
      },
    ],
    ['flux web', { labels: { 'helm.toolkit.fluxcd.io/name': 'web' } }],
    ['other Config Sync', { annotations: { 'configmanagement.gke.io/managed': 'enabled' } }],
    ['other Config Sync', { labels: { 'app.kubernetes.io/managed-by': 'configmanagement.gke.io' } }],
    ['other Fleet or another controller of Rancher', { annotations: { 'objectset.rio.cattle.io/id': 'default-shop' } }],
  ])('%s', (who, metadata) => {
    const found = managerOf(object('Deployment', 'web', metadata));
    expect(`${found?.kind} ${found?.name}`).toBe(who);
  });

  it('says nothing of an object that Config Sync was told to leave', () => {
    expect(
      managerOf(object('Deployment', 'web', { annotations: { 'configmanagement.gke.io/managed': 'disabled' } })),
    ).toBeUndefined();
  });
});

describe('an edited object with a mark', () => {
  const web = object('Deployment', 'web', {
    annotations: { 'argocd.argoproj.io/tracking-id': 'shop:apps/Deployment:shop/web' },
    managedFields: [
      {
        manager: 'argocd-controller',
        operation: 'Apply',
        fieldsType: 'FieldsV1',
        fieldsV1: {
          'f:spec': {
            'f:replicas': {},
            'f:template': { 'f:spec': { 'f:serviceAccountName': {}, 'f:containers': { 'k:{"name":"main"}': {} } } },
          },
        },
      },
      { manager: 'kube-controller-manager', operation: 'Update', subresource: 'status', fieldsV1: { 'f:status': {} } },
    ],
  });

  it('is red, with the field that its deployer owns apart from the one that it does not, and the exact remedy', () => {
    const lists = readDeployers([
      application(
        { automated: { selfHeal: true, prune: true } },
        { group: 'apps', kind: 'Deployment', namespace: 'shop', name: 'web' },
      ),
    ]);
    const [red] = managedGates(view([web]), [step(edit(web, [LABEL, ACCOUNT]))], lists);
    expect(red?.answer).toBe('no');
    expect(red?.facts.slice(1)).toEqual([
      'Application argocd/shop: selfHeal is on: an edit is taken back within seconds',
      'it owns spec.template.spec.serviceAccountName (field manager argocd-controller)',
      'it does not own spec.template.metadata.labels.sidecar.istio.io/inject: taken back only where it puts whole objects back, or once Git declares it',
    ]);
    expect(red?.fix).toContain(
      'spec.ignoreDifferences [{group: apps, kind: Deployment, name: web, namespace: shop, jsonPointers: [/spec/template/metadata/labels/sidecar.istio.io~1inject, /spec/template/spec/serviceAccountName]}] and syncPolicy.syncOptions [RespectIgnoreDifferences=true]',
    );
  });

  it('keeps of the managed fields what is asked of them, and nothing else', () => {
    const trimmed = trimManifest(web);
    expect(ownerOfField(trimmed, ACCOUNT, 'argo-cd')).toEqual({ manager: 'argocd-controller' });
    expect(ownerOfField(trimmed, LABEL, 'argo-cd')).toBe('nobody');
    expect(JSON.stringify(trimmed)).not.toContain('f:containers');
    expect(ownerOfField(object('Deployment', 'web'), ACCOUNT, 'argo-cd')).toBe('unknown');
  });

  it.each<readonly [JsonObject, string]>([
    [
      { labels: { 'kustomize.toolkit.fluxcd.io/name': 'apps' } },
      'kustomize.toolkit.fluxcd.io/ssa: Merge; for one that it does, flux suspend kustomization apps',
    ],
    [
      { labels: { 'helm.toolkit.fluxcd.io/name': 'web' } },
      'the values of HelmRelease web; or, where spec.driftDetection is on',
    ],
    [
      { annotations: { 'configmanagement.gke.io/managed': 'enabled' } },
      'client.lifecycle.config.k8s.io/mutation: ignore',
    ],
    [{ annotations: { 'objectset.rio.cattle.io/id': 'default-shop' } }, 'diff.comparePatches in fleet.yaml'],
  ])('names the remedy of each controller: %j', (metadata, remedy) => {
    const marked = object('Deployment', 'web', metadata);
    expect(managedGates(view([marked]), [step(edit(marked, [LABEL]))])[0]?.fix).toContain(remedy);
  });
});

describe('gate gitops', () => {
  const policy = object('NetworkPolicy', 'sallyport-web-ingress');
  const create = (of: KubeManifest): Step => step({ kind: 'create', object: of });
  const web = object('Deployment', 'web');

  it('leaves alone what no controller tracks, and says why', () => {
    const [met] = gitopsGates(view([web]), [create(policy)], new Map());
    expect(met?.answer).toBe('yes');
    expect(met?.facts).toEqual([
      '1 object to be created carries no mark of a GitOps controller, and no list names it: what these controllers do not track they do not prune',
    ]);
    expect(gitopsGates(view([web], ['argoproj.io/Application']), [create(policy)], new Map())[0]?.facts[1]).toContain(
      'judged by the marks on objects alone: argoproj.io/Application could not be read',
    );
  });

  it('refuses to create what would carry a mark: a copied account would be pruned', () => {
    const copy = object('ServiceAccount', 'web-own', { labels: { 'kustomize.toolkit.fluxcd.io/name': 'apps' } });
    const [red] = gitopsGates(view([]), [create(copy)], new Map());
    expect(red).toMatchObject({ answer: 'no', subject: 'ServiceAccount shop/web-own' });
    expect(red?.facts[0]).toContain('flux apps takes it for its own, and prunes what Git does not declare');
  });

  it.each<readonly [string, KubeManifest, string]>([
    [
      'Argo CD',
      application(
        {},
        { group: 'networking.k8s.io', kind: 'NetworkPolicy', namespace: 'shop', name: 'sallyport-web-ingress' },
      ),
      'Application argocd/shop already, which would write its own version over it; it syncs by hand',
    ],
    [
      'Flux',
      kustomization({ interval: '10m' }, 'shop_sallyport-web-ingress_networking.k8s.io_NetworkPolicy'),
      'Kustomization flux-system/apps already, which would write its own version over it; an edit of a field that Git declares is taken back at its next reconciliation (interval 10m)',
    ],
  ])('refuses a name that Git declares already: %s', (_who, deployer, said) => {
    const [red] = gitopsGates(view([]), [create(policy)], readDeployers([deployer]));
    expect(red?.facts[0]).toContain(said);
  });

  it('finds an object that only a list names, and one of its own that was taken into Git', () => {
    const lists = readDeployers([
      application(
        { automated: { prune: true } },
        { group: 'apps', kind: 'Deployment', namespace: 'shop', name: 'web' },
      ),
    ]);
    const [listed] = gitopsGates(view([web]), [step(edit(web, [LABEL]))], lists);
    expect(listed?.facts).toEqual([
      'carries no mark, and is listed by Application argocd/shop (on the list of Application argocd/shop)',
      'it syncs by itself, and heals nothing in between: the next commit takes an edit back',
      'to be written: spec.template.metadata.labels.sidecar.istio.io/inject',
    ]);
    const taken = object('NetworkPolicy', 'sallyport-web-ingress', {
      labels: { 'app.kubernetes.io/managed-by': 'sallyport', 'argocd.argoproj.io/instance': 'shop' },
    });
    const [red] = gitopsGates(view([taken]), [step(edit(taken, [['spec']], 'sallyport'))], new Map());
    expect(red?.facts[0]).toContain('is of Sallyport, and was taken over by argo-cd shop');
    expect(red?.fix).toContain('waive gate=gitops,subject=NetworkPolicy*shop/sallyport-web-ingress');
  });

  it('says one gate of one object: an edited object with a mark is another gate', () => {
    const marked = object('Deployment', 'web', { labels: { 'argocd.argoproj.io/instance': 'shop' } });
    expect(gitopsGates(view([marked]), [step(edit(marked, [LABEL]))], new Map())[0]?.answer).toBe('yes');
  });
});

it('keeps of an Application no values of its chart', () => {
  const trimmed = trimManifest(
    object(
      'Application',
      'shop',
      {
        namespace: 'argocd',
        annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{"password":"hunter2"}' },
      },
      {
        spec: { source: { helm: { values: 'password: hunter2' } }, syncPolicy: { automated: {} } },
        status: { resources: [{ kind: 'Service', name: 'web', namespace: 'shop' }], history: [{ source: 'hunter2' }] },
      },
    ),
  );
  expect(JSON.stringify(trimmed)).not.toContain('hunter2');
  expect(readDeployers([trimmed]).size).toBe(1);
});
