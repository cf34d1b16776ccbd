// Scores and weighted sums are the same product: rows of 16 lanes x 2 steps times one pair of coefficients
// per query, for up to 3 queries at once (12 sums + a row + a pair fit 15 registers). Softmax is streamed
// with a running maximum (flash attention: Dao et al. 2022).
#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/simd.h"

namespace nutshell {
namespace {

constexpr int64_t kLanes = 16;
constexpr int kQueries = 3;
constexpr int64_t kBlock = 128;  // positions summed in int32
constexpr float kAnySum = std::numeric_limits<float>::max();

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// What the magnitudes of n coefficients may add up to before rounding, so that their products with codes of
// the cache stay in int32: rounding adds up to n / 2, the sum itself is known to 1e-5.
float sum_budget(int64_t n) {
  constexpr auto kMost = static_cast<float>(std::numeric_limits<int32_t>::max() / kKvCodeMax);
  return std::max(0.0f, (kMost - static_cast<float>(n) / 2 - 1) * (1 - 1e-5f));
}

// The step between codes of at most `most` whose magnitudes add up to at most `budget`, for n values (a
// multiple of 4), and its inverse. Too small for a finite inverse: both 0, so all codes are. What is not
// finite gives codes of at most `most` and a finite step.
struct CodeScale {
  float step, inverse;
};
NUTSHELL_INLINE CodeScale code_scale(const float* x, int64_t n, int32_t most, float budget) {
  V largest = splat_f32(0), sum = splat_f32(0);
  for (int64_t i = 0; i < n; i += 4) {
    const V magnitude = wasm_f32x4_abs(load(x + i));
    largest = wasm_f32x4_pmax(largest, magnitude);
    sum = wasm_f32x4_add(sum, magnitude);
  }
  const float amax = std::min(max_lanes(largest), kAnySum);
  if (!(amax > 0x1p-110f)) return {0, 0};
  const float inverse = std::min(static_cast<float>(most) / amax, budget / sum_lanes(sum));
  return {inverse > 0 ? 1.0f / inverse : 0.0f, inverse};
}

// Eight codes: adding 1.5 * 2^23 rounds to nearest even, the integer is in the low bits.
NUTSHELL_INLINE V codes_of(const float* x, V inverse, V most) {
  const V round = splat_f32(12582912.0f), bits = wasm_i32x4_splat(0x4B400000);
  const V a = wasm_i32x4_sub(wasm_f32x4_add(wasm_f32x4_mul(load(x), inverse), round), bits);
  const V b = wasm_i32x4_sub(wasm_f32x4_add(wasm_f32x4_mul(load(x + 4), inverse), round), bits);
  const V codes = wasm_i16x8_min(wasm_i16x8_narrow_i32x4(a, b), most);
  return wasm_i16x8_max(codes, wasm_i16x8_neg(most));
}

// n values (a multiple of 8) as coefficients of dot_rows; answers the step.
NUTSHELL_NOINLINE float quantize_codes(const float* x, int64_t n, float budget, int16_t* out) {
  const CodeScale scale = code_scale(x, n, 32767, budget);
  const V inverse = splat_f32(scale.inverse), limit = wasm_i16x8_splat(32767);
  for (int64_t i = 0; i < n; i += 8) wasm_v128_store(out + i, codes_of(x + i, inverse, limit));
  return scale.step;
}

// Where a product goes: out[h][16] = out[h][16] * keep[h] + up[h] * sum, heads stride floats apart; without
// keep what was there is not read.
struct RowsOut {
  float* out;
  int64_t stride;
  const float* up;
  const float* keep;
};

// sum[h][lane] = sum over n_pairs rows [16][2] of row[lane][0] * c[h][2 i] + row[lane][1] * c[h][2 i + 1];
// coefficients: H arrays of int16, c_stride apart.
template <int H>
NUTSHELL_NOINLINE void dot_rows(const int16_t* rows, int64_t n_pairs, const int16_t* coefficients,
                                int64_t c_stride, const RowsOut& to) {
  V acc[H][4];
  for (int h = 0; h < H; ++h)
    for (int j = 0; j < 4; ++j) acc[h][j] = wasm_i32x4_splat(0);
  for (int64_t i = 0; i < n_pairs; ++i, rows += 2 * kLanes, coefficients += 2) {
    V c[H];
    for (int h = 0; h < H; ++h) c[h] = splat32(coefficients + h * c_stride);
    NUTSHELL_UNROLL
    for (int j = 0; j < 4; ++j) {
      const V row = load(rows + 8 * j);
      NUTSHELL_UNROLL
      for (int h = 0; h < H; ++h) {
        acc[h][j] = wasm_i32x4_add(acc[h][j], wasm_i32x4_dot_i16x8(row, c[h]));
        NUTSHELL_PIN(acc[h][j]);
      }
    }
  }
  for (int h = 0; h < H; ++h)
    for (int j = 0; j < 4; ++j) {
      float* out = to.out + h * to.stride + 4 * j;
      V v = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(acc[h][j]), splat32(to.up + h));
      if (to.keep != nullptr) v = madd(load(out), splat32(to.keep + h), v);
      wasm_v128_store(out, v);
    }
}

void dot_rows_n(int n_queries, const int16_t* rows, int64_t n_pairs, const int16_t* coefficients,
                int64_t c_stride, const RowsOut& to) {
  if (n_queries == 3)
    dot_rows<3>(rows, n_pairs, coefficients, c_stride, to);
  else if (n_queries == 2)
    dot_rows<2>(rows, n_pairs, coefficients, c_stride, to);
  else
    dot_rows<1>(rows, n_pairs, coefficients, c_stride, to);
}

// softcap * tanh(x / softcap), tanh(u) = 1 - 2 / (e^2u + 1).
NUTSHELL_INLINE V cap_scores(V x, float softcap) {
  const V e = exp_f32x4(wasm_f32x4_mul(x, splat_f32(2.0f / softcap)));
  const V t = wasm_f32x4_sub(splat_f32(1), wasm_f32x4_div(splat_f32(2), wasm_f32x4_add(e, splat_f32(1))));
  return wasm_f32x4_mul(t, splat_f32(softcap));
}

// Scores s[0, n), n a multiple of 4: times the keys' scales, capped, -infinity outside [valid_begin,
// valid_end); their maximum.
NUTSHELL_NOINLINE float prepare_scores(float* s, int64_t n, const float* key_scales, float softcap,
                                       int64_t valid_begin, int64_t valid_end) {
  const V none = splat_f32(-std::numeric_limits<float>::infinity());
  const auto lane = [](int64_t i) { return wasm_i32x4_splat(static_cast<int32_t>(i)); };
  const V first = lane(valid_begin), last = lane(valid_end);
  V largest = none, index = wasm_i32x4_make(0, 1, 2, 3);
  for (int64_t i = 0; i < n; i += 4) {
    V v = wasm_f32x4_mul(load(s + i), load(key_scales + i));
    if (softcap > 0) v = cap_scores(v, softcap);
    const V valid = wasm_v128_and(wasm_i32x4_ge(index, first), wasm_i32x4_lt(index, last));
    v = wasm_v128_bitselect(v, none, valid);
    wasm_v128_store(s + i, v);
    largest = wasm_f32x4_pmax(largest, v);
    index = wasm_i32x4_add(index, wasm_i32x4_splat(4));
  }
  return max_lanes(largest);
}

// s = e^(s - largest) * value scale, lanes of -infinity 0; answers the sum of the exponentials alone.
NUTSHELL_NOINLINE float exponentiate(float* s, int64_t n, float largest, const float* value_scales) {
  const V m = splat_f32(largest), floor = splat_f32(-80.0f);
  V sum = splat_f32(0);
  for (int64_t i = 0; i < n; i += 4) {
    const V x = wasm_f32x4_sub(load(s + i), m);
    const V e = wasm_v128_and(exp_f32x4(x), wasm_f32x4_ge(x, floor));  // below e^-80: 0
    wasm_v128_store(s + i, wasm_f32x4_mul(e, load(value_scales + i)));
    sum = wasm_f32x4_add(sum, e);
  }
  return sum_lanes(sum);
}

int16_t* key_tile(const KvLayer& kv, int64_t head, int64_t position) {
  return kv.keys + (head * (kv.n_ctx / kLanes) + position / kLanes) * kv.head_dim * kLanes;
}
// position is even.
int16_t* value_tile(const KvLayer& kv, int64_t head, int64_t tile, int64_t position) {
  return kv.values + ((head * (kv.head_dim_v / kLanes) + tile) * kv.n_ctx + position) * kLanes;
}

}  // namespace

