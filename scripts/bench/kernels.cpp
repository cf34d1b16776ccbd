// Times the kernels and whole model-shaped steps with random weights; scripts/bench/kernels builds and runs
// it, natively and as wasm under node. One JSON line per measurement: best of many short rounds, so that a
// machine that is shared does not spoil the number, next to the roofline measured in the same run.
//
// usage: kernels THREADS [roofline|matvec|few|matmul|small|model|smollm2|hot|qwen|all] [ROUNDS]
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "kernels/attention.h"
#include "kernels/matmul.h"
#include "kernels/matvec_few.h"
#include "kernels/pack.h"
#include "kernels/rows.h"
#include "kernels/tune.h"
#include "quant/trellis.h"
#include "support/kernel_memory.h"
#include "unit/kernels/random_weights.h"

using namespace nutshell;
using test::all_dots;

namespace {

int g_rounds = 15;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Times {
  double best, median;
};
// Seconds of one call of fn.
template <typename Fn>
Times time_of(Fn&& fn) {
  for (int i = 0; i < 5; ++i) fn();  // the optimising compiler of the browser needs some calls
  std::vector<double> all;
  for (int r = 0; r < g_rounds; ++r) {
    const double start = now();
    fn();
    all.push_back(now() - start);
  }
  std::sort(all.begin(), all.end());
  return {all[0], all[all.size() / 2]};
}

const char* flavour() {
#ifdef __wasm__
  return NUTSHELL_RELAXED ? "wasm-relaxed" : "wasm-strict";
#else
  return "native";
#endif
}
const char* name_of_dot(Dot dot) {
  return dot == Dot::strict ? "strict" : dot == Dot::pairs ? "pairs" : "quads";
}

constexpr DType kFormats[] = {DType::q4_0, DType::q4_1, DType::q5_0, DType::q8_0, DType::q4_k,
                              DType::q5_k, DType::q6_k, DType::nt2,  DType::nt3,  DType::nt4};

std::vector<uint8_t> tiled_rows(DType dtype, int64_t n_rows, int64_t n_cols) {
  const int64_t distinct = std::min<int64_t>(n_rows, 64), in = row_bytes(dtype, n_cols);
  const auto few = test::random_rows(dtype, distinct, n_cols, 1, 0.2);
  std::vector<uint8_t> rows(static_cast<size_t>(n_rows * in));
  for (int64_t r = 0; r < n_rows; ++r)
    std::memcpy(&rows[static_cast<size_t>(r * in)], &few[static_cast<size_t>(r % distinct * in)],
                static_cast<size_t>(in));
  return rows;
}

std::vector<float> random_values(int64_t n) {
  std::vector<float> x(static_cast<size_t>(n));
  for (size_t i = 0; i < x.size(); ++i) x[i] = uniform_pm1(3, i);
  return x;
}

void roofline(ThreadPool& pool) {
  test::Guarded bytes(96 << 20);
  std::memset(bytes.data(), 1, 96 << 20);
  std::atomic<int32_t> sink{0};
  const Times t = time_of([&] {
    pool.run([&](Worker& w) {
      const auto [begin, end] = w.share(96 << 20, 256);
      V s[4];
      for (V& v : s) v = wasm_i32x4_splat(0);
      for (int64_t i = begin; i < end; i += 64)
        for (int j = 0; j < 4; ++j) s[j] = wasm_v128_xor(s[j], load(bytes.data() + i + 16 * j));
      sink = sink +
             wasm_i32x4_extract_lane(wasm_v128_xor(wasm_v128_xor(s[0], s[1]), wasm_v128_xor(s[2], s[3])), 0);
    });
  });
  const double gb = 96.0 * 1048576e-9;
  std::printf("{\"op\":\"read\",\"flavour\":\"%s\",\"threads\":%d,\"gb_per_s\":%.1f,\"median\":%.1f}\n",
              flavour(), pool.n_threads(), gb / t.best, gb / t.median);
}

struct Matrix {
  PackedMatrix m;
  test::Guarded memory;
};
Matrix pack(DType dtype, int64_t n_rows, int64_t n_cols) {
  Matrix x{{}, test::Guarded(static_cast<size_t>(*packed_bytes(dtype, n_rows, n_cols)))};
  const auto rows = tiled_rows(dtype, n_rows, n_cols);
  const auto one = static_cast<int64_t>(*packed_bytes(dtype, 1, n_cols));
  for (int64_t r = 0; r < n_rows; r += 16)
    (void)pack_superrow(dtype, rows.data() + r * row_bytes(dtype, n_cols), 16, n_cols,
                        x.memory.data() + r / 16 * one);
  x.m = {dtype, n_rows, n_cols, x.memory.data(), one};
  if (is_trellis(dtype)) x.m.code = &default_trellis(dtype).code;
  return x;
}

void matvecs(int64_t n_rows, int64_t n_cols, bool cold) {
  const auto x = random_values(n_cols);
  test::Guarded row(ActRow::bytes_needed(n_cols));
  const ActRow q = ActRow::at(row.data(), n_cols);
  quantize_row(x.data(), n_cols, 15, q);
  std::vector<float> y(static_cast<size_t>(n_rows));
  for (DType dtype : kFormats) {
    if (n_cols % info_of(dtype).block_length != 0) continue;
    const int64_t bytes = n_rows * row_bytes(dtype, n_cols);
    std::vector<Matrix> copies;
    for (int64_t i = 0; i < (cold ? 64'000'000 / bytes + 1 : 1); ++i)
      copies.push_back(pack(dtype, n_rows, n_cols));
    const size_t inner = cold ? copies.size() : static_cast<size_t>(4'000'000 / (n_rows * n_cols) + 1);
    for (Matrix& c : copies) c.m.data = c.memory.data();
    for (Dot dot : all_dots()) {
      const Times t = time_of([&] {
        for (size_t i = 0; i < inner; ++i)
          matvec(copies[i % copies.size()].m, q, dot, nullptr, false, y.data(), 0, n_rows / 16);
      });
      const double mac = static_cast<double>(n_rows * n_cols) * static_cast<double>(inner) * 1e-9;
      std::printf(
          "{\"op\":\"matvec\",\"flavour\":\"%s\",\"format\":\"%s\",\"form\":\"%s\",\"shape\":\"%lldx%lld\","
          "\"cold\":%d,"
          "\"gmac_per_s\":%.1f,\"median\":%.1f,\"gb_per_s\":%.1f}\n",
          flavour(), std::string(name_of(dtype)).c_str(), name_of_dot(dot), static_cast<long long>(n_cols),
          static_cast<long long>(n_rows), cold, mac / t.best, mac / t.median,
          static_cast<double>(copies[0].m.superrow_bytes) / 16 / static_cast<double>(n_cols) * mac / t.best);
    }
  }
}

// Several rows at once, in the cache.
void fews(int64_t n_rows, int64_t n_cols) {
  const auto x = random_values(n_cols * kFewTokens);
  const size_t one = (ActRow::bytes_needed(n_cols) + 63) / 64 * 64;
  test::Guarded memory(one * kFewTokens);
  ActRow q[kFewTokens];
  for (int64_t t = 0; t < kFewTokens; ++t) {
    q[t] = ActRow::at(memory.data() + static_cast<size_t>(t) * one, n_cols);
    quantize_row(&x[static_cast<size_t>(t * n_cols)], n_cols, 15, q[t]);
  }
  std::vector<float> y(static_cast<size_t>(n_rows * kFewTokens));
  for (DType dtype : kFormats) {
    if (n_cols % info_of(dtype).block_length != 0) continue;
    Matrix w = pack(dtype, n_rows, n_cols);
    w.m.data = w.memory.data();
    for (Dot dot : all_dots()) {
      const Times t = time_of([&] {
        for (int i = 0; i < 4; ++i)
          matvec_few(w.m, q, kFewTokens, dot, nullptr, false, y.data(), n_rows, 0, n_rows / 16);
      });
      const double mac = static_cast<double>(4 * n_rows * n_cols * kFewTokens) * 1e-9;
      std::printf(
          "{\"op\":\"few\",\"flavour\":\"%s\",\"format\":\"%s\",\"form\":\"%s\",\"shape\":\"%lldx%lldx%lld\","
          "\"gmac_per_s\":%.1f,\"median\":%.1f}\n",
          flavour(), std::string(name_of(dtype)).c_str(), name_of_dot(dot), static_cast<long long>(n_cols),
          static_cast<long long>(n_rows), static_cast<long long>(kFewTokens), mac / t.best, mac / t.median);
    }
  }
}

void matmuls(int64_t n_rows, int64_t n_cols, int64_t n_tokens) {
  const auto x = random_values(n_cols * n_tokens);
  test::Guarded row(ActRow::bytes_needed(n_cols)), tile_memory(ActTiles::bytes_needed(n_cols, n_tokens));
  const ActTiles tiles = ActTiles::at(tile_memory.data(), n_cols, n_tokens);
  std::vector<float> y(static_cast<size_t>(n_rows * n_tokens));
  for (DType dtype : kFormats) {
    if (n_cols % info_of(dtype).block_length != 0) continue;
    test::Guarded scratch(matmul_scratch_bytes(dtype, n_cols));
    Matrix w = pack(dtype, n_rows, n_cols);
    w.m.data = w.memory.data();
    for (Dot dot : all_dots()) {
      for (int64_t t = 0; t < n_tokens; ++t)
        quantize_to_tiles(&x[static_cast<size_t>(t * n_cols)], t, matmul_forms(dtype, dot),
                          ActRow::at(row.data(), n_cols), tiles);
      const Times t = time_of([&] {
        matmul(w.m, tiles, n_tokens, dot, {y.data(), n_rows, nullptr, false}, 0, n_rows / 16, scratch.data());
      });
      const double mac = static_cast<double>(n_rows * n_cols * n_tokens) * 1e-9;
      std::printf(
          "{\"op\":\"matmul\",\"flavour\":\"%s\",\"format\":\"%s\",\"form\":\"%s\",\"shape\":\"%lldx%lldx%"
          "lld\","
          "\"gmac_per_s\":%.1f,\"median\":%.1f}\n",
          flavour(), std::string(name_of(dtype)).c_str(), name_of_dot(dot), static_cast<long long>(n_cols),
          static_cast<long long>(n_rows), static_cast<long long>(n_tokens), mac / t.best, mac / t.median);
    }
  }
}

void small_ops() {
  const auto x = random_values(1536), w = random_values(1536);
  std::vector<float> y(1536);
  test::Guarded row(ActRow::bytes_needed(1536));
  const ActRow q = ActRow::at(row.data(), 1536);
  const auto report = [](const char* op, Times t) {
    std::printf("{\"op\":\"%s\",\"flavour\":\"%s\",\"us\":%.3f,\"median\":%.3f}\n", op, flavour(),
                t.best * 1e4, t.median * 1e4);
  };
  const auto hundred = [](auto fn) {
    return [fn] {
      for (int i = 0; i < 100; ++i) fn();
    };
  };
  report("quantize 1536 bytes", time_of(hundred([&] { quantize_row(x.data(), 1536, kActBytes, q); })));
  report("quantize 1536 words", time_of(hundred([&] { quantize_row(x.data(), 1536, kActWords, q); })));
  report("rms_norm 576",
         time_of(hundred([&] { rms_norm_row(x.data(), w.data(), 576, 576, 1e-5f, y.data()); })));
  report("silu 1536",
         time_of(hundred([&] { gated_activation(Gate::silu, x.data(), w.data(), 1536, y.data()); })));
}

void barriers(ThreadPool& pool) {
  const Times t = time_of([&] {
    pool.run([](Worker& w) {
      for (int i = 0; i < 1000; ++i) w.barrier();
    });
  });
  std::printf("{\"op\":\"barrier\",\"flavour\":\"%s\",\"threads\":%d,\"us\":%.3f,\"median\":%.3f}\n",
              flavour(), pool.n_threads(), t.best * 1e3, t.median * 1e3);
}

// A decoder of the llama shape with random weights.
struct Shape {
  const char* name;
  int64_t n_layer, n_embd, n_head, n_head_kv, head_dim, n_ff, n_vocab;
  DType dtype, head, down;
};

Graph model_graph(const Shape& s) {
  Graph g;
  const auto weight = [&](DType t, int64_t rows, int64_t cols, uint8_t use) {
    g.weights.push_back({"w", t, rows, cols, use});
    if (is_trellis(t)) g.weights.back().coded.runs = {{t, 0, default_trellis(t).code}};
    return static_cast<WeightId>(g.weights.size()) - 1;
  };
  // The rotation of a trellis-coded matrix's input.
  const auto rotation = [&](DType t, int64_t width) {
    if (!is_trellis(t)) return kNone;
    for (size_t i = 0; i < g.rotations.size(); ++i)
      if (g.rotations[i].width == width) return static_cast<int32_t>(i);
    g.rotations.push_back({width, 1});
    return static_cast<int32_t>(g.rotations.size()) - 1;
  };
  const auto act = [&](int64_t width, bool out = false) {
    g.acts.push_back({width, out});
    return static_cast<ActId>(g.acts.size()) - 1;
  };
  RopeSpec rope;
  rope.n_rot = s.head_dim;
  for (int64_t i = 0; i < s.head_dim / 2; ++i)
    rope.inv_freq.push_back(
        std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(s.head_dim)));
  g.ropes.push_back(rope);
  const int64_t nq = s.n_head * s.head_dim, nkv = s.n_head_kv * s.head_dim;
  const WeightId table = weight(s.head, s.n_vocab, s.n_embd, kUseTable | kUseMatrix);
  const ActId x = act(s.n_embd);
  g.ops.push_back(EmbedOp{table, x, 1.0f, rotation(s.head, s.n_embd)});
  const auto norm = [&](ActId in, bool out = false) {
    const ActId to = act(s.n_embd, out);
    g.ops.push_back(RmsNormOp{in, weight(DType::f32, 1, s.n_embd, kUseVector), to, s.n_embd, 1e-5f});
    return to;
  };
  for (int32_t l = 0; l < s.n_layer; ++l) {
    const ActId h = norm(x), q = act(nq), k = act(nkv), v = act(nkv), o = act(nq);
    g.ops.push_back(LinearOp{h,
                             {{weight(s.dtype, nq, s.n_embd, kUseMatrix), kNone, q, false},
                              {weight(s.dtype, nkv, s.n_embd, kUseMatrix), kNone, k, false},
                              {weight(s.down, nkv, s.n_embd, kUseMatrix), kNone, v, false}},
                             rotation(s.dtype, s.n_embd)});
    g.ops.push_back(RopeOp{q, s.n_head, s.head_dim, 0, RopeStyle::interleaved});
    g.ops.push_back(RopeOp{k, s.n_head_kv, s.head_dim, 0, RopeStyle::interleaved});
    g.kv_layers.push_back({s.n_head_kv, s.head_dim, s.head_dim});
    g.ops.push_back(AttentionOp{q, k, v, o, l, s.n_head, s.n_head_kv, s.head_dim, s.head_dim, 0.125f});
    g.ops.push_back(
        LinearOp{o, {{weight(s.dtype, s.n_embd, nq, kUseMatrix), kNone, x, true}}, rotation(s.dtype, nq)});
    const ActId f = norm(x), gate = act(s.n_ff), up = act(s.n_ff), both = act(s.n_ff);
    g.ops.push_back(LinearOp{f,
                             {{weight(s.dtype, s.n_ff, s.n_embd, kUseMatrix), kNone, gate, false},
                              {weight(s.dtype, s.n_ff, s.n_embd, kUseMatrix), kNone, up, false}},
                             rotation(s.dtype, s.n_embd)});
    g.ops.push_back(GatedActivationOp{gate, up, both, Activation::silu});
    g.ops.push_back(LinearOp{
        both, {{weight(s.down, s.n_embd, s.n_ff, kUseMatrix), kNone, x, true}}, rotation(s.down, s.n_ff)});
  }
  const ActId last = act(s.n_embd, true);
  g.ops.push_back(SelectRowsOp{x, last});
  g.logits = act(s.n_vocab, true);
  g.ops.push_back(LinearOp{norm(last, true), {{table, kNone, g.logits, false}}, rotation(s.head, s.n_embd)});
  return g;
}

