import { asArray, asObject, asString } from '../shared/pure/json.ts';
import type { Manager } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { memoByObject } from './memo.ts';
import { metaAnnotations, metaLabels, ownersOf } from './object-index.ts';

const MANAGED_BY = 'app.kubernetes.io/managed-by';

/**
 * Who else writes this object, by the marks that Argo CD, Flux, Helm, OLM and controllers leave, and else by the names in
 * `metadata.managedFields`; undefined where there is none. The label `app.kubernetes.io/managed-by: Helm` alone is left by `helm template` as well and says nothing.
 */
export const managerOf: (manifest: KubeManifest) => Manager | undefined = memoByObject((manifest) => {
  const labels = metaLabels(manifest);
  const annotations = metaAnnotations(manifest);
  return (
    argoCd(labels, annotations) ??
    flux(labels) ??
    configSync(labels, annotations) ??
    fleet(labels, annotations) ??
    helm(labels, annotations) ??
    other(labels) ??
    operator(manifest) ??
    fieldManager(manifest, labels, annotations)
  );
});

type Marks = Readonly<Record<string, string>>;

function argoCd(labels: Marks, annotations: Marks): Manager | undefined {
  const tracking = annotations['argocd.argoproj.io/tracking-id'];
  if (tracking !== undefined) {
    return {
      kind: 'argo-cd',
      name: tracking.split(':')[0] ?? tracking,
      because: 'annotation argocd.argoproj.io/tracking-id',
    };
  }
  const instance = labels['argocd.argoproj.io/instance'];
  if (instance !== undefined) {
    return { kind: 'argo-cd', name: instance, because: 'label argocd.argoproj.io/instance' };
  }
  for (const [where, marks] of [
    ['label', labels],
    ['annotation', annotations],
  ] as const) {
    const key = Object.keys(marks).find((name) => name.startsWith('argocd.argoproj.io/'));
    if (key !== undefined) {
      return { kind: 'argo-cd', name: labels['app.kubernetes.io/instance'] ?? '', because: `${where} ${key}` };
    }
  }
  return undefined;
}

function flux(labels: Marks): Manager | undefined {
  for (const key of ['kustomize.toolkit.fluxcd.io/name', 'helm.toolkit.fluxcd.io/name']) {
    const name = labels[key];
    if (name !== undefined) return { kind: 'flux', name, because: `label ${key}` };
  }
  return undefined;
}

/** https://docs.cloud.google.com/kubernetes-engine/config-sync/docs/reference/labels-and-annotations */
function configSync(labels: Marks, annotations: Marks): Manager | undefined {
  const managed = annotations['configmanagement.gke.io/managed'] === 'enabled';
  if (!managed && labels[MANAGED_BY] !== 'configmanagement.gke.io') return undefined;
  return {
    kind: 'other',
    name: 'Config Sync',
    because: managed ? 'annotation configmanagement.gke.io/managed' : `label ${MANAGED_BY}=configmanagement.gke.io`,
  };
}

/** Fleet puts the id of its bundle on what it applies; so do other controllers of Rancher, such as the one of add-ons in k3s. */
function fleet(labels: Marks, annotations: Marks): Manager | undefined {
  const id = annotations['objectset.rio.cattle.io/id'];
  if (id === undefined && labels['objectset.rio.cattle.io/hash'] === undefined) return undefined;
  return {
    kind: 'other',
    name: 'Fleet or another controller of Rancher',
    because: id === undefined ? 'label objectset.rio.cattle.io/hash' : 'annotation objectset.rio.cattle.io/id',
  };
}

function helm(labels: Marks, annotations: Marks): Manager | undefined {
  const release = annotations['meta.helm.sh/release-name'];
  if (release === undefined || labels[MANAGED_BY] !== 'Helm') return undefined;
  return { kind: 'helm', name: release, because: 'annotation meta.helm.sh/release-name' };
}

function other(labels: Marks): Manager | undefined {
  const kapp = labels['kapp.k14s.io/app'];
  if (kapp !== undefined) return { kind: 'other', name: 'kapp', because: 'label kapp.k14s.io/app' };
  const addon = labels['addonmanager.kubernetes.io/mode'];
  if (addon === 'Reconcile') {
    return { kind: 'other', name: 'addon manager', because: 'label addonmanager.kubernetes.io/mode=Reconcile' };
  }
  return undefined;
}

function operator(manifest: KubeManifest): Manager | undefined {
  // A Node is no writer: static pods are files on it.
  const controller = ownersOf(manifest).find((owner) => owner.controller && owner.kind !== 'Node');
  if (controller !== undefined) {
    return {
      kind: 'operator',
      name: `${controller.kind}/${controller.name}`,
      because: `owner ${controller.kind} ${controller.name}`,
    };
  }
  const olm = metaLabels(manifest)['olm.owner'];
  return olm === undefined ? undefined : { kind: 'operator', name: olm, because: 'label olm.owner' };
}

/** Names under which deployers write, lower case, and those that begin so. Controllers that write status alone are not among them. */
const FIELD_MANAGERS: readonly (readonly [RegExp, Manager['kind'], string])[] = [
  [/^argocd-(?:application-)?controller$/, 'argo-cd', ''],
  [/^(?:kustomize|helm)-controller$/, 'flux', ''],
  [/^helm$/, 'helm', ''],
  [/^configsync/, 'other', 'Config Sync'],
  [/^fleetagent$|^fleet-agent$/, 'other', 'Fleet or another controller of Rancher'],
  [/^kapp-controller$/, 'other', 'kapp'],
  [/^pulumi/, 'other', 'Pulumi'],
  [/^terraform/, 'other', 'Terraform'],
];

/** Argo CD by label leaves no mark of its own: the label is one that charts set too, and its name in the managed fields tells. */
function fieldManager(manifest: KubeManifest, labels: Marks, annotations: Marks): Manager | undefined {
  const writers = asArray(manifest.metadata['managedFields']).flatMap(
    (entry) => asString(asObject(entry)['manager']) ?? [],
  );
  for (const [pattern, kind, name] of FIELD_MANAGERS) {
    const writer = writers.find((one) => pattern.test(one.toLowerCase()));
    if (writer === undefined) continue;
    const release = kind === 'helm' ? annotations['meta.helm.sh/release-name'] : undefined;
    return {
      kind,
      name: name === '' ? (release ?? labels['app.kubernetes.io/instance'] ?? '') : name,
      because: `field manager ${writer}`,
    };
  }
  return undefined;
}

/** The release that rendered this object, where only the marks of `helm template` are left. */
export function renderedByHelm(manifest: KubeManifest): string | undefined {
  // Asked of every object: most end here, without anything being parsed.
  if (asObject(manifest.metadata['labels'])[MANAGED_BY] !== 'Helm') return undefined;
  if (ownersOf(manifest).length > 0 || managerOf(manifest)?.kind === 'helm') return undefined;
  const labels = metaLabels(manifest);
  return labels['app.kubernetes.io/instance'] ?? labels['helm.sh/chart'] ?? '';
}
