// The compressor on tiny random models: the formulas forwards (against the CPU back end) and backwards
// (against finite differences), the encoder, the allocation, the file, and bad input.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "base/half.h"
#include "base/rng.h"
#include "compress/allocate.h"
#include "compress/heal.h"
#include "compress/pipeline.h"
#include "compress/quantize.h"
#include "compress/rotation.h"
#include "compress/targets.h"
#include "compress/trellis.h"
#include "engine/quality.h"
#include "support/compress_tiny.h"
#include "support/loading.h"

using namespace nutshell;
using namespace nutshell::compress;
using namespace nutshell::test;

namespace {

Matrix random_matrix(int64_t rows, int64_t cols, uint64_t seed) {
  Matrix m(rows, cols);
  for (int64_t i = 0; i < m.size(); ++i) {
    float sum = 0;  // nearly normal, variance 1
    for (uint64_t k = 0; k < 12; ++k) sum += uniform_pm1(seed, static_cast<uint64_t>(i) * 12 + k);
    m.data()[i] = sum * 0.5f;
  }
  return m;
}

class WeightGradients : public GradientObserver {
 public:
  explicit WeightGradients(const Graph& graph)
      : n_vocab(graph.acts[static_cast<size_t>(graph.logits)].width), of(graph.weights.size()) {}
  const int64_t n_vocab;
  std::vector<Matrix> of;
  void on_linear(const LinearOp& op, const Matrix& x, std::span<const Matrix> gradients) override {
    for (size_t p = 0; p < gradients.size(); ++p) {
      add(op.parts[p].weight, gradients[p].transpose() * x);
      if (op.parts[p].bias != kNone) add(op.parts[p].bias, gradients[p].colwise().sum());
    }
  }
  void on_embed(const EmbedOp& op, std::span<const int32_t> tokens, const Matrix& gradient) override {
    Matrix g = Matrix::Zero(n_vocab, gradient.cols());
    for (size_t t = 0; t < tokens.size(); ++t) g.row(tokens[t]) += gradient.row(static_cast<int64_t>(t));
    add(op.table, g);
  }
  void on_norm(const RmsNormOp& op, const Matrix& normalised, const Matrix& gradient) override {
    const Vector all = normalised.cwiseProduct(gradient).colwise().sum();
    Vector sums = Vector::Zero(op.group);
    for (int64_t at = 0; at < all.size(); at += op.group) sums += all.segment(at, op.group);
    add(op.weight, sums);
  }

 private:
  void add(WeightId id, const Matrix& g) {
    Matrix& to = of[static_cast<size_t>(id)];
    if (to.size() == 0) to = Matrix::Zero(g.rows(), g.cols());
    to += g;
  }
};

}  // namespace

TEST_CASE("compress: the way back gives the slope of the loss by every kind of weight") {
  std::shared_ptr<test::Bytes> bytes;
  SUBCASE("llama") { bytes = tiny_bytes(); }
  SUBCASE("qwen2") { bytes = tiny_bytes("qwen2"); }
  SUBCASE("gemma3") { bytes = tiny_bytes("gemma3"); }
  SUBCASE("gemma2") { bytes = golden_bytes("gemma2"); }
  SUBCASE("lfm2") { bytes = golden_bytes("lfm2"); }
  SUBCASE("lfm2, another kernel") { bytes = golden_bytes("lfm2", "four_taps"); }
  auto source = open_bytes(bytes);
  REQUIRE_MESSAGE(source.ok(), source.status().message());
  ThreadPool pool(2);
  const std::vector<int32_t> tokens = random_tokens(24, 3, 128);
  std::vector<Matrix> weights = source->weights;
  const int64_t n_vocab = source->graph.acts[static_cast<size_t>(source->graph.logits)].width;
  const Matrix direction = random_matrix(24, n_vocab, 4);  // the loss: sum of logits times this
  const auto loss = [&] {
    FloatRun run(source->graph, weights, pool);
    run.forward(tokens, false);
    return run.logits().cwiseProduct(direction).cast<double>().sum();
  };
  FloatRun run(source->graph, weights, pool);
  run.forward(tokens, true);
  WeightGradients gradients(source->graph);
  run.backward(direction, gradients);
  for (size_t i = 0; i < weights.size(); ++i) {
    CAPTURE(source->graph.weights[i].name);
    if (source->graph.weights[i].name.ends_with("conv.conv.weight")) continue;  // nobody is told of it
    REQUIRE(gradients.of[i].size() == weights[i].size());
    // Third-order terms and f32 rounding stay below 1 %.
    check_slope(weights[i], gradients.of[i], loss, 0.02);
  }
}

