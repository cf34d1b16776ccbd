// A model without the tokens that nobody needs. L5. What stays: the tokens some texts use, all that is needed
// to make them (so that those texts keep their tokens), and all that is no plain text (control, user-defined,
// byte tokens, the pieces of one character that every other text falls back to). Any text can still be
// written, in more tokens than before; the model can no longer say the others. That is a loss that is the
// user's to choose.
#pragma once

#include <span>
#include <vector>

#include "compress/source.h"
#include "model/model_header.h"
#include "text/tokenizer.h"

namespace nutshell::compress {

// The tokens to keep, ascending. used: ids that texts were split into. Errors: unsupported_tokenizer (a kind
// whose way of splitting is not known here).
Result<std::vector<int32_t>> tokens_to_keep(const TokenizerData& data, std::span<const int32_t> used);

// The same model with the tokens of `kept` only, by their place in it: vocabulary, merges, special ids and
// the rows of the matrices that have one per token. Precondition: kept as tokens_to_keep gives it, of this
// header's vocabulary. Errors: unsupported_architecture naming a tensor that has a value per token in another
// way.
Result<ModelHeader> prune_vocabulary(ModelHeader header, std::span<const int32_t> kept);

// What the model loses: the probability it gives to the tokens that go, mean over all positions of the
// windows but the last. Precondition: a source with logits.
double removed_probability(const SourceModel& source, std::span<const int32_t> kept,
                           const std::vector<std::span<const int32_t>>& windows, ThreadPool& pool);

}  // namespace nutshell::compress
