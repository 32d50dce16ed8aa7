import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString, setPath } from '../shared/pure/json.ts';
import { uniqueSorted } from '../shared/pure/order.ts';
import type { Cloud } from './cloud-identity.ts';
import { CONTAINER_FIELDS, keyOfMount, keyOfVariable, secretsOfEnvFrom, volumesOf } from './cloud-identity.ts';

/**
 * Variables that belong to a key and would lead the libraries of the cloud astray without it: a session of the key; the client whose secret
 * it was, which Azure's webhook leaves alone where it is set (Azure/azure-workload-identity, pkg/webhook addEnvironmentVariables).
 */
const COMPANIONS: Readonly<Record<Cloud, ReadonlySet<string>>> = {
  gcp: new Set(),
  aws: new Set(['AWS_SESSION_TOKEN']),
  azure: new Set([
    'AZURE_CLIENT_ID',
    'AZURE_TENANT_ID',
    'AZURE_CLIENT_CERTIFICATE_PASSWORD',
    'AZURE_CLIENT_SEND_CERTIFICATE_CHAIN',
  ]),
};
const CLIENT_KEYS: ReadonlySet<string> = new Set(['AZURE_CLIENT_SECRET', 'AZURE_CLIENT_CERTIFICATE_PATH']);

export interface KeyRemoval {
  readonly spec: JsonObject;
  /** For people: `env AWS_ACCESS_KEY_ID of container main`. */
  readonly removed: readonly string[];
  /** What stays and why: a volume that may hold more than the key. */
  readonly left: readonly string[];
}

/**
 * A pod spec without its references to long-lived keys of one cloud: variables, mounts of Secrets that are keys by their names, and volumes
 * that nothing mounts after that. Secrets are neither read nor touched.
 */
export function withoutKeys(spec: JsonObject, namespace: string, cloud: Cloud): KeyRemoval {
  const volumes = volumesOf(spec);
  const removed: string[] = [];
  const left: string[] = [];
  const dropped = new Set<string>();
  const inContainer = (item: Json): Json => {
    const container = asObject(item);
    const of = `of container ${asString(container['name']) ?? ''}`;
    const env = asArray(container['env']).map(asObject);
    const mounts = asArray(container['volumeMounts']).map(asObject);
    const keys = env.filter((one) => keyOfVariable(one, container, volumes, namespace)?.cloud === cloud);
    const clientKey = keys.some((one) => CLIENT_KEYS.has(asString(one['name']) ?? ''));
    const goes = (one: JsonObject): boolean =>
      keys.includes(one) ||
      (keys.length > 0 && (cloud !== 'azure' || clientKey) && COMPANIONS[cloud].has(asString(one['name']) ?? ''));
    const keyMounts = mounts.filter((one) => keyOfMount(one, volumes, namespace)?.cloud === cloud);
    for (const one of env) if (goes(one)) removed.push(`env ${asString(one['name']) ?? ''} ${of}`);
    for (const one of keyMounts) {
      dropped.add(asString(one['name']) ?? '');
      removed.push(`volume ${asString(one['name']) ?? ''} at ${asString(one['mountPath']) ?? ''} ${of}`);
    }
    for (const one of keys) {
      const secret = asString(asObject(asObject(one['valueFrom'])['secretKeyRef'])['name']);
      const reference = keyOfVariable(one, container, volumes, namespace)?.reference;
      const shown = keyMounts.some((mount) => keyOfMount(mount, volumes, namespace)?.reference === reference);
      if (secret === undefined && reference !== undefined && !shown)
        left.push(`${reference} stays mounted ${of}: by its name it may hold more than the key`);
    }
    if (removed.length > 0)
      for (const secret of secretsOfEnvFrom(container))
        left.push(`envFrom ${secret} stays ${of}: no Secret is read, and a key may be among its variables`);
    const lighter = keeping(container, 'env', env, (one) => !goes(one));
    return keeping(lighter, 'volumeMounts', mounts, (one) => !keyMounts.includes(one));
  };
  const containers = (field: string): JsonObject =>
    Array.isArray(spec[field]) ? { [field]: (spec[field] as readonly Json[]).map(inContainer) } : {};
  const edited: JsonObject = { ...spec, ...containers('containers'), ...containers('initContainers') };
  const mounted = mountedIn(edited);
  const after = keeping(edited, 'volumes', [...volumes.values()], (volume) => {
    const name = asString(volume['name']) ?? '';
    return !dropped.has(name) || mounted.has(name);
  });
  return { spec: after, removed: uniqueSorted(removed), left: uniqueSorted(left) };
}

