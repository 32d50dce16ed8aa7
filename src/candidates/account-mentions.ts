import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString, equalJson, isJsonObject } from '../shared/pure/json.ts';
import { matchValue } from '../model/istio-text.ts';
import type { KubeManifest } from '../model/object.ts';
import { formatRef, groupOf, isObject, namespaceOf, refOf } from '../model/object.ts';
import { accountUser } from '../model/rbac.ts';
import { kyvernoMentions, kyvernoNamesAlready } from './kyverno-mentions.ts';
import { isLinkerdList, linkerdAuthorization, linkerdNames, linkerdNamesAlready } from './linkerd-mentions.ts';

/** An account as policies of all kinds name it. */
export interface AccountName {
  readonly namespace: string;
  readonly name: string;
  readonly trustDomain: string;
}

/** A field of an object that names an account, and what it becomes. */
export interface MentionEdit {
  readonly object: KubeManifest;
  /** `spec`, or `users`: written whole, since lists are. */
  readonly field: string;
  readonly after: Json;
}

/** `both`: wherever the first account is named the second one is too. `forget`: the first goes from where the second stands beside it. */
export type Mode = 'both' | 'forget';

/** A place that names the account and that is not ours to change, or not changed as data: who has to do what. */
export interface ManualMention {
  readonly object: KubeManifest;
  readonly place: string;
  readonly what: string;
}

export interface Mentions {
  readonly edits: readonly MentionEdit[];
  readonly manual: readonly ManualMention[];
}

/** Cilium derives this label of an endpoint from its pod's account (pkg/k8s/apis/cilium.io/const.go PolicyLabelServiceAccount). */
const CILIUM_LABEL = /^(?:k8s[:.])?io\.cilium\.k8s\.policy\.serviceaccount$/;
/** Calico's label of a workload endpoint (libcalico-go lib/apis/v3 LabelServiceAccount). */
const CALICO_LABEL = 'projectcalico.org/serviceaccount';

const CALICO_GROUPS = ['projectcalico.org', 'crd.projectcalico.org'];

/**
 * Every object that names `from` in a way that a workload relies on which is about to run as `to`, of kinds whose fields are known. ALLOW and
 * DENY alike name both while the workload moves, since it is either. Own policies are not asked here: they are derived anew.
 */
export function mentionsOf(
  objects: readonly KubeManifest[],
  from: AccountName,
  to: AccountName,
  isOwn: (object: KubeManifest) => boolean,
  mode: Mode = 'both',
): Mentions {
  const edits: MentionEdit[] = [];
  const manual: ManualMention[] = [];
  for (const object of objects) {
    if (isOwn(object)) continue;
    const group = groupOf(object.apiVersion);
    const change = (field: string, rewrite: (value: Json) => Json): void => {
      const value = object[field];
      if (value === undefined) return;
      const after = rewrite(value);
      if (!equalJson(after, value)) edits.push({ object, field, after });
    };
    if (isObject(object, 'security.istio.io', 'AuthorizationPolicy'))
      change('spec', (value) => istioNames(value, namespaceOf(object), from, to, mode));
    else if (group === 'cilium.io' && object.kind.endsWith('NetworkPolicy')) {
      for (const field of ['spec', 'specs']) change(field, (value) => ciliumNames(value, from.name, to.name, mode));
    } else if (CALICO_GROUPS.includes(group) && object.kind.endsWith('NetworkPolicy')) {
      change('spec', (value) => calicoNames(value, from.name, to.name, mode));
      for (const place of calicoExpressions(object['spec'], from.name, 'spec'))
        manual.push({ object, place, what: `its expression names ${from.name}: let it name ${to.name} as well` });
    } else if (isObject(object, 'security.openshift.io', 'SecurityContextConstraints'))
      change('users', (value) =>
        listWith(asArray(value), accountUser(from.namespace, from.name), accountUser(to.namespace, to.name), mode),
      );
    else if (isLinkerdList(object)) change('spec', (value) => linkerdNames(value, namespaceOf(object), from, to, mode));
    else
      manual.push(
        ...linkerdAuthorization(object, from, to),
        ...kyvernoMentions(object, from, to),
        ...vaultMentions(object, from, to),
      );
  }
  return { edits, manual };
}

