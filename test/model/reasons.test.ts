import { describe, expect, it } from 'vitest';
import { evaluateConnection, mainReason } from '../../src/model/evaluate.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { Json, JsonObject } from '../../src/shared/pure/json.ts';
import { AGENT, CLUSTER, DB, JOB, WEB, clusterWith } from '../support/policy-table.ts';
import type { InventorySketch } from '../support/world.ts';
import { connection, manifest, networkPolicy } from '../support/world.ts';

const app = (name: string): JsonObject => ({ matchLabels: { app: name } });
const np = (spec: JsonObject, name = 'shop/np'): KubeManifest => networkPolicy(name, spec);
const onDb = (...ingress: readonly Json[]): KubeManifest => np({ podSelector: app('db'), ingress });
const outOfWeb = (...egress: readonly Json[]): KubeManifest =>
  np({ podSelector: app('web'), policyTypes: ['Egress'], egress });
const fromWeb = { from: [{ podSelector: app('web') }] };
const block = (cidr: string): JsonObject => ({ from: [{ ipBlock: { cidr } }] });
const cil = (spec: JsonObject): KubeManifest => manifest('cilium.io/v2', 'CiliumNetworkPolicy', 'shop/c', spec);
const V3 = 'projectcalico.org/v3';
const gnp = (spec: JsonObject): KubeManifest => manifest(V3, 'GlobalNetworkPolicy', 'g', spec);
const cnp = (spec: JsonObject): KubeManifest => manifest(V3, 'NetworkPolicy', 'shop/c', spec);
const tier = (name: string, spec: JsonObject): KubeManifest => manifest(V3, 'Tier', name, spec);
const anp = (priority: number, rest: JsonObject): KubeManifest =>
  manifest('policy.networking.k8s.io/v1alpha1', 'AdminNetworkPolicy', `p${priority}`, {
    priority,
    subject: { namespaces: { matchLabels: { team: 'shop' } } },
    ...rest,
  });
const PERHAPS = { matchLabels: { 'pod-template-hash': 'a' } };
const outOf = (...egress: readonly Json[]): KubeManifest => anp(1, { egress });
const port = (first: number, last = first): JsonObject => ({ portRange: { protocol: 'TCP', start: first, end: last } });
const deny = (...ports: readonly Json[]): JsonObject => ({ action: 'Deny', from: [{ namespaces: {} }], ports });
const jobs = (...pods: readonly string[]): InventorySketch => ({
  workloads: { ...CLUSTER.workloads, [JOB]: { labels: { app: 'train' }, pods } },
});
const webs = (...pods: readonly string[]): InventorySketch => ({
  cni: { ipBlockMatches: ['pods'] },
  workloads: { ...CLUSTER.workloads, [WEB]: { labels: { app: 'web' }, pods } },
});
const specsOf = (...specs: readonly JsonObject[]): KubeManifest => ({ ...cil({}), spec: null, specs });
const IN = `${WEB} -> ${DB} 5432`;
const NEW = 'shop/Deployment/new';
const withNew = { workloads: { ...CLUSTER.workloads, [NEW]: [] } };
const TF = 'shop/PyTorchJob/t';
const withSets = {
  workloads: {
    ...CLUSTER.workloads,
    [TF]: [
      { role: 'Master', labels: { role: 'm' } },
      { role: 'Worker', labels: { role: 'w' } },
    ],
  },
};

/** Name, CNI, policies, connection, what differs from the cluster, the answer, and why. */
type Row = [string, string, readonly KubeManifest[], string, InventorySketch, string, readonly string[]];

const QUIET = 'No NetworkPolicy isolates ';

