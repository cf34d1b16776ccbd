// The header of a Hugging Face folder: its JSON files whole, then the length and the header of each
// safetensors file. What they mean: model/hf and hf_tokenizer.
#include <algorithm>
#include <map>

#include "engine/header_reader.h"
#include "engine/hf_tokenizer.h"
#include "model/gguf.h"
#include "model/hf/folder.h"
#include "model/hf/sentence_transformers.h"

namespace nutshell {
namespace {

constexpr std::string_view kIndex = "model.safetensors.index.json";
constexpr std::string_view kModules = "modules.json", kSentence = "sentence_bert_config.json";
constexpr uint64_t kMaxConfigBytes = 1 << 20;

// Files that are read whole, in this order, and how long they may be. Real ones: tokenizer.json up to 33 MB
// (Gemma 3), an index some MB.
constexpr struct {
  std::string_view name;
  uint64_t max_bytes;
} kTexts[] = {{"config.json", kMaxConfigBytes},   {"generation_config.json", kMaxConfigBytes},
              {kModules, kMaxConfigBytes},        {kSentence, kMaxConfigBytes},
              {"tokenizer_config.json", 8 << 20}, {"chat_template.jinja", kMaxConfigBytes},
              {"tokenizer.json", 64 << 20},       {"vocab.txt", 16 << 20},
              {"tokenizer.model", 64 << 20},      {kIndex, 32 << 20}};

class FolderFormat final : public HeaderFormat {
 public:
  explicit FolderFormat(std::vector<ModelFile> files) : files_(std::move(files)) {
    for (const auto& text : kTexts)
      if (const auto i = place_of(text.name)) {
        // These only stand in for tokenizer.json.
        const bool stands_in = text.name == "vocab.txt" || text.name == "tokenizer.model";
        if (stands_in && place_of("tokenizer.json")) continue;
        queue_.push_back({*i, text.max_bytes});
      }
    if (!place_of(kIndex)) queue_weights();
  }

  Result<std::optional<ReadRequest>> next() override {
    if (!place_of("config.json"))
      return Status(ErrorCode::missing_part,
                    "the folder lacks config.json, so nothing says what model it is");
    if (at_ == queue_.size()) return std::optional<ReadRequest>();
    const auto [file, max_bytes] = queue_[at_];
    const uint64_t size = files_[file].bytes;
    if (max_bytes > 0) {
      if (size == 0) return Status(ErrorCode::truncated, nutshell::quoted(files_[file].name) + " is empty");
      if (size > max_bytes)
        return Status(ErrorCode::limit_exceeded, nutshell::quoted(files_[file].name) + " has " +
                                                     std::to_string(size) + " bytes, the limit is " +
                                                     std::to_string(max_bytes));
      buffer_.resize(size);
      return std::optional<ReadRequest>({file, 0, size, buffer_.data()});
    }
    if (header_bytes_ > 0) {
      buffer_.resize(header_bytes_);
      return std::optional<ReadRequest>({file, kSafetensorsLengthBytes,
                                         header_bytes_ - kSafetensorsLengthBytes,
                                         buffer_.data() + kSafetensorsLengthBytes});
    }
    if (size < kSafetensorsLengthBytes)
      return Status(ErrorCode::truncated,
                    nutshell::quoted(files_[file].name) + " has only " + std::to_string(size) + " bytes");
    buffer_.resize(kSafetensorsLengthBytes);
    return std::optional<ReadRequest>({file, 0, kSafetensorsLengthBytes, buffer_.data()});
  }

  Status commit() override {
    const auto [file, max_bytes] = queue_[at_];
    const ModelFile& it = files_[file];
    if (max_bytes > 0) {
      texts_[it.name].assign(buffer_.begin(), buffer_.end());
      read_bytes_ += buffer_.size();
      used_bytes_ += it.bytes;
      ++at_;
      return it.name == kIndex ? read_index() : it.name == kModules ? read_modules() : Status();
    }
    if (header_bytes_ == 0) {
      ASSIGN_OR_RETURN(header_bytes_, safetensors_header_bytes(buffer_, it.bytes, it.name));
      return {};
    }
    HfTensorFile weights{file, it.name, {}};
    ASSIGN_OR_RETURN(weights.tensors, parse_safetensors(buffer_, it.bytes, it.name));
    weights_.push_back(std::move(weights));
    read_bytes_ += header_bytes_;
    used_bytes_ += it.bytes;
    header_bytes_ = 0;
    ++at_;
    return {};
  }

  Result<ModelHeader> take() override {
    buffer_ = {};
    RETURN_IF_ERROR(check_index());
    HfTokenizerFiles files;
    HfConfig config;
    const std::pair<std::string, HfConfig*> parsed[] = {{"config.json", &config},
                                                        {"generation_config.json", &files.generation},
                                                        {"tokenizer_config.json", &files.settings},
                                                        {"tokenizer.json", &files.tokenizer},
                                                        {std::string(kSentence), &sentence_.text},
                                                        {pooling_file_, &sentence_.pooling}};
    for (const auto& [name, into] : parsed) {
      const auto text = texts_.find(name);
      if (text == texts_.end()) continue;
      ASSIGN_OR_RETURN(nlohmann::json root, parse_json_object(text->second, name));
      *into = HfConfig(std::move(root), name);
      text->second = {};
    }
    files.vocab_txt = std::move(texts_["vocab.txt"]);
    files.sentencepiece = std::move(texts_["tokenizer.model"]);
    files.chat_template = std::move(texts_["chat_template.jinja"]);
    return assemble(config, files);
  }

 private:
  struct Item {
    uint32_t file;
    uint64_t max_bytes;  // 0: a safetensors file
  };

