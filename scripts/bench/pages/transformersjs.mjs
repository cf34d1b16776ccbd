// transformers.js on its wasm back end, in a worker of its own as its guide advises; the work is in transformersjs_worker.mjs.
export async function load(options) {
  const worker = new Worker('/pages/transformersjs_worker.mjs', { type: 'module' });
  const call = (...message) =>
    new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data.result));
      worker.onerror = (event) => reject(new Error(event.message));
      worker.postMessage(message);
    });
  const { threads } = await call('load', options);
  return {
    threads,
    prefill: (count) => call('prefill', count),
    decode: (count, steps) => call('decode', count, steps),
    ttft: async (count) => (await call('prefill', count)).ms,
  };
}
