import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { homedir, hostname, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import type { Clock, Target, View } from '../engine/contract.ts';
import { declaredEdges, reviewEdges } from '../flows/decide.ts';
import { foldEdges } from '../flows/fold.ts';
import { buildInventory } from '../inventory/build.ts';
import { mergeSignatures, parseSignatures } from '../inventory/signatures.ts';
import type { Signatures } from '../inventory/signatures.ts';
import type { Config } from '../model/config.ts';
import type { Decision } from '../model/decision.ts';
import type { Edge } from '../model/edge.ts';
import type { Inventory, Snapshot } from '../model/inventory.ts';
import { phases } from '../../phases/index.ts';
import type { Planner } from '../plan/assemble.ts';
import { gate, keptEdges, settleGate } from '../readiness/view.ts';
import { managedGates } from '../readiness/ownership-gates.ts';
import { assetPath } from '../shared/io/assets.ts';
import { simulatedClock, systemClock } from '../shared/io/clock.ts';
import type { KubeconfigOptions } from '../sources/kube/kubeconfig.ts';
import { EXIT, Failure, messageOf } from '../shared/pure/errors.ts';
import { openState } from '../../state/open.ts';
import type { State, WritableState } from '../../state/open.ts';
import type { Reader } from '../../state/reader.ts';
import { readConfig, readDecisions } from './config.ts';
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
  readonly color?: boolean;
}

/** One run of the program: flags, output, environment, and what is opened on first use. */
export interface App {
  readonly options: GlobalOptions;
  readonly output: Output;
  readonly env: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
  readonly by: string;
  /** The cluster or directory. Opened once. */
  target(): Promise<Target>;
  /** The state of the target, without asking the cluster where its identity is remembered. */
  state(): Promise<State>;
  /** The same, as the one writer; the cluster's identity is checked. */
  writableState(): Promise<WritableState>;
  config(): Promise<Config>;
  /** Decisions of the state and of the file, oldest first. */
  decisions(): Promise<readonly Decision[]>;
  signatures(): Promise<Signatures>;
  /** The moment for windows and schedules. */
  now(reader: Reader): number;
  clock(): Clock;
  /** What must be closed, in any case. */
  close(): Promise<void>;
}

