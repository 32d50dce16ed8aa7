import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir, hostname, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import type { Clock, Target } from '../engine/contract.ts';
import type { Signatures } from '../inventory/signatures.ts';
import type { Actor } from '../model/approval.ts';
import type { Config, Dialect } from '../model/config.ts';
import { matchedBy, mergeDecisions } from '../flows/decide.ts';
import type { Decision } from '../model/decision.ts';
import { isAboutGates } from '../model/decision.ts';
import type { Edge } from '../model/edge.ts';
import { simulatedClock, systemClock } from '../shared/io/clock.ts';
import type { KubeconfigOptions } from '../sources/kube/kubeconfig.ts';
import { EXIT, Failure } from '../shared/pure/errors.ts';
import { safeText } from '../shared/pure/text.ts';
import { openState } from '../../state/open.ts';
import type { State, StateTarget, WritableState } from '../../state/open.ts';
import type { Reader } from '../../state/reader.ts';
import { explain } from './file-error.ts';
import type { Interrupt } from './interrupt.ts';
import { parseMoment } from './moment.ts';
import type { Output } from './output.ts';

/** Flags that every command takes. */
export interface GlobalOptions {
  readonly state?: string;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly as?: string;
  readonly manifests?: string;
  readonly defaultNamespace?: string;
  readonly now?: string;
  readonly json?: boolean;
  readonly yes?: boolean;
  readonly planHash?: string;
  readonly decisions?: string;
  readonly config?: string;
  /** Of suggest, plan, advance and approve: over the configuration's. */
  readonly dialect?: Dialect;
  /** Of advance and rollback: stands on the trail. */
  readonly ticket?: string;
  /** Of plan and advance: files of approvals. */
  readonly approval?: readonly string[];
  /** Of plan, advance, rollback and resume: a folder of a Git working tree that changes are written into. */
  readonly git?: string;
  readonly layout?: string;
  readonly deployer?: readonly string[];
  readonly push?: boolean;
  /** True where it was given without a time. */
  readonly wait?: string;
  /** The file that the text of the pull request goes to. */
  readonly pr?: string;
  readonly color?: boolean;
  /** Where traces go. */
  readonly otlp?: string;
  /** The session without cursor movement. */
  readonly plain?: boolean;
}

/** One run of the program: flags, output, environment, and what is opened on first use. */
export interface App {
  readonly options: GlobalOptions;
  readonly output: Output;
  readonly env: NodeJS.ProcessEnv;
  readonly interrupt: Interrupt;
  readonly by: string;
  /** Who acts, for approvals: the owner of the cluster's credentials, or the account here. Undefined where the cluster does not say. */
  actor(): Promise<Actor | undefined>;
  /** The cluster or directory. Opened once. */
  target(): Promise<Target>;
  /** The state of the target, without asking the cluster where its identity is remembered. */
  state(): Promise<State>;
  /** Where the state is or would be, and whose it is; the cluster's identity is checked. Nothing is opened or made. */
  stateFile(): Promise<{ readonly path: string; readonly target: StateTarget }>;
  /** The same, as the one writer; the cluster's identity is checked. */
  writableState(): Promise<WritableState>;
  config(): Promise<Config>;
  /** Decisions of the state and of the file, oldest first. */
  decisions(): Promise<readonly Decision[]>;
  /** Says once of each decision of the file that counts and is about none of these edges. */
  noteUnmatched(edges: readonly Edge[]): Promise<void>;
  signatures(): Promise<Signatures>;
  /** The moment for windows and schedules. */
  now(reader: Reader): number;
  clock(): Clock;
  /** What must be closed, in any case. */
  close(): Promise<void>;
}

