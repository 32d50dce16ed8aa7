import { describe, expect, it } from 'vitest';
import { checkPolicies, isIsolated, podSetsSelected, workloadsSelected } from '../../src/model/evaluate.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { Json, JsonObject } from '../../src/shared/pure/json.ts';
import { AGENT, CLUSTER, DB, WEB, clusterWith } from '../support/policy-table.ts';
import type { InventorySketch } from '../support/world.ts';
import { inventoryOf, manifest, networkPolicy } from '../support/world.ts';

const V3 = 'projectcalico.org/v3';
const app = (name: string): JsonObject => ({ matchLabels: { app: name } });
const np = (name: string, spec: JsonObject): KubeManifest => networkPolicy(`shop/${name}`, spec);
const cil = (spec: JsonObject): KubeManifest =>
  manifest('cilium.io/v2', 'CiliumNetworkPolicy', 'shop/c', { endpointSelector: app('db'), ...spec });
const calico = (spec: JsonObject): KubeManifest => manifest(V3, 'NetworkPolicy', 'shop/k', spec);
const admin = (spec: JsonObject): KubeManifest =>
  manifest('policy.networking.k8s.io/v1alpha1', 'AdminNetworkPolicy', 'a', {
    priority: 1,
    subject: { namespaces: { matchLabels: { team: 'shop' } } },
    ...spec,
  });
const antrea = manifest('crd.antrea.io/v1beta1', 'NetworkPolicy', 'shop/f', {});
const [NP, CILIUM, CALICO] = ['NetworkPolicy shop/np', 'CiliumNetworkPolicy shop/c', 'NetworkPolicy shop/k'];
const denyOfAdmin = admin({ ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }] });

