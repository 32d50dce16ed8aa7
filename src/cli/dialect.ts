import { dialectFault } from '../candidates/dialect.ts';
import type { View } from '../engine/contract.ts';
import type { Dialect } from '../model/config.ts';
import { groupOf, isObject } from '../model/object.ts';
import { changeRef } from '../plan/change.ts';
import { servedKinds } from '../readiness/view.ts';
import { EXIT, Failure } from '../shared/pure/errors.ts';
import { safeText } from '../shared/pure/text.ts';
import type { App } from './context.ts';
import { kubeOptions } from './context.ts';

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

/** Groups of the kinds that dialects write: what the mesh serves is asked by its own gates. */
const DIALECT_GROUPS: ReadonlySet<string> = new Set(['cilium.io', 'projectcalico.org', 'policy.networking.k8s.io']);

/**
 * Refuses a plan whose kinds the API server does not serve in the very version that would be written, before a step is. A definition by its
 * name says nothing of versions. Nothing is asked of a directory, nor where no step is of a dialect's kind. Error: SP430 (exit 4).
 */
export async function requireServed(
  app: App,
  objects: readonly { readonly apiVersion: string; readonly kind: string }[],
): Promise<void> {
  if (app.options.manifests !== undefined) return;
  const wanted = new Map(
    objects
      .filter(({ apiVersion }) => DIALECT_GROUPS.has(groupOf(apiVersion)))
      .map(({ apiVersion, kind }) => [`${kind} of ${apiVersion}`, { apiVersion, kind }]),
  );
  if (wanted.size === 0) return;
  const { connectKube, openDiscovery } = await import('../sources/kube/index.ts');
  const api = await connectKube({ ...kubeOptions(app.options, app.env), clock: app.clock() });
  try {
    const discovery = openDiscovery(api);
    const groups = await discovery.groups();
    const lacking: string[] = [];
    for (const [name, { apiVersion, kind }] of wanted) {
      if ((await discovery.find(apiVersion, kind)) !== undefined) continue;
      const versions = groups.get(groupOf(apiVersion)) ?? [];
      lacking.push(`${name} (of that group it serves ${versions.length === 0 ? 'nothing' : versions.join(', ')})`);
    }
    if (lacking.length === 0) return;
    throw new Failure({
      code: 'SP430',
      exit: EXIT.cluster,
      message: `the cluster does not serve ${safeText(lacking.join('; '))}, which the plan would write; nothing is written`,
      where: '--dialect, or dialect in the configuration',
      hint: 'sallyport doctor names what each dialect needs; install the definition of that version, or leave --dialect out',
    });
  } finally {
    api.close();
  }
}

export function notStaged(dialect: Dialect): Failure {
  return refuse(
    dialect,
    'it has no kind that is only rehearsed; Calico has StagedNetworkPolicy, and Cilium an audit mode of endpoints and agents (docs/dialects.md)',
    'leave --staged out, or --dialect calico',
  );
}
