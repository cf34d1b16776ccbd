// qwen3: Qwen 3, dense. As qwen2 without biases, with an RMSNorm of every query and key head before rotation.
#include "model/decoder.h"

namespace nutshell {
namespace {

void build(GraphBuilder& g, const HParams& p, const HostTensors&) {
  build_decoder(g, p, {.layer = {.qk_norm = true}}, make_rope(p.rope));
}

constexpr std::string_view kClasses[] = {"Qwen3ForCausalLM"};
constexpr HfTensor kTensors[] = {
    {"layers.{l}.self_attn.q_norm.weight", "blk.{l}.attn_q_norm.weight"},
    {"layers.{l}.self_attn.k_norm.weight", "blk.{l}.attn_k_norm.weight"},
};

Status translate(const HfConfig& config, HfModel&) {
  return refuse_sliding_window(config, "use_sliding_window");
}

constexpr HfDef kHf = {.classes = kClasses,
                       .tensors = kTensors,
                       .base = &hf_decoder,
                       .activations = kHfSilu,
                       .translate = &translate};

}  // namespace

extern const ArchDef arch_qwen3 = {"qwen3", &read_common_hparams, {}, &build, &kHf};

}  // namespace nutshell
