// scripts/model smollm2-small and how scripts/start swaps the default, in a small stand-in of a checkout: the scripts are the
// real ones, building, compressing and the original model are not.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, copyFile, mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const kScripts = fileURLToPath(new URL('../../scripts/', import.meta.url));
const kSmall = 'SmolLM2-135M-Instruct.64MB.gguf';
const kOriginal = 'SmolLM2-135M-Instruct.Q4_1.gguf';
const kBytes = 'the original';
let folder;
const at = (...names) => path.join(folder, ...names);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function script(name, text) {
  await mkdir(path.dirname(at(name)), { recursive: true });
  await writeFile(at(name), `#!/usr/bin/env bash\n${text}\n`);
  await chmod(at(name), 0o755);
}
const environment = () => ({ ...process.env, NUTSHELL_CACHE: at('cache') });
const model = async (...args) => (await promisify(execFile)(at('scripts/model'), args, { env: environment() })).stdout.trim();
const compressions = async () => (await readFile(at('compressed'), 'utf8').catch(() => '')).split('\n').filter(Boolean);

beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'nutshell-model-'));
  await mkdir(at('scripts'));
  for (const name of ['model', 'start', 'lib.sh', 'serve.mjs']) await copyFile(path.join(kScripts, name), at('scripts', name));
  // The original is these few bytes here.
  const sha256 = createHash('sha256').update(kBytes).digest('hex');
  const text = await readFile(at('scripts/model'), 'utf8');
  const changed = text.replace('"bytes": 98362432', `"bytes": ${kBytes.length}`).replace(/"sha256": "b179c95[0-9a-f]+"/, `"sha256": "${sha256}"`);
  assert.notEqual(changed, text);
  await writeFile(at('scripts/model'), changed);
  await mkdir(at('cache/models'), { recursive: true });
  await writeFile(at('cache/models', kOriginal), kBytes);
  await script('scripts/build', 'exit 0');
  await version('1');
  await compressor('');
  await mkdir(at('web/dist'), { recursive: true });
  await writeFile(at('web/dist/index.html'), 'the page');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** The tool in build/: tells the version of its encoder, and no memory of any model. */
const version = (number) => script('build/native/nutshell', `[[ "$*" == "compress --recipe-version" ]] && echo "${number}" || exit 1`);
/** scripts/nutshell compress SOURCE -o OUT ...: `before` comes first. */
const compressor = (before) => script('scripts/nutshell', `echo "$*" >>"${at('compressed')}"; ${before}
printf 'small' >"$4.partial"; mv "$4.partial" "$4"`);

test('the compressed model is made once, and described as it is', async () => {
  assert.deepEqual(JSON.parse(await model('--cached')).map(({ name }) => name), [kOriginal]);
  assert.equal(await model('smollm2-small'), at('cache/models', kSmall));
  assert.equal(await model('smollm2-small'), at('cache/models', kSmall));
  const made = await compressions();
  assert.equal(made.length, 1);
  assert.match(made[0], /^compress .*SmolLM2-135M-Instruct\.Q4_1\.gguf -o .* --size 64000000 .*--json$/);
  const listed = JSON.parse(await model('--cached'));
  assert.deepEqual(listed.map(({ name }) => name), [kSmall, kOriginal]); // the first is the page's default
  assert.equal(listed[0].bytes, 5);
  assert.equal(listed[0].sha256, createHash('sha256').update('small').digest('hex'));
  assert.equal(listed[0].license, 'Apache-2.0');
  assert.deepEqual((await readdir(at('cache/models'))).filter((name) => name.startsWith('.')), []);
});

test('another version of the encoder makes it anew; a file that was changed is not taken', async () => {
  await model('smollm2-small');
  await version('2');
  assert.deepEqual(JSON.parse(await model('--cached')).map(({ name }) => name), [kOriginal]);
  await model('smollm2-small');
  assert.equal((await compressions()).length, 2);
  await writeFile(at('cache/models', kSmall), 'other');
  await model('smollm2-small');
  assert.equal((await compressions()).length, 3);
  assert.equal(await readFile(at('cache/models', kSmall), 'utf8'), 'small');
});

