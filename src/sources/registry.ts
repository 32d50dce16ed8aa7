import { antreaSource } from './antrea/index.ts';
import { awsNetworkPolicySource } from './aws-network-policy/index.ts';
import { awsVpcSource } from './aws-vpc/index.ts';
import { azureSource } from './azure/index.ts';
import { calicoSource } from './calico/index.ts';
import { carettaSource } from './caretta/index.ts';
import { conntrackSource } from './conntrack/index.ts';
import { corootSource } from './coroot/index.ts';
import { edgesSource } from './edges/index.ts';
import { envoySource } from './envoy/index.ts';
import type { FlowSource } from './flow-source.ts';
import { timelySink } from './records.ts';
import { gcpSource } from './gcp/index.ts';
import { hubbleSource } from './hubble/index.ts';
import { inspektorGadgetSource } from './inspektor-gadget/index.ts';
import { istioSource } from './istio/index.ts';
import { kialiSource } from './kiali/index.ts';
import { kubescapeSource } from './kubescape/index.ts';
import { linkerdSource } from './linkerd/index.ts';
import { netobservSource } from './netobserv/index.ts';
import { otterizeSource } from './otterize/index.ts';
import { ovnSource } from './ovn/index.ts';
import { zeekSource } from './zeek/index.ts';
import { ztunnelSource } from './ztunnel/index.ts';

/** Every source of traffic, in the order of `observe --help`. None hands over a record whose time cannot be. */
export const FLOW_SOURCES: readonly FlowSource[] = [
  hubbleSource,
  calicoSource,
  istioSource,
  envoySource,
  ztunnelSource,
  kialiSource,
  linkerdSource,
  netobservSource,
  ovnSource,
  antreaSource,
  inspektorGadgetSource,
  awsVpcSource,
  awsNetworkPolicySource,
  gcpSource,
  azureSource,
  conntrackSource,
  zeekSource,
  carettaSource,
  corootSource,
  otterizeSource,
  kubescapeSource,
  edgesSource,
].map((source) => ({
  ...source,
  read: (input, sink, options) => source.read(input, timelySink(sink, options), options),
}));

export function findSource(name: string): FlowSource | undefined {
  return FLOW_SOURCES.find((source) => source.name === name);
}
