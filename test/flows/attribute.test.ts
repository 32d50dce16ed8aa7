import { describe, expect, it } from 'vitest';
import { createAttributor, wellKnownAddress } from '../../src/flows/attribute.ts';
import { fitsPodName } from '../../src/flows/owner.ts';
import { endpointKey } from '../../src/model/edge.ts';
import type { RawEnd } from '../../src/model/flow.ts';
import type { Inventory } from '../../src/model/inventory.ts';
import { DAY, HOUR, MONDAY, emptyInventory, end, pod, service, stamped, workload } from './build.ts';

const schedule = { cron: '0 1 * * *', suspended: false, by: 'CronJob' } as const;

const inventory: Inventory = emptyInventory({
  workloads: [
    workload('shop/Deployment/web', {
      labels: { app: 'web' },
      serviceAccount: 'web',
      ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
      pods: [pod('web-6d4cf56db6-x2x9k', '10.0.0.5', { startedAt: MONDAY + DAY })],
    }),
    workload('shop/Deployment/web-canary', { labels: { app: 'web', track: 'canary' } }),
    workload('shop/DaemonSet/agent', {
      hostNetwork: true,
      pods: [pod('agent-abcde', '192.168.1.1', { hostNetwork: true })],
    }),
    workload('shop/StatefulSet/db', {
      pods: [pod('db-0', '10.0.0.9', { startedAt: MONDAY, finishedAt: MONDAY + HOUR })],
    }),
    workload('batch/CronJob/nightly', { batch: true, schedule }),
    workload('train/PyTorchJob/gnn', {
      custom: true,
      batch: true,
      labels: { 'training.kubeflow.org/job-name': 'gnn', 'training.kubeflow.org/replica-type': 'worker' },
    }),
    workload('serve/InferenceService/scorer', {
      custom: true,
      labels: { 'serving.kserve.io/inferenceservice': 'scorer' },
    }),
    workload('ray/RayJob/tune', { custom: true, labels: { 'ray.io/node-type': 'head' } }),
  ],
  services: [
    service('shop/web', {
      clusterIPs: ['10.96.0.10'],
      ports: [{ port: 80, targetPort: 'http', protocol: 'TCP' }],
      workloads: ['shop/Deployment/web'],
    }),
    service('shop/all', {
      clusterIPs: ['10.96.0.11'],
      ports: [{ port: 80, targetPort: 8080, protocol: 'TCP' }],
      workloads: ['shop/Deployment/web', 'shop/Deployment/web-canary'],
    }),
    service('shop/odd', {
      clusterIPs: ['10.96.0.12'],
      ports: [{ port: 80, targetPort: 'nobody', protocol: 'TCP' }],
      workloads: ['shop/Deployment/web'],
    }),
    service('default/kubernetes', {
      clusterIPs: ['10.96.0.1'],
      ports: [{ port: 443, targetPort: 6443, protocol: 'TCP' }],
    }),
  ],
  nodes: [{ name: 'n1', addresses: ['192.168.1.1', 'FD00::1'], podCIDRs: ['10.0.0.0/16'] }],
  facts: { ...emptyInventory().facts, apiServer: ['172.16.0.10/32'] },
});

function resolve(raw: RawEnd, time = MONDAY, port?: number, from = inventory): string {
  const attributor = createAttributor(from);
  const { party, run, port: target } = attributor.attribute(raw, time, 'TCP', port);
  const endpoint = attributor.settle(party, time, time);
  const why = endpoint.kind === 'unknown' ? ` (${endpoint.why})` : '';
  return `${endpointKey(endpoint)}${target === undefined ? '' : ` :${target}`}${run === undefined ? '' : ` in ${run}`}${why}`;
}

