import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readReportAssets } from '../../src/cli/report-assets.ts';
import { visibleText } from '../../src/report/html/html.ts';
import { renderHtml } from '../../src/report/html/index.ts';
import { sampleReport } from '../report/sample.ts';
import { launchBrowser, openReport } from './browser.ts';
import type { OpenReport } from './browser.ts';
import { PAYLOADS, poisoned } from './hostile.ts';

let browser: Browser;
let open: OpenReport;

beforeAll(async () => {
  browser = await launchBrowser();
  open = await openReport(browser, renderHtml(poisoned(sampleReport()), readReportAssets()));
  await open.page.waitForSelector('html[data-ready=all]', { state: 'attached' });
});
afterAll(async () => {
  await browser.close();
});

function harm(): Promise<unknown> {
  return open.page.evaluate(() => ({
    pwned: (window as unknown as { pwned?: unknown }).pwned ?? null,
    // The printed map is the only picture; nothing else that runs, frames, asks or submits.
    strangers: [
      ...document.querySelectorAll(
        'iframe,object,embed,base,link,img:not(#map-print img),script[src],form[action],a:not([href^="#"]),meta[http-equiv=refresh]',
      ),
    ].map((one) => one.outerHTML.slice(0, 80)),
    handlers: [...document.querySelectorAll('*')].filter((one) =>
      one.getAttributeNames().some((name) => name.startsWith('on')),
    ).length,
    styles: document.querySelectorAll('style').length,
    hidden: getComputedStyle(document.body).display,
  }));
}
const NONE = { pwned: null, strangers: [], handlers: 0, styles: 2, hidden: 'block' };

describe('a report full of hostile names', () => {
  it('runs nothing and asks for nothing, as it opens', async () => {
    expect(await harm()).toEqual(NONE);
    expect(open.requests).toEqual([]);
    expect(open.dialogs).toEqual([]);
    expect(open.complaints).toEqual([]);
  });

  it('shows every name for what it is: markup as text, what cannot be seen as its code point', async () => {
    const text = await open.page.evaluate(() => document.querySelector('main')?.textContent ?? '');
    for (const payload of PAYLOADS)
      expect(text.includes(visibleText(payload)), visibleText(payload).slice(0, 60)).toBe(true);
    // No control or direction mark reaches the document at all.
    expect(/[\u0000-\u0008\u000e-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/.test(text)).toBe(
      false,
    );
  });

  it('keeps names apart from the direction of the text around them', async () => {
    const loose = await open.page.evaluate((payload) => {
      const walker = document.createTreeWalker(document.querySelector('main') as Element, NodeFilter.SHOW_TEXT);
      const found: string[] = [];
      for (let node = walker.nextNode(); node !== null; node = walker.nextNode())
        if (
          node.textContent?.includes(payload) === true &&
          node.parentElement?.closest('bdi, pre, code, option') === null
        )
          found.push(`${node.parentElement.tagName}.${node.parentElement.className} ${node.textContent.slice(0, 80)}`);
      return found;
    }, 'gnp.lufmrah');
    expect(loose).toEqual([]);
  });

  it('does no harm when everything in it is pressed, filtered, opened and printed', async () => {
    const { page } = open;
    await page.evaluate(() => document.querySelectorAll('details').forEach((one) => (one.open = true)));
    const keys = await page.evaluate(() => [
      ...new Set([...document.querySelectorAll<HTMLElement>('[data-open]')].map((one) => one.dataset['open'] ?? '')),
    ]);
    expect(keys.length).toBeGreaterThan(30);
    for (const key of keys) {
      await page.evaluate((one) => document.querySelector<HTMLElement>(`[data-open="${one}"]`)?.click(), key);
      expect(await page.locator('#drawer').isVisible()).toBe(true);
      // A press on every line of the details, too.
      await page.evaluate(() => document.querySelector<HTMLElement>('#drawer-in [data-open]')?.click());
      await page.evaluate(() => document.getElementById('drawer-close')?.click());
    }
    await page.locator('#map-box').focus();
    for (const key of [
      'ArrowRight',
      'Enter',
      'ArrowDown',
      ']',
      'Enter',
      'Escape',
      'ArrowRight',
      'Enter',
      'i',
      'Escape',
      '0',
    ])
      await page.keyboard.press(key);
    for (const payload of PAYLOADS.slice(0, 12)) await page.locator('#f-q').fill(payload);
    await page.waitForTimeout(300);
    await page.evaluate(() =>
      location.replace('#map?q=<img src=x onerror=alert(1)>&ns=%3Cscript%3E&open=ns0.__proto__'),
    );
    await page.waitForTimeout(300);
    await page.evaluate(() => window.dispatchEvent(new Event('beforeprint')));
    await page.evaluate(() => window.dispatchEvent(new Event('afterprint')));
    expect(await harm()).toEqual(NONE);
    expect({ requests: open.requests, dialogs: open.dialogs, complaints: open.complaints }).toEqual({
      requests: [],
      dialogs: [],
      complaints: [],
    });
  });

  it('offers no command to copy that a shell would read as more than one', async () => {
    const commands = await open.page.evaluate(() =>
      [...document.querySelectorAll<HTMLElement>('[data-copy]')].map((one) => one.dataset['copy'] ?? ''),
    );
    expect(commands.filter((one) => !one.includes('apiVersion') && /[;&|`$<>\\(){}\n]/.test(one))).toEqual([]);
  });

  it('is refused execution by the page’s own policy even where markup gets in', async () => {
    const { page } = open;
    const before = open.complaints.length;
    const outcome = await page.evaluate(() => {
      try {
        (document.getElementById('say') as HTMLElement).innerHTML = '<img src=x onerror="window.pwned=99">';
        return 'written';
      } catch (error) {
        return (error as Error).name;
      }
    });
    expect(outcome).toBe('TypeError');
    await page.evaluate(() => {
      const script = document.createElement('div');
      script.setAttribute('style', 'color:red');
      document.body.append(script);
      script.remove();
    });
    expect(open.complaints.length).toBeGreaterThan(before);
    expect(await page.evaluate(() => (window as unknown as { pwned?: unknown }).pwned)).toBeUndefined();
  });
});
