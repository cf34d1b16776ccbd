// What the browser stories share: the server of scripts/start on a port of its own, a Chromium with a fresh profile, and
// the rules every story must keep: no violation of the security policy, no uncaught error, no request to anywhere but
// the own origin. The page itself is driven through its data-testid hooks by page.mjs.

import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { createAppServer } from '../../scripts/serve.mjs';

export const kRoot = fileURLToPath(new URL('../../', import.meta.url));
const kDist = path.join(kRoot, 'web/dist');
const kChromium = '/usr/bin/chromium';
const kFlags = ['--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

export const kModel = process.env.NUTSHELL_MODEL_SMOLLM2 ?? '';
/** Folder of all-MiniLM-L6-v2. */
export const kMiniLm = process.env.NUTSHELL_MODEL_MINILM ?? '';
export const kModelName = path.basename(kModel);
// SmolLM2-135M-Instruct Q4_1, the file that scripts/model smollm2 fetches; the page checks it while it downloads.
const kModelHash = 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53';

export function check(condition, message) {
  if (!condition) throw new Error(message);
}

export function equal(actual, expected, what) {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)];
  check(a === b, `${what}: expected ${b}, got ${a}`);
}

/** Waits until `probe` gives something true and returns it. */
export async function until(probe, what, timeoutMs = 10_000) {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const value = await probe();
    if (value) return value;
    check(Date.now() < end, `${what}: not within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Throws with the command that helps if something the stories need is missing. */
export function checkNeeds() {
  check(kModel && existsSync(kModel), 'NUTSHELL_MODEL_SMOLLM2 must name the SmolLM2 file (scripts/model smollm2 prints its path)');
  check(kMiniLm && existsSync(kMiniLm), 'NUTSHELL_MODEL_MINILM must name the folder of MiniLM (scripts/model minilm prints its path)');
  check(existsSync(path.join(kDist, 'index.html')), 'web/dist is missing: run scripts/build first');
  check(existsSync(kChromium), `${kChromium} is missing: install the package chromium`);
}

function freePort() {
  return new Promise((resolve, reject) => {
    const probe = net.createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

/** scripts/serve.mjs on its own port, in this process, so that stories can see what was asked for. */
export class Server {
  #server = null;
  /** Requests so far: {url, range}. */
  log = [];
  /** Name of the model that the page loads first; counts from the next start on. */
  standard = kModelName;

  constructor(root, port, isolation, more) {
    this.root = root;
    this.more = more;
    this.port = port;
    this.isolation = isolation;
    this.origin = `http://127.0.0.1:${port}`;
  }

  /**
   * `models`: further ones to serve, as scripts/serve.mjs lists them; `data` stands for a file with these bytes. `texts`:
   * calibration texts by file name, in the place of those of the build.
   */
  static async start(folder, { isolation = true, models = [], texts = {} }) {
    const root = path.join(folder, 'root');
    await cp(kDist, root, { recursive: true });
    for (const name of ['files', 'calibration']) await mkdir(path.join(root, name), { recursive: true });
    const more = [];
    for (const { data, ...model } of models) {
      const file = model.path ?? path.join(folder, model.name);
      if (data) await writeFile(file, data);
      check(model.name && existsSync(file), `${model.name || 'a large model'} is missing: scripts/test --full says where it is`);
      more.push({ ...model, path: file, bytes: (await stat(file)).size });
    }
    for (const [name, text] of Object.entries(texts)) await writeFile(path.join(root, 'calibration', name), text);
    const server = new Server(root, await freePort(), isolation, more);
    await server.start();
    return server;
  }

  async start() {
    const { size } = await stat(kModel);
    const all = [{ name: kModelName, path: kModel, bytes: size, sha256: kModelHash }, ...this.more];
    const models = all.map((model) => ({ ...model, default: model.name === this.standard }));
    this.#server = await createAppServer({ root: this.root, isolation: this.isolation, models });
    this.#server.on('request', ({ url, headers }) => this.log.push({ url, range: headers.range ?? '' }));
    await new Promise((resolve, reject) => this.#server.once('error', reject).listen(this.port, '127.0.0.1', resolve));
  }

  async stop() {
    const server = this.#server;
    this.#server = null;
    if (!server) return;
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  }

  /** Puts a file where the address that is returned serves it. */
  async put(name, bytes) {
    await writeFile(path.join(this.root, 'files', name), bytes);
    return `files/${name}`;
  }
}

/** Sites may store nothing: Chromium's own setting, which denies OPFS, localStorage, caches and service workers alike. */
async function denyStorage(profile) {
  await mkdir(path.join(profile, 'Default'), { recursive: true });
  const settings = { profile: { default_content_setting_values: { cookies: 2 } } };
  await writeFile(path.join(profile, 'Default', 'Preferences'), JSON.stringify(settings));
}

/** Runs one story in a world of its own and checks the rules; throws where it fails. */
export async function inWorld(options, work) {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'nutshell-story-'));
  const closers = [() => rm(folder, { recursive: true, force: true })];
  try {
    const server = await Server.start(folder, options);
    closers.unshift(() => server.stop());
    const profile = path.join(folder, 'profile');
    if (options.denyStorage) await denyStorage(profile);
    const context = await chromium.launchPersistentContext(profile, { executablePath: kChromium, args: kFlags, ...options.browser });
    closers.unshift(() => context.close());
    context.setDefaultTimeout(15_000);
    const broken = watchRules(context, server);
    const note = await work({ context, server, folder, profile, page: context.pages()[0] ?? (await context.newPage()) });
    await Promise.all(context.pages().map((page) => page.evaluate(() => 0).catch(() => 0))); // let late reports arrive
    equal(broken, [], 'rules broken');
    return note;
  } finally {
    for (const close of closers) await close().catch((error) => console.error(`  (cleaning up: ${error.message})`));
  }
}

/** Collects what no story may do. Requests of workers and of the service worker are seen too. */
function watchRules(context, server) {
  const broken = [];
  context.on('request', (request) => {
    const url = request.url();
    if (/^(https?|wss?):/.test(url) && !url.startsWith(`${server.origin}/`)) broken.push(`request to ${url}`);
  });
  context.on('console', (message) => {
    const text = message.text();
    if (/Content.Security.Policy/i.test(text)) broken.push(`policy: ${text}`);
  });
  context.on('weberror', (error) => broken.push(`uncaught: ${error.error().stack ?? error.error()}`));
  return broken;
}
