#include "compress/float_run.h"

#include <cmath>
#include <type_traits>

#include "compress/items.h"
#include "compress/portable.h"
#include "compress/product.h"

namespace nutshell::compress {
namespace {

constexpr int64_t kTile =
    96;  // outputs per item: large enough for Eigen's blocking, the same for any thread count

int64_t tiles_of(int64_t n) { return (n + kTile - 1) / kTile; }

Four tanh_of_gelu(const Four& x) { return tanh_four(0.7978845608f * (x + 0.044715f * x * x * x)); }

Four activate(Activation a, const Four& x) {
  if (a == Activation::silu) return x / (1.0f + exp_four(-x));
  return 0.5f * x * (1.0f + (a == Activation::gelu_erf ? erf_four(x * 0.7071067812f) : tanh_of_gelu(x)));
}

Four activate_slope(Activation a, const Four& x) {
  if (a == Activation::silu) {
    const Four s = 1.0f / (1.0f + exp_four(-x));
    return s * (1.0f + x * (1.0f - s));
  }
  if (a == Activation::gelu_erf)
    return 0.5f * (1.0f + erf_four(x * 0.7071067812f)) + x * 0.3989422804f * exp_four(-0.5f * x * x);
  const Four t = tanh_of_gelu(x);
  return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * 0.7978845608f * (1.0f + 3.0f * 0.044715f * x * x);
}

// Activations an op reads or writes.
std::vector<ActId> acts_of(const EmbedOp& op) { return {op.out}; }
std::vector<ActId> acts_of(const RmsNormOp& op) { return {op.in, op.out}; }
std::vector<ActId> acts_of(const LayerNormOp& op) { return {op.in, op.out}; }
std::vector<ActId> acts_of(const RopeOp& op) { return {op.x}; }
std::vector<ActId> acts_of(const AttentionOp& op) { return {op.q, op.k, op.v, op.out}; }
std::vector<ActId> acts_of(const GatedActivationOp& op) {
  return op.up == kNone ? std::vector{op.gate, op.out} : std::vector{op.gate, op.up, op.out};
}
std::vector<ActId> acts_of(const AddOp& op) { return {op.a, op.b, op.out}; }
std::vector<ActId> acts_of(const SelectRowsOp& op) { return {op.in, op.out}; }
std::vector<ActId> acts_of(const SoftcapOp& op) { return {op.x}; }
std::vector<ActId> acts_of(const ShortConvOp& op) { return {op.in, op.out}; }
std::vector<ActId> acts_of(const LinearOp& op) {
  std::vector<ActId> ids{op.in};
  for (const LinearOp::Part& part : op.parts) ids.push_back(part.out);
  return ids;
}

template <typename T>
concept Known = std::is_same_v<T, EmbedOp> || std::is_same_v<T, RmsNormOp> ||
    std::is_same_v<T, LayerNormOp> || std::is_same_v<T, LinearOp> || std::is_same_v<T, RopeOp> ||
    std::is_same_v<T, AttentionOp> || std::is_same_v<T, GatedActivationOp> || std::is_same_v<T, AddOp> ||
    std::is_same_v<T, SelectRowsOp> || std::is_same_v<T, SoftcapOp> || std::is_same_v<T, ShortConvOp>;

}  // namespace

void multiply_transposed(ThreadPool& pool, const Matrix& x, const Matrix& w, bool accumulate, Matrix& y) {
  for_items(pool, tiles_of(w.rows()), [&](int64_t i) {
    const int64_t at = i * kTile, n = std::min(kTile, w.rows() - at);
    if (!accumulate) y.middleCols(at, n).setZero();
    add_product(x, Strided(w.middleRows(at, n)).transposed(), y.middleCols(at, n));
  });
}

void add_gram(ThreadPool& pool, const Eigen::Ref<const Matrix, 0, Eigen::OuterStride<>>& x,
              std::span<const float> weight, Matrix& h) {
  Matrix scaled;
  if (!weight.empty()) scaled = Eigen::Map<const Eigen::VectorXf>(weight.data(), x.rows()).asDiagonal() * x;
  const Strided left = weight.empty() ? Strided(x) : Strided(scaled);
  for_items(pool, tiles_of(x.cols()), [&](int64_t i) {
    const int64_t at = i * kTile, n = std::min(kTile, x.cols() - at);
    add_product(left.columns(at, n).transposed(), x.leftCols(at + n), h.block(at, 0, n, at + n));
  });
  h.triangularView<Eigen::StrictlyUpper>() = h.transpose();
}

void softmax_rows(ThreadPool& pool, Matrix& x) {
  for_items(pool, x.rows(), [&](int64_t t) { softmax({x.row(t).data(), static_cast<size_t>(x.cols())}); });
}

namespace {

bool known(const AttentionOp& op) { return op.sinks == kNone && (op.causal || op.window == 0); }
bool known(const GatedActivationOp& op) { return op.activation != Activation::swiglu_clamped; }
bool known(const RopeOp& op) { return op.offset == 0; }
template <typename T>
bool known(const T&) {
  return Known<T>;
}

}  // namespace

Status FloatRun::check(const Graph& graph) {
  for (const Op& op : graph.ops)
    if (!std::visit([](const auto& o) { return known(o); }, op))
      return {ErrorCode::unsupported_architecture, "calibration does not know an operation of it yet"};
  return {};
}

void FloatRun::forward(std::span<const int32_t> tokens, bool keep, const InputHook& hook) {
  tokens_ = tokens;
  keep_ = keep;
  hook_ = &hook;
  kept_.assign(graph_.ops.size(), {});
  last_read_.clear();
  if (!keep) find_last_reads();
  for (Shared& a : acts_) a.reset();
  for (size_t i = 0; i < graph_.ops.size(); ++i) run_op(i);
}

void FloatRun::begin(std::span<const int32_t> tokens) {
  static const InputHook kNoHook;
  tokens_ = tokens;
  keep_ = false;
  hook_ = &kNoHook;
  kept_.assign(graph_.ops.size(), {});
  find_last_reads();
}

void FloatRun::find_last_reads() {
  std::vector<size_t> last(graph_.acts.size(), graph_.ops.size());
  for (size_t i = 0; i < graph_.ops.size(); ++i)
    std::visit(
        [&]<typename T>(const T& op) {
          if constexpr (Known<T>)
            for (const ActId id : acts_of(op)) last[static_cast<size_t>(id)] = i;
        },
        graph_.ops[i]);
  last_read_.assign(graph_.ops.size(), {});
  for (size_t a = 0; a < last.size(); ++a)
    if (static_cast<ActId>(a) != graph_.logits && last[a] < graph_.ops.size())
      last_read_[last[a]].push_back(static_cast<ActId>(a));
}

void FloatRun::run_op(size_t i) {
  std::visit(
      [&]<typename T>(const T& op) {
        if constexpr (Known<T>) step(op, kept_[i]);
      },
      graph_.ops[i]);
  if (!last_read_.empty())
    for (const ActId id : last_read_[i]) act(id).reset();
}

void FloatRun::backward(Matrix gradient, GradientObserver& observer) {
  observer_ = &observer;
  gradients_.assign(graph_.acts.size(), {});
  gradients_[static_cast<size_t>(graph_.logits)] = std::move(gradient);
  for (size_t i = graph_.ops.size(); i-- > 0;) {
    std::visit(
        [&]<typename T>(const T& op) {
          if constexpr (Known<T>) back(op, kept_[i]);
        },
        graph_.ops[i]);
    kept_[i] = {};
  }
}

FloatRun::Shared FloatRun::fresh(ActId id) const {
  return std::make_shared<Matrix>(static_cast<int64_t>(tokens_.size()),
                                  graph_.acts[static_cast<size_t>(id)].width);
}

Matrix& FloatRun::writable(ActId id) {
  if (act(id).use_count() > 1) act(id) = std::make_shared<Matrix>(*act(id));
  return *act(id);
}

Matrix FloatRun::take(ActId id) {
  Matrix& g = gradients_[static_cast<size_t>(id)];
  if (g.size() == 0)
    return Matrix::Zero(static_cast<int64_t>(tokens_.size()), graph_.acts[static_cast<size_t>(id)].width);
  return std::move(g);
}

void FloatRun::add_gradient(ActId id, Matrix g) {
  Matrix& to = gradients_[static_cast<size_t>(id)];
  if (to.size() == 0) {
    to = std::move(g);
  } else {
    to += g;
  }
}

void FloatRun::step(const EmbedOp& op, Kept&) {
  if (!op.accumulate) act(op.out) = fresh(op.out);
  Matrix& out = op.accumulate ? writable(op.out) : *act(op.out);
  if (!op.accumulate) out.setZero();
  for (int64_t t = 0; t < out.rows(); ++t) {
    const int64_t row = op.by == EmbedBy::token      ? tokens_[static_cast<size_t>(t)]
                        : op.by == EmbedBy::position ? t
                                                     : 0;
    out.row(t) += weight(op.table).row(row) * op.scale;
  }
}

void FloatRun::back(const EmbedOp& op, Kept&) {
  Matrix g = op.accumulate ? gradients_[static_cast<size_t>(op.out)] : take(op.out);
  if (op.scale != 1.0f) g *= op.scale;
  observer_->on_embed(op, tokens_, g);
}

void FloatRun::step(const RmsNormOp& op, Kept& kept) {
  Shared in = act(op.in), out = fresh(op.out);
  for_items(pool_, in->rows(), [&](int64_t t) {
    for (int64_t g = 0; g < in->cols(); g += op.group) {
      const auto x = in->row(t).segment(g, op.group);
      const float by = 1.0f / std::sqrt(x.squaredNorm() / static_cast<float>(op.group) + op.eps);
      out->row(t).segment(g, op.group) = (x.array() * by * weight(op.weight).row(0).array()).matrix();
    }
  });
  if (keep_) kept.a = std::move(in);
  act(op.out) = std::move(out);
}

void FloatRun::back(const RmsNormOp& op, Kept& kept) {
  const Matrix gy = take(op.out);
  Matrix& x = *kept.a;  // becomes x / rms; nobody needs it after this
  Matrix normalised(x.rows(), x.cols()), gx(x.rows(), x.cols());
  for_items(pool_, x.rows(), [&](int64_t t) {
    for (int64_t g = 0; g < x.cols(); g += op.group) {
      const auto in = x.row(t).segment(g, op.group);
      const float by = 1.0f / std::sqrt(in.squaredNorm() / static_cast<float>(op.group) + op.eps);
      auto n = normalised.row(t).segment(g, op.group);
      n = in * by;
      const Vector gw = gy.row(t).segment(g, op.group).cwiseProduct(weight(op.weight).row(0));
      gx.row(t).segment(g, op.group) = by * (gw - n * (gw.dot(n) / static_cast<float>(op.group)));
    }
  });
  observer_->on_norm(op, normalised, gy);
  add_gradient(op.in, std::move(gx));
}

namespace {

// in without its mean, divided by its deviation; answers 1 / deviation.
float normalise_row(const Eigen::Ref<const Vector>& in, float eps, Eigen::Ref<Vector> out) {
  out = (in.array() - in.mean()).matrix();
  const float by = 1.0f / std::sqrt(out.squaredNorm() / static_cast<float>(out.size()) + eps);
  out *= by;
  return by;
}

}  // namespace

void FloatRun::step(const LayerNormOp& op, Kept& kept) {
  Shared in = act(op.in), out = fresh(op.out);
  for_items(pool_, in->rows(), [&](int64_t t) {
    Vector x(in->cols());
    normalise_row(in->row(t), op.eps, x);
    x = x.cwiseProduct(weight(op.weight).row(0));
    if (op.bias != kNone) x += weight(op.bias).row(0);
    out->row(t) = x;
  });
  if (keep_) kept.a = std::move(in);
  act(op.out) = std::move(out);
}

void FloatRun::back(const LayerNormOp& op, Kept& kept) {
  const Matrix gy = take(op.out);
  const Matrix& x = *kept.a;
  Matrix gx(x.rows(), x.cols());
  for_items(pool_, x.rows(), [&](int64_t t) {
    Vector n(x.cols());
    const float by = normalise_row(x.row(t), op.eps, n);
    const Vector gw = gy.row(t).cwiseProduct(weight(op.weight).row(0));
    gx.row(t) = by * ((gw.array() - gw.mean()).matrix() - n * (gw.dot(n) / static_cast<float>(n.size())));
  });
  add_gradient(op.in, std::move(gx));
}

void FloatRun::step(const LinearOp& op, Kept& kept) {
  Shared in = act(op.in);
  if (*hook_) {
    in = std::make_shared<Matrix>(*in);
    (*hook_)(op, *in);
  }
  for (const LinearOp::Part& part : op.parts) {
    if (!part.accumulate) act(part.out) = fresh(part.out);
    Matrix& y = part.accumulate ? writable(part.out) : *act(part.out);
    multiply_transposed(pool_, *in, weight(part.weight), part.accumulate, y);
    if (part.bias != kNone) y.rowwise() += weight(part.bias).row(0);
  }
  if (keep_) kept.a = std::move(in);
}

void FloatRun::back(const LinearOp& op, Kept& kept) {
  std::vector<Matrix> gradients;
  Matrix gx = Matrix::Zero(kept.a->rows(), kept.a->cols());
  for (const LinearOp::Part& part : op.parts) {
    gradients.push_back(part.accumulate ? gradients_[static_cast<size_t>(part.out)] : take(part.out));
    const Matrix &gy = gradients.back(), &w = weight(part.weight);
    for_items(pool_, tiles_of(w.cols()), [&](int64_t i) {
      const int64_t at = i * kTile, n = std::min(kTile, w.cols() - at);
      add_product(gy, w.middleCols(at, n), gx.middleCols(at, n));
    });
  }
  observer_->on_linear(op, *kept.a, gradients);
  add_gradient(op.in, std::move(gx));
}

void FloatRun::step(const GatedActivationOp& op, Kept& kept) {
  Shared gate = act(op.gate), up = op.up == kNone ? nullptr : act(op.up), out = fresh(op.out);
  for_items(pool_, gate->rows(), [&](int64_t t) {
    for (int64_t i = 0; i < gate->cols(); i += 4) {
      const int64_t n = gate->cols() - i;
      Four y = activate(op.activation, load_four(&(*gate)(t, i), n));
      if (up) y *= load_four(&(*up)(t, i), n);
      store_four(y, n, &(*out)(t, i));
    }
  });
  if (keep_) kept = {std::move(gate), std::move(up), {}};
  act(op.out) = std::move(out);
}

void FloatRun::back(const GatedActivationOp& op, Kept& kept) {
  const Matrix go = take(op.out), &gate = *kept.a;
  const Matrix* up = kept.b.get();
  Matrix gg(go.rows(), go.cols()), gu(up != nullptr ? go.rows() : 0, go.cols());
  for_items(pool_, go.rows(), [&](int64_t t) {
    for (int64_t i = 0; i < go.cols(); i += 4) {
      const int64_t n = go.cols() - i;
      const Four g = load_four(&go(t, i), n), x = load_four(&gate(t, i), n);
      Four slope = g * activate_slope(op.activation, x);
      if (up != nullptr) {
        slope *= load_four(&(*up)(t, i), n);
        store_four(g * activate(op.activation, x), n, &gu(t, i));
      }
      store_four(slope, n, &gg(t, i));
    }
  });
  add_gradient(op.gate, std::move(gg));
  if (up != nullptr) add_gradient(op.up, std::move(gu));
}

void FloatRun::step(const AddOp& op, Kept&) {
  Shared out = std::make_shared<Matrix>(*act(op.a) + *act(op.b));
  act(op.out) = std::move(out);
}

void FloatRun::back(const AddOp& op, Kept&) {
  const Matrix g = take(op.out);
  add_gradient(op.a, g);
  add_gradient(op.b, g);
}

void FloatRun::step(const SoftcapOp& op, Kept& kept) {
  Matrix& x = writable(op.x);
  x /= op.cap;
  map_fours({x.data(), static_cast<size_t>(x.size())}, tanh_four);
  if (keep_) kept.a = std::make_shared<Matrix>(1.0f - x.array().square());  // the slope
  x *= op.cap;
}

void FloatRun::back(const SoftcapOp& op, Kept& kept) {
  const Matrix g = take(op.x);
  add_gradient(op.x, g.cwiseProduct(*kept.a));
}

// b, c, x: the thirds of a row of the input. For every position and channel the sum over the kernel of b x.
Matrix FloatRun::convolved(const ShortConvOp& op, const Matrix& in) const {
  const int64_t n = op.width;
  Matrix sums = Matrix::Zero(in.rows(), n);
  for_items(pool_, in.rows(), [&](int64_t p) {
    for (int64_t k = std::max<int64_t>(0, op.kernel - 1 - p); k < op.kernel; ++k) {
      const auto row = in.row(p - op.kernel + 1 + k);
      sums.row(p).array() +=
          weight(op.weight).col(k).transpose().array() * row.head(n).array() * row.tail(n).array();
    }
  });
  return sums;
}

void FloatRun::step(const ShortConvOp& op, Kept& kept) {
  Shared in = act(op.in), out = fresh(op.out);
  *out = convolved(op, *in).cwiseProduct(in->middleCols(op.width, op.width));
  if (keep_) kept.a = std::move(in);
  act(op.out) = std::move(out);
}

void FloatRun::back(const ShortConvOp& op, Kept& kept) {
  const Matrix go = take(op.out), &in = *kept.a;
  const int64_t n = op.width;
  const Matrix gs = go.cwiseProduct(in.middleCols(n, n));
  Matrix g(in.rows(), 3 * n);
  g.middleCols(n, n) = go.cwiseProduct(convolved(op, in));
  for_items(pool_, in.rows(), [&](int64_t p) {
    Vector gy = Vector::Zero(n);
    for (int64_t k = std::max<int64_t>(0, p + op.kernel - in.rows()); k < op.kernel; ++k)
      gy.array() += weight(op.weight).col(k).transpose().array() * gs.row(p + op.kernel - 1 - k).array();
    g.row(p).head(n) = gy.cwiseProduct(in.row(p).tail(n));
    g.row(p).tail(n) = gy.cwiseProduct(in.row(p).head(n));
  });
  add_gradient(op.in, std::move(g));
}

void FloatRun::step(const SelectRowsOp& op, Kept&) { act(op.out) = act(op.in); }
void FloatRun::back(const SelectRowsOp& op, Kept&) { add_gradient(op.in, take(op.out)); }

}  // namespace nutshell::compress
