#include "kernels/reference.h"

#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/half.h"
#include "base/rng.h"

namespace nutshell::reference {

Row quantized(const Row& x) {
  Row out(x.size());
  for (size_t b = 0; b < x.size(); b += 32) {
    float amax = 0;
    for (size_t i = b; i < b + 32; ++i) amax = std::max(amax, std::fabs(static_cast<float>(x[i])));
    if (amax <= 0x1p-120f) continue;
    const float d = amax / 127.0f, inverse = 127.0f / amax;
    for (size_t i = b; i < b + 32; ++i)
      out[i] =
          static_cast<double>(d) * std::nearbyint(static_cast<double>(static_cast<float>(x[i]) * inverse));
  }
  return out;
}

Row linear(std::span<const float> w, int64_t n_rows, int64_t n_cols, const Row& x,
           std::span<const float> bias) {
  Row y(static_cast<size_t>(n_rows));
  for (size_t i = 0; i < y.size(); ++i) {
    double sum = 0;
    for (size_t k = 0; k < static_cast<size_t>(n_cols); ++k)
      sum += static_cast<double>(w[i * static_cast<size_t>(n_cols) + k]) * x[k];
    y[i] = sum + (bias.empty() ? 0.0 : static_cast<double>(bias[i]));
  }
  return y;
}

Row rotate(const Row& x, uint64_t seed, bool back) {
  const size_t n = x.size();
  size_t p = 1;
  while (n % (2 * p) == 0) p *= 2;
  const auto m = static_cast<double>(n / p);
  const auto sign = [&](size_t c) { return counter_rng(seed, c) >> 63 != 0 ? -1.0 : 1.0; };
  Row out(n);
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j < n; ++j) {
      double hadamard = 1.0 / std::sqrt(static_cast<double>(p));
      for (size_t bits = i % p & j % p; bits != 0; bits &= bits - 1) hadamard = -hadamard;
      const double angle =
          2 * 3.14159265358979323846 * static_cast<double>(i / p) * static_cast<double>(j / p) / m;
      const double entry = hadamard * (std::cos(angle) + std::sin(angle)) / std::sqrt(m);
      out[i] += entry * x[j] * (back ? sign(i) : sign(j));
    }
  return out;
}

Row rms_norm(const Row& x, std::span<const float> weight, int64_t group, double eps) {
  Row out(x.size());
  const auto n = static_cast<size_t>(group);
  for (size_t g = 0; g < x.size(); g += n) {
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += x[g + i] * x[g + i];
    const double by = 1.0 / std::sqrt(sum / static_cast<double>(n) + eps);
    for (size_t i = 0; i < n; ++i) out[g + i] = x[g + i] * by * static_cast<double>(weight[i]);
  }
  return out;
}

Row layer_norm(const Row& x, std::span<const float> weight, std::span<const float> bias, double eps) {
  Row out(x.size());
  const auto n = static_cast<double>(x.size());
  double mean = 0, variance = 0;
  for (double v : x) mean += v / n;
  for (double v : x) variance += (v - mean) * (v - mean) / n;
  for (size_t i = 0; i < x.size(); ++i)
    out[i] = (x[i] - mean) / std::sqrt(variance + eps) * static_cast<double>(weight[i]) +
             (bias.empty() ? 0.0 : static_cast<double>(bias[i]));
  return out;
}

double silu(double x) { return x / (1.0 + std::exp(-x)); }
double gelu_tanh(double x) {
  return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
}

double gelu_erf(double x) { return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0))); }

Row gated(Gate g, const Row& gate, const Row& up) {
  Row out(gate.size());
  for (size_t i = 0; i < out.size(); ++i) {
    if (g == Gate::swiglu_clamped) {
      const double x = std::min(gate[i], 7.0), u = std::clamp(up[i], -7.0, 7.0);
      out[i] = x / (1.0 + std::exp(-1.702 * x)) * (u + 1.0);
      continue;
    }
    const double x = gate[i];
    out[i] = g == Gate::silu ? silu(x) : g == Gate::gelu_tanh ? gelu_tanh(x) : gelu_erf(x);
    if (!up.empty()) out[i] *= up[i];
  }
  return out;
}

