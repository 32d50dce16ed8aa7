// EndpointSlices of Services, and PodDisruptionBudgets.
import {
  controllerUidOf,
  hashOf,
  holds,
  isDeleting,
  matchesLabels,
  matchesSelector,
  nameOf,
  namespaceOf,
  ownerReferenceTo,
  resources,
  stableJson,
  stampConditions,
  uidOf,
  header,
} from '../objects.ts';
import type { Container, EndpointSlice, Pod, Service } from '../objects.ts';
import { isReady } from '../pods.ts';
import { countOf, report } from './owned-pods.ts';
import type { Pass, World } from '../world.ts';

const managedByLabel = 'endpointslice.kubernetes.io/managed-by';
const sliceController = 'endpointslice-controller.k8s.io';

type SlicePort = NonNullable<EndpointSlice['ports']>[number];

export async function reconcileService(pass: Pass, service: Service): Promise<void> {
  const selector = service.spec?.selector;
  if (service.spec?.type === 'ExternalName' || selector === undefined || Object.keys(selector).length === 0) return;
  const namespace = namespaceOf(service);
  const pods = pass.world.pods.filter(
    (pod) =>
      namespaceOf(pod) === namespace &&
      !isDeleting(pod) &&
      pod.status?.podIP !== undefined &&
      pod.status.phase === 'Running' &&
      matchesLabels(pod.metadata?.labels, selector),
  );
  // One slice for each way in which the pods resolve named ports.
  const groups = new Map<string, { ports: readonly SlicePort[]; pods: Pod[] }>();
  for (const pod of pods) {
    const ports = resolvePorts(service, pod);
    const key = stableJson(ports);
    const group = groups.get(key) ?? { ports, pods: [] };
    group.pods.push(pod);
    groups.set(key, group);
  }
  if (groups.size === 0) groups.set('', { ports: [], pods: [] });

  const headless = service.spec?.clusterIP === 'None';
  const existing = pass.world.endpointSlices.filter((slice) => controllerUidOf(slice) === uidOf(service));
  const kept = new Set<string>();
  for (const [key, group] of groups) {
    const name = `${nameOf(service).slice(0, 57)}-${hashOf([uidOf(service), key], 5)}`;
    kept.add(name);
    const body = { endpoints: group.pods.map((pod) => endpointOf(service, pod)).sort(byAddress), ports: group.ports };
    const before = existing.find((slice) => nameOf(slice) === name);
    if (before !== undefined) {
      if (!holds(before, body)) await pass.writer.patch(resources.endpointSlices, before, body);
      continue;
    }
    const slice = {
      ...header(resources.endpointSlices),
      metadata: {
        name,
        namespace,
        labels: {
          ...service.metadata?.labels,
          'kubernetes.io/service-name': nameOf(service),
          [managedByLabel]: sliceController,
          ...(headless ? { 'service.kubernetes.io/headless': '' } : {}),
        },
        ownerReferences: [ownerReferenceTo(service, resources.services)],
      },
      addressType: 'IPv4',
      ...body,
    };
    await pass.writer.create(resources.endpointSlices, slice);
  }
  for (const slice of existing) {
    if (!kept.has(nameOf(slice)) && slice.metadata?.labels?.[managedByLabel] === sliceController) {
      await pass.writer.remove(resources.endpointSlices, slice);
    }
  }
}

function byAddress(a: { addresses: readonly string[] }, b: { addresses: readonly string[] }): number {
  return (a.addresses[0] ?? '') < (b.addresses[0] ?? '') ? -1 : 1;
}

function endpointOf(service: Service, pod: Pod): { addresses: readonly string[]; [field: string]: unknown } {
  const ready = isReady(pod);
  return {
    addresses: [pod.status?.podIP ?? ''],
    conditions: { ready: ready || service.spec?.publishNotReadyAddresses === true, serving: ready, terminating: false },
    nodeName: pod.spec?.nodeName,
    targetRef: { kind: 'Pod', namespace: namespaceOf(pod), name: nameOf(pod), uid: uidOf(pod) },
    ...(pod.spec?.subdomain !== undefined && pod.spec.subdomain === nameOf(service)
      ? { hostname: pod.spec.hostname }
      : {}),
  };
}

function resolvePorts(service: Service, pod: Pod): readonly SlicePort[] {
  const sidecars = (pod.spec?.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always');
  const containers: readonly Container[] = [...(pod.spec?.containers ?? []), ...sidecars];
  return (service.spec?.ports ?? []).flatMap(({ name, port, protocol = 'TCP', targetPort = port, appProtocol }) => {
    const number =
      typeof targetPort === 'number'
        ? targetPort
        : containers
            .flatMap((container) => container.ports ?? [])
            .find((candidate) => candidate.name === targetPort && (candidate.protocol ?? 'TCP') === protocol)
            ?.containerPort;
    if (number === undefined) return [];
    return [{ name: name ?? '', port: number, protocol, ...(appProtocol === undefined ? {} : { appProtocol }) }];
  });
}

export async function reconcileDisruptionBudget(pass: Pass, budget: World['disruptionBudgets'][number]): Promise<void> {
  const selector = budget.spec?.selector;
  const pods =
    selector === undefined
      ? []
      : pass.world.pods.filter(
          (pod) =>
            namespaceOf(pod) === namespaceOf(budget) &&
            !isDeleting(pod) &&
            matchesSelector(pod.metadata?.labels, selector),
        );
  const expected = pods.length;
  const healthy = pods.filter(isReady).length;
  const { minAvailable, maxUnavailable } = budget.spec ?? {};
  const desired =
    minAvailable !== undefined
      ? countOf(minAvailable, expected, Math.ceil)
      : Math.max(0, expected - countOf(maxUnavailable ?? 1, expected, Math.ceil));
  const allowed = Math.max(0, healthy - desired);
  const reason = allowed > 0 ? 'SufficientPods' : 'InsufficientPods';
  const condition = { type: 'DisruptionAllowed', status: allowed > 0 ? 'True' : 'False', reason, message: '' };
  await report(pass, resources.disruptionBudgets, budget, {
    observedGeneration: budget.metadata?.generation ?? 0,
    expectedPods: expected,
    currentHealthy: healthy,
    desiredHealthy: desired,
    disruptionsAllowed: allowed,
    conditions: stampConditions(budget.status?.conditions, [condition], pass.now()),
  });
}
