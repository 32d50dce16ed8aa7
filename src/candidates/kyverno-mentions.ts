import { matchStringLike } from '../model/glob.ts';
import type { KubeManifest } from '../model/object.ts';
import { groupOf, namespaceOf } from '../model/object.ts';
import { accountUser } from '../model/rbac.ts';
import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asString, isJsonObject } from '../shared/pure/json.ts';
import type { AccountName, ManualMention } from './account-mentions.ts';

/** Fields of pods that a pattern or an overlay of a policy may hold. */
const ACCOUNT_FIELDS: ReadonlySet<string> = new Set(['serviceAccountName', 'serviceAccount']);

/**
 * Where policies of Kyverno name an account: subjects of `match` and `exclude` (kyverno api/kyverno/v1 UserInfo.Subjects, whose names may hold
 * `*` and `?`), users written out in whatever text, values of conditions on the account, and patterns on the account's field. They are
 * expressions and rules of their owners: named, and never rewritten.
 */
export function kyvernoMentions(object: KubeManifest, from: AccountName, to: AccountName): readonly ManualMention[] {
  if (groupOf(object.apiVersion) !== 'kyverno.io' || !['ClusterPolicy', 'Policy'].includes(object.kind)) return [];
  // A Policy judges what is in its own namespace; who asks may come from any.
  const judgesPods = object.kind === 'ClusterPolicy' || namespaceOf(object) === from.namespace;
  const places: string[] = [];
  const walk = (value: Json | undefined, place: string): void => {
    if (Array.isArray(value)) {
      (value as readonly Json[]).forEach((item, index) => {
        walk(item, `${place}[${index}]`);
      });
      return;
    }
    if (typeof value === 'string') {
      if (namesUser(value, from) && !namesUser(value, to)) places.push(place);
      return;
    }
    if (!isJsonObject(value)) return;
    if (isSubject(value, from, object) && !isSubject(value, to, object)) places.push(place);
    if (judgesPods && isCondition(value, from) && !isCondition(value, to)) places.push(place);
    for (const [key, item] of Object.entries(value)) {
      const at = `${place}.${key}`;
      const field = /[A-Za-z]+/u.exec(key)?.[0] ?? '';
      if (judgesPods && ACCOUNT_FIELDS.has(field) && typeof item === 'string') {
        if (inPattern(item, from.name) && !inPattern(item, to.name)) places.push(at);
      } else walk(item, at);
    }
  };
  walk(object['spec'], 'spec');
  return [...new Set(places)].map((place) => ({
    object,
    place,
    what: `it speaks of ${from.name}: let its owner say whether ${to.name} is meant too`,
  }));
}

/** The user in full, and not the beginning of a longer name. */
function namesUser(text: string, { namespace, name }: AccountName): boolean {
  const user = accountUser(namespace, name);
  const at = text.indexOf(user);
  return at >= 0 && !/[a-z0-9.-]/u.test(text.charAt(at + user.length));
}

function isSubject(value: JsonObject, { namespace, name }: AccountName, object: KubeManifest): boolean {
  if (value['kind'] !== 'ServiceAccount') return false;
  const where = asString(value['namespace']) ?? namespaceOf(object) ?? namespace;
  return matchStringLike(asString(value['name']) ?? '', name) && matchStringLike(where, namespace);
}

/** `{key: "{{ request.object.spec.serviceAccountName }}", operator: AnyIn, value: [team]}` */
function isCondition(value: JsonObject, { name }: AccountName): boolean {
  const key = asString(value['key']);
  if (key === undefined || !/serviceAccount/u.test(key)) return false;
  const wanted = value['value'];
  const texts = typeof wanted === 'string' ? [wanted] : asArray(wanted).flatMap((item) => asString(item) ?? []);
  return texts.some((text) => inPattern(text, name));
}

/** Kyverno's patterns: `a | b`, `!a`, wildcards. */
function inPattern(text: string, name: string): boolean {
  return text.split(/[|&]/u).some((part) => matchStringLike(part.trim().replace(/^!/u, ''), name));
}

/** Does a policy of Kyverno speak of an account of this name already? Patterns that take every account in do not count. */
export function kyvernoNamesAlready(object: KubeManifest, account: AccountName): boolean {
  return kyvernoMentions(object, account, { ...account, name: '\u0000' }).length > 0;
}