TEST_CASE("compress: a rotation is undone by its inverse and keeps lengths") {
  ThreadPool pool(2);
  for (const int64_t n : {64, 96, 576, 1120}) {
    Matrix x = random_matrix(5, n, 7);
    const Matrix before = x;
    rotate_rows(pool, 9, x);
    CHECK((x - before).norm() > 0.5f * before.norm());
    CHECK(x.norm() == doctest::Approx(before.norm()).epsilon(1e-5));
    unrotate_rows(pool, 9, x);
    CHECK((x - before).norm() < 1e-5f * before.norm());
  }
}

TEST_CASE("compress: M D M^T gives the metric back") {
  const Matrix a = random_matrix(200, 96, 11), h = a.transpose() * a;
  const MetricFactor f = factor_metric(h, 0.0);
  const Matrix &m = f.m[0], again = m * Eigen::Map<const Vector>(f.d.data(), 96).asDiagonal() * m.transpose();
  CHECK((again - h).norm() < 1e-4f * h.norm());
  CHECK(Matrix(m.triangularView<Eigen::StrictlyLower>()).norm() == 0.0f);
  const Vector x = random_matrix(1, 96, 12).row(0), product = x * m;
  CHECK((multiply(x, f) - product).norm() < 1e-5f * product.norm());
}

TEST_CASE(
    "compress: the trellis reaches its squared error on Gaussian rows, and the codes decode to its values") {
  const int64_t n = 576;
  const Matrix rows = random_matrix(64, n, 21);
  const MetricFactor identity = factor_metric(Matrix::Identity(n, n), 0);
  for (const int bits : {2, 3, 4}) {
    CAPTURE(bits);
    const DefaultTrellis& tables = default_trellis(trellis_type(bits));
    TrellisEncoder encoder(bits, identity);
    std::vector<uint8_t> codes(static_cast<size_t>(n)), superrow;
    std::vector<float> values(static_cast<size_t>(n)), left(values), decoded(values), in_streams(values);
    double error = 0;
    for (int64_t r = 0; r < rows.rows(); ++r) {
      encoder.encode({rows.row(r).data(), static_cast<size_t>(n)}, codes, values, left);
      std::vector<uint16_t> scales(16, f32_to_f16(1.0f));
      std::vector<uint8_t> sixteen(static_cast<size_t>(16 * n));
      std::copy(codes.begin(), codes.end(), sixteen.begin() + r % 16 * n);
      superrow.clear();
      pack_superrow(bits, n, scales, sixteen, superrow);
      decode_trellis_row(trellis_type(bits), tables.code, superrow.data(), static_cast<int>(r % 16), n,
                         decoded.data());
      to_streams(decoded, in_streams);
      for (size_t c = 0; c < decoded.size(); ++c)
        REQUIRE(values[c] == doctest::Approx(in_streams[c] * tables.step).epsilon(1e-5));
      for (int64_t c = 0; c < n; ++c)
        error += std::pow(static_cast<double>(rows(r, c) - values[static_cast<size_t>(c)]), 2);
    }
    error /= static_cast<double>(rows.size());
    // Sum-of-12-uniforms rows have lighter tails than Gaussian ones; deciding 16 values ahead costs below 2
    // %.
    CHECK(error < 1.03 * static_cast<double>(tables.error));
    CHECK(error > 0.8 * static_cast<double>(tables.error));
  }
}

