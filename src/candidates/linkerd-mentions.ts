import type { KubeManifest } from '../model/object.ts';
import { groupOf, namespaceOf } from '../model/object.ts';
import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString, isJsonObject } from '../shared/pure/json.ts';
import type { AccountName, ManualMention, Mode } from './account-mentions.ts';

const GROUP = 'policy.linkerd.io';

/** Kinds whose lists hold identities or accounts, any of which will do (linkerd2 policy-controller/k8s/api/src/policy). */
export function isLinkerdList(object: KubeManifest): boolean {
  return groupOf(object.apiVersion) === GROUP && ['ServerAuthorization', 'MeshTLSAuthentication'].includes(object.kind);
}

/**
 * `NAME.NAMESPACE.serviceaccount.identity.CONTROL-PLANE.TRUST-DOMAIN`, the DNS name in a proxy's certificate; where Linkerd runs and what its
 * trust domain is are taken over from what stands there (linkerd2 pkg/identity, "Identity" in policy-controller/core).
 */
function identityOf(text: string, { namespace, name }: AccountName): string | undefined {
  const head = `${name}.${namespace}.serviceaccount.identity.`;
  return text.startsWith(head) && text.length > head.length ? text.slice(head.length) : undefined;
}

/** The spec of a ServerAuthorization or MeshTLSAuthentication that admits the second account wherever it admits the first. */
export function linkerdNames(
  spec: Json,
  policyNamespace: string | undefined,
  from: AccountName,
  to: AccountName,
  mode: Mode,
): Json {
  const identities = (list: readonly Json[]): readonly Json[] =>
    listOf(
      list,
      mode,
      (item) => {
        const rest = identityOf(asString(item) ?? '', from);
        return rest === undefined ? undefined : `${to.name}.${to.namespace}.serviceaccount.identity.${rest}`;
      },
      (item, fresh) => item === fresh,
    );
  const accounts = (list: readonly Json[]): readonly Json[] =>
    listOf(
      list,
      mode,
      (item) => (isRef(asObject(item), policyNamespace, from) ? { ...asObject(item), name: to.name } : undefined),
      (item) => isRef(asObject(item), policyNamespace, to),
    );
  const inHolder = (holder: JsonObject): JsonObject => {
    let out = holder;
    if (Array.isArray(out['identities']))
      out = { ...out, identities: identities(out['identities'] as readonly Json[]) };
    for (const key of ['serviceAccounts', 'identityRefs'])
      if (Array.isArray(out[key])) out = { ...out, [key]: accounts(out[key] as readonly Json[]) };
    return out;
  };
  const own = inHolder(asObject(spec));
  const client = asObject(own['client']);
  return isJsonObject(client['meshTLS'])
    ? { ...own, client: { ...client, meshTLS: inHolder(client['meshTLS']) } }
    : own;
}

/** Each item of the first account with the one of the second beside it, or without it where that stands there already. */
function listOf(
  list: readonly Json[],
  mode: Mode,
  freshOf: (item: Json) => Json | undefined,
  isFresh: (item: Json, fresh: Json) => boolean,
): readonly Json[] {
  return list.flatMap((item): readonly Json[] => {
    const fresh = freshOf(item);
    if (fresh === undefined) return [item];
    const there = list.some((other) => isFresh(other, fresh));
    if (mode === 'forget') return there ? [] : [item];
    return there ? [item] : [item, fresh];
  });
}

/** A reference to an account: of `serviceAccounts` without a kind, of `identityRefs` and of authentications with one. */
function isRef(ref: JsonObject, policyNamespace: string | undefined, { namespace, name }: AccountName): boolean {
  const kind = asString(ref['kind']);
  if (kind !== undefined && kind !== 'ServiceAccount') return false;
  return ref['name'] === name && (asString(ref['namespace']) ?? policyNamespace) === namespace;
}

/**
 * An AuthorizationPolicy takes one identity only: every authentication that it names must hold, and its webhook refuses a second one of mTLS
 * (linkerd2 policy-controller/src/admission.rs, "only a single MeshTLSAuthentication may be set"). So a second account is for its owner.
 */
export function linkerdAuthorization(
  object: KubeManifest,
  from: AccountName,
  to: AccountName,
): readonly ManualMention[] {
  if (groupOf(object.apiVersion) !== GROUP || object.kind !== 'AuthorizationPolicy') return [];
  return asArray(asObject(object['spec'])['requiredAuthenticationRefs']).flatMap((item, index) => {
    const ref = asObject(item);
    if (ref['kind'] !== 'ServiceAccount' || !isRef(ref, namespaceOf(object), from)) return [];
    return [
      {
        object,
        place: `spec.requiredAuthenticationRefs[${index}]`,
        what: `it admits ${from.name} alone, and may name one identity only: make a MeshTLSAuthentication whose identityRefs name ${from.name} and ${to.name}, and refer to that`,
      },
    ];
  });
}

/** Does a policy of Linkerd wait for an account of this name? */
export function linkerdNamesAlready(object: KubeManifest, account: AccountName): boolean {
  if (groupOf(object.apiVersion) !== GROUP) return false;
  const spec = asObject(object['spec']);
  const mesh = asObject(asObject(spec['client'])['meshTLS']);
  const refs = [
    ...asArray(mesh['serviceAccounts']),
    ...asArray(spec['identityRefs']),
    ...asArray(spec['requiredAuthenticationRefs']),
  ];
  return (
    [...asArray(mesh['identities']), ...asArray(spec['identities'])].some(
      (item) => identityOf(asString(item) ?? '', account) !== undefined,
    ) ||
    refs.some((item) => {
      const ref = asObject(item);
      return isRef(ref, namespaceOf(object), account);
    })
  );
}
