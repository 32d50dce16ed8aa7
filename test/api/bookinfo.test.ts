// The sample application on a real API server: the program as a process, the harness as the cluster's controllers.
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { connect } from '../support/apiserver/client.ts';
import { deleteNamespace, startControllers } from '../support/apiserver/controllers.ts';
import type { Controllers } from '../support/apiserver/controllers.ts';
import { listAll, nameOf, namespaceOf, pathOf, resources } from '../support/apiserver/objects.ts';
import type { Deployment, Draft, KubeObject, Pod } from '../support/apiserver/objects.ts';
import { findOrBuildKubectl } from '../support/kubectl/build.ts';
import { sallyport } from '../support/sallyport.ts';
import type { Ended, RunOptions } from '../support/sallyport.ts';

const DATA = join(import.meta.dirname, '../../../shared/data');
const FIXTURE = join(import.meta.dirname, '../fixtures/bookinfo');
const FLOWS = ['400-tcp', '10', '5-http', '330-dns'].map((name) =>
  join(DATA, 'flows/hubble', `basic-sample-${name}-flows.json`),
);
const NAMESPACE = 'bookinfo';
const GATEWAYS = 'bookinfo-ingress';
const PHASES = ['monitor', 'allow-list', 'permissive-mtls', 'strict-mtls', 'identity'];
const APPLICATION = ['details-v1', 'productpage-v1', 'ratings-v1', 'reviews-v1', 'reviews-v2', 'reviews-v3'];
const CONFIG = ['--config', join(FIXTURE, 'config.api.yaml')];
const DECIDED = [...CONFIG, '--decisions', join(FIXTURE, 'decisions.yaml')];
/** Annotations that controllers write: a rollout and its undoing count up. */
const ALLOWANCE = new Set(['deployment.kubernetes.io/revision']);

const shared = inject('apiServer');
const admin = connect(shared.admin);
const asControllers = connect(shared.controllers);
let controllers: Controllers;
let home = '';
let start: Readonly<Record<string, unknown>> = {};

interface Gate {
  readonly id: string;
  readonly answer: string;
  readonly subject: string;
  readonly facts: readonly string[];
  readonly fix: string;
}

const run = (args: readonly string[], more: Partial<RunOptions> = {}): Promise<Ended> =>
  sallyport([...args, '--kubeconfig', shared.kubeconfig], { home, ...more });
const json = ({ stdout }: Ended): Record<string, unknown> => JSON.parse(stdout) as Record<string, unknown>;

async function must(...args: readonly string[]): Promise<Ended> {
  const ended = await run(args);
  expect(ended.code, ended.stderr + ended.stdout).toBe(0);
  return ended;
}

const advance = (...args: readonly string[]): readonly string[] => [
  'advance',
  NAMESPACE,
  ...args,
  '--json',
  '--yes',
  ...DECIDED,
];
const rollback = (to: string): readonly string[] => ['rollback', NAMESPACE, '--to', to, '--json', '--yes', ...DECIDED];

/** The two files as they are, into a namespace. */
async function applySample(): Promise<void> {
  await admin.must('POST', pathOf(resources.namespaces), { metadata: { name: NAMESPACE, labels: { team: 'books' } } });
  const roots: Readonly<Record<string, readonly [string, string]>> = {
    Service: ['/api/v1', 'services'],
    ServiceAccount: ['/api/v1', 'serviceaccounts'],
    Deployment: ['/apis/apps/v1', 'deployments'],
    Gateway: ['/apis/networking.istio.io/v1', 'gateways'],
    VirtualService: ['/apis/networking.istio.io/v1', 'virtualservices'],
  };
  for (const file of ['bookinfo.yaml', 'bookinfo-gateway.yaml'])
    for (const document of parseAllDocuments(readFileSync(join(DATA, 'manifests/bookinfo', file), 'utf8'))) {
      const object = document.toJS() as Draft | null;
      if (object === null) continue;
      const [root, plural] = roots[object.kind ?? ''] ?? [];
      if (root === undefined || plural === undefined) throw new Error(`no collection of ${object.kind ?? 'nothing'}`);
      await admin.must('POST', `${root}/namespaces/${NAMESPACE}/${plural}?fieldManager=kubectl-create`, object);
    }
}

