// What the compressor's worker does with one model: opens it, and drives the core's steps: gives it the bytes it asks for,
// keeps what is to be kept, writes the result. Free of worker globals and of the way the module is imported (both come in),
// so that tests run it with a fake core.
import { EngineError, throwIfAborted, toEngineError } from '../errors.ts';
import { decide, type Capabilities, type Decision } from '../platform.ts';
import type { HandlerContext, Handlers } from '../rpc/server.ts';
import type { State, StateFolder } from '../store/states.ts';
import { newRecord, recordId, type GrowingFile, type ModelRecord, type ModelStore } from '../store/store.ts';
import type { CompressCore, CorePlan, CoreStep } from './core.ts';
import { Progress, type CallKind } from './progress.ts';
import type { CompressCalls, OpenRequest } from './protocol.ts';
import { close, inUnits, keepFile, kSpareBytes, openFile, openStored, type OpenSource } from './source.ts';
import { readTexts, type TextDeps } from './texts.ts';
import type { CompressPlan, CompressProgress, CompressResult, SizeChoice } from './types.ts';

export interface SessionDeps extends TextDeps {
  capabilities(): Capabilities;
  startCore(decision: Decision): Promise<CompressCore>;
  /** Gives waiting messages (an abort, another call) their turn. */
  breathe(): Promise<void>;
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  openStore(): Promise<ModelStore>;
  openState(id: string): Promise<StateFolder>;
  removeState(id: string): Promise<void>;
  /** Takes the locks of the work; null where another has one of them and does not end. */
  lock(id: string, signal: AbortSignal): Promise<(() => void) | null>;
  now(): number;
}

/** For names: sizes of a small model differ by less than a megabyte. */
const inMegabytes = (bytes: number) => (bytes < 1e7 ? (bytes / 1e6).toPrecision(3) : Math.round(bytes / 1e6));

const kSizes = 24;
/** How often the state on the device says how far the work is. */
const kNoteMs = 2000;
const kWriteBytes = 1 << 20;
/** Of the heap, for what no plan counts: fragments, small things. */
const kHeapShare = 0.93;

/** Everything that is there after open(). */
interface Opened {
  core: CompressCore;
  models: ModelStore;
  source: OpenSource;
  folder: StateFolder;
  state: State;
  plan: CorePlan;
  release: () => void;
}

type Context<K extends keyof CompressCalls> = HandlerContext<K, CompressCalls>;

export class CompressSession implements Handlers<CompressCalls> {
  private opened: Opened | null = null;
  private starting: Promise<CompressCore> | null = null;
  private running = false;
  private analysed = false;
  /** A step whose bytes have not arrived: it is served before the next one is asked for. */
  private unserved: CoreStep | null = null;
  private output: { record: ModelRecord; file: GrowingFile; bytes: number } | null = null;
  private noted = 0;
  private ended = false;
  private underWay = '';

  constructor(private readonly deps: SessionDeps) {}

  open = async ({ source, settings }: OpenRequest, { signal, emit }: Context<'open'>): Promise<CompressPlan> => {
    if (this.starting) throw new EngineError('busy', 'this worker has its model already');
    const decision = decide(this.deps.capabilities(), { threads: settings.threads, simd: 'strict' });
    const starting = (this.starting = this.deps.startCore(decision));
    starting.catch(() => undefined);
    const models = await this.deps.openStore();
    let from = 'url' in source ? await openStored(models, source.url) : await openFile(source);
    const id = recordId(from.url);
    const release = await this.deps.lock(id, signal);
    try {
      throwIfAborted(signal);
      if (!release) throw new EngineError('busy', 'a model is being made smaller already, here or in another tab', { advice: 'Wait for it or stop it.' });
      const prepared = await this.prepare(await starting, models, from, settings, id, signal);
      if ('blob' in source) {
        const progress = new Progress('open', true, this.deps.now);
        const onBytes = (done: number) => emit(progress.at('reading', done / source.blob.size)!);
        await keepFile(source, from.url, models, { signal, now: this.deps.now, onBytes });
        from = await openStored(models, from.url);
      }
      this.opened = { ...prepared, source: from, release };
      return await this.describe(this.opened);
    } catch (error) {
      close(from);
      release?.();
      throw error;
    }
  };

