// A store in memory, for windows without storage and for `store: false`: the file is a list of the chunks as they came.
// It lives as long as the worker; nothing is found again later.
import { EngineError } from '../errors.ts';
import type { GrowingFile, ModelRecord, ModelStore } from './store.ts';

class MemoryFile implements GrowingFile {
  private chunks: Uint8Array[] = [];
  /** Offset in the file of the first byte of each chunk. */
  private starts: number[] = [];
  size = 0;

  append(data: Uint8Array): void {
    this.starts.push(this.size);
    this.chunks.push(data.slice()); // the caller may use its buffer again
    this.size += data.length;
  }

  truncate(size: number): void {
    while (this.chunks.length && this.starts[this.starts.length - 1]! >= size) {
      this.chunks.pop();
      this.starts.pop();
    }
    const last = this.chunks.length - 1;
    if (last >= 0) this.chunks[last] = this.chunks[last]!.subarray(0, size - this.starts[last]!);
    this.size = Math.min(this.size, size);
  }

  read(offset: number, target: Uint8Array): void {
    if (offset + target.length > this.size) {
      throw new EngineError('truncated', `${target.length} bytes at ${offset} of a file of ${this.size} bytes`);
    }
    let index = this.chunkAt(offset);
    for (let done = 0; done < target.length; index++) {
      const from = offset + done - this.starts[index]!;
      const part = this.chunks[index]!.subarray(from, from + target.length - done);
      target.set(part, done);
      done += part.length;
    }
  }

  flush(): void {}

  close(): void {
    this.chunks = [];
    this.starts = [];
    this.size = 0;
  }

  /** Index of the chunk that holds the byte at `offset`: the last one that starts at or before it. */
  private chunkAt(offset: number): number {
    let low = 0;
    let high = this.starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.starts[middle]! <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** A store that keeps nothing beyond the file that is being read. */
export class MemoryStore implements ModelStore {
  readonly kind = 'memory';

  find(): Promise<ModelRecord | null> {
    return Promise.resolve(null);
  }

  list(): Promise<ModelRecord[]> {
    return Promise.resolve([]);
  }

  save(): Promise<void> {
    return Promise.resolve();
  }

  remove(): Promise<void> {
    return Promise.resolve();
  }

  openRead(record: ModelRecord): Promise<GrowingFile> {
    return Promise.reject(new EngineError('io_error', `${record.name} is not in memory`));
  }

  openWrite(_record: ModelRecord): Promise<GrowingFile> {
    return Promise.resolve(new MemoryFile());
  }

  freeBytes(): Promise<number | null> {
    return Promise.resolve(null);
  }
}