describe('whether the database is isolated', () => {
  it.each<[string, string, readonly KubeManifest[], string, readonly string[]]>([
    ['by nothing', 'x', [], 'no', []],
    ['by a policy', 'x', [np('np', { podSelector: app('db') })], 'yes', [NP]],
    ['by a policy of others', 'x', [np('np', { podSelector: app('web') })], 'no', []],
    ['by a policy of egress', 'x', [np('np', { policyTypes: ['Egress'] })], 'no', []],
    ['by a policy of another namespace', 'x', [networkPolicy('batch/np', {})], 'no', []],
    ['by two, in order', 'x', [np('z', {}), np('a', {})], 'yes', ['NetworkPolicy shop/a', 'NetworkPolicy shop/z']],
    [
      'by a policy that may select it',
      'x',
      [np('np', { podSelector: { matchLabels: { 'pod-template-hash': 'a' } } })],
      'unknown',
      [NP],
    ],
    ['by a policy that is not valid', 'x', [np('np', { ingress: [{ ports: [{ port: 0 }] }] })], 'unknown', [NP]],
    [
      'by a policy whose selector is not valid',
      'x',
      [np('np', { podSelector: { matchLabels: { a: '?' } } })],
      'unknown',
      [NP],
    ],
    ['by a policy that is not evaluated', 'x', [antrea], 'unknown', ['NetworkPolicy shop/f']],
    ['by both', 'x', [antrea, np('np', {})], 'yes', ['NetworkPolicy shop/f', NP]],
    ['by Cilium', 'cilium', [cil({ ingress: [{}] })], 'yes', [CILIUM]],
    ['by deny rules of Cilium', 'cilium', [cil({ ingressDeny: [{ fromEntities: ['world'] }] })], 'yes', [CILIUM]],
    [
      'by Cilium, asking for more',
      'cilium',
      [cil({ ingress: [{ fromEntities: ['all'], authentication: { mode: 'required' } }] })],
      'yes',
      [CILIUM],
    ],
    [
      'by Cilium where its default deny is off',
      'cilium',
      [cil({ enableDefaultDeny: { ingress: false }, ingress: [{ fromEntities: ['all'] }] })],
      'no',
      [],
    ],
    [
      'by a NetworkPolicy beside that',
      'cilium',
      [cil({ enableDefaultDeny: { ingress: false }, ingress: [{ fromEntities: ['all'] }] }), np('np', {})],
      'yes',
      [NP],
    ],
    [
      'by deny rules of Cilium where its default deny is off',
      'cilium',
      [cil({ enableDefaultDeny: { ingress: false }, ingressDeny: [{ fromEntities: ['world'] }] })],
      'unknown',
      [CILIUM],
    ],
    ['by Calico', 'calico', [calico({})], 'unknown', [CALICO]],
    ['by Calico and a NetworkPolicy', 'calico', [calico({}), np('np', {})], 'yes', [CALICO, NP]],
    ['by an admin policy', 'calico', [denyOfAdmin], 'unknown', ['AdminNetworkPolicy a']],
    ['by an admin policy of egress', 'calico', [admin({ egress: [] })], 'no', []],
    [
      'by Calico, Cilium and NetworkPolicy at once, as far as each is read',
      'calico',
      [cil({ ingress: [{}] }), calico({}), np('np', {})],
      'yes',
      [CILIUM, CALICO, NP],
    ],
  ])('%s', (_, cni, policies, isolated, by) => {
    expect(isIsolated(clusterWith(cni, policies), DB, 'ingress')).toEqual({ isolated, by });
  });

  it.each<[string, string, JsonObject | undefined, string, readonly string[]]>([
    ['a NetworkPolicy', 'x', {}, 'no', []],
    ['nothing at all', 'x', undefined, 'no', []],
  ])('by %s where the CNI does not enforce', (_, name, spec, isolated, by) => {
    const policies = spec === undefined ? [] : [np('np', spec)];
    expect(isIsolated(clusterWith(name, policies, { cni: { name, enforces: 'no' } }), DB, 'ingress')).toEqual({
      isolated,
      by,
    });
  });

  it('by kinds that are not evaluated even so', () => {
    const world = clusterWith('x', [antrea, np('np', {})], { cni: { enforces: 'no' } });
    expect(isIsolated(world, DB, 'ingress')).toEqual({ isolated: 'unknown', by: ['NetworkPolicy shop/f'] });
  });

  it('says the direction that a policy of Cilium leaves open', () => {
    const policy = cil({
      enableDefaultDeny: { ingress: false, egress: true },
      ingress: [{ fromEntities: ['all'] }],
      egress: [{ toEntities: ['all'] }],
    });
    const world = clusterWith('cilium', [policy]);
    expect(isIsolated(world, DB, 'ingress').isolated).toBe('no');
    expect(isIsolated(world, DB, 'egress')).toEqual({ isolated: 'yes', by: [CILIUM] });
  });

  it('never of host-network pods, and perhaps of pods that are not known', () => {
    const world = clusterWith('x', [networkPolicy('infra/all', {}), np('db', { podSelector: app('db') })], {
      workloads: { ...CLUSTER.workloads, 'shop/Deployment/new': [] },
    });
    expect(isIsolated(world, AGENT, 'ingress')).toEqual({ isolated: 'no', by: [] });
    expect(isIsolated(world, 'shop/Deployment/new', 'ingress').isolated).toBe('unknown');
    expect(isIsolated(world, 'shop/Deployment/gone', 'ingress').isolated).toBe('unknown');
    expect(isIsolated(world, 'infra/Deployment/gone', 'ingress').isolated).toBe('yes');
  });

  it('in part where its pod sets differ', () => {
    const sketch: InventorySketch = {
      workloads: {
        ...CLUSTER.workloads,
        'shop/PyTorchJob/t': [
          { role: 'Master', labels: { role: 'm' } },
          { role: 'Worker', labels: { role: 'w' } },
        ],
      },
    };
    const on = (...roles: readonly string[]): string =>
      isIsolated(
        clusterWith(
          'x',
          roles.map((role) => np(role, { podSelector: { matchLabels: { role } } })),
          sketch,
        ),
        'shop/PyTorchJob/t',
        'ingress',
      ).isolated;
    expect([on(), on('m'), on('m', 'w')]).toEqual(['no', 'unknown', 'yes']);
  });
});

describe('pods that a selector picks', () => {
  const sketch: InventorySketch = {
    workloads: {
      ...CLUSTER.workloads,
      'shop/Deployment/new': [],
      'shop/PyTorchJob/t': [
        { role: 'Worker', labels: { app: 't' } },
        { role: 'Master', labels: { app: 't', role: 'm' } },
      ],
    },
  };
  const world = clusterWith('x', [], sketch);
  it.each<[string, Json | undefined, string, readonly string[], readonly string[]]>([
    ['none', undefined, 'gone', [], []],
    ['all', undefined, 'batch', ['batch/CronJob/train '], ['batch/CronJob/train']],
    ['all but those that are not known', {}, 'shop', [`${WEB} `, `${DB} `, 'shop/PyTorchJob/t Worker', 'shop/PyTorchJob/t Master'], [DB, WEB, 'shop/PyTorchJob/t']], // prettier-ignore
    ['by label', app('db'), 'shop', [`${DB} `], [DB]],
    ['host-network pods too', app('agent'), 'infra', [`${AGENT} `], [AGENT]],
    ['a part', { matchLabels: { role: 'm' } }, 'shop', ['shop/PyTorchJob/t Master'], ['shop/PyTorchJob/t']],
    ['not surely', { matchLabels: { 'pod-template-hash': 'a' } }, 'shop', [], []],
    ['by a selector that is not valid', { matchLabels: { app: '?' } }, 'shop', [], []],
    ['by a text', 'app=db', 'shop', [], []],
  ])('%s', (_, selector, namespace, sets, workloads) => {
    const found = podSetsSelected(world, selector, namespace).map(({ workload, role }) => `${workload} ${role}`);
    expect(found).toEqual(sets);
    expect(workloadsSelected(world, selector, namespace)).toEqual(workloads);
  });
});

