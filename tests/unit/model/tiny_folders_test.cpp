// The tiny models of tests/golden/models as Hugging Face folders, written as transformers saves them
// (tests/golden/folders, made by scripts/golden/make_folders.py): the golden logits must come out, as from
// the GGUF file.
#include <doctest/doctest.h>

#include "model/arch/arch.h"
#include "support/golden.h"
#include "support/tiny_folder.h"
#include "support/tiny_model.h"

using namespace nutshell;
using namespace nutshell::test;
using nlohmann::json;

namespace {

// What no folder is read for, and why.
constexpr std::string_view kGgufOnly[] = {
    "gpt-oss",  // published in MXFP4; gate and up alternate by column
};

// The numbers of nested arithmetic progressions, outermost level first.
void expand(const json& levels, size_t level, int64_t start, std::vector<size_t>& out) {
  if (level == levels.size()) return out.push_back(static_cast<size_t>(start));
  const int64_t count = levels[level][0], step = levels[level][1];
  for (int64_t i = 0; i < count; ++i) expand(levels, level + 1, start + i * step, out);
}

// [name, shape, blocks, what is added] with the values of the GGUF tensors, one after the other.
NamedTensor saved_tensor(const json& entry, const std::vector<float>& values) {
  NamedTensor t{entry[0], "F32", entry[1].get<std::vector<uint64_t>>(), {}};
  std::vector<size_t> numbers;
  for (const json& block : entry[2]) expand(block[1], 0, block[0], numbers);
  uint64_t n = 1;
  for (const uint64_t extent : t.shape) n *= extent;
  REQUIRE(numbers.size() == n);
  const float add = entry.size() > 3 ? entry[3].get<float>() : 0.0f;
  for (const size_t number : numbers) put(t.data, values.at(number) + add);
  return t;
}

// A tokenizer of so many tokens; its texts do not matter.
json tokenizer_of(size_t n_vocab, bool word_pieces) {
  json vocabulary;
  for (size_t i = 0; i < n_vocab; ++i)
    vocabulary[word_pieces ? "w" + std::to_string(i) : byte_token(static_cast<int>(i))] = i;
  if (!word_pieces)
    return {{"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
            {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", json::array()}}}};
  json added = json::array();
  for (const char* special : {"[PAD]", "[UNK]", "[CLS]", "[SEP]"}) {
    const size_t id = added.size();
    vocabulary.erase("w" + std::to_string(id));
    vocabulary[special] = id;
    added.push_back({{"id", id}, {"content", special}, {"special", true}});
  }
  return {{"added_tokens", added},
          {"normalizer", {{"type", "BertNormalizer"}}},
          {"model", {{"type", "WordPiece"}, {"vocab", vocabulary}}}};
}

std::vector<TestFile> folder_of(const json& golden, const json& variant, const json& saved,
                                const json& config) {
  std::vector<float> values;
  for (const json& tensor : variant["tensors"]) {
    const auto more = tiny_values(tensor, golden["head"]["seed"]);
    values.insert(values.end(), more.begin(), more.end());
  }
  std::vector<NamedTensor> tensors;
  for (const json& entry : saved["tensors"]) tensors.push_back(saved_tensor(entry, values));
  if (saved.contains("unused"))
    for (const auto& [name, shape] : saved["unused"].items()) {
      uint64_t n = 1;
      for (const auto& extent : shape) n *= extent.get<uint64_t>();
      tensors.push_back({name, "F32", shape.get<std::vector<uint64_t>>(), Bytes(n * sizeof(float))});
    }
  const json tokenizer = tokenizer_of(golden["n_vocab"], golden["architecture"] == "bert");
  return {{"config.json", bytes_of(config.dump())},
          {"tokenizer.json", bytes_of(tokenizer.dump())},
          {"model.safetensors", safetensors(tensors)}};
}

// The config as transformers 4 writes it: rope_theta, rope_scaling and what some families had beside them.
json old_style(json config) {
  const json rope = config.value("rope_parameters", json::object());
  config.erase("rope_parameters");
  const json& all = rope.contains("full_attention") ? rope["full_attention"] : rope;
  if (rope.contains("sliding_attention")) {
    config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"];
    config["sliding_window_pattern"] = 6;
    config.erase("layer_types");
  }
  json scaling = json::object();
  for (const auto& [key, value] : all.items()) {
    if (key == "rope_theta" || key == "partial_rotary_factor")
      config[key] = value;
    else
      scaling[key == "rope_type" ? "type" : key] = value;
  }
  if (scaling.value("type", "default") != "default") config["rope_scaling"] = scaling;
  return config;
}

std::vector<std::vector<float>> folder_logits(ThreadPool& pool, const std::vector<TestFile>& files,
                                              const json& golden) {
  LoadOptions options = load_options(files);
  options.context_size = options.max_outputs = static_cast<int64_t>(golden["tokens"].size());
  Loader loader(pool, options);
  const Status status = feed(loader, files);
  REQUIRE_MESSAGE(status.ok(), status.message());
  const std::unique_ptr<Model> model = loader.take();
  CHECK(model->info.architecture == golden["architecture"].get<std::string>());
  CHECK(loader.done_bytes() <= loader.total_bytes());
  return run_whole(*model->backend, golden["tokens"], golden["positions"]);
}

bool gguf_only(std::string_view name) {
  for (const std::string_view each : kGgufOnly)
    if (each == name) return true;
  return false;
}

}  // namespace

TEST_CASE("tiny models: the folder that transformers writes gives the golden logits, as the GGUF file does") {
  ThreadPool pool(2);
  for (const ArchDef* arch : all_architectures()) {
    const std::string name(arch->name);
    CAPTURE(name);
    REQUIRE((arch->hf == nullptr) == gguf_only(name));
    if (arch->hf == nullptr) continue;
    const json golden = read_golden("models/" + name + ".json");
    const json folders = read_golden("folders/" + name + ".json");
    REQUIRE(folders["variants"].size() == golden["variants"].size());
    for (size_t v = 0; v < golden["variants"].size(); ++v) {
      const json &variant = golden["variants"][v], &saved = folders["variants"][v];
      const std::string variant_name = variant["name"];
      CAPTURE(variant_name);
      REQUIRE(saved["name"] == variant_name);
      const auto logits = folder_logits(pool, folder_of(golden, variant, saved, saved["config"]), golden);
      const TinyModel model = make_tiny_model(golden, variant);
      const auto backend = make_cpu_backend(pool);
      const auto n = static_cast<int64_t>(golden["tokens"].size());
      fill_backend(model, *backend, {n, n, n});
      const auto gguf = run_whole(*backend, golden["tokens"], golden["positions"]);
      for (size_t i = 0; i < logits.size(); ++i) {
        CHECK(nrmse(logits[i], variant["logits"][i]) < kTinyCpuTolerance);
        // The same weights in the same order, but for rows of q and k that GGUF permutes, norms that a folder
        // holds less 1, and latent attention: what is left is the rounding of sums and of 14-bit keys.
        CHECK(nrmse(logits[i], std::vector<double>(gguf[i].begin(), gguf[i].end())) < kTinyCpuTolerance);
      }
      CHECK(folder_logits(pool, folder_of(golden, variant, saved, old_style(saved["config"])), golden) ==
            logits);
    }
  }
}