/** Istio's ingress gateway as its installer renders it: the proxy is the pod. */
async function applyGateway(): Promise<void> {
  await admin.must('POST', pathOf(resources.namespaces), { metadata: { name: GATEWAYS } });
  const labels = { app: 'istio-ingressgateway', istio: 'ingressgateway' };
  await admin.must('POST', pathOf(resources.deployments, GATEWAYS), {
    metadata: { name: 'istio-ingressgateway', labels },
    spec: {
      selector: { matchLabels: labels },
      template: {
        metadata: { labels: { ...labels, 'sidecar.istio.io/inject': 'false' } },
        spec: {
          containers: [
            {
              name: 'istio-proxy',
              image: 'docker.io/istio/proxyv2:1.29.0',
              args: ['proxy', 'router'],
              ports: [{ containerPort: 8080 }, { containerPort: 15090, name: 'http-envoy-prom' }],
            },
          ],
        },
      },
    },
  });
}

/** Every namespaced object but those that controllers make of others, and the Namespace: spec, labels, annotations and the rest. */
async function readAll(): Promise<Readonly<Record<string, unknown>>> {
  interface Group {
    readonly resources: readonly {
      readonly name: string;
      readonly kind: string;
      readonly namespaced: boolean;
      readonly verbs: readonly string[];
    }[];
  }
  const made = new Set(['Pod', 'ReplicaSet', 'EndpointSlice', 'Endpoints', 'Event', 'ControllerRevision']);
  const { groups } = (await admin.must('GET', '/apis')).body as {
    groups: readonly { readonly preferredVersion: { readonly groupVersion: string } }[];
  };
  const all: Record<string, unknown> = {};
  const keep = (kind: string, object: KubeObject): void => {
    const { metadata, ...rest } = object as KubeObject & { status?: unknown };
    delete rest.status;
    const annotations = Object.entries(metadata?.annotations ?? {}).filter(([key]) => !ALLOWANCE.has(key));
    all[`${kind}/${nameOf(object)}`] = {
      ...rest,
      labels: metadata?.labels ?? {},
      annotations: Object.fromEntries(annotations),
      owners: metadata?.ownerReferences ?? [],
      finalizers: metadata?.finalizers ?? [],
    };
  };
  for (const root of ['/api/v1', ...groups.map((group) => `/apis/${group.preferredVersion.groupVersion}`)]) {
    const { resources: kinds } = (await admin.must('GET', root)).body as Group;
    for (const { name, kind, namespaced, verbs } of kinds) {
      if (!namespaced || !verbs.includes('list') || made.has(kind)) continue;
      const { items } = (await admin.must('GET', `${root}/namespaces/${NAMESPACE}/${name}`)).body as {
        items: readonly KubeObject[];
      };
      for (const item of items) keep(kind, item);
    }
  }
  keep('Namespace', (await admin.must('GET', pathOf(resources.namespaces, undefined, NAMESPACE))).body as KubeObject);
  return all;
}

const pods = async (): Promise<Pod[]> =>
  (await listAll<Pod>(admin, resources.pods)).filter((pod) => namespaceOf(pod) === NAMESPACE);

async function podsHave(sidecar: boolean): Promise<void> {
  await controllers.settle();
  const all = await pods();
  expect(all).toHaveLength(APPLICATION.length);
  for (const pod of all) {
    const names = [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])].map(({ name }) => name);
    expect(names.includes('istio-proxy'), nameOf(pod)).toBe(sidecar);
  }
}

async function phaseOf(namespace: string): Promise<string> {
  const { namespaces } = json(await must('status', '--json')) as { namespaces: { namespace: string; phase: string }[] };
  return namespaces.find((one) => one.namespace === namespace)?.phase ?? 'none';
}

async function backToStart(): Promise<void> {
  const ended = await must(...rollback('none'));
  expect(json(ended)).toMatchObject({ outcome: 'done', phase: 'none', failed: [], notRun: [] });
  await podsHave(false);
  expect(await readAll()).toEqual(start);
}

const istio = (plural: string, name: string): string =>
  `/apis/security.istio.io/v1/namespaces/${NAMESPACE}/${plural}/${name}`;

