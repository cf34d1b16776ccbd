// Broken model files, made from the real one. The layout of the head follows the GGUF specification (version 3): magic,
// version u32, tensor count u64, key count u64, then keys, then tensor descriptions, then data aligned to 32 bytes.
// Files that must be of full size are sparse: their head is real, the tensors are holes.

import { open } from 'node:fs/promises';

const kSizes = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };
const kString = 8;
const kArray = 9;

/** Where things lie in the head: key -> {at, type, valueAt}, and where the data begins. */
function layout(head) {
  let at = 24;
  const u32 = () => head.readUInt32LE((at += 4) - 4);
  const u64 = () => Number(head.readBigUInt64LE((at += 8) - 8));
  const text = () => {
    const length = u64();
    return head.toString('latin1', at, (at += length));
  };
  const skip = (type) => {
    if (type === kString) text();
    else if (type === kArray) for (let inner = u32(), left = u64(); left > 0; left--) skip(inner);
    else at += kSizes[type];
  };
  const keys = {};
  for (let left = Number(head.readBigUInt64LE(16)); left > 0; left--) {
    const start = at;
    const name = text();
    const type = u32();
    keys[name] = { at: start, type, valueAt: at };
    skip(type);
  }
  const tensorsAt = at;
  for (let left = Number(head.readBigUInt64LE(8)); left > 0; left--) {
    text();
    const extents = u32();
    at += 8 * extents + 12;
  }
  return { keys, tensorsAt, dataAt: Math.ceil(at / 32) * 32 };
}

/** Reads the head of a real model. Gives `{head, size, keys, tensorsAt, dataAt}`. */
export async function readModel(file) {
  const handle = await open(file);
  try {
    const { size } = await handle.stat();
    const head = Buffer.alloc(Math.min(size, 16 << 20));
    await handle.read(head, 0, head.length, 0);
    return { head, size, ...layout(head) };
  } finally {
    await handle.close();
  }
}

/** Writes a file of `size` bytes that begins with `head`; the rest is a hole. */
async function writeSparse(file, head, size) {
  const handle = await open(file, 'w');
  await handle.write(head);
  await handle.truncate(size);
  await handle.close();
}

function changed({ head, dataAt }, change) {
  const copy = Buffer.from(head.subarray(0, dataAt));
  change(copy);
  return copy;
}

/** Bytes without a pattern, the same on every run (xorshift). */
function noise(length) {
  const bytes = Buffer.alloc(length);
  for (let i = 0, x = 0x9e3779b9; i < length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    bytes[i] = x & 255;
  }
  return bytes;
}

const kHuge = 1n << 60n;

/** All broken files: `{name, codes, write(file)}`; `codes`: the error codes that tell the truth about the file. */
export function brokenFiles(model) {
  const { head, size, keys, tensorsAt, dataAt } = model;
  const sparse = (change) => (file) => writeSparse(file, changed(model, change), size);
  const plain = (bytes, total = bytes.length) => (file) => writeSparse(file, bytes, total);
  const tokens = keys['tokenizer.ggml.tokens'].valueAt + 4;
  const architecture = keys['general.architecture'].valueAt + 8;
  const limits = ['limit_exceeded', 'corrupt_file', 'truncated'];
  return [
    { name: 'cut-in-the-first-bytes', codes: ['truncated'], write: plain(head.subarray(0, 20)) },
    { name: 'cut-in-the-header', codes: ['truncated'], write: plain(head.subarray(0, tensorsAt >> 1)) },
    { name: 'cut-in-the-tensors', codes: ['truncated'], write: plain(head.subarray(0, dataAt + 1000)) },
    { name: 'cut-at-half', codes: ['truncated'], write: plain(head.subarray(0, dataAt), size >> 1) },
    { name: 'wrong-magic', codes: ['bad_magic'], write: sparse((h) => h.write('GGML', 0, 'latin1')) },
    { name: 'random-bytes', codes: ['bad_magic'], write: plain(noise(1 << 20)) },
    { name: 'huge-tensor-count', codes: limits, write: sparse((h) => h.writeBigUInt64LE(kHuge, 8)) },
    { name: 'huge-key-count', codes: limits, write: sparse((h) => h.writeBigUInt64LE(kHuge, 16)) },
    { name: 'huge-key-length', codes: limits, write: sparse((h) => h.writeBigUInt64LE(kHuge, 24)) },
    { name: 'huge-array-count', codes: limits, write: sparse((h) => h.writeBigUInt64LE(kHuge, tokens)) },
    { name: 'bad-version', codes: ['bad_version'], write: sparse((h) => h.writeUInt32LE(99, 4)) },
    { name: 'unknown-architecture', codes: ['unsupported_architecture'], write: sparse((h) => h.write('xlama', architecture, 'latin1')) },
    { name: 'web-page', codes: ['not_a_model', 'bad_magic'], write: plain(Buffer.from('<!doctype html><title>Sign in</title><p>Please sign in to download.')) },
    { name: 'empty', codes: ['empty_file'], write: plain(Buffer.alloc(0)) },
  ];
}