test('two at once make it once; a failed run leaves nothing under the name', async () => {
  await compressor('sleep 0.5');
  await Promise.all([model('smollm2-small'), model('smollm2-small')]);
  assert.equal((await compressions()).length, 1);
  await version('2');
  await compressor('exit 1');
  await assert.rejects(model('smollm2-small'), /could not be made/);
  assert.deepEqual(JSON.parse(await model('--cached')).map(({ name }) => name), [kOriginal]);
});

// --- scripts/start -----------------------------------------------------------------------------------------------------

async function start(...args) {
  const port = await new Promise((resolve) => {
    const probe = net.createServer().listen(0, '127.0.0.1', () => {
      const { port: free } = probe.address();
      probe.close(() => resolve(free));
    });
  });
  const child = spawn(at('scripts/start'), ['--port', String(port), ...args], { env: environment() });
  let said = '';
  child.stderr.on('data', (part) => (said += part));
  await new Promise((resolve, reject) => {
    child.stdout.once('data', resolve);
    child.once('exit', (code) => reject(new Error(`ended with ${code}: ${said}`)));
  });
  child.removeAllListeners('exit');
  const list = async () => (await fetch(`http://127.0.0.1:${port}/models.json`)).json();
  const standard = async () => (await list()).filter((each) => each.default).map(({ name }) => name);
  const end = (signal) => new Promise((resolve) => child.once('exit', (code) => resolve(code)) && child.kill(signal));
  return { list, standard, end, said: () => said, pid: child.pid };
}

/** Waits for what is sure to come: for long, since the compressor has the lowest priority and a test machine may be busy. */
async function until(probe, what) {
  for (let i = 0; i < 1200; i++) {
    if (await probe()) return;
    await sleep(50);
  }
  assert.fail(what);
}
const running = async (pid) => stat(`/proc/${pid}`).then(() => true, () => false);

test('scripts/start serves the original at once and the smaller one when it is ready', async () => {
  await compressor(`while [[ ! -e ${at('go')} ]]; do sleep 0.05; done`);
  const server = await start();
  try {
    assert.deepEqual(await server.standard(), [kOriginal]);
    await until(async () => (await compressions()).length === 1, 'the compressor to begin');
    assert.deepEqual(await server.standard(), [kOriginal]);
    await writeFile(at('go'), '');
    await until(async () => (await server.standard())[0] === kSmall, 'the smaller one to be the default');
    assert.deepEqual((await server.list()).map(({ name }) => name), [kSmall, kOriginal]);
    await until(() => /default from now on/.test(server.said()), 'a word of it');
  } finally {
    await server.end('SIGTERM');
  }
  const again = await start();
  try {
    assert.deepEqual(await again.standard(), [kSmall]);
    assert.equal((await compressions()).length, 1);
  } finally {
    await again.end('SIGTERM');
  }
});

for (const signal of ['SIGINT', 'SIGTERM', 'SIGKILL']) {
  test(`what compresses beside the server ends with it (${signal})`, async () => {
    await compressor(`echo $$ >${at('pid')}; sleep 60`);
    const server = await start();
    const pid = async () => Number(await readFile(at('pid'), 'utf8').catch(() => 0));
    await until(pid, 'the compressor to begin');
    const worker = await pid();
    assert.ok(await running(worker));
    await server.end(signal);
    await until(async () => !(await running(worker)), 'the compressor to end');
  });
}

test('a compressor that fails leaves the original the default, and start says so', async () => {
  await compressor('exit 1');
  const server = await start();
  try {
    await until(() => /could not be made; the original/.test(server.said()), 'a word of it');
    assert.deepEqual(await server.standard(), [kOriginal]);
  } finally {
    await server.end('SIGTERM');
  }
});

test('with --model FILE nothing is compressed', async () => {
  await writeFile(at('own.gguf'), 'own');
  const server = await start('--model', at('own.gguf'));
  try {
    assert.deepEqual(await server.standard(), ['own.gguf']);
    await sleep(500); // time enough to begin
    assert.deepEqual(await compressions(), []);
  } finally {
    await server.end('SIGTERM');
  }
});