void model(ThreadPool& pool, const Shape& s, Dot dot) {
  const auto backend = cpu::make_backend(pool, dot);
  const Graph g = model_graph(s);
  if (!backend->allocate(g, {1280, 512, kFewTokens}).ok()) return;
  for (size_t i = 0; i < g.weights.size(); ++i) {
    const WeightSpec& w = g.weights[i];
    (void)backend->upload(static_cast<WeightId>(i), 0, w.n_rows, tiled_rows(w.dtype, w.n_rows, w.n_cols));
  }
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 512; ++i) tokens.push_back(i * 37 % 1000);
  const auto step = [&](int64_t n, int64_t past) {
    const int32_t last[] = {static_cast<int32_t>(n) - 1};
    (void)backend->run({std::span(tokens).first(static_cast<size_t>(n)), past, last});
  };
  const auto report = [&](const char* work, double n, Times t) {
    std::printf(
        "{\"op\":\"model\",\"flavour\":\"%s\",\"model\":\"%s\",\"form\":\"%s\",\"threads\":%d,\"work\":\"%"
        "s\","
        "\"tokens_per_s\":%.1f,\"median\":%.1f,\"ms\":%.2f}\n",
        flavour(), s.name, name_of_dot(dot), pool.n_threads(), work, n / t.best, n / t.median, t.best * 1e3);
    std::fflush(stdout);
  };
  const bool small = s.n_embd < 1000;
  report("decode:16", 1, time_of([&] { step(1, 16); }));
  report("few:16", kFewTokens, time_of([&] {
           const int32_t rows[] = {0, 1, 2, 3};
           (void)backend->run({std::span(tokens).first(kFewTokens), 16, rows, true});
         }));
  const int rounds = g_rounds;
  g_rounds = std::max(2, rounds / 5);
  report("prefill:64", 64, time_of([&] { step(64, 0); }));
  if (small) {
    report("prefill:128", 128, time_of([&] { step(128, 0); }));
    report("prefill:512", 512, time_of([&] { step(512, 0); }));
    step(512, 512);
  }
  g_rounds = rounds;
  if (small) report("decode:1024", 1, time_of([&] { step(1, 1024); }));
}

