// Every op on the CPU back end, over formats, odd sizes, thread counts, step sizes and forms of the dot
// product, against the double-precision runner; and results that must not depend on the number of threads.
// Inputs come in through an F32 embedding table, so that a case is a graph of one op.
// size: one table of cases over one harness
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>

#include "backend/cpu/cpu_backend.h"
#include "kernels/tune.h"
#include "support/trellis_weights.h"
#include "unit/backend/reference_runner.h"
#include "unit/kernels/random_weights.h"

using namespace nutshell;
using namespace nutshell::test;

namespace {

constexpr int64_t kVocab = 160;

// Builds a graph and its weights together.
struct Case {
  Graph graph;
  std::vector<HostWeight> weights;
  uint64_t seed = 1;

  WeightId weight(DType dtype, int64_t n_rows, int64_t n_cols, uint8_t use, double magnitude = 1.0,
                  int64_t n_slices = 1) {
    const auto id = static_cast<WeightId>(graph.weights.size());
    graph.weights.push_back({"w" + std::to_string(id), dtype, n_rows, n_cols, use, n_slices});
    HostWeight w{graph.weights.back(), random_rows(dtype, n_rows, n_cols, seed += 10, magnitude), {}};
    w.values.resize(static_cast<size_t>(n_rows * n_cols));
    decode_row(dtype, w.bytes.data(), n_rows * n_cols, w.values.data());
    weights.push_back(w);
    return id;
  }
  WeightId trellis(DType dtype, int64_t n_rows, int64_t n_cols, uint8_t use) {
    const TrellisMatrix m = random_trellis(dtype, n_rows, n_cols, seed += 10, 1.0);
    const auto id = static_cast<WeightId>(graph.weights.size());
    graph.weights.push_back(
        {"w" + std::to_string(id), dtype, n_rows, n_cols, use, 1, {{{dtype, 0, m.code}}, {}}});
    weights.push_back({graph.weights.back(), m.bytes, m.values});
    return id;
  }
  ActId act(int64_t width, bool per_output = false) {
    graph.acts.push_back({width, per_output});
    return static_cast<ActId>(graph.acts.size()) - 1;
  }
  ActId input(int64_t width, DType dtype = DType::f32) {
    const ActId out = act(width);
    graph.ops.push_back(EmbedOp{weight(dtype, kVocab, width, kUseTable), out, 1.0f});
    return out;
  }
  // Makes a's selected rows the logits.
  void output(ActId a) {
    const ActId out = act(graph.acts[static_cast<size_t>(a)].width, true);
    graph.ops.push_back(SelectRowsOp{a, out});
    graph.logits = out;
  }
};

Step step_of(std::vector<int32_t>& tokens, std::vector<int32_t>& rows, int64_t n, int64_t n_past) {
  tokens.clear();
  rows.clear();
  for (int64_t i = 0; i < n; ++i) {
    tokens.push_back(static_cast<int32_t>(counter_rng(77, static_cast<uint64_t>(n_past + i)) % kVocab));
    rows.push_back(static_cast<int32_t>(i));
  }
  return {tokens, n_past, rows};
}

void upload_all(Backend& backend, const Case& c) {
  for (size_t i = 0; i < c.weights.size(); ++i) {
    const HostWeight& w = c.weights[i];
    const auto id = static_cast<WeightId>(i);
    const int64_t in = row_bytes(w.spec.dtype, w.spec.n_cols), chunk = 3 * backend.upload_row_multiple(id);
    for (int64_t r = 0; r < w.spec.n_rows; r += chunk) {
      const int64_t n = std::min(chunk, w.spec.n_rows - r);
      const auto bytes = static_cast<size_t>(stored_rows(w.spec.dtype, n) * in);
      REQUIRE(backend.upload(id, r, n, {w.bytes.data() + r * in, bytes}).ok());
    }
  }
}

// Steps of a few tokens one by one give the bits of as many steps of one token.
void check_few(const Case& c, Dot dot, int64_t n_ctx) {
  ThreadPool pool(2);
  const auto alone = cpu::make_backend(pool, dot), few = cpu::make_backend(pool, dot);
  std::vector<int32_t> tokens, rows;
  for (Backend* backend : {static_cast<Backend*>(alone.get()), static_cast<Backend*>(few.get())}) {
    REQUIRE(backend->allocate(c.graph, {n_ctx, 130, 130}).ok());
    upload_all(*backend, c);
    REQUIRE(backend->run(step_of(tokens, rows, 30, 0)).ok());
  }
  if (few->few_tokens() == 1) return;
  int64_t past = 30;
  for (int64_t n : {4, 1, 3, 2, 4, 4, 4}) {
    Step step = step_of(tokens, rows, n, past);
    step.one_by_one = true;
    REQUIRE(few->run(step).ok());
    std::vector<float> got;
    for (int64_t i = 0; i < n; ++i) got.insert(got.end(), few->logits(i).begin(), few->logits(i).end());
    for (int64_t i = 0; i < n; ++i) {
      REQUIRE(alone->run(step_of(tokens, rows, 1, past + i)).ok());
      const std::span<const float> wanted = alone->logits(0);
      INFO("position " << past + i << ", form " << static_cast<int>(dot));
      REQUIRE(std::memcmp(wanted.data(), got.data() + static_cast<size_t>(i) * wanted.size(),
                          wanted.size() * 4) == 0);
    }
    past += n;
  }
  Step step = step_of(tokens, rows, few->few_tokens() + 1, past);
  step.one_by_one = true;
  CHECK(few->run(step).code() == ErrorCode::invalid_argument);
}

// Runs the steps on 1, 2 and 3 threads and every form; relative (to the row's largest value) error within
// tolerance, the same bits for every thread count.
void check(const Case& c, const std::vector<int64_t>& steps, double tolerance, int64_t n_ctx = 256) {
  REQUIRE(c.graph.logits != kNone);
#if NUTSHELL_RELAXED
  const std::vector<Dot> dots = {Dot::strict, Dot::pairs, Dot::quads};
#else
  const std::vector<Dot> dots = {Dot::strict};
#endif
  std::vector<std::vector<reference::Row>> wanted;
  std::vector<int32_t> tokens, rows;
  {
    ReferenceRunner runner(c.graph, c.weights);
    int64_t past = 0;
    for (int64_t n : steps) {
      wanted.push_back(runner.run(step_of(tokens, rows, n, past)));
      past += n;
    }
  }
  for (Dot dot : dots) {
    std::vector<float> first;
    for (int threads : {1, 2, 3}) {
      ThreadPool pool(threads);
      const auto backend = cpu::make_backend(pool, dot);
      REQUIRE(backend->allocate(c.graph, {n_ctx, 130, 130}).ok());
      upload_all(*backend, c);
      std::vector<float> all;
      int64_t past = 0;
      for (size_t s = 0; s < steps.size(); ++s) {
        REQUIRE(backend->run(step_of(tokens, rows, steps[s], past)).ok());
        for (int64_t i = 0; i < steps[s]; ++i) {
          const std::span<const float> y = backend->logits(i);
          const reference::Row& w = wanted[s][static_cast<size_t>(i)];
          REQUIRE(y.size() == w.size());
          double largest = 0, error = 0;
          for (size_t k = 0; k < w.size(); ++k) {
            largest = std::max(largest, std::fabs(w[k]));
            const double e = std::fabs(static_cast<double>(y[k]) - w[k]);
            error = e <= error ? error : e;  // keeps a NaN
          }
          INFO("step " << s << " of " << steps[s] << " tokens, row " << i << ", threads " << threads
                       << ", form " << static_cast<int>(dot) << ", error " << error << " of " << largest);
          REQUIRE(error <= tolerance * largest + 1e-30);
          all.insert(all.end(), y.begin(), y.end());
        }
        past += steps[s];
      }
      if (threads == 1) first = all;
      REQUIRE(std::memcmp(first.data(), all.data(), all.size() * 4) == 0);
    }
    check_few(c, dot, n_ctx);
  }
}

const std::vector<int64_t> kSteps = {1, 2, 3, 4, 5, 7, 16, 33, 1, 128};

// f32 sums of n terms whose absolute values add up to at most `spread` times the largest result.
double sum_tolerance(int64_t n, double spread) {
  return 0x1p-24 * (static_cast<double>(n) / 8 + 16) * spread;
}

}  // namespace

