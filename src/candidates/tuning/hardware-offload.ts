import { short } from '../../model/tuning.ts';
import type { Proposal, TuningInput } from './proposal.ts';
import { evidenceOf, makeProposal, measuredPorts, percentRange } from './proposal.ts';

/** Below this rate the private key is no bottleneck of anything. */
const LEAST_HANDSHAKES = 100;
/** CPU of one signature with RSA of 2048 bits, in seconds, on a core of a server: an assumption, which `openssl speed rsa2048` replaces. */
const SIGN_SEC = { low: 0.0005, high: 0.0015 };

/** Handshakes by the hundred a second: a cheaper key, or hardware for it. Both are the mesh's installation, and printed. */
export function proposeHardwareOffload(input: TuningInput): readonly Proposal[] {
  return measuredPorts(input).flatMap(({ figures, service, subject }) => {
    const { handshakesPerSec, resumedPerSec = 0 } = figures;
    if (handshakesPerSec === undefined) return [];
    const full = handshakesPerSec - resumedPerSec;
    if (full < LEAST_HANDSHAKES) return [];
    const cores = input.metrics.proxies
      .filter(({ workload }) => service.workloads.includes(workload))
      .reduce((sum, one) => sum + (one.cpuCores ?? 0), 0);
    const share = (seconds: number): number => (cores === 0 ? 0 : Math.min(1, (full * seconds) / cores));
    return [
      makeProposal({
        kind: 'hardware-offload',
        namespace: input.namespace,
        subject,
        title: `${short(full)} full TLS handshakes a second at ${subject}`,
        evidence: evidenceOf(
          ['full TLS handshakes', full, '/s'],
          ['CPU of the proxies behind it', cores === 0 ? undefined : cores, 'cores'],
        ),
        gain:
          cores === 0
            ? undefined
            : {
                metric: 'CPU of the proxies behind it',
                before: cores,
                unit: 'cores',
                ...percentRange(share(SIGN_SEC.low), share(SIGN_SEC.high)),
                derivation: `${short(full)} signatures a second x ${SIGN_SEC.low * 1000} to ${SIGN_SEC.high * 1000} ms (RSA 2048, assumed: openssl speed rsa2048 says it of your nodes)/${short(cores)} cores; nothing where certificates hold elliptic keys already`,
              },
        risks: [
          'acceleration binds pods to the nodes that have it',
          'a change of the key type shows in every certificate of the mesh as it is renewed',
        ],
        instruction: [
          'fewer handshakes first: connection-pool and http2',
          'then keys of elliptic curves, which need no hardware: ECC_SIGNATURE_ALGORITHM=ECDSA in meshConfig.defaultConfig.proxyMetadata',
          'then, on nodes with AVX-512 or QuickAssist: privateKeyProvider (cryptomb or qat) in meshConfig.defaultConfig or the annotation proxy.istio.io/config, with a node selector',
          'the cipher itself is fast where nodes have AES instructions: grep -m1 -o aes /proc/cpuinfo on each kind of node; elsewhere ChaCha20-Poly1305',
        ],
        sources: [
          'istio.io/latest/docs/reference/config/istio.mesh.v1alpha1 (PrivateKeyProvider)',
          'istio.io/latest/docs/reference/commands/pilot-agent (ECC_SIGNATURE_ALGORITHM)',
          'envoyproxy.io/docs/envoy/latest/api-v3/extensions/private_key_providers (CryptoMB, QAT)',
        ],
      }),
    ];
  });
}
