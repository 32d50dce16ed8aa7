import type { World } from '../model/evaluate.ts';
import { workloadsSelected } from '../model/evaluate.ts';
import type { Inventory, ServiceInfo } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { annotationsOf, formatRef, groupOf, isObject, namespaceOf, refOf } from '../model/object.ts';
import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asBoolean, asObject, asString, asStringMap, getPath } from '../shared/pure/json.ts';
import { maskText } from '../shared/pure/mask.ts';
import { compareText, groupBy, sortBy, uniqueSorted } from '../shared/pure/order.ts';
import type { SpecOf } from './input.ts';
import { containersOf } from './input.ts';
import type {
  AccountRow,
  Answer,
  AuthenticationKind,
  Entrance,
  IdentitiesSection,
  KeyReference,
  OauthClient,
} from './model.ts';

const CLOUD: readonly (readonly ['aws' | 'gcp' | 'azure', string])[] = [
  ['aws', 'eks.amazonaws.com/role-arn'],
  ['gcp', 'iam.gke.io/gcp-service-account'],
  ['azure', 'azure.workload.identity/client-id'],
];

/** Who workloads are, what they hold to prove it, and how those outside prove who they are. Secret values are never read. */
export function buildIdentities(
  inventory: Inventory,
  objects: readonly KubeManifest[],
  specs: readonly SpecOf[],
  world: World,
): IdentitiesSection {
  const accounts = accountRows(inventory, objects, specs);
  const keys = keyRows(specs, objects);
  const jwt = jwtRows(objects, world);
  const used = accounts.filter((one) => one.workloads.length > 0);
  const distinct = (rows: readonly AccountRow[]): number => new Set(rows.flatMap((row) => row.workloads)).size;
  return {
    accounts,
    totals: {
      accounts: used.length,
      defaultAccounts: used.filter((one) => one.isDefault).length,
      workloadsOnDefault: distinct(used.filter((one) => one.isDefault)),
      sharedAccounts: used.filter((one) => one.shared).length,
      workloadsOnShared: distinct(used.filter((one) => one.shared)),
      cloudBound: used.filter((one) => one.cloud.length > 0).length,
      powerful: used.filter((one) => one.powerful.length > 0).length,
      keys: keys.length,
      literalKeys: keys.filter((one) => one.how === 'env-literal').length,
    },
    keys,
    entrances: entranceRows(inventory, objects, world, jwt),
    oauthClients: oauthClients(specs),
    jwt,
    limits: [
      'Secrets are never read: that a key is used is told by the references to it, not by its value.',
      'Keys inside images, in volumes of other kinds and in ConfigMaps are not seen.',
      'Authentication that an application does by itself (sessions, API keys in its own database) is not seen.',
    ],
  };
}

// ---- accounts

function accountRows(
  inventory: Inventory,
  objects: readonly KubeManifest[],
  specs: readonly SpecOf[],
): readonly AccountRow[] {
  const known = new Map(
    objects
      .filter((object) => isObject(object, '', 'ServiceAccount'))
      .map((object) => [`${namespaceOf(object) ?? ''}/${object.metadata.name}`, object]),
  );
  const users = new Map<string, Set<string>>();
  for (const workload of inventory.workloads)
    for (const podSet of workload.podSets) {
      const key = `${workload.namespace}/${podSet.serviceAccount}`;
      const set = users.get(key);
      if (set === undefined) users.set(key, new Set([workload.id]));
      else set.add(workload.id);
    }
  const mounts = groupBy(specs, ({ workload, spec }) => `${workload.namespace}/${accountOf(spec)}`);
  const roles = rolesByAccount(objects);
  const keys = uniqueSorted([...known.keys(), ...users.keys()]);
  return keys.map((key): AccountRow => {
    const slash = key.indexOf('/');
    const [namespace, name] = [key.slice(0, slash), key.slice(slash + 1)];
    const workloads = uniqueSorted(users.get(key) ?? []);
    const object = known.get(key);
    const annotations = object === undefined ? {} : annotationsOf(object);
    const bound = roles.get(key) ?? [];
    return {
      namespace,
      name,
      workloads,
      isDefault: name === 'default',
      shared: workloads.length > 1,
      automount: automountOf(object, mounts.get(key) ?? []),
      roles: uniqueSorted(bound.map((one) => one.role)),
      powerful: uniqueSorted(bound.flatMap((one) => one.power)),
      cloud: CLOUD.flatMap(([provider, annotation]) => {
        const identity = Object.hasOwn(annotations, annotation) ? annotations[annotation] : undefined;
        return identity === undefined ? [] : [{ provider, annotation, identity: maskText(identity) }];
      }),
    };
  });
}