TEST_CASE("conformance: embedding of every format, look-up in a packed (tied) table too") {
  for (const DTypeInfo& info : kDTypes) {
    Case c;
    c.output(c.input(512, info.dtype));
    check(c, {1, 5}, 0);
    Case tied;
    const ActId x = tied.input(512, info.dtype);
    tied.graph.weights[0].use |= kUseMatrix;
    tied.weights[0].spec.use |= kUseMatrix;
    tied.output(x);
    check(tied, {1, 5}, 0);
  }
}

TEST_CASE("conformance: linear of every format with bias, accumulation and several parts") {
  for (const DTypeInfo& info : kDTypes) {
    const int64_t n_in = info.block_length == 1 ? 37 : info.block_length * 2;
    Case c;
    const ActId x = c.input(n_in);
    const ActId a = c.input(19);
    const ActId b = c.act(48);
    const WeightId wa = c.weight(info.dtype, 19, n_in, kUseMatrix),
                   wb = c.weight(info.dtype, 48, n_in, kUseMatrix);
    const WeightId bias = c.weight(DType::f32, 1, 48, kUseVector);
    c.graph.ops.push_back(LinearOp{x, {{wa, kNone, a, true}, {wb, bias, b, false}}});
    const ActId y = c.act(19);
    c.graph.ops.push_back(LinearOp{b, {{c.weight(DType::f16, 19, 48, kUseMatrix), kNone, y, false}}});
    const ActId sum = c.act(19);
    c.graph.ops.push_back(AddOp{a, y, sum});
    c.output(sum);
    INFO(info.name);
    check(c, kSteps, sum_tolerance(n_in, 256));
  }
}

