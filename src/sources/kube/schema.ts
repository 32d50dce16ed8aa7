// Answers of an API server, unknown -> typed.
import type { Json, JsonObject } from '../../shared/pure/json.ts';
import { asArray, asBoolean, asNumber, asObject, asString, isJsonObject } from '../../shared/pure/json.ts';
import type { KubeManifest } from '../../model/object.ts';
import { isKubeManifest } from '../../model/object.ts';

/** What an API server says of a request that it refuses: the kind `Status`. */
export interface ApiStatus {
  readonly reason: string;
  readonly message: string;
  readonly causes: readonly StatusCause[];
  /** Group and plural of what the refusal is about, as far as it says. */
  readonly kind: string;
  readonly name: string;
}

export interface StatusCause {
  readonly reason: string;
  readonly message: string;
  readonly field: string;
}

export function parseStatus(body: Json | undefined): ApiStatus {
  const status = asObject(body);
  const details = asObject(status['details']);
  return {
    reason: asString(status['reason']) ?? '',
    message: asString(status['message']) ?? '',
    kind: asString(details['kind']) ?? '',
    name: asString(details['name']) ?? '',
    causes: asArray(details['causes']).map((cause) => ({
      reason: asString(asObject(cause)['reason']) ?? '',
      message: asString(asObject(cause)['message']) ?? '',
      field: asString(asObject(cause)['field']) ?? '',
    })),
  };
}

export interface ListPage {
  readonly items: readonly JsonObject[];
  readonly next: string;
}

/** One page of a list; undefined when the answer is something else. */
export function parseListPage(body: Json): ListPage | undefined {
  const list = asObject(body);
  const kind = asString(list['kind']);
  // An empty list of an old server has `items: null`.
  if (kind === undefined || !kind.endsWith('List')) return undefined;
  return {
    items: asArray(list['items']).filter(isJsonObject),
    next: asString(asObject(list['metadata'])['continue']) ?? '',
  };
}

/** Items of a list lack apiVersion and kind; undefined when the item has no name. */
export function parseListItem(item: JsonObject, apiVersion: string, kind: string): KubeManifest | undefined {
  const manifest: Json = { ...item, apiVersion, kind };
  return isKubeManifest(manifest) ? manifest : undefined;
}

export interface ApiResource {
  readonly group: string;
  readonly apiVersion: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
  readonly verbs: readonly string[];
}

export function parseResourceList(body: Json, apiVersion: string): readonly ApiResource[] {
  const slash = apiVersion.indexOf('/');
  const group = slash < 0 ? '' : apiVersion.slice(0, slash);
  return asArray(asObject(body)['resources']).flatMap((entry) => {
    const resource = asObject(entry);
    const plural = asString(resource['name']);
    const kind = asString(resource['kind']);
    if (plural === undefined || kind === undefined || plural.includes('/')) return [];
    const verbs = asArray(resource['verbs']).filter((verb): verb is string => typeof verb === 'string');
    return [{ group, apiVersion, kind, plural, namespaced: asBoolean(resource['namespaced']) === true, verbs }];
  });
}

/** Group -> its `group/version` texts, the preferred one first. */
export function parseGroupList(body: Json): ReadonlyMap<string, readonly string[]> {
  const groups = new Map<string, readonly string[]>();
  for (const entry of asArray(asObject(body)['groups'])) {
    const group = asObject(entry);
    const name = asString(group['name']);
    if (name === undefined) continue;
    const preferred = asString(asObject(group['preferredVersion'])['groupVersion']);
    const versions = asArray(group['versions']).flatMap((version) => asString(asObject(version)['groupVersion']) ?? []);
    groups.set(name, [...new Set(preferred === undefined ? versions : [preferred, ...versions])]);
  }
  return groups;
}

/** Seconds of a Retry-After header: a number, or a date against the server's own `Date`. */
export function parseRetryAfter(value: string | undefined, serverNow: number | undefined): number | undefined {
  if (value === undefined) return undefined;
  const seconds = asNumber(Number(value)) ?? Number.NaN;
  if (value.trim() !== '' && Number.isFinite(seconds)) return Math.max(0, seconds);
  const date = Date.parse(value);
  return Number.isNaN(date) || serverNow === undefined ? undefined : Math.max(0, (date - serverNow) / 1000);
}
