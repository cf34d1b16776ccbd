// One run of one variant: a browser with a fresh profile (or a native process), the model loaded, a warm-up, then each work
// once. A run gives measurements {work, unit, value, wait, other, steal}: `wait` is how long our threads waited for a core per
// second, `other` and `steal` how many cores other processes and the host took meanwhile.
import { spawn } from 'node:child_process';
import os from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { elapsed, machineTimes, threadTimes, watchMemory } from './processes.mjs';
import { newProfile, openTab } from './tab.mjs';

const kUnits = { prefill: 'tokens/s', decode: 'tokens/s', ttft: 'ms', cpu: 's', load: 's', memory: 'MB', edit: 'tokens/s', edit0: 'tokens/s' };
// For every engine alike, again and again for so long: a browser's optimising compiler works in the background, on the cores
// that are to be measured, until it has been to every function.
const kWarmUp = [['prefill', 64, 0], ['decode', 0, 16]];
const kWarmUpMs = 1500;

async function warmUp(tab) {
  const begin = performance.now();
  do {
    for (const step of kWarmUp) await tab.call('run', ...step);
  } while (performance.now() - begin < kWarmUpMs);
}

/** Runs `work()` and gives what it returned with what it and everybody else used meanwhile. */
async function observed(pid, work) {
  const [threads, machine, own] = [threadTimes(pid), machineTimes(), process.cpuUsage()];
  const begin = performance.now();
  const result = await work();
  const seconds = (performance.now() - begin) / 1000;
  const { run, wait } = elapsed(threads, threadTimes(pid));
  const [now, mine] = [machineTimes(), process.cpuUsage(own)];
  const other = now.work - machine.work - run - (mine.user + mine.system) * 1e-6;
  const load = { wait: wait / seconds, other: Math.max(0, other) / seconds, steal: (now.steal - machine.steal) / seconds };
  return { result, run, seconds, load };
}

async function measure(tab, work, steps) {
  const [name, argument] = work.split(':');
  const count = Number(argument);
  const [kind, at, tokens] = name === 'cpu' ? ['decode', 0, count] : [name, count, steps];
  const { result, run, load } = await observed(tab.pid, () => tab.call('run', kind, at, tokens));
  const rate = (result.tokens / result.ms) * 1000;
  const value = { ttft: result.ms, cpu: run }[name] ?? rate;
  if (!(value > 0 && Number.isFinite(value))) throw new Error(`${work} gave ${JSON.stringify(result)}`);
  // An engine that times itself must not claim less than passed outside.
  if (result.ms > result.wallMs * 1.02 + 2) throw new Error(`${work}: ${result.ms} ms inside, ${result.wallMs} ms outside`);
  return { work, unit: kUnits[name], value, ...load };
}

/** Opens the page in a browser with `profile`, loads the model, and hands the tab to `work`. Gives the browser's version. */
async function visit(variant, options, origin, profile, kind, report, work) {
  const tab = await openTab(options.browser, profile);
  const memory = watchMemory(tab.pid);
  try {
    const { threads, simd } = variant;
    const model = `${origin}/model/${encodeURIComponent(options.modelName)}`;
    const settings = { model, threads, simd, context: options.context, dtype: options.dtype };
    await tab.open(`${origin}/pages/bench.html`);
    const { result, load } = await observed(tab.pid, () => tab.call('start', variant.engine, settings));
    // nutshell does without threads that have no core.
    if (result.threads !== threads && threads <= os.availableParallelism() && !options.allowBusy) throw new Error(`${threads} threads asked, ${result.threads} given`);
    if (simd && result.simd !== simd) throw new Error(`the flavour ${simd} was asked, ${result.simd} is running`);
    if (options.work.includes(`load:${kind}`)) report({ work: `load:${kind}`, unit: 's', value: result.seconds, ...load });
    await work?.(tab, memory);
    return tab.version;
  } finally {
    memory.stop();
    await tab.close();
  }
}

const worksOf = ({ engine }, { work }) => work.filter((item) => engine === 'nutshell' || !item.startsWith('edit'));

/** Everything of one run in one profile. A warm load is a second start of the browser, with what the first one left. */
async function inBrowser(variant, options, origin, report) {
  const profile = await newProfile();
  try {
    const warm = options.work.includes('load:warm');
    if (warm) await visit(variant, options, origin, profile.folder, 'cold', report);
    return await visit(variant, options, origin, profile.folder, warm ? 'warm' : 'cold', report, async (tab, memory) => {
      await warmUp(tab);
      for (const work of worksOf(variant, options)) {
        if (!work.startsWith('load') && work !== 'memory') report(await measure(tab, work, options.steps));
      }
      if (options.work.includes('memory')) report({ work: 'memory', unit: kUnits.memory, value: memory.stop() / 1e6 });
    });
  } finally {
    await profile.remove();
  }
}

/** llama.cpp in a process of its own; it watches its own waiting. Gives its version. */
async function natively(variant, options, report) {
  const work = worksOf(variant, options).filter((item) => item !== 'memory').join(',');
  if (!work) return null;
  const script = fileURLToPath(new URL('../native', import.meta.url));
  const args = ['--model', options.model, '--threads', variant.threads, '--work', work, '--rounds', 1, '--steps', options.steps,
    '--context', options.context];
  const child = spawn(script, args.map(String), { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve, reject) => child.once('error', reject).once('close', resolve));
  ended.catch(() => undefined);
  let version = null;
  for await (const line of createInterface({ input: child.stdout })) {
    const message = JSON.parse(line);
    if (message.version) version = message.version;
    else report({ work: message.work, unit: message.unit, value: message.values[0], wait: message.wait[0] });
  }
  const code = await ended;
  if (code !== 0) throw new Error(`scripts/bench/native ended with ${code}`);
  return version;
}

/** Runs one variant once; `report` gets each measurement as it is made. Gives {browser} or {version}. */
export async function runVariant(variant, options, origin, report) {
  if (variant.engine === 'llamacpp') return { version: await natively(variant, options, report) };
  return { browser: await inBrowser(variant, options, origin, report) };
}
