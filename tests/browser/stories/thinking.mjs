// Stories of thinking models in the page: the reasoning is folded away above the answer and kept with it, and the setting
// reaches the model. The model follows a script (scripted_model.mjs); how streams are parted is tested in tests/web.

import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { check, equal, until } from '../harness.mjs';
import { kTemplate, scriptedModel } from '../scripted_model.mjs';

const kThoughts = ['First', ' the', ' user', ' asks', ' for', ' a', ' sum', ': 17', ' + 25', ' =', ' 42.'];
const kReasoning = kThoughts.join('');
const kAnswer = ['It', ' is', ' **42**.'];
const kShown = 'It is 42.'; // Markdown
const kScript = ['<think>', '\n\n', ...kThoughts, '\n</think>', '\n\n\n', ...kAnswer];
// Qwen's switch. The prompt without thinking ends with "!", after which the model goes on with its answer.
const kSwitch = `${kTemplate}{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %}{{ '<think>\\n\\n</think>!' }}{% endif %}`;

async function load(app, folder) {
  const file = path.join(folder, 'thinker.gguf');
  await writeFile(file, scriptedModel(kScript, { template: kSwitch, shortcut: ['!', kScript.indexOf('It')] }).gguf());
  await app.open('?load=0');
  await app.loadFile(file);
  await app.ready();
}

async function folded({ app, page, folder }) {
  await load(app, folder);
  equal(await app.ask('What is 17 + 25?'), kShown, 'the answer');
  const thoughts = app.hook('thoughts');
  equal(await thoughts.count(), 1, 'places for thoughts');
  equal(await thoughts.locator('summary').innerText(), 'Thoughts', 'what it is called');
  const text = thoughts.locator('.thoughts-text');
  check(!(await text.isVisible()), 'the reasoning is not folded');
  await thoughts.locator('summary').focus();
  await page.keyboard.press('Enter');
  check(await text.isVisible(), 'Enter does not unfold it');
  equal(await text.innerText(), kReasoning, 'the reasoning');
  await page.reload();
  await until(async () => (await app.hook('answer').count()) === 1, 'the chat after a reload');
  equal(await app.hook('answer').innerText(), kShown, 'the answer after a reload');
  equal(await text.textContent(), kReasoning, 'the reasoning after a reload');
  check(!(await text.isVisible()), 'the reasoning is unfolded after a reload');
}

async function switchedOff({ app, page, folder }) {
  await load(app, folder);
  await app.hook('settings').click();
  await page.getByLabel('Thinking', { exact: false }).selectOption('off');
  await page.keyboard.press('Escape');
  equal(await app.ask('What is 17 + 25?'), kShown, 'the answer');
  equal(await app.hook('thoughts').count(), 0, 'places for thoughts');
  await app.hook('settings').click();
  await page.getByLabel('Thinking', { exact: false }).selectOption('on');
  await page.keyboard.press('Escape');
  await app.ask('And again?');
  equal(await app.hook('thoughts').count(), 1, 'places for thoughts, switched on');
}

/** The engine's own callers get the two apart. */
async function partedByTheLibrary({ app }) {
  await app.open('?load=0');
  const file = scriptedModel(kScript, { template: kSwitch }).gguf().toString('base64');
  const result = await app.library(async ({ Nutshell }, file) => {
    const engine = await Nutshell.load(new Blob([Uint8Array.from(atob(file), (c) => c.charCodeAt(0))]));
    const out = { thinking: engine.info.thinking, text: '', reasoning: '' };
    const onReasoning = (piece) => (out.reasoning += piece);
    for await (const piece of engine.chat([{ role: 'user', content: 'Sum?' }], { temperature: 0, onReasoning })) out.text += piece;
    await engine.dispose();
    return out;
  }, file);
  equal(result, { thinking: 'optional', text: kAnswer.join(''), reasoning: kReasoning }, 'the answer');
}

export const stories = [
  { name: 'thinking is folded away, opens by keyboard, and is kept', work: folded },
  { name: 'thinking can be switched off', work: switchedOff },
  { name: 'thinking and answer by the library', work: partedByTheLibrary },
];
