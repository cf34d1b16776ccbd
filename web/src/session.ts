// What the worker does with one model: loads it into the core, renders, tokenises, and pulls tokens. Free of worker globals
// and of the way the module is imported (both come in), so that tests run it with a fake core.
import type { Core, CoreInfo, CoreTimings, GenerateStep } from './core.ts';
import { EngineError, throwIfAborted, toEngineError } from './errors.ts';
import { Meter } from './fetch/meter.ts';
import { ModelFiles } from './fetch/files.ts';
import type { Outcome, SourceDeps } from './fetch/source.ts';
import { decide, type Capabilities, type Decision } from './platform.ts';
import type { Calls, Prompt, RenderOptions, Used } from './rpc/protocol.ts';
import type { HandlerContext, Handlers } from './rpc/server.ts';
import { ChatTemplate } from './text/template.ts';
import { makeSplitter, type Splitter, thinkingOf } from './text/thinking.ts';
import type { Embeddings, EngineInfo, Timings } from './types.ts';

export interface SessionDeps extends SourceDeps {
  capabilities(): Capabilities;
  startCore(decision: Decision): Promise<Core>;
  /** Gives waiting messages (an abort, another call) their turn. */
  breathe(): Promise<void>;
}

/** Longest single read into the heap: an abort must not wait for a whole tensor. */
const kReadBytes = 8 << 20;
/** Bytes read between two turns for waiting messages. */
const kTurnBytes = 1 << 20;

type Request<K extends keyof Calls> = Calls[K]['request'];

export class Session implements Handlers {
  private core: Core | null = null;
  private coreInfo: CoreInfo | null = null;
  private chatTemplate: ChatTemplate | null = null;
  private running = false;
  private starting: Promise<Core> | null = null;

  constructor(private readonly deps: SessionDeps) {}

  load = async (request: Request<'load'>, { signal, emit }: HandlerContext<'load'>): Promise<EngineInfo> => {
    if (this.starting) throw new EngineError('busy', 'this worker has its model already');
    const decision = decide(this.deps.capabilities(), request);
    const meter = new Meter(emit);
    meter.update('start', 0, null);
    // The module starts while the server answers; its failure is reported once it is needed.
    const starting = (this.starting = this.deps.startCore(decision));
    starting.catch(() => undefined);
    const files = await ModelFiles.open(request, { signal, meter }, this.deps);
    let outcome: Outcome;
    try {
      const core = await starting;
      this.coreInfo = await this.fill(core, files, request, meter, signal);
      outcome = await files.accept();
      throwIfAborted(signal);
      this.core = core;
    } catch (error) {
      const failure = toEngineError(error);
      await files.reject(failure);
      throw failure;
    }
    return this.describe(decision, request.name, files.name, outcome);
  };

  run = (request: Request<'run'>, { signal, emit }: HandlerContext<'run'>): Promise<Calls['run']['reply']> => {
    return this.alone(async ({ core, info }) => {
      // Before the template: an embedding model has none, which is not what is wrong.
      if (info.model.embeddingSize > 0) throw new EngineError('no_generation');
      const { stop, thinking, tools, ...options } = request.options;
      const { ids, splitter } = this.prepare(request.prompt, { thinking, tools });
      core.generateBegin({
        ...options,
        cachePrompt: options.cachePrompt ?? true,
        ids,
        stop: typeof stop === 'string' ? [stop] : stop,
        logprobs: request.logprobs,
      });
      const { finish, end } = await this.pull(core, signal, emit, splitter);
      return { timings: { ...end, finish }, used: usedBy(core) };
    });
  };

  embed = ({ texts }: Request<'embed'>, { signal, emit }: HandlerContext<'embed'>): Promise<Calls['embed']['reply']> => {
    return this.alone(async ({ core }) => {
      const all: Embeddings = { embeddings: [], tokens: [], truncated: [] };
      for (const text of texts) {
        throwIfAborted(signal);
        const { embedding, tokens, truncated } = core.embed(text);
        all.embeddings.push(Float32Array.from(embedding));
        all.tokens.push(tokens);
        all.truncated.push(truncated);
        emit({ doneTexts: all.tokens.length, totalTexts: texts.length });
        await this.deps.breathe();
      }
      return { vectors: all, used: usedBy(core) };
    });
  };

  render = ({ messages, options }: Request<'render'>): Calls['render']['reply'] => {
    return { text: this.template().render(messages, options) };
  };

  tokenize = ({ text, special }: Request<'tokenize'>): Calls['tokenize']['reply'] => {
    return { ids: this.loaded().core.tokenize(text, special) };
  };

  detokenize = ({ ids }: Request<'detokenize'>): Calls['detokenize']['reply'] => {
    return { text: this.loaded().core.detokenize(ids) };
  };

  close = async (): Promise<Record<string, never>> => {
    this.core = null;
    (await this.starting?.catch(() => null))?.destroy();
    return {};
  };

  /** Work that nothing else of the engine may come between. */
  private async alone<T>(work: (loaded: { core: Core; info: CoreInfo }) => Promise<T>): Promise<T> {
    const loaded = this.loaded();
    if (this.running) throw new EngineError('busy');
    this.running = true;
    try {
      return await work(loaded);
    } finally {
      this.running = false;
    }
  }