KvBytes kv_bytes(const KvShape& shape) {
  const auto positions = static_cast<uint64_t>(shape.n_head_kv) * static_cast<uint64_t>(shape.n_ctx);
  return {positions * static_cast<uint64_t>(shape.head_dim) * sizeof(int16_t),
          positions * static_cast<uint64_t>(shape.head_dim_v) * sizeof(int16_t), positions * sizeof(float)};
}

KvLayer kv_layer_at(void* memory, const KvShape& shape) {
  const KvBytes bytes = kv_bytes(shape);
  auto* p = static_cast<uint8_t*>(memory);
  KvLayer kv;
  kv.keys = reinterpret_cast<int16_t*>(p);
  kv.values = reinterpret_cast<int16_t*>(p += bytes.keys);
  kv.key_scales = reinterpret_cast<float*>(p += bytes.values);
  kv.value_scales = reinterpret_cast<float*>(p + bytes.scales);
  kv.n_head_kv = shape.n_head_kv;
  kv.head_dim = shape.head_dim;
  kv.head_dim_v = shape.head_dim_v;
  kv.n_ctx = shape.n_ctx;
  return kv;
}

void kv_clear(const KvLayer& kv, int64_t begin, int64_t end) {
  const auto n = static_cast<size_t>(end - begin);
  for (int64_t head = 0; head < kv.n_head_kv; ++head) {
    std::memset(key_tile(kv, head, begin), 0, n * static_cast<size_t>(kv.head_dim) * sizeof(int16_t));
    for (int64_t tile = 0; tile < kv.head_dim_v / kLanes; ++tile)
      std::memset(value_tile(kv, head, tile, begin), 0, n * kLanes * sizeof(int16_t));
    std::memset(kv.key_scales + head * kv.n_ctx + begin, 0, n * sizeof(float));
    std::memset(kv.value_scales + head * kv.n_ctx + begin, 0, n * sizeof(float));
  }
}

