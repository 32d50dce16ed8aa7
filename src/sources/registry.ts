import { conntrackSource } from './conntrack/index.ts';
import { edgesSource } from './edges/index.ts';
import { envoySource } from './envoy/index.ts';
import type { FlowSource } from './flow-source.ts';
import { hubbleSource } from './hubble/index.ts';

/** Every source of traffic, in the order of `observe --help`. */
export const FLOW_SOURCES: readonly FlowSource[] = [hubbleSource, envoySource, conntrackSource, edgesSource];

export function findSource(name: string): FlowSource | undefined {
  return FLOW_SOURCES.find((source) => source.name === name);
}
