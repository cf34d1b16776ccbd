// The worker's end of the calls: finds the handler, gives it an AbortSignal and a way to send events, and turns what it
// throws into an error reply. Knows nothing of what the calls do.
import { EngineError, toEngineError, toErrorData } from '../errors.ts';
import type { Calls, FromWorker, Table, ToWorker } from './protocol.ts';

export interface HandlerContext<K extends keyof C, C extends Table<C> = Calls> {
  signal: AbortSignal;
  emit(event: C[K]['event']): void;
}

export type Handlers<C extends Table<C> = Calls> = {
  [K in keyof C]: (request: C[K]['request'], context: HandlerContext<K, C>) => Promise<C[K]['reply']> | C[K]['reply'];
};

/** The part of a worker's global scope that is used; tests give their own. */
export interface ScopeLike {
  postMessage(message: FromWorker): void;
  onmessage: ((event: MessageEvent) => void) | null;
}

/** Answers the calls that arrive at `scope` with `handlers`. Calls run as they come, also at the same time. */
export function serve<C extends Table<C> = Calls>(scope: ScopeLike, handlers: Handlers<C>): void {
  const running = new Map<number, AbortController>();

  async function run(id: number, name: string, request: unknown): Promise<void> {
    const controller = new AbortController();
    running.set(id, controller);
    try {
      const handler = Object.hasOwn(handlers, name) ? handlers[name as keyof C] : null;
      if (!handler) throw new EngineError('internal', `the worker knows no call '${name}'`);
      const emit = (event: unknown) => scope.postMessage({ kind: 'event', id, event });
      const reply = await (handler as (request: unknown, context: unknown) => unknown)(request, {
        signal: controller.signal,
        emit,
      });
      scope.postMessage({ kind: 'reply', id, reply });
    } catch (error) {
      scope.postMessage({ kind: 'error', id, error: toErrorData(toEngineError(error)) });
    } finally {
      running.delete(id);
    }
  }

  scope.onmessage = (event) => {
    const message = event.data as ToWorker;
    if (message.kind === 'abort') running.get(message.id)?.abort();
    else void run(message.id, message.name, message.request);
  };
}
