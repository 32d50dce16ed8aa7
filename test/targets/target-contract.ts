// What every target promises, whatever stands behind it. Run by each target's own test file.
import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import type { Target } from '../../src/engine/contract.ts';
import type { KubeManifest, ObjectRef } from '../../src/model/object.ts';
import { refKey, refOf } from '../../src/model/object.ts';
import type { Change, FieldChange } from '../../src/plan/change.ts';
import { fieldChange, invertChange } from '../../src/plan/change.ts';
import { EXIT, Failure } from '../../src/shared/pure/errors.ts';
import type { FieldPath, Json, JsonObject } from '../../src/shared/pure/json.ts';
import { asString, getPath } from '../../src/shared/pure/json.ts';
import { compareText } from '../../src/shared/pure/order.ts';

/** A target with a world behind it that holds exactly the objects asked for, besides what the world always has. */
export interface TargetUnderTest {
  readonly target: Target;
  /** Every object in the world, read by other means than the target where there are any. */
  readAll(): Promise<readonly KubeManifest[]>;
  /** Gives the hold on a namespace (`''` for cluster-scoped objects) to another holder, behind the target's back. */
  stealLease(namespace: string, holder: string): Promise<void>;
  dispose(): Promise<void>;
}

/** The namespace comes before what stands in it. A server that gives uids of its own leaves out the given ones. */
export type MakeTarget = (objects: readonly KubeManifest[]) => Promise<TargetUnderTest>;

/**
 * The suite. Only built-in kinds that a bare API server takes are used, each test has a namespace of its own that is never
 * reused, and objects state all their defaults that matter, so that what is read can be compared with what was written.
 */
