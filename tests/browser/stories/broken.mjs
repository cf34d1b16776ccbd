// Stories of broken files: each gives its own clear message, stores nothing, and leaves the page usable.

import path from 'node:path';
import { brokenFiles, readModel } from '../broken_gguf.mjs';
import { check, equal, kModel } from '../harness.mjs';

const kCapital = 'What is the capital of France? Answer in one sentence.';

/** One broken model: load it, read what the page says, see that nothing stayed. */
async function refuse(app, name, codes, load) {
  await load();
  const { code, text } = await app.failure().catch(async () => ({ code: 'none', text: await app.hook('status').innerText() }));
  check(codes.includes(code), `${name}: code ${code}, expected ${codes.join(' or ')}; it says: ${text}`);
  check(text.length > 40, `${name}: says only “${text}”`);
  equal(await app.hook('status').getAttribute('data-state'), 'error', `state after ${name}`);
  check((await app.hook('error').getByRole('button').count()) >= 2, `${name}: no way out is offered`);
  equal(await app.stored(), {}, `stored after ${name}`);
  await app.hook('error').getByLabel('Dismiss').click();
  return text;
}

function allDifferent(texts) {
  const seen = new Map();
  for (const [name, text] of Object.entries(texts)) {
    check(!seen.has(text), `${name} and ${seen.get(text)} get the same message: ${text}`);
    seen.set(text, name);
  }
}

async function fromTheServer({ app, server }) {
  await app.open('?load=0');
  const texts = {};
  for (const { name, codes, write } of brokenFiles(await readModel(kModel))) {
    await write(path.join(server.root, 'files', `${name}.gguf`));
    texts[name] = await refuse(app, name, codes, () => app.loadUrl(`files/${name}.gguf`));
  }
  texts.absent = await refuse(app, 'absent', ['not_found'], () => app.loadUrl('models/absent.gguf'));
  texts.page = await refuse(app, 'page', ['not_a_model'], () => app.loadUrl('index.html'));
  for (const [name, text] of Object.entries(texts)) if (process.env.NUTSHELL_SHOW) console.log(`        ${name}: ${text}`);
  allDifferent(texts);
  await app.hook('model-url').fill('');
  await app.hook('model-load').click();
  await app.ready();
  check(/Paris/.test(await app.ask(kCapital)), 'the real model after all that');
  return `(${Object.keys(texts).length} files)`;
}

async function fromThisDevice({ app, folder }) {
  await app.open('?load=0');
  const texts = {};
  for (const { name, codes, write } of brokenFiles(await readModel(kModel))) {
    const file = path.join(folder, `${name}.gguf`);
    await write(file);
    texts[name] = await refuse(app, name, codes, () => app.loadFile(file, true));
  }
  allDifferent(texts);
  await app.loadFile(kModel);
  await app.ready();
  check(/Paris/.test(await app.ask(kCapital)), 'the real model after all that');
  return `(${Object.keys(texts).length} files)`;
}

export const stories = [
  { name: 'broken files from the server', work: fromTheServer },
  { name: 'broken files from this device', work: fromThisDevice },
];
