import type { AuditEntry, JournalStep, RunHead } from '../engine/contract.ts';
import type { TriggerRecord } from '../model/trigger.ts';
import type { PodConnections } from './connections.ts';
import { codeSpan, escapeMarkdown as escaped } from '../report/markdown.ts';
import { maskText } from '../shared/pure/mask.ts';
import { sortBy } from '../shared/pure/order.ts';

/** What one proxy has open, for documents. */
export function connectionsDocument({ pod, read, drained }: PodConnections): object {
  return {
    pod,
    accepted: read.kind === 'known' ? (read.accepted ?? null) : null,
    open: read.kind === 'known' ? read.open : null,
    unknown: read.kind === 'unknown' ? read.why : null,
    drained: drained ?? null,
  };
}

const time = (at: number): string => new Date(at).toISOString();

/** The timeline of an incident, for its post-mortem. Times are UTC; texts of the cluster are escaped, and credentials masked. */
export function renderTimeline(
  mark: {
    readonly id: string;
    readonly playbook: string;
    readonly subject: string;
    readonly reason: string;
    readonly rule?: string;
  },
  state: string,
  runs: readonly RunHead[],
  entries: readonly AuditEntry[],
  steps: readonly JournalStep[],
  trigger?: TriggerRecord,
  /** For a terminal, which needs no escapes of Markdown. */
  isPlain = false,
): string {
  const escapeMarkdown = isPlain ? (text: string): string => text : escaped;
  const rows = sortBy(
    [
      ...runs.map((run) => ({
        at: run.startedAt,
        who: run.by,
        what: `run ${run.id} begins (${run.kind})`,
        object: mark.subject,
        why: '',
      })),
      ...runs.flatMap((run) =>
        run.endedAt === undefined
          ? []
          : [
              {
                at: run.endedAt,
                who: run.by,
                what: `run ${run.id} ends: ${run.outcome ?? ''}`,
                object: mark.subject,
                why: '',
              },
            ],
      ),
      ...(trigger === undefined
        ? []
        : [
            {
              at: trigger.notice.at,
              who: 'watch',
              what: `noticed: ${trigger.notice.kind} (${trigger.notice.severity})`,
              object: mark.subject,
              why: trigger.notice.text,
            },
          ]),
      ...entries.map(({ at, who, what, object, reason }) => ({ at, who, what, object, why: reason })),
    ],
    ({ at }) => time(at),
  );
  const cell = (text: string): string => escapeMarkdown(maskText(text)).replaceAll('\n', ' ');
  return [
    `# Incident ${codeSpan(mark.id)}: ${escapeMarkdown(`${mark.playbook} ${mark.subject}`)}\n\n`,
    `State: ${state}. Reason: ${escapeMarkdown(mark.reason)}${mark.rule === undefined ? '' : ` (rule ${codeSpan(mark.rule)})`}\n\n`,
    ...(trigger === undefined ? [] : renderTrigger(trigger, escapeMarkdown)),
    '## Timeline (UTC)\n\n| when | who | what | object | why |\n| --- | --- | --- | --- | --- |\n',
    ...rows.map(
      ({ at, who, what, object, why }) =>
        `| ${time(at)} | ${cell(who)} | ${cell(what)} | ${cell(object)} | ${cell(why)} |\n`,
    ),
    '\n## Steps\n\n',
    ...steps.map(
      (step) =>
        `- ${escapeMarkdown(step.step.title)}: ${step.state}${step.error === undefined ? '' : `, ${escapeMarkdown(maskText(step.error))}`}\n`,
    ),
    '\n## To be filled in\n\n- What was noticed first, by whom, and how long it had gone on\n- What the attacker had, and what was not reached\n- What to change\n',
  ].join('');
}

/** Which rule set it off, on what evidence, and how the limits stood. */
function renderTrigger(
  { rule, how, why, limits, notice, confirmedBy }: TriggerRecord,
  escapeMarkdown: (text: string) => string,
): readonly string[] {
  const line = (text: string): string => escapeMarkdown(maskText(text)).replaceAll('\n', ' ');
  return [
    '## Trigger\n\n',
    `- Rule: ${codeSpan(rule)}, ${how === 'run' ? 'by itself' : 'proposed to a person'}\n`,
    `- Evidence: ${line(notice.kind)}, ${line(notice.text)}\n`,
    `- Limits then: ${limits.map(line).join('; ')}\n`,
    ...(why.length === 0 ? [] : [`- Held back, or refused: ${why.map(line).join('; ')}\n`]),
    ...(confirmedBy === undefined ? [] : [`- Confirmed by ${line(confirmedBy)}\n`]),
    '\n',
  ];
}
