// Mixtures of experts as GGUF describes them: metadata, tensors, and the op they become. L4.
#pragma once

#include "model/arch/arch.h"

namespace nutshell {

// Reads the expert_* keys. n_ff of an expert: expert_feed_forward_length, or without it that of the model.
// Errors: as read_common_hparams().
Status read_experts(const GgufFile& file, HParams& p);

struct ExpertsTraits {
  Activation activation = Activation::silu;
  Router::Scores scores = Router::Scores::softmax;
  bool normalize = false;
  int64_t group_best = 2;  // experts a group counts by, where there are groups
};

// x += the mixture of layer il for f (ffn_gate_inp, ffn_{gate,up,down}_exps; biases where the file has them;
// exp_probs_b chooses but does not weigh).
void add_experts(GraphBuilder& g, const HParams& p, const ExpertsTraits& traits, int64_t il, ActId x,
                 ActId f);

}  // namespace nutshell
