// Stories of "Make it smaller" with a tiny random model: from the shelf by slider to a file that chats, cancelled, resumed
// after a closed tab, saved, offline; files that cannot be made smaller. What the tab makes is held to what the native tool
// makes of the same model and texts.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { open, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { tinyModel } from '../../scripts/support/tiny_model.mjs';
import { ggufHead } from '../gguf.mjs';
import { check, equal, kRoot, until } from '../harness.mjs';
import { watchMainThread } from '../main_thread.mjs';
import { App } from '../page.mjs';
import { kTemplate } from '../scripted_model.mjs';

const kTool = path.join(kRoot, 'build/native/nutshell');
const kTaskMs = 50; // a longer one is felt as a stutter

const line = (i) => `Sentence ${i} says that ${(i * 7919) % 1000} is not ${(i * 104729) % 997}.\n`;
const lines = (from, n) => Array.from({ length: n }, (_, i) => line(from + i)).join('');
const talk = (i) => `${JSON.stringify({ messages: [{ role: 'user', content: line(i) }, { role: 'assistant', content: line(i + 1) }] })}\n`;
const kTexts = { 'calibration.txt': lines(0, 300), 'calibration.jsonl': talk(2000) + talk(2002), 'evaluation.txt': lines(1000, 80), 'evaluation.jsonl': talk(3000) };
const kTiny = { name: 'tiny.gguf', data: tinyModel({ template: kTemplate }), default: false };
const kDeep = { name: 'deep.gguf', data: tinyModel({ template: kTemplate, layers: 8, width: 64, ff: 128 }), default: false };
const options = (model) => ({ models: [model], texts: kTexts });

/** The page with one model on its shelf, and the panel open on it. */
async function onShelf(app, page, { name }) {
  await app.open('?load=0', { temperature: 0, maxTokens: 24 });
  await app.loadUrl(`models/${name}`);
  await app.ready();
  await openSmaller(app, page, name);
}

export async function openSmaller(app, page, name) {
  await app.openPanel();
  await page.getByRole('button', { name: `Make ${name.replace(/\.gguf$/, '')} smaller` }).click();
  await app.hook('smaller-start').waitFor();
}

async function toSizes(app, ms) {
  await app.hook('smaller-start').click();
  await app.hook('smaller-slider').waitFor({ timeout: ms ?? 60_000 });
}

/** The result the page tells when it is done, as numbers and as `text`. */
export async function reportOf(app, ms = 60_000) {
  const report = app.hook('smaller-report');
  await until(async () => {
    if ((await app.hook('smaller-error').count()) > 0) check(false, await app.hook('smaller-error').innerText());
    return (await report.count()) > 0;
  }, 'the report', ms);
  const text = (await report.innerText()).replaceAll('\n', ' ');
  return { ...JSON.parse(await report.getAttribute('data-result')), text };
}

/** Size and SHA-256 of a stored model as it lies on the device. */
export function storedHash(app, url) {
  return app.library(async ({ storedFile }, address) => {
    const bytes = await (await storedFile(address)).arrayBuffer();
    const digest = [...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))];
    return { bytes: bytes.byteLength, sha256: digest.map((byte) => byte.toString(16).padStart(2, '0')).join('') };
  }, url);
}

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const begun = (app) => app.library(async ({ listCompressions }) => listCompressions());

/** Puts the slider at a place with the keyboard, as somebody without a mouse does, and gives what a screen reader says. */
async function slideTo(app, page, index) {
  const slider = page.getByRole('slider', { name: 'Size' });
  await slider.focus();
  await page.keyboard.press('Home');
  for (let i = 0; i < index; i++) await page.keyboard.press('ArrowRight');
  return slider.getAttribute('aria-valuetext');
}

/** The download of "Save as file", as bytes. Without the file dialog, which nobody is here to answer. */
export async function savedBytes(app, page) {
  const download = page.waitForEvent('download');
  await app.hook('smaller-save').click();
  const file = await download;
  return { name: file.suggestedFilename(), bytes: await readFile(await file.path()) };
}

export const noDialog = (page) => page.addInitScript(() => delete window.showSaveFilePicker);

