// The wasm core as typed calls: every bound function of src/bind takes JSON and gives JSON; this wrapper turns the replies
// into values and errors into EngineError. Runs in the worker only. It owns no logic of generation or loading.
import { EngineError, fromErrorData, type ErrorData } from './errors.ts';
import type { CoreOptions } from './generated/options.ts';
import type { Decision } from './platform.ts';

/** The Emscripten module, as far as it is used. Views of the memory go stale when it grows: take them anew each time. */
export interface CoreModule {
  readonly wasmMemory: { readonly buffer: ArrayBufferLike };
  create(threads: number): string;
  destroy(): string;
  version(): string;
  loadBegin(json: string): string;
  loadNext(): string;
  loadCommit(): string;
  unload(): string;
  info(): string;
  tokenize(json: string): string;
  detokenize(json: string): string;
  embed(json: string): string;
  generateBegin(json: string): string;
  generateStep(): string;
  generateEnd(): string;
}

export type CoreFactory = (options: {
  nutshellThreads: number;
  onAbort?: (reason: unknown) => void;
}) => Promise<CoreModule>;

export interface CoreInfo {
  model: { name: string; architecture: string; parameters: number; bytes: number; contextLength: number; embeddingSize: number };
  contextSize: number;
  memoryBytes: number;
  /** How many threads there are cores for, of those asked. */
  threads: number;
  chatTemplate: string | null;
  tokens: Record<string, { id: number; text: string } | null>;
  addBos: boolean;
}

export interface CoreGenerate extends CoreOptions {
  ids: number[];
  logitBias?: Record<number, number>;
  stop?: string[];
}

/** A file of the model as the core knows it: it asks for bytes by the place in the list. */
export interface CoreFile {
  name: string;
  bytes: number;
}

export type LoadStep =
  | { state: 'read'; file: number; offset: number; length: number; pointer: number; doneBytes: number; totalBytes: number }
  | { state: 'wait' } // for threads that have not begun: call again in some milliseconds
  | { state: 'ready'; info: CoreInfo };

export type GenerateStep =
  | { state: 'prefill'; done: number; total: number }
  | { state: 'token'; id: number; text: string; logprob: number; finish: null | 'stop' | 'length' }
  | { state: 'done'; finish: 'stop' | 'length'; text: string };

export interface CoreTimings {
  promptTokens: number;
  cachedTokens: number;
  prefillMs: number;
  tokens: number;
  tokenIds: number[];
  decodeMs: number;
  draftedTokens: number;
  acceptedTokens: number;
}

type Bound = Exclude<keyof CoreModule, 'wasmMemory'>;

export class Core {
  /** Set once the module trapped: its memory cannot be trusted any more, every later call fails. */
  private broken: EngineError | null = null;
  private abortReason = '';

  private constructor(private readonly module: CoreModule) {}

  /** Instantiates the module and its threads. Errors: `worker_failed`, `out_of_memory`. */
  static async start(factory: CoreFactory, threads: number): Promise<Core> {
    let core: Core | null = null;
    const onAbort = (reason: unknown) => {
      if (core) core.abortReason = String(reason ?? '');
    };
    let module: CoreModule;
    try {
      module = await factory({ nutshellThreads: threads, onAbort });
    } catch (cause) {
      // Engines say RangeError when the address space or the memory for the heap cannot be had.
      const code = cause instanceof RangeError ? 'out_of_memory' : 'worker_failed';
      throw new EngineError(code, `the WebAssembly module did not start: ${messageOf(cause)}`, { cause });
    }
    core = new Core(module);
    core.call('create', threads);
    return core;
  }

  /** The bytes [pointer, pointer + length) of the heap, valid until the next call of the core. */
  heap(pointer: number, length: number): Uint8Array {
    return new Uint8Array(this.module.wasmMemory.buffer, pointer, length);
  }

  /** Frees the engine and ends its threads; every later call fails. Never throws. */
  destroy(): void {
    try {
      this.call('destroy');
    } catch {
      // A module that has trapped is ended with its worker.
    }
    this.broken ??= new EngineError('disposed');
  }

  loadBegin(request: { files: CoreFile[]; contextSize?: number; memoryLimit?: number; name: string }): void {
    this.call('loadBegin', JSON.stringify(request));
  }

  loadNext(): LoadStep {
    return this.call('loadNext') as LoadStep;
  }

  loadCommit(): void {
    this.call('loadCommit');
  }

  info(): CoreInfo {
    return this.call('info') as CoreInfo;
  }

  tokenize(text: string, special: boolean): number[] {
    return (this.call('tokenize', JSON.stringify({ text, special })) as { ids: number[] }).ids;
  }

  detokenize(ids: number[]): string {
    return (this.call('detokenize', JSON.stringify({ ids })) as { text: string }).text;
  }

  /** The vector of one text. */
  embed(text: string): { embedding: number[]; tokens: number; truncated: boolean } {
    return this.call('embed', JSON.stringify({ text })) as { embedding: number[]; tokens: number; truncated: boolean };
  }

  generateBegin(request: CoreGenerate): { promptTokens: number; cachedTokens: number } {
    return this.call('generateBegin', JSON.stringify(request)) as { promptTokens: number; cachedTokens: number };
  }

  generateStep(): GenerateStep {
    return this.call('generateStep') as GenerateStep;
  }

  generateEnd(): CoreTimings {
    return (this.call('generateEnd') as { timings: CoreTimings }).timings;
  }

  private call(name: Bound, ...args: (string | number)[]): unknown {
    if (this.broken) throw this.broken;
    let text: string;
    try {
      text = (this.module[name] as (...args: (string | number)[]) => string)(...args);
    } catch (cause) {
      const detail = this.abortReason || messageOf(cause);
      this.broken = new EngineError('internal', `the engine stopped in ${name}: ${detail}`, {
        advice: 'Load the model again. If it happens again, please report it with the message.',
        cause,
      });
      throw this.broken;
    }
    const reply = JSON.parse(text) as { ok?: boolean; error?: ErrorData };
    if (reply.error) throw fromErrorData(reply.error);
    return reply;
  }
}

function messageOf(value: unknown): string {
  return value instanceof Error ? value.message : String(value);
}

/** Imports the module of a flavour; its files lie in `wasm/` beside the worker. Errors: `worker_failed`. */
export async function importFlavour(flavour: Decision['flavour'], base: string): Promise<CoreFactory> {
  const url = new URL(`wasm/nutshell-${flavour}.js`, base).href;
  try {
    return ((await import(/* @vite-ignore */ url)) as { default: CoreFactory }).default;
  } catch (cause) {
    throw new EngineError('worker_failed', `cannot load ${url}: ${messageOf(cause)}`, { cause });
  }
}
