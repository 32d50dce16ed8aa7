import { dialectFault } from '../candidates/dialect.ts';
import type { View } from '../engine/contract.ts';
import type { Dialect } from '../model/config.ts';
import { isObject } from '../model/object.ts';
import { changeRef } from '../plan/change.ts';
import { servedKinds } from '../readiness/view.ts';
import { EXIT, Failure } from '../shared/pure/errors.ts';
import { safeText } from '../shared/pure/text.ts';

function refuse(dialect: Dialect, why: string, hint: string): Failure {
  return new Failure({
    code: 'SP268',
    exit: EXIT.usage,
    message: `the dialect ${dialect} cannot be written here: ${why}`,
    where: '--dialect, or dialect in the configuration',
    hint,
  });
}

/** Kinds of per-workload policies by dialect, as `group/Kind`: the guard rail of `admin` stands beside NetworkPolicies. */
const KIND: Readonly<Record<Dialect, string>> = {
  kubernetes: 'networking.k8s.io/NetworkPolicy',
  cilium: 'cilium.io/CiliumNetworkPolicy',
  calico: 'projectcalico.org/NetworkPolicy',
  admin: 'networking.k8s.io/NetworkPolicy',
};

/**
 * Refuses a dialect that the cluster does not take, or that is not the one in which the namespace is enforced already: what stands would be
 * left behind beside the new words. Exit 2 (SP268).
 */
export function requireDialect(view: View): void {
  const { dialect = 'kubernetes' } = view.config;
  const fault = dialectFault(dialect, {
    facts: view.inventory.facts,
    kinds: servedKinds(view),
    calicoApi: view.snapshot.objects.some(
      (object) =>
        isObject(object, 'apiregistration.k8s.io', 'APIService') && object.metadata.name === 'v3.projectcalico.org',
    ),
  });
  if (fault !== undefined)
    throw refuse(dialect, fault, 'leave --dialect out for NetworkPolicy, which every CNI takes; docs/dialects.md');
  const standing = new Set(
    view.applied
      .filter(
        ({ namespace, step }) =>
          namespace === view.namespace && step.phase === 'allow-list' && step.grant === undefined,
      )
      .filter(({ step }) => step.workload !== undefined && step.direction === 'ingress')
      .map(({ change }) => {
        const { apiVersion, kind } = changeRef(change);
        return `${apiVersion.slice(0, apiVersion.indexOf('/'))}/${kind}`;
      }),
  );
  const others = [...standing].filter((kind) => kind !== KIND[dialect]);
  if (others.length > 0)
    throw refuse(
      dialect,
      `${safeText(view.namespace)} is enforced by ${others.join(', ')} already, which would be left beside it`,
      `sallyport rollback ${view.namespace} --to monitor first, or go on in the dialect it has`,
    );
}

export function notStaged(dialect: Dialect): Failure {
  return refuse(
    dialect,
    'it has no kind that is only rehearsed; Calico has StagedNetworkPolicy, and Cilium an audit mode of endpoints and agents (docs/dialects.md)',
    'leave --staged out, or --dialect calico',
  );
}