beforeAll(async () => {
  if (!existsSync(DATA))
    throw new Error(`the real data are not at ${DATA}; these tests read them and have no substitute`);
  home = await mkdtemp(join(tmpdir(), 'sallyport-api-'));
  controllers = await startControllers(asControllers, { namespaces: [NAMESPACE, GATEWAYS] });
  await applySample();
  await applyGateway();
  await controllers.settle();
  start = await readAll();
});

afterAll(async () => {
  await controllers.stop();
  for (const namespace of [NAMESPACE, GATEWAYS]) await deleteNamespace(admin, namespace);
  admin.close();
  asControllers.close();
  await rm(home, { recursive: true, force: true });
});

describe('before anything is changed', () => {
  it('inventories the cluster, with CNI and mesh as they are', async () => {
    const { facts, workloads } = json(await must('inventory', '--json')) as {
      facts: { cni: { name: string; enforces: string }; mesh: { kind: string; mode: string } };
      workloads: { id: string; mesh: string[] }[];
    };
    expect(facts).toMatchObject({ cni: { name: 'cilium', enforces: 'yes' }, mesh: { kind: 'istio', mode: 'sidecar' } });
    const own = workloads.filter((workload) => workload.id.startsWith(`${NAMESPACE}/`));
    expect(own.map((workload) => workload.id)).toEqual(APPLICATION.map((name) => `${NAMESPACE}/Deployment/${name}`));
    expect(own.flatMap((workload) => workload.mesh)).toEqual(APPLICATION.map(() => 'none'));
  });

  it('takes the recordings', async () => {
    const seen = json(await must('observe', 'hubble', ...FLOWS, '--json'));
    expect(seen).toMatchObject({ records: 745, bad: 0, lost: 0, unattributed: {} });
  });

  it('refuses to advance without decisions, and writes nothing', async () => {
    const ended = await run(['advance', NAMESPACE, '--to', 'identity', '--json', '--yes']);
    expect(ended.code).toBe(3);
    const { gates } = json(ended) as { gates: Gate[] };
    const red = gates.filter((gate) => gate.answer !== 'yes');
    expect([...new Set(red.map((gate) => gate.id))]).toEqual(
      expect.arrayContaining(['window', 'coverage', 'review', 'soak', 'denies-observed', 'selector', 'plaintext']),
    );
    for (const gate of red) {
      expect(ended.stderr).toContain(gate.id);
      expect(gate.fix, JSON.stringify(gate)).not.toBe('');
    }
    // The gateway runs here, so its way in is known.
    expect(red.filter((gate) => gate.id === 'unknown')).toEqual([]);
    expect(await readAll()).toEqual(start);
  });

  it('suggests objects that the API server takes', async () => {
    const { items } = json(await must('suggest', NAMESPACE, '--json', ...DECIDED)) as { items: Draft[] };
    const paths: Readonly<Record<string, string>> = {
      NetworkPolicy: '/apis/networking.k8s.io/v1',
      AuthorizationPolicy: '/apis/security.istio.io/v1',
      ServiceAccount: '/api/v1',
    };
    const plurals: Readonly<Record<string, string>> = {
      NetworkPolicy: 'networkpolicies',
      AuthorizationPolicy: 'authorizationpolicies',
      ServiceAccount: 'serviceaccounts',
    };
    expect(new Set(items.map((item) => item.kind))).toEqual(new Set(Object.keys(paths)));
    expect(items.length).toBeGreaterThan(15);
    for (const item of items) {
      const path = `${paths[item.kind ?? ''] ?? ''}/namespaces/${NAMESPACE}/${plurals[item.kind ?? ''] ?? ''}/${nameOf(item)}`;
      const query = 'fieldManager=kubectl&dryRun=All&fieldValidation=Strict';
      const answer = await admin.request('PATCH', `${path}?${query}`, item, 'application/apply-patch+yaml');
      expect(answer.status, `${item.kind ?? ''} ${nameOf(item)}: ${answer.text}`).toBeLessThan(300);
    }
    expect(await readAll()).toEqual(start);
  });

  it('says that this cluster takes no policy that names the API server, instead of writing one that does nothing', async () => {
    const state = join(home, 'expressible.sqlite');
    const edge = {
      first: '2026-10-01T00:00:00Z',
      last: '2026-10-01T01:00:00Z',
      src: { workload: `${NAMESPACE}/Deployment/details-v1` },
      dst: { ip: '10.96.0.1' },
      protocol: 'TCP',
      port: 443,
      count: 10,
      verdict: 'allowed',
    };
    const file = join(home, 'edges.jsonl');
    await writeFile(file, `${JSON.stringify(edge)}\n`);
    await must('observe', 'edges', file, '--state', state);
    const { gates } = json(
      await must('plan', NAMESPACE, '--to', 'allow-list', '--json', '--state', state, ...CONFIG),
    ) as {
      gates: Gate[];
    };
    const red = gates.find((gate) => gate.id === 'expressible');
    expect(red).toMatchObject({ answer: 'no', subject: `${NAMESPACE}/Deployment/details-v1` });
    expect(red?.facts.join()).toContain('API server');
    expect(red?.fix).toMatch(/CiliumNetworkPolicy|policy kind/);
  });

  it('uses the kind of the CNI as soon as the cluster serves it', async () => {
    const definitions = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
    const name = 'ciliumnetworkpolicies.cilium.io';
    const names = { plural: 'ciliumnetworkpolicies', kind: 'CiliumNetworkPolicy' };
    // The kind alone is what matters here: its fields are left open.
    const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } };
    await admin.must('POST', definitions, {
      metadata: { name },
      spec: {
        group: 'cilium.io',
        names,
        scope: 'Namespaced',
        versions: [{ name: 'v2', served: true, storage: true, schema }],
      },
    });
    try {
      const collection = `/apis/cilium.io/v2/namespaces/${NAMESPACE}/${names.plural}`;
      await expect.poll(async () => (await admin.request('GET', collection)).status).toBe(200);
      const args = ['--json', '--state', join(home, 'expressible.sqlite'), ...CONFIG];
      const { gates } = json(await must('plan', NAMESPACE, '--to', 'allow-list', ...args)) as { gates: Gate[] };
      expect(gates.filter((gate) => gate.id === 'expressible')).toEqual([]);
      const { items } = json(await must('suggest', NAMESPACE, ...args)) as { items: Draft[] };
      const policy = items.find((item) => item.kind === names.kind);
      expect(JSON.stringify(policy)).toContain('"toEntities":["kube-apiserver"]');
    } finally {
      await admin.must('DELETE', `${definitions}/${name}`);
      await expect.poll(async () => (await admin.request('GET', `${definitions}/${name}`)).status).toBe(404);
    }
  });

  it('tells a user without rights which one is missing', async () => {
    const { kubeconfig } = shared.users['alice'] ?? { kubeconfig: '' };
    const ended = await sallyport(['inventory', '--json', '--kubeconfig', kubeconfig], { home: join(home, 'alice') });
    expect(ended.code).toBe(4);
    const { error } = json(ended) as { error: { code: string; message: string; hint: string } };
    expect(error.code).toBe('SP403');
    expect(error.message).toMatch(/you may not get namespaces in the whole cluster \(403\)/);
    expect(error.hint).toContain('kubectl auth can-i get namespaces');
  });
});