describe('what a record says of an end', () => {
  it.each<[string, RawEnd, string]>([
    ['the host is the node', end({ reserved: ['host'], ip: '10.0.0.1' }), 'node'],
    ['another node than the own is not the kubelet', end({ reserved: ['remote-node'] }), 'node:remote'],
    ['the API server outweighs its node', end({ reserved: ['kube-apiserver', 'remote-node'] }), 'api-server'],
    [
      'the world with one name is that name',
      end({ reserved: ['world'], names: ['pypi.example'], ip: '203.0.113.1' }),
      'external:pypi.example',
    ],
    [
      'the world without a name is its address',
      end({ reserved: ['world'], ip: '203.0.113.1' }),
      'external:203.0.113.1',
    ],
    ['a known workload', stamped('shop/Deployment/web'), 'shop/Deployment/web'],
    ['the Deployment of a ReplicaSet', stamped('shop/ReplicaSet/web-6d4cf56db6'), 'shop/Deployment/web'],
    ['a ReplicaSet of nobody', stamped('shop/ReplicaSet/alone-aeiou'), 'shop/ReplicaSet/alone-aeiou'],
    [
      'the CronJob of a Job, with the run',
      stamped('batch/Job/nightly-29852700'),
      'batch/CronJob/nightly in nightly-29852700',
    ],
    ['a CronJob that is gone', stamped('batch/Job/weekly-29852700'), 'batch/CronJob/weekly in weekly-29852700'],
    ['a workload that is gone', stamped('shop/Deployment/gone', { labels: { app: 'web' } }), 'shop/Deployment/gone'],
    ['a host-network workload is the node', stamped('shop/DaemonSet/agent'), 'node'],
    ['a pod of the inventory', end({ namespace: 'shop', pod: 'db-0' }), 'shop/StatefulSet/db'],
    ['a pod by its name', end({ namespace: 'shop', pod: 'web-7c5ddbdf54-abcde' }), 'shop/Deployment/web'],
    [
      'a pod by its longest name',
      end({ namespace: 'shop', pod: 'web-canary-7c5ddbdf54-abcde' }),
      'shop/Deployment/web-canary',
    ],
    [
      'a run by its pod name',
      end({ namespace: 'batch', pod: 'nightly-29852700-x7k2p' }),
      'batch/CronJob/nightly in nightly-29852700',
    ],
    [
      'an indexed run by its pod name',
      end({ namespace: 'batch', pod: 'nightly-29852700-3-x7k2p' }),
      'batch/CronJob/nightly in nightly-29852700',
    ],
    [
      'a run by its label',
      end({
        namespace: 'batch',
        pod: 'nightly-29852700-x7k2p',
        labels: { 'batch.kubernetes.io/job-name': 'nightly-29852700' },
      }),
      'batch/CronJob/nightly in nightly-29852700',
    ],
    ['labels of one workload', end({ namespace: 'shop', labels: { app: 'web', extra: 'x' } }), 'shop/Deployment/web'],
    [
      'the most of the labels',
      end({ namespace: 'shop', labels: { app: 'web', track: 'canary' } }),
      'shop/Deployment/web-canary',
    ],
    [
      'the account must fit',
      end({ namespace: 'shop', labels: { app: 'web' }, serviceAccount: 'other' }),
      'unknown: (its labels fit no workload in the inventory)',
    ],
    [
      'a pod started by hand with copied labels is itself',
      end({ namespace: 'shop', pod: 'debug', labels: { app: 'web' } }),
      'shop/Pod/debug',
    ],
    [
      'labels of a pod behind a proxy do not make its address theirs',
      end({ namespace: 'shop', ip: '192.168.1.1', labels: { app: 'mystery' } }),
      'unknown:192.168.1.1 (its labels fit no workload in the inventory)',
    ],
    [
      'a custom owner by its label',
      end({ namespace: 'train', pod: 'gnn-worker-0', labels: { 'training.kubeflow.org/job-name': 'gnn' } }),
      'train/PyTorchJob/gnn',
    ],
    [
      'a custom owner that is gone, by its operator',
      end({
        namespace: 'train',
        pod: 'old-worker-0',
        labels: {
          'training.kubeflow.org/job-name': 'old',
          'training.kubeflow.org/operator-name': 'pytorchjob-controller',
        },
      }),
      'train/PyTorchJob/old',
    ],
    [
      'the owner above the Deployment that an operator made',
      stamped('serve/Deployment/scorer-predictor', { labels: { 'serving.kserve.io/inferenceservice': 'scorer' } }),
      'serve/InferenceService/scorer',
    ],
    [
      'the RayJob above the cluster it made',
      stamped('ray/RayCluster/tune-abcde', {
        labels: { 'ray.io/cluster': 'tune-abcde', 'ray.io/originated-from-cr-name': 'tune' },
      }),
      'ray/RayJob/tune',
    ],
    [
      'a Service by name',
      end({ service: { namespace: 'shop', name: 'nowhere' } }),
      'unknown: (no Service shop/nowhere in the inventory)',
    ],
    ['nothing at all', end(), 'unknown: (the record names neither a pod nor an address)'],
  ])('%s', (_, raw, expected) => {
    expect(resolve(raw)).toBe(expected);
  });

  it.each([
    ['Deployment', 'web', 'web-6d4cf56db6-x2x9k', true],
    ['Deployment', 'web', 'web-api-6d4cf56db6-x2x9k', false],
    ['Deployment', 'web', 'web-0', false],
    ['StatefulSet', 'db', 'db-11', true],
    ['StatefulSet', 'db', 'db-x', false],
    ['DaemonSet', 'agent', 'agent-x2x9k', true],
    ['Job', 'load', 'load-x2x9k', true],
    ['Job', 'load', 'load-3-x2x9k', true],
    ['CronJob', 'nightly', 'nightly-29852700-x2x9k', true],
    ['CronJob', 'nightly', 'nightly-x2x9k', false],
    ['Pod', 'debug', 'debug', true],
    ['Pod', 'debug', 'debug-2', false],
  ])('a pod of %s %s is called %s: %s', (kind, name, podName, fits) => {
    expect(fitsPodName({ kind, name }, podName)).toBe(fits);
  });
});