async function fromShelfToChat({ app, page, context, folder }) {
  await noDialog(page);
  await onShelf(app, page, kTiny);
  const stop = await watchMainThread(context, page);
  await toSizes(app);
  const smallest = await slideTo(app, page, 0);
  const chosen = await slideTo(app, page, 12);
  for (const words of [smallest, chosen]) check(/\d+ kB, \d+ % of the original, .+, KL [\d.]+ nats\/token/.test(words), `the slider says “${words}”`);
  check(smallest !== chosen, 'another place of the slider is another size');
  const [, predicted] = /KL ([\d.]+)/.exec(chosen);
  await app.hook('smaller-make').click();
  await app.hook('smaller-hide').click();
  const answer = await app.ask('Is it still there?'); // the original, meanwhile
  check(answer.length > 0, 'no answer while it works');
  await app.hook('smaller-pill').click();
  const { url, meanKl, text } = await reportOf(app);
  check(text.includes('KL, measured') && !text.includes('not measured'), text);
  const { longestMs, tasks } = await stop();
  check(longestMs <= kTaskMs, `a task of the main thread took ${longestMs} ms`);
  const here = await storedHash(app, url);
  const saved = await savedBytes(app, page);
  equal([saved.bytes.length, sha256(saved.bytes)], [here.bytes, here.sha256], 'the saved file');
  check(/^tiny.*\.gguf$/.test(saved.name), saved.name);
  await app.hook('smaller-chat').click();
  await until(async () => (await page.locator('#model-name').innerText()) !== 'tiny', 'the smaller model in use');
  await app.ready();
  check((await app.ask('Are you smaller?')).length > 0, 'no answer of the smaller model');
  const native = await nativeTwin(folder, kTiny.data, here.bytes);
  equal([here.bytes, here.sha256], [native.bytes, native.sha256], "the file, against the native tool's");
  check(Math.abs(meanKl - native.mean_kl) <= 1e-6 * native.mean_kl, `KL ${meanKl}, the native tool has ${native.mean_kl}`);
  return `(${here.bytes} bytes, KL predicted ${predicted}, measured ${meanKl.toFixed(4)}, native ${native.mean_kl.toFixed(4)}; longest of ${tasks} tasks ${longestMs.toFixed(0)} ms)`;
}

/** What the native tool makes of the same model and texts at a size, by the recipe that is the tab's standard. */
async function nativeTwin(folder, data, size) {
  const at = (name) => path.join(folder, name);
  await writeFile(at('twin.gguf'), data);
  const texts = (set) => [`${set}.txt`, `${set}.jsonl`].flatMap((name) => [`--${set}`, at(`root/calibration/${name}`)]);
  const { stdout } = await promisify(execFile)(kTool, ['compress', at('twin.gguf'), '-o', at('twin-small.gguf'), '--size', String(size), ...texts('calibration'), ...texts('evaluation'), '--windows', '8', '--held-out', '8', '--json']);
  return { ...JSON.parse(stdout), sha256: sha256(await readFile(at('twin-small.gguf'))) };
}

async function cancelled({ app, page }) {
  await onShelf(app, page, kDeep);
  await app.hook('smaller-start').click();
  await app.hook('smaller-cancel').click();
  await until(async () => (await begun(app)).length === 0, 'what was worked out to go');
  equal((await app.library(async ({ listModels }) => listModels())).length, 1, 'models on the device');
  await page.reload();
  await app.hook('smaller-open').waitFor();
  equal(await app.hook('smaller-unfinished').count(), 0, 'notices of unfinished work');
}

/** Paused, the tab closed, resumed in another: the same bytes as without. */
async function resumed({ app, page, context, server }) {
  await onShelf(app, page, kDeep);
  await toSizes(app);
  await slideTo(app, page, 8);
  await app.hook('smaller-make').click();
  const whole = await reportOf(app);
  const wanted = await storedHash(app, whole.url);
  await app.library(async ({ deleteModel }, url) => deleteModel(url), whole.url);
  await app.hook('smaller-close').click();
  await until(async () => (await begun(app)).length === 0, 'what was worked out to go');

  await openSmaller(app, page, kDeep.name);
  await toSizes(app);
  await slideTo(app, page, 8);
  await app.hook('smaller-make').click();
  await until(async () => /\b[1-9]\d? %/.test(await app.hook('smaller-numbers').innerText()), 'progress', 30_000);
  await app.hook('smaller-pause').click();
  equal(await app.hook('smaller-pause').innerText(), 'Resume', 'the button of what is paused');
  await page.close();

  const next = new App(await context.newPage(), server);
  await next.open('?load=0');
  const notice = next.hook('smaller-unfinished');
  await notice.waitFor();
  check(/deep at [\d.]+ [kM]B: \d+ % done/.test(await notice.innerText()), await notice.innerText());
  await next.hook('smaller-resume').click();
  const { url } = await reportOf(next);
  equal(await storedHash(next, url), wanted, 'the file that was made in two parts');
}

/** From the result back to the sizes, twice. */
async function anotherSize({ app, page }) {
  await onShelf(app, page, kTiny);
  await toSizes(app);
  const made = [];
  for (const index of [4, 16, 8]) {
    if (made.length) await app.hook('smaller-another').click();
    await slideTo(app, page, index);
    await app.hook('smaller-make').click();
    made.push(await reportOf(app));
  }
  check(made[0].bytes < made[2].bytes && made[2].bytes < made[1].bytes, `sizes: ${made.map(({ bytes }) => bytes)}`);
  check(made[0].meanKl > made[2].meanKl && made[2].meanKl > made[1].meanKl, `divergences: ${made.map(({ meanKl }) => meanKl)}`);
  equal((await storedHash(app, made[2].url)).bytes, made[2].bytes, 'bytes on the device');
}

