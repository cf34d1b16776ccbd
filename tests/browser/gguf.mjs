// Writes GGUF files (version 3): magic, version u32, tensor count u64, key count u64, keys, tensor descriptions, then data
// aligned to 32 bytes. Only what the stories need: unsigned and float numbers, booleans, texts, lists of these; F32 tensors.

const kAlignment = 32;
const kTypes = { u32: 4, i32: 5, f32: 6, bool: 7, text: 8, u16: 2 };

const u16 = (value) => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
};
const u32 = (value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
const u64 = (value) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};
const text = (value) => {
  const bytes = Buffer.from(value, 'utf8');
  return Buffer.concat([u64(bytes.length), bytes]);
};
const f32 = (value) => Buffer.from(new Float32Array([value]).buffer);
const kWriters = { u16, u32, i32: (value) => Buffer.from(new Int32Array([value]).buffer), f32, bool: (value) => Buffer.from([value ? 1 : 0]), text };

function valueOf([type, value]) {
  if (!Array.isArray(value)) return Buffer.concat([u32(kTypes[type]), kWriters[type](value)]);
  return Buffer.concat([u32(9), u32(kTypes[type]), u64(value.length), ...value.map(kWriters[type])]);
}

const padded = (length) => Math.ceil(length / kAlignment) * kAlignment;

/** The header of a file, and the size of the whole. A tensor needs no data for it. */
export function ggufHead(keys, tensors) {
  const descriptions = [];
  let offset = 0;
  for (const { name, shape } of tensors) {
    descriptions.push(text(name), u32(shape.length), ...[...shape].reverse().map(u64), u32(0), u64(offset));
    offset += padded(4 * shape.reduce((a, b) => a * b));
  }
  const head = Buffer.concat([
    Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(Object.keys(keys).length),
    ...Object.entries(keys).map(([name, value]) => Buffer.concat([text(name), valueOf(value)])), ...descriptions,
  ]);
  return { head: aligned(head), size: padded(head.length) + offset };
}

const aligned = (bytes) => Buffer.concat([bytes], padded(bytes.length));

/** keys: name -> [type, value or list]; tensors: [{name, shape (rows first), data: Float32Array}]. */
export function writeGguf(keys, tensors) {
  return Buffer.concat([ggufHead(keys, tensors).head, ...tensors.map(({ data }) => aligned(Buffer.from(data.buffer, data.byteOffset, data.byteLength)))]);
}

/** The same model as `n` files, as llama.cpp splits: the first has all keys, each has its share of the tensors. */
export function writeSplitGguf(keys, tensors, n) {
  const share = Math.ceil(tensors.length / n);
  return Array.from({ length: n }, (_, i) =>
    writeGguf({
      ...(i === 0 ? keys : {}),
      'split.no': ['u16', i], 'split.count': ['u16', n], 'split.tensors.count': ['i32', tensors.length],
    }, tensors.slice(i * share, (i + 1) * share)));
}
