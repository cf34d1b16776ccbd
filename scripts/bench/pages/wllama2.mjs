// wllama 2.4.0 through its low-level calls: tokens in, one greedy token out.
import { promptIds } from './prompt.mjs';

export async function load({ model, threads, context }) {
  const { Wllama } = await import('/peers/wllama2/esm/index.js');
  const paths = {
    'single-thread/wllama.wasm': '/peers/wllama2/esm/single-thread/wllama.wasm',
    'multi-thread/wllama.wasm': '/peers/wllama2/esm/multi-thread/wllama.wasm',
  };
  const engine = new Wllama(paths, { suppressNativeLog: true });
  await engine.loadModelFromUrl(model, { n_threads: threads, n_ctx: context, n_batch: 512 });

  async function prefill(count) {
    await engine.kvClear();
    await engine.samplingInit({ temp: 0 });
    const begin = performance.now();
    await engine.decode(promptIds(count), {});
    return { tokens: count, ms: performance.now() - begin };
  }

  return {
    threads: engine.getNumThreads(),
    prefill,
    async decode(count, steps) {
      await prefill(Math.max(count, 2));
      const begin = performance.now();
      for (let i = 0; i < steps; i++) {
        const { token } = await engine.samplingSample();
        await engine.samplingAccept([token]);
        await engine.decode([token], {});
      }
      return { tokens: steps, ms: performance.now() - begin };
    },
    async ttft(count) {
      const { ms } = await prefill(count);
      const begin = performance.now();
      await engine.samplingSample();
      return ms + performance.now() - begin;
    },
  };
}
