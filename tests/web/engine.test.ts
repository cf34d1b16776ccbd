// The engine as its users see it: pieces of text, tokens, timings, queueing, aborting and going on, errors, disposal. Calls
// go through the real client, protocol, server and session; only the worker's thread and the core are fakes.
import type { GenerateOptions, Token } from '../../web/src/types.ts';
import { kChatMl } from './support/fake_core.ts';
import { failure, FakeWorld, textOf } from './support/fake_world.ts';

const kWords = Array.from({ length: 2000 }, (_, index) => `w${index} `);
const ids = (text: string) => [...text].map((char) => char.codePointAt(0)!);

describe('an answer', () => {
  test('pieces are plain strings in order; timings and tokens are told', async () => {
    const world = new FakeWorld();
    world.core = { script: ['Hel', '', 'lo'], prefillSteps: 2 };
    const engine = await world.load();
    expect(engine.timings).toBeNull();
    const tokens: Token[] = [];
    const prefill: number[] = [];
    const pieces: string[] = [];
    const options: GenerateOptions = { onToken: (token) => tokens.push(token), onPrefill: ({ doneTokens }) => prefill.push(doneTokens) };
    for await (const piece of engine.generate('abc', options)) pieces.push(piece);
    expect(pieces).toEqual(['Hel', 'lo']);
    expect(tokens).toEqual([
      { id: 100, text: 'Hel', logprob: -0.5 },
      { id: 101, text: '', logprob: -0.5 },
      { id: 102, text: 'lo', logprob: -0.5 },
    ]);
    expect(prefill).toEqual([1, 2]);
    expect(engine.timings).toEqual({
      promptTokens: 3, cachedTokens: 0, prefillMs: 1, tokens: 3, tokenIds: [100, 101, 102], decodeMs: 1, draftedTokens: 0, acceptedTokens: 0,
      finish: 'stop',
    });
  });

  test('options reach the core; logprobs only when someone listens', async () => {
    const world = new FakeWorld();
    const engine = await world.load();
    const options = { maxTokens: 2, temperature: 0.5, topK: 3, topP: 0.9, minP: 0.1, seed: 7, stop: 'END', ignoreEnd: true };
    expect(await textOf(engine.generate('a', options))).toBe('Hello ');
    expect(world.lastCore.lastGenerate).toEqual({ ...options, stop: ['END'], cachePrompt: true, ids: ids('a'), logprobs: false });
    expect(engine.timings?.finish).toBe('length');
    await textOf(engine.generate([5, 6], { onToken: () => undefined, stop: ['a', 'b'], cachePrompt: false }));
    expect(world.lastCore.lastGenerate).toMatchObject({ ids: [5, 6], logprobs: true, stop: ['a', 'b'], cachePrompt: false });
  });

  test('chat renders the template of the file', async () => {
    const world = new FakeWorld();
    const engine = await world.load();
    await textOf(engine.chat([{ role: 'user', content: 'Hi' }]));
    const prompt = await engine.renderChat([{ role: 'user', content: 'Hi' }]);
    expect(prompt.endsWith('<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n')).toBe(true);
    expect(world.lastCore.lastGenerate['ids']).toEqual(ids(prompt));
  });

  test('a thinking model: reasoning goes its own way, and can be switched', async () => {
    const world = new FakeWorld();
    const template = "{{ messages[0]['content'] }}{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>{% endif %}";
    world.core = { chatTemplate: template, script: ['<thi', 'nk>\nWell', ', 4', '.\n</th', 'ink>\n\nIt', ' is 4'] };
    const engine = await world.load();
    expect(engine.info.thinking).toBe('optional');
    const thoughts: string[] = [];
    const tokens: Token[] = [];
    const options: GenerateOptions = { onReasoning: (piece) => thoughts.push(piece), onToken: (token) => tokens.push(token) };
    expect(await textOf(engine.chat([{ role: 'user', content: 'Q' }], options))).toBe('It is 4');
    expect(thoughts.join('')).toBe('Well, 4.');
    expect(tokens.map(({ text, reasoning = '' }) => reasoning + text).join('')).toBe('Well, 4.It is 4');
    expect(await textOf(engine.generate('Q'))).toContain('<think>');
    expect(await engine.renderChat([{ role: 'user', content: 'Q' }], { thinking: false })).toContain('</think>');
    await textOf(engine.chat([{ role: 'user', content: 'Q' }], { thinking: false }));
    expect(world.lastCore.lastGenerate['ids']).toEqual(ids('Q<think>\n\n</think>'));
    expect(world.lastCore.lastGenerate).not.toHaveProperty('thinking');
  });

  test('an answer cut off while thinking has only reasoning', async () => {
    const world = new FakeWorld();
    world.core = { chatTemplate: "{{ messages[0]['content'] }}<think>\n", script: ['Hm', ' </th'] };
    const engine = await world.load();
    expect(engine.info.thinking).toBe('always');
    const thoughts: string[] = [];
    expect(await textOf(engine.chat([{ role: 'user', content: 'Q' }], { onReasoning: (piece) => thoughts.push(piece) }))).toBe('');
    expect(thoughts.join('')).toBe('Hm </th');
  });

  test('a second turn reuses the prompt', async () => {
    const engine = await new FakeWorld().load();
    await textOf(engine.chat([{ role: 'user', content: 'Hi' }]));
    const turns = [{ role: 'user', content: 'Hi' }, { role: 'assistant', content: 'Yo' }, { role: 'user', content: 'more' }];
    await textOf(engine.chat(turns));
    expect(engine.timings!.cachedTokens).toBeGreaterThan(50);
  });

  test('BOS comes in front exactly where the file asks for it', async () => {
    const world = new FakeWorld();
    world.core = { addBos: true };
    const engine = await world.load();
    await textOf(engine.generate('ab'));
    expect(world.lastCore.lastGenerate['ids']).toEqual([1, ...ids('ab')]);
    await textOf(engine.generate([7]));
    expect(world.lastCore.lastGenerate['ids']).toEqual([7]);
    expect(await engine.tokenize('ab')).toEqual(ids('ab'));
    // The template begins with the letter that is token 1 here: BOS is there already.
    world.core = { addBos: true, chatTemplate: "\u0001{{ messages[0]['content'] }}" };
    const other = await world.load();
    await textOf(other.chat([{ role: 'user', content: 'ab' }]));
    expect(world.lastCore.lastGenerate['ids']).toEqual([1, ...ids('ab')]);
  });

  test('tokenize and detokenize', async () => {
    const engine = await new FakeWorld().load();
    expect(await engine.tokenize('añ🎉')).toEqual(ids('añ🎉'));
    expect(await engine.detokenize(Int32Array.from(ids('añ🎉')))).toBe('añ🎉');
  });
});

