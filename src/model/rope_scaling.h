// Rotary position embedding: per-pair frequencies with every scaling variant models use. L4.
// Sources: RoFormer (arXiv 2104.09864); linear interpolation (2306.15595); YaRN (2309.00071), with the ramp
// and correction range as GGUF models are converted for (llama.cpp); Llama 3's factors come as a tensor and
// divide the frequencies, LongRoPE's (2402.13753) as two, for contexts up to the original one and beyond.
#pragma once

#include <span>

#include "backend/op.h"

namespace nutshell {

enum class RopeScaling : uint8_t { none, linear, yarn, longrope };

struct RopeParams {
  int64_t n_rot = 0;  // even
  double freq_base = 10000.0;
  RopeScaling scaling = RopeScaling::none;
  double factor = 1.0;       // how many times longer than the trained context; >= some small positive
  double n_ctx_orig = 0;     // trained context (YaRN)
  double attn_factor = 1.0;  // extra magnitude
  double ext_factor = 1.0;   // YaRN: 0 = plain interpolation
  double beta_fast = 32.0, beta_slow = 1.0;
  bool whole_pairs = true;  // YaRN: the ramp begins and ends at whole pairs (transformers: truncate)
};

// freq_factors: empty, or n_rot / 2 divisors (each finite and not 0, else they are ignored for that pair).
RopeSpec make_rope(const RopeParams& params, std::span<const float> freq_factors = {});

}  // namespace nutshell
