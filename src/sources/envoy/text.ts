import type { Raw } from '../ends.ts';

/**
 * Istio's default text format (istio.io/latest/docs/tasks/observability/logs/access-log, "default format"). Header values stand
 * in it unescaped, so nothing between the first fields and the last ones is relied on: whoever sends a header can write quotes
 * and spaces into it, but not change what stands before and behind.
 */
const HEAD = /^\[([^\]\s]+)\] "(\S+) (\S+) (\S+)" (\d+) (\S+) (\S+) (\S+) "/;
/** A connection without a request: Envoy writes `"- - -"`. */
const TAIL = /"([^"]*)" "[^"]*" "[^"]*" "([^"]*)" (\S+) (\S+) (\S+) (\S+) (\S+) (\S+)$/;

/** One line of it under the names of the JSON format; undefined for any other line. */
export function parseAccessLine(line: string): Raw | undefined {
  const head = HEAD.exec(line);
  if (head === null) return undefined;
  const tail = TAIL.exec(line.slice(head[0].length - 1));
  if (tail === null) return undefined;
  const [, time, method, path, protocol, code, flags, details, termination] = head;
  const [, agent, host, cluster, upstreamLocal, local, remote, serverName, route] = tail;
  return {
    start_time: time,
    method,
    path,
    protocol,
    response_code: Number(code),
    response_flags: flags,
    response_code_details: details,
    connection_termination_details: termination,
    user_agent: agent,
    upstream_host: host,
    upstream_cluster: cluster,
    upstream_local_address: upstreamLocal,
    downstream_local_address: local,
    downstream_remote_address: remote,
    requested_server_name: serverName,
    route_name: route,
  };
}
