// class Engine and Nutshell.load: the page's side. Each engine owns one worker, which holds the module, the model and the
// pull loop; this file only sends calls and turns token events into an async iterator of strings. It never imports the
// wasm module.
import { EngineError, throwIfAborted } from './errors.ts';
import { nameInFolder } from './names.ts';
import { type RpcClient, startWith, type WorkerLike } from './rpc/client.ts';
import type { Calls, EmbedEvent, Prompt, RunEvent, Source } from './rpc/protocol.ts';
import type { ChatMessage, EmbedOptions, Embeddings, EngineInfo, GenerateOptions, LoadOptions, Timings } from './types.ts';


/** A loaded model in its own worker. Calls of chat, generate and embed run one after the other, in the order they were started. */
export class Engine {
  private currentInfo: EngineInfo;
  private currentTimings: Timings | null = null;
  /** Settles when the last started run has ended. */
  private tail: Promise<unknown> = Promise.resolve();

  /** Use Nutshell.load. */
  constructor(
    private readonly client: RpcClient,
    info: EngineInfo,
  ) {
    this.currentInfo = info;
  }

  /** What runs and where: flavour, threads, memory, model. `memoryBytes` and `threads` are of the end of the last call. */
  get info(): EngineInfo {
    return this.currentInfo;
  }

  /** Numbers of the last ended call of chat or generate; null before the first. */
  get timings(): Timings | null {
    return this.currentTimings;
  }

  /**
   * The model's answer to `messages`, as pieces of text; what a thinking model says before it goes to `onReasoning`. The work starts with the first `next()`. Leaving the loop or
   * aborting `options.signal` stops the model; the engine stays usable. Throws EngineError: `no_chat_template`,
   * `bad_chat_template`, `context_full`, `aborted` ...
   */
  chat(messages: ChatMessage[], options: GenerateOptions = {}): AsyncGenerator<string, void, void> {
    return this.run({ messages: messages.map(plain) }, options);
  }

  /** The continuation of a text (special tokens in it are recognised) or of token ids (taken as they are). */
  generate(prompt: string | ArrayLike<number>, options: GenerateOptions = {}): AsyncGenerator<string, void, void> {
    return this.run(typeof prompt === 'string' ? { text: prompt } : { ids: Array.from(prompt) }, options);
  }

