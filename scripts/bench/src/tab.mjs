// One browser with a profile of its own and one tab in it: {version, pid, open(url), call(name, ...values), close()}.
// Chromium is driven by playwright-core, Firefox by puppeteer-core over WebDriver BiDi; both are the system's own.
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { browserProcess } from './processes.mjs';

const kExecutables = {
  chromium: ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'],
  firefox: ['/usr/bin/firefox-esr', '/usr/bin/firefox'],
};
const kChromiumFlags = ['--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
// The drivers are packages of several folders: a run of nutshell alone needs none of the peers installed.
const kPackageFolders = ['..', '../../../tests/browser', '../../../web'];

async function driver(name) {
  for (const folder of kPackageFolders) {
    try {
      const found = createRequire(new URL(`${folder}/package.json`, import.meta.url)).resolve(name);
      const module = await import(pathToFileURL(found).href);
      return module.default ?? module;
    } catch (error) {
      if (error.code !== 'MODULE_NOT_FOUND') throw error;
    }
  }
  throw new Error(`${name} is not installed: run npm ci --ignore-scripts in scripts/bench`);
}

function executable(browser) {
  const found = kExecutables[browser].find((file) => existsSync(file));
  if (!found) throw new Error(`${kExecutables[browser][0]} is missing: install the package ${path.basename(kExecutables[browser][0])}`);
  return found;
}

const invoke = ([name, values]) => globalThis.bench[name](...values);
const isReady = () => Boolean(globalThis.bench);

async function chromiumTab(profile) {
  const { chromium } = await driver('playwright-core');
  const options = { executablePath: executable('chromium'), args: kChromiumFlags };
  const context = await chromium.launchPersistentContext(profile, options);
  const page = context.pages()[0] ?? (await context.newPage());
  page.setDefaultTimeout(0);
  return {
    version: `Chromium ${context.browser()?.version() ?? (await page.evaluate(() => navigator.userAgent.match(/Chrome\/([\d.]+)/)?.[1]))}`,
    pid: browserProcess(profile),
    async open(url) {
      await page.goto(url);
      await page.waitForFunction(isReady, null, { timeout: 30_000 });
    },
    call: (name, ...values) => page.evaluate(invoke, [name, values]),
    close: () => context.close(),
  };
}

async function firefoxTab(profile) {
  const puppeteer = await driver('puppeteer-core');
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: executable('firefox'),
    headless: true,
    userDataDir: profile,
    protocolTimeout: 0,
  });
  const page = (await browser.pages())[0] ?? (await browser.newPage());
  page.setDefaultTimeout(0);
  return {
    version: (await browser.version()).replace('/', ' '),
    pid: browser.process().pid,
    async open(url) {
      await page.goto(url);
      await page.waitForFunction(isReady, { timeout: 30_000 });
    },
    call: (name, ...values) => page.evaluate(invoke, [name, values]),
    close: () => browser.close(),
  };
}

/** A new empty profile folder and how to remove it. */
export async function newProfile() {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'nutshell-bench-'));
  return { folder, remove: () => rm(folder, { recursive: true, force: true, maxRetries: 5 }) };
}

/** Starts `browser` ('chromium' or 'firefox') with a profile folder. */
export function openTab(browser, profile) {
  return (browser === 'firefox' ? firefoxTab : chromiumTab)(profile);
}
