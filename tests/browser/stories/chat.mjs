// Stories of the chat: the answer streams, stops, comes again, is shown safely, and works by keyboard and on a phone.

import { check, equal, until } from '../harness.mjs';

const kCapital = 'What is the capital of France? Answer in one sentence.';
const kLong = 'Write a long story about a walnut tree, a squirrel and the sea.';

/** Counts in the page how often the last answer changed. */
function countChanges() {
  window.changes = 0;
  let before = '';
  new MutationObserver(() => {
    const text = [...document.querySelectorAll('[data-testid=answer]')].at(-1)?.textContent ?? '';
    if (text !== before) window.changes++;
    before = text;
  }).observe(document.querySelector('#log'), { subtree: true, childList: true, characterData: true });
}

async function firstLoad({ app, page, context }) {
  await app.open();
  await app.ready();
  await page.evaluate(countChanges);
  await until(async () => (await app.hook('status').innerText()).includes('works offline now'), 'offline words');
  const requests = [];
  context.on('request', (request) => requests.push(request.url()));
  const answer = await app.ask(kCapital);
  check(/Paris/.test(answer), `a wrong answer: ${answer}`);
  const changes = await page.evaluate(() => window.changes);
  check(changes >= 3, `the answer came in ${changes} steps`);
  equal(requests, [], 'requests during the answer');
  check(/^0 requests/.test(await page.locator('#privacy').innerText()), 'the page counts requests');
  check(/tok\/s/.test(await page.locator('#gauges').innerText()), 'the speed is not shown');
}

async function stopAndGoOn({ app, page }) {
  await app.open();
  await app.ready();
  await app.send(kLong);
  await app.grown(60);
  await app.state('answering');
  await app.hook('stop').click();
  await app.state('ready', 5000);
  const partial = await app.hook('answer').last().innerText();
  check(partial.length >= 60, 'the part that came is gone');
  await page.waitForTimeout(500);
  equal(await app.hook('answer').last().innerText(), partial, 'text after the stop');
  await app.hook('new-chat').click();
  equal(await app.hook('answer').count(), 0, 'answers after “new chat”');
  const answer = await app.ask(kCapital);
  check(/Paris/.test(answer), `after a stop: ${answer}`);
}

async function prefixReuse({ app, page }) {
  await app.open();
  await app.ready();
  await app.ask(kCapital);
  await app.ask('And of Italy?');
  const foot = await page.locator('.note').last().innerText();
  check(/[1-9]\d* reused/.test(foot), `nothing was reused: ${foot}`);
  const [first, second] = await app.library(async ({ Nutshell }, _, model) => {
    const engine = await Nutshell.load(model);
    const messages = [{ role: 'user', content: 'Name a colour.' }];
    const turns = [];
    for (let turn = 0; turn < 2; turn++) {
      let text = '';
      for await (const piece of engine.chat(messages, { temperature: 0, maxTokens: 16 })) text += piece;
      turns.push(engine.timings);
      messages.push({ role: 'assistant', content: text }, { role: 'user', content: 'Another one.' });
    }
    await engine.dispose();
    return turns;
  });
  equal(first.cachedTokens, 0, 'reused tokens of the first turn');
  check(second.cachedTokens >= first.promptTokens, `second turn reuses ${second.cachedTokens}, the first had ${first.promptTokens}`);
  return `(reused ${second.cachedTokens} of ${second.promptTokens} tokens)`;
}

async function regenerateAndReload({ app, page }) {
  await app.open('', { temperature: 0, maxTokens: 24 });
  await app.ready();
  const first = await app.ask('Tell me about rain.');
  check(/24 tokens/.test(await page.locator('.note').last().innerText()), 'the length limit of the settings does not count');
  await app.hook('regenerate').click();
  await until(async () => (await page.locator('.note').count()) === 1, 'the new answer', 60_000);
  await app.ready();
  const again = await app.hook('answer').allInnerTexts();
  equal(again.length, 1, 'answers after one was replaced');
  check(again[0].length > 20 && /rain/i.test(first + again[0]), `no answer: ${again[0]}`);
  await page.reload();
  await app.ready();
  equal(await app.hook('answer').allInnerTexts(), again, 'the chat after a reload');
  await app.ask('And about snow?');
  equal(await app.hook('answer').count(), 2, 'answers');
  equal(await app.hook('regenerate').count(), 1, 'buttons to answer again');
}

async function settingsStay({ app, page }) {
  await app.open('?load=0', null);
  await app.state('empty');
  await app.hook('settings').click();
  await page.getByLabel('System prompt').fill('You are a pirate.');
  await page.getByLabel('Temperature').fill('0');
  await page.getByLabel('Longest answer').fill('7');
  await page.getByLabel('Top-k').fill('abc').catch(() => undefined);
  await page.keyboard.press('Escape');
  await app.hook('model-load').click(); // no address: the model the site serves
  await app.ready();
  await app.ask('Who are you?');
  check(/\b7 tokens/.test(await page.locator('.note').last().innerText()), 'settings are not used');
  await page.reload();
  await app.hook('settings').click();
  equal(await page.getByLabel('System prompt').inputValue(), 'You are a pirate.', 'system prompt after a reload');
  equal(await page.getByLabel('Longest answer').inputValue(), '7', 'length after a reload');
}

async function askWhileLoading({ app }) {
  await app.open('', { temperature: 0, maxTokens: 16 });
  await app.send(kCapital);
  await until(async () => (await app.hook('answer').count()) === 1, 'the waiting question goes out', 60_000);
  await app.ready();
  check(/Paris/.test(await app.hook('answer').innerText()), 'a wrong answer');
}