describe('an address alone', () => {
  it.each<[string, RawEnd, number, number | undefined, string]>([
    ['is a pod while it lives', end({ ip: '10.0.0.5' }), MONDAY + 2 * DAY, undefined, 'shop/Deployment/web'],
    [
      'is not the present holder before that one started',
      end({ ip: '10.0.0.5' }),
      MONDAY,
      undefined,
      'unknown:10.0.0.5 (address was held by nobody known at that time)',
    ],
    [
      'is not a pod that ended',
      end({ ip: '10.0.0.9' }),
      MONDAY + 2 * HOUR,
      undefined,
      'unknown:10.0.0.9 (address was held by nobody known at that time)',
    ],
    [
      'is a Service with one workload, at its target port',
      end({ ip: '10.96.0.10' }),
      MONDAY,
      80,
      'shop/Deployment/web :8080',
    ],
    [
      'is a Service though the source calls it the world',
      end({ ip: '10.96.0.10', reserved: ['world'] }),
      MONDAY,
      80,
      'shop/Deployment/web :8080',
    ],
    [
      'is no single workload of several',
      end({ ip: '10.96.0.11' }),
      MONDAY,
      80,
      'unknown:10.96.0.11 (Service shop/all stands for several workloads)',
    ],
    [
      'has no port that the Service lacks',
      end({ ip: '10.96.0.10' }),
      MONDAY,
      81,
      'unknown:10.96.0.10 (Service shop/web has no port 81/TCP)',
    ],
    [
      'has no port by a name that no container has',
      end({ ip: '10.96.0.12' }),
      MONDAY,
      80,
      'unknown:10.96.0.12 (Service shop/odd sends port 80 to one that no container names)',
    ],
    ['is the API server through its Service', end({ ip: '10.96.0.1' }), MONDAY, 443, 'api-server'],
    ['is the API server', end({ ip: '172.16.0.10' }), MONDAY, 6443, 'api-server'],
    ['is a node', end({ ip: '192.168.1.1' }), MONDAY, 10250, 'node'],
    ['is a node in any spelling', end({ ip: 'fd00:0:0::0001' }), MONDAY, 10250, 'node'],
    ['is a node in IPv6 clothes', end({ ip: '::ffff:192.168.1.1' }), MONDAY, 10250, 'node'],
    ['is outside when public', end({ ip: '203.0.113.9' }), MONDAY, 443, 'external:203.0.113.9'],
    ['is outside when private and in no pod range', end({ ip: '10.200.0.4' }), MONDAY, 443, 'external:10.200.0.4'],
    [
      'is nobody when in a pod range, though the source calls it the world',
      end({ ip: '10.0.7.7', reserved: ['world'] }),
      MONDAY,
      443,
      'unknown:10.0.7.7 (address was held by nobody known at that time)',
    ],
    ['is NodeLocal DNS on the node', end({ ip: '169.254.20.10' }), MONDAY, 53, 'node'],
    [
      'is the metadata server',
      end({ ip: '169.254.169.254', reserved: ['world'] }),
      MONDAY,
      80,
      'external:metadata-server',
    ],
    ['must read as one', end({ ip: '10.0.0' }), MONDAY, 80, 'unknown: (its address does not read as one)'],
  ])('%s', (_, raw, time, port, expected) => {
    expect(resolve(raw, time, port)).toBe(expected);
  });

  it('is unknown when private and the pod ranges are not known', () => {
    expect(resolve(end({ ip: '10.200.0.4' }), MONDAY, 443, emptyInventory())).toContain(
      "pods' address ranges are not known",
    );
    expect(resolve(end({ ip: '10.200.0.4', reserved: ['world'] }), MONDAY, 443, emptyInventory())).toBe(
      'external:10.200.0.4',
    );
  });

  it('is not anybody in particular when multicast or loopback', () => {
    const attributor = createAttributor(inventory);
    for (const ip of ['224.0.0.1', 'ff02::1', '127.0.0.1', '::1', '255.255.255.255'])
      expect(attributor.attribute(end({ ip }), MONDAY, 'TCP', 80).unroutable).toBe(true);
  });

  it('takes a name from a DNS answer, unless answers disagree', () => {
    const attributor = createAttributor(inventory);
    const settle = (ip: string): string =>
      endpointKey(
        attributor.settle(
          attributor.attribute(end({ ip, reserved: ['world'] }), MONDAY, 'TCP', 443).party,
          MONDAY,
          MONDAY,
        ),
      );
    attributor.learnName('203.0.113.1', 'a.example');
    attributor.learnName('203.0.113.2', 'a.example');
    attributor.learnName('203.0.113.2', 'b.example');
    expect([settle('203.0.113.1'), settle('203.0.113.2')]).toEqual(['external:a.example', 'external:203.0.113.2']);
  });

  it('has its well-known meanings', () => {
    expect(wellKnownAddress('169.254.169.254')).toMatchObject({ kind: 'external', name: 'metadata-server' });
    expect(wellKnownAddress('10.0.0.1')).toBeUndefined();
  });
});