TEST_CASE("conformance: trellis-coded linears and tied tables, rotated and not") {
  for (const DTypeInfo& info : kTrellisTypes)
    for (const bool rotated : {false, true}) {
      Case c;
      if (rotated) c.graph.rotations = {{96, 5}, {64, 6}};
      const int32_t r96 = rotated ? 0 : kNone, r64 = rotated ? 1 : kNone;
      const WeightId tied = c.trellis(info.dtype, kVocab, 96, kUseTable | kUseMatrix);
      const ActId x = c.act(96), n = c.act(96), gate = c.act(64), up = c.act(64), g = c.act(64);
      c.graph.ops.push_back(EmbedOp{tied, x, 1.5f, r96});
      c.graph.ops.push_back(RmsNormOp{x, c.weight(DType::f32, 1, 96, kUseVector), n, 96, 1e-5f});
      c.graph.ops.push_back(LinearOp{n,
                                     {{c.trellis(info.dtype, 64, 96, kUseMatrix), kNone, gate, false},
                                      {c.trellis(info.dtype, 64, 96, kUseMatrix), kNone, up, false}},
                                     r96});
      c.graph.ops.push_back(GatedActivationOp{gate, up, g, Activation::silu});
      c.graph.ops.push_back(LinearOp{g, {{c.trellis(info.dtype, 96, 64, kUseMatrix), kNone, x, true}}, r64});
      const ActId selected = c.act(96, true), logits = c.act(kVocab, true);
      c.graph.ops.push_back(SelectRowsOp{x, selected});
      c.graph.ops.push_back(LinearOp{selected, {{tied, kNone, logits, false}}, r96});
      c.graph.logits = logits;
      INFO(info.name << (rotated ? " rotated" : ""));
      // As the fused norms below: a value may fall on the other side of a rounding of its 8-bit code, here of
      // one of 64 columns and then of what follows.
      check(c, {1, 2, 5, 33, 1}, 6e-3);
    }
}

