// Crash images: what a kill leaves on the disk at each point of a run, taken from one uninterrupted run. A run is started again from
// each image in the same place, as the state file belongs to that place.
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AppliedStep, Journal } from '../../src/engine/contract.ts';
import type { Engine } from '../../src/engine/run.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { formatRef, refKey, refOf } from '../../src/model/object.ts';
import { changeRef } from '../../src/plan/change.ts';
import { systemClock } from '../../src/shared/io/clock.ts';
import { openDirectoryTarget } from '../../src/targets/directory.ts';
import { sortBy } from '../../src/shared/pure/order.ts';
import { interpretUndo } from '../support/kubectl/interpret.ts';
import { openUndoFolder } from '../../src/targets/undo-folder.ts';
import type { Facts, Rig, RigOptions } from '../support/rig.ts';
import { copyTwoTeams, openRig, twoTeamsEdges } from '../support/rig.ts';
import { readTree } from '../support/folder.ts';

export interface Place {
  readonly root: string;
  /** What is there: manifests and state. */
  readonly world: string;
  readonly cluster: string;
  readonly images: string;
  dispose(): void;
}

export function makePlace(): Place {
  const root = mkdtempSync(join(tmpdir(), 'sallyport-crash-'));
  const world = join(root, 'world');
  const images = join(root, 'images');
  mkdirSync(world);
  mkdirSync(images);
  return {
    root,
    world,
    images,
    cluster: copyTwoTeams(world),
    dispose: () => rmSync(root, { recursive: true, force: true }),
  };
}

export async function openPlace(place: Place, more: Partial<RigOptions> = {}): Promise<Rig> {
  const facts: Facts = { edges: twoTeamsEdges() };
  return openRig({
    target: await openDirectoryTarget({ dir: place.cluster, clock: systemClock }),
    stateFile: join(place.world, 'state', 'state.sqlite'),
    facts,
    ...more,
  });
}

/** Ways back are kept beside the state, as the program does it; on the disk, and so slowly. */
export function keptBeside(place: Place): Pick<RigOptions, 'undo'> {
  return { undo: [openUndoFolder(undoFolder(place))] };
}

export function undoFolder(place: Place): string {
  return join(place.world, 'state', 'state.sqlite.undo');
}

export interface Image {
  readonly name: string;
  readonly dir: string;
}

export function keepImage(place: Place, taken: Image[], name: string): void {
  const dir = join(place.images, String(taken.length));
  cpSync(place.world, dir, { recursive: true });
  taken.push({ name: `${taken.length}: ${name}`, dir });
}

/** Between an engine and its world: keeps an image after every write to either. */
export function imaging(place: Place, taken: Image[]): (engine: Engine) => Engine {
  const take = (name: string): void => keepImage(place, taken, name);
  return (engine) => {
    const { journal, target } = engine;
    let step = 'the run is recorded';
    const recording: Journal = {
      ...journal,
      openRun: (run) => {
        journal.openRun(run);
        take(step);
      },
      stepStarted: (run, index, change, at) => {
        journal.stepStarted(run, index, change, at);
        step = `${formatRef(changeRef(change))} (step ${index})`;
        take(`before the write of ${step}`);
      },
      stepDone: (run, index, result) => {
        journal.stepDone(run, index, result);
        take(`after the journal knows of ${step}`);
      },
      stepFailed: (run, index, error, at) => {
        journal.stepFailed(run, index, error, at);
        take(`after the journal knows of the failure of step ${index}`);
      },
      stepSkipped: (run, index, reason, at) => {
        journal.stepSkipped(run, index, reason, at);
        take(`after step ${index} was passed over`);
      },
      saveSoak: (soak) => {
        journal.saveSoak(soak);
        take(`after the journal knows of the watch (${step})`);
      },
      pullBack: (run, audit) => {
        journal.pullBack(run, audit);
        take('after the journal knows that the run is pulled back');
      },
      setPhase: (namespace, phase, at) => {
        journal.setPhase(namespace, phase, at);
        take(`${namespace} is in ${phase}`);
      },
    };
    return {
      ...engine,
      journal: recording,
      target: {
        ...target,
        apply: async (change) => {
          const applied = await target.apply(change);
          take(`after the write, before the journal knows of ${step}`);
          return applied;
        },
      },
    };
  };
}

/** Puts an image in place. The locks in it are those of a process that is gone. */
export function restore(place: Place, image: Image): void {
  rmSync(place.world, { recursive: true, force: true });
  cpSync(image.dir, place.world, { recursive: true });
  const locks = join(place.cluster, 'sallyport', '.lock');
  for (const name of safeList(locks)) {
    const file = join(locks, name);
    writeFileSync(file, readFileSync(file, 'utf8').replace(/"pid":\d+/u, '"pid":999999999'));
  }
}

function safeList(dir: string): readonly string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

/** The objects of the directory, in the order of their names. */
export async function readObjects(place: Place): Promise<readonly KubeManifest[]> {
  const target = await openDirectoryTarget({ dir: place.cluster, clock: systemClock });
  const { objects } = await target.readSnapshot();
  await target.close();
  return sortBy(objects, (object) => refKey(refOf(object)));
}

/** The objects after every bundle beside the state has been run, the caller's before its server's. */
export function undoneByBundles(place: Place, objects: readonly KubeManifest[]): readonly KubeManifest[] {
  let now = objects;
  for (const namespace of ['front', 'back']) {
    const folder = join(undoFolder(place), namespace);
    if (existsSync(folder)) now = interpretUndo(folder, now).objects;
  }
  return sortBy(now, (object) => refKey(refOf(object)));
}

/** What a run leaves, but for moments and numbers of its own. */
export async function outcomeOf(
  place: Place,
  rig: Rig,
): Promise<{ readonly tree: unknown; readonly phases: unknown; readonly inForce: unknown; readonly open: number }> {
  return {
    tree: await readTree(place.cluster),
    phases: Object.fromEntries(rig.journal.phases()),
    inForce: rig.journal.applied().map(essence),
    open: rig.journal.openRuns().length,
  };
}

function essence({ namespace, phase, step, change }: AppliedStep): unknown {
  return { namespace, phase, step: step.id, change };
}