describe('embeddings', () => {
  test('a vector per text, in order, with what was read and cut; progress after each', async () => {
    const world = new FakeWorld();
    world.core = { embeddingSize: 3, chatTemplate: null };
    const engine = await world.load();
    expect(engine.info.model.embeddingSize).toBe(3);
    const progress: number[] = [];
    const result = await engine.embed(['ab', '', 'longer than that'], { onProgress: ({ doneTexts, totalTexts }) => progress.push(doneTexts, totalTexts) });
    expect(result.embeddings).toEqual([[2, 2.5, 3], [0, 0.5, 1], [16, 16.5, 17]].map((values) => Float32Array.from(values)));
    expect(result.tokens).toEqual([4, 2, 18]);
    expect(result.truncated).toEqual([false, false, true]);
    expect(progress).toEqual([1, 3, 2, 3, 3, 3]);
    expect(await engine.embed([])).toEqual({ embeddings: [], tokens: [], truncated: [] });
  });

  test('a language model does not embed, an embedding model does not write; both go on', async () => {
    const world = new FakeWorld();
    const chat = await world.load();
    expect((await failure(chat.embed(['a']))).code).toBe('no_embeddings');
    expect(await textOf(chat.generate('x'))).toBe('Hello world');
    world.core = { embeddingSize: 2, chatTemplate: null };
    const engine = await world.load();
    for (const answer of [engine.generate('x'), engine.chat([{ role: 'user', content: 'Hi' }])]) {
      const error = await failure(textOf(answer));
      expect(error.code).toBe('no_generation');
      expect(error.advice).toContain('embed');
    }
    expect((await engine.embed(['a'])).tokens).toEqual([3]);
  });

  test('calls queue; an abort between two texts stops the rest', async () => {
    const world = new FakeWorld();
    world.core = { embeddingSize: 2 };
    const engine = await world.load();
    const controller = new AbortController();
    const texts = Array.from({ length: 500 }, (_, index) => `text ${index}`);
    const onProgress = ({ doneTexts }: { doneTexts: number }) => doneTexts === 3 && controller.abort();
    const first = failure(engine.embed(texts, { signal: controller.signal, onProgress }));
    const second = engine.embed(['b']);
    expect((await first).name).toBe('AbortError');
    expect((await second).tokens).toEqual([3]);
    expect(world.lastCore.calls.filter((name) => name === 'embed').length).toBeLessThan(texts.length);
    expect((await failure(engine.embed(['c'], { signal: controller.signal }))).code).toBe('aborted');
  });

  test('a callback that throws ends the call with its error', async () => {
    const world = new FakeWorld();
    world.core = { embeddingSize: 2 };
    const engine = await world.load();
    const onProgress = () => {
      throw new Error('enough');
    };
    expect((await failure(engine.embed(['a', 'b', 'c'], { onProgress }))).message).toBe('enough');
    expect((await failure(engine.embed(['a'], { onProgress }))).message).toBe('enough');
    expect((await engine.embed(['a'])).tokens).toEqual([3]);
  });
});

