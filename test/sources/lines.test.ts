// Lines of a file that is longer than the memory it is read through: what one piece leaves over must outlast the next ones.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { openInput } from '../../src/sources/input.ts';
import { readLines } from '../../src/sources/lines.ts';
import { createLineMarker } from '../../src/sources/line-marks.ts';
import { makeHome } from '../cli/shop.ts';

const noInput = async function* (): AsyncGenerator<Uint8Array> {
  await Promise.resolve();
  yield new Uint8Array();
};

/** Five megabytes, so that both halves of the memory are filled more than once; breaks fall anywhere. */
const LINES = Array.from({ length: 40_000 }, (_, index) => `${index} ${'x'.repeat(40 + ((index * 7919) % 171))}`);

describe('a file in pieces', () => {
  it('has the lines that are in it, and the sum of its bytes', async () => {
    const home = await makeHome({});
    const file = join(home, 'long.txt');
    const text = `${LINES.join('\n')}\n`;
    writeFileSync(file, text);
    const found: string[] = [];
    const read = await readLines(openInput(file, noInput), (line) => found.push(line));
    expect(found.length).toBe(LINES.length);
    expect(found.findIndex((line, index) => line !== LINES[index])).toBe(-1);
    expect(read).toMatchObject({ lines: LINES.length, bytes: text.length, sha256: createHash('sha256').update(text).digest('hex') }); // prettier-ignore
  });

  it('is marked as it would be in one', async () => {
    const home = await makeHome({});
    const file = join(home, 'long.txt');
    writeFileSync(file, LINES.join('\n'));
    const [whole, pieces] = [createLineMarker(), createLineMarker()];
    whole.push(Buffer.from(LINES.join('\n')));
    for await (const piece of openInput(file, noInput).open()) pieces.push(piece);
    expect(pieces.finish()).toEqual(whole.finish());
  });
});
