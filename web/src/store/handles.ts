// Files of the origin private file system as its sync access handles give them: written and read at once, in workers only.
import { EngineError, toEngineError } from '../errors.ts';
import type { GrowingFile } from './store.ts';

/** FileSystemSyncAccessHandle as specified; TypeScript's DOM library has it for workers only. */
export interface SyncHandle {
  read(target: Uint8Array, options: { at: number }): number;
  write(data: Uint8Array, options: { at: number }): number;
  truncate(size: number): void;
  getSize(): number;
  flush(): void;
  close(): void;
}
export type SyncFileHandle = FileSystemFileHandle & {
  createSyncAccessHandle(options?: { mode: 'read-only' | 'readwrite' | 'readwrite-unsafe' }): Promise<SyncHandle>;
};

/** Handles with a call under way, so that they cannot be collected before its answer: see holding(). */
const inUse = new Set<{ handle: object }>();

/**
 * The result of a call on a handle, with the handle kept alive meanwhile. Chromium never answers a call whose handle was
 * garbage-collected while it was under way (seen in version 156: a download stood still at a record in one of five loads).
 */
export async function holding<H extends object, T>(handle: H, call: (handle: H) => Promise<T>): Promise<T> {
  const entry = { handle };
  inUse.add(entry);
  try {
    return await call(handle);
  } finally {
    inUse.delete(entry);
  }
}

/** Reads into wasm memory; a browser that refuses shared memory gets a small buffer in between. */
export function readInto(handle: SyncHandle, offset: number, target: Uint8Array): void {
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

export class OpfsFile implements GrowingFile {
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
