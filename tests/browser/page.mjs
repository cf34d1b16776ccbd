// Drives one tab of the app through its data-testid hooks, as a user would, and through the library it serves where a
// story needs numbers that the page does not show.

import { check, kModelName, until } from './harness.mjs';

const kLoadMs = 60_000; // a load on two busy cores
const kAnswerMs = 90_000;

export class App {
  constructor(page, server) {
    this.page = page;
    this.server = server;
  }

  hook(name) {
    return this.page.getByTestId(name);
  }

  /** Opens the page; `query` like `?load=0`. `settings` are kept on the device before the page starts. */
  async open(query = '', settings = { temperature: 0 }) {
    const set = (value) => {
      try {
        if (!localStorage.getItem('nutshell.settings')) localStorage.setItem('nutshell.settings', value);
      } catch {
        // storage denied: the story does without
      }
    };
    if (settings) await this.page.addInitScript(set, JSON.stringify(settings));
    await this.page.goto(`${this.server.origin}/${query}`);
  }

  async ready(timeoutMs = kLoadMs) {
    await this.state('ready', timeoutMs);
  }

  async state(wanted, timeoutMs = kLoadMs) {
    const status = this.hook('status');
    await until(async () => {
      const state = await status.getAttribute('data-state');
      if (state === 'error' && wanted !== 'error') check(false, `waiting for ${wanted}: ${await this.errorText()}`);
      return state === wanted;
    }, `state ${wanted}`, timeoutMs);
  }

  async errorText() {
    const error = this.hook('error');
    return (await error.count()) > 0 ? (await error.innerText()).replaceAll('\n', ' | ') : '(no error shown)';
  }

  async send(text) {
    await this.hook('prompt').fill(text);
    await this.hook('send').click();
  }

  /** Sends and waits for the whole answer; gives its text. */
  async ask(text) {
    const before = await this.hook('answer').count();
    await this.send(text);
    await until(async () => (await this.hook('answer').count()) > before, 'a new answer', 5000);
    await this.ready(kAnswerMs);
    check((await this.hook('error').count()) === 0, `error after “${text}”: ${await this.errorText()}`);
    return this.hook('answer').last().innerText();
  }

  /** Waits until the last answer has at least `length` characters. */
  async grown(length) {
    const answer = this.hook('answer').last();
    await until(async () => (await answer.innerText()).length >= length, `an answer of ${length} characters`, kAnswerMs);
  }

  async openPanel() {
    if (!(await this.hook('model-url').isVisible())) await this.hook('model-picker').click();
    await this.hook('model-url').waitFor();
  }

  async loadUrl(address) {
    await this.openPanel();
    await this.hook('model-url').fill(address);
    await this.hook('model-load').click();
  }

  async loadFile(file, keep = false) {
    await this.openPanel();
    if (keep) await this.page.getByLabel(/keep a copy/i).check();
    await this.hook('model-file').setInputFiles(file);
  }

  /** Waits for an error and gives its code and text. */
  async failure() {
    const error = this.hook('error');
    await error.waitFor({ timeout: 30_000 });
    return { code: await error.getAttribute('data-code'), text: await this.errorText() };
  }

  /** What lies in the library's folder of the origin private file system: names with sizes. */
  stored() {
    return this.page.evaluate(async () => {
      const root = await navigator.storage.getDirectory();
      const found = {};
      try {
        const folder = await root.getDirectoryHandle('nutshell-models');
        for await (const [name, handle] of folder.entries()) found[name] = (await handle.getFile()).size;
      } catch {
        // no folder: nothing stored
      }
      return found;
    });
  }

  /** Runs `work(library, argument, modelAddress)` in the page with the served library. */
  library(work, argument = null) {
    const call = `(async (argument) => {
      const library = await import(new URL('index.js', document.baseURI).href);
      return (${work})(library, argument, new URL('models/${kModelName}', document.baseURI).href);
    })(${JSON.stringify(argument)})`;
    return this.page.evaluate(call);
  }
}
