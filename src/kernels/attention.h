// Causal attention over a KV cache of 14-bit codes in int16, tiled so that 16 positions (keys) or 16
// dimensions (values) are a row of vectors and one integer kernel serves both. L2. head_dim is a multiple
// of 16.
//
//   keys    [kv head][position / 16][dimension / 2][16 positions][2 dimensions]   int16
//   values  [kv head][dimension / 16][position / 2][16 dimensions][2 positions]   int16
//   scales  [kv head][position]: one f32 for the key, one for the value
//
// The head_dim values of one head at one position share a scale: code = round(x * 8191 / largest magnitude),
// value = code * scale, worst error largest / 16382 (f16 keeps 2^-12 of each value, so the two are alike;
// int16 has no slow subnormals, and one instruction multiplies and adds two products a lane). The other
// operand, queries and softmax weights, becomes int16 codes whose magnitudes sum to less than 2^31 / 8191
// (over head_dim, and over 128 positions): every sum is exact in int32, so that strict and relaxed flavours
// give the same scores.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

namespace nutshell {

inline constexpr int32_t kKvCodeMax = 8191;

struct KvLayer {
  int16_t* keys = nullptr;
  int16_t* values = nullptr;
  float* key_scales = nullptr;
  float* value_scales = nullptr;
  int64_t n_head_kv = 0, head_dim = 0, head_dim_v = 0;  // head_dim: of keys
  int64_t n_ctx = 0;                                    // a multiple of 16
};

struct AttentionShape {
  int64_t n_head = 0, n_head_kv = 0, head_dim = 0, head_dim_v = 0;
  float scale = 1.0f;
  int64_t window = 0;
  float softcap = 0.0f;
  const float* sinks = nullptr;  // per head: a score that takes its share of the softmax and has no value
  bool causal = true;            // else a token sees the whole step it is part of
  int64_t group() const { return n_head / n_head_kv; }
  // -infinity, which takes no share, without sinks.
  float sink(int64_t head) const {
    return sinks == nullptr ? -std::numeric_limits<float>::infinity() : sinks[head];
  }
  // First position that a token at `position` sees.
  int64_t first_seen(int64_t position) const {
    return window > 0 && position >= window ? position - window + 1 : 0;
  }
};

// Bytes of one layer's cache; the parts lie in the order of KvLayer. n_ctx is a multiple of 16.
struct KvBytes {
  uint64_t keys, values, scales;  // scales: of keys and of values, each
  uint64_t total() const { return keys + values + 2 * scales; }
};
struct KvShape {
  int64_t n_head_kv, head_dim, head_dim_v, n_ctx;
};
// Preconditions: the products fit 64 bits (check_graph bounds them).
KvBytes kv_bytes(const KvShape& shape);
KvLayer kv_layer_at(void* memory, const KvShape& shape);
// Zeroes positions [begin, end), multiples of 16: what is read beyond the last position of a tile must be
// numbers. Memory that no step has come to is never touched, so that it costs nothing.
void kv_clear(const KvLayer& kv, int64_t begin, int64_t end);

// Stores one head's key (head_dim values) and value (head_dim_v values) at a position. Values that are not
// finite become finite ones; no input is undefined behaviour.
void kv_store(const KvLayer& kv, int64_t head, int64_t position, const float* key, const float* value);

// Decode: one token. The positions are cut into chunks whose length depends on their number only (never on
// the threads), each (kv head, chunk) is worked on alone, and the partial results are combined in order.
inline constexpr int64_t kMaxChunks = 17;
int64_t chunk_length(int64_t n_positions);
size_t attend_chunk_scratch_bytes(const AttentionShape& a, int64_t n_ctx);
// Floats of a partial result of one head: largest score, sum of weights, head_dim_v sums.
inline int64_t partial_floats(int64_t head_dim_v) { return head_dim_v + 2; }
// q: the group's heads of kv head `head`, [group][head_dim]. Positions [begin, end), at least one. partial:
// per head of the group partial_floats(), heads partial_stride floats apart.
void attend_chunk(const KvLayer& kv, const AttentionShape& a, int64_t head, const float* q, int64_t begin,
                  int64_t end, float* partial, int64_t partial_stride, void* scratch);
// Combines n partials of one head, stride floats apart, into out (head_dim_v values).
void combine_partials(const float* partials, int64_t stride, int64_t n, int64_t head_dim_v, float sink,
                      float* out);

// Prefill: tokens [t0, t1) (at most attend_block_tokens) at positions n_past + t, whose keys and values are
// in the cache; n_tokens: all of the step. q: [n_tokens, n_head * head_dim], out: [n_tokens, n_head *
// head_dim_v].
int64_t attend_block_tokens(const AttentionShape& a);
size_t attend_block_scratch_bytes(const AttentionShape& a);
void attend_block(const KvLayer& kv, const AttentionShape& a, int64_t head, const float* q, int64_t t0,
                  int64_t t1, int64_t n_tokens, int64_t n_past, float* out, void* scratch);

}  // namespace nutshell
