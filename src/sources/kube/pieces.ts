// What of Sallyport runs in the cluster itself, and when it last did: asked for `doctor`. Nothing is written, and no Secret is read.
import { EXPIRER_LABEL } from '../../model/grant.ts';
import { PROBE_LABEL } from '../../model/probe.ts';
import { accountGroups, accountUser } from '../../model/rbac.ts';
import type { JsonObject } from '../../shared/pure/json.ts';
import { asArray, asBoolean, asNumber, asObject, asString } from '../../shared/pure/json.ts';
import { sortBy } from '../../shared/pure/order.ts';
import { plural } from '../../shared/pure/text.ts';
import type { KubeApi } from './connect.ts';
import { EXPIRER_RULES, LEAD_RULES, WATCH_LEASE, sideRights } from './rights.ts';
import type { RbacRule } from './rights.ts';

/** One of them. What could not be read is unknown, with the reason among the facts. */
export interface Piece {
  readonly name: 'expirer' | 'watch' | 'prober' | 'access';
  readonly installed: 'yes' | 'no' | 'unknown';
  /** `namespace/name`. */
  readonly where: string | undefined;
  /** ISO 8601; undefined where it never ran or that is not known. */
  readonly lastRun: string | undefined;
  /** May its account do what it is for? `not-asked` where nothing runs as an account of its own. */
  readonly rights: 'yes' | 'no' | 'unknown' | 'not-asked';
  readonly missing: readonly string[];
  readonly facts: readonly string[];
  /** What is wrong with it, and what to do. */
  readonly problems: readonly string[];
}

/** An expirer of every minute that did not succeed for so long does not run. */
const EXPIRER_LATE_SEC = 600;
/** The lead is renewed every few seconds and lost after a minute (docs/watch.md). */
const LEAD_LATE_SEC = 120;
const WATCH_SELECTOR = 'app.kubernetes.io/name=sallyport-watch';
const ACCESS_ROLE = 'sallyport-access';

type Found = readonly JsonObject[] | undefined;

/** `nowMs` is the moment that ages are counted to. */
export async function readPieces(api: KubeApi, nowMs: number): Promise<readonly Piece[]> {
  return [await readExpirer(api, nowMs), await readWatch(api, nowMs), await readProber(api), await readAccessRole(api)];
}

async function list(api: KubeApi, path: string, resource: string, labelSelector?: string): Promise<Found> {
  const answer = await api.send({
    method: 'GET',
    path,
    ...(labelSelector === undefined ? {} : { query: { labelSelector } }),
    subject: { doing: `listing ${resource}`, verb: 'list', resource },
  });
  if (!answer.ok) return answer.problem.kind === 'refused' && answer.problem.status === 404 ? [] : undefined;
  return asArray(answer.body['items']).map(asObject);
}

async function readExpirer(api: KubeApi, nowMs: number): Promise<Piece> {
  const found = await list(api, '/apis/batch/v1/cronjobs', 'cronjobs.batch', EXPIRER_LABEL);
  if (found === undefined) return unread('expirer', 'CronJobs may not be listed');
  const [job, ...more] = sortBy(found, placeOf);
  if (job === undefined)
    return absent(
      'expirer',
      'grants end with the next run of sallyport on any machine, and not by themselves: kubectl apply -f templates/grants/expirer.yaml',
    );
  const spec = asObject(job['spec']);
  const status = asObject(job['status']);
  const last = asString(status['lastSuccessfulTime']);
  const started = asString(status['lastScheduleTime']);
  const problems: string[] = [];
  if (asBoolean(spec['suspend']) === true) problems.push('it is suspended: grants do not end by themselves');
  else if (last === undefined)
    problems.push(`no run of it has succeeded yet${started === undefined ? '' : `, though one began ${started}`}`);
  else if (ageSec(last, nowMs) > EXPIRER_LATE_SEC)
    problems.push(`its last success is ${ageText(last, nowMs)} ago, and it is due every minute: look at its Jobs`);
  if (more.length > 0)
    problems.push(`${plural(more.length + 1, 'CronJob')} bear its label: ${found.map(placeOf).join(', ')}`);
  const pod = asObject(asObject(asObject(asObject(spec['jobTemplate'])['spec'])['template'])['spec']);
  const rights = await accountRights(api, job, pod, EXPIRER_RULES);
  return {
    name: 'expirer',
    installed: 'yes',
    where: placeOf(job),
    lastRun: last,
    ...rights,
    facts: [last === undefined ? 'never succeeded' : `last success ${ageText(last, nowMs)} ago`],
    problems: [...problems, ...lackingProblem(rights, 'templates/grants/expirer.yaml')],
  };
}

