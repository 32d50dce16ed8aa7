import { endpointKey } from '../../model/edge.ts';
import type { Workload } from '../../model/inventory.ts';
import { groupOf, namespaceOf } from '../../model/object.ts';
import { short } from '../../model/tuning.ts';
import { asObject } from '../../shared/pure/json.ts';
import type { Proposal, TuningInput } from './proposal.ts';
import { evidenceOf, makeProposal, percentRange, workloadsIn } from './proposal.ts';

const LEAST_CHECKS = 1;
/** Longest time that a withdrawn right may still be held: an answer is never kept longer. */
export const LONGEST_TTL_SEC = 60;
export const SHORTEST_TTL_SEC = 1;
/** Bytes of one kept answer with its key, as an upper bound for the memory that a cache may take. */
const BYTES_PER_ANSWER = 1024;

/**
 * How long an answer may be kept: so long that half of the questions of one kind are answered from the cache, and never longer than a minute.
 * The share that is answered so is q T / (1 + q T), where q is how often one question is asked.
 */
export function ttlFor(checksPerSec: number, keys: number): number {
  const perKey = checksPerSec / Math.max(1, keys);
  return Math.min(LONGEST_TTL_SEC, Math.max(SHORTEST_TTL_SEC, Math.ceil(1 / perKey)));
}

/** What may be known of a workload without its holding anything that somebody would break in for. */
const PLAIN: ReadonlySet<string> = new Set(['telemetry', 'unknown']);

/** Stages and data of which a withdrawn right must hold at once: there every request is asked about. */
export function isSensitive({ classification }: Pick<Workload, 'classification'>): boolean {
  return classification.sensitivity.some((one) => !PLAIN.has(one));
}

/** Answers of an external authorizer, kept for a short time, where nothing sensitive is behind them. The cache is the authorizer's own: Envoy's filter has none. */
export function proposeExtAuthzCache(input: TuningInput): readonly Proposal[] {
  const providers = providersOf(input);
  return workloadsIn(input).flatMap((workload) => {
    const figures = input.metrics.authorizers.find((one) => one.workload === workload.id);
    const { checksPerSec, distinctKeys, latency } = figures ?? {};
    if (checksPerSec === undefined || checksPerSec < LEAST_CHECKS) return [];
    // At least as many as there are callers on record; how many questions each asks is not in the record.
    const callers = new Set(
      input.edges
        .filter(({ dst }) => dst.kind === 'workload' && dst.id === workload.id)
        .map(({ src }) => endpointKey(src)),
    ).size;
    const most = distinctKeys ?? Math.max(1, callers) * 100;
    const least = distinctKeys ?? Math.max(1, callers);
    const ttl = ttlFor(checksPerSec, most);
    const hit = (keys: number): number => ((checksPerSec / keys) * ttl) / (1 + (checksPerSec / keys) * ttl);
    return [
      makeProposal({
        kind: 'ext-authz-cache',
        namespace: input.namespace,
        subject: workload.id,
        title: `decisions about ${workload.id} are kept for ${ttl} s`,
        evidence: evidenceOf(
          ['calls to the authorizer', checksPerSec, '/s'],
          ['an answer, p99', latency?.p99, 'ms'],
          ['different questions', distinctKeys, ''],
          ['callers on record', callers, ''],
        ),
        gain: {
          metric: 'calls to the authorizer',
          before: checksPerSec,
          unit: '/s',
          ...percentRange(hit(most), hit(least)),
          derivation: `qT/(1+qT) with T = ${ttl} s and q = ${short(checksPerSec)}/s over ${distinctKeys === undefined ? `${least} to ${most} questions (callers on record, up to a hundred each: not measured)` : `${least} questions`}`,
        },
        risks: [
          `a right that is withdrawn holds for ${ttl} s more, a new one waits as long`,
          'the key must hold everything that the decision rests on (principal, method, path, and whatever of the token the policy reads), else one caller gets the answer of another',
        ],
        refused: [
          ...(isSensitive(workload)
            ? [
                `${workload.id} is sensitive (${workload.classification.sensitivity.join(', ')}): a withdrawn right must hold at once, so every request is asked about`,
              ]
            : []),
          ...(providers.length === 0 ? ['no AuthorizationPolicy with action CUSTOM is in force here'] : []),
        ],
        unknown:
          workload.classification.sensitivity.includes('unknown') && !isSensitive(workload)
            ? [
                `what ${workload.id} holds is not known, so neither is whether a withdrawn right may hold a while: name its component (docs/extending.md)`,
              ]
            : [],
        instruction: [
          `in the authorizer (${providers.join(', ') || 'none'}), keep decisions about ${workload.id}: time to live ${ttl} s and no longer than ${LONGEST_TTL_SEC} s, at most ${most * 2} entries (${Math.ceil((most * 2 * BYTES_PER_ANSWER) / 1024 / 1024)} MiB), key of principal, method and path; denials no longer than answers`,
          'it is no Kubernetes object, so nothing is written here; run tune again afterwards',
        ],
        sources: [
          'envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/ext_authz_filter (statistics; the filter asks at every request)',
          'istio.io/latest/docs/tasks/security/authorization/authz-custom',
        ],
      }),
    ];
  });
}

/** Names of the providers that policies with action CUSTOM hand requests to, in force in the namespace or in the whole mesh. */
export function providersOf({
  objects,
  namespace,
  inventory,
}: Pick<TuningInput, 'objects' | 'namespace' | 'inventory'>): readonly string[] {
  const names = objects.flatMap((object) => {
    if (object.kind !== 'AuthorizationPolicy' || groupOf(object.apiVersion) !== 'security.istio.io') return [];
    if (![namespace, inventory.facts.mesh.rootNamespace].includes(namespaceOf(object) ?? 'default')) return [];
    const spec = asObject(object['spec']);
    const name = asObject(spec['provider'])['name'];
    return spec['action'] === 'CUSTOM' && typeof name === 'string' ? [name] : [];
  });
  return [...new Set(names)].sort();
}
