// Where each kind of owner names the account of its pods, and what an edit leaves alone.
import { describe, expect, it } from 'vitest';
import { ACCOUNT_KINDS, accountEdit, namedAccounts } from '../../src/model/account-places.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { getPath, setPath } from '../../src/shared/pure/json.ts';
import { ownerKind } from '../../src/inventory/owners.ts';
import fc from '../support/fast-check.ts';
import { objectsOf } from '../phases/worlds.ts';

const POD = '{serviceAccountName: team, containers: [{name: a, image: b}]}';

const TABLE: readonly (readonly [kind: string, api: string, spec: string, places: readonly string[]])[] = [
  ['Deployment', 'apps/v1', `{template: {spec: ${POD}}}`, ['spec.template.spec.serviceAccountName']],
  [
    'CronJob',
    'batch/v1',
    `{jobTemplate: {spec: {template: {spec: ${POD}}}}}`,
    ['spec.jobTemplate.spec.template.spec.serviceAccountName'],
  ],
  [
    'PyTorchJob',
    'kubeflow.org/v1',
    `{pytorchReplicaSpecs: {Master: {template: {spec: ${POD}}}, Worker: {template: {spec: ${POD}}}}}`,
    [
      'spec.pytorchReplicaSpecs.Master.template.spec.serviceAccountName',
      'spec.pytorchReplicaSpecs.Worker.template.spec.serviceAccountName',
    ],
  ],
  [
    'TFJob',
    'kubeflow.org/v1',
    `{tfReplicaSpecs: {PS: {template: {spec: ${POD}}}}}`,
    ['spec.tfReplicaSpecs.PS.template.spec.serviceAccountName'],
  ],
  [
    'MPIJob',
    'kubeflow.org/v2beta1',
    `{mpiReplicaSpecs: {Launcher: {template: {spec: ${POD}}}}}`,
    ['spec.mpiReplicaSpecs.Launcher.template.spec.serviceAccountName'],
  ],
  [
    'RayCluster',
    'ray.io/v1',
    `{headGroupSpec: {template: {spec: ${POD}}}, workerGroupSpecs: [{groupName: a, template: {spec: ${POD}}}, {groupName: b, template: {spec: {serviceAccountName: other, containers: []}}}]}`,
    [
      'spec.headGroupSpec.template.spec.serviceAccountName',
      'spec.workerGroupSpecs[0].template.spec.serviceAccountName',
    ],
  ],
  [
    'RayJob',
    'ray.io/v1',
    `{rayClusterSpec: {headGroupSpec: {template: {spec: ${POD}}}}}`,
    ['spec.rayClusterSpec.headGroupSpec.template.spec.serviceAccountName'],
  ],
  [
    'RayService',
    'ray.io/v1',
    `{rayClusterConfig: {headGroupSpec: {template: {spec: ${POD}}}}}`,
    ['spec.rayClusterConfig.headGroupSpec.template.spec.serviceAccountName'],
  ],
  [
    'InferenceService',
    'serving.kserve.io/v1beta1',
    '{predictor: {serviceAccountName: team, model: {}}, transformer: {serviceAccountName: other, containers: []}}',
    ['spec.predictor.serviceAccountName'],
  ],
  [
    'SparkApplication',
    'sparkoperator.k8s.io/v1beta2',
    '{driver: {serviceAccount: team}, executor: {serviceAccount: team}}',
    ['spec.driver.serviceAccount', 'spec.executor.serviceAccount'],
  ],
  [
    'SparkApplication',
    'sparkoperator.k8s.io/v1beta2',
    '{driver: {serviceAccount: team}, executor: {cores: 1}}',
    ['spec.driver.serviceAccount'],
  ],
  [
    'Workflow',
    'argoproj.io/v1alpha1',
    '{serviceAccountName: team, templates: [{name: a, container: {}}, {name: b, serviceAccountName: team, container: {}}]}',
    ['spec.serviceAccountName', 'spec.templates[1].serviceAccountName'],
  ],
  [
    'CronWorkflow',
    'argoproj.io/v1alpha1',
    '{workflowSpec: {serviceAccountName: team, templates: []}}',
    ['spec.workflowSpec.serviceAccountName'],
  ],
];