constexpr Shape kSmol = {"smollm2-135m", 30,    576,         9,           3,          64,
                         1536,           49152, DType::q4_1, DType::q8_0, DType::q4_1};
// Two of SmolLM2's layers and a small head: stays in the cache, so it shows the price of everything but
// memory.
constexpr Shape kHot = {"smollm2-2-layers", 2,           576,        9, 3, 64, 1536, 1024,
                        DType::q4_1,        DType::q8_0, DType::q4_1};
constexpr Shape kQwen = {"qwen-1.5b-shaped", 28,          1536,       12, 2, 128, 8960, 32768,
                         DType::q4_k,        DType::q6_k, DType::q6_k};

// The same shapes in a trellis format throughout.
Shape coded(Shape s, const char* name, DType dtype) {
  s.name = name;
  s.dtype = s.head = s.down = dtype;
  return s;
}

void coded_models(ThreadPool& pool, const Shape& s) {
  model(pool, coded(s, s.n_embd < 1000 ? "smollm2-135m NT2" : "qwen-1.5b-shaped NT2", DType::nt2),
        best_dot());
  model(pool, coded(s, s.n_embd < 1000 ? "smollm2-135m NT3" : "qwen-1.5b-shaped NT3", DType::nt3),
        best_dot());
  model(pool, coded(s, s.n_embd < 1000 ? "smollm2-135m NT4" : "qwen-1.5b-shaped NT4", DType::nt4),
        best_dot());
}

}  // namespace

int main(int argc, char** argv) {
  ThreadPool pool(argc > 1 ? std::atoi(argv[1]) : 1);
  const std::string what = argc > 2 ? argv[2] : "all";
  if (argc > 3) g_rounds = std::max(2, std::atoi(argv[3]));
  const bool all = what == "all";
  std::printf("{\"op\":\"choice\",\"flavour\":\"%s\",\"form\":\"%s\"}\n", flavour(), name_of_dot(best_dot()));
  if (all || what == "roofline") roofline(pool);
  if (all || what == "matvec") {
    matvecs(1536, 576, false);
    matvecs(576, 1536, true);
  }
  if (all || what == "few") fews(576, 1536);
  if (all || what == "matmul") matmuls(576, 1536, 128);
  if (all || what == "small") {
    barriers(pool);
    small_ops();
  }
  if (all || what == "model")
    for (Dot dot : all_dots()) model(pool, kSmol, dot);
  if (what == "smollm2") model(pool, kSmol, best_dot());
  if (what == "smollm2-coded") coded_models(pool, kSmol);
  if (what == "qwen-coded") coded_models(pool, kQwen);
  if (all || what == "hot") model(pool, kHot, best_dot());
  if (what == "qwen") model(pool, kQwen, best_dot());
}
