// phi3: Phi 3, 3.5 and 4 (not the mixtures). As llama with q, k, v and gate, up in one tensor each; part of a
// head may be rotated; LongRoPE's divisors come in two tensors, for contexts up to the original one and
// beyond (arXiv 2402.13753). The window, where a file has one, is that of every layer.
#include "model/decoder.h"

namespace nutshell {
namespace {

constexpr std::string_view kShort = "rope_factors_short.weight", kLong = "rope_factors_long.weight";
constexpr std::string_view kHostTensors[] = {kShort, kLong};

Result<HParams> read(const GgufFile& file) {
  ASSIGN_OR_RETURN(HParams p, read_common_hparams(file));
  const HParamReader r(file, p.architecture);
  RETURN_IF_ERROR(r.window(0, 1, p));
  if (p.window > 0) p.windowed.assign(static_cast<size_t>(p.n_layer), true);
  return p;
}

void build(GraphBuilder& g, const HParams& p, const HostTensors& host) {
  const bool is_long = static_cast<double>(p.n_ctx) > p.rope.n_ctx_orig;
  const auto factors = host.find(std::string(is_long ? kLong : kShort));
  const std::span<const float> divisors = factors == host.end() ? std::span<const float>{} : factors->second;
  DecoderTraits traits{.rope_style = RopeStyle::half};
  traits.fused = true;
  build_decoder(g, p, traits, make_rope(p.rope, divisors));
}

}  // namespace

extern const ArchDef arch_phi3 = {"phi3", &read, kHostTensors, &build};

}  // namespace nutshell
