import type { Gate } from '../model/finding.ts';
import { groupBy } from '../shared/pure/order.ts';
import { safeText } from '../shared/pure/text.ts';

/** A field that is not as Sallyport left it, values masked where they look like credentials. */
export interface ShownDrift {
  readonly object: string;
  readonly path: string;
  readonly step: string;
  readonly text: string;
}

/** What was found of one namespace. */
export interface Suite {
  readonly namespace: string;
  readonly drift: readonly ShownDrift[];
  readonly gates: readonly Gate[];
}

// What XML 1.0 has no way to hold (section 2.2), escaped or not.
const NO_XML = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu;

function xml(text: string): string {
  return safeText(text)
    .replace(NO_XML, '\ufffd')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}

interface Case {
  readonly name: string;
  /** Undefined: as it should be. */
  readonly problem: { readonly kind: string; readonly message: string; readonly detail: string } | undefined;
}

const messageOf = ({ answer, subject, facts }: Gate): string =>
  [`${answer === 'unknown' ? 'cannot be told' : 'is not met'} for ${subject}`, ...facts.slice(0, 1)].join(': ');

function casesOf({ drift, gates }: Suite): readonly Case[] {
  return [
    ...drift.map((one) => ({
      name: `drift ${one.object} ${one.path}`,
      problem: { kind: 'drift', message: one.text, detail: `since step ${one.step}` },
    })),
    ...gates.map((one) => ({
      name: `${one.id} ${one.subject}`,
      problem:
        one.answer === 'yes'
          ? undefined
          : {
              kind: one.answer === 'no' ? one.id : 'unknown',
              message: messageOf(one),
              detail: [...one.facts, ...(one.fix === '' ? [] : [`fix: ${one.fix}`])].join('\n'),
            },
    })),
  ];
}

/**
 * As a JUnit report, the form that servers of CI read: a suite for each namespace, a case for each gate and each field that drifted. A gate
 * that cannot be told fails, as it does on the way forward.
 */
export function renderJunit(found: readonly Suite[]): string {
  const suites = found.map((suite) => {
    const own = casesOf(suite);
    // A namespace without a case would look as if it had not been asked.
    const cases = own.length === 0 ? [{ name: 'as Sallyport left it', problem: undefined }] : own;
    return { namespace: suite.namespace, cases, failures: cases.filter(({ problem }) => problem !== undefined).length };
  });
  const sum = (count: (suite: (typeof suites)[number]) => number): number =>
    suites.reduce((total, suite) => total + count(suite), 0);
  const lines = [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="sallyport verify" tests="${sum(({ cases }) => cases.length)}" failures="${sum(({ failures }) => failures)}">`,
    ...suites.flatMap(({ namespace, cases, failures }) => [
      `  <testsuite name="${xml(namespace)}" tests="${cases.length}" failures="${failures}">`,
      ...cases.flatMap(({ name, problem }) => {
        const head = `    <testcase classname="${xml(namespace)}" name="${xml(name)}"`;
        if (problem === undefined) return [`${head}/>`];
        return [
          `${head}>`,
          `      <failure type="${xml(problem.kind)}" message="${xml(problem.message)}">${problem.detail.split('\n').map(xml).join('\n')}</failure>`,
          '    </testcase>',
        ];
      }),
      '  </testsuite>',
    ]),
    '</testsuites>',
  ];
  return `${lines.join('\n')}\n`;
}

/** As SARIF 2.1.0 (OASIS), the form that code hosts show as alerts: what is met is left out. */
export function renderSarif(found: readonly Suite[], version: string): string {
  const drift = found.flatMap((suite) => suite.drift);
  const open = found.flatMap(({ namespace, gates }) =>
    gates.filter(({ answer }) => answer !== 'yes').map((one) => ({ ...one, namespace })),
  );
  const results = [
    ...drift.map((one) => ({
      ruleId: 'drift',
      level: 'error',
      message: { text: safeText(one.text) },
      locations: [
        { logicalLocations: [{ fullyQualifiedName: safeText(`${one.object} ${one.path}`), kind: 'member' }] },
      ],
      partialFingerprints: { 'sallyport/v1': safeText(`drift ${one.object} ${one.path}`) },
    })),
    ...open.map((one) => ({
      ruleId: one.id,
      level: one.answer === 'no' ? 'error' : 'warning',
      message: {
        text: safeText(
          [messageOf(one), one.fix === '' ? '' : `Fix: ${one.fix}`].filter((text) => text !== '').join('. '),
        ),
      },
      locations: [{ logicalLocations: [{ fullyQualifiedName: safeText(one.subject), kind: 'resource' }] }],
      partialFingerprints: { 'sallyport/v1': safeText(`${one.id} ${one.namespace} ${one.subject}`) },
    })),
  ];
  const rules = [...groupBy(results, ({ ruleId }) => ruleId).keys()].sort().map((id) => ({
    id,
    shortDescription: {
      text: id === 'drift' ? 'A field is not as Sallyport left it' : `The gate ${id} does not hold any more`,
    },
  }));
  const log = {
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    version: '2.1.0',
    runs: [{ tool: { driver: { name: 'sallyport', version, rules } }, results }],
  };
  return `${JSON.stringify(log, undefined, 2)}\n`;
}
