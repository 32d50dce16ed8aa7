import { readFileSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { readReportAssets } from '../../src/cli/report-assets.ts';
import { renderHtml } from '../../src/report/html/index.ts';
import type { AssessmentReport } from '../../src/report/model.ts';
import { sampleReport } from '../report/sample.ts';
import { launchBrowser, openReport, poll } from './browser.ts';
import type { OpenReport } from './browser.ts';

const assets = readReportAssets();
const SAMPLE = renderHtml(sampleReport(), assets);
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let browser: Browser;
let open: OpenReport | undefined;

beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser.close();
});
// Whatever a test does, the page asks for nothing, says nothing on the console and opens nothing.
afterEach(async () => {
  const last = open;
  open = undefined;
  if (last === undefined) return;
  await last.close();
  expect({ requests: last.requests, complaints: last.complaints, dialogs: last.dialogs }).toEqual({
    requests: [],
    complaints: [],
    dialogs: [],
  });
});

async function show(text = SAMPLE, options: BrowserContextOptions & { readonly hash?: string } = {}): Promise<Page> {
  open = await openReport(browser, text, options);
  await open.page.waitForSelector('html[data-ready=all]', { state: 'attached' });
  return open.page;
}

const flows = (page: Page) => page.locator('#map-table tbody tr[data-at]');
const drawer = (page: Page) => page.locator('#drawer');
const focusedText = (page: Page): Promise<string> => page.evaluate(() => document.activeElement?.textContent ?? '');

describe('a report opened from disk', () => {
  it('says in its first screen where things stand and what to do first', async () => {
    const page = await show();
    const { summary } = sampleReport();
    const screen = page.locator('#summary');
    await poll(() => screen.innerText()).toContain('Zero-trust assessment');
    const text = (await screen.innerText()).replace(/\[\d+\]/g, '').replace(/\s+/g, ' ');
    for (const sentence of [summary.headline, ...summary.sentences]) expect(text).toContain(sentence.text);
    for (const action of summary.actions) expect(text).toContain(action.text);
    expect(text).toContain('sallyport advance mlflow --to monitor');
  });

  it('has a section for every part of the report, and a way to each from the contents', async () => {
    const page = await show();
    const ids = await page.locator('main section').evaluateAll((all) => all.map((one) => one.id));
    const { apiVersion, kind, version, at, cluster, comparison, ...rest } = sampleReport();
    expect([apiVersion, kind, version, at, cluster.id, comparison]).toHaveLength(6);
    expect([...ids].sort()).toEqual([...Object.keys(rest), 'figures'].sort());
    const links = await page.locator('.side a').evaluateAll((all) => all.map((one) => one.getAttribute('href')));
    expect(links).toEqual(ids.map((id) => `#${id}`));
    for (const link of await page
      .locator('main a[href^="#"]')
      .evaluateAll((all) => all.map((one) => one.getAttribute('href') ?? '')))
      expect(await page.locator(link).count(), link).toBe(1);
  });

  it('shows the source of a figure at the press of its note, and hides it at Escape', async () => {
    const page = await show();
    const note = page.locator('#summary .src').first();
    await note.focus();
    await page.keyboard.press('Enter');
    const pop = page.locator('.pop:popover-open');
    await poll(() => pop.innerText()).toMatch(/counted[\s\S]*a sample[\s\S]*2026-10-05 00:00 UTC to 2026-10-14/);
    expect(await pop.innerText()).toContain('/cluster/namespaces');
    await page.keyboard.press('Escape');
    await poll(() => pop.count()).toBe(0);
  });

  it('reads without its script: sections, figures and the first rows of every table', async () => {
    open = await openReport(browser, SAMPLE, { javaScriptEnabled: false });
    const text = await open.page.locator('main').innerText();
    for (const words of [
      'Zero-trust assessment',
      'bank-serving/Deployment/scoring-api',
      'observe longer',
      'tenet 2',
      'none-found'.replace('-', ' '),
    ])
      expect(text).toContain(words);
    expect(text).toContain('need the page’s own script'.replace('’', "'"));
    // Chromium says that scripts are off; the page itself has nothing to complain about.
    open = { ...open, complaints: [] };
  });
});

