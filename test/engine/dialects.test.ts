// Each dialect the whole way: two namespaces from monitor to identity and back, on a directory and on an API server that knows its kinds.
import { afterEach, describe, expect, it } from 'vitest';
import type { Config, Dialect } from '../../src/model/config.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { formatRef, groupOf, refOf } from '../../src/model/object.ts';
import type { PhaseName } from '../../src/model/phase.ts';
import { changeRef } from '../../src/plan/change.ts';
import { checkDrift } from '../../src/plan/drift.ts';
import type { Plan } from '../../src/plan/plan.ts';
import { buildReport } from '../../src/report/build.ts';
import { isWritten } from '../../src/sources/kube/rights.ts';
import { asObject } from '../../src/shared/pure/json.ts';
import type { JsonObject } from '../../src/shared/pure/json.ts';
import { readTree } from '../support/folder.ts';
import type { FakeKind } from '../support/fake-api/kinds.ts';
import { ADMIN_KINDS, CALICO_KINDS, CILIUM_KINDS, CLUSTER_POLICY_KINDS } from '../support/fake-api/kinds.ts';
import { edgeOf, twoTeamsEdges } from '../support/rig.ts';
import { inputOf } from '../report/worlds.ts';
import type { World } from './fault-driver.ts';
import {
  FAULT_CONFIG,
  NAMESPACES,
  makeWorld,
  objectsOf,
  openSession,
  sameObjects,
  undoneByBundles,
} from './fault-driver.ts';
import type { Place } from './images.ts';
import { keptBeside, makePlace, openPlace, readObjects, undoneByBundles as undoneInFolder } from './images.ts';

const PHASES: readonly PhaseName[] = ['monitor', 'allow-list', 'permissive-mtls', 'strict-mtls', 'identity'];

interface Words {
  readonly dialect: Dialect;
  readonly cni: string;
  readonly kinds: readonly FakeKind[];
  /** What the allow-list writes, as `group/Kind`. */
  readonly writes: readonly string[];
  /** One kind of its own, and what would widen an object of it. */
  readonly own: string;
  readonly tamper: JsonObject;
}

const NETWORK_POLICY = 'networking.k8s.io/NetworkPolicy';
const DIALECTS: Readonly<Record<string, Words>> = {
  cilium: {
    dialect: 'cilium',
    cni: 'cilium',
    kinds: CILIUM_KINDS,
    writes: ['cilium.io/CiliumNetworkPolicy', NETWORK_POLICY],
    own: 'cilium.io/CiliumNetworkPolicy',
    tamper: { endpointSelector: { matchLabels: { app: 'nobody' } } },
  },
  calico: {
    dialect: 'calico',
    cni: 'calico',
    kinds: CALICO_KINDS,
    writes: [NETWORK_POLICY, 'projectcalico.org/NetworkPolicy', 'projectcalico.org/StagedNetworkPolicy'],
    own: 'projectcalico.org/NetworkPolicy',
    tamper: { selector: "app == 'nobody'" },
  },
  admin: {
    dialect: 'admin',
    cni: 'ovn-kubernetes',
    kinds: ADMIN_KINDS,
    writes: [NETWORK_POLICY, 'policy.networking.k8s.io/AdminNetworkPolicy'],
    own: 'policy.networking.k8s.io/AdminNetworkPolicy',
    tamper: { priority: 7 },
  },
  'admin where the newer kind is served': {
    dialect: 'admin',
    cni: 'ovn-kubernetes',
    kinds: CLUSTER_POLICY_KINDS,
    writes: [NETWORK_POLICY, 'policy.networking.k8s.io/ClusterNetworkPolicy'],
    own: 'policy.networking.k8s.io/ClusterNetworkPolicy',
    tamper: { priority: 7 },
  },
};

const configOf = ({ dialect, cni }: Words): Config => ({
  ...FAULT_CONFIG,
  dialect,
  cluster: { ...FAULT_CONFIG.cluster, cni: { name: cni, ipBlockMatches: [] } },
});

const definition = ({ plural, apiVersion }: FakeKind): KubeManifest => ({
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `${plural}.${groupOf(apiVersion)}` },
});

const worldOf = (words: Words): World =>
  makeWorld({ kinds: words.kinds, objects: words.kinds.map(definition), config: configOf(words) });

const kindsOf = (plan: Plan): readonly string[] =>
  [
    ...new Set(
      plan.steps.map(({ change }) => {
        const { apiVersion, kind } = changeRef(change);
        return `${groupOf(apiVersion)}/${kind}`;
      }),
    ),
  ].sort();

