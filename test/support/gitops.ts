// Flux and Argo CD as far as a commit waits for them: what a branch declares is put into a cluster, what went is pruned, and the object that
// applies it says so in the fields that the documentation names.
import { spawnSync } from 'node:child_process';
import { parseAllDocuments, parse } from 'yaml';
import type { KubeManifest } from '../../src/model/object.ts';
import { isKubeManifest, refKey, refOf } from '../../src/model/object.ts';

/** What the controller writes to; a fake API server is one, a real one is another. */
export interface GitOpsCluster {
  put(object: KubeManifest): unknown;
  remove(object: KubeManifest): unknown;
}

export type Health = 'healthy' | 'degraded';

export interface Controller {
  /** The objects that are to be in the cluster before anything is committed: the deployer, and its source. */
  readonly objects: readonly KubeManifest[];
  /** Applies a revision of the repository (the branch by default) as `outcome` says, and writes its status. */
  reconcile(outcome?: 'applied' | 'failed' | 'degraded' | 'half', revision?: string): Promise<void>;
  /** Commit that was applied last. */
  applied(): string;
}

const GIT_ENV = { GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' };

export function gitIn(folder: string, ...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync('git', ['-C', folder, ...args], {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], HOME: folder, ...GIT_ENV },
  });
  if (status !== 0) throw new Error(`git ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** The manifests of a revision below a folder: plain files, those that a kustomization lists, or the list in a chart's values. */
function declared(bare: string, revision: string, folder: string, values?: string): readonly KubeManifest[] {
  const read = (path: string): string => gitIn(bare, 'show', `${revision}:${path}`);
  const files = gitIn(bare, 'ls-tree', '-r', '--name-only', revision, '--', folder)
    .split('\n')
    .filter((file) => file.endsWith('.yaml'));
  const all = (text: string): readonly KubeManifest[] =>
    parseAllDocuments(text)
      .map((one) => one.toJS() as unknown)
      .filter(isKubeManifest);
  if (values !== undefined) {
    const { extraObjects } = parse(read(`${folder}/${values}`)) as { readonly extraObjects?: readonly unknown[] };
    return (extraObjects ?? []).filter(isKubeManifest);
  }
  if (!files.includes(`${folder}/kustomization.yaml`)) return files.flatMap((file) => all(read(file)));
  const walk = (at: string): readonly KubeManifest[] => {
    const { resources = [] } = parse(read(`${at}/kustomization.yaml`)) as { readonly resources?: readonly string[] };
    return resources.flatMap((one) => (one.endsWith('.yaml') ? all(read(`${at}/${one}`)) : walk(`${at}/${one}`)));
  };
  return walk(folder);
}

export interface ControllerOptions {
  readonly kind: 'flux' | 'flux-helm' | 'argo-cd';
  readonly cluster: GitOpsCluster;
  /** The bare repository. */
  readonly bare: string;
  /** Its folder that is deployed. */
  readonly folder: string;
  /** Further text for the object that applies it. */
  readonly spec?: Readonly<Record<string, unknown>>;
}

const at = (revision: string): string => `main@sha1:${revision}`;

export function controllerOf({ kind, cluster, bare, folder, spec = {} }: ControllerOptions): Controller {
  let before: readonly KubeManifest[] = [];
  let applied = '';
  const meta = (namespace: string, name: string): KubeManifest['metadata'] => ({ name, namespace, generation: 1 });
  const source: KubeManifest = {
    apiVersion: 'source.toolkit.fluxcd.io/v1',
    kind: 'GitRepository',
    metadata: meta('flux-system', 'deploy'),
    spec: { interval: '1m', url: `file://${bare}`, ref: { branch: 'main' } },
  };
  const deployer = (status: object): KubeManifest =>
    ({
      flux: {
        apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
        kind: 'Kustomization',
        metadata: meta('flux-system', 'apps'),
        spec: {
          interval: '10m',
          path: `./${folder}`,
          prune: true,
          wait: true,
          sourceRef: { kind: 'GitRepository', name: 'deploy' },
          ...spec,
        },
        status,
      },
      'flux-helm': {
        apiVersion: 'helm.toolkit.fluxcd.io/v2',
        kind: 'HelmRelease',
        metadata: meta('flux-system', 'apps'),
        spec: {
          interval: '10m',
          chart: {
            spec: {
              chart: `./${folder}`,
              reconcileStrategy: 'Revision',
              sourceRef: { kind: 'GitRepository', name: 'deploy' },
            },
          },
          values: { password: 'hunter2' },
          ...spec,
        },
        status,
      },
      'argo-cd': {
        apiVersion: 'argoproj.io/v1alpha1',
        kind: 'Application',
        metadata: meta('argocd', 'apps'),
        spec: {
          project: 'default',
          source: { repoURL: `file://${bare}`, path: folder, targetRevision: 'main' },
          destination: { server: 'https://kubernetes.default.svc' },
          syncPolicy: { automated: { prune: true } },
          ...spec,
        },
        status,
      },
    })[kind] as unknown as KubeManifest;

  /** kustomize-controller: `lastAppliedRevision` only once applied and healthy; `lastAttemptedRevision` as soon as it begins. */
  const fluxStatus = (outcome: string, revision: string, now: string): object => {
    const [status, reason, message] =
      outcome === 'applied'
        ? ['True', 'ReconciliationSucceeded', `Applied revision: ${at(revision)}`]
        : outcome === 'degraded'
          ? ['False', 'HealthCheckFailed', 'health check failed after 1m0s: Deployment/shop/web status: InProgress']
          : ['False', 'ReconciliationFailed', 'NetworkPolicy/shop/x dry-run failed: is invalid'];
    return {
      observedGeneration: 1,
      lastAttemptedRevision: at(revision),
      ...(now === '' ? {} : { lastAppliedRevision: at(now) }),
      conditions: [{ type: 'Ready', status, reason, message, lastTransitionTime: '2026-01-01T00:00:00Z' }],
    };
  };
  const helmStatus = (outcome: string, revision: string, now: string): object => ({
    observedGeneration: 1,
    lastAttemptedRevision: `1.0.0+${revision.slice(0, 12)}`,
    ...(now === ''
      ? {}
      : { history: [{ status: 'deployed', chartVersion: `1.0.0+${now.slice(0, 12)}`, name: 'apps', version: 1 }] }),
    conditions: [
      outcome === 'applied'
        ? { type: 'Ready', status: 'True', reason: 'UpgradeSucceeded', message: 'Helm upgrade succeeded' }
        : { type: 'Ready', status: 'False', reason: 'UpgradeFailed', message: 'Helm upgrade failed' },
    ],
  });
  /** Argo CD: `sync` is a comparison with the newest revision, `operationState` the last sync. */
  const argoStatus = (outcome: string, revision: string): object => ({
    sync: { status: outcome === 'failed' ? 'OutOfSync' : 'Synced', revision },
    health: { status: outcome === 'degraded' ? 'Degraded' : 'Healthy' },
    operationState: {
      phase: outcome === 'failed' ? 'Failed' : 'Succeeded',
      message: outcome === 'failed' ? 'one or more objects failed to apply' : 'successfully synced',
      syncResult: { revision },
    },
    history: [{ source: { helm: { values: 'hunter2' } } }],
  });

  const write = async (outcome: string, revision: string): Promise<void> => {
    const status =
      kind === 'argo-cd'
        ? argoStatus(outcome, revision)
        : kind === 'flux-helm'
          ? helmStatus(outcome, revision, applied)
          : fluxStatus(outcome, revision, applied);
    await cluster.put(deployer(status));
  };

  return {
    objects: [...(kind === 'argo-cd' ? [] : [source]), deployer({})],
    applied: () => applied,
    async reconcile(outcome = 'applied', revision = 'main') {
      const id = gitIn(bare, 'rev-parse', revision).trim();
      const now = declared(bare, id, folder, kind === 'flux-helm' ? 'values.yaml' : undefined);
      const keep = new Set(now.map((one) => refKey(refOf(one))));
      if (outcome !== 'failed') {
        // `half`: as where the second object is refused by admission and the status is not written yet.
        const fresh = now.filter((one) => !before.some((old) => JSON.stringify(old) === JSON.stringify(one)));
        for (const object of outcome === 'half' ? fresh.slice(0, 1) : now) await cluster.put(object);
        if (outcome === 'half') {
          before = [...before, ...fresh.slice(0, 1)];
          return;
        }
        for (const object of before) if (!keep.has(refKey(refOf(object)))) await cluster.remove(object);
        before = now;
      }
      if (outcome === 'applied') applied = id;
      await write(outcome, id);
    },
  };
}
