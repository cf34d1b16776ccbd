// The parts of scripts/bench/browser that need no browser: its command line, its statistics, and when it calls a machine busy.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promptIds, promptText } from '../../scripts/bench/pages/prompt.mjs';
import { parseOptions, UsageError, variantsOf } from '../../scripts/bench/src/options.mjs';
import { elapsed, threadTimes } from '../../scripts/bench/src/processes.mjs';
import { busyReasons, idleReasons, median, rowsOf, table } from '../../scripts/bench/src/report.mjs';

const kFile = fileURLToPath(import.meta.url); // any file that exists
const parse = (...args) => parseOptions(['--model', kFile, ...args]);

test('bench options: the defaults, and a context as large as the work needs', () => {
  const options = parse();
  assert.deepEqual(options.work, ['prefill:128', 'prefill:512', 'decode:0', 'decode:1024']);
  assert.equal(options.context, 2048);
  assert.equal(parse('--work', 'decode:4096', '--steps', '32').context, 4352);
});

test('bench options: wllama means both versions, flavours and threads multiply', () => {
  const options = parse('--engines', 'nutshell,wllama', '--simd', 'strict,relaxed', '--threads', '1,2', '--rounds', '5', '--peer-rounds', '2');
  const variants = variantsOf(options);
  assert.equal(variants.length, 8);
  assert.deepEqual(variants.filter(({ engine }) => engine === 'wllama3').map(({ rounds }) => rounds), [2, 2]);
  assert.deepEqual(variants.filter(({ simd }) => simd === 'strict').map(({ threads }) => threads), [1, 2]);
});

for (const [name, args] of Object.entries({
  'no such engine': ['--engines', 'nutshell,other'],
  'no such work': ['--work', 'prefill'],
  'no threads': ['--threads', '0'],
  'a broken number': ['--rounds', '1e9'],
  'a context too small for the work': ['--work', 'decode:1024', '--context', '1024'],
  'transformers.js without its model': ['--engines', 'transformersjs'],
  'an unknown option': ['--fast'],
})) {
  test(`bench options refuse ${name}`, () => assert.throws(() => parse(...args), UsageError));
}

test('bench options refuse a model that is not there', () => assert.throws(() => parseOptions(['--model', '/nowhere.gguf']), UsageError));

test('bench prompts: always the same, and none of the first ids', () => {
  assert.deepEqual(promptIds(3), [15830, 5967, 7980]);
  assert.deepEqual(promptIds(4).slice(0, 2), promptIds(2));
  assert.ok(promptIds(5000).every((id) => id >= 1000 && id < 30000));
  assert.equal(promptText(7).split(' ').length, 8);
});

const variant = { engine: 'nutshell', simd: 'relaxed', threads: 2 };
const item = (value, wait = 0, other = 0) => ({ variant, version: '1', work: 'decode:0', unit: 'tokens/s', value, wait, other, steal: 0 });

test('bench rows: min, median and max over the rounds', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  const rows = rowsOf([item(30), item(10), item(20)], 'm.gguf');
  assert.equal(rows.length, 1);
  const { min, median: middle, max, rounds, model } = rows[0];
  assert.deepEqual([min, middle, max, rounds, model], [10, 20, 30, 3, 'm.gguf']);
});

test('bench: one disturbed round is no reason to refuse, most of them are', () => {
  const busy = (...items) => busyReasons(rowsOf(items, 'm'), 2).length > 0;
  assert.equal(busy(item(1), item(1), item(1, 0.9)), false);
  assert.equal(busy(item(1), item(1, 0.25), item(1, 0.25)), true); // over 0.1 per thread
  assert.equal(busy(item(1, 0.15), item(1, 0.15)), false);
  assert.equal(busy(item(1, 0, 0.5), item(1, 0, 0.5)), true); // others on a machine of two cores
  assert.equal(idleReasons({ other: 0.5, steal: 0 }, 2).length, 1);
  assert.equal(idleReasons({ other: 0.05, steal: 0.05 }, 2).length, 0);
});

test('bench table: says how far nutshell is ahead, for rates and for times', () => {
  const load = { work: 'load:warm', unit: 's', wait: 0 };
  const peer = { engine: 'wllama2', simd: null, threads: 2 };
  const rows = rowsOf([item(100), { ...item(20), variant: peer }, { ...item(0.5), ...load }, { ...item(2), ...load, variant: peer }], 'm');
  const text = table({ machine: { cpu: 'c', cores: 2, date: 'd' }, busy: false, rows, model: 'm' });
  assert.match(text, /decode:0 \| wllama 1 \| 20\.0 \| tokens\/s .* 5\.00 x/);
  assert.match(text, /load:warm \| wllama 1 \| 2\.00 \| s .* 4\.00 x/);
});

test('bench: the time that a process used is seen', { skip: process.platform !== 'linux' && 'needs /proc' }, () => {
  const before = threadTimes(process.pid);
  const end = Date.now() + 60;
  while (Date.now() < end);
  const { run, wait } = elapsed(before, threadTimes(process.pid));
  assert.ok(run > 0.001 && run < 10, `run ${run}`);
  assert.ok(wait >= 0);
});