NUTSHELL_NOINLINE void kv_store(const KvLayer& kv, int64_t head, int64_t position, const float* key,
                                const float* value) {
  const int64_t hd = kv.head_dim, hd_v = kv.head_dim_v, at = head * kv.n_ctx + position;
  const CodeScale k = code_scale(key, hd, kKvCodeMax, kAnySum),
                  v = code_scale(value, hd_v, kKvCodeMax, kAnySum);
  const V limit = wasm_i16x8_splat(kKvCodeMax);
  kv.key_scales[at] = k.step;
  kv.value_scales[at] = v.step;
  alignas(16) int16_t codes[8];
  int16_t* keys = key_tile(kv, head, position) + position % kLanes * 2;
  for (int64_t d = 0; d < hd; d += 8) {
    wasm_v128_store(codes, codes_of(key + d, splat_f32(k.inverse), limit));
    for (int64_t i = 0; i < 8; i += 2) std::memcpy(keys + (d + i) * kLanes, codes + i, 2 * sizeof(int16_t));
  }
  for (int64_t d = 0; d < hd_v; d += 8) {
    wasm_v128_store(codes, codes_of(value + d, splat_f32(v.inverse), limit));
    int16_t* to = value_tile(kv, head, d / kLanes, position - position % 2) + d % kLanes * 2 + position % 2;
    for (int64_t i = 0; i < 8; ++i) to[2 * i] = codes[i];
  }
}

// 128 positions keep a chunk of keys in the L1 cache and give two threads work from 256 positions on; longer
// contexts use longer chunks so that combining stays cheap.
int64_t chunk_length(int64_t n_positions) {
  return std::max<int64_t>(kBlock, round_up((n_positions + kMaxChunks - 2) / (kMaxChunks - 1), kLanes));
}

namespace {

// Hands out parts of a piece of memory, each a multiple of 16 bytes; without memory it only counts.
class Parts {
 public:
  explicit Parts(void* memory) : at_(static_cast<uint8_t*>(memory)) {}
  template <typename T>
  T* take(int64_t n) {
    const auto bytes = static_cast<size_t>(round_up(n * static_cast<int64_t>(sizeof(T)), 16));
    auto* p = at_ == nullptr ? nullptr : reinterpret_cast<T*>(at_ + used_);
    used_ += bytes;
    return p;
  }
  size_t used() const { return used_; }

 private:
  uint8_t* at_;
  size_t used_ = 0;
};

// Work space of attend_chunk for n positions.
struct ChunkScratch {
  int16_t* queries;  // [group][head_dim]
  float* up;         // [group]: value of one unit of a query's scores, key scale aside
  float* scores;     // [group][n]
  int16_t* weights;  // [kQueries][kBlock]
  static ChunkScratch at(const AttentionShape& a, int64_t n, Parts&& parts, size_t* used = nullptr) {
    ChunkScratch s{parts.take<int16_t>(a.group() * a.head_dim), parts.take<float>(a.group()),
                   parts.take<float>(a.group() * n), parts.take<int16_t>(kQueries * kBlock)};
    if (used != nullptr) *used = parts.used();
    return s;
  }
};

// How many of `left` queries to work on next: as even as can be, so that none is left alone.
int next_queries(int64_t left) {
  const int64_t turns = (left + kQueries - 1) / kQueries;
  return static_cast<int>((left + turns - 1) / turns);
}

}  // namespace

