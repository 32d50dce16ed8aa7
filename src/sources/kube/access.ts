import { asBoolean, asObject, asString } from '../../shared/pure/json.ts';
import type { ApiCall, KubeApi } from './connect.ts';
import type { Discovery } from './discovery.ts';
import { allRights } from './rights.ts';
import type { Right, Verb } from './rights.ts';

/** One question to the authorizer and its answer. `undefined` where it could not be asked. */
export interface Access {
  readonly right: Right;
  readonly verb: Verb;
  readonly group: string;
  readonly resource: string;
  readonly namespaced: boolean;
  readonly allowed: boolean | undefined;
}

export interface AccessReport {
  /** As the API server names the caller; undefined where it does not serve SelfSubjectReview. */
  readonly user: string | undefined;
  readonly groups: readonly string[];
  readonly version: string | undefined;
  /** Clock of this machine less that of the server, seconds; undefined where the server's answer has no date. */
  readonly skewSec: number | undefined;
  readonly access: readonly Access[];
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
  const questions = await planQuestions(discovery);
  const answers: Access[] = [];
  const queue = [...questions].entries();
  const worker = async (): Promise<void> => {
    for (const [index, question] of queue)
      answers[index] = {
        ...question,
        allowed: await review(api, reviewOf(question), question.right.namespace ?? options.namespace),
      };
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  return {
    user: asString(userInfo['username']),
    groups: Array.isArray(userInfo['groups'])
      ? userInfo['groups'].filter((group): group is string => typeof group === 'string')
      : [],
    version: asString(version['gitVersion']),
    skewSec: who.serverTime === undefined ? undefined : Math.round((askedAt - who.serverTime) / 1000),
    access: answers,
    readsSecrets: await review(
      api,
      { verb: 'list', group: '', resource: 'secrets', namespaced: true },
      options.namespace,
    ),
  };
}

type Question = Omit<Access, 'allowed'>;
type Review = Pick<Question, 'verb' | 'group' | 'resource' | 'namespaced'> & { readonly name?: string };

async function planQuestions(discovery: Discovery): Promise<readonly Question[]> {
  const groups = await discovery.groups();
  const questions: Question[] = [];
  for (const right of allRights()) {
    const served = (
      await Promise.all((groups.get(right.group) ?? []).map((version) => discovery.resources(version).catch(() => [])))
    ).flat();
    const named = right.resources;
    const wanted = new Map(
      served
        .filter(({ verbs, kind }) => (verbs.includes('list') || kind === 'SubjectAccessReview') && kind !== 'Secret')
        .filter(({ plural }) => named === 'all' || named.includes(plural))
        .map(({ plural, namespaced }) => [plural, namespaced]),
    );
    for (const [resource, namespaced] of wanted)
      for (const verb of right.verbs) questions.push({ right, verb, group: right.group, resource, namespaced });
  }
  return questions;
}

function reviewOf({ verb, group, resource, namespaced, right }: Question): Review {
  const name = right.names?.[0];
  return { verb, group, resource, namespaced, ...(name === undefined ? {} : { name }) };
}

/** The authorizer's word; undefined where it does not give one. */
async function review(api: KubeApi, question: Review, namespace: string | undefined): Promise<boolean | undefined> {
  const { name } = question;
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
          resource: question.resource,
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
