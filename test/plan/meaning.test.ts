// When two texts of a policy mean the same, and when a field more is a rule less.
import { describe, expect, it } from 'vitest';
import { firstDifference } from '../../src/plan/meaning.ts';
import type { JsonObject } from '../../src/shared/pure/json.ts';

const CILIUM = 'cilium.io';
const CALICO = 'projectcalico.org';
const ADMIN = 'policy.networking.k8s.io';
const PORTS = [{ ports: [{ port: '80', protocol: 'TCP' }] }];
const FROM = [{ matchLabels: { app: 'a' } }];
const RULE = { action: 'Allow', source: { selector: 'app == "a"' } };

describe('a policy that is written and read again', () => {
  it.each<readonly [string, string, JsonObject, JsonObject]>([
    [
      'a tier and types of Calico',
      CALICO,
      { ingress: [RULE] },
      { ingress: [RULE], tier: 'default', types: ['Ingress'] },
    ],
    ['types of rules of egress alone', CALICO, { egress: [RULE] }, { egress: [RULE], types: ['Egress'] }],
    [
      'types of both',
      'crd.projectcalico.org',
      { ingress: [RULE], egress: [RULE] },
      { ingress: [RULE], egress: [RULE], types: ['Ingress', 'Egress'] },
    ],
    ['types of none', CALICO, { selector: 'all()' }, { selector: 'all()', types: ['Ingress'] }],
    [
      'the same rules in another order of fields',
      CILIUM,
      { ingress: [{ fromEndpoints: FROM, toPorts: PORTS }] },
      { ingress: [{ toPorts: PORTS, fromEndpoints: FROM }] },
    ],
  ])('means the same with %s', (_, group, written, now) => {
    expect(firstDifference(group, { spec: written }, { spec: now })).toBeUndefined();
  });

  it.each<readonly [string, string, JsonObject, JsonObject]>([
    [
      'a denial of Cilium beside it',
      CILIUM,
      { ingress: [{}] },
      { ingress: [{}], ingressDeny: [{ fromEndpoints: FROM }] },
    ],
    [
      'ports where it had all',
      CILIUM,
      { ingress: [{ fromEndpoints: FROM }] },
      { ingress: [{ fromEndpoints: FROM, toPorts: PORTS }] },
    ],
    [
      'rules of HTTP on its port',
      CILIUM,
      { ingress: [{ toPorts: PORTS }] },
      { ingress: [{ toPorts: [{ ...PORTS[0], rules: { http: [{ method: 'GET' }] } }] }] },
    ],
    [
      'authentication that it did not ask for',
      CILIUM,
      { ingress: [{ fromEndpoints: FROM }] },
      { ingress: [{ fromEndpoints: FROM, authentication: { mode: 'required' } }] },
    ],
    ['no default denial any more', CILIUM, { ingress: [{}] }, { ingress: [{}], enableDefaultDeny: { ingress: false } }],
    [
      'a direction of Calico that it left open',
      CALICO,
      { ingress: [RULE] },
      { ingress: [RULE], types: ['Ingress', 'Egress'] },
    ],
    ['a tier of Calico before others', CALICO, { ingress: [RULE] }, { ingress: [RULE], tier: 'platform' }],
    ['an order of Calico', CALICO, { ingress: [RULE] }, { ingress: [RULE], order: 1 }],
    [
      'a narrower source of Calico',
      CALICO,
      { ingress: [RULE] },
      { ingress: [{ ...RULE, source: { ...RULE.source, nets: ['10.0.0.0/8'] } }] },
    ],
    [
      'ports of an admin policy',
      ADMIN,
      { ingress: [{ action: 'Allow', from: [] }] },
      { ingress: [{ action: 'Allow', from: [], ports: [{ portNumber: { port: 1 } }] }] },
    ],
    ['rules of the other direction', ADMIN, { ingress: [] }, { ingress: [], egress: [{ action: 'Deny', to: [] }] }],
  ])('means another thing with %s', (_, group, written, now) => {
    expect(firstDifference(group, { spec: written }, { spec: now })).toBeDefined();
    expect(firstDifference(group, { spec: now }, { spec: written })).toBeDefined();
  });
});
