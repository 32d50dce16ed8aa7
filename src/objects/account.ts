import type { Labels } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { asStringMap } from '../shared/pure/json.ts';
import type { OwnMeta } from './build.ts';
import { buildServiceAccount } from './build.ts';

/** A ServiceAccount with what a policy selects it by, and with its token kept out of the pods where `automount` is false. */
export function buildAccount(
  own: OwnMeta,
  imagePullSecrets: readonly string[],
  more: { readonly labels?: Labels; readonly automount?: false },
): KubeManifest {
  const account = buildServiceAccount(own, imagePullSecrets);
  const labels = { ...more.labels, ...asStringMap(account.metadata['labels']) };
  return {
    ...account,
    metadata: { ...account.metadata, labels },
    ...(more.automount === undefined ? {} : { automountServiceAccountToken: more.automount }),
  };
}
