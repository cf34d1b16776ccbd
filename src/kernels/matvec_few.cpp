// Loop order: superrow, slice, group of 4 rows, token: a group's codes are decoded once and stay in registers
// for all tokens; sums over slices lie in memory. Integer sums are exact in any order; what follows them is
// done in matvec's order.
#include "kernels/matvec_few.h"

#include <algorithm>

#include "kernels/dot_block.h"
#include "kernels/trellis_step.h"

namespace nutshell {
namespace {

// Rows of all tokens; where there are fewer, the last one again.
struct FewRows {
  ActRow x[kFewTokens];
  int64_t n;
};

template <typename P>
using FewSums = V[kFewTokens][P::kHalves];

// Chunks 0..3 and 4..7 of one group's slice against one row of activations.
template <typename P>
NUTSHELL_INLINE void sums_strict(const V (&low)[4], const V (&high)[4], const int16_t* words,
                                 V (&c)[P::kHalves]) {
  const V even = wasm_i16x8_splat(255);
  NUTSHELL_UNROLL
  for (int j = 0; j < 4; ++j) {
    const V t = wasm_i32x4_add(wasm_i32x4_dot_i16x8(wasm_v128_and(low[j], even), splat32(words + 4 * j)),
                               wasm_i32x4_dot_i16x8(wasm_u16x8_shr(low[j], 8), splat32(words + 4 * j + 2)));
    const V u =
        wasm_i32x4_add(wasm_i32x4_dot_i16x8(wasm_v128_and(high[j], even), splat32(words + 16 + 4 * j)),
                       wasm_i32x4_dot_i16x8(wasm_u16x8_shr(high[j], 8), splat32(words + 18 + 4 * j)));
    if constexpr (P::kHalves == 2) {
      c[0] = j == 0 ? t : wasm_i32x4_add(c[0], t);
      c[1] = j == 0 ? u : wasm_i32x4_add(c[1], u);
    } else {
      const V tu = wasm_i32x4_add(t, u);
      c[0] = j == 0 ? tu : wasm_i32x4_add(c[0], tu);
    }
  }
}

#if NUTSHELL_RELAXED
// As many chunks in int16 as dot_block.h allows, then widened.
template <typename P>
NUTSHELL_INLINE void sums_pairs(const V (&low)[4], const V (&high)[4], const int8_t* bytes, V ones,
                                V (&c)[P::kHalves]) {
  constexpr int kSteps = P::kBits == 4 ? 4 : 2;
  V t{}, u{};
  NUTSHELL_UNROLL
  for (int j = 0; j < 4; ++j) {
    const V p = relaxed_dot_pairs(splat32(bytes + 4 * j), low[j]);
    const V q = relaxed_dot_pairs(splat32(bytes + 16 + 4 * j), high[j]);
    if constexpr (P::kHalves == 2) {
      t = j % kSteps == 0 ? p : wasm_i16x8_add(t, p);
      u = j % kSteps == 0 ? q : wasm_i16x8_add(u, q);
    } else {
      const V pq = wasm_i16x8_add(p, q);
      t = j % kSteps == 0 ? pq : wasm_i16x8_add(t, pq);
    }
    if (j % kSteps != kSteps - 1) continue;
    const V wide = wasm_i32x4_dot_i16x8(t, ones);
    c[0] = j < kSteps ? wide : wasm_i32x4_add(c[0], wide);
    if constexpr (P::kHalves == 2) {
      const V wide_high = wasm_i32x4_dot_i16x8(u, ones);
      c[1] = j < kSteps ? wide_high : wasm_i32x4_add(c[1], wide_high);
    }
  }
}

template <typename P>
NUTSHELL_INLINE void sums_quads(const V (&low)[4], const V (&high)[4], const int8_t* bytes,
                                V (&c)[P::kHalves]) {
  constexpr int kHigh = P::kHalves - 1;
  for (V& v : c) v = wasm_i32x4_splat(0);
  NUTSHELL_UNROLL
  for (int j = 0; j < 4; ++j) {
    c[0] = relaxed_dot_quads(splat32(bytes + 4 * j), low[j], c[0]);
    c[kHigh] = relaxed_dot_quads(splat32(bytes + 16 + 4 * j), high[j], c[kHigh]);
  }
}

NUTSHELL_INLINE V bytes_quads(const V (&w)[8], const uint8_t* low, const uint8_t* sign) {
  V c = wasm_i32x4_splat(0), n = c;
  NUTSHELL_UNROLL
  for (int j = 0; j < 8; ++j) {
    c = relaxed_dot_quads(w[j], splat32(low + 4 * j), c);
    n = relaxed_dot_quads(w[j], splat32(sign + 4 * j), n);
  }
  return wasm_i32x4_sub(c, wasm_i32x4_shl(n, 7));
}
#endif

NUTSHELL_INLINE V bytes_strict(const V (&w)[8], const int16_t* plain) {
  V t{}, u{};
  NUTSHELL_UNROLL
  for (int j = 0; j < 8; ++j) {
    const V a = wasm_v128_load64_splat(plain + 4 * j);
    const V p = wasm_i32x4_dot_i16x8(wasm_i16x8_extend_low_i8x16(w[j]), a);
    const V q = wasm_i32x4_dot_i16x8(wasm_i16x8_extend_high_i8x16(w[j]), a);
    t = j == 0 ? p : wasm_i32x4_add(t, p);
    u = j == 0 ? q : wasm_i32x4_add(u, q);
  }
  return wasm_i32x4_add(wasm_i32x4_shuffle(t, u, 0, 2, 4, 6), wasm_i32x4_shuffle(t, u, 1, 3, 5, 7));
}

// Exact sums of slice b of every token against group g of the slice's codes, zero point taken off.
template <typename P, Dot kDot>
NUTSHELL_INLINE void few_slice(const uint8_t* codes, int g, const FewRows& rows, int64_t b,
                               const DotConstants& k, FewSums<P>& c) {
  if constexpr (P::kBits == 8) {
    V w[8];
    NUTSHELL_UNROLL
    for (int j = 0; j < 8; ++j) w[j] = load(codes + 64 * j + 16 * g);
    NUTSHELL_UNROLL
    for (int t = 0; t < kFewTokens; ++t) {
      const ActRow& x = rows.x[t];
#if NUTSHELL_RELAXED
      if constexpr (kDot == Dot::quads) {
        c[t][0] = bytes_quads(w, x.low + 32 * b, x.sign + 32 * b);
        continue;
      }
#endif
      c[t][0] = bytes_strict(w, x.plain + 32 * b);
    }
  } else {
    V low[4], high[4];
    load_codes<P, 0>(codes, g, k, low[0], high[0]);
    load_codes<P, 1>(codes, g, k, low[1], high[1]);
    load_codes<P, 2>(codes, g, k, low[2], high[2]);
    load_codes<P, 3>(codes, g, k, low[3], high[3]);
    NUTSHELL_UNROLL
    for (int t = 0; t < kFewTokens; ++t) {
      const ActRow& x = rows.x[t];
      if constexpr (kDot == Dot::strict) {
        sums_strict<P>(low, high, x.words + 32 * b, c[t]);
#if NUTSHELL_RELAXED
      } else if constexpr (kDot == Dot::pairs) {
        sums_pairs<P>(low, high, x.bytes + 32 * b, k.ones, c[t]);
      } else {
        sums_quads<P>(low, high, x.bytes + 32 * b, c[t]);
#endif
      }
      if constexpr (P::kZero != 0) {
        const int32_t* sums = x.sums + 2 * b;
        for (int h = 0; h < P::kHalves; ++h) {
          const int32_t sum = P::kHalves == 2 ? sums[h] : sums[0] + sums[1];
          c[t][h] = wasm_i32x4_sub(c[t][h], wasm_i32x4_splat(P::kZero * sum));
        }
      }
    }
  }
}

// Sums over slices: [group][token], a vector of 4 rows each.
struct Accumulators {
  alignas(16) float v[kGroups][kFewTokens][4] = {};
  NUTSHELL_INLINE V get(int g, int t) const { return load(v[g][t]); }
  NUTSHELL_INLINE void set(int g, int t, V x) { wasm_v128_store(v[g][t], x); }
};

template <typename P, Dot kDot>
NUTSHELL_NOINLINE void few_simple(const uint8_t* p, int64_t n_super, const FewRows& rows, Accumulators& acc) {
  const DotConstants k;
  const V mask = f16_mask();
  for (int64_t b = 0; b < n_super; ++b, p += P::kSuperBytes) {
    NUTSHELL_NO_UNROLL
    for (int g = 0; g < kGroups; ++g) {
      FewSums<P> c;
      few_slice<P, kDot>(p + P::kHeadBytes, g, rows, b, k, c);
      const V d = load_f16_raw(p + 8 * g, mask);
      [[maybe_unused]] const V m = P::kHasMin ? load_f16_raw(p + 32 + 8 * g, mask) : d;
      NUTSHELL_UNROLL
      for (int t = 0; t < kFewTokens; ++t) {
        const V scale = wasm_f32x4_mul(d, splat32(rows.x[t].d + b));
        V a = multiply_add<kDot>(wasm_f32x4_convert_i32x4(c[t][0]), scale, acc.get(g, t));
        if constexpr (P::kHasMin) a = multiply_add<kDot>(m, splat32(rows.x[t].s + b), a);
        acc.set(g, t, a);
      }
    }
  }
}

template <typename P, Dot kDot>
NUTSHELL_NOINLINE void few_k(const uint8_t* p, int64_t n_super, const FewRows& rows, Accumulators& acc) {
  const DotConstants k;
  const V mask = f16_mask();
  for (int64_t sb = 0; sb < n_super; ++sb, p += P::kSuperBytes) {
    Accumulators scaled, minima;
    const uint8_t* slice = p + P::kHeadBytes;
    for (int64_t b = sb * 8; b < sb * 8 + 8; ++b, slice += P::kSliceBytes) {
      NUTSHELL_NO_UNROLL
      for (int g = 0; g < kGroups; ++g) {
        FewSums<P> c;
        few_slice<P, kDot>(slice + P::kScaleBytes, g, rows, b, k, c);
        [[maybe_unused]] V first, second, minimum;
        if constexpr (P::kKind == ScaleKind::k_16) {
          const V pairs = wasm_i16x8_load8x8(slice + 8 * g);
          first = wasm_i32x4_shr(wasm_i32x4_shl(pairs, 16), 16);
          second = wasm_i32x4_shr(pairs, 16);
        } else {
          first = load_u8x4(slice + 4 * g);
          minimum = wasm_f32x4_convert_i32x4(load_u8x4(slice + 16 + 4 * g));
        }
        NUTSHELL_UNROLL
        for (int t = 0; t < kFewTokens; ++t) {
          V sum = wasm_i32x4_mul(c[t][0], first);
          if constexpr (P::kKind == ScaleKind::k_16) {
            sum = wasm_i32x4_add(sum, wasm_i32x4_mul(c[t][1], second));
          } else {
            minima.set(g, t, multiply_add<kDot>(minimum, splat32(rows.x[t].s + b), minima.get(g, t)));
          }
          scaled.set(
              g, t,
              multiply_add<kDot>(wasm_f32x4_convert_i32x4(sum), splat32(rows.x[t].d + b), scaled.get(g, t)));
        }
      }
    }
    NUTSHELL_NO_UNROLL
    for (int g = 0; g < kGroups; ++g)
      for (int t = 0; t < kFewTokens; ++t) {
        V a = multiply_add<kDot>(load_f16_raw(p + 8 * g, mask), scaled.get(g, t), acc.get(g, t));
        if constexpr (P::kHasMin)
          a = multiply_add<kDot>(load_f16_raw(p + 32 + 8 * g, mask), wasm_f32x4_neg(minima.get(g, t)), a);
        acc.set(g, t, a);
      }
  }
}

// One group of a trellis superrow over all slices; p: the group's first plane.
template <int K, Dot kDot>
NUTSHELL_NOINLINE void few_trellis_group(const uint8_t* p, int64_t n_slices, const FewRows& rows,
                                         const TrellisCode& code, int g, Accumulators& acc) {
  const TableVectors tables(code);
  const V ones = opaque(wasm_i16x8_splat(1));
  TrellisState s;
  s.start(first_plane(code, p + 64 * (K * n_slices - 1)));
  V total[kFewTokens];
  for (V& v : total) v = splat_f32(0);
  for (int64_t b = 0; b < n_slices; ++b, p += 64 * K) {
    V c[kFewTokens];
    [[maybe_unused]] V run[kFewTokens];
    for (V& v : c) v = wasm_i32x4_splat(0);
    for_steps([&]<int i>(std::integral_constant<int, i>) {
      const V w = trellis_step<K, i>(p, tables, s);
      NUTSHELL_UNROLL
      for (int t = 0; t < kFewTokens; ++t) {
        if constexpr (kDot == Dot::strict) {
          const int16_t* a = rows.x[t].words + 32 * b + 4 * i;
          c[t] = wasm_i32x4_add(
              c[t], wasm_i32x4_add(wasm_i32x4_dot_i16x8(wasm_v128_and(w, wasm_i16x8_splat(255)), splat32(a)),
                                   wasm_i32x4_dot_i16x8(wasm_u16x8_shr(w, 8), splat32(a + 2))));
#if NUTSHELL_RELAXED
        } else if constexpr (kDot == Dot::quads) {
          c[t] = relaxed_dot_quads(splat32(rows.x[t].bytes + 32 * b + 4 * i), w, c[t]);
        } else {
          constexpr int kRun = K == 2 ? 4 : 2;  // as in trellis.cpp
          const V products = relaxed_dot_pairs(splat32(rows.x[t].bytes + 32 * b + 4 * i), w);
          run[t] = i % kRun == 0 ? products : wasm_i16x8_add(run[t], products);
          if constexpr (i % kRun == kRun - 1) c[t] = wasm_i32x4_add(c[t], wasm_i32x4_dot_i16x8(run[t], ones));
#endif
        }
      }
    });
    NUTSHELL_UNROLL
    for (int t = 0; t < kFewTokens; ++t)
      total[t] = multiply_add<kDot>(wasm_f32x4_convert_i32x4(c[t]), splat32(rows.x[t].d + b), total[t]);
  }
  (void)ones;
  for (int t = 0; t < kFewTokens; ++t) acc.set(g, t, total[t]);
}

struct FewOut {
  const float* bias;
  bool accumulate;
  float* y;
  int64_t stride;
};

// finish(t, i, sum): the product of row i of the superrow with token t.
template <typename Finish>
NUTSHELL_INLINE void write_rows(const PackedMatrix& w, int64_t r, const Accumulators& acc, int64_t n_tokens,
                                const FewOut& out, Finish&& finish) {
  const int64_t row = r * kSuperrow, n = std::min<int64_t>(kSuperrow, w.n_rows - row);
  for (int64_t t = 0; t < n_tokens; ++t) {
    float* y = out.y + t * out.stride;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = w.places == nullptr ? row + i : w.places[row + i];
      float v = finish(t, i, acc.v[i / 4][t][i % 4]);
      if (out.bias != nullptr) v += out.bias[at];
      y[at] = out.accumulate ? y[at] + v : v;
    }
  }
}

template <typename P, Dot kDot>
void few_rows(const PackedMatrix& w, const FewRows& rows, const FewOut& out, int64_t begin, int64_t end) {
  const int64_t n_super = w.n_cols / P::kSuperColumns;
  for (int64_t r = begin; r < end; ++r) {
    const uint8_t* p = w.data + r * w.superrow_bytes;
    Accumulators acc;
    if constexpr (P::kIsK) {
      few_k<P, kDot>(p + kFactorBytes, n_super, rows, acc);
    } else {
      few_simple<P, kDot>(p + kFactorBytes, n_super, rows, acc);
    }
    float factor;
    std::memcpy(&factor, p, sizeof(factor));
    write_rows(w, r, acc, rows.n, out, [factor](int64_t, int64_t, float sum) { return sum * factor; });
  }
}

template <int K, Dot kDot>
void few_trellis_rows(const PackedMatrix& w, const FewRows& rows, const FewOut& out, int64_t begin,
                      int64_t end) {
  const int64_t n_slices = w.n_cols / kSlice;
  float offset[kFewTokens] = {};
  for (int t = 0; t < kFewTokens; ++t) {
    for (int64_t b = 0; b < n_slices; ++b) offset[t] += rows.x[t].s[b];
    offset[t] *= static_cast<float>(w.code->zero);
  }
  for (int64_t r = begin; r < end; ++r) {
    const uint8_t* p = w.data + r * w.superrow_bytes;
    Accumulators acc;
    for (int g = 0; g < kGroups; ++g)
      few_trellis_group<K, kDot>(p + kTrellisHeadBytes + 16 * g, n_slices, rows, *w.code, g, acc);
    write_rows(w, r, acc, rows.n, out, [&](int64_t t, int64_t i, float sum) {
      return (sum - offset[t]) * (1.0f / kActScale) * trellis_row_scale(*w.code, p, static_cast<int>(i));
    });
  }
}

}  // namespace

