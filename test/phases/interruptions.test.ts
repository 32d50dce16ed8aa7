// A new account replaces pods: where these train or hold a session, a person has to say that they may be interrupted.
import { describe, expect, it } from 'vitest';
import { phases } from '../../phases/index.ts';
import type { Gate } from '../../src/model/finding.ts';
import { settleGate } from '../../src/readiness/view.ts';
import { decisionsOf, viewOf } from '../support/rig.ts';
import { objectsOf, snapshotOf } from './worlds.ts';

const pod = (phase: string): string => `---
apiVersion: v1
kind: Pod
metadata:
  name: lab-0
  namespace: ml
  labels: {notebook-name: lab}
  ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: lab, uid: s1, controller: true}]
spec: {serviceAccountName: team, containers: [{name: lab, image: "jupyter:1"}]}
status: {phase: ${phase}, podIP: 10.1.0.9}
`;
const WORLD = `apiVersion: v1
kind: Namespace
metadata: {name: ml}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: team, namespace: ml}
---
apiVersion: kubeflow.org/v1
kind: Notebook
metadata: {name: lab, namespace: ml, uid: n1}
spec: {template: {spec: {serviceAccountName: team, containers: [{name: lab, image: "jupyter:1"}]}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: lab
  namespace: ml
  uid: s1
  ownerReferences: [{apiVersion: kubeflow.org/v1, kind: Notebook, name: lab, uid: n1, controller: true}]
spec:
  selector: {matchLabels: {notebook-name: lab}}
  template:
    metadata: {labels: {notebook-name: lab}}
    spec: {serviceAccountName: team, containers: [{name: lab, image: "jupyter:1"}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: ml}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {serviceAccountName: team, containers: [{name: web, image: "web:1"}]}
`;

function gatesFor(more: string, ...decisions: readonly string[]): readonly Gate[] {
  const view = viewOf(snapshotOf(objectsOf(WORLD + more)), 'ml', { edges: [], decisions: decisionsOf(...decisions) });
  const identity = phases.find(({ name }) => name === 'identity');
  return (identity?.requires(view) ?? []).map((gate) => settleGate(view, gate)).filter(({ id }) => id === 'interrupts');
}

describe('a notebook whose kernel runs', () => {
  it('is not restarted before somebody says so', () => {
    expect(gatesFor(pod('Running'))).toMatchObject([{ answer: 'no', subject: 'ml/Notebook/lab' }]);
    expect(gatesFor(pod('Running'), 'waive gate=interrupts,subject=ml/Notebook/lab')).toMatchObject([
      { answer: 'yes' },
    ]);
  });

  it.each([
    ['has no pod', ''],
    ['has only finished ones', pod('Succeeded')],
  ])('is asked about no more where it %s', (_, more) => {
    expect(gatesFor(more)).toEqual([]);
  });
});
