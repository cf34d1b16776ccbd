// Stories of loading: flavours, no isolation, cancel and go on, tabs, local files, a model that fails beside one that answers.

import path from 'node:path';
import { copyFile, open } from 'node:fs/promises';
import { readModel } from '../broken_gguf.mjs';
import { check, equal, kModel, kModelName, until } from '../harness.mjs';
import { App } from '../page.mjs';

const kCapital = 'What is the capital of France? Answer in one sentence.';

async function noIsolation({ app, page }) {
  await app.open();
  await app.ready();
  equal(await page.evaluate(() => crossOriginIsolated), false, 'isolation');
  check(/\b1 thread\b/.test(await page.locator('#gauges').innerText()), 'the page does not say that there is one thread');
  check(/Paris/.test(await app.ask(kCapital)), 'no right answer');
}

/** Greedy tokens of each flavour; the same prompt, the served library. */
async function flavours({ app }) {
  await app.open('?load=0');
  const answers = {};
  for (const simd of ['strict', 'relaxed']) {
    for (const threads of [2, 1]) {
      const { info, tokenIds, text } = await app.library(async ({ Nutshell }, options, model) => {
        const engine = await Nutshell.load(model, options);
        const messages = [{ role: 'user', content: 'Explain in a few words why leaves are green.' }];
        let text = '';
        for await (const piece of engine.chat(messages, { temperature: 0, maxTokens: 48 })) text += piece;
        const result = { info: engine.info, tokenIds: engine.timings.tokenIds, text };
        await engine.dispose();
        return result;
      }, { simd, threads });
      equal([info.simd, info.threads, info.isolated], [simd, threads, true], 'the flavour that ran');
      check(/chlorophyll/.test(text), `${simd}, ${threads} threads: ${text}`);
      answers[`${simd} ${threads}`] = tokenIds;
    }
  }
  equal(answers['strict 2'], answers['strict 1'], 'strict with threads and without');
  equal(answers['relaxed 2'], answers['relaxed 1'], 'relaxed with threads and without');
  // Relaxed and strict round differently, so their greedy tokens may part where two are nearly equally likely.
}

/** Cancels a download early; the next try must ask for the rest only. */
async function resume({ app, page, server }) {
  await page.addInitScript(() => {
    const watch = new MutationObserver(() => {
      const bar = document.querySelector('[data-testid=progress] progress');
      if (!window.cancelled && bar?.value > 0.05 && bar.value < 0.9) {
        window.cancelled = bar.value;
        document.querySelector('[data-testid=progress] button').click();
      }
    });
    watch.observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
  });
  await app.open();
  await until(() => page.evaluate(() => window.cancelled), 'the download to be cancelled', 30_000);
  await app.state('empty');
  const part = await until(async () => {
    const sizes = Object.entries(await app.stored()).filter(([name]) => name.endsWith('.gguf'));
    return sizes[0]?.[1];
  }, 'a part on the device');
  await page.waitForTimeout(300);
  await app.hook('model-load').click();
  await app.ready();
  const ranges = server.log.filter(({ url }) => url.endsWith('.gguf')).map(({ range }) => range);
  const resumed = ranges.map((range) => Number(/^bytes=([1-9]\d*)-/.exec(range)?.[1] ?? 0)).filter(Boolean);
  check(resumed.length > 0, `the second try began at 0: ${JSON.stringify(ranges)}`);
  check(/Paris/.test(await app.ask(kCapital)), 'no right answer after the resumed download');
  return `(went on at ${(Math.max(...resumed) / 1e6).toFixed(0)} MB; ${(part / 1e6).toFixed(0)} MB were here)`;
}

async function twoTabs({ app, context, server }) {
  await app.open();
  const second = new App(await context.newPage(), server);
  await second.open(); // while the first still loads
  await app.ready();
  await second.ready();
  check(/Paris/.test(await second.ask(kCapital)), 'second tab');
  await app.page.bringToFront();
  check(/Paris/.test(await app.ask(kCapital)), 'first tab');
  equal(Object.keys(await app.stored()).filter((name) => name.endsWith('.gguf')).length, 1, 'copies on the device');
}

