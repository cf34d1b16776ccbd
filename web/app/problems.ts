// Turns whatever was thrown into a Problem: plain words, the engine's advice, and the ways out that fit.

import { EngineError, type ErrorCode } from '../src/index.ts';
import type { Problem, Way } from './state.ts';

/** The origins this page may fetch from, read from its own security policy (scripts/serve may have added some). */
function allowedOrigins(): string[] {
  const policy = document.querySelector<HTMLMetaElement>('meta[http-equiv="Content-Security-Policy"]')?.content ?? '';
  const connect = /connect-src ([^;]*)/.exec(policy)?.[1] ?? '';
  return connect.split(/\s+/).filter((word) => word.includes('://'));
}

/** A Problem if `url` is no address or one that this page's policy forbids, else null. */
export function addressProblem(text: string): Problem | null {
  let url: URL;
  try {
    url = new URL(text, document.baseURI);
  } catch {
    return { code: 'bad_address', during: 'load', message: `“${text}” is not an address.`, advice: 'Write it like https://host/model.gguf, or open a file.', ways: ['file', 'pick'] };
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    return { code: 'bad_address', during: 'load', message: `Addresses of the kind “${url.protocol}” cannot be loaded.`, advice: 'Use an http or https address, or open a file.', ways: ['file', 'pick'] };
  if (url.origin === location.origin || allowedOrigins().includes(url.origin)) return null;
  return {
    code: 'address_not_allowed',
    during: 'load',
    message: `This page may not fetch from ${url.origin}: for your privacy it only talks to ${location.origin}.`,
    advice: 'Download the model with the browser and open the file here. Whoever runs this page can allow the address with --model-host.',
    ways: ['file', 'pick'],
  };
}

const kWays: Partial<Record<ErrorCode, Way[]>> = {
  out_of_memory: ['pick', 'file'],
  context_full: ['new-chat'],
  no_chat_template: ['completion', 'pick'],
  no_generation: ['pick', 'file'],
  bad_chat_template: ['completion', 'new-chat'],
  no_wasm_simd: [],
  quota: ['pick', 'retry'],
};

/** `during` says which ways out are the usual ones; `fallback` is the message if the error has none. */
export function describe(error: unknown, during: 'load' | 'answer', hasEarlierModel: boolean): Problem {
  const usual: Way[] = during === 'load' ? ['retry', 'pick', 'file'] : ['retry'];
  if (error instanceof EngineError) {
    const ways = kWays[error.code] ?? usual;
    const unload: Way[] = error.code === 'out_of_memory' && hasEarlierModel ? ['unload'] : [];
    return { code: error.code, during, message: error.message, advice: error.advice, ways: [...unload, ...ways] };
  }
  const message = error instanceof Error && error.message ? error.message : String(error);
  return { code: 'internal', during, message, advice: 'Try again. If it stays, reload the page.', ways: usual };
}

export function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}

/** What the page says of a model that cannot write at all. */
export function embedsOnlyProblem(): Problem {
  return describe(new EngineError('no_generation'), 'load', false);
}

/** What the page says of a model that cannot chat. */
export function noTemplateProblem(): Problem {
  const error = new EngineError('no_chat_template');
  return { ...describe(error, 'load', false), message: 'This model continues texts but was not made for chats: its file has no chat template.' };
}
