#include "engine/embed.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace nutshell {
namespace {

// What torch.nn.functional.normalize divides by at least.
constexpr double kSmallestNorm = 1e-12;

// The text between the first and the last token; no longer than the model reads.
Result<std::vector<int32_t>> tokens_of(const Model& model, std::string_view text, bool& truncated) {
  const int64_t most = model.hparams.max_text_tokens, n_ctx = model.extents.n_ctx;
  const int64_t limit = most > 0 ? std::min(most, n_ctx) : n_ctx;
  const std::span<const int32_t> prefix = model.tokenizer->prefix(), suffix = model.tokenizer->suffix();
  const int64_t room = limit - static_cast<int64_t>(prefix.size() + suffix.size());
  if (room < 1)
    return Status(ErrorCode::context_full,
                  "a context of " + std::to_string(limit) + " tokens leaves no room for a text");
  std::vector<int32_t> ids = model.tokenizer->encode(text, true);
  truncated = static_cast<int64_t>(ids.size()) > room;
  if (truncated) ids.resize(static_cast<size_t>(room));
  ids.insert(ids.begin(), prefix.begin(), prefix.end());
  ids.insert(ids.end(), suffix.begin(), suffix.end());
  if (ids.empty()) return Status(ErrorCode::invalid_argument, "the text has no tokens");
  return ids;
}

}  // namespace

Result<TextEmbedding> embed_text(Model& model, std::string_view text) {
  if (!model.embeds()) return Status(ErrorCode::no_embeddings, {});
  TextEmbedding out;
  ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokens_of(model, text, out.truncated));
  out.n_tokens = static_cast<int64_t>(ids.size());
  std::vector<int32_t> rows(model.hparams.pooling == Pooling::first ? 1 : ids.size());
  std::iota(rows.begin(), rows.end(), 0);
  RETURN_IF_ERROR(model.backend->run({ids, 0, rows}));

  std::vector<double> sum(static_cast<size_t>(model.hparams.n_embd));
  for (size_t r = 0; r < rows.size(); ++r) {
    const std::span<const float> row = model.backend->logits(static_cast<int64_t>(r));
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<double>(row[i]);
  }
  double divisor = static_cast<double>(rows.size());
  if (model.hparams.normalize)
    divisor = std::max(std::sqrt(std::inner_product(sum.begin(), sum.end(), sum.begin(), 0.0)),
                       kSmallestNorm * divisor);
  out.values.reserve(sum.size());
  for (const double value : sum) out.values.push_back(static_cast<float>(value / divisor));
  return out;
}

}  // namespace nutshell
