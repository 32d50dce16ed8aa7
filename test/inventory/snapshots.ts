import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../../src/model/config.ts';
import { DEFAULT_CONFIG } from '../../src/model/config.ts';
import { endpointKey } from '../../src/model/edge.ts';
import type { Declared, Inventory, Snapshot, Workload } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { isKubeManifest, refKey, refOf } from '../../src/model/object.ts';
import { sortBy } from '../../src/shared/pure/order.ts';
import { buildInventory } from '../../src/inventory/build.ts';
import type { Signatures } from '../../src/inventory/signatures.ts';
import { mergeSignatures, parseSignatures } from '../../src/inventory/signatures.ts';
import { readManifestDirectory } from '../../src/sources/manifests/index.ts';

const ROOT = join(import.meta.dirname, '../..');

/** The signatures that the product ships. */
export function shippedSignatures(): Signatures {
  const dir = join(ROOT, 'templates/signatures');
  const files = readdirSync(dir).filter((name) => name.endsWith('.json'));
  return mergeSignatures(
    files.map((name) => parseSignatures(JSON.parse(readFileSync(join(dir, name), 'utf8')) as unknown, name)),
  );
}

const SIGNATURES = shippedSignatures();

/** A fixture as a live cluster would give it. */
export async function readFixture(name: string, source: Snapshot['source'] = 'cluster'): Promise<Snapshot> {
  const snapshot = await readManifestDirectory(join(ROOT, 'test/fixtures/inventory', name));
  return { ...snapshot, source };
}

/** Objects written in the test itself; namespaces as given. */
export function snapshotOf(objects: readonly unknown[], source: Snapshot['source'] = 'cluster'): Snapshot {
  const manifests = objects.map((object) => {
    if (!isKubeManifest(object)) throw new Error(`not an object: ${JSON.stringify(object)}`);
    return object;
  });
  return {
    source,
    objects: sortBy(manifests, (manifest: KubeManifest) => refKey(refOf(manifest))),
    origins: new Map(),
    findings: [],
    unread: [],
  };
}

export function withObjects(snapshot: Snapshot, ...more: readonly unknown[]): Snapshot {
  const added = snapshotOf(more).objects;
  const keys = new Set(added.map((manifest) => refKey(refOf(manifest))));
  const kept = snapshot.objects.filter((manifest) => !keys.has(refKey(refOf(manifest))));
  return { ...snapshot, objects: sortBy([...kept, ...added], (manifest) => refKey(refOf(manifest))) };
}

export function inventoryOf(snapshot: Snapshot, config: Partial<Config> = {}): Inventory {
  return buildInventory(snapshot, { config: { ...DEFAULT_CONFIG, ...config }, signatures: SIGNATURES, now: 0 });
}

export function workload(inventory: Inventory, id: string): Workload {
  const found = inventory.workloads.find((item) => item.id === id);
  if (found === undefined) {
    throw new Error(`no workload ${id}; there are ${inventory.workloads.map((item) => item.id).join(', ')}`);
  }
  return found;
}

/** `src -> dst port/protocol strength`, as one line. */
export function edgeLine(edge: Declared): string {
  return `${endpointKey(edge.src)} -> ${endpointKey(edge.dst)} ${edge.port}/${edge.protocol} ${edge.strength}`;
}

export function findingLines(inventory: Inventory, code: string): readonly string[] {
  return inventory.findings.filter((item) => item.code === code).map((item) => item.message);
}