async function readWatch(api: KubeApi, nowMs: number): Promise<Piece> {
  const found = await list(api, '/apis/apps/v1/deployments', 'deployments.apps', WATCH_SELECTOR);
  if (found === undefined) return unread('watch', 'Deployments may not be listed');
  const [deployment] = sortBy(found, placeOf);
  if (deployment === undefined)
    return absent('watch', 'nothing watches from within the cluster: templates/watch/watch.yaml');
  const problems: string[] = [];
  const facts: string[] = [];
  const ready = asNumber(asObject(deployment['status'])['availableReplicas']) ?? 0;
  if (ready === 0) problems.push('none of its pods is ready: kubectl logs says why');
  const namespace = namespaceOf(deployment);
  const lease = await api.send({
    method: 'GET',
    path: `/apis/coordination.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/leases/${WATCH_LEASE}`,
    subject: { doing: 'reading who leads', verb: 'get', resource: 'leases.coordination.k8s.io', namespace },
  });
  let renewed: string | undefined;
  if (lease.ok) {
    const spec = asObject(lease.body['spec']);
    renewed = asString(spec['renewTime']);
    const holder = asString(spec['holderIdentity']);
    facts.push(holder === undefined || holder === '' ? 'nobody leads' : `${holder} leads`);
    if (renewed !== undefined && ageSec(renewed, nowMs) > LEAD_LATE_SEC)
      problems.push(`the lead was last renewed ${ageText(renewed, nowMs)} ago: nobody watches`);
  } else if (lease.problem.kind === 'refused' && lease.problem.status === 404)
    facts.push('it leads by no Lease (--lead)');
  else facts.push('who leads may not be read');
  const pod = asObject(asObject(asObject(deployment['spec'])['template'])['spec']);
  const rules = sideRights('watcher')
    .filter(({ resources, namespace: place }) => resources !== 'all' && place === undefined)
    // What has to be there in every cluster: kinds of add-ons are asked of nobody who has none.
    .filter(({ group }) => ['', 'apps', 'batch', 'networking.k8s.io'].includes(group))
    .map(({ group, resources, verbs, names }): RbacRule => ({
      apiGroups: [group],
      resources: resources === 'all' ? [] : [...resources],
      verbs: [...verbs],
      ...(names === undefined ? {} : { resourceNames: [...names] }),
    }));
  const reads = await accountRights(api, deployment, pod, rules);
  const place = leadOf(pod);
  const leads =
    reads.rights === 'unknown' || place === undefined
      ? undefined
      : await accountRights(api, deployment, pod, LEAD_RULES, place);
  const each = [reads, ...(leads === undefined ? [] : [leads])].map((one) => one.rights);
  const rights = each.includes('unknown') ? 'unknown' : each.includes('no') ? 'no' : 'yes';
  return {
    name: 'watch',
    installed: 'yes',
    where: placeOf(deployment),
    lastRun: renewed,
    rights,
    missing: [...reads.missing, ...(leads?.missing ?? [])],
    facts: [`${plural(ready, 'pod')} ready`, ...facts],
    problems: [
      ...problems,
      ...lackingProblem(reads, 'templates/rbac/watcher.yaml'),
      ...lackingProblem({ missing: leads?.missing ?? [] }, 'templates/watch/watch.yaml'),
    ],
  };
}

/** The namespace of `--lead` among the arguments of the pod; undefined where it leads by no Lease. */
function leadOf(pod: JsonObject): string | undefined {
  for (const container of asArray(pod['containers'])) {
    const args = asArray(asObject(container)['args']).map((one) => asString(one) ?? '');
    const at = args.indexOf('--lead');
    if (at >= 0) return args[at + 1];
    const joined = args.find((one) => one.startsWith('--lead='));
    if (joined !== undefined) return joined.slice('--lead='.length);
  }
  return undefined;
}

/** Probes are started by a person and gone afterwards: what is there was left behind by a crash, or runs now. */
async function readProber(api: KubeApi): Promise<Piece> {
  const found = await list(api, '/api/v1/pods', 'pods', PROBE_LABEL);
  if (found === undefined) return unread('prober', 'pods may not be listed');
  return {
    name: 'prober',
    installed: 'no',
    where: undefined,
    lastRun: undefined,
    rights: 'not-asked',
    missing: [],
    facts: ['it is run by a person: sallyport verify --probe'],
    problems:
      found.length === 0
        ? []
        : [
            `${plural(found.length, 'probe')} left: ${found.slice(0, 5).map(placeOf).join(', ')}; the next sallyport verify --probe removes what no run holds`,
          ],
  };
}