void matvec_few(const PackedMatrix& w, const ActRow* x, int64_t n_tokens, Dot dot, const float* bias,
                bool accumulate, float* y, int64_t y_stride, int64_t begin, int64_t end) {
  if (n_tokens == 1) return matvec(w, x[0], dot, bias, accumulate, y, begin, end);
  FewRows rows;
  rows.n = n_tokens;
  for (int64_t t = 0; t < kFewTokens; ++t) rows.x[t] = x[std::min(t, n_tokens - 1)];
  const FewOut out{bias, accumulate, y, y_stride};
  const auto with_dot = [&](auto&& run) {
#if NUTSHELL_RELAXED
    if (dot == Dot::pairs) return run(std::integral_constant<Dot, Dot::pairs>{});
    if (dot == Dot::quads) return run(std::integral_constant<Dot, Dot::quads>{});
#endif
    run(std::integral_constant<Dot, Dot::strict>{});
  };
  with_dot([&]<Dot kDot>(std::integral_constant<Dot, kDot>) {
    if (is_trellis(w.dtype))
      visit_trellis(w.dtype, [&]<int K>(std::integral_constant<int, K>) {
        few_trellis_rows<K, kDot>(w, rows, out, begin, end);
      });
    else
      visit_packed(w.dtype, [&]<DType D>(Format<D>) { few_rows<Packed<D>, kDot>(w, rows, out, begin, end); });
  });
}

}  // namespace nutshell
