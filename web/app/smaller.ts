// Makes a model smaller: what is to be done, one step after the other, from the choice of a model to the result. Owns the
// library's Compressor; what it works out lies on the device, so that pausing and closing the tab lose nothing. Knows
// nothing of the DOM.

import type { CompressOptions, CompressPlan, CompressProgress, CompressResult, Compressor, SizeChoice } from '../src/index.ts';
import { describe, isAbort } from './problems.ts';
import { type Problem, Store } from './state.ts';

export type Source = string | File;
export type Job = 'analyse' | 'make';

export type Step =
  | { at: 'pick' } // which model?
  | { at: 'opening'; done: number | null } // of copying a file to the device
  | { at: 'plan' }
  | { at: 'work'; job: Job; bytes: number | null; progress: CompressProgress | null; paused: boolean }
  | { at: 'choose'; choices: SizeChoice[]; index: number } // `index`: offered first
  | { at: 'done'; result: CompressResult }
  | { at: 'failed'; problem: Problem; again: boolean }; // `again`: it had begun, so that going on may help

export interface SmallerState {
  step: Step;
  name: string; // of the model
  plan: CompressPlan | null;
}

/** What the work needs from outside. */
export interface SmallerParts {
  open(source: Source, options: CompressOptions): Promise<Compressor>;
  /** Whether the work does not fit beside the model that chats, so that this one has to go. */
  needsRoom(plan: CompressPlan): boolean;
  /** Lets the model that chats go. */
  makeRoom(): Promise<void>;
  /** Called when the list of stored models has changed. */
  stored(): void;
}

/** The divergence up to which a file is offered first: people do not tell such a one from the original. */
const kGoodKl = 0.12;

export class Smaller {
  readonly store = new Store<SmallerState>({ step: { at: 'pick' }, name: '', plan: null });
  #compressor: Compressor | null = null;
  #abort: AbortController | null = null;
  #running: Promise<void> = Promise.resolve(); // ends when the last call into the library has ended
  #ending: Promise<void> = Promise.resolve(); // of the Compressor before this one
  #choices: SizeChoice[] = [];
  #source: Source = '';

  constructor(readonly parts: SmallerParts) {}

  /** Whether something is under way that closing the panel must not end. */
  get working(): boolean {
    const { step } = this.store.state;
    return step.at === 'work' && !step.paused;
  }

  /** Looks at a model; `goOn`: and goes on with what was begun there. */
  async begin(source: Source, name: string, goOn = false): Promise<void> {
    void this.close();
    const abort = (this.#abort = new AbortController());
    this.#source = source;
    this.store.set({ name, plan: null, step: { at: 'opening', done: null } });
    const onProgress = ({ done }: CompressProgress): void => {
      if (!abort.signal.aborted && this.store.state.step.at === 'opening') this.store.set({ step: { at: 'opening', done } });
    };
    try {
      await this.#ending; // there is one at a time
      const compressor = await this.parts.open(source, { signal: abort.signal, onProgress });
      if (abort.signal.aborted) return void (await compressor.dispose());
      this.#compressor = compressor;
      this.#abort = null;
      this.store.set({ plan: compressor.plan, step: { at: 'plan' } });
    } catch (error) {
      if (!abort.signal.aborted) this.#fail(error);
      return;
    }
    if (goOn) await this.start();
  }

  /** Measures the model, or goes on with the file that was begun. */
  async start(): Promise<void> {
    const { plan } = this.store.state;
    if (!plan) return;
    if (this.parts.needsRoom(plan)) await this.parts.makeRoom();
    await (plan.unfinished ? this.make(plan.unfinished.bytes) : this.analyse());
  }

  async analyse(): Promise<void> {
    await this.#run('analyse', null, async (compressor, options) => {
      this.#choices = await compressor.analyse(options);
      return this.#choosing();
    });
  }

  async make(bytes: number): Promise<void> {
    await this.#run('make', bytes, async (compressor, options) => {
      if (!this.#choices.length) this.#choices = await compressor.analyse(options); // of an earlier visit: quick
      const result = await compressor.make(bytes, options);
      this.parts.stored();
      return { at: 'done', result };
    });
  }

  pause(): void {
    const { step } = this.store.state;
    if (step.at !== 'work' || step.paused) return;
    this.#stop();
    this.store.set({ step: { ...step, paused: true } });
  }

  async resume(): Promise<void> {
    const { step } = this.store.state;
    if (step.at !== 'work' || !step.paused) return;
    await (step.job === 'make' && step.bytes !== null ? this.make(step.bytes) : this.analyse());
  }

  /** After a failure: goes on with what is on the device. */
  async retry(): Promise<void> {
    await this.begin(this.#source, this.store.state.name, true);
  }

  /** Ends the work and deletes what it left on the device. */
  cancel(): Promise<void> {
    return this.#end((compressor) => compressor.discard());
  }

  /** Ends everything here; what lies on the device stays. */
  close(): Promise<void> {
    return this.#end((compressor) => compressor.dispose());
  }

  /** From the result back to the sizes. */
  another(): void {
    this.store.set({ step: this.#choosing() });
  }

  /** The page is free at once; the library may need a moment to stop. */
  #end(how: (compressor: Compressor) => Promise<void>): Promise<void> {
    this.#stop();
    const [compressor, running, before] = [this.#compressor, this.#running, this.#ending];
    this.#compressor = null;
    this.#choices = [];
    this.store.set({ step: { at: 'pick' }, plan: null, name: '' });
    this.#ending = Promise.all([before, running]).then(async () => {
      if (compressor) await how(compressor).catch(() => undefined); // what stays is offered at the next start
    });
    return this.#ending;
  }

  #stop(): void {
    this.#abort?.abort();
    this.#abort = null;
  }

  #choosing(): Step {
    const choices = this.#choices;
    const good = choices.findIndex(({ predictedKl }) => predictedKl !== null && predictedKl <= kGoodKl);
    const known = choices.some(({ predictedKl }) => predictedKl !== null);
    return { at: 'choose', choices, index: good >= 0 ? good : known ? choices.length - 1 : choices.length >> 1 };
  }

  async #run(job: Job, bytes: number | null, work: (compressor: Compressor, options: CompressOptions) => Promise<Step>): Promise<void> {
    const abort = (this.#abort = new AbortController());
    const { step } = this.store.state;
    const before = step.at === 'work' && step.job === job ? step.progress : null;
    this.store.set({ step: { at: 'work', job, bytes, progress: before, paused: false } });
    await this.#running; // a call that was told to stop may need a moment
    const compressor = this.#compressor;
    if (!compressor || abort.signal.aborted) return;
    const onProgress = (now: CompressProgress): void => {
      if (!abort.signal.aborted) this.store.set({ step: { at: 'work', job, bytes, progress: now, paused: false } });
    };
    const running = work(compressor, { signal: abort.signal, onProgress }).then(
      (next) => void (abort.signal.aborted || this.store.set({ step: next })),
      (error: unknown) => void (abort.signal.aborted || this.#fail(error)),
    );
    this.#running = running;
    await running;
  }

  #fail(error: unknown): void {
    this.#abort = null;
    if (isAbort(error)) return;
    this.store.set({ step: { at: 'failed', problem: describe(error, 'load', false), again: this.#compressor !== null } });
  }
}
