// What a compression leaves on this device while it is worked on: `nutshell-compress/<id>/` in the origin private file
// system, with a file per kept entry and `state.json`, which says what it is of. Listing and deleting work on the page too.
import { EngineError, toEngineError } from '../errors.ts';
import { holding, readInto, type SyncFileHandle } from './handles.ts';

const kFolder = 'nutshell-compress';
const kState = 'state.json';
/** Web Lock of the one compression of an origin; with `:<id>` behind it, of the one of a source. */
export const kWorkLock = 'nutshell-compress';
/** So long the worker of a tab that was closed may take to end: it is in a step. */
export const kEndingMs = 15_000;
/** Bytes at the start of every entry without which it counts for nothing (src/compress/checkpoint.h). */
const kMarkBytes = 8;
const kLongestName = 200;
/** Ends the name of a file that is written to take another's place. No entry is called so: names are encoded. */
const kNew = '%new';

export interface State {
  id: string;
  /** Address of the source. */
  source: string;
  name: string;
  sourceBytes: number;
  /** What decides the measuring besides the source. */
  settings: string;
  /** Of the file that is being made; null before one was begun and after it was made. */
  bytes: number | null;
  /** 0..1 of that file, or of the measuring. */
  done: number;
  lastUsed: number;
}

/** The entries of one compression and its state. */
export interface StateFolder {
  /** Names and sizes of the entries that are there. */
  readonly kept: ReadonlyMap<string, number>;
  state(): Promise<State | null>;
  save(state: State): Promise<void>;
  read(name: string, target: Uint8Array): Promise<void>;
  /** Replaces the entry, all or nothing (where files cannot be moved: what is cut off by the worker's end has no mark). */
  keep(name: string, data: Uint8Array): Promise<void>;
  drop(name: string): Promise<void>;
}

type Folder = FileSystemDirectoryHandle & { keys(): AsyncIterable<string> };

async function top(create: boolean): Promise<Folder> {
  const root = await navigator.storage.getDirectory();
  return holding(root, (handle) => handle.getDirectoryHandle(kFolder, { create })) as Promise<Folder>;
}

async function readState(folder: FileSystemDirectoryHandle, id: string): Promise<State | null> {
  try {
    const handle = await holding(folder, (each) => each.getFileHandle(kState));
    const text = await holding(handle, async (file) => (await file.getFile()).text());
    const state = JSON.parse(text) as State;
    return state.id === id && typeof state.source === 'string' ? state : null;
  } catch {
    return null; // one that cannot be read is none: the work begins anew
  }
}

export async function listStates(): Promise<State[]> {
  const folder = await top(false).catch(() => null);
  if (!folder) return [];
  const states: State[] = [];
  for await (const id of folder.keys()) {
    const inner = await folder.getDirectoryHandle(id).catch(() => null);
    const state = inner && (await readState(inner, id));
    if (state) states.push(state);
  }
  return states;
}

/** Deletes all of it; nothing happens where there is none. */
export async function deleteState(id: string): Promise<void> {
  const folder = await top(false).catch(() => null);
  try {
    await folder?.removeEntry(id, { recursive: true });
  } catch (error) {
    if ((error as Error).name !== 'NotFoundError') throw toEngineError(error, 'io_error');
  }
}

export class OpfsState implements StateFolder {
  private constructor(
    private readonly folder: FileSystemDirectoryHandle,
    private readonly id: string,
    readonly kept: Map<string, number>,
  ) {}

  static async open(id: string): Promise<OpfsState> {
    const folder = (await (await top(true)).getDirectoryHandle(id, { create: true })) as Folder;
    const kept = new Map<string, number>();
    for await (const file of folder.keys()) {
      if (file === kState) continue;
      if (file.endsWith(kNew)) {
        await holding(folder, (each) => each.removeEntry(file)).catch(() => undefined);
        continue;
      }
      const handle = await holding(folder, (each) => each.getFileHandle(file));
      kept.set(decodeURIComponent(file), (await holding(handle, (each) => each.getFile())).size);
    }
    return new OpfsState(folder, id, kept);
  }

  state(): Promise<State | null> {
    return readState(this.folder, this.id);
  }

  async save(state: State): Promise<void> {
    const data = new TextEncoder().encode(JSON.stringify(state));
    await this.open(kState, true, (handle) => {
      handle.write(data, { at: 0 });
      handle.truncate(data.length);
      handle.flush();
    });
  }

  async read(name: string, target: Uint8Array): Promise<void> {
    await this.open(fileOf(name), false, (handle) => readInto(handle, 0, target));
  }

  async keep(name: string, data: Uint8Array): Promise<void> {
    if (fileOf(name).length > kLongestName) return; // of a name no real tensor has: it is made again
    // Shared memory cannot be written everywhere, and less is a safe part of it at a time.
    const copy = data.slice();
    const file = fileOf(name);
    const moves = 'move' in FileSystemFileHandle.prototype && this.kept.has(name);
    await this.open(moves ? file + kNew : file, true, (handle) => {
      handle.truncate(0);
      write(handle, copy.subarray(kMarkBytes), kMarkBytes);
      handle.flush();
      write(handle, copy.subarray(0, kMarkBytes), 0);
      handle.flush();
    });
    if (moves) await this.move(file + kNew, file);
    this.kept.set(name, data.length);
  }

  async drop(name: string): Promise<void> {
    await holding(this.folder, (folder) => folder.removeEntry(fileOf(name))).catch(() => undefined);
    this.kept.delete(name);
  }

  private async move(from: string, to: string): Promise<void> {
    try {
      const handle = (await holding(this.folder, (folder) => folder.getFileHandle(from))) as FileSystemFileHandle & { move(name: string): Promise<void> };
      await holding(handle, (each) => each.move(to));
    } catch (error) {
      throw toEngineError(error, 'io_error');
    }
  }

  private async open(file: string, create: boolean, use: (handle: Handle) => void): Promise<void> {
    try {
      const found = (await holding(this.folder, (folder) => folder.getFileHandle(file, { create }))) as SyncFileHandle;
      const handle = await holding(found, (each) => each.createSyncAccessHandle());
      try {
        use(handle);
      } finally {
        handle.close();
      }
    } catch (error) {
      throw toEngineError(error, 'io_error');
    }
  }
}

type Handle = Awaited<ReturnType<SyncFileHandle['createSyncAccessHandle']>>;

function write(handle: Handle, data: Uint8Array, at: number): void {
  for (let done = 0; done < data.length;) {
    const count = handle.write(data.subarray(done), { at: at + done });
    if (count <= 0) throw new EngineError('quota');
    done += count;
  }
}

function fileOf(name: string): string {
  return encodeURIComponent(name);
}
