// The subcommands of the native tool `nutshell`, each a function from its options to a JSON answer. L6,
// native only. main.cpp parses the command line, prints the answer and chooses the exit status; nothing here
// prints but ProgressLine.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/loader.h"
#include "engine/model.h"
#include "sample/sampler.h"

namespace nutshell {

using Answer = Result<nlohmann::json>;

struct GenerateCommand {
  std::string model, prompt;
  int64_t max_tokens = 128;
  int64_t draft = 0;  // tokens guessed ahead at most
  double temperature = 0.8;
  uint64_t seed = 0;
  int threads = 0;      // 0: all cores
  int64_t context = 0;  // 0: the default
};
Answer run_generate(const GenerateCommand& command);

struct TokenizeCommand {
  std::string model, text, file;
  bool no_special = false;
};
Answer run_tokenize(const TokenizeCommand& command);

struct EmbedCommand {
  std::string model, text;
  std::string file;     // a text per line
  int threads = 0;      // 0: all cores
  int64_t context = 0;  // 0: the default
};
Answer run_embed(const EmbedCommand& command);

struct PerplexityCommand {
  std::string model, file, reference;
  int64_t context = 512;
  int64_t tokens = 0;  // 0: the whole text
  int threads = 0;
};
Answer run_perplexity(const PerplexityCommand& command);

struct CompressCommand {
  std::string model, output;
  std::string state;  // folder that stays; empty: one beside the output until that is complete
  uint64_t size = 0;  // bytes of the whole file
  double bits = 0;    // per weight, when there is no size
  double max_kl = 0;  // when there is neither
  bool data_free = false;
  std::string vocabulary = "keep";  // or a text whose tokens stay
  std::vector<std::string> calibration, evaluation;
  int64_t windows = 36, held_out = 16;
  double damp_inputs = 0, damp_outputs = 0;  // 0: the defaults
  double heal = 0;                           // minutes
  uint64_t seed = 1;
  int threads = 0;
};
Answer run_compress(const CompressCommand& command);

struct QuantizeCommand {
  std::string model, output, to;
  bool pure = false;
  int threads = 0;
};
Answer run_quantize(const QuantizeCommand& command);

Answer run_inspect(const std::string& file);

// Whole file as text; file_not_found, io_error.
Result<std::string> read_text_file(const std::string& path);
// A model's path is a GGUF file, any part of a split one, or a folder. Only the header of a model.
Result<ModelHeader> read_model_header(const std::string& path);
// Loads a model with the loader; the pool must outlive the model.
// Bytes [offset, offset + target.size()) of one of a model's files.
using ReadModel = std::function<Status(uint32_t file, uint64_t offset, std::span<uint8_t> target)>;
// The files of a model, kept open; file_not_found.
Result<ReadModel> open_model(const std::string& path);
Result<std::unique_ptr<Model>> load_model_file(const std::string& path, ThreadPool& pool,
                                               LoadOptions options);
int default_threads();

// Where a long command is, on stderr: on a terminal one line that changes, else a line every ten percent of a
// stage. Copies share it.
class ProgressLine {
 public:
  ProgressLine();
  void operator()(const std::string& stage, double done) const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace nutshell
