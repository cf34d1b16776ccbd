// The controller behind "Make it smaller", with a library whose every answer the test decides: order of steps, pausing,
// cancelling, going on, and what is given back when.
import { Smaller } from '../../web/app/smaller.ts';
import { klNumber, qualityWords } from '../../web/app/ui/quality.ts';
import { type CompressOptions, type CompressPlan, type CompressResult, type Compressor, EngineError, type SizeChoice } from '../../web/src/index.ts';

const kPlan: CompressPlan = {
  id: 'a', name: 'A', architecture: 'llama', parameters: 1e6, bytes: 4e6, calibrated: true, smallestBytes: 1e6, largestBytes: 3e6,
  memoryBytes: 1e8, storageBytes: 1e7, measured: 0, unfinished: null,
};
const kChoices: SizeChoice[] = [0.5, 0.2, 0.11, 0.02].map((predictedKl, i) => ({ bytes: 1e6 + i * 5e5, bitsPerWeight: 2 + i, predictedKl, memoryBytes: 1e7 }));
const kResult = { url: 'stored:a', name: 'A.1MB.gguf', bytes: 1e6 } as CompressResult;

/** One call into the library, answered by the test. */
interface Call {
  name: string;
  bytes?: number;
  options: CompressOptions;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

let calls: Call[];
let log: string[];
let plan: CompressPlan;
let short: boolean;
let smaller: Smaller;

function call<T>(name: string, options: CompressOptions = {}, bytes?: number): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    calls.push({ name, bytes, options, resolve: resolve as (value: unknown) => void, reject });
    options.signal?.addEventListener('abort', () => reject(new EngineError('aborted')));
  });
}
function fake(): Compressor {
  const note = (what: string) => async () => void log.push(what);
  return { plan, analyse: (o: CompressOptions) => call('analyse', o), make: (bytes: number, o: CompressOptions) => call('make', o, bytes), dispose: note('dispose'), discard: note('discard') } as unknown as Compressor;
}
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));
async function answer(value: unknown): Promise<Call> {
  const last = calls.at(-1)!;
  if (value instanceof Error) last.reject(value);
  else last.resolve(value);
  await settle();
  return last;
}
const at = (): string => smaller.store.state.step.at;

beforeEach(() => {
  [calls, log, plan, short] = [[], [], kPlan, false];
  smaller = new Smaller({
    open: async (source) => (log.push(`open ${String(source)}`), fake()),
    needsRoom: () => short,
    makeRoom: async () => void log.push('room'),
    stored: () => log.push('stored'),
  });
});

async function toChoose(): Promise<void> {
  await smaller.begin('models/a', 'A');
  void smaller.start();
  await settle();
  await answer(kChoices);
}

