// Models in the origin's private file system: `nutshell-models/<id>.gguf` and `<id>.json` (the record). Bytes are written and
// read through sync access handles, which exist in workers only; listing and deleting work on the page too. A handle for
// reading does not lock other tabs out: read-only mode where the browser has it, else slices of a File.
import { EngineError, toEngineError } from '../errors.ts';
import { BlobReader } from './blob.ts';
import { recordId, type ByteReader, type GrowingFile, type ModelRecord, type ModelStore } from './store.ts';

const kFolder = 'nutshell-models';

/** FileSystemSyncAccessHandle as specified; TypeScript's DOM library has it for workers only. */
interface SyncHandle {
  read(target: Uint8Array, options: { at: number }): number;
  write(data: Uint8Array, options: { at: number }): number;
  truncate(size: number): void;
  getSize(): number;
  flush(): void;
  close(): void;
}
type SyncFileHandle = FileSystemFileHandle & {
  createSyncAccessHandle(options?: { mode: 'read-only' | 'readwrite' | 'readwrite-unsafe' }): Promise<SyncHandle>;
};

/** Handles with a call under way, so that they cannot be collected before its answer: see holding(). */
const inUse = new Set<{ handle: object }>();

/**
 * The result of a call on a handle, with the handle kept alive meanwhile. Chromium never answers a call whose handle was
 * garbage-collected while it was under way (seen in version 156: a download stood still at a record in one of five loads).
 */
async function holding<H extends object, T>(handle: H, call: (handle: H) => Promise<T>): Promise<T> {
  const entry = { handle };
  inUse.add(entry);
  try {
    return await call(handle);
  } finally {
    inUse.delete(entry);
  }
}

/** Reads into wasm memory; a browser that refuses shared memory gets a small buffer in between. */
function readInto(handle: SyncHandle, offset: number, target: Uint8Array): void {
  let done = 0;
  while (done < target.length) {
    const part = target.subarray(done);
    const count = readOnce(handle, offset + done, part);
    if (count <= 0) {
      throw new EngineError('truncated', `${target.length} bytes at ${offset} of a file of ${handle.getSize()} bytes`);
    }
    done += count;
  }
}

const kBounceBytes = 1 << 20;
let refusesShared = false;

function readOnce(handle: SyncHandle, offset: number, target: Uint8Array): number {
  if (!refusesShared) {
    try {
      return handle.read(target, { at: offset });
    } catch (error) {
      if (!(error instanceof TypeError) || target.buffer instanceof ArrayBuffer) throw toEngineError(error, 'io_error');
      refusesShared = true;
    }
  }
  const bounce = new Uint8Array(Math.min(kBounceBytes, target.length));
  const count = handle.read(bounce, { at: offset });
  target.set(bounce.subarray(0, count));
  return count;
}

class OpfsFile implements GrowingFile {
  private position: number;

  constructor(private readonly handle: SyncHandle) {
    this.position = handle.getSize();
  }

  get size(): number {
    return this.position;
  }

  read(offset: number, target: Uint8Array): void {
    readInto(this.handle, offset, target);
  }

  append(data: Uint8Array): void {
    try {
      for (let done = 0; done < data.length;) {
        const count = this.handle.write(data.subarray(done), { at: this.position });
        // The specification asks for QuotaExceededError; some browsers write less instead.
        if (count <= 0) throw new EngineError('quota');
        done += count;
        this.position += count;
      }
    } catch (error) {
      throw toEngineError(error, 'io_error');
    }
  }

  truncate(size: number): void {
    this.handle.truncate(size);
    this.position = size;
  }

  flush(): void {
    this.handle.flush();
  }

  close(): void {
    this.handle.close();
  }
}

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
