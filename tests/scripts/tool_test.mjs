// The native tool's long commands on a tiny model: what they answer, bad input, and that whatever stops them leaves no
// half-written file: unwritable folders, a full disk, being killed at any moment.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { tinyModel } from './support/tiny_model.mjs';

const kTool = fileURLToPath(new URL('../../build/native/nutshell', import.meta.url));
let folder;
const at = (name) => path.join(folder, name);

/** Runs the tool with --json; `stopAfter` milliseconds it is killed. Gives {code, signal, answer, errors}. */
function run(args, { stopAfter = 0, signal = 'SIGKILL', limitBytes = 0 } = {}) {
  const command = [kTool, ...args, '--json'];
  // The shell's limit on file sizes stands in for a full disk; it counts in blocks of 1,024 bytes.
  const child = limitBytes
    ? spawn('bash', ['-c', `trap '' XFSZ; ulimit -f ${Math.floor(limitBytes / 1024)}; exec "$@"`, 'bash', ...command])
    : spawn(command[0], command.slice(1));
  let out = '';
  let errors = '';
  child.stdout.on('data', (part) => (out += part));
  child.stderr.on('data', (part) => (errors += part));
  const timer = stopAfter ? setTimeout(() => child.kill(signal), stopAfter) : null;
  return new Promise((resolve) =>
    child.on('close', (code, ended) => {
      clearTimeout(timer);
      resolve({ code, signal: ended, answer: out ? JSON.parse(out) : null, errors });
    }),
  );
}

const compress = (output, ...more) =>
  ['compress', at('tiny.gguf'), '-o', output, '--calibration', at('text.txt'), '--evaluation', at('other.txt'), ...more];
const isThere = (file) => stat(file).then(() => true, () => false);

before(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'nutshell-tool-'));
  await writeFile(at('tiny.gguf'), tinyModel());
  const line = (i) => `Sentence ${i} says that ${(i * 7919) % 1000} is not ${(i * 104729) % 997}.\n`;
  await writeFile(at('text.txt'), Array.from({ length: 400 }, (_, i) => line(i)).join(''));
  await writeFile(at('other.txt'), Array.from({ length: 100 }, (_, i) => line(i + 1000)).join(''));
});
after(() => rm(folder, { recursive: true, force: true }));

test('quantize answers with the size, the formats and what fell back, and writes the file', async () => {
  const { code, answer } = await run(['quantize', at('tiny.gguf'), '-o', at('q4.gguf'), '--to', 'Q4_K']);
  assert.equal(code, 0);
  assert.equal(answer.bytes, (await stat(at('q4.gguf'))).size);
  assert.deepEqual(answer.formats, { F32: 5, Q5_0: 14, Q8_0: 1 });
  assert.equal(answer.fallback.length, 15);
  const generated = await run(['generate', at('q4.gguf'), '--prompt', 'a', '--max-tokens', '4', '--temperature', '0']);
  assert.equal(generated.code, 0);
  assert.deepEqual((await readdir(folder)).filter((name) => name.includes('partial')), []);
});

test('compress answers with these fields and no others', async () => {
  const { code, answer } = await run(compress(at('c.gguf'), '--bits', '8'));
  assert.equal(code, 0);
  assert.deepEqual(Object.keys(answer).sort(), [
    'bits_per_weight',
    'bytes',
    'mean_kl',
    'perplexity_after',
    'perplexity_before',
    'seconds',
    'top1_agreement',
  ]);
  assert.equal(answer.bytes, (await stat(at('c.gguf'))).size);
});

test('a format nobody knows, and a size that cannot be reached, are refused with what can be', async () => {
  const format = await run(['quantize', at('tiny.gguf'), '-o', at('x.gguf'), '--to', 'Q9']);
  assert.equal(format.code, 2);
  assert.match(format.answer.error.message, /Q8_0/);
  const size = await run(compress(at('x.gguf'), '--size', '1000'));
  assert.equal(size.code, 1);
  const smallest = Number(size.answer.error.message.match(/smallest .* (\d+)/)[1]);
  const { answer } = await run(compress(at('x.gguf'), '--size', String(smallest)));
  assert.ok(answer.bytes <= smallest);
  assert.ok(await isThere(at('x.gguf')));
});

