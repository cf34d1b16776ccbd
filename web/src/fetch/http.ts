// One HTTP request for (the rest of) a model file, and what its answer means: every way it can fail has its own code.
import { abortError, EngineError } from '../errors.ts';
import type { ModelRecord } from '../store/store.ts';

export interface HttpDeps {
  fetch(url: string, init: RequestInit): Promise<Response>;
  /** Whether the page's content security policy has refused this address. */
  isBlocked(url: string): Promise<boolean>;
  /** The page's own origin. */
  origin: string;
}

export interface Answer {
  body: ReadableStream<Uint8Array>;
  /** Offset in the file of the first byte of the body. */
  from: number;
  /** Size of the whole file, null where it is not told. */
  total: number | null;
  etag: string | null;
  lastModified: string | null;
  contentType: string;
}

/** A validator that proves "the same bytes": a strong ETag, else the date. */
function validatorOf(known: { etag: string | null; lastModified: string | null }): string | null {
  return known.etag && !known.etag.startsWith('W/') ? known.etag : known.lastModified;
}

/** Whether a broken-off download of this record can go on: without a validator nobody knows if the bytes still fit. */
export function canResume(record: ModelRecord): boolean {
  return record.receivedBytes > 0 && validatorOf(record) !== null;
}

function parseLength(text: string | null): number | null {
  const value = text === null ? NaN : Number(text);
  return Number.isSafeInteger(value) && value >= 0 ? value : null;
}

function httpError(url: string, status: number): EngineError {
  if (status === 404 || status === 410) return new EngineError('not_found', `there is no file at ${url} (${status})`);
  const forbidden = status === 401 || status === 403;
  return new EngineError('http_error', `the server answered ${status} for ${url}`, {
    advice: forbidden
      ? 'The file needs a login or permission. Download it with the browser, then open it from the device.'
      : undefined,
  });
}

async function send(url: string, headers: Record<string, string>, signal: AbortSignal, deps: HttpDeps): Promise<Response> {
  try {
    // no-store: the file is kept by our own store; the HTTP cache must not hold a second copy.
    return await deps.fetch(url, { headers, signal, cache: 'no-store', credentials: 'same-origin' });
  } catch (cause) {
    if (signal.aborted) throw abortError(signal);
    const host = URL.canParse(url) ? new URL(url).host : url;
    if (await deps.isBlocked(url)) {
      throw new EngineError('address_blocked', `this page may not fetch from ${host}`, { cause });
    }
    throw new EngineError('network', `cannot fetch ${url}`, { cause });
  }
}

/** Headers for the rest of a file. If-Range would make other origins ask first (CORS), which many servers refuse. */
function rangeHeaders(record: ModelRecord, sameOrigin: boolean): Record<string, string> {
  const range = { Range: `bytes=${record.receivedBytes}-` };
  return sameOrigin ? { ...range, 'If-Range': validatorOf(record)! } : range;
}

/** Whether a 206 answer goes on exactly where the record ends, with the same content. */
function continues(response: Response, record: ModelRecord): boolean {
  const match = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '');
  if (match && Number(match[1]) !== record.receivedBytes) return false;
  if (match && match[2] !== '*' && record.bytes && Number(match[2]) !== record.bytes) return false;
  const length = parseLength(response.headers.get('content-length'));
  if (record.bytes && length !== null && length !== record.bytes - record.receivedBytes) return false;
  const now = { etag: response.headers.get('etag'), lastModified: response.headers.get('last-modified') };
  // Another origin may hide the ETag; then the date and the length above must do.
  return (now.etag !== null && now.etag === record.etag) || (now.etag === null && now.lastModified === record.lastModified);
}

/**
 * Asks for the file from `record.receivedBytes` on where that can be done safely, else from its start (`from` tells).
 * Errors: `not_found`, `http_error`, `network`, `address_blocked`, `aborted`.
 */
export async function request(record: ModelRecord, signal: AbortSignal, deps: HttpDeps): Promise<Answer> {
  const { url } = record;
  let response: Response | null = null;
  let from = 0;
  if (canResume(record)) {
    response = await send(url, rangeHeaders(record, new URL(url).origin === deps.origin), signal, deps);
    if (response.status === 206 && continues(response, record)) {
      from = record.receivedBytes;
    } else if (response.status === 206 || response.status === 416) {
      await response.body?.cancel().catch(() => undefined);
      response = null;
    }
  }
  response ??= await send(url, {}, signal, deps);
  if (!response.ok || (response.status === 206 && from === 0)) throw httpError(url, response.status);
  const { headers } = response;
  // The length of a compressed answer is not the length of the file.
  const length = headers.get('content-encoding') ? null : parseLength(headers.get('content-length'));
  const etag = headers.get('etag') ?? (from ? record.etag : null);
  return {
    body: response.body ?? new Blob([]).stream(),
    from,
    total: from && record.bytes ? record.bytes : length === null ? null : from + length,
    etag,
    lastModified: headers.get('last-modified'),
    contentType: headers.get('content-type') ?? '',
  };
}