/** Whatever a step writes, and its undoing, an account of the shipped roles may do. */
function expectRights({ steps }: Plan): void {
  const verbs = { create: ['create', 'delete'], edit: ['patch'], delete: ['delete', 'create'] } as const;
  for (const { change } of steps) {
    const { apiVersion, kind } = changeRef(change);
    for (const verb of verbs[change.kind])
      expect([kind, verb, isWritten(groupOf(apiVersion), kind, verb)]).toEqual([kind, verb, true]);
  }
}

const open: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

describe.each(Object.entries(DIALECTS))('the dialect %s on an API server', (_, words) => {
  it('takes two namespaces to identity and back exactly; drift, report and the bundle know its kinds', async () => {
    const world = worldOf(words);
    const session = await openSession(world, 'ann');
    open.push(
      () => session.close(),
      () => world.dispose(),
    );
    for (const to of PHASES)
      for (const namespace of NAMESPACES) {
        const plan = await session.planUp(namespace, to);
        expectRights(plan);
        if (to === 'allow-list') expect(kindsOf(plan)).toEqual(words.writes);
        expect(await session.execute(plan)).toMatchObject({ outcome: 'done', phase: to });
        const { objects } = await session.rig.target.readSnapshot();
        expect(checkDrift(session.rig.journal.applied(), objects)).toEqual([]);
        // What the plan promised is so: a second one has nothing to write.
        expect((await session.planUp(namespace, to)).steps.map(({ id }) => id)).toEqual([]);
        expect(sameObjects(undoneByBundles(world, 'ann'), world.pristineObjects)).toEqual([]);
      }
    const report = JSON.stringify(buildReport(inputOf(await session.rig.view('front'))));
    for (const kind of words.writes.map((one) => one.slice(one.indexOf('/') + 1)))
      if (kind !== 'StagedNetworkPolicy') expect(report).toContain(kind);

    // Somebody widens an object of the dialect: it is named, and the way back asks.
    const own = world.cluster.objects().find((object) => `${groupOf(object.apiVersion)}/${object.kind}` === words.own);
    if (own === undefined) throw new Error(`no ${words.own}`);
    world.cluster.put({ ...own, spec: { ...asObject(own['spec']), ...words.tamper } });
    const { objects } = await session.rig.target.readSnapshot();
    expect(checkDrift(session.rig.journal.applied(), objects).map(({ object, path }) => [object, path])).toEqual([
      [formatRef(refOf(own)), 'spec'],
    ]);
    const disputed = await Promise.all(NAMESPACES.map((namespace) => session.disputes(namespace)));
    expect(disputed.flat().map(({ object }) => object)).toContain(formatRef(refOf(own)));
    world.cluster.put({ ...own, spec: asObject(own['spec']) });

    for (const namespace of NAMESPACES)
      expect(await session.rollback(namespace, 'none')).toMatchObject({ outcome: 'done', phase: 'none' });
    expect(objectsOf(world.cluster)).toEqual(world.pristine);
    expect(world.broken).toEqual([]);
    expect(world.cluster.unexpected).toEqual([]);
  });
});

describe.each(Object.entries(DIALECTS).filter(([name]) => !name.includes('newer')))(
  'the dialect %s on a directory',
  (_, words) => {
    it('goes to identity and back to the byte, by the record and by the bundles', async () => {
      const place = makePlace();
      const start = await readTree(place.cluster);
      const pristine = await readObjects(place);
      const rig = await openPlace(place, {
        facts: { edges: twoTeamsEdges(), config: configOf(words) },
        ...keptBeside(place),
      });
      open.push(
        () => rig.close(),
        () => place.dispose(),
      );
      for (const to of PHASES)
        for (const namespace of NAMESPACES) {
          expect(await rig.advance(namespace, to)).toMatchObject({ outcome: 'done', phase: to });
          expect(checkDrift(rig.journal.applied(), await readObjects(place))).toEqual([]);
        }
      expect(undoneInFolder(place, await readObjects(place))).toEqual(pristine);
      for (const namespace of NAMESPACES) {
        await rig.rollback(namespace, 'allow-list');
        await rig.rollback(namespace, 'none');
      }
      expect(await readTree(place.cluster)).toEqual(start);
    });
  },
);

