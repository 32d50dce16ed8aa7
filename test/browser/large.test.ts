import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readReportAssets } from '../../src/cli/report-assets.ts';
import { renderHtml } from '../../src/report/html/index.ts';
import { generateReport } from '../report/sample.ts';
import { launchBrowser, openReport, poll } from './browser.ts';
import type { OpenReport } from './browser.ts';

/** Timings depend on the machine and its load: they are printed for a person, and bounded only so far that a page that hangs fails. */
const figures: string[] = [];
const print = (what: string, ms: number): void => void figures.push(`${what}: ${Math.round(ms)} ms`);

let browser: Browser;
let open: OpenReport;

beforeAll(async () => {
  browser = await launchBrowser();
  const report = generateReport({ workloads: 5000, edges: 50_000, namespaces: 200, seed: 7 });
  const started = performance.now();
  const text = renderHtml(report, readReportAssets());
  print(`rendering (${(text.length / 1e6).toFixed(1)} MB)`, performance.now() - started);
  open = await openReport(browser, text);
  await open.page.waitForSelector('html[data-ready=all]', { state: 'attached', timeout: 60_000 });
});
afterAll(async () => {
  await browser.close();
  process.stdout.write(`${figures.map((line) => `  5,000 workloads, 50,000 flows: ${line}`).join('\n')}\n`);
});

/** Does something in the page, waits until it shows, and tells the longest time in which the page answered nobody. */
async function longestTask(what: string, act: () => Promise<void>): Promise<number> {
  const { page } = open;
  await page.evaluate(() => {
    const store = window as unknown as { gaps: number; last: number; beat: boolean };
    store.gaps = 0;
    store.last = performance.now();
    store.beat = true;
    const channel = new MessageChannel();
    channel.port1.onmessage = () => {
      const now = performance.now();
      store.gaps = Math.max(store.gaps, now - store.last);
      store.last = now;
      if (store.beat) setTimeout(() => channel.port2.postMessage(0), 0);
    };
    channel.port2.postMessage(0);
  });
  await act();
  await page.waitForTimeout(150);
  const gap = await page.evaluate(() => {
    const store = window as unknown as { gaps: number; beat: boolean };
    store.beat = false;
    return store.gaps;
  });
  print(`${what}, longest block`, gap);
  return gap;
}

describe('a report of 5,000 workloads and 50,000 flows', () => {
  it('opens, and can be used', async () => {
    const { page } = open;
    const times = await page.evaluate(() => {
      const [navigation] = performance.getEntriesByType('navigation') as PerformanceNavigationTiming[];
      const paint = performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN;
      const at = (name: string): number => performance.getEntriesByName(name)[0]?.startTime ?? NaN;
      return {
        paint,
        interactive: navigation?.domInteractive ?? NaN,
        script: at('sallyport-flows'),
        map: at('sallyport-map'),
        all: at('sallyport-all'),
      };
    });
    print('first paint', times.paint);
    print('document read', times.interactive);
    print('filters usable', times.script);
    print('map drawn', times.map);
    print('every table ready', times.all);
    expect(times.map).toBeLessThan(20_000);
    expect(await page.locator('#map-count').innerText()).toBe('50,000 flows');
    expect(open.complaints).toEqual([]);
  });

  it('keeps the document small: only rows in view stand in it', async () => {
    const { page } = open;
    expect(await page.locator('#map-table tbody tr').count()).toBeLessThan(80);
    expect(await page.evaluate(() => document.querySelectorAll('*').length)).toBeLessThan(20_000);
  });

  it('filters, searches and sorts without freezing', async () => {
    const { page } = open;
    const count = page.locator('#map-count');
    const gaps = [
      await longestTask('filter by encryption', async () => {
        await page.selectOption('#f-mtls', { label: 'mTLS' });
        await poll(() => count.innerText()).toMatch(/^[\d,]+ of 50,000 flows$/);
      }),
      await longestTask('search', async () => {
        await page.locator('#f-q').fill('team-017/');
        await poll(() => count.innerText()).toMatch(/^\d{2,3} of 50,000 flows$/);
      }),
      await longestTask('clear filters', async () => {
        await page.locator('#map-filters button[type=reset]').click();
        await poll(() => count.innerText()).toBe('50,000 flows');
      }),
      await longestTask('sort 50,000 flows', async () => {
        await page.locator('#map-table').getByRole('button', { name: 'Connections' }).click();
        await poll(() => page.locator('#map-table th[aria-sort=ascending]').count()).toBe(1);
      }),
    ];
    for (const gap of gaps) expect(gap).toBeLessThan(5000);
  });

  it('scrolls to the end of the flows and names the row it stands on', async () => {
    const { page } = open;
    await longestTask('to the last row', async () => {
      await page.locator('#map-table tbody tr[data-at] th button').first().focus();
      await page.keyboard.press('End');
      await poll(() => page.evaluate(() => document.activeElement?.closest('tr')?.dataset['at'])).toBe('49999');
    });
    expect(await page.evaluate(() => document.activeElement?.closest('tr')?.getAttribute('aria-rowindex'))).toBe(
      '50001',
    );
    expect(await page.locator('#map-table table').getAttribute('aria-rowcount')).toBe('50001');
  });

  it('opens a namespace on the map, and details of a flow, without freezing', async () => {
    const { page } = open;
    const opened = await longestTask('open a namespace on the map', async () => {
      await page.locator('#map-box').focus();
      await page.keyboard.press('ArrowRight');
      await page.keyboard.press('Enter');
      await poll(() => page.locator('#say').innerText()).toMatch(/opened, 25 inside/);
    });
    const detailed = await longestTask('first details', async () => {
      await page.locator('#map-table tbody tr[data-at] th button').last().click();
      await poll(() => page.locator('#drawer').innerText()).toContain('Evidence');
    });
    expect(Math.max(opened, detailed)).toBeLessThan(5000);
  });
});
