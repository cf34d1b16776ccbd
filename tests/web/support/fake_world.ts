// A whole browser for one test: a server, a device's storage, fake cores and a worker whose messages are cloned and arrive
// later, as the real ones do. `load` is the package's own load with that worker.
import { Core } from '../../../web/src/core.ts';
import { load, type Engine, type ModelInput } from '../../../web/src/engine.ts';
import type { Capabilities, Decision } from '../../../web/src/platform.ts';
import type { WorkerLike } from '../../../web/src/rpc/client.ts';
import type { Calls, ToWorker } from '../../../web/src/rpc/protocol.ts';
import { serve, type ScopeLike } from '../../../web/src/rpc/server.ts';
import { Session, type SessionDeps } from '../../../web/src/session.ts';
import { MemoryStore } from '../../../web/src/store/memory.ts';
import type { ModelStore } from '../../../web/src/store/store.ts';
import type { LoadOptions } from '../../../web/src/types.ts';
import { FakeCore, type FakeCoreOptions } from './fake_core.ts';
import { fakeServer, modelBytes, type FakeServer } from './fake_server.ts';
import { FakeStore } from './fake_store.ts';

export const kUrl = 'https://models.test/some/tiny%20model.gguf';

export class FakeWorker implements WorkerLike {
  onmessage: WorkerLike['onmessage'] = null;
  onmessageerror: WorkerLike['onmessageerror'] = null;
  onerror: WorkerLike['onerror'] = null;
  terminated = false;
  readonly scope: ScopeLike = {
    onmessage: null,
    postMessage: (message) => {
      const data: unknown = structuredClone(message);
      setImmediate(() => !this.terminated && this.onmessage?.({ data } as MessageEvent));
    },
  };

  postMessage(message: ToWorker): void {
    const data: unknown = structuredClone(message);
    setImmediate(() => !this.terminated && this.scope.onmessage?.({ data } as MessageEvent));
  }

  terminate(): void {
    this.terminated = true;
  }
}

export class FakeWorld {
  server: FakeServer = fakeServer(modelBytes(5000));
  store = new FakeStore();
  /** Replaced where a test wants storage to be refused. */
  openStore: () => Promise<ModelStore> = () => Promise.resolve(this.store);
  core: FakeCoreOptions = {};
  /** What the start of the module throws. */
  moduleError: unknown = null;
  blocked = false;
  capabilities: Capabilities = { simd: true, relaxedSimd: true, isolated: true, sharedMemory: true, cores: 4 };
  /** What was made, in order. */
  readonly cores: FakeCore[] = [];
  readonly workers: FakeWorker[] = [];
  readonly decisions: Decision[] = [];
  readonly sleeps: number[] = [];
  clock = 1000;
  stallMs = 9000;
  private readonly locks = new Map<string, Promise<void>>();

  load(model: ModelInput = kUrl, options: LoadOptions = {}): Promise<Engine> {
    return load(model, options, () => this.startWorker());
  }

  get lastCore(): FakeCore {
    return this.cores.at(-1)!;
  }

  private startWorker(): FakeWorker {
    const worker = new FakeWorker();
    this.workers.push(worker);
    serve<Calls>(worker.scope, new Session(this.deps()));
    return worker;
  }

  private deps(): SessionDeps {
    return {
      capabilities: () => this.capabilities,
      startCore: (decision) => {
        this.decisions.push(decision);
        const core = new FakeCore(this.core);
        this.cores.push(core);
        return Core.start(() => (this.moduleError ? Promise.reject(this.moduleError) : Promise.resolve(core)), decision.threads);
      },
      breathe: () => new Promise((resolve) => setImmediate(resolve)),
      fetch: (url, init) => this.server.fetch(url, init),
      isBlocked: () => Promise.resolve(this.blocked),
      origin: 'https://page.test',
      sleep: (ms) => {
        this.sleeps.push(ms);
        return Promise.resolve();
      },
      stallMs: this.stallMs,
      openStore: () => this.openStore(),
      memoryStore: () => new MemoryStore(),
      lock: (name, _signal, onWait) => this.lock(name, onWait),
      now: () => ++this.clock,
    };
  }

  private async lock(name: string, onWait: () => void): Promise<() => void> {
    while (this.locks.has(name)) {
      onWait();
      await this.locks.get(name);
    }
    let free = () => undefined as void;
    this.locks.set(name, new Promise((resolve) => (free = resolve)));
    return () => {
      this.locks.delete(name);
      free();
    };
  }
}

/** All pieces of an answer as one text. */
export async function textOf(pieces: AsyncIterable<string>): Promise<string> {
  let text = '';
  for await (const piece of pieces) text += piece;
  return text;
}

/** The error a promise rejects with; fails where it does not. */
export async function failure(promise: Promise<unknown>): Promise<Error & { code?: string; advice?: string }> {
  return promise.then(
    () => {
      throw new Error('should have failed');
    },
    (error: Error) => error,
  );
}
