import type { KubeManifest } from '../model/object.ts';
import { formatRef, isObject, refOf } from '../model/object.ts';
import { asArray, asObject, asString } from '../shared/pure/json.ts';
import type { JsonObject } from '../shared/pure/json.ts';
import { sortBy } from '../shared/pure/order.ts';

/** What an object of Flux or Argo CD says of the revision it has applied. */
export interface AppliedRevision {
  /** `Kustomization flux-system/apps`. */
  readonly object: string;
  /** Commits that it says are in force; several where an Application has several sources. */
  readonly revisions: readonly string[];
  /** False while a newer revision is being applied, and where the last one failed. */
  readonly settled: boolean;
  /** Set where it says that applying failed: at which revision, and why. */
  readonly failure?: AtRevision;
  /** Set where a revision is applied, and what it applied is not healthy. */
  readonly unhealthy?: AtRevision;
  /** Why it does nothing, or has done nothing yet, where it says so. */
  readonly note?: string;
}

interface AtRevision {
  readonly revision: string;
  readonly message: string;
}

const DEPLOYER_KINDS = [
  ['kustomize.toolkit.fluxcd.io', 'Kustomization'],
  ['helm.toolkit.fluxcd.io', 'HelmRelease'],
  ['argoproj.io', 'Application'],
] as const;

export function isDeployer(object: KubeManifest): boolean {
  return DEPLOYER_KINDS.some(([group, kind]) => isObject(object, group, kind));
}

/**
 * The deployers that apply a folder of a repository: those of one of its addresses whose path is the folder, or above or below it. Where no
 * address fits (a mirror, a deploy key's own name) those whose path alone fits are meant. Fields:
 * https://fluxcd.io/flux/components/kustomize/kustomizations/ (spec.path, spec.sourceRef),
 * https://argo-cd.readthedocs.io/en/stable/user-guide/application-specification/ (spec.source, spec.sources).
 */
export function deployersOf(
  objects: readonly KubeManifest[],
  folder: string,
  remotes: readonly string[],
): readonly KubeManifest[] {
  const urls = new Set(remotes.map(plainUrl));
  const found = objects.flatMap((object): readonly { readonly object: KubeManifest; readonly byUrl: boolean }[] => {
    const places = placesOf(object, objects);
    const fit = places.filter(({ path }) => path !== undefined && overlaps(path, folder));
    if (fit.length === 0) return [];
    return [{ object, byUrl: fit.some(({ url }) => url !== undefined && urls.has(plainUrl(url))) }];
  });
  const sure = found.filter(({ byUrl }) => byUrl);
  return sortBy(sure.length > 0 ? sure : found, ({ object }) => formatRef(refOf(object))).map(({ object }) => object);
}

interface SourcePlace {
  readonly path: string | undefined;
  readonly url: string | undefined;
}

function placesOf(object: KubeManifest, objects: readonly KubeManifest[]): readonly SourcePlace[] {
  const spec = asObject(object['spec']);
  if (isObject(object, 'argoproj.io', 'Application'))
    return [spec['source'], ...asArray(spec['sources'])].flatMap((one) => {
      const { path, repoURL } = asObject(one);
      return asString(path) === undefined ? [] : [{ path: asString(path), url: asString(repoURL) }];
    });
  if (isObject(object, 'kustomize.toolkit.fluxcd.io', 'Kustomization')) {
    const { kind, name, namespace } = asObject(spec['sourceRef']);
    if (kind !== 'GitRepository') return [];
    return [
      { path: asString(spec['path']) ?? '', url: gitUrl(objects, name, namespace ?? object.metadata['namespace']) },
    ];
  }
  if (isObject(object, 'helm.toolkit.fluxcd.io', 'HelmRelease')) {
    const chart = asObject(asObject(spec['chart'])['spec']);
    const { kind, name, namespace } = asObject(chart['sourceRef']);
    if (kind !== 'GitRepository') return [];
    return [{ path: asString(chart['chart']), url: gitUrl(objects, name, namespace ?? object.metadata['namespace']) }];
  }
  return [];
}

function gitUrl(objects: readonly KubeManifest[], name: unknown, namespace: unknown): string | undefined {
  const found = objects.find(
    (one) =>
      isObject(one, 'source.toolkit.fluxcd.io', 'GitRepository') &&
      one.metadata.name === name &&
      one.metadata['namespace'] === namespace,
  );
  return asString(asObject(found?.['spec'])['url']);
}

