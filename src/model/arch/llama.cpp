// llama: Llama 1-3, SmolLM and SmolLM2, Mistral and their kin. GGUF permutes q and k so that the rotary
// embedding works on neighbouring pairs; Llama 3 brings frequency factors in rope_freqs.weight.
#include "model/decoder.h"

namespace nutshell {
namespace {

void build(GraphBuilder& g, const HParams& p, const HostTensors& host) {
  const RopeStyle style = p.rope_halves ? RopeStyle::half : RopeStyle::interleaved;
  build_decoder(g, p, {.layer = {.rope_style = style}}, make_rope(p.rope, rope_divisors(g, p, host)));
}

constexpr std::string_view kClasses[] = {"LlamaForCausalLM", "MistralForCausalLM"};

// The folder's q and k are as they were trained: halves of a head turn.
Status translate(const HfConfig& config, HfModel& out) {
  out.metadata.add(kRopeHalvesKey, true);
  return refuse_sliding_window(config, "sliding_window");
}

constexpr HfDef kHf = {
    .classes = kClasses, .base = &hf_decoder, .activations = kHfSilu, .translate = &translate};

}  // namespace

extern const ArchDef arch_llama = {"llama", &read_common_hparams, kRopeTensors, &build, &kHf};

}  // namespace nutshell
