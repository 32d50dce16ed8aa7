import type { JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString, asStringMap, getPath } from '../shared/pure/json.ts';
import { sortBy, uniqueSorted } from '../shared/pure/order.ts';
import type { KubeManifest } from './object.ts';
import { annotationsOf, formatRef, groupOf, isObject, labelsOf, namespaceOf, refOf } from './object.ts';

export type Cloud = 'gcp' | 'aws' | 'azure';

export interface CloudFacts {
  readonly cloud: Cloud | 'unknown';
  /** Of Google: the project that the nodes are in. */
  readonly project?: string;
  /** Where the nodes are. */
  readonly region?: string;
  /** Of Azure. */
  readonly subscription?: string;
  /** Does any node of GKE run the metadata server that workload identity needs? Not yet that all do where a pod may run. */
  readonly gkeMetadata?: boolean;
  readonly because: string;
}

/** On nodes of GKE that run the metadata server. */
export const GKE_METADATA_LABEL = 'iam.gke.io/gke-metadata-server-enabled';

/** Which cloud the nodes are in, by `spec.providerID` (k8s.io/cloud-provider) or the labels that each cloud's nodes carry. */
export function readCloud(objects: readonly KubeManifest[]): CloudFacts {
  const nodes = objects.filter((object) => isObject(object, '', 'Node'));
  const found = new Map<Cloud, CloudFacts>();
  for (const node of nodes) {
    const facts = cloudOfNode(node);
    if (facts !== undefined && !found.has(facts.cloud as Cloud)) found.set(facts.cloud as Cloud, facts);
  }
  const [first, ...others] = [...found.values()];
  if (first === undefined)
    return {
      cloud: 'unknown',
      because: nodes.length === 0 ? 'no node was read' : 'the nodes name no cloud that is known',
    };
  if (others.length > 0)
    return { cloud: 'unknown', because: `nodes of several clouds: ${[...found.keys()].sort().join(', ')}` };
  const gke = nodes.some((node) => labelsOf(node)[GKE_METADATA_LABEL] === 'true');
  return first.cloud === 'gcp' ? { ...first, gkeMetadata: gke } : first;
}

function cloudOfNode(node: KubeManifest): CloudFacts | undefined {
  const provider = asString(getPath(node, ['spec', 'providerID'])) ?? '';
  const labels = labelsOf(node);
  const region = labels['topology.kubernetes.io/region'];
  const more = region === undefined ? {} : { region };
  const because = `Node ${node.metadata.name}`;
  const gce = /^gce:\/\/([a-z][a-z0-9:.-]*)\//.exec(provider);
  if (gce !== null || labels['cloud.google.com/gke-nodepool'] !== undefined)
    return { cloud: 'gcp', ...(gce?.[1] === undefined ? {} : { project: gce[1] }), ...more, because };
  if (provider.startsWith('aws://') || labels['eks.amazonaws.com/nodegroup'] !== undefined)
    return { cloud: 'aws', ...more, because };
  const azure = /^azure:\/\/\/subscriptions\/([0-9a-f-]+)\//i.exec(provider);
  if (azure !== null || labels['kubernetes.azure.com/cluster'] !== undefined)
    return { cloud: 'azure', ...(azure?.[1] === undefined ? {} : { subscription: azure[1] }), ...more, because };
  return undefined;
}

/** How an account of Kubernetes becomes an identity of a cloud. */
export type BindingWay =
  'gke-annotation' | 'gke-principal' | 'irsa' | 'eks-pod-identity' | 'azure-workload-identity' | 'kube2iam';

/** One trust between an account and an identity of a cloud, as far as the cluster shows it. */
export interface CloudBinding {
  readonly cloud: Cloud;
  readonly way: BindingWay;
  readonly namespace: string;
  /** Undefined: every account of the namespace, or one that only the cloud knows. */
  readonly account: string | undefined;
  /** The e-mail of a Google account, an ARN, a client id; absent where the cluster does not show it. */
  readonly identity?: string;
  readonly by: string;
}

