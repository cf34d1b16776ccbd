// smollm3: SmolLM 3. As llama; every fourth layer is not rotated (NoPE).
#include "model/decoder.h"
#include "model/hf/json.h"

namespace nutshell {
namespace {

constexpr int64_t kNoRopeEvery = 4;

void build(GraphBuilder& g, const HParams& p, const HostTensors&) {
  const RopeStyle style = p.rope_halves ? RopeStyle::half : RopeStyle::interleaved;
  build_decoder(g, p, {.layer = {.rope_style = style}, .no_rope_every = kNoRopeEvery}, make_rope(p.rope));
}

constexpr std::string_view kClasses[] = {"SmolLM3ForCausalLM"};

// GGUF has no key for the layers that are not rotated: other ones than every fourth are refused.
Status translate(const HfConfig& config, HfModel& out) {
  out.metadata.add(kRopeHalvesKey, true);
  ASSIGN_OR_RETURN(const int64_t every, config.integer("no_rope_layer_interval", kNoRopeEvery));
  bool fits = every == kNoRopeEvery;
  if (config.has("no_rope_layers")) {
    ASSIGN_OR_RETURN(const std::vector<float> rotated, config.numbers("no_rope_layers"));
    for (size_t il = 0; il < rotated.size(); ++il)
      fits &= (rotated[il] != 0) == ((il + 1) % static_cast<size_t>(kNoRopeEvery) != 0);
  }
  if (!fits)
    return {ErrorCode::unsupported_architecture,
            config.file() + ": other layers without rotation than every fourth are not supported"};
  return refuse_sliding_window(config, "use_sliding_window");
}

constexpr HfDef kHf = {
    .classes = kClasses, .base = &hf_decoder, .activations = kHfSilu, .tied = true, .translate = &translate};

}  // namespace

extern const ArchDef arch_smollm3 = {"smollm3", &read_common_hparams, {}, &build, &kHf};

}  // namespace nutshell
