// Views of the two teams, with something changed.
import { readFileSync, readdirSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';
import type { View } from '../../src/engine/contract.ts';
import type { Snapshot } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { isKubeManifest, refKey, refOf } from '../../src/model/object.ts';
import type { PhaseName } from '../../src/model/phase.ts';
import { assembleUp } from '../../src/plan/assemble.ts';
import type { Plan } from '../../src/plan/plan.ts';
import { sortBy } from '../../src/shared/pure/order.ts';
import { asArray } from '../../src/shared/pure/json.ts';
import type { Facts } from '../support/rig.ts';
import { plannerFor, twoTeamsEdges, viewOf } from '../support/rig.ts';

const FIXTURE = new URL('../fixtures/two-teams/cluster/', import.meta.url);

/** Objects of YAML text; Lists are taken apart. */
export function objectsOf(text: string): readonly KubeManifest[] {
  return parseAllDocuments(text)
    .map((document) => document.toJS() as unknown)
    .flatMap((one) => (isKubeManifest(one) ? [one] : asArray((one as { readonly items?: [] } | null)?.items)))
    .filter(isKubeManifest);
}

export const TWO_TEAMS: readonly KubeManifest[] = readdirSync(FIXTURE).flatMap((name) =>
  objectsOf(readFileSync(new URL(name, FIXTURE), 'utf8')),
);

export function snapshotOf(objects: readonly KubeManifest[], source: Snapshot['source'] = 'directory'): Snapshot {
  return {
    source,
    objects: sortBy(objects, (object) => refKey(refOf(object))),
    origins: new Map(),
    findings: [],
    unread: [],
  };
}

export interface Case extends Partial<Facts> {
  readonly namespace?: string;
  readonly objects?: readonly KubeManifest[];
  /** Added to the two teams, in place of an object of the same name. */
  readonly with?: string;
  /** `Kind/name` of objects left out. */
  readonly without?: readonly string[];
  readonly source?: Snapshot['source'];
  readonly phases?: Readonly<Record<string, PhaseName>>;
}

export function viewFor(one: Case): View {
  const added = objectsOf(one.with ?? '');
  const keys = new Set(added.map((object) => refKey(refOf(object))));
  const base = (one.objects ?? TWO_TEAMS).filter(
    (object) =>
      !keys.has(refKey(refOf(object))) && one.without?.includes(`${object.kind}/${object.metadata.name}`) !== true,
  );
  return viewOf(
    snapshotOf([...base, ...added], one.source),
    one.namespace ?? 'front',
    { edges: twoTeamsEdges(), ...one },
    { phases: new Map(Object.entries(one.phases ?? {})), applied: [] },
  );
}

export function planFor(one: Case, to: PhaseName = 'identity'): Plan {
  return assembleUp(viewFor(one), to, plannerFor(one.source ?? 'directory'));
}
