// What an answer to an incident does to who can connect to whom, by the evaluator, before anything is written.
import { describe, expect, it } from 'vitest';
import type { Config } from '../../src/model/config.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { View } from '../../src/engine/contract.ts';
import { effectOf } from '../../src/readiness/incident-effect.ts';
import { planBlock, parseSource } from '../../src/readiness/block.ts';
import type { BlockKind } from '../../src/readiness/block.ts';
import { planQuarantine } from '../../src/readiness/quarantine.ts';
import type { QuarantineKind, QuarantineOptions } from '../../src/readiness/quarantine.ts';
import { planRotation } from '../../src/readiness/rotate.ts';
import type { JsonObject } from '../../src/shared/pure/json.ts';
import { CONFIG, edgesOf, viewOf } from '../support/rig.ts';

const EDGES = `shop/Deployment/web -> shop/Deployment/db 5432
desk/Deployment/toolbox -> shop/Deployment/db 5432
desk/Deployment/toolbox -> shop/Deployment/web 8080`;

const deployment = (namespace: string, name: string, port: number): readonly KubeManifest[] => [
  {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace, uid: `u-${name}` },
    spec: {
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: {
          serviceAccountName: name,
          containers: [{ name: 'main', image: 'x', ports: [{ containerPort: port }] }],
        },
      },
    },
  },
  {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    metadata: {
      name: `${name}-1`,
      namespace,
      uid: `r-${name}`,
      ownerReferences: [{ apiVersion: 'apps/v1', kind: 'Deployment', name, uid: `u-${name}`, controller: true }],
    },
    spec: {
      selector: { matchLabels: { app: name, 'pod-template-hash': '1' } },
      template: { metadata: { labels: { app: name, 'pod-template-hash': '1' } }, spec: { containers: [] } },
    },
  },
  {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `${name}-1-a`,
      namespace,
      uid: `p-${name}`,
      labels: { app: name, 'pod-template-hash': '1', team: 'blue' },
      ownerReferences: [
        { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: `${name}-1`, uid: `r-${name}`, controller: true },
      ],
    },
    spec: {
      serviceAccountName: name,
      nodeName: 'n1',
      volumes: [{ name: 's', secret: { secretName: 'database' } }],
      containers: [{ name: 'main', image: 'x', ports: [{ containerPort: port }] }],
    },
    status: { phase: 'Running', podIP: name === 'web' ? '10.1.0.1' : name === 'db' ? '10.1.0.2' : '10.1.0.3' },
  },
  {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: {
      name,
      namespace,
      uid: `s-${name}`,
      annotations: name === 'web' ? { 'eks.amazonaws.com/role-arn': 'arn:aws:iam::1:role/shop-web' } : {},
    },
  },
];
const namespaceOf = (name: string): KubeManifest => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name, labels: { 'kubernetes.io/metadata.name': name } },
});
const policy = (name: string, spec: JsonObject): KubeManifest => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name, namespace: 'shop' },
  spec,
});

const OPEN_DB = policy('db', {
  podSelector: { matchLabels: { app: 'db' } },
  policyTypes: ['Ingress'],
  ingress: [{ from: [{ namespaceSelector: {} }], ports: [{ port: 5432 }] }],
});
const OPEN_ALL = policy('all', { podSelector: {}, policyTypes: ['Ingress'], ingress: [{}] });

const definition = (plural: string): KubeManifest => ({
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `${plural}.policy.networking.k8s.io` },
});
const cni = (name: string): Config => ({ ...CONFIG, cluster: { cni: { name, ipBlockMatches: [] } } });

function world(name: string, ...more: readonly KubeManifest[]): View {
  const objects = [
    ...['shop', 'desk'].map(namespaceOf),
    ...deployment('shop', 'web', 8080),
    ...deployment('shop', 'db', 5432),
    ...deployment('desk', 'toolbox', 22),
    ...more,
  ];
  return viewOf({ source: 'cluster', objects, origins: new Map(), findings: [], unread: [] }, 'shop', {
    edges: edgesOf(EDGES),
    config: cni(name),
  });
}