/** With the browser's file dialog: the bytes go to the place that was chosen. */
async function savedByDialog({ app, page }) {
  await page.addInitScript(() => {
    window.showSaveFilePicker = async ({ suggestedName }) => (await navigator.storage.getDirectory()).getFileHandle(`chosen-${suggestedName}`, { create: true });
  });
  await onShelf(app, page, kTiny);
  await toSizes(app);
  await app.hook('smaller-make').click();
  const { url } = await reportOf(app);
  const { bytes } = await storedHash(app, url);
  await app.hook('smaller-save').click();
  await page.getByText('Saved.').waitFor();
  const chosen = await page.evaluate(async () => {
    for await (const [name, handle] of (await navigator.storage.getDirectory()).entries()) if (name.startsWith('chosen-')) return [name, (await handle.getFile()).size];
    return null;
  });
  equal([/^chosen-tiny.*\.gguf$/.test(chosen?.[0]), chosen?.[1]], [true, bytes], 'the file at the chosen place');
}

async function keyboard({ app, page }) {
  await onShelf(app, page, kTiny);
  const dialog = page.getByRole('dialog', { name: 'Make it smaller' });
  await dialog.waitFor();
  const focused = () => page.evaluate(() => document.activeElement?.id || document.activeElement?.dataset.testid);
  equal(await focused(), 'smaller-start', 'the focus when the plan is there');
  await page.keyboard.press('Escape');
  equal(await dialog.count(), 0, 'panels after Escape');
  equal(await focused(), 'model-picker', 'the focus after Escape');
  await openSmaller(app, page, kTiny.name);
  await page.keyboard.press('Enter');
  await app.hook('smaller-slider').waitFor();
  equal(await focused(), 'smaller-slider', 'the focus when the sizes are there');
  const said = await page.locator('#live').innerText();
  check(said.includes('Choose a size'), `what is read out: ${said}`);
  await page.keyboard.press('Escape');
  equal(await focused(), 'smaller-pill', 'the focus goes to the button that brings the panel back');
  await page.keyboard.press('Enter');
  await app.hook('smaller-slider').waitFor();
}

async function offline({ app, page, server }) {
  await app.open('?load=0');
  await app.loadUrl(`models/${kTiny.name}`);
  await app.ready();
  await until(async () => (await app.hook('status').innerText()).includes('works offline now'), 'offline words', 30_000);
  const held = () => page.evaluate(async () => {
    const urls = [];
    for (const name of await caches.keys()) urls.push(...(await (await caches.open(name)).keys()).map(({ url }) => new URL(url).pathname));
    return urls;
  });
  equal((await held()).filter((url) => /compress|smaller|calibration/.test(url)), [], 'kept before it was used');
  await openSmaller(app, page, kTiny.name);
  await toSizes(app);
  await app.hook('smaller-make').click();
  const first = await storedHash(app, (await reportOf(app)).url);
  await app.hook('smaller-close').click();
  await server.stop();
  await page.reload();
  await openSmaller(app, page, kTiny.name);
  await toSizes(app);
  await app.hook('smaller-make').click();
  equal(await storedHash(app, (await reportOf(app)).url), first, 'what is made offline');
}

async function offlineTooEarly({ app, page, server }) {
  await app.open('?load=0');
  await page.evaluate(() => navigator.serviceWorker.ready.then(() => null));
  await server.stop();
  await page.reload();
  await app.hook('smaller-open').click();
  const { code, text } = await app.failure();
  equal(code, 'network', `what it says: ${text}`);
  check(/fetched when it is first wanted/.test(text), text);
  await server.start();
  await app.hook('smaller-open').click();
  await app.hook('smaller').waitFor();
}