async function keptFile({ app, page, server, folder }) {
  const file = path.join(folder, 'my-own.gguf');
  await copyFile(kModel, file);
  await app.open('?load=0');
  await app.loadFile(file);
  await app.ready();
  check(/in memory only/.test(await app.hook('status').innerText()), 'a file that is not kept');
  equal(await app.stored(), {}, 'stored without being asked to');
  check(/Paris/.test(await app.ask(kCapital)), 'local file');
  await app.loadFile(file, true);
  await until(async () => Object.keys(await app.stored()).length > 0, 'the copy', 30_000);
  await until(async () => /works offline now/.test(await app.hook('status').innerText()), 'kept', 30_000);
  await server.stop();
  await page.goto(`${server.origin}/`);
  await app.ready();
  check((await page.locator('#model-name').innerText()).includes('my-own'), 'the kept file is not the model used');
  check(/Paris/.test(await app.ask('What is the capital of France?')), 'kept file offline');
}

async function failureBesideModel({ app, server }) {
  await app.open();
  await app.ready();
  const address = await server.put('bad.gguf', Buffer.from('GGML, not what it says it is'));
  await app.loadUrl(address);
  const { code } = await app.failure();
  equal(code, 'bad_magic', 'code');
  await app.state('ready');
  await app.openPanel();
  check((await app.page.locator('#model-name').innerText()).includes(kModelName.replace('.gguf', '')), 'the model changed');
  await app.page.keyboard.press('Escape');
  check(/Paris/.test(await app.ask(kCapital)), 'the earlier model');
}

async function otherAddress({ app, page }) {
  await app.open('?load=0');
  await app.loadUrl('https://models.example.org/some.gguf');
  const { code, text } = await app.failure();
  equal(code, 'address_not_allowed', 'code');
  check(text.includes('models.example.org') && /open/i.test(text), text);
  const chooser = page.waitForEvent('filechooser');
  await app.hook('error').getByRole('button', { name: 'Open a file' }).click();
  await (await chooser).setFiles(kModel);
  await app.ready();
  equal(await app.hook('error').count(), 0, 'errors left');
}

async function storageDenied({ app, page }) {
  await app.open();
  await app.ready();
  check(/in memory only/.test(await app.hook('status').innerText()), 'the page does not say that nothing is kept');
  check(/storage|keep/i.test((await app.hook('status').getAttribute('title')) ?? ''), 'no reason is given');
  await app.send(kCapital);
  await app.grown(5);
  await until(async () => (await app.hook('status').getAttribute('data-state')) === 'ready', 'the answer', 60_000);
  check(/Paris/.test(await app.hook('answer').last().innerText()), 'no right answer');
  equal(await page.evaluate(() => navigator.storage.getDirectory().then(() => 'given', (e) => e.name)), 'SecurityError', 'OPFS in this story');
}

/** The real model with its chat template's key misspelt, so that it is not found. */
async function withoutTemplate(file) {
  await copyFile(kModel, file);
  const { keys } = await readModel(kModel);
  const handle = await open(file, 'r+');
  await handle.write('x', keys['tokenizer.chat_template'].at + 8 + 'tokenizer.'.length);
  await handle.close();
}

async function plainCompletion({ app, folder, page }) {
  const file = path.join(folder, 'base.gguf');
  await withoutTemplate(file);
  await app.open('?load=0', { temperature: 0, maxTokens: 12 });
  await app.loadFile(file);
  await app.ready();
  equal((await app.failure()).code, 'no_chat_template', 'what the page says');
  await app.hook('error').getByRole('button', { name: 'Use plain completion' }).click();
  const text = await app.ask('The capital of France is');
  check(/Paris/.test(text), `the text goes on: ${text}`);
  check(/plain completion/.test(await app.hook('status').innerText()), 'the page does not say that it completes');
  check(/continues it/.test((await page.getByTestId('prompt').getAttribute('placeholder')) ?? ''), 'placeholder');
}

async function parameters({ app, page }) {
  await app.open('?simd=strict&threads=1&context=512');
  await app.ready();
  const title = await page.locator('#gauges').getAttribute('title');
  for (const word of ['1 thread', 'strict SIMD', '512 tokens']) check(title.includes(word), `${word}: ${title}`);
}

export const stories = [
  { name: 'without isolation: one thread, and it answers', options: { isolation: false }, work: noIsolation },
  { name: 'four flavours answer, the same with threads and without', work: flavours },
  { name: 'a cancelled download goes on where it stopped', work: resume },
  { name: 'two tabs', work: twoTabs },
  { name: 'a local file, kept on the device, offline', work: keptFile },
  { name: 'a failed load leaves the earlier model', work: failureBesideModel },
  { name: 'another address is refused with a way out', work: otherAddress },
  { name: 'storage denied: it says so and answers', options: { denyStorage: true }, work: storageDenied },
  { name: 'a file without chat template: plain completion', work: plainCompletion },
  { name: 'simd, threads and context of the address', work: parameters },
];