test('weights that are not numbers and empty texts are refused by name, and nothing is written', async () => {
  const spoil = (name, values) => name === 'blk.1.ffn_up.weight' && (values[5] = NaN);
  await writeFile(at('nan.gguf'), tinyModel({ change: spoil }));
  await writeFile(at('empty.txt'), '');
  const quantized = await run(['quantize', at('nan.gguf'), '-o', at('no.gguf'), '--to', 'Q8_0']);
  assert.equal(quantized.answer.error.code, 'corrupt_file');
  assert.match(quantized.answer.error.message, /blk\.1\.ffn_up\.weight/);
  const compressed = await run(['compress', at('nan.gguf'), '-o', at('no.gguf'), '--bits', '4', '--calibration', at('text.txt')]);
  assert.equal(compressed.answer.error.code, 'corrupt_file');
  const empty = await run(['compress', at('tiny.gguf'), '-o', at('no.gguf'), '--bits', '8', '--calibration', at('empty.txt')]);
  assert.equal(empty.answer.error.code, 'invalid_argument');
  assert.match(empty.answer.error.message, /calibration/);
  assert.deepEqual((await readdir(folder)).filter((name) => name.startsWith('no.gguf')), []);
});

test('a folder that is not there or not writable is told before the work begins', async () => {
  const none = await run(['quantize', at('tiny.gguf'), '-o', at('none/a.gguf'), '--to', 'Q8_0']);
  assert.equal(none.answer.error.code, 'io_error');
  await mkdir(at('closed'));
  await chmod(at('closed'), 0o500);
  if (process.getuid() !== 0) {  // nothing is closed to root
    const closed = await run(compress(at('closed/a.gguf'), '--bits', '8'));
    assert.equal(closed.answer.error.code, 'io_error');
  }
  await mkdir(at('taken.gguf'));  // a folder where the file should go
  const taken = await run(compress(at('taken.gguf'), '--bits', '8'));
  assert.equal(taken.answer.error.code, 'io_error');
  assert.ok((await stat(at('taken.gguf'))).isDirectory());
});

test('a disk that gets full leaves the file of before untouched', async () => {
  for (const args of [['quantize', at('tiny.gguf'), '-o', at('full.gguf'), '--to', 'Q8_0'], compress(at('full.gguf'), '--bits', '12')]) {
    await writeFile(at('full.gguf'), 'before');
    const { code, answer } = await run(args, { limitBytes: 20 * 1024 });
    assert.equal(code, 1);
    assert.equal(answer.error.code, 'io_error');
    assert.equal(await readFile(at('full.gguf'), 'utf8'), 'before');
    assert.ok(!(await isThere(at('full.gguf.partial'))));
  }
});

test('killed at any moment: no file, or the whole one; the next run gives the same bytes', async () => {
  const started = performance.now();
  assert.equal((await run(compress(at('whole.gguf'), '--bits', '6'))).code, 0);
  const all = performance.now() - started;
  const wanted = await readFile(at('whole.gguf'));
  for (let i = 1; i <= 8; i++) {
    const killed = await run(compress(at('killed.gguf'), '--bits', '6'), { stopAfter: (all * i) / 8, signal: i % 2 ? 'SIGKILL' : 'SIGTERM' });
    if (await isThere(at('killed.gguf'))) {
      assert.ok(wanted.equals(await readFile(at('killed.gguf'))), `killed after ${i}/8`);
      await rm(at('killed.gguf'));
    } else {
      assert.notEqual(killed.code, 0);
    }
  }
  assert.equal((await run(compress(at('killed.gguf'), '--bits', '6'))).code, 0);
  assert.ok(wanted.equals(await readFile(at('killed.gguf'))));
  assert.ok(!(await isThere(at('killed.gguf.partial'))));
});

test('a state that stays saves the measuring of another size, which has the same bytes as without', async () => {
  assert.equal((await run(compress(at('alone.gguf'), '--bits', '7'))).code, 0);
  assert.equal((await run(compress(at('one.gguf'), '--bits', '6', '--state', at('state')))).code, 0);
  const times = async () => Promise.all((await readdir(at('state'))).sort().map(async (name) => `${name} ${(await stat(path.join(at('state'), name))).mtimeMs}`));
  const before = await times();
  assert.equal((await run(compress(at('two.gguf'), '--bits', '7', '--state', at('state')))).code, 0);
  const kept = (await times()).filter((each) => before.includes(each));
  assert.deepEqual(kept, before, 'every entry was used as it is');
  assert.ok((await readFile(at('two.gguf'))).equals(await readFile(at('alone.gguf'))));
});

test('a second run with the same output is refused while the first one writes', async () => {
  const first = spawn('bash', ['-c', 'exec 9>>"$1"; flock 9; echo held; read -r', 'bash', at('both.gguf.partial')]);
  await once(first.stdout, 'data');
  const second = await run(['quantize', at('tiny.gguf'), '-o', at('both.gguf'), '--to', 'Q8_0']);
  first.stdin.end();
  await once(first, 'close');
  assert.equal(second.answer.error.code, 'io_error');
  assert.match(second.answer.error.message, /another process/);
  assert.equal((await run(['quantize', at('tiny.gguf'), '-o', at('both.gguf'), '--to', 'Q8_0'])).code, 0);
});