export const GKE_ANNOTATION = 'iam.gke.io/gcp-service-account';
export const IRSA_ANNOTATION = 'eks.amazonaws.com/role-arn';
export const AZURE_ANNOTATION = 'azure.workload.identity/client-id';
/** Only pods with this label are given a token by Azure's webhook (Azure/azure-workload-identity, v1.0 on). */
export const AZURE_LABEL = 'azure.workload.identity/use';

/**
 * Ours, on an account: the way by which a cloud trusts it where no other object of the cluster shows it. Without it nobody could tell that its
 * pods need the path of the agent or of the metadata server.
 */
export const WAY_ANNOTATION = 'sallyport.dev/cloud-identity';
const STATED_WAYS: ReadonlyMap<string, Cloud> = new Map([
  ['eks-pod-identity', 'aws'],
  ['gke-principal', 'gcp'],
]);

const ANNOTATIONS: readonly (readonly [string, Cloud, BindingWay])[] = [
  [GKE_ANNOTATION, 'gcp', 'gke-annotation'],
  [IRSA_ANNOTATION, 'aws', 'irsa'],
  [AZURE_ANNOTATION, 'azure', 'azure-workload-identity'],
];

/** Subjects of an account: `system:serviceaccount:ns:name` (OIDC `sub` of its tokens). */
const SUBJECT = /^system:serviceaccount:([^:]*):([^:]*)$/;

/** Every trust that objects of the cluster state: annotations of accounts, and the kinds by which clouds are configured from inside. */
export function cloudBindings(objects: readonly KubeManifest[]): readonly CloudBinding[] {
  const found: CloudBinding[] = [];
  for (const object of objects) {
    const by = formatRef(refOf(object));
    if (isObject(object, '', 'ServiceAccount')) {
      const annotations = annotationsOf(object);
      for (const [key, cloud, way] of ANNOTATIONS) {
        const identity = annotations[key];
        if (identity !== undefined)
          found.push({
            cloud,
            way,
            namespace: namespaceOf(object) ?? '',
            account: object.metadata.name,
            identity,
            by: `${by} ${key}`,
          });
      }
      const stated = annotations[WAY_ANNOTATION];
      const cloud = stated === undefined ? undefined : STATED_WAYS.get(stated);
      if (cloud !== undefined)
        found.push({
          cloud,
          way: stated as BindingWay,
          namespace: namespaceOf(object) ?? '',
          account: object.metadata.name,
          by: `${by} ${WAY_ANNOTATION}`,
        });
      continue;
    }
    found.push(...configured(object, by));
  }
  return sortBy(found, (one) => `${one.namespace}/${one.account ?? ''}/${one.cloud}/${one.identity ?? ''}/${one.by}`);
}

