// Stories of the model picker: terms must be accepted before anything is fetched; size, licence and memory are shown.

import { check, equal, until } from '../harness.mjs';
import { scriptedModel } from '../scripted_model.mjs';

const kTerms = 'Walnut is provided under the Walnut Terms of Use, which forbid to sell it as a hazelnut.';
const kSmaller = { name: 'walnut-1B.gguf', data: scriptedModel(['Hello', ' there']).gguf() };
const kModels = [
  { name: 'walnut-1B.gguf', data: scriptedModel(['Hello', ' there'], { name: 'Walnut' }).gguf(), license: 'Walnut Terms of Use', terms: kTerms, memoryBytes: 1_500_000 },
  { name: 'coconut-70B.gguf', data: scriptedModel(['Too', ' large']).gguf(), license: 'Apache-2.0', memoryBytes: 40e9 },
];

async function terms({ app, page, server }) {
  await app.open('?load=0');
  const offer = page.getByRole('button', { name: /walnut-1B/ });
  const text = await offer.innerText();
  for (const word of ['from this site', 'Walnut Terms of Use', 'needs 1.5 MB of memory']) check(text.includes(word), `“${word}” in: ${text}`);
  const asked = () => server.log.filter(({ url }) => url.includes('walnut')).length;
  await offer.click();
  await app.hook('terms').waitFor();
  check((await app.hook('terms').innerText()).includes(kTerms), 'the terms are not shown');
  await page.keyboard.press('Escape');
  await until(async () => (await app.hook('terms').count()) === 0, 'the terms to close');
  await page.waitForTimeout(300);
  equal(asked(), 0, 'requests for the model before its terms were accepted');
  await app.loadUrl('models/walnut-1B.gguf'); // by its address they hold as well
  await app.hook('terms').getByRole('button', { name: 'Not now' }).click();
  equal(asked(), 0, 'requests for the model');
  await offer.click();
  await app.hook('terms-accept').click();
  await app.ready();
  equal(await app.ask('Hi'), 'Hello there', 'the answer');
  await page.goto(`${server.origin}/`);
  await app.ready();
  equal(await app.hook('terms').count(), 0, 'terms that were accepted');
}

async function tooLarge({ app, page }) {
  await app.open('?load=0');
  const text = await page.getByRole('button', { name: /coconut/ }).innerText();
  check(/needs 40(\.0+)? GB of memory, more than this device has/.test(text), text);
}

/** The server's default becomes another one: who has the first goes on with it, who is new gets the other. */
async function newDefault({ app, page, server }) {
  await app.open();
  await app.ready();
  const original = await page.locator('#model-name').innerText();
  await server.stop();
  server.standard = 'walnut-1B.gguf';
  await server.start();
  await page.reload();
  await app.ready();
  equal(await page.locator('#model-name').innerText(), original, 'the model of a user who had one');
  await app.openPanel();
  check((await page.getByRole('button', { name: /walnut-1B/ }).innerText()).includes('from this site'), 'the new default is not offered');
  await page.evaluate(() => localStorage.removeItem('nutshell.model'));
  await page.reload();
  await until(async () => (await page.locator('#model-name').innerText()) === 'walnut-1B', 'the new default for a new user');
  await app.openPanel();
  check((await page.getByRole('button', { name: new RegExp(original) }).first().innerText()).includes('on this device'), 'the original is gone from the picker');
}

export const stories = [
  { name: 'the terms of a model are shown and must be accepted', options: { models: kModels }, work: terms },
  { name: 'a model that needs more memory than there is says so', options: { models: kModels }, work: tooLarge },
  { name: 'another default: who has a model keeps it', options: { models: [kSmaller] }, work: newDefault },
];