export function describeTargetContract(name: string, makeTarget: MakeTarget): void {
  describe(`target contract: ${name}`, () => {
    let opened: TargetUnderTest | undefined;
    afterEach(async () => {
      const toClose = opened;
      opened = undefined;
      await toClose?.dispose();
    });

    const start = async (build: (namespace: string) => readonly KubeManifest[] = () => []): Promise<World> => {
      const namespace = `contract-${randomBytes(5).toString('hex')}`;
      const seeded = [namespaceObject(namespace), ...build(namespace)];
      opened = await makeTarget(seeded);
      return worldOf(opened, namespace, seeded);
    };

    describe('reading', () => {
      it('lists every object once, sorted by key, as readObject gives it', async () => {
        const world = await start((namespace) => [
          deployment(namespace, 'web'),
          networkPolicy(namespace, 'allow-web'),
          serviceAccount(namespace, 'web'),
          service(namespace, 'web'),
        ]);
        const snapshot = await world.target.readSnapshot();
        const keys = snapshot.objects.map((object) => refKey(refOf(object)));
        expect(keys).toEqual([...new Set(keys)].sort(compareText));
        for (const object of world.seeded) {
          const listed = snapshot.objects.find((one) => refKey(refOf(one)) === refKey(refOf(object)));
          expect(listed).toMatchObject(essence(object));
          expect(essence(listed)).toEqual(essence(await world.target.readObject(refOf(object))));
        }
      });

      it('answers undefined for an object that does not exist', async () => {
        const world = await start();
        expect(await world.target.readObject(refOf(service(world.namespace, 'absent')))).toBeUndefined();
      });

      it('finds an object of a namespace by its namespace only', async () => {
        const world = await start((namespace) => [serviceAccount(namespace, 'web')]);
        expect(await world.target.readObject({ ...refOf(serviceAccount('default', 'web')) })).toBeUndefined();
      });
    });

    describe('create', () => {
      it.each([
        ['ServiceAccount', (namespace: string) => serviceAccount(namespace, 'fresh')],
        ['NetworkPolicy', (namespace: string) => networkPolicy(namespace, 'fresh')],
        ['Deployment', (namespace: string) => deployment(namespace, 'fresh')],
        ['Service', (namespace: string) => service(namespace, 'fresh')],
      ])('makes a %s that reads back as it was given', async (_kind, build) => {
        const world = await start();
        const object = build(world.namespace);
        const applied = await world.target.apply({ kind: 'create', object });
        expect(applied.outcome).toBe('created');
        expect(applied.live).toMatchObject(essence(object));
        expect(await world.target.readObject(refOf(object))).toMatchObject(essence(object));
        expect((await world.target.readSnapshot()).objects.map((one) => refKey(refOf(one)))).toContain(
          refKey(refOf(object)),
        );
      });

      it('makes a cluster-scoped object', async () => {
        const world = await start();
        const object = namespaceObject(`${world.namespace}-new`);
        expect((await world.target.apply({ kind: 'create', object })).outcome).toBe('created');
        expect(await world.target.readObject(refOf(object))).toMatchObject(essence(object));
      });

      it('refuses an object that exists, and writes nothing', async () => {
        const world = await start((namespace) => [serviceAccount(namespace, 'web')]);
        const object = withAnnotation(serviceAccount(world.namespace, 'web'), 'example.com/second', 'yes');
        await world.refusesWithoutWriting({ kind: 'create', object });
      });

      it('is taken back by its inverse', async () => {
        const world = await start();
        const before = await world.all();
        const create: Change = { kind: 'create', object: networkPolicy(world.namespace, 'fresh') };
        await world.target.apply(create);
        expect((await world.target.apply(invertChange(create))).outcome).toBe('deleted');
        expect(await world.all()).toEqual(before);
      });
    });

    describe('edit of an object of others', () => {
      const TEMPLATE_LABELS = ['spec', 'template', 'metadata', 'labels'];
      const cases: readonly (readonly [string, (namespace: string) => KubeManifest, FieldPath, Json | undefined])[] = [
        ['adds a label beside others', (ns) => deployment(ns, 'web'), [...TEMPLATE_LABELS, 'tier'], 'front'],
        ['replaces a label', (ns) => deployment(ns, 'web'), ['metadata', 'labels', 'app'], 'other'],
        ['removes a label', (ns) => deployment(ns, 'web'), ['metadata', 'labels', 'app'], undefined],
        ['adds the first annotation', (ns) => service(ns, 'web'), ['metadata', 'annotations', 'note'], 'one'],
        [
          'adds a map under missing parents',
          (ns) => deployment(ns, 'web'),
          ['spec', 'template', 'spec', 'securityContext', 'seccompProfile'],
          { type: 'RuntimeDefault' },
        ],
        ['replaces a number', (ns) => deployment(ns, 'web'), ['spec', 'replicas'], 3],
        ['replaces a boolean', (ns) => serviceAccount(ns, 'web'), ['automountServiceAccountToken'], false],
        ['adds a number', (ns) => deployment(ns, 'web'), [...POD, 'terminationGracePeriodSeconds'], 45],
        ['labels a cluster-scoped object', namespaceObject, ['metadata', 'labels', 'istio-injection'], 'enabled'],
        [
          'takes a key with a slash and dots',
          (ns) => deployment(ns, 'web'),
          [...TEMPLATE_LABELS, 'sidecar.istio.io/inject'],
          'true',
        ],
        [
          'takes a key with a slash and dots in annotations that exist',
          (ns) => withAnnotation(service(ns, 'web'), 'a.b/c', '1'),
          ['metadata', 'annotations', 'a.b/c.d_e'],
          'x',
        ],
        [
          'replaces an array whole',
          (ns) => networkPolicy(ns, 'allow'),
          ['spec', 'ingress'],
          [
            { from: [{ podSelector: { matchLabels: { app: 'b' } } }], ports: [{ port: 81, protocol: 'TCP' }] },
            { from: [{ namespaceSelector: { matchLabels: { team: 'x' } } }] },
          ],
        ],
        [
          'replaces a map whole',
          (ns) => networkPolicy(ns, 'allow'),
          ['spec', 'podSelector'],
          { matchLabels: { app: 'other', 'example.com/tier': 'two' } },
        ],
      ];

      it.each(cases)('%s, and its inverse restores the object', async (_title, build, path, after) => {
        const world = await start((namespace) =>
          namespace === refOf(build(namespace)).name ? [] : [build(namespace)],
        );
        const ref = refOf(build(world.namespace));
        const before = await world.all();
        const change = await world.edit(ref, [[path, after]]);
        const applied = await world.target.apply(change);
        expect(applied.outcome).toBe('configured');
        expect(getPath(applied.live, path)).toEqual(after);
        expect(getPath(await world.target.readObject(ref), path)).toEqual(after);
        expect(await world.others(ref)).toEqual(before.filter((one) => refKey(refOf(one)) !== refKey(ref)));
        expect((await world.target.apply(invertChange(change))).outcome).toBe('configured');
        expect(await world.all()).toEqual(before);
      });

      it.each(HOSTILE_TEXTS)('writes the text %j exactly, and restores it', async (text) => {
        const world = await start((namespace) => [withAnnotation(service(namespace, 'web'), 'old', text)]);
        const ref = refOf(service(world.namespace, 'web'));
        const before = await world.all();
        const change = await world.edit(ref, [
          [['metadata', 'annotations', 'new'], text],
          [['metadata', 'annotations', 'old'], 'plain'],
        ]);
        await world.target.apply(change);
        expect(getPath(await world.target.readObject(ref), ['metadata', 'annotations'])).toMatchObject({
          new: text,
          old: 'plain',
        });
        await world.target.apply(invertChange(change));
        expect(await world.all()).toEqual(before);
      });

      it('makes several fields in one write', async () => {
        const world = await start((namespace) => [deployment(namespace, 'web')]);
        const ref = refOf(deployment(world.namespace, 'web'));
        const before = await world.all();
        const change = await world.edit(ref, [
          [['spec', 'replicas'], 4],
          [[...POD, 'terminationGracePeriodSeconds'], 45],
          [['metadata', 'labels', 'app'], undefined],
          [['metadata', 'annotations', 'a/b'], 'c'],
        ]);
        const { live } = await world.target.apply(change);
        expect(live).toMatchObject({ spec: { replicas: 4 }, metadata: { annotations: { 'a/b': 'c' } } });
        expect(getPath(live, ['metadata', 'labels', 'app'])).toBeUndefined();
        await world.target.apply(invertChange(change));
        expect(await world.all()).toEqual(before);
      });

      it('undoes two edits newest first', async () => {
        const world = await start((namespace) => [deployment(namespace, 'web')]);
        const ref = refOf(deployment(world.namespace, 'web'));
        const before = await world.all();
        const first = await world.edit(ref, [[['metadata', 'annotations', 'first'], '1']]);
        await world.target.apply(first);
        const second = await world.edit(ref, [[['metadata', 'annotations', 'second'], '2']]);
        await world.target.apply(second);
        await world.target.apply(invertChange(second));
        await world.target.apply(invertChange(first));
        expect(await world.all()).toEqual(before);
      });

      it('keeps what somebody else wrote in between when it is undone', async () => {
        const world = await start((namespace) => [deployment(namespace, 'web')]);
        const ref = refOf(deployment(world.namespace, 'web'));
        const ours = await world.edit(ref, [[['metadata', 'labels', 'ours'], '1']]);
        await world.target.apply(ours);
        await world.target.apply(await world.edit(ref, [[['metadata', 'labels', 'theirs'], '2']]));
        await world.target.apply(invertChange(ours));
        expect(getPath(await world.target.readObject(ref), ['metadata', 'labels'])).toEqual({
          app: 'web',
          theirs: '2',
        });
      });

      it('refuses a field that is not as recorded, and writes nothing', async () => {
        const world = await start((namespace) => [deployment(namespace, 'web')]);
        const ref = refOf(deployment(world.namespace, 'web'));
        await world.refusesWithoutWriting({
          ...(await world.edit(ref, [])),
          fields: [
            { path: ['metadata', 'annotations'], before: undefined, after: { fine: 'yes' } },
            { path: ['spec', 'replicas'], before: 7, after: 9 },
          ],
        });
      });

      it('refuses to add a field that has come to exist, and writes nothing', async () => {
        const world = await start((namespace) => [deployment(namespace, 'web')]);
        const ref = refOf(deployment(world.namespace, 'web'));
        await world.refusesWithoutWriting({
          ...(await world.edit(ref, [])),
          fields: [{ path: ['metadata', 'labels', 'app'], before: undefined, after: 'mine' }],
        });
      });

      it('refuses to remove a field that has another value now, and writes nothing', async () => {
        const world = await start((namespace) => [deployment(namespace, 'web')]);
        const ref = refOf(deployment(world.namespace, 'web'));
        await world.refusesWithoutWriting({
          ...(await world.edit(ref, [])),
          fields: [{ path: ['metadata', 'labels', 'app'], before: 'mine', after: undefined }],
        });
      });

      it('refuses an object that was deleted and made anew, and writes nothing', async () => {
        const world = await start((namespace) => [withUid(serviceAccount(namespace, 'web'))]);
        const ref = refOf(serviceAccount(world.namespace, 'web'));
        await world.refusesWithoutWriting({
          ...(await world.edit(ref, [[['metadata', 'annotations', 'a'], 'b']])),
          uid: '99999999-9999-4999-8999-999999999999',
        });
      });

      it('refuses an object that does not exist', async () => {
        const world = await start();
        await world.refusesWithoutWriting({
          kind: 'edit',
          ref: refOf(deployment(world.namespace, 'absent')),
          owner: 'other',
          fields: [{ path: ['spec', 'replicas'], before: undefined, after: 1 }],
        });
      });

      it('reports a field that has its wanted value already as unchanged, and writes nothing', async () => {
        const world = await start((namespace) => [deployment(namespace, 'web')]);
        const ref = refOf(deployment(world.namespace, 'web'));
        const change = await world.edit(ref, [[['spec', 'replicas'], 2]]);
        await world.target.apply(change);
        const after = await world.raw();
        expect((await world.target.apply(change)).outcome).toBe('unchanged');
        expect(await world.raw()).toEqual(after);
      });
    });

    describe('own objects', () => {
      it('edits one and takes the edit back', async () => {
        const world = await start();
        const object = networkPolicy(world.namespace, 'own');
        await world.target.apply({ kind: 'create', object });
        const before = await world.all();
        const change: Change = {
          ...(await world.edit(refOf(object), [
            [['spec', 'ingress'], [{ from: [{ podSelector: {} }] }]],
            [['metadata', 'labels', 'example.com/more'], 'yes'],
            [['metadata', 'labels', 'app'], undefined],
          ])),
          owner: 'sallyport',
        };
        expect((await world.target.apply(change)).outcome).toBe('configured');
        const edited = await world.target.readObject(refOf(object));
        expect(getPath(edited, ['spec', 'ingress'])).toEqual([{ from: [{ podSelector: {} }] }]);
        expect(getPath(edited, ['metadata', 'labels'])).toEqual({ 'example.com/more': 'yes' });
        expect((await world.target.apply(invertChange(change))).outcome).toBe('configured');
        expect(await world.all()).toEqual(before);
      });

      it('refuses an edit whose field is not as recorded, and writes nothing', async () => {
        const world = await start();
        const object = networkPolicy(world.namespace, 'own');
        await world.target.apply({ kind: 'create', object });
        await world.refusesWithoutWriting({
          ...(await world.edit(refOf(object), [])),
          owner: 'sallyport',
          fields: [{ path: ['metadata', 'labels', 'app'], before: 'never', after: 'x' }],
        });
      });

      it('deletes one, which its inverse makes again', async () => {
        const world = await start();
        const object = networkPolicy(world.namespace, 'own');
        await world.target.apply({ kind: 'create', object });
        const deletion = await world.deletion(object);
        expect((await world.target.apply(deletion)).outcome).toBe('deleted');
        expect(await world.target.readObject(refOf(object))).toBeUndefined();
        expect((await world.target.apply(invertChange({ ...deletion, before: object }))).outcome).toBe('created');
        expect(await world.target.readObject(refOf(object))).toMatchObject(essence(object));
      });

      it('reports the deletion of an object that is gone already as unchanged', async () => {
        const world = await start();
        const object = networkPolicy(world.namespace, 'own');
        await world.target.apply({ kind: 'create', object });
        const deletion = await world.deletion(object);
        await world.target.apply(deletion);
        expect((await world.target.apply(deletion)).outcome).toBe('unchanged');
      });

      it('refuses to delete an object with another uid, and deletes nothing', async () => {
        const world = await start((namespace) => [withUid(serviceAccount(namespace, 'web'))]);
        const object = serviceAccount(world.namespace, 'web');
        await world.refusesWithoutWriting({
          ...(await world.deletion(object)),
          uid: '99999999-9999-4999-8999-999999999999',
        });
      });
    });

    describe('rehearse', () => {
      it('takes a create, an edit and a delete without writing', async () => {
        const world = await start((namespace) => [deployment(namespace, 'web')]);
        const own = networkPolicy(world.namespace, 'own');
        await world.target.apply({ kind: 'create', object: own });
        const deletion = await world.deletion(own);
        const edit = await world.edit(refOf(deployment(world.namespace, 'web')), [
          [['metadata', 'annotations', 'a/b'], 'c'],
        ]);
        const before = await world.raw();
        await world.target.rehearse({ kind: 'create', object: networkPolicy(world.namespace, 'fresh') });
        await world.target.rehearse(edit);
        await world.target.rehearse(deletion);
        expect(await world.raw()).toEqual(before);
      });

      it('refuses what apply would refuse', async () => {
        const world = await start((namespace) => [deployment(namespace, 'web')]);
        const live = await world.edit(refOf(deployment(world.namespace, 'web')), []);
        await expectRefusal(world.target.rehearse({ kind: 'create', object: deployment(world.namespace, 'web') }));
        await expectRefusal(
          world.target.rehearse({ ...live, fields: [{ path: ['spec', 'replicas'], before: 7, after: 9 }] }),
        );
      });
    });

    describe('leases', () => {
      it('keeps another holder out until it is released', async () => {
        const world = await start();
        const hold = await world.target.acquire([world.namespace], 'first@here');
        await expectRefusal(world.target.acquire([world.namespace], 'second@there'), /first@here/);
        await hold.assertHeld();
        await hold.release();
        const next = await world.target.acquire([world.namespace], 'second@there');
        await next.assertHeld();
        await next.release();
      });

      it('holds cluster-scoped objects under the empty name', async () => {
        const world = await start();
        const hold = await world.target.acquire(['', world.namespace], 'first@here');
        await expectRefusal(world.target.acquire([''], 'second@there'), /first@here/);
        await hold.release();
        await (await world.target.acquire([''], 'second@there')).release();
      });

      it('takes none when one of several is held', async () => {
        const world = await start((namespace) => [
          namespaceObject(`${namespace}-a`),
          namespaceObject(`${namespace}-b`),
        ]);
        const [a, b] = [`${world.namespace}-a`, `${world.namespace}-b`];
        const hold = await world.target.acquire([b], 'first@here');
        await expectRefusal(world.target.acquire([a, b], 'second@there'));
        await (await world.target.acquire([a], 'third@there')).release();
        await hold.release();
      });

      it('says so when a hold was lost', async () => {
        const world = await start();
        const hold = await world.target.acquire([world.namespace], 'first@here');
        await world.stealLease(world.namespace, 'thief@there');
        await expectRefusal(hold.assertHeld());
        await hold.release();
        await expectRefusal(world.target.acquire([world.namespace], 'first@here'), /thief@there/);
      });

      it('leaves no trace among the objects', async () => {
        const world = await start();
        const before = await world.all();
        await (await world.target.acquire([world.namespace, ''], 'first@here')).release();
        expect(await world.all()).toEqual(before);
      });
    });
  });
}

