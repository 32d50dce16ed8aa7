import { readFile } from 'node:fs/promises';
import { parseCloudProof } from '../../candidates/cloud-proof.ts';
import type { CloudProof } from '../../candidates/cloud-proof.ts';
import { CLOUD_ISSUER } from '../../model/cloud-cluster.ts';
import type { BindingWay } from '../../model/cloud-identity.ts';
import { resolutionsOf } from '../../plan/rollback.ts';
import { cloudRequestProblems, cloudStepsInForce, planCloudSteps } from '../../readiness/cloud-identity-plan.ts';
import type { CloudRequest, LeftSecret } from '../../readiness/cloud-identity-plan.ts';
import { planRollback } from '../../readiness/rollback.ts';
import { EXIT, Failure } from '../../shared/pure/errors.ts';
import type { Json } from '../../shared/pure/json.ts';
import { shellWord } from '../../shared/pure/shell.ts';
import { safeText } from '../../shared/pure/text.ts';
import type { App } from '../context.ts';
import { explain } from '../file-error.ts';
import type { Loaded } from '../load.ts';
import { loadAll, requireNamespace, requireReadable } from '../load.ts';
import { wrap } from '../output.ts';
import type { Prompts } from '../prompts.ts';
import { renderPlan } from '../render-plan.ts';
import { soakWorld } from '../soak.ts';
import { cloudPlanOf } from './cloud-identity.ts';
import { planDocument, stalePlan } from './plan.ts';
import { carryOut, foreignChange, refuseOpenRun } from './run.ts';

export interface CloudApplyOptions {
  readonly namespace?: string;
  readonly identity?: readonly string[];
  readonly workload?: readonly string[];
  readonly way?: readonly string[];
  readonly proof?: readonly string[];
  readonly issuer?: string;
  readonly eksCluster?: string;
  readonly keepKey?: boolean;
  readonly projectToken?: boolean;
  /** True unless `--no-dry-run` is given. */
  readonly dryRun?: boolean;
  readonly detach?: boolean;
}

/** Ways that are asked for by name; the others follow from the cloud. */
const WAYS: readonly BindingWay[] = ['gke-annotation', 'gke-principal', 'irsa', 'eks-pod-identity'];
/** An IAM policy is a page or two. */
const MAX_PROOF_BYTES = 1024 * 1024;

/** The side of the cluster of what replaces a key, as a run, and the way back of it. */
export async function cloudIdentityRun(
  app: App,
  action: 'apply' | 'remove',
  options: CloudApplyOptions,
  prompts?: Prompts,
): Promise<number> {
  const { namespace } = options;
  if (namespace === undefined) throw refused([`${action} needs the namespace: -n NS`]);
  return action === 'apply' ? apply(app, namespace, options, prompts) : remove(app, namespace, options, prompts);
}

function refused(problems: readonly string[]): Failure {
  return new Failure({
    code: 'SP132',
    exit: EXIT.usage,
    message: `nothing is planned: ${problems.map(safeText).join('; ')}`,
    where: 'cloud-identity',
    hint: 'sallyport cloud-identity -n NS lists the keys and the commands for the cloud',
  });
}

async function apply(
  app: App,
  namespace: string,
  options: CloudApplyOptions,
  prompts: Prompts | undefined,
): Promise<number> {
  const dryRun = options.dryRun !== false;
  const proofs = await readProofs(options.proof ?? []);
  if (!dryRun) await refuseOpenRun(app, namespace);
  const loaded = await loadAll(app);
  requireNamespace(loaded, namespace);
  requireReadable(loaded, await app.decisions());
  const view = loaded.view(namespace);
  const request = requestOf(loaded, namespace, options, proofs);
  const cloud = cloudPlanOf(loaded, namespace);
  const problems = cloudRequestProblems(view, cloud, request);
  if (problems.length > 0) throw refused(problems);
  const { plan, left } = planCloudSteps(view, cloud, request, loaded.planner);
  const words = ['sallyport cloud-identity apply', `-n ${namespace}`, ...flagsOf(options)].join(' ');
  if (dryRun || plan.steps.length === 0) {
    const stale = stalePlan(app.options.planHash, plan);
    if (stale !== undefined) throw stale;
    app.output.document('CloudIdentityPlan', { ...planDocument(plan), left });
    app.output.line(
      plan.steps.length === 0
        ? wrap(
            `Nothing to write: no workload of ${safeText(namespace)} holds a key that this could replace.`,
            app.output.width,
            2,
          )
        : renderPlan(plan, app.output, true, `${words} --no-dry-run`),
    );
    sayLeft(app, left);
    return EXIT.done;
  }
  const soak = await soakWorld(app, loaded, namespace, options.detach === true);
  const exit = await carryOut(app, plan, loaded, view, 'advance', prompts, soak, words);
  if (exit === EXIT.done) sayLeft(app, left);
  return exit;
}

function sayLeft({ output }: App, left: readonly LeftSecret[]): void {
  for (const { secret, stillNamedBy } of left)
    output.note(
      wrap(
        safeText(
          stillNamedBy.length === 0
            ? `Nothing here refers to Secret ${secret} after that: once it has soaked, delete the key behind it in the cloud, then the Secret. Until then the way back works.`
            : `Secret ${secret} is still referred to by ${stillNamedBy.join(', ')}: the key behind it stays in use.`,
        ),
        output.width,
        2,
      ),
    );
}