describe('the history of an address', () => {
  const ip = '10.0.3.3';
  const noon = MONDAY + 12 * HOUR;

  function history(sightings: readonly (readonly [string, number])[], at: number): string {
    const attributor = createAttributor(inventory);
    const { party } = attributor.attribute(end({ ip }), at, 'TCP', 80);
    for (const [name, time] of sightings)
      attributor.attribute(end({ ip, namespace: 'shop', pod: name, labels: { app: 'web' } }), time, 'TCP', 80);
    const endpoint = attributor.settle(party, at, at);
    return endpoint.kind === 'unknown' ? endpoint.why : endpointKey(endpoint);
  }
  const first = 'web-6d4cf56db6-aaaaa';
  const second = 'other-0';

  it('gives it to the pod seen there before and after', () => {
    expect(history([[first, noon - HOUR], [first, noon + HOUR]], noon)).toBe('shop/Deployment/web'); // prettier-ignore
  });

  it('gives it to the only pod seen there that day', () => {
    expect(history([[first, noon - HOUR]], noon)).toBe('shop/Deployment/web');
  });

  it('gives it to nobody on another day', () => {
    expect(history([[first, noon - DAY]], noon)).toBe('address was held by nobody known at that time');
  });

  it('gives it to nobody between two holders', () => {
    expect(history([[first, noon - HOUR], [second, noon + HOUR]], noon)).toBe('address changed hands'); // prettier-ignore
  });

  it('gives it to the holder of that time where the hands are known', () => {
    const hands = [[first, noon - HOUR], [first, noon + HOUR], [second, noon + 2 * HOUR], [second, noon + 4 * HOUR]] as const; // prettier-ignore
    expect(history(hands, noon)).toBe('shop/Deployment/web');
    expect(history(hands, noon + 3 * HOUR)).toBe('shop/Pod/other-0');
  });

  it('gives it to nobody where two claim it at once', () => {
    expect(history([[first, noon - HOUR], [second, noon], [first, noon + HOUR]], noon)).toBe('address changed hands'); // prettier-ignore
  });

  it('never stretches a run of a schedule over the day', () => {
    const attributor = createAttributor(inventory);
    const { party } = attributor.attribute(end({ ip }), noon, 'TCP', 80);
    attributor.attribute(
      stamped('batch/Job/nightly-29852700', { ip, pod: 'nightly-29852700-abcde' }),
      noon - HOUR,
      'TCP',
    );
    expect(attributor.settle(party, noon, noon)).toMatchObject({ kind: 'unknown' });
  });
});
