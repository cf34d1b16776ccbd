// A model whose every answer is known: a llama of one layer whose attention and feed-forward add nothing, so that a token
// decides its successor alone. The embedding of token i is the unit vector i; the row of the output matrix for a token is
// the unit vector of the one before it. What follows the prompt (its last byte) is script[0], then script[1] ... and the end.
// As one GGUF file, as a split one, or as a Hugging Face folder.

import { writeGguf, writeSplitGguf } from './gguf.mjs';

export const kTemplate =
  "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
const kStart = 256;
const kEnd = 257;
const kFirst = 258; // of the script
const kLastOfPrompt = '\n'.charCodeAt(0);
const kFeedForward = 32;

/** The printable stand-in of a byte in GPT-2's vocabularies. */
function standIn(byte) {
  const shown = (b) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  if (shown(byte)) return String.fromCharCode(byte);
  let code = 256;
  for (let b = 0; b < byte; b++) if (!shown(b)) code++;
  return String.fromCodePoint(code);
}

const mapped = (text) => [...Buffer.from(text, 'utf8')].map(standIn).join('');

/** `script`: different texts of two characters or more, one token each. `shortcut`: after a prompt that ends with this character the
 *  answer begins at that place of the script: [character, index]. */
export function scriptedModel(script, { template = kTemplate, shortcut = null, name = 'scripted' } = {}) {
  const words = [...Array.from({ length: 256 }, (_, byte) => standIn(byte)), '<|im_start|>', '<|im_end|>',
    ...script.map(mapped)];
  if (new Set(words).size !== words.length) throw new Error('a word of the script is there twice');
  const isControl = (id) => id === kStart || id === kEnd;
  const width = Math.ceil(words.length / 32) * 32;
  const matrix = (rows, columns) => new Float32Array(rows * columns);
  const embedding = matrix(words.length, width);
  words.forEach((_, id) => (embedding[id * width + id] = 1));
  const output = matrix(words.length, width);
  const order = [kLastOfPrompt, ...script.map((_, i) => kFirst + i), kEnd];
  for (let i = 1; i < order.length; i++) output[order[i] * width + order[i - 1]] = 1;
  if (shortcut) output[(kFirst + shortcut[1]) * width + shortcut[0].charCodeAt(0)] = 1;
  const ones = () => new Float32Array(width).fill(1);
  const tensors = [
    { name: 'token_embd.weight', hf: 'model.embed_tokens.weight', shape: [words.length, width], data: embedding },
    { name: 'blk.0.attn_norm.weight', hf: 'model.layers.0.input_layernorm.weight', shape: [width], data: ones() },
    { name: 'blk.0.ffn_norm.weight', hf: 'model.layers.0.post_attention_layernorm.weight', shape: [width], data: ones() },
    ...[['q', 'q_proj'], ['k', 'k_proj'], ['v', 'v_proj'], ['output', 'o_proj']].map(([part, hf]) => (
      { name: `blk.0.attn_${part}.weight`, hf: `model.layers.0.self_attn.${hf}.weight`, shape: [width, width], data: matrix(width, width) })),
    ...['gate', 'up'].map((part) => (
      { name: `blk.0.ffn_${part}.weight`, hf: `model.layers.0.mlp.${part}_proj.weight`, shape: [kFeedForward, width], data: matrix(kFeedForward, width) })),
    { name: 'blk.0.ffn_down.weight', hf: 'model.layers.0.mlp.down_proj.weight', shape: [width, kFeedForward], data: matrix(width, kFeedForward) },
    { name: 'output_norm.weight', hf: 'model.norm.weight', shape: [width], data: ones() },
    { name: 'output.weight', hf: 'lm_head.weight', shape: [words.length, width], data: output },
  ];
  const keys = {
    'general.architecture': ['text', 'llama'], 'general.name': ['text', name],
    'llama.block_count': ['u32', 1], 'llama.embedding_length': ['u32', width], 'llama.feed_forward_length': ['u32', kFeedForward],
    'llama.context_length': ['u32', 1024], 'llama.attention.head_count': ['u32', width / 32], 'llama.attention.layer_norm_rms_epsilon': ['f32', 1e-5],
    'tokenizer.ggml.model': ['text', 'gpt2'], 'tokenizer.ggml.pre': ['text', 'smollm'], 'tokenizer.ggml.tokens': ['text', words],
    'tokenizer.ggml.token_type': ['i32', words.map((_, id) => (isControl(id) ? 3 : 1))], 'tokenizer.ggml.merges': ['text', []],
    'tokenizer.ggml.bos_token_id': ['u32', kStart], 'tokenizer.ggml.eos_token_id': ['u32', kEnd], 'tokenizer.chat_template': ['text', template],
  };
  const folder = () => ({
    'config.json': JSON.stringify({
      architectures: ['LlamaForCausalLM'], hidden_act: 'silu', hidden_size: width, num_hidden_layers: 1, intermediate_size: kFeedForward,
      num_attention_heads: width / 32, rms_norm_eps: 1e-5, max_position_embeddings: 1024, vocab_size: words.length, tie_word_embeddings: false,
    }),
    'tokenizer.json': JSON.stringify({
      added_tokens: words.map((content, id) => ({ id, content, special: true })).filter(({ id }) => isControl(id)),
      pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Digits', individual_digits: true }, { type: 'ByteLevel', add_prefix_space: false, use_regex: true }] },
      model: { type: 'BPE', vocab: Object.fromEntries(words.map((word, id) => [word, id])), merges: [] },
    }),
    'tokenizer_config.json': JSON.stringify({ bos_token: '<|im_start|>', eos_token: '<|im_end|>', chat_template: template }),
    'model.safetensors': safetensors(tensors),
  });
  return { gguf: () => writeGguf(keys, tensors), parts: (n) => writeSplitGguf(keys, tensors, n), folder };
}

/** Length u64, header as JSON, data. */
function safetensors(tensors) {
  const header = {};
  let end = 0;
  for (const { hf, shape, data } of tensors) header[hf] = { dtype: 'F32', shape, data_offsets: [end, (end += data.byteLength)] };
  const head = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(head.length));
  return Buffer.concat([length, head, ...tensors.map(({ data }) => Buffer.from(data.buffer))]);
}
