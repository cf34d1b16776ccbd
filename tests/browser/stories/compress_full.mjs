// The real one, under scripts/test --full only: SmolLM2 made smaller in the tab at three sizes, from the shelf with the
// slider; the tab closed while it measures; predicted against measured divergence, the middle size, saved as a file, against
// the native tool's; time, memory and the longest main-thread task go to build/logs/compress-tab.json.

import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { browserProcess, watchMemory } from '../../../scripts/bench/src/processes.mjs';
import { check, equal, kModel, kModelName, kRoot, until } from '../harness.mjs';
import { App } from '../page.mjs';
import { noDialog, openSmaller, reportOf, savedBytes, storedHash } from './compress.mjs';

const kMinute = 60_000;
const kSizes = [44e6, 53e6, 64e6]; // the slider's nearest are taken
const kMiddle = 1;
const kPredictionOff = 0.25;

/** Every place of the slider: {bytes (to a MB), kl}, as a screen reader is told them. */
async function sizes(page) {
  const slider = page.getByRole('slider', { name: 'Size' });
  const found = [];
  await slider.focus();
  await page.keyboard.press('Home');
  for (let i = 0; i <= Number(await slider.getAttribute('max')); i++) {
    const text = await slider.getAttribute('aria-valuetext');
    found.push({ bytes: 1e6 * Number(/^(\d+) MB/.exec(text)[1]), kl: Number(/KL ([\d.]+)/.exec(text)[1]) });
    await page.keyboard.press('ArrowRight');
  }
  return found;
}

/** Main-thread tasks over 50 ms since the last call, in ms. What the story itself does to the page is taken and thrown away. */
const takeLongTasks = (page) => page.evaluate(() => window.longTasks.splice(0));

async function makeSize(app, page, places, wanted) {
  const off = ({ bytes }) => Math.abs(bytes - wanted);
  const index = places.reduce((best, place, i) => (off(place) < off(places[best]) ? i : best), 0);
  await page.keyboard.press('Home');
  for (let i = 0; i < index; i++) await page.keyboard.press('ArrowRight');
  await takeLongTasks(page);
  await app.hook('smaller-make').click();
  const { text, ...result } = await reportOf(app, 60 * kMinute);
  console.log(`        ${text}`);
  const longTasks = await takeLongTasks(page);
  equal((await storedHash(app, result.url)).bytes, result.bytes, 'bytes on the device');
  return { ...result, longTasks };
}

const runTool = async (server, args) => {
  const env = { ...process.env, NUTSHELL_CALIBRATION: path.join(server.root, 'calibration') };
  return JSON.parse((await promisify(execFile)(path.join(kRoot, 'build/native/nutshell'), [...args, '--json'], { env })).stdout);
};

async function watched(page) {
  await noDialog(page);
  await page.addInitScript(() => {
    window.longTasks = [];
    new PerformanceObserver((list) => window.longTasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: 'longtask' });
  });
}

/** What the page says of the measuring, in %; null while it says something else. */
async function measuredShare(app) {
  const [, percent] = /Measuring[^]*?([\d.]+) %/.exec(await app.hook('smaller').innerText()) ?? [];
  return percent === undefined ? null : Number(percent);
}

/** Names of the files that compressions have on the device: encoded, and of those being written with an end of their own. */
const entries = (page) => page.evaluate(async () => {
  const names = [];
  const top = await (await navigator.storage.getDirectory()).getDirectoryHandle('nutshell-compress');
  for await (const folder of top.values()) for await (const name of folder.keys()) names.push(name);
  return names;
});

/** Measures until something of it is kept, and closes the tab; how much that was, in %. */
async function closeWhileMeasuring(app, page) {
  await watched(page);
  await app.open('?load=0');
  await app.loadUrl(`models/${kModelName}`);
  await app.ready();
  await openSmaller(app, page, kModelName);
  await takeLongTasks(page);
  await app.hook('smaller-start').click();
  let before = null, kept = null;
  await until(async () => {
    [before, kept] = [kept, await measuredShare(app)]; // the number may be newer than the entries
    return (await entries(page)).includes('analysis');
  }, 'something to be kept', 60 * kMinute);
  const longTasks = await takeLongTasks(page);
  await page.close();
  return { kept: before, longTasks };
}