describe('filters', () => {
  it('act on the table and the count together, and stay in the address', async () => {
    const page = await show();
    expect(await flows(page).count()).toBe(11);
    await page.selectOption('#f-mtls', { label: 'mTLS' });
    await poll(() => flows(page).count()).toBe(1);
    expect(await flows(page).innerText()).toContain('bank-serving/Deployment/triton');
    expect(await page.locator('#map-count').innerText()).toBe('1 of 11 flows');
    expect(new URL(page.url()).hash).toBe('#map?mtls=0');
  });

  it.each([
    ['q', 'PYPI', 1],
    ['q', '/infer', 1],
    ['ns', 'mlflow', 4],
    ['stage', 'training', 3],
    ['plane', 'monitoring', 1],
    ['tenant', 'payments', 5],
    ['port', '6379', 2],
    ['mtls', 'mixed', 1],
    ['verdict', 'denied', 1],
    ['verdict', 'cannot be judged', 1],
    ['review', 'to be cut', 1],
    ['origin', 'declared, adopted', 1],
    ['source', 'hubble', 10],
    ['days', 'one day only', 2],
    ['days', 'no day (declared)', 1],
    ['cross', 'tenants', 1],
    ['cross', 'data to control plane', 0],
    ['cross', 'to the outside', 2],
    ['cross', 'from the outside', 1],
  ])('%s = %s leaves %i flows', async (key, value, count) => {
    const page = await show();
    const field = page.locator(`#f-${key}`);
    if ((await field.evaluate((one) => one.tagName)) === 'SELECT') await field.selectOption({ label: value });
    else await field.fill(value);
    await poll(() => page.locator('#map-count').innerText()).toBe(`${count} of 11 flows`);
    expect(await flows(page).count()).toBe(count);
  });

  it('are taken from an address, with the namespaces that stood open', async () => {
    const page = await show(SAMPLE, { hash: 'map?q=triton&port=9000&open=ns0' });
    expect(await page.inputValue('#f-q')).toBe('triton');
    expect(await page.locator('#map-count').innerText()).toBe('1 of 11 flows');
    await page.locator('#map-filters button[type=reset]').click();
    await poll(() => page.locator('#map-count').innerText()).toBe('11 flows');
    expect(new URL(page.url()).hash).toBe('#map?open=ns0');
  });

  it('ignore what an address names and the report lacks', async () => {
    const page = await show(SAMPLE, { hash: 'map?ns=99&stage=__proto__&days=constructor&open=zz.ns99' });
    expect(await page.locator('#map-count').innerText()).toBe('11 flows');
  });
});

describe('tables', () => {
  it('sort by a press on a head, and say so', async () => {
    const page = await show();
    const table = page.locator('[data-table=risk]');
    await table.getByRole('button', { name: 'Rank' }).click();
    await table.getByRole('button', { name: 'Rank' }).click();
    expect(await table.locator('th').nth(1).getAttribute('aria-sort')).toBe('descending');
    expect(await table.locator('tbody tr').first().innerText()).toContain('prometheus');
    await poll(() => page.locator('#say').innerText()).toBe('Sorted by Rank, falling');
  });

  it('are walked with arrow keys; Enter opens a row, Escape closes it and the row has the focus again', async () => {
    const page = await show();
    await flows(page).first().locator('th button').focus();
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('ArrowDown');
    const row = await focusedText(page);
    await page.keyboard.press('Enter');
    await poll(() => drawer(page).isVisible()).toBe(true);
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('drawer-h');
    await page.keyboard.press('Escape');
    expect(await drawer(page).isVisible()).toBe(false);
    expect(await focusedText(page)).toBe(row);
    await page.keyboard.press('End');
    expect(await page.evaluate(() => document.activeElement?.closest('tr')?.dataset['at'])).toBe('10');
  });

  it('take one stop of the Tab key a row, not one a cell', async () => {
    const page = await show();
    const stops = await page
      .locator('#map-table tbody button')
      .evaluateAll((all) => all.filter((one) => (one as HTMLButtonElement).tabIndex === 0).length);
    expect(stops).toBe(1);
  });
});