/** Rehearsals of Calico: they follow the evidence, end when the policies are enforced, and come back with the way back. */
describe('rehearsed policies', () => {
  const words = DIALECTS['calico'] as Words;
  const staged = (objects: readonly KubeManifest[]): readonly KubeManifest[] =>
    objects.filter(({ kind }) => kind === 'StagedNetworkPolicy');
  const OLD = twoTeamsEdges().filter(({ src }) => !JSON.stringify(src).includes('nightly'));
  const NEWER = edgeOf('front/Deployment/web -> back/StatefulSet/db 5432');

  it('are refreshed as the record grows, and those without a candidate go', async () => {
    const world = worldOf(words);
    open.push(() => world.dispose());
    const first = await openSession(world, 'ann', { edges: OLD });
    await first.advance('front', 'monitor');
    await first.advance('back', 'monitor');
    const before = staged(world.cluster.objects());
    expect(before.map(({ metadata }) => metadata.name)).not.toContain('sallyport-nightly-egress');
    expect((await first.planUp('front', 'monitor')).steps).toEqual([]);
    await first.close();

    const second = await openSession(world, 'ann', { edges: [...twoTeamsEdges(), NEWER] });
    const plan = await second.planUp('front', 'monitor');
    expect(plan.steps.map(({ id, operation }) => `${operation} ${id}`).sort()).toEqual([
      'create monitor/rehearse-cronjob-nightly-egress',
      'edit monitor/rehearse-deployment-web-egress',
    ]);
    expect(await second.execute(plan)).toMatchObject({ outcome: 'done', phase: 'monitor' });
    expect((await second.planUp('front', 'monitor')).steps).toEqual([]);
    await second.close();

    // A person takes the job out of the record: its rehearsal would say what nobody wants.
    const third = await openSession(world, 'ann', { edges: OLD });
    const less = await third.planUp('front', 'monitor');
    expect(less.steps.map(({ id, operation }) => `${operation} ${id}`).sort()).toEqual([
      'delete monitor/rehearsed-sallyport-nightly-egress',
      'edit monitor/rehearse-deployment-web-egress',
    ]);
    await third.execute(less);
    expect(staged(world.cluster.objects()).map(({ metadata, spec }) => [metadata.name, spec])).toEqual(
      before.map(({ metadata, spec }) => [metadata.name, spec]),
    );
    expect(sameObjects(undoneByBundles(world, 'ann'), world.pristineObjects)).toEqual([]);
    for (const namespace of NAMESPACES) await third.rollback(namespace, 'none');
    expect(objectsOf(world.cluster)).toEqual(world.pristine);
    await third.close();
  });

  it('end when the policies are enforced, come back with the way back, and end with it', async () => {
    const world = worldOf(words);
    const session = await openSession(world, 'ann');
    open.push(
      () => session.close(),
      () => world.dispose(),
    );
    await session.advance('front', 'monitor');
    const monitored = objectsOf(world.cluster);
    const rehearsed = staged(world.cluster.objects());
    expect(rehearsed.length).toBeGreaterThan(3);
    await session.advance('front', 'allow-list');
    expect(staged(world.cluster.objects())).toEqual([]);
    const { objects } = await session.rig.target.readSnapshot();
    expect(checkDrift(session.rig.journal.applied(), objects)).toEqual([]);
    expect(sameObjects(undoneByBundles(world, 'ann'), world.pristineObjects)).toEqual([]);

    expect(await session.rollback('front', 'monitor')).toMatchObject({ outcome: 'done', phase: 'monitor' });
    expect(objectsOf(world.cluster)).toEqual(monitored);
    await session.advance('front', 'allow-list');
    expect(await session.rollback('front', 'none')).toMatchObject({ outcome: 'done', phase: 'none' });
    expect(objectsOf(world.cluster)).toEqual(world.pristine);
  });

  it('are refreshed and ended in one way back, although the API server gives them a new identity', async () => {
    const world = worldOf(words);
    open.push(() => world.dispose());
    const first = await openSession(world, 'ann', { edges: OLD });
    await first.advance('front', 'monitor');
    await first.close();
    const second = await openSession(world, 'ann');
    await second.advance('front', 'monitor');
    await second.advance('front', 'allow-list');
    expect(await second.rollback('front', 'none')).toMatchObject({ outcome: 'done', phase: 'none' });
    expect(objectsOf(world.cluster)).toEqual(world.pristine);
    await second.close();
  });

  it('are not written where Calico has no such kind; nor is the tier, which it would refuse', async () => {
    const older: Words = { ...words, kinds: CALICO_KINDS.filter(({ kind }) => kind === 'NetworkPolicy') };
    const world = worldOf(older);
    const session = await openSession(world, 'ann');
    open.push(
      () => session.close(),
      () => world.dispose(),
    );
    await session.advance('front', 'monitor');
    expect(staged(world.cluster.objects())).toEqual([]);
    const plan = await session.planUp('front', 'allow-list');
    expect(JSON.stringify(plan.steps)).toContain('projectcalico.org/v3');
    expect(JSON.stringify(plan.steps)).not.toContain('"tier"');
    expect(await session.execute(plan)).toMatchObject({ outcome: 'done' });
  });

  it('of somebody else are left alone', async () => {
    const theirs: KubeManifest = {
      apiVersion: 'projectcalico.org/v3',
      kind: 'StagedNetworkPolicy',
      metadata: { name: 'try', namespace: 'front' },
      spec: { selector: 'all()', types: ['Ingress'] },
    };
    const world = makeWorld({
      kinds: words.kinds,
      objects: [...words.kinds.map(definition), theirs],
      config: configOf(words),
    });
    const session = await openSession(world, 'ann');
    open.push(
      () => session.close(),
      () => world.dispose(),
    );
    await session.advance('front', 'monitor');
    await session.advance('front', 'allow-list');
    expect(staged(world.cluster.objects()).map(({ metadata }) => metadata.name)).toEqual(['try']);
  });

  it('stand to the byte again in a directory', async () => {
    const place: Place = makePlace();
    const rig = await openPlace(place, { facts: { edges: twoTeamsEdges(), config: configOf(words) } });
    open.push(
      () => rig.close(),
      () => place.dispose(),
    );
    await rig.advance('front', 'monitor');
    const monitored = await readTree(place.cluster);
    expect(staged(await readObjects(place)).length).toBeGreaterThan(3);
    await rig.advance('front', 'allow-list');
    expect(staged(await readObjects(place))).toEqual([]);
    await rig.rollback('front', 'monitor');
    expect(await readTree(place.cluster)).toEqual(monitored);
  });
});

