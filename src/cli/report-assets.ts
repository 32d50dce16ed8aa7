import { readFileSync, readdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { checkLayout, checkStyle, checkTexts } from '../report/html/assets.ts';
import type { ReportAssets } from '../report/html/assets.ts';
import { assetPath } from '../shared/io/assets.ts';
import { Failure, messageOf } from '../shared/pure/errors.ts';

/** What a user's folder may replace. The script is not among them: templates are data. */
const REPLACEABLE = ['page.html', 'report.css', 'texts.json'] as const;
type Replaceable = (typeof REPLACEABLE)[number];

function fail(where: string, message: string, hint: string, cause?: unknown): never {
  throw new Failure({ code: 'SP286', exit: 2, message, where, hint, cause });
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    return fail(file, `the template cannot be read: ${messageOf(error)}`, 'check its name and its permissions', error);
  }
}

function parseJson(file: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    return fail(file, `the template is not JSON: ${messageOf(error)}`, 'correct it, or remove it to use ours', error);
  }
}

/** The names in a user's folder that replace files of ours; anything else in it is a mistake worth telling. */
function readFolder(folder: string): ReadonlySet<string> {
  let names: readonly string[];
  try {
    if (!statSync(folder).isDirectory())
      fail(folder, 'the templates are not a folder', 'name the folder that holds them');
    names = readdirSync(folder).filter((name) => !name.startsWith('.'));
  } catch (error) {
    if (error instanceof Failure) throw error;
    return fail(folder, `the folder of templates cannot be read: ${messageOf(error)}`, 'check its name', error);
  }
  const strange = names.filter((name) => !(REPLACEABLE as readonly string[]).includes(name));
  if (strange.length > 0)
    fail(
      join(folder, strange[0] ?? ''),
      `no template of the report has this name: ${strange.join(', ')}`,
      `a folder of templates may hold ${REPLACEABLE.join(', ')}; remove or rename the rest`,
    );
  if (names.length === 0)
    fail(folder, 'the folder of templates is empty', `put one or more of ${REPLACEABLE.join(', ')} there`);
  return new Set(names);
}

/**
 * Reads what an HTML report is made of. `folder` is a user's own: each file in it replaces ours of the same name. A folder that does not
 * exist, a file that replaces nothing, or a placeholder that nothing fills is a failure (SP285, SP286).
 */
export function readReportAssets(folder?: string): ReportAssets {
  const replaced = folder === undefined ? new Set<string>() : readFolder(folder);
  const ours = (name: Replaceable): string => readText(assetPath('templates', 'report', name));
  const theirs = (name: Replaceable): string | undefined =>
    folder !== undefined && replaced.has(name) ? join(folder, name) : undefined;

  const [layoutFile, styleFile, textsFile] = [theirs('page.html'), theirs('report.css'), theirs('texts.json')];
  const layout = ours('page.html');
  const texts = parseJson('templates/report/texts.json', ours('texts.json')) as Readonly<Record<string, string>>;
  const scripts = assetPath('templates', 'report', 'script');
  return {
    layout: layoutFile === undefined ? layout : checkLayout(layoutFile, readText(layoutFile), layout),
    style: styleFile === undefined ? ours('report.css') : checkStyle(styleFile, readText(styleFile)),
    texts: textsFile === undefined ? texts : checkTexts(textsFile, parseJson(textsFile, readText(textsFile)), texts),
    script: readdirSync(scripts)
      .filter((name) => name.endsWith('.js'))
      .sort()
      .map((name) => readText(join(scripts, name)))
      .join('\n'),
    library: readText(createRequire(import.meta.url).resolve('cytoscape/dist/cytoscape.min.js')),
  };
}