  analyse = (_: Record<string, never>, context: Context<'analyse'>): Promise<SizeChoice[]> => {
    return this.alone(async ({ core, plan, state, folder }) => {
      if (!this.analysed) {
        await folder.save({ ...state, lastUsed: this.deps.now() });
        this.begin('analyse');
        core.analyse();
        await this.drive('analyse', context);
        this.analysed = true;
        if (state.bytes === null) state.done = 1;
        await folder.save({ ...state, lastUsed: this.deps.now() });
      }
      const { smallestBytes, largestBytes } = plan;
      const at = (i: number) => Math.round(smallestBytes + ((largestBytes - smallestBytes) * i) / (kSizes - 1));
      return core.sizes(Array.from({ length: kSizes }, (_each, i) => at(i)));
    });
  };

  make = ({ bytes }: { bytes: number }, context: Context<'make'>): Promise<CompressResult> => {
    return this.alone(async (opened) => {
      const { core, state, folder } = opened;
      if (!this.analysed) throw new EngineError('invalid_argument', 'make comes after analyse');
      const start = this.deps.now();
      const whole = Math.floor(bytes);
      if (this.output && this.output.bytes !== whole) this.dropOutput();
      this.begin(`make ${whole}`);
      core.make(whole);
      if (state.bytes !== whole) Object.assign(state, { bytes: whole, done: 0 });
      await folder.save({ ...state, lastUsed: start });
      await this.drive('make', context);
      const record = await this.finish(opened);
      const { bytes: size, ...result } = core.result();
      const seconds = (this.deps.now() - start) / 1000;
      return { url: record.url, name: record.name, bytes: size, ...result, seconds, peakMemoryBytes: core.memoryBytes };
    });
  };

  discard = async (): Promise<Record<string, never>> => {
    const opened = this.opened;
    await this.endCore(); // nobody may work on the state while it goes: the locks are freed last
    if (opened) await this.deps.removeState(opened.state.id);
    return this.close();
  };

  close = async (): Promise<Record<string, never>> => {
    const opened = this.opened;
    this.opened = null;
    await this.endCore();
    if (this.output) this.dropOutput();
    if (opened) {
      close(opened.source);
      opened.release();
    }
    return {};
  };

  /** Steps of another call than before: what the old ones asked for is not wanted any more. */
  private begin(what: string): void {
    if (what !== this.underWay) this.unserved = null;
    this.underWay = what;
  }

  private async endCore(): Promise<void> {
    const core = await this.starting?.catch(() => null);
    if (!this.ended) core?.destroy();
    this.ended = true;
  }

  /** From the first byte of the header to a plan. */
  private async prepare(
    core: CompressCore,
    models: ModelStore,
    source: OpenSource,
    settings: OpenRequest['settings'],
    id: string,
    signal: AbortSignal,
  ): Promise<Omit<Opened, 'release'>> {
    core.open({ files: source.files, name: source.name });
    await this.serveAll(core, signal, (step) => this.serve(core, step, source, null));
    const described = core.describe();
    const texts = described.calibrated ? await readTexts(settings, signal, this.deps) : {};
    const folder = await this.deps.openState(id);
    const { windows, heldOut, seed } = settings;
    const kept = [...folder.kept].map(([name, bytes]) => ({ name, bytes }));
    const memoryLimit = Math.floor(core.available() * kHeapShare);
    const plan = core.plan({ ...texts, windows, heldOut, seed, memoryLimit, kept });
    const sourceBytes = source.files.reduce((sum, file) => sum + file.bytes, 0);
    const fresh: State = {
      id, source: source.url, name: source.name, sourceBytes, settings: JSON.stringify([windows, heldOut, seed, plan.windowTokens, plan.calibrated]),
      bytes: null, done: 0, lastUsed: this.deps.now(),
    };
    const before = await folder.state();
    const same = before?.sourceBytes === sourceBytes && before.settings === fresh.settings;
    const state = same ? before : fresh;
    await this.checkStorage(models, folder, plan, source.name);
    return { core, models, source, folder, state, plan };
  }

  private async checkStorage(models: ModelStore, folder: StateFolder, plan: CorePlan, name: string): Promise<void> {
    const free = await models.freeBytes();
    const there = [...folder.kept.values()].reduce((sum, bytes) => sum + bytes, 0);
    const needed = Math.max(0, plan.storageBytes - there) + kSpareBytes;
    if (free === null || needed <= free) return;
    throw new EngineError('quota', `making ${name} smaller needs up to ${inUnits(needed)} of storage while it works; free: ${inUnits(free)}`);
  }

  private async describe({ core, plan, state, folder }: Opened): Promise<CompressPlan> {
    const { name, architecture, parameters, bytes } = core.describe();
    const measured = !folder.kept.has('analysis') ? 0 : state.bytes === null ? state.done : 1;
    return {
      id: state.id, name, architecture, parameters, bytes,
      calibrated: plan.calibrated,
      smallestBytes: plan.smallestBytes,
      largestBytes: plan.largestBytes,
      memoryBytes: plan.memoryBytes,
      storageBytes: plan.storageBytes,
      measured,
      unfinished: state.bytes === null ? null : { bytes: state.bytes, done: state.done },
    };
  }

