// The kinds that dialects write, as their projects define them, read from Go modules when a test runs.
import type { CrdSource, Definition } from './crds.ts';
import { readDefinitions } from './crds.ts';

const CILIUM: CrdSource = {
  module: 'github.com/cilium/cilium',
  version: 'v1.18.8',
  sum: 'h1:WBLzRhxMJOChqFmM1JG6prmU+ANHXqsb2X7lBiCCsio=',
  file: 'pkg/k8s/apis/cilium.io/client/crds/v2/ciliumnetworkpolicies.yaml',
};
const ADMIN: CrdSource = {
  module: 'sigs.k8s.io/network-policy-api',
  version: 'v0.1.7',
  sum: 'h1:obY2FTEidLXVdRYu7gJ4q1RYE57pBnrpMqoE2LZgp4g=',
  file: 'config/crd/standard/policy.networking.k8s.io_adminnetworkpolicies.yaml',
};
const CLUSTER: CrdSource = {
  module: 'sigs.k8s.io/network-policy-api',
  version: 'v0.2.0',
  sum: 'h1:W/f0Y9VoeQdOWjX/h2gZyLH6gZ5LLEXmh/9wy9mQWKw=',
  file: 'config/crd/standard/policy.networking.k8s.io_clusternetworkpolicies.yaml',
};
const CALICO: CrdSource = {
  module: 'github.com/projectcalico/calico',
  version: 'v1.11.0-cni-plugin.0.20250813170300-a0db560f0520',
  sum: 'h1:TXnPEzx4pLWgwzCetIO/VJuz4iBZZrOdNSv16a50YqE=',
  file: 'libcalico-go/config/crd/crd.projectcalico.org_networkpolicies.yaml',
};

/**
 * Calico's API server is no definition: it serves projectcalico.org/v3 over what is stored as crd.projectcalico.org/v1. The fields of a policy are
 * the same in both, so the definition of the storage stands in, under the group, version and kind that are asked for. The staged kind is that of
 * the policy and `stagedAction` (Calico's reference, "Staged network policy").
 */
function asServed({ yaml }: Definition, kind: string): Definition {
  const plural = `${kind.toLowerCase().slice(0, -1)}ies`;
  const served = yaml
    .replaceAll('crd.projectcalico.org', 'projectcalico.org')
    .replace(/^ {2}- name: v1$/mu, '  - name: v3')
    .replaceAll(/\bNetworkPolicy(List)?$/gmu, `${kind}$1`)
    .replaceAll(/\bnetworkpolicies\b/gu, plural)
    .replaceAll(/(singular: )networkpolicy$/gmu, `$1${kind.toLowerCase()}`);
  const name = `${plural}.projectcalico.org`;
  if (kind === 'NetworkPolicy') return { name, yaml: served };
  const spec = /^( +)spec:\n(?: +description:[^\n]*\n)?( +)properties:\n( +)/mu;
  const inSpec = served.search(/^ {10}spec:$/mu);
  const head = served.slice(0, inSpec);
  const tail = served.slice(inSpec).replace(spec, (all, _at: string, _under: string, deep: string) => {
    return `${all}stagedAction:\n${deep}  type: string\n${deep}`;
  });
  return { name, yaml: head + tail };
}

/** Definitions of each dialect's kinds. */
export function dialectDefinitions(): Readonly<
  Record<'cilium' | 'calico' | 'admin' | 'cluster', readonly Definition[]>
> {
  const calico = readDefinitions(CALICO);
  return {
    cilium: readDefinitions(CILIUM),
    calico: calico.flatMap((one) => [asServed(one, 'NetworkPolicy'), asServed(one, 'StagedNetworkPolicy')]),
    admin: readDefinitions(ADMIN),
    cluster: readDefinitions(CLUSTER),
  };
}
