import { EXIT, Failure } from '../../shared/pure/errors.ts';
import { safeText } from '../../shared/pure/text.ts';
import type { ApiStatus } from './schema.ts';

/** What a call is about, for messages. */
export interface CallSubject {
  /** `applying NetworkPolicy shop/allow-web`: what was being attempted. */
  readonly doing: string;
  /** The verb of the right that it takes: get, list, create, update, patch, delete. */
  readonly verb: string;
  /** `networkpolicies.networking.k8s.io`; empty for paths that are no resource. */
  readonly resource: string;
  readonly namespace?: string;
  readonly name?: string;
}

/** Why a call did not succeed. */
export type ApiProblem =
  | { readonly kind: 'refused'; readonly status: number; readonly body: ApiStatus; readonly retryAfterSec?: number }
  | {
      readonly kind: 'no-answer';
      /** `fenced`: held back on our side, since what allows the write may be over. */
      readonly why: 'time-out' | 'refused' | 'host' | 'tls' | 'cut' | 'garbled' | 'fenced';
      /** False only when the request surely did not reach the API server. */
      readonly mayHaveReached: boolean;
      readonly detail: string;
      readonly cause?: unknown;
    };

/** What the messages need to know about the connection. */
export interface Connected {
  readonly context: string;
  readonly server: string;
  readonly timeoutSec: number;
  readonly impersonating?: string;
}

/** Could the call have taken effect although it was not answered with success? */
export function isOutcomeUnknown(problem: ApiProblem): boolean {
  return problem.kind === 'refused' ? problem.status >= 500 : problem.mayHaveReached;
}

/** The cause by which an API server says that a budget, and not its own load, refuses an eviction (kubernetes.io, "API-initiated Eviction"). */
export const BUDGET_REASON = 'DisruptionBudget';

/** A budget does not change its mind within seconds: such a 429 is no call for patience. */
export function isBudget(problem: ApiProblem): boolean {
  return (
    problem.kind === 'refused' &&
    problem.status === 429 &&
    problem.body.causes.some(({ reason }) => reason === BUDGET_REASON)
  );
}

/**
 * The failure that a person reads, exit 4. Codes: SP401 credentials, SP403 rights, SP404 object not there, SP406 refused by
 * admission, SP409 conflict, SP410 list expired, SP413 kind not installed, SP422 invalid, SP429 too many requests, SP450
 * server error, SP451 time-out, SP452 connection refused, SP453 unknown host, SP454 TLS, SP455 connection cut, SP457 not an
 * API server, SP459 any other refusal.
 */
export function failureOf(problem: ApiProblem, subject: CallSubject, connected: Connected): Failure {
  const { code, message, hint } =
    problem.kind === 'refused' ? wordRefusal(problem, subject, connected) : wordSilence(problem, connected);
  return new Failure({
    code,
    exit: EXIT.cluster,
    ...(mayPass(problem) ? { nature: 'passes' } : {}),
    message: `${safeText(subject.doing)}: ${message}`,
    where: `context ${safeText(connected.context)}, ${safeText(connected.server)}`,
    ...(hint === undefined ? {} : { hint }),
    cause: problem.kind === 'no-answer' ? problem.cause : undefined,
  });
}

/** No answer, credentials, a conflict, a list that expired, too many requests, a server that fails: none of it is about what was asked. */
function mayPass(problem: ApiProblem): boolean {
  return problem.kind === 'no-answer' || problem.status >= 500 || [401, 409, 410, 429].includes(problem.status);
}

interface Words {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
}

function wordRefusal(
  problem: Extract<ApiProblem, { kind: 'refused' }>,
  subject: CallSubject,
  connected: Connected,
): Words {
  const { status, body } = problem;
  const said = clip(body.message) || `status ${status} without a message`;
  const scope = subject.namespace === undefined ? '' : ` -n ${safeText(subject.namespace)}`;
  switch (status) {
    case 401:
      return {
        code: 'SP401',
        message: 'the API server does not accept the credentials (401)',
        hint: `log in again, then try: kubectl auth whoami --context ${safeText(connected.context)}`,
      };
    case 403:
      return wordForbidden(body, said, subject, connected, scope);
    case 404:
      return isKindMissing(body)
        ? {
            code: 'SP413',
            message: `the API server does not serve ${safeText(subject.resource || 'this path')} (404)`,
            hint: 'see what it serves with: kubectl api-resources',
          }
        : { code: 'SP404', message: `${said} (404)` };
    case 409:
      return {
        code: 'SP409',
        message: `${said} (409)${causesOf(body)}`,
        hint: 'run the command again on what is there now',
      };
    case 410:
      return {
        code: 'SP410',
        message: 'the list changed faster than it could be read (410), twice',
        hint: 'run the command again when fewer objects change',
      };
    case 422:
      return {
        code: 'SP422',
        message: `the API server calls it invalid (422): ${said}${causesOf(body)}`,
        hint: 'nothing was written; the fields named are at fault',
      };
    case 429:
      return {
        code: 'SP429',
        message: `the API server is refusing requests for now (429), also after waiting: ${said}`,
        hint:
          problem.retryAfterSec === undefined
            ? 'try again later'
            : `try again in ${Math.ceil(problem.retryAfterSec)} s or later`,
      };
    default:
      return status >= 500
        ? {
            code: 'SP450',
            message: `the API server failed (${status}): ${said}`,
            hint: 'see its health with: kubectl get --raw /readyz?verbose',
          }
        : { code: 'SP459', message: `the API server refused (${status}): ${said}${causesOf(body)}` };
  }
}

