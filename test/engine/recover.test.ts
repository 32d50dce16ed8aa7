import { describe, expect, it } from 'vitest';
import type { JournalStep } from '../../src/engine/contract.ts';
import { classifyChange, leavesTrace, planRecovery, stillStanding } from '../../src/engine/recover.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { refKey } from '../../src/model/object.ts';
import type { Change, FieldChange } from '../../src/plan/change.ts';
import type { Json, JsonObject } from '../../src/shared/pure/json.ts';
import { trimManifest } from '../../src/sources/kube/index.ts';

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

describe('whose hand is in an object, as it is read of the cluster', () => {
  const WEB = { apiVersion: 'apps/v1', kind: 'Deployment', namespace: 'shop', name: 'web' };
  const LABEL = ['spec', 'template', 'metadata', 'labels', 'sidecar.istio.io/inject'];
  const edit = (...fields: readonly FieldChange[]): Change => ({
    kind: 'edit',
    ref: WEB,
    uid: 'u1',
    fields,
    owner: 'other',
  });
  const SMALL: Json = [{ name: 'web' }];
  const LARGE: Json = [{ name: 'web', resources: { limits: { cpu: '2' } } }];
  const LIMITS = edit({ path: ['spec', 'template', 'spec', 'containers'], before: SMALL, after: LARGE });
  const INJECT = edit({ path: LABEL, before: undefined, after: 'true' });
  const REMOVAL = edit({ path: LABEL, before: 'false', after: undefined });

  const template = (labels: JsonObject, containers: JsonObject = {}): JsonObject => ({
    'f:spec': { 'f:template': { 'f:metadata': { 'f:labels': labels }, 'f:spec': containers } },
  });
  const OUR_LABEL = template({ 'f:sidecar.istio.io/inject': {} });
  const OUR_CONTAINERS = { 'f:containers': { 'k:{"name":"web"}': { 'f:resources': { 'f:limits': { 'f:cpu': {} } } } } };
  const entry = (manager: string, fieldsV1: JsonObject): JsonObject => ({ manager, operation: 'Update', fieldsV1 });
  const web = (labels: JsonObject, containers: Json, managedFields: readonly JsonObject[]): KubeManifest =>
    trimManifest({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web', namespace: 'shop', uid: 'u1', managedFields },
      spec: { template: { metadata: { labels: { app: 'web', ...labels } }, spec: { containers } } },
    });
  const KUBECTL = entry('kubectl', template({ 'f:app': {} }, { 'f:containers': {} }));
  const IN = { 'sidecar.istio.io/inject': 'true' };

  it.each<[string, Change, KubeManifest, unbegun: boolean, begun: boolean]>([
    ['a label of ours', INJECT, web(IN, SMALL, [KUBECTL, entry('sallyport', OUR_LABEL)]), true, true],
    ['the same label, set by somebody else', INJECT, web(IN, SMALL, [entry('kubectl', OUR_LABEL)]), false, false],
    [
      'the same label, set by somebody else where we wrote other fields',
      INJECT,
      web(IN, LARGE, [entry('kubectl', OUR_LABEL), entry('sallyport', template({}, OUR_CONTAINERS))]),
      false,
      false,
    ],
    [
      'limits of ours beside a label of ours',
      LIMITS,
      web(IN, LARGE, [KUBECTL, entry('sallyport', template({ 'f:sidecar.istio.io/inject': {} }, OUR_CONTAINERS))]),
      true,
      true,
    ],
    [
      'limits of ours and nothing else',
      LIMITS,
      web({}, LARGE, [KUBECTL, entry('sallyport', template({}, OUR_CONTAINERS))]),
      true,
      true,
    ],
    ['limits that we never wrote', LIMITS, web({}, LARGE, [KUBECTL]), false, false],
    ['limits as they were', LIMITS, web(IN, SMALL, [KUBECTL, entry('sallyport', OUR_LABEL)]), false, false],
    // No entry tells who took a field away.
    ['a label that is gone', REMOVAL, web({}, SMALL, [KUBECTL]), false, true],
    [
      'a label that is there still',
      REMOVAL,
      web({ 'sidecar.istio.io/inject': 'false' }, SMALL, [KUBECTL]),
      false,
      false,
    ],
  ])('%s', (_why, change, live, unbegun, begun) => {
    expect(leavesTrace(change, live, undefined)).toBe(unbegun);
    expect(leavesTrace(change, live, {})).toBe(begun);
    const standing = stillStanding([{ key: 'one', change }], [], new Map([[refKey(WEB), live]]));
    expect([...standing]).toEqual(begun ? ['one'] : []);
  });
});
