// The sampler chain: exact probabilities against long-double arithmetic, draws against a chi-square bound,
// edges of every stage, odd logits, option ranges, and the list of stages against the folder.
#include "sample/sampler.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "base/rng.h"
#include "sample/exp.h"
#include "sample/stage.h"
#include "support/golden_dir.h"

using namespace nutshell;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Everything off: plain softmax at temperature 1.
SamplerOptions plain() {
  SamplerOptions o;
  o.temperature = 1.0;
  o.top_k = 0;
  o.top_p = 1.0;
  o.min_p = 0.0;
  return o;
}

Sampled sample_once(const SamplerOptions& options, const std::vector<float>& logits,
                    const std::vector<int32_t>& history = {}, uint64_t index = 0) {
  auto sampler = make_sampler(options, static_cast<int32_t>(logits.size()));
  REQUIRE(sampler.ok());
  return (*sampler)->sample(logits, history, index);
}

// How often each id is drawn in `draws` tokens of one seed.
std::vector<int> counts(const SamplerOptions& options, const std::vector<float>& logits, int draws,
                        const std::vector<int32_t>& history = {}) {
  auto sampler = make_sampler(options, static_cast<int32_t>(logits.size()));
  REQUIRE(sampler.ok());
  std::vector<int> result(logits.size());
  for (int i = 0; i < draws; ++i) {
    const Sampled s = (*sampler)->sample(logits, history, static_cast<uint64_t>(i));
    REQUIRE(s.id >= 0);
    ++result[static_cast<size_t>(s.id)];
  }
  return result;
}

std::vector<double> softmax(const std::vector<double>& logits) {
  const long double top = *std::max_element(logits.begin(), logits.end());
  long double sum = 0;
  for (double l : logits) sum += std::exp(static_cast<long double>(l) - top);
  std::vector<double> p;
  for (double l : logits) p.push_back(static_cast<double>(std::exp(static_cast<long double>(l) - top) / sum));
  return p;
}

// Pearson's statistic with d degrees of freedom exceeds d + 2 sqrt(18 d) + 36 with probability at most e^-18
// (Laurent and Massart 2000, lemma 1). Ids of probability 0 must never be drawn.
void check_distribution(const std::vector<int>& seen, const std::vector<double>& expected) {
  const double draws = std::accumulate(seen.begin(), seen.end(), 0);
  double statistic = 0;
  int cells = 0;
  for (size_t i = 0; i < seen.size(); ++i) {
    if (expected[i] == 0) {
      CHECK(seen[i] == 0);
      continue;
    }
    REQUIRE(expected[i] * draws >= 5);  // Cochran's rule: the test needs it
    statistic += std::pow(seen[i] - expected[i] * draws, 2) / (expected[i] * draws);
    ++cells;
  }
  const double d = cells - 1;
  CHECK(statistic <= d + 2 * std::sqrt(d * 18) + 36);
}

const std::vector<float> kLogits = {1.0f, 2.5f, -0.5f, 2.0f, 0.0f, 1.5f};

}  // namespace

TEST_CASE("exp_nonpositive: within 2 units in the last place of the exact value") {
  CHECK(exp_nonpositive(0.0) == 1.0);
  CHECK(exp_nonpositive(-std::numeric_limits<double>::infinity()) == 0.0);
  CHECK(exp_nonpositive(-701.0) == 0.0);
  double worst = 0;
  for (uint64_t i = 0; i < 200000; ++i) {
    const double x = -700.0 * uniform_01(5, i) * (i % 2 ? 1.0 : 1e-3);
    const long double exact = std::exp(static_cast<long double>(x));
    const double ulp = std::abs(std::nextafter(static_cast<double>(exact), 2.0) - static_cast<double>(exact));
    worst = std::max(worst, static_cast<double>(std::abs(exp_nonpositive(x) - exact) / ulp));
  }
  CHECK(worst <= 2.0);
}

TEST_CASE("sampler: draws follow the softmax, and the log-probability is that of the raw logits") {
  const std::vector<double> raw(kLogits.begin(), kLogits.end());
  check_distribution(counts(plain(), kLogits, 60000), softmax(raw));

  SamplerOptions hot = plain();
  hot.temperature = 1.7;
  std::vector<double> scaled;
  for (double l : raw) scaled.push_back(l / 1.7);
  check_distribution(counts(hot, kLogits, 60000), softmax(scaled));

  const std::vector<double> p = softmax(raw);
  for (uint64_t i = 0; i < 50; ++i) {
    const Sampled s = sample_once(hot, kLogits, {}, i);
    // Six terms, each a few units in the last place off.
    CHECK(std::abs(s.logprob - std::log(p[static_cast<size_t>(s.id)])) <= 32 * 0x1p-52);
  }
  hot.logprob = false;
  CHECK(sample_once(hot, kLogits).logprob == 0.0);
}