TEST_CASE("conformance: norms, gated activations, fused into linears and alone") {
  for (const DType dtype : {DType::q4_1, DType::q8_0, DType::f32}) {
    for (const Activation activation : {Activation::silu, Activation::gelu_tanh}) {
      Case c;
      const ActId x = c.input(96);
      const ActId n = c.act(96), gate = c.act(64), up = c.act(64), g = c.act(64), again = c.act(64);
      c.graph.ops.push_back(RmsNormOp{x, c.weight(DType::f32, 1, 96, kUseVector), n, 96, 1e-5f});
      c.graph.ops.push_back(LinearOp{n,
                                     {{c.weight(dtype, 64, 96, kUseMatrix), kNone, gate, false},
                                      {c.weight(dtype, 64, 96, kUseMatrix), kNone, up, false}}});
      c.graph.ops.push_back(RmsNormOp{gate, c.weight(DType::f16, 1, 16, kUseVector), gate, 16, 1e-6f});
      c.graph.ops.push_back(GatedActivationOp{gate, up, g, activation});
      c.graph.ops.push_back(RmsNormOp{g, c.weight(DType::f32, 1, 64, kUseVector), again, 64, 1e-6f});
      c.output(again);
      // A value may fall on the other side of a rounding of its 8-bit code: half a code of one of 96 columns.
      check(c, kSteps, dtype == DType::f32 ? sum_tolerance(96, 64) : 2e-3);
      Case fused;
      const ActId p = fused.input(96), q = fused.input(96), r = fused.act(96), out = fused.act(40);
      fused.graph.ops.push_back(GatedActivationOp{p, q, r, activation});
      fused.graph.ops.push_back(LinearOp{r, {{fused.weight(dtype, 40, 96, kUseMatrix), kNone, out, false}}});
      fused.output(out);
      check(fused, kSteps, dtype == DType::f32 ? sum_tolerance(96, 64) : 2e-3);
    }
  }
}

