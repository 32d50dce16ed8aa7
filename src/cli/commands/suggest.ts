import type { App } from '../context.ts';
import { loadAll, requireNamespace } from '../load.ts';
import { splitAccounts } from '../../candidates/accounts.ts';
import { deriveAuthorization } from '../../candidates/authorization.ts';
import { guardRail, stagedOf } from '../../candidates/dialect.ts';
import { deriveNetworkCandidate, evidenceLine } from '../../candidates/network.ts';
import type { Edge } from '../../model/edge.ts';
import type { KubeManifest } from '../../model/object.ts';
import { draftSteps } from '../../plan/steps.ts';
import { staleRehearsals } from '../../readiness/staged.ts';
import { candidateContext, workloadsOf } from '../../readiness/view.ts';
import { renderYaml } from '../../shared/io/yaml.ts';
import { notStaged, requireDialect } from '../dialect.ts';
import { plural, safeText } from '../../shared/pure/text.ts';

interface Suggested {
  readonly object: KubeManifest;
  readonly comments: readonly string[];
}

/** Candidate policies of a namespace as YAML that `kubectl apply` takes, each rule with its evidence as a comment. */
export async function suggest(app: App, namespace: string, options: { readonly staged?: boolean } = {}): Promise<void> {
  const loaded = await loadAll(app, { kind: 'touching', namespaces: [namespace] });
  requireNamespace(loaded, namespace);
  const view = loaded.view(namespace);
  requireDialect(view);
  const context = candidateContext(view);
  const { dialect = 'kubernetes' } = view.config;
  if (options.staged === true && dialect !== 'calico') throw notStaged(dialect);
  const suggested: Suggested[] = [];
  const problems = new Set<string>();
  for (const workload of workloadsOf(view)) {
    for (const direction of ['ingress', 'egress'] as const) {
      const candidate = deriveNetworkCandidate(context, workload, direction);
      for (const problem of candidate.problems) problems.add(`${problem.subject}: ${problem.text}. ${problem.fix}`);
      if (candidate.object === undefined) continue;
      // What the phase writes is a translation already: the rehearsed kind has the same spec.
      const object = options.staged === true ? stagedOf(candidate.object) : candidate.object;
      suggested.push({
        object,
        comments: [
          `${direction} of ${workload.id}`,
          ...candidate.rules.flatMap((rule) => ruleComments(rule.peer, rule.edges, rule.note)),
        ],
      });
    }
    const authorization = deriveAuthorization(context, workload);
    for (const problem of authorization.problems) problems.add(`${problem.subject}: ${problem.text}. ${problem.fix}`);
    if (authorization.object !== undefined)
      suggested.push({
        object: authorization.object,
        comments: [
          `callers of ${workload.id}; acts only where its pods have a sidecar`,
          ...authorization.rules.flatMap((rule) => ruleComments(rule.peer, rule.edges, rule.note)),
        ],
      });
    for (const split of splitAccounts(workload, view.inventory, view.snapshot.objects, { edges: view.edges })) {
      if (split.obstacles.length > 0) {
        problems.add(`${workload.id} shares account ${split.from}: ${split.obstacles.join('; ')}`);
        continue;
      }
      for (const object of split.objects)
        suggested.push({ object, comments: [`${workload.id} shares account ${split.from}; this would be its own`] });
    }
  }
  if (dialect === 'admin') {
    const rail = guardRail(
      namespace,
      suggested.map(({ object }) => object),
      context.kinds,
    );
    if (rail !== undefined)
      suggested.push({
        object: rail,
        comments: [
          `guard rail of ${namespace}: namespaces that its policies name; no NetworkPolicy opens it to others`,
        ],
      });
  }
  const { output } = app;
  output.document('List', { apiVersion: 'v1', items: suggested.map((one) => one.object) });
  if (!output.json) {
    output.raw(
      suggested
        .map(
          ({ object, comments }) =>
            `${comments.map((comment) => `# ${safeText(comment)}\n`).join('')}${renderYaml(object)}`,
        )
        .join('---\n'),
    );
    if (suggested.length === 0) output.raw(`# no evidence for ${safeText(namespace)}, so no policy\n`);
  }
  const stale = staleRehearsals(view, draftSteps(view.snapshot.objects));
  if (stale > 0)
    output.note(
      `${plural(stale, 'rehearsed policy', 'rehearsed policies')} of ${safeText(namespace)} would be otherwise now: sallyport advance ${safeText(namespace)} --to monitor brings them up to date`,
    );
  for (const problem of problems) output.note(`not exact: ${safeText(problem)}`);
}

function ruleComments(peer: string, edges: readonly Edge[], note: string | undefined): readonly string[] {
  return [
    `- ${peer}${note === undefined ? '' : `: ${note}`}`,
    ...edges.slice(0, 5).map((edge) => `    ${evidenceLine(edge)}`),
    ...(edges.length > 5 ? [`    and ${edges.length - 5} more edges`] : []),
  ];
}
