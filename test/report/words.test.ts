import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { adviceOf, counted, grouped, humanTimes, wholeCommands } from '../../src/report/words.ts';
import { shellWord } from '../../src/shared/pure/shell.ts';

describe('what people read', () => {
  it.each([
    [0, '0'],
    [999, '999'],
    [1000, '1,000'],
    [196757, '196,757'],
    [1234567.25, '1,234,567.25'],
    [-12345, '-12,345'],
    [0.0001, '0.0001'],
  ])('%d is written %s', (value, text) => {
    expect(grouped(value)).toBe(text);
  });

  it('counts in the singular and the plural', () => {
    expect([counted(1, 'policy', 'policies'), counted(2000, 'policy', 'policies')]).toEqual([
      '1 policy',
      '2,000 policies',
    ]);
  });

  it('has times to the minute, and leaves what is no time alone', () => {
    expect(
      humanTimes('due 2026-10-13T18:20:00.000Z, next 2026-10-14T00:20:00Z; run-2026-10-13T18 20260101T000000Z'),
    ).toBe('due 2026-10-13 18:20 UTC, next 2026-10-14 00:20 UTC; run-2026-10-13T18 20260101T000000Z');
  });

  it.each(['src=a/Pod/b', 'a b', "it's", '$(id)', '`id`', 'a;b', '*', '~', '#', '', 'a\\b', '!x'])(
    'a shell reads %j as one word',
    (text) => {
      const read = execFileSync('sh', ['-c', `printf '%s' ${shellWord(text)}`], { encoding: 'utf8' });
      expect(read).toBe(text);
    },
  );

  it('gives two ways to decide as two commands', () => {
    expect(wholeCommands('sallyport adopt|accept src=a/Pod/b,port=22/TCP --reason "..."')).toBe(
      'sallyport adopt src=a/Pod/b,port=22/TCP --reason "..." or sallyport accept src=a/Pod/b,port=22/TCP --reason "..."',
    );
    expect(wholeCommands('observe on, or sallyport waive gate=x --reason "..."')).toBe(
      'observe on, or sallyport waive gate=x --reason "..."',
    );
  });

  it('takes an advice apart into its ways, each command by itself', () => {
    const text =
      'give it a Service; sallyport waive gate=plaintext,subject=a/Deployment/b:80 --reason "..." keeps this port PERMISSIVE; ' +
      'sallyport adopt src=x --reason "..." or sallyport accept src=x --reason "..."; sallyport advance spark --to permissive-mtls first';
    expect(adviceOf(text).map((one) => [one.before, one.command, one.after])).toEqual([
      ['give it a Service', null, ''],
      ['', 'sallyport waive gate=plaintext,subject=a/Deployment/b:80 --reason "..."', 'keeps this port PERMISSIVE'],
      ['', 'sallyport adopt src=x --reason "..."', ''],
      ['', 'sallyport accept src=x --reason "..."', ''],
      ['', 'sallyport advance spark --to permissive-mtls', 'first'],
    ]);
  });
});