const POD: FieldPath = ['spec', 'template', 'spec'];

/** Annotation values that writers of YAML, JSON and patches get wrong. */
const HOSTILE_TEXTS = [
  '',
  'true',
  'null',
  '~',
  '007',
  '1e3',
  '0x1f',
  '.inf',
  '2024-01-01',
  ' padded ',
  'a: b',
  'a #b',
  '- item',
  '*alias',
  '&anchor',
  '!tag',
  '{{ template }}',
  'it\'s "quoted" \\ back',
  'two\nlines\n',
  'tab\there',
  'ünïcödé 🚪 \u2028',
  '~0 ~1 /a',
  '---\nkind: Secret',
] as const;

function namespaceObject(name: string): KubeManifest {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name } };
}

function serviceAccount(namespace: string, name: string): KubeManifest {
  return {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name, namespace },
    automountServiceAccountToken: true,
  };
}

function service(namespace: string, name: string): KubeManifest {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace, labels: { app: name } },
    spec: {
      type: 'ClusterIP',
      clusterIP: 'None',
      selector: { app: name },
      ports: [{ name: 'http', port: 80, targetPort: 8080, protocol: 'TCP' }],
    },
  };
}

function networkPolicy(namespace: string, name: string): KubeManifest {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace, labels: { app: 'web' } },
    spec: {
      podSelector: { matchLabels: { app: 'web' } },
      policyTypes: ['Ingress'],
      ingress: [{ from: [{ podSelector: { matchLabels: { app: 'a' } } }], ports: [{ port: 80, protocol: 'TCP' }] }],
    },
  };
}

