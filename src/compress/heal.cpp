#include "compress/heal.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/bytes.h"
#include "base/half.h"
#include "compress/items.h"

namespace nutshell::compress {
namespace {

constexpr float kRate = 1e-3f, kBeta1 = 0.9f, kBeta2 = 0.95f;
constexpr int64_t kWarmUp = 8;  // steps

// Factors 1 + a of a weight: one per row of a matrix, one per value of a vector.
struct Factors {
  Eigen::VectorXf a, slope, mean, square;
  bool rows = false;
  bool used() const { return a.size() > 0; }
};

// The slope of the loss by every factor.
class FactorSlopes : public GradientObserver {
 public:
  FactorSlopes(const std::vector<Matrix>& weights, ThreadPool& pool, std::vector<Factors>& factors)
      : weights_(weights), pool_(pool), factors_(factors) {}

  void on_linear(const LinearOp& op, const Matrix& x, std::span<const Matrix> gradients) override {
    for (size_t p = 0; p < gradients.size(); ++p) {
      const LinearOp::Part& part = op.parts[p];
      const Matrix& g = gradients[p];
      if (Factors& f = of(part.weight); f.used()) {
        // Of row r: sum over tokens of g y / (1 + a); y without bias and what was there before.
        Matrix y(g.rows(), g.cols());
        multiply_transposed(pool_, x, weight(part.weight), false, y);
        const Eigen::VectorXf sums = g.cwiseProduct(y).colwise().sum();
        f.slope.array() += sums.array() / (1.0f + f.a.array());
      }
      if (part.bias != kNone)
        if (Factors& f = of(part.bias); f.used()) add(f, part.bias, g.colwise().sum());
    }
  }
  void on_embed(const EmbedOp& op, std::span<const int32_t> tokens, const Matrix& gradient) override {
    Factors& f = of(op.table);
    if (!f.used()) return;
    for (size_t t = 0; t < tokens.size(); ++t) {
      const int32_t row = tokens[t];
      f.slope(row) +=
          gradient.row(static_cast<int64_t>(t)).dot(weight(op.table).row(row)) / (1.0f + f.a(row));
    }
  }
  void on_norm(const RmsNormOp& op, const Matrix& normalised, const Matrix& gradient) override {
    Factors& f = of(op.weight);
    if (!f.used()) return;
    const Vector all = normalised.cwiseProduct(gradient).colwise().sum();
    Vector sums = Vector::Zero(op.group);
    for (int64_t at = 0; at < all.size(); at += op.group) sums += all.segment(at, op.group);
    add(f, op.weight, sums);
  }

