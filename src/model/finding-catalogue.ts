export interface FindingEntry {
  readonly title: string;
  /** What a person can do about it; a finding's own hint is more exact where it has one. */
  readonly hint: string;
}

/** Every finding code with what it means. Codes are never reused; retired ones stay. */
export const FINDINGS = {
  SP301: {
    title: 'Objects of a kind may not be listed',
    hint: 'Grant list on this kind, or accept that facts that depend on it are unknown.',
  },
  SP302: {
    title: 'A file does not parse',
    hint: 'Correct the file, or waive it: `sallyport waive subject=FILE --reason TEXT`. It is never edited then.',
  },
  SP303: { title: 'An object is given twice', hint: 'Keep one of the two: the first one read is used.' },
  SP304: {
    title: 'An object names no namespace',
    hint: 'Give --default-namespace, or write metadata.namespace.',
  },
  SP305: {
    title: 'A workload is not recognised as an ML or platform component',
    hint: 'It is still observed and protected; its stage and sensitivity are unknown. Add a signature if it matters.',
  },
  SP306: {
    title: 'An owner of pods could not be read',
    hint: 'Grant list and get on its kind: until then its pods are described by themselves.',
  },
  SP307: {
    title: 'A workload runs as the default service account',
    hint: 'The identity phase gives it an account of its own.',
  },
  SP308: {
    title: 'Workloads share a service account',
    hint: 'Principals cannot tell them apart; the identity phase gives each its own.',
  },
  SP309: {
    title: 'A policy stands in a namespace that does not exist',
    hint: 'Create the namespace, or remove the policy.',
  },
  SP310: { title: 'A Service selects nothing', hint: 'Correct its selector, or remove the Service.' },
  SP311: {
    title: 'Objects of a kind that is not modelled',
    hint: 'They are left alone. Check whether they make pods or change how pods connect.',
  },
  SP312: {
    title: 'A workload uses the host network',
    hint: 'NetworkPolicy and the mesh do not act on it: it connects as its node.',
  },
  SP313: {
    title: 'A container is privileged',
    hint: 'It can leave its network namespace: policies do not hold it.',
  },
  SP314: {
    title: 'A Service is open to the outside',
    hint: 'Its callers are addresses outside the cluster: rules for them need CIDRs.',
  },
  SP315: {
    title: 'The configuration states a fact that the cluster contradicts',
    hint: 'The observed fact is used. Correct `cluster` in the configuration.',
  },
  SP316: {
    title: 'An object was rendered by Helm',
    hint: 'If a release or a Git repository still writes it, change its values there too.',
  },
  SP317: {
    title: 'A workload has no label that survives a run and is its own',
    hint: 'Add a label of its own to the pod template: no selector can name it otherwise.',
  },
  SP318: {
    title: 'The controller of an Ingress is not identified',
    hint: 'Set spec.ingressClassName, or import traffic that shows who calls the backend.',
  },
  SP319: {
    title: 'Scrape configuration whose scraper is not identified',
    hint: 'There is no Prometheus, or more than one: import traffic that shows who scrapes.',
  },
  SP320: {
    title: 'A webhook or APIService calls a Service without workloads',
    hint: 'Correct the Service, or remove the configuration: requests that it guards may fail.',
  },
  SP321: {
    title: 'The CNI is not recognised',
    hint: 'State it in the configuration: cluster.cni with name and ipBlockMatches.',
  },
  SP322: {
    title: 'The CNI does not enforce NetworkPolicy as configured',
    hint: 'Policies would stand without effect: enable enforcement first.',
  },
  SP323: {
    title: 'The version, revision or root of the mesh could not be read',
    hint: 'State it in the configuration: cluster.mesh.',
  },
  SP324: {
    title: 'The pods of a custom resource cannot be foreseen',
    hint: 'Only its operator knows their labels: read a live cluster, or add its Pods to the directory.',
  },
  SP325: {
    title: 'A monitor selects nothing',
    hint: 'Correct its selector, or remove it.',
  },
  SP326: {
    title: 'A gateway has no workload',
    hint: 'No pod carries the labels that the Gateway selects: traffic through it is not declared.',
  },
  SP327: {
    title: 'A route names a destination that does not exist',
    hint: 'Correct the host, or remove the route.',
  },
  SP328: {
    title: 'A namespace has no Namespace object',
    hint: 'Its labels are unknown: add the object, so that phases can change it.',
  },
  SP340: {
    title: 'A NetworkPolicy that the API server refuses',
    hint: 'Correct the field. Until then every answer about pods that it may select is unknown.',
  },
  SP341: {
    title: 'A NetworkPolicy has a field that is not known',
    hint: 'Correct the spelling. Until then every answer about pods that it may select is unknown.',
  },
  SP342: {
    title: 'A CIDR is not in the form that newer API servers ask for',
    hint: 'Write the address of the block itself, in short form and without leading zeros.',
  },
  SP343: {
    title: 'An Istio object has a field or value that cannot be judged',
    hint: 'Correct it, or waive the answers that it makes unknown.',
  },
  SP344: {
    title: 'A policy of a kind that is not evaluated',
    hint: 'Where it may act, answers are unknown: check it by hand and waive them by subject.',
  },
  SP360: {
    title: 'A document is not a Kubernetes object',
    hint: 'It is left out. If it should be one, give it apiVersion, kind and metadata.name.',
  },
  SP361: {
    title: 'A file or folder was not read',
    hint: 'Links that leave the directory, special files and what is too large are left out: copy it in, or make it smaller.',
  },
} as const satisfies Readonly<Record<string, FindingEntry>>;

export type FindingCode = keyof typeof FINDINGS;

/** The catalogue entry of a code; undefined for a code that is not in it. */
export function findingEntry(code: string): FindingEntry | undefined {
  return Object.hasOwn(FINDINGS, code) ? FINDINGS[code as FindingCode] : undefined;
}
