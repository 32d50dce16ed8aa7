import { asBoolean, asObject, asString } from '../../shared/pure/json.ts';
import type { ApiCall, KubeApi } from './connect.ts';
import type { Discovery } from './discovery.ts';
import { actorPodRules, actorRules } from './actor-rights.ts';
import { UNDO_NAMESPACE } from './kinds.ts';
import { ACCESS_RULES, RESPONDER_RULES, RUN_LEASES, SIDE_ROLES, allRights, sideRights } from './rights.ts';
import type { RbacRule, Right, SideRight, Verb } from './rights.ts';
import type { Right as Asked } from '../../model/rbac.ts';

/** One question to the authorizer and its answer. `undefined` where it could not be asked. */
export interface Access {
  readonly right: Right;
  readonly verb: Verb;
  readonly group: string;
  readonly resource: string;
  readonly namespaced: boolean;
  readonly allowed: boolean | undefined;
}

/** Roles that are bound beside those of the row. */
export const BESIDE = [...SIDE_ROLES, 'responder', 'actor', 'actor-pods', 'access'] as const;
export type Beside = (typeof BESIDE)[number];

/** Of a role beside the row: what of it is missing; `not-served` where the cluster has none of the kinds that it is about. */
export interface BesideAccess {
  readonly role: Beside;
  readonly answer: 'yes' | 'no' | 'unknown' | 'not-served';
  readonly missing: readonly { readonly verb: string; readonly resource: string }[];
}

export interface AccessReport {
  /** As the API server names the caller; undefined where it does not serve SelfSubjectReview. */
  readonly user: string | undefined;
  readonly groups: readonly string[];
  readonly version: string | undefined;
  /** Clock of this machine less that of the server, seconds; undefined where the server's answer has no date. */
  readonly skewSec: number | undefined;
  readonly access: readonly Access[];
  readonly beside: readonly BesideAccess[];
  /** May it list Secrets? Sallyport never does. */
  readonly readsSecrets: boolean | undefined;
}

const PARALLEL = 8;