describe('through the phases', () => {
  it.each(PHASES)('reaches %s, and verifies', async (phase) => {
    const ended = json(await must(...advance()));
    expect(ended).toMatchObject({ outcome: 'done', phase, failed: [], notRun: [] });
    expect(json(await must('verify', NAMESPACE, '--json', ...DECIDED))).toMatchObject({ drift: [] });
    expect(await phaseOf(NAMESPACE)).toBe(phase);
    await podsHave(PHASES.indexOf(phase) >= PHASES.indexOf('permissive-mtls'));
  });

  it('has left every pod with a proxy, an account of its own, STRICT and named callers', async () => {
    const all = await readAll();
    for (const name of APPLICATION) {
      expect(all).toHaveProperty([`PeerAuthentication/sallyport-${name}`, 'spec', 'mtls', 'mode'], 'STRICT');
      expect(all).toHaveProperty([`AuthorizationPolicy/sallyport-${name}`, 'spec', 'action'], 'ALLOW');
      expect(all, name).toHaveProperty([`AuthorizationPolicy/sallyport-${name}`, 'annotations']);
      expect(all).not.toHaveProperty([`AuthorizationPolicy/sallyport-${name}`, 'annotations', 'istio.io/dry-run']);
      expect(all).toHaveProperty([`NetworkPolicy/sallyport-${name}-ingress`]);
    }
    const accounts = (await pods()).map((pod) => pod.spec?.serviceAccountName);
    expect(new Set(accounts).size).toBe(APPLICATION.length);
    // Users come in through the gateway, which has an identity of its own.
    expect(JSON.stringify(all['AuthorizationPolicy/sallyport-productpage-v1'])).toContain(
      `cluster.local/ns/${GATEWAYS}/sa/default`,
    );
    expect(JSON.stringify(all['NetworkPolicy/sallyport-productpage-v1-ingress'])).toContain(GATEWAYS);
    expect(Object.keys(all).filter((key) => key.startsWith('Lease/'))).toEqual([]);
  });

  it('finds what somebody changed, and is content when it is put back', async () => {
    const path = istio('peerauthentications', 'sallyport-ratings-v1');
    await admin.must('PATCH', `${path}?fieldManager=kubectl-edit`, { spec: { mtls: { mode: 'PERMISSIVE' } } });
    const found = await run(['verify', NAMESPACE, '--json', ...DECIDED]);
    expect(found.code).toBe(6);
    const { drift } = json(found) as { drift: { object: string; ours: unknown; now: unknown }[] };
    expect(drift).toHaveLength(1);
    expect(drift[0]?.object).toContain('PeerAuthentication bookinfo/sallyport-ratings-v1');
    expect(JSON.stringify(drift[0]?.now)).toContain('PERMISSIVE');
    // A field of ours that somebody changed is not overwritten.
    const refused = await run(rollback('none'));
    expect(refused.code).toBe(3);
    expect((json(refused) as { error: { where: string } }).error.where).toMatch(
      /sallyport-ratings-v1 spec: before .*ours .*STRICT.* now .*PERMISSIVE/,
    );
    await admin.must('PATCH', `${path}?fieldManager=kubectl-edit`, { spec: { mtls: { mode: 'STRICT' } } });
    await must('verify', NAMESPACE, '--json', ...DECIDED);
  });

  it('goes back to none: all is as it was, but for what controllers count', async () => {
    await backToStart();
  });

  it('goes up and back in one go', { timeout: 600_000 }, async () => {
    const ended = json(await must(...advance('--to', 'identity')));
    expect(ended).toMatchObject({ outcome: 'done', phase: 'identity', failed: [], notRun: [] });
    await podsHave(true);
    await must('verify', NAMESPACE, '--json', ...DECIDED);
    await backToStart();
  });
});