export function openApp(options: GlobalOptions, output: Output, env: NodeJS.ProcessEnv, signal: AbortSignal): App {
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

  const app: App = {
    options,
    output,
    env,
    signal,
    by: operatorName(env),
    target: () => (target ??= openTarget()),
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
    config: () => (config ??= readConfig(options.config)),
    async decisions() {
      const stored = (await app.state()).reader.decisions();
      const given = await readDecisions(options.decisions);
      return [...stored, ...given].toSorted((a, b) => a.at - b.at);
    },
    signatures: () => (signatures ??= loadSignatures()),
    now(reader) {
      if (options.now !== undefined) {
        const time = Date.parse(options.now);
        if (Number.isNaN(time))
          throw new Failure({
            code: 'SP213',
            exit: EXIT.usage,
            message: `--now ${options.now} is not a time`,
            hint: 'give it as 2026-10-14T00:00:00Z',
          });
        return time;
      }
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

function kubeOptions(options: GlobalOptions, env: NodeJS.ProcessEnv): KubeconfigOptions {
  const kubeconfigEnv = env['KUBECONFIG'];
  return {
    ...(options.kubeconfig === undefined ? {} : { kubeconfig: options.kubeconfig }),
    ...(kubeconfigEnv === undefined ? {} : { kubeconfigEnv }),
    home: homedir(),
    ...(options.context === undefined ? {} : { context: options.context }),
    ...(options.as === undefined ? {} : { as: options.as }),
  };
}

function operatorName(env: NodeJS.ProcessEnv): string {
  const user = env['SALLYPORT_USER'] ?? safeUser() ?? 'unknown';
  return `${user}@${hostname()}`;
}

function safeUser(): string | undefined {
  try {
    return userInfo().username;
  } catch {
    return undefined;
  }
}

async function loadSignatures(): Promise<Signatures> {
  const folder = assetPath('templates', 'signatures');
  const files = (await readdir(folder)).filter((name) => name.endsWith('.json')).sort();
  const parts = await Promise.all(
    files.map(async (name) => parseSignatures(JSON.parse(await readFile(join(folder, name), 'utf8')), name)),
  );
  return mergeSignatures(parts);
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
    let real: string;
    try {
      real = realpathSync(options.manifests);
    } catch (error) {
      throw new Failure({
        code: 'SP214',
        exit: EXIT.usage,
        message: `there is no directory of manifests: ${messageOf(error)}`,
        where: options.manifests,
        hint: 'check the path given to --manifests',
        cause: error,
      });
    }
    const id = createHash('sha256').update(real).digest('hex').slice(0, 16);
    return { id, kind: 'directory', description: real };
  }
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
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  writeFileSync(file, `${JSON.stringify({ ...readMemory(file), [key]: id }, undefined, 2)}\n`, { mode: 0o600 });
}

function stateFolder(env: NodeJS.ProcessEnv): string {
  const base = env['XDG_STATE_HOME'];
  return join(base === undefined || base === '' ? join(homedir(), '.local', 'state') : base, 'sallyport');
}

function defaultStateFile(env: NodeJS.ProcessEnv, id: string): string {
  return join(stateFolder(env), `${id}.sqlite`);
}

/** Everything known, as of now: cluster or directory, state, decisions. */
export interface Loaded {
  readonly snapshot: Snapshot;
  readonly inventory: Inventory;
  readonly config: Config;
  readonly planner: Planner;
  readonly rebuild: (snapshot: Snapshot) => Inventory;
  view(namespace: string): View;
}

export async function loadAll(app: App): Promise<Loaded> {
  const [target, config, signatures] = await Promise.all([app.target(), app.config(), app.signatures()]);
  const { reader } = await app.state();
  const now = app.now(reader);
  const snapshot = await target.readSnapshot((text) => app.output.note(text));
  const rebuild = (from: Snapshot): Inventory => buildInventory(from, { config, signatures, now });
  const inventory = rebuild(snapshot);
  // Ephemeral ports are folded over all imports together.
  const observed = foldEdges(reader.edges(), inventory);
  const decisions = await app.decisions();
  const reviewed = reviewEdges(observed, decisions);
  const edgesIn = (state: Inventory): readonly Edge[] => [
    ...reviewed,
    ...reviewEdges(declaredEdges(state, observed), decisions),
  ];
  const evidence = reader.evidence();
  const base = {
    snapshot,
    inventory,
    edges: edgesIn(inventory),
    edgesIn,
    rebuild,
    evidence,
    decisions,
    config,
    now,
    phases: reader.phases(),
    applied: reader.applied(),
  };
  return {
    snapshot,
    inventory,
    config,
    rebuild,
    planner: makePlanner(target.kind),
    view: (namespace) => ({ ...base, namespace }),
  };
}

function makePlanner(kind: Target['kind']): Planner {
  return {
    phases,
    keep: keptEdges,
    settle: settleGate,
    common: (view, steps) => [
      ...managedGates(view, steps),
      kind === 'directory'
        ? gate('soak', 'yes', view.namespace, ['offline: answered by the simulation of every state'], '')
        : gate(
            'soak',
            'unknown',
            view.namespace,
            ['no signal of denied connections is followed on a live cluster by this version'],
            'watch the workloads yourself and switch it off: gates: {soak: off} in the configuration',
          ),
    ],
  };
}

/** The namespace, known to the cluster or to the record; exit 2 with the names there are otherwise. */
export function requireNamespace(loaded: Loaded, namespace: string): void {
  if (loaded.inventory.namespaces.some((one) => one.name === namespace)) return;
  const names = loaded.inventory.namespaces.map((one) => one.name);
  throw new Failure({
    code: 'SP215',
    exit: EXIT.usage,
    message: `there is no namespace ${namespace}`,
    where: loaded.snapshot.source === 'directory' ? 'the directory of manifests' : 'the cluster',
    hint: `one of: ${names.slice(0, 20).join(', ')}${names.length > 20 ? ', ...' : ''}`,
  });
}

/** Files that do not parse block every plan until a person waives them by name. */
export function requireReadable(loaded: Loaded, decisions: readonly Decision[]): void {
  const waived = new Set(
    decisions
      .filter((decision) => decision.action === 'waive' && decision.query.subject !== undefined)
      .map((decision) => decision.query.subject),
  );
  const broken = loaded.snapshot.findings.filter((finding) => finding.code === 'SP302' && !waived.has(finding.subject));
  const [first] = broken;
  if (first === undefined) return;
  throw new Failure({
    code: 'SP216',
    exit: EXIT.usage,
    message: `${broken.length} of the files cannot be read, so nothing is planned: ${first.message}`,
    where: broken.map((finding) => finding.where ?? finding.subject).join(', '),
    hint: `mend it, or: sallyport waive subject=${first.subject} --reason "..." (it is then never edited)`,
  });
}
