// A download into a store while others already read from it: the first bytes are looked at before anything is stored, the
// rest is appended as it arrives; a broken connection goes on where it stopped. The record tells how much is surely there,
// so that the next visit can go on too. It does not decide what becomes of the file afterwards: see source.ts.
import { createSHA256, type IHasher } from 'hash-wasm';
import { abortError, EngineError, throwIfAborted, toEngineError } from '../errors.ts';
import type { GrowingFile, ModelRecord, ModelStore } from '../store/store.ts';
import { canResume, request, type Answer, type HttpDeps } from './http.ts';
import { kSniffBytes, sniff } from './sniff.ts';

export interface DownloadDeps extends HttpDeps {
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  /** A connection that brings nothing for so long counts as broken. */
  stallMs: number;
}

export interface DownloadRequest {
  record: ModelRecord;
  /** Gives the store for a file of which `missing` bytes (null: unknown) have yet to come. */
  chooseStore(missing: number | null): Promise<ModelStore>;
  /** Another store for a file that found no more room in the chosen one, or the error. */
  fallBack(error: EngineError): ModelStore;
  /** Expected hash in hex, or null. */
  sha256: string | null;
  signal: AbortSignal;
  onBytes(received: number, total: number | null): void;
}

/** The record is written at least every so many bytes: what a killed tab has to fetch again at most. */
const kCheckpointBytes = 8 << 20;
const kRetries = 4;
const kFirstRetryMs = 500;
const kChunkBytes = 1 << 20;
const kPartBytes = 1 << 20;

export class Download {
  /** Bytes that can be read from `file`. */
  received = 0;
  /** Settles when all bytes are here and checked. */
  readonly done: Promise<void>;
  /** False as soon as `done` has settled. */
  running = true;
  private failure: EngineError | null = null;
  private waiting: { end: number; resolve: () => void; reject: (error: EngineError) => void }[] = [];
  private checkpoint = 0;

  private constructor(
    private readonly ask: DownloadRequest,
    private readonly deps: DownloadDeps,
    /** Where the file is now; it moves when the store runs out of room. */
    public store: ModelStore,
    public file: GrowingFile,
    private readonly hasher: IHasher | null,
    /** Size of the whole file, null where the server does not tell. */
    readonly total: number | null,
    body: ByteStream,
  ) {
    this.received = file.size;
    this.checkpoint = file.size;
    this.done = this.run(body).then(
      () => this.settle(null),
      (error: unknown) => {
        this.settle(toEngineError(error, 'network'));
        throw this.failure!;
      },
    );
    // The reader may learn of the failure through waitFor first.
    this.done.catch(() => undefined);
  }

  /** Resolves when the server has answered and the first bytes look like a model. Errors: those of request and sniff. */
  static async start(ask: DownloadRequest, deps: DownloadDeps): Promise<Download> {
    const { record, signal } = ask;
    const answer = await request(record, signal, deps);
    const body = new ByteStream(answer.body, deps.stallMs);
    try {
      if (answer.from === 0) sniff(await body.peek(kSniffBytes, signal), shownName(record), answer.contentType);
      const store = await ask.chooseStore(answer.total === null ? null : answer.total - answer.from);
      Object.assign(record, {
        bytes: answer.total ?? 0, receivedBytes: answer.from, complete: false, etag: answer.etag,
        lastModified: answer.lastModified, sha256: null,
      } satisfies Partial<ModelRecord>);
      await store.save(record);
      const file = await store.openWrite(record);
      file.truncate(answer.from);
      const hasher = ask.sha256 ? await createSHA256() : null;
      if (hasher) await forEachPart(file, file.size, (part) => hasher.update(part));
      return new Download(ask, deps, store, file, hasher, answer.total, body);
    } catch (error) {
      body.cancel();
      throw toEngineError(error, 'network');
    }
  }

  /** Resolves when the bytes before `end` can be read; rejects with the download's error. */
  waitFor(end: number): Promise<void> {
    if (this.received >= end) return Promise.resolve();
    if (this.failure) return Promise.reject(this.failure);
    return new Promise((resolve, reject) => this.waiting.push({ end, resolve, reject }));
  }

  /** Writes down how far the file is; call before it is closed. */
  async save(): Promise<void> {
    this.file.flush();
    this.ask.record.receivedBytes = this.received;
    this.checkpoint = this.received;
    await this.store.save(this.ask.record);
  }

  private async run(first: ByteStream): Promise<void> {
    let body: ByteStream | null = first;
    let broken: EngineError | null = null;
    for (let retries = 0; ; retries++) {
      if (body) {
        const before = this.received;
        broken = await this.drain(body);
        if (broken === null) break;
        await this.save();
        if (this.received > before) retries = 0;
      }
      if (retries >= kRetries || !canResume(this.ask.record)) throw broken;
      await this.deps.sleep(kFirstRetryMs * 2 ** retries, this.ask.signal);
      body = await this.reconnect(broken!);
    }
    if (this.hasher && this.ask.sha256) this.checkHash(this.hasher.digest('hex'), this.ask.sha256.toLowerCase());
  }

  /** Appends all of a body. Gives null at the end of the file, else the error the connection broke with. */
  private async drain(body: ByteStream): Promise<EngineError | null> {
    const { signal, onBytes } = this.ask;
    for (;;) {
      let chunk: Uint8Array | null;
      try {
        chunk = await body.read(signal);
      } catch (cause) {
        throwIfAborted(signal);
        return new EngineError('network', `the connection broke after ${this.received} of ${this.total ?? '?'} bytes`, { cause });
      }
      if (chunk === null) break;
      await this.append(chunk);
      this.hasher?.update(chunk);
      this.received += chunk.length;
      if (this.received - this.checkpoint >= kCheckpointBytes) await this.save();
      onBytes(this.received, this.total);
      this.wake();
    }
    if (this.total === null || this.received === this.total) return null;
    return new EngineError('truncated', `${this.received} of ${this.total} bytes arrived`);
  }