function accountOf(spec: JsonObject): string {
  return asString(spec['serviceAccountName']) ?? asString(spec['serviceAccount']) ?? 'default';
}

/** Kubernetes puts a token into every pod unless the pod, or else its account, says no. */
function automountOf(account: KubeManifest | undefined, specs: readonly SpecOf[]): Answer {
  const answers = new Set(
    specs.map(({ spec }): Answer => {
      const own = asBoolean(spec['automountServiceAccountToken']);
      if (own !== undefined) return own ? 'yes' : 'no';
      if (account === undefined) return 'unknown';
      return asBoolean(account['automountServiceAccountToken']) === false ? 'no' : 'yes';
    }),
  );
  if (answers.has('yes')) return 'yes';
  return answers.has('unknown') || answers.size === 0 ? 'unknown' : 'no';
}

interface Bound {
  readonly role: string;
  readonly power: readonly string[];
}

function rolesByAccount(objects: readonly KubeManifest[]): ReadonlyMap<string, readonly Bound[]> {
  const rules = new Map<string, readonly JsonObject[]>();
  for (const object of objects)
    if (groupOf(object.apiVersion) === 'rbac.authorization.k8s.io' && object.kind.endsWith('Role'))
      rules.set(
        `${object.kind}/${namespaceOf(object) ?? ''}/${object.metadata.name}`,
        asArray(object['rules']).map(asObject),
      );
  const out = new Map<string, Bound[]>();
  for (const binding of objects) {
    if (groupOf(binding.apiVersion) !== 'rbac.authorization.k8s.io' || !binding.kind.endsWith('RoleBinding')) continue;
    const ref = asObject(binding['roleRef']);
    const kind = asString(ref['kind']) ?? '';
    const name = asString(ref['name']) ?? '';
    const everywhere = binding.kind === 'ClusterRoleBinding';
    const own = rules.get(`${kind}/${kind === 'Role' ? (namespaceOf(binding) ?? '') : ''}/${name}`);
    const role = `${kind}/${name}`;
    const power = powersOf(name, kind, own, everywhere).map((text) => `${role}: ${text}`);
    for (const item of asArray(binding['subjects'])) {
      const subject = asObject(item);
      if (subject['kind'] !== 'ServiceAccount') continue;
      const namespace = asString(subject['namespace']) ?? namespaceOf(binding) ?? '';
      const key = `${namespace}/${asString(subject['name']) ?? ''}`;
      const list = out.get(key);
      if (list === undefined) out.set(key, [{ role, power }]);
      else list.push({ role, power });
    }
  }
  return out;
}

function powersOf(
  name: string,
  kind: string,
  rules: readonly JsonObject[] | undefined,
  everywhere: boolean,
): readonly string[] {
  const where = everywhere ? 'in every namespace' : 'in its namespace';
  // A built-in role needs no reading.
  if (kind === 'ClusterRole' && name === 'cluster-admin') return [`can do anything ${where}`];
  const out = new Set<string>();
  for (const rule of rules ?? []) {
    const words = (field: string): ReadonlySet<string> =>
      new Set(asArray(rule[field]).flatMap((one) => asString(one) ?? []));
    const [groups, resources, verbs] = [words('apiGroups'), words('resources'), words('verbs')];
    const may = (...any: readonly string[]): boolean => verbs.has('*') || any.some((verb) => verbs.has(verb));
    const core = groups.has('') || groups.has('*');
    const named = asArray(rule['resourceNames']).length > 0;
    if (resources.has('*') && groups.has('*') && verbs.has('*')) out.add(`can do anything ${where}`);
    else {
      if (core && !named && (resources.has('secrets') || resources.has('*')) && may('get', 'list', 'watch'))
        out.add(`reads every Secret ${where}`);
      if (core && (resources.has('pods') || resources.has('*')) && may('create')) out.add(`makes pods ${where}`);
      if (core && (resources.has('pods/exec') || resources.has('*')) && may('create', 'get'))
        out.add(`runs commands in pods ${where}`);
      if (may('escalate', 'bind', 'impersonate') && !verbs.has('*')) out.add('takes on the rights of others');
      if (core && resources.has('serviceaccounts/token') && may('create'))
        out.add(`makes tokens for accounts ${where}`);
    }
  }
  return [...out];
}

