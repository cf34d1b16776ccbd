// Weights are decoded once per 128 tokens, 8 rows at a time, into a panel of bytes (or int16, strict) with
// f32 scales; then a register tile of 8 rows x 4 tokens runs over all slices of the panel. 8 integer sums + 2
// weight vectors + 1 activation fit the 15 vector registers V8 has on x86; 16 rows x 4 tokens spill.
// Loop order: token block, 8 rows, tile of 4 tokens, slice: the panel (K bytes x 8) stays in L1/L2.
#include "kernels/matmul.h"

#include <algorithm>
#include <cstring>

#include "kernels/dot_block.h"
#include "kernels/trellis_step.h"

namespace nutshell {
namespace {

constexpr int kPanelGroups = 2;  // vectors of 4 rows
constexpr int kPanelRows = 4 * kPanelGroups;
constexpr int64_t kTokenBlock = 128;

// Codes: [slice][chunk 8][group 2][16 bytes], or as int16 [slice][chunk 8][pair 2][group 2][8].
// Scales: [slice][half][group 2][4].
struct Panel {
  uint8_t* codes;
  float* d;
  float* m;
};

// Which panel and tile a format uses: int16 words for the strict form and for signed bytes.
template <typename P>
constexpr bool uses_words(Dot dot) {
  return dot == Dot::strict || P::kBits == 8;
}

size_t panel_code_bytes(int64_t n_cols) { return static_cast<size_t>(n_cols) * kPanelRows * 2; }

Panel panel_at(void* scratch, int64_t n_cols) {
  auto* p = static_cast<uint8_t*>(scratch);
  Panel panel;
  panel.codes = p;
  panel.d = reinterpret_cast<float*>(p + panel_code_bytes(n_cols));
  panel.m = panel.d + n_cols / kSlice * 2 * kPanelRows;
  return panel;
}

NUTSHELL_INLINE void store_words(uint8_t* to, V even, V odd) {
  wasm_v128_store(to, even);
  wasm_v128_store(to + kPanelGroups * 16, odd);
}

template <typename P, bool kWords, int j>
NUTSHELL_INLINE void unpack_step(const uint8_t* codes, int g, const DotConstants& k, uint8_t* out, int to_g) {
  V low, high;
  load_codes<P, j>(codes, g, k, low, high);
  if constexpr (kWords) {
    constexpr int kChunk = 2 * kPanelGroups * 16;
    const V even = wasm_i16x8_splat(255);
    store_words(out + j * kChunk + to_g * 16, wasm_v128_and(low, even), wasm_u16x8_shr(low, 8));
    store_words(out + (4 + j) * kChunk + to_g * 16, wasm_v128_and(high, even), wasm_u16x8_shr(high, 8));
  } else {
    constexpr int kChunk = kPanelGroups * 16;
    wasm_v128_store(out + j * kChunk + to_g * 16, low);
    wasm_v128_store(out + (4 + j) * kChunk + to_g * 16, high);
  }
}

template <typename P, bool kWords>
NUTSHELL_INLINE void unpack_codes(const uint8_t* codes, int g, const DotConstants& k, uint8_t* out,
                                  int to_g) {
  if constexpr (P::kBits == 8) {
    constexpr int kChunk = 2 * kPanelGroups * 16;
    for (int c = 0; c < 8; ++c) {
      const V w = load(codes + 64 * c + 16 * g);
      store_words(out + c * kChunk + to_g * 16, wasm_i16x8_shr(wasm_i16x8_shl(w, 8), 8),
                  wasm_i16x8_shr(w, 8));
    }
  } else {
    unpack_step<P, kWords, 0>(codes, g, k, out, to_g);
    unpack_step<P, kWords, 1>(codes, g, k, out, to_g);
    unpack_step<P, kWords, 2>(codes, g, k, out, to_g);
    unpack_step<P, kWords, 3>(codes, g, k, out, to_g);
  }
}

// f32 scale and offset (value = d code + m) of slice b in the super-block at super, group g.
template <typename P>
NUTSHELL_INLINE void unpack_scales(const uint8_t* super, const uint8_t* slice, int g, V up, V mask,
                                   float* d_out, float* m_out) {
  const V d = wasm_f32x4_mul(load_f16_raw(super + 8 * g, mask), up);
  const V zero = splat_f32(-static_cast<float>(P::kZero));
  const auto bytes = [](const uint8_t* p) { return wasm_f32x4_convert_i32x4(load_u8x4(p)); };
  if constexpr (P::kKind == ScaleKind::k_16) {
    const V pairs = wasm_i16x8_load8x8(slice + 8 * g);
    const V d0 = wasm_f32x4_mul(d, wasm_f32x4_convert_i32x4(wasm_i32x4_shr(wasm_i32x4_shl(pairs, 16), 16)));
    const V d1 = wasm_f32x4_mul(d, wasm_f32x4_convert_i32x4(wasm_i32x4_shr(pairs, 16)));
    wasm_v128_store(d_out, d0);
    wasm_v128_store(d_out + kPanelRows, d1);
    wasm_v128_store(m_out, wasm_f32x4_mul(d0, zero));
    wasm_v128_store(m_out + kPanelRows, wasm_f32x4_mul(d1, zero));
  } else if constexpr (P::kKind == ScaleKind::k_min) {
    const V m = wasm_f32x4_mul(load_f16_raw(super + 32 + 8 * g, mask), up);
    wasm_v128_store(d_out, wasm_f32x4_mul(d, bytes(slice + 4 * g)));
    wasm_v128_store(m_out, wasm_f32x4_neg(wasm_f32x4_mul(m, bytes(slice + 16 + 4 * g))));
  } else {
    wasm_v128_store(d_out, d);
    if constexpr (P::kKind == ScaleKind::d_min) {
      wasm_v128_store(m_out, wasm_f32x4_mul(load_f16_raw(super + 32 + 8 * g, mask), up));
    } else {
      wasm_v128_store(m_out, wasm_f32x4_mul(d, zero));
    }
  }
}

// Rows 8 half .. 8 half + 7 of the superrow at p.
template <typename P, bool kWords>
NUTSHELL_NOINLINE void unpack_panel(const uint8_t* p, int64_t n_cols, int half, const Panel& panel) {
  const DotConstants k;
  const V mask = f16_mask(), up = wasm_f32x4_mul(splat32(p), splat_f32(0x1p80f));
  uint8_t* codes = panel.codes;
  float *d = panel.d, *m = panel.m;
  const uint8_t* super = p + kFactorBytes;
  for (int64_t sb = 0; sb < n_cols / P::kSuperColumns; ++sb, super += P::kSuperBytes) {
    const uint8_t* slice = super + P::kHeadBytes;
    for (int b = 0; b < P::kBlocksPerSuper; ++b, slice += P::kSliceBytes) {
      for (int g = 0; g < kPanelGroups; ++g) {
        const int from = half * kPanelGroups + g;
        unpack_codes<P, kWords>(slice + P::kScaleBytes, from, k, codes, g);
        unpack_scales<P>(super, slice, from, up, mask, d + 4 * g, m + 4 * g);
      }
      codes += kSlice * kPanelRows * (kWords ? 2 : 1);
      d += P::kHalves * kPanelRows;
      m += P::kHalves * kPanelRows;
    }
  }
}

// The same for a trellis superrow: one scale per row, repeated for every slice.
template <typename P, bool kWords>
NUTSHELL_NOINLINE void unpack_trellis(const PackedMatrix& w, const uint8_t* p, int half, const Panel& panel) {
  const TableVectors tables(*w.code);
  TrellisState s[kPanelGroups];
  alignas(16) float d[kPanelRows], m[kPanelRows];
  for (int r = 0; r < kPanelRows; ++r) {
    d[r] = trellis_row_scale(*w.code, p, kPanelRows * half + r);
    m[r] = -static_cast<float>(w.code->zero) * d[r];
  }
  const uint8_t* slice = p + kTrellisHeadBytes + 16 * kPanelGroups * half;
  for (int g = 0; g < kPanelGroups; ++g)
    s[g].start(first_plane(*w.code, slice + 64 * (P::kTrellisBits * (w.n_cols / kSlice) - 1) + 16 * g));
  uint8_t* codes = panel.codes;
  for (int64_t b = 0; b < w.n_cols / kSlice; ++b, slice += 64 * P::kTrellisBits) {
    for_steps([&]<int t>(std::integral_constant<int, t>) {
      for (int g = 0; g < kPanelGroups; ++g) {
        const V v = trellis_step<P::kTrellisBits, t>(slice + 16 * g, tables, s[g]);
        if constexpr (kWords) {
          store_words(codes + t * 2 * kPanelGroups * 16 + g * 16, wasm_v128_and(v, wasm_i16x8_splat(255)),
                      wasm_u16x8_shr(v, 8));
        } else {
          wasm_v128_store(codes + t * kPanelGroups * 16 + g * 16, v);
        }
      }
    });
    codes += kSlice * kPanelRows * (kWords ? 2 : 1);
    std::memcpy(panel.d + b * kPanelRows, d, sizeof(d));
    std::memcpy(panel.m + b * kPanelRows, m, sizeof(m));
  }
}

using TileSums = V[kPanelGroups][kTileTokens];

// n chunks of int16 products.
template <int n>
NUTSHELL_INLINE void tile_words(const uint8_t* w, const int16_t* a, TileSums& c) {
  NUTSHELL_UNROLL
  for (int k = 0; k < 2 * n; ++k) {
    V wv[kPanelGroups];
    for (int g = 0; g < kPanelGroups; ++g) wv[g] = load(w + (k * kPanelGroups + g) * 16);
    NUTSHELL_UNROLL
    for (int t = 0; t < kTileTokens; ++t) {
      const V x = splat32(a + (k * kTileTokens + t) * 2);
      for (int g = 0; g < kPanelGroups; ++g) {
        const V r = wasm_i32x4_dot_i16x8(wv[g], x);
        c[g][t] = k == 0 ? r : wasm_i32x4_add(c[g][t], r);
        NUTSHELL_PIN(c[g][t]);
      }
    }
  }
}

#if NUTSHELL_RELAXED
template <int n, bool kQuads>
NUTSHELL_INLINE void tile_bytes_run(const uint8_t* w, const int8_t* a, TileSums& c) {
  NUTSHELL_UNROLL
  for (int k = 0; k < n; ++k) {
    V wv[kPanelGroups];
    for (int g = 0; g < kPanelGroups; ++g) wv[g] = load(w + (k * kPanelGroups + g) * 16);
    NUTSHELL_UNROLL
    for (int t = 0; t < kTileTokens; ++t) {
      const V x = splat32(a + (k * kTileTokens + t) * 4);
      for (int g = 0; g < kPanelGroups; ++g) {
        if constexpr (kQuads) {
          c[g][t] = relaxed_dot_quads(x, wv[g], c[g][t]);
        } else {
          const V r = relaxed_dot_pairs(x, wv[g]);
          c[g][t] = k == 0 ? r : wasm_i16x8_add(c[g][t], r);
        }
        NUTSHELL_PIN(c[g][t]);
      }
    }
  }
}

// n chunks; kRun of them may be summed in int16 (dot_block.h).
template <int n, int kRun, Dot kDot>
NUTSHELL_INLINE void tile_bytes(const uint8_t* w, const int8_t* a, const DotConstants& k, TileSums& c) {
  if constexpr (kDot == Dot::quads) {
    for (int g = 0; g < kPanelGroups; ++g)
      for (int t = 0; t < kTileTokens; ++t) c[g][t] = wasm_i32x4_splat(0);
    tile_bytes_run<n, true>(w, a, c);
  } else {
    for (int i = 0; i < n / kRun; ++i) {
      TileSums part;
      tile_bytes_run<kRun, false>(w + i * kRun * kPanelGroups * 16, a + i * kRun * kTileTokens * 4, part);
      for (int g = 0; g < kPanelGroups; ++g)
        for (int t = 0; t < kTileTokens; ++t) {
          const V wide = wasm_i32x4_dot_i16x8(part[g][t], k.ones);
          c[g][t] = i == 0 ? wide : wasm_i32x4_add(c[g][t], wide);
        }
    }
  }
}
#endif

// 8 rows x 4 tokens over all slices; out: [token 4][row 8].
template <typename P, Dot kDot>
NUTSHELL_NOINLINE void tile(const Panel& panel, const ActTiles& x, int64_t index, float* out) {
  constexpr bool kWords = uses_words<P>(kDot);
  constexpr int kChunks = 8 / P::kHalves;
  const int64_t n_slices = x.n_cols / kSlice;
  const DotConstants k;
  V acc[kPanelGroups][kTileTokens];
  for (int g = 0; g < kPanelGroups; ++g)
    for (int t = 0; t < kTileTokens; ++t) acc[g][t] = splat_f32(0);
  const uint8_t* w = panel.codes;
  const float *pd = panel.d, *pm = panel.m;
  [[maybe_unused]] const int8_t* bytes = x.bytes + index * n_slices * 128;
  const int16_t* words = x.words + index * n_slices * 128;
  const float *d = x.d + index * n_slices * 4, *s = x.s + index * n_slices * 8;
  for (int64_t b = 0; b < n_slices; ++b, d += 4, s += 8) {
    for (int h = 0; h < P::kHalves; ++h) {
      TileSums c;
      if constexpr (kWords) {
        tile_words<kChunks>(w, words, c);
#if NUTSHELL_RELAXED
      } else {
        tile_bytes<kChunks, (P::kBits == 4 ? 8 : P::kBits == 5 ? 4 : 2), kDot>(w, bytes, k, c);
#endif
      }
      w += kChunks * kPanelGroups * 16 * (kWords ? 2 : 1);
      bytes += kChunks * kTileTokens * 4;
      words += kChunks * kTileTokens * 4;
      V dv[kPanelGroups], mv[kPanelGroups];
      for (int g = 0; g < kPanelGroups; ++g) {
        dv[g] = load(pd + 4 * g);
        mv[g] = load(pm + 4 * g);
      }
      pd += kPanelRows;
      pm += kPanelRows;
      NUTSHELL_UNROLL
      for (int t = 0; t < kTileTokens; ++t) {
        const V dx = splat32(d + t);
        for (int g = 0; g < kPanelGroups; ++g)
          acc[g][t] = madd(wasm_f32x4_convert_i32x4(c[g][t]), wasm_f32x4_mul(dv[g], dx), acc[g][t]);
        if constexpr (P::kHasMin || P::kZero != 0) {
          const V sx =
              P::kHalves == 2 ? splat32(s + 4 * h + t) : wasm_f32x4_add(splat32(s + t), splat32(s + 4 + t));
          for (int g = 0; g < kPanelGroups; ++g) acc[g][t] = madd(mv[g], sx, acc[g][t]);
        }
      }
    }
  }
  for (int t = 0; t < kTileTokens; ++t)
    for (int g = 0; g < kPanelGroups; ++g) wasm_v128_store(out + t * kPanelRows + 4 * g, acc[g][t]);
}

NUTSHELL_INLINE void write_tile(const float* tile, int64_t n_tokens, int64_t n_rows, int64_t t0, int64_t row,
                                const int32_t* places, const MatmulOut& out) {
  for (int64_t t = 0; t < n_tokens; ++t, tile += kPanelRows) {
    float* y = out.y + (t0 + t) * out.stride;
    if (places == nullptr && n_rows == kPanelRows) {
      y += row;
      V v0 = load(tile), v1 = load(tile + 4);
      if (out.bias != nullptr) {
        v0 = wasm_f32x4_add(v0, load(out.bias + row));
        v1 = wasm_f32x4_add(v1, load(out.bias + row + 4));
      }
      if (out.accumulate) {
        v0 = wasm_f32x4_add(load(y), v0);
        v1 = wasm_f32x4_add(load(y + 4), v1);
      }
      wasm_v128_store(y, v0);
      wasm_v128_store(y + 4, v1);
      continue;
    }
    for (int64_t i = 0; i < n_rows; ++i) {
      const int64_t at = places == nullptr ? row + i : places[row + i];
      const float v = tile[i] + (out.bias != nullptr ? out.bias[at] : 0.0f);
      y[at] = out.accumulate ? y[at] + v : v;
    }
  }
}

template <typename P, Dot kDot>
void matmul_rows(const PackedMatrix& w, const ActTiles& x, int64_t n_tokens, const MatmulOut& out,
                 int64_t begin, int64_t end, void* scratch) {
  const Panel panel = panel_at(scratch, w.n_cols);
  for (int64_t t0 = 0; t0 < n_tokens; t0 += kTokenBlock) {
    const int64_t t1 = std::min(n_tokens, t0 + kTokenBlock);
    for (int64_t row = begin * kSuperrow; row < end * kSuperrow; row += kPanelRows) {
      const int64_t n_rows = std::min<int64_t>(kPanelRows, w.n_rows - row);
      if (n_rows <= 0) break;
      const uint8_t* p = w.data + row / kSuperrow * w.superrow_bytes;
      const auto half = static_cast<int>(row % kSuperrow / kPanelRows);
      if constexpr (requires { P::kTrellisBits; }) {
        unpack_trellis<P, uses_words<P>(kDot)>(w, p, half, panel);
      } else {
        unpack_panel<P, uses_words<P>(kDot)>(p, w.n_cols, half, panel);
      }
      for (int64_t t = t0; t < t1; t += kTileTokens) {
        alignas(16) float result[kTileTokens * kPanelRows];
        tile<P, kDot>(panel, x, t / kTileTokens, result);
        write_tile(result, std::min<int64_t>(kTileTokens, t1 - t), n_rows, t, row, w.places, out);
      }
    }
  }
}

}  // namespace

int matmul_forms(DType dtype, Dot dot) {
  if (is_trellis(dtype)) return dot == Dot::strict ? kActWords : kActBytes;
  int forms = 0;
  visit_packed(dtype,
               [&]<DType D>(Format<D>) { forms = uses_words<Packed<D>>(dot) ? kActWords : kActBytes; });
  return forms;
}

size_t matmul_scratch_bytes(DType, int64_t n_cols) {
  return panel_code_bytes(n_cols) + static_cast<size_t>(n_cols / kSlice) * 2 * kPanelRows * 2 * sizeof(float);
}

void matmul(const PackedMatrix& w, const ActTiles& x, int64_t n_tokens, Dot dot, const MatmulOut& out,
            int64_t begin, int64_t end, void* scratch) {
  const auto run = [&]<typename P>(P) {
#if NUTSHELL_RELAXED
    if (dot == Dot::pairs) return matmul_rows<P, Dot::pairs>(w, x, n_tokens, out, begin, end, scratch);
    if (dot == Dot::quads) return matmul_rows<P, Dot::quads>(w, x, n_tokens, out, begin, end, scratch);
#endif
    (void)dot;
    matmul_rows<P, Dot::strict>(w, x, n_tokens, out, begin, end, scratch);
  };
  if (is_trellis(w.dtype))
    visit_trellis(w.dtype, [&]<int K>(std::integral_constant<int, K>) { run(PackedTrellis<K>{}); });
  else
    visit_packed(w.dtype, [&]<DType D>(Format<D>) { run(Packed<D>{}); });
}

}  // namespace nutshell
