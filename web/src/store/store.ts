// What the rest of the web layer wants from a place that keeps model files: records (one per address) and files that are
// appended to while they arrive and read at any place. Two implementations: the origin's private file system (opfs.ts) and
// memory (memory.ts). A record is `complete` only after the whole file arrived and the engine accepted it.

/** What is known of one model file. Stored as JSON beside the file. */
export interface ModelRecord {
  /** File stem in the store: a readable part and a hash of the address. */
  id: string;
  /** The identity of the model: its absolute address, or `stored:<name>` for a kept local file. */
  url: string;
  name: string;
  /** Size of the whole file; 0 while it is not known. */
  bytes: number;
  /** Bytes that surely are in the file; a broken-off download goes on from here. */
  receivedBytes: number;
  complete: boolean;
  /** The server's validators, for going on with the same content only. */
  etag: string | null;
  lastModified: string | null;
  /** Hex, where it was checked. */
  sha256: string | null;
  lastUsed: number;
  /** Of the first of several files of one model: the addresses of all, itself included. */
  parts?: string[];
  /** Of the others: the address of the first. */
  partOf?: string;
}

/** What ties the files of one model together. */
export type Membership = Pick<ModelRecord, 'parts' | 'partOf'>;

/** Bytes of a model that can be read at any place. */
export interface ByteReader {
  readonly size: number;
  /** Fills `target` with the bytes from `offset` on; throws EngineError `truncated` where the file ends before. */
  read(offset: number, target: Uint8Array): void | Promise<void>;
  close(): void;
}

/** A file that grows at its end and can be read meanwhile. */
export interface GrowingFile extends ByteReader {
  append(data: Uint8Array): void;
  /** Cuts the file; `size` is at most the present size. */
  truncate(size: number): void;
  /** Asks the device to make what was appended durable. */
  flush(): void;
}

export interface ModelStore {
  readonly kind: 'opfs' | 'memory';
  find(url: string): Promise<ModelRecord | null>;
  list(): Promise<ModelRecord[]>;
  /** Writes the record (creates it where there is none). */
  save(record: ModelRecord): Promise<void>;
  /** Removes file and record; nothing happens where there is none. */
  remove(record: ModelRecord): Promise<void>;
  openRead(record: ModelRecord): Promise<ByteReader>;
  /** Opens the file for appending; creates it. One writer at a time. */
  openWrite(record: ModelRecord): Promise<GrowingFile>;
  /** Bytes that may still be stored, or null where the browser does not tell. */
  freeBytes(): Promise<number | null>;
}

/** A file stem for an address: letters of its last part, and 64 bits of a hash that tells addresses apart. */
export function recordId(url: string): string {
  const last = url.replace(/[?#].*$/, '').split('/').pop() ?? '';
  const stem = last.replace(/\.gguf$/i, '').replace(/[^A-Za-z0-9._-]+/g, '-').slice(0, 60) || 'model';
  return `${stem}-${fnv1a64(url)}`;
}

/** FNV-1a, 64 bit, hex: names only, not for security. */
function fnv1a64(text: string): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash.toString(16).padStart(16, '0');
}

/** A record for a file of which nothing is here yet. */
export function newRecord(url: string, name: string): ModelRecord {
  return { id: recordId(url), url, name, bytes: 0, receivedBytes: 0, complete: false, etag: null, lastModified: null,
    sha256: null, lastUsed: 0 };
}
