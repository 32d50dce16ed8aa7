import { accountGroups, accountUser } from '../model/rbac.ts';
import type { Right } from '../model/rbac.ts';
import { EXIT, Failure } from '../shared/pure/errors.ts';
import { asBoolean, asObject } from '../shared/pure/json.ts';
import type { KubeApi } from '../sources/kube/index.ts';
import { failureOf } from '../sources/kube/index.ts';

/**
 * May the account do this? Asked by SubjectAccessReview (authorization.k8s.io/v1), with the groups that its tokens carry. Writes nothing.
 * Errors: SP480 (exit 4) where the caller may not ask; else as in `failureOf`.
 */
export async function reviewAccount(api: KubeApi, namespace: string, account: string, right: Right): Promise<boolean> {
  const subject = {
    verb: 'create',
    resource: 'subjectaccessreviews.authorization.k8s.io',
    doing: `asking what ${accountUser(namespace, account)} may do`,
  };
  const slash = right.resource.indexOf('/');
  const resource = slash < 0 ? right.resource : right.resource.slice(0, slash);
  const attributes =
    right.path === undefined
      ? {
          resourceAttributes: {
            verb: right.verb,
            group: right.group,
            version: '*',
            resource,
            ...(slash < 0 ? {} : { subresource: right.resource.slice(slash + 1) }),
            ...(right.namespace === undefined ? {} : { namespace: right.namespace }),
            ...(right.name === undefined ? {} : { name: right.name }),
          },
        }
      : { nonResourceAttributes: { verb: right.verb, path: right.path } };
  const answer = await api.send({
    method: 'POST',
    path: '/apis/authorization.k8s.io/v1/subjectaccessreviews',
    body: {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SubjectAccessReview',
      spec: { user: accountUser(namespace, account), groups: accountGroups(namespace), ...attributes },
    },
    subject,
  });
  if (answer.ok) return asBoolean(asObject(answer.body['status'])['allowed']) === true;
  if (answer.problem.kind === 'refused' && answer.problem.status === 403)
    throw new Failure({
      code: 'SP480',
      exit: EXIT.cluster,
      message: `you may not ask the API server what ${accountUser(namespace, account)} may do, so no workload is moved to it`,
      where: subject.doing,
      hint: 'grant create on subjectaccessreviews.authorization.k8s.io (templates/rbac/identity.yaml has it), then: sallyport resume',
      nature: 'passes',
    });
  throw failureOf(answer.problem, subject, api);
}