TEST_CASE("conformance: attention with rope and head norms, windows, caps, head sizes and groups") {
  struct Shape {
    int64_t n_head, n_head_kv, head_dim, window, n_rot;
    float softcap;
    RopeStyle style;
    bool norms;
    int64_t head_dim_v = 0;  // 0: as head_dim
    bool sinks = false;
  };
  const Shape shapes[] = {
      {9, 3, 64, 0, 64, 0, RopeStyle::interleaved, false},
      {2, 2, 16, 0, 16, 0, RopeStyle::half, false},
      {4, 1, 96, 40, 96, 0, RopeStyle::half, true},
      {8, 1, 80, 0, 20, 20.0f, RopeStyle::interleaved, false},
      {5, 1, 128, 17, 128, 30.0f, RopeStyle::half, true},
      {4, 1, 256, 0, 256, 0, RopeStyle::half, true},
      {10, 1, 32, 0, 32, 0, RopeStyle::half, false},
      {14, 2, 64, 1, 64, 0, RopeStyle::half, false},
      {8, 2, 48, 0, 16, 0, RopeStyle::interleaved, false, 32},
      {16, 1, 80, 0, 80, 0, RopeStyle::interleaved, false, 64},
      {4, 4, 32, 0, 32, 0, RopeStyle::half, false, 96, true},
      {8, 2, 64, 24, 64, 0, RopeStyle::half, false, 64, true},
  };
  for (const Shape& s : shapes) {
    Case c;
    const int64_t head_dim_v = s.head_dim_v > 0 ? s.head_dim_v : s.head_dim;
    const ActId q = c.input(s.n_head * s.head_dim), k = c.input(s.n_head_kv * s.head_dim),
                v = c.input(s.n_head_kv * head_dim_v);
    RopeSpec rope;
    rope.n_rot = s.n_rot;
    for (int64_t i = 0; i < s.n_rot / 2; ++i)
      rope.inv_freq.push_back(
          std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(s.n_rot)));
    c.graph.ropes.push_back(rope);
    if (s.norms)
      for (ActId x : {q, k})
        c.graph.ops.push_back(
            RmsNormOp{x, c.weight(DType::f32, 1, s.head_dim, kUseVector), x, s.head_dim, 1e-6f});
    c.graph.ops.push_back(RopeOp{q, s.n_head, s.head_dim, 0, s.style});
    c.graph.ops.push_back(RopeOp{k, s.n_head_kv, s.head_dim, 0, s.style});
    c.graph.kv_layers.push_back({s.n_head_kv, s.head_dim, head_dim_v});
    const ActId out = c.act(s.n_head * head_dim_v);
    const WeightId sinks = s.sinks ? c.weight(DType::f32, 1, s.n_head, kUseVector, 4.0) : kNone;
    c.graph.ops.push_back(AttentionOp{q, k, v, out, 0, s.n_head, s.n_head_kv, s.head_dim, head_dim_v, 0.4f,
                                      s.window, s.softcap, sinks});
    // Once read by a linear (partials are combined by its readers), once by another op.
    const ActId y = c.act(s.n_head * head_dim_v);
    c.graph.ops.push_back(AddOp{out, out, y});
    c.output(y);
    // Queries are rounded to codes whose magnitudes add up to 2^31 / 8191, so their step grows with head_dim:
    // rms of the score's error = scale * step / sqrt(12) * |k| = 0.4 * (0.5 head_dim / 2.6e5) * 0.29 * 0.58
    // sqrt(head_dim): 6e-5 at 64, 5e-4 at 256; five of that over a row. The rest: keys and values that round
    // differently after a last-bit difference of rope.
    INFO(s.n_head << " heads of " << s.head_dim);
    const double tolerance =
        3e-4 + 5 * 1.3e-7 * static_cast<double>(s.head_dim) * std::sqrt(static_cast<double>(s.head_dim));
    check(c, kSteps, tolerance);
    Case linear = c;
    linear.graph.ops.resize(linear.graph.ops.size() - 2);
    const ActId z = linear.act(24);
    const WeightId w = linear.weight(DType::f32, 24, s.n_head * head_dim_v, kUseMatrix);
    linear.graph.ops.push_back(LinearOp{out, {{w, kNone, z, false}}});
    linear.output(z);
    check(linear, {130, 30, 1, 1, 2, 1, 5, 1}, 2 * tolerance);
  }
}

TEST_CASE("conformance: layer norms, soft caps, added positions and rows, activations without gate") {
  for (const Activation activation : {Activation::silu, Activation::gelu_tanh, Activation::gelu_erf}) {
    Case c;
    const ActId x = c.input(70), n = c.act(70), again = c.act(70), a = c.act(70);
    c.graph.ops.push_back(
        EmbedOp{c.weight(DType::f32, 300, 70, kUseTable), x, 1.0f, kNone, EmbedBy::position, true});
    c.graph.ops.push_back(
        EmbedOp{c.weight(DType::f16, 2, 70, kUseTable), x, 0.5f, kNone, EmbedBy::first_row, true});
    const WeightId w = c.weight(DType::f32, 1, 70, kUseVector), b = c.weight(DType::f32, 1, 70, kUseVector);
    c.graph.ops.push_back(LayerNormOp{x, w, b, n, 1e-5f});
    c.graph.ops.push_back(GatedActivationOp{n, kNone, a, activation});
    c.graph.ops.push_back(LayerNormOp{a, w, kNone, again, 1e-12f});
    c.graph.ops.push_back(SoftcapOp{again, 2.0f});
    c.output(again);
    check(c, kSteps, sum_tolerance(70, 64));
    Case fused;
    const ActId p = fused.input(96), q = fused.act(96), out = fused.act(40);
    fused.graph.ops.push_back(GatedActivationOp{p, kNone, q, activation});
    fused.graph.ops.push_back(
        LinearOp{q, {{fused.weight(DType::f32, 40, 96, kUseMatrix), kNone, out, false}}});
    fused.output(out);
    check(fused, kSteps, sum_tolerance(96, 64));
  }
}

