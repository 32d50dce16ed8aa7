import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Cluster, User } from '@kubernetes/client-node';
import { EXIT, Failure, messageOf } from '../../shared/pure/errors.ts';
import { parseYaml } from '../../shared/io/yaml.ts';
import { sha256 } from '../../shared/pure/hash.ts';
import type { Json, JsonObject } from '../../shared/pure/json.ts';
import { asArray, asObject, asString, isJsonObject } from '../../shared/pure/json.ts';
import { plural, safeText } from '../../shared/pure/text.ts';

export interface KubeconfigOptions {
  /** `--kubeconfig`: this file and no other. */
  readonly kubeconfig?: string;
  /** The value of KUBECONFIG: paths joined by the system's separator; the first that states a name wins. */
  readonly kubeconfigEnv?: string;
  /** The home directory, for `.kube/config` where neither of the above is given. */
  readonly home?: string;
  readonly context?: string;
  /** `--as`: the user to impersonate, in place of one that the kubeconfig names. */
  readonly as?: string;
  /** Where this program itself runs in a pod: the way to its API server, taken where no kubeconfig is there. */
  readonly inCluster?: InCluster;
}

/** What the kubelet gives every pod (kubernetes.io/docs, "Accessing the Kubernetes API from a Pod"). */
export interface InCluster {
  /** KUBERNETES_SERVICE_HOST: an IPv6 address stands without brackets. */
  readonly host: string;
  /** KUBERNETES_SERVICE_PORT. */
  readonly port: string;
  /** Where the token and the certificate authority of the service account are mounted. */
  readonly dir: string;
}

/** The name of the context that leads by the service account. */
const IN_CLUSTER = 'in-cluster';

/** Where a context leads and as whom: read from files alone, nothing is contacted and no credential plugin runs. */
export interface KubeAccess {
  readonly context: string;
  readonly cluster: Cluster;
  readonly user: User;
  readonly impersonate?: Impersonation;
  /** Of the certificate authority's bytes; tells two clusters at one address apart. Empty text without one. */
  readonly caSha256: string;
  /** Files that were read. */
  readonly files: readonly string[];
}

export interface Impersonation {
  readonly user: string;
  readonly uid?: string;
  readonly groups: readonly string[];
}

/**
 * Reads the kubeconfig files and picks the context.
 * Errors (exit 2): SP270 no kubeconfig, SP271 a file that cannot be read, SP272 not a kubeconfig, SP273 unknown or no
 * context (the known ones are listed), SP274 a context that lacks a usable cluster, SP275 an impossible `--as`.
 */
export async function readKubeAccess(options: KubeconfigOptions): Promise<KubeAccess> {
  const { inCluster } = options;
  if (inCluster !== undefined && options.kubeconfig === undefined && (options.context ?? IN_CLUSTER) === IN_CLUSTER) {
    const read = await readFiles(options).catch((error: unknown) => {
      // As client-go has it: the service account where no kubeconfig is there, and only there.
      if (error instanceof Failure && error.detail.code === 'SP270') return undefined;
      throw error;
    });
    if (read === undefined) return inClusterAccess(inCluster, options.as);
    return chooseContext(read, options);
  }
  return chooseContext(await readFiles(options), options);
}

/**
 * The API server of the cluster that this program runs in, as its service account. The token is read anew for each connection, as the kubelet
 * renews it. Errors (exit 2): SP269 where token or authority are not mounted.
 */
async function inClusterAccess({ host, port, dir }: InCluster, as: string | undefined): Promise<KubeAccess> {
  const [tokenFile, caFile] = [path.join(dir, 'token'), path.join(dir, 'ca.crt')];
  for (const file of [tokenFile, caFile]) {
    try {
      if ((await readFile(file, 'utf8')).trim() !== '') continue;
      throw new Error('it is empty');
    } catch (cause) {
      throw new Failure({
        code: 'SP269',
        exit: EXIT.usage,
        message: `no kubeconfig, and the pod's service account cannot be used: ${errorCode(cause) === 'ENOENT' ? 'it is not mounted' : errorCode(cause)}`,
        where: safeText(file),
        hint: 'give the pod a service account (automountServiceAccountToken: true), or name a kubeconfig with --kubeconfig FILE',
        cause,
      });
    }
  }
  const unusable = (what: string): Failure =>
    new Failure({
      code: 'SP274',
      exit: EXIT.usage,
      message: `context ${quote(IN_CLUSTER)} cannot be used: ${what}`,
      where: safeText(dir),
      hint: 'name a kubeconfig with --kubeconfig FILE',
    });
  const cluster: Cluster = {
    name: IN_CLUSTER,
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    skipTLSVerify: false,
    caFile,
  };
  checkServer(cluster, unusable);
  const impersonate = as === undefined ? undefined : { user: as, groups: [] };
  if (impersonate !== undefined) checkImpersonation(impersonate);
  return {
    context: IN_CLUSTER,
    cluster,
    user: { name: IN_CLUSTER, authProvider: { name: 'tokenFile', config: { tokenFile } } },
    ...(impersonate === undefined ? {} : { impersonate }),
    caSha256: fingerprintCa(cluster, unusable),
    files: [],
  };
}