describe('when something goes wrong', () => {
  it('takes a step back whose pods do not become ready', async () => {
    await must(...advance('--to', 'allow-list'));
    await controllers.failRollouts([`${NAMESPACE}/Deployment/ratings-v1`]);
    const ended = await run(advance('--to', 'permissive-mtls'));
    expect(ended.code, ended.stderr).toBe(7);
    const { failed, notRun } = json(ended) as { failed: { step: string; error: string }[]; notRun: string[] };
    expect(failed.map((one) => one.step)).toEqual(['permissive-mtls/deployment-ratings-v1-join']);
    expect(notRun.length).toBeGreaterThan(0);
    controllers.healRollouts([`${NAMESPACE}/Deployment/ratings-v1`]);
    await controllers.settle();
    const { body } = await admin.must('GET', pathOf(resources.deployments, NAMESPACE, 'ratings-v1'));
    expect((body as Deployment).spec?.template.metadata?.labels).not.toHaveProperty(['sidecar.istio.io/inject']);
    expect(await phaseOf(NAMESPACE)).toBe('allow-list');
    await must('verify', NAMESPACE, '--json', ...DECIDED);
    // What was done stays on record: the rest follows, or all of it goes back.
    expect(json(await must(...advance('--to', 'permissive-mtls')))).toMatchObject({ phase: 'permissive-mtls' });
    await podsHave(true);
    await backToStart();
  });

  it('stops at an object that somebody else put in its place', async () => {
    await must(...advance('--to', 'monitor'));
    const name = 'sallyport-productpage-v1-egress';
    const path = `/apis/networking.k8s.io/v1/namespaces/${NAMESPACE}/networkpolicies`;
    const ended = await run(advance('--to', 'allow-list'), {
      onStderr: onceOn(/\[1\//, () => {
        void admin.must('POST', `${path}?fieldManager=kubectl-create`, {
          metadata: { name },
          spec: { podSelector: { matchLabels: { app: 'other' } }, policyTypes: ['Egress'] },
        });
      }),
    });
    expect(ended.code, ended.stderr).toBe(3);
    expect(ended.stderr).toContain(name);
    expect(await phaseOf(NAMESPACE)).toBe('monitor');
    await admin.must('DELETE', `${path}/${name}`);
    await backToStart();
  });

  it.each([9, 17, 40])('finishes after SIGKILL at step %i', async (step) => {
    const killed = await run(advance('--to', 'identity'), {
      onStderr: (text, kill) => {
        if (text.includes(`[${step}/`)) kill();
      },
    });
    expect(killed.code).toBeNull();
    const refused = await run(advance('--to', 'identity'));
    expect(refused.code).toBe(3);
    expect(refused.stderr).toContain('sallyport resume');
    expect(json(await must('resume', '--json', ...DECIDED))).toMatchObject({
      outcome: 'done',
      phase: 'identity',
      failed: [],
      notRun: [],
    });
    await podsHave(true);
    await must('verify', NAMESPACE, '--json', ...DECIDED);
    await backToStart();
  });

  it('goes back after SIGKILL as well', async () => {
    const killed = await run(advance('--to', 'identity'), {
      onStderr: (text, kill) => {
        if (text.includes('[20/')) kill();
      },
    });
    expect(killed.code).toBeNull();
    await backToStart();
  });

  it('lets one of two work at a time, on two machines and on one', async () => {
    await must(...advance('--to', 'allow-list'));
    await controllers.stop();
    let other: Promise<Ended> | undefined;
    let same: Promise<Ended> | undefined;
    const there = { home: join(home, 'elsewhere') };
    await sallyport(['observe', 'hubble', ...FLOWS, '--kubeconfig', shared.kubeconfig], there);
    // Nobody replaces pods now, so the first one waits, with its Leases, until it is killed.
    const first = await run(advance('--to', 'permissive-mtls'), {
      onStderr: onceOn(/waiting for the pods/, (kill) => {
        other = sallyport([...advance('--to', 'monitor'), '--kubeconfig', shared.kubeconfig], there);
        same = run(advance('--to', 'permissive-mtls'));
        void Promise.all([other, same]).finally(kill);
      }),
    });
    expect(first.code).toBeNull();
    const elsewhere = await other;
    expect(elsewhere?.code, elsewhere?.stderr).toBe(3);
    expect(elsewhere?.stderr).toMatch(/held|Lease/);
    const here = await same;
    expect(here?.code, here?.stderr).toBe(3);
    controllers = await startControllers(asControllers, { namespaces: [NAMESPACE, GATEWAYS] });
    await must('resume', '--json', ...DECIDED);
    await podsHave(true);
    await backToStart();
  });
});

