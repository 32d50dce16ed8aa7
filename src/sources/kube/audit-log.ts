import { EXIT, Failure } from '../../shared/pure/errors.ts';
import type { JsonObject } from '../../shared/pure/json.ts';
import { asArray, asNumber, asObject, asString, asStringMap, isJsonObject } from '../../shared/pure/json.ts';
import { safeText } from '../../shared/pure/text.ts';
import type { UsedRight } from '../../model/rbac.ts';
import type { FlowInput } from '../flow-source.ts';
import { readLines } from '../lines.ts';

/** What accounts were seen to call, and how much of the log could be read. */
export interface AuditUse {
  /** By `namespace/name` of the account. */
  readonly byAccount: ReadonlyMap<string, readonly UsedRight[]>;
  readonly events: number;
  readonly bad: number;
  readonly firstBad?: string;
  /** Milliseconds since the epoch: the first and the last event. */
  readonly first?: number;
  readonly last?: number;
  /** True where there were more different calls than are kept: then nothing counts as unused. */
  readonly cut: boolean;
}

const MOST_CALLS = 500_000;
/** The last stages of a request; `RequestReceived` comes before the authorizer was asked. */
const ANSWERED: ReadonlySet<string> = new Set(['ResponseStarted', 'ResponseComplete', 'Panic']);
const ACCOUNT = /^system:serviceaccount:([^:]+):([^:]+)$/;

/**
 * Reads an API server's audit log: events of audit.k8s.io/v1 (k8s.io/apiserver pkg/apis/audit/v1), one a line as the log backend writes them, or
 * an EventList a line as the webhook backend sends them; gzip too. A call counts for whom it was made as (impersonation), and only where the
 * authorizer let it through. Lines that are no event are counted. Errors: SP240 for the file; SP260 (exit 2) where no line is an event.
 */
export async function readAuditLog(inputs: readonly FlowInput[]): Promise<AuditUse> {
  const calls = new Map<string, Map<string, UsedRight>>();
  let kept = 0;
  let events = 0;
  let bad = 0;
  let firstBad: string | undefined;
  let first: number | undefined;
  let last: number | undefined;
  const reject = (where: string, what: string): void => {
    bad += 1;
    firstBad ??= `${where}: ${what}`;
  };
  const take = (event: JsonObject, where: string): void => {
    const problem = problemOf(event);
    if (problem !== undefined) {
      reject(where, problem);
      return;
    }
    events += 1;
    const at = Date.parse(asString(event['requestReceivedTimestamp']) ?? '');
    first = first === undefined ? at : Math.min(first, at);
    last = last === undefined ? at : Math.max(last, at);
    const account = accountOf(event);
    if (account === undefined || !ANSWERED.has(asString(event['stage']) ?? '') || !wasAllowed(event)) return;
    const call = callOf(event);
    const own = calls.get(account) ?? new Map<string, UsedRight>();
    calls.set(account, own);
    const key = Object.values(call).join('\n');
    if (own.has(key)) return;
    kept += 1;
    if (kept <= MOST_CALLS) own.set(key, call);
  };
  for (const input of inputs) {
    const { broken } = await readLines(
      input,
      (text, line) => {
        const where = `${input.name}:${line}`;
        let parsed: unknown;
        try {
          parsed = JSON.parse(text);
        } catch {
          reject(where, 'is no JSON');
          return;
        }
        const value = parsed as JsonObject;
        if (!isJsonObject(value)) reject(where, 'is no event');
        else if (value['kind'] === 'EventList')
          for (const item of asArray(value['items']))
            take({ kind: 'Event', apiVersion: value['apiVersion'] ?? '', ...asObject(item) }, where);
        else take(value, where);
      },
      undefined,
      (fault, _, line) => reject(`${input.name}:${line}`, fault.message),
    );
    if (broken !== undefined) reject(input.name, broken.message);
  }
  if (events === 0)
    throw new Failure({
      code: 'SP260',
      exit: EXIT.usage,
      message: `no line of the audit log is an event of audit.k8s.io/v1${firstBad === undefined ? '' : `; ${safeText(firstBad)}`}`,
      where: inputs.map(({ name }) => name).join(', '),
      hint: 'give the file that kube-apiserver --audit-log-path writes, or what your provider exports of it, unchanged: one JSON event a line',
    });
  return {
    byAccount: new Map([...calls].map(([account, own]) => [account, [...own.values()]])),
    events,
    bad,
    ...(firstBad === undefined ? {} : { firstBad }),
    ...(first === undefined ? {} : { first }),
    ...(last === undefined ? {} : { last }),
    cut: kept > MOST_CALLS,
  };
}

function problemOf(event: JsonObject): string | undefined {
  if (event['kind'] !== 'Event') return 'its kind is not Event';
  if (event['apiVersion'] !== 'audit.k8s.io/v1') return 'its apiVersion is not audit.k8s.io/v1';
  if (typeof event['stage'] !== 'string') return 'it has no stage';
  if (typeof event['verb'] !== 'string' || event['verb'] === '') return 'it has no verb';
  if (typeof asObject(event['user'])['username'] !== 'string') return 'it names no user';
  if (event['objectRef'] === undefined && typeof event['requestURI'] !== 'string')
    return 'it names nothing that was called';
  return Number.isNaN(Date.parse(asString(event['requestReceivedTimestamp']) ?? ''))
    ? 'its time cannot be read'
    : undefined;
}

function accountOf(event: JsonObject): string | undefined {
  const user =
    asString(asObject(event['impersonatedUser'])['username']) ?? asString(asObject(event['user'])['username']);
  const match = ACCOUNT.exec(user ?? '');
  return match === null ? undefined : `${match[1] ?? ''}/${match[2] ?? ''}`;
}

function wasAllowed(event: JsonObject): boolean {
  const decision = asStringMap(event['annotations'])['authorization.k8s.io/decision'];
  if (decision !== undefined) return decision === 'allow';
  const code = asNumber(asObject(event['responseStatus'])['code']);
  return code !== 401 && code !== 403;
}

function callOf(event: JsonObject): UsedRight {
  const verb = asString(event['verb']) ?? '';
  if (!isJsonObject(event['objectRef'])) {
    const path = (asString(event['requestURI']) ?? '').split('?')[0] ?? '';
    return { verb, group: '', resource: '', path };
  }
  const ref = event['objectRef'];
  const [resource, subresource] = [asString(ref['resource']) ?? '', asString(ref['subresource'])];
  const [namespace, name] = [asString(ref['namespace']), asString(ref['name'])];
  return {
    verb,
    group: asString(ref['apiGroup']) ?? '',
    resource: subresource === undefined || subresource === '' ? resource : `${resource}/${subresource}`,
    ...(namespace === undefined || namespace === '' ? {} : { namespace }),
    ...(name === undefined || name === '' ? {} : { name }),
  };
}