TEST_CASE("compress: what the encoder says is left of a row is its error in the metric") {
  const int64_t n = 288;
  ThreadPool pool(1);
  const Matrix x = random_matrix(400, n, 13);
  for (const int64_t most : {n, int64_t{100}}) {
    CAPTURE(most);
    Moments h = zero_moments(n, most);
    add_moments(pool, x, {}, h);
    CHECK(h.blocks.size() == (most == n ? 1 : 3));
    const MetricFactor f = factor_metric(h, 0.01);
    TrellisEncoder encoder(3, f);
    std::vector<uint8_t> codes(static_cast<size_t>(n));
    Vector row = random_matrix(1, n, 14).row(0), values(n), left(n);
    const auto span_of = [](Vector& v) { return std::span(v.data(), static_cast<size_t>(v.size())); };
    encoder.encode(span_of(row), codes, span_of(values), span_of(left));
    const Vector expected = multiply(row - values, f);
    CHECK((left - expected).norm() < 1e-5f * expected.norm());
  }
}

TEST_CASE("compress: feedback lowers the error in the metric it is given, whole or cut into blocks") {
  ThreadPool pool(1);
  int64_t m = 48, n = 64, most = 64;
  SUBCASE("whole") {}
  SUBCASE("cut") { m = 160, n = 256, most = 128; }
  CAPTURE(most);
  const Matrix x = random_matrix(40, n, 31), g = random_matrix(30, m, 32);
  const Matrix h = x.transpose() * x, a = g.transpose() * g;
  const auto error_with = [&](bool inputs, bool outputs) {
    Matrix w = random_matrix(m, n, 33);
    const Matrix before = w;
    to_code_space(pool, 5, w);
    Moments columns = zero_moments(n, most), rows = zero_moments(m, most);
    add_inputs(pool, x, {}, 5, columns);
    add_moments(pool, g, {}, rows);
    CHECK(columns.cut() == (n > most));
    CHECK(rows.cut() == (m > most));
    const MetricFactor in =
        inputs ? factor_inputs(pool, columns, 5, 0.01) : factor_metric(Matrix::Identity(n, n), 0);
    std::vector<int32_t> order(static_cast<size_t>(m));  // the even rows, then the odd ones
    for (int64_t i = 0; i < m; ++i)
      order[static_cast<size_t>(i)] = static_cast<int32_t>(2 * i % m + 2 * i / m);
    Matrix ordered(m, n);
    for (int64_t i = 0; i < m; ++i) ordered.row(i) = w.row(order[static_cast<size_t>(i)]);
    const RowFactor out = factor_outputs(rows, order, 0.01);
    CodedMatrix coded = prepare_coded(3, ordered, 0, m);
    quantize_rows(in, outputs ? &out : nullptr, 0, m, ordered, coded);
    decode(pool, 5, {3, coded.scale, pack(coded)}, 0, ordered);
    for (int64_t i = 0; i < m; ++i) w.row(order[static_cast<size_t>(i)]) = ordered.row(i);
    const Matrix e = before - w;
    return static_cast<double>((a * e * h).cwiseProduct(e).sum());
  };
  const double plain = error_with(false, false), one = error_with(true, false), both = error_with(true, true);
  INFO(plain << " " << one << " " << both);
  const double least = n > most ? 0.9 : 0.8;
  CHECK(one < least * plain);
  CHECK(both < least * one);
}

TEST_CASE("compress: rows coded in several runs make up for each other's errors as in one") {
  ThreadPool pool(1);
  const int64_t m = 48, n = 64;
  const Matrix g = random_matrix(30, m, 32), a = g.transpose() * g;
  const MetricFactor in = factor_metric(Matrix::Identity(n, n), 0);
  const auto rows_in = [&](const std::vector<int64_t>& cuts, ThreadPool* together = nullptr) {
    const RowFactor out = factor_outputs(a, {}, 0.01);
    Matrix w = random_matrix(m, n, 33);
    to_code_space(pool, 5, w);
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
      CodedMatrix coded = prepare_coded(3, w, cuts[i], cuts[i + 1] - cuts[i]);
      coded.scale = 0.5f;
      quantize_rows(in, &out, cuts[i], cuts[i + 1], w, coded, together);
    }
    return w;  // the errors
  };
  CHECK(rows_in({0, 16, 48}) == rows_in({0, 48}));
  for (const int threads : {1, 2, 3, 5}) {
    ThreadPool many(threads);
    CHECK(rows_in({0, 48}, &many) == rows_in({0, 48}));
  }
  // In another order the metric is that of the rows' places.
  std::vector<int32_t> backwards(static_cast<size_t>(m));
  for (int32_t i = 0; i < m; ++i) backwards[static_cast<size_t>(i)] = static_cast<int32_t>(m) - 1 - i;
  CHECK(factor_outputs(a, backwards, 0.01).blocks[0].m == factor_metric(a.reverse(), 0.01).m[0]);
}