function wordForbidden(
  body: ApiStatus,
  said: string,
  subject: CallSubject,
  connected: Connected,
  scope: string,
): Words {
  if (body.causes.some(({ reason }) => reason === 'NamespaceTerminating'))
    return { code: 'SP404', message: `namespace ${safeText(subject.namespace ?? '')} is being deleted (403)` };
  // RBAC's own words are `User "u" cannot VERB resource ...`; admission, quota and the like refuse writes with 403 as well.
  const byRights =
    subject.verb === 'get' ||
    subject.verb === 'list' ||
    subject.verb === 'watch' ||
    body.message === '' ||
    / cannot (?:\w+) (?:resource|path)|cannot impersonate/u.test(body.message);
  if (!byRights)
    return {
      code: 'SP406',
      message: `refused by an admission rule (403): ${said}`,
      hint: 'the rule named must allow it',
    };
  if (/cannot impersonate/u.test(body.message))
    return {
      code: 'SP403',
      message: `you may not impersonate ${safeText(connected.impersonating ?? '')} (403): ${said}`,
      hint: 'ask for the right `impersonate` on users, or leave out --as',
    };
  const where =
    subject.namespace === undefined ? 'in the whole cluster' : `in namespace ${safeText(subject.namespace)}`;
  const as = connected.impersonating === undefined ? '' : ` --as ${safeText(connected.impersonating)}`;
  return {
    code: 'SP403',
    message: `you may not ${subject.verb} ${safeText(subject.resource)} ${where} (403): ${said}`,
    hint: `ask for the right \`${subject.verb}\` on \`${safeText(subject.resource)}\`; check with: kubectl auth can-i ${subject.verb} ${safeText(subject.resource)}${scope === '' ? ' --all-namespaces' : scope}${as}`,
  };
}

/** A 404 of the router, which knows no such path, is not one of a store, which names the object it lacks. */
export function isKindMissing(body: ApiStatus): boolean {
  return body.name === '' && !/ not found$/u.test(body.message);
}

function causesOf(body: ApiStatus): string {
  const known = body.causes.filter(({ message }) => message !== '' && !body.message.includes(message)).slice(0, 10);
  return known.map(({ field, message }) => `\n  ${field === '' ? '' : `${clip(field)}: `}${clip(message)}`).join('');
}

function wordSilence(problem: Extract<ApiProblem, { kind: 'no-answer' }>, connected: Connected): Words {
  const detail = clip(problem.detail);
  switch (problem.why) {
    case 'time-out':
      return {
        code: 'SP451',
        message: `no answer within ${connected.timeoutSec} s`,
        hint: 'see whether the API server answers: kubectl get --raw /readyz',
      };
    case 'refused':
      return {
        code: 'SP452',
        message: `the connection was refused (${detail})`,
        hint: 'is the cluster up, and the address of the context right? kubectl cluster-info',
      };
    case 'host':
      return {
        code: 'SP453',
        message: `the API server's host cannot be reached (${detail})`,
        hint: 'check the name, the network and the VPN',
      };
    case 'tls':
      return {
        code: 'SP454',
        message: `the API server's certificate is not trusted (${detail})`,
        hint: "put its authority into the context's certificate-authority-data; verification is not switched off",
      };
    case 'fenced':
      return {
        code: 'SP415',
        message: 'it was not sent: the hold under which it may be written could not be confirmed in time',
        hint: 'sallyport resume',
      };
    case 'cut':
      return { code: 'SP455', message: `the connection broke (${detail})`, hint: 'run the command again' };
    case 'garbled':
      return {
        code: 'SP457',
        message: `this is not the answer of a Kubernetes API server (${detail})`,
        hint: "check the context's server address and proxy-url",
      };
  }
}

function clip(text: string): string {
  const safe = safeText(text.trim());
  return safe.length <= 1000 ? safe : `${safe.slice(0, 1000)}…`;
}