describe('abort', () => {
  test('mid-answer by signal: AbortError, then a new answer', async () => {
    const world = new FakeWorld();
    world.core = { script: kWords };
    const engine = await world.load();
    const controller = new AbortController();
    const pieces: string[] = [];
    const error = await failure((async () => {
      for await (const piece of engine.generate('x', { signal: controller.signal })) {
        pieces.push(piece);
        if (pieces.length === 3) controller.abort();
      }
    })());
    expect([error.name, error.code]).toEqual(['AbortError', 'aborted']);
    expect(pieces).toEqual(kWords.slice(0, 3));
    expect(engine.timings?.finish).toBe('abort');
    expect(engine.timings!.tokens).toBeLessThan(kWords.length);
    expect(await textOf(engine.generate('y'))).toBe(kWords.join(''));
  });

  test('leaving the loop stops the model', async () => {
    const world = new FakeWorld();
    world.core = { script: kWords };
    const engine = await world.load();
    for await (const piece of engine.generate('x')) if (piece === 'w2 ') break;
    expect(engine.timings?.finish).toBe('abort');
    expect(world.lastCore.calls.at(-2)).toBe('generateEnd');
    expect(await textOf(engine.generate('y'))).toBe(kWords.join(''));
  });

  test('while the prompt is read', async () => {
    const world = new FakeWorld();
    world.core = { prefillSteps: 1000 };
    const engine = await world.load();
    const controller = new AbortController();
    const options = { signal: controller.signal, onPrefill: () => controller.abort() };
    expect((await failure(textOf(engine.generate('x', options)))).code).toBe('aborted');
    expect(engine.timings).toMatchObject({ tokens: 0, finish: 'abort' });
  });

  test('before it starts, and while it waits for its turn', async () => {
    const world = new FakeWorld();
    world.core = { script: kWords };
    const engine = await world.load();
    expect((await failure(textOf(engine.generate('x', { signal: AbortSignal.abort() })))).code).toBe('aborted');
    const first = textOf(engine.generate('x'));
    const controller = new AbortController();
    const second = failure(textOf(engine.generate('y', { signal: controller.signal })));
    controller.abort();
    expect((await second).code).toBe('aborted');
    expect(await first).toBe(kWords.join(''));
    expect(world.lastCore.calls.filter((name) => name === 'generateBegin').length).toBe(1);
  });

  test('a callback that throws ends the call with its error', async () => {
    const world = new FakeWorld();
    world.core = { script: kWords };
    const engine = await world.load();
    const onToken = () => {
      throw new RangeError('mine');
    };
    expect((await failure(textOf(engine.generate('x', { onToken })))).message).toBe('mine');
    expect(await textOf(engine.generate('y'))).toBe(kWords.join(''));
  });
});

describe('several calls', () => {
  test('run one after the other in the order they were started', async () => {
    const world = new FakeWorld();
    world.core = { script: ['a', 'b', 'c'] };
    const engine = await world.load();
    const order: string[] = [];
    const read = async (name: string) => {
      for await (const piece of engine.generate(name)) order.push(name + piece);
    };
    await Promise.all([read('1'), read('2'), read('3')]);
    expect(order).toEqual(['1a', '1b', '1c', '2a', '2b', '2c', '3a', '3b', '3c']);
  });

  test('a call inside the loop of another does not hang', async () => {
    const engine = await new FakeWorld().load();
    let inner = '';
    for await (const _ of engine.generate('x')) inner ||= await textOf(engine.generate('y'));
    expect(inner).toBe('Hello world');
  });

  test('a failed call does not stop the next', async () => {
    const world = new FakeWorld();
    const engine = await world.load();
    world.core.generateError = { code: 'context_full', message: '600 tokens, 512 fit', advice: 'shorten' };
    const error = await failure(textOf(engine.generate('x')));
    expect([error.code, error.message, error.advice]).toEqual(['context_full', '600 tokens, 512 fit', 'shorten']);
    world.core.generateError = null;
    expect(await textOf(engine.generate('x'))).toBe('Hello world');
  });
});

