import { short } from '../../model/tuning.ts';
import type { Proposal, TuningInput } from './proposal.ts';
import { evidenceOf, makeProposal, measuredPorts, percentRange } from './proposal.ts';

/** From one full handshake a second on. */
const LEAST_HANDSHAKES = 1;
const LEAST_FULL = 0.9;

/**
 * Full TLS handshakes, again and again, to the same servers. Istio has no setting for resumption in its own API, and an EnvoyFilter would be an object whose
 * effect nothing here can judge: so this is printed, behind what makes handshakes rarer in the first place.
 */
export function proposeTlsResumption(input: TuningInput): readonly Proposal[] {
  return measuredPorts(input).flatMap(({ figures, subject }) => {
    const { handshakesPerSec, resumedPerSec, connect } = figures;
    if (handshakesPerSec === undefined || handshakesPerSec < LEAST_HANDSHAKES || resumedPerSec === undefined) return [];
    const full = Math.max(0, handshakesPerSec - resumedPerSec);
    if (full / handshakesPerSec < LEAST_FULL) return [];
    return [
      makeProposal({
        kind: 'tls-resumption',
        namespace: input.namespace,
        subject,
        title: `TLS sessions to ${subject} are never resumed`,
        evidence: evidenceOf(
          ['TLS handshakes', handshakesPerSec, '/s'],
          ['of these resumed', resumedPerSec, '/s'],
          ['connection established, p99', connect?.p99, 'ms'],
        ),
        gain: {
          metric: 'full TLS handshakes',
          before: full,
          unit: '/s',
          ...percentRange(0, 0.9),
          derivation: `at best nine in ten of ${short(full)} full handshakes a second are resumed; none where callers are new processes. TLS 1.3 saves the certificates and a signature by it, and no round trip`,
        },
        risks: [
          'a resumed session is not checked against certificates that were rotated or revoked since: its lifetime must be shorter than that of a certificate',
          'an EnvoyFilter acts outside what any simulation here can judge: the gate unknown will ask',
        ],
        instruction: [
          `first let connections live: sallyport tune ${input.namespace} shows connection-pool and http2 where they apply`,
          'then see whether this release of Istio leaves resumption on: istioctl proxy-config listeners POD -o json, disableStatelessSessionResumption and disableStatefulSessionResumption of the inbound TLS context; max_session_keys of the outbound one',
          'where it is off, an EnvoyFilter on the transport sockets of both sides switches it on; keep the session timeout below an hour',
        ],
        sources: [
          'envoyproxy.io/docs/envoy/latest/api-v3/extensions/transport_sockets/tls/v3/tls.proto (max_session_keys, session_timeout, disable_stateless_session_resumption)',
          'envoyproxy.io/docs/envoy/latest/configuration/listeners/stats (ssl.handshake, ssl.session_reused)',
        ],
      }),
    ];
  });
}