/** The role for grants to persons is strong: who holds it lastingly is said. */
async function readAccessRole(api: KubeApi): Promise<Piece> {
  const rbac = '/apis/rbac.authorization.k8s.io/v1';
  const all = await list(api, `${rbac}/clusterrolebindings`, 'clusterrolebindings.rbac.authorization.k8s.io');
  const inside = await list(api, `${rbac}/rolebindings`, 'rolebindings.rbac.authorization.k8s.io');
  if (all === undefined || inside === undefined) return unread('access', 'bindings may not be listed');
  const bound = [...all, ...inside].filter(({ roleRef }) => asString(asObject(roleRef)['name']) === ACCESS_ROLE);
  const who = bound.flatMap((binding) =>
    asArray(binding['subjects']).map((one) => `${asString(asObject(one)['name']) ?? '?'} by ${placeOf(binding)}`),
  );
  return {
    name: 'access',
    installed: bound.length > 0 ? 'yes' : 'no',
    where: undefined,
    lastRun: undefined,
    rights: 'not-asked',
    missing: [],
    facts: who.length === 0 ? ['nobody is bound to sallyport-access'] : [],
    problems:
      who.length === 0
        ? []
        : [`whoever holds sallyport-access may open a shell anywhere, lastingly: ${who.slice(0, 10).join(', ')}`],
  };
}

/** Asks the authorizer about the account of a pod template (SubjectAccessReview); unknown where that may not be asked. */
async function accountRights(
  api: KubeApi,
  object: JsonObject,
  pod: JsonObject,
  rules: readonly RbacRule[],
  where?: string,
): Promise<Pick<Piece, 'rights' | 'missing'>> {
  const namespace = namespaceOf(object);
  const account = asString(pod['serviceAccountName']) ?? 'default';
  const missing: string[] = [];
  for (const { apiGroups, resources, verbs, resourceNames } of rules)
    for (const group of apiGroups)
      for (const resource of resources)
        for (const verb of verbs) {
          const answer = await api.send({
            method: 'POST',
            path: '/apis/authorization.k8s.io/v1/subjectaccessreviews',
            body: {
              apiVersion: 'authorization.k8s.io/v1',
              kind: 'SubjectAccessReview',
              spec: {
                user: accountUser(namespace, account),
                groups: [...accountGroups(namespace)],
                resourceAttributes: {
                  verb,
                  group,
                  resource,
                  ...(where === undefined ? {} : { namespace: where }),
                  ...(resourceNames?.[0] === undefined ? {} : { name: resourceNames[0] }),
                },
              },
            },
            subject: {
              doing: `asking what ${account} may do`,
              verb: 'create',
              resource: 'subjectaccessreviews.authorization.k8s.io',
            },
          });
          const allowed = answer.ok ? asBoolean(asObject(answer.body['status'])['allowed']) : undefined;
          if (allowed === undefined) return { rights: 'unknown', missing };
          if (!allowed) missing.push(`${verb} ${resource}${group === '' ? '' : `.${group}`}`);
        }
  return { rights: missing.length > 0 ? 'no' : 'yes', missing };
}

function lackingProblem({ missing }: Pick<Piece, 'missing'>, file: string): readonly string[] {
  return missing.length === 0
    ? []
    : [
        `its account may not ${missing.slice(0, 3).join(', ')}${missing.length > 3 ? ` and ${missing.length - 3} more` : ''}: kubectl apply -f ${file}`,
      ];
}

function unread(name: Piece['name'], why: string): Piece {
  return {
    name,
    installed: 'unknown',
    where: undefined,
    lastRun: undefined,
    rights: 'unknown',
    missing: [],
    facts: [why],
    problems: [],
  };
}

function absent(name: Piece['name'], fact: string): Piece {
  return { ...unread(name, fact), installed: 'no', rights: 'not-asked' };
}

function namespaceOf(object: JsonObject): string {
  return asString(asObject(object['metadata'])['namespace']) ?? '';
}

function placeOf(object: JsonObject): string {
  const { name } = asObject(object['metadata']);
  const namespace = namespaceOf(object);
  return `${namespace === '' ? '' : `${namespace}/`}${asString(name) ?? ''}`;
}

function ageSec(time: string, nowMs: number): number {
  return Math.max(0, Math.round((nowMs - Date.parse(time)) / 1000));
}

function ageText(time: string, nowMs: number): string {
  const seconds = ageSec(time, nowMs);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 180 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}
