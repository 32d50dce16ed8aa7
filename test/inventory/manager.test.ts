import { describe, expect, it } from 'vitest';
import { managerOf } from '../../src/inventory/manager.ts';
import type { KubeManifest } from '../../src/model/object.ts';

function written(managers: readonly string[], labels: Readonly<Record<string, string>> = {}): KubeManifest {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: {
      name: 'web',
      namespace: 'shop',
      labels,
      managedFields: managers.map((manager) => ({ manager, operation: 'Apply' })),
    },
  };
}

describe('an object whose only mark is who wrote its fields', () => {
  it.each([
    ['argocd-controller', 'argo-cd'],
    ['argocd-application-controller', 'argo-cd'],
    ['kustomize-controller', 'flux'],
    ['helm-controller', 'flux'],
    ['Helm', 'helm'],
    ['helm', 'helm'],
    ['kapp-controller', 'other'],
    ['pulumi-kubernetes-7f3a', 'other'],
    ['terraform-provider-kubernetes', 'other'],
    ['Terraform', 'other'],
  ])('%s is managed by %s', (manager, kind) => {
    expect(managerOf(written(['kubectl-client-side-apply', manager]))).toMatchObject({
      kind,
      because: `field manager ${manager}`,
    });
  });

  it.each(['kubectl', 'kubectl-client-side-apply', 'kubectl-edit', 'kube-controller-manager', 'sallyport', 'keda'])(
    'is nobody else’s where %s wrote it',
    (manager) => {
      expect(managerOf(written([manager]))).toBeUndefined();
    },
  );

  it('is named by the label by which Argo CD tracks it', () => {
    expect(managerOf(written(['argocd-controller'], { 'app.kubernetes.io/instance': 'shop' }))?.name).toBe('shop');
  });
});
