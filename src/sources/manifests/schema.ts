import { isKindName, isObjectName } from '../../model/names.ts';
import type { KubeManifest } from '../../model/object.ts';
import { groupOf, isKubeManifest } from '../../model/object.ts';
import type { YamlChunk, YamlProblem } from '../../shared/io/yaml.ts';
import { parseYamlDocuments, splitYaml } from '../../shared/io/yaml.ts';
import { sha256 } from '../../shared/pure/hash.ts';
import type { Json, JsonObject } from '../../shared/pure/json.ts';
import { asArray, asObject, isJsonObject } from '../../shared/pure/json.ts';

/** An object of a text as it is written there, its place, and nothing filled in. Secrets are without their values. */
export interface ParsedObject {
  readonly object: KubeManifest;
  /** Which document of the chunk, from 0. */
  readonly index: number;
  /** From the document's root to the object: `['items', 2]` in a list. */
  readonly itemPath: readonly (string | number)[];
  /** Within the chunk, from 1. */
  readonly line: number;
}

/** Something in a text that is not an object of a cluster, or does not parse. */
export type ParsedNote =
  | { readonly kind: 'broken'; readonly index: number; readonly problem: YamlProblem }
  | {
      readonly kind: 'not-an-object';
      readonly index: number;
      readonly severity: 'info' | 'warning';
      readonly message: string;
      readonly line: number;
    };

export interface ParsedChunk {
  /** Documents in it that are not empty. */
  readonly documents: number;
  readonly objects: readonly ParsedObject[];
  readonly notes: readonly ParsedNote[];
}

export interface ParsedText {
  readonly chunks: readonly { readonly chunk: YamlChunk; readonly parsed: ParsedChunk }[];
}

const MAX_LIST_DEPTH = 8;
/** Characters of text whose reading is kept, so that a directory that is read again costs what has changed. */
const MAX_CACHED_LENGTH = 64 * 1024 * 1024;

const cache = new Map<string, { readonly parsed: ParsedChunk; readonly length: number }>();
let cachedLength = 0;

/** The objects of a file's text, chunk by chunk. */
export function parseManifestText(text: string): ParsedText {
  return {
    chunks: splitYaml(text).map((chunk) => ({ chunk, parsed: parseChunkCached(text.slice(chunk.start, chunk.end)) })),
  };
}

function parseChunkCached(text: string): ParsedChunk {
  const key = sha256(text);
  const hit = cache.get(key);
  // Taken out and put back: a Map keeps the order of insertion, so the first is the one not used for longest.
  if (hit !== undefined) cache.delete(key);
  const entry = hit ?? { parsed: parseManifestChunk(text), length: text.length };
  if (hit === undefined) cachedLength += entry.length;
  cache.set(key, entry);
  for (const [oldest, { length }] of cache) {
    if (cachedLength <= MAX_CACHED_LENGTH || oldest === key) break;
    cache.delete(oldest);
    cachedLength -= length;
  }
  return entry.parsed;
}

