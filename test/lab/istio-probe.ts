// Requests from inside a pod's network namespace, each on a connection of its own and never repeated.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface Probe {
  readonly ip: string;
  readonly port: number;
  /** Absent: a line of the lab's own TCP protocol. */
  readonly http?: {
    readonly method: string;
    readonly path: string;
    readonly host: string;
    readonly headers: Readonly<Record<string, string>>;
  };
}

export interface ProbeResult {
  /** The server itself answered. */
  readonly reached: boolean;
  /** What came back instead, or how it ended: `403 RBAC: access denied`, `ConnectionResetError`. */
  readonly text: string;
}

/** Asks from one network namespace until it is closed. */
export interface Prober {
  probe(probes: readonly Probe[]): Promise<readonly ProbeResult[]>;
  close(): Promise<void>;
}

// Standard library alone: any Python 3 runs it. One JSON list a line in, one out.
const SCRIPT = `
import json, socket, sys, http.client
from concurrent.futures import ThreadPoolExecutor

def ask(probe):
    try:
        with socket.create_connection((probe["ip"], probe["port"]), timeout=4) as sock:
            sock.settimeout(4)
            want = probe.get("http")
            if want is None:
                sock.sendall(b"ping\\n")
                line = sock.recv(200).decode("latin-1")
                return {"reached": line.startswith("pong"), "text": line.strip() or "closed"}
            lines = [want["method"] + " " + want["path"] + " HTTP/1.1", "Host: " + want["host"], "Connection: close"]
            lines += [name + ": " + value for name, value in want["headers"].items()]
            if want["method"] == "POST":
                lines.append("Content-Length: 0")
            sock.sendall(("\\r\\n".join(lines) + "\\r\\n\\r\\n").encode("latin-1"))
            answer = http.client.HTTPResponse(sock, method=want["method"])
            answer.begin()
            body = answer.read(120).decode("latin-1").strip()
            reached = answer.getheader("x-lab-by") is not None
            return {"reached": reached, "text": str(answer.status) + " " + body}
    except Exception as error:
        return {"reached": False, "text": type(error).__name__ + ": " + str(error)}

with ThreadPoolExecutor(8) as pool:
    for line in sys.stdin:
        print(json.dumps(list(pool.map(ask, json.loads(line)))), flush=True)
`;

/** Starts a prober in a network namespace (a path under /proc). Errors: it ends while it is being asked. */
export function startProber(netns: string): Prober {
  const child = spawn('nsenter', [`--net=${netns}`, '/usr/bin/python3', '-u', '-c', SCRIPT], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { PATH: '/usr/bin:/bin' },
  });
  const waiting: { readonly done: (line: string) => void; readonly fail: (error: Error) => void }[] = [];
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString('utf8');
  });
  createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()?.done(line));
  const ended = new Promise<void>((resolve) => {
    const end = (): void => {
      for (const { fail } of waiting.splice(0)) fail(new Error(`the prober ended: ${stderr.slice(-500)}`));
      resolve();
    };
    child.once('exit', end);
    child.once('error', end);
  });
  return {
    probe: (probes) =>
      new Promise((resolve, reject) => {
        waiting.push({ done: (line) => resolve(JSON.parse(line) as ProbeResult[]), fail: reject });
        child.stdin.write(`${JSON.stringify(probes)}\n`);
      }),
    close: async () => {
      child.stdin.end();
      await ended;
    },
  };
}