TEST_CASE("sampler: each draw is where its random number falls among the probabilities at that temperature") {
  for (const double temperature : {0.3, 1.0, 1.7}) {
    SamplerOptions o = plain();
    o.temperature = temperature;
    o.seed = 99;
    std::vector<double> scaled;
    for (float l : kLogits) scaled.push_back(double{l} / temperature);
    const std::vector<double> p = softmax(scaled);
    for (uint64_t i = 0; i < 5000; ++i) {
      const double u = uniform_01(o.seed, i);
      double sum = 0;
      size_t expected = 0;
      bool near_edge = false;  // closer to a border than rounding could move it
      for (size_t id = 0; id < p.size(); ++id) {
        sum += p[id];
        near_edge = near_edge || std::abs(sum - u) < 1e-12;
        if (sum <= u) expected = id + 1;
      }
      if (!near_edge) CHECK(sample_once(o, kLogits, {}, i).id == static_cast<int32_t>(expected));
    }
  }
}

TEST_CASE("sampler: a seed gives the same tokens, another seed others, each index its own") {
  SamplerOptions o = plain();
  o.seed = 7;
  std::vector<int32_t> first, again, other;
  for (uint64_t i = 0; i < 64; ++i) first.push_back(sample_once(o, kLogits, {}, i).id);
  for (uint64_t i = 0; i < 64; ++i) again.push_back(sample_once(o, kLogits, {}, i).id);
  o.seed = 8;
  for (uint64_t i = 0; i < 64; ++i) other.push_back(sample_once(o, kLogits, {}, i).id);
  CHECK(first == again);
  CHECK(first != other);
  CHECK(std::set<int32_t>(first.begin(), first.end()).size() > 3);
}

TEST_CASE("sampler: greedy takes the best, the lower id among equals, whatever the other limits say") {
  SamplerOptions o;
  o.temperature = 0;
  CHECK(sample_once(o, kLogits).id == 1);
  CHECK(sample_once(o, {1, 3, 2, 3, 3}).id == 1);
  o.top_k = 0;
  o.top_p = 0.01;
  o.min_p = 1;
  CHECK(sample_once(o, {1, 3, 2, 3, 3}).id == 1);
  CHECK(sample_once(o, {-5}).id == 0);
  CHECK(sample_once(o, {-5}).logprob == 0.0);
}

TEST_CASE("sampler: greedy finds the best at every place of every length") {
  SamplerOptions o;
  o.temperature = 0;
  for (size_t n = 1; n < 70; ++n)
    for (size_t best = 0; best < n; ++best) {
      std::vector<float> logits(n, -3.0f);
      for (size_t i = 0; i < n; i += 5) logits[i] = std::numeric_limits<float>::quiet_NaN();
      logits[best] = -1.0f;
      logits[n - 1] = -1.0f;  // a tie with the last one
      REQUIRE(sample_once(o, logits).id == static_cast<int32_t>(best));
    }
}

TEST_CASE("top_k: keeps exactly k, lower ids at a tie, and the kept ones in proportion") {
  SamplerOptions o = plain();
  o.top_k = 3;
  std::vector<double> kept(kLogits.begin(), kLogits.end());
  for (size_t i : {0u, 2u, 4u}) kept[i] = -std::numeric_limits<double>::infinity();
  check_distribution(counts(o, kLogits, 60000), softmax(kept));
  const std::vector<int> tied = counts(o, {2, 5, 2, 2, 2}, 4000);
  CHECK(tied[3] == 0);
  CHECK(tied[4] == 0);
  CHECK(tied[2] > 0);
  o.top_k = 1000;  // more than there are
  check_distribution(counts(o, kLogits, 60000), softmax({1.0, 2.5, -0.5, 2.0, 0.0, 1.5}));
}