export function openApp(options: GlobalOptions, output: Output, env: NodeJS.ProcessEnv, interrupt: Interrupt): App {
  let target: Promise<Target> | undefined;
  let state: State | undefined;
  let writable: WritableState | undefined;
  let config: Promise<Config> | undefined;
  let signatures: Promise<Signatures> | undefined;
  const clock = options.manifests === undefined ? systemClock : simulatedClock(Date.now());

  const openTarget = async (): Promise<Target> => {
    if (options.manifests !== undefined) {
      const { openDirectoryTarget } = await import('../targets/directory.ts');
      return openDirectoryTarget({
        dir: options.manifests,
        ...(options.defaultNamespace === undefined ? {} : { defaultNamespace: options.defaultNamespace }),
        clock: systemClock,
      });
    }
    const { openClusterTarget } = await import('../targets/cluster.ts');
    return openClusterTarget({ ...kubeOptions(options, env), clock: systemClock });
  };

  const stateFile = (target: Identity): string => options.state ?? defaultStateFile(env, target.id);

  let noted = false;
  let actor: Promise<Actor | undefined> | undefined;
  let given: Promise<readonly Decision[]> | undefined;
  const app: App = {
    options,
    output,
    env,
    interrupt,
    by: operatorName(env),
    actor: () => (actor ??= findActor(app)),
    // A cluster that did not answer may answer later: the session asks again.
    target: () =>
      (target ??= openTarget().catch((error: unknown) => {
        target = undefined;
        throw error;
      })),
    async state() {
      if (writable !== undefined) return writable;
      if (state !== undefined) return state;
      const target = await targetIdentity(app, 'read');
      const file = stateFile(target);
      // A first look at a cluster finds no state: an empty one is made, so that every command answers.
      if (!existsSync(file)) openState(file, { target, mode: 'write', create: true }).close();
      state = openState(file, { target, mode: 'read' });
      return state;
    },
    async writableState() {
      if (writable !== undefined) return writable;
      state?.close();
      state = undefined;
      const target = await targetIdentity(app, 'write');
      writable = openState(stateFile(target), { target, mode: 'write', create: true });
      return writable;
    },
    async stateFile() {
      const target = await targetIdentity(app, 'write');
      return { path: stateFile(target), target };
    },
    config: () =>
      (config ??= import('./config.ts')
        .then(({ readConfig }) => readConfig(options.config))
        .then((read) => (options.dialect === undefined ? read : { ...read, dialect: options.dialect }))),
    async decisions() {
      const stored = (await app.state()).reader.decisions();
      if (options.decisions === undefined) return mergeDecisions(stored, []);
      // Read once: it may be a pipe.
      given ??= import('./config.ts').then(({ readDecisions }) => readDecisions(options.decisions));
      return mergeDecisions(stored, await given);
    },
    async noteUnmatched(edges) {
      if (given === undefined || noted) return;
      noted = true;
      const counted = new Set(await app.decisions());
      const known = new Set(edges.map((edge) => edge.id));
      for (const [index, decision] of (await given).entries())
        if (
          !isAboutGates(decision.query) &&
          counted.has(decision) &&
          !matchedBy(decision, edges).some((id) => known.has(id))
        )
          output.note(
            `${safeText(options.decisions ?? '')}: decision ${index + 1} matches nothing: ${safeText(decision.text)}`,
          );
    },
    signatures: () => (signatures ??= import('./load.ts').then(({ loadSignatures }) => loadSignatures())),
    now(reader) {
      if (options.now !== undefined) return parseMoment(options.now);
      return options.manifests === undefined ? Date.now() : (reader.newestRecord() ?? Date.now());
    },
    clock: () => clock,
    async close() {
      state?.close();
      writable?.close();
      const opened = await target?.catch(() => undefined);
      await opened?.close();
    },
  };
  return app;
}

/** Where the kubelet mounts a pod's service account. */
const SERVICE_ACCOUNT_DIR = '/var/run/secrets/kubernetes.io/serviceaccount';