describe('what an answer says of itself', () => {
  // A side that nothing isolates is named in the first row, and left out in the others.
  it.each<Row>([
    [
      'nothing isolates',
      'x',
      [],
      IN,
      {},
      'allowed',
      [
        `allows egress: No NetworkPolicy isolates ${WEB} for egress.`,
        `allows ingress: No NetworkPolicy isolates ${DB} for ingress.`,
      ],
    ],
    ['the outside has no side of its own', 'x', [], `${WEB} -> external:a.test 443`, {}, 'allowed', []],
    [
      'the first rule that admits',
      'x',
      [onDb({}, fromWeb)],
      IN,
      {},
      'allowed',
      [
        `allows ingress by NetworkPolicy shop/np #0 at spec.ingress[0]: spec.ingress[0] of NetworkPolicy shop/np admits 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'a rule of egress',
      'x',
      [outOfWeb({ to: [{ podSelector: app('db') }], ports: [{ port: 5432 }] })],
      IN,
      {},
      'allowed',
      [
        `allows egress by NetworkPolicy shop/np #0 at spec.egress[0]: spec.egress[0] of NetworkPolicy shop/np admits 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'a range of ports',
      'x',
      [onDb({ ports: [{ port: 1, endPort: 9 }] })],
      `${WEB} -> ${DB} 2-3`,
      {},
      'allowed',
      [
        `allows ingress by NetworkPolicy shop/np #0 at spec.ingress[0]: spec.ingress[0] of NetworkPolicy shop/np admits 2-3/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'two rules that admit a part each',
      'x',
      [onDb({ ports: [{ port: 1, endPort: 5 }] }, { ports: [{ port: 6, endPort: 9 }] })],
      `${WEB} -> ${DB} 2-8`,
      {},
      'allowed',
      [`allows ingress: The policies that isolate ${DB} for ingress admit 2-8/TCP from ${WEB} to ${DB} together.`],
    ],
    [
      'no rule admits',
      'x',
      [onDb({ ports: [{ port: 1 }] })],
      IN,
      {},
      'denied',
      [
        `denies ingress by NetworkPolicy shop/np: NetworkPolicy shop/np isolates ${DB} for ingress, and no rule admits 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'two policies isolate',
      'x',
      [onDb(), np({}, 'shop/other')],
      IN,
      {},
      'denied',
      [
        `denies ingress by NetworkPolicy shop/np: NetworkPolicy shop/np, NetworkPolicy shop/other isolate ${DB} for ingress, and no rule admits 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'both directions deny',
      'x',
      [onDb(), np({ podSelector: app('web'), policyTypes: ['Egress'] }, 'shop/out')],
      IN,
      {},
      'denied',
      [
        `denies egress by NetworkPolicy shop/out: NetworkPolicy shop/out isolates ${WEB} for egress, and no rule admits 5432/TCP from ${WEB} to ${DB}.`,
        `denies ingress by NetworkPolicy shop/np: NetworkPolicy shop/np isolates ${DB} for ingress, and no rule admits 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'a host-network pod',
      'x',
      [onDb({})],
      `${AGENT} -> ${DB} 5432`,
      {},
      'allowed',
      [
        `allows egress: ${AGENT} uses the host network: NetworkPolicy does not act on it.`,
        `allows ingress by NetworkPolicy shop/np #0 at spec.ingress[0]: spec.ingress[0] of NetworkPolicy shop/np admits 5432/TCP from ${AGENT} to ${DB}.`,
      ],
    ],
    [
      'the own node',
      'x',
      [onDb()],
      `node:n2 -> ${DB} 5432`,
      {},
      'allowed',
      [`allows ingress: Traffic between ${DB} and its own node is always allowed.`],
    ],
    [
      'the own node as destination',
      'x',
      [outOfWeb()],
      `${WEB} -> node 10250`,
      {},
      'allowed',
      [`allows egress: Traffic between ${WEB} and its own node is always allowed.`],
    ],
    [
      'a CNI that does not enforce',
      'flannel',
      [onDb()],
      IN,
      { cni: { name: 'flannel', enforces: 'no', because: 'it has no engine' } },
      'allowed',
      [`allows ingress: flannel does not enforce NetworkPolicy (it has no engine), so none acts on ${DB}.`],
    ],
    [
      'a rule that may name an endpoint that is not known',
      'x',
      [onDb(fromWeb)],
      `unknown -> ${DB} 5432`,
      {},
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/np #0 at spec.ingress[0]: Whether spec.ingress[0] of NetworkPolicy shop/np admits 5432/TCP from unknown: to ${DB} cannot be told: what is at the other end is not known.`,
      ],
    ],
    [
      'an endpoint that is not known, at another port',
      'x',
      [onDb({ ports: [{ port: 1 }] })],
      `unknown -> ${DB} 5432`,
      {},
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/np: ${DB} is isolated for ingress by NetworkPolicy shop/np, and what unknown: is, is not known.`,
      ],
    ],
    [
      'a destination that is not known',
      'x',
      [onDb()],
      `${WEB} -> unknown 5432`,
      {},
      'unknown',
      [`unknown ingress: What unknown: is, is not known, so which policies isolate its ingress is not either.`],
    ],
    [
      'a node that may be the own one',
      'x',
      [onDb()],
      `node:n1 -> ${DB} 1`,
      { workloads: { ...CLUSTER.workloads, [DB]: { labels: { app: 'db' } } } },
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/np: NetworkPolicy shop/np does not admit node:n1 on 1/TCP, but traffic with a pod's own node is always allowed, and which node this is about is not known.`,
      ],
    ],
    [
      'a policy that may select the pods',
      'x',
      [np({ podSelector: { matchLabels: { 'pod-template-hash': 'a' } } })],
      IN,
      {},
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/np: Whether NetworkPolicy shop/np admits 5432/TCP from ${WEB} to ${DB} cannot be told: whether it selects the pods is not known.`,
      ],
    ],
    [
      'one that admits what it may isolate',
      'x',
      [np({ podSelector: { matchLabels: { 'pod-template-hash': 'a' } }, ingress: [{}] })],
      IN,
      {},
      'allowed',
      [`allows ingress: The policies that isolate ${DB} for ingress admit 5432/TCP from ${WEB} to ${DB} together.`],
    ],
    [
      'one that may select the pods beside one that does',
      'x',
      [np({ podSelector: { matchLabels: { 'pod-template-hash': 'a' } }, ingress: [{}] }), np({}, 'shop/z')],
      IN,
      {},
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/np: Whether NetworkPolicy shop/np admits 5432/TCP from ${WEB} to ${DB} cannot be told: whether it selects the pods is not known.`,
      ],
    ],
    [
      'a policy that is not valid',
      'x',
      [onDb({ ports: [{ port: 0 }] })],
      IN,
      {},
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/np: Whether NetworkPolicy shop/np admits 5432/TCP from ${WEB} to ${DB} cannot be told: it is not a valid policy.`,
      ],
    ],
    [
      'a peer whose labels are not known',
      'x',
      [onDb(fromWeb)],
      `${NEW} -> ${DB} 1`,
      withNew,
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/np #0 at spec.ingress[0]: Whether spec.ingress[0] of NetworkPolicy shop/np admits 1/TCP from ${NEW} to ${DB} cannot be told: the labels of ${NEW} are not known.`,
      ],
    ],
    [
      'a namespace whose labels are not known',
      'x',
      [onDb({ from: [{ namespaceSelector: { matchLabels: { team: 'x' } } }] })],
      `${JOB} -> ${DB} 1`,
      { namespaces: { shop: {}, batch: null } },
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/np #0 at spec.ingress[0]: Whether spec.ingress[0] of NetworkPolicy shop/np admits 1/TCP from ${JOB} to ${DB} cannot be told: the labels of namespace batch are not known.`,
      ],
    ],
    [
      'a label that a run adds',
      'x',
      [onDb({ from: [{ podSelector: { matchLabels: { 'pod-template-hash': 'x' } } }] })],
      IN,
      {},
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/np #0 at spec.ingress[0]: Whether spec.ingress[0] of NetworkPolicy shop/np admits 5432/TCP from ${WEB} to ${DB} cannot be told: it asks for what only some of ${WEB} may have.`,
      ],
    ],
    [
      'a port name of pods that are not known',
      'x',
      [outOfWeb({ ports: [{ port: 'p' }] })],
      `${WEB} -> ${NEW} 1`,
      withNew,
      'unknown',
      [
        `unknown egress by NetworkPolicy shop/np #0 at spec.egress[0]: Whether spec.egress[0] of NetworkPolicy shop/np admits 1/TCP from ${WEB} to ${NEW} cannot be told: which port a name of it stands for is not known.`,
      ],
    ],
    [
      'a port name of host-network pods',
      'x',
      [outOfWeb({ ports: [{ port: 'metrics' }] })],
      `${WEB} -> ${AGENT} 9100`,
      { workloads: { ...CLUSTER.workloads, [AGENT]: { hostNetwork: true, ports: ['metrics=9100'] } } },
      'unknown',
      [
        `unknown egress by NetworkPolicy shop/np #0 at spec.egress[0]: Whether spec.egress[0] of NetworkPolicy shop/np admits 9100/TCP from ${WEB} to ${AGENT} cannot be told: which port a name of it stands for is not known.`,
        `allows ingress: ${AGENT} uses the host network: NetworkPolicy does not act on it.`,
      ],
    ],
    [
      'an address that is not known',
      'x',
      [onDb(block('9.0.0.0/8'))],
      `external:a.test -> ${DB} 1`,
      {},
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/np #0 at spec.ingress[0]: Whether spec.ingress[0] of NetworkPolicy shop/np admits 1/TCP from external:a.test to ${DB} cannot be told: the address of external:a.test is not known, or not the same for all of it.`,
      ],
    ],
    [
      'a CNI that may match the addresses of pods',
      'new',
      [onDb(block('10.0.1.1/32'))],
      IN,
      { cni: { name: 'new', enforces: 'unknown' } },
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/np #0 at spec.ingress[0]: Whether spec.ingress[0] of NetworkPolicy shop/np admits 5432/TCP from ${WEB} to ${DB} cannot be told: whether an ipBlock matches pods under this CNI (new) is not known.`,
      ],
    ],
    [
      'a CNI that may match the addresses of nodes',
      'new',
      [onDb(block('192.168.0.3/32'))],
      `node:n3 -> ${DB} 1`,
      { cni: { name: 'new', enforces: 'unknown' } },
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/np #0 at spec.ingress[0]: Whether spec.ingress[0] of NetworkPolicy shop/np admits 1/TCP from node:n3 to ${DB} cannot be told: whether an ipBlock matches nodes under this CNI (new) is not known.`,
      ],
    ],
    [
      'Cilium, which may match the address of an API server outside',
      'cilium',
      [onDb(block('192.168.0.100/32'))],
      `api-server -> ${DB} 1`,
      {},
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/np #0 at spec.ingress[0]: Whether spec.ingress[0] of NetworkPolicy shop/np admits 1/TCP from api-server to ${DB} cannot be told: whether an ipBlock matches api-server under this CNI (cilium) is not known.`,
      ],
    ],
    [
      'one of two addresses',
      'x',
      [onDb(block('10.0.0.0/8'))],
      IN,
      {
        cni: { ipBlockMatches: ['pods'] },
        workloads: { ...CLUSTER.workloads, [WEB]: { labels: { app: 'web' }, pods: ['10.0.1.1,fd00::1@n1'] } },
      },
      'unknown',
      [
        `unknown ingress: Whether NetworkPolicy shop/np admits 5432/TCP from ${WEB} to ${DB} cannot be told: labels, names or addresses that it asks for are not known.`,
      ],
    ],
    [
      'a part of the pods',
      'x',
      [np({ podSelector: { matchLabels: { role: 'w' } } })],
      `${WEB} -> ${TF} 1`,
      withSets,
      'denied',
      [
        `denies ingress by NetworkPolicy shop/np: NetworkPolicy shop/np isolates ${TF} (Worker) for ingress, and no rule admits 1/TCP from ${WEB} to ${TF} (Worker).`,
      ],
    ],
    [
      'a kind that is not evaluated',
      'x',
      [manifest('crd.antrea.io/v1beta1', 'NetworkPolicy', 'shop/a', {})],
      IN,
      {},
      'unknown',
      [
        `unknown egress by NetworkPolicy shop/a: NetworkPolicy shop/a may act on egress of ${WEB}, and it is not evaluated: nothing of kind NetworkPolicy is.`,
        `unknown ingress by NetworkPolicy shop/a: NetworkPolicy shop/a may act on ingress of ${DB}, and it is not evaluated: nothing of kind NetworkPolicy is.`,
      ],
    ],
    [
      'a kind that is not evaluated, on a node',
      'calico',
      [manifest('projectcalico.org/v3', 'HostEndpoint', 'h', {})],
      `${WEB} -> node:n3 1`,
      {},
      'unknown',
      [
        `unknown ingress by HostEndpoint h: HostEndpoint h may act on node:n3, and it is not evaluated: nothing of kind HostEndpoint is.`,
      ],
    ],
    [
      'a kind of another CNI',
      'x',
      [gnp({ selector: 'all()' })],
      IN,
      {},
      'unknown',
      [
        `unknown ingress by GlobalNetworkPolicy g: GlobalNetworkPolicy g may act on ingress of ${DB}, and it is not evaluated: it is of Calico, and the CNI is x.`,
      ],
    ],
    [
      'a kind of Cilium under Calico',
      'calico',
      [cil({ endpointSelector: app('db'), ingress: [{}] })],
      IN,
      {},
      'unknown',
      [
        `unknown ingress by CiliumNetworkPolicy shop/c: CiliumNetworkPolicy shop/c may act on ingress of ${DB}, and it is not evaluated: it is of Cilium, and the CNI is calico.`,
      ],
    ],
    [
      'Cilium admits',
      'cilium',
      [cil({ endpointSelector: app('db'), ingress: [{ fromEndpoints: [app('web')] }] })],
      IN,
      {},
      'allowed',
      [
        `allows ingress by CiliumNetworkPolicy shop/c #0 at spec.ingress[0]: spec.ingress[0] of CiliumNetworkPolicy shop/c admits 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'Cilium denies',
      'cilium',
      [cil({ endpointSelector: app('db'), ingressDeny: [{ fromEndpoints: [app('web')] }] })],
      IN,
      {},
      'denied',
      [
        `denies ingress by CiliumNetworkPolicy shop/c #0 at spec.ingressDeny[0]: spec.ingressDeny[0] of CiliumNetworkPolicy shop/c denies 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'Cilium asks for more',
      'cilium',
      [
        cil({
          endpointSelector: app('db'),
          ingress: [{ fromEndpoints: [app('web')], authentication: { mode: 'required' } }],
        }),
      ],
      IN,
      {},
      'unknown',
      [
        `unknown ingress by CiliumNetworkPolicy shop/c #0 at spec.ingress[0]: Whether spec.ingress[0] of CiliumNetworkPolicy shop/c decides on 5432/TCP from ${WEB} to ${DB} cannot be told: what it says in authentication is not evaluated.`,
      ],
    ],
    [
      'Cilium opens',
      'cilium',
      [
        cil({
          endpointSelector: app('db'),
          enableDefaultDeny: { ingress: false },
          ingress: [{ fromEndpoints: [app('web')] }],
        }),
        onDb(),
      ],
      IN,
      {},
      'allowed',
      [
        `allows ingress by CiliumNetworkPolicy shop/c #0 at spec.ingress[0]: spec.ingress[0] of CiliumNetworkPolicy shop/c admits 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'Cilium opens for another',
      'cilium',
      [
        cil({
          endpointSelector: app('db'),
          enableDefaultDeny: { ingress: false },
          ingress: [{ fromEndpoints: [app('web')] }],
        }),
        onDb(),
      ],
      `${JOB} -> ${DB} 5432`,
      {},
      'denied',
      [
        `denies ingress by NetworkPolicy shop/np: NetworkPolicy shop/np isolates ${DB} for ingress, and no rule decides on 5432/TCP from ${JOB} to ${DB}.`,
      ],
    ],
    [
      'Cilium opens and nothing isolates',
      'cilium',
      [
        cil({
          endpointSelector: app('db'),
          enableDefaultDeny: { ingress: false },
          ingress: [{ fromEndpoints: [app('web')] }],
        }),
      ],
      `${JOB} -> ${DB} 5432`,
      {},
      'allowed',
      [`allows ingress: No policy denies 5432/TCP from ${JOB} to ${DB}.`],
    ],
    [
      'the second spec of a policy',
      'cilium',
      [
        {
          ...cil({}),
          spec: null,
          specs: [
            { endpointSelector: app('web'), ingress: [{}] },
            { endpointSelector: app('db'), ingress: [{ fromEndpoints: [app('web')] }] },
          ],
        },
      ],
      IN,
      {},
      'allowed',
      [
        `allows ingress by CiliumNetworkPolicy shop/c #0 at specs[1].ingress[0]: specs[1].ingress[0] of CiliumNetworkPolicy shop/c admits 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'the own node as destination under Cilium',
      'cilium',
      [cil({ endpointSelector: app('web'), egress: [{}] })],
      `${WEB} -> node:n1 1`,
      {},
      'denied',
      [
        `denies egress by CiliumNetworkPolicy shop/c: CiliumNetworkPolicy shop/c isolates ${WEB} for egress, and no rule admits 1/TCP from ${WEB} to node:n1.`,
      ],
    ],
    [
      'deny rules of Cilium and the own node',
      'cilium',
      [cil({ endpointSelector: app('db'), ingressDeny: [{ fromEntities: ['all'] }] })],
      `node:n2 -> ${DB} 1`,
      {},
      'unknown',
      [
        `unknown ingress by CiliumNetworkPolicy shop/c: CiliumNetworkPolicy shop/c acts on ingress of ${DB}, but node:n2 is or may be its own node, and whether policies hold there is not known.`,
      ],
    ],
    [
      'the end of a tier of Calico',
      'calico',
      [gnp({ selector: "app == 'db'" })],
      IN,
      {},
      'denied',
      [
        `denies ingress by GlobalNetworkPolicy g: GlobalNetworkPolicy g isolates ${DB} for ingress, and no rule decides on 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'Calico allows',
      'calico',
      [cnp({ selector: "app == 'db'", ingress: [{ action: 'Allow' }] })],
      IN,
      {},
      'allowed',
      [
        `allows ingress by NetworkPolicy shop/c #0 at spec.ingress[0]: spec.ingress[0] of NetworkPolicy shop/c admits 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'Calico denies',
      'calico',
      [cnp({ selector: "app == 'db'", ingress: [{ action: 'Log' }, { action: 'Deny' }] })],
      IN,
      {},
      'denied',
      [
        `denies ingress by NetworkPolicy shop/c #1 at spec.ingress[1]: spec.ingress[1] of NetworkPolicy shop/c denies 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'the end of the default tier with a NetworkPolicy in it',
      'calico',
      [
        cnp({ selector: "app == 'db'", order: 1, ingress: [{ action: 'Allow', source: { selector: "app == 'x'" } }] }),
        onDb(),
      ],
      IN,
      {},
      'denied',
      [
        `denies ingress by NetworkPolicy shop/c: NetworkPolicy shop/c, NetworkPolicy shop/np isolate ${DB} for ingress, and no rule decides on 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'the end of a tier of its own',
      'calico',
      [
        tier('sec', { order: 1 }),
        gnp({
          tier: 'sec',
          selector: "app == 'db'",
          ingress: [{ action: 'Allow', source: { selector: "app == 'x'" } }],
        }),
      ],
      IN,
      {},
      'denied',
      [
        `denies ingress by GlobalNetworkPolicy g: GlobalNetworkPolicy g isolates ${DB} for ingress, and no rule decides on 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'a tier that may act',
      'calico',
      [
        tier('sec', { order: 1 }),
        gnp({
          tier: 'sec',
          selector: "pcsa.x == 'db'",
          ingress: [{ action: 'Allow', source: { selector: "app == 'x'" } }],
        }),
      ],
      IN,
      {},
      'unknown',
      [
        `unknown ingress by GlobalNetworkPolicy g: Whether GlobalNetworkPolicy g decides on 5432/TCP from ${WEB} to ${DB} cannot be told: whether it selects the pods is not known.`,
      ],
    ],
    [
      'Calico passes on to a NetworkPolicy',
      'calico',
      [
        tier('sec', { order: 1 }),
        gnp({ tier: 'sec', selector: "app == 'db'", ingress: [{ action: 'Pass' }] }),
        onDb(fromWeb),
      ],
      IN,
      {},
      'allowed',
      [
        `allows ingress by NetworkPolicy shop/np #0 at spec.ingress[0]: spec.ingress[0] of NetworkPolicy shop/np admits 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'Calico passes on to nobody',
      'calico',
      [tier('sec', { order: 1 }), gnp({ tier: 'sec', selector: "app == 'db'", ingress: [{ action: 'Pass' }] })],
      IN,
      {},
      'allowed',
      [`allows ingress: No policy denies 5432/TCP from ${WEB} to ${DB}.`],
    ],
    [
      'the own node under Calico',
      'calico',
      [gnp({ selector: "app == 'db'" })],
      `node:n2 -> ${DB} 1`,
      {},
      'allowed',
      [`allows ingress: Traffic from its own node to ${DB} is always allowed.`],
    ],
    [
      'the own node as destination under Calico',
      'calico',
      [gnp({ selector: "app == 'web'", types: ['Egress'] })],
      `${WEB} -> node:n1 1`,
      {},
      'unknown',
      [
        `unknown egress by GlobalNetworkPolicy g: GlobalNetworkPolicy g acts on egress of ${WEB}, but node:n1 is or may be its own node, and whether policies hold there is not known.`,
      ],
    ],
    [
      'a node that may be the own one under Calico',
      'calico',
      [gnp({ selector: "app == 'db'" })],
      `node:n1 -> ${DB} 1`,
      { workloads: { ...CLUSTER.workloads, [DB]: { labels: { app: 'db' } } } },
      'unknown',
      [
        `unknown ingress by GlobalNetworkPolicy g: GlobalNetworkPolicy g acts on ingress of ${DB}, but node:n1 is or may be its own node, and whether policies hold there is not known.`,
      ],
    ],
    [
      'two policies of one order',
      'calico',
      [cnp({ order: 1000, selector: "app == 'db'", ingress: [{ action: 'Deny' }] }), onDb({})],
      IN,
      {},
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/c #0 at spec.ingress[0]: Whether spec.ingress[0] of NetworkPolicy shop/c decides on 5432/TCP from ${WEB} to ${DB} cannot be told: NetworkPolicy shop/c and NetworkPolicy shop/np have the same place in the order and do not agree.`,
      ],
    ],
    [
      'a rule that may allow',
      'calico',
      [cnp({ selector: "app == 'db'", ingress: [{ action: 'Allow', source: { nets: ['9.0.0.0/9'] } }] })],
      `external:a.test -> ${DB} 1`,
      {},
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/c #0 at spec.ingress[0]: Whether spec.ingress[0] of NetworkPolicy shop/c decides on 1/TCP from external:a.test to ${DB} cannot be told: labels, names, ports or addresses that it asks for are not known.`,
      ],
    ],
    [
      'a rule that may deny',
      'calico',
      [
        cnp({
          selector: "app == 'db'",
          ingress: [{ action: 'Deny', source: { nets: ['9.0.0.0/9'] } }, { action: 'Allow' }],
        }),
      ],
      `external:a.test -> ${DB} 1`,
      {},
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/c #0 at spec.ingress[0]: Whether spec.ingress[0] of NetworkPolicy shop/c decides on 1/TCP from external:a.test to ${DB} cannot be told: labels, names, ports or addresses that it asks for are not known.`,
      ],
    ],
    [
      'an admin policy denies',
      'ovn-kubernetes',
      [anp(1, { ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }] })],
      IN,
      {},
      'denied',
      [
        `denies ingress by AdminNetworkPolicy p1 #0 at spec.ingress[0]: spec.ingress[0] of AdminNetworkPolicy p1 denies 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'an admin policy allows',
      'ovn-kubernetes',
      [anp(1, { ingress: [{ action: 'Allow', from: [{ namespaces: {} }] }] }), onDb()],
      IN,
      {},
      'allowed',
      [
        `allows ingress by AdminNetworkPolicy p1 #0 at spec.ingress[0]: spec.ingress[0] of AdminNetworkPolicy p1 admits 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'an admin policy passes on',
      'ovn-kubernetes',
      [anp(1, { ingress: [{ action: 'Pass', from: [{ namespaces: {} }] }] }), onDb()],
      IN,
      {},
      'denied',
      [
        `denies ingress by NetworkPolicy shop/np: NetworkPolicy shop/np isolates ${DB} for ingress, and no rule decides on 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'an admin policy passes on to a rule that admits',
      'ovn-kubernetes',
      [anp(1, { ingress: [{ action: 'Pass', from: [{ namespaces: {} }] }] }), onDb(fromWeb)],
      IN,
      {},
      'allowed',
      [
        `allows ingress by NetworkPolicy shop/np #0 at spec.ingress[0]: spec.ingress[0] of NetworkPolicy shop/np admits 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'an admin policy that may not be enforced',
      'cilium',
      [anp(1, { ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }] })],
      IN,
      {},
      'unknown',
      [
        `unknown ingress by AdminNetworkPolicy p1: Whether cilium enforces AdminNetworkPolicy is not known, and AdminNetworkPolicy p1 makes a difference to ingress of ${DB}.`,
      ],
    ],
    [
      'an admin policy that says nothing of it',
      'ovn-kubernetes',
      [anp(1, { ingress: [{ action: 'Deny', from: [{ namespaces: { matchLabels: { a: 'b' } } }] }] })],
      IN,
      {},
      'allowed',
      [`allows ingress: No policy denies 5432/TCP from ${WEB} to ${DB}.`],
    ],
    [
      'an admin policy before one that is not valid',
      'ovn-kubernetes',
      [
        anp(1, { ingress: [{ action: 'Deny', from: [{ namespaces: { matchLabels: { a: 'b' } } }] }] }),
        onDb({ ports: [{ port: 0 }] }),
      ],
      IN,
      {},
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/np: Whether NetworkPolicy shop/np decides on 5432/TCP from ${WEB} to ${DB} cannot be told: it is not a valid policy.`,
      ],
    ],
    [
      'an admin policy before one that may select the pods',
      'ovn-kubernetes',
      [
        anp(1, { ingress: [{ action: 'Deny', from: [{ pods: { namespaceSelector: {}, podSelector: app('x') } }] }] }),
        onDb(),
      ],
      `${WEB} -> ${NEW} 1`,
      withNew,
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/np: Whether NetworkPolicy shop/np decides on 1/TCP from ${WEB} to ${NEW} cannot be told: whether it selects the pods is not known.`,
      ],
    ],
    [
      'an admin policy and an endpoint that is not known',
      'ovn-kubernetes',
      [anp(1, { ingress: [{ action: 'Deny', from: [{ pods: { namespaceSelector: {}, podSelector: app('x') } }] }] })],
      `unknown -> ${DB} 1`,
      {},
      'unknown',
      [
        `unknown ingress by AdminNetworkPolicy p1 #0 at spec.ingress[0]: Whether spec.ingress[0] of AdminNetworkPolicy p1 decides on 1/TCP from unknown: to ${DB} cannot be told: labels, names, ports or addresses that it asks for are not known.`,
      ],
    ],
    [
      'a range, in part by an admin policy',
      'ovn-kubernetes',
      [
        anp(1, {
          ingress: [
            {
              action: 'Allow',
              from: [{ namespaces: {} }],
              ports: [{ portRange: { protocol: 'TCP', start: 1, end: 4 } }],
            },
          ],
        }),
        onDb({ ports: [{ port: 5, endPort: 9 }] }),
      ],
      `${WEB} -> ${DB} 1-9`,
      {},
      'allowed',
      [
        `allows ingress by AdminNetworkPolicy p1 #0 at spec.ingress[0]: spec.ingress[0] of AdminNetworkPolicy p1 admits 1-9/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'a range, of which a part is left',
      'ovn-kubernetes',
      [
        anp(1, {
          ingress: [
            {
              action: 'Allow',
              from: [{ namespaces: {} }],
              ports: [{ portRange: { protocol: 'TCP', start: 1, end: 4 } }],
            },
          ],
        }),
        onDb({ ports: [{ port: 6, endPort: 9 }] }),
      ],
      `${WEB} -> ${DB} 1-9`,
      {},
      'denied',
      [
        `denies ingress by NetworkPolicy shop/np: NetworkPolicy shop/np isolates ${DB} for ingress, and no rule decides on 1-9/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'a policy of Cilium for egress beside a NetworkPolicy, and the own node',
      'cilium',
      [outOfWeb(), cil({ endpointSelector: app('web'), egress: [{}] })],
      `${WEB} -> node 1`,
      {},
      'denied',
      [
        `denies egress by NetworkPolicy shop/np: NetworkPolicy shop/np, CiliumNetworkPolicy shop/c isolate ${WEB} for egress, and no rule admits 1/TCP from ${WEB} to node.`,
      ],
    ],
    [
      'Calico for egress beside a NetworkPolicy, and the own node',
      'calico',
      [outOfWeb(), gnp({ selector: "app == 'web'", types: ['Egress'] })],
      `${WEB} -> node 1`,
      {},
      'unknown',
      [
        `unknown egress by GlobalNetworkPolicy g: GlobalNetworkPolicy g acts on egress of ${WEB}, but node is or may be its own node, and whether policies hold there is not known.`,
      ],
    ],
    [
      'deny rules of Cilium before an admin policy that may not be enforced',
      'cilium',
      [
        cil({
          endpointSelector: app('db'),
          enableDefaultDeny: { ingress: false },
          ingressDeny: [{ fromEndpoints: [app('x')] }],
        }),
        anp(1, { ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }] }),
      ],
      IN,
      {},
      'unknown',
      [
        `unknown ingress by AdminNetworkPolicy p1: Whether cilium enforces AdminNetworkPolicy is not known, and AdminNetworkPolicy p1 makes a difference to ingress of ${DB}.`,
      ],
    ],
    [
      'deny rules of Cilium whatever an admin policy says',
      'cilium',
      [
        cil({
          endpointSelector: app('db'),
          enableDefaultDeny: { ingress: false },
          ingressDeny: [{ fromEndpoints: [app('web')] }],
        }),
        anp(1, { ingress: [{ action: 'Deny', from: [{ namespaces: { matchLabels: { a: 'b' } } }] }] }),
      ],
      IN,
      {},
      'denied',
      [
        `denies ingress by CiliumNetworkPolicy shop/c #0 at spec.ingressDeny[0]: spec.ingressDeny[0] of CiliumNetworkPolicy shop/c denies 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'an admin policy that denies nodes',
      'ovn-kubernetes',
      [outOf({ action: 'Deny', to: [{ nodes: {} }] })],
      `${WEB} -> node 1`,
      {},
      'denied',
      [
        `denies egress by AdminNetworkPolicy p1 #0 at spec.egress[0]: spec.egress[0] of AdminNetworkPolicy p1 denies 1/TCP from ${WEB} to node.`,
      ],
    ],
    [
      'an ipBlock that does not match pods beside an admin policy',
      'ovn-kubernetes',
      [anp(1, {}), anp(2, { ingress: [deny(port(9))] }), onDb(block('10.0.1.1/32'))],
      IN,
      { cni: { name: 'ovn-kubernetes', ipBlockMatches: [] } },
      'denied',
      [
        `denies ingress by NetworkPolicy shop/np: NetworkPolicy shop/np isolates ${DB} for ingress, and no rule decides on 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'the first of two ranges that an admin policy denies',
      'ovn-kubernetes',
      [anp(1, { ingress: [deny(port(1, 4)), deny(port(5, 9))] })],
      `${WEB} -> ${DB} 1-9`,
      {},
      'denied',
      [
        `denies ingress by AdminNetworkPolicy p1 #0 at spec.ingress[0]: spec.ingress[0] of AdminNetworkPolicy p1 denies 1-9/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'one of two addresses under an admin policy',
      'ovn-kubernetes',
      [outOf({ action: 'Deny', to: [{ networks: ['fd00::/8'] }] })],
      `${WEB} -> ${JOB} 1`,
      jobs('10.0.2.1,fd00::1@n1'),
      'unknown',
      [
        `unknown egress by AdminNetworkPolicy p1 #0 at spec.egress[0]: Whether spec.egress[0] of AdminNetworkPolicy p1 decides on 1/TCP from ${WEB} to ${JOB} cannot be told: it depends on the address.`,
      ],
    ],
    [
      'a pod of two under an admin policy',
      'ovn-kubernetes',
      [
        outOf(
          { action: 'Deny', to: [{ networks: ['10.0.2.2/32'] }] },
          { action: 'Deny', to: [{ networks: ['10.0.2.3/32'] }] },
        ),
      ],
      `${WEB} -> ${JOB} 1`,
      jobs('10.0.2.1@n1', '10.0.2.2@n1', '10.0.2.3@n1'),
      'denied',
      [
        `denies egress by AdminNetworkPolicy p1 #0 at spec.egress[0]: spec.egress[0] of AdminNetworkPolicy p1 denies 1/TCP from ${WEB} to ${JOB}.`,
      ],
    ],
    [
      'one of two addresses at the end of a tier',
      'calico',
      [cnp({ selector: "app == 'db'", ingress: [{ action: 'Allow', source: { nets: ['10.0.2.1/32'] } }] })],
      `${JOB} -> ${DB} 1`,
      jobs('10.0.2.1,fd00::1@n1'),
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/c: NetworkPolicy shop/c isolates ${DB} for ingress, and no rule decides on 1/TCP from ${JOB} to ${DB}. That is not sure: it depends on the address.`,
      ],
    ],
    [
      'the end of a tier of its own beside a NetworkPolicy',
      'calico',
      [tier('sec', { order: 1 }), gnp({ tier: 'sec', selector: "app == 'db'" }), onDb({})],
      IN,
      {},
      'denied',
      [
        `denies ingress by GlobalNetworkPolicy g: GlobalNetworkPolicy g isolates ${DB} for ingress, and no rule decides on 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'the end of the default tier with a NetworkPolicy that may be in it',
      'calico',
      [cnp({ selector: "app == 'db'" }), np({ podSelector: PERHAPS })],
      IN,
      {},
      'denied',
      [
        `denies ingress by NetworkPolicy shop/c: NetworkPolicy shop/c isolates ${DB} for ingress, and no rule decides on 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'the second of two specs that select the same pods',
      'cilium',
      [
        specsOf(
          {
            endpointSelector: app('db'),
            ingress: [{ fromEndpoints: [app('x')], authentication: { mode: 'required' } }],
          },
          { endpointSelector: app('db'), ingress: [{ fromEndpoints: [app('web')] }] },
        ),
      ],
      IN,
      {},
      'allowed',
      [
        `allows ingress by CiliumNetworkPolicy shop/c #0 at specs[1].ingress[0]: specs[1].ingress[0] of CiliumNetworkPolicy shop/c admits 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'an admin policy before one that may select the pods and admits',
      'ovn-kubernetes',
      [anp(1, { ingress: [deny(port(9))] }), np({ podSelector: PERHAPS, ingress: [{}] })],
      IN,
      {},
      'allowed',
      [`allows ingress: No policy denies 5432/TCP from ${WEB} to ${DB}.`],
    ],
    [
      'a CNI of Google, which may match the address of an API server outside',
      'gke-dataplane-v2',
      [onDb(block('192.168.0.100/32'))],
      `api-server -> ${DB} 1`,
      {},
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/np #0 at spec.ingress[0]: Whether spec.ingress[0] of NetworkPolicy shop/np admits 1/TCP from api-server to ${DB} cannot be told: whether an ipBlock matches api-server under this CNI (gke-dataplane-v2) is not known.`,
      ],
    ],
    [
      'one of two addresses of the first pod',
      'x',
      [onDb(block('10.0.0.0/8'))],
      IN,
      webs('10.0.1.1,fd00::1@n1', '10.0.1.3@n1'),
      'unknown',
      [
        `unknown ingress: Whether NetworkPolicy shop/np admits 5432/TCP from ${WEB} to ${DB} cannot be told: labels, names or addresses that it asks for are not known.`,
      ],
    ],
    [
      'one of two addresses of the last pod',
      'x',
      [onDb(block('10.0.0.0/8'))],
      IN,
      webs('10.0.1.3@n1', '10.0.1.1,fd00::1@n1'),
      'unknown',
      [
        `unknown ingress: Whether NetworkPolicy shop/np admits 5432/TCP from ${WEB} to ${DB} cannot be told: labels, names or addresses that it asks for are not known.`,
      ],
    ],
    [
      'the first pod perhaps, the last surely',
      'x',
      [onDb(block('10.0.1.0/30'))],
      `api-server -> ${DB} 1`,
      { apiServer: ['10.0.1.0/24', '10.0.1.1/32'], cni: { ipBlockMatches: ['api-server'] } },
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/np #0 at spec.ingress[0]: Whether spec.ingress[0] of NetworkPolicy shop/np admits 1/TCP from api-server to ${DB} cannot be told: the address of api-server is not known, or not the same for all of it.`,
      ],
    ],
    [
      'the first surely, the last perhaps',
      'x',
      [onDb(block('10.0.1.0/30'))],
      `api-server -> ${DB} 1`,
      { apiServer: ['10.0.1.1/32', '10.0.1.0/24'], cni: { ipBlockMatches: ['api-server'] } },
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/np #0 at spec.ingress[0]: Whether spec.ingress[0] of NetworkPolicy shop/np admits 1/TCP from api-server to ${DB} cannot be told: the address of api-server is not known, or not the same for all of it.`,
      ],
    ],
    [
      'no rule admits, of one that selects and one that may',
      'x',
      [np({ podSelector: PERHAPS }), np({ podSelector: app('db') }, 'shop/z')],
      IN,
      {},
      'denied',
      [
        `denies ingress by NetworkPolicy shop/z: NetworkPolicy shop/z isolates ${DB} for ingress, and no rule admits 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'an address or a label',
      'x',
      [onDb({ from: [{ podSelector: app('x') }, { ipBlock: { cidr: '9.0.0.0/8' } }] })],
      `external:a.test -> ${DB} 1`,
      {},
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/np #0 at spec.ingress[0]: Whether spec.ingress[0] of NetworkPolicy shop/np admits 1/TCP from external:a.test to ${DB} cannot be told: the address of external:a.test is not known, or not the same for all of it.`,
      ],
    ],
    [
      'a rule of another port before the one in doubt',
      'x',
      [
        onDb(
          { from: [{ podSelector: PERHAPS }], ports: [{ port: 1 }, { port: 6000 }] },
          { from: [{ podSelector: PERHAPS }], ports: [{ port: 5432 }] },
        ),
      ],
      IN,
      {},
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/np #1 at spec.ingress[1]: Whether spec.ingress[1] of NetworkPolicy shop/np admits 5432/TCP from ${WEB} to ${DB} cannot be told: it asks for what only some of ${WEB} may have.`,
      ],
    ],
    [
      'a port name of a destination that is not known',
      'x',
      [outOfWeb({ ports: [{ port: 'p' }] })],
      `${WEB} -> unknown 1`,
      {},
      'unknown',
      [
        `unknown egress by NetworkPolicy shop/np #0 at spec.egress[0]: Whether spec.egress[0] of NetworkPolicy shop/np admits 1/TCP from ${WEB} to unknown: cannot be told: which port a name of it stands for is not known.`,
      ],
    ],
    [
      'a name under Cilium, and a pod',
      'cilium',
      [cil({ endpointSelector: app('web'), egress: [{ toFQDNs: [{ matchPattern: '*' }] }] })],
      IN,
      {},
      'denied',
      [
        `denies egress by CiliumNetworkPolicy shop/c: CiliumNetworkPolicy shop/c isolates ${WEB} for egress, and no rule admits 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'an admin policy of egress',
      'ovn-kubernetes',
      [outOf({ action: 'Deny', to: [{ namespaces: {} }] })],
      IN,
      {},
      'denied',
      [
        `denies egress by AdminNetworkPolicy p1 #0 at spec.egress[0]: spec.egress[0] of AdminNetworkPolicy p1 denies 5432/TCP from ${WEB} to ${DB}.`,
      ],
    ],
    [
      'a policy after an admin policy, and an endpoint that is not known',
      'ovn-kubernetes',
      [anp(1, { ingress: [deny(port(9))] }), onDb({ ports: [{ port: 1 }] })],
      `unknown -> ${DB} 5432`,
      {},
      'unknown',
      [
        `unknown ingress by NetworkPolicy shop/np: Whether NetworkPolicy shop/np decides on 5432/TCP from unknown: to ${DB} cannot be told: labels, names, ports or addresses that it asks for are not known.`,
      ],
    ],
    [
      'a policy that may select the pods and admits before a baseline',
      'ovn-kubernetes',
      [
        manifest('policy.networking.k8s.io/v1alpha1', 'BaselineAdminNetworkPolicy', 'default', {
          subject: { namespaces: {} },
          ingress: [deny(port(1, 9999))],
        }),
        np({ podSelector: PERHAPS, ingress: [{}] }),
      ],
      IN,
      {},
      'unknown',
      [
        `unknown ingress: Whether NetworkPolicy shop/np decides on 5432/TCP from ${WEB} to ${DB} cannot be told: labels, names, ports or addresses that it asks for are not known.`,
      ],
    ],
  ])('%s', (name, cni, policies, text, sketch, answer, expected) => {
    const verdict = evaluateConnection(clusterWith(cni, policies, sketch), connection(text));
    expect(verdict.answer).toBe(answer);
    const said = verdict.reasons
      .filter((reason) => name === 'nothing isolates' || !reason.text.startsWith(QUIET))
      .map(({ layer, decision, direction, object, rule, field, text: why }) => {
        expect(layer).toBe('network-policy');
        const by = object === undefined ? '' : ` by ${object}`;
        const at = rule === undefined && field === undefined ? '' : ` #${rule ?? '?'} at ${field ?? '?'}`;
        return `${decision} ${direction ?? '?'}${by}${at}: ${why}`;
      });
    expect(said).toEqual(expected);
  });

  it('names what stands against it first, and in one sentence', () => {
    const ask = (policies: readonly KubeManifest[]): string =>
      mainReason(evaluateConnection(clusterWith('x', policies), connection(IN)));
    expect(ask([])).toBe(`${QUIET}${WEB} for egress.`);
    expect(ask([onDb()])).toBe(
      `NetworkPolicy shop/np isolates ${DB} for ingress, and no rule admits 5432/TCP from ${WEB} to ${DB}.`,
    );
    expect(mainReason({ answer: 'allowed', reasons: [] })).toBe('');
  });

  it('says why a kind is not evaluated here, whatever it said elsewhere', () => {
    const tiered = manifest(V3, 'GlobalNetworkPolicy', 'g', { tier: 'sec', ingress: [{ action: 'x' }] });
    const plainInTier = manifest(V3, 'GlobalNetworkPolicy', 'h', { tier: 'sec', ingress: [{ action: 'Deny' }] });
    const why = (cni: string, policies: readonly KubeManifest[]): string =>
      mainReason(evaluateConnection(clusterWith(cni, policies), connection(IN))).replace(/^.*not evaluated/u, '');
    expect(why('x', [tiered])).toBe(': it is of Calico, and the CNI is x.');
    expect(why('y', [tiered])).toBe(': it is of Calico, and the CNI is y.');
    expect(why('calico', [tiered])).toBe(': spec is not plain.');
    expect(why('calico', [tiered, tier('sec', {})])).toBe(': spec.ingress[0] is not plain.');
    expect(why('calico', [tiered])).toBe(': spec is not plain.');
    expect(why('calico', [plainInTier])).toBe(': its tier sec is not known.');
  });

  it('says the same of several pod sets once', () => {
    const world = clusterWith('x', [outOfWeb()], withSets);
    expect(evaluateConnection(world, connection(`${WEB} -> ${TF} 1`)).reasons.map(({ text }) => text)).toEqual([
      `NetworkPolicy shop/np isolates ${WEB} for egress, and no rule admits 1/TCP from ${WEB} to ${TF} (Master).`,
      `NetworkPolicy shop/np isolates ${WEB} for egress, and no rule admits 1/TCP from ${WEB} to ${TF} (Worker).`,
      `${QUIET}${TF} (Master) for ingress.`,
      `${QUIET}${TF} (Worker) for ingress.`,
    ]);
    expect(evaluateConnection(world, connection(`${TF} -> ${WEB} 1`)).reasons.map(({ text }) => text)).toEqual([
      `${QUIET}${TF} (Master) for egress.`,
      `${QUIET}${WEB} for ingress.`,
      `${QUIET}${TF} (Worker) for egress.`,
    ]);
  });
});

