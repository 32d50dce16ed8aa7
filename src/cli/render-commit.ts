import type { View } from '../engine/contract.ts';
import { formatRef } from '../model/object.ts';
import { changeRef } from '../plan/change.ts';
import type { Plan, Step } from '../plan/plan.ts';
import { codeBlock, codeSpan, escapeMarkdown } from '../report/markdown.ts';
import { REVERTS_TRAILER, RUN_TRAILER } from '../targets/git.ts';
import { maskText } from '../shared/pure/mask.ts';
import { plural, safeText } from '../shared/pure/text.ts';
import { renderChange } from './render-plan.ts';

/** A commit to be: some of the steps of a plan. */
export interface Proposal {
  readonly run: string;
  readonly plan: Plan;
  readonly steps: readonly Step[];
  /** Which commit of how many, from 1. */
  readonly part: number;
  readonly parts: number;
  readonly evidence: View['evidence'];
  readonly files: readonly string[];
  /** Runs that the commit takes back. */
  readonly reverts: readonly { readonly run: string; readonly commit: string }[];
}

const SUBJECT = 72;

function subject({ plan, part, parts, steps }: Proposal): string {
  const phase = steps[0]?.phase ?? plan.to;
  const what = plan.direction === 'up' ? phase : `back to ${plan.to}`;
  const text = `${plan.namespace}: ${what}, ${plural(steps.length, 'step')}${parts > 1 ? ` (${part} of ${parts})` : ''}`;
  return text.length <= SUBJECT ? text : `${text.slice(0, SUBJECT - 3)}...`;
}

const day = (time: number | undefined): string =>
  time === undefined ? '?' : new Date(time).toISOString().slice(0, 16).replace('T', ' ');

function effectLines({ plan, steps, parts }: Proposal): readonly string[] {
  const { edges, states } = plan.simulated;
  return [
    `${plural(edges, 'edge')} on record judged in ${plural(states, 'state')} of the whole plan: ${plan.denied.length} denied, ${plan.unknown.length} not judged`,
    ...(steps.length > 1 ? ['these steps deny nothing in whatever order they are applied'] : []),
    ...(parts > 1
      ? ['the commits of this plan are made one after the other, each when the one before is in force']
      : []),
    ...new Set(steps.flatMap(({ risks }) => risks.map((risk) => `not simulated: ${risk}`))),
  ];
}

function evidenceLines({ evidence }: Proposal): readonly string[] {
  return [
    `observed ${day(evidence.first)} to ${day(evidence.last)} UTC, ${plural(evidence.days.length, 'day')}`,
    ...evidence.sources.map(
      ({ source, records, lost, bad, sampledOneIn }) =>
        `${source}: ${plural(records, 'record')}, ${lost} lost, ${bad} bad${sampledOneIn > 1 ? `, one in ${sampledOneIn}` : ''}`,
    ),
  ];
}

function gateLines({ plan }: Proposal): readonly string[] {
  return plan.gates.map(
    ({ id, answer, subject: about, facts, waived }) =>
      `${id} ${about}: ${answer}${waived === undefined ? '' : ` (waived: ${waived})`}${facts[0] === undefined ? '' : `; ${facts[0]}`}`,
  );
}

/** Text of the cluster on one line of a message: it can begin no trailer, and shows no credential. */
function item(text: string): string {
  return `- ${safeText(maskText(text))}`;
}

/** The message: the plan, its simulated effect, the evidence, and trailers by which the run is found again, after a squash too. */
export function renderCommitMessage(proposal: Proposal): string {
  const { plan, run, steps, reverts } = proposal;
  const section = (title: string, lines: readonly string[]): readonly string[] =>
    lines.length === 0 ? [] : ['', `${title}:`, ...lines.map(item)];
  return [
    safeText(subject(proposal)),
    ...section(
      'Plan',
      steps.map((step) => `${step.title} (${step.operation} ${formatRef(changeRef(step.change))})`),
    ),
    ...section('Effect', effectLines(proposal)),
    ...section('Evidence', evidenceLines(proposal)),
    ...section('Gates', gateLines(proposal)),
    ...reverts.flatMap(({ commit }) => ['', `This reverts commit ${commit}.`]),
    '',
    `Sallyport-Namespace: ${safeText(plan.namespace)}`,
    `Sallyport-Phase: ${plan.to}`,
    `Sallyport-Plan: ${plan.hash}`,
    ...reverts.map((one) => `${REVERTS_TRAILER}: ${one.run}`),
    `${RUN_TRAILER}: ${run}`,
    '',
  ].join('\n');
}

/** As the body of an item of a list; empty lines stay empty. */
function indented(block: string): string {
  return block
    .split('\n')
    .map((line) => (line === '' ? '' : `   ${line}`))
    .join('\n');
}

/** The text of a pull request, in Markdown: what a reviewer needs to say yes or no. */
export function renderPullRequest(proposal: Proposal, commit: string): string {
  const { plan, steps, files, run } = proposal;
  const list = (lines: readonly string[]): string =>
    lines.map((line) => `- ${escapeMarkdown(maskText(line))}\n`).join('');
  const undo = `sallyport rollback ${plan.namespace}${plan.direction === 'up' ? ` --to ${plan.from}` : ''} --git DIR`;
  return [
    `# ${escapeMarkdown(subject(proposal))}\n\n`,
    `Commit ${codeSpan(commit)}, plan ${codeSpan(plan.hash.slice(0, 12))}, run ${codeSpan(run)}.\n\n`,
    `## What changes\n\n`,
    ...steps.map(
      (step, index) =>
        `${index + 1}. ${escapeMarkdown(step.title)}${step.confirm === undefined ? '' : ` (${escapeMarkdown(step.confirm)})`}\n\n${indented(codeBlock(renderChange(step.change).join('\n'), 'diff'))}\n`,
    ),
    `## Effect\n\n${list(effectLines(proposal))}\n`,
    `## Evidence\n\n${list(evidenceLines(proposal))}\n`,
    `## Gates\n\n${list(gateLines(proposal))}\n`,
    `## Files\n\n${files.map((file) => `- ${codeSpan(file)}\n`).join('')}\n`,
    `## Way back\n\n${plan.direction === 'up' ? 'A revert of this commit takes everything back; ' : ''}${codeSpan(undo)} simulates it first.\n`,
  ].join('');
}
