// The tables of worker calls: name -> request, reply, events. Client and server are typed from them; a handler that is
// missing is a type error. Requests and replies are structured-clone data; errors cross as ErrorData. The engine's worker
// has one table, the compressor's another (compress/protocol.ts).
import type { ErrorData } from '../errors.ts';
import type { ChatMessage, Embeddings, EngineInfo, GenerateOptions, LoadOptions, LoadProgress, Timings, Token } from '../types.ts';

/** What a model is loaded from: an absolute address, or bytes the page holds (a File has a name). */
export type Source = { url: string } | { blob: Blob; name: string };

export interface LoadRequest extends Omit<LoadOptions, 'onProgress' | 'signal'> {
  /** The files of the model: one, the parts of a split one, or those of a folder. */
  sources: Source[];
}

export type Prompt = { messages: ChatMessage[] } | { text: string } | { ids: number[] };

/** What a chat template is told besides the messages. */
export type RenderOptions = Pick<GenerateOptions, 'thinking' | 'tools'>;

export interface RunRequest {
  prompt: Prompt;
  options: Omit<GenerateOptions, 'onToken' | 'onPrefill' | 'onReasoning' | 'signal'>;
  /** Whether token events shall carry the log-probability. */
  logprobs: boolean;
}

export type RunEvent =
  | { kind: 'prefill'; doneTokens: number; totalTokens: number }
  | { kind: 'token'; token: Token }
  | { kind: 'text'; text: string; reasoning?: string };

export interface EmbedEvent {
  doneTexts: number;
  totalTexts: number;
}

/** What of EngineInfo a call may change. */
export type Used = Pick<EngineInfo, 'memoryBytes' | 'threads'>;

export interface Calls {
  load: { request: LoadRequest; reply: EngineInfo; event: LoadProgress };
  run: { request: RunRequest; reply: { timings: Timings; used: Used }; event: RunEvent };
  embed: { request: { texts: string[] }; reply: { vectors: Embeddings; used: Used }; event: EmbedEvent };
  render: { request: { messages: ChatMessage[]; options?: RenderOptions }; reply: { text: string }; event: never };
  tokenize: { request: { text: string; special: boolean }; reply: { ids: number[] }; event: never };
  /** Frees what the worker holds and ends its threads, so that it can be terminated at once. */
  close: { request: Record<string, never>; reply: Record<string, never>; event: never };
  detokenize: { request: { ids: number[] }; reply: { text: string }; event: never };
}

/** What a table of calls is; every worker can be closed. */
export type Table<C> = { [K in keyof C]: { request: unknown; reply: unknown; event: unknown } } & {
  close: { request: Record<string, never>; reply: Record<string, never>; event: never };
};

export type ToWorker =
  | { kind: 'call'; id: number; name: string; request: unknown }
  | { kind: 'abort'; id: number };

export type FromWorker =
  | { kind: 'event'; id: number; event: unknown }
  | { kind: 'reply'; id: number; reply: unknown }
  | { kind: 'error'; id: number; error: ErrorData };