async function smolLm({ app: firstApp, page: firstPage, context, profile, server }) {
  const memory = watchMemory(browserProcess(profile));
  const start = performance.now();
  const { kept, longTasks } = await closeWhileMeasuring(firstApp, firstPage);
  const page = await context.newPage();
  const app = new App(page, server);
  await watched(page);
  await app.open('?load=0');
  const notice = app.hook('smaller-unfinished');
  await notice.waitFor();
  check(/measuring, \d+ % done/.test(await notice.innerText()), await notice.innerText());
  await app.hook('smaller-resume').click();
  await takeLongTasks(page);
  await until(async () => (await measuredShare(app)) !== null, 'the measuring to go on', kMinute);
  const goneOn = await measuredShare(app);
  check(goneOn >= kept && kept > 0, `the measuring went on at ${goneOn} %; kept: ${kept} %`);
  await app.hook('smaller-slider').waitFor({ timeout: 60 * kMinute });
  const measuring = (performance.now() - start) / 1000;
  longTasks.push(...(await takeLongTasks(page)));
  check(!(await entries(page)).some((name) => name.startsWith('inputs%20')), 'what only measuring needs is deleted');
  const places = await sizes(page);
  const made = [];
  for (const wanted of kSizes) {
    if (made.length) await app.hook('smaller-another').click();
    await app.hook('smaller-slider').focus();
    made.push(await makeSize(app, page, places, wanted));
    if (wanted === kSizes[kMiddle]) await writeFile(path.join(profile, 'tab.gguf'), (await savedBytes(app, page)).bytes);
  }
  longTasks.push(...made.flatMap((result) => result.longTasks));
  const peak = memory.stop();
  await app.hook('smaller-chat').click();
  await app.ready();
  const answer = await app.ask('What is the capital of France? Answer in one sentence.');
  const middle = made[kMiddle];
  const [tab, twin] = ['tab.gguf', 'native.gguf'].map((name) => path.join(profile, name));
  const native = await runTool(server, ['compress', kModel, '-o', twin, '--size', String(middle.bytes), '--windows', '8', '--held-out', '8']);
  const record = { measuringSeconds: measuring, closedAt: [kept, goneOn], made, longTasks, peakBytes: peak, native, answer };
  await mkdir(path.join(kRoot, 'build/logs'), { recursive: true });
  await writeFile(path.join(kRoot, 'build/logs/compress-tab.json'), JSON.stringify(record, null, 1));
  for (const { bytes, predictedKl, meanKl } of made)
    check(Math.abs(predictedKl - meanKl) <= kPredictionOff * meanKl, `${bytes} bytes: predicted KL ${predictedKl}, measured ${meanKl}`);
  equal(middle.bytes, native.bytes, 'the size, against the native tool');
  check((await readFile(tab)).equals(await readFile(twin)), "the bytes, against the native tool's");
  equal(middle.meanKl.toFixed(9), native.mean_kl.toFixed(9), "the KL divergence, against the native tool's");
  check(longTasks.length === 0, `main-thread tasks over 50 ms: ${longTasks.join(', ')}`);
  check(/Paris/.test(answer), `the answer of the ${made.at(-1).bytes} bytes: ${answer}`);
  const each = made.map(({ bytes, predictedKl, meanKl, seconds }) => `${(bytes / 1e6).toFixed(1)} MB: KL ${predictedKl.toFixed(3)} predicted, ${meanKl.toFixed(3)} measured, ${seconds.toFixed(0)} s`);
  return `(${each.join('; ')}; the middle one is the native tool's byte for byte; peak of the tab ${(peak / 1e6).toFixed(0)} MB; no task over 50 ms)`;
}

export const stories = [{ name: 'smaller: SmolLM2 at three sizes', ms: 180 * kMinute, work: smolLm }];