function quarantine(view: View, id: string, more: Partial<QuarantineOptions> = {}): ReturnType<typeof planQuarantine> {
  const workload = view.inventory.workloads.find((one) => one.id === id);
  if (workload === undefined) throw new Error(id);
  return planQuarantine(view, { workload, connections: 'report', id: 'inc-1', ...more });
}
const errors = (playbook: {
  readonly findings: readonly { readonly severity: string; readonly code: string }[];
}): readonly string[] => playbook.findings.filter(({ severity }) => severity === 'error').map(({ code }) => code);

describe('a quarantine', () => {
  it.each<readonly [string, QuarantineKind]>([
    ['cilium', 'cilium'],
    ['calico', 'calico'],
    ['calico', 'admin'],
  ])('on %s by %s cuts both directions of the workload, over every allow, and nobody else', (name, kind) => {
    const found = quarantine(world(name, OPEN_DB), 'shop/Deployment/db', { kind });
    expect(errors(found)).toEqual([]);
    expect(found.effect.cut.map(({ text }) => text).sort()).toEqual([
      expect.stringContaining('desk/Deployment/toolbox'),
      expect.stringContaining('shop/Deployment/web'),
    ]);
    expect(found.effect.beyond).toEqual([]);
    expect(found.effect.pairsBeyond).toEqual([]);
    expect(found.steps).toHaveLength(1);
  });

  it('with plain NetworkPolicy takes the pod out of what selects it, keeps its other labels, and says who lets go of it', () => {
    const found = quarantine(world('calico', OPEN_DB), 'shop/Deployment/db', { kind: 'labels' });
    expect(errors(found)).toEqual([]);
    expect(found.steps.map(({ change }) => change.kind)).toEqual(['create', 'edit']);
    const [, edit] = found.steps;
    expect(edit?.change).toMatchObject({
      ref: { kind: 'Pod', name: 'db-1-a' },
      uid: 'p-db',
      fields: [
        {
          path: ['metadata', 'labels'],
          before: { app: 'db', 'pod-template-hash': '1', team: 'blue' },
          after: { team: 'blue', 'sallyport.dev/quarantine': 'inc-1' },
        },
      ],
    });
    expect(edit?.risks[0]).toMatch(/ReplicaSet db-1 lets go of db-1-a, and makes another/u);
    expect(found.effect.cut).toHaveLength(2);
  });

  it('with plain NetworkPolicy is refused where a policy for the whole namespace allows: none can take that back', () => {
    const found = quarantine(world('calico', OPEN_ALL), 'shop/Deployment/db', { kind: 'labels' });
    expect(errors(found)).toEqual(['SP390']);
    expect(found.findings[0]?.message).toContain('NetworkPolicy shop/all');
    expect(found.steps).toEqual([]);
  });

  it.each<QuarantineKind>(['cilium', 'calico', 'labels'])(
    'by %s is not held up by the probes of nodes, which nothing can deny: it names them',
    (kind) => {
      const view = world(kind === 'cilium' ? 'cilium' : 'calico', OPEN_DB);
      const probed = { ...view, edges: edgesOf(`${EDGES}\nnode -> shop/Deployment/db 5432`) };
      const found = quarantine(probed, 'shop/Deployment/db', { kind });
      expect(errors(found)).toEqual([]);
      expect(found.remarks.join('\n')).toMatch(/1 edge on record is with nodes.*: node -> shop\/Deployment\/db/u);
      expect(found.effect.cut).toHaveLength(2);
    },
  );

  it('is refused where nothing is known to enforce it', () => {
    expect(errors(quarantine(world('other', OPEN_DB), 'shop/Deployment/db'))).toEqual(['SP390']);
  });

  it('by an admin policy is refused where callers from outside are on record, which it cannot deny', () => {
    const view = world('calico', definition('clusternetworkpolicies'));
    const outside = { ...view, edges: edgesOf(`${EDGES}\nexternal:203.0.113.9 -> shop/Deployment/db 5432`) };
    const found = quarantine(outside, 'shop/Deployment/db', { kind: 'admin' });
    expect(found.steps[0]?.change).toMatchObject({ object: { kind: 'ClusterNetworkPolicy', spec: { tier: 'Admin' } } });
    expect(errors(found)).toEqual(['SP391']);
    expect(found.effect.open.map(({ text }) => text)).toEqual([expect.stringContaining('203.0.113.9')]);
  });

  it('that drains says which pods have a proxy, that it cannot be taken back, and makes no step of it', () => {
    const plain = quarantine(world('cilium'), 'shop/Deployment/db', { connections: 'drain' });
    expect(plain.remarks.join(' ')).toContain('no pod of it has a proxy');
    const view = world('cilium');
    const objects = view.snapshot.objects.map((object) =>
      object.kind === 'Pod'
        ? {
            ...object,
            spec: {
              ...(object['spec'] as JsonObject),
              initContainers: [{ name: 'istio-proxy', restartPolicy: 'Always' }],
            },
          }
        : object,
    );
    const meshed = quarantine({ ...view, snapshot: { ...view.snapshot, objects } }, 'shop/Deployment/db', {
      connections: 'drain',
    });
    expect(meshed.remarks.join(' ')).toMatch(/1 of 1 pods have a proxy.*cannot be taken back/u);
    expect(meshed.remarks.join(' ')).not.toContain('will not start again');
    expect(meshed.steps.map(({ operation }) => operation)).toEqual(['create']);
  });

  it('deletes the pods where their connections are to end, last', () => {
    const { steps } = quarantine(world('cilium'), 'shop/Deployment/db', { connections: 'delete' });
    expect(steps.map(({ operation }) => operation)).toEqual(['create', 'delete']);
  });
});