  /**
   * The vectors of texts, by an embedding model (`info.model.embeddingSize` > 0). A text longer than the model reads is cut,
   * and `truncated` says so. Throws EngineError: `no_embeddings` (a language model), `aborted` ...
   */
  async embed(texts: readonly string[], options: EmbedOptions = {}): Promise<Embeddings> {
    const { signal, onProgress } = options;
    throwIfAborted(signal);
    const stopper = new AbortController();
    const abort = () => stopper.abort(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    const thrown: unknown[] = [];
    const onEvent = (progress: EmbedEvent) => {
      if (stopper.signal.aborted) return;
      try {
        onProgress?.(progress);
      } catch (error) {
        // A callback that throws ends the call with its error.
        thrown.push(error);
        stopper.abort();
      }
    };
    const request = { texts: [...texts] };
    try {
      const { vectors, used } = await this.enqueue(stopper.signal, () => this.client.call('embed', request, { onEvent, signal: stopper.signal }));
      this.currentInfo = { ...this.currentInfo, ...used };
      throwIfAborted(stopper.signal);
      return vectors;
    } catch (error) {
      throw thrown.length > 0 ? thrown[0] : error;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  /** The prompt that `chat` would give to the model. */
  async renderChat(messages: ChatMessage[], options: Pick<GenerateOptions, 'thinking' | 'tools'> = {}): Promise<string> {
    return (await this.client.call('render', { messages: messages.map(plain), options })).text;
  }

  /** Token ids of a text, nothing added; `special: false` takes special tokens in it as plain text. */
  async tokenize(text: string, options: { special?: boolean } = {}): Promise<number[]> {
    return (await this.client.call('tokenize', { text, special: options.special ?? true })).ids;
  }

  async detokenize(ids: ArrayLike<number>): Promise<string> {
    return (await this.client.call('detokenize', { ids: Array.from(ids) })).text;
  }

  /** Ends the worker and frees all memory. Open calls reject with `disposed`. May be called twice. */
  async dispose(): Promise<void> {
    await this.client.close();
  }

  /** Starts `work` when all that was started before has ended; an abort while it waits ends it at once. */
  private enqueue<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const previous = this.tail;
    const ended = (async () => {
      await Promise.race([previous, abortOf(signal)]);
      throwIfAborted(signal);
      return work();
    })();
    this.tail = Promise.allSettled([previous, ended]);
    return ended;
  }

  private async *run(prompt: Prompt, options: GenerateOptions): AsyncGenerator<string, void, void> {
    const { onToken, onPrefill, onReasoning, signal, ...rest } = options;
    throwIfAborted(signal);
    const stopper = new AbortController();
    const abort = () => stopper.abort(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    const pieces = new PieceQueue();
    const onEvent = (event: RunEvent) => {
      // What arrives after an abort was already on its way; the caller has said that it wants no more.
      if (stopper.signal.aborted) return;
      try {
        if (event.kind === 'prefill') onPrefill?.(event);
        else if (event.kind === 'token') onToken?.(event.token);
        const reasoning = event.kind === 'token' ? event.token.reasoning : event.kind === 'text' ? event.reasoning : undefined;
        if (reasoning) onReasoning?.(reasoning);
      } catch (error) {
        // A callback that throws ends the call with its error, as a throw in the loop would.
        pieces.end(error);
        stopper.abort();
        return;
      }
      pieces.push(event.kind === 'token' ? event.token.text : event.kind === 'text' ? event.text : '');
    };
    const ended = this.enqueue(stopper.signal, async () => {
      const request = { prompt, options: rest, logprobs: onToken !== undefined };
      const { timings, used } = await this.client.call('run', request, { onEvent, signal: stopper.signal });
      this.currentTimings = timings;
      this.currentInfo = { ...this.currentInfo, ...used };
    });
    ended.then(() => pieces.end(), (error: unknown) => pieces.end(error));
    try {
      for (;;) {
        const piece = await pieces.next();
        // An abort must not wait for the consumer to read what is still queued.
        throwIfAborted(signal);
        if (piece === null) return;
        yield piece;
      }
    } finally {
      signal?.removeEventListener('abort', abort);
      stopper.abort();
      await ended.catch(() => undefined);
    }
  }
}

/** A message without what else its object may carry. */
function plain({ role, content, tool_calls, tool_call_id, name }: ChatMessage): ChatMessage {
  return { role, content, ...(tool_calls ? { tool_calls } : {}), ...(tool_call_id ? { tool_call_id } : {}), ...(name ? { name } : {}) };
}

/** Resolves (never rejects) when the signal is aborted. */
function abortOf(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

/** Pieces on their way from the worker to the one consumer. */
class PieceQueue {
  private readonly pieces: string[] = [];
  private ended = false;
  private error: unknown = null;
  private wake: (() => void) | null = null;

  push(piece: string): void {
    if (!piece) return;
    this.pieces.push(piece);
    this.wake?.();
  }

  /** The first call counts. */
  end(error: unknown = null): void {
    if (!this.ended) this.error = error;
    this.ended = true;
    this.wake?.();
  }

  /** The next piece; null at the end; throws the error the run ended with, after the pieces before it. */
  async next(): Promise<string | null> {
    while (!this.pieces.length && !this.ended) await new Promise<void>((resolve) => (this.wake = resolve));
    const piece = this.pieces.shift();
    if (piece !== undefined) return piece;
    if (this.error) throw this.error;
    return null;
  }
}

function startWorker(): WorkerLike {
  return new Worker(new URL('./worker.ts', import.meta.url), { type: 'module', name: 'nutshell' });
}

/** What a model can be loaded from. Several addresses or files, or a folder, are the files of one model. */
export type ModelInput = string | URL | Blob | (string | URL | Blob)[] | FileSystemDirectoryHandle;

function sourceOf(model: string | URL | Blob): Source {
  if (model instanceof Blob) return { blob: model, name: model instanceof File ? nameInFolder(model.webkitRelativePath || model.name) : 'model.gguf' };
  try {
    return { url: new URL(model, globalThis.document?.baseURI ?? globalThis.location?.href).href };
  } catch (cause) {
    throw new EngineError('invalid_argument', `not an address: ${String(model)}`, { cause });
  }
}

/** Names of files that can belong to a model; a folder holds others too. */
const kModelFile = /\.(gguf|safetensors|json|jinja|txt|model)$/i;

/** The settings of a module of sentence-transformers, if the folder is one. */
async function moduleConfig(folder: FileSystemDirectoryHandle): Promise<FileSystemFileHandle | null> {
  if (nameInFolder(`${folder.name}/config.json`) === 'config.json') return null;
  return folder.getFileHandle('config.json').catch(() => null);
}

async function sourcesOf(model: ModelInput): Promise<Source[]> {
  if (Array.isArray(model)) {
    const files = model.filter((each) => !(each instanceof File) || kModelFile.test(each.name));
    if (files.length === 0) throw new EngineError('invalid_argument', 'none of the files belongs to a model');
    return files.map(sourceOf);
  }
  if (typeof model === 'string' || model instanceof URL || model instanceof Blob) return [sourceOf(model)];
  const sources: Source[] = [];
  for await (const entry of (model as unknown as { values(): AsyncIterable<FileSystemHandle> }).values()) {
    const file = entry.kind === 'file' ? (entry as FileSystemFileHandle) : await moduleConfig(entry as FileSystemDirectoryHandle);
    const name = entry.kind === 'file' ? entry.name : `${entry.name}/config.json`;
    if (file && kModelFile.test(name)) sources.push({ blob: await file.getFile(), name });
  }
  if (sources.length === 0) throw new EngineError('invalid_argument', `the folder ${model.name} holds no model`);
  return sources;
}

/**
 * Loads a model (an address, a File or a Blob; several of them, or a folder) into a new worker and gives its engine. Other engines are not touched, also
 * not by a failed load. `createWorker` is for tests.
 */
export async function load(
  model: ModelInput,
  options: LoadOptions = {},
  createWorker: () => WorkerLike = startWorker,
): Promise<Engine> {
  const { onProgress, signal, ...rest } = options;
  throwIfAborted(signal);
  const sources = await sourcesOf(model);
  const onEvent = onProgress && ((progress: Parameters<typeof onProgress>[0]) => {
    if (!signal?.aborted) onProgress(progress);
  });
  return startWith<Calls, Engine>(createWorker, signal, async (client) => new Engine(client, await client.call('load', { sources, ...rest }, { onEvent, signal })));
}

/** The entry of the package. */
export const Nutshell = {
  load: (model: ModelInput, options: LoadOptions = {}): Promise<Engine> => load(model, options),
};
