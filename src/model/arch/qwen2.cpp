// qwen2: Qwen 2 and 2.5 and DeepSeek-R1-Distill-Qwen. As llama, but q, k and v have biases and the rotary
// embedding pairs the halves of a head.
#include "model/decoder.h"

namespace nutshell {
namespace {

void build(GraphBuilder& g, const HParams& p, const HostTensors&) {
  build_decoder(g, p, {}, make_rope(p.rope));
}

constexpr std::string_view kClasses[] = {"Qwen2ForCausalLM"};

Status translate(const HfConfig& config, HfModel&) {
  return refuse_sliding_window(config, "use_sliding_window");
}

constexpr HfDef kHf = {
    .classes = kClasses, .base = &hf_decoder, .activations = kHfSilu, .translate = &translate};

}  // namespace

extern const ArchDef arch_qwen2 = {"qwen2", &read_common_hparams, {}, &build, &kHf};

}  // namespace nutshell
