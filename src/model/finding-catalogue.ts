export interface FindingEntry {
  readonly title: string;
  /** What is the case, and what follows from it. */
  readonly means: string;
  /** Most likely first. */
  readonly causes: readonly string[];
  /** What a person can do about it; a finding's own hint is more exact where it has one. */
  readonly hint: string;
}

/** Every finding code with what it means. Codes are never reused; retired ones stay. */
export const FINDINGS = {
  SP301: {
    title: 'Objects of a kind may not be listed',
    hint: 'Grant list on this kind, or accept that facts that depend on it are unknown.',
    means: 'The API server refused to list a kind, or answered with an error, so what depends on it is unknown.',
    causes: ['A role of templates/rbac is missing: `sallyport doctor` says which.'],
  },
  SP302: {
    title: 'A file does not parse',
    hint: 'Correct the file, or waive it: `sallyport waive subject=FILE --reason TEXT`. It is never edited then.',
    means:
      'The file may hold a policy or a workload that nobody can judge. Nothing is planned until it is mended or waived.',
    causes: ['A template that was never rendered (Helm, Kustomize).', 'A merge conflict or a tab.'],
  },
  SP303: {
    title: 'An object is given twice',
    hint: 'Keep one of the two: the first one read is used.',
    means: 'Two files hold the same object; which one the cluster has is not known from the directory.',
    causes: ['Overlays and their base read together: render them first.'],
  },
  SP304: {
    title: 'An object names no namespace',
    hint: 'Give --default-namespace, or write metadata.namespace.',
    means: 'The object is read as of namespace `default`.',
    causes: ['Manifests that rely on the namespace of the one who applies them.'],
  },
  SP305: {
    title: 'A workload is not recognised as an ML or platform component',
    hint: 'It is still observed and protected; its stage and sensitivity are unknown. Add a signature if it matters.',
    means: 'No signature fits its images, labels, ports or kind.',
    causes: ['A program of your own.', 'A renamed image.'],
  },
  SP306: {
    title: 'An owner of pods could not be read',
    hint: 'Grant list and get on its kind: until then its pods are described by themselves.',
    means: 'Its pods name an owner that is not among the objects read.',
    causes: ['A custom kind without the right to read it.', 'A directory with Pods and without their owners.'],
  },
  SP307: {
    title: 'A workload runs as the default service account',
    hint: 'The identity phase gives it an account of its own.',
    means: 'Every pod without an account of its own has this identity: a policy that admits it admits them all.',
    causes: ['The chart names no account.'],
  },
  SP308: {
    title: 'Workloads share a service account',
    hint: 'Principals cannot tell them apart; the identity phase gives each its own.',
    means: 'Workloads that share an account have one identity.',
    causes: ['One chart, or one team, with one account for all.'],
  },
  SP309: {
    title: 'A policy stands in a namespace that does not exist',
    hint: 'Create the namespace, or remove the policy.',
    means: 'The API server would refuse the object.',
    causes: ['A namespace that was deleted or renamed in the directory.'],
  },
  SP310: {
    title: 'A Service selects nothing',
    hint: 'Correct its selector, or remove the Service.',
    means: 'Whoever calls it reaches nobody.',
    causes: [
      'A label that was renamed in the pod template alone.',
      'A Service that waits for something not deployed yet.',
    ],
  },
  SP311: {
    title: 'Objects of a kind that is not modelled',
    hint: 'They are left alone. Check whether they make pods or change how pods connect.',
    means: 'The kind is unknown here and not among those known to be harmless.',
    causes: ['An operator that Sallyport has no table for.'],
  },
  SP312: {
    title: 'A workload uses the host network',
    hint: 'NetworkPolicy and the mesh do not act on it: it connects as its node.',
    means: 'Its traffic has the address of the node, and no policy of a namespace selects it.',
    causes: ['Node agents, ingress controllers, GPU and RDMA workloads.'],
  },
  SP313: {
    title: 'A container is privileged',
    hint: 'It can leave its network namespace: policies do not hold it.',
    means: 'Policies are enforced outside the container, and this one may change that.',
    causes: ['Storage and network agents; images that ask for more than they need.'],
  },
  SP314: {
    title: 'A Service is open to the outside',
    hint: 'Its callers are addresses outside the cluster: rules for them need CIDRs.',
    means: 'Anybody who can route to it may call.',
    causes: ['Type LoadBalancer or NodePort, or external addresses.'],
  },
  SP315: {
    title: 'The configuration states a fact that the cluster contradicts',
    hint: 'The observed fact is used. Correct `cluster` in the configuration.',
    means: 'What was read from the cluster counts, and the configuration is out of date.',
    causes: ['The CNI or the mesh was upgraded or reconfigured.'],
  },
  SP316: {
    title: 'An object was rendered by Helm',
    hint: 'If a release or a Git repository still writes it, change its values there too.',
    means: 'A live change may be overwritten by the next `helm upgrade`.',
    causes: ['A release that is still in use.', 'Labels left behind by a chart rendered once.'],
  },
  SP317: {
    title: 'A workload has no label that survives a run and is its own',
    hint: 'Add a label of its own to the pod template: no selector can name it otherwise.',
    means: 'A policy would have to name a label that dies with the run, or select others too.',
    causes: ['Job pods whose labels the controller makes.', 'A chart that gives every workload the same labels.'],
  },
  SP318: {
    title: 'The controller of an Ingress is not identified',
    hint: 'Set spec.ingressClassName, or import traffic that shows who calls the backend.',
    means: 'Which pods call the backend of the Ingress is not known, so no edge is declared.',
    causes: ['No class, and more than one controller or none.'],
  },
  SP319: {
    title: 'Scrape configuration whose scraper is not identified',
    hint: 'There is no Prometheus, or more than one: import traffic that shows who scrapes.',
    means: 'Who scrapes is not known, so no edge is declared.',
    causes: ['Prometheus runs in another cluster or is managed by the provider.'],
  },
  SP320: {
    title: 'A webhook or APIService calls a Service without workloads',
    hint: 'Correct the Service, or remove the configuration: requests that it guards may fail.',
    means: 'The API server calls it for every matching request: if it fails closed, writes fail.',
    causes: ['A component that was removed while its webhook stayed.'],
  },
  SP321: {
    title: 'The CNI is not recognised',
    hint: 'State it in the configuration: cluster.cni with name and ipBlockMatches.',
    means: 'What enforces policies, and what an ipBlock matches, is then unknown.',
    causes: ['A managed CNI whose agent is hidden.', 'A directory without the objects of kube-system.'],
  },
  SP322: {
    title: 'The CNI does not enforce NetworkPolicy as configured',
    hint: 'Policies would stand without effect: enable enforcement first.',
    means: 'NetworkPolicies would be stored and nothing would follow from them.',
    causes: [
      'Flannel.',
      'Cilium in audit mode or with enforcement `never`; the AWS VPC CNI without its network policy agent.',
    ],
  },
  SP323: {
    title: 'The version, revision or root of the mesh could not be read',
    hint: 'State it in the configuration: cluster.mesh.',
    means: 'Rules that differ between versions are then unknown.',
    causes: ['A control plane in another cluster.', 'An image named by digest.'],
  },
  SP324: {
    title: 'The pods of a custom resource cannot be foreseen',
    hint: 'Only its operator knows their labels: read a live cluster, or add its Pods to the directory.',
    means: 'An operator makes the pods; their labels are not in the custom resource.',
    causes: ['A directory of manifests without the Pods.'],
  },
  SP325: {
    title: 'A monitor selects nothing',
    hint: 'Correct its selector, or remove it.',
    means: 'Nothing is scraped by it.',
    causes: ['A label that was renamed.', 'The other namespace is not in the directory.'],
  },
  SP326: {
    title: 'A gateway has no workload',
    hint: 'No pod carries the labels that the Gateway selects: traffic through it is not declared.',
    means: 'A Gateway object selects pods by labels that none has.',
    causes: ['The gateway lives elsewhere, or is deployed later.'],
  },
  SP327: {
    title: 'A route names a destination that does not exist',
    hint: 'Correct the host, or remove the route.',
    means: 'Requests that match the route fail, and no edge is declared.',
    causes: ['A Service that was renamed or removed.'],
  },
  SP328: {
    title: 'A namespace has no Namespace object',
    hint: 'Its labels are unknown: add the object, so that phases can change it.',
    means: 'A directory has objects in a namespace and not the Namespace itself.',
    causes: ["Namespaces are made elsewhere, such as by a platform team's repository."],
  },
  SP340: {
    title: 'A NetworkPolicy that the API server refuses',
    hint: 'Correct the field. Until then every answer about pods that it may select is unknown.',
    means: 'A cluster that runs cannot have it; a directory can.',
    causes: ['A wrong port, protocol, selector or CIDR.'],
  },
  SP341: {
    title: 'A NetworkPolicy has a field that is not known',
    hint: 'Correct the spelling. Until then every answer about pods that it may select is unknown.',
    means: 'The API server would drop or refuse the field.',
    causes: ['A misspelt field, or one of a newer version.'],
  },
  SP342: {
    title: 'A CIDR is not in the form that newer API servers ask for',
    hint: 'Write the address of the block itself, in short form and without leading zeros.',
    means: 'It keeps its meaning here; readers of addresses differ.',
    causes: ['Bits beyond the prefix, leading zeros, IPv4 mapped into IPv6.'],
  },
  SP343: {
    title: 'An Istio object has a field or value that cannot be judged',
    hint: 'Correct it, or waive the answers that it makes unknown.',
    means: 'What depends on the field is unknown, and an unknown blocks a plan.',
    causes: ['A field of a newer version, or a value that istiod would refuse.'],
  },
  SP345: {
    title: 'A way back is over, and something that must work is denied',
    hint: 'Look at the policy that denies it: the way back did not write it.',
    means:
      'A way back is not held up by what others write while it goes on. Once it is over, the connections on record that it touched are judged by what is there: this one is denied, or the cluster could not be read.',
    causes: [
      'Somebody added a policy meanwhile; or it stood there before, and a policy of Sallyport beside it admitted what it denies.',
      'The connection was denied before already, which may be why the way back was taken.',
    ],
  },
  SP344: {
    title: 'A policy of a kind that is not evaluated',
    hint: 'Where it may act, answers are unknown: check it by hand and waive them by subject.',
    means: 'A policy of a kind that the evaluator has no rules for may act on pods.',
    causes: ["Another product's policies, or a mode that is not modelled."],
  },
  SP360: {
    title: 'A document is not a Kubernetes object',
    hint: 'It is left out. If it should be one, give it apiVersion, kind and metadata.name.',
    means: 'It is no object of Kubernetes, so it is not part of the cluster.',
    causes: ['Values files, CI files and other YAML in the same directory.'],
  },
  SP361: {
    title: 'A file or folder was not read',
    hint: 'Links that leave the directory, special files and what is too large are left out: copy it in, or make it smaller.',
    means: 'What is in it is not known.',
    causes: ['A link that leaves the directory; a special file; a very large one.'],
  },
  SP362: {
    title: 'A workload holds a long-lived key of a cloud',
    hint: '`sallyport cloud-identity` prints how to replace it by an identity that its account has by itself.',
    means:
      'A key that does not end works from anywhere for whoever has read it once. Told by names of variables, volumes and Secrets; no value is read.',
    causes: ['Set up before the cluster had workload identity.', 'A library that asks for a key file.'],
  },
  SP363: {
    title: 'Workloads that share an account share an identity of the cloud',
    hint: 'Give each its own account (phase identity), and trust the one that needs it.',
    means: 'The cloud knows accounts and not workloads: each of these may do there what any of them needs.',
    causes: ['One chart or one team with one account for all.'],
  },
  SP364: {
    title: 'A cloud trusts an account that does not exist',
    hint: 'Take the trust away, or make the account.',
    means: 'Whoever may make accounts in that namespace comes into the identity.',
    causes: ['The account was renamed or deleted.', 'A slip of the keyboard in the namespace.'],
  },
  SP365: {
    title: 'A cloud trusts accounts by a pattern',
    hint: 'Name each account in full: system:serviceaccount:NS:NAME, compared whole.',
    means: 'Every account that fits, in other namespaces too where the pattern says so, may be that identity.',
    causes: ['StringLike with an asterisk, a condition left out, or a principalSet of a whole namespace or pool.'],
  },
  SP366: {
    title: 'One identity of a cloud is held in several namespaces',
    hint: 'Give each namespace an identity of its own, with the rights that it needs.',
    means:
      'A breach of either namespace is one of both, as far as the cloud goes, and its trail cannot tell them apart.',
    causes: ['A role copied along with a chart.'],
  },
  SP367: {
    title: 'Half of Azure workload identity',
    hint: 'The account carries azure.workload.identity/client-id, and the pods the label azure.workload.identity/use: "true".',
    means: 'The webhook gives a token to labelled pods alone, for the client that the account names.',
    causes: ['Only one of the two was set.'],
  },
  SP370: {
    title: 'What a pattern promises does not hold',
    hint: 'sallyport pattern check shows each pair with the policy that lets it; sallyport pattern apply writes what is missing.',
    means: 'Some pair of workloads may connect that the pattern keeps apart.',
    causes: ['The pattern was never applied.', 'Another policy admits what it leaves out: NetworkPolicies add up.'],
  },
  SP371: {
    title: 'Whether a pattern holds cannot be told',
    hint: 'Answer what is unknown: state the CNI or the mesh in the configuration, or check the policy by hand.',
    means: 'No pair surely breaks the pattern, and of some it is not known.',
    causes: ['A policy of a kind that is not evaluated.', 'Labels or ports of pods that are not known.'],
  },
  SP372: {
    title: 'The ranges of a pattern are old, or of no day',
    hint: 'Fetch the list that the hub publishes, and apply again with ranges and ranges-from.',
    means: 'Hubs move: what is admitted may by now belong to somebody else, and what is needed may be denied.',
    causes: ['More than thirty days since `ranges-from`.', '`ranges-from` was not given.'],
  },
  SP380: {
    title: 'A grant is over and not taken away yet',
    hint: 'sallyport grant expire ends it; a CronJob in the cluster ends it without you: docs/grants.md.',
    means: 'Access that was given for a while is open past its time.',
    causes: ['Neither the CronJob nor any command of Sallyport has run since.'],
  },
  SP381: {
    title: 'A grant that is over stands on another record',
    hint: 'Run sallyport grant expire with the state that gave it, or delete the object.',
    means: 'The object says itself that its time is over, and this state knows nothing of it.',
    causes: ['Another operator gave it.'],
  },
  SP382: {
    title: 'The clock here and that of the cluster differ',
    hint: 'Set the clock of this machine; the grant ends at the earlier of the two times.',
    means: 'A grant counts by its deadline and by how long it has lasted by the API server, whichever is first.',
    causes: ['The clock of this machine is ahead.'],
  },
  SP383: {
    title: 'Nothing in the cluster ends grants',
    hint: 'kubectl apply -f templates/grants/expirer.yaml, or keep sallyport watch running.',
    means: 'If this machine is off when a grant ends, it stays open until a command of Sallyport runs.',
    causes: ['The CronJob of templates/grants is not installed, or lacks its label.'],
  },
  SP384: {
    title: 'A session that is open outlives its grant',
    hint: 'kubectl delete pod ends every session in it.',
    means:
      'The API server asks for the right when exec or port-forward begins, and not again; it lists no open sessions.',
    causes: ['Somebody may have opened a session before the grant ended.'],
  },
  SP390: {
    title: 'A workload cannot be put into quarantine',
    hint: 'Do what the finding names, or stop the workload.',
    means: 'Nothing that this cluster has would cut it off alone. Nothing was written.',
    causes: [
      'Its pods use the network of the node.',
      'NetworkPolicies only add, and one for the whole namespace allows.',
      'No label selects it alone.',
    ],
  },
  SP391: {
    title: 'A playbook would not hold',
    hint: 'sallyport reach --explain shows what lets the connection; name another kind with --with.',
    means: 'A connection that must end is not denied in the state that the steps leave. Nothing was written.',
    causes: ['A policy of an earlier tier, an admin policy that allows, a kind that is not evaluated.'],
  },
  SP392: {
    title: 'A playbook would reach others',
    hint: 'Name another kind with --with, or a narrower subject.',
    means: 'Connections of others would be cut, or some would be opened. Nothing was written.',
    causes: ['A policy that isolates what was open to all.', 'Labels that others share.'],
  },
  SP393: {
    title: 'A source cannot be blocked',
    hint: 'Name a kind that denies with --with, where the cluster has one.',
    means:
      'NetworkPolicies only add: a source is kept out only if every rule that lets it in can except it. Nothing was written.',
    causes: [
      'A rule that names it by label.',
      'Pods that no policy isolates.',
      'A kind that cannot name such a source.',
    ],
  },
  SP394: {
    title: 'A Secret that a rotation does not touch',
    hint: 'Rotate it where it comes from.',
    means: 'It is no token of an account: nothing makes it anew. As an error: there is no such account.',
    causes: ['A password or key that pods read.', 'A name that is wrong.'],
  },
} as const satisfies Readonly<Record<string, FindingEntry>>;

export type FindingCode = keyof typeof FINDINGS;

/** The catalogue entry of a code; undefined for a code that is not in it. */
export function findingEntry(code: string): FindingEntry | undefined {
  return Object.hasOwn(FINDINGS, code) ? FINDINGS[code as FindingCode] : undefined;
}
