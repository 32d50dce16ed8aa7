import type { Edge } from '../../model/edge.ts';
import type { Inventory, ServiceInfo, ServicePort, Workload } from '../../model/inventory.ts';
import { INTERCEPTION_MODE, UNREDIRECTED_PORTS, isLeftOut } from '../../model/istio-party.ts';
import { speaksHttp } from '../../model/istio-protocol.ts';
import type { KubeManifest, ObjectRef } from '../../model/object.ts';
import type { ProxyFigures, ServiceFigures, TuningMetrics } from '../../model/tuning.ts';
import type { FieldPath, Json } from '../../shared/pure/json.ts';

export const TUNING_KINDS = [
  'connection-pool',
  'http2',
  'tls-resumption',
  'ext-authz-cache',
  'batching',
  'proxy-resources',
  'sidecar-scope',
  'ambient',
  'hardware-offload',
] as const;
export type TuningKind = (typeof TUNING_KINDS)[number];

/** A figure that a proposal rests on. */
export interface TuningEvidence {
  readonly metric: string;
  readonly value: number;
  readonly unit: string;
}

/** How much less of one metric is expected, in percent of what was measured. */
export interface ExpectedGain {
  /** The figure that is compared again afterwards. */
  readonly metric: string;
  readonly before: number;
  readonly unit: string;
  readonly lowPercent: number;
  readonly highPercent: number;
  /** The formula with its figures. */
  readonly derivation: string;
}

/** One write of a proposal. Settings of a pool are merged into what the rule of the Service says when the step is made. */
export type TuningWrite =
  | { readonly kind: 'object'; readonly object: KubeManifest }
  | {
      readonly kind: 'pool';
      readonly service: { readonly namespace: string; readonly name: string };
      readonly port: number;
      readonly http?: Readonly<Record<string, Json>>;
      readonly tcp?: Readonly<Record<string, Json>>;
    }
  | {
      readonly kind: 'fields';
      readonly ref: ObjectRef;
      readonly fields: readonly { readonly path: FieldPath; readonly after: Json }[];
      /** Its pods are replaced. */
      readonly workload: string;
    };

export interface Proposal {
  /** `http2:shop/web:8080`; stable. */
  readonly id: string;
  readonly kind: TuningKind;
  readonly namespace: string;
  readonly subject: string;
  readonly title: string;
  /**
   * `apply`: may be applied as steps. `instruct`: what is to be done is none of our objects, and is printed. `refused`: evidence calls for it, and a
   * condition stands against it. `unknown`: something that the condition rests on was not measured.
   */
  readonly answer: 'apply' | 'instruct' | 'refused' | 'unknown';
  readonly evidence: readonly TuningEvidence[];
  /** Absent where what it would gain cannot be told. */
  readonly gain?: ExpectedGain;
  readonly risks: readonly string[];
  /** Why it is refused or unknown. */
  readonly because: readonly string[];
  readonly writes: readonly TuningWrite[];
  /** What a person does, where it is not ours to write. */
  readonly instruction: readonly string[];
  /** Pages of documentation, or places in source, that the rule is taken from. */
  readonly sources: readonly string[];
}

/** All that proposals are made from. */
export interface TuningInput {
  readonly namespace: string;
  readonly inventory: Inventory;
  /** Every object that was read: rules, routes, Sidecars. */
  readonly objects: readonly KubeManifest[];
  /** Edges that must keep working. */
  readonly edges: readonly Edge[];
  readonly metrics: TuningMetrics;
  /** Hours that the record of edges spans, and how many are asked for before anything may be hidden. */
  readonly evidenceHours: number;
  readonly neededHours: number;
  /** Reads YAML, of which the mesh configuration is a text: null where it is empty, undefined where it does not parse. */
  readonly parseText: (text: string) => Json | undefined;
}

/** A proposal from what differs between proposals: refused where something stands against it, unknown where something is missing. */
export function makeProposal(
  of: Pick<Proposal, 'kind' | 'namespace' | 'subject' | 'title' | 'evidence' | 'sources'> & {
    readonly gain?: ExpectedGain | undefined;
    readonly risks?: readonly string[];
    readonly refused?: readonly string[];
    readonly unknown?: readonly string[];
    readonly writes?: readonly TuningWrite[];
    readonly instruction?: readonly string[];
  },
): Proposal {
  const { refused = [], unknown = [], writes = [], gain } = of;
  const answer =
    refused.length > 0 ? 'refused' : unknown.length > 0 ? 'unknown' : writes.length > 0 ? 'apply' : 'instruct';
  return {
    id: `${of.kind}:${of.subject}`,
    kind: of.kind,
    namespace: of.namespace,
    subject: of.subject,
    title: of.title,
    answer,
    evidence: of.evidence,
    ...(gain === undefined ? {} : { gain }),
    risks: of.risks ?? [],
    because: [...refused, ...unknown],
    writes: answer === 'apply' ? writes : [],
    instruction: of.instruction ?? [],
    sources: of.sources,
  };
}