 private:
  Factors& of(WeightId id) { return factors_[static_cast<size_t>(id)]; }
  const Matrix& weight(WeightId id) const { return weights_[static_cast<size_t>(id)]; }
  void add(Factors& f, WeightId id, const Vector& slope) {
    f.slope.array() +=
        slope.transpose().array() * weight(id).row(0).transpose().array() / (1.0f + f.a.array());
  }
  const std::vector<Matrix>& weights_;
  ThreadPool& pool_;
  std::vector<Factors>& factors_;
};

// One step of Adam; the weight's rows or values follow their factors.
void move(Factors& f, float rate, int64_t step, Matrix& w) {
  const auto fix = [&](double beta) { return static_cast<float>(1.0 - std::pow(beta, step)); };
  const float fix1 = fix(kBeta1), fix2 = fix(kBeta2);
  f.mean = kBeta1 * f.mean + (1.0f - kBeta1) * f.slope;
  f.square = kBeta2 * f.square + (1.0f - kBeta2) * f.slope.cwiseProduct(f.slope);
  // Rows that matter little (rare tokens) have small and noisy slopes: they move less than the others.
  const Eigen::ArrayXf size = (f.square.array() / fix2).sqrt();
  const Eigen::VectorXf before = f.a;
  f.a.array() -= rate * (f.mean.array() / fix1) / (size + 0.1f * size.mean() + 1e-12f);
  f.a = f.a.cwiseMax(-0.5f).cwiseMin(1.0f);
  const Eigen::VectorXf by = (1.0f + f.a.array()) / (1.0f + before.array());
  if (f.rows) {
    w = by.asDiagonal() * w;
  } else {
    w.row(0) = w.row(0).cwiseProduct(by.transpose());
  }
  f.slope.setZero();
}

std::vector<Factors> make_factors(const SourceModel& source, const std::vector<Target>& targets) {
  std::vector<Factors> factors(source.graph.weights.size());
  const auto use = [&](WeightId id, int64_t n, bool rows) {
    const Eigen::VectorXf zero = Eigen::VectorXf::Zero(n);
    factors[static_cast<size_t>(id)] = {zero, zero, zero, zero, rows};
  };
  for (const Target& t : targets) use(t.weight, t.n_rows, true);
  for (size_t i = 0; i < factors.size(); ++i)
    if (const auto id = static_cast<WeightId>(i); can_change(source, id))
      use(id, source.graph.weights[i].n_cols, false);
  return factors;
}

// Row scales as a file holds them, and the decoded rows with them.
void settle(const Factors& f, Target& t, Matrix& w) {
  for (Run& run : t.runs)
    for (int64_t i = 0; i < run.n_rows; ++i) {
      const int64_t row = t.row_of(run.first_row + i);
      uint8_t* place = run.coded.bytes.data() +
                       i / kTrellisRows * trellis_superrow_bytes(trellis_type(run.coded.bits), t.n_cols) +
                       2 * (i % kTrellisRows);
      const float wanted = f16_to_f32(load_le<uint16_t>(place)) * (1.0f + f.a(row));
      if (wanted == 0.0f) continue;
      const uint16_t half = f32_to_f16(wanted);
      std::memcpy(place, &half, 2);
      w.row(row) *= f16_to_f32(half) / wanted;
    }
}

// logits become the gradient of the mean KL from wanted, which becomes probabilities.
void divergence_gradient(ThreadPool& pool, Matrix& logits, Matrix& wanted) {
  softmax_rows(pool, logits);
  softmax_rows(pool, wanted);
  for_items(pool, logits.rows(), [&](int64_t t) {
    logits.row(t) = (logits.row(t) - wanted.row(t)) / static_cast<float>(logits.rows());
  });
}

}  // namespace

int64_t heal_steps(const SourceModel& source, double minutes) {
  double values = 0;
  for (const WeightSpec& w : source.graph.weights) values += static_cast<double>(w.n_rows * w.n_cols);
  // The original and the student forwards, the way back, and the outputs once more: two operations each.
  const double operations = 4 * 2 * values * static_cast<double>(kHealTokens);
  return static_cast<int64_t>(minutes * 60 * 40e9 / operations);
}

bool can_change(const SourceModel& source, WeightId id) {
  const WeightSpec& w = source.graph.weights[static_cast<size_t>(id)];
  const TensorEntry* t = source.header.tensors.find(w.name);
  return (w.use & kUseVector) != 0 && w.n_rows == 1 && t != nullptr && t->dtype == DType::f32 &&
         t->transform == TensorTransform::none && t->n_rows == 1 && t->n_cols == w.n_cols;
}

Steps heal(const SourceModel& source, std::vector<std::span<const int32_t>> windows, int64_t steps,
           ThreadPool& pool, std::vector<Target>& targets, std::vector<Matrix>& weights) {
  std::vector<Factors> factors = make_factors(source, targets);
  FloatRun original(source.graph, source.weights, pool), student(source.graph, weights, pool);
  FactorSlopes slopes(weights, pool, factors);
  std::vector<std::span<const int32_t>> texts;
  for (const std::span<const int32_t> window : windows)
    for (size_t at = 0; at < window.size(); at += kHealTokens)
      texts.push_back(window.subspan(at, std::min<size_t>(kHealTokens, window.size() - at)));
  // Texts lie far apart from step to step: a stride without a common factor with their number.
  size_t stride = std::max<size_t>(1, texts.size() * 5 / 8);
  while (std::gcd(stride, texts.size()) != 1) ++stride;
  for (int64_t i = 0; i < steps; ++i) {
    const std::span<const int32_t> text = texts[static_cast<size_t>(i) * stride % texts.size()];
    original.forward(text, false);
    student.forward(text, true);
    Matrix gradient = std::move(student.logits());
    divergence_gradient(pool, gradient, original.logits());
    student.backward(std::move(gradient), slopes);
    const double turn = 3.14159265358979 * static_cast<double>(i) / static_cast<double>(steps);
    const float rate = kRate * std::min(1.0f, static_cast<float>(i + 1) / kWarmUp) *
                       std::max(0.05f, static_cast<float>(0.5 + 0.5 * std::cos(turn)));
    for_items(pool, static_cast<int64_t>(factors.size()), [&](int64_t w) {
      const auto at = static_cast<size_t>(w);
      if (factors[at].used()) move(factors[at], rate, i + 1, weights[at]);
    });
    co_yield worked(Stage::healing, i + 1, steps);
  }
  for (Target& t : targets)
    settle(factors[static_cast<size_t>(t.weight)], t, weights[static_cast<size_t>(t.weight)]);
  co_return Status();
}

}  // namespace nutshell::compress
