// qwen3: Qwen 3, dense. As qwen2 without biases, with an RMSNorm of every query and key head before rotation.
#include "model/decoder.h"

namespace nutshell {
namespace {

void build(GraphBuilder& g, const HParams& p, const HostTensors&) {
  build_decoder(g, p, {.rope_style = RopeStyle::half, .qk_norm = true}, make_rope(p.rope));
}

}  // namespace

extern const ArchDef arch_qwen3 = {"qwen3", &read_common_hparams, {}, &build};

}  // namespace nutshell