describe('without Sallyport, or without its state', { timeout: 600_000 }, () => {
  const lost = (name: string): Partial<RunOptions> => ({ home: join(home, name) });
  let tools = '';

  /** A shell with kubectl and nothing of Sallyport's. */
  const shell = (script: string, cwd: string): Promise<{ code: number; text: string }> =>
    new Promise((resolve) => {
      const env = { PATH: `${tools}:/usr/bin:/bin`, HOME: cwd, KUBECONFIG: shared.kubeconfig };
      execFile('sh', ['-c', script], { env, cwd }, (error, stdout, stderr) =>
        resolve({ code: typeof error?.code === 'number' ? error.code : 0, text: stdout + stderr }),
      );
    });

  async function advanceOn(name: string): Promise<void> {
    const observed = await run(['observe', 'hubble', ...FLOWS, '--json'], lost(name));
    expect(observed.code, observed.stderr).toBe(0);
    const ended = await run(advance('--to', 'strict-mtls'), lost(name));
    expect(ended.code, ended.stderr).toBe(0);
    expect(json(ended)).toMatchObject({ outcome: 'done', phase: 'strict-mtls' });
    await podsHave(true);
  }

  async function isAsAtStart(): Promise<void> {
    await podsHave(false);
    expect(await readAll()).toEqual(start);
  }

  /** The record follows what was done by hand; then nothing of it is kept any more. */
  async function rebuildAndEnd(name: string): Promise<void> {
    const rebuilt = await run(['state', 'rebuild', '--json'], lost(name));
    expect(rebuilt.code, rebuilt.stderr).toBe(0);
    expect(json(rebuilt)).toMatchObject({ namespaces: [{ namespace: NAMESPACE, phase: 'strict-mtls' }] });
    const ended = await run(rollback('none'), lost(name));
    expect(ended.code, ended.stderr).toBe(0);
    await isAsAtStart();
    const maps = '/api/v1/namespaces/kube-system/configmaps?labelSelector=app.kubernetes.io/managed-by=sallyport';
    const { items } = (await admin.must('GET', maps)).body as { items: { data?: object; binaryData?: object }[] };
    expect(
      items.flatMap(({ data = {}, binaryData = {} }) => [...Object.keys(data), ...Object.keys(binaryData)]),
    ).toEqual([]);
  }

  beforeAll(() => {
    tools = findOrBuildKubectl();
  });

  it('kubectl alone takes strict mTLS back, from the folder beside a state that is gone', async () => {
    await advanceOn('laptop');
    const states = join(home, 'laptop', 'sallyport');
    const names = await readdir(states);
    const folder = names.find((name) => name.endsWith('.undo')) ?? '';
    for (const name of names) if (name !== folder) await rm(join(states, name), { recursive: true });
    const bundle = join(states, folder, NAMESPACE);
    const done = await shell('sh undo.sh', bundle);
    expect(done.code, done.text).toBe(0);
    await isAsAtStart();
    // Once more does no harm: what is back already is passed over, and said.
    expect((await shell('sh undo.sh', bundle)).code).toBe(1);
    expect(await readAll()).toEqual(start);
    await rebuildAndEnd('laptop');
  });

  it('kubectl alone takes it back from the cluster, where the laptop is gone', async () => {
    await advanceOn('stolen');
    await rm(join(home, 'stolen'), { recursive: true });
    const template = `{{range .items}}{{with .binaryData}}{{with index . "${NAMESPACE}.sh.gz"}}{{.}}{{end}}{{end}}{{end}}`;
    const get = `kubectl get configmap -n kube-system -l app.kubernetes.io/managed-by=sallyport -o go-template='${template}' | base64 -d | gunzip > undo.sh`;
    await mkdir(join(home, 'by-hand'));
    const done = await shell(`${get} && sh undo.sh`, join(home, 'by-hand'));
    expect(done.code, done.text).toBe(0);
    await isAsAtStart();
    await rebuildAndEnd('another');
  });

  it('another machine takes over from the cluster, and the first is refused from then on', async () => {
    await advanceOn('first');
    const rebuilt = await run(['state', 'rebuild', '--json'], lost('second'));
    expect(rebuilt.code, rebuilt.stderr).toBe(0);
    expect(json(await run(['verify', NAMESPACE, '--json', ...DECIDED], lost('second')))).toMatchObject({ drift: [] });
    const back = await run(rollback('allow-list'), lost('second'));
    expect(back.code, back.stderr).toBe(0);
    const late = await run(rollback('none'), lost('first'));
    expect(late.code, late.stderr).toBe(5);
    expect((json(late) as { error: { code: string } }).error.code).toBe('SP620');
    const ended = await run(rollback('none'), lost('second'));
    expect(ended.code, ended.stderr).toBe(0);
    await isAsAtStart();
  });
});

/** Calls once, when the text so far shows the pattern. */
function onceOn(pattern: RegExp, act: (kill: () => void) => void): NonNullable<RunOptions['onStderr']> {
  let done = false;
  let all = '';
  return (text, kill) => {
    all += text;
    if (done || !pattern.test(all)) return;
    done = true;
    act(kill);
  };
}
