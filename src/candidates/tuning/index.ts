import { sortBy } from '../../shared/pure/order.ts';
import { proposeAmbient } from './ambient.ts';
import { proposeBatching } from './batching.ts';
import { proposeConnectionPool } from './connection-pool.ts';
import { proposeExtAuthzCache } from './ext-authz-cache.ts';
import { proposeHardwareOffload } from './hardware-offload.ts';
import { proposeHttp2 } from './http2.ts';
import type { Proposal, TuningInput, TuningKind } from './proposal.ts';
import { TUNING_KINDS } from './proposal.ts';
import { proposeProxyResources } from './proxy-resources.ts';
import { proposeSidecarScope } from './sidecar-scope.ts';
import { proposeTlsResumption } from './tls-resumption.ts';

/** One file a kind; adding one touches this table, the list of kinds and docs/tuning.md. */
const PROPOSERS: Readonly<Record<TuningKind, (input: TuningInput) => readonly Proposal[]>> = {
  'connection-pool': proposeConnectionPool,
  http2: proposeHttp2,
  'tls-resumption': proposeTlsResumption,
  'ext-authz-cache': proposeExtAuthzCache,
  batching: proposeBatching,
  'proxy-resources': proposeProxyResources,
  'sidecar-scope': proposeSidecarScope,
  ambient: proposeAmbient,
  'hardware-offload': proposeHardwareOffload,
};

/** Every proposal for a namespace, in the order of kinds, then of subjects. */
export function proposeTuning(input: TuningInput): readonly Proposal[] {
  return TUNING_KINDS.flatMap((kind) => sortBy(PROPOSERS[kind](input), ({ id }) => id));
}
