import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { buildReport } from '../../report/build.ts';
import { compareReports } from '../../report/compare.ts';
import { renderHtml } from '../../report/html/index.ts';
import { renderJson, reportFault } from '../../report/json.ts';
import { renderMarkdown } from '../../report/markdown.ts';
import type { AssessmentReport } from '../../report/model.ts';
import { fitForPage } from '../../report/policies.ts';
import { packageVersion } from '../../shared/io/assets.ts';
import { errorCodeOf, writeFileAtomic } from '../../shared/io/files.ts';
import { EXIT, Failure, messageOf } from '../../shared/pure/errors.ts';
import { safeText } from '../../shared/pure/text.ts';
import { readLatency } from '../config.ts';
import type { App } from '../context.ts';
import { explain } from '../file-error.ts';
import { loadAll } from '../load.ts';
import { renderAssessment } from '../render-assessment.ts';
import { readReportAssets } from '../report-assets.ts';

export interface AssessOptions {
  readonly output?: string;
  readonly compare?: string;
  readonly templates?: string;
}

const FORMATS = ['.html', '.md', '.json'] as const;
type Format = (typeof FORMATS)[number];

/** Beyond this many workloads it takes long enough to say what is being done. */
const LARGE = 300;

/** The assessment report: a summary on the terminal, and the whole of it in a file. Changes nothing. */
export async function assess(app: App, options: AssessOptions): Promise<void> {
  const { output } = app;
  // What can be wrong with the call is said before anything is read.
  const format = options.output === undefined ? undefined : formatOf(options.output);
  const earlier = options.compare === undefined ? undefined : await readReport(options.compare);
  const assets = format === '.html' ? readReportAssets(options.templates) : undefined;
  if (options.templates !== undefined && format !== '.html')
    throw new Failure({
      code: 'SP284',
      exit: EXIT.usage,
      message: '--templates is for a report in HTML',
      hint: 'add -o report.html, or leave it out',
    });
  const made = await buildAssessment(app);
  const report = earlier === undefined ? made : { ...made, comparison: compareReports(earlier, made) };
  if (options.output !== undefined && format !== undefined) {
    await saveReport(options.output, renderReport(report, format, assets));
    output.note(`written: ${safeText(options.output)}`);
  }
  if (output.json) output.raw(renderJson(report));
  else if (format === undefined) output.line(renderAssessment(report, output));
  else output.line(report.summary.headline.text === '' ? '' : safeText(report.summary.headline.text));
}

/** The assessment of the cluster as it is and the record as it stands. */
export async function buildAssessment(app: App): Promise<AssessmentReport> {
  const { output } = app;
  const config = await app.config();
  const latency = config.assess?.latency === undefined ? [] : await readLatency(config.assess.latency);
  const loaded = await loadAll(app);
  const target = await app.target();
  const { reader } = await app.state();
  return buildReport(
    {
      version: packageVersion(),
      cluster: { id: target.id, description: target.description },
      view: loaded.view(''),
      planner: loaded.planner,
      runs: reader.runs(),
      audit: reader.audit(),
      gates: new Map(loaded.inventory.namespaces.map(({ name }) => [name, reader.gates(name)])),
      latency,
    },
    (text) => {
      if (loaded.inventory.workloads.length > LARGE) output.progress(text);
    },
  );
}

export function renderReport(
  report: AssessmentReport,
  format: Format,
  assets: ReturnType<typeof readReportAssets> | undefined,
): string {
  switch (format) {
    case '.html':
      return renderHtml(fitForPage(report), assets ?? readReportAssets());
    case '.md':
      return renderMarkdown(report);
    case '.json':
      return renderJson(report);
  }
}

export function formatOf(file: string): Format {
  const extension = extname(file).toLowerCase();
  const found = FORMATS.find((one) => one === extension);
  if (found !== undefined) return found;
  throw new Failure({
    code: 'SP280',
    exit: EXIT.usage,
    message: `no report is written as ${extension === '' ? 'a file without an extension' : safeText(extension)}`,
    where: file,
    hint: 'the extension says which one is meant: -o report.html, report.md or report.json',
  });
}

/** Reports name every weak spot of a cluster: for their owner's eyes alone. */
export async function saveReport(file: string, text: string): Promise<void> {
  try {
    await writeFileAtomic(file, text, 0o600);
  } catch (error) {
    if (errorCodeOf(error) === undefined) throw error;
    throw new Failure({
      code: 'SP281',
      exit: EXIT.usage,
      message: `the report cannot be written: ${explain(error)}`,
      where: file,
      hint: 'give -o a file in a folder that exists and that you may write to',
      cause: error,
    });
  }
}

async function readReport(file: string): Promise<AssessmentReport> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw new Failure({
      code: 'SP282',
      exit: EXIT.usage,
      message: `the report to compare with cannot be read: ${explain(error)}`,
      where: file,
      hint: 'give --compare a report that sallyport assess -o FILE.json wrote',
      cause: error,
    });
  }
  let value: unknown;
  let fault: string | undefined;
  try {
    value = JSON.parse(text);
    fault = reportFault(value);
  } catch (error) {
    fault = `it is not JSON: ${messageOf(error)}`;
  }
  if (fault === undefined) return value as AssessmentReport;
  throw new Failure({
    code: 'SP283',
    exit: EXIT.usage,
    message: `the report to compare with cannot be used: ${safeText(fault)}`,
    where: file,
    hint: 'give --compare a report that sallyport assess -o FILE.json wrote',
  });
}
