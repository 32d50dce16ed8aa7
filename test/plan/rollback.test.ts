import { describe, expect, it } from 'vitest';
import type { AppliedStep } from '../../src/engine/contract.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { PhaseName } from '../../src/model/phase.ts';
import type { Change } from '../../src/plan/change.ts';
import { applyToObjects } from '../../src/plan/change.ts';
import type { Resolution } from '../../src/plan/rollback.ts';
import { deriveUndo, stepsToUndo } from '../../src/plan/rollback.ts';
import type { JsonObject } from '../../src/shared/pure/json.ts';

const object = (spec: JsonObject): KubeManifest => ({
  apiVersion: 'v1',
  kind: 'Thing',
  metadata: { name: 'x', namespace: 'shop' },
  spec,
});
const REF = { apiVersion: 'v1', kind: 'Thing', namespace: 'shop', name: 'x' };
const edit = (path: readonly string[], before: string | undefined, after: string | undefined): Change => ({
  kind: 'edit',
  ref: REF,
  owner: 'other',
  fields: [{ path: ['spec', ...path], before, after }],
});

function applied(seq: number, change: Change, phase: PhaseName = 'allow-list', namespace = 'shop'): AppliedStep {
  return {
    seq,
    run: 'r',
    namespace,
    phase,
    at: 0,
    change,
    step: {
      id: `${phase}/s${seq}`,
      namespace,
      phase,
      operation: change.kind,
      title: `step ${seq}`,
      change,
      effects: [],
      risks: [],
    },
  };
}

describe('the steps that a rollback takes back', () => {
  it('are those of the namespace above the phase, newest first', () => {
    const steps = [
      applied(1, edit(['a'], '1', '2'), 'monitor'),
      applied(2, edit(['b'], '1', '2'), 'allow-list'),
      applied(3, edit(['c'], '1', '2'), 'strict-mtls', 'other'),
      applied(4, edit(['d'], '1', '2'), 'permissive-mtls'),
    ];
    expect(stepsToUndo(steps, 'shop', 'monitor').map((step) => step.seq)).toEqual([4, 2]);
    expect(stepsToUndo(steps, 'shop', 'none').map((step) => step.seq)).toEqual([4, 2, 1]);
  });
});

describe('a field that somebody changed', () => {
  const written = [applied(1, edit(['a'], 'before', 'ours'))];
  const now = [object({ a: 'theirs' })];
  const undo = (choice?: Resolution) =>
    deriveUndo(written, written, now, choice === undefined ? new Map() : new Map([['Thing shop/x', choice]]));

  it('is shown with its three versions and never written', () => {
    const { steps, divergences } = undo();
    expect(divergences).toEqual([
      { object: 'Thing shop/x', path: ['spec', 'a'], before: 'before', ours: 'ours', theirs: 'theirs', seq: 1 },
    ]);
    expect(steps.every((step) => step.change.kind === 'edit' && step.change.fields.length === 0)).toBe(true);
  });

  it('stays where a person keeps theirs, and the record is settled', () => {
    const { steps, divergences } = undo('theirs');
    expect(divergences).toEqual([]);
    expect(steps).toMatchObject([{ change: { fields: [] }, undoes: [1] }]);
  });

  it('gets back its earlier value where a person says so', () => {
    expect(undo('before').steps).toMatchObject([
      { change: { fields: [{ path: ['spec', 'a'], before: 'theirs', after: 'before' }] }, undoes: [1] },
    ]);
  });
});

describe('edits taken back together with an older step on the same object', () => {
  const START = [object({ a: '1' })];
  const first = applied(1, edit(['a'], '1', '2'));
  const second = applied(2, edit(['a'], '2', '3'));
  const third = applied(3, edit(['b'], undefined, 'new'));
  const all = [third, second, first];
  const now = [object({ a: '3', b: 'new' })];

  it.each([
    [[], 3],
    [[3], 2],
    [[2], 2],
    [[2, 3], 1],
  ])('leave the object as it was: deferred %j', (deferred, count) => {
    const { steps } = deriveUndo(all, all, now, new Map(), new Set(deferred));
    expect(steps).toHaveLength(count);
    expect(steps.flatMap((step) => step.undoes ?? []).toSorted()).toEqual([1, 2, 3]);
    expect(steps.reduce<readonly KubeManifest[]>((objects, step) => applyToObjects(objects, step.change), now)).toEqual(
      START,
    );
    expect(new Set(steps.map((step) => step.id)).size).toBe(count);
  });

  it('that cancel out write nothing, and the record is settled', () => {
    const loosened = [applied(2, edit(['a'], 'strict', 'loose')), applied(1, edit(['a'], 'loose', 'strict'))];
    const { steps } = deriveUndo(loosened, loosened, [object({ a: 'loose' })], new Map(), new Set([2]));
    expect(steps).toMatchObject([{ change: { fields: [] }, undoes: [2, 1] }]);
  });

  it('go by themselves where there is no older step to go with', () => {
    const { steps } = deriveUndo([second], [first, second], [object({ a: '3' })], new Map(), new Set([2]));
    expect(steps).toMatchObject([{ undoes: [2], change: { fields: [{ before: '3', after: '2' }] } }]);
  });

  it('of an object that goes altogether are one deletion', () => {
    const made = applied(1, { kind: 'create', object: object({ a: '2' }) });
    const { steps } = deriveUndo([second, made], [made, second], [object({ a: '3' })], new Map(), new Set([2]));
    expect(steps).toMatchObject([
      { operation: 'delete', undoes: [2, 1], change: { kind: 'delete', before: object({ a: '3' }) } },
    ]);
  });
});