describe('errors', () => {
  test('a file without a template: no_chat_template, plain generation works', async () => {
    const world = new FakeWorld();
    world.core = { chatTemplate: null };
    const engine = await world.load();
    expect(engine.info.hasChatTemplate).toBe(false);
    const error = await failure(textOf(engine.chat([{ role: 'user', content: 'Hi' }])));
    expect(error.code).toBe('no_chat_template');
    expect(error.advice).toBeTruthy();
    expect(await textOf(engine.generate('x'))).toBe('Hello world');
  });

  test('a template that refuses', async () => {
    const world = new FakeWorld();
    world.core = { chatTemplate: "{{ raise_exception('roles must alternate') }}" };
    const engine = await world.load();
    const error = await failure(textOf(engine.chat([{ role: 'user', content: 'Hi' }])));
    expect(error.code).toBe('bad_chat_template');
    expect(error.message).toContain('roles must alternate');
  });

  test('a module that traps: internal, with the place; the engine says so from then on', async () => {
    const world = new FakeWorld();
    world.core = { trapIn: 'generateStep', chatTemplate: kChatMl };
    const engine = await world.load();
    const error = await failure(textOf(engine.generate('x')));
    expect(error.code).toBe('internal');
    expect(error.message).toContain('generateStep');
    expect((await failure(engine.tokenize('x'))).code).toBe('internal');
  });

  test('a worker that dies rejects what waits and what comes', async () => {
    const world = new FakeWorld();
    world.core = { script: kWords };
    const engine = await world.load();
    const answer = failure(textOf(engine.generate('x')));
    setTimeout(() => world.workers[0]!.onerror?.({ message: 'out of memory' } as ErrorEvent), 5);
    expect((await answer).code).toBe('worker_failed');
    expect((await failure(engine.tokenize('x'))).code).toBe('worker_failed');
    expect(world.workers[0]!.terminated).toBe(true);
  });

  test.each([
    [new RangeError('WebAssembly.Memory(): could not allocate memory'), 'out_of_memory'],
    [new WebAssembly.CompileError('bad opcode'), 'worker_failed'],
  ])('a module that does not start: %s is %s', async (moduleError, code) => {
    const world = new FakeWorld();
    world.moduleError = moduleError;
    const error = await failure(world.load());
    expect(error.code).toBe(code);
    expect(error.message).toContain(moduleError.message);
    expect(world.store.open).toBe(0);
  });

  test('bad options are named', async () => {
    const world = new FakeWorld();
    expect((await failure(world.load(undefined, { threads: 0 }))).message).toContain('threads');
    expect((await failure(world.load(undefined, { simd: 'fast' as 'auto' }))).message).toContain('fast');
    expect((await failure(world.load('http://['))).code).toBe('invalid_argument');
    expect(world.workers.every((worker) => worker.terminated)).toBe(true);
  });
});

describe('dispose', () => {
  test('ends the worker; open and later calls reject', async () => {
    const world = new FakeWorld();
    world.core = { script: kWords };
    const engine = await world.load();
    const answer = failure(textOf(engine.generate('x')));
    await engine.dispose();
    await engine.dispose();
    expect((await answer).code).toBe('disposed');
    expect((await failure(engine.detokenize([1]))).code).toBe('disposed');
    expect(world.workers[0]!.terminated).toBe(true);
  });

  test("the engine's threads are ended before the worker, also after a failed load", async () => {
    const world = new FakeWorld();
    await (await world.load()).dispose();
    expect(world.lastCore.calls.at(-1)).toBe('destroy');
    world.core = { failAt: { bytes: 1000, error: { code: 'bad_version', message: 'x' } } };
    await failure(world.load());
    expect(world.lastCore.calls.at(-1)).toBe('destroy');
  });

  test('a worker that does not answer is ended all the same', async () => {
    const world = new FakeWorld();
    const engine = await world.load();
    const worker = world.workers[0]!;
    worker.postMessage = () => undefined;
    const open = failure(engine.tokenize('x'));
    await engine.dispose();
    expect((await open).code).toBe('disposed');
    expect(worker.terminated).toBe(true);
  });

  test('20 loads and disposals leave no worker', async () => {
    const world = new FakeWorld();
    for (let cycle = 0; cycle < 20; cycle++) await (await world.load()).dispose();
    expect(world.workers.map((worker) => worker.terminated)).toEqual(Array(20).fill(true));
    expect(world.store.open).toBe(0);
  });
});

test('a name of the caller wins over that in the file', async () => {
  const world = new FakeWorld();
  expect((await world.load()).info.model.name).toBe('fake');
  expect((await world.load(undefined, { name: 'Mine' })).info.model.name).toBe('Mine');
});

test('info tells flavour, threads and memory, and follows the memory', async () => {
  const world = new FakeWorld();
  const engine = await world.load(undefined, { threads: 3, simd: 'strict' });
  expect(world.decisions).toEqual([{ simd: 'strict', threads: 3, flavour: 'strict-mt' }]);
  expect(world.lastCore.threads).toBe(3);
  const before = engine.info;
  expect(before).toMatchObject({ simd: 'strict', threads: 3, isolated: true, contextSize: 512 });
  await textOf(engine.generate('x'));
  expect(engine.info.memoryBytes).toBeGreaterThan(before.memoryBytes);
});
