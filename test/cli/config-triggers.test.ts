// What the configuration may say of rules, and what it may not take away.
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readConfig } from '../../src/cli/config.ts';
import { renderFailure } from '../../src/cli/output.ts';
import { ALWAYS_PROTECTED, DEFAULT_LIMITS } from '../../src/model/trigger.ts';
import { isFailure } from '../../src/shared/pure/errors.ts';
import { makeFolder } from '../support/folder.ts';

const read = async (text: string): Promise<Awaited<ReturnType<typeof readConfig>>> =>
  readConfig(join(await makeFolder({ 'config.yaml': text }), 'config.yaml'));

it('rules ask unless they say run, and nothing acts unless it is said', async () => {
  const { triggers } = await read(`triggers:
  rules:
    - {name: scan, notice: denied, class: attack-like, does: quarantine}
`);
  expect(triggers).toEqual({
    act: false,
    rules: [{ name: 'scan', notice: 'denied', class: 'attack-like', does: 'quarantine', how: 'ask' }],
    limits: DEFAULT_LIMITS,
  });
});

it('namespaces come beside those that are always protected, never in their place', async () => {
  const { triggers } = await read('triggers: {limits: {protected: [prod], cooldownMinutes: 5, perHour: 1}}');
  expect(triggers?.limits).toEqual({
    ...DEFAULT_LIMITS,
    protected: [...ALWAYS_PROTECTED, 'prod'],
    cooldownMs: 300_000,
    perHour: 1,
  });
});

it('a schedule of probes names its file from the folder of the configuration', async () => {
  const { probe } = await read('probe: {image: "x@sha256:0", schedule: {cron: "* * * * *", file: probes.yaml}}');
  expect(probe?.schedule?.file).toMatch(/^\/.+\/probes\.yaml$/u);
});

it.each([
  ['{rules: [{name: a, notice: drift, does: quarantine}]}', 'can only escalate'],
  ['{rules: [{name: a, notice: denied, does: rotate}]}', 'does'],
  ['{rules: [{name: a, notice: new-caller, class: attack-like, does: block}]}', 'of notice denied'],
  ['{rules: [{name: a, notice: gate, count: 3, does: escalate}]}', 'count'],
  ['{rules: [{name: a, notice: denied, does: block}, {name: a, notice: denied, does: block}]}', 'one name'],
  ['{rules: [{name: a, notice: nothing, does: block}]}', 'notice'],
  ['{limits: {share: 0.9}}', 'share'],
  ['{limits: {cooldownMinutes: 0}}', 'cooldownMinutes'],
  ['{limits: {perHour: -1}}', 'perHour'],
  ['{stop: ""}', 'stop'],
] as const)('%s is refused', async (text, why) => {
  await expect(read(`triggers: ${text}`)).rejects.toMatchObject({
    detail: { code: 'SP212', message: expect.stringContaining(why) as string },
  });
});

it.each(['triggers: {rules: [{name: a, notice: nothing, does: block}]}', 'dialect: none'])(
  'what a value may be is told in lines of 80 columns: %s',
  async (text) => {
    const error: unknown = await read(text).catch((thrown: unknown) => thrown);
    if (!isFailure(error)) throw error;
    expect(error.message).toMatch(/expected one of [\w-]+, /u);
    // The place is a path, which stays whole.
    const lines = renderFailure({ ...error.detail, where: 'config.yaml' }, 80).split('\n');
    expect(lines.filter((line) => line.length > 80)).toEqual([]);
  },
);
