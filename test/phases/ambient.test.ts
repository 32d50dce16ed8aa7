// A namespace of an ambient mesh: its allow-list opens port 15008, and what that takes is given back before it does.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { Config } from '../../src/model/config.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { checkDrift } from '../../src/plan/drift.ts';
import { tunnelGates } from '../../src/readiness/tunnel-gates.ts';
import { keptBeside, makePlace, openPlace, readObjects, undoneByBundles } from '../engine/images.ts';
import { readTree } from '../support/folder.ts';
import { CONFIG, edgeOf, edgesOf } from '../support/rig.ts';

const config: Config = {
  ...CONFIG,
  cluster: {
    ...CONFIG.cluster,
    mesh: { ...CONFIG.cluster.mesh, mode: 'ambient' } as NonNullable<Config['cluster']['mesh']>,
  },
};
const EDGES = edgesOf(`
front/Deployment/web -> back/Deployment/api 8080
front/Deployment/worker -> back/Deployment/api 8080
front/Deployment/web -> front/Deployment/worker 9000
front/CronJob/nightly -> back/StatefulSet/db 5432
back/Deployment/api -> back/StatefulSet/db 5432
`);

const ZTUNNEL = `apiVersion: apps/v1
kind: DaemonSet
metadata: {name: ztunnel, namespace: istio-system, labels: {app: ztunnel}}
spec:
  selector: {matchLabels: {app: ztunnel}}
  template:
    metadata: {labels: {app: ztunnel, sidecar.istio.io/inject: "false"}}
    spec:
      serviceAccountName: ztunnel
      containers: [{name: istio-proxy, image: "docker.io/istio/ztunnel:1.29.1"}]
`;

const open: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

/** A run of front/CronJob/nightly, and its pod. */
const runOf = (account: string, phase: string): string => `apiVersion: batch/v1
kind: Job
metadata:
  name: nightly-1
  namespace: front
  ownerReferences: [{apiVersion: batch/v1, kind: CronJob, name: nightly, uid: u1, controller: true}]
spec: {template: {spec: {serviceAccountName: ${account}, containers: [{name: main, image: i}]}}}
---
apiVersion: v1
kind: Pod
metadata:
  name: nightly-1-x
  namespace: front
  annotations: {ambient.istio.io/redirection: enabled}
  labels: {app: nightly}
  ownerReferences: [{apiVersion: batch/v1, kind: Job, name: nightly-1, uid: u2, controller: true}]
spec: {serviceAccountName: ${account}, containers: [{name: main, image: i}]}
status: {phase: ${phase}, podIP: 10.9.9.9}
`;

/** A waypoint of namespace back, with its pods as istiod makes them. */
const WAYPOINT = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: back}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: waypoint, namespace: back}
spec:
  selector: {matchLabels: {gateway.networking.k8s.io/gateway-name: waypoint}}
  template:
    metadata: {labels: {gateway.networking.k8s.io/gateway-name: waypoint, istio.io/dataplane-mode: none, sidecar.istio.io/inject: "false"}}
    spec:
      serviceAccountName: waypoint
      containers: [{name: istio-proxy, image: "docker.io/istio/proxyv2:1.29.1", ports: [{containerPort: 15008}]}]