/** A range of percent, whole numbers, never the wrong way round. */
export function percentRange(low: number, high: number): Pick<ExpectedGain, 'lowPercent' | 'highPercent'> {
  const [a, b] = [low, high].map((share) => Math.round(Math.min(1, Math.max(0, share)) * 100));
  return { lowPercent: Math.min(a ?? 0, b ?? 0), highPercent: Math.max(a ?? 0, b ?? 0) };
}

export function evidenceOf(
  ...figures: readonly (readonly [string, number | undefined, string])[]
): readonly TuningEvidence[] {
  return figures.flatMap(([metric, value, unit]) => (value === undefined ? [] : [{ metric, value, unit }]));
}

/** One port of a Service of the namespace with what was measured of it. */
export interface MeasuredPort {
  readonly service: ServiceInfo;
  readonly port: ServicePort;
  readonly figures: ServiceFigures;
  /** What the port declares: HTTP, no HTTP, or nothing, so that proxies detect it. */
  readonly http: boolean | undefined;
  readonly subject: string;
}

/** TCP ports of the namespace's Services with figures. A figure without a port is that of the only TCP port, or of none. */
export function measuredPorts({ namespace, inventory, metrics }: TuningInput): readonly MeasuredPort[] {
  const services = inventory.services.filter((one) => one.namespace === namespace);
  return services.flatMap((service) => {
    const tcp = service.ports.filter(({ protocol }) => protocol === 'TCP');
    const mine = metrics.services.filter((one) => one.namespace === namespace && one.service === service.name);
    const whole = mine.find((one) => one.port === undefined);
    return tcp.flatMap((port): readonly MeasuredPort[] => {
      const own = mine.find((one) => one.port === port.port);
      const merged = tcp.length === 1 && whole !== undefined ? { ...whole, ...own } : own;
      if (merged === undefined) return [];
      return [
        {
          service,
          port,
          figures: merged,
          http: speaksHttp(port.appProtocol, port.name, port.port),
          subject: `${namespace}/${service.name}:${port.port}`,
        },
      ];
    });
  });
}

export function hostOf({ namespace, name }: { readonly namespace: string; readonly name: string }): string {
  return `${name}.${namespace}.svc.cluster.local`;
}

export function workloadsIn({ namespace, inventory }: TuningInput): readonly Workload[] {
  return inventory.workloads.filter((one) => one.namespace === namespace);
}

export function proxyOf({ metrics }: TuningInput, workload: string): ProxyFigures | undefined {
  return metrics.proxies.find((one) => one.workload === workload);
}

/** Workloads behind a Service without a sidecar in every pod, or of which that is not known. */
export function withoutSidecar(input: TuningInput, service: ServiceInfo): readonly string[] {
  return behind(input, service, ({ mesh, hostNetwork }) => mesh !== 'sidecar' || hostNetwork);
}

/** Workloads behind a port of a Service whose pods have a proxy, and take what comes to that port, or may take it, past it. */
export function pastProxy(input: TuningInput, service: ServiceInfo, { targetPort }: ServicePort): readonly string[] {
  return behind(input, service, ({ annotations, containers }) => {
    const of = (key: string): string | undefined => (Object.hasOwn(annotations, key) ? annotations[key] : undefined);
    if (of(INTERCEPTION_MODE) === 'NONE') return true;
    // An empty list redirects nothing, whichever ports there are.
    if (of('traffic.sidecar.istio.io/includeInboundPorts')?.trim() === '') return true;
    const ports =
      typeof targetPort === 'number'
        ? [targetPort]
        : containers.flatMap((one) => one.ports.flatMap(({ name, port }) => (name === targetPort ? [port] : [])));
    // A name that leads to no port on record may lead to any that is left out.
    if (ports.length === 0)
      return Object.keys(annotations).some((key) =>
        /^traffic\.sidecar\.istio\.io\/(?:in|ex)cludeInboundPorts$/u.test(key),
      );
    return ports.some((port) => UNREDIRECTED_PORTS.has(port) || isLeftOut(annotations, port));
  });
}

function behind(
  { inventory }: TuningInput,
  service: ServiceInfo,
  which: (pods: Workload['podSets'][number]) => boolean,
): readonly string[] {
  const ids = new Set(service.workloads);
  return inventory.workloads.filter((one) => ids.has(one.id) && one.podSets.some(which)).map((one) => one.id);
}
