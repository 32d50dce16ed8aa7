import type { Workload } from '../../model/inventory.ts';
import { followsTemplate } from '../../model/inventory.ts';
import { refKey, refOf } from '../../model/object.ts';
import type { ProxyFigures } from '../../model/tuning.ts';
import { short } from '../../model/tuning.ts';
import { asArray, asObject, asString, asStringMap, getPath, isJsonObject } from '../../shared/pure/json.ts';
import type { Json, JsonObject } from '../../shared/pure/json.ts';
import type { Proposal, TuningInput } from './proposal.ts';
import { evidenceOf, makeProposal, percentRange, proxyOf, workloadsIn } from './proposal.ts';

/** Held back in more of its periods than this, a proxy makes its requests wait. */
const THROTTLED = 0.05;
/** Of a limit or a request: from here on it is too tight, below there it is idle. */
const TIGHT = 0.8;
const IDLE = 0.3;
/** What is asked for lies so much over the peak. */
const ROOM = 1.5;
const LEAST_CPU = 0.01;
const LEAST_MEMORY = 64 * 1024 * 1024;
/** Rounded, so that the same load gives the same annotation. */
const STEP_CPU = 0.01;
const STEP_MEMORY = 16 * 1024 * 1024;

const KEYS = {
  cpuRequest: 'sidecar.istio.io/proxyCPU',
  cpuLimit: 'sidecar.istio.io/proxyCPULimit',
  memoryRequest: 'sidecar.istio.io/proxyMemory',
  memoryLimit: 'sidecar.istio.io/proxyMemoryLimit',
} as const;
type Part = keyof typeof KEYS;
type Resources = Readonly<Partial<Record<Part, number>>>;

/**
 * Requests and limits of proxies by what they use. Whoever sets one of Istio's four annotations takes the mesh's defaults away for all of them
 * (injection template of istio/istio, `resources`), so all that are in force are written together.
 */
export function proposeProxyResources(input: TuningInput): readonly Proposal[] {
  return workloadsIn(input).flatMap((workload) => {
    const figures = proxyOf(input, workload.id);
    if (figures === undefined || !workload.podSets.some(({ mesh }) => mesh === 'sidecar')) return [];
    const now = { ...resourcesOfPods(input, workload), ...definedOf(figures) };
    const found = findingsOf(figures, now);
    if (found.length === 0) return [];
    return [proposalOf(input, workload, figures, now, found)];
  });
}

interface Found {
  readonly metric: string;
  readonly before: number;
  readonly unit: string;
  readonly low: number;
  readonly high: number;
  readonly derivation: string;
  readonly set: Resources;
  readonly text: string;
}

