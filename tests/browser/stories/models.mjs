// Stories of the larger real models, under scripts/test --full only: each follows llama.cpp's greedy tokens (the goldens of
// scripts/golden/make_logits.py) by forced decoding, and Qwen's tab stays within its memory.

import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { browserProcess, watchMemory } from '../../../scripts/bench/src/processes.mjs';
import { check, equal } from '../harness.mjs';

const kGoldens = fileURLToPath(new URL('../../golden/logits/', import.meta.url));
const golden = async (name) => JSON.parse(await readFile(path.join(kGoldens, `${name}.json`), 'utf8'));

/** A model of scripts/model as the server lists it. The path comes from scripts/test. */
function served(name) {
  const file = process.env[`NUTSHELL_MODEL_${name.toUpperCase().replace('-', '_')}`] ?? '';
  return { name: path.basename(file), path: file };
}
const kGemma = served('gemma3');
const kQwen = served('qwen-coder');

/**
 * In the page: the model's own choice after every forced token of each prompt. It runs on alone while it says what is forced,
 * and is put back on the way where it does not.
 */
async function followed({ Nutshell }, { name, prompts, options }) {
  const engine = await Nutshell.load(new URL(`models/${name}`, document.baseURI), options);
  const choices = [];
  for (const { text, tokens, greedy } of prompts) {
    const ids = await engine.tokenize(text);
    const own = [];
    while (own.length < greedy.length) {
      const prompt = [...tokens, ...greedy.slice(0, own.length)];
      for await (const _piece of engine.generate(prompt, { temperature: 0, ignoreEnd: true, maxTokens: greedy.length - own.length }));
      for (const id of engine.timings.tokenIds) {
        own.push(id);
        if (id !== greedy[own.length - 1]) break;
      }
    }
    choices.push({ ids, own });
  }
  const { info } = engine;
  await engine.dispose();
  return { info, choices };
}

/** Follows `prompts` of the golden and compares; gives how often another token came first. */
async function follow(app, model, { head, prompts }, options) {
  const { info, choices } = await app.library(followed, { name: model.name, prompts: prompts.map(({ text, tokens, greedy }) => ({ text, tokens, greedy })), options });
  equal([info.simd, info.stored], [options.simd, true], 'the flavour, and that it is on the device');
  let flips = 0;
  for (const [i, { name, tokens, q8 }] of prompts.entries()) {
    const { ids, own } = choices[i];
    equal(tokens.slice(tokens.length - ids.length), ids, `tokens of “${name}”`); // a BOS may stand before them
    check(tokens.length - ids.length <= 1, `tokens of “${name}”`);
    own.forEach((id, step) => {
      if (id === q8.top1[step]) return;
      flips++;
      check(q8.gap[step] < head.tolerance.q8.top1_gap, `“${name}”, step ${step}: ${id}, llama.cpp has ${q8.top1[step]} by ${q8.gap[step]}`);
    });
  }
  check(flips <= head.tolerance.q8.most_flips, `another token is first ${flips} times, allowed are ${head.tolerance.q8.most_flips}`);
  return `${options.simd}: ${flips} of ${prompts.length * 64} differ`;
}

async function gemma({ app }) {
  const data = await golden('gemma3');
  await app.open('?load=0');
  const notes = [];
  for (const simd of ['relaxed', 'strict']) notes.push(await follow(app, kGemma, data, { simd }));
  return `(${notes.join('; ')})`;
}

async function qwen({ app }) {
  const data = await golden('qwen-coder');
  await app.open('?load=0');
  const all = await follow(app, kQwen, data, { simd: 'relaxed' });
  const some = await follow(app, kQwen, { ...data, prompts: data.prompts.slice(0, 2) }, { simd: 'strict' });
  return `(${all}; ${some})`;
}

// Qwen2.5-Coder-1.5B: 28 layers with 2 key/value heads of 128 values each, two bytes per value.
const kKvBytesPerToken = 28 * 2 * 2 * 128 * 2;
const kMoreBytes = 250e6;

/** Fetched, loaded and answering as a user has it. */
async function qwenMemory({ app, page, profile }) {
  const memory = watchMemory(browserProcess(profile));
  await app.open('?load=0', { temperature: 0, maxTokens: 48 });
  await app.loadUrl(`models/${kQwen.name}`);
  await app.ready(240_000);
  const answer = await app.ask('Write a Python function add(a, b) that returns the sum. Only the code.');
  check(/def add\(a, b\):\s+return a \+ b/.test(answer), `the answer: ${answer}`);
  const peak = memory.stop();
  const tokens = Number(/([\d,]+) tokens/.exec(await page.locator('#gauges').getAttribute('title'))[1].replace(',', ''));
  const { size } = await stat(kQwen.path);
  const allowed = size + tokens * kKvBytesPerToken + kMoreBytes;
  const numbers = `(peak ${(peak / 1e6).toFixed(0)} MB; model ${(size / 1e6).toFixed(0)} MB, ${tokens} tokens of context ${((tokens * kKvBytesPerToken) / 1e6).toFixed(0)} MB, allowed ${(allowed / 1e6).toFixed(0)} MB)`;
  check(peak < allowed, `too much memory ${numbers}`);
  return numbers;
}

export const stories = [
  { name: 'Gemma 3 270M follows llama.cpp', options: { models: [kGemma] }, ms: 400_000, work: gemma },
  { name: 'Qwen2.5-Coder 1.5B follows llama.cpp', options: { models: [kQwen] }, ms: 900_000, work: qwen },
  { name: 'Qwen2.5-Coder 1.5B: memory of the tab', options: { models: [kQwen] }, ms: 400_000, work: qwenMemory },
];
