import { shellWord } from '../../shared/pure/shell.ts';
import { readFile } from 'node:fs/promises';
import type { Finding } from '../../model/finding.ts';
import type { Origin, Snapshot } from '../../model/inventory.ts';
import type { KubeManifest } from '../../model/object.ts';
import { formatRef, namespaceOf, refKey, refOf } from '../../model/object.ts';
import type { YamlChunk } from '../../shared/io/yaml.ts';
import { errorCodeOf } from '../../shared/io/files.ts';
import { messageOf } from '../../shared/pure/errors.ts';
import { sortBy } from '../../shared/pure/order.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import type { ParsedChunk, ParsedObject } from './schema.ts';
import { parseManifestText } from './schema.ts';
import type { ScopeOf } from './scope.ts';
import { buildScopes } from './scope.ts';
import { readManifestFiles, resolveManifestRoot } from './walk.ts';

export { readManifestFiles, resolveManifestRoot } from './walk.ts';
export { buildScopes } from './scope.ts';
export type { ScopeOf } from './scope.ts';

export interface ManifestOptions {
  /** For objects of namespaced kinds that name none. Without it they are read as of `default`, with a finding. */
  readonly defaultNamespace?: string | undefined;
}

/** An object and where its bytes are. */
export interface ManifestEntry {
  /** With the namespace filled in, or left out for a cluster-scoped kind. */
  readonly object: KubeManifest;
  readonly parsed: ParsedObject;
  readonly origin: Origin;
  /** The file itself, links resolved. */
  readonly path: string;
  /** The file's text when it was read. */
  readonly text: string;
  readonly chunk: YamlChunk;
}

export interface ManifestDirectory {
  /** The directory's real path. */
  readonly root: string;
  readonly snapshot: Snapshot;
  /** By refKey. */
  readonly entries: ReadonlyMap<string, ManifestEntry>;
  /** Files in which something does not parse: never edited. */
  readonly broken: ReadonlySet<string>;
  readonly scopeOf: ScopeOf;
  /** What interrupted writes left behind, absolute paths. */
  readonly leftovers: readonly string[];
}

/**
 * Reads every manifest under a directory: `.yaml`, `.yml` and `.json`, sorted by name, several documents, lists. What cannot be
 * read is a finding (SP302 does not parse, SP303 given twice, SP304 no namespace, SP360 not an object, SP361 not read) and the
 * rest is read. Throws a Failure (exit 2) when there is no such directory.
 */
export async function readManifestDirectory(dir: string, options: ManifestOptions = {}): Promise<Snapshot> {
  return (await readManifestIndex(dir, options)).snapshot;
}