/** `worker` and `ml/Deployment/worker` both name a workload of the namespace. */
function requestOf(
  loaded: Loaded,
  namespace: string,
  options: CloudApplyOptions,
  proofs: readonly CloudProof[],
): CloudRequest {
  const problems: string[] = [];
  const mine = loaded.inventory.workloads.filter((one) => one.namespace === namespace);
  const idOf = (text: string): string => {
    const found = mine.filter(({ id, name }) => id === text || name === text);
    if (found.length === 1 && found[0] !== undefined) return found[0].id;
    problems.push(
      found.length === 0
        ? `there is no workload ${text} in ${namespace}`
        : `${text} may be ${found.map(({ id }) => id).join(' or ')}`,
    );
    return text;
  };
  const identities = new Map<string, string>();
  for (const text of options.identity ?? []) {
    const at = text.indexOf('=');
    if (at < 1 || at === text.length - 1) {
      problems.push(`"${text}" is not WORKLOAD=IDENTITY`);
      continue;
    }
    const id = idOf(text.slice(0, at));
    if (identities.has(id)) problems.push(`${id} is given two identities`);
    identities.set(id, text.slice(at + 1));
  }
  const workloads = (options.workload ?? []).map(idOf);
  const ways = options.way ?? [];
  for (const way of ways)
    if (!WAYS.some((one) => one === way)) problems.push(`--way knows no ${way}: one of ${WAYS.join(', ')}`);
  if (options.projectToken === true && ways.includes('eks-pod-identity'))
    problems.push('--project-token is of IRSA: the agent of EKS Pod Identity puts in a token of its own');
  const { issuer, eksCluster } = options;
  if (issuer !== undefined && !CLOUD_ISSUER.test(issuer)) problems.push(`--issuer "${issuer}" is no https URL`);
  if (problems.length > 0) throw refused(problems);
  return {
    namespace,
    workloads,
    identities,
    ways: new Set(WAYS.filter((one) => ways.includes(one))),
    projectToken: options.projectToken === true,
    keepKey: options.keepKey === true,
    proofs,
    cluster: { ...(issuer === undefined ? {} : { issuer }), ...(eksCluster === undefined ? {} : { eksCluster }) },
  };
}

/** `FILE`, or `IDENTITY=FILE` where the answer does not say whose it is. */
async function readProofs(given: readonly string[]): Promise<readonly CloudProof[]> {
  const proofs: CloudProof[] = [];
  for (const text of given) {
    const at = text.indexOf('=');
    const file = text.slice(at + 1);
    const wrong = (why: string, cause?: unknown): Failure =>
      new Failure({
        code: 'SP133',
        exit: EXIT.usage,
        message: `the answer of the cloud cannot be read: ${safeText(why)}`,
        where: safeText(file),
        hint: 'give the output of gcloud, aws or az as JSON: the gate cloud-side of the plan names the command',
        ...(cause === undefined ? {} : { cause }),
      });
    let value: Json;
    try {
      const bytes = await readFile(file);
      if (bytes.length > MAX_PROOF_BYTES) throw wrong(`it has ${bytes.length} bytes`);
      value = JSON.parse(bytes.toString('utf8')) as Json;
    } catch (error) {
      if (error instanceof Failure) throw error;
      throw wrong(error instanceof SyntaxError ? 'it is no JSON' : explain(error), error);
    }
    const parsed = parseCloudProof(value, file, at < 0 ? undefined : text.slice(0, at));
    if (parsed.kind === 'unreadable') throw wrong(parsed.why);
    proofs.push(parsed.proof);
  }
  return proofs;
}

function flagsOf(options: CloudApplyOptions): readonly string[] {
  const each = (flag: string, values: readonly string[] = []): readonly string[] =>
    values.map((value) => `--${flag} ${shellWord(value)}`);
  return [
    ...each('identity', options.identity),
    ...each('workload', options.workload),
    ...each('way', options.way),
    ...each('proof', options.proof),
    ...each('issuer', options.issuer === undefined ? [] : [options.issuer]),
    ...each('eks-cluster', options.eksCluster === undefined ? [] : [options.eksCluster]),
    ...(options.keepKey === true ? ['--keep-key'] : []),
    ...(options.projectToken === true ? ['--project-token'] : []),
  ];
}

/** Takes back what `apply` wrote for a namespace, from the record: the references to the key stand again, to the byte. */
async function remove(
  app: App,
  namespace: string,
  options: CloudApplyOptions,
  prompts: Prompts | undefined,
): Promise<number> {
  const dryRun = options.dryRun !== false;
  if (!dryRun) await refuseOpenRun(app, namespace);
  const loaded = await loadAll(app);
  const view = loaded.view(namespace);
  const undo = cloudStepsInForce(view.applied, namespace);
  if (undo.length === 0)
    throw new Failure({
      code: 'SP685',
      exit: EXIT.usage,
      message: `cloud-identity has no steps in force for ${safeText(namespace)}`,
      hint: `sallyport audit --namespace ${safeText(namespace)} shows what was done and taken back`,
    });
  const now = view.phases.get(namespace) ?? 'none';
  const first = planRollback(view, now, loaded.planner, undefined, undo);
  const decided = resolutionsOf(first.divergences, view.resolved ?? []);
  const { plan, divergences } = decided.size === 0 ? first : planRollback(view, now, loaded.planner, decided, undo);
  if (divergences.length > 0) throw foreignChange(divergences);
  const words = `sallyport cloud-identity remove -n ${namespace}`;
  if (!dryRun) return carryOut(app, plan, loaded, view, 'rollback', prompts, undefined, words);
  app.output.document('CloudIdentityPlan', { ...planDocument(plan), left: [] });
  app.output.line(renderPlan(plan, app.output, true, `${words} --no-dry-run`));
  return EXIT.done;
}