function deployment(namespace: string, name: string): KubeManifest {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace, labels: { app: name } },
    spec: {
      replicas: 1,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: {
          containers: [
            { name: 'main', image: 'registry.example/web:1', ports: [{ containerPort: 8080, protocol: 'TCP' }] },
          ],
        },
      },
    },
  };
}

function withAnnotation(object: KubeManifest, key: string, value: string): KubeManifest {
  return { ...object, metadata: { ...object.metadata, annotations: { [key]: value } } };
}

/** In a directory the file states the uid; an API server gives one of its own. */
function withUid(object: KubeManifest): KubeManifest {
  return { ...object, metadata: { ...object.metadata, uid: '11111111-1111-4111-8111-111111111111' } };
}

const VOLATILE = ['resourceVersion', 'generation', 'managedFields', 'uid', 'creationTimestamp', 'selfLink'];

/** An object without what a server writes by itself. */
function essence(object: KubeManifest | undefined): JsonObject {
  if (object === undefined) throw new Error('the object is not there');
  return {
    ...Object.fromEntries(Object.entries(object).filter(([key]) => key !== 'status')),
    metadata: Object.fromEntries(Object.entries(object.metadata).filter(([key]) => !VOLATILE.includes(key))),
  };
}

async function expectRefusal(attempt: Promise<unknown>, message?: RegExp): Promise<void> {
  const error: unknown = await attempt.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(Failure);
  if (!(error instanceof Failure)) return;
  expect(error.detail.exit).toBe(EXIT.refused);
  expect(error.detail.code).toMatch(/^SP[4-6]\d\d$/);
  if (message !== undefined) expect(error.message).toMatch(message);
}

