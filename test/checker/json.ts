/** Manifests are read as plain data; these give a harmless empty value where a field is absent. */
export type Doc = Readonly<Record<string, unknown>>;

export function isDoc(value: unknown): value is Doc {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function doc(value: unknown): Doc {
  return isDoc(value) ? value : {};
}

export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

export function docs(value: unknown): readonly Doc[] {
  return list(value).map(doc);
}

export function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

export function texts(value: unknown): readonly string[] {
  return list(value).map(String);
}

/** Label and annotation maps. */
export function labelMap(value: unknown): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(doc(value)).map(([key, one]) => [key, String(one)]));
}

/** Something the checker does not model. It stops rather than call a state good that it cannot judge. */
export class Unsupported extends Error {
  override readonly name = 'Unsupported';
}

/** Refuses fields outside `known`: an unknown field of a policy could decide an edge. */
export function only(value: Doc, known: readonly string[], where: string): Doc {
  for (const key of Object.keys(value))
    if (!known.includes(key)) throw new Unsupported(`${where}: the checker does not model "${key}"`);
  return value;
}
