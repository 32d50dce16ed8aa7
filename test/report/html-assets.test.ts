import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readReportAssets } from '../../src/cli/report-assets.ts';
import { renderHtml } from '../../src/report/html/index.ts';
import { assetPath } from '../../src/shared/io/assets.ts';
import { isFailure } from '../../src/shared/pure/errors.ts';
import { ROOT } from '../support/imports.ts';
import { sampleReport } from './sample.ts';

const ours = readReportAssets();
const page = (assets = ours): string => renderHtml(sampleReport(), assets);

const made: string[] = [];
afterAll(() => {
  for (const folder of made) rmSync(folder, { recursive: true, force: true });
});
function folder(files: Readonly<Record<string, string>>): string {
  const path = mkdtempSync(join(tmpdir(), 'sallyport-templates-'));
  made.push(path);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
  return path;
}
function refusal(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (isFailure(error)) return `${error.detail.code} ${error.detail.exit} ${error.detail.message}`;
    throw error;
  }
  return 'nothing was refused';
}

describe('a report as one file', () => {
  it('is the same bytes for the same report', () => {
    expect(page()).toBe(page());
  });

  it('names no other machine and asks for nothing by an address', () => {
    const text = page().replace(ours.library, '');
    expect(text.match(/\s(?:src|href|action)\s*=\s*["'](?!#).{40}/i)).toBeNull();
    expect(text.match(/@import|url\((?!#).{40}/i)).toBeNull();
    expect(text.replace('http://www.w3.org/2000/svg', '').match(/\bhttps?:\/\/(?!login\.example).{40}/)).toBeNull();
  });

  it('allows by its policy its own two scripts and styles and nothing else', () => {
    const policy = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(page())?.[1] ?? '';
    expect(policy).toMatch(
      /^default-src 'none'; script-src( 'sha256-[\w+/]{43}='){2}; style-src( 'sha256-[\w+/]{43}='){2};/,
    );
    for (const never of ['unsafe', '*', 'http', 'connect-src', 'frame-src']) expect(policy).not.toContain(never);
  });

  it('has no handler, no style and no script but its own in its markup', () => {
    const markup = page().replace(/<(script|style)\b[\s\S]*?<\/\1>/g, '');
    expect(markup.match(/<[^>]*\s(?:on\w+|style)=/i)).toBeNull();
    expect(page().match(/<script(?! type="application\/json")/g)).toHaveLength(2);
  });
});

describe('the page’s script', () => {
  const files = readdirSync(assetPath('templates', 'report', 'script'));

  it.each(files)('%s never turns text into markup or code, and asks for nothing', (file) => {
    const text = readFileSync(assetPath('templates', 'report', 'script', file), 'utf8');
    expect(text).not.toMatch(
      /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|createContextualFragment|DOMParser/,
    );
    expect(text).not.toMatch(
      /\bfetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon|importScripts|\bimport\(|localStorage|sessionStorage|document\.cookie/,
    );
  });

  it('uses every text that it is given, and is given every text that it uses', () => {
    const code = files.map((file) => readFileSync(assetPath('templates', 'report', 'script', file), 'utf8')).join('\n');
    const texts = Object.keys(ours.texts).flatMap((key) => (key.startsWith('ui.') ? [key.slice(3)] : []));
    const used = new Set(
      [...code.matchAll(/\bui\(\s*(?:[\w.> ]+ \? )?'([a-z0-9-]+)'/g)].map((match) => match[1] ?? ''),
    );
    expect([...used].filter((key) => !texts.includes(key))).toEqual([]);
    const named = (key: string): boolean => code.includes(`'${key}'`) || code.includes(`'${key.replace(/-1$/, '')}'`);
    // `mtls-yes` is asked for as `mtls-` and a code.
    const composed = [
      'mtls',
      'verdict',
      'review',
      'origin',
      'kind',
      'purpose',
      'operation',
      'answer',
      'state',
      'phase',
      'theme',
      'band',
    ];
    const drawnByPage = ['close', 'back'];
    expect(
      texts.filter((key) => !named(key) && !composed.includes(key.split('-')[0] ?? '') && !drawnByPage.includes(key)),
    ).toEqual([]);
  });
});

describe('the texts', () => {
  it('are each used by the page', () => {
    const code = ['', 'sections/']
      .flatMap((path) =>
        readdirSync(join(ROOT, 'src/report/html', path))
          .filter((file) => file.endsWith('.ts'))
          .map((file) => readFileSync(join(ROOT, 'src/report/html', path, file), 'utf8')),
      )
      .join('\n');
    const composed =
      /^(?:ui|part|boundary|basis|phase|progress|mtls|verdict|review|origin)\.|\.(?:title|lead|source)$|^map\.(?:days|cross)-|-note$|^standards\.(?:nist|cis)$/;
    expect(Object.keys(ours.texts).filter((key) => !composed.test(key) && !code.includes(`'${key}'`))).toEqual([]);
  });
});

describe('a folder of templates of the user’s own', () => {
  it('replaces the style, the texts or the layout, each by the file of that name', () => {
    const texts = { ...ours.texts, 'summary.title': 'Rapport <Zero Trust>' };
    const own = folder({
      'report.css': 'body { color: rebeccapurple }',
      'texts.json': JSON.stringify(texts),
      'page.html': ours.layout.replace('<footer', '<p>{{subject}}</p><footer'),
    });
    const text = page(readReportAssets(own));
    expect(text).toContain('rebeccapurple');
    expect(text).not.toContain('--paper');
    expect(text).toContain('Rapport &lt;Zero Trust&gt;');
    expect(text).toContain('<p><bdi>a sample, no cluster</bdi> · 2026-10-14');
  });

  it('keeps our files where it has none', () => {
    const assets = readReportAssets(folder({ 'report.css': 'p {}' }));
    expect(assets).toEqual({ ...ours, style: 'p {}' });
  });

  it('cannot bring a script: templates are data', () => {
    expect(refusal(() => readReportAssets(folder({ 'page.js': 'alert(1)' })))).toMatch(
      /SP286 2 no template of the report has this name: page\.js/,
    );
    const sly = readReportAssets(
      folder({ 'page.html': ours.layout.replace('</body>', '<script>alert(1)</script></body>') }),
    );
    // It stands in the page, and the page's policy, which the layout cannot leave out, does not let it run.
    expect(page(sly)).toContain('<script>alert(1)</script>');
    expect(/content="([^"]*sha256[^"]*)"/.exec(page(sly))?.[1]).toBe(/content="([^"]*sha256[^"]*)"/.exec(page())?.[1]);
  });

  const layoutWithout = (name: string): string => ours.layout.replace(`{{${name}}}`, '');
  it.each([
    [
      'a folder that is not there',
      () => readReportAssets('/nowhere/at/all'),
      /SP286 2 the folder of templates cannot be read/,
    ],
    [
      'a file for a folder',
      () => readReportAssets(join(folder({ x: '' }), 'x')),
      /SP286 2 the templates are not a folder/,
    ],
    ['an empty folder', () => readReportAssets(folder({})), /SP286 2 the folder of templates is empty/],
    [
      'a file that replaces nothing',
      () => readReportAssets(folder({ 'report.scss': '' })),
      /no template of the report has this name: report\.scss/,
    ],
    [
      'texts that are no JSON',
      () => readReportAssets(folder({ 'texts.json': '{' })),
      /SP286 2 the template is not JSON/,
    ],
    [
      'texts that are a list',
      () => readReportAssets(folder({ 'texts.json': '[]' })),
      /SP285 2 the texts are not one JSON object/,
    ],
    [
      'a text of no use',
      () => readReportAssets(folder({ 'texts.json': JSON.stringify({ ...ours.texts, nope: 'x' }) })),
      /the text nope is used nowhere/,
    ],
    ['a text left out', () => readReportAssets(folder({ 'texts.json': '{}' })), /missing texts: page\.title/],
    [
      'a text with a placeholder that nothing fills',
      () => readReportAssets(folder({ 'texts.json': JSON.stringify({ ...ours.texts, 'risk.title': '{{risk}}' }) })),
      /the text risk\.title has a placeholder that nothing fills: \{\{risk\}\}/,
    ],
    [
      'a layout with a placeholder that nothing fills',
      () => readReportAssets(folder({ 'page.html': `${ours.layout}{{logo}}` })),
      /the layout has a placeholder that nothing fills: \{\{logo\}\}/,
    ],
    [
      'a layout without the policy',
      () => readReportAssets(folder({ 'page.html': layoutWithout('csp') })),
      /the layout lacks \{\{csp\}\}/,
    ],
    [
      'a layout without the script',
      () => readReportAssets(folder({ 'page.html': layoutWithout('script') })),
      /the layout lacks \{\{script\}\}/,
    ],
    [
      'a style that ends its element',
      () => readReportAssets(folder({ 'report.css': '</style><script>' })),
      /SP285 2 a style sheet cannot hold/,
    ],
  ])('is refused: %s', (_, act, message) => {
    expect(refusal(act)).toMatch(message);
  });

  it('is refused where a name is a folder', () => {
    const own = folder({});
    mkdirSync(join(own, 'texts.json'));
    expect(refusal(() => readReportAssets(own))).toMatch(/SP286 2 the template cannot be read/);
  });
});
