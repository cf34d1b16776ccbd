// A tiny random llama model with a byte-level vocabulary as a GGUF file (version 3), for tests of the native tool and of
// making models smaller in the page.
// Layout: "GGUF", version u32, tensor count u64, key count u64, keys, tensor descriptions, data aligned to 32 bytes.

const kU32 = 4;
const kI32 = 5;
const kF32 = 6;
const kString = 8;
const kArray = 9;

class Writer {
  parts = [];
  u32(value) {
    const b = Buffer.alloc(4);
    b.writeUInt32LE(value);
    this.parts.push(b);
    return this;
  }
  u64(value) {
    const b = Buffer.alloc(8);
    b.writeBigUInt64LE(BigInt(value));
    this.parts.push(b);
    return this;
  }
  f32(value) {
    this.parts.push(Buffer.from(new Float32Array([value]).buffer));
    return this;
  }
  text(value) {
    const bytes = Buffer.from(value);
    this.u64(bytes.length).parts.push(bytes);
    return this;
  }
  get bytes() {
    return Buffer.concat(this.parts);
  }
}

/** GPT-2's printable stand-in of a byte. */
function byteToken(byte) {
  const printable = (b) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  if (printable(byte)) return String.fromCodePoint(byte);
  let code = 256;
  for (let b = 0; b < byte; b++) code += printable(b) ? 0 : 1;
  return String.fromCodePoint(code);
}

/** Repeatable numbers in [-1, 1). */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
}

/** The bytes of the file. `change(name, values)` may alter the values of a tensor; `template`: for chats. */
export function tinyModel({ layers = 2, width = 64, heads = 4, kvHeads = 2, ff = 96, context = 512, architecture = 'llama', template = '', change = () => {} } = {}) {
  const keys = new Writer();
  let count = 0;
  const key = (name, type) => {
    count++;
    return keys.text(name).u32(type);
  };
  key('general.architecture', kString).text(architecture);
  const numbers = { block_count: layers, embedding_length: width, feed_forward_length: ff, context_length: context };
  Object.assign(numbers, { 'attention.head_count': heads, 'attention.head_count_kv': kvHeads });
  for (const [name, value] of Object.entries(numbers)) key(`llama.${name}`, kU32).u32(value);
  key('llama.attention.layer_norm_rms_epsilon', kF32).f32(1e-5);
  key('tokenizer.ggml.model', kString).text('gpt2');
  key('tokenizer.ggml.pre', kString).text('smollm');
  const tokens = [...Array.from({ length: 256 }, (_, b) => byteToken(b)), '<|im_start|>', '<|im_end|>'];
  key('tokenizer.ggml.tokens', kArray).u32(kString).u64(tokens.length);
  for (const token of tokens) keys.text(token);
  key('tokenizer.ggml.token_type', kArray).u32(kI32).u64(tokens.length);
  tokens.forEach((_, id) => keys.u32(id < 256 ? 1 : 3));
  key('tokenizer.ggml.merges', kArray).u32(kString).u64(0);
  key('tokenizer.ggml.bos_token_id', kU32).u32(256);
  key('tokenizer.ggml.eos_token_id', kU32).u32(257);
  if (template) key('tokenizer.chat_template', kString).text(template);

  const tensors = [];
  const next = random(7);
  const add = (name, dims, scale, offset) => {
    const values = Float32Array.from({ length: dims.reduce((a, b) => a * b) }, () => offset + scale * next());
    change(name, values);
    tensors.push({ name, dims, bytes: Buffer.from(values.buffer) });
  };
  const matrix = (name, rows, columns) => add(name, [columns, rows], 1.7 / Math.sqrt(columns), 0);
  const norm = (name) => add(name, [width], 0.1, 1);
  const kv = (width / heads) * kvHeads;
  matrix('token_embd.weight', tokens.length, width);
  for (let i = 0; i < layers; i++) {
    const layer = (what) => `blk.${i}.${what}.weight`;
    norm(layer('attn_norm'));
    norm(layer('ffn_norm'));
    matrix(layer('attn_q'), width, width);
    matrix(layer('attn_k'), kv, width);
    matrix(layer('attn_v'), kv, width);
    matrix(layer('attn_output'), width, width);
    matrix(layer('ffn_gate'), ff, width);
    matrix(layer('ffn_up'), ff, width);
    matrix(layer('ffn_down'), width, ff);
  }
  norm('output_norm.weight');

  const head = new Writer();
  head.parts.push(Buffer.from('GGUF'));
  head.u32(3).u64(tensors.length).u64(count).parts.push(keys.bytes);
  let offset = 0;
  for (const { name, dims, bytes } of tensors) {
    head.text(name).u32(dims.length);
    for (const dim of dims) head.u64(dim);
    head.u32(0).u64(offset);
    offset += Math.ceil(bytes.length / 32) * 32;
  }
  const padded = (bytes) => [bytes, Buffer.alloc((32 - (bytes.length % 32)) % 32)];
  return Buffer.concat([...padded(head.bytes), ...tensors.flatMap(({ bytes }) => padded(bytes))]);
}
