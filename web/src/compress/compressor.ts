// class Compressor: the page's side of a compression. It owns one worker, which holds the compressor's module; this file
// only sends calls. It never imports the wasm module.
import { EngineError, throwIfAborted } from '../errors.ts';
import { takeLockWithin } from '../locks.ts';
import { type RpcClient, startWith, type WorkerLike } from '../rpc/client.ts';
import type { Source } from '../rpc/protocol.ts';
import { deleteState, kEndingMs, kWorkLock, listStates } from '../store/states.ts';
import type { CompressCalls } from './protocol.ts';
import type { Compression, CompressOptions, CompressPlan, CompressResult, SizeChoice } from './types.ts';

type CallOptions = Pick<CompressOptions, 'signal' | 'onProgress'>;

/** One model being made smaller, in a worker of its own. One at a time per origin: a second `open` gives `busy`. */
export class Compressor {
  private constructor(
    private readonly client: RpcClient<CompressCalls>,
    readonly plan: CompressPlan,
  ) {}

  /**
   * Reads the header of a stored model (its address) or of a file, which is copied to the device's storage first, and plans.
   * Throws EngineError: `out_of_memory`, `quota` (with numbers), `unsupported_architecture`, `corrupt_file`,
   * `already_compressed`, `busy` ... `createWorker` is for tests.
   */
  static async open(source: string | File | Blob, options: CompressOptions = {}, createWorker: () => WorkerLike = startWorker): Promise<Compressor> {
    const { signal, onProgress, ...settings } = options;
    throwIfAborted(signal);
    const from = sourceOf(source);
    return startWith<CompressCalls, Compressor>(createWorker, signal, async (client) =>
      new Compressor(client, await client.call('open', { source: from, settings }, { signal, onEvent: onProgress })));
  }

  /**
   * Measures what every part of the model is worth, once; gives sizes from the smallest to the largest, evenly. Quick where
   * it was done before. An abort (`aborted`) pauses.
   */
  analyse({ signal, onProgress }: CallOptions = {}): Promise<SizeChoice[]> {
    return this.client.call('analyse', {}, { signal, onEvent: onProgress });
  }

  /**
   * Makes the file of at most so many bytes and puts it with the stored models. An abort (`aborted`) pauses; the same size
   * goes on where it stopped, also after the page was closed.
   */
  make(bytes: number, { signal, onProgress }: CallOptions = {}): Promise<CompressResult> {
    return this.client.call('make', { bytes }, { signal, onEvent: onProgress });
  }

  /** Ends the worker and frees its memory; what is kept stays. */
  dispose(): Promise<void> {
    return this.client.close();
  }

  /** Ends the worker and deletes what is kept of this source; files that were made stay. */
  async discard(): Promise<void> {
    const done = await this.client.call('discard', {}).then(() => true, () => false);
    await this.client.close();
    if (!done) await discardCompression(this.plan.id); // the worker is gone
  }
}

/** Unfinished work on this device, last worked on first; empty where the browser gives no storage. */
export async function listCompressions(): Promise<Compression[]> {
  const states = await listStates().catch(() => []);
  return states.sort((a, b) => b.lastUsed - a.lastUsed).map(({ id, source, name, bytes, done }) => ({ id, source, name, bytes, done }));
}

/** Deletes unfinished work. Errors: `busy` while it is worked on. */
export async function discardCompression(id: string): Promise<void> {
  const release = await takeLockWithin(`${kWorkLock}:${id}`, kEndingMs);
  if (!release) throw new EngineError('busy', 'this model is being made smaller right now', { advice: 'Stop that first.' });
  await deleteState(id).finally(release);
}

function startWorker(): WorkerLike {
  return new Worker(new URL('./worker.ts', import.meta.url), { type: 'module', name: 'nutshell-compress' });
}

function sourceOf(source: string | File | Blob): Source {
  if (source instanceof Blob) return { blob: source, name: source instanceof File ? source.name : 'model.gguf' };
  if (URL.canParse(source)) return { url: source };
  try {
    return { url: new URL(source, globalThis.document?.baseURI ?? globalThis.location?.href).href };
  } catch (cause) {
    throw new EngineError('invalid_argument', `not an address: ${source}`, { cause });
  }
}