describe('what an answer says of itself in ambient mode', () => {
  const API = 'shop/Deployment/api';
  const OLD = 'legacy/Deployment/old';
  const NOTE = '(tunnelled to port 15008; not proven on packets)';
  const api = { labels: { app: 'api' }, account: 'api', probes: [9000], pods: ['10.0.0.2@n1', '10.0.0.3@n2'] };
  const ambient = (mesh: 'ambient' | 'unknown', namespaces: InventorySketch['namespaces'] = {}): InventorySketch => ({
    mesh: { kind: 'istio', mode: 'ambient', version: '1.29.0' },
    namespaces,
    workloads: {
      [WEB]: { labels: { app: 'web' }, mesh: 'ambient', account: 'web', pods: ['10.0.0.1@n1'] },
      [API]: { ...api, mesh },
      [OLD]: { labels: { app: 'old' }, pods: ['10.0.0.4@n1'] },
    },
    nodes: { n1: ['192.168.0.1'], n2: ['192.168.0.2'] },
  });
  const onApi = (...ports: readonly number[]): KubeManifest =>
    np({ podSelector: app('api'), ingress: ports.map((one) => ({ ports: [{ port: one }] })) });
  const isolates = (port: string, from = WEB): string =>
    `NetworkPolicy shop/np isolates ${API} for ingress, and no rule admits ${port} from ${from} to ${API}.`;
  const admits = (index: number, port: string): string =>
    `spec.ingress[${index}] of NetworkPolicy shop/np admits ${port} from ${WEB} to ${API}.`;
  const SURELY = ambient('ambient');
  const PERHAPS_IN = ambient('unknown');
  const PROBE =
    "(the node's own traffic comes from 169.254.7.127 there, which networks treat differently; not proven on packets)";
  it.each<[string, readonly KubeManifest[], string, InventorySketch, string, readonly string[]]>([
    ['a tunnel', [onApi(8080)], `${WEB} -> ${API} 8080`, SURELY, 'denied', [`denies ${isolates('15008/TCP')} ${NOTE}`]],
    [
      'a tunnel for a range',
      [onApi(8080)],
      `${WEB} -> ${API} 80-90`,
      SURELY,
      'denied',
      [`denies ${isolates('15008/TCP')} ${NOTE}`],
    ],
    [
      'a tunnel that is admitted',
      [onApi(15008)],
      `${WEB} -> ${API} 80`,
      SURELY,
      'allowed',
      [`allows ${admits(0, '15008/TCP')} ${NOTE}`],
    ],
    [
      'no tunnel from outside',
      [onApi(8080)],
      `${OLD} -> ${API} 8080`,
      SURELY,
      'allowed',
      [`allows ${admits(0, '8080/TCP').replace(WEB, OLD)}`],
    ],
    [
      'perhaps a tunnel',
      [onApi(8080)],
      `${WEB} -> ${API} 8080`,
      PERHAPS_IN,
      'unknown',
      [`unknown ${isolates('15008/TCP')} ${NOTE}`],
    ],
    [
      'perhaps a tunnel, and both are admitted',
      [onApi(8080, 15008)],
      `${WEB} -> ${API} 8080`,
      PERHAPS_IN,
      'allowed',
      [`allows ${admits(1, '15008/TCP')} ${NOTE}`, `allows ${admits(0, '8080/TCP')}`],
    ],
    [
      'perhaps a tunnel, and neither is',
      [onApi(1)],
      `${WEB} -> ${API} 80-90`,
      PERHAPS_IN,
      'denied',
      [`denies ${isolates('15008/TCP')} ${NOTE}`, `denies ${isolates('80-90/TCP')}`],
    ],
    [
      'the probe of a kubelet',
      [onApi(1)],
      `node -> ${API} 9000`,
      SURELY,
      'unknown',
      [`unknown ${isolates('9000/TCP', 'external:169.254.7.127')} ${PROBE}`],
    ],
    [
      'the probe of a kubelet, by the name of the node',
      [onApi(1)],
      `node:n1 -> ${API} 9000`,
      PERHAPS_IN,
      'allowed',
      [`allows Traffic between ${API} and its own node is always allowed.`],
    ],
    [
      'a waypoint that is not there',
      [onApi(1)],
      `${WEB} -> ${API} 80`,
      ambient('ambient', { shop: { 'istio.io/use-waypoint': 'wp' } }),
      'unknown',
      [
        'unknown Waypoint shop/wp is named for namespace shop, and its Gateway is not among what was read. (not proven on packets)',
      ],
    ],
  ])('%s', (_, policies, text, sketch, answer, expected) => {
    const world = clusterWith('x', policies, sketch);
    const verdict = evaluateConnection(world, connection(text));
    expect(verdict.answer).toBe(answer);
    const said = verdict.reasons.filter(({ layer, text: why }) => layer === 'network-policy' && !why.startsWith(QUIET));
    expect(said.map(({ decision, text: why }) => `${decision} ${why}`)).toEqual(expected);
  });

  it('asks the mesh about the request', () => {
    const web = { labels: { app: 'web' }, mesh: 'sidecar', account: 'web' } as const;
    const policy = manifest('security.istio.io/v1', 'AuthorizationPolicy', 'shop/d', {
      action: 'DENY',
      rules: [{ when: [{ key: 'request.headers[x-team]', values: ['b'] }] }],
    });
    const world = clusterWith('x', [policy], {
      mesh: { kind: 'istio', mode: 'sidecar', version: '1.29.0' },
      workloads: { [WEB]: web, [API]: { ...web, labels: { app: 'api' }, ports: ['http=8080'] } },
      services: [{ name: 'shop/api', selects: [API], ports: ['http:8080'] }],
    });
    const ask = (team: string): string =>
      evaluateConnection(world, {
        ...connection(`${WEB} -> ${API} 8080 GET /`),
        request: { host: 'api', headers: { 'x-team': team } },
      }).answer;
    expect(ask('b')).toBe('denied');
    expect(ask('c')).toBe('allowed');
    expect(evaluateConnection(world, connection(`${WEB} -> ${API} 8080 GET /`)).answer).toBe('unknown');
  });

  it('leaves either layer out on request', () => {
    const strict = manifest('security.istio.io/v1', 'PeerAuthentication', 'shop/d', { mtls: { mode: 'STRICT' } });
    const world = clusterWith('x', [strict, onApi(8080)], SURELY);
    const ask = (text: string, layers: { readonly mesh?: boolean; readonly networkPolicy?: boolean }): string => {
      const { answer, reasons } = evaluateConnection(world, connection(text), layers);
      return [answer, ...new Set(reasons.map(({ layer }) => layer))].join(' ');
    };
    expect(ask(`${OLD} -> ${API} 8080`, {})).toBe('denied mtls network-policy');
    expect(ask(`${OLD} -> ${API} 8080`, { mesh: true, networkPolicy: true })).toBe('denied mtls network-policy');
    expect(ask(`${OLD} -> ${API} 8080`, { mesh: false })).toBe('allowed network-policy');
    expect(ask(`${OLD} -> ${API} 8080`, { networkPolicy: false })).toBe('denied mtls');
    expect(ask(`${OLD} -> ${API} 8080`, { mesh: false, networkPolicy: false })).toBe('allowed');
    // Without the mesh there is no tunnel.
    expect(ask(`${WEB} -> ${API} 8080`, { mesh: false })).toBe('allowed network-policy');
    expect(ask(`${WEB} -> ${API} 8080`, {})).toBe('denied network-policy mtls');
  });
});
