// The chain of stages, the draw and the log-probability. L4; the stages are the other files of this folder.
#include "sample/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/rng.h"
#include "sample/exp.h"
#include "sample/stage.h"

namespace nutshell {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::string number(double value) {
  std::string text = std::to_string(value);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

struct OptionRange {
  const char* name;
  double value, low, high;
  bool low_excluded;
};

Status check_range(const OptionRange& o) {
  const bool in =
      o.value <= o.high && (o.low_excluded ? o.value > o.low : o.value >= o.low);  // false for NaN
  if (in) return {};
  return {ErrorCode::invalid_argument, std::string(o.name) + " is " + number(o.value) + ", allowed is " +
                                           (o.low_excluded ? "more than " : "") + number(o.low) + " to " +
                                           number(o.high)};
}

// Natural log of the softmax probability of one logit. NaN counts as -infinity.
double log_probability(std::span<const float> logits, size_t id) {
  double max_logit = -kInfinity;
  for (float logit : logits) max_logit = std::max(max_logit, std::isnan(logit) ? -kInfinity : double{logit});
  double sums[4] = {};  // fixed lanes: one order of summation whether or not the compiler vectorises
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!std::isnan(logits[i])) sums[i % 4] += softmax_weight(logits[i], max_logit);
  }
  const double sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  const double difference = logits[id] == max_logit ? 0.0 : double{logits[id]} - max_logit;
  return difference - std::log(sum);
}

// The lowest id with the largest logit, -1 when there is none above -infinity. NaN is never larger. Two plain
// passes that compilers turn into vector code: a greedy token must not cost a pass over doubles.
int32_t best_token(std::span<const float> logits) {
  constexpr size_t kLanes = 16;
  float lanes[kLanes];
  std::fill(lanes, lanes + kLanes, -std::numeric_limits<float>::infinity());
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes)
    for (size_t j = 0; j < kLanes; ++j) lanes[j] = logits[i + j] > lanes[j] ? logits[i + j] : lanes[j];
  for (; i < logits.size(); ++i) lanes[0] = logits[i] > lanes[0] ? logits[i] : lanes[0];
  const float best = *std::max_element(lanes, lanes + kLanes);
  if (best == -std::numeric_limits<float>::infinity()) return -1;
  return static_cast<int32_t>(std::find(logits.begin(), logits.end(), best) - logits.begin());
}

class Chain final : public Sampler {
 public:
  Chain(const SamplerOptions& options, int32_t n_vocab)
      : n_vocab_(static_cast<size_t>(n_vocab)), seed_(options.seed), logprob_(options.logprob) {
#define X(name) \
  if (auto stage = make_##name##_stage(options)) stages_.push_back(std::move(stage));
#include "sample/stages.def"
#undef X
    // Only the temperature stage, at 0: nothing but the largest logit matters.
    plain_greedy_ = options.temperature == 0 && stages_.size() == 1;
  }

  Sampled sample(std::span<const float> logits, std::span<const int32_t> history, uint64_t index) override {
    Sampled sampled;
    if (logits.size() != n_vocab_) return sampled;
    if (plain_greedy_) {
      sampled.id = best_token(logits);
    } else {
      fill(logits);
      for (const auto& stage : stages_) stage->apply(candidates_, history);
      sampled.id = draw(uniform_01(seed_, index));
    }
    if (sampled.id >= 0 && logprob_)
      sampled.logprob = log_probability(logits, static_cast<size_t>(sampled.id));
    return sampled;
  }

 private:
  void fill(std::span<const float> logits) {
    candidates_.items.resize(n_vocab_);
    candidates_.sorted = false;
    for (size_t i = 0; i < n_vocab_; ++i) {
      candidates_.items[i] = {static_cast<int32_t>(i),
                              std::isnan(logits[i]) ? -kInfinity : double{logits[i]}};
    }
  }

  // The candidate at which the running sum of probabilities passes u in [0, 1); -1 when none can be chosen.
  int32_t draw(double u) const {
    const double max_logit = candidates_.max_logit();
    if (max_logit == -kInfinity) return -1;
    if (candidates_.items.size() == 1) return candidates_.items[0].id;
    double total = 0;
    for (const Candidate& c : candidates_.items) total += softmax_weight(c.logit, max_logit);
    double sum = 0;
    int32_t last = -1;
    for (const Candidate& c : candidates_.items) {
      const double weight = softmax_weight(c.logit, max_logit);
      if (weight == 0) continue;
      sum += weight;
      last = c.id;
      if (sum > u * total) break;
    }
    return last;
  }

  size_t n_vocab_;
  uint64_t seed_;
  bool logprob_;
  bool plain_greedy_ = false;
  std::vector<std::unique_ptr<Stage>> stages_;
  Candidates candidates_;
};

}  // namespace

void Candidates::sort_best(size_t n) {
  if (sorted) return;
  std::partial_sort(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(n), items.end(), better);
  sorted = n == items.size();
}

double Candidates::max_logit() const {
  double result = -kInfinity;
  for (const Candidate& c : items) result = std::max(result, c.logit);
  return result;
}

Status check_sampler_options(const SamplerOptions& o, int32_t n_vocab) {
  constexpr double kMaxInt = std::numeric_limits<int32_t>::max();
  const OptionRange ranges[] = {
      {"n_vocab", double(n_vocab), 1, kMaxInt, false},
      {"temperature", o.temperature, 0, 10, false},
      {"top_k", double(o.top_k), 0, kMaxInt, false},
      {"top_p", o.top_p, 0, 1, true},
      {"min_p", o.min_p, 0, 1, false},
      {"repetition_penalty", o.repetition_penalty, 0, 10, true},
      {"frequency_penalty", o.frequency_penalty, -10, 10, false},
      {"presence_penalty", o.presence_penalty, -10, 10, false},
      {"penalty_last_n", double(o.penalty_last_n), -1, kMaxInt, false},
  };
  for (const OptionRange& range : ranges) RETURN_IF_ERROR(check_range(range));
  for (const auto& [id, value] : o.logit_bias) {
    if (id < 0 || id >= n_vocab) {
      return {ErrorCode::invalid_argument, "logit_bias names token " + std::to_string(id) +
                                               ", the vocabulary has " + std::to_string(n_vocab)};
    }
    if (!(value < kInfinity)) {  // also true for NaN
      return {ErrorCode::invalid_argument, "logit_bias of token " + std::to_string(id) + " is " +
                                               number(value) + ", allowed is a number or -infinity"};
    }
  }
  return {};
}

Result<std::unique_ptr<Sampler>> make_sampler(const SamplerOptions& options, int32_t n_vocab) {
  RETURN_IF_ERROR(check_sampler_options(options, n_vocab));
  return std::unique_ptr<Sampler>(std::make_unique<Chain>(options, n_vocab));
}

}  // namespace nutshell
