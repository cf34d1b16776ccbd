// Where the bytes of a model come from, as one interface for the loader: the device's store, a running download, or a File.
// A source also knows what becomes of the bytes afterwards: `accept` makes a good file complete (nothing is before), and
// `reject` removes what the engine refused and keeps what can still be of use.
import { EngineError, toEngineError, type ErrorCode, type ErrorData } from '../errors.ts';
import { nameInFolder } from '../names.ts';
import type { Source } from '../rpc/protocol.ts';
import { BlobReader } from '../store/blob.ts';
import { newRecord, type ByteReader, type Membership, type ModelRecord, type ModelStore } from '../store/store.ts';
import { canResume } from './http.ts';
import { Download, type DownloadDeps } from './download.ts';
import type { Meter } from './meter.ts';
import { kSniffBytes, sniff } from './sniff.ts';

export interface Outcome {
  /** Address under which the next load finds it, or null. */
  url: string | null;
  stored: boolean;
  problem: ErrorData | null;
}

/** One file to open. `place`: under which name a local file is stored. */
export interface SourceRequest {
  source: Source;
  name: string;
  place: string;
  keep: boolean;
  store?: boolean;
  sha256?: string;
}

export interface ModelSource {
  readonly name: string;
  /** Address it is or would be stored under. */
  readonly url: string;
  /** Whether bytes still arrive over the network (their progress is told by the download). */
  readonly downloading: boolean;
  /** Size of the file; waits for the end of a download whose length is not told. */
  size(): Promise<number>;
  /** Fills `target`; waits until the bytes have arrived. */
  read(offset: number, target: Uint8Array): Promise<void> | void;
  /** The engine took the model: waits for what is still to come, checks it and makes it complete. */
  accept(member: Membership): Promise<Outcome>;
  /** The load failed with `error`: ends what runs, closes and removes or keeps. Never throws. */
  reject(error: EngineError): Promise<void>;
}

export interface SourceDeps extends DownloadDeps {
  /** The device's store, or an error that says why there is none. */
  openStore(): Promise<ModelStore>;
  memoryStore(): ModelStore;
  /** Takes the lock of that name, waiting for other tabs; gives its release. */
  lock(name: string, signal: AbortSignal, onWait: () => void): Promise<() => void>;
  now(): number;
}

export interface SourceContext {
  signal: AbortSignal;
  meter: Pick<Meter, 'update'>;
}

/** The codes that say "this file is no good", as opposed to "not here", "not now" or "not enough". */
const kFileFaults: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'bad_magic', 'bad_version', 'truncated', 'corrupt_file', 'limit_exceeded', 'unsupported_architecture',
  'unsupported_format', 'unsupported_tokenizer', 'missing_tensor', 'missing_metadata', 'bad_shape', 'not_a_model',
  'empty_file', 'checksum_mismatch',
]);

/** Stored bytes beyond what the device says is free are refused early; so much must be left over for everything else. */
const kSpareBytes = 16 << 20;
const kStoredScheme = 'stored:';

/** The source of a load request. Errors: everything that can be wrong before the first byte reaches the engine. */
export async function openSource(request: SourceRequest, context: SourceContext, deps: SourceDeps): Promise<ModelSource> {
  const { source, name } = request;
  if ('blob' in source) return openBlob(source.blob, request, context, deps);
  const storable = /^https?:/.test(source.url) && request.store !== false;
  let store: ModelStore | null = null;
  let problem: EngineError | null = null;
  if (storable || source.url.startsWith(kStoredScheme)) {
    store = await deps.openStore().catch((error: unknown) => {
      problem = toEngineError(error, 'storage_denied');
      return null;
    });
  }
  const found = store && (await openStored(store, source.url, request.sha256, deps));
  if (found) return found;
  if (source.url.startsWith(kStoredScheme)) throw new EngineError('not_found', `${name} is not stored here any more`);
  if (!store) return startDownload(null, newRecord(source.url, name), request, context, deps, problem);
  const release = await deps.lock(`nutshell:${source.url}`, context.signal, () => context.meter.update('wait', 0, null));
  try {
    // Another tab may have fetched it while this one waited.
    const meanwhile = await openStored(store, source.url, request.sha256, deps);
    if (meanwhile) {
      release();
      return meanwhile;
    }
    const record = await usableRecord(store, source.url, name);
    return await startDownload(store, record, request, context, deps, null, release);
  } catch (error) {
    release();
    throw error;
  }
}

/** The name of the file itself, as the core wants it. */
export function fileName(source: Source): string {
  return 'blob' in source ? source.name : nameOf(source.url);
}