describe('details', () => {
  it('of a flow: its evidence, what decides now, and the policy that would allow it', async () => {
    const page = await show();
    await flows(page).filter({ hasText: '8001' }).locator('th button').click();
    const text = await drawer(page).innerText();
    expect(text).toContain('POST /v2/models/fraud/infer');
    expect(text).toContain('11,500');
    expect(text).toContain('no policy selects either end');
    expect(text).toContain('NetworkPolicy bank-serving/sallyport-triton-ingress');
    expect(text).toContain('kind: NetworkPolicy');
    expect(text).toContain(
      'sallyport adopt src=bank-serving/Deployment/scoring-api,dst=bank-serving/Deployment/triton,port=8001',
    );
  });

  it('of a workload: why it is what it is, its risk by factor, and its flows; and back again', async () => {
    const page = await show();
    await page
      .locator('[data-table=workloads]')
      .getByRole('button', { name: 'bank-serving/Deployment/triton' })
      .click();
    expect(await drawer(page).innerText()).toMatch(
      /image registry\.example\/triton[\s\S]*rank 2[\s\S]*what it holds[\s\S]*60[\s\S]*2 flows in/,
    );
    await drawer(page).locator('.flows button').first().click();
    expect(await page.locator('#drawer-h').innerText()).toContain('→');
    await page.locator('#drawer-back').click();
    expect(await page.locator('#drawer-h').innerText()).toBe('triton');
  });

  it('of a policy: its diff and the flows behind each rule', async () => {
    const page = await show();
    await page.locator('[data-table=candidates] tbody button').filter({ hasText: 'score-cache' }).click();
    const text = await drawer(page).innerText();
    expect(text).toContain('- - port: 80');
    expect(text).toContain('+ - port: 6379');
    expect(await drawer(page).locator('ins').count()).toBe(1);
    expect(text).toContain('training/CronJob/retrain');
  });

  it('of a namespace: every phase, its gates and their fixes', async () => {
    const page = await show();
    await page.locator('[data-table=readiness] tbody button').filter({ hasText: 'mlflow' }).click();
    expect(await drawer(page).innerText()).toMatch(
      /sallyport plan mlflow[\s\S]*Allow-list[\s\S]*coverage[\s\S]*12% of the edges[\s\S]*observe longer/,
    );
  });
});

describe('the map', () => {
  const announced = (page: Page): Promise<string> => page.locator('#say').innerText();

  it('is walked with the keyboard alone: to a namespace, into it, along its lines, to the evidence, and back', async () => {
    const page = await show();
    await page.locator('#map-box').focus();
    await page.keyboard.press('ArrowRight');
    await poll(() => announced(page)).toMatch(/^bank-serving, 3 workloads, closed; 3 flows in, 1 flow out$/);
    await page.keyboard.press('Enter');
    await poll(() => announced(page)).toBe('bank-serving opened, 3 inside');
    await page.keyboard.press('ArrowDown');
    await poll(() => announced(page)).toMatch(/bank-serving\/\w+\/[\w-]+, .*flows? in/);
    await page.keyboard.press(']');
    await poll(() => announced(page)).toMatch(/^Line 1 of \d+: from .* to .*, \d flows?\. Enter shows it\.$/);
    await page.keyboard.press('Enter');
    await poll(() => drawer(page).innerText()).toContain('Evidence');
    await page.keyboard.press('Escape');
    expect(await drawer(page).isVisible()).toBe(false);
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('map-box');
    expect(new URL(page.url()).hash).toBe('#map?open=ns0');
  });

  it('can be left with the Tab key', async () => {
    const page = await show();
    await page.locator('#map-box').focus();
    await page.keyboard.press('Tab');
    expect(await page.evaluate(() => document.activeElement?.closest('#map-box'))).toBeNull();
  });

  it('opens a namespace and a line with the mouse', async () => {
    const page = await show();
    await page.locator('#map-box').scrollIntoViewIfNeeded();
    const at = (key: string) =>
      page.evaluate((id) => {
        const box = document.getElementById('map-box') as HTMLElement & {
          _cyreg: {
            cy: {
              getElementById(key: string): {
                renderedPosition(): { x: number; y: number };
                renderedMidpoint(): { x: number; y: number };
              };
            };
          };
        };
        const area = box.getBoundingClientRect();
        const one = box._cyreg.cy.getElementById(id);
        const spot = id.includes('>') ? one.renderedMidpoint() : one.renderedPosition();
        return { x: area.left + spot.x, y: area.top + spot.y };
      }, key);
    const line = await at('g2>g5');
    await page.mouse.click(line.x, line.y);
    await poll(() => drawer(page).innerText()).toContain('pypi.org');
    await page.keyboard.press('Escape');
    const box = await at('g0');
    await page.mouse.click(box.x, box.y);
    await poll(() => new URL(page.url()).hash).toBe('#map?open=ns0');
  });
});