/** Is the name used in an object already, so that an account of that name would come into rights that were not meant for it? */
export function isNamedAlready(objects: readonly KubeManifest[], account: AccountName): boolean {
  const principal = principalOf(account);
  const user = accountUser(account.namespace, account.name);
  return objects.some((object) => {
    if (object.kind.endsWith('RoleBinding') || object.kind === 'SecurityContextConstraints')
      return hasText(object, (text) => text === user) || isBindingSubject(object, account);
    if (isObject(object, 'security.istio.io', 'AuthorizationPolicy'))
      return istioLists(object['spec']).some(({ key, value, place }) =>
        key === 'serviceAccounts' || place.includes('serviceAccount')
          ? serviceAccountText(namespaceOf(object), account).includes(value)
          : value !== '*' &&
            matchValue(value, principal) &&
            !matchValue(value, principalOf({ ...account, name: '\u0000' })),
      );
    return linkerdNamesAlready(object, account) || kyvernoNamesAlready(object, account);
  });
}

function isBindingSubject(binding: KubeManifest, account: AccountName): boolean {
  return asArray(binding['subjects']).some((item) => {
    const subject = asObject(item);
    return (
      subject['kind'] === 'ServiceAccount' &&
      subject['name'] === account.name &&
      (asString(subject['namespace']) ?? namespaceOf(binding)) === account.namespace
    );
  });
}

function hasText(value: Json | undefined, test: (text: string) => boolean): boolean {
  if (typeof value === 'string') return test(value);
  if (Array.isArray(value)) return (value as readonly Json[]).some((item) => hasText(item, test));
  return isJsonObject(value) && Object.values(value).some((item) => hasText(item, test));
}

// ---- Istio

export function principalOf({ trustDomain, namespace, name }: AccountName): string {
  return `${trustDomain}/ns/${namespace}/sa/${name}`;
}

/** `ns/name`, or the name alone in a policy of its own namespace (istio.io/api security/v1 Source.service_accounts, 1.26). */
function serviceAccountText(policyNamespace: string | undefined, { namespace, name }: AccountName): readonly string[] {
  return policyNamespace === namespace ? [`${namespace}/${name}`, name] : [`${namespace}/${name}`];
}

interface ListedName {
  readonly key: string;
  readonly place: string;
  readonly value: string;
}

function istioLists(spec: Json | undefined): readonly ListedName[] {
  const found: ListedName[] = [];
  mapIstio(asObject(spec), (list, key, place) => {
    for (const item of list) if (typeof item === 'string') found.push({ key, place, value: item });
    return list;
  });
  return found;
}

type Rewrite = (list: readonly Json[], key: string, place: string) => readonly Json[];

/** Every list of a policy's rules that holds principals or accounts, rewritten. */
function mapIstio(spec: JsonObject, rewrite: Rewrite): JsonObject {
  if (!Array.isArray(spec['rules'])) return spec;
  const inSource = (value: Json): Json => {
    const from = asObject(value);
    if (!isJsonObject(from['source'])) return value;
    let source: JsonObject = from['source'];
    for (const key of ['principals', 'notPrincipals', 'serviceAccounts', 'notServiceAccounts'])
      if (Array.isArray(source[key]))
        source = { ...source, [key]: rewrite(source[key] as readonly Json[], plain(key), key) };
    return { ...from, source };
  };
  const inCondition = (value: Json): Json => {
    const when = asObject(value);
    const on = asString(when['key']);
    if (on !== 'source.principal' && on !== 'source.serviceAccount') return value;
    let out: JsonObject = when;
    for (const key of ['values', 'notValues'])
      if (Array.isArray(when[key]))
        out = {
          ...out,
          [key]: rewrite(
            when[key] as readonly Json[],
            on === 'source.principal' ? 'principals' : 'serviceAccounts',
            `${on} ${key}`,
          ),
        };
    return out;
  };
  return {
    ...spec,
    rules: (spec['rules'] as readonly Json[]).map((item) => {
      const rule = asObject(item);
      return {
        ...rule,
        ...(Array.isArray(rule['from']) ? { from: (rule['from'] as readonly Json[]).map(inSource) } : {}),
        ...(Array.isArray(rule['when']) ? { when: (rule['when'] as readonly Json[]).map(inCondition) } : {}),
      };
    }),
  };
}