const parse = (kind: string, api: string, spec: string): KubeManifest =>
  objectsOf(
    `apiVersion: ${api}\nkind: ${kind}\nmetadata: {name: x, namespace: ml}\nspec: ${spec}\n`,
  )[0] as KubeManifest;

function edited(object: KubeManifest, from: string, to: string): KubeManifest {
  const edit = accountEdit(object, from, to, false);
  if (edit.kind === 'refused') throw new Error(edit.reason);
  return edit.fields.reduce<KubeManifest>((now, { path, after }) => setPath(now, path, after) as KubeManifest, object);
}

describe('the places of each kind', () => {
  it.each(TABLE)('%s (%s)', (kind, api, spec, places) => {
    const object = parse(kind, api, spec);
    const edit = accountEdit(object, 'team', 'own', false);
    expect(edit).toMatchObject({ kind: 'fields', places });
    const accounts = (one: KubeManifest): readonly (string | undefined)[] =>
      namedAccounts(one).map(({ account }) => account);
    const after = edited(object, 'team', 'own');
    expect(accounts(after)).toEqual(accounts(object).map((account) => (account === 'team' ? 'own' : account)));
    // And back again: what is left is what was there.
    expect(edited(after, 'own', 'team')).toEqual(object);
    // Nothing but accounts is written: with the names taken out both are the same.
    expect(JSON.stringify(after).replaceAll('"own"', '"team"')).toBe(JSON.stringify(object));
  });

  it('have no index in a path: lists are written whole', () => {
    for (const [kind, api, spec] of TABLE) {
      const edit = accountEdit(parse(kind, api, spec), 'team', 'own', false);
      if (edit.kind === 'refused') throw new Error(edit.reason);
      for (const { path } of edit.fields) {
        expect(path.every((key) => !/^\d+$/.test(key))).toBe(true);
        // The parent of what is written is there, so that an undo leaves nothing behind.
        expect(getPath(parse(kind, api, spec), path.slice(0, -1))).toBeDefined();
      }
    }
  });

  it('are of kinds that own pods', () => {
    for (const { group, kind } of ACCOUNT_KINDS) expect(ownerKind(group, kind), `${group}/${kind}`).toBeDefined();
  });

  it('are written where nothing is named, and default is meant', () => {
    const object = parse('InferenceService', 'serving.kserve.io/v1beta1', '{predictor: {model: {}}}');
    expect(edited(object, 'default', 'own')['spec']).toEqual({ predictor: { model: {}, serviceAccountName: 'own' } });
    // An executor takes the account of its driver.
    const spark = parse(
      'SparkApplication',
      'sparkoperator.k8s.io/v1beta2',
      '{driver: {cores: 1}, executor: {cores: 1}}',
    );
    expect(edited(spark, 'default', 'own')['spec']).toEqual({
      driver: { cores: 1, serviceAccount: 'own' },
      executor: { cores: 1 },
    });
  });

  it('keep the deprecated field in step where it stands', () => {
    const object = parse('Deployment', 'apps/v1', '{template: {spec: {serviceAccount: team, containers: []}}}');
    expect(edited(object, 'team', 'own')['spec']).toEqual({
      template: { spec: { serviceAccount: 'own', serviceAccountName: 'own', containers: [] } },
    });
  });
});

describe('any object of a kind that is known', () => {
  const json = fc.jsonValue({ maxDepth: 5 });
  it('takes an edit or a reason, and never changes what is no account', () => {
    fc.assert(
      fc.property(fc.constantFrom(...ACCOUNT_KINDS), json, ({ group, kind, places }, noise) => {
        let object = parse(kind, group === '' ? 'v1' : `${group}/v1`, '{}');
        const [place] = places;
        if (place !== undefined && !place.holder.includes('*') && !place.holder.includes('%'))
          object = setPath(object, place.holder, { noise: noise as never, [place.field]: 'team' }) as KubeManifest;
        const edit = accountEdit(object, 'team', 'own', false);
        if (edit.kind === 'refused') return edit.reason !== '';
        const after = edited(object, 'team', 'own');
        expect(edited(after, 'own', 'team')).toEqual(object);
        return true;
      }),
      { numRuns: 200 },
    );
  });
});
