// Placeholder until the byte-level BPE lands (delete this file then): longest match over the vocabulary.
#include <unordered_map>

#include "text/tokenizer.h"

namespace nutshell {
namespace {

class LongestMatch final : public Tokenizer {
 public:
  explicit LongestMatch(TokenizerData data) : data_(std::move(data)) {
    std::unordered_map<int, char> byte_of;
    int next = 256;
    for (int b = 0; b < 256; ++b) {
      const bool kept = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      byte_of[kept ? b : next++] = static_cast<char>(b);
    }
    for (size_t id = 0; id < data_.tokens.size(); ++id) {
      const std::string& t = data_.tokens[id];
      std::string bytes;
      for (size_t i = 0; i < t.size(); ++i) {
        int c = static_cast<unsigned char>(t[i]);
        if (c >= 0xc0 && i + 1 < t.size()) c = (c & 31) << 6 | (t[++i] & 63);
        bytes += byte_of.contains(c) ? byte_of[c] : '?';
      }
      bytes_.push_back(bytes);
      ids_.emplace(bytes, static_cast<int32_t>(id));
    }
  }
  int32_t n_vocab() const override { return static_cast<int32_t>(bytes_.size()); }
  std::vector<int32_t> encode(std::string_view text, bool) const override {
    std::vector<int32_t> out;
    while (!text.empty()) {
      size_t n = std::min<size_t>(text.size(), 32);
      while (n > 1 && !ids_.contains(std::string(text.substr(0, n)))) --n;
      if (const auto it = ids_.find(std::string(text.substr(0, n))); it != ids_.end())
        out.push_back(it->second);
      text.remove_prefix(n);
    }
    return out;
  }
  std::string token_bytes(int32_t id, bool special) const override {
    if (id < 0 || id >= n_vocab() || (!special && type(id) == TokenType::control)) return {};
    return bytes_[static_cast<size_t>(id)];
  }
  bool is_end(int32_t id) const override { return id == data_.eos || id == data_.eot; }
  TokenType type(int32_t id) const override {
    return data_.types.empty() ? TokenType::normal
                               : static_cast<TokenType>(data_.types[static_cast<size_t>(id)]);
  }

 private:
  TokenizerData data_;
  std::vector<std::string> bytes_;
  std::unordered_map<std::string, int32_t> ids_;
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> make_tokenizer(TokenizerData data) {
  return std::unique_ptr<Tokenizer>(std::make_unique<LongestMatch>(std::move(data)));
}

}  // namespace nutshell