/** The names that `--context` may have, sorted. Errors: SP270 to SP272 of `readKubeAccess`. */
export async function readContexts(options: KubeconfigOptions): Promise<readonly string[]> {
  return [...firstWins((await readFiles(options)).flatMap((config) => [...config.contexts])).keys()].sort();
}

async function readFiles(options: KubeconfigOptions): Promise<readonly ParsedKubeconfig[]> {
  const files = chooseFiles(options);
  const read: ParsedKubeconfig[] = [];
  for (const { file, optional } of files) {
    const text = await readText(file, optional);
    if (text !== undefined) read.push(parseKubeconfig(file, text));
  }
  if (read.length === 0) {
    throw new Failure({
      code: 'SP270',
      exit: EXIT.usage,
      message: `no kubeconfig: ${files.map(({ file }) => safeText(file)).join(', ')} ${files.length === 1 ? 'does' : 'do'} not exist`,
      hint: 'name one with --kubeconfig FILE, or use a directory of manifests with --manifests DIR',
    });
  }
  return read;
}

interface ParsedKubeconfig {
  readonly file: string;
  readonly clusters: ReadonlyMap<string, Cluster>;
  readonly users: ReadonlyMap<string, { readonly user: User; readonly impersonate?: Impersonation }>;
  readonly contexts: ReadonlyMap<string, { readonly cluster: string; readonly user: string }>;
  readonly currentContext: string;
}

function chooseFiles(options: KubeconfigOptions): readonly { readonly file: string; readonly optional: boolean }[] {
  if (options.kubeconfig !== undefined) return [{ file: options.kubeconfig, optional: false }];
  const listed = (options.kubeconfigEnv ?? '').split(path.delimiter).filter((file) => file !== '');
  if (listed.length > 0) return listed.map((file) => ({ file, optional: true }));
  if (options.home !== undefined && options.home !== '')
    return [{ file: path.join(options.home, '.kube', 'config'), optional: true }];
  throw new Failure({
    code: 'SP270',
    exit: EXIT.usage,
    message: 'no kubeconfig: --kubeconfig and KUBECONFIG are not set, and there is no home directory',
    hint: 'name one with --kubeconfig FILE, or use a directory of manifests with --manifests DIR',
  });
}

async function readText(file: string, optional: boolean): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    const code = errorCode(cause);
    if (code === 'ENOENT' && optional) return undefined;
    const why =
      code === 'ENOENT'
        ? 'it does not exist'
        : code === 'EACCES' || code === 'EPERM'
          ? 'permission denied'
          : code === 'EISDIR'
            ? 'it is a directory'
            : code;
    throw new Failure({
      code: 'SP271',
      exit: EXIT.usage,
      message: `cannot read the kubeconfig: ${why}`,
      where: safeText(file),
      hint: 'name a readable file with --kubeconfig FILE or KUBECONFIG',
      cause,
    });
  }
}

/** The system's code of an error, or its text. */
export function errorCode(error: unknown): string {
  return typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string'
    ? error.code
    : messageOf(error);
}

