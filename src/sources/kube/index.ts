export { readAccess, readUser, refusedRights } from './access.ts';
export type { Access, AccessReport } from './access.ts';
export { apiOver, connectKube, openKubeApi } from './connect.ts';
export type { ApiAnswer, ApiCall, KubeApi, KubeOptions } from './connect.ts';
export { collectionPath, objectPath, openDiscovery, resourceName } from './discovery.ts';
export type { Discovery } from './discovery.ts';
export { readKubeAccess } from './kubeconfig.ts';
export type { InCluster, KubeAccess, KubeconfigOptions } from './kubeconfig.ts';
export { knownObjects, readKubeKinds } from './kinds-again.ts';
export type { KnownObjects } from './kinds-again.ts';
export { UNDO_CONFIG_MAPS, UNDO_NAMESPACE } from './kinds.ts';
export { BUDGET_REASON, failureOf, isBudget, isOutcomeUnknown } from './problem.ts';
export type { ApiProblem, CallSubject, Connected } from './problem.ts';
export { GRANT_WRITES, RUN_LEASES, pluralOf } from './rights.ts';
export { parseListItem, parseListPage } from './schema.ts';
export type { ApiResource, ApiStatus } from './schema.ts';
export {
  METADATA_LIST,
  asManifest,
  readBeside,
  readKubeSnapshot,
  readManifest,
  snapshotKinds,
  snapshotObject,
} from './snapshot.ts';
export type { ReadSnapshotOptions, SnapshotKind } from './snapshot.ts';
export { trimManifest } from './trim.ts';
export { listObjects, watchObjects } from './watch.ts';
export type { WatchOptions, WatchSink } from './watch.ts';
