import { ROLES } from '../../sources/kube/rights.ts';
import type { Role } from '../../sources/kube/rights.ts';
import type { Access, AccessReport, Beside } from '../../sources/kube/access.ts';
import { groupBy } from '../../shared/pure/order.ts';
import type { BesideAccess } from '../../sources/kube/access.ts';
import type { Piece } from '../../sources/kube/pieces.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import type { App } from '../context.ts';
import { kubeOptions } from '../context.ts';
import type { Output } from '../output.ts';
import { paint, wrap } from '../output.ts';
import { readPatterns } from '../pattern-files.ts';
import { dialectsHere, readWritable } from './doctor-writes.ts';
import type { DialectHere, WritableKind } from './doctor-writes.ts';

/** Leases are judged by the server's clock, evidence by that of its sources: only a gross difference is worth a word. */
const SKEW_SEC = 30;

const USES: Readonly<Record<Role, string>> = {
  observer: 'inventory, observe, flows, suggest, reach, assess, status, verify',
  planner: 'plan without unknowns for want of rights',
  operator: 'advance and rollback, up to strict-mtls',
  identity: 'advance and rollback of the identity phase',
};

const BESIDE_USES: Readonly<Record<BesideAccess['role'], string>> = {
  watcher: 'watch',
  prober: 'verify --probe',
  drainer: 'incident --connections drain, incident connections',
  'cluster-policies': 'the dialect admin, and patterns whose kinds act in every namespace',
  'mesh-traffic': 'patterns that write what the mesh routes',
  responder: 'incident',
  actor: 'watch --act',
  'actor-pods': 'rules of a watch that quarantine by labels',
  access: 'grant to a person',
};

interface Missing {
  readonly role: Role;
  readonly verb: string;
  readonly resource: string;
  readonly why: string;
}

/** What this kubeconfig may and may not do, and what is missing: asked of the API server itself. Writes nothing. */
export async function doctor(
  app: App,
  options: { readonly namespace?: string; readonly role?: string },
): Promise<void> {
  const { output } = app;
  if (app.options.manifests !== undefined) {
    const target = await app.target();
    output.document('Doctor', { target: 'directory', description: target.description, roles: [], missing: [] });
    output.line(wrap(`${safeText(target.description)}: a directory of manifests asks for no rights.`, output.width));
    output.line('What it holds: sallyport inventory --manifests DIR');
    return;
  }
  const { connectKube, openDiscovery, readAccess } = await import('../../sources/kube/index.ts');
  const { readPieces } = await import('../../sources/kube/pieces.ts');
  output.progress('asking the API server what this account may do');
  const api = await connectKube({ ...kubeOptions(app.options, app.env), clock: app.clock() });
  try {
    const discovery = openDiscovery(api);
    const report = await readAccess(api, discovery, {
      ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
      now: () => Date.now(),
    });
    const kinds = await readWritable(api, discovery, await readPatterns(), options.namespace);
    const dialects = dialectsHere(kinds);
    const pieces = await readPieces(api, app.clock().now());
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
      beside: report.beside,
      dialects,
      kinds: kinds.map((one) => ({ ...one, role: one.role ?? null })),
      pieces: pieces.map((one) => ({ ...one, where: one.where ?? null, lastRun: one.lastRun ?? null })),
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
    renderBeside(output, report.beside);
    for (const one of report.beside) if (one.role === options.role) renderWanted(output, one);
    renderWrites(output, dialects, kinds);
    renderPieces(output, pieces);
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

/** What lacks of a role beside the row, verb by verb: it was asked for. */
function renderWanted(output: Output, { role, answer, missing }: BesideAccess): void {
  output.line();
  if (missing.length === 0) {
    output.line(answer === 'yes' ? `Nothing is missing for ${role}.` : `The cluster has none of the kinds of ${role}.`);
    return;
  }
  output.line(answer === 'unknown' ? `Not known for ${role}:` : `Missing for ${role}:`);
  for (const [resource, own] of groupBy(missing, (one) => one.resource)) {
    const verbs = [...new Set(own.map(({ verb }) => verb))];
    output.line(wrap(safeText(`  ${verbs.join(', ')} ${resource}`), output.width, 4));
  }
  const file = role === 'access' ? 'grants/access' : `rbac/${role}`;
  const binding = BINDING[role] ?? 'bind it';
  output.line(wrap(`  kubectl apply -f templates/${file}.yaml, and ${binding}`, output.width, 4));
}

const BINDING: Readonly<Partial<Record<Beside, string>>> = {
  'actor-pods': 'a RoleBinding in each namespace where rules shall quarantine by labels: no ClusterRoleBinding',
};

function mark(output: Output, answer: string): string {
  return paint(output, answer === 'yes' ? 'green' : 'yellow', answer.padEnd(7));
}

/** Roles that are bound where somebody asks for them: what lacks is no fault. */
function renderBeside(output: Output, beside: readonly BesideAccess[]): void {
  output.line();
  output.line('Beside these, where they are wanted:');
  for (const { role, answer, missing } of beside) {
    const said = answer === 'not-served' ? 'none' : answer;
    const lacking = answer === 'no' ? ` (lacks ${plural(missing.length, 'right')}: templates/rbac/${role}.yaml)` : '';
    const file = role === 'access' ? lacking.replace('rbac/access', 'grants/access') : lacking;
    output.line(
      wrap(
        `${mark(output, said)} ${role}: ${BESIDE_USES[role]}${answer === 'not-served' ? ' (the cluster has none of its kinds)' : file}`,
        output.width,
        8,
      ),
    );
  }
}

function renderWrites(output: Output, dialects: readonly DialectHere[], kinds: readonly WritableKind[]): void {
  output.line();
  output.line('Dialects, by kinds and rights:');
  for (const { dialect, answer, why } of dialects)
    output.line(wrap(`${mark(output, answer)} ${dialect}${why === '' ? '' : `: ${safeText(why)}`}`, output.width, 8));
  const lacking = kinds.filter(({ served, rights }) => served === 'no' || rights !== 'yes');
  if (lacking.length === 0) return;
  output.line();
  output.line('Kinds that patterns and dialects write and this account cannot:');
  for (const one of lacking) {
    const versions = one.servedVersions.length === 0 ? '' : `, of that group ${one.servedVersions.join(', ')} is`;
    const what =
      one.served === 'no'
        ? `is not served${versions}`
        : one.rights === 'no'
          ? `may not ${one.missing.join(', ')}: bind ${one.role ?? 'a role of your own'}`
          : 'could not be asked';
    output.line(wrap(safeText(`  ${one.kind} of ${one.apiVersion} (${one.for.join(', ')}): ${what}`), output.width, 4));
  }
}

const PIECE_NAMES: Readonly<Record<Piece['name'], string>> = {
  expirer: 'the expirer of grants',
  watch: 'the watch',
  prober: 'probes',
  access: 'sallyport-access',
};

function renderPieces(output: Output, pieces: readonly Piece[]): void {
  output.line();
  output.line('In the cluster:');
  for (const { name, installed, where, facts, problems } of pieces) {
    const text = [where ?? (installed === 'unknown' ? 'not known' : ''), ...facts]
      .filter((one) => one !== '')
      .join('; ');
    output.line(wrap(safeText(`  ${PIECE_NAMES[name]}: ${text}`), output.width, 4));
    for (const problem of problems)
      output.line(wrap(`    ${paint(output, 'yellow', '!')} ${safeText(problem)}`, output.width, 6));
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