size_t attend_chunk_scratch_bytes(const AttentionShape& a, int64_t n_ctx) {
  size_t used = 0;
  ChunkScratch::at(a, chunk_length(n_ctx) + 2 * kLanes, Parts(nullptr), &used);
  return used;
}

void attend_chunk(const KvLayer& kv, const AttentionShape& a, int64_t head, const float* q, int64_t begin,
                  int64_t end, float* partial, int64_t partial_stride, void* scratch) {
  const int64_t group = a.group(), hd = a.head_dim;
  const int64_t first = begin / kLanes * kLanes, n = round_up(end - first, kLanes);
  const ChunkScratch s = ChunkScratch::at(a, n, Parts(scratch));
  const int64_t at = head * kv.n_ctx + first;
  for (int64_t h = 0; h < group; ++h)
    s.up[h] = a.scale * quantize_codes(q + h * hd, hd, sum_budget(hd), s.queries + h * hd);
  for (int64_t h = 0; h < group;) {
    const int m = next_queries(group - h);
    for (int64_t p = 0; p < n; p += kLanes)
      dot_rows_n(m, key_tile(kv, head, first + p), hd / 2, s.queries + h * hd, hd,
                 {s.scores + h * n + p, n, s.up + h, nullptr});
    h += m;
  }
  for (int64_t h = 0; h < group; ++h) {
    float* out = partial + h * partial_stride;
    out[0] = prepare_scores(s.scores + h * n, n, kv.key_scales + at, a.softcap, begin - first, end - first);
    out[1] = exponentiate(s.scores + h * n, n, out[0], kv.value_scales + at);
  }
  const float keep[kQueries] = {1, 1, 1};
  for (int64_t h = 0; h < group;) {
    const int m = next_queries(group - h);
    for (int64_t p = 0; p < n; p += kBlock) {
      const int64_t block = std::min(kBlock, n - p);
      float up[kQueries];
      for (int i = 0; i < m; ++i)
        up[i] = quantize_codes(s.scores + (h + i) * n + p, block, sum_budget(block), s.weights + i * kBlock);
      for (int64_t tile = 0; tile < a.head_dim_v / kLanes; ++tile)
        dot_rows_n(
            m, value_tile(kv, head, tile, first + p), block / 2, s.weights, kBlock,
            {partial + h * partial_stride + 2 + tile * kLanes, partial_stride, up, p == 0 ? nullptr : keep});
    }
    h += m;
  }
}

NUTSHELL_NOINLINE void combine_partials(const float* partials, int64_t stride, int64_t n, int64_t head_dim_v,
                                        float sink, float* out) {
  float largest = partials[0];
  for (int64_t i = 1; i < n; ++i) largest = std::max(largest, partials[i * stride]);
  float weights[kMaxChunks], sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const V e = exp_f32x4(splat_f32(partials[i * stride] - largest));
    weights[i] = wasm_f32x4_extract_lane(e, 0);
    sum += weights[i] * partials[i * stride + 1];
  }
  sum += std::exp(sink - largest);
  for (int64_t i = 0; i < n; ++i) weights[i] /= sum;
  for (int64_t d = 0; d < head_dim_v; d += 4) {
    V acc = splat_f32(0);
    for (int64_t i = 0; i < n; ++i)
      acc = madd(load(partials + i * stride + 2 + d), splat_f32(weights[i]), acc);
    wasm_v128_store(out + d, acc);
  }
}

int64_t attend_block_tokens(const AttentionShape& a) { return std::clamp<int64_t>(48 / a.group(), 1, 16); }

