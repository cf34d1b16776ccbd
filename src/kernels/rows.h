// Element-wise and per-row kernels: normalisation, gated activation, addition, rotary embedding. L2.
#pragma once

#include <cstdint>
#include <span>

namespace nutshell {

enum class Gate : uint8_t { silu, gelu_tanh, gelu_erf, swiglu_clamped };
enum class RotaryPairs : uint8_t {
  interleaved,  // (x[2i], x[2i + 1])
  half,         // (x[i], x[i + n_rot / 2])
};

// out = in / sqrt(mean(in^2) + eps) * weight over each group of `group` values; in == out allowed. weight has
// group values. The sum of squares is formed in f32 lanes: relative error about n / 16 roundings.
void rms_norm_row(const float* in, const float* weight, int64_t width, int64_t group, float eps, float* out);

// out = (in - mean) / sqrt(variance + eps) * weight + bias (none when null); in == out allowed.
void layer_norm_row(const float* in, const float* weight, const float* bias, int64_t n, float eps,
                    float* out);

// x = cap * tanh(x / cap).
void softcap(float* x, int64_t n, float cap);

// out[i] = g(gate[i]) * up[i], or g(gate[i]) when up is null. silu(x) = x / (1 + e^-x); gelu_tanh(x) = x / (1
// + e^(-2u)) with u = sqrt(2 / pi) (x + 0.044715 x^3), which equals 0.5 x (1 + tanh u); gelu_erf(x) = 0.5 x
// (1 + erf(x / sqrt 2)), erf within 1.5e-7 (Abramowitz and Stegun 7.1.26).
// swiglu_clamped (gpt-oss) is of another form and always has up: g / (1 + e^(-1.702 g)) * (u + 1) with g =
// min(gate, 7) and u = up within -7..7. out may be gate.
void gated_activation(Gate g, const float* gate, const float* up, int64_t n, float* out);

// out = a + b; out may be a or b.
void add(const float* a, const float* b, int64_t n, float* out);

// out = in * by; out may be in.
void scale(const float* in, float by, int64_t n, float* out);

// Cosines and sines of one position: table[i] = cos * magnitude for pair i, table[n + i] = sin *
// magnitude, n = inv_freq.size(). Angles in double: at position 131072 an f32 angle would be off by 0.008.
void rope_table(std::span<const double> inv_freq, float magnitude, int64_t position, float* table);
// Rotates the first n_rot values of every head of a row in place.
void rope_row(RotaryPairs pairs, const float* table, int64_t n_rot, int64_t n_head, int64_t head_dim,
              float* x);

}  // namespace nutshell
