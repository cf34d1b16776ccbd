// Reads a File or Blob by slices: local files the user opens, and stored files in browsers whose sync access handle would
// lock other tabs out.
import { EngineError } from '../errors.ts';
import type { ByteReader } from './store.ts';

export class BlobReader implements ByteReader {
  constructor(private readonly blob: Blob) {}

  get size(): number {
    return this.blob.size;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    let data: ArrayBuffer;
    try {
      data = await this.blob.slice(offset, offset + target.length).arrayBuffer();
    } catch (cause) {
      throw new EngineError('io_error', 'the file cannot be read any more', {
        advice: 'It was changed, moved or deleted meanwhile. Choose it again.',
        cause,
      });
    }
    if (data.byteLength < target.length) {
      throw new EngineError('truncated', `${target.length} bytes at ${offset} of a file of ${this.size} bytes`);
    }
    target.set(new Uint8Array(data));
  }

  close(): void {}
}
