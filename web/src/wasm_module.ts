// A wasm module of src/bind: every bound function takes JSON and gives JSON; this wrapper turns the replies into values and
// errors into EngineError, starts the module, and keeps away from one that trapped.
import { EngineError, fromErrorData, type ErrorData } from './errors.ts';

/** An Emscripten module, as far as all have it. Views of the memory go stale when it grows: take them anew each time. */
export interface BoundModule {
  readonly wasmMemory: { readonly buffer: ArrayBufferLike };
  create(threads: number): string;
  destroy(): string;
}

export type ModuleFactory<M extends BoundModule> = (options: {
  nutshellThreads: number;
  onAbort?: (reason: unknown) => void;
  /** Emscripten's way of letting others instantiate: `done` is called with what came of it. */
  instantiateWasm?: (imports: WebAssembly.Imports, done: (instance: WebAssembly.Instance, module: WebAssembly.Module) => void) => object;
}) => Promise<M>;

type Argument = string | number;
type Bound<M> = Exclude<keyof M, 'wasmMemory'> & string;

export class WasmModule<M extends BoundModule> {
  /** Set once the module trapped: its memory cannot be trusted any more, every later call fails. */
  private broken: EngineError | null = null;
  /** Why the module says it ended. */
  abortReason = '';

  /** Use startModule. */
  constructor(private readonly module: M) {}

  /** The bytes [pointer, pointer + length) of the heap, valid until the next call of the module. */
  heap(pointer: number, length: number): Uint8Array {
    return new Uint8Array(this.module.wasmMemory.buffer, pointer, length);
  }

  /** What the module has taken of the device's memory: it never gives back. */
  get memoryBytes(): number {
    return this.module.wasmMemory.buffer.byteLength;
  }

  /** Frees what the module holds and ends its threads; every later call fails. Never throws. */
  destroy(): void {
    try {
      this.call('destroy' as Bound<M>);
    } catch {
      // A module that has trapped is ended with its worker.
    }
    this.broken ??= new EngineError('disposed');
  }

  protected call(name: Bound<M>, ...args: Argument[]): unknown {
    if (this.broken) throw this.broken;
    let text: string;
    try {
      text = (this.module[name] as (...args: Argument[]) => string)(...args);
    } catch (cause) {
      this.broken = this.failure(name, this.abortReason || messageOf(cause), cause);
      throw this.broken;
    }
    const reply = JSON.parse(text) as { ok?: boolean; error?: ErrorData };
    if (reply.error) throw fromErrorData(reply.error);
    return reply;
  }

  /** The error of a call that trapped. */
  protected failure(name: string, detail: string, cause: unknown): EngineError {
    return new EngineError('internal', `the engine stopped in ${name}: ${detail}`, {
      advice: 'Load the model again. If it happens again, please report it with the message.',
      cause,
    });
  }

  /** For startModule. */
  create(threads: number): void {
    this.call('create' as Bound<M>, threads);
  }
}

/** Instantiates a module and its threads. Errors: `worker_failed`, `out_of_memory`. */
export async function startModule<M extends BoundModule, W extends WasmModule<M>>(
  factory: ModuleFactory<M>,
  threads: number,
  wrap: (module: M) => W,
): Promise<W> {
  let wrapped: W | null = null;
  const onAbort = (reason: unknown) => {
    if (wrapped) wrapped.abortReason = String(reason ?? '');
  };
  let module: M;
  try {
    module = await factory({ nutshellThreads: threads, onAbort });
  } catch (cause) {
    // Engines say RangeError when the address space or the memory for the heap cannot be had.
    const code = cause instanceof RangeError ? 'out_of_memory' : 'worker_failed';
    throw new EngineError(code, `the WebAssembly module did not start: ${messageOf(cause)}`, { cause });
  }
  wrapped = wrap(module);
  wrapped.create(threads);
  return wrapped;
}

function messageOf(value: unknown): string {
  return value instanceof Error ? value.message : String(value);
}

/**
 * Imports a module; its files lie in `wasm/` beside the worker. The code is fetched and compiled while the script around it
 * arrives, not after. Errors: `worker_failed`, of the factory too.
 */
export async function importModule<M extends BoundModule>(name: string, base: string): Promise<ModuleFactory<M>> {
  const url = new URL(`wasm/${name}.js`, base).href;
  const code = compile(new URL(`wasm/${name}.wasm`, base).href);
  code.catch(() => undefined); // reported by the factory
  try {
    const factory = ((await import(/* @vite-ignore */ url)) as { default: ModuleFactory<M> }).default;
    return (options) => {
      return new Promise<M>((resolve, reject) => {
        const instantiateWasm = (imports: WebAssembly.Imports, done: (instance: WebAssembly.Instance, module: WebAssembly.Module) => void) => {
          code.then(async (module) => done(await WebAssembly.instantiate(module, imports), module)).catch(reject);
          return {};
        };
        factory({ ...options, instantiateWasm }).then(resolve, reject);
      });
    };
  } catch (cause) {
    throw new EngineError('worker_failed', `cannot load ${url}: ${messageOf(cause)}`, { cause });
  }
}

/** The browser keeps compiled code of responses only; a server that does not know the type of wasm files is no reason to fail. */
async function compile(url: string): Promise<WebAssembly.Module> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
  if (response.headers.get('content-type')?.startsWith('application/wasm')) return WebAssembly.compileStreaming(response);
  return WebAssembly.compile(await response.arrayBuffer());
}
