// The page's end of the worker calls: one promise per call, events on the way, errors as EngineError. Knows nothing of
// what the calls do.
import { abortError, EngineError, fromErrorData, throwIfAborted, type ErrorData } from '../errors.ts';
import type { Calls, FromWorker, Table, ToWorker } from './protocol.ts';

/** The part of Worker that is used; tests give their own. */
export interface WorkerLike {
  postMessage(message: ToWorker): void;
  terminate(): void;
  onmessage: ((event: MessageEvent) => void) | null;
  onmessageerror: ((event: MessageEvent) => void) | null;
  onerror: ((event: ErrorEvent) => void) | null;
}

interface Pending {
  resolve(reply: unknown): void;
  reject(error: EngineError): void;
  onEvent?(event: unknown): void;
}

export interface CallOptions<K extends keyof C, C extends Table<C> = Calls> {
  onEvent?: (event: C[K]['event']) => void;
  /** Aborting tells the worker; the call still ends by the worker's own reply or error. */
  signal?: AbortSignal | null;
}

export class RpcClient<C extends Table<C> = Calls> {
  private readonly pending = new Map<number, Pending>();
  private nextId = 1;
  private dead: EngineError | null = null;
  private closing: Promise<void> | null = null;

  constructor(private readonly worker: WorkerLike) {
    worker.onmessage = (event) => this.receive(event.data as FromWorker);
    worker.onmessageerror = () => this.die(new EngineError('internal', 'a message of the worker could not be read'));
    worker.onerror = (event) => {
      event.preventDefault?.();
      const where = event.message ? `: ${event.message}` : '';
      this.die(new EngineError('worker_failed', `the engine's worker failed${where}`));
    };
  }

  /** Sends a call; rejects with EngineError. An already aborted signal rejects without sending. */
  call<K extends keyof C & string>(name: K, request: C[K]['request'], options: CallOptions<K, C> = {}): Promise<C[K]['reply']> {
    const { signal, onEvent } = options;
    if (this.dead) return Promise.reject(this.dead);
    if (signal?.aborted) return Promise.reject(abortError(signal));
    const id = this.nextId++;
    const abort = () => this.worker.postMessage({ kind: 'abort', id });
    const promise = new Promise<C[K]['reply']>((resolve, reject) => {
      this.pending.set(id, { resolve: resolve as (reply: unknown) => void, reject, onEvent: onEvent as Pending['onEvent'] });
      this.worker.postMessage({ kind: 'call', id, name, request });
    });
    signal?.addEventListener('abort', abort, { once: true });
    return promise.finally(() => signal?.removeEventListener('abort', abort));
  }

  /**
   * Ends the worker; every open and later call rejects with `error` at once. The worker may first put its things in order
   * (threads that are asleep would keep its memory for seconds): resolves when it is terminated, `graceMs` later at most.
   */
  close(error: EngineError = new EngineError('disposed'), graceMs = 1000): Promise<void> {
    this.closing ??= this.dead ? Promise.resolve() : this.retire(error, graceMs);
    return this.closing;
  }

  private async retire(error: EngineError, graceMs: number): Promise<void> {
    const calls = [...this.pending.values()];
    this.pending.clear();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, graceMs)));
    const closed = this.call('close', {} as C['close']['request']).then(() => undefined, () => undefined);
    this.dead = error;
    for (const call of calls) call.reject(error);
    await Promise.race([closed, late]);
    clearTimeout(timer);
    this.worker.terminate();
  }

  private receive(message: FromWorker): void {
    const call = this.pending.get(message.id);
    if (!call) return;
    if (message.kind === 'event') {
      call.onEvent?.(message.event);
      return;
    }
    this.pending.delete(message.id);
    if (message.kind === 'reply') call.resolve(message.reply);
    else call.reject(fromErrorData(message.error as ErrorData));
  }

  private die(error: EngineError): void {
    if (this.dead) return;
    this.dead = error;
    this.worker.terminate();
    const calls = [...this.pending.values()];
    this.pending.clear();
    for (const call of calls) call.reject(error);
  }
}

/** How long an aborted start may take to put its files in order before its worker is ended. */
const kAbortGraceMs = 2000;

/** Starts a worker and makes of it what `open` does with its first call; a worker that comes to nothing is ended. */
export async function startWith<C extends Table<C>, T>(
  createWorker: () => WorkerLike,
  signal: AbortSignal | undefined,
  open: (client: RpcClient<C>) => Promise<T>,
): Promise<T> {
  let client: RpcClient<C>;
  try {
    client = new RpcClient<C>(createWorker());
  } catch (cause) {
    throw new EngineError('worker_failed', undefined, { cause });
  }
  let timer: ReturnType<typeof setTimeout> | undefined;
  const onAbort = () => {
    timer = setTimeout(() => void client.close(abortError(signal)), kAbortGraceMs);
  };
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    const opened = await open(client);
    throwIfAborted(signal);
    return opened;
  } catch (error) {
    await client.close();
    throw error;
  } finally {
    signal?.removeEventListener('abort', onAbort);
    clearTimeout(timer);
  }
}
