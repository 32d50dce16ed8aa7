import { ROLES } from '../../sources/kube/rights.ts';
import type { Role } from '../../sources/kube/rights.ts';
import type { Access, AccessReport } from '../../sources/kube/access.ts';
import { groupBy } from '../../shared/pure/order.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import type { App } from '../context.ts';
import { kubeOptions } from '../context.ts';
import { paint, wrap } from '../output.ts';

/** Leases are judged by the server's clock, evidence by that of its sources: only a gross difference is worth a word. */
const SKEW_SEC = 30;

const USES: Readonly<Record<Role, string>> = {
  observer: 'inventory, observe, flows, suggest, reach, assess, status, verify',
  planner: 'plan without unknowns for want of rights',
  operator: 'advance and rollback, up to strict-mtls',
  identity: 'advance and rollback of the identity phase',
};

interface Missing {
  readonly role: Role;
  readonly verb: string;
  readonly resource: string;
  readonly why: string;
}

/** What this kubeconfig may and may not do, and what is missing: asked of the API server itself. Writes nothing. */
export async function doctor(app: App, options: { readonly namespace?: string }): Promise<void> {
  const { output } = app;
  if (app.options.manifests !== undefined) {
    const target = await app.target();
    output.document('Doctor', { target: 'directory', description: target.description, roles: [], missing: [] });
    output.line(wrap(`${safeText(target.description)}: a directory of manifests asks for no rights.`, output.width));
    output.line('What it holds: sallyport inventory --manifests DIR');
    return;
  }
  const { connectKube, openDiscovery, readAccess } = await import('../../sources/kube/index.ts');
  output.progress('asking the API server what this account may do');
  const api = await connectKube({ ...kubeOptions(app.options, app.env), clock: app.clock() });
  try {
    const report = await readAccess(api, openDiscovery(api), {
      ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
      now: () => Date.now(),
    });
    const missing = report.access.filter((one) => one.allowed !== true).map(describeMissing);
    const roles = ROLES.map((role) => ({ role, answer: answerOf(role, report.access), uses: USES[role] }));
    output.document('Doctor', {
      target: 'cluster',
      context: api.context,
      server: api.server,
      version: report.version ?? null,
      user: report.user ?? null,
      groups: report.groups,
      namespace: options.namespace ?? null,
      skewSec: report.skewSec ?? null,
      readsSecrets: report.readsSecrets ?? 'unknown',
      asked: report.access.length,
      roles,
      missing,
    });
    const who = report.user === undefined ? 'somebody the server does not name' : safeText(report.user);
    output.line(
      wrap(`${safeText(api.server)} (${safeText(report.version ?? 'version unknown')}), as ${who}`, output.width),
    );
    for (const { role, answer, uses } of roles)
      output.line(
        wrap(
          `${paint(output, answer === 'yes' ? 'green' : 'yellow', answer.padEnd(7))} ${role}: ${uses}`,
          output.width,
          8,
        ),
      );
    for (const [role, lines] of groupBy(missing, (one) => one.role)) {
      output.line();
      output.line(`Missing for ${role}:`);
      for (const [why, own] of groupBy(lines, (one) => one.why))
        output.line(wrap(`  ${why}: ${describeVerbs(own)}`, output.width, 4));
    }
    for (const remark of remarks(report)) output.line(`\n${wrap(remark, output.width)}`);
    if (missing.length > 0)
      output.line(
        `\n${wrap(`Roles to bind are in templates/rbac of the package: kubectl apply -f templates/rbac/${missing[0]?.role ?? 'observer'}.yaml, then a ClusterRoleBinding, or a RoleBinding per namespace.`, output.width)}`,
      );
  } finally {
    api.close();
  }
}

function describeMissing({ right, verb, group, resource, allowed }: Access): Missing & { readonly answer: string } {
  return {
    role: right.role,
    verb,
    resource: `${resource}${group === '' ? '' : `.${group}`}`,
    why: right.why,
    answer: allowed === false ? 'no' : 'unknown',
  };
}

function answerOf(role: Role, access: readonly Access[]): 'yes' | 'no' | 'unknown' {
  const upTo = ROLES.indexOf(role);
  const own = access.filter((one) => ROLES.indexOf(one.right.role) <= upTo);
  if (own.some((one) => one.allowed === false)) return 'no';
  return own.some((one) => one.allowed === undefined) ? 'unknown' : 'yes';
}

function describeVerbs(lines: readonly Missing[]): string {
  return [...groupBy(lines, (one) => one.resource)]
    .map(([resource, own]) => `${own.map((one) => one.verb).join(', ')} ${safeText(resource)}`)
    .join('; ');
}

function remarks({ readsSecrets, skewSec, access }: AccessReport): readonly string[] {
  const said: string[] = [];
  if (readsSecrets === true)
    said.push(
      'This account may list Secrets. Sallyport never does, and no role of its own may: a narrower account is safer.',
    );
  if (skewSec !== undefined && Math.abs(skewSec) > SKEW_SEC)
    said.push(
      `The clock here is ${plural(Math.abs(skewSec), 'second')} ${skewSec > 0 ? 'ahead of' : 'behind'} the API server's: times on record are shifted by that.`,
    );
  if (access.length === 0) said.push('The server serves none of the kinds that were asked for.');
  return said;
}
