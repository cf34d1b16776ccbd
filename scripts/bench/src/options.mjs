// The command line of scripts/bench/browser, checked, and the list of variants (one engine with one SIMD flavour and one
// number of threads) that it asks for.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';

export const kUsage = `usage: scripts/bench/browser --model FILE [options]
  --model FILE         the GGUF file
  --threads N[,N...]   threads of every engine (1)
  --engines LIST       nutshell, wllama (both versions), wllama2, wllama3, transformersjs, llamacpp (nutshell)
  --simd LIST          flavours of nutshell: strict, relaxed (relaxed)
  --work LIST          prefill:N decode:N (at N tokens of context) ttft:N cpu:N load:cold load:warm memory;
                       of nutshell alone edit:N edit0:N (with and without guessing ahead)
                       (prefill:128,prefill:512,decode:0,decode:1024)
  --rounds R           interleaved rounds, each in a fresh profile (5)
  --peer-rounds R      in how many of them the browser peers take part; they are slow (all)
  --steps N            tokens of a decode (64)
  --context N          context of every engine (2048, or what the work needs)
  --browser NAME       chromium or firefox (chromium)
  --onnx DIR           the model as ONNX for transformersjs (README.md says how to make it)
  --dtype NAME         which of its weights: q8, q4 ... (q8)
  --dist DIR           a built web folder to measure instead of web/dist
  --allow-busy         report although the machine is busy, with busy: true
  --json               the report as JSON on stdout instead of a table
  --out FILE           where the report is kept (build/bench/<time>.json)`;

const kEngines = { nutshell: ['nutshell'], wllama: ['wllama2', 'wllama3'], wllama2: ['wllama2'], wllama3: ['wllama3'],
  transformersjs: ['transformersjs'], llamacpp: ['llamacpp'] };
const kWork = /^(?:(?:prefill|ttft|cpu|edit0?):[1-9]\d{0,5}|decode:\d{1,6}|load:(?:cold|warm)|memory)$/;

export class UsageError extends Error {}

function check(condition, message) {
  if (!condition) throw new UsageError(message);
}

function list(text, name, known) {
  const items = [...new Set(text.split(',').filter(Boolean))];
  check(items.length > 0, `--${name} is empty`);
  for (const item of items) check(known(item), `--${name}: '${item}' is not known`);
  return items;
}

function whole(text, name, least, most) {
  const value = Number(text);
  check(Number.isInteger(value) && value >= least && value <= most, `--${name} must be a whole number from ${least} to ${most}, not ${text}`);
  return value;
}

/** Tokens of context that one piece of work needs. */
function contextOf(work, steps) {
  const [name, count] = [work.split(':')[0], Number(work.split(':')[1])];
  if (name === 'decode') return Math.max(count, 2) + steps + 1;
  if (name.startsWith('edit')) return count + 512; // the chat prompt of pages/prompt.mjs is shorter
  return name === 'cpu' ? count + 3 : Number.isFinite(count) ? count + 4 : 0;
}

const kStrings = { model: '', threads: '1', engines: 'nutshell', simd: 'relaxed', work: 'prefill:128,prefill:512,decode:0,decode:1024',
  rounds: '5', 'peer-rounds': '', steps: '64', context: '', browser: 'chromium', onnx: '', dtype: 'q8', dist: '', out: '' };
const kFlags = ['allow-busy', 'json', 'help'];

/** Throws UsageError. */
export function parseOptions(args) {
  let values;
  try {
    const strings = Object.entries(kStrings).map(([name, value]) => [name, { type: 'string', default: value }]);
    const flags = kFlags.map((name) => [name, { type: 'boolean', default: false, ...(name === 'help' && { short: 'h' }) }]);
    ({ values } = parseArgs({ args, options: Object.fromEntries([...strings, ...flags]) }));
  } catch (error) {
    throw new UsageError(error.message);
  }
  if (values.help) return { help: true };
  check(values.model, '--model is missing');
  check(existsSync(values.model), `--model: there is no file ${values.model}`);
  check(['chromium', 'firefox'].includes(values.browser), `--browser must be chromium or firefox, not '${values.browser}'`);
  const work = list(values.work, 'work', (item) => kWork.test(item));
  const steps = whole(values.steps, 'steps', 1, 4096);
  const need = Math.max(...work.map((item) => contextOf(item, steps)));
  const context = values.context ? whole(values.context, 'context', 1, 1 << 20) : Math.max(2048, Math.ceil(need / 256) * 256);
  check(context >= need, `--context ${context} is too small: the work needs ${need}`);
  const rounds = whole(values.rounds, 'rounds', 1, 1000);
  const engines = list(values.engines, 'engines', (item) => item in kEngines).flatMap((item) => kEngines[item]);
  if (engines.includes('transformersjs')) {
    check(values.onnx, 'transformersjs needs --onnx DIR: the model as ONNX; see scripts/bench/README.md');
    check(existsSync(path.join(values.onnx, 'config.json')), `--onnx: ${values.onnx} has no config.json`);
  }
  return {
    model: path.resolve(values.model),
    threads: list(values.threads, 'threads', () => true).map((item) => whole(item, 'threads', 1, 32)),
    engines: [...new Set(engines)],
    simd: list(values.simd, 'simd', (item) => ['strict', 'relaxed'].includes(item)),
    work,
    steps,
    context,
    rounds,
    peerRounds: values['peer-rounds'] ? whole(values['peer-rounds'], 'peer-rounds', 1, rounds) : rounds,
    browser: values.browser,
    onnx: values.onnx && path.resolve(values.onnx),
    dtype: values.dtype,
    dist: values.dist && path.resolve(values.dist),
    allowBusy: values['allow-busy'],
    json: values.json,
    out: values.out,
  };
}

/** Every {engine, simd, threads, rounds} of the run, in the order of the first round. */
export function variantsOf({ engines, simd, threads, rounds, peerRounds }) {
  return threads.flatMap((count) => engines.flatMap((engine) => {
    const flavours = engine === 'nutshell' ? simd : [null];
    const own = engine === 'nutshell' || engine === 'llamacpp';
    return flavours.map((flavour) => ({ engine, simd: flavour, threads: count, rounds: own ? rounds : peerRounds }));
  }));
}
