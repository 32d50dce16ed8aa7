import { describe, expect, it } from 'vitest';
import { readFixture, inventoryOf, snapshotOf } from '../snapshots.ts';

describe('policies that the API server would not take', () => {
  it('are each a finding with file, line, field and consequence', async () => {
    const { findings } = inventoryOf(await readFixture('bad-policies', 'directory'));
    const lines = findings
      .filter(({ subject }) => subject.startsWith('NetworkPolicy'))
      .map(({ code, where, message }) => `${code} ${where}: ${message}`);
    expect(lines).toMatchInlineSnapshot(`
      [
        "SP303 workloads.yaml:14, document 3: Given twice: the one at policies.yaml:1 is used",
        "SP309 policies.yaml:62: NetworkPolicy nowhere/lost stands in a namespace that does not exist: the API server refuses it",
        "SP340 policies.yaml:57: metadata.name "Name" is not a name of lower case, digits, - and .: the API server refuses this policy",
        "SP340 policies.yaml:19: spec.ingress[0].ports[0].endPort 8000 is not a port from 9000 to 65535: the API server refuses this policy",
        "SP340 policies.yaml:33: spec.egress[0].to[0].ipBlock.except[0] "192.168.0.0/16" is not a strict subset of "10.0.0.0/8": the API server refuses this policy",
        "SP340 policies.yaml:6: spec.podSelector.matchExpressions[0].operator "Is" is none of In, NotIn, Exists, DoesNotExist: the API server refuses this policy",
        "SP340 policies.yaml:12: spec.ingress[0].ports[0].port "a-name-too-long-for-a-port" is not a port name of at most 15 characters: the API server refuses this policy",
        "SP340 policies.yaml:45: spec.ingress[0].ports[0].protocol "ICMP" is none of TCP, UDP, SCTP: the API server refuses this policy",
        "SP340 policies.yaml:40: spec.policyTypes[0] "ingress" is neither Ingress nor Egress: the API server refuses this policy",
        "SP341 policies.yaml:52: spec.ingres is not a field of NetworkPolicy v1: kubectl refuses it, and an API server that takes it leaves it out",
        "SP342 policies.yaml:26: spec.ingress[0].from[0].ipBlock.cidr "10.1.2.3/8" has bits set beyond its prefix: the whole block is meant, and newer API servers refuse it",
      ]
    `);
  });

  it('are placed by their resourceVersion on a cluster', () => {
    const policy = {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'p', namespace: 'shop', resourceVersion: '4711' },
      spec: { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.1/8' } }] }] },
    };
    const { findings } = inventoryOf(snapshotOf([policy]));
    expect(findings.find(({ code }) => code === 'SP342')?.where).toBe('resourceVersion 4711');
  });
});