const WHO_AM_I: ApiCall = {
  method: 'POST',
  path: '/apis/authentication.k8s.io/v1/selfsubjectreviews',
  body: { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' },
  subject: { verb: 'create', resource: 'selfsubjectreviews.authentication.k8s.io', doing: 'asking who this is' },
};

/**
 * The owner of the credentials as the API server names them, by SelfSubjectReview (authentication.k8s.io/v1, Kubernetes 1.28), whomever
 * they impersonate. Undefined where the server does not serve it, refuses or does not answer.
 */
export async function readUser(api: KubeApi): Promise<string | undefined> {
  const answer = await api.send({ ...WHO_AM_I, asSelf: true });
  const name = answer.ok ? asString(asObject(asObject(answer.body['status'])['userInfo'])['username']) : undefined;
  return name === '' ? undefined : name;
}

/**
 * Asks the API server, by SelfSubjectAccessReview (authorization.k8s.io/v1), for every right that Sallyport knows a use for: in one
 * namespace, or in all of them. Kinds that are not installed are not asked for. Writes nothing. Errors: exit 4 as in `failureOf`, where
 * the server cannot be asked at all.
 */
export async function readAccess(
  api: KubeApi,
  discovery: Discovery,
  options: { readonly namespace?: string; readonly now: () => number },
): Promise<AccessReport> {
  const about = { verb: 'get', resource: '' };
  const version = await api.must({
    method: 'GET',
    path: '/version',
    subject: { ...about, doing: 'asking for the version of the API server' },
  });
  const askedAt = options.now();
  const who = await api.send(WHO_AM_I);
  const userInfo = who.ok ? asObject(asObject(who.body['status'])['userInfo']) : {};
  const ask = asking(api, options.namespace);
  const questions = await planQuestions(discovery, allRights());
  const beside: { readonly role: Beside; readonly questions: readonly Question<SideRight>[] }[] = [];
  for (const role of BESIDE) {
    beside.push({ role, questions: await planQuestions(discovery, rightsBeside(role)) });
  }
  const all = [...questions, ...beside.flatMap((one) => one.questions)];
  const queue = all.values();
  const worker = async (): Promise<void> => {
    for (const question of queue) await ask(question);
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  const answers = await Promise.all(questions.map(async (one) => ({ ...one, allowed: await ask(one) })));
  const sides = await Promise.all(
    beside.map(async ({ role, questions: own }) => {
      const known = await Promise.all(own.map(async (one) => ({ ...one, allowed: await ask(one) })));
      return besideOf(role, known);
    }),
  );
  return {
    user: asString(userInfo['username']),
    groups: Array.isArray(userInfo['groups'])
      ? userInfo['groups'].filter((group): group is string => typeof group === 'string')
      : [],
    version: asString(version['gitVersion']),
    skewSec: who.serverTime === undefined ? undefined : Math.round((askedAt - who.serverTime) / 1000),
    access: answers,
    beside: sides,
    readsSecrets: await review(
      api,
      { verb: 'list', group: '', resource: 'secrets', namespaced: true },
      options.namespace,
    ),
  };
}

/** What RBAC's rules of a role that is not of the table ask for. */
function rightsOfRules(rules: readonly RbacRule[], why: string): readonly SideRight[] {
  return rules.flatMap(({ apiGroups, resources, verbs, resourceNames }) =>
    apiGroups.map((group) => ({
      group,
      resources,
      verbs: verbs as readonly Verb[],
      ...(resourceNames === undefined ? {} : { names: resourceNames }),
      why,
    })),
  );
}

/** A right by several names is several questions: the authorizer answers for one. What lies in kube-system is asked for there. */
function actorRights(): readonly SideRight[] {
  return rightsOfRules(actorRules(), 'watch --act').flatMap((right): readonly SideRight[] => {
    if (right.resources.includes('configmaps')) return [{ ...right, namespace: UNDO_NAMESPACE }];
    if (right.names === undefined || !right.resources.includes('leases')) return [right];
    return right.names.map((name) => ({
      ...right,
      names: [name],
      ...(name === RUN_LEASES[1] ? { namespace: UNDO_NAMESPACE } : {}),
    }));
  });
}

function rightsBeside(role: Beside): readonly SideRight[] {
  switch (role) {
    case 'responder':
      return rightsOfRules(RESPONDER_RULES, 'answers to incidents');
    case 'actor':
      return actorRights();
    case 'actor-pods':
      return rightsOfRules(actorPodRules(), 'quarantine by labels, by rules');
    case 'access':
      return rightsOfRules(ACCESS_RULES, 'grants to persons');
    default:
      return sideRights(role);
  }
}

function besideOf(
  role: Beside,
  known: readonly (Question<SideRight> & { readonly allowed: boolean | undefined })[],
): BesideAccess {
  const lacking = known.filter(({ allowed }) => allowed !== true);
  const missing = lacking.map(({ verb, group, resource }) => ({
    verb,
    resource: `${resource}${group === '' ? '' : `.${group}`}`,
  }));
  if (known.length === 0) return { role, answer: 'not-served', missing };
  const answer = known.some(({ allowed }) => allowed === false) ? 'no' : lacking.length > 0 ? 'unknown' : 'yes';
  return { role, answer, missing };
}

interface Question<R extends SideRight> {
  readonly right: R;
  readonly verb: Verb;
  readonly group: string;
  readonly resource: string;
  readonly namespaced: boolean;
}
type Review = Pick<Access, 'group' | 'resource' | 'namespaced'> & { readonly verb: string; readonly name?: string };

/** Each question once: roles share most of theirs. */
function asking(
  api: KubeApi,
  namespace: string | undefined,
): (question: Question<SideRight>) => Promise<boolean | undefined> {
  const asked = new Map<string, Promise<boolean | undefined>>();
  return (question) => {
    const where = question.right.namespace ?? namespace;
    const reviewed = reviewOf(question);
    const key = JSON.stringify([reviewed, where]);
    const known = asked.get(key) ?? review(api, reviewed, where);
    asked.set(key, known);
    return known;
  };
}

async function planQuestions<R extends SideRight>(
  discovery: Discovery,
  rights: readonly R[],
): Promise<readonly Question<R>[]> {
  const groups = await discovery.groups();
  const questions: Question<R>[] = [];
  for (const right of rights) {
    const served = (
      await Promise.all((groups.get(right.group) ?? []).map((version) => discovery.resources(version).catch(() => [])))
    ).flat();
    const known = new Map(
      served
        .filter(({ verbs, kind }) => (verbs.includes('list') || kind === 'SubjectAccessReview') && kind !== 'Secret')
        .map(({ plural, namespaced }) => [plural, namespaced]),
    );
    const named = right.resources === 'all' ? [...known.keys()] : right.resources;
    for (const resource of named) {
      // Of a subresource, and of what Calico asks beside RBAC, the resource itself tells whether it is there.
      const [itself = resource] = resource.replace(/^tier\./u, '').split('/');
      const namespaced = known.get(itself);
      if (namespaced === undefined) continue;
      for (const verb of right.verbs) questions.push({ right, verb, group: right.group, resource, namespaced });
    }
  }
  return questions;
}

function reviewOf({ verb, group, resource, namespaced, right }: Question<SideRight>): Review {
  const name = right.names?.[0];
  return { verb, group, resource, namespaced, ...(name === undefined ? {} : { name }) };
}

/** May this account create, patch and delete objects of a kind? The verbs that it may not, or of which that is not known. */
export async function readWriting(
  api: KubeApi,
  resource: { readonly group: string; readonly plural: string; readonly namespaced: boolean },
  namespace: string | undefined,
): Promise<{ readonly refused: readonly string[]; readonly unknown: readonly string[] }> {
  const refused: string[] = [];
  const unknown: string[] = [];
  for (const verb of ['create', 'patch', 'delete'] as const) {
    const { group, plural, namespaced } = resource;
    const answer = await review(api, { verb, group, resource: plural, namespaced }, namespace);
    if (answer === undefined) unknown.push(verb);
    else if (!answer) refused.push(verb);
  }
  return { refused, unknown };
}

/**
 * Which of these rights the caller does not have, by SelfSubjectAccessReview. What the authorizer gives no word on is not among them. Writes
 * nothing. A right by names is asked for all names first, so that a hundred pods are one question where that is allowed.
 */
export async function refusedRights(api: KubeApi, rights: readonly Asked[]): Promise<readonly Asked[]> {
  const asked = new Map<string, Promise<boolean | undefined>>();
  const ask = ({ verb, group, resource, name, namespace }: Asked): Promise<boolean | undefined> => {
    const key = JSON.stringify([verb, group, resource, name, namespace]);
    const question = {
      verb,
      group,
      resource,
      namespaced: namespace !== undefined,
      ...(name === undefined ? {} : { name }),
    };
    const known = asked.get(key) ?? review(api, question, namespace);
    asked.set(key, known);
    return known;
  };
  const refused: Asked[] = [];
  for (const right of rights) {
    const { name, ...whole } = right;
    if ((await ask(whole)) !== false || (name !== undefined && (await ask(right)) !== false)) continue;
    refused.push(right);
  }
  return refused;
}

/** The authorizer's word; undefined where it does not give one. */
async function review(api: KubeApi, question: Review, namespace: string | undefined): Promise<boolean | undefined> {
  const { name } = question;
  const [resource = '', subresource] = question.resource.split('/');
  const call: ApiCall = {
    method: 'POST',
    path: '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
    body: {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SelfSubjectAccessReview',
      spec: {
        resourceAttributes: {
          verb: question.verb,
          group: question.group,
          resource,
          ...(subresource === undefined ? {} : { subresource }),
          ...(namespace === undefined || !question.namespaced ? {} : { namespace }),
          ...(name === undefined ? {} : { name }),
        },
      },
    },
    subject: {
      doing: `asking whether ${question.verb} ${question.resource} is allowed`,
      verb: 'create',
      resource: 'selfsubjectaccessreviews.authorization.k8s.io',
    },
  };
  const answer = await api.send(call);
  return answer.ok ? asBoolean(asObject(answer.body['status'])['allowed']) : undefined;
}
