// Runs a Graph with the double-precision kernels of kernels/reference.h: what every back end is compared
// with. Next to each value it carries a bound on the error an f32 implementation with 8-bit activations, when
// the weight's format has integer kernels, may have relative to this runner (which uses the same rounded
// activations).
#pragma once

#include <map>
#include <vector>

#include "backend/backend.h"
#include "kernels/reference.h"

namespace nutshell::test {

struct HostWeight {
  WeightSpec spec;
  std::vector<uint8_t> bytes;  // file format
  std::vector<float> values;   // decoded
};

class ReferenceRunner {
 public:
  ReferenceRunner(const Graph& graph, const std::vector<HostWeight>& weights) : g_(graph), w_(weights) {
    for (const KvSpec& kv : graph.kv_layers) {
      (void)kv;
      keys_.emplace_back();
      values_.emplace_back();
    }
  }
  // Rows of the logits.
  std::vector<reference::Row> run(const Step& step);

 private:
  using Rows = std::vector<reference::Row>;
  void apply(const Op& op, const Step& step);
  void attend(const AttentionOp& o, const Step& step);
  void route_and_mix(const ExpertsOp& o);
  void convolve(const ShortConvOp& o, const Step& step);
  reference::Row product(WeightId id, int64_t slice, const reference::Row& x, WeightId bias);
  Rows& at(ActId id) { return acts_[id]; }

  const Graph& g_;
  const std::vector<HostWeight>& w_;
  std::map<ActId, Rows> acts_;
  std::vector<Rows> keys_, values_;
  std::map<int32_t, Rows> convolved_;  // y of every position, by conv layer
};

}  // namespace nutshell::test