  private loaded(): { core: Core; info: CoreInfo } {
    if (!this.core || !this.coreInfo) throw new EngineError('no_model');
    return { core: this.core, info: this.coreInfo };
  }

  private template(): ChatTemplate {
    const { info } = this.loaded();
    const texts: Record<string, string> = {};
    for (const [name, token] of Object.entries(info.tokens)) if (token) texts[`${name}_token`] = token.text;
    return (this.chatTemplate ??= new ChatTemplate(info.chatTemplate, texts));
  }

  /**
   * The ids of a prompt and, for a chat, what parts the answer from the reasoning. BOS is put in front iff the file asks for
   * it; a chat template often writes it itself, then it is not doubled.
   */
  private prepare(prompt: Prompt, options: RenderOptions): { ids: number[]; splitter: Splitter | null } {
    if ('ids' in prompt) return { ids: prompt.ids, splitter: null };
    const { core, info } = this.loaded();
    const chat = 'messages' in prompt;
    const text = chat ? this.template().render(prompt.messages, options) : prompt.text;
    const ids = core.tokenize(text, true);
    const bos = info.addBos ? info.tokens['bos'] : null;
    const there = bos && chat && ids[0] === bos.id;
    const idOf = (token: string): number | null => {
      const found = core.tokenize(token, true);
      return found.length === 1 ? found[0]! : null;
    };
    const splitter = chat ? makeSplitter(info.chatTemplate, text, idOf) : null;
    return { ids: bos && !there ? [bos.id, ...ids] : ids, splitter };
  }

  private describe({ simd }: Decision, wish: string | undefined, file: string, outcome: Outcome): EngineInfo {
    const { model, contextSize, memoryBytes, threads, chatTemplate } = this.coreInfo!;
    return {
      simd,
      threads,
      isolated: this.deps.capabilities().isolated,
      memoryBytes,
      contextSize,
      model: {
        name: wish ?? (model.name || file),
        architecture: model.architecture,
        parameters: model.parameters,
        bytes: model.bytes,
        contextLength: model.contextLength,
        embeddingSize: model.embeddingSize,
        url: outcome.url,
      },
      hasChatTemplate: Boolean(chatTemplate),
      thinking: thinkingOf(chatTemplate),
      stored: outcome.stored,
      storageProblem: outcome.problem,
    };
  }

  /** Gives the core the bytes it asks for until it is ready. The core names the place; bytes are read straight into it. */
  private async fill(
    core: Core,
    files: ModelFiles,
    { contextSize, memoryLimit }: Request<'load'>,
    meter: Meter,
    signal: AbortSignal,
  ): Promise<CoreInfo> {
    let silent = 0;
    core.loadBegin({ files: await files.list(), contextSize, memoryLimit, name: files.name });
    for (;;) {
      throwIfAborted(signal);
      const step = core.loadNext();
      if (step.state === 'ready') return step.info;
      if (step.state === 'wait') {
        await this.deps.sleep(2, signal);
        continue;
      }
      for (let done = 0; done < step.length;) {
        const length = Math.min(kReadBytes, step.length - done);
        // The view stays valid while the bytes are waited for: only a call of the core can grow the heap.
        await files.read(step.file, step.offset + done, core.heap(step.pointer + done, length));
        done += length;
        // Small tensors by the hundred: a turn of the loop for each would take longer than reading them.
        silent += length;
        if (silent < kTurnBytes) continue;
        silent = 0;
        await this.deps.breathe();
        throwIfAborted(signal);
      }
      core.loadCommit();
      if (!files.downloading) meter.update('load', step.doneBytes + step.length, step.totalBytes);
    }
  }

  /** Pulls tokens until the core or the signal ends it, and closes the call, so that the core can take the next one. */
  private async pull(core: Core, signal: AbortSignal, emit: Emit, splitter: Splitter | null): Promise<{ finish: Timings['finish']; end: CoreTimings }> {
    let finish: Timings['finish'] | null = null;
    try {
      while (!finish) {
        finish = signal.aborted ? 'abort' : tell(core.generateStep(), emit, splitter);
        // Between two steps other messages get their turn: an abort, above all.
        if (!finish) await this.deps.breathe();
      }
    } catch (error) {
      core.generateEnd();
      throw error;
    }
    const rest = splitter?.flush();
    if (rest && (rest.text || rest.reasoning)) emit({ kind: 'text', ...rest });
    return { finish, end: core.generateEnd() };
  }
}

function usedBy(core: Core): Used {
  const { memoryBytes, threads } = core.info();
  return { memoryBytes, threads };
}

type Emit = HandlerContext<'run'>['emit'];

/** Sends what a step brought; gives why the call ends, null if it goes on. */
function tell(step: GenerateStep, emit: Emit, splitter: Splitter | null): Timings['finish'] | null {
  if (step.state === 'prefill') {
    emit({ kind: 'prefill', doneTokens: step.done, totalTokens: step.total });
    return null;
  }
  if (step.state === 'done') {
    if (step.text) emit({ kind: 'text', ...(splitter?.push(step.text, null) ?? { text: step.text }) });
    return step.finish;
  }
  const { text, reasoning } = splitter?.push(step.text, step.id) ?? { text: step.text, reasoning: '' };
  emit({ kind: 'token', token: { id: step.id, text, logprob: step.logprob, ...(reasoning ? { reasoning } : {}) } });
  return step.finish;
}
