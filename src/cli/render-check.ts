import type { AllowedPorts } from '../model/connectivity.ts';
import { formatEdge } from '../model/edge.ts';
import type { Evidence } from '../model/evidence.ts';
import type { Finding } from '../model/finding.ts';
import type { PolicyChange, TurnedEdge } from '../plan/policy-check.ts';
import { codeSpan, escapeMarkdown } from '../report/markdown.ts';
import { plural, safeText } from '../shared/pure/text.ts';
import { edgeDocument } from './commands/flows.ts';
import type { Places } from './explain-reach.ts';
import { few, wrap } from './output.ts';
import { portsText } from './render-reach.ts';

export type FailOn = 'denied' | 'unknown' | 'opened';

export interface OpenedPair {
  readonly src: string;
  readonly dst: string;
  readonly ports: readonly AllowedPorts[];
  /** What sensitive data the destination holds. */
  readonly holds: readonly string[];
}

/** A proposal of policies, judged. */
export interface Checked extends PolicyChange {
  readonly dir: string;
  readonly base: string | null;
  readonly added: readonly string[];
  readonly changed: readonly string[];
  readonly removed: readonly string[];
  readonly opened: readonly OpenedPair[];
  /** Pairs that lose a port. */
  readonly closed: number;
  readonly findings: readonly Finding[];
  readonly places: Places;
  readonly evidence: Pick<Evidence, 'first' | 'last'>;
  readonly failOn: readonly FailOn[];
}

/** Lines of one list: a comment on a pull request has at most 65,536 characters, and nobody reads as many. */
const MOST = 40;
const MOST_TEXT = 10;

interface Reasoned {
  readonly text: string;
  readonly where: string | undefined;
}

function reasonOf({ after }: TurnedEdge, places: Places): Reasoned {
  const deciding = after.reasons.find(
    ({ decision }) =>
      decision === (after.answer === 'denied' ? 'denies' : after.answer === 'allowed' ? 'allows' : 'unknown'),
  );
  return {
    text: deciding?.text ?? '',
    where: deciding?.object === undefined ? undefined : places.get(deciding.object),
  };
}

export function checkDocument(checked: Checked): object {
  const turned = (one: TurnedEdge): object => {
    const { text, where } = reasonOf(one, checked.places);
    return {
      ...edgeDocument(one.edge),
      before: one.before.answer,
      after: one.after.answer,
      because: text,
      where: where ?? null,
    };
  };
  const { dir, base, added, changed, removed, judged, deniedAnyway, closed, findings } = checked;
  return {
    proposal: dir,
    base,
    policies: { added, changed, removed },
    judged,
    deniedAnyway,
    denied: checked.denied.map(turned),
    unknown: checked.unknown.map(turned),
    mended: checked.mended.map(turned),
    opened: checked.opened,
    closed,
    findings,
  };
}

/** Those that hold something first, each once. */
function openedInOrder(checked: Checked): readonly OpenedPair[] {
  return checked.opened.toSorted((a, b) => Number(b.holds.length > 0) - Number(a.holds.length > 0));
}

function headline({ denied, unknown, opened, findings }: Checked): string {
  const errors = findings.filter(({ severity }) => severity === 'error').length;
  const parts = [
    ...(errors === 0 ? [] : [`${plural(errors, 'object')} that no API server takes`]),
    ...(denied.length === 0 ? [] : [`${plural(denied.length, 'connection')} on record would be denied`]),
    ...(unknown.length === 0 ? [] : [`${plural(unknown.length, 'connection')} on record could no longer be judged`]),
    ...(opened.length === 0 ? [] : [`${plural(opened.length, 'pair')} could newly connect`]),
  ];
  return parts.length === 0
    ? 'Nothing on record would be denied, and nobody could newly connect.'
    : `${parts.join('; ')}.`;
}

function scopeText({ added, changed, removed, judged, deniedAnyway, evidence }: Checked): string {
  const day = (time: number | undefined): string =>
    time === undefined ? '?' : new Date(time).toISOString().slice(0, 10);
  const traffic =
    judged === 0
      ? 'No traffic is on record: only who could newly connect is judged'
      : `Judged against ${plural(judged, 'edge')} on record, ${day(evidence.first)} to ${day(evidence.last)}${deniedAnyway === 0 ? '' : ` (${deniedAnyway} denied with and without it)`}`;
  return `${plural(added.length, 'policy', 'policies')} added, ${changed.length} changed, ${removed.length} removed. ${traffic}.`;
}

export function renderCheckText(checked: Checked, width: number): readonly string[] {
  const lines = [wrap(headline(checked), width), wrap(scopeText(checked), width)];
  const section = (title: string, rows: readonly string[]): void => {
    if (rows.length === 0) return;
    const { shown, more } = few(rows, MOST_TEXT);
    lines.push('', `${title} (${rows.length}):`, ...shown.map((row) => wrap(safeText(row), width, 4, 2)));
    if (more !== '') lines.push(`  ${more}`);
  };
  const turned = (one: TurnedEdge): string => {
    const { text, where } = reasonOf(one, checked.places);
    return `${formatEdge(one.edge)}, ${one.edge.count}x on record: ${text}${where === undefined ? '' : ` (${where})`}`;
  };
  section(
    'Findings',
    checked.findings.map(
      ({ code, severity, subject, message, where }) => `${code} ${severity} ${where ?? subject}: ${message}`,
    ),
  );
  section('Newly denied', checked.denied.map(turned));
  section('No longer judged', checked.unknown.map(turned));
  section(
    'Newly open',
    openedInOrder(checked).map(
      ({ src, dst, ports, holds }) =>
        `${src} -> ${dst} ${portsText(ports)}${holds.length === 0 ? '' : ` (holds ${holds.join(', ')})`}`,
    ),
  );
  section('Mended', checked.mended.map(turned));
  return lines;
}

/** As a comment on a pull request: every text of the cluster and of the proposal is escaped. */
export function renderCheckMarkdown(checked: Checked): string {
  const parts = [`### Policies: ${headline(checked)}\n`, `${scopeText(checked)}\n`];
  const table = (title: string, head: readonly string[], rows: readonly (readonly string[])[]): void => {
    if (rows.length === 0) return;
    const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
    const { shown, more } = few(rows, MOST);
    parts.push(
      `\n#### ${title} (${rows.length})\n\n${[head, head.map(() => '---'), ...shown].map(line).join('\n')}\n${more === '' ? '' : `\n${more.replace(' (--json shows all)', '')}\n`}`,
    );
  };
  const turned = (one: TurnedEdge): readonly string[] => {
    const { text, where } = reasonOf(one, checked.places);
    return [
      codeSpan(formatEdge(one.edge)),
      `${one.edge.count}x`,
      escapeMarkdown(text),
      where === undefined ? '' : codeSpan(where),
    ];
  };
  const head = ['connection', 'seen', 'because', 'where'];
  table(
    'Findings',
    ['code', 'object', 'what', 'where'],
    checked.findings.map(({ code, subject, message, where }) => [
      code,
      codeSpan(subject),
      escapeMarkdown(message),
      where === undefined ? '' : codeSpan(where),
    ]),
  );
  table('Newly denied', head, checked.denied.map(turned));
  table('No longer judged', head, checked.unknown.map(turned));
  table(
    'Newly open',
    ['from', 'to', 'ports', 'holds'],
    openedInOrder(checked).map(({ src, dst, ports, holds }) => [
      codeSpan(src),
      codeSpan(dst),
      portsText(ports),
      holds.join(', '),
    ]),
  );
  table('Mended', head, checked.mended.map(turned));
  return parts.join('');
}