function findingsOf(figures: ProxyFigures, now: Resources): readonly Found[] {
  const { throttledShare, cpuPeakCores, memoryBytes } = figures;
  const out: Found[] = [];
  const { cpuLimit, cpuRequest, memoryLimit, memoryRequest } = now;
  if (
    cpuLimit !== undefined &&
    ((throttledShare ?? 0) > THROTTLED || (cpuPeakCores !== undefined && cpuPeakCores > TIGHT * cpuLimit))
  ) {
    const limit = up(Math.max(cpuLimit * 2, (cpuPeakCores ?? 0) * 2), STEP_CPU);
    out.push({
      metric: 'periods in which a proxy was held back',
      before: (throttledShare ?? 0) * 100,
      unit: '%',
      low: 0.5,
      high: 1,
      derivation: `the CPU limit rises from ${short(cpuLimit)} to ${short(limit)} cores, twice the ${cpuPeakCores === undefined ? 'limit' : 'limit or the peak'}: what was held back at the old limit runs, but for peaks beyond the new one`,
      set: {
        cpuLimit: limit,
        ...(cpuRequest === undefined && cpuPeakCores === undefined
          ? {}
          : { cpuRequest: Math.max(cpuRequest ?? 0, up(cpuPeakCores ?? 0, STEP_CPU)) }),
      },
      text: 'is held back by its CPU limit',
    });
  }
  if (memoryBytes !== undefined && memoryLimit !== undefined && memoryBytes > TIGHT * memoryLimit) {
    const limit = up(memoryBytes * 2, STEP_MEMORY);
    out.push({
      metric: 'memory of the limit in use',
      before: (memoryBytes / memoryLimit) * 100,
      unit: '%',
      low: 1 - memoryLimit / limit,
      high: 1 - memoryLimit / limit,
      derivation: `${mib(memoryBytes)} of ${mib(memoryLimit)} are in use; of ${mib(limit)} it is ${short((memoryBytes / limit) * 100)} %`,
      set: { memoryLimit: limit, memoryRequest: Math.max(memoryRequest ?? 0, up(memoryBytes, STEP_MEMORY)) },
      text: 'is close to its memory limit, at which it is killed',
    });
  }
  if (out.length > 0) return out;
  if (cpuRequest !== undefined && cpuPeakCores !== undefined && cpuPeakCores < IDLE * cpuRequest) {
    const wanted = up(Math.max(LEAST_CPU, cpuPeakCores * ROOM), STEP_CPU);
    if (wanted < cpuRequest)
      out.push({
        metric: 'cores requested for each proxy',
        before: cpuRequest,
        unit: 'cores',
        low: 1 - wanted / cpuRequest,
        high: 1 - wanted / cpuRequest,
        derivation: `the busiest proxy peaked at ${short(cpuPeakCores)} cores; ${ROOM} times that is ${short(wanted)} of ${short(cpuRequest)} requested`,
        set: { cpuRequest: wanted },
        text: 'reserves far more CPU than it uses',
      });
  }
  if (memoryRequest !== undefined && memoryBytes !== undefined && memoryBytes < IDLE * memoryRequest) {
    const wanted = up(Math.max(LEAST_MEMORY, memoryBytes * ROOM), STEP_MEMORY);
    if (wanted < memoryRequest)
      out.push({
        metric: 'memory requested for each proxy',
        before: memoryRequest,
        unit: 'bytes',
        low: 1 - wanted / memoryRequest,
        high: 1 - wanted / memoryRequest,
        derivation: `the largest proxy took ${mib(memoryBytes)}; ${ROOM} times that is ${mib(wanted)} of ${mib(memoryRequest)} requested`,
        set: { memoryRequest: wanted },
        text: 'reserves far more memory than it uses',
      });
  }
  return out;
}

function proposalOf(
  input: TuningInput,
  workload: Workload,
  figures: ProxyFigures,
  now: Resources,
  found: readonly Found[],
): Proposal {
  const wanted: Resources = Object.assign({}, now, ...found.map(({ set }) => set)) as Resources;
  const [first] = found;
  const annotations = Object.entries(KEYS).flatMap(([part, key]) => {
    const value = wanted[part as Part];
    return value === undefined ? [] : [[key, part.startsWith('cpu') ? cpuText(value) : memoryText(value)] as const];
  });
  const path = workload.podSets.length === 1 ? workload.podSets[0]?.templatePath : undefined;
  const missing = (Object.keys(KEYS) as Part[]).filter((part) => now[part] === undefined);
  const target = path === undefined ? undefined : [...path, 'metadata', 'annotations'];
  const owner = input.objects.find((one) => refKey(refOf(one)) === refKey(workload.ref));
  // Two fields below a parent that is absent would each make it.
  const annotated = owner !== undefined && target !== undefined && isJsonObject(getPath(owner, target));
  const by = annotations.map(([key, value]) => `${key}: "${value}"`).join(', ');
  return makeProposal({
    kind: 'proxy-resources',
    namespace: workload.namespace,
    subject: workload.id,
    title: `the proxy of ${workload.id} ${found.map(({ text }) => text).join(' and ')}`,
    evidence: evidenceOf(
      ['CPU of the busiest proxy, peak', figures.cpuPeakCores, 'cores'],
      ['CPU request', now.cpuRequest, 'cores'],
      ['CPU limit', now.cpuLimit, 'cores'],
      [
        'periods in which a proxy was held back',
        figures.throttledShare === undefined ? undefined : figures.throttledShare * 100,
        '%',
      ],
      ['memory of the largest proxy', figures.memoryBytes, 'bytes'],
      ['memory request', now.memoryRequest, 'bytes'],
      ['memory limit', now.memoryLimit, 'bytes'],
    ),
    gain:
      first === undefined
        ? undefined
        : {
            metric: first.metric,
            before: first.before,
            unit: first.unit,
            ...percentRange(first.low, first.high),
            derivation: first.derivation,
          },
    risks: ['its pods are replaced one after another', 'a load that the window did not hold may need more'],
    refused: [
      ...(workload.batch
        ? [`${workload.id} ends by itself: its pods are never restarted; set the annotations in what creates it`]
        : []),
      ...(!workload.batch && (target === undefined || !followsTemplate(workload))
        ? [`the pods of ${workload.id} do not follow a template that is ours to edit`]
        : []),
    ],
    // A part that is not set is a part that the mesh leaves open as well: only where nothing at all was read is it not known.
    unknown:
      missing.length === 4 ? ['requests and limits in force were not read, and all four are replaced together'] : [],
    writes:
      target === undefined
        ? []
        : [
            {
              kind: 'fields',
              ref: workload.ref,
              workload: workload.id,
              fields: annotated
                ? annotations.map(([key, after]) => ({ path: [...target, key], after }))
                : [{ path: target, after: Object.fromEntries(annotations) }],
            },
          ],
    instruction: [`${workload.id}, pod template, annotations: ${by}`],
    sources: [
      'istio.io/latest/docs/reference/config/annotations (sidecar.istio.io/proxyCPU and its kin)',
      'github.com/istio/istio manifests/charts/istio-control/istio-discovery/files/injection-template.yaml (resources)',
    ],
  });
}

