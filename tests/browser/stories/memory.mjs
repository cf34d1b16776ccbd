// Stories of memory: a model that is disposed gives everything back.

import { readFile } from 'node:fs/promises';
import { check, until } from '../harness.mjs';

const kCycles = 20;
const kBase = 3; // by then every cache of the browser has been filled once

/** RssAnon + RssShmem of a process in bytes. */
async function residentBytes(pid) {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const field = (name) => 1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0);
  return field('RssAnon') + field('RssShmem');
}

/** The renderer of the only tab: of all renderers the one that holds the most. */
async function rendererPid(context, page) {
  const session = await context.browser()?.newBrowserCDPSession().catch(() => null);
  const cdp = session ?? (await context.newCDPSession(page));
  const { processInfo } = await cdp.send('SystemInfo.getProcessInfo');
  const renderers = processInfo.filter(({ type }) => type === 'renderer').map(({ id }) => id);
  const sizes = await Promise.all(renderers.map((id) => residentBytes(id).catch(() => 0)));
  return renderers[sizes.indexOf(Math.max(...sizes))];
}

async function loadAndDispose({ app, page, context }) {
  await app.open('?load=0');
  const cdp = await context.newCDPSession(page);
  let pid = 0;
  const sizes = [];
  for (let cycle = 1; cycle <= kCycles; cycle++) {
    await app.library(async ({ Nutshell }, _, model) => {
      window.engine = await Nutshell.load(model);
      for await (const _piece of window.engine.generate('The sky is', { maxTokens: 4, temperature: 0 }));
    });
    pid ||= await rendererPid(context, page); // while it holds the model it is the largest
    await app.library(async () => {
      await window.engine.dispose();
      window.engine = null;
    });
    await cdp.send('HeapProfiler.collectGarbage');
    await page.waitForTimeout(250);
    sizes.push(await residentBytes(pid));
  }
  await until(() => page.workers().length === 0, 'all workers to end', 5000).catch((error) => check(false, `${error.message}: ${page.workers().map((w) => w.url())}`));
  const [base, last] = [sizes[kBase - 1], sizes[kCycles - 1]];
  const numbers = `(${(base / 1e6).toFixed(0)} MB after cycle ${kBase}, ${(last / 1e6).toFixed(0)} MB after cycle ${kCycles})`;
  check(last <= 1.1 * base, `memory grows: ${numbers} ${sizes.map((s) => Math.round(s / 1e6))}`);
  return numbers;
}

export const stories = [{ name: '20 loads and disposals leave nothing behind', work: loadAndDispose }];