function nameOf(url: string): string {
  const stored = url.startsWith(kStoredScheme);
  const path = stored ? url.slice(kStoredScheme.length).replaceAll('%2F', '/') : url.replace(/[?#].*$/, '');
  const name = nameInFolder(path);
  try {
    return decodeURIComponent(name) || url;
  } catch {
    return name;
  }
}

/** A complete stored model, or null; what claims to be complete and is not, or is another version, is removed. */
async function openStored(store: ModelStore, url: string, sha256: string | undefined, deps: SourceDeps): Promise<ModelSource | null> {
  const record = await store.find(url);
  if (!record?.complete) return null;
  const outdated = sha256 !== undefined && record.sha256 !== null && record.sha256 !== sha256.toLowerCase();
  const reader = outdated ? null : await store.openRead(record).catch(() => null);
  if (reader?.size === record.bytes) return storedSource(store, record, reader, deps);
  reader?.close();
  await store.remove(record);
  return null;
}

function storedSource(store: ModelStore, record: ModelRecord, reader: ByteReader, deps: SourceDeps): ModelSource {
  return {
    name: record.name,
    url: record.url,
    downloading: false,
    size: () => Promise.resolve(reader.size),
    read: (offset, target) => reader.read(offset, target),
    async accept(member) {
      reader.close();
      Object.assign(record, member, { lastUsed: deps.now() });
      // Only the order of the list depends on it: nobody waits for it.
      void store.save(record).catch(() => undefined);
      return { url: record.url, stored: true, problem: null };
    },
    async reject(error) {
      reader.close();
      if (kFileFaults.has(error.code)) await store.remove(record).catch(() => undefined);
    },
  };
}

/** The record of a broken-off download if its bytes are really there, else a fresh one. */
async function usableRecord(store: ModelStore, url: string, name: string): Promise<ModelRecord> {
  const record = await store.find(url);
  if (!record || !canResume(record)) return newRecord(url, name);
  const reader = await store.openRead(record).catch(() => null);
  const usable = reader !== null && reader.size >= record.receivedBytes;
  reader?.close();
  return usable ? record : newRecord(url, name);
}

async function startDownload(
  store: ModelStore | null,
  record: ModelRecord,
  request: SourceRequest,
  { signal, meter }: SourceContext,
  deps: SourceDeps,
  noStore: EngineError | null,
  release: () => void = () => undefined,
): Promise<ModelSource> {
  let problem = noStore;
  const stopper = new AbortController();
  const chooseStore = async (missing: number | null): Promise<ModelStore> => {
    const free = store && missing !== null ? await store.freeBytes() : null;
    if (store && (free === null || missing === null || missing + kSpareBytes <= free)) return store;
    if (store) problem = new EngineError('quota', `${record.name} needs ${missing} bytes, ${free} bytes are free`);
    // What came earlier is in the store, so memory is no way out.
    if (problem && record.receivedBytes > 0) throw problem;
    return deps.memoryStore();
  };
  const download = await Download.start({
    record,
    chooseStore,
    fallBack(error) {
      problem = error;
      return deps.memoryStore();
    },
    sha256: request.sha256 ?? null,
    signal: AbortSignal.any([signal, stopper.signal]),
    onBytes: (received, total) => meter.update('download', received, total),
  }, deps);
  return downloadSource(download, record, stopper, deps, () => problem, release);
}

function downloadSource(
  download: Download,
  record: ModelRecord,
  stopper: AbortController,
  deps: SourceDeps,
  problem: () => EngineError | null,
  release: () => void,
): ModelSource {
  return {
    name: record.name,
    url: record.url,
    get downloading() {
      return download.running;
    },
    async size() {
      if (download.total === null) await download.done;
      return download.total ?? download.file.size;
    },
    async read(offset, target) {
      await download.waitFor(offset + target.length);
      await download.file.read(offset, target);
    },
    async accept(member) {
      await download.done;
      const { store, file } = download;
      Object.assign(record, member, { bytes: file.size, complete: true, lastUsed: deps.now() } satisfies Partial<ModelRecord>);
      await download.save();
      file.close();
      release();
      const data = problem();
      const stored = store.kind !== 'memory';
      return { url: stored ? record.url : null, stored, problem: data?.toJSON() ?? null };
    },
    async reject(error) {
      stopper.abort();
      await download.done.catch(() => undefined);
      const { store, file } = download;
      try {
        record.complete = false;
        if (!kFileFaults.has(error.code)) await download.save();
        file.close();
        if (kFileFaults.has(error.code) || !canResume(record)) await store.remove(record);
      } catch {
        // The first error is the one to report; what is left here is not complete and is written anew next time.
      }
      release();
    },
  };
}

async function openBlob(blob: Blob, { name, place, keep }: SourceRequest, context: SourceContext, deps: SourceDeps): Promise<ModelSource> {
  const reader = new BlobReader(blob);
  const head = new Uint8Array(Math.min(kSniffBytes, blob.size));
  await reader.read(0, head);
  sniff(head, name, blob.type);
  return {
    name,
    url: `${kStoredScheme}${encodeURIComponent(place)}`,
    downloading: false,
    size: () => Promise.resolve(blob.size),
    read: (offset, target) => reader.read(offset, target),
    accept: async (member) => (keep ? keepBlob(blob, name, place, member, context, deps) : { url: null, stored: false, problem: null }),
    reject: () => Promise.resolve(),
  };
}

/** Copies a file that was loaded to the device's store. What fails is a problem to tell, not the end of the load. */
async function keepBlob(
  blob: Blob,
  name: string,
  place: string,
  member: Membership,
  { signal, meter }: SourceContext,
  deps: SourceDeps,
): Promise<Outcome> {
  const record = newRecord(`${kStoredScheme}${encodeURIComponent(place)}`, name);
  let store: ModelStore | null = null;
  try {
    store = await deps.openStore();
    const free = await store.freeBytes();
    if (free !== null && blob.size + kSpareBytes > free) {
      throw new EngineError('quota', `${name} needs ${blob.size} bytes, ${free} bytes are free`);
    }
    await store.save(record);
    const file = await store.openWrite(record);
    try {
      file.truncate(0);
      const stream = blob.stream().getReader();
      for (let item = await stream.read(); !item.done; item = await stream.read()) {
        if (signal.aborted) throw new EngineError('aborted');
        file.append(item.value);
        meter.update('store', file.size, blob.size);
      }
      file.flush();
    } finally {
      file.close();
    }
    Object.assign(record, member, { bytes: blob.size, receivedBytes: blob.size, complete: true, lastUsed: deps.now() });
    await store.save(record);
    return { url: record.url, stored: true, problem: null };
  } catch (error) {
    await store?.remove(record).catch(() => undefined);
    const problem = toEngineError(error, 'io_error');
    if (problem.code === 'aborted') throw problem;
    return { url: null, stored: false, problem: problem.toJSON() };
  }
}