/** What the containers of running proxies say; nothing where no pod was read. */
function resourcesOfPods({ objects }: TuningInput, workload: Workload): Resources {
  const names = new Set(
    workload.podSets.flatMap(({ pods }) => pods.map(({ name }) => `/Pod/${workload.namespace}/${name}`)),
  );
  for (const object of objects) {
    if (object.kind !== 'Pod' || !names.has(refKey(refOf(object)))) continue;
    const spec = asObject(object['spec']);
    const proxy = [...asArray(spec['containers']), ...asArray(spec['initContainers'])]
      .map(asObject)
      .find((one) => one['name'] === 'istio-proxy');
    const resources = asObject(proxy?.['resources']);
    if (proxy !== undefined) return fromResources(resources);
  }
  return fromAnnotations(workload);
}

function fromResources(resources: JsonObject): Resources {
  const read = (side: string, what: string): number | undefined => parseQuantity(getPath(resources, [side, what]));
  return definedOf({
    cpuRequest: read('requests', 'cpu'),
    cpuLimit: read('limits', 'cpu'),
    memoryRequest: read('requests', 'memory'),
    memoryLimit: read('limits', 'memory'),
  });
}

function fromAnnotations({ podSets }: Workload): Resources {
  const annotations = asStringMap(podSets[0]?.annotations);
  return definedOf(
    Object.fromEntries(Object.entries(KEYS).map(([part, key]) => [part, parseQuantity(annotations[key])])),
  );
}

function definedOf(of: Readonly<Partial<Record<Part, number | undefined>>>): Resources {
  return Object.fromEntries(
    (Object.keys(KEYS) as Part[]).flatMap((part) => (of[part] === undefined ? [] : [[part, of[part]]])),
  );
}

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 1024,
  Mi: 1024 ** 2,
  Gi: 1024 ** 3,
  Ti: 1024 ** 4,
};

/** A quantity of Kubernetes (`100m`, `1Gi`) as a number; undefined for anything else. */
export function parseQuantity(value: Json | undefined): number | undefined {
  const text = typeof value === 'number' ? String(value) : asString(value);
  const match = /^(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?$/u.exec(text ?? '');
  const factor = UNITS[match?.[2] ?? ''];
  return match?.[1] === undefined || factor === undefined ? undefined : Number(match[1]) * factor;
}

function up(value: number, step: number): number {
  // Whole steps first: 0.03/0.01 is a little over three.
  return Math.ceil(Number((value / step).toFixed(6))) * step;
}

function cpuText(cores: number): string {
  return `${Math.round(cores * 1000)}m`;
}

function memoryText(bytes: number): string {
  return bytes % (1024 * 1024) === 0 ? `${bytes / (1024 * 1024)}Mi` : String(Math.round(bytes));
}

function mib(bytes: number): string {
  return `${short(bytes / (1024 * 1024))} MiB`;
}
