// The page in which one engine is measured. scripts/bench/browser calls `bench.start` and `bench.run`; every engine is a
// module here with `load(options)`, which gives {simd, threads, prefill(n), decode(n, steps), ttft(n)}:
//   prefill  reads n tokens into an empty context              -> {tokens, ms}
//   decode   n tokens of context, then `steps` greedy tokens   -> {tokens, ms} of the steps
//   edit     n tokens of an answer that repeats much of its question, with (edit) and without (edit0) guessing ahead
//   ttft     time from the call to the first token             -> ms
let engine = null;

async function start(name, options) {
  if (!crossOriginIsolated) throw new Error('the page is not cross-origin isolated: no engine would get its threads');
  const module = await import(`./${name}.mjs`);
  const begin = performance.now();
  engine = await module.load(options);
  const seconds = (performance.now() - begin) / 1000;
  return { seconds, simd: engine.simd ?? null, threads: engine.threads };
}

async function run(kind, count, steps) {
  const begin = performance.now();
  const result = await measure(kind, count, steps);
  return { ...result, wallMs: performance.now() - begin };
}

async function measure(kind, count, steps) {
  if (kind === 'prefill') return engine.prefill(count);
  if (kind === 'decode') return engine.decode(count, steps);
  if (kind === 'edit' || kind === 'edit0') return engine.edit(count, kind === 'edit');
  if (kind === 'ttft') return { tokens: count, ms: await engine.ttft(count) };
  throw new Error(`no such work: ${kind}`);
}

globalThis.bench = { start, run };