/** The objects of one chunk of text. */
export function parseManifestChunk(text: string): ParsedChunk {
  const objects: ParsedObject[] = [];
  const notes: ParsedNote[] = [];
  const documents = parseYamlDocuments(text);
  documents.forEach((document, index) => {
    if (document.problem !== undefined) {
      const templated = /\{\{/u.test(text);
      const message = `${document.problem.message}${templated ? ' (it holds `{{`: a template must be rendered first)' : ''}`;
      notes.push({ kind: 'broken', index, problem: { ...document.problem, message } });
      return;
    }
    const collect = (
      value: Json | undefined,
      itemPath: readonly (string | number)[],
      line: number,
      inherited: JsonObject,
    ): void => {
      const object = isJsonObject(value) ? { ...inherited, ...value } : value;
      if (isListOfObjects(object)) {
        if (itemPath.length / 2 > MAX_LIST_DEPTH) {
          notes.push({
            kind: 'not-an-object',
            index,
            severity: 'warning',
            line,
            message: 'lists are nested too deeply',
          });
          return;
        }
        asArray(object['items']).forEach((item, at) => {
          const itemLine = itemPath.length === 0 ? (document.itemLines[at] ?? line) : line;
          collect(item, [...itemPath, 'items', at], itemLine, itemDefaults(object));
        });
        return;
      }
      if (isKubeManifest(object) && hasTextNamespace(object) && hasPlainNames(object)) {
        objects.push({ object: withoutSecretValues(object), index, itemPath, line });
        return;
      }
      notes.push({ kind: 'not-an-object', index, line, ...describeOther(object) });
    };
    collect(document.value, [], document.line, {});
  });
  return { documents: documents.length, objects, notes };
}

function hasTextNamespace({ metadata }: KubeManifest): boolean {
  const namespace = metadata['namespace'];
  return namespace === undefined || namespace === null || typeof namespace === 'string';
}

const API_VERSION = /^[A-Za-z0-9.-]{1,253}(?:\/[A-Za-z0-9]{1,63})?$/;

/** Names stand in commands, paths and queries: one that no API server would take is none. */
function hasPlainNames({ apiVersion, kind, metadata }: KubeManifest): boolean {
  const { name, namespace } = metadata;
  return (
    API_VERSION.test(apiVersion) &&
    isKindName(kind) &&
    typeof name === 'string' &&
    isObjectName(name) &&
    (typeof namespace !== 'string' || namespace === '' || isObjectName(namespace))
  );
}

function isListOfObjects(value: Json | undefined): value is JsonObject {
  return (
    isJsonObject(value) &&
    typeof value['kind'] === 'string' &&
    value['kind'].endsWith('List') &&
    (Array.isArray(value['items']) || (value['kind'] === 'List' && !('metadata' in value && isKubeManifest(value))))
  );
}

/** In a typed list (`DeploymentList`) the items may leave out what the list says of all of them. */
function itemDefaults(list: JsonObject): JsonObject {
  const { kind, apiVersion } = list;
  if (typeof kind !== 'string' || kind === 'List' || apiVersion === undefined) return {};
  return { apiVersion, kind: kind.slice(0, -'List'.length) };
}

// Applied by kubectl with the object's whole content, values included.
const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';

function withoutSecretValues(object: KubeManifest): KubeManifest {
  if (object.kind !== 'Secret' || groupOf(object.apiVersion) !== '') return object;
  const { apiVersion, kind, metadata, type } = object;
  const annotations = metadata['annotations'];
  const kept = isJsonObject(annotations)
    ? Object.fromEntries(Object.entries(annotations).filter(([key]) => key !== LAST_APPLIED))
    : annotations;
  return {
    apiVersion,
    kind,
    metadata: { ...metadata, ...(kept === undefined ? {} : { annotations: kept }) },
    ...(type === undefined ? {} : { type }),
  };
}

function describeOther(value: Json | undefined): { readonly severity: 'info' | 'warning'; readonly message: string } {
  if (!isJsonObject(value)) return { severity: 'warning', message: 'it is not an object' };
  const { kind, apiVersion } = value;
  if (typeof kind !== 'string')
    return { severity: 'info', message: 'it has no kind: values or settings of another tool' };
  if (kind === 'Kustomization')
    return { severity: 'info', message: 'a Kustomization: build it, then read what it makes' };
  if (typeof apiVersion !== 'string') return { severity: 'warning', message: 'it has no apiVersion' };
  const metadata = asObject(value['metadata']);
  if (typeof metadata['name'] === 'string')
    return {
      severity: 'warning',
      message: hasTextNamespace(value as KubeManifest)
        ? 'its name, namespace, kind or apiVersion is none that an API server takes'
        : 'metadata.namespace is not text',
    };
  if (typeof metadata['generateName'] === 'string')
    return { severity: 'info', message: 'it has generateName: it becomes an object only when it is created' };
  return { severity: 'warning', message: 'it has no metadata.name, or one that is not text' };
}