/** `git@host:org/repo.git`, `ssh://git@host/org/repo` and `https://host/org/repo.git` are one repository. */
function plainUrl(url: string): string {
  const scp = /^(?:[^@/]+@)?([^/:]+):(?!\/\/)(.+)$/u.exec(url);
  const rest =
    scp === null ? url.replace(/^[a-z+]+:\/\//u, '').replace(/^[^@/]*@/u, '') : `${scp[1] ?? ''}/${scp[2] ?? ''}`;
  return rest
    .replace(/:\d+\//u, '/')
    .replace(/\/+$/u, '')
    .replace(/\.git$/u, '')
    .toLowerCase();
}

function plainPath(path: string): string {
  return path
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/');
}

function overlaps(a: string, b: string): boolean {
  const [x, y] = [plainPath(a), plainPath(b)];
  return x === '' || y === '' || `${x}/`.startsWith(`${y}/`) || `${y}/`.startsWith(`${x}/`);
}

const COMMIT = /(?:^|[:/+@])([0-9a-f]{7,64})(?:\.\d+)?$/u;

/** `main@sha1:SHA` (Flux from 2.0), `main/SHA` (before), `1.2.3+SHA` (a chart from Git), or the bare id that Argo CD has. */
function commitIn(revision: string | undefined): string | undefined {
  return revision === undefined ? undefined : COMMIT.exec(revision)?.[1];
}

/**
 * What a deployer says it has applied. Flux: `status.lastAppliedRevision`, and the condition Ready for the generation that is asked for
 * (https://fluxcd.io/flux/components/kustomize/kustomizations/#kustomization-status). Where the checks of health fail, a revision is applied and
 * `lastAppliedRevision` stays the one before (kustomize-controller, kustomization_controller.go, checkHealth). One that is suspended looks at
 * nothing, its own new generation included. A HelmRelease says the version of the chart
 * (https://fluxcd.io/flux/components/helm/helmreleases/#status), which holds a commit where the chart follows revisions. Argo CD: `status.sync`
 * with status Synced, which is a comparison of that revision with the cluster, `status.health`, and `status.operationState`, the last operation,
 * which may have been of a revision before
 * (https://argo-cd.readthedocs.io/en/stable/operator-manual/application.yaml, `pkg/apis/application/v1alpha1/types.go`).
 */
export function appliedRevision(object: KubeManifest): AppliedRevision {
  return isObject(object, 'argoproj.io', 'Application') ? argoRevision(object) : fluxRevision(object);
}

function argoRevision(object: KubeManifest): AppliedRevision {
  const status = asObject(object['status']);
  const { automated } = asObject(asObject(object['spec'])['syncPolicy']);
  const sync = asObject(status['sync']);
  const health = asObject(status['health']);
  const operation = asObject(status['operationState']);
  const phase = asString(operation['phase']);
  const commits = (of: JsonObject): readonly string[] =>
    [asString(of['revision']), ...asArray(of['revisions']).map((one) => asString(one))].flatMap(
      (one) => commitIn(one) ?? [],
    );
  const revisions = commits(sync);
  const failed = phase === 'Failed' || phase === 'Error';
  const result = commits(asObject(operation['syncResult']));
  const tried = result.length > 0 ? result : revisions;
  const synced = sync['status'] === 'Synced';
  // An operation that failed before the cluster became as the revision says is over.
  const before = failed && synced && !tried.some((one) => revisions.includes(one));
  const at = tried[0];
  const isAuto = automated !== undefined && automated !== null && asObject(automated)['enabled'] !== false;
  const ill = ['Degraded', 'Missing'].includes(asString(health['status']) ?? '');
  return {
    object: formatRef(refOf(object)),
    revisions,
    settled: synced && (phase === undefined || phase === 'Succeeded' || before),
    ...(failed && !before && at !== undefined
      ? { failure: { revision: at, message: asString(operation['message']) ?? phase } }
      : {}),
    ...(synced && ill && revisions[0] !== undefined
      ? {
          unhealthy: {
            revision: revisions[0],
            message: [`health is ${asString(health['status']) ?? ''}`, asString(health['message'])]
              .filter((one) => one !== undefined)
              .join(': '),
          },
        }
      : {}),
    ...(sync['status'] === 'OutOfSync' && !isAuto
      ? { note: `it is OutOfSync and syncs by hand: argocd app sync ${object.metadata.name}` }
      : {}),
  };
}

function fluxRevision(object: KubeManifest): AppliedRevision {
  const status = asObject(object['status']);
  const suspended = asObject(object['spec'])['suspend'] === true;
  const applied = commitIn(asString(status['lastAppliedRevision'])) ?? helmCommit(status['history']);
  const attempted = commitIn(asString(status['lastAttemptedRevision']));
  const ready = asArray(status['conditions'])
    .map((one) => asObject(one))
    .find((one) => one['type'] === 'Ready');
  const stale =
    !suspended &&
    typeof status['observedGeneration'] === 'number' &&
    typeof object.metadata['generation'] === 'number' &&
    status['observedGeneration'] < object.metadata['generation'];
  const said = `${asString(ready?.['reason']) ?? ''}: ${asString(ready?.['message']) ?? ''}`;
  const failed = ready?.['status'] === 'False';
  const ill = failed && ready['reason'] === 'HealthCheckFailed';
  return {
    object: formatRef(refOf(object)),
    revisions: applied === undefined ? [] : [applied],
    settled: ready?.['status'] === 'True' && !stale,
    ...(failed && !ill && attempted !== undefined && attempted !== applied
      ? { failure: { revision: attempted, message: said } }
      : {}),
    ...(ill && (attempted ?? applied) !== undefined
      ? { unhealthy: { revision: attempted ?? applied ?? '', message: said } }
      : {}),
    ...(suspended
      ? { note: `it is suspended: flux resume ${object.kind.toLowerCase()} ${object.metadata.name}` }
      : failed
        ? { note: said }
        : {}),
  };
}

function helmCommit(history: unknown): string | undefined {
  const [newest] = Array.isArray(history) ? (history as readonly unknown[]) : [];
  if (typeof newest !== 'object' || newest === null) return undefined;
  const { status, chartVersion } = newest as Readonly<Record<string, unknown>>;
  return status === 'deployed' && typeof chartVersion === 'string' ? commitIn(chartVersion) : undefined;
}

export type Applied =
  | { readonly kind: 'applied' }
  | { readonly kind: 'waiting'; readonly facts: readonly string[] }
  | { readonly kind: 'failed'; readonly object: string; readonly message: string }
  /** It is applied, and what was applied is not healthy: that may pass. */
  | { readonly kind: 'unhealthy'; readonly object: string; readonly message: string }
  /** No deployer says a commit that is known here: the objects themselves must answer. */
  | { readonly kind: 'unknown'; readonly facts: readonly string[] };

/** Whether every deployer has applied a commit. `holds`: whether a revision has it. */
export function judgeApplied(
  states: readonly AppliedRevision[],
  holds: (revision: string) => 'yes' | 'no' | 'unknown',
): Applied {
  const facts: string[] = [];
  let waiting = false;
  let ill: Extract<Applied, { kind: 'unhealthy' }> | undefined;
  for (const { object, revisions, settled, failure, unhealthy, note } of states) {
    if (failure !== undefined && holds(failure.revision) === 'yes')
      return { kind: 'failed', object, message: failure.message };
    if (unhealthy !== undefined && holds(unhealthy.revision) === 'yes') {
      ill ??= { kind: 'unhealthy', object, message: unhealthy.message };
      continue;
    }
    const answers = revisions.map(holds);
    if (answers.includes('yes') && settled) continue;
    const why = note === undefined ? '' : `; ${note}`;
    if (answers.includes('yes')) {
      waiting = true;
      facts.push(`${object} has the commit and is not ready yet${why}`);
    } else if (revisions.length === 0) facts.push(`${object} names no commit that it has applied${why}`);
    else if (answers.includes('unknown'))
      facts.push(
        `${object} is at ${revisions.map((one) => one.slice(0, 12)).join(', ')}, which is not in this clone (git fetch brings it)${why}`,
      );
    else {
      waiting = true;
      facts.push(`${object} is at ${revisions.map((one) => one.slice(0, 12)).join(', ')}, without the commit${why}`);
    }
  }
  if (states.length === 0)
    return { kind: 'unknown', facts: ['no Kustomization, HelmRelease or Application is known that applies it'] };
  if (facts.length > 0) return waiting ? { kind: 'waiting', facts } : { kind: 'unknown', facts };
  return ill ?? { kind: 'applied' };
}