function plain(key: string): string {
  return key === 'notPrincipals' ? 'principals' : key === 'notServiceAccounts' ? 'serviceAccounts' : key;
}

/** A list that admits or refuses the first account by name does the same with the second. */
function istioNames(
  spec: Json,
  policyNamespace: string | undefined,
  from: AccountName,
  to: AccountName,
  mode: Mode,
): Json {
  return mapIstio(asObject(spec), (list, key) => {
    const texts = list.flatMap((item) => asString(item) ?? []);
    if (key === 'serviceAccounts') {
      const old = serviceAccountText(policyNamespace, from);
      const hit = texts.find((text) => old.includes(text));
      return hit === undefined
        ? list
        : listWith(list, hit, hit.includes('/') ? `${to.namespace}/${to.name}` : to.name, mode);
    }
    const [before, after] = [principalOf(from), principalOf(to)];
    const hit = texts.find((text) => matchValue(text, before));
    if (hit === undefined) return list;
    // A pattern stays: it names others too.
    if (mode === 'forget') return hit === before ? listWith(list, before, after, mode) : list;
    return texts.some((text) => matchValue(text, after)) ? list : [...list, after];
  });
}

/** The second name beside the first, or the list without the first where the second is in it. */
function listWith(list: readonly Json[], old: string, fresh: string, mode: Mode): readonly Json[] {
  if (!list.includes(old)) return list;
  const there = list.includes(fresh);
  if (mode === 'both') return there ? list : list.flatMap((item) => (item === old ? [item, fresh] : [item]));
  return there ? list.filter((item) => item !== old) : list;
}

// ---- Cilium

/** Selectors on the account's label select both accounts: `matchLabels` holds one value, so it becomes an expression. */
function ciliumNames(value: Json, from: string, to: string, mode: Mode): Json {
  if (Array.isArray(value)) return (value as readonly Json[]).map((item) => ciliumNames(item, from, to, mode));
  if (!isJsonObject(value)) return value;
  const inner = Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, ciliumNames(item, from, to, mode)]),
  );
  const key = asString(inner['key']);
  if (key !== undefined && CILIUM_LABEL.test(key) && Array.isArray(inner['values']))
    return { ...inner, values: listWith(inner['values'] as readonly Json[], from, to, mode) };
  const labels = asObject(inner['matchLabels']);
  const named = Object.entries(labels).find(([label, account]) => CILIUM_LABEL.test(label) && account === from);
  if (named === undefined || mode === 'forget') return inner;
  const rest = Object.fromEntries(Object.entries(labels).filter(([label]) => label !== named[0]));
  return {
    ...Object.fromEntries(Object.entries(inner).filter(([field]) => field !== 'matchLabels')),
    ...(Object.keys(rest).length === 0 ? {} : { matchLabels: rest }),
    matchExpressions: [...asArray(inner['matchExpressions']), { key: named[0], operator: 'In', values: [from, to] }],
  };
}

// ---- Calico

/** `serviceAccounts.names` of rules and of policies (projectcalico/api pkg/apis/projectcalico/v3 ServiceAccountMatch). */
function calicoNames(value: Json, from: string, to: string, mode: Mode): Json {
  if (Array.isArray(value)) return (value as readonly Json[]).map((item) => calicoNames(item, from, to, mode));
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => {
      if (key === 'serviceAccounts' && isJsonObject(item) && Array.isArray(item['names']))
        return [key, { ...item, names: listWith(item['names'] as readonly Json[], from, to, mode) }];
      return [key, calicoNames(item, from, to, mode)];
    }),
  );
}

/** Selector texts that name the account by its name. */
function calicoExpressions(value: Json | undefined, name: string, place: string): readonly string[] {
  if (Array.isArray(value))
    return (value as readonly Json[]).flatMap((item, index) => calicoExpressions(item, name, `${place}[${index}]`));
  if (!isJsonObject(value)) return [];
  return Object.entries(value).flatMap(([key, item]) => {
    const at = `${place}.${key}`;
    if (typeof item !== 'string') return calicoExpressions(item, name, at);
    const quoted = item.includes(`'${name}'`) || item.includes(`"${name}"`);
    const onAccounts = key === 'serviceAccountSelector' || item.includes(CALICO_LABEL);
    return quoted && onAccounts && (item.includes(CALICO_LABEL) || item.includes('projectcalico.org/name')) ? [at] : [];
  });
}

