// The model a compression reads: the files of a stored model. A file that is dropped is stored too, once it is known to be
// of use, so that the work can go on after the page was closed.
import { EngineError, throwIfAborted } from '../errors.ts';
import { kSniffBytes, sniff } from '../fetch/sniff.ts';
import { fileName } from '../fetch/source.ts';
import type { Source } from '../rpc/protocol.ts';
import { BlobReader } from '../store/blob.ts';
import { newRecord, type ByteReader, type ModelRecord, type ModelStore } from '../store/store.ts';
import type { SourceFile } from './core.ts';

type Dropped = Extract<Source, { blob: Blob }>;

/** Storage that must be left over for everything else. */
export const kSpareBytes = 16 << 20;

export interface OpenSource {
  /** Address it is or will be stored under. */
  url: string;
  name: string;
  files: SourceFile[];
  readers: ByteReader[];
}

/** A stored model, open for reading. Errors: `not_found`. */
export async function openStored(store: ModelStore, url: string): Promise<OpenSource> {
  const first = await store.find(url);
  const source: OpenSource = { url, name: first?.name ?? url, files: [], readers: [] };
  try {
    for (const part of first?.parts ?? [url]) {
      const record = part === url ? first : await store.find(part);
      if (!record?.complete) {
        throw new EngineError('not_found', `${source.name} is not stored here`, { advice: 'Load the model first, then make it smaller.' });
      }
      const reader = await store.openRead(record);
      source.readers.push(reader);
      source.files.push({ name: fileName({ url: part }), bytes: reader.size });
    }
    return source;
  } catch (error) {
    close(source);
    throw error;
  }
}

export function close(source: OpenSource): void {
  for (const reader of source.readers) reader.close();
}

/** A file of the page's, open for reading. Errors: `not_a_model` and others of a wrong kind of file. */
export async function openFile({ blob, name }: Dropped): Promise<OpenSource> {
  const reader = new BlobReader(blob);
  const head = new Uint8Array(Math.min(kSniffBytes, blob.size));
  await reader.read(0, head);
  sniff(head, name, blob.type);
  return { url: `stored:${encodeURIComponent(name)}`, name, files: [{ name, bytes: blob.size }], readers: [reader] };
}

/** As the core's format_bytes. */
export function inUnits(bytes: number): string {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(2)} GB`;
  return bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${bytes} bytes`;
}

/** Puts a file into the store; one that is there with the same bytes is not copied again. Errors: `quota`. */
export async function keepFile(
  { blob, name }: Dropped,
  url: string,
  models: ModelStore,
  { signal, now, onBytes }: { signal: AbortSignal; now: () => number; onBytes: (done: number) => void },
): Promise<void> {
  const there = await models.find(url);
  if (there?.complete && (await isSame(blob, there, models))) return;
  const free = await models.freeBytes();
  if (free !== null && blob.size + kSpareBytes > free) {
    throw new EngineError('quota', `${name} needs ${inUnits(blob.size)} of storage; free: ${inUnits(free)}`);
  }
  const record = newRecord(url, name);
  if (there) await models.remove(there);
  try {
    const file = await models.openWrite(record);
    try {
      file.truncate(0);
      const stream = blob.stream().getReader();
      for (let item = await stream.read(); !item.done; item = await stream.read()) {
        throwIfAborted(signal);
        file.append(item.value);
        onBytes(file.size);
      }
      file.flush();
    } finally {
      file.close();
    }
    Object.assign(record, { bytes: blob.size, receivedBytes: blob.size, complete: true, lastUsed: now() } satisfies Partial<ModelRecord>);
    await models.save(record);
  } catch (error) {
    await models.remove(record).catch(() => undefined);
    throw error;
  }
}

/** Whether samples from all over are the same; models that differ, differ everywhere. */
async function isSame(blob: Blob, record: ModelRecord, models: ModelStore): Promise<boolean> {
  if (record.bytes !== blob.size) return false;
  const kSamples = 64;
  const stored = await models.openRead(record).catch(() => null);
  if (stored?.size !== blob.size) {
    stored?.close();
    return false;
  }
  try {
    const reader = new BlobReader(blob);
    const [a, b] = [new Uint8Array(4096), new Uint8Array(4096)];
    for (let i = 0; i <= kSamples; i++) {
      const at = Math.floor((Math.max(0, blob.size - a.length) * i) / kSamples);
      const length = Math.min(a.length, blob.size - at);
      await reader.read(at, a.subarray(0, length));
      await stored.read(at, b.subarray(0, length));
      if (a.some((value, index) => index < length && value !== b[index])) return false;
    }
    return true;
  } finally {
    stored.close();
  }
}