describe('Smaller', () => {
  it('goes from the model to its plan, the sizes, the work and the result', async () => {
    await smaller.begin('models/a', 'A');
    expect([at(), smaller.store.state.plan, log]).toEqual(['plan', kPlan, ['open models/a']]);
    void smaller.start();
    await settle();
    calls[0]!.options.onProgress?.({ stage: 'measuring', done: 0.5, total: 0.4, secondsLeft: 9 });
    expect(smaller.store.state.step).toMatchObject({ at: 'work', job: 'analyse', progress: { total: 0.4 }, paused: false });
    await answer(kChoices);
    expect(smaller.store.state.step).toEqual({ at: 'choose', choices: kChoices, index: 2 }); // the first below .12
    void smaller.make(1.5e6);
    await settle();
    expect(calls[1]).toMatchObject({ name: 'make', bytes: 1.5e6 });
    await answer(kResult);
    expect(smaller.store.state.step).toEqual({ at: 'done', result: kResult });
    expect(log).toContain('stored');
    smaller.another();
    expect(at()).toBe('choose');
  });

  it('offers the middle where nothing is predicted, and the best where all is bad', async () => {
    for (const [kl, index] of [[null, 2], [0.9, 3]] as const) {
      await smaller.begin('a', 'A');
      void smaller.start();
      await settle();
      await answer(kChoices.map((choice) => ({ ...choice, predictedKl: kl })));
      expect(smaller.store.state.step).toMatchObject({ at: 'choose', index });
    }
  });

  it('pauses and resumes with the same size, and shows what was done meanwhile', async () => {
    await toChoose();
    void smaller.make(2e6);
    await settle();
    calls[1]!.options.onProgress?.({ stage: 'coding', done: 0.5, total: 0.3, secondsLeft: 60 });
    smaller.pause();
    expect(smaller.store.state.step).toMatchObject({ at: 'work', paused: true, progress: { total: 0.3 } });
    expect([calls[1]!.options.signal?.aborted, smaller.working]).toEqual([true, false]);
    calls[1]!.options.onProgress?.({ stage: 'coding', done: 0.6, total: 0.4, secondsLeft: 60 }); // too late
    await settle();
    expect(smaller.store.state.step).toMatchObject({ paused: true, progress: { total: 0.3 } });
    void smaller.resume();
    await settle();
    expect(calls[2]).toMatchObject({ name: 'make', bytes: 2e6 });
    expect(smaller.store.state.step).toMatchObject({ paused: false, progress: { total: 0.3 } });
    await answer(kResult);
    expect(at()).toBe('done');
    expect(log).not.toContain('discard');
  });

  it('waits for the call that was told to stop before it makes the next', async () => {
    await smaller.begin('a', 'A');
    const slow = fake();
    const ended: (() => void)[] = [];
    slow.analyse = () => new Promise((_, reject) => ended.push(() => reject(new EngineError('aborted'))));
    smaller.parts.open = async () => slow;
    await smaller.begin('a', 'A');
    void smaller.start();
    await settle();
    smaller.pause();
    void smaller.resume();
    await settle();
    expect(ended.length).toBe(1);
    ended[0]!();
    await settle();
    expect(ended.length).toBe(2);
    expect(at()).toBe('work');
  });

  it('is free at once when it ends, and opens the next model only when the last one has ended', async () => {
    await toChoose();
    let ended: () => void = () => undefined;
    smaller.parts.open = async () => ({ ...fake(), discard: () => new Promise<void>((resolve) => (ended = resolve)) }) as Compressor;
    await toChoose();
    void smaller.cancel();
    expect(at()).toBe('pick');
    await settle();
    smaller.parts.open = async () => (log.push('next'), fake());
    const next = smaller.begin('b', 'B');
    await settle();
    expect([at(), log.includes('next')]).toEqual(['opening', false]);
    ended();
    await next;
    expect([at(), log.includes('next')]).toEqual(['plan', true]);
  });

  it('deletes what was worked out when cancelled, and only then', async () => {
    await toChoose();
    void smaller.make(2e6);
    await settle();
    await smaller.cancel();
    expect([at(), calls[1]!.options.signal?.aborted, log.at(-1)]).toEqual(['pick', true, 'discard']);
    log = [];
    await toChoose();
    await smaller.close();
    expect([at(), log.filter((what) => what.startsWith('dis'))]).toEqual(['pick', ['dispose']]);
  });

  it('goes on with the size that was begun', async () => {
    plan = { ...kPlan, measured: 1, unfinished: { bytes: 1.5e6, done: 0.4 } };
    void smaller.begin('a', 'A', true);
    await settle();
    expect(calls).toMatchObject([{ name: 'analyse' }]); // the sizes are known again, and the library wants it
    await answer(kChoices);
    expect(calls.at(-1)).toMatchObject({ name: 'make', bytes: 1.5e6 });
    await answer(kResult);
    smaller.another();
    expect(at()).toBe('choose');
  });

  it('lets the model that chats go only where memory is short', async () => {
    await toChoose();
    expect(log).not.toContain('room');
    short = true;
    await toChoose();
    expect(log.filter((what) => what === 'room').length).toBe(1);
  });

  it('shows what failed, and begins anew', async () => {
    smaller.parts.open = async () => {
      throw new EngineError('out_of_memory', 'takes 5 GB of memory, there are 4');
    };
    await smaller.begin('a', 'A');
    expect(smaller.store.state.step).toMatchObject({ at: 'failed', again: false, problem: { code: 'out_of_memory', message: 'takes 5 GB of memory, there are 4' } });
    smaller.parts.open = async () => fake();
    await toChoose();
    void smaller.make(2e6);
    await settle();
    await answer(new EngineError('quota'));
    expect(smaller.store.state.step).toMatchObject({ at: 'failed', again: true, problem: { code: 'quota' } });
    plan = { ...kPlan, unfinished: { bytes: 2e6, done: 0.4 } };
    void smaller.retry();
    await settle();
    expect([log.at(-1), smaller.store.state.name, calls.at(-1)!.name]).toEqual(['dispose', 'A', 'analyse']);
  });

  it('tells how far the copying of a file is', async () => {
    let opened: (compressor: Compressor) => void = () => undefined;
    let progress: CompressOptions['onProgress'];
    smaller.parts.open = (_source, { onProgress }) => ((progress = onProgress), new Promise((resolve) => (opened = resolve)));
    const begun = smaller.begin('a.gguf', 'A');
    await settle();
    progress?.({ stage: 'reading', done: 0.5, total: 0, secondsLeft: null });
    expect(smaller.store.state.step).toEqual({ at: 'opening', done: 0.5 });
    opened(fake());
    await begun;
    expect(at()).toBe('plan');
  });

  it('forgets a model that was opened too late', async () => {
    let opened: (compressor: Compressor) => void = () => undefined;
    smaller.parts.open = () => new Promise((resolve) => (opened = resolve));
    const first = smaller.begin('slow', 'Slow');
    await settle();
    await smaller.close();
    opened(fake());
    await first;
    expect([at(), log.at(-1)]).toEqual(['pick', 'dispose']);
  });
});

describe('quality in words', () => {
  it('gets worse with the divergence, and its steps are where the table says', () => {
    expect([0, 0.03, 0.05, 0.12, 0.2, 0.4, 0.9, 3].map(qualityWords)).toEqual([
      'hard to tell from the original', 'hard to tell from the original', 'close to the original', 'close to the original',
      'a little worse than the original', 'clearly worse than the original', 'much worse than the original', 'hardly usable',
    ]);
    expect([0.1, 0.298, 0.0123, 0.05].map(klNumber)).toEqual(['0.10', '0.30', '0.012', '0.050']);
  });
});
