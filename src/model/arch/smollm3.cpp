// smollm3: SmolLM 3. As llama; every fourth layer is not rotated (NoPE).
#include "model/decoder.h"

namespace nutshell {
namespace {

void build(GraphBuilder& g, const HParams& p, const HostTensors&) {
  build_decoder(g, p, {.layer = {.rope_style = RopeStyle::interleaved}, .no_rope_every = 4},
                make_rope(p.rope));
}

}  // namespace

extern const ArchDef arch_smollm3 = {"smollm3", &read_common_hparams, {}, &build};

}  // namespace nutshell