`;

async function ambient(edges = EDGES, waypoint = false) {
  const place = makePlace();
  for (const name of ['front', 'back']) {
    const file = join(place.cluster, `${name}.yaml`);
    const text = readFileSync(file, 'utf8');
    writeFileSync(
      file,
      text.replace(
        `labels: {kubernetes.io/metadata.name: ${name}}`,
        `labels: {kubernetes.io/metadata.name: ${name}, istio.io/dataplane-mode: ambient${waypoint && name === 'back' ? ', istio.io/use-waypoint: waypoint' : ''}}`,
      ),
    );
  }
  writeFileSync(join(place.cluster, 'ztunnel.yaml'), ZTUNNEL);
  if (waypoint) writeFileSync(join(place.cluster, 'waypoint.yaml'), WAYPOINT);
  const rig = await openPlace(place, { facts: { edges, config }, ...keptBeside(place) });
  open.push(
    () => rig.close(),
    () => place.dispose(),
  );
  return { place, rig };
}

describe('the allow-list of a namespace in ambient mode', () => {
  it('admits into tunnels before it opens them, verifies, and goes back to the byte', async () => {
    const { place, rig } = await ambient();
    const start = await readTree(place.cluster);
    const pristine = await readObjects(place);
    for (const namespace of ['front', 'back']) {
      await rig.advance(namespace, 'monitor');
      const plan = await rig.planUp(namespace, 'allow-list');
      const ids = plan.steps.map(({ id }) => id);
      for (const [index, id] of ids.entries()) {
        const tunnels = /^allow-list\/tunnels-[a-z]+-(.+)$/u.exec(id)?.[1];
        if (tunnels !== undefined) expect(ids.indexOf(`allow-list/${tunnels}-ingress`)).toBeGreaterThan(index);
      }
      expect(ids.some((id) => id.startsWith(`allow-list/tunnels-${namespace}-`))).toBe(true);
      expect(await rig.advance(namespace, 'allow-list')).toMatchObject({ outcome: 'done', phase: 'allow-list' });
      const view = await rig.view(namespace);
      expect(tunnelGates(view).map(({ answer }) => answer)).toEqual(['yes']);
      expect(checkDrift(rig.journal.applied(), await readObjects(place))).toEqual([]);
    }
    const written = JSON.stringify(await readObjects(place));
    expect(written).toContain('15008');
    expect(written).toContain('cluster.local/ns/front/sa/default');
    expect(undoneByBundles(place, await readObjects(place))).toEqual(pristine);
    for (const namespace of ['front', 'back']) await rig.rollback(namespace, 'none');
    expect(await readTree(place.cluster)).toEqual(start);
  });

  it('admits a new caller by its account first, then by NetworkPolicy', async () => {
    const { place, rig } = await ambient();
    for (const to of ['monitor', 'allow-list'] as const) await rig.advance('back', to);
    await rig.close();
    open.length = 0;
    const more = [...EDGES, edgeOf('front/Deployment/worker -> back/StatefulSet/db 5432')];
    const later = await openPlace(place, { facts: { edges: more, config } });
    open.push(
      () => later.close(),
      () => place.dispose(),
    );
    const { steps } = await later.planUp('back', 'allow-list');
    expect(steps.map(({ id }) => id)).toEqual([
      'allow-list/tunnels-back-statefulset-db',
      'allow-list/statefulset-db-ingress',
    ]);
  });

  it('admits the account of a run under way as long as it runs, though new ones have another', async () => {
    const { place, rig } = await ambient();
    const front = join(place.cluster, 'front.yaml');
    expect(readFileSync(front, 'utf8')).toContain('nightly');
    const principals = async (phase: string): Promise<readonly string[]> => {
      writeFileSync(join(place.cluster, 'run.yaml'), runOf('before', phase));
      const { steps } = await rig.planUp('back', 'allow-list');
      const step = steps.find(({ id }) => id === 'allow-list/tunnels-back-statefulset-db');
      return [...JSON.stringify(step?.change).matchAll(/ns\/front\/sa\/([a-z-]+)/gu)]
        .map(([, name]) => name ?? '')
        .sort();
    };
    await rig.advance('back', 'monitor');
    expect(await principals('Running')).toContain('before');
    expect(await principals('Running')).toHaveLength(2);
    expect(await principals('Succeeded')).not.toContain('before');
  });

  it('a move to another account goes on admitting the one of a run under way, in every state of the plan and in later plans', async () => {
    const { place, rig } = await ambient();
    const front = join(place.cluster, 'front.yaml');
    writeFileSync(
      front,
      readFileSync(front, 'utf8').replace('serviceAccountName: nightly', 'serviceAccountName: default'),
    );
    writeFileSync(join(place.cluster, 'run.yaml'), runOf('default', 'Running'));
    for (const namespace of ['back', 'front'])
      for (const to of ['monitor', 'allow-list'] as const) await rig.advance(namespace, to);
    const plan = await rig.planUp('front', 'identity');
    expect(plan.steps.map(({ id }) => id)).toContain('identity/cronjob-nightly-migrate');
    expect(plan.denied).toEqual([]);
    const db = (steps: readonly { readonly change: unknown; readonly id: string }[]): readonly string[] =>
      steps
        .filter(({ id }) => id.includes('nightly') && id.endsWith('-tunnels'))
        .map(({ change }) => JSON.stringify(change));
    const last = db(plan.steps).at(-1) ?? '';
    expect(last).toContain('ns/front/sa/nightly');
    expect(last).toContain('ns/front/sa/default');
  });

  it('asks a person where one account calls on different ports', async () => {
    const { rig } = await ambient([...EDGES, edgeOf('front/Deployment/worker -> back/Deployment/api 9090')]);
    await rig.advance('back', 'monitor');
    const { gates } = await rig.planUp('back', 'allow-list');
    const red = gates.find(({ id }) => id === 'expressible');
    expect(red).toMatchObject({ answer: 'no', subject: 'back/Deployment/api' });
    expect(red?.facts[0]).toContain('share the account cluster.local/ns/front/sa/default');
  });
});

describe('with a waypoint before its Services', () => {
  const REQUESTS = [...EDGES, edgeOf('front/Deployment/web -> back/Deployment/api 8080 GET /orders')];
  const policy = (objects: readonly KubeManifest[], name: string): string =>
    JSON.stringify(
      objects.find(({ kind, metadata }) => kind === 'AuthorizationPolicy' && metadata.name === name)?.['spec'],
    );

  it('callers are admitted at the waypoint and the waypoint at the server, and all goes back to the byte', async () => {
    const { place, rig } = await ambient(EDGES, true);
    const start = await readTree(place.cluster);
    await rig.advance('back', 'monitor');
    const ids = (await rig.planUp('back', 'allow-list')).steps.map(({ id }) => id);
    const order = ['waypoint-back-sallyport-api-waypoint', 'tunnels-back-deployment-api', 'deployment-api-ingress'];
    const places = order.map((id) => ids.indexOf(`allow-list/${id}`));
    expect(places).toEqual([...places].sort((a, b) => a - b));
    expect(places).not.toContain(-1);
    expect(await rig.advance('back', 'allow-list')).toMatchObject({ outcome: 'done', phase: 'allow-list' });
    const objects = await readObjects(place);
    expect(policy(objects, 'sallyport-api-waypoint')).toBe(
      '{"targetRefs":[{"group":"","kind":"Service","name":"api"}],"action":"ALLOW","rules":[{"from":[{"source":{"principals":["cluster.local/ns/front/sa/default"]}}],"to":[{"operation":{"ports":["80","8080"]}}]}]}',
    );
    const atServer = policy(objects, 'sallyport-api-tunnels');
    expect(atServer).toContain('cluster.local/ns/back/sa/waypoint');
    // Who dials the address of a pod comes as itself.
    expect(atServer).toContain('cluster.local/ns/front/sa/default');
    const opened = JSON.stringify(
      objects.find(({ kind, metadata }) => kind === 'NetworkPolicy' && metadata.name === 'sallyport-api-ingress')?.[
        'spec'
      ],
    );
    expect(opened.match(/15008/gu)?.length).toBeGreaterThan(1);
    // The waypoint itself is reached through its tunnel port by those callers, and reaches the server, istiod and names.
    const written = objects.filter(({ metadata }) => metadata.name.startsWith('sallyport-waypoint-'));
    expect(written.map(({ metadata }) => metadata.name).sort()).toEqual([
      'sallyport-waypoint-egress',
      'sallyport-waypoint-ingress',
    ]);
    expect(tunnelGates(await rig.view('back')).map(({ answer }) => answer)).toEqual(['yes']);
    await rig.rollback('back', 'none');
    expect(await readTree(place.cluster)).toEqual(start);
  });

  it('the phase identity names methods and paths there, and a plan of today does not widen them again', async () => {
    const { place, rig } = await ambient(REQUESTS, true);
    for (const to of ['monitor', 'allow-list'] as const) await rig.advance('back', to);
    const { steps, gates } = await rig.planUp('back', 'identity');
    // The proxy of the waypoint is no sidecar: no policy selects it, and the namespace is given no default that ztunnel would act on.
    expect(steps.map(({ id }) => id).filter((id) => /default-deny|deployment-waypoint/u.test(id))).toEqual([]);
    // Who is in ambient mode takes no sidecar; that it goes on at all is asked of a person.
    expect(JSON.stringify(steps)).not.toMatch(/istio-injection|sidecar\.istio\.io\/inject/u);
    expect(gates.filter(({ id }) => id === 'mesh').map(({ answer }) => answer)).toContain('unknown');
    expect(gates.find(({ id, answer }) => id === 'expressible' && answer === 'no')).toMatchObject({
      subject: 'back/Deployment/api',
      facts: [expect.stringContaining('whoever dials the address of a pod goes past it') as string],
    });
    const narrowed = steps.find(({ id }) => id === 'identity/deployment-api-sallyport-api-waypoint');
    expect(JSON.stringify(narrowed?.change)).toContain('/orders');
    expect(narrowed?.title).toContain('not proven on packets');
    // A namespace whose callers move to accounts of their own: they are admitted under both before they move.
    await rig.advance('front', 'monitor');
    const moves = (await rig.planUp('front', 'identity')).steps;
    const at = (part: string): number => moves.findIndex(({ id }) => id.includes(part));
    expect(at('web-expand-back-sallyport-api-waypoint')).toBeGreaterThan(-1);
    expect(at('web-migrate')).toBeGreaterThan(at('web-expand-back-sallyport-api-waypoint'));
    // The old one is forgotten by the last of those that share it.
    expect(at('contract-back-sallyport-api-waypoint')).toBeGreaterThan(at('web-migrate'));
    expect(JSON.stringify(moves[at('web-expand-back-sallyport-api-waypoint')]?.change)).toContain('ns/front/sa/web');
    expect(policy(await readObjects(place), 'sallyport-api-waypoint')).not.toContain('/orders');
  });
});
