import type { Protocol } from '../model/edge.ts';
import { isObject, namespaceOf } from '../model/object.ts';
import type { GrantRequest, GrantTerms } from '../readiness/grant-terms.ts';
import { EXIT, Failure } from '../shared/pure/errors.ts';
import { safeText } from '../shared/pure/text.ts';
import { reasonMissing } from './commands/resolve.ts';
import type { App } from './context.ts';
import type { Loaded } from './load.ts';
import { parseMoment } from './moment.ts';
import { parseDuration } from './observe-followed.ts';

export interface GrantOptions {
  readonly from?: string;
  readonly to?: string;
  readonly port?: string;
  readonly protocol?: string;
  readonly for?: string;
  readonly until?: string;
  readonly reason?: string;
  readonly user?: string;
  readonly group?: string;
  readonly exec?: readonly string[];
  readonly portForward?: readonly string[];
  readonly inCluster?: boolean;
  /** Say yes to what somebody else asks for, in place of opening it. */
  readonly approve?: boolean;
}

/** The moment for deadlines: the clock of this machine, unless `--now` names another. */
export function grantNow(app: App): number {
  return app.options.now === undefined ? Date.now() : parseMoment(app.options.now);
}

function wrongGrant(message: string, hint: string, where = 'sallyport grant'): Failure {
  return new Failure({ code: 'SP267', exit: EXIT.usage, message, where, hint });
}

/** Errors: exit 2 (SP266) for no time, two of them, or one that is longer than the configuration allows; SP237 without a reason. */
export function readTerms(
  options: Pick<GrantOptions, 'for' | 'until' | 'reason'>,
  most: number,
  now: number,
  by: string,
  where: string,
): GrantTerms {
  const reason = (options.reason ?? '').trim();
  if (reason === '') throw reasonMissing(where, `${where} --help`);
  const wrong = (message: string): Failure =>
    new Failure({
      code: 'SP266',
      exit: EXIT.usage,
      message,
      where: options.until === undefined ? '--for' : '--until',
      hint: `--for 30m, or --until TIME, at most ${formatMinutes(most)} (grants in the configuration)`,
    });
  if ((options.for === undefined) === (options.until === undefined))
    throw wrong(options.for === undefined ? 'access without an end is not granted' : 'give --for or --until, not both');
  const until =
    options.until === undefined ? now + parseDuration(options.for ?? '') : parseMoment(options.until, '--until');
  if (until <= now) throw wrong(`${new Date(until).toISOString()} is over already`);
  if (until - now > most * 60_000) throw wrong(`${formatMinutes((until - now) / 60_000)} is longer than allowed`);
  // Whole seconds, as the API server counts.
  return { reason, by, since: now, until: Math.floor(until / 1000) * 1000 };
}

function formatMinutes(minutes: number): string {
  return minutes % 60 === 0 ? `${minutes / 60} h` : `${Math.round(minutes)} min`;
}

const PORT = /^(\d{1,5})(?:\/(tcp|udp|sctp))?$/i;

/** What is asked for; every mistake at once. */
export function readRequest(options: GrantOptions, loaded: Loaded): GrantRequest {
  const person = options.user ?? options.group;
  const forPods = [...(options.exec ?? []), ...(options.portForward ?? [])];
  const isConnection = options.from !== undefined || options.to !== undefined || options.port !== undefined;
  if (isConnection === (person !== undefined || forPods.length > 0))
    throw wrongGrant(
      isConnection ? 'a connection and a person are two grants' : 'what is to be granted is not said',
      '--from W --to W --port P for a connection; --user U or --group G with --exec POD or --port-forward POD for a person',
    );
  return isConnection ? readConnection(options, loaded) : readPerson(options, loaded);
}

function readConnection(options: GrantOptions, { inventory }: Loaded): GrantRequest {
  const faults: string[] = [];
  const ids = new Set(inventory.workloads.map(({ id }) => id));
  const end = (flag: string, id: string | undefined): string => {
    if (id === undefined) faults.push(`${flag} is missing`);
    else if (!ids.has(id)) faults.push(`${flag}: there is no workload ${safeText(id)}`);
    return id ?? '';
  };
  const [from, to] = [end('--from', options.from), end('--to', options.to)];
  const match = PORT.exec(options.port ?? '');
  const port = Number(match?.[1] ?? NaN);
  if (!(port >= 1 && port <= 65535)) faults.push(`--port ${safeText(options.port ?? '(missing)')} is no port`);
  const given = (options.protocol ?? match?.[2] ?? 'TCP').toUpperCase();
  if (match?.[2] !== undefined && options.protocol !== undefined && given !== match[2].toUpperCase())
    faults.push('--port and --protocol name two protocols');
  if (!['TCP', 'UDP', 'SCTP'].includes(given)) faults.push(`--protocol ${safeText(given)} is none of TCP, UDP, SCTP`);
  if (from === to && from !== '') faults.push('a workload that calls itself is not granted: name two workloads');
  if (faults.length > 0)
    throw wrongGrant(
      faults.join('; '),
      'workloads are namespace/Kind/name, as sallyport inventory -o name lists them; a port is 5432 or 53/udp',
    );
  return { kind: 'connection', from, to, protocol: given as Protocol, port };
}

/** Names that RBAC and a shell take as they are; identity providers add prefixes and mail addresses. */
const SUBJECT = /^[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,252}$/;

function readPerson(options: GrantOptions, { snapshot }: Loaded): GrantRequest {
  const faults: string[] = [];
  if ((options.user === undefined) === (options.group === undefined))
    faults.push('give --user or --group, one of them');
  const name = options.user ?? options.group ?? '';
  if (name !== '' && !SUBJECT.test(name)) faults.push(`${safeText(name)} is no name of a user or group`);
  if (
    options.group !== undefined &&
    ['system:authenticated', 'system:unauthenticated', 'system:serviceaccounts'].includes(options.group)
  )
    faults.push(`${options.group} is everybody: name a person or a team`);
  const [exec, portForward] = [options.exec ?? [], options.portForward ?? []];
  const pods = [...new Set([...exec, ...portForward])];
  if (pods.length === 0) faults.push('--exec POD or --port-forward POD is missing');
  const known = new Set(
    snapshot.objects
      .filter((object) => isObject(object, '', 'Pod'))
      .map((object) => `${namespaceOf(object) ?? ''}/${object.metadata.name}`),
  );
  for (const pod of pods) if (!known.has(pod)) faults.push(`there is no pod ${safeText(pod)}`);
  const namespaces = [...new Set(pods.map((pod) => pod.slice(0, Math.max(0, pod.indexOf('/')))))];
  if (namespaces.length > 1) faults.push('pods of one namespace at a time: a Role is of one');
  if (faults.length > 0)
    throw wrongGrant(faults.join('; '), 'pods are namespace/name: sallyport grant --user jane --exec shop/web-7d4f');
  const bare = (list: readonly string[]): readonly string[] => list.map((pod) => pod.slice(pod.indexOf('/') + 1));
  return {
    kind: 'person',
    subject: { kind: options.user === undefined ? 'Group' : 'User', name },
    namespace: namespaces[0] ?? '',
    exec: bare(exec),
    portForward: bare(portForward),
  };
}
