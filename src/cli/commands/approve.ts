import type { Approval } from '../../model/approval.ts';
import { formatActor } from '../../model/approval.ts';
import { openGates } from '../../plan/assemble.ts';
import { EXIT, Failure } from '../../shared/pure/errors.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import type { Plan } from '../../plan/plan.ts';
import type { App } from '../context.ts';
import type { Loaded } from '../load.ts';
import { approvalDocument } from '../approvals.ts';
import { wrap } from '../output.ts';
import { countGates } from '../render-gates.ts';
import { planUp, stalePlan } from './plan.ts';

/**
 * Takes down that the caller says yes to a plan. The plan is made anew: what is approved is what this cluster and this record give, or
 * nothing. Errors: exit 2 (SP290) for a call without a hash or a reason, exit 3 for another plan (SP605) or a caller that the cluster does
 * not name (SP616).
 */
export async function approve(
  app: App,
  namespace: string,
  options: { readonly to?: string; readonly plan?: string; readonly reason?: string },
): Promise<void> {
  const wanted = options.plan ?? app.options.planHash;
  const reason = (options.reason ?? '').trim();
  const missing = [
    ...(wanted === undefined ? ['--plan: an approval is of one plan'] : []),
    ...(reason === '' ? ['--reason: it stands on the audit trail'] : []),
  ];
  if (wanted === undefined || missing.length > 0)
    throw new Failure({
      code: 'SP290',
      exit: EXIT.usage,
      message: `missing ${missing.join(', and ')}`,
      where: `sallyport approve ${namespace}`,
      hint: `sallyport plan ${namespace}${options.to === undefined ? '' : ` --to ${options.to}`} shows the plan with its hash`,
    });
  const { loaded, plan } = await planUp(app, namespace, options.to);
  const stale = stalePlan(wanted, plan);
  if (stale !== undefined) throw stale;
  await takeApproval(
    app,
    plan,
    reason,
    loaded,
    `${namespace} ${plan.from} -> ${plan.to}, ${plural(plan.steps.length, 'step')}`,
  );
}

/** Takes the caller's yes down, on the trail and as a document; `what` for people. Exit 3 (SP616) where the cluster does not say who it is. */
export async function takeApproval(app: App, plan: Plan, reason: string, loaded: Loaded, what: string): Promise<void> {
  const { output } = app;
  const by = await app.actor();
  if (by === undefined)
    throw new Failure({
      code: 'SP616',
      exit: EXIT.refused,
      message: "the API server does not say who this is, and an approval is somebody's",
      where: (await app.target()).description,
      hint: 'sallyport doctor; SelfSubjectReview is part of Kubernetes 1.28 and later',
    });
  const approval: Approval = {
    target: (await app.target()).id,
    namespace: plan.namespace,
    from: plan.from,
    to: plan.to,
    plan: plan.hash,
    by,
    at: Date.now(),
    reason,
  };
  const { writer } = await app.writableState();
  writer.addApproval(approval, { who: app.by, at: approval.at });
  output.document('Approval', approvalDocument(approval));
  const say = (text: string): void => output.line(wrap(safeText(text), output.width, 2));
  say(`${formatActor(by)} approves plan ${plan.hash.slice(0, 12)}: ${what}`);
  const rule = loaded.config.changes?.approvals;
  say(
    rule === undefined
      ? 'The configuration asks for no approvals (changes.approvals): it stands on the audit trail alone.'
      : `It counts for ${rule.hours} hours, for this plan alone, and for one run.`,
  );
  const open = openGates(plan).filter((gate) => gate.id !== 'approval');
  if (open.length > 0) say(`Gates that are open still: ${countGates(open)}`);
}
