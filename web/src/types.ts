// The public types of the package. Names are camelCase; units stand in the names (bytes, ms).
import type { ErrorData } from './errors.ts';
import type { CoreOptions } from './generated/options.ts';

/** A tool the model called, in the shape of OpenAI's API. */
export interface ToolCall {
  id?: string;
  type?: 'function';
  /** `arguments`: JSON as text, or what it means. */
  function: { name: string; arguments: string | Record<string, unknown> };
}

/**
 * One message of a chat. Templates know `system`, `user`, `assistant` and, for models that call tools, `tool`; some models
 * know more roles. The names of the last three fields are those of OpenAI's API and of the templates.
 */
export interface ChatMessage {
  role: 'system' | 'user' | 'assistant' | 'tool' | (string & {});
  /** null only beside `tool_calls`. */
  content: string | null;
  /** Of the assistant: what it called. */
  tool_calls?: ToolCall[];
  /** Of a tool: the call it answers. */
  tool_call_id?: string;
  /** Of a tool: its name, which some templates ask for. */
  name?: string;
}

/**
 * How far a load is. `wait`: another tab downloads the same model; `download`: bytes arrive (and are read into the engine
 * meanwhile); `load`: bytes go from the device into the engine; `store`: a local file is copied to the device's storage.
 */
export interface LoadProgress {
  phase: 'start' | 'wait' | 'download' | 'load' | 'store';
  loadedBytes: number;
  /** null where the server does not tell the length. */
  totalBytes: number | null;
  bytesPerSecond: number;
  /** null until it can be told. */
  secondsLeft: number | null;
}

export interface LoadOptions {
  onProgress?: (progress: LoadProgress) => void;
  /** Aborts the load; a partial download is kept and goes on at the next load of the same address. */
  signal?: AbortSignal;
  /** Tokens of context (prompt and answer together); default and maximum come from the model. */
  contextSize?: number;
  /**
   * Threads of the engine at most: those that have no core are done without. 1 takes the unthreaded build. Without
   * cross-origin isolation it is always 1.
   */
  threads?: number;
  simd?: 'auto' | 'strict' | 'relaxed';
  /** Most bytes the engine may use; a model or context that needs more is refused with the numbers. */
  memoryLimit?: number;
  /** For File and Blob: also copy the file to the device's storage, so that it can be loaded again by `info.model.url`. */
  keep?: boolean;
  /** For addresses: `false` keeps the model in memory only. Default true. */
  store?: boolean;
  /** Expected SHA-256 (hex) of the file; another content is refused, an outdated stored copy is fetched anew. */
  sha256?: string;
  /** Name to show; default: the name in the file, else the file's own. */
  name?: string;
}

/** Whether a model thinks before it answers: not, always, or as `GenerateOptions.thinking` says. */
export type Thinking = 'none' | 'always' | 'optional';

/** Sampling and limits come from the core's own list (src/engine/options.def); what is not given has the core's default. */
export interface GenerateOptions extends Omit<CoreOptions, 'logprobs'> {
  /** Added to the logits of these token ids. */
  logitBias?: Record<number, number>;
  /** Texts that end the answer; they are not part of it. */
  stop?: string | string[];
  /** Called once per token, in order, before the text of the token is delivered. */
  onToken?: (token: Token) => void;
  /** Called while the prompt is read. */
  onPrefill?: (progress: { doneTokens: number; totalTokens: number }) => void;
  /** Chat only: whether a model that can do both thinks before it answers (`info.thinking` is `optional`). */
  thinking?: boolean;
  /** Chat only: definitions of tools as JSON schema, given to the model's template. */
  tools?: object[];
  /** Called with each piece of the model's reasoning, which is not part of the answer. Chat only. */
  onReasoning?: (text: string) => void;
  signal?: AbortSignal;
}

/** One new token. `text` may be empty: half a character, or text held back because a stop text may follow. */
export interface Token {
  id: number;
  text: string;
  /** The part of the model's reasoning that this token completed; then `text` is nearly always empty. */
  reasoning?: string;
  /** Natural logarithm of the token's probability before sampling. */
  logprob: number;
}

/** Numbers of the last call. */
export interface Timings {
  promptTokens: number;
  /** How many of the prompt's tokens were still in the engine and cost nothing. */
  cachedTokens: number;
  prefillMs: number;
  /** New tokens. */
  tokens: number;
  tokenIds: number[];
  decodeMs: number;
  /** Tokens guessed ahead from the text so far, and how many of the guesses the model confirmed. */
  draftedTokens: number;
  acceptedTokens: number;
  /** Why the call ended: end token or stop text, `maxTokens` or full context, or the caller. */
  finish: 'stop' | 'length' | 'abort';
}

/** What `Engine.embed` gives: one entry per text in each list. */
export interface Embeddings {
  /** The vectors; of an embedding model that says nothing else they have length 1, so a dot product is the cosine. */
  embeddings: Float32Array[];
  /** Tokens that were read of each text, the model's first and last one included. */
  tokens: number[];
  /** Whether a text was longer than the model reads: then only its beginning counts. */
  truncated: boolean[];
}

export interface EmbedOptions {
  /** After every text. */
  onProgress?: (progress: { doneTexts: number; totalTexts: number }) => void;
  signal?: AbortSignal;
}

export interface ModelInfo {
  name: string;
  architecture: string;
  parameters: number;
  /** Size of the file. */
  bytes: number;
  /** Longest context the model was made for, in tokens. */
  contextLength: number;
  /** Numbers in a vector of `Engine.embed`; 0 for language models, which do not embed. */
  embeddingSize: number;
  /** Address to load it from again without the network (`stored` is true then), or null. */
  url: string | null;
}

export interface EngineInfo {
  simd: 'strict' | 'relaxed';
  threads: number;
  /** Whether the page is cross-origin isolated (threads need it). */
  isolated: boolean;
  /** Bytes the engine holds now: weights, context and scratch. */
  memoryBytes: number;
  /** Tokens of context in use for this engine. */
  contextSize: number;
  model: ModelInfo;
  hasChatTemplate: boolean;
  thinking: Thinking;
  /** Whether the model is on the device: the next load needs no network. */
  stored: boolean;
  /** Why it is not stored although it should be; null if stored or not asked for. */
  storageProblem: ErrorData | null;
}

/** A model on the device's storage. */
export interface StoredModel {
  /** Give this to `Nutshell.load` or `deleteModel`. */
  url: string;
  name: string;
  /** Size of the whole file; 0 where the server did not tell. */
  bytes: number;
  /** Bytes that are here; less than `bytes` for a download that was broken off. */
  storedBytes: number;
  complete: boolean;
  /** Milliseconds since 1970. */
  lastUsed: number;
}