describe('a block', () => {
  const block = (view: View, source: string, kind?: BlockKind): ReturnType<typeof planBlock> => {
    const parsed = parseSource(source);
    if (parsed === undefined) throw new Error(source);
    return planBlock(view, { source: parsed, namespace: 'shop', id: 'inc-1', ...(kind === undefined ? {} : { kind }) });
  };

  it.each<readonly [string, BlockKind, string]>([
    ['namespace:desk', 'cilium', 'cilium'],
    ['namespace:desk', 'admin', 'calico'],
  ])('of %s by %s denies that source alone, and isolates nobody', (source, kind, on) => {
    const found = block(world(on), source, kind);
    expect(errors(found)).toEqual([]);
    expect(found.effect.cut).toHaveLength(2);
    expect(found.effect.pairsBeyond).toEqual([]);
  });

  it('of an account by Cilium names the label that its endpoints carry, and cuts that account alone', () => {
    const found = block(world('cilium'), 'account:desk/toolbox', 'cilium');
    expect(errors(found)).toEqual([]);
    expect(found.effect.cut).toHaveLength(2);
    expect(found.effect.pairsBeyond).toEqual([]);
    expect(errors(block(world('cilium'), `account:desk/${'x'.repeat(64)}`, 'cilium'))).toEqual(['SP393']);
  });

  it('by an admin policy is of the newest kind that the cluster serves, and refused where it serves none', () => {
    const kindOf = (...plurals: readonly string[]): string | undefined => {
      const found = block(world('calico', ...plurals.map(definition)), 'namespace:desk', 'admin');
      const change = found.steps[0]?.change;
      return change?.kind === 'create' ? change.object.kind : errors(found)[0];
    };
    expect(kindOf()).toBe('AdminNetworkPolicy');
    expect(kindOf('adminnetworkpolicies')).toBe('AdminNetworkPolicy');
    expect(kindOf('adminnetworkpolicies', 'clusternetworkpolicies')).toBe('ClusterNetworkPolicy');
    expect(kindOf('other')).toBe('SP393');
  });

  it('by Calico is refused where the policy would isolate pods that are open to others', () => {
    expect(errors(block(world('calico'), 'namespace:desk', 'calico'))).toContain('SP392');
  });

  it.each([
    ['a namespace', 'namespace:desk', [OPEN_DB]],
    ['an address, where pods are isolated by nobody', '203.0.113.9', [OPEN_DB]],
    ['an address, where everybody is let in', '203.0.113.9', [OPEN_ALL]],
  ])('with plain NetworkPolicy of %s is refused', (_, source, policies) => {
    const found = block(world('calico', ...policies), source, 'exclude');
    expect(errors(found)).toEqual(['SP393']);
    expect(found.steps).toEqual([]);
  });

  it('with plain NetworkPolicy excepts an address from every rule that holds it', () => {
    const edge = policy('edge', {
      podSelector: {},
      policyTypes: ['Ingress'],
      ingress: [
        { from: [{ namespaceSelector: {} }, { ipBlock: { cidr: '203.0.113.0/24', except: ['203.0.113.1/32'] } }] },
      ],
    });
    const found = block(world('calico', edge), '203.0.113.9', 'exclude');
    expect(errors(found)).toEqual([]);
    expect(found.steps.map(({ change }) => change)).toMatchObject([
      {
        kind: 'edit',
        owner: 'other',
        fields: [
          {
            path: ['spec', 'ingress'],
            after: [{ from: [{}, { ipBlock: { except: ['203.0.113.1/32', '203.0.113.9/32'] } }] }],
          },
        ],
      },
    ]);
  });

  it.each(['10.0.0.0/33', '10.0.0', 'namespace:', 'account:x', 'web', '10.0.0.0/8/8', '::1/129', 'namespace:a;b'])(
    'knows no source %s',
    (text) => {
      expect(parseSource(text)).toBeUndefined();
    },
  );
});