Routing route(const RouterShape& r, const Row& logits, std::span<const float> selection_bias) {
  const auto n = static_cast<size_t>(r.n_expert);
  Row scores = logits;
  const double top = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (double l : logits) total += std::exp(l - top);
  for (double& s : scores) {
    if (r.scores == RouterScores::softmax) s = std::exp(s - top) / total;
    if (r.scores == RouterScores::sigmoid) s = 1.0 / (1.0 + std::exp(-s));
  }
  Row keys = scores;
  for (size_t e = 0; e < selection_bias.size(); ++e) keys[e] += static_cast<double>(selection_bias[e]);
  const auto groups = static_cast<size_t>(r.n_group), size = n / groups;
  std::vector<std::pair<double, size_t>> ranked;  // groups by what they count, best first
  for (size_t g = 0; g < groups; ++g) {
    Row group(keys.begin() + static_cast<std::ptrdiff_t>(g * size),
              keys.begin() + static_cast<std::ptrdiff_t>((g + 1) * size));
    std::sort(group.rbegin(), group.rend());
    double value = 0;
    for (size_t i = 0; i < static_cast<size_t>(r.group_best); ++i) value += group[i];
    ranked.emplace_back(-value, g);
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<std::pair<double, int64_t>> order;
  for (size_t i = 0; i < static_cast<size_t>(r.n_group_used); ++i)
    for (size_t e = ranked[i].second * size; e < (ranked[i].second + 1) * size; ++e)
      order.emplace_back(-keys[e], static_cast<int64_t>(e));
  std::sort(order.begin(), order.end());
  Routing out;
  for (size_t i = 0; i < static_cast<size_t>(r.n_used); ++i) out.experts.push_back(order[i].second);
  std::sort(out.experts.begin(), out.experts.end());
  double sum = 0;
  for (int64_t e : out.experts) {
    const double s = scores[static_cast<size_t>(e)];
    out.weights.push_back(r.scores == RouterScores::softmax_of_chosen ? std::exp(s - top) : s);
    sum += out.weights.back();
  }
  for (double& w : out.weights) {
    if (r.normalize || r.scores == RouterScores::softmax_of_chosen) w /= sum;
    w *= static_cast<double>(r.scale);
  }
  return out;
}

Row rope(const Row& x, RotaryPairs pairs, std::span<const double> inv_freq, double magnitude,
         int64_t position, int64_t n_rot, int64_t n_head, int64_t head_dim, int64_t offset) {
  Row out = x;
  for (int64_t h = 0; h < n_head; ++h)
    for (int64_t i = 0; i < n_rot / 2; ++i) {
      const int64_t base = h * head_dim + offset;
      const auto first = static_cast<size_t>(base + (pairs == RotaryPairs::half ? i : 2 * i));
      const auto second =
          static_cast<size_t>(base + (pairs == RotaryPairs::half ? i + n_rot / 2 : 2 * i + 1));
      const double angle = static_cast<double>(position) * inv_freq[static_cast<size_t>(i)];
      const double c = std::cos(angle) * magnitude, s = std::sin(angle) * magnitude;
      out[first] = x[first] * c - x[second] * s;
      out[second] = x[first] * s + x[second] * c;
    }
  return out;
}

Row kv_row(const Row& x, int64_t head_dim) {
  Row out(x.size());
  for (size_t head = 0; head < x.size(); head += static_cast<size_t>(head_dim)) {
    double largest = 0;
    for (size_t d = head; d < head + static_cast<size_t>(head_dim); ++d)
      largest = std::max(largest, std::fabs(x[d]));
    const double step = largest / kKvCodeMax;
    for (size_t d = head; d < head + static_cast<size_t>(head_dim); ++d)
      out[d] = step > 0 ? std::nearbyint(x[d] / step) * step : 0;
  }
  return out;
}

Row attend(const Attention& a, const Row& q, const std::vector<Row>& keys, const std::vector<Row>& values,
           int64_t position) {
  const auto hd = static_cast<size_t>(a.head_dim), hd_v = static_cast<size_t>(a.head_dim_v);
  Row out(static_cast<size_t>(a.n_head) * hd_v);
  const int64_t first = a.window > 0 ? std::max<int64_t>(0, position - a.window + 1) : 0;
  for (int64_t h = 0; h < a.n_head; ++h) {
    const auto head = static_cast<size_t>(h), kv_head = static_cast<size_t>(h / (a.n_head / a.n_head_kv));
    Row scores;
    for (int64_t p = first; p <= position; ++p) {
      double s = 0;
      for (size_t d = 0; d < hd; ++d) s += q[head * hd + d] * keys[static_cast<size_t>(p)][kv_head * hd + d];
      s *= a.scale;
      scores.push_back(a.softcap > 0 ? a.softcap * std::tanh(s / a.softcap) : s);
    }
    const double largest = *std::max_element(scores.begin(), scores.end());
    double total = a.sinks.empty() ? 0.0 : std::exp(static_cast<double>(a.sinks[head]) - largest);
    for (double& s : scores) total += s = std::exp(s - largest);
    for (size_t i = 0; i < scores.size(); ++i)
      for (size_t d = 0; d < hd_v; ++d)
        out[head * hd_v + d] +=
            scores[i] / total * values[static_cast<size_t>(first) + i][kv_head * hd_v + d];
  }
  return out;
}

}  // namespace nutshell::reference
