// The models on this device, for a picker: list and delete. Works on the page and in workers.
import { EngineError } from '../errors.ts';
import type { StoredModel } from '../types.ts';
import { OpfsStore } from './opfs.ts';

async function openOrNull(): Promise<OpfsStore | null> {
  return OpfsStore.open().catch(() => null);
}

/** All models stored here, last used first; empty where the browser gives no storage. */
export async function listModels(): Promise<StoredModel[]> {
  const records = (await (await openOrNull())?.list()) ?? [];
  return records
    .map(({ url, name, bytes, receivedBytes, complete, lastUsed }) => ({
      url, name, bytes, storedBytes: receivedBytes, complete, lastUsed,
    }))
    .sort((a, b) => b.lastUsed - a.lastUsed);
}

/** Deletes a stored model or a broken-off download. Errors: `not_found`; `busy` while a load uses it. */
export async function deleteModel(url: string): Promise<void> {
  const store = await openOrNull();
  const record = await store?.find(url);
  if (!store || !record) {
    throw new EngineError('not_found', `no stored model of ${url}`, { advice: 'It was deleted before.' });
  }
  await store.remove(record);
}