TEST_CASE("top_p: the fewest that reach p, before the temperature") {
  // Probabilities 0.5, 0.25, 0.125, 0.0625, 0.0625 (exact powers of two up to rounding of ln).
  std::vector<float> logits;
  for (double p : {0.0625, 0.5, 0.125, 0.25, 0.0625}) logits.push_back(static_cast<float>(std::log(p)));
  SamplerOptions o = plain();
  o.temperature = 5;  // would flatten everything if it came first
  const auto kept = [&](double p) {
    o.top_p = p;
    std::set<int> ids;
    const std::vector<int> seen = counts(o, logits, 3000);
    for (size_t i = 0; i < seen.size(); ++i) {
      if (seen[i]) ids.insert(static_cast<int>(i));
    }
    return ids;
  };
  CHECK(kept(1e-9) == std::set<int>{1});
  CHECK(kept(0.49) == std::set<int>{1});
  CHECK(kept(0.51) == std::set<int>{1, 3});
  CHECK(kept(0.74) == std::set<int>{1, 3});
  CHECK(kept(0.76) == std::set<int>{1, 2, 3});
  CHECK(kept(0.90) == std::set<int>{0, 1, 2, 3});  // tie of 0 and 4: the lower id
  CHECK(kept(0.99) == std::set<int>{0, 1, 2, 3, 4});
}

TEST_CASE("top_p: a large flat vocabulary keeps the share it should") {
  SamplerOptions o = plain();
  o.top_p = 0.5;
  const std::vector<int> seen = counts(o, std::vector<float>(2000, 1.0f), 3000);
  CHECK(std::accumulate(seen.begin(), seen.begin() + 1000, 0) == 3000);  // ties: the lower half
  CHECK(std::count_if(seen.begin(), seen.begin() + 1000, [](int n) { return n > 0; }) > 900);
}

TEST_CASE("min_p: relative to the best, equality stays") {
  SamplerOptions o = plain();
  o.min_p = 0.25;
  const std::vector<float> logits = {0.0f, static_cast<float>(std::log(0.26)),
                                     static_cast<float>(std::log(0.24))};
  const std::vector<int> seen = counts(o, logits, 2000);
  CHECK(seen[0] > 0);
  CHECK(seen[1] > 0);
  CHECK(seen[2] == 0);
  o.min_p = 1;
  const std::vector<int> best = counts(o, {1, 4, 4, 2}, 500);
  CHECK(best[0] + best[3] == 0);
  CHECK(best[1] > 0);
  CHECK(best[2] > 0);
}

TEST_CASE("penalties: repetition divides or multiplies, frequency counts, presence counts once") {
  SamplerOptions o = plain();
  o.repetition_penalty = 1.5;
  o.frequency_penalty = 0.3;
  o.presence_penalty = 0.2;
  o.penalty_last_n = -1;
  const std::vector<int32_t> history = {1, 2, 1, 1, 99, -3};  // ids outside the vocabulary are ignored
  const std::vector<double> expected = {1.0, 2.5 / 1.5 - 3 * 0.3 - 0.2, -0.5 * 1.5 - 0.3 - 0.2, 2.0, 0.0,
                                        1.5};
  check_distribution(counts(o, kLogits, 60000, history), softmax(expected));

  o.penalty_last_n = 2;  // only 99 and -3 are seen
  check_distribution(counts(o, kLogits, 60000, history), softmax({1.0, 2.5, -0.5, 2.0, 0.0, 1.5}));
  o.penalty_last_n = 3;
  check_distribution(counts(o, kLogits, 60000, history),
                     softmax({1.0, 2.5 / 1.5 - 0.5, -0.5, 2.0, 0.0, 1.5}));
  o.penalty_last_n = 0;
  check_distribution(counts(o, kLogits, 60000, history), softmax({1.0, 2.5, -0.5, 2.0, 0.0, 1.5}));

  SamplerOptions greedy = plain();
  greedy.temperature = 0;
  greedy.repetition_penalty = 1.3;
  CHECK(sample_once(greedy, kLogits, {1}).id == 3);  // 2.5 / 1.3 < 2
}

TEST_CASE("logit_bias: adds, bans, and moves the greedy choice") {
  SamplerOptions o = plain();
  o.logit_bias = {{2, 3.0}, {1, -std::numeric_limits<double>::infinity()}, {2, 0.5}};
  std::vector<double> expected(kLogits.begin(), kLogits.end());
  expected[2] += 3.5;
  expected[1] = -std::numeric_limits<double>::infinity();
  check_distribution(counts(o, kLogits, 60000), softmax(expected));
  o.temperature = 0;
  CHECK(sample_once(o, kLogits).id == 2);
  // The log-probability stays that of the model, before the bias.
  const double p = softmax({1.0, 2.5, -0.5, 2.0, 0.0, 1.5})[2];
  CHECK(std::abs(sample_once(o, kLogits).logprob - std::log(p)) <= 32 * 0x1p-52);
}

