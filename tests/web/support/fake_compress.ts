// A stand-in for the compressor's wasm module with the same border (JSON in, JSON out): reads a "model", keeps entries, and
// makes a "file" of the size asked for whose bytes depend on what was read and recalled.
import type { CompressModule } from '../../../web/src/compress/core.ts';
import type { State, StateFolder } from '../../../web/src/store/states.ts';
import type { ErrorData } from '../../../web/src/errors.ts';

export const kParts = 6; // targets of the model
export const kWindows = 3; // that are measured
export const kSmallest = 600;
export const kLargest = 3000;

export interface FakeCompressOptions {
  openError?: ErrorData;
  planError?: ErrorData;
  calibrated?: boolean;
  storageBytes?: number;
  /** The step of this number traps. */
  trapAt?: number;
}

export class FakeCompress implements CompressModule {
  wasmMemory = { buffer: new ArrayBuffer(1 << 16) };
  readonly log: string[] = [];
  lastPlan: { kept?: { name: string; bytes: number }[]; calibration?: { name: string; text: string }[]; [key: string]: unknown } = {};
  private steps: Generator<Record<string, unknown>, void> | null = null;
  private underWay = '';
  private files: { name: string; bytes: number }[] = [];
  private kept = new Map<string, number>();
  private analysed = false;
  private size = 0;
  private count = 0;

  constructor(readonly options: FakeCompressOptions = {}) {}

  create = () => this.answer({});
  destroy = () => this.answer({});
  available = () => this.answer({ bytes: 1 << 30 });

  open = (json: string) => {
    this.files = (JSON.parse(json) as { files: { name: string; bytes: number }[] }).files;
    this.steps = this.header();
    return this.answer({});
  };

  describe = () => {
    const bytes = this.files.reduce((sum, file) => sum + file.bytes, 0);
    return this.answer({ calibrated: this.options.calibrated ?? true, name: 'Tiny', architecture: 'llama', parameters: 1000, bytes });
  };

  plan = (json: string) => {
    if (this.options.planError) return JSON.stringify({ error: this.options.planError });
    this.lastPlan = JSON.parse(json) as FakeCompress['lastPlan'];
    for (const { name, bytes } of this.lastPlan.kept ?? []) this.kept.set(name, bytes);
    const storageBytes = this.options.storageBytes ?? 5000;
    return this.answer({ calibrated: this.options.calibrated ?? true, smallestBytes: kSmallest, largestBytes: kLargest, memoryBytes: 12345, storageBytes, windowTokens: 512 });
  };

  analyse = () => this.begin('analyse', () => this.measure());
  make = (json: string) => {
    const { bytes } = JSON.parse(json) as { bytes: number };
    if (bytes < kSmallest) return JSON.stringify({ error: { code: 'invalid_argument', message: `the smallest is ${kSmallest}` } });
    return this.begin(`make ${bytes}`, () => this.write(bytes));
  };

  sizes = (json: string) => {
    const { bytes } = JSON.parse(json) as { bytes: number[] };
    return this.answer({ sizes: bytes.map((size) => ({ bytes: size, bitsPerWeight: size / 125, predictedKl: 100 / size, memoryBytes: 2 * size })) });
  };

  step = () => {
    if (++this.count === this.options.trapAt) throw new WebAssembly.RuntimeError('unreachable');
    if (!this.steps) return JSON.stringify({ error: { code: 'invalid_argument', message: 'nothing is under way' } });
    const { done, value } = this.steps.next();
    if (!done) {
      this.log.push(String(value['state']) + (value['name'] ? ` ${String(value['name'])}` : ''));
      return this.answer(value);
    }
    this.steps = null;
    if (this.options.openError && this.underWay === '') return JSON.stringify({ error: this.options.openError });
    return this.answer({ state: 'done' });
  };

  result = () => this.answer({ bytes: this.size, bitsPerWeight: 3, predictedKl: 0.1, meanKl: 0.11, top1Agreement: 0.8, perplexityBefore: 10, perplexityAfter: 11 });