TEST_CASE("conformance: attention to the whole step") {
  for (const int64_t n : {1, 5, 16, 40, 129}) {
    Case c;
    const ActId q = c.input(6 * 32), k = c.input(2 * 32), v = c.input(2 * 32), out = c.act(6 * 32);
    c.graph.kv_layers.push_back({2, 32, 32});
    c.graph.ops.push_back(AttentionOp{q, k, v, out, 0, 6, 2, 32, 32, 0.3f, 0, 0, kNone, false});
    const ActId y = c.act(6 * 32);
    c.graph.ops.push_back(AddOp{out, out, y});
    c.output(y);
    check(c, {n}, 4e-4);
  }
}

TEST_CASE("conformance: experts of every kind of router, packed and not, with biases") {
  struct Shape {
    DType dtype;
    int64_t n_embd, n_ff, n_expert, n_used;
    Activation activation;
    Router router;
    bool biases, selection_bias;
  };
  const Router plain, normalized{Router::Scores::softmax, true, 1.0f},
      chosen{Router::Scores::softmax_of_chosen, false, 1.0f},
      grouped{Router::Scores::sigmoid, true, 2.5f, 4, 2, 2},
      best_group{Router::Scores::softmax, false, 1.5f, 2, 1, 1};
  const Shape shapes[] = {
      {DType::f32, 40, 24, 6, 2, Activation::silu, plain, false, false},
      {DType::q8_0, 64, 96, 8, 3, Activation::silu, normalized, false, false},
      {DType::q4_0, 96, 64, 5, 4, Activation::swiglu_clamped, chosen, true, false},
      {DType::mxfp4, 64, 32, 4, 2, Activation::swiglu_clamped, chosen, true, false},
      {DType::q8_0, 64, 64, 16, 4, Activation::silu, grouped, false, true},
      {DType::q4_1, 96, 32, 8, 2, Activation::gelu_tanh, best_group, false, false},
      {DType::q8_0, 64, 40, 3, 1, Activation::silu, plain, false,
       false},  // 40 rows: down is packed, up is not
  };
  for (const Shape& s : shapes) {
    if (s.n_ff % info_of(s.dtype).block_length != 0) continue;
    Case c;
    const ActId x = c.input(s.n_embd), logits = c.input(s.n_expert), out = c.input(s.n_embd);
    const auto experts = [&](int64_t rows, int64_t cols) {
      return c.weight(s.dtype, s.n_expert * rows, cols, kUseMatrix, 1.0, s.n_expert);
    };
    const auto bias = [&](int64_t rows, int64_t cols, bool has) {
      return has ? c.weight(DType::f32, rows, cols, kUseVector) : kNone;
    };
    const WeightId gate = experts(s.n_ff, s.n_embd), up = experts(s.n_ff, s.n_embd),
                   down = experts(s.n_embd, s.n_ff);
    c.graph.ops.push_back(ExpertsOp{x, logits, out, gate, up, down, bias(s.n_expert, s.n_ff, s.biases),
                                    bias(s.n_expert, s.n_ff, s.biases), bias(s.n_expert, s.n_embd, s.biases),
                                    bias(1, s.n_expert, s.selection_bias), s.n_expert, s.n_used, s.activation,
                                    s.router});
    const ActId y = c.act(s.n_embd);
    c.graph.ops.push_back(AddOp{out, out, y});
    c.output(y);
    INFO(name_of(s.dtype) << ", " << s.n_expert << " experts");
    // A value may fall on the other side of a rounding of its 8-bit code.
    check(c, kSteps, s.dtype == DType::f32 ? sum_tolerance(64, 64) : 4e-3);
  }
}