describe('everybody can read it', () => {
  const SCHEMES = ['light', 'dark'] as const;

  async function violations(page: Page): Promise<readonly string[]> {
    await page.evaluate(AXE);
    return page.evaluate(async () => {
      const axe = (
        window as unknown as {
          axe: {
            run(
              context: Document,
              options: object,
            ): Promise<{
              passes: unknown[];
              violations: { id: string; nodes: { target: string[]; failureSummary: string }[] }[];
            }>;
          };
        }
      ).axe;
      const result = await axe.run(document, {
        resultTypes: ['violations'],
        runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
      });
      // An axe that looked at nothing would find nothing.
      if (result.passes.length < 30) return [`axe passed only ${result.passes.length} rules`];
      return result.violations.map(
        (one) =>
          `${one.id}: ${one.nodes
            .slice(0, 4)
            .map((node) => `${node.target.join(' ')} ${node.failureSummary}`)
            .join(' | ')}`,
      );
    });
  }

  it.each(SCHEMES)('axe finds nothing in %s', async (colorScheme) => {
    const page = await show(SAMPLE, { colorScheme });
    expect(await violations(page)).toEqual([]);
  });

  it.each(SCHEMES)('axe finds nothing in %s with everything open', async (colorScheme) => {
    const page = await show(SAMPLE, { colorScheme });
    await page.evaluate(() => document.querySelectorAll('details').forEach((one) => (one.open = true)));
    await flows(page).first().locator('th button').click();
    expect(await violations(page)).toEqual([]);
  });

  it('axe finds nothing on a narrow screen', async () => {
    const page = await show(SAMPLE, { viewport: { width: 320, height: 640 } });
    expect(await violations(page)).toEqual([]);
  });

  it.each([320, 375, 640, 768, 1024, 1280, 1600])('never scrolls sideways at %i pixels', async (width) => {
    const page = await show(SAMPLE, { viewport: { width, height: 800 } });
    await page.evaluate(() => document.querySelectorAll('details').forEach((one) => (one.open = true)));
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
  });

  it('has landmarks, one first heading, and headings that skip no level', async () => {
    const page = await show();
    for (const role of ['banner', 'navigation', 'main', 'contentinfo'] as const)
      expect(await page.getByRole(role).count(), role).toBe(1);
    const levels = await page
      .locator('main :is(h1,h2,h3,h4)')
      .evaluateAll((all) => all.map((one) => Number(one.tagName.slice(1))));
    expect(levels.filter((level) => level === 1)).toHaveLength(1);
    expect(levels.filter((level, index) => level > (levels[index - 1] ?? 0) + 1)).toEqual([]);
  });

  it('begins with a link past the contents', async () => {
    const page = await show();
    await page.keyboard.press('Tab');
    expect(await focusedText(page)).toBe('Skip to the report');
    await page.keyboard.press('Enter');
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('main');
  });

  it('shows where the focus is', async () => {
    const page = await show();
    await page.keyboard.press('Tab');
    await page.keyboard.press('Tab');
    expect(
      await page.evaluate(() => parseFloat(getComputedStyle(document.activeElement as Element).outlineWidth)),
    ).toBeGreaterThanOrEqual(2);
  });

  it('changes its colours at a press, and follows the system until then', async () => {
    const page = await show(SAMPLE, { colorScheme: 'dark' });
    const background = (): Promise<string> => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const dark = await background();
    await page.locator('#theme').click();
    expect(await background()).not.toBe(dark);
    await page.locator('#theme').click();
    expect(await background()).toBe(dark);
  });
});

