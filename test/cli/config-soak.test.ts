import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readConfig } from '../../src/cli/config.ts';
import { makeFolder } from '../support/folder.ts';

async function soakOf(text: string): Promise<unknown> {
  const dir = await makeFolder({ 'config.yaml': text });
  const { soak } = await readConfig(join(dir, 'config.yaml'));
  return JSON.parse(JSON.stringify(soak).replaceAll(dir, 'DIR'));
}

describe('soak in the configuration', () => {
  it('keeps the default of whatever it does not set', async () => {
    expect(await soakOf('gates: {soak: on}')).toEqual({ minutes: 30, drainSeconds: 45, signals: [] });
    expect(await soakOf('soak: {minutes: 0.5}')).toEqual({ minutes: 0.5, drainSeconds: 45, signals: [] });
    expect(await soakOf('soak: {drainSeconds: 0}')).toMatchObject({ minutes: 30, drainSeconds: 0 });
  });

  it('means paths from the folder that the file is in', async () => {
    expect(await soakOf('soak: {signals: [{source: hubble, inputs: [log/*.jsonl, /var/log/x.log]}]}')).toMatchObject({
      signals: [{ source: 'hubble', inputs: ['DIR/log/*.jsonl', '/var/log/x.log'] }],
    });
  });

  it.each([
    ['no time at all', 'soak: {minutes: 0}', /soak\.minutes/],
    ['a time below zero', 'soak: {drainSeconds: -1}', /soak\.drainSeconds/],
    ['an unknown key', 'soak: {signal: []}', /signal/],
    ['a signal without files', 'soak: {signals: [{source: hubble, inputs: []}]}', /soak\.signals\.0\.inputs/],
    ['a signal without a source', 'soak: {signals: [{inputs: [x]}]}', /soak\.signals\.0\.source/],
  ])('is refused with %s', async (_, text, message) => {
    await expect(soakOf(text)).rejects.toMatchObject({
      detail: { code: 'SP212', exit: 2, message: expect.stringMatching(message) as string },
    });
  });
});
