// The engine's wasm module as typed calls (src/bind/bind.cpp). Runs in the worker only. It owns no logic of generation or
// loading.
import type { CoreOptions } from './generated/options.ts';
import type { Decision } from './platform.ts';
import type { Timings } from './types.ts';
import { importModule, startModule, WasmModule, type BoundModule, type ModuleFactory } from './wasm_module.ts';

/** The engine's module, as far as it is used. */
export interface CoreModule extends BoundModule {
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

export type CoreFactory = ModuleFactory<CoreModule>;

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

/** What the core says of a call; why it ended is known outside. */
export type CoreTimings = Omit<Timings, 'finish'>;

export class Core extends WasmModule<CoreModule> {
  /** Instantiates the module and its threads. Errors: `worker_failed`, `out_of_memory`. */
  static start(factory: CoreFactory, threads: number): Promise<Core> {
    return startModule(factory, threads, (module) => new Core(module));
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
}

/** Imports the module of a flavour; its files lie in `wasm/` beside the worker. Errors: `worker_failed`. */
export function importFlavour(flavour: Decision['flavour'], base: string): Promise<CoreFactory> {
  return importModule<CoreModule>(`nutshell-${flavour}`, base);
}