describe('what is wrong with the policies of a cluster', () => {
  const peer = (spec: JsonObject): KubeManifest =>
    manifest('security.istio.io/v1', 'PeerAuthentication', 'shop/d', spec);
  const foreign = (subject: string, why: string): readonly string[] => {
    const [kind = ''] = subject.split(' ');
    return [`SP344 info ${subject}: ${kind} is not evaluated${why}: where it may act, answers are unknown`];
  };
  it.each<[string, string, readonly KubeManifest[], readonly string[]]>([
    ['nothing', 'x', [], []],
    ['nothing of plain ones', 'x', [np('np', {}), peer({ mtls: { mode: 'STRICT' } })], []],
    [
      'a value of Istio',
      'x',
      [peer({ mtls: { mode: 'STRICTT' } })],
      [
        'SP343 warning PeerAuthentication shop/d at spec.mtls.mode: spec.mtls.mode "STRICTT" is none of STRICT, PERMISSIVE, DISABLE, UNSET: what depends on it is unknown',
      ],
    ],
    [
      'a kind that reaches into proxies',
      'x',
      [manifest('networking.istio.io/v1alpha3', 'EnvoyFilter', 'shop/d', {})],
      foreign('EnvoyFilter shop/d', ''),
    ],
    ['a kind that routes', 'x', [manifest('networking.istio.io/v1', 'VirtualService', 'shop/d', {})], []],
    ['a kind that nothing here knows', 'x', [antrea], foreign('NetworkPolicy shop/f', ' (nothing of kind NetworkPolicy is)')], // prettier-ignore
    ['Calico under Calico', 'calico', [calico({ ingress: [{ action: 'Allow' }] })], []],
    [
      'Calico under another CNI',
      'cilium',
      [calico({ ingress: [{ action: 'Allow' }] })],
      foreign(CALICO, ' (it is of Calico, and the CNI is cilium)'),
    ],
    [
      'a tier that is not there',
      'calico',
      [calico({ tier: 'none' })],
      foreign(CALICO, ' (its tier none is not known)'),
    ],
    [
      'a tier that is, and an action that is none',
      'calico',
      [manifest(V3, 'Tier', 'sec', {}), calico({ tier: 'sec', ingress: [{ action: 'x' }] })],
      foreign(CALICO, ' (spec.ingress[0] is not plain)'),
    ],
    [
      'neither is there',
      'calico',
      [calico({ tier: 'sec', ingress: [{ action: 'x' }] })],
      foreign(CALICO, ' (spec is not plain)'),
    ],
    ['a tier that is', 'calico', [manifest(V3, 'Tier', 'none', {}), calico({ tier: 'none' })], []],
    ['Cilium under Cilium', 'cilium', [cil({ ingress: [{}] })], []],
    [
      'Cilium under another CNI',
      'calico',
      [cil({ ingress: [{}] })],
      foreign(CILIUM, ' (it is of Cilium, and the CNI is calico)'),
    ],
    [
      'a field of Cilium that is not plain',
      'cilium',
      [cil({ ingress: [{ fromRequires: [] }] })],
      foreign(CILIUM, ' (spec.ingress[0].fromRequires is not plain)'),
    ],
    ['admin policies under any', 'x', [denyOfAdmin], []],
    ['what only serves a CNI', 'calico', [manifest(V3, 'IPPool', 'p', {})], []],
  ])('%s', (_, name, policies, expected) => {
    const found = checkPolicies(inventoryOf({ policies, cni: { name } })).map(
      ({ code, severity, subject, where, message }) =>
        `${code} ${severity} ${subject}${where === undefined ? '' : ` at ${where}`}: ${message}`,
    );
    expect(found).toEqual(expected);
  });
});
