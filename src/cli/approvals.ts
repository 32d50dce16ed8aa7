import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import type { Approval } from '../model/approval.ts';
import { PHASES } from '../model/phase.ts';
import type { ApprovalFacts } from '../readiness/approval-gate.ts';
import { EXIT, Failure } from '../shared/pure/errors.ts';
import { describeIssues } from '../shared/pure/issues.ts';
import type { App } from './context.ts';
import { explain } from './file-error.ts';

const approvalSchema = z.strictObject({
  apiVersion: z.literal('sallyport.dev/v1'),
  kind: z.literal('Approval'),
  target: z.string().min(1),
  namespace: z.string().min(1),
  from: z.enum(PHASES),
  to: z.enum(PHASES),
  plan: z.string().regex(/^[0-9a-f]{64}$/, 'the whole hash of a plan expected'),
  by: z.strictObject({ kind: z.enum(['kubernetes', 'system']), name: z.string().min(1).max(1000) }),
  at: z.iso.datetime({ offset: true }).transform((value) => new Date(value).getTime()),
  reason: z.string().trim().min(1).max(10_000),
});

/** Files larger than this are no approval. */
const MAX_BYTES = 64 * 1024;

/** The document that `approve --json` prints and `--approval FILE` takes. */
export function approvalDocument(one: Approval): object {
  const { target, namespace, from, to, plan, by, at, reason } = one;
  return { target, namespace, from, to, plan, by, at: new Date(at).toISOString(), reason };
}

/** Reads one approval. Exit 2 with file and field for anything else. */
export async function readApproval(file: string): Promise<Approval> {
  const wrong = (message: string, cause?: unknown): Failure =>
    new Failure({
      code: 'SP291',
      exit: EXIT.usage,
      message: `the approval cannot be taken: ${message}`,
      where: file,
      hint: 'sallyport approve NAMESPACE --plan HASH --reason "..." --json writes one',
      cause,
    });
  let value: unknown;
  try {
    const bytes = await readFile(file);
    if (bytes.length > MAX_BYTES) throw wrong(`it has ${bytes.length} bytes, and an approval at most ${MAX_BYTES}`);
    value = JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw wrong(error instanceof SyntaxError ? 'it is not JSON' : explain(error), error);
  }
  const parsed = approvalSchema.safeParse(value);
  if (!parsed.success) throw wrong(describeIssues(parsed.error.issues), parsed.error);
  const { target, namespace, from, to, plan, by, at, reason } = parsed.data;
  return { target, namespace, from, to, plan, by, at, reason };
}

/** Approvals of the state and of the files given, and all that the gate must know beside them. */
export async function readApprovals(app: App): Promise<ApprovalFacts> {
  const { reader } = await app.state();
  const files = new Map<Approval, string>();
  const stored = reader.approvals();
  const known = new Set(stored.map((one) => JSON.stringify(approvalDocument(one))));
  for (const file of app.options.approval ?? []) {
    const approval = await readApproval(file);
    if (!known.has(JSON.stringify(approvalDocument(approval)))) files.set(approval, file);
  }
  const ranAt = new Map<string, number>();
  for (const { kind, planHash, startedAt } of reader.runs())
    if (kind === 'advance' || kind === 'grant') ranAt.set(planHash, startedAt);
  return {
    target: (await app.target()).id,
    approvals: [...stored, ...files.keys()].toSorted((a, b) => a.at - b.at),
    files,
    actor: await app.actor(),
    now: Date.now(),
    ranAt,
  };
}