/** AWS Controllers for Kubernetes, Google Config Connector, Azure Service Operator. */
function configured(object: KubeManifest, by: string): readonly CloudBinding[] {
  const group = groupOf(object.apiVersion);
  const spec = asObject(object['spec']);
  if (group === 'eks.services.k8s.aws' && object.kind === 'PodIdentityAssociation') {
    const identity = asString(spec['roleARN']);
    return [
      {
        cloud: 'aws',
        way: 'eks-pod-identity',
        namespace: asString(spec['namespace']) ?? '',
        account: asString(spec['serviceAccount']),
        ...(identity === undefined ? {} : { identity }),
        by,
      },
    ];
  }
  if (group === 'iam.services.k8s.aws' && object.kind === 'Role')
    return subjectsOfTrust(asString(spec['assumeRolePolicyDocument']) ?? '').map(({ namespace, account }) => {
      const identity = asString(getPath(object, ['status', 'ackResourceMetadata', 'arn'])) ?? asString(spec['name']);
      return { cloud: 'aws', way: 'irsa', namespace, account, ...(identity === undefined ? {} : { identity }), by };
    });
  if (
    group === 'iam.cnrm.cloud.google.com' &&
    (object.kind === 'IAMPolicyMember' || object.kind === 'IAMPartialPolicy')
  ) {
    const target = asObject(spec['resourceRef']);
    const identity = asString(target['external']) ?? asString(target['name']);
    const members = [
      asString(spec['member']),
      ...asArray(spec['bindings']).flatMap((one) =>
        asArray(asObject(one)['members']).map((member) => asString(member) ?? asString(asObject(member)['member'])),
      ),
    ].filter((one) => one !== undefined);
    return members.flatMap((member): readonly CloudBinding[] => {
      const subject = googleMember(member);
      return subject === undefined
        ? []
        : [{ cloud: 'gcp', ...subject, ...(identity === undefined ? {} : { identity }), by }];
    });
  }
  if (group === 'managedidentity.azure.com' && object.kind === 'FederatedIdentityCredential') {
    const match = SUBJECT.exec(asString(spec['subject']) ?? '');
    const owner = asObject(spec['owner']);
    const identity = asString(owner['name']) ?? asString(owner['armId']);
    return match === null
      ? []
      : [
          {
            cloud: 'azure',
            way: 'azure-workload-identity',
            namespace: match[1] ?? '',
            account: match[2],
            ...(identity === undefined ? {} : { identity }),
            by,
          },
        ];
  }
  return [];
}

/**
 * `serviceAccount:P.svc.id.goog[ns/name]` and `principal://.../subject/ns/NS/sa/NAME`; a `principalSet` with a namespace trusts every account
 * of it (cloud.google.com, "Authenticate to Google Cloud APIs from GKE workloads").
 */
export function googleMember(
  member: string,
): { readonly way: BindingWay; readonly namespace: string; readonly account: string | undefined } | undefined {
  const old = /^serviceAccount:[^[\]]+\.svc\.id\.goog\[([^/\]]+)\/([^\]]+)\]$/.exec(member);
  if (old !== null) return { way: 'gke-annotation', namespace: old[1] ?? '', account: old[2] };
  if (!/^principal(?:Set)?:\/\/iam\.googleapis\.com\/.*\.svc\.id\.goog\//.test(member)) return undefined;
  const one = /\/subject\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(member);
  if (one !== null) return { way: 'gke-principal', namespace: one[1] ?? '', account: one[2] };
  const all = /\/namespace\/([^/]+)$/.exec(member);
  return { way: 'gke-principal', namespace: all?.[1] ?? '*', account: undefined };
}

/** The project of the pool that a member of Google is of: both forms name it as `P.svc.id.goog`. */
export function poolProject(member: string): string | undefined {
  return (
    /^serviceAccount:([^[\]]+)\.svc\.id\.goog\[/.exec(member)?.[1] ??
    /\/workloadIdentityPools\/([^/]+)\.svc\.id\.goog\//.exec(member)?.[1]
  );
}

/** The accounts that the trust policy of an IAM role admits. A pattern is kept as it stands: `*` stands for any text. */
export function subjectsOfTrust(document: string): readonly { readonly namespace: string; readonly account: string }[] {
  return roleSubjects(document).map(({ namespace, account }) => ({ namespace, account }));
}

/** An account that the trust policy of a role admits, and of which issuer. */
export interface RoleSubject {
  readonly namespace: string;
  readonly account: string;
  /** As IAM writes it, without `https://`; absent where no condition on the subject names it. */
  readonly issuer?: string;
  /** Audiences that are asked for; absent: any that the provider has. */
  readonly audiences?: readonly string[];
  /** What else the policy asks, which is not judged here: whether it admits the account is not known. */
  readonly unsure?: string;
}

type Fields = Readonly<Record<string, unknown>>;

const fieldsOf = (value: unknown): Fields => (typeof value === 'object' && value !== null ? (value as Fields) : {});
const listOf = (value: unknown): readonly unknown[] =>
  Array.isArray(value) ? (value as readonly unknown[]) : value === undefined ? [] : [value];

/**
 * The same with the issuer and the audience: condition keys of a token are those of its provider, `ISSUER:sub` and `ISSUER:aud`
 * (docs.aws.amazon.com/IAM/latest/UserGuide "Available keys for AWS OIDC federation"), and all conditions of a statement must hold.
 */
export function roleSubjects(document: string): readonly RoleSubject[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(document);
  } catch {
    return [];
  }
  const statements = listOf(fieldsOf(parsed)['Statement']).map(fieldsOf);
  const denies = statements.some(({ Effect }) => Effect === 'Deny');
  return statements.flatMap((statement): readonly RoleSubject[] => {
    if (statement['Effect'] !== 'Allow' || !listOf(statement['Action']).includes('sts:AssumeRoleWithWebIdentity'))
      return [];
    const found = subjectsOfStatement(statement);
    return denies ? found.map((one) => ({ ...one, unsure: 'another statement of the policy denies' })) : found;
  });
}