TEST_CASE("compress: coding reaches the squared error that sizes are chosen by") {
  const int64_t n = 576;
  const MetricFactor in = factor_metric(Matrix::Identity(n, n), 0);
  for (const int bits : {2, 3, 4}) {
    CAPTURE(bits);
    Matrix w = random_matrix(64, n, 21);
    CodedMatrix coded = prepare_coded(bits, w, 0, 64);
    quantize_rows(in, nullptr, 0, 64, w, coded);
    const double error = static_cast<double>(w.squaredNorm()) / static_cast<double>(w.size());
    CHECK(error == doctest::Approx(coding_error(bits)).epsilon(0.1));
  }
}

TEST_CASE("compress: bits go where they gain most per byte, and never beyond the limit") {
  std::vector<Budget> items(2);
  for (size_t i = 0; i < 2; ++i)
    for (size_t k = 2; k <= 4; ++k) {
      items[i].cost[k] = (i == 0 ? 1.0 : 10.0) * std::pow(4.0, -static_cast<double>(k));
      items[i].bytes[k] = 100 * k;
    }
  CHECK(allocate(items, 400).bits == std::vector<int>{2, 2});
  CHECK(allocate(items, 500).bits == std::vector<int>{2, 3});
  CHECK(allocate(items, 600).bits == std::vector<int>{2, 4});
  CHECK(allocate(items, 799).bits == std::vector<int>{3, 4});
  CHECK(allocate(items, 800).bits == std::vector<int>{4, 4});
}

TEST_CASE("compress: a tiny model becomes a file of the size asked for, the same for any number of threads") {
  auto source = open_bytes(tiny_bytes());
  REQUIRE_MESSAGE(source.ok(), source.status().message());
  CompressOptions options;
  options.size_bytes = 1;
  const Compressed refused = compress_tiny(*source, options, 1);
  CHECK(refused.status.code() == ErrorCode::invalid_argument);
  const std::string message = refused.status.message();
  options.size_bytes = std::stoull(message.substr(message.find_last_of(' ') + 1));
  const Compressed smallest = compress_tiny(*source, options, 1);
  REQUIRE_MESSAGE(smallest.status.ok(), smallest.status.message());
  CHECK(smallest.file.size() == options.size_bytes);

  options.size_bytes += options.size_bytes / 4;
  const Compressed one = compress_tiny(*source, options, 1), three = compress_tiny(*source, options, 3);
  REQUIRE(one.status.ok());
  CHECK(one.file.size() == one.report.bytes);
  CHECK(one.file.size() == options.size_bytes);
  CHECK(one.file == three.file);
  CHECK(one.report.quality.mean_kl > 0);
  CHECK(one.report.quality.mean_kl < smallest.report.quality.mean_kl);

  const auto header = parse_gguf(one.file, one.file.size());
  REQUIRE(header.ok());
  REQUIRE(header->has_value());
  const GgufFile& file = **header;
  CHECK(file.tensors().size() == source->header.tensors.entries().size());
  CHECK(file.get_u32("nutshell.version").value() == 1);
  CHECK(file.get_strings("nutshell.coded.names").value().size() >= one.report.bits.size());
  CHECK(file.get_strings("tokenizer.ggml.tokens").value().size() == 258);
}

