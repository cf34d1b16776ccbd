// phi3: Phi 3, 3.5 and 4 (not the mixtures). As llama with q, k, v and gate, up in one tensor each; part of a
// head may be rotated; LongRoPE. The window, where a file has one, is that of every layer.
#include "model/decoder.h"

namespace nutshell {
namespace {

Result<HParams> read(const GgufFile& file) {
  ASSIGN_OR_RETURN(HParams p, read_common_hparams(file));
  const HParamReader r(file, p.architecture);
  RETURN_IF_ERROR(r.window(0, 1, p));
  if (p.window > 0) p.windowed.assign(static_cast<size_t>(p.n_layer), true);
  return p;
}

void build(GraphBuilder& g, const HParams& p, const HostTensors& host) {
  build_decoder(g, p, {.layer = {.fused = true}}, make_rope(p.rope, rope_divisors(g, p, host)));
}

}  // namespace

extern const ArchDef arch_phi3 = {"phi3", &read, kRopeTensors, &build};

}  // namespace nutshell
