// Scores and weighted sums are the same product: rows of 16 lanes times one coefficient per row and query,
// for up to 3 queries at once (12 sums + loads fit 15 registers). Softmax is streamed with a running maximum
// (flash attention: Dao et al. 2022), in prefill over blocks of 64 positions converted to f32 once for all
// queries.
#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/half.h"
#include "kernels/simd.h"

namespace nutshell {
namespace {

constexpr int64_t kLanes = 16;
constexpr int kQueries = 3;
constexpr int64_t kBlock = 64;  // positions per prefill block
// Raw f16 lanes are 2^-112 of their value: keys meet a query scaled by 2^80, the scores then get 2^32.
constexpr float kQueryUp = 0x1p80f, kScoreUp = 0x1p32f, kWeightUp = 0x1p112f;

template <bool kHalf>
NUTSHELL_INLINE V load_lanes(const uint8_t* p, int j, V mask) {
  if constexpr (kHalf)
    return load_f16_raw(p + 8 * j, mask);
  else
    return load(p + 16 * j);
}

// out[h][16] = out[h][16] * keep[h] (nothing when keep is null) + sum over n rows of row * coefficient[i][h].
template <int H, bool kHalf>
NUTSHELL_NOINLINE void sum_rows(const void* rows, int64_t n, const float* coefficients, const float* keep,
                                float* out, int64_t stride) {
  const V mask = f16_mask();
  V acc[H][4];
  for (int h = 0; h < H; ++h)
    for (int j = 0; j < 4; ++j)
      acc[h][j] =
          keep == nullptr ? splat_f32(0) : wasm_f32x4_mul(load(out + h * stride + 4 * j), splat32(keep + h));
  const auto* p = static_cast<const uint8_t*>(rows);
  for (int64_t i = 0; i < n; ++i, p += kHalf ? 32 : 64, coefficients += H) {
    NUTSHELL_UNROLL
    for (int j = 0; j < 4; ++j) {
      const V row = load_lanes<kHalf>(p, j, mask);
      NUTSHELL_UNROLL
      for (int h = 0; h < H; ++h) {
        acc[h][j] = madd(row, splat32(coefficients + h), acc[h][j]);
        NUTSHELL_PIN(acc[h][j]);
      }
    }
  }
  for (int h = 0; h < H; ++h)
    for (int j = 0; j < 4; ++j) wasm_v128_store(out + h * stride + 4 * j, acc[h][j]);
}

template <bool kHalf>
void sum_rows_n(int n_queries, const void* rows, int64_t n, const float* coefficients, const float* keep,
                float* out, int64_t stride) {
  if (n_queries == 3)
    sum_rows<3, kHalf>(rows, n, coefficients, keep, out, stride);
  else if (n_queries == 2)
    sum_rows<2, kHalf>(rows, n, coefficients, keep, out, stride);
  else
    sum_rows<1, kHalf>(rows, n, coefficients, keep, out, stride);
}

// softcap * tanh(x / softcap), tanh(u) = 1 - 2 / (e^2u + 1).
NUTSHELL_INLINE V cap_scores(V x, float softcap) {
  const V e = exp_f32x4(wasm_f32x4_mul(x, splat_f32(2.0f / softcap)));
  const V t = wasm_f32x4_sub(splat_f32(1), wasm_f32x4_div(splat_f32(2), wasm_f32x4_add(e, splat_f32(1))));
  return wasm_f32x4_mul(t, splat_f32(softcap));
}

// Scores s[0, n), n a multiple of 4: times up, capped, -infinity outside [valid_begin, valid_end); their
// maximum.
NUTSHELL_NOINLINE float prepare_scores(float* s, int64_t n, float up, float softcap, int64_t valid_begin,
                                       int64_t valid_end) {
  const V vup = splat_f32(up), none = splat_f32(-std::numeric_limits<float>::infinity());
  const auto lane = [](int64_t i) { return wasm_i32x4_splat(static_cast<int32_t>(i)); };
  const V first = lane(valid_begin), last = lane(valid_end);
  V largest = none, index = wasm_i32x4_make(0, 1, 2, 3);
  for (int64_t i = 0; i < n; i += 4) {
    V v = wasm_f32x4_mul(load(s + i), vup);
    if (softcap > 0) v = cap_scores(v, softcap);
    const V valid = wasm_v128_and(wasm_i32x4_ge(index, first), wasm_i32x4_lt(index, last));
    v = wasm_v128_bitselect(v, none, valid);
    wasm_v128_store(s + i, v);
    largest = wasm_f32x4_pmax(largest, v);
    index = wasm_i32x4_add(index, wasm_i32x4_splat(4));
  }
  return max_lanes(largest);
}

// s = e^(s - largest) and their sum; lanes of -infinity become 0.
NUTSHELL_NOINLINE float exponentiate(float* s, int64_t n, float largest) {
  const V m = splat_f32(largest), floor = splat_f32(-80.0f);
  V sum = splat_f32(0);
  for (int64_t i = 0; i < n; i += 4) {
    const V x = wasm_f32x4_sub(load(s + i), m);
    const V e = wasm_v128_and(exp_f32x4(x), wasm_f32x4_ge(x, floor));  // below e^-80: 0
    wasm_v128_store(s + i, e);
    sum = wasm_f32x4_add(sum, e);
  }
  return sum_lanes(sum);
}

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

const uint16_t* key_tile(const KvLayer& kv, int64_t head, int64_t position) {
  return kv.keys + (head * (kv.n_ctx / kLanes) + position / kLanes) * kv.head_dim * kLanes;
}
const uint16_t* value_tile(const KvLayer& kv, int64_t head, int64_t tile, int64_t position) {
  return kv.values + ((head * (kv.head_dim_v / kLanes) + tile) * kv.n_ctx + position) * kLanes;
}

}  // namespace

uint16_t kv_f16(float x) {
  const float magnitude = std::fabs(x);
  if (magnitude < 0x1p-14f) return magnitude < 0x1p-15f ? 0 : x < 0 ? 0x8400 : 0x0400;
  const uint16_t h = f32_to_f16(x);
  return (h & 0x7c00) == 0x7c00 ? static_cast<uint16_t>((h & 0x8000) | 0x7bff) : h;
}

NUTSHELL_NOINLINE void kv_store(const KvLayer& kv, int64_t head, int64_t position, const float* key,
                                const float* value) {
  auto* k = const_cast<uint16_t*>(key_tile(kv, head, position)) + position % kLanes;
  for (int64_t d = 0; d < kv.head_dim; ++d) k[d * kLanes] = kv_f16(key[d]);
  for (int64_t tile = 0; tile < kv.head_dim_v / kLanes; ++tile) {
    auto* v = const_cast<uint16_t*>(value_tile(kv, head, tile, position));
    for (int64_t d = 0; d < kLanes; ++d) v[d] = kv_f16(value[tile * kLanes + d]);
  }
}

// 128 positions keep a chunk of keys in the L1 cache and give two threads work from 256 positions on; longer
// contexts use longer chunks so that combining stays cheap.
int64_t chunk_length(int64_t n_positions) {
  return std::max<int64_t>(128, round_up((n_positions + kMaxChunks - 2) / (kMaxChunks - 1), kLanes));
}

size_t attend_chunk_scratch_bytes(const AttentionShape& a, int64_t n_ctx) {
  const int64_t chunk = chunk_length(n_ctx) + 2 * kLanes;
  return static_cast<size_t>(a.group() * a.head_dim + 2 * a.group() * chunk) * sizeof(float);
}

void attend_chunk(const KvLayer& kv, const AttentionShape& a, int64_t head, const float* q, int64_t begin,
                  int64_t end, float* partial, int64_t partial_stride, void* scratch) {
  const int64_t group = a.group(), hd = a.head_dim;
  const int64_t first = begin / kLanes * kLanes, n = round_up(end - first, kLanes);
  auto* turned = static_cast<float*>(scratch);  // queries, then weights, as [row][query]
  float* scores = turned + group * std::max(hd, n);
  const float up = a.scale * kQueryUp;
  for (int64_t h0 = 0; h0 < group; h0 += kQueries) {
    const int m = static_cast<int>(std::min<int64_t>(kQueries, group - h0));
    for (int64_t d = 0; d < hd; ++d)
      for (int h = 0; h < m; ++h) turned[d * m + h] = q[(h0 + h) * hd + d] * up;
    for (int64_t p = 0; p < n; p += kLanes)
      sum_rows_n<true>(m, key_tile(kv, head, first + p), hd, turned, nullptr, scores + h0 * n + p, n);
  }
  for (int64_t h = 0; h < group; ++h) {
    float* s = scores + h * n;
    float* out = partial + h * partial_stride;
    out[0] = prepare_scores(s, n, kScoreUp, a.softcap, begin - first, end - first);
    out[1] = exponentiate(s, n, out[0]);
  }
  const int64_t skip = begin - first, used = end - begin;
  for (int64_t h0 = 0; h0 < group; h0 += kQueries) {
    const int m = static_cast<int>(std::min<int64_t>(kQueries, group - h0));
    for (int64_t i = 0; i < used; ++i)
      for (int h = 0; h < m; ++h) turned[i * m + h] = scores[(h0 + h) * n + skip + i] * kWeightUp;
    for (int64_t tile = 0; tile < a.head_dim_v / kLanes; ++tile)
      sum_rows_n<true>(m, value_tile(kv, head, tile, begin), used, turned, nullptr,
                       partial + h0 * partial_stride + 2 + tile * kLanes, partial_stride);
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
  float* keys;     // [kBlock / 16][head_dim][16]
  float* values;   // [head_dim_v / 16][kBlock][16]
  float* queries;  // [part][head_dim][3]
  float* sums;     // [part][3][head_dim_v]
  float* scores;   // [3][kBlock]
  float* weights;  // [kBlock][3]
  float* largest;  // [query]
  float* total;    // [query]
  static int64_t parts(const AttentionShape& a) {
    return (attend_block_tokens(a) * a.group() + kQueries - 1) / kQueries;
  }
  static BlockScratch at(const AttentionShape& a, void* memory, size_t* floats) {
    auto* p = static_cast<float*>(memory);
    size_t used = 0;
    const auto take = [&](int64_t n) {
      float* at = p == nullptr ? nullptr : p + used;
      used += static_cast<size_t>(round_up(n, 4));
      return at;
    };
    const int64_t hd = a.head_dim, hd_v = a.head_dim_v, n = parts(a) * kQueries;
    BlockScratch s{take(kBlock * hd),       take(kBlock * hd_v),     take(n * hd), take(n * hd_v),
                   take(kQueries * kBlock), take(kQueries * kBlock), take(n),      take(n)};
    if (floats != nullptr) *floats = used;
    return s;
  }
};

NUTSHELL_NOINLINE void widen(const uint16_t* from, int64_t n, float* to) {
  const V mask = f16_mask(), up = splat_f32(0x1p112f);
  for (int64_t i = 0; i < n; i += 4)
    wasm_v128_store(to + i, wasm_f32x4_mul(load_f16_raw(from + i, mask), up));
}

// One part (3 queries) against one block of n positions from p0.
void attend_part(const AttentionShape& a, const BlockScratch& s, int64_t part, int64_t p0, int64_t n,
                 int64_t first_position) {
  const int64_t hd = a.head_dim, hd_v = a.head_dim_v, n16 = round_up(n, kLanes);
  for (int64_t p = 0; p < n16; p += kLanes)
    sum_rows<kQueries, false>(s.keys + p * hd, hd, s.queries + part * hd * kQueries, nullptr, s.scores + p,
                              kBlock);
  float keep[kQueries];
  for (int h = 0; h < kQueries; ++h) {
    const int64_t query = part * kQueries + h, position = first_position + query / a.group();
    float* row = s.scores + h * kBlock;
    const float block_max = prepare_scores(row, n16, 1.0f, a.softcap, a.first_seen(position) - p0,
                                           std::min(position + 1 - p0, n));
    const float before = s.largest[query], now = std::max(before, block_max);
    s.largest[query] = now;
    if (now == -std::numeric_limits<float>::infinity()) {  // nothing seen yet
      keep[h] = 0;
      for (int64_t i = 0; i < n; ++i) s.weights[i * kQueries + h] = 0;
      continue;
    }
    keep[h] = std::exp(before - now);  // 0 at first
    s.total[query] = s.total[query] * keep[h] + exponentiate(row, n16, now);
    for (int64_t i = 0; i < n; ++i) s.weights[i * kQueries + h] = row[i];
  }
  for (int64_t tile = 0; tile < hd_v / kLanes; ++tile)
    sum_rows<kQueries, false>(s.values + tile * kBlock * kLanes, n, s.weights, keep,
                              s.sums + part * kQueries * hd_v + tile * kLanes, hd_v);
}

}  // namespace

size_t attend_block_scratch_bytes(const AttentionShape& a) {
  size_t floats = 0;
  BlockScratch::at(a, nullptr, &floats);
  return floats * sizeof(float);
}

void attend_block(const KvLayer& kv, const AttentionShape& a, int64_t head, const float* q, int64_t t0,
                  int64_t t1, int64_t n_past, float* out, void* scratch) {
  const BlockScratch s = BlockScratch::at(a, scratch, nullptr);
  const int64_t hd = a.head_dim, hd_v = a.head_dim_v, group = a.group();
  const int64_t n_queries = (t1 - t0) * group, n_parts = (n_queries + kQueries - 1) / kQueries;
  for (int64_t i = 0; i < n_parts * kQueries; ++i) {
    const int64_t t = t0 + i / group, h = head * group + i % group;
    float* to = s.queries + i / kQueries * kQueries * hd + i % kQueries;
    for (int64_t d = 0; d < hd; ++d)
      to[d * kQueries] = i < n_queries ? q[(t * a.n_head + h) * hd + d] * a.scale : 0.0f;
    s.largest[i] = -std::numeric_limits<float>::infinity();
    s.total[i] = 0;
  }
  std::fill_n(s.sums, n_parts * kQueries * hd_v, 0.0f);
  const int64_t last = n_past + t1;  // positions beyond the last query's are not looked at
  for (int64_t p0 = a.first_seen(n_past + t0) / kLanes * kLanes; p0 < last; p0 += kBlock) {
    const int64_t n = std::min(kBlock, last - p0);
    for (int64_t p = 0; p < n; p += kLanes) widen(key_tile(kv, head, p0 + p), hd * kLanes, s.keys + p * hd);
    for (int64_t tile = 0; tile < hd_v / kLanes; ++tile)
      widen(value_tile(kv, head, tile, p0), n * kLanes, s.values + tile * kBlock * kLanes);
    for (int64_t part = 0; part < n_parts; ++part) {
      const int64_t latest = n_past + t0 + (part * kQueries + kQueries - 1) / group;
      if (latest < p0) continue;
      attend_part(a, s, part, p0, n, n_past + t0);
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
