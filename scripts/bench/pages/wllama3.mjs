// wllama 3.8.1: its completion call, which takes text only, and its own timings. Rates use the number of tokens it counted.
import { promptText } from './prompt.mjs';

export async function load({ model, threads, context }) {
  const { Wllama } = await import('/peers/wllama3/esm/index.js');
  const engine = new Wllama({ default: '/peers/wllama3/esm/wasm/wllama.wasm' }, { suppressNativeLog: true });
  await engine.loadModelFromUrl(model, { n_threads: threads, n_ctx: context, n_gpu_layers: 0, warmup: false });

  async function complete(count, tokens, onData) {
    const options = { prompt: promptText(count), max_tokens: tokens, temperature: 0, ignore_eos: true, cache_prompt: false };
    let timings = null;
    // Every chunk is looked at: only the last one has the timings.
    await engine.createCompletion({
      ...options,
      stream: true,
      onData: (chunk) => {
        onData?.();
        timings = chunk.timings ?? timings;
      },
    });
    if (!timings) throw new Error('wllama 3 gave no timings');
    // A start token may be added.
    if (Math.abs(timings.prompt_n - count) > 2) throw new Error(`wllama 3 read ${timings.prompt_n} tokens instead of ${count}`);
    return timings;
  }

  return {
    threads: engine.getNumThreads(),
    async prefill(count) {
      const { prompt_n, prompt_ms } = await complete(count, 1);
      return { tokens: prompt_n, ms: prompt_ms };
    },
    async decode(count, steps) {
      const { predicted_n, predicted_ms } = await complete(Math.max(count, 2), steps + 1);
      return { tokens: predicted_n - 1, ms: predicted_ms };
    },
    async ttft(count) {
      const begin = performance.now();
      let first = 0;
      await complete(count, 1, () => (first ||= performance.now() - begin));
      return first;
    },
  };
}