TEST_CASE("compress: the engine runs the file, as far from the original as the report says") {
  const auto bytes = tiny_bytes();
  auto source = open_bytes(bytes);
  REQUIRE(source.ok());
  CompressOptions options;
  options.size_bytes = 1;
  const std::string refused = compress_tiny(*source, options, 1).status.message();
  bool mixed = false;
  SUBCASE("every row of the most bits") { options.size_bytes *= 1000000; }
  SUBCASE("rows of several widths") {
    mixed = true;
    options.size_bytes = std::stoull(refused.substr(refused.find_last_of(' ') + 1)) + 9000;
  }
  const Compressed small = compress_tiny(*source, options, 2);
  REQUIRE_MESSAGE(small.status.ok(), small.status.message());
  const auto header = parse_gguf(small.file, small.file.size());
  REQUIRE(header.ok());
  size_t ordered = 0;
  for (const TensorEntry& t : source->header.tensors.entries())
    ordered += t.name != "token_embd.weight" && (*header)->has("nutshell.order." + t.name);
  CHECK((ordered > 0) == mixed);

  ThreadPool pool(2);
  const auto load = [&](test::Bytes file) {
    LoadOptions load;
    load.context_size = 64;
    load.max_outputs = 64;
    const std::vector<test::TestFile> files{{"tiny.gguf", std::move(file)}};
    load.files = test::model_files(files);
    Loader loader(pool, load);
    const Status fed = test::feed(loader, files);
    REQUIRE_MESSAGE(fed.ok(), fed.message());
    return loader.take();
  };
  const auto before = load(*bytes), after = load(test::Bytes(small.file.begin(), small.file.end()));
  const auto quality =
      measure_quality(*after, before.get(), std::vector<int32_t>(random_tokens(128, 2)), 64, pool);
  REQUIRE_MESSAGE(quality.ok(), quality.status().message());
  // The engine rounds the original's inputs to 8 bits too, which the report's original does not.
  CHECK(quality->mean_kl == doctest::Approx(small.report.quality.mean_kl).epsilon(0.1));
}

TEST_CASE("compress: healing brings the logits nearer, in the numbers that a file holds") {
  const char* architecture = "llama";
  SUBCASE("llama") {}
  SUBCASE("qwen2") { architecture = "qwen2"; }
  SUBCASE("gemma3") { architecture = "gemma3"; }
  auto source = open_bytes(tiny_bytes(architecture));
  REQUIRE_MESSAGE(source.ok(), source.status().message());
  ThreadPool one(1), three(3);
  const std::vector<int32_t> tokens = random_tokens(256, 1);
  const std::vector<std::span<const int32_t>> windows{std::span(tokens).first(128),
                                                      std::span(tokens).last(128)};
  const std::vector<bool> none(source->weights.size(), false);
  const auto healed = [&](ThreadPool& pool, int64_t steps, std::vector<Target>& targets) {
    std::vector<Matrix> after = source->weights;
    targets = choose_targets(source->graph);
    for (Target& t : targets) {  // two bits, no feedback
      Matrix& w = after[static_cast<size_t>(t.weight)];
      to_code_space(pool, 1, w);
      CodedMatrix coded = prepare_coded(2, w, 0, w.rows());
      quantize_rows(factor_metric(Matrix::Zero(w.cols(), w.cols()), 0), nullptr, 0, w.rows(), w, coded);
      t.runs[0].coded = {2, coded.scale, pack(coded)};
      decode(pool, 1, t.runs[0].coded, 0, w);
    }
    REQUIRE(run_to_end(heal(*source, windows, steps, pool, targets, after), {}).ok());
    return after;
  };
  std::vector<Target> before_targets, targets, again;
  const std::vector<Matrix> before = healed(one, 0, before_targets), after = healed(one, 40, targets);
  const auto kl = [&](const std::vector<Matrix>& weights) {
    Comparison total;
    Steps steps =
        compare(source->graph, source->weights, weights, none, 1, windows, Pooling::none, one, total);
    REQUIRE(run_to_end(std::move(steps), {}).ok());
    return total.mean_kl;
  };
  const double was = kl(before), is = kl(after);
  INFO(was << " -> " << is);
  CHECK(is < 0.95 * was);
  const std::vector<Matrix> same = healed(three, 40, again);
  for (size_t i = 0; i < after.size(); ++i) CHECK(after[i] == same[i]);
  // The rows are what the codes give with the scales of the file.
  const Target& t = targets[1];
  Matrix decoded(t.n_rows, t.n_cols);
  decode(one, 1, t.runs[0].coded, 0, decoded);
  const Matrix& kept = after[static_cast<size_t>(t.weight)];
  CHECK((decoded - kept).norm() < 1e-4f * kept.norm());
}