describe('a guard rail', () => {
  const older = DIALECTS['admin'] as Words;
  const newer = DIALECTS['admin where the newer kind is served'] as Words;
  const rails = (world: World): readonly string[] =>
    world.cluster
      .objects()
      .filter(({ kind }) => kind === 'AdminNetworkPolicy' || kind === 'ClusterNetworkPolicy')
      .map((object) => formatRef(refOf(object)));

  it('ends with the first rule for everybody, which it would deny to other namespaces, and comes back with the way back', async () => {
    const world = worldOf(older);
    open.push(() => world.dispose());
    const first = await openSession(world, 'ann');
    for (const to of ['monitor', 'allow-list'] as const) await first.advance('front', to);
    expect(rails(world)).toEqual(['AdminNetworkPolicy sallyport-front']);
    const before = objectsOf(world.cluster);
    await first.close();
    // The API server has no pods: its calls are admitted by port alone.
    const hook = edgeOf('api-server -> front/Deployment/web 8443');
    const second = await openSession(world, 'ann', { edges: [...twoTeamsEdges(), hook] });
    open.push(() => second.close());
    const plan = await second.planUp('front', 'allow-list');
    expect(plan.steps.map(({ id }) => id)).toContain('allow-list/no-guard-rail-front');
    expect(await second.execute(plan)).toMatchObject({ outcome: 'done' });
    expect(rails(world)).toEqual([]);
    expect(sameObjects(undoneByBundles(world, 'ann'), world.pristineObjects)).toEqual([]);
    expect(before).not.toEqual(objectsOf(world.cluster));
    expect(await second.rollback('front', 'none')).toMatchObject({ outcome: 'done' });
    expect(objectsOf(world.cluster)).toEqual(world.pristine);
  });

  it('moves to the newer kind where the cluster has it by now', async () => {
    const both = { ...older, kinds: [...older.kinds, ...newer.kinds] };
    const world = makeWorld({
      kinds: both.kinds,
      objects: older.kinds.map(definition),
      config: configOf(both),
    });
    open.push(() => world.dispose());
    const session = await openSession(world, 'ann');
    open.push(() => session.close());
    for (const to of ['monitor', 'allow-list'] as const) await session.advance('front', to);
    for (const kind of newer.kinds) world.cluster.put(definition(kind));
    const plan = await session.planUp('front', 'allow-list');
    expect(await session.execute(plan)).toMatchObject({ outcome: 'done' });
    expect(rails(world)).toEqual(['ClusterNetworkPolicy sallyport-front']);
  });
});
