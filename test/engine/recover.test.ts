import { describe, expect, it } from 'vitest';
import type { JournalStep } from '../../src/engine/contract.ts';
import { classifyChange, planRecovery } from '../../src/engine/recover.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { Change } from '../../src/plan/change.ts';
import type { JsonObject } from '../../src/shared/pure/json.ts';

const policy = (spec: JsonObject, metadata: JsonObject = {}): KubeManifest => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'p', namespace: 'shop', ...metadata },
  spec,
});
const REF = { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', namespace: 'shop', name: 'p' };
const CREATE: Change = { kind: 'create', object: policy({ podSelector: {}, policyTypes: ['Ingress'] }) };
const DELETE: Change = { kind: 'delete', ref: REF, uid: 'u1', before: policy({}) };
const EDIT: Change = {
  kind: 'edit',
  ref: REF,
  uid: 'u1',
  owner: 'other',
  fields: [
    { path: ['spec', 'a'], before: 1, after: 2 },
    { path: ['spec', 'b'], before: undefined, after: 'x' },
  ],
};
const PARENT: Change = {
  kind: 'edit',
  ref: REF,
  uid: 'u1',
  owner: 'other',
  fields: [{ path: ['metadata', 'annotations'], before: undefined, after: { ours: 'x' } }],
};
const NOTHING: Change = { kind: 'edit', ref: REF, owner: 'sallyport', fields: [] };

const CASES: readonly (readonly [why: string, Change, KubeManifest | undefined, string])[] = [
  ['a create that is not there', CREATE, undefined, 'not-applied'],
  ['a create that is there', CREATE, policy({ podSelector: {}, policyTypes: ['Ingress'] }), 'applied'],
  [
    'a create with what the server adds',
    CREATE,
    policy({ podSelector: {}, policyTypes: ['Ingress'], x: 1 }, { uid: 'u' }),
    'applied',
  ],
  [
    'a create whose name another object has',
    CREATE,
    policy({ podSelector: { matchLabels: { a: 'b' } } }),
    'foreign-change',
  ],
  ['a delete of what is still there', DELETE, policy({}, { uid: 'u1' }), 'not-applied'],
  ['a delete of what is gone', DELETE, undefined, 'applied'],
  ['a delete of what was made anew', DELETE, policy({}, { uid: 'u2' }), 'applied'],
  ['an edit not written', EDIT, policy({ a: 1 }, { uid: 'u1' }), 'not-applied'],
  ['an edit written', EDIT, policy({ a: 2, b: 'x' }, { uid: 'u1' }), 'applied'],
  ['an edit half there, which no target writes', EDIT, policy({ a: 2 }, { uid: 'u1' }), 'foreign-change'],
  ['an edit of a field with a third value', EDIT, policy({ a: 3 }, { uid: 'u1' }), 'foreign-change'],
  ['an edit of an object that is gone', EDIT, undefined, 'foreign-change'],
  ['an edit of an object made anew', EDIT, policy({ a: 1 }, { uid: 'u2' }), 'foreign-change'],
  [
    'a parent made, and filled further by others',
    PARENT,
    policy({}, { uid: 'u1', annotations: { ours: 'x', theirs: 'y' } }),
    'applied',
  ],
  [
    'a parent made by others meanwhile, without ours',
    PARENT,
    policy({}, { uid: 'u1', annotations: { theirs: 'y' } }),
    'not-applied',
  ],
  [
    'a parent with another value in our place',
    PARENT,
    policy({}, { uid: 'u1', annotations: { ours: 'z' } }),
    'foreign-change',
  ],
  ['a step that writes nothing, its object gone', NOTHING, undefined, 'applied'],
];

describe('what became of a write that was begun', () => {
  it.each(CASES)('%s', (_why, change, live, verdict) => {
    expect(classifyChange(change, live).kind).toBe(verdict);
  });

  it('is asked of begun steps alone', () => {
    const states = ['pending', 'started', 'done', 'failed', 'undone', 'skipped'] as const;
    const steps = states.map((state, index): JournalStep => ({
      seq: index,
      run: 'r',
      index,
      state,
      change: CREATE,
      step: {
        id: `allow-list/${state}`,
        namespace: 'shop',
        phase: 'allow-list',
        operation: 'create',
        title: '',
        change: CREATE,
        effects: [],
        risks: [],
      },
    }));
    expect(planRecovery(steps, new Map()).map(({ kind, step }) => `${step.state} ${kind}`)).toEqual([
      'started not-applied',
    ]);
  });
});