TEST_CASE("compress: frequent tokens get more bits, and the engine finds every row") {
  auto source = open_bytes(tiny_bytes());
  REQUIRE(source.ok());
  CompressOptions options;
  options.size_bytes = 1;
  const std::string refused = compress_tiny(*source, options, 1).status.message();
  const uint64_t least = std::stoull(refused.substr(refused.find_last_of(' ') + 1));
  options.size_bytes = least + 3500;
  const Compressed small = compress_tiny(*source, options, 2);
  REQUIRE_MESSAGE(small.status.ok(), small.status.message());
  CHECK(small.file.size() > least + 2500);
  auto file = parse_gguf(small.file, small.file.size());
  REQUIRE(file.ok());
  const auto names = (*file)->get_strings("nutshell.coded.names").value();
  size_t runs = 0;
  for (size_t i = 0; i < names.size(); ++i) runs += names[i] == "token_embd.weight";
  CHECK(runs > 1);
  CHECK((*file)->get_i64s("nutshell.order.token_embd.weight").value().size() == 258);
}

TEST_CASE("compress: input that cannot be compressed is refused by name") {
  SUBCASE("weights that are not finite") {
    const auto bytes = tiny_bytes();
    auto header = parse_gguf(*bytes, bytes->size());
    REQUIRE(header.ok());
    const GgufTensor* t = (*header)->find_tensor("blk.1.ffn_up.weight");
    REQUIRE(t != nullptr);
    std::memset(bytes->data() + (*header)->data_offset() + t->offset, 0xff, 4);
    auto source = open_bytes(bytes);
    CHECK(source.status().code() == ErrorCode::corrupt_file);
    CHECK(source.status().message().find("blk.1.ffn_up.weight") != std::string::npos);
  }
  SUBCASE("too little text") {
    auto source = open_bytes(tiny_bytes());
    REQUIRE(source.ok());
    CompressOptions options;
    options.bits = 4;
    const Compressed out = compress_tiny(*source, options, 1, 20);
    CHECK(out.status.code() == ErrorCode::invalid_argument);
    CHECK(out.status.message().find("calibration") != std::string::npos);
    CHECK(out.file.empty());
  }
  SUBCASE("less memory than it takes") {
    auto source = open_bytes(tiny_bytes());
    REQUIRE(source.ok());
    CompressOptions options;
    options.bits = 12;
    options.memory_limit = 1000000;
    const Compressed out = compress_tiny(*source, options, 1);
    CHECK(out.status.code() == ErrorCode::out_of_memory);
    CHECK(out.file.empty());
    options.memory_limit = 1u << 30;
    CHECK(compress_tiny(*source, options, 1).status.ok());
  }
  SUBCASE("a file that is compressed already") {
    test::GgufWriter writer = test::tiny_gguf();
    writer.add("nutshell.version", uint32_t{1});
    auto source = open_bytes(std::make_shared<test::Bytes>(writer.build()));
    CHECK(source.status().code() == ErrorCode::already_compressed);
  }
  SUBCASE("a disk that is full") {
    auto source = open_bytes(tiny_bytes());
    REQUIRE(source.ok());
    ThreadPool pool(1);
    CompressOptions options;
    options.bits = 16;
    options.window_tokens = 64;
    options.windows = options.held_out = 1;
    const auto report = nutshell::compress::compress(
        *source, options, random_tokens(64, 1), random_tokens(64, 2), pool,
        {source->read,
         [](std::span<const uint8_t>) { return Status(ErrorCode::io_error, "no space"); },
         {},
         nullptr});
    CHECK(report.status().code() == ErrorCode::io_error);
  }
}