function subjectsOfStatement(statement: Fields): readonly RoleSubject[] {
  const conditions = Object.entries(fieldsOf(statement['Condition'])).flatMap(([operator, keys]) =>
    Object.entries(fieldsOf(keys)).map(([key, values]) => ({ operator, key, values: listOf(values) })),
  );
  const compared = conditions.filter(({ operator }) => /^(?:ForAnyValue:)?String(?:Equals|Like)$/.test(operator));
  const subs = compared.filter(({ key }) => key.endsWith(':sub'));
  // Without a condition on the subject every token of the issuer will do.
  if (subs.length === 0) return [{ namespace: '*', account: '*' }];
  const issuers = uniqueSorted(subs.map(({ key }) => key.slice(0, -':sub'.length)));
  const [issuer = ''] = issuers;
  const auds = compared.filter(({ key }) => key === `${issuer}:aud`);
  const audiences = auds.flatMap(({ values }) => values.map(String));
  const others = conditions.filter((one) => !subs.includes(one) && !auds.includes(one));
  const providers = listOf(fieldsOf(statement['Principal'])['Federated']).map(String);
  const unsure =
    issuers.length > 1 || subs.length > 1 || auds.length > 1
      ? 'several conditions on the subject or the audience must hold together'
      : others.length > 0
        ? `conditions on ${uniqueSorted(others.map(({ key }) => key)).join(', ')} are not judged`
        : providers.some((arn) => arn.endsWith(`:oidc-provider/${issuer}`))
          ? undefined
          : `its principal is not the provider ${issuer}`;
  const more = {
    issuer,
    ...(auds.length === 0 ? {} : { audiences }),
    ...(unsure === undefined ? {} : { unsure }),
  };
  return subs.flatMap(({ values }) =>
    values.flatMap((subject): readonly RoleSubject[] => {
      const match = typeof subject === 'string' ? SUBJECT.exec(subject) : null;
      if (match !== null) return [{ namespace: match[1] ?? '', account: match[2] ?? '', ...more }];
      return typeof subject === 'string' && subject.includes('*') ? [{ namespace: '*', account: '*', ...more }] : [];
    }),
  );
}

/** Does the trust take in more than one account by a pattern? */
export function isWide({ namespace, account }: Pick<CloudBinding, 'namespace' | 'account'>): boolean {
  return account === undefined || /[*?]/.test(account) || /[*?]/.test(namespace);
}

// ---- keys, by reference

export interface CloudKey {
  /** `unknown`: all variables of a Secret, whose names only a right to read Secrets would show. It may hold a key, or none. */
  readonly cloud: Cloud | 's3-compatible' | 'unknown';
  /** `env AWS_ACCESS_KEY_ID of container main`, `volume gcp-key at /var/secrets`. */
  readonly place: string;
  /** `Secret shop/gcp-key key key.json`; absent for a literal, and for a path that no volume holds. */
  readonly reference?: string;
}