type Edit = Extract<Change, { kind: 'edit' }>;
type Deletion = Extract<Change, { kind: 'delete' }>;

interface World {
  readonly target: Target;
  readonly namespace: string;
  readonly seeded: readonly KubeManifest[];
  /** All objects of the test's namespaces, in order, without what a server writes by itself. */
  all(): Promise<readonly KubeManifest[]>;
  others(ref: ObjectRef): Promise<readonly KubeManifest[]>;
  /** The same with every byte, resourceVersion included: equal means nothing was written. */
  raw(): Promise<readonly KubeManifest[]>;
  /** An edit of the object as it is now, before-images included. */
  edit(ref: ObjectRef, fields: readonly (readonly [FieldPath, Json | undefined])[]): Promise<Edit>;
  deletion(object: KubeManifest): Promise<Deletion>;
  refusesWithoutWriting(change: Change): Promise<void>;
  stealLease(namespace: string, holder: string): Promise<void>;
}

function worldOf(under: TargetUnderTest, namespace: string, seeded: readonly KubeManifest[]): World {
  const { target } = under;
  const raw = async (): Promise<readonly KubeManifest[]> =>
    (await under.readAll())
      .filter(({ metadata, kind }) =>
        kind === 'Lease' ? false : (asString(metadata['namespace']) ?? metadata.name).startsWith(namespace),
      )
      .map((object) => ({ object, key: refKey(refOf(object)) }))
      .sort((a, b) => compareText(a.key, b.key))
      .map(({ object }) => object);
  const all = async () => (await raw()).map((object) => essence(object) as KubeManifest);
  const live = async (ref: ObjectRef): Promise<KubeManifest> => {
    const object = await target.readObject(ref);
    if (object === undefined) throw new Error(`${refKey(ref)} is not there`);
    return object;
  };
  const uidOf = (object: KubeManifest) => {
    const uid = object.metadata['uid'];
    return typeof uid === 'string' ? { uid } : {};
  };
  return {
    target,
    namespace,
    seeded,
    all,
    raw,
    others: async (ref) => (await all()).filter((object) => refKey(refOf(object)) !== refKey(ref)),
    edit: async (ref, fields) => {
      const object = await live(ref);
      const changes = fields.map(([path, after]) => fieldChange(object, path, after));
      return {
        kind: 'edit',
        ref,
        ...uidOf(object),
        owner: 'other',
        fields: changes.filter((change): change is FieldChange => change !== undefined),
      };
    },
    deletion: async (object) => {
      const before = await live(refOf(object));
      return { kind: 'delete', ref: refOf(object), ...uidOf(before), before };
    },
    refusesWithoutWriting: async (change) => {
      const before = await raw();
      await expectRefusal(target.apply(change));
      expect(await raw()).toEqual(before);
    },
    stealLease: (of, holder) => under.stealLease(of, holder),
  };
}
