// What every cluster of the lab has before a scenario comes: name service.

const labels = { 'k8s-app': 'kube-dns' };

/** CoreDNS's place, taken by labpod's own name server, behind the Service that every pod asks. */
export const nameService: readonly unknown[] = [
  { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'coredns', namespace: 'kube-system' } },
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'kube-dns', namespace: 'kube-system', labels: { ...labels, 'kubernetes.io/name': 'CoreDNS' } },
    spec: {
      clusterIP: '10.96.0.10',
      selector: labels,
      ports: [
        { name: 'dns', port: 53, protocol: 'UDP' },
        { name: 'dns-tcp', port: 53, protocol: 'TCP' },
      ],
    },
  },
  {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'coredns', namespace: 'kube-system', labels },
    spec: {
      replicas: 2,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          serviceAccountName: 'coredns',
          priorityClassName: 'system-cluster-critical',
          containers: [
            {
              name: 'coredns',
              image: 'lab/pod:1',
              env: [
                {
                  name: 'LABPOD',
                  value: JSON.stringify({
                    servers: [
                      { kind: 'dns', port: 53 },
                      { kind: 'http', port: 8181 },
                    ],
                  }),
                },
              ],
              ports: [
                { name: 'dns', containerPort: 53, protocol: 'UDP' },
                { name: 'dns-tcp', containerPort: 53, protocol: 'TCP' },
              ],
              readinessProbe: { httpGet: { path: '/healthz', port: 8181 }, periodSeconds: 2 },
            },
          ],
        },
      },
    },
  },
];
