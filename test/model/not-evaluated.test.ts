import { describe, expect, it } from 'vitest';
import { checkPolicies, evaluateConnection } from '../../src/model/evaluate.ts';
import type { CniFacts } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { JsonObject } from '../../src/shared/pure/json.ts';
import { clusterWith, DB, WEB } from '../support/policy-table.ts';
import { connection, manifest, networkPolicy } from '../support/world.ts';

const cilium = (spec: JsonObject): KubeManifest => manifest('cilium.io/v2', 'CiliumNetworkPolicy', 'shop/p', spec);
const calico = (spec: JsonObject): KubeManifest => manifest('projectcalico.org/v3', 'NetworkPolicy', 'shop/p', spec);
const admin = (spec: JsonObject): KubeManifest =>
  manifest('policy.networking.k8s.io/v1alpha1', 'AdminNetworkPolicy', 'p', spec);
const subject = { namespaces: {} };

describe('a policy that is not evaluated', () => {
  const cases: readonly (readonly [string, string, KubeManifest, string])[] = [
    [
      'a field of Cilium that asks for other endpoints',
      'cilium',
      cilium({ endpointSelector: {}, ingress: [{}, { fromEndpoints: [{}], fromRequires: [{}] }] }),
      'spec.ingress[1].fromRequires is not plain',
    ],
    [
      'a label that Cilium leaves out of identities',
      'cilium',
      cilium({ endpointSelector: { matchLabels: { 'pod-template-hash': 'x', app: 'db' } }, ingress: [{}] }),
      'spec.endpointSelector.matchLabels.pod-template-hash is not plain',
    ],
    [
      'two parts that are not plain',
      'cilium',
      cilium({ endpointSelector: {}, ingress: [{ fromRequires: [{}] }], egress: [{ toRequires: [{}] }] }),
      'more than one part of it is not plain',
    ],
    [
      'Cilium under another CNI',
      'calico',
      cilium({ endpointSelector: {}, ingress: [{}] }),
      'it is of Cilium, and the CNI is calico',
    ],
    ['Calico under another CNI', 'cilium', calico({ selector: 'all()' }), 'it is of Calico, and the CNI is cilium'],
    ['a tier that is not there', 'calico', calico({ tier: 'security' }), 'its tier security is not known'],
    [
      'a selector of Calico that does not read',
      'calico',
      calico({ selector: 'app ==', types: ['Ingress'] }),
      'spec.selector is not plain',
    ],
    [
      'an action that is none',
      'ovn-kubernetes',
      admin({
        subject,
        priority: 1,
        ingress: [
          { action: 'Allow', from: [subject] },
          { action: 'Log', from: [subject] },
        ],
      }),
      'spec.ingress[1] is not plain',
    ],
    [
      'a kind of which nothing is known',
      'cilium',
      manifest('crd.antrea.io/v1beta1', 'NetworkPolicy', 'shop/p', {}),
      'nothing of kind NetworkPolicy is',
    ],
  ];

  it.each(cases)('says why: %s', (_title, cni, policy, why) => {
    const world = clusterWith(cni, [policy]);
    const { answer, reasons } = evaluateConnection(world, connection(`${WEB} -> ${DB} 5432`));
    expect(answer).toBe('unknown');
    expect(reasons[0]?.text).toContain(`it is not evaluated: ${why}.`);
    const [found] = checkPolicies(world.inventory);
    expect([found?.code, found?.message]).toEqual([
      'SP344',
      `${policy.kind} is not evaluated (${why}): where it may act, answers are unknown`,
    ]);
  });
});

describe('what a NetworkPolicy leaves unknown', () => {
  const onDb = (rule: JsonObject): JsonObject => ({
    podSelector: { matchLabels: { app: 'db' } },
    policyTypes: ['Ingress'],
    ingress: [rule],
  });
  const labelled = (podSelector: JsonObject): JsonObject => onDb({ from: [{ podSelector, namespaceSelector: {} }] });
  const web = { matchLabels: { app: 'web' } };
  const block = onDb({ from: [{ ipBlock: { cidr: '10.0.0.0/9' } }] });
  const cases: readonly (readonly [string, JsonObject, string, string, Partial<CniFacts>?])[] = [
    ['labels of pods', labelled(web), 'shop/Job/gone', 'the labels of shop/Job/gone are not known'],
    [
      'labels of a namespace',
      onDb({ from: [{ namespaceSelector: { matchLabels: { team: 'x' } } }] }),
      'lost/Job/one',
      'the labels of namespace lost are not known',
    ],
    [
      'a label of some pods alone',
      labelled({ matchLabels: { 'pod-template-hash': 'x' } }),
      WEB,
      `it asks for what only some of ${WEB} may have`,
    ],
    ['who it is', labelled(web), 'unknown', 'what is at the other end is not known'],
    [
      'an address',
      block,
      'external:example.org',
      'the address of external:example.org is not known, or not the same for all of it',
    ],
    [
      'what an ipBlock matches',
      block,
      WEB,
      'whether an ipBlock matches pods under this CNI (strange) is not known',
      { name: 'strange', enforces: 'unknown' },
    ],
    ['a port name', onDb({ ports: [{ port: 'early' }] }), WEB, 'which port a name of it stands for is not known'],
    [
      'whom it selects',
      { podSelector: { matchLabels: { 'pod-template-hash': 'x' } }, policyTypes: ['Ingress'], ingress: [] },
      WEB,
      'whether it selects the pods is not known',
    ],
    ['what it says at all', { ...onDb({}), ingres: [] }, WEB, 'it is not a valid policy'],
  ];

  it.each(cases.map((one) => [one[0], one] as const))('is said: %s', (_title, [, spec, from, why, cni = {}]) => {
    const world = clusterWith('test', [networkPolicy('shop/p', spec)], {
      namespaces: { shop: { team: 'shop' }, lost: null },
      workloads: {
        [WEB]: { labels: { app: 'web' }, pods: ['10.0.1.1'] },
        [DB]: { labels: { app: 'db' }, initPorts: ['early=5432'], pods: ['10.0.1.2'] },
        'lost/Job/one': { labels: { app: 'x' }, pods: ['10.0.1.3'] },
      },
      cni: { ipBlockMatches: [], ...cni },
    });
    const { answer, reasons } = evaluateConnection(world, connection(`${from} -> ${DB} 5432`));
    expect(answer).toBe('unknown');
    expect(reasons[0]).toMatchObject({ object: 'NetworkPolicy shop/p' });
    expect(reasons[0]?.text).toContain(`cannot be told: ${why}.`);
  });
});