const KEY_VARIABLES: readonly (readonly [RegExp, Cloud])[] = [
  [
    /^(?:GOOGLE_APPLICATION_CREDENTIALS|GOOGLE_CREDENTIALS|GOOGLE_CLOUD_KEYFILE_JSON|GCLOUD_KEYFILE_JSON|CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE)$/,
    'gcp',
  ],
  [/^(?:AWS_ACCESS_KEY_ID|AWS_SECRET_ACCESS_KEY|AWS_SHARED_CREDENTIALS_FILE)$/, 'aws'],
  [
    /^(?:AZURE_CLIENT_SECRET|AZURE_CLIENT_CERTIFICATE_PATH|AZURE_STORAGE_KEY|AZURE_STORAGE_ACCESS_KEY|AZURE_STORAGE_CONNECTION_STRING)$/,
    'azure',
  ],
];
const KEY_FILES: readonly (readonly [RegExp, Cloud])[] = [
  [/(?:gcp|gcs|gke|google|gcloud|bigquery)/i, 'gcp'],
  [/(?:^|[^a-z])aws(?:[^a-z]|$)/i, 'aws'],
  [/azure/i, 'azure'],
];
/** Where one of these names another server, access keys are those of that store and no cloud's. */
const OTHER_STORE =
  /^(?:AWS_ENDPOINT_URL(?:_S3)?|S3_ENDPOINT(?:_URL)?|MLFLOW_S3_ENDPOINT_URL|MINIO_ENDPOINT|FEAST_S3_ENDPOINT_URL)$/;

type Volumes = ReadonlyMap<string, JsonObject>;

/** The volumes of a pod spec by name. */
export function volumesOf(spec: JsonObject): Volumes {
  return new Map(asArray(spec['volumes']).map((item) => [asString(asObject(item)['name']) ?? '', asObject(item)]));
}

/** A variable of a container that holds a key, or names the file of one: whose, and where the key lies. Values are never read. */
export function keyOfVariable(
  variable: JsonObject,
  container: JsonObject,
  volumes: Volumes,
  namespace: string,
): Pick<CloudKey, 'cloud' | 'reference'> | undefined {
  const name = asString(variable['name']) ?? '';
  const hit = KEY_VARIABLES.find(([pattern]) => pattern.test(name));
  if (hit === undefined) return undefined;
  const otherStore = asArray(container['env'])
    .map(asObject)
    .some((one) => {
      const value = asString(one['value']);
      return OTHER_STORE.test(asString(one['name']) ?? '') && value?.includes('amazonaws.com') !== true;
    });
  const cloud = hit[1] === 'aws' && otherStore ? 's3-compatible' : hit[1];
  const secret = secretOf(asObject(asObject(variable['valueFrom'])['secretKeyRef']), namespace);
  const path = asString(variable['value']);
  const file = /CREDENTIALS$|_FILE$|_PATH$|OVERRIDE$/.test(name) && path?.startsWith('/') === true ? path : undefined;
  const mounts = asArray(container['volumeMounts']).map(asObject);
  const mounted = file === undefined ? undefined : volumeAt(file, mounts, volumes, namespace);
  // A file of a ConfigMap or a projected token is a configuration for federation, and no key.
  if (mounted === NO_KEY) return undefined;
  const reference = secret ?? mounted;
  return { cloud, ...(reference === undefined ? {} : { reference }) };
}

