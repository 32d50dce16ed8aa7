// What Flux and Argo CD say of the commit that they have applied.
import { describe, expect, it } from 'vitest';
import type { KubeManifest } from '../../src/model/object.ts';
import { appliedRevision, deployersOf, judgeApplied } from '../../src/readiness/gitops-applied.ts';

const SHA = '1234567890abcdef1234567890abcdef12345678';
const OLD = 'ffffffffffffffffffffffffffffffffffffffff';
const ready = (status: string): object => ({ type: 'Ready', status, reason: 'R', message: 'm' });
const object = (apiVersion: string, kind: string, spec: object, status: object, generation = 1): KubeManifest =>
  ({
    apiVersion,
    kind,
    metadata: { name: 'apps', namespace: 'ops', generation },
    spec,
    status,
  }) as unknown as KubeManifest;
const flux = (status: object, generation = 1): KubeManifest =>
  object(
    'kustomize.toolkit.fluxcd.io/v1',
    'Kustomization',
    { path: './clusters/prod', sourceRef: { kind: 'GitRepository', name: 'deploy' } },
    status,
    generation,
  );
const helm = (status: object): KubeManifest => object('helm.toolkit.fluxcd.io/v2', 'HelmRelease', {}, status);
const argo = (status: object): KubeManifest =>
  object(
    'argoproj.io/v1alpha1',
    'Application',
    { source: { path: 'clusters/prod', repoURL: 'https://git.example/org/deploy.git' } },
    status,
  );
const holds = (revision: string): 'yes' | 'no' | 'unknown' =>
  SHA.startsWith(revision) ? 'yes' : revision === OLD ? 'no' : 'unknown';

describe('a commit is', () => {
  it.each<readonly [string, string, KubeManifest]>([
    [
      'applied',
      'Flux 2, at the commit',
      flux({ lastAppliedRevision: `main@sha1:${SHA}`, observedGeneration: 1, conditions: [ready('True')] }),
    ],
    ['applied', 'Flux 0.x, at the commit', flux({ lastAppliedRevision: `main/${SHA}`, conditions: [ready('True')] })],
    ['waiting', 'Flux, before it', flux({ lastAppliedRevision: `main@sha1:${OLD}`, conditions: [ready('True')] })],
    [
      'waiting',
      'Flux, at the commit, its objects not ready',
      flux({ lastAppliedRevision: `main@sha1:${SHA}`, conditions: [ready('Unknown')] }),
    ],
    [
      'waiting',
      'Flux, at the commit, of a specification before',
      flux({ lastAppliedRevision: `main@sha1:${SHA}`, observedGeneration: 1, conditions: [ready('True')] }, 2),
    ],
    [
      'failed',
      'Flux, refused',
      flux({
        lastAppliedRevision: `main@sha1:${OLD}`,
        lastAttemptedRevision: `main@sha1:${SHA}`,
        conditions: [ready('False')],
      }),
    ],
    [
      'waiting',
      'Flux, refused an older one',
      flux({
        lastAppliedRevision: `main@sha1:${OLD}`,
        lastAttemptedRevision: `main@sha1:${OLD}`,
        conditions: [ready('False')],
      }),
    ],
    [
      'applied',
      'a chart of that commit',
      helm({
        history: [{ status: 'deployed', chartVersion: `1.2.3+${SHA.slice(0, 12)}.1` }],
        conditions: [ready('True')],
      }),
    ],
    [
      'unknown',
      'a chart of a version alone',
      helm({ history: [{ status: 'deployed', chartVersion: '1.2.3' }], conditions: [ready('True')] }),
    ],
    [
      'applied',
      'Argo CD, synced',
      argo({ sync: { status: 'Synced', revision: SHA }, operationState: { phase: 'Succeeded' } }),
    ],
    [
      'waiting',
      'Argo CD, compared and not synced',
      argo({ sync: { status: 'OutOfSync', revision: SHA }, operationState: { phase: 'Succeeded' } }),
    ],
    [
      'waiting',
      'Argo CD, at work',
      argo({ sync: { status: 'Synced', revision: SHA }, operationState: { phase: 'Running' } }),
    ],
    [
      'failed',
      'Argo CD, failed',
      argo({
        sync: { status: 'OutOfSync', revision: SHA },
        operationState: { phase: 'Failed', message: 'no', syncResult: { revision: SHA } },
      }),
    ],
    [
      'applied',
      'Argo CD, of several sources',
      argo({ sync: { status: 'Synced', revisions: [OLD, SHA] }, operationState: { phase: 'Succeeded' } }),
    ],
    [
      'unknown',
      'a commit that is not in the clone',
      flux({ lastAppliedRevision: 'main@sha1:abcdef0', conditions: [ready('True')] }),
    ],
    ['unknown', 'nothing said', flux({})],
  ])('%s: %s', (kind, _, one) => {
    expect(judgeApplied([appliedRevision(one)], holds).kind).toBe(kind);
  });

  it('not applied as long as one of several has not', () => {
    const states = [
      flux({ lastAppliedRevision: `main@sha1:${SHA}`, conditions: [ready('True')] }),
      argo({ sync: { status: 'Synced', revision: OLD }, operationState: { phase: 'Succeeded' } }),
    ].map(appliedRevision);
    expect(judgeApplied(states, holds)).toMatchObject({ kind: 'waiting' });
    expect(judgeApplied([], holds).kind).toBe('unknown');
  });
});

describe('who applies a folder is told', () => {
  const git = object('source.toolkit.fluxcd.io/v1', 'GitRepository', { url: 'ssh://git@git.example/org/deploy' }, {});
  const repository = { ...git, metadata: { ...git.metadata, name: 'deploy' } };

  it.each([
    ['clusters/prod', ['git@git.example:org/deploy.git'], 2],
    ['clusters/prod/shop', ['https://git.example/org/deploy'], 2],
    ['clusters/production', ['https://git.example/org/deploy'], 0],
    // A mirror: the path alone must do.
    ['clusters/prod', ['https://mirror.example/other'], 2],
  ])('%s of %s', (folder, remotes, count) => {
    expect(deployersOf([repository, flux({}), argo({})], folder, remotes)).toHaveLength(count);
  });

  it('by the repository before the path', () => {
    const other = argo({});
    const foreign = {
      ...other,
      metadata: { ...other.metadata, name: 'foreign' },
      spec: { source: { path: 'clusters/prod', repoURL: 'https://git.example/org/else' } },
    } as unknown as KubeManifest;
    expect(
      deployersOf([argo({}), foreign], 'clusters/prod', ['https://git.example/org/deploy']).map(
        ({ metadata }) => metadata.name,
      ),
    ).toEqual(['apps']);
  });
});
