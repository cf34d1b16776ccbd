// Stories of what a model may be loaded from: a split GGUF by addresses and by files, a Hugging Face folder by addresses, by
// the page's folder input and by a directory handle. The model's answer is known (scripted_model.mjs), so that every weight
// and token must have come to its place.

import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { check, equal, until } from '../harness.mjs';
import { scriptedModel } from '../scripted_model.mjs';

const kScript = ['Walnuts', ' grow', ' on', ' trees', ', naïvely', ' speaking', '. 🌰'];
const kAnswer = kScript.join('');
const kQuestion = [{ role: 'user', content: 'Where do walnuts grow?' }];

/** Writes `files` (name -> bytes or text) into a new folder and gives its path. */
async function folderOf(parent, name, files) {
  const folder = path.join(parent, name);
  await mkdir(folder, { recursive: true });
  for (const [file, bytes] of Object.entries(files)) await writeFile(path.join(folder, file), bytes);
  return folder;
}

function splitFiles(stem, n) {
  const number = (value) => String(value).padStart(5, '0');
  return Object.fromEntries(scriptedModel(kScript).parts(n).map((bytes, i) => [`${stem}-${number(i + 1)}-of-${number(n)}.gguf`, bytes]));
}

/** Loads in the page from addresses relative to it; the answer and what the engine says of the model. */
function answerFrom(app, addresses) {
  return app.library(async ({ Nutshell }, { addresses, messages }) => {
    const urls = addresses.map((address) => new URL(address, document.baseURI).href);
    const engine = await Nutshell.load(urls.length === 1 ? urls[0] : urls);
    let text = '';
    for await (const piece of engine.chat(messages, { temperature: 0 })) text += piece;
    const { model, stored } = engine.info;
    await engine.dispose();
    return { text, stored, url: model.url, bytes: model.bytes };
  }, { addresses, messages: kQuestion });
}

async function splitByAddresses({ app, server }) {
  await app.open('?load=0');
  const addresses = [];
  const files = Object.entries(splitFiles('walnut', 3));
  for (const [name, bytes] of files) addresses.push(await server.put(name, bytes));
  // In any order, as a list; then the first alone, which names the others.
  const listed = await answerFrom(app, [addresses[2], addresses[0], addresses[1]]);
  equal([listed.text, listed.stored], [kAnswer, true], 'three addresses');
  equal(listed.bytes, files.reduce((sum, [, bytes]) => sum + bytes.length, 0), 'bytes of the model');
  equal(Object.keys(await app.stored()).filter((name) => name.endsWith('.gguf')).length, 3, 'files on the device');
  equal((await answerFrom(app, [addresses[0]])).text, kAnswer, 'the first address alone');
  await app.loadUrl(addresses[0]);
  await app.ready();
  await until(async () => (await app.hook('status').innerText()).includes('works offline now'), 'offline words');
  equal((await app.ask('Where do walnuts grow?')).trim(), kAnswer, 'in the page');
  await server.stop();
  equal((await answerFrom(app, [listed.url])).text, kAnswer, 'from the device, by the address the engine told');
}

async function splitByFiles({ app, folder }) {
  const where = await folderOf(folder, 'split', splitFiles('nut', 2));
  await app.open('?load=0');
  await app.loadFile(['nut-00002-of-00002.gguf', 'nut-00001-of-00002.gguf'].map((name) => path.join(where, name)));
  await app.ready();
  equal((await app.ask('Where?')).trim(), kAnswer, 'the answer');
}

async function splitWithoutOne({ app, server }) {
  await app.open('?load=0');
  const [first] = Object.entries(splitFiles('half', 2));
  await app.loadUrl(await server.put(...first));
  const { code, text } = await app.failure();
  equal(code, 'not_found', text);
  check(text.includes('half-00002-of-00002.gguf'), text);
}

async function folderByInput({ app, page, folder, server }) {
  const where = await folderOf(folder, 'walnut-hf', { ...scriptedModel(kScript).folder(), 'README.md': '# not read' });
  await app.open('?load=0');
  await app.openPanel();
  await page.getByLabel(/keep a copy/i).check();
  await app.hook('model-folder').setInputFiles(where);
  await app.ready();
  equal(await page.locator('#model-name').innerText(), 'walnut-hf', 'the name');
  equal((await app.ask('Where do walnuts grow?')).trim(), kAnswer, 'the answer');
  await until(async () => (await app.hook('status').innerText()).includes('works offline now'), 'offline words');
  await server.stop();
  await page.goto(`${server.origin}/`);
  await app.ready();
  await app.hook('new-chat').click();
  equal((await app.ask('Where do walnuts grow?')).trim(), kAnswer, 'the kept folder, offline');
}

async function folderByHandle({ app }) {
  await app.open('?load=0');
  const files = Object.entries(scriptedModel(kScript).folder()).map(([name, bytes]) => [name, Buffer.from(bytes).toString('base64')]);
  const text = await app.library(async ({ Nutshell }, { files, messages }) => {
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('my-model', { create: true });
    for (const [name, base64] of [...files, ['notes.pdf', '']]) {
      const writable = await (await folder.getFileHandle(name, { create: true })).createWritable();
      await writable.write(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)));
      await writable.close();
    }
    const engine = await Nutshell.load(folder);
    let text = '';
    for await (const piece of engine.chat(messages, { temperature: 0 })) text += piece;
    await engine.dispose();
    return text;
  }, { files, messages: kQuestion });
  equal(text, kAnswer, 'the answer');
}

async function folderByAddresses({ app, server }) {
  await app.open('?load=0');
  const addresses = [];
  for (const [name, bytes] of Object.entries(scriptedModel(kScript).folder())) addresses.push(await server.put(name, bytes));
  const { text, stored } = await answerFrom(app, addresses);
  equal([text, stored], [kAnswer, true], 'the answer');
}

export const stories = [
  { name: 'a split model by its addresses, and offline', work: splitByAddresses },
  { name: 'a split model by its files', work: splitByFiles },
  { name: 'a split model that lacks a part', work: splitWithoutOne },
  { name: 'a Hugging Face folder by the folder input, kept, offline', work: folderByInput },
  { name: 'a Hugging Face folder by a directory handle', work: folderByHandle },
  { name: 'a Hugging Face folder by addresses', work: folderByAddresses },
];
