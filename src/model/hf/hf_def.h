// How a Hugging Face folder names what an architecture reads by GGUF's names: one constant per architecture,
// in its own file, beside its ArchDef. L4. The folder's config becomes metadata, its tensors keep their
// bytes.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "model/metadata_builder.h"
#include "model/tensor_index.h"

namespace nutshell {

class HfConfig;

// A key of config.json and the key of the metadata, without the architecture's name in front. The value keeps
// its kind (integer, number, bool, list of numbers). Of several with the same `to` the first that is there
// counts.
struct HfKey {
  std::string_view from, to;
  bool required = true;
};

// A tensor's name in the folder and in the metadata. "{l}" is the layer; "{e}", only in `from`, the expert:
// the tensors of all experts become one, one after the other.
struct HfTensor {
  std::string_view from;
  std::string_view to;  // empty: not needed
  TensorTransform transform = TensorTransform::none;
};

// What a config is translated into.
struct HfModel {
  std::string architecture;  // GGUF's name
  MetadataBuilder metadata;
  std::unordered_map<std::string, std::vector<float>> computed;  // small tensors that are in no file
  bool tied = false;                                             // the embedding is the output matrix too

  std::string key(std::string_view suffix) const { return architecture + "." + std::string(suffix); }
};

struct HfDef {
  std::span<const std::string_view> classes = {};  // of config.json's `architectures`
  std::string_view prefix = {};                    // of tensor names, may be absent in a file: "model."
  std::span<const HfKey> keys = {};
  std::span<const HfTensor> tensors = {};
  const HfDef* base = nullptr;  // its keys, tensors and translate() hold too, where one's own say nothing
  std::span<const std::string_view> activations = {};  // what hidden_act may be; anything else is refused
  bool embeds = false;  // a model of texts' vectors; sentence_transformers.h reads how they are made
  bool tied = false;    // what tie_word_embeddings is where the config does not say
  // What is no mere renaming; runs after the keys. A base's keys find what is there already and leave it.
  Status (*translate)(const HfConfig& config, HfModel& out) = nullptr;
};

// Llama-like decoders: keys and tensors; hf_decoder also has the rotary settings, hf_gemma the norms of
// Gemma.
extern const HfDef hf_layers, hf_decoder, hf_gemma;
inline constexpr std::string_view kHfSilu[] = {"silu"};
inline constexpr std::string_view kHfGeluTanh[] = {"gelu_pytorch_tanh"};
// Where the rotary settings of layers of a type ("full_attention") stand, with a dot at the end: transformers
// 5 writes rope_parameters, some families with an object per type of layer; 4 rope_theta and rope_scaling.
std::string hf_rope_path(const HfConfig& config, const std::string& layers);
// Base and scaling of the rotary embedding of heads whose first head_dim (or partial_rotary_factor of it)
// values turn. Errors: unsupported_architecture (a scaling that is not supported), corrupt_file.
Status add_hf_rope(const HfConfig& config, int64_t head_dim, HfModel& out);
// Its key in GGUF: DeepSeek's mscale_all_dim, a tenth of it.
inline constexpr std::string_view kYarnLogMultiplierKey = "rope.scaling.yarn_log_multiplier";
// Window and which layers have it: layer_types, or every n-th has none, or neither (the family's own
// pattern).
Status add_sliding_window(const HfConfig& config, HfModel& out);
// Gemma: scores are divided by the root of the head's width, but in the size with large_layers layers by that
// of n_embd / n_head. unsupported_architecture for anything else.
Status check_attention_scalar(const HfConfig& config, int64_t large_layers);
// unsupported_architecture when the key is a number or true: for architectures whose GGUF has no window.
Status refuse_sliding_window(const HfConfig& config, std::string_view key);

}  // namespace nutshell
