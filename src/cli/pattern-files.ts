import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { INVARIANT_KINDS } from '../candidates/patterns/judge.ts';
import { PARAMETER_TYPES } from '../candidates/patterns/pattern.ts';
import type { Pattern } from '../candidates/patterns/pattern.ts';
import { PHASES } from '../model/phase.ts';
import { assetPath } from '../shared/io/assets.ts';
import { parseYaml } from '../shared/io/yaml.ts';
import { EXIT, Failure } from '../shared/pure/errors.ts';
import { describeIssues } from '../shared/pure/issues.ts';
import type { Json } from '../shared/pure/json.ts';
import { sortBy } from '../shared/pure/order.ts';
import { explain } from './file-error.ts';

const NAME = /^[a-z][a-z0-9-]{0,62}$/u;
/** A pattern is a page of YAML. */
const MAX_BYTES = 256 * 1024;

const parameterSchema = z.strictObject({
  type: z.enum(PARAMETER_TYPES),
  help: z.string().min(1),
  default: z.string().optional(),
  optional: z.boolean().optional(),
  choices: z.array(z.string()).min(1).optional(),
});

/** The fields of an invariant; each kind's own are templates, and judged when they are filled. */
const invariantSchema = z.looseObject({
  id: z.string().min(1),
  text: z.string().min(1),
  kind: z.enum(INVARIANT_KINDS),
});

const patternSchema = z.strictObject({
  title: z.string().min(1),
  summary: z.string().min(1),
  phase: z.enum(PHASES).exclude(['none', 'monitor']),
  parameters: z.record(z.string().regex(/^[a-z][a-z0-9-]*$/u), parameterSchema),
  objects: z.array(z.unknown()).min(1),
  invariants: z.array(
    z.union([invariantSchema, z.strictObject({ $each: z.string(), $as: z.string(), $do: invariantSchema })]),
  ),
  notes: z.array(z.string()).default([]),
});

function wrong(where: string, message: string, cause?: unknown): Failure {
  return new Failure({
    code: 'SP265',
    exit: EXIT.usage,
    message: `the pattern cannot be read: ${message}`,
    where,
    hint: 'docs/extending.md shows what a pattern holds; sallyport pattern show NAME prints one of ours',
    cause,
  });
}

async function textOf(file: string): Promise<string> {
  try {
    const { size } = await stat(file);
    if (size > MAX_BYTES) throw wrong(file, `it has ${size} bytes, and a pattern at most ${MAX_BYTES}`);
    return await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw wrong(file, explain(error), error);
  }
}

async function readPattern(folder: string, name: string): Promise<Pattern> {
  const file = join(folder, 'pattern.yaml');
  const parsed = parseYaml(await textOf(file));
  if ('problem' in parsed) throw wrong(`${file}:${parsed.problem.line}`, parsed.problem.message);
  const checked = patternSchema.safeParse(parsed.value);
  if (!checked.success) throw wrong(file, describeIssues(checked.error.issues), checked.error);
  const { parameters, phase, title, summary, notes } = checked.data;
  for (const [parameter, { type, choices }] of Object.entries(parameters))
    if ((type === 'choice') !== (choices !== undefined))
      throw wrong(file, `parameters.${parameter}: a choice, and nothing else, has choices`);
  return {
    name,
    title,
    summary,
    phase,
    parameters: Object.fromEntries(
      Object.entries(parameters).map(([key, { type, help, ...rest }]) => [
        key,
        {
          type,
          help,
          ...(rest.default === undefined ? {} : { default: rest.default }),
          ...(rest.optional === undefined ? {} : { optional: rest.optional }),
          ...(rest.choices === undefined ? {} : { choices: rest.choices }),
        },
      ]),
    ),
    objects: checked.data.objects as readonly Json[],
    invariants: checked.data.invariants as unknown as Json,
    notes,
    doc: await textOf(join(folder, 'README.md')),
    folder,
  };
}

async function foldersIn(folder: string, ours: boolean): Promise<readonly string[]> {
  try {
    const entries = (await readdir(folder, { withFileTypes: true })).filter(({ name }) => !name.startsWith('.'));
    const strange = entries.find((one) => !one.isDirectory() || !NAME.test(one.name));
    if (strange !== undefined && !ours)
      throw wrong(join(folder, strange.name), 'a folder of patterns holds folders alone, named in small letters');
    return entries.map(({ name }) => name);
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw wrong(folder, explain(error), error);
  }
}

/**
 * The patterns that are shipped, and those of a user's folder, which take the place of ours by name. Sorted. A folder that cannot be read or
 * does not hold what a pattern is made of: SP265, exit 2.
 */
export async function readPatterns(own?: string): Promise<readonly Pattern[]> {
  const shipped = assetPath('templates', 'patterns');
  const places = new Map((await foldersIn(shipped, true)).map((name) => [name, join(shipped, name)]));
  if (own !== undefined) for (const name of await foldersIn(own, false)) places.set(name, join(own, name));
  return Promise.all(sortBy(places, ([name]) => name).map(([name, folder]) => readPattern(folder, name)));
}
