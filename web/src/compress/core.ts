// The compressor's wasm module as typed calls (src/bind/compress_bind.cpp). Runs in the worker only.
import { EngineError } from '../errors.ts';
import { startModule, WasmModule, type BoundModule, type ModuleFactory } from '../wasm_module.ts';
import type { CompressResult, SizeChoice } from './types.ts';

/** The compressor's module, as far as it is used. */
export interface CompressModule extends BoundModule {
  available(): string;
  open(json: string): string;
  describe(): string;
  plan(json: string): string;
  analyse(): string;
  sizes(json: string): string;
  make(json: string): string;
  step(): string;
  result(): string;
}

export interface SourceFile {
  name: string;
  bytes: number;
}

export interface Text {
  /** `*.jsonl`: conversations. */
  name: string;
  text: string;
}

export interface Description {
  calibrated: boolean;
  name: string;
  architecture: string;
  parameters: number;
  bytes: number;
}

export interface PlanRequest {
  calibration?: Text[];
  evaluation?: Text[];
  windows?: number;
  heldOut?: number;
  seed?: number;
  memoryLimit: number;
  kept: { name: string; bytes: number }[];
}

export interface CorePlan {
  calibrated: boolean;
  smallestBytes: number;
  largestBytes: number;
  memoryBytes: number;
  storageBytes: number;
  windowTokens: number;
}

export type CoreResult = Omit<CompressResult, 'url' | 'name' | 'seconds' | 'peakMemoryBytes'>;

export type CoreStage = 'reading' | 'measuring' | 'weighing' | 'coding' | 'healing' | 'checking' | 'writing';

interface Place {
  length: number;
  pointer: number;
}

/** What a step did, or wants before the next one. Places are valid until then. */
export type CoreStep =
  | { state: 'work'; stage: CoreStage; done: number; of: number }
  | ({ state: 'read'; file: number; offset: number } & Place)
  | ({ state: 'recall'; name: string } & Place)
  | ({ state: 'keep'; name: string } & Place)
  | { state: 'drop'; name: string }
  | ({ state: 'write' } & Place)
  | { state: 'wait' } // for threads that have not begun: call again in some milliseconds
  | { state: 'done' };

export class CompressCore extends WasmModule<CompressModule> {
  /** Errors: `worker_failed`, `out_of_memory`. */
  static start(factory: ModuleFactory<CompressModule>, threads: number): Promise<CompressCore> {
    return startModule(factory, threads, (module) => new CompressCore(module));
  }

  /** Bytes the heap can still grow by. */
  available(): number {
    return (this.call('available') as { bytes: number }).bytes;
  }

  open(request: { files: SourceFile[]; name: string }): void {
    this.call('open', JSON.stringify(request));
  }

  describe(): Description {
    return this.call('describe') as Description;
  }

  plan(request: PlanRequest): CorePlan {
    return this.call('plan', JSON.stringify(request)) as CorePlan;
  }

  analyse(): void {
    this.call('analyse');
  }

  sizes(bytes: number[]): SizeChoice[] {
    return (this.call('sizes', JSON.stringify({ bytes })) as { sizes: SizeChoice[] }).sizes;
  }

  make(bytes: number): void {
    this.call('make', JSON.stringify({ bytes }));
  }

  step(): CoreStep {
    return this.call('step') as CoreStep;
  }

  result(): CoreResult {
    const { bytes, bitsPerWeight, predictedKl, meanKl, top1Agreement, perplexityBefore, perplexityAfter } = this.call('result') as CoreResult;
    return { bytes, bitsPerWeight, predictedKl, meanKl, top1Agreement, perplexityBefore, perplexityAfter };
  }

  /** A failed allocation aborts the module: the plan counts all of it, but not what the device itself lacks. */
  protected override failure(name: string, detail: string, cause: unknown): EngineError {
    if (/out of bounds|null function|signature/i.test(detail)) return super.failure(name, detail, cause);
    return new EngineError('out_of_memory', `the compressor stopped in ${name} with ${Math.round(this.memoryBytes / 1e6)} MB of memory: ${detail}`, {
      advice: 'Close other tabs and start again: it goes on where it stopped. Or use the program scripts/nutshell compress.',
      cause,
    });
  }
}
