// The chat itself: messages in, answer out, stop, regenerate, new chat. It drives the engine and tells a ChatView what
// to show. The last chat survives a reload in this browser's own storage; nothing else keeps it.

import type { ChatMessage, Engine, GenerateOptions, Timings } from '../src/index.ts';
import { type Settings, readChat, writeChat } from './prefs.ts';
import { describe, isAbort } from './problems.ts';
import type { Session } from './session.ts';
import type { AppState, Store } from './state.ts';

/** What is shown under an answer. */
export interface AnswerNote {
  tokens: number;
  tokensPerSecond: number | null;
  cachedTokens: number;
  stopped: 'no' | 'user' | 'limit';
}

export interface ChatView {
  add(role: 'user' | 'assistant', text: string): void;
  stream(text: string): void; // the whole answer so far
  think(text: string, done: boolean): void; // the whole reasoning before it so far
  finish(text: string, note: AnswerNote | null): void;
  dropLast(): void;
  clear(): void;
}

/** The reasoning is kept to be shown again; the model does not see it in later turns. */
export type Turn = ChatMessage & { content: string; reasoning?: string };

export class Conversation {
  #messages: Turn[] = [];
  #abort: AbortController | null = null;
  #done: Promise<void> = Promise.resolve();

  constructor(
    readonly store: Store<AppState>,
    readonly session: Session,
    readonly settings: () => Settings,
    readonly view: ChatView,
  ) {}

  get empty(): boolean {
    return this.#messages.length === 0;
  }

  /** Shows the chat that was open when the page was left. */
  restore(): void {
    const { messages, completion } = readChat();
    this.#messages = messages;
    this.store.set({ completion });
    for (const { role, content, reasoning } of this.#messages) {
      this.view.add(role as 'user' | 'assistant', content);
      if (reasoning) this.view.think(reasoning, true);
      if (role === 'assistant') this.view.finish(content, null);
    }
  }

  async send(text: string): Promise<void> {
    if (!this.session.engine || this.#abort) return;
    this.#messages.push({ role: 'user', content: text });
    this.view.add('user', text);
    await this.#answer();
  }

  /** Answers the last question anew. */
  async regenerate(): Promise<void> {
    await this.stop();
    if (!this.session.engine) return;
    if (this.#messages.at(-1)?.role === 'assistant') {
      this.#messages.pop();
      this.view.dropLast();
    }
    if (this.#messages.at(-1)?.role === 'user') await this.#answer();
  }

  /** Resolves once no answer is under way. */
  async stop(): Promise<void> {
    this.#abort?.abort();
    await this.#done;
  }

  async newChat(): Promise<void> {
    await this.stop();
    this.#messages = [];
    this.view.clear();
    this.store.set({ problem: null });
    this.#save();
  }

  async useCompletion(): Promise<void> {
    this.store.set({ completion: true, problem: null });
    await this.regenerate();
  }

  async #answer(): Promise<void> {
    const abort = new AbortController();
    this.#abort = abort;
    this.store.set({ phase: 'answering', problem: null, tokensPerSecond: null });
    this.view.add('assistant', '');
    this.#done = this.#run(abort).finally(() => {
      this.#abort = null;
      const engine = this.session.engine;
      this.store.set({ phase: engine ? 'ready' : 'error', info: engine?.info ?? null });
      this.#save();
    });
    await this.#done;
  }

  async #run(abort: AbortController): Promise<void> {
    const engine = this.session.engine;
    if (!engine) return;
    let text = '';
    let reasoning = '';
    const onReasoning = (piece: string): void => {
      reasoning += piece;
      this.view.think(reasoning, false);
      live.count();
    };
    const live = new LiveRate((tokensPerSecond) => this.store.set({ tokensPerSecond }));
    const before = engine.timings;
    try {
      for await (const piece of this.#pieces(engine, abort, onReasoning)) {
        if (!text && reasoning) this.view.think(reasoning, true);
        text += piece;
        this.view.stream(text);
        live.count();
      }
    } catch (error) {
      if (!isAbort(error)) {
        this.view.dropLast();
        this.store.set({ problem: describe(error, 'answer', false) });
        return;
      }
    }
    if (reasoning) this.view.think(reasoning, true);
    this.#messages.push({ role: 'assistant', content: text, ...(reasoning ? { reasoning } : {}) });
    const note = noteOf(engine.timings === before ? null : engine.timings, abort.signal.aborted);
    this.view.finish(text, note);
    this.store.set({ tokensPerSecond: note?.tokensPerSecond ?? live.rate });
  }

  #pieces(engine: Engine, abort: AbortController, onReasoning: (text: string) => void): AsyncIterable<string> {
    const { system, thinking, seed, temperature, topK, topP, minP, repetitionPenalty, maxTokens } = this.settings();
    const options: GenerateOptions = {
      temperature,
      topK,
      topP,
      minP,
      repetitionPenalty,
      maxTokens,
      seed: seed ?? crypto.getRandomValues(new Uint32Array(1))[0] ?? 0,
      signal: abort.signal,
      onReasoning,
      ...(engine.info.thinking === 'optional' ? { thinking } : {}),
    };
    if (this.store.state.completion) return engine.generate(this.#messages.map((m) => m.content).join(''), options);
    const head: ChatMessage[] = system.trim() ? [{ role: 'system', content: system }] : [];
    return engine.chat([...head, ...this.#messages], options);
  }

  #save(): void {
    writeChat({ messages: this.#messages, completion: this.store.state.completion });
  }
}

function noteOf(timings: Timings | null, aborted: boolean): AnswerNote | null {
  if (!timings) return aborted ? { tokens: 0, tokensPerSecond: null, cachedTokens: 0, stopped: 'user' } : null;
  const { tokens, decodeMs, cachedTokens, finish } = timings;
  const tokensPerSecond = tokens > 1 && decodeMs > 0 ? (tokens * 1000) / decodeMs : null;
  const stopped = aborted || finish === 'abort' ? 'user' : finish === 'length' ? 'limit' : 'no';
  return { tokens, tokensPerSecond, cachedTokens, stopped };
}

/** Pieces per second while an answer grows (a piece is nearly always one token), told at most five times a second. */
class LiveRate {
  rate: number | null = null;
  #first = 0;
  #told = 0;
  #count = 0;

  constructor(readonly tell: (rate: number) => void) {}

  count(): void {
    const now = performance.now();
    if (this.#count++ === 0) this.#first = this.#told = now;
    if (now - this.#told < 200) return;
    this.#told = now;
    this.rate = ((this.#count - 1) * 1000) / (now - this.#first);
    this.tell(this.rate);
  }
}
