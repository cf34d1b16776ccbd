// Nutshell, through the public interface of web/dist only.
import { kEditQuestion, promptIds } from './prompt.mjs';

export async function load({ model, threads, simd, context }) {
  const { Nutshell } = await import('/dist/index.js');
  const engine = await Nutshell.load(model, { threads, simd, contextSize: context });

  async function generate(ids, maxTokens) {
    const begin = performance.now();
    let firstMs = 0;
    // Without guesses: random prompts make small models repeat themselves, which would flatter the rate.
    const options = { maxTokens, ignoreEnd: true, temperature: 0, cachePrompt: false, draftTokens: 0 };
    for await (const piece of engine.generate(ids, options)) firstMs ||= piece ? performance.now() - begin : 0;
    return { ...engine.timings, firstMs };
  }

  return {
    simd: engine.info.simd,
    threads: engine.info.threads,
    async prefill(count) {
      const { promptTokens, cachedTokens, prefillMs } = await generate(promptIds(count), 1);
      return { tokens: promptTokens - cachedTokens, ms: prefillMs };
    },
    // The first token comes out of the prompt's own logits, so `steps` computed tokens are steps + 1 given ones.
    async decode(count, steps) {
      const { tokens, decodeMs } = await generate(promptIds(Math.max(count, 2)), steps + 1);
      return { tokens: tokens - 1, ms: decodeMs };
    },
    async edit(count, guess) {
      const options = { maxTokens: count, ignoreEnd: true, temperature: 0, cachePrompt: false, draftTokens: guess ? 3 : 0 };
      for await (const piece of engine.chat([{ role: 'user', content: kEditQuestion }], options)) void piece;
      const { tokens, decodeMs, draftedTokens, acceptedTokens } = engine.timings;
      return { tokens: tokens - 1, ms: decodeMs, draftedTokens, acceptedTokens };
    },
    async ttft(count) {
      // A first token may be half a character and show nothing: the one after it, very rarely needed, is counted then.
      return (await generate(promptIds(count), 4)).firstMs;
    },
  };
}
