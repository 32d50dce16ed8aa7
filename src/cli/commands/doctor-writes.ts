import { DIALECT_KINDS, REHEARSED_KIND } from '../../candidates/dialect.ts';
import type { Pattern } from '../../candidates/patterns/pattern.ts';
import { DIALECTS } from '../../model/config.ts';
import { groupOf } from '../../model/object.ts';
import { readWriting } from '../../sources/kube/access.ts';
import type { Discovery, KubeApi } from '../../sources/kube/index.ts';
import { roleForKind } from '../../sources/kube/rights.ts';
import type { Json } from '../../shared/pure/json.ts';
import { isJsonObject } from '../../shared/pure/json.ts';
import { compareText, sortBy } from '../../shared/pure/order.ts';

/** A kind that patterns or dialects write, and whether this account could write it here. */
export interface WritableKind {
  readonly apiVersion: string;
  readonly kind: string;
  /** `dialect admin`, `pattern tenant-isolation`. */
  readonly for: readonly string[];
  /** `no`: the API server has no such kind of this version. */
  readonly served: 'yes' | 'no';
  /** Versions of the group that are served, where this one is not. */
  readonly servedVersions: readonly string[];
  readonly rights: 'yes' | 'no' | 'unknown' | 'not-asked';
  /** Verbs that are refused. */
  readonly missing: readonly string[];
  /** The role of templates/rbac that brings them. */
  readonly role: string | undefined;
}

export interface DialectHere {
  readonly dialect: string;
  readonly answer: 'yes' | 'no' | 'unknown';
  readonly why: string;
}

/** Kinds of the objects that a template may write, whatever its parameters choose. */
function kindsIn(value: Json): readonly { readonly apiVersion: string; readonly kind: string }[] {
  if (Array.isArray(value)) return (value as readonly Json[]).flatMap(kindsIn);
  if (!isJsonObject(value)) return [];
  const { apiVersion, kind, metadata } = value;
  const own = typeof apiVersion === 'string' && typeof kind === 'string' && metadata !== undefined;
  return [...(own ? [{ apiVersion, kind }] : []), ...Object.values(value).flatMap((one) => kindsIn(one ?? null))];
}

/** Every kind that patterns and dialects write, by name; Namespaces, which are only labelled, are left out. */
export function kindsToWrite(
  patterns: readonly Pattern[],
): readonly { readonly apiVersion: string; readonly kind: string; readonly for: readonly string[] }[] {
  const found = new Map<string, { readonly apiVersion: string; readonly kind: string; readonly for: Set<string> }>();
  const add = (apiVersion: string, kind: string, use: string): void => {
    const key = `${apiVersion} ${kind}`;
    const known = found.get(key) ?? { apiVersion, kind, for: new Set<string>() };
    known.for.add(use);
    found.set(key, known);
  };
  for (const dialect of DIALECTS)
    for (const { apiVersion, kind } of DIALECT_KINDS[dialect].flat()) add(apiVersion, kind, `dialect ${dialect}`);
  add(REHEARSED_KIND.apiVersion, REHEARSED_KIND.kind, 'rehearsal in the dialect calico');
  for (const { name, objects } of patterns)
    for (const { apiVersion, kind } of kindsIn(objects))
      if (kind !== 'Namespace') add(apiVersion, kind, `pattern ${name}`);
  return sortBy([...found.values()], ({ apiVersion, kind }) => `${groupOf(apiVersion)}/${kind}`).map((one) => ({
    ...one,
    for: [...one.for].sort(compareText),
  }));
}

/** Asks of each whether it is served in that very version, and whether this account may write it. Writes nothing. */
export async function readWritable(
  api: KubeApi,
  discovery: Discovery,
  patterns: readonly Pattern[],
  namespace: string | undefined,
): Promise<readonly WritableKind[]> {
  const groups = await discovery.groups();
  const out: WritableKind[] = [];
  for (const one of kindsToWrite(patterns)) {
    const group = groupOf(one.apiVersion);
    const role = roleForKind(group, one.kind);
    const named = role === undefined ? undefined : `sallyport-${role}`;
    const found = (await discovery.resources(one.apiVersion)).find(({ kind }) => kind === one.kind);
    if (found === undefined) {
      const servedVersions = groups.get(group) ?? [];
      out.push({ ...one, served: 'no', servedVersions, rights: 'not-asked', missing: [], role: named });
      continue;
    }
    const { refused, unknown } = await readWriting(
      api,
      { group, plural: found.plural, namespaced: found.namespaced },
      namespace,
    );
    const rights = refused.length > 0 ? 'no' : unknown.length > 0 ? 'unknown' : 'yes';
    out.push({ ...one, served: 'yes', servedVersions: [], rights, missing: refused, role: named });
  }
  return out;
}

/** Which dialects could be written here, by kinds and rights; whether the CNI enforces them is the plan's to say (SP268). */
export function dialectsHere(kinds: readonly WritableKind[]): readonly DialectHere[] {
  const of = (apiVersion: string, kind: string): WritableKind | undefined =>
    kinds.find((one) => one.apiVersion === apiVersion && one.kind === kind);
  return DIALECTS.map((dialect): DialectHere => {
    const why: string[] = [];
    let answer: DialectHere['answer'] = 'yes';
    for (const alternatives of DIALECT_KINDS[dialect]) {
      const known = alternatives.flatMap(({ apiVersion, kind }) => of(apiVersion, kind) ?? []);
      const served = known.find((one) => one.served === 'yes');
      if (served === undefined) {
        answer = 'no';
        why.push(`${known.map(({ kind, apiVersion }) => `${kind} of ${apiVersion}`).join(' or ')} is not served`);
      } else if (served.rights === 'no') {
        answer = 'no';
        why.push(`may not ${served.missing.join(', ')} ${served.kind}: bind ${served.role ?? 'a role'}`);
      } else if (served.rights === 'unknown' && answer === 'yes') answer = 'unknown';
    }
    return { dialect, answer, why: why.join('; ') };
  });
}
