import { describe, expect, it } from 'vitest';
import { openGates } from '../../src/plan/assemble.ts';
import { planFor } from './worlds.ts';

const MESHED = `
apiVersion: v1
kind: Namespace
metadata: {name: front, labels: {istio-injection: enabled}}
`;

describe('an object in the root namespace of the mesh', () => {
  it('is judged against edges between namespaces that the plan does not touch', () => {
    const plan = planFor({ namespace: 'istio-system', with: MESHED }, 'strict-mtls');
    const cut = plan.denied.map(({ text }) => text);
    expect(cut).toContain('back/Deployment/api -> front/Deployment/web 8080/TCP');
    expect(openGates(plan).map(({ id }) => id)).toContain('denies-observed');
  });
});

describe('a pod that runs without the sidecar its successor will have', () => {
  const pod = (phase: string): string => `${MESHED}
---
apiVersion: v1
kind: Pod
metadata: {name: debug, namespace: front, labels: {app: debug}}
spec: {containers: [{name: main, image: registry.example/debug}]}
status: {phase: ${phase}}
`;
  const subjects = (phase: string): readonly string[] =>
    planFor({ with: pod(phase), phases: { front: 'permissive-mtls' } }, 'strict-mtls')
      .gates.filter((gate) => gate.id === 'mesh' && gate.answer === 'no')
      .map((gate) => gate.subject);

  it('stops STRICT while it runs', () => {
    expect(subjects('Running')).toContain('front/Pod/debug');
  });

  it('stops nothing once it has ended', () => {
    expect(subjects('Succeeded')).not.toContain('front/Pod/debug');
  });
});
