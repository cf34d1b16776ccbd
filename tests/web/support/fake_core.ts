// A stand-in for the wasm module with the same border (JSON in, JSON out): reads a "model" of the form GGUF + bytes in
// chunks, and answers by repeating a script, one token per word. It can be told to fail.
import type { CoreModule } from '../../../web/src/core.ts';
import type { ErrorData } from '../../../web/src/errors.ts';

export interface FakeCoreOptions {
  /** Words of every answer. */
  script?: string[];
  chatTemplate?: string | null;
  /** Error that loadNext gives once so many bytes were committed. */
  failAt?: { bytes: number; error: ErrorData };
  /** Error of generateBegin. */
  generateError?: ErrorData | null;
  addBos?: boolean;
  /** An embedding model with vectors of so many numbers. */
  embeddingSize?: number;
  /** The function of this name traps, as a broken module does. */
  trapIn?: string;
  chunkBytes?: number;
  /** Chunks of prompt reading before the first token. */
  prefillSteps?: number;
}

const kBos = { id: 1, text: '<|im_start|>' };
const kEos = { id: 2, text: '<|im_end|>' };

export class FakeCore implements CoreModule {
  wasmMemory = { buffer: new ArrayBuffer(1 << 16) };
  /** What was committed, file after file: the tests compare it with what the server gave. */
  readonly loaded: number[] = [];
  readonly calls: string[] = [];
  lastGenerate: Record<string, unknown> = {};
  threads = 0;
  /** Names and sizes of the files it was told of. */
  files: { name: string; bytes: number }[] = [];
  private pending = 0;
  private step = -1;
  private prefilled = 0;
  private words: number[] = [];
  private cached: number[] = [];

  constructor(readonly options: FakeCoreOptions = {}) {}

  create = (threads: number) => this.answer('create', () => {
    this.threads = threads;
    return {};
  });

  destroy = () => this.answer('destroy', () => ({}));

  version = () => this.answer('version', () => ({ version: '0' }));

  loadBegin = (json: string) => this.answer('loadBegin', () => {
    this.files = (JSON.parse(json) as { files: { name: string; bytes: number }[] }).files;
    return {};
  });

  loadNext = () => this.answer('loadNext', () => {
    const done = this.loaded.length;
    const { failAt, chunkBytes = 1000 } = this.options;
    if (failAt && done >= failAt.bytes) return { error: failAt.error };
    let offset = done;
    let file = 0;
    while (file < this.files.length && offset >= this.files[file]!.bytes) offset -= this.files[file++]!.bytes;
    if (file === this.files.length) return { state: 'ready', info: this.describe() };
    this.pending = Math.min(chunkBytes, this.files[file]!.bytes - offset);
    // The heap moves between chunks, as a growing memory does: stale views would lose the bytes.
    this.wasmMemory = { buffer: new ArrayBuffer(1 << 16) };
    return { state: 'read', file, offset, length: this.pending, pointer: 64, doneBytes: done, totalBytes: this.files.reduce((sum, file) => sum + file.bytes, 0) };
  });

  loadCommit = () => this.answer('loadCommit', () => {
    this.loaded.push(...new Uint8Array(this.wasmMemory.buffer, 64, this.pending));
    return {};
  });

  unload = () => this.answer('unload', () => ({}));
  info = () => this.answer('info', () => this.describe());

  tokenize = (json: string) => this.answer('tokenize', () => {
    return { ids: [...(JSON.parse(json) as { text: string }).text].map((char) => char.codePointAt(0)!) };
  });

  detokenize = (json: string) => this.answer('detokenize', () => {
    return { text: String.fromCodePoint(...(JSON.parse(json) as { ids: number[] }).ids) };
  });

  embed = (json: string) => this.answer('embed', () => {
    const { text } = JSON.parse(json) as { text: string };
    const { embeddingSize = 0 } = this.options;
    if (!embeddingSize) return { error: { code: 'no_embeddings', message: 'a language model', advice: 'load another' } };
    return { embedding: Array.from({ length: embeddingSize }, (_, index) => text.length + index / 2), tokens: text.length + 2, truncated: text.length > 9 };
  });

  generateBegin = (json: string) => this.answer('generateBegin', () => {
    this.lastGenerate = JSON.parse(json) as Record<string, unknown>;
    if (this.options.generateError) return { error: this.options.generateError };
    const ids = this.lastGenerate['ids'] as number[];
    this.step = 0;
    this.prefilled = 0;
    this.words = [];
    let same = 0;
    while (same < this.cached.length && this.cached[same] === ids[same]) same++;
    const cachedTokens = this.lastGenerate['cachePrompt'] ? same : 0;
    this.cached = ids;
    this.timings = { promptTokens: ids.length, cachedTokens, prefillMs: 1, tokens: 0, tokenIds: [], decodeMs: 1, draftedTokens: 0, acceptedTokens: 0 };
    return { promptTokens: ids.length, cachedTokens };
  });

  private timings = { promptTokens: 0, cachedTokens: 0, prefillMs: 0, tokens: 0, tokenIds: [] as number[], decodeMs: 0, draftedTokens: 0, acceptedTokens: 0 };

  generateStep = () => this.answer('generateStep', () => {
    if (this.step < 0) return { error: { code: 'internal', message: 'generateStep without generateBegin' } };
    const { script = ['Hello', ' ', 'world'], prefillSteps = 0 } = this.options;
    if (this.prefilled < prefillSteps) return { state: 'prefill', done: ++this.prefilled, total: prefillSteps };
    const limit = Number(this.lastGenerate['maxTokens'] ?? Infinity);
    if (this.step >= script.length) return { state: 'done', finish: 'stop', text: '' };
    const id = 100 + this.step;
    const text = script[this.step++]!;
    this.words.push(id);
    return { state: 'token', id, text, logprob: -0.5, finish: this.step >= limit ? 'length' : null };
  });

  generateEnd = () => this.answer('generateEnd', () => {
    if (this.step < 0) return { error: { code: 'internal', message: 'generateEnd without generateBegin' } };
    this.step = -1;
    return { timings: { ...this.timings, tokens: this.words.length, tokenIds: this.words } };
  });

  private describe() {
    const { chatTemplate = kChatMl, addBos = false, embeddingSize = 0 } = this.options;
    return {
      model: { name: 'fake', architecture: 'llama', parameters: 7, bytes: this.files.reduce((sum, file) => sum + file.bytes, 0), contextLength: 2048, embeddingSize },
      contextSize: 512, memoryBytes: 1000 + this.calls.length, threads: this.threads, chatTemplate, tokens: { bos: kBos, eos: kEos, eot: null }, addBos,
    };
  }

  private answer(name: string, work: () => object): string {
    this.calls.push(name);
    if (this.options.trapIn === name) throw new WebAssembly.RuntimeError('unreachable');
    return JSON.stringify({ ok: true, ...work() });
  }
}

/** The template of SmolLM2-135M-Instruct, as its model file has it. */
export const kChatMl =
  "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a " +
  "helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + " +
  "'\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}" +
  '{% endif %}';