function parseKubeconfig(file: string, text: string): ParsedKubeconfig {
  const bad = (what: string, cause?: unknown): Failure =>
    new Failure({
      code: 'SP272',
      exit: EXIT.usage,
      message: `not a kubeconfig: ${what}`,
      where: safeText(file),
      hint: 'check it with: kubectl config view',
      ...(cause === undefined ? {} : { cause }),
    });
  const parsed = parseYaml(text);
  // The parser's message names what it met and where, and quotes nothing around it: that may hold a token.
  if ('problem' in parsed)
    throw bad(`it is not YAML at line ${parsed.problem.line}: ${safeText(parsed.problem.message).slice(0, 100)}`);
  const root = parsed.value;
  if (root === null) throw bad('it is empty, so not YAML of a kubeconfig');
  if (!isJsonObject(root)) throw bad('the document is not a mapping');
  const kind = root['kind'];
  if (kind !== undefined && kind !== 'Config') throw bad(`its kind is ${safeText(show(kind))}`);
  const dir = path.dirname(path.resolve(file));
  const entries = (
    key: 'clusters' | 'users' | 'contexts',
    inner: string,
  ): readonly (readonly [string, JsonObject])[] => {
    const list = root[key];
    if (list !== undefined && list !== null && !Array.isArray(list)) throw bad(`${key} is not a list`);
    return asArray(list).map((entry, index) => {
      const name = asString(asObject(entry)['name']);
      if (name === undefined || name === '') throw bad(`${key}[${index}].name is missing`);
      return [name, asObject(asObject(entry)[inner])] as const;
    });
  };
  return {
    file,
    clusters: firstWins(entries('clusters', 'cluster').map(([name, value]) => [name, parseCluster(name, value, dir)])),
    users: firstWins(entries('users', 'user').map(([name, value]) => [name, parseUser(name, value, dir)])),
    contexts: firstWins(
      entries('contexts', 'context').map(([name, value]) => [
        name,
        { cluster: asString(value['cluster']) ?? '', user: asString(value['user']) ?? '' },
      ]),
    ),
    currentContext: asString(root['current-context']) ?? '',
  };
}

function show(value: Json): string {
  return JSON.stringify(value).slice(0, 60);
}

function firstWins<T>(entries: readonly (readonly [string, T])[]): ReadonlyMap<string, T> {
  const map = new Map<string, T>();
  for (const [name, value] of entries) if (!map.has(name)) map.set(name, value);
  return map;
}

function parseCluster(name: string, value: JsonObject, dir: string): Cluster {
  const text = textsOf(value);
  return {
    name,
    server: (text('server') ?? '').replace(/\/+$/u, ''),
    // Anything but a plain true leaves verification on.
    skipTLSVerify: value['insecure-skip-tls-verify'] === true,
    ...optional('caData', text('certificate-authority-data')),
    ...optional('caFile', absolute(text('certificate-authority'), dir)),
    ...optional('tlsServerName', text('tls-server-name')),
    ...optional('proxyUrl', text('proxy-url')),
  };
}

function parseUser(
  name: string,
  value: JsonObject,
  dir: string,
): { readonly user: User; readonly impersonate?: Impersonation } {
  const text = textsOf(value);
  const exec = value['exec'];
  const tokenFile = absolute(text('tokenFile'), dir);
  const user: User = {
    name,
    ...optional('certData', text('client-certificate-data')),
    ...optional('certFile', absolute(text('client-certificate'), dir)),
    ...optional('keyData', text('client-key-data')),
    ...optional('keyFile', absolute(text('client-key'), dir)),
    ...optional('username', text('username')),
    ...optional('password', text('password')),
    // A token file wins over a token in place, as kubectl has it.
    ...(tokenFile === undefined
      ? { ...optional('token', text('token')), authProvider: value['auth-provider'] }
      : { authProvider: { name: 'tokenFile', config: { tokenFile } } }),
    ...(isJsonObject(exec) ? { exec: { ...exec, command: commandPath(asString(exec['command']), dir) } } : {}),
  };
  const as = text('as');
  if (as === undefined) return { user };
  const groups = asArray(value['as-groups']).filter((group): group is string => typeof group === 'string');
  return { user, impersonate: { user: as, groups, ...optional('uid', text('as-uid')) } };
}

function textsOf(value: JsonObject): (key: string) => string | undefined {
  return (key) => {
    const text = asString(value[key]);
    return text === '' ? undefined : text;
  };
}

function optional<K extends string>(key: K, value: string | undefined): { readonly [P in K]?: string } {
  return (value === undefined ? {} : { [key]: value }) as { readonly [P in K]?: string };
}

function absolute(file: string | undefined, dir: string): string | undefined {
  return file === undefined ? undefined : path.resolve(dir, file);
}

