// Stories without a network: the server is stopped, the page reloaded.

import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { check, equal, until } from '../harness.mjs';

const kCapital = 'What is the capital of France? Answer in one sentence.';

async function offlineWords(app) {
  await until(async () => (await app.hook('status').innerText()).includes('works offline now'), 'offline words', 30_000);
}

async function reloadOffline({ app, page, server }) {
  await app.open();
  await app.ready();
  await offlineWords(app);
  const online = await app.ask(kCapital);
  await app.hook('new-chat').click();
  await server.stop();
  await page.reload();
  await app.ready();
  await offlineWords(app);
  equal(await page.evaluate(() => crossOriginIsolated), true, 'isolation offline');
  check(!/\b1 thread\b/.test(await page.locator('#gauges').innerText()), 'threads are lost offline');
  equal(await app.ask(kCapital), online, 'the greedy answer offline');
  await app.openPanel();
  check((await page.locator('.offers').innerText()).includes('in use'), 'the panel does not show the model on this device');
}

async function notIsolatedOffline({ app, page, server }) {
  await app.open();
  await app.ready();
  await offlineWords(app);
  await server.stop();
  await page.reload();
  await app.ready();
  check(/Paris/.test(await app.ask(kCapital)), 'no right answer');
}

/** The worker keeps the page only; models stay out of its caches. */
async function cachesHoldTheShell({ app, page }) {
  await app.open();
  await app.ready();
  await offlineWords(app);
  const held = await page.evaluate(async () => {
    const urls = [];
    for (const name of await caches.keys()) urls.push(...(await (await caches.open(name)).keys()).map((r) => new URL(r.url).pathname));
    return urls;
  });
  equal(held.filter((url) => url.endsWith('.gguf')), [], 'models in the caches');
  for (const flavour of ['strict-st', 'strict-mt', 'relaxed-st', 'relaxed-mt'])
    check(held.some((url) => url.includes(`nutshell-${flavour}.wasm`)), `${flavour} is not kept: ${held}`);
  const installable = await page.evaluate(async () => (await fetch(document.querySelector('link[rel=manifest]').href)).json());
  for (const { src } of installable.icons) equal(await page.evaluate(async (url) => (await fetch(url)).status, src), 200, src);
}

/** A new build is offered, not forced; once taken, the old cache is gone and the page still opens offline. */
async function newVersion({ app, page, server }) {
  await app.open();
  await app.ready();
  await offlineWords(app);
  const caches = () => page.evaluate(() => window.caches.keys());
  const before = (await caches()).find((name) => name.includes('shell'));
  const [sw, html] = ['sw.js', 'index.html'].map((name) => path.join(server.root, name));
  await writeFile(sw, (await readFile(sw, 'utf8')).replace(before.split('-').at(-1), 'f00d'));
  await writeFile(html, (await readFile(html, 'utf8')).replace('<title>Nutshell', '<title>New Nutshell'));
  await page.reload();
  equal(await page.title(), 'Nutshell', 'the page of the old build until the new one is complete');
  await app.ready();
  await page.getByRole('button', { name: /new version/ }).click();
  await until(async () => (await page.title().catch(() => '')) === 'New Nutshell', 'the new page', 20_000);
  await app.ready();
  await until(async () => !(await caches()).includes(before), 'the old cache to go');
  await server.stop();
  await page.reload();
  equal(await page.title(), 'New Nutshell', 'the page offline');
  await app.ready();
}

export const stories = [
  { name: 'offline: server stopped, page reloaded, it answers', work: reloadOffline },
  { name: 'offline without isolation', options: { isolation: false }, work: notIsolatedOffline },
  { name: 'offline caches hold the shell and no model', work: cachesHoldTheShell },
  { name: 'offline: a new version is offered and taken', work: newVersion },
];
