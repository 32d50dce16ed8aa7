// What runs inside the page is typed as such: these files alone speak of a document.
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { expect } from 'vitest';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The browser to test in: `CHROMIUM`, or the first one on the PATH. */
export function findChromium(): string {
  const named = process.env['CHROMIUM'];
  if (named !== undefined && named !== '') {
    if (isExecutable(named)) return named;
    throw new Error(`CHROMIUM names ${named}, which is no executable file`);
  }
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  const found = folders.flatMap((folder) => NAMES.map((name) => join(folder, name))).find(isExecutable);
  if (found !== undefined) return found;
  throw new Error(
    `no browser: none of ${NAMES.join(', ')} is on the PATH; install Debian's chromium or set CHROMIUM to its path`,
  );
}

export async function launchBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: findChromium(),
    // Tests run as root in containers, where the sandbox cannot start; the pages are our own files.
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--force-color-profile=srgb'],
  });
}

/** A report in the browser, with everything it did that a report must not do. */
export interface OpenReport {
  readonly page: Page;
  readonly file: string;
  /** Addresses asked for beside the page's own file. */
  readonly requests: readonly string[];
  /** Errors and warnings on the console, uncaught errors, violations of the page's own policy. */
  readonly complaints: readonly string[];
  /** Dialogs and new windows that the page opened. */
  readonly dialogs: readonly string[];
  close(): Promise<void>;
}

/** Writes the page into a file and opens that file. Nothing but the file itself is let through. */
export async function openReport(
  browser: Browser,
  text: string,
  options: BrowserContextOptions & { readonly hash?: string } = {},
): Promise<OpenReport> {
  const { hash, ...rest } = options;
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-report-'));
  const file = join(folder, 'report.html');
  writeFileSync(file, text);
  const url = pathToFileURL(file).href;
  const context = await browser.newContext({
    viewport: { width: 1280, height: 900 },
    reducedMotion: 'reduce',
    ...rest,
  });
  const page = await context.newPage();
  const requests: string[] = [];
  const complaints: string[] = [];
  const dialogs: string[] = [];
  context.on('request', (request) => {
    if (request.url().split('#')[0] !== url) requests.push(request.url());
  });
  await context.route('**', (route) =>
    route.request().url().split('#')[0] === url ? route.continue() : route.abort(),
  );
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(`uncaught: ${error.message}`));
  page.on('dialog', (dialog) => {
    dialogs.push(dialog.message());
    void dialog.dismiss();
  });
  context.on('page', (other) => dialogs.push(`window ${other.url()}`));
  await page.goto(hash === undefined ? url : `${url}#${hash}`);
  return {
    page,
    file,
    requests,
    complaints,
    dialogs,
    close: async () => {
      await context.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** `expect.poll` with the patience that a loaded machine asks for. */
export const poll: typeof expect.poll = (what, options) => expect.poll(what, { timeout: 20_000, ...options });