/** A command with a slash is relative to the kubeconfig; a bare name is looked up on the PATH. */
function commandPath(command: string | undefined, dir: string): string | undefined {
  return command !== undefined && /[/\\]/u.test(command) ? path.resolve(dir, command) : command;
}

function chooseContext(read: readonly ParsedKubeconfig[], options: KubeconfigOptions): KubeAccess {
  const files = read.map(({ file }) => file);
  const where = files.map(safeText).join(', ');
  const contexts = firstWins(read.flatMap((config) => [...config.contexts]));
  const known = [...contexts.keys()].sort();
  const name = options.context ?? read.map((config) => config.currentContext).find((current) => current !== '') ?? '';
  const context = contexts.get(name);
  if (context === undefined) {
    throw new Failure({
      code: 'SP273',
      exit: EXIT.usage,
      message: name === '' ? 'the kubeconfig has no current context' : `there is no context ${quote(name)}`,
      where,
      hint:
        known.length === 0
          ? 'the kubeconfig has no contexts at all: name another with --kubeconfig FILE'
          : `choose with --context one of ${plural(known.length, 'context')}: ${known.slice(0, 50).map(quote).join(', ')}`,
    });
  }
  const cluster = firstWins(read.flatMap((config) => [...config.clusters])).get(context.cluster);
  const unusable = (what: string): Failure =>
    new Failure({
      code: 'SP274',
      exit: EXIT.usage,
      message: `context ${quote(name)} cannot be used: ${what}`,
      where,
      hint: 'correct it with kubectl config, or choose another with --context',
    });
  if (cluster === undefined) throw unusable(`its cluster ${quote(context.cluster)} is not there`);
  checkServer(cluster, unusable);
  const entry = firstWins(read.flatMap((config) => [...config.users])).get(context.user);
  if (entry === undefined && context.user !== '') throw unusable(`its user ${quote(context.user)} is not there`);
  if (entry?.user.exec !== undefined && asString((entry.user.exec as JsonObject)['command']) === undefined)
    throw unusable(`the credential plugin of user ${quote(context.user)} has no command`);
  const impersonate = options.as === undefined ? entry?.impersonate : { user: options.as, groups: [] };
  if (impersonate !== undefined) checkImpersonation(impersonate);
  return {
    context: name,
    cluster,
    user: entry?.user ?? { name: context.user },
    ...(impersonate === undefined ? {} : { impersonate }),
    caSha256: fingerprintCa(cluster, unusable),
    files,
  };
}

function checkServer(cluster: Cluster, unusable: (what: string) => Failure): void {
  const server = cluster.server;
  if (!URL.canParse(server)) throw unusable(`its server ${quote(server)} is not an address`);
  const { protocol, username, password } = new URL(server);
  if (username !== '' || password !== '') throw unusable('its server address holds credentials');
  if (protocol === 'https:') return;
  if (protocol !== 'http:') throw unusable(`its server ${quote(server)} is neither https nor http`);
  // Over http the credentials would be sent in the clear: only where the kubeconfig says outright that it is meant.
  if (!cluster.skipTLSVerify)
    throw unusable(
      `its server ${quote(server)} is not https (set insecure-skip-tls-verify: true on it if that is meant)`,
    );
}

function fingerprintCa(cluster: Cluster, unusable: (what: string) => Failure): string {
  if (cluster.caData !== undefined) return sha256(Buffer.from(cluster.caData, 'base64').toString('utf8').trim());
  if (cluster.caFile === undefined) return '';
  try {
    return sha256(readFileSync(cluster.caFile, 'utf8').trim());
  } catch (error) {
    throw unusable(`its certificate-authority ${quote(cluster.caFile)} cannot be read (${errorCode(error)})`);
  }
}

function checkImpersonation(impersonate: Impersonation): void {
  for (const value of [impersonate.user, impersonate.uid ?? 'none', ...impersonate.groups]) {
    // A line break would smuggle a header of its own into every request.
    if (value !== '' && safeText(value) === value) continue;
    throw new Failure({
      code: 'SP275',
      exit: EXIT.usage,
      message: `cannot impersonate ${quote(value)}: the name is empty or has control characters`,
      hint: 'give a user name such as --as jane or --as system:serviceaccount:NAMESPACE:NAME',
    });
  }
}

function quote(text: string): string {
  return `"${safeText(text).slice(0, 200)}"`;
}