/** A model of 80 layers whose weights are holes: nothing reads them before it is refused. */
async function writeHuge(file, tokens) {
  const [layers, width, ff] = [80, 16384, 57344];
  const tensors = [{ name: 'token_embd.weight', shape: [tokens.length, width] }, { name: 'output_norm.weight', shape: [width] }];
  for (let i = 0; i < layers; i++) {
    for (const norm of ['attn_norm', 'ffn_norm']) tensors.push({ name: `blk.${i}.${norm}.weight`, shape: [width] });
    for (const part of ['q', 'k', 'v', 'output']) tensors.push({ name: `blk.${i}.attn_${part}.weight`, shape: [width, width] });
    for (const part of ['gate', 'up']) tensors.push({ name: `blk.${i}.ffn_${part}.weight`, shape: [ff, width] });
    tensors.push({ name: `blk.${i}.ffn_down.weight`, shape: [width, ff] });
  }
  const { head, size } = ggufHead({
    'general.architecture': ['text', 'llama'], 'llama.block_count': ['u32', layers], 'llama.embedding_length': ['u32', width],
    'llama.feed_forward_length': ['u32', ff], 'llama.context_length': ['u32', 4096], 'llama.attention.head_count': ['u32', 128],
    'llama.attention.layer_norm_rms_epsilon': ['f32', 1e-5], 'tokenizer.ggml.model': ['text', 'gpt2'], 'tokenizer.ggml.pre': ['text', 'smollm'],
    'tokenizer.ggml.tokens': ['text', tokens], 'tokenizer.ggml.token_type': ['i32', tokens.map(() => 1)], 'tokenizer.ggml.merges': ['text', []],
  }, tensors);
  const handle = await open(file, 'w');
  await handle.write(head);
  await handle.truncate(size);
  await handle.close();
}

async function refused({ app, page, folder }) {
  await app.open('?load=0');
  const at = (name) => path.join(folder, name);
  await writeFile(at('broken.gguf'), kTiny.data.subarray(0, kTiny.data.length >> 1));
  await writeFile(at('text.gguf'), 'This is no model at all, only a text that is called like one.');
  await writeFile(at('unknown.gguf'), tinyModel({ architecture: 'walnut' }));
  await writeHuge(at('huge.gguf'), Array.from({ length: 300 }, (_, i) => `token${i}`));
  await promisify(execFile)(kTool, ['compress', path.join(folder, kTiny.name), '-o', at('small.gguf'), '--bits', '6', '--data-free', '--held-out', '0', '--json']);
  const wanted = {
    broken: [['truncated'], /ends|cut/],
    text: [['bad_magic'], /GGUF/],
    unknown: [['unsupported_architecture'], /walnut/],
    huge: [['out_of_memory', 'quota'], /\d.*(GB|MB|bytes)/],
    small: [['already_compressed'], /already/],
  };
  await app.hook('smaller-open').click();
  const said = [];
  for (const [name, [codes, words]] of Object.entries(wanted)) {
    await app.hook('smaller-file').setInputFiles(at(`${name}.gguf`));
    const error = app.hook('smaller-error');
    await error.waitFor();
    const [code, text] = [await error.getAttribute('data-code'), await error.innerText()];
    check(codes.includes(code), `${name}: ${code}, expected ${codes}: ${text}`);
    check(words.test(text), `${name}: ${text}`);
    said.push(text.replaceAll('\n', ' '));
    await error.getByRole('button', { name: 'Another model' }).click();
    await until(async () => (await error.count()) === 0, 'the message to go');
  }
  equal(new Set(said).size, said.length, 'different messages');
  equal(await app.stored(), {}, 'what is stored');
  equal(await begun(app), [], 'what was begun');
  if (process.env.NUTSHELL_SHOW) for (const text of said) console.log(`        ${text}`);
}

/** A file from outside: dropped on the panel, kept on the device, made smaller there. */
async function dropped({ app, page }) {
  await app.open('?load=0');
  await app.hook('smaller-open').click();
  const data = await page.evaluateHandle((bytes) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], 'walnut.gguf'));
    return transfer;
  }, kTiny.data.toString('base64'));
  await app.hook('smaller').dispatchEvent('drop', { dataTransfer: data });
  await app.hook('smaller-start').waitFor();
  equal(await app.hook('status').getAttribute('data-state'), 'empty', 'it is not loaded for the chat');
  await toSizes(app);
  await app.hook('smaller-make').click();
  const { url } = await reportOf(app);
  const models = await app.library(async ({ listModels }) => listModels());
  equal(models.map((model) => model.url).sort(), ['stored:walnut.gguf', url].sort(), 'models on the device');
  await app.hook('smaller-chat').click();
  await app.ready();
}

export const stories = [
  { name: 'smaller: from the shelf by slider to a saved file that chats, as the native tool makes it', options: options(kTiny), work: fromShelfToChat },
  { name: 'smaller: cancelled, nothing stays', options: options(kDeep), work: cancelled },
  { name: 'smaller: resumed after a closed tab', options: options(kDeep), work: resumed },
  { name: 'smaller: another size, and one more', options: options(kTiny), work: anotherSize },
  { name: 'smaller: saved where the file dialog says', options: options(kTiny), work: savedByDialog },
  { name: 'smaller: with the keyboard, and what is read out', options: options(kTiny), work: keyboard },
  { name: 'smaller: offline after its first use', options: options(kTiny), work: offline },
  { name: 'smaller: wanted offline before it was ever there', work: offlineTooEarly },
  { name: 'smaller: files that cannot be made smaller', options: options(kTiny), work: refused },
  { name: 'smaller: a dropped file', options: options(kTiny), work: dropped },
];
