// The server of scripts/start: ranges, headers, models, and that nothing outside its root is served.
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { contentSecurityPolicy, createAppServer, parseRange } from '../../scripts/serve.mjs';

let folder;
const servers = [];

/** Port of a new server over the test folder. */
async function serve(options = {}) {
  const models = [{ name: 'tiny model.gguf', path: path.join(folder, 'tiny.gguf'), bytes: 10, sha256: 'ab', license: 'x', default: true }];
  const server = await createAppServer({ root: path.join(folder, 'root'), models, ...options });
  servers.push(server);
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server.address().port;
}

/** Plain http, because fetch would tidy up `..` in addresses before they are sent. */
function ask(port, address, { method = 'GET', headers = {} } = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: '127.0.0.1', port, path: address, method, headers }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(parts).toString() }));
    });
    request.on('error', reject).end();
  });
}

before(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'nutshell-serve-'));
  await mkdir(path.join(folder, 'root/wasm'), { recursive: true });
  await writeFile(path.join(folder, 'root/index.html'), `<meta content="connect-src 'self'; x">`);
  await writeFile(path.join(folder, 'root/wasm/a.wasm'), '\0asm');
  await writeFile(path.join(folder, 'root/empty.txt'), '');
  await writeFile(path.join(folder, 'tiny.gguf'), '0123456789');
  await writeFile(path.join(folder, 'secret.txt'), 'secret');
  await symlink(path.join(folder, 'secret.txt'), path.join(folder, 'root/link.txt'));
});

after(async () => {
  for (const server of servers) server.close();
  await rm(folder, { recursive: true });
});

test('parseRange understands first-last, first- and -suffix', () => {
  assert.deepEqual(parseRange('bytes=2-4', 10), { start: 2, end: 4 });
  assert.deepEqual(parseRange('bytes=2-', 10), { start: 2, end: 9 });
  assert.deepEqual(parseRange('bytes=-3', 10), { start: 7, end: 9 });
  assert.deepEqual(parseRange('bytes=-30', 10), { start: 0, end: 9 });
  assert.deepEqual(parseRange('bytes=9-99', 10), { start: 9, end: 9 });
});

test('parseRange refuses what lies outside and ignores what it does not know', () => {
  for (const header of ['bytes=10-', 'bytes=10-12', 'bytes=-0']) assert.equal(parseRange(header, 10), 'unsatisfiable', header);
  for (const header of [undefined, '', 'bytes=', 'bytes=-', 'bytes=4-2', 'bytes=1-2,4-5', 'lines=1-2', 'bytes=a-b']) {
    assert.equal(parseRange(header, 10), null, String(header));
  }
  assert.equal(parseRange('bytes=0-', 0), 'unsatisfiable');
});

test('models are listed and answered with ranges', async () => {
  const port = await serve();
  const [entry] = JSON.parse((await ask(port, '/models.json')).body);
  assert.deepEqual(entry, { name: 'tiny model.gguf', url: '/models/tiny%20model.gguf', bytes: 10, sha256: 'ab', license: 'x', default: true });
  const whole = await ask(port, entry.url);
  assert.deepEqual([whole.status, whole.body, whole.headers['accept-ranges']], [200, '0123456789', 'bytes']);
  const part = await ask(port, entry.url, { headers: { range: 'bytes=-4' } });
  assert.deepEqual([part.status, part.body, part.headers['content-range']], [206, '6789', 'bytes 6-9/10']);
  const none = await ask(port, entry.url, { headers: { range: 'bytes=10-' } });
  assert.deepEqual([none.status, none.headers['content-range']], [416, 'bytes */10']);
  assert.equal((await ask(port, '/models/other.gguf')).status, 404);
});

test('a list in a file is read again when it changes; a broken one leaves the last that was good', async () => {
  const file = path.join(folder, 'list.json');
  const entry = { name: 'first', path: path.join(folder, 'tiny.gguf'), default: true };
  await writeFile(file, JSON.stringify([entry]));
  const port = await serve({ models: file });
  const names = async () => JSON.parse((await ask(port, '/models.json')).body).map(({ name }) => name);
  assert.deepEqual(await names(), ['first']);
  await writeFile(file, JSON.stringify([{ ...entry, name: 'second' }, { ...entry, default: false }]));
  await utimes(file, 1, 1); // surely another time
  assert.deepEqual(await names(), ['second', 'first']);
  assert.equal((await ask(port, '/models/second')).body, '0123456789');
  await writeFile(file, '[{');
  assert.deepEqual(await names(), ['second', 'first']);
});

test('If-Range with an old tag gives the whole file, If-None-Match gives 304', async () => {
  const port = await serve();
  const { etag } = (await ask(port, '/models/tiny%20model.gguf')).headers;
  const fresh = await ask(port, '/models/tiny%20model.gguf', { headers: { range: 'bytes=0-1', 'if-range': etag } });
  assert.deepEqual([fresh.status, fresh.body], [206, '01']);
  const stale = await ask(port, '/models/tiny%20model.gguf', { headers: { range: 'bytes=0-1', 'if-range': '"other"' } });
  assert.deepEqual([stale.status, stale.body.length], [200, 10]);
  assert.equal((await ask(port, '/models/tiny%20model.gguf', { headers: { 'if-none-match': etag } })).status, 304);
});

test('HEAD has the headers and no body; other methods are refused', async () => {
  const port = await serve();
  const head = await ask(port, '/wasm/a.wasm', { method: 'HEAD' });
  assert.deepEqual([head.status, head.body, head.headers['content-length'], head.headers['content-type']], [200, '', '4', 'application/wasm']);
  const post = await ask(port, '/', { method: 'POST' });
  assert.deepEqual([post.status, post.headers.allow], [405, 'GET, HEAD']);
});

test('nothing outside the root is served', async () => {
  const port = await serve();
  for (const address of ['/../secret.txt', '/%2e%2e/secret.txt', '/..%2fsecret.txt', '/wasm/..%5c..%5csecret.txt', '/link.txt', '/models/..%2fsecret.txt', '/a%00b']) {
    const { status, body } = await ask(port, address);
    assert.equal(status, 404, address);
    assert.ok(!body.includes('secret'), address);
  }
  assert.equal((await ask(port, '/%zz')).status, 400);
  assert.equal((await ask(port, '/wasm/')).status, 404);
});

test('every answer carries the policy and isolation, unless it is switched off', async () => {
  const port = await serve();
  for (const address of ['/', '/wasm/a.wasm', '/models.json', '/nothing', '/empty.txt']) {
    const { headers } = await ask(port, address);
    assert.equal(headers['content-security-policy'], contentSecurityPolicy([]), address);
    assert.equal(headers['cross-origin-opener-policy'], 'same-origin', address);
    assert.equal(headers['cross-origin-embedder-policy'], 'require-corp', address);
  }
  const { headers } = await ask(await serve({ isolation: false }), '/');
  assert.equal(headers['cross-origin-opener-policy'], undefined);
  assert.equal(headers['cross-origin-embedder-policy'], undefined);
});

test('a model host is allowed in the header and in the page', async () => {
  const { headers, body } = await ask(await serve({ modelHosts: ['https://m.example', 'http://n.example:81'] }), '/');
  const allowed = "connect-src 'self' https://m.example http://n.example:81;";
  assert.ok(headers['content-security-policy'].includes(allowed));
  assert.ok(body.includes(allowed));
});