TEST_CASE("conformance: one matrix per head, heads copied, rotation from an offset") {
  for (const DType dtype : {DType::f32, DType::q8_0}) {
    Case c;
    const int64_t n_head = 3, nope = 32, rot = 16, rank = 64;
    const ActId q = c.input(n_head * (nope + rot)), pe = c.input(rot), out = c.act(n_head * (rank + 2 * rot));
    RopeSpec rope;
    rope.n_rot = rot;
    for (int64_t i = 0; i < rot / 2; ++i) rope.inv_freq.push_back(1.0 / static_cast<double>(1 + i));
    c.graph.ropes.push_back(rope);
    c.graph.ops.push_back(RopeOp{q, n_head, nope + rot, 0, RopeStyle::interleaved, nope});
    const WeightId w = c.weight(dtype, n_head * rank, nope, kUseMatrix, 1.0, n_head);
    c.graph.ops.push_back(HeadLinearOp{q, w, out, n_head, nope + rot, rank + 2 * rot});
    c.graph.ops.push_back(CopyHeadsOp{q, out, n_head, rot, nope, nope + rot, rank, rank + 2 * rot});
    c.graph.ops.push_back(CopyHeadsOp{pe, out, n_head, rot, 0, 0, rank + rot, rank + 2 * rot});
    c.output(out);
    check(c, kSteps, dtype == DType::f32 ? sum_tolerance(32, 64) : 4e-3);
  }
}

TEST_CASE("conformance: short convolutions, and where a step may go on from") {
  Case c;
  const ActId in = c.input(3 * 40), out = c.act(40), y = c.act(40);
  c.graph.conv_layers.push_back({40, 3});
  c.graph.ops.push_back(ShortConvOp{in, c.weight(DType::f32, 40, 3, kUseVector), out, 0, 40, 3});
  c.graph.ops.push_back(AddOp{out, out, y});
  c.output(y);
  check(c, kSteps, sum_tolerance(8, 64));

  ThreadPool pool(2);
  const auto backend = make_cpu_backend(pool);
  REQUIRE(backend->allocate(c.graph, {300, 130, 130}).ok());
  upload_all(*backend, c);
  std::vector<int32_t> tokens, rows;
  // What a position gives when the whole text is computed at once.
  REQUIRE(backend->run(step_of(tokens, rows, 110, 0)).ok());
  std::vector<std::vector<float>> wanted;
  for (int64_t i = 0; i < 110; ++i) wanted.emplace_back(backend->logits(i).begin(), backend->logits(i).end());
  const auto go_on = [&](int64_t past, int64_t n) {
    REQUIRE(backend->run(step_of(tokens, rows, n, past)).ok());
    for (int64_t i = 0; i < n; ++i)
      REQUIRE(std::memcmp(backend->logits(i).data(), wanted[static_cast<size_t>(past + i)].data(), 40 * 4) ==
              0);
  };
  CHECK(backend->resume_point(300) == 110);
  CHECK(backend->resume_point(80) == 80);
  CHECK(backend->resume_point(79) == 64);
  CHECK(backend->run(step_of(tokens, rows, 1, 79)).code() == ErrorCode::invalid_argument);
  CHECK(backend->run(step_of(tokens, rows, 1, 111)).code() == ErrorCode::invalid_argument);
  go_on(80, 3);
  go_on(82, 1);
  go_on(64, 1);  // from a snapshot: what lies before 62 is gone from the ring
  CHECK(backend->resume_point(65) == 65);
  CHECK(backend->resume_point(64) == 64);
  CHECK(backend->resume_point(63) == 32);
  go_on(65, 40);
  go_on(100, 2);
  go_on(32, 70);
  go_on(0, 1);
  CHECK(backend->resume_point(64) == 1);
}

