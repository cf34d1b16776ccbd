// EngineError: the one error type of the public API. Every failure carries a `code` of src/base/error_codes.def and an
// `advice` sentence for the user. Errors cross the worker border as plain objects (ErrorData), never as strings.
import { kErrorCodes, type ErrorCode } from './generated/error_codes.ts';

export type { ErrorCode };

/** What crosses the worker border and what the wasm core gives: a code, a message with names and numbers, and advice. */
export interface ErrorData {
  code: string;
  message: string;
  advice?: string;
  stack?: string;
}

/** An error of the engine: `code` says what happened, `message` with which names and numbers, `advice` what to do. */
export class EngineError extends Error {
  readonly code: ErrorCode;
  readonly advice: string;

  constructor(code: ErrorCode, message?: string, options: { advice?: string; cause?: unknown } = {}) {
    super(message || kErrorCodes[code].message, options.cause === undefined ? undefined : { cause: options.cause });
    // The web's own convention for aborted calls is `error.name === 'AbortError'`; callers may test that or the code.
    this.name = code === 'aborted' ? 'AbortError' : 'EngineError';
    this.code = code;
    this.advice = options.advice || kErrorCodes[code].advice;
  }

  toJSON(): ErrorData {
    return { code: this.code, message: this.message, advice: this.advice };
  }
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(kErrorCodes, code);
}

/** An ErrorData as an EngineError. A code this build does not know becomes `internal` and is named in the message. */
export function fromErrorData(data: ErrorData): EngineError {
  const known = isErrorCode(data.code);
  const error = known
    ? new EngineError(data.code as ErrorCode, data.message, { advice: data.advice })
    : new EngineError('internal', `${data.code}: ${data.message}`, { advice: data.advice });
  if (data.stack) error.stack = `${error.stack ?? ''}\n    in the worker:\n${data.stack}`;
  return error;
}

/** An error as plain data for postMessage. */
export function toErrorData(error: EngineError): ErrorData {
  return { ...error.toJSON(), stack: error.stack };
}

/** Any thrown value as an EngineError; storage exceptions of the browser get their own codes, others `fallback`. */
export function toEngineError(value: unknown, fallback: ErrorCode = 'internal'): EngineError {
  if (value instanceof EngineError) return value;
  const name = value instanceof Error ? value.name : '';
  const text = value instanceof Error ? value.message : String(value);
  if (name === 'AbortError') return new EngineError('aborted', undefined, { cause: value });
  if (name === 'QuotaExceededError') return new EngineError('quota', undefined, { cause: value });
  if (name === 'SecurityError' || name === 'NotAllowedError') {
    return new EngineError('storage_denied', undefined, { cause: value });
  }
  return new EngineError(fallback, name && name !== 'Error' ? `${name}: ${text}` : text, { cause: value });
}

/** The error of an aborted call; the signal's reason becomes its cause. */
export function abortError(signal?: AbortSignal | null): EngineError {
  return new EngineError('aborted', undefined, { cause: signal?.reason });
}

/** Throws the abort error when `signal` is aborted. */
export function throwIfAborted(signal?: AbortSignal | null): void {
  if (signal?.aborted) throw abortError(signal);
}
