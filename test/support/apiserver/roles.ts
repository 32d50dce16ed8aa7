// Shipped roles on a real API server: given to a user who holds nothing else, whole or one verb short.
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'vitest';
import { parse } from 'yaml';
import type { Target } from '../../../src/engine/contract.ts';
import type { KubeManifest } from '../../../src/model/object.ts';
import { groupOf, namespaceOf, refOf } from '../../../src/model/object.ts';
import { fieldChange } from '../../../src/plan/change.ts';
import type { FieldPath, Json } from '../../../src/shared/pure/json.ts';
import { pluralOf } from '../../../src/sources/kube/rights.ts';
import type { ApiClient, Login } from './client.ts';
import { connect } from './client.ts';

export interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
  readonly resourceNames?: readonly string[];
}

/** What of an object a rule must be about, to be meant. */
export interface About {
  readonly group: string;
  readonly resource: string;
  readonly verb: string;
  readonly namespace?: string;
  readonly name?: string;
}

const LEARNS_MS = 20_000;
const RBAC = '/apis/rbac.authorization.k8s.io/v1';

/** The rules of a role of templates/rbac. */
export function shippedRules(role: string): readonly Rule[] {
  const file = new URL(`../../../templates/rbac/${role}.yaml`, import.meta.url);
  return (parse(readFileSync(file, 'utf8')) as { readonly rules: readonly Rule[] }).rules;
}

/** The same without one verb on one resource. */
export function without(rules: readonly Rule[], { group, resource, verb }: About): readonly Rule[] {
  return rules
    .map((rule) =>
      rule.apiGroups.includes(group) && rule.resources.includes(resource)
        ? { ...rule, verbs: rule.verbs.filter((one) => one !== verb) }
        : rule,
    )
    .filter(({ verbs }) => verbs.length > 0);
}

export interface Holder {
  /** Of everything she holds nothing; what names the cluster may be read. */
  begin(): Promise<void>;
  /** From now on the user holds these rules everywhere, and no others; returns when the authorizer says so of `about`. */
  hold(rules: readonly Rule[], about: About, allowed: boolean): Promise<void>;
  drop(): Promise<void>;
}

/** What `alice` holds, by one role and one binding of these names. The cluster's identity, a UID of a namespace, is hers always. */
export function openHolder(admin: ApiClient, alice: Login, name: string): Holder {
  const drop = async (): Promise<void> => {
    await admin.request('DELETE', `${RBAC}/clusterrolebindings/${name}`);
    await admin.request('DELETE', `${RBAC}/clusterroles/${name}`);
  };
  const knows = async ({ namespace, name: object, ...about }: About, allowed: boolean): Promise<void> => {
    const client = connect(alice);
    const spec = { resourceAttributes: { ...about, namespace, name: object } };
    const limit = Date.now() + LEARNS_MS;
    try {
      // The authorizer learns of roles by a watch.
      for (;;) {
        const { body } = await client.must('POST', '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', { spec });
        if ((body as { readonly status: { readonly allowed: boolean } }).status.allowed === allowed) return;
        if (Date.now() > limit) throw new Error(`the authorizer does not say ${String(allowed)} to ${about.verb}`);
        await delay(50);
      }
    } finally {
      client.close();
    }
  };
  const roleOf = (rules: readonly Rule[]): object => ({
    metadata: { name },
    rules: [...rules, { apiGroups: [''], resources: ['namespaces'], verbs: ['get'] }],
  });
  return {
    drop,
    begin: async () => {
      await admin.must('POST', `${RBAC}/clusterroles`, roleOf([]));
      await admin.must('POST', `${RBAC}/clusterrolebindings`, {
        metadata: { name },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
        subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'alice' }],
      });
      await knows({ group: '', resource: 'namespaces', verb: 'get' }, true);
    },
    hold: async (rules, about, allowed) => {
      await admin.must('PUT', `${RBAC}/clusterroles/${name}`, roleOf(rules));
      await knows(about, allowed);
    },
  };
}

/**
 * An object is made, edited and taken away with the whole role; without one of its verbs what needs it is refused by name, and the object stays as
 * it was.
 */
export async function expectOneVerbShort(
  { admin, holder, target }: { readonly admin: ApiClient; readonly holder: Holder; readonly target: Target },
  rules: readonly Rule[],
  object: KubeManifest,
  field: FieldPath,
  after: Json,
): Promise<void> {
  const [group, resource, namespace] = [groupOf(object.apiVersion), pluralOf(object.kind), namespaceOf(object)];
  const place = { group, resource, ...(namespace === undefined ? {} : { namespace }) };
  const path = `/apis/${object.apiVersion}${namespace === undefined ? '' : `/namespaces/${namespace}`}/${resource}/${object.metadata.name}`;
  const version = async (): Promise<unknown> => {
    const { status, body } = await admin.request('GET', path);
    return status === 404
      ? undefined
      : (body as { readonly metadata: { readonly resourceVersion: string } }).metadata.resourceVersion;
  };
  const short = (verb: string): Promise<void> =>
    holder.hold(without(rules, { ...place, verb }), { ...place, verb }, false);
  const whole = (): Promise<void> => holder.hold(rules, { ...place, verb: 'delete' }, true);
  const refused = async (verb: string, work: () => Promise<unknown>): Promise<void> => {
    await short(verb);
    const before = await version();
    await expect(work(), verb).rejects.toMatchObject({
      detail: { code: 'SP403', message: expect.stringContaining(resource) as string },
    });
    expect([verb, await version()]).toEqual([verb, before]);
  };
  const create = (): Promise<unknown> => target.apply({ kind: 'create', object });

  await refused('create', create);
  await whole();
  await create();
  const live = await target.readObject(refOf(object));
  const change = live === undefined ? undefined : fieldChange(live, field, after);
  if (live === undefined || change === undefined) throw new Error('it was made, and is to change');
  const edit = (): Promise<unknown> =>
    target.apply({ kind: 'edit', ref: refOf(object), owner: 'sallyport', fields: [change] });
  const remove = (): Promise<unknown> => target.apply({ kind: 'delete', ref: refOf(object), before: live });
  await refused('get', edit);
  await refused('patch', edit);
  await refused('delete', remove);
  await whole();
  await edit();
  await remove();
  expect(await version()).toBeUndefined();
}
