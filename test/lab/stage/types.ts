// What a test holds of a stage that is up.
import type { ApiClient } from '../../support/apiserver/client.ts';

export interface PodName {
  readonly namespace: string;
  readonly name: string;
}

export interface StageOptions {
  /** Starts istiod and its webhooks; default true. Without it no pod gets a sidecar. */
  readonly mesh?: boolean;
  /** Applied (with `apply`) and settled before startStage returns. */
  readonly manifests?: string | readonly unknown[];
  /** The program of image `lab/pod`; default: built from test/lab/pod/gomod. */
  readonly podProgram?: string;
  /** Told what goes on; default: a line on stderr each. */
  readonly progress?: (line: string) => void;
}

export interface ExecResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Stage {
  /** Of an administrator, usable from the host: the API server is forwarded to the host's loopback. */
  readonly kubeconfig: string;
  readonly apiUrl: string;
  /** The administrator's client. */
  readonly client: ApiClient;
  /** Work folder of the stage; removed by `down` unless `keep` was asked. */
  readonly dir: string;
  /** Neutral edges, JSON Lines. */
  readonly verdictLog: string;
  readonly conntrackLog: string;
  /** `<accessLogs>/<namespace>/<pod>/access.jsonl` */
  readonly accessLogs: string;
  /** `<podLogs>/<namespace>/<pod>/<container>.log` */
  readonly podLogs: string;
  readonly buildSec: number;
  readonly startSec: number;

  /** Server-side applies manifests (objects, or every *.yaml, *.yml and *.json of a folder), namespaces and CRDs first. */
  apply(manifests: string | readonly unknown[]): Promise<void>;
  /**
   * Waits until every Deployment, StatefulSet and DaemonSet (of the namespaces, default all) is rolled out, no pod of them is
   * terminating, and the node's service table has caught up. Errors: not within timeoutSec, with what is lacking.
   */
  settle(timeoutSec?: number, namespaces?: readonly string[]): Promise<void>;
  /** Names of the pods with these labels that are ready and not being deleted. */
  readyPods(namespace: string, labels?: Readonly<Record<string, string>>): Promise<readonly string[]>;
  /** Path of the network namespace, for `nsenter --net=`. */
  netnsOf(pod: PodName): Promise<string>;
  /** Runs argv (looked up on the machine, or in the pod's root) in the pod's network namespace and root folder. */
  exec(
    pod: PodName,
    argv: readonly string[],
    options?: { readonly timeoutSec?: number; readonly user?: number; readonly input?: string },
  ): Promise<ExecResult>;
  /** Runs argv in the node's network namespace, the machine's root. */
  nodeExec(argv: readonly string[], options?: { readonly timeoutSec?: number }): Promise<ExecResult>;
  /** Output so far of a pod's container. */
  podLog(pod: PodName, container: string): string;

  /** Ends the API server as a crash would, leaves it down for downSec (default 0), starts it anew, waits until ready. */
  restartApiServer(downSec?: number): Promise<void>;
  /** Kills istiod and keeps it from starting; the API objects stay, the pod goes unready. */
  stopIstiod(): Promise<void>;
  startIstiod(): Promise<void>;
  /** The policy engine goes on deciding, but by the policies of this moment. */
  pauseVerdicts(): Promise<void>;
  resumeVerdicts(): Promise<void>;
  /**
   * From now on the pod's proxy rejects what istiod sends it for listeners, and keeps what it has: it has said so once. Returns how to end it.
   */
  breakProxyConfig(pod: PodName): Promise<() => Promise<void>>;
  /** What istiod says of its proxies (/debug/syncz). */
  proxySync(): Promise<unknown>;
  /** Datagrams that the kernel dropped before the policy engine saw them; must stay 0 (else a drop looks like a denial). */
  verdictDrops(): Promise<number>;
  /** Forgets every connection the node tracks: established ones are decided on anew. */
  flushConntrack(): Promise<void>;

  /** Ends everything; leaves no process, network namespace, mount or (unless keep) folder. */
  down(options?: { readonly keep?: boolean }): Promise<void>;
}