/** What a hostile model could write. It is put into the kept chat, because no real model writes it on demand. */
const kHostile = [
  '<img src=x onerror="window.hit=1"><script>window.hit=2</script> <b style="color:red">bold</b>',
  '![pixel](http://192.0.2.1/pixel.png) [click](javascript:window.hit=3) [data](data:text/html,x) [good](https://example.org/)',
  '```html\n<script>window.hit=4</script>\n```',
  '<iframe src="http://192.0.2.1/"></iframe><svg onload="window.hit=5"><style>*{display:none}</style>',
].join('\n\n');

async function hostileMarkdown({ app, page, context }) {
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: app.server.origin });
  const chat = { messages: [{ role: 'user', content: '<b>hello</b>' }, { role: 'assistant', content: kHostile }], completion: false };
  await page.addInitScript((text) => localStorage.setItem('nutshell.chat', text), JSON.stringify(chat));
  await app.open('?load=0');
  const answer = app.hook('answer');
  await answer.waitFor();
  equal(await page.evaluate(() => window.hit ?? null), null, 'script of an answer ran');
  for (const tag of ['img', 'script', 'iframe', 'svg:not(.icon)', 'style', 'b', '[style]', '[onerror]', '[onload]'])
    equal(await answer.locator(tag).count(), 0, `${tag} in an answer`);
  const hrefs = await answer.locator('a').evaluateAll((links) => links.map((a) => a.getAttribute('href')));
  equal(hrefs.filter((href) => href && !/^https?:/.test(href)), [], 'links to follow');
  check(hrefs.includes('https://example.org/'), 'a good link is gone');
  check((await answer.innerText()).includes('<script>window.hit=2</script>'), 'HTML is not shown as text');
  equal(await page.locator('.bubble b').count(), 0, 'HTML in a question');
  await answer.getByLabel('Copy code').click();
  equal(await page.evaluate(() => navigator.clipboard.readText()), '<script>window.hit=4</script>', 'copied code');
}

async function keyboardOnly({ app, page }) {
  await app.open('', { temperature: 0, maxTokens: 400 });
  await app.ready();
  await page.keyboard.press('Tab');
  await page.evaluate(() => document.activeElement.blur());
  const seen = [];
  for (let step = 0; step < 20 && !seen.includes('prompt'); step++) {
    await page.keyboard.press('Tab');
    const focus = await page.evaluate(() => {
      const element = document.activeElement;
      const { outlineStyle } = getComputedStyle(element);
      const box = getComputedStyle(element.closest('.composer') ?? element);
      return { id: element.dataset.testid ?? element.id ?? element.tagName, shown: outlineStyle !== 'none' || box.borderColor !== '' };
    });
    check(focus.shown, `no visible focus on ${focus.id}`);
    seen.push(focus.id);
  }
  for (const name of ['model-picker', 'new-chat', 'settings', 'prompt']) check(seen.includes(name), `Tab does not reach ${name}: ${seen}`);
  await page.keyboard.type(kLong);
  await page.keyboard.press('Enter');
  await app.grown(20);
  await page.keyboard.press('Escape');
  await app.state('ready', 5000);
  await page.keyboard.type('Say hello.');
  await page.keyboard.press('Enter');
  await until(async () => (await app.hook('answer').count()) === 2, 'the second answer');
  await page.keyboard.press('Escape');
  await app.state('ready', 5000);
  await app.hook('model-picker').focus();
  await page.keyboard.press('Enter');
  await app.hook('model-url').waitFor();
  await page.keyboard.press('Escape');
  check(!(await app.hook('model-url').isVisible()), 'Escape does not close the panel');
  equal(await page.evaluate(() => document.activeElement.dataset.testid), 'model-picker', 'focus after closing');
}

async function phone({ app, page }) {
  await app.open('?load=0');
  for (const width of [390, 320]) {
    await page.setViewportSize({ width, height: 700 });
    const wide = await page.evaluate(() => [document.documentElement, ...document.querySelectorAll('main, header, footer')].filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.tagName));
    equal(wide, [], `wider than a screen of ${width}`);
    for (const name of ['prompt', 'send', 'model-picker', 'new-chat', 'settings']) {
      const box = await app.hook(name).boundingBox();
      check(box && box.x >= 0 && box.x + box.width <= width && box.y + box.height <= 700, `${name} is off a screen of ${width}`);
      check(box.height >= 36, `${name} is too low for a finger`);
    }
  }
  const nameless = await page.evaluate(() =>
    [...document.querySelectorAll('button, input, textarea, select, a')].filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length || e.title)).map((e) => e.outerHTML));
  equal(nameless, [], 'controls without a name');
}

export const stories = [
  { name: 'first load, then a streamed answer', work: firstLoad },
  { name: 'stop in the middle, then a new answer', work: stopAndGoOn },
  { name: 'two turns reuse the prefix', work: prefixReuse },
  { name: 'regenerate, and the chat survives a reload', work: regenerateAndReload },
  { name: 'settings are used and stay', work: settingsStay },
  { name: 'a question asked while loading is answered', work: askWhileLoading },
  { name: 'hostile Markdown is harmless', work: hostileMarkdown },
  { name: 'keyboard only', work: keyboardOnly },
  { name: 'phone layout and names of controls', options: { browser: { hasTouch: true } }, work: phone },
];