/** The holder with the items of a list that stay; where none stays the field goes with them. */
function keeping(
  holder: JsonObject,
  field: string,
  items: readonly JsonObject[],
  stays: (item: JsonObject) => boolean,
): JsonObject {
  const kept = items.filter(stays);
  return kept.length === items.length ? holder : setPath(holder, [field], kept.length === 0 ? undefined : kept);
}

function mountedIn(spec: JsonObject): ReadonlySet<string> {
  return new Set(
    CONTAINER_FIELDS.flatMap((field) =>
      asArray(spec[field]).flatMap((item) =>
        [...asArray(asObject(item)['volumeMounts']), ...asArray(asObject(item)['volumeDevices'])].map(
          (mount) => asString(asObject(mount)['name']) ?? '',
        ),
      ),
    ),
  );
}

/** Names of the Secrets that a pod spec refers to: volumes, projected volumes, variables. */
export function secretsNamedIn(spec: JsonObject): ReadonlySet<string> {
  const names = new Set<string>();
  const add = (value: Json | undefined): void => {
    const name = asString(value);
    if (name !== undefined) names.add(name);
  };
  for (const item of asArray(spec['volumes'])) {
    const volume = asObject(item);
    add(asObject(volume['secret'])['secretName']);
    for (const source of asArray(asObject(volume['projected'])['sources']))
      add(asObject(asObject(source)['secret'])['name']);
  }
  for (const field of CONTAINER_FIELDS)
    for (const item of asArray(spec[field])) {
      for (const one of asArray(asObject(item)['env']))
        add(asObject(asObject(asObject(one)['valueFrom'])['secretKeyRef'])['name']);
      for (const one of asArray(asObject(item)['envFrom'])) add(asObject(asObject(one)['secretRef'])['name']);
    }
  return names;
}

/** Where the webhook of EKS puts the token (aws/amazon-eks-pod-identity-webhook, pkg/handler). */
const TOKEN_FOLDER = '/var/run/secrets/eks.amazonaws.com/serviceaccount';
const TOKEN_VOLUME = 'aws-iam-token';

/**
 * A pod spec with a token for AWS's STS as the webhook of EKS would put it in, for clusters without that webhook: audience
 * `sts.amazonaws.com`, a day. Containers that name a role already are left as they are, as the webhook does.
 */
export function withAwsToken(spec: JsonObject, role: string): JsonObject {
  const volumes = asArray(spec['volumes']);
  if (volumes.some((item) => asObject(item)['name'] === TOKEN_VOLUME)) return spec;
  const inContainer = (item: Json): Json => {
    const container = asObject(item);
    const env = asArray(container['env']);
    const names = env.map((one) => asString(asObject(one)['name']));
    if (names.includes('AWS_ROLE_ARN') || names.includes('AWS_WEB_IDENTITY_TOKEN_FILE')) return item;
    return {
      ...container,
      env: [
        ...env,
        { name: 'AWS_ROLE_ARN', value: role },
        { name: 'AWS_WEB_IDENTITY_TOKEN_FILE', value: `${TOKEN_FOLDER}/token` },
      ],
      volumeMounts: [
        ...asArray(container['volumeMounts']),
        { name: TOKEN_VOLUME, mountPath: TOKEN_FOLDER, readOnly: true },
      ],
    };
  };
  const token = { serviceAccountToken: { audience: 'sts.amazonaws.com', expirationSeconds: 86_400, path: 'token' } };
  const containers = (field: string): JsonObject =>
    Array.isArray(spec[field]) ? { [field]: (spec[field] as readonly Json[]).map(inContainer) } : {};
  return {
    ...spec,
    ...containers('containers'),
    ...containers('initContainers'),
    volumes: [...volumes, { name: TOKEN_VOLUME, projected: { sources: [token] } }],
  };
}
