import type { KubeManifest } from '../model/object.ts';
import { formatRef, isObject, refOf } from '../model/object.ts';
import { asArray, asObject, asString } from '../shared/pure/json.ts';
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
  readonly failure?: { readonly revision: string; readonly message: string };
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
 * (https://fluxcd.io/flux/components/kustomize/kustomizations/#status); a HelmRelease says the version of the chart
 * (https://fluxcd.io/flux/components/helm/helmreleases/#status), which holds a commit where the chart follows revisions. Argo CD:
 * `status.sync` with status Synced and the operation that did it Succeeded
 * (https://argo-cd.readthedocs.io/en/stable/operator-manual/argocd-cm.yaml, Application `status.operationState`).
 */
export function appliedRevision(object: KubeManifest): AppliedRevision {
  const name = formatRef(refOf(object));
  const status = asObject(object['status']);
  if (isObject(object, 'argoproj.io', 'Application')) {
    const sync = asObject(status['sync']);
    const operation = asObject(status['operationState']);
    const phase = asString(operation['phase']);
    const result = asObject(operation['syncResult']);
    const revisions = [asString(sync['revision']), ...asArray(sync['revisions']).map((one) => asString(one))].flatMap(
      (one) => commitIn(one) ?? [],
    );
    const failed = phase === 'Failed' || phase === 'Error';
    const at = commitIn(asString(result['revision'])) ?? revisions[0];
    return {
      object: name,
      revisions,
      settled: sync['status'] === 'Synced' && (phase === undefined || phase === 'Succeeded'),
      ...(failed && at !== undefined
        ? { failure: { revision: at, message: asString(operation['message']) ?? phase } }
        : {}),
    };
  }
  const applied = commitIn(asString(status['lastAppliedRevision'])) ?? helmCommit(status['history']);
  const attempted = commitIn(asString(status['lastAttemptedRevision']));
  const ready = asArray(status['conditions'])
    .map((one) => asObject(one))
    .find((one) => one['type'] === 'Ready');
  const stale =
    typeof status['observedGeneration'] === 'number' &&
    typeof object.metadata['generation'] === 'number' &&
    status['observedGeneration'] < object.metadata['generation'];
  return {
    object: name,
    revisions: applied === undefined ? [] : [applied],
    settled: ready?.['status'] === 'True' && !stale,
    ...(ready?.['status'] === 'False' && attempted !== undefined && attempted !== applied
      ? {
          failure: {
            revision: attempted,
            message: `${asString(ready['reason']) ?? ''}: ${asString(ready['message']) ?? ''}`,
          },
        }
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
  /** No deployer says a commit that is known here: the objects themselves must answer. */
  | { readonly kind: 'unknown'; readonly facts: readonly string[] };

/** Whether every deployer has applied a commit. `holds`: whether a revision has it. */
export function judgeApplied(
  states: readonly AppliedRevision[],
  holds: (revision: string) => 'yes' | 'no' | 'unknown',
): Applied {
  const facts: string[] = [];
  let waiting = false;
  for (const { object, revisions, settled, failure } of states) {
    if (failure !== undefined && holds(failure.revision) === 'yes')
      return { kind: 'failed', object, message: failure.message };
    const answers = revisions.map(holds);
    if (answers.includes('yes') && settled) continue;
    if (answers.includes('yes')) {
      waiting = true;
      facts.push(`${object} has the commit and is not ready yet`);
    } else if (revisions.length === 0) facts.push(`${object} names no commit that it has applied`);
    else if (answers.includes('unknown'))
      facts.push(`${object} is at ${revisions.join(', ')}, which is not in this clone`);
    else {
      waiting = true;
      facts.push(`${object} is at ${revisions.map((one) => one.slice(0, 12)).join(', ')}, without the commit`);
    }
  }
  if (states.length === 0)
    return { kind: 'unknown', facts: ['no Kustomization, HelmRelease or Application is known that applies it'] };
  if (facts.length === 0) return { kind: 'applied' };
  return waiting ? { kind: 'waiting', facts } : { kind: 'unknown', facts };
}