/** A mount of a container whose Secret is a key of a cloud, by the names of the Secret, the path and the files. */
export function keyOfMount(
  mount: JsonObject,
  volumes: Volumes,
  namespace: string,
): { readonly cloud: Cloud; readonly reference: string } | undefined {
  const secret = asObject(volumes.get(asString(mount['name']) ?? '')?.['secret']);
  const name = asString(secret['secretName']);
  if (name === undefined) return undefined;
  const path = asString(mount['mountPath']) ?? '';
  const items = asArray(secret['items']).map((one) => asString(asObject(one)['path']) ?? '');
  const text = `${name} ${path} ${items.join(' ')}`;
  const hit = KEY_FILES.find(([pattern]) => pattern.test(text));
  return hit !== undefined && /key|cred|\.json|\.aws|service-?account|(?:^|[-_])sa(?:[-_]|$)/i.test(text)
    ? { cloud: hit[1], reference: `Secret ${namespace}/${name}` }
    : undefined;
}

/** Every field of a pod spec that lists containers; the last one a running pod alone has. */
export const CONTAINER_FIELDS = ['containers', 'initContainers', 'ephemeralContainers'] as const;

/**
 * Keys of a cloud that do not end by themselves, in every container of one pod spec: by the names of variables, volumes and Secrets. Values are
 * never read, so that of `envFrom` with a Secret the variables are not known: the cloud of such a reference is `unknown`.
 */
export function cloudKeysIn(spec: JsonObject, namespace: string): readonly CloudKey[] {
  const volumes = volumesOf(spec);
  const found = new Map<string, CloudKey>();
  const add = (key: CloudKey): void => {
    found.set(`${key.cloud} ${key.place} ${key.reference ?? ''}`, key);
  };
  for (const item of CONTAINER_FIELDS.flatMap((field) => asArray(spec[field]))) {
    const container = asObject(item);
    const of = `of container ${asString(container['name']) ?? ''}`;
    for (const secret of secretsOfEnvFrom(container))
      add({ cloud: 'unknown', place: `envFrom ${secret} ${of}`, reference: `Secret ${namespace}/${secret}` });
    for (const one of asArray(container['env']).map(asObject)) {
      const key = keyOfVariable(one, container, volumes, namespace);
      if (key !== undefined) add({ ...key, place: `env ${asString(one['name']) ?? ''} ${of}` });
    }
    for (const mount of asArray(container['volumeMounts']).map(asObject)) {
      const key = keyOfMount(mount, volumes, namespace);
      if (key !== undefined)
        add({
          ...key,
          place: `volume ${asString(mount['name']) ?? ''} at ${asString(mount['mountPath']) ?? ''} ${of}`,
        });
    }
  }
  return sortBy(found.values(), (key) => `${key.cloud} ${key.place}`);
}

/** Names of the Secrets that a container takes all its keys from as variables. */
export function secretsOfEnvFrom(container: JsonObject): readonly string[] {
  return asArray(container['envFrom']).flatMap((one) => asString(asObject(asObject(one)['secretRef'])['name']) ?? []);
}

function secretOf(reference: JsonObject, namespace: string): string | undefined {
  const [name, key] = [asString(reference['name']), asString(reference['key'])];
  return name === undefined ? undefined : `Secret ${namespace}/${name}${key === undefined ? '' : ` key ${key}`}`;
}

const NO_KEY = Symbol('no key');

/** The Secret that a file is of; undefined where no volume holds it. */
function volumeAt(
  file: string,
  mounts: readonly JsonObject[],
  volumes: ReadonlyMap<string, JsonObject>,
  namespace: string,
): string | typeof NO_KEY | undefined {
  const mount = mounts.find((one) => {
    const path = (asString(one['mountPath']) ?? '').replace(/\/$/, '');
    return path !== '' && (file === path || file.startsWith(`${path}/`));
  });
  const volume = volumes.get(asString(mount?.['name']) ?? '');
  if (volume === undefined) return undefined;
  const secret = asString(asObject(volume['secret'])['secretName']);
  if (secret !== undefined) return `Secret ${namespace}/${secret}`;
  if (volume['configMap'] !== undefined) return NO_KEY;
  const sources = asArray(asObject(volume['projected'])['sources']).map(asObject);
  const projected = sources.map((one) => asString(asObject(one['secret'])['name'])).find((name) => name !== undefined);
  return projected === undefined ? (sources.length > 0 ? NO_KEY : undefined) : `Secret ${namespace}/${projected}`;
}

