// Attention and RoPE of FloatRun, forwards and backwards.
#include <cmath>

#include "compress/float_run.h"
#include "compress/items.h"
#include "compress/portable.h"
#include "compress/product.h"

namespace nutshell::compress {
namespace {

Matrix product(const Strided& a, const Strided& b) {
  Matrix c = Matrix::Zero(a.rows, b.cols);
  add_product(a, b, c);
  return c;
}

// Probabilities of one head: rows are queries, columns keys. slope: of the softcap, for the way back.
Matrix attention_weights(const AttentionOp& op, const Strided& q, const Strided& k, Matrix* slope) {
  Matrix p = product(q, k.transposed()) * op.scale;
  if (op.softcap > 0) {
    p /= op.softcap;
    map_fours({p.data(), static_cast<size_t>(p.size())}, tanh_four);
    if (slope != nullptr) *slope = (1.0f - p.array().square()).matrix();
    p *= op.softcap;
  }
  for (int64_t t = 0; t < p.rows(); ++t) {
    const int64_t first = op.window > 0 ? std::max<int64_t>(0, t - op.window + 1) : 0;
    const int64_t end = op.causal ? t + 1 : p.cols();
    softmax({&p(t, first), static_cast<size_t>(end - first)});
    p.row(t).head(first).setZero();
    p.row(t).tail(p.cols() - end).setZero();
  }
  return p;
}

}  // namespace

void FloatRun::rotate(const RopeOp& op, Matrix& x, bool backwards) const {
  const RopeSpec& spec = graph_.ropes[static_cast<size_t>(op.rope)];
  const int64_t half = spec.n_rot / 2;
  for_items(pool_, x.rows(), [&](int64_t t) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(t) * spec.inv_freq[static_cast<size_t>(i)];
      const float c = static_cast<float>(std::cos(angle)) * spec.magnitude;
      const float s = static_cast<float>(backwards ? -std::sin(angle) : std::sin(angle)) * spec.magnitude;
      const int64_t a = op.style == RopeStyle::half ? i : 2 * i;
      const int64_t b = op.style == RopeStyle::half ? i + half : 2 * i + 1;
      for (int64_t h = 0; h < op.n_head; ++h) {
        float* v = x.row(t).data() + h * op.head_dim;
        const float first = v[a], second = v[b];
        v[a] = first * c - second * s;
        v[b] = first * s + second * c;
      }
    }
  });
}

void FloatRun::step(const RopeOp& op, Kept&) { rotate(op, writable(op.x), false); }

void FloatRun::back(const RopeOp& op, Kept&) {
  Matrix g = take(op.x);
  rotate(op, g, true);
  add_gradient(op.x, std::move(g));
}

void FloatRun::step(const AttentionOp& op, Kept& kept) {
  Shared q = act(op.q), k = act(op.k), v = act(op.v), out = fresh(op.out);
  const int64_t hd = op.head_dim, vd = op.head_dim_v, group = op.n_head / op.n_head_kv;
  for_items(pool_, op.n_head, [&](int64_t h) {
    const int64_t j = h / group;
    const Matrix p = attention_weights(op, q->middleCols(h * hd, hd), k->middleCols(j * hd, hd), nullptr);
    out->middleCols(h * vd, vd) = product(p, v->middleCols(j * vd, vd));
  });
  if (keep_) kept = {std::move(q), std::move(k), std::move(v)};
  act(op.out) = std::move(out);
}

void FloatRun::back(const AttentionOp& op, Kept& kept) {
  const Matrix go = take(op.out), &q = *kept.a, &k = *kept.b, &v = *kept.c;
  Matrix gq(q.rows(), q.cols()), gk = Matrix::Zero(k.rows(), k.cols()), gv = Matrix::Zero(v.rows(), v.cols());
  const int64_t hd = op.head_dim, vd = op.head_dim_v, group = op.n_head / op.n_head_kv;
  for_items(pool_, op.n_head_kv, [&](int64_t j) {
    for (int64_t h = j * group; h < (j + 1) * group; ++h) {
      Matrix slope;
      const Matrix p = attention_weights(op, q.middleCols(h * hd, hd), k.middleCols(j * hd, hd), &slope);
      add_product(Strided(p).transposed(), go.middleCols(h * vd, vd), gv.middleCols(j * vd, vd));
      Matrix gs = product(go.middleCols(h * vd, vd), Strided(v.middleCols(j * vd, vd)).transposed());
      const Eigen::VectorXf mean = gs.cwiseProduct(p).rowwise().sum();
      gs.colwise() -= mean;
      gs = gs.cwiseProduct(p) * op.scale;
      if (op.softcap > 0) gs = gs.cwiseProduct(slope);
      gq.middleCols(h * hd, hd) = product(gs, k.middleCols(j * hd, hd));
      add_product(Strided(gs).transposed(), q.middleCols(h * hd, hd), gk.middleCols(j * hd, hd));
    }
  });
  add_gradient(op.q, std::move(gq));
  add_gradient(op.k, std::move(gk));
  add_gradient(op.v, std::move(gv));
}

}  // namespace nutshell::compress