TEST_CASE("conformance: long contexts cut into chunks, and rolling back") {
  Case c;
  const ActId q = c.input(6 * 32), k = c.input(2 * 32), v = c.input(2 * 32), out = c.act(6 * 32);
  c.graph.kv_layers.push_back({2, 32, 32});
  c.graph.ops.push_back(AttentionOp{q, k, v, out, 0, 6, 2, 32, 32, 0.3f});
  const ActId y = c.act(6 * 32);
  c.graph.ops.push_back(AddOp{out, out, y});
  c.output(y);
  std::vector<int64_t> steps(25, 100);
  for (int64_t n : {1, 1, 3, 1}) steps.push_back(n);
  check(c, steps, 4e-4, 3000);

  ThreadPool pool(2);
  const auto backend = make_cpu_backend(pool);
  REQUIRE(backend->allocate(c.graph, {300, 130, 130}).ok());
  upload_all(*backend, c);
  std::vector<int32_t> tokens, rows;
  REQUIRE(backend->run(step_of(tokens, rows, 100, 0)).ok());
  REQUIRE(backend->run(step_of(tokens, rows, 1, 100)).ok());
  const std::vector<float> before(backend->logits(0).begin(), backend->logits(0).end());
  std::vector<int32_t> other(50, 3);
  REQUIRE(backend->run({other, 80, {}}).ok());  // overwrites positions 80..129
  REQUIRE(backend->run(step_of(tokens, rows, 20, 80)).ok());
  REQUIRE(backend->run(step_of(tokens, rows, 1, 100)).ok());
  CHECK(std::memcmp(before.data(), backend->logits(0).data(), before.size() * 4) == 0);
}

TEST_CASE("the CPU back end refuses what does not fit, with names and numbers") {
  ThreadPool pool(1);
  const auto backend = make_cpu_backend(pool);
  Case c;
  const ActId x = c.input(64);
  const ActId y = c.act(32);
  c.graph.ops.push_back(LinearOp{x, {{c.weight(DType::q4_0, 32, 64, kUseMatrix), kNone, y, false}}});
  c.output(y);
  const auto needs = backend->plan(c.graph, {64, 4, 2});
  REQUIRE(needs.ok());
  CHECK(needs->weights_bytes ==
        static_cast<uint64_t>(kVocab * 64 * 4 + 2 * (16 + 2 * 288) + 32));  // 64-byte rounding
  CHECK(backend->plan(c.graph, {0, 4, 2}).status().code() == ErrorCode::invalid_argument);
  CHECK(backend->plan(c.graph, {64, 4, 5}).status().code() == ErrorCode::invalid_argument);
  Graph wrong = c.graph;
  wrong.weights[1].n_cols = 96;
  CHECK(backend->plan(wrong, {64, 4, 2}).status().code() == ErrorCode::bad_shape);
  Graph huge = c.graph;
  huge.kv_layers.push_back({1 << 20, 1 << 20, 1 << 20});
  CHECK(backend->allocate(huge, {1 << 20, 4, 2}).code() == ErrorCode::out_of_memory);
  REQUIRE(backend->allocate(c.graph, {64, 4, 2}).ok());
  CHECK(backend->upload_row_multiple(1) == 16);
  const std::vector<uint8_t>& bytes = c.weights[1].bytes;
  CHECK(backend->upload(1, 8, 24, {bytes.data(), 24 * 36}).code() == ErrorCode::invalid_argument);
  CHECK(backend->upload(1, 16, 32, bytes).code() == ErrorCode::invalid_argument);
  CHECK(backend->upload(1, 0, 32, {bytes.data(), 7}).code() == ErrorCode::invalid_argument);
  CHECK(backend->upload(9, 0, 1, bytes).code() == ErrorCode::invalid_argument);
  std::vector<uint8_t> bad = bytes;
  bad[1] = 0x7c;
  bad[0] = 0;
  CHECK(backend->upload(1, 0, 32, bad).code() == ErrorCode::corrupt_file);
  upload_all(*backend, c);
  const int32_t good[] = {1, 2}, outside[] = {1, kVocab}, negative[] = {-1};
  const int32_t rows[] = {0, 1}, repeated[] = {1, 1}, far[] = {2};
  CHECK(backend->run({good, 0, rows}).ok());
  CHECK(backend->logits(1).size() == 32);
  CHECK(backend->logits(2).empty());
  for (const Step& step : {Step{outside, 0, {}}, Step{negative, 0, {}}, Step{good, 63, {}},
                           Step{good, -1, {}}, Step{good, 0, repeated}, Step{good, 0, far}, Step{{}, 0, {}}})
    CHECK(backend->run(step).code() == ErrorCode::invalid_argument);
}
