// Models in the origin's private file system: `nutshell-models/<id>.gguf` and `<id>.json` (the record). Bytes are written and
// read through sync access handles, which exist in workers only; listing and deleting work on the page too. A handle for
// reading does not lock other tabs out: read-only mode where the browser has it, else slices of a File.
import { EngineError, toEngineError } from '../errors.ts';
import { BlobReader } from './blob.ts';
import { holding, OpfsFile, type SyncFileHandle, type SyncHandle } from './handles.ts';
import { recordId, type ByteReader, type GrowingFile, type ModelRecord, type ModelStore } from './store.ts';

const kFolder = 'nutshell-models';

export class OpfsStore implements ModelStore {
  readonly kind = 'opfs';

  private constructor(private readonly folder: FileSystemDirectoryHandle) {}

  /** The store of this origin. Errors: `storage_denied` where the browser has or gives none. */
  static async open(): Promise<OpfsStore> {
    try {
      const root = await navigator.storage.getDirectory();
      if (!('createSyncAccessHandle' in FileSystemFileHandle.prototype) && typeof window === 'undefined') {
        throw new Error('this browser cannot write files from a worker');
      }
      return new OpfsStore(await holding(root, (handle) => handle.getDirectoryHandle(kFolder, { create: true })));
    } catch (cause) {
      throw new EngineError('storage_denied', undefined, { cause });
    }
  }

  async find(url: string): Promise<ModelRecord | null> {
    const record = await this.readRecord(`${recordId(url)}.json`);
    return record?.url === url ? record : null;
  }

  async list(): Promise<ModelRecord[]> {
    return holding(this.folder, async (folder) => {
      const records: ModelRecord[] = [];
      for await (const name of (folder as unknown as { keys(): AsyncIterable<string> }).keys()) {
        const record = name.endsWith('.json') ? await this.readRecord(name) : null;
        if (record) records.push(record);
      }
      return records;
    });
  }

  async save(record: ModelRecord): Promise<void> {
    const data = new TextEncoder().encode(JSON.stringify(record));
    const handle = await this.openHandle(`${record.id}.json`);
    try {
      handle.write(data, { at: 0 });
      handle.truncate(data.length);
      handle.flush();
    } catch (error) {
      throw toEngineError(error, 'io_error');
    } finally {
      handle.close();
    }
  }

  async remove(record: ModelRecord): Promise<void> {
    for (const name of [`${record.id}.gguf`, `${record.id}.json`]) {
      try {
        await holding(this.folder, (folder) => folder.removeEntry(name));
      } catch (error) {
        if ((error as Error).name === 'NotFoundError') continue;
        throw new EngineError('busy', `${record.name} cannot be deleted now`, {
          advice: 'Another tab or a running load uses it. Close that first.',
          cause: error,
        });
      }
    }
  }

  async openRead(record: ModelRecord): Promise<ByteReader> {
    try {
      return await holding(await this.file(`${record.id}.gguf`), async (file) => {
        const handle = await file.createSyncAccessHandle({ mode: 'read-only' }).catch(() => null);
        return handle ? new OpfsFile(handle) : new BlobReader(await file.getFile());
      });
    } catch (error) {
      throw toEngineError(error, 'io_error');
    }
  }

  /** The file itself, for handing on; to be read in parts. */
  async openFile(record: ModelRecord): Promise<File> {
    return holding(await this.file(`${record.id}.gguf`), (file) => file.getFile());
  }

  async openWrite(record: ModelRecord): Promise<GrowingFile> {
    return new OpfsFile(await this.openHandle(`${record.id}.gguf`));
  }

  async freeBytes(): Promise<number | null> {
    const { quota, usage } = (await navigator.storage.estimate?.()) ?? {};
    return quota === undefined || usage === undefined ? null : quota - usage;
  }

  private file(name: string, options?: FileSystemGetFileOptions): Promise<SyncFileHandle> {
    return holding(this.folder, (folder) => folder.getFileHandle(name, options)) as Promise<SyncFileHandle>;
  }

  private async openHandle(name: string): Promise<SyncHandle> {
    try {
      return await holding(await this.file(name, { create: true }), (file) => file.createSyncAccessHandle());
    } catch (error) {
      throw toEngineError(error, 'io_error');
    }
  }

  private async readRecord(name: string): Promise<ModelRecord | null> {
    try {
      const text = await holding(await this.file(name), async (handle) => (await handle.getFile()).text());
      const record = JSON.parse(text) as Partial<ModelRecord>;
      const valid = record.id && `${record.id}.json` === name && typeof record.url === 'string';
      return valid ? (record as ModelRecord) : null;
    } catch {
      // A record that cannot be read is no record: its file is written anew at the next load.
      return null;
    }
  }
}
