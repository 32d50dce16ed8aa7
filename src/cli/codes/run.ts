import type { CodeTable } from './entry.ts';

/** SP6xx: plans, runs, the watch after them, and the ways back. */
export const RUN_CODES = {
  SP600: {
    title: 'A gate does not answer yes',
    exit: 3,
    means: 'The phase may not be entered as things are. Nothing was written. "Unknown" blocks as "no" does.',
    causes: [
      'Too little evidence, an edge that nobody reviewed, a policy that cannot be judged, an object that Git or Helm writes.',
    ],
    fix: [
      '`sallyport plan NS --to PHASE` shows each gate with its facts and its fix.',
      'A person may answer: `sallyport adopt`, `accept` or `waive`, with a reason.',
    ],
  },
  SP601: {
    title: 'The cluster changed since the plan was made',
    exit: 3,
    means: 'An object that the step would write is not as it was planned on. The run stopped before the step.',
    causes: ['Somebody, or a controller, wrote the object meanwhile.'],
    fix: ['Look at the change, then plan again. What was done so far stays on record.'],
  },
  SP602: {
    title: 'A workload did not become ready, and the step was taken back',
    exit: 7,
    means: 'A step that replaces pods waits for them; they did not start, so their template is as before.',
    causes: ['No room on the nodes, a sidecar that cannot start, a readiness probe that fails behind the proxy.'],
    fix: ['`kubectl describe` its pods, then `sallyport advance NS` again, or `sallyport rollback NS`.'],
  },
  SP603: {
    title: 'An object is neither as before nor as after the step',
    exit: 3,
    means:
      'After an interruption Sallyport finds out what was written from the object itself; this one was changed by somebody else.',
    causes: ['Somebody repaired it by hand.'],
    fix: [
      'Put it into one of the two states that the message shows, then `sallyport resume`.',
      'Or `sallyport rollback NS`: it closes the run, shows the field in three versions (SP606), and `sallyport resolve OBJECT --keep ours|theirs|before` decides.',
      'Only an object of that name which is not ours (it was there before the step could make it) stops `rollback` too: rename or delete it.',
    ],
  },
  SP604: {
    title: 'The run is not open',
    exit: 2,
    means: 'There is nothing to resume in that run: it has ended.',
    causes: ['Another process finished it.'],
    fix: ['`sallyport status`.'],
  },
  SP605: {
    title: 'The plan is not the one that was confirmed',
    exit: 3,
    means: '`--plan-hash` names a plan that differs from the one made now. Nothing was written.',
    causes: ['The cluster, the record or a decision changed.', 'It was planned to another phase.'],
    fix: ['`sallyport plan NS --to PHASE`, look, and use its hash.'],
  },
  SP606: {
    title: 'Fields of ours were changed by somebody else',
    exit: 3,
    means:
      'The rollback would overwrite what somebody else wrote since; nothing was taken back. Each field is shown in three versions.',
    causes: ['A person, a controller, or a sync from Git.'],
    fix: ['`sallyport resolve OBJECT --keep ours|theirs|before --reason TEXT`, then the rollback again.'],
  },
  SP607: {
    title: 'A run was interrupted and is not finished',
    exit: 3,
    means: 'No new run begins before the old one is ended.',
    causes: ['A crash, a kill, a lost connection.'],
    fix: ['`sallyport resume` finishes it; `sallyport rollback NS` takes it back.'],
  },
  SP608: {
    title: 'What the run wrote is different already',
    exit: 6,
    means: 'After the last step the objects were read again, and some fields are not as the run left them.',
    causes: ['A controller or a sync from Git writes them too.'],
    fix: ['`sallyport verify NS` shows each; find out who writes it before going on.'],
  },
  SP610: {
    title: 'The watch is not over, or not every edge was seen',
    exit: 3,
    means: 'The steps are done and the namespace soaks on: time is left, or edges were not seen anew.',
    causes: ['Rare traffic, or signals that do not show it.'],
    fix: [
      '`sallyport resume` later asks again.',
      'A person may waive: `sallyport waive gate=soak,subject=... --reason TEXT`.',
    ],
  },
  SP611: {
    title: 'Pulled back',
    exit: 8,
    means:
      'During the watch a connection on record was denied, so the run was undone. The namespace is as it was before.',
    causes: ['An edge that is legitimate was cut: evidence was missing, or another policy of the cluster denies it.'],
    fix: ['Adopt the edge if it is legitimate, or accept that it is cut; then plan again.'],
  },
  SP612: {
    title: 'The watch has no signals',
    exit: 2,
    means: 'A run that is under watch was resumed with a configuration that names no signals.',
    causes: ['`--config` is missing.'],
    fix: ['Give the configuration that it was started with, or `sallyport rollback NS`.'],
  },
  SP613: {
    title: 'The pull-back met a foreign change',
    exit: 3,
    means: 'A denial asked for the way back, and a field of ours was changed by somebody else. It is left as it is.',
    causes: ['A person repaired the outage by hand.'],
    fix: ['Put the field to what Sallyport wrote or to what was there before, then `sallyport rollback NS`.'],
  },
  SP614: {
    title: 'The pull-back would deny something',
    exit: 3,
    means: 'The way back was simulated and would cut an edge on record; nothing was taken back.',
    causes: ['A peer went on meanwhile and relies on this namespace.'],
    fix: ['`sallyport verify NS`, then `sallyport rollback NS`.'],
  },
  SP615: {
    title: 'The namespace soaks',
    exit: 3,
    means: 'It takes its next steps when the watch after the last run is over.',
    causes: ['The watch lasts as long as the configuration says.'],
    fix: ['`sallyport resume` looks whether it is over; `sallyport status` shows what is awaited.'],
  },
  SP616: {
    title: 'Who approves is not known',
    exit: 3,
    means: "An approval is somebody's, and the API server does not say who the caller is.",
    causes: ['A cluster older than Kubernetes 1.28, or without SelfSubjectReview.'],
    fix: ['`sallyport doctor` shows what the API server says of you.'],
  },
  SP617: {
    title: 'What the run stands on is gone',
    exit: 3,
    means:
      'The steps of a run are judged on top of those before them. Some of these were changed or taken back while the run lay interrupted, so going on could cut what must work.',
    causes: [
      'Another operator took the run back with a copy of this state.',
      'Somebody deleted or edited objects that Sallyport had written.',
    ],
    fix: [
      '`sallyport rollback NS` takes back what is left of the run; then advance anew.',
      '`sallyport verify NS` shows each field that differs.',
    ],
  },
  SP620: {
    title: 'This state lacks the newest run',
    exit: 5,
    means: 'The cluster holds the record of a run that this state does not know. Nothing was written.',
    causes: ['Somebody ran Sallyport from another machine.', 'An old copy of the state was restored.'],
    fix: [
      'Take over: `sallyport state export` there, `sallyport state import FILE` here; or `sallyport state rebuild`.',
    ],
  },
  SP621: {
    title: 'The way back cannot be kept',
    exit: 5,
    means:
      'Before the first write the undo must be on disk or in the cluster, outside the state; it is not, so nothing was written.',
    causes: ['No right to write ConfigMaps in kube-system.', 'A folder that cannot be written to.'],
    fix: ['Bind the role `operator`, or keep it in a folder: `undo.path` and `undo.cluster` in the configuration.'],
  },
  SP622: {
    title: 'The folder of ways back cannot be used',
    exit: 5,
    means: 'Reading or writing a way back in the folder beside the state failed.',
    causes: ['Permissions, a full disk, a link in its place.'],
    fix: ['The folder must be yours and have room; `undo.path` names another.'],
  },
  SP623: {
    title: 'A record in the folder of ways back is damaged',
    exit: 5,
    means: 'The file is no JSON; nothing is written on top of it.',
    causes: ['An interrupted copy, or an edit by hand.'],
    fix: ['Put a copy in its place, or move it away where the state is whole.'],
  },
  SP624: {
    title: 'A record of another cluster',
    exit: 5,
    means: '`state rebuild` found a record of another cluster or directory.',
    causes: ['One folder of ways back for several clusters.'],
    fix: ['Choose the cluster with `--context` or `--manifests`, or another folder with `undo.path`.'],
  },
  SP625: {
    title: 'The new account may not do what the old one may',
    exit: 3,
    means:
      'Before a workload moves to an account of its own, the API server is asked (SubjectAccessReview) for each right of the old one. It refused some, so the workload was not moved. The account and its bindings stand, and the rollback takes them away.',
    causes: [
      'Another authorizer than RBAC gives the old account its rights (a webhook, ABAC).',
      'A binding or role was changed while the run went on.',
    ],
    fix: [
      '`kubectl auth can-i --list --as system:serviceaccount:NS:ACCOUNT -n NS` shows what it may do.',
      'Give it the right where it comes from, then plan again; or `sallyport rollback NS`.',
    ],
  },
  SP629: {
    title: 'The pattern is not in force for that namespace',
    exit: 2,
    means: '`pattern remove` takes back what the record says the pattern wrote for a namespace, and there is nothing.',
    causes: ['It was applied with another `-n`.', 'A rollback took it back already.'],
    fix: ['`sallyport pattern check NAME` says for which namespaces it is applied.'],
  },
  SP632: {
    title: 'The connection is let through already',
    exit: 3,
    means: 'The evaluator finds nothing that holds it back, so there is nothing to grant. Nothing was written.',
    causes: [
      'Another grant or a policy allows it.',
      'What fails is not a policy: DNS, the application, a firewall outside.',
    ],
    fix: ['`sallyport reach --from W --to W --port P --mesh --explain` shows what decides.'],
  },
  SP633: {
    title: 'It cannot be opened exactly',
    exit: 3,
    means: 'A grant opens one connection and nothing else, or it is refused. Nothing was written.',
    causes: [
      'Labels or an account are shared, so that others would be let through as well.',
      'The server takes mTLS alone, and the caller has no sidecar.',
      "An administrator's denial, or a policy that is not evaluated, decides.",
    ],
    fix: [
      'The line `next:` names what to change.',
      '`sallyport break-glass NS` suspends the whole phase, where that must be.',
    ],
  },
  SP634: {
    title: 'There is no such grant in force',
    exit: 2,
    means: 'The record holds no grant of that id that has not ended.',
    causes: ['It has ended.', 'It was given with another state.'],
    fix: ['`sallyport grant list` lists them.'],
  },
  SP635: {
    title: 'There is nothing to suspend',
    exit: 3,
    means: 'The namespace is in no phase that refuses anybody.',
    causes: ['What holds a connection back is not of Sallyport.'],
    fix: ['`sallyport reach --explain` says what denies it.'],
  },
  SP636: {
    title: 'The namespace is suspended',
    exit: 3,
    means: 'A break-glass stands, and the namespace moves no further until it has ended.',
    causes: ['Somebody suspended it; `sallyport grant list` says who and why.'],
    fix: ['`sallyport grant revoke ID` ends it now; else wait.'],
  },
  SP641: {
    title: 'The working tree is not clean',
    exit: 3,
    means:
      'Changes go into Git as commits of their own, so nothing else may lie uncommitted in the tree. Nothing was written.',
    causes: ['Work in progress in the clone.', 'A run that was killed between its files and its commit.'],
    fix: [
      'Commit it, or `git stash push --include-untracked`, or use a clone of its own.',
      'What a killed run wrote stands under `sallyport/` and is written again: `git restore` and `git clean` there, then `sallyport resume`.',
    ],
  },
  SP642: {
    title: 'Git refused the commit',
    exit: 3,
    means:
      'A hook, the signing or Git itself said no. The tree is as it was, and the run is on record without a commit.',
    causes: ['A pre-commit hook that checks manifests.', 'A signing key that is not there.'],
    fix: ['Mend what Git names, then `sallyport resume` commits; `sallyport rollback NS` gives the run up.'],
  },
  SP643: {
    title: 'The push failed',
    exit: 4,
    means: 'The commit is made, and the remote does not have it.',
    causes: ['No credentials, no upstream branch, or no network.'],
    fix: ['Push the branch by hand or open the pull request from another one, then `sallyport resume`.'],
  },
  SP644: {
    title: 'The commit is not in force',
    exit: [3, 4],
    means:
      'Flux or Argo CD does not say that it has applied the commit or one after it (exit 3), or says that it could not (exit 4). The run waits on record.',
    causes: [
      'It is not pushed or merged yet.',
      'Another branch or path is deployed: name the object with `--deployer`.',
    ],
    fix: ['`sallyport resume --wait 20m` waits; `sallyport rollback NS` takes the commit back.'],
  },
  SP645: {
    title: 'The commit is applied, and the cluster differs',
    exit: 6,
    means: 'The controller says that it has applied the commit, and an object does not say what the commit does.',
    causes: [
      'An overlay, a post-render step or a webhook changes it on the way.',
      'The folder is not the one that is deployed.',
    ],
    fix: ['Look at the object, mend Git, then `sallyport resume`.'],
  },
  SP646: {
    title: 'A command of Git failed',
    exit: 4,
    means: 'Git could not do what it was asked; its own words are shown.',
    causes: ['A lock left by another Git, a damaged repository, a full disk.'],
    fix: ['`git status` there says what is wrong; then the same command, or `sallyport resume`.'],
  },
  SP647: {
    title: 'An object that Git declares is not written past it',
    exit: 3,
    means: 'The run goes through Git, so the cluster is not written directly.',
    causes: ['A step failed after its commit was applied, and would be taken back at once.'],
    fix: ['`sallyport rollback NS --git DIR` takes the commit back.'],
  },
  SP648: {
    title: 'The tree cannot take a change',
    exit: 3,
    means: 'An object is not declared where it can be edited, or somebody has built on a commit that is to go.',
    causes: ['Several overlays share the file.', 'The file was changed after the plan.'],
    fix: ['Do what the message says for that object, then the same command again.'],
  },
  SP649: {
    title: 'A commit of the namespace waits to be in force',
    exit: 3,
    means: 'One commit after the other: the next is judged on what the one before leaves.',
    causes: ['A pull request that is not merged yet.'],
    fix: ['`sallyport resume` looks again; `sallyport rollback NS` takes the commit back.'],
  },
  SP650: {
    title: 'Somebody else changed the object',
    exit: 3,
    means: 'The patch tested the old value, and it was another one. Nothing was written.',
    causes: ['A controller that writes the object again and again.'],
    fix: ['`kubectl get KIND NAME --show-managed-fields -o yaml` shows who; then plan again.'],
  },
  SP651: {
    title: 'Another manager owns the field',
    exit: 3,
    means: 'Server-side apply says that the field belongs to another manager; nothing is forced.',
    causes: ['An operator or a GitOps controller that took over an object of ours.'],
    fix: ['Agree with that manager, or change its source; then plan again.'],
  },
  SP652: {
    title: 'The Lease is held by another run',
    exit: 3,
    means: 'Another Sallyport writes in this namespace. One pair of hands at a time.',
    causes: ['A run that is still going on, or was killed a moment ago.'],
    fix: ['Wait: the hold of a killed run ends by itself after the time that the hint names.'],
  },
  SP654: {
    title: 'Somebody changed what the next step rests on',
    exit: 3,
    means:
      'Before each step that may take a connection away, the policies, mesh objects, labels and accounts that the plan was judged on are read again. One of them is not as it was, or as the steps so far left it; the step was not taken. The message shows the field as it was when the plan was made, as it should be by now, and as it is. The run is closed where it stands, since nothing of it is uncertain.',
    causes: [
      'A person, a pipeline or a controller deleted, edited or made an object in the namespace while the run went on.',
      'Argo CD or Flux put back what is in Git.',
    ],
    fix: [
      '`sallyport plan NS` judges what is there now, and `sallyport advance NS` goes on from there.',
      'Where it is something that Sallyport wrote: `sallyport resolve OBJECT --keep ours` puts it back first.',
      '`sallyport rollback NS` takes back what the run did.',
    ],
  },
  SP655: {
    title: 'The object is another version than the one that was judged',
    exit: 3,
    means:
      'It changed between the last look and the write, eight times within a quarter of a minute; it was looked at anew each time. Nothing was written, since a field beside those of the step may turn what the step means. The run is closed where it stands, since nothing of it is uncertain and an open run would hold up others.',
    causes: ['A controller writes it all the time, or two controllers write against each other.'],
    fix: [
      'See who writes it: `kubectl get KIND NAME --show-managed-fields -o yaml`.',
      'Once it is still, `sallyport advance NS` goes on from there; `sallyport rollback NS` takes back what the run did.',
    ],
  },
  SP660: {
    title: 'The kill switch cannot be moved',
    exit: 5,
    means: 'The file beside the state that stops what runs by itself could not be written or removed.',
    causes: ['The folder of the state may not be written.', 'A full disk.'],
    fix: [
      "`kubectl annotate namespace kube-system sallyport.dev/stop='REASON'` stops every watch of the cluster.",
      'Make the folder writable, then the same command again.',
    ],
  },
  SP661: {
    title: 'Not what it was: a proposal, or something that was carried out',
    exit: 2,
    means: '`incident run` and `dismiss` take a proposal that waits; `confirm` and `undo` take what was carried out.',
    causes: ['Somebody was faster.', 'The wrong id.'],
    fix: ['`sallyport incident list` says how each stands.'],
  },
  SP662: {
    title: 'The namespace did not opt in to experiments',
    exit: 3,
    means: 'Something that enforces is taken away only where the owners of a namespace said so. Nothing was written.',
    causes: ['The annotation `sallyport.dev/chaos: allowed` is missing.'],
    fix: ['`kubectl annotate namespace NS sallyport.dev/chaos=allowed`, by its owners.'],
  },
  SP663: {
    title: 'No experiments in a protected namespace',
    exit: 3,
    means: 'Others stand on it. Nothing was written.',
    causes: ['kube-system, a mesh, a CNI, or a namespace of `triggers.limits.protected`.'],
    fix: ['Try it in a namespace on which less depends.'],
  },
  SP664: {
    title: 'No experiment while a run is open',
    exit: 3,
    means:
      'What a soak or an interrupted run awaits could not be told from what an experiment does. Nothing was written.',
    causes: ['A run that soaks.', 'A run that was interrupted.'],
    fix: ['`sallyport resume`, and then the same command.'],
  },
  SP665: {
    title: 'Nothing may be taken away',
    exit: 3,
    means:
      'An experiment may only open, for a bounded time: what would deny an edge on record, close a pair, open the way into another namespace, or open nothing at all is refused. Nothing was written.',
    causes: [
      'The object allows what another one denies.',
      'Nothing of ours is in force there.',
      'It is not as it was left: `sallyport verify`.',
    ],
    fix: ['Name another object with `--object`, or `--how loosen`.'],
  },
  SP666: {
    title: 'Nobody looks',
    exit: 3,
    means: 'An experiment is made only under the eyes of a watch that has read the cluster. Nothing was written.',
    causes: [
      'The address of `--watch-url` does not answer, or the watch there is not ready.',
      'The cluster could not be read.',
    ],
    fix: ['`sallyport watch --listen :9464`, or leave `--watch-url` out: then a watch of its own looks.'],
  },
  SP653: {
    title: 'The hold was lost',
    exit: 3,
    means: 'The Lease could not be renewed in time or was taken; nothing more is written.',
    causes: ['The API server was away for longer than the hold lasts, or the machine slept.'],
    fix: ['When the other run has ended: `sallyport resume`.'],
  },
  SP670: {
    title: 'What is proposed cannot be applied',
    exit: 3,
    means:
      'A proposal that was named is refused, rests on something that was not measured, or is not ours to write. Nothing was written.',
    causes: [
      'The condition that the proposal names does not hold: a port that declares no protocol, a rule of somebody else, a record that is too short.',
      'It is an instruction: what it changes is no object of Kubernetes that Sallyport writes.',
    ],
    fix: [
      '`sallyport tune NAMESPACE` shows why, and what to do by hand.',
      'Change what stands against it, and run tune again.',
    ],
  },
  SP685: {
    title: 'No key was replaced for that namespace',
    exit: 2,
    means:
      '`cloud-identity remove` takes back what the record says `cloud-identity apply` wrote for a namespace, and there is nothing.',
    causes: ['It was applied for another namespace.', 'A rollback took it back already.'],
    fix: ['`sallyport audit --namespace NS` shows what was done and what was taken back.'],
  },
  SP691: {
    title: 'The branch has moved',
    exit: 3,
    means:
      'The remote has commits that this clone has not, so it does not take the push. Nothing is forced; the commit is here.',
    causes: ['Somebody else pushed first.'],
    fix: [
      '`git pull --rebase`, then `sallyport resume --push`: the commit is found again by its trailer.',
      'Where it conflicts: `git rebase --abort`, `sallyport rollback NS` with the same `--git`, then plan anew.',
    ],
  },
  SP692: {
    title: 'The commit is applied, and not healthy',
    exit: 4,
    means:
      'Flux says HealthCheckFailed, or Argo CD says Degraded or Missing, of a revision that holds the commit. What it changes is in the cluster; the run waits on record.',
    causes: [
      'A workload that the same object applies does not become ready, for whatever reason.',
      'It was so before the commit.',
    ],
    fix: [
      'Look at what is not healthy; `sallyport resume --wait 20m` waits for it, `sallyport rollback NS` takes the commit back.',
      '`git: {health: ignore}` in the configuration goes by the objects of the commit alone.',
    ],
  },
  SP693: {
    title: 'The remote does not take the branch',
    exit: 3,
    means: 'A rule or a hook of the remote refused the push. The commit is here.',
    causes: ['A protected branch, which takes pull requests alone.'],
    fix: ['Push it as another branch, open a pull request with the text that was written, then `sallyport resume`.'],
  },
} as const satisfies CodeTable;
