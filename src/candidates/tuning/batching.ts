import { endpointKey } from '../../model/edge.ts';
import { short } from '../../model/tuning.ts';
import type { Proposal, TuningInput } from './proposal.ts';
import { evidenceOf, makeProposal, measuredPorts, percentRange } from './proposal.ts';

const LEAST_RATE = 50;
/** A request of less is mostly frame and header. */
const SMALL_BYTES = 16 * 1024;
/** How long a request may wait for others. */
const WAIT_SEC = 0.01;
const MOST = 32;

/** Many small requests to a model server: servers that know batches answer several at once. How they are told differs, and is printed. */
export function proposeBatching(input: TuningInput): readonly Proposal[] {
  return measuredPorts(input).flatMap(({ figures, service, subject, http }) => {
    const { requestsPerSec, requestBytes, latency } = figures;
    const serving = input.inventory.workloads.filter(
      (one) => service.workloads.includes(one.id) && one.classification.stage.split('|').includes('serving'),
    );
    const [server] = serving;
    if (server === undefined || http === false) return [];
    if (
      requestsPerSec === undefined ||
      requestsPerSec < LEAST_RATE ||
      requestBytes === undefined ||
      requestBytes > SMALL_BYTES
    )
      return [];
    const callers = new Set(
      input.edges
        .filter(({ dst }) => dst.kind === 'workload' && serving.some(({ id }) => id === dst.id))
        .map(({ src }) => endpointKey(src)),
    ).size;
    const size = (rate: number): number => Math.min(MOST, 1 + rate * WAIT_SEC);
    const [one, all] = [size(requestsPerSec / Math.max(1, callers)), size(requestsPerSec)];
    return [
      makeProposal({
        kind: 'batching',
        namespace: input.namespace,
        subject,
        title: `requests to ${subject} travel in batches`,
        evidence: evidenceOf(
          ['requests', requestsPerSec, '/s'],
          ['size of a request, mean', requestBytes, 'bytes'],
          ['latency, p99', latency?.p99, 'ms'],
          ['callers on record', callers, ''],
        ),
        gain: {
          metric: 'requests',
          before: requestsPerSec,
          unit: '/s',
          ...percentRange((1 - 1 / one) / 2, 1 - 1 / all),
          derivation: `of n = 1 + rate x ${WAIT_SEC} s requests (${MOST} at most) one is left: 1 - 1/n, n = ${short(all)} where all callers share a batch, ${short(one)} and half of it where each has its own`,
        },
        risks: [
          `a request waits up to ${WAIT_SEC * 1000} ms for others`,
          'a batch fails as one',
          'per-request authorization and quotas then see one request',
        ],
        instruction: [
          `batches made by the callers save requests and the proxies' work; those made in the server (${server.classification.component}) save the model's alone`,
          ...(server.kind === 'InferenceService'
            ? [
                `KServe, beside the server: kubectl patch inferenceservice -n ${server.namespace} ${server.name} --type merge -p '{"spec":{"predictor":{"batcher":{"maxBatchSize":${MOST},"maxLatency":${WAIT_SEC * 1000}}}}}' (as it stands in your Git or chart, where that writes it)`,
              ]
            : [
                'Triton: dynamic_batching { max_queue_delay_microseconds: 10000 } in the config.pbtxt of the model; TorchServe: batchSize and maxBatchDelay of the model',
              ]),
        ],
        sources: [
          'kserve.github.io/website (Inference Batcher)',
          'docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/batcher.html (dynamic batcher)',
        ],
      }),
    ];
  });
}