  /** Work that nothing else may come between. */
  private async alone<T>(work: (opened: Opened) => Promise<T>): Promise<T> {
    if (!this.opened) throw new EngineError('no_model');
    if (this.running) throw new EngineError('busy');
    this.running = true;
    try {
      return await work(this.opened);
    } finally {
      this.running = false;
    }
  }

  /** Steps of a call to their end. */
  private async drive(kind: CallKind, { signal, emit }: { signal: AbortSignal; emit(event: CompressProgress): void }): Promise<void> {
    const { core, source, plan } = this.opened!;
    const progress = new Progress(kind, plan.calibrated, () => this.deps.now());
    await this.serveAll(core, signal, async (step) => {
      if (step.state !== 'work') return this.serve(core, step, source, this.opened);
      const told = progress.at(step.stage, step.of > 0 ? step.done / step.of : 1);
      if (!told) return;
      if (kind === 'make' || this.opened!.state.bytes === null) await this.note(told.total);
      emit(told);
    });
  }

  private async serveAll(core: CompressCore, signal: AbortSignal, serve: (step: CoreStep) => Promise<void>): Promise<void> {
    for (;;) {
      // Between two steps only: what a step asked for must be in its place before the next one.
      throwIfAborted(signal);
      const step = this.unserved ?? core.step();
      if (step.state === 'done') return;
      if (step.state === 'wait') {
        await this.deps.sleep(2, signal);
        continue;
      }
      this.unserved = step;
      await serve(step);
      this.unserved = null;
      await this.deps.breathe();
    }
  }

  private async serve(core: CompressCore, step: CoreStep, source: OpenSource, opened: Opened | null): Promise<void> {
    if (step.state === 'read') {
      const reader = source.readers[step.file];
      if (!reader) throw new EngineError('internal', `the model has no file ${step.file}`);
      await reader.read(step.offset, core.heap(step.pointer, step.length));
    } else if (step.state === 'recall') {
      await opened!.folder.read(step.name, core.heap(step.pointer, step.length));
    } else if (step.state === 'keep') {
      await opened!.folder.keep(step.name, core.heap(step.pointer, step.length));
    } else if (step.state === 'drop') {
      await opened!.folder.drop(step.name);
    } else if (step.state === 'write') {
      await this.write(core.heap(step.pointer, step.length), opened!);
    }
  }

  /** Says on the device how far the work is, now and then. */
  private async note(done: number): Promise<void> {
    const { state, folder } = this.opened!;
    state.done = Math.max(state.done, done); // what was done before is skipped in a moment
    const now = this.deps.now();
    if (now - this.noted < kNoteMs) return;
    this.noted = now;
    await folder.save({ ...state, lastUsed: now });
  }

  /** The next bytes of the result. There is no record of it before it is complete. */
  private async write(data: Uint8Array, { models, source, state }: Opened): Promise<void> {
    if (!this.output) {
      const bytes = state.bytes!;
      const name = `${source.name.replace(/\.gguf$/i, '')}.${inMegabytes(bytes)}MB.gguf`;
      const record = newRecord(`stored:${encodeURIComponent(name)}`, name);
      const before = await models.find(record.url);
      if (before) await models.remove(before);
      const file = await models.openWrite(record);
      file.truncate(0);
      this.output = { record, file, bytes };
    }
    // Shared memory cannot be written everywhere.
    for (let at = 0; at < data.length; at += kWriteBytes) this.output.file.append(data.slice(at, at + kWriteBytes));
  }

  private async finish({ models, folder, state, core }: Opened): Promise<ModelRecord> {
    const { record, file } = this.output!;
    const size = file.size;
    if (size !== core.result().bytes) throw new EngineError('internal', `${size} bytes were written of ${core.result().bytes}`);
    file.flush();
    file.close();
    this.output = null;
    Object.assign(record, { bytes: size, receivedBytes: size, complete: true, lastUsed: this.deps.now() } satisfies Partial<ModelRecord>);
    await models.save(record);
    Object.assign(state, { bytes: null, done: 1 });
    await folder.save({ ...state, lastUsed: this.deps.now() });
    return record;
  }

  /** What was written of a file that will not be completed now. */
  private dropOutput(): void {
    const { file, record } = this.output!;
    this.output = null;
    file.close();
    void this.deps.openStore().then((models) => models.remove(record)).catch((error: unknown) => void toEngineError(error));
  }
}