  private begin(what: string, steps: () => Generator<Record<string, unknown>, void>): string {
    if (!this.steps || this.underWay !== what) this.steps = steps();
    this.underWay = what;
    return this.answer({});
  }

  private *header(): Generator<Record<string, unknown>, void> {
    yield this.place({ state: 'read', file: 0, offset: 0 }, 100);
  }

  private *measure(): Generator<Record<string, unknown>, void> {
    // As many bytes as there are windows in it, and one in the end for the weighing.
    const before = this.kept.get('analysis') ?? 0;
    if (before > 0) yield this.place({ state: 'recall', name: 'analysis' }, before);
    if (before > 0 && before <= kWindows) yield this.place({ state: 'recall', name: 'inputs w' }, this.kept.get('inputs w')!);
    for (let i = before + 1; i <= kWindows; i++) {
      yield { state: 'work', stage: 'measuring', done: i, of: kWindows };
      yield this.keep('inputs w', new Uint8Array(20).fill(i));
      yield this.keep('analysis', new Uint8Array(i).fill(9));
    }
    if (before <= kWindows) {
      yield { state: 'work', stage: 'weighing', done: 1, of: 1 };
      yield this.keep('analysis', new Uint8Array(kWindows + 1).fill(9));
    }
    this.analysed = true;
    if (this.kept.has('inputs w')) yield this.drop('inputs w');
  }

  private *write(bytes: number): Generator<Record<string, unknown>, void> {
    if (!this.analysed) throw new Error('not analysed');
    const each = Math.floor(bytes / kParts);
    const parts: Uint8Array[] = [];
    for (let i = 0; i < kParts; i++) {
      const name = `rows blk.${i}/weight`;
      if (this.kept.get(name) === each) {
        yield this.place({ state: 'recall', name }, each);
      } else {
        yield this.place({ state: 'read', file: 0, offset: 100 * i }, each);
        yield this.keep(name, this.heap(each).map((value) => value ^ 0x55));
      }
      parts.push(this.heap(each).slice());
      yield { state: 'work', stage: 'coding', done: i + 1, of: kParts };
    }
    yield { state: 'work', stage: 'checking', done: 1, of: 1 };
    for (const part of parts) {
      this.heap(each).set(part);
      yield this.place({ state: 'write' }, each);
    }
    this.size = each * kParts;
    for (const name of [...this.kept.keys()]) if (name.startsWith('rows ')) yield this.drop(name);
  }

  private heap(length: number): Uint8Array {
    return new Uint8Array(this.wasmMemory.buffer, 64, length);
  }

  private place(step: Record<string, unknown>, length: number): Record<string, unknown> {
    return { ...step, pointer: 64, length };
  }

  private keep(name: string, data: Uint8Array): Record<string, unknown> {
    this.heap(data.length).set(data);
    this.kept.set(name, data.length);
    return this.place({ state: 'keep', name }, data.length);
  }

  private drop(name: string): Record<string, unknown> {
    this.kept.delete(name);
    return { state: 'drop', name };
  }

  private answer(reply: Record<string, unknown>): string {
    return JSON.stringify({ ok: true, ...reply });
  }
}

/** Entries that outlive a worker. */
export class FakeState implements StateFolder {
  readonly kept = new Map<string, number>();
  readonly data = new Map<string, Uint8Array>();
  saved: string | null = null;

  state(): Promise<State | null> {
    return Promise.resolve(this.saved === null ? null : (JSON.parse(this.saved) as State));
  }

  save(state: State): Promise<void> {
    this.saved = JSON.stringify(state);
    return Promise.resolve();
  }

  read(name: string, target: Uint8Array): Promise<void> {
    target.set(this.data.get(name)!.subarray(0, target.length));
    return Promise.resolve();
  }

  keep(name: string, data: Uint8Array): Promise<void> {
    this.data.set(name, data.slice());
    this.kept.set(name, data.length);
    return Promise.resolve();
  }

  drop(name: string): Promise<void> {
    this.data.delete(name);
    this.kept.delete(name);
    return Promise.resolve();
  }
}