describe('a rotation', () => {
  const token = {
    apiVersion: 'v1',
    kind: 'Secret',
    type: 'kubernetes.io/service-account-token',
    metadata: {
      name: 'web-token',
      namespace: 'shop',
      uid: 't',
      annotations: { 'kubernetes.io/service-account.name': 'web' },
    },
  } as unknown as KubeManifest;

  it('deletes the pods and the tokens of the account alone, names other Secrets, and says that there is no way back', () => {
    const found = planRotation(world('cilium', token), { namespace: 'shop', account: 'web', lastResort: false });
    expect(found.steps.map(({ change }) => change)).toMatchObject([
      { kind: 'delete', ref: { kind: 'Secret', name: 'web-token' }, uid: 't' },
      { kind: 'delete', ref: { kind: 'Pod', name: 'web-1-a' }, uid: 'p-web' },
    ]);
    expect(found.findings).toMatchObject([{ code: 'SP394', severity: 'info', subject: 'Secret shop/database' }]);
    expect(found.remarks[0]).toMatch(/cannot be taken back/u);
    expect(found.byHand[0]).toContain('--role-name shop-web');
  });

  it('deletes the account as a last resort, and refuses one that is not there', () => {
    const { steps } = planRotation(world('cilium'), { namespace: 'shop', account: 'web', lastResort: true });
    expect(steps.map(({ change }) => (change.kind === 'delete' ? change.ref.kind : ''))).toEqual([
      'ServiceAccount',
      'Pod',
    ]);
    expect(errors(planRotation(world('cilium'), { namespace: 'shop', account: 'nobody', lastResort: true }))).toEqual([
      'SP394',
    ]);
  });
});

describe('the effect on pairs', () => {
  const on = (...ports: readonly number[]): KubeManifest =>
    policy('db', {
      podSelector: { matchLabels: { app: 'db' } },
      policyTypes: ['Ingress'],
      ingress: ports.length === 0 ? [] : [{ from: [{ podSelector: {} }], ports: ports.map((port) => ({ port })) }],
    });
  const PAIR = ['shop/Deployment/web -> shop/Deployment/db'];
  it.each([
    ['other ports instead: it gains and loses', [5432], [9000], PAIR, PAIR],
    ['one more, and one less', [80, 5432], [80, 9000], PAIR, PAIR],
    ['one more', [80], [80, 9000], PAIR, []],
    ['one less', [80, 9000], [80], [], PAIR],
    ['from nothing', [], [80], PAIR, []],
    ['to nothing', [80], [], [], PAIR],
    ['the same', [80, 81], [81, 80], [], []],
  ])('%s', (_, before, after, opened, lost) => {
    const view = world('calico', on(...before));
    const effect = effectOf(view, world('calico', on(...after)).inventory, () => false);
    expect([effect.pairsOpened, effect.pairsBeyond]).toEqual([opened, lost]);
    // Of what the incident is about, losing is what is wanted; gaining never is.
    const about = effectOf(view, world('calico', on(...after)).inventory, () => true);
    expect([about.pairsOpened, about.pairsBeyond]).toEqual([opened, []]);
  });
});
