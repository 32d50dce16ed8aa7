import type { CodeTable } from './entry.ts';

/** SP40x to SP46x: the API server. SP47x: the directory of manifests as a target. */
export const CLUSTER_CODES = {
  SP401: {
    title: 'The API server does not accept the credentials',
    exit: 4,
    means: 'The request was refused before it was looked at (401).',
    causes: ['A token or certificate that has expired.', 'The credentials of another cluster.'],
    fix: ['Log in again, then `kubectl auth whoami`.', 'If a run was under way: `sallyport resume` afterwards.'],
  },
  SP402: {
    title: 'The credential plugin of the kubeconfig failed',
    exit: 4,
    means: 'The program that the kubeconfig names for fetching a token could not be run, or failed.',
    causes: [
      'It is not installed or not on the PATH (`gke-gcloud-auth-plugin`, `aws`, `kubelogin`).',
      'Its own login has expired.',
    ],
    fix: ['Install it, or log in with the provider, then `kubectl auth whoami`.'],
  },
  SP403: {
    title: 'You may not do that',
    exit: 4,
    means: 'RBAC refuses this verb on this resource. What is only read and optional becomes a finding (SP301) instead.',
    causes: [
      'A role of `templates/rbac` is missing or bound in other namespaces.',
      '`--as` without the right to impersonate.',
    ],
    fix: ['`sallyport doctor` asks for every right at once and says which role brings it.'],
  },
  SP404: {
    title: 'The object is not there',
    exit: 4,
    means: 'An object that was there when the plan was made is gone, or its namespace is being deleted.',
    causes: ['Somebody deleted it meanwhile.'],
    fix: ['Plan again: `sallyport plan NS`.'],
  },
  SP406: {
    title: 'An admission rule refused the write',
    exit: 4,
    means: 'A webhook or a ValidatingAdmissionPolicy of the cluster says no (403). Nothing of this step was written.',
    causes: [
      'A policy engine (Kyverno, Gatekeeper) asks for labels or forbids the kind.',
      'The webhook itself is down and fails closed.',
    ],
    fix: ['Have the rule named in the message allow objects labelled `app.kubernetes.io/managed-by: sallyport`.'],
  },
  SP409: {
    title: 'The object changed at the same time',
    exit: 4,
    means: 'The API server refused a write because somebody else wrote first (409).',
    causes: ['A controller that writes the object all the time.'],
    fix: ['Run the command again; it plans on what is there now.'],
  },
  SP410: {
    title: 'A list changed faster than it could be read',
    exit: 4,
    means: 'Reading page by page lost its place twice (410).',
    causes: ['A very busy cluster or a slow connection.'],
    fix: ['Run the command again when fewer objects change, or nearer to the cluster.'],
  },
  SP413: {
    title: 'The cluster does not have this kind',
    exit: 4,
    means: 'The API server does not serve a kind that the step or the reading needs.',
    causes: [
      'The CRDs of Istio, Cilium or another component are not installed.',
      'The cluster is older than its manifests.',
    ],
    fix: ['`kubectl api-resources` shows what is served; install what brings the kind.'],
  },
  SP415: {
    title: 'A write was not sent: the hold could not be confirmed',
    exit: 4,
    means: 'Nothing is written unless the Lease is surely held; its renewal did not come through in time.',
    causes: ['A slow or absent API server.', 'A machine that slept.'],
    fix: ['`sallyport resume`.'],
  },
  SP422: {
    title: 'The API server calls the object invalid',
    exit: 4,
    means: 'Validation refused the object (422); nothing of this step was written.',
    causes: [
      'A field of yours that the rule was derived from, such as a port name.',
      'A version of the kind that differs.',
    ],
    fix: ['Look at the fields named. If the object is wholly ours, report it.'],
  },
  SP429: {
    title: 'The API server refuses requests for now',
    exit: 4,
    means: 'Priority and fairness, or a webhook that is not ready, asked to wait; so it was, without effect (429).',
    causes: ['An overloaded API server.'],
    fix: ['Try again after the time that the hint names.'],
  },
  SP430: {
    title: 'A kind that a dialect writes is not served in that version',
    exit: 4,
    means:
      'A definition of the kind is there, but the API server does not serve the version that would be written. It was asked before the first step: nothing was written.',
    causes: [
      'An older or newer definition than the dialect writes: cilium.io/v2, projectcalico.org/v3, policy.networking.k8s.io/v1alpha1 and v1alpha2.',
      "Calico's API server is registered and does not run.",
    ],
    fix: ['`sallyport doctor` names each kind with the versions that are served.', 'Leave `--dialect` out.'],
  },
  SP431: {
    title: 'A proxy did not answer',
    exit: 4,
    means:
      'What listens on 127.0.0.1:15000 of the pod could not be reached through the API server, refused, or answered what no proxy answers. What the proxy has open is unknown, and is said to be.',
    causes: [
      'The proxy is starting or ending.',
      'The pod has another proxy, or none.',
      'The API server cannot reach the kubelet (10250).',
    ],
    fix: ['`kubectl -n NS port-forward pod/POD 15000` shows the same way by hand.'],
  },
  SP432: {
    title: 'A PodDisruptionBudget keeps a pod',
    exit: 3,
    means:
      'The pod was to be evicted, and a budget says no (429). It is asked before the first write, so that nothing was written; where another eviction came between, the quarantine is in force and the pod runs on in it.',
    causes: [
      'Too few other pods of the workload are healthy.',
      'A budget that never allows a disruption.',
      'Two budgets that select the pod: the API server evicts none such (500).',
    ],
    fix: [
      '`--past-budgets` deletes pods whatever a budget says.',
      '`--connections drain` ends connections, and keeps the pods.',
    ],
  },
  SP433: {
    title: 'No proxies there',
    exit: 3,
    means: 'Draining was asked of a directory of manifests, in which nothing runs. Nothing was written.',
    causes: ['`--manifests` together with `--connections drain`.'],
    fix: ['Leave `--manifests` out.'],
  },
  SP434: {
    title: 'No proxy to end',
    exit: 3,
    means:
      'Connections were to be ended at the proxies, and no pod that runs has one. What pods without a proxy have open nobody can be asked. Nothing was written.',
    causes: ['Pods without a sidecar.', 'All pods have ended.'],
    fix: ['`sallyport incident quarantine --connections delete` ends pods, and with them what they have open.'],
  },
  SP440: {
    title: 'Not known what is served',
    exit: 4,
    means:
      'Kinds that a step rests on were to be read again, and the API server that serves them does not say which it has.',
    causes: ['An aggregated API (Calico’s, say) whose server is down.'],
    fix: ['`kubectl get apiservices`; then `sallyport resume`.'],
  },
  SP450: {
    title: 'The API server failed',
    exit: 4,
    means: 'It answered with an error of its own (5xx).',
    causes: ['etcd or an aggregated API is not well.'],
    fix: ['`kubectl get --raw /readyz?verbose`; then the command again, or `sallyport resume`.'],
  },
  SP451: {
    title: 'The API server did not answer in time',
    exit: 4,
    means: 'Whether a write arrived is found out before the error is shown.',
    causes: ['The network, a VPN, an overloaded API server.'],
    fix: ['`kubectl get --raw /readyz`; then the command again, or `sallyport resume`.'],
  },
  SP452: {
    title: 'The connection was refused',
    exit: 4,
    means: 'Nobody listens at the address of the context.',
    causes: ['A local cluster that is not running.', 'An old address or port.'],
    fix: ['`kubectl cluster-info`; correct the context.'],
  },
  SP453: {
    title: 'The host of the API server cannot be reached',
    exit: 4,
    means: 'Its name does not resolve, or no route leads there.',
    causes: ['A VPN that is down.', 'A private endpoint.'],
    fix: ['Check name, network and VPN; `proxy-url` in the kubeconfig is honoured.'],
  },
  SP454: {
    title: 'The certificate of the API server is not trusted',
    exit: 4,
    means: 'Verification failed, and is not switched off.',
    causes: ['A proxy that breaks TLS.', 'A certificate that was renewed by another authority.'],
    fix: ['Put the authority into `certificate-authority-data` of the context.'],
  },
  SP455: {
    title: 'The connection broke',
    exit: 4,
    means: 'The connection ended in the middle of an answer.',
    causes: ['The network, or a load balancer with short limits.'],
    fix: ['Run the command again, or `sallyport resume`.'],
  },
  SP456: {
    title: 'Whether a write arrived is not known',
    exit: 4,
    means: 'The call failed, and so did reading the object afterwards. The step is on record as begun.',
    causes: ['The API server went away in the middle of a run.'],
    fix: ['When the cluster is well again: `sallyport resume`. It finds out from the object what happened.'],
  },
  SP457: {
    title: 'Not the answer of a Kubernetes API server',
    exit: 4,
    means: 'The address answers, with something else.',
    causes: ['A login page of a proxy.', 'A wrong `server` in the context.'],
    fix: ["Check the context's `server` and `proxy-url`."],
  },
  SP458: {
    title: 'The cluster would store something else',
    exit: 4,
    means: 'The rehearsal showed that the object would not be stored as asked for; nothing was written.',
    causes: ['A mutating webhook or a policy engine that rewrites such objects.', 'A default of a newer version.'],
    fix: [
      '`kubectl get mutatingwebhookconfigurations`; exempt objects labelled `app.kubernetes.io/managed-by: sallyport`.',
    ],
  },
  SP459: {
    title: 'The API server refused',
    exit: 4,
    means: 'It answered with a status that no closer code names.',
    causes: ['A proxy in between, or a rule of the provider.'],
    fix: ['The message carries what the server said.'],
  },
  SP460: {
    title: 'The way back is too large for the cluster',
    exit: 4,
    means: 'Before the first write the undo is kept in a ConfigMap; it does not fit. Nothing was written.',
    causes: ['A very large namespace, with hundreds of policies.'],
    fix: ['Keep it in a folder: `undo: {path: DIR, cluster: off}` in the configuration.'],
  },
  SP461: {
    title: 'The record in the cluster cannot be read',
    exit: 4,
    means:
      'The ConfigMap in kube-system that holds the ways back has other content than Sallyport wrote. Nothing is written on top of it.',
    causes: ['Somebody edited it.'],
    fix: ['Restore it from a backup; or, where the whole state is at hand, remove the keys named.'],
  },
  SP470: {
    title: 'A file changed since the plan was made',
    exit: 3,
    means:
      'The field to be written, or the file around it, is not as it was planned on. Nothing of this step was written.',
    causes: ['A pull, a checkout or an editor on the same directory.'],
    fix: ['Plan again.'],
  },
  SP471: {
    title: 'The namespace is held by another run',
    exit: 3,
    means: 'Another Sallyport writes to this directory. One pair of hands at a time.',
    causes: ['A run that is still going on.', 'A run that was killed on another host.'],
    fix: ['Wait for it. If it is known to be gone, delete the lock file named.'],
  },
  SP472: {
    title: 'The hold on the namespace was lost',
    exit: 3,
    means: 'The lock file is gone or belongs to somebody else; nothing more is written.',
    causes: ['Somebody deleted the lock, or a clean-up of the working copy.'],
    fix: ['When no other run is going on: `sallyport resume`.'],
  },
  SP473: {
    title: 'That cannot be written into a file',
    exit: 3,
    means:
      'The field cannot be changed without touching other bytes of the file, or the object is a Secret. Nothing was written.',
    causes: ['Anchors, merge keys or templates in the YAML.'],
    fix: ['Change the field by hand as the plan shows it, then plan again.'],
  },
  SP474: {
    title: 'A file with something that does not parse is not edited',
    exit: 3,
    means: 'The object to be changed shares its file with a document that does not parse.',
    causes: ['A waived file that was never rendered.'],
    fix: ['Correct the file, or move the object into one of its own; then plan again.'],
  },
  SP475: {
    title: 'A file is not deleted',
    exit: 3,
    means: 'The object is ours, but its file has more in it than Sallyport wrote.',
    causes: ['Somebody added objects or comments to it.'],
    fix: ['Delete it by hand if it is to go, then `sallyport resume`.'],
  },
  SP476: {
    title: 'A file cannot be written',
    exit: 4,
    means: 'The system refused the write. What was done before is on record.',
    causes: ['Permissions, a full disk, a read-only mount.'],
    fix: ['Mend that, then `sallyport resume`.'],
  },
  SP477: {
    title: 'The place for a new file is taken',
    exit: 3,
    means:
      'A new object becomes `sallyport/NS/KIND-NAME.yaml`, and locks stand in `sallyport/.lock`; a file, folder or link of that name holds something else.',
    causes: ['A file written by hand, also one named `sallyport`, or a link.'],
    fix: ['Move it away, then plan again.'],
  },
  SP478: {
    title: 'A change of a file came out wrong',
    exit: 1,
    means:
      'What was about to be written was read again and was not what the plan says: a bug of ours. Nothing was written.',
    causes: ['A form of YAML that the splicer does not handle.'],
    fix: ['Report it with the file; change the field by hand meanwhile.'],
  },
  SP480: {
    title: 'The rights of an account cannot be asked for',
    exit: 4,
    means:
      'Before a workload moves to an account of its own, the API server is asked what that account may do. You may not ask, so nothing was moved.',
    causes: ['The role `sallyport-identity` of an earlier version, or one of your own.'],
    fix: [
      'Grant `create` on `subjectaccessreviews.authorization.k8s.io` (templates/rbac/identity.yaml), then `sallyport resume`.',
    ],
  },
  SP484: {
    title: 'The cluster does not serve a kind that a pattern writes',
    exit: 4,
    means:
      'An object of the pattern is of a kind for which the cluster has no CustomResourceDefinition. Nothing was applied.',
    causes: ['A dialect of another CNI.', 'The mesh or the API of admin policies is not installed.'],
    fix: ['Choose another dialect: `--set dialect=kubernetes`; `sallyport pattern show NAME` lists them.'],
  },
  SP485: {
    title: 'A right that this needs is missing',
    exit: 4,
    means:
      'The API server says that you may not write part of what an answer to an incident consists of. It was asked before the first write: nothing was written.',
    causes: [
      'The role `sallyport-responder` is not bound in that namespace, or not whole.',
      'A watch with `--act` that quarantines by labels, without `sallyport-actor-pods` in that namespace.',
    ],
    fix: ['`sallyport doctor --role responder --namespace NS` (or `actor`, `actor-pods`) names what is missing.'],
  },
  SP494: {
    title: 'A playbook is refused',
    exit: 3,
    means: 'It would not hold, would reach others, or this cluster has nothing that can do it. Nothing was written.',
    causes: ['NetworkPolicies only add.', 'Labels that others share.', 'A policy of an earlier tier.'],
    fix: ['The finding beside it says which; `--with` names another kind.'],
  },
  SP495: {
    title: 'A playbook would cut more than its cap',
    exit: 3,
    means: 'More edges on record would be cut than one answer may. Nothing was written.',
    causes: ['A subject that much depends on.'],
    fix: ['Look at what it would cut, then `--cap N`, or `incidents.cap` in the configuration.'],
  },
  SP496: {
    title: 'Nobody is there to confirm the answer',
    exit: 2,
    means: 'It writes, and there is no terminal. Nothing was written.',
    causes: ['A script or a job.'],
    fix: ['`--yes`; for a rotation `--yes --irreversible`.'],
  },
  SP497: {
    title: 'The answer was not confirmed',
    exit: 130,
    means: 'Nothing was written.',
    causes: ['The question was answered with no.'],
    fix: ['The same command again.'],
  },
  SP498: {
    title: 'A rotation cannot be undone',
    exit: 2,
    means: 'The old credentials are gone, which was the purpose.',
    causes: ['`incident undo` of a rotation.'],
    fix: ['Look at why pods do not start: `kubectl get events`.'],
  },
  SP499: {
    title: 'The run of an incident is not finished',
    exit: 3,
    means: 'It was interrupted; what it wrote is on record.',
    causes: ['A crash, Ctrl-C, or an API server that was away.'],
    fix: ['`sallyport resume`, then `sallyport incident undo ID`.'],
  },
} as const satisfies CodeTable;