// ---- long-lived keys, by reference

const CREDENTIAL =
  /password|passwd|token|secret|credential|api_?key|access_?key|private_?key|connection_?string|_dsn$/i;
/** Names under which a reference, a path or a number stands, and no credential. */
const NO_CREDENTIAL =
  /(?:_file|_path|_dir|_name|_header|_ttl|_expiry|_expiration|_timeout|_length|_size|_count|_enabled|_url|_uri|_endpoint|_issuer|_audience|_backend|_class|_type|_id|_mount|_ref|_tokens)$|tokenizer|max_.{0,200}token|tokens?_per/i;

function sortOf(name: string, secretKey: string, secret: string): KeyReference['sort'] {
  const both = `${name} ${secretKey}`;
  const all = `${both} ${secret}`;
  if (
    /AWS_(?:ACCESS|SECRET|SESSION)|GOOGLE_APPLICATION_CREDENTIALS|AZURE_(?:CLIENT_SECRET|STORAGE|CREDENTIALS)|gcp.*json|gcloud/i.test(
      both,
    )
  )
    return 'cloud-key';
  if (/minio|(?:^|[^a-z])s3(?:[^a-z]|$)/i.test(all)) return 'object-store';
  if (/postgres|mysql|maria|mongo|redis|database|(?:^|[^a-z])(?:pg|db)(?:[^a-z]|$)|sqlalchemy/i.test(all))
    return 'database';
  if (/tls|cert|\.crt|\.pem|private.?key|ca\.crt/i.test(both)) return 'tls';
  if (/token|api_?key/i.test(both)) return 'token';
  return /passw/i.test(both) ? 'password' : 'other';
}

function fixOf(sort: KeyReference['sort'], how: KeyReference['how'], account: string): string {
  const first =
    how === 'env-literal'
      ? 'take the value out of the manifest into a Secret and rotate it, since everybody who read the manifest has it; then '
      : '';
  switch (sort) {
    case 'cloud-key':
      return `${first}bind account ${account} to a role of the cloud (IRSA or Pod Identity, GKE Workload Identity, Azure Workload Identity) and drop the key`;
    case 'object-store':
      return `${first}use the cloud's workload identity, or short-lived credentials from the store's own STS`;
    case 'database':
      return `${first}use the database's IAM or certificate login, or short-lived credentials from a secrets manager`;
    case 'tls':
      return `${first}let a controller issue and rotate it (cert-manager, or the mesh itself)`;
    default:
      return `${first}use a projected account token with an audience and an expiry, or rotate it by a secrets manager`;
  }
}

