// The models on this device, for a picker: list and delete. Works on the page and in workers.
import { EngineError } from '../errors.ts';
import type { StoredModel } from '../types.ts';
import { OpfsStore } from './opfs.ts';
import type { ModelRecord } from './store.ts';

async function openOrNull(): Promise<OpfsStore | null> {
  return OpfsStore.open().catch(() => null);
}

/** All models stored here, last used first; empty where the browser gives no storage. */
export async function listModels(): Promise<StoredModel[]> {
  const records = (await (await openOrNull())?.list()) ?? [];
  return modelsOf(records).sort((a, b) => b.lastUsed - a.lastUsed);
}

/** The files of one model are one entry: that of the first. */
export function modelsOf(records: ModelRecord[]): StoredModel[] {
  const byUrl = new Map(records.map((record) => [record.url, record]));
  return records
    .filter(({ partOf }) => partOf === undefined || !byUrl.has(partOf))
    .map((record) => {
      const { url, name, lastUsed, parts } = record;
      const files = parts ? parts.map((part) => byUrl.get(part)) : [record];
      const sum = (of: (file: ModelRecord) => number) => files.reduce((total, file) => total + (file ? of(file) : 0), 0);
      return {
        url,
        name: parts ? modelTitle(url, name) : name,
        bytes: sum((file) => file.bytes),
        storedBytes: sum((file) => file.receivedBytes),
        complete: files.every((file) => file?.complete === true),
        lastUsed,
      };
    });
}

/** Folders are called by their folder, split files by what their parts have in common. */
function modelTitle(url: string, name: string): string {
  const stem = /^(.+)-\d{5}-of-\d{5}\.gguf$/.exec(name)?.[1];
  if (stem) return stem;
  const path = url.startsWith('stored:') ? decodeURIComponent(url.slice('stored:'.length)) : url.replace(/[?#].*$/, '');
  return decodeURIComponent(path.split('/').at(-2) ?? '') || name;
}

/** The file of a complete stored model; its bytes stay on the device until they are read. Errors: `not_found`. */
export async function storedFile(url: string): Promise<File> {
  const store = await openOrNull();
  const record = await store?.find(url);
  if (!store || !record?.complete || record.parts) {
    throw new EngineError('not_found', `no stored model file of ${url}`, { advice: 'It was deleted, or the model has several files.' });
  }
  return store.openFile(record);
}

/** Deletes a stored model or a broken-off download. Errors: `not_found`; `busy` while a load uses it. */
export async function deleteModel(url: string): Promise<void> {
  const store = await openOrNull();
  const record = await store?.find(url);
  if (!store || !record) {
    throw new EngineError('not_found', `no stored model of ${url}`, { advice: 'It was deleted before.' });
  }
  for (const part of record.parts ?? []) {
    const other = part === url ? null : await store.find(part);
    if (other?.partOf === url) await store.remove(other);
  }
  await store.remove(record);
}