  std::optional<uint32_t> place_of(std::string_view name) const {
    for (size_t i = 0; i < files_.size(); ++i)
      if (files_[i].name == name) return static_cast<uint32_t>(i);
    return std::nullopt;
  }

  // Without an index: model.safetensors, or whatever weights there are.
  void queue_weights() {
    if (const auto one = place_of("model.safetensors")) return queue_.push_back({*one, 0});
    for (size_t i = 0; i < files_.size(); ++i)
      if (files_[i].name.ends_with(".safetensors")) queue_.push_back({static_cast<uint32_t>(i), 0});
  }

  // The list of modules, and the settings of the one that pools.
  Status read_modules() {
    const std::string name(kModules), key(kHfModulesKey);
    ASSIGN_OR_RETURN(nlohmann::json root, parse_json_object("{\"" + key + "\":" + texts_[name] + "}", name));
    sentence_.modules = HfConfig(std::move(root), name);
    ASSIGN_OR_RETURN(pooling_file_, pooling_file(sentence_.modules));
    if (pooling_file_.empty()) return {};
    const auto place = place_of(pooling_file_);
    if (!place)
      return {ErrorCode::missing_part,
              "the folder lacks " + nutshell::quoted(pooling_file_) + ", which says how a text is pooled"};
    queue_.insert(queue_.begin() + static_cast<std::ptrdiff_t>(at_), {*place, kMaxConfigBytes});
    return {};
  }

  // The files the index names; those that are not here are a missing part.
  Status read_index() {
    ASSIGN_OR_RETURN(nlohmann::json root,
                     parse_json_object(texts_[std::string(kIndex)], std::string(kIndex)));
    const auto map = root.find("weight_map");
    if (map == root.end() || !map->is_object() || map->empty())
      return {ErrorCode::corrupt_file, nutshell::quoted(kIndex) + " has no weight_map"};
    for (const auto& [tensor, file] : map->items()) {
      if (!file.is_string())
        return {ErrorCode::corrupt_file,
                nutshell::quoted(kIndex) + ": no file for " + nutshell::quoted(tensor)};
      index_[tensor] = file.get<std::string>();
    }
    std::map<std::string, bool> shards;
    for (const auto& [tensor, file] : index_) shards[file] = true;
    for (const auto& [file, unused] : shards) {
      const auto place = place_of(file);
      if (!place || !file.ends_with(".safetensors"))
        return {ErrorCode::missing_part, "the folder lacks " + nutshell::quoted(file) + ", one of " +
                                             std::to_string(shards.size()) + " files of its index"};
      queue_.push_back({*place, 0});
    }
    return {};
  }

  // The files hold what the index says.
  Status check_index() const {
    if (index_.empty()) return {};
    std::map<std::string_view, std::string_view> found;
    for (const HfTensorFile& file : weights_)
      for (const SafetensorsTensor& t : file.tensors) found[t.name] = file.name;
    for (const auto& [tensor, file] : index_) {
      const auto it = found.find(tensor);
      if (it == found.end() || it->second != file)
        return {ErrorCode::corrupt_file, "the index says that " + nutshell::quoted(file) +
                                             " has the tensor " + nutshell::quoted(tensor) +
                                             ", but it is not there: the files are of " + "different models"};
    }
    return {};
  }

  Result<ModelHeader> assemble(const HfConfig& config, const HfTokenizerFiles& files) {
    ModelHeader header;
    header.header_bytes = read_bytes_;
    header.file_bytes = used_bytes_;
    HfModel model;
    const Status status = translate(config, files, model, header.tensors);
    const ErrorCode code = status.code();
    if (code == ErrorCode::unsupported_architecture || code == ErrorCode::unsupported_format ||
        code == ErrorCode::unsupported_tokenizer) {
      header.problem = status;
      if (header.tensors.entries().empty()) header.tensors = index_safetensors(weights_);
    } else if (!status.ok()) {
      return status;
    }
    header.computed = std::move(model.computed);
    ASSIGN_OR_RETURN(header.metadata, model.metadata.finish());
    return header;
  }

  Status translate(const HfConfig& config, const HfTokenizerFiles& files, HfModel& model,
                   TensorIndex& tensors) {
    if (weights_.empty()) return {ErrorCode::missing_part, "the folder has no *.safetensors file"};
    const auto arch = find_hf_architecture(config);
    if (!arch.ok()) {
      ASSIGN_OR_RETURN(const std::vector<std::string> classes, config.texts("architectures"));
      if (!classes.empty()) model.metadata.add("general.architecture", classes[0]);
      return arch.status();
    }
    RETURN_IF_ERROR(translate_config(**arch, config, model));
    ASSIGN_OR_RETURN(tensors, translate_tensors(*(*arch)->hf, model.tied, weights_));
    RETURN_IF_ERROR(add_hf_tokenizer(files, config, model.metadata));
    return add_sentence_settings(sentence_, (*arch)->hf->embeds, model);
  }

  std::vector<ModelFile> files_;
  std::vector<Item> queue_;
  size_t at_ = 0;
  std::vector<uint8_t> buffer_;
  uint64_t header_bytes_ = 0;  // of the safetensors file under way, once its length is known
  uint64_t read_bytes_ = 0, used_bytes_ = 0;
  std::map<std::string, std::string, std::less<>> texts_;  // by name
  std::map<std::string, std::string> index_;               // tensor -> file
  SentenceFiles sentence_;
  std::string pooling_file_;  // its name, empty when there is none
  std::vector<HfTensorFile> weights_;
};

}  // namespace

std::unique_ptr<HeaderFormat> make_folder_format(std::vector<ModelFile> files) {
  return std::make_unique<FolderFormat>(std::move(files));
}

}  // namespace nutshell