  private async append(chunk: Uint8Array): Promise<void> {
    try {
      this.file.append(chunk);
    } catch (error) {
      if (!(error instanceof EngineError) || error.code !== 'quota') throw error;
      await this.move(this.ask.fallBack(error));
      this.file.append(chunk);
    }
  }

  /** Takes what has arrived to another store and gives the room in this one back. */
  private async move(store: ModelStore): Promise<void> {
    const file = await store.openWrite(this.ask.record);
    await forEachPart(this.file, this.received, (part) => file.append(part));
    const old = { store: this.store, file: this.file };
    this.store = store;
    this.file = file;
    old.file.close();
    await old.store.remove(this.ask.record);
  }

  /** The rest of the file on a new connection; null where the server cannot be reached now. Others than that: an error. */
  private async reconnect(broken: EngineError): Promise<ByteStream | null> {
    const { record, signal } = this.ask;
    let answer: Answer;
    try {
      answer = await request(record, signal, this.deps);
    } catch (error) {
      if (error instanceof EngineError && error.code === 'network') return null;
      throw error;
    }
    if (answer.from === this.received) return new ByteStream(answer.body, this.deps.stallMs);
    // The engine has already read from the old content: the two must not be mixed.
    await answer.body.cancel().catch(() => undefined);
    throw new EngineError('network', 'the file changed on the server during the download', { cause: broken });
  }

  private checkHash(is: string, expected: string): void {
    if (is !== expected) throw new EngineError('checksum_mismatch', `SHA-256 is ${is}, expected ${expected}`);
    this.ask.record.sha256 = is;
  }

  private wake(): void {
    const ready = this.waiting.filter((item) => item.end <= this.received);
    this.waiting = this.waiting.filter((item) => item.end > this.received);
    for (const item of ready) item.resolve();
  }

  private settle(error: EngineError | null): void {
    this.running = false;
    this.wake();
    const rest = this.waiting;
    this.waiting = [];
    this.failure = error ?? new EngineError('truncated', `the file ends after ${this.received} bytes`);
    for (const item of rest) item.reject(this.failure);
  }
}

function shownName(record: ModelRecord): string {
  return record.url || record.name;
}

/** Hands out the first `size` bytes of a file, piece by piece; each piece is a buffer of its own. */
async function forEachPart(file: GrowingFile, size: number, take: (part: Uint8Array) => void): Promise<void> {
  for (let at = 0; at < size;) {
    const part = new Uint8Array(Math.min(kPartBytes, size - at));
    await file.read(at, part);
    take(part);
    at += part.length;
  }
}

/** A body whose first bytes can be looked at before they are taken. */
class ByteStream {
  private readonly reader: { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>; cancel(): Promise<void> };
  private head: Uint8Array[] = [];

  constructor(stream: ReadableStream<Uint8Array>, private readonly stallMs: number) {
    this.reader = reusingReader(stream) ?? stream.getReader();
  }

  /** The first bytes: at least `count` unless the body is shorter. They stay in the body. */
  async peek(count: number, signal: AbortSignal): Promise<Uint8Array> {
    for (let length = 0; length < count;) {
      const chunk = await this.pull(signal);
      if (!chunk) break;
      this.head.push(chunk.slice());
      length += chunk.length;
    }
    const joined = new Uint8Array(this.head.reduce((sum, chunk) => sum + chunk.length, 0));
    let at = 0;
    for (const chunk of this.head) {
      joined.set(chunk, at);
      at += chunk.length;
    }
    this.head = joined.length ? [joined] : [];
    return joined;
  }

  /** The next bytes, null at the end; valid until the next call. */
  async read(signal: AbortSignal): Promise<Uint8Array | null> {
    return this.head.shift() ?? this.pull(signal);
  }

  /** Ends the connection; does not wait for it. */
  cancel(): void {
    this.reader.cancel().catch(() => undefined);
  }

  private async pull(signal: AbortSignal): Promise<Uint8Array | null> {
    if (signal.aborted) {
      this.cancel();
      throw abortError(signal);
    }
    let timer: ReturnType<typeof setTimeout> | undefined;
    const stalled = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`nothing arrived for ${this.stallMs} ms`)), this.stallMs);
    });
    try {
      const { done, value } = await Promise.race([this.reader.read(), stalled]);
      return done ? null : (value ?? null);
    } catch (error) {
      this.cancel();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }
}

/**
 * Reads a body into one buffer again and again, where it is a byte stream: with a new buffer for each chunk the garbage of a
 * large download was 90 MB at its end (Chromium 156, 1.1 GB).
 */
function reusingReader(stream: ReadableStream<Uint8Array>): { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>; cancel(): Promise<void> } | null {
  let reader: ReadableStreamBYOBReader;
  try {
    reader = stream.getReader({ mode: 'byob' });
  } catch {
    return null;
  }
  let buffer: ArrayBufferLike = new ArrayBuffer(kChunkBytes);
  return {
    async read() {
      const { done, value } = await reader.read(new Uint8Array(buffer as ArrayBuffer));
      if (value) buffer = value.buffer;
      return { done, value };
    },
    cancel: () => reader.cancel(),
  };
}
