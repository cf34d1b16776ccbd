// A device's storage in memory that outlives a session, with the rules of the real one: one writer at a time, records apart
// from files, nothing shared with the caller.
import { EngineError } from '../../../web/src/errors.ts';
import type { ByteReader, GrowingFile, ModelRecord, ModelStore } from '../../../web/src/store/store.ts';

class FakeFile implements GrowingFile {
  closed = false;
  constructor(private readonly store: FakeStore, private readonly id: string) {}

  private get bytes(): Uint8Array {
    return this.store.files.get(this.id)!;
  }

  get size(): number {
    return this.bytes.length;
  }

  read(offset: number, target: Uint8Array): void {
    if (this.closed) throw new EngineError('io_error', 'read of a closed file');
    if (offset + target.length > this.size) throw new EngineError('truncated');
    target.set(this.bytes.subarray(offset, offset + target.length));
  }

  append(data: Uint8Array): void {
    if (this.size + data.length > this.store.capacity) throw new EngineError('quota');
    const next = new Uint8Array(this.size + data.length);
    next.set(this.bytes);
    next.set(data, this.size);
    this.store.files.set(this.id, next);
  }

  truncate(size: number): void {
    const next = new Uint8Array(size);
    next.set(this.bytes.subarray(0, size));
    this.store.files.set(this.id, next);
  }

  flush(): void {}

  close(): void {
    if (!this.closed) this.store.open--;
    this.closed = true;
  }
}

export class FakeStore implements ModelStore {
  readonly kind = 'opfs';
  readonly records = new Map<string, string>();
  readonly files = new Map<string, Uint8Array>();
  /** Handles that are open now. */
  open = 0;
  capacity = Infinity;
  free: number | null = null;

  find(url: string): Promise<ModelRecord | null> {
    const all = [...this.records.values()].map((text) => JSON.parse(text) as ModelRecord);
    return Promise.resolve(all.find((record) => record.url === url) ?? null);
  }

  list(): Promise<ModelRecord[]> {
    return Promise.resolve([...this.records.values()].map((text) => JSON.parse(text) as ModelRecord));
  }

  save(record: ModelRecord): Promise<void> {
    this.records.set(record.id, JSON.stringify(record));
    return Promise.resolve();
  }

  remove(record: ModelRecord): Promise<void> {
    this.records.delete(record.id);
    this.files.delete(record.id);
    return Promise.resolve();
  }

  openRead(record: ModelRecord): Promise<ByteReader> {
    if (!this.files.has(record.id)) return Promise.reject(new EngineError('io_error'));
    this.open++;
    return Promise.resolve(new FakeFile(this, record.id));
  }

  openWrite(record: ModelRecord): Promise<GrowingFile> {
    if (!this.files.has(record.id)) this.files.set(record.id, new Uint8Array());
    this.open++;
    return Promise.resolve(new FakeFile(this, record.id));
  }

  freeBytes(): Promise<number | null> {
    return Promise.resolve(this.free);
  }
}