function keyRows(specs: readonly SpecOf[], objects: readonly KubeManifest[]): readonly KeyReference[] {
  const out = new Map<string, KeyReference>();
  const add = (row: KeyReference): void => {
    out.set(`${row.workload}\n${row.how}\n${row.at}\n${row.reference ?? ''}`, row);
  };
  const accountTokens = new Map(
    objects
      .filter((object) => isObject(object, '', 'ServiceAccount') && asArray(object['secrets']).length > 0)
      .map((object) => [
        `${namespaceOf(object) ?? ''}/${object.metadata.name}`,
        asArray(object['secrets']).flatMap((one) => asString(asObject(one)['name']) ?? []),
      ]),
  );
  const pulls = new Map(
    objects
      .filter((object) => isObject(object, '', 'ServiceAccount'))
      .map((object) => [
        `${namespaceOf(object) ?? ''}/${object.metadata.name}`,
        asArray(object['imagePullSecrets']).flatMap((one) => asString(asObject(one)['name']) ?? []),
      ]),
  );
  for (const { workload, spec } of specs) {
    const namespace = workload.namespace;
    const account = accountOf(spec);
    const row = (
      how: KeyReference['how'],
      at: string,
      secret: { readonly name: string; readonly key?: string } | undefined,
      because: string,
      sort = sortOf(at, secret?.key ?? '', secret?.name ?? ''),
    ): void =>
      add({
        workload: workload.id,
        how,
        at,
        reference:
          secret === undefined
            ? null
            : `Secret ${namespace}/${secret.name}${secret.key === undefined ? '' : ` key ${secret.key}`}`,
        sort,
        because,
        fix: fixOf(sort, how, account),
      });
    const mounts = new Map<string, string[]>();
    for (const container of containersOf(spec)) {
      for (const item of asArray(container['volumeMounts']).map(asObject)) {
        const [name, path] = [asString(item['name']), asString(item['mountPath'])];
        if (name !== undefined && path !== undefined) mounts.set(name, [...(mounts.get(name) ?? []), path]);
      }
      for (const item of asArray(container['env']).map(asObject)) {
        const name = asString(item['name']) ?? '';
        const ref = asObject(asObject(item['valueFrom'])['secretKeyRef']);
        const [secret, key] = [asString(ref['name']), asString(ref['key'])];
        if (secret !== undefined)
          row(
            'env-from-secret',
            name,
            { name: secret, ...(key === undefined ? {} : { key }) },
            'the variable is filled from a Secret, and lives as long as that does',
          );
        else if (isLiteral(item['value']) && CREDENTIAL.test(name) && !NO_CREDENTIAL.test(name))
          row(
            'env-literal',
            name,
            undefined,
            'a literal in the manifest, under a name that says credential (its value is not kept here)',
          );
        else if (hasPassword(item['value']))
          row('env-literal', name, undefined, 'a literal in the manifest: a URL with a password in it (not kept here)');
      }
      for (const item of asArray(container['envFrom']).map(asObject)) {
        const secret = asString(asObject(item['secretRef'])['name']);
        if (secret !== undefined)
          row(
            'env-all-of-secret',
            'every key as a variable',
            { name: secret },
            'all keys of a Secret become variables',
          );
      }
    }
    for (const volume of asArray(spec['volumes']).map(asObject)) {
      const volumeName = asString(volume['name']) ?? '';
      const names = [
        asString(asObject(volume['secret'])['secretName']),
        ...asArray(asObject(volume['projected'])['sources']).map((one) =>
          asString(asObject(asObject(one)['secret'])['name']),
        ),
      ].filter((one) => one !== undefined);
      for (const secret of names) {
        const paths = mounts.get(volumeName) ?? [];
        row(
          'mounted-secret',
          paths.length === 0 ? `volume ${volumeName}` : uniqueSorted(paths).join(', '),
          { name: secret },
          'a Secret is mounted as files',
          sortOf(`${volumeName} ${paths.join(' ')}`, '', secret),
        );
      }
    }
    const pulling = asArray(spec['imagePullSecrets']).flatMap((item) => asString(asObject(item)['name']) ?? []);
    for (const secret of pulling)
      row('image-pull', 'imagePullSecrets', { name: secret }, 'the kubelet pulls its images with it', 'token');
    // Admission puts those of the account into every pod that names none.
    for (const secret of pulling.length === 0 ? (pulls.get(`${namespace}/${account}`) ?? []) : [])
      row(
        'image-pull',
        `account ${account}`,
        { name: secret },
        'the kubelet pulls its images with it, by its account',
        'token',
      );
    for (const secret of accountTokens.get(`${namespace}/${account}`) ?? [])
      row(
        'account-token-secret',
        `account ${account}`,
        { name: secret },
        'the account lists a Secret, which may hold a token that never expires',
        'token',
      );
  }
  return sortBy(out.values(), (one) => `${one.workload}\n${one.how}\n${one.at}\n${one.reference ?? ''}`);
}

