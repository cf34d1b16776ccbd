#include "compress/prune_vocabulary.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>

#include "compress/gguf_writer.h"
#include "engine/tokenizer_data.h"

namespace nutshell::compress {
namespace {

constexpr std::string_view kTokenizer = "tokenizer.ggml.";

TokenType type_of(const TokenizerData& data, size_t id) {
  return data.types.empty() ? TokenType::normal : static_cast<TokenType>(data.types[id]);
}

// The characters of UTF-8 text; other bytes count one by one.
size_t characters(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(),
                                           [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; }));
}

// Tokens and what they are made of, by the rules of a tokenizer's kind.
class Closure {
 public:
  explicit Closure(const TokenizerData& data) : data_(data), kept_(data.tokens.size(), false) {
    for (size_t i = 0; i < data.tokens.size(); ++i) ids_.emplace(data.tokens[i], i);
    if (data.model == "gpt2")
      for (const std::string& merge : data.merges) {
        const size_t space = merge.find(' ', 1);
        if (space == std::string::npos) continue;
        const std::string_view left(merge.data(), space), right = std::string_view(merge).substr(space + 1);
        splits_[std::string(left) + std::string(right)].push_back({left, right});
      }
  }

  void add(size_t id) {
    if (id >= kept_.size() || kept_[id]) return;
    kept_[id] = true;
    todo_.push_back(id);
  }
  void add(std::string_view token) {
    if (const auto it = ids_.find(token); it != ids_.end()) add(it->second);
  }

  // Parts of parts, too: BPE makes a token out of two others, one of which may be made of two others.
  std::vector<int32_t> finish() {
    while (!todo_.empty()) {
      const std::string& token = data_.tokens[todo_.back()];
      todo_.pop_back();
      if (data_.model == "llama") {
        for (size_t cut = 1; cut < token.size(); ++cut) {
          const std::string_view left(token.data(), cut), right = std::string_view(token).substr(cut);
          if (ids_.count(left) == 0 || ids_.count(right) == 0) continue;
          add(left);
          add(right);
        }
      } else if (const auto it = splits_.find(token); it != splits_.end()) {
        for (const auto& [left, right] : it->second) {
          add(left);
          add(right);
        }
      }
    }
    std::vector<int32_t> out;
    for (size_t i = 0; i < kept_.size(); ++i)
      if (kept_[i]) out.push_back(static_cast<int32_t>(i));
    return out;
  }

 private:
  const TokenizerData& data_;
  std::vector<bool> kept_;
  std::vector<size_t> todo_;
  std::unordered_map<std::string_view, size_t> ids_;
  std::unordered_map<std::string, std::vector<std::pair<std::string_view, std::string_view>>> splits_;
};

// What a text falls back to when its words are gone.
bool is_fallback(const TokenizerData& data, std::string_view token) {
  if (data.model == "bert") return characters(token.starts_with("##") ? token.substr(2) : token) == 1;
  if (data.model == "gpt2") return characters(token) == 1;  // stands for a byte
  return token.size() == 1 || token == "\xe2\x96\x81";      // SentencePiece has byte tokens for the rest
}

template <typename T>
std::vector<T> selected(const std::vector<T>& all, std::span<const int32_t> kept) {
  std::vector<T> out;
  for (const int32_t id : kept)
    if (static_cast<size_t>(id) < all.size()) out.push_back(all[static_cast<size_t>(id)]);
  return out;
}

// The merges whose parts and result all stay.
std::vector<std::string> selected_merges(const TokenizerData& data, std::span<const int32_t> kept) {
  std::unordered_map<std::string_view, bool> stays;
  for (const int32_t id : kept) stays[data.tokens[static_cast<size_t>(id)]] = true;
  std::vector<std::string> out;
  for (const std::string& merge : data.merges) {
    const size_t space = merge.find(' ', 1);
    if (space == std::string::npos) continue;
    const std::string left = merge.substr(0, space), right = merge.substr(space + 1);
    if (stays.count(left) != 0 && stays.count(right) != 0 && stays.count(left + right) != 0)
      out.push_back(merge);
  }
  return out;
}

