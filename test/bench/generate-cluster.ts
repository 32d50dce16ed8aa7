/**
 * Clusters for measurements: 20 Deployments and 26 NetworkPolicies a namespace, one YAML file a namespace. The same every time.
 *
 *     node test/bench/generate-cluster.ts WORKLOADS DIR
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const WORKLOADS_A_NAMESPACE = 20;
export const POLICIES_A_NAMESPACE = 26;

const TEAMS = 10;

function deployment(namespace: string, index: number): string {
  const name = `app-${index}`;
  return `apiVersion: apps/v1
kind: Deployment
metadata:
  name: ${name}
  namespace: ${namespace}
  labels:
    app: ${name}
spec:
  replicas: 2
  selector:
    matchLabels:
      app: ${name}
  template:
    metadata:
      labels:
        app: ${name}
        tier: ${index % 4 === 0 ? 'front' : index % 4 === 3 ? 'data' : 'middle'}
        team: team-${index % 5}
    spec:
      containers:
        - name: main
          image: registry.example/${name}:1.${index}
          ports:
            - name: http
              containerPort: 8080
            - name: metrics
              containerPort: 9090
`;
}

function policy(namespace: string, name: string, spec: string): string {
  return `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: ${name}
  namespace: ${namespace}
spec:
${spec}`;
}

function ofWorkload(namespace: string, index: number, namespaces: number, at: number): string {
  const caller = (index + 1) % WORKLOADS_A_NAMESPACE;
  const far = `ns-${(at * 7 + index) % namespaces}`;
  const callee = (index + WORKLOADS_A_NAMESPACE - 1) % WORKLOADS_A_NAMESPACE;
  return policy(
    namespace,
    `app-${index}`,
    `  podSelector:
    matchLabels:
      app: app-${index}
  policyTypes: [Ingress, Egress]
  ingress:
    - from:
        - podSelector:
            matchLabels:
              app: app-${caller}
        - namespaceSelector:
            matchLabels:
              kubernetes.io/metadata.name: ${far}
          podSelector:
            matchLabels:
              tier: front
      ports:
        - protocol: TCP
          port: ${index % 3 === 0 ? 'http' : 8080}
  egress:
    - to:
        - podSelector:
            matchLabels:
              app: app-${callee}
      ports:
        - protocol: TCP
          port: 8080
    - to:
        - ipBlock:
            cidr: 203.0.113.0/24
            except:
              - 203.0.113.128/25
      ports:
        - protocol: TCP
          port: 443
`,
  );
}

function shared(namespace: string, at: number): readonly string[] {
  return [
    policy(namespace, 'default-deny', '  podSelector: {}\n  policyTypes: [Ingress, Egress]\n'),
    policy(
      namespace,
      'dns',
      `  podSelector: {}
  policyTypes: [Egress]
  egress:
    - to:
        - namespaceSelector:
            matchLabels:
              kubernetes.io/metadata.name: kube-system
          podSelector:
            matchLabels:
              k8s-app: kube-dns
      ports:
        - protocol: UDP
          port: 53
        - protocol: TCP
          port: 53
`,
    ),
    policy(
      namespace,
      'scrape',
      `  podSelector: {}
  policyTypes: [Ingress]
  ingress:
    - from:
        - namespaceSelector:
            matchLabels:
              purpose: monitoring
      ports:
        - port: metrics
`,
    ),
    policy(
      namespace,
      'data',
      `  podSelector:
    matchExpressions:
      - key: tier
        operator: In
        values: [data]
  policyTypes: [Ingress]
  ingress:
    - from:
        - podSelector:
            matchExpressions:
              - key: tier
                operator: NotIn
                values: [front, data]
      ports:
        - port: 5000
          endPort: 5010
`,
    ),
    policy(
      namespace,
      'front-out',
      `  podSelector:
    matchLabels:
      tier: front
  policyTypes: [Egress]
  egress:
    - to:
        - namespaceSelector:
            matchLabels:
              team: team-${at % TEAMS}
          podSelector:
            matchLabels:
              tier: front
      ports:
        - port: 8080
`,
    ),
    policy(
      namespace,
      'middle-out',
      `  podSelector:
    matchLabels:
      tier: middle
  policyTypes: [Egress]
  egress:
    - to:
        - podSelector:
            matchLabels:
              tier: data
      ports:
        - port: 5000
          endPort: 5005
`,
    ),
  ];
}

/** The text of one file: a Namespace with its Deployments and policies. */
export function namespaceText(at: number, namespaces: number): string {
  const name = `ns-${at}`;
  const purpose = at === 0 ? 'monitoring' : 'work';
  const documents = [
    `apiVersion: v1\nkind: Namespace\nmetadata:\n  name: ${name}\n  labels:\n    team: team-${at % TEAMS}\n    purpose: ${purpose}\n`,
  ];
  for (let index = 0; index < WORKLOADS_A_NAMESPACE; index += 1) documents.push(deployment(name, index));
  for (let index = 0; index < WORKLOADS_A_NAMESPACE; index += 1)
    documents.push(ofWorkload(name, index, namespaces, at));
  documents.push(...shared(name, at));
  return documents.join('---\n');
}

export interface Generated {
  readonly workloads: number;
  readonly policies: number;
  readonly files: number;
  readonly bytes: number;
}

/** Writes the cluster into a directory and says what it is. */
export function generateCluster(workloads: number, dir: string): Generated {
  const namespaces = Math.max(1, Math.ceil(workloads / WORKLOADS_A_NAMESPACE));
  mkdirSync(dir, { recursive: true });
  let bytes = 0;
  for (let at = 0; at < namespaces; at += 1) {
    const text = namespaceText(at, namespaces);
    writeFileSync(join(dir, `ns-${at}.yaml`), text);
    bytes += text.length;
  }
  return {
    workloads: namespaces * WORKLOADS_A_NAMESPACE,
    policies: namespaces * POLICIES_A_NAMESPACE,
    files: namespaces,
    bytes,
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [workloads = '100', dir] = process.argv.slice(2);
  if (dir === undefined) throw new Error('usage: node test/bench/generate-cluster.ts WORKLOADS DIR');
  process.stdout.write(`${JSON.stringify(generateCluster(Number(workloads), dir))}\n`);
}