describe('on paper', () => {
  it('prints to a PDF of several pages, and is as it was afterwards', async () => {
    const page = await show(SAMPLE, { colorScheme: 'dark' });
    const file = join(tmpdir(), `sallyport-${process.pid}.pdf`);
    await page.pdf({ path: file, preferCSSPageSize: true });
    expect(statSync(file).size).toBeGreaterThan(50_000);
    rmSync(file);
    expect(await page.evaluate(() => document.documentElement.dataset['theme'])).toBeUndefined();
    expect(await page.locator('details.fold[open]').count()).toBe(1);
  });

  it('is light, opens what is folded, and leaves tools out', async () => {
    const page = await show(SAMPLE, { colorScheme: 'dark' });
    await page.evaluate(() => window.dispatchEvent(new Event('beforeprint')));
    await page.emulateMedia({ media: 'print' });
    expect(await page.evaluate(() => getComputedStyle(document.body).backgroundColor)).toBe('rgb(255, 255, 255)');
    expect(await page.locator('details.fold:not([open])').count()).toBe(0);
    expect(
      await page.locator('#map-print img').evaluate((one) => (one as HTMLImageElement).naturalWidth),
    ).toBeGreaterThan(300);
    // Chromium leaves buttons out of the heads that it repeats on each page.
    const head = page.locator('#map-table thead th').first();
    expect(await head.locator('button').isVisible()).toBe(false);
    expect(await head.locator('span').first().innerText()).toBe('Source');
    for (const gone of ['.side', '#map-stage', '#map-filters', '.btn.copy', '.top'])
      expect(await page.locator(gone).first().isVisible(), gone).toBe(false);
    await page.evaluate(() => window.dispatchEvent(new Event('afterprint')));
  });
});

describe('two reports compared', () => {
  const compared: AssessmentReport = {
    ...sampleReport(),
    comparison: {
      before: { at: '2026-10-01T00:00:00.000Z', description: 'an earlier sample', sameCluster: true },
      figures: [
        { id: 'surface-now', label: 'pairs that can connect now', before: 90, after: 56, better: 'yes' },
        { id: 'keys', label: 'long-lived credentials', before: 1, after: 2, better: 'no' },
      ],
      workloads: { added: ['training/CronJob/retrain'], removed: [] },
      edges: { added: 2, removed: 0, addedTexts: ['a -> b 80/TCP', 'a -> c 81/TCP'], removedTexts: [] },
      phases: [{ namespace: 'mlflow', before: 'none', after: 'monitor' }],
      risk: [{ workload: 'mlflow/Deployment/tracking', before: 80, after: 77.5 }],
      candidates: { added: [], removed: [] },
      done: [
        { id: 'changes', before: 0, after: 14 },
        { id: 'violationsPrevented', before: 0, after: 17 },
      ],
      runs: sampleReport().progress.runs.slice(0, 1),
      surface: [{ state: 'now', before: 90, after: 56 }],
      notes: ['the earlier report saw two days less'],
    },
  };

  it('show what changed, and whether for the better', async () => {
    const page = await show(renderHtml(compared, assets));
    const text = await page.locator('#comparison').innerText();
    expect(text).toMatch(/pairs that can connect now\s+90\s+56\s+−34\s+better/);
    expect(text).toMatch(/long-lived credentials\s+1\s+2\s+\+1\s+worse/);
    expect(text).toMatch(/mlflow\s+none\s+monitor/);
    expect(text).toMatch(/changes in force\s+0\s+14\s+\+14/);
    expect(text).toMatch(/connections prevented.*\s+0\s+17\s+\+17/);
    expect(await page.locator('.side a[href="#comparison"]').count()).toBe(1);
  });
});