Result<GgufFile> prune_metadata(const GgufFile& file, const TokenizerData& data,
                                std::span<const int32_t> kept) {
  std::vector<std::string_view> without;
  std::vector<std::pair<std::string, uint32_t>> specials;
  for (const char* key : {"tokens", "token_type", "scores", "merges"})
    for (const GgufFile::Entry& e : file.entries())
      if (e.key == std::string(kTokenizer) + key) without.push_back(e.key);
  for (const GgufFile::Entry& e : file.entries()) {
    if (e.key.ends_with(".vocab_size")) without.push_back(e.key);
    if (!e.key.starts_with(kTokenizer) || !e.key.ends_with("_token_id")) continue;
    without.push_back(e.key);
    ASSIGN_OR_RETURN(const int64_t id, file.get_i64(e.key));
    const auto at = std::lower_bound(kept.begin(), kept.end(), id);
    if (at != kept.end() && *at == id) specials.emplace_back(e.key, static_cast<uint32_t>(at - kept.begin()));
  }
  GgufWriter writer(file, without);
  const auto key = [](const char* name) { return std::string(kTokenizer) + name; };
  writer.add(key("tokens"), selected(data.tokens, kept));
  if (!data.types.empty()) writer.add(key("token_type"), selected(data.types, kept));
  if (!data.scores.empty()) writer.add(key("scores"), selected(data.scores, kept));
  if (file.has(key("merges"))) writer.add(key("merges"), selected_merges(data, kept));
  for (const auto& [name, id] : specials) writer.add(name, id);
  const std::vector<uint8_t> bytes = writer.header({});
  ASSIGN_OR_RETURN(std::optional<GgufFile> parsed, parse_gguf(bytes, bytes.size()));
  if (!parsed) return Status(ErrorCode::internal, "a header of our own does not parse");
  return std::move(*parsed);
}

// Runs of rows that stay, as pieces of the tensor.
void select_rows(TensorEntry& t, std::span<const int32_t> kept) {
  const uint64_t row = t.bytes / static_cast<uint64_t>(t.n_rows);
  std::vector<TensorPiece> pieces;
  size_t i = 0;
  int64_t begin = 0;  // of the old piece
  for (const TensorPiece& piece : t.pieces) {
    for (; i < kept.size() && kept[i] < begin + piece.n_rows; ++i) {
      const uint64_t offset = piece.offset + static_cast<uint64_t>(kept[i] - begin) * row;
      if (!pieces.empty() && pieces.back().file == piece.file &&
          pieces.back().offset + static_cast<uint64_t>(pieces.back().n_rows) * row == offset) {
        ++pieces.back().n_rows;
      } else {
        pieces.push_back({piece.file, offset, 1});
      }
    }
    begin += piece.n_rows;
  }
  t.pieces = std::move(pieces);
  t.n_rows = static_cast<int64_t>(kept.size());
  t.shape.back() = t.n_rows;
  t.bytes = row * static_cast<uint64_t>(t.n_rows);
}

}  // namespace

Result<std::vector<int32_t>> tokens_to_keep(const TokenizerData& data, std::span<const int32_t> used) {
  if (data.model != "gpt2" && data.model != "llama" && data.model != "bert")
    return Status(ErrorCode::unsupported_tokenizer,
                  "a vocabulary of the kind '" + data.model + "' cannot be pruned here");
  Closure closure(data);
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    const TokenType type = type_of(data, id);
    if ((type != TokenType::normal && type != TokenType::unused) || is_fallback(data, data.tokens[id]))
      closure.add(id);
  }
  for (const int32_t id :
       {data.bos, data.eos, data.eot, data.eom, data.unknown, data.padding, data.cls, data.separator})
    if (id >= 0) closure.add(static_cast<size_t>(id));
  for (const int32_t id : used) closure.add(static_cast<size_t>(id));
  return closure.finish();
}

double removed_probability(const SourceModel& source, std::span<const int32_t> kept,
                           const std::vector<std::span<const int32_t>>& windows, ThreadPool& pool) {
  FloatRun run(source.graph, source.weights, pool);
  double sum = 0;
  int64_t n = 0;
  for (const std::span<const int32_t> window : windows) {
    run.forward(window, false);
    Matrix& p = run.logits();
    softmax_rows(pool, p);
    for (int64_t t = 0; t + 1 < p.rows(); ++t, ++n) {
      double stays = 0;
      for (const int32_t id : kept) stays += static_cast<double>(p(t, id));
      sum += std::max(0.0, 1.0 - stays);
    }
  }
  return n > 0 ? sum / static_cast<double>(n) : 0.0;
}

Result<ModelHeader> prune_vocabulary(ModelHeader header, std::span<const int32_t> kept) {
  ASSIGN_OR_RETURN(const TokenizerData data, read_tokenizer_data(header.metadata));
  const auto n_vocab = static_cast<int64_t>(data.tokens.size());
  std::vector<std::string> names;
  for (const TensorEntry& t : header.tensors.entries()) names.push_back(t.name);
  for (const std::string& name : names) {
    TensorEntry& t = *header.tensors.find(name);
    const bool table = name == "token_embd.weight" || name == "output.weight";
    if (!table && std::count(t.shape.begin(), t.shape.end(), n_vocab) == 0) continue;
    if (!table || t.shape.size() != 2 || t.n_rows != n_vocab || t.transform != TensorTransform::none)
      return Status(ErrorCode::unsupported_architecture,
                    "the tensor '" + name + "' has values per token in a way that cannot be pruned here");
    select_rows(t, kept);
  }
  ASSIGN_OR_RETURN(header.metadata, prune_metadata(header.metadata, data, kept));
  return header;
}

}  // namespace nutshell::compress