TEST_CASE("sampler: odd logits have a defined answer") {
  std::vector<SamplerOptions> all(5, plain());
  all[1].temperature = 0;
  all[2] = SamplerOptions();
  all[3].top_p = 0.9;
  all[4].min_p = 0.1;
  all[4].temperature = 1e-300;
  for (const SamplerOptions& o : all) {
    CHECK(sample_once(o, {-kInf, -kInf, -kInf}).id == -1);
    CHECK(sample_once(o, {kNan, kNan}).id == -1);
    CHECK(sample_once(o, {kNan, 1.0f, -kInf}).id == 1);
    CHECK(sample_once(o, {kNan, 1.0f, -kInf}).logprob == 0.0);
    CHECK(sample_once(o, {5.0f, kInf, kNan}).id == 1);
    const Sampled shared = sample_once(o, {kInf, 1.0f, kInf});
    CHECK((shared.id == 0 || shared.id == 2));
    CHECK(shared.logprob == doctest::Approx(std::log(0.5)));
    CHECK(sample_once(o, {3e38f, -3e38f}).id == 0);
  }
  auto sampler = make_sampler(plain(), 4);
  REQUIRE(sampler.ok());
  CHECK((*sampler)->sample(kLogits, {}, 0).id == -1);  // not n_vocab logits
  SamplerOptions banned = plain();
  for (int32_t id = 0; id < 3; ++id)
    banned.logit_bias.push_back({id, -std::numeric_limits<double>::infinity()});
  CHECK(sample_once(banned, {kInf, 1.0f, 2.0f}).id == -1);
}

TEST_CASE("check_sampler_options: every option out of its range is named with value and range") {
  const double nan = kNan;
  struct Case {
    const char* name;
    void (*set)(SamplerOptions&, double);
    std::vector<double> bad, good;
  };
  const Case cases[] = {
      {"temperature", [](SamplerOptions& o, double v) { o.temperature = v; }, {-0.1, 10.5, nan}, {0, 10}},
      {"top_k", [](SamplerOptions& o, double v) { o.top_k = static_cast<int32_t>(v); }, {-1}, {0, 1e9}},
      {"top_p", [](SamplerOptions& o, double v) { o.top_p = v; }, {0, 1.1, nan}, {1e-9, 1}},
      {"min_p", [](SamplerOptions& o, double v) { o.min_p = v; }, {-0.1, 1.1, nan}, {0, 1}},
      {"repetition_penalty",
       [](SamplerOptions& o, double v) { o.repetition_penalty = v; },
       {0, 11, nan},
       {0.1, 10}},
      {"frequency_penalty",
       [](SamplerOptions& o, double v) { o.frequency_penalty = v; },
       {-11, 11, nan},
       {-10, 10}},
      {"presence_penalty",
       [](SamplerOptions& o, double v) { o.presence_penalty = v; },
       {-11, 11, nan},
       {-10, 10}},
      {"penalty_last_n",
       [](SamplerOptions& o, double v) { o.penalty_last_n = static_cast<int32_t>(v); },
       {-2},
       {-1}},
  };
  for (const Case& c : cases) {
    for (double value : c.bad) {
      SamplerOptions o;
      c.set(o, value);
      const Status status = check_sampler_options(o, 100);
      CHECK(status.code() == ErrorCode::invalid_argument);
      CHECK(status.message().find(c.name) == 0);
      CHECK(status.message().find("allowed is") != std::string::npos);
      CHECK(!make_sampler(o, 100).ok());
    }
    for (double value : c.good) {
      SamplerOptions o;
      c.set(o, value);
      CHECK(check_sampler_options(o, 100).ok());
    }
  }
  SamplerOptions o;
  CHECK(!check_sampler_options(o, 0).ok());
  o.logit_bias = {{100, 1.0}};
  CHECK(check_sampler_options(o, 100).message() == "logit_bias names token 100, the vocabulary has 100");
  o.logit_bias = {{-1, 1.0}};
  CHECK(!check_sampler_options(o, 100).ok());
  for (double value : {static_cast<double>(kInf), nan}) {
    o.logit_bias = {{5, value}};
    CHECK(!check_sampler_options(o, 100).ok());
  }
}

TEST_CASE("sampler: every stage file is in stages.def and every entry has its file") {
  std::set<std::string> listed;
#define X(name) listed.insert(#name);
#include "sample/stages.def"
#undef X
  const std::filesystem::path folder = std::filesystem::path(test::golden_dir()) / "../../src/sample";
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".cpp" && entry.path().stem() != "sampler") {
      files.insert(entry.path().stem().string());
    }
  }
  CHECK(files == listed);
}