/** What the flags and the environment say of the cluster. */
export function kubeOptions(options: GlobalOptions, env: NodeJS.ProcessEnv): KubeconfigOptions {
  const kubeconfigEnv = env['KUBECONFIG'];
  const [host, port] = [env['KUBERNETES_SERVICE_HOST'], env['KUBERNETES_SERVICE_PORT']];
  return {
    ...(host === undefined || host === '' || port === undefined || port === ''
      ? {}
      : { inCluster: { host, port, dir: SERVICE_ACCOUNT_DIR } }),
    ...(options.kubeconfig === undefined ? {} : { kubeconfig: options.kubeconfig }),
    ...(kubeconfigEnv === undefined ? {} : { kubeconfigEnv }),
    home: homedir(),
    ...(options.context === undefined ? {} : { context: options.context }),
    ...(options.as === undefined ? {} : { as: options.as }),
  };
}

function operatorName(env: NodeJS.ProcessEnv): string {
  return `${accountName(env) ?? 'unknown'}@${hostname()}`;
}

function accountName(env: NodeJS.ProcessEnv): string | undefined {
  return env['SALLYPORT_USER'] ?? safeUser();
}

async function findActor(app: App): Promise<Actor | undefined> {
  const target = await app.target();
  const kind = target.kind === 'cluster' ? 'kubernetes' : 'system';
  // The host is left out: one person at two machines is one person.
  const name = target.kind === 'cluster' ? await target.user?.() : accountName(app.env);
  return name === undefined || name === '' ? undefined : { kind, name };
}

function safeUser(): string | undefined {
  try {
    return userInfo().username;
  } catch {
    return undefined;
  }
}

interface Identity {
  readonly id: string;
  readonly kind: 'cluster' | 'directory';
  readonly description: string;
}

/**
 * Whose state it is. A directory is known by its path. A cluster is asked for the UID of kube-system, unless the state is only read and
 * the UID is remembered for this context, server and CA.
 */
async function targetIdentity(app: App, mode: 'read' | 'write'): Promise<Identity> {
  const { options, env } = app;
  if (options.manifests !== undefined) {
    const { resolveManifestRoot } = await import('../sources/manifests/walk.ts');
    const real = await resolveManifestRoot(options.manifests);
    const id = createHash('sha256').update(real).digest('hex').slice(0, 16);
    return { id, kind: 'directory', description: real };
  }
  // Not through the folder's index: that loads the client, which a look at the state does not need.
  const { readKubeAccess } = await import('../sources/kube/kubeconfig.ts');
  const access = await readKubeAccess(kubeOptions(options, env));
  const key = createHash('sha256')
    .update([access.context, access.cluster.server, access.caSha256].join('\n'))
    .digest('hex');
  const memory = join(stateFolder(env), 'clusters.json');
  const known = readMemory(memory)[key];
  if (mode === 'read' && known !== undefined)
    return { id: known, kind: 'cluster', description: `context ${access.context} (${access.cluster.server})` };
  const opened = await app.target();
  if (known !== opened.id) remember(memory, key, opened.id);
  return { id: opened.id, kind: 'cluster', description: opened.description };
}

function readMemory(file: string): Readonly<Record<string, string>> {
  try {
    const value = JSON.parse(readFileSync(file, 'utf8')) as unknown;
    return typeof value === 'object' && value !== null ? (value as Record<string, string>) : {};
  } catch {
    // Only a short cut: without it the cluster is asked.
    return {};
  }
}

function remember(file: string, key: string, id: string): void {
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    writeFileSync(file, `${JSON.stringify({ ...readMemory(file), [key]: id }, undefined, 2)}\n`, { mode: 0o600 });
  } catch (error) {
    throw new Failure({
      code: 'SP229',
      exit: EXIT.state,
      message: `the cluster's identity cannot be kept: ${explain(error)}`,
      where: file,
      hint: 'make that folder writable, or name another with XDG_STATE_HOME',
      cause: error,
    });
  }
}

function stateFolder(env: NodeJS.ProcessEnv): string {
  const base = env['XDG_STATE_HOME'];
  return join(base === undefined || base === '' ? join(homedir(), '.local', 'state') : base, 'sallyport');
}

function defaultStateFile(env: NodeJS.ProcessEnv, id: string): string {
  return join(stateFolder(env), `${id}.sqlite`);
}
