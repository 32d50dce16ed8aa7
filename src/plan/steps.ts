import type { PatternMark } from '../model/applied-pattern.ts';
import type { KubeManifest } from '../model/object.ts';
import { objectKey, refKey, refOf } from '../model/object.ts';
import type { PhaseName } from '../model/phase.ts';
import { isOwn } from '../objects/build.ts';
import type { FieldPath, Json } from '../shared/pure/json.ts';
import type { FieldChange } from './change.ts';
import { editObject, fieldChange } from './change.ts';
import type { Effect, Step, StepRights } from './plan.ts';

export interface StepBase {
  readonly namespace: string;
  readonly phase: PhaseName;
  readonly id: string;
  readonly title: string;
  readonly workload?: string;
  readonly direction?: 'ingress' | 'egress';
  readonly effects?: readonly Effect[];
  readonly risks?: readonly string[];
  readonly rights?: StepRights;
  readonly pattern?: PatternMark;
}

function base(step: StepBase): Omit<Step, 'operation' | 'change'> {
  return {
    id: `${step.phase}/${step.id}`,
    namespace: step.namespace,
    phase: step.phase,
    title: step.title,
    ...(step.workload === undefined ? {} : { workload: step.workload }),
    ...(step.direction === undefined ? {} : { direction: step.direction }),
    effects: step.effects ?? [],
    risks: step.risks ?? [],
    ...(step.rights === undefined ? {} : { rights: step.rights }),
    ...(step.pattern === undefined ? {} : { pattern: step.pattern }),
  };
}

/** Objects by reference. */
interface ObjectIndex {
  get(object: KubeManifest): KubeManifest | undefined;
  byKey(key: string): KubeManifest | undefined;
}

/**
 * The step that makes the cluster hold `wanted`: a create, an edit of the spec of our own object, or nothing where it is there
 * already. An object of that name that is not ours is edited only after confirmation.
 */
function ensureStep(index: ObjectIndex, wanted: KubeManifest, step: StepBase): Step | undefined {
  const live = index.get(wanted);
  if (live === undefined) return { ...base(step), operation: 'create', change: { kind: 'create', object: wanted } };
  return editStep(live, [{ path: ['spec'], after: wanted['spec'] }], step);
}

/** An edit of some fields of an object that is there; undefined where they hold already. */
function editStep(
  live: KubeManifest,
  fields: readonly { readonly path: FieldPath; readonly after: Json | undefined }[],
  step: StepBase,
): Step | undefined {
  const changes: FieldChange[] = [];
  for (const field of fields) {
    const change = fieldChange(live, field.path, field.after);
    if (change !== undefined) changes.push(change);
  }
  if (changes.length === 0) return undefined;
  const uid = live.metadata['uid'];
  const own = isOwn(live);
  return {
    ...base(step),
    operation: 'edit',
    change: {
      kind: 'edit',
      ref: refOf(live),
      ...(typeof uid === 'string' ? { uid } : {}),
      fields: changes,
      owner: own ? 'sallyport' : 'other',
    },
    ...(own
      ? {}
      : {
          confirm: `${live.kind} ${live.metadata.name} is not Sallyport's: it changes ${changes.map((one) => one.path.join('.')).join(', ')}`,
        }),
  };
}

/** What the API server and controllers write into an object: no part of a plan, whose hash must not follow their figures. */
const OF_SERVERS: ReadonlySet<string> = new Set([
  'uid',
  'resourceVersion',
  'generation',
  'creationTimestamp',
  'managedFields',
  'selfLink',
]);

function plain(live: KubeManifest): KubeManifest {
  const fields = Object.entries(live.metadata).filter(([key]) => !OF_SERVERS.has(key));
  const rest = Object.fromEntries(Object.entries(live).filter(([key]) => key !== 'status'));
  const { apiVersion, kind } = live;
  return { ...rest, apiVersion, kind, metadata: { ...Object.fromEntries(fields), name: live.metadata.name } };
}

/** The step that takes an object of ours away. What it takes is recorded as it is when it is done (engine). */
function removeStep(live: KubeManifest, step: StepBase): Step {
  const uid = live.metadata['uid'];
  return {
    ...base(step),
    operation: 'delete',
    change: {
      kind: 'delete',
      ref: refOf(live),
      ...(typeof uid === 'string' ? { uid } : {}),
      before: plain(live),
    },
  };
}

/** Steps in the making: each is planned against the objects as the ones before leave them. */
export interface Draft {
  get(object: KubeManifest): KubeManifest | undefined;
  byKey(key: string): KubeManifest | undefined;
  /** The cluster is to hold this object; see ensureStep. */
  ensure(wanted: KubeManifest, step: StepBase): void;
  /** Fields of an object that is there; see editStep. */
  edit(
    live: KubeManifest,
    fields: readonly { readonly path: FieldPath; readonly after: Json | undefined }[],
    step: StepBase,
  ): void;
  /** The cluster is not to hold this object of ours any more; nothing where it is not there. */
  remove(live: KubeManifest, step: StepBase): void;
  readonly steps: readonly Step[];
}

export function draftSteps(objects: readonly KubeManifest[]): Draft {
  const byKey = new Map(objects.map((object) => [objectKey(object), object]));
  const index: ObjectIndex = {
    get: (object) => byKey.get(objectKey(object)),
    byKey: (key) => byKey.get(key),
  };
  const steps: Step[] = [];
  const ids = new Map<string, number>();
  const add = (step: Step | undefined): void => {
    if (step === undefined) return;
    const { id, change } = step;
    // Workloads of two kinds may share their name.
    const times = (ids.get(id) ?? 0) + 1;
    ids.set(id, times);
    steps.push(times === 1 ? step : { ...step, id: `${id}-${times}` });
    if (change.kind === 'create') byKey.set(refKey(refOf(change.object)), change.object);
    if (change.kind === 'delete') byKey.delete(refKey(change.ref));
    if (change.kind === 'edit') {
      const live = byKey.get(refKey(change.ref));
      if (live !== undefined) byKey.set(refKey(change.ref), editObject(live, change.fields));
    }
  };
  return {
    ...index,
    ensure: (wanted, step) => add(ensureStep(index, wanted, step)),
    edit: (live, fields, step) => add(editStep(index.get(live) ?? live, fields, step)),
    remove: (live, step) => {
      const there = index.get(live);
      if (there !== undefined) add(removeStep(there, step));
    },
    steps,
  };
}
