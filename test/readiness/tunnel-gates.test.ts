import { describe, expect, it } from 'vitest';
import type { View } from '../../src/engine/contract.ts';
import { tunnelGates } from '../../src/readiness/tunnel-gates.ts';
import { inventoryOf, manifest, networkPolicy } from '../support/world.ts';
import type { InventorySketch } from '../support/world.ts';

const sketch: InventorySketch = {
  mesh: { kind: 'istio', mode: 'ambient', version: '1.29' },
  workloads: {
    'serve/Deployment/model': { labels: { app: 'model' }, ports: [8080], mesh: 'ambient', account: 'model' },
    'shop/Deployment/web': { labels: { app: 'web' }, mesh: 'ambient', account: 'web' },
  },
  policies: [
    networkPolicy('serve/hbone', {
      podSelector: {},
      policyTypes: ['Ingress'],
      ingress: [{ ports: [{ port: 15008 }] }],
    }),
  ],
};
const gatesOf = (more: InventorySketch = {}, namespace = 'serve') =>
  tunnelGates({ namespace, inventory: inventoryOf({ ...sketch, ...more }) } as unknown as View);

describe('the gate on tunnels', () => {
  it('is red where an open 15008 carries what NetworkPolicy keeps closed, and names the pair', () => {
    const [gate, ...more] = gatesOf();
    expect(more).toEqual([]);
    expect(gate).toMatchObject({ id: 'tunnels', answer: 'no', subject: 'serve' });
    expect(gate?.facts[0]).toMatch(/^shop\/Deployment\/web -> serve\/Deployment\/model .*not proven on packets/u);
  });

  it('is green once an AuthorizationPolicy gives it back', () => {
    const policies = [
      ...(sketch.policies ?? []),
      manifest('security.istio.io/v1', 'AuthorizationPolicy', 'serve/none', {}),
    ];
    expect(gatesOf({ policies })).toMatchObject([{ answer: 'yes' }]);
  });

  it('is not there for a namespace outside of ambient mode', () => {
    expect(gatesOf({ mesh: { kind: 'istio', mode: 'sidecar' } }, 'nowhere')).toEqual([]);
  });
});
