// Writes manifests to an API server as a person with kubectl would: server-side apply, what others need first.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseAllDocuments } from 'yaml';
import type { ApiClient } from '../../support/apiserver/client.ts';

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly items?: readonly unknown[];
}

interface Kind {
  readonly plural: string;
  readonly namespaced: boolean;
}

const FIRST = ['Namespace', 'CustomResourceDefinition'];
const THEN = [
  'ServiceAccount',
  'ConfigMap',
  'Secret',
  'ClusterRole',
  'Role',
  'ClusterRoleBinding',
  'RoleBinding',
  'Service',
];
const fieldManager = 'kubectl';
const patience = 30_000;

/** The manifests of a file or of every *.yaml, *.yml and *.json of a folder, in the order of the names. */
export function readManifests(from: string): readonly unknown[] {
  if (statSync(from).isDirectory())
    return readdirSync(from)
      .filter((name) => /\.(ya?ml|json)$/.test(name))
      .sort()
      .flatMap((name) => readManifests(path.join(from, name)));
  return parseAllDocuments(readFileSync(from, 'utf8')).flatMap((document) => {
    const [fault] = document.errors;
    if (fault !== undefined) throw new Error(`${from}: ${fault.message}`);
    const value: unknown = document.toJS();
    return value === null ? [] : [value];
  });
}

/** Applies every manifest; Lists are opened. Errors: one that the server refuses, with its answer. */
export async function applyManifests(client: ApiClient, manifests: readonly unknown[]): Promise<void> {
  const all = manifests.flatMap(open);
  const rank = ({ kind }: Manifest): number => {
    if (FIRST.includes(kind)) return FIRST.indexOf(kind);
    return THEN.includes(kind) ? 10 + THEN.indexOf(kind) : 100;
  };
  const ordered = all.map((one, index) => ({ one, index }));
  ordered.sort((a, b) => rank(a.one) - rank(b.one) || a.index - b.index);
  const kinds = new Map<string, ReadonlyMap<string, Kind>>();
  for (let from = 0; from < ordered.length;) {
    const first = ordered[from];
    if (first === undefined) break;
    let to = from;
    while (to < ordered.length && rank(ordered[to]?.one ?? first.one) === rank(first.one)) to += 1;
    await Promise.all(ordered.slice(from, to).map(({ one }) => applyOne(client, kinds, one)));
    from = to;
  }
}

function open(value: unknown): readonly Manifest[] {
  const manifest = value as Manifest;
  return manifest.kind === 'List' ? (manifest.items ?? []).flatMap(open) : [manifest];
}

async function applyOne(
  client: ApiClient,
  kinds: Map<string, ReadonlyMap<string, Kind>>,
  manifest: Manifest,
): Promise<void> {
  const deadline = Date.now() + patience;
  const what = `${manifest.kind} ${manifest.metadata.namespace ?? ''}/${manifest.metadata.name}`;
  for (;;) {
    const kind = await kindOf(client, kinds, manifest);
    if (kind !== undefined) {
      const answer = await client.request(
        'PATCH',
        `${pathOf(manifest, kind)}?fieldManager=${fieldManager}&force=true`,
        manifest,
        'application/apply-patch+yaml',
      );
      if (answer.status < 400) return;
      // A webhook or a controller of the control plane that is just starting: what is refused for good stays refused.
      const later = answer.status >= 500 || (answer.status === 404 && answer.text.includes('not found'));
      if (!later || Date.now() > deadline)
        throw new Error(`applying ${what}: ${answer.status} ${answer.text.slice(0, 600)}`);
    } else if (Date.now() > deadline) throw new Error(`applying ${what}: the server has no such kind`);
    await delay(100);
  }
}

async function kindOf(
  client: ApiClient,
  kinds: Map<string, ReadonlyMap<string, Kind>>,
  manifest: Manifest,
): Promise<Kind | undefined> {
  const known = kinds.get(manifest.apiVersion)?.get(manifest.kind);
  if (known !== undefined) return known;
  const answer = await client.request('GET', rootOf(manifest.apiVersion));
  if (answer.status >= 400) return undefined;
  const { resources } = answer.body as {
    readonly resources: readonly { readonly name: string; readonly kind: string; readonly namespaced: boolean }[];
  };
  const found = new Map(
    resources
      .filter(({ name }) => !name.includes('/'))
      .map(({ name, kind, namespaced }) => [kind, { plural: name, namespaced }]),
  );
  kinds.set(manifest.apiVersion, found);
  return found.get(manifest.kind);
}

function rootOf(apiVersion: string): string {
  return apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
}

function pathOf({ apiVersion, metadata }: Manifest, { plural, namespaced }: Kind): string {
  const scope = namespaced ? `/namespaces/${metadata.namespace ?? 'default'}` : '';
  return `${rootOf(apiVersion)}${scope}/${plural}/${metadata.name}`;
}
