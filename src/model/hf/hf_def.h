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
  const HfDef* base = nullptr;  // its keys, tensors and translate() hold too, after one's own
  std::span<const std::string_view> activations = {};  // what hidden_act may be; anything else is refused
  bool tied = false;  // what tie_word_embeddings is where the config does not say
  // What is no mere renaming; runs after the keys, base first.
  Status (*translate)(const HfConfig& config, HfModel& out) = nullptr;
};

// Llama-like decoders: keys, tensors, rotary scaling.
extern const HfDef hf_decoder;
inline constexpr std::string_view kHfSilu[] = {"silu"};
// unsupported_architecture when the key is a number or true: for architectures whose GGUF has no window.
Status refuse_sliding_window(const HfConfig& config, std::string_view key);

}  // namespace nutshell