/** As `readManifestDirectory`, with the place of every object for writing to it. */
export async function readManifestIndex(dir: string, options: ManifestOptions = {}): Promise<ManifestDirectory> {
  const root = await resolveManifestRoot(dir);
  const { files, skipped, leftovers } = await readManifestFiles(root);
  const findings: Finding[] = skipped.map(({ file, message }) => ({
    code: 'SP361',
    severity: 'warning',
    subject: safeText(file),
    message: `Not read: ${message}`,
  }));
  const broken = new Set<string>();
  const read: Omit<ManifestEntry, 'object'>[] = [];

  for (const { file, path } of files) {
    const text = await readText(path);
    if (typeof text !== 'string') {
      broken.add(file);
      findings.push(brokenFinding(file, text.problem));
      continue;
    }
    let document = 0;
    for (const { chunk, parsed } of parseManifestText(text).chunks) {
      for (const entry of parsed.objects) {
        const origin = { file, document: document + entry.index + 1, line: chunk.line + entry.line - 1 };
        read.push({ parsed: entry, origin, path, text, chunk });
      }
      if (parsed.notes.some(({ kind }) => kind === 'broken')) broken.add(file);
      findings.push(...noteFindings(file, chunk, parsed, document));
      document += parsed.documents;
    }
  }

  const scopeOf = buildScopes(read.map(({ parsed }) => parsed.object));
  const entries = new Map<string, ManifestEntry>();
  const withoutNamespace = new Map<string, number>();
  for (const place of read) {
    const object = settleNamespace(place.parsed.object, scopeOf, options.defaultNamespace ?? 'default');
    const key = refKey(refOf(object));
    if (namespaceOf(object) !== undefined && namespaceOf(place.parsed.object) === undefined)
      withoutNamespace.set(place.origin.file, (withoutNamespace.get(place.origin.file) ?? 0) + 1);
    const first = entries.get(key);
    if (first === undefined) entries.set(key, { ...place, object });
    else findings.push(duplicateFinding(object, first.origin, place.origin));
  }
  if (options.defaultNamespace === undefined)
    for (const [file, count] of withoutNamespace)
      findings.push({
        code: 'SP304',
        severity: 'warning',
        subject: safeText(file),
        message: `${plural(count, 'object')} without a namespace: read as of namespace default`,
        hint: 'Give --default-namespace, or write metadata.namespace.',
      });

  const snapshot: Snapshot = {
    source: 'directory',
    objects: sortBy(entries.keys(), (key) => key).flatMap((key) => entries.get(key)?.object ?? []),
    origins: new Map([...entries].map(([key, { origin }]) => [key, origin])),
    findings,
    unread: [],
  };
  return { root, snapshot, entries, broken, scopeOf, leftovers };
}

/** An object with the namespace that the API server would give it. */
export function settleNamespace(object: KubeManifest, scopeOf: ScopeOf, defaultNamespace: string): KubeManifest {
  const { namespace, ...metadata } = object.metadata;
  const clusterScoped = scopeOf(object.apiVersion, object.kind) === 'Cluster';
  if (clusterScoped) return namespace === undefined ? object : { ...object, metadata: metadata };
  if (namespaceOf(object) !== undefined) return object;
  return { ...object, metadata: { ...(metadata as KubeManifest['metadata']), namespace: defaultNamespace } };
}

async function readText(path: string): Promise<string | { readonly problem: string }> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    return { problem: `it cannot be read: ${errorCodeOf(error) ?? messageOf(error)}` };
  }
  return decodeManifest(bytes) ?? { problem: 'it is not UTF-8 text' };
}

/** Text whose UTF-8 bytes are exactly the given ones, byte order mark included; undefined where there is none. */
export function decodeManifest(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    // A TypeError is how the decoder says that the bytes are not UTF-8.
    return undefined;
  }
}

function brokenFinding(file: string, message: string, where?: string): Finding {
  return {
    code: 'SP302',
    severity: 'error',
    subject: safeText(file),
    message: safeText(message),
    where: safeText(where ?? file),
    hint: `Correct it, or waive it: sallyport waive ${shellWord(`subject=${safeText(file)}`)} --reason TEXT`,
  };
}

function noteFindings(file: string, chunk: YamlChunk, parsed: ParsedChunk, before: number): readonly Finding[] {
  return parsed.notes.map((note) => {
    const document = `document ${before + note.index + 1}`;
    if (note.kind === 'broken') {
      const { message, line, column } = note.problem;
      return brokenFinding(file, message, `${file}:${chunk.line + line - 1}:${column}, ${document}`);
    }
    return {
      code: 'SP360',
      severity: note.severity,
      subject: safeText(file),
      message: `Not a Kubernetes object: ${safeText(note.message)}`,
      where: safeText(`${file}:${chunk.line + note.line - 1}, ${document}`),
    };
  });
}

function duplicateFinding(object: KubeManifest, first: Origin, second: Origin): Finding {
  return {
    code: 'SP303',
    severity: 'warning',
    subject: safeText(formatRef(refOf(object))),
    message: `Given twice: the one at ${safeText(first.file)}:${first.line} is used`,
    where: safeText(`${second.file}:${second.line}, document ${second.document}`),
  };
}