namespace {

// Work space of attend_block.
struct BlockScratch {
  int16_t* queries;  // [query][head_dim]
  float* sums;       // [query][head_dim_v]
  float* up;         // [query]
  float* largest;    // [query]
  float* total;      // [query]
  float* scores;     // [kQueries][kBlock]
  int16_t* weights;  // [kQueries][kBlock]
  static BlockScratch at(const AttentionShape& a, Parts&& parts, size_t* used = nullptr) {
    const int64_t n = round_up(attend_block_tokens(a) * a.group(), kQueries);
    BlockScratch s{parts.take<int16_t>(n * a.head_dim),
                   parts.take<float>(n * a.head_dim_v),
                   parts.take<float>(n),
                   parts.take<float>(n),
                   parts.take<float>(n),
                   parts.take<float>(kQueries * kBlock),
                   parts.take<int16_t>(kQueries * kBlock)};
    if (used != nullptr) *used = parts.used();
    return s;
  }
};

// kQueries queries from `query` on against one block of n positions (a multiple of 16) from p0.
void attend_part(const KvLayer& kv, const AttentionShape& a, int64_t head, const BlockScratch& s,
                 int64_t query, int64_t p0, int64_t n, int64_t first_position, int64_t last) {
  const int64_t hd = a.head_dim, hd_v = a.head_dim_v, at = head * kv.n_ctx + p0;
  for (int64_t p = 0; p < n; p += kLanes)
    dot_rows<kQueries>(key_tile(kv, head, p0 + p), hd / 2, s.queries + query * hd, hd,
                       {s.scores + p, kBlock, s.up + query, nullptr});
  float keep[kQueries], up[kQueries];
  for (int i = 0; i < kQueries; ++i) {
    const int64_t position = first_position + (query + i) / a.group();
    float* row = s.scores + i * kBlock;
    const float block_max = prepare_scores(row, n, kv.key_scales + at, a.softcap, a.first_seen(position) - p0,
                                           (a.causal ? position + 1 : last) - p0);
    float &largest = s.largest[query + i], &total = s.total[query + i];
    const float now = std::max(largest, block_max);
    if (now == -std::numeric_limits<float>::infinity()) {  // nothing seen yet: exponentials of 0
      std::fill_n(row, n, 0.0f);
      keep[i] = 0;
    } else {
      keep[i] = std::exp(largest - now);  // 0 at first
      total = total * keep[i] + exponentiate(row, n, now, kv.value_scales + at);
    }
    largest = now;
    up[i] = quantize_codes(row, n, sum_budget(n), s.weights + i * kBlock);
  }
  for (int64_t tile = 0; tile < a.head_dim_v / kLanes; ++tile)
    dot_rows<kQueries>(value_tile(kv, head, tile, p0), n / 2, s.weights, kBlock,
                       {s.sums + query * hd_v + tile * kLanes, hd_v, up, keep});
}

}  // namespace

size_t attend_block_scratch_bytes(const AttentionShape& a) {
  size_t used = 0;
  BlockScratch::at(a, Parts(nullptr), &used);
  return used;
}

void attend_block(const KvLayer& kv, const AttentionShape& a, int64_t head, const float* q, int64_t t0,
                  int64_t t1, int64_t n_tokens, int64_t n_past, float* out, void* scratch) {
  const BlockScratch s = BlockScratch::at(a, Parts(scratch));
  const int64_t hd = a.head_dim, hd_v = a.head_dim_v, group = a.group();
  const int64_t n_queries = (t1 - t0) * group, n_padded = round_up(n_queries, kQueries);
  for (int64_t i = 0; i < n_padded; ++i) {
    s.largest[i] = -std::numeric_limits<float>::infinity();
    s.total[i] = s.up[i] = 0;
    if (i < n_queries) {
      const float* from = q + ((t0 + i / group) * a.n_head + head * group + i % group) * hd;
      s.up[i] = a.scale * quantize_codes(from, hd, sum_budget(hd), s.queries + i * hd);
    } else {
      std::fill_n(s.queries + i * hd, hd, int16_t{0});
    }
  }
  std::fill_n(s.sums, n_padded * hd_v, 0.0f);
  // Positions beyond the last query's are not looked at.
  const int64_t last = n_past + (a.causal ? t1 : n_tokens);
  for (int64_t p0 = a.first_seen(n_past + t0) / kLanes * kLanes; p0 < last; p0 += kBlock) {
    for (int64_t query = 0; query < n_padded; query += kQueries) {
      const int64_t seen = n_past + t0 + (query + kQueries - 1) / group + 1;
      const int64_t latest = a.causal ? std::min(last, seen) : last;
      if (latest > p0)
        attend_part(kv, a, head, s, query, p0, std::min(kBlock, round_up(latest - p0, kLanes)), n_past + t0,
                    last);
    }
  }
  for (int64_t i = 0; i < n_queries; ++i) {
    const int64_t h = head * group + i % group;
    const float* sums = s.sums + i * hd_v;
    float* to = out + ((t0 + i / group) * a.n_head + h) * hd_v;
    const V by = splat_f32(1.0f / (s.total[i] + std::exp(a.sink(h) - s.largest[i])));
    for (int64_t d = 0; d < hd_v; d += 4) wasm_v128_store(to + d, wasm_f32x4_mul(load(sums + d), by));
  }
}

}  // namespace nutshell
