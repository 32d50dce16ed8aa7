// What a plan writes into somebody's tree: the same bytes each time, and nothing of theirs but the field.
import { describe, expect, it } from 'vitest';
import type { KubeManifest } from '../../src/model/object.ts';
import type { Change } from '../../src/plan/change.ts';
import type { Tree, TreeLayout } from '../../src/targets/git-writes.ts';
import { layoutOf, planTreeWrites, treeHolds } from '../../src/targets/git-writes.ts';

const tree = (files: Readonly<Record<string, string>>): Tree => ({
  root: '/r',
  texts: new Map(Object.entries(files)),
  defaultNamespace: 'default',
});
const policy = (name: string, namespace = 'shop'): KubeManifest => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name, namespace, labels: { 'app.kubernetes.io/managed-by': 'sallyport' } },
  spec: { podSelector: {} },
});
const create = (object: KubeManifest): { readonly phase: string; readonly change: Change } => ({
  phase: 'allow-list',
  change: { kind: 'create', object },
});
const label = (name = 'web', namespace = 'shop'): { readonly phase: string; readonly change: Change } => ({
  phase: 'permissive-mtls',
  change: {
    kind: 'edit',
    ref: { apiVersion: 'apps/v1', kind: 'Deployment', namespace, name },
    uid: 'of the cluster',
    owner: 'other',
    fields: [{ path: ['metadata', 'labels', 'x'], before: undefined, after: 'y' }],
  },
});
const WEB =
  '# theirs\nkind: Deployment\napiVersion: apps/v1\nmetadata:\n  name: web # the shop\n  namespace: shop\n  labels: {a: "b"}\n';
const write = (
  files: Readonly<Record<string, string>>,
  step: { readonly phase: string; readonly change: Change },
  layout: TreeLayout = { kind: 'plain' },
): ReturnType<typeof planTreeWrites> => planTreeWrites(tree(files), [step], layout);

describe('a new object', () => {
  it('is a file of its namespace and phase, and the folders of Kustomize list it', () => {
    const files = { 'kustomization.yaml': 'kind: Kustomization\nresources:\n- web.yaml # x\n', 'web.yaml': WEB };
    expect(layoutOf(tree(files))).toEqual({ kind: 'kustomize' });
    const { writes, refused } = write(files, create(policy('db')), { kind: 'kustomize' });
    expect(refused).toEqual([]);
    expect(writes.map(({ file }) => file)).toEqual([
      'kustomization.yaml',
      'sallyport/kustomization.yaml',
      'sallyport/shop/allow-list/kustomization.yaml',
      'sallyport/shop/allow-list/networkpolicy-db.yaml',
      'sallyport/shop/kustomization.yaml',
    ]);
    expect(writes[0]?.text).toBe('kind: Kustomization\nresources:\n- web.yaml # x\n- sallyport\n');
    // And back: what was there is there again, to the byte.
    const after = tree({ ...files, ...Object.fromEntries(writes.map(({ file, text }) => [file, text ?? ''])) });
    const back = planTreeWrites(
      after,
      [
        {
          phase: 'allow-list',
          change: {
            kind: 'delete',
            ref: { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', namespace: 'shop', name: 'db' },
            before: policy('db'),
          },
        },
      ],
      { kind: 'kustomize' },
    );
    expect(back.refused).toEqual([]);
    expect(back.writes.find(({ file }) => file === 'kustomization.yaml')?.text).toBe(files['kustomization.yaml']);
    expect(back.writes.filter(({ text }) => text !== undefined)).toHaveLength(1);
  });

  it.each([
    ['a namespace that the kustomization would change', { 'kustomization.yaml': 'namespace: other\nresources: []\n' }],
    ['a name that the kustomization would change', { 'kustomization.yaml': 'namePrefix: a-\nresources: []\n' }],
    [
      'one that Git declares otherwise',
      {
        'kustomization.yaml': 'resources: []\n',
        'p.yaml': 'apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: db, namespace: shop}\n',
      },
    ],
  ])('is refused for %s', (_, files) => {
    const { writes, refused } = write(files, create(policy('db')), { kind: 'kustomize' });
    expect(refused).toHaveLength(1);
    expect(writes.some(({ file }) => file.includes('networkpolicy'))).toBe(false);
  });

  it('goes into a list of Helm values, whose other bytes stay, and out of it again', () => {
    const layout: TreeLayout = { kind: 'helm', file: 'values.yaml', key: 'extraObjects' };
    const values = '# mine\nreplicas: 3   # enough\n';
    const { writes } = write({ 'values.yaml': values }, create(policy('db')), layout);
    const text = writes[0]?.text ?? '';
    expect(text.startsWith(values)).toBe(true);
    expect(treeHolds(tree({ 'values.yaml': text }), create(policy('db')).change, layout)).toBe(true);
    const back = write(
      { 'values.yaml': text },
      {
        phase: 'allow-list',
        change: {
          kind: 'delete',
          ref: { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', namespace: 'shop', name: 'db' },
          before: policy('db'),
        },
      },
      layout,
    );
    expect(back.writes).toEqual([{ file: 'values.yaml', text: values }]);
    const tpl = {
      ...policy('db'),
      spec: { podSelector: { matchLabels: { a: '{{ .Values.x }}' } } },
    } as unknown as KubeManifest;
    expect(write({}, create(tpl), layout).refused[0]?.reason).toContain('{{');
    expect(write({ 'values.yaml': values }, label(), layout).refused).toHaveLength(1);
  });
});

describe('an edit of somebody’s object', () => {
  it('changes the bytes of its field alone', () => {
    const { writes, refused } = write({ 'apps/web.yaml': WEB }, label());
    expect(refused).toEqual([]);
    expect(writes).toEqual([{ file: 'apps/web.yaml', text: WEB.replace('{a: "b"}', '{a: "b", x: "y"}') }]);
  });

  it('finds an object whose namespace a kustomization gives', () => {
    const files = {
      'prod/kustomization.yaml': 'namespace: shop\nresources: [../base]\n',
      'base/kustomization.yaml': 'resources: [web.yaml]\n',
      'base/web.yaml': WEB.replace('  namespace: shop\n', ''),
    };
    expect(write(files, label()).writes.map(({ file }) => file)).toEqual(['base/web.yaml']);
  });

  it.each<readonly [string, Readonly<Record<string, string>>, RegExp]>([
    ['is not there', {}, /does not declare/u],
    ['stands in two files', { 'a.yaml': WEB, 'b.yaml': WEB }, /a\.yaml and b\.yaml/u],
    [
      'is shared by overlays',
      {
        'prod/kustomization.yaml': 'namespace: shop\nresources: [../base]\n',
        'lab/kustomization.yaml': 'namespace: lab\nresources: [../base]\n',
        'base/kustomization.yaml': 'resources: [web.yaml]\n',
        'base/web.yaml': WEB.replace('  namespace: shop\n', ''),
      },
      /several overlays/u,
    ],
    [
      'stands in a patch alone',
      { 'kustomization.yaml': 'patches: [{path: web.yaml}]\n', 'web.yaml': WEB },
      /does not declare/u,
    ],
    ['has another value there', { 'web.yaml': WEB.replace('{a: "b"}', '{x: "z"}') }, /not as in the cluster/u],
  ])('that %s is refused', (_, files, reason) => {
    const { writes, refused } = write(files, label());
    expect(writes).toEqual([]);
    expect(refused[0]?.reason).toMatch(reason);
  });
});
