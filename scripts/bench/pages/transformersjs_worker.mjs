// The worker of transformersjs.mjs: generate() with token ids in, greedy, timed by the streamer's calls.
import { AutoModelForCausalLM, BaseStreamer, env, Tensor } from '/peers/@huggingface/transformers/dist/transformers.js';
import { promptIds } from './prompt.mjs';

const kRuntime = '/peers/onnxruntime-web/dist/ort-wasm-simd-threaded.asyncify'; // the build it takes by itself, but from here

let model = null;

/** When each call of put came: first the prompt, then one per token. */
class Clock extends BaseStreamer {
  times = [];
  put() {
    this.times.push(performance.now());
  }
  end() {}
}

async function generate(count, tokens) {
  const ids = BigInt64Array.from(promptIds(count), BigInt);
  const input_ids = new Tensor('int64', ids, [1, count]);
  const attention_mask = new Tensor('int64', new BigInt64Array(count).fill(1n), [1, count]);
  const streamer = new Clock();
  const begin = performance.now();
  await model.generate({ input_ids, attention_mask, max_new_tokens: tokens, min_new_tokens: tokens, do_sample: false, streamer });
  const [, ...times] = streamer.times; // the first call hands over the prompt
  if (times.length !== tokens) throw new Error(`transformers.js gave ${times.length} tokens instead of ${tokens}`);
  return { first: times[0] - begin, rest: times[tokens - 1] - times[0] };
}

const calls = {
  async load({ threads, dtype }) {
    env.allowRemoteModels = false;
    env.allowLocalModels = true;
    env.localModelPath = '/onnx/';
    env.backends.onnx.wasm.numThreads = threads;
    env.backends.onnx.wasm.wasmPaths = { mjs: new URL(`${kRuntime}.mjs`, self.origin).href, wasm: new URL(`${kRuntime}.wasm`, self.origin).href };
    model = await AutoModelForCausalLM.from_pretrained('model', { dtype, device: 'wasm' });
    return { threads };
  },
  async prefill(count) {
    return { tokens: count, ms: (await generate(count, 1)).first };
  },
  async decode(count, steps) {
    return { tokens: steps, ms: (await generate(Math.max(count, 2), steps + 1)).rest };
  },
};

self.onmessage = async ({ data: [name, ...values] }) => {
  try {
    self.postMessage({ result: await calls[name](...values) });
  } catch (error) {
    self.postMessage({ error: String(error?.stack ?? error) });
  }
};
