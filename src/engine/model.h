// A model that is ready to run: what the loader makes and sessions use. L5.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "backend/backend.h"
#include "model/hparams.h"
#include "text/tokenizer.h"

namespace nutshell {

struct ModelInfo {
  std::string name;  // general.name, or what the caller called the file
  std::string architecture;
  uint64_t parameters = 0;  // values in all tensors
  uint64_t file_bytes = 0;  // of all its files
  int64_t n_ctx_train = 0;
  std::optional<std::string> chat_template;  // Jinja source
};

// Tokens the outside needs by text (chat templates); -1 and empty when there is none.
struct SpecialTokens {
  int32_t bos = -1, eos = -1, eot = -1;
  bool add_bos = false;
};

struct Model {
  ModelInfo info;
  HParams hparams;
  SpecialTokens special;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Backend> backend;
  Extents extents;
  MemoryNeeds needs;

  // Whether it turns texts into vectors (embed.h) instead of writing text (session.h).
  bool embeds() const { return hparams.pooling != Pooling::none; }
};

}  // namespace nutshell