/** Labels of accounts that Calico's selectors ask for: a new account carries those of the old one, and no others. */
export function selectedAccountLabels(
  objects: readonly KubeManifest[],
  labels: Readonly<Record<string, string>>,
): readonly string[] {
  const texts: string[] = [];
  const walk = (value: Json | undefined, inAccounts: boolean): void => {
    if (Array.isArray(value)) for (const item of value as readonly Json[]) walk(item, inAccounts);
    else if (isJsonObject(value))
      for (const [key, item] of Object.entries(value)) {
        if (
          typeof item === 'string' &&
          (key === 'serviceAccountSelector' || (inAccounts && key === 'selector') || item.includes('pcsa.'))
        )
          texts.push(item);
        else walk(item, key === 'serviceAccounts');
      }
  };
  for (const object of objects) if (CALICO_GROUPS.includes(groupOf(object.apiVersion))) walk(object['spec'], false);
  return Object.keys(labels).filter((key) => texts.some((text) => text.includes(key)));
}

// ---- Vault

function vaultRole(role: string | undefined, mount: string | undefined, to: AccountName): string {
  const path = `auth/${mount ?? 'kubernetes'}/role/${role ?? 'ROLE'}`;
  return `let ${path} admit ${to.name} as well: vault read ${path}, then vault write ${path} with bound_service_account_names extended by ${to.name} and every other field as it was (a write replaces the role)`;
}

/** What logs in to Vault as the account, by reference: the role itself is in Vault. */
function vaultMentions(object: KubeManifest, from: AccountName, to: AccountName): readonly ManualMention[] {
  const group = groupOf(object.apiVersion);
  if (group === 'secrets.hashicorp.com' && object.kind === 'VaultAuth') {
    const spec = asObject(object['spec']);
    const kubernetes = asObject(spec['kubernetes']);
    if (namespaceOf(object) !== from.namespace || kubernetes['serviceAccount'] !== from.name) return [];
    return [
      {
        object,
        place: 'spec.kubernetes.serviceAccount',
        what: `it logs in as ${from.name}, whoever mounts what it fetches, and stays as it is while ${from.name} exists; for ${to.name}: ${vaultRole(asString(kubernetes['role']), asString(spec['mount']), to)}`,
      },
    ];
  }
  if (group === 'external-secrets.io' && object.kind.endsWith('SecretStore')) {
    const auth = asObject(asObject(asObject(asObject(object['spec'])['provider'])['vault'])['auth']);
    const kubernetes = asObject(auth['kubernetes']);
    const ref = asObject(kubernetes['serviceAccountRef']);
    const where = asString(ref['namespace']) ?? namespaceOf(object);
    if (ref['name'] !== from.name || where !== from.namespace) return [];
    return [
      {
        object,
        place: 'spec.provider.vault.auth.kubernetes.serviceAccountRef',
        what: `${from.name} stays there while it exists; for ${to.name}: ${vaultRole(asString(kubernetes['role']), asString(kubernetes['mountPath']), to)}`,
      },
    ];
  }
  return [];
}

/** The role of Vault's Kubernetes auth that a pod template names by annotation (hashicorp/vault-k8s agent-inject). */
export function vaultAnnotations(annotations: Readonly<Record<string, string>>, to: AccountName): readonly string[] {
  const role = annotations['vault.hashicorp.com/role'] ?? annotations['vault.security.banzaicloud.io/vault-role'];
  if (role === undefined) return [];
  return [vaultRole(role, annotations['vault.hashicorp.com/auth-path']?.replace(/^auth\//, ''), to)];
}

/** For people: `AuthorizationPolicy shop/x`. */
export function mentionText(mention: ManualMention): string {
  return `${formatRef(refOf(mention.object))} ${mention.place}: ${mention.what}`;
}
