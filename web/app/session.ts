// Owns the engine: loading, cancelling, replacing, the ways out of a failed load. A model that answers is kept until
// its successor is ready, so a failed load leaves the page as it was. Knows nothing of the DOM.

import { type Engine, type LoadOptions, type LoadProgress, Nutshell, listModels } from '../src/index.ts';
import { addressProblem, describe, embedsOnlyProblem, isAbort, noTemplateProblem } from './problems.ts';
import { type Settings, storageDenied, writeModel } from './prefs.ts';
import type { AppState, Problem, Progress, Store } from './state.ts';

/** Something that can be loaded: an address (also of a model on this device) or a local file. */
export interface LoadRequest {
  name: string;
  source: string | File | File[]; // several files: the parts of a split model, or a folder's
  keep?: boolean; // copy a local file to this device's storage
  sha256?: string;
  terms?: string; // conditions of use, to be accepted before it is loaded
}

export function urlRequest(address: string): LoadRequest {
  let id = address;
  let name = address;
  try {
    const url = new URL(address, document.baseURI);
    id = url.href;
    name = decodeURIComponent(url.pathname.split('/').pop() || url.host);
  } catch {
    // addressProblem() explains it when it is loaded
  }
  return { name: prettyName(name), source: id };
}

/** `SmolLM2-135M-Instruct.Q4_1.gguf` reads better without its ending. */
export function prettyName(file: string): string {
  return file.replace(/\.gguf$/i, '');
}

export class Session {
  engine: Engine | null = null;
  #abort: AbortController | null = null;
  #last: LoadRequest | null = null;

  constructor(
    readonly store: Store<AppState>,
    readonly settings: () => Settings,
    readonly query: URLSearchParams,
  ) {}

  get loading(): boolean {
    return this.#abort !== null;
  }

  /** Loads a model; a load under way is cancelled first. Resolves to whether the model is ready. */
  async load(request: LoadRequest): Promise<boolean> {
    this.cancel();
    this.#last = request;
    const abort = new AbortController();
    this.#abort = abort;
    this.store.set({ phase: 'loading', problem: null, progress: firstProgress(request.name) });
    try {
      const refused = await refusal(request.source);
      if (refused) return this.#settle(abort, refused);
      const engine = await Nutshell.load(request.source, this.#options(request, abort));
      if (abort.signal.aborted) {
        await engine.dispose();
        return false;
      }
      const old = this.engine;
      this.engine = engine;
      await old?.dispose();
      const id = typeof request.source === 'string' ? request.source : engine.info.model.url;
      if (id) writeModel({ id, name: request.name });
      this.#ready(request.name);
      return true;
    } catch (error) {
      if (isAbort(error)) return this.#settle(abort, null);
      return this.#settle(abort, describe(error, 'load', this.engine !== null));
    } finally {
      if (this.#abort === abort) this.#abort = null;
    }
  }

  /** Stops the load under way; what has arrived stays, so the next try goes on from there. */
  cancel(): void {
    const abort = this.#abort;
    this.#abort = null;
    if (!abort) return;
    abort.abort();
    this.store.set({ phase: this.engine ? 'ready' : 'empty', progress: null });
  }

  retry(): Promise<boolean> {
    return this.#last ? this.load(this.#last) : Promise.resolve(false);
  }

  /** Frees the model that answers. */
  async unload(): Promise<void> {
    this.cancel();
    await this.engine?.dispose();
    this.engine = null;
    this.store.set({ phase: 'empty', info: null, modelName: null });
  }

  /** The way out when the model that answers and the next one do not fit into memory together. */
  async unloadAndRetry(): Promise<boolean> {
    await this.unload();
    return this.retry();
  }

  #ready(modelName: string): void {
    const info = this.engine?.info ?? null;
    const embedsOnly = info !== null && info.model.embeddingSize > 0;
    const completion = info?.hasChatTemplate === false && !embedsOnly && this.store.state.completion;
    const missing = info?.hasChatTemplate === false && !completion ? noTemplateProblem() : null;
    const problem = embedsOnly ? embedsOnlyProblem() : missing;
    this.store.set({ phase: 'ready', progress: null, problem, info, modelName, completion, tokensPerSecond: null, storageDenied: storageDenied() });
  }

  #settle(abort: AbortController, problem: Problem | null): boolean {
    if (abort.signal.aborted || this.#abort !== abort) return false; // someone else took over
    return problem ? this.#fail(problem) : false;
  }

  #fail(problem: Problem): boolean {
    this.store.set({ phase: this.engine ? 'ready' : 'error', progress: null, problem });
    return false;
  }

  #options(request: LoadRequest, abort: AbortController): LoadOptions {
    const simd = this.query.get('simd');
    const threads = positive(this.query.get('threads'));
    const contextSize = positive(this.query.get('context')) ?? this.settings().contextSize ?? undefined;
    return {
      signal: abort.signal,
      name: request.name,
      onProgress: (progress: LoadProgress) => {
        if (!abort.signal.aborted) this.store.set({ progress: { ...progress, name: request.name } });
      },
      ...(simd === 'strict' || simd === 'relaxed' || simd === 'auto' ? { simd } : {}),
      ...(threads ? { threads } : {}),
      ...(contextSize ? { contextSize } : {}),
      ...(request.sha256 ? { sha256: request.sha256 } : {}),
      ...(request.keep ? { keep: true } : {}),
    };
  }
}

/** Why a source may not be loaded, if so. What is on this device needs no address that this page may fetch from. */
async function refusal(source: LoadRequest['source']): Promise<Problem | null> {
  const problem = typeof source === 'string' ? addressProblem(source) : null;
  if (!problem) return null;
  const here = await listModels().catch(() => []);
  return here.some(({ url, complete }) => complete && url === source) ? null : problem;
}

function firstProgress(name: string): Progress {
  return { name, phase: 'start', loadedBytes: 0, totalBytes: null, bytesPerSecond: 0, secondsLeft: null };
}

/** A whole number above 0 of the address's query. */
export function positive(text: string | null): number | undefined {
  const value = Number(text);
  return Number.isInteger(value) && value > 0 ? value : undefined;
}