/** `OAUTH2_PROXY_CLIENT_ID`: a client of an identity provider. */
function namesClient(name: string): boolean {
  const at = name.search(/oauth|oidc|openid/i);
  return (at >= 0 && /client/i.test(name.slice(at))) || /client_?(?:id|secret)/i.test(name);
}

/** There is a value, and it does not only point at another variable. */
function isLiteral(value: Json | undefined): boolean {
  return typeof value === 'string' && value !== '' && !/^\$\([A-Za-z_][\w.]*\)$/.test(value);
}

/** `postgres://user:password@host`. Only whether there is one is kept. */
function hasPassword(value: Json | undefined): boolean {
  return typeof value === 'string' && /[a-z0-9+.-]:\/\/[^/?#\s@:$]*:[^/?#\s@$][^/?#\s@]*@/i.test(value);
}

// ---- ways in, and who asks for proof there

function jwtRows(objects: readonly KubeManifest[], world: World): IdentitiesSection['jwt'] {
  const requests = objects.filter((object) => isObject(object, 'security.istio.io', 'RequestAuthentication'));
  const policies = objects.filter((object) => isObject(object, 'security.istio.io', 'AuthorizationPolicy'));
  const asking = new Set(
    policies
      .filter((policy) => JSON.stringify(policy['spec'] ?? {}).includes('equestPrincipals'))
      .flatMap((policy) => selectedBy(policy, world)),
  );
  return requests.map((object) => {
    const selects = selectedBy(object, world);
    const covered = selects.filter((id) => asking.has(id)).length;
    return {
      object: formatRef(refOf(object)),
      issuers: uniqueSorted(
        asArray(getPath(object, ['spec', 'jwtRules'])).flatMap((rule) => {
          const issuer = asString(asObject(rule)['issuer']);
          return issuer === undefined ? [] : [maskText(issuer)];
        }),
      ),
      selects,
      // A token that is presented must be good; only an AuthorizationPolicy asks that there is one.
      required: selects.length === 0 ? 'unknown' : covered === selects.length ? 'yes' : 'no',
    };
  });
}

/** Workloads on which an Istio object acts: those of its selector in its namespace, everywhere in the root namespace. */
function selectedBy(object: KubeManifest, world: World): readonly string[] {
  const namespace = namespaceOf(object) ?? '';
  const labels = getPath(object, ['spec', 'selector', 'matchLabels']);
  const { inventory } = world;
  const namespaces =
    namespace === inventory.facts.mesh.rootNamespace ? inventory.namespaces.map((one) => one.name) : [namespace];
  const selector = labels === undefined ? {} : { matchLabels: labels };
  return uniqueSorted(namespaces.flatMap((name) => workloadsSelected(world, selector, name)));
}

const NGINX = 'nginx.ingress.kubernetes.io/';

interface Asked {
  readonly kind: AuthenticationKind;
  readonly because: string;
}

function askedByAnnotations(annotations: Readonly<Record<string, string>>): readonly Asked[] {
  const out: Asked[] = [];
  const has = (key: string): string | undefined => (Object.hasOwn(annotations, key) ? annotations[key] : undefined);
  if (has(`${NGINX}auth-url`) !== undefined || has(`${NGINX}auth-signin`) !== undefined)
    out.push({
      kind: 'oauth2-proxy',
      because: `annotation ${NGINX}auth-url: every request is asked about at an authentication service`,
    });
  if (has(`${NGINX}auth-type`) !== undefined)
    out.push({ kind: 'basic', because: `annotation ${NGINX}auth-type: passwords against a Secret` });
  if (has(`${NGINX}auth-tls-secret`) !== undefined)
    out.push({ kind: 'client-certificate', because: `annotation ${NGINX}auth-tls-secret: clients show a certificate` });
  if (['oidc', 'cognito'].includes(has('alb.ingress.kubernetes.io/auth-type') ?? ''))
    out.push({
      kind: 'oidc',
      because: 'annotation alb.ingress.kubernetes.io/auth-type: the load balancer signs users in',
    });
  for (const key of [
    'konghq.com/plugins',
    'traefik.ingress.kubernetes.io/router.middlewares',
    'haproxy.org/auth-type',
    'iap.gke.io/enabled',
  ])
    if (has(key) !== undefined)
      out.push({ kind: 'external', because: `annotation ${key}: what it asks for stands elsewhere` });
  return out;
}

/** What the mesh asks at these workloads. */
function askedByMesh(
  ids: readonly string[],
  objects: readonly KubeManifest[],
  world: World,
  jwt: IdentitiesSection['jwt'],
): readonly Asked[] {
  const out: Asked[] = [];
  for (const one of jwt)
    if (one.selects.some((id) => ids.includes(id)))
      out.push({
        kind: 'jwt',
        because: `${one.object} checks tokens of ${one.issuers.join(', ')}${one.required === 'yes' ? ', and a policy asks for one' : ', but no policy asks that there is one'}`,
      });
  for (const object of objects) {
    if (
      isObject(object, 'security.istio.io', 'AuthorizationPolicy') &&
      getPath(object, ['spec', 'action']) === 'CUSTOM'
    ) {
      if (!selectedBy(object, world).some((id) => ids.includes(id))) continue;
      const provider = asString(getPath(object, ['spec', 'provider', 'name'])) ?? '';
      out.push({
        kind: /oauth2|proxy/i.test(provider)
          ? 'oauth2-proxy'
          : /oidc|dex|authservice/i.test(provider)
            ? 'oidc'
            : 'external',
        because: `${formatRef(refOf(object))} asks provider ${provider}`,
      });
    }
    if (
      isObject(object, 'networking.istio.io', 'EnvoyFilter') &&
      JSON.stringify(object['spec'] ?? {}).includes('ext_authz')
    )
      if (selectedByLabels(object, world).some((id) => ids.includes(id)))
        out.push({ kind: 'oidc', because: `${formatRef(refOf(object))} asks an external authorization service` });
  }
  return out;
}

function selectedByLabels(object: KubeManifest, world: World): readonly string[] {
  const labels = getPath(object, ['spec', 'workloadSelector', 'labels']);
  return workloadsSelected(world, labels === undefined ? {} : { matchLabels: labels }, namespaceOf(object) ?? '');
}

function entrance(
  object: { readonly id: string; readonly kind: Entrance['kind'] },
  hosts: readonly string[],
  tls: Answer,
  leadsTo: readonly string[],
  asked: readonly Asked[],
): Entrance {
  // The strictest is named first; a token that nobody has to show proves nothing.
  const binding = asked.filter((one) => one.kind !== 'jwt' || !one.because.endsWith('that there is one'));
  const [first] = binding;
  return {
    ...object,
    hosts: uniqueSorted(hosts),
    tls,
    leadsTo: uniqueSorted(leadsTo),
    authentication: first?.kind ?? 'none-found',
    because:
      asked.length === 0
        ? [
            'no annotation, RequestAuthentication, CUSTOM policy or filter that asks who is calling was found; an application may still ask by itself',
          ]
        : asked.map((one) => one.because),
  };
}

function entranceRows(
  inventory: Inventory,
  objects: readonly KubeManifest[],
  world: World,
  jwt: IdentitiesSection['jwt'],
): readonly Entrance[] {
  const services = new Map(inventory.services.map((service) => [`${service.namespace}/${service.name}`, service]));
  const leads = (namespace: string, names: readonly string[]): readonly string[] =>
    names.flatMap((name) => services.get(`${namespace}/${name}`)?.workloads ?? []);
  const out: Entrance[] = [];
  for (const object of objects) {
    const namespace = namespaceOf(object) ?? '';
    const id = formatRef(refOf(object));
    if (object.kind === 'Ingress' && ['networking.k8s.io', 'extensions'].includes(groupOf(object.apiVersion))) {
      const rules = asArray(getPath(object, ['spec', 'rules'])).map(asObject);
      const to = leads(namespace, ingressBackends(object));
      out.push(
        entrance(
          { id, kind: 'Ingress' },
          rules.flatMap((rule) => asString(rule['host']) ?? []),
          asArray(getPath(object, ['spec', 'tls'])).length > 0 ? 'yes' : 'no',
          to,
          [...askedByAnnotations(annotationsOf(object)), ...askedByMesh(to, objects, world, jwt)],
        ),
      );
    }
    if (isObject(object, 'networking.istio.io', 'Gateway')) {
      const servers = asArray(getPath(object, ['spec', 'servers'])).map(asObject);
      const modes = servers.map((server) => asString(asObject(server['tls'])['mode']));
      const selector = asStringMap(getPath(object, ['spec', 'selector']));
      const gateways = inventory.namespaces.flatMap((one) =>
        Object.keys(selector).length === 0 ? [] : workloadsSelected(world, { matchLabels: selector }, one.name),
      );
      const to = gatewayBackends(object, objects, inventory);
      const mutual = modes.some((mode) => mode === 'MUTUAL' || mode === 'ISTIO_MUTUAL');
      out.push(
        entrance(
          { id, kind: 'Gateway' },
          servers.flatMap((server) => asArray(server['hosts']).flatMap((host) => asString(host) ?? [])),
          modes.length > 0 && modes.every((mode) => mode !== undefined) ? 'yes' : 'no',
          to,
          [
            ...(mutual
              ? [
                  {
                    kind: 'client-certificate' as const,
                    because: 'a server of it takes clients with a certificate alone',
                  },
                ]
              : []),
            ...askedByMesh([...gateways, ...to], objects, world, jwt),
          ],
        ),
      );
    }
    if (isObject(object, 'gateway.networking.k8s.io', 'HTTPRoute')) {
      const names = asArray(getPath(object, ['spec', 'rules'])).flatMap((rule) =>
        asArray(asObject(rule)['backendRefs']).flatMap((ref) => asString(asObject(ref)['name']) ?? []),
      );
      const to = leads(namespace, names);
      out.push(
        entrance(
          { id, kind: 'HTTPRoute' },
          asArray(getPath(object, ['spec', 'hostnames'])).flatMap((host) => asString(host) ?? []),
          'unknown',
          to,
          [...askedByAnnotations(annotationsOf(object)), ...askedByMesh(to, objects, world, jwt)],
        ),
      );
    }
    if (isObject(object, 'route.openshift.io', 'Route')) {
      const name = asString(getPath(object, ['spec', 'to', 'name']));
      const to = leads(namespace, name === undefined ? [] : [name]);
      const host = asString(getPath(object, ['spec', 'host']));
      out.push(
        entrance(
          { id, kind: 'Route' },
          host === undefined ? [] : [host],
          getPath(object, ['spec', 'tls']) === undefined ? 'no' : 'yes',
          to,
          askedByMesh(to, objects, world, jwt),
        ),
      );
    }
  }
  for (const service of inventory.services)
    if (isOutward(service)) out.push(serviceEntrance(service, objects, world, jwt));
  return out.sort((a, b) => compareText(a.id, b.id));
}

function isOutward({ type }: ServiceInfo): boolean {
  return type === 'LoadBalancer' || type === 'NodePort';
}

function serviceEntrance(
  service: ServiceInfo,
  objects: readonly KubeManifest[],
  world: World,
  jwt: IdentitiesSection['jwt'],
): Entrance {
  const id = `Service ${service.namespace}/${service.name}`;
  const asked = askedByMesh(service.workloads, objects, world, jwt);
  const made = entrance({ id, kind: 'Service' }, [], 'unknown', service.workloads, asked);
  return {
    ...made,
    because: [
      `type ${service.type}, ${service.ports.map((port) => `${port.port}/${port.protocol}`).join(', ')}`,
      ...made.because,
    ],
  };
}

function ingressBackends(object: KubeManifest): readonly string[] {
  const nameOf = (backend: JsonObject): string | undefined =>
    asString(getPath(backend, ['service', 'name'])) ?? asString(backend['serviceName']);
  const rules = asArray(getPath(object, ['spec', 'rules'])).map(asObject);
  return [
    asObject(getPath(object, ['spec', 'defaultBackend'])),
    asObject(getPath(object, ['spec', 'backend'])),
    ...rules.flatMap((rule) =>
      asArray(getPath(rule, ['http', 'paths'])).map((path) => asObject(asObject(path)['backend'])),
    ),
  ].flatMap((backend) => nameOf(backend) ?? []);
}

/** Where the VirtualServices of a gateway lead. */
function gatewayBackends(
  gateway: KubeManifest,
  objects: readonly KubeManifest[],
  inventory: Inventory,
): readonly string[] {
  const own = `${namespaceOf(gateway) ?? ''}/${gateway.metadata.name}`;
  const out: string[] = [];
  for (const object of objects) {
    if (!isObject(object, 'networking.istio.io', 'VirtualService')) continue;
    const namespace = namespaceOf(object) ?? '';
    const names = asArray(getPath(object, ['spec', 'gateways'])).flatMap((one) => asString(one) ?? []);
    if (!names.some((name) => (name.includes('/') ? name : `${namespace}/${name}`) === own)) continue;
    const routes = ['http', 'tls', 'tcp'].flatMap((kind) => asArray(getPath(object, ['spec', kind])).map(asObject));
    for (const route of routes)
      for (const item of asArray(route['route'])) {
        const host = asString(getPath(item, ['destination', 'host'])) ?? '';
        const [name = '', space] = host.split('.');
        const service = inventory.services.find((one) => one.name === name && one.namespace === (space ?? namespace));
        out.push(...(service?.workloads ?? []));
      }
  }
  return uniqueSorted(out);
}

const PROXIES =
  /(?:^|\/)(?:oauth2-proxy|oidc-authservice|dex|keycloak|gatekeeper|authelia|pomerium|louketo-proxy|ory-hydra|hydra)(?:[:@]|$)/i;
const ISSUER = /(?:issuer|provider)[-_]?(?:url|uri)?$/i;

/** Workloads that sign users in by OAuth 2 or OpenID Connect, with where their client's id and secret come from. */
function oauthClients(specs: readonly SpecOf[]): readonly OauthClient[] {
  const out = new Map<string, OauthClient>();
  for (const { workload, spec } of specs)
    for (const container of containersOf(spec)) {
      const image = asString(container['image']) ?? '';
      const proxy = PROXIES.exec(image.split('@')[0] ?? '');
      const env = asArray(container['env']).map(asObject);
      const isClient = env.some((item) => namesClient(asString(item['name']) ?? ''));
      if (proxy === null && !isClient) continue;
      const references = env.flatMap((item) => {
        const name = asString(item['name']) ?? '';
        if (!/client|cookie|oauth|oidc/i.test(name)) return [];
        const source = asObject(item['valueFrom']);
        for (const [field, kind] of [
          ['secretKeyRef', 'Secret'],
          ['configMapKeyRef', 'ConfigMap'],
        ] as const) {
          const ref = asObject(source[field]);
          const from = asString(ref['name']);
          if (from !== undefined)
            return [`${name} from ${kind} ${workload.namespace}/${from} key ${asString(ref['key']) ?? ''}`];
        }
        return [`${name}, a literal`];
      });
      const all = asArray(container['envFrom']).flatMap((item) => {
        const name = asString(getPath(item, ['secretRef', 'name']));
        return name === undefined ? [] : [`every key of Secret ${workload.namespace}/${name}`];
      });
      out.set(`${workload.id}\n${asString(container['name']) ?? ''}`, {
        subject: workload.id,
        kind: proxy === null ? 'OAuth 2 client by its variables' : proxy[0].replaceAll(/[/:@]/g, '') || 'proxy',
        references: uniqueSorted([...references, ...all]),
        issuer: issuerOf(container, env),
      });
    }
  return sortBy(out.values(), (one) => `${one.subject}\n${one.kind}`);
}

function issuerOf(container: JsonObject, env: readonly JsonObject[]): string | null {
  const words = [...asArray(container['command']), ...asArray(container['args'])].flatMap(
    (word) => asString(word) ?? [],
  );
  for (const word of words) {
    const found = /^--?(?:oidc-)?issuer(?:-url)?=(https?:\/\/\S+)$/i.exec(word);
    if (found?.[1] !== undefined) return maskText(found[1]);
  }
  for (const item of env) {
    const value = asString(item['value']);
    if (value !== undefined && ISSUER.test(asString(item['name']) ?? '') && /^https?:\/\//.test(value))
      return maskText(value);
  }
  return null;
}