/** What a pod is given by the webhooks of clouds shows in its text: by the audience of the token that they project. */
const AUDIENCES: readonly (readonly [string, Cloud, BindingWay])[] = [
  ['pods.eks.amazonaws.com', 'aws', 'eks-pod-identity'],
  ['sts.amazonaws.com', 'aws', 'irsa'],
  ['api://AzureADTokenExchange', 'azure', 'azure-workload-identity'],
];

/** Ways of federation that a pod, or its template, shows by itself. */
export function federationIn(
  spec: JsonObject,
  labels: Readonly<Record<string, string>>,
  annotations: Readonly<Record<string, string>>,
): readonly { readonly cloud: Cloud; readonly way: BindingWay; readonly because: string }[] {
  const audiences = uniqueSorted(
    asArray(spec['volumes']).flatMap((volume) =>
      asArray(asObject(asObject(volume)['projected'])['sources']).flatMap(
        (source) => asString(asObject(asObject(source)['serviceAccountToken'])['audience']) ?? [],
      ),
    ),
  );
  const found = AUDIENCES.filter(([audience]) => audiences.includes(audience)).map(([audience, cloud, way]) => ({
    cloud,
    way,
    because: `a token for ${audience} is projected into its pods`,
  }));
  const role = asStringMap(annotations)['iam.amazonaws.com/role'];
  return [
    ...found,
    ...(role === undefined
      ? []
      : [{ cloud: 'aws' as const, way: 'kube2iam' as const, because: 'its pods carry iam.amazonaws.com/role' }]),
    ...(labels[AZURE_LABEL] === 'true' && !found.some((one) => one.cloud === 'azure')
      ? [{ cloud: 'azure' as const, way: 'azure-workload-identity' as const, because: `its pods carry ${AZURE_LABEL}` }]
      : []),
  ];
}

/** Where pods get credentials of the cloud, for one way and network plugin. */
export interface MetadataPath {
  /** Absent: the node itself answers. */
  readonly ip?: string;
  readonly port: number;
  readonly why: string;
}

/**
 * The metadata paths that a way of federation needs, after address translation, and none where tokens are exchanged with the cloud's public
 * endpoint. Sources: cloud.google.com/kubernetes-engine/docs/how-to/network-policy ("Network policy and Workload Identity Federation for
 * GKE": 169.254.169.252:988, with Dataplane V2 169.254.169.254:80); docs.aws.amazon.com/eks/latest/userguide/pod-id-agent-setup (the agent
 * listens on 169.254.170.23:80 of the node, in its network); jtblin/kube2iam (calls to 169.254.169.254 are redirected to the node's 8181).
 * Cilium takes addresses of the node for its entity `host`, which no CIDR selects.
 */
export function metadataPaths(way: BindingWay, cni: string, gke: boolean): readonly MetadataPath[] {
  switch (way) {
    case 'gke-annotation':
    case 'gke-principal':
      if (cni === 'cilium') return [{ ip: '169.254.169.254', port: 80, why: 'GKE metadata server with Dataplane V2' }];
      if (gke || cni === 'calico') return [{ ip: '169.254.169.252', port: 988, why: 'GKE metadata server' }];
      return [
        { ip: '169.254.169.252', port: 988, why: 'GKE metadata server' },
        { ip: '169.254.169.254', port: 80, why: 'GKE metadata server, with Dataplane V2' },
      ];
    case 'eks-pod-identity':
      return cni === 'cilium'
        ? [{ port: 80, why: 'EKS Pod Identity agent, which is the node to Cilium' }]
        : [{ ip: '169.254.170.23', port: 80, why: 'EKS Pod Identity agent' }];
    case 'kube2iam':
      return [{ port: 8181, why: 'kube2iam on the node' }];
    case 'irsa':
    case 'azure-workload-identity':
      return [];
  }
}
