import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { findSource } from '../../src/sources/registry.ts';
import { isRemote } from '../../src/sources/remote.ts';
import { fixtures } from './cluster.ts';

const page = readFileSync(join(import.meta.dirname, '../../docs/sources.md'), 'utf8');
const commands = [...page.matchAll(/^sallyport observe (\S+) ([^#\n]*)/gm)].map(
  ([, name = '', rest = '']) => [name, rest.trim().split(/\s+/)] as const,
);

describe('the walk from zero to evidence', () => {
  it('covers the sources that it promises', () => {
    expect(commands.map(([name]) => name)).toEqual(
      expect.arrayContaining(['hubble', 'istio', 'aws-vpc', 'gcp', 'azure']),
    );
  });

  it.each(commands)('names sources that there are, which take such inputs: observe %s %s', (name, inputs) => {
    const source = findSource(name);
    expect(source).toBeDefined();
    if (inputs.some(isRemote)) expect(source?.remote).toBeDefined();
    // Each is read from a file of that format in the tests of its fixtures.
    else expect(fixtures.some((one) => one.source === name)).toBe(true);
  });
});
